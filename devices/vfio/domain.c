// SPDX-License-Identifier: Apache-2.0
/*
 * Assigned devices follow the guest's device table: each is attached to the IOAS of all RAM
 * (identity), to an empty one (blocked), or to the mirror of its translation domain, which devices
 * with the same domain, table and permissions share. Attaching replaces in one step, so that a
 * device is never between two spaces.
 *
 * Whatever goes wrong ends in the empty IOAS: a device whose mirror cannot be trusted does no DMA.
 */
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/shadow.h"
#include "postern/log.h"

void vfio_follow_init(struct vfio_follow *follow, struct vfio_dma *dma)
{
	*follow = (struct vfio_follow){.dma = dma, .limit = VFIO_SHADOW_CHUNKS_MAX};
	pthread_mutex_init(&follow->lock, NULL);
}

void vfio_follow_fini(struct vfio_follow *follow)
{
	pthread_mutex_destroy(&follow->lock);
}

static void follower_attach(struct vfio_follow *follow, struct vfio_follower *f, uint32_t ioas)
{
	struct vfio_dma *dma = follow->dma;
	int ret;

	if (f->attached && f->ioas == ioas)
		return;
	ret = dma->ops->attach(dma, f->device, ioas);
	if (ret && ioas != follow->blocked) {
		dma->counters.failures++;
		log_guest("device %s cannot use its translation domain: %s; its DMA is blocked (a "
			  "mapping may lie in an address range that the host's IOMMU reserves)",
			  f->name, strerror(-ret));
		ioas = follow->blocked;
		ret = dma->ops->attach(dma, f->device, ioas);
	}
	if (ret) {
		dma->counters.failures++;
		dma->ops->detach(dma, f->device);
		f->attached = false;
		return;
	}
	dma->counters.attaches++;
	f->attached = true;
	f->ioas = ioas;
}

static bool state_same(const struct amd_device_state *a, const struct amd_device_state *b)
{
	if (a->kind != b->kind || a->domain != b->domain || a->prot != b->prot ||
	    a->excluded != b->excluded)
		return false;
	if (a->excluded &&
	    (a->excluded_first != b->excluded_first || a->excluded_last != b->excluded_last))
		return false;
	if (amd_device_has_tables(a) &&
	    (a->mode != b->mode || (a->mode && (a->root != b->root || a->had != b->had))))
		return false;
	return a->kind != AMD_TRANSLATION_V2 ||
	       (a->gcr3 == b->gcr3 && a->gcr3_gpa == b->gcr3_gpa &&
		a->gcr3_levels == b->gcr3_levels && a->guest_levels == b->guest_levels);
}

static struct vfio_domain *domain_get(struct vfio_follow *follow,
				      const struct amd_device_state *state)
{
	struct vfio_domain *d;

	for (d = follow->domains; d; d = d->next) {
		if (!d->failed && state_same(&d->shadow.state, state)) {
			d->users++;
			return d;
		}
	}
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	if (vfio_shadow_init(&d->shadow, follow->dma, state, follow->limit)) {
		free(d);
		return NULL;
	}
	d->users = 1;
	d->next = follow->domains;
	follow->domains = d;
	follow->dma->counters.domains++;
	return d;
}

static void domain_put(struct vfio_follow *follow, struct vfio_domain *d)
{
	struct vfio_domain **link;

	if (!d || --d->users)
		return;
	for (link = &follow->domains; *link != d; link = &(*link)->next)
		;
	*link = d->next;
	follow->dma->counters.domains--;
	if (!d->failed)
		vfio_shadow_fini(&d->shadow);
	free(d);
}

/* Nobody may use D's mappings any more, right now. */
static void domain_fail(struct vfio_follow *follow, struct vfio_domain *d, int error)
{
	follow->dma->counters.failures++;
	log_guest("IOMMU domain %u cannot be mirrored for assigned devices: %s; their DMA is "
		  "blocked until their device table entries change",
		  d->shadow.state.domain,
		  error == -ENOSPC  ? "it has too many mappings"
		  : error == -E2BIG ? "its tables are too large"
				    : strerror(-error));
	for (struct vfio_follower *f = follow->followers; f; f = f->next) {
		if (f->domain == d)
			follower_attach(follow, f, follow->blocked);
	}
	d->failed = true;
	vfio_shadow_fini(&d->shadow);
}

static void domain_sync(struct vfio_follow *follow, struct vfio_domain *d, uint64_t iova,
			uint64_t last)
{
	int ret;

	if (d->failed)
		return;
	ret = vfio_shadow_sync(&d->shadow, iova, last);
	if (ret)
		domain_fail(follow, d, ret);
}

/* All of D, once in a round: devices share it. A new mirror is empty, and of no round. */
static void domain_sync_whole(struct vfio_follow *follow, struct vfio_domain *d)
{
	if (d->round != follow->round)
		domain_sync(follow, d, 0, UINT64_MAX);
	d->round = follow->round;
}

/* Where F belongs now. With the lock held, in a round of the caller's. */
static void follower_update(struct vfio_follow *follow, struct vfio_follower *f)
{
	struct vfio_domain *old = f->domain;
	struct amd_device_state state = {.kind = AMD_TRANSLATION_BLOCKED};

	follow->dma->ops->device_state(follow->dma, f->devid, &state);
	f->domain = NULL;
	if (!state.excluded && (state.kind == AMD_TRANSLATION_BLOCKED || !state.prot)) {
		follower_attach(follow, f, follow->blocked);
	} else if (state.kind == AMD_TRANSLATION_IDENTITY && state.prot == (DMA_READ | DMA_WRITE)) {
		follower_attach(follow, f, follow->base);
	} else {
		f->domain = domain_get(follow, &state);
		if (!f->domain) {
			follow->dma->counters.failures++;
			follower_attach(follow, f, follow->blocked);
		} else {
			domain_sync_whole(follow, f->domain);
			if (!f->domain->failed)
				follower_attach(follow, f, f->domain->shadow.ioas);
			else /* the mirror was new, and the device still in its old place */
				follower_attach(follow, f, follow->blocked);
		}
	}
	domain_put(follow, old);
}

int vfio_follow_add(struct vfio_follow *follow, struct vfio_follower *f)
{
	int ret = 0;

	pthread_mutex_lock(&follow->lock);
	f->next = follow->followers;
	follow->followers = f;
	follow->round++;
	follower_update(follow, f);
	if (!f->attached) {
		follow->followers = f->next;
		domain_put(follow, f->domain);
		f->domain = NULL;
		ret = -EIO;
	}
	pthread_mutex_unlock(&follow->lock);
	return ret;
}

void vfio_follow_remove(struct vfio_follow *follow, struct vfio_follower *f)
{
	struct vfio_follower **link;

	pthread_mutex_lock(&follow->lock);
	for (link = &follow->followers; *link; link = &(*link)->next) {
		if (*link == f) {
			*link = f->next;
			break;
		}
	}
	if (f->attached)
		follow->dma->ops->detach(follow->dma, f->device);
	f->attached = false;
	domain_put(follow, f->domain);
	f->domain = NULL;
	pthread_mutex_unlock(&follow->lock);
}

void vfio_follow_device_changed(struct vfio_follow *follow, uint16_t devid)
{
	pthread_mutex_lock(&follow->lock);
	follow->round++;
	for (struct vfio_follower *f = follow->followers; f; f = f->next) {
		if (f->devid == devid)
			follower_update(follow, f);
	}
	pthread_mutex_unlock(&follow->lock);
}

void vfio_follow_all_changed(struct vfio_follow *follow)
{
	pthread_mutex_lock(&follow->lock);
	follow->round++;
	for (struct vfio_follower *f = follow->followers; f; f = f->next)
		follower_update(follow, f);
	pthread_mutex_unlock(&follow->lock);
}

void vfio_follow_pages_changed(struct vfio_follow *follow, uint16_t domain, uint64_t iova,
			       uint64_t last)
{
	pthread_mutex_lock(&follow->lock);
	for (struct vfio_domain *d = follow->domains; d; d = d->next) {
		if (amd_device_has_tables(&d->shadow.state) && d->shadow.state.domain == domain)
			domain_sync(follow, d, iova, last);
	}
	pthread_mutex_unlock(&follow->lock);
}
