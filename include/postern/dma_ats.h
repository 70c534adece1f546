/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address translation services: a device that keeps translations of its own, makes requests with a
 * PASID and asks for pages that are not there (PCI Express Base 5.0, chapter 10 and section 6.20).
 *
 * A device asks through its dma_space. One that no IOMMU with these services translates says
 * -EOPNOTSUPP throughout. What the IOMMU says in return arrives at the device's struct dma_atc.
 *
 * All functions may be called from any thread. None may be called from a callback of struct
 * dma_atc_ops, nor with a lock held that these callbacks take.
 */
#ifndef POSTERN_DMA_ATS_H
#define POSTERN_DMA_ATS_H

#include <errno.h>

#include "postern/dma_space.h"

#define DMA_NO_PASID	 UINT32_MAX /* those have 20 bits */
#define DMA_PRG_INDEXES	 512	    /* page request groups that a device can tell apart */
#define DMA_ATC_REQUESTS 32	    /* invalidations that a device must be able to hold at a time */

/* An Invalidate Request: forget what was translated for [iova, last]. */
struct dma_atc_invalidation {
	uint32_t pasid; /* for requests with this one, or DMA_NO_PASID */
	bool untagged;	/* for requests without PASID */
	uint64_t iova, last;
	uint32_t tag; /* for dma_atc_invalidated() */
};

/* Response Code of a Page Request Group Response. */
enum dma_prg_response { DMA_PRG_SUCCESS = 0, DMA_PRG_INVALID = 1, DMA_PRG_FAILURE = 15 };

struct dma_atc;

/*
 * What the IOMMU tells a device, on any thread. It holds its own lock meanwhile: a callback takes
 * note, has another thread do what there is to do, and returns.
 */
struct dma_atc_ops {
	/*
	 * True: nothing of INV is cached or in use any more. False: dma_atc_invalidated() will say
	 * so. The guest is told that the invalidation is complete only then.
	 */
	bool (*invalidate)(struct dma_atc *atc, const struct dma_atc_invalidation *inv);
	/* The answer to the page requests of group INDEX; PASID may be DMA_NO_PASID. */
	void (*page_response)(struct dma_atc *atc, uint32_t pasid, unsigned index,
			      enum dma_prg_response response);
};

/* A device's address translation cache. Embedded in its device. */
struct dma_atc {
	const struct dma_atc_ops *ops;
	uint16_t devid; /* what follows is the space's */
	struct dma_atc *next;
};

/* What a translation request found. */
struct dma_translation {
	uint64_t iova, length; /* the page, naturally aligned */
	uint64_t address;      /* for dma_map_translated() */
	unsigned access;       /* of what was asked for; 0 where the page is not there */
};

struct dma_page_request {
	uint64_t iova;
	unsigned access; /* enum dma_access; 0 with LAST is a PASID stop marker of no effect */
	bool execute, privileged;
	bool last;	/* of its group: an answer follows */
	unsigned index; /* of its group, below DMA_PRG_INDEXES */
};

struct dma_ats_ops {
	/* See the functions below. */
	int (*attach)(struct dma_space *ds, struct dma_atc *atc);
	void (*detach)(struct dma_space *ds, struct dma_atc *atc);
	void (*invalidated)(struct dma_space *ds, uint32_t tag);
	int (*pasid_new)(struct dma_space *ds, uint32_t pasid, struct dma_space **out);
	void (*pasid_free)(struct dma_space *ds);
	int (*translate)(struct dma_space *ds, uint64_t iova, unsigned access,
			 struct dma_translation *t);
	int (*map_translated)(struct dma_space *ds, uint64_t address, uint64_t len, unsigned access,
			      struct dma_segment *seg, unsigned max);
	int (*page_request)(struct dma_space *ds, const struct dma_page_request *request,
			    enum dma_prg_response *response);
};

/*
 * From now on ATC hears of invalidations and responses for the requester of DS. -EOPNOTSUPP: there
 * is no IOMMU that a device with a cache can stand behind; -EBUSY: the requester has a cache.
 */
static inline int dma_atc_attach(struct dma_space *ds, struct dma_atc *atc)
{
	return ds->ops->ats ? ds->ops->ats->attach(ds, atc) : -EOPNOTSUPP;
}

/* No callback runs any more when this returns; what was not answered yet counts as complete. */
static inline void dma_atc_detach(struct dma_space *ds, struct dma_atc *atc)
{
	if (ds->ops->ats)
		ds->ops->ats->detach(ds, atc);
}

/* Invalidate Completion of the invalidation with TAG. A tag that is not open any more: nothing. */
static inline void dma_atc_invalidated(struct dma_space *ds, uint32_t tag)
{
	if (ds->ops->ats)
		ds->ops->ats->invalidated(ds, tag);
}

/*
 * A space for requests with PASID of the requester of DS, which has none itself. Freed before DS.
 * -EOPNOTSUPP; -EINVAL for a PASID of more than 20 bits; -ENOMEM.
 */
static inline int dma_pasid_new(struct dma_space *ds, uint32_t pasid, struct dma_space **out)
{
	return ds->ops->ats ? ds->ops->ats->pasid_new(ds, pasid, out) : -EOPNOTSUPP;
}

static inline void dma_pasid_free(struct dma_space *ds)
{
	if (ds)
		ds->ops->ats->pasid_free(ds);
}

/*
 * Translation Request for the page of IOVA. 0 and *T, also where there is no page: a device may
 * then make a page request. -EFAULT where the device may not ask (reported to the guest).
 *
 * An invalidation may come while this runs: who caches *T must see to it that none did.
 */
static inline int dma_translate(struct dma_space *ds, uint64_t iova, unsigned access,
				struct dma_translation *t)
{
	return ds->ops->ats ? ds->ops->ats->translate(ds, iova, access, t) : -EOPNOTSUPP;
}

/* dma_space_map() for a request with a translated address, inside what dma_translate() gave. */
static inline int dma_map_translated(struct dma_space *ds, uint64_t address, uint64_t len,
				     unsigned access, struct dma_segment *seg, unsigned max)
{
	return ds->ops->ats ? ds->ops->ats->map_translated(ds, address, len, access, seg, max)
			    : -EOPNOTSUPP;
}

/*
 * Page Request. 0: software has it, and page_response() follows for the last one of the group. 1:
 * the IOMMU has answered the group itself, with *RESPONSE. -EINVAL for an index out of range.
 */
static inline int dma_page_request(struct dma_space *ds, const struct dma_page_request *request,
				   enum dma_prg_response *response)
{
	return ds->ops->ats ? ds->ops->ats->page_request(ds, request, response) : -EOPNOTSUPP;
}

#endif
