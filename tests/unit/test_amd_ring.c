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

/* ---- COMPLETION_WAIT and DMA that is under way ---- */

#define IOVA		  0x5000ull
#define INV(domain, iova) cmd_put(&u, OP(3) | (uint64_t)(domain) << 32, iova)

static struct unit u;
static struct dma_space *ds;
static struct dma_hold hold;
static unsigned kicks;
static uint64_t waits;

static void *host(uint64_t gpa)
{
	return guest_memory_at(&u.gm, gpa, 1);
}

static void *translated(uint64_t iova)
{
	struct dma_segment seg = {0};

	return dma_space_map(ds, iova, 64, DMA_WRITE, &seg, 1) == 1 ? seg.host : NULL;
}

/* Domain 7: IOVA to 40000h and the page after it to 41000h; a request holds the first of them. */
static void hold_start(void)
{
	unit_start(&u, C_RUNNING);
	kicks = 0;
	waits = 0;
	amd_iommu_engine_set_worker(u.e, &kicks, count_kick);
	dte_set(&u, DEV, 3 | 1 << 9 | table_new(&u) | RW_BITS, 7, 0, 0);
	pte_set(&u, TABLES, 1, IOVA, 0x40000 | RW_BITS | 1);
	pte_set(&u, TABLES, 1, IOVA + 4096, 0x41000 | RW_BITS | 1);
	cr_assert_eq(amd_iommu_dma_space_new(u.e, DEV, &ds), 0);
	dma_hold_begin(&hold, ds);
	dma_hold_add(&hold, &(struct dma_range){IOVA, IOVA + 63}, 1);
	cr_assert_eq(translated(IOVA), host(0x40000));
}

static void hold_finish(void)
{
	dma_hold_end(&hold);
	amd_iommu_dma_space_free(ds);
	unit_free(&u);
}

/* Appends a COMPLETION_WAIT and rings; whether it was carried out at once. */
static bool completed(void)
{
	cmd_put(&u, OP(1) | SEM | 1, ++waits);
	cmd_ring(&u);
	return get64(&u, SEM) == waits;
}

TestSuite(amd_hold, .init = hold_start, .fini = hold_finish);

/* Case 51, for a request that is in flight. */
Test(amd_hold, completion_waits_for_what_was_unmapped)
{
	pte_set(&u, TABLES, 1, IOVA, 0x80000 | RW_BITS | 1);
	INV(7, IOVA);
	cr_expect_not(completed());
	cr_expect_eq(reg_get(&u, R_CMD_HEAD), u.tail - 16, "the head stays on the wait");
	cr_expect(reg_get(&u, R_STATUS) & S_CMDRUN);
	cr_expect_eq(translated(IOVA), host(0x80000), "translations are new at once");
	amd_iommu_engine_run(u.e);
	cr_expect_eq(get64(&u, SEM), 0, "running it again is no way around");
	cr_expect_eq(kicks, 0);
	dma_hold_end(&hold);
	cr_expect_eq(kicks, 1);
	amd_iommu_engine_run(u.e);
	cr_expect_eq(get64(&u, SEM), 1);
	cr_expect_eq(reg_get(&u, R_CMD_HEAD), u.tail);
	cr_expect(completed());
}

Test(amd_hold, completion_does_not_wait_for_other_pages)
{
	INV(7, IOVA + 4096);
	cr_expect(completed());
	INV(7, IOVA - 4096);
	cr_expect(completed());
	INV(8, IOVA);
	cr_expect(completed(), "another domain");
	cmd_put(&u, OP(2) | (DEV + 1), 0);
	cr_expect(completed(), "another device");
	cmd_put(&u, OP(5) | DEV, 0);
	cr_expect(completed(), "interrupts");
	cr_expect_eq(kicks, 0);
}

static void expect_wait(void)
{
	cr_expect_not(completed());
	dma_hold_end(&hold);
	cr_expect_eq(kicks, 1);
	amd_iommu_engine_run(u.e);
	cr_expect_eq(get64(&u, SEM), waits);
}

Test(amd_hold, whole_domain)
{
	INV(7, 0x7ffffffffffff000 | 1);
	expect_wait();
}

Test(amd_hold, device_table_entry)
{
	cmd_put(&u, OP(2) | DEV, 0);
	expect_wait();
}

Test(amd_hold, everything)
{
	cmd_put(&u, OP(8), 0);
	expect_wait();
}

/* A hold that begins after the invalidation has translated anew. */
Test(amd_hold, later_holds_are_no_concern)
{
	dma_hold_end(&hold);
	INV(7, IOVA);
	cmd_ring(&u);
	dma_hold_add(&hold, &(struct dma_range){IOVA, IOVA + 63}, 1);
	cr_expect(completed());
}

Test(amd_hold, more_ranges_than_are_told_apart)
{
	for (unsigned i = 1; i < 40; i++) {
		struct dma_range range = {IOVA + i * 0x10000, IOVA + i * 0x10000 + 511};

		dma_hold_add(&hold, &range, 1);
	}
	INV(7, IOVA + 8 * 0x10000 + 4096);
	cr_expect(completed(), "one of the first is exact");
	INV(7, IOVA + 38 * 0x10000);
	expect_wait();
}

Test(amd_hold, without_a_worker_the_last_hold_runs_the_ring)
{
	amd_iommu_engine_set_worker(u.e, NULL, NULL);
	INV(7, IOVA);
	cr_expect_not(completed());
	dma_hold_end(&hold);
	cr_expect_eq(get64(&u, SEM), 1);
}

Test(amd_hold, a_ring_that_rests_can_be_disabled_and_reset)
{
	INV(7, IOVA);
	cr_expect_not(completed());
	reg_set(&u, R_CONTROL, C_RUNNING & ~C_CMD);
	dma_hold_end(&hold);
	amd_iommu_engine_run(u.e);
	cr_expect_eq(get64(&u, SEM), 0);
	reg_set(&u, R_CONTROL, C_RUNNING);
	cr_expect_eq(get64(&u, SEM), 1, "it goes on where it was");
	dma_hold_add(&hold, &(struct dma_range){IOVA, IOVA + 63}, 1);
	INV(7, IOVA);
	cr_expect_not(completed());
	amd_iommu_engine_reset(u.e);
	dma_hold_end(&hold);
	amd_iommu_engine_run(u.e);
	cr_expect_eq(get64(&u, SEM), 1);
}

/*
 * The entry moves to domain 9 before it is invalidated. What the device has cached is domain 7's
 * still, and must go with its pages.
 */
Test(amd_hold, a_domain_that_was_left_is_still_invalidated)
{
	uint64_t table = table_new(&u);

	pte_set(&u, table, 1, IOVA + 4096, 0x90000 | RW_BITS | 1);
	dte_set(&u, DEV, 3 | 1 << 9 | table | RW_BITS, 9, 0, 0);
	cr_expect_eq(translated(IOVA + 4096), host(0x90000));
	pte_set(&u, TABLES, 1, IOVA, 0);
	INV(7, IOVA);
	cr_expect_not(completed(), "the hold is domain 7's, too");
	cr_expect_null(translated(IOVA));
	dma_hold_end(&hold);
	amd_iommu_engine_run(u.e);
	cr_expect_eq(get64(&u, SEM), 1);
}

/* ---- what is in flight and translates as before ---- */

static struct dma_hold known;

/* A request of N pages from IOVA, which says what it has resolved. */
static void known_start(unsigned pages, unsigned access)
{
	struct dma_segment seg[8];

	dma_hold_end(&hold);
	dma_hold_begin(&known, ds);
	cr_assert_gt(dma_hold_map(&known, IOVA, pages * 4096, access, seg, ARRAY_SIZE(seg)), 0);
}

static void known_finish(void)
{
	dma_hold_end(&known);
	hold_finish();
}

TestSuite(amd_hold_known, .init = hold_start, .fini = known_finish);

/* A disk that takes its time, and a guest that flushes lazily: everything, whatever has changed. */
Test(amd_hold_known, completion_does_not_wait_where_nothing_changed)
{
	known_start(2, DMA_WRITE);
	INV(7, 0x7ffffffffffff000 | 1);
	cr_expect(completed(), "the whole domain");
	INV(7, IOVA);
	cr_expect(completed(), "its own page");
	cmd_put(&u, OP(2) | DEV, 0);
	cr_expect(completed(), "the device table entry");
	cmd_put(&u, OP(8), 0);
	cr_expect(completed(), "everything");
	/* The same page by a table of another shape. */
	pte_set(&u, TABLES, 1, IOVA - 4096, 0x3f000 | RW_BITS | 1);
	INV(7, 0x7ffffffffffff000 | 1);
	cr_expect(completed());
	cr_expect_eq(kicks, 0);
	pte_set(&u, TABLES, 1, IOVA + 4096, 0x80000 | RW_BITS | 1);
	INV(7, 0x7ffffffffffff000 | 1);
	cr_expect_not(completed(), "and yet it does when a page has moved");
	dma_hold_end(&known);
	cr_expect_eq(kicks, 1);
}

Test(amd_hold_known, completion_waits_for_pages_that_change_places)
{
	known_start(2, DMA_WRITE);
	pte_set(&u, TABLES, 1, IOVA, 0x41000 | RW_BITS | 1);
	pte_set(&u, TABLES, 1, IOVA + 4096, 0x40000 | RW_BITS | 1);
	INV(7, 0x7ffffffffffff000 | 1);
	cr_expect_not(completed());
	/* Put back before the request has ended: nothing is old any more. */
	pte_set(&u, TABLES, 1, IOVA, 0x40000 | RW_BITS | 1);
	pte_set(&u, TABLES, 1, IOVA + 4096, 0x41000 | RW_BITS | 1);
	amd_iommu_engine_run(u.e);
	cr_expect_eq(get64(&u, SEM), waits);
}

Test(amd_hold_known, completion_waits_where_the_right_is_gone)
{
	known_start(1, DMA_WRITE);
	pte_set(&u, TABLES, 1, IOVA, 0x40000 | BIT(61) | 1);
	INV(7, IOVA);
	cr_expect_not(completed());
	dma_hold_end(&known);
	amd_iommu_engine_run(u.e);
	cr_expect_eq(get64(&u, SEM), waits);
	known_start(1, DMA_READ);
	INV(7, IOVA);
	cr_expect(completed(), "reading is allowed still");
	pte_set(&u, TABLES, 1, IOVA, 0);
	INV(7, IOVA);
	cr_expect_not(completed(), "nor this");
}

Test(amd_hold_known, completion_waits_for_a_device_that_is_blocked)
{
	known_start(1, DMA_WRITE);
	dte_set(&u, DEV, 1, 7, 0, 0);
	cmd_put(&u, OP(2) | DEV, 0);
	cr_expect_not(completed());
}

/* Dirty tracking: what is written after the bit was cleared would be lost. */
Test(amd_hold_known, completion_waits_where_the_dirty_bit_was_cleared)
{
	dma_hold_end(&hold);
	amd_iommu_dma_space_free(ds);
	unit_free(&u);
	unit_start_features(&u, AMD_IOMMU_EFR_V2, 0, C_RUNNING);
	dte_set(&u, DEV, 3 | 3ull << 7 | 1 << 9 | table_new(&u) | RW_BITS, 7, 0, 0);
	pte_set(&u, TABLES, 1, IOVA, 0x40000 | RW_BITS | 1);
	cr_assert_eq(amd_iommu_dma_space_new(u.e, DEV, &ds), 0);
	known_start(1, DMA_WRITE);
	cr_assert_eq(get64(&u, TABLES + (IOVA >> 12) * 8), 0x40000 | RW_BITS | 1 | 3ull << 5);
	INV(7, IOVA);
	cr_expect(completed());
	pte_set(&u, TABLES, 1, IOVA, 0x40000 | RW_BITS | 1 | 1ull << 5);
	INV(7, IOVA);
	cr_expect_not(completed());
	cr_expect_eq(get64(&u, TABLES + (IOVA >> 12) * 8), 0x40000 | RW_BITS | 1 | 1ull << 5,
		     "looking leaves no trace");
}

/* As the queues do: all of a buffer first, then pieces of it. Neighbours make one range. */
Test(amd_hold_known, pieces_and_what_is_joined)
{
	struct dma_segment seg[2];

	pte_set(&u, TABLES, 1, IOVA + 4096, 0x50000 | RW_BITS | 1);
	pte_set(&u, TABLES, 1, IOVA + 8192, 0x60000 | RW_BITS | 1);
	INV(7, 0x7ffffffffffff000 | 1);
	cmd_ring(&u);
	dma_hold_end(&hold);
	dma_hold_begin(&known, ds);
	cr_assert_eq(dma_hold_map(&known, IOVA + 16, 8192 + 100, DMA_READ, seg, 2), -E2BIG);
	cr_assert_eq(dma_hold_map(&known, IOVA + 16, 8192 - 16, DMA_READ, seg, 2), 2);
	cr_assert_eq(dma_hold_map(&known, IOVA + 8192, 116, DMA_READ, seg, 2), 1);
	cr_assert_eq(dma_hold_map(&known, IOVA + 8192 + 116, 1, DMA_WRITE, seg, 2), 1);
	INV(7, 0x7ffffffffffff000 | 1);
	cr_expect(completed());
	pte_set(&u, TABLES, 1, IOVA + 8192, 0x60000 | BIT(61) | 1);
	INV(7, IOVA + 8192);
	cr_expect_not(completed(), "the last byte is for writing");
}

/* Too much to look at is taken to have changed: a COMPLETION_WAIT has a budget. */
Test(amd_hold_known, a_long_request_is_waited_for)
{
	struct dma_segment seg[1];

	dte_set(&u, DEV, 3 | RW_BITS, 7, 0, 0);
	cmd_put(&u, OP(2) | DEV, 0);
	dma_hold_end(&hold);
	cr_assert(completed());
	dma_hold_begin(&known, ds);
	cr_assert_eq(dma_hold_map(&known, 0, 1024 * 4096, DMA_READ, seg, 1), 1);
	cmd_put(&u, OP(2) | DEV, 0);
	cr_expect(completed());
	cr_assert_eq(dma_hold_map(&known, 1024 * 4096, 1, DMA_READ, seg, 1), 1);
	cmd_put(&u, OP(2) | DEV, 0);
	cr_expect_not(completed());
}
