// SPDX-License-Identifier: Apache-2.0
/*
 * Soft devices as sources of DMA: what they read and write goes through what they are attached to
 * at that moment, and what is taken from them is out of their hands when the call returns, as it is
 * after the kernel has waited for the IOMMU.
 */
#include <errno.h>

#include "iommufd/soft.h"

/* ---- accesses in flight ---- */

/*
 * Two counters, of which new accesses take the one in force: a change puts the other one in force
 * and waits for the first to reach 0, so that no stream of new accesses keeps it waiting.
 */
static unsigned flight_begin(struct iommufd_soft *soft)
{
	unsigned phase;

	pthread_mutex_lock(&soft->dma_lock);
	phase = soft->dma_phase;
	soft->dma_in_flight[phase]++;
	pthread_mutex_unlock(&soft->dma_lock);
	return phase;
}

static void flight_end(struct iommufd_soft *soft, unsigned phase)
{
	pthread_mutex_lock(&soft->dma_lock);
	if (!--soft->dma_in_flight[phase])
		pthread_cond_broadcast(&soft->dma_idle);
	pthread_mutex_unlock(&soft->dma_lock);
}

void soft_dma_settle(struct iommufd_soft *soft)
{
	unsigned phase;

	pthread_mutex_lock(&soft->settle_lock);
	pthread_mutex_lock(&soft->dma_lock);
	phase = soft->dma_phase;
	soft->dma_phase = !phase;
	while (soft->dma_in_flight[phase])
		pthread_cond_wait(&soft->dma_idle, &soft->dma_lock);
	pthread_mutex_unlock(&soft->dma_lock);
	pthread_mutex_unlock(&soft->settle_lock);
}

/* ---- a device's view ---- */

static struct soft_device *device_of(struct dma_space *ds)
{
	return container_of(ds, struct soft_device, dma);
}

/* The model's requester, which has faults, holds and an IOTLB of its own; NULL: there is none. */
static struct dma_space *requester_of(struct soft_device *device)
{
	struct dma_space *requester;

	pthread_mutex_lock(&device->soft->dma_lock);
	requester = device->requester;
	pthread_mutex_unlock(&device->soft->dma_lock);
	return requester;
}

static struct dma_space *stage2_of(const struct soft_object *pt)
{
	if (pt && pt->type == SOFT_IOAS)
		return &container_of(pt, struct soft_ioas, object)->stage2;
	if (pt && pt->type == SOFT_HWPT)
		return &container_of(pt, struct soft_hwpt, object)->ioas->stage2;
	return NULL;
}

static int device_map(struct dma_space *ds, uint64_t iova, uint64_t len, unsigned access,
		      struct dma_segment *seg, unsigned max)
{
	struct soft_device *device = device_of(ds);
	struct dma_space *requester = requester_of(device), *stage2;
	int rc = -EFAULT;

	if (requester)
		return dma_space_map(requester, iova, len, access, seg, max);
	if (!len || iova + (len - 1) < iova)
		return -EINVAL;
	pthread_mutex_lock(&device->soft->dma_lock);
	stage2 = stage2_of(device->pt);
	if (stage2)
		rc = dma_space_map(stage2, iova, len, access, seg, max);
	pthread_mutex_unlock(&device->soft->dma_lock);
	return rc;
}

static uint64_t device_generation(struct dma_space *ds)
{
	struct soft_device *device = device_of(ds);
	struct dma_space *requester = requester_of(device);

	return requester ? dma_space_generation(requester) : atomic_load(&device->soft->unmaps);
}

static void device_hold(struct dma_space *ds, struct dma_hold *hold, const struct dma_range *range,
			unsigned count, unsigned access)
{
	struct soft_device *device = device_of(ds);
	struct dma_space *requester = hold->count ? NULL : requester_of(device);

	if (requester) {
		hold->ds = requester;
		requester->ops->hold(requester, hold, range, count, access);
	} else if (count) {
		if (!hold->count)
			hold->resolved = flight_begin(device->soft);
		hold->count = 1;
	}
}

static void device_release(struct dma_space *ds, struct dma_hold *hold)
{
	flight_end(device_of(ds)->soft, (unsigned)hold->resolved);
}

static const struct dma_space_ops device_ops = {
	.map = device_map,
	.generation = device_generation,
	.hold = device_hold,
	.release = device_release,
};

void soft_device_dma_init(struct iommufd_soft *soft, struct soft_device *device)
{
	device->soft = soft;
	device->dma.ops = &device_ops;
}

int iommufd_soft_device_dma(struct iommufd *ctx, uint32_t dev_id, struct dma_space **dma)
{
	struct iommufd_soft *soft = to_soft(ctx);
	struct soft_device *device;

	if (!iommufd_is_soft(ctx))
		return -EOPNOTSUPP;
	device = soft_object_get(soft, dev_id, SOFT_DEVICE);
	if (!device)
		return -ENOENT;
	pthread_mutex_lock(&soft->attach_lock);
	device->source = true;
	pthread_mutex_unlock(&soft->attach_lock);
	*dma = &device->dma;
	soft_object_put(soft, device);
	return 0;
}
