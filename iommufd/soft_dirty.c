// SPDX-License-Identifier: Apache-2.0
/*
 * Which pages were written through a soft page table: the dirty bits of its entries, 4 KiB each.
 *
 * They are kept beside the mappings, in pieces that exist only where something was written, so that
 * memory is bounded by what is mapped.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "iommufd/soft.h"

/* Index of the first piece that ends behind IOVA. */
static size_t piece_from(const struct soft_hwpt *hwpt, uint64_t iova)
{
	size_t low = 0, high = hwpt->dirties;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (hwpt->dirty[mid]->iova + (SOFT_DIRTY_SPAN - 1) < iova)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct soft_dirty *piece_of(struct soft_hwpt *hwpt, uint64_t iova)
{
	size_t i = piece_from(hwpt, iova);
	struct soft_dirty **dirty, *piece;

	if (i < hwpt->dirties && hwpt->dirty[i]->iova <= iova)
		return hwpt->dirty[i];
	dirty = realloc(hwpt->dirty, (hwpt->dirties + 1) * sizeof(struct soft_dirty *));
	if (!dirty)
		return NULL;
	hwpt->dirty = dirty;
	piece = calloc(1, sizeof(*piece));
	if (!piece)
		return NULL;
	piece->iova = align_down(iova, SOFT_DIRTY_SPAN);
	memmove(&dirty[i + 1], &dirty[i], (hwpt->dirties - i) * sizeof(struct soft_dirty *));
	dirty[i] = piece;
	hwpt->dirties++;
	return piece;
}

static int mark(struct soft_hwpt *hwpt, uint64_t iova, uint64_t last)
{
	for (iova = align_down(iova, SOFT_PAGE);;) {
		struct soft_dirty *piece = piece_of(hwpt, iova);
		uint64_t end = align_down(iova, SOFT_DIRTY_SPAN) + (SOFT_DIRTY_SPAN - 1);

		if (!piece)
			return -ENOMEM;
		if (end > last)
			end = last;
		for (uint64_t page = (iova - piece->iova) / SOFT_PAGE;
		     page <= (end - piece->iova) / SOFT_PAGE; page++)
			piece->word[page / 64] |= BIT(page % 64);
		if (end == last)
			return 0;
		iova = end + 1;
	}
}

/* The bitmap of a GET_DIRTY_BITMAP. */
struct bitmap {
	uint64_t iova, last;
	unsigned shift;
	uint64_t *bits; /* may be NULL */
};

static void bitmap_set(const struct bitmap *map, uint64_t page)
{
	uint64_t last = page + (SOFT_PAGE - 1);
	uint64_t from, to;

	if (!map->bits)
		return;
	from = (page - map->iova) >> map->shift;
	to = (last - map->iova) >> map->shift;
	for (uint64_t bit = from; bit <= to; bit++)
		map->bits[bit / 64] |= BIT(bit % 64);
}

/* Visit what is dirty in [iova, last], whole pages: tell MAP unless NULL, forget it if CLEAR. */
static void take(struct soft_hwpt *hwpt, uint64_t iova, uint64_t last, bool clear,
		 const struct bitmap *map)
{
	for (size_t i = piece_from(hwpt, iova); i < hwpt->dirties; i++) {
		struct soft_dirty *piece = hwpt->dirty[i];

		if (piece->iova > last)
			return;
		for (unsigned w = 0; w < SOFT_DIRTY_WORDS; w++) {
			for (uint64_t left = piece->word[w]; left; left &= left - 1) {
				unsigned bit = (unsigned)__builtin_ctzll(left);
				uint64_t page = piece->iova + (w * UINT64_C(64) + bit) * SOFT_PAGE;

				if (page < iova || page > last)
					continue;
				if (map)
					bitmap_set(map, page);
				if (clear)
					piece->word[w] &= ~BIT(bit);
			}
		}
	}
}

void soft_dirty_forget(struct soft_hwpt *hwpt, uint64_t iova, uint64_t last)
{
	size_t kept = 0;

	take(hwpt, iova, last, true, NULL);
	for (size_t i = 0; i < hwpt->dirties; i++) {
		struct soft_dirty *piece = hwpt->dirty[i];

		if (piece->iova >= iova && piece->iova + (SOFT_DIRTY_SPAN - 1) <= last)
			free(piece);
		else
			hwpt->dirty[kept++] = piece;
	}
	hwpt->dirties = kept;
	if (!kept) {
		free(hwpt->dirty);
		hwpt->dirty = NULL;
	}
}

int soft_hwpt_set_dirty_tracking(struct soft_call *call)
{
	const struct iommu_hwpt_set_dirty_tracking *cmd = call->cmd;
	struct soft_hwpt *hwpt;
	int rc = 0;

	if (cmd->flags & ~(uint32_t)IOMMU_HWPT_DIRTY_TRACKING_ENABLE)
		return -EOPNOTSUPP;
	hwpt = soft_object_get(call->soft, cmd->hwpt_id, SOFT_HWPT);
	if (!hwpt)
		return -ENOENT;
	if (!hwpt->can_track) {
		rc = -EOPNOTSUPP;
	} else {
		pthread_mutex_lock(&hwpt->ioas->lock);
		hwpt->tracking = cmd->flags & IOMMU_HWPT_DIRTY_TRACKING_ENABLE;
		if (hwpt->tracking)
			soft_dirty_forget(hwpt, 0, UINT64_MAX);
		pthread_mutex_unlock(&hwpt->ioas->lock);
	}
	soft_object_put(call->soft, hwpt);
	return rc;
}

static int check_range(const struct iommu_hwpt_get_dirty_bitmap *cmd, uint64_t align)
{
	uint64_t last = cmd->iova + (cmd->length - 1);

	if (!cmd->length)
		return -EINVAL;
	if (last < cmd->iova)
		return -EOVERFLOW;
	if (!is_aligned(cmd->iova | (last + 1), align))
		return -EINVAL;
	if (!cmd->page_size || !is_aligned(cmd->iova | (last + 1), cmd->page_size))
		return -EINVAL;
	return 0;
}

int soft_hwpt_get_dirty_bitmap(struct soft_call *call)
{
	const struct iommu_hwpt_get_dirty_bitmap *cmd = call->cmd;
	struct soft_hwpt *hwpt;
	struct soft_ioas *ioas;
	int rc;

	if ((cmd->flags & ~(uint32_t)IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR) || cmd->__reserved)
		return -EOPNOTSUPP;
	hwpt = soft_object_get(call->soft, cmd->hwpt_id, SOFT_HWPT);
	if (!hwpt)
		return -ENOENT;
	ioas = hwpt->ioas;
	pthread_mutex_lock(&ioas->lock);
	rc = check_range(cmd, soft_iova_alignment(ioas));
	if (!rc && !hwpt->can_track)
		rc = -EOPNOTSUPP;
	if (!rc) {
		struct bitmap map = {
			.iova = cmd->iova,
			.last = cmd->iova + (cmd->length - 1),
			.shift = (unsigned)__builtin_ctzll(cmd->page_size),
			.bits = (uint64_t *)(uintptr_t)cmd->data,
		};
		uint64_t next = cmd->iova;

		/* As in the kernel, a hole ends it and is no error. */
		for (size_t i = soft_iova_first_from(ioas, next);
		     i < ioas->areas && ioas->area[i].iova <= next; i++) {
			uint64_t end =
				ioas->area[i].last < map.last ? ioas->area[i].last : map.last;

			take(hwpt, next, end, !(cmd->flags & IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR),
			     &map);
			if (end == map.last)
				break;
			next = end + 1;
		}
	}
	pthread_mutex_unlock(&ioas->lock);
	soft_object_put(call->soft, hwpt);
	return rc;
}

/* Whether all of [iova, last] is mapped for writing. */
static bool is_writable(const struct soft_ioas *ioas, uint64_t iova, uint64_t last)
{
	for (size_t i = soft_iova_first_from(ioas, iova);
	     i < ioas->areas && ioas->area[i].iova <= iova; i++) {
		if (!(ioas->area[i].flags & IOMMU_IOAS_MAP_WRITEABLE))
			return false;
		if (ioas->area[i].last >= last)
			return true;
		iova = ioas->area[i].last + 1;
	}
	return false;
}

int iommufd_soft_hwpt_written(struct iommufd *ctx, uint32_t hwpt_id, uint64_t iova, uint64_t length)
{
	struct iommufd_soft *soft = to_soft(ctx);
	uint64_t last = iova + (length - 1);
	struct soft_hwpt *hwpt;
	int rc = 0;

	if (!iommufd_is_soft(ctx))
		return -EOPNOTSUPP;
	if (!length)
		return -EINVAL;
	if (last < iova)
		return -EOVERFLOW;
	hwpt = soft_object_get(soft, hwpt_id, SOFT_HWPT);
	if (!hwpt)
		return -ENOENT;
	pthread_mutex_lock(&hwpt->ioas->lock);
	if (!is_writable(hwpt->ioas, iova, last))
		rc = -EFAULT;
	else if (hwpt->tracking)
		rc = mark(hwpt, iova, last);
	pthread_mutex_unlock(&hwpt->ioas->lock);
	soft_object_put(soft, hwpt);
	return rc;
}
