// SPDX-License-Identifier: Apache-2.0
/*
 * What of the soft iommufd needs a device: page tables, vIOMMUs, VIOMMU_COMMAND; and the probe.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "iommufd/uapi.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/expect_rc.h"

#define PAGE UINT64_C(4096)
#define BASE UINT64_C(0x10000000)
#define MSI  UINT64_C(0xfee00000)
#define RW   (IOMMUFD_PROT_READ | IOMMUFD_PROT_WRITE)

static struct iommufd *ctx;
static struct guest_memory memory;
static uint32_t dev, ioas, parent, viommu;

static int alloc_hwpt(uint32_t flags, uint32_t pt, uint32_t *id)
{
	struct iommufd_hwpt_args args = {.flags = flags, .dev_id = dev, .pt_id = pt};

	return iommufd_hwpt_alloc(ctx, &args, id);
}

static int alloc_viommu(uint32_t type, uint32_t device, uint32_t hwpt, uint32_t len, uint32_t *id)
{
	struct iommu_viommu_amd data = {.out_vfmmio_mmap_offset = ~0ull};
	struct iommufd_viommu_args args = {
		.type = type, .dev_id = device, .hwpt_id = hwpt, .data = &data, .data_len = len};
	int rc = iommufd_viommu_alloc(ctx, &args, id);

	cr_expect(rc || data.out_vfmmio_mmap_offset == 0, "there is no VF page to map");
	return rc;
}

static void set_up(void)
{
	memory.region[0] = (struct guest_region){.size = 16 * PAGE, .fd = -1};
	memory.region[0].host =
		mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memory.count = 1;
	cr_assert_neq(memory.region[0].host, MAP_FAILED);
	cr_assert_eq(iommufd_open_soft(&ctx, &memory), 0);
	iommufd_soft_set_driver(ctx, &fake_driver);
	cr_assert_eq(iommufd_soft_device_add(ctx, &dev), 0);
	cr_assert_eq(iommufd_ioas_alloc(ctx, &ioas), 0);
	cr_assert_eq(alloc_hwpt(IOMMU_HWPT_ALLOC_NEST_PARENT, ioas, &parent), 0);
	cr_assert_eq(alloc_viommu(IOMMU_VIOMMU_TYPE_AMD, dev, parent, 8, &viommu), 0);
}

static void tear_down(void)
{
	iommufd_close(ctx);
	munmap(memory.region[0].host, 16 * PAGE);
}

TestSuite(iommufd_soft, .init = set_up, .fini = tear_down);

static struct fake_engine *fake(void)
{
	return fake_engine(iommufd_soft_viommu_engine(ctx, viommu));
}

Test(iommufd_soft, transport)
{
	cr_expect(iommufd_is_soft(ctx));
	cr_expect_eq(iommufd_fd(ctx), -1);
	cr_expect(iommufd_soft_viommu_engine(ctx, ioas) == NULL);
	cr_expect(iommufd_soft_viommu_engine(ctx, 0) == NULL);
}

Test(iommufd_soft, destroy_is_refused_while_in_use)
{
	uint32_t vdevice, queue;

	EXPECT_RC(iommufd_vdevice_alloc(ctx, viommu, dev, 8, &vdevice), 0);
	EXPECT_RC(iommufd_hw_queue_alloc(ctx, viommu, 2, 0, BASE, 4096, &queue), 0);
	EXPECT_RC(iommufd_destroy(ctx, dev), -EBUSY);
	EXPECT_RC(iommufd_destroy(ctx, ioas), -EBUSY);
	EXPECT_RC(iommufd_destroy(ctx, parent), -EBUSY);
	EXPECT_RC(iommufd_destroy(ctx, viommu), -EBUSY);
	EXPECT_RC(iommufd_destroy(ctx, vdevice), 0);
	EXPECT_RC(iommufd_destroy(ctx, viommu), -EBUSY);
	EXPECT_RC(iommufd_destroy(ctx, queue), 0);
	EXPECT_RC(iommufd_destroy(ctx, viommu), 0);
	EXPECT_RC(iommufd_destroy(ctx, parent), 0);
	EXPECT_RC(iommufd_destroy(ctx, ioas), 0);
	EXPECT_RC(iommufd_destroy(ctx, dev), -EBUSY);
}

Test(iommufd_soft, a_page_table_narrows_its_ioas)
{
	uint8_t *ram = memory.region[0].host;
	struct iommufd_iova_range range[2];
	unsigned count = 2;
	uint64_t align;
	uint32_t other, hwpt;

	EXPECT_RC(iommufd_ioas_iova_ranges(ctx, ioas, range, &count, &align), 0);
	cr_assert_eq(count, 2);
	cr_expect(range[0].start == 0 && range[0].last == MSI - 1);
	cr_expect(range[1].start == MSI + 0x100000 && range[1].last == UINT64_MAX);
	cr_expect_eq(align, PAGE);
	count = 1;
	EXPECT_RC(iommufd_ioas_iova_ranges(ctx, ioas, range, &count, &align), -EMSGSIZE);
	cr_expect_eq(count, 2);
	EXPECT_RC(iommufd_ioas_map(ctx, ioas, MSI, ram, PAGE, RW), -EINVAL);
	EXPECT_RC(iommufd_ioas_map(ctx, ioas, MSI - PAGE, ram, 2 * PAGE, RW), -EINVAL);
	EXPECT_RC(iommufd_ioas_map(ctx, ioas, MSI - PAGE, ram, PAGE, RW), 0);
	EXPECT_RC(iommufd_ioas_map(ctx, ioas, MSI + 0x100000, ram, PAGE, RW), 0);
	EXPECT_RC(iommufd_ioas_map(ctx, ioas, BASE + 16, ram, PAGE, RW), -EINVAL);
	EXPECT_RC(iommufd_ioas_map(ctx, ioas, BASE, ram + 16, PAGE, RW), -EINVAL);
	EXPECT_RC(iommufd_ioas_map(ctx, ioas, BASE, ram, 100, RW), -EINVAL);
	EXPECT_RC(iommufd_ioas_map(ctx, ioas, BASE, ram + 15 * PAGE, 2 * PAGE, RW), -EFAULT);
	EXPECT_RC(iommufd_ioas_map(ctx, ioas, BASE, ram + 15 * PAGE, PAGE, RW), 0);

	/* What is mapped already has a say in whether a table can be built. */
	EXPECT_RC(iommufd_ioas_alloc(ctx, &other), 0);
	EXPECT_RC(iommufd_ioas_map(ctx, other, MSI, ram, PAGE, RW), 0);
	EXPECT_RC(alloc_hwpt(0, other, &hwpt), -EADDRINUSE);
	EXPECT_RC(iommufd_ioas_unmap(ctx, other, 0, UINT64_MAX, NULL), 0);
	EXPECT_RC(iommufd_ioas_map(ctx, other, BASE, ram, 16, RW), 0);
	EXPECT_RC(alloc_hwpt(0, other, &hwpt), -EADDRINUSE);
	EXPECT_RC(iommufd_ioas_unmap(ctx, other, 0, UINT64_MAX, NULL), 0);
	EXPECT_RC(iommufd_ioas_map(ctx, other, BASE, ram + 15 * PAGE, 2 * PAGE, RW), 0);
	EXPECT_RC(alloc_hwpt(0, other, &hwpt), -EFAULT);
	EXPECT_RC(iommufd_ioas_unmap(ctx, other, 0, UINT64_MAX, NULL), 0);
	EXPECT_RC(alloc_hwpt(0, other, &hwpt), 0);
	EXPECT_RC(iommufd_destroy(ctx, hwpt), 0);
	EXPECT_RC(iommufd_ioas_map(ctx, other, BASE, ram, 16, RW), 0);
}

Test(iommufd_soft, chosen_iova_avoids_interrupts)
{
	struct iommu_ioas_map cmd = {.size = sizeof(cmd),
				     .flags = IOMMU_IOAS_MAP_READABLE,
				     .ioas_id = ioas,
				     .user_va = (uintptr_t)memory.region[0].host,
				     .length = PAGE};
	int fd = memfd_create("big", MFD_CLOEXEC);

	/* All below the interrupt range is taken: the next place is above it. */
	EXPECT_RC(iommufd_ioas_map_file(ctx, ioas, 0, fd, 0, MSI, RW), 0);
	EXPECT_RC(iommufd_call(ctx, IOMMUFD_CMD_IOAS_MAP, &cmd), 0);
	cr_expect_eq(cmd.iova, MSI + 0x100000, "%#llx", (unsigned long long)cmd.iova);
}

Test(iommufd_soft, hw_info)
{
	struct amd_iommu_features features = {.efr = 0x123, .efr2 = 8};
	struct {
		struct iommu_hw_info_amd amd;
		uint64_t behind;
	} info = {.behind = ~0ull};
	uint32_t type = IOMMU_HW_INFO_TYPE_AMD, len = sizeof(info);
	uint64_t caps = 1;

	EXPECT_RC(iommufd_hw_info(ctx, dev, &type, &info, &len, &caps), 0);
	cr_expect_eq(info.amd.efr, AMD_IOMMU_EFR_DEFAULT);
	cr_expect_eq(info.behind, 0, "the rest of the room is cleared");
	cr_expect_eq(len, 16);
	cr_expect_eq(caps, 0);
	EXPECT_RC(iommufd_soft_set_hw(ctx, &features, 8), 0);
	type = 0;
	len = 8;
	info.amd.efr2 = 77;
	EXPECT_RC(iommufd_hw_info(ctx, dev, &type, &info, &len, NULL), 0);
	cr_expect_eq(type, IOMMU_HW_INFO_TYPE_AMD);
	cr_expect_eq(len, 16);
	cr_expect_eq(info.amd.efr, 0x123);
	cr_expect_eq(info.amd.efr2, 77, "beyond the room");
	type = 1;
	EXPECT_RC(iommufd_hw_info(ctx, dev, &type, &info, &len, NULL), -EOPNOTSUPP);
}

Test(iommufd_soft, hwpt_errors)
{
	struct iommufd_hwpt_args nested = {
		.dev_id = dev, .pt_id = parent, .data_type = 3, .data_len = 32, .data = &memory};
	uint32_t id;

	EXPECT_RC(alloc_hwpt(0, 999, &id), -EINVAL);
	EXPECT_RC(alloc_hwpt(0, dev, &id), -EINVAL);
	EXPECT_RC(alloc_hwpt(IOMMU_HWPT_ALLOC_DIRTY_TRACKING, ioas, &id), -EOPNOTSUPP);
	EXPECT_RC(alloc_hwpt(IOMMU_HWPT_ALLOC_PASID, ioas, &id), -EOPNOTSUPP);
	EXPECT_RC(alloc_hwpt(16, ioas, &id), -EOPNOTSUPP);
	/* A nested one stands on a vIOMMU: see test_iommufd_objects.c. */
	EXPECT_RC(iommufd_hwpt_alloc(ctx, &nested, &id), -EOPNOTSUPP);
}

Test(iommufd_soft, viommu_errors)
{
	uint32_t plain, id;

	EXPECT_RC(alloc_hwpt(0, ioas, &plain), 0);
	EXPECT_RC(alloc_viommu(0, 999, 999, 8, &id), -EOPNOTSUPP);
	EXPECT_RC(alloc_viommu(1, 999, 999, 8, &id), -ENOENT);
	EXPECT_RC(alloc_viommu(1, dev, 999, 8, &id), -EOPNOTSUPP);
	EXPECT_RC(alloc_viommu(3, dev, 999, 8, &id), -ENOENT);
	EXPECT_RC(alloc_viommu(3, dev, ioas, 8, &id), -ENOENT);
	EXPECT_RC(alloc_viommu(3, dev, plain, 8, &id), -EINVAL);
	EXPECT_RC(alloc_viommu(3, dev, parent, 7, &id), -EINVAL);
	EXPECT_RC(alloc_viommu(3, dev, parent, 16, &id), -EINVAL);
	EXPECT_RC(alloc_viommu(3, dev, parent, 8, &id), 0);
	EXPECT_RC(iommufd_destroy(ctx, plain), 0);
}

Test(iommufd_soft, engine_configuration)
{
	const struct amd_iommu_features features = {.efr = 0x880, .efr2 = 8};
	uint32_t id;

	cr_expect_eq(fake()->config.features.efr, AMD_IOMMU_EFR_DEFAULT);
	EXPECT_RC(iommufd_soft_set_hw(ctx, &features, 0x10), 0);
	EXPECT_RC(alloc_viommu(3, dev, parent, 8, &id), 0);
	viommu = id;
	cr_expect_eq(fake()->config.features.efr, 0x880);
	cr_expect_eq(fake()->config.features.efr2, 8);
	cr_expect_eq(fake()->config.devid, 0x10);
	cr_expect_eq(fake()->config.memory, &memory);
}

Test(iommufd_soft, vdevices)
{
	uint32_t second, a, b;

	EXPECT_RC(iommufd_soft_device_add(ctx, &second), 0);
	EXPECT_RC(iommufd_vdevice_alloc(ctx, parent, dev, 8, &a), -ENOENT);
	EXPECT_RC(iommufd_vdevice_alloc(ctx, viommu, ioas, 8, &a), -ENOENT);
	EXPECT_RC(iommufd_vdevice_alloc(ctx, viommu, dev, 0x10000, &a), -EINVAL);
	EXPECT_RC(iommufd_vdevice_alloc(ctx, viommu, dev, 8, &a), 0);
	EXPECT_RC(iommufd_vdevice_alloc(ctx, viommu, dev, 16, &b), -EEXIST);
	EXPECT_RC(iommufd_vdevice_alloc(ctx, viommu, second, 8, &b), -EEXIST);
	EXPECT_RC(iommufd_vdevice_alloc(ctx, viommu, second, 16, &b), 0);
	EXPECT_RC(iommufd_destroy(ctx, a), 0);
	EXPECT_RC(iommufd_vdevice_alloc(ctx, viommu, dev, 8, &a), 0);
	EXPECT_RC(iommufd_destroy(ctx, b), 0);
}

Test(iommufd_soft, hw_queues)
{
	static const uint16_t reg[] = {0x08, 0x10, 0x38};
	uint32_t id, again;

	for (uint32_t i = 0; i < 3; i++) {
		EXPECT_RC(iommufd_hw_queue_alloc(ctx, viommu, 2 + i, 0, BASE, 4096ull << i, &id),
			  0);
		cr_expect_eq(fake()->reg[reg[i] / 8], BASE | (uint64_t)(8 + i) << 56);
		EXPECT_RC(iommufd_hw_queue_alloc(ctx, viommu, 2 + i, 0, BASE, 4096, &again),
			  -EEXIST);
		EXPECT_RC(iommufd_destroy(ctx, id), 0);
		cr_expect_eq(fake()->reg[reg[i] / 8], (uint64_t)8 << 56);
	}
	EXPECT_RC(iommufd_hw_queue_alloc(ctx, viommu, 5, 0, BASE, 4096, &id), -EOPNOTSUPP);
	EXPECT_RC(iommufd_hw_queue_alloc(ctx, viommu, 2, 1, BASE, 4096, &id), -EINVAL);
	EXPECT_RC(iommufd_hw_queue_alloc(ctx, viommu, 2, 0, BASE + 16, 4096, &id), -EINVAL);
	EXPECT_RC(iommufd_hw_queue_alloc(ctx, viommu, 2, 0, 1ull << 52, 4096, &id), -EINVAL);
	EXPECT_RC(iommufd_hw_queue_alloc(ctx, viommu, 2, 0, BASE, 2048, &id), -EINVAL);
	EXPECT_RC(iommufd_hw_queue_alloc(ctx, viommu, 2, 0, BASE, 5000, &id), -EINVAL);
	EXPECT_RC(iommufd_hw_queue_alloc(ctx, viommu, 2, 0, BASE, 1ull << 20, &id), -EINVAL);
	EXPECT_RC(iommufd_hw_queue_alloc(ctx, viommu, 2, 0, BASE, 1ull << 19, &id), 0);
	fake()->refuse = -EBUSY;
	EXPECT_RC(iommufd_hw_queue_alloc(ctx, viommu, 3, 0, BASE, 4096, &id), -EBUSY);
	fake()->refuse = 0;
	EXPECT_RC(iommufd_hw_queue_alloc(ctx, viommu, 3, 0, BASE, 4096, &id), 0);
}

static int command(struct iommu_viommu_command cmd)
{
	return iommufd_call(ctx, IOMMUFD_CMD_VIOMMU_COMMAND, &cmd);
}

#define COMMAND(...) command((struct iommu_viommu_command){__VA_ARGS__})

Test(iommufd_soft, command_errors)
{
	EXPECT_RC(COMMAND(.size = 24, .object_id = 999, .index = 0x18), -ENOENT);
	EXPECT_RC(COMMAND(.size = 24, .object_id = 0, .index = 0x18), -ENOENT);
	EXPECT_RC(COMMAND(.size = 24, .object_id = ioas, .index = 0x18), -ENOENT);
	EXPECT_RC(COMMAND(.size = 24, .object_id = parent, .index = 0x18), -ENOENT);
	EXPECT_RC(COMMAND(.size = 24, .object_id = dev, .index = 0x18), -ENOENT);
	/* Judged in order: size, reserved, operation, id, index. */
	EXPECT_RC(COMMAND(.size = 23, .object_id = 999, .__reserved = 1), -EINVAL);
	EXPECT_RC(COMMAND(.size = 24, .object_id = 999, .__reserved = 1, .op = 2), -EOPNOTSUPP);
	EXPECT_RC(COMMAND(.size = 24, .object_id = 999, .op = 2), -EOPNOTSUPP);
	EXPECT_RC(COMMAND(.size = 24, .object_id = viommu, .__reserved = 1, .index = 0x18),
		  -EOPNOTSUPP);
	EXPECT_RC(COMMAND(.size = 24, .object_id = viommu, .op = 2, .index = 0x18), -EOPNOTSUPP);
	EXPECT_RC(COMMAND(.size = 24, .object_id = viommu, .index = FAKE_ABSENT), -EOPNOTSUPP);
	EXPECT_RC(COMMAND(.size = 24, .object_id = viommu, .index = 0x1c), -EINVAL);
	EXPECT_RC(COMMAND(.size = 24, .object_id = viommu, .index = 0x1c, .op = 1), -EINVAL);
	fake()->refuse = -EINVAL;
	EXPECT_RC(COMMAND(.size = 24, .object_id = viommu, .index = 0x18), -EINVAL);
	cr_expect_eq(fake()->reg[3], 0);
}

Test(iommufd_soft, command_sizes)
{
	struct {
		struct iommu_viommu_command cmd;
		uint64_t tail;
	} longer = {.cmd = {.size = 32, .object_id = viommu, .index = 0x18, .val64 = 5}};

	EXPECT_RC(iommufd_call(ctx, IOMMUFD_CMD_VIOMMU_COMMAND, &longer), 0);
	cr_expect_eq(fake()->reg[3], 5);
	longer.cmd.val64 = 6;
	longer.tail = 1ull << 63;
	EXPECT_RC(iommufd_call(ctx, IOMMUFD_CMD_VIOMMU_COMMAND, &longer), -E2BIG);
	cr_expect_eq(fake()->reg[3], 5, "refused before anything was done");
}

Test(iommufd_soft, command_set_then_get)
{
	struct iommu_viommu_command cmd = {
		.size = 24, .object_id = viommu, .index = 0x170, .val64 = 0x1122334455667788};
	const struct iommu_viommu_command set = cmd;
	uint64_t value, sets, gets;

	EXPECT_RC(iommufd_call(ctx, IOMMUFD_CMD_VIOMMU_COMMAND, &cmd), 0);
	cr_expect_eq(memcmp(&cmd, &set, sizeof(cmd)), 0, "SET leaves the structure alone");
	cmd.op = IOMMU_VIOMMU_COMMAND_OP_GET;
	cmd.val64 = 0;
	EXPECT_RC(iommufd_call(ctx, IOMMUFD_CMD_VIOMMU_COMMAND, &cmd), 0);
	cr_expect_eq(cmd.val64, set.val64);
	EXPECT_RC(iommufd_viommu_command_set(ctx, viommu, 0x2008, 0x40), 0);
	EXPECT_RC(iommufd_viommu_command_get(ctx, viommu, 0x2008, &value), 0);
	cr_expect_eq(value, 0x40);
	value = 9;
	EXPECT_RC(iommufd_viommu_command_get(ctx, viommu, FAKE_ABSENT, &value), -EOPNOTSUPP);
	cr_expect_eq(value, 9);
	iommufd_viommu_command_count(ctx, &sets, &gets);
	cr_expect_eq(sets, 1);
	cr_expect_eq(gets, 2);
}

enum { SETS = 2000, THREADS = 4 };

static void *add_many(void *arg)
{
	(void)arg;
	for (int i = 0; i < SETS; i++)
		iommufd_viommu_command_set(ctx, viommu, FAKE_COUNTER, 1);
	return NULL;
}

Test(iommufd_soft, concurrent_sets_are_serialised)
{
	pthread_t thread[THREADS];
	uint64_t sets, gets;

	for (int i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&thread[i], NULL, add_many, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	cr_expect_eq(fake()->reg[FAKE_COUNTER / 8], (uint64_t)SETS * THREADS);
	iommufd_viommu_command_count(ctx, &sets, &gets);
	cr_expect_eq(sets, (uint64_t)SETS * THREADS);
}

/* What a listener does: calls on another context, and other objects of this one, from inside SET.
 */
static struct iommufd *inner_ctx;
static int inner_rc = -1;

static int calling_set(struct amd_iommu_engine *engine, uint16_t index, uint64_t value)
{
	uint32_t a, b;

	inner_rc = iommufd_ioas_alloc(inner_ctx, &a);
	if (!inner_rc)
		inner_rc = iommufd_ioas_alloc(ctx, &b);
	if (!inner_rc)
		inner_rc = iommufd_destroy(ctx, b);
	return fake_set(engine, index, value);
}

Test(iommufd_soft, a_driver_may_make_calls, .timeout = 10)
{
	/* Outlives the context, which the suite closes. */
	static struct iommufd_soft_driver driver;

	driver = fake_driver;
	driver.set = calling_set;
	cr_assert_eq(iommufd_open_soft(&inner_ctx, &memory), 0);
	iommufd_soft_set_driver(ctx, &driver);
	EXPECT_RC(alloc_viommu(3, dev, parent, 8, &viommu), 0);
	EXPECT_RC(iommufd_viommu_command_set(ctx, viommu, 0x2008, 0), 0);
	EXPECT_RC(inner_rc, 0);
	iommufd_close(inner_ctx);
}

Test(iommufd_soft, probe)
{
	struct iommufd_probe probe;

	iommufd_probe(ctx, dev, IOMMUFD_CMD_VIOMMU_COMMAND, &probe);
	for (int i = 0; i < IOMMUFD_ABILITIES; i++)
		cr_expect_eq(probe.ability[i].verdict, IOMMUFD_YES, "%s: %s",
			     iommufd_ability_name(i), probe.ability[i].why);
	cr_expect_eq(probe.efr, AMD_IOMMU_EFR_DEFAULT);

	iommufd_probe(ctx, 0, IOMMUFD_CMD_VIOMMU_COMMAND, &probe);
	cr_expect_eq(probe.ability[IOMMUFD_ABILITY_COPY].verdict, IOMMUFD_YES);
	for (int i = IOMMUFD_ABILITY_HW_INFO; i < IOMMUFD_ABILITIES; i++) {
		cr_expect_eq(probe.ability[i].verdict, IOMMUFD_UNKNOWN);
		cr_expect(strstr(probe.ability[i].why, "bound device"), "%s", probe.ability[i].why);
	}

	iommufd_probe(ctx, ioas, IOMMUFD_CMD_VIOMMU_COMMAND, &probe);
	cr_expect_eq(probe.ability[IOMMUFD_ABILITY_HW_INFO].verdict, IOMMUFD_NO);
	cr_expect_eq(probe.ability[IOMMUFD_ABILITY_HW_INFO].error, ENOENT);
	cr_expect_eq(probe.ability[IOMMUFD_ABILITY_COMMAND].verdict, IOMMUFD_UNKNOWN);

	/* A kernel where the number is another call. */
	iommufd_probe(ctx, dev, 0x96, &probe);
	cr_expect_eq(probe.ability[IOMMUFD_ABILITY_COMMAND].verdict, IOMMUFD_NO);
	cr_expect_eq(probe.ability[IOMMUFD_ABILITY_COMMAND].error, ENOTTY);
	/* Nothing is left behind. */
	EXPECT_RC(iommufd_destroy(ctx, viommu), 0);
	EXPECT_RC(iommufd_destroy(ctx, parent), 0);
}

Test(iommufd_soft, probe_of_this_host)
{
	struct iommufd_probe probe;
	bool node;

	iommufd_probe(NULL, 0, IOMMUFD_CMD_VIOMMU_COMMAND, &probe);
	node = probe.ability[IOMMUFD_ABILITY_NODE].verdict == IOMMUFD_YES;
	for (int i = 0; i < IOMMUFD_ABILITIES; i++) {
		cr_expect(probe.ability[i].why[0]);
		cr_expect(i == 0 || node || probe.ability[i].verdict == IOMMUFD_UNKNOWN);
	}
	cr_expect_eq(node, probe.ability[IOMMUFD_ABILITY_NODE].error == 0);
}
