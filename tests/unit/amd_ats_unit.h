/* SPDX-License-Identifier: Apache-2.0 */
/* A device with a translation cache, as the AMD IOMMU engine's tests see it. */
#ifndef POSTERN_TESTS_AMD_ATS_UNIT_H
#define POSTERN_TESTS_AMD_ATS_UNIT_H

#include "amd_guest_unit.h"
#include "postern/dma_ats.h"

#define EFR_ATS	  AMD_IOMMU_EFR_FULL
#define PPRLOG	  0x4c0000ull
#define DTE_PPR	  BIT(52)
#define DTE_I	  BIT(32)
#define PASID	  0x123u
#define C_ATS	  (C_RUNNING | C_GT | C_PPR | C_PPRLOG)
#define TIMEOUT_1 (1ull << 5) /* of Control: 1 ms */

struct ats_device {
	struct dma_atc atc;
	struct dma_space *ds, *pasid;
	bool slow; /* completes invalidations later */
	unsigned invalidations, responses;
	struct dma_atc_invalidation inv;
	uint32_t response_pasid;
	unsigned response_index;
	enum dma_prg_response response;
	uint64_t armed;
};

static inline bool ats_invalidate(struct dma_atc *atc, const struct dma_atc_invalidation *inv)
{
	struct ats_device *d = container_of(atc, struct ats_device, atc);

	d->invalidations++;
	d->inv = *inv;
	return !d->slow;
}

static inline void ats_response(struct dma_atc *atc, uint32_t pasid, unsigned index,
				enum dma_prg_response response)
{
	struct ats_device *d = container_of(atc, struct ats_device, atc);

	d->responses++;
	d->response_pasid = pasid;
	d->response_index = index;
	d->response = response;
}

static const struct dma_atc_ops ats_ops = {ats_invalidate, ats_response};

/* A DTE of DEV with guest tables for PASIDs 0 to 511, ATS and page requests; Q0, Q1 are added. */
static inline void ats_dte(struct unit *u, uint64_t q0, uint64_t q1)
{
	dte_set(u, DEV, V | TV | IR | IW | GV | q0 | (GCR3 >> 12 & 7) << 58,
		DOM | (GCR3 >> 15 & 0xffff) << 16 | q1, 0, 0);
}

/* A unit, and DEV behind it with a cache and a space for PASID, whose root table is returned. */
static inline uint64_t ats_start(struct unit *u, struct ats_device *d, uint64_t control)
{
	uint64_t root;

	*d = (struct ats_device){.atc.ops = &ats_ops};
	unit_start_features(u, EFR_ATS, AMD_IOMMU_EFR2_FULL, 0);
	reg_set(u, R_PPR_BASE, PPRLOG | 8ull << 56);
	reg_set(u, R_CONTROL, control);
	root = table_new(u);
	put64(u, GCR3 + PASID * 8, root | 1);
	ats_dte(u, DTE_PPR, DTE_I);
	cr_assert_eq(amd_iommu_dma_space_new(u->e, DEV, &d->ds), 0);
	cr_assert_eq(dma_pasid_new(d->ds, PASID, &d->pasid), 0);
	cr_assert_eq(dma_atc_attach(d->ds, &d->atc), 0);
	return root;
}

static inline void ats_end(struct unit *u, struct ats_device *d)
{
	dma_atc_detach(d->ds, &d->atc);
	dma_pasid_free(d->pasid);
	amd_iommu_dma_space_free(d->ds);
	unit_free(u);
}

/* INVALIDATE_IOTLB_PAGES for one page of PASID, in the queue of the device's id. */
static inline void inv_iotlb(struct unit *u, uint16_t devid, unsigned max_pend, uint64_t iova)
{
	cmd_put(u,
		4ull << 60 | devid | (uint64_t)max_pend << 24 | (uint64_t)devid << 32 |
			(PASID >> 8 & 0xffull) << 16 | (PASID & 0xffull) << 48,
		iova | 4);
	cmd_ring(u);
}

static inline void cwait(struct unit *u, uint64_t value)
{
	cmd_put(u, 1ull << 60 | SEM | 1, value);
	cmd_ring(u);
}

#endif
