// SPDX-License-Identifier: Apache-2.0
/*
 * Two assigned devices that follow the tables of an AMD IOMMU: after each invalidation of all, an
 * IOAS is what a fresh walk says. The kernel beneath is the unit tests' fake, which refuses
 * overlaps and knows what is mapped.
 */
#include "tests/fuzz/amd.h"
#include "tests/unit/vfio_shadow_fixture.h"

#define CHUNKS_MAX 1024u

static struct amd_fuzz fuzz;

static void engine_state(struct vfio_dma *d, uint16_t devid, struct amd_device_state *state)
{
	(void)d;
	amd_iommu_engine_device_state(fuzz.u.e, devid, state);
}

static int engine_walk(struct vfio_dma *d, const struct amd_device_state *state, uint64_t iova,
		       uint64_t last, uint64_t budget, vfio_leaf_visit *visit, void *opaque)
{
	(void)d;
	if (budget > 4 * FUZZ_WALK)
		budget = 4 * FUZZ_WALK;
	return amd_iommu_engine_walk(fuzz.u.e, state, iova, last, budget, visit, opaque);
}

static void follow_device(struct amd_iommu_listener *l, uint16_t devid)
{
	(void)l;
	vfio_follow_device_changed(&follow, devid);
}

static void follow_pages(struct amd_iommu_listener *l, uint16_t domain, uint64_t iova,
			 uint64_t last)
{
	(void)l;
	vfio_follow_pages_changed(&follow, domain, iova, last);
}

static void follow_all(struct amd_iommu_listener *l)
{
	(void)l;
	vfio_follow_all_changed(&follow);
}

static struct amd_iommu_listener listener = {
	.device_changed = follow_device,
	.pages_changed = follow_pages,
	.all_changed = follow_all,
};

static void start(unsigned features)
{
	static struct vfio_dma_ops ops;

	ops = fake_ops;
	ops.device_state = engine_state;
	ops.walk = engine_walk;
	amd_fuzz_new(&fuzz, features, C_RUNNING | (features & 0x10 ? C_GT : 0));
	memset(&dma, 0, sizeof(dma));
	dma.ops = &ops;
	dma.memory = &fuzz.u.gm;
	space[BASE].live = space[BLOCKED].live = true;
	vfio_follow_init(&follow, &dma);
	follow.base = BASE;
	follow.blocked = BLOCKED;
	follow.limit = CHUNKS_MAX;
	for (unsigned i = 0; i < DEVICES; i++) {
		follower[i] = (struct vfio_follower){
			.devid = amd_devid[i], .device = &device_ioas[i], .name = "test"};
		require(!amd_iommu_engine_watch(fuzz.u.e, amd_devid[i]));
		require(!vfio_follow_add(&follow, &follower[i]));
	}
	amd_iommu_engine_listen(fuzz.u.e, &listener);
}

static void stop(void)
{
	amd_iommu_engine_unlisten(fuzz.u.e, &listener);
	for (unsigned i = 0; i < DEVICES; i++)
		amd_iommu_engine_unwatch(fuzz.u.e, amd_devid[i]);
	teardown();
	amd_fuzz_free(&fuzz);
}

struct mirror {
	uint32_t ioas;
	uint64_t bytes;
	unsigned leaves;
};

/* What a leaf says of RAM, page by page where the leaf is not too large for that. */
static int expect_leaf(void *opaque, uint64_t iova, uint64_t gpa, uint64_t length, unsigned prot)
{
	struct mirror *m = opaque;
	const uint64_t ends[] = {0, length - PAGE, length / 2 & ~(PAGE - 1)};

	m->leaves++;
	for (unsigned i = 0; i < ARRAY_SIZE(ends); i++)
		if (guest_memory_at(&fuzz.u.gm, gpa + ends[i], PAGE))
			expect(m->ioas, iova + ends[i], gpa + ends[i], prot);
		else
			require(!at(m->ioas, iova + ends[i]), "%llx leads nowhere",
				(unsigned long long)(iova + ends[i]));
	for (unsigned i = 0; i < fuzz.u.gm.count; i++) {
		const struct guest_region *r = &fuzz.u.gm.region[i];
		const uint64_t from = gpa > r->gpa ? gpa : r->gpa;
		const uint64_t end = gpa + length, r_end = r->gpa + r->size;

		if (from < (end < r_end ? end : r_end))
			m->bytes += (end < r_end ? end : r_end) - from;
	}
	return 0;
}

/* INVALIDATE_IOMMU_ALL, after which each device is where its entry says. */
static void check(void)
{
	struct unit *u = &fuzz.u;

	for (unsigned i = 0; i < FUZZ_SPACES; i++)
		dma_hold_end(&fuzz.hold[i]);
	reg_set(u, R_CONTROL, fuzz.control & ~C_EVT);
	cmd(u, 8ull << 60, 0);
	for (unsigned i = 0; i < DEVICES; i++) {
		struct amd_device_state state;
		struct mirror m = {.ioas = device_ioas[i]};
		uint64_t mapped = 0;
		int ret;

		amd_iommu_engine_device_state(u->e, amd_devid[i], &state);
		if (state.kind == AMD_TRANSLATION_BLOCKED && !state.excluded)
			require(m.ioas == BLOCKED, "a blocked device is in %u", m.ioas);
		if (state.kind == AMD_TRANSLATION_IDENTITY && state.prot == RW)
			require(m.ioas == BASE, "an untranslated device is in %u", m.ioas);
		/* Blocked because its tables are too many, or of another domain with the same id.
		 */
		if (!amd_device_has_tables(&state) || m.ioas <= BLOCKED || !follower[i].domain ||
		    memcmp(&follower[i].domain->shadow.state, &state, sizeof(state)))
			continue;
		ret = amd_iommu_engine_walk(u->e, &state, 0, ~0ull, 4 * FUZZ_WALK, expect_leaf, &m);
		for (unsigned n = 0; n < space[m.ioas].count; n++)
			mapped += space[m.ioas].mapping[n].length;
		require(ret == -E2BIG || mapped == m.bytes,
			"device %u: %llu bytes are mapped, tables say %llu", i,
			(unsigned long long)mapped, (unsigned long long)m.bytes);
	}
	reg_set(u, R_CONTROL, fuzz.control);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	start(input_u8(&in));
	while (in.left) {
		switch (input_pick(&in, 8)) {
		case 0:
		case 1:
			amd_op_dte(&fuzz, &in);
			break;
		case 2:
		case 3:
			amd_op_table(&fuzz, &in);
			break;
		case 4:
		case 5:
			amd_op_command(&fuzz, &in);
			break;
		case 6:
			if (input_pick(&in, 8) == 0)
				fail_map_at = map_calls + 1 + input_pick(&in, 4);
			else
				amd_op_exclude(&fuzz, &in);
			break;
		default: /* not too often: it reads every table */
			if (!input_pick(&in, 4))
				check();
		}
		fail_map_at = fail_map_at < map_calls ? 0 : fail_map_at;
	}
	fail_map_at = 0;
	check();
	stop();
	return 0;
}
