// SPDX-License-Identifier: Apache-2.0
/*
 * Page requests to the AMD IOMMU: the PPR log, its interrupt, overflow and restart, and
 * COMPLETE_PPR_REQUEST (48882 section 2.6; reference sections 4.5 and 7.7).
 */
#include "amd_ats_unit.h"

#define ENTRIES 256

static int request(struct dma_space *ds, uint64_t iova, unsigned access, unsigned index, bool last)
{
	struct dma_page_request r = {.iova = iova, .access = access, .index = index, .last = last};
	enum dma_prg_response response = (enum dma_prg_response) - 1;
	int ret = dma_page_request(ds, &r, &response);

	return ret == 1 ? 0x10 | (int)response : ret;
}

static void expect_entry(struct unit *u, unsigned slot, uint64_t word0, uint64_t word1)
{
	cr_assert_eq(get64(u, PPRLOG + slot * 16), word0, "%lx", get64(u, PPRLOG + slot * 16));
	cr_assert_eq(get64(u, PPRLOG + slot * 16 + 8), word1);
}

Test(amd_ppr, entries)
{
	struct dma_page_request r = {.iova = 0x7fff12345678,
				     .access = DMA_READ,
				     .execute = true,
				     .privileged = true,
				     .index = 0x1ff,
				     .last = true};
	enum dma_prg_response response;
	struct dma_space *high;
	struct amd_iommu_stats stats;
	struct ats_device d;
	struct unit u;

	ats_start(&u, &d, C_ATS);
	cr_assert_eq(reg_get(&u, R_STATUS) & (S_PPRRUN | S_PPRINT), S_PPRRUN);
	cr_assert_eq(request(d.pasid, 0xabcdef123456, DMA_READ | DMA_WRITE, 0x155, false), 0);
	expect_entry(&u, 0,
		     1ull << 60 | BIT(56) | BIT(54) | BIT(53) | BIT(50) | 0x155ull << 32 |
			     PASID << 16 | DEV,
		     0xabcdef123000);
	cr_assert_eq(dma_page_request(d.pasid, &r, &response), 0);
	expect_entry(&u, 1,
		     1ull << 60 | BIT(56) | BIT(50) | BIT(49) | BIT(41) | 0x1ffull << 32 |
			     PASID << 16 | DEV,
		     0x7fff12345000);
	cr_assert_eq(request(d.ds, 0x5000, DMA_WRITE, 0, true), 0);
	expect_entry(&u, 2, 1ull << 60 | BIT(54) | BIT(53) | BIT(41) | DEV, 0x5000);
	/* The upper four bits of a PASID; software judges whether it can be one. */
	cr_assert_eq(dma_pasid_new(d.ds, 0xa5432, &high), 0);
	cr_assert_eq(request(high, 0, DMA_READ, 1, true), 0);
	expect_entry(&u, 3,
		     1ull << 60 | BIT(56) | BIT(54) | BIT(50) | 0xaull << 42 | BIT(41) |
			     1ull << 32 | 0x5432ull << 16 | DEV,
		     0);
	dma_pasid_free(high);
	cr_assert_eq(reg_get(&u, R_PPR_TAIL), 4 * 16);
	cr_assert_eq(reg_get(&u, R_STATUS) & (S_PPRRUN | S_PPRINT), S_PPRRUN | S_PPRINT);
	cr_assert_eq(u.msis, 0, "no PPRIntEn");
	cr_assert_eq(dma_page_request(d.ds, &(struct dma_page_request){.index = 512}, &response),
		     -EINVAL);
	amd_iommu_engine_stats(u.e, &stats);
	cr_assert_eq(stats.page_requests, 4);
	cr_assert_eq(stats.page_requests_refused, 0);
	ats_end(&u, &d);
}

/* Case 122, as Linux restarts it; requests in between fail at once. */
Test(amd_ppr, overflow_and_restart)
{
	struct amd_iommu_stats stats;
	struct ats_device d;
	struct unit u;

	ats_start(&u, &d, C_ATS | C_PPRINT);
	for (unsigned i = 0; i < ENTRIES - 1; i++)
		cr_assert_eq(request(d.pasid, i << 12, DMA_READ, i, true), 0);
	cr_assert_eq(reg_get(&u, R_PPR_TAIL), (ENTRIES - 1) * 16);
	cr_assert_eq(u.msis, 1, "one edge");
	cr_assert_eq(request(d.pasid, 0, DMA_READ, 0, true), 0x10 | DMA_PRG_FAILURE);
	cr_assert_eq(reg_get(&u, R_STATUS) & (S_PPRRUN | S_PPRINT | S_PPROVER),
		     S_PPRINT | S_PPROVER);
	cr_assert_eq(u.msis, 2, "the overflow has a message of its own");
	cr_assert_eq(request(d.pasid, 0, DMA_READ, 0, true), 0x10 | DMA_PRG_FAILURE);
	cr_assert_eq(u.msis, 2);
	cr_assert_eq(reg_get(&u, R_PPR_TAIL), (ENTRIES - 1) * 16);
	cr_assert_eq(get64(&u, PPRLOG + (ENTRIES - 1) * 16), 0, "the last slot stays free");
	cr_assert(reg_get(&u, R_STATUS) & S_EVTRUN, "the event log is another one");

	reg_set(&u, R_PPR_HEAD, (ENTRIES - 1) * 16);
	cr_assert_eq(reg_get(&u, R_STATUS) & S_PPRRUN, 0, "drained only");
	reg_set(&u, R_CONTROL, C_ATS & ~C_PPRLOG);
	reg_set(&u, R_CONTROL, C_ATS);
	cr_assert_eq(reg_get(&u, R_STATUS) & S_PPRRUN, 0, "toggled but not acknowledged");
	reg_set(&u, R_STATUS, S_PPROVER | S_PPRINT);
	cr_assert_eq(reg_get(&u, R_STATUS) & (S_PPRRUN | S_PPRINT | S_PPROVER), 0);
	reg_set(&u, R_CONTROL, C_ATS & ~C_PPRLOG);
	reg_set(&u, R_CONTROL, C_ATS | C_PPRINT);
	cr_assert(reg_get(&u, R_STATUS) & S_PPRRUN);
	cr_assert_eq(u.msis, 2);
	cr_assert_eq(request(d.pasid, 0x9000, DMA_READ, 3, true), 0);
	cr_assert_eq(reg_get(&u, R_PPR_TAIL), 0, "the tail goes on and wraps");
	cr_assert_eq(get64(&u, PPRLOG + (ENTRIES - 1) * 16 + 8), 0x9000);
	cr_assert_eq(u.msis, 3);
	amd_iommu_engine_stats(u.e, &stats);
	cr_assert_eq(stats.page_requests, ENTRIES + 2);
	cr_assert_eq(stats.page_requests_refused, 2);
	ats_end(&u, &d);
}

/* In XT mode the log has a register of its own, with a vector of its own to be masked by. */
Test(amd_ppr, xt_interrupt)
{
	const uint64_t control = C_ATS | C_PPRINT | C_XTINT | C_EVTINT;
	struct ats_device d;
	struct unit u;

	ats_start(&u, &d, control);
	reg_set(&u, R_XT, 0x40ull << 32);
	cr_assert_eq(request(d.pasid, 0, DMA_READ, 0, true), 0);
	cr_assert_eq(u.messages, 0, "vector 0: masked");
	reg_set(&u, R_XT_PPR, 0x12ull << 56 | 0x41ull << 32 | 0x345678ull << 8 | 4);
	cr_assert_eq(u.messages, 1, "what came before is told when the way is open");
	cr_assert_eq(u.message.addr, 0xfee00000 | 0x78 << 12 | 4 | 0x123456ull << 40);
	cr_assert_eq(u.message.data, 0x41);
	cr_assert_eq(request(d.pasid, 0, DMA_READ, 0, true), 0);
	cr_assert_eq(u.messages, 1, "no edge");
	reg_set(&u, R_STATUS, S_PPRINT);
	cr_assert_eq(request(d.pasid, 0, DMA_READ, 0, true), 0);
	cr_assert_eq(u.messages, 2);
	/* The event log goes on through its own. */
	dte_set(&u, DEV, V, DOM, 0, 0);
	cr_assert_eq(request(d.pasid, 0, DMA_READ, 0, true), 0x10 | DMA_PRG_INVALID);
	cr_assert_eq(u.messages, 3);
	cr_assert_eq(u.message.data, 0x40);
	cr_assert_eq(u.msis, 0);
	ats_end(&u, &d);
}

/* Whatever keeps the log from running: the device hears of a failure, and nothing is written. */
Test(amd_ppr, not_running)
{
	static const uint64_t off[] = {C_IOMMU, C_PPR, C_PPRLOG};
	struct ats_device d;
	struct unit u;

	ats_start(&u, &d, C_ATS);
	for (unsigned i = 0; i < ARRAY_SIZE(off); i++) {
		reg_set(&u, R_CONTROL, C_ATS & ~off[i]);
		cr_assert_eq(reg_get(&u, R_STATUS) & S_PPRRUN, 0);
		cr_assert_eq(request(d.pasid, 0, DMA_READ, 0, true), 0x10 | DMA_PRG_FAILURE);
	}
	reg_set(&u, R_PPR_BASE, HOLE | 8ull << 56);
	reg_set(&u, R_CONTROL, C_ATS);
	cr_assert_eq(request(d.pasid, 0, DMA_READ, 0, true), 0x10 | DMA_PRG_FAILURE, "no RAM");
	cr_assert_eq(reg_get(&u, R_PPR_TAIL), 0);
	reg_set(&u, R_CONTROL, C_ATS & ~C_PPRLOG);
	reg_set(&u, R_PPR_BASE, PPRLOG | 7ull << 56);
	reg_set(&u, R_CONTROL, C_ATS);
	cr_assert_eq(reg_get(&u, R_STATUS) & S_PPRRUN, 0, "a reserved length");
	cr_assert_eq(events(&u), 0);
	cr_assert_eq(get64(&u, PPRLOG), 0);
	ats_end(&u, &d);
}

/* Base and tail are the unit's while the log runs; the head is software's. */
Test(amd_ppr, registers)
{
	struct ats_device d;
	struct unit u;

	ats_start(&u, &d, C_ATS);
	cr_assert_eq(request(d.pasid, 0, DMA_READ, 0, true), 0);
	reg_set(&u, R_PPR_BASE, 0x123000 | 9ull << 56);
	cr_assert_eq(reg_get(&u, R_PPR_BASE), PPRLOG | 8ull << 56);
	reg_set(&u, R_PPR_TAIL, 0);
	cr_assert_eq(reg_get(&u, R_PPR_TAIL), 16);
	reg_set(&u, R_PPR_HEAD, ~0ull);
	cr_assert_eq(reg_get(&u, R_PPR_HEAD), 0xff0);
	reg_set(&u, R_CONTROL, C_ATS & ~C_PPRLOG);
	reg_set(&u, R_PPR_TAIL, 0x20);
	cr_assert_eq(reg_get(&u, R_PPR_TAIL), 0x20);
	reg_set(&u, R_PPR_BASE, 0x123000 | 9ull << 56);
	cr_assert_eq(reg_get(&u, R_PPR_BASE), 0x123000 | 9ull << 56);
	cr_assert_eq(reg_get(&u, R_PPR_HEAD) | reg_get(&u, R_PPR_TAIL), 0);
	ats_end(&u, &d);
}

/* INVALID_PPR_REQUEST: what the DTE does not allow; the unit has answered (RX). */
Test(amd_ppr, invalid_requests)
{
	static const struct {
		const char *name;
		bool pasid;
		uint64_t q0;
	} cases[] = {
		{"V=0", true, 0},
		{"TV=0", true, V | DTE_PPR | GV},
		{"PPR=0", true, V | TV | IR | IW | GV},
		{"PPR=0, no PASID", false, V | TV | IR | IW},
		{"PASID without GV", true, V | TV | IR | IW | DTE_PPR},
		{"reserved bits", true, V | TV | IR | IW | DTE_PPR | GV | HAD(2)},
	};
	struct ats_device d;
	struct unit u;

	ats_start(&u, &d, C_ATS);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t word = 9ull << 60 | BIT(48) | BIT(41) | 0x1a5ull << 32 | DEV;

		if (cases[i].pasid)
			word |= BIT(57) | PASID << 16;
		dte_set(&u, DEV, cases[i].q0, DTE_I, 0, 0);
		cr_assert_eq(
			request(cases[i].pasid ? d.pasid : d.ds, 0x5678, DMA_READ, 0x1a5, true),
			0x10 | DMA_PRG_INVALID, "%s", cases[i].name);
		expect_event(&u, cases[i].name, word, 0x5678);
	}
	reg_set(&u, R_DEVTAB, DEVTAB);
	cr_assert_eq(request(d.ds, 0x5678, DMA_READ, 0, true), 0x10 | DMA_PRG_INVALID);
	expect_event(&u, "beyond the device table", 9ull << 60 | BIT(48) | BIT(41) | DEV, 0x5678);
	cr_assert_eq(reg_get(&u, R_PPR_TAIL), 0);
	ats_end(&u, &d);
}

/* Case 123: what COMPLETE_PPR_REQUEST says reaches its device, and no other. */
Test(amd_ppr, responses)
{
	static const struct {
		unsigned code;
		enum dma_prg_response response;
	} codes[] = {{0, DMA_PRG_SUCCESS},
		     {1, DMA_PRG_INVALID},
		     {15, DMA_PRG_FAILURE},
		     {2, DMA_PRG_FAILURE},
		     {14, DMA_PRG_FAILURE}};
	struct amd_iommu_stats stats;
	struct ats_device d;
	struct unit u;

	ats_start(&u, &d, C_ATS);
	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		cmd(&u, 7ull << 60 | 0xa5432ull << 32 | DEV,
		    4 | 0x1a5ull << 32 | (uint64_t)codes[i].code << 44);
		cr_assert_eq(d.responses, i + 1);
		cr_assert_eq(d.response_pasid, 0xa5432);
		cr_assert_eq(d.response_index, 0x1a5);
		cr_assert_eq(d.response, codes[i].response, "code %u", codes[i].code);
	}
	cmd(&u, 7ull << 60 | 0xa5432ull << 32 | DEV, 3ull << 32);
	cr_assert_eq(d.response_pasid, DMA_NO_PASID, "GN=0: the PASID is not valid");
	cr_assert_eq(d.response_index, 3);
	cmd(&u, 7ull << 60 | 0x777, 3ull << 32);
	cmd(&u, 7ull << 60 | UNIT_BDF, 3ull << 32);
	cr_assert_eq(d.responses, 6, "those are of nobody");
	cr_assert_eq(events(&u), 0);
	amd_iommu_engine_stats(u.e, &stats);
	cr_assert_eq(stats.page_responses, 6);
	ats_end(&u, &d);
}

/* Registers of the log are storage without PPRSup, and Control has no bits for it. */
Test(amd_ppr, not_offered)
{
	struct unit u;

	unit_start(&u, C_RUNNING | C_PPR | C_PPRLOG | C_PPRINT);
	cr_assert_eq(reg_get(&u, R_CONTROL), C_RUNNING);
	reg_set(&u, R_PPR_BASE, PPRLOG | 8ull << 56);
	cr_assert_eq(reg_get(&u, R_STATUS) & S_PPRRUN, 0);
	unit_free(&u);
}
