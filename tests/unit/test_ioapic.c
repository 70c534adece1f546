// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "devices/legacy/legacy.h"
#include "postern/bits.h"

#include "tests/unit/noise.h"

#define MASK	0x10000u
#define LEVEL	0x8000u
#define RIRR	0x4000u
#define VECTOR1 0x31u

static struct bus mmio;
static struct ioapic *ioapic;
static atomic_uint sent;
static struct msi_msg last;
static int sink_result;
static unsigned routes;
static bool routed[IOAPIC_PINS];
static struct msi_msg route[IOAPIC_PINS];

static int sink_send(struct msi_sink *sink, const struct msi_msg *msg)
{
	struct msi_msg probe;

	(void)sink;
	sent++;
	last = *msg;
	/* No lock is held: a sink may ask back. */
	ioapic_pin_message(ioapic, 0, &probe);
	return sink_result;
}

static void on_route(void *opaque, unsigned pin, const struct msi_msg *msg)
{
	struct msi_msg probe;

	(void)opaque;
	routes++;
	routed[pin] = msg;
	if (msg)
		route[pin] = *msg;
	cr_assert_eq(ioapic_pin_message(ioapic, pin, &probe), msg != NULL);
}

static void setup(void)
{
	static const struct msi_sink_ops ops = {.send = sink_send};
	static struct msi_sink sink = {.ops = &ops};
	struct ioapic_config config = {
		.mmio = &mmio, .base = IOAPIC_BASE, .id = 2, .sink = &sink, .route = on_route};
	struct ioapic *other;

	bus_init(&mmio);
	cr_assert_eq(ioapic_new(&config, &ioapic), 0);
	cr_assert_eq(ioapic_new(&config, &other), -EEXIST);
}

static void teardown(void)
{
	ioapic_free(ioapic);
	cr_assert_eq(mmio.count, 0);
}

TestSuite(ioapic, .init = setup, .fini = teardown, .timeout = 60);

static uint32_t in(unsigned index)
{
	uint64_t value;

	bus_write(&mmio, IOAPIC_BASE, 4, index);
	bus_read(&mmio, IOAPIC_BASE + 0x10, 4, &value);
	return (uint32_t)value;
}

static void out(unsigned index, uint32_t value)
{
	bus_write(&mmio, IOAPIC_BASE, 4, index);
	bus_write(&mmio, IOAPIC_BASE + 0x10, 4, value);
}

static uint32_t low(unsigned pin)
{
	return in(0x10 + 2 * pin);
}

static void set_low(unsigned pin, uint32_t value)
{
	out(0x10 + 2 * pin, value);
}

static void set_high(unsigned pin, uint32_t value)
{
	out(0x11 + 2 * pin, value);
}

static void eoi(uint8_t vector)
{
	bus_write(&mmio, IOAPIC_BASE + 0x40, 4, vector);
}

Test(ioapic, identity)
{
	cr_assert_eq(in(0), 0x02000000);
	cr_assert_eq(in(1), 0x00170020);
	cr_assert_eq(in(2), 0x02000000);
	out(0, 0xffffffff);
	cr_assert_eq(in(0), 0x0f000000);
	out(1, 0);
	cr_assert_eq(in(1), 0x00170020);
	cr_assert_eq(in(0x0f), 0xffffffff);
	cr_assert_eq(in(0x40), 0xffffffff);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		cr_assert_eq(low(pin), MASK);
		cr_assert_eq(in(0x11 + 2 * pin), 0);
	}
}

Test(ioapic, writable_bits)
{
	set_low(0, 0xffffffff);
	cr_assert_eq(low(0), 0x0001afff, "delivery status and remote IRR are read only");
	set_high(0, 0xffffffff);
	cr_assert_eq(in(0x11), 0xfffe0000);
	out(0x40, 0);
	out(0xff, 0);
	cr_assert_eq(low(23), MASK);
}

Test(ioapic, other_widths)
{
	uint64_t value;

	set_low(1, VECTOR1 | MASK);
	bus_write(&mmio, IOAPIC_BASE + 0x10, 1, 0);
	bus_write(&mmio, IOAPIC_BASE + 0x10, 8, 0);
	bus_write(&mmio, IOAPIC_BASE + 0x11, 4, 0);
	bus_write(&mmio, IOAPIC_BASE + 0x0e, 4, 0);
	bus_write(&mmio, IOAPIC_BASE, 2, 0);
	cr_assert_eq(low(1), VECTOR1 | MASK);
	bus_read(&mmio, IOAPIC_BASE + 0x10, 1, &value);
	cr_assert_eq(value, 0xff);
	bus_read(&mmio, IOAPIC_BASE + 0x20, 4, &value);
	cr_assert_eq(value, 0xffffffff);
	bus_read(&mmio, IOAPIC_BASE, 4, &value);
	cr_assert_eq(value, 0x12);
}

Test(ioapic, message)
{
	struct msi_msg msg;

	cr_assert_not(ioapic_pin_message(ioapic, 4, &msg), "masked");
	cr_assert_not(ioapic_pin_message(ioapic, 24, &msg));
	set_high(4, 0xa5540000);
	set_low(4, 0x0931);
	cr_assert(ioapic_pin_message(ioapic, 4, &msg));
	cr_assert_eq(msg.addr, 0xfeea5000 | 0x2a << 5 | 1 << 2);
	cr_assert_eq(msg.data, 0x4131);
	set_low(4, 0x8031);
	cr_assert(ioapic_pin_message(ioapic, 4, &msg));
	cr_assert_eq(msg.addr, 0xfeea5000 | 0x2a << 5);
	cr_assert_eq(msg.data, 0xc031);
}

Test(ioapic, edge)
{
	ioapic_set_irq(ioapic, 3, true);
	cr_assert_eq(sent, 0);
	set_low(3, VECTOR1);
	cr_assert_eq(sent, 0, "an edge on a masked pin is lost");
	ioapic_set_irq(ioapic, 3, true);
	cr_assert_eq(sent, 0, "no rise");
	ioapic_set_irq(ioapic, 3, false);
	ioapic_set_irq(ioapic, 3, true);
	cr_assert_eq(sent, 1);
	cr_assert_eq(last.data, 0x4000 | VECTOR1);
	cr_assert_eq(low(3), VECTOR1, "no remote IRR");
	eoi(VECTOR1);
	cr_assert_eq(sent, 1);
	ioapic_set_irq(ioapic, 24, true);
	ioapic_set_irq(ioapic, UINT32_MAX, true);
	cr_assert_eq(sent, 1);
}

Test(ioapic, level)
{
	set_low(5, VECTOR1 | LEVEL);
	ioapic_set_irq(ioapic, 5, true);
	cr_assert_eq(sent, 1);
	cr_assert_eq(low(5), VECTOR1 | LEVEL | RIRR);
	ioapic_set_irq(ioapic, 5, false);
	ioapic_set_irq(ioapic, 5, true);
	cr_assert_eq(sent, 1, "not before the EOI");
	eoi(VECTOR1 + 1);
	cr_assert_eq(sent, 1, "another vector");
	eoi(VECTOR1);
	cr_assert_eq(sent, 2, "still asserted");
	cr_assert_eq(low(5), VECTOR1 | LEVEL | RIRR);
	ioapic_set_irq(ioapic, 5, false);
	ioapic_eoi_pin(ioapic, 5);
	cr_assert_eq(sent, 2);
	cr_assert_eq(low(5), VECTOR1 | LEVEL);
	ioapic_eoi_pin(ioapic, 24);
	ioapic_set_irq(ioapic, 5, true);
	cr_assert_eq(sent, 3);
	ioapic_eoi_pin(ioapic, 5);
	cr_assert_eq(sent, 4);
}

Test(ioapic, level_masked_then_unmasked)
{
	set_low(5, VECTOR1 | LEVEL | MASK);
	ioapic_set_irq(ioapic, 5, true);
	cr_assert_eq(sent, 0);
	set_low(5, VECTOR1 | LEVEL);
	cr_assert_eq(sent, 1);
	set_low(5, VECTOR1 | LEVEL | MASK);
	eoi(VECTOR1);
	cr_assert_eq(sent, 1);
	cr_assert_eq(low(5), VECTOR1 | LEVEL | MASK);
	set_low(5, VECTOR1 | LEVEL);
	cr_assert_eq(sent, 2);
	/* Edge mode forgets remote IRR: how software without an EOI register ends an interrupt. */
	set_low(5, VECTOR1 | MASK);
	cr_assert_eq(low(5), VECTOR1 | MASK);
	set_low(5, VECTOR1 | LEVEL);
	cr_assert_eq(sent, 3);
}

Test(ioapic, eoi_reaches_all_pins_of_a_vector)
{
	for (unsigned pin = 10; pin < 13; pin++) {
		set_low(pin, VECTOR1 | LEVEL);
		ioapic_set_irq(ioapic, pin, true);
	}
	cr_assert_eq(sent, 3);
	ioapic_set_irq(ioapic, 11, false);
	eoi(VECTOR1);
	cr_assert_eq(sent, 5);
	cr_assert_eq(low(11), VECTOR1 | LEVEL);
}

Test(ioapic, refused_message_is_not_in_service)
{
	set_low(5, VECTOR1 | LEVEL);
	sink_result = -EFAULT;
	ioapic_set_irq(ioapic, 5, true);
	cr_assert_eq(sent, 1);
	cr_assert_eq(low(5), VECTOR1 | LEVEL);
	sink_result = 0;
	set_low(5, VECTOR1 | LEVEL);
	cr_assert_eq(sent, 2, "a write of the entry tries again");
	cr_assert_eq(low(5), VECTOR1 | LEVEL | RIRR);
}

Test(ioapic, route_follows_the_entry)
{
	set_low(7, VECTOR1 | MASK);
	cr_assert_eq(routes, 0, "masked as before");
	set_low(7, VECTOR1 | LEVEL);
	cr_assert_eq(routes, 1);
	cr_assert(routed[7]);
	cr_assert_eq(route[7].data, 0xc000 | VECTOR1);
	set_low(7, VECTOR1 | LEVEL);
	cr_assert_eq(routes, 1, "the same");
	set_high(7, 0x03000000);
	cr_assert_eq(routes, 2);
	cr_assert_eq(route[7].addr, 0xfee03000);
	ioapic_set_irq(ioapic, 7, true);
	cr_assert_eq(routes, 2, "remote IRR is no part of it");
	set_low(7, VECTOR1 | LEVEL | MASK);
	cr_assert_not(routed[7]);
	set_low(7, VECTOR1);
	cr_assert(routed[7]);
	ioapic_reset(ioapic);
	cr_assert_not(routed[7]);
	cr_assert_eq(routes, 5);
	cr_assert_eq(low(7), MASK);
	set_low(7, VECTOR1 | LEVEL);
	cr_assert_eq(sent, 2, "the input is still asserted");
}

/* Remote IRR is set exactly for unmasked asserted level pins, and routes match the entries. */
Test(ioapic, hostile_writes)
{
	unsigned seed = 9;

	for (int i = 0; i < 30000; i++) {
		unsigned width = 1u << noise(&seed) % 4, pin = noise(&seed) % 26;
		unsigned offset = noise(&seed) % 0x50;
		uint64_t value = (uint64_t)noise(&seed) << 32 ^ (uint64_t)noise(&seed) << 1;
		struct msi_msg msg;

		bus_write(&mmio, IOAPIC_BASE + offset, width, value);
		bus_read(&mmio, IOAPIC_BASE + offset, width, &value);
		if (i % 2)
			out(noise(&seed) % 0x44, (uint32_t)noise(&seed));
		ioapic_set_irq(ioapic, pin, value & 1);
		if (i % 3 == 0)
			ioapic_eoi_pin(ioapic, pin);
		if (i % 5 == 0)
			eoi((uint8_t)noise(&seed));
		for (pin = 0; pin < IOAPIC_PINS; pin++) {
			bool live = ioapic_pin_message(ioapic, pin, &msg);
			uint32_t entry = low(pin);

			cr_assert_eq(routed[pin], live);
			if (live) {
				cr_assert_eq(route[pin].addr, msg.addr);
				cr_assert_eq(route[pin].data, msg.data);
			}
			cr_assert_eq(msg.addr >> 20, 0xfee);
			cr_assert_eq(entry & 0xfffe1000, 0);
			cr_assert(!(entry & RIRR) || entry & LEVEL);
		}
	}
	cr_assert_gt(sent, 1000);
	cr_assert_gt(routes, 1000);
}

static int count_send(struct msi_sink *sink, const struct msi_msg *msg)
{
	(void)sink, (void)msg;
	sent++;
	return 0;
}

static void *toggle(void *arg)
{
	(void)arg;
	for (int i = 0; i < 5000; i++) {
		ioapic_set_irq(ioapic, 5, true);
		ioapic_eoi_pin(ioapic, 5);
		ioapic_set_irq(ioapic, 5, false);
	}
	return NULL;
}

static void *rewrite(void *arg)
{
	uint32_t vector = *(uint32_t *)arg;

	/* IOREGSEL is shared: it stays on the pin's low half. */
	for (uint32_t i = 0; i < 5000; i++)
		bus_write(&mmio, IOAPIC_BASE + 0x10, 4, (vector + i % 8) | LEVEL);
	return NULL;
}

Test(ioapic, concurrent_writers_leave_the_last_route)
{
	static const struct msi_sink_ops ops = {.send = count_send};
	static struct msi_sink counting = {.ops = &ops};
	struct ioapic_config config = {
		.mmio = &mmio, .base = IOAPIC_BASE, .id = 2, .sink = &counting, .route = on_route};
	uint32_t vector[2] = {0x30, 0x50};
	pthread_t thread[4];
	struct msi_msg msg;

	ioapic_free(ioapic);
	cr_assert_eq(ioapic_new(&config, &ioapic), 0);
	bus_write(&mmio, IOAPIC_BASE, 4, 0x10 + 2 * 5);
	/* Open before the threads start: which of them runs first is not known. */
	bus_write(&mmio, IOAPIC_BASE + 0x10, 4, vector[0] | LEVEL);
	for (int i = 0; i < 2; i++) {
		pthread_create(&thread[i], NULL, toggle, NULL);
		pthread_create(&thread[2 + i], NULL, rewrite, &vector[i]);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	cr_assert(ioapic_pin_message(ioapic, 5, &msg));
	cr_assert(routed[5]);
	cr_assert_eq(route[5].data, msg.data);
	cr_assert_gt(sent, 0);
	/* Nothing is stuck: after the EOI an assertion sends. */
	ioapic_eoi_pin(ioapic, 5);
	sent = 0;
	ioapic_set_irq(ioapic, 5, true);
	cr_assert_eq(sent, 1);
}

/* ---- lines ---- */

static struct intx_line *shared[2];
static unsigned ended[2];
static bool again;

static void on_ended(void *opaque)
{
	unsigned i = *(const unsigned *)opaque;

	ended[i]++;
	intx_line_set(shared[i], false);
	if (again)
		intx_line_set(shared[i], true);
}

Test(ioapic, lines_share_a_pin)
{
	static unsigned index[2] = {0, 1};

	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(ioapic_line_new(ioapic, 17, &shared[i]), 0);
		shared[i]->opaque = &index[i];
		shared[i]->ended = on_ended;
	}
	cr_assert_eq(ioapic_line_new(ioapic, IOAPIC_PINS, &shared[1]), -EINVAL);
	out(0x10 + 2 * 17, LEVEL | VECTOR1);
	intx_line_set(shared[0], true);
	cr_assert_eq(sent, 1);
	intx_line_set(shared[1], true);
	cr_assert_eq(sent, 1, "one message until its end");
	/* Whoever lets go, the other still asserts the pin. */
	shared[1]->ended = NULL;
	ioapic_eoi_pin(ioapic, 17);
	cr_assert_eq(ended[0], 1);
	cr_assert_eq(sent, 2);
	cr_assert(in(0x10 + 2 * 17) & RIRR);
	intx_line_set(shared[1], false);
	ioapic_eoi_pin(ioapic, 17);
	cr_assert_eq(sent, 2);
	cr_assert_not(in(0x10 + 2 * 17) & RIRR);
}

Test(ioapic, a_line_that_lets_go_and_asserts_anew_sends_once_more)
{
	static unsigned index = 0;

	cr_assert_eq(ioapic_line_new(ioapic, 16, &shared[0]), 0);
	shared[0]->opaque = &index;
	shared[0]->ended = on_ended;
	out(0x10 + 2 * 16, LEVEL | VECTOR1);
	intx_line_set(shared[0], true);
	again = true;
	ioapic_eoi_pin(ioapic, 16);
	cr_assert_eq(sent, 2);
	again = false;
	ioapic_eoi_pin(ioapic, 16);
	cr_assert_eq(sent, 2);
	/* The end of another pin's interrupt is none of this. */
	ioapic_eoi_pin(ioapic, 18);
	cr_assert_eq(ended[0], 2);
}
