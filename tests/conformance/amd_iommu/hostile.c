// SPDX-License-Identifier: Apache-2.0
/* Structures laid over each other, and guests that do anything. */
#include "tests/conformance/amd_iommu/suite.h"

#define R	RD_ACCESS
#define RW	RW_ACCESS
#define IOVA	UINT64_C(0x12345000)
#define MSI	UINT64_C(0xfee00000)
#define BLOCKED DTE(DEV, DTE_VALID, DOM, 0, 0)
/* What a device resolved earlier must be given up after this. */
#define GOES_STALE(id, what, ...)                                                                  \
	CASE("stale." id, "7.8", 51, what, DTE(DEV, V1(3, DOM)), BUILD(3, IOVA, 1, PTE(PAGE_A)),   \
	     UP(0), MAP(DEV, IOVA, 8, RW, PAGE_A), MARK(DEV), __VA_ARGS__, STALE(DEV))
#define RANDOM(n)                                                                                  \
	CASE("storm." #n, "3.1", 128, "random registers, tables, commands and DMA", UP(0),         \
	     STORM(n, 400))

static const struct conformance_case cases[] = {
	GOES_STALE("dte", "INVALIDATE_DEVTAB_ENTRY", FLUSH_DTE(DEV)),
	GOES_STALE("pages", "INVALIDATE_IOMMU_PAGES of the page", CMD(INV_PAGES(DOM), IOVA)),
	GOES_STALE("domain", "INVALIDATE_IOMMU_PAGES of the domain",
		   CMD(INV_PAGES(DOM), INV_EVERYTHING)),
	GOES_STALE("all", "INVALIDATE_IOMMU_ALL", FLUSH_ALL),
	GOES_STALE("off", "IommuEn 1 to 0", CLEAR(C_IOMMU_EN)),
	GOES_STALE("on", "IommuEn 0 to 1", CLEAR(C_IOMMU_EN), MARK(DEV), SET(C_IOMMU_EN)),
	GOES_STALE("devtab", "a new device table", WR(R_DEVTAB, DEVTAB2 | DEVTAB_SIZE)),
	GOES_STALE("reset", "a reset", RESET),
	CASE("mirror.all", "5.2", 51, "INVALIDATE_IOMMU_ALL reaches entries and domains",
	     DTE(DEV, V1(3, DOM)), BUILD(3, IOVA, 1, PTE(PAGE_A)), UP(0),
	     MAP(DEV, IOVA, 8, RW, PAGE_A), FORGET, FLUSH_ALL, NOTE(NOTE_DEVICE, DEV, 0, 0),
	     NOTE(NOTE_ALL_INTERRUPTS, 0, 0, 0), NOTE(NOTE_PAGES, DOM, 0, ~UINT64_C(0))),
	CASE("mirror.devtab", "3.2", 0, "a new device table reaches entries and routes",
	     DTE(DEV, V1(3, DOM)), BUILD(3, IOVA, 1, PTE(PAGE_A)), UP(0),
	     MAP(DEV, IOVA, 8, RW, PAGE_A), FORGET, WR(R_DEVTAB, DEVTAB2 | DEVTAB_SIZE),
	     NOTE(NOTE_DEVICE, DEV, 0, 0), NOTE(NOTE_ALL_INTERRUPTS, 0, 0, 0)),
	CASE("mirror.reset", "3.2", 36, "a reset reaches entries and routes", UP(0),
	     MAP(DEV, PAGE_A, 8, RW, PAGE_A), FORGET, RESET, NOTE(NOTE_DEVICE, DEV, 0, 0),
	     NOTE(NOTE_ALL_INTERRUPTS, 0, 0, 0)),

	CASE("over.log_ring", "5", 42, "the event log over the command buffer", BLOCKED, UP(0),
	     CLEAR(C_EVT_LOG_EN), WR(R_EVT_BASE, RING | RING_LENGTH(8)), SET(C_EVT_LOG_EN),
	     LOG_NEW(RING, 8, 0), CMD(OPCODE(0), 0), STATUS(S_CMD_RUN, 0),
	     EVENT(EV_ILLEGAL_COMMAND, RING), RESTART, SYNC),
	CASE("over.wait_devtab", "5.3", 42, "a wait that stores into the device table", BLOCKED,
	     UP(0), CMD(CWAIT(CWAIT_S, DTE_AT(DEV)), DTE_VALID | DTE_RW), FLUSH_DTE(DEV),
	     MAP(DEV, PAGE_A, 8, RW, PAGE_A)),
	CASE("over.wait_log", "5.3", 42, "a wait that stores into the event log", BLOCKED, UP(0),
	     CMD(CWAIT(CWAIT_S, LOG), 7), REFUSED(DEV, 0, 8, R),
	     EVENT(EV_FAULT(DEV, DOM, 0x050), 0)),
	CASE("over.dma_ring", "7.3", 42, "a device that writes commands", UP(0),
	     DTE(DEV, DTE_VALID | DTE_RW, DOM, 0, 0), DMA_WRITE8(DEV, RING, CWAIT(CWAIT_S, SEM)),
	     DMA_WRITE8(DEV, RING + 8, 9), WR4(R_CMD_TAIL, 0x10), LD(SEM, 9)),
	CASE("over.table_is_dte", "7.3", 72, "a device table entry as root of a page table",
	     DTE(DEV, DTE_VALID | DTE_RW | DTE_MODE(1) | DEVTAB, DOM, 0, 0), UP(0),
	     REFUSED(DEV, 0xa0000, 8, R), EVENT(EV_FAULT(DEV, DOM, 0x010), 0xa0000)),
	CASE("over.irt_is_devtab", "7.5", 110, "the device table as remapping table",
	     DTE(DEV, DTE_V, DOM, DTE2_REMAP | DTE2_LEN(8) | DEVTAB, 0), UP(0),
	     NO_REMAP(DEV, MSI, 5), EVENT(EV_FAULT(DEV, DOM, F_I), MSI)),
	CASE("over.identity_end", "7.2", 77, "identity DMA over the end of RAM",
	     DTE(DEV, DTE_VALID | DTE_RW, DOM, 0, 0), UP(0), REFUSED(DEV, RAM_SIZE - 8, 16, R),
	     MAP(DEV, RAM_SIZE - 8, 8, R, RAM_SIZE - 8)),
	CASE("over.upper_halves", "3.1", 23, "upper halves of pointers and Status are 0", UP(0),
	     SYNC, WR4(R_CMD_TAIL + 4, 0x20), WR4(R_CMD_HEAD + 4, 0), WR4(R_EVT_TAIL + 4, ~0u),
	     RD4(R_CMD_TAIL + 4, 0), RD4(R_CMD_HEAD + 4, 0), RD4(R_STATUS + 4, 0),
	     RD(R_CMD_TAIL, 0x10), RD(R_CMD_HEAD, 0x10)),
	CASE("over.data_high", "7.5", 96, "data bits 31:16 are no part of a message",
	     DTE(DEV, DTE_V, DOM, DTE2_REMAP | DTE2_LEN(8) | IRT, 0),
	     ST4(IRT + 5 * 4, IRTE_EN | IRTE_DEST(3) | IRTE32_VEC(0x61)), UP(0),
	     REMAP(DEV, MSI, 0xffff0005, MSI_ADDR(3, 0), 0x61)),
	CASE("evt.restart_iommu", "6.3", 117, "IommuEn does not restart an overflowed log", BLOCKED,
	     UP(0), CLEAR(C_EVT_LOG_EN), WR(R_EVT_BASE, LOG | RING_LENGTH(8)),
	     WR4(R_EVT_HEAD, 0x10), SET(C_EVT_LOG_EN), REFUSED(DEV, 0, 8, R),
	     STATUS(S_EVT_OVERFLOW | S_EVT_RUN, S_EVT_OVERFLOW), WR4(R_STATUS, S_EVT_OVERFLOW),
	     CLEAR(C_IOMMU_EN), SET(C_IOMMU_EN), STATUS(S_EVT_RUN, 0), CLEAR(C_EVT_LOG_EN),
	     SET(C_EVT_LOG_EN), STATUS(S_EVT_RUN, S_EVT_RUN)),

	RANDOM(1),
	RANDOM(2),
	RANDOM(3),
	RANDOM(4),
	RANDOM(5),
	RANDOM(6),
	RANDOM(7),
	RANDOM(8),
};

CASE_GROUP(hostile_cases, cases);
