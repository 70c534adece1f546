// SPDX-License-Identifier: Apache-2.0
/* How long a command ring may keep a vCPU, and who goes on with it. */
#include <time.h>

#include "amd_unit.h"

#define OP(n) ((uint64_t)(n) << 60)

static void count_kick(void *opaque)
{
	++*(unsigned *)opaque;
}

/* Case 53. */
Test(amd_ring, a_full_ring_gives_the_vcpu_back)
{
	unsigned kicks = 0, turns = 0;
	struct unit u;

	unit_start(&u, C_RUNNING & ~C_CMD);
	reg_set(&u, R_CMD_BASE, CMDBUF | 15ull << 56);
	reg_set(&u, R_CONTROL, C_RUNNING);
	amd_iommu_engine_set_worker(u.e, &kicks, count_kick);
	for (unsigned i = 0; i < 32766; i++)
		cmd_put(&u, OP(8), 0);
	cmd_put(&u, OP(1) | SEM | 1, 7);
	cmd_ring(&u);
	cr_expect_eq(kicks, 1);
	cr_expect_leq(u.interrupts_all, AMD_IOMMU_RUN_COMMANDS + 1);
	cr_expect_eq(get64(&u, SEM), 0);
	cr_expect_neq(reg_get(&u, R_CMD_HEAD), u.tail);
	cr_expect(reg_get(&u, R_STATUS) & S_CMDRUN, "it has not stopped");
	while (kicks && ++turns < 40000) {
		kicks = 0;
		amd_iommu_engine_run(u.e);
		cr_assert_leq(kicks, 1);
	}
	cr_expect_geq(turns, 32766 / AMD_IOMMU_RUN_COMMANDS);
	cr_expect_eq(reg_get(&u, R_CMD_HEAD), u.tail);
	cr_expect_eq(get64(&u, SEM), 7, "after all that came before it");
	unit_free(&u);
}

struct slow {
	struct amd_iommu_listener listener;
	unsigned calls;
};

static void slow_interrupts(struct amd_iommu_listener *l, uint16_t devid, bool all)
{
	const struct timespec longer = {.tv_nsec = AMD_IOMMU_RUN_NS + 1};

	(void)devid;
	(void)all;
	container_of(l, struct slow, listener)->calls++;
	nanosleep(&longer, NULL);
}

Test(amd_ring, slow_listeners_use_the_budget_up)
{
	struct slow slow = {.listener.interrupts_changed = slow_interrupts};
	unsigned kicks = 0;
	struct unit u;

	unit_start(&u, C_RUNNING);
	amd_iommu_engine_listen(u.e, &slow.listener);
	amd_iommu_engine_set_worker(u.e, &kicks, count_kick);
	cmd_put(&u, OP(5) | DEV, 0);
	cmd_put(&u, OP(5) | DEV, 0);
	cmd_put(&u, OP(5) | DEV, 0);
	cmd_ring(&u);
	cr_expect_eq(slow.calls, 1);
	cr_expect_eq(kicks, 1);
	/* Whoever touches the unit meanwhile does a share, and no more than that. */
	reg_set(&u, R_STATUS, 0);
	cr_expect_eq(slow.calls, 2);
	cr_expect_eq(kicks, 2);
	amd_iommu_engine_run(u.e);
	cr_expect_eq(slow.calls, 3);
	cr_expect_eq(kicks, 2, "nothing is left");
	amd_iommu_engine_run(u.e);
	cr_expect_eq(slow.calls, 3);
	amd_iommu_engine_unlisten(u.e, &slow.listener);
	unit_free(&u);
}

/* A worker that comes late finds what software has made of the ring since. */
Test(amd_ring, a_disabled_ring_is_not_continued)
{
	struct slow slow = {.listener.interrupts_changed = slow_interrupts};
	unsigned kicks = 0;
	struct unit u;

	unit_start(&u, C_RUNNING);
	amd_iommu_engine_set_worker(u.e, &kicks, count_kick);
	amd_iommu_engine_listen(u.e, &slow.listener);
	cmd_put(&u, OP(5) | DEV, 0);
	cmd_put(&u, OP(1) | SEM | 1, 7);
	cmd_ring(&u);
	cr_assert_eq(kicks, 1);
	reg_set(&u, R_CONTROL, C_RUNNING & ~C_CMD);
	amd_iommu_engine_run(u.e);
	cr_expect_eq(get64(&u, SEM), 0);
	amd_iommu_engine_unlisten(u.e, &slow.listener);
	amd_iommu_engine_reset(u.e);
	amd_iommu_engine_run(u.e);
	cr_expect_eq(get64(&u, SEM), 0);
	cr_expect_eq(kicks, 1);
	unit_free(&u);
}
