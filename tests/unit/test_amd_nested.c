// SPDX-License-Identifier: Apache-2.0
/* Guest tables over host tables, and the walk over a range of either (reference 4.3 and 7.4). */
#include "amd_guest_unit.h"
#include "amd_visits.h"

#define SHIFTED 0x400000ull /* what the guest of the guest calls 0 */

/*
 * A host table of 3 levels that puts guest physical 0 to 4 MiB at SHIFTED + 4 MiB, in pages of 4
 * KiB that tests then change; guest tables inside, their addresses 8 MiB lower than where they are.
 */
struct nested {
	struct unit u;
	uint64_t host, pages[2]; /* the host's level-1 tables */
	uint64_t root, leaf;	 /* the guest's level 4 and 1, in RAM */
	struct dma_space *ds;
};

#define INSIDE (8 * MIB) /* RAM address of guest physical 0 */
/* Of the host's table, and of the guest's */
#define N_ROOT 0x10000ull
#define N_GCR3 0x20000ull
#define N_PAGE 0x30000ull

static void host_page(struct nested *n, uint64_t gpa, uint64_t entry)
{
	pte_set(&n->u, n->pages[gpa / BIG], 1, gpa, entry);
}

static void nested_start(struct nested *n, uint64_t q0, uint64_t control, bool gcr3_gpa)
{
	unit_start_features(&n->u, FULL, 8, control);
	n->host = table_new(&n->u);
	for (unsigned i = 0; i < 2; i++) {
		const uint64_t base = i * BIG;

		if (!i)
			n->pages[0] = tables_down(&n->u, n->host, 3, 1, 0);
		else
			n->pages[1] = table_new(&n->u);
		for (uint64_t page = base; page < base + BIG; page += 4096)
			host_page(n, page, (INSIDE + page) | RW_BITS | PR);
	}
	/* The second level-1 table hangs beside the first. */
	pte_set(&n->u, get64(&n->u, n->host) & GENMASK(51, 12), 2, BIG, pde(n->pages[1], 1));
	n->root = INSIDE + N_ROOT;
	n->leaf = INSIDE + N_ROOT + 3 * 4096;
	put64(&n->u, INSIDE + N_GCR3, N_ROOT | 1);
	for (unsigned level = 4; level > 1; level--)
		pte_set(&n->u, INSIDE + N_ROOT + (4 - level) * 4096, level, IOVA,
			(N_ROOT + (5 - level) * 4096) | USER);
	pte_set(&n->u, n->leaf, 1, IOVA, N_PAGE | USER);
	guest_dte(&n->u, q0 | V | TV | IR | IW | GV | GIOV | MODE(3) | n->host, 0,
		  gcr3_gpa ? N_GCR3 : INSIDE + N_GCR3);
	n->ds = space_new(&n->u, NO_PASID);
}

static void nested_end(struct nested *n)
{
	amd_iommu_dma_space_free(n->ds);
	unit_free(&n->u);
}

/* GCR3TRPMode: the table's address is a system or a guest physical one. */
Test(amd_nested, nested_both_modes)
{
	for (unsigned trp = 0; trp < 2; trp++) {
		struct nested n;

		nested_start(&n, 0, C_V2 | (trp ? C_TRP : 0), trp);
		expect_gpa(&n.u, n.ds, "nested", IOVA + 5, DMA_READ | DMA_WRITE,
			   INSIDE + N_PAGE + 5);
		cr_assert_eq(get64(&n.u, n.leaf + 5 * 8), N_PAGE | USER | A | D);
		/* The other mode finds another table: none. */
		reg_set(&n.u, R_CONTROL, C_V2 | (trp ? 0 : C_TRP));
		if (trp)
			expect_fault(&n.u, n.ds, "SPA", IOVA, DMA_READ,
				     guest_event_word(2, 0, 0, DEV), IOVA);
		else
			expect_fault(&n.u, n.ds, "GPA", IOVA, DMA_READ,
				     guest_event_word(2, 0, 0, DEV), IOVA);
		nested_end(&n);
	}
}

/* Each step through the host table, refused there. */
Test(amd_nested, nested_faults)
{
	static const struct {
		const char *name;
		uint64_t gpa, entry;
		unsigned access;
		uint64_t had;
		int flags; /* -1: let through */
	} cases[] = {
		{"page not present", N_PAGE, 0, DMA_READ, 0, 0x000},
		{"page read-only, write", N_PAGE, IR | PR, DMA_WRITE, 0, 0x070},
		{"page read-only, read", N_PAGE, IR | PR, DMA_READ, 0, -1},
		{"page write-only, read", N_PAGE, IW | PR, DMA_READ, 0, 0x050},
		{"page with a reserved bit", N_PAGE, BIT(52) | RW_BITS | PR, DMA_READ, 0, 0x090},
		{"GCR3 table not present", N_GCR3, 0, DMA_READ, 0, 0x000},
		{"GCR3 table write-only", N_GCR3, IW | PR, DMA_READ, 0, 0x050},
		{"GCR3 table read-only", N_GCR3, IR | PR, DMA_WRITE, 0, -1},
		{"root not present", N_ROOT, 0, DMA_WRITE, 0, 0x020},
		{"leaf table write-only", N_ROOT + 0x3000, IW | PR, DMA_WRITE, 0, 0x070},
		{"leaf table read-only: no place for A", N_ROOT + 0x3000, IR | PR, DMA_READ, 0,
		 0x050},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t entry = cases[i].entry;
		struct nested n;

		nested_start(&n, cases[i].had, C_V2 | C_TRP, true);
		if (entry)
			entry |= INSIDE + cases[i].gpa;
		host_page(&n, cases[i].gpa, entry);
		if (cases[i].flags < 0)
			expect_gpa(&n.u, n.ds, cases[i].name, IOVA, cases[i].access,
				   INSIDE + N_PAGE);
		else
			expect_fault(&n.u, n.ds, cases[i].name, IOVA, cases[i].access,
				     guest_event_word(2, (unsigned)cases[i].flags, 0, DEV), IOVA);
		nested_end(&n);
	}
}

/* A large page of the guest over small ones of the host, and the other way round. */
Test(amd_nested, nested_sizes_and_permissions)
{
	struct amd_iommu_stats stats;
	struct dma_segment seg[4];
	struct nested n;

	nested_start(&n, HAD(3), C_V2 | C_TRP, true);
	/* Guest: 2 MiB at BIG for 2 MiB at BIG. */
	pte_set(&n.u, INSIDE + N_ROOT + 0x2000, 2, BIG, BIG | USER | PS);
	host_page(&n, BIG + 0x1000, 0x50000 | RW_BITS | PR);
	host_page(&n, BIG + 0x2000, 0);
	host_page(&n, BIG + 0x3000, 0x60000 | IR | PR);
	expect_gpa(&n.u, n.ds, "4 KiB of it", BIG + 0x1234, DMA_READ, 0x50234);
	expect_gpa(&n.u, n.ds, "the next 4 KiB", BIG + 0xfff, DMA_READ, INSIDE + BIG + 0xfff);
	expect_fault(&n.u, n.ds, "not of the host", BIG + 0x2000, DMA_READ,
		     guest_event_word(2, 0, 0, DEV), BIG + 0x2000);
	expect_gpa(&n.u, n.ds, "readable", BIG + 0x3000, DMA_READ, 0x60000);
	expect_fault(&n.u, n.ds, "only readable", BIG + 0x3000, DMA_WRITE,
		     guest_event_word(2, 0x70, 0, DEV), BIG + 0x3000);
	cr_assert_eq(dma_space_map(n.ds, BIG + 0xff0, 0x20, DMA_WRITE, seg, 4), 2);
	/* The host's D went with the write, page by page. */
	cr_assert(get64(&n.u, n.pages[1]) & D);
	cr_assert(get64(&n.u, n.pages[1] + 8) & D);
	cr_assert_not(get64(&n.u, n.pages[1] + 3 * 8) & D);

	/* Host: 2 MiB at BIG. Guest: 4 KiB in its middle. */
	pte_set(&n.u, get64(&n.u, n.host) & GENMASK(51, 12), 2, BIG, BIG | RW_BITS | PR);
	pte_set(&n.u, n.leaf, 1, 0x6000, (BIG + 0x7000) | P | US);
	inv_all_pages(&n.u, DOM);
	expect_gpa(&n.u, n.ds, "in a large page", 0x6010, DMA_READ, BIG + 0x7010);
	expect_fault(&n.u, n.ds, "the guest forbids", 0x6010, DMA_WRITE,
		     guest_event_word(2, 0x70, 0, DEV), 0x6010);
	expect_fault(&n.u, n.ds, "the page ends", 0x7010, DMA_READ, guest_event_word(2, 0, 0, DEV),
		     0x7010);
	amd_iommu_engine_stats(n.u.e, &stats);
	cr_assert_eq(stats.faults, 4);
	nested_end(&n);
}

/* What listeners are told of a nested domain: the host's addresses say nothing about the guest's.
 */
Test(amd_nested, listeners)
{
	struct nested n;

	nested_start(&n, 0, C_V2 | C_TRP, true);
	cmd(&n.u, 3ull << 60 | (uint64_t)DOM << 32, 0x5000);
	cr_assert(n.u.pages == 1 && n.u.domain == DOM && n.u.iova == 0 && n.u.last == ~0ull);
	cmd(&n.u, 3ull << 60 | (uint64_t)DOM << 32, 0x5000 | BIT(2));
	cr_assert(n.u.pages == 2 && n.u.iova == 0x5000 && n.u.last == 0x5fff);
	cmd(&n.u, 3ull << 60 | (DOM + 1ull) << 32, 0x5000);
	cr_assert(n.u.pages == 3 && n.u.iova == 0x5000 && n.u.last == 0x5fff);
	cmd(&n.u, 8ull << 60, 0);
	cr_assert(n.u.pages == 4 && n.u.domain == DOM && n.u.last == ~0ull);
	/* Control bits that decide about all tables. */
	n.u.devices = 0;
	reg_set(&n.u, R_CONTROL, C_V2);
	cr_assert_eq(n.u.devices, 1);
	reg_set(&n.u, R_CONTROL, C_RUNNING);
	cr_assert_eq(n.u.devices, 2);
	nested_end(&n);
}

/* ---- the walk over a range ---- */

#define RW (DMA_READ | DMA_WRITE)
#define EXPECT_VISIT(v, i, a, b, c, d)                                                             \
	cr_assert((v).visit[i].iova == (a) && (v).visit[i].gpa == (b) &&                           \
			  (v).visit[i].length == (c) && (v).visit[i].prot == (d),                  \
		  "visit %u: %lx to %lx, %lx bytes, %u", i, (v).visit[i].iova, (v).visit[i].gpa,   \
		  (v).visit[i].length, (v).visit[i].prot)

Test(amd_nested, leaves)
{
	struct amd_device_state state;
	uint64_t root, table, high;
	struct visits v = {0};
	struct unit u;

	root = guest_start(&u, FULL);
	table = guest_tables_down(&u, root, 4, 1, 0);
	pte_set(&u, table, 1, 0x3000, PAGE | USER);
	pte_set(&u, table, 1, 0x4000, 0x50000 | P | US);
	pte_set(&u, table, 1, 0x6000, 0x60000 | P | W); /* supervisor */
	high = guest_tables_down(&u, root, 4, 2, 1ull << 47);
	pte_set(&u, high, 2, 1ull << 47, BIG | USER | PS);
	pte_set(&u, high, 2, (1ull << 47) + BIG, BIT(13) | USER | PS); /* malformed */
	amd_iommu_engine_device_state(u.e, DEV, &state);
	cr_assert_eq(state.kind, AMD_TRANSLATION_V2);
	cr_assert(amd_device_has_tables(&state));
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0, ~0ull, 100000, record, &v), 0);
	cr_assert_eq(v.count, 3);
	EXPECT_VISIT(v, 0, 0x3000, PAGE, 0x1000, RW);
	EXPECT_VISIT(v, 1, 0x4000, 0x50000, 0x1000, DMA_READ);
	EXPECT_VISIT(v, 2, 1ull << 47, BIG, BIG, RW);
	/* A mirror uses them: D where it can write. */
	cr_assert_eq(get64(&u, table + 3 * 8), PAGE | USER | A | D);
	cr_assert_eq(get64(&u, table + 4 * 8), 0x50000 | P | US | A);
	cr_assert_eq(get64(&u, table + 6 * 8), 0x60000 | P | W);
	v.count = 0;
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0x4000, 0x4fff, 4, record, &v), 0);
	cr_assert_eq(v.count, 1);
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0x4000, 0x4fff, 3, record, &v), -E2BIG);
	put64(&u, GCR3, 0);
	v.count = 0;
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0, ~0ull, 100, record, &v), 0);
	cr_assert_eq(v.count, 0, "no GCR3 entry, no leaf");
	state.guest_levels = 6;
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0, ~0ull, 100, record, &v), -EINVAL);
	unit_free(&u);
}

Test(amd_nested, leaves_nested)
{
	struct amd_device_state state;
	struct visits v = {0};
	struct nested n;

	nested_start(&n, HAD(3), C_V2 | C_TRP, true);
	pte_set(&n.u, INSIDE + N_ROOT + 0x2000, 2, BIG, BIG | USER | PS);
	for (uint64_t gpa = BIG; gpa < 2 * BIG; gpa += 4096)
		host_page(&n, gpa, 0);
	host_page(&n, BIG + 0x1000, 0x50000 | RW_BITS | PR);
	host_page(&n, BIG + 0x3000, 0x60000 | IR | PR);
	amd_iommu_engine_device_state(n.u.e, DEV, &state);
	cr_assert_eq(state.kind, AMD_TRANSLATION_V2);
	cr_assert_eq(amd_iommu_engine_walk(n.u.e, &state, 0, ~0ull, 100000, record, &v), 0);
	cr_assert_eq(v.count, 3);
	EXPECT_VISIT(v, 0, IOVA, INSIDE + N_PAGE, 0x1000, RW);
	EXPECT_VISIT(v, 1, BIG + 0x1000, 0x50000, 0x1000, RW);
	EXPECT_VISIT(v, 2, BIG + 0x3000, 0x60000, 0x1000, DMA_READ);
	/* The host's D, too, of what the mirror can write. */
	cr_assert_eq(get64(&n.u, n.pages[1] + 8), 0x50000 | RW_BITS | PR | A | D);
	cr_assert_eq(get64(&n.u, n.pages[1] + 3 * 8), 0x60000 | IR | PR | A);
	/* Host pages that are larger than the guest's. */
	pte_set(&n.u, get64(&n.u, n.host) & GENMASK(51, 12), 2, BIG, BIG | RW_BITS | PR);
	v.count = 0;
	cr_assert_eq(amd_iommu_engine_walk(n.u.e, &state, BIG + 0x1000, BIG + 0x5fff, 100000,
					   record, &v),
		     0);
	cr_assert_eq(v.count, 1);
	EXPECT_VISIT(v, 0, BIG + 0x1000, BIG + 0x1000, 0x5000, RW);
	nested_end(&n);
}

/* HAD of a v1 domain that is mirrored: whatever may be written counts as written. */
Test(amd_nested, leaves_mark_the_host_table)
{
	struct amd_device_state state;
	struct visits v = {0};
	uint64_t root, table;
	struct unit u;

	unit_start_features(&u, FULL, 0, C_V2);
	root = table_new(&u);
	dte_set(&u, DEV, V | TV | IR | IW | MODE(2) | HAD(3) | root, DOM, 0, 0);
	table = tables_down(&u, root, 2, 1, 0);
	pte_set(&u, table, 1, IOVA, PAGE | RW_BITS | PR);
	pte_set(&u, table, 1, IOVA + 0x2000, PAGE | IR | PR);
	amd_iommu_engine_device_state(u.e, DEV, &state);
	cr_assert_eq(amd_iommu_engine_walk(u.e, &state, 0, ~0ull, 10000, record, &v), 0);
	cr_assert_eq(v.count, 2);
	cr_assert_eq(get64(&u, table + 5 * 8), PAGE | RW_BITS | PR | A | D);
	cr_assert_eq(get64(&u, table + 7 * 8), PAGE | IR | PR | A);
	cr_assert_eq(get64(&u, root), pde(table, 1) | A);
	unit_free(&u);
}
