// SPDX-License-Identifier: Apache-2.0
/*
 * The soft iommufd's objects beyond those of test_iommufd_soft.c: nested page tables, dirty
 * tracking, vEVENTQs and fault queues in use.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "iommufd/uapi.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/expect_rc.h"

#define PAGE  UINT64_C(4096)
#define BASE  UINT64_C(0x10000000)
#define RW    (IOMMUFD_PROT_READ | IOMMUFD_PROT_WRITE)
#define HDSUP (UINT64_C(1) << 52)
#define PAGES UINT64_C(64)

static struct iommufd *ctx;
static struct guest_memory memory;
static uint32_t dev, ioas, parent, viommu;

static int alloc_hwpt(uint32_t flags, uint32_t pt, uint32_t fault, uint32_t *id)
{
	struct iommufd_hwpt_args args = {
		.flags = flags, .dev_id = dev, .pt_id = pt, .fault_id = fault};

	return iommufd_hwpt_alloc(ctx, &args, id);
}

static void set_features(uint64_t efr)
{
	const struct amd_iommu_features features = {.efr = efr};

	cr_assert_eq(iommufd_soft_set_hw(ctx, &features, 0), 0);
}

static void set_up(void)
{
	struct iommu_viommu_amd data = {0};
	struct iommufd_viommu_args args = {
		.type = IOMMU_VIOMMU_TYPE_AMD, .data = &data, .data_len = sizeof(data)};

	memory.region[0] = (struct guest_region){.size = PAGES * PAGE, .fd = -1};
	memory.region[0].host = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memory.count = 1;
	cr_assert_neq(memory.region[0].host, MAP_FAILED);
	cr_assert_eq(iommufd_open_soft(&ctx, &memory), 0);
	iommufd_soft_set_driver(ctx, &fake_driver);
	set_features(AMD_IOMMU_EFR_DEFAULT | HDSUP);
	cr_assert_eq(iommufd_soft_device_add(ctx, &dev), 0);
	cr_assert_eq(iommufd_ioas_alloc(ctx, &ioas), 0);
	cr_assert_eq(alloc_hwpt(IOMMU_HWPT_ALLOC_NEST_PARENT, ioas, 0, &parent), 0);
	args.dev_id = dev;
	args.hwpt_id = parent;
	cr_assert_eq(iommufd_viommu_alloc(ctx, &args, &viommu), 0);
}

static void tear_down(void)
{
	iommufd_close(ctx);
	munmap(memory.region[0].host, PAGES * PAGE);
}

TestSuite(iommufd_objects, .init = set_up, .fini = tear_down);

/* ---- nested page tables ---- */

#define V   (UINT64_C(1) << 0)
#define GV  (UINT64_C(1) << 55)
#define GLX (UINT64_C(1) << 56)

static int nest(const uint64_t dte[4], uint32_t len, uint32_t flags, uint32_t *id)
{
	struct iommufd_hwpt_args args = {.flags = flags,
					 .dev_id = dev,
					 .pt_id = viommu,
					 .data_type = IOMMU_HWPT_DATA_AMD_GUEST,
					 .data_len = len,
					 .fault_id = 999,
					 .data = dte};

	return iommufd_hwpt_alloc(ctx, &args, id);
}

Test(iommufd_objects, nested_entries_are_judged)
{
	static const struct {
		int rc;
		uint64_t dte[4];
	} c[] = {
		{0, {0}},
		{0, {V | GV | GLX, UINT64_C(1) << 16}}, /* each of GCR3's parts will do */
		{0, {V | GV | UINT64_C(1) << 58}},
		{0, {V | GV, UINT64_C(1) << 63}},
		{0, {V}},
		{0, {GV}},
		{-EINVAL, {V | GV}},
		{-EINVAL, {V | GV, 0xffff}}, /* a domain is no table */
		{-EINVAL, {V | UINT64_C(1) << 9}},
		{-EINVAL, {UINT64_C(4) << 9}},
		{-EINVAL, {UINT64_C(1) << 12}},
		{-EINVAL, {UINT64_C(1) << 51}},
		{-EINVAL, {3 * GLX}},
		{-EINVAL, {0, 0, UINT64_C(2) << 54}},
		{-EINVAL, {0, 0, UINT64_C(3) << 54}},
		{-EOPNOTSUPP, {0, 0, UINT64_C(1) << 54}},
		/* What a malformed entry is told comes before what the host lacks. */
		{-EINVAL, {3 * GLX, 0, UINT64_C(1) << 54}},
	};
	uint32_t id;

	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		int rc = nest(c[i].dte, 32, 0, &id);

		cr_expect_eq(rc, c[i].rc, "case %zu: %s", i, strerror(-rc));
	}
	set_features(AMD_IOMMU_EFR_DEFAULT | UINT64_C(1) << 12);
	EXPECT_RC(nest(c[ARRAY_SIZE(c) - 2].dte, 32, 0, &id), 0);
	set_features(AMD_IOMMU_EFR_DEFAULT | UINT64_C(2) << 12);
	EXPECT_RC(nest(c[ARRAY_SIZE(c) - 2].dte, 32, 0, &id), -EOPNOTSUPP);
}

Test(iommufd_objects, nested_call_errors)
{
	const uint64_t dte[5] = {0};
	struct iommufd_hwpt_args args = {
		.dev_id = dev, .pt_id = viommu, .data_type = 2, .data_len = 32, .data = dte};
	uint32_t id, inner;

	EXPECT_RC(iommufd_hwpt_alloc(ctx, &args, &id), -EOPNOTSUPP);
	EXPECT_RC(alloc_hwpt(0, viommu, 0, &id), -EOPNOTSUPP);
	EXPECT_RC(nest(dte, 31, 0, &id), -EINVAL);
	EXPECT_RC(nest(dte, 40, 0, &id), -EINVAL);
	EXPECT_RC(nest(NULL, 32, 0, &id), -EFAULT);
	EXPECT_RC(nest(dte, 32, IOMMU_HWPT_ALLOC_NEST_PARENT, &id), -EOPNOTSUPP);
	EXPECT_RC(nest(dte, 32, IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &id), -EOPNOTSUPP);
	EXPECT_RC(nest(dte, 32, IOMMU_HWPT_FAULT_ID_VALID, &id), -ENOENT);
	EXPECT_RC(nest(dte, 32, IOMMU_HWPT_ALLOC_PASID, &id), 0);
	EXPECT_RC(alloc_hwpt(0, id, 0, &inner), -EINVAL);
	EXPECT_RC(iommufd_hwpt_set_dirty_tracking(ctx, id, true), -ENOENT);
}

Test(iommufd_objects, nested_holds_its_viommu)
{
	const uint64_t dte[4] = {~(GENMASK(11, 9) | GENMASK(51, 12) | 3 * GLX) | 2 * GLX, ~0ull,
				 ~GENMASK(55, 54), ~0ull};
	uint64_t taken[4];
	uint32_t id, n = 1;

	EXPECT_RC(nest(dte, 32, 0, &id), 0);
	EXPECT_RC(iommufd_soft_hwpt_dte(ctx, id, taken), 0);
	cr_expect_eq(taken[0],
		     BIT(52) | BIT(54) | GENMASK(60, 58) | 2 * GLX); /* PPR, GIoV, GCR3, GLX */
	cr_expect_eq(taken[1], GENMASK(63, 43) | GENMASK(31, 0));    /* GCR3, DomainID */
	cr_expect_eq(taken[2], 0);
	cr_expect_eq(taken[3], 0);
	EXPECT_RC(iommufd_soft_hwpt_dte(ctx, parent, taken), -ENOENT);
	EXPECT_RC(iommufd_destroy(ctx, viommu), -EBUSY);
	EXPECT_RC(iommufd_hwpt_invalidate(ctx, id, 0, dte, 16, &n), -EOPNOTSUPP);
	cr_expect_eq(n, 0);
	EXPECT_RC(iommufd_hwpt_invalidate(ctx, viommu, 0, dte, 16, &n), -EOPNOTSUPP);
	EXPECT_RC(iommufd_hwpt_invalidate(ctx, parent, 0, dte, 16, &n), -EINVAL);
	EXPECT_RC(iommufd_destroy(ctx, id), 0);
	EXPECT_RC(iommufd_destroy(ctx, viommu), 0);
}

/* ---- fault queues ---- */

Test(iommufd_objects, page_tables_hold_their_fault_queue)
{
	const uint64_t dte[4] = {0};
	struct iommufd_hwpt_args args = {.flags = IOMMU_HWPT_FAULT_ID_VALID,
					 .dev_id = dev,
					 .pt_id = viommu,
					 .data_type = IOMMU_HWPT_DATA_AMD_GUEST,
					 .data_len = 32,
					 .data = dte};
	uint32_t plain, nested, id, other;
	int fd, other_fd;
	uint64_t align;
	unsigned count = 0;

	cr_assert_eq(iommufd_fault_queue_alloc(ctx, &id, &fd), 0);
	cr_assert_eq(iommufd_fault_queue_alloc(ctx, &other, &other_fd), 0);
	args.fault_id = id;
	EXPECT_RC(iommufd_hwpt_alloc(ctx, &args, &nested), 0);
	EXPECT_RC(alloc_hwpt(IOMMU_HWPT_FAULT_ID_VALID, ioas, id, &plain), 0);
	EXPECT_RC(alloc_hwpt(IOMMU_HWPT_FAULT_ID_VALID | IOMMU_HWPT_ALLOC_NEST_PARENT, ioas, id,
			     &plain),
		  -EOPNOTSUPP);
	/* Another's descriptor, and none. */
	EXPECT_RC(iommufd_eventq_read(ctx, id, other_fd, NULL, 0), -EBADF);
	EXPECT_RC(iommufd_eventq_read(ctx, id, -1, NULL, 0), -EBADF);
	EXPECT_RC(iommufd_fault_respond(ctx, id, other_fd, NULL, 0), -EBADF);
	EXPECT_RC(iommufd_eventq_read(ctx, ioas, fd, NULL, 0), -ENOENT);
	close(other_fd);
	close(fd);
	EXPECT_RC(iommufd_destroy(ctx, id), -EBUSY);
	EXPECT_RC(iommufd_destroy(ctx, nested), 0);
	EXPECT_RC(iommufd_destroy(ctx, id), -EBUSY);
	EXPECT_RC(iommufd_destroy(ctx, plain), 0);
	EXPECT_RC(iommufd_destroy(ctx, id), 0);
	/* A page table that was refused for its queue leaves its IOAS as it was. */
	EXPECT_RC(iommufd_ioas_alloc(ctx, &other), 0);
	EXPECT_RC(alloc_hwpt(IOMMU_HWPT_FAULT_ID_VALID, other, id, &plain), -ENOENT);
	EXPECT_RC(iommufd_ioas_iova_ranges(ctx, other, NULL, &count, &align), -EMSGSIZE);
	cr_expect_eq(align, 1);
	EXPECT_RC(iommufd_destroy(ctx, other), 0);
}

/* ---- vEVENTQs ---- */

struct event {
	struct iommufd_vevent_header header;
	uint64_t data[2];
};

static bool readable(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};

	return poll(&pfd, 1, 0) == 1 && (pfd.revents & POLLIN);
}

static int report(uint64_t value)
{
	const uint64_t data[2] = {value, ~value};

	return iommufd_soft_vevent_report(ctx, viommu, 7, data, sizeof(data));
}

Test(iommufd_objects, events_in_order)
{
	struct event event[3];
	uint32_t id, other;
	int fd, other_fd;

	EXPECT_RC(report(1), -EOPNOTSUPP);
	cr_assert_eq(iommufd_veventq_alloc(ctx, viommu, 7, 3, &id, &fd), 0);
	EXPECT_RC(iommufd_veventq_alloc(ctx, viommu, 7, 3, &other, &other_fd), -EEXIST);
	EXPECT_RC(iommufd_soft_vevent_report(ctx, ioas, 7, event, 8), -ENOENT);
	EXPECT_RC(iommufd_soft_vevent_report(ctx, viommu, 8, event, 8), -EOPNOTSUPP);
	EXPECT_RC(iommufd_soft_vevent_report(ctx, viommu, 7, event, 0), -EINVAL);
	cr_expect(!readable(fd));
	EXPECT_RC(iommufd_eventq_read(ctx, id, fd, event, sizeof(event)), 0);
	EXPECT_RC(iommufd_eventq_read(ctx, id, fd, event, 7), -EINVAL);
	for (uint64_t i = 0; i < 3; i++)
		EXPECT_RC(report(i), 0);
	cr_expect(readable(fd));
	EXPECT_RC(iommufd_eventq_read(ctx, id, fd, event, sizeof(event[0]) - 1), -EINVAL);
	/* Two and a half: two. */
	cr_expect_eq(iommufd_eventq_read(ctx, id, fd, event, sizeof(event[0]) * 5 / 2),
		     2 * sizeof(event[0]));
	for (uint32_t i = 0; i < 2; i++) {
		cr_expect_eq(event[i].header.flags, 0);
		cr_expect_eq(event[i].header.sequence, i);
		cr_expect(event[i].data[0] == i && event[i].data[1] == ~(uint64_t)i);
	}
	cr_expect(readable(fd));
	cr_expect_eq(iommufd_eventq_read(ctx, id, fd, event, sizeof(event)), sizeof(event[0]));
	cr_expect_eq(event[0].header.sequence, 2);
	cr_expect(!readable(fd));
	EXPECT_RC(report(9), 0);
	cr_expect(readable(fd), "again, after it was empty");
	/* Closed unread: it goes all the same. */
	EXPECT_RC(iommufd_destroy(ctx, id), -EBUSY);
	EXPECT_RC(iommufd_destroy(ctx, viommu), -EBUSY);
	close(fd);
	EXPECT_RC(report(10), 0);
	EXPECT_RC(iommufd_destroy(ctx, id), 0);
	EXPECT_RC(report(11), -EOPNOTSUPP);
	EXPECT_RC(iommufd_destroy(ctx, viommu), 0);
}

Test(iommufd_objects, nobody_reads)
{
	uint32_t id;
	int fd;

	cr_assert_eq(iommufd_veventq_alloc(ctx, viommu, 7, 2, &id, &fd), 0);
	close(fd);
	/* No SIGPIPE. */
	for (uint64_t i = 0; i < 4; i++)
		EXPECT_RC(report(i), 0);
	EXPECT_RC(iommufd_veventq_alloc(ctx, viommu, 8, 2, &id, &fd), 0);
	close(fd);
}

Test(iommufd_objects, lost_events_are_told)
{
	struct iommufd_vevent_header lost;
	struct event event[4];
	uint32_t id;
	int fd;

	cr_assert_eq(iommufd_veventq_alloc(ctx, viommu, 7, 2, &id, &fd), 0);
	for (uint64_t i = 0; i < 5; i++) /* 2, 3 and 4 are lost */
		EXPECT_RC(report(i), 0);
	cr_expect_eq(iommufd_eventq_read(ctx, id, fd, event, 2 * sizeof(event[0])),
		     2 * sizeof(event[0]));
	cr_expect(readable(fd), "that some were lost waits");
	cr_expect_eq(iommufd_eventq_read(ctx, id, fd, &lost, sizeof(lost)), sizeof(lost));
	cr_expect_eq(lost.flags, IOMMU_VEVENTQ_FLAG_LOST_EVENTS);
	cr_expect_eq(lost.sequence, 4);
	cr_expect(!readable(fd));
	/* With a later event the gap in the sequence says it, and the header is gone. */
	for (uint64_t i = 5; i < 8; i++) /* 7 is lost */
		EXPECT_RC(report(i), 0);
	cr_expect_eq(iommufd_eventq_read(ctx, id, fd, event, sizeof(event[0])), sizeof(event[0]));
	EXPECT_RC(report(8), 0);
	cr_expect_eq(iommufd_eventq_read(ctx, id, fd, event, sizeof(event)), 2 * sizeof(event[0]));
	cr_expect_eq(event[0].header.sequence, 6);
	cr_expect_eq(event[1].header.sequence, 8);
	cr_expect_eq(event[1].header.flags, 0);
	cr_expect(!readable(fd));
	close(fd);
}

enum { EVENTS = 2000 };

static void *report_many(void *arg)
{
	(void)arg;
	for (uint64_t i = 0; i < EVENTS; i++)
		report(i);
	return NULL;
}

Test(iommufd_objects, reader_and_reporter, .timeout = 30)
{
	struct pollfd pfd = {.events = POLLIN};
	struct event event;
	pthread_t thread;
	uint32_t id;

	cr_assert_eq(iommufd_veventq_alloc(ctx, viommu, 7, EVENTS, &id, &pfd.fd), 0);
	cr_assert_eq(pthread_create(&thread, NULL, report_many, NULL), 0);
	for (uint32_t i = 0; i < EVENTS; i++) {
		cr_assert_eq(poll(&pfd, 1, -1), 1);
		cr_assert_eq(iommufd_eventq_read(ctx, id, pfd.fd, &event, sizeof(event)),
			     sizeof(event));
		cr_assert_eq(event.header.sequence, i);
	}
	pthread_join(thread, NULL);
	cr_expect(!readable(pfd.fd));
	close(pfd.fd);
}

/* ---- dirty tracking ---- */

static uint32_t tracked(void)
{
	uint32_t hwpt;

	cr_assert_eq(alloc_hwpt(IOMMU_HWPT_ALLOC_DIRTY_TRACKING, ioas, 0, &hwpt), 0);
	cr_assert_eq(iommufd_ioas_map(ctx, ioas, BASE, memory.region[0].host, 32 * PAGE, RW), 0);
	cr_assert_eq(iommufd_hwpt_set_dirty_tracking(ctx, hwpt, true), 0);
	return hwpt;
}

static uint64_t dirty(uint32_t hwpt, uint32_t flags)
{
	uint64_t bits[2] = {0};

	EXPECT_RC(iommufd_hwpt_get_dirty_bitmap(ctx, hwpt, flags, BASE, 32 * PAGE, PAGE, bits), 0);
	cr_expect_eq(bits[1], 0);
	return bits[0];
}

Test(iommufd_objects, written_pages_are_found)
{
	uint32_t hwpt = tracked();
	uint64_t bits = 0, caps = 0;
	uint32_t type = 0, len = 0;

	EXPECT_RC(iommufd_hw_info(ctx, dev, &type, NULL, &len, &caps), 0);
	cr_expect_eq(caps, IOMMU_HW_CAP_DIRTY_TRACKING);
	cr_expect_eq(dirty(hwpt, 0), 0);
	EXPECT_RC(iommufd_soft_hwpt_written(ctx, hwpt, BASE, 1), 0);
	EXPECT_RC(iommufd_soft_hwpt_written(ctx, hwpt, BASE + 3 * PAGE - 1, 2), 0);
	EXPECT_RC(iommufd_soft_hwpt_written(ctx, hwpt, BASE + 31 * PAGE, PAGE), 0);
	cr_expect_eq(dirty(hwpt, IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR), 0x8000000d);
	cr_expect_eq(dirty(hwpt, 0), 0x8000000d);
	cr_expect_eq(dirty(hwpt, 0), 0);
	/* Larger granules; and bits that are set stay so. */
	EXPECT_RC(iommufd_soft_hwpt_written(ctx, hwpt, BASE + 5 * PAGE, PAGE), 0);
	bits = 1;
	EXPECT_RC(iommufd_hwpt_get_dirty_bitmap(ctx, hwpt, 0, BASE, 32 * PAGE, 4 * PAGE, &bits), 0);
	cr_expect_eq(bits, 3);
	/* A part is asked for: the rest stays. */
	EXPECT_RC(iommufd_soft_hwpt_written(ctx, hwpt, BASE, 32 * PAGE), 0);
	bits = 0;
	EXPECT_RC(
		iommufd_hwpt_get_dirty_bitmap(ctx, hwpt, 0, BASE + 4 * PAGE, 2 * PAGE, PAGE, &bits),
		0);
	cr_expect_eq(bits, 3);
	cr_expect_eq(dirty(hwpt, 0), 0xffffffcf);
	/* Another page table of the same IOAS has bits of its own. */
	EXPECT_RC(iommufd_soft_hwpt_written(ctx, parent, BASE, PAGE), 0);
	cr_expect_eq(dirty(hwpt, 0), 0);
}

Test(iommufd_objects, tracking_on_and_off)
{
	uint32_t hwpt = tracked();

	EXPECT_RC(iommufd_soft_hwpt_written(ctx, hwpt, BASE, PAGE), 0);
	EXPECT_RC(iommufd_hwpt_set_dirty_tracking(ctx, hwpt, false), 0);
	EXPECT_RC(iommufd_soft_hwpt_written(ctx, hwpt, BASE + PAGE, PAGE), 0);
	cr_expect_eq(dirty(hwpt, IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR), 1);
	EXPECT_RC(iommufd_hwpt_set_dirty_tracking(ctx, hwpt, true), 0);
	cr_expect_eq(dirty(hwpt, 0), 0, "a clean start");
	/* What is mapped anew is clean. */
	EXPECT_RC(iommufd_soft_hwpt_written(ctx, hwpt, BASE, 2 * PAGE), 0);
	EXPECT_RC(iommufd_ioas_unmap(ctx, ioas, BASE, 32 * PAGE, NULL), 0);
	EXPECT_RC(iommufd_ioas_map(ctx, ioas, BASE, memory.region[0].host, 32 * PAGE, RW), 0);
	cr_expect_eq(dirty(hwpt, 0), 0);
	EXPECT_RC(iommufd_soft_hwpt_written(ctx, hwpt, BASE, PAGE), 0);
	EXPECT_RC(iommufd_destroy(ctx, hwpt), 0);
	EXPECT_RC(iommufd_ioas_unmap(ctx, ioas, 0, UINT64_MAX, NULL), 0);
}

Test(iommufd_objects, holes_and_distant_pages)
{
	const uint64_t far = UINT64_C(1) << 40;
	uint8_t *ram = memory.region[0].host;
	uint32_t hwpt = tracked();
	uint64_t bits = 0;

	EXPECT_RC(iommufd_ioas_map(ctx, ioas, BASE + 33 * PAGE, ram, PAGE, RW), 0);
	EXPECT_RC(iommufd_ioas_map(ctx, ioas, BASE + 32 * PAGE, ram, PAGE, IOMMUFD_PROT_READ), 0);
	EXPECT_RC(iommufd_ioas_map(ctx, ioas, far - PAGE, ram, 2 * PAGE, RW), 0);
	EXPECT_RC(iommufd_soft_hwpt_written(ctx, hwpt, BASE + 32 * PAGE, PAGE), -EFAULT);
	EXPECT_RC(iommufd_soft_hwpt_written(ctx, hwpt, BASE + 31 * PAGE, 3 * PAGE), -EFAULT);
	EXPECT_RC(iommufd_soft_hwpt_written(ctx, hwpt, BASE + 34 * PAGE, 1), -EFAULT);
	EXPECT_RC(iommufd_soft_hwpt_written(ctx, hwpt, BASE, 0), -EINVAL);
	EXPECT_RC(iommufd_soft_hwpt_written(ctx, hwpt, UINT64_MAX, 2), -EOVERFLOW);
	EXPECT_RC(iommufd_soft_hwpt_written(ctx, ioas, BASE, 1), -ENOENT);
	cr_expect_eq(dirty(hwpt, 0), 0, "what failed is not noted");
	EXPECT_RC(iommufd_soft_hwpt_written(ctx, hwpt, far - 1, 2), 0);
	EXPECT_RC(iommufd_soft_hwpt_written(ctx, hwpt, BASE + 33 * PAGE, 1), 0);
	EXPECT_RC(
		iommufd_hwpt_get_dirty_bitmap(ctx, hwpt, 0, far - 2 * PAGE, 4 * PAGE, PAGE, &bits),
		0);
	cr_expect_eq(bits, 0, "a hole comes first");
	EXPECT_RC(iommufd_hwpt_get_dirty_bitmap(ctx, hwpt, 0, far - PAGE, 4 * PAGE, PAGE, &bits),
		  0);
	cr_expect_eq(bits, 3, "and one ends it");
	bits = 0;
	EXPECT_RC(iommufd_hwpt_get_dirty_bitmap(ctx, hwpt, 0, BASE + 30 * PAGE, 4 * PAGE, PAGE,
						&bits),
		  0);
	cr_expect_eq(bits, 8, "mappings that touch are read through");
}

Test(iommufd_objects, dirty_errors)
{
	uint32_t hwpt = tracked();
	uint64_t bits;
	struct {
		int rc;
		uint64_t iova, length, page;
	} c[] = {
		{-EINVAL, BASE, 0, PAGE},	 {-EOVERFLOW, ~UINT64_C(0) - 4095, 2 * PAGE, PAGE},
		{-EINVAL, BASE + 1, PAGE, 1},	 {-EINVAL, BASE, PAGE - 1, 1},
		{-EINVAL, BASE, PAGE, 0},	 {-EINVAL, BASE + PAGE, 2 * PAGE, 2 * PAGE},
		{-EINVAL, BASE, PAGE, 2 * PAGE},
	};

	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		int rc = iommufd_hwpt_get_dirty_bitmap(ctx, hwpt, 0, c[i].iova, c[i].length,
						       c[i].page, &bits);

		cr_expect_eq(rc, c[i].rc, "case %zu: %s", i, strerror(-rc));
	}
	/* Allocated without: the range is judged first. */
	EXPECT_RC(iommufd_hwpt_get_dirty_bitmap(ctx, parent, 0, BASE, 0, PAGE, &bits), -EINVAL);
	EXPECT_RC(iommufd_hwpt_get_dirty_bitmap(ctx, parent, 0, BASE, PAGE, PAGE, &bits),
		  -EOPNOTSUPP);
	EXPECT_RC(iommufd_hwpt_set_dirty_tracking(ctx, parent, true), -EOPNOTSUPP);
	/* The guest is not shown what is the host's. */
	cr_expect_eq(fake_engine(iommufd_soft_viommu_engine(ctx, viommu))->config.features.efr,
		     AMD_IOMMU_EFR_DEFAULT);
}

/* ---- options with a page table ---- */

Test(iommufd_objects, options_with_a_page_table)
{
	const struct iommufd_iova_range msi = {0xfee00000, 0xfee00fff}, low = {PAGE, 8 * PAGE - 1};
	uint8_t *ram = memory.region[0].host;
	uint32_t other, hwpt;

	EXPECT_RC(iommufd_ioas_allow_iovas(ctx, ioas, &msi, 1), -EADDRINUSE);
	EXPECT_RC(iommufd_ioas_allow_iovas(ctx, ioas, &low, 1), 0);
	EXPECT_RC(iommufd_option_set(ctx, IOMMU_OPTION_HUGE_PAGES, ioas, 0), 0);
	EXPECT_RC(iommufd_option_set(ctx, IOMMU_OPTION_HUGE_PAGES, ioas, 1), 0);
	EXPECT_RC(iommufd_ioas_map(ctx, ioas, BASE, ram, PAGE, RW), 0);
	EXPECT_RC(iommufd_option_set(ctx, IOMMU_OPTION_HUGE_PAGES, ioas, 0), -EINVAL);
	/* The other way round: what was allowed cannot become an interrupt range. */
	EXPECT_RC(iommufd_ioas_alloc(ctx, &other), 0);
	EXPECT_RC(iommufd_ioas_allow_iovas(ctx, other, &msi, 1), 0);
	EXPECT_RC(alloc_hwpt(0, other, 0, &hwpt), -EADDRINUSE);
	EXPECT_RC(iommufd_ioas_allow_iovas(ctx, other, NULL, 0), 0);
	EXPECT_RC(alloc_hwpt(0, other, 0, &hwpt), 0);
}
