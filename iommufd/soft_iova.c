// SPDX-License-Identifier: Apache-2.0
/*
 * Which IOVAs of a soft I/O address space may be used, with the rules of Linux
 * drivers/iommu/iommufd/io_pagetable.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "iommufd/soft.h"

#define HPAGE (2 * MIB)

enum { SOFT_ALLOWED_MAX = 1 << 16 };

/* The range that x86 interrupt messages are written to; no IOMMU translates it as memory. */
const struct iommu_iova_range soft_iova_msi = {0xfee00000, 0xfeefffff};

uint64_t soft_iova_alignment(const struct soft_ioas *ioas)
{
	return ioas->hwpts || ioas->small_pages ? SOFT_PAGE : 1;
}

bool soft_iova_hits_msi(uint64_t iova, uint64_t last)
{
	return iova <= soft_iova_msi.last && last >= soft_iova_msi.start;
}

bool soft_iova_msi_allowed(const struct soft_ioas *ioas)
{
	for (size_t i = 0; i < ioas->alloweds; i++) {
		if (soft_iova_hits_msi(ioas->allowed[i].start, ioas->allowed[i].last))
			return true;
	}
	return false;
}

bool soft_area_is_page_aligned(const struct soft_area *area)
{
	return is_aligned(area->iova | (area->last + 1) | area->start, SOFT_PAGE);
}

size_t soft_iova_first_from(const struct soft_ioas *ioas, uint64_t iova)
{
	size_t low = 0, high = ioas->areas;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (ioas->area[mid].last < iova)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct wanted {
	uint64_t length, align;
	uint64_t offset; /* in the page */
};

/* The lowest place in [from, to]. */
static bool fit(const struct wanted *w, uint64_t from, uint64_t to, uint64_t *iova)
{
	uint64_t at = align_up(from, w->align) | w->offset;

	if (from > to || at < from || at >= to || to - at < w->length - 1)
		return false;
	*iova = at;
	return true;
}

/* The lowest free place in [from, to], which ends below 2^64 - 1. */
static bool choose_in(const struct soft_ioas *ioas, const struct wanted *w, uint64_t from,
		      uint64_t to, uint64_t *iova)
{
	bool msi_passed = !ioas->hwpts || from > soft_iova_msi.last;
	size_t i = soft_iova_first_from(ioas, from);

	while (from <= to) {
		uint64_t used = to + 1, used_last = to;

		if (i < ioas->areas && ioas->area[i].iova <= to) {
			used = ioas->area[i].iova;
			used_last = ioas->area[i].last;
		}
		if (!msi_passed && soft_iova_msi.start < used) {
			used = soft_iova_msi.start;
			used_last = soft_iova_msi.last;
			msi_passed = true;
		} else {
			i++;
		}
		if (used > from && fit(w, from, used - 1, iova))
			return true;
		if (used_last >= to)
			return false;
		if (used_last >= from)
			from = used_last + 1;
	}
	return false;
}

/* Never chooses page 0, nor the last one. */
int soft_iova_choose(const struct soft_ioas *ioas, uint64_t start, uint64_t length, uint64_t *iova)
{
	static const struct iommu_iova_range all = {0, UINT64_MAX};
	const struct iommu_iova_range *range = ioas->alloweds ? ioas->allowed : &all;
	size_t ranges = ioas->alloweds ? ioas->alloweds : 1;
	struct wanted w = {.length = length, .offset = start % SOFT_PAGE};

	if (!length || length >= UINT64_MAX / 2)
		return -EOVERFLOW;
	w.align = is_power_of_2(length) ? length : BIT(64 - __builtin_clzll(length));
	if (start && w.align > (start & -start))
		w.align = start & -start;
	if (w.align > HPAGE)
		w.align = HPAGE;
	if (w.align < soft_iova_alignment(ioas))
		return -EINVAL;
	for (size_t i = 0; i < ranges; i++) {
		uint64_t from = range[i].start, to = range[i].last;

		/* Ranges that touch are one. */
		while (i + 1 < ranges && range[i + 1].start == to + 1)
			to = range[++i].last;
		if (from < SOFT_PAGE)
			from = SOFT_PAGE;
		if (to > UINT64_MAX - SOFT_PAGE)
			to = UINT64_MAX - SOFT_PAGE;
		if (fit(&w, from, to, &from) && choose_in(ioas, &w, from, to, iova))
			return 0;
	}
	return -ENOSPC;
}

int soft_iova_check(const struct soft_ioas *ioas, uint64_t iova, uint64_t length)
{
	uint64_t last = iova + (length - 1);
	size_t i;

	if (!is_aligned(iova, soft_iova_alignment(ioas)))
		return -EINVAL;
	if (last < iova)
		return -EOVERFLOW;
	if (ioas->hwpts && soft_iova_hits_msi(iova, last))
		return -EINVAL;
	i = soft_iova_first_from(ioas, iova);
	return i < ioas->areas && ioas->area[i].iova <= last ? -EEXIST : 0;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct iommu_iova_range *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

/* Sorts. */
static int check_ranges(struct iommu_iova_range *range, size_t ranges)
{
	for (size_t i = 0; i < ranges; i++) {
		if (range[i].start >= range[i].last)
			return -EINVAL;
	}
	qsort(range, ranges, sizeof(*range), compare_ranges);
	for (size_t i = 1; i < ranges; i++) {
		if (range[i].start <= range[i - 1].last)
			return -EINVAL;
	}
	return 0;
}

static int load_ranges(const struct iommu_ioas_allow_iovas *cmd, struct iommu_iova_range **out)
{
	const void *from = (const void *)(uintptr_t)cmd->allowed_iovas;
	struct iommu_iova_range *range;
	int rc;

	*out = NULL;
	if (!cmd->num_iovas)
		return 0;
	if (!from)
		return -EFAULT;
	if (cmd->num_iovas > SOFT_ALLOWED_MAX)
		return -ENOMEM;
	range = malloc(cmd->num_iovas * sizeof(*range));
	if (!range)
		return -ENOMEM;
	memcpy(range, from, cmd->num_iovas * sizeof(*range));
	rc = check_ranges(range, cmd->num_iovas);
	if (rc)
		free(range);
	else
		*out = range;
	return rc;
}

/* What IOAS allowed until now goes to *RANGE, *RANGES; so it does when it is put back. */
static void swap_ranges(struct soft_ioas *ioas, struct iommu_iova_range **range, size_t *ranges)
{
	struct iommu_iova_range *allowed = ioas->allowed;
	size_t alloweds = ioas->alloweds;

	ioas->allowed = *range;
	ioas->alloweds = *ranges;
	*range = allowed;
	*ranges = alloweds;
}

int soft_ioas_allow_iovas(struct soft_call *call)
{
	const struct iommu_ioas_allow_iovas *cmd = call->cmd;
	size_t ranges = cmd->num_iovas;
	struct iommu_iova_range *range;
	struct soft_ioas *ioas;
	int rc;

	if (cmd->__reserved)
		return -EOPNOTSUPP;
	ioas = soft_object_get(call->soft, cmd->ioas_id, SOFT_IOAS);
	if (!ioas)
		return -ENOENT;
	rc = load_ranges(cmd, &range);
	if (!rc) {
		pthread_mutex_lock(&ioas->lock);
		swap_ranges(ioas, &range, &ranges);
		if (ioas->hwpts && soft_iova_msi_allowed(ioas)) {
			swap_ranges(ioas, &range, &ranges);
			rc = -EADDRINUSE;
		}
		pthread_mutex_unlock(&ioas->lock);
		free(range);
	}
	soft_object_put(call->soft, ioas);
	return rc;
}

static int huge_pages_off(struct soft_ioas *ioas)
{
	if (ioas->small_pages)
		return 0;
	if (ioas->hwpts && ioas->areas)
		return -EINVAL;
	for (size_t i = 0; i < ioas->areas; i++) {
		if (!soft_area_is_page_aligned(&ioas->area[i]))
			return -EADDRINUSE;
	}
	ioas->small_pages = true;
	return 0;
}

int soft_ioas_huge_pages(struct soft_call *call)
{
	struct iommu_option *cmd = call->cmd;
	struct soft_ioas *ioas = soft_object_get(call->soft, cmd->object_id, SOFT_IOAS);
	int rc = 0;

	if (!ioas)
		return -ENOENT;
	pthread_mutex_lock(&ioas->lock);
	if (cmd->op == IOMMU_OPTION_OP_GET)
		cmd->val64 = !ioas->small_pages;
	else if (cmd->op != IOMMU_OPTION_OP_SET)
		rc = -EOPNOTSUPP;
	else if (cmd->val64 == 0)
		rc = huge_pages_off(ioas);
	else if (cmd->val64 == 1)
		ioas->small_pages = false;
	else
		rc = -EINVAL;
	pthread_mutex_unlock(&ioas->lock);
	soft_object_put(call->soft, ioas);
	return rc;
}
