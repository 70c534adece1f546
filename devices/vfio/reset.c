// SPDX-License-Identifier: Apache-2.0
/*
 * Resetting an assigned device: alone where it can be, else with its whole slot or bus
 * (VFIO_DEVICE_PCI_HOT_RESET), which the kernel does for those who own all that it reaches.
 */
#include <errno.h>
#include <string.h>

#include "devices/vfio/internal.h"
#include "postern/log.h"

#define REACHED_MAX 256u /* the functions of a bus */

/*
 * How many functions a reset of DEV's slot or bus reaches; 0: there is no such reset, or some of
 * them are not of this machine.
 */
static unsigned hot_reset_reach(struct vfio_device *dev)
{
	union {
		struct vfio_pci_hot_reset_info info;
		uint8_t bytes[sizeof(struct vfio_pci_hot_reset_info) +
			      REACHED_MAX * sizeof(struct vfio_pci_dependent_device)];
	} u = {0};

	u.info.argsz = sizeof(u);
	if (vfio_io_ctl(&dev->io, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &u.info) < 0 ||
	    !(u.info.flags & VFIO_UAPI_HOT_RESET_OWNED))
		return 0;
	return u.info.count;
}

void vfio_device_reset(struct vfio_device *dev, bool all)
{
	struct vfio_pci_hot_reset slot = {.argsz = sizeof(slot)};
	unsigned reach;
	int ret;

	if (dev->can_reset) {
		ret = vfio_io_ctl(&dev->io, VFIO_DEVICE_RESET, NULL);
	} else {
		reach = hot_reset_reach(dev);
		if (!reach || (reach > 1 && !all))
			return;
		ret = vfio_io_ctl(&dev->io, VFIO_DEVICE_PCI_HOT_RESET, &slot);
	}
	if (ret < 0 && !dev->reset_said)
		log_warning("%s: cannot be reset: %s; it keeps its state", dev->name,
			    strerror(-ret));
	dev->reset_said = dev->reset_said || ret < 0;
}

void vfio_device_reset_query(struct vfio_device *dev, uint32_t flags)
{
	dev->can_reset = flags & VFIO_DEVICE_FLAGS_RESET;
	if (!dev->can_reset && hot_reset_reach(dev) != 1)
		log_info("%s: cannot be reset alone: the guest finds it, and leaves it, as it is; "
			 "a machine reset resets it where all that shares its slot is assigned too",
			 dev->name);
}
