// SPDX-License-Identifier: Apache-2.0
/* Messages up to the remapping table: which are remapped, which pass, which are refused. */
#include "tests/conformance/amd_iommu/suite.h"

#define ONES	   (~UINT64_C(0))
#define B(h, l)	   GENMASK(h, l)
#define MSI	   UINT64_C(0xfee00000)
#define REMAPPED   (DTE2_REMAP | DTE2_LEN(8) | IRT)
#define I_FAULT(f) EVENT(EV_FAULT(DEV, DOM, F_I | (f)), MSI)
/* Entry 5 of the table: vector 61h to APIC 3. */
#define ENTRY5			  ST4(IRT + 5 * 4, IRTE_EN | IRTE_DEST(3) | IRTE32_VEC(0x61))
#define OUT5			  MSI_ADDR(3, 0), 0x61
#define PASSES(devid, addr, data) REMAP(devid, addr, data, addr, data)

/* A delivery mode that a bit of the DTE lets pass, in physical mode only. */
#define SPECIAL(id, mode, bit)                                                                     \
	CASE("int.special." id, "7.5", 103, "refused without its bit, passes with, never logical", \
	     DTE(DEV, 0, DOM, REMAPPED, 0), UP(0), NO_REMAP(DEV, MSI, MSI_DATA(mode, 0x05)),       \
	     DTE(DEV, 0, DOM, REMAPPED | (bit), 0), FLUSH_DTE(DEV),                                \
	     PASSES(DEV, MSI, MSI_DATA(mode, 0x05)), NO_REMAP(DEV, MSI | 4, MSI_DATA(mode, 0x05)), \
	     ANY_EVENTS),                                                                          \
		CASE("int.special_only." id, "7.5", 103, "the other bits do not let it pass",      \
		     DTE(DEV, 0, DOM, REMAPPED | ((DTE2_INIT | DTE2_EXTINT | DTE2_NMI) & ~(bit)),  \
			 0),                                                                       \
		     UP(0), NO_REMAP(DEV, MSI, MSI_DATA(mode, 0x05)), ANY_EVENTS)
/* Table lengths: the last index works, the next is refused. */
#define LENGTH(n)                                                                                  \
	CASE("int.length." #n, "7.5", 96, "the last index of the table, and one beyond",           \
	     DTE(DEV, DTE_V, DOM, DTE2_REMAP | DTE2_LEN(n) | IRT, 0),                              \
	     ST4(IRT + ((1 << (n)) - 1) * 4, IRTE_EN | IRTE_DEST(3) | IRTE32_VEC(0x61)),           \
	     ST4(IRT + (1 << (n)) * 4, IRTE_EN | IRTE_DEST(3) | IRTE32_VEC(0x61)), UP(0),          \
	     REMAP(DEV, MSI, (1 << (n)) - 1, MSI_ADDR(3, 0), 0x61), NO_REMAP(DEV, MSI, 1 << (n)),  \
	     EVENT(EV_FAULT(DEV, DOM, F_I), MSI))
#define LENGTH_WIDE(n)                                                                             \
	CASE("int.length." #n, "7.5", 96, "index 511 through the arbitrated delivery mode",        \
	     DTE(DEV, DTE_V, DOM, DTE2_REMAP | DTE2_LEN(n) | IRT, 0),                              \
	     ST4(IRT + 511 * 4, IRTE_EN | IRTE_DEST(3) | IRTE32_VEC(0x61)), UP(0),                 \
	     REMAP(DEV, MSI, 0x1ff, MSI_ADDR(3, 0), 0x61))
#define LENGTH_BAD(n)                                                                              \
	CASE("int.length." #n, "7.5", 97, "a table length above 11: illegal, RZ=0",                \
	     DTE(DEV, DTE_V, DOM, DTE2_REMAP | DTE2_LEN(n) | IRT, 0), ENTRY5, UP(0),               \
	     NO_REMAP(DEV, MSI, 5), EVENT(EV_DTE(DEV, F_I), MSI))
#define RESERVED_BITS(id, word, mask, what)                                                        \
	CASE("int.reserved." id, "4.1", 63, what, ENTRY5, UP(0), EACH_BIT(mask, 5),                \
	     DTE_BIT(word, DEV, DTE_V, DOM, REMAPPED, 0), QUEUE(INV_DTE(DEV), 0), DOORBELL,        \
	     NO_REMAP(DEV, MSI, 5), EVENT(EV_DTE(DEV, F_I | F_RZ), MSI))
#define ALLOWED_BITS(id, word, mask, what)                                                         \
	CASE("int.allowed." id, "4.1", 0, what, ENTRY5, UP(0), EACH_BIT(mask, 4),                  \
	     DTE_BIT(word, DEV, 0, DOM, REMAPPED, 0), QUEUE(INV_DTE(DEV), 0), DOORBELL,            \
	     REMAP(DEV, MSI, 5, OUT5))

static const struct conformance_case cases[] = {
	CASE("int.off", "7.5", 0, "IommuEn 0: messages pass", DTE(DEV, 0, DOM, REMAPPED, 0), ENTRY5,
	     WR(R_DEVTAB, DEVTAB | DEVTAB_SIZE), PASSES(DEV, MSI | 0x3000, 5)),
	CASE("int.iv0", "7.5", 94, "IV=0: messages pass", DTE(DEV, 0, 0, REMAPPED & ~DTE2_IV, 0),
	     ENTRY5, UP(0), PASSES(DEV, MSI | 0x3000, 0x4041)),
	CASE("int.iv0_blocked", "7.5", 94, "IV=0: also where DMA is blocked",
	     DTE(DEV, DTE_VALID, DOM, 0, 0), UP(0), PASSES(DEV, MSI | 0x3000, 0x41)),
	CASE("int.iv0_garbage", "4.1", 94, "IV=0: no other bit of q2 and q3 counts",
	     DTE(DEV, 0, DOM, ~DTE2_IV, ONES), UP(0), PASSES(DEV, MSI, 0x41)),
	CASE("int.iv_alone", "7.5", 93, "IV=1 with V=0: remapped", DTE(DEV, 0, 0, REMAPPED, 0),
	     ENTRY5, UP(0), REMAP(DEV, MSI, 5, OUT5)),
	CASE("int.iv_dma", "7.2", 93, "IV=1 with V=0: DMA passes", DTE(DEV, 0, 0, REMAPPED, 0),
	     UP(0), MAP(DEV, PAGE_A, 8, RW_ACCESS, PAGE_A)),
	CASE("int.iv_blocked", "7.5", 93, "IV=1 in a blocked entry: remapped",
	     DTE(DEV, DTE_VALID, DOM, REMAPPED, 0), ENTRY5, UP(0), REMAP(DEV, MSI, 5, OUT5)),
	CASE("int.iv_bad_dma", "4.1", 63, "q0 and q1 do not concern messages",
	     DTE(DEV, ONES, ONES, REMAPPED, 0), ENTRY5, UP(0), REMAP(DEV, MSI, 5, OUT5)),
	CASE("int.own", "7.1", 113, "the unit's own messages pass",
	     DTE(UNIT_ID, 0, DOM, DTE2_IV, 0), UP(0), PASSES(UNIT_ID, MSI | 0x1000, 0x41)),

	CASE("int.ctl0", "7.5", 95, "IntCtl 0: refused", DTE(DEV, 0, DOM, DTE2_IV | IRT, 0), ENTRY5,
	     UP(0), NO_REMAP(DEV, MSI, 5), ANY_EVENTS),
	CASE("int.ctl1", "7.5", 95, "IntCtl 1: passes unchanged",
	     DTE(DEV, 0, DOM, DTE2_IV | DTE2_INTCTL(1) | IRT, 0), ENTRY5, UP(0),
	     PASSES(DEV, MSI | 0x3004, 0x105)),
	CASE("int.ctl1_length", "7.5", 95, "IntCtl 1: the table length does not count",
	     DTE(DEV, 0, DOM, DTE2_IV | DTE2_INTCTL(1) | DTE2_LEN(15), 0), UP(0),
	     PASSES(DEV, MSI, 0x41)),
	CASE("int.ctl3", "7.5", 95, "IntCtl 3: illegal, RZ=1",
	     DTE(DEV, 0, DOM, DTE2_IV | DTE2_INTCTL(3) | IRT, 0), ENTRY5, UP(0),
	     NO_REMAP(DEV, MSI, 5), EVENT(EV_DTE(DEV, F_I | F_RZ), MSI)),

	LENGTH(0),
	LENGTH(1),
	LENGTH(2),
	LENGTH(3),
	LENGTH(4),
	LENGTH(5),
	LENGTH(6),
	LENGTH(7),
	LENGTH(8),
	LENGTH_WIDE(9),
	LENGTH_WIDE(10),
	LENGTH_WIDE(11),
	LENGTH_BAD(12),
	LENGTH_BAD(13),
	LENGTH_BAD(14),
	LENGTH_BAD(15),
	CASE("int.index_beyond_8", "7.5", 96, "bit 8 of the index counts",
	     DTE(DEV, DTE_V, DOM, REMAPPED, 0), ENTRY5, UP(0), NO_REMAP(DEV, MSI, 0x105),
	     I_FAULT(0)),

	SPECIAL("nmi", 4, DTE2_NMI),
	SPECIAL("init", 5, DTE2_INIT),
	SPECIAL("extint", 7, DTE2_EXTINT),
	CASE("int.special.smi", "7.5", 103, "SMI passes", DTE(DEV, 0, DOM, REMAPPED, 0), UP(0),
	     PASSES(DEV, MSI, MSI_DATA(2, 0))),
	CASE("int.special.smi_dm", "7.5", 105, "delivery modes keep their meaning with DM set",
	     DTE(DEV, 0, DOM, REMAPPED, 0), UP(0), PASSES(DEV, MSI | 4, MSI_DATA(2, 5))),
	CASE("int.special.mode3", "7.5", 103, "delivery mode 3 is reserved: refused",
	     DTE(DEV, 0, DOM, REMAPPED | DTE2_NMI | DTE2_INIT | DTE2_EXTINT, 0), ENTRY5, UP(0),
	     NO_REMAP(DEV, MSI, MSI_DATA(3, 5)), ANY_EVENTS),
	CASE("int.special.mode6", "7.5", 103, "delivery mode 6 is reserved: refused",
	     DTE(DEV, 0, DOM, REMAPPED | DTE2_NMI | DTE2_INIT | DTE2_EXTINT, 0), ENTRY5, UP(0),
	     NO_REMAP(DEV, MSI, MSI_DATA(6, 5)), ANY_EVENTS),
	CASE("int.special.before_ctl", "7.5", 103, "IntCtl does not speak of NMI",
	     DTE(DEV, 0, DOM, DTE2_IV | DTE2_NMI, 0), UP(0), PASSES(DEV, MSI, MSI_DATA(4, 0))),

	RESERVED_BITS("q2_low", 2, B(53, 52), "q2 bits 53:52"),
	RESERVED_BITS("guest_paging", 2, B(55, 54), "GuestPagingMode without GTSup"),
	RESERVED_BITS("q3_low", 3, B(14, 0), "q3 bits 14:0"),
	RESERVED_BITS("vimu", 3, BIT(15), "vImuEn without vIommuSup"),
	RESERVED_BITS("guest_ids", 3, B(47, 16), "GDeviceID, GuestID without vIommuSup"),
	RESERVED_BITS("q3_high", 3, B(52, 48), "q3 bits 52:48"),
	ALLOWED_BITS("lint", 2, B(63, 62), "Lint0Pass, Lint1Pass"),
	ALLOWED_BITS("pass", 2, B(58, 56), "INITPass, EIntPass, NMIPass"),
	ALLOWED_BITS("software", 3, BIT(53), "the bit for software"),
	ALLOWED_BITS("snoop", 3, B(63, 56), "SnoopAttribute"),

	CASE("int.beyond", "7.1", 64, "a requester beyond the table is refused", UP(0),
	     NO_REMAP(DEVTAB_LIMIT, MSI, 5), EVENT(EV_FAULT(DEVTAB_LIMIT, 0, F_I), MSI)),
	CASE("int.devtab_hole", "7.1", 65, "a device table in a hole", UP(0),
	     WR(R_DEVTAB, HOLE | DEVTAB_SIZE), NO_REMAP(DEV, MSI, 5),
	     EITHER(EV_DEVTAB(DEV, F_I | F_HW(1)), EV_DEVTAB(DEV, F_I | F_HW(2)), HOLE + DEV * 32)),
	CASE("int.table_hole", "7.5", 110, "a remapping table in a hole: hardware error, contained",
	     DTE(DEV, DTE_V, DOM, DTE2_REMAP | DTE2_LEN(8) | HOLE, 0), UP(0), NO_REMAP(DEV, MSI, 5),
	     EITHER(EV_PAGETAB(DEV, DOM, F_I | F_HW(1)), EV_PAGETAB(DEV, DOM, F_I | F_HW(2)),
		    HOLE + 5 * 4)),
	CASE("int.table_hole_ga", "7.5", 110, "the same with 128-bit entries",
	     DTE(DEV, DTE_V, DOM, DTE2_REMAP | DTE2_LEN(8) | HOLE, 0), UP(C_GA_EN),
	     NO_REMAP(DEV, MSI, 5),
	     EITHER(EV_PAGETAB(DEV, DOM, F_I | F_HW(1)), EV_PAGETAB(DEV, DOM, F_I | F_HW(2)),
		    HOLE + 5 * 16)),
	CASE("int.table_hole_ig", "6.3", 110, "IG does not suppress a hardware error",
	     DTE(DEV, DTE_V, DOM, DTE2_REMAP | DTE2_IG | DTE2_LEN(8) | HOLE, 0), UP(0),
	     NO_REMAP(DEV, MSI, 5),
	     EITHER(EV_PAGETAB(DEV, DOM, F_I | F_HW(1)), EV_PAGETAB(DEV, DOM, F_I | F_HW(2)),
		    HOLE + 5 * 4)),
	CASE("int.table_window", "7.5", 110, "a remapping table over the register window",
	     DTE(DEV, DTE_V, DOM, DTE2_REMAP | DTE2_LEN(8) | WINDOW, 0), UP(0),
	     NO_REMAP(DEV, MSI, 5),
	     EITHER(EV_PAGETAB(DEV, DOM, F_I | F_HW(1)), EV_PAGETAB(DEV, DOM, F_I | F_HW(2)),
		    WINDOW + 5 * 4)),
	CASE("int.table_ram_end", "7.5", 110, "a remapping table that runs out of RAM",
	     DTE(DEV, DTE_V, DOM, DTE2_REMAP | DTE2_LEN(8) | (RAM_SIZE - 64), 0),
	     ST4(RAM_SIZE - 4, IRTE_EN | IRTE_DEST(3) | IRTE32_VEC(0x61)), UP(0),
	     REMAP(DEV, MSI, 15, OUT5), NO_REMAP(DEV, MSI, 16),
	     EITHER(EV_PAGETAB(DEV, DOM, F_I | F_HW(1)), EV_PAGETAB(DEV, DOM, F_I | F_HW(2)),
		    RAM_SIZE)),
	CASE("int.table_granule", "4.1", 0, "the table's root has granules of 64 bytes",
	     DTE(DEV, 0, DOM, DTE2_REMAP | DTE2_LEN(4) | (IRT + 0x40), 0),
	     ST4(IRT + 0x40, IRTE_EN | IRTE_DEST(3) | IRTE32_VEC(0x61)), UP(0),
	     REMAP(DEV, MSI, 0, OUT5)),
	CASE("int.new_table", "5.2", 56, "a table installed with INVALIDATE_DEVTAB_ENTRY alone",
	     DTE(DEV, 0, DOM, REMAPPED, 0), ENTRY5,
	     ST4(IRT2 + 5 * 4, IRTE_EN | IRTE_DEST(4) | IRTE32_VEC(0x62)), UP(0),
	     REMAP(DEV, MSI, 5, OUT5), DTE(DEV, 0, DOM, DTE2_REMAP | DTE2_LEN(8) | IRT2, 0),
	     FLUSH_DTE(DEV), SYNC, REMAP(DEV, MSI, 5, MSI_ADDR(4, 0), 0x62)),
	CASE("int.two_tables", "5.2", 57, "two requesters, two tables",
	     DTE(DEV, 0, DOM, REMAPPED, 0), ENTRY5,
	     DTE(DEV2, 0, DOM, DTE2_REMAP | DTE2_LEN(8) | IRT2, 0),
	     ST4(IRT2 + 5 * 4, IRTE_EN | IRTE_DEST(4) | IRTE32_VEC(0x62)), UP(0),
	     REMAP(DEV, MSI, 5, OUT5), REMAP(DEV2, MSI, 5, MSI_ADDR(4, 0), 0x62)),
	CASE("int.address_ignored", "7.5", 0, "address bits of the message do not count",
	     DTE(DEV, 0, DOM, REMAPPED, 0), ENTRY5, UP(0), REMAP(DEV, MSI | 0xff000, 5, OUT5),
	     REMAP(DEV, MSI | 0xc, 5, OUT5)),
	CASE("int.trigger", "7.5", 106, "trigger mode and level come from the source",
	     DTE(DEV, 0, DOM, REMAPPED, 0), ENTRY5, UP(0),
	     REMAP(DEV, MSI, 0xc005, MSI_ADDR(3, 0), 0xc061),
	     REMAP(DEV, MSI, 0x8005, MSI_ADDR(3, 0), 0x8061)),
	CASE("int.event_address", "6.2", 0, "the event holds the message's address",
	     DTE(DEV, DTE_V, DOM, REMAPPED, 0), UP(0), NO_REMAP(DEV, MSI | 0x12340, 5),
	     EVENT(EV_FAULT(DEV, DOM, F_I), MSI | 0x12340)),
	CASE("int.enable", "7.5", 0, "remapping begins and ends with IommuEn",
	     DTE(DEV, 0, DOM, REMAPPED, 0), ENTRY5, UP(0), REMAP(DEV, MSI, 5, OUT5),
	     CLEAR(C_IOMMU_EN), PASSES(DEV, MSI, 5), SET(C_IOMMU_EN), REMAP(DEV, MSI, 5, OUT5)),
	CASE("int.enable_routes", "7.5", 0, "and those who hold routes are told", UP(0), FORGET,
	     CLEAR(C_IOMMU_EN), NOTE(NOTE_ALL_INTERRUPTS, 0, 0, 0), FORGET, SET(C_IOMMU_EN),
	     NOTE(NOTE_ALL_INTERRUPTS, 0, 0, 0)),
};

CASE_GROUP(interrupt_cases, cases);
