/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of guest (v2) tables share: device table entries, tables and expectations. */
#ifndef POSTERN_TESTS_AMD_GUEST_UNIT_H
#define POSTERN_TESTS_AMD_GUEST_UNIT_H

#include <errno.h>

#include "amd_unit.h"

#define V    BIT(0)
#define TV   BIT(1)
#define IR   BIT(61)
#define IW   BIT(62)
#define GIOV BIT(54)
#define GV   BIT(55)
#define PR   BIT(0)
#define P    BIT(0)
#define W    BIT(1)
#define US   BIT(2)
#define A    BIT(5)
#define D    BIT(6)
#define PS   BIT(7)
#define PAT  BIT(12)
#define NX   BIT(63)
#define USER (P | W | US)

#define DOM	  0x77
#define PAGE	  0x40000ull /* where pages of the tests lie */
#define BIG	  0x200000ull
#define IOVA	  0x5000ull
#define GCR3	  0x6f0000ull
#define NO_PASID  ~0u
#define PASID_0	  0u
#define BASIC_V2  (V | TV | IR | IW | GV | GIOV)
#define C_V2	  (C_RUNNING | C_GT)
#define MODE(n)	  ((uint64_t)(n) << 9)
#define GLX(n)	  ((uint64_t)(n) << 56)
#define HAD(n)	  ((uint64_t)(n) << 7)
#define LEVELS(n) ((uint64_t)((n)-4) << 54)
#define FULL	  (AMD_IOMMU_EFR_V2 & ~BIT(1)) /* no page requests */

static inline struct dma_space *space_new(struct unit *u, uint32_t pasid)
{
	struct dma_space *ds = NULL;

	if (pasid == NO_PASID)
		cr_assert_eq(amd_iommu_dma_space_new(u->e, DEV, &ds), 0);
	else
		cr_assert_eq(amd_iommu_dma_space_new_pasid(u->e, DEV, pasid, &ds), 0);
	return ds;
}

/* The DTE of DEV: Q0 and Q2, and the GCR3 table's address where its three parts belong. */
static inline void guest_dte(struct unit *u, uint64_t q0, uint64_t q2, uint64_t gcr3)
{
	dte_set(u, DEV, q0 | (gcr3 >> 12 & 7) << 58,
		DOM | (gcr3 >> 15 & 0xffff) << 16 | gcr3 >> 31 << 43, q2, 0);
}

/* Guest tables from ROOT of LEVELS down to one of level LEVEL. */
static inline uint64_t guest_tables_down(struct unit *u, uint64_t root, unsigned levels,
					 unsigned level, uint64_t iova)
{
	for (; levels > level; levels--) {
		uint64_t next = table_new(u);

		pte_set(u, root, levels, iova, next | USER);
		root = next;
	}
	return root;
}

/* A unit whose DEV has guest tables of 4 levels for requests without PASID, and PASIDs 0 to 511. */
static inline uint64_t guest_start(struct unit *u, uint64_t efr)
{
	uint64_t root;

	unit_start_features(u, efr, 0, C_V2);
	root = table_new(u);
	put64(u, GCR3, root | 1);
	guest_dte(u, BASIC_V2, LEVELS(4), GCR3);
	return root;
}

static inline void expect_gpa(struct unit *u, struct dma_space *ds, const char *what, uint64_t iova,
			      unsigned access, uint64_t gpa)
{
	struct dma_segment seg = {0};

	cr_assert_eq(dma_space_map(ds, iova, 1, access, &seg, 1), 1, "%s: refused, %u events", what,
		     events(u));
	cr_assert_eq(seg.host, guest_memory_at(&u->gm, gpa, 1), "%s: GPA %lx", what,
		     (uint64_t)((uint8_t *)seg.host - u->gm.region[0].host));
}

static inline void expect_fault(struct unit *u, struct dma_space *ds, const char *what,
				uint64_t iova, unsigned access, uint64_t word0, uint64_t word1)
{
	struct dma_segment seg;

	cr_assert_eq(dma_space_map(ds, iova, 1, access, &seg, 1), -EFAULT, "%s: let through", what);
	expect_event(u, what, word0, word1);
	cr_assert_eq(events(u), 0, "%s: one event only", what);
}

#endif
