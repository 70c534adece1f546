/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conformance table's second half: options, allowed IOVAs, page table calls, event queues and
 * pages to map. test_iommufd_conformance.c runs it.
 */
#ifndef TEST_IOMMUFD_CONFORMANCE_H
#define TEST_IOMMUFD_CONFORMANCE_H

#include <criterion/criterion.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "iommufd/uapi.h"
#include "tests/unit/fake_engine.h"

#define PAGE   UINT64_C(4096)
#define BASE   UINT64_C(0x10000000)
#define RW     (IOMMUFD_PROT_READ | IOMMUFD_PROT_WRITE)
#define FLAGS  ((uint32_t)(IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE))
#define NO_ID  0x7ffffff0u
#define BIG_ID 0xffffffffu

struct fixture {
	struct iommufd *ctx;
	uint32_t ioas;
	uint8_t *memory; /* 16 pages, aligned to as much */
};

#define EXPECT_RC(rc, want)                                                                        \
	do {                                                                                       \
		int got_ = (int)(rc), want_ = (want);                                              \
		cr_expect(got_ == want_, #rc ": %s instead of %s", strerror(-got_),                \
			  strerror(-want_));                                                       \
	} while (0)

static inline uint64_t map_anywhere(struct fixture *f, uint64_t offset, uint64_t length)
{
	struct iommu_ioas_map cmd = {
		.size = sizeof(cmd),
		.flags = FLAGS,
		.ioas_id = f->ioas,
		.user_va = (uintptr_t)f->memory + offset,
		.length = length,
	};

	EXPECT_RC(iommufd_call(f->ctx, IOMMUFD_CMD_IOAS_MAP, &cmd), 0);
	return cmd.iova;
}

static void options(struct fixture *f)
{
	struct iommu_option cmd = {.size = sizeof(cmd), .op = 2};
	struct iommufd *x = f->ctx;
	uint64_t value = 7;

	EXPECT_RC(iommufd_option_get(x, 2, 0, &value), -EOPNOTSUPP);
	cr_expect_eq(value, 7, "untouched by a failure");
	EXPECT_RC(iommufd_call(x, IOMMUFD_CMD_OPTION, &cmd), -EOPNOTSUPP);
	cmd = (struct iommu_option){.size = sizeof(cmd), .op = 1, .__reserved = 1};
	EXPECT_RC(iommufd_call(x, IOMMUFD_CMD_OPTION, &cmd), -EOPNOTSUPP);
	cmd.size = 16;
	EXPECT_RC(iommufd_call(x, IOMMUFD_CMD_OPTION, &cmd), -EINVAL);

	EXPECT_RC(iommufd_option_get(x, IOMMU_OPTION_RLIMIT_MODE, 0, &value), 0);
	cr_expect_eq(value, 0);
	EXPECT_RC(iommufd_option_get(x, IOMMU_OPTION_RLIMIT_MODE, f->ioas, &value), -EOPNOTSUPP);
	/* The kernel has this for CAP_SYS_RESOURCE alone, which it asks first. */
	if (iommufd_option_set(x, IOMMU_OPTION_RLIMIT_MODE, 0, 1) == -EPERM && geteuid())
		return;
	EXPECT_RC(iommufd_option_set(x, IOMMU_OPTION_RLIMIT_MODE, 0, 1), -EBUSY);
	EXPECT_RC(iommufd_option_set(x, IOMMU_OPTION_RLIMIT_MODE, 0, 2), -EBUSY);
	EXPECT_RC(iommufd_destroy(x, f->ioas), 0);
	EXPECT_RC(iommufd_option_set(x, IOMMU_OPTION_RLIMIT_MODE, 0, 2), -EINVAL);
	EXPECT_RC(iommufd_option_set(x, IOMMU_OPTION_RLIMIT_MODE, 0, 1), 0);
	EXPECT_RC(iommufd_option_get(x, IOMMU_OPTION_RLIMIT_MODE, 0, &value), 0);
	cr_expect_eq(value, 1);
	EXPECT_RC(iommufd_option_set(x, IOMMU_OPTION_RLIMIT_MODE, 0, 0), 0);
}

static void huge_pages(struct fixture *f)
{
	const uint32_t option = IOMMU_OPTION_HUGE_PAGES;
	struct iommu_option cmd = {
		.size = sizeof(cmd), .option_id = option, .op = 2, .object_id = f->ioas};
	struct iommufd *x = f->ctx;
	uint64_t value = 0, align;
	unsigned count = 0;

	EXPECT_RC(iommufd_call(x, IOMMUFD_CMD_OPTION, &cmd), -EOPNOTSUPP);
	cmd.object_id = NO_ID;
	EXPECT_RC(iommufd_call(x, IOMMUFD_CMD_OPTION, &cmd), -ENOENT);
	EXPECT_RC(iommufd_option_get(x, option, 0, &value), -ENOENT);
	EXPECT_RC(iommufd_option_get(x, option, f->ioas, &value), 0);
	cr_expect_eq(value, 1);
	EXPECT_RC(iommufd_option_set(x, option, f->ioas, 2), -EINVAL);
	EXPECT_RC(iommufd_ioas_map(x, f->ioas, BASE, f->memory, 16, RW), 0);
	EXPECT_RC(iommufd_option_set(x, option, f->ioas, 0), -EADDRINUSE);
	EXPECT_RC(iommufd_option_get(x, option, f->ioas, &value), 0);
	cr_expect_eq(value, 1);
	EXPECT_RC(iommufd_ioas_unmap(x, f->ioas, BASE, 16, NULL), 0);
	EXPECT_RC(iommufd_option_set(x, option, f->ioas, 0), 0);
	EXPECT_RC(iommufd_option_set(x, option, f->ioas, 0), 0);
	EXPECT_RC(iommufd_option_get(x, option, f->ioas, &value), 0);
	cr_expect_eq(value, 0);
	/* Single pages only: nothing smaller can be mapped. */
	EXPECT_RC(iommufd_ioas_iova_ranges(x, f->ioas, NULL, &count, &align), -EMSGSIZE);
	cr_expect_eq(align, PAGE);
	EXPECT_RC(iommufd_ioas_map(x, f->ioas, BASE, f->memory, 16, RW), -EINVAL);
	EXPECT_RC(iommufd_ioas_map(x, f->ioas, BASE, f->memory + 16, PAGE, RW), -EINVAL);
	EXPECT_RC(iommufd_ioas_map(x, f->ioas, BASE, f->memory, PAGE, RW), 0);
	EXPECT_RC(iommufd_option_set(x, option, f->ioas, 1), 0);
	EXPECT_RC(iommufd_ioas_map(x, f->ioas, BASE + PAGE, f->memory, 16, RW), 0);
}

static void allow_iovas(struct fixture *f)
{
	struct iommu_ioas_allow_iovas cmd = {
		.size = sizeof(cmd), .ioas_id = NO_ID, .__reserved = 1};
	const struct iommufd_iova_range one[] = {{BASE, BASE}};
	const struct iommufd_iova_range crossing[] = {{BASE + PAGE, BASE + 9 * PAGE},
						      {0, BASE + PAGE}};
	/* Unsorted; the first two touch, so that something can lie across. */
	const struct iommufd_iova_range good[] = {{BASE + 2 * PAGE, BASE + 4 * PAGE - 1},
						  {BASE + PAGE, BASE + 2 * PAGE - 1},
						  {BASE + 64 * PAGE, BASE + 66 * PAGE - 1}};
	struct iommu_ioas_map map = {.size = sizeof(map),
				     .flags = FLAGS,
				     .ioas_id = f->ioas,
				     .user_va = (uintptr_t)f->memory,
				     .length = PAGE};
	struct iommufd *x = f->ctx;
	uint64_t at[4];

	EXPECT_RC(iommufd_call(x, IOMMUFD_CMD_IOAS_ALLOW_IOVAS, &cmd), -EOPNOTSUPP);
	EXPECT_RC(iommufd_ioas_allow_iovas(x, NO_ID, one, 1), -ENOENT);
	EXPECT_RC(iommufd_ioas_allow_iovas(x, f->ioas, one, 1), -EINVAL);
	EXPECT_RC(iommufd_ioas_allow_iovas(x, f->ioas, crossing, 2), -EINVAL);
	EXPECT_RC(iommufd_ioas_allow_iovas(x, f->ioas, NULL, 1), -EFAULT);
	EXPECT_RC(iommufd_ioas_allow_iovas(x, f->ioas, good, 3), 0);
	for (size_t i = 0; i < ARRAY_SIZE(at); i++)
		at[i] = map_anywhere(f, 0, PAGE);
	cr_expect_eq(at[0], BASE + PAGE);
	cr_expect_eq(at[1], BASE + 2 * PAGE);
	EXPECT_RC(iommufd_ioas_unmap(x, f->ioas, 0, UINT64_MAX, NULL), 0);
	/* A failure leaves what was allowed. */
	EXPECT_RC(iommufd_ioas_allow_iovas(x, f->ioas, crossing, 2), -EINVAL);
	cr_expect_eq(map_anywhere(f, 0, PAGE), BASE + PAGE);
	EXPECT_RC(iommufd_ioas_unmap(x, f->ioas, 0, UINT64_MAX, NULL), 0);
	map.length = 4 * PAGE;
	EXPECT_RC(iommufd_call(x, IOMMUFD_CMD_IOAS_MAP, &map), -ENOSPC);
	/* Who names the place is not bound by it. */
	EXPECT_RC(iommufd_ioas_map(x, f->ioas, 64 * PAGE, f->memory, PAGE, RW), 0);
	EXPECT_RC(iommufd_ioas_allow_iovas(x, f->ioas, NULL, 0), 0);
	cr_expect_eq(map_anywhere(f, 0, PAGE), PAGE);
}

static void dirty_errors(struct fixture *f)
{
	struct iommu_hwpt_set_dirty_tracking set = {
		.size = sizeof(set), .flags = 2, .hwpt_id = NO_ID};
	struct iommu_hwpt_get_dirty_bitmap get = {
		.size = sizeof(get), .hwpt_id = NO_ID, .__reserved = 1};
	struct iommufd *x = f->ctx;
	uint64_t bits = 0;

	EXPECT_RC(iommufd_call(x, IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING, &set), -EOPNOTSUPP);
	set.size = 12;
	EXPECT_RC(iommufd_call(x, IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING, &set), -EINVAL);
	EXPECT_RC(iommufd_call(x, IOMMUFD_CMD_HWPT_GET_DIRTY_BITMAP, &get), -EOPNOTSUPP);
	EXPECT_RC(iommufd_hwpt_set_dirty_tracking(x, NO_ID, true), -ENOENT);
	EXPECT_RC(iommufd_hwpt_set_dirty_tracking(x, f->ioas, true), -ENOENT);
	EXPECT_RC(iommufd_hwpt_get_dirty_bitmap(x, f->ioas, 2, 0, 0, 0, &bits), -EOPNOTSUPP);
	EXPECT_RC(iommufd_hwpt_get_dirty_bitmap(x, f->ioas, 0, 0, 0, 0, &bits), -ENOENT);
}

static void invalidate_errors(struct fixture *f)
{
	struct iommu_hwpt_invalidate cmd = {
		.size = sizeof(cmd), .hwpt_id = NO_ID, .entry_num = 5, .__reserved = 1};
	const uint64_t entry[2] = {0};
	struct iommufd *x = f->ctx;
	uint32_t n = 1;

	EXPECT_RC(iommufd_call(x, IOMMUFD_CMD_HWPT_INVALIDATE, &cmd), -EOPNOTSUPP);
	cr_expect_eq(cmd.entry_num, 0, "nothing was done");
	EXPECT_RC(iommufd_hwpt_invalidate(x, NO_ID, 0, NULL, 16, &n), -EINVAL);
	cr_expect_eq(n, 0);
	n = 1;
	EXPECT_RC(iommufd_hwpt_invalidate(x, NO_ID, 0, entry, 0, &n), -EINVAL);
	n = 1;
	EXPECT_RC(iommufd_hwpt_invalidate(x, NO_ID, 0, entry, 4097, &n), -EINVAL);
	n = (1u << 19) + 1;
	EXPECT_RC(iommufd_hwpt_invalidate(x, NO_ID, 0, entry, 16, &n), -EINVAL);
	n = 1;
	EXPECT_RC(iommufd_hwpt_invalidate(x, NO_ID, 0, entry, 16, &n), -ENOENT);
	cr_expect_eq(n, 0);
	EXPECT_RC(iommufd_hwpt_invalidate(x, NO_ID, 0, NULL, 0, &n), -ENOENT);
	n = 1;
	EXPECT_RC(iommufd_hwpt_invalidate(x, f->ioas, 0, entry, 16, &n), -EINVAL);
	cr_expect_eq(n, 0);
}

static short polled(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN | POLLOUT};

	return poll(&pfd, 1, 0) < 0 ? POLLNVAL : pfd.revents;
}

static void fault_queue(struct fixture *f)
{
	const struct iommu_hwpt_page_response answer[2] = {{.cookie = 1}, {.cookie = 2}};
	struct iommu_fault_alloc cmd = {.size = sizeof(cmd), .flags = 1};
	struct iommu_hwpt_pgfault fault[2];
	struct iommufd *x = f->ctx;
	uint32_t id = 0;
	int fd = -1, copy;

	EXPECT_RC(iommufd_call(x, IOMMUFD_CMD_FAULT_QUEUE_ALLOC, &cmd), -EOPNOTSUPP);
	cr_assert_eq(iommufd_fault_queue_alloc(x, &id, &fd), 0);
	cr_expect_eq(polled(fd), POLLOUT, "nothing to read, room to write");
	EXPECT_RC(iommufd_eventq_read(x, id, fd, fault, sizeof(fault)), 0);
	EXPECT_RC(iommufd_eventq_read(x, id, fd, fault, sizeof(fault) - 1), -ESPIPE);
	EXPECT_RC(iommufd_fault_respond(x, id, fd, answer, sizeof(answer)), -EINVAL);
	EXPECT_RC(iommufd_fault_respond(x, id, fd, answer, 7), -ESPIPE);
	EXPECT_RC(iommufd_fault_respond(x, id, fd, answer, 0), 0);
	EXPECT_RC(iommufd_destroy(x, id), -EBUSY);
	copy = dup(fd);
	close(fd);
	EXPECT_RC(iommufd_destroy(x, id), -EBUSY);
	EXPECT_RC(iommufd_eventq_read(x, id, copy, fault, sizeof(fault)), 0);
	close(copy);
	EXPECT_RC(iommufd_destroy(x, id), 0);
	EXPECT_RC(iommufd_destroy(x, id), -ENOENT);
}

static void veventq_errors(struct fixture *f)
{
	struct iommu_veventq_alloc cmd = {
		.size = sizeof(cmd), .viommu_id = NO_ID, .type = 1, .__reserved = 1};
	struct iommufd *x = f->ctx;
	uint32_t id;
	int fd;

	EXPECT_RC(iommufd_call(x, IOMMUFD_CMD_VEVENTQ_ALLOC, &cmd), -EOPNOTSUPP);
	cmd.__reserved = 0;
	cmd.flags = 1;
	EXPECT_RC(iommufd_call(x, IOMMUFD_CMD_VEVENTQ_ALLOC, &cmd), -EOPNOTSUPP);
	cmd.size = 27;
	EXPECT_RC(iommufd_call(x, IOMMUFD_CMD_VEVENTQ_ALLOC, &cmd), -EINVAL);
	EXPECT_RC(iommufd_veventq_alloc(x, NO_ID, 0, 0, &id, &fd), -EOPNOTSUPP);
	EXPECT_RC(iommufd_veventq_alloc(x, NO_ID, 1, 0, &id, &fd), -EINVAL);
	EXPECT_RC(iommufd_veventq_alloc(x, NO_ID, 1, (1u << 19) + 1, &id, &fd), -EINVAL);
	EXPECT_RC(iommufd_veventq_alloc(x, NO_ID, 1, 1u << 19, &id, &fd), -ENOENT);
	EXPECT_RC(iommufd_veventq_alloc(x, f->ioas, 1, 1, &id, &fd), -ENOENT);
}

static void pages(struct fixture *f)
{
	void *va = f;

	EXPECT_RC(iommufd_mmap(f->ctx, 0, PAGE, &va), -ENXIO);
	EXPECT_RC(iommufd_mmap(f->ctx, 16 * PAGE, 2 * PAGE, &va), -ENXIO);
	EXPECT_RC(iommufd_mmap(f->ctx, UINT64_MAX - PAGE + 1, PAGE, &va), -EOVERFLOW);
	EXPECT_RC(iommufd_mmap(f->ctx, 0, (size_t)1 << 60, &va), -ENOMEM);
	EXPECT_RC(iommufd_mmap(f->ctx, 0, 0, &va), -EINVAL);
	EXPECT_RC(iommufd_mmap(f->ctx, 1, PAGE, &va), -EINVAL);
	cr_expect_eq(va, f, "untouched by a failure");
	/* Unmapping is the process's affair. */
	va = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EXPECT_RC(iommufd_munmap(f->ctx, va, PAGE), 0);
	EXPECT_RC(iommufd_munmap(f->ctx, (uint8_t *)va + 1, PAGE), -EINVAL);
}

#endif
