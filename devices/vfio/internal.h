/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the VFIO component share. */
#ifndef POSTERN_VFIO_INTERNAL_H
#define POSTERN_VFIO_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "devices/vfio/io.h"
#include "devices/vfio/loop_sink.h"
#include "devices/vfio/path.h"
#include "devices/vfio/shadow.h"
#include "devices/vfio/uapi.h"
#include "devices/vfio/vfio.h"

/* ---- the hardware, as the kernel or whoever stands for it gives it ---- */

static inline int vfio_io_ctl(struct vfio_io *io, unsigned long request, void *arg)
{
	return io->ops->ioctl(io, request, arg);
}

/* One register of WIDTH bytes; a device that does not answer reads as all ones. */
uint64_t vfio_io_read(struct vfio_io *io, uint64_t offset, unsigned width);
void vfio_io_write(struct vfio_io *io, uint64_t offset, unsigned width, uint64_t value);

/* ---- configuration space: config.c plans it, config_access.c serves it ---- */

struct vfio_config {
	unsigned size;	 /* 256 or 4096 */
	uint64_t region; /* offset of configuration space in the device node */
	/* At power-on, from 40h on; and in these bits of it: */
	uint8_t image[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE];    /* kept here, software may write them */
	uint8_t from_device[PCI_CONFIG_SIZE]; /* read from the device each time */
	uint8_t to_device[PCI_CONFIG_SIZE];   /* written through to it */
	uint8_t clears[PCI_CONFIG_SIZE];      /* of it: cleared by writing 1, else left alone */
	unsigned msix, msi, pm, express, af;  /* offsets of capabilities shown, or 0 */
	bool msi_hidden;		      /* because there is MSI-X */
};

/*
 * What the guest is shown of the configuration space HW (SIZE bytes, as the kernel presents it).
 * -ENODEV when it reads as absent, -EINVAL when it is not an endpoint's.
 */
int vfio_config_plan(struct vfio_config *config, const uint8_t *hw, unsigned size);

/* ---- interrupts ---- */

struct vfio_vector {
	int eventfd; /* -1: never used since the last disable */
	struct msi_route *route;
	bool armed; /* the kernel signals EVENTFD */
};

struct vfio_irqs {
	struct vfio_io *io;
	struct msi_sink *sink;
	const char *name;
	uint32_t index; /* VFIO_PCI_MSIX_IRQ_INDEX or VFIO_PCI_MSI_IRQ_INDEX */
	unsigned count;
	bool resizable;	    /* vectors can be added while others are live (Linux 6.5) */
	unsigned allocated; /* vectors that the kernel has set up; 0: off */
	bool said;
	struct vfio_vector *vector;
	pthread_mutex_t lock;
};

/* INDEX has COUNT vectors; 0 -ENOMEM. */
int vfio_irqs_init(struct vfio_irqs *irqs, struct vfio_io *io, struct msi_sink *sink,
		   const char *name, uint32_t index, unsigned count, bool resizable);
void vfio_irqs_fini(struct vfio_irqs *irqs);
/* VECTOR sends MSG from now on; NULL: it is masked, and what arrives meanwhile is kept. */
void vfio_irqs_set(struct vfio_irqs *irqs, unsigned vector, const struct msi_msg *msg);
/* All off, and what was pending is forgotten. */
void vfio_irqs_disable(struct vfio_irqs *irqs);

/* The pin. */
struct vfio_intx {
	struct vfio_io *io;
	const char *name;
	struct event_loop *loop;
	struct intx_line *line; /* NULL: no pin, or nowhere to lead it */
	struct event_watch watch;
	pthread_mutex_t lock;
	bool on;       /* the kernel signals the eventfd; changes under the function's lock */
	bool asserted; /* towards the guest; then masked in the kernel */
	bool said;
};

/* Off at first. 0 or -errno. */
int vfio_intx_init(struct vfio_intx *intx, struct vfio_io *io, const char *name,
		   struct event_loop *loop, struct intx_line *line);
void vfio_intx_fini(struct vfio_intx *intx);
/* The kernel allows one kind of interrupt at a time: off before MSI or MSI-X goes on. */
void vfio_intx_set(struct vfio_intx *intx, bool on);

/* ---- what the kernel tells about the device ---- */

#define VFIO_NOTIFIERS 2u /* errors, requests */

struct vfio_notifier {
	struct vfio_device *dev;
	struct event_loop *loop; /* NULL: not there */
	struct event_watch watch;
	bool said;
};

struct vfio_device;

/* A kernel that will not tell is no reason to refuse the device. */
void vfio_notifiers_start(struct vfio_device *dev, struct event_loop *loop);
void vfio_notifiers_stop(struct vfio_device *dev);

/* ---- BARs ---- */

#define VFIO_BAR_AREAS 8u

struct vfio_area {
	uint64_t offset, size; /* inside the BAR, whole pages */
	void *host;
	bool shown; /* in the guest's address space now */
};

struct vfio_bar {
	uint64_t size, region; /* bytes; offset in the device node */
	uint32_t flags;	       /* VFIO_REGION_INFO_FLAG_* */
	unsigned areas;	       /* what can be mapped */
	struct vfio_area area[VFIO_BAR_AREAS];
	uint64_t base; /* while decoded */
};

/* The COUNT areas of AREA without the pages that [offset, offset + size) touches, in place; the new
 * count. What does not fit into MAX areas is left out. */
unsigned vfio_areas_exclude(struct vfio_area *area, unsigned count, unsigned max, uint64_t offset,
			    uint64_t size);

/* Fill dev->bar[] from the kernel's region information. */
int vfio_bars_query(struct vfio_device *dev);
/* Add them to the function, by what the BAR registers in HW say. */
int vfio_bars_add(struct vfio_device *dev, const uint8_t *hw);
/* mmap what can be, but for the MSI-X structures (known by now). */
void vfio_bars_map(struct vfio_device *dev);
void vfio_bars_unmap(struct vfio_device *dev);
/* The device's memory answers, or does not: windows of decoded BARs come and go. */
void vfio_bars_show(struct vfio_device *dev, bool powered);
uint64_t vfio_bar_read(struct pci_function *fn, unsigned bar, uint64_t offset, unsigned width);
void vfio_bar_write(struct pci_function *fn, unsigned bar, uint64_t offset, unsigned width,
		    uint64_t value);
void vfio_bar_mapped(struct pci_function *fn, unsigned bar, uint64_t base, bool mapped);

/* ---- one device ---- */

struct vfio_device {
	struct pci_function fn;
	struct vfio_host *host;
	struct vfio_io io;
	struct vfio_node node;
	char name[32]; /* "vfio 0000:00:03.0" */
	uint32_t dev_id;
	bool can_reset, reset_said;
	bool powered;			      /* in D0: its memory answers */
	bool iommu, attached, following;      /* translated; has an IOAS; moves with its DTE */
	const struct vfio_steering *steering; /* or is attached by somebody else */
	bool steered;
	uint8_t devfn;
	struct guest_window *window;
	struct vfio_config config;
	struct vfio_bar bar[PCI_BARS];
	struct vfio_intx intx;
	struct vfio_notifier notifier[VFIO_NOTIFIERS];
	void (*wanted)(void *opaque);
	void *wanted_opaque;
	struct vfio_loop_sink loop_sink; /* with irq=loop */
	struct vfio_irqs irqs;		 /* of count 0 where the device has no MSI or MSI-X */
	struct vfio_follower follower;
};

static inline struct vfio_device *vfio_device_of(struct pci_function *fn)
{
	return container_of(fn, struct vfio_device, fn);
}

/* vCPUs of a machine that may be running stop, or go on. */
static inline void vfio_quiesce(const struct vfio_device_config *config, bool on)
{
	if (config->quiesce)
		config->quiesce(config->machine, on);
}

uint32_t vfio_config_read(struct pci_function *fn, unsigned offset, unsigned width);
void vfio_config_write(struct pci_function *fn, unsigned offset, unsigned width, uint32_t value);
/* Awake, silent, and with capabilities and the command register as after power-on. */
void vfio_config_reset(struct vfio_device *dev);
void vfio_vector_changed(struct pci_function *fn, unsigned vector, const struct msi_msg *msg);

/*
 * DEV is bound and quiet, as the kernel resets what it opens: reset it, find out what it is, and
 * make the function that the guest will see. On -errno (said why) nothing is left to undo.
 */
int vfio_device_setup(struct vfio_device *dev, const struct vfio_device_config *config);
/* Reset, and all that undone. Takes the function off its root. */
void vfio_device_teardown(struct vfio_device *dev);

/* FLAGS of the device's information say whether it can be reset. */
void vfio_device_reset_query(struct vfio_device *dev, uint32_t flags);
/* DMA is off. ALL: every device of the machine is being reset, so that it may go with its slot. */
void vfio_device_reset(struct vfio_device *dev, bool all);

/* ---- the host side ---- */

struct vfio_host {
	struct vfio_dma dma;
	struct iommufd *ctx;
	struct amd_iommu_engine *engine; /* NULL: nobody to follow */
	struct amd_iommu_listener listener;
	struct vfio_follow follow;
	struct vfio_host *lender; /* whose base IOAS this one uses, or NULL */
	bool ready, ram;	  /* IOASes exist; RAM is in the base */
};

/* IOASes exist, DEV is bound. Attach it to the empty IOAS and put RAM into the base IOAS, after
 * checking that the host's IOMMU has room for it. */
int vfio_host_prepare(struct vfio_host *host);
int vfio_host_admit(struct vfio_host *host, struct vfio_device *dev);
/* Attach as iommu=on or off demands. */
int vfio_host_attach(struct vfio_host *host, struct vfio_device *dev);
int vfio_host_attach_to(struct vfio_host *host, struct vfio_device *dev, uint32_t pt_id);
void vfio_host_detach(struct vfio_host *host, struct vfio_device *dev);

#endif
