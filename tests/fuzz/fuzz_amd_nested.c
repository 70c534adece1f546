// SPDX-License-Identifier: Apache-2.0
/* Guest (v2) tables with PASIDs, over host tables or none. */
#include "tests/fuzz/amd_chains.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	const unsigned how = input_u8(&in);
	struct amd_fuzz f;

	amd_fuzz_new(&f, 1 + (how & 1), C_RUNNING | C_GT | (how & 2 ? C_TRP : 0));
	amd_chains(&f.u);
	while (in.left) {
		switch (input_pick(&in, 8)) {
		case 0:
			amd_op_dte(&f, &in);
			break;
		case 1:
			amd_op_attach(&f, &in, 0, 0);
			break;
		case 2:
		case 3:
			amd_op_table(&f, &in);
			break;
		case 4:
			amd_op_command(&f, &in);
			break;
		case 5:
		case 6:
			amd_op_dma(&f, &in);
			break;
		default: /* not too often: it reads every table */
			if (!input_pick(&in, 8))
				amd_check(&f);
		}
	}
	amd_check(&f);
	amd_fuzz_free(&f);
	return 0;
}
