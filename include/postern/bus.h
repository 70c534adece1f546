/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bus: ranges of guest addresses (port I/O or MMIO) and who answers there.
 *
 * Accesses that nobody claims read as all ones and write to nothing, as on a PC. An access that
 * runs over the end of a range counts as unclaimed.
 *
 * bus_read() and bus_write() may be called from any thread, at the same time as each other and as
 * bus_add() and bus_remove(). A handler runs with no lock of the bus held, so that it may itself
 * add or remove ranges; a handler may still be running on another thread when bus_remove() returns.
 */
#ifndef POSTERN_BUS_H
#define POSTERN_BUS_H

#include <pthread.h>
#include <stdint.h>

#define BUS_RANGES_MAX 2048

struct bus_ops {
	/* OFFSET is relative to the range; WIDTH is 1, 2, 4 or 8. Alignment is the handler's
	 * affair. */
	uint64_t (*read)(void *opaque, uint64_t offset, unsigned width);
	void (*write)(void *opaque, uint64_t offset, unsigned width, uint64_t value);
};

struct bus_range {
	uint64_t base;
	uint64_t size;
	const struct bus_ops *ops;
	void *opaque;
	const char *name; /* for messages; static storage */
};

struct bus {
	pthread_rwlock_t lock;
	unsigned count;
	struct bus_range range[BUS_RANGES_MAX]; /* ascending base, disjoint */
};

void bus_init(struct bus *bus);

/* Copies *RANGE. -EEXIST where it overlaps another range, -EINVAL if it wraps or is empty, -ENOSPC.
 */
int bus_add(struct bus *bus, const struct bus_range *range);

/* Forget the range that starts at BASE; -ENOENT if none does. */
int bus_remove(struct bus *bus, uint64_t base);

/* WIDTH is 1, 2, 4 or 8. Return 0, or -ENOENT where nobody answers (then *value is all ones). */
int bus_read(struct bus *bus, uint64_t addr, unsigned width, uint64_t *value);
int bus_write(struct bus *bus, uint64_t addr, unsigned width, uint64_t value);

#endif
