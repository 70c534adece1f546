// SPDX-License-Identifier: Apache-2.0
/*
 * All of it interleaved: tables of every kind, commands, DMA and interrupts of two devices, the
 * unit turned off and on, spaces that come and go, and tables read by one who mirrors them.
 */
#include "tests/fuzz/amd_interrupts.h"

/* A space is closed and opened anew, with whatever it has cached. */
static void op_reopen(struct amd_fuzz *f, struct input *in)
{
	const unsigned i = input_pick(in, FUZZ_SPACES);

	dma_hold_end(&f->hold[i]);
	amd_iommu_dma_space_free(f->space[i]);
	if (i == FUZZ_SPACES - 1)
		require(!amd_iommu_dma_space_new_pasid(f->u.e, amd_devid[i], FUZZ_PASID,
						       &f->space[i]));
	else
		require(!amd_iommu_dma_space_new(f->u.e, amd_devid[i], &f->space[i]));
	dma_hold_begin(&f->hold[i], f->space[i]);
}

static void op_power(struct amd_fuzz *f, struct input *in)
{
	const unsigned how = input_u8(in);

	if (how & 0xf0) {
		reg_set(&f->u, R_CONTROL,
			f->control & ~(how & 1 ? C_IOMMU : 0) & ~(how & 2 ? C_CMD : 0) &
				~(how & 4 ? C_EVT : 0));
		reg_set(&f->u, R_CONTROL, f->control);
		return;
	}
	/* A reset forgets the rings; they are where they were, and empty. */
	amd_iommu_engine_reset(f->u.e);
	f->u.tail = 0;
	reg_set(&f->u, R_DEVTAB, DEVTAB | 0x1ff);
	reg_set(&f->u, R_CMD_BASE, CMDBUF | 9ull << 56);
	reg_set(&f->u, R_EVT_BASE, EVTLOG | 9ull << 56);
	reg_set(&f->u, R_CONTROL, f->control);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	const unsigned how = input_u8(&in);
	struct amd_fuzz f;

	amd_fuzz_new(&f, how, C_RUNNING | (how & 0x10 ? C_GT : 0));
	while (in.left) {
		switch (input_pick(&in, 16)) {
		case 0:
		case 1:
			amd_op_dte(&f, &in);
			break;
		case 2:
		case 3:
		case 4:
			amd_op_table(&f, &in);
			break;
		case 5:
		case 6:
			amd_op_command(&f, &in);
			break;
		case 7:
		case 8:
			amd_op_dma(&f, &in);
			break;
		case 9:
			amd_op_interrupt_dte(&f, &in);
			break;
		case 10:
			amd_op_irte(&f, &in);
			break;
		case 11:
			amd_op_interrupt(&f, &in);
			break;
		case 12:
			amd_op_interrupt_mode(&f, &in);
			break;
		case 13:
			op_reopen(&f, &in);
			break;
		case 14:
			op_power(&f, &in);
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
