// SPDX-License-Identifier: Apache-2.0
/* The AMD IOMMU's command buffer (48882 section 2.4; reference section 5). */
#include <errno.h>

#include "amd_unit.h"

#define OP(n) ((uint64_t)(n) << 60)

/* Case 40: 8 bytes, the address in bits 51:3. */
Test(amd_command, completion_wait_stores)
{
	struct amd_iommu_stats stats;
	struct unit u;

	unit_start(&u, C_RUNNING);
	put64(&u, SEM - 8, 1);
	put64(&u, SEM + 8, 2);
	cmd(&u, OP(1) | SEM | 1, 0x123456789abcdef0);
	cr_assert_eq(get64(&u, SEM), 0x123456789abcdef0);
	cr_assert_eq(get64(&u, SEM - 8), 1);
	cr_assert_eq(get64(&u, SEM + 8), 2);
	cmd(&u, OP(1) | (HIGH_BASE + 8) | 1 | 4, 7);
	cr_assert_eq(get64(&u, HIGH_BASE + 8), 7, "flush bit, second region");
	cmd(&u, OP(1) | SEM, 0);
	cr_assert_eq(get64(&u, SEM), 0x123456789abcdef0, "no store without s");
	amd_iommu_engine_stats(u.e, &stats);
	cr_assert_eq(stats.completion_waits, 3);
	cr_assert_eq(stats.commands, 3);
	cr_assert_eq(u.msis, 0);
	unit_free(&u);
}

/* Cases 32 and 43: the bit is set always, the message needs the enable, and only an edge sends. */
Test(amd_command, completion_wait_interrupt)
{
	struct unit u;

	unit_start(&u, C_RUNNING);
	cmd(&u, OP(1) | BIT(1), 0);
	cr_assert(reg_get(&u, R_STATUS) & S_CWINT);
	cr_assert_eq(u.msis, 0);
	reg_set(&u, R_STATUS, S_CWINT);
	reg_set(&u, R_CONTROL, C_RUNNING | C_CWINT);
	cr_assert_eq(u.msis, 0);
	cmd(&u, OP(1) | BIT(1), 0);
	cr_assert_eq(u.msis, 1);
	cmd(&u, OP(1) | BIT(1), 0);
	cr_assert_eq(u.msis, 1, "already set");
	reg_set(&u, R_STATUS, S_CWINT);
	cmd(&u, OP(1) | BIT(1), 0);
	cr_assert_eq(u.msis, 2);
	unit_free(&u);
}

/* Cases 44, 46, 47: each stops the ring with the head on the command, after one event. */
Test(amd_command, illegal)
{
	static const struct {
		const char *name;
		uint64_t word0, word1;
		uint64_t efr;
	} cases[] = {
		{"opcode 0", OP(0), 0, 0x8cc},
		{"COMPLETION_WAIT 59:52", OP(1) | BIT(52), 0, 0x8cc},
		{"COMPLETION_WAIT 59:52 top", OP(1) | BIT(59), 0, 0x8cc},
		{"INVALIDATE_DEVTAB_ENTRY 31:16", OP(2) | BIT(16), 0, 0x8cc},
		{"INVALIDATE_DEVTAB_ENTRY 59:32", OP(2) | BIT(59), 0, 0x8cc},
		{"INVALIDATE_DEVTAB_ENTRY 127:64", OP(2), BIT(63), 0x8cc},
		{"INVALIDATE_IOMMU_PAGES 31:20", OP(3) | BIT(20), 0, 0x8cc},
		{"INVALIDATE_IOMMU_PAGES 59:48", OP(3) | BIT(48), 0, 0x8cc},
		{"INVALIDATE_IOMMU_PAGES GN without GTSup", OP(3), BIT(2), 0x8cc},
		{"INVALIDATE_IOMMU_PAGES 75:67", OP(3), BIT(11), 0x8cc},
		{"INVALIDATE_IOTLB_PAGES without IotlbSup", OP(4), 0, 0x8cc},
		{"INVALIDATE_INTERRUPT_TABLE 31:16", OP(5) | BIT(31), 0, 0x8cc},
		{"INVALIDATE_INTERRUPT_TABLE 127:64", OP(5), 1, 0x8cc},
		{"PREFETCH_IOMMU_PAGES without PreFSup", OP(6), 0, 0x8cc},
		{"COMPLETE_PPR_REQUEST without PPRSup", OP(7), 0, 0x8cc},
		{"INVALIDATE_IOMMU_ALL low", OP(8) | 1, 0, 0x8cc},
		{"INVALIDATE_IOMMU_ALL high", OP(8), 1, 0x8cc},
		{"INVALIDATE_IOMMU_ALL without IASup", OP(8), 0, 0x88c},
		{"INSERT_GUEST_EVENT", OP(9), 0, 0x8cc},
		{"RESET_VMMIO", OP(10), 0, 0x8cc},
		{"opcode Bh", OP(11), 0, 0x8cc},
		{"opcode Fh", OP(15), 0, 0x8cc},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct unit u;

		unit_new(&u, cases[i].efr);
		reg_set(&u, R_CMD_BASE, CMDBUF | 8ull << 56);
		reg_set(&u, R_EVT_BASE, EVTLOG | 8ull << 56);
		reg_set(&u, R_CONTROL, C_RUNNING);
		cmd_put(&u, OP(1), 0);
		cmd_put(&u, cases[i].word0, cases[i].word1);
		cmd_put(&u, OP(1) | SEM | 1, 1);
		cmd_ring(&u);
		cr_assert_eq(reg_get(&u, R_CMD_HEAD), 16, "%s: head", cases[i].name);
		cr_assert_eq(reg_get(&u, R_STATUS), S_EVTRUN | S_EVTINT, "%s", cases[i].name);
		cr_assert_eq(get64(&u, SEM), 0, "%s: a later command ran", cases[i].name);
		cr_assert_eq(events(&u), 1);
		expect_event(&u, cases[i].name, event_word(5, 0, 0, 0), CMDBUF + 16);
		unit_free(&u);
	}
}

/* Case 45: stopped until CmdBufEn goes 0 to 1; doorbells in between are remembered only. */
Test(amd_command, resumes)
{
	struct unit u;

	unit_start(&u, C_RUNNING);
	cmd_put(&u, OP(15), 0);
	cmd_ring(&u);
	put64(&u, CMDBUF, OP(1) | SEM | 1);
	put64(&u, CMDBUF + 8, 5);
	cmd_put(&u, OP(1) | (SEM + 8) | 1, 6);
	cmd_ring(&u);
	reg_set(&u, R_CONTROL, C_RUNNING);
	cr_assert_eq(get64(&u, SEM), 0);
	cr_assert_eq(reg_get(&u, R_CMD_TAIL), 32);
	reg_set(&u, R_CONTROL, C_RUNNING & ~C_CMD);
	reg_set(&u, R_CONTROL, C_RUNNING);
	cr_assert_eq(get64(&u, SEM), 5);
	cr_assert_eq(get64(&u, SEM + 8), 6);
	cr_assert_eq(reg_get(&u, R_CMD_HEAD), 32);
	cr_assert(reg_get(&u, R_STATUS) & S_CMDRUN);
	unit_free(&u);
}

/* Cases 41 and 54. */
Test(amd_command, hardware_errors)
{
	static const struct {
		const char *name;
		uint64_t base, word0, address;
		unsigned type;
	} cases[] = {
		{"store into a hole", CMDBUF, OP(1) | HOLE | 1, HOLE, 1},
		{"store beyond RAM", CMDBUF, OP(1) | RAM_SIZE | 1, RAM_SIZE, 1},
		{"store at the end of the address field", CMDBUF, OP(1) | 0xffffffffffff9,
		 0xffffffffffff8, 1},
		{"ring in a hole", HOLE, 0, HOLE, 2},
		{"ring at the end of the address field", 0xffffffffff000, 0, 0xffffffffff000, 2},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct unit u;

		unit_start(&u, C_IOMMU | C_EVT);
		reg_set(&u, R_CMD_BASE, cases[i].base | 15ull << 56);
		put64(&u, CMDBUF, cases[i].word0);
		reg_set(&u, R_CONTROL, C_RUNNING);
		reg_set(&u, R_CMD_TAIL, ~0ull);
		cr_assert_eq(reg_get(&u, R_CMD_TAIL), 0x7fff0);
		cr_assert_eq(reg_get(&u, R_CMD_HEAD), 0, "%s", cases[i].name);
		cr_assert_eq(reg_get(&u, R_STATUS) & S_CMDRUN, 0, "%s", cases[i].name);
		expect_event(&u, cases[i].name, event_word(6, cases[i].type << 9, 0, 0),
			     cases[i].address);
		unit_free(&u);
	}
}

/* Case 42: a store into the ring is seen by the commands behind it and runs nothing twice. */
Test(amd_command, store_into_the_ring)
{
	struct unit u;

	unit_start(&u, C_RUNNING);
	cmd_put(&u, OP(1) | (CMDBUF + 16) | 1, OP(1) | SEM | 1);
	cmd_put(&u, OP(15), 0x77);
	cmd_ring(&u);
	cr_assert_eq(get64(&u, SEM), 0x77);
	cr_assert_eq(reg_get(&u, R_CMD_HEAD), 32);
	cr_assert_eq(events(&u), 0);
	unit_free(&u);
}

/* Case 30: what was queued before the unit was enabled runs when it is. */
Test(amd_command, queued_before_enable)
{
	struct unit u;

	unit_start(&u, C_CMD);
	cmd_put(&u, OP(1) | SEM | 1, 9);
	cmd_ring(&u);
	cr_assert_eq(get64(&u, SEM), 0);
	reg_set(&u, R_CONTROL, C_CMD | C_IOMMU);
	cr_assert_eq(get64(&u, SEM), 9);
	unit_free(&u);
}

/* Case 55, for every length; one doorbell drains a full ring in order. */
Test(amd_command, wraps_at_every_length)
{
	struct unit u;

	for (unsigned log2 = 8; log2 <= 15; log2++) {
		const uint64_t entries = 1ull << log2;
		struct amd_iommu_stats stats;

		unit_new(&u, AMD_IOMMU_EFR_DEFAULT);
		reg_set(&u, R_CMD_BASE, CMDBUF | (uint64_t)log2 << 56);
		reg_set(&u, R_CONTROL, C_RUNNING);
		for (uint64_t i = 0; i < entries - 1; i++)
			cmd_put(&u, OP(1) | SEM | 1, i + 1);
		cmd_ring(&u);
		cr_assert_eq(reg_get(&u, R_CMD_HEAD), (entries - 1) * 16);
		cr_assert_eq(get64(&u, SEM), entries - 1);
		cmd_put(&u, OP(1) | SEM | 1, 1000000);
		cmd_ring(&u);
		cr_assert_eq(reg_get(&u, R_CMD_HEAD), 0, "length %u", log2);
		cr_assert_eq(get64(&u, SEM), 1000000);
		amd_iommu_engine_stats(u.e, &stats);
		cr_assert_eq(stats.commands, entries);
		unit_free(&u);
	}
}

/* Case 48 and reference 5.1: the size is coded by the first 0 bit, not the last. */
Test(amd_command, invalidate_pages_ranges)
{
	static const struct {
		const char *name;
		uint64_t word1, iova, last;
	} cases[] = {
		{"one page", 0x12345000, 0x12345000, 0x12345fff},
		{"one page, PDE", 0x12345000 | 2, 0x12345000, 0x12345fff},
		{"highest page", 0xfffffffffffff000, 0xfffffffffffff000, ~0ull},
		{"8 KiB", 0x12344000 | 1, 0x12344000, 0x12345fff},
		{"16 KiB", 0x12345000 | 1, 0x12344000, 0x12347fff},
		{"2 MiB", 0x402ff000 | 1, 0x40200000, 0x403fffff},
		{"1 GiB", 0x8000000000 | 0x1ffff000 | 1, 0x8000000000, 0x803fffffff},
		{"largest range", 0x3fffffffff000 | 1, 0, 0x7ffffffffffff},
		{"bit 51 is the first 0: all", 0x7fffffffff000 | 1, 0, ~0ull},
		{"Linux's flush of all", 0x7ffffffffffff000 | 1, 0, ~0ull},
		{"all ones", 0xfffffffffffff003, 0, ~0ull},
		{"not decoded from the last 0", 0x80000ff000 | 1, 0x8000000000, 0x80001fffff},
	};
	struct unit u;

	unit_start(&u, C_RUNNING);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		u.pages = 0;
		cmd(&u, OP(3) | 0xabcdull << 32, cases[i].word1);
		cr_assert_eq(u.pages, 1, "%s", cases[i].name);
		cr_assert_eq(u.domain, 0xabcd);
		cr_assert(u.iova == cases[i].iova && u.last == cases[i].last, "%s: %lx..%lx",
			  cases[i].name, u.iova, u.last);
	}
	unit_free(&u);
}

/* Case 57 and reference 5.2: who is told what. */
static unsigned alls;

static void count_all(struct amd_iommu_listener *l)
{
	(void)l;
	alls++;
}

Test(amd_command, listeners)
{
	const uint64_t root = TABLES;
	struct unit u;

	unit_start(&u, C_RUNNING);
	dte_set(&u, 0x11, 3 | 3ull << 9 | root | RW_BITS, 0x66, 0, 0);
	dte_set(&u, 0x22, 3 | 3ull << 9 | root | RW_BITS, 0x66, 0, 0);
	cr_assert_eq(amd_iommu_engine_watch(u.e, 0x11), 0);
	cr_assert_eq(amd_iommu_engine_watch(u.e, 0x22), 0);
	u.devices = u.interrupts = u.interrupts_all = 0;

	inv_devtab(&u, 0x1234);
	cr_assert_eq(u.devices, 1);
	cr_assert_eq(u.device, 0x1234);
	cr_assert_eq(u.interrupts, 1, "the interrupt table comes with the entry");
	cr_assert_eq(u.interrupt, 0x1234);
	cr_assert_eq(u.interrupts_all, 0);

	cmd(&u, OP(5) | 0x4321, 0);
	cr_assert_eq(u.devices, 1);
	cr_assert_eq(u.interrupts, 2);
	cr_assert_eq(u.interrupt, 0x4321);
	cr_assert_eq(u.interrupts_all, 0);

	cmd(&u, OP(8), 0);
	cr_assert_eq(u.devices, 3, "each watched device");
	cr_assert_eq(u.interrupts_all, 1);
	cr_assert_eq(u.pages, 1, "the domain they share, once");
	cr_assert_eq(u.domain, 0x66);
	cr_assert(u.iova == 0 && u.last == ~0ull);

	/* One that looks at all of it at once is told once, and of single changes as before. */
	u.devices = u.pages = 0;
	u.listener.all_changed = count_all;
	cmd(&u, OP(8), 0);
	cr_assert_eq(alls, 1);
	cr_assert_eq(u.devices + u.pages, 0);
	cr_assert_eq(u.interrupts_all, 2);
	inv_devtab(&u, 0x11);
	cr_assert_eq(u.devices, 1);
	cr_assert_eq(alls, 1);
	unit_free(&u);
}

struct late {
	struct amd_iommu_listener listener;
	struct unit *u;
	uint64_t seen;
	int remap;
};

static void late_device_changed(struct amd_iommu_listener *l, uint16_t devid)
{
	struct late *late = container_of(l, struct late, listener);
	struct msi_msg msg = {0xfee00000, 0}, out;
	struct amd_device_state state;

	late->seen = get64(late->u, SEM);
	amd_iommu_engine_device_state(late->u->e, devid, &state);
	late->remap = amd_iommu_engine_remap(late->u->e, devid, &msg, &out, true);
	cr_assert_eq(late->u->msis, 0, "a message with the lock held");
}

/* Listeners are done before a later COMPLETION_WAIT stores; messages leave after the lock does. */
Test(amd_command, listeners_run_before_completion)
{
	struct late late = {.listener.device_changed = late_device_changed, .seen = 99};
	struct unit u;

	unit_start(&u, C_RUNNING | C_EVTINT);
	late.u = &u;
	amd_iommu_engine_listen(u.e, &late.listener);
	dte_set(&u, DEV, 0, 0, 1 | 3ull << 60, 0);
	cmd_put(&u, OP(2) | DEV, 0);
	cmd_put(&u, OP(1) | SEM | 1, 3);
	cmd_ring(&u);
	cr_assert_eq(late.seen, 0);
	cr_assert_eq(late.remap, -EACCES);
	cr_assert_eq(get64(&u, SEM), 3);
	cr_assert_eq(u.msis, 1, "the event of the remapping is signalled after all");
	amd_iommu_engine_unlisten(u.e, &late.listener);
	unit_free(&u);
}
