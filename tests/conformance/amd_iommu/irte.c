// SPDX-License-Identifier: Apache-2.0
/* Entries of interrupt remapping tables, 32 and 128 bits. */
#include "tests/conformance/amd_iommu/suite.h"

#define ONES	  (~UINT64_C(0))
#define B(h, l)	  GENMASK(h, l)
#define MSI	  UINT64_C(0xfee00000)
#define TABLE_DTE DTE(DEV, DTE_V, DOM, DTE2_REMAP | DTE2_LEN(8) | IRT, 0)
#define TABLE_IG  DTE(DEV, DTE_V, DOM, DTE2_REMAP | DTE2_IG | DTE2_LEN(8) | IRT, 0)
#define AT32	  (IRT + 5 * 4)
#define AT128	  (IRT + 5 * 16)
#define GOOD32	  (IRTE_EN | IRTE_DEST(3) | IRTE32_VEC(0x61))
#define GOOD0	  (IRTE_EN | IRTE_DEST(3))
#define GOOD1	  IRTE128_VEC(0x61)
#define XT128	  (C_GA_EN | C_XT_EN)
#define FAULT(f)  EVENT(EV_FAULT(DEV, DOM, F_I | (f)), MSI)
#define RZ	  (F_PR | F_RZ)

#define GOOD(id, idea, what, entry, addr, data)                                                    \
	CASE("irte32." id, "4.4", idea, what, TABLE_DTE, ST4(AT32, entry), UP(0),                  \
	     REMAP(DEV, MSI, 5, addr, data))
#define BAD(id, idea, what, entry, flags)                                                          \
	CASE("irte32." id, "4.4", idea, what, TABLE_DTE, ST4(AT32, entry), UP(0),                  \
	     NO_REMAP(DEV, MSI, 5), FAULT(flags))
#define SILENT(id, idea, what, dte, entry)                                                         \
	CASE("irte32." id, "6.3", idea, what, dte, ST4(AT32, entry), UP(0), NO_REMAP(DEV, MSI, 5))
#define GOOD_GA(id, idea, what, control, w0, w1, addr, data)                                       \
	CASE("irte128." id, "4.4", idea, what, TABLE_DTE, ST(AT128, w0), ST(AT128 + 8, w1),        \
	     UP(control), REMAP(DEV, MSI, 5, addr, data))
#define BAD_GA(id, idea, what, control, w0, w1, flags)                                             \
	CASE("irte128." id, "4.4", idea, what, TABLE_DTE, ST(AT128, w0), ST(AT128 + 8, w1),        \
	     UP(control), NO_REMAP(DEV, MSI, 5), FAULT(flags))
#define SILENT_GA(id, idea, what, dte, w0, w1)                                                     \
	CASE("irte128." id, "6.3", idea, what, dte, ST(AT128, w0), ST(AT128 + 8, w1), UP(XT128),   \
	     NO_REMAP(DEV, MSI, 5))
#define TYPE_BAD(n)                                                                                \
	BAD("type" #n, 100, "IntType is reserved", GOOD32 | IRTE_TYPE(n), RZ),                     \
		BAD_GA("type" #n, 100, "IntType is reserved", XT128, GOOD0 | IRTE_TYPE(n), GOOD1,  \
		       RZ)
/* Bits of one word of an entry, one after another. */
#define BITS_BAD(id, at, value, mask, control, what)                                               \
	CASE("irte" id, "4.4", 100, what, TABLE_DTE, ST(AT128, GOOD0), ST(AT128 + 8, GOOD1),       \
	     UP(control), EACH_BIT(mask, 5), ST_BIT(at, value), QUEUE(INV_IRT(DEV), 0), DOORBELL,  \
	     NO_REMAP(DEV, MSI, 5), FAULT(RZ))
#define BITS_GOOD(id, at, value, mask, control, what)                                              \
	CASE("irte" id, "4.4", 0, what, TABLE_DTE, ST(AT128, GOOD0), ST(AT128 + 8, GOOD1),         \
	     UP(control), EACH_BIT(mask, 4), ST_BIT(at, value), QUEUE(INV_IRT(DEV), 0), DOORBELL,  \
	     REMAP(DEV, MSI, 5, MSI_ADDR(3, 0), 0x61))

static const struct conformance_case cases[] = {
	GOOD("fixed", 102, "fixed, physical", GOOD32, MSI_ADDR(3, 0), 0x61),
	GOOD("logical", 102, "fixed, logical", GOOD32 | IRTE_DM, MSI_ADDR(3, 1), 0x61),
	GOOD("arbitrated", 102, "arbitrated", GOOD32 | IRTE_TYPE(1), MSI_ADDR(3, 0), 0x161),
	GOOD("arbitrated_logical", 102, "arbitrated, logical", GOOD32 | IRTE_TYPE(1) | IRTE_DM,
	     MSI_ADDR(3, 1), 0x161),
	GOOD("dest_ff", 101, "all bits of the destination",
	     IRTE_EN | IRTE_DEST(0xff) | IRTE32_VEC(0x61), MSI_ADDR(0xff, 0), 0x61),
	GOOD("vector_ff", 0, "all bits of the vector", IRTE_EN | IRTE_DEST(3) | IRTE32_VEC(0xff),
	     MSI_ADDR(3, 0), 0xff),
	GOOD("vector_low", 39, "a vector below 16 is the APIC's affair",
	     IRTE_EN | IRTE_DEST(3) | IRTE32_VEC(3), MSI_ADDR(3, 0), 3),
	GOOD("rqeoi", 0, "RqEoi changes nothing in the message", GOOD32 | IRTE_EOI, MSI_ADDR(3, 0),
	     0x61),
	GOOD("sup_good", 98, "SupIOPF changes nothing in a good entry", GOOD32 | IRTE_SUP,
	     MSI_ADDR(3, 0), 0x61),
	BAD("off", 98, "RemapEn 0: refused and logged", GOOD32 & ~IRTE_EN, 0),
	BAD("empty", 98, "an empty entry", 0, 0),
	BAD("guest_mode", 100, "GuestMode is reserved", GOOD32 | IRTE_GM, RZ),
	CASE("irte32.placeholder", "4.4", 99, "Linux's FFFFFFFEh: refused, never RZ", TABLE_DTE,
	     ST4(AT32, 0xfffffffe), UP(0), NO_REMAP(DEV, MSI, 5)),
	CASE("irte32.placeholder_plain", "4.4", 99, "the same without SupIOPF: RemapEn comes first",
	     TABLE_DTE, ST4(AT32, 0xfffffffc), UP(0), NO_REMAP(DEV, MSI, 5), FAULT(0)),
	CASE("irte32.reserved", "4.4", 100, "bits 31:24", TABLE_DTE, UP(0), EACH_BIT(B(31, 24), 5),
	     STEP(OP_STORE, 4, 2, {AT32, GOOD32}), QUEUE(INV_IRT(DEV), 0), DOORBELL,
	     NO_REMAP(DEV, MSI, 5), FAULT(RZ)),
	SILENT("sup_off", 98, "SupIOPF: RemapEn 0 is not logged", TABLE_DTE,
	       (GOOD32 & ~IRTE_EN) | IRTE_SUP),
	SILENT("ig_off", 98, "IG: RemapEn 0 is not logged", TABLE_IG, GOOD32 & ~IRTE_EN),
	CASE("irte32.ig_index", "6.3", 98, "IG: an index beyond the table is not logged", TABLE_IG,
	     UP(0), NO_REMAP(DEV, MSI, 0x100)),
	CASE("irte32.neighbours", "4.4", 0, "entries have 4 bytes", TABLE_DTE,
	     ST4(AT32 - 4, GOOD32), ST4(AT32, IRTE_EN | IRTE_DEST(4) | IRTE32_VEC(0x62)),
	     ST4(AT32 + 4, GOOD32), UP(0), REMAP(DEV, MSI, 4, MSI_ADDR(3, 0), 0x61),
	     REMAP(DEV, MSI, 5, MSI_ADDR(4, 0), 0x62), REMAP(DEV, MSI, 6, MSI_ADDR(3, 0), 0x61)),
	CASE("irte32.changed", "5.2", 107, "an entry that changes, INVALIDATE_INTERRUPT_TABLE",
	     TABLE_DTE, ST4(AT32, GOOD32), UP(0), REMAP(DEV, MSI, 5, MSI_ADDR(3, 0), 0x61),
	     ST4(AT32, IRTE_EN | IRTE_DEST(4) | IRTE32_VEC(0x62)), CMD(INV_IRT(DEV), 0), SYNC,
	     REMAP(DEV, MSI, 5, MSI_ADDR(4, 0), 0x62)),
	CASE("irte32.disabled", "5.2", 107, "an entry that goes", TABLE_DTE, ST4(AT32, GOOD32),
	     UP(0), REMAP(DEV, MSI, 5, MSI_ADDR(3, 0), 0x61), ST4(AT32, 0), CMD(INV_IRT(DEV), 0),
	     SYNC, NO_REMAP(DEV, MSI, 5), FAULT(0)),
	CASE("irte32.all", "5.2", 107, "INVALIDATE_IOMMU_ALL reaches entries too", TABLE_DTE,
	     ST4(AT32, GOOD32), UP(0), REMAP(DEV, MSI, 5, MSI_ADDR(3, 0), 0x61),
	     ST4(AT32, IRTE_EN | IRTE_DEST(4) | IRTE32_VEC(0x62)), FLUSH_ALL, SYNC,
	     REMAP(DEV, MSI, 5, MSI_ADDR(4, 0), 0x62)),
	CASE("irte32.arbitrated_index", "7.5", 96,
	     "delivery 1 in the message is bit 8 of the index",
	     DTE(DEV, DTE_V, DOM, DTE2_REMAP | DTE2_LEN(9) | IRT, 0),
	     ST4(IRT + 0x105 * 4, IRTE_EN | IRTE_DEST(4) | IRTE32_VEC(0x62)), ST4(AT32, GOOD32),
	     UP(0), REMAP(DEV, MSI, 0x105, MSI_ADDR(4, 0), 0x62),
	     REMAP(DEV, MSI, 5, MSI_ADDR(3, 0), 0x61)),

	GOOD_GA("fixed", 102, "fixed, physical", XT128, GOOD0, GOOD1, MSI_ADDR(3, 0), 0x61),
	GOOD_GA("logical", 102, "fixed, logical", XT128, GOOD0 | IRTE_DM, GOOD1, MSI_ADDR(3, 1),
		0x61),
	GOOD_GA("arbitrated", 102, "arbitrated", XT128, GOOD0 | IRTE_TYPE(1), GOOD1, MSI_ADDR(3, 0),
		0x161),
	GOOD_GA("xt_dest", 101, "XTEn: 32 bits of destination", XT128,
		IRTE_EN | IRTE_DEST(0x12345678), GOOD1 | IRTE128_DESTHI(0x12345678),
		MSI_ADDR(0x12345678, 0), 0x61),
	GOOD_GA("xt_dest_ones", 101, "XTEn: all of them", XT128, IRTE_EN | IRTE_DEST(0xffffffff),
		GOOD1 | IRTE128_DESTHI(UINT64_C(0xffffffff)), MSI_ADDR(UINT64_C(0xffffffff), 0),
		0x61),
	GOOD_GA("no_xt_dest", 101, "without XTEn: 8 bits of destination", C_GA_EN,
		IRTE_EN | IRTE_DEST(0x78), GOOD1, MSI_ADDR(0x78, 0), 0x61),
	GOOD_GA("no_xt_high", 101, "without XTEn: the high destination does not count", C_GA_EN,
		IRTE_EN | IRTE_DEST(0x78), GOOD1 | IRTE128_DESTHI(0x12000000), MSI_ADDR(0x78, 0),
		0x61),
	GOOD_GA("vector_ff", 0, "all bits of the vector", XT128, GOOD0, IRTE128_VEC(0xff),
		MSI_ADDR(3, 0), 0xff),
	GOOD_GA("rqeoi", 0, "RqEoi and SupIOPF change nothing in a good entry", XT128,
		GOOD0 | IRTE_EOI | IRTE_SUP, GOOD1, MSI_ADDR(3, 0), 0x61),
	BITS_GOOD("128.ga_tag", AT128, GOOD0, B(63, 32), XT128, "GATag does not count"),
	BITS_GOOD("128.vapic_root", AT128 + 8, GOOD1, B(51, 12), XT128,
		  "the vAPIC root does not count"),
	BITS_BAD("128.reserved_low", AT128 + 8, GOOD1, B(11, 8), XT128, "bits 75:72"),
	BITS_BAD("128.reserved_high", AT128 + 8, GOOD1, B(55, 52), XT128, "bits 119:116"),
	BAD_GA("guest_mode", 100, "GuestMode without GAMEn", XT128, GOOD0 | IRTE_GM, GOOD1, RZ),
	BAD_GA("off", 98, "RemapEn 0: refused and logged", XT128, GOOD0 & ~IRTE_EN, GOOD1, 0),
	BAD_GA("empty", 98, "an empty entry", XT128, 0, 0, 0),
	BAD_GA("placeholder", 99, "Linux's vector FFh with RemapEn 0: never RZ", XT128, 0, 0xff, 0),
	BAD_GA("off_garbage", 99, "RemapEn 0 comes before reserved bits", XT128,
	       ONES & ~(IRTE_EN | IRTE_SUP), ONES, 0),
	SILENT_GA("sup_off", 98, "SupIOPF: RemapEn 0 is not logged", TABLE_DTE, IRTE_SUP, GOOD1),
	SILENT_GA("ig_off", 98, "IG: RemapEn 0 is not logged", TABLE_IG, 0, GOOD1),
	TYPE_BAD(2),
	TYPE_BAD(3),
	TYPE_BAD(4),
	TYPE_BAD(5),
	TYPE_BAD(6),
	TYPE_BAD(7),
	CASE("irte128.neighbours", "4.4", 104, "entries have 16 bytes", TABLE_DTE,
	     ST(AT128 - 16, GOOD0), ST(AT128 - 8, GOOD1), ST(AT128, IRTE_EN | IRTE_DEST(4)),
	     ST(AT128 + 8, 0x62), ST(AT128 + 16, GOOD0), ST(AT128 + 24, 0x63), UP(XT128),
	     REMAP(DEV, MSI, 4, MSI_ADDR(3, 0), 0x61), REMAP(DEV, MSI, 5, MSI_ADDR(4, 0), 0x62),
	     REMAP(DEV, MSI, 6, MSI_ADDR(3, 0), 0x63)),
	CASE("irte128.last", "4.4", 104, "index 511 of a full table",
	     DTE(DEV, DTE_V, DOM, DTE2_REMAP | DTE2_LEN(9) | IRT, 0), ST(IRT + 511 * 16, GOOD0),
	     ST(IRT + 511 * 16 + 8, GOOD1), UP(XT128),
	     REMAP(DEV, MSI, 0x1ff, MSI_ADDR(3, 0), 0x61)),
	CASE("irte128.toggle", "4.4", 104, "GAEn chooses the format", TABLE_DTE,
	     ST4(AT32, IRTE_EN | IRTE_DEST(4) | IRTE32_VEC(0x62)), ST(AT128, GOOD0),
	     ST(AT128 + 8, GOOD1), UP(0), REMAP(DEV, MSI, 5, MSI_ADDR(4, 0), 0x62), SET(C_GA_EN),
	     REMAP(DEV, MSI, 5, MSI_ADDR(3, 0), 0x61), CLEAR(C_GA_EN),
	     REMAP(DEV, MSI, 5, MSI_ADDR(4, 0), 0x62)),
	CASE("irte128.toggle_routes", "7.5", 104, "those who hold routes are told of GAEn and XTEn",
	     UP(0), FORGET, SET(C_GA_EN), NOTE(NOTE_ALL_INTERRUPTS, 0, 0, 0), FORGET, SET(C_XT_EN),
	     NOTE(NOTE_ALL_INTERRUPTS, 0, 0, 0)),
	CASE("irte128.xt_toggle", "4.4", 101, "XTEn chooses the width of the destination",
	     TABLE_DTE, ST(AT128, IRTE_EN | IRTE_DEST(0x78)),
	     ST(AT128 + 8, GOOD1 | IRTE128_DESTHI(0x12000000)), UP(C_GA_EN),
	     REMAP(DEV, MSI, 5, MSI_ADDR(0x78, 0), 0x61), SET(C_XT_EN),
	     REMAP(DEV, MSI, 5, MSI_ADDR(0x12000078, 0), 0x61)),
	CASE("irte32.xt_alone", "4.4", 101, "XTEn without GAEn: 32-bit entries", TABLE_DTE,
	     ST4(AT32, GOOD32), UP(C_XT_EN), REMAP(DEV, MSI, 5, MSI_ADDR(3, 0), 0x61)),
	CASE("irte128.changed", "5.2", 107, "an entry that changes, INVALIDATE_INTERRUPT_TABLE",
	     TABLE_DTE, ST(AT128, GOOD0), ST(AT128 + 8, GOOD1), UP(XT128),
	     REMAP(DEV, MSI, 5, MSI_ADDR(3, 0), 0x61), ST(AT128, IRTE_EN | IRTE_DEST(4)),
	     ST(AT128 + 8, 0x62), CMD(INV_IRT(DEV), 0), SYNC,
	     REMAP(DEV, MSI, 5, MSI_ADDR(4, 0), 0x62)),
	CASE("irte32.own_entry", "4.4", 0, "a message is refused with its own requester's entry",
	     TABLE_DTE, ST4(AT32, GOOD32), DTE(DEV2, DTE_V, 9, DTE2_REMAP | IRT2, 0), UP(0),
	     REMAP(DEV, MSI, 5, MSI_ADDR(3, 0), 0x61), NO_REMAP(DEV2, MSI, 5),
	     EVENT(EV_FAULT(DEV2, 9, F_I), MSI)),
};

CASE_GROUP(irte_cases, cases);
