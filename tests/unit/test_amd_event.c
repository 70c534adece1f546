// SPDX-License-Identifier: Apache-2.0
/* The AMD IOMMU's event log and its interrupt (48882 section 2.5; reference section 6). */
#include <errno.h>

#include "amd_unit.h"

static struct dma_space *fault_space(struct unit *u, uint64_t q1)
{
	struct dma_space *ds = NULL;

	dte_set(u, DEV, 1, q1, 0, 0);
	cr_assert_eq(amd_iommu_dma_space_new(u->e, DEV, &ds), 0);
	return ds;
}

static void fault(struct dma_space *ds, uint64_t iova)
{
	struct dma_segment seg;

	cr_assert_eq(dma_space_map(ds, iova, 1, DMA_READ, &seg, 1), -EFAULT);
}

/* Cases 115 and 117, and the restart that Linux does. */
Test(amd_event, overflow_and_restart)
{
	struct amd_iommu_stats stats;
	struct dma_space *ds;
	struct unit u;

	unit_start(&u, C_RUNNING | C_EVTINT);
	ds = fault_space(&u, 0x12);
	for (unsigned i = 0; i < 511; i++)
		fault(ds, i * 0x1000);
	cr_assert_eq(reg_get(&u, R_EVT_TAIL), 511 * 16);
	cr_assert_eq(reg_get(&u, R_STATUS), S_CMDRUN | S_EVTRUN | S_EVTINT);
	cr_assert_eq(u.msis, 1);
	fault(ds, 0xdead000);
	cr_assert_eq(reg_get(&u, R_STATUS), S_CMDRUN | S_EVTINT | S_OVERFLOW);
	cr_assert_eq(u.msis, 2, "the overflow has a message of its own");
	fault(ds, 0xdead000);
	cr_assert_eq(u.msis, 2);
	cr_assert_eq(reg_get(&u, R_EVT_TAIL), 511 * 16);
	amd_iommu_engine_stats(u.e, &stats);
	cr_assert_eq(stats.events, 511);
	cr_assert_eq(stats.events_lost, 2);
	cr_assert_eq(stats.faults, 513);

	/* The oldest are intact: nothing went over the head. */
	expect_event(&u, "first", event_word(2, 0, 0x12, DEV), 0);
	expect_event(&u, "second", event_word(2, 0, 0x12, DEV), 0x1000);
	reg_set(&u, R_EVT_HEAD, 511 * 16);

	reg_set(&u, R_CONTROL, C_IOMMU | C_CMD);
	reg_set(&u, R_CONTROL, C_RUNNING);
	cr_assert_eq(reg_get(&u, R_STATUS) & S_EVTRUN, 0, "toggled but not acknowledged");
	reg_set(&u, R_STATUS, S_OVERFLOW | S_EVTINT);
	cr_assert_eq(reg_get(&u, R_STATUS) & S_EVTRUN, 0, "acknowledged but not toggled since");
	reg_set(&u, R_CONTROL, C_IOMMU | C_CMD);
	reg_set(&u, R_CONTROL, C_RUNNING | C_EVTINT);
	cr_assert(reg_get(&u, R_STATUS) & S_EVTRUN);
	cr_assert_eq(u.msis, 2);

	fault(ds, 0xbeef000);
	cr_assert_eq(u.msis, 3);
	cr_assert_eq(reg_get(&u, R_EVT_TAIL), 0, "the tail goes on and wraps");
	cr_assert_eq(get64(&u, EVTLOG + 511 * 16 + 8), 0xbeef000);
	amd_iommu_dma_space_free(ds);
	unit_free(&u);
}

/* Reference 6.3: while the log does not run, requests are refused and nothing is written. */
Test(amd_event, silent_while_stopped)
{
	struct dma_space *ds;
	struct unit u;

	unit_start(&u, C_IOMMU | C_CMD | C_EVTINT);
	ds = fault_space(&u, 0);
	fault(ds, 0);
	cr_assert_eq(reg_get(&u, R_EVT_TAIL), 0);
	cr_assert_eq(reg_get(&u, R_STATUS), S_CMDRUN);
	cr_assert_eq(get64(&u, EVTLOG), 0);
	cr_assert_eq(u.msis, 0);
	amd_iommu_dma_space_free(ds);
	unit_free(&u);
}

/* Case 118. */
Test(amd_event, log_outside_ram)
{
	static const uint64_t bases[] = {HOLE, 0xffffffffff000, RAM_SIZE};
	struct dma_space *ds;
	struct unit u;

	for (unsigned i = 0; i < ARRAY_SIZE(bases); i++) {
		unit_start(&u, C_IOMMU);
		reg_set(&u, R_EVT_BASE, bases[i] | 9ull << 56);
		reg_set(&u, R_CONTROL, C_RUNNING | C_EVTINT);
		ds = fault_space(&u, 0);
		fault(ds, 0);
		cr_assert_eq(reg_get(&u, R_EVT_TAIL), 0, "%lx", bases[i]);
		cr_assert_eq(u.msis, 0);
		amd_iommu_dma_space_free(ds);
		unit_free(&u);
	}
}

/* Case 119: clear, then drain; what comes in between raises a new message. */
Test(amd_event, edge_after_clear)
{
	struct dma_space *ds;
	struct unit u;

	unit_start(&u, C_RUNNING | C_EVTINT);
	ds = fault_space(&u, 0);
	fault(ds, 0);
	fault(ds, 0);
	cr_assert_eq(u.msis, 1);
	reg_set(&u, R_STATUS, S_EVTINT);
	fault(ds, 0);
	cr_assert_eq(u.msis, 2);
	amd_iommu_dma_space_free(ds);
	unit_free(&u);
}

/* An event from before EventIntEn, or before the vector, is signalled when the way is open. */
Test(amd_event, armed_late)
{
	const uint64_t xt = 0x12ull << 56 | 0x41ull << 32 | 0x345678ull << 8 | 4;
	struct dma_space *ds;
	struct unit u;

	unit_start(&u, C_RUNNING);
	ds = fault_space(&u, 0);
	fault(ds, 0);
	cr_assert_eq(u.msis, 0);
	reg_set(&u, R_CONTROL, C_RUNNING | C_EVTINT | C_XTINT);
	cr_assert_eq(u.msis, 0);
	cr_assert_eq(u.messages, 0, "case 39: vector 0 sends nothing");
	reg_set(&u, R_XT, xt & ~(0xf0ull << 32));
	cr_assert_eq(u.messages, 0, "vectors below 16 are illegal");
	reg_set(&u, R_XT, xt);
	cr_assert_eq(u.messages, 1);
	cr_assert_eq(u.msis, 0);
	cr_assert_eq(u.message.addr, 0x12345600ull << 32 | 0xfee00000 | 0x78 << 12 | 4);
	cr_assert_eq(u.message.data, 0x41);

	reg_set(&u, R_XT, 0);
	reg_set(&u, R_STATUS, S_EVTINT);
	reg_set(&u, R_XT, xt | BIT(40));
	cr_assert_eq(u.messages, 1, "nothing pending");
	fault(ds, 0);
	cr_assert_eq(u.messages, 2);
	cr_assert_eq(u.message.data, 0x141, "arbitrated");
	amd_iommu_dma_space_free(ds);
	unit_free(&u);
}

/* Cases 120 and 121. */
Test(amd_event, suppression)
{
	struct dma_space *ds;
	struct unit u;

	unit_start(&u, C_RUNNING);
	ds = fault_space(&u, BIT(33));
	fault(ds, 0x1000);
	fault(ds, 0x2000);
	cr_assert_eq(events(&u), 1, "SE");
	inv_devtab(&u, DEV + 1);
	fault(ds, 0x2000);
	cr_assert_eq(events(&u), 1, "another device's entry was invalidated");
	inv_devtab(&u, DEV);
	fault(ds, 0x3000);
	fault(ds, 0x4000);
	cr_assert_eq(events(&u), 2);
	cmd(&u, 8ull << 60, 0);
	fault(ds, 0x5000);
	cr_assert_eq(events(&u), 3, "INVALIDATE_IOMMU_ALL");
	amd_iommu_dma_space_free(ds);

	ds = fault_space(&u, BIT(34));
	inv_devtab(&u, DEV);
	fault(ds, 0x1000);
	cr_assert_eq(events(&u), 3, "SA");
	/* An entry that is wrong is always said. */
	dte_set(&u, DEV, 1 | BIT(2), BIT(34) | BIT(33), 0, 0);
	inv_devtab(&u, DEV);
	fault(ds, 0x1000);
	fault(ds, 0x1000);
	cr_assert_eq(events(&u), 5);
	amd_iommu_dma_space_free(ds);
	unit_free(&u);
}

/* Case 113: the unit's own message does not pass through its tables. */
Test(amd_event, own_interrupt_is_not_remapped)
{
	struct msi_msg msg = {0xfee00000, 0x31}, out;
	struct dma_segment seg;
	struct dma_space *ds;
	struct unit u;

	unit_start(&u, C_RUNNING);
	dte_set(&u, UNIT_BDF, 1, 0, 1, 0);
	cr_assert_eq(amd_iommu_engine_remap(u.e, UNIT_BDF, &msg, &out, true), 0);
	cr_assert(out.addr == msg.addr && out.data == msg.data);
	cr_assert_eq(amd_iommu_dma_space_new(u.e, UNIT_BDF, &ds), 0);
	cr_assert_eq(dma_space_map(ds, 0x1000, 8, DMA_WRITE, &seg, 1), 1);
	cr_assert_eq(events(&u), 0);
	amd_iommu_dma_space_free(ds);
	unit_free(&u);
}
