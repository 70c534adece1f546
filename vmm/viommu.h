/* SPDX-License-Identifier: Apache-2.0 */
/* Between the parts of --viommu: what every accel has, and what hw and hwmodel have of their own.
 */
#ifndef POSTERN_VMM_VIOMMU_H
#define POSTERN_VMM_VIOMMU_H

#include "devices/amd_iommu/amd_viommu.h"
#include "vmm/machine.h"
#include "vmm/viommu_trace.h"

struct viommu_hwmodel;
struct viommu_hw;

struct viommu {
	struct amd_viommu *front;
	struct viommu_port *port;	 /* the front end's once there is one */
	struct iommufd *ctx;		 /* the kernel's with accel=hw, else its own */
	struct amd_iommu_engine *engine; /* NULL: accel=hw */
	struct msi_sink *own;		 /* of its MSI capability, never remapped */
	struct machine *machine;
	unsigned segment;
	char id[16]; /* viommu0... */
	struct amd_iommu_listener listener;
	struct event_work ring;	      /* the rest of a long command ring */
	struct event_work timer_work; /* arms the timer, on the loop's thread */
	struct event_timer timer;     /* for devices that do not answer in time */
	_Atomic uint64_t timer_ns;
	struct pci_function southbridge;
	struct viommu_trace *trace;	/* shared by all */
	struct viommu_hwmodel *hwmodel; /* accel=hwmodel */
	struct viommu_hw *hw;		/* accel=hw */
};

#define VIOMMU_DEVID PCI_DEVFN(MACHINE_SLOT_IOMMU, 0)

struct viommus {
	struct viommu_trace *trace;
	struct viommu *of[MACHINE_SEGMENTS_MAX]; /* by segment; NULL: none */
};

/* What the machine must have for the hardware ABI, else -errno and WHY. */
int viommu_hw_check(const struct machine *m, char why[VIOMMU_WHY_SIZE]);
/* The context, port and engine of VIOMMU; and how devices get behind it. As struct viommu_rung. */
int viommu_hwmodel_climb(struct viommu *viommu, char why[VIOMMU_WHY_SIZE]);
/* Before the port goes. */
void viommu_hwmodel_free(struct viommu *viommu);
int viommu_hw_climb(struct viommu *viommu, char why[VIOMMU_WHY_SIZE]);
void viommu_hw_free(struct viommu *viommu);
void viommu_hw_metrics(const struct viommu *viommu, struct metrics *out);

/* ---- counters ---- */

void viommu_stats(struct machine *m, struct metrics *out);
/* Of the port on the hardware ABI. */
void viommu_hw_device_metrics(const struct viommu_port *port, struct metrics *out);

#endif
