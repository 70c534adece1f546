// SPDX-License-Identifier: Apache-2.0
/* Interrupt routing without a guest: limits, and the order in which results may be published. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/machine.h"

#define APIC  UINT64_C(0xfee00000)
#define DEVID 0x0010

static struct kvm kvm;
static struct irq *irq;

static void set_up(void)
{
	if (access("/dev/kvm", R_OK | W_OK) < 0)
		cr_skip_test("no /dev/kvm that this user may open");
	cr_assert_eq(kvm_open(&kvm), 0);
	cr_assert_eq(irq_new(&kvm, &irq), 0);
}

static void tear_down(void)
{
	irq_free(irq);
	kvm_close(&kvm);
}

TestSuite(irq, .init = set_up, .fini = tear_down, .timeout = 60);

static uint64_t updates(void)
{
	struct irq_stats stats;

	irq_stats(irq, &stats);
	return stats.route_updates;
}

static uint64_t refused(void)
{
	struct irq_stats stats;

	irq_stats(irq, &stats);
	return stats.refused;
}

Test(irq, host_offers_what_the_machine_needs)
{
	cr_expect(kvm.split_irqchip);
	cr_expect(kvm.signal_msi);
	cr_expect_gt(kvm.max_routes, IOAPIC_PINS);
	cr_expect_gt(kvm.max_cpus, 0u);
	cr_expect(kvm.phys_bits >= 32 && kvm.phys_bits <= 52);
}

Test(irq, routes_end_with_enospc_and_come_back)
{
	struct msi_route **route = calloc(kvm.max_routes, sizeof(struct msi_route *)), *more;
	unsigned want = kvm.max_routes - IOAPIC_PINS;
	int fd = eventfd(0, EFD_NONBLOCK);
	struct msi_sink *sink;

	cr_assert_not_null(route);
	cr_assert_eq(irq_sink_new(irq, DEVID, true, &sink), 0);
	cr_assert_eq(sink->devid, DEVID);
	for (unsigned i = 0; i < want; i++)
		cr_assert_eq(msi_route_new(sink, fd, &route[i]), 0);
	cr_expect_eq(msi_route_new(sink, fd, &more), -ENOSPC);
	/* The table at its full length is still one that KVM takes. */
	cr_expect_eq(msi_route_set(sink, route[want - 1], &(struct msi_msg){APIC, 0x31}), 0);
	cr_expect_eq(updates(), 1);
	msi_route_free(sink, route[7]);
	cr_expect_eq(msi_route_new(sink, fd, &more), 0);
	cr_expect_eq(more, route[7]);
	cr_expect_eq(msi_route_new(sink, -1, &more), -EBADF);
	for (unsigned i = 0; i < want; i++)
		msi_route_free(sink, route[i]);
	free(route);
	close(fd);
}

Test(irq, kvm_is_told_only_of_changes)
{
	struct msi_msg one = {APIC, 0x31}, two = {APIC, 0x32};

	irq_ioapic_route(irq, 3, &one);
	cr_expect_eq(updates(), 1);
	irq_ioapic_route(irq, 3, &one);
	irq_ioapic_route(irq, 3, NULL);
	irq_ioapic_route(irq, 3, &one);
	irq_refresh(irq, 0, true);
	cr_expect_eq(updates(), 1);
	irq_ioapic_route(irq, 3, &two);
	cr_expect_eq(updates(), 2);
	cr_expect_eq(irq_pins_of_vector(irq, 0x31), 0);
	cr_expect_eq(irq_pins_of_vector(irq, 0x32), 1u << 3);
	irq_ioapic_route(irq, IOAPIC_PINS, &one);
	irq_ioapic_route(irq, UINT32_MAX, &one);
	cr_expect_eq(updates(), 2);
}

/* What a guest may have written into a device must not spoil the table for all others. */
Test(irq, bad_messages_are_refused_and_others_still_delivered)
{
	static const uint64_t bad[] = {
		0,	   APIC - 1, 0xfef00000, APIC | BIT(32), APIC | BIT(39), APIC | BIT(63),
		UINT64_MAX};
	struct msi_msg good = {APIC, 0x31};
	int fd = eventfd(0, EFD_NONBLOCK);
	struct msi_route *route;
	struct msi_sink *sink;
	eventfd_t value;

	irq_sink_new(irq, DEVID, true, &sink);
	msi_route_new(sink, fd, &route);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct msi_msg msg = {bad[i], 0x31};
		uint64_t before = refused();

		cr_expect_eq(msi_sink_send(sink, &msg), -EINVAL);
		cr_expect_eq(msi_route_set(sink, route, &msg), 0);
		cr_expect_eq(refused(), before + 2);
		eventfd_write(fd, 1);
		cr_expect_eq(eventfd_read(fd, &value), 0, "a refused route takes no signal");
	}
	irq_ioapic_route(irq, 5, &good);
	cr_expect_eq(irq_pins_of_vector(irq, 0x31), 1u << 5);
	msi_route_free(sink, route);
	close(fd);
}

/*
 * The XT interrupt registers name APIC ids of 32 bits, in x2APIC cluster mode from the ninth CPU on
 * above 255. No vCPU exists here: that nobody takes the message is KVM's word.
 */
Test(irq, the_units_own_message_may_go_to_a_wide_destination)
{
	struct msi_msg wide = {APIC | BIT(40) | 0x1000 | BIT(2), 0x31};
	struct msi_msg bad = {APIC | BIT(32), 0x31};
	struct msi_sink *own;

	irq_sink_new(irq, DEVID, false, &own);
	cr_expect_eq(irq_deliver(irq, &wide), -ENXIO);
	cr_expect_eq(msi_sink_send(own, &wide), -EINVAL, "a device cannot name it");
	cr_expect_eq(irq_deliver(irq, &bad), -EINVAL);
	cr_expect_eq(refused(), 2);
}

/* Each segment's requesters are remapped by its own unit, whatever their ids. */
struct unit {
	uint8_t vector;
	unsigned asked;
};

static int segment_remap(void *opaque, uint16_t devid, const struct msi_msg *in,
			 struct msi_msg *out, bool log)
{
	struct unit *unit = opaque;

	(void)log;
	cr_assert_eq(devid, DEVID);
	unit->asked++;
	*out = *in;
	out->data = unit->vector;
	return 0;
}

Test(irq, segments_are_remapped_by_their_own_unit)
{
	struct msi_msg msg = {APIC, 0};
	struct unit unit[3] = {{0}};
	struct msi_sink *sink[3], *none;
	struct msi_route *route[3];
	int fd[3];

	for (unsigned i = 0; i < 3; i++) {
		/* Segment 1 has no unit: its messages pass. */
		struct irq_remapper remapper = {
			.remap = segment_remap, .opaque = &unit[i], .segment = i};

		if (i != 1)
			irq_set_remapper(irq, &remapper);
		cr_assert_eq(irq_sink_new(irq, machine_sbdf(i, DEVID), true, &sink[i]), 0);
		cr_expect_eq(sink[i]->devid, DEVID);
		fd[i] = eventfd(0, EFD_NONBLOCK);
		msi_route_new(sink[i], fd[i], &route[i]);
		msi_route_set(sink[i], route[i], &msg);
	}
	cr_expect(unit[0].asked == 1 && unit[1].asked == 0 && unit[2].asked == 1);
	irq_refresh(irq, machine_sbdf(2, DEVID), false);
	cr_expect(unit[0].asked == 1 && unit[2].asked == 2, "one requester of segment 2");
	irq_refresh(irq, machine_sbdf(0, 0), true);
	cr_expect(unit[0].asked == 2 && unit[2].asked == 2, "all of segment 0");
	irq_refresh(irq, machine_sbdf(2, DEVID + 1), false);
	irq_refresh(irq, machine_sbdf(1, 0), true);
	cr_expect(unit[0].asked == 2 && unit[2].asked == 2);
	cr_expect_eq(irq_sink_new(irq, machine_sbdf(MACHINE_SEGMENTS_MAX, 0), true, &none),
		     -EINVAL);
	for (unsigned i = 0; i < 3; i++) {
		msi_route_free(sink[i], route[i]);
		close(fd[i]);
	}
}

/*
 * KVM_FEATURE_MSI_EXT_DEST_ID: bits 11:5 of a message that nobody remaps name bits 14:8 of the
 * destination. No vCPU has it, which is KVM's word; without the feature the bits mean nothing.
 */
Test(irq, extended_destination_ids)
{
	struct msi_msg msg = {APIC | 0x7f << 5, 0x31};
	struct msi_sink *sink;

	irq_sink_new(irq, DEVID, false, &sink);
	kvm.msi_ext_dest_id = true;
	cr_expect_eq(msi_sink_send(sink, &msg), -ENXIO);
	msg.addr |= BIT(40);
	cr_expect_eq(msi_sink_send(sink, &msg), -EINVAL, "the upper half stays the monitor's");
	kvm.msi_ext_dest_id = false;
}

/* ---- order ---- */

/* The call whose number is HOLD answers with the vector it saw, but late. */
struct slow {
	atomic_uint calls, vector;
	unsigned hold;
	sem_t held, go;
};

static int slow_remap(void *opaque, uint16_t devid, const struct msi_msg *in, struct msi_msg *out,
		      bool log)
{
	struct slow *slow = opaque;

	(void)devid;
	(void)log;
	*out = *in;
	out->data = slow->vector;
	if (atomic_fetch_add(&slow->calls, 1) + 1 == slow->hold) {
		sem_post(&slow->held);
		sem_wait(&slow->go);
	}
	return 0;
}

static void *refresh_thread(void *opaque)
{
	(void)opaque;
	irq_refresh(irq, MACHINE_IOAPIC_DEVID, false);
	return NULL;
}

static void slow_begin(struct slow *slow, pthread_t *thread)
{
	struct irq_remapper remapper = {.remap = slow_remap, .opaque = slow};
	struct msi_msg msg = {APIC, 0};

	sem_init(&slow->held, 0, 0);
	sem_init(&slow->go, 0, 0);
	irq_set_remapper(irq, &remapper);
	slow->vector = 0x31;
	irq_ioapic_route(irq, 3, &msg);
	slow->vector = 0x32;
	slow->hold = slow->calls + 1;
	pthread_create(thread, NULL, refresh_thread, NULL);
	sem_wait(&slow->held);
}

Test(irq, a_slow_resolution_does_not_bring_an_old_message_back)
{
	struct slow slow = {0};
	pthread_t thread;

	slow_begin(&slow, &thread);
	slow.vector = 0x33;
	irq_refresh(irq, 0, true);
	cr_expect_eq(irq_pins_of_vector(irq, 0x33), 1u << 3);
	sem_post(&slow.go);
	pthread_join(thread, NULL);
	cr_expect_eq(irq_pins_of_vector(irq, 0x33), 1u << 3);
	cr_expect_eq(irq_pins_of_vector(irq, 0x32), 0);
}

Test(irq, a_slow_resolution_alone_is_published)
{
	struct slow slow = {0};
	pthread_t thread;

	slow_begin(&slow, &thread);
	sem_post(&slow.go);
	pthread_join(thread, NULL);
	cr_expect_eq(irq_pins_of_vector(irq, 0x32), 1u << 3);
}

/* The irqfd must not come back for a route that was masked or freed meanwhile. */
static void overtaken(bool free_it)
{
	struct slow slow = {.vector = 0x31};
	struct irq_remapper remapper = {.remap = slow_remap, .opaque = &slow};
	struct msi_msg msg = {APIC, 0};
	int fd = eventfd(0, EFD_NONBLOCK);
	struct msi_route *route;
	struct msi_sink *sink;
	pthread_t thread;
	eventfd_t value;

	sem_init(&slow.held, 0, 0);
	sem_init(&slow.go, 0, 0);
	irq_set_remapper(irq, &remapper);
	irq_sink_new(irq, MACHINE_IOAPIC_DEVID, true, &sink);
	msi_route_new(sink, fd, &route);
	msi_route_set(sink, route, &msg);
	slow.hold = slow.calls + 1;
	pthread_create(&thread, NULL, refresh_thread, NULL);
	sem_wait(&slow.held);
	if (free_it)
		msi_route_free(sink, route);
	else
		msi_route_set(sink, route, NULL);
	sem_post(&slow.go);
	pthread_join(thread, NULL);
	eventfd_write(fd, 1);
	cr_expect_eq(eventfd_read(fd, &value), 0, "KVM has the eventfd still");
	if (!free_it)
		msi_route_free(sink, route);
	close(fd);
}

Test(irq, masking_overtakes_a_slow_resolution)
{
	overtaken(false);
}

Test(irq, freeing_overtakes_a_slow_resolution)
{
	overtaken(true);
}

/*
 * The vIOMMU: remap() may wait for its mutex, and an invalidation calls irq_refresh() while it
 * processes commands on another thread. Neither may wait for the other for ever.
 */
static pthread_mutex_t unit_lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local bool inside_unit;

static int unit_remap(void *opaque, uint16_t devid, const struct msi_msg *in, struct msi_msg *out,
		      bool log)
{
	atomic_uint *vector = opaque;

	(void)devid;
	(void)log;
	if (!inside_unit)
		pthread_mutex_lock(&unit_lock);
	*out = *in;
	out->data = *vector;
	if (!inside_unit)
		pthread_mutex_unlock(&unit_lock);
	return 0;
}

static void *invalidate_thread(void *opaque)
{
	atomic_uint *vector = opaque;

	for (unsigned i = 0; i < 200; i++) {
		pthread_mutex_lock(&unit_lock);
		inside_unit = true;
		*vector = 0x40 + i % 16;
		irq_refresh(irq, 0, true);
		inside_unit = false;
		pthread_mutex_unlock(&unit_lock);
	}
	return NULL;
}

Test(irq, refresh_under_the_units_lock_does_not_deadlock)
{
	atomic_uint vector = 0x40;
	struct irq_remapper remapper = {.remap = unit_remap, .opaque = &vector};
	struct msi_route *route[40];
	int fd[40];
	struct msi_msg msg = {APIC, 0};
	struct msi_sink *sink;
	pthread_t thread;

	irq_set_remapper(irq, &remapper);
	irq_sink_new(irq, DEVID, true, &sink);
	/* More than a batch of refreshes. */
	for (unsigned i = 0; i < ARRAY_SIZE(route); i++) {
		fd[i] = eventfd(0, EFD_NONBLOCK);
		cr_assert_eq(msi_route_new(sink, fd[i], &route[i]), 0);
	}
	pthread_create(&thread, NULL, invalidate_thread, &vector);
	for (unsigned i = 0; i < 400; i++) {
		msi_route_set(sink, route[i % 40], i % 3 ? &msg : NULL);
		irq_ioapic_route(irq, i % IOAPIC_PINS, &msg);
	}
	pthread_join(thread, NULL);
	irq_refresh(irq, 0, true);
	cr_expect_eq(irq_pins_of_vector(irq, (uint8_t)vector), 0xffffff,
		     "every pin follows the last change");
	for (unsigned i = 0; i < ARRAY_SIZE(route); i++) {
		msi_route_free(sink, route[i]);
		close(fd[i]);
	}
}
