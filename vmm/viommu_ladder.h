/* SPDX-License-Identifier: Apache-2.0 */
/* Who answers behind a vIOMMU: the best of those that can, found by having each try. */
#ifndef POSTERN_VMM_VIOMMU_LADDER_H
#define POSTERN_VMM_VIOMMU_LADDER_H

#include <stdbool.h>

#include "devices/amd_iommu/amd_viommu.h"
#include "vmm/machine.h"

struct viommu_rung {
	enum viommu_accel accel;
	const char *name;
	bool by_name; /* only who asks for it gets it */
	/*
	 * 0: it answers. Otherwise -errno, everything as it was before, and WHY in one clause; an
	 * empty one where no other rung will do better and the reason has been said.
	 */
	int (*climb)(void *opaque, char why[VIOMMU_WHY_SIZE]);
};

/*
 * The first of COUNT RUNGS, best first, that ACCEL allows and that can: auto tries all that are not
 * by name, any other ACCEL is one rung. One line in the log says which auto took and why not the
 * one above, or why there is none.
 */
int viommu_ladder_climb(const struct viommu_rung *rungs, unsigned count, enum viommu_accel accel,
			unsigned segment, void *opaque, enum viommu_accel *taken);

#endif
