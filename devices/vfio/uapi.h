/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of the VFIO ABI that <linux/vfio.h> of older systems (Linux 6.1) lacks: binding a device
 * node to iommufd and attaching it to an I/O address space (Linux 6.6,
 * Documentation/driver-api/vfio.rst, "VFIO device cdev").
 */
#ifndef POSTERN_VFIO_UAPI_H
#define POSTERN_VFIO_UAPI_H

#include <linux/vfio.h>
#include <stddef.h>
#include <stdint.h>

#define VFIO_UAPI_BIND	 _IO(VFIO_TYPE, VFIO_BASE + 18)
#define VFIO_UAPI_ATTACH _IO(VFIO_TYPE, VFIO_BASE + 19)
#define VFIO_UAPI_DETACH _IO(VFIO_TYPE, VFIO_BASE + 20)

/* struct vfio_pci_hot_reset_info, flags: all devices that the reset reaches are in one iommufd. */
#define VFIO_UAPI_HOT_RESET_OWNED (UINT32_C(1) << 1)

struct vfio_uapi_bind {
	uint32_t argsz;
	uint32_t flags;
	int32_t iommufd;
	uint32_t out_devid;
};

struct vfio_uapi_attach {
	uint32_t argsz;
	uint32_t flags;
	uint32_t pt_id; /* in: IOAS or HWPT; out: what the device is attached to */
};

struct vfio_uapi_detach {
	uint32_t argsz;
	uint32_t flags;
};

_Static_assert(_IOC_NR(VFIO_UAPI_BIND) == 118, "VFIO_DEVICE_BIND_IOMMUFD");
_Static_assert(_IOC_NR(VFIO_UAPI_ATTACH) == 119, "VFIO_DEVICE_ATTACH_IOMMUFD_PT");
_Static_assert(_IOC_NR(VFIO_UAPI_DETACH) == 120, "VFIO_DEVICE_DETACH_IOMMUFD_PT");
_Static_assert(sizeof(struct vfio_uapi_bind) == 16, "VFIO_DEVICE_BIND_IOMMUFD");
_Static_assert(offsetof(struct vfio_uapi_bind, iommufd) == 8, "VFIO_DEVICE_BIND_IOMMUFD");
_Static_assert(offsetof(struct vfio_uapi_bind, out_devid) == 12, "VFIO_DEVICE_BIND_IOMMUFD");
_Static_assert(sizeof(struct vfio_uapi_attach) == 12, "VFIO_DEVICE_ATTACH_IOMMUFD_PT");
_Static_assert(offsetof(struct vfio_uapi_attach, pt_id) == 8, "VFIO_DEVICE_ATTACH_IOMMUFD_PT");
_Static_assert(sizeof(struct vfio_uapi_detach) == 8, "VFIO_DEVICE_DETACH_IOMMUFD_PT");
_Static_assert(sizeof(struct vfio_region_info) == 32, "VFIO_DEVICE_GET_REGION_INFO");
_Static_assert(sizeof(struct vfio_irq_info) == 16, "VFIO_DEVICE_GET_IRQ_INFO");
_Static_assert(sizeof(struct vfio_irq_set) == 20, "VFIO_DEVICE_SET_IRQS");
_Static_assert(sizeof(struct vfio_pci_hot_reset_info) == 12, "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO");
_Static_assert(sizeof(struct vfio_pci_dependent_device) == 8, "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO");
_Static_assert(sizeof(struct vfio_pci_hot_reset) == 12, "VFIO_DEVICE_PCI_HOT_RESET");

#endif
