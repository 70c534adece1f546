// SPDX-License-Identifier: Apache-2.0
/*
 * Assigned devices whole, without a kernel behind them: the device that lives in the process, on
 * the soft iommufd, as a guest sees it. Nested translation is test_soft_vfio_nested's.
 */
#include <dirent.h>
#include <linux/vfio.h>
#include <pthread.h>

#include "amd_unit.h"
#include "devices/vfio/uapi.h"
#include "tests/unit/expect_rc.h"
#include "tests/unit/soft_vfio_fixture.h"

#define SRC    UINT64_C(0x10000)
#define DST    UINT64_C(0x20000)
#define IOVA   UINT64_C(0x40000000)
#define DOMAIN 7u

static struct unit u;
static struct iommufd *ctx;

static void store(uint64_t gpa, const char *text)
{
	memcpy(guest_memory_at(&u.gm, gpa, 64), text, strlen(text) + 1);
}

static bool holds(uint64_t gpa, const char *text)
{
	return !memcmp(guest_memory_at(&u.gm, gpa, 64), text, strlen(text) + 1);
}

static void set_up_at(bool iommu)
{
	unit_start(&u, C_RUNNING);
	cr_assert_eq(iommufd_open_soft(&ctx, &u.gm), 0);
	machine_new(ctx, &u.gm);
	if (iommu)
		cr_assert_eq(vfio_host_follow(host, u.e), 0);
	cr_assert_eq(slot_plug((struct vfio_device_config){.iommu = iommu}), 0);
	cr_assert_eq(pci_root_assign(root), 0);
	slot_enable();
}

static void set_up(void)
{
	set_up_at(false);
}

static void set_up_behind(void)
{
	set_up_at(true);
}

static void tear_down(void)
{
	machine_end();
	iommufd_close(ctx);
	unit_free(&u);
}

TestSuite(soft_vfio, .init = set_up, .fini = tear_down, .timeout = 300);
TestSuite(soft_vfio_shadow, .init = set_up_behind, .fini = tear_down, .timeout = 300);

/* ---- what the guest sees ---- */

Test(soft_vfio, is_the_device_of_dma_test)
{
	cr_expect_eq(slot_config_read(0, 4), DMA_TEST_DEVICE << 16 | DMA_TEST_VENDOR);
	cr_expect_eq(slot_read(DMA_TEST_REG_ID), DMA_TEST_ID);
	cr_expect_eq(slot_config_read(slot_capability(PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS, 2),
		     SOFT_VFIO_VECTORS - 1);
	cr_expect(slot_config_read(slot_capability(PCI_CAP_ID_EXP) + PCI_EXP_DEVCAP, 4) &
		  PCI_EXP_DEVCAP_FLR);
	slot_write(DMA_TEST_BUFFER + 8, 0x1122334455667788);
	cr_expect_eq(slot_read(DMA_TEST_BUFFER + 8), 0x1122334455667788);
	/* Nothing of the host's is in reach by the table's place. */
	slot_vector(3, 0x55, true);
	cr_expect_eq(slot_read(0x2038), UINT64_C(1) << 32 | 0x55);
	/* A pin it has not; nor what shadowed tables cannot serve (ATS, PRI, PASID). */
	cr_expect_eq(slot_config_read(PCI_INTERRUPT_PIN, 1), 0);
	for (unsigned at = PCI_CFG_SPACE_SIZE, id; at; at = slot_config_read(at, 4) >> 20) {
		id = slot_config_read(at, 4) & 0xffff;
		cr_expect(id != PCI_EXT_CAP_ID_ATS && id != PCI_EXT_CAP_ID_PRI &&
			  id != PCI_EXT_CAP_ID_PASID);
	}
}

Test(soft_vfio, its_buffer_is_mapped_and_nothing_else)
{
	const struct vfio_bar *bar = &assigned->bar[0];

	cr_assert_eq(bar->areas, 1);
	cr_expect_eq(bar->area[0].offset, DMA_TEST_BUFFER);
	cr_expect_eq(bar->area[0].size, DMA_TEST_BUFFER_SIZE);
	cr_assert_not_null(bar->area[0].host);
	strcpy(bar->area[0].host, "through the page");
	cr_expect_eq(slot_run(DMA_TEST_WRITE, 0, DST, 64), DMA_TEST_DONE);
	cr_expect(holds(DST, "through the page"));
}

/* ---- DMA through the IOAS of all RAM ---- */

Test(soft_vfio, reaches_all_of_ram_and_nothing_else)
{
	store(SRC, "moved");
	cr_expect_eq(slot_run(DMA_TEST_COPY, SRC, HIGH_BASE + 0x1ff0, 0x100), DMA_TEST_DONE);
	cr_expect(holds(HIGH_BASE + 0x1ff0, "moved"));
	cr_expect_eq(slot_run(DMA_TEST_COPY, SRC, HOLE, 8), REFUSED);
	cr_expect_eq(slot_read(DMA_TEST_FAULT), HOLE);
	/* Part of a page past the end: what fits was written, the rest is refused. */
	cr_expect_eq(slot_run(DMA_TEST_COPY, SRC, RAM_SIZE - 8, 16), REFUSED);
	cr_expect_eq(slot_read(DMA_TEST_FAULT), RAM_SIZE);
}

Test(soft_vfio, does_nothing_unless_it_is_a_bus_master)
{
	slot_config_write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	cr_expect_eq(slot_run(DMA_TEST_COPY, SRC, DST, 8),
		     DMA_TEST_FAILED | DMA_TEST_ERROR_DISABLED << DMA_TEST_STATUS_SHIFT);
}

Test(soft_vfio, with_memory_off_registers_are_absent)
{
	uint64_t value = 0;

	slot_config_write(PCI_COMMAND, 2, 0);
	cr_expect_eq(assigned->io.ops->pread(&assigned->io, &value, 8, 0), -EIO);
	cr_expect_eq(assigned->io.ops->pwrite(&assigned->io, &value, 8, 0), -EIO);
}

/* ---- interrupts ---- */

static void raise_vector(unsigned vector)
{
	slot_write(DMA_TEST_VECTOR, vector);
	cr_assert_eq(slot_run(DMA_TEST_COPY | DMA_TEST_INTERRUPT, SRC, DST, 8), DMA_TEST_DONE);
}

Test(soft_vfio, vectors_are_messages_of_their_own)
{
	slot_msix(PCI_MSIX_FLAGS_ENABLE);
	for (unsigned i = 0; i < SOFT_VFIO_VECTORS; i++)
		slot_vector(i, 0x40 + i, false);
	cr_assert_eq(routes, SOFT_VFIO_VECTORS);
	for (unsigned i = SOFT_VFIO_VECTORS; i-- > 0;) {
		raise_vector(i);
		cr_expect(arrives(0x40 + i, -1), "vector %u", i);
		for (unsigned j = 0; j < SOFT_VFIO_VECTORS; j++)
			cr_expect_not(arrives(0x40 + j, 0), "%u for %u", j, i);
	}
	/* One that it has not does nothing. */
	raise_vector(SOFT_VFIO_VECTORS);
	raise_vector(0);
	cr_expect(arrives(0x40, -1));
}

Test(soft_vfio, masks_keep_what_comes_and_routes_change)
{
	slot_msix(PCI_MSIX_FLAGS_ENABLE);
	slot_vector(1, 0x41, false);
	slot_vector(1, 0x41, true);
	cr_assert_not(route[0].set);
	raise_vector(1);
	slot_vector(1, 0x61, false);
	cr_expect_eq(route[0].msg.data, 0x61);
	cr_expect(arrives(0x61, -1), "it waited");
	slot_msix(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	cr_expect_not(route[0].set);
	raise_vector(1);
	slot_msix(PCI_MSIX_FLAGS_ENABLE);
	cr_expect(arrives(0x61, -1));
	/* Off: nothing is left of it, and nothing that comes is kept by the host. */
	slot_msix(0);
	cr_expect_eq(routes, 0);
}

Test(soft_vfio, errors_and_requests_reach_the_monitor)
{
	slot_write(DMA_TEST_CONTROL, DMA_TEST_TELL_ERROR);
	slot_write(DMA_TEST_CONTROL, DMA_TEST_TELL_REQUEST);
	cr_expect_eq(slot_read(DMA_TEST_CONTROL), 0);
	cr_assert_eq(event_loop_run(loop), 0);
	cr_expect_geq(wanted, 1);
	/* What was said is said once; whether both were served in one turn is the loop's affair. */
	cr_expect(assigned->notifier[1].said);
}

/* ---- reset ---- */

Test(soft_vfio, function_level_reset_stops_and_clears)
{
	const unsigned express = slot_capability(PCI_CAP_ID_EXP);

	slot_msix(PCI_MSIX_FLAGS_ENABLE);
	slot_vector(0, 0x41, false);
	slot_write(DMA_TEST_BUFFER, 1);
	slot_start(DMA_TEST_COPY, SRC, DST, DMA_TEST_COPY_MAX);
	slot_config_write(express + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR);
	cr_expect_eq(slot_config_read(PCI_COMMAND, 2), 0);
	cr_expect_eq(slot_config_read(PCI_BASE_ADDRESS_0, 4), 0);
	cr_expect_eq(slot_config_read(express + PCI_EXP_DEVCTL, 2) & PCI_EXP_DEVCTL_BCR_FLR, 0);
	cr_expect_eq(routes, 0);
	slot_config_write(PCI_BASE_ADDRESS_0, 4, (uint32_t)SLOT_BAR);
	slot_enable();
	cr_expect_eq(slot_read(DMA_TEST_STATUS), 0);
	cr_expect_eq(slot_read(DMA_TEST_SOURCE), 0);
	cr_expect_eq(slot_read(DMA_TEST_BUFFER), 0);
	cr_expect_eq(slot_run(DMA_TEST_COPY, SRC, DST, 8), DMA_TEST_DONE);
}

Test(soft_vfio, machine_reset_is_power_on)
{
	slot_msix(PCI_MSIX_FLAGS_ENABLE);
	slot_vector(0, 0x41, false);
	slot_write(DMA_TEST_LENGTH, 5);
	pci_root_reset(root);
	cr_expect_eq(routes, 0);
	slot_enable();
	cr_expect_eq(slot_read(DMA_TEST_LENGTH), 0);
	cr_expect_eq(slot_config_read(slot_capability(PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS, 2),
		     SOFT_VFIO_VECTORS - 1);
}

/* ---- behind a vIOMMU, by mirrors of its tables ---- */

/* IOVA's page is that of GPA, for PROT (IR, IW). */
static void map_page(uint64_t gpa, uint64_t prot)
{
	uint64_t table = table_new(&u), leaf;

	dte_set(&u, SLOT_DEVFN, table | RW_BITS | UINT64_C(3) << 9 | 3, DOMAIN, 0, 0);
	leaf = tables_down(&u, table, 3, 1, IOVA);
	pte_set(&u, leaf, 1, IOVA, gpa | prot | 1);
	inv_devtab(&u, SLOT_DEVFN);
	inv_all_pages(&u, DOMAIN);
}

Test(soft_vfio_shadow, goes_where_the_guests_tables_say)
{
	store(SRC, "translated");
	/* No entry: identity, as the unit has it without V. */
	cr_expect_eq(slot_run(DMA_TEST_COPY, SRC, DST, 64), DMA_TEST_DONE);
	map_page(SRC, RW_BITS);
	cr_expect_eq(slot_run(DMA_TEST_READ, IOVA, 0, 64), DMA_TEST_DONE);
	cr_expect_eq(slot_read(DMA_TEST_BUFFER), get64(&u, SRC));
	cr_expect_eq(slot_run(DMA_TEST_READ, SRC, 0, 64), REFUSED);
	cr_expect_eq(slot_run(DMA_TEST_READ, IOVA + 4096, 0, 64), REFUSED);
	/* Another page, and read-only. */
	store(DST, "another");
	map_page(DST, BIT(61));
	cr_expect_eq(slot_run(DMA_TEST_READ, IOVA, 0, 64), DMA_TEST_DONE);
	cr_expect_eq(slot_read(DMA_TEST_BUFFER), get64(&u, DST));
	cr_expect_eq(slot_run(DMA_TEST_WRITE, 0, IOVA, 64), REFUSED);
	/* V without TV: nothing at all. */
	dte_set(&u, SLOT_DEVFN, 1, 0, 0, 0);
	inv_devtab(&u, SLOT_DEVFN);
	cr_expect_eq(slot_run(DMA_TEST_READ, SRC, 0, 64), REFUSED);
	cr_expect_eq(slot_run(DMA_TEST_READ, IOVA, 0, 64), REFUSED);
}

static void *copy_for_ever(void *stop)
{
	while (!__atomic_load_n((bool *)stop, __ATOMIC_ACQUIRE))
		slot_run(DMA_TEST_WRITE, 0, IOVA, 4096);
	return NULL;
}

/* What the guest unmaps and is told is unmapped is its own again, whatever the device is doing. */
Test(soft_vfio_shadow, after_an_unmap_nothing_is_written)
{
	bool stop = false;
	pthread_t thread;

	memset(assigned->bar[0].area[0].host, 0x5a, 4096);
	map_page(DST, RW_BITS);
	cr_assert_eq(pthread_create(&thread, NULL, copy_for_ever, &stop), 0);
	for (unsigned round = 0; round < 100; round++) {
		uint8_t *page = guest_memory_at(&u.gm, DST, 4096);

		map_page(DST, RW_BITS);
		u.next_table = TABLES;
		dte_set(&u, SLOT_DEVFN, 1, 0, 0, 0);
		map_page(SRC, BIT(61));
		memset(page, 0, 4096);
		for (unsigned i = 0; i < 4096; i++)
			cr_assert_eq(page[i], 0, "round %u, byte %u", round, i);
		u.next_table = TABLES;
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
}

/* ---- VFIO itself ---- */

static int call(unsigned long request, void *arg)
{
	return assigned->io.ops->ioctl(&assigned->io, request, arg);
}

Test(soft_vfio, refuses_what_the_kernel_refuses)
{
	struct vfio_region_info region = {.argsz = sizeof(region), .index = VFIO_PCI_NUM_REGIONS};
	struct vfio_irq_info irq = {.argsz = sizeof(irq), .index = VFIO_PCI_NUM_IRQS};
	struct vfio_uapi_bind bind = {.argsz = sizeof(bind), .iommufd = -1};
	struct vfio_uapi_attach attach = {.argsz = sizeof(attach), .pt_id = 9999};
	union {
		struct vfio_irq_set set;
		uint8_t bytes[sizeof(struct vfio_irq_set) + 4 * (SOFT_VFIO_VECTORS + 1)];
	} irqs = {.set = {.argsz = sizeof(irqs),
			  .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			  .index = VFIO_PCI_MSIX_IRQ_INDEX,
			  .count = SOFT_VFIO_VECTORS + 1}};
	struct vfio_io other;
	void *va;

	EXPECT_RC(call(VFIO_DEVICE_GET_REGION_INFO, &region), -EINVAL);
	EXPECT_RC(call(VFIO_DEVICE_GET_IRQ_INFO, &irq), -EINVAL);
	EXPECT_RC(call(VFIO_UAPI_BIND, &bind), -EINVAL); /* it is */
	EXPECT_RC(call(VFIO_UAPI_ATTACH, &attach), -ENOENT);
	EXPECT_RC(call(VFIO_GET_API_VERSION, NULL), -ENOTTY);
	EXPECT_RC(call(VFIO_DEVICE_SET_IRQS, &irqs), -EINVAL);
	irqs.set.start = SOFT_VFIO_VECTORS;
	irqs.set.count = 0;
	EXPECT_RC(call(VFIO_DEVICE_SET_IRQS, &irqs), -EINVAL);
	irqs.set.start = UINT32_MAX;
	irqs.set.count = 2;
	EXPECT_RC(call(VFIO_DEVICE_SET_IRQS, &irqs), -EINVAL);
	irqs.set.start = 0;
	irqs.set.argsz = sizeof(irqs.set) + 4;
	EXPECT_RC(call(VFIO_DEVICE_SET_IRQS, &irqs), -EINVAL);
	irqs.set.argsz = sizeof(irqs);
	memcpy(irqs.set.data, &(int32_t[2]){-1, 9999}, 8);
	EXPECT_RC(call(VFIO_DEVICE_SET_IRQS, &irqs), -EBADF);
	irqs.set.index = VFIO_PCI_INTX_IRQ_INDEX;
	EXPECT_RC(call(VFIO_DEVICE_SET_IRQS, &irqs), -EINVAL);
	EXPECT_RC(assigned->io.ops->mmap(&assigned->io, 0, 4096, &va), -EINVAL);
	EXPECT_RC(assigned->io.ops->pread(&assigned->io, &va, 8, UINT64_C(7) << 40 | 4092),
		  -EINVAL);
	EXPECT_RC(assigned->io.ops->pread(&assigned->io, &va, 8, UINT64_C(1) << 40), -EINVAL);
	/* One that is not bound answers to nothing but that. */
	cr_assert_eq(soft_vfio_new(ctx, &other), 0);
	EXPECT_RC(other.ops->ioctl(&other, VFIO_DEVICE_RESET, NULL), -EINVAL);
	EXPECT_RC(other.ops->ioctl(&other, VFIO_UAPI_ATTACH, &attach), -EINVAL);
	bind.iommufd = 0;
	EXPECT_RC(other.ops->ioctl(&other, VFIO_UAPI_BIND, &bind), -EBADF);
	other.ops->close(&other);
}

static unsigned descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(d))
		count++;
	closedir(d);
	return count;
}

Test(soft_vfio, comes_and_goes_and_leaves_nothing)
{
	unsigned before;

	vfio_device_free(assigned);
	before = descriptors();
	for (unsigned round = 0; round < 20; round++) {
		assigned = NULL;
		cr_assert_eq(slot_plug((struct vfio_device_config){0}), 0);
		cr_assert_eq(pci_root_assign(root), 0);
		slot_enable();
		slot_msix(PCI_MSIX_FLAGS_ENABLE);
		slot_vector(0, 0x41, false);
		slot_start(DMA_TEST_COPY | DMA_TEST_INTERRUPT, SRC, DST, DMA_TEST_COPY_MAX);
		vfio_device_free(assigned);
		cr_assert_eq(routes, 0);
	}
	assigned = NULL;
	cr_expect_eq(descriptors(), before);
}

Test(soft_vfio, sides_do_not_mix)
{
	struct vfio_device *device = NULL;
	struct vfio_device_config config = {.path = "0000:00:1f.7", .fd = -1, .root = root};

	EXPECT_RC(vfio_device_new(host, &config, &device), -EOPNOTSUPP);
	cr_expect_null(device);
}
