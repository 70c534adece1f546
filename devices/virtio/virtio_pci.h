/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The modern virtio-pci transport (virtio 1.2, 4.1), between a device and the guest's driver.
 * Internal to devices/virtio/.
 *
 * vCPU threads reach the registers, under the transport's lock. Everything that touches the device
 * or its queues runs on the loop's thread: DRIVER_OK and a reset are posted there, and status reads
 * back non-zero until the last request in flight has been reaped.
 */
#ifndef POSTERN_VIRTIO_PCI_H
#define POSTERN_VIRTIO_PCI_H

#include <pthread.h>
#include <stdatomic.h>

#include "devices/virtio/virtio.h"
#include "devices/virtio/virtqueue.h"

#define VIRTIO_QUEUES_MAX 17u /* eight pairs of a network device and its control queue */

/* Places in BAR 0. */
#define VIRTIO_BAR_SIZE	     0x4000u
#define VIRTIO_COMMON_OFFSET 0x0000u
#define VIRTIO_ISR_OFFSET    0x1000u
#define VIRTIO_DEVICE_OFFSET 0x2000u
#define VIRTIO_NOTIFY_OFFSET 0x3000u
#define VIRTIO_NOTIFY_STEP   4u
#define VIRTIO_BAR	     0u
#define VIRTIO_MSIX_BAR	     2u
#define VIRTIO_MSIX_SIZE     0x1000u
#define VIRTIO_MSIX_PBA	     0x800u

/* What take() may say besides 0, 1 and -errno. What is in the queue waits for the device. */
#define VIRTIO_PCI_LATER 2
/* One request was taken and was expensive: others get their turn on the loop before the next. */
#define VIRTIO_PCI_TURN 3

struct virtio_pci_ops {
	/*
	 * Loop thread: take one request from queue Q. 1 or VIRTIO_PCI_TURN; 0 when empty;
	 * VIRTIO_PCI_LATER: not before virtio_pci_serve() is called or the guest rings; -errno:
	 * needs a reset.
	 */
	int (*take)(struct virtio_pci *vp, unsigned q);
	/* Loop thread: the driver is there, with the features that it chose. May be NULL. */
	void (*start)(struct virtio_pci *vp);
	/* Loop thread, vp->lock held: the configuration is as at power-on again. May be NULL. */
	void (*reset)(struct virtio_pci *vp);
	/* virtio_pci_free(): virtio_pci_fini(), and what is the device's own. */
	void (*free)(struct virtio_pci *vp);
};

struct virtio_pci_config {
	const char *name;
	const struct virtio_pci_ops *ops;
	uint16_t device; /* virtio device id */
	uint32_t class_code;
	uint64_t features; /* of the device; the transport adds its own */
	unsigned queues;
	const void *config; /* device configuration, read-only to the guest; vp->lock */
	uint32_t config_size;
};

struct virtio_pci_queue {
	struct virtio_pci *vp;
	/* Registers, under vp->lock. */
	uint16_t size, vector;
	bool enabled;
	uint64_t desc, driver, device;
	/* Loop thread. */
	struct virtqueue vq;
	bool live;   /* vq is initialised */
	bool signal; /* chains were returned since the last look at interrupts */
	uint16_t live_vector;
	int kick_fd;
	struct event_watch kick;
	struct event_work more;
};

struct virtio_pci {
	struct pci_function fn;
	struct virtio_env env;
	struct virtio_pci_config config;
	uint64_t offered;

	pthread_mutex_t lock;
	pthread_cond_t reset_done;
	uint32_t device_feature_select, driver_feature_select;
	uint64_t driver_features;
	uint16_t config_vector, queue_select;
	uint8_t status, isr, generation;
	bool activated; /* DRIVER_OK was accepted: only the loop may take it back */
	bool resetting;
	unsigned pci_cfg; /* offset of the PCI configuration access capability */

	struct event_work state;   /* activate or reset */
	struct event_work signals; /* interrupts of a batch of completions */
	bool serving;		   /* loop thread */
	atomic_bool draining;	   /* until a machine reset or virtio_pci_resume() */
	void (*drained)(void *opaque);
	void *drained_opaque;
	atomic_uint in_flight;
	uint64_t doorbells; /* where the notification area is decoded, 0: nowhere */
	_Atomic uint64_t kicks, interrupts;
	struct virtio_pci_queue queue[VIRTIO_QUEUES_MAX];
};

int virtio_pci_init(struct virtio_pci *vp, const struct virtio_env *env,
		    const struct virtio_pci_config *config);
/* Loop stopped, nothing in flight, no vCPU running. */
void virtio_pci_fini(struct virtio_pci *vp);

/* The rest: loop thread. A request is in flight from get to put. */
void virtio_pci_get(struct virtio_pci *vp);
void virtio_pci_put(struct virtio_pci *vp);
/* Take what waits in queue Q; false where the device does not serve it now. */
bool virtio_pci_serve(struct virtio_pci *vp, unsigned q);
/* Whether completed requests may still touch guest memory: not once a reset has begun. */
bool virtio_pci_live(const struct virtio_pci *vp);
bool virtio_pci_has(const struct virtio_pci *vp, unsigned feature);
/* Return a chain; the interrupt follows with those of its batch. */
void virtio_pci_push(struct virtio_pci *vp, unsigned q, uint16_t head, uint32_t written);

/* ---- between virtio_pci.c (device side) and virtio_pci_regs.c (guest side) ---- */

extern const struct pci_function_ops virtio_pci_function_ops;
int virtio_pci_add_capabilities(struct virtio_pci *vp);
/* With the lock held: registers as at power-on. */
void virtio_pci_reset_registers(struct virtio_pci *vp);

#endif
