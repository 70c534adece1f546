// SPDX-License-Identifier: Apache-2.0
/* Guest (v2) page tables, GCR3 tables, PASIDs, and host tables below them. */
#include "tests/conformance/amd_iommu/suite.h"

#define R	RD_ACCESS
#define W	WR_ACCESS
#define RW	RW_ACCESS
#define EFR	UINT64_C(0x0017002f000058dc) /* GT, 5 levels, GLX 2, 16-bit PASIDs, US, GIo, HA, HD */
#define EFR2	UINT64_C(0x8)		     /* GCR3TRPMode */
#define IOVA	UINT64_C(0x12345000)
#define HIGH	UINT64_C(0x800012345000) /* bit 47 */
#define GV_DTE	(DTE_VALID | DTE_RW | DTE_GV | DTE0_GCR3(GCR3))
#define GV_DTE1 (DOM | DTE1_GCR3(GCR3))
#define GUEST	DTE(DEV, GV_DTE | DTE_GIOV, GV_DTE1, 0, 0)
/* Tables of four levels from GTABLE(4), with LEAF for IOVA. */
#define TABLES(iova, leaf)                                                                         \
	ST(GENTRY(4, iova), GTABLE(3) | G_USER), ST(GENTRY(3, iova), GTABLE(2) | G_USER),          \
		ST(GENTRY(2, iova), GTABLE(1) | G_USER), ST(GENTRY(1, iova), leaf)
#define ROOT(pasid, table) ST(GCR3 + (pasid)*8, (table) | GCR3_V)
#define HERE		   ROOT(0, GTABLE(4)), TABLES(IOVA, PAGE_A | G_USER)
#define FAULT(flags)	   EVENT(EV_GUEST(2, DEV, 0, flags), IOVA)

#define GUEST_CASE(id, section, idea, what, ...)                                                   \
	CASE_OF(EFR, EFR2, "guest." id, section, idea, what, __VA_ARGS__)
/* ENTRY at LEVEL refuses a read and a write with these flags, beside GN. */
#define BAD(id, level, entry, read, write, what)                                                   \
	GUEST_CASE(id, "7.4", 82, what, GUEST, HERE, ST(GENTRY(level, IOVA), entry), UP(C_GT_EN),  \
		   REFUSED(DEV, IOVA, 8, R), FAULT(read), REFUSED(DEV, IOVA, 8, W),                \
		   FAULT(F_RW | (write)))
#define NOT_PRESENT(level)                                                                         \
	BAD("not_present.l" #level, level, (GTABLE((level)-1) | G_USER) & ~G_P, 0, 0,              \
	    "P=0 at level " #level)
/* Host tables that map GPAs to themselves, but for one 2 MiB page of level 2. */
#define IDENTITY_BELOW                                                                             \
	ST(TABLE(3), PDE(2, TABLE(2))), ST(TABLE(2) + 2 * 8, PTE(UINT64_C(0x400000))),             \
		ST(TABLE(2) + 3 * 8, PTE(UINT64_C(0x600000)))
#define NESTED                                                                                     \
	DTE(DEV, GV_DTE | DTE_GIOV | DTE_MODE(3) | TABLE(3), GV_DTE1, 0, 0), IDENTITY_BELOW, HERE

static const struct conformance_case cases[] = {
	GUEST_CASE("walk4", "7.4", 82, "four levels, without PASID", GUEST, HERE, UP(C_GT_EN),
		   MAP(DEV, IOVA + 8, 8, RW, PAGE_A + 8)),
	GUEST_CASE("walk5", "7.4", 82, "five levels by GuestPagingMode",
		   DTE(DEV, GV_DTE | DTE_GIOV, GV_DTE1, DTE2_LEVEL5, 0), HERE, ROOT(0, GTABLE(5)),
		   ST(GENTRY(5, IOVA), GTABLE(4) | G_USER), UP(C_GT_EN),
		   MAP(DEV, IOVA, 8, RW, PAGE_A)),
	GUEST_CASE("large2m", "4.3", 82, "a page of 2 MiB", GUEST, HERE,
		   ST(GENTRY(2, IOVA), UINT64_C(0x600000) | G_USER | G_PS), UP(C_GT_EN),
		   MAP(DEV, IOVA + 0x18, 8, RW, 0x600000 + (IOVA & 0x1fffff) + 0x18)),
	GUEST_CASE("large1g", "4.3", 82, "a page of 1 GiB", GUEST, HERE,
		   ST(GENTRY(3, UINT64_C(0x712000)), G_USER | G_PS), UP(C_GT_EN),
		   MAP(DEV, 0x712000, 8, RW, 0x712000)),
	NOT_PRESENT(1),
	NOT_PRESENT(2),
	NOT_PRESENT(3),
	NOT_PRESENT(4),
	BAD("supervisor", 1, PAGE_A | G_P | G_W, F_PR | F_PE | F_US, F_PR | F_PE | F_US,
	    "U=0: requests are a user's"),
	BAD("supervisor.l3", 3, GTABLE(2) | G_P | G_W, F_PR | F_PE | F_US, F_PR | F_PE | F_US,
	    "U=0 in a directory"),
	GUEST_CASE("read_only", "7.4", 82, "R/W=0: no write", GUEST, HERE,
		   ST(GENTRY(1, IOVA), PAGE_A | G_P | G_U), UP(C_GT_EN),
		   MAP(DEV, IOVA, 8, R, PAGE_A), REFUSED(DEV, IOVA, 8, W),
		   FAULT(F_PR | F_PE | F_RW)),
	BAD("ps_level4", 4, GTABLE(3) | G_USER | G_PS, F_PR | F_RZ, F_PR | F_RZ,
	    "PS at level 4 is reserved"),
	BAD("misaligned2m", 2, UINT64_C(0x602000) | G_USER | G_PS, F_PR | F_RZ, F_PR | F_RZ,
	    "address bits below a large page"),

	GUEST_CASE("zero_extended", "4.3", 83, "without PASID bit 47 is one of 48", GUEST,
		   ROOT(0, GTABLE(4)), TABLES(HIGH, PAGE_B | G_USER), UP(C_GT_EN),
		   MAP(DEV, HIGH, 8, RW, PAGE_B), REFUSED(DEV, HIGH | GENMASK(63, 48), 8, R),
		   EVENT(EV_GUEST(2, DEV, 0, 0), HIGH | GENMASK(63, 48))),
	GUEST_CASE("giov_off", "7.2", 83, "without GIoV requests without PASID pass by the tables",
		   DTE(DEV, GV_DTE, GV_DTE1, 0, 0), HERE, UP(C_GT_EN),
		   MAP(DEV, PAGE_B, 8, RW, PAGE_B), MAP(WITH_PASID(DEV, 0), IOVA, 8, RW, PAGE_A)),
	GUEST_CASE("sign_extended", "4.3", 84, "with PASID addresses are canonical", GUEST,
		   ROOT(5, GTABLE(4)), TABLES(HIGH, PAGE_B | G_USER), UP(C_GT_EN),
		   MAP(WITH_PASID(DEV, 5), HIGH | GENMASK(63, 48), 8, RW, PAGE_B),
		   REFUSED(WITH_PASID(DEV, 5), HIGH, 8, R), EVENT(EV_GUEST(2, DEV, 5, 0), HIGH)),
	GUEST_CASE("pasid", "4.3", 85, "each PASID has tables of its own", GUEST, HERE,
		   ROOT(511, GTABLE(5)), ST(GENTRY(5, IOVA), GTABLE(6) | G_USER),
		   ST(GTABLE(6) + 0 * 8, GTABLE(7) | G_USER), UP(C_GT_EN),
		   MAP(WITH_PASID(DEV, 0), IOVA, 8, RW, PAGE_A),
		   REFUSED(WITH_PASID(DEV, 511), IOVA, 8, R),
		   EVENT(EV_GUEST(2, DEV, 511, 0), IOVA)),
	GUEST_CASE("pasid_range1", "7.4", 85, "GLX 0 has 512 PASIDs", GUEST, HERE,
		   ST(GCR3 + 512 * 8, GTABLE(4) | GCR3_V), UP(C_GT_EN),
		   REFUSED(WITH_PASID(DEV, 512), IOVA, 8, R),
		   EVENT(EV_GUEST(2, DEV, 512, 0), IOVA)),
	GUEST_CASE("pasid_levels2", "4.3", 85, "GLX 1: two levels",
		   DTE(DEV, GV_DTE | DTE_GIOV | DTE_GLX(1), GV_DTE1, 0, 0), HERE,
		   ST(GCR3 + 3 * 8, GCR3_LOW | GCR3_V), ST(GCR3_LOW + 7 * 8, GTABLE(4) | GCR3_V),
		   UP(C_GT_EN), MAP(WITH_PASID(DEV, 3 << 9 | 7), IOVA, 8, RW, PAGE_A)),
	GUEST_CASE("pasid_max", "7.4", 85, "none above PASmax",
		   DTE(DEV, GV_DTE | DTE_GIOV | DTE_GLX(1), GV_DTE1, 0, 0), HERE,
		   ST(GCR3 + 128 * 8, GCR3_LOW | GCR3_V), ST(GCR3_LOW, GTABLE(4) | GCR3_V),
		   UP(C_GT_EN), REFUSED(WITH_PASID(DEV, 0x10000), IOVA, 8, W),
		   EVENT(EV_GUEST(2, DEV, 0x10000, F_RW), IOVA)),
	GUEST_CASE("gcr3_empty", "7.4", 85, "a GCR3 entry without V", GUEST, UP(C_GT_EN),
		   REFUSED(DEV, IOVA, 8, R), FAULT(0)),
	GUEST_CASE("gcr3_reserved", "7.4", 85, "reserved bits of a GCR3 entry", GUEST, HERE,
		   ST(GCR3, GTABLE(4) | GCR3_V | 8), UP(C_GT_EN), REFUSED(DEV, IOVA, 8, R),
		   FAULT(F_PR | F_RZ)),
	GUEST_CASE("glx3", "7.2", 85, "GLX 3 is reserved",
		   DTE(DEV, GV_DTE | DTE_GIOV | DTE_GLX(3), GV_DTE1, 0, 0), HERE, UP(C_GT_EN),
		   REFUSED(DEV, IOVA, 8, R), EVENT(EV_DTE(DEV, F_RZ), IOVA)),
	GUEST_CASE("pasid_without_gv", "7.2", 84, "PASID, and no guest tables: a fault",
		   DTE(DEV, DTE_VALID | DTE_RW, DOM, 0, 0), UP(C_GT_EN),
		   REFUSED(WITH_PASID(DEV, 1), IOVA, 8, R), EVENT(EV_GUEST(2, DEV, 1, 0), IOVA)),

	GUEST_CASE("nested", "7.4", 86, "guest tables over host tables", NESTED, UP(C_GT_EN),
		   MAP(DEV, IOVA, 8, RW, PAGE_A)),
	GUEST_CASE("nested.moved", "7.4", 86, "the host table says where a guest's page is", NESTED,
		   ST(TABLE(2) + 4 * 8, PTE(UINT64_C(0x600000))),
		   ST(GENTRY(1, IOVA), (PAGE_A + 0x200000) | G_USER), UP(C_GT_EN),
		   MAP(DEV, IOVA, 8, RW, PAGE_A)),
	GUEST_CASE("nested.table", "7.4", 86, "a guest's table that the host table does not map",
		   NESTED, ST(GENTRY(2, IOVA), UINT64_C(0xa00000) | G_USER), UP(C_GT_EN),
		   REFUSED(DEV, IOVA, 8, R), FAULT(0)),
	GUEST_CASE("nested.page", "7.4", 86, "a page that the host table does not map", NESTED,
		   ST(GENTRY(1, IOVA), UINT64_C(0xa00000) | G_USER), UP(C_GT_EN),
		   REFUSED(DEV, IOVA, 8, W), FAULT(F_RW)),
	GUEST_CASE("nested.permission", "7.4", 86, "both tables must allow", NESTED,
		   ST(TABLE(2) + 4 * 8, PTE(UINT64_C(0x600000)) & ~PTE_IW),
		   ST(GENTRY(1, IOVA), (PAGE_A + 0x200000) | G_USER), UP(C_GT_EN),
		   MAP(DEV, IOVA, 8, R, PAGE_A), REFUSED(DEV, IOVA, 8, W),
		   FAULT(F_PR | F_PE | F_RW)),
	GUEST_CASE("trp_gpa", "4.3", 87, "GCR3TRPMode: the host table says where the GCR3 table is",
		   NESTED,
		   DTE(DEV,
		       DTE_VALID | DTE_RW | DTE_GV | DTE_GIOV | DTE_MODE(3) | TABLE(3) |
			       DTE0_GCR3(GCR3 + 0x200000),
		       DOM | DTE1_GCR3(GCR3 + 0x200000), 0, 0),
		   ST(TABLE(2) + 4 * 8, PTE(UINT64_C(0x600000))), UP(C_GT_EN | C_GCR3_TRP_GPA),
		   MAP(DEV, IOVA, 8, RW, PAGE_A)),
	GUEST_CASE("trp_spa", "4.3", 87, "without it nothing translates that address", NESTED,
		   ST(TABLE(2) + 3 * 8, 0), ST(TABLE(2) + 4 * 8, PTE(UINT64_C(0x600000))),
		   DTE(DEV, GV_DTE | DTE_GIOV | DTE_MODE(3) | TABLE(3), GV_DTE1, 0, 0),
		   ST(GCR3, (GTABLE(4) + 0x200000) | GCR3_V),
		   ST(GENTRY(4, IOVA), (GTABLE(3) + 0x200000) | G_USER),
		   ST(GENTRY(3, IOVA), (GTABLE(2) + 0x200000) | G_USER),
		   ST(GENTRY(2, IOVA), (GTABLE(1) + 0x200000) | G_USER),
		   ST(GENTRY(1, IOVA), (PAGE_A + 0x200000) | G_USER), UP(C_GT_EN),
		   MAP(DEV, IOVA, 8, RW, PAGE_A)),

	GUEST_CASE("accessed", "4.3", 89, "A on use, D on a write", GUEST, HERE, UP(C_GT_EN),
		   MAP(DEV, IOVA, 8, R, PAGE_A), LD(GENTRY(1, IOVA), PAGE_A | G_USER | PTE_A),
		   LD(GENTRY(4, IOVA), GTABLE(3) | G_USER | PTE_A), MAP(DEV, IOVA, 8, W, PAGE_A),
		   LD(GENTRY(1, IOVA), PAGE_A | G_USER | PTE_A | PTE_D)),
	GUEST_CASE("drop.pasid", "5.2", 50, "INVALIDATE_IOMMU_PAGES with GN drops that PASID",
		   GUEST, HERE, ROOT(5, GTABLE(4)), UP(C_GT_EN),
		   MAP(WITH_PASID(DEV, 5), IOVA, 8, RW, PAGE_A),
		   ST(GENTRY(1, IOVA), PAGE_B | G_USER), MARK(WITH_PASID(DEV, 5)),
		   CMD(INV_PAGES(DOM) | 5, INV_EVERYTHING | 4), SYNC, STALE(WITH_PASID(DEV, 5)),
		   MAP(WITH_PASID(DEV, 5), IOVA, 8, RW, PAGE_B)),
};

CASE_GROUP(guest_table_cases, cases);
