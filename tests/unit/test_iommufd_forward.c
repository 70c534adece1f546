// SPDX-License-Identifier: Apache-2.0
/*
 * VIOMMU_COMMANDs that one iommufd answers and another one is told of; and vIOMMUs whose driver
 * does not know the AMD type. Both contexts are soft here.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "iommufd/uapi.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/expect_rc.h"

struct unit {
	struct iommufd *ctx;
	uint32_t dev, parent, viommu;
};

static struct guest_memory memory;
static struct unit soft, kernel;

static void unit_open(struct unit *u, enum iommufd_soft_mode mode)
{
	struct iommufd_hwpt_args hwpt = {.flags = IOMMU_HWPT_ALLOC_NEST_PARENT};
	uint64_t vf_page = 1;

	cr_assert_eq(iommufd_open_soft_mode(&u->ctx, &memory, mode), 0);
	iommufd_soft_set_driver(u->ctx, &fake_driver);
	cr_assert_eq(iommufd_soft_device_add(u->ctx, &u->dev), 0);
	hwpt.dev_id = u->dev;
	cr_assert_eq(iommufd_ioas_alloc(u->ctx, &hwpt.pt_id), 0);
	cr_assert_eq(iommufd_hwpt_alloc(u->ctx, &hwpt, &u->parent), 0);
	cr_assert_eq(iommufd_viommu_alloc_amd(u->ctx, u->dev, u->parent, &u->viommu, &vf_page), 0);
	cr_expect_eq(vf_page, 0);
}

static void set_up(void)
{
	unit_open(&soft, IOMMUFD_SOFT_FULL);
	unit_open(&kernel, IOMMUFD_SOFT_HWMODEL);
	iommufd_viommu_command_forward(soft.ctx, kernel.ctx, kernel.viommu);
}

static void tear_down(void)
{
	iommufd_close(soft.ctx);
	iommufd_close(kernel.ctx);
}

TestSuite(iommufd_forward, .init = set_up, .fini = tear_down);

static uint64_t kernel_control(void)
{
	uint64_t value = ~UINT64_C(0);

	EXPECT_RC(iommufd_viommu_command_get(kernel.ctx, kernel.viommu, 0x18, &value), 0);
	return value;
}

Test(iommufd_forward, both_are_told)
{
	uint64_t set, get, value;

	EXPECT_RC(iommufd_viommu_command_set(soft.ctx, soft.viommu, 0x18, BIT(12) | BIT(0)), 0);
	EXPECT_RC(iommufd_viommu_command_get(soft.ctx, soft.viommu, 0x18, &value), 0);
	cr_expect_eq(value, BIT(12) | BIT(0));
	cr_expect_eq(kernel_control(), BIT(12));
	/* A GET is not. */
	iommufd_viommu_command_count(kernel.ctx, &set, &get);
	cr_expect_eq(set, 1);
	cr_expect_eq(get, 1);
	cr_expect_eq(iommufd_viommu_command_refused(soft.ctx), 0);
}

Test(iommufd_forward, what_is_refused_goes_no_further)
{
	uint64_t set, get;

	EXPECT_RC(iommufd_viommu_command_set(soft.ctx, soft.viommu, 0x1c, 1), -EINVAL);
	EXPECT_RC(iommufd_viommu_command_set(soft.ctx, 999, 0x18, BIT(12)), -ENOENT);
	iommufd_viommu_command_count(kernel.ctx, &set, &get);
	cr_expect_eq(set, 0);
}

Test(iommufd_forward, a_refusal_by_the_other_is_counted)
{
	uint64_t value;

	/* The ABI of hardware has no doorbell. */
	EXPECT_RC(iommufd_viommu_command_set(soft.ctx, soft.viommu, 0x2008, 0x40), 0);
	cr_expect_eq(iommufd_viommu_command_refused(soft.ctx), 1);
	EXPECT_RC(iommufd_viommu_command_get(soft.ctx, soft.viommu, 0x2008, &value), 0);
	cr_expect_eq(value, 0x40);
	EXPECT_RC(iommufd_viommu_command_set(soft.ctx, soft.viommu, 0x18, BIT(4)), 0);
	cr_expect_eq(iommufd_viommu_command_refused(soft.ctx), 1);
	cr_expect_eq(kernel_control(), BIT(4));
}

Test(iommufd_forward, can_end)
{
	iommufd_viommu_command_forward(soft.ctx, NULL, 0);
	EXPECT_RC(iommufd_viommu_command_set(soft.ctx, soft.viommu, 0x18, BIT(12)), 0);
	cr_expect_eq(kernel_control(), 0);
}

static uint64_t seen;

static void trace(void *opaque, bool get, uint16_t index, uint64_t value, int rc, uint64_t ns)
{
	uint64_t gets;

	(void)opaque, (void)get, (void)index, (void)value, (void)rc, (void)ns;
	iommufd_viommu_command_count(kernel.ctx, &seen, &gets);
}

/* What the trace says a command took is what it took here. */
Test(iommufd_forward, the_trace_comes_first)
{
	seen = 99;
	iommufd_viommu_command_trace(soft.ctx, trace, NULL);
	EXPECT_RC(iommufd_viommu_command_set(soft.ctx, soft.viommu, 0x18, BIT(12)), 0);
	cr_expect_eq(seen, 0);
	cr_expect_eq(kernel_control(), BIT(12));
}

Test(iommufd_forward, errors_of_allocation)
{
	uint32_t viommu = 7;
	uint64_t vf_page = 9;

	EXPECT_RC(iommufd_viommu_alloc_amd(soft.ctx, 999, soft.parent, &viommu, &vf_page), -ENOENT);
	EXPECT_RC(iommufd_viommu_alloc_amd(soft.ctx, soft.dev, 999, &viommu, &vf_page), -ENOENT);
	cr_expect_eq(viommu, 7);
	cr_expect_eq(vf_page, 9);
}

/* Linux 7.3's AMD driver: a vIOMMU of any type, and nothing written to the data. */
static int deaf_call(struct iommufd *ctx, unsigned nr, void *arg)
{
	struct iommu_viommu_alloc *cmd = arg;
	const struct iommu_destroy *destroy = arg;

	(void)ctx;
	if (nr == IOMMUFD_CMD_VIOMMU_ALLOC)
		cmd->out_viommu_id = 5;
	else if (nr == IOMMUFD_CMD_DESTROY && destroy->id == 5)
		seen = 5;
	else
		return -ENOTTY;
	return 0;
}

Test(iommufd_forward, a_driver_that_does_not_know_the_type)
{
	static const struct iommufd_transport transport = {.call = deaf_call};
	struct iommufd deaf = {.transport = &transport};
	uint32_t viommu;
	uint64_t vf_page;

	seen = 0;
	EXPECT_RC(iommufd_viommu_alloc_amd(&deaf, 1, 2, &viommu, &vf_page), -EOPNOTSUPP);
	cr_expect_eq(seen, 5, "what was allocated is given back");
}
