// SPDX-License-Identifier: Apache-2.0
/*
 * What soft devices are attached to, and where their DMA goes: with IOMMUFD_SOFT_HWMODEL, the
 * host's device table.
 */
#include <errno.h>
#include <string.h>

#include "iommufd/soft.h"

/* ---- the second stage: an IOAS as devices see it ---- */

static int stage2_map_locked(const struct soft_ioas *ioas, uint64_t iova, uint64_t len,
			     unsigned access, struct dma_segment *seg, unsigned max)
{
	const uint32_t need = (access & DMA_READ ? (uint32_t)IOMMU_IOAS_MAP_READABLE : 0) |
			      (access & DMA_WRITE ? (uint32_t)IOMMU_IOAS_MAP_WRITEABLE : 0);
	unsigned used = 0;

	for (size_t i = soft_iova_first_from(ioas, iova); len; i++) {
		const struct soft_area *area = i < ioas->areas ? &ioas->area[i] : NULL;
		struct dma_segment *tail = used ? &seg[used - 1] : NULL;
		uint64_t here;
		uint8_t *host;

		/* Files are mapped nowhere in this process. */
		if (!area || area->iova > iova || area->file || need & ~area->flags)
			return -EFAULT;
		here = area->last - iova < len - 1 ? area->last - iova + 1 : len;
		host = (uint8_t *)(uintptr_t)(area->start + (iova - area->iova));
		if (tail && (uint8_t *)tail->host + tail->len == host) {
			tail->len += here;
		} else {
			if (used == max)
				return -E2BIG;
			seg[used++] = (struct dma_segment){.host = host, .len = here};
		}
		iova += here;
		len -= here;
	}
	return (int)used;
}

static int stage2_map(struct dma_space *ds, uint64_t iova, uint64_t len, unsigned access,
		      struct dma_segment *seg, unsigned max)
{
	struct soft_ioas *ioas = container_of(ds, struct soft_ioas, stage2);
	int rc;

	if (!len || iova + (len - 1) < iova)
		return -EINVAL;
	pthread_mutex_lock(&ioas->lock);
	rc = stage2_map_locked(ioas, iova, len, access, seg, max);
	pthread_mutex_unlock(&ioas->lock);
	return rc;
}

static uint64_t stage2_generation(struct dma_space *ds)
{
	return atomic_load(&container_of(ds, struct soft_ioas, stage2)->soft->unmaps);
}

const struct dma_space_ops soft_stage2_ops = {
	.map = stage2_map,
	.generation = stage2_generation,
};

/* ---- the host's device table ---- */

static struct amd_host_dte host_dte(const struct soft_object *pt)
{
	struct amd_host_dte dte = {0};

	if (!pt)
		return dte;
	if (pt->type == SOFT_IOAS) {
		dte.stage2 = &container_of(pt, struct soft_ioas, object)->stage2;
	} else if (pt->type == SOFT_HWPT) {
		dte.stage2 = &container_of(pt, struct soft_hwpt, object)->ioas->stage2;
	} else {
		struct soft_hwpt_nested *hwpt = container_of(pt, struct soft_hwpt_nested, object);

		dte.nested = true;
		memcpy(dte.dte, hwpt->dte, sizeof(dte.dte));
		dte.stage2 = &hwpt->viommu->hwpt->ioas->stage2;
	}
	return dte;
}

/* attach_lock held. */
static void write_dte(const struct soft_vdevice *vdevice)
{
	struct amd_host_dte dte = host_dte(vdevice->device->pt);

	if (vdevice->dma)
		amd_iommu_dma_space_attach(vdevice->dma, &dte);
}

static struct soft_vdevice *vdevice_of(struct iommufd_soft *soft, const struct soft_device *device)
{
	struct soft_vdevice *vdevice;

	pthread_mutex_lock(&soft->lock);
	vdevice = device->vdevice;
	pthread_mutex_unlock(&soft->lock);
	return vdevice;
}

/* A reference to PT was taken; now it becomes DEVICE's, or is given back. */
static int take_pt(struct iommufd_soft *soft, const struct soft_device *device,
		   struct soft_object *pt)
{
	struct soft_vdevice *vdevice = vdevice_of(soft, device);

	switch (pt->type) {
	case SOFT_IOAS:
		/* A page table of its own comes with it. */
		return soft_ioas_add_hwpt(soft, container_of(pt, struct soft_ioas, object));
	case SOFT_HWPT:
		return 0;
	case SOFT_HWPT_NESTED:
		/* The unit must know by which id the guest calls the device. */
		return vdevice && vdevice->viommu ==
					       container_of(pt, struct soft_hwpt_nested, object)
						       ->viommu
			       ? 0
			       : -EINVAL;
	default:
		return -EINVAL;
	}
}

/* The vDEVICE's requester, from now on also the source of what the device does by itself. */
static int take_requester(struct iommufd_soft *soft, struct soft_vdevice *vdevice)
{
	int rc = 0;

	if (!vdevice->dma) {
		rc = amd_iommu_dma_space_new(vdevice->viommu->engine, (uint16_t)vdevice->virt_id,
					     &vdevice->dma);
		if (!rc)
			write_dte(vdevice);
	}
	pthread_mutex_lock(&soft->dma_lock);
	vdevice->device->requester = vdevice->dma;
	pthread_mutex_unlock(&soft->dma_lock);
	return rc;
}

static void drop_pt(struct iommufd_soft *soft, struct soft_object *pt)
{
	if (!pt)
		return;
	if (pt->type == SOFT_IOAS)
		soft_ioas_remove_hwpt(container_of(pt, struct soft_ioas, object));
	soft_object_put(soft, pt);
}

static int change_pt(struct iommufd_soft *soft, uint32_t dev_id, struct soft_object *pt)
{
	struct soft_device *device = soft_object_get(soft, dev_id, SOFT_DEVICE);
	struct soft_vdevice *vdevice;
	struct soft_object *old;
	int rc;

	if (!device)
		return -ENOENT;
	pthread_mutex_lock(&soft->attach_lock);
	vdevice = vdevice_of(soft, device);
	rc = pt && vdevice && device->source && soft->hwmodel ? take_requester(soft, vdevice) : 0;
	if (!rc && pt)
		rc = take_pt(soft, device, pt);
	if (!rc) {
		pthread_mutex_lock(&soft->dma_lock);
		old = device->pt;
		device->pt = pt;
		pthread_mutex_unlock(&soft->dma_lock);
		if (vdevice)
			write_dte(vdevice);
		soft_dma_settle(soft);
		drop_pt(soft, old);
	}
	pthread_mutex_unlock(&soft->attach_lock);
	soft_object_put(soft, device);
	return rc;
}

int iommufd_soft_device_attach(struct iommufd *ctx, uint32_t dev_id, uint32_t pt_id)
{
	struct iommufd_soft *soft = to_soft(ctx);
	struct soft_object *pt;
	int rc;

	if (!iommufd_is_soft(ctx))
		return -EOPNOTSUPP;
	pt = soft_object_get(soft, pt_id, SOFT_ANY);
	if (!pt)
		return -ENOENT;
	rc = change_pt(soft, dev_id, pt);
	if (rc)
		soft_object_put(soft, pt);
	return rc;
}

int iommufd_soft_device_detach(struct iommufd *ctx, uint32_t dev_id)
{
	return iommufd_is_soft(ctx) ? change_pt(to_soft(ctx), dev_id, NULL) : -EOPNOTSUPP;
}

int iommufd_soft_vdevice_dma(struct iommufd *ctx, uint32_t vdevice_id, struct dma_space **dma)
{
	struct iommufd_soft *soft = to_soft(ctx);
	struct soft_vdevice *vdevice;
	int rc = 0;

	if (!iommufd_is_soft(ctx) || !soft->hwmodel)
		return -EOPNOTSUPP;
	vdevice = soft_object_get(soft, vdevice_id, SOFT_VDEVICE);
	if (!vdevice)
		return -ENOENT;
	pthread_mutex_lock(&soft->attach_lock);
	rc = take_requester(soft, vdevice);
	*dma = vdevice->dma;
	pthread_mutex_unlock(&soft->attach_lock);
	soft_object_put(soft, vdevice);
	return rc;
}
