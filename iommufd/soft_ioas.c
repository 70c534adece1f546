// SPDX-License-Identifier: Apache-2.0
/*
 * Soft I/O address spaces, with the rules of Linux drivers/iommu/iommufd/{ioas,io_pagetable}.c.
 *
 * A fresh IOAS takes any byte range. Once a page table stands on it, mappings are whole pages
 * outside the interrupt range, and user memory must be guest RAM (the kernel pins it then).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "iommufd/soft.h"

#define PAGE UINT64_C(4096)

enum { SOFT_AREAS_MAX = 1 << 16 };

#define MAP_FLAGS                                                                                  \
	((uint32_t)(IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE))
#define PROT_FLAGS ((uint32_t)(IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE))

/* What is to be mapped: parts that follow each other in IOVA. */
struct parts {
	struct soft_area one;
	struct soft_area *part;
	size_t count;
	uint64_t length;
};

int soft_ioas_alloc(struct soft_call *call)
{
	struct iommu_ioas_alloc *cmd = call->cmd;
	struct soft_ioas *ioas;

	if (cmd->flags)
		return -EOPNOTSUPP;
	ioas = soft_object_new(call->soft, SOFT_IOAS, sizeof(*ioas));
	if (!ioas)
		return -ENOMEM;
	ioas->soft = call->soft;
	ioas->stage2.ops = &soft_stage2_ops;
	pthread_mutex_init(&ioas->lock, NULL);
	cmd->out_ioas_id = ioas->object.id;
	soft_respond(call);
	soft_object_publish(call->soft, ioas);
	return 0;
}

void soft_ioas_destroy(struct iommufd_soft *soft, struct soft_object *object)
{
	struct soft_ioas *ioas = container_of(object, struct soft_ioas, object);

	(void)soft;
	pthread_mutex_destroy(&ioas->lock);
	free(ioas->area);
	free(ioas->allowed);
}

static bool is_backed(const struct guest_memory *memory, const struct soft_area *area)
{
	uint64_t length = area->last - area->iova + 1;

	if (area->file)
		return true;
	for (unsigned i = 0; memory && i < memory->count; i++) {
		const struct guest_region *r = &memory->region[i];

		if (area->start >= (uintptr_t)r->host &&
		    range_fits(area->start - (uintptr_t)r->host, length, r->size))
			return true;
	}
	return false;
}

int soft_ioas_add_hwpt(struct iommufd_soft *soft, struct soft_ioas *ioas)
{
	int rc = 0;

	pthread_mutex_lock(&ioas->lock);
	if (soft_iova_msi_allowed(ioas))
		rc = -EADDRINUSE;
	for (size_t i = 0; i < ioas->areas && !rc && !ioas->hwpts; i++) {
		const struct soft_area *area = &ioas->area[i];

		if (!soft_area_is_page_aligned(area) || soft_iova_hits_msi(area->iova, area->last))
			rc = -EADDRINUSE;
		else if (!is_backed(soft->memory, area))
			rc = -EFAULT;
	}
	if (!rc)
		ioas->hwpts++;
	pthread_mutex_unlock(&ioas->lock);
	return rc;
}

void soft_ioas_remove_hwpt(struct soft_ioas *ioas)
{
	pthread_mutex_lock(&ioas->lock);
	ioas->hwpts--;
	pthread_mutex_unlock(&ioas->lock);
}

int soft_ioas_iova_ranges(struct soft_call *call)
{
	static const struct iommu_iova_range all = {0, UINT64_MAX};
	const struct iommu_iova_range around_msi[] = {{0, soft_iova_msi.start - 1},
						      {soft_iova_msi.last + 1, UINT64_MAX}};
	struct iommu_ioas_iova_ranges *cmd = call->cmd;
	struct iommu_iova_range *out = (void *)(uintptr_t)cmd->allowed_iovas;
	uint32_t room = cmd->num_iovas;
	const struct iommu_iova_range *range;
	struct soft_ioas *ioas;

	if (cmd->__reserved)
		return -EOPNOTSUPP;
	ioas = soft_object_get(call->soft, cmd->ioas_id, SOFT_IOAS);
	if (!ioas)
		return -ENOENT;
	pthread_mutex_lock(&ioas->lock);
	range = ioas->hwpts ? around_msi : &all;
	cmd->num_iovas = ioas->hwpts ? ARRAY_SIZE(around_msi) : 1;
	cmd->out_iova_alignment = soft_iova_alignment(ioas);
	pthread_mutex_unlock(&ioas->lock);
	soft_object_put(call->soft, ioas);
	for (uint32_t i = 0; i < cmd->num_iovas && i < room; i++) {
		if (!out)
			return -EFAULT;
		out[i] = range[i];
	}
	soft_respond(call);
	return cmd->num_iovas > room ? -EMSGSIZE : 0;
}

static int make_room(struct soft_ioas *ioas, size_t more)
{
	size_t room = ioas->room;
	struct soft_area *area;

	if (more > SOFT_AREAS_MAX - ioas->areas)
		return -ENOMEM;
	while (room < ioas->areas + more)
		room = room ? room * 2 : 16;
	if (room == ioas->room)
		return 0;
	area = realloc(ioas->area, room * sizeof(*area));
	if (!area)
		return -ENOMEM;
	ioas->area = area;
	ioas->room = room;
	return 0;
}

/* Place PARTS at *IOVA, or where there is room; the parts stay areas of their own. */
static int map_parts(struct iommufd_soft *soft, struct soft_ioas *ioas, struct parts *parts,
		     uint32_t flags, uint64_t *iova)
{
	uint64_t at;
	size_t index;
	int rc;

	if (!is_aligned(parts->length, soft_iova_alignment(ioas)))
		return -EINVAL;
	if (flags & IOMMU_IOAS_MAP_FIXED_IOVA)
		rc = soft_iova_check(ioas, *iova, parts->length);
	else
		rc = soft_iova_choose(ioas, parts->part[0].start, parts->length, iova);
	if (rc)
		return rc;
	at = *iova;
	for (size_t i = 0; i < parts->count; i++) {
		struct soft_area *part = &parts->part[i];
		uint64_t length = part->last - part->iova + 1;

		if ((flags & IOMMU_IOAS_MAP_WRITEABLE) && !part->writable)
			return -EPERM;
		if (!is_aligned(part->start, soft_iova_alignment(ioas)))
			return -EINVAL;
		if (ioas->hwpts && !is_backed(soft->memory, part))
			return -EFAULT;
		part->iova = at;
		part->last = at + (length - 1);
		part->flags = flags & PROT_FLAGS;
		at += length;
	}
	rc = make_room(ioas, parts->count);
	if (rc)
		return rc;
	index = soft_iova_first_from(ioas, *iova);
	memmove(&ioas->area[index + parts->count], &ioas->area[index],
		(ioas->areas - index) * sizeof(*ioas->area));
	memcpy(&ioas->area[index], parts->part, parts->count * sizeof(*ioas->area));
	ioas->areas += parts->count;
	return 0;
}

static int map_locked(struct soft_call *call, uint32_t ioas_id, struct parts *parts, uint32_t flags,
		      uint64_t *iova)
{
	struct soft_ioas *ioas = soft_object_get(call->soft, ioas_id, SOFT_IOAS);
	int rc;

	if (!ioas)
		return -ENOENT;
	pthread_mutex_lock(&ioas->lock);
	rc = map_parts(call->soft, ioas, parts, flags, iova);
	pthread_mutex_unlock(&ioas->lock);
	soft_object_put(call->soft, ioas);
	if (!rc)
		soft_respond(call);
	return rc;
}

/* For a call that maps one piece of memory; the order of judgement is the kernel's. */
static int map_one(struct soft_call *call, uint32_t ioas_id, bool file, uint64_t start,
		   uint64_t length, uint32_t flags, uint64_t *iova)
{
	struct parts parts = {
		.one = {.last = length - 1,
			.start = start,
			.file = file,
			.writable = flags & IOMMU_IOAS_MAP_WRITEABLE},
		.part = &parts.one,
		.count = 1,
		.length = length,
	};

	return map_locked(call, ioas_id, &parts, flags, iova);
}

static int check_ioas(struct soft_call *call, uint32_t ioas_id)
{
	struct soft_ioas *ioas = soft_object_get(call->soft, ioas_id, SOFT_IOAS);

	if (!ioas)
		return -ENOENT;
	soft_object_put(call->soft, ioas);
	return 0;
}

int soft_ioas_map(struct soft_call *call)
{
	struct iommu_ioas_map *cmd = call->cmd;
	int rc;

	if ((cmd->flags & ~MAP_FLAGS) || cmd->__reserved)
		return -EOPNOTSUPP;
	if (cmd->iova == UINT64_MAX || cmd->length == UINT64_MAX)
		return -EOVERFLOW;
	if (!(cmd->flags & PROT_FLAGS))
		return -EINVAL;
	rc = check_ioas(call, cmd->ioas_id);
	if (rc)
		return rc;
	if (cmd->user_va + cmd->length < cmd->user_va)
		return -EOVERFLOW;
	if (!cmd->length || cmd->length > UINT64_MAX - PAGE)
		return -EINVAL;
	return map_one(call, cmd->ioas_id, false, cmd->user_va, cmd->length, cmd->flags,
		       &cmd->iova);
}

int soft_ioas_map_file(struct soft_call *call)
{
	struct iommu_ioas_map_file *cmd = call->cmd;
	int rc;

	if (cmd->flags & ~MAP_FLAGS)
		return -EOPNOTSUPP;
	if (cmd->iova == UINT64_MAX || cmd->length == UINT64_MAX)
		return -EOVERFLOW;
	if (!(cmd->flags & PROT_FLAGS))
		return -EINVAL;
	rc = check_ioas(call, cmd->ioas_id);
	if (rc)
		return rc;
	if (!cmd->length)
		return -EINVAL;
	if (cmd->start + (cmd->length - 1) < cmd->start)
		return -EOVERFLOW;
	if (fcntl(cmd->fd, F_GETFD) < 0)
		return -EBADF;
	if (cmd->length > UINT64_MAX - PAGE)
		return -EINVAL;
	return map_one(call, cmd->ioas_id, true, cmd->start, cmd->length, cmd->flags, &cmd->iova);
}

/* What SRC has in [iova, last], without a gap, as parts that outlive its lock. */
static int collect(struct soft_ioas *src, uint64_t iova, uint64_t last, struct parts *parts)
{
	size_t first = soft_iova_first_from(src, iova), end = first;
	uint64_t next = iova;

	while (end < src->areas && src->area[end].iova <= next) {
		if (src->area[end++].last >= last)
			goto covered;
		next = src->area[end - 1].last + 1;
	}
	return -ENOENT;

covered:
	parts->count = end - first;
	parts->part = malloc(parts->count * sizeof(*parts->part));
	if (!parts->part)
		return -ENOMEM;
	memcpy(parts->part, &src->area[first], parts->count * sizeof(*parts->part));
	parts->part[0].start += iova - parts->part[0].iova;
	parts->part[0].iova = iova;
	parts->part[parts->count - 1].last = last;
	return 0;
}

int soft_ioas_copy(struct soft_call *call)
{
	struct iommu_ioas_copy *cmd = call->cmd;
	struct parts parts = {.length = cmd->length};
	struct soft_ioas *src;
	int rc;

	if (cmd->flags & ~MAP_FLAGS)
		return -EOPNOTSUPP;
	if (cmd->length == UINT64_MAX || cmd->src_iova == UINT64_MAX || cmd->dst_iova == UINT64_MAX)
		return -EOVERFLOW;
	if (!(cmd->flags & PROT_FLAGS))
		return -EINVAL;
	src = soft_object_get(call->soft, cmd->src_ioas_id, SOFT_IOAS);
	if (!src)
		return -ENOENT;
	if (!cmd->length) {
		rc = -EINVAL;
	} else if (cmd->src_iova + (cmd->length - 1) < cmd->src_iova) {
		rc = -EOVERFLOW;
	} else {
		/* Source and destination may be one: never both locks at a time. */
		pthread_mutex_lock(&src->lock);
		rc = collect(src, cmd->src_iova, cmd->src_iova + (cmd->length - 1), &parts);
		pthread_mutex_unlock(&src->lock);
	}
	soft_object_put(call->soft, src);
	if (rc)
		return rc;
	rc = map_locked(call, cmd->dst_ioas_id, &parts, cmd->flags, &cmd->dst_iova);
	free(parts.part);
	return rc;
}

/* Whole areas only. As in the kernel, those before the first that is cut are gone even so. */
static int unmap_range(struct soft_ioas *ioas, uint64_t iova, uint64_t last, uint64_t *unmapped)
{
	size_t first = soft_iova_first_from(ioas, iova), end = first;
	int rc = 0;

	*unmapped = 0;
	for (; end < ioas->areas && ioas->area[end].iova <= last; end++) {
		const struct soft_area *area = &ioas->area[end];

		if (area->iova < iova || area->last > last) {
			rc = -ENOENT;
			break;
		}
		*unmapped += area->last - area->iova + 1;
	}
	if (end == first)
		return rc;
	for (struct soft_hwpt *hwpt = ioas->tracked; hwpt; hwpt = hwpt->next)
		soft_dirty_forget(hwpt, ioas->area[first].iova, ioas->area[end - 1].last);
	memmove(&ioas->area[first], &ioas->area[end], (ioas->areas - end) * sizeof(*ioas->area));
	ioas->areas -= end - first;
	return rc;
}

int soft_ioas_unmap(struct soft_call *call)
{
	struct iommu_ioas_unmap *cmd = call->cmd;
	struct soft_ioas *ioas = soft_object_get(call->soft, cmd->ioas_id, SOFT_IOAS);
	bool all = cmd->iova == 0 && cmd->length == UINT64_MAX;
	uint64_t unmapped = 0;
	int rc;

	if (!ioas)
		return -ENOENT;
	pthread_mutex_lock(&ioas->lock);
	if (all)
		rc = unmap_range(ioas, 0, UINT64_MAX, &unmapped);
	else if (cmd->iova == UINT64_MAX || cmd->length == UINT64_MAX)
		rc = -EOVERFLOW;
	else if (!cmd->length)
		rc = -EINVAL;
	else if (cmd->iova + (cmd->length - 1) < cmd->iova)
		rc = -EOVERFLOW;
	else
		rc = unmap_range(ioas, cmd->iova, cmd->iova + (cmd->length - 1), &unmapped);
	pthread_mutex_unlock(&ioas->lock);
	atomic_fetch_add(&call->soft->unmaps, 1);
	soft_dma_settle(call->soft);
	soft_object_put(call->soft, ioas);
	if (!rc && !all && !unmapped)
		rc = -ENOENT;
	if (rc)
		return rc;
	cmd->length = unmapped;
	soft_respond(call);
	return 0;
}
