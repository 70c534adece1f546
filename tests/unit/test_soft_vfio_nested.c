// SPDX-License-Identifier: Apache-2.0
/* An assigned device behind a vIOMMU whose tables hardware walks, both models in this process. */
#include "tests/unit/viommu_hw_unit.h"

#define SLOT_DEVFN DEV
#include "tests/unit/soft_vfio_fixture.h"

struct steered {
	struct viommu_hw_device hw;
	struct vfio_device *vfio;
	unsigned removed;
};

static int steer_attach(struct viommu_hw_device *hw, uint32_t pt_id)
{
	return vfio_device_attach(container_of(hw, struct steered, hw)->vfio, pt_id);
}

static int steer_add(void *opaque, struct vfio_device *vfio)
{
	struct steered *s = opaque;

	s->vfio = vfio;
	s->hw = (struct viommu_hw_device){
		.devid = DEV, .dev_id = vfio_device_id(vfio), .attach = steer_attach};
	return viommu_hw_device_add(port, &s->hw);
}

static void steer_remove(void *opaque, struct vfio_device *vfio)
{
	struct steered *s = opaque;

	(void)vfio;
	s->removed++;
	viommu_hw_device_remove(port, &s->hw);
}

static struct steered steered;
static const struct vfio_steering steering = {steer_add, steer_remove, &steered};

static void set_up_device(void)
{
	set_up();
	viommu_hw_device_remove(port, &device.hw);
	machine_new(ctx, &memory);
	cr_assert_eq(slot_plug((struct vfio_device_config){.iommu = true, .steering = &steering}),
		     0);
	cr_assert_eq(pci_root_assign(root), 0);
	slot_enable();
}

static void tear_down_device(void)
{
	machine_end();
	tear_down();
}

TestSuite(soft_vfio_nested, .init = set_up_device, .fini = tear_down_device, .timeout = 300);

Test(soft_vfio_nested, before_the_unit_is_on_it_reaches_ram)
{
	put64(PAGE, 0x1234);
	cr_expect_eq(slot_run(DMA_TEST_READ, PAGE, 0, 8), DMA_TEST_DONE);
	cr_expect_eq(slot_read(DMA_TEST_BUFFER), 0x1234);
}

Test(soft_vfio_nested, goes_through_the_guests_tables_and_the_hosts)
{
	start();
	put64(PAGE, 1);
	put64(PAGE + 0x1000, 2);
	dte_nested(GCR3);
	cr_expect_eq(slot_run(DMA_TEST_READ, IOVA, 0, 8), DMA_TEST_DONE);
	cr_expect_eq(slot_read(DMA_TEST_BUFFER), 1);
	slot_write(DMA_TEST_BUFFER, 3);
	cr_expect_eq(slot_run(DMA_TEST_WRITE, 0, IOVA + 8, 8), DMA_TEST_DONE);
	cr_expect_eq(get64(PAGE + 8), 3);
	cr_expect_eq(events(), 0);
	/* Another table, without a moment between. */
	dte_nested(GCR3_B);
	cr_expect_eq(slot_run(DMA_TEST_READ, IOVA, 0, 8), DMA_TEST_DONE);
	cr_expect_eq(slot_read(DMA_TEST_BUFFER), 2);
}

Test(soft_vfio_nested, its_faults_are_in_the_guests_log)
{
	start();
	dte_nested(GCR3);
	cr_assert_eq(events(), 0);
	cr_expect_eq(slot_run(DMA_TEST_READ, IOVA + 0x1000, 0, 8), REFUSED);
	cr_expect_eq(slot_read(DMA_TEST_FAULT), IOVA + 0x1000);
	cr_assert_eq(events(), 1);
	/* IO_PAGE_FAULT of this requester, and its address (48882 section 2.5.3). */
	cr_expect_eq(get64(LOG) >> 60, 2);
	cr_expect_eq(get64(LOG) & 0xffff, DEV);
	cr_expect_eq(get64(LOG + 8), IOVA + 0x1000);
}

Test(soft_vfio_nested, an_invalidation_is_complete_when_it_says_so)
{
	start();
	dte_nested(GCR3);
	put64(PAGE, 1);
	put64(PAGE + 0x1000, 2);
	cr_expect_eq(slot_run(DMA_TEST_READ, IOVA, 0, 8), DMA_TEST_DONE);
	guest_tables(GCR3, TABLES, PAGE + 0x1000);
	command(UINT64_C(3) << 60 | (uint64_t)DOMAIN << 32, 0x7ffffffffffff000 | 1);
	cr_assert(completion_wait(1));
	cr_expect_eq(slot_run(DMA_TEST_READ, IOVA, 0, 8), DMA_TEST_DONE);
	cr_expect_eq(slot_read(DMA_TEST_BUFFER), 2);
}

Test(soft_vfio_nested, is_unplugged_while_it_works)
{
	start();
	dte_nested(GCR3);
	slot_start(DMA_TEST_COPY, IOVA, IOVA, 4096);
	vfio_device_free(assigned);
	cr_expect_eq(steered.removed, 1);
	assigned = NULL;
	/* The next in its place. */
	cr_assert_eq(slot_plug((struct vfio_device_config){.iommu = true, .steering = &steering}),
		     0);
	cr_assert_eq(pci_root_assign(root), 0);
	slot_enable();
	cr_expect_eq(slot_run(DMA_TEST_READ, IOVA, 0, 8), DMA_TEST_DONE);
}

Test(soft_vfio_nested, one_that_cannot_be_steered_leaves_nothing)
{
	struct vfio_device *first = assigned;

	/* Its place behind the unit is taken. */
	assigned = NULL;
	cr_expect_neq(slot_plug((struct vfio_device_config){.iommu = true, .steering = &steering}),
		      0);
	cr_expect_null(assigned);
	assigned = first;
}
