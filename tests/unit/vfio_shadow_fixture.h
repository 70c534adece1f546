/* SPDX-License-Identifier: Apache-2.0 */
/* The fake engine and the fake kernel under the tests of the VFIO shadow. */
#ifndef POSTERN_VFIO_SHADOW_FIXTURE_H
#define POSTERN_VFIO_SHADOW_FIXTURE_H

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "devices/vfio/shadow.h"
#include "postern/dma_space.h"

#define PAGE	 UINT64_C(0x1000)
#define RW	 (DMA_READ | DMA_WRITE)
#define MAPPINGS 4096u
#define SPACES	 16u
#define DEVICES	 3u
#define RAM_LOW	 (64 * MIB)
#define RAM_HIGH (4 * GIB)
#define BASE	 1u
#define BLOCKED	 2u

struct mapping {
	uint64_t iova, gpa, length;
	unsigned prot;
};

/* The fake world. */
static struct vfio_dma dma;
static struct guest_memory memory = {
	.count = 2,
	.region = {{.gpa = 0, .size = RAM_LOW}, {.gpa = RAM_HIGH, .size = RAM_LOW}},
};
static struct vfio_follow follow;
static struct vfio_follower follower[DEVICES];
static struct amd_device_state device_state[DEVICES];
static uint32_t device_ioas[DEVICES]; /* 0: detached */

static struct mapping table[MAPPINGS]; /* the guest's leaves, ascending */
static unsigned leaves;

static struct {
	bool live;
	unsigned count;
	struct mapping mapping[MAPPINGS];
} space[SPACES];

static unsigned map_calls, unmap_calls, attach_calls, fail_map_at, fail_attach_ioas, fail_alloc;
static uint64_t walked; /* bytes asked for */
static int fail_walk;

static int fake_alloc(struct vfio_dma *d, uint32_t *ioas)
{
	(void)d;
	if (fail_alloc)
		return -ENOMEM;
	for (uint32_t i = BLOCKED + 1; i < SPACES; i++) {
		if (!space[i].live) {
			space[i].live = true;
			space[i].count = 0;
			*ioas = i;
			return 0;
		}
	}
	return -ENOSPC;
}

static void fake_destroy(struct vfio_dma *d, uint32_t ioas)
{
	(void)d;
	cr_assert(space[ioas].live);
	for (unsigned i = 0; i < DEVICES; i++)
		cr_assert_neq(device_ioas[i], ioas, "destroyed under a device");
	space[ioas].live = false;
	space[ioas].count = 0;
}

static int fake_map(struct vfio_dma *d, uint32_t ioas, uint64_t iova, uint64_t gpa, uint64_t length,
		    unsigned prot)
{
	(void)d;
	cr_assert(space[ioas].live);
	cr_assert(is_aligned(iova | gpa | length, PAGE) && length && prot && !(prot & ~RW));
	map_calls++;
	if (fail_map_at && map_calls == fail_map_at)
		return -ENOMEM;
	for (unsigned i = 0; i < space[ioas].count; i++) {
		const struct mapping *m = &space[ioas].mapping[i];

		if (iova < m->iova + m->length && m->iova < iova + length)
			return -EEXIST;
	}
	cr_assert_lt(space[ioas].count, MAPPINGS);
	space[ioas].mapping[space[ioas].count++] = (struct mapping){iova, gpa, length, prot};
	return 0;
}

static int fake_unmap(struct vfio_dma *d, uint32_t ioas, uint64_t iova, uint64_t length)
{
	(void)d;
	unmap_calls++;
	for (unsigned i = 0; i < space[ioas].count; i++) {
		struct mapping *m = &space[ioas].mapping[i];

		if (m->iova == iova && m->length == length) {
			*m = space[ioas].mapping[--space[ioas].count];
			return 0;
		}
	}
	return -ENOENT;
}

static int fake_attach(struct vfio_dma *d, void *device, uint32_t ioas)
{
	(void)d;
	cr_assert(space[ioas].live);
	attach_calls++;
	if (fail_attach_ioas && ioas == fail_attach_ioas)
		return -EINVAL;
	*(uint32_t *)device = ioas;
	return 0;
}

static void fake_detach(struct vfio_dma *d, void *device)
{
	(void)d;
	*(uint32_t *)device = 0;
}

static void fake_state(struct vfio_dma *d, uint16_t devid, struct amd_device_state *state)
{
	(void)d;
	*state = device_state[devid];
}

static int fake_walk(struct vfio_dma *d, const struct amd_device_state *state, uint64_t iova,
		     uint64_t last, uint64_t budget, vfio_leaf_visit *visit, void *opaque)
{
	(void)d;
	(void)budget;
	cr_assert(amd_device_has_tables(state));
	walked += last - iova;
	if (fail_walk)
		return fail_walk;
	for (unsigned i = 0; i < leaves; i++) {
		const struct mapping *m = &table[i];
		uint64_t m_last = m->iova + (m->length - 1);
		uint64_t from = m->iova > iova ? m->iova : iova;
		uint64_t to = m_last < last ? m_last : last;
		int ret;

		if (from > to)
			continue;
		ret = visit(opaque, from, m->gpa + (from - m->iova), to - from + 1, m->prot);
		if (ret)
			return ret;
	}
	return 0;
}

static const struct vfio_dma_ops fake_ops = {
	.ioas_alloc = fake_alloc,
	.ioas_destroy = fake_destroy,
	.map = fake_map,
	.unmap = fake_unmap,
	.attach = fake_attach,
	.detach = fake_detach,
	.device_state = fake_state,
	.walk = fake_walk,
};

/* The guest's table: pages leaf by leaf. */
static void leaf(uint64_t iova, uint64_t gpa, uint64_t length, unsigned prot)
{
	unsigned at = 0;

	while (at < leaves && table[at].iova < iova)
		at++;
	memmove(&table[at + 1], &table[at], (leaves - at) * sizeof(table[0]));
	table[at] = (struct mapping){iova, gpa, length, prot};
	leaves++;
}

static void pages(uint64_t iova, uint64_t gpa, unsigned count, unsigned prot)
{
	for (unsigned i = 0; i < count; i++)
		leaf(iova + i * PAGE, gpa + i * PAGE, PAGE, prot);
}

static void unleaf(uint64_t iova)
{
	for (unsigned i = 0; i < leaves; i++) {
		if (table[i].iova == iova) {
			memmove(&table[i], &table[i + 1], (leaves - i - 1) * sizeof(table[0]));
			leaves--;
			return;
		}
	}
	cr_assert_fail("no such leaf");
}

static const struct mapping *at(uint32_t ioas, uint64_t iova)
{
	for (unsigned i = 0; i < space[ioas].count; i++) {
		const struct mapping *m = &space[ioas].mapping[i];

		if (iova >= m->iova && iova < m->iova + m->length)
			return m;
	}
	return NULL;
}

static void expect(uint32_t ioas, uint64_t iova, uint64_t gpa, unsigned prot)
{
	const struct mapping *m = at(ioas, iova);

	cr_assert(m, "%#llx is not mapped", (unsigned long long)iova);
	cr_assert_eq(m->gpa + (iova - m->iova), gpa);
	cr_assert_eq(m->prot, prot);
}

/* The mirror says what the table says, page by page of the table, and nothing more. */
static void expect_mirror(uint32_t ioas)
{
	uint64_t in_table = 0, in_space = 0;

	for (unsigned i = 0; i < leaves; i++) {
		for (uint64_t o = 0; o < table[i].length; o += PAGE)
			expect(ioas, table[i].iova + o, table[i].gpa + o, table[i].prot);
		in_table += table[i].length;
	}
	for (unsigned i = 0; i < space[ioas].count; i++)
		in_space += space[ioas].mapping[i].length;
	cr_assert_eq(in_table, in_space);
}

static struct amd_device_state v1(uint16_t domain, uint64_t root)
{
	return (struct amd_device_state){
		.kind = AMD_TRANSLATION_V1, .domain = domain, .prot = RW, .root = root, .mode = 3};
}

/* A guest table over none: Linux gives every device a GCR3 table of its own. */
static struct amd_device_state v2(uint16_t domain, uint64_t gcr3)
{
	return (struct amd_device_state){.kind = AMD_TRANSLATION_V2,
					 .domain = domain,
					 .prot = RW,
					 .gcr3 = gcr3,
					 .gcr3_levels = 1,
					 .guest_levels = 4};
}

static void setup(void)
{
	dma.ops = &fake_ops;
	dma.memory = &memory;
	space[BASE].live = space[BLOCKED].live = true;
	vfio_follow_init(&follow, &dma);
	follow.base = BASE;
	follow.blocked = BLOCKED;
	for (unsigned i = 0; i < DEVICES; i++) {
		follower[i] = (struct vfio_follower){
			.devid = (uint16_t)i, .device = &device_ioas[i], .name = "test"};
		device_state[i] =
			(struct amd_device_state){.kind = AMD_TRANSLATION_IDENTITY, .prot = RW};
		cr_assert_eq(vfio_follow_add(&follow, &follower[i]), 0);
		cr_assert_eq(device_ioas[i], BASE);
	}
	map_calls = unmap_calls = attach_calls = 0;
}

static void teardown(void)
{
	for (unsigned i = 0; i < DEVICES; i++)
		vfio_follow_remove(&follow, &follower[i]);
	cr_assert_null(follow.domains);
	cr_assert_eq(dma.counters.domains, 0);
	cr_assert_eq(dma.counters.bytes_mapped, 0);
	for (uint32_t i = BLOCKED + 1; i < SPACES; i++)
		cr_assert_not(space[i].live, "IOAS %u leaks", i);
	vfio_follow_fini(&follow);
}

#endif
