/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conformance table's second half: options, allowed IOVAs, page table calls, event queues and
 * pages to map, and VIOMMU_COMMAND. test_iommufd_conformance.c runs it.
 */
#ifndef TEST_IOMMUFD_CONFORMANCE_H
#define TEST_IOMMUFD_CONFORMANCE_H

#include <criterion/criterion.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/vfio/vfio.h"
#include "iommufd/uapi.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/expect_rc.h"

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

/*
 * What a vIOMMU needs: a device of the transport's own. The kernel's is the VFIO device node in
 * POSTERN_TEST_VFIO; without it there is none.
 */
static bool viommu_parent(struct fixture *f, uint32_t *dev, uint32_t *parent, int *fd)
{
	const char *node = getenv("POSTERN_TEST_VFIO");
	struct iommufd_hwpt_args hwpt = {.flags = IOMMU_HWPT_ALLOC_NEST_PARENT, .pt_id = f->ioas};

	*fd = -1;
	if (iommufd_is_soft(f->ctx)) {
		cr_assert_eq(iommufd_soft_device_add(f->ctx, dev), 0);
	} else {
		if (!node)
			return false;
		*fd = vfio_node_bind(node, iommufd_fd(f->ctx), dev);
		cr_assert(*fd >= 0, "%s: %s", node, strerror(-*fd));
	}
	hwpt.dev_id = *dev;
	EXPECT_RC(iommufd_hwpt_alloc(f->ctx, &hwpt, parent), 0);
	return true;
}

static unsigned command_nr(const struct fixture *f)
{
	const char *nr = getenv("POSTERN_TEST_COMMAND_NR");

	return nr && !iommufd_is_soft(f->ctx) ? (unsigned)strtoul(nr, NULL, 0)
					      : IOMMUFD_CMD_VIOMMU_COMMAND;
}

static int command(struct fixture *f, struct iommu_viommu_command cmd)
{
	return iommufd_call(f->ctx, command_nr(f), &cmd);
}

#define COMMAND(...) command(f, (struct iommu_viommu_command){__VA_ARGS__})

static void command_errors(struct fixture *f, uint32_t viommu, const uint32_t *other, size_t others)
{
	const unsigned nr = command_nr(f);

	/* In order: size, reserved, operation, id, index. */
	for (uint32_t size = 0; size < 24; size++)
		EXPECT_RC(COMMAND(.size = size, .object_id = NO_ID, .__reserved = 1), -EINVAL);
	EXPECT_RC(iommufd_call(f->ctx, nr, NULL), -EFAULT);
	EXPECT_RC(COMMAND(.size = 24, .object_id = NO_ID, .__reserved = 1), -EOPNOTSUPP);
	EXPECT_RC(COMMAND(.size = 24, .object_id = NO_ID, .op = 2), -EOPNOTSUPP);
	EXPECT_RC(COMMAND(.size = 24, .object_id = viommu, .__reserved = 1u << 31), -EOPNOTSUPP);
	EXPECT_RC(COMMAND(.size = 24, .object_id = viommu, .op = 0xffff), -EOPNOTSUPP);
	for (size_t i = 0; i < others; i++) {
		EXPECT_RC(COMMAND(.size = 24, .object_id = other[i], .index = 0x1c), -ENOENT);
		EXPECT_RC(COMMAND(.size = 24, .object_id = other[i], .index = 0x18, .op = 1),
			  -ENOENT);
	}
	for (uint16_t op = 0; op < 2; op++) {
		EXPECT_RC(COMMAND(.size = 24, .object_id = viommu, .op = op, .index = 0x1c),
			  -EINVAL);
		EXPECT_RC(COMMAND(.size = 24, .object_id = viommu, .op = op, .index = 0xffff),
			  -EINVAL);
		EXPECT_RC(COMMAND(.size = 24, .object_id = viommu, .op = op, .index = 0x1000),
			  -EOPNOTSUPP);
		EXPECT_RC(COMMAND(.size = 24, .object_id = viommu, .op = op, .index = 0xfff8),
			  -EOPNOTSUPP);
	}
}

static void command_values(struct fixture *f, uint32_t viommu)
{
	/* Whole registers; of Control only bits that every vIOMMU has. */
	static const struct {
		uint16_t index;
		uint64_t value;
	} reg[] = {
		{0x18, BIT(4) | BIT(3)},
		{0x18, 0},
		{0x10, UINT64_C(8) << 56 | 0x123456000},
		{0x38, UINT64_C(9) << 56 | 0x7000},
		{0x00, 0xabcde000 | 1},
		{0x170, UINT64_C(1) << 56 | UINT64_C(0x41) << 32 | 0x23400 | BIT(2)},
		{0x178, UINT64_C(0x42) << 32},
	};
	struct {
		struct iommu_viommu_command cmd;
		uint64_t tail;
	} longer = {.cmd = {.size = 32, .object_id = viommu, .index = 0x18, .val64 = BIT(4)}};
	struct iommu_viommu_command cmd, sent;
	uint64_t value;

	for (size_t i = 0; i < ARRAY_SIZE(reg); i++) {
		cmd = (struct iommu_viommu_command){.size = 24,
						    .object_id = viommu,
						    .index = reg[i].index,
						    .val64 = reg[i].value};
		sent = cmd;
		EXPECT_RC(iommufd_call(f->ctx, command_nr(f), &cmd), 0);
		cr_expect_eq(memcmp(&cmd, &sent, sizeof(cmd)), 0, "SET leaves the structure alone");
		cmd.op = sent.op = IOMMU_VIOMMU_COMMAND_OP_GET;
		cmd.val64 = ~reg[i].value;
		EXPECT_RC(iommufd_call(f->ctx, command_nr(f), &cmd), 0);
		cr_expect_eq(memcmp(&cmd, &sent, sizeof(cmd)), 0, "%#x: %#llx", reg[i].index,
			     (unsigned long long)cmd.val64);
	}
	EXPECT_RC(iommufd_call(f->ctx, command_nr(f), &longer), 0);
	longer.tail = BIT(63);
	longer.cmd.val64 = 0;
	EXPECT_RC(iommufd_call(f->ctx, command_nr(f), &longer), -E2BIG);
	EXPECT_RC(iommufd_viommu_command_get(f->ctx, viommu, 0x18, &value), 0);
	cr_expect_eq(value, BIT(4), "refused before anything was done");
}

static void viommu_commands(struct fixture *f)
{
	uint32_t dev, parent, viommu, second;
	uint64_t value, vf_page = 1;
	struct iommu_viommu_alloc cmd = {.size = sizeof(cmd), .type = IOMMU_VIOMMU_TYPE_AMD};
	struct iommu_viommu_amd data;
	int fd;

	if (!viommu_parent(f, &dev, &parent, &fd))
		return;
	cmd.dev_id = dev;
	cmd.hwpt_id = parent;
	EXPECT_RC(iommufd_call(f->ctx, IOMMUFD_CMD_VIOMMU_ALLOC, &cmd), -EINVAL);
	cmd.data_len = 4;
	cmd.data_uptr = (uintptr_t)&data;
	EXPECT_RC(iommufd_call(f->ctx, IOMMUFD_CMD_VIOMMU_ALLOC, &cmd), -EINVAL);
	cmd.data_len = 16;
	EXPECT_RC(iommufd_call(f->ctx, IOMMUFD_CMD_VIOMMU_ALLOC, &cmd), -EINVAL);
	cmd.data_len = 8;
	cmd.data_uptr = 0;
	EXPECT_RC(iommufd_call(f->ctx, IOMMUFD_CMD_VIOMMU_ALLOC, &cmd), -EFAULT);

	EXPECT_RC(iommufd_viommu_alloc_amd(f->ctx, dev, parent, &viommu, &vf_page), 0);
	cr_expect_eq(vf_page, 0);
	EXPECT_RC(iommufd_destroy(f->ctx, parent), -EBUSY);
	const uint32_t other[] = {0, NO_ID, BIG_ID, f->ioas, parent, dev};

	command_errors(f, viommu, other, ARRAY_SIZE(other));
	command_values(f, viommu);
	EXPECT_RC(iommufd_viommu_alloc_amd(f->ctx, dev, parent, &second, &vf_page), 0);
	EXPECT_RC(iommufd_viommu_command_get(f->ctx, second, 0x170, &value), 0);
	cr_expect_eq(value, 0, "a vIOMMU has registers of its own");
	EXPECT_RC(iommufd_destroy(f->ctx, second), 0);
	EXPECT_RC(iommufd_viommu_command_set(f->ctx, second, 0x18, 0), -ENOENT);
	EXPECT_RC(iommufd_destroy(f->ctx, viommu), 0);
	EXPECT_RC(iommufd_destroy(f->ctx, parent), 0);
	if (fd >= 0)
		close(fd);
}

#endif
