// SPDX-License-Identifier: Apache-2.0
/*
 * Serving an assigned device's configuration space. What is emulated lives in the PCI core; the
 * bits that the plan passes through are read from and written to the device.
 */
#include <linux/pci_regs.h>
#include <string.h>

#include "devices/vfio/internal.h"

/* The bits that reach the device's own command register. */
#define COMMAND_PASSED (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)

static uint32_t mask_at(const uint8_t *mask, unsigned offset, unsigned width)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < width; i++)
		value |= (uint32_t)mask[offset + i] << (8 * i);
	return value;
}

static bool touches(unsigned offset, unsigned width, unsigned reg, unsigned reg_width)
{
	return offset < reg + reg_width && reg < offset + width;
}

/* A pin that leads nowhere now must not be pulled. */
static void command_write(struct vfio_device *dev, uint16_t command)
{
	uint64_t at = dev->config.region + PCI_COMMAND;
	uint64_t value = vfio_io_read(&dev->io, at, 2);

	vfio_io_write(&dev->io, at, 2,
		      (value & ~(uint64_t)(COMMAND_PASSED | PCI_COMMAND_INTX_DISABLE)) |
			      (command & COMMAND_PASSED) |
			      (dev->intx.on ? 0 : PCI_COMMAND_INTX_DISABLE));
}

static bool msi_enabled(const struct vfio_device *dev)
{
	return dev->config.msi &&
	       pci_get16(&dev->fn, dev->config.msi + PCI_MSI_FLAGS) & PCI_MSI_FLAGS_ENABLE;
}

/* The pin, as software has set it up now: neither disabled nor replaced by messages. */
static void intx_update(struct vfio_device *dev)
{
	uint16_t command = pci_get16(&dev->fn, PCI_COMMAND);
	bool on = dev->intx.on;

	vfio_intx_set(&dev->intx, command & COMMAND_PASSED &&
					  !(command & PCI_COMMAND_INTX_DISABLE) &&
					  !msi_enabled(dev) && !pci_msix_enabled(&dev->fn));
	if (dev->intx.on != on)
		command_write(dev, command);
}

uint32_t vfio_config_read(struct pci_function *fn, unsigned offset, unsigned width)
{
	struct vfio_device *dev = vfio_device_of(fn);
	uint32_t value = pci_config_read(fn, offset, width);
	uint32_t live = mask_at(dev->config.from_device, offset, width);

	if (live) {
		uint64_t hw = vfio_io_read(&dev->io, dev->config.region + offset, width);

		value = (value & ~live) | ((uint32_t)hw & live);
	}
	return value;
}

/* MSI as software has set it up now: one vector. */
static void msi_update(struct vfio_device *dev)
{
	const struct pci_function *fn = &dev->fn;
	unsigned cap = dev->config.msi;
	uint16_t flags = pci_get16(fn, cap + PCI_MSI_FLAGS);
	bool wide = flags & PCI_MSI_FLAGS_64BIT;
	struct msi_msg msg = {
		.addr = pci_get32(fn, cap + PCI_MSI_ADDRESS_LO),
		.data = pci_get16(fn, cap + (wide ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32)),
	};

	if (wide)
		msg.addr |= (uint64_t)pci_get32(fn, cap + PCI_MSI_ADDRESS_HI) << 32;
	if (flags & PCI_MSI_FLAGS_ENABLE)
		vfio_irqs_set(&dev->irqs, 0, &msg);
	else
		vfio_irqs_disable(&dev->irqs);
}

void vfio_vector_changed(struct pci_function *fn, unsigned vector, const struct msi_msg *msg)
{
	vfio_irqs_set(&vfio_device_of(fn)->irqs, vector, msg);
}

/* The registers that a function-level reset clears (PCI Express 6.6.2), where they are emulated. */
static void function_reset(struct vfio_device *dev)
{
	struct pci_function *fn = &dev->fn;

	pci_config_write(fn, PCI_COMMAND, 2, 0);
	command_write(dev, 0);
	for (unsigned i = 0; i < PCI_BARS; i++)
		pci_config_write(fn, PCI_BASE_ADDRESS_0 + 4 * i, 4, 0);
	if (dev->config.msi)
		pci_config_write(fn, dev->config.msi + PCI_MSI_FLAGS, 2, 0);
	if (dev->config.msix)
		pci_config_write(fn, dev->config.msix + PCI_MSIX_FLAGS, 2, 0);
	for (unsigned i = 0; i < fn->msix.vectors; i++)
		pci_msix_write(fn,
			       fn->msix.table_offset + i * PCI_MSIX_ENTRY_SIZE +
				       PCI_MSIX_ENTRY_VECTOR_CTRL,
			       4, PCI_MSIX_ENTRY_CTRL_MASKBIT);
	vfio_irqs_disable(&dev->irqs);
}

/* Whether a write to the device of VALUE at OFFSET asked it to reset itself. */
static bool starts_reset(struct vfio_device *dev, unsigned offset, unsigned width, uint32_t value)
{
	const struct vfio_config *c = &dev->config;
	unsigned devctl = c->express + PCI_EXP_DEVCTL + 1, af = c->af + PCI_AF_CTRL;

	if (c->express && touches(offset, width, devctl, 1) &&
	    (pci_get32(&dev->fn, c->express + PCI_EXP_DEVCAP) & PCI_EXP_DEVCAP_FLR))
		return value >> (8 * (devctl - offset)) & PCI_EXP_DEVCTL_BCR_FLR >> 8;
	if (c->af && touches(offset, width, af, 1) &&
	    (dev->fn.config[c->af + PCI_AF_CAP] & PCI_AF_CAP_FLR))
		return value >> (8 * (af - offset)) & PCI_AF_CTRL_FLR;
	return false;
}

void vfio_config_write(struct pci_function *fn, unsigned offset, unsigned width, uint32_t value)
{
	struct vfio_device *dev = vfio_device_of(fn);
	const struct vfio_config *c = &dev->config;
	uint32_t pass = mask_at(c->to_device, offset, width);
	bool powered = dev->powered, command = touches(offset, width, PCI_COMMAND, 2);
	bool messages = (c->msi && touches(offset, width, c->msi, 14)) ||
			(c->msix && touches(offset, width, c->msix + PCI_MSIX_FLAGS, 2));
	uint16_t before = pci_get16(fn, PCI_COMMAND), after;

	if (command) {
		/*
		 * The device decodes before the guest's accesses can reach it, and for as long as
		 * they can: the kernel refuses the memory of a device that does not.
		 */
		after = before;
		for (unsigned i = 0; i < width; i++) {
			if (offset + i == PCI_COMMAND)
				after = (uint16_t)((after & 0xff00) | (value >> (8 * i) & 0xff));
			else if (offset + i == PCI_COMMAND + 1)
				after = (uint16_t)((after & 0x00ff) | (value >> (8 * i) & 0xff)
									      << 8);
		}
		if (after & ~before & (PCI_COMMAND_IO | PCI_COMMAND_MEMORY))
			command_write(dev, before | after);
	}
	if (messages) /* the kernel has one kind of interrupt at a time */
		vfio_intx_set(&dev->intx, false);
	pci_config_write(fn, offset, width, value);
	if (command)
		command_write(dev, pci_get16(fn, PCI_COMMAND));

	if (c->pm && touches(offset, width, c->pm + PCI_PM_CTRL, 1))
		powered = !(value >> (8 * (c->pm + PCI_PM_CTRL - offset)) & PCI_PM_CTRL_STATE_MASK);
	if (!powered) /* memory that is mapped but does not answer would end the vCPU */
		vfio_bars_show(dev, false);
	if (pass) {
		uint32_t clears = mask_at(c->clears, offset, width);
		uint64_t at = c->region + offset;
		uint32_t hw = (uint32_t)vfio_io_read(&dev->io, at, width);

		vfio_io_write(&dev->io, at, width, (hw & ~pass & ~clears) | (value & pass));
		if (starts_reset(dev, offset, width, value)) {
			function_reset(dev);
			powered = true; /* the kernel wakes a device to reset it */
		}
	}
	if (powered)
		vfio_bars_show(dev, true);
	if (c->msi && touches(offset, width, c->msi, 14))
		msi_update(dev);
	if (c->msix && touches(offset, width, c->msix + PCI_MSIX_FLAGS, 2) && !pci_msix_enabled(fn))
		vfio_irqs_disable(&dev->irqs);
	intx_update(dev);
}

/* A reset would do it, but not every device has one. */
static void power_up(struct vfio_device *dev)
{
	uint64_t at = dev->config.region + dev->config.pm + PCI_PM_CTRL, state;

	if (!dev->config.pm)
		return;
	state = vfio_io_read(&dev->io, at, 2);
	if (state & PCI_PM_CTRL_STATE_MASK)
		vfio_io_write(&dev->io, at, 2, state & ~(uint64_t)PCI_PM_CTRL_STATE_MASK);
}

void vfio_config_reset(struct vfio_device *dev)
{
	struct pci_function *fn = &dev->fn;

	vfio_irqs_disable(&dev->irqs);
	vfio_intx_set(&dev->intx, false);
	command_write(dev, 0);
	power_up(dev);
	vfio_bars_show(dev, true);
	memcpy(&fn->config[PCI_STD_HEADER_SIZEOF], &dev->config.image[PCI_STD_HEADER_SIZEOF],
	       PCI_CONFIG_SIZE - PCI_STD_HEADER_SIZEOF);
}
