/* SPDX-License-Identifier: Apache-2.0 */
/* One vIOMMU, all that it is connected to, and a record of what it does there. */
#ifndef POSTERN_CONFORMANCE_UNIT_H
#define POSTERN_CONFORMANCE_UNIT_H

#include "devices/amd_iommu/amd_viommu.h"
#include "tests/conformance/amd_iommu/suite.h"

#define UNIT_SPACES   8
#define UNIT_MESSAGES 64
#define UNIT_NOTES    64

struct unit_note {
	enum note_kind kind;
	uint64_t x, y, z;
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
/* COUNT acts, the same for the same SEED. */
void storm(struct unit *u, uint64_t seed, uint64_t count);

#endif
