// SPDX-License-Identifier: Apache-2.0
/* Host (v1) page tables: every page of a range, for those who mirror tables elsewhere. */
#include <errno.h>

#include "iommufd/amd/internal.h"

struct leaf_walk {
	const struct guest_memory *gm;
	uint64_t first, last, budget;
	int (*visit)(void *opaque, uint64_t iova, uint64_t gpa, uint64_t length, unsigned prot);
	void *opaque;

	/* The page being put together from the entries that repeat it; LENGTH 0: none. */
	uint64_t iova, gpa, length;
	unsigned prot, shift;
};

/* Hands the page over, less what is closed to DMA whatever the tables say. */
static int leaf_flush(struct leaf_walk *w)
{
	const uint64_t last = w->iova + (w->length - 1);
	uint64_t at = w->iova;
	int ret;

	if (!w->length)
		return 0;
	w->length = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(amd_closed_ranges); i++) {
		const struct amd_closed_range *closed = &amd_closed_ranges[i];

		if (closed->last < at || closed->first > last)
			continue;
		if (closed->first > at) {
			ret = w->visit(w->opaque, at, w->gpa + (at - w->iova), closed->first - at,
				       w->prot);
			if (ret)
				return ret;
		}
		if (closed->last >= last)
			return 0;
		at = closed->last + 1;
	}
	return w->visit(w->opaque, at, w->gpa + (at - w->iova), last - at + 1, w->prot);
}

/* The entry for [iova, last] says a page of 2^SHIFT bytes. */
static int leaf_add(struct leaf_walk *w, uint64_t iova, uint64_t last, uint64_t pte, unsigned shift,
		    unsigned prot)
{
	uint64_t gpa;
	int ret;

	if (iova < w->first)
		iova = w->first;
	if (last > w->last)
		last = w->last;
	gpa = align_down(pte & AMD_PTE_ADDR, BIT(shift)) | (iova & (BIT(shift) - 1));

	/* Copies of one large page follow each other; they need not agree. */
	if (w->length && w->shift == shift && w->prot == prot && w->iova + w->length == iova &&
	    w->gpa + w->length == gpa && w->iova >> shift == iova >> shift) {
		w->length += last - iova + 1;
		return 0;
	}
	ret = leaf_flush(w);
	w->iova = iova;
	w->gpa = gpa;
	w->length = last - iova + 1;
	w->prot = prot;
	w->shift = shift;
	return ret;
}

/* TABLE of LEVEL, for the addresses from BASE on. The depth is that of the levels, which fall. */
static int table_walk(struct leaf_walk *w, uint64_t table, unsigned level, uint64_t base,
		      unsigned prot)
{
	const unsigned entry_shift = amd_level_shift(level), span = amd_level_span(level);
	const uint64_t end = base | (span == 64 ? ~UINT64_C(0) : BIT(span) - 1);
	const uint64_t from = w->first > base ? w->first : base;
	const uint64_t to = w->last < end ? w->last : end;

	if (from > to)
		return 0;
	for (uint64_t i = (from - base) >> entry_shift; i <= (to - base) >> entry_shift; i++) {
		const uint64_t iova = base + (i << entry_shift);
		unsigned shift = 0, next = 0, left;
		enum amd_pte_kind kind;
		uint64_t pte;
		int ret = 0;

		if (!w->budget)
			return -E2BIG;
		w->budget--;
		/* A table outside RAM translates nothing, nor does a malformed entry. */
		if (guest_memory_load64(w->gm, table + i * 8, &pte))
			return 0;
		kind = amd_pte_decode(pte, level, &shift, &next);
		left = prot & amd_pte_prot(pte);
		if (!left)
			continue;
		if (kind == AMD_PTE_LEAF)
			ret = leaf_add(w, iova, iova + (BIT(entry_shift) - 1), pte, shift, left);
		else if (kind == AMD_PTE_DIRECTORY)
			ret = table_walk(w, pte & AMD_PTE_ADDR, next, iova, left);
		if (ret)
			return ret;
	}
	return 0;
}

int amd_iommu_engine_walk(struct amd_iommu_engine *e, const struct amd_device_state *state,
			  uint64_t iova, uint64_t last, uint64_t budget,
			  int (*visit)(void *opaque, uint64_t iova, uint64_t gpa, uint64_t length,
				       unsigned prot),
			  void *opaque)
{
	struct leaf_walk w = {
		.gm = e->config.memory,
		.first = iova,
		.last = last,
		.budget = budget,
		.visit = visit,
		.opaque = opaque,
	};
	int ret;

	if (state->kind != AMD_TRANSLATION_V1 || state->mode < 1 || state->mode > AMD_LEVELS_MAX ||
	    iova > last)
		return -EINVAL;
	ret = table_walk(&w, state->root, state->mode, 0, state->prot);
	/* What was found before the budget ran out is handed over, too. */
	if (!ret || ret == -E2BIG) {
		int flushed = leaf_flush(&w);

		if (flushed)
			ret = flushed;
	}
	return ret;
}
