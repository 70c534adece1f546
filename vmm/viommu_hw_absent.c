// SPDX-License-Identifier: Apache-2.0
/* accel=hw without assigned devices in the build. */
#include <errno.h>
#include <stdio.h>

#include "vmm/viommu.h"

int viommu_hw_climb(struct viommu *viommu, char why[VIOMMU_WHY_SIZE])
{
	(void)viommu;
	snprintf(why, VIOMMU_WHY_SIZE, "this postern was built without CONFIG_VFIO");
	return -EOPNOTSUPP;
}

void viommu_hw_free(struct viommu *viommu)
{
	(void)viommu;
}

void viommu_hw_metrics(const struct viommu *viommu, struct metrics *out)
{
	(void)viommu;
	(void)out;
}
