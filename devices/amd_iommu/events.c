// SPDX-License-Identifier: Apache-2.0
/*
 * A vEVENTQ in an event loop.
 *
 * Events are numbered modulo 2^31. One that found the queue full left its number out, and while
 * none follows a header without data tells of it (Linux drivers/iommu/iommufd/eventq.c): so losses
 * are told by the numbers.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/amd_iommu/amd_viommu.h"
#include "iommufd/uapi.h"
#include "postern/log.h"

/* Taken from the queue in a turn of the loop. */
#define RECORDS 64u

struct viommu_events {
	struct viommu_events_config config;
	struct event_watch watch;
	uint32_t id;
	bool watched;
	uint32_t next; /* sequence number */
	_Atomic uint64_t events, lost;
	uint8_t buf[RECORDS * (sizeof(struct iommufd_vevent_header) + VIOMMU_EVENT_LENGTH_MAX)];
};

static void count_lost(struct viommu_events *events, uint32_t lost)
{
	if (!lost)
		return;
	atomic_fetch_add_explicit(&events->lost, lost, memory_order_relaxed);
	log_guest("vIOMMU: the host's IOMMU reported more events than could be kept; some are "
		  "lost");
}

/* One record at AT, of which LEFT bytes are there; how many it has, 0 where it is cut short. */
static size_t take(struct viommu_events *events, const uint8_t *at, size_t left)
{
	const size_t length = events->config.length;
	struct iommufd_vevent_header header;
	uint32_t gap;

	if (left < sizeof(header))
		return 0;
	memcpy(&header, at, sizeof(header));
	gap = (header.sequence - events->next) & INT_MAX;
	events->next = (header.sequence + 1) & INT_MAX;
	if (header.flags & IOMMU_VEVENTQ_FLAG_LOST_EVENTS) {
		count_lost(events, gap + 1);
		return sizeof(header);
	}
	count_lost(events, gap);
	if (left < sizeof(header) + length)
		return 0;
	atomic_fetch_add_explicit(&events->events, 1, memory_order_relaxed);
	events->config.event(events->config.opaque, at + sizeof(header));
	return sizeof(header) + length;
}

static void unwatch(struct viommu_events *events)
{
	if (events->watched)
		event_loop_unwatch(events->config.loop, &events->watch);
	events->watched = false;
}

static void ready(struct event_watch *watch, short revents)
{
	struct viommu_events *events = container_of(watch, struct viommu_events, watch);
	const size_t record = sizeof(struct iommufd_vevent_header) + events->config.length;
	size_t taken = 1;
	ssize_t n = -EPIPE;

	if (revents & POLLIN)
		n = iommufd_eventq_read(events->config.ctx, events->id, watch->fd, events->buf,
					RECORDS * record);
	for (ssize_t at = 0; taken && at < n; at += (ssize_t)taken)
		taken = take(events, events->buf + at, (size_t)(n - at));
	if (n == -EINTR || n == -EAGAIN || n == -ENOMEM)
		return; /* the loop asks again */
	if (n < 0 || !taken) {
		log_warning("vIOMMU: its events cannot be read any more: %s; the guest goes on "
			    "without them",
			    n < 0 ? strerror((int)-n) : "a record that is no event of this kind");
		unwatch(events);
	}
}

int viommu_events_new(const struct viommu_events_config *config, struct viommu_events **out)
{
	struct viommu_events *events;
	int rc;

	if (!config->length || config->length > VIOMMU_EVENT_LENGTH_MAX)
		return -EINVAL;
	events = calloc(1, sizeof(*events));
	if (!events)
		return -ENOMEM;
	events->config = *config;
	events->watch.events = POLLIN;
	events->watch.ready = ready;
	rc = iommufd_veventq_alloc(config->ctx, config->viommu, config->type, config->depth,
				   &events->id, &events->watch.fd);
	if (rc)
		goto err_free;
	rc = event_loop_watch(config->loop, &events->watch);
	if (rc)
		goto err_queue;
	events->watched = true;
	*out = events;
	return 0;

err_queue:
	close(events->watch.fd);
	iommufd_destroy(config->ctx, events->id);
err_free:
	free(events);
	return rc;
}

void viommu_events_free(struct viommu_events *events)
{
	if (!events)
		return;
	unwatch(events);
	/* Its open descriptor keeps the queue. */
	close(events->watch.fd);
	iommufd_destroy(events->config.ctx, events->id);
	free(events);
}

void viommu_events_stats(const struct viommu_events *events, struct viommu_events_stats *stats)
{
	stats->events = atomic_load_explicit(&events->events, memory_order_relaxed);
	stats->lost = atomic_load_explicit(&events->lost, memory_order_relaxed);
}
