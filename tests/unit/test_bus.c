// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "postern/bits.h"
#include "postern/bus.h"

#include "tests/unit/noise.h"

struct probe {
	uint64_t answer, offset, value;
	unsigned width, reads, writes;
};

static uint64_t probe_read(void *opaque, uint64_t offset, unsigned width)
{
	struct probe *p = opaque;

	p->offset = offset;
	p->width = width;
	p->reads++;
	return p->answer;
}

static void probe_write(void *opaque, uint64_t offset, unsigned width, uint64_t value)
{
	struct probe *p = opaque;

	p->offset = offset;
	p->width = width;
	p->value = value;
	p->writes++;
}

static const struct bus_ops probe_ops = {probe_read, probe_write};

static int add(struct bus *bus, uint64_t base, uint64_t size, struct probe *p)
{
	return bus_add(bus, &(struct bus_range){
				    .base = base, .size = size, .ops = &probe_ops, .opaque = p});
}

Test(bus, routes_by_range_and_gives_offset)
{
	static struct bus bus;
	struct probe a = {.answer = 0x1122334455667788}, b = {.answer = 2};
	uint64_t value;

	bus_init(&bus);
	cr_assert_eq(add(&bus, 0x2000, 0x10, &b), 0);
	cr_assert_eq(add(&bus, 0x1000, 0x10, &a), 0);
	cr_assert_eq(bus_read(&bus, 0x1008, 4, &value), 0);
	cr_assert_eq(value, 0x55667788, "cut to the width");
	cr_assert_eq(a.offset, 8);
	cr_assert_eq(bus_write(&bus, 0x200c, 2, 0xabcdef), 0);
	cr_assert_eq(b.offset, 0xc);
	cr_assert_eq(b.value, 0xcdef);
	cr_assert_eq(b.width, 2);
}

Test(bus, unclaimed_reads_ones)
{
	static struct bus bus;
	struct probe a = {0};
	uint64_t value = 0;

	bus_init(&bus);
	cr_assert_eq(bus_read(&bus, 0, 8, &value), -ENOENT);
	cr_assert_eq(value, UINT64_MAX);
	add(&bus, 0x1000, 0x10, &a);
	cr_assert_eq(bus_read(&bus, 0xfff, 2, &value), -ENOENT);
	cr_assert_eq(value, 0xffff);
	cr_assert_eq(bus_read(&bus, 0x100d, 4, &value), -ENOENT, "runs over the end");
	cr_assert_eq(value, 0xffffffff);
	cr_assert_eq(bus_write(&bus, 0x1010, 1, 0), -ENOENT);
	cr_assert_eq(a.reads + a.writes, 0);
}

Test(bus, refuses_overlap_wrap_empty)
{
	static struct bus bus;
	struct probe a = {0};

	bus_init(&bus);
	cr_assert_eq(add(&bus, 0x1000, 0x1000, &a), 0);
	cr_assert_eq(add(&bus, 0x1000, 1, &a), -EEXIST);
	cr_assert_eq(add(&bus, 0x1fff, 1, &a), -EEXIST);
	cr_assert_eq(add(&bus, 0xfff, 2, &a), -EEXIST);
	cr_assert_eq(add(&bus, 0, UINT64_MAX, &a), -EEXIST, "swallows it");
	cr_assert_eq(add(&bus, 0x1800, 0x10, &a), -EEXIST, "inside it");
	cr_assert_eq(add(&bus, 0x2000, 0, &a), -EINVAL);
	cr_assert_eq(add(&bus, UINT64_MAX, 2, &a), -EINVAL);
	cr_assert_eq(add(&bus, UINT64_MAX, 1, &a), 0, "the last byte there is");
	cr_assert_eq(add(&bus, 0xfff, 1, &a), 0);
	cr_assert_eq(add(&bus, 0x2000, 1, &a), 0);
	cr_assert_eq(bus.count, 4);
}

Test(bus, remove_by_base)
{
	static struct bus bus;
	struct probe a = {0};
	uint64_t value;

	bus_init(&bus);
	add(&bus, 0x1000, 0x1000, &a);
	cr_assert_eq(bus_remove(&bus, 0x1001), -ENOENT);
	cr_assert_eq(bus_remove(&bus, 0xfff), -ENOENT);
	cr_assert_eq(bus_remove(&bus, 0x1000), 0);
	cr_assert_eq(bus_remove(&bus, 0x1000), -ENOENT);
	cr_assert_eq(bus_read(&bus, 0x1000, 1, &value), -ENOENT);
	cr_assert_eq(add(&bus, 0x1800, 0x10, &a), 0);
}

Test(bus, full_table)
{
	static struct bus bus;
	struct probe a = {0};

	bus_init(&bus);
	for (uint64_t i = BUS_RANGES_MAX; i > 0; i--)
		cr_assert_eq(add(&bus, i * 16, 16, &a), 0);
	cr_assert_eq(add(&bus, 0, 16, &a), -ENOSPC);
	for (uint64_t i = 1; i <= BUS_RANGES_MAX; i++) {
		cr_assert_eq(bus_write(&bus, i * 16 + 3, 1, 0), 0);
		cr_assert_eq(a.offset, 3);
	}
}

/* Against a plain table of who owns which byte. */
Test(bus, random_adds_and_removes_match_a_model)
{
	static struct bus bus;
	static int owner[256];
	static struct probe probe[256];
	unsigned seed = 1;

	bus_init(&bus);
	for (int step = 0; step < 20000; step++) {
		unsigned base = noise(&seed) % 256, size = 1 + noise(&seed) % 8;
		bool clear = true,
		     starts = owner[base] && (!base || owner[base - 1] != owner[base]);
		unsigned end = base + size < 256 ? base + size : 256;

		for (unsigned i = base; i < end; i++)
			clear &= !owner[i];
		if (noise(&seed) % 2) {
			cr_assert_eq(add(&bus, base, end - base, &probe[base]),
				     clear ? 0 : -EEXIST);
			for (unsigned i = base; clear && i < end; i++)
				owner[i] = (int)base + 1;
		} else {
			int who = owner[base];

			cr_assert_eq(bus_remove(&bus, base), starts ? 0 : -ENOENT);
			for (unsigned i = base; starts && i < 256 && owner[i] == who; i++)
				owner[i] = 0;
		}
		base = noise(&seed) % 256;
		cr_assert_eq(bus_write(&bus, base, 1, 0), owner[base] ? 0 : -ENOENT);
		if (owner[base])
			cr_assert_eq(probe[owner[base] - 1].offset,
				     base - (unsigned)owner[base] + 1);
	}
}

static struct bus self_bus;

static void remove_self(void *opaque, uint64_t offset, unsigned width, uint64_t value)
{
	(void)opaque, (void)offset, (void)width;
	bus_remove(&self_bus, value);
}

Test(bus, handler_may_change_the_bus, .timeout = 10)
{
	static const struct bus_ops ops = {probe_read, remove_self};

	bus_init(&self_bus);
	bus_add(&self_bus, &(struct bus_range){.base = 0x100, .size = 8, .ops = &ops});
	cr_assert_eq(bus_write(&self_bus, 0x100, 4, 0x100), 0);
	cr_assert_eq(bus_write(&self_bus, 0x100, 4, 0x100), -ENOENT);
}
