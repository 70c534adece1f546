// SPDX-License-Identifier: Apache-2.0
/*
 * The interrupt pin of an assigned device. The kernel masks the pin when it signals (automasked:
 * it cannot know when a guest has served the device) and unmasks it when the guest ends the
 * interrupt; if the device still asserts it then, the kernel signals again. KVM could do both in
 * the kernel, but only where the IOAPIC is too (KVM_IRQFD_FLAG_RESAMPLE needs its full irqchip).
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/vfio/internal.h"
#include "postern/log.h"

/* FD: signalled from now on; -1: unmask; none at all with COUNT 0: off. */
static int intx_kernel_set(struct vfio_intx *intx, uint32_t action, uint32_t count, int32_t fd)
{
	union {
		struct vfio_irq_set set;
		uint8_t bytes[sizeof(struct vfio_irq_set) + sizeof(int32_t)];
	} u = {0};
	bool data = count && fd >= 0;
	int ret;

	u.set.argsz = (uint32_t)(sizeof(u.set) + (data ? sizeof(fd) : 0));
	u.set.flags = action | (data ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE);
	u.set.index = VFIO_PCI_INTX_IRQ_INDEX;
	u.set.count = count;
	if (data)
		memcpy(u.set.data, &fd, sizeof(fd));
	ret = vfio_io_ctl(intx->io, VFIO_DEVICE_SET_IRQS, &u.set);
	return ret < 0 ? ret : 0;
}

static void intx_ready(struct event_watch *watch, short revents)
{
	struct vfio_intx *intx = container_of(watch, struct vfio_intx, watch);

	(void)revents;
	pthread_mutex_lock(&intx->lock);
	if (intx->on && !intx->asserted) {
		intx->asserted = true;
		intx_line_set(intx->line, true);
	}
	pthread_mutex_unlock(&intx->lock);
}

/* A vCPU has ended the interrupt. */
static void intx_ended(void *opaque)
{
	struct vfio_intx *intx = opaque;
	int ret = 0;

	pthread_mutex_lock(&intx->lock);
	if (intx->asserted) {
		intx->asserted = false;
		intx_line_set(intx->line, false);
		ret = intx_kernel_set(intx, VFIO_IRQ_SET_ACTION_UNMASK, 1, -1);
	}
	if (ret && !intx->said) {
		intx->said = true;
		log_error("%s: its interrupt pin cannot be unmasked: %s; the guest may hang "
			  "waiting for it (see 'dmesg' on the host)",
			  intx->name, strerror(-ret));
	}
	pthread_mutex_unlock(&intx->lock);
}

int vfio_intx_init(struct vfio_intx *intx, struct vfio_io *io, const char *name,
		   struct event_loop *loop, struct intx_line *line)
{
	int ret;

	intx->io = io;
	intx->name = name;
	intx->watch = (struct event_watch){
		.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
		.events = POLLIN,
		.drain = true,
		.ready = intx_ready,
	};
	if (intx->watch.fd < 0)
		return -errno;
	ret = event_loop_watch(loop, &intx->watch);
	if (ret) {
		close(intx->watch.fd);
		return ret;
	}
	pthread_mutex_init(&intx->lock, NULL);
	intx->loop = loop;
	intx->line = line;
	line->opaque = intx;
	line->ended = intx_ended;
	return 0;
}

void vfio_intx_fini(struct vfio_intx *intx)
{
	if (!intx->line)
		return;
	vfio_intx_set(intx, false);
	intx->line->ended = NULL;
	event_loop_unwatch(intx->loop, &intx->watch);
	close(intx->watch.fd);
	pthread_mutex_destroy(&intx->lock);
	intx->line = NULL;
}

void vfio_intx_set(struct vfio_intx *intx, bool on)
{
	int ret;

	if (!intx->line || intx->on == on)
		return;
	pthread_mutex_lock(&intx->lock);
	ret = intx_kernel_set(intx, VFIO_IRQ_SET_ACTION_TRIGGER, on, on ? intx->watch.fd : -1);
	/* A signal that still comes after this at worst interrupts the guest for nothing. */
	intx->on = on && !ret;
	if (!intx->on && intx->asserted) {
		intx->asserted = false;
		intx_line_set(intx->line, false);
	}
	if (ret && !intx->said) {
		intx->said = true;
		log_error("%s: its interrupt pin cannot be turned %s: %s; the guest may hang "
			  "waiting for it (see 'dmesg' and /proc/interrupts on the host)",
			  intx->name, on ? "on" : "off", strerror(-ret));
	}
	pthread_mutex_unlock(&intx->lock);
}
