// SPDX-License-Identifier: Apache-2.0
/* Which VFIO device nodes this host has and whether they open, for doctor. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "devices/vfio/path.h"
#include "devices/vfio/uapi.h"
#include "devices/vfio/vfio.h"

void vfio_nodes_visit(void (*visit)(void *opaque, const char *node, const char *bdf, int error),
		      void *opaque)
{
	const struct vfio_roots *roots = &vfio_system_roots;
	struct dirent **names;
	int count = scandir(roots->dev, &names, NULL, versionsort);

	for (int i = 0; i < count; i++) {
		char node[sizeof(((struct vfio_node *)0)->node)], bdf[16];
		const char *name = names[i]->d_name;
		int fd;

		/* Without an IOMMU the kernel calls them noiommu-vfioN. */
		if (strstr(name, "vfio") && (size_t)snprintf(node, sizeof(node), "%s/%s",
							     roots->dev, name) < sizeof(node)) {
			if (vfio_path_bdf_of_name(roots, name, bdf))
				snprintf(bdf, sizeof(bdf), "?");
			fd = open(node, O_RDWR | O_CLOEXEC);
			visit(opaque, node, bdf, fd < 0 ? errno : 0);
			if (fd >= 0)
				close(fd);
		}
		free(names[i]);
	}
	if (count >= 0)
		free(names);
}

int vfio_node_bind(const char *node, int iommufd, uint32_t *dev_id)
{
	struct vfio_uapi_bind bind = {.argsz = sizeof(bind), .iommufd = iommufd};
	int fd = open(node, O_RDWR | O_CLOEXEC), rc;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, VFIO_UAPI_BIND, &bind) < 0) {
		rc = -errno;
		close(fd);
		return rc;
	}
	*dev_id = bind.out_devid;
	return fd;
}
