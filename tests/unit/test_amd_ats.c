// SPDX-License-Identifier: Apache-2.0
/*
 * Translation caches of devices behind the AMD IOMMU: translation requests, translated requests and
 * INVALIDATE_IOTLB_PAGES (48882 sections 2.1.4 and 2.4; reference sections 5.2 and 7.7).
 */
#include <time.h>

#include "amd_ats_unit.h"

/* ---- INVALIDATE_IOTLB_PAGES ---- */

Test(amd_ats, invalidation_reaches_the_device)
{
	struct ats_device d;
	struct unit u;

	ats_start(&u, &d, C_ATS);
	/* PASID in its three parts; 2 MiB from 200000h. */
	cmd(&u, 4ull << 60 | DEV | 0xaull << 56 | 0x34ull << 48 | 0x12ull << 16, 0x2ff000 | 1 | 4);
	cr_assert_eq(d.invalidations, 1);
	cr_assert_eq(d.inv.pasid, 0xa1234);
	cr_assert_not(d.inv.untagged);
	cr_assert_eq(d.inv.iova, 0x200000);
	cr_assert_eq(d.inv.last, 0x3fffff);
	/* Without GN: what was asked for without PASID. */
	cmd(&u, 4ull << 60 | DEV, 0x5000);
	cr_assert_eq(d.inv.pasid, DMA_NO_PASID);
	cr_assert(d.inv.untagged);
	cr_assert_eq(d.inv.iova, 0x5000);
	cr_assert_eq(d.inv.last, 0x5fff);
	/* PASID 0 stands for that too where GIoV gives it those requests, and only there. */
	cmd(&u, 4ull << 60 | DEV, 0x7ffffffffffff000 | 1 | 4);
	cr_assert_eq(d.inv.pasid, 0);
	cr_assert_not(d.inv.untagged);
	cr_assert_eq(d.inv.iova, 0);
	cr_assert_eq(d.inv.last, ~0ull);
	ats_dte(&u, DTE_PPR | GIOV, DTE_I);
	cmd(&u, 4ull << 60 | DEV, 0x7ffffffffffff000 | 1 | 4);
	cr_assert_eq(d.inv.pasid, 0);
	cr_assert(d.inv.untagged);
	cr_assert_eq(d.invalidations, 4);
	cr_assert_eq(events(&u), 0);
	ats_end(&u, &d);
}

/* The guest hears of completion when the device has completed, and the ring goes on by itself. */
Test(amd_ats, completion_wait_waits_for_the_device)
{
	struct amd_iommu_stats stats;
	struct ats_device d;
	struct unit u;
	uint32_t first;

	ats_start(&u, &d, C_ATS);
	d.slow = true;
	inv_iotlb(&u, DEV, 0, 0x1000);
	first = d.inv.tag;
	inv_iotlb(&u, DEV, 0, 0x2000);
	cr_assert_eq(d.invalidations, 2, "one does not wait for the other");
	cr_assert_neq(first, d.inv.tag);
	cwait(&u, 7);
	cr_assert_eq(get64(&u, SEM), 0);
	dma_atc_invalidated(d.ds, first);
	cr_assert_eq(get64(&u, SEM), 0, "one of two");
	dma_atc_invalidated(d.ds, first);
	cr_assert_eq(get64(&u, SEM), 0, "the same again");
	dma_atc_invalidated(d.ds, d.inv.tag);
	cr_assert_eq(get64(&u, SEM), 7);
	cr_assert_eq(reg_get(&u, R_CMD_HEAD), u.tail);
	cr_assert_eq(events(&u), 0);
	amd_iommu_engine_stats(u.e, &stats);
	cr_assert_eq(stats.atc_invalidations, 2);
	cr_assert_eq(stats.atc_timeouts, 0);
	ats_end(&u, &d);
}

/* MaxPend is about what a queue has open, and 32 is the most there can be at all. */
Test(amd_ats, invalidations_that_may_be_open)
{
	struct ats_device d;
	struct unit u;
	uint32_t tags[33];

	ats_start(&u, &d, C_ATS);
	d.slow = true;
	inv_iotlb(&u, DEV, 1, 0x1000);
	inv_iotlb(&u, DEV, 1, 0x2000);
	cr_assert_eq(d.invalidations, 1, "a queue of one");
	cr_assert_neq(reg_get(&u, R_CMD_HEAD), u.tail);
	dma_atc_invalidated(d.ds, d.inv.tag);
	cr_assert_eq(d.invalidations, 2);
	cr_assert_eq(d.inv.iova, 0x2000);
	dma_atc_invalidated(d.ds, d.inv.tag);
	cr_assert_eq(reg_get(&u, R_CMD_HEAD), u.tail);

	for (unsigned i = 0; i < 33; i++) {
		inv_iotlb(&u, DEV, 0, i << 12);
		tags[i] = d.inv.tag;
	}
	cr_assert_eq(d.invalidations, 2 + 32);
	for (unsigned i = 0; i < 32; i++)
		dma_atc_invalidated(d.ds, tags[i]);
	cr_assert_eq(d.invalidations, 2 + 33);
	cr_assert_eq(d.inv.iova, 32 << 12);
	ats_end(&u, &d);
}

static void arm(void *opaque, uint64_t nanoseconds)
{
	((struct ats_device *)opaque)->armed = nanoseconds;
}

/* As whoever is armed does: not before the time is over. */
static void let_time_pass(struct unit *u, struct ats_device *d)
{
	struct timespec ts = {.tv_sec = (time_t)(d->armed / 1000000000),
			      .tv_nsec = (long)(d->armed % 1000000000)};

	cr_assert_neq(d->armed, 0);
	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts))
		;
	d->armed = 0;
	amd_iommu_engine_run(u->e);
}

/* Case 124: event 7 names the device and the command; the wait completes; a late answer is void. */
Test(amd_ats, time_out)
{
	struct amd_iommu_stats stats;
	struct ats_device d;
	struct unit u;
	uint32_t late;

	ats_start(&u, &d, C_ATS | TIMEOUT_1);
	amd_iommu_engine_set_timer(u.e, &d, arm);
	d.slow = true;
	cmd(&u, 1ull << 60, 0);
	inv_iotlb(&u, DEV, 0, 0x1000);
	late = d.inv.tag;
	cr_assert_leq(d.armed, 1000000);
	cwait(&u, 7);
	let_time_pass(&u, &d);
	cr_assert_eq(get64(&u, SEM), 7);
	expect_event(&u, "no answer", event_word(7, 0, 0, DEV), CMDBUF + 16);
	cr_assert_eq(d.armed, 0, "nothing left to wait for");

	reg_set(&u, R_CONTROL, C_ATS);
	inv_iotlb(&u, DEV, 0, 0x2000);
	cr_assert_neq(d.inv.tag, late);
	cwait(&u, 8);
	dma_atc_invalidated(d.ds, late);
	cr_assert_eq(get64(&u, SEM), 7);
	cr_assert_eq(d.armed, 0, "InvTimeOut 0: no limit");
	dma_atc_invalidated(d.ds, d.inv.tag);
	cr_assert_eq(get64(&u, SEM), 8);
	cr_assert_eq(events(&u), 0);
	amd_iommu_engine_stats(u.e, &stats);
	cr_assert_eq(stats.atc_timeouts, 1);
	ats_end(&u, &d);
}

/* InvTimeOut as 48882 codes it: what the timer is asked for is at most that, and near it. */
Test(amd_ats, time_out_codes)
{
	static const uint64_t ms[] = {0, 1, 10, 100, 1000, 10000, 100000, 100000};

	for (unsigned code = 2; code < ARRAY_SIZE(ms); code++) {
		struct ats_device d;
		struct unit u;

		ats_start(&u, &d, C_ATS | (uint64_t)code << 5);
		amd_iommu_engine_set_timer(u.e, &d, arm);
		d.slow = true;
		inv_iotlb(&u, DEV, 0, 0x1000);
		cr_assert_leq(d.armed, ms[code] * 1000000, "code %u: %lu", code, d.armed);
		if (code >= 6) /* the machine would have to stand still for more than a minute */
			cr_assert_gt(d.armed, 10000000000, "code %u: %lu", code, d.armed);
		ats_end(&u, &d);
	}
}

/* Nobody answers for a device that is not there; one without a cache has nothing to answer. */
Test(amd_ats, requesters_without_a_cache)
{
	struct ats_device d;
	struct unit u;

	ats_start(&u, &d, C_ATS | TIMEOUT_1);
	cr_assert_eq(amd_iommu_engine_watch(u.e, 0x55), 0);
	inv_iotlb(&u, 0x55, 0, 0x1000);
	cwait(&u, 1);
	cr_assert_eq(get64(&u, SEM), 1);
	cr_assert_eq(events(&u), 0);
	inv_iotlb(&u, 0x77, 0, 0x1000);
	cwait(&u, 2);
	cr_assert_eq(get64(&u, SEM), 2);
	expect_event(&u, "not there", event_word(7, 0, 0, 0x77), CMDBUF + 32);
	reg_set(&u, R_CONTROL, C_ATS);
	inv_iotlb(&u, 0x77, 0, 0x1000);
	cwait(&u, 3);
	cr_assert_eq(get64(&u, SEM), 3);
	cr_assert_eq(events(&u), 0);
	cr_assert_eq(d.invalidations, 0);
	ats_end(&u, &d);
}

/* What nobody will complete any more holds nothing up. */
Test(amd_ats, detach_and_reset)
{
	struct ats_device d;
	struct unit u;

	ats_start(&u, &d, C_ATS);
	d.slow = true;
	inv_iotlb(&u, DEV, 0, 0x1000);
	cwait(&u, 5);
	cr_assert_eq(get64(&u, SEM), 0);
	dma_atc_detach(d.ds, &d.atc);
	cr_assert_eq(get64(&u, SEM), 5);
	cr_assert_eq(dma_atc_attach(d.ds, &d.atc), 0);
	cr_assert_eq(dma_atc_attach(d.ds, &(struct dma_atc){.ops = &ats_ops}), -EBUSY);

	inv_iotlb(&u, DEV, 0, 0x1000);
	amd_iommu_engine_reset(u.e);
	reg_set(&u, R_DEVTAB, DEVTAB | 0x1ff);
	reg_set(&u, R_CMD_BASE, CMDBUF | 9ull << 56);
	reg_set(&u, R_CONTROL, C_ATS);
	u.tail = 0;
	cwait(&u, 6);
	cr_assert_eq(get64(&u, SEM), 6);
	dma_atc_invalidated(d.ds, d.inv.tag);
	ats_end(&u, &d);
}

/* Bits that the features leave reserved, and the whole command without IotlbSup. */
Test(amd_ats, illegal)
{
	static const struct {
		const char *name;
		uint64_t efr, word0, word1;
	} cases[] = {
		{"65", EFR_ATS, 4ull << 60, BIT(1)},
		{"69:68 without InvIotlbTypeSup", EFR_ATS, 4ull << 60, BIT(4)},
		{"GN without GTSup", AMD_IOMMU_EFR_DEFAULT | BIT(1), 4ull << 60, BIT(2)},
		{"INVALIDATE_IOTLB_PAGES without IotlbSup", AMD_IOMMU_EFR_V2 & ~BIT(1), 4ull << 60,
		 0},
		{"PREFETCH 23:16", EFR_ATS, 6ull << 60 | BIT(16), 0},
		{"PREFETCH 59:52", EFR_ATS, 6ull << 60 | BIT(52), 0},
		{"PREFETCH 65", EFR_ATS, 6ull << 60, BIT(1)},
		{"PREFETCH 67", EFR_ATS, 6ull << 60, BIT(3)},
		{"PREFETCH without PreFSup", AMD_IOMMU_EFR_V2, 6ull << 60, 0},
		{"COMPLETE_PPR 31:16", EFR_ATS, 7ull << 60 | BIT(31), 0},
		{"COMPLETE_PPR 59:52", EFR_ATS, 7ull << 60 | BIT(52), 0},
		{"COMPLETE_PPR 64", EFR_ATS, 7ull << 60, BIT(0)},
		{"COMPLETE_PPR 107:105", EFR_ATS, 7ull << 60, BIT(41)},
		{"COMPLETE_PPR 127:112", EFR_ATS, 7ull << 60, BIT(48)},
		{"COMPLETE_PPR without PPRSup", AMD_IOMMU_EFR_V2 & ~BIT(1), 7ull << 60, 0},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct unit u;

		unit_start_features(&u, cases[i].efr, 0, C_RUNNING);
		cmd_put(&u, cases[i].word0, cases[i].word1);
		cmd_ring(&u);
		cr_assert_eq(reg_get(&u, R_CMD_HEAD), 0, "%s", cases[i].name);
		expect_event(&u, cases[i].name, event_word(5, 0, 0, 0), CMDBUF);
		unit_free(&u);
	}
}

/* ---- translation requests ---- */

static void expect_translation(struct ats_device *d, const char *what, uint32_t pasid,
			       uint64_t iova, unsigned access, uint64_t address, uint64_t length,
			       unsigned granted)
{
	struct dma_translation t = {0};

	cr_assert_eq(dma_translate(pasid == NO_PASID ? d->ds : d->pasid, iova, access, &t), 0,
		     "%s: refused", what);
	cr_assert_eq(t.access, granted, "%s: access %u", what, t.access);
	cr_assert_eq(t.length, length, "%s: length %lx", what, t.length);
	cr_assert_eq(t.iova, iova & ~(length - 1), "%s", what);
	if (granted)
		cr_assert_eq(t.address, address, "%s: address %lx", what, t.address);
}

/* What a page allows, of what was asked for; what is not there is an answer and no fault. */
Test(amd_ats, translate)
{
	const unsigned rw = DMA_READ | DMA_WRITE;
	struct ats_device d;
	struct unit u;
	uint64_t root, table, host;

	root = ats_start(&u, &d, C_ATS);
	table = guest_tables_down(&u, root, 4, 1, IOVA);
	pte_set(&u, table, 1, IOVA, PAGE | USER);
	expect_translation(&d, "all", PASID, IOVA + 0x123, rw, PAGE, 0x1000, rw);
	cr_assert(get64(&u, table + 5 * 8) & A && get64(&u, table + 5 * 8) & D);
	pte_set(&u, table, 1, IOVA, PAGE | USER);
	expect_translation(&d, "read", PASID, IOVA, DMA_READ, PAGE, 0x1000, DMA_READ);
	cr_assert_not(get64(&u, table + 5 * 8) & D, "nothing was said of writing");
	pte_set(&u, table, 1, IOVA, PAGE | P | US);
	expect_translation(&d, "read-only", PASID, IOVA, rw, PAGE, 0x1000, DMA_READ);
	cr_assert_not(get64(&u, table + 5 * 8) & D);
	pte_set(&u, table, 1, IOVA, PAGE | P | W);
	expect_translation(&d, "supervisor's", PASID, IOVA, rw, 0, 0x1000, 0);
	expect_translation(&d, "not there", PASID, IOVA + 0x1000, rw, 0, 0x1000, 0);
	expect_translation(&d, "no GIoV: identity", NO_PASID, 0x7000, rw, 0x7000, 0x1000, rw);

	host = table_new(&u);
	dte_set(&u, DEV, V | TV | IR | MODE(1) | host, DOM | DTE_I, 0, 0);
	inv_devtab(&u, DEV);
	pte_set(&u, host, 1, IOVA, PAGE | RW_BITS | PR);
	expect_translation(&d, "v1, DTE.IW=0", NO_PASID, IOVA, rw, PAGE, 0x1000, DMA_READ);
	expect_translation(&d, "v1, not there", NO_PASID, 0, rw, 0, 0x1000, 0);
	dte_set(&u, DEV, V | TV | IR | MODE(1) | host, DOM | DTE_I | BIT(39), 0, 0);
	reg_set(&u, R_EXCL_LIMIT, 0x9000);
	reg_set(&u, R_EXCL_BASE, 0x9000 | 1);
	expect_translation(&d, "excluded", NO_PASID, 0x9000, rw, 0x9000, 0x1000, rw);
	expect_translation(&d, "beside it", NO_PASID, IOVA, rw, PAGE, 0x1000, DMA_READ);
	cr_assert_eq(events(&u), 0);
	ats_end(&u, &d);
}

/* Reference 6.2: what a translation request may not be is INVALID_DEVICE_REQUEST with TR. */
Test(amd_ats, translation_requests_refused)
{
	const uint64_t all = V | TV | IR | IW;
	static const struct {
		const char *name;
		bool pasid;
		uint64_t q0, q1, iova;
		unsigned code, flags;
	} cases[] = {
		{"V=0", false, 0, DTE_I, 0x3000, 8, 0x300},
		{"TV=0", false, V, DTE_I, 0x3000, 8, 0x300},
		{"I=0", false, V | TV | IR | IW, 0, 0x3000, 8, 0x300},
		{"I=0, PASID", true, V | TV | IR | IW | GV, 0, 0x3000, 8, 0x300},
		{"interrupt window", false, V | TV | IR | IW, DTE_I, 0xfee00000, 8, 0x100},
		{"reserved bits", false, V | TV | IR | IW | HAD(2), DTE_I, 0x3000, 1, 0x180},
		{"table not RAM", false, V | TV | IR | IW | MODE(1) | HOLE, DTE_I, 0x3000, 4,
		 0x300},
	};
	struct dma_translation t;
	struct ats_device d;
	struct unit u;

	ats_start(&u, &d, C_ATS);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct dma_space *ds = cases[i].pasid ? d.pasid : d.ds;
		const uint16_t domain = cases[i].code == 4 ? DOM : 0;

		dte_set(&u, DEV, cases[i].q0, DOM | cases[i].q1, 0, 0);
		inv_devtab(&u, DEV);
		cr_assert_eq(dma_translate(ds, cases[i].iova, DMA_READ, &t), -EFAULT, "%s",
			     cases[i].name);
		expect_event(&u, cases[i].name,
			     cases[i].pasid
				     ? guest_event_word(cases[i].code, cases[i].flags, PASID, DEV)
				     : event_word(cases[i].code, cases[i].flags, domain, DEV),
			     cases[i].code == 4 ? HOLE + 3 * 8 : cases[i].iova);
	}
	/* IR=IW=0 says that nothing is there. */
	dte_set(&u, DEV, V | TV, DTE_I, 0, 0);
	inv_devtab(&u, DEV);
	expect_translation(&d, "IR=IW=0", NO_PASID, 0x3000, DMA_READ, 0, 0x1000, 0);
	dte_set(&u, DEV, all, DTE_I, 0, 0);
	reg_set(&u, R_DEVTAB, DEVTAB);
	cr_assert_eq(dma_translate(d.ds, 0x3000, DMA_READ, &t), -EFAULT);
	expect_event(&u, "beyond the device table", event_word(8, 0x500, 0, DEV), 0x3000);
	reg_set(&u, R_CONTROL, 0);
	cr_assert_eq(dma_translate(d.ds, 0x3000, DMA_READ, &t), -EFAULT, "disabled");
	cr_assert_eq(events(&u), 0);
	ats_end(&u, &d);
}

/* Translated requests pass as they are, from devices that may make them. */
Test(amd_ats, translated_requests)
{
	struct dma_segment seg[2];
	struct ats_device d;
	struct unit u;

	ats_start(&u, &d, C_ATS);
	cr_assert_eq(dma_map_translated(d.ds, PAGE, 16, DMA_WRITE, seg, 2), 1);
	cr_assert_eq(seg[0].host, guest_memory_at(&u.gm, PAGE, 16));
	cr_assert_eq(seg[0].len, 16);
	cr_assert_eq(dma_map_translated(d.ds, HOLE, 16, DMA_WRITE, seg, 2), -EFAULT);
	cr_assert_eq(dma_map_translated(d.ds, PAGE, 0, DMA_WRITE, seg, 2), -EINVAL);
	cr_assert_eq(dma_map_translated(d.ds, ~0ull, 2, DMA_WRITE, seg, 2), -EINVAL);
	cr_assert_eq(events(&u), 0);
	ats_dte(&u, 0, 0);
	cr_assert_eq(dma_map_translated(d.ds, PAGE, 16, DMA_WRITE, seg, 2), -EFAULT);
	expect_event(&u, "I=0", event_word(8, 0x200, 0, DEV), PAGE);
	dte_set(&u, DEV, 0, DTE_I, 0, 0);
	cr_assert_eq(dma_map_translated(d.ds, PAGE, 16, DMA_WRITE, seg, 2), -EFAULT);
	expect_event(&u, "V=0", event_word(8, 0x200, 0, DEV), PAGE);
	reg_set(&u, R_CONTROL, 0);
	cr_assert_eq(dma_map_translated(d.ds, PAGE, 16, DMA_WRITE, seg, 2), 1, "disabled");
	ats_end(&u, &d);
}

/* PREFETCH_IOMMU_PAGES brings nothing about; with Inval the page is looked up anew. */
Test(amd_ats, prefetch)
{
	struct ats_device d;
	struct unit u;
	uint64_t table;

	table = guest_tables_down(&u, ats_start(&u, &d, C_ATS), 4, 1, IOVA);
	pte_set(&u, table, 1, IOVA, PAGE | USER | A | D);
	expect_gpa(&u, d.pasid, "first", IOVA, DMA_READ, PAGE);
	pte_set(&u, table, 1, IOVA, (PAGE + 0x1000) | USER | A | D);
	cmd(&u, 6ull << 60 | DEV | 0xffull << 24 | (uint64_t)PASID << 32, IOVA | 1 | 4);
	expect_gpa(&u, d.pasid, "cached", IOVA, DMA_READ, PAGE);
	cmd(&u, 6ull << 60 | DEV | (uint64_t)PASID << 32, IOVA | 4 | BIT(4));
	expect_gpa(&u, d.pasid, "looked up", IOVA, DMA_READ, PAGE + 0x1000);
	cr_assert_eq(events(&u), 0);
	ats_end(&u, &d);
}

/* Without IotlbSup, or an IOMMU at all, a device is told that there are no such services. */
Test(amd_ats, not_offered)
{
	struct dma_page_request request = {.last = true};
	struct dma_identity identity;
	enum dma_prg_response response;
	struct dma_atc atc = {.ops = &ats_ops};
	struct dma_translation t;
	struct dma_segment seg;
	struct dma_space *ds;
	struct unit u;

	unit_start(&u, C_RUNNING);
	cr_assert_eq(amd_iommu_dma_space_new(u.e, DEV, &ds), 0);
	cr_assert_eq(dma_atc_attach(ds, &atc), -EOPNOTSUPP);
	cr_assert_eq(dma_pasid_new(ds, 1, &ds), -EOPNOTSUPP);
	cr_assert_eq(dma_translate(ds, 0, DMA_READ, &t), -EFAULT);
	dma_atc_detach(ds, &atc);
	amd_iommu_dma_space_free(ds);

	dma_identity_init(&identity, &u.gm);
	ds = &identity.ds;
	cr_assert_eq(dma_atc_attach(ds, &atc), -EOPNOTSUPP);
	cr_assert_eq(dma_pasid_new(ds, 1, &ds), -EOPNOTSUPP);
	cr_assert_eq(dma_translate(ds, 0, DMA_READ, &t), -EOPNOTSUPP);
	cr_assert_eq(dma_map_translated(ds, 0, 1, DMA_READ, &seg, 1), -EOPNOTSUPP);
	cr_assert_eq(dma_page_request(ds, &request, &response), -EOPNOTSUPP);
	dma_atc_invalidated(ds, 1);
	dma_atc_detach(ds, &atc);
	unit_free(&u);
}
