// SPDX-License-Identifier: Apache-2.0
/*
 * Translation and remapping against a guest that changes its tables meanwhile. What a thread may
 * see does not depend on timing: a translation begun after a COMPLETION_WAIT shows the new tables,
 * and no answer mixes two states. For ThreadSanitizer, too.
 */
#include <emmintrin.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "amd_unit.h"

#define ROUNDS 2000
#define READS  1000
#define IOVA   0x5000ull

struct race {
	struct unit u;
	struct dma_space *ds;
	atomic_bool stop;
	atomic_uint turn; /* 2 n: round n is settled; 2 n + 1: the next one is under way */
	atomic_uint wrong, reads;
};

static uint64_t round_page(unsigned round)
{
	return round % 2 ? 0x80000 : 0x40000;
}

/* As CMPXCHG16B by the guest: both words at once. */
static void put128(struct unit *u, uint64_t gpa, uint64_t word0, uint64_t word1)
{
	__m128i *p = guest_memory_at(&u->gm, gpa, 16), v = _mm_set_epi64x(word1, word0);

	__asm__ volatile("movdqa %1, %0" : "=m"(*p) : "x"(v) : "memory");
}

static void race_run(struct race *r, void (*change)(struct race *, unsigned),
		     void *(*reader)(void *))
{
	pthread_t thread[2];

	for (unsigned i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&thread[i], NULL, reader, r), 0);
	for (unsigned round = 1; round <= ROUNDS || atomic_load(&r->reads) < READS; round++) {
		atomic_store(&r->turn, 2 * round - 1);
		change(r, round);
		cmd(&r->u, 1ull << 60 | SEM | 1, round);
		cr_assert_eq(get64(&r->u, SEM), round);
		atomic_store(&r->turn, 2 * round);
	}
	atomic_store(&r->stop, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	cr_assert_eq(atomic_load(&r->wrong), 0);
	cr_assert_eq(reg_get(&r->u, R_EVT_TAIL), 0, "a fault between two good states");
}

static void *translate(void *opaque)
{
	struct race *r = opaque;

	while (!atomic_load(&r->stop)) {
		const unsigned before = atomic_load(&r->turn);
		struct dma_segment seg = {0};
		int n = dma_space_map(r->ds, IOVA, 64, DMA_WRITE, &seg, 1);
		const void *even = guest_memory_at(&r->u.gm, round_page(0), 64);
		const void *odd = guest_memory_at(&r->u.gm, round_page(1), 64);
		bool ok = n == 1 && (seg.host == even || seg.host == odd);

		/* Nothing changed in between: then there is one right answer. */
		if (before % 2 == 0 && atomic_load(&r->turn) == before)
			ok = ok && seg.host == (before / 2 % 2 ? odd : even);
		atomic_fetch_add(&r->wrong, !ok);
		atomic_fetch_add(&r->reads, 1);
	}
	return NULL;
}

static void change_page(struct race *r, unsigned round)
{
	pte_set(&r->u, TABLES, 1, IOVA, round_page(round) | RW_BITS | 1);
	cmd(&r->u, 3ull << 60 | 7ull << 32, IOVA);
}

/* Case 51. */
Test(amd_threads, pages)
{
	static struct race r;

	unit_start(&r.u, C_RUNNING);
	dte_set(&r.u, DEV, 3 | 1 << 9 | table_new(&r.u) | RW_BITS, 7, 0, 0);
	pte_set(&r.u, TABLES, 1, IOVA, round_page(0) | RW_BITS | 1);
	cr_assert_eq(amd_iommu_dma_space_new(r.u.e, DEV, &r.ds), 0);
	race_run(&r, change_page, translate);
	amd_iommu_dma_space_free(r.ds);
	unit_free(&r.u);
}

/* The same by a guest table, whose entries the unit writes at the same time. */
static void change_guest_page(struct race *r, unsigned round)
{
	pte_set(&r->u, TABLES + 3 * 4096, 1, IOVA, round_page(round) | 7);
	cmd(&r->u, 3ull << 60 | 7ull << 32, IOVA | BIT(2));
}

Test(amd_threads, guest_pages)
{
	static struct race r;

	unit_start_features(&r.u, AMD_IOMMU_EFR_V2, 0, C_RUNNING | C_GT);
	put64(&r.u, INTTAB, TABLES | 1);
	for (unsigned level = 4; level > 1; level--)
		pte_set(&r.u, TABLES + (4 - level) * 4096, level, IOVA,
			(TABLES + (5 - level) * 4096) | 7);
	pte_set(&r.u, TABLES + 3 * 4096, 1, IOVA, round_page(0) | 7);
	dte_set(&r.u, DEV, 3 | BIT(54) | BIT(55) | RW_BITS | (INTTAB >> 12 & 7) << 58,
		7 | (INTTAB >> 15 & 0xffff) << 16, 0, 0);
	cr_assert_eq(amd_iommu_dma_space_new(r.u.e, DEV, &r.ds), 0);
	race_run(&r, change_guest_page, translate);
	amd_iommu_dma_space_free(r.ds);
	unit_free(&r.u);
}

/*
 * The halves of an entry change in the order that software uses, between a table of 4 levels for
 * which the number of levels (in the other half) must be 4, and one of 5.
 */
static void change_depth(struct race *r, unsigned round)
{
	const uint64_t gcr3 = INTTAB + round % 2 * 4096, at = DEVTAB + DEV * 32;

	put128(&r->u, at, 3 | 1 << 9 | TABLES | RW_BITS, 7);
	put128(&r->u, at + 16, (uint64_t)(round % 2) << 54, 0);
	put128(&r->u, at, 3 | BIT(54) | BIT(55) | RW_BITS | (gcr3 >> 12 & 7) << 58,
	       7 | (gcr3 >> 15 & 0xffff) << 16);
	inv_devtab(&r->u, DEV);
}

Test(amd_threads, guest_depths)
{
	static struct race r;
	uint64_t table;

	unit_start_features(&r.u, AMD_IOMMU_EFR_V2, 0, C_RUNNING | C_GT);
	/* In between: a host table, to the first page. */
	pte_set(&r.u, table_new(&r.u), 1, IOVA, round_page(0) | RW_BITS | 1);
	for (unsigned depth = 0; depth < 2; depth++) {
		table = table_new(&r.u);
		put64(&r.u, INTTAB + depth * 4096, table | 1);
		for (unsigned level = 4 + depth; level > 1; level--) {
			uint64_t next = table_new(&r.u);

			pte_set(&r.u, table, level, IOVA, next | 7);
			table = next;
		}
		pte_set(&r.u, table, 1, IOVA, round_page(depth) | 7);
	}
	change_depth(&r, 0);
	cr_assert_eq(amd_iommu_dma_space_new(r.u.e, DEV, &r.ds), 0);
	race_run(&r, change_depth, translate);
	amd_iommu_dma_space_free(r.ds);
	unit_free(&r.u);
}

static void change_domain(struct race *r, unsigned round)
{
	put128(&r->u, DEVTAB + DEV * 32, 3 | 1 << 9 | (TABLES + round % 2 * 4096) | RW_BITS,
	       7 + round % 2);
	inv_devtab(&r->u, DEV);
}

Test(amd_threads, domains)
{
	static struct race r;

	unit_start(&r.u, C_RUNNING);
	for (unsigned i = 0; i < 2; i++)
		pte_set(&r.u, table_new(&r.u), 1, IOVA, round_page(i) | RW_BITS | 1);
	change_domain(&r, 0);
	cr_assert_eq(amd_iommu_dma_space_new(r.u.e, DEV, &r.ds), 0);
	race_run(&r, change_domain, translate);
	amd_iommu_dma_space_free(r.ds);
	unit_free(&r.u);
}

/* Case 67: the root of one entry never comes with the domain of another. */
static void *judge(void *opaque)
{
	struct race *r = opaque;

	while (!atomic_load(&r->stop)) {
		struct amd_device_state state;

		amd_iommu_engine_device_state(r->u.e, DEV, &state);
		atomic_fetch_add(&r->wrong,
				 state.kind != AMD_TRANSLATION_V1 ||
					 state.root != TABLES + (state.domain - 7) * 4096);
		atomic_fetch_add(&r->reads, 1);
	}
	return NULL;
}

Test(amd_threads, torn_device_table_entry)
{
	static struct race r;

	unit_start(&r.u, C_RUNNING);
	change_domain(&r, 0);
	race_run(&r, change_domain, judge);
	unit_free(&r.u);
}

/* Case 109: destination and vector lie in different words. */
static void change_irte(struct race *r, unsigned round)
{
	put128(&r->u, INTTAB, 1 | (round % 64) << 8, 0x40 + round % 64);
}

static void *remap(void *opaque)
{
	const struct msi_msg msg = {0xfee00000, 0};
	struct race *r = opaque;

	while (!atomic_load(&r->stop)) {
		struct msi_msg out = {0};

		if (amd_iommu_engine_remap(r->u.e, DEV, &msg, &out, true) ||
		    (out.addr >> 12 & 0xff) + 0x40 != out.data)
			atomic_fetch_add(&r->wrong, 1);
		atomic_fetch_add(&r->reads, 1);
	}
	return NULL;
}

Test(amd_threads, torn_interrupt_entry)
{
	static struct race r;

	unit_start(&r.u, C_RUNNING | C_GA);
	dte_set(&r.u, DEV, 0, 0, 1 | 9 << 1 | INTTAB | 2ull << 60, 0);
	change_irte(&r, 0);
	race_run(&r, change_irte, remap);
	unit_free(&r.u);
}

static void *fault(void *opaque)
{
	struct race *r = opaque;
	struct dma_segment seg;

	for (unsigned i = 0; i < READS; i++)
		if (dma_space_map(r->ds, 0x123000, 8, DMA_READ, &seg, 1) != -EFAULT)
			atomic_fetch_add(&r->wrong, 1);
	return NULL;
}

/* Events from two threads while a third drains: none is lost that the log took, none is torn. */
Test(amd_threads, events)
{
	static struct race r;
	struct amd_iommu_stats stats;
	pthread_t thread[2];
	uint64_t taken = 0;

	unit_start(&r.u, C_RUNNING);
	dte_set(&r.u, DEV, 1, 7, 0, 0);
	cr_assert_eq(amd_iommu_dma_space_new(r.u.e, DEV, &r.ds), 0);
	for (unsigned i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&thread[i], NULL, fault, &r), 0);
	for (unsigned joined = 0; joined < 3; joined++) {
		if (joined)
			pthread_join(thread[joined - 1], NULL);
		while (reg_get(&r.u, R_EVT_HEAD) != reg_get(&r.u, R_EVT_TAIL)) {
			expect_event(&r.u, "drained", event_word(2, 0, 7, DEV), 0x123000);
			taken++;
		}
		reg_set(&r.u, R_STATUS, S_EVTINT);
	}
	amd_iommu_engine_stats(r.u.e, &stats);
	cr_assert_eq(stats.events, taken);
	cr_assert_eq(stats.events + stats.events_lost, 2 * READS);
	cr_assert_eq(stats.faults, 2 * READS);
	cr_assert_eq(atomic_load(&r.wrong), 0);
	amd_iommu_dma_space_free(r.ds);
	unit_free(&r.u);
}
