// SPDX-License-Identifier: Apache-2.0
/*
 * Linux's way through the AMD IOMMU at boot (reference 8.1): every register write in its order, as
 * the merged 64-bit values, with the tables that it keeps in memory.
 */
#include <errno.h>

#include "amd_unit.h"

#define LINUX_SEM      0x6000ull
#define LINUX_CMD_SIZE 8192
#define IOAPIC	       0x00a0

/* C+n, C-n of the reference: one read-modify-write of the control register each. */
static void control(struct unit *u, int n)
{
	uint64_t value = reg_get(u, R_CONTROL);

	reg_set(u, R_CONTROL, n >= 0 ? value | BIT(n) : value & ~BIT(-n));
}

static void disable_sequence(struct unit *u)
{
	static const int bits[] = {12, 3, 2, 28, 29, 13, 14};

	for (unsigned i = 0; i < ARRAY_SIZE(bits); i++)
		control(u, -bits[i]);
	reg_set(u, R_CONTROL, reg_get(u, R_CONTROL) & ~C_IOMMU);
	control(u, -59);
}

/* One 32-bit half of a register, as rep movsl writes it and the front end merges it. */
static void write_halves(struct unit *u, uint16_t offset, uint64_t value)
{
	reg_set(u, offset, (reg_get(u, offset) & ~0xffffffffull) | (uint32_t)value);
	reg_set(u, offset, (reg_get(u, offset) & 0xffffffff) | (value & ~0xffffffffull));
}

static uint64_t sequence;

/* A COMPLETION_WAIT, and the value that Linux polls for. */
static void completion_wait(struct unit *u)
{
	sequence++;
	cmd(u, 1ull << 60 | LINUX_SEM | 1, sequence);
	cr_assert_eq(get64(u, LINUX_SEM), sequence, "Completion-Wait loop timed out");
}

static void early_enable(struct unit *u)
{
	disable_sequence(u);
	control(u, -1);
	control(u, -8);
	control(u, -9);
	control(u, -11);
	control(u, 10);
	reg_set(u, R_CONTROL, (reg_get(u, R_CONTROL) & ~GENMASK(7, 5)) | 4 << 5);
	write_halves(u, R_DEVTAB, DEVTAB | 0x1ff);
	write_halves(u, R_CMD_BASE, CMDBUF | 9ull << 56);
	control(u, -12);
	reg_set(u, R_CMD_HEAD, 0);
	reg_set(u, R_CMD_TAIL, 0);
	u->tail = 0;
	control(u, 12);
	cr_assert_eq(reg_get(u, R_STATUS) & S_CMDRUN, 0, "IommuEn is still 0");
	control(u, 17);
	control(u, 50);
	reg_set(u, R_CONTROL, reg_get(u, R_CONTROL) | C_IOMMU);
	cr_assert(reg_get(u, R_STATUS) & S_CMDRUN);
	cmd(u, 8ull << 60, 0);
	completion_wait(u);
}

static void enable_event_log(struct unit *u)
{
	write_halves(u, R_EVT_BASE, EVTLOG | 9ull << 56);
	reg_set(u, R_EVT_HEAD, 0);
	reg_set(u, R_EVT_TAIL, 0);
	control(u, 2);
	cr_assert(reg_get(u, R_STATUS) & S_EVTRUN);
}

static void finish_dma(struct unit *u)
{
	for (unsigned devid = 0; devid < 65536; devid++)
		put64(u, DEVTAB + devid * 32ull, get64(u, DEVTAB + devid * 32ull) | 3);
	cmd(u, 8ull << 60, 0);
	completion_wait(u);
}

static void enable_interrupts(struct unit *u)
{
	reg_set(u, 0x170, 0);
	reg_set(u, 0x170, 0x21ull << 32 | 3ull << 8);
	reg_set(u, 0x178, 0x22ull << 32 | 3ull << 8);
	reg_set(u, 0x180, 0x23ull << 32 | 3ull << 8);
	control(u, 51);
	control(u, 3);
	cr_assert_eq(reg_get(u, R_STATUS) & BIT(8), 0, "GALogRun");
}

Test(amd_boot, linux)
{
	const uint64_t inttab = INTTAB, q2 = 1 | 9ull << 1 | inttab | 2ull << 60;
	struct msi_msg msg = {0xfee00000, 2}, out;
	struct dma_segment seg;
	struct dma_space *ds;
	struct unit u;
	uint64_t root, table;

	unit_new(&u, AMD_IOMMU_EFR_DEFAULT);
	cr_assert_eq(amd_iommu_dma_space_new(u.e, DEV, &ds), 0);
	/* #3, #4 */
	cr_assert_eq(reg_get(&u, R_CONTROL) & C_IOMMU, 0);
	disable_sequence(&u);
	/* #5: interrupts of every device are subject to remapping. */
	for (unsigned devid = 0; devid < 65536; devid++)
		put64(&u, DEVTAB + devid * 32ull + 16, 1);
	/* #6 to #15 */
	early_enable(&u);
	cr_assert_eq(reg_get(&u, R_CONTROL), C_IOMMU | C_COH | C_CMD | C_GA | C_XT | 4 << 5, "%lx",
		     reg_get(&u, R_CONTROL));

	/* #16: the timer's pin is remapped long before DMA is (rule 1), and DMA passes. */
	cr_assert_eq(amd_iommu_engine_remap(u.e, IOAPIC, &msg, &out, true), -EACCES);
	put64(&u, inttab + 2 * 16, 1 | 1 << 8);
	put64(&u, inttab + 2 * 16 + 8, 0x30);
	put64(&u, DEVTAB + IOAPIC * 32 + 16, q2);
	inv_devtab(&u, IOAPIC);
	completion_wait(&u);
	cmd(&u, 5ull << 60 | IOAPIC, 0);
	completion_wait(&u);
	cr_assert_eq(amd_iommu_engine_remap(u.e, IOAPIC, &msg, &out, true), 0);
	cr_assert(out.addr == (0xfee00000 | 1 << 12) && out.data == 0x30);
	cr_assert_eq(dma_space_map(ds, 0x40000, 8, DMA_WRITE, &seg, 1), 1, "V=0 passes");

	/* #17, #18 */
	enable_event_log(&u);
	cr_assert_eq(reg_get(&u, R_EFR), AMD_IOMMU_EFR_DEFAULT);
	cr_assert_eq(reg_get(&u, R_EFR2), AMD_IOMMU_EFR2_DEFAULT);
	/* #20: from here on what nobody has mapped is blocked. */
	finish_dma(&u);
	cr_assert_eq(dma_space_map(ds, 0x40000, 8, DMA_WRITE, &seg, 1), -EFAULT);
	cr_assert_eq(events(&u), 1);
	/* #22 to #25: that event was before the interrupt; Linux hears of it all the same. */
	cr_assert_eq(u.messages, 0);
	enable_interrupts(&u);
	cr_assert_eq(u.messages, 1);
	cr_assert(u.message.addr == (0xfee00000 | 3 << 12) && u.message.data == 0x21);
	cr_assert_eq(u.msis, 0);
	reg_set(&u, R_STATUS, S_EVTINT | S_OVERFLOW);
	expect_event(&u, "blocked", event_word(2, 0x070, 0, DEV), 0x40000);

	/* #26: a domain is attached, mapped, used and unmapped. */
	root = table_new(&u);
	table = tables_down(&u, root, 3, 1, 0xfffff000);
	pte_set(&u, table, 1, 0xfffff000, 0x40000 | RW_BITS | BIT(60) | 1);
	put64(&u, DEVTAB + DEV * 32 + 8, 5);
	put64(&u, DEVTAB + DEV * 32, 3 | 3 << 9 | root | RW_BITS);
	inv_devtab(&u, DEV);
	inv_all_pages(&u, 5);
	completion_wait(&u);
	cr_assert_eq(dma_space_map(ds, 0xfffff010, 8, DMA_WRITE, &seg, 1), 1);
	cr_assert_eq(seg.host, guest_memory_at(&u.gm, 0x40010, 8));
	pte_set(&u, table, 1, 0xfffff000, 0);
	cmd(&u, 3ull << 60 | 5ull << 32, 0xfffff000);
	completion_wait(&u);
	cr_assert_eq(dma_space_map(ds, 0xfffff010, 8, DMA_WRITE, &seg, 1), -EFAULT);
	expect_event(&u, "unmapped", event_word(2, 0x020, 5, DEV), 0xfffff010);
	cr_assert_eq(u.messages, 2);

	/* 8.4: shutdown, and a second start as after resume or kexec. */
	disable_sequence(&u);
	cr_assert_eq(reg_get(&u, R_STATUS) & (S_CMDRUN | S_EVTRUN), 0);
	cr_assert_eq(dma_space_map(ds, 0x40000, 8, DMA_WRITE, &seg, 1), 1);
	early_enable(&u);
	enable_event_log(&u);
	cr_assert_eq(events(&u), 0);
	amd_iommu_dma_space_free(ds);
	unit_free(&u);
}

/* 8.3: a crash kernel of 6.12 writes the bases again while the unit is enabled. */
Test(amd_boot, kdump_while_enabled)
{
	struct dma_segment seg;
	struct dma_space *ds;
	struct unit u;

	unit_start(&u, C_RUNNING);
	cr_assert_eq(amd_iommu_dma_space_new(u.e, DEV, &ds), 0);
	dte_set(&u, DEV, 3, 0, 0, 0);
	cr_assert_eq(dma_space_map(ds, 0, 8, DMA_READ, &seg, 1), -EFAULT);
	/* 7.3 reads the old bases back. */
	cr_assert_eq(reg_get(&u, R_DEVTAB), DEVTAB | 0x1ff);
	cr_assert_eq(reg_get(&u, R_CMD_BASE), CMDBUF | 9ull << 56);
	control(&u, -12);
	control(&u, -2);
	write_halves(&u, R_CMD_BASE, CMDBUF | 9ull << 56);
	control(&u, -12);
	reg_set(&u, R_CMD_HEAD, 0);
	reg_set(&u, R_CMD_TAIL, 0);
	u.tail = 0;
	control(&u, 12);
	write_halves(&u, R_DEVTAB, 0x900000 | 0x1ff);
	cr_assert_eq(dma_space_map(ds, 0, 8, DMA_READ, &seg, 1), 1, "the copied table counts");
	sequence = 0;
	completion_wait(&u);
	enable_event_log(&u);
	amd_iommu_dma_space_free(ds);
	unit_free(&u);
}

/* 1.8: without IASup, Linux flushes with 65536 commands of each kind through a 512-entry ring. */
Test(amd_boot, flush_without_invalidate_all)
{
	static const unsigned opcodes[] = {2, 5, 3};
	struct amd_iommu_stats stats;
	struct unit u;

	unit_new(&u, AMD_IOMMU_EFR_DEFAULT & ~BIT(6));
	reg_set(&u, R_DEVTAB, DEVTAB | 0x1ff);
	reg_set(&u, R_CMD_BASE, CMDBUF | 9ull << 56);
	reg_set(&u, R_CONTROL, C_IOMMU | C_CMD);
	for (unsigned op = 0; op < ARRAY_SIZE(opcodes); op++) {
		for (unsigned i = 0; i < 65536; i++) {
			if (opcodes[op] == 3)
				cmd_put(&u, 3ull << 60 | (uint64_t)i << 32, 0x7ffffffffffff003);
			else
				cmd_put(&u, (uint64_t)opcodes[op] << 60 | i, 0);
			if (i % 500 == 499)
				cmd_ring(&u);
		}
		sequence = op;
		completion_wait(&u);
	}
	amd_iommu_engine_stats(u.e, &stats);
	cr_assert_eq(stats.invalidations, 3 * 65536);
	cr_assert_eq(stats.completion_waits, 3);
	unit_free(&u);
}
