// SPDX-License-Identifier: Apache-2.0
/* Walks of v1 page tables: levels, permissions, bad entries. */
#include "tests/conformance/amd_iommu/suite.h"

#define ONES	 (~UINT64_C(0))
#define B(h, l)	 GENMASK(h, l)
#define R	 RD_ACCESS
#define W	 WR_ACCESS
#define RW	 RW_ACCESS
#define IOVA	 UINT64_C(0x12345000)
#define LIMIT(n) (UINT64_C(1) << (12 + 9 * (n)))
#define V1_3	 DTE(DEV, V1(3, DOM))
#define HERE	 BUILD(3, IOVA, 1, PTE(PAGE_A))

/* The last page that MODE reaches, and the first beyond. */
#define MODE_LIMIT(mode)                                                                           \
	CASE("walk.limit" #mode, "7.3", 68, "the last page of the mode, and one beyond",           \
	     DTE(DEV, V1(mode, DOM)), BUILD(mode, LIMIT(mode) - 0x1000, 1, PTE(PAGE_A)), UP(0),    \
	     MAP(DEV, LIMIT(mode) - 0x1000, 0x1000, RW, PAGE_A),                                   \
	     MAP(DEV, LIMIT(mode) - 1, 1, RW, PAGE_A + 0xfff), REFUSED(DEV, LIMIT(mode), 8, R),    \
	     EVENT(EV_FAULT(DEV, DOM, 0), LIMIT(mode)), REFUSED(DEV, B(63, 12), 8, W),             \
	     EVENT(EV_FAULT(DEV, DOM, F_RW), B(63, 12)))
#define MODE_WALK(mode)                                                                            \
	CASE("walk.mode" #mode, "7.3", 68, "a page through that many levels",                      \
	     DTE(DEV, V1(mode, DOM)), BUILD(mode, 0x5000, 1, PTE(PAGE_A)), UP(0),                  \
	     MAP(DEV, 0x5678, 0x100, RW, PAGE_A + 0x678))
/* ENTRY for IOVA at LEVEL of a three-level walk: what a read and a write come to. */
#define BAD(id, section, idea, level, entry, read_flags, write_flags, what)                        \
	CASE("walk." id, section, idea, what, V1_3, BUILD(3, IOVA, level, entry), UP(0),           \
	     REFUSED(DEV, IOVA, 8, R), EVENT(EV_FAULT(DEV, DOM, read_flags), IOVA),                \
	     REFUSED(DEV, IOVA, 8, W), EVENT(EV_FAULT(DEV, DOM, write_flags), IOVA))
#define BITS_REFUSED(id, level, entry, mask, what)                                                 \
	CASE("walk.reserved." id, "4.2", 74, what, V1_3, HERE, UP(0), EACH_BIT(mask, 6),           \
	     BUILD_BIT(3, IOVA, level, entry), QUEUE(INV_PAGES(DOM), INV_EVERYTHING), DOORBELL,    \
	     REFUSED(DEV, IOVA, 8, W), EVENT(EV_FAULT(DEV, DOM, 0x0b0), IOVA), FORGET)
#define BITS_IGNORED(id, level, entry, mask, what)                                                 \
	CASE("walk.ignored." id, "4.2", 0, what, V1_3, HERE, UP(0), EACH_BIT(mask, 4),             \
	     BUILD_BIT(3, IOVA, level, entry), QUEUE(INV_PAGES(DOM), INV_EVERYTHING), DOORBELL,    \
	     MAP(DEV, IOVA, 8, RW, PAGE_A))
#define BAD_SIZE(id, level, z)                                                                     \
	BAD("size_bad." id, "4.2", 70, level, PTE7(UINT64_C(0), z), 0x010, 0x030,                  \
	    "a size that its level cannot have")
#define SKIP(id, mode, from, to, iova)                                                             \
	CASE("walk.skip." id, "7.3", 71, "an entry may skip levels whose address bits are 0",      \
	     DTE(DEV, V1(mode, DOM)), BUILD(mode, iova, from, PDE(to, TABLE(to))),                 \
	     ST(ENTRY(to, iova), PTE(PAGE_A)), UP(0), MAP(DEV, iova, 8, RW, PAGE_A))
#define SKIP_BAD(id, mode, from, to, iova)                                                         \
	CASE("walk.skip_bad." id, "7.3", 71, "address bits in skipped levels: a fault",            \
	     DTE(DEV, V1(mode, DOM)), BUILD(mode, iova, from, PDE(to, TABLE(to))),                 \
	     ST(ENTRY(to, iova), PTE(PAGE_A)), UP(0), REFUSED(DEV, iova, 8, R),                    \
	     EVENT(EV_FAULT(DEV, DOM, 0x010), iova))
#define SELF(id, level)                                                                            \
	BAD("level." id, "7.3", 72, level, PDE(level, TABLE(level)), 0x010, 0x030,                 \
	    "a table that points to itself ends the walk")
#define HARDWARE(id, level, table, entry_at)                                                       \
	CASE("walk.hole." id, "7.3", 76, "a table that is no RAM: hardware error at the entry",    \
	     V1_3, BUILD(3, IOVA, level, PDE((level)-1, table)), UP(0), REFUSED(DEV, IOVA, 8, R),  \
	     EITHER(EV_PAGETAB(DEV, DOM, F_HW(1)), EV_PAGETAB(DEV, DOM, F_HW(2)), entry_at),       \
	     REFUSED(DEV, IOVA, 8, W),                                                             \
	     EITHER(EV_PAGETAB(DEV, DOM, F_RW | F_HW(1)), EV_PAGETAB(DEV, DOM, F_RW | F_HW(2)),    \
		    entry_at))

static const struct conformance_case cases[] = {
	MODE_WALK(1),
	MODE_WALK(2),
	MODE_WALK(3),
	MODE_WALK(4),
	MODE_WALK(5),
	MODE_WALK(6),
	MODE_LIMIT(1),
	MODE_LIMIT(2),
	MODE_LIMIT(3),
	MODE_LIMIT(4),
	MODE_LIMIT(5),
	CASE("walk.limit6", "7.3", 68, "mode 6 reaches the last page there is",
	     DTE(DEV, V1(6, DOM)), BUILD(6, B(63, 12), 1, PTE(PAGE_A)), UP(0),
	     MAP(DEV, B(63, 12), 0x1000, RW, PAGE_A)),

	BAD("not_present.l1", "7.3", 0, 1, PTE(PAGE_A) & ~PR, 0x000, 0x020, "PR=0 in the PTE"),
	BAD("not_present.l2", "7.3", 0, 2, PDE(1, TABLE(1)) & ~PR, 0x000, 0x020, "PR=0 in a PDE"),
	BAD("not_present.l3", "7.3", 0, 3, UINT64_C(0), 0x000, 0x020, "an empty root entry"),
	BAD("not_present.garbage", "7.3", 0, 1, ONES & ~PR, 0x000, 0x020,
	    "PR=0 is judged before anything else"),
	BAD("perm.none", "7.3", 75, 1, PTE(PAGE_A) & ~PTE_RW, 0x050, 0x070,
	    "no permission in the PTE"),
	BAD("perm.pde", "7.3", 75, 2, PDE(1, TABLE(1)) & ~PTE_RW, 0x050, 0x070,
	    "no permission in a PDE"),
	CASE("walk.perm.pde_read", "7.3", 75, "IR=0 in a PDE, 1 in the PTE: no read", V1_3, HERE,
	     ST(ENTRY(2, IOVA), PDE(1, TABLE(1)) & ~PTE_IR), UP(0), REFUSED(DEV, IOVA, 8, R),
	     EVENT(EV_FAULT(DEV, DOM, 0x050), IOVA), MAP(DEV, IOVA, 8, W, PAGE_A)),
	CASE("walk.perm.pde_write", "7.3", 75, "IW=0 in a PDE, 1 in the PTE: no write", V1_3, HERE,
	     ST(ENTRY(3, IOVA), PDE(2, TABLE(2)) & ~PTE_IW), UP(0), REFUSED(DEV, IOVA, 8, W),
	     EVENT(EV_FAULT(DEV, DOM, 0x070), IOVA), MAP(DEV, IOVA, 8, R, PAGE_A)),
	CASE("walk.perm.leaf_read_only", "7.3", 75, "IW=0 in the PTE", V1_3,
	     BUILD(3, IOVA, 1, PTE(PAGE_A) & ~PTE_IW), UP(0), MAP(DEV, IOVA, 8, R, PAGE_A),
	     REFUSED(DEV, IOVA, 8, W), EVENT(EV_FAULT(DEV, DOM, 0x070), IOVA)),
	CASE("walk.perm.leaf_write_only", "7.3", 75, "IR=0 in the PTE", V1_3,
	     BUILD(3, IOVA, 1, PTE(PAGE_A) & ~PTE_IR), UP(0), MAP(DEV, IOVA, 8, W, PAGE_A),
	     REFUSED(DEV, IOVA, 8, R), EVENT(EV_FAULT(DEV, DOM, 0x050), IOVA)),
	CASE("walk.perm.dte", "7.2", 75, "IW=0 in the DTE, tables allow it",
	     DTE(DEV, DTE_VALID | DTE_IR | DTE_MODE(3) | TABLE(3), DOM, 0, 0), HERE, UP(0),
	     MAP(DEV, IOVA, 8, R, PAGE_A), REFUSED(DEV, IOVA, 8, W),
	     EVENT(EV_FAULT(DEV, DOM, 0x070), IOVA)),
	CASE("walk.perm.atomic", "7.3", 79, "an atomic to a read-only page", V1_3,
	     BUILD(3, IOVA, 1, PTE(PAGE_A) & ~PTE_IW), UP(0), REFUSED(DEV, IOVA, 8, RW),
	     EVENT(EV_FAULT(DEV, DOM, 0x070), IOVA)),
	CASE("walk.perm.after_hit", "7.3", 79, "a read that passed does not open a write", V1_3,
	     BUILD(3, IOVA, 1, PTE(PAGE_A) & ~PTE_IW), UP(0), TIMES(3, 3),
	     MAP(DEV, IOVA, 8, R, PAGE_A), REFUSED(DEV, IOVA, 8, W),
	     EVENT(EV_FAULT(DEV, DOM, 0x070), IOVA)),
	CASE("walk.perm.late", "7.3", 0, "permission may be given without a flush of what failed",
	     V1_3, HERE, UP(0), MAP(DEV, IOVA, 8, RW, PAGE_A),
	     BUILD(3, IOVA + 0x1000, 1, PTE(PAGE_B)), MAP(DEV, IOVA + 0x1000, 8, RW, PAGE_B)),

	BITS_REFUSED("pte", 1, PTE(PAGE_A), B(56, 52), "PTE bits 56:52"),
	BITS_REFUSED("pte7", 1, PTE7(PAGE_A, 12), B(56, 52), "the same with NextLevel 7"),
	BITS_REFUSED("pte_l2", 2, PTE(UINT64_C(0)), B(56, 52), "a PTE of level 2"),
	BITS_REFUSED("pde", 2, PDE(1, TABLE(1)), B(60, 52), "PDE bits 60:52"),
	BITS_REFUSED("pde_root", 3, PDE(2, TABLE(2)), B(60, 52), "a root PDE"),
	BITS_IGNORED("pte", 1, PTE(PAGE_A) & ~PTE_FC, B(8, 1) | BIT(63), "PTE bits 8:1 and 63"),
	BITS_IGNORED("pte_u_fc", 1, PTE(PAGE_A) & ~PTE_FC, B(60, 59), "PTE U and FC"),
	BITS_IGNORED("pde", 2, PDE(1, TABLE(1)), B(8, 1) | BIT(63), "PDE bits 8:1 and 63"),
	BAD("order.reserved_first", "7.3", 74, 1, (PTE(PAGE_A) & ~PTE_RW) | BIT(52), 0x090, 0x0b0,
	    "reserved bits are judged before permission"),
	BAD("order.permission_first", "7.3", 72, 1, (PDE(1, TABLE(1)) & ~PTE_RW), 0x050, 0x070,
	    "permission is judged before the level"),

	SELF("self1", 1),
	SELF("self2", 2),
	SELF("self3", 3),
	BAD("level.up", "7.3", 72, 1, PDE(3, TABLE(3)), 0x010, 0x030, "NextLevel above its level"),
	BAD("level.six", "7.3", 72, 2, PDE(6, TABLE(3)), 0x010, 0x030, "NextLevel 6 at level 2"),
	CASE("walk.leaf6", "7.3", 73, "no leaf at level 6", DTE(DEV, V1(6, DOM)),
	     BUILD(6, IOVA, 6, PTE(UINT64_C(0))), UP(0), REFUSED(DEV, IOVA, 8, R),
	     EVENT(EV_FAULT(DEV, DOM, 0x010), IOVA)),
	CASE("walk.leaf6_sized", "7.3", 73, "nor one of coded size", DTE(DEV, V1(6, DOM)),
	     BUILD(6, IOVA, 6, PTE7(UINT64_C(0), 50)), UP(0), REFUSED(DEV, IOVA, 8, W),
	     EVENT(EV_FAULT(DEV, DOM, 0x030), IOVA)),

	BAD_SIZE("l1_next", 1, 20),
	BAD_SIZE("l1_above", 1, 21),
	BAD_SIZE("l1_far", 1, 40),
	BAD_SIZE("l2_below", 2, 12),
	BAD_SIZE("l2_default", 2, 20),
	BAD_SIZE("l2_next", 2, 29),
	BAD_SIZE("l3_below", 3, 28),
	BAD_SIZE("l3_default", 3, 29),
	BAD_SIZE("l3_next", 3, 38),
	BAD("size_bad.ones", "4.2", 70, 1, PTE(UINT64_C(0)) | NEXT(7) | B(51, 12), 0x010, 0x030,
	    "an address of all ones codes no size"),
	BAD("size_bad.ones_l3", "4.2", 70, 3, PTE(UINT64_C(0)) | NEXT(7) | B(51, 12), 0x010, 0x030,
	    "nor at level 3"),

	SKIP("3_to_1", 3, 3, 1, UINT64_C(0x5000)),
	SKIP("6_to_1", 6, 6, 1, UINT64_C(0x5000)),
	SKIP("5_to_1", 5, 5, 1, UINT64_C(0x1ff000)),
	SKIP("4_to_2_indexed", 4, 3, 1, UINT64_C(0x8040005000)),
	SKIP_BAD("3_to_1", 3, 3, 1, UINT64_C(0x205000)),
	SKIP_BAD("3_to_1_high", 3, 3, 1, UINT64_C(0x20005000)),
	SKIP_BAD("6_to_1", 6, 6, 1, UINT64_C(0x100000000005000)),
	SKIP_BAD("5_to_3", 5, 5, 3, UINT64_C(0x8000005000)),

	HARDWARE("root_entry", 3, HOLE, HOLE + (IOVA >> 21 & 0x1ff) * 8),
	HARDWARE("directory", 2, HOLE, HOLE + (IOVA >> 12 & 0x1ff) * 8),
	HARDWARE("ram_end", 2, RAM_SIZE, RAM_SIZE + (IOVA >> 12 & 0x1ff) * 8),
	HARDWARE("window", 2, WINDOW, WINDOW + (IOVA >> 12 & 0x1ff) * 8),
	HARDWARE("top", 2, B(51, 12), B(51, 12) + (IOVA >> 12 & 0x1ff) * 8),
	CASE("walk.hole.root", "7.3", 76, "a root that is no RAM",
	     DTE(DEV, DTE_VALID | DTE_RW | DTE_MODE(3) | HOLE, DOM, 0, 0), UP(0),
	     REFUSED(DEV, IOVA, 8, R),
	     EITHER(EV_PAGETAB(DEV, DOM, F_HW(1)), EV_PAGETAB(DEV, DOM, F_HW(2)),
		    HOLE + (IOVA >> 30) * 8)),
	CASE("walk.target.hole", "7.3", 77, "a page that is no RAM: a master abort, no event", V1_3,
	     BUILD(3, IOVA, 1, PTE(HOLE)), UP(0), REFUSED(DEV, IOVA, 8, R)),
	CASE("walk.target.window", "7.3", 77, "a page that is the register window: the same", V1_3,
	     BUILD(3, IOVA, 1, PTE(WINDOW)), UP(0), REFUSED(DEV, IOVA, 8, W),
	     RD(R_DEVTAB, DEVTAB | DEVTAB_SIZE)),
	CASE("walk.target.top", "7.3", 77, "the highest page there can be", V1_3,
	     BUILD(3, IOVA, 1, PTE(B(51, 12))), UP(0), REFUSED(DEV, IOVA, 8, R)),
	CASE("walk.target.ram_end", "7.3", 77, "the last page of RAM", V1_3,
	     BUILD(3, IOVA, 1, PTE(RAM_SIZE - 0x1000)), UP(0),
	     MAP(DEV, IOVA, 0x1000, RW, RAM_SIZE - 0x1000)),
	CASE("walk.target.tables", "7.3", 77, "a device may be given the tables themselves", V1_3,
	     BUILD(3, IOVA, 1, PTE(TABLE(1))), UP(0), DMA_WRITE8(DEV, IOVA, PTE(PAGE_B)),
	     LD(TABLE(1), PTE(PAGE_B))),

	CASE("walk.cross.apart", "7.3", 78, "two pages that are apart in memory", V1_3, HERE,
	     BUILD(3, IOVA + 0x1000, 1, PTE(PAGE_C)), UP(0),
	     MAP2(DEV, IOVA + 0xff8, 16, RW, PAGE_A + 0xff8, PAGE_C)),
	CASE("walk.cross.together", "7.3", 78, "two pages that are one piece of memory", V1_3, HERE,
	     BUILD(3, IOVA + 0x1000, 1, PTE(PAGE_B)), UP(0),
	     MAP(DEV, IOVA + 0xff8, 16, RW, PAGE_A + 0xff8)),
	CASE("walk.cross.fault", "7.3", 78, "the second page is missing: its address is reported",
	     V1_3, HERE, UP(0), REFUSED(DEV, IOVA + 0xff8, 16, W),
	     EVENT(EV_FAULT(DEV, DOM, F_RW), IOVA + 0x1000)),
	CASE("walk.cross.permission", "7.3", 78, "the second page is read-only", V1_3, HERE,
	     BUILD(3, IOVA + 0x1000, 1, PTE(PAGE_B) & ~PTE_IW), UP(0),
	     REFUSED(DEV, IOVA + 0xffc, 8, W), EVENT(EV_FAULT(DEV, DOM, 0x070), IOVA + 0x1000)),
	CASE("walk.cross.first", "7.3", 78, "the first page is missing: the first byte is reported",
	     V1_3, HERE, UP(0), REFUSED(DEV, IOVA - 8, 16, R),
	     EVENT(EV_FAULT(DEV, DOM, 0), IOVA - 8)),
	CASE("walk.data", "7.3", 0, "what a device writes is in the page", V1_3, HERE, UP(0),
	     DMA_WRITE8(DEV, IOVA + 0x18, UINT64_C(0x0123456789abcdef)),
	     LD(PAGE_A + 0x18, UINT64_C(0x0123456789abcdef))),
	CASE("walk.two_domains", "7.3", 0, "one address, two domains, two pages", V1_3, HERE,
	     DTE(DEV2, DTE_VALID | DTE_RW | DTE_MODE(1) | PAGE_C, 7, 0, 0),
	     ST(PAGE_C + 0x45 * 8, PTE(PAGE_B)), UP(0), MAP(DEV, IOVA, 8, RW, PAGE_A),
	     MAP(DEV2, 0x45000, 8, RW, PAGE_B), REFUSED(DEV2, IOVA, 8, R),
	     EVENT(EV_FAULT(DEV2, 7, 0), IOVA)),
};

CASE_GROUP(page_table_cases, cases);
