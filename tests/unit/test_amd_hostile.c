// SPDX-License-Identifier: Apache-2.0
/*
 * A guest that writes anything anywhere, from a fixed seed (reference case 128): the unit comes
 * back every time, keeps its pointers inside its rings and writes to no memory but RAM.
 */
#include <errno.h>

#include "amd_unit.h"

static uint64_t state;

static uint64_t any(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* One of a few pages, so that tables come to point to each other and to themselves. */
static uint64_t any_page(void)
{
	return TABLES + any() % 16 * 4096;
}

/* Words that mean something more often than chance would have it. */
static uint64_t any_word(void)
{
	switch (any() % 7) {
	case 0:
		return any();
	case 1: /* an entry of a page table */
		return any_page() | any() % 8 << 9 | RW_BITS | any() % 2;
	case 2: /* an entry of the device table */
		return any_page() | any() % 8 << 9 | RW_BITS | 3;
	case 3: /* a command */
		return any() % 16 << 60 | (any() & 0xfff8);
	case 4: /* an interrupt table, or an entry of one */
		return 1 | any() % 16 << 1 | any_page() | any() % 4 << 60;
	case 5: /* an entry of a guest table or of a GCR3 table */
		return any_page() | 1 | any() % 4 * 3 << 1 | any() % 8 / 7 << 7;
	default:
		return BIT(any() % 64);
	}
}

static int visit(void *opaque, uint64_t iova, uint64_t gpa, uint64_t length, unsigned prot)
{
	(void)opaque;
	cr_assert_neq(length, 0);
	cr_assert(iova + (length - 1) >= iova && gpa + (length - 1) >= gpa);
	cr_assert(prot && prot <= (DMA_READ | DMA_WRITE));
	return 0;
}

static void check_pointers(struct unit *u)
{
	for (unsigned ring = 0; ring < 2; ring++) {
		unsigned log2 = reg_get(u, ring ? R_EVT_BASE : R_CMD_BASE) >> 56;
		uint64_t bytes = log2 < 8 ? 1 : 16ull << log2;

		cr_assert_lt(reg_get(u, R_CMD_HEAD + ring * 16), bytes);
		cr_assert_lt(reg_get(u, R_CMD_TAIL + ring * 16), bytes);
	}
}

/* A DTE with guest tables, most of whose fields make sense. */
static void any_guest_dte(struct unit *u)
{
	const uint64_t gcr3 = any_page();

	dte_set(u, DEV,
		any_page() | any() % 4 << 9 | any() % 4 << 7 | any() % 2 << 54 | 1ull << 55 |
			any() % 2 << 56 | (gcr3 >> 12 & 7) << 58 | RW_BITS | 3,
		any() % 4 | (gcr3 >> 15 & 0xffff) << 16, any() % 2 << 54, 0);
}

static void anything(uint64_t efr, uint64_t efr2, uint64_t control)
{
	static const uint16_t offsets[] = {0x0,	   0x8,	   0x10,   0x18,   0x20,  0x28,	  0x30,
					   0x38,   0x170,  0x178,  0x180,  0x1a0, 0x2000, 0x2008,
					   0x2010, 0x2018, 0x2020, 0x2030, 0x2038};
	struct amd_iommu_stats stats;
	unsigned tables[AMD_TRANSLATION_V2 + 1] = {0};
	struct dma_segment seg[4];
	struct dma_space *ds, *pasid_ds;
	struct unit u;

	state = 0x9e3779b97f4a7c15;
	unit_start_features(&u, efr, efr2, C_RUNNING | C_EVTINT | C_CWINT | (control & ~any()));
	cr_assert_eq(amd_iommu_dma_space_new(u.e, DEV, &ds), 0);
	cr_assert_eq(amd_iommu_dma_space_new_pasid(u.e, DEV, 1, &pasid_ds), 0);
	for (unsigned i = 0; i < 200000; i++) {
		struct msi_msg msg = {0xfee00000 | any() % 0x100000, any() % 0x10000}, out;
		struct amd_device_state device;
		uint64_t tail = reg_get(&u, R_CMD_TAIL);

		/* Where the unit looks, more often than chance would have it. */
		put64(&u, any_page() + any() % 512 * 8, any_word());
		put64(&u, DEVTAB + DEV * 32 + any() % 4 * 8, any_word());
		put64(&u, DEVTAB + DEV * 32 + 8, any() % 4 ? any() % 4 : any());
		if (control & C_GT && any() % 2)
			any_guest_dte(&u);
		if (any() % 8 == 0)
			reg_set(&u, offsets[any() % ARRAY_SIZE(offsets)],
				any() % 2 ? any() : any_word());
		if (any() % 64 == 0 || (any() % 2 && !(reg_get(&u, R_STATUS) & S_CMDRUN))) {
			/* Back to something that works. */
			reg_set(&u, R_CONTROL, 0);
			reg_set(&u, R_STATUS, ~0ull);
			reg_set(&u, R_DEVTAB, DEVTAB | 0x1ff);
			reg_set(&u, R_CMD_BASE, CMDBUF | (8 + any() % 8) << 56);
			reg_set(&u, R_EVT_BASE, EVTLOG | (8 + any() % 8) << 56);
			reg_set(&u, R_CONTROL,
				C_RUNNING | C_EVTINT | (any() & (C_GA | C_XT | control)));
			tail = 0;
		}
		put64(&u, CMDBUF + tail, any_word());
		put64(&u, CMDBUF + tail + 8, any() % 2 ? 0 : any_word());
		reg_set(&u, R_CMD_TAIL, tail + 16);
		check_pointers(&u);

		(void)dma_space_map(ds, any() >> any() % 64, 1 + (any() >> (32 + any() % 32)),
				    1 + any() % 3, seg, 4);
		(void)dma_space_map(pasid_ds, any() >> any() % 64, 1 + any() % 5000, 1 + any() % 3,
				    seg, 4);
		(void)amd_iommu_engine_remap(u.e, DEV, &msg, &out, any() % 2);
		amd_iommu_engine_device_state(u.e, DEV, &device);
		tables[device.kind]++;
		if (amd_device_has_tables(&device))
			(void)amd_iommu_engine_walk(u.e, &device, 0, ~0ull, 1000, visit, NULL);
	}
	/* The run went through the machinery, not past it. */
	amd_iommu_engine_stats(u.e, &stats);
	cr_assert_gt(stats.commands, 1000);
	cr_assert_gt(stats.events, 1000);
	cr_assert_gt(stats.walks, 1000);
	cr_assert_gt(tables[AMD_TRANSLATION_V1], 1000);
	cr_assert_eq(tables[AMD_TRANSLATION_V2] > 1000, (control & C_GT) != 0);
	amd_iommu_dma_space_free(pasid_ds);
	amd_iommu_dma_space_free(ds);
	unit_free(&u);
}

Test(amd_hostile, basic_features)
{
	anything(AMD_IOMMU_EFR_DEFAULT, AMD_IOMMU_EFR2_DEFAULT, 0);
}

Test(amd_hostile, guest_tables)
{
	anything(AMD_IOMMU_EFR_V2, AMD_IOMMU_EFR2_V2, C_GT | C_TRP);
}
