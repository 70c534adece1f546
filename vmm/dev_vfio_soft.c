// SPDX-License-Identifier: Apache-2.0
/* --vfio soft=NAME: a device that lives in this process. */
#include <string.h>

#include "devices/test/soft_vfio.h"
#include "postern/log.h"
#include "vmm/dev_vfio_soft.h"

int vfio_soft_open(struct iommufd *ctx, const char *name, struct vfio_io *io)
{
	int rc = soft_vfio_new(ctx, io);

	if (rc)
		log_error("--vfio soft=%s: the device cannot be made: %s", name, strerror(-rc));
	return rc;
}
