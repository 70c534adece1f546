// SPDX-License-Identifier: Apache-2.0
/*
 * Every page size. A page lies at the second multiple of its size and leads to guest memory from 0
 * on, so that its first bytes can be used whatever the size; what lies beyond RAM is translated too
 * (no event) and then aborted.
 */
#include "tests/conformance/amd_iommu/suite.h"

#define RW	    RW_ACCESS
#define SIZE(shift) (UINT64_C(1) << (shift))
/* The default size of LEVEL. */
#define DEFAULT(name, level, shift)                                                                \
	CASE("size." name, "4.2", 69, "NextLevel 0: the default size of the level",                \
	     DTE(DEV, V1(6, DOM)), BUILD(6, SIZE(shift), level, PTE(UINT64_C(0))), UP(0),          \
	     MAP(DEV, SIZE(shift) + 0xff8, 8, RW, 0xff8), REFUSED(DEV, SIZE(shift) - 8, 8, RW),    \
	     EVENT(EV_FAULT(DEV, DOM, F_RW), SIZE(shift) - 8),                                     \
	     REFUSED(DEV, SIZE((shift) + 1), 8, RW),                                               \
	     EVENT(EV_FAULT(DEV, DOM, F_RW), SIZE((shift) + 1)))
/*
 * 2^(Z+1) bytes by an entry of LEVEL, whose own size is 2^OWN: its first copy, and its last alone
 * (copies need not agree). The entry's address has bits Z and below coded, not cleared.
 */
#define CODED(name, level, own, z)                                                                 \
	CASE("size." name, "4.2", 69, "NextLevel 7: the first zero bit codes the size",            \
	     DTE(DEV, V1(6, DOM)), BUILD(6, SIZE((z) + 2), level, PTE7(UINT64_C(0), z)), UP(0),    \
	     MAP(DEV, SIZE((z) + 2) + 0xff8, 8, RW, 0xff8),                                        \
	     BUILD(6, SIZE((z) + 2) + SIZE((z) + 1) - SIZE(own), level, PTE7(UINT64_C(0), z)),     \
	     LAST_COPY(SIZE((z) + 2), SIZE((z) + 1) - 8))
/* Where the page's end is RAM the address is known; elsewhere only that no event is logged. */
#define LAST_COPY(base, offset)                                                                    \
	STEP((offset) < RAM_SIZE ? OP_MAP : OP_REFUSED, 0, 0,                                      \
	     {DEV, (base) + (offset), 8, RW, offset})

static const struct conformance_case cases[] = {
	CASE("size.4k", "4.2", 69, "NextLevel 0 at level 1: 4 KiB", DTE(DEV, V1(6, DOM)),
	     BUILD(6, UINT64_C(0x1000), 1, PTE(PAGE_A)), UP(0),
	     MAP(DEV, 0x1000, 0x1000, RW, PAGE_A), REFUSED(DEV, 0xff8, 8, RW),
	     EVENT(EV_FAULT(DEV, DOM, F_RW), 0xff8), REFUSED(DEV, 0x2000, 8, RW),
	     EVENT(EV_FAULT(DEV, DOM, F_RW), 0x2000)),
	DEFAULT("2m", 2, 21),
	DEFAULT("1g", 3, 30),
	DEFAULT("512g", 4, 39),
	DEFAULT("256t", 5, 48),
	CODED("8k", 1, 12, 12),
	CODED("16k", 1, 12, 13),
	CODED("32k", 1, 12, 14),
	CODED("64k", 1, 12, 15),
	CODED("128k", 1, 12, 16),
	CODED("256k", 1, 12, 17),
	CODED("512k", 1, 12, 18),
	CODED("1m", 1, 12, 19),
	CODED("4m", 2, 21, 21),
	CODED("8m", 2, 21, 22),
	CODED("16m", 2, 21, 23),
	CODED("32m", 2, 21, 24),
	CODED("64m", 2, 21, 25),
	CODED("128m", 2, 21, 26),
	CODED("256m", 2, 21, 27),
	CODED("512m", 2, 21, 28),
	CODED("2g", 3, 30, 30),
	CODED("4g", 3, 30, 31),
	CODED("8g", 3, 30, 32),
	CODED("16g", 3, 30, 33),
	CODED("32g", 3, 30, 34),
	CODED("64g", 3, 30, 35),
	CODED("128g", 3, 30, 36),
	CODED("256g", 3, 30, 37),
	CODED("1t", 4, 39, 39),
	CODED("2t", 4, 39, 40),
	CODED("4t", 4, 39, 41),
	CODED("8t", 4, 39, 42),
	CODED("16t", 4, 39, 43),
	CODED("32t", 4, 39, 44),
	CODED("64t", 4, 39, 45),
	CODED("128t", 4, 39, 46),
	CODED("512t", 5, 48, 48),
	CODED("1p", 5, 48, 49),
	CODED("2p", 5, 48, 50),
	CASE("size.coded_page", "4.2", 69, "the coded bits are no part of the address",
	     DTE(DEV, V1(3, DOM)), BUILD(3, UINT64_C(0x40000), 1, PTE7(UINT64_C(0x740000), 15)),
	     UP(0), MAP(DEV, 0x40123, 0x100, RW, 0x740123)),
	CASE("size.copies_differ", "4.2", 69, "copies need not agree: each is taken as it is",
	     DTE(DEV, V1(3, DOM)), BUILD(3, UINT64_C(0x40000), 1, PTE7(UINT64_C(0x740000), 12)),
	     ST(ENTRY(1, UINT64_C(0x41000)), PTE(PAGE_A)), UP(0),
	     MAP(DEV, 0x40000, 8, RW, 0x740000), CMD(INV_PAGES(DOM), INV_EVERYTHING),
	     MAP(DEV, 0x41000, 8, RW, PAGE_A)),
	CASE("size.large_offset", "4.2", 69, "an offset inside a 2 MiB page", DTE(DEV, V1(3, DOM)),
	     BUILD(3, UINT64_C(0x40000000), 2, PTE(UINT64_C(0x600000))), UP(0),
	     MAP(DEV, 0x40123456, 0x100, RW, 0x723456)),
	CASE("size.large_misaligned", "4.2", 69, "address bits below the page's size do not count",
	     DTE(DEV, V1(3, DOM)), BUILD(3, UINT64_C(0x40000000), 2, PTE(UINT64_C(0x7ff000))),
	     UP(0), MAP(DEV, 0x40001000, 0x100, RW, 0x601000)),
};

CASE_GROUP(page_size_cases, cases);
