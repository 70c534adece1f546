/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small guest for the tests of the AMD IOMMU engine: memory, and tables written in the words of
 * 48882, with none of the engine's own definitions.
 */
#ifndef POSTERN_TESTS_AMD_UNIT_H
#define POSTERN_TESTS_AMD_UNIT_H

#include <criterion/criterion.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "iommufd/amd/engine.h"
#include "postern/bits.h"

#define RAM_SIZE  0x1000000ull	 /* from GPA 0 */
#define HIGH_BASE 0x100000000ull /* a second region */
#define HIGH_SIZE 0x100000ull
#define HOLE	  0x80000000ull /* no memory here */

#define SEM	 0x5000ull
#define DEVTAB	 0x100000ull /* 2 MiB */
#define CMDBUF	 0x400000ull /* 512 KiB: the longest ring */
#define EVTLOG	 0x480000ull /* the same */
#define INTTAB	 0x600000ull /* 32 KiB */
#define TABLES	 0x700000ull /* page tables, one after another */
#define UNIT_BDF 0x0010
#define DEV	 0x0108 /* 01:01.0 */

#define R_DEVTAB     0x0
#define R_CMD_BASE   0x8
#define R_EVT_BASE   0x10
#define R_CONTROL    0x18
#define R_EXCL_BASE  0x20
#define R_EXCL_LIMIT 0x28
#define R_EFR	     0x30
#define R_PPR_BASE   0x38
#define R_XT	     0x170
#define R_XT_PPR     0x178
#define R_EFR2	     0x1a0
#define R_CMD_HEAD   0x2000
#define R_CMD_TAIL   0x2008
#define R_EVT_HEAD   0x2010
#define R_EVT_TAIL   0x2018
#define R_STATUS     0x2020
#define R_PPR_HEAD   0x2030
#define R_PPR_TAIL   0x2038

#define C_IOMMU	  BIT(0)
#define C_EVT	  BIT(2)
#define C_EVTINT  BIT(3)
#define C_CWINT	  BIT(4)
#define C_COH	  BIT(10)
#define C_CMD	  BIT(12)
#define C_PPRLOG  BIT(13)
#define C_PPRINT  BIT(14)
#define C_PPR	  BIT(15)
#define C_GT	  BIT(16)
#define C_GA	  BIT(17)
#define C_TRP	  BIT(58)
#define C_XT	  BIT(50)
#define C_XTINT	  BIT(51)
#define C_RUNNING (C_IOMMU | C_EVT | C_CMD | C_COH)

#define S_OVERFLOW BIT(0)
#define S_EVTINT   BIT(1)
#define S_CWINT	   BIT(2)
#define S_EVTRUN   BIT(3)
#define S_CMDRUN   BIT(4)
#define S_PPROVER  BIT(5)
#define S_PPRINT   BIT(6)
#define S_PPRRUN   BIT(7)

#define RW_BITS (BIT(61) | BIT(62)) /* IR and IW, in a DTE and in page tables */

struct unit {
	struct guest_memory gm;
	struct amd_iommu_engine *e;
	unsigned msis, messages;
	struct msi_msg message;
	uint64_t tail, next_table;

	struct amd_iommu_listener listener;
	unsigned devices, pages, interrupts, interrupts_all;
	uint16_t device, domain, interrupt;
	uint64_t iova, last;
};

static inline void put64(struct unit *u, uint64_t gpa, uint64_t value)
{
	cr_assert_eq(guest_memory_store64(&u->gm, gpa, value), 0);
}

static inline uint64_t get64(struct unit *u, uint64_t gpa)
{
	uint64_t value = 0;

	cr_assert_eq(guest_memory_load64(&u->gm, gpa, &value), 0);
	return value;
}

static inline void reg_set(struct unit *u, uint16_t offset, uint64_t value)
{
	cr_assert_eq(amd_iommu_engine_set(u->e, offset, value), 0, "set %x", offset);
}

static inline uint64_t reg_get(struct unit *u, uint16_t offset)
{
	uint64_t value = 0;

	cr_assert_eq(amd_iommu_engine_get(u->e, offset, &value), 0, "get %x", offset);
	return value;
}

static inline void unit_msi(void *opaque)
{
	((struct unit *)opaque)->msis++;
}

static inline void unit_message(void *opaque, const struct msi_msg *msg)
{
	((struct unit *)opaque)->messages++;
	((struct unit *)opaque)->message = *msg;
}

static inline void unit_device_changed(struct amd_iommu_listener *l, uint16_t devid)
{
	struct unit *u = container_of(l, struct unit, listener);

	u->devices++;
	u->device = devid;
}

static inline void unit_pages_changed(struct amd_iommu_listener *l, uint16_t domain, uint64_t iova,
				      uint64_t last)
{
	struct unit *u = container_of(l, struct unit, listener);

	u->pages++;
	u->domain = domain;
	u->iova = iova;
	u->last = last;
}

static inline void unit_interrupts_changed(struct amd_iommu_listener *l, uint16_t devid, bool all)
{
	struct unit *u = container_of(l, struct unit, listener);

	u->interrupts++;
	u->interrupts_all += all;
	u->interrupt = devid;
}

static inline uint8_t *unit_ram(uint64_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(p, MAP_FAILED);
	return p;
}

/* A unit with registers as after power-on. With page requests it has IotlbSup too. */
static inline void unit_new_features(struct unit *u, uint64_t efr, uint64_t efr2)
{
	struct amd_iommu_config config = {
		.memory = &u->gm,
		.features = {.efr = efr, .efr2 = efr2, .iotlb_sup = efr & 2},
		.devid = UNIT_BDF};

	*u = (struct unit){.next_table = TABLES};
	u->gm.count = 2;
	u->gm.region[0] = (struct guest_region){
		.gpa = 0, .size = RAM_SIZE, .host = unit_ram(RAM_SIZE), .fd = -1};
	u->gm.region[1] = (struct guest_region){
		.gpa = HIGH_BASE, .size = HIGH_SIZE, .host = unit_ram(HIGH_SIZE), .fd = -1};
	cr_assert_eq(amd_iommu_engine_new(&config, &u->e), 0);
	amd_iommu_engine_set_interrupts(u->e, u, unit_msi, unit_message);
	u->listener.device_changed = unit_device_changed;
	u->listener.pages_changed = unit_pages_changed;
	u->listener.interrupts_changed = unit_interrupts_changed;
	amd_iommu_engine_listen(u->e, &u->listener);
}

static inline void unit_new(struct unit *u, uint64_t efr)
{
	unit_new_features(u, efr, 0);
}

static inline void unit_free(struct unit *u)
{
	amd_iommu_engine_unlisten(u->e, &u->listener);
	amd_iommu_engine_free(u->e);
	for (unsigned i = 0; i < u->gm.count; i++)
		munmap(u->gm.region[i].host, u->gm.region[i].size);
}

/* The same with a full device table, 512-entry rings, and CONTROL set. */
static inline void unit_start_features(struct unit *u, uint64_t efr, uint64_t efr2,
				       uint64_t control)
{
	unit_new_features(u, efr, efr2);
	reg_set(u, R_DEVTAB, DEVTAB | 0x1ff);
	reg_set(u, R_CMD_BASE, CMDBUF | 9ull << 56);
	reg_set(u, R_EVT_BASE, EVTLOG | 9ull << 56);
	reg_set(u, R_CONTROL, control);
}

static inline void unit_start(struct unit *u, uint64_t control)
{
	unit_start_features(u, AMD_IOMMU_EFR_DEFAULT, 0, control);
}

static inline void dte_set(struct unit *u, uint16_t devid, uint64_t q0, uint64_t q1, uint64_t q2,
			   uint64_t q3)
{
	const uint64_t q[4] = {q0, q1, q2, q3};

	for (unsigned i = 0; i < 4; i++)
		put64(u, DEVTAB + devid * 32ull + i * 8, q[i]);
}

/* Appends a command without ringing. */
static inline void cmd_put(struct unit *u, uint64_t word0, uint64_t word1)
{
	const uint64_t bytes = 16ull << (reg_get(u, R_CMD_BASE) >> 56);

	put64(u, CMDBUF + u->tail, word0);
	put64(u, CMDBUF + u->tail + 8, word1);
	u->tail = (u->tail + 16) % bytes;
}

static inline void cmd_ring(struct unit *u)
{
	reg_set(u, R_CMD_TAIL, u->tail);
}

static inline void cmd(struct unit *u, uint64_t word0, uint64_t word1)
{
	cmd_put(u, word0, word1);
	cmd_ring(u);
	cr_assert_eq(reg_get(u, R_CMD_HEAD), u->tail, "the ring did not drain");
}

static inline void inv_devtab(struct unit *u, uint16_t devid)
{
	cmd(u, 2ull << 60 | devid, 0);
}

static inline void inv_all_pages(struct unit *u, uint16_t domain)
{
	cmd(u, 3ull << 60 | (uint64_t)domain << 32, 0x7ffffffffffff000 | 1);
}

static inline unsigned events(struct unit *u)
{
	return (reg_get(u, R_EVT_TAIL) - reg_get(u, R_EVT_HEAD)) / 16;
}

/* Takes the oldest event, which must be this one. */
static inline void expect_event(struct unit *u, const char *what, uint64_t word0, uint64_t word1)
{
	uint64_t head = reg_get(u, R_EVT_HEAD), got0, got1;

	cr_assert_neq(head, reg_get(u, R_EVT_TAIL), "%s: no event", what);
	got0 = get64(u, EVTLOG + head);
	got1 = get64(u, EVTLOG + head + 8);
	cr_assert(got0 == word0 && got1 == word1, "%s: event %016lx %016lx, wanted %016lx %016lx",
		  what, got0, got1, word0, word1);
	reg_set(u, R_EVT_HEAD, head + 16);
}

static inline uint64_t event_word(unsigned code, unsigned flags, uint16_t domain, uint16_t devid)
{
	return (uint64_t)code << 60 | (uint64_t)flags << 48 | (uint64_t)domain << 32 | devid;
}

/* With GN: a PASID instead of the domain. */
static inline uint64_t guest_event_word(unsigned code, unsigned flags, uint32_t pasid,
					uint16_t devid)
{
	return event_word(code, flags | 1, pasid & 0xffff, devid) | (uint64_t)(pasid >> 16) << 16;
}

static inline uint64_t table_new(struct unit *u)
{
	uint64_t gpa = u->next_table;

	u->next_table += 4096;
	return gpa;
}

/* Writes ENTRY at IOVA in a table of LEVEL. */
static inline void pte_set(struct unit *u, uint64_t table, unsigned level, uint64_t iova,
			   uint64_t entry)
{
	uint64_t index = iova >> (12 + 9 * (level - 1)) & (level == 6 ? 127 : 511);

	put64(u, table + index * 8, entry);
}

static inline uint64_t pde(uint64_t table, unsigned next_level)
{
	return table | RW_BITS | (uint64_t)next_level << 9 | 1;
}

/* A chain of tables from ROOT of level MODE down to a table of level LEVEL for IOVA. */
static inline uint64_t tables_down(struct unit *u, uint64_t root, unsigned mode, unsigned level,
				   uint64_t iova)
{
	while (mode > level) {
		uint64_t next = table_new(u);

		pte_set(u, root, mode, iova, pde(next, mode - 1));
		root = next;
		mode--;
	}
	return root;
}

#endif
