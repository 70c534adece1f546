/* SPDX-License-Identifier: Apache-2.0 */
/* What holds of an engine's rings, whatever a guest does. For users of a header with the R_ names.
 */
#ifndef POSTERN_FUZZ_AMD_RINGS_H
#define POSTERN_FUZZ_AMD_RINGS_H

#include "iommufd/amd/engine.h"
#include "tests/fuzz/fuzz.h"

static inline uint64_t amd_engine_reg(struct amd_iommu_engine *e, uint16_t offset)
{
	uint64_t value = 0;

	require(!amd_iommu_engine_get(e, offset, &value), "register %x is not there", offset);
	return value;
}

/* Both pointers of each ring inside it; a ring runs only where Control says so. */
static inline void amd_check_rings(struct amd_iommu_engine *e)
{
	static const struct {
		uint16_t base, head, tail;
		uint64_t enable, run;
	} rings[] = {{R_CMD_BASE, R_CMD_HEAD, R_CMD_TAIL, BIT(0) | BIT(12), BIT(4)},
		     {R_EVT_BASE, R_EVT_HEAD, R_EVT_TAIL, BIT(0) | BIT(2), BIT(3)},
		     {R_PPR_BASE, 0x2030, 0x2038, BIT(0) | BIT(13), BIT(7)}};
	const uint64_t control = amd_engine_reg(e, R_CONTROL), status = amd_engine_reg(e, R_STATUS);

	for (unsigned i = 0; i < ARRAY_SIZE(rings); i++) {
		const uint64_t log2 = amd_engine_reg(e, rings[i].base) >> 56 & 15;
		const uint64_t head = amd_engine_reg(e, rings[i].head);
		const uint64_t tail = amd_engine_reg(e, rings[i].tail);
		const uint64_t bytes = log2 < 8 ? 16 : 16ull << log2;

		require(head < bytes && tail < bytes && !(head & 15) && !(tail & 15),
			"ring %u of %llu bytes: head %llx tail %llx", i, (unsigned long long)bytes,
			(unsigned long long)head, (unsigned long long)tail);
		require(!(status & rings[i].run) || (control & rings[i].enable) == rings[i].enable,
			"ring %u runs with Control %llx", i, (unsigned long long)control);
	}
}

#endif
