// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>

#include "tests/unit/virtio_echo.h"

TestSuite(virtio_pci, .timeout = 30);

Test(virtio_pci, identity_and_capabilities)
{
	unsigned seen = 0, cap;

	setup();
	cr_expect_eq(pci_get16(published, 0), 0x1af4);
	cr_expect_eq(pci_get16(published, 2), 0x1042);
	cr_expect_geq(published->config[8], 1);
	cr_expect_eq(published->config[0x3d], 0, "no interrupt pin");
	cr_expect_eq(published->msix.vectors, 3);
	for (cap = published->config[0x34]; cap; cap = published->config[cap + 1]) {
		const uint8_t *c = &published->config[cap];
		uint32_t offset = pci_get32(published, cap + 8),
			 len = pci_get32(published, cap + 12);

		cr_expect_eq(c[0], 9);
		cr_expect_geq(c[2], 16);
		seen |= 1u << c[3];
		if (c[3] != VIRTIO_PCI_CAP_PCI_CFG) {
			cr_expect_eq(c[4], 0);
			cr_expect(range_fits(offset, len, published->bar[0].size));
			cr_expect_gt(len, 0);
		}
		if (c[3] == VIRTIO_PCI_CAP_NOTIFY_CFG)
			cr_expect_eq(pci_get32(published, cap + 16), 4);
	}
	cr_expect_eq(seen, 0x3e);
	teardown();
}

Test(virtio_pci, register_widths)
{
	setup();
	cr_expect_eq(rd(0x12, 2), 2);
	cr_expect_eq(rd(0x12, 1), 0);
	cr_expect_eq(rd(0x12, 4), 0);
	cr_expect_eq(rd(0x11, 2), 0);
	cr_expect_eq(rd(0x18, 2), 256);
	wr(0x16, 2, 7);
	cr_expect_eq(rd(0x18, 2), 0, "no such queue");
	cr_expect_eq(rd(0x1a, 2), 0xffff);
	wr(0x1c, 2, 1);
	wr64(0x20, 0x1234);
	cr_expect_eq(rd(0x20, 4), 0);
	wr(0x16, 2, 1);
	cr_expect_eq(rd(0x1e, 2), 1);
	wr(0x16, 1, 0);
	wr(0x16, 4, 0);
	cr_expect_eq(rd(0x16, 2), 1);
	wr(0x1a, 2, 2);
	cr_expect_eq(rd(0x1a, 2), 2);
	wr(0x1a, 2, 3);
	cr_expect_eq(rd(0x1a, 2), 0xffff);
	wr(0, 4, 2);
	cr_expect_eq(rd(4, 4), 0);
	/* Device configuration in any width, nothing past its end. */
	cr_expect_eq(rd(0x2000, 8), UINT64_C(0x0807060504030201));
	cr_expect_eq(rd(0x2003, 1), 4);
	cr_expect_eq(rd(0x2004, 4), 0x08070605);
	cr_expect_eq(rd(0x2008, 8), 0);
	cr_expect_eq(rd(0x2ffc, 4), 0);
	/* Every offset and width answers without harm. */
	for (uint64_t offset = 0; offset < VIRTIO_BAR_SIZE; offset++) {
		for (unsigned width = 1; width <= 8; width *= 2) {
			rd(offset, width);
			if (offset < 0x14 || offset > 0x15)
				wr(offset, width, ~UINT64_C(0));
		}
	}
	teardown();
}

Test(virtio_pci, status_needs_its_order)
{
	setup();
	wr(0x14, 1, 2);
	cr_expect_eq(rd(0x14, 1), 0);
	wr(0x14, 1, 4);
	cr_expect_eq(rd(0x14, 1), 0);
	wr(0x14, 1, 1);
	wr(0x14, 1, 4);
	cr_expect_eq(rd(0x14, 1), 1);
	wr(0x14, 1, 3);
	wr(0x14, 1, 7);
	cr_expect_eq(rd(0x14, 1), 3, "DRIVER_OK needs FEATURES_OK");
	wr(0x14, 1, 0x40);
	cr_expect_eq(rd(0x14, 1), 3);
	accept_features(BIT(32) | BIT(5));
	wr(0x14, 1, 0xb);
	cr_expect_eq(rd(0x14, 1), 0xb);
	/* Features are settled. */
	accept_features(BIT(32));
	wr(8, 4, 0);
	cr_expect_eq(rd(12, 4), BIT(5));
	wr(0x14, 1, 0);
	cr_expect_eq(rd(0x14, 1), 0, "nothing ran: at once");
	teardown();
}

Test(virtio_pci, features)
{
	uint64_t ring = BIT(28) | BIT(29);

	setup();
	cr_expect_eq(offered(), BIT(32) | ring | BIT(5));
	negotiate(BIT(5));
	cr_expect_eq(rd(0x14, 1), 3, "VERSION_1 is needed");
	wr(0x14, 1, 0);
	negotiate(BIT(32) | BIT(6));
	cr_expect_eq(rd(0x14, 1), 3, "not offered");
	wr(0x14, 1, 0);
	negotiate(BIT(32) | BIT(33));
	cr_expect_eq(rd(0x14, 1), 3, "no IOMMU to be had");
	teardown();

	setup_with(true);
	cr_expect_eq(offered(), BIT(33) | BIT(32) | ring | BIT(5));
	negotiate(BIT(32));
	cr_expect_eq(rd(0x14, 1), 3, "ACCESS_PLATFORM must be accepted");
	wr(0x14, 1, 0);
	negotiate(BIT(32) | BIT(33));
	cr_expect_eq(rd(0x14, 1), 0xb);
	teardown();
}

Test(virtio_pci, chains_come_and_go)
{
	for (int iommu = 0; iommu < 2; iommu++) {
		setup_with(iommu);
		bring_up(BIT(32) | (iommu ? BIT(33) : 0), 16);
		offer(0);
		kick();
		settle(&echo->vp);
		cr_expect_eq(used_idx(), 1);
		cr_expect_eq(used_elem(0).len, 5);
		cr_expect_eq(raised[1], 1);
		for (uint16_t i = 0; i < 16; i++)
			offer(i);
		kick();
		settle(&echo->vp);
		cr_expect_eq(used_idx(), 17);
		cr_expect_eq(raised[1], 2, "one interrupt a batch: %u", raised[1]);
		avail_flags(VRING_AVAIL_F_NO_INTERRUPT);
		offer(0);
		kick();
		settle(&echo->vp);
		cr_expect_eq(used_idx(), 18);
		cr_expect_eq(raised[1], 2);
		cr_expect_eq(raised[0], 0);
		teardown();
	}
}

/* The loop has seen and dropped the notification long before the driver says that it is ready. */
Test(virtio_pci, notification_before_driver_ok)
{
	setup();
	memset(at(RAM_BASE), 0, 0x8000);
	drv.size = 8;
	negotiate(BIT(32));
	queue_setup(8, DESC, AVAIL, USED);
	offer(0);
	kick();
	settle(&echo->vp);
	cr_expect_eq(used_idx(), 0);
	wr(0x14, 1, 0xf);
	settle(&echo->vp);
	cr_expect_eq(used_idx(), 1);
	teardown();
}

Test(virtio_pci, more_than_one_budget)
{
	setup();
	bring_up(BIT(32) | BIT(29), 256);
	for (unsigned i = 0; i < 256; i++)
		offer((uint16_t)i);
	kick();
	settle(&echo->vp);
	cr_expect_eq(used_idx(), 256);
	teardown();
}

Test(virtio_pci, isr_without_msix)
{
	setup();
	msix_on = false;
	bring_up(BIT(32), 8);
	offer(0);
	kick();
	settle(&echo->vp);
	cr_expect_eq(raised[1], 0);
	cr_expect_eq(rd(VIRTIO_ISR_OFFSET, 4), 0);
	cr_expect_eq(rd(VIRTIO_ISR_OFFSET, 1), 1);
	cr_expect_eq(rd(VIRTIO_ISR_OFFSET, 1), 0, "read clears");
	teardown();
}

Test(virtio_pci, bad_queues_ask_for_a_reset)
{
	struct {
		uint16_t size;
		uint64_t desc, avail, used;
	} const bad[] = {
		{0, DESC, AVAIL, USED},		 {3, DESC, AVAIL, USED},
		{32768, DESC, AVAIL, USED},	 {512, DESC, AVAIL, USED},
		{8, DESC + 4, AVAIL, USED},	 {8, DESC, AVAIL + 1, USED},
		{8, DESC, AVAIL, USED + 1},	 {8, 0, AVAIL, USED},
		{8, DESC, 0x1000, USED},	 {8, DESC, AVAIL, RAM_BASE + RAM_SIZE - 4},
		{8, ~UINT64_C(15), AVAIL, USED},
	};

	setup();
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		uint64_t generation = rd(0x15, 1);

		memset(raised, 0, sizeof(raised));
		negotiate(BIT(32));
		queue_setup(bad[i].size, bad[i].desc, bad[i].avail, bad[i].used);
		wr(0x14, 1, 0xf);
		settle(&echo->vp);
		cr_expect_eq(rd(0x14, 1), 0xf | STATUS_NEEDS_RESET, "%u", i);
		cr_expect_eq(raised[0], 1);
		cr_expect_neq(rd(0x15, 1), generation);
		kick();
		settle(&echo->vp);
		wr(0x14, 1, 0);
		settle(&echo->vp);
		cr_expect_eq(rd(0x14, 1), 0);
	}
	/* And works after all that. */
	bring_up(BIT(32), 8);
	offer(0);
	kick();
	settle(&echo->vp);
	cr_expect_eq(used_idx(), 1);
	teardown();
}

Test(virtio_pci, registers_are_latched)
{
	setup();
	bring_up(BIT(32), 8);
	settle(&echo->vp);
	queue_setup(256, 0, 0, 0);
	cr_expect_eq(rd(0x18, 2), 8);
	cr_expect_eq(rd(0x20, 4), DESC);
	offer(0);
	kick();
	settle(&echo->vp);
	cr_expect_eq(used_idx(), 1);
	/* Even between queue_enable and DRIVER_OK. */
	wr(0x14, 1, 0);
	settle(&echo->vp);
	negotiate(BIT(32));
	queue_setup(8, DESC, AVAIL, USED);
	wr(0x18, 2, 256);
	wr64(0x20, 0);
	cr_expect_eq(rd(0x18, 2), 8);
	cr_expect_eq(rd(0x20, 4), DESC);
	teardown();
}

Test(virtio_pci, runaway_ring_asks_for_a_reset)
{
	setup();
	bring_up(BIT(32), 8);
	settle(&echo->vp);
	((uint16_t *)at(AVAIL))[1] = 100;
	kick();
	settle(&echo->vp);
	cr_expect_eq(rd(0x14, 1), 0xf | STATUS_NEEDS_RESET);
	cr_expect_eq(raised[0], 1);
	cr_expect_eq(echo->taken, 0);
	wr(0x14, 1, 0xf);
	settle(&echo->vp);
	cr_expect_eq(rd(0x14, 1), 0xf | STATUS_NEEDS_RESET);
	teardown();
}

static void release_held(struct event_work *work)
{
	(void)work;
	while (echo->held) {
		echo->held--;
		virtio_pci_push(&echo->vp, 0, 0, 5);
		virtio_pci_put(&echo->vp);
	}
	event_loop_stop(loop);
}

static void hold_three(void)
{
	struct turns t = {.work = {.run = turn}, .left = 20};

	echo->hold = true;
	bring_up(BIT(32), 8);
	for (uint16_t i = 0; i < 3; i++)
		offer(i);
	kick();
	event_loop_post(loop, &t.work);
	cr_assert_eq(event_loop_run(loop), 0);
	cr_assert_eq(echo->held, 3);
}

static void some_turns(void)
{
	struct turns t = {.work = {.run = turn}, .left = 20};

	event_loop_post(loop, &t.work);
	cr_assert_eq(event_loop_run(loop), 0);
}

Test(virtio_pci, reset_waits_for_what_is_in_flight)
{
	struct event_work release = {.run = release_held};

	setup();
	hold_three();
	wr(0x14, 1, 0);
	some_turns();
	cr_expect_eq(rd(0x14, 1), 0xf);
	/* The device is nobody's meanwhile. */
	wr(0x16, 2, 1);
	cr_expect_eq(rd(0x16, 2), 0);
	offer(3);
	kick();
	some_turns();
	cr_expect_eq(echo->taken, 3);
	event_loop_post(loop, &release);
	cr_assert_eq(event_loop_run(loop), 0);
	some_turns();
	cr_expect_eq(rd(0x14, 1), 0);
	cr_expect_eq(used_idx(), 0, "nothing is written after a reset began");
	cr_expect_eq(raised[1], 0);
	cr_expect(virtio_pci_idle(&echo->vp));
	echo->hold = false;
	bring_up(BIT(32), 8);
	offer(0);
	kick();
	some_turns();
	cr_expect_eq(used_idx(), 1);
	teardown();
}

static void *run_loop(void *arg)
{
	(void)arg;
	event_loop_run(loop);
	return NULL;
}

static void release_only(struct event_timer *timer)
{
	(void)timer;
	while (echo->held) {
		echo->held--;
		virtio_pci_put(&echo->vp);
	}
}

/* Machine reset comes from another thread and returns when memory is safe to fill. */
Test(virtio_pci, machine_reset)
{
	struct event_timer timer = {.expired = release_only};
	pthread_t thread;

	setup();
	published->ops->reset(published);
	cr_expect_eq(rd(0x14, 1), 0);
	hold_three();
	event_loop_timer_arm(loop, &timer, 20000000);
	cr_assert_eq(pthread_create(&thread, NULL, run_loop, NULL), 0);
	while (event_loop_here(loop))
		sched_yield();
	published->ops->reset(published);
	cr_expect(virtio_pci_idle(&echo->vp));
	cr_expect_eq(rd(0x14, 1), 0);
	event_loop_stop(loop);
	pthread_join(thread, NULL);
	teardown();
}

static void drained(void *opaque)
{
	++*(unsigned *)opaque;
}

Test(virtio_pci, drain)
{
	struct event_work release = {.run = release_held};
	unsigned calls = 0;

	setup();
	hold_three();
	virtio_pci_drain(&echo->vp, drained, &calls);
	offer(3);
	kick();
	some_turns();
	cr_expect_eq(calls, 0);
	cr_expect_eq(echo->taken, 3);
	event_loop_post(loop, &release);
	cr_assert_eq(event_loop_run(loop), 0);
	some_turns();
	cr_expect_eq(calls, 1);
	cr_expect_eq(used_idx(), 3, "what was in flight is returned");
	virtio_pci_drain(&echo->vp, drained, &calls);
	cr_expect_eq(calls, 2);
	teardown();
}

Test(virtio_pci, machine_reset_ends_a_drain)
{
	for (int active = 0; active < 2; active++) {
		unsigned calls = 0;

		setup();
		if (active)
			bring_up(BIT(32), 8);
		some_turns();
		virtio_pci_drain(&echo->vp, drained, &calls);
		cr_expect_eq(calls, 1);
		published->ops->reset(published);
		some_turns();
		cr_expect_eq(rd(0x14, 1), 0);
		bring_up(BIT(32), 8);
		offer(0);
		kick();
		some_turns();
		cr_expect_eq(used_idx(), 1);
		teardown();
	}
}

static void reset_machine(struct event_work *work)
{
	unsigned calls = 0;

	(void)work;
	virtio_pci_drain(&echo->vp, drained, &calls);
	cr_expect_eq(calls, 1);
	published->ops->reset(published);
	cr_expect_eq(rd(0x14, 1), 0);
	/* The next guest's, from here on. */
	memset(at(RAM_BASE), 0, 0x8000);
	drv.avail = 0;
	offer(0);
}

/* On the loop's thread a reset is over when it returns, though the loop has more to do. */
Test(virtio_pci, machine_reset_before_a_notification_is_served)
{
	struct event_work machine = {.run = reset_machine};

	setup();
	bring_up(BIT(32), 8);
	some_turns();
	event_loop_post(loop, &machine);
	event_loop_post(loop, &echo->vp.queue[0].more);
	kick();
	some_turns();
	cr_expect_eq(echo->taken, 0);
	cr_expect_eq(used_idx(), 0);
	teardown();
}

Test(virtio_pci, doorbells_follow_the_bar)
{
	setup();
	published->ops->bar_mapped(published, 2, 0x8000, true);
	cr_expect_eq(doorbell.added, 0);
	/* The stand-in remembers the last of two queues. */
	echo->vp.config.queues = 1;
	published->ops->bar_mapped(published, 0, 0xc0000000, true);
	cr_expect_eq(doorbell.added, 1);
	cr_expect_eq(doorbell.gpa, 0xc0003000);
	published->ops->bar_mapped(published, 0, 0xc0000000, false);
	cr_expect_eq(doorbell.removed, 1);
	published->ops->bar_mapped(published, 0, 0xc0000000, true);
	/* What KVM would do. */
	bring_up(BIT(32), 8);
	settle(&echo->vp);
	offer(0);
	cr_assert_eq(write(doorbell.fd, &(uint64_t){1}, 8), 8);
	settle(&echo->vp);
	cr_expect_eq(used_idx(), 1);
	virtio_pci_function_ops.bar_mapped(published, 0, 0, false);
	echo->vp.config.queues = 2;
	teardown();
}

Test(virtio_pci, access_through_configuration_space)
{
	unsigned cap;

	setup();
	cap = echo->vp.pci_cfg;
	published->ops->config_write(published, cap + 4, 1, 0);
	published->ops->config_write(published, cap + 8, 4, 0x12);
	published->ops->config_write(published, cap + 12, 4, 2);
	cr_expect_eq(published->ops->config_read(published, cap + 16, 2), 2);
	published->ops->config_write(published, cap + 8, 4, 0x14);
	published->ops->config_write(published, cap + 12, 4, 1);
	published->ops->config_write(published, cap + 16, 1, 1);
	cr_expect_eq(rd(0x14, 1), 1);
	/* Hostile targets: nothing happens. */
	published->ops->config_write(published, cap + 8, 4, 0xfffffffc);
	published->ops->config_write(published, cap + 12, 4, 4);
	published->ops->config_write(published, cap + 16, 4, 0xffffffff);
	published->ops->config_read(published, cap + 16, 4);
	published->ops->config_write(published, cap + 4, 1, 5);
	published->ops->config_write(published, cap + 8, 4, 0);
	published->ops->config_read(published, cap + 16, 4);
	cr_expect_eq(rd(0x14, 1), 1);
	teardown();
}
