// SPDX-License-Identifier: Apache-2.0
/* Host (v1) page tables: one translation (reference sections 4.2 and 7.3). */
#include <errno.h>

#include "iommufd/amd/internal.h"

const struct amd_closed_range amd_closed_ranges[2] = {
	{AMD_MSI_WINDOW_FIRST, AMD_MSI_WINDOW_LAST},
	{AMD_HT_RANGE_FIRST, AMD_HT_RANGE_LAST},
};

unsigned amd_pte_prot(uint64_t pte)
{
	return (pte & AMD_PTE_IR ? DMA_READ : 0) | (pte & AMD_PTE_IW ? DMA_WRITE : 0);
}

enum amd_pte_kind amd_pte_decode(uint64_t pte, unsigned level, unsigned *shift, unsigned *next)
{
	uint64_t zeros;

	if (!(pte & AMD_PTE_PR))
		return AMD_PTE_NOT_PRESENT;
	*next = FIELD_GET(AMD_PTE_NEXT_LEVEL, pte);
	if (*next != AMD_NEXT_LEVEL_LEAF && *next != AMD_NEXT_LEVEL_SIZED_LEAF) {
		if (pte & AMD_PDE_RESERVED)
			return AMD_PTE_BAD_RESERVED;
		return *next < level ? AMD_PTE_DIRECTORY : AMD_PTE_BAD_LEVEL;
	}

	if (pte & AMD_PTE_RESERVED)
		return AMD_PTE_BAD_RESERVED;
	if (level == AMD_LEVELS_MAX)
		return AMD_PTE_BAD_LEVEL;
	*shift = amd_level_shift(level);
	if (*next == AMD_NEXT_LEVEL_LEAF)
		return AMD_PTE_LEAF;
	/* The first 0 bit codes the size, which must lie between those of this level and the next.
	 */
	zeros = ~pte & GENMASK(50, 12);
	if (!zeros)
		return AMD_PTE_BAD_LEVEL;
	*shift = __builtin_ctzll(zeros) + 1;
	if (*shift <= amd_level_shift(level) || *shift >= amd_level_shift(level + 1))
		return AMD_PTE_BAD_LEVEL;
	return AMD_PTE_LEAF;
}

int amd_entry_mark(const struct guest_memory *gm, const struct amd_used_entry *entry, uint64_t bits)
{
	uint64_t *at, value = entry->value;

	if (!(bits & ~value))
		return 0;
	at = guest_memory_at(gm, entry->gpa, sizeof(*at));
	if (!at || !__atomic_compare_exchange_n(at, &value, value | bits, false, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
		return -EAGAIN;
	return 0;
}

static int walk_fault(struct amd_fault *fault, unsigned flags)
{
	*fault = (struct amd_fault){.code = AMD_IO_PAGE_FAULT, .flags = flags};
	return -EACCES;
}

/*
 * The entries that lead to a leaf, the leaf last: 0 when they are marked. They are marked only once
 * the access is allowed, and D goes with the leaf alone.
 */
struct trail {
	unsigned count;
	struct amd_used_entry entry[AMD_LEVELS_MAX];
};

static int trail_mark(const struct guest_memory *gm, const struct trail *trail, uint64_t marks)
{
	for (unsigned i = 0; i < trail->count; i++) {
		bool last = i + 1 == trail->count;

		if (amd_entry_mark(gm, &trail->entry[i], last ? marks : marks & AMD_PTE_A))
			return -EAGAIN;
	}
	return 0;
}

/* The level falls with every turn: a table that points to itself ends the walk. */
static int walk_once(const struct guest_memory *gm, const struct amd_device_state *state,
		     uint64_t iova, unsigned access, struct amd_leaf *leaf, struct trail *trail,
		     struct amd_fault *fault)
{
	unsigned level = state->mode, shift = 0, next = 0;
	uint64_t table = state->root;

	trail->count = 0;
	leaf->prot = state->prot;
	if (level < AMD_LEVELS_MAX && iova >> amd_level_span(level))
		return walk_fault(fault, 0);
	for (;;) {
		const unsigned entry_shift = amd_level_shift(level);
		const uint64_t index =
			(iova >> entry_shift) & (level == AMD_LEVELS_MAX ? 0x7f : 0x1ff);
		enum amd_pte_kind kind;
		uint64_t pte;

		if (guest_memory_load64(gm, table + index * 8, &pte)) {
			*fault = (struct amd_fault){
				.code = AMD_PAGE_TAB_HARDWARE_ERROR,
				.flags = FIELD_PREP(AMD_EVENT_HWTYPE, AMD_MASTER_ABORT),
				.address = table + index * 8,
			};
			return -EACCES;
		}
		kind = amd_pte_decode(pte, level, &shift, &next);
		if (kind == AMD_PTE_NOT_PRESENT)
			return walk_fault(fault, 0);
		if (kind == AMD_PTE_BAD_RESERVED)
			return walk_fault(fault, AMD_EVENT_PR | AMD_EVENT_RZ);
		trail->entry[trail->count++] =
			(struct amd_used_entry){.gpa = table + index * 8, .value = pte};
		leaf->prot &= amd_pte_prot(pte);
		if (access & ~leaf->prot)
			return walk_fault(fault, AMD_EVENT_PR | AMD_EVENT_PE);
		if (kind == AMD_PTE_BAD_LEVEL)
			return walk_fault(fault, AMD_EVENT_PR);
		if (kind == AMD_PTE_LEAF) {
			leaf->shift = shift;
			leaf->gpa = align_down(pte & AMD_PTE_ADDR, BIT(shift));
			return 0;
		}
		/* Address bits of levels that the entry skips must be 0. */
		if ((iova & (BIT(entry_shift) - 1)) >> amd_level_span(next))
			return walk_fault(fault, AMD_EVENT_PR);
		level = next;
		table = pte & AMD_PTE_ADDR;
	}
}

int amd_walk_translate(const struct guest_memory *gm, const struct amd_device_state *state,
		       uint64_t iova, unsigned access, struct amd_leaf *leaf,
		       struct amd_fault *fault)
{
	const uint64_t marks = amd_host_marks(state, access);
	struct trail trail;

	for (unsigned i = 0; i < AMD_WALK_TRIES; i++) {
		int ret = walk_once(gm, state, iova, access, leaf, &trail, fault);

		if (ret)
			return ret;
		if (trail_mark(gm, &trail, marks))
			continue;
		leaf->cached = leaf->prot;
		/* The first write must come here again. */
		if (state->had == AMD_HAD_ACCESSED_DIRTY &&
		    !((trail.entry[trail.count - 1].value | marks) & AMD_PTE_D))
			leaf->cached &= ~(unsigned)DMA_WRITE;
		return 0;
	}
	return walk_fault(fault, 0);
}
