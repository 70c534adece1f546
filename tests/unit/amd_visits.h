/* SPDX-License-Identifier: Apache-2.0 */
/* What amd_iommu_engine_walk() hands over, kept in order; STOP_AT ends it with 17 after so many. */
#ifndef AMD_VISITS_H
#define AMD_VISITS_H

#include "amd_unit.h"

struct visits {
	unsigned count, stop_at;
	struct {
		uint64_t iova, gpa, length;
		unsigned prot;
	} visit[16];
};

static int record(void *opaque, uint64_t iova, uint64_t gpa, uint64_t length, unsigned prot)
{
	struct visits *v = opaque;

	cr_assert_lt(v->count, ARRAY_SIZE(v->visit));
	v->visit[v->count].iova = iova;
	v->visit[v->count].gpa = gpa;
	v->visit[v->count].length = length;
	v->visit[v->count++].prot = prot;
	return v->count == v->stop_at ? 17 : 0;
}

#endif
