// SPDX-License-Identifier: Apache-2.0
/*
 * What soft devices are attached to, and where their DMA goes; the VF page of the hardware model.
 * Nested translation itself is test_viommu_hw's.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "iommufd/amd/engine.h"
#include "iommufd/iommufd.h"
#include "iommufd/uapi.h"
#include "tests/unit/expect_rc.h"

#define SIZE  UINT64_C(0x100000)
#define DEVID 0x18

static struct iommufd *ctx;
static struct guest_memory memory;
static uint8_t *ram;
static uint32_t dev, other, ioas, parent, viommu[2], vdevice;
static struct dma_space *dma;

static void open_mode(enum iommufd_soft_mode mode)
{
	const struct amd_iommu_features features = {.efr = AMD_IOMMU_EFR_FULL & ~BIT(1),
						    .efr2 = AMD_IOMMU_EFR2_FULL};
	struct iommufd_hwpt_args hwpt = {.flags = IOMMU_HWPT_ALLOC_NEST_PARENT};
	struct iommu_viommu_amd data;
	struct iommufd_viommu_args args = {
		.type = IOMMU_VIOMMU_TYPE_AMD, .data = &data, .data_len = sizeof(data)};

	ram = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(ram, MAP_FAILED);
	memory.count = 1;
	memory.region[0] = (struct guest_region){.size = SIZE, .fd = -1, .host = ram};
	cr_assert_eq(iommufd_open_soft_mode(&ctx, &memory, mode), 0);
	cr_assert_eq(iommufd_soft_set_hw(ctx, &features, 8), 0);
	cr_assert_eq(iommufd_soft_device_add(ctx, &dev), 0);
	cr_assert_eq(iommufd_soft_device_add(ctx, &other), 0);
	cr_assert_eq(iommufd_ioas_alloc(ctx, &ioas), 0);
	hwpt.dev_id = dev;
	hwpt.pt_id = ioas;
	cr_assert_eq(iommufd_hwpt_alloc(ctx, &hwpt, &parent), 0);
	args.dev_id = dev;
	args.hwpt_id = parent;
	for (unsigned i = 0; i < 2; i++)
		cr_assert_eq(iommufd_viommu_alloc(ctx, &args, &viommu[i]), 0);
	cr_assert_eq(iommufd_vdevice_alloc(ctx, viommu[0], dev, DEVID, &vdevice), 0);
}

static void set_up(void)
{
	open_mode(IOMMUFD_SOFT_HWMODEL);
	cr_assert_eq(iommufd_soft_vdevice_dma(ctx, vdevice, &dma), 0);
}

static void tear_down(void)
{
	iommufd_close(ctx);
	munmap(ram, SIZE);
}

static uint32_t nested(unsigned which)
{
	const uint64_t dte[4] = {BIT(0) | BIT(1) | BIT(54) | BIT(55) | UINT64_C(1) << 58, 7};
	struct iommufd_hwpt_args args = {.dev_id = dev,
					 .pt_id = viommu[which],
					 .data_type = IOMMU_HWPT_DATA_AMD_GUEST,
					 .data_len = sizeof(dte),
					 .data = dte};
	uint32_t id = 0;

	cr_assert_eq(iommufd_hwpt_alloc(ctx, &args, &id), 0);
	return id;
}

static int reach(uint64_t iova, uint64_t len, unsigned access)
{
	struct dma_segment seg[2];
	int rc = dma_space_map(dma, iova, len, access, seg, 2);

	return rc;
}

static void map(uint32_t id, uint64_t iova, uint64_t at, uint64_t length, unsigned prot)
{
	cr_assert_eq(iommufd_ioas_map(ctx, id, iova, ram + at, length, prot), 0);
}

Test(iommufd_attach, what_can_be_attached, .init = set_up, .fini = tear_down)
{
	uint32_t mine = nested(0), theirs = nested(1);

	EXPECT_RC(iommufd_soft_device_attach(ctx, dev, 999), -ENOENT);
	EXPECT_RC(iommufd_soft_device_attach(ctx, 999, ioas), -ENOENT);
	EXPECT_RC(iommufd_soft_device_attach(ctx, ioas, ioas), -ENOENT);
	EXPECT_RC(iommufd_soft_device_attach(ctx, dev, viommu[0]), -EINVAL);
	EXPECT_RC(iommufd_soft_device_attach(ctx, dev, dev), -EINVAL);
	EXPECT_RC(iommufd_soft_device_attach(ctx, dev, theirs), -EINVAL);
	EXPECT_RC(iommufd_soft_device_attach(ctx, other, mine), -EINVAL);
	EXPECT_RC(iommufd_soft_device_attach(ctx, dev, ioas), 0);
	EXPECT_RC(iommufd_soft_device_attach(ctx, dev, parent), 0);
	EXPECT_RC(iommufd_soft_device_attach(ctx, dev, mine), 0);
	/* What was refused is held by nobody. */
	EXPECT_RC(iommufd_destroy(ctx, theirs), 0);
	EXPECT_RC(iommufd_soft_device_detach(ctx, 999), -ENOENT);
}

Test(iommufd_attach, what_is_attached_is_held, .init = set_up, .fini = tear_down)
{
	uint32_t second, mine = nested(0);

	cr_assert_eq(iommufd_ioas_alloc(ctx, &second), 0);
	EXPECT_RC(iommufd_soft_device_attach(ctx, dev, second), 0);
	EXPECT_RC(iommufd_destroy(ctx, second), -EBUSY);
	EXPECT_RC(iommufd_soft_device_attach(ctx, dev, mine), 0);
	EXPECT_RC(iommufd_destroy(ctx, second), 0);
	EXPECT_RC(iommufd_destroy(ctx, mine), -EBUSY);
	EXPECT_RC(iommufd_soft_device_detach(ctx, dev), 0);
	EXPECT_RC(iommufd_soft_device_detach(ctx, dev), 0);
	EXPECT_RC(iommufd_destroy(ctx, mine), 0);
}

/* A page table of the IOMMU's comes with an IOAS, and its rules: memory must be the guest's. */
Test(iommufd_attach, an_ioas_must_suit_the_iommu, .init = set_up, .fini = tear_down)
{
	static uint8_t elsewhere[8192] __attribute__((aligned(4096)));
	uint32_t second;

	cr_assert_eq(iommufd_ioas_alloc(ctx, &second), 0);
	cr_assert_eq(iommufd_ioas_map(ctx, second, 0x1000, elsewhere, 4096, IOMMUFD_PROT_READ), 0);
	EXPECT_RC(iommufd_soft_device_attach(ctx, dev, second), -EFAULT);
	EXPECT_RC(iommufd_destroy(ctx, second), 0);
}

Test(iommufd_attach, dma_goes_by_the_mappings, .init = set_up, .fini = tear_down)
{
	struct dma_segment seg[2];
	uint64_t generation;

	EXPECT_RC(reach(0, 1, DMA_READ), -EFAULT);
	EXPECT_RC(iommufd_soft_device_attach(ctx, dev, parent), 0);
	EXPECT_RC(reach(0x1000, 1, DMA_READ), -EFAULT);
	map(ioas, 0x1000, 0x5000, 0x2000, IOMMUFD_PROT_READ | IOMMUFD_PROT_WRITE);
	map(ioas, 0x3000, 0x7000, 0x1000, IOMMUFD_PROT_READ);
	map(ioas, 0x4000, 0x20000, 0x1000, IOMMUFD_PROT_READ);
	cr_assert_eq(dma_space_map(dma, 0x1ff0, 0x2020, DMA_READ, seg, 2), 2);
	cr_expect_eq(seg[0].host, ram + 0x5ff0);
	cr_expect_eq(seg[0].len, 0x2010, "neighbours in memory are one segment");
	cr_expect_eq(seg[1].host, ram + 0x20000);
	cr_expect_eq(seg[1].len, 0x10);
	EXPECT_RC(dma_space_map(dma, 0x1ff0, 0x2020, DMA_READ, seg, 1), -E2BIG);
	EXPECT_RC(reach(0x2ff0, 0x20, DMA_WRITE), -EFAULT);
	EXPECT_RC(reach(0x2ff0, 0x10, DMA_WRITE), 1);
	EXPECT_RC(reach(0x4ff0, 0x11, DMA_READ), -EFAULT);
	EXPECT_RC(reach(0xfff, 2, DMA_READ), -EFAULT);
	EXPECT_RC(reach(UINT64_MAX, 2, DMA_READ), -EINVAL);
	EXPECT_RC(reach(UINT64_MAX, 1, DMA_READ), -EFAULT);
	EXPECT_RC(reach(0x1000, 0, DMA_READ), -EINVAL);
	/* What is unmapped is gone, and users of earlier answers learn of it. */
	generation = dma_space_generation(dma);
	EXPECT_RC(iommufd_ioas_unmap(ctx, ioas, 0x1000, 0x2000, NULL), 0);
	cr_expect_neq(dma_space_generation(dma), generation);
	EXPECT_RC(reach(0x1000, 1, DMA_READ), -EFAULT);
	generation = dma_space_generation(dma);
	EXPECT_RC(iommufd_soft_device_detach(ctx, dev), 0);
	cr_expect_neq(dma_space_generation(dma), generation);
	EXPECT_RC(reach(0x3000, 1, DMA_READ), -EFAULT);
}

Test(iommufd_attach, a_file_is_not_in_this_process, .init = set_up, .fini = tear_down)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, 4096), 0);
	cr_assert_eq(iommufd_ioas_map_file(ctx, ioas, 0x8000, fd, 0, 4096, IOMMUFD_PROT_READ), 0);
	EXPECT_RC(iommufd_soft_device_attach(ctx, dev, parent), 0);
	EXPECT_RC(reach(0x8000, 1, DMA_READ), -EFAULT);
	close(fd);
}

/* Attached before it has a requester, or after. */
Test(iommufd_attach, the_order_does_not_matter, .fini = tear_down)
{
	open_mode(IOMMUFD_SOFT_HWMODEL);
	map(ioas, 0, 0, 0x1000, IOMMUFD_PROT_READ);
	EXPECT_RC(iommufd_soft_device_attach(ctx, dev, parent), 0);
	EXPECT_RC(iommufd_soft_vdevice_dma(ctx, vdevice, &dma), 0);
	EXPECT_RC(reach(0, 1, DMA_READ), 1);
	EXPECT_RC(iommufd_soft_vdevice_dma(ctx, dev, &dma), -ENOENT);
	EXPECT_RC(iommufd_destroy(ctx, vdevice), 0);
	EXPECT_RC(iommufd_soft_device_detach(ctx, dev), 0);
}

Test(iommufd_attach, the_vf_page, .init = set_up, .fini = tear_down)
{
	uint64_t value = 0;

	EXPECT_RC(iommufd_soft_vf_write(ctx, viommu[0], 0x2010, 0x40), 0);
	EXPECT_RC(iommufd_soft_vf_read(ctx, viommu[0], 0x2010, &value), 0);
	cr_expect_eq(value, 0x40);
	EXPECT_RC(iommufd_soft_vf_read(ctx, viommu[1], 0x2010, &value), 0);
	cr_expect_eq(value, 0, "each has its own");
	EXPECT_RC(iommufd_soft_vf_write(ctx, viommu[0], 0x18, 0), -EOPNOTSUPP);
	EXPECT_RC(iommufd_soft_vf_read(ctx, viommu[0], 0x18, &value), -EOPNOTSUPP);
	EXPECT_RC(iommufd_soft_vf_write(ctx, viommu[0], 0x3000, 0), -EOPNOTSUPP);
	EXPECT_RC(iommufd_soft_vf_write(ctx, viommu[0], 0x2100, 0), -EOPNOTSUPP);
	EXPECT_RC(iommufd_soft_vf_write(ctx, viommu[0], 0x2014, 0), -EINVAL);
	EXPECT_RC(iommufd_soft_vf_write(ctx, 999, 0x2010, 0), -ENOENT);
	EXPECT_RC(iommufd_soft_vf_read(ctx, dev, 0x2010, &value), -ENOENT);
}

Test(iommufd_attach, the_full_mode_has_other_ways, .fini = tear_down)
{
	uint64_t value;

	open_mode(IOMMUFD_SOFT_FULL);
	EXPECT_RC(iommufd_soft_vf_write(ctx, viommu[0], 0x2010, 0), -EOPNOTSUPP);
	EXPECT_RC(iommufd_soft_vf_read(ctx, viommu[0], 0x2010, &value), -EOPNOTSUPP);
	EXPECT_RC(iommufd_soft_vdevice_dma(ctx, vdevice, &dma), -EOPNOTSUPP);
}

/* The engine's own side: a guest's table decides there, and nobody attaches. */
Test(iommufd_attach, an_engine_with_the_guests_table_refuses, .fini = tear_down)
{
	const struct amd_host_dte dte = {0};

	open_mode(IOMMUFD_SOFT_FULL);
	cr_assert_eq(amd_iommu_dma_space_new(iommufd_soft_viommu_engine(ctx, viommu[0]), 3, &dma),
		     0);
	EXPECT_RC(amd_iommu_dma_space_attach(dma, &dte), -EINVAL);
	amd_iommu_dma_space_free(dma);
}
