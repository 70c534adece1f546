// SPDX-License-Identifier: Apache-2.0
/*
 * Interrupts of the VFIO device in process, as drivers/vfio/pci/vfio_pci_intrs.c gives them: the
 * host's kernel takes the device's messages, which say what vector they are, and signals eventfds.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <string.h>
#include <unistd.h>

#include "devices/test/soft_vfio_internal.h"

static void signal_eventfd(struct soft_vfio *v, const int *fd)
{
	const uint64_t one = 1;

	pthread_mutex_lock(&v->irq_lock);
	/* A counter that is full signals anyway. */
	if (*fd >= 0 && write(*fd, &one, sizeof(one)) != sizeof(one))
		errno = 0;
	pthread_mutex_unlock(&v->irq_lock);
}

/* The device has sent a message: its data is the vector. */
static int sink_send(struct msi_sink *sink, const struct msi_msg *msg)
{
	struct soft_vfio *v = container_of(sink, struct soft_vfio, sink);

	if (msg->data < SOFT_VFIO_VECTORS)
		signal_eventfd(v, &v->vector[msg->data]);
	return 0;
}

static const struct msi_sink_ops sink_ops = {.send = sink_send};

void soft_vfio_tell(void *opaque, unsigned what)
{
	struct soft_vfio *v = opaque;

	if (what & DMA_TEST_TELL_ERROR)
		signal_eventfd(v, &v->error);
	if (what & DMA_TEST_TELL_REQUEST)
		signal_eventfd(v, &v->request);
}

/* ---- MSI-X of the hardware ---- */

static void msix_enable(struct soft_vfio *v, bool on)
{
	pthread_mutex_lock(&v->fn->lock);
	pci_config_write(v->fn, v->fn->msix.capability + PCI_MSIX_FLAGS, 2,
			 on ? PCI_MSIX_FLAGS_ENABLE : 0);
	pthread_mutex_unlock(&v->fn->lock);
}

/* While a vector is masked the device keeps what it has to say. */
static void msix_vector(struct soft_vfio *v, unsigned vector, bool on)
{
	const uint64_t entry = v->fn->msix.table_offset + vector * PCI_MSIX_ENTRY_SIZE;

	pci_msix_write(v->fn, entry + PCI_MSIX_ENTRY_DATA, 4, vector);
	pci_msix_write(v->fn, entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 4,
		       on ? 0 : PCI_MSIX_ENTRY_CTRL_MASKBIT);
}

/* ---- eventfds ---- */

/* FD's place in *AT, which is closed; -1: none. */
static void replace(struct soft_vfio *v, int *at, int fd)
{
	int old;

	pthread_mutex_lock(&v->irq_lock);
	old = *at;
	*at = fd;
	pthread_mutex_unlock(&v->irq_lock);
	if (old >= 0)
		close(old);
}

/* The kernel holds what it is given, whatever becomes of the descriptor. */
static int hold_fd(const struct vfio_irq_set *set, unsigned i, int *held)
{
	int32_t fd;

	memcpy(&fd, set->data + i * sizeof(fd), sizeof(fd));
	*held = -1;
	if (fd < 0)
		return fd == -1 ? 0 : -EINVAL;
	*held = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return *held < 0 ? -errno : 0;
}

static void msix_off(struct soft_vfio *v)
{
	msix_enable(v, false);
	for (unsigned i = 0; i < SOFT_VFIO_VECTORS; i++) {
		msix_vector(v, i, false);
		replace(v, &v->vector[i], -1);
	}
}

static int set_msix(struct soft_vfio *v, const struct vfio_irq_set *set)
{
	int fd[SOFT_VFIO_VECTORS];
	unsigned i;
	int rc = 0;

	if (!set->count) {
		msix_off(v);
		return 0;
	}
	if (!(set->flags & VFIO_IRQ_SET_DATA_EVENTFD))
		return -EINVAL;
	for (i = 0; !rc && i < set->count; i++)
		rc = hold_fd(set, i, &fd[i]);
	if (rc) {
		while (i--)
			if (fd[i] >= 0)
				close(fd[i]);
		return rc;
	}
	for (i = 0; i < set->count; i++) {
		replace(v, &v->vector[set->start + i], fd[i]);
		msix_vector(v, set->start + i, fd[i] >= 0);
	}
	msix_enable(v, true);
	return 0;
}

static int set_notifier(struct soft_vfio *v, const struct vfio_irq_set *set, int *at)
{
	int fd = -1, rc = 0;

	if (set->count && !(set->flags & VFIO_IRQ_SET_DATA_EVENTFD))
		return -EINVAL;
	if (set->count)
		rc = hold_fd(set, 0, &fd);
	if (!rc)
		replace(v, at, fd);
	return rc;
}

static unsigned irq_count(uint32_t index)
{
	switch (index) {
	case VFIO_PCI_MSIX_IRQ_INDEX:
		return SOFT_VFIO_VECTORS;
	case VFIO_PCI_ERR_IRQ_INDEX:
	case VFIO_PCI_REQ_IRQ_INDEX:
		return 1;
	default: /* no pin, no MSI */
		return 0;
	}
}

/* Vectors can be added while others are live: no VFIO_IRQ_INFO_NORESIZE. */
int soft_vfio_irq_info(struct vfio_irq_info *info)
{
	if (info->argsz < sizeof(*info) || info->index >= VFIO_PCI_NUM_IRQS)
		return -EINVAL;
	info->count = irq_count(info->index);
	info->flags = VFIO_IRQ_INFO_EVENTFD;
	return 0;
}

/* What vfio_set_irqs_validate_and_prepare() checks; then only triggers are there to be set. */
int soft_vfio_set_irqs(struct soft_vfio *v, const struct vfio_irq_set *set)
{
	const uint32_t data = set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
	const uint32_t action = set->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
	const unsigned count = set->index < VFIO_PCI_NUM_IRQS ? irq_count(set->index) : 0;
	size_t size = 0;

	if (set->argsz < sizeof(*set) || set->index >= VFIO_PCI_NUM_IRQS ||
	    set->flags & ~(VFIO_IRQ_SET_DATA_TYPE_MASK | VFIO_IRQ_SET_ACTION_TYPE_MASK) ||
	    set->start >= count || set->count > count - set->start)
		return -EINVAL;
	if (data == VFIO_IRQ_SET_DATA_EVENTFD)
		size = sizeof(int32_t);
	else if (data != VFIO_IRQ_SET_DATA_NONE)
		return -EINVAL;
	if (set->argsz - sizeof(*set) < set->count * size)
		return -EINVAL;
	if (action != VFIO_IRQ_SET_ACTION_TRIGGER)
		return -ENOTTY;
	if (set->index == VFIO_PCI_MSIX_IRQ_INDEX)
		return set_msix(v, set);
	return set_notifier(v, set, set->index == VFIO_PCI_ERR_IRQ_INDEX ? &v->error : &v->request);
}

void soft_vfio_irqs_init(struct soft_vfio *v)
{
	v->sink.ops = &sink_ops;
	pthread_mutex_init(&v->irq_lock, NULL);
	for (unsigned i = 0; i < SOFT_VFIO_VECTORS; i++)
		v->vector[i] = -1;
	v->error = v->request = -1;
}

void soft_vfio_irqs_fini(struct soft_vfio *v)
{
	for (unsigned i = 0; i < SOFT_VFIO_VECTORS; i++)
		replace(v, &v->vector[i], -1);
	replace(v, &v->error, -1);
	replace(v, &v->request, -1);
	pthread_mutex_destroy(&v->irq_lock);
}
