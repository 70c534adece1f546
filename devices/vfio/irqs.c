// SPDX-License-Identifier: Apache-2.0
/*
 * Interrupts of an assigned device: its vectors signal eventfds (VFIO_DEVICE_SET_IRQS), which the
 * message sink turns into the guest's messages without a thread in between.
 *
 * A vector is set up when the guest first unmasks it. While it is masked its route is, and the
 * eventfd counts: KVM looks at the count when the route comes back, so that nothing is lost.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/vfio/internal.h"
#include "postern/log.h"

int vfio_irqs_init(struct vfio_irqs *irqs, struct vfio_io *io, struct msi_sink *sink,
		   const char *name, uint32_t index, unsigned count, bool resizable)
{
	*irqs = (struct vfio_irqs){
		.io = io,
		.sink = sink,
		.name = name,
		.index = index,
		.count = count,
		.resizable = resizable,
	};
	irqs->vector = calloc(count ? count : 1, sizeof(*irqs->vector));
	if (!irqs->vector)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++)
		irqs->vector[i].eventfd = -1;
	pthread_mutex_init(&irqs->lock, NULL);
	return 0;
}

void vfio_irqs_fini(struct vfio_irqs *irqs)
{
	if (!irqs->vector)
		return;
	vfio_irqs_disable(irqs);
	pthread_mutex_destroy(&irqs->lock);
	free(irqs->vector);
	irqs->vector = NULL;
}

/* Hand FDS of vectors START... to the kernel; COUNT 0 turns all off. */
static int irqs_kernel_set(struct vfio_irqs *irqs, unsigned start, unsigned count,
			   const int32_t *fds)
{
	size_t size = sizeof(struct vfio_irq_set) + count * sizeof(*fds);
	struct vfio_irq_set *set = calloc(1, size);
	int ret;

	if (!set)
		return -ENOMEM;
	set->argsz = (uint32_t)size;
	set->flags = VFIO_IRQ_SET_ACTION_TRIGGER |
		     (count ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE);
	set->index = irqs->index;
	set->start = start;
	set->count = count;
	if (count)
		memcpy(set->data, fds, count * sizeof(*fds));
	ret = vfio_io_ctl(irqs->io, VFIO_DEVICE_SET_IRQS, set);
	free(set);
	/* A positive number is how many vectors the host could have spared. */
	return ret > 0 ? -ENOSPC : ret;
}

/*
 * More vectors than the kernel has set up, and it cannot add any: off, and on again with all. What
 * arrives in between is lost, so each live vector is signalled once; a message too many does no
 * harm (drivers look at the device), one too few hangs it.
 */
static int irqs_restart(struct vfio_irqs *irqs, unsigned vector)
{
	const uint64_t one = 1;
	unsigned count = vector + 1 > irqs->allocated ? vector + 1 : irqs->allocated;
	int32_t *fds = calloc(count, sizeof(*fds));
	int ret;

	if (!fds)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++)
		fds[i] = irqs->vector[i].armed || i == vector ? irqs->vector[i].eventfd : -1;
	ret = irqs_kernel_set(irqs, 0, 0, NULL);
	if (!ret)
		ret = irqs_kernel_set(irqs, 0, count, fds);
	free(fds);
	if (ret) {
		irqs->allocated = 0;
		for (unsigned i = 0; i < irqs->count; i++)
			irqs->vector[i].armed = false;
		return ret;
	}
	irqs->allocated = count;
	for (unsigned i = 0; i < count; i++) {
		if (irqs->vector[i].armed &&
		    write(irqs->vector[i].eventfd, &one, sizeof(one)) != sizeof(one))
			continue; /* the counter is full: signalled anyway */
	}
	return 0;
}

/* The kernel signals VECTOR's eventfd from now on. */
static int irqs_arm(struct vfio_irqs *irqs, unsigned vector)
{
	struct vfio_vector *v = &irqs->vector[vector];
	int32_t fd = v->eventfd;
	int ret;

	if (irqs->allocated && vector >= irqs->allocated && !irqs->resizable) {
		ret = irqs_restart(irqs, vector);
	} else {
		ret = irqs_kernel_set(irqs, vector, 1, &fd);
		if (!ret && vector >= irqs->allocated)
			irqs->allocated = vector + 1;
	}
	v->armed = !ret;
	return ret;
}

static int irqs_vector_start(struct vfio_irqs *irqs, unsigned vector, const struct msi_msg *msg)
{
	struct vfio_vector *v = &irqs->vector[vector];
	int ret;

	if (v->eventfd < 0) {
		v->eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (v->eventfd < 0)
			return -errno;
	}
	if (!v->route) {
		ret = msi_route_new(irqs->sink, v->eventfd, &v->route);
		if (ret)
			return ret;
	}
	ret = msi_route_set(irqs->sink, v->route, msg);
	if (ret)
		return ret;
	return v->armed ? 0 : irqs_arm(irqs, vector);
}

void vfio_irqs_set(struct vfio_irqs *irqs, unsigned vector, const struct msi_msg *msg)
{
	int ret = 0;

	if (vector >= irqs->count)
		return;
	pthread_mutex_lock(&irqs->lock);
	if (msg)
		ret = irqs_vector_start(irqs, vector, msg);
	else if (irqs->vector[vector].route)
		ret = msi_route_set(irqs->sink, irqs->vector[vector].route, NULL);
	if (ret && !irqs->said) {
		irqs->said = true;
		log_error("%s: interrupt vector %u cannot be set up: %s; the guest may hang "
			  "waiting for it (%s)",
			  irqs->name, vector, strerror(-ret),
			  ret == -EMFILE ? "raise 'ulimit -n'"
					 : "see 'dmesg' and /proc/interrupts on the host");
	}
	pthread_mutex_unlock(&irqs->lock);
}

void vfio_irqs_disable(struct vfio_irqs *irqs)
{
	if (!irqs->count)
		return;
	pthread_mutex_lock(&irqs->lock);
	/* The kernel first: nobody signals an eventfd that goes away. */
	if (irqs->allocated) {
		int ret = irqs_kernel_set(irqs, 0, 0, NULL);

		if (ret)
			log_warning_once("%s: cannot turn interrupts off: %s", irqs->name,
					 strerror(-ret));
		irqs->allocated = 0;
	}
	for (unsigned i = 0; i < irqs->count; i++) {
		struct vfio_vector *v = &irqs->vector[i];

		msi_route_free(irqs->sink, v->route);
		if (v->eventfd >= 0)
			close(v->eventfd);
		*v = (struct vfio_vector){.eventfd = -1};
	}
	pthread_mutex_unlock(&irqs->lock);
}
