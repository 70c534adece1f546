// SPDX-License-Identifier: Apache-2.0
/* The sequences of Linux 6.12 and 7.3, access by access, and what they find. */
#include "tests/conformance/amd_iommu/suite.h"

#define C(n) (UINT64_C(1) << (n))
/* What a kernel does first, and at shutdown: each bit by itself, IommuEn last. */
#define DISABLE                                                                                    \
	CLEAR(C(12)), CLEAR(C(3)), CLEAR(C(2)), CLEAR(C(28)), CLEAR(C(29)), CLEAR(C(13)),          \
		CLEAR(C(14)), CLEAR(C(0)), CLEAR(C(59))
#define FLAGS                                                                                      \
	CLEAR(C(1)), CLEAR(C(8)), CLEAR(C(9)), CLEAR(C(11)), SET(C(10)), CLEAR(UINT64_C(7) << 5),  \
		SET(UINT64_C(4) << 5)
#define COMMAND_BUFFER                                                                             \
	HALVES(R_CMD_BASE, RING | RING_LENGTH(9)), CLEAR(C(12)), WR4(R_CMD_HEAD, 0),               \
		WR4(R_CMD_TAIL, 0), SET(C(12))
#define EVENT_LOG                                                                                  \
	HALVES(R_EVT_BASE, LOG | RING_LENGTH(9)), WR4(R_EVT_HEAD, 0), WR4(R_EVT_TAIL, 0), SET(C(2))
/* INVALIDATE_IOMMU_ALL and a wait at slot AT, which stores SEQ. */
#define FLUSH(at, seq)                                                                             \
	ST(RING + (at), INV_ALL), ST(RING + (at) + 8, 0),                                          \
		ST(RING + (at) + 16, CWAIT(CWAIT_S, SEM)), ST(RING + (at) + 24, seq),              \
		WR4(R_CMD_TAIL, (at) + 32), LD(SEM, seq), RD4(R_CMD_HEAD, (at) + 32)
#define EARLY                                                                                      \
	DISABLE, FLAGS, HALVES(R_DEVTAB, DEVTAB | 0x1ff), COMMAND_BUFFER,                          \
		STATUS(S_CMD_RUN | S_EVT_RUN, 0), SET(C(17)), SET(C(50)), SET(C(0)),               \
		STATUS(S_CMD_RUN | S_EVT_RUN, S_CMD_RUN), FLUSH(0, 1)
#define LATE                                                                                       \
	EVENT_LOG, STATUS(S_CMD_RUN | S_EVT_RUN, S_CMD_RUN | S_EVT_RUN), FLUSH(0x20, 2),           \
		WR(R_XT_GENERAL, 0), WR(R_XT_PPR, 0), WR(R_XT_GA, 0), SET(C(51)), SET(C(3)),       \
		WR(R_XT_GENERAL, XT(0, 0, 0, 0x24)), WR(R_XT_PPR, XT(0, 0, 0, 0x25)),              \
		WR(R_XT_GA, XT(0, 0, 0, 0x26))

static const struct conformance_case cases[] = {
	CASE("boot.early", "8.1", 0, "disable, flags, tables, ring, GA, XT, enable, flush", EARLY),
	CASE("boot.window", "8.1", 93,
	     "between early and late: DMA passes, interrupts are remapped",
	     DTE(DEV, 0, 0, DTE2_REMAP | DTE2_LEN(9) | IRT, 0),
	     ST(IRT + 16, IRTE_EN | IRTE_DEST(2)), ST(IRT + 24, 0x30), EARLY,
	     MAP(DEV, PAGE_A, 8, RW_ACCESS, PAGE_A),
	     REMAP(DEV, 0xfee00000, 1, MSI_ADDR(2, 0), 0x30)),
	CASE("boot.late", "8.1", 0, "event log with IommuEn, XT interrupts, then a fault",
	     DTE(DEV, DTE_VALID, 0, DTE2_IV, 0), EARLY, LATE,
	     RD_BITS(R_CONTROL, C(0) | C(2) | C(3) | C(12) | C(17) | C(50) | C(51),
		     C(0) | C(2) | C(3) | C(12) | C(17) | C(50) | C(51)),
	     LOG_NEW(LOG, 9, 0), REFUSED(DEV, 0x1000, 8, WR_ACCESS),
	     EVENT(EV_FAULT(DEV, 0, 0x070), 0x1000), MESSAGE(MSI_ADDR(0, 0), 0x24)),
	CASE("boot.no_ga_log", "8.1", 0, "GALogRun reads 0, so that nobody waits for it", EARLY,
	     LATE, STATUS(C(8), 0), SET(C(28)), STATUS(C(8), 0)),
	CASE("boot.shutdown", "8.4", 0, "the disable sequence leaves nothing running", EARLY, LATE,
	     DISABLE, STATUS(~0u, 0), MAP(DEV, PAGE_A, 8, RW_ACCESS, PAGE_A)),
	CASE("boot.resume", "8.4", 0, "and the unit comes up again", EARLY, LATE, DISABLE,
	     ST(SEM, 0), EARLY, LATE),
	CASE("boot.kexec", "8.3", 125, "a second kernel finds IommuEn and starts over", EARLY, LATE,
	     RD_BITS(R_CONTROL, C(0), C(0)), DISABLE, ST(SEM, 0), EARLY, LATE),
	CASE("boot.kdump_copy", "8.3", 125, "6.12: ring and device table move with IommuEn set",
	     EARLY, LATE, CLEAR(C(12)), CLEAR(C(2)), CLEAR(C(59)),
	     HALVES(R_CMD_BASE, (RING + 0x10000) | RING_LENGTH(9)), CLEAR(C(12)),
	     WR4(R_CMD_HEAD, 0), WR4(R_CMD_TAIL, 0), SET(C(12)), HALVES(R_DEVTAB, DEVTAB2 | 0x3f),
	     RD(R_CMD_BASE, (RING + 0x10000) | RING_LENGTH(9)), RD(R_DEVTAB, DEVTAB2 | 0x3f),
	     ST(RING + 0x10000, CWAIT(CWAIT_S, SEM)), ST(RING + 0x10008, 3), WR4(R_CMD_TAIL, 0x10),
	     LD(SEM, 3), EVENT_LOG, STATUS(S_CMD_RUN | S_EVT_RUN, S_CMD_RUN | S_EVT_RUN)),
	CASE("boot.kdump_reuse", "8.3", 125, "7.3: bases are read back and used on", EARLY, LATE,
	     RD4(R_DEVTAB, DEVTAB | 0x1ff), RD4(R_DEVTAB + 4, 0),
	     RD(R_CMD_BASE, RING | RING_LENGTH(9)), RD(R_EVT_BASE, LOG | RING_LENGTH(9)),
	     CLEAR(C(12)), CLEAR(C(2)), CLEAR(C(59)), WR4(R_CMD_HEAD, 0), WR4(R_CMD_TAIL, 0),
	     SET(C(12)), ST(SEM, 0), FLUSH(0, 5)),
};

CASE_GROUP(boot_cases, cases);
