/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The DMA test device as one that vfio-pci of the kernel has: regions, interrupts by eventfds,
 * reset, bound to the soft iommufd. Its DMA goes where it is attached, so that assigned devices can
 * be tried where there is neither such a device nor an IOMMU.
 *
 * It answers as drivers/vfio/pci of Linux 7.3 does. BUFFER can be mapped; the function has a
 * function-level reset; an interrupt pin it has not.
 */
#ifndef POSTERN_SOFT_VFIO_H
#define POSTERN_SOFT_VFIO_H

#include "devices/test/dma_test_regs.h"
#include "devices/vfio/io.h"
#include "iommufd/iommufd.h"

#define SOFT_VFIO_VECTORS 8u

/*
 * A new device, of the soft context CTX, which outlives it. IO is it, opened; closing it ends it.
 * -EOPNOTSUPP (CTX is the kernel's), -ENOMEM, -EMFILE, -EAGAIN (no thread).
 */
int soft_vfio_new(struct iommufd *ctx, struct vfio_io *io);

#endif
