// SPDX-License-Identifier: Apache-2.0
/* One assigned device: opened, bound, set up, attached, published; and all that in reverse. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/internal.h"
#include "postern/log.h"

static int device_open(struct vfio_device *dev, const struct vfio_device_config *config)
{
	const struct vfio_roots *roots = &vfio_system_roots;
	char why[VFIO_WHY_SIZE] = "";
	int ret;

	if (config->io) {
		snprintf(dev->node.bdf, sizeof(dev->node.bdf), "%s", config->path);
		ret = 0;
	} else if (config->path) {
		ret = vfio_path_resolve(roots, config->path, &dev->node, why);
		if (!ret)
			ret = vfio_path_open(roots, &dev->node, why);
		if (ret >= 0)
			dev->io.fd = ret;
	} else {
		ret = vfio_path_of_fd(roots, config->fd, &dev->node, why);
	}
	if (ret < 0) {
		log_error("%s", why);
		return ret;
	}
	snprintf(dev->name, sizeof(dev->name), "vfio %s", dev->node.bdf);
	return 0;
}

static int device_bind(struct vfio_device *dev)
{
	struct vfio_uapi_bind bind = {
		.argsz = sizeof(bind),
		.iommufd = iommufd_fd(dev->host->ctx),
	};
	char why[VFIO_WHY_SIZE] = "";
	int ret = vfio_io_ctl(&dev->io, VFIO_UAPI_BIND, &bind);

	if (ret < 0 && !iommufd_is_soft(dev->host->ctx)) {
		vfio_path_explain_bind(&vfio_system_roots, &dev->node, -ret, why);
		log_error("%s", why);
		return ret;
	}
	if (ret < 0) {
		log_error("%s: cannot be bound to the soft iommufd: %s", dev->name, strerror(-ret));
		return ret;
	}
	dev->dev_id = bind.out_devid;
	return 0;
}

/* One side in the kernel and the other here do not meet. */
static int check_sides(const struct vfio_host *host, const struct vfio_device_config *config)
{
	const char *name = config->path ? config->path : "(descriptor)";

	if (!config->io && iommufd_is_soft(host->ctx)) {
		log_error("vfio %s: a device of this host needs the kernel's iommufd, not the soft "
			  "one; run with --iommufd kernel on a kernel with CONFIG_IOMMUFD",
			  name);
		return -EOPNOTSUPP;
	}
	if (config->io && !iommufd_is_soft(host->ctx)) {
		log_error("vfio %s: the kernel's iommufd knows no such device; run with --iommufd "
			  "soft",
			  name);
		return -EOPNOTSUPP;
	}
	return 0;
}

int vfio_device_bind(struct vfio_host *host, const struct vfio_device_config *config,
		     struct vfio_device **device)
{
	struct vfio_io io = {.ops = &vfio_io_system, .fd = config->path ? -1 : config->fd};
	struct vfio_device *dev = NULL;
	int ret;

	if (config->io)
		io = *config->io;
	ret = check_sides(host, config);
	if (!ret) {
		dev = calloc(1, sizeof(*dev));
		ret = dev ? 0 : -ENOMEM;
	}
	if (ret) {
		io.ops->close(&io);
		return ret;
	}
	dev->host = host;
	dev->io = io;
	dev->iommu = config->iommu;
	dev->powered = true;
	dev->wanted = config->wanted;
	dev->wanted_opaque = config->opaque;

	ret = device_open(dev, config);
	if (!ret)
		ret = vfio_host_prepare(host);
	if (!ret)
		ret = device_bind(dev);
	if (!ret)
		ret = vfio_host_admit(host, dev);
	if (ret) {
		dev->io.ops->close(&dev->io);
		free(dev);
		return ret;
	}
	*device = dev;
	return 0;
}

static int check_viommu(const struct vfio_device *dev)
{
	if (!dev->iommu || dev->steering || dev->host->engine)
		return 0;
	log_error("%s: iommu=on needs a vIOMMU that assigned devices can follow; add --viommu amd, "
		  "or say iommu=off",
		  dev->name);
	return -EINVAL;
}

int vfio_device_publish(struct vfio_device *dev, const struct vfio_device_config *config)
{
	struct vfio_host *host = dev->host;
	int ret;

	dev->steering = config->steering;
	dev->steered = config->steered;
	dev->devfn = config->devfn;
	dev->window = config->window;
	ret = check_viommu(dev);
	if (!ret)
		ret = vfio_device_setup(dev, config);
	if (ret)
		goto detach;
	vfio_quiesce(config, true);
	ret = vfio_host_attach(host, dev);
	if (ret)
		goto teardown;
	ret = pci_root_add(config->root, &dev->fn, config->devfn);
	if (ret) {
		log_error("%s: cannot be put at slot %u of the guest's bus: %s; is it taken?",
			  dev->name, config->devfn >> 3, strerror(-ret));
		goto teardown;
	}
	vfio_quiesce(config, false);
	return 0;

teardown:
	vfio_device_teardown(dev);
	vfio_host_detach(host, dev);
	vfio_quiesce(config, false);
	goto close;
detach:
	vfio_host_detach(host, dev);
close:
	dev->io.ops->close(&dev->io);
	free(dev);
	return ret;
}

int vfio_device_new(struct vfio_host *host, const struct vfio_device_config *config,
		    struct vfio_device **device)
{
	struct vfio_device *dev;
	int ret = vfio_device_bind(host, config, &dev);

	if (!ret)
		ret = vfio_device_publish(dev, config);
	if (!ret)
		*device = dev;
	return ret;
}

int vfio_device_attach(struct vfio_device *dev, uint32_t pt_id)
{
	return vfio_host_attach_to(dev->host, dev, pt_id);
}

uint32_t vfio_device_id(const struct vfio_device *dev)
{
	return dev->dev_id;
}

uint64_t vfio_device_loop_messages(const struct vfio_device *dev)
{
	return dev->loop_sink.sent;
}

void vfio_device_free(struct vfio_device *dev)
{
	if (!dev)
		return;
	if (dev->fn.ops) /* else it was bound and no more */
		vfio_device_teardown(dev);
	vfio_host_detach(dev->host, dev);
	dev->io.ops->close(&dev->io);
	free(dev);
}
