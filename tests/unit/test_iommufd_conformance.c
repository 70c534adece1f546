// SPDX-License-Identifier: Apache-2.0
/*
 * One table of cases for every transport: what holds for /dev/iommu must hold for the soft iommufd.
 * POSTERN_TEST_IOMMU=kernel or soft runs one of them; without it both, as far as they are there.
 * What needs a vIOMMU of the kernel runs on the VFIO device node in POSTERN_TEST_VFIO, with
 * VIOMMU_COMMAND's number in POSTERN_TEST_COMMAND_NR.
 */
#include "tests/unit/iommufd_conformance.h"

/* Where tests run without Criterion (ThreadSanitizer). */
#ifndef cr_skip_test
#define cr_skip_test(...) return
#endif

static void sizes(struct fixture *f)
{
	struct {
		struct iommu_ioas_alloc alloc;
		uint32_t tail;
	} longer = {.alloc = {.size = sizeof(longer)}};
	struct iommu_ioas_alloc cmd = {.size = sizeof(cmd) - 1};
	struct iommu_ioas_map map = {.size = sizeof(map) - 8};

	EXPECT_RC(iommufd_call(f->ctx, IOMMUFD_CMD_IOAS_ALLOC, &cmd), -EINVAL);
	cmd.size = 0;
	EXPECT_RC(iommufd_call(f->ctx, IOMMUFD_CMD_IOAS_ALLOC, &cmd), -EINVAL);
	EXPECT_RC(iommufd_call(f->ctx, IOMMUFD_CMD_IOAS_MAP, &map), -EINVAL);
	EXPECT_RC(iommufd_call(f->ctx, IOMMUFD_CMD_IOAS_ALLOC, &longer), 0);
	cr_expect(longer.alloc.out_ioas_id);
	EXPECT_RC(iommufd_destroy(f->ctx, longer.alloc.out_ioas_id), 0);
	longer.tail = 1;
	EXPECT_RC(iommufd_call(f->ctx, IOMMUFD_CMD_IOAS_ALLOC, &longer), -E2BIG);
	cmd.size = sizeof(cmd);
	cmd.flags = 1;
	EXPECT_RC(iommufd_call(f->ctx, IOMMUFD_CMD_IOAS_ALLOC, &cmd), -EOPNOTSUPP);
	EXPECT_RC(iommufd_call(f->ctx, IOMMUFD_CMD_IOAS_ALLOC, NULL), -EFAULT);
	EXPECT_RC(iommufd_call(f->ctx, 0x7f, &cmd), -ENOTTY);
	EXPECT_RC(iommufd_call(f->ctx, 0xfe, &cmd), -ENOTTY);
}

static void ids(struct fixture *f)
{
	uint32_t a, b;

	EXPECT_RC(iommufd_ioas_alloc(f->ctx, &a), 0);
	EXPECT_RC(iommufd_ioas_alloc(f->ctx, &b), 0);
	cr_expect(a && b && a != b && a <= INT32_MAX && b <= INT32_MAX);
	EXPECT_RC(iommufd_destroy(f->ctx, a), 0);
	EXPECT_RC(iommufd_destroy(f->ctx, a), -ENOENT);
	EXPECT_RC(iommufd_ioas_map(f->ctx, a, BASE, f->memory, PAGE, RW), -ENOENT);
	EXPECT_RC(iommufd_ioas_map(f->ctx, b, BASE, f->memory, PAGE, RW), 0);
	EXPECT_RC(iommufd_destroy(f->ctx, b), 0); /* its mapping does not hold it */
	EXPECT_RC(iommufd_destroy(f->ctx, 0), -ENOENT);
	EXPECT_RC(iommufd_destroy(f->ctx, NO_ID), -ENOENT);
	EXPECT_RC(iommufd_destroy(f->ctx, BIG_ID), -ENOENT);
}

static void many_ids(struct fixture *f)
{
	uint32_t id[100];

	for (size_t i = 0; i < ARRAY_SIZE(id); i++) {
		cr_assert_eq(iommufd_ioas_alloc(f->ctx, &id[i]), 0);
		cr_expect(i == 0 || id[i] != id[i - 1]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(id); i++)
		EXPECT_RC(iommufd_destroy(f->ctx, id[i]), 0);
	EXPECT_RC(iommufd_destroy(f->ctx, id[50]), -ENOENT);
}

/* The order in which one call's faults are judged matters as much as the verdicts. */
static void map_errors(struct fixture *f)
{
	static const struct {
		int rc;
		struct iommu_ioas_map cmd;
	} c[] = {
		{-EOPNOTSUPP, {.flags = FLAGS | 8, .length = PAGE}},
		{-EOPNOTSUPP, {.flags = FLAGS | 1, .__reserved = 1, .length = PAGE}},
		{-EOPNOTSUPP, {.flags = 8, .ioas_id = NO_ID}},
		{-EOVERFLOW, {.flags = FLAGS | 1, .iova = ~0ull, .length = 1}},
		{-EOVERFLOW, {.flags = FLAGS | 1, .length = ~0ull}},
		{-EINVAL, {.flags = 1, .length = PAGE}},
		{-EINVAL, {.flags = 1, .ioas_id = NO_ID}},
		{-ENOENT, {.flags = FLAGS | 1, .ioas_id = NO_ID}},
		{-EINVAL, {.flags = FLAGS | 1, .iova = BASE}},
		{-EOVERFLOW, {.flags = FLAGS | 1, .iova = ~0ull - 4095, .length = 2 * PAGE}},
		{-EOVERFLOW, {.flags = FLAGS | 1, .user_va = ~0ull - 4095, .length = 2 * PAGE}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		struct iommu_ioas_map cmd = c[i].cmd;
		int rc;

		cmd.size = sizeof(cmd);
		if (!cmd.ioas_id)
			cmd.ioas_id = f->ioas;
		if (!cmd.user_va)
			cmd.user_va = (uintptr_t)f->memory;
		rc = iommufd_call(f->ctx, IOMMUFD_CMD_IOAS_MAP, &cmd);
		cr_expect_eq(rc, c[i].rc, "case %zu: %s", i, strerror(-rc));
	}
	EXPECT_RC(iommufd_ioas_unmap(f->ctx, f->ioas, 0, UINT64_MAX - 1, NULL), -ENOENT);
}

static void overlap(struct fixture *f)
{
	uint32_t ioas = f->ioas;

	EXPECT_RC(iommufd_ioas_map(f->ctx, ioas, BASE + PAGE, f->memory, 2 * PAGE, RW), 0);
	EXPECT_RC(iommufd_ioas_map(f->ctx, ioas, BASE + PAGE, f->memory, PAGE, RW), -EEXIST);
	EXPECT_RC(iommufd_ioas_map(f->ctx, ioas, BASE + 2 * PAGE, f->memory, 4 * PAGE, RW),
		  -EEXIST);
	EXPECT_RC(iommufd_ioas_map(f->ctx, ioas, BASE, f->memory, 2 * PAGE, RW), -EEXIST);
	EXPECT_RC(iommufd_ioas_map(f->ctx, ioas, BASE, f->memory, 8 * PAGE, RW), -EEXIST);
	EXPECT_RC(iommufd_ioas_map(f->ctx, ioas, BASE, f->memory, PAGE, RW), 0);
	EXPECT_RC(iommufd_ioas_map(f->ctx, ioas, BASE + 3 * PAGE, f->memory, PAGE, RW), 0);
}

static void unmap(struct fixture *f)
{
	struct iommufd *x = f->ctx;
	uint32_t s = f->ioas;
	uint64_t n = 1;

	EXPECT_RC(iommufd_ioas_unmap(x, NO_ID, BASE, PAGE, NULL), -ENOENT);
	EXPECT_RC(iommufd_ioas_unmap(x, s, BASE, 0, NULL), -EINVAL);
	EXPECT_RC(iommufd_ioas_unmap(x, s, ~0ull, 1, NULL), -EOVERFLOW);
	EXPECT_RC(iommufd_ioas_unmap(x, s, ~0ull - PAGE, 2 * PAGE, NULL), -EOVERFLOW);
	EXPECT_RC(iommufd_ioas_unmap(x, s, BASE, PAGE, NULL), -ENOENT);
	for (uint64_t i = 0; i < 4; i++)
		EXPECT_RC(iommufd_ioas_map(x, s, BASE + 2 * i * PAGE, f->memory, 2 * PAGE, RW), 0);
	EXPECT_RC(iommufd_ioas_unmap(x, s, BASE, PAGE, NULL), -ENOENT);
	EXPECT_RC(iommufd_ioas_unmap(x, s, BASE + PAGE, PAGE, NULL), -ENOENT);
	EXPECT_RC(iommufd_ioas_unmap(x, s, BASE, 2 * PAGE, &n), 0);
	cr_expect_eq(n, 2 * PAGE);
	EXPECT_RC(iommufd_ioas_unmap(x, s, 0, BASE + 4 * PAGE, &n), 0);
	cr_expect_eq(n, 2 * PAGE);
	/* A whole one goes although the next is cut: so the kernel does. */
	EXPECT_RC(iommufd_ioas_unmap(x, s, BASE, 7 * PAGE, NULL), -ENOENT);
	EXPECT_RC(iommufd_ioas_unmap(x, s, BASE + 4 * PAGE, 2 * PAGE, NULL), -ENOENT);
	EXPECT_RC(iommufd_ioas_unmap(x, s, 0, UINT64_MAX, &n), 0);
	cr_expect_eq(n, 2 * PAGE);
	EXPECT_RC(iommufd_ioas_unmap(x, s, 0, UINT64_MAX, &n), 0);
	cr_expect_eq(n, 0);
}

/* The lowest place that keeps the alignment that length and memory have in common; never 0. */
static void chosen_iova(struct fixture *f)
{
	struct iommu_ioas_map huge = {.size = sizeof(huge),
				      .flags = FLAGS,
				      .ioas_id = f->ioas,
				      .user_va = 0x1000,
				      .length = UINT64_MAX / 2 + 1};

	cr_expect_eq(map_anywhere(f, 0, PAGE), PAGE);
	cr_expect_eq(map_anywhere(f, 0, 4 * PAGE), 4 * PAGE);
	cr_expect_eq(map_anywhere(f, 0, 2 * PAGE), 2 * PAGE);
	cr_expect_eq(map_anywhere(f, 0x10, 0x10), 8 * PAGE + 0x10);
	EXPECT_RC(iommufd_call(f->ctx, IOMMUFD_CMD_IOAS_MAP, &huge), -EOVERFLOW);
}

static void copy(struct fixture *f)
{
	struct iommu_ioas_copy cmd = {.size = sizeof(cmd),
				      .flags = FLAGS | 8,
				      .dst_ioas_id = NO_ID,
				      .src_ioas_id = NO_ID,
				      .length = PAGE};
	const unsigned r = IOMMUFD_PROT_READ;
	struct iommufd *x = f->ctx;
	uint32_t d, s = f->ioas;
	uint64_t n;

	EXPECT_RC(iommufd_ioas_alloc(x, &d), 0);
	EXPECT_RC(iommufd_ioas_map(x, s, BASE, f->memory, 4 * PAGE, RW), 0);
	EXPECT_RC(iommufd_ioas_map(x, s, BASE + 4 * PAGE, f->memory, 4 * PAGE, RW), 0);
	EXPECT_RC(iommufd_ioas_map(x, s, BASE + 9 * PAGE, f->memory, PAGE, r), 0);
	EXPECT_RC(iommufd_call(x, IOMMUFD_CMD_IOAS_COPY, &cmd), -EOPNOTSUPP);
	EXPECT_RC(iommufd_ioas_copy(x, d, 0, s, BASE, PAGE, 0), -EINVAL);
	EXPECT_RC(iommufd_ioas_copy(x, d, 0, NO_ID, BASE, PAGE, RW), -ENOENT);
	EXPECT_RC(iommufd_ioas_copy(x, NO_ID, 0, s, BASE, PAGE, RW), -ENOENT);
	EXPECT_RC(iommufd_ioas_copy(x, d, 0, s, BASE, 0, RW), -EINVAL);
	EXPECT_RC(iommufd_ioas_copy(x, d, 0, s, BASE, ~0ull, RW), -EOVERFLOW);
	EXPECT_RC(iommufd_ioas_copy(x, d, 0, s, BASE, ~0ull - PAGE, RW), -EOVERFLOW);
	EXPECT_RC(iommufd_ioas_copy(x, d, 0, s, BASE - PAGE, PAGE, RW), -ENOENT);
	EXPECT_RC(iommufd_ioas_copy(x, d, 0, s, BASE - PAGE, 2 * PAGE, RW), -ENOENT);
	EXPECT_RC(iommufd_ioas_copy(x, d, 0, s, BASE, 10 * PAGE, RW), -ENOENT);
	EXPECT_RC(iommufd_ioas_copy(x, d, PAGE, s, BASE + PAGE, 2 * PAGE, RW), 0);
	EXPECT_RC(iommufd_ioas_copy(x, d, 2 * PAGE, s, BASE, PAGE, RW), -EEXIST);
	/* What spans two mappings stays two: each can go alone. */
	EXPECT_RC(iommufd_ioas_copy(x, d, 16 * PAGE, s, BASE + 2 * PAGE, 4 * PAGE, RW), 0);
	EXPECT_RC(iommufd_ioas_unmap(x, d, 16 * PAGE, 2 * PAGE, &n), 0);
	EXPECT_RC(iommufd_ioas_unmap(x, d, 18 * PAGE, 2 * PAGE, &n), 0);
	/* A copy cannot gain write access. */
	EXPECT_RC(iommufd_ioas_copy(x, d, 32 * PAGE, s, BASE + 9 * PAGE, PAGE, RW), -EPERM);
	EXPECT_RC(iommufd_ioas_copy(x, d, 32 * PAGE, s, BASE + 9 * PAGE, PAGE, r), 0);
	EXPECT_RC(iommufd_ioas_copy(x, s, BASE + 32 * PAGE, s, BASE, 8 * PAGE, RW), 0);
	EXPECT_RC(iommufd_ioas_unmap(x, s, 0, UINT64_MAX, &n), 0);
	cr_expect_eq(n, 17 * PAGE);
	/* The copy outlives its source. */
	EXPECT_RC(iommufd_ioas_unmap(x, d, PAGE, 2 * PAGE, &n), 0);
	EXPECT_RC(iommufd_destroy(x, d), 0);
}

static void map_file(struct fixture *f)
{
	int fd = memfd_create("conformance", MFD_CLOEXEC);
	struct iommufd *x = f->ctx;
	uint32_t s = f->ioas;
	uint64_t n;

	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, (off_t)(4 * PAGE)), 0);
	EXPECT_RC(iommufd_ioas_map_file(x, s, BASE, fd, PAGE, 2 * PAGE, RW), 0);
	EXPECT_RC(iommufd_ioas_map_file(x, s, BASE, fd, 0, PAGE, RW), -EEXIST);
	EXPECT_RC(iommufd_ioas_map_file(x, s, 0, -1, 0, PAGE, RW), -EBADF);
	EXPECT_RC(iommufd_ioas_map_file(x, s, 0, fd, 0, 0, RW), -EINVAL);
	EXPECT_RC(iommufd_ioas_map_file(x, s, 0, fd, ~0ull, PAGE, RW), -EOVERFLOW);
	EXPECT_RC(iommufd_ioas_map_file(x, s, 0, fd, 0, PAGE, 0), -EINVAL);
	EXPECT_RC(iommufd_ioas_map_file(x, NO_ID, 0, fd, 0, PAGE, RW), -ENOENT);
	close(fd);
	EXPECT_RC(iommufd_ioas_unmap(x, s, BASE, 2 * PAGE, &n), 0);
	cr_expect_eq(n, 2 * PAGE);
}

static void iova_ranges(struct fixture *f)
{
	struct iommu_ioas_iova_ranges cmd = {
		.size = sizeof(cmd), .ioas_id = NO_ID, .__reserved = 1};
	struct iommufd_iova_range range[4] = {{0}};
	unsigned count = 0;
	uint64_t align = 0;

	EXPECT_RC(iommufd_call(f->ctx, IOMMUFD_CMD_IOAS_IOVA_RANGES, &cmd), -EOPNOTSUPP);
	EXPECT_RC(iommufd_ioas_iova_ranges(f->ctx, NO_ID, range, &count, &align), -ENOENT);
	EXPECT_RC(iommufd_ioas_iova_ranges(f->ctx, f->ioas, NULL, &count, &align), -EMSGSIZE);
	cr_expect_eq(count, 1);
	count = ARRAY_SIZE(range);
	EXPECT_RC(iommufd_ioas_iova_ranges(f->ctx, f->ioas, range, &count, &align), 0);
	cr_expect(count == 1 && range[0].start == 0 && range[0].last == UINT64_MAX);
	cr_expect_eq(align, 1);
}

/* An IOAS is no device: a wrong type is told as ENOENT, like an unknown id. */
static void device_ids(struct fixture *f)
{
	struct iommufd_viommu_args viommu = {.type = 3, .dev_id = f->ioas, .hwpt_id = NO_ID};
	struct iommufd_hwpt_args hwpt = {.dev_id = f->ioas, .pt_id = f->ioas};
	uint32_t id, type = 0, len = 0;
	struct iommufd *x = f->ctx;

	EXPECT_RC(iommufd_hw_info(x, f->ioas, &type, NULL, &len, NULL), -ENOENT);
	EXPECT_RC(iommufd_hwpt_alloc(x, &hwpt, &id), -ENOENT);
	hwpt.data_len = 8;
	EXPECT_RC(iommufd_hwpt_alloc(x, &hwpt, &id), -EINVAL);
	hwpt.data_len = 0;
	hwpt.data_type = 3;
	EXPECT_RC(iommufd_hwpt_alloc(x, &hwpt, &id), -EINVAL);
	EXPECT_RC(iommufd_viommu_alloc(x, &viommu, &id), -ENOENT);
	viommu.type = 0;
	EXPECT_RC(iommufd_viommu_alloc(x, &viommu, &id), -EOPNOTSUPP);
	EXPECT_RC(iommufd_vdevice_alloc(x, f->ioas, NO_ID, 0, &id), -ENOENT);
	EXPECT_RC(iommufd_hw_queue_alloc(x, f->ioas, 0, 0, 0, 0, &id), -EOPNOTSUPP);
	EXPECT_RC(iommufd_hw_queue_alloc(x, f->ioas, 2, 0, 0, 0, &id), -EINVAL);
	EXPECT_RC(iommufd_hw_queue_alloc(x, f->ioas, 2, 0, ~0ull, 2, &id), -EOVERFLOW);
	EXPECT_RC(iommufd_hw_queue_alloc(x, f->ioas, 2, 0, 0, PAGE, &id), -ENOENT);
}

static void (*const cases[])(struct fixture *) = {
	sizes,	      ids,
	many_ids,     map_errors,
	overlap,      unmap,
	chosen_iova,  copy,
	map_file,     iova_ranges,
	device_ids,   options,
	huge_pages,   allow_iovas,
	dirty_errors, invalidate_errors,
	fault_queue,  veventq_errors,
	pages,	      viommu_commands,
};

static void run_cases(bool kernel)
{
	const char *only = getenv("POSTERN_TEST_IOMMU"), *nr = getenv("POSTERN_TEST_COMMAND_NR");
	struct fixture f = {0};
	uint8_t *memory;
	int rc;

	if (only && strcmp(only, kernel ? "kernel" : "soft"))
		cr_skip_test("POSTERN_TEST_IOMMU=%s", only);
	memory = mmap(NULL, 32 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(memory, MAP_FAILED);
	f.memory = (uint8_t *)align_up((uintptr_t)memory, 16 * PAGE);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		rc = kernel ? iommufd_open_kernel(&f.ctx, -1,
						  nr ? (unsigned)strtoul(nr, NULL, 0)
						     : IOMMUFD_CMD_VIOMMU_COMMAND)
			    : iommufd_open_soft(&f.ctx, NULL);
		if (rc && kernel && !only)
			cr_skip_test("/dev/iommu: %s", strerror(-rc));
		cr_assert_eq(rc, 0, "%s", strerror(-rc));
		cr_assert_eq(iommufd_ioas_alloc(f.ctx, &f.ioas), 0);
		cases[i](&f);
		iommufd_close(f.ctx);
	}
	munmap(memory, 32 * PAGE);
}

Test(iommufd_conformance, soft)
{
	run_cases(false);
}

Test(iommufd_conformance, kernel)
{
	run_cases(true);
}
