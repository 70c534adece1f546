/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio devices over modern virtio-pci (Virtual I/O Device 1.2), queues and the block device.
 *
 * A device runs on the event loop's thread. vCPU threads reach only the transport's registers;
 * what changes the device (driver OK, reset) is posted to the loop, and device_status reads back
 * non-zero until a reset has drained.
 */
#ifndef POSTERN_VIRTIO_H
#define POSTERN_VIRTIO_H

#include <stdbool.h>
#include <stdint.h>

#include "postern/dma_space.h"
#include "postern/event_loop.h"
#include "postern/guest_window.h"
#include "postern/pci.h"

/* What every virtio device gets at creation. All outlive the device. */
struct virtio_env {
	struct event_loop *loop;
	struct dma_space *dma;
	struct msi_sink *sink;
	struct guest_window *window;
	struct pci_root *root;
	uint8_t devfn;
	bool iommu; /* offer VIRTIO_F_ACCESS_PLATFORM; without it DMA is never translated */
	const struct guest_memory *memory;
};

/* A device of whatever kind, as its ..._new() makes it. */
struct virtio_pci;

/* Take it off the guest's bus, vCPUs stopped. What is in flight goes on; then drain and free. */
void virtio_pci_unplug(struct virtio_pci *vp);
/*
 * After the loop has stopped and virtio_pci_idle() is true; or, unplugged and drained, from work
 * that was posted to the loop since. NULL is allowed.
 */
void virtio_pci_free(struct virtio_pci *vp);
/* Stop taking requests; runs DONE on the loop's thread once nothing is in flight. Loop thread. */
void virtio_pci_drain(struct virtio_pci *vp, void (*done)(void *opaque), void *opaque);
/* Take requests again after a drain, those first that came meanwhile. Loop thread. */
void virtio_pci_resume(struct virtio_pci *vp);
/* Whether nothing is in flight. */
bool virtio_pci_idle(const struct virtio_pci *vp);

/* ---- block ---- */

struct virtio_blk_config {
	int fd; /* regular file or block device, owned by the device from then on */
	bool readonly;
	const char *name; /* for messages and GET_ID; copied */
};

/* Creates the device and publishes its PCI function. -EINVAL (size 0), -errno from fstat. */
int virtio_blk_new(const struct virtio_env *env, const struct virtio_blk_config *config,
		   struct virtio_pci **blk);

struct virtio_blk_stats {
	/* discards: requests to free or to zero */
	uint64_t reads, writes, flushes, discards, errors, bytes_read, bytes_written, kicks,
		interrupts;
};
/* Of a device that virtio_blk_new() made. */
void virtio_blk_stats(const struct virtio_pci *blk, struct virtio_blk_stats *stats);

/* ---- network ---- */

#define VIRTIO_NET_PAIRS_MAX 8u

struct virtio_net_config {
	/*
	 * One tap a pair of queues, opened with IFF_TAP, IFF_NO_PI, IFF_VNET_HDR and, for more than
	 * one, IFF_MULTI_QUEUE; non-blocking. The device's from then on.
	 */
	int fd[VIRTIO_NET_PAIRS_MAX];
	unsigned pairs;
	uint8_t mac[6];
	uint16_t mtu;	  /* what the guest is told; 0: nothing */
	const char *name; /* for messages; copied */
};

/*
 * Creates the device and publishes its PCI function. -EINVAL (pairs; not a tap), -errno; then the
 * descriptors are the caller's still. virtio 1.2, 5.1: checksums and segmentation either way,
 * mergeable buffers, control queue.
 */
int virtio_net_new(const struct virtio_env *env, const struct virtio_net_config *config,
		   struct virtio_pci **net);

struct virtio_net_stats {
	uint64_t rx_packets, rx_bytes, rx_dropped, tx_packets, tx_bytes, tx_dropped, kicks,
		interrupts;
};
/* Of a device that virtio_net_new() made. */
void virtio_net_stats(const struct virtio_pci *net, struct virtio_net_stats *stats);

/* ---- entropy ---- */

struct virtio_rng_config {
	int fd;		  /* of a character device, the device's from then on; -1: getrandom(2) */
	uint64_t rate;	  /* bytes a second; 0: no limit */
	const char *name; /* for messages; copied */
};

/* Creates the device and publishes its PCI function. -errno; then the descriptor is the caller's
 * still. */
int virtio_rng_new(const struct virtio_env *env, const struct virtio_rng_config *config,
		   struct virtio_pci **rng);

struct virtio_rng_stats {
	/* waits: how often a request had to wait for the next share of the rate */
	uint64_t requests, bytes, waits, kicks, interrupts;
};
/* Of a device that virtio_rng_new() made. */
void virtio_rng_stats(const struct virtio_pci *rng, struct virtio_rng_stats *stats);

#endif
