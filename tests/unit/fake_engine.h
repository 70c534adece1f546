/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver for soft vIOMMUs that is a plain array of registers, so that a test sees what reached it
 * and can have it refuse. Its read-modify-write has no lock of its own: lost updates show whether
 * the library serialises calls.
 */
#ifndef TEST_FAKE_ENGINE_H
#define TEST_FAKE_ENGINE_H

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "iommufd/internal.h"

#define FAKE_COUNTER   0x3000 /* SET adds, not atomically */
#define FAKE_ABSENT    0x1000 /* no such register */
#define FAKE_REGISTERS (0x4000 / 8)

struct fake_engine {
	struct amd_iommu_config config;
	uint64_t reg[FAKE_REGISTERS];
	uint16_t last_index;
	uint64_t last_value;
	int refuse;  /* what SET returns */
	bool frozen; /* SET succeeds and changes nothing, as for the base of a running ring */
	unsigned resets;
};

static inline struct fake_engine *fake_engine(struct amd_iommu_engine *engine)
{
	return (struct fake_engine *)(void *)engine;
}

static inline int fake_create(const struct amd_iommu_config *config, struct amd_iommu_engine **out)
{
	struct fake_engine *fake = calloc(1, sizeof(*fake));

	if (!fake)
		return -ENOMEM;
	fake->config = *config;
	*out = (struct amd_iommu_engine *)(void *)fake;
	return 0;
}

static inline void fake_destroy(struct amd_iommu_engine *engine)
{
	free(fake_engine(engine));
}

static inline int fake_judge(uint16_t index)
{
	if (index % 8)
		return -EINVAL;
	return index / 8 < FAKE_REGISTERS && index != FAKE_ABSENT ? 0 : -EOPNOTSUPP;
}

static inline int fake_set(struct amd_iommu_engine *engine, uint16_t index, uint64_t value)
{
	struct fake_engine *fake = fake_engine(engine);
	int rc = fake_judge(index);

	if (rc)
		return rc;
	if (fake->refuse)
		return fake->refuse;
	fake->last_index = index;
	fake->last_value = value;
	if (index == FAKE_COUNTER) {
		uint64_t old = fake->reg[index / 8];

		sched_yield();
		value += old;
	}
	if (!fake->frozen)
		fake->reg[index / 8] = value;
	return 0;
}

static inline int fake_get(struct amd_iommu_engine *engine, uint16_t index, uint64_t *value)
{
	int rc = fake_judge(index);

	if (!rc)
		*value = fake_engine(engine)->reg[index / 8];
	return rc;
}

static const struct iommufd_soft_driver fake_driver = {
	.create = fake_create,
	.destroy = fake_destroy,
	.set = fake_set,
	.get = fake_get,
};

/* So that a tree without the engine links. */
#if !__has_include("iommufd/amd/engine.c")
int amd_iommu_engine_new(const struct amd_iommu_config *config, struct amd_iommu_engine **engine)
{
	return fake_create(config, engine);
}

void amd_iommu_engine_free(struct amd_iommu_engine *engine)
{
	fake_destroy(engine);
}

int amd_iommu_engine_set(struct amd_iommu_engine *engine, uint16_t offset, uint64_t value)
{
	return fake_set(engine, offset, value);
}

int amd_iommu_engine_get(struct amd_iommu_engine *engine, uint16_t offset, uint64_t *value)
{
	return fake_get(engine, offset, value);
}

void amd_iommu_engine_reset(struct amd_iommu_engine *engine)
{
	fake_engine(engine)->resets++;
}
#endif

#endif
