// SPDX-License-Identifier: Apache-2.0
/* Interrupt remapping tables of both formats, and messages of two devices. */
#include "tests/fuzz/amd_interrupts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct amd_fuzz f;

	amd_fuzz_new(&f, input_u8(&in), C_RUNNING);
	while (in.left) {
		switch (input_pick(&in, 6)) {
		case 0:
			amd_op_interrupt_dte(&f, &in);
			break;
		case 1:
			amd_op_irte(&f, &in);
			break;
		case 2:
			amd_op_interrupt_mode(&f, &in);
			break;
		case 3:
			if (input_pick(&in, 8) == 0)
				reg_set(&f.u, R_EVT_HEAD, input_u16(&in));
			break;
		default:
			amd_op_interrupt(&f, &in);
		}
	}
	amd_check_rings(f.u.e);
	amd_fuzz_free(&f);
	return 0;
}
