// SPDX-License-Identifier: Apache-2.0
/*
 * Interrupt routing: from the messages that devices send to KVM.
 *
 * Every GSI is a struct msi_route. GSIs 0..23 are the IOAPIC's pins: KVM never raises them, it only
 * reads their entries to know which vectors end in an EOI exit (split irqchip). The others belong
 * to an eventfd each (irqfd).
 *
 * Locking. irq->lock is the last lock of the program: nothing but KVM is called under it. The
 * remapper in particular is not: it may wait for the vIOMMU's mutex, whose holder may at that
 * moment be in irq_refresh() and want irq->lock. So a route is resolved in three steps: take the
 * message and a ticket under the lock, ask the remapper without it, publish under the lock again.
 *
 * Tickets only grow, and a result is published only if no later ticket's has been. A later ticket
 * was taken after the guest's change that caused it, and read the message and the remapping tables
 * after ours: where it came first, our result is old and must be dropped; where it is still under
 * way, ours is overwritten soon. So nobody retries, a slow thread cannot bring an old message back,
 * and when irq_refresh() returns, what KVM has is at least as new as the tables at its call. A
 * ticket outlives its route's owner (slots are never freed), so that a resolution that is overtaken
 * by msi_route_free() is dropped by the same rule.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/machine.h"

/* Routes that irq_refresh() resolves between two holds of the lock. */
#define REFRESH_BATCH 32

struct irq_sink {
	struct msi_sink sink;
	struct irq *irq;
	unsigned segment;
	bool remapped;
	struct irq_sink *next;
};

struct msi_route {
	struct irq_sink *sink; /* NULL: a free slot */
	int eventfd;	       /* -1: an IOAPIC pin */
	bool wanted;	       /* MSG is set: not masked by the device */
	bool listed;	       /* RESOLVED belongs into KVM's table */
	bool live;	       /* the newest resolution succeeded */
	bool bound;	       /* KVM has the irqfd */
	struct msi_msg msg;    /* as the guest wrote it */
	struct msi_msg resolved;
	uint64_t ticket;    /* of the newest resolution begun */
	uint64_t published; /* of the newest resolution that counts */
};

struct irq {
	struct kvm *kvm;
	struct irq_remapper remapper[MACHINE_SEGMENTS_MAX];
	struct irq_sink ioapic;
	pthread_mutex_t lock;
	struct irq_sink *sinks;
	struct msi_route *route; /* by GSI */
	unsigned gsis, top;	 /* room; one past the highest ever used */
	bool dirty;		 /* KVM's table is not what the routes say */
	struct kvm_irq_routing *table;
	atomic_uint_fast64_t messages, refused, route_updates;
};

/* A route on its way through the remapper. */
struct resolution {
	unsigned gsi;
	struct irq_sink *sink;
	uint64_t ticket;
	struct msi_msg msg;
	int rc;
};

/* FEExxxxxh, the local APICs' place; bits 39:32 of the address must be 0 for KVM. */
static bool is_interrupt_address(uint64_t addr)
{
	return (uint32_t)addr >> 20 == 0xfee && !((addr >> 32) & 0xff);
}

/* Bits 14:8 of the destination, to where KVM_CAP_X2APIC_API wants bits 31:8. */
#define EXT_DEST_ID    GENMASK(11, 5)
#define EXT_DEST_SHIFT 40

/* The message that KVM is to deliver for IN. Called without irq->lock. */
static int resolve(const struct irq_sink *sink, const struct msi_msg *in, struct msi_msg *out,
		   bool log)
{
	const struct irq_remapper *remapper = &sink->irq->remapper[sink->segment];
	int rc;

	if (sink->remapped && remapper->remap) {
		rc = remapper->remap(remapper->opaque, sink->sink.devid, in, out, log);
		if (rc)
			return rc;
	} else {
		/* The upper half is the remapper's way to name APIC ids above 255. */
		if (in->addr >> 32)
			return -EINVAL;
		*out = *in;
		if (sink->irq->kvm->msi_ext_dest_id) {
			out->addr &= ~EXT_DEST_ID;
			out->addr |= FIELD_GET(EXT_DEST_ID, in->addr) << EXT_DEST_SHIFT;
		}
	}
	return is_interrupt_address(out->addr) ? 0 : -EINVAL;
}

static bool same_message(const struct msi_msg *a, const struct msi_msg *b)
{
	return a->addr == b->addr && a->data == b->data;
}

/* ---- KVM's side; all under irq->lock ---- */

static int irqfd(struct irq *irq, unsigned gsi, unsigned flags)
{
	struct kvm_irqfd request = {
		.fd = (uint32_t)irq->route[gsi].eventfd,
		.gsi = gsi,
		.flags = flags,
	};

	return ioctl(irq->kvm->vm, KVM_IRQFD, &request) < 0 ? -errno : 0;
}

static void unbind(struct irq *irq, unsigned gsi)
{
	struct msi_route *route = &irq->route[gsi];

	if (!route->bound)
		return;
	route->bound = false;
	irqfd(irq, gsi, KVM_IRQFD_FLAG_DEASSIGN);
}

/* Signals that came while the route was masked wait in the eventfd; KVM delivers them at once. */
static void bind_route(struct irq *irq, unsigned gsi)
{
	struct msi_route *route = &irq->route[gsi];
	int rc;

	rc = irqfd(irq, gsi, 0);
	if (rc) {
		log_error_once("interrupt route %u of device %04x:%02x:%02x.%x: KVM_IRQFD: %s", gsi,
			       route->sink->segment, route->sink->sink.devid >> 8,
			       route->sink->sink.devid >> 3 & 0x1f, route->sink->sink.devid & 7,
			       strerror(-rc));
		return;
	}
	route->bound = true;
}

static int set_table(struct irq *irq)
{
	struct kvm_irq_routing *table = irq->table;

	table->nr = 0;
	for (unsigned gsi = 0; gsi < irq->top; gsi++) {
		const struct msi_route *route = &irq->route[gsi];

		if (!route->listed)
			continue;
		table->entries[table->nr++] = (struct kvm_irq_routing_entry){
			.gsi = gsi,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi = {.address_lo = (uint32_t)route->resolved.addr,
				  .address_hi = (uint32_t)(route->resolved.addr >> 32),
				  .data = route->resolved.data},
		};
	}
	return ioctl(irq->kvm->vm, KVM_SET_GSI_ROUTING, table) < 0 ? -errno : 0;
}

/* Give KVM what was published; irqfds follow their table entries, never precede them. */
static int commit(struct irq *irq)
{
	if (irq->dirty) {
		int rc = set_table(irq);

		if (rc) {
			log_error_once("KVM_SET_GSI_ROUTING with %u routes: %s", irq->table->nr,
				       strerror(-rc));
			return rc;
		}
		irq->dirty = false;
		irq->route_updates++;
	}
	for (unsigned gsi = IOAPIC_PINS; gsi < irq->top; gsi++) {
		if (irq->route[gsi].live && !irq->route[gsi].bound)
			bind_route(irq, gsi);
	}
	return 0;
}

/* ---- resolution ---- */

/* Under irq->lock. */
static void begin(struct irq *irq, unsigned gsi, struct resolution *r)
{
	struct msi_route *route = &irq->route[gsi];

	*r = (struct resolution){
		.gsi = gsi,
		.sink = route->sink,
		.ticket = ++route->ticket,
		.msg = route->msg,
	};
}

/* Under irq->lock. */
static void publish(struct irq *irq, const struct resolution *r)
{
	struct msi_route *route = &irq->route[r->gsi];

	if (r->ticket < route->published)
		return;
	route->published = r->ticket;
	if (r->rc) {
		irq->refused++;
		route->live = false;
		unbind(irq, r->gsi);
		return;
	}
	if (!route->listed || !same_message(&route->resolved, &r->msg)) {
		route->resolved = r->msg;
		route->listed = true;
		irq->dirty = true;
	}
	route->live = r->gsi >= IOAPIC_PINS;
}

/* Without irq->lock. No interrupt is raised now, so that a refusal is not yet an event. */
static void ask(struct resolution *r)
{
	struct msi_msg out;

	r->rc = resolve(r->sink, &r->msg, &out, false);
	if (!r->rc)
		r->msg = out;
}

/* The device behind GSI changed its message. */
static int route_change(struct irq *irq, unsigned gsi, const struct msi_msg *msg)
{
	struct msi_route *route = &irq->route[gsi];
	struct resolution r;
	int rc;

	pthread_mutex_lock(&irq->lock);
	if (!msg) {
		route->wanted = route->live = false;
		route->published = ++route->ticket;
		/* The table entry stays: unmasking is then an irqfd and no new table. For a pin it
		 * must: a level interrupt may be masked before its end, and that end still exits.
		 */
		unbind(irq, gsi);
		pthread_mutex_unlock(&irq->lock);
		return 0;
	}
	route->wanted = true;
	route->msg = *msg;
	begin(irq, gsi, &r);
	pthread_mutex_unlock(&irq->lock);

	ask(&r);

	pthread_mutex_lock(&irq->lock);
	publish(irq, &r);
	rc = commit(irq);
	pthread_mutex_unlock(&irq->lock);
	return rc;
}

void irq_refresh(struct irq *irq, uint32_t sbdf, bool all)
{
	struct resolution batch[REFRESH_BATCH];
	unsigned gsi = 0, count;

	pthread_mutex_lock(&irq->lock);
	do {
		for (count = 0; gsi < irq->top && count < REFRESH_BATCH; gsi++) {
			const struct msi_route *route = &irq->route[gsi];

			if (route->wanted && route->sink->remapped &&
			    route->sink->segment == sbdf >> 16 &&
			    (all || route->sink->sink.devid == (uint16_t)sbdf))
				begin(irq, gsi, &batch[count++]);
		}
		pthread_mutex_unlock(&irq->lock);
		for (unsigned i = 0; i < count; i++)
			ask(&batch[i]);
		pthread_mutex_lock(&irq->lock);
		for (unsigned i = 0; i < count; i++)
			publish(irq, &batch[i]);
	} while (count == REFRESH_BATCH);
	commit(irq);
	pthread_mutex_unlock(&irq->lock);
}

/* ---- struct msi_sink ---- */

/* MSG as KVM takes it. Called without irq->lock. */
static int signal_msi(struct irq *irq, const struct msi_msg *msg)
{
	struct kvm_msi request = {
		.address_lo = (uint32_t)msg->addr,
		.address_hi = (uint32_t)(msg->addr >> 32),
		.data = msg->data,
	};

	/* 0: an APIC took note but was masked or had it pending, which is delivery enough. */
	if (ioctl(irq->kvm->vm, KVM_SIGNAL_MSI, &request) < 0) {
		/* KVM says -1, that is EPERM, when no APIC has the destination. */
		return errno == EPERM ? -ENXIO : -errno;
	}
	irq->messages++;
	return 0;
}

static int sink_send(struct msi_sink *base, const struct msi_msg *msg)
{
	struct irq_sink *sink = container_of(base, struct irq_sink, sink);
	struct irq *irq = sink->irq;
	struct msi_msg out;
	int rc;

	rc = resolve(sink, msg, &out, true);
	if (rc) {
		irq->refused++;
		return rc;
	}
	return signal_msi(irq, &out);
}

int irq_deliver(struct irq *irq, const struct msi_msg *msg)
{
	if (!is_interrupt_address(msg->addr)) {
		irq->refused++;
		return -EINVAL;
	}
	return signal_msi(irq, msg);
}

static unsigned route_gsi(const struct msi_route *route)
{
	return (unsigned)(route - route->sink->irq->route);
}

static int sink_route_new(struct msi_sink *base, int eventfd, struct msi_route **out)
{
	struct irq_sink *sink = container_of(base, struct irq_sink, sink);
	struct irq *irq = sink->irq;
	int rc = -ENOSPC;

	if (eventfd < 0)
		return -EBADF;
	pthread_mutex_lock(&irq->lock);
	for (unsigned gsi = IOAPIC_PINS; gsi < irq->gsis; gsi++) {
		struct msi_route *route = &irq->route[gsi];

		if (route->sink)
			continue;
		route->sink = sink;
		route->eventfd = eventfd;
		if (gsi >= irq->top)
			irq->top = gsi + 1;
		*out = route;
		rc = 0;
		break;
	}
	pthread_mutex_unlock(&irq->lock);
	return rc;
}

static int sink_route_set(struct msi_route *route, const struct msi_msg *msg)
{
	return route_change(route->sink->irq, route_gsi(route), msg);
}

static void sink_route_free(struct msi_route *route)
{
	struct irq *irq = route->sink->irq;

	route_change(irq, route_gsi(route), NULL);
	pthread_mutex_lock(&irq->lock);
	route->sink = NULL;
	/* Without an irqfd the stale table entry is dead; the next commit drops it. */
	route->listed = false;
	pthread_mutex_unlock(&irq->lock);
}

static const struct msi_sink_ops sink_ops = {
	.send = sink_send,
	.route_new = sink_route_new,
	.route_set = sink_route_set,
	.route_free = sink_route_free,
};

static void sink_init(struct irq_sink *sink, struct irq *irq, uint32_t sbdf, bool remapped)
{
	sink->sink = (struct msi_sink){.ops = &sink_ops, .devid = (uint16_t)sbdf};
	sink->segment = sbdf >> 16;
	sink->irq = irq;
	sink->remapped = remapped;
}

int irq_sink_new(struct irq *irq, uint32_t sbdf, bool remapped, struct msi_sink **out)
{
	struct irq_sink *sink;

	if (sbdf >> 16 >= MACHINE_SEGMENTS_MAX)
		return -EINVAL;
	sink = calloc(1, sizeof(*sink));
	if (!sink)
		return -ENOMEM;
	sink_init(sink, irq, sbdf, remapped);
	pthread_mutex_lock(&irq->lock);
	sink->next = irq->sinks;
	irq->sinks = sink;
	pthread_mutex_unlock(&irq->lock);
	*out = &sink->sink;
	return 0;
}

/* ---- the IOAPIC's pins ---- */

void irq_ioapic_route(void *opaque, unsigned pin, const struct msi_msg *msg)
{
	struct irq *irq = opaque;

	if (pin < IOAPIC_PINS)
		route_change(irq, pin, msg);
}

uint32_t irq_pins_of_vector(struct irq *irq, uint8_t vector)
{
	uint32_t pins = 0;

	pthread_mutex_lock(&irq->lock);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		if (irq->route[pin].listed && (irq->route[pin].resolved.data & 0xff) == vector)
			pins |= 1u << pin;
	}
	pthread_mutex_unlock(&irq->lock);
	return pins;
}

/* ---- life ---- */

void irq_set_remapper(struct irq *irq, const struct irq_remapper *remapper)
{
	irq->remapper[remapper->segment] = *remapper;
}

void irq_stats(const struct irq *irq, struct irq_stats *stats)
{
	*stats = (struct irq_stats){
		.messages = irq->messages,
		.refused = irq->refused,
		.route_updates = irq->route_updates,
	};
}

int irq_new(struct kvm *kvm, struct irq **out)
{
	struct irq *irq;

	if (kvm->max_routes <= IOAPIC_PINS) {
		log_error("KVM of this host has %u interrupt routes: more than %u are needed",
			  kvm->max_routes, IOAPIC_PINS);
		return -EOPNOTSUPP;
	}
	irq = calloc(1, sizeof(*irq));
	if (!irq)
		return -ENOMEM;
	irq->kvm = kvm;
	irq->gsis = kvm->max_routes;
	irq->top = IOAPIC_PINS;
	irq->route = calloc(irq->gsis, sizeof(irq->route[0]));
	irq->table = calloc(1, sizeof(*irq->table) + irq->gsis * sizeof(irq->table->entries[0]));
	if (!irq->route || !irq->table) {
		free(irq->route);
		free(irq->table);
		free(irq);
		return -ENOMEM;
	}
	pthread_mutex_init(&irq->lock, NULL);
	sink_init(&irq->ioapic, irq, MACHINE_IOAPIC_DEVID, true);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		irq->route[pin].sink = &irq->ioapic;
		irq->route[pin].eventfd = -1;
	}
	*out = irq;
	return 0;
}

void irq_free(struct irq *irq)
{
	if (!irq)
		return;
	for (unsigned gsi = IOAPIC_PINS; gsi < irq->top; gsi++)
		unbind(irq, gsi);
	while (irq->sinks) {
		struct irq_sink *sink = irq->sinks;

		irq->sinks = sink->next;
		free(sink);
	}
	pthread_mutex_destroy(&irq->lock);
	free(irq->table);
	free(irq->route);
	free(irq);
}
