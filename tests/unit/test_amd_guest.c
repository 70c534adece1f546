// SPDX-License-Identifier: Apache-2.0
/* GCR3 tables, guest (v2) page tables and PASIDs (48882 section 2.2.6; reference 4.3 and 7.4). */
#include "amd_guest_unit.h"

/* Pages of each size in tables of each depth, first and last address, with and without PASID. */
Test(amd_guest, sizes_and_depths)
{
	static const uint32_t pasids[] = {NO_PASID, PASID_0, 7};

	for (unsigned levels = 4; levels <= 5; levels++) {
		for (unsigned i = 0; i < ARRAY_SIZE(pasids); i++) {
			const uint64_t top = 1ull << (12 + 9 * levels);
			/* The upper half is at the end of the address space only with PASID. */
			const uint64_t high = pasids[i] == NO_PASID ? top - 4096 : ~4095ull;
			uint64_t root, table;
			struct dma_space *ds;
			struct unit u;

			unit_start_features(&u, FULL, 0, C_V2);
			root = table_new(&u);
			put64(&u, GCR3 + (pasids[i] == 7 ? 7 * 8 : 0), root | 1);
			guest_dte(&u, BASIC_V2, LEVELS(levels), GCR3);
			ds = space_new(&u, pasids[i]);
			table = guest_tables_down(&u, root, levels, 1, 0);
			/* Bit 7 of a 4-KiB page is PAT, as bit 12 of a large one. */
			pte_set(&u, table, 1, IOVA, PAGE | USER | BIT(7));
			table = guest_tables_down(&u, root, levels, 1, high);
			pte_set(&u, table, 1, high, PAGE | USER);
			expect_gpa(&u, ds, "first", IOVA, DMA_READ | DMA_WRITE, PAGE);
			expect_gpa(&u, ds, "last", high + 4095, DMA_READ, PAGE + 4095);
			pte_set(&u, table, 1, high - 4096, 0);
			table = guest_tables_down(&u, root, levels, 2, 1ull << 39);
			pte_set(&u, table, 2, 1ull << 39, BIG | USER | PS | PAT);
			expect_gpa(&u, ds, "2 MiB", (1ull << 39) + 0x1ff001, DMA_WRITE,
				   BIG + 0x1ff001);
			table = guest_tables_down(&u, root, levels, 3, 2ull << 39);
			pte_set(&u, table, 3, 2ull << 39, USER | PS);
			expect_gpa(&u, ds, "1 GiB", (2ull << 39) + 0x345678, DMA_READ, 0x345678);
			cr_assert_eq(events(&u), 0);
			amd_iommu_dma_space_free(ds);
			unit_free(&u);
		}
	}
}

/* 4.3: with PASID addresses are sign-extended, without they are not. */
Test(amd_guest, address_form)
{
	static const struct {
		uint32_t pasid;
		unsigned levels;
		uint64_t iova;
		bool valid;
	} cases[] = {
		{NO_PASID, 4, 0x0000800000005000, true},  {NO_PASID, 4, 0x0001000000005000, false},
		{NO_PASID, 4, 0xffff800000005000, false}, {NO_PASID, 5, 0x0100000000005000, true},
		{NO_PASID, 5, 0x0200000000005000, false}, {5, 4, 0x0000800000005000, false},
		{5, 4, 0xffff800000005000, true},	  {5, 4, 0x7fff800000005000, false},
		{5, 5, 0x0100000000005000, false},	  {5, 5, 0xff00000000005000, true},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		const uint32_t pasid = cases[i].pasid == NO_PASID ? 0 : cases[i].pasid;
		uint64_t root, table;
		struct dma_space *ds;
		struct unit u;

		unit_start_features(&u, FULL, 0, C_V2);
		root = table_new(&u);
		put64(&u, GCR3 + pasid * 8ull, root | 1);
		guest_dte(&u, BASIC_V2, LEVELS(cases[i].levels), GCR3);
		ds = space_new(&u, cases[i].pasid);
		table = guest_tables_down(&u, root, cases[i].levels, 1, cases[i].iova);
		pte_set(&u, table, 1, cases[i].iova, PAGE | USER);
		if (cases[i].valid)
			expect_gpa(&u, ds, "valid", cases[i].iova, DMA_READ, PAGE);
		else
			expect_fault(&u, ds, "not canonical", cases[i].iova, DMA_WRITE,
				     guest_event_word(2, 0x020, pasid, DEV), cases[i].iova);
		amd_iommu_dma_space_free(ds);
		unit_free(&u);
	}
}

/* Entries that are wrong, and the features that make them so. The one under test is at LEVEL. */
Test(amd_guest, bad_entries)
{
	static const struct {
		const char *name;
		uint64_t without; /* features */
		unsigned level;
		uint64_t entry;
		unsigned access;
		int code, flags; /* CODE 0: let through */
		uint64_t address;
	} cases[] = {
		{"not present", 0, 1, PAGE | W | US, DMA_READ, 2, 0x000, IOVA},
		{"not present, write", 0, 3, ~P, DMA_WRITE, 2, 0x020, IOVA},
		{"read-only, write", 0, 1, PAGE | P | US, DMA_WRITE, 2, 0x070, IOVA},
		{"read-only, atomic", 0, 1, PAGE | P | US, DMA_READ | DMA_WRITE, 2, 0x070, IOVA},
		{"read-only, read", 0, 1, PAGE | P | US, DMA_READ, 0, 0, 0},
		{"read-only directory", 0, 3, TABLES | P | US, DMA_WRITE, 2, 0x070, IOVA},
		{"supervisor", 0, 1, PAGE | P | W, DMA_READ, 2, 0x054, IOVA},
		{"supervisor, write", 0, 1, PAGE | P | W, DMA_WRITE, 2, 0x074, IOVA},
		{"supervisor directory", 0, 2, TABLES | P | W, DMA_READ, 2, 0x054, IOVA},
		{"supervisor without USSup", BIT(37), 1, PAGE | P | W, DMA_READ, 0, 0, 0},
		{"no execute", 0, 1, PAGE | USER | NX, DMA_READ | DMA_WRITE, 0, 0, 0},
		{"no execute without NXSup", BIT(3), 1, PAGE | USER | NX, DMA_READ, 2, 0x090, IOVA},
		{"512 GiB page", 0, 4, USER | PS, DMA_READ, 2, 0x090, IOVA},
		{"misaligned 1 GiB", 0, 3, BIT(29) | USER | PS, DMA_READ, 2, 0x090, IOVA},
		{"misaligned 2 MiB", 0, 2, BIT(13) | USER | PS, DMA_WRITE, 2, 0x0b0, IOVA},
		{"reserved before permission", 0, 2, BIT(20) | P | PS, DMA_WRITE, 2, 0x0b0, IOVA},
		{"software bits", 0, 1, PAGE | USER | 0x7ffull << 52 | 7 << 9, DMA_READ, 0, 0, 0},
		{"table in a hole", 0, 2, HOLE | USER, DMA_READ, 4, 0x200, HOLE + 5 * 8},
		{"table at the top of the field", 0, 2, 0xffffffffff000 | USER, DMA_WRITE, 4, 0x220,
		 0xffffffffff000 + 5 * 8},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct dma_space *ds;
		uint64_t root, table;
		struct unit u;

		root = guest_start(&u, FULL & ~cases[i].without);
		ds = space_new(&u, NO_PASID);
		table = guest_tables_down(&u, root, 4, cases[i].level, IOVA);
		pte_set(&u, table, cases[i].level, IOVA, cases[i].entry);
		if (!cases[i].code)
			expect_gpa(&u, ds, cases[i].name, IOVA, cases[i].access, PAGE);
		else
			expect_fault(&u, ds, cases[i].name, IOVA, cases[i].access,
				     guest_event_word(cases[i].code, cases[i].flags, 0, DEV),
				     cases[i].address);
		/* A refused access leaves no trace in the entry. */
		if (cases[i].code)
			cr_assert_eq(get64(&u, table + (IOVA >> (12 + 9 * (cases[i].level - 1)) &
							511) * 8),
				     cases[i].entry, "%s", cases[i].name);
		amd_iommu_dma_space_free(ds);
		unit_free(&u);
	}
}

/* 7.2: which table a request goes to, by what the entry says and the features are. */
Test(amd_guest, device_table_decisions)
{
	enum { IDENTITY, HOST, GUEST, ABORT };
	static const uint64_t all = V | TV | IR | IW;
	static const struct {
		const char *name;
		uint64_t without, control, q0, q2;
		uint32_t pasid;
		int verdict, code, flags;
	} cases[] = {
		{"V=0 with PASID", 0, C_V2, 0, 0, 3, IDENTITY, 0, 0},
		{"TV=0 with PASID", 0, C_V2, V, 0, 3, ABORT, 2, 0},
		{"GV=0 with PASID", 0, C_V2, all, 0, 3, ABORT, 2, 0},
		{"GV=0, Mode 3, with PASID", 0, C_V2, all | MODE(3), 0, 3, ABORT, 2, 0},
		{"GV with PASID", 0, C_V2, all | GV, 0, 3, GUEST, 0, 0},
		{"GV without PASID", 0, C_V2, all | GV, 0, NO_PASID, IDENTITY, 0, 0},
		{"GV over a host table, without PASID", 0, C_V2, all | GV | MODE(3), 0, NO_PASID,
		 HOST, 0, 0},
		{"GIoV without PASID", 0, C_V2, all | GV | GIOV, 0, NO_PASID, GUEST, 0, 0},
		{"GIoV without GV", 0, C_V2, all | GIOV, 0, NO_PASID, IDENTITY, 0, 0},
		{"GIoV without GIoSup", BIT(48), C_V2, all | GV | GIOV, 0, NO_PASID, ABORT, 1,
		 0x80},
		{"no IR, IW", 0, C_V2, V | TV | GV | GIOV, 0, NO_PASID, ABORT, 2, 0x50},
		{"no IR, IW, with PASID", 0, C_V2, V | TV | GV, 0, 3, ABORT, 2, 0x50},
		{"no IR, with PASID", 0, C_V2, V | TV | IW | GV, 0, 3, ABORT, 2, 0x50},
		{"GTEn=0", 0, C_RUNNING, all | GV, 0, NO_PASID, ABORT, 1, 0x80},
		{"GTEn=0 with PASID", 0, C_RUNNING, all | GV, 0, 3, ABORT, 1, 0x80},
		{"GTEn=0, GV=0", 0, C_RUNNING, all | MODE(3), 0, NO_PASID, HOST, 0, 0},
		{"GLX beyond GLXSup", 0, C_V2, all | GV | GLX(2), 0, 3, ABORT, 1, 0x80},
		{"GLX=1 without GLXSup", 3ull << 14, C_V2, all | GV | GLX(1), 0, 3, ABORT, 1, 0x80},
		{"5 levels without GATS", 3ull << 12, C_V2, all | GV, LEVELS(5), 3, ABORT, 1, 0x80},
		{"GuestPagingMode 2", 0, C_V2, all | GV, LEVELS(6), 3, ABORT, 1, 0x80},
		{"PPR without PPRSup", 0, C_V2, all | GV | BIT(52), 0, 3, ABORT, 1, 0x80},
		{"GPRP without PPRSup", 0, C_V2, all | GV | BIT(53), 0, 3, ABORT, 1, 0x80},
		{"HAD=1", 0, C_V2, all | MODE(3) | HAD(1), 0, NO_PASID, HOST, 0, 0},
		{"HAD=2", 0, C_V2, all | MODE(3) | HAD(2), 0, NO_PASID, ABORT, 1, 0x80},
		{"HAD=3", 0, C_V2, all | MODE(3) | HAD(3), 0, NO_PASID, HOST, 0, 0},
		{"HAD=3 without HDSup", BIT(52), C_V2, all | MODE(3) | HAD(3), 0, NO_PASID, ABORT,
		 1, 0x80},
		{"HAD=1 without HDSup", BIT(52), C_V2, all | MODE(3) | HAD(1), 0, NO_PASID, HOST, 0,
		 0},
		{"HAD=1 without HASup", BIT(52) | BIT(49), C_V2, all | MODE(3) | HAD(1), 0,
		 NO_PASID, ABORT, 1, 0x80},
	};
	static const uint64_t where[] = {[IDENTITY] = IOVA, [HOST] = 0x50000, [GUEST] = PAGE};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t host, root, table, q0 = cases[i].q0;
		struct dma_space *ds;
		struct unit u;

		unit_start_features(&u, FULL & ~cases[i].without, 0, cases[i].control);
		host = table_new(&u);
		root = table_new(&u);
		table = tables_down(&u, host, 3, 1, 0);
		for (uint64_t gpa = 0; gpa < BIG; gpa += 4096)
			pte_set(&u, table, 1, gpa, (gpa == IOVA ? where[HOST] : gpa) | RW_BITS | 1);
		put64(&u, GCR3, root | 1);
		put64(&u, GCR3 + 3 * 8, root | 1);
		table = guest_tables_down(&u, root, 4, 1, IOVA);
		pte_set(&u, table, 1, IOVA, where[GUEST] | USER);
		if (q0 & MODE(7))
			q0 |= host;
		guest_dte(&u, q0, cases[i].q2, q0 & GV ? GCR3 : 0);
		ds = space_new(&u, cases[i].pasid);
		if (cases[i].verdict != ABORT)
			expect_gpa(&u, ds, cases[i].name, IOVA, DMA_READ, where[cases[i].verdict]);
		else if (cases[i].pasid != NO_PASID)
			expect_fault(&u, ds, cases[i].name, IOVA, DMA_READ,
				     guest_event_word(cases[i].code, cases[i].flags, cases[i].pasid,
						      DEV),
				     IOVA);
		else
			expect_fault(&u, ds, cases[i].name, IOVA, DMA_READ,
				     event_word(cases[i].code, cases[i].flags,
						cases[i].code == 1 ? 0 : DOM, DEV),
				     IOVA);
		amd_iommu_dma_space_free(ds);
		unit_free(&u);
	}
}

/* 7.4: PASIDs that the table or the unit does not reach, and entries that lead nowhere. */
Test(amd_guest, pasid_tables)
{
	static const struct {
		const char *name;
		uint64_t efr; /* PASmax and GLXSup */
		unsigned glx;
		uint32_t pasid;
		uint64_t entry; /* of the last level; ~0: a good one */
		int code, flags;
		uint64_t address;
	} cases[] = {
		{"GLX 0, first", 0, 0, 0, ~0ull, 0, 0, 0},
		{"GLX 0, last", 15ull << 32, 0, 511, ~0ull, 0, 0, 0},
		{"GLX 0, beyond", 15ull << 32, 0, 512, ~0ull, 2, 0, IOVA},
		{"GLX 1", 15ull << 32 | 1 << 14, 1, 0xffff, ~0ull, 0, 0, 0},
		{"GLX 1, beyond PASmax", 15ull << 32 | 1 << 14, 1, 0x10000, ~0ull, 2, 0, IOVA},
		{"GLX 2", 15ull << 32 | 2 << 14, 2, 0xfedc, ~0ull, 0, 0, 0},
		{"GLX 2, beyond PASmax", 15ull << 32 | 2 << 14, 2, 0xfffff, ~0ull, 2, 0, IOVA},
		{"PASmax 3", 3ull << 32, 0, 15, ~0ull, 0, 0, 0},
		{"beyond PASmax 3", 3ull << 32, 0, 16, ~0ull, 2, 0, IOVA},
		{"entry not valid", 15ull << 32 | 1 << 14, 1, 0x1234, TABLES, 2, 0, IOVA},
		{"reserved bit 1", 15ull << 32, 0, 3, TABLES | 3, 2, 0x90, IOVA},
		{"reserved bit 52", 15ull << 32, 0, 3, TABLES | BIT(52) | 1, 2, 0x90, IOVA},
		{"root in a hole", 15ull << 32, 0, 3, HOLE | 1, 4, 0x200, HOLE},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t root, gcr3 = GCR3, entry = cases[i].entry, table;
		struct dma_space *ds;
		struct unit u;

		unit_start_features(&u, AMD_IOMMU_EFR_DEFAULT | BIT(4) | cases[i].efr, 0, C_V2);
		root = table_new(&u);
		table = guest_tables_down(&u, root, 4, 1, IOVA);
		pte_set(&u, table, 1, IOVA, PAGE | USER);
		guest_dte(&u, V | TV | IR | IW | GV | GLX(cases[i].glx), 0, GCR3);
		for (unsigned level = cases[i].glx; level; level--) {
			table = table_new(&u);
			put64(&u, gcr3 + (cases[i].pasid >> (9 * level) & 511) * 8ull, table | 1);
			gcr3 = table;
		}
		put64(&u, gcr3 + (cases[i].pasid & 511) * 8ull,
		      entry == ~0ull ? (root | 1) : entry);
		ds = space_new(&u, cases[i].pasid);
		if (!cases[i].code)
			expect_gpa(&u, ds, cases[i].name, IOVA, DMA_WRITE, PAGE);
		else
			expect_fault(&u, ds, cases[i].name, IOVA, DMA_READ,
				     guest_event_word(cases[i].code, cases[i].flags, cases[i].pasid,
						      DEV),
				     cases[i].address);
		amd_iommu_dma_space_free(ds);
		unit_free(&u);
	}
}

Test(amd_guest, pasid_of_20_bits)
{
	struct dma_space *ds;
	struct unit u;

	guest_start(&u, FULL);
	cr_assert_eq(amd_iommu_dma_space_new_pasid(u.e, DEV, 1 << 20, &ds), -EINVAL);
	unit_free(&u);
}

/* With PASID the interrupt window and the HyperTransport range are memory like any other. */
Test(amd_guest, closed_ranges)
{
	static const uint64_t iova[] = {0xfee00000, 0xfd00000000};
	uint64_t root, table;
	struct unit u;

	root = guest_start(&u, FULL);
	for (unsigned i = 0; i < ARRAY_SIZE(iova); i++) {
		struct dma_space *with, *without;
		struct dma_segment seg;

		table = guest_tables_down(&u, root, 4, 1, iova[i]);
		pte_set(&u, table, 1, iova[i], PAGE | USER);
		with = space_new(&u, PASID_0);
		without = space_new(&u, NO_PASID);
		expect_gpa(&u, with, "with PASID", iova[i], DMA_WRITE, PAGE);
		cr_assert_eq(dma_space_map(without, iova[i], 4, DMA_WRITE, &seg, 1), -EFAULT);
		expect_event(&u, "without", event_word(8, (i ? 5 : 4) << 9, 0, DEV), iova[i]);
		amd_iommu_dma_space_free(with);
		amd_iommu_dma_space_free(without);
	}
	unit_free(&u);
}

/* A is set in every entry on the way, D in the last by the first write, after permission only. */
Test(amd_guest, accessed_and_dirty)
{
	uint64_t root, middle, table, directory;
	struct amd_iommu_stats before, after;
	struct dma_space *ds;
	struct unit u;

	root = guest_start(&u, FULL);
	ds = space_new(&u, NO_PASID);
	middle = guest_tables_down(&u, root, 4, 2, IOVA);
	table = table_new(&u);
	directory = table | USER;
	pte_set(&u, middle, 2, IOVA, directory);
	pte_set(&u, table, 1, IOVA, PAGE | USER);
	expect_gpa(&u, ds, "read", IOVA, DMA_READ, PAGE);
	cr_assert_eq(get64(&u, table + 5 * 8), PAGE | USER | A);
	cr_assert_eq(get64(&u, middle), directory | A);
	cr_assert_eq(get64(&u, root) & (A | D), A);
	expect_gpa(&u, ds, "write", IOVA, DMA_WRITE, PAGE);
	cr_assert_eq(get64(&u, table + 5 * 8), PAGE | USER | A | D);
	cr_assert_eq(get64(&u, middle), directory | A, "D is the leaf's");
	/* Now nothing is left to be set: both come from the IOTLB. */
	amd_iommu_engine_stats(u.e, &before);
	expect_gpa(&u, ds, "again", IOVA, DMA_READ | DMA_WRITE, PAGE);
	amd_iommu_engine_stats(u.e, &after);
	cr_assert_eq(after.walks, before.walks);
	cr_assert_eq(after.iotlb_hits, before.iotlb_hits + 1);
	/* Software clears D and says so. */
	pte_set(&u, table, 1, IOVA, PAGE | USER | A);
	cmd(&u, 3ull << 60 | (uint64_t)DOM << 32, IOVA | BIT(2));
	expect_gpa(&u, ds, "read", IOVA, DMA_READ, PAGE);
	cr_assert_eq(get64(&u, table + 5 * 8), PAGE | USER | A);
	expect_gpa(&u, ds, "write", IOVA, DMA_WRITE, PAGE);
	cr_assert_eq(get64(&u, table + 5 * 8), PAGE | USER | A | D);
	amd_iommu_dma_space_free(ds);
	unit_free(&u);
}

/* 4.2: the host table's A and D, by what DTE.HAD asks for. */
Test(amd_guest, host_accessed_and_dirty)
{
	static const struct {
		unsigned had, access;
		uint64_t leaf, directory;
	} cases[] = {
		{0, DMA_WRITE, 0, 0}, {1, DMA_READ, A, A},	{1, DMA_WRITE, A, A},
		{3, DMA_READ, A, A},  {3, DMA_WRITE, A | D, A},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		const uint64_t entry = PAGE | RW_BITS | PR;
		struct amd_iommu_stats before, after;
		uint64_t root, table;
		struct dma_space *ds;
		struct unit u;

		unit_start_features(&u, FULL, 0, C_V2);
		root = table_new(&u);
		dte_set(&u, DEV, V | TV | IR | IW | MODE(2) | HAD(cases[i].had) | root, DOM, 0, 0);
		table = tables_down(&u, root, 2, 1, 0);
		pte_set(&u, table, 1, IOVA, entry);
		pte_set(&u, table, 1, 0x6000, PAGE | IR | PR);
		ds = space_new(&u, NO_PASID);
		expect_gpa(&u, ds, "first", IOVA, cases[i].access, PAGE);
		cr_assert_eq(get64(&u, table + 5 * 8), entry | cases[i].leaf, "case %u", i);
		cr_assert_eq(get64(&u, root), pde(table, 1) | cases[i].directory, "case %u", i);
		/* A write comes again where D is still to be set, and nowhere else. */
		amd_iommu_engine_stats(u.e, &before);
		expect_gpa(&u, ds, "write", IOVA, DMA_WRITE, PAGE);
		amd_iommu_engine_stats(u.e, &after);
		cr_assert_eq(after.walks - before.walks, cases[i].had == 3 && !(cases[i].leaf & D),
			     "case %u", i);
		cr_assert_eq(get64(&u, table + 5 * 8),
			     entry | cases[i].leaf | (cases[i].had == 3 ? D : 0), "case %u", i);
		expect_fault(&u, ds, "read-only", 0x6000, DMA_WRITE, event_word(2, 0x70, DOM, DEV),
			     0x6000);
		cr_assert_eq(get64(&u, table + 6 * 8), PAGE | IR | PR, "nothing was used");
		amd_iommu_dma_space_free(ds);
		unit_free(&u);
	}
}

/* 5.2: who drops what, by domain, PASID and GN. */
Test(amd_guest, invalidation_tags)
{
	enum { HOST_TABLE, GUEST_0, GUEST_5, SPACES };
	static const struct {
		const char *name;
		uint16_t domain;
		uint32_t pasid;
		uint64_t word1;
		bool drops[SPACES];
	} cases[] = {
		{"GN=0", DOM, 0, 0, {true, true, true}},
		{"GN=0, another domain", DOM + 1, 0, 0, {false, false, false}},
		{"GN=1, PASID 0", DOM, 0, BIT(2), {false, true, false}},
		{"GN=1, PASID 5", DOM, 5, BIT(2), {false, false, true}},
		{"GN=1, PASID 6", DOM, 6, BIT(2), {false, false, false}},
		{"GN=1, another domain", DOM + 1, 5, BIT(2), {false, false, false}},
		{"GN=1, all of PASID 5",
		 DOM,
		 5,
		 0x7ffffffffffff000 | BIT(2) | 1,
		 {false, false, true}},
	};
	struct dma_space *ds[SPACES];
	uint64_t root, table;
	struct unit u;

	root = guest_start(&u, FULL);
	put64(&u, GCR3 + 5 * 8, root | 1);
	table = guest_tables_down(&u, root, 4, 1, IOVA);
	pte_set(&u, table, 1, IOVA, PAGE | USER);
	/* Another device, with host tables in the same domain. */
	table = table_new(&u);
	dte_set(&u, DEV + 1, V | TV | IR | IW | MODE(1) | table, DOM, 0, 0);
	pte_set(&u, table, 1, IOVA, PAGE | RW_BITS | PR);
	cr_assert_eq(amd_iommu_dma_space_new(u.e, DEV + 1, &ds[HOST_TABLE]), 0);
	ds[GUEST_0] = space_new(&u, NO_PASID);
	ds[GUEST_5] = space_new(&u, 5);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t generation[SPACES];

		for (unsigned s = 0; s < SPACES; s++) {
			expect_gpa(&u, ds[s], cases[i].name, IOVA, DMA_READ, PAGE);
			generation[s] = dma_space_generation(ds[s]);
		}
		u.pages = 0;
		cmd(&u, 3ull << 60 | (uint64_t)cases[i].domain << 32 | cases[i].pasid,
		    cases[i].word1);
		for (unsigned s = 0; s < SPACES; s++)
			cr_assert_eq(dma_space_generation(ds[s]) != generation[s],
				     cases[i].drops[s], "%s: space %u", cases[i].name, s);
		/* Those who mirror requests without PASID need not hear of other PASIDs. */
		cr_assert_eq(u.pages, !(cases[i].word1 & BIT(2)) || !cases[i].pasid, "%s",
			     cases[i].name);
	}
	for (unsigned s = 0; s < SPACES; s++)
		amd_iommu_dma_space_free(ds[s]);
	unit_free(&u);
}

Test(amd_guest, gn_without_gtsup)
{
	struct unit u;

	unit_start(&u, C_RUNNING);
	cmd_put(&u, 3ull << 60 | (uint64_t)DOM << 32, 0x5000 | BIT(2));
	cmd_ring(&u);
	cr_assert_eq(reg_get(&u, R_CMD_HEAD), 0);
	expect_event(&u, "GN", event_word(5, 0, 0, 0), CMDBUF);
	unit_free(&u);
}
