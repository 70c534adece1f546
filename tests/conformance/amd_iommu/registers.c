// SPDX-License-Identifier: Apache-2.0
/* Registers that exist: reset values, fields, widths, and what follows a write. */
#include "tests/conformance/amd_iommu/suite.h"

#define ONES	  (~UINT64_C(0))
#define BASE_MASK UINT64_C(0x000ffffffffff000)
#define RING_MASK (BASE_MASK | UINT64_C(0x0f00000000000000))
#define XT_MASK	  UINT64_C(0xff0001ffffffff04)

#define RESETS(id, at, want)                                                                       \
	CASE("reg.reset." id, "3.2", 36, "its value at power-on, and after a reset", RD(at, want), \
	     WR(at, UINT64_C(0x0505050505555555)), RESET, RD(at, want))
#define FIELDS(id, at, mask)                                                                       \
	CASE("reg.fields." id, "3.2", 0, "fields keep what is written, reserved bits read 0",      \
	     WR(at, ONES), RD(at, mask), WR(at, 0), RD(at, 0),                                     \
	     WR(at, UINT64_C(0x5a5a5a5a5a5a5a5a)), RD(at, (mask)&UINT64_C(0x5a5a5a5a5a5a5a5a)))
#define SPLIT(id, at, value)                                                                       \
	CASE("reg.split." id, "3.1", 23, "two 4-byte writes are one of 8", HALVES(at, value),      \
	     SAVE(8, at), WR(at, 0), WR(at, value), SAME(8, at), WR(at, 0),                        \
	     HALVES_SWAPPED(at, value), SAME(8, at))
/* A half leaves the other alone, and can be read alone. */
#define HALF(id, at, value)                                                                        \
	CASE("reg.half." id, "3.1", 23, "a half keeps the other, and reads alone", WR(at, value),  \
	     RD4(at, (uint32_t)(value)), RD4((at) + 4, (value) >> 32), WR4(at, 0),                 \
	     RD(at, (value) >> 32 << 32), WR(at, value), WR4((at) + 4, 0),                         \
	     RD(at, (uint32_t)(value)))
/* Widths and alignments that are not architected read 0 and write nothing. */
#define WIDTHS(id, at, value)                                                                      \
	CASE("reg.width." id, "3.1", 24, "1 and 2 bytes, and unaligned: 0, and ignored",           \
	     WR(at, value), RD_W(1, at, 0), RD_W(2, at, 0), RD_W(2, (at) + 2, 0),                  \
	     RD_W(1, (at) + 7, 0), RD_W(4, (at) + 2, 0), RD_W(4, (at) + 1, 0),                     \
	     RD_W(8, (at) + 4, 0), WR_W(1, at, 0x77), WR_W(2, at, 0x7777), WR_W(2, (at) + 6, 1),   \
	     WR_W(1, (at) + 3, 0xff), WR_W(4, (at) + 2, ONES), WR_W(8, (at) + 4, ONES),            \
	     RD(at, value))
#define CONTROL_KEPT(id, bits)                                                                     \
	CASE("control.kept." id, "3.3", 0, "keeps what is written", WR(R_CONTROL, bits),           \
	     RD_BITS(R_CONTROL, bits, bits), WR(R_CONTROL, 0), RD_BITS(R_CONTROL, bits, 0))
#define XT_ROUTE(id, dest, dm, delivery, vector)                                                   \
	CASE("xt.message." id, "2.3", 0, "the XT register composes the message",                   \
	     WR(R_XT_GENERAL, XT(dest, dm, delivery, vector)),                                     \
	     UP(C_COMWAIT_INT | C_INT_CAP_XT_EN), CMD(CWAIT(CWAIT_I, 0), 0),                       \
	     MESSAGE(MSI_ADDR(dest, dm), MSI_DATA(delivery, vector)))

static const struct conformance_case cases[] = {
	RESETS("devtab", R_DEVTAB, 0),
	RESETS("cmd_base", R_CMD_BASE, RING_LENGTH(8)),
	RESETS("evt_base", R_EVT_BASE, RING_LENGTH(8)),
	RESETS("excl_base", R_EXCL_BASE, 0),
	RESETS("excl_limit", R_EXCL_LIMIT, 0),
	RESETS("efr", R_EFR, 0x8cc),
	RESETS("efr2", R_EFR2, 0),
	RESETS("xt_general", R_XT_GENERAL, 0),
	RESETS("xt_ppr", R_XT_PPR, 0),
	RESETS("xt_ga", R_XT_GA, 0),
	RESETS("cmd_head", R_CMD_HEAD, 0),
	RESETS("cmd_tail", R_CMD_TAIL, 0),
	RESETS("evt_head", R_EVT_HEAD, 0),
	RESETS("evt_tail", R_EVT_TAIL, 0),
	RESETS("status", R_STATUS, 0),
	CASE("reg.reset.control", "3.3", 36, "nothing but Coherent at power-on and after a reset",
	     RD_BITS(R_CONTROL, ~C_COHERENT, 0), UP(C_GA_EN | C_XT_EN), RESET,
	     RD_BITS(R_CONTROL, ~C_COHERENT, 0), STATUS(ONES, 0)),
	CASE("reg.reset.running", "3.2", 36, "a reset stops the ring and forgets its place", UP(0),
	     SYNC, SYNC, RESET, STATUS(ONES, 0), RD(R_CMD_HEAD, 0), RD(R_CMD_TAIL, 0), ST(SEM, 0),
	     WR4(R_CMD_TAIL, 0x10), LD(SEM, 0), RD(R_CMD_HEAD, 0)),
	CASE("reg.reset.translation", "7.1", 36, "after a reset DMA passes, with no stale entry",
	     DTE(DEV, DTE_VALID, DOM, 0, 0), UP(0), REFUSED(DEV, PAGE_A, 8, RD_ACCESS), RESET,
	     MAP(DEV, PAGE_A, 8, RW_ACCESS, PAGE_A)),

	FIELDS("devtab", R_DEVTAB, BASE_MASK | 0x1ff),
	FIELDS("cmd_base", R_CMD_BASE, RING_MASK),
	FIELDS("evt_base", R_EVT_BASE, RING_MASK),
	FIELDS("excl_base", R_EXCL_BASE, BASE_MASK | 3),
	FIELDS("excl_limit", R_EXCL_LIMIT, BASE_MASK),
	FIELDS("xt_general", R_XT_GENERAL, XT_MASK),
	FIELDS("xt_ppr", R_XT_PPR, XT_MASK),
	FIELDS("xt_ga", R_XT_GA, XT_MASK),
	CASE("reg.fields.pointers", "3.2", 28, "head and tail hold bits 18:4",
	     WR(R_CMD_BASE, RING | RING_LENGTH(15)), WR(R_EVT_BASE, LOG | RING_LENGTH(15)),
	     WR(R_CMD_HEAD, ONES), RD(R_CMD_HEAD, 0x7fff0), WR(R_CMD_TAIL, ONES),
	     RD(R_CMD_TAIL, 0x7fff0), WR(R_EVT_HEAD, ONES), RD(R_EVT_HEAD, 0x7fff0),
	     WR(R_EVT_TAIL, ONES), RD(R_EVT_TAIL, 0x7fff0)),
	CASE("reg.read_only.efr", "3.4", 35, "EFR and EFR2 ignore writes of any width",
	     WR(R_EFR, 0), WR(R_EFR, ONES), WR4(R_EFR, 0), WR4(R_EFR + 4, ONES), WR(R_EFR2, ONES),
	     WR4(R_EFR2, ONES), WR4(R_EFR2 + 4, ONES), RD(R_EFR, 0x8cc), RD(R_EFR2, 0),
	     RD4(R_EFR, 0x8cc), RD4(R_EFR + 4, 0)),
	CASE("reg.read_only.misc", "3.2", 0, "150h mirrors the capability's information",
	     RD4(R_MISC_INFO, 2u << 5 | 52u << 8 | 64u << 15), RD4(R_MISC_INFO + 4, 0),
	     WR(R_MISC_INFO, ONES), RD(R_MISC_INFO, 2u << 5 | 52u << 8 | 64u << 15)),

	SPLIT("devtab", R_DEVTAB, DEVTAB | 0x1ff),
	SPLIT("cmd_base", R_CMD_BASE, UINT64_C(0x123456000) | RING_LENGTH(9)),
	SPLIT("evt_base", R_EVT_BASE, UINT64_C(0x9876543000) | RING_LENGTH(15)),
	SPLIT("excl_base", R_EXCL_BASE, UINT64_C(0x1200003000)),
	SPLIT("excl_limit", R_EXCL_LIMIT, UINT64_C(0x1200003000)),
	SPLIT("ppr_base", R_PPR_BASE, UINT64_C(0x123456000) | RING_LENGTH(9)),
	SPLIT("ga_base", R_GA_BASE, UINT64_C(0x123456000) | RING_LENGTH(9)),
	SPLIT("ga_tail_at", R_GA_TAIL_AT, UINT64_C(0x123456008)),
	SPLIT("control", R_CONTROL, C_XT_EN | C_GA_EN | C_COHERENT | C_EVT_INT_EN),
	SPLIT("xt_general", R_XT_GENERAL, XT(0x12345678, 1, 1, 0x99)),
	HALF("devtab", R_DEVTAB, UINT64_C(0x0004567800005007)),
	HALF("control", R_CONTROL, C_XT_EN | C_INT_CAP_XT_EN | C_GA_EN | C_EVT_INT_EN),
	HALF("xt_general", R_XT_GENERAL, XT(0x12345678, 0, 0, 0x99)),
	HALF("excl_base", R_EXCL_BASE, UINT64_C(0x0001200000003001)),
	WIDTHS("devtab", R_DEVTAB + 0, DEVTAB | 0x0f),
	WIDTHS("control", R_CONTROL, C_GA_EN | C_COHERENT),
	WIDTHS("xt_general", R_XT_GENERAL, XT(0x12345678, 0, 0, 0x99)),
	CASE("reg.width.doorbell", "3.1", 24, "a tail of 1 or 2 bytes is no doorbell", UP(0),
	     QUEUE(CWAIT(CWAIT_S, SEM), 7), WR_W(1, R_CMD_TAIL, 0x10), WR_W(2, R_CMD_TAIL, 0x10),
	     LD(SEM, 0), RD(R_CMD_HEAD, 0), DOORBELL, LD(SEM, 7)),
	CASE("reg.width.doorbell8", "3.1", 0, "a tail of 8 bytes is a doorbell too", UP(0),
	     QUEUE(CWAIT(CWAIT_S, SEM), 7), WR(R_CMD_TAIL, 0x10), LD(SEM, 7)),
	CASE("reg.width.status", "3.1", 24, "narrow writes of Status clear nothing", UP(0),
	     CMD(CWAIT(CWAIT_I, 0), 0), WR_W(1, R_STATUS, S_COMWAIT), WR_W(2, R_STATUS, S_COMWAIT),
	     WR_W(4, R_STATUS + 2, ONES), STATUS(S_COMWAIT, S_COMWAIT)),
	CASE("reg.window.end", "3.1", 24, "accesses up to and over the window's end do no harm",
	     RD(WINDOW_LENGTH - 8, 0), RD4(WINDOW_LENGTH - 4, 0), WR(WINDOW_LENGTH - 8, ONES),
	     WR_W(8, WINDOW_LENGTH - 4, ONES), WR_W(4, WINDOW_LENGTH - 2, ONES),
	     WR_W(2, WINDOW_LENGTH - 1, ONES), RD_BITS(WINDOW_LENGTH - 4, 0, 0),
	     WR(WINDOW_LENGTH, ONES), RD(WINDOW_LENGTH - 8, 0), UP(0), SYNC),
	CASE("reg.window.before", "3.1", 24, "the doubleword before the window is not the unit's",
	     WR_W(8, -8, ONES), WR_W(4, -4, ONES), WR_W(2, -1, ONES), RD(R_DEVTAB, 0)),

	CONTROL_KEPT("ht_tun", UINT64_C(0x2)),
	CONTROL_KEPT("event_log", C_EVT_LOG_EN),
	CONTROL_KEPT("event_int", C_EVT_INT_EN),
	CONTROL_KEPT("comwait_int", C_COMWAIT_INT),
	CONTROL_KEPT("inv_timeout", UINT64_C(0xe0)),
	CONTROL_KEPT("pass_pw", UINT64_C(0x100)),
	CONTROL_KEPT("res_pass_pw", UINT64_C(0x200)),
	CONTROL_KEPT("coherent", C_COHERENT),
	CONTROL_KEPT("isoc", UINT64_C(0x800)),
	CONTROL_KEPT("cmd_buf", C_CMD_BUF_EN),
	CONTROL_KEPT("iommu", C_IOMMU_EN),
	CONTROL_KEPT("ga", C_GA_EN),
	CONTROL_KEPT("xt", C_XT_EN),
	CONTROL_KEPT("int_cap_xt", C_INT_CAP_XT_EN),

	CASE("status.w1c", "3.6", 31, "a written 1 clears, a 0 does not", UP(0),
	     CMD(CWAIT(CWAIT_I, 0), 0), WR4(R_STATUS, 0), STATUS(S_COMWAIT, S_COMWAIT),
	     WR4(R_STATUS, S_EVT_INT | S_EVT_OVERFLOW), STATUS(S_COMWAIT, S_COMWAIT),
	     WR4(R_STATUS, S_COMWAIT), STATUS(S_COMWAIT, 0)),
	CASE("status.w1c_one", "3.6", 31, "one bit goes, its neighbour stays",
	     DTE(DEV, DTE_VALID, DOM, 0, 0), UP(0), CMD(CWAIT(CWAIT_I, 0), 0),
	     REFUSED(DEV, 0, 8, RD_ACCESS), EVENT(EV_FAULT(DEV, DOM, F_PR | F_PE), 0),
	     STATUS(7, S_COMWAIT | S_EVT_INT), WR(R_STATUS, S_COMWAIT), STATUS(7, S_EVT_INT)),
	CASE("status.read_only", "3.6", 31, "Run bits neither come nor go by a write",
	     WR(R_STATUS, ONES), RD(R_STATUS, 0), UP(0), WR(R_STATUS, ONES),
	     RD(R_STATUS, S_CMD_RUN | S_EVT_RUN), WR4(R_STATUS + 4, ONES),
	     RD(R_STATUS, S_CMD_RUN | S_EVT_RUN), SYNC),

	XT_ROUTE("physical", 0x12345678, 0, 0, 0x41),
	XT_ROUTE("logical", 0x00010002, 1, 0, 0x42),
	XT_ROUTE("lowest", 0x0f, 1, 1, 0xef),
	XT_ROUTE("dest_high", 0xff000000, 0, 0, 0x30),
	XT_ROUTE("dest_low", 0x000000ff, 0, 0, 0x30),
	CASE("xt.vector0", "2.3", 39, "vector 0: no message, the status bit all the same",
	     UP(C_COMWAIT_INT | C_INT_CAP_XT_EN), CMD(CWAIT(CWAIT_I, 0), 0),
	     STATUS(S_COMWAIT, S_COMWAIT)),
	CASE("xt.masked", "2.3", 39, "a register of 0 masks: destination or not",
	     WR(R_XT_GENERAL, XT(0x12345678, 1, 1, 0)), UP(C_COMWAIT_INT | C_INT_CAP_XT_EN),
	     CMD(CWAIT(CWAIT_I, 0), 0), WR(R_XT_GENERAL, 0), CMD(CWAIT(CWAIT_I, 0), 0)),
	CASE("xt.others_silent", "2.3", 0, "the PPR and GA registers do not carry general causes",
	     WR(R_XT_PPR, XT(1, 0, 0, 0x41)), WR(R_XT_GA, XT(1, 0, 0, 0x42)),
	     UP(C_COMWAIT_INT | C_INT_CAP_XT_EN), CMD(CWAIT(CWAIT_I, 0), 0)),
	CASE("xt.rerouted", "2.3", 0, "a new route is used from the next message on",
	     WR(R_XT_GENERAL, XT(1, 0, 0, 0x41)), UP(C_COMWAIT_INT | C_INT_CAP_XT_EN),
	     CMD(CWAIT(CWAIT_I, 0), 0), MESSAGE(MSI_ADDR(1, 0), 0x41), WR4(R_STATUS, S_COMWAIT),
	     WR(R_XT_GENERAL, XT(2, 0, 0, 0x43)), CMD(CWAIT(CWAIT_I, 0), 0),
	     MESSAGE(MSI_ADDR(2, 0), 0x43)),
};

CASE_GROUP(register_cases, cases);
