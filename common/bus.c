// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>

#include "postern/bits.h"
#include "postern/bus.h"

void bus_init(struct bus *bus)
{
	pthread_rwlock_init(&bus->lock, NULL);
	bus->count = 0;
}

/* Index of the last range that starts at or below ADDR, or -1. */
static int find(const struct bus *bus, uint64_t addr)
{
	int low = 0, high = (int)bus->count;

	while (low < high) {
		int mid = (low + high) / 2;

		if (bus->range[mid].base <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low - 1;
}

int bus_add(struct bus *bus, const struct bus_range *range)
{
	int rc = 0, at;

	if (!range->size || range->base + (range->size - 1) < range->base)
		return -EINVAL;
	pthread_rwlock_wrlock(&bus->lock);
	at = find(bus, range->base + (range->size - 1));
	if (at >= 0 && bus->range[at].base + (bus->range[at].size - 1) >= range->base) {
		rc = -EEXIST;
	} else if (bus->count == BUS_RANGES_MAX) {
		rc = -ENOSPC;
	} else {
		at++;
		memmove(&bus->range[at + 1], &bus->range[at],
			(bus->count - (unsigned)at) * sizeof(bus->range[0]));
		bus->range[at] = *range;
		bus->count++;
	}
	pthread_rwlock_unlock(&bus->lock);
	return rc;
}

int bus_remove(struct bus *bus, uint64_t base)
{
	int rc = -ENOENT, at;

	pthread_rwlock_wrlock(&bus->lock);
	at = find(bus, base);
	if (at >= 0 && bus->range[at].base == base) {
		bus->count--;
		memmove(&bus->range[at], &bus->range[at + 1],
			(bus->count - (unsigned)at) * sizeof(bus->range[0]));
		rc = 0;
	}
	pthread_rwlock_unlock(&bus->lock);
	return rc;
}

/* The handler runs after the lock is dropped, on this copy of its range. */
static bool look_up(struct bus *bus, uint64_t addr, unsigned width, struct bus_range *range)
{
	bool found = false;
	int at;

	pthread_rwlock_rdlock(&bus->lock);
	at = find(bus, addr);
	if (at >= 0 && range_fits(addr - bus->range[at].base, width, bus->range[at].size)) {
		*range = bus->range[at];
		found = true;
	}
	pthread_rwlock_unlock(&bus->lock);
	return found;
}

int bus_read(struct bus *bus, uint64_t addr, unsigned width, uint64_t *value)
{
	struct bus_range range;

	if (!look_up(bus, addr, width, &range)) {
		*value = width_mask(width);
		return -ENOENT;
	}
	*value = range.ops->read(range.opaque, addr - range.base, width) & width_mask(width);
	return 0;
}

int bus_write(struct bus *bus, uint64_t addr, unsigned width, uint64_t value)
{
	struct bus_range range;

	if (!look_up(bus, addr, width, &range))
		return -ENOENT;
	range.ops->write(range.opaque, addr - range.base, width, value & width_mask(width));
	return 0;
}
