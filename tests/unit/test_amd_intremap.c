// SPDX-License-Identifier: Apache-2.0
/* Interrupt remapping (48882 section 2.2.5; reference 4.4, 7.5, 10.5). */
#include <errno.h>

#include "amd_unit.h"

#define IV	BIT(0)
#define LEN(n)	((uint64_t)(n) << 1)
#define IG	BIT(5)
#define CTL(n)	((uint64_t)(n) << 60)
#define REMAP9	(IV | LEN(9) | CTL(2) | INTTAB)
#define MSI	0xfee00000ull
#define DOM	0x99
#define REFUSED 1

static void irte32_set(struct unit *u, unsigned index, uint32_t entry)
{
	const uint64_t gpa = INTTAB + index / 2 * 8;
	const unsigned shift = index % 2 * 32;

	put64(u, gpa, (get64(u, gpa) & ~(0xffffffffull << shift)) | (uint64_t)entry << shift);
}

static void irte128_set(struct unit *u, unsigned index, uint64_t word0, uint64_t word1)
{
	put64(u, INTTAB + index * 16ull, word0);
	put64(u, INTTAB + index * 16ull + 8, word1);
}

static int remap(struct unit *u, uint64_t addr, uint32_t data, struct msi_msg *out)
{
	const struct msi_msg msg = {addr, data};

	*out = (struct msi_msg){0};
	return amd_iommu_engine_remap(u->e, DEV, &msg, out, true);
}

static void expect_message(struct unit *u, const char *what, uint64_t addr, uint32_t data,
			   uint64_t out_addr, uint32_t out_data)
{
	struct msi_msg out;

	cr_assert_eq(remap(u, addr, data, &out), 0, "%s: refused, %u events", what, events(u));
	cr_assert(out.addr == out_addr && out.data == out_data, "%s: %lx %x, wanted %lx %x", what,
		  out.addr, out.data, out_addr, out_data);
	cr_assert_eq(events(u), 0, "%s", what);
}

/* CODE 0: refused without a word. */
static void expect_refused(struct unit *u, const char *what, uint64_t addr, uint32_t data,
			   unsigned code, unsigned flags, uint16_t domain, uint64_t address)
{
	struct msi_msg out;

	cr_assert_eq(remap(u, addr, data, &out), -EACCES, "%s: let through", what);
	if (code)
		expect_event(u, what, event_word(code, flags, domain, DEV), address);
	cr_assert_eq(events(u), 0, "%s: too many events", what);
}

/* Cases 93 to 95, 97, 103; the decisions that need no table. */
Test(amd_intremap, device_table_decisions)
{
	static const struct {
		const char *name;
		uint64_t q0, q2, q3;
		uint64_t addr;
		uint32_t data;
		bool refused;
		unsigned code, flags;
	} cases[] = {
		{"IV=0 (94)", 0, ~IV, 0, MSI, 0x31, false, 0, 0},
		{"IV=0, V=1", 1, 0, 0, MSI, 0x31, false, 0, 0},
		{"IntCtl 0 (95)", 0, IV, 0, MSI, 0x31, true, 0, 0},
		{"IntCtl 1", 0, IV | CTL(1), 0, MSI | 0x5004, 0xc131, false, 0, 0},
		{"IntCtl 3", 0, IV | CTL(3), 0, MSI, 0x31, true, 1, 0x088},
		{"IntTabLen 12 (97)", 0, IV | CTL(2) | LEN(12), 0, MSI, 0, true, 1, 0x008},
		{"IntTabLen 15", 0, IV | CTL(2) | LEN(15), 0, MSI, 0, true, 1, 0x008},
		{"q2 bit 52 (63)", 0, IV | CTL(1) | BIT(52), 0, MSI, 0, true, 1, 0x088},
		{"q2 bit 54 without GTSup", 0, IV | CTL(1) | BIT(54), 0, MSI, 0, true, 1, 0x088},
		{"q3 bit 0", 0, IV | CTL(1), 1, MSI, 0, true, 1, 0x088},
		{"q3 vImuEn", 0, IV | CTL(1), BIT(15), MSI, 0, true, 1, 0x088},
		{"q3 software and attribute bits", 0, IV | CTL(1), 0xffe0ull << 48, MSI, 1, false,
		 0, 0},
		{"SMI (103)", 0, IV, 0, MSI, 0x200, false, 0, 0},
		{"NMI without NMIPass", 0, IV | CTL(1), 0, MSI, 0x400, true, 0, 0},
		{"NMI with NMIPass", 0, IV | BIT(58), 0, MSI, 0x400, false, 0, 0},
		{"NMI, logical", 0, IV | BIT(58), 0, MSI | 4, 0x400, true, 0, 0},
		{"INIT without INITPass", 0, IV | BIT(58), 0, MSI, 0x500, true, 0, 0},
		{"INIT with INITPass", 0, IV | BIT(56), 0, MSI, 0x500, false, 0, 0},
		{"ExtInt without EIntPass", 0, IV | BIT(56), 0, MSI, 0x700, true, 0, 0},
		{"ExtInt with EIntPass", 0, IV | BIT(57), 0, MSI, 0x700, false, 0, 0},
		{"reserved delivery 3", 0, IV | CTL(1), 0, MSI, 0x300, true, 0, 0},
		{"reserved delivery 6", 0, IV | CTL(1), 0, MSI, 0x600, true, 0, 0},
		{"not in the interrupt window", 0, IV | CTL(1), 0, 0xfef00000, 0, true, 0, 0},
	};
	struct unit u;

	unit_start(&u, C_RUNNING | C_GA);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		dte_set(&u, DEV, cases[i].q0, 0, cases[i].q2, cases[i].q3);
		if (cases[i].refused)
			expect_refused(&u, cases[i].name, cases[i].addr, cases[i].data,
				       cases[i].code, cases[i].flags, 0, cases[i].addr);
		else
			expect_message(&u, cases[i].name, cases[i].addr, cases[i].data,
				       cases[i].addr, cases[i].data);
	}
	/* 7.1 step 1: a disabled unit touches nothing. */
	dte_set(&u, DEV, 0, 0, IV, 0);
	reg_set(&u, R_CONTROL, C_COH);
	expect_message(&u, "disabled", MSI, 0x31, MSI, 0x31);
	unit_free(&u);
}

/* Cases 99 to 102: 32-bit entries. The source keeps its trigger mode and level. */
Test(amd_intremap, entries_of_32_bits)
{
	static const struct {
		const char *name;
		uint32_t entry, data;
		uint64_t addr; /* REFUSED, or what comes out */
		uint32_t out;
		unsigned flags;
	} cases[] = {
		{"fixed", 0x00415601, 0x0000, MSI | 0x56000, 0x41, 0},
		{"arbitrated, logical (102)", 0x00ff0345 & ~0x40u, 0x0000, MSI | 0x03000, 0x1ff, 0},
		{"logical", 0x00420341, 0x0000, MSI | 0x03004, 0x42, 0},
		{"level from the source", 0x00415601, 0xc000, MSI | 0x56000, 0xc041, 0},
		{"vector below 16", 0x00010001, 0, MSI, 0x01, 0},
		{"RqEoi", 0x00415621, 0, MSI | 0x56000, 0x41, 0},
		{"RemapEn=0 (99)", 0x00415600, 0, REFUSED, 0, 0x008},
		{"Linux's mark of a free entry, suppressed", 0xfffffffe, 0, REFUSED, 0, 0},
		{"RemapEn=0 with reserved bits", 0xff000000, 0, REFUSED, 0, 0x008},
		{"IntType 2 (100)", 0x00415609, 0, REFUSED, 0, 0x098},
		{"IntType 7", 0x0041561d, 0, REFUSED, 0, 0x098},
		{"reserved bit 7", 0x00415681, 0, REFUSED, 0, 0x098},
		{"reserved bit 24", 0x01415601, 0, REFUSED, 0, 0x098},
		{"reserved, SupIOPF (98)", 0x01415603, 0, REFUSED, 0, 0},
	};
	struct unit u;

	unit_start(&u, C_RUNNING);
	dte_set(&u, DEV, 1, DOM, REMAP9, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		for (unsigned index = 6; index <= 7; index++) {
			irte32_set(&u, 6, 0);
			irte32_set(&u, 7, 0);
			irte32_set(&u, index, cases[i].entry);
			if (cases[i].addr == REFUSED)
				expect_refused(&u, cases[i].name, MSI, cases[i].data | index,
					       cases[i].flags ? 2 : 0, cases[i].flags, DOM, MSI);
			else
				expect_message(&u, cases[i].name, MSI, cases[i].data | index,
					       cases[i].addr, cases[i].out);
		}
	}
	unit_free(&u);
}

/* Cases 99 to 101: 128-bit entries. */
Test(amd_intremap, entries_of_128_bits)
{
	static const struct {
		const char *name;
		uint64_t control, word0, word1;
		uint64_t addr;
		uint32_t out;
		unsigned flags;
	} cases[] = {
		{"x2APIC destination (101)", C_XT, 0x34567801, 0x1200000000000041,
		 0x12345600ull << 32 | MSI | 0x78000, 0x41, 0},
		{"the same with XTEn=0: 8 bits", 0, 0x34567801, 0x1200000000000041, MSI | 0x78000,
		 0x41, 0},
		{"logical, arbitrated", C_XT, 0x00000045, 0xfe, MSI | 4, 0x1fe, 0},
		{"guest tag and vAPIC root do not matter", C_XT, 0xffffffff00000101,
		 0x000fffffffff0022 & ~0xf00ull, MSI | 0x1000, 0x22, 0},
		{"Linux's mark of a free entry", C_XT, 0, 0xff, REFUSED, 0, 0x008},
		{"SupIOPF", C_XT, 2, 0xff, REFUSED, 0, 0},
		{"IntType 3", C_XT, 0x0d, 0x41, REFUSED, 0, 0x098},
		{"GuestMode without GAMEn", C_XT, 0x81, 0x41, REFUSED, 0, 0x098},
		{"reserved bit 72", C_XT, 1, 0x41 | BIT(8), REFUSED, 0, 0x098},
		{"reserved bit 119", C_XT, 1, 0x41 | BIT(55), REFUSED, 0, 0x098},
	};
	struct unit u;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		unit_start(&u, C_RUNNING | C_GA | cases[i].control);
		dte_set(&u, DEV, 0, DOM, REMAP9, 0);
		irte128_set(&u, 0x1a5, cases[i].word0, cases[i].word1);
		if (cases[i].addr == REFUSED)
			/* V=0: the entry has no DomainID. */
			expect_refused(&u, cases[i].name, MSI, 0x1a5, cases[i].flags ? 2 : 0,
				       cases[i].flags, 0, MSI);
		else
			expect_message(&u, cases[i].name, MSI, 0x1a5, cases[i].addr, cases[i].out);
		unit_free(&u);
	}
}

/* Cases 96 and 98: an entry beyond the table is not looked at, however it may look. */
Test(amd_intremap, table_limits)
{
	struct unit u;

	unit_start(&u, C_RUNNING | C_GA | C_XT);
	for (unsigned i = 0; i < 2048; i++)
		irte128_set(&u, i, 1 | (uint64_t)i << 8, 0x41);
	for (unsigned len = 0; len <= 11; len++) {
		/* Delivery bits of the message are 0 or 1, which leaves 9 bits of index. */
		unsigned last = len > 9 ? 511 : (1u << len) - 1;

		dte_set(&u, DEV, 0, 0, IV | LEN(len) | CTL(2) | INTTAB, 0);
		expect_message(&u, "last entry", MSI, last,
			       (uint64_t)(last >> 8) << 40 | MSI | (last & 0xff) << 12, 0x41);
		if (len < 9)
			expect_refused(&u, "first beyond", MSI, last + 1, 2, 0x008, 0, MSI);
		dte_set(&u, DEV, 0, 0, IV | LEN(len) | CTL(2) | INTTAB | IG, 0);
		if (len < 9)
			expect_refused(&u, "first beyond, IG", MSI, last + 1, 0, 0, 0, 0);
	}
	irte128_set(&u, 3, 0, 0);
	expect_refused(&u, "RemapEn=0, IG", MSI, 3, 0, 0, 0, 0);
	unit_free(&u);
}

/* Case 104: GAEn decides the stride. */
Test(amd_intremap, format_follows_ga_enable)
{
	struct unit u;

	unit_start(&u, C_RUNNING | C_GA);
	dte_set(&u, DEV, 0, 0, REMAP9, 0);
	irte128_set(&u, 4, 0x101, 0x55);
	irte32_set(&u, 4, 0x00660201);
	expect_message(&u, "128", MSI, 4, MSI | 0x1000, 0x55);
	reg_set(&u, R_CONTROL, C_RUNNING);
	expect_message(&u, "32", MSI, 4, MSI | 0x2000, 0x66);
	unit_free(&u);
}

/* Cases 64, 65, 110. */
Test(amd_intremap, tables_outside_ram)
{
	struct unit u;

	unit_start(&u, C_RUNNING | C_GA);
	dte_set(&u, DEV, 1, DOM, IV | LEN(9) | CTL(2) | HOLE, 0);
	expect_refused(&u, "table in a hole", MSI, 5, 4, 0x208, DOM, HOLE + 5 * 16);
	dte_set(&u, DEV, 1, DOM, IV | LEN(9) | CTL(2) | IG | GENMASK(51, 6), 0);
	expect_refused(&u, "top of the field, IG", MSI, 5, 4, 0x208, DOM, GENMASK(51, 6) + 5 * 16);
	reg_set(&u, R_CONTROL, C_RUNNING);
	expect_refused(&u, "32-bit entries", MSI, 5, 4, 0x208, DOM, GENMASK(51, 6) + 5 * 4);
	/* The table ends with RAM: half of it is there. */
	dte_set(&u, DEV, 1, DOM, IV | LEN(9) | CTL(2) | (RAM_SIZE - 64), 0);
	expect_refused(&u, "last entry in RAM", MSI, 15, 2, 0x008, DOM, MSI);
	expect_refused(&u, "first outside", MSI, 16, 4, 0x208, DOM, RAM_SIZE);

	reg_set(&u, R_DEVTAB, DEVTAB);
	expect_refused(&u, "device id beyond the table", MSI, 5, 2, 0x008, 0, MSI);
	reg_set(&u, R_DEVTAB, HOLE | 0x1ff);
	expect_refused(&u, "device table in a hole", MSI, 5, 3, 0x208, 0, HOLE + DEV * 32);
	unit_free(&u);
}

/* Resolving a route is not a fault of the device: the caller may ask quietly. */
Test(amd_intremap, quiet)
{
	const struct msi_msg msg = {MSI, 0};
	struct msi_msg out;
	struct unit u;

	unit_start(&u, C_RUNNING);
	dte_set(&u, DEV, 0, 0, REMAP9, 0);
	cr_assert_eq(amd_iommu_engine_remap(u.e, DEV, &msg, &out, false), -EACCES);
	cr_assert_eq(events(&u), 0);
	unit_free(&u);
}

/* Case 56: the table that INVALIDATE_DEVTAB_ENTRY installs is used without another command. */
Test(amd_intremap, new_table_with_the_device_entry)
{
	struct unit u;

	unit_start(&u, C_RUNNING);
	dte_set(&u, DEV, 0, 0, IV, 0);
	expect_refused(&u, "no table", MSI, 1, 0, 0, 0, 0);
	irte32_set(&u, 1, 0x00330001);
	dte_set(&u, DEV, 0, 0, REMAP9, 0);
	inv_devtab(&u, DEV);
	expect_message(&u, "table", MSI, 1, MSI, 0x33);
	unit_free(&u);
}

/* The depth of guest tables lies in the word of interrupts, and is no concern of theirs. */
Test(amd_intremap, guest_paging_mode)
{
	struct unit u;

	unit_start_features(&u, AMD_IOMMU_EFR_V2, 0, C_RUNNING | C_GA);
	dte_set(&u, DEV, 0, 0, IV | CTL(1) | BIT(54), 0);
	expect_message(&u, "bit 54", MSI, 0x31, MSI, 0x31);
	dte_set(&u, DEV, 0, 0, IV | CTL(1) | BIT(53), 0);
	expect_refused(&u, "bit 53", MSI, 0x31, 1, 0x088, 0, MSI);
	unit_free(&u);
}

#define C_2K  (1ull << 43)
#define DM    4ull
#define TAB11 (IV | CTL(2) | LEN(11) | INTTAB)

/* Section 7.5: with 2048 entries, DM=1 makes all of data[10:0] the index. */
Test(amd_intremap, entries_2048)
{
	static const struct {
		const char *name;
		uint64_t efr2, control, q2, addr;
		uint32_t data;
		unsigned index; /* of the entry that delivers; ~0: refused */
		bool unchanged; /* delivered as it was */
		unsigned code, flags;
	} cases[] = {
		{"first", 0x100, C_2K, TAB11, MSI | DM, 0, 0, false, 0, 0},
		{"last", 0x100, C_2K, TAB11, MSI | DM, 2047, 2047, false, 0, 0},
		{"what was SMI", 0x100, C_2K, TAB11, MSI | DM, 0x205, 0x205, false, 0, 0},
		{"what was reserved", 0x100, C_2K, TAB11, MSI | DM, 0x3ff, 0x3ff, false, 0, 0},
		{"what was NMI", 0x100, C_2K, TAB11, MSI | DM, 0x4aa, 0x4aa, false, 0, 0},
		{"what was ExtInt", 0x100, C_2K, TAB11 | BIT(57), MSI | DM, 0x755, 0x755, false, 0,
		 0},
		{"table of 512", 0x100, C_2K, IV | CTL(2) | LEN(9) | INTTAB, MSI | DM, 512, ~0u,
		 false, 2, 0x008},
		{"IntCtl 0", 0x100, C_2K, IV | LEN(11) | INTTAB, MSI | DM, 0x700, ~0u, false, 0, 0},
		{"IntCtl 1", 0x100, C_2K, IV | CTL(1), MSI | DM, 0x700, ~0u, true, 0, 0},
		{"DM=0: SMI", 0x100, C_2K, TAB11, MSI, 0x205, ~0u, true, 0, 0},
		{"DM=0: NMI", 0x100, C_2K, TAB11, MSI, 0x405, ~0u, false, 0, 0},
		{"DM=0: fixed", 0x100, C_2K, TAB11, MSI, 0x1ff, 0x1ff, false, 0, 0},
		{"mode off: SMI", 0x100, 0, TAB11, MSI | DM, 0x205, ~0u, true, 0, 0},
		{"mode off: ExtInt, logical", 0x100, 0, TAB11 | BIT(57), MSI | DM, 0x705, ~0u,
		 false, 0, 0},
		{"not supported", 0, C_2K, TAB11, MSI | DM, 0x405, ~0u, false, 0, 0},
		{"not supported: fixed", 0, C_2K, TAB11, MSI | DM, 0x105, 0x105, false, 0, 0},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		const unsigned index = cases[i].index;
		struct unit u;

		unit_start_features(&u, AMD_IOMMU_EFR_DEFAULT, cases[i].efr2,
				    C_RUNNING | C_GA | C_XT | cases[i].control);
		dte_set(&u, DEV, 0, 0, cases[i].q2, 0);
		if (index != ~0u) {
			irte128_set(&u, index, 1 | 0x123456ull << 8, 0x41);
			expect_message(&u, cases[i].name, cases[i].addr, cases[i].data | 0x4000,
				       MSI | 0x56ull << 12 | 0x1234ull << 40, 0x4041);
		} else if (cases[i].unchanged) {
			expect_message(&u, cases[i].name, cases[i].addr, cases[i].data,
				       cases[i].addr, cases[i].data);
		} else {
			expect_refused(&u, cases[i].name, cases[i].addr, cases[i].data,
				       cases[i].code, cases[i].flags, 0, cases[i].addr);
		}
		unit_free(&u);
	}
}

/* Another mode may be another entry for every message. */
Test(amd_intremap, the_mode_changes)
{
	struct unit u;

	unit_start_features(&u, AMD_IOMMU_EFR_DEFAULT, 0x100, C_RUNNING);
	u.interrupts_all = 0;
	reg_set(&u, R_CONTROL, C_RUNNING | C_2K);
	cr_assert_eq(u.interrupts_all, 1);
	reg_set(&u, R_CONTROL, C_RUNNING | 3ull << 43);
	cr_assert_eq(reg_get(&u, R_CONTROL), C_RUNNING | C_2K, "a mode that there is not");
	cr_assert_eq(u.interrupts_all, 1);
	unit_free(&u);
}
