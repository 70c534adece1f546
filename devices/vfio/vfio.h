/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Assigned PCI devices: VFIO device nodes bound to iommufd (Linux
 * Documentation/driver-api/vfio.rst, include/uapi/linux/vfio.h).
 *
 * vfio_host is the side shared by all of them: one kernel iommufd context, a base IOAS that holds
 * guest RAM once, and the IOASes that shadow guest translation domains. vfio_device is one device.
 */
#ifndef POSTERN_VFIO_H
#define POSTERN_VFIO_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/vfio/io.h"
#include "iommufd/amd/engine.h"
#include "iommufd/iommufd.h"
#include "postern/event_loop.h"
#include "postern/guest_window.h"
#include "postern/intx_line.h"
#include "postern/pci.h"

struct vfio_host;
struct vfio_device;

/*
 * CTX and MEMORY outlive the host; CTX of the soft transport takes devices with their own io alone,
 * the kernel's takes nodes. RAM is mapped when the first device comes.
 */
int vfio_host_new(struct iommufd *ctx, const struct guest_memory *memory, struct vfio_host **host);
void vfio_host_free(struct vfio_host *host);
/*
 * A host for devices that follow another vIOMMU than those of LENDER: guest RAM is pinned once, in
 * LENDER's IOAS, and LENDER outlives this one. 0 -ENOMEM.
 */
int vfio_host_share(struct vfio_host *lender, struct vfio_host **host);
/*
 * The IOAS that holds guest RAM at the guest's addresses, from the first device on, and the empty
 * one. -errno after saying why.
 */
int vfio_host_spaces(struct vfio_host *host, uint32_t *ram, uint32_t *empty);
/* From now on devices with iommu=on follow ENGINE's tables. Before the first such device. */
int vfio_host_follow(struct vfio_host *host, struct amd_iommu_engine *engine);

/*
 * Who attaches a device, where that is not for this component to do: one that serves the vIOMMU by
 * nested page tables. Outlives the device.
 */
struct vfio_steering {
	/* DEVICE is bound and reaches no memory: take it over. 0 or -errno. */
	int (*add)(void *opaque, struct vfio_device *device);
	/* DEVICE was reset, and is about to go. */
	void (*remove)(void *opaque, struct vfio_device *device);
	void *opaque;
};

struct vfio_device_config {
	/* BDF, sysfs directory or /dev/vfio/devices/vfioN; NULL with fd; with io, a name for it. */
	const char *path;
	int fd; /* a pre-opened device node (then owned by the device), or -1 */
	/* A device of the soft iommufd, copied and then owned by the device; NULL: a node. */
	const struct vfio_io *io;
	bool iommu;			      /* translated by the guest's vIOMMU */
	const struct vfio_steering *steering; /* with IOMMU; NULL: it follows the host's engine */
	bool steered;  /* to be published: STEERING has it already, add() says so and remove() ends
			  it */
	bool irq_loop; /* MSI and MSI-X go through LOOP instead of from KVM's irqfd to the guest */
	struct event_loop *loop;
	struct msi_sink *sink;
	struct intx_line *intx; /* where the interrupt pin leads; NULL: none is shown */
	struct guest_window *window;
	struct pci_root *root;
	uint8_t devfn;
	/* Stop vCPUs (ON), or let them go on. NULL: none runs yet. */
	void (*quiesce)(void *machine, bool on);
	void *machine;
	/* Loop thread: the host wants the device back. Repeated while it waits. May be NULL. */
	void (*wanted)(void *opaque);
	void *opaque;
};

/*
 * Open, bind, attach, and publish. Every failure has said in one line what failed, why, and the
 * command that mends it, before -errno is returned.
 */
int vfio_device_new(struct vfio_host *host, const struct vfio_device_config *config,
		    struct vfio_device **device);
/*
 * The same in two parts. The first opens and binds the device, puts guest RAM into its space and
 * the device into the empty space. The second needs the rest of CONFIG: steering, sink, devfn...;
 * where it fails, the device is gone.
 */
int vfio_device_bind(struct vfio_host *host, const struct vfio_device_config *config,
		     struct vfio_device **device);
int vfio_device_publish(struct vfio_device *device, const struct vfio_device_config *config);
/* What it is called in the host's iommufd. */
uint32_t vfio_device_id(const struct vfio_device *device);
/* DEVICE, which is steered, uses PT_ID, an IOAS or HWPT, from now on. 0 or -errno. Any thread. */
int vfio_device_attach(struct vfio_device *device, uint32_t pt_id);
/* How many messages went through the loop (irq=loop). */
uint64_t vfio_device_loop_messages(const struct vfio_device *device);
/* vCPUs stopped. Resets the device and gives everything back. */
void vfio_device_free(struct vfio_device *device);

struct vfio_host_stats {
	uint64_t domains, bytes_mapped; /* now */
	uint64_t maps, unmaps, attaches, syncs, failures;
	uint64_t skipped; /* guest mappings that lead outside RAM */
};
void vfio_host_stats(const struct vfio_host *host, struct vfio_host_stats *stats);

/* For doctor: every /dev/vfio/devices node, whether it opens (ERROR: 0, else
 * the errno), and its BDF ("?" where sysfs does not say); calls VISIT for each. */
void vfio_nodes_visit(void (*visit)(void *opaque, const char *node, const char *bdf, int error),
		      void *opaque);
/* Open NODE and bind it to IOMMUFD for a moment's probing: the descriptor, or -errno. Closing it
 * unbinds. */
int vfio_node_bind(const char *node, int iommufd, uint32_t *dev_id);

#endif
