// SPDX-License-Identifier: Apache-2.0
/*
 * One IOAS that mirrors one guest translation domain.
 *
 * The guest advertises what changed (INVALIDATE_IOMMU_PAGES; with NpCache also for new mappings).
 * The range is walked in the guest's tables, and only the difference reaches the kernel: a device
 * may be using the rest at this moment. iommufd unmaps whole mappings only, so that a mapping of
 * which a part changed is taken out and its remains are put back.
 */
#include "devices/vfio/shadow.h"

#include <stdlib.h>
#include <sys/random.h>

#include "postern/log.h"

/* A run of one translation, as long as it gets. */
struct piece {
	uint64_t iova, gpa, length;
	unsigned prot;
};

struct piece_list {
	struct vfio_shadow *shadow;
	struct piece *piece;
	size_t count, room;
};

int vfio_shadow_init(struct vfio_shadow *shadow, struct vfio_dma *dma,
		     const struct amd_device_state *state, unsigned limit)
{
	*shadow = (struct vfio_shadow){.dma = dma, .state = *state, .limit = limit};
	if (getrandom(&shadow->random, sizeof(shadow->random), GRND_NONBLOCK) < 0)
		shadow->random = (uint32_t)(uintptr_t)shadow;
	shadow->random |= 1; /* xorshift never leaves 0 */
	return dma->ops->ioas_alloc(dma, &shadow->ioas);
}

void vfio_shadow_fini(struct vfio_shadow *shadow)
{
	struct vfio_chunk *c = vfio_chunk_list(shadow->tree), *next;

	shadow->dma->ops->ioas_destroy(shadow->dma, shadow->ioas);
	for (; c; c = next) {
		next = c->right;
		shadow->dma->counters.bytes_mapped -= c->length;
		free(c);
	}
	shadow->tree = NULL;
	shadow->count = 0;
}

static uint32_t shadow_random(struct vfio_shadow *shadow)
{
	uint32_t x = shadow->random;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return shadow->random = x;
}

static int piece_add(struct piece_list *list, uint64_t iova, uint64_t gpa, uint64_t length,
		     unsigned prot)
{
	struct piece *prev = list->count ? &list->piece[list->count - 1] : NULL;

	if (prev && prev->iova + prev->length == iova && prev->gpa + prev->length == gpa &&
	    prev->prot == prot) {
		prev->length += length;
		return 0;
	}
	if (list->count >= list->shadow->limit)
		return -ENOSPC;
	if (list->count == list->room) {
		size_t room = list->room ? list->room * 2 : 16;
		struct piece *piece = realloc(list->piece, room * sizeof(*piece));

		if (!piece)
			return -ENOMEM;
		list->piece = piece;
		list->room = room;
	}
	list->piece[list->count++] =
		(struct piece){.iova = iova, .gpa = gpa, .length = length, .prot = prot};
	return 0;
}

/* A leaf of the guest's table: its parts that are RAM become pieces. */
static int piece_visit(void *opaque, uint64_t iova, uint64_t gpa, uint64_t length, unsigned prot)
{
	struct piece_list *list = opaque;
	const struct amd_device_state *state = &list->shadow->state;
	const struct guest_memory *gm = list->shadow->dma->memory;
	uint64_t ram = 0;

	/* In the exclusion range the entry's permissions mean nothing. */
	if (!state->excluded || iova < state->excluded_first || iova > state->excluded_last)
		prot &= state->prot;
	if (!prot || !length || length - 1 > ~gpa || length - 1 > ~iova)
		return 0;
	for (unsigned i = 0; i < gm->count; i++) {
		const struct guest_region *r = &gm->region[i];
		uint64_t first = gpa > r->gpa ? gpa : r->gpa;
		uint64_t gpa_last = gpa + (length - 1), ram_last = r->gpa + (r->size - 1);
		uint64_t last = gpa_last < ram_last ? gpa_last : ram_last;
		int ret;

		if (first > last)
			continue;
		ret = piece_add(list, iova + (first - gpa), first, last - first + 1, prot);
		if (ret)
			return ret;
		ram += last - first + 1;
	}
	if (ram < length) {
		/* Another device's registers or nothing at all: DMA there faults on the host. */
		list->shadow->dma->counters.skipped++;
		log_guest("an IOMMU mapping of %#llx bytes at %#llx leads outside RAM; an assigned "
			  "device cannot reach it",
			  (unsigned long long)length, (unsigned long long)gpa);
	}
	return 0;
}

/* What the guest's tables say about [iova, last], ascending and joined. */
static int shadow_read(struct vfio_shadow *shadow, uint64_t iova, uint64_t last,
		       struct piece_list *list)
{
	const struct guest_memory *gm = shadow->dma->memory;

	if (amd_device_has_tables(&shadow->state))
		return shadow->dma->ops->walk(shadow->dma, &shadow->state, iova, last,
					      VFIO_SHADOW_WALK_MAX, piece_visit, list);

	/* Identity with fewer permissions than the base IOAS has. It never changes in part. */
	for (unsigned i = 0; i < gm->count; i++) {
		const struct guest_region *r = &gm->region[i];
		int ret = piece_visit(list, r->gpa, r->gpa, r->size, shadow->state.prot);

		if (ret)
			return ret;
	}
	return 0;
}

static int shadow_map(struct vfio_shadow *shadow, const struct piece *p, uint64_t iova,
		      uint64_t length, struct vfio_chunk **tree)
{
	struct vfio_dma *dma = shadow->dma;

	while (length) {
		uint64_t room = VFIO_SHADOW_LINE - (iova & (VFIO_SHADOW_LINE - 1));
		uint64_t part = length < room ? length : room;
		struct vfio_chunk *c;
		int ret;

		if (shadow->count >= shadow->limit)
			return -ENOSPC;
		c = calloc(1, sizeof(*c));
		if (!c)
			return -ENOMEM;
		c->iova = iova;
		c->gpa = p->gpa + (iova - p->iova);
		c->length = part;
		c->prot = p->prot;
		c->priority = shadow_random(shadow);
		ret = dma->ops->map(dma, shadow->ioas, c->iova, c->gpa, c->length, c->prot);
		if (ret) {
			free(c);
			return ret;
		}
		dma->counters.maps++;
		dma->counters.bytes_mapped += part;
		shadow->count++;
		*tree = vfio_chunk_join(*tree, c);
		iova += part;
		length -= part;
	}
	return 0;
}

static bool piece_holds(const struct piece *p, const struct vfio_chunk *c)
{
	return c->iova >= p->iova && range_fits(c->iova - p->iova, c->length, p->length) &&
	       c->gpa - c->iova == p->gpa - p->iova && c->prot == p->prot;
}

/* Unmap the chunks of LIST (ascending) that no piece holds; those that stay go into *KEPT. */
static int shadow_unmap_stale(struct vfio_shadow *shadow, const struct piece_list *list,
			      struct vfio_chunk *chunk, struct vfio_chunk **kept)
{
	struct vfio_dma *dma = shadow->dma;
	struct vfio_chunk *next;
	size_t i = 0;
	int ret = 0;

	for (; chunk; chunk = next) {
		next = chunk->right;
		while (i < list->count &&
		       list->piece[i].iova + (list->piece[i].length - 1) < chunk->iova)
			i++;
		if (!ret && !(i < list->count && piece_holds(&list->piece[i], chunk))) {
			ret = dma->ops->unmap(dma, shadow->ioas, chunk->iova, chunk->length);
			if (!ret) {
				dma->counters.unmaps++;
				dma->counters.bytes_mapped -= chunk->length;
				shadow->count--;
				free(chunk);
				continue;
			}
		}
		*kept = chunk;
		kept = &chunk->right;
	}
	*kept = NULL;
	return ret;
}

/* Put the chunks of KEPT into *TREE and map what of the pieces they leave out. */
static int shadow_map_new(struct vfio_shadow *shadow, const struct piece_list *list,
			  struct vfio_chunk *kept, struct vfio_chunk **tree)
{
	int ret = 0;

	for (size_t i = 0; i < list->count && !ret; i++) {
		const struct piece *p = &list->piece[i];
		uint64_t done = 0; /* bytes of the piece that are mapped */

		while (!ret && done < p->length) {
			uint64_t offset = p->length;
			struct vfio_chunk *c = NULL;

			/* Those that were kept lie inside pieces, in the same order. */
			if (kept && kept->iova - p->iova < p->length && kept->iova >= p->iova) {
				c = kept;
				offset = c->iova - p->iova;
			}
			ret = shadow_map(shadow, p, p->iova + done, offset - done, tree);
			done = offset;
			if (!ret && c) {
				kept = c->right;
				c->left = c->right = NULL;
				*tree = vfio_chunk_join(*tree, c);
				done += c->length;
			}
		}
	}
	for (struct vfio_chunk *next; kept; kept = next) {
		next = kept->right;
		kept->left = kept->right = NULL;
		*tree = vfio_chunk_join(*tree, kept);
	}
	return ret;
}

int vfio_shadow_sync(struct vfio_shadow *shadow, uint64_t iova, uint64_t last)
{
	struct piece_list list = {.shadow = shadow};
	struct vfio_chunk *below, *range, *above = NULL, *tree = NULL, *c;
	int ret, error;

	if (iova > last)
		return 0;
	/* Whole mappings: reading more of the tables than was invalidated is always allowed. */
	iova = align_down(iova, GUEST_PAGE_SIZE);
	last |= GUEST_PAGE_SIZE - 1;
	c = vfio_chunk_find(shadow->tree, iova);
	if (c)
		iova = c->iova;
	c = vfio_chunk_find(shadow->tree, last);
	if (c)
		last = vfio_chunk_last(c);

	shadow->dma->counters.syncs++;
	ret = shadow_read(shadow, iova, last, &list);
	if (ret)
		goto out;

	vfio_chunk_split(shadow->tree, iova, &below, &range);
	if (last != UINT64_MAX) {
		struct vfio_chunk *rest = range;

		vfio_chunk_split(rest, last + 1, &range, &above);
	}
	ret = shadow_unmap_stale(shadow, &list, vfio_chunk_list(range), &range);
	if (ret)
		list.count = 0; /* map nothing more; only put the tree together */
	error = shadow_map_new(shadow, &list, range, &tree);
	ret = ret ? ret : error;
	shadow->tree = vfio_chunk_join(vfio_chunk_join(below, tree), above);
out:
	free(list.piece);
	return ret;
}
