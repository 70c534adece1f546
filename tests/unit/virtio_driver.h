/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's side of virtio for unit tests: guest memory, a split ring in it, and stand-ins for
 * what lies below the devices. The PCI functions are weak, so that the real ones win where linked.
 */
#ifndef VIRTIO_DRIVER_H
#define VIRTIO_DRIVER_H

#include <criterion/criterion.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/virtio/virtio_pci.h"
#include "postern/bits.h"

#define RAM_BASE UINT64_C(0x100000)
#define RAM_SIZE UINT64_C(0x200000)
#define DESC	 (RAM_BASE + 0x0000)
#define AVAIL	 (RAM_BASE + 0x2000)
#define USED	 (RAM_BASE + 0x4000)
#define TABLE	 (RAM_BASE + 0x6000) /* indirect tables */
#define DATA	 (RAM_BASE + 0x10000)

static struct guest_memory ram;
static struct dma_identity identity;

/* IOVA = GPA + IOVA_BASE with neighbouring pages swapped, so that nothing is contiguous. */
#define IOVA_BASE UINT64_C(0x40000000)

static struct {
	struct dma_space ds;
	uint64_t generation;
	bool deny;
	unsigned maps;
	unsigned holds, held_data;
	uint64_t watch;		/* the address whose hold is of interest, */
	void (*released)(void); /* and what happens at its end */
} paged;

static int paged_map(struct dma_space *ds, uint64_t iova, uint64_t len, unsigned access,
		     struct dma_segment *seg, unsigned max)
{
	int n = 0;

	(void)ds;
	(void)access;
	paged.maps++;
	if (!len || iova + len < iova)
		return -EINVAL;
	while (len) {
		uint64_t step = GUEST_PAGE_SIZE - iova % GUEST_PAGE_SIZE;
		uint64_t gpa = (iova - IOVA_BASE) ^ GUEST_PAGE_SIZE;

		if (step > len)
			step = len;
		if (paged.deny || iova < IOVA_BASE || !guest_memory_at(&ram, gpa, step))
			return -EFAULT;
		if ((unsigned)n == max)
			return -E2BIG;
		seg[n++] = (struct dma_segment){guest_memory_at(&ram, gpa, step), step};
		iova += step;
		len -= step;
	}
	return n;
}

static uint64_t paged_generation(struct dma_space *ds)
{
	(void)ds;
	return paged.generation;
}

/* Every hold has to end; what is held must be known before it is resolved. */
static void paged_hold(struct dma_space *ds, struct dma_hold *hold, const struct dma_range *range,
		       unsigned count, unsigned access)
{
	(void)ds;
	(void)access;
	for (unsigned i = 0; i < count; i++)
		paged.held_data += range[i].iova == paged.watch;
	if (!hold->count) {
		hold->stale = false;
		paged.holds++;
	}
	hold->count = 1;
	hold->stale |= count == 1 && range->iova == paged.watch;
}

static void paged_release(struct dma_space *ds, struct dma_hold *hold)
{
	(void)ds;
	paged.holds--;
	if (hold->stale && paged.released)
		paged.released();
}

static const struct dma_space_ops paged_ops = {
	.map = paged_map,
	.generation = paged_generation,
	.hold = paged_hold,
	.release = paged_release,
};

static void __attribute__((unused)) ram_open(void)
{
	uint8_t *host =
		mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert(host != MAP_FAILED);
	ram = (struct guest_memory){
		.count = 1,
		.region = {{.gpa = RAM_BASE, .size = RAM_SIZE, .host = host, .fd = -1}}};
	dma_identity_init(&identity, &ram);
	paged.ds.ops = &paged_ops;
	paged.generation = 1;
	paged.deny = false;
}

static void __attribute__((unused)) ram_close(void)
{
	munmap(ram.region[0].host, RAM_SIZE);
}

static void *at(uint64_t gpa)
{
	void *p = guest_memory_at(&ram, gpa, 1);

	cr_assert(p);
	return p;
}

/* ---- the ring, as the driver writes it; T turns a GPA into the device's address ---- */

struct driver {
	uint16_t size, avail, used;
	uint64_t base; /* IOVA of GPA 0, */
	uint64_t swap; /* and what is swapped on the way */
};

static struct driver drv;

static inline uint64_t dev_addr(uint64_t gpa)
{
	return (gpa ^ drv.swap) + drv.base;
}

static void *ring_at(uint64_t gpa)
{
	return at(gpa);
}

static void __attribute__((unused))
desc_set(uint16_t i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	struct vring_desc *d = ring_at(DESC + 16u * i);

	*d = (struct vring_desc){addr, len, flags, next};
}

static void __attribute__((unused)) avail_push(uint16_t head)
{
	uint16_t *ring = ring_at(AVAIL);

	ring[2 + (drv.avail & (drv.size - 1))] = head;
	__atomic_store_n(&ring[1], ++drv.avail, __ATOMIC_RELEASE);
}

static void __attribute__((unused)) avail_flags(uint16_t flags)
{
	*(uint16_t *)ring_at(AVAIL) = flags;
}

static void __attribute__((unused)) used_event(uint16_t value)
{
	((uint16_t *)ring_at(AVAIL))[2 + drv.size] = value;
}

static uint16_t __attribute__((unused)) used_idx(void)
{
	return __atomic_load_n((uint16_t *)ring_at(USED + 2), __ATOMIC_ACQUIRE);
}

static struct vring_used_elem __attribute__((unused)) used_elem(uint16_t i)
{
	return *(struct vring_used_elem *)ring_at(USED + 4 + 8u * (i & (drv.size - 1)));
}

/* ---- below the device ---- */

static atomic_uint raised[VIRTIO_QUEUES_MAX + 1];
static bool msix_on;
static struct {
	uint64_t gpa;
	unsigned added, removed;
	int fd, fail;
} doorbell;

#define WEAK __attribute__((weak, unused))

WEAK void pci_function_init(struct pci_function *fn, const char *name,
			    const struct pci_function_ops *ops, const struct pci_id *id)
{
	memset(fn, 0, sizeof(*fn));
	fn->name = name;
	fn->ops = ops;
	fn->capability_end = 0x40;
	pci_set16(fn, 0, id->vendor);
	pci_set16(fn, 2, id->device);
	fn->config[8] = id->revision;
	fn->config[9] = (uint8_t)id->class_code;
	pci_set16(fn, 10, (uint16_t)(id->class_code >> 8));
}

WEAK void pci_function_fini(struct pci_function *fn)
{
	(void)fn;
}

WEAK int pci_add_bar(struct pci_function *fn, unsigned bar, uint64_t size, unsigned flags)
{
	fn->bar[bar].size = size;
	fn->bar[bar].flags = flags;
	return 0;
}

WEAK int pci_add_capability(struct pci_function *fn, uint8_t id, unsigned length)
{
	int offset = fn->capability_end;

	fn->config[fn->capability_last ? fn->capability_last + 1 : 0x34] = (uint8_t)offset;
	fn->config[offset] = id;
	fn->capability_last = (uint8_t)offset;
	fn->capability_end = (uint8_t)align_up((uint64_t)offset + length, 4);
	return offset;
}

WEAK int pci_add_msix(struct pci_function *fn, unsigned vectors, unsigned bar, uint32_t table,
		      uint32_t pba)
{
	fn->msix.vectors = vectors;
	fn->msix.bar = bar;
	fn->msix.table_offset = table;
	fn->msix.pba_offset = pba;
	return 0;
}

WEAK bool pci_msix_covers(const struct pci_function *fn, unsigned bar, uint64_t offset)
{
	return bar == fn->msix.bar && offset < 16u * fn->msix.vectors;
}

WEAK uint64_t pci_msix_read(struct pci_function *fn, uint64_t offset, unsigned width)
{
	(void)fn;
	return (0xa500 + offset) & width_mask(width);
}

WEAK void pci_msix_write(struct pci_function *fn, uint64_t offset, unsigned width, uint64_t value)
{
	(void)fn;
	(void)offset;
	(void)width;
	(void)value;
}

WEAK int pci_msix_raise(struct pci_function *fn, unsigned vector)
{
	if (vector >= fn->msix.vectors)
		return -EINVAL;
	raised[vector]++;
	return 0;
}

WEAK bool pci_msix_enabled(const struct pci_function *fn)
{
	(void)fn;
	return msix_on;
}

WEAK uint32_t pci_config_read(struct pci_function *fn, unsigned offset, unsigned width)
{
	return (uint32_t)(pci_get32(fn, offset & ~3u) >> (8 * (offset & 3)) & width_mask(width));
}

WEAK void pci_config_write(struct pci_function *fn, unsigned offset, unsigned width, uint32_t value)
{
	for (unsigned i = 0; i < width; i++) {
		uint8_t w = fn->writable[offset + i];

		fn->config[offset + i] =
			(uint8_t)((fn->config[offset + i] & ~w) | (value >> (8 * i) & w));
	}
}

static struct pci_function *published;

WEAK void pci_root_remove(struct pci_function *fn)
{
	(void)fn;
	published = NULL;
}

WEAK int pci_root_add(struct pci_root *root, struct pci_function *fn, uint8_t devfn)
{
	(void)root;
	fn->devfn = devfn;
	published = fn;
	return 0;
}

static int doorbell_add(struct guest_window *w, uint64_t gpa, unsigned width, int eventfd)
{
	(void)w;
	cr_assert_eq(width, 2);
	if (doorbell.fail)
		return doorbell.fail;
	doorbell.gpa = gpa;
	doorbell.fd = eventfd;
	doorbell.added++;
	return 0;
}

static int doorbell_remove(struct guest_window *w, uint64_t gpa, unsigned width, int eventfd)
{
	(void)w;
	(void)width;
	cr_assert_eq(eventfd, doorbell.fd);
	cr_assert_eq(gpa, doorbell.gpa);
	doorbell.removed++;
	return 0;
}

static const struct guest_window_ops window_ops = {.doorbell_add = doorbell_add,
						   .doorbell_remove = doorbell_remove};
static struct guest_window window __attribute__((unused)) = {&window_ops};

/* ---- the loop, on the test's own thread ---- */

static struct event_loop *loop;

struct turns {
	struct event_work work;
	unsigned left;
	struct virtio_pci *vp;
};

static void turn(struct event_work *work)
{
	struct turns *t = container_of(work, struct turns, work);

	/* A few turns more than a kick, its requests, their posts and interrupts need. */
	if (t->vp && !virtio_pci_idle(t->vp))
		t->left = 20;
	if (t->left-- == 0)
		event_loop_stop(loop);
	else
		event_loop_post(loop, work);
}

static void __attribute__((unused)) settle(struct virtio_pci *vp)
{
	struct turns t = {.work = {.run = turn}, .left = 20, .vp = vp};

	event_loop_post(loop, &t.work);
	cr_assert_eq(event_loop_run(loop), 0);
}

/* ---- registers ---- */

static uint64_t __attribute__((unused)) rd(uint64_t offset, unsigned width)
{
	return published->ops->bar_read(published, 0, offset, width);
}

static void __attribute__((unused)) wr(uint64_t offset, unsigned width, uint64_t value)
{
	published->ops->bar_write(published, 0, offset, width, value);
}

static void __attribute__((unused)) wr64(uint64_t offset, uint64_t value)
{
	wr(offset, 4, (uint32_t)value);
	wr(offset + 4, 4, value >> 32);
}

static uint64_t __attribute__((unused)) offered(void)
{
	uint64_t lo;

	wr(0, 4, 0);
	lo = rd(4, 4);
	wr(0, 4, 1);
	return lo | rd(4, 4) << 32;
}

static void __attribute__((unused)) accept_features(uint64_t features)
{
	wr(8, 4, 0);
	wr(12, 4, (uint32_t)features);
	wr(8, 4, 1);
	wr(12, 4, features >> 32);
}

/* 3.1.1 up to FEATURES_OK. */
static void __attribute__((unused)) negotiate(uint64_t features)
{
	wr(0x14, 1, 1);
	wr(0x14, 1, 3);
	accept_features(features);
	wr(0x14, 1, 0xb);
}

static void __attribute__((unused))
queue_setup(uint16_t size, uint64_t desc, uint64_t avail, uint64_t used)
{
	wr(0x16, 2, 0);
	wr(0x18, 2, size);
	wr(0x1a, 2, 1);
	wr(0x10, 2, 0);
	wr64(0x20, desc);
	wr64(0x28, avail);
	wr64(0x30, used);
	wr(0x1c, 2, 1);
}

static void __attribute__((unused)) bring_up(uint64_t features, uint16_t size)
{
	memset(at(RAM_BASE), 0, 0x8000);
	drv.size = size;
	drv.avail = drv.used = 0;
	memset(raised, 0, sizeof(raised));
	negotiate(features);
	cr_assert_eq(rd(0x14, 1), 0xb);
	queue_setup(size, dev_addr(DESC), dev_addr(AVAIL), dev_addr(USED));
	wr(0x14, 1, 0xf);
}

static void __attribute__((unused)) kick(void)
{
	wr(VIRTIO_NOTIFY_OFFSET, 2, 0);
}

#define STATUS_NEEDS_RESET 0x40

#endif
