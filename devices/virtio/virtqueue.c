// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/virtqueue.h"

#include <errno.h>
#include <stdatomic.h>
#include <linux/virtio_ring.h>

#include "postern/bits.h"

_Static_assert(sizeof(struct vring_desc) == 16, "virtio 1.2, 2.7.5");
_Static_assert(sizeof(struct vring_used_elem) == 8, "virtio 1.2, 2.7.8");

/* Offsets in the avail and used rings; both start with le16 flags and le16 idx (2.7.6, 2.7.8). */
enum { RING_FLAGS = 0, RING_IDX = 2, RING_ENTRIES = 4 };

/*
 * An area may fall apart into as many segments as it touches pages. The largest, the descriptor
 * table, has 4 KiB.
 */
#define AREA_SEGMENTS 4

/* ---- areas ---- */

static int area_resolve(struct virtqueue *vq, struct virtqueue_area *area)
{
	struct dma_segment seg[AREA_SEGMENTS];
	uint64_t generation = dma_space_generation(vq->dma);
	int n;

	if (area->resolved && area->generation == generation)
		return 0;
	n = dma_space_map(vq->dma, area->iova, area->len, area->access, seg, AREA_SEGMENTS);
	if (n < 0)
		return -EFAULT;
	area->host = seg[0].host;
	for (int i = 1; i < n; i++) {
		if ((uint8_t *)seg[i - 1].host + seg[i - 1].len != seg[i].host)
			area->host = NULL;
	}
	area->resolved = true;
	area->generation = generation;
	return 0;
}

/*
 * Host address of LEN bytes at OFFSET. Entries are aligned to their size, at most 16, and areas to
 * at least 2 bytes: none of the accesses below crosses a page.
 */
static void *area_at(struct virtqueue *vq, struct virtqueue_area *area, uint32_t offset,
		     uint32_t len)
{
	struct dma_segment seg;

	if (area_resolve(vq, area))
		return NULL;
	if (area->host)
		return area->host + offset;
	if (dma_space_map(vq->dma, area->iova + offset, len, area->access, &seg, 1) != 1)
		return NULL;
	return seg.host;
}

/* What is loaded and stored in the queue's areas until dma_hold_end() is held. */
static void areas_hold(struct virtqueue *vq, struct dma_hold *hold)
{
	const struct dma_range range[] = {
		{vq->desc.iova, vq->desc.iova + (vq->desc.len - 1)},
		{vq->driver.iova, vq->driver.iova + (vq->driver.len - 1)},
		{vq->device.iova, vq->device.iova + (vq->device.len - 1)},
	};

	dma_hold_begin(hold, vq->dma);
	dma_hold_add(hold, range, ARRAY_SIZE(range));
}

static int load16(struct virtqueue *vq, struct virtqueue_area *area, uint32_t offset,
		  uint16_t *value)
{
	const uint16_t *p = area_at(vq, area, offset, sizeof(*p));

	if (!p)
		return -EFAULT;
	*value = __atomic_load_n(p, __ATOMIC_ACQUIRE);
	return 0;
}

static int store16(struct virtqueue *vq, struct virtqueue_area *area, uint32_t offset,
		   uint16_t value)
{
	uint16_t *p = area_at(vq, area, offset, sizeof(*p));

	if (!p)
		return -EFAULT;
	__atomic_store_n(p, value, __ATOMIC_RELEASE);
	return 0;
}

static int store32(struct virtqueue *vq, struct virtqueue_area *area, uint32_t offset,
		   uint32_t value)
{
	uint32_t *p = area_at(vq, area, offset, sizeof(*p));

	if (!p)
		return -EFAULT;
	__atomic_store_n(p, value, __ATOMIC_RELAXED);
	return 0;
}

int virtqueue_init(struct virtqueue *vq, struct dma_space *dma,
		   const struct virtqueue_params *params)
{
	uint32_t size = params->size;
	int ret;

	/* 2.7: a power of two; each part has its alignment. */
	if (!is_power_of_2(size) || size > VIRTQUEUE_SIZE_MAX)
		return -EINVAL;
	if (!is_aligned(params->desc, 16) || !is_aligned(params->driver, 2) ||
	    !is_aligned(params->device, 4))
		return -EINVAL;
	*vq = (struct virtqueue){
		.dma = dma,
		.params = *params,
		.desc = {.iova = params->desc, .len = 16 * size, .access = DMA_READ},
		.driver = {.iova = params->driver, .len = 6 + 2 * size, .access = DMA_READ},
		.device = {.iova = params->device, .len = 6 + 8 * size, .access = DMA_WRITE},
	};
	ret = area_resolve(vq, &vq->desc);
	if (!ret)
		ret = area_resolve(vq, &vq->driver);
	if (!ret)
		ret = area_resolve(vq, &vq->device);
	return ret;
}

/* ---- chains ---- */

static int desc_load(struct virtqueue *vq, uint16_t index, struct vring_desc *desc)
{
	const uint64_t *p = area_at(vq, &vq->desc, index * 16u, 16);
	uint64_t word;

	if (!p)
		return -EFAULT;
	desc->addr = __atomic_load_n(&p[0], __ATOMIC_RELAXED);
	word = __atomic_load_n(&p[1], __ATOMIC_RELAXED);
	desc->len = (uint32_t)word;
	desc->flags = (uint16_t)(word >> 32);
	desc->next = (uint16_t)(word >> 48);
	return 0;
}

/* Append one buffer, joining what is adjacent in host memory. */
static int chain_add(struct virtqueue_chain *chain, const struct vring_desc *desc)
{
	bool write = desc->flags & VRING_DESC_F_WRITE;
	uint64_t addr = desc->addr, left = desc->len;

	/* 2.7.4.2: what the device writes comes after what it reads. */
	if (!write && chain->writable)
		return -EPROTO;
	if (addr + left < addr)
		return -EFAULT;
	if (write)
		chain->writable_len += left;
	else
		chain->readable_len += left;
	/* 2.7.4.2: a chain has at most 2^32 bytes; the used ring counts in 32 bits. */
	if (chain->writable_len > UINT32_MAX || chain->readable_len > UINT32_MAX)
		return -EPROTO;
	while (left) {
		struct dma_segment seg[16];
		uint64_t step = left < 15 * GUEST_PAGE_SIZE ? left : 15 * GUEST_PAGE_SIZE;
		unsigned *count = write ? &chain->writable : &chain->readable;
		int n;

		/* In one go where one segment will do, else a piece that cannot need more. */
		n = dma_hold_map(&chain->hold, addr, left, write ? DMA_WRITE : DMA_READ, seg, 16);
		if (n > 0)
			step = left;
		else if (n == -E2BIG)
			n = dma_hold_map(&chain->hold, addr, step, write ? DMA_WRITE : DMA_READ,
					 seg, 16);
		if (n < 0)
			return -EFAULT;
		for (int i = 0; i < n; i++) {
			unsigned used = chain->readable + chain->writable;
			struct iovec *last = *count ? &chain->iov[used - 1] : NULL;

			if (last && (uint8_t *)last->iov_base + last->iov_len == seg[i].host) {
				last->iov_len += seg[i].len;
				continue;
			}
			if (used == chain->iov_max)
				return -E2BIG;
			/* The caller gave room for iov_max.
			 * NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
			chain->iov[used] = (struct iovec){seg[i].host, seg[i].len};
			++*count;
		}
		addr += step;
		left -= step;
	}
	return 0;
}

/* 2.7.5.3: an indirect table stands for the rest of the chain and holds no further table. */
static int chain_add_indirect(struct virtqueue *vq, struct virtqueue_chain *chain,
			      const struct vring_desc *table)
{
	struct vring_desc desc[VIRTQUEUE_SIZE_MAX];
	unsigned count = table->len / sizeof(*desc), index = 0;

	if (!vq->params.indirect || (table->flags & VRING_DESC_F_NEXT) || !count ||
	    table->len % sizeof(*desc) || count > VIRTQUEUE_SIZE_MAX)
		return -EPROTO;
	if (dma_space_read(vq->dma, table->addr, desc, table->len))
		return -EFAULT;
	/* Every step uses up one of COUNT, so that a loop in the table ends. */
	for (unsigned left = count; left; left--) {
		const struct vring_desc *d = &desc[index];
		int ret;

		if (d->flags & VRING_DESC_F_INDIRECT)
			return -EPROTO;
		ret = chain_add(chain, d);
		if (ret)
			return ret;
		if (!(d->flags & VRING_DESC_F_NEXT))
			return 0;
		index = d->next;
		if (index >= count)
			return -EPROTO;
	}
	return -EPROTO;
}

static int chain_read(struct virtqueue *vq, struct virtqueue_chain *chain)
{
	uint16_t index = chain->head;

	/* 2.7.5.3.1: no chain is longer than the queue. */
	for (unsigned left = vq->params.size; left; left--) {
		struct vring_desc desc;
		int ret = desc_load(vq, index, &desc);

		if (ret)
			return ret;
		if (desc.flags & VRING_DESC_F_INDIRECT)
			return chain_add_indirect(vq, chain, &desc);
		ret = chain_add(chain, &desc);
		if (ret)
			return ret;
		if (!(desc.flags & VRING_DESC_F_NEXT))
			return 0;
		index = desc.next;
		if (index >= vq->params.size)
			return -EPROTO;
	}
	return -EPROTO;
}

/* How many chains wait, or -errno. */
static int available(struct virtqueue *vq)
{
	uint16_t idx;

	if (load16(vq, &vq->driver, RING_IDX, &idx))
		return -EFAULT;
	idx = (uint16_t)(idx - vq->last_avail);
	/* Not more than there are descriptors for, those that the device still holds included. */
	if (idx > vq->params.size - vq->in_use)
		return -EPROTO;
	return idx;
}

static int pop(struct virtqueue *vq, struct virtqueue_chain *chain)
{
	uint32_t slot = vq->last_avail & (vq->params.size - 1u);
	int ret = available(vq);

	if (ret <= 0)
		return ret;
	ret = load16(vq, &vq->driver, RING_ENTRIES + 2 * slot, &chain->head);
	if (ret)
		return ret;
	if (chain->head >= vq->params.size)
		return -EPROTO;
	chain->readable = chain->writable = 0;
	chain->readable_len = chain->writable_len = 0;
	ret = chain_read(vq, chain);
	if (ret)
		return ret;
	vq->last_avail++;
	vq->in_use++;
	return 1;
}

int virtqueue_pop(struct virtqueue *vq, struct virtqueue_chain *chain)
{
	struct dma_hold areas;
	int ret;

	areas_hold(vq, &areas);
	dma_hold_begin(&chain->hold, vq->dma);
	ret = pop(vq, chain);
	if (ret <= 0)
		dma_hold_end(&chain->hold);
	dma_hold_end(&areas);
	return ret;
}

void virtqueue_unpop(struct virtqueue *vq, unsigned count)
{
	vq->last_avail = (uint16_t)(vq->last_avail - count);
	vq->in_use -= count;
}

static int push(struct virtqueue *vq, uint16_t head, uint32_t written)
{
	uint32_t slot = RING_ENTRIES + 8 * (vq->used_idx & (vq->params.size - 1u));

	if (store32(vq, &vq->device, slot, head) || store32(vq, &vq->device, slot + 4, written))
		return -EFAULT;
	vq->in_use--;
	vq->used_idx++;
	/* Release: the guest sees the element, and the data before it, when it sees the index. */
	return store16(vq, &vq->device, RING_IDX, vq->used_idx);
}

int virtqueue_push(struct virtqueue *vq, uint16_t head, uint32_t written)
{
	struct dma_hold areas;
	int ret;

	areas_hold(vq, &areas);
	ret = push(vq, head, written);
	dma_hold_end(&areas);
	return ret;
}

int virtqueue_wants_interrupt(struct virtqueue *vq)
{
	uint16_t old = vq->signalled_used, now = vq->used_idx, value;
	bool valid = vq->signalled_valid;
	uint32_t wish = vq->params.event_idx ? RING_ENTRIES + 2u * vq->params.size : RING_FLAGS;
	struct dma_hold areas;
	int ret;

	if (valid && old == now)
		return 0;
	vq->signalled_used = now;
	vq->signalled_valid = true;
	/* The index must be out before the guest's wish is read: it does it the other way round. */
	atomic_thread_fence(memory_order_seq_cst);
	areas_hold(vq, &areas);
	ret = load16(vq, &vq->driver, wish, &value);
	dma_hold_end(&areas);
	if (ret)
		return -EFAULT;
	if (!vq->params.event_idx)
		return !(value & VRING_AVAIL_F_NO_INTERRUPT);
	return !valid || vring_need_event(value, now, old);
}

int virtqueue_await(struct virtqueue *vq)
{
	return virtqueue_await_more(vq, 0);
}

int virtqueue_await_more(struct virtqueue *vq, uint16_t waiting)
{
	struct dma_hold areas;
	int ret = 0;

	areas_hold(vq, &areas);
	if (vq->params.event_idx)
		ret = store16(vq, &vq->device, RING_ENTRIES + 8u * vq->params.size,
			      (uint16_t)(vq->last_avail + waiting));
	/* As above: the wish must be out before the index is read again. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!ret)
		ret = available(vq);
	dma_hold_end(&areas);
	return ret < 0 ? ret : ret > waiting;
}

/* ---- buffers ---- */

static uint32_t iov_copy(const struct iovec *iov, unsigned count, uint8_t *out, const uint8_t *in,
			 uint32_t len)
{
	uint32_t done = 0;

	for (unsigned i = 0; i < count && done < len; i++) {
		uint32_t step = len - done;

		if (iov[i].iov_len < step)
			step = (uint32_t)iov[i].iov_len;
		if (out)
			memcpy(out + done, iov[i].iov_base, step);
		else if (in)
			memcpy(iov[i].iov_base, in + done, step);
		done += step;
	}
	/* The compiler may not go back to guest memory for what was copied. */
	atomic_signal_fence(memory_order_seq_cst);
	return done;
}

uint32_t iov_read(const struct iovec *iov, unsigned count, void *buf, uint32_t len)
{
	return iov_copy(iov, count, buf, NULL, len);
}

uint32_t iov_write(const struct iovec *iov, unsigned count, const void *buf, uint32_t len)
{
	return iov_copy(iov, count, NULL, buf, len);
}

void iov_drop_front(struct iovec **iov, unsigned *count, uint64_t len)
{
	while (*count && len >= (*iov)->iov_len) {
		len -= (*iov)->iov_len;
		++*iov;
		--*count;
	}
	if (*count) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + len;
		(*iov)->iov_len -= len;
	}
}

void iov_drop_back(struct iovec *iov, unsigned *count, uint64_t len)
{
	while (*count && len >= iov[*count - 1].iov_len) {
		len -= iov[*count - 1].iov_len;
		--*count;
	}
	if (*count)
		iov[*count - 1].iov_len -= len;
}
