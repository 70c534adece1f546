/* SPDX-License-Identifier: Apache-2.0 */
/* Between --vfio and its devices that live in this process, which few builds have. */
#ifndef POSTERN_DEV_VFIO_SOFT_H
#define POSTERN_DEV_VFIO_SOFT_H

#include "devices/vfio/io.h"
#include "iommufd/iommufd.h"

/* A new device of CTX, the soft transport's, called NAME. 0 or -errno after saying why. */
int vfio_soft_open(struct iommufd *ctx, const char *name, struct vfio_io *io);

#endif
