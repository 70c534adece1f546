/* SPDX-License-Identifier: Apache-2.0 */
/* The device behind the virtio-pci tests: it returns every chain at once, or holds it until told.
 */
#ifndef POSTERN_VIRTIO_ECHO_H
#define POSTERN_VIRTIO_ECHO_H

#include "tests/unit/virtio_driver.h"

struct echo {
	struct virtio_pci vp;
	struct iovec iov[8];
	struct virtqueue_chain chain;
	bool hold;
	unsigned taken, held;
};

static struct echo *echo;
static const uint8_t space[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

static int echo_take(struct virtio_pci *vp, unsigned q)
{
	struct echo *e = container_of(vp, struct echo, vp);
	int ret;

	e->chain.iov = e->iov;
	e->chain.iov_max = ARRAY_SIZE(e->iov);
	ret = virtqueue_pop(&vp->queue[q].vq, &e->chain);
	if (ret <= 0)
		return ret;
	e->taken++;
	virtio_pci_get(vp);
	if (e->hold) {
		e->held++;
		return 1;
	}
	virtio_pci_push(vp, q, e->chain.head, 5);
	virtio_pci_put(vp);
	return 1;
}

static const struct virtio_pci_ops echo_ops = {.take = echo_take};

static void setup_with(bool iommu)
{
	struct virtio_env env = {.window = &window, .devfn = PCI_DEVFN(3, 0), .iommu = iommu};
	struct virtio_pci_config config = {.name = "echo",
					   .ops = &echo_ops,
					   .device = 2,
					   .class_code = 0x018000,
					   .features = BIT(5),
					   .queues = 2,
					   .config = space,
					   .config_size = sizeof(space)};

	ram_open();
	memset(&drv, 0, sizeof(drv));
	memset(&doorbell, 0, sizeof(doorbell));
	msix_on = true;
	if (iommu)
		drv = (struct driver){.base = IOVA_BASE, .swap = GUEST_PAGE_SIZE};
	cr_assert_eq(event_loop_new(EVENT_LOOP_POLL, &loop), 0);
	env.loop = loop;
	env.dma = iommu ? &paged.ds : &identity.ds;
	env.memory = &ram;
	echo = calloc(1, sizeof(*echo));
	cr_assert_eq(virtio_pci_init(&echo->vp, &env, &config), 0);
}

static void setup(void)
{
	setup_with(false);
}

static void teardown(void)
{
	virtio_pci_fini(&echo->vp);
	free(echo);
	event_loop_free(loop);
	ram_close();
}

static void offer(uint16_t head)
{
	desc_set(head, dev_addr(DATA), 16, 0, 0);
	avail_push(head);
}

#endif
