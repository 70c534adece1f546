// SPDX-License-Identifier: Apache-2.0
/*
 * The front end on the hardware ABI, with the soft iommufd's model of the hardware behind it: the
 * guest is these tests, which write registers, the trapped device table and memory.
 */
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

static void dte_set(uint64_t q0, uint64_t q1)
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
static int64_t reach(uint64_t iova)
{
	struct dma_segment seg;
	int rc = dma_space_map(dma, iova, 8, DMA_WRITE, &seg, 1);

	return rc == 1 ? (uint8_t *)seg.host - memory.region[0].host : rc;
}

static unsigned events(void)
{
	return (unsigned)((reg_get(0x2018) - reg_get(0x2010)) / 16);
}

static struct viommu_hw_stats stats(void)
{
	struct viommu_hw_stats s;

	viommu_hw_stats(port, &s);
	return s;
}

/* ---- registers ---- */

Test(viommu_hw, shows_what_hardware_virtualises, .init = set_up, .fini = tear_down)
{
	cr_expect_eq(reg_get(0x30), EFR_SHOWN, "%#llx", (unsigned long long)reg_get(0x30));
	cr_expect_eq(reg_get(0x1a0), 0);
	reg_set(0x170, ~UINT64_C(0));
	cr_expect_eq(reg_get(0x170), 0, "XT registers are not there without XTSup");
	reg_set(0x20, 0x12345003);
	cr_expect_eq(reg_get(0x20), 0x12345003, "an exclusion range is kept");
	cr_expect_eq(traced.count, 0, "and nobody told");
}

Test(viommu_hw, a_unit_without_guest_tables_is_refused)
{
	struct amd_iommu_features basic = {.efr = AMD_IOMMU_EFR_DEFAULT};
	struct viommu_hw_config config = {.memory = &memory, .window = &fake_window};

	cr_assert_eq(iommufd_open_soft_mode(&ctx, &memory, IOMMUFD_SOFT_HWMODEL), 0);
	cr_assert_eq(iommufd_soft_set_hw(ctx, &basic, 8), 0);
	config.ctx = ctx;
	cr_expect_eq(viommu_hw_port_new(&config, &port, &engine), -EOPNOTSUPP);
	iommufd_close(ctx);
}

Test(viommu_hw, three_registers_go_out_and_the_ring_runs, .init = set_up, .fini = tear_down)
{
	reg_set(0x08, RING | UINT64_C(8) << 56);
	cr_expect_eq(traced.count, 0, "a base is only kept");
	cr_expect_eq(reg_get(0x08), RING | UINT64_C(8) << 56);
	reg_set(0x18, CMD_EN);
	cr_expect_eq(traced.count, 1);
	cr_expect_eq(traced.last[0x18 / 8], CMD_EN);
	/* Half of Control, merged. */
	viommu_window_ops.write(&window, 0x18, 4, CMD_EN | IOMMU_EN | BIT(16));
	cr_expect_eq(traced.last[0x18 / 8], CMD_EN | IOMMU_EN | BIT(16));
	cr_expect_eq(reg_get(0x18), CMD_EN | IOMMU_EN | BIT(16));
	cr_expect(completion_wait(77));
	cr_expect_eq(reg_get(0x2000), 16);
	cr_expect_eq(traced.others, 0);
	cr_expect_eq(traced.count, 2, "the VF page is no command");
}

Test(viommu_hw, a_ring_keeps_its_base_and_its_place, .init = set_up, .fini = tear_down)
{
	start();
	cr_expect(completion_wait(1));
	reg_set(0x08, (RING + 0x10000) | UINT64_C(8) << 56);
	cr_expect_eq(reg_get(0x08), RING | UINT64_C(8) << 56, "it runs");
	/* It stands still, and goes on where it was. */
	reg_set(0x18, RUNNING & ~CMD_EN);
	command(UINT64_C(1) << 60 | SEMAPHORE | 1, 2);
	cr_expect_eq(get64(SEMAPHORE), 1);
	reg_set(0x18, RUNNING);
	cr_expect_eq(get64(SEMAPHORE), 2);
	cr_expect_eq(reg_get(0x2000), 32);
	/* A base that is written starts it anew, even if it is the same. */
	reg_set(0x18, RUNNING & ~CMD_EN);
	reg_set(0x08, RING | UINT64_C(8) << 56);
	reg_set(0x18, RUNNING);
	cr_expect_eq(reg_get(0x2000), 0);
	cr_expect(completion_wait(3));
}

Test(viommu_hw, a_ring_that_cannot_be_does_not_run, .init = set_up, .fini = tear_down)
{
	reg_set(0x08, RING | UINT64_C(3) << 56); /* a reserved length */
	reg_set(0x18, IOMMU_EN | CMD_EN);
	cr_expect_eq(traced.last[0x18 / 8], IOMMU_EN, "not enabled behind the port");
	cr_expect_eq(reg_get(0x18), IOMMU_EN | CMD_EN, "but as the guest wrote it");
	command(UINT64_C(1) << 60 | SEMAPHORE | 1, 5);
	cr_expect_eq(get64(SEMAPHORE), 0);
}

/* Without XT the guest programs the function's MSI; hardware wants 170h and 178h. */
Test(viommu_hw, its_interrupt_goes_where_the_msi_says, .init = set_up, .fini = tear_down)
{
	const struct msi_msg msg = {.addr = 0xfee00000 | 3 << 12 | BIT(2), .data = 0x45};
	const uint64_t xt = UINT64_C(0x45) << 32 | 3 << 8 | BIT(2);

	start();
	cr_expect_eq(port->ops->msi_set(port, &msg), 0);
	cr_expect_eq(traced.last[0x170 / 8], xt);
	cr_expect_eq(traced.last[0x178 / 8], xt);
	reg_set(0x18, RUNNING | EVT_INT);
	dte_nested(GCR3);
	cr_expect_eq(reach(0x9000), -EFAULT);
	cr_expect_eq(messages, 1);
	cr_expect_eq(message.data & 0xff, 0x45);
	cr_expect_eq(message.addr, msg.addr);
	cr_expect_eq(port->ops->msi_set(port, NULL), 0);
	cr_expect_eq(traced.last[0x170 / 8], 0);
	reg_set(0x2020, ~UINT64_C(0));
	cr_expect_eq(reach(0x9000), -EFAULT);
	cr_expect_eq(messages, 1, "MSI is off");
}

/* ---- the device table ---- */

Test(viommu_hw, the_lower_half_puts_an_entry_in_force, .init = set_up, .fini = tear_down)
{
	unsigned before;

	cr_expect_eq(reach(PAGE), PAGE, "before there is a table");
	start();
	cr_expect_eq(trap_gpa, DEVTAB);
	cr_expect_eq(trap_size, 8192);
	cr_expect_eq(reach(PAGE), PAGE, "V=0");
	before = device.attaches;
	cr_expect(half_set(1, 0, BIT(63)));
	cr_expect_eq(device.attaches, before, "an upper half alone changes nothing");
	dte_nested(GCR3);
	cr_expect_eq(device.attaches, before + 1, "one stroke");
	cr_expect_eq(device.hw.state, VIOMMU_HW_NESTED);
	cr_expect_eq(reach(IOVA + 0x10), PAGE + 0x10);
	/* To other tables, again by one attach: there is no moment without. */
	dte_nested(GCR3_B);
	cr_expect_eq(device.attaches, before + 2);
	cr_expect_eq(reach(IOVA), PAGE + 0x1000);
	/* What does not concern DMA moves nobody. */
	cr_expect(half_set(1, BIT(0), 0));
	dte_nested(GCR3_B);
	cr_expect_eq(device.attaches, before + 2);
	cr_expect_eq(stats().nested, 2);
	cr_expect_eq(events(), 0);
}

Test(viommu_hw, faults_are_the_guests, .init = set_up, .fini = tear_down)
{
	start();
	dte_nested(GCR3);
	cr_expect_eq(reach(0x9000), -EFAULT);
	cr_assert_eq(events(), 1);
	cr_expect_eq(get64(LOG) >> 60, 2, "IO_PAGE_FAULT");
	cr_expect_eq(get64(LOG) & 0xffff, DEV, "by the guest's id");
	cr_expect_eq(get64(LOG + 8), 0x9000);
	cr_expect(reg_get(0x2020) & BIT(1), "EventLogInt");
}

/* The guest invalidates by its own ring, of which the monitor sees nothing. */
Test(viommu_hw, invalidations_reach_the_unit, .init = set_up, .fini = tear_down)
{
	start();
	dte_nested(GCR3);
	cr_expect_eq(reach(IOVA), PAGE);
	put64(TABLES + 3 * 4096 + IOVA / 4096 * 8, (PAGE + 0x3000) | 7);
	cr_expect_eq(reach(IOVA), PAGE, "cached");
	command(UINT64_C(3) << 60 | (uint64_t)DOMAIN << 32, UINT64_C(0x7ffffffffffff000) | 5);
	cr_expect(completion_wait(9));
	cr_expect_eq(reach(IOVA), PAGE + 0x3000);
}

Test(viommu_hw, entries_that_do_not_nest, .init = set_up, .fini = tear_down)
{
	const uint64_t open = BIT(0) | BIT(1) | BIT(61) | BIT(62);
	const struct {
		const char *what;
		uint64_t q0, q1;
		enum viommu_hw_state state;
	} c[] = {
		{"V=0", 0, 0, VIOMMU_HW_BYPASS},
		{"V=0, the rest nested", NESTED & ~BIT(0), gcr3_q1(GCR3), VIOMMU_HW_BYPASS},
		{"TV=0", BIT(0), 0, VIOMMU_HW_BLOCKED},
		{"identity", open, DOMAIN, VIOMMU_HW_BYPASS},
		{"no permission", BIT(0) | BIT(1), DOMAIN, VIOMMU_HW_BLOCKED},
		{"v1 table", open | 3 << 9 | TABLES, DOMAIN, VIOMMU_HW_BLOCKED},
		{"v1 and v2", NESTED | 3 << 9 | TABLES, gcr3_q1(GCR3), VIOMMU_HW_BLOCKED},
		{"no GCR3", NESTED, DOMAIN, VIOMMU_HW_BLOCKED},
		{"GLX=3", NESTED | UINT64_C(3) << 56, gcr3_q1(GCR3), VIOMMU_HW_BLOCKED},
	};

	start();
	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		dte_nested(GCR3);
		cr_assert_eq(device.hw.state, VIOMMU_HW_NESTED);
		cr_assert_eq(reach(IOVA), PAGE);
		dte_set(c[i].q0, c[i].q1);
		cr_expect_eq(device.hw.state, c[i].state, "%s", c[i].what);
		cr_expect_eq(reach(PAGE), c[i].state == VIOMMU_HW_BYPASS ? (int64_t)PAGE : -EFAULT,
			     "%s", c[i].what);
	}
	cr_expect_eq(events(), 0, "what the host forbids is not in the guest's log");
	cr_expect_eq(stats().failures, 2, "no GCR3 and GLX=3 are the kernel's to refuse");
}

Test(viommu_hw, a_comparison_that_fails_stores_nothing, .init = set_up, .fini = tear_down)
{
	const uint64_t gpa = DEVTAB + DEV * 32, desired[2] = {NESTED, gcr3_q1(GCR3)};
	uint64_t expected[2] = {1, 2};
	unsigned before;

	start();
	put64(gpa, 0x10);
	put64(gpa + 8, 0x20);
	before = device.attaches;
	cr_expect_not(trap->cmpxchg16(trap, gpa, expected, desired));
	cr_expect_eq(expected[0], 0x10);
	cr_expect_eq(expected[1], 0x20);
	cr_expect_eq(get64(gpa), 0x10);
	cr_expect_eq(device.attaches, before);
}

/* Older drivers store 8 bytes at a time; and a guest may store what it likes. */
Test(viommu_hw, stores_of_any_width, .init = set_up, .fini = tear_down)
{
	const uint64_t gpa = DEVTAB + DEV * 32;

	start();
	trap->write(trap, gpa + 8, 8, gcr3_q1(GCR3));
	trap->write(trap, gpa, 4, (uint32_t)(NESTED | gcr3_q0(GCR3)));
	cr_expect_eq(device.hw.state, VIOMMU_HW_BLOCKED, "V and TV are there, permissions not");
	trap->write(trap, gpa + 4, 4, (NESTED | gcr3_q0(GCR3)) >> 32);
	cr_expect_eq(device.hw.state, VIOMMU_HW_NESTED);
	cr_expect_eq(reach(IOVA), PAGE);
	trap->write(trap, gpa, 1, 0);
	cr_expect_eq(device.hw.state, VIOMMU_HW_BYPASS);
	cr_expect_eq(get64(gpa), (NESTED | gcr3_q0(GCR3)) & ~UINT64_C(0xff));
	/* The entries of nobody, to the table's end. */
	trap->write(trap, DEVTAB + 8192 - 8, 8, ~UINT64_C(0));
	trap->write(trap, DEVTAB + 8192 - 1, 1, 0x12);
	trap->write(trap, DEVTAB + 3, 2, 0x3456);
	cr_expect_eq(get64(DEVTAB + 8192 - 8), UINT64_C(0x12ffffffffffffff));
	cr_expect_eq(get64(DEVTAB), UINT64_C(0x3456000000));
	cr_expect_eq(device.hw.state, VIOMMU_HW_BYPASS);
}

Test(viommu_hw, iommu_en_rules_them_all, .init = set_up, .fini = tear_down)
{
	start();
	dte_nested(GCR3);
	reg_set(0x18, RUNNING & ~IOMMU_EN);
	cr_expect_eq(device.hw.state, VIOMMU_HW_BYPASS);
	cr_expect_eq(reach(PAGE), PAGE);
	dte_nested(GCR3_B);
	cr_expect_eq(device.hw.state, VIOMMU_HW_BYPASS);
	reg_set(0x18, RUNNING);
	cr_expect_eq(reach(IOVA), PAGE + 0x1000);
}

/* A crash kernel moves the table while the unit is on. */
Test(viommu_hw, a_table_that_moves, .init = set_up, .fini = tear_down)
{
	const uint64_t other = DEVTAB + 0x20000;

	start();
	dte_nested(GCR3);
	put64(other + DEV * 32, NESTED | gcr3_q0(GCR3_B));
	put64(other + DEV * 32 + 8, gcr3_q1(GCR3_B));
	trap_later = true;
	reg_set(0x00, other | 1);
	cr_expect_eq(device.hw.state, VIOMMU_HW_BLOCKED, "nobody watches it yet");
	/* A store to the old place that was under way. */
	trap->write(trap, DEVTAB + DEV * 32, 8, 0);
	cr_expect_eq(device.hw.state, VIOMMU_HW_BLOCKED);
	trap->armed(trap, 0);
	cr_expect_eq(reach(IOVA), PAGE + 0x1000);
	cr_expect_eq(trap_gpa, other);
	/* Too short for the device. */
	trap_later = false;
	reg_set(0x00, DEVTAB + 0x50000);
	cr_expect_eq(trap_size, 4096);
	cr_expect_eq(device.hw.state, VIOMMU_HW_BYPASS);
}

Test(viommu_hw, a_table_that_cannot_be, .init = set_up, .fini = tear_down)
{
	start();
	dte_nested(GCR3);
	reg_set(0x00, SIZE | 1);
	cr_expect_eq(device.hw.state, VIOMMU_HW_BLOCKED, "there is no RAM");
	cr_expect_null(trap);
	reg_set(0x00, (SIZE - 4096) | 1);
	cr_expect_eq(device.hw.state, VIOMMU_HW_BLOCKED, "there is half of it");
	trap_rc = -EEXIST;
	reg_set(0x00, DEVTAB | 1);
	cr_expect_eq(device.hw.state, VIOMMU_HW_BLOCKED, "something else is there");
	trap_rc = 0;
	reg_set(0x00, DEVTAB | 1);
	cr_expect_eq(device.hw.state, VIOMMU_HW_NESTED);
	reg_set(0x00, DEVTAB);
	cr_expect_eq(device.hw.state, VIOMMU_HW_NESTED, "4 KiB are enough for this one");
}

Test(viommu_hw, a_host_that_refuses_leaves_no_dma, .init = set_up, .fini = tear_down)
{
	start();
	dte_nested(GCR3);
	device.refuse = 1;
	dte_nested(GCR3_B);
	cr_expect_eq(device.hw.state, VIOMMU_HW_BLOCKED);
	cr_expect_eq(reach(IOVA), -EFAULT);
	cr_expect_eq(stats().failures, 1);
	/* The entry is written again. */
	dte_nested(GCR3_B);
	cr_expect_eq(reach(IOVA), PAGE + 0x1000);
}

/* What a guest leaves behind: entries in force, rings that run, an overflow. */
Test(viommu_hw, reset_is_safe, .init = set_up, .fini = tear_down)
{
	start();
	dte_nested(GCR3);
	for (unsigned i = 0; i < 300; i++)
		cr_expect_eq(reach(0x9000), -EFAULT);
	cr_expect(reg_get(0x2020) & BIT(0), "the log has overflown");
	viommu_window_reset(&window);
	cr_expect_null(trap);
	cr_expect_eq(device.hw.state, VIOMMU_HW_BYPASS);
	cr_expect_eq(reach(PAGE), PAGE);
	cr_expect_eq(traced.last[0x18 / 8], 0);
	cr_expect_eq(reg_get(0x18), BIT(10));
	cr_expect_eq(reg_get(0x2020), 0, "%#llx", (unsigned long long)reg_get(0x2020));
	cr_expect_eq(reg_get(0x2008), 0);
	cr_expect_eq(reg_get(0x2018), 0);
	/* And the next guest. */
	start();
	cr_expect_eq(device.hw.state, VIOMMU_HW_NESTED, "its table has the entry already");
	cr_expect(completion_wait(5));
	cr_expect_eq(reach(0x9000), -EFAULT);
	cr_expect_eq(events(), 1);
}

Test(viommu_hw, a_device_leaves, .init = set_up, .fini = tear_down)
{
	start();
	dte_nested(GCR3);
	viommu_hw_device_remove(port, &device.hw);
	cr_expect_eq(device.hw.state, VIOMMU_HW_BYPASS);
	dte_nested(GCR3_B);
	cr_expect_eq(device.hw.state, VIOMMU_HW_BYPASS);
	cr_expect_eq(iommufd_destroy(ctx, device.hw.vdevice), -ENOENT);
}

static void *move_entry(void *opaque)
{
	(void)opaque;
	for (unsigned i = 0; i < 300; i++)
		dte_nested(i % 2 ? GCR3 : GCR3_B);
	return NULL;
}

/* While the guest moves a device between tables, its DMA finds the one or the other. */
Test(viommu_hw, there_is_no_moment_without_tables, .init = set_up, .fini = tear_down)
{
	pthread_t thread;

	start();
	dte_nested(GCR3);
	cr_assert_eq(pthread_create(&thread, NULL, move_entry, NULL), 0);
	for (unsigned i = 0; i < 300; i++) {
		int64_t at = reach(IOVA);

		cr_expect(at == (int64_t)PAGE || at == (int64_t)(PAGE + 0x1000), "%lld",
			  (long long)at);
		cr_expect_geq(dma_space_generation(dma), 1);
	}
	pthread_join(thread, NULL);
	cr_expect_eq(events(), 0);
	cr_expect_eq(reach(IOVA), PAGE);
}
