// SPDX-License-Identifier: Apache-2.0
/* What the entry of a requester decides before any page table is looked at. */
#include "tests/conformance/amd_iommu/suite.h"

#define ONES	(~UINT64_C(0))
#define B(h, l) GENMASK(h, l)
#define R	RD_ACCESS
#define W	WR_ACCESS
#define RW	RW_ACCESS
#define IOVA	UINT64_C(0x5000)

/* Each bit of MASK in word WORD of an entry that is fine without: reserved. */
#define RESERVED_BITS(id, word, mask, what)                                                        \
	CASE("dte.reserved." id, "4.1", 63, what, UP(0), EACH_BIT(mask, 7),                        \
	     DTE_BIT(word, DEV, DTE_VALID | DTE_RW, DOM, 0, 0), QUEUE(INV_DTE(DEV), 0), DOORBELL,  \
	     REFUSED(DEV, IOVA, 8, R), EVENT(EV_DTE(DEV, F_RZ), IOVA), REFUSED(DEV, IOVA, 8, W),   \
	     EVENT(EV_DTE(DEV, F_RZ | F_RW), IOVA))
#define ALLOWED_BITS(id, word, mask, what)                                                         \
	CASE("dte.allowed." id, "4.1", 0, what, UP(0), EACH_BIT(mask, 4),                          \
	     DTE_BIT(word, DEV, DTE_VALID | DTE_RW, DOM, 0, 0), QUEUE(INV_DTE(DEV), 0), DOORBELL,  \
	     MAP(DEV, PAGE_A, 8, RW, PAGE_A))
#define PERMISSION(id, q0, access, flags, what)                                                    \
	CASE("dte.perm." id, "7.2", 62, what, DTE(DEV, q0, DOM, 0, 0), UP(0),                      \
	     REFUSED(DEV, IOVA, 8, access), EVENT(EV_FAULT(DEV, DOM, flags), IOVA))
#define BEYOND(id, devid, size_n)                                                                  \
	CASE("devtab.beyond." id, "7.1", 64, "a requester beyond the table is refused", UP(0),     \
	     WR(R_DEVTAB, DEVTAB | (size_n)), REFUSED(devid, IOVA, 8, R),                          \
	     EVENT(EV_FAULT(devid, 0, 0), IOVA), REFUSED(devid, IOVA, 8, W),                       \
	     EVENT(EV_FAULT(devid, 0, F_RW), IOVA))
/* Requests that no table can open. */
#define CLOSED(id, iova, access, type_a, type_b, idea, what)                                       \
	CASE("range." id, "7.1", idea, what, DTE(DEV, DTE_VALID | DTE_RW, DOM, 0, 0), UP(0),       \
	     REFUSED(DEV, iova, 4, access),                                                        \
	     EITHER(EV_REQUEST(DEV, type_a), EV_REQUEST(DEV, type_b), iova))

static const struct conformance_case cases[] = {
	CASE("dte.off", "7.1", 0, "IommuEn 0: everything passes", DTE(DEV, DTE_VALID, DOM, 0, 0),
	     WR(R_DEVTAB, DEVTAB | DEVTAB_SIZE), MAP(DEV, PAGE_A, 8, RW, PAGE_A)),
	CASE("dte.off_no_table", "7.1", 0, "IommuEn 0: no table is looked at",
	     WR(R_DEVTAB, HOLE | DEVTAB_SIZE), MAP(DEV, PAGE_A, 8, RW, PAGE_A)),
	CASE("dte.v0", "7.2", 59, "V=0: passes, full permission", DTE(DEV, 0, 0, 0, 0), UP(0),
	     MAP(DEV, PAGE_A, 8, RW, PAGE_A)),
	CASE("dte.v0_garbage", "7.2", 59, "V=0: no other bit of q0 and q1 counts",
	     DTE(DEV, ~DTE_V, ONES, 0, 0), UP(0), MAP(DEV, PAGE_A, 8, RW, PAGE_A)),
	CASE("dte.v0_hole", "7.2", 59, "V=0: what is no RAM is a master abort, no event", UP(0),
	     REFUSED(DEV, HOLE, 8, R), REFUSED(DEV, RAM_SIZE - 4, 8, R)),
	CASE("dte.tv0", "7.2", 60, "V=1 TV=0: refused; flags 000 and 020",
	     DTE(DEV, DTE_V, DOM, 0, 0), UP(0), REFUSED(DEV, IOVA, 8, R),
	     EVENT(EV_FAULT(DEV, DOM, 0), IOVA), REFUSED(DEV, IOVA, 8, W),
	     EVENT(EV_FAULT(DEV, DOM, F_RW), IOVA)),
	CASE("dte.tv0_fields", "7.2", 60, "V=1 TV=0: mode, root and permissions do not count",
	     DTE(DEV, DTE_V | DTE_RW | DTE_MODE(3) | TABLE(3), DOM, 0, 0),
	     BUILD(3, IOVA, 1, PTE(PAGE_A)), UP(0), REFUSED(DEV, IOVA, 8, R),
	     EVENT(EV_FAULT(DEV, DOM, 0), IOVA)),
	CASE("dte.blocked", "7.2", 61, "mode 0 without IR and IW: refused; flags 050 and 070",
	     DTE(DEV, DTE_VALID, DOM, 0, 0), UP(0), REFUSED(DEV, IOVA, 8, R),
	     EVENT(EV_FAULT(DEV, DOM, 0x050), IOVA), REFUSED(DEV, IOVA, 8, W),
	     EVENT(EV_FAULT(DEV, DOM, 0x070), IOVA)),
	CASE("dte.identity", "7.2", 61, "mode 0 with IR and IW: identity",
	     DTE(DEV, DTE_VALID | DTE_RW, DOM, 0, 0), UP(0), MAP(DEV, PAGE_A, 0x2000, RW, PAGE_A)),
	CASE("dte.identity_root", "7.2", 61, "mode 0: the root does not count",
	     DTE(DEV, DTE_VALID | DTE_RW | HOLE, DOM, 0, 0), UP(0),
	     MAP(DEV, PAGE_A, 8, RW, PAGE_A)),
	CASE("dte.identity_data", "7.2", 61, "what a device writes is in memory",
	     DTE(DEV, DTE_VALID | DTE_RW, DOM, 0, 0), UP(0),
	     DMA_WRITE8(DEV, PAGE_A, 0x1122334455667788), LD(PAGE_A, 0x1122334455667788)),
	CASE("dte.read_only", "7.2", 62, "IR without IW: reads pass", UP(0),
	     DTE(DEV, DTE_VALID | DTE_IR, DOM, 0, 0), MAP(DEV, PAGE_A, 8, R, PAGE_A)),
	CASE("dte.write_only", "7.2", 62, "IW without IR: writes pass", UP(0),
	     DTE(DEV, DTE_VALID | DTE_IW, DOM, 0, 0), MAP(DEV, PAGE_A, 8, W, PAGE_A)),
	PERMISSION("read_only", DTE_VALID | DTE_IR, W, 0x070, "IW=0: a write is refused"),
	PERMISSION("write_only", DTE_VALID | DTE_IW, R, 0x050, "IR=0: a read is refused"),
	PERMISSION("before_mode", DTE_VALID | DTE_IW | DTE_MODE(3) | HOLE, R, 0x050,
		   "IR is judged before the tables"),
	PERMISSION("atomic", DTE_VALID | DTE_IR, RW, 0x070, "an atomic needs both"),
	CASE("dte.mode7", "7.2", 68, "mode 7 is illegal, RZ=0",
	     DTE(DEV, DTE_VALID | DTE_RW | DTE_MODE(7) | TABLE(6), DOM, 0, 0), UP(0),
	     REFUSED(DEV, IOVA, 8, R), EVENT(EV_DTE(DEV, 0), IOVA)),
	CASE("dte.own", "7.1", 0, "the unit's own requests pass, whatever its entry says",
	     DTE(UNIT_ID, DTE_VALID | BIT(63), DOM, 0, 0), UP(0),
	     MAP(UNIT_ID, PAGE_A, 8, RW, PAGE_A)),

	RESERVED_BITS("q0_low", 0, B(6, 2), "q0 bits 6:2"),
	RESERVED_BITS("q0_high", 0, BIT(63), "q0 bit 63"),
	RESERVED_BITS("had", 0, B(8, 7), "HAD without HASup and HDSup"),
	RESERVED_BITS("ppr", 0, BIT(52), "PPR without PPRSup"),
	RESERVED_BITS("gprp", 0, BIT(53), "GPRP without PPRSup"),
	RESERVED_BITS("giov", 0, BIT(54), "GIoV without GIoSup"),
	RESERVED_BITS("gv", 0, BIT(55), "GV without GTSup"),
	RESERVED_BITS("glx", 0, B(57, 56), "GLX without GTSup"),
	RESERVED_BITS("gcr3_low", 0, B(60, 58), "GCR3 TRP bits 14:12 without GTSup"),
	RESERVED_BITS("gcr3_mid", 1, B(31, 16), "GCR3 TRP bits 30:15 without GTSup"),
	RESERVED_BITS("gcr3_high", 1, B(63, 43), "GCR3 TRP bits 51:31 without GTSup"),
	RESERVED_BITS("sats", 1, BIT(42), "SATS without SATSSup"),
	CASE("dte.reserved.tv0", "7.2", 63, "reserved bits count with TV=0 too",
	     DTE(DEV, DTE_V | BIT(63), DOM, 0, 0), UP(0), REFUSED(DEV, IOVA, 8, R),
	     EVENT(EV_DTE(DEV, F_RZ), IOVA)),
	CASE("dte.reserved.iv", "4.1", 63, "q2 and q3 do not concern memory requests",
	     DTE(DEV, DTE_VALID | DTE_RW, DOM, ONES, ONES), UP(0), MAP(DEV, PAGE_A, 8, RW, PAGE_A)),
	ALLOWED_BITS("ioctl", 1, B(36, 35), "IoCtl"),
	ALLOWED_BITS("cache_sd_ex", 1, B(39, 37), "Cache, SD, EX"),
	ALLOWED_BITS("sysmgt", 1, B(41, 40), "SysMgt"),
	ALLOWED_BITS("se_sa", 1, B(34, 33), "SE, SA"),
	ALLOWED_BITS("q2", 2, B(51, 1), "interrupt fields without IV"),
	ALLOWED_BITS("q3", 3, ONES, "q3 without IV"),

	BEYOND("smallest", 0x80, 0),
	BEYOND("next", DEVTAB_LIMIT, DEVTAB_SIZE),
	BEYOND("last_id", 0xffff, 0x1fe),
	CASE("devtab.smallest", "3.2", 64, "a table of 4 KiB has 128 entries",
	     DTE(0x7f, DTE_VALID, DOM, 0, 0), UP(0), WR(R_DEVTAB, DEVTAB),
	     REFUSED(0x7f, IOVA, 8, R), EVENT(EV_FAULT(0x7f, DOM, 0x050), IOVA)),
	CASE("devtab.largest", "3.2", 64, "a table of 2 MiB has an entry for FFFFh",
	     DTE(0xffff, DTE_VALID, DOM, 0, 0), UP(0), WR(R_DEVTAB, DEVTAB | 0x1ff),
	     REFUSED(0xffff, IOVA, 8, R), EVENT(EV_FAULT(0xffff, DOM, 0x050), IOVA)),
	CASE("devtab.bus1", "4.1", 64, "bus and function make the index",
	     DTE(DEV2, DTE_VALID, DOM, 0, 0), DTE(DEV2 & 0xff, DTE_VALID | DTE_RW, DOM, 0, 0),
	     UP(0), REFUSED(DEV2, IOVA, 8, R), EVENT(EV_FAULT(DEV2, DOM, 0x050), IOVA),
	     MAP(DEV2 & 0xff, PAGE_A, 8, RW, PAGE_A)),
	CASE("devtab.hole", "7.1", 65, "a table in a hole: hardware error at the entry", UP(0),
	     WR(R_DEVTAB, HOLE | DEVTAB_SIZE), REFUSED(DEV, IOVA, 8, R),
	     EITHER(EV_DEVTAB(DEV, F_HW(1)), EV_DEVTAB(DEV, F_HW(2)), HOLE + DEV * 32)),
	CASE("devtab.hole_write", "7.1", 65, "the same for a write", UP(0),
	     WR(R_DEVTAB, HOLE | DEVTAB_SIZE), REFUSED(DEV, IOVA, 8, W),
	     EITHER(EV_DEVTAB(DEV, F_RW | F_HW(1)), EV_DEVTAB(DEV, F_RW | F_HW(2)),
		    HOLE + DEV * 32)),
	CASE("devtab.window", "7.1", 65, "a table over the register window is not read", UP(0),
	     WR(R_DEVTAB, WINDOW | 3), REFUSED(DEV, IOVA, 8, R),
	     EITHER(EV_DEVTAB(DEV, F_HW(1)), EV_DEVTAB(DEV, F_HW(2)), WINDOW + DEV * 32)),
	CASE("devtab.ram_end", "7.1", 65, "a table that runs out of RAM", UP(0),
	     WR(R_DEVTAB, (RAM_SIZE - 0x1000) | DEVTAB_SIZE), MAP(0x7f, PAGE_A, 8, R, PAGE_A),
	     REFUSED(0x80, IOVA, 8, R),
	     EITHER(EV_DEVTAB(0x80, F_HW(1)), EV_DEVTAB(0x80, F_HW(2)), RAM_SIZE)),
	CASE("devtab.top", "7.1", 65, "a table at the top of the address space", UP(0),
	     WR(R_DEVTAB, B(51, 12) | 0x1ff), REFUSED(DEV, IOVA, 8, R),
	     EITHER(EV_DEVTAB(DEV, F_HW(1)), EV_DEVTAB(DEV, F_HW(2)), B(51, 12) + DEV * 32)),

	CLOSED("msi_read", 0xfee00000, R, 0, 0, 90, "a read in the interrupt range"),
	CLOSED("msi_read_last", 0xfeeffffc, R, 0, 0, 90, "a read of its last doubleword"),
	CLOSED("msi_atomic", 0xfee00010, RW, 0, 0, 90, "an atomic in the interrupt range"),
	CLOSED("msi_write", 0xfee00000, W, 0, 4, 90, "a write there that is no message"),
	CLOSED("ht_first", UINT64_C(0xfd00000000), R, 5, 5, 91, "the HyperTransport range begins"),
	CLOSED("ht_last", UINT64_C(0xfffffffffc), W, 5, 5, 91, "the HyperTransport range ends"),
	CASE("range.v0", "7.1", 90, "V=0 does not open the interrupt range", UP(0),
	     REFUSED(DEV, 0xfee00000, 4, R), EVENT(EV_REQUEST(DEV, 0), 0xfee00000)),
	CASE("range.mapped", "7.1", 90, "nor does a page table", DTE(DEV, V1(3, DOM)),
	     BUILD(3, UINT64_C(0xfee00000), 1, PTE(PAGE_A)), UP(0), REFUSED(DEV, 0xfee00000, 4, R),
	     EVENT(EV_REQUEST(DEV, 0), 0xfee00000)),
	CASE("range.beside", "7.1", 90, "the pages beside the interrupt range are ordinary",
	     DTE(DEV, V1(3, DOM)), BUILD(3, UINT64_C(0xfedff000), 1, PTE(PAGE_A)), UP(0),
	     MAP(DEV, 0xfedff000, 0x1000, RW, PAGE_A),
	     BUILD(3, UINT64_C(0xfef00000), 1, PTE(PAGE_B)),
	     MAP(DEV, 0xfef00000, 0x1000, RW, PAGE_B)),
	CASE("range.beside_ht", "7.1", 91, "and those beside the HyperTransport range",
	     DTE(DEV, V1(4, DOM)), BUILD(4, UINT64_C(0xfcfffff000), 1, PTE(PAGE_A)), UP(0),
	     MAP(DEV, UINT64_C(0xfcfffff000), 0x1000, RW, PAGE_A),
	     BUILD(4, UINT64_C(0x10000000000), 1, PTE(PAGE_B)),
	     MAP(DEV, UINT64_C(0x10000000000), 0x1000, RW, PAGE_B)),
	CASE("range.into", "7.1", 90, "DMA that runs into the range is refused there",
	     DTE(DEV, V1(3, DOM)), BUILD(3, UINT64_C(0xfedff000), 1, PTE(PAGE_A)), UP(0),
	     REFUSED(DEV, 0xfedfffff, 8, R), EVENT(EV_REQUEST(DEV, 0), 0xfee00000)),
};

CASE_GROUP(device_table_cases, cases);
