// SPDX-License-Identifier: Apache-2.0
/* The entropy device: what it gives, what it refuses, and that its rate is kept. */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>

#include "config.h"
#include "tests/unit/virtio_driver.h"

#define V1 BIT(32)
#define WR VRING_DESC_F_WRITE

static struct virtio_pci *vp;

static void setup_on(enum event_loop_kind kind, bool iommu, const char *file, uint64_t rate)
{
	struct virtio_env env = {.window = &window, .iommu = iommu, .memory = &ram};
	struct virtio_rng_config config = {.fd = -1, .rate = rate, .name = "rng0"};

	ram_open();
	memset(&drv, 0, sizeof(drv));
	msix_on = true;
	if (iommu)
		drv = (struct driver){.base = IOVA_BASE, .swap = GUEST_PAGE_SIZE};
	cr_assert_eq(event_loop_new(kind, &loop), 0);
	env.loop = loop;
	env.dma = iommu ? &paged.ds : &identity.ds;
	if (file)
		config.fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	cr_assert_eq(virtio_rng_new(&env, &config, &vp), 0);
	bring_up(V1 | (iommu ? BIT(33) : 0), 16);
	settle(vp);
}

static void teardown(void)
{
	cr_expect(virtio_pci_idle(vp));
	virtio_pci_free(vp);
	event_loop_free(loop);
	ram_close();
	cr_expect_eq(paged.holds, 0);
}

static void ask(uint16_t head, uint32_t len, uint16_t flags)
{
	desc_set(head, dev_addr(DATA + 0x4000u * head), len, flags, 0);
	avail_push(head);
}

/* How many of LEN bytes are not 0. */
static uint32_t filled(uint16_t head, uint32_t len)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < len; i++)
		n += *(uint8_t *)at(DATA + 0x4000u * head + i) != 0;
	return n;
}

TestSuite(virtio_rng, .timeout = 120);

static void gives(enum event_loop_kind kind, bool iommu, const char *file)
{
	struct virtio_rng_stats stats;

	setup_on(kind, iommu, file, 0);
	cr_expect_eq(pci_get16(published, 2), 0x1044);
	cr_expect_eq(offered() & ~(BIT(28) | BIT(29) | BIT(33)), V1);
	ask(0, 1, WR);
	ask(1, 1000, WR);
	ask(2, 0x4000, WR);
	kick();
	settle(vp);
	cr_assert_eq(used_idx(), 3);
	cr_expect_eq(used_elem(0).len, 1);
	cr_expect_eq(used_elem(1).len, 1000);
	cr_expect_gt(filled(1, 1000), 900);
	cr_expect_eq(used_elem(2).len, 4096, "no more at once");
	cr_expect_gt(filled(2, 4096), 3900);
	cr_expect_eq(filled(2, 0x4000), filled(2, 4096));
	cr_expect_gt(raised[1], 0);
	virtio_rng_stats(vp, &stats);
	cr_expect_eq(stats.requests, 3);
	cr_expect_eq(stats.bytes, 1 + 1000 + 4096);
	cr_expect_eq(stats.waits, 0);
	teardown();
}

Test(virtio_rng, from_the_kernel)
{
	gives(EVENT_LOOP_POLL, false, NULL);
}

Test(virtio_rng, from_a_file_poll)
{
	gives(EVENT_LOOP_POLL, false, "/dev/urandom");
}

Test(virtio_rng, translated)
{
	gives(EVENT_LOOP_POLL, true, NULL);
}

#ifdef CONFIG_EVENT_LOOP_URING
Test(virtio_rng, from_a_file_uring)
{
	gives(EVENT_LOOP_URING, true, "/dev/urandom");
}
#endif

/* A file that has nothing: the guest gets random bytes all the same. */
Test(virtio_rng, from_a_file_that_ends)
{
	setup_on(EVENT_LOOP_POLL, false, "/dev/null", 0);
	ask(0, 100, WR);
	kick();
	settle(vp);
	cr_assert_eq(used_idx(), 1);
	cr_expect_eq(used_elem(0).len, 100);
	cr_expect_gt(filled(0, 100), 80);
	teardown();
}

/* A file that has nothing yet is asked again, and holds up neither the loop nor a reset. */
static void waits_for_the_file(enum event_loop_kind kind)
{
	char path[32], bytes[64];
	int ends[2];

	memset(bytes, 0xff, sizeof(bytes));
	cr_assert_eq(pipe(ends), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[0]);
	setup_on(kind, true, path, 0);
	ask(0, 100, WR);
	kick();
	settle(NULL);
	cr_assert_eq(used_idx(), 0);
	cr_assert_eq(write(ends[1], bytes, sizeof(bytes)), (ssize_t)sizeof(bytes));
	while (!used_idx())
		settle(NULL);
	cr_expect_eq(used_elem(0).len, sizeof(bytes));
	cr_expect_eq(filled(0, 100), sizeof(bytes));
	ask(1, 100, WR);
	kick();
	settle(NULL);
	wr(0x14, 1, 0);
	while (rd(0x14, 1))
		settle(NULL);
	teardown();
	close(ends[0]);
	close(ends[1]);
}

Test(virtio_rng, from_a_file_that_has_nothing_yet_poll)
{
	waits_for_the_file(EVENT_LOOP_POLL);
}

#ifdef CONFIG_EVENT_LOOP_URING
Test(virtio_rng, from_a_file_that_has_nothing_yet_uring)
{
	waits_for_the_file(EVENT_LOOP_URING);
}
#endif

Test(virtio_rng, bad_chains)
{
	static const struct {
		uint32_t len;
		uint16_t flags;
	} bad[] = {{16, 0}, {0, WR}};

	setup_on(EVENT_LOOP_POLL, true, NULL, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		ask(0, bad[i].len, bad[i].flags);
		kick();
		settle(vp);
		cr_expect_eq(rd(0x14, 1), 0x4f, "case %u", i);
		wr(0x14, 1, 0);
		settle(vp);
		bring_up(V1 | BIT(33), 16);
		settle(vp);
	}
	ask(0, 16, WR);
	kick();
	settle(vp);
	cr_expect_eq(used_idx(), 1);
	teardown();
}

static uint64_t clock_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

/* However long it takes: never more than the time that has passed allows; and all are answered. */
Test(virtio_rng, the_rate_is_kept)
{
	const uint64_t share = 10, period = UINT64_C(100000000);
	const uint64_t start = clock_now();
	struct virtio_rng_stats stats;
	uint64_t given = 0;

	setup_on(EVENT_LOOP_POLL, false, NULL, 10 * share);
	for (uint16_t i = 0; i < 8; i++)
		ask(i, 8, WR);
	kick();
	while (used_idx() < 8) {
		settle(vp);
		virtio_rng_stats(vp, &stats);
		given = stats.bytes;
		cr_assert_leq(given, share * (1 + (clock_now() - start) / period));
	}
	for (uint16_t i = 0; i < 8; i++)
		given -= used_elem(i).len;
	cr_expect_eq(given, 0);
	teardown();
}

/* A reset while a request waits, and the end of the device while its timer runs. */
Test(virtio_rng, reset_while_waiting)
{
	setup_on(EVENT_LOOP_POLL, false, NULL, 1);
	ask(0, 8, WR);
	ask(1, 8, WR);
	kick();
	settle(vp);
	wr(0x14, 1, 0);
	settle(vp);
	cr_expect_eq(rd(0x14, 1), 0);
	bring_up(V1, 16);
	settle(vp);
	ask(0, 8, WR);
	ask(1, 8, WR);
	kick();
	settle(vp);
	cr_expect_eq(rd(0x14, 1), 0xf);
	teardown();
}
