// SPDX-License-Identifier: Apache-2.0
/*
 * What the unit counts, for each requester. Translations that hit are counted by whatever thread
 * makes them, in a cell that the thread has to itself: no locked instruction, and no cache line
 * that another thread writes.
 */
#include <stdlib.h>
#include <string.h>

#include "iommufd/amd/internal.h"

unsigned amd_thread_cell(void)
{
	static atomic_uint threads;
	static _Thread_local unsigned mine; /* plus 1 */

	if (!mine) {
		unsigned number = atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed);

		mine = (number < AMD_HIT_CELLS ? number : AMD_HIT_CELLS) + 1;
	}
	return mine - 1;
}

/* Zeroes of SIZE, a multiple of a cache line, on lines of their own. */
static void *lines_alloc(size_t size)
{
	void *p = aligned_alloc(AMD_CACHE_LINE, size);

	return p ? memset(p, 0, size) : NULL;
}

/* Whoever comes second uses what the first one made. */
static void *publish(_Atomic(void *) *at, size_t size)
{
	void *found = NULL, *made = lines_alloc(size);

	if (!made || atomic_compare_exchange_strong(at, &found, made))
		return made;
	free(made);
	return found;
}

/*
 * Requesters are devices that the host has put there: a guest cannot have counters made for ids
 * that it only names.
 */
struct amd_device_counters *amd_device_counters(struct amd_iommu_engine *e, uint16_t devid)
{
	_Atomic(void *) *at = &e->bus_counters[devid >> 8];
	struct amd_bus_counters *bus = atomic_load_explicit(at, memory_order_acquire);
	struct amd_device_counters *device;

	if (!bus)
		bus = publish(at, sizeof(*bus));
	if (!bus)
		return &e->other_counters;
	at = &bus->device[devid & 0xff];
	device = atomic_load_explicit(at, memory_order_acquire);
	if (!device)
		device = publish(at, sizeof(*device));
	return device ? device : &e->other_counters;
}

struct amd_device_counters *amd_device_counters_find(const struct amd_iommu_engine *e,
						     uint16_t devid)
{
	struct amd_bus_counters *bus =
		atomic_load_explicit(&e->bus_counters[devid >> 8], memory_order_acquire);

	return bus ? atomic_load_explicit(&bus->device[devid & 0xff], memory_order_acquire) : NULL;
}

void amd_counters_fini(struct amd_iommu_engine *e)
{
	for (unsigned i = 0; i < ARRAY_SIZE(e->bus_counters); i++) {
		struct amd_bus_counters *bus = e->bus_counters[i];

		for (unsigned j = 0; bus && j < ARRAY_SIZE(bus->device); j++)
			free(bus->device[j]);
		free(bus);
	}
}

static uint64_t load(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void add_device(const struct amd_device_counters *c, struct amd_iommu_device_stats *sum)
{
	for (unsigned i = 0; i <= AMD_HIT_CELLS; i++)
		sum->hits += load(&c->hits[i].count);
	sum->misses += load(&c->misses);
	sum->walks += load(&c->walks);
	sum->faults += load(&c->faults);
	sum->events += load(&c->events);
	sum->remaps += load(&c->remaps);
	sum->refusals += load(&c->refusals);
	sum->invalidations += load(&c->invalidations);
}

void amd_iommu_engine_device_stats(const struct amd_iommu_engine *e, uint16_t devid,
				   struct amd_iommu_device_stats *stats)
{
	const struct amd_device_counters *c = amd_device_counters_find(e, devid);

	*stats = (struct amd_iommu_device_stats){0};
	if (c)
		add_device(c, stats);
}

void amd_iommu_engine_stats(const struct amd_iommu_engine *e, struct amd_iommu_stats *stats)
{
	const struct amd_counters *c = &e->counters;
	struct amd_iommu_device_stats all = {0};

	add_device(&e->other_counters, &all);
	for (unsigned bus = 0; bus < ARRAY_SIZE(e->bus_counters); bus++) {
		if (!atomic_load_explicit(&e->bus_counters[bus], memory_order_acquire))
			continue;
		for (unsigned devfn = 0; devfn < 256; devfn++) {
			const struct amd_device_counters *d =
				amd_device_counters_find(e, (uint16_t)(bus << 8 | devfn));

			if (d)
				add_device(d, &all);
		}
	}
	*stats = (struct amd_iommu_stats){
		.invalidations = load(&c->invalidations),
		.completion_waits = load(&c->completion_waits),
		.command_errors = load(&c->command_errors),
		.events = load(&c->events),
		.events_lost = load(&c->events_lost),
		.rests = load(&c->rests),
		.atc_invalidations = load(&c->atc_invalidations),
		.atc_timeouts = load(&c->atc_timeouts),
		.page_requests = load(&c->page_requests),
		.page_requests_refused = load(&c->page_requests_refused),
		.page_responses = load(&c->page_responses),
		.translations = all.hits + all.misses,
		.iotlb_hits = all.hits,
		.walks = all.walks,
		.faults = all.faults + all.refusals,
		.remaps = all.remaps,
	};
	for (unsigned i = 0; i < AMD_COMMAND_OPCODES; i++) {
		stats->command[i] = load(&c->command[i]);
		stats->commands += stats->command[i];
	}
}
