/* SPDX-License-Identifier: Apache-2.0 */
/* What the accelerated vIOMMU asks of --vfio before its turn. Without CONFIG_VFIO nobody asks. */
#ifndef POSTERN_VMM_VFIO_H
#define POSTERN_VMM_VFIO_H

#include "devices/amd_iommu/amd_viommu.h"
#include "devices/vfio/vfio.h"
#include "vmm/machine.h"

/*
 * Open the kernel's iommufd and bind the devices of --vfio that are to be behind the vIOMMU of
 * SEGMENT, each with a slot kept for it, before anything is made of them; they are published in
 * their turn. BEHIND, what a vIOMMU attaches them by, has room for MACHINE_DEVICES_MAX. -errno
 * after saying why; then nothing of it is left but what machine_vfio_close() ends.
 */
int machine_vfio_bind(struct machine *m, unsigned segment, struct vfio_host **host,
		      struct viommu_hw_device **behind, unsigned *count);
/* They are to follow an engine after all: no slots are kept. */
void machine_vfio_unreserve(struct machine *m, unsigned segment);
/* All devices are given back, and the kernel's iommufd is closed. Nothing happens the second time.
 */
void machine_vfio_close(struct machine *m);

#endif
