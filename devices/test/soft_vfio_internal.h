/* SPDX-License-Identifier: Apache-2.0 */
/* Between the parts of the VFIO device in process: regions, and interrupts. */
#ifndef POSTERN_SOFT_VFIO_INTERNAL_H
#define POSTERN_SOFT_VFIO_INTERNAL_H

#include <linux/vfio.h>
#include <pthread.h>

#include "devices/test/dma_test.h"
#include "devices/test/soft_vfio.h"

struct soft_vfio {
	struct iommufd *ctx;
	uint32_t dev_id;
	bool bound;
	struct dma_test *test;
	struct pci_function *fn; /* of TEST; on no bus */
	unsigned express;
	int buffer_fd;
	uint8_t *buffer;

	/* The thread that is the hardware. */
	pthread_t thread;
	bool running;
	pthread_mutex_t run_lock; /* held while a transfer runs; before all other locks */
	pthread_mutex_t wake_lock;
	pthread_cond_t wake;
	bool kicked, ending; /* wake_lock */

	/* What the host's kernel signals: copies of what it was given, -1 where there is none. */
	struct msi_sink sink;
	pthread_mutex_t irq_lock; /* the last lock */
	int vector[SOFT_VFIO_VECTORS];
	int error, request;
};

void soft_vfio_irqs_init(struct soft_vfio *v);
void soft_vfio_irqs_fini(struct soft_vfio *v);
int soft_vfio_irq_info(struct vfio_irq_info *info);
int soft_vfio_set_irqs(struct soft_vfio *v, const struct vfio_irq_set *set);
/* struct dma_test_env.tell */
void soft_vfio_tell(void *opaque, unsigned what);

#endif
