/* SPDX-License-Identifier: Apache-2.0 */
/* One vIOMMU, all that it is connected to, and a record of what it does there. */
#ifndef POSTERN_CONFORMANCE_UNIT_H
#define POSTERN_CONFORMANCE_UNIT_H

#include "devices/amd_iommu/amd_viommu.h"
#include "postern/dma_ats.h"
#include "tests/conformance/amd_iommu/suite.h"

#define UNIT_SPACES   8
#define UNIT_CACHES   2
#define UNIT_TOLD     64 /* that a cache remembers */
#define UNIT_MESSAGES 64
#define UNIT_NOTES    64

struct unit_note {
	enum note_kind kind;
	uint64_t x, y, z;
};

/* A device with a translation cache, and what it was told. */
struct unit_cache {
	struct dma_atc atc;
	struct dma_space *ds;
	bool slow;
	struct dma_atc_invalidation invalidation[UNIT_TOLD];
	unsigned invalidations, looked_at, completed;
	struct {
		uint64_t pasid, group, code;
	} response[UNIT_TOLD];
	unsigned responses, responses_looked_at;
};

struct unit {
	const struct platform *platform;
	struct bus pio;
	struct pci_root *root;
	struct iommufd *ctx;
	struct amd_viommu *viommu;
	struct amd_iommu_engine *engine;
	struct msi_sink sink;
	struct amd_iommu_listener listener;
	struct {
		uint64_t who;
		struct dma_space *ds;
	} space[UNIT_SPACES];
	unsigned spaces;
	struct unit_cache cache[UNIT_CACHES];
	unsigned caches;
	uint64_t armed; /* when the unit wants to be told that time has passed, in ns from then */
	struct msi_msg message[UNIT_MESSAGES];
	unsigned messages; /* all; the array keeps the latest */
	struct unit_note note[UNIT_NOTES];
	unsigned notes;
};

/* 0 or -errno. */
int unit_open_features(struct unit *u, const struct platform *p,
		       const struct amd_iommu_features *features);
void unit_close(struct unit *u);
/* WHO: a requester id, or WITH_PASID(). */
struct dma_space *unit_space(struct unit *u, uint64_t who);
/* A step of a device with a cache; what is wrong in COMPLAINT. */
bool cache_step(struct unit *u, const struct step *s, const uint64_t *a,
		char complaint[COMPLAINT_MAX]);
/* COUNT acts, the same for the same SEED. */
void storm(struct unit *u, uint64_t seed, uint64_t count);

#endif
