// SPDX-License-Identifier: Apache-2.0
/* A requester's view of memory through the unit: a dma_space (reference sections 7.1 to 7.3). */
#include <errno.h>
#include <stdlib.h>

#include "iommufd/amd/internal.h"

/* What translations belong to: a domain, and the PASID where they come from guest tables. */
#define TAG_DOMAIN GENMASK(15, 0)
#define TAG_GUEST  BIT(16)
#define TAG_NESTED BIT(17)
#define TAG_PASID  GENMASK(39, 20)

/* Of an epoch: its number, and log2 of the largest page that was cached in it. */
#define EPOCH_SHIFT  GENMASK(5, 0)
#define EPOCH_NUMBER GENMASK(63, 6)

/* An invalidation of no more pages than this takes them out one by one. */
#define RANGE_PAGES_MAX 64

/* ---- invalidation ---- */

static void space_drop(struct amd_space *space, uint64_t iova, uint64_t last)
{
	uint64_t epoch = atomic_load(&space->epoch);

	while (!atomic_compare_exchange_weak(&space->epoch, &epoch, (epoch | EPOCH_SHIFT) + 1))
		;
	amd_space_invalidated(space, iova, last);
}

/* Takes the pages of [iova, last] out of the IOTLB; false where everything must go. */
static bool space_remove(struct amd_space *space, uint64_t iova, uint64_t last)
{
	uint64_t size, pages;

	/* First: who caches a larger page from now on has looked at the tables as they are now. */
	atomic_fetch_add(&space->removals, 1);
	size = BIT(FIELD_GET(EPOCH_SHIFT, atomic_load(&space->epoch)));
	if (size > RANGE_PAGES_MAX * GUEST_PAGE_SIZE)
		return false;
	if (size < GUEST_PAGE_SIZE)
		size = GUEST_PAGE_SIZE;
	/* A page that the range touches goes as a whole, however many entries have parts of it. */
	iova = align_down(iova, size);
	last |= size - 1;
	pages = (last - iova) / GUEST_PAGE_SIZE + 1;
	if (last - iova >= RANGE_PAGES_MAX * GUEST_PAGE_SIZE)
		return false;
	for (uint64_t i = 0; i < pages; i++)
		if (!amd_iotlb_remove(&space->tlb, iova + i * GUEST_PAGE_SIZE))
			return false;
	return true;
}

/* With nothing cached it has no tag; before that, as the next translation may publish one. */
static void space_drop_all(struct amd_space *space)
{
	atomic_store(&space->tag, AMD_SPACE_TAG_NONE);
	space_drop(space, 0, ~UINT64_C(0));
}

/*
 * A translation publishes its tag before it reads the tables. If that comes too late to be seen
 * here, then the tables are read after the change that this invalidation is about.
 */
static void spaces_drop_tagged(struct amd_iommu_engine *e, uint64_t mask, uint64_t tag,
			       uint64_t iova, uint64_t last)
{
	for (struct amd_space *space = e->spaces; space; space = space->next) {
		uint64_t own = atomic_load(&space->tag);

		/* What devices hold may be the domain's still. */
		if (own == AMD_SPACE_TAG_NONE)
			amd_space_invalidated(space, iova, last);
		if (own == AMD_SPACE_TAG_NONE || (own & mask) != tag)
			continue;
		/*
		 * What is said of host tables names no address of those above them, and a page of
		 * nested tables is a part of one of either.
		 */
		if (own & TAG_GUEST && !(mask & TAG_GUEST))
			space_drop(space, 0, ~UINT64_C(0));
		else if (own & TAG_NESTED || !space_remove(space, iova, last))
			space_drop(space, iova, last);
		else
			amd_space_invalidated(space, iova, last);
	}
}

void amd_spaces_drop_domain(struct amd_iommu_engine *e, uint16_t domain, uint64_t iova,
			    uint64_t last)
{
	spaces_drop_tagged(e, TAG_DOMAIN, domain, iova, last);
}

void amd_spaces_drop_pasid(struct amd_iommu_engine *e, uint16_t domain, uint32_t pasid,
			   uint64_t iova, uint64_t last)
{
	spaces_drop_tagged(e, TAG_DOMAIN | TAG_GUEST | TAG_PASID,
			   domain | TAG_GUEST | FIELD_PREP(TAG_PASID, pasid), iova, last);
}

void amd_spaces_drop_device(struct amd_iommu_engine *e, uint16_t devid)
{
	for (struct amd_space *space = e->spaces; space; space = space->next)
		if (space->devid == devid)
			space_drop_all(space);
}

void amd_spaces_drop_all(struct amd_iommu_engine *e)
{
	for (struct amd_space *space = e->spaces; space; space = space->next)
		space_drop_all(space);
}

/* ---- translation ---- */

static void space_report(struct amd_space *space, struct amd_fault *fault,
			 const struct amd_translation_entry *entry)
{
	struct amd_iommu_engine *e = space->e;
	const uint64_t bit = BIT(space->devid % 64);

	amd_count(&space->counters->faults);
	/* What the host forbids is the host's to log. */
	if (!fault->code)
		return;
	amd_tell_fault(e, space->devid, fault);
	if (fault->code == AMD_IO_PAGE_FAULT) {
		if (entry->suppress_all)
			return;
		if (entry->suppress_more &&
		    atomic_fetch_or_explicit(&e->reported[space->devid / 64], bit,
					     memory_order_relaxed) &
			    bit)
			return;
	}
	amd_event_log(e, space->devid, fault);
}

uint64_t amd_space_tag(const struct amd_device_state *state)
{
	if (state->kind != AMD_TRANSLATION_V2)
		return state->domain;
	return state->domain | TAG_GUEST | (state->mode ? TAG_NESTED : 0) |
	       FIELD_PREP(TAG_PASID, state->pasid);
}

/* Caches LEAF, which the tables said in EPOCH after REMOVALS removals. */
static void space_insert(struct amd_space *space, uint64_t epoch, uint64_t removals, uint64_t iova,
			 const struct amd_leaf *leaf)
{
	uint64_t now = atomic_load(&space->epoch);

	do {
		if (FIELD_GET(EPOCH_NUMBER, now) != epoch)
			return;
		if (FIELD_GET(EPOCH_SHIFT, now) >= leaf->shift)
			break;
	} while (!atomic_compare_exchange_weak(&space->epoch, &now,
					       (now & EPOCH_NUMBER) | leaf->shift));
	amd_iotlb_insert(&space->tlb, epoch, iova, leaf, &space->removals, removals);
}

void amd_space_fault(const struct amd_space *space, uint16_t domain, uint64_t iova, unsigned access,
		     struct amd_fault *fault)
{
	fault->domain = domain;
	/* A request with PASID is told apart, but where 48882 has no field for it. */
	if (space->pasid != AMD_NO_PASID && fault->code != AMD_DEV_TAB_HARDWARE_ERROR)
		fault->flags |= AMD_EVENT_GN;
	fault->pasid = space->pasid == AMD_NO_PASID ? 0 : space->pasid;
	if (access & DMA_WRITE)
		fault->flags |= AMD_EVENT_RW;
	if (fault->code != AMD_DEV_TAB_HARDWARE_ERROR && fault->code != AMD_PAGE_TAB_HARDWARE_ERROR)
		fault->address = iova;
	/* These two name no domain: 48882 gives the field no meaning there. */
	if (fault->code == AMD_ILLEGAL_DEV_TABLE_ENTRY || fault->code == AMD_DEV_TAB_HARDWARE_ERROR)
		fault->domain = 0;
}

void amd_leaf_apart(const struct amd_device_state *state, uint64_t iova, struct amd_leaf *leaf)
{
	const uint64_t first = align_down(iova, BIT(leaf->shift));
	const uint64_t last = first + (BIT(leaf->shift) - 1);

	if (!state->excluded || first > state->excluded_last || last < state->excluded_first)
		return;
	leaf->gpa |= align_down(iova & (BIT(leaf->shift) - 1), GUEST_PAGE_SIZE);
	leaf->shift = 12;
}

void amd_space_translation(struct amd_space *space, struct amd_translation_entry *entry)
{
	if (space->e->config.host_devtab)
		amd_devtab_host_translation(space->e, &space->host, space->pasid, entry);
	else
		amd_devtab_translation(space->e, space->devid, space->pasid, entry);
}

/* Looks the tables up and caches what they say. */
static int space_translate_miss(struct amd_space *space, uint64_t epoch, uint64_t iova,
				unsigned access, struct amd_leaf *leaf)
{
	const uint64_t removals = atomic_load(&space->removals);
	struct amd_iommu_engine *e = space->e;
	struct amd_translation_entry entry;
	const struct amd_device_state *state = &entry.state;
	struct amd_fault fault;
	uint64_t tag;

	amd_space_translation(space, &entry);
	/*
	 * Of an entry that was changed and not yet invalidated: what was cached before belongs to
	 * another domain, whose invalidations would pass this space by from now on.
	 */
	tag = atomic_load(&space->tag);
	if (tag != amd_space_tag(state)) {
		if (tag != AMD_SPACE_TAG_NONE)
			space_drop(space, 0, ~UINT64_C(0));
		atomic_store(&space->tag, amd_space_tag(state));
	}
	fault = entry.fault;
	if (amd_excluded(state, iova)) {
		*leaf = (struct amd_leaf){.gpa = align_down(iova, GUEST_PAGE_SIZE),
					  .shift = 12,
					  .prot = DMA_READ | DMA_WRITE,
					  .cached = DMA_READ | DMA_WRITE};
		space_insert(space, epoch, removals, iova, leaf);
		return 0;
	}
	if (state->kind == AMD_TRANSLATION_BLOCKED)
		goto refuse;
	if (access & ~state->prot) {
		fault.code = AMD_IO_PAGE_FAULT;
		fault.flags = AMD_EVENT_PR | AMD_EVENT_PE;
		goto refuse;
	}
	if (state->kind == AMD_TRANSLATION_IDENTITY) {
		atomic_store_explicit(&space->identity, epoch << 2 | state->prot,
				      memory_order_release);
		*leaf = (struct amd_leaf){.shift = 63, .prot = state->prot};
		return 0;
	}

	amd_count(&space->counters->walks);
	if (state->kind == AMD_TRANSLATION_V2
		    ? amd_guest_translate(e, state, iova, access, leaf, &fault)
		    : amd_walk_translate(e->config.memory, state, iova, access, leaf, &fault))
		goto refuse;
	amd_leaf_apart(state, iova, leaf);
	space_insert(space, epoch, removals, iova, leaf);
	return 0;

refuse:
	amd_space_fault(space, state->domain, iova, access, &fault);
	space_report(space, &fault, &entry);
	return -EFAULT;
}

/* The guest physical address of IOVA, and how many bytes from there on are contiguous. */
static int space_translate(struct amd_space *space, uint64_t iova, unsigned access, uint64_t *gpa,
			   uint64_t *run)
{
	/* Before the tables are looked at: see amd_spaces_drop_domain(). */
	const uint64_t epoch = FIELD_GET(EPOCH_NUMBER, atomic_load(&space->epoch));
	const uint64_t identity = atomic_load_explicit(&space->identity, memory_order_acquire);
	struct amd_leaf leaf;

	if (identity >> 2 == epoch && !(access & ~identity)) {
		amd_count_hit(space->counters);
		*gpa = iova;
		*run = ~UINT64_C(0);
		return 0;
	}
	if (amd_iotlb_lookup(&space->tlb, epoch, iova, &leaf) && !(access & ~leaf.prot)) {
		amd_count_hit(space->counters);
	} else {
		amd_count(&space->counters->misses);
		if (space_translate_miss(space, epoch, iova, access, &leaf))
			return -EFAULT;
	}
	if (leaf.shift == 63) {
		*gpa = iova;
		*run = ~UINT64_C(0);
		return 0;
	}
	*gpa = leaf.gpa | (iova & (BIT(leaf.shift) - 1));
	*run = BIT(leaf.shift) - (iova & (BIT(leaf.shift) - 1));
	return 0;
}

/*
 * How many bytes from IOVA on are open to DMA at all. Devices raise messages through their msi_sink
 * and not through here, so that every access to the interrupt window is a wrong one.
 */
static int space_open_bytes(struct amd_space *space, uint64_t iova, unsigned access, uint64_t *open)
{
	*open = ~UINT64_C(0);
	/* Those are addresses of a process, where these ranges mean nothing. */
	if (space->pasid != AMD_NO_PASID)
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(amd_closed_ranges); i++) {
		const struct amd_closed_range *closed = &amd_closed_ranges[i];
		struct amd_fault fault = {.code = AMD_INVALID_DEVICE_REQUEST, .address = iova};
		unsigned type;

		if (iova > closed->last)
			continue;
		if (iova < closed->first) {
			*open = closed->first - iova;
			return 0;
		}
		/* Where the unit does not stand in the way, there is no RAM either. */
		if (!amd_enabled(space->e) || space->devid == space->e->config.devid)
			return -EFAULT;
		if (closed->first == AMD_HT_RANGE_FIRST)
			type = AMD_INVALID_RESERVED_RANGE;
		else if (access & DMA_READ)
			type = AMD_INVALID_READ_OR_NON_POSTED;
		else
			type = AMD_INVALID_INTERRUPT_WRITE;
		fault.flags = FIELD_PREP(AMD_EVENT_IDTYPE, type);
		amd_count(&space->counters->faults);
		amd_tell_fault(space->e, space->devid, &fault);
		amd_event_log(space->e, space->devid, &fault);
		return -EFAULT;
	}
	return 0;
}

/* ---- the dma_space ---- */

/* What is not RAM is a master abort, which the unit knows nothing of. */
int amd_segments_add(const struct guest_memory *gm, uint64_t gpa, uint64_t len,
		     struct dma_segment *seg, unsigned *used, unsigned max)
{
	while (len) {
		struct dma_segment *tail = *used ? &seg[*used - 1] : NULL;
		const struct guest_region *r = NULL;
		uint64_t here;
		uint8_t *host;

		for (unsigned i = 0; i < gm->count && !r; i++)
			if (gpa >= gm->region[i].gpa &&
			    gpa - gm->region[i].gpa < gm->region[i].size)
				r = &gm->region[i];
		if (!r)
			return -EFAULT;
		here = r->size - (gpa - r->gpa);
		if (here > len)
			here = len;
		host = r->host + (gpa - r->gpa);

		if (tail && (uint8_t *)tail->host + tail->len == host) {
			tail->len += here;
		} else {
			if (*used == max)
				return -E2BIG;
			seg[(*used)++] = (struct dma_segment){.host = host, .len = here};
		}
		gpa += here;
		len -= here;
	}
	return 0;
}

/* The same through the second stage of a host. */
static int add_stage2(struct dma_space *stage2, uint64_t gpa, uint64_t len, unsigned access,
		      struct dma_segment *seg, unsigned *used, unsigned max)
{
	int more;

	if (!stage2)
		return -EFAULT;
	if (*used == max)
		return -E2BIG;
	more = dma_space_map(stage2, gpa, len, access, seg + *used, max - *used);
	if (more < 0)
		return more;
	*used += (unsigned)more;
	return 0;
}

/* With host_devtab, host_lock is held. */
static int map_locked(struct amd_space *space, uint64_t iova, uint64_t len, unsigned access,
		      struct dma_segment *seg, unsigned max)
{
	unsigned used = 0;
	int ret;

	while (len) {
		uint64_t gpa, run, open;

		ret = space_open_bytes(space, iova, access, &open);
		if (!ret)
			ret = space_translate(space, iova, access, &gpa, &run);
		if (ret)
			return ret;
		if (run > open)
			run = open;
		if (run > len)
			run = len;
		ret = space->e->config.host_devtab
			      ? add_stage2(space->host.stage2, gpa, run, access, seg, &used, max)
			      : amd_segments_add(space->e->config.memory, gpa, run, seg, &used,
						 max);
		if (ret)
			return ret;
		iova += run;
		len -= run;
	}
	return (int)used;
}

static int space_map(struct dma_space *ds, uint64_t iova, uint64_t len, unsigned access,
		     struct dma_segment *seg, unsigned max)
{
	struct amd_space *space = container_of(ds, struct amd_space, ds);
	int ret;

	if (!len || iova + (len - 1) < iova)
		return -EINVAL;
	if (!space->e->config.host_devtab)
		return map_locked(space, iova, len, access, seg, max);
	pthread_rwlock_rdlock(&space->host_lock);
	ret = map_locked(space, iova, len, access, seg, max);
	pthread_rwlock_unlock(&space->host_lock);
	return ret;
}

static uint64_t space_generation(struct dma_space *ds)
{
	struct amd_space *space = container_of(ds, struct amd_space, ds);
	uint64_t generation = atomic_load(&space->generation);

	if (!space->e->config.host_devtab)
		return generation;
	pthread_rwlock_rdlock(&space->host_lock);
	generation <<= 32;
	if (space->host.stage2)
		generation += dma_space_generation(space->host.stage2);
	pthread_rwlock_unlock(&space->host_lock);
	return generation;
}

static const struct dma_space_ops space_ops = {
	.ats = &amd_ats_ops,
	.map = space_map,
	.generation = space_generation,
	.hold = amd_space_hold,
	.resolved = amd_space_resolved,
	.release = amd_space_release,
};

/* No translation services: a nested entry that allows them would be the host's to make. */
static const struct dma_space_ops host_space_ops = {
	.map = space_map,
	.generation = space_generation,
	.hold = amd_space_hold,
	.resolved = amd_space_resolved,
	.release = amd_space_release,
};

int amd_space_new(struct amd_iommu_engine *e, uint16_t devid, uint32_t pasid, struct dma_space **ds)
{
	struct amd_space *space = calloc(1, sizeof(*space));
	int ret;

	if (!space)
		return -ENOMEM;
	space->ds.ops = e->config.host_devtab ? &host_space_ops : &space_ops;
	space->e = e;
	space->devid = devid;
	space->pasid = pasid;
	space->counters = amd_device_counters(e, devid);
	atomic_init(&space->generation, 1);
	atomic_init(&space->epoch, FIELD_PREP(EPOCH_NUMBER, 1));
	atomic_init(&space->tag, AMD_SPACE_TAG_NONE);
	pthread_mutex_init(&space->hold_lock, NULL);
	pthread_rwlock_init(&space->host_lock, NULL);

	amd_engine_lock(e);
	ret = amd_watch_get(e, devid);
	if (!ret) {
		space->next = e->spaces;
		e->spaces = space;
	}
	amd_engine_unlock(e);
	if (ret) {
		pthread_rwlock_destroy(&space->host_lock);
		pthread_mutex_destroy(&space->hold_lock);
		free(space);
		return ret;
	}
	*ds = &space->ds;
	return 0;
}

int amd_iommu_dma_space_new(struct amd_iommu_engine *e, uint16_t devid, struct dma_space **ds)
{
	return amd_space_new(e, devid, AMD_NO_PASID, ds);
}

int amd_iommu_dma_space_new_pasid(struct amd_iommu_engine *e, uint16_t devid, uint32_t pasid,
				  struct dma_space **ds)
{
	return pasid > AMD_PASID_MAX ? -EINVAL : amd_space_new(e, devid, pasid, ds);
}

int amd_iommu_dma_space_attach(struct dma_space *ds, const struct amd_host_dte *dte)
{
	struct amd_space *space = container_of(ds, struct amd_space, ds);
	struct amd_iommu_engine *e = space->e;

	if (!e->config.host_devtab)
		return -EINVAL;
	amd_engine_lock(e);
	pthread_rwlock_wrlock(&space->host_lock);
	space->host = *dte;
	pthread_rwlock_unlock(&space->host_lock);
	amd_engine_invalidate_device(e, space->devid);
	amd_engine_unlock(e);
	return 0;
}

void amd_iommu_dma_space_free(struct dma_space *ds)
{
	struct amd_space *space, **at;
	struct amd_iommu_engine *e;

	if (!ds)
		return;
	space = container_of(ds, struct amd_space, ds);
	e = space->e;
	amd_engine_lock(e);
	for (at = &e->spaces; *at != space; at = &(*at)->next)
		;
	*at = space->next;
	amd_watch_put(e, space->devid);
	amd_engine_unlock(e);
	pthread_rwlock_destroy(&space->host_lock);
	pthread_mutex_destroy(&space->hold_lock);
	free(space);
}
