// SPDX-License-Identifier: Apache-2.0
/* Device table entries and host (v1) page tables, DMA of two devices and invalidations. */
#include "tests/fuzz/amd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct amd_fuzz f;

	amd_fuzz_new(&f, input_u8(&in), C_RUNNING);
	while (in.left) {
		switch (input_pick(&in, 6)) {
		case 0:
			amd_op_dte(&f, &in);
			break;
		case 1:
		case 2:
			amd_op_table(&f, &in);
			break;
		case 3:
			amd_op_command(&f, &in);
			break;
		case 4:
			amd_op_dma(&f, &in);
			break;
		default:
			amd_op_exclude(&f, &in);
			amd_check_rings(f.u.e);
		}
	}
	amd_check(&f);
	amd_fuzz_free(&f);
	return 0;
}
