// SPDX-License-Identifier: Apache-2.0
/* Devices with a translation cache: invalidations of it, translation requests, page requests. */
#include "tests/conformance/amd_iommu/suite.h"

#define EFR	    UINT64_C(0x0017002f000058df) /* PreF, PPR, and guest tables; IotlbSup with PPR */
#define EFR2	    UINT64_C(0x8)
#define ONES	    (~UINT64_C(0))
#define IOVA	    UINT64_C(0x12345000)
#define PPR_LOG	    UINT64_C(0x760000)
#define ENTRY_AT(n) (PPR_LOG + (n)*16)
#define DTE_PPR	    (UINT64_C(1) << 52)
#define DTE1_I	    (UINT64_C(1) << 32)
#define PASID	    UINT64_C(0x35)
#define P(devid)    WITH_PASID(devid, PASID)
#define NOBODY	    ONES
#define R	    RD_ACCESS
#define W	    WR_ACCESS
#define RW	    RW_ACCESS

/* 5: op 4. PASID in bits 23:16 (15:8), 55:48 (7:0), 59:56 (19:16). */
#define INV_IOTLB(devid, pasid, max_pend)                                                          \
	(OPCODE(4) | (devid) | (uint64_t)(max_pend) << 24 | (uint64_t)(devid) << 32 |              \
	 ((uint64_t)(pasid) >> 8 & 0xff) << 16 | ((uint64_t)(pasid)&0xff) << 48 |                  \
	 (uint64_t)(pasid) >> 16 << 56)
#define GN UINT64_C(4)
/* op 7: group in 104:96, response in 111:108, of the second word. */
#define COMPLETE(devid, pasid)	    (OPCODE(7) | (devid) | (uint64_t)(pasid) << 32)
#define COMPLETE_1(group, response) ((uint64_t)(group) << 32 | (uint64_t)(response) << 44)
/* 4.5: an entry of the last request of a group. */
#define PPR(devid, pasid, group, flags)                                                            \
	(OPCODE(1) | (uint64_t)(flags) << 48 | (uint64_t)(pasid) >> 16 << 42 |                     \
	 (uint64_t)((group) | 0x200) << 32 | ((uint64_t)(pasid)&0xffff) << 16 | (uint64_t)(devid))
#define PPR_X  0x002
#define PPR_R  0x004
#define PPR_W  0x020
#define PPR_US 0x040
#define PPR_GN 0x100
/* 6.2: INVALID_PPR_REQUEST has the layout of an entry; 48 RX, 57 GN. */
#define BAD_PPR(devid, pasid, group, flags)                                                        \
	((PPR(devid, pasid, group, flags) & ~OPCODE(15)) | OPCODE(9))
#define RX		 0x001
#define BAD_GN		 0x200
#define S_PPR_OVERFLOW	 UINT64_C(0x20)
#define S_PPR_INT	 UINT64_C(0x40)
#define S_PPR_RUN	 UINT64_C(0x80)
#define S_RUN		 (S_EVT_RUN | S_CMD_RUN)
#define INV_TIME_OUT_1MS UINT64_C(0x20)

#define Q0		 (DTE_VALID | DTE_RW | DTE_GV | DTE0_GCR3(GCR3))
#define ENTRY_OF(q0, q1) DTE(DEV, Q0 | (q0), DOM | DTE1_GCR3(GCR3) | (q1), 0, 0)
#define TABLES(leaf)                                                                               \
	ST(GCR3 + PASID * 8, GTABLE(4) | GCR3_V), ST(GENTRY(4, IOVA), GTABLE(3) | G_USER),         \
		ST(GENTRY(3, IOVA), GTABLE(2) | G_USER), ST(GENTRY(2, IOVA), GTABLE(1) | G_USER),  \
		ST(GENTRY(1, IOVA), leaf)
/* The unit up, with a PPR log of 256 entries and BITS, and a device that has all it needs. */
#define START(slow, bits)                                                                          \
	ENTRY_OF(DTE_PPR, DTE1_I), TABLES(PAGE_A | G_USER), UP(C_GT_EN | (bits)),                  \
		WR(R_PPR_BASE, PPR_LOG | RING_LENGTH(8)), SET(C_PPR_EN), SET(C_PPR_LOG_EN),        \
		CACHE(DEV, slow)
#define ATS_CASE(id, section, idea, what, ...)                                                     \
	CASE_OF(EFR, EFR2, "ats." id, section, idea, what, __VA_ARGS__)
#define ILLEGAL(id, word, w0, w1, mask, what)                                                      \
	ATS_CASE("illegal." id, "5.4", 47, what, START(0, 0), EACH_BIT(mask, 4),                   \
		 CMD_BIT(word, w0, w1), EVENT(EV_ILLEGAL_COMMAND, RING), RESTART)
#define CODE(code, given)                                                                          \
	ATS_CASE("complete.code" #code, "5", 0, "response code " #code, START(0, 0),               \
		 CMD(COMPLETE(DEV, PASID), COMPLETE_1(7, code) | GN),                              \
		 RESPONSE(DEV, PASID, 7, given))

static const struct conformance_case cases[] = {
	ATS_CASE("inv.page", "5.2", 0, "INVALIDATE_IOTLB_PAGES with PASID reaches the device",
		 START(0, 0), CMD(INV_IOTLB(DEV, 0xa1234, 0), IOVA | GN),
		 TOLD(DEV, 0xa1234, IOVA, IOVA + 0xfff), SYNC),
	ATS_CASE("inv.no_pasid", "5.2", 0, "and without", START(0, 0),
		 CMD(INV_IOTLB(DEV, 0, 0), IOVA), TOLD(DEV, NOBODY, IOVA, IOVA + 0xfff), SYNC),
	ATS_CASE("inv.range", "5.1", 0, "S: the size is in the address", START(0, 0),
		 CMD(INV_IOTLB(DEV, PASID, 0), UINT64_C(0xff000) | INV_S | GN),
		 TOLD(DEV, PASID, 0, 0x1fffff)),
	ATS_CASE("inv.all", "5.1", 0, "S with ones throughout: everything", START(0, 0),
		 CMD(INV_IOTLB(DEV, PASID, 0), UINT64_C(0x7ffffffffffff000) | INV_S | GN),
		 TOLD(DEV, PASID, 0, ONES)),
	ATS_CASE("inv.wait", "5.3", 0, "COMPLETION_WAIT waits for the device", START(1, 0),
		 CMD(INV_IOTLB(DEV, PASID, 0), IOVA | GN), CMD(CWAIT(CWAIT_S, SEM), 7), LD(SEM, 0),
		 RD(R_CMD_HEAD, 0x10), ANSWER(DEV), LD(SEM, 7), RD(R_CMD_HEAD, 0x20)),
	ATS_CASE("inv.wait_two", "5.3", 0, "and for all that it was told", START(1, 0),
		 CMD(INV_IOTLB(DEV, PASID, 0), IOVA | GN),
		 CMD(INV_IOTLB(DEV, PASID, 0), (IOVA + 0x1000) | GN), CMD(CWAIT(CWAIT_S, SEM), 7),
		 ANSWER(DEV), LD(SEM, 0), ANSWER(DEV), LD(SEM, 7)),
	ATS_CASE("inv.max_pend", "5", 0, "MaxPend: a queue of one", START(1, 0),
		 CMD(INV_IOTLB(DEV, PASID, 1), IOVA | GN),
		 CMD(INV_IOTLB(DEV, PASID, 1), (IOVA + 0x1000) | GN), RD(R_CMD_HEAD, 0x10),
		 TOLD(DEV, PASID, IOVA, IOVA + 0xfff), ANSWER(DEV),
		 TOLD(DEV, PASID, IOVA + 0x1000, IOVA + 0x1fff), RD(R_CMD_HEAD, 0x20), ANSWER(DEV)),
	ATS_CASE("inv.time_out", "6.2", 124, "no answer within InvTimeOut: event 7, and on",
		 START(1, INV_TIME_OUT_1MS), CMD(INV_IOTLB(DEV, PASID, 0), IOVA | GN),
		 CMD(CWAIT(CWAIT_S, SEM), 7), PASS, LD(SEM, 7), EVENT(EV(7, DEV, 0, 0), RING)),
	ATS_CASE("inv.nobody", "6.2", 124, "nor from a device that is not there",
		 START(0, INV_TIME_OUT_1MS), CMD(INV_IOTLB(0x77, PASID, 0), IOVA | GN), SYNC,
		 EVENT(EV(7, 0x77, 0, 0), RING)),
	ATS_CASE("inv.reset", "5.3", 0, "a reset waits for nobody", START(1, 0),
		 CMD(INV_IOTLB(DEV, PASID, 0), IOVA | GN), CMD(CWAIT(CWAIT_S, SEM), 7), RESET,
		 UP(0), SYNC),
	ILLEGAL("inv", 1, INV_IOTLB(DEV, 0, 0), 0, GENMASK(11, 3) | BIT(1), "op 4: reserved bits"),
	ILLEGAL("prefetch0", 0, OPCODE(6) | DEV, 0, GENMASK(23, 16) | GENMASK(59, 52),
		"op 6: reserved bits"),
	ILLEGAL("prefetch1", 1, OPCODE(6) | DEV, 0, BIT(1) | BIT(3) | GENMASK(11, 5),
		"op 6: reserved bits of the second word"),
	ILLEGAL("complete0", 0, COMPLETE(DEV, 0), 0, GENMASK(31, 16) | GENMASK(59, 52),
		"op 7: reserved bits"),
	ILLEGAL("complete1", 1, COMPLETE(DEV, 0), 0,
		GENMASK(1, 0) | GENMASK(31, 3) | GENMASK(43, 41) | GENMASK(63, 48),
		"op 7: reserved bits of the second word"),
	ATS_CASE("prefetch", "5", 0, "PREFETCH_IOMMU_PAGES is taken", START(0, 0),
		 CMD(OPCODE(6) | DEV | GENMASK(31, 24) | PASID << 32, IOVA | 1 | GN | 0x10), SYNC,
		 MAP(P(DEV), IOVA, 8, RW, PAGE_A)),

	ATS_CASE("translate", "7.7", 0, "a translation request is told page and permission",
		 START(0, 0), TRANSLATE(P(DEV), IOVA + 8, RW, PAGE_A, 0x1000, RW),
		 ST(GENTRY(1, IOVA), PAGE_A | G_P | G_U),
		 TRANSLATE(P(DEV), IOVA, RW, PAGE_A, 0x1000, R), ST(GENTRY(1, IOVA), 0),
		 TRANSLATE(P(DEV), IOVA, RW, 0, 0, 0)),
	ATS_CASE("translate.i", "7.7", 0, "I=0: INVALID_DEVICE_REQUEST, TR", START(0, 0),
		 ENTRY_OF(0, 0), FLUSH_DTE(DEV), NO_TRANSLATION(P(DEV), IOVA),
		 EVENT(EV_GUEST(8, DEV, PASID, 0x300), IOVA), NO_TRANSLATION(DEV, IOVA),
		 EVENT(EV(8, DEV, 0, 0x300), IOVA)),
	ATS_CASE("translate.v", "7.7", 0, "V=0, and TV=0", START(0, 0), DTE(DEV, 0, DTE1_I, 0, 0),
		 FLUSH_DTE(DEV), NO_TRANSLATION(DEV, IOVA), EVENT(EV(8, DEV, 0, 0x300), IOVA),
		 DTE(DEV, DTE_V, DTE1_I, 0, 0), FLUSH_DTE(DEV), NO_TRANSLATION(DEV, IOVA),
		 EVENT(EV(8, DEV, 0, 0x300), IOVA)),
	ATS_CASE("translate.outside", "7.7", 0, "a requester beyond the device table", UP(0),
		 NO_TRANSLATION(DEVTAB_LIMIT, IOVA), EVENT(EV(8, DEVTAB_LIMIT, 0, 0x500), IOVA)),
	ATS_CASE("translate.off", "7.1", 0, "IommuEn=0: nobody answers, nothing is logged",
		 START(0, 0), CLEAR(C_IOMMU_EN), NO_TRANSLATION(DEV, IOVA), SET(C_IOMMU_EN)),
	ATS_CASE("translated", "7.7", 0, "a translated request passes with I=1", START(0, 0),
		 TRANSLATED(DEV, PAGE_B, 1), ENTRY_OF(0, 0), FLUSH_DTE(DEV),
		 TRANSLATED(DEV, PAGE_B, 0), EVENT(EV_REQUEST(DEV, 1), PAGE_B)),

	ATS_CASE("ppr.entry", "4.5", 0, "an entry with PASID, and one without", START(0, 0),
		 PAGE_REQUEST(P(DEV), IOVA + 0x123, RW, 0x155, TAKEN),
		 LD(ENTRY_AT(0), PPR(DEV, PASID, 0x155, PPR_GN | PPR_US | PPR_R | PPR_W)),
		 LD(ENTRY_AT(0) + 8, IOVA), PAGE_REQUEST(DEV, IOVA, W, 0, TAKEN),
		 LD(ENTRY_AT(1), PPR(DEV, 0, 0, PPR_US | PPR_W)), RD4(R_PPR_TAIL, 0x20),
		 STATUS(ONES, S_RUN | S_PPR_RUN | S_PPR_INT)),
	ATS_CASE("ppr.msi", "6.3", 0, "PPRIntEn: one message an edge", START(0, 0),
		 SET(C_PPR_INT_EN | C_INT_CAP_XT_EN), WR(R_XT_PPR, XT(3, 0, 0, 0x51)),
		 PAGE_REQUEST(P(DEV), IOVA, R, 1, TAKEN), MESSAGE(MSI_ADDR(3, 0), 0x51),
		 PAGE_REQUEST(P(DEV), IOVA, R, 1, TAKEN), WR4(R_STATUS, S_PPR_INT),
		 PAGE_REQUEST(P(DEV), IOVA, R, 1, TAKEN), MESSAGE(MSI_ADDR(3, 0), 0x51)),
	ATS_CASE("ppr.overflow", "6.3", 122, "full: overflow, stopped; restart as Linux does it",
		 START(0, 0), TIMES(255, 1), PAGE_REQUEST(P(DEV), IOVA, R, 1, TAKEN),
		 STATUS(S_PPR_OVERFLOW | S_PPR_RUN, S_PPR_RUN),
		 PAGE_REQUEST(P(DEV), IOVA, R, 1, 15),
		 STATUS(S_PPR_OVERFLOW | S_PPR_RUN, S_PPR_OVERFLOW), RD4(R_PPR_TAIL, 0xff0),
		 WR4(R_PPR_HEAD, 0xff0), CLEAR(C_PPR_LOG_EN), SET(C_PPR_LOG_EN),
		 STATUS(S_PPR_RUN, 0), CLEAR(C_PPR_LOG_EN), WR4(R_STATUS, S_PPR_OVERFLOW),
		 SET(C_PPR_LOG_EN), STATUS(S_PPR_OVERFLOW | S_PPR_RUN, S_PPR_RUN),
		 PAGE_REQUEST(P(DEV), IOVA, R, 2, TAKEN), RD4(R_PPR_TAIL, 0),
		 LD(ENTRY_AT(255), PPR(DEV, PASID, 2, PPR_GN | PPR_US | PPR_R))),
	ATS_CASE("ppr.off", "7.7", 0, "without PPREn or PPRLogEn: a failure at once", START(0, 0),
		 CLEAR(C_PPR_LOG_EN), STATUS(S_PPR_RUN, 0), PAGE_REQUEST(P(DEV), IOVA, R, 1, 15),
		 SET(C_PPR_LOG_EN), CLEAR(C_PPR_EN), STATUS(S_PPR_RUN, 0),
		 PAGE_REQUEST(P(DEV), IOVA, R, 1, 15), RD4(R_PPR_TAIL, 0)),
	ATS_CASE("ppr.not_allowed", "6.2", 0, "DTE.PPR=0: INVALID_PPR_REQUEST, answered",
		 START(0, 0), ENTRY_OF(0, DTE1_I), FLUSH_DTE(DEV),
		 PAGE_REQUEST(P(DEV), IOVA + 4, R, 9, 1),
		 EVENT(BAD_PPR(DEV, PASID, 9, RX | BAD_GN), IOVA + 4),
		 PAGE_REQUEST(DEV, IOVA, R, 9, 1), EVENT(BAD_PPR(DEV, 0, 9, RX), IOVA),
		 RD4(R_PPR_TAIL, 0)),
	ATS_CASE("ppr.base_running", "3.2", 26, "base and tail with PPRLogRun: ignored",
		 START(0, 0), PAGE_REQUEST(DEV, IOVA, R, 0, TAKEN),
		 WR(R_PPR_BASE, PPR_LOG | RING_LENGTH(9)), RD(R_PPR_BASE, PPR_LOG | RING_LENGTH(8)),
		 WR4(R_PPR_TAIL, 0), RD4(R_PPR_TAIL, 0x10)),
	CODE(0, 0),
	CODE(1, 1),
	CODE(15, 15),
	CODE(5, 15),
	ATS_CASE("complete.no_pasid", "5", 0, "GN=0: a response without PASID", START(0, 0),
		 CMD(COMPLETE(DEV, PASID), COMPLETE_1(0x1ff, 0)), RESPONSE(DEV, NOBODY, 0x1ff, 0)),
	ATS_CASE("complete.nobody", "5", 123, "of an unknown device: ignored", START(0, 0),
		 CMD(COMPLETE(0x77, PASID), COMPLETE_1(1, 0)), SYNC),
};

CASE_GROUP(ats_cases, cases);
