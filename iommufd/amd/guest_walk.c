// SPDX-License-Identifier: Apache-2.0
/*
 * GCR3 tables and guest (v2) page tables: one translation (reference sections 4.3 and 7.4). With a
 * host table below, each of their addresses is one that the host table translates.
 */
#include <errno.h>

#include "iommufd/amd/internal.h"

static int guest_fault(struct amd_fault *fault, unsigned flags)
{
	*fault = (struct amd_fault){.code = AMD_IO_PAGE_FAULT, .flags = flags};
	return -EACCES;
}

/* Where GPA is, for the unit's own ACCESS to tables: DTE.IR and IW are about the device's. */
static int table_address(const struct amd_iommu_engine *e, const struct amd_device_state *state,
			 uint64_t gpa, unsigned access, uint64_t *address, struct amd_fault *fault)
{
	struct amd_device_state host;
	struct amd_leaf leaf;

	*address = gpa;
	if (!state->mode)
		return 0;
	host = *state;
	host.prot = DMA_READ | DMA_WRITE;
	if (amd_walk_translate(e->config.memory, &host, gpa, access, &leaf, fault))
		return -EACCES;
	*address = leaf.gpa | (gpa & (BIT(leaf.shift) - 1));
	return 0;
}

static int table_load(const struct amd_iommu_engine *e, uint64_t address, uint64_t *value,
		      struct amd_fault *fault)
{
	if (!guest_memory_load64(e->config.memory, address, value))
		return 0;
	*fault = (struct amd_fault){
		.code = AMD_PAGE_TAB_HARDWARE_ERROR,
		.flags = FIELD_PREP(AMD_EVENT_HWTYPE, AMD_MASTER_ABORT),
		.address = address,
	};
	return -EACCES;
}

int amd_guest_load(const struct amd_iommu_engine *e, const struct amd_device_state *state,
		   uint64_t gpa, struct amd_used_entry *used, struct amd_fault *fault)
{
	if (table_address(e, state, gpa, DMA_READ, &used->gpa, fault))
		return -EACCES;
	return table_load(e, used->gpa, &used->value, fault);
}

int amd_guest_root(const struct amd_iommu_engine *e, const struct amd_device_state *state,
		   uint64_t *root, struct amd_fault *fault)
{
	const uint64_t pasid_max = FIELD_GET(AMD_EFR_PAS_MAX, e->config.features.efr);
	uint64_t table = state->gcr3;

	if ((uint64_t)state->pasid >> (pasid_max + 1) ||
	    (uint64_t)state->pasid >> (AMD_GCR3_INDEX_BITS * state->gcr3_levels))
		return guest_fault(fault, 0);
	for (unsigned level = state->gcr3_levels; level--;) {
		const unsigned index = state->pasid >> (AMD_GCR3_INDEX_BITS * level) & 0x1ff;
		uint64_t at = table + index * 8, entry;

		if (state->gcr3_gpa && table_address(e, state, at, DMA_READ, &at, fault))
			return -EACCES;
		if (table_load(e, at, &entry, fault))
			return -EACCES;
		if (!(entry & AMD_GCR3_V))
			return guest_fault(fault, 0);
		if (entry & ~(AMD_GCR3_V | AMD_GCR3_ADDR))
			return guest_fault(fault, AMD_EVENT_PR | AMD_EVENT_RZ);
		table = entry & AMD_GCR3_ADDR;
	}
	*root = table;
	return 0;
}

enum amd_pte_kind amd_gpte_decode(const struct amd_iommu_engine *e, uint64_t pte, unsigned level)
{
	if (!(pte & AMD_GPTE_P))
		return AMD_PTE_NOT_PRESENT;
	if (pte & AMD_GPTE_NX && !(e->config.features.efr & AMD_EFR_NX_SUP))
		return AMD_PTE_BAD_RESERVED;
	if (level == 1)
		return AMD_PTE_LEAF;
	if (!(pte & AMD_GPTE_PS))
		return AMD_PTE_DIRECTORY;
	/* Below the address of a large page bit 12 alone means something: PAT. */
	if (level > AMD_GPTE_LARGE_MAX || pte & GENMASK(amd_level_shift(level) - 1, 13))
		return AMD_PTE_BAD_RESERVED;
	return AMD_PTE_LEAF;
}

unsigned amd_gpte_prot(const struct amd_iommu_engine *e, uint64_t pte)
{
	if (!(pte & AMD_GPTE_US) && e->config.features.efr & AMD_EFR_US_SUP)
		return 0;
	return DMA_READ | (pte & AMD_GPTE_RW ? DMA_WRITE : 0);
}

/* Guest tables always keep A and D. Where they are written the host table must allow it. */
int amd_guest_mark(const struct amd_iommu_engine *e, const struct amd_device_state *state,
		   uint64_t gpa, const struct amd_used_entry *used, unsigned access,
		   struct amd_fault *fault)
{
	const uint64_t marks = AMD_PTE_A | (access & DMA_WRITE ? AMD_PTE_D : 0);
	struct amd_used_entry at = *used;

	if (!(marks & ~at.value))
		return 0;
	if (table_address(e, state, gpa, DMA_WRITE, &at.gpa, fault))
		return -EACCES;
	return amd_entry_mark(e->config.memory, &at, marks);
}

struct guest_trail {
	unsigned count;
	struct {
		uint64_t gpa; /* as the guest table says, before the host table */
		struct amd_used_entry used;
	} entry[AMD_GUEST_LEVELS];
};

static int trail_mark(const struct amd_iommu_engine *e, const struct amd_device_state *state,
		      const struct guest_trail *trail, unsigned access, struct amd_fault *fault)
{
	int ret = 0;

	for (unsigned i = 0; i < trail->count && !ret; i++)
		ret = amd_guest_mark(e, state, trail->entry[i].gpa, &trail->entry[i].used,
				     i + 1 == trail->count ? access : DMA_READ, fault);
	return ret;
}

/* IOVA has no meaning outside what the levels translate: canonical with PASID, else from 0 up. */
static bool guest_address_valid(const struct amd_device_state *state, uint64_t iova)
{
	const unsigned unused = 64 - amd_level_span(state->guest_levels);

	if (!state->has_pasid)
		return !(iova >> (64 - unused));
	return (uint64_t)((int64_t)(iova << unused) >> unused) == iova;
}

static int walk_once(const struct amd_iommu_engine *e, const struct amd_device_state *state,
		     uint64_t iova, unsigned access, struct amd_leaf *leaf,
		     struct guest_trail *trail, struct amd_fault *fault)
{
	uint64_t table;

	trail->count = 0;
	leaf->prot = state->prot;
	if (amd_guest_root(e, state, &table, fault))
		return -EACCES;
	if (!guest_address_valid(state, iova))
		return guest_fault(fault, 0);
	for (unsigned level = state->guest_levels;; level--) {
		const unsigned shift = amd_level_shift(level);
		const uint64_t gpa = table + (iova >> shift & 0x1ff) * 8;
		struct amd_used_entry used;
		enum amd_pte_kind kind;
		unsigned prot;

		if (amd_guest_load(e, state, gpa, &used, fault))
			return -EACCES;
		kind = amd_gpte_decode(e, used.value, level);
		if (kind == AMD_PTE_NOT_PRESENT)
			return guest_fault(fault, 0);
		if (kind == AMD_PTE_BAD_RESERVED)
			return guest_fault(fault, AMD_EVENT_PR | AMD_EVENT_RZ);
		prot = amd_gpte_prot(e, used.value);
		leaf->prot &= prot;
		if (access & ~prot)
			return guest_fault(fault,
					   AMD_EVENT_PR | AMD_EVENT_PE | (prot ? 0 : AMD_EVENT_US));
		trail->entry[trail->count].gpa = gpa;
		trail->entry[trail->count++].used = used;
		table = used.value & AMD_GPTE_ADDR;
		if (kind == AMD_PTE_LEAF) {
			leaf->shift = shift;
			leaf->gpa = align_down(table, BIT(shift));
			return 0;
		}
	}
}

/* LEAF, which the guest's tables say, through the host table: what both allow, in the smaller page.
 */
static int leaf_through_host(const struct amd_iommu_engine *e, const struct amd_device_state *state,
			     uint64_t iova, unsigned access, struct amd_leaf *leaf,
			     struct amd_fault *fault)
{
	const uint64_t gpa = leaf->gpa | (iova & (BIT(leaf->shift) - 1));
	struct amd_leaf host;

	if (!state->mode)
		return 0;
	if (amd_walk_translate(e->config.memory, state, gpa, access, &host, fault))
		return -EACCES;
	leaf->prot &= host.prot;
	leaf->cached &= host.cached;
	if (host.shift < leaf->shift) {
		leaf->shift = host.shift;
		leaf->gpa = host.gpa;
	} else {
		leaf->gpa = align_down(host.gpa | (gpa & (BIT(host.shift) - 1)), BIT(leaf->shift));
	}
	return 0;
}

int amd_guest_translate(const struct amd_iommu_engine *e, const struct amd_device_state *state,
			uint64_t iova, unsigned access, struct amd_leaf *leaf,
			struct amd_fault *fault)
{
	struct guest_trail trail;
	int ret = -EAGAIN;

	for (unsigned i = 0; i < AMD_WALK_TRIES && ret == -EAGAIN; i++) {
		ret = walk_once(e, state, iova, access, leaf, &trail, fault);
		if (ret)
			break;
		leaf->cached = leaf->prot;
		/* The first write must come here again, and set D. */
		if (!(access & DMA_WRITE) && !(trail.entry[trail.count - 1].used.value & AMD_PTE_D))
			leaf->cached &= ~(unsigned)DMA_WRITE;
		ret = leaf_through_host(e, state, iova, access, leaf, fault);
		if (!ret)
			ret = trail_mark(e, state, &trail, access, fault);
	}
	if (ret == -EAGAIN)
		ret = guest_fault(fault, 0);
	if (ret)
		fault->flags |= AMD_EVENT_GN;
	return ret;
}
