/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device side of one split virtqueue (virtio 1.2, 2.7). Internal to devices/virtio/.
 *
 * All of it belongs to the event loop's thread. The guest owns the memory and may change it at any
 * moment: each value is loaded once, into a local, and judged there. Parameters are latched by
 * virtqueue_init() and nothing the guest writes later changes them.
 */
#ifndef POSTERN_VIRTQUEUE_H
#define POSTERN_VIRTQUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "postern/dma_space.h"

#define VIRTQUEUE_SIZE_MAX 256u

struct virtqueue_params {
	uint16_t size;
	bool event_idx, indirect;
	uint64_t desc, driver, device; /* addresses of descriptor table, avail and used rings */
};

/* One of a queue's three areas. */
struct virtqueue_area {
	uint64_t iova;
	uint32_t len;
	unsigned access;
	bool resolved;
	uint8_t *host; /* NULL where the area is not contiguous in host memory */
	uint64_t generation;
};

struct virtqueue {
	struct dma_space *dma;
	struct virtqueue_params params;
	struct virtqueue_area desc, driver, device;
	uint16_t last_avail, used_idx, signalled_used;
	bool signalled_valid;
	unsigned in_use; /* chains taken and not yet returned */
};

/* A request's buffers: first what the device may read, then what it may write. */
struct virtqueue_chain {
	uint16_t head;
	unsigned readable, writable; /* entries of iov */
	uint64_t readable_len, writable_len;
	struct iovec *iov; /* the caller's, iov_max entries */
	unsigned iov_max;
	struct dma_hold hold; /* of all buffers */
};

/* -EINVAL for parameters that the specification forbids, -EFAULT for areas that are not memory. */
int virtqueue_init(struct virtqueue *vq, struct dma_space *dma,
		   const struct virtqueue_params *params);

/*
 * Take the next chain, whose buffers the caller holds until it calls dma_hold_end(&chain->hold)
 * after its last access to them, whatever becomes of the queue. 1; 0 where none is available; or
 * -errno after which the queue must not be used until the guest has reset the device: -EPROTO (the
 * ring or the chain breaks the rules), -EFAULT (an address that the device may not access), -E2BIG
 * (more than iov_max segments).
 */
int virtqueue_pop(struct virtqueue *vq, struct virtqueue_chain *chain);

/* Put the COUNT chains that were taken last back, as if they had not been taken. */
void virtqueue_unpop(struct virtqueue *vq, unsigned count);

/* Return a chain with WRITTEN bytes from the start of its writable part. 0 or -EFAULT. */
int virtqueue_push(struct virtqueue *vq, uint16_t head, uint32_t written);

/* Whether the guest wants an interrupt for what was pushed since the last call. 1, 0, -EFAULT. */
int virtqueue_wants_interrupt(struct virtqueue *vq);

/* Ask for notification of the next chain. 1: one is there already; 0; -EFAULT, -EPROTO. */
int virtqueue_await(struct virtqueue *vq);
/* The same where WAITING chains are there already and do not suffice: 1 for more than those. */
int virtqueue_await_more(struct virtqueue *vq, uint16_t waiting);

/* Copy at most LEN bytes from or to the first bytes of IOV; returns how many. */
uint32_t iov_read(const struct iovec *iov, unsigned count, void *buf, uint32_t len);
uint32_t iov_write(const struct iovec *iov, unsigned count, const void *buf, uint32_t len);
/* Drop LEN bytes from the front or the back; LEN is at most what there is. */
void iov_drop_front(struct iovec **iov, unsigned *count, uint64_t len);
void iov_drop_back(struct iovec *iov, unsigned *count, uint64_t len);

#endif
