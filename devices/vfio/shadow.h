/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shadowing the guest's IOMMU tables, v1 and v2, into kernel I/O address spaces.
 *
 *   vfio_chunk_tree  the mappings that one IOAS holds now, by IOVA
 *   vfio_shadow      one IOAS that mirrors one guest translation domain
 *   vfio_follow      which device is attached to which of them
 *
 * What they do to the world goes through struct vfio_dma, so that tests see every step.
 */
#ifndef POSTERN_VFIO_SHADOW_H
#define POSTERN_VFIO_SHADOW_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "iommufd/amd/engine.h"
#include "postern/guest_memory.h"

struct vfio_dma;

typedef int vfio_leaf_visit(void *opaque, uint64_t iova, uint64_t gpa, uint64_t length,
			    unsigned prot);

/* Each returns 0 or -errno where it returns anything. PROT is enum dma_access. */
struct vfio_dma_ops {
	int (*ioas_alloc)(struct vfio_dma *dma, uint32_t *ioas);
	/* Drops whatever the IOAS still maps. No device may be attached to it. */
	void (*ioas_destroy)(struct vfio_dma *dma, uint32_t ioas);
	/* Map guest memory at GPA; [gpa, gpa + length) is guest RAM. */
	int (*map)(struct vfio_dma *dma, uint32_t ioas, uint64_t iova, uint64_t gpa,
		   uint64_t length, unsigned prot);
	int (*unmap)(struct vfio_dma *dma, uint32_t ioas, uint64_t iova, uint64_t length);
	/* Replaces the present attachment in one step. */
	int (*attach)(struct vfio_dma *dma, void *device, uint32_t ioas);
	/* Afterwards the device can do no DMA. */
	void (*detach)(struct vfio_dma *dma, void *device);
	void (*device_state)(struct vfio_dma *dma, uint16_t devid, struct amd_device_state *state);
	/* As amd_iommu_engine_walk(). */
	int (*walk)(struct vfio_dma *dma, const struct amd_device_state *state, uint64_t iova,
		    uint64_t last, uint64_t budget, vfio_leaf_visit *visit, void *opaque);
};

struct vfio_counters {
	atomic_uint_fast64_t domains, maps, unmaps, bytes_mapped, attaches, syncs, failures;
	atomic_uint_fast64_t skipped;
};

struct vfio_dma {
	const struct vfio_dma_ops *ops;
	const struct guest_memory *memory;
	struct vfio_counters counters;
};

/* ---- the mappings of one IOAS ---- */

struct vfio_chunk {
	uint64_t iova, gpa, length;
	unsigned prot;
	uint32_t priority;
	struct vfio_chunk *left, *right;
};

static inline uint64_t vfio_chunk_last(const struct vfio_chunk *c)
{
	return c->iova + (c->length - 1);
}

/* The chunk that holds IOVA, or NULL. */
struct vfio_chunk *vfio_chunk_find(struct vfio_chunk *tree, uint64_t iova);
/* Take TREE apart: into *BELOW those that start below IOVA, into *ABOVE the others. */
void vfio_chunk_split(struct vfio_chunk *tree, uint64_t iova, struct vfio_chunk **below,
		      struct vfio_chunk **above);
/* One tree of both; everything in BELOW starts below everything in ABOVE. */
struct vfio_chunk *vfio_chunk_join(struct vfio_chunk *below, struct vfio_chunk *above);
/* TREE as an ascending list linked by right. */
struct vfio_chunk *vfio_chunk_list(struct vfio_chunk *tree);

/* ---- one domain ---- */

/* A mirror is refused rather than grown past this: the host pays about 300 bytes for each. */
#define VFIO_SHADOW_CHUNKS_MAX (1u << 20)
/* Table entries that one synchronisation reads: 128 GiB in 4 KiB pages. */
#define VFIO_SHADOW_WALK_MAX (UINT64_C(1) << 25)
/* Mappings end at these lines, so that taking a page out of one disturbs and re-reads little. */
#define VFIO_SHADOW_LINE (2 * MIB)

struct vfio_shadow {
	struct vfio_dma *dma;
	struct amd_device_state state;
	uint32_t ioas;
	struct vfio_chunk *tree;
	unsigned count, limit;
	uint32_t random;
};

/* An IOAS that maps nothing yet. */
int vfio_shadow_init(struct vfio_shadow *shadow, struct vfio_dma *dma,
		     const struct amd_device_state *state, unsigned limit);
/* No device is attached any more. */
void vfio_shadow_fini(struct vfio_shadow *shadow);
/*
 * Make [iova, last] equal to what the guest's tables say now. What stays the same stays mapped
 * throughout. On -errno (-ENOSPC: more than LIMIT mappings; -E2BIG: too many tables; else the
 * kernel's) the mirror is neither the old nor the new state and may serve no device.
 */
int vfio_shadow_sync(struct vfio_shadow *shadow, uint64_t iova, uint64_t last);

/* ---- all domains and devices ---- */

struct vfio_domain {
	struct vfio_shadow shadow;
	unsigned users;
	bool failed;	/* serves nobody: its devices are blocked until their DTEs change */
	uint64_t round; /* of FOLLOW, in which its tables were last read whole */
	struct vfio_domain *next;
};

struct vfio_follower {
	uint16_t devid;
	void *device; /* for attach and detach */
	const char *name;
	bool attached;
	uint32_t ioas; /* if attached */
	struct vfio_domain *domain;
	struct vfio_follower *next;
};

struct vfio_follow {
	struct vfio_dma *dma;
	uint32_t base, blocked; /* IOAS of all RAM, and of nothing */
	unsigned limit;		/* chunks a domain */
	uint64_t round;		/* of changes, in each of which a domain is read whole once */
	struct vfio_domain *domains;
	struct vfio_follower *followers;
	/*
	 * Taken inside the unit's mutex by the listener. Others take it with all vCPUs stopped
	 * only, because they ask the unit while they hold it.
	 */
	pthread_mutex_t lock;
};

void vfio_follow_init(struct vfio_follow *follow, struct vfio_dma *dma);
void vfio_follow_fini(struct vfio_follow *follow);
/* Attach F as its DTE says; from then on it moves with it. */
int vfio_follow_add(struct vfio_follow *follow, struct vfio_follower *f);
/* Leaves the device detached. */
void vfio_follow_remove(struct vfio_follow *follow, struct vfio_follower *f);
void vfio_follow_device_changed(struct vfio_follow *follow, uint16_t devid);
/* Every DTE and page may have changed. */
void vfio_follow_all_changed(struct vfio_follow *follow);
void vfio_follow_pages_changed(struct vfio_follow *follow, uint16_t domain, uint64_t iova,
			       uint64_t last);

#endif
