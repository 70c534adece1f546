// SPDX-License-Identifier: Apache-2.0
/* Base, head and tail of the command buffer and the event log; when they run. */
#include "tests/conformance/amd_iommu/suite.h"

#define ONES  (~UINT64_C(0))
#define RING2 UINT64_C(0x440000)

/* A length below 8 is reserved: the ring never runs, whatever is enabled. */
#define SHORT_RING(n)                                                                              \
	CASE("ring.short.cmd" #n, "3.2", 27, "command buffer of reserved length: stays stopped",   \
	     WR(R_CMD_BASE, RING | RING_LENGTH(n)), WR(R_CONTROL, C_IOMMU_EN | C_CMD_BUF_EN),      \
	     ST(RING, CWAIT(CWAIT_S, SEM)), ST(RING + 8, 7), WR4(R_CMD_TAIL, 0x10),                \
	     STATUS(S_CMD_RUN, 0), LD(SEM, 0), WR4(R_CMD_TAIL, 0x7fff0), LD(SEM, 0)),              \
		CASE("ring.short.evt" #n, "3.2", 27,                                               \
		     "event log of reserved length: stays stopped",                                \
		     DTE(DEV, DTE_VALID, DOM, 0, 0), WR(R_DEVTAB, DEVTAB | DEVTAB_SIZE),           \
		     WR(R_EVT_BASE, LOG | RING_LENGTH(n)),                                         \
		     WR(R_CONTROL, C_IOMMU_EN | C_EVT_LOG_EN), STATUS(S_EVT_RUN, 0),               \
		     REFUSED(DEV, 0, 8, RD_ACCESS), RD(R_EVT_TAIL, 0), LD(LOG, 0))
/* Each legal length: the last slot runs and the head wraps to 0; pointers stay in the ring. */
#define FULL_RING(n)                                                                               \
	CASE("ring.wrap.cmd" #n, "5", 55, "the head wraps to 0 behind the last slot", UP(0),       \
	     CLEAR(C_CMD_BUF_EN), WR(R_CMD_BASE, RING | RING_LENGTH(n)),                           \
	     WR4(R_CMD_HEAD, (16u << (n)) - 16), RD(R_CMD_HEAD, (16u << (n)) - 16),                \
	     ST(RING + (16u << (n)) - 16, CWAIT(CWAIT_S, SEM)), ST(RING + (16u << (n)) - 8, 7),    \
	     SET(C_CMD_BUF_EN), LD(SEM, 7), RD(R_CMD_HEAD, 0), RD(R_CMD_TAIL, 0)),                 \
		CASE("ring.pointers.cmd" #n, "3.2", 29,                                            \
		     "pointers beyond the ring do not leave it",                                   \
		     WR(R_CMD_BASE, RING | RING_LENGTH(n)), WR(R_CMD_HEAD, ONES),                  \
		     RD_BELOW(R_CMD_HEAD, 16u << (n)), WR(R_CMD_TAIL, ONES),                       \
		     RD_BELOW(R_CMD_TAIL, 16u << (n))),                                            \
		CASE("ring.wrap.evt" #n, "6.3", 55, "the tail wraps to 0 behind the last slot",    \
		     DTE(DEV, DTE_VALID, DOM, 0, 0), UP(0), CLEAR(C_EVT_LOG_EN),                   \
		     WR(R_EVT_BASE, LOG | RING_LENGTH(n)), WR4(R_EVT_HEAD, (16u << (n)) - 16),     \
		     WR4(R_EVT_TAIL, (16u << (n)) - 16), SET(C_EVT_LOG_EN),                        \
		     LOG_NEW(LOG, n, (16u << (n)) - 16), REFUSED(DEV, 0x5000, 8, RD_ACCESS),       \
		     EVENT(EV_FAULT(DEV, DOM, F_PR | F_PE), 0x5000), RD(R_EVT_TAIL, 0))
#define RUNS(id, bits, want, what)                                                                 \
	CASE("run." id, "3.3", 0, what, WR(R_CONTROL, bits), RD(R_STATUS, want))

static const struct conformance_case cases[] = {
	SHORT_RING(0),
	SHORT_RING(1),
	SHORT_RING(2),
	SHORT_RING(3),
	SHORT_RING(4),
	SHORT_RING(5),
	SHORT_RING(6),
	SHORT_RING(7),
	FULL_RING(8),
	FULL_RING(9),
	FULL_RING(10),
	FULL_RING(11),
	FULL_RING(12),
	FULL_RING(13),
	FULL_RING(14),
	FULL_RING(15),

	RUNS("none", 0, 0, "nothing enabled: nothing runs"),
	RUNS("cmd_only", C_CMD_BUF_EN, 0, "CmdBufEn waits for IommuEn"),
	RUNS("evt_only", C_EVT_LOG_EN, 0, "EventLogEn waits for IommuEn"),
	RUNS("iommu_only", C_IOMMU_EN, 0, "IommuEn alone runs no ring"),
	RUNS("cmd", C_IOMMU_EN | C_CMD_BUF_EN, S_CMD_RUN, "CmdBufRun"),
	RUNS("evt", C_IOMMU_EN | C_EVT_LOG_EN, S_EVT_RUN, "EventLogRun"),
	RUNS("both", C_IOMMU_EN | C_CMD_BUF_EN | C_EVT_LOG_EN, S_CMD_RUN | S_EVT_RUN, "both"),
	CASE("run.stop", "3.3", 0, "IommuEn 1 to 0: Run bits go, pointers stay", UP(0), SYNC, SYNC,
	     CLEAR(C_IOMMU_EN), STATUS(ONES, 0), RD(R_CMD_HEAD, 0x20), RD(R_CMD_TAIL, 0x20),
	     RD(R_CMD_BASE, RING | RING_LENGTH(9)), SET(C_IOMMU_EN), SYNC),
	CASE("run.stop_cmd", "3.3", 0, "CmdBufEn 1 to 0 stops the ring at once", UP(0),
	     CLEAR(C_CMD_BUF_EN), STATUS(ONES, S_EVT_RUN), CMD(CWAIT(CWAIT_S, SEM), 7), LD(SEM, 0),
	     SET(C_CMD_BUF_EN), LD(SEM, 7)),
	CASE("run.stop_evt", "3.3", 0, "EventLogEn 1 to 0 stops the log at once",
	     DTE(DEV, DTE_VALID, DOM, 0, 0), UP(0), CLEAR(C_EVT_LOG_EN), STATUS(ONES, S_CMD_RUN),
	     REFUSED(DEV, 0, 8, RD_ACCESS), RD(R_EVT_TAIL, 0), LD(LOG, 0)),
	CASE("run.toggle", "3.3", 37, "IommuEn on and off many times, with DMA between",
	     DTE(DEV, DTE_VALID | DTE_RW, DOM, 0, 0), UP(0), TIMES(100, 4), CLEAR(C_IOMMU_EN),
	     MAP(DEV, PAGE_A, 8, RW_ACCESS, PAGE_A), SET(C_IOMMU_EN),
	     MAP(DEV, PAGE_A, 8, RW_ACCESS, PAGE_A), SYNC),

	CASE("ring.queued_before", "3.3", 30, "what is queued before IommuEn runs with it",
	     WR(R_CMD_BASE, RING | RING_LENGTH(9)), SET(C_CMD_BUF_EN),
	     ST(RING, CWAIT(CWAIT_S, SEM)), ST(RING + 8, 7), WR4(R_CMD_TAIL, 0x10), LD(SEM, 0),
	     RD(R_CMD_HEAD, 0), SET(C_IOMMU_EN), LD(SEM, 7), RD(R_CMD_HEAD, 0x10)),
	CASE("ring.base_running", "3.2", 25, "a base written while CmdBufRun is ignored", UP(0),
	     SYNC, WR(R_CMD_BASE, RING2 | RING_LENGTH(10)), RD(R_CMD_BASE, RING | RING_LENGTH(9)),
	     HALVES(R_CMD_BASE, RING2 | RING_LENGTH(8)), RD(R_CMD_BASE, RING | RING_LENGTH(9)),
	     RD(R_CMD_HEAD, 0x10), RD(R_CMD_TAIL, 0x10), SYNC),
	CASE("ring.base_stopped", "3.2", 25, "with IommuEn and not CmdBufEn a base is taken", UP(0),
	     SYNC, CLEAR(C_CMD_BUF_EN), HALVES(R_CMD_BASE, RING2 | RING_LENGTH(10)),
	     RD(R_CMD_BASE, RING2 | RING_LENGTH(10)), RD(R_CMD_HEAD, 0), RD(R_CMD_TAIL, 0),
	     ST(RING2, CWAIT(CWAIT_S, SEM)), ST(RING2 + 8, 9), SET(C_CMD_BUF_EN),
	     WR4(R_CMD_TAIL, 0x10), LD(SEM, 9)),
	CASE("ring.base_clears_low", "3.1", 0, "the low half of a base clears head and tail",
	     WR(R_CMD_BASE, RING | RING_LENGTH(9)), WR4(R_CMD_HEAD, 0x40), WR4(R_CMD_TAIL, 0x80),
	     WR4(R_CMD_BASE, RING2), RD(R_CMD_HEAD, 0), RD(R_CMD_TAIL, 0)),
	CASE("ring.base_clears_high", "3.1", 0, "the high half of a base clears head and tail",
	     WR(R_CMD_BASE, RING | RING_LENGTH(9)), WR4(R_CMD_HEAD, 0x40), WR4(R_CMD_TAIL, 0x80),
	     WR4(R_CMD_BASE + 4, RING_LENGTH(10) >> 32), RD(R_CMD_HEAD, 0), RD(R_CMD_TAIL, 0)),
	CASE("ring.evt_base_enabled", "3.2", 26, "event log base with IommuEn: taken", UP(0),
	     CLEAR(C_EVT_LOG_EN), WR4(R_EVT_HEAD, 0x40), WR4(R_EVT_TAIL, 0x40),
	     HALVES(R_EVT_BASE, (LOG + 0x1000) | RING_LENGTH(9)),
	     RD(R_EVT_BASE, (LOG + 0x1000) | RING_LENGTH(9)), RD(R_EVT_HEAD, 0), RD(R_EVT_TAIL, 0)),
	CASE("ring.evt_base_running", "3.2", 26, "event log base with EventLogRun: ignored", UP(0),
	     WR(R_EVT_BASE, (LOG + 0x1000) | RING_LENGTH(9)),
	     RD(R_EVT_BASE, LOG | RING_LENGTH(12))),
	CASE("ring.head_running", "3.2", 0, "a head written while CmdBufRun is ignored", UP(0),
	     SYNC, WR4(R_CMD_HEAD, 0), RD(R_CMD_HEAD, 0x10), WR4(R_CMD_HEAD, 0x100),
	     RD(R_CMD_HEAD, 0x10), SYNC),
	CASE("ring.evt_tail_running", "3.2", 0,
	     "an event tail written while EventLogRun is ignored", DTE(DEV, DTE_VALID, DOM, 0, 0),
	     UP(0), REFUSED(DEV, 0, 8, RD_ACCESS), EVENT(EV_FAULT(DEV, DOM, F_PR | F_PE), 0),
	     WR4(R_EVT_TAIL, 0), RD(R_EVT_TAIL, 0x10)),
	CASE("ring.evt_head_running", "3.2", 0, "the event head is software's at any time", UP(0),
	     WR4(R_EVT_HEAD, 0x40), RD(R_EVT_HEAD, 0x40), WR4(R_EVT_HEAD, 0), RD(R_EVT_HEAD, 0)),
	CASE("ring.tail_far", "3.2", 29, "tail 7FFF0h with a ring of 4 KiB: no loop, no excursion",
	     UP(0), RING_NEW(RING, 8), ST(RING, CWAIT(CWAIT_S, SEM)), ST(RING + 8, 7),
	     WR4(R_CMD_TAIL, 0x7fff0), RD_BELOW(R_CMD_HEAD, 0x1000), ANY_EVENTS),
	CASE("ring.tail_unaligned", "3.2", 29, "tail bits 3:0 do not count", UP(0),
	     QUEUE(CWAIT(CWAIT_S, SEM), 7), WR4(R_CMD_TAIL, 0x1f), RD(R_CMD_TAIL, 0x10), LD(SEM, 7),
	     RD(R_CMD_HEAD, 0x10)),
	CASE("ring.tail_same", "3.2", 0, "the same tail again is no new work", UP(0),
	     CMD(CWAIT(CWAIT_S, SEM), 7), ST(SEM, 0), WR4(R_CMD_TAIL, 0x10), LD(SEM, 0)),
	CASE("ring.tail_behind", "5", 55, "a tail behind the head goes round the ring", UP(0),
	     RING_NEW(RING, 8), TIMES(255, 1), QUEUE(CWAIT(CWAIT_S, SEM), 1), DOORBELL,
	     RD(R_CMD_HEAD, 0xff0), QUEUE(CWAIT(CWAIT_S, SEM), 2),
	     QUEUE(CWAIT(CWAIT_S, SEM + 8), 3), DOORBELL, LD(SEM, 2), LD(SEM + 8, 3),
	     RD(R_CMD_HEAD, 0x10)),
	CASE("ring.full", "5", 53, "32767 invalidations behind one doorbell", UP(0),
	     RING_NEW(RING, 15), TIMES(32766, 1), QUEUE(INV_IRT(DEV), 0),
	     QUEUE(CWAIT(CWAIT_S, SEM), 7), DOORBELL, LD(SEM, 7), RD(R_CMD_HEAD, 0x7fff0)),
	CASE("ring.wraps_often", "5", 55, "the smallest ring, round and round", UP(0),
	     RING_NEW(RING, 8), TIMES(600, 2), QUEUE(CWAIT(CWAIT_S, SEM), 7), DOORBELL, LD(SEM, 7)),
	CASE("ring.devtab_live", "3.2", 0, "a device table base written with IommuEn takes effect",
	     ST(DEVTAB2 + DEV * 32, DTE_VALID), ST(DEVTAB2 + DEV * 32 + 8, DOM),
	     DTE(DEV, DTE_VALID | DTE_RW, DOM, 0, 0), UP(0), MAP(DEV, PAGE_A, 8, RW_ACCESS, PAGE_A),
	     HALVES(R_DEVTAB, DEVTAB2 | DEVTAB_SIZE), RD(R_DEVTAB, DEVTAB2 | DEVTAB_SIZE),
	     REFUSED(DEV, PAGE_A, 8, RD_ACCESS), EVENT(EV_FAULT(DEV, DOM, F_PR | F_PE), PAGE_A)),
	CASE("ring.kdump_bases", "3.2", 125, "a crash kernel reads back what was written", UP(0),
	     RD(R_DEVTAB, DEVTAB | DEVTAB_SIZE), RD4(R_DEVTAB + 4, 0),
	     RD(R_CMD_BASE, RING | RING_LENGTH(9)), RD(R_EVT_BASE, LOG | RING_LENGTH(12)),
	     CLEAR(C_CMD_BUF_EN), CLEAR(C_EVT_LOG_EN), WR4(R_CMD_HEAD, 0), WR4(R_CMD_TAIL, 0),
	     SET(C_CMD_BUF_EN), SYNC),
};

CASE_GROUP(ring_cases, cases);
