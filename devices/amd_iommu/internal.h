/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the parts of the vIOMMU front end.
 */
#ifndef POSTERN_AMD_VIOMMU_INTERNAL_H
#define POSTERN_AMD_VIOMMU_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "devices/amd_iommu/amd_viommu.h"

/* Registers whose value the front end keeps, in the order of the table. */
enum { VIOMMU_SHADOWS_MAX = 48 };

struct viommu_window {
	struct viommu_port *port;
	/*
	 * Serialises writes of shadowed registers with what they cause behind the port, so that two
	 * writers cannot swap their effects. Reads take no lock: another vCPU may look at a
	 * register while a write of Control runs the command ring. VF page registers are not
	 * shadowed and go through the port without it.
	 */
	pthread_mutex_t write_lock;
	_Atomic uint64_t shadow[VIOMMU_SHADOWS_MAX];
	_Atomic uint64_t reads, writes, forwarded, ignored;
	_Atomic uint64_t told[2]; /* errors that the log has been told of */
	unsigned segment;	  /* for messages */
};

struct amd_viommu {
	struct pci_function function;
	struct viommu_window window;
	struct bus *mmio;
	uint64_t base;
};

void viommu_window_init(struct viommu_window *window, struct viommu_port *port);
void viommu_window_fini(struct viommu_window *window);
/* Power-on values, and the unit behind the port reset. */
void viommu_window_reset(struct viommu_window *window);
/* The unit behind the port has another state: what its registers are now. */
void viommu_window_restored(struct viommu_window *window);
/* A struct viommu_window is the opaque. */
extern const struct bus_ops viommu_window_ops;

/* The two miscellaneous information words of the capability block, as 0150h mirrors them. */
#define VIOMMU_MISC_INFO_0                                                                         \
	((uint32_t)(2u << 5 | AMD_VIOMMU_PHYSICAL_BITS << 8 | AMD_VIOMMU_VIRTUAL_BITS << 15))

#endif
