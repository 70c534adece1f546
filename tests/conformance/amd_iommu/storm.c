// SPDX-License-Identifier: Apache-2.0
/*
 * A hostile guest at random. Addresses that the unit writes to lie in the suite's part of memory or
 * outside RAM: the rest belongs to the guest that makes the accesses.
 */
#include <string.h>

#include "tests/conformance/amd_iommu/unit.h"

/* xorshift64* (Vigna): small, and the same everywhere. */
static uint64_t next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(0x2545f4914f6cdd1d);
}

static uint64_t pick(uint64_t *state, const uint64_t *from, size_t count)
{
	return from[next(state) % count];
}

static uint64_t some_address(uint64_t *state)
{
	const uint64_t base[] = {RING, LOG,    DEVTAB, IRT,    TABLE(1), TABLE(3),
				 SEM,  PAGE_A, HOLE,   WINDOW, RAM_SIZE, RAM_SIZE - 0x1000};

	return pick(state, base, ARRAY_SIZE(base)) + (next(state) & 0xff8);
}

static uint64_t some_value(uint64_t *state)
{
	const uint64_t value[] = {0, ~UINT64_C(0), 1, 0x7fff0, 0x10, next(state), next(state)};

	return pick(state, value, ARRAY_SIZE(value));
}

static void register_write(struct unit *u, uint64_t *state)
{
	static const uint64_t base[] = {R_DEVTAB, R_CMD_BASE, R_EVT_BASE};
	static const uint64_t other[] = {R_CONTROL,  R_CONTROL,	 R_CONTROL,  R_EXCL_BASE,
					 R_EFR,	     R_PPR_BASE, R_GA_BASE,  R_XT_GENERAL,
					 R_CMD_HEAD, R_CMD_TAIL, R_CMD_TAIL, R_EVT_HEAD,
					 R_EVT_TAIL, R_STATUS,	 0x2038,     0x3ff8};
	const struct platform *p = u->platform;
	const uint64_t width[] = {1, 2, 4, 8, 8, 4};
	uint64_t at, value, size = pick(state, width, ARRAY_SIZE(width));

	if (next(state) % 4 == 0) {
		at = pick(state, base, ARRAY_SIZE(base));
		value = some_address(state) | (next(state) & 0x1ff) |
			RING_LENGTH(next(state) & 0xf);
	} else {
		at = pick(state, other, ARRAY_SIZE(other)) +
		     (next(state) % 8 ? 0 : next(state) % 8);
		value = some_value(state);
	}
	p->access->write(p->opaque, WINDOW + at, (unsigned)size,
			 value & width_mask((unsigned)size));
}

static void enable(struct unit *u, uint64_t *state)
{
	const uint64_t bits[] = {C_GA_EN, C_XT_EN, C_EVT_INT_EN | C_INT_CAP_XT_EN, 0};
	const struct platform *p = u->platform;

	p->access->write(p->opaque, WINDOW + R_CONTROL, 8,
			 C_IOMMU_EN | C_CMD_BUF_EN | C_EVT_LOG_EN |
				 pick(state, bits, ARRAY_SIZE(bits)));
}

/* A table entry or a command, half plausible, somewhere in the suite's memory. */
static void memory_write(struct unit *u, uint64_t *state)
{
	const uint64_t word[] = {
		next(state),
		some_address(state) | PR | PTE_RW | NEXT(next(state) & 7),
		some_address(state) | DTE_VALID | DTE_RW | DTE_MODE(next(state) & 7),
		some_address(state) | DTE2_REMAP | DTE2_LEN(next(state) & 0xf),
		CWAIT(CWAIT_S | CWAIT_I, some_address(state)),
		INV_PAGES(DOM),
		INV_ALL,
	};
	const uint64_t gpa = OWN_BASE + (next(state) & (OWN_SIZE - 8));
	const uint64_t at[] = {gpa, RING + (next(state) & 0xff0),
			       DTE_AT(DEV) + (next(state) & 0x18),
			       TABLE(1) + (next(state) & 0x2ff8), IRT + (next(state) & 0x7f8)};
	const uint64_t value = pick(state, word, ARRAY_SIZE(word));
	void *to = guest_memory_at(u->platform->memory, pick(state, at, ARRAY_SIZE(at)), 8);

	if (to)
		memcpy(to, &value, 8);
}

static void device_act(struct unit *u, uint64_t *state)
{
	const uint64_t devid[] = {DEV, DEV2, 0xffff, UNIT_ID};
	const uint64_t iova[] = {next(state), next(state) >> 24, some_address(state), ~UINT64_C(7)};
	const uint16_t id = (uint16_t)pick(state, devid, ARRAY_SIZE(devid));
	struct dma_space *ds = unit_space(u, id);
	struct dma_segment seg[4];
	struct msi_msg out, in = {.addr = UINT64_C(0xfee00000) | (next(state) & 0xffffc),
				  .data = (uint32_t)next(state) & 0x7ff};

	if (next(state) % 2)
		amd_iommu_engine_remap(u->engine, id, &in, &out, true);
	else if (ds)
		dma_space_map(ds, pick(state, iova, ARRAY_SIZE(iova)), 1 + (next(state) & 0x3fff),
			      1 + (unsigned)(next(state) % 3), seg, ARRAY_SIZE(seg));
}

void storm(struct unit *u, uint64_t seed, uint64_t count)
{
	static void (*const act[])(struct unit *, uint64_t *) = {
		register_write, register_write, enable,	    memory_write,
		memory_write,	memory_write,	device_act, device_act};
	uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;

	while (count--)
		act[next(&state) % ARRAY_SIZE(act)](u, &state);
}
