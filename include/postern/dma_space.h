/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One device's view of memory.
 *
 * Every emulated device reads and writes guest memory through a dma_space, and none knows whether a
 * vIOMMU stands behind it. An identity space passes addresses through; a vIOMMU's space translates
 * them, reports faults to the guest as the hardware would, and refuses the access.
 *
 * All functions may be called from any thread; a translation that hits takes no lock.
 */
#ifndef POSTERN_DMA_SPACE_H
#define POSTERN_DMA_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "postern/guest_memory.h"

enum dma_access { DMA_READ = 1, DMA_WRITE = 2 };

struct dma_segment {
	void *host;
	uint64_t len; /* bytes */
};

struct dma_space;

struct dma_range {
	uint64_t iova, last;
};

/* Ranges that a hold tells apart; more of them are taken for one, and what lies between too. */
#define DMA_HOLD_RANGES 16

/*
 * A use of translations that lasts: a request in flight, an access to a ring. Embedded in its user,
 * which must end it before it goes away.
 */
struct dma_hold {
	struct dma_space *ds;
	unsigned count;
	bool stale;			 /* what follows is the space's */
	uint8_t access[DMA_HOLD_RANGES]; /* enum dma_access; 0: not known what it was resolved to */
	uint64_t resolved;		 /* a digest of what the ranges were resolved to */
	struct dma_hold *next, **at;
	struct dma_range range[DMA_HOLD_RANGES];
};

struct dma_ats_ops;

struct dma_space_ops {
	/* Address translation services, see postern/dma_ats.h. NULL where there are none. */
	const struct dma_ats_ops *ats;
	/* See dma_space_map(). */
	int (*map)(struct dma_space *ds, uint64_t iova, uint64_t len, unsigned access,
		   struct dma_segment *seg, unsigned max);
	/* See dma_space_generation(). NULL where translations never change. */
	uint64_t (*generation)(struct dma_space *ds);
	/* See dma_hold_add() and dma_hold_end(); both NULL where translations never change. */
	void (*hold)(struct dma_space *ds, struct dma_hold *hold, const struct dma_range *range,
		     unsigned count, unsigned access);
	/* See dma_hold_map(). NULL where nobody asks. */
	void (*resolved)(struct dma_space *ds, struct dma_hold *hold, uint64_t iova,
			 const struct dma_segment *seg, unsigned count);
	void (*release)(struct dma_space *ds, struct dma_hold *hold);
};

struct dma_space {
	const struct dma_space_ops *ops;
};

/*
 * Resolve [iova, iova + len) for ACCESS (enum dma_access, or-ed) into at most MAX host segments, in
 * order. Returns how many were used; -EFAULT where the device may not do this (the fault has been
 * reported to the guest); -E2BIG where MAX is too small; -EINVAL for len 0 or a range that wraps.
 *
 * A segment is valid until dma_space_generation() changes. Guest RAM is never unmapped while
 * devices exist, so that a stale segment is a wrong answer, never a wild pointer.
 */
static inline int dma_space_map(struct dma_space *ds, uint64_t iova, uint64_t len, unsigned access,
				struct dma_segment *seg, unsigned max)
{
	return ds->ops->map(ds, iova, len, access, seg, max);
}

/* A number that changes whenever earlier results of dma_space_map() may have become stale. */
static inline uint64_t dma_space_generation(struct dma_space *ds)
{
	return ds->ops->generation ? ds->ops->generation(ds) : 0;
}

/*
 * Who uses what dma_space_map() resolved for longer than it holds still must hold the range, from
 * before the call to after the last access: an invalidation of a range that is held changes later
 * translations at once, but the guest is told that it is complete only when the hold has ended.
 * None of these waits.
 */
static inline void dma_hold_begin(struct dma_hold *hold, struct dma_space *ds)
{
	hold->ds = ds;
	hold->count = 0;
}

/* Ranges that wrap are left out: dma_space_map() refuses them. */
static inline void dma_hold_add(struct dma_hold *hold, const struct dma_range *range,
				unsigned count)
{
	if (hold->ds->ops->hold)
		hold->ds->ops->hold(hold->ds, hold, range, count, 0);
}

/*
 * dma_hold_add() and dma_space_map() in one. The space knows then what the user has in hand: an
 * invalidation that leaves these translations as they were does not wait for the hold to end. To
 * try again with a smaller LEN after -E2BIG is allowed.
 */
static inline int dma_hold_map(struct dma_hold *hold, uint64_t iova, uint64_t len, unsigned access,
			       struct dma_segment *seg, unsigned max)
{
	const struct dma_space_ops *ops = hold->ds->ops;
	const struct dma_range range = {iova, iova + (len - 1)};
	int n;

	if (len && range.last >= iova && ops->hold)
		ops->hold(hold->ds, hold, &range, 1, access);
	n = dma_space_map(hold->ds, iova, len, access, seg, max);
	if (n > 0 && ops->resolved)
		ops->resolved(hold->ds, hold, iova, seg, (unsigned)n);
	return n;
}

/* Ending it again does nothing. */
static inline void dma_hold_end(struct dma_hold *hold)
{
	if (hold->count)
		hold->ds->ops->release(hold->ds, hold);
	hold->count = 0;
}

/* Copy from or to the device's address IOVA; errors as dma_space_map(), possibly after a part. */
int dma_space_read(struct dma_space *ds, uint64_t iova, void *buf, uint64_t len);
int dma_space_write(struct dma_space *ds, uint64_t iova, const void *buf, uint64_t len);

/* The space of a device that no IOMMU translates: IOVA = GPA. */
struct dma_identity {
	struct dma_space ds;
	const struct guest_memory *memory;
};

/* MEMORY must outlive ID. */
void dma_identity_init(struct dma_identity *id, const struct guest_memory *memory);

#endif
