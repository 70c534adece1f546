// SPDX-License-Identifier: Apache-2.0
/* Messages, irqfd routes and EOI exits, as far as a guest's handler or local APIC. */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "harness.h"

#define APIC	     UINT64_C(0xfee00000)
#define APIC_SVR     (APIC + 0xf0)
#define APIC_ENABLED 0x1ffu
#define LEVEL	     BIT(15)

#define DEVID 0x0010

static struct msi_msg message(uint8_t vector)
{
	return (struct msi_msg){.addr = APIC, .data = vector};
}

/* The interrupts that the guest took since the last call: how many, and the last. */
static unsigned took(struct harness *h, uint8_t *vector)
{
	unsigned n;

	pthread_mutex_lock(&h->lock);
	n = h->irqs;
	if (n)
		*vector = h->irq[n - 1];
	h->irqs = 0;
	pthread_mutex_unlock(&h->lock);
	return n;
}

static bool took_only(struct harness *h, uint8_t want)
{
	uint8_t vector = 0;

	return took(h, &vector) == 1 && vector == want;
}

static bool ring(int fd)
{
	return !eventfd_write(fd, 1);
}

static bool unread(int fd)
{
	eventfd_t value;

	return !eventfd_read(fd, &value);
}

static void test_send(struct harness *h, struct msi_sink *sink)
{
	struct msi_msg msg = message(0x41);
	struct irq_stats stats;
	uint8_t vector;

	ok(!msi_sink_send(sink, &msg), "a message is sent");
	agent(h, OP_WINDOW, 0, 0);
	ok(took_only(h, 0x41), "and its handler runs once");
	msg.addr = 0x1000;
	ok(msi_sink_send(sink, &msg) == -EINVAL, "a message to memory is refused");
	msg.addr = APIC | BIT(40);
	ok(msi_sink_send(sink, &msg) == -EINVAL, "a device cannot name APIC ids above 255");
	msg.addr = APIC | 5 << 12;
	irq_stats(h->m.irq, &stats);
	ok(stats.messages == 1 && stats.refused == 2, "counted");
	/* KVM does not always tell that nobody has the id. */
	msi_sink_send(sink, &msg);
	agent(h, OP_WINDOW, 0, 0);
	ok(took(h, &vector) == 0, "these and one to an APIC that is not there interrupt nobody");
}

/* A signal to a bound eventfd interrupts; OP_HALT waits for it, however KVM injects it. */
static void test_route(struct harness *h, struct msi_sink *sink)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct msi_msg msg = message(0x42), other = message(0x43);
	struct irq_stats before, after;
	struct msi_route *route;
	uint8_t vector;

	ok(!msi_route_new(sink, fd, &route), "a new route");
	ring(fd);
	agent(h, OP_WINDOW, 0, 0);
	ok(took(h, &vector) == 0 && unread(fd), "starts masked: KVM does not have the eventfd");
	ring(fd);
	ok(!msi_route_set(sink, route, &msg), "unmasked");
	agent(h, OP_HALT, 0, 0);
	ok(took_only(h, 0x42), "the signal that came while masked is delivered then");
	ring(fd);
	agent(h, OP_HALT, 0, 0);
	ok(took_only(h, 0x42), "a signal is delivered");
	irq_stats(h->m.irq, &before);
	msi_route_set(sink, route, &msg);
	msi_route_set(sink, route, NULL);
	ring(fd);
	ok(unread(fd), "masked again");
	msi_route_set(sink, route, &msg);
	irq_stats(h->m.irq, &after);
	ok(before.route_updates == after.route_updates,
	   "the same message, masked and unmasked: KVM's table stays");
	ring(fd);
	agent(h, OP_HALT, 0, 0);
	ok(took_only(h, 0x42), "delivered after unmasking");
	msi_route_set(sink, route, &other);
	ring(fd);
	agent(h, OP_HALT, 0, 0);
	ok(took_only(h, 0x43), "retargeted to another vector");
	other.addr = 0;
	msi_route_set(sink, route, &other);
	ring(fd);
	agent(h, OP_WINDOW, 0, 0);
	ok(took(h, &vector) == 0 && unread(fd), "a refused message masks the route");
	msi_route_set(sink, route, &msg);
	msi_route_free(sink, route);
	ring(fd);
	ok(unread(fd), "a freed route gives the eventfd back");
	close(fd);
}

/* A remapper that turns each vector into another, or refuses. */
struct table {
	atomic_uint vector;
	atomic_bool refuse;
	atomic_uint asked, logged;
};

static int table_remap(void *opaque, uint16_t devid, const struct msi_msg *in, struct msi_msg *out,
		       bool log)
{
	struct table *t = opaque;

	t->asked++;
	t->logged += log;
	if (t->refuse || (devid != DEVID && devid != MACHINE_IOAPIC_DEVID))
		return -EACCES;
	*out = *in;
	out->data = (in->data & ~0xffu) | t->vector;
	return 0;
}

static void test_remapping(struct harness *h, struct msi_sink *sink, struct msi_sink *own,
			   struct table *t)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct msi_msg msg = message(0x10);
	struct msi_route *route;
	struct msi_sink *stranger;
	uint8_t vector;

	t->vector = 0x44;
	t->logged = 0;
	ok(!msi_sink_send(sink, &msg), "a remapped message is sent");
	agent(h, OP_WINDOW, 0, 0);
	ok(took_only(h, 0x44), "with the vector of the table");
	msg = message(0x45);
	msi_sink_send(own, &msg);
	agent(h, OP_WINDOW, 0, 0);
	ok(took_only(h, 0x45), "the IOMMU's own message is not remapped");
	irq_sink_new(h->m.irq, 0x99, true, &stranger);
	ok(msi_sink_send(stranger, &msg) == -EACCES, "another requester is refused");

	msi_route_new(sink, fd, &route);
	msg = message(0x10);
	msi_route_set(sink, route, &msg);
	ring(fd);
	agent(h, OP_HALT, 0, 0);
	ok(took_only(h, 0x44), "a route is remapped");
	t->vector = 0x46;
	irq_refresh(h->m.irq, 0x99, false);
	ring(fd);
	agent(h, OP_HALT, 0, 0);
	ok(took_only(h, 0x44), "a refresh of another device changes nothing");
	irq_refresh(h->m.irq, DEVID, false);
	ring(fd);
	agent(h, OP_HALT, 0, 0);
	ok(took_only(h, 0x46), "a refresh of this one does");
	t->refuse = true;
	t->logged = 0;
	irq_refresh(h->m.irq, 0, true);
	ring(fd);
	agent(h, OP_WINDOW, 0, 0);
	ok(took(h, &vector) == 0 && unread(fd), "a refusal masks the route");
	ok(t->logged == 0, "and is no event yet, since nothing was raised");
	t->refuse = false;
	irq_refresh(h->m.irq, 0, true);
	ring(fd);
	agent(h, OP_HALT, 0, 0);
	ok(took_only(h, 0x46), "permission brings it back");
	msi_route_free(sink, route);
	close(fd);
}

static uint32_t eoi_pins(struct harness *h)
{
	uint32_t pins;

	pthread_mutex_lock(&h->lock);
	pins = h->eoi_pins;
	h->eoi_pins = 0;
	pthread_mutex_unlock(&h->lock);
	return pins;
}

static void test_eoi(struct harness *h, struct msi_sink *ioapic, struct table *t)
{
	struct msi_msg edge = message(0x11), level = message(0x12);

	level.data |= LEVEL;
	t->vector = 0x47;
	irq_ioapic_route(h->m.irq, 4, &edge);
	msi_sink_send(ioapic, &edge);
	agent(h, OP_WINDOW, 0, 0);
	ok(took_only(h, 0x47) && !eoi_pins(h), "an edge interrupt ends without an exit");
	irq_ioapic_route(h->m.irq, 4, NULL);
	t->vector = 0x48;
	irq_ioapic_route(h->m.irq, 9, &level);
	ok(irq_pins_of_vector(h->m.irq, 0x48) == 1u << 9 && !irq_pins_of_vector(h->m.irq, 0x12),
	   "pins are known by their remapped vector");
	msi_sink_send(ioapic, &level);
	agent(h, OP_WINDOW, 0, 0);
	ok(took_only(h, 0x48) && eoi_pins(h) == 1u << 9, "a level interrupt ends with an exit");
	msi_sink_send(ioapic, &level);
	irq_ioapic_route(h->m.irq, 9, NULL);
	agent(h, OP_WINDOW, 0, 0);
	ok(took_only(h, 0x48) && eoi_pins(h) == 1u << 9, "also one masked before its end");
	t->vector = 0x49;
	irq_ioapic_route(h->m.irq, 9, &level);
	t->vector = 0x4a;
	irq_refresh(h->m.irq, MACHINE_IOAPIC_DEVID, false);
	msi_sink_send(ioapic, &level);
	agent(h, OP_WINDOW, 0, 0);
	ok(took_only(h, 0x4a) && eoi_pins(h) == 1u << 9, "and one remapped anew");
	irq_ioapic_route(h->m.irq, 24, &level);
	ok(!(irq_pins_of_vector(h->m.irq, 0x4a) & ~(1u << 9)), "there is no pin 24");
}

int main(void)
{
	struct harness *h = harness_new(1);
	struct table table = {0};
	struct irq_remapper remapper = {.remap = table_remap, .opaque = &table};
	struct msi_sink *sink, *own, *ioapic;

	irq_sink_new(h->m.irq, DEVID, true, &sink);
	irq_sink_new(h->m.irq, 0x0008, false, &own);
	irq_sink_new(h->m.irq, MACHINE_IOAPIC_DEVID, true, &ioapic);
	harness_start(h);
	agent(h, OP_WRITE4, APIC_SVR, APIC_ENABLED);
	test_send(h, sink);
	test_route(h, sink);
	/* The vCPU waits in the agent's port: nothing runs that could ask the remapper. */
	irq_set_remapper(h->m.irq, &remapper);
	test_remapping(h, sink, own, &table);
	test_eoi(h, ioapic, &table);
	harness_free(h);
	return done_testing();
}
