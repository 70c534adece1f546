// SPDX-License-Identifier: Apache-2.0
/* One assigned device, bound and able to reach no memory: reset, asked what it is, described. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#include "devices/vfio/internal.h"
#include "postern/log.h"

static int device_query(struct vfio_device *dev)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	int ret = vfio_io_ctl(&dev->io, VFIO_DEVICE_GET_INFO, &info);

	if (ret < 0) {
		log_error("%s: the kernel does not describe the device: %s; see 'dmesg'", dev->name,
			  strerror(-ret));
		return ret;
	}
	if (!(info.flags & VFIO_DEVICE_FLAGS_PCI)) {
		log_error("%s: not a PCI device; only those can be assigned", dev->name);
		return -EINVAL;
	}
	vfio_device_reset_query(dev, info.flags);
	return 0;
}

/* Configuration space as the kernel presents it, into HW. */
static int device_read_config(struct vfio_device *dev, uint8_t *hw)
{
	struct vfio_region_info region = {
		.argsz = sizeof(region),
		.index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	unsigned size;
	ssize_t got;
	int ret = vfio_io_ctl(&dev->io, VFIO_DEVICE_GET_REGION_INFO, &region);

	if (ret < 0 || region.size < 256) {
		ret = ret < 0 ? ret : -EINVAL;
		log_error("%s: the kernel does not describe its configuration space: %s; see "
			  "'dmesg'",
			  dev->name, strerror(-ret));
		return ret;
	}
	size = region.size < PCI_CONFIG_SIZE ? 256 : PCI_CONFIG_SIZE;
	got = dev->io.ops->pread(&dev->io, hw, size, region.offset);
	if (got != (ssize_t)size) {
		log_error("%s: cannot read its configuration space: %s; see 'dmesg'", dev->name,
			  got < 0 ? strerror((int)-got) : "a part is missing");
		return got < 0 ? (int)got : -EIO;
	}
	ret = vfio_config_plan(&dev->config, hw, size);
	if (ret == -ENODEV)
		log_error("%s: the device does not answer (asleep or gone); try: echo 1 > "
			  "/sys/bus/pci/devices/%s/reset",
			  dev->name, dev->node.bdf);
	else if (ret)
		log_error("%s: a bridge, not an endpoint; assign the devices behind it instead",
			  dev->name);
	dev->config.region = region.offset;
	return ret;
}

/* Machine reset. The PCI core has undecoded the BARs and reset MSI-X. */
static void device_function_reset(struct pci_function *fn)
{
	struct vfio_device *dev = vfio_device_of(fn);

	/* No DMA while it is reset, and none after until a driver asks for it. */
	vfio_config_reset(dev);
	vfio_device_reset(dev, true);
	if (dev->following)
		vfio_follow_device_changed(&dev->host->follow, dev->follower.devid);
}

static const struct pci_function_ops device_ops = {
	.config_read = vfio_config_read,
	.config_write = vfio_config_write,
	.bar_read = vfio_bar_read,
	.bar_write = vfio_bar_write,
	.bar_mapped = vfio_bar_mapped,
	.reset = device_function_reset,
};

/* The function that the guest sees, from the plan. */
static int device_describe(struct vfio_device *dev, const uint8_t *hw, struct msi_sink *sink)
{
	struct pci_function *fn = &dev->fn;
	const struct pci_id id = {
		.vendor = (uint16_t)(hw[PCI_VENDOR_ID] | hw[PCI_VENDOR_ID + 1] << 8),
		.device = (uint16_t)(hw[PCI_DEVICE_ID] | hw[PCI_DEVICE_ID + 1] << 8),
		.subsystem_vendor = (uint16_t)(hw[PCI_SUBSYSTEM_VENDOR_ID] |
					       hw[PCI_SUBSYSTEM_VENDOR_ID + 1] << 8),
		.subsystem = (uint16_t)(hw[PCI_SUBSYSTEM_ID] | hw[PCI_SUBSYSTEM_ID + 1] << 8),
		.class_code = (uint32_t)hw[PCI_CLASS_PROG] | (uint32_t)hw[PCI_CLASS_PROG + 1] << 8 |
			      (uint32_t)hw[PCI_CLASS_PROG + 2] << 16,
		.revision = hw[PCI_REVISION_ID],
	};
	struct vfio_config *c = &dev->config;
	const size_t rest = PCI_CONFIG_SIZE - PCI_STD_HEADER_SIZEOF;
	int ret;

	pci_function_init(fn, dev->name, &device_ops, &id);
	fn->sink = sink;
	ret = vfio_bars_query(dev);
	if (!ret)
		ret = vfio_bars_add(dev, hw);
	if (ret)
		return ret;
	fn->config[PCI_STATUS] = c->image[PCI_STATUS];
	fn->config[PCI_CAPABILITY_LIST] = c->image[PCI_CAPABILITY_LIST];
	memcpy(&fn->config[PCI_STD_HEADER_SIZEOF], &c->image[PCI_STD_HEADER_SIZEOF], rest);
	memcpy(&fn->writable[PCI_STD_HEADER_SIZEOF], &c->writable[PCI_STD_HEADER_SIZEOF], rest);
	/* From here on the capability lists are taken: nothing else may be appended. */
	if (c->msix) {
		ret = pci_adopt_msix(fn, c->msix);
		if (ret) {
			log_error("%s: its MSI-X capability makes no sense: %s; this device cannot "
				  "be assigned",
				  dev->name, strerror(-ret));
			return ret;
		}
		fn->msix.vector_changed = vfio_vector_changed;
	}
	return 0;
}

static int device_pin(struct vfio_device *dev, const uint8_t *hw,
		      const struct vfio_device_config *config)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = VFIO_PCI_INTX_IRQ_INDEX};
	uint8_t *live = &dev->config.from_device[PCI_STATUS];
	int ret;

	if (!config->intx || !hw[PCI_INTERRUPT_PIN] ||
	    vfio_io_ctl(&dev->io, VFIO_DEVICE_GET_IRQ_INFO, &info) < 0 || !info.count)
		return 0;
	vfio_quiesce(config, true); /* others share the line */
	ret = vfio_intx_init(&dev->intx, &dev->io, dev->name, config->loop, config->intx);
	vfio_quiesce(config, false);
	if (ret) {
		log_error("%s: cannot watch its interrupt pin: %s; raise 'ulimit -n'", dev->name,
			  strerror(-ret));
		return ret;
	}
	/* Whichever pin it is on the host, here it is the only function of its slot: INTA. */
	dev->fn.config[PCI_INTERRUPT_PIN] = 1;
	*live |= PCI_STATUS_INTERRUPT;
	return 0;
}

static int device_irqs(struct vfio_device *dev, struct msi_sink *sink)
{
	bool msix = dev->config.msix;
	struct vfio_irq_info info = {
		.argsz = sizeof(info),
		.index = msix ? VFIO_PCI_MSIX_IRQ_INDEX : VFIO_PCI_MSI_IRQ_INDEX,
	};
	unsigned shown = msix ? dev->fn.msix.vectors : dev->config.msi ? 1 : 0;
	int ret;

	if (!shown) {
		if (!dev->intx.line)
			log_info("%s: has no interrupts that can be given to the guest", dev->name);
		return 0;
	}
	ret = vfio_io_ctl(&dev->io, VFIO_DEVICE_GET_IRQ_INFO, &info);
	if (ret < 0) {
		log_error("%s: the kernel does not describe its interrupts: %s; see 'dmesg'",
			  dev->name, strerror(-ret));
		return ret;
	}
	if (shown > info.count)
		shown = info.count;
	return vfio_irqs_init(&dev->irqs, &dev->io, sink, dev->name, info.index, shown,
			      !(info.flags & VFIO_IRQ_INFO_NORESIZE));
}

static void device_fini(struct vfio_device *dev)
{
	pci_function_fini(&dev->fn);
	vfio_irqs_fini(&dev->irqs);
	vfio_loop_sink_fini(&dev->loop_sink);
	vfio_intx_fini(&dev->intx);
	vfio_bars_unmap(dev);
}

int vfio_device_setup(struct vfio_device *dev, const struct vfio_device_config *config)
{
	uint8_t hw[PCI_CONFIG_SIZE] = {0};
	struct msi_sink *sink = config->sink;
	int ret = device_query(dev);

	if (ret)
		return ret;
	vfio_device_reset(dev, false);
	ret = device_read_config(dev, hw);
	if (ret)
		return ret;
	if (config->irq_loop) {
		ret = vfio_loop_sink_init(&dev->loop_sink, config->loop, dev->name, sink);
		if (ret) {
			log_error("%s: cannot watch its interrupts: %s; raise 'ulimit -n'",
				  dev->name, strerror(-ret));
			return ret;
		}
		sink = &dev->loop_sink.sink;
	}
	ret = device_describe(dev, hw, sink);
	if (!ret)
		ret = device_pin(dev, hw, config);
	if (!ret)
		ret = device_irqs(dev, sink);
	if (ret) {
		vfio_quiesce(config, true);
		device_fini(dev);
		vfio_quiesce(config, false);
		return ret;
	}
	vfio_notifiers_start(dev, config->loop);
	vfio_bars_map(dev);
	vfio_config_reset(dev); /* the device's own command register agrees with what is shown */
	return 0;
}

void vfio_device_teardown(struct vfio_device *dev)
{
	/* It stops doing DMA before anything it could reach goes away. */
	vfio_config_reset(dev);
	vfio_device_reset(dev, false);
	vfio_notifiers_stop(dev);
	device_fini(dev);
}
