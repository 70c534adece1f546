// SPDX-License-Identifier: Apache-2.0
/*
 * The front end on the hardware ABI, with the soft iommufd's model of the hardware behind it: the
 * guest is these tests, which write registers, the trapped device table and memory.
 */
#include <pthread.h>
#include <unistd.h>

#include "postern/log.h"
#include "viommu_hw_unit.h"

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
	/* Nor at the next write that asks for it still. */
	reg_set(0x18, IOMMU_EN | CMD_EN | EVT_INT);
	cr_expect_eq(traced.last[0x18 / 8], IOMMU_EN | EVT_INT);
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
	/* The table is RAM as any other, and its writes nobody's business. */
	cr_assert_null(trap);
	put64(DEVTAB + DEV * 32, NESTED | gcr3_q0(GCR3_B));
	put64(DEVTAB + DEV * 32 + 8, gcr3_q1(GCR3_B));
	cr_expect_eq(device.hw.state, VIOMMU_HW_BYPASS);
	reg_set(0x18, RUNNING);
	cr_expect_eq(trap_gpa, DEVTAB);
	cr_expect_eq(reach(IOVA), PAGE + 0x1000);
}

/* Where the guest puts the table while the unit is off is where it is trapped, and only there. */
Test(viommu_hw, a_table_that_moves_while_the_unit_is_off, .init = set_up, .fini = tear_down)
{
	const uint64_t other = DEVTAB + 0x20000;
	unsigned before, attaches;

	reg_set(0x00, other | 1);
	cr_expect_null(trap, "a base is only kept");
	start();
	dte_nested(GCR3);
	reg_set(0x18, RUNNING & ~IOMMU_EN);
	before = traps;
	reg_set(0x00, other | 1);
	cr_expect_null(trap);
	put64(other + DEV * 32, NESTED | gcr3_q0(GCR3_B));
	put64(other + DEV * 32 + 8, gcr3_q1(GCR3_B));
	/* Until the trap is there, what was: no moment in which requests are refused. */
	trap_later = true;
	reg_set(0x18, RUNNING);
	cr_expect_eq(device.hw.state, VIOMMU_HW_BYPASS);
	cr_assert_not_null(trap);
	cr_expect_eq(trap_gpa, other);
	trap->armed(trap, 0);
	cr_expect_eq(reach(IOVA), PAGE + 0x1000);
	cr_expect_eq(traps, before + 1);
	before = traps;
	/* The base that it has already: nothing is done, and nobody interrupted. */
	attaches = device.attaches;
	reg_set(0x00, other | 1);
	cr_expect_eq(traps, before);
	cr_expect_eq(device.attaches, attaches);
	trap_later = false;
	/* Where there is no RAM. */
	reg_set(0x18, RUNNING & ~IOMMU_EN);
	reg_set(0x00, SIZE | 1);
	cr_expect_eq(device.hw.state, VIOMMU_HW_BYPASS);
	reg_set(0x18, RUNNING);
	cr_expect_eq(device.hw.state, VIOMMU_HW_BLOCKED);
	cr_expect_null(trap);
}

Test(viommu_hw, a_base_that_was_never_written_is_one, .init = set_up, .fini = tear_down)
{
	put64(DEV * 32, BIT(0));
	reg_set(0x18, IOMMU_EN);
	cr_assert_not_null(trap);
	cr_expect_eq(trap_gpa, 0);
	cr_expect_eq(trap_size, 4096);
	cr_expect_eq(device.hw.state, VIOMMU_HW_BLOCKED, "V without TV");
	viommu_window_reset(&window);
	cr_expect_null(trap);
	put64(DEV * 32, 0);
	reg_set(0x18, IOMMU_EN);
	cr_expect_eq(trap_size, 4096);
	cr_expect_eq(device.hw.state, VIOMMU_HW_BYPASS, "V=0");
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

/* The guest can write its entry as often as it likes; the log is the host's. */
Test(viommu_hw, a_host_that_refuses_all_says_so_once, .init = set_up, .fini = tear_down)
{
	char text[4096];
	int fds[2], saved = dup(STDERR_FILENO);
	unsigned lines = 0;
	ssize_t n;

	start();
	dte_nested(GCR3);
	cr_assert_eq(pipe(fds), 0);
	dup2(fds[1], STDERR_FILENO);
	for (unsigned i = 0; i < 40; i++) {
		device.refuse = 2;
		dte_nested(GCR3_B);
	}
	dup2(saved, STDERR_FILENO);
	close(fds[1]);
	n = read(fds[0], text, sizeof(text));
	for (ssize_t i = 0; i < n; i++)
		lines += text[i] == '\n';
	cr_expect_eq(lines, 1, "%u", lines);
	cr_expect_geq(stats().failures, 40);
	cr_expect_geq(log_repeats(), 39);
	close(fds[0]);
	close(saved);
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
