// SPDX-License-Identifier: Apache-2.0
/*
 * What devices have resolved and go on using, and what an invalidation has to wait for (reference
 * section 5.3). A disk may take as long for a request as it likes, and a guest that flushes a whole
 * domain meanwhile must not wait for that: what is in flight and translates as before is no use of
 * an old mapping.
 */
#include "iommufd/amd/internal.h"

/* A COMPLETION_WAIT looks up no more pages than this: what is left over has to end. */
#define RECHECK_PAGES_MAX 1024

static bool hold_overlaps(const struct dma_hold *hold, uint64_t iova, uint64_t last)
{
	for (unsigned i = 0; i < hold->count; i++)
		if (hold->range[i].iova <= last && hold->range[i].last >= iova)
			return true;
	return false;
}

void amd_space_invalidated(struct amd_space *space, uint64_t iova, uint64_t last)
{
	atomic_fetch_add(&space->generation, 1);
	pthread_mutex_lock(&space->hold_lock);
	for (struct dma_hold *hold = space->holds; hold; hold = hold->next) {
		if (!hold->stale && hold_overlaps(hold, iova, last)) {
			hold->stale = true;
			atomic_fetch_add(&space->e->stale_holds, 1);
		}
	}
	pthread_mutex_unlock(&space->hold_lock);
}

/* ---- the holds ---- */

static void hold_add(struct dma_hold *hold, const struct dma_range *range, unsigned access)
{
	const unsigned tail = hold->count - 1;
	struct dma_range *last = hold->count ? &hold->range[tail] : NULL;
	const bool same = last && hold->access[tail] == access;

	/* A smaller piece of what is there. */
	if (same && range->iova >= last->iova && range->last <= last->last)
		return;
	if (hold->count < DMA_HOLD_RANGES && !(same && last->last + 1 == range->iova)) {
		hold->access[hold->count] = (uint8_t)access;
		hold->range[hold->count++] = *range;
		return;
	}
	if (!same)
		hold->access[tail] = 0;
	if (range->iova < last->iova)
		last->iova = range->iova;
	if (range->last > last->last)
		last->last = range->last;
}

void amd_space_hold(struct dma_space *ds, struct dma_hold *hold, const struct dma_range *range,
		    unsigned count, unsigned access)
{
	struct amd_space *space = container_of(ds, struct amd_space, ds);

	pthread_mutex_lock(&space->hold_lock);
	if (!hold->count) {
		hold->stale = false;
		hold->resolved = 0;
		hold->next = space->holds;
		hold->at = &space->holds;
		if (hold->next)
			hold->next->at = &hold->next;
		space->holds = hold;
	}
	for (unsigned i = 0; i < count; i++)
		hold_add(hold, &range[i], access);
	pthread_mutex_unlock(&space->hold_lock);
}

/*
 * A sum over all bytes of where each is found: however the ranges are cut, the same translation has
 * the same digest. A guest that finds two translations with one digest has fooled itself alone.
 */
static uint64_t digest(uint64_t iova, const void *host, uint64_t len)
{
	uint64_t sum = 0;

	while (len) {
		const uint64_t left = GUEST_PAGE_SIZE - iova % GUEST_PAGE_SIZE;
		const uint64_t here = left < len ? left : len;
		uint64_t x = ((uintptr_t)host - iova) ^ (iova / GUEST_PAGE_SIZE << 40 | iova >> 36);

		x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
		sum += (x ^ x >> 31) * here;
		iova += here;
		host = (const uint8_t *)host + here;
		len -= here;
	}
	return sum;
}

void amd_space_resolved(struct dma_space *ds, struct dma_hold *hold, uint64_t iova,
			const struct dma_segment *seg, unsigned count)
{
	struct amd_space *space = container_of(ds, struct amd_space, ds);
	uint64_t sum = 0;

	for (unsigned i = 0; i < count; i++) {
		sum += digest(iova, seg[i].host, seg[i].len);
		iova += seg[i].len;
	}
	pthread_mutex_lock(&space->hold_lock);
	hold->resolved += sum;
	pthread_mutex_unlock(&space->hold_lock);
}

void amd_hold_ended(struct amd_iommu_engine *e)
{
	if (atomic_fetch_sub(&e->stale_holds, 1) > 1 || !atomic_load(&e->ring_waits))
		return;
	if (e->kick)
		e->kick(e->worker);
	else
		amd_iommu_engine_run(e);
}

void amd_space_release(struct dma_space *ds, struct dma_hold *hold)
{
	struct amd_space *space = container_of(ds, struct amd_space, ds);
	bool stale;

	pthread_mutex_lock(&space->hold_lock);
	*hold->at = hold->next;
	if (hold->next)
		hold->next->at = hold->at;
	stale = hold->stale;
	pthread_mutex_unlock(&space->hold_lock);
	if (stale)
		amd_hold_ended(space->e);
}

/* ---- what has changed ---- */

static void *at(const struct amd_space *space, uint64_t gpa, uint64_t len, unsigned access)
{
	struct dma_segment seg;

	if (!space->e->config.host_devtab)
		return guest_memory_at(space->e->config.memory, gpa, len);
	return space->host.stage2 &&
			       dma_space_map(space->host.stage2, gpa, len, access, &seg, 1) == 1
		       ? seg.host
		       : NULL;
}

/*
 * Where the tables lead [iova, *last] now without a trace that they were asked: the digest of a
 * part that begins at IOVA, whose end comes back in *LAST. false where the device may not, or where
 * A or D has to be set first, as an access that goes on would not do.
 */
static bool look(struct amd_space *space, const struct amd_device_state *state, uint64_t iova,
		 unsigned access, uint64_t *last, uint64_t *sum)
{
	const struct guest_memory *gm = space->e->config.memory;
	uint64_t gpa = iova, len = *last - iova + 1;
	struct amd_leaf leaf = {.prot = state->prot, .cached = state->prot};
	struct amd_fault fault;
	void *host;

	if (state->kind != AMD_TRANSLATION_IDENTITY) {
		uint64_t inside;

		if (state->kind == AMD_TRANSLATION_V2
			    ? amd_guest_translate(space->e, state, iova, 0, &leaf, &fault)
			    : amd_walk_translate(gm, state, iova, 0, &leaf, &fault))
			return false;
		inside = iova & (BIT(leaf.shift) - 1);
		gpa = leaf.gpa | inside;
		if (len > BIT(leaf.shift) - inside)
			len = BIT(leaf.shift) - inside;
	}
	if (len > GUEST_PAGE_SIZE - gpa % GUEST_PAGE_SIZE)
		len = GUEST_PAGE_SIZE - gpa % GUEST_PAGE_SIZE;
	host = at(space, gpa, len, access);
	if (!host || access & ~(state->prot & leaf.prot & leaf.cached))
		return false;
	*last = iova + (len - 1);
	*sum += digest(iova, host, len);
	return true;
}

static bool unchanged(struct amd_space *space, const struct amd_device_state *state,
		      const struct dma_hold *hold, unsigned *pages)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < hold->count; i++) {
		const struct dma_range *range = &hold->range[i];
		uint64_t iova = range->iova, last;

		if (!hold->access[i])
			return false;
		do {
			last = range->last;
			if (++*pages > RECHECK_PAGES_MAX ||
			    !look(space, state, iova, hold->access[i], &last, &sum))
				return false;
			iova = last + 1;
		} while (last != range->last);
	}
	return sum == hold->resolved;
}

/* Lets go of what an invalidation was not about after all. */
static void space_recheck(struct amd_space *space, unsigned *pages)
{
	struct amd_translation_entry entry = {.state.kind = AMD_TRANSLATION_BLOCKED};
	const uint64_t tag = atomic_load(&space->tag);
	bool loaded = false;

	pthread_mutex_lock(&space->hold_lock);
	for (struct dma_hold *hold = space->holds; hold; hold = hold->next) {
		if (!hold->stale)
			continue;
		if (!loaded)
			amd_space_translation(space, &entry);
		loaded = true;
		/* An entry that has not been invalidated yet: its domain's commands pass us by. */
		if (entry.state.kind == AMD_TRANSLATION_BLOCKED ||
		    (tag != AMD_SPACE_TAG_NONE && tag != amd_space_tag(&entry.state)))
			break;
		if (unchanged(space, &entry.state, hold, pages)) {
			hold->stale = false;
			atomic_fetch_sub(&space->e->stale_holds, 1);
		}
	}
	pthread_mutex_unlock(&space->hold_lock);
}

bool amd_spaces_held(struct amd_iommu_engine *e)
{
	bool held = atomic_load(&e->stale_holds);
	unsigned pages = 0;

	if (!held && !atomic_load(&e->ring_waits))
		return false;
	if (held) {
		for (struct amd_space *space = e->spaces; space; space = space->next)
			space_recheck(space, &pages);
		held = atomic_load(&e->stale_holds);
	}
	/* Said before the second look, so that the last one to let go either is seen or sees it. */
	atomic_store(&e->ring_waits, held);
	return held && atomic_load(&e->stale_holds);
}
