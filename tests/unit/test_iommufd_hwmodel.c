// SPDX-License-Identifier: Apache-2.0
/*
 * The soft iommufd restricted to what the hardware ABI of an AMD vIOMMU offers, with the engine
 * behind it; and the unit of a queue's length in both modes.
 */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/mman.h>

#include "iommufd/uapi.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/expect_rc.h"

#define SIZE	  UINT64_C(0x100000)
#define RING	  UINT64_C(0x10000)
#define SEMAPHORE UINT64_C(0x40000)

static struct iommufd *ctx;
static struct guest_memory memory;
static uint32_t dev, ioas, parent, viommu;

static void open_with(enum iommufd_soft_mode mode, const struct iommufd_soft_driver *driver)
{
	struct iommufd_hwpt_args hwpt = {.flags = IOMMU_HWPT_ALLOC_NEST_PARENT};
	struct iommu_viommu_amd data = {.out_vfmmio_mmap_offset = 1};
	struct iommufd_viommu_args args = {
		.type = IOMMU_VIOMMU_TYPE_AMD, .data = &data, .data_len = sizeof(data)};

	memory.count = 1;
	memory.region[0] = (struct guest_region){.size = SIZE, .fd = -1};
	memory.region[0].host =
		mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(memory.region[0].host, MAP_FAILED);
	cr_assert_eq(iommufd_open_soft_mode(&ctx, &memory, mode), 0);
	if (driver)
		iommufd_soft_set_driver(ctx, driver);
	cr_assert_eq(iommufd_soft_device_add(ctx, &dev), 0);
	cr_assert_eq(iommufd_ioas_alloc(ctx, &ioas), 0);
	hwpt.dev_id = dev;
	hwpt.pt_id = ioas;
	cr_assert_eq(iommufd_hwpt_alloc(ctx, &hwpt, &parent), 0);
	args.dev_id = dev;
	args.hwpt_id = parent;
	cr_assert_eq(iommufd_viommu_alloc(ctx, &args, &viommu), 0);
	cr_expect_eq(data.out_vfmmio_mmap_offset, 0, "there is no VF page to map");
}

static void tear_down(void)
{
	iommufd_close(ctx);
	munmap(memory.region[0].host, SIZE);
}

static struct amd_iommu_engine *engine(void)
{
	return iommufd_soft_viommu_engine(ctx, viommu);
}

Test(iommufd_hwmodel, only_three_registers_can_be_set, .fini = tear_down)
{
	uint64_t value = 99;

	open_with(IOMMUFD_SOFT_HWMODEL, &fake_driver);
	for (unsigned index = 0; index < 0x4000; index++) {
		bool known = index == 0x18 || index == 0x170 || index == 0x178;
		int want = index % 8 ? -EINVAL : known ? 0 : -EOPNOTSUPP;

		fake_engine(engine())->last_index = 0xffff;
		cr_assert_eq(iommufd_viommu_command_set(ctx, viommu, (uint16_t)index, 1), want,
			     "SET of %#x", index);
		cr_assert_eq(fake_engine(engine())->last_index, known ? index : 0xffff,
			     "SET of %#x", index);
		want = index % 8 ? -EINVAL : index == 0x18 ? 0 : -EOPNOTSUPP;
		cr_assert_eq(iommufd_viommu_command_get(ctx, viommu, (uint16_t)index, &value), want,
			     "GET of %#x", index);
	}
	EXPECT_RC(iommufd_viommu_command_set(ctx, viommu, 0xfff8, 1), -EOPNOTSUPP);
	EXPECT_RC(iommufd_viommu_command_set(ctx, 999, 0x18, 1), -ENOENT);
}

/* Linux drivers/iommu/amd keeps twelve fields of it for each guest; the rest is not the guest's. */
Test(iommufd_hwmodel, control_has_the_virtualised_bits, .fini = tear_down)
{
	/* IommuEn, GTEn, IntCapXTEn and GCR3TRPMode are the host's own. */
	const uint64_t host = BIT(0) | BIT(16) | BIT(51) | BIT(58);
	const uint64_t kept = BIT(2) | BIT(3) | BIT(4) | BIT(12) | BIT(13) | BIT(14) | BIT(15) |
			      BIT(30) | BIT(31) | BIT(32) | BIT(33) | BIT(39) | BIT(41) | BIT(42);
	uint64_t value = 0;

	open_with(IOMMUFD_SOFT_HWMODEL, &fake_driver);
	EXPECT_RC(iommufd_viommu_command_get(ctx, viommu, 0x18, &value), 0);
	cr_expect_eq(value, 0);
	EXPECT_RC(iommufd_viommu_command_set(ctx, viommu, 0x18, ~UINT64_C(0)), 0);
	EXPECT_RC(iommufd_viommu_command_get(ctx, viommu, 0x18, &value), 0);
	cr_expect_eq(value, kept);
	cr_expect_eq(fake_engine(engine())->reg[3], kept | host, "the unit itself is on");
	EXPECT_RC(iommufd_viommu_command_set(ctx, viommu, 0x18, 0), 0);
	cr_expect_eq(fake_engine(engine())->reg[3], host);
	EXPECT_RC(iommufd_viommu_command_set(ctx, viommu, 0x18, BIT(12)), 0);
	fake_engine(engine())->refuse = -EIO;
	EXPECT_RC(iommufd_viommu_command_set(ctx, viommu, 0x18, 0), -EIO);
	EXPECT_RC(iommufd_viommu_command_get(ctx, viommu, 0x18, &value), 0);
	cr_expect_eq(value, BIT(12), "what was refused is not kept");
}

static void put64(uint64_t gpa, uint64_t value)
{
	cr_assert_eq(guest_memory_store64(&memory, gpa, value), 0);
}

/* All that hardware needs from a monitor, and the guest's doorbell. */
Test(iommufd_hwmodel, a_command_ring_runs, .fini = tear_down)
{
	uint64_t value = 0, head = 0;
	uint32_t queue;

	open_with(IOMMUFD_SOFT_HWMODEL, NULL);
	put64(RING, UINT64_C(1) << 60 | SEMAPHORE | 1); /* COMPLETION_WAIT, store */
	put64(RING + 8, 0x1234);
	EXPECT_RC(iommufd_viommu_command_set(ctx, viommu, 0x08, RING | UINT64_C(8) << 56),
		  -EOPNOTSUPP);
	EXPECT_RC(iommufd_hw_queue_alloc(ctx, viommu, IOMMU_HW_QUEUE_TYPE_AMD_CMD, 0, RING, 4096,
					 &queue),
		  0);
	/* Nothing runs before CmdBufEn, and the doorbell is not this call's. */
	EXPECT_RC(amd_iommu_engine_set(engine(), 0x2008, 16), 0);
	cr_assert_eq(guest_memory_load64(&memory, SEMAPHORE, &value), 0);
	cr_expect_eq(value, 0);
	EXPECT_RC(iommufd_viommu_command_set(ctx, viommu, 0x2008, 16), -EOPNOTSUPP);
	EXPECT_RC(iommufd_viommu_command_set(ctx, viommu, 0x18, BIT(12)), 0);
	EXPECT_RC(amd_iommu_engine_set(engine(), 0x2008, 16), 0);
	cr_assert_eq(guest_memory_load64(&memory, SEMAPHORE, &value), 0);
	cr_expect_eq(value, 0x1234);
	EXPECT_RC(amd_iommu_engine_get(engine(), 0x2000, &head), 0);
	cr_expect_eq(head, 16);
	EXPECT_RC(iommufd_destroy(ctx, viommu), -EBUSY);
	EXPECT_RC(iommufd_viommu_command_set(ctx, viommu, 0x18, 0), 0);
	EXPECT_RC(iommufd_destroy(ctx, queue), 0);
	EXPECT_RC(iommufd_destroy(ctx, viommu), 0);
}

Test(iommufd_hwmodel, the_probe_finds_it, .fini = tear_down)
{
	struct iommufd_probe probe;

	open_with(IOMMUFD_SOFT_HWMODEL, NULL);
	iommufd_probe(ctx, dev, IOMMUFD_CMD_VIOMMU_COMMAND, &probe);
	cr_expect_eq(probe.ability[IOMMUFD_ABILITY_COMMAND].verdict, IOMMUFD_YES, "%s",
		     probe.ability[IOMMUFD_ABILITY_COMMAND].why);
}

/* Bytes, as uapi says, or the register's code, as AMD's monitor passes it. */
Test(iommufd_hwmodel, queue_length_unit, .fini = tear_down)
{
	static const struct {
		uint64_t length;
		int rc;
		unsigned code;
	} c[] = {
		{7, -EINVAL, 0},
		{8, 0, 8},
		{9, 0, 9},
		{15, 0, 15},
		{16, -EINVAL, 0},
		{2048, -EINVAL, 0},
		{4096, 0, 8},
		{UINT64_C(16) << 15, 0, 15},
		{UINT64_C(16) << 16, -EINVAL, 0},
		{4096 + 16, -EINVAL, 0},
	};
	uint32_t queue;

	open_with(IOMMUFD_SOFT_FULL, &fake_driver);
	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		int rc = iommufd_hw_queue_alloc(ctx, viommu, IOMMU_HW_QUEUE_TYPE_AMD_EVENT, 0, RING,
						c[i].length, &queue);

		cr_expect_eq(rc, c[i].rc, "length %#llx: %s", (unsigned long long)c[i].length,
			     strerror(-rc));
		if (rc)
			continue;
		cr_expect_eq(fake_engine(engine())->reg[2], RING | (uint64_t)c[i].code << 56);
		EXPECT_RC(iommufd_destroy(ctx, queue), 0);
	}
}
