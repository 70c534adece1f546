/* SPDX-License-Identifier: Apache-2.0 */
/* A monitor with the front end for hardware on the soft iommufd's model of it, and its guest. */
#ifndef VIOMMU_HW_UNIT_H
#define VIOMMU_HW_UNIT_H

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "devices/amd_iommu/internal.h"
#include "iommufd/uapi.h"

#define SIZE	  UINT64_C(0x800000)
#define RING	  UINT64_C(0x10000)
#define LOG	  UINT64_C(0x20000)
#define DEVTAB	  UINT64_C(0x30000)
#define SEMAPHORE UINT64_C(0x40000)
#define GCR3	  UINT64_C(0x100000)
#define GCR3_B	  UINT64_C(0x110000)
#define TABLES	  UINT64_C(0x200000)
#define PAGE	  UINT64_C(0x400000)
#define IOVA	  UINT64_C(0x7000)
#define DEV	  0x10u
#define DOMAIN	  5u

#define IOMMU_EN  BIT(0)
#define EVT_EN	  BIT(2)
#define EVT_INT	  BIT(3)
#define CMD_EN	  BIT(12)
#define RUNNING	  (IOMMU_EN | EVT_EN | CMD_EN | BIT(16))
#define NESTED	  (BIT(0) | BIT(1) | BIT(54) | BIT(55) | BIT(61) | BIT(62))
#define EFR_SHOWN UINT64_C(0x0005000f00005090)

/* ---- a monitor ---- */

struct device {
	struct viommu_hw_device hw;
	unsigned attaches;
	uint32_t pt;
	int refuse; /* the next so many */
};

static struct guest_memory memory;
static struct iommufd *ctx;
static struct viommu_port *port;
static struct viommu_window window;
static struct amd_iommu_engine *engine;
static struct device device;
static struct dma_space *dma;
static struct guest_trap *trap;
static uint64_t trap_gpa, trap_size;
static bool trap_later;
static int trap_rc;
static unsigned traps; /* calls */
static unsigned messages;
static struct msi_msg message;
static struct {
	unsigned count, others;
	uint64_t last[0x400 / 8];
} traced;

static int fake_trap(struct guest_window *w, struct guest_trap *t)
{
	(void)w;
	if (t && !guest_memory_at(&memory, t->gpa, t->size))
		return -EINVAL;
	traps++;
	trap = t;
	trap_gpa = t ? t->gpa : 0;
	trap_size = t ? t->size : 0;
	if (t && !trap_later)
		t->armed(t, trap_rc);
	return 0;
}

static const struct guest_window_ops fake_window_ops = {.trap = fake_trap};
static struct guest_window fake_window = {.ops = &fake_window_ops};

static int attach(struct viommu_hw_device *hw, uint32_t pt_id)
{
	struct device *d = container_of(hw, struct device, hw);

	if (d->refuse) {
		d->refuse--;
		return -EIO;
	}
	d->attaches++;
	d->pt = pt_id;
	return iommufd_soft_device_attach(ctx, hw->dev_id, pt_id);
}

static void on_message(void *opaque, const struct msi_msg *msg)
{
	(void)opaque;
	messages++;
	message = *msg;
}

static void on_command(void *opaque, bool get, uint16_t index, uint64_t value, int rc, uint64_t ns)
{
	(void)opaque;
	(void)ns;
	cr_expect(!get);
	cr_expect_eq(rc, 0);
	traced.count++;
	if (index == 0x18 || index == 0x170 || index == 0x178)
		traced.last[index / 8] = value;
	else
		traced.others++;
}

static void set_up_with(uint64_t efr)
{
	const struct amd_iommu_features features = {.efr = efr, .efr2 = AMD_IOMMU_EFR2_FULL};
	struct viommu_hw_config config = {.memory = &memory, .window = &fake_window};

	memory.count = 1;
	memory.region[0] = (struct guest_region){.size = SIZE, .fd = -1};
	memory.region[0].host =
		mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(memory.region[0].host, MAP_FAILED);
	cr_assert_eq(iommufd_open_soft_mode(&ctx, &memory, IOMMUFD_SOFT_HWMODEL), 0);
	cr_assert_eq(iommufd_soft_set_hw(ctx, &features, 8), 0);
	iommufd_viommu_command_trace(ctx, on_command, NULL);
	config.ctx = ctx;
	cr_assert_eq(viommu_hw_port_new(&config, &port, &engine), 0);
	amd_iommu_engine_set_interrupts(engine, NULL, NULL, on_message);
	viommu_window_init(&window, port);
	device = (struct device){.hw = {.devid = DEV, .attach = attach}};
	cr_assert_eq(iommufd_soft_device_add(ctx, &device.hw.dev_id), 0);
	cr_assert_eq(viommu_hw_device_add(port, &device.hw), 0);
	cr_assert_eq(iommufd_soft_vdevice_dma(ctx, device.hw.vdevice, &dma), 0);
}

static void set_up(void)
{
	set_up_with(AMD_IOMMU_EFR_FULL & ~BIT(1));
}

static void tear_down(void)
{
	viommu_window_fini(&window);
	port->ops->free(port);
	cr_expect_null(trap);
	iommufd_close(ctx);
	munmap(memory.region[0].host, SIZE);
}

/* ---- a guest ---- */

static void put64(uint64_t gpa, uint64_t value)
{
	cr_assert_eq(guest_memory_store64(&memory, gpa, value), 0);
}

static uint64_t get64(uint64_t gpa)
{
	uint64_t value = 0;

	cr_assert_eq(guest_memory_load64(&memory, gpa, &value), 0);
	return value;
}

static void reg_set(uint64_t offset, uint64_t value)
{
	viommu_window_ops.write(&window, offset, 8, value);
}

static uint64_t reg_get(uint64_t offset)
{
	return viommu_window_ops.read(&window, offset, 8);
}

static void command(uint64_t word0, uint64_t word1)
{
	uint64_t tail = reg_get(0x2008);

	put64(RING + tail, word0);
	put64(RING + tail + 8, word1);
	reg_set(0x2008, (tail + 16) & 0xfff);
}

/* Returns whether the command before it is done. */
static bool completion_wait(uint64_t value)
{
	command(UINT64_C(1) << 60 | SEMAPHORE | 1, value);
	return get64(SEMAPHORE) == value;
}

/* A guest table that maps IOVA to PAGE_GPA, and a GCR3 table for it. */
static void guest_tables(uint64_t gcr3, uint64_t tables, uint64_t page_gpa)
{
	for (unsigned level = 0; level < 3; level++)
		put64(tables + level * 4096, (tables + (level + 1) * 4096) | 7);
	put64(tables + 3 * 4096 + IOVA / 4096 * 8, page_gpa | 7);
	put64(gcr3, tables | 1);
}

static void start(void)
{
	reg_set(0x00, DEVTAB | 1); /* 8 KiB */
	reg_set(0x08, RING | UINT64_C(8) << 56);
	reg_set(0x10, LOG | UINT64_C(8) << 56);
	reg_set(0x18, RUNNING);
	guest_tables(GCR3, TABLES, PAGE);
	guest_tables(GCR3_B, TABLES + 0x10000, PAGE + 0x1000);
}

/* CMPXCHG16B of a half, as the monitor carries it out. */
static bool half_set(unsigned half, uint64_t low, uint64_t high)
{
	const uint64_t gpa = DEVTAB + DEV * 32 + half * 16, desired[2] = {low, high};
	uint64_t expected[2] = {get64(gpa), get64(gpa + 8)};

	return trap->cmpxchg16(trap, gpa, expected, desired);
}

static uint64_t gcr3_q0(uint64_t gcr3)
{
	return (gcr3 >> 12 & 7) << 58;
}

static uint64_t gcr3_q1(uint64_t gcr3)
{
	return DOMAIN | (gcr3 >> 15 & 0xffff) << 16 | gcr3 >> 31 << 43;
}

static inline void dte_set(uint64_t q0, uint64_t q1)
{
	cr_assert(half_set(0, 0, 0));
	cr_assert(half_set(1, 0, 0));
	cr_assert(half_set(0, q0, q1));
}

static void dte_nested(uint64_t gcr3)
{
	cr_assert(half_set(0, NESTED | gcr3_q0(gcr3), gcr3_q1(gcr3)));
}

/* Where a write of the device to IOVA goes, or -EFAULT. */
static inline int64_t reach(uint64_t iova)
{
	struct dma_segment seg;
	int rc = dma_space_map(dma, iova, 8, DMA_WRITE, &seg, 1);

	return rc == 1 ? (uint8_t *)seg.host - memory.region[0].host : rc;
}

static unsigned events(void)
{
	return (unsigned)((reg_get(0x2018) - reg_get(0x2010)) / 16);
}

static inline struct viommu_hw_stats stats(void)
{
	struct viommu_hw_stats s;

	viommu_hw_stats(port, &s);
	return s;
}

#endif
