// SPDX-License-Identifier: Apache-2.0
#include "postern/dma_space.h"

/* Copies go page by page at worst; this many segments are resolved at a time. */
#define CHUNK_SEGMENTS 16
#define CHUNK_BYTES    (UINT64_C(8) * GUEST_PAGE_SIZE)

static int copy(struct dma_space *ds, uint64_t iova, uint8_t *buf, uint64_t len, unsigned access)
{
	if (len && iova + (len - 1) < iova)
		return -EINVAL;
	while (len) {
		struct dma_segment seg[CHUNK_SEGMENTS];
		uint64_t step = len < CHUNK_BYTES ? len : CHUNK_BYTES;
		struct dma_range range = {iova, iova + (step - 1)};
		struct dma_hold hold;
		int n;

		dma_hold_begin(&hold, ds);
		dma_hold_add(&hold, &range, 1);
		n = dma_space_map(ds, iova, step, access, seg, CHUNK_SEGMENTS);
		for (int i = 0; i < n; i++) {
			if (access == DMA_READ)
				memcpy(buf, seg[i].host, seg[i].len);
			else
				memcpy(seg[i].host, buf, seg[i].len);
			buf += seg[i].len;
		}
		dma_hold_end(&hold);
		if (n < 0)
			return n;
		iova += step;
		len -= step;
	}
	return 0;
}

int dma_space_read(struct dma_space *ds, uint64_t iova, void *buf, uint64_t len)
{
	return copy(ds, iova, buf, len, DMA_READ);
}

int dma_space_write(struct dma_space *ds, uint64_t iova, const void *buf, uint64_t len)
{
	return copy(ds, iova, (uint8_t *)(uintptr_t)buf, len, DMA_WRITE);
}

static int identity_map(struct dma_space *ds, uint64_t iova, uint64_t len, unsigned access,
			struct dma_segment *seg, unsigned max)
{
	const struct dma_identity *id = container_of(ds, struct dma_identity, ds);

	(void)access;
	if (!len || iova + (len - 1) < iova)
		return -EINVAL;
	if (!max)
		return -E2BIG;
	seg->host = guest_memory_at(id->memory, iova, len);
	seg->len = len;
	return seg->host ? 1 : -EFAULT;
}

static const struct dma_space_ops identity_ops = {.map = identity_map};

void dma_identity_init(struct dma_identity *id, const struct guest_memory *memory)
{
	id->ds.ops = &identity_ops;
	id->memory = memory;
}
