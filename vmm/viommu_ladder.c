// SPDX-License-Identifier: Apache-2.0
/* The ladder of accel=. It is climbed before the guest starts, and never left afterwards. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/viommu_ladder.h"

static int climb(const struct viommu_rung *rung, void *opaque, char why[VIOMMU_WHY_SIZE])
{
	const unsigned said = log_errors();
	int rc;

	why[0] = '\0';
	rc = rung->climb(opaque, why);
	if (rc && !why[0] && log_errors() == said)
		snprintf(why, VIOMMU_WHY_SIZE, "its parts: %s", strerror(-rc));
	return rc;
}

static int only(const struct viommu_rung *rung, unsigned segment, void *opaque)
{
	char why[VIOMMU_WHY_SIZE];
	int rc = climb(rung, opaque, why);

	if (rc && why[0])
		log_error("--viommu amd,accel=%s,segment=%u: %s%s", rung->name, segment, why,
			  rung->accel == VIOMMU_ACCEL_SOFT
				  ? ""
				  : "; accel=soft does without (postern doctor says what this host "
				    "offers)");
	return rc;
}

int viommu_ladder_climb(const struct viommu_rung *rungs, unsigned count, enum viommu_accel accel,
			unsigned segment, void *opaque, enum viommu_accel *taken)
{
	const struct viommu_rung *above = NULL;
	char why[VIOMMU_WHY_SIZE], before[VIOMMU_WHY_SIZE] = "";
	int rc = -EOPNOTSUPP;

	for (unsigned i = 0; i < count; i++) {
		const struct viommu_rung *rung = &rungs[i];

		if (accel != VIOMMU_ACCEL_AUTO) {
			if (rung->accel != accel)
				continue;
			*taken = accel;
			return only(rung, segment, opaque);
		}
		if (rung->by_name)
			continue;
		rc = climb(rung, opaque, why);
		if (!rc) {
			*taken = rung->accel;
			log_info("--viommu amd,accel=auto takes %s%s%s%s%s", rung->name,
				 above ? "; not " : "", above ? above->name : "", above ? ": " : "",
				 before);
			return 0;
		}
		if (!why[0])
			return rc;
		above = rung;
		memcpy(before, why, sizeof(before));
	}
	if (above)
		log_error("--viommu amd,accel=auto,segment=%u: nobody can answer: %s", segment,
			  before);
	else
		log_error("--viommu amd,segment=%u: there is no such rung", segment);
	return rc;
}
