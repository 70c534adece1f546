// SPDX-License-Identifier: Apache-2.0
/* What the IOTLB of a space keeps and what it gives up (reference 5.1, 5.2, 7.8). */
#include "amd_unit.h"

#define DOM	 0x77
#define PAGE	 0x40000ull
#define SIZE_16K (BIT(12) | 7 << 9) /* NextLevel 7, and the size in the address */

static void touch(struct dma_space *ds, uint64_t iova)
{
	struct dma_segment seg;

	cr_assert_eq(dma_space_map(ds, iova, 1, DMA_READ, &seg, 1), 1, "%lx", iova);
}

/* What an invalidation does not name stays cached; a page that it touches goes as a whole. */
Test(amd_iotlb, invalidation_by_range)
{
	static const struct {
		const char *name;
		uint64_t large; /* size of the page at 2 MiB: log2 */
		uint64_t word1; /* of the command */
		bool stays[3];	/* 0x5000, 0x6000, the last 4 KiB of the large page */
	} cases[] = {
		{"a page", 12, 0x5000, {false, true, true}},
		{"the next", 12, 0x6000, {true, false, true}},
		{"8 KiB", 12, 0x4000 | 1, {false, true, true}},
		{"16 KiB", 12, 0x5000 | 1, {false, false, true}},
		{"another address", 12, 0x105000, {true, true, true}},
		{"256 KiB", 12, 0x1f000 | 1, {false, false, true}},
		{"512 KiB: all that there is", 12, 0x3f000 | 1, {false, false, false}},
		{"the first part of 16 KiB", 14, BIT(21), {true, true, false}},
		{"beside 16 KiB", 14, BIT(21) + 0x4000, {true, true, true}},
		{"the first part of 2 MiB", 21, BIT(21), {false, false, false}},
		{"the domain", 12, 0x7ffffffffffff000 | 1, {false, false, false}},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		const uint64_t size = BIT(cases[i].large);
		const uint64_t iova[3] = {0x5000, 0x6000, BIT(21) + size - 4096};
		struct dma_space *ds;
		uint64_t root, table, generation;
		struct unit u;

		unit_start(&u, C_RUNNING);
		root = table_new(&u);
		dte_set(&u, DEV, 3 | RW_BITS | 2 << 9 | root, DOM, 0, 0);
		cr_assert_eq(amd_iommu_dma_space_new(u.e, DEV, &ds), 0);
		table = table_new(&u);
		pte_set(&u, root, 2, 0, pde(table, 1));
		pte_set(&u, table, 1, 0x5000, PAGE | RW_BITS | 1);
		pte_set(&u, table, 1, 0x6000, PAGE | RW_BITS | 1);
		if (size == BIT(21)) {
			pte_set(&u, root, 2, BIT(21), BIT(21) | RW_BITS | 1);
		} else {
			table = table_new(&u);
			pte_set(&u, root, 2, BIT(21), pde(table, 1));
			for (uint64_t at = 0; at < size; at += 4096)
				pte_set(&u, table, 1, at,
					(size == 4096 ? PAGE : PAGE | SIZE_16K) | RW_BITS | 1);
		}
		for (unsigned n = 0; n < 3; n++)
			touch(ds, iova[n]);
		cr_assert_eq(events(&u), 0, "%s", cases[i].name);
		/* Every part that is cached, not only the one that is named. */
		touch(ds, BIT(21));
		generation = dma_space_generation(ds);
		cmd(&u, 3ull << 60 | (uint64_t)DOM << 32, cases[i].word1);
		cr_assert_neq(dma_space_generation(ds), generation);
		for (unsigned n = 0; n < 3; n++) {
			struct amd_iommu_stats before, after;

			amd_iommu_engine_stats(u.e, &before);
			touch(ds, iova[n]);
			amd_iommu_engine_stats(u.e, &after);
			cr_assert_eq(after.walks == before.walks, cases[i].stays[n],
				     "%s: address %lx", cases[i].name, iova[n]);
		}
		amd_iommu_dma_space_free(ds);
		unit_free(&u);
	}
}
