// SPDX-License-Identifier: Apache-2.0
/*
 * The front end for hardware on a kernel's iommufd: how it starts, each way in which that can fail,
 * and what of a guest reaches the kernel.
 */
#include <stdio.h>

#include "viommu_hw_kernel.h"

#define RING	  UINT64_C(0x10000)
#define LOG	  UINT64_C(0x20000)
#define DEVTAB	  UINT64_C(0x30000)
#define IOMMU_EN  BIT(0)
#define EVT_EN	  BIT(2)
#define CMD_EN	  BIT(12)
#define GT_EN	  BIT(16)
#define NESTED	  (BIT(0) | BIT(1) | BIT(55) | BIT(61) | BIT(62) | UINT64_C(1) << 58)
#define STATUS	  0x20
#define STEPS_MAX 200u

TestSuite(viommu_hw_kernel, .init = kernel_open, .fini = kernel_close);

/* Nothing of the port is left, and what was lent is as it was. */
static void expect_nothing_left(unsigned before, const char *when)
{
	cr_expect_eq(objects(), before, "%s: %u objects of %u", when, objects(), before);
	cr_expect_null(kernel.window_host, "%s: the guest's window", when);
	cr_expect_null(kernel.page, "%s: the VF page", when);
	cr_expect_null(trap, "%s: the trap", when);
	for (unsigned i = 0; i < DEVICES; i++)
		cr_expect_eq(devices[i].pt, closed, "%s: device %u is attached to %u", when, i,
			     devices[i].pt);
}

Test(viommu_hw_kernel, starts_and_ends)
{
	const unsigned before = objects();
	char why[VIOMMU_WHY_SIZE] = "";
	struct viommu_hw_stats stats;
	struct viommu_port *port;

	cr_assert_eq(port_open(&port, why), 0, "%s", why);
	cr_expect_eq(port->features.efr, UINT64_C(0x0005000f00005090));
	cr_expect_eq(port->features.efr2, 0);
	cr_expect_eq(kernel.window_gpa, GPA + 0x2000);
	cr_expect_eq(kernel.window_host, kernel.page);
	for (unsigned i = 0; i < DEVICES; i++) {
		cr_expect_neq(devices[i].pt, closed);
		cr_expect_neq(devices[i].pt, ram, "the nest parent, not a page table of its own");
	}
	cr_expect_eq(devices[0].pt, devices[1].pt);
	/* Tried: both queues, nesting with each device. Counted: nothing of that. */
	cr_expect_eq(kernel.step[IOMMUFD_CMD_HW_QUEUE_ALLOC], 2);
	cr_expect_eq(kernel.step[IOMMUFD_CMD_HWPT_ALLOC], 1 + DEVICES);
	viommu_hw_stats(port, &stats);
	cr_expect_eq(stats.attaches + stats.nested + stats.failures + stats.dte_writes, 0);
	/* The nest parent, the vIOMMU, and a vDEVICE for each. */
	cr_expect_eq(objects(), before + 2 + DEVICES);
	port->ops->free(port);
	expect_nothing_left(before, "after the end");
}

/* The owner of the context goes first, and the port is freed when its context is no more. */
Test(viommu_hw_kernel, can_be_released_before_it_is_freed)
{
	const unsigned before = objects();
	struct viommu_port *port;

	cr_assert_eq(port_open(&port, NULL), 0);
	viommu_hw_port_release(port);
	expect_nothing_left(before, "after the release");
	kernel.steps = 0;
	kernel.ctx.transport = NULL; /* a call would crash */
	port->ops->free(port);
}

/* Each step of the start fails once, with each kind of error: one reason, and nothing left. */
Test(viommu_hw_kernel, every_step_can_fail)
{
	static const int errors[] = {-EOPNOTSUPP, -EINVAL, -ENOMEM, -ENXIO, -EIO};
	const unsigned before = objects();
	unsigned steps;
	char why[VIOMMU_WHY_SIZE];
	struct viommu_port *port;

	cr_assert_eq(port_open(&port, why), 0);
	steps = kernel.steps;
	port->ops->free(port);
	cr_assert_geq(steps, 15);
	cr_assert_leq(steps, STEPS_MAX);
	for (unsigned nth = 0; nth < steps; nth++) {
		for (size_t e = 0; e < ARRAY_SIZE(errors); e++) {
			char when[64];
			int rc;

			snprintf(when, sizeof(when), "step %u, %s", nth, strerror(-errors[e]));
			kernel.steps = 0;
			kernel.failed = false;
			kernel.fail_nth = nth;
			kernel.fail_rc = errors[e];
			memset(why, 0, sizeof(why));
			rc = port_open(&port, why);
			kernel.fail_rc = 0;
			cr_assert(kernel.failed, "%s", when);
			cr_expect_eq(rc, errors[e], "%s: %s", when, strerror(-rc));
			cr_expect(strstr(why, strerror(-errors[e])), "%s: %s", when, why);
			cr_expect_null(strchr(why, '\n'), "%s", when);
			expect_nothing_left(before, when);
		}
	}
}

/* What the reason says, ability by ability. */
Test(viommu_hw_kernel, the_reason_names_the_ability)
{
	static const struct {
		unsigned step, nth;
		int rc;
		const char *what, *takes; /* TAKES NULL: it is there, and fails */
	} c[] = {
		{IOMMUFD_CMD_GET_HW_INFO, 0, -EOPNOTSUPP, "GET_HW_INFO", "AMD IOMMU"},
		{IOMMUFD_CMD_HWPT_ALLOC, 0, -EOPNOTSUPP, "HWPT_ALLOC(NEST_PARENT)", "GCR3TRPMode"},
		{IOMMUFD_CMD_HWPT_ALLOC, 0, -ENOMEM, "HWPT_ALLOC(NEST_PARENT)", NULL},
		{IOMMUFD_CMD_VIOMMU_ALLOC, 0, -EOPNOTSUPP, "VIOMMU_ALLOC", "has vIOMMUs"},
		{COMMAND_NR, 0, -EINVAL, "VIOMMU_COMMAND", "--viommu-command-nr"},
		{COMMAND_NR, 0, -ENOTTY, "VIOMMU_COMMAND", "--viommu-command-nr"},
		{COMMAND_NR, 2, -EOPNOTSUPP, "VIOMMU_COMMAND", "--viommu-command-nr"},
		{IOMMUFD_CMD_VDEVICE_ALLOC, 0, -EINVAL, "VDEVICE_ALLOC", "behind one IOMMU"},
		{IOMMUFD_CMD_VDEVICE_ALLOC, 1, -EINVAL, "VDEVICE_ALLOC", "behind one IOMMU"},
		{STEP_ATTACH, 0, -EIO, "attaching to the nest parent", NULL},
		{IOMMUFD_CMD_HW_QUEUE_ALLOC, 0, -EOPNOTSUPP, "HW_QUEUE_ALLOC", "hardware queues"},
		{IOMMUFD_CMD_HW_QUEUE_ALLOC, 1, -EOPNOTSUPP, "HW_QUEUE_ALLOC", "hardware queues"},
		{STEP_MMAP, 0, -ENXIO, "the VF page", "vIOMMUSup"},
		{STEP_WINDOW, 0, -ENOSPC, "the VF page", NULL},
		{IOMMUFD_CMD_HWPT_ALLOC, 1, -EOPNOTSUPP, "HWPT_ALLOC(AMD_GUEST)", "nests"},
		{IOMMUFD_CMD_HWPT_ALLOC, 2, -EOPNOTSUPP, "HWPT_ALLOC(AMD_GUEST)", "nests"},
		{STEP_ATTACH, DEVICES, -EINVAL, "HWPT_ALLOC(AMD_GUEST)", "nests"},
	};
	const unsigned before = objects();
	char why[VIOMMU_WHY_SIZE];
	struct viommu_port *port;

	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		memset(kernel.step, 0, sizeof(kernel.step));
		kernel.fail_step = c[i].step;
		kernel.fail_nth = c[i].nth;
		kernel.fail_rc = c[i].rc;
		cr_expect_eq(port_open(&port, why), c[i].rc, "case %zu", i);
		kernel.fail_rc = 0;
		cr_expect(strstr(why, c[i].what), "case %zu: %s", i, why);
		if (c[i].takes)
			cr_expect(strstr(why, "; it takes ") && strstr(why, c[i].takes),
				  "case %zu: %s", i, why);
		else
			cr_expect_null(strstr(why, "; it takes "), "case %zu: %s", i, why);
		expect_nothing_left(before, c[i].what);
	}
}

Test(viommu_hw_kernel, a_vIOMMU_without_a_page_is_refused)
{
	const unsigned before = objects();
	char why[VIOMMU_WHY_SIZE];
	struct viommu_port *port;

	kernel.vf_offset = 0;
	cr_expect_eq(port_open(&port, why), -EOPNOTSUPP);
	cr_expect(strstr(why, "VF page"), "%s", why);
	cr_expect_eq(kernel.step[STEP_MMAP], 0);
	expect_nothing_left(before, "without a page");
}

/* The reference machine's own: EFR has GT, and GIO is missing. */
Test(viommu_hw_kernel, a_unit_without_guest_tables_is_refused)
{
	const struct amd_iommu_features basic = {.efr = AMD_IOMMU_EFR_DEFAULT};
	const unsigned before = objects();
	char why[VIOMMU_WHY_SIZE];
	struct viommu_port *port;

	cr_assert_eq(iommufd_soft_set_hw(kernel.soft, &basic, 8), 0);
	cr_expect_eq(port_open(&port, why), -EOPNOTSUPP);
	cr_expect(strstr(why, "GIO"), "%s", why);
	expect_nothing_left(before, "without guest tables");
}

/* ---- a guest ---- */

static struct viommu_window window;
static struct viommu_port *front;

static void reg_set(uint64_t offset, unsigned width, uint64_t value)
{
	viommu_window_ops.write(&window, offset, width, value);
}

static void put64(uint64_t gpa, uint64_t value)
{
	cr_assert_eq(guest_memory_store64(&memory, gpa, value), 0);
}

static void boot(void)
{
	cr_assert_eq(port_open(&front, NULL), 0);
	viommu_window_init(&window, front);
	kernel.sets = 0;
	memset(kernel.step, 0, sizeof(kernel.step));
}

static void power_off(void)
{
	viommu_window_fini(&window);
	front->ops->free(front);
}

Test(viommu_hw_kernel, registers_reach_the_kernel)
{
	boot();
	reg_set(0x08, 4, RING);
	reg_set(0x0c, 4, UINT32_C(8) << 24);
	reg_set(0x10, 8, LOG | UINT64_C(8) << 56);
	cr_expect_eq(kernel.sets, 0);
	cr_expect_eq(kernel.step[IOMMUFD_CMD_HW_QUEUE_ALLOC], 0);
	/* By halves: each time all 64 bits. */
	reg_set(0x18, 4, CMD_EN | EVT_EN | GT_EN);
	cr_expect_eq(kernel.step[IOMMUFD_CMD_HW_QUEUE_ALLOC], 2);
	cr_expect_eq(kernel.reg[0x18 / 8], CMD_EN | EVT_EN | GT_EN);
	reg_set(0x18, 8, CMD_EN | EVT_EN | GT_EN | IOMMU_EN);
	cr_expect_eq(kernel.reg[0x18 / 8], CMD_EN | EVT_EN | GT_EN | IOMMU_EN);
	cr_expect_eq(kernel.sets, 2);
	cr_expect_eq(kernel.step[COMMAND_NR], 2, "nothing is read of the kernel");
	cr_expect_eq(viommu_window_ops.read(&window, 0x18, 8), CMD_EN | EVT_EN | GT_EN | IOMMU_EN);
	power_off();
}

/* An access that comes to the monitor all the same goes to the page that is mapped. */
Test(viommu_hw_kernel, the_page_is_the_hardware)
{
	volatile uint64_t *page;

	boot();
	page = kernel.page;
	page[0x10 / 8] = 0x120;
	cr_expect_eq(viommu_window_ops.read(&window, 0x2010, 8), 0x120);
	reg_set(0x2008, 4, 0x40);
	cr_expect_eq(page[0x08 / 8], 0x40);
	cr_expect_eq(kernel.step[COMMAND_NR], 0);
	power_off();
}

static bool entry_set(uint16_t devid, uint64_t q0, uint64_t q1)
{
	const uint64_t gpa = DEVTAB + devid * 32u, desired[2] = {q0, q1};
	uint64_t expected[2] = {0, 0};

	guest_memory_load64(&memory, gpa, &expected[0]);
	guest_memory_load64(&memory, gpa + 8, &expected[1]);
	return trap->cmpxchg16(trap, gpa, expected, desired);
}

Test(viommu_hw_kernel, entries_move_devices)
{
	const unsigned before = objects();
	uint32_t parent, nested;
	struct viommu_hw_stats stats;

	boot();
	parent = devices[0].pt;
	reg_set(0x00, 8, DEVTAB | 1);
	reg_set(0x18, 8, IOMMU_EN | GT_EN);
	cr_assert_not_null(trap);
	cr_expect_eq(devices[0].pt, parent, "an entry that is not valid");
	cr_expect(entry_set(0x10, NESTED, 5));
	nested = devices[0].pt;
	cr_expect_neq(nested, parent);
	cr_expect_eq(devices[1].pt, parent);
	/* Another table takes the place of the first, which is given back. */
	cr_expect(entry_set(0x10, NESTED | UINT64_C(2) << 58, 5));
	cr_expect_neq(devices[0].pt, nested);
	cr_expect_eq(iommufd_destroy(&kernel.ctx, nested), -ENOENT);
	/* The kernel refuses: no DMA. */
	kernel.fail_step = IOMMUFD_CMD_HWPT_ALLOC;
	kernel.fail_nth = kernel.step[IOMMUFD_CMD_HWPT_ALLOC];
	kernel.fail_rc = -ENOSPC;
	cr_expect(entry_set(0x18, NESTED, 6));
	kernel.fail_rc = 0;
	cr_expect_eq(devices[1].pt, closed);
	viommu_hw_stats(front, &stats);
	cr_expect_eq(stats.nested, 2);
	cr_expect_eq(stats.failures, 1);
	/* A reset: no table, no trap, memory as it is, status clear. */
	kernel.reg[0x18 / 8] = 1;
	((volatile uint64_t *)kernel.page)[STATUS / 8] = 0;
	viommu_window_reset(&window);
	cr_expect_null(trap);
	cr_expect_eq(devices[0].pt, parent);
	cr_expect_eq(devices[1].pt, parent);
	cr_expect_eq(kernel.reg[0x18 / 8], 0);
	cr_expect_eq(((volatile uint64_t *)kernel.page)[STATUS / 8], 0x68e67,
		     "ones, which clear it");
	power_off();
	expect_nothing_left(before, "after the guest");
}

Test(viommu_hw_kernel, a_device_comes_and_goes)
{
	struct kernel_device late = {.hw = {.devid = 0x28, .attach = attach}, .pt = closed};
	const unsigned before = objects() + 1;

	boot();
	cr_assert_eq(iommufd_soft_device_add(kernel.soft, &late.hw.dev_id), 0);
	cr_assert_eq(iommufd_soft_device_attach(kernel.soft, late.hw.dev_id, closed), 0);
	reg_set(0x00, 8, DEVTAB | 1);
	reg_set(0x18, 8, IOMMU_EN | GT_EN);
	put64(DEVTAB + 0x28 * 32, NESTED);
	put64(DEVTAB + 0x28 * 32 + 8, 7);
	/* Its slot was another's, whose entry the guest has left. */
	cr_assert_eq(viommu_hw_device_add(front, &late.hw), 0);
	cr_expect_eq(late.hw.state, VIOMMU_HW_NESTED);
	viommu_hw_device_remove(front, &late.hw);
	cr_expect_eq(late.pt, closed);
	/* One that the kernel does not take stays where it was. */
	kernel.fail_step = IOMMUFD_CMD_VDEVICE_ALLOC;
	kernel.fail_nth = kernel.step[IOMMUFD_CMD_VDEVICE_ALLOC];
	kernel.fail_rc = -EINVAL;
	cr_expect_eq(viommu_hw_device_add(front, &late.hw), -EINVAL);
	kernel.fail_rc = 0;
	cr_expect_eq(late.pt, closed);
	power_off();
	expect_nothing_left(before, "after the guest");
}
