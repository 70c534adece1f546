// SPDX-License-Identifier: Apache-2.0
/* The walk over a range, by which tables are mirrored elsewhere. */
#include <errno.h>

#include "amd_visits.h"

static void expect_visit(const struct visits *v, unsigned i, uint64_t iova, uint64_t gpa,
			 uint64_t length, unsigned prot)
{
	cr_assert_gt(v->count, i, "visit %u is missing", i);
	cr_assert(v->visit[i].iova == iova && v->visit[i].gpa == gpa &&
			  v->visit[i].length == length && v->visit[i].prot == prot,
		  "visit %u: %lx to %lx, %lx bytes, %u", i, v->visit[i].iova, v->visit[i].gpa,
		  v->visit[i].length, v->visit[i].prot);
}

static struct amd_device_state start(struct unit *u, unsigned levels)
{
	unit_start(u, C_RUNNING);
	return (struct amd_device_state){
		.kind = AMD_TRANSLATION_V1,
		.prot = DMA_READ | DMA_WRITE,
		.root = table_new(u),
		.mode = levels,
	};
}

#define RW (DMA_READ | DMA_WRITE)

Test(amd_leaves, ascending_with_permissions)
{
	struct visits v = {0};
	struct unit u;
	struct amd_device_state state = start(&u, 4);
	uint64_t low = tables_down(&u, state.root, 4, 1, 0), mid;

	pte_set(&u, low, 1, 0x3000, 0x30000 | BIT(61) | 1);
	pte_set(&u, low, 1, 0x1000, 0x10000 | RW_BITS | 1);
	pte_set(&u, low, 1, 0x2000, 0x11000 | RW_BITS | 1);
	pte_set(&u, low, 1, 0x4000, 0x40000 | 1);		      /* no permission */
	pte_set(&u, low, 1, 0x5000, 0x50000 | RW_BITS);		      /* not present */
	pte_set(&u, low, 1, 0x6000, 0x60000 | RW_BITS | BIT(52) | 1); /* reserved bit */
	pte_set(&u, low, 1, 0x7000, 0x70000 | RW_BITS | 2 << 9 | 1);  /* bad level */
	/* A 4-MiB page through a write-only directory, and a level skipped. */
	mid = table_new(&u);
	pte_set(&u, state.root, 4, 1ull << 39, mid | 2 << 9 | BIT(62) | 1);
	for (unsigned i = 0; i < 2; i++)
		pte_set(&u, mid, 2, i * 0x200000, 0x400000 | 0x1ff000 | 7 << 9 | RW_BITS | 1);

	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0, ~0ull, 10000, record, &v), 0);
	cr_assert_eq(v.count, 4);
	expect_visit(&v, 0, 0x1000, 0x10000, 0x1000, RW);
	expect_visit(&v, 1, 0x2000, 0x11000, 0x1000, RW);
	expect_visit(&v, 2, 0x3000, 0x30000, 0x1000, DMA_READ);
	expect_visit(&v, 3, 1ull << 39, 0x400000, 0x400000, DMA_WRITE);
	unit_free(&u);
}

Test(amd_leaves, clipped_and_stopped)
{
	struct visits v = {0};
	struct unit u;
	struct amd_device_state state = start(&u, 3);
	uint64_t table = tables_down(&u, state.root, 3, 2, 0);

	pte_set(&u, table, 2, 0x200000, 0x800000 | RW_BITS | 1);
	pte_set(&u, table, 2, 0x400000, 0xa00000 | RW_BITS | 1);
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0x201000, 0x401fff, 99, record, &v), 0);
	cr_assert_eq(v.count, 2);
	expect_visit(&v, 0, 0x201000, 0x801000, 0x1ff000, RW);
	expect_visit(&v, 1, 0x400000, 0xa00000, 0x2000, RW);

	v = (struct visits){.stop_at = 1};
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0, ~0ull, 10000, record, &v), 17);
	cr_assert_eq(v.count, 1);

	state.prot = DMA_READ;
	v = (struct visits){0};
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0x200000, 0x200000, 99, record, &v), 0);
	expect_visit(&v, 0, 0x200000, 0x800000, 1, DMA_READ);
	unit_free(&u);
}

/* Copies of one large page that do not agree are taken as they are. */
Test(amd_leaves, copies_that_differ)
{
	struct visits v = {0};
	struct unit u;
	struct amd_device_state state = start(&u, 1);

	pte_set(&u, state.root, 1, 0x4000, 0x10000 | 0x1000 | 7 << 9 | RW_BITS | 1);
	pte_set(&u, state.root, 1, 0x5000, 0x20000 | 0x1000 | 7 << 9 | RW_BITS | 1);
	pte_set(&u, state.root, 1, 0x6000, 0x20000 | 0x1000 | 7 << 9 | RW_BITS | 1);
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0, ~0ull, 10000, record, &v), 0);
	cr_assert_eq(v.count, 2);
	expect_visit(&v, 0, 0x4000, 0x10000, 0x1000, RW);
	expect_visit(&v, 1, 0x5000, 0x21000, 0x2000, RW);
	unit_free(&u);
}

/* What no DMA reaches is not mirrored: a leaf over the interrupt window and the HT range. */
Test(amd_leaves, closed_ranges_are_left_out)
{
	struct visits v = {0};
	struct unit u;
	struct amd_device_state state = start(&u, 6);
	uint64_t table = tables_down(&u, state.root, 6, 5, 0);

	pte_set(&u, table, 5, 0, RW_BITS | 1); /* 2^48 bytes */
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0, ~0ull, 10000, record, &v), 0);
	cr_assert_eq(v.count, 3);
	expect_visit(&v, 0, 0, 0, 0xfee00000, RW);
	expect_visit(&v, 1, 0xfef00000, 0xfef00000, 0xfd00000000 - 0xfef00000, RW);
	expect_visit(&v, 2, 1ull << 40, 1ull << 40, (1ull << 48) - (1ull << 40), RW);
	v = (struct visits){0};
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0xfee01000, 0xfee01fff, 99, record, &v), 0);
	cr_assert_eq(v.count, 0);
	unit_free(&u);
}

/* Tables that repeat themselves without end cost no more than the budget. */
Test(amd_leaves, budget)
{
	struct visits v = {0};
	struct unit u;
	struct amd_device_state state = start(&u, 6);
	uint64_t table = state.root;

	for (unsigned level = 6; level > 1; level--) {
		uint64_t next = table_new(&u);

		for (unsigned i = 0; i < 512; i++)
			put64(&u, table + i * 8, pde(next, level - 1));
		table = next;
	}
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0, ~0ull, 100000, record, &v), -E2BIG);
	/* The last table gets one page: 6 entries lead there. */
	pte_set(&u, table, 1, 0, 0x10000 | RW_BITS | 1);
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0, 0xfff, 6, record, &v), 0);
	cr_assert_eq(v.count, 1);
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0, 0xfff, 5, record, &v), -E2BIG);
	cr_assert_eq(v.count, 1);
	unit_free(&u);
}

Test(amd_leaves, hostile)
{
	struct visits v = {0};
	struct unit u;
	struct amd_device_state state = start(&u, 6);

	state.root = HOLE;
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0, ~0ull, 10, record, &v), 0);
	state.root = 0xffffffffff000;
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0, ~0ull, 10, record, &v), 0);
	state.mode = 7;
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0, ~0ull, 10, record, &v), -EINVAL);
	state.mode = 0;
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0, ~0ull, 10, record, &v), -EINVAL);
	state.mode = 1;
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 2, 1, 10, record, &v), -EINVAL);
	state.kind = AMD_TRANSLATION_IDENTITY;
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0, ~0ull, 10, record, &v), -EINVAL);
	cr_assert_eq(v.count, 0);
	unit_free(&u);
}

/* The exclusion range lies over whatever else is said of the addresses in it. */
Test(amd_leaves, exclusion_range)
{
	struct unit u;
	struct amd_device_state state = start(&u, 3);
	uint64_t table = tables_down(&u, state.root, 3, 2, 0);
	struct visits v = {0};

	pte_set(&u, table, 2, 0x200000, 0x600000 | RW_BITS | 1);
	state.excluded = true;
	state.excluded_first = 0x280000;
	state.excluded_last = 0x2fffff;
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0, ~0ull, 10000, record, &v), 0);
	cr_assert_eq(v.count, 3);
	expect_visit(&v, 0, 0x200000, 0x600000, 0x80000, RW);
	expect_visit(&v, 1, 0x280000, 0x280000, 0x80000, RW);
	expect_visit(&v, 2, 0x300000, 0x700000, 0x100000, RW);

	v.count = 0;
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0x2ff000, 0x300fff, 10000, record, &v), 0);
	cr_assert_eq(v.count, 2, "clipped");
	expect_visit(&v, 0, 0x2ff000, 0x2ff000, 0x1000, RW);
	expect_visit(&v, 1, 0x300000, 0x700000, 0x1000, RW);

	v.count = 0;
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0, 0x27ffff, 10000, record, &v), 0);
	cr_assert_eq(v.count, 1, "elsewhere");

	v.count = 0;
	state.kind = AMD_TRANSLATION_BLOCKED;
	state.prot = 0;
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0, ~0ull, 10000, record, &v), 0);
	cr_assert_eq(v.count, 1, "blocked");
	expect_visit(&v, 0, 0x280000, 0x280000, 0x80000, RW);

	v.count = 0;
	state.kind = AMD_TRANSLATION_IDENTITY;
	state.prot = DMA_READ;
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0, 0xffffff, 10000, record, &v), 0);
	cr_assert_eq(v.count, 3, "identity");
	expect_visit(&v, 0, 0, 0, 0x280000, DMA_READ);
	expect_visit(&v, 1, 0x280000, 0x280000, 0x80000, RW);
	expect_visit(&v, 2, 0x300000, 0x300000, 0xd00000, DMA_READ);

	/* The interrupt window stays closed. */
	v.count = 0;
	state.kind = AMD_TRANSLATION_BLOCKED;
	state.excluded_first = 0xfed00000;
	state.excluded_last = 0xfeffffff;
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0, ~0ull, 10000, record, &v), 0);
	cr_assert_eq(v.count, 2);
	expect_visit(&v, 0, 0xfed00000, 0xfed00000, 0x100000, RW);
	expect_visit(&v, 1, 0xfef00000, 0xfef00000, 0x100000, RW);

	state.excluded = false;
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0, ~0ull, 10000, record, &v), -EINVAL);
	unit_free(&u);
}
