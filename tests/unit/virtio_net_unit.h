/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's driver of a network device with several queues. */
#ifndef POSTERN_TESTS_VIRTIO_NET_UNIT_H
#define POSTERN_TESTS_VIRTIO_NET_UNIT_H

#include "devices/virtio/virtio_net.h"
#include "tests/unit/virtio_driver.h"

#define V1	BIT(32)
#define MRG	BIT(VIRTIO_NET_F_MRG_RXBUF)
#define CTRL_VQ BIT(VIRTIO_NET_F_CTRL_VQ)
#define MQ	BIT(VIRTIO_NET_F_MQ)
#define WR	VRING_DESC_F_WRITE
#define NEXT	VRING_DESC_F_NEXT

#define SIZE 64u

static struct virtio_net *net;
static struct virtio_pci *vp;

/* ---- rings: one set of areas a queue, and memory for its buffers ---- */

static uint16_t put[VIRTIO_QUEUES_MAX];

static uint64_t ring_gpa(unsigned q)
{
	return RAM_BASE + 0x4000u * q;
}

static uint64_t data_gpa(unsigned q, unsigned i)
{
	return RAM_BASE + 0x100000 + 0x20000u * q + 0x800u * i;
}

static void queue_on(unsigned q)
{
	put[q] = 0;
	memset(at(ring_gpa(q)), 0, 0x4000);
	wr(0x16, 2, q);
	wr(0x18, 2, SIZE);
	wr(0x1a, 2, q + 1);
	wr64(0x20, dev_addr(ring_gpa(q)));
	wr64(0x28, dev_addr(ring_gpa(q) + 0x1000));
	wr64(0x30, dev_addr(ring_gpa(q) + 0x2000));
	wr(0x1c, 2, 1);
}

static void describe(unsigned q, uint16_t i, uint64_t gpa, uint32_t len, uint16_t flags)
{
	struct vring_desc *d = at(ring_gpa(q) + 16u * i);

	*d = (struct vring_desc){dev_addr(gpa), len, flags, (uint16_t)(i + 1)};
}

static void offer(unsigned q, uint16_t head)
{
	uint16_t *ring = at(ring_gpa(q) + 0x1000);

	ring[2 + put[q] % SIZE] = head;
	__atomic_store_n(&ring[1], ++put[q], __ATOMIC_RELEASE);
}

static uint16_t used(unsigned q)
{
	return __atomic_load_n((uint16_t *)at(ring_gpa(q) + 0x2002), __ATOMIC_ACQUIRE);
}

static struct vring_used_elem __attribute__((unused)) element(unsigned q, unsigned i)
{
	return *(struct vring_used_elem *)at(ring_gpa(q) + 0x2004 + 8u * (i % SIZE));
}

static void __attribute__((unused)) ring(unsigned q)
{
	wr(VIRTIO_NOTIFY_OFFSET + VIRTIO_NOTIFY_STEP * q, 2, q);
	settle(vp);
}

static void start(uint64_t features, unsigned queues)
{
	negotiate(features);
	for (unsigned q = 0; q < queues; q++)
		queue_on(q);
	wr(0x14, 1, 0xf);
	settle(vp);
}

#endif
