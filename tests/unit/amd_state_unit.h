/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a machine with a vIOMMU does between two looks at its state: acts that are the same on any
 * machine for the same words.
 */
#ifndef AMD_STATE_UNIT_H
#define AMD_STATE_UNIT_H

#include <errno.h>

#include "viommu_machine.h"

#define RING	 UINT64_C(0x10000) /* two places of 64 KiB for rings and logs */
#define LOG	 UINT64_C(0x20000)
#define SEM	 UINT64_C(0x30000)
#define DEVTAB	 UINT64_C(0x40000) /* 4 KiB: 128 requesters */
#define DEVTAB2	 UINT64_C(0x41000)
#define TABLES	 UINT64_C(0x50000)
#define INTTAB	 UINT64_C(0x60000)
#define PAGES	 UINT64_C(0x100000)
#define DTE_V	 UINT64_C(3)
#define RW_BITS	 (BIT(61) | BIT(62))
#define RUNNING	 (BIT(0) | BIT(2) | BIT(12))
#define INT_BITS (BIT(3) | BIT(4))

static struct amd_viommu_state saved, other, power_on;

static uint64_t seed;

static uint64_t any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void save(struct viommu_machine *m, struct amd_viommu_state *state)
{
	memset(state, 0xa5, sizeof(*state));
	cr_assert_eq(amd_viommu_save(m->viommu, state), 0);
}

/* ---- tables, which stay as they are: what is cached of them is no state ---- */

static void dte(struct viommu_machine *m, uint64_t table, unsigned devid, uint64_t q0, uint64_t q1,
		uint64_t q2)
{
	put64(m, table + devid * 32, q0);
	put64(m, table + devid * 32 + 8, q1);
	put64(m, table + devid * 32 + 16, q2);
}

static void tables(struct viommu_machine *m)
{
	const uint64_t remap = 1 | 4 << 1 | UINT64_C(2) << 60 | INTTAB;

	/* Two levels: 16 pages, every third missing, every fifth read-only. */
	put64(m, TABLES, (TABLES + 0x1000) | 1 << 9 | 1 | RW_BITS);
	for (unsigned i = 0; i < 16; i++)
		put64(m, TABLES + 0x1000 + i * 8,
		      (PAGES + i * 4096) | (i % 3 != 0) | BIT(61) | (i % 5 ? BIT(62) : 0));
	/* Translated; blocked; blocked but for the first report; identity for reads. */
	dte(m, DEVTAB, machine_devid(0), DTE_V | 2 << 9 | TABLES | RW_BITS, 1, remap);
	dte(m, DEVTAB, machine_devid(1), DTE_V, 2, remap | 1 << 5);
	dte(m, DEVTAB, machine_devid(2), DTE_V, BIT(33) | 3, 1 | UINT64_C(1) << 60);
	dte(m, DEVTAB, machine_devid(3), DTE_V | BIT(61), BIT(33) | 4, 1);
	dte(m, DEVTAB2, machine_devid(0), DTE_V, BIT(33) | 5, 1);
	dte(m, DEVTAB2, machine_devid(1), DTE_V | 2 << 9 | TABLES | RW_BITS, 1, remap);
	/* Good in both formats, or in neither. */
	for (unsigned i = 0; i < 16; i++)
		put64(m, INTTAB + i * 8, i % 3 ? 0x00310301 : 0x00410200);
}

/* ---- one act, the same on any machine for the same words ---- */

struct act {
	unsigned kind;
	uint64_t a, b, c;
};

static struct act act_any(void)
{
	return (struct act){any() % 16, any(), any(), any()};
}

static const uint16_t offsets[] = {0x0,	   0x8,	   0x10,   0x18,   0x18,   0x20,  0x28,
				   0x38,   0x100,  0x158,  0x170,  0x178,  0x180, 0x2000,
				   0x2008, 0x2010, 0x2018, 0x2020, 0x2030, 0x2038};

static void bring_up(struct viommu_machine *m, const struct act *act)
{
	wr(m, 0x18, 8, 0);
	wr(m, 0x0, 8, act->a % 4 ? DEVTAB : DEVTAB2);
	wr(m, 0x8, 8, RING | (8 + act->b % 2) << 56);
	wr(m, 0x10, 8, LOG | (8 + act->c % 3) << 56);
	wr(m, 0x170, 8, 0x41ull << 32 | 1 << 8);
	wr(m, 0x2020, 4, 7);
	config_wr(m, MSI_CAP + 4, 4, 0xfee01000);
	config_wr(m, MSI_CAP + 12, 2, 0x61);
	config_wr(m, MSI_CAP + 2, 2, act->a >> 8 & 1);
	wr(m, 0x18, 8, RUNNING | INT_BITS | (act->b & (BIT(17) | BIT(50) | BIT(51))));
}

static void any_register(struct viommu_machine *m, const struct act *act)
{
	static const unsigned widths[] = {8, 8, 4, 4, 2, 1};
	uint64_t offset = offsets[act->a % ARRAY_SIZE(offsets)], value = act->b;

	/* Of what points into memory only the low bits are at random, so that tables stay. */
	if (offset == 0)
		value = (act->b % 2 ? DEVTAB : DEVTAB2) | act->c % 2;
	else if (offset == 8 || offset == 0x10)
		value = (offset == 8 ? RING : LOG) | (act->c % 11) << 56;
	wr(m, offset + (act->c >> 32) % 2 * 4, widths[act->c % ARRAY_SIZE(widths)], value);
}

/* Commands behind the tail, mostly good ones. */
static void commands(struct viommu_machine *m, const struct act *act)
{
	const uint64_t base = rd(m, 0x8, 8), bytes = 16ull << (base >> 56);
	const uint64_t word0[] = {
		1ull << 60 | SEM | 1,
		1ull << 60 | (SEM + 8) | 3,
		1ull << 60 | 2,
		2ull << 60 | machine_devid(act->b % DEVICES),
		3ull << 60 | (act->b % 6) << 32,
		5ull << 60 | machine_devid(act->b % DEVICES),
		8ull << 60,
		act->a % 4 ? 8ull << 60 : act->b, /* now and then, none */
	};
	uint64_t tail = rd(m, 0x2008, 8);

	if (base >> 56 < 8)
		return;
	for (unsigned i = 0; i < 1 + act->a % 5; i++) {
		uint64_t slot = (base & ~GENMASK(63, 56)) + tail;

		const uint64_t word = word0[(act->b >> (3 * i)) % ARRAY_SIZE(word0)];

		/* There may be no memory. */
		(void)guest_memory_store64(&m->memory, slot, word);
		(void)guest_memory_store64(&m->memory, slot + 8, word >> 60 == 1 ? act->c : 0);
		tail = (tail + 16) & (bytes - 1);
	}
	wr(m, 0x2008, 4, tail);
}

/* What the act gave, in a word. */
static uint64_t dma(struct viommu_machine *m, const struct act *act)
{
	struct dma_segment seg = {0};
	int rc = dma_space_map(m->ds[act->a % DEVICES], act->b % 0x14000, 1 + act->c % 4096,
			       1 + act->c % 3, &seg, 1);

	return rc == 1 ? (uint64_t)((uint8_t *)seg.host - m->ram) ^ seg.len << 32 : (uint64_t)rc;
}

static uint64_t remap(struct viommu_machine *m, const struct act *act)
{
	const struct msi_msg in = {0xfee00000 | (act->b & 0xff004), act->c & 0x71f};
	struct msi_msg out = {0};
	int rc =
		amd_iommu_engine_remap(m->engine, machine_devid(act->a % DEVICES), &in, &out, true);

	return rc ? (uint64_t)rc : out.addr ^ (uint64_t)out.data << 32;
}

static uint64_t act_on(struct viommu_machine *m, const struct act *act)
{
	switch (act->kind) {
	case 0:
		bring_up(m, act);
		return 0;
	case 1:
	case 2:
		any_register(m, act);
		return 0;
	case 3:
		wr(m, 0x2020, 4, act->a & 7);
		return 0;
	case 4: /* Software has read what was logged, or left no room but for a few. */
		wr(m, 0x2010, 4, rd(m, 0x2018, 4) + act->a % 4 * 16);
		return 0;
	case 5: /* A log, or a ring, off and on. */
		wr(m, 0x18, 8, rd(m, 0x18, 8) & ~(act->a % 2 ? BIT(2) : BIT(12)));
		wr(m, 0x18, 8, rd(m, 0x18, 8) | BIT(2) | BIT(12));
		return 0;
	case 6:
		config_wr(m, MSI_CAP + 2, 2, act->a % 2);
		return 0;
	case 7:
	case 8:
		return remap(m, act);
	case 9:
	case 10:
	case 11:
		commands(m, act);
		return 0;
	default:
		return dma(m, act);
	}
}

static void expect_same(struct viommu_machine *a, struct viommu_machine *b, const char *when)
{
	for (uint64_t offset = 0; offset < AMD_VIOMMU_WINDOW_SIZE; offset += 8)
		cr_assert_eq(rd(a, offset, 8), rd(b, offset, 8), "%s: register %lx: %lx and %lx",
			     when, offset, rd(a, offset, 8), rd(b, offset, 8));
}

/* B becomes what A is: memory, and the vIOMMU's state. */
static void copy_to(struct viommu_machine *a, struct viommu_machine *b)
{
	save(a, &saved);
	memcpy(b->ram, a->ram, RAM_SIZE);
	cr_assert_eq(amd_viommu_restore(b->viommu, &saved), 0);
}

#endif
