/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One device's way to raise message-signalled interrupts as its requester id.
 *
 * Messages are what the guest wrote into the device. Whoever implements the sink (the monitor) has
 * the vIOMMU remap them and KVM deliver them, and resolves routes anew when the guest changes its
 * remapping tables, so that no device knows whether remapping is on.
 *
 * All functions may be called from any thread.
 */
#ifndef POSTERN_MSI_SINK_H
#define POSTERN_MSI_SINK_H

#include <stdint.h>

struct msi_msg {
	uint64_t addr;
	uint32_t data;
};

struct msi_sink;

/* An eventfd that KVM turns into a message without a thread in between (irqfd). */
struct msi_route;

struct msi_sink_ops {
	int (*send)(struct msi_sink *sink, const struct msi_msg *msg);
	int (*route_new)(struct msi_sink *sink, int eventfd, struct msi_route **route);
	int (*route_set)(struct msi_route *route, const struct msi_msg *msg);
	void (*route_free)(struct msi_route *route);
};

struct msi_sink {
	const struct msi_sink_ops *ops;
	uint16_t devid; /* requester id: bus << 8 | devfn */
};

/* Deliver MSG once. 0, or -errno where the message was refused (remapping fault, no such APIC). */
static inline int msi_sink_send(struct msi_sink *sink, const struct msi_msg *msg)
{
	return sink->ops->send(sink, msg);
}

/*
 * Bind EVENTFD (owned by the caller, open until msi_route_free()) to a new route. The route starts
 * masked: a signal waits in the eventfd, as in an MSI-X pending bit, until msi_route_set() names a
 * message.
 * -ENOSPC when the host has no more interrupt routes.
 */
static inline int msi_route_new(struct msi_sink *sink, int eventfd, struct msi_route **route)
{
	return sink->ops->route_new(sink, eventfd, route);
}

/* Deliver MSG on each signal from now on; NULL masks the route. */
static inline int msi_route_set(struct msi_sink *sink, struct msi_route *route,
				const struct msi_msg *msg)
{
	(void)sink;
	return sink->ops->route_set(route, msg);
}

static inline void msi_route_free(struct msi_sink *sink, struct msi_route *route)
{
	if (route)
		sink->ops->route_free(route);
}

#endif
