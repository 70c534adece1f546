// SPDX-License-Identifier: Apache-2.0
/* Every page of a range, host (v1) or guest (v2), for those who mirror tables elsewhere. */
#include <errno.h>

#include "iommufd/amd/internal.h"

struct leaf_walk {
	struct amd_iommu_engine *e;
	const struct amd_device_state *state;
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

/* [iova, last] is (a part of) a page of 2^SHIFT bytes at PAGE. */
static int leaf_add(struct leaf_walk *w, uint64_t iova, uint64_t last, uint64_t page,
		    unsigned shift, unsigned prot)
{
	const uint64_t gpa = align_down(page, BIT(shift)) | (iova & (BIT(shift) - 1));
	int ret;

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

static bool budget_spend(struct leaf_walk *w, uint64_t entries)
{
	if (w->budget < entries)
		return false;
	w->budget -= entries;
	return true;
}

/* The entries of a table of LEVEL for the addresses from BASE on that concern the walk. */
struct entry_range {
	uint64_t first, last;
};

static bool entries_concerned(const struct leaf_walk *w, unsigned level, uint64_t base,
			      struct entry_range *range)
{
	const unsigned entry_shift = amd_level_shift(level), span = amd_level_span(level);
	const uint64_t end = base | (span == 64 ? ~UINT64_C(0) : BIT(span) - 1);
	const uint64_t from = w->first > base ? w->first : base;
	const uint64_t to = w->last < end ? w->last : end;

	if (from > to)
		return false;
	range->first = (from - base) >> entry_shift;
	range->last = (to - base) >> entry_shift;
	return true;
}

/* The part of the entry of 2^SHIFT bytes for IOVA that concerns the walk. */
static void entry_clip(const struct leaf_walk *w, uint64_t iova, unsigned shift, uint64_t *first,
		       uint64_t *last)
{
	*first = iova < w->first ? w->first : iova;
	*last = iova + (BIT(shift) - 1);
	if (*last > w->last)
		*last = w->last;
}

/* Host TABLE of LEVEL. The depth is that of the levels, which fall. */
static int table_walk(struct leaf_walk *w, uint64_t table, unsigned level, uint64_t base,
		      unsigned prot)
{
	const unsigned entry_shift = amd_level_shift(level);
	struct entry_range range;

	if (!entries_concerned(w, level, base, &range))
		return 0;
	for (uint64_t i = range.first; i <= range.last; i++) {
		const uint64_t iova = base + (i << entry_shift);
		struct amd_used_entry used = {.gpa = table + i * 8};
		unsigned shift = 0, next = 0, left;
		uint64_t first, last;
		enum amd_pte_kind kind;
		int ret = 0;

		if (!budget_spend(w, 1))
			return -E2BIG;
		/* A table outside RAM translates nothing, nor does a malformed entry. */
		if (guest_memory_load64(w->gm, used.gpa, &used.value))
			return 0;
		kind = amd_pte_decode(used.value, level, &shift, &next);
		left = prot & amd_pte_prot(used.value);
		if (!left || (kind != AMD_PTE_LEAF && kind != AMD_PTE_DIRECTORY))
			continue;
		if (amd_entry_mark(
			    w->gm, &used,
			    amd_host_marks(w->state, kind == AMD_PTE_LEAF ? left : DMA_READ))) {
			i--; /* it has changed: once more, as long as the budget lasts */
			continue;
		}
		entry_clip(w, iova, entry_shift, &first, &last);
		if (kind == AMD_PTE_LEAF)
			ret = leaf_add(w, first, last, used.value & AMD_PTE_ADDR, shift, left);
		else
			ret = table_walk(w, used.value & AMD_PTE_ADDR, next, iova, left);
		if (ret)
			return ret;
	}
	return 0;
}

/* [first, last] is a page of the guest's tables at PAGE: what the host table makes of it. */
static int guest_leaf_add(struct leaf_walk *w, uint64_t first, uint64_t last, uint64_t page,
			  unsigned shift, unsigned prot)
{
	const struct amd_device_state *state = w->state;

	if (!state->mode)
		return leaf_add(w, first, last, page, shift, prot);
	for (uint64_t iova = first, end; iova <= last; iova = end + 1) {
		const uint64_t gpa = page | (iova & (BIT(shift) - 1));
		struct amd_fault fault;
		struct amd_leaf host;
		unsigned left = 0;
		int ret;

		if (!budget_spend(w, state->mode))
			return -E2BIG;
		end = iova | (GUEST_PAGE_SIZE - 1);
		/* Asked first, then used: the second may fail only where the tables change. */
		if (!amd_walk_translate(w->gm, state, gpa, 0, &host, &fault)) {
			left = prot & host.prot;
			if (left && amd_walk_translate(w->gm, state, gpa, left, &host, &fault))
				left = 0;
			end = iova | (BIT(host.shift < shift ? host.shift : shift) - 1);
		}
		if (end > last)
			end = last;
		if (!left)
			continue;
		ret = leaf_add(w, iova, end, host.gpa | (gpa & (BIT(host.shift) - 1)), 12, left);
		if (ret)
			return ret;
	}
	return 0;
}

/* Guest TABLE of LEVEL: as guest_walk.c, of which this is the loop over all entries. */
static int guest_table_walk(struct leaf_walk *w, uint64_t table, unsigned level, uint64_t base,
			    unsigned prot)
{
	const unsigned entry_shift = amd_level_shift(level);
	struct entry_range range;

	if (!entries_concerned(w, level, base, &range))
		return 0;
	for (uint64_t i = range.first; i <= range.last; i++) {
		const uint64_t iova = base + (i << entry_shift);
		uint64_t first, last, page;
		struct amd_used_entry used;
		struct amd_fault fault;
		enum amd_pte_kind kind;
		unsigned left;
		int ret = 0;

		if (!budget_spend(w, 1 + w->state->mode))
			return -E2BIG;
		if (amd_guest_load(w->e, w->state, table + i * 8, &used, &fault))
			return 0;
		kind = amd_gpte_decode(w->e, used.value, level);
		left = prot & amd_gpte_prot(w->e, used.value);
		if (!left || (kind != AMD_PTE_LEAF && kind != AMD_PTE_DIRECTORY))
			continue;
		ret = amd_guest_mark(w->e, w->state, table + i * 8, &used,
				     kind == AMD_PTE_LEAF ? left : DMA_READ, &fault);
		if (ret == -EAGAIN)
			i--;
		if (ret)
			continue;
		entry_clip(w, iova, entry_shift, &first, &last);
		page = used.value & AMD_GPTE_ADDR;
		if (kind == AMD_PTE_LEAF)
			ret = guest_leaf_add(w, first, last, align_down(page, BIT(entry_shift)),
					     entry_shift, left);
		else
			ret = guest_table_walk(w, page, level - 1, iova, left);
		if (ret)
			return ret;
	}
	return 0;
}

/* What STATE's tables say, or what it allows without any, between FIRST and LAST. */
static int tables_walk(struct leaf_walk *w)
{
	const struct amd_device_state *state = w->state;
	struct amd_fault fault;
	uint64_t root;

	switch (state->kind) {
	case AMD_TRANSLATION_BLOCKED:
		return 0;
	case AMD_TRANSLATION_IDENTITY:
		return leaf_add(w, w->first, w->last, w->first, 12, state->prot);
	case AMD_TRANSLATION_V1:
		return table_walk(w, state->root, state->mode, 0, state->prot);
	case AMD_TRANSLATION_V2:
		break;
	}
	if (amd_guest_root(w->e, state, &root, &fault))
		return 0;
	return guest_table_walk(w, root, state->guest_levels, 0, state->prot);
}

/* Before the exclusion range, the range itself, and behind it. */
static int state_walk(struct leaf_walk *w)
{
	const struct amd_device_state *state = w->state;
	const uint64_t first = w->first, last = w->last;
	uint64_t from, to;
	int ret = 0;

	if (!state->excluded || state->excluded_first > last || state->excluded_last < first)
		return tables_walk(w);
	from = state->excluded_first > first ? state->excluded_first : first;
	to = state->excluded_last < last ? state->excluded_last : last;
	if (from > first) {
		w->last = from - 1;
		ret = tables_walk(w);
	}
	if (!ret)
		ret = leaf_add(w, from, to, from, 12, DMA_READ | DMA_WRITE);
	if (!ret && to < last) {
		w->first = to + 1;
		w->last = last;
		ret = tables_walk(w);
	}
	return ret;
}

static bool state_valid(const struct amd_device_state *state)
{
	if (!amd_device_has_tables(state))
		return false;
	if (state->kind == AMD_TRANSLATION_BLOCKED || state->kind == AMD_TRANSLATION_IDENTITY)
		return true;
	if (state->kind == AMD_TRANSLATION_V1)
		return state->mode >= 1 && state->mode <= AMD_LEVELS_MAX;
	return state->kind == AMD_TRANSLATION_V2 && state->mode <= AMD_LEVELS_MAX &&
	       state->guest_levels >= 1 && state->guest_levels <= AMD_GUEST_LEVELS &&
	       state->gcr3_levels <= AMD_EFR_GLX_3 + 1;
}

int amd_iommu_engine_walk(struct amd_iommu_engine *e, const struct amd_device_state *state,
			  uint64_t iova, uint64_t last, uint64_t budget,
			  int (*visit)(void *opaque, uint64_t iova, uint64_t gpa, uint64_t length,
				       unsigned prot),
			  void *opaque)
{
	struct leaf_walk w = {
		.e = e,
		.state = state,
		.gm = e->config.memory,
		.first = iova,
		.last = last,
		.budget = budget,
		.visit = visit,
		.opaque = opaque,
	};
	int ret;

	if (!state_valid(state) || iova > last)
		return -EINVAL;
	ret = state_walk(&w);
	/* What was found before the budget ran out is handed over, too. */
	if (!ret || ret == -E2BIG) {
		int flushed = leaf_flush(&w);

		if (flushed)
			ret = flushed;
	}
	return ret;
}
