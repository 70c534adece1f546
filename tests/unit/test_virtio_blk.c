// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <sys/eventfd.h>

#include "config.h"
#include "tests/unit/virtio_driver.h"

#define SECTORS 64u
#define HEADER	(DATA + 0x0)
#define STATUS	(DATA + 0x100)
#define BUFFER	(DATA + 0x8000)

#define V1    BIT(32)
#define FLUSH BIT(9)
#define FREE  (BIT(13) | BIT(14)) /* DISCARD, WRITE_ZEROES */
#define WR    VRING_DESC_F_WRITE
#define NEXT  VRING_DESC_F_NEXT

static struct virtio_pci *blk;
static struct virtio_pci *vp;
static int disk; /* the test's own descriptor of the same file */

static void setup_on(enum event_loop_kind kind, bool iommu, bool readonly)
{
	struct virtio_env env = {.window = &window, .iommu = iommu, .memory = &ram};
	struct virtio_blk_config config = {.readonly = readonly, .name = "disk0"};
	uint8_t sector[512];

	ram_open();
	memset(&drv, 0, sizeof(drv));
	msix_on = true;
	if (iommu)
		drv = (struct driver){.base = IOVA_BASE, .swap = GUEST_PAGE_SIZE};
	disk = memfd_create("disk", MFD_CLOEXEC);
	for (unsigned i = 0; i < SECTORS; i++) {
		for (unsigned j = 0; j < 512; j++)
			sector[j] = (uint8_t)(i * 31 + j);
		cr_assert_eq(pwrite(disk, sector, 512, i * 512), 512);
	}
	/* A tail that is no whole sector is not part of the disk. */
	cr_assert_eq(ftruncate(disk, SECTORS * 512 + 100), 0);
	cr_assert_eq(event_loop_new(kind, &loop), 0);
	env.loop = loop;
	env.dma = iommu ? &paged.ds : &identity.ds;
	config.fd = dup(disk);
	cr_assert_eq(virtio_blk_new(&env, &config, &blk), 0);
	vp = container_of(published, struct virtio_pci, fn);
}

static void setup(void)
{
	setup_on(EVENT_LOOP_POLL, false, false);
}

static void teardown(void)
{
	cr_expect(virtio_pci_idle(blk));
	virtio_pci_free(blk);
	event_loop_free(loop);
	close(disk);
	ram_close();
}

static void header(uint32_t type, uint64_t sector)
{
	*(uint32_t *)at(HEADER) = type;
	*(uint64_t *)at(HEADER + 8) = sector;
	*(uint8_t *)at(STATUS) = 0xee;
}

static void go(void)
{
	avail_push(0);
	kick();
	settle(vp);
}

/* One request in the usual layout. Returns the status. */
static uint8_t request(uint32_t type, uint64_t sector, uint32_t len, uint16_t data_flags)
{
	header(type, sector);
	desc_set(0, dev_addr(HEADER), 16, NEXT, len ? 1 : 2);
	desc_set(1, dev_addr(BUFFER), len, NEXT | data_flags, 2);
	desc_set(2, dev_addr(STATUS), 1, WR, 0);
	go();
	return *(uint8_t *)at(STATUS);
}

static bool pattern(const uint8_t *p, unsigned sector, unsigned len)
{
	for (unsigned j = 0; j < len; j++) {
		if (p[j] != (uint8_t)((sector + j / 512) * 31 + j % 512))
			return false;
	}
	return true;
}

TestSuite(virtio_blk, .timeout = 60);

Test(virtio_blk, configuration)
{
	struct virtio_env env = {.memory = &ram};
	struct virtio_blk_config config = {.fd = -1, .name = "bad"};
	int pair[2];

	setup();
	cr_expect_eq(offered(), V1 | BIT(28) | BIT(29) | FLUSH | BIT(6) | BIT(2) | FREE);
	cr_expect_eq(rd(VIRTIO_DEVICE_OFFSET, 8), SECTORS);
	cr_expect_eq(rd(VIRTIO_DEVICE_OFFSET + 12, 4), 254);
	cr_expect_eq(rd(VIRTIO_DEVICE_OFFSET + 20, 4), 512);
	cr_expect_eq(rd(VIRTIO_DEVICE_OFFSET + 36, 4), 1 << 22);
	cr_expect_eq(rd(VIRTIO_DEVICE_OFFSET + 40, 4), 1);
	cr_expect_eq(rd(VIRTIO_DEVICE_OFFSET + 44, 4), 8);
	cr_expect_eq(rd(VIRTIO_DEVICE_OFFSET + 56, 1), 1);
	cr_expect_eq(rd(VIRTIO_DEVICE_OFFSET + 60, 4), 0);
	cr_expect_eq(published->config[11], 1);
	cr_expect_eq(published->config[10], 0x80);
	cr_expect_eq(pci_get16(published, 2), 0x1042);
	teardown();

	setup_on(EVENT_LOOP_POLL, true, true);
	cr_expect_eq(offered(),
		     V1 | BIT(33) | BIT(28) | BIT(29) | FLUSH | BIT(6) | BIT(5) | BIT(2) | BIT(1));
	cr_expect_eq(rd(VIRTIO_DEVICE_OFFSET + 8, 4), 28672);
	cr_expect_eq(rd(VIRTIO_DEVICE_OFFSET + 12, 4), 126);
	teardown();

	cr_expect_eq(virtio_blk_new(&env, &config, &blk), -EBADF);
	config.fd = memfd_create("empty", 0);
	cr_expect_eq(virtio_blk_new(&env, &config, &blk), -EINVAL);
	cr_assert_eq(pipe(pair), 0);
	config.fd = pair[0];
	cr_expect_eq(virtio_blk_new(&env, &config, &blk), -EINVAL);
}

static void read_write_flush(enum event_loop_kind kind, bool iommu)
{
	struct virtio_blk_stats stats;
	uint8_t check[1024];

	setup_on(kind, iommu, false);
	bring_up(V1 | FLUSH | (iommu ? BIT(33) : 0), 16);
	cr_expect_eq(request(0, 5, 1024, WR), 0);
	cr_expect(pattern(at(BUFFER), 5, 1024));
	cr_expect_eq(used_elem(0).id, 0);
	cr_expect_eq(used_elem(0).len, 1025);
	memset(at(BUFFER), 0x5a, 1024);
	cr_expect_eq(request(1, 62, 1024, 0), 0);
	cr_expect_eq(used_elem(1).len, 1);
	cr_assert_eq(pread(disk, check, 1024, 62 * 512), 1024);
	cr_expect_eq(memcmp(check, at(BUFFER), 1024), 0);
	cr_assert_eq(pread(disk, check, 512, 61 * 512), 512);
	cr_expect(pattern(check, 61, 512), "the neighbour is untouched");
	cr_expect_eq(request(4, 0, 0, 0), 0);
	cr_expect_eq(used_elem(2).len, 1);
	memset(at(BUFFER), 0xff, 32);
	cr_expect_eq(request(8, 0, 20, WR), 0);
	cr_expect_eq(used_elem(3).len, 21);
	cr_expect_eq(memcmp(at(BUFFER), "disk0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xff", 21), 0);
	virtio_blk_stats(blk, &stats);
	cr_expect_eq(stats.reads, 1);
	cr_expect_eq(stats.writes, 1);
	cr_expect_eq(stats.flushes, 1);
	cr_expect_eq(stats.errors, 0);
	cr_expect_eq(stats.bytes_read, 1024);
	cr_expect_eq(stats.bytes_written, 1024);
	cr_expect_eq(stats.interrupts, 4);
	cr_expect_eq(raised[1], 4);
	teardown();
}

Test(virtio_blk, read_write_flush_poll)
{
	read_write_flush(EVENT_LOOP_POLL, false);
}

Test(virtio_blk, read_write_flush_translated)
{
	read_write_flush(EVENT_LOOP_POLL, true);
}

#ifdef CONFIG_EVENT_LOOP_URING
Test(virtio_blk, read_write_flush_uring)
{
	read_write_flush(EVENT_LOOP_URING, false);
	read_write_flush(EVENT_LOOP_URING, true);
}
#endif

/* The buffers are free before the guest can know, and not before they were used. */
static unsigned ends;

static void buffer_released(void)
{
	ends++;
	cr_expect(pattern(at(BUFFER), 5, 512), "data");
	cr_expect_eq(*(uint8_t *)at(STATUS), 0, "status");
	cr_expect_eq(used_idx(), 0, "the guest knows already");
}

Test(virtio_blk, buffers_are_held_while_they_are_used)
{
	setup_on(EVENT_LOOP_POLL, true, false);
	bring_up(V1 | FLUSH | BIT(33), 16);
	paged.watch = dev_addr(BUFFER);
	paged.released = buffer_released;
	cr_expect_eq(request(0, 5, 512, WR), 0);
	cr_expect_eq(paged.held_data, 1);
	cr_expect_eq(ends, 1);
	cr_expect_eq(paged.holds, 0);
	paged.released = NULL;

	/* Whatever becomes of a request, nothing stays held. */
	cr_expect_eq(request(0, SECTORS, 512, WR), 1);
	cr_expect_eq(request(77, 0, 512, WR), 2);
	cr_expect_eq(paged.held_data, 3);
	cr_expect_eq(paged.holds, 0);
	desc_set(0, dev_addr(HEADER), 16, NEXT, 1);
	desc_set(1, dev_addr(BUFFER), 512, 0, 0);
	go();
	cr_expect_eq(paged.held_data, 4, "a request without room for its status");
	cr_expect_eq(paged.holds, 0);
	teardown();
}

/* 2.7.4.3: the device may not care how a request is cut into descriptors. */
Test(virtio_blk, any_layout)
{
	uint8_t check[512];

	setup();
	bring_up(V1 | FLUSH, 16);
	/* A header in three parts, the last together with the data; a write. */
	header(1, 7);
	memcpy(at(BUFFER), at(HEADER + 10), 6);
	for (unsigned i = 0; i < 512; i++)
		*(uint8_t *)at(BUFFER + 6 + i) = (uint8_t)(i ^ 0x33);
	desc_set(0, HEADER, 3, NEXT, 1);
	desc_set(1, HEADER + 3, 7, NEXT, 2);
	desc_set(2, BUFFER, 6 + 300, NEXT, 3);
	desc_set(3, BUFFER + 306, 212, NEXT, 4);
	desc_set(4, STATUS, 1, WR, 0);
	go();
	cr_expect_eq(*(uint8_t *)at(STATUS), 0);
	cr_assert_eq(pread(disk, check, 512, 7 * 512), 512);
	cr_expect_eq(memcmp(check, at(BUFFER + 6), 512), 0);

	/* A read whose status follows the data in the same descriptor. */
	header(0, 9);
	desc_set(0, HEADER, 16, NEXT, 1);
	desc_set(1, BUFFER, 100, NEXT | WR, 2);
	desc_set(2, BUFFER + 0x2000, 413, WR, 0);
	*(uint8_t *)at(BUFFER + 0x2000 + 412) = 0xee;
	go();
	cr_expect_eq(*(uint8_t *)at(BUFFER + 0x2000 + 412), 0);
	memcpy(check, at(BUFFER), 100);
	memcpy(check + 100, at(BUFFER + 0x2000), 412);
	cr_expect(pattern(check, 9, 512));
	cr_expect_eq(used_elem(1).len, 513);
	teardown();
}

Test(virtio_blk, refused_requests)
{
	setup();
	bring_up(V1 | FLUSH, 16);
	memset(at(BUFFER), 0x77, 4096);
	cr_expect_eq(request(0, SECTORS, 512, WR), 1);
	cr_expect_eq(used_elem(0).len, 0);
	cr_expect_eq(request(0, SECTORS - 1, 1024, WR), 1);
	cr_expect_eq(request(0, ~UINT64_C(0), 1024, WR), 1);
	cr_expect_eq(request(0, UINT64_C(1) << 55, 512, WR), 1, "sector * 512 wraps");
	cr_expect_eq(request(1, SECTORS - 1, 1024, 0), 1);
	cr_expect_eq(request(0, 0, 511, WR), 1);
	cr_expect_eq(request(1, 0, 513, 0), 1);
	cr_expect_eq(request(2, 0, 512, WR), 2, "SCSI command");
	cr_expect_eq(request(11, 0, 512, 0), 2, "DISCARD was not negotiated");
	cr_expect_eq(request(0xffffffff, 0, 0, 0), 2);
	cr_expect_eq(*(uint8_t *)at(BUFFER), 0x77);
	cr_expect_eq(request(0, SECTORS, 0, 0), 0, "nothing from the very end");
	cr_expect_eq(rd(0x14, 1), 0xf);
	cr_expect_eq(lseek(disk, 0, SEEK_END), SECTORS * 512 + 100);
	cr_expect_eq(request(0, SECTORS - 1, 512, WR), 0);
	cr_expect(pattern(at(BUFFER), SECTORS - 1, 512));
	teardown();
}

/* A DISCARD or WRITE_ZEROES of one extent. */
static uint8_t extent(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
	*(uint64_t *)at(BUFFER) = sector;
	*(uint32_t *)at(BUFFER + 8) = sectors;
	*(uint32_t *)at(BUFFER + 12) = flags;
	return request(type, 0, 16, 0);
}

static bool zero(unsigned sector, unsigned sectors)
{
	uint8_t check[512];

	for (unsigned i = sector; i < sector + sectors; i++) {
		cr_assert_eq(pread(disk, check, 512, i * 512), 512);
		for (unsigned j = 0; j < 512; j++)
			if (check[j])
				return false;
	}
	return true;
}

static void freeing(enum event_loop_kind kind)
{
	const uint32_t discard = 11, zeroes = 13, unmap = 1;
	struct virtio_blk_stats stats;
	uint8_t check[512], answer;

	setup_on(kind, false, false);
	bring_up(V1 | FLUSH | FREE, 16);
	cr_expect_eq(extent(discard, 8, 8, 0), 0);
	cr_expect(zero(8, 8));
	cr_expect_eq(extent(zeroes, 24, 3, unmap), 0);
	cr_expect(zero(24, 3));
	/* Without unmapping: the file system can, or says so and changes nothing. */
	answer = extent(zeroes, 32, 8, 0);
	cr_expect(answer == 0 || answer == 2);
	cr_expect_eq(zero(32, 8), answer == 0);
	for (unsigned i = 0; i < SECTORS; i++) {
		if ((i >= 8 && i < 16) || (i >= 24 && i < 27) || (i >= 32 && i < 40))
			continue;
		cr_assert_eq(pread(disk, check, 512, i * 512), 512);
		cr_expect(pattern(check, i, 512), "sector %u is another's", i);
	}
	cr_expect_eq(lseek(disk, 0, SEEK_END), SECTORS * 512 + 100, "the size stays");
	cr_expect_eq(extent(discard, 40, 0, 0), 0, "nothing");
	cr_expect_eq(extent(discard, SECTORS - 1, 2, 0), 1, "beyond the end");
	cr_expect_eq(extent(zeroes, ~UINT64_C(0), 2, 0), 1);
	cr_expect_eq(extent(discard, 0, (1u << 22) + 1, 0), 1, "more than was offered");
	cr_expect_eq(extent(discard, 40, 1, unmap), 2);
	cr_expect_eq(extent(zeroes, 40, 1, 2), 2, "a reserved flag");
	cr_expect_eq(request(discard, 0, 15, 0), 1);
	cr_expect_eq(request(discard, 0, 32, 0), 1, "two extents");
	cr_assert_eq(pread(disk, check, 512, 40 * 512), 512);
	cr_expect(pattern(check, 40, 512));
	virtio_blk_stats(blk, &stats);
	cr_expect_eq(stats.discards, 11);
	teardown();
}

Test(virtio_blk, freeing)
{
	freeing(EVENT_LOOP_POLL);
#ifdef CONFIG_EVENT_LOOP_URING
	freeing(EVENT_LOOP_URING);
#endif
}

Test(virtio_blk, readonly)
{
	uint8_t check[512];

	setup_on(EVENT_LOOP_POLL, false, true);
	bring_up(V1 | FLUSH | BIT(5), 16);
	memset(at(BUFFER), 0x77, 512);
	cr_expect_eq(request(1, 3, 512, 0), 1);
	cr_assert_eq(pread(disk, check, 512, 3 * 512), 512);
	cr_expect(pattern(check, 3, 512));
	cr_expect_eq(request(0, 3, 512, WR), 0);
	cr_expect_eq(request(4, 0, 0, 0), 0);
	teardown();
}

/* Short reads are continued up to the end of the file, and end in an error past it. */
Test(virtio_blk, file_became_shorter)
{
	setup();
	bring_up(V1 | FLUSH, 16);
	cr_assert_eq(ftruncate(disk, 10 * 512), 0);
	cr_expect_eq(request(0, 8, 2048, WR), 1);
	cr_expect_eq(used_elem(0).len, 1024, "what was there has been written");
	cr_expect(pattern(at(BUFFER), 8, 1024));
	teardown();
}

/* 5.2.6.2: without FLUSH a write is stable when it is completed. */
Test(virtio_blk, write_through)
{
	struct event_loop_stats before, after;

	setup();
	bring_up(V1, 16);
	settle(vp);
	event_loop_stats(loop, &before);
	cr_expect_eq(request(1, 0, 512, 0), 0);
	event_loop_stats(loop, &after);
	cr_expect_eq(after.submissions - before.submissions, 2);
	teardown();
	setup();
	bring_up(V1 | FLUSH, 16);
	settle(vp);
	event_loop_stats(loop, &before);
	cr_expect_eq(request(1, 0, 512, 0), 0);
	event_loop_stats(loop, &after);
	cr_expect_eq(after.submissions - before.submissions, 1);
	teardown();
}

static void broken(const char *what)
{
	go();
	cr_expect_eq(rd(0x14, 1), 0xf | STATUS_NEEDS_RESET, "%s", what);
	cr_expect_eq(used_idx(), 0, "%s", what);
	wr(0x14, 1, 0);
	settle(vp);
	cr_expect_eq(rd(0x14, 1), 0);
	bring_up(V1 | FLUSH, 16);
}

Test(virtio_blk, broken_requests)
{
	setup();
	bring_up(V1 | FLUSH, 16);
	header(0, 0);
	desc_set(0, HEADER, 15, NEXT, 1);
	desc_set(1, STATUS, 1, WR, 0);
	broken("short header");
	desc_set(0, HEADER, 16, 0, 0);
	broken("no status");
	desc_set(0, HEADER, 16, NEXT, 1);
	desc_set(1, STATUS, 0, WR, 0);
	broken("empty status");
	desc_set(0, HEADER, 0, NEXT, 1);
	desc_set(1, STATUS, 1, WR, 0);
	broken("empty header");
	desc_set(0, HEADER, 16, NEXT, 1);
	desc_set(1, 0x1000, 1, WR, 0);
	broken("status outside RAM");
	desc_set(0, HEADER, 16, NEXT, 1);
	desc_set(1, BUFFER, 0xffffff00, NEXT | WR, 2);
	desc_set(2, STATUS, 1, WR, 0);
	broken("data past RAM");
	desc_set(0, HEADER, 16, NEXT, 0);
	broken("loop");
	cr_expect_eq(request(0, 5, 512, WR), 0);
	cr_expect(pattern(at(BUFFER), 5, 512));
	teardown();
}

/* The guest changes its requests after they were taken, and then resets the device. */
static void reset_now(struct event_watch *watch, short revents)
{
	(void)revents;
	if (virtio_pci_idle(blk)) {
		cr_assert_eq(write(watch->fd, &(uint64_t){1}, 8), 8);
		return;
	}
	*(uint32_t *)at(HEADER) = 1;
	*(uint64_t *)at(HEADER + 8) = ~UINT64_C(0);
	desc_set(1, 0, 0xffffffff, NEXT, 1);
	wr(0x14, 1, 0);
	cr_expect_eq(rd(0x14, 1), 0xf);
}

static void reset_in_flight(enum event_loop_kind kind)
{
	struct event_watch watch = {.events = POLLIN, .drain = true, .ready = reset_now};

	setup_on(kind, false, false);
	bring_up(V1 | FLUSH, 16);
	settle(vp);
	for (uint16_t i = 0; i < 5; i++) {
		header(0, 2);
		desc_set((uint16_t)(3 * i), HEADER, 16, NEXT, (uint16_t)(3 * i + 1));
		desc_set((uint16_t)(3 * i + 1), BUFFER + 4096u * i, 4096, NEXT | WR,
			 (uint16_t)(3 * i + 2));
		desc_set((uint16_t)(3 * i + 2), STATUS, 1, WR, 0);
		avail_push((uint16_t)(3 * i));
	}
	kick();
	watch.fd = eventfd(1, EFD_CLOEXEC);
	cr_assert_eq(event_loop_watch(loop, &watch), 0);
	settle(vp);
	event_loop_unwatch(loop, &watch);
	close(watch.fd);
	cr_expect_eq(rd(0x14, 1), 0);
	cr_expect(virtio_pci_idle(blk));
	/* From here on the memory is the guest's alone. */
	memset(at(RAM_BASE), 0x99, RAM_SIZE);
	settle(vp);
	for (uint64_t i = 0; i < RAM_SIZE; i++)
		cr_assert_eq(*((uint8_t *)at(RAM_BASE) + i), 0x99);
	bring_up(V1 | FLUSH, 16);
	cr_expect_eq(request(0, 5, 512, WR), 0);
	cr_expect(pattern(at(BUFFER), 5, 512));
	teardown();
}

#ifdef CONFIG_EVENT_LOOP_URING
Test(virtio_blk, reset_in_flight_uring)
{
	reset_in_flight(EVENT_LOOP_URING);
}
#endif

Test(virtio_blk, reset_in_flight_poll)
{
	reset_in_flight(EVENT_LOOP_POLL);
}

static void set_true(void *opaque)
{
	*(bool *)opaque = true;
}

Test(virtio_blk, drain)
{
	bool done = false;

	setup();
	bring_up(V1 | FLUSH, 16);
	cr_expect_eq(request(0, 5, 512, WR), 0);
	virtio_pci_drain(blk, set_true, &done);
	cr_expect(done);
	*(uint8_t *)at(STATUS) = 0xee;
	go();
	cr_expect_eq(*(uint8_t *)at(STATUS), 0xee, "takes no more");
	teardown();
}

/* A full queue of large requests in indirect tables, on each engine. */
static void full_queue(enum event_loop_kind kind)
{
	setup_on(kind, false, false);
	bring_up(V1 | FLUSH | BIT(28) | BIT(29), 256);
	for (unsigned i = 0; i < 256; i++) {
		uint64_t table = DATA + 0x40000 + 64u * i, buf = DATA + 0x80000 + 1024u * i;
		struct vring_desc *t = at(table);

		*(uint32_t *)at(table + 48) = 0;
		*(uint64_t *)at(table + 56) = i % 63;
		t[0] = (struct vring_desc){table + 48, 16, NEXT, 1};
		t[1] = (struct vring_desc){buf, 512, NEXT | WR, 2};
		t[2] = (struct vring_desc){buf + 512, 1, WR, 0};
		*(uint8_t *)at(buf + 512) = 0xee;
		desc_set((uint16_t)i, table, 48, VRING_DESC_F_INDIRECT, 0);
		avail_push((uint16_t)i);
	}
	kick();
	settle(vp);
	cr_expect_eq(used_idx(), 256);
	for (unsigned i = 0; i < 256; i++) {
		uint64_t buf = DATA + 0x80000 + 1024u * i;

		cr_assert_eq(*(uint8_t *)at(buf + 512), 0);
		cr_assert(pattern(at(buf), i % 63, 512));
	}
	teardown();
}

Test(virtio_blk, full_queue_poll)
{
	full_queue(EVENT_LOOP_POLL);
}

#ifdef CONFIG_EVENT_LOOP_URING
Test(virtio_blk, full_queue_uring)
{
	full_queue(EVENT_LOOP_URING);
}
#endif
