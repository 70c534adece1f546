// SPDX-License-Identifier: Apache-2.0
/* What the kernel has to say about an assigned device: an error that it saw, or a request for it.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/vfio/internal.h"
#include "postern/log.h"

static const struct {
	uint32_t index;
	const char *name;
	enum log_level level;
	const char *message;
} kinds[VFIO_NOTIFIERS] = {
	{VFIO_PCI_ERR_IRQ_INDEX, "errors", LOG_LEVEL_ERROR,
	 "reports an uncorrectable error (PCIe AER): the guest may lose data or hang; see 'dmesg | "
	 "grep -i aer' on the host, power the guest off and reset the device"},
	{VFIO_PCI_REQ_IRQ_INDEX, "requests for it", LOG_LEVEL_WARNING,
	 "the host wants it back (its driver is being unbound, or it is being unplugged) and "
	 "waits: the guest is asked to let go of it; if it does not, power it off (SIGTERM presses "
	 "its power button)"},
};

/* The kernel repeats a request while it waits, and a device may see errors without end. */
static void notifier_ready(struct event_watch *watch, short revents)
{
	struct vfio_notifier *n = container_of(watch, struct vfio_notifier, watch);
	size_t kind = (size_t)(n - n->dev->notifier);

	(void)revents;
	if (!n->said)
		log_message(kinds[kind].level, "%s: %s", n->dev->name, kinds[kind].message);
	n->said = true;
	if (kinds[kind].index == VFIO_PCI_REQ_IRQ_INDEX && n->dev->wanted)
		n->dev->wanted(n->dev->wanted_opaque);
}

/* FD -1: signal nobody. */
static int notifier_kernel_set(struct vfio_device *dev, uint32_t index, int32_t fd)
{
	union {
		struct vfio_irq_set set;
		uint8_t bytes[sizeof(struct vfio_irq_set) + sizeof(int32_t)];
	} u = {0};
	int ret;

	u.set.argsz = sizeof(u);
	u.set.flags = VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD;
	u.set.index = index;
	u.set.count = 1;
	memcpy(u.set.data, &fd, sizeof(fd));
	ret = vfio_io_ctl(&dev->io, VFIO_DEVICE_SET_IRQS, &u.set);
	return ret < 0 ? ret : 0;
}

static int notifier_start(struct vfio_notifier *n, unsigned kind, struct event_loop *loop)
{
	int ret;

	n->watch = (struct event_watch){
		.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
		.events = POLLIN,
		.drain = true,
		.ready = notifier_ready,
	};
	if (n->watch.fd < 0)
		return -errno;
	ret = event_loop_watch(loop, &n->watch);
	if (ret)
		goto close;
	ret = notifier_kernel_set(n->dev, kinds[kind].index, n->watch.fd);
	if (ret)
		goto unwatch;
	n->loop = loop;
	return 0;
unwatch:
	event_loop_unwatch(loop, &n->watch);
close:
	close(n->watch.fd);
	return ret;
}

void vfio_notifiers_start(struct vfio_device *dev, struct event_loop *loop)
{
	for (unsigned i = 0; i < VFIO_NOTIFIERS; i++) {
		struct vfio_irq_info info = {.argsz = sizeof(info), .index = kinds[i].index};
		int ret;

		/* Errors are there for PCI Express only. */
		if (vfio_io_ctl(&dev->io, VFIO_DEVICE_GET_IRQ_INFO, &info) < 0 || !info.count)
			continue;
		dev->notifier[i].dev = dev;
		ret = notifier_start(&dev->notifier[i], i, loop);
		if (ret)
			log_warning("%s: the kernel will not tell of %s: %s", dev->name,
				    kinds[i].name, strerror(-ret));
	}
}

void vfio_notifiers_stop(struct vfio_device *dev)
{
	for (unsigned i = 0; i < VFIO_NOTIFIERS; i++) {
		struct vfio_notifier *n = &dev->notifier[i];

		if (!n->loop)
			continue;
		notifier_kernel_set(dev, kinds[i].index, -1);
		event_loop_unwatch(n->loop, &n->watch);
		close(n->watch.fd);
		n->loop = NULL;
	}
}
