// SPDX-License-Identifier: Apache-2.0
/* Features that are offered beside the default ones, each by itself. */
#include "tests/conformance/amd_iommu/suite.h"

#define R	   RD_ACCESS
#define W	   WR_ACCESS
#define RW	   RW_ACCESS
#define BASIC	   UINT64_C(0x8cc)
#define SEGMENTS   (BASIC | GENMASK(39, 38)) /* up to 8 */
#define MIRROR	   (BASIC | BIT(46))
#define HAD	   (BASIC | BIT(49) | BIT(52))
#define INT_2048   (UINT64_C(1) << 8) /* EFR2 */
#define ONES	   (~UINT64_C(0))
#define MSI	   UINT64_C(0xfee00000)
#define IOVA	   UINT64_C(0x12345000)
#define MSI_CONFIG 0x58
#define SEGMENT	   UINT64_C(0x780000) /* tables of segments, 4 KiB each */

/* With 1 << LOG2 segments the entry of DEVID is number INDEX of segment N. */
#define IN_SEGMENT(id, log2, devid, n, index)                                                      \
	CASE_OF(SEGMENTS, 0, "segment." id, "4.1", 66, "the entry is in the segment of its id",    \
		ST(SEGMENT + (n)*0x1000 + (index)*32, DTE_VALID),                                  \
		ST(SEGMENT + (n)*0x1000 + (index)*32 + 8, DOM), UP(C_SEGMENTS(log2)),              \
		WR(R_DEVTAB, SEGMENT), WR(R_SEGMENT(1), SEGMENT + 0x1000),                         \
		WR(R_SEGMENT(2), SEGMENT + 0x2000), WR(R_SEGMENT(3), SEGMENT + 0x3000),            \
		WR(R_SEGMENT(4), SEGMENT + 0x4000), WR(R_SEGMENT(5), SEGMENT + 0x5000),            \
		WR(R_SEGMENT(6), SEGMENT + 0x6000), WR(R_SEGMENT(7), SEGMENT + 0x7000),            \
		REFUSED(devid, PAGE_A, 8, R), EVENT(EV_FAULT(devid, DOM, F_PR | F_PE), PAGE_A),    \
		MAP((devid) ^ 1, PAGE_A, 8, RW, PAGE_A))
#define SEGMENT_FIELDS(n, size)                                                                    \
	CASE_OF(SEGMENTS, 0, "segment.fields" #n, "3.2", 66, "its fields, and their size",         \
		RD(R_SEGMENT(n), 0), WR(R_SEGMENT(n), ONES),                                       \
		RD(R_SEGMENT(n), UINT64_C(0x000ffffffffff000) | (size)),                           \
		HALVES(R_SEGMENT(n), UINT64_C(0x0004567800005007)),                                \
		RD(R_SEGMENT(n), UINT64_C(0x0004567800005007)), RESET, RD(R_SEGMENT(n), 0))
/* With DTE.HAD an access of this kind leaves MARKS in an entry of a v1 table, and no other. */
#define MARKS(id, had, access, marks)                                                              \
	CASE_OF(HAD, 0, "had." id, "4.2", 80, "A and D as HAD says", DTE(DEV, V1(3, DOM)),         \
		ST(DTE_AT(DEV), DTE_VALID | DTE_MODE(3) | DTE_RW | TABLE(3) | DTE_HAD(had)),       \
		BUILD(3, IOVA, 1, PTE(PAGE_A)), UP(0), MAP(DEV, IOVA, 8, access, PAGE_A),          \
		LD(ENTRY(1, IOVA), PTE(PAGE_A) | (marks)))
#define TABLE_2048(len) DTE(DEV, DTE_V, DOM, DTE2_REMAP | DTE2_LEN(len) | IRT, 0)
#define ENTRY_GA(n)                                                                                \
	ST(IRT + (n)*16, IRTE_EN | IRTE_DEST(3)), ST(IRT + (n)*16 + 8, IRTE128_VEC(0x61))

#define EXCLUDE(base, flags, limit) WR(R_EXCL_LIMIT, limit), WR(R_EXCL_BASE, (base) | (flags))
#define EX			    BIT(39) /* DTE word 1 */
#define EX_EN			    BIT(0)
#define EX_ALLOW		    BIT(1)
#define BLOCKED(devid, ex)	    DTE(devid, DTE_VALID, DOM | (ex), 0, 0)
#define FAULT(devid, iova)	    EVENT(EV_FAULT(devid, DOM, F_PR | F_PE), iova)

static const struct conformance_case cases[] = {
	SEGMENT_FIELDS(1, 0xff),
	SEGMENT_FIELDS(2, 0x7f),
	SEGMENT_FIELDS(3, 0x7f),
	SEGMENT_FIELDS(4, 0x3f),
	SEGMENT_FIELDS(5, 0x3f),
	SEGMENT_FIELDS(6, 0x3f),
	SEGMENT_FIELDS(7, 0x3f),
	IN_SEGMENT("one", 0, 0x0028, 0, 0x28),
	IN_SEGMENT("two.low", 1, 0x0028, 0, 0x28),
	IN_SEGMENT("two.high", 1, 0x8028, 1, 0x28),
	IN_SEGMENT("four.1", 2, 0x4028, 1, 0x28),
	IN_SEGMENT("four.2", 2, 0x8028, 2, 0x28),
	IN_SEGMENT("four.3", 2, 0xc028, 3, 0x28),
	IN_SEGMENT("eight.1", 3, 0x2028, 1, 0x28),
	IN_SEGMENT("eight.4", 3, 0x807e, 4, 0x7e),
	IN_SEGMENT("eight.7", 3, 0xe028, 7, 0x28),
	CASE_OF(SEGMENTS, 0, "segment.beyond", "7.1", 66, "a requester beyond its segment's size",
		UP(C_SEGMENTS(3)), WR(R_SEGMENT(1), SEGMENT + 0x1000),
		REFUSED(0x2080, PAGE_A, 8, R), EVENT(EV_FAULT(0x2080, 0, 0), PAGE_A),
		MAP(0x207f, PAGE_A, 8, R, PAGE_A)),
	CASE_OF(SEGMENTS, 0, "segment.mode_kept", "3.3", 34, "more than 8 segments: rejected",
		WR(R_CONTROL, C_SEGMENTS(2)), WR(R_CONTROL, C_SEGMENTS(4)),
		RD_BITS(R_CONTROL, C_SEGMENTS(7), C_SEGMENTS(2)),
		WR(R_CONTROL, C_SEGMENTS(7) | C_COHERENT),
		RD_BITS(R_CONTROL, C_SEGMENTS(7) | C_COHERENT, C_SEGMENTS(2) | C_COHERENT),
		WR(R_CONTROL, C_SEGMENTS(3)), RD_BITS(R_CONTROL, C_SEGMENTS(7), C_SEGMENTS(3))),
	CASE_OF(BASIC | BIT(38), 0, "segment.only_two", "3.3", 34, "DevTblSegSup 1: two, not four",
		WR(R_CONTROL, C_SEGMENTS(2)), RD_BITS(R_CONTROL, C_SEGMENTS(7), 0),
		WR(R_CONTROL, C_SEGMENTS(1)), RD_BITS(R_CONTROL, C_SEGMENTS(7), C_SEGMENTS(1))),
	CASE_OF(SEGMENTS, 0, "segment.moves", "3.2", 66, "one that moves takes effect at once",
		ST(SEGMENT + 0x1000 + 0x28 * 32, DTE_VALID), UP(C_SEGMENTS(1)),
		WR(R_SEGMENT(1), SEGMENT), MAP(0x8028, PAGE_A, 8, RW, PAGE_A), MARK(0x8028),
		WR(R_SEGMENT(1), SEGMENT + 0x1000), STALE(0x8028), REFUSED(0x8028, PAGE_A, 8, R),
		EVENT(EV_FAULT(0x8028, 0, F_PR | F_PE), PAGE_A)),
	CASE_OF(SEGMENTS, 0, "segment.mode_moves", "3.3", 66, "so does another number of them",
		ST(SEGMENT + 0x28 * 32, DTE_VALID), UP(0), WR(R_SEGMENT(1), SEGMENT),
		WR(R_DEVTAB, DEVTAB | 0x1ff), MAP(0x8028, PAGE_A, 8, RW, PAGE_A), MARK(0x8028),
		SET(C_SEGMENTS(1)), STALE(0x8028), REFUSED(0x8028, PAGE_A, 8, R),
		EVENT(EV_FAULT(0x8028, 0, F_PR | F_PE), PAGE_A)),
	CASE_OF(SEGMENTS, 0, "segment.interrupts", "7.5", 66, "interrupts are in the segment too",
		ST(SEGMENT + 0x1000 + 0x28 * 32 + 16, DTE2_IV), UP(C_SEGMENTS(2)),
		WR(R_SEGMENT(1), SEGMENT + 0x1000), NO_REMAP(0x4028, MSI, 5),
		REMAP(0x4029, MSI, 5, MSI, 5), ANY_EVENTS),

	CASE_OF(MIRROR, 0, "msi_mirror.to_config", "3.2", 38, "registers write configuration space",
		WR4(R_MSI_ADDR, 0xfee0100c), WR4(R_MSI_ADDR_HI, 0x12), WR4(R_MSI_DATA, 0x41),
		CFG(4, MSI_CONFIG + 4, ~0u, 0xfee0100c), CFG(4, MSI_CONFIG + 8, ~0u, 0x12),
		CFG(2, MSI_CONFIG + 12, 0xffff, 0x41)),
	CASE_OF(MIRROR, 0, "msi_mirror.from_config", "3.2", 38, "and read it",
		CFG_WR(4, MSI_CONFIG + 4, 0xfee02000), CFG_WR(4, MSI_CONFIG + 8, 0x34),
		CFG_WR(2, MSI_CONFIG + 12, 0x4142), CFG_WR(2, MSI_CONFIG + 2, 1),
		RD4(R_MSI_ADDR, 0xfee02000), RD4(R_MSI_ADDR_HI, 0x34), RD4(R_MSI_DATA, 0x4142),
		PEEK(4, WINDOW + R_MSI_CAP, 0x008100ff, 0x00810005)),
	CASE_OF(MIRROR, 0, "msi_mirror.header", "3.2", 38,
		"the header is read-only, so is its enable", WR4(R_MSI_CAP, ~0u),
		PEEK(4, WINDOW + R_MSI_CAP, 0x008100ff, 0x00800005), CFG(2, MSI_CONFIG + 2, 1, 0),
		WR(R_MSI_CAP, ONES), RD4(R_MSI_ADDR, 0xfffffffc), RD4(R_MSI_DATA, 0),
		WR(R_MSI_ADDR_HI, ONES), RD(R_MSI_ADDR_HI, UINT64_C(0xffffffffffff)),
		CFG(2, MSI_CONFIG + 2, 1, 0)),
	CASE_OF(MIRROR, 0, "msi_mirror.message", "2.3", 38, "the message is what was written there",
		WR4(R_MSI_ADDR, 0xfee01000), WR4(R_MSI_DATA, 0x41), CFG_WR(2, MSI_CONFIG + 2, 1),
		UP(C_COMWAIT_INT), CMD(CWAIT(CWAIT_I, 0), 0), MESSAGE(0xfee01000, 0x41)),
	CASE_OF(MIRROR, 0, "msi_mirror.reset", "3.2", 38, "a reset clears both",
		WR(R_MSI_ADDR_HI, ONES), WR(R_MSI_CAP, ONES), RESET, RD(R_MSI_ADDR_HI, 0),
		RD4(R_MSI_ADDR, 0), CFG(4, MSI_CONFIG + 4, ~0u, 0)),

	MARKS("none", 0, RW, 0),
	MARKS("accessed", 1, RW, PTE_A),
	MARKS("read", 3, R, PTE_A),
	MARKS("write", 3, W, PTE_A | PTE_D),
	CASE_OF(HAD, 0, "had.refused", "4.2", 80, "a refused access leaves no mark",
		DTE(DEV, V1(3, DOM)),
		ST(DTE_AT(DEV), DTE_VALID | DTE_MODE(3) | DTE_RW | TABLE(3) | DTE_HAD(3)),
		BUILD(3, IOVA, 1, PTE(PAGE_A) & ~PTE_IW), UP(0), REFUSED(DEV, IOVA, 8, W),
		EVENT(EV_FAULT(DEV, DOM, F_PR | F_PE | F_RW), IOVA),
		LD(ENTRY(1, IOVA), PTE(PAGE_A) & ~PTE_IW)),
	CASE_OF(HAD, 0, "had.again", "4.2", 80, "D that software has cleared comes again",
		DTE(DEV, V1(3, DOM)),
		ST(DTE_AT(DEV), DTE_VALID | DTE_MODE(3) | DTE_RW | TABLE(3) | DTE_HAD(3)),
		BUILD(3, IOVA, 1, PTE(PAGE_A)), UP(0), MAP(DEV, IOVA, 8, W, PAGE_A),
		ST(ENTRY(1, IOVA), PTE(PAGE_A) | PTE_A), CMD(INV_PAGES(DOM), IOVA), SYNC,
		MAP(DEV, IOVA, 8, W, PAGE_A), LD(ENTRY(1, IOVA), PTE(PAGE_A) | PTE_A | PTE_D)),
	CASE_OF(HAD, 0, "had.read_first", "4.2", 80, "a write after a read that was cached: D",
		DTE(DEV, V1(3, DOM)),
		ST(DTE_AT(DEV), DTE_VALID | DTE_MODE(3) | DTE_RW | TABLE(3) | DTE_HAD(3)),
		BUILD(3, IOVA, 1, PTE(PAGE_A)), UP(0), MAP(DEV, IOVA, 8, R, PAGE_A),
		MAP(DEV, IOVA, 8, W, PAGE_A), LD(ENTRY(1, IOVA), PTE(PAGE_A) | PTE_A | PTE_D)),
	CASE_OF(HAD, 0, "had.reserved", "4.1", 80, "HAD 2 is reserved", DTE(DEV, V1(3, DOM)),
		ST(DTE_AT(DEV), DTE_VALID | DTE_MODE(3) | DTE_RW | TABLE(3) | DTE_HAD(2)), UP(0),
		REFUSED(DEV, IOVA, 8, R), EVENT(EV_DTE(DEV, F_RZ), IOVA)),
	CASE("had.absent", "4.1", 80, "without HASup the field is reserved", DTE(DEV, V1(3, DOM)),
	     ST(DTE_AT(DEV), DTE_VALID | DTE_MODE(3) | DTE_RW | TABLE(3) | DTE_HAD(1)), UP(0),
	     REFUSED(DEV, IOVA, 8, R), EVENT(EV_DTE(DEV, F_RZ), IOVA)),

	CASE_OF(BASIC, INT_2048, "int2048.last", "7.5", 105, "index 2047", TABLE_2048(11),
		ENTRY_GA(2047), UP(C_GA_EN | C_XT_EN | C_REMAP_2048),
		REMAP(DEV, MSI | 4, 0x7ff, MSI_ADDR(3, 0), 0x61)),
	CASE_OF(BASIC, INT_2048, "int2048.delivery", "7.5", 105,
		"with DM the delivery mode is a part of the index", TABLE_2048(11), ENTRY_GA(0x405),
		UP(C_GA_EN | C_XT_EN | C_REMAP_2048),
		REMAP(DEV, MSI | 4, 0x405, MSI_ADDR(3, 0), 0x61), NO_REMAP(DEV, MSI, 0x405),
		ANY_EVENTS),
	CASE_OF(BASIC, INT_2048, "int2048.short", "7.5", 105, "the table's length holds",
		TABLE_2048(10), ENTRY_GA(0x400), UP(C_GA_EN | C_XT_EN | C_REMAP_2048),
		NO_REMAP(DEV, MSI | 4, 0x400), EVENT(EV_FAULT(DEV, DOM, F_I), MSI | 4)),
	CASE_OF(BASIC, INT_2048, "int2048.off", "7.5", 105, "without the mode, the rules of 512",
		TABLE_2048(11), ENTRY_GA(0x405), UP(C_GA_EN | C_XT_EN),
		NO_REMAP(DEV, MSI | 4, 0x405), ANY_EVENTS),
	CASE_OF(BASIC, INT_2048, "int2048.mode_kept", "3.3", 33, "a mode that is none is rejected",
		WR(R_CONTROL, C_REMAP_2048), WR(R_CONTROL, C_REMAP_2048 << 1),
		RD_BITS(R_CONTROL, C_REMAP_2048 * 3, C_REMAP_2048)),

	CASE("exclusion.allow", "7.2", 0, "Allow: the range passes for all devices",
	     BLOCKED(DEV, 0), BLOCKED(DEV2, 0), UP(0), EXCLUDE(PAGE_A, EX_EN | EX_ALLOW, PAGE_A),
	     MAP(DEV, PAGE_A, 0x1000, RW, PAGE_A), MAP(DEV2, PAGE_A + 8, 8, RW, PAGE_A + 8),
	     REFUSED(DEV, PAGE_A + 0x1000, 8, R), FAULT(DEV, PAGE_A + 0x1000),
	     REFUSED(DEV, PAGE_A - 8, 8, R), FAULT(DEV, PAGE_A - 8)),
	CASE("exclusion.dte", "4.1", 0, "EX: for that device alone", BLOCKED(DEV, EX),
	     BLOCKED(DEV2, 0), UP(0), EXCLUDE(PAGE_A, EX_EN, PAGE_B),
	     MAP(DEV, PAGE_A, 0x2000, RW, PAGE_A), REFUSED(DEV2, PAGE_A, 8, R),
	     FAULT(DEV2, PAGE_A)),
	CASE("exclusion.off", "3.2", 0, "without ExEn neither Allow nor EX says anything",
	     BLOCKED(DEV, EX), UP(0), EXCLUDE(PAGE_A, EX_ALLOW, PAGE_B), REFUSED(DEV, PAGE_A, 8, R),
	     FAULT(DEV, PAGE_A)),
	CASE("exclusion.empty", "3.2", 0, "a limit below the base excludes nothing",
	     BLOCKED(DEV, EX), UP(0), EXCLUDE(PAGE_B, EX_EN | EX_ALLOW, PAGE_A),
	     REFUSED(DEV, PAGE_B, 8, R), FAULT(DEV, PAGE_B), REFUSED(DEV, PAGE_A, 8, R),
	     FAULT(DEV, PAGE_A)),
	CASE("exclusion.illegal", "7.2", 0, "an illegal entry is one in the range too",
	     DTE(DEV, DTE_VALID | BIT(2), EX, 0, 0), UP(0), EXCLUDE(PAGE_A, EX_EN, PAGE_A),
	     REFUSED(DEV, PAGE_A, 8, R), EVENT(EV_DTE(DEV, F_RZ), PAGE_A)),
	CASE("exclusion.untranslated", "7.2", 0, "the range is not looked up in tables",
	     DTE(DEV, V1(3, EX)), BUILD(3, IOVA, 1, PTE(PAGE_A)),
	     BUILD(3, IOVA + 0x1000, 1, PTE(PAGE_C)), UP(0), EXCLUDE(IOVA, EX_EN, IOVA),
	     REFUSED(DEV, IOVA, 8, R), /* an address without memory behind it */
	     MAP(DEV, IOVA + 0x1000, 8, RW, PAGE_C)),
	CASE("exclusion.large_page", "7.2", 0, "in the middle of a large page",
	     DTE(DEV, DTE_VALID | DTE_RW | DTE_MODE(3) | TABLE(3), DOM | EX, 0, 0),
	     BUILD(3, UINT64_C(0x600000), 2, PTE(UINT64_C(0x400000))), UP(0),
	     MAP(DEV, PAGE_A, 8, RW, PAGE_A - 0x200000), EXCLUDE(PAGE_A, EX_EN, PAGE_A),
	     MAP(DEV, PAGE_A - 8, 8, RW, PAGE_A - 0x200008), MAP(DEV, PAGE_A, 8, RW, PAGE_A),
	     MAP(DEV, PAGE_A + 0x1000, 8, RW, PAGE_A - 0x1ff000),
	     MAP2(DEV, PAGE_A - 8, 16, RW, PAGE_A - 0x200008, PAGE_A),
	     MAP(DEV, PAGE_A, 8, RW, PAGE_A)),
	CASE("exclusion.live", "3.2", 0, "it comes and goes with the unit running",
	     BLOCKED(DEV, EX), UP(0), REFUSED(DEV, PAGE_A, 8, R), FAULT(DEV, PAGE_A),
	     EXCLUDE(PAGE_A, EX_EN, PAGE_A), MAP(DEV, PAGE_A, 8, RW, PAGE_A), MARK(DEV),
	     WR(R_EXCL_BASE, 0), STALE(DEV), REFUSED(DEV, PAGE_A, 8, R), FAULT(DEV, PAGE_A)),
	CASE("exclusion.window", "7.1", 0, "the interrupt window stays what it is",
	     BLOCKED(DEV, EX), UP(0), EXCLUDE(MSI, EX_EN, MSI + 0xff000), REFUSED(DEV, MSI, 8, R),
	     EVENT(EV_REQUEST(DEV, 0), MSI)),
	CASE_OF(UINT64_C(0x0017002f000058dc), 8, "exclusion.pasid", "7.2", 0,
		"addresses with PASID are of another space", BLOCKED(DEV, EX), UP(C_GT_EN),
		EXCLUDE(PAGE_A, EX_EN | EX_ALLOW, PAGE_A),
		REFUSED(WITH_PASID(DEV, 1), PAGE_A, 8, R),
		EVENT(EV_GUEST(2, DEV, 1, F_PR | F_PE), PAGE_A)),

	/* Posted interrupts and the GA log are not offered. */
	CASE("posted.entry", "7.6", 111, "a guest-mode entry is refused, whatever else it says",
	     DTE(DEV, DTE_V, DOM, DTE2_REMAP | DTE2_LEN(8) | IRT, 0), ST(IRT + 8, PAGE_A | 0x61),
	     UP(C_GA_EN | C_XT_EN), EACH_BIT(BIT(2) | BIT(5) | BIT(6) | BIT(40), 5),
	     ST_BIT(IRT, IRTE_EN | IRTE_GM | IRTE_DEST(3)), QUEUE(INV_IRT(DEV), 0), DOORBELL,
	     NO_REMAP(DEV, MSI, 0), EVENT(EV_FAULT(DEV, DOM, F_I | F_PR | F_RZ), MSI)),
	CASE("posted.memory", "7.6", 111, "and nothing is written to its page",
	     DTE(DEV, DTE_V, DOM, DTE2_REMAP | DTE2_LEN(8) | IRT, 0), ST(IRT + 8, PAGE_A | 0x61),
	     ST(IRT, IRTE_EN | IRTE_GM | BIT(6)), UP(C_GA_EN | C_XT_EN), NO_REMAP(DEV, MSI, 0),
	     EVENT(EV_FAULT(DEV, DOM, F_I | F_PR | F_RZ), MSI), LD(PAGE_A + 0x230, 0)),
	CASE("posted.log", "7.6", 112, "GALogEn does not stay, GALogRun never comes",
	     UP(C_GA_EN | GENMASK(29, 25)), RD_BITS(R_CONTROL, GENMASK(29, 25), 0),
	     STATUS(BIT(8) | BIT(9) | BIT(10), 0)),
};

CASE_GROUP(feature_cases, cases);
