/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest RAM: from a guest physical address to bounds-checked host memory.
 *
 * This is the only way in which any component touches guest RAM. The guest can write its RAM at any
 * moment: a value that decides anything is loaded once, into a local, and then judged.
 *
 * The region table is written once, before the first vCPU runs, and read without locks afterwards.
 */
#ifndef POSTERN_GUEST_MEMORY_H
#define POSTERN_GUEST_MEMORY_H

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "postern/bits.h"

#define GUEST_MEMORY_REGIONS 4

struct guest_region {
	uint64_t gpa;	    /* first guest physical address, page aligned */
	uint64_t size;	    /* bytes, page aligned, not 0 */
	uint8_t *host;	    /* where the region is mapped in this process */
	int fd;		    /* memfd behind it, or -1 */
	uint64_t fd_offset; /* of the region's first byte in fd */
};

struct guest_memory {
	unsigned count;
	struct guest_region region[GUEST_MEMORY_REGIONS]; /* ascending gpa, disjoint */
};

/* Host address of [gpa, gpa + len), or NULL unless all of it lies in one region. */
static inline void *guest_memory_at(const struct guest_memory *gm, uint64_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < gm->count; i++) {
		const struct guest_region *r = &gm->region[i];

		if (gpa >= r->gpa && range_fits(gpa - r->gpa, len, r->size))
			return r->host + (gpa - r->gpa);
	}
	return NULL;
}

/* Copy LEN bytes out of or into guest RAM; -EFAULT, with nothing copied, unless all of it is RAM.
 */
static inline int guest_memory_read(const struct guest_memory *gm, uint64_t gpa, void *buf,
				    uint64_t len)
{
	const void *src = guest_memory_at(gm, gpa, len);

	if (!src)
		return -EFAULT;
	memcpy(buf, src, len);
	return 0;
}

static inline int guest_memory_write(const struct guest_memory *gm, uint64_t gpa, const void *buf,
				     uint64_t len)
{
	void *dst = guest_memory_at(gm, gpa, len);

	if (!dst)
		return -EFAULT;
	memcpy(dst, buf, len);
	return 0;
}

/* One aligned, untorn 64-bit load or store; -EFAULT outside RAM or when GPA is not 8-aligned. */
static inline int guest_memory_load64(const struct guest_memory *gm, uint64_t gpa, uint64_t *value)
{
	const uint64_t *p = is_aligned(gpa, 8) ? guest_memory_at(gm, gpa, 8) : NULL;

	if (!p)
		return -EFAULT;
	*value = __atomic_load_n(p, __ATOMIC_ACQUIRE);
	return 0;
}

static inline int guest_memory_store64(const struct guest_memory *gm, uint64_t gpa, uint64_t value)
{
	uint64_t *p = is_aligned(gpa, 8) ? guest_memory_at(gm, gpa, 8) : NULL;

	if (!p)
		return -EFAULT;
	__atomic_store_n(p, value, __ATOMIC_RELEASE);
	return 0;
}

#endif
