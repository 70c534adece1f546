/* SPDX-License-Identifier: Apache-2.0 */
/* Interrupt remapping, driven by the bytes of a fuzzer. */
#ifndef POSTERN_FUZZ_AMD_INTERRUPTS_H
#define POSTERN_FUZZ_AMD_INTERRUPTS_H

#include "tests/fuzz/amd.h"

#define WINDOW_MSI UINT64_C(0xfee00000)

/* The interrupt half of a DTE: the table that is there, of some length. */
static inline void amd_op_interrupt_dte(struct amd_fuzz *f, struct input *in)
{
	const unsigned how = input_u8(in), more = input_u8(in);
	const uint16_t devid = amd_devid[how & 1];
	uint64_t word = INTTAB | (how & 2 ? 0 : 1) | (uint64_t)(more & 15) << 1 |
			(uint64_t)(how >> 2 & 3) << 60 | (how & 0x10 ? 0x20 : 0) |
			(uint64_t)(more >> 4 & 7) << 56;

	if (how & 0x80)
		word ^= BIT(input_u8(in) % 64);
	if (how & 0x40)
		word = (word & ~GENMASK(51, 6)) | (RAM_SIZE - 128);
	put64(&f->u, DEVTAB + devid * 32ull + 16, word);
	put64(&f->u, DEVTAB + devid * 32ull + 24, 0);
}

static inline void amd_op_irte(struct amd_fuzz *f, struct input *in)
{
	const unsigned how = input_u8(in), index = input_u8(in) & 31;

	if (how & 1) {
		uint32_t irte = 1u | (how & 0xfe) | (uint32_t)input_u16(in) << 8;

		guest_memory_write(&f->u.gm, INTTAB + index * 4, &irte, sizeof(irte));
	} else {
		put64(&f->u, INTTAB + index * 16, 1 | (how & 0xfe) | (uint64_t)input_u16(in) << 8);
		put64(&f->u, INTTAB + index * 16 + 8,
		      (uint64_t)input_u8(in) | (uint64_t)input_u8(in) << 56);
	}
	if (how & 0x80)
		put64(&f->u, INTTAB + index * 8, input_u64(in));
}

static inline void amd_op_interrupt_mode(struct amd_fuzz *f, struct input *in)
{
	const unsigned how = input_u8(in);

	f->control &= ~(C_GA | C_XT | BIT(43) | BIT(44));
	f->control |= (how & 1 ? C_GA : 0) | (how & 2 ? C_XT : 0) | (uint64_t)(how >> 2 & 3) << 43;
	reg_set(&f->u, R_CONTROL, f->control);
}

/*
 * A message of a device. What leaves goes to interrupt controllers only; the answer is the same
 * however often it is asked for; and what is refused is logged once at most.
 */
static inline void amd_op_interrupt(struct amd_fuzz *f, struct input *in)
{
	const unsigned how = input_u8(in);
	const uint16_t devid = amd_devid[how & 1];
	struct msi_msg msg = {.addr = WINDOW_MSI | (uint64_t)input_u8(in) << 2,
			      .data = input_u16(in)};
	struct msi_msg out = {0}, again = {0};
	struct unit *u = &f->u;
	struct amd_iommu_stats before, after;
	uint64_t word = get64(u, DEVTAB + devid * 32ull + 16);
	int ret, second;

	if (how & 0x80)
		msg.addr = input_u64(in);
	ret = amd_iommu_engine_remap(u->e, devid, &msg, &out, false);
	amd_iommu_engine_stats(u->e, &before);
	second = amd_iommu_engine_remap(u->e, devid, &msg, &again, true);
	amd_iommu_engine_stats(u->e, &after);
	require(ret == second && (ret || (out.addr == again.addr && out.data == again.data)),
		"two answers to one question");
	require(ret == 0 || ret == -EACCES);
	after.events += after.events_lost;
	before.events += before.events_lost;
	require(after.events - before.events <= (ret ? 1u : 0u), "%llu events",
		(unsigned long long)(after.events - before.events));
	if (ret || !(word & 1) || !(f->control & C_IOMMU))
		return;
	require((out.addr & UINT64_C(0xfff00000)) == WINDOW_MSI && !(out.addr & GENMASK(39, 32)),
		"%llx is no interrupt", (unsigned long long)out.addr);
	/* Remapped by a table: RemapEn is set in the entry, and the vector is its. */
	if ((out.addr != msg.addr || out.data != msg.data) && (word >> 60 & 3) == 2) {
		const uint64_t root = word & GENMASK(51, 6);
		const unsigned index = msg.data & 0x7ff;
		uint64_t low = 0, high = 0;

		if (f->control & C_GA) {
			low = get64(u, root + index * 16);
			high = get64(u, root + index * 16 + 8);
			require(low & 1 && (out.data & 0xff) == (high & 0xff));
		} else {
			low = get64(u, root + align_down(index * 4, 8)) >> (index & 1 ? 32 : 0);
			require(low & 1 && (out.data & 0xff) == (low >> 16 & 0xff));
		}
		require(index < BIT(word >> 1 & 15), "past the end of the table");
	}
}

#endif
