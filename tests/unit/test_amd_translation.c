// SPDX-License-Identifier: Apache-2.0
/* Device table and host page tables for DMA (48882 section 2.2; reference 7.1 to 7.3, 10.4). */
#include <errno.h>

#include "amd_unit.h"

#define V    BIT(0)
#define TV   BIT(1)
#define IR   BIT(61)
#define IW   BIT(62)
#define PR   BIT(0)
#define FC   BIT(60)
#define DOM  0x77
#define PAGE 0x40000ull /* where pages of the tests lie */

#define MODE(levels) ((uint64_t)(levels) << 9)

static struct dma_space *space_new(struct unit *u, uint16_t devid)
{
	struct dma_space *ds = NULL;

	cr_assert_eq(amd_iommu_dma_space_new(u->e, devid, &ds), 0);
	return ds;
}

/* A unit whose DEV has page tables of LEVELS at TABLES. */
static struct dma_space *tables_start(struct unit *u, unsigned levels)
{
	unit_start(u, C_RUNNING);
	dte_set(u, DEV, V | TV | IR | IW | MODE(levels) | table_new(u), DOM, 0, 0);
	return space_new(u, DEV);
}

static void expect_gpa(struct unit *u, struct dma_space *ds, const char *what, uint64_t iova,
		       unsigned access, uint64_t gpa)
{
	struct dma_segment seg = {0};

	cr_assert_eq(dma_space_map(ds, iova, 1, access, &seg, 1), 1, "%s: refused, %u events", what,
		     events(u));
	cr_assert_eq(seg.host, guest_memory_at(&u->gm, gpa, 1), "%s", what);
	cr_assert_eq(seg.len, 1);
}

static void expect_fault(struct unit *u, struct dma_space *ds, const char *what, uint64_t iova,
			 unsigned access, uint64_t word0, uint64_t word1)
{
	struct dma_segment seg;

	cr_assert_eq(dma_space_map(ds, iova, 1, access, &seg, 1), -EFAULT, "%s: let through", what);
	expect_event(u, what, word0, word1);
	cr_assert_eq(events(u), 0, "%s: one event only", what);
}

/* Cases 59 to 63; rule 2. */
Test(amd_translation, device_table_decisions)
{
	enum { PASS, ABORT };
	static const struct {
		const char *name;
		uint64_t q0, q1, q3;
		unsigned access;
		int verdict;
		unsigned code, flags;
		uint16_t domain;
	} cases[] = {
		{"V=0", 0, 0, 0, DMA_READ | DMA_WRITE, PASS, 0, 0, 0},
		{"V=0, all else set", ~1ull, ~0ull, 0, DMA_WRITE, PASS, 0, 0, 0},
		{"V=1 TV=0 read", V, DOM, 0, DMA_READ, ABORT, 2, 0x000, DOM},
		{"V=1 TV=0 write", V | IR | IW, DOM, 0, DMA_WRITE, ABORT, 2, 0x020, DOM},
		{"Mode 0, no permission, read", V | TV, DOM, 0, DMA_READ, ABORT, 2, 0x050, DOM},
		{"Mode 0, no permission, write", V | TV, DOM, 0, DMA_WRITE, ABORT, 2, 0x070, DOM},
		{"Mode 0, IR, read", V | TV | IR, DOM, 0, DMA_READ, PASS, 0, 0, 0},
		{"Mode 0, IR, write", V | TV | IR, DOM, 0, DMA_WRITE, ABORT, 2, 0x070, DOM},
		{"Mode 0, IR, atomic", V | TV | IR, DOM, 0, DMA_READ | DMA_WRITE, ABORT, 2, 0x070,
		 DOM},
		{"Mode 0, IW, read", V | TV | IW, DOM, 0, DMA_READ, ABORT, 2, 0x050, DOM},
		{"Mode 0, both", V | TV | IR | IW, DOM, 0, DMA_READ | DMA_WRITE, PASS, 0, 0, 0},
		{"Mode 7", V | TV | IR | IW | 7 << 9, DOM, 0, DMA_READ, ABORT, 1, 0x000, 0},
		{"q0 bit 2", V | TV | IR | BIT(2), 0, 0, DMA_READ, ABORT, 1, 0x080, 0},
		{"q0 bit 6, write", V | TV | IW | BIT(6), 0, 0, DMA_WRITE, ABORT, 1, 0x0a0, 0},
		{"HAD without HASup", V | TV | IR | BIT(7), 0, 0, DMA_READ, ABORT, 1, 0x080, 0},
		{"PPR without PPRSup", V | TV | IR | BIT(52), 0, 0, DMA_READ, ABORT, 1, 0x080, 0},
		{"GIoV without GTSup", V | TV | IR | BIT(54), 0, 0, DMA_READ, ABORT, 1, 0x080, 0},
		{"GV without GTSup", V | TV | IR | BIT(55), 0, 0, DMA_READ, ABORT, 1, 0x080, 0},
		{"GLX without GTSup", V | TV | IR | BIT(57), 0, 0, DMA_READ, ABORT, 1, 0x080, 0},
		{"q0 bit 63", V | TV | IR | BIT(63), 0, 0, DMA_READ, ABORT, 1, 0x080, 0},
		{"q1 bit 16", V | TV | IR, BIT(16), 0, DMA_READ, ABORT, 1, 0x080, 0},
		{"q1 bit 42", V | TV | IR, BIT(42), 0, DMA_READ, ABORT, 1, 0x080, 0},
		{"q1 bit 63", V | TV | IR, BIT(63), 0, DMA_READ, ABORT, 1, 0x080, 0},
		{"q1 settings of the IVRS", V | TV | IR, 0x3fe00000000, 0, DMA_READ, PASS, 0, 0, 0},
		{"q3 with IV=0", V | TV | IR, 0, ~0ull, DMA_READ, PASS, 0, 0, 0},
	};
	struct dma_space *ds;
	struct unit u;

	unit_start(&u, C_RUNNING);
	ds = space_new(&u, DEV);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		dte_set(&u, DEV, cases[i].q0, cases[i].q1, 0, cases[i].q3);
		inv_devtab(&u, DEV);
		if (cases[i].verdict == PASS)
			expect_gpa(&u, ds, cases[i].name, PAGE, cases[i].access, PAGE);
		else
			expect_fault(
				&u, ds, cases[i].name, PAGE, cases[i].access,
				event_word(cases[i].code, cases[i].flags, cases[i].domain, DEV),
				PAGE);
	}
	amd_iommu_dma_space_free(ds);
	unit_free(&u);
}

/* The same table as those who mirror it see it. */
Test(amd_translation, device_state)
{
	static const struct {
		const char *name;
		uint64_t q0;
		enum amd_translation kind;
		unsigned prot;
	} cases[] = {
		{"V=0", 0, AMD_TRANSLATION_IDENTITY, DMA_READ | DMA_WRITE},
		{"TV=0", V, AMD_TRANSLATION_BLOCKED, 0},
		{"no permission", V | TV | MODE(3), AMD_TRANSLATION_BLOCKED, 0},
		{"identity for reads", V | TV | IR, AMD_TRANSLATION_IDENTITY, DMA_READ},
		{"tables", V | TV | IW | MODE(3) | TABLES, AMD_TRANSLATION_V1, DMA_WRITE},
		{"reserved bit", V | TV | IW | MODE(3) | TABLES | BIT(4), AMD_TRANSLATION_BLOCKED,
		 0},
		{"Mode 7", V | TV | IW | MODE(7), AMD_TRANSLATION_BLOCKED, 0},
	};
	struct amd_device_state state;
	struct unit u;

	unit_start(&u, C_RUNNING);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		dte_set(&u, DEV, cases[i].q0, DOM, 0, 0);
		amd_iommu_engine_device_state(u.e, DEV, &state);
		cr_assert_eq(state.kind, cases[i].kind, "%s", cases[i].name);
		cr_assert_eq(state.prot, cases[i].prot, "%s", cases[i].name);
		if (state.kind == AMD_TRANSLATION_V1)
			cr_assert(state.root == TABLES && state.mode == 3 && state.domain == DOM);
	}
	cr_assert_eq(events(&u), 0, "asking is not a fault");
	reg_set(&u, R_CONTROL, C_COH);
	amd_iommu_engine_device_state(u.e, DEV, &state);
	cr_assert_eq(state.kind, AMD_TRANSLATION_IDENTITY, "disabled");
	unit_free(&u);
}

/* Cases 64 and 65. */
Test(amd_translation, device_table_limits)
{
	struct dma_space *in, *out;
	struct unit u;

	unit_start(&u, C_RUNNING);
	/* 4 KiB hold entries 0 to 127: what lies behind must not be looked at. */
	dte_set(&u, 127, V | TV | IR, DOM, 0, 0);
	dte_set(&u, 128, V | TV | IR, DOM, 0, 0);
	reg_set(&u, R_DEVTAB, DEVTAB);
	in = space_new(&u, 127);
	out = space_new(&u, 128);
	expect_gpa(&u, in, "last entry", PAGE, DMA_READ, PAGE);
	expect_fault(&u, out, "first beyond", PAGE, DMA_WRITE, event_word(2, 0x020, 0, 128), PAGE);

	reg_set(&u, R_DEVTAB, HOLE | 0x1ff);
	expect_fault(&u, out, "hole", PAGE, DMA_WRITE, event_word(3, 0x220, 0, 128),
		     HOLE + 128 * 32);
	reg_set(&u, R_DEVTAB, 0xffffffffff000 | 0x1ff);
	expect_fault(&u, out, "top of the field", PAGE, DMA_READ, event_word(3, 0x200, 0, 128),
		     0xffffffffff000 + 128 * 32);
	reg_set(&u, R_DEVTAB, (RAM_SIZE - 4096) | 1);
	expect_gpa(&u, in, "last page of RAM", PAGE, DMA_READ, PAGE);
	expect_fault(&u, out, "runs out of RAM", PAGE, DMA_READ, event_word(3, 0x200, 0, 128),
		     RAM_SIZE);
	amd_iommu_dma_space_free(in);
	amd_iommu_dma_space_free(out);
	unit_free(&u);
}

/* Case 68: each mode, at its first and last address and one beyond. */
Test(amd_translation, modes_and_their_limits)
{
	for (unsigned levels = 1; levels <= 6; levels++) {
		const uint64_t last = levels == 6 ? ~0ull : (1ull << (12 + 9 * levels)) - 1;
		struct dma_space *ds;
		struct unit u;
		uint64_t table;

		ds = tables_start(&u, levels);
		table = tables_down(&u, TABLES, levels, 1, 0);
		pte_set(&u, table, 1, 0, PAGE | RW_BITS | FC | PR);
		table = tables_down(&u, TABLES, levels, 1, last);
		pte_set(&u, table, 1, last, (PAGE + 0x3000) | RW_BITS | PR);
		expect_gpa(&u, ds, "first address", 0, DMA_WRITE, PAGE);
		expect_gpa(&u, ds, "last address", last, DMA_READ, PAGE + 0x3fff);
		if (levels < 6)
			expect_fault(&u, ds, "limit + 1", last + 1, DMA_WRITE,
				     event_word(2, 0x020, DOM, DEV), last + 1);
		amd_iommu_dma_space_free(ds);
		unit_free(&u);
	}
}

/* HATS: a unit with 4 levels takes no more; 6.12 does not ask (rule 13). */
Test(amd_translation, levels_beyond_hats)
{
	struct amd_device_state state;
	struct unit u;

	unit_new(&u, 0xcc);
	reg_set(&u, R_DEVTAB, DEVTAB | 0x1ff);
	reg_set(&u, R_CONTROL, C_IOMMU);
	for (unsigned levels = 1; levels <= 6; levels++) {
		dte_set(&u, DEV, V | TV | IR | MODE(levels), 0, 0, 0);
		amd_iommu_engine_device_state(u.e, DEV, &state);
		cr_assert_eq(state.kind,
			     levels <= 4 ? AMD_TRANSLATION_V1 : AMD_TRANSLATION_BLOCKED);
	}
	unit_free(&u);
}

/* The address field of a page of 2^SHIFT bytes at GPA: below its size all ones but the top bit. */
static uint64_t sized(uint64_t gpa, unsigned shift)
{
	return gpa | ((1ull << (shift - 1)) - 4096) | MODE(7);
}

/* Case 69: every size, of every level, through each of a few of its copies. */
Test(amd_translation, page_sizes)
{
	for (unsigned shift = 12; shift <= 51; shift++) {
		const unsigned level = (shift - 12) / 9 + 1;
		const unsigned entry_shift = 12 + 9 * (level - 1);
		const bool coded = shift != entry_shift;
		const uint64_t size = 1ull << shift, base = size; /* IOVA */
		/* Pages that are larger than RAM begin at 0. */
		const uint64_t gpa = size <= RAM_SIZE / 2 ? size : 0;
		struct dma_space *ds;
		struct unit u;
		uint64_t table;

		ds = tables_start(&u, 6);
		table = tables_down(&u, TABLES, 6, level, base);
		for (unsigned copy = 0; copy < 1u << (shift - entry_shift); copy++)
			pte_set(&u, table, level, base + ((uint64_t)copy << entry_shift),
				(coded ? sized(gpa, shift) : gpa) | RW_BITS | FC | PR);
		expect_gpa(&u, ds, "first byte", base, DMA_READ, gpa);
		if (size < RAM_SIZE / 2) {
			expect_gpa(&u, ds, "last byte", base + size - 1, DMA_WRITE, gpa + size - 1);
			expect_gpa(&u, ds, "middle", base + size / 2 + 5, DMA_READ,
				   gpa + size / 2 + 5);
		}
		cr_assert_eq(events(&u), 0, "shift %u", shift);
		amd_iommu_dma_space_free(ds);
		unit_free(&u);
	}
}

/* Cases 70 to 76: entries that are wrong. The entry under test is in a table of LEVEL. */
Test(amd_translation, bad_entries)
{
	static const struct {
		const char *name;
		unsigned level;
		uint64_t iova, entry;
		unsigned access, code, flags;
		uint64_t address; /* 0: that of the request */
	} cases[] = {
		{"not present, read", 1, 0x5000, PAGE | RW_BITS, DMA_READ, 2, 0x000, 0},
		{"not present, write", 3, 0x5000, ~1ull, DMA_WRITE, 2, 0x020, 0},
		{"no IR, read", 1, 0x5000, PAGE | IW | PR, DMA_READ, 2, 0x050, 0},
		{"no IW, write", 1, 0x5000, PAGE | IR | PR, DMA_WRITE, 2, 0x070, 0},
		{"no IW, atomic (79)", 1, 0x5000, PAGE | IR | PR, DMA_READ | DMA_WRITE, 2, 0x070,
		 0},
		{"directory without IR (75)", 2, 0x5000, TABLES | 1 << 9 | IW | PR, DMA_READ, 2,
		 0x050, 0},
		{"reserved bit 52 of a leaf (74)", 1, 0x5000, PAGE | RW_BITS | BIT(52) | PR,
		 DMA_READ, 2, 0x090, 0},
		{"reserved bit 58 of a leaf", 1, 0x5000, PAGE | RW_BITS | BIT(58) | PR, DMA_WRITE,
		 2, 0x0b0, 0},
		{"reserved bit 60 of a directory", 2, 0x5000,
		 TABLES | 1 << 9 | RW_BITS | BIT(60) | PR, DMA_READ, 2, 0x090, 0},
		{"reserved before permission", 1, 0x5000, PAGE | BIT(52) | PR, DMA_READ, 2, 0x090,
		 0},
		{"7h coding the size of the next level", 1, 0x5000, 0xff000 | 7 << 9 | RW_BITS | PR,
		 DMA_READ, 2, 0x010, 0},
		{"7h coding less than its level", 2, 0x5000, 7 << 9 | RW_BITS | PR, DMA_READ, 2,
		 0x010, 0},
		{"7h coding the default of its level", 2, 0x5000, 0xff000 | 7 << 9 | RW_BITS | PR,
		 DMA_READ, 2, 0x010, 0},
		{"7h all ones", 3, 0x5000, 0xffffffffff000 | 7 << 9 | RW_BITS | PR, DMA_READ, 2,
		 0x010, 0},
		{"7h with only bit 51 zero", 5, 0x5000, 0x7fffffffff000 | 7 << 9 | RW_BITS | PR,
		 DMA_READ, 2, 0x010, 0},
		{"leaf at level 6 (73)", 6, 0x5000, RW_BITS | PR, DMA_READ, 2, 0x010, 0},
		{"7h at level 6", 6, 0x5000, 0x7ffffffff000 | 7 << 9 | RW_BITS | PR, DMA_WRITE, 2,
		 0x030, 0},
		{"same level: a loop (72)", 3, 0x5000, TABLES | 3 << 9 | RW_BITS | PR, DMA_READ, 2,
		 0x010, 0},
		{"higher level", 1, 0x5000, TABLES | 6 << 9 | RW_BITS | PR, DMA_READ, 2, 0x010, 0},
		{"skipped bits not 0 (71)", 3, 0x200000, TABLES | 1 << 9 | RW_BITS | PR, DMA_READ,
		 2, 0x010, 0},
		{"next table in a hole (76)", 3, 0x5000, HOLE | 1 << 9 | RW_BITS | PR, DMA_READ, 4,
		 0x200, HOLE + 5 * 8},
		{"next table at the top of the field", 3, 0x5000,
		 0xffffffffff000 | 1 << 9 | RW_BITS | PR, DMA_WRITE, 4, 0x220,
		 0xffffffffff000 + 5 * 8},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct dma_space *ds;
		struct unit u;
		uint64_t table;

		ds = tables_start(&u, 6);
		table = tables_down(&u, TABLES, 6, cases[i].level, cases[i].iova);
		pte_set(&u, table, cases[i].level, cases[i].iova, cases[i].entry);
		expect_fault(&u, ds, cases[i].name, cases[i].iova, cases[i].access,
			     event_word(cases[i].code, cases[i].flags, DOM, DEV),
			     cases[i].address ? cases[i].address : cases[i].iova);
		amd_iommu_dma_space_free(ds);
		unit_free(&u);
	}
}

/* Case 71: the levels in between are skipped where their address bits are 0. */
Test(amd_translation, level_skip)
{
	const uint64_t iova = 3ull << 57 | 0x5000;
	struct dma_space *ds;
	struct unit u;
	uint64_t table;

	ds = tables_start(&u, 6);
	table = table_new(&u);
	pte_set(&u, TABLES, 6, iova, pde(table, 1));
	pte_set(&u, table, 1, iova, PAGE | RW_BITS | PR);
	expect_gpa(&u, ds, "6 to 1", iova + 7, DMA_READ, PAGE + 7);
	expect_fault(&u, ds, "bit 48 set", iova | BIT(48), DMA_READ, event_word(2, 0x010, DOM, DEV),
		     iova | BIT(48));
	amd_iommu_dma_space_free(ds);
	unit_free(&u);
}

/* A root that is not RAM, and tables that are their own parents. */
Test(amd_translation, hostile_tables)
{
	struct dma_space *ds;
	struct unit u;

	ds = tables_start(&u, 6);
	for (unsigned i = 0; i < 512; i++)
		put64(&u, TABLES + i * 8, pde(TABLES, 1 + i % 6));
	for (unsigned i = 0; i < 64; i++) {
		struct dma_segment seg;

		cr_assert_eq(dma_space_map(ds, BIT(i), 1, DMA_READ, &seg, 1), -EFAULT);
	}
	dte_set(&u, DEV, V | TV | IR | MODE(4) | HOLE, DOM, 0, 0);
	inv_devtab(&u, DEV);
	reg_set(&u, R_EVT_HEAD, reg_get(&u, R_EVT_TAIL));
	expect_fault(&u, ds, "root in a hole", 0, DMA_READ, event_word(4, 0x200, DOM, DEV), HOLE);
	amd_iommu_dma_space_free(ds);
	unit_free(&u);
}

/* Rule for the interrupt window and the HyperTransport range: 7.1 steps 5 to 7, cases 90 and 91. */
Test(amd_translation, closed_ranges)
{
	static const struct {
		const char *name;
		uint64_t iova, len, address;
		unsigned access, type;
	} cases[] = {
		{"read of the window", 0xfee00000, 4, 0xfee00000, DMA_READ, 0},
		{"atomic", 0xfee01000, 4, 0xfee01000, DMA_READ | DMA_WRITE, 0},
		{"write", 0xfeeffff8, 8, 0xfeeffff8, DMA_WRITE, 4},
		{"HT range, first", 0xfd00000000, 1, 0xfd00000000, DMA_READ, 5},
		{"HT range, last", 0xffffffffff, 1, 0xffffffffff, DMA_WRITE, 5},
	};
	struct dma_segment seg[4];
	struct dma_space *ds;
	struct unit u;

	unit_start(&u, C_RUNNING);
	ds = space_new(&u, DEV);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		cr_assert_eq(
			dma_space_map(ds, cases[i].iova, cases[i].len, cases[i].access, seg, 4),
			-EFAULT, "%s", cases[i].name);
		expect_event(&u, cases[i].name, event_word(8, cases[i].type << 9, 0, DEV),
			     cases[i].address);
	}
	reg_set(&u, R_CONTROL, C_COH);
	cr_assert_eq(dma_space_map(ds, 0xfee00000, 4, DMA_READ, seg, 4), -EFAULT);
	cr_assert_eq(events(&u), 0, "a disabled unit says nothing");
	amd_iommu_dma_space_free(ds);
	unit_free(&u);
}

/* Page by page; what is contiguous is one segment (7.3, cases 77 and 78). */
Test(amd_translation, accesses_over_several_pages)
{
	struct dma_segment seg[4];
	struct dma_space *ds;
	struct unit u;
	uint64_t table;

	ds = tables_start(&u, 3);
	table = tables_down(&u, TABLES, 3, 1, 0);
	pte_set(&u, table, 1, 0x1000, 0x50000 | RW_BITS | PR);
	pte_set(&u, table, 1, 0x2000, 0x51000 | RW_BITS | PR);
	pte_set(&u, table, 1, 0x3000, 0x60000 | RW_BITS | PR);
	pte_set(&u, table, 1, 0x4000, HIGH_BASE | RW_BITS | PR);
	pte_set(&u, table, 1, 0x6000, 0x61000 | IR | PR);
	pte_set(&u, table, 1, 0x7000, HOLE | RW_BITS | PR);

	cr_assert_eq(dma_space_map(ds, 0x1800, 0x3000, DMA_WRITE, seg, 4), 3);
	cr_assert(seg[0].host == guest_memory_at(&u.gm, 0x50800, 1) && seg[0].len == 0x1800);
	cr_assert(seg[1].host == guest_memory_at(&u.gm, 0x60000, 1) && seg[1].len == 0x1000);
	cr_assert(seg[2].host == guest_memory_at(&u.gm, HIGH_BASE, 1) && seg[2].len == 0x800);
	cr_assert_eq(dma_space_map(ds, 0x1800, 0x3000, DMA_WRITE, seg, 2), -E2BIG);
	cr_assert_eq(events(&u), 0);

	cr_assert_eq(dma_space_map(ds, 0x4ff0, 0x20, DMA_READ, seg, 4), -EFAULT);
	expect_event(&u, "hole in the middle", event_word(2, 0, DOM, DEV), 0x5000);
	cr_assert_eq(dma_space_map(ds, 0x6010, 0x20, DMA_WRITE, seg, 4), -EFAULT);
	expect_event(&u, "read-only page", event_word(2, 0x070, DOM, DEV), 0x6010);
	cr_assert_eq(dma_space_map(ds, 0x7000, 8, DMA_READ, seg, 4), -EFAULT);
	cr_assert_eq(events(&u), 0, "a master abort is not the unit's business");

	cr_assert_eq(dma_space_map(ds, 0x1000, 0, DMA_READ, seg, 4), -EINVAL);
	cr_assert_eq(dma_space_map(ds, ~0ull - 3, 5, DMA_READ, seg, 4), -EINVAL);
	cr_assert_eq(dma_space_map(ds, ~0ull - 3, 4, DMA_READ, seg, 4), -EFAULT);
	amd_iommu_dma_space_free(ds);
	unit_free(&u);
}

/* An identity space over two regions with a gap. */
Test(amd_translation, identity_segments)
{
	struct dma_segment seg[2];
	struct dma_space *ds;
	struct unit u;

	unit_start(&u, C_RUNNING);
	ds = space_new(&u, DEV);
	cr_assert_eq(dma_space_map(ds, 0, RAM_SIZE, DMA_WRITE, seg, 2), 1);
	cr_assert_eq(seg[0].len, RAM_SIZE);
	cr_assert_eq(dma_space_map(ds, RAM_SIZE - 8, 16, DMA_WRITE, seg, 2), -EFAULT);
	cr_assert_eq(dma_space_map(ds, HIGH_BASE, ~0ull - HIGH_BASE, DMA_READ, seg, 2), -EFAULT);
	amd_iommu_dma_space_free(ds);
	unit_free(&u);
}

/* Section 7.8 and cases 48, 49: what is cached stays until its invalidation, and no longer. */
Test(amd_translation, cached_until_invalidated)
{
	static const struct {
		const char *name;
		uint64_t word0, word1;
		bool drops;
	} cases[] = {
		{"nothing", 1ull << 60, 0, false},
		{"pages of another domain", 3ull << 60 | (DOM + 1ull) << 32, 0x7ffffffffffff001,
		 false},
		{"another device", 2ull << 60 | (DEV + 1), 0, false},
		{"an interrupt table", 5ull << 60 | DEV, 0, false},
		{"the page", 3ull << 60 | (uint64_t)DOM << 32, 0x5000, true},
		{"the domain", 3ull << 60 | (uint64_t)DOM << 32, 0x7ffffffffffff001, true},
		{"the device", 2ull << 60 | DEV, 0, true},
		{"all", 8ull << 60, 0, true},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct amd_iommu_stats before, after;
		struct dma_space *ds;
		uint64_t table, generation;
		struct unit u;

		ds = tables_start(&u, 3);
		table = tables_down(&u, TABLES, 3, 1, 0);
		pte_set(&u, table, 1, 0x5000, PAGE | RW_BITS | PR);
		expect_gpa(&u, ds, "first", 0x5000, DMA_READ, PAGE);
		generation = dma_space_generation(ds);
		pte_set(&u, table, 1, 0x5000, 0);
		cmd(&u, cases[i].word0, cases[i].word1);
		cr_assert_eq(dma_space_generation(ds) != generation, cases[i].drops, "%s",
			     cases[i].name);
		amd_iommu_engine_stats(u.e, &before);
		if (cases[i].drops)
			expect_fault(&u, ds, cases[i].name, 0x5000, DMA_READ,
				     event_word(2, 0, DOM, DEV), 0x5000);
		else
			expect_gpa(&u, ds, cases[i].name, 0x5008, DMA_WRITE, PAGE + 8);
		amd_iommu_engine_stats(u.e, &after);
		cr_assert_eq(after.translations - before.translations, 1);
		cr_assert_eq(after.iotlb_hits - before.iotlb_hits, !cases[i].drops);
		cr_assert_eq(after.walks - before.walks, cases[i].drops);
		amd_iommu_dma_space_free(ds);
		unit_free(&u);
	}
}

/* Non-present entries are not cached (no NpCache needed); permissions are those of the whole path.
 */
Test(amd_translation, cached_permissions)
{
	struct dma_space *ds;
	struct unit u;
	uint64_t table;

	ds = tables_start(&u, 2);
	table = table_new(&u);
	pte_set(&u, TABLES, 2, 0, table | 1 << 9 | IR | PR);
	expect_fault(&u, ds, "not there yet", 0x1000, DMA_READ, event_word(2, 0, DOM, DEV), 0x1000);
	pte_set(&u, table, 1, 0x1000, PAGE | RW_BITS | PR);
	expect_gpa(&u, ds, "mapped since", 0x1000, DMA_READ, PAGE);
	expect_fault(&u, ds, "the directory forbids", 0x1000, DMA_WRITE,
		     event_word(2, 0x070, DOM, DEV), 0x1000);
	/* A large page is found again through any address in it. */
	pte_set(&u, TABLES, 2, 0x400000, 0x200000 | RW_BITS | PR);
	for (unsigned i = 0; i < 512; i++)
		expect_gpa(&u, ds, "2 MiB", 0x400000 + i * 4096 + 3, DMA_WRITE,
			   0x200000 + i * 4096 + 3);
	amd_iommu_dma_space_free(ds);
	unit_free(&u);
}

/* Tables that change while the unit is off, or elsewhere, are read anew when it is on. */
Test(amd_translation, enable_and_disable)
{
	struct dma_space *ds;
	struct unit u;

	unit_start(&u, C_COH);
	dte_set(&u, DEV, V, 0, 0, 0);
	ds = space_new(&u, DEV);
	expect_gpa(&u, ds, "off", PAGE, DMA_READ | DMA_WRITE, PAGE);
	reg_set(&u, R_CONTROL, C_RUNNING);
	expect_fault(&u, ds, "on", PAGE, DMA_READ, event_word(2, 0, 0, DEV), PAGE);
	reg_set(&u, R_CONTROL, C_COH);
	expect_gpa(&u, ds, "off again", PAGE, DMA_READ, PAGE);
	reg_set(&u, R_CONTROL, C_RUNNING);
	reg_set(&u, R_DEVTAB, 0x800000 | 0x1ff);
	expect_gpa(&u, ds, "another table", PAGE, DMA_READ, PAGE);
	amd_iommu_dma_space_free(ds);
	unit_free(&u);
}

/* A page that the exclusion range cuts, and whose offsets have more than 32 bits. */
Test(amd_translation, exclusion_in_a_huge_page)
{
	struct dma_space *ds;
	struct unit u;

	ds = tables_start(&u, 3);
	dte_set(&u, DEV, V | TV | RW_BITS | 3 << 9 | TABLES, DOM | BIT(39), 0, 0);
	/* 8 GiB from 0, in each entry of 1 GiB. */
	for (unsigned i = 0; i < 8; i++)
		pte_set(&u, TABLES, 3, (uint64_t)i << 30, 0x0fffff000 | 7 << 9 | RW_BITS | PR);
	inv_devtab(&u, DEV);
	reg_set(&u, R_EXCL_LIMIT, 0x3000);
	reg_set(&u, R_EXCL_BASE, 0x3000 | 1);
	expect_gpa(&u, ds, "far behind it", HIGH_BASE + 0x5008, DMA_WRITE, HIGH_BASE + 0x5008);
	expect_gpa(&u, ds, "again, cached", HIGH_BASE + 0x5010, DMA_READ, HIGH_BASE + 0x5010);
	expect_gpa(&u, ds, "in it", 0x3008, DMA_WRITE, 0x3008);
	amd_iommu_dma_space_free(ds);
	unit_free(&u);
}
