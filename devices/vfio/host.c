// SPDX-License-Identifier: Apache-2.0
/*
 * The side that all assigned devices share: the IOAS that holds guest RAM once (pinned, IOVA =
 * GPA), an empty one for devices that may do no DMA, and the mirrors of guest domains, which are
 * copied from the first so that they pin nothing more.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "devices/vfio/internal.h"
#include "postern/log.h"

#define RANGES_MAX 64u

_Static_assert(IOMMUFD_PROT_READ == (int)DMA_READ && IOMMUFD_PROT_WRITE == (int)DMA_WRITE,
	       "permissions are handed through");

static struct vfio_host *host_of(struct vfio_dma *dma)
{
	return container_of(dma, struct vfio_host, dma);
}

/* ---- what the mirrors do, done with iommufd, the engine and the device node ---- */

static int dma_ioas_alloc(struct vfio_dma *dma, uint32_t *ioas)
{
	return iommufd_ioas_alloc(host_of(dma)->ctx, ioas);
}

static void dma_ioas_destroy(struct vfio_dma *dma, uint32_t ioas)
{
	int ret = iommufd_destroy(host_of(dma)->ctx, ioas);

	if (ret)
		log_warning_once("vfio: I/O address space %u cannot be given back: %s", ioas,
				 strerror(-ret));
}

static int dma_map(struct vfio_dma *dma, uint32_t ioas, uint64_t iova, uint64_t gpa,
		   uint64_t length, unsigned prot)
{
	struct vfio_host *host = host_of(dma);

	return iommufd_ioas_copy(host->ctx, ioas, iova, host->follow.base, gpa, length, prot);
}

static int dma_unmap(struct vfio_dma *dma, uint32_t ioas, uint64_t iova, uint64_t length)
{
	return iommufd_ioas_unmap(host_of(dma)->ctx, ioas, iova, length, NULL);
}

static int dma_attach(struct vfio_dma *dma, void *device, uint32_t ioas)
{
	struct vfio_device *dev = device;
	struct vfio_uapi_attach attach = {.argsz = sizeof(attach), .pt_id = ioas};
	int ret = vfio_io_ctl(&dev->io, VFIO_UAPI_ATTACH, &attach);

	(void)dma;
	return ret < 0 ? ret : 0;
}

static void dma_detach(struct vfio_dma *dma, void *device)
{
	struct vfio_device *dev = device;
	struct vfio_uapi_detach detach = {.argsz = sizeof(detach)};
	int ret = vfio_io_ctl(&dev->io, VFIO_UAPI_DETACH, &detach);

	(void)dma;
	if (ret < 0)
		log_warning_once("%s: cannot be detached: %s", dev->name, strerror(-ret));
}

static void dma_device_state(struct vfio_dma *dma, uint16_t devid, struct amd_device_state *state)
{
	amd_iommu_engine_device_state(host_of(dma)->engine, devid, state);
}

static int dma_walk(struct vfio_dma *dma, const struct amd_device_state *state, uint64_t iova,
		    uint64_t last, uint64_t budget, vfio_leaf_visit *visit, void *opaque)
{
	return amd_iommu_engine_walk(host_of(dma)->engine, state, iova, last, budget, visit,
				     opaque);
}

static const struct vfio_dma_ops host_dma_ops = {
	.ioas_alloc = dma_ioas_alloc,
	.ioas_destroy = dma_ioas_destroy,
	.map = dma_map,
	.unmap = dma_unmap,
	.attach = dma_attach,
	.detach = dma_detach,
	.device_state = dma_device_state,
	.walk = dma_walk,
};

/* ---- following the guest's tables ---- */

static void host_device_changed(struct amd_iommu_listener *l, uint16_t devid)
{
	vfio_follow_device_changed(&container_of(l, struct vfio_host, listener)->follow, devid);
}

static void host_pages_changed(struct amd_iommu_listener *l, uint16_t domain, uint64_t iova,
			       uint64_t last)
{
	vfio_follow_pages_changed(&container_of(l, struct vfio_host, listener)->follow, domain,
				  iova, last);
}

static void host_all_changed(struct amd_iommu_listener *l)
{
	vfio_follow_all_changed(&container_of(l, struct vfio_host, listener)->follow);
}

/* Messages are resolved anew by the sink. */
static void host_interrupts_changed(struct amd_iommu_listener *l, uint16_t devid, bool all)
{
	(void)l;
	(void)devid;
	(void)all;
}

int vfio_host_new(struct iommufd *ctx, const struct guest_memory *memory, struct vfio_host **host)
{
	struct vfio_host *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->ctx = ctx;
	h->dma.ops = &host_dma_ops;
	h->dma.memory = memory;
	h->listener.device_changed = host_device_changed;
	h->listener.pages_changed = host_pages_changed;
	h->listener.all_changed = host_all_changed;
	h->listener.interrupts_changed = host_interrupts_changed;
	vfio_follow_init(&h->follow, &h->dma);
	*host = h;
	return 0;
}

int vfio_host_share(struct vfio_host *lender, struct vfio_host **host)
{
	int ret = vfio_host_new(lender->ctx, lender->dma.memory, host);

	if (!ret)
		(*host)->lender = lender;
	return ret;
}

void vfio_host_free(struct vfio_host *host)
{
	if (!host)
		return;
	if (host->engine)
		amd_iommu_engine_unlisten(host->engine, &host->listener);
	if (host->ready) {
		dma_ioas_destroy(&host->dma, host->follow.blocked);
		if (!host->lender)
			dma_ioas_destroy(&host->dma, host->follow.base);
	}
	vfio_follow_fini(&host->follow);
	free(host);
}

int vfio_host_follow(struct vfio_host *host, struct amd_iommu_engine *engine)
{
	if (host->engine)
		return -EBUSY;
	host->engine = engine;
	amd_iommu_engine_listen(engine, &host->listener);
	return 0;
}

void vfio_host_stats(const struct vfio_host *host, struct vfio_host_stats *stats)
{
	const struct vfio_counters *c = &host->dma.counters;

	*stats = (struct vfio_host_stats){
		.domains = c->domains,
		.bytes_mapped = c->bytes_mapped,
		.maps = c->maps,
		.unmaps = c->unmaps,
		.attaches = c->attaches,
		.syncs = c->syncs,
		.failures = c->failures,
		.skipped = c->skipped,
	};
}

/* ---- guest RAM ---- */

int vfio_host_prepare(struct vfio_host *host)
{
	int ret;

	if (host->ready)
		return 0;
	if (host->lender) {
		ret = vfio_host_prepare(host->lender);
		if (ret)
			return ret;
		host->follow.base = host->lender->follow.base;
	} else {
		ret = iommufd_ioas_alloc(host->ctx, &host->follow.base);
		if (ret)
			goto fail;
	}
	ret = iommufd_ioas_alloc(host->ctx, &host->follow.blocked);
	if (ret) {
		if (!host->lender)
			iommufd_destroy(host->ctx, host->follow.base);
		goto fail;
	}
	host->ready = true;
	return 0;
fail:
	log_error("vfio: iommufd cannot make an I/O address space: %s; see 'postern doctor'",
		  strerror(-ret));
	return ret;
}

int vfio_host_spaces(struct vfio_host *host, uint32_t *ram, uint32_t *empty)
{
	int ret = vfio_host_prepare(host);

	*ram = host->follow.base;
	*empty = host->follow.blocked;
	return ret;
}

/*
 * Ranges of the host's IOMMU that IOAS (with the device attached) cannot map: message windows,
 * memory that firmware keeps for the device. Guest RAM must not lie there.
 */
static int host_check_reserved(struct vfio_host *host, const struct vfio_device *dev, uint32_t ioas)
{
	const struct guest_memory *gm = host->dma.memory;
	struct iommufd_iova_range range[RANGES_MAX];
	unsigned count = RANGES_MAX;
	char why[VFIO_WHY_SIZE];
	uint64_t alignment;
	int ret = iommufd_ioas_iova_ranges(host->ctx, ioas, range, &count, &alignment);

	if (ret) {
		log_error("%s: iommufd does not say which addresses its IOMMU maps: %s; see "
			  "'postern doctor'",
			  dev->name, strerror(-ret));
		return ret;
	}
	for (unsigned i = 0; i < gm->count; i++) {
		const struct guest_region *r = &gm->region[i];

		ret = vfio_explain_reserved(dev->name, r->gpa, r->gpa + (r->size - 1), range, count,
					    why);
		if (ret) {
			log_error("%s", why);
			return ret;
		}
	}
	return 0;
}

static int host_map_region(struct vfio_host *host, const struct guest_region *r)
{
	const unsigned prot = IOMMUFD_PROT_READ | IOMMUFD_PROT_WRITE;
	uint32_t base = host->follow.base;
	int ret = -EOPNOTSUPP;

	/* The soft one reaches memory by its addresses alone. */
	if (r->fd >= 0 && !iommufd_is_soft(host->ctx))
		ret = iommufd_ioas_map_file(host->ctx, base, r->gpa, r->fd, r->fd_offset, r->size,
					    prot);
	/* Kernels before 6.13 cannot map files. */
	if (ret == -EOPNOTSUPP || ret == -ENOTTY)
		ret = iommufd_ioas_map(host->ctx, base, r->gpa, r->host, r->size, prot);
	return ret;
}

static int host_map_ram(struct vfio_host *host)
{
	const struct guest_memory *gm = host->dma.memory;
	struct rlimit limit = {.rlim_cur = RLIM_INFINITY};
	char why[VFIO_WHY_SIZE];
	uint64_t total = 0;
	unsigned i;
	int ret = 0;

	if (host->ram)
		return 0;
	if (host->lender) {
		ret = host_map_ram(host->lender);
		host->ram = !ret;
		return ret;
	}
	for (i = 0; i < gm->count; i++)
		total += gm->region[i].size;
	for (i = 0; i < gm->count; i++) {
		ret = host_map_region(host, &gm->region[i]);
		if (ret)
			goto unmap;
	}
	host->dma.counters.maps += gm->count;
	host->dma.counters.bytes_mapped += total;
	host->ram = true;
	return 0;
unmap:
	getrlimit(RLIMIT_MEMLOCK, &limit);
	vfio_explain_pin(total, gm->region[i].gpa, limit.rlim_cur, -ret, why);
	log_error("%s", why);
	while (i--)
		iommufd_ioas_unmap(host->ctx, host->follow.base, gm->region[i].gpa,
				   gm->region[i].size, NULL);
	return ret;
}

static void host_explain_attach(const struct vfio_device *dev, int error)
{
	char why[VFIO_WHY_SIZE];

	vfio_path_explain_attach(&vfio_system_roots, &dev->node, -error, why);
	log_error("%s", why);
}

int vfio_host_admit(struct vfio_host *host, struct vfio_device *dev)
{
	int ret;

	/* The empty space first: attaching there tells what the device's IOMMU reserves. */
	ret = dma_attach(&host->dma, dev, host->follow.blocked);
	if (ret) {
		host_explain_attach(dev, ret);
		return ret;
	}
	dev->attached = true;
	ret = host_check_reserved(host, dev, host->follow.blocked);
	if (ret)
		goto detach;
	ret = host_map_ram(host);
	if (ret)
		goto detach;
	return 0;
detach:
	vfio_host_detach(host, dev);
	return ret;
}

int vfio_host_attach_to(struct vfio_host *host, struct vfio_device *dev, uint32_t pt_id)
{
	return dma_attach(&host->dma, dev, pt_id);
}

static int host_steer(struct vfio_device *dev)
{
	int ret = dev->steering->add(dev->steering->opaque, dev);

	if (ret)
		log_error("%s: cannot be put behind the vIOMMU: %s", dev->name, strerror(-ret));
	dev->steered = !ret;
	return ret;
}

int vfio_host_attach(struct vfio_host *host, struct vfio_device *dev)
{
	int ret;

	if (!dev->iommu) {
		ret = dma_attach(&host->dma, dev, host->follow.base);
		if (ret) {
			host_explain_attach(dev, ret);
			return ret;
		}
		host->dma.counters.attaches++;
		return 0;
	}

	if (dev->steering)
		return host_steer(dev);

	/* The address of the device's requests, as the guest's tables know it. */
	dev->follower = (struct vfio_follower){
		.devid = dev->devfn,
		.device = dev,
		.name = dev->name,
		.attached = true,
		.ioas = host->follow.blocked,
	};
	ret = amd_iommu_engine_watch(host->engine, dev->follower.devid);
	if (ret) {
		log_error("%s: the vIOMMU has no room for another device: %s", dev->name,
			  strerror(-ret));
		return ret;
	}
	ret = vfio_follow_add(&host->follow, &dev->follower);
	if (ret) {
		amd_iommu_engine_unwatch(host->engine, dev->follower.devid);
		log_error("%s: cannot be attached to any I/O address space; see 'dmesg | grep -i "
			  "iommu'",
			  dev->name);
		return ret;
	}
	dev->following = true;
	return 0;
}

void vfio_host_detach(struct vfio_host *host, struct vfio_device *dev)
{
	if (dev->steered)
		dev->steering->remove(dev->steering->opaque, dev);
	dev->steered = false;
	if (dev->following) {
		amd_iommu_engine_unwatch(host->engine, dev->follower.devid);
		vfio_follow_remove(&host->follow, &dev->follower);
		dev->following = false;
		dev->attached = false;
	}
	if (dev->attached)
		dma_detach(&host->dma, dev);
	dev->attached = false;
}
