/* SPDX-License-Identifier: Apache-2.0 */
/* Between the parts of --viommu: what every accel has, and accel=hwmodel's own. */
#ifndef POSTERN_VMM_VIOMMU_H
#define POSTERN_VMM_VIOMMU_H

#include "devices/amd_iommu/amd_viommu.h"
#include "vmm/machine.h"
#include "vmm/viommu_trace.h"

struct viommu_hwmodel;

struct viommu {
	struct amd_viommu *front;
	struct viommu_port *port; /* the front end's once there is one */
	struct iommufd *ctx;
	struct amd_iommu_engine *engine;
	struct msi_sink *own; /* of its MSI capability, never remapped */
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
};

struct viommus {
	struct viommu_trace *trace;
	struct viommu *of[MACHINE_SEGMENTS_MAX]; /* by segment; NULL: none */
};

/* What the machine must have for accel=hwmodel; said if not. */
int viommu_hwmodel_check(const struct machine *m);
/* The context, port and engine of VIOMMU; and how devices get behind it. */
int viommu_hwmodel_new(struct viommu *viommu, uint16_t devid);
/* Before the port goes. */
void viommu_hwmodel_free(struct viommu *viommu);
void viommu_hwmodel_stats(const struct viommu *viommu, struct metrics *out);

#endif
