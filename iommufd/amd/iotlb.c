// SPDX-License-Identifier: Apache-2.0
/*
 * The IOTLB of one space: direct mapped, fixed in size, read without a lock.
 *
 * An entry is valid under the generation it was made in, so that to drop all is one increment.
 * A sequence number guards against reading an entry while it is replaced: its writer makes it odd,
 * stores, and makes it even again. A writer that finds another one at work leaves the entry to it.
 */
#include "iommufd/amd/internal.h"

#define SMALL 12 /* granule of pages below 2 MiB */
#define LARGE 21 /* granule of the others */

#define VALUE_GPA   GENMASK(63, 12)
#define VALUE_SHIFT GENMASK(7, 2)
#define VALUE_PROT  GENMASK(1, 0)

static uint64_t granule_key(uint64_t iova, unsigned granule)
{
	return align_down(iova, BIT(granule)) | granule;
}

static struct amd_iotlb_entry *granule_entry(struct amd_iotlb *tlb, uint64_t iova, unsigned granule)
{
	uint64_t page = iova >> granule;

	/* Buffers of a device tend to lie at equal offsets of large blocks: fold the upper bits in.
	 */
	return &tlb->entry[(page ^ page >> 9 ^ granule) % AMD_IOTLB_ENTRIES];
}

static bool granule_lookup(struct amd_iotlb *tlb, uint64_t generation, uint64_t iova,
			   unsigned granule, struct amd_leaf *leaf)
{
	struct amd_iotlb_entry *entry = granule_entry(tlb, iova, granule);
	uint64_t sequence, key, made, value;

	/* Acquire loads keep their order: the second look at the sequence comes last. */
	sequence = atomic_load_explicit(&entry->sequence, memory_order_acquire);
	key = atomic_load_explicit(&entry->key, memory_order_acquire);
	made = atomic_load_explicit(&entry->generation, memory_order_acquire);
	value = atomic_load_explicit(&entry->value, memory_order_acquire);
	if (sequence % 2 || made != generation || key != granule_key(iova, granule) ||
	    atomic_load_explicit(&entry->sequence, memory_order_relaxed) != sequence)
		return false;
	leaf->gpa = value & VALUE_GPA;
	leaf->shift = FIELD_GET(VALUE_SHIFT, value);
	leaf->prot = FIELD_GET(VALUE_PROT, value);
	return true;
}

bool amd_iotlb_lookup(struct amd_iotlb *tlb, uint64_t generation, uint64_t iova,
		      struct amd_leaf *leaf)
{
	return granule_lookup(tlb, generation, iova, SMALL, leaf) ||
	       granule_lookup(tlb, generation, iova, LARGE, leaf);
}

static bool granule_remove(struct amd_iotlb *tlb, uint64_t iova, unsigned granule)
{
	struct amd_iotlb_entry *entry = granule_entry(tlb, iova, granule);
	uint64_t sequence = atomic_load(&entry->sequence);

	if (sequence % 2)
		return false;
	if (atomic_load(&entry->key) != granule_key(iova, granule))
		return atomic_load(&entry->sequence) == sequence;
	if (!atomic_compare_exchange_strong(&entry->sequence, &sequence, sequence + 1))
		return false;
	atomic_store_explicit(&entry->generation, 0, memory_order_release);
	atomic_store(&entry->sequence, sequence + 2);
	return true;
}

bool amd_iotlb_remove(struct amd_iotlb *tlb, uint64_t iova)
{
	return granule_remove(tlb, iova, SMALL) && granule_remove(tlb, iova, LARGE);
}

/*
 * That the entry is being written is said before REMOVALS is looked at, and a removal moves
 * REMOVALS before it looks at the entry, all in one order: one of the two sees the other.
 */
void amd_iotlb_insert(struct amd_iotlb *tlb, uint64_t generation, uint64_t iova,
		      const struct amd_leaf *leaf, const _Atomic uint64_t *removals, uint64_t seen)
{
	const unsigned granule = leaf->shift < LARGE ? SMALL : LARGE;
	struct amd_iotlb_entry *entry = granule_entry(tlb, iova, granule);
	uint64_t sequence = atomic_load_explicit(&entry->sequence, memory_order_relaxed);

	if (sequence % 2 ||
	    !atomic_compare_exchange_strong(&entry->sequence, &sequence, sequence + 1))
		return;
	if (atomic_load(removals) != seen)
		generation = 0;
	/* Release stores: who sees one of them sees the odd sequence too. */
	atomic_store_explicit(&entry->key, granule_key(iova, granule), memory_order_release);
	atomic_store_explicit(&entry->generation, generation, memory_order_release);
	atomic_store_explicit(&entry->value,
			      leaf->gpa | FIELD_PREP(VALUE_SHIFT, leaf->shift) |
				      FIELD_PREP(VALUE_PROT, leaf->cached),
			      memory_order_release);
	atomic_store_explicit(&entry->sequence, sequence + 2, memory_order_release);
}
