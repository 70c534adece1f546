/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An assigned device without a kernel behind it: registers in an array, a VFIO node that serves
 * them and keeps a diary, and a root with buses to reach the device as a guest does.
 */
#ifndef POSTERN_VFIO_DEVICE_FIXTURE_H
#define POSTERN_VFIO_DEVICE_FIXTURE_H

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/vfio/internal.h"

#define ECAM	      UINT64_C(0xe0000000)
#define MEM32	      UINT64_C(0xc0000000)
#define DEVFN	      PCI_DEVFN(3, 0)
#define CONFIG_REGION UINT64_C(0x70000000000)
#define BAR_SIZE      0x4000u
#define PM	      0x40u
#define MSI	      0x50u
#define EXPRESS	      0x60u
#define MSIX	      0xb0u
#define VECTORS	      4u

/* What reached the kernel, in order. */
enum event {
	EVENT_NONE,
	EVENT_COMMAND, /* the command register was written: value */
	EVENT_POWER,   /* PMCSR: value */
	EVENT_RESET,
	EVENT_FLR,
	EVENT_HOT_RESET,
	EVENT_IRQS, /* SET_IRQS: index << 8 | action; value: count */
};

struct diary {
	enum event event;
	uint32_t index, action, count;
	uint16_t value;
};

static struct {
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t bar[BAR_SIZE];
	bool can_reset;
	unsigned slot; /* functions that a hot reset reaches; 0: there is none */
	bool slot_owned;
	uint32_t irq_count[5]; /* by VFIO_PCI_*_IRQ_INDEX */
	int32_t irq_fd[5];     /* first descriptor of each, 0: none */
	struct diary diary[256];
	unsigned events;
} hw;

static struct bus mmio, pio;
static struct pci_root *root;
static struct vfio_device dev;
static struct event_loop *loop;

static inline void note(enum event event, uint16_t value)
{
	if (hw.events < ARRAY_SIZE(hw.diary))
		hw.diary[hw.events++] = (struct diary){.event = event, .value = value};
}

/* Position of the first EVENT, or -1. */
static inline int find(enum event event)
{
	for (unsigned i = 0; i < hw.events; i++) {
		if (hw.diary[i].event == event)
			return (int)i;
	}
	return -1;
}

static inline uint16_t hw16(unsigned at)
{
	return (uint16_t)(hw.config[at] | hw.config[at + 1] << 8);
}

static inline void hw_set16(unsigned at, uint16_t value)
{
	hw.config[at] = (uint8_t)value;
	hw.config[at + 1] = (uint8_t)(value >> 8);
}

static inline void hw_set32(unsigned at, uint32_t value)
{
	hw_set16(at, (uint16_t)value);
	hw_set16(at + 2, (uint16_t)(value >> 16));
}

static inline int hw_set_irqs(const struct vfio_irq_set *set)
{
	int32_t fd = 0;

	cr_assert_lt(set->index, ARRAY_SIZE(hw.irq_fd));
	note(EVENT_IRQS, 0);
	hw.diary[hw.events - 1].index = set->index;
	hw.diary[hw.events - 1].action = set->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
	hw.diary[hw.events - 1].count = set->count;
	if (!(set->flags & VFIO_IRQ_SET_ACTION_TRIGGER))
		return hw.irq_fd[set->index] ? 0 : -EINVAL;
	if (set->count) {
		/* One kind of interrupt at a time, as in vfio_pci_intrs.c. */
		for (unsigned i = 0; i <= VFIO_PCI_MSIX_IRQ_INDEX; i++)
			if (set->index <= VFIO_PCI_MSIX_IRQ_INDEX && i != set->index &&
			    hw.irq_fd[i])
				return -EINVAL;
		memcpy(&fd, set->data, sizeof(fd));
	}
	hw.irq_fd[set->index] = fd;
	return 0;
}

static inline int hw_hot_reset_info(struct vfio_pci_hot_reset_info *info)
{
	size_t room = info->argsz - sizeof(*info);

	if (!hw.slot)
		return -ENODEV;
	info->count = hw.slot;
	if (room / sizeof(struct vfio_pci_dependent_device) < hw.slot)
		return -ENOSPC;
	info->flags = 1 | (hw.slot_owned ? VFIO_UAPI_HOT_RESET_OWNED : 0);
	return 0;
}

static inline int hw_ioctl(struct vfio_io *io, unsigned long request, void *arg)
{
	struct vfio_region_info *region = arg;
	struct vfio_device_info *info = arg;
	struct vfio_irq_info *irq = arg;

	(void)io;
	switch (request) {
	case VFIO_DEVICE_GET_INFO:
		info->flags = VFIO_DEVICE_FLAGS_PCI | (hw.can_reset ? VFIO_DEVICE_FLAGS_RESET : 0);
		return 0;
	case VFIO_DEVICE_GET_REGION_INFO:
		region->size = region->index == VFIO_PCI_CONFIG_REGION_INDEX ? PCI_CONFIG_SIZE
			       : region->index == 0			     ? BAR_SIZE
									     : 0;
		region->offset = (uint64_t)region->index << 40;
		return 0;
	case VFIO_DEVICE_GET_IRQ_INFO:
		irq->count = hw.irq_count[irq->index];
		irq->flags = VFIO_IRQ_INFO_EVENTFD;
		return irq->count ? 0 : -EINVAL;
	case VFIO_DEVICE_SET_IRQS:
		return hw_set_irqs(arg);
	case VFIO_DEVICE_RESET:
		note(EVENT_RESET, 0);
		return hw.can_reset ? 0 : -ENOTTY;
	case VFIO_DEVICE_GET_PCI_HOT_RESET_INFO:
		return hw_hot_reset_info(arg);
	case VFIO_DEVICE_PCI_HOT_RESET:
		/* A descriptor of a group would be refused (Linux vfio_pci_ioctl_pci_hot_reset()).
		 */
		cr_assert_eq(((struct vfio_pci_hot_reset *)arg)->count, 0);
		note(EVENT_HOT_RESET, 0);
		return hw.slot && hw.slot_owned ? 0 : -EINVAL;
	default:
		return -ENOTTY;
	}
}

static inline uint8_t *hw_at(uint64_t offset, size_t len)
{
	uint64_t at = offset & GENMASK(39, 0);

	if (offset >> 40 == VFIO_PCI_CONFIG_REGION_INDEX && range_fits(at, len, PCI_CONFIG_SIZE))
		return hw.config + at;
	if (offset >> 40 == 0 && range_fits(at, len, BAR_SIZE))
		return hw.bar + at;
	return NULL;
}

static inline ssize_t hw_pread(struct vfio_io *io, void *buf, size_t len, uint64_t offset)
{
	const uint8_t *p = hw_at(offset, len);

	(void)io;
	if (!p)
		return -EINVAL;
	memcpy(buf, p, len);
	return (ssize_t)len;
}

static inline ssize_t hw_pwrite(struct vfio_io *io, const void *buf, size_t len, uint64_t offset)
{
	uint8_t *p = hw_at(offset, len);

	(void)io;
	if (!p)
		return -EINVAL;
	memcpy(p, buf, len);
	if (offset == CONFIG_REGION + PCI_COMMAND)
		note(EVENT_COMMAND, hw16(PCI_COMMAND));
	if (offset == CONFIG_REGION + PM + PCI_PM_CTRL)
		note(EVENT_POWER, hw16(PM + PCI_PM_CTRL));
	if (offset == CONFIG_REGION + EXPRESS + PCI_EXP_DEVCTL &&
	    hw16(EXPRESS + PCI_EXP_DEVCTL) & PCI_EXP_DEVCTL_BCR_FLR) {
		note(EVENT_FLR, 0);
		hw_set16(EXPRESS + PCI_EXP_DEVCTL, 0);
		hw_set16(PM + PCI_PM_CTRL, 0); /* the kernel wakes it */
	}
	return (ssize_t)len;
}

static const struct vfio_io_ops hw_ops = {
	.ioctl = hw_ioctl, .pread = hw_pread, .pwrite = hw_pwrite};

/* ---- around it ---- */

struct msi_route {
	struct msi_msg msg;
	bool set;
};

static unsigned routes, messages;
static struct msi_msg last_message;

static inline int sink_send(struct msi_sink *sink, const struct msi_msg *msg)
{
	(void)sink;
	last_message = *msg;
	messages++;
	return 0;
}

static inline int sink_route_new(struct msi_sink *sink, int eventfd, struct msi_route **route)
{
	(void)sink;
	(void)eventfd;
	*route = calloc(1, sizeof(**route));
	cr_assert_not_null(*route);
	routes++;
	return 0;
}

static inline int sink_route_set(struct msi_route *route, const struct msi_msg *msg)
{
	route->set = msg;
	return 0;
}

static inline void sink_route_free(struct msi_route *route)
{
	routes--;
	free(route);
}

static const struct msi_sink_ops sink_ops = {
	.send = sink_send,
	.route_new = sink_route_new,
	.route_set = sink_route_set,
	.route_free = sink_route_free,
};
static struct msi_sink sink = {.ops = &sink_ops};

/* PM, Express, and MSI-X (or, without it, MSI); one memory BAR with the MSI-X table at 2000h. */
static inline void hardware(bool msix)
{
	memset(&hw, 0, sizeof(hw));
	hw.can_reset = true;
	hw_set16(PCI_VENDOR_ID, 0x1b36);
	hw_set16(PCI_STATUS, PCI_STATUS_CAP_LIST);
	hw.config[PCI_INTERRUPT_PIN] = 1;
	hw.config[PCI_CAPABILITY_LIST] = PM;
	hw.config[PM] = PCI_CAP_ID_PM;
	hw.config[PM + 1] = EXPRESS;
	hw.config[EXPRESS] = PCI_CAP_ID_EXP;
	hw.config[EXPRESS + 1] = msix ? MSIX : MSI;
	hw_set16(EXPRESS + 2, 2);
	hw_set32(EXPRESS + PCI_EXP_DEVCAP, PCI_EXP_DEVCAP_FLR);
	if (msix) {
		hw.config[MSIX] = PCI_CAP_ID_MSIX;
		hw_set16(MSIX + PCI_MSIX_FLAGS, VECTORS - 1);
		hw_set32(MSIX + PCI_MSIX_TABLE, 0x2000);
		hw_set32(MSIX + PCI_MSIX_PBA, 0x3000);
		hw.irq_count[VFIO_PCI_MSIX_IRQ_INDEX] = VECTORS;
	} else {
		hw.config[MSI] = PCI_CAP_ID_MSI;
		hw.irq_count[VFIO_PCI_MSI_IRQ_INDEX] = 1;
	}
	hw.irq_count[VFIO_PCI_INTX_IRQ_INDEX] = 1;
}

/* What vfio_device_setup() says to the hardware; when it refuses, nothing is left. */
static inline int try_plug(const struct vfio_device_config *more)
{
	static const struct pci_windows windows = {
		.ecam_base = ECAM,
		.buses = 1,
		.mem32_base = MEM32,
		.mem32_size = 0x1000000,
		.mem64_base = 0x4000000000,
		.mem64_size = 0x40000000,
		.io_base = 0xc000,
		.io_size = 0x1000,
	};
	struct vfio_device_config config = *more;
	int ret;

	bus_init(&mmio);
	bus_init(&pio);
	cr_assert_eq(pci_root_new(&root, &mmio, &pio, &windows), 0);
	cr_assert_eq(event_loop_new(EVENT_LOOP_POLL, &loop), 0);
	memset(&dev, 0, sizeof(dev));
	dev.io = (struct vfio_io){.ops = &hw_ops, .fd = -1};
	dev.powered = true;
	snprintf(dev.name, sizeof(dev.name), "vfio test");
	config.sink = &sink;
	config.loop = loop;
	ret = vfio_device_setup(&dev, &config);
	if (ret) {
		event_loop_free(loop);
		pci_root_free(root);
		return ret;
	}
	cr_assert_eq(pci_root_add(root, &dev.fn, DEVFN), 0);
	cr_assert_eq(pci_root_assign(root), 0);
	return 0;
}

static inline void plug(const struct vfio_device_config *more)
{
	cr_assert_eq(try_plug(more), 0);
}

static inline void unplug(void)
{
	vfio_device_teardown(&dev);
	event_loop_free(loop);
	pci_root_free(root);
	cr_assert_eq(routes, 0);
	cr_assert_eq(mmio.count + pio.count, 0, "the buses are empty again");
}

/* ---- the guest ---- */

static inline uint32_t cfg_read(unsigned offset, unsigned width)
{
	uint64_t value;

	bus_read(&mmio, ECAM + ((uint64_t)DEVFN << 12) + offset, width, &value);
	return (uint32_t)value;
}

static inline void cfg_write(unsigned offset, unsigned width, uint32_t value)
{
	bus_write(&mmio, ECAM + ((uint64_t)DEVFN << 12) + offset, width, value);
}

static inline uint64_t bar_address(void)
{
	return cfg_read(PCI_BASE_ADDRESS_0, 4) & ~UINT64_C(15);
}

static inline void bar_write(uint64_t offset, uint32_t value)
{
	bus_write(&mmio, bar_address() + offset, 4, value);
}

static inline uint32_t bar_read(uint64_t offset)
{
	uint64_t value;

	bus_read(&mmio, bar_address() + offset, 4, &value);
	return (uint32_t)value;
}

/* Vector VECTOR of an enabled MSI-X goes to a plausible message. */
static inline void msix_start(unsigned vector)
{
	cfg_write(MSIX + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	bar_write(0x2000 + 16 * vector, 0xfee00000);
	bar_write(0x2008 + 16 * vector, 0x41);
	bar_write(0x200c + 16 * vector, 0);
}

#endif
