// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-pci, the device's side: life, activation, reset, notification and interrupts.
 */
#include "devices/virtio/virtio_pci.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "postern/bits.h"
#include "postern/log.h"

/* Requests taken from a queue before others get their turn on the loop. */
#define WORK_BUDGET 64

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* ---- interrupts ---- */

static void raise_vector(struct virtio_pci *vp, uint16_t vector, uint8_t isr)
{
	if (!pci_msix_enabled(&vp->fn)) {
		/* There is no INTx: a driver without MSI-X polls the ISR status. */
		pthread_mutex_lock(&vp->lock);
		vp->isr |= isr;
		pthread_mutex_unlock(&vp->lock);
		return;
	}
	if (vector == VIRTIO_MSI_NO_VECTOR)
		return;
	count(&vp->interrupts);
	if (pci_msix_raise(&vp->fn, vector))
		log_guest("%s: interrupt message of vector %u was refused", vp->config.name,
			  vector);
}

/* 2.1.2: the device has met an error that only a reset cures, and says so. */
static void fail(struct virtio_pci *vp, const char *what, int error)
{
	uint16_t vector;

	log_guest("%s: %s (%s); the device waits for a reset", vp->config.name, what,
		  strerror(-error));
	vp->serving = false;
	pthread_mutex_lock(&vp->lock);
	if (vp->resetting) {
		pthread_mutex_unlock(&vp->lock);
		return;
	}
	vp->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	vp->generation++;
	vector = vp->config_vector;
	pthread_mutex_unlock(&vp->lock);
	raise_vector(vp, vector, VIRTIO_PCI_ISR_CONFIG);
}

static void run_signals(struct event_work *work)
{
	struct virtio_pci *vp = container_of(work, struct virtio_pci, signals);

	for (unsigned i = 0; i < vp->config.queues; i++) {
		struct virtio_pci_queue *q = &vp->queue[i];
		int ret;

		if (!q->signal || !vp->serving)
			continue;
		q->signal = false;
		ret = virtqueue_wants_interrupt(&q->vq);
		if (ret < 0)
			fail(vp, "queue is not accessible", ret);
		else if (ret)
			raise_vector(vp, q->live_vector, 1);
	}
}

/* ---- queues ---- */

bool virtio_pci_serve(struct virtio_pci *vp, unsigned index)
{
	struct virtio_pci_queue *q = &vp->queue[index];

	for (unsigned budget = WORK_BUDGET; budget; budget--) {
		int ret;

		if (!vp->serving || vp->draining || !q->live)
			return false;
		ret = vp->config.ops->take(vp, index);
		if (!ret)
			ret = virtqueue_await(&q->vq);
		if (!ret || ret == VIRTIO_PCI_LATER)
			return true;
		if (ret < 0) {
			fail(vp, "queue or request breaks the rules", ret);
			return false;
		}
		if (ret == VIRTIO_PCI_TURN)
			break;
	}
	event_loop_post(vp->env.loop, &q->more);
	return true;
}

static void run_more(struct event_work *work)
{
	struct virtio_pci_queue *q = container_of(work, struct virtio_pci_queue, more);

	virtio_pci_serve(q->vp, (unsigned)(q - q->vp->queue));
}

static void kicked(struct event_watch *watch, short revents)
{
	struct virtio_pci_queue *q = container_of(watch, struct virtio_pci_queue, kick);

	(void)revents;
	count(&q->vp->kicks);
	virtio_pci_serve(q->vp, (unsigned)(q - q->vp->queue));
}

void virtio_pci_push(struct virtio_pci *vp, unsigned index, uint16_t head, uint32_t written)
{
	struct virtio_pci_queue *q = &vp->queue[index];
	int ret;

	if (!virtio_pci_live(vp))
		return;
	ret = virtqueue_push(&q->vq, head, written);
	if (ret) {
		fail(vp, "used ring is not accessible", ret);
		return;
	}
	q->signal = true;
	event_loop_post(vp->env.loop, &vp->signals);
}

bool virtio_pci_live(const struct virtio_pci *vp)
{
	return vp->serving;
}

bool virtio_pci_has(const struct virtio_pci *vp, unsigned feature)
{
	/* Frozen from FEATURES_OK to the end of a reset. */
	return vp->driver_features & BIT(feature);
}

/* ---- activation and reset ---- */

static void activate(struct virtio_pci *vp)
{
	struct virtqueue_params params[VIRTIO_QUEUES_MAX];
	bool enabled[VIRTIO_QUEUES_MAX] = {false};
	int ret = 0;

	pthread_mutex_lock(&vp->lock);
	for (unsigned i = 0; i < vp->config.queues; i++) {
		struct virtio_pci_queue *q = &vp->queue[i];

		enabled[i] = q->enabled;
		q->live_vector = q->vector;
		params[i] = (struct virtqueue_params){
			.size = q->size,
			.event_idx = virtio_pci_has(vp, VIRTIO_RING_F_EVENT_IDX),
			.indirect = virtio_pci_has(vp, VIRTIO_RING_F_INDIRECT_DESC),
			.desc = q->desc,
			.driver = q->driver,
			.device = q->device,
		};
	}
	pthread_mutex_unlock(&vp->lock);
	for (unsigned i = 0; i < vp->config.queues && !ret; i++) {
		if (!enabled[i])
			continue;
		ret = virtqueue_init(&vp->queue[i].vq, vp->env.dma, &params[i]);
		vp->queue[i].live = !ret;
	}
	if (ret) {
		fail(vp, "queue parameters are not usable", ret);
		return;
	}
	if (vp->config.ops->start)
		vp->config.ops->start(vp);
	vp->serving = true;
	/* Notifications that came before this point found nobody. */
	for (unsigned i = 0; i < vp->config.queues; i++)
		virtio_pci_serve(vp, i);
}

static void finish_reset(struct virtio_pci *vp)
{
	for (unsigned i = 0; i < vp->config.queues; i++) {
		vp->queue[i].live = false;
		vp->queue[i].signal = false;
	}
	pthread_mutex_lock(&vp->lock);
	virtio_pci_reset_registers(vp);
	if (vp->config.ops->reset)
		vp->config.ops->reset(vp);
	pthread_cond_broadcast(&vp->reset_done);
	pthread_mutex_unlock(&vp->lock);
}

/* The registers asked for a change; which one, they say themselves. */
static void run_state(struct event_work *work)
{
	struct virtio_pci *vp = container_of(work, struct virtio_pci, state);
	bool reset, wanted;

	pthread_mutex_lock(&vp->lock);
	reset = vp->resetting;
	wanted = vp->activated && !(vp->status & VIRTIO_CONFIG_S_NEEDS_RESET);
	pthread_mutex_unlock(&vp->lock);
	if (!reset) {
		/* A reset may have been finished by the last request before this ran. */
		if (wanted && !vp->serving)
			activate(vp);
		return;
	}
	vp->serving = false;
	if (!vp->in_flight)
		finish_reset(vp);
}

void virtio_pci_get(struct virtio_pci *vp)
{
	vp->in_flight++;
}

static void report_drained(struct virtio_pci *vp)
{
	void (*done)(void *opaque) = vp->drained;

	vp->drained = NULL;
	if (done)
		done(vp->drained_opaque);
}

void virtio_pci_put(struct virtio_pci *vp)
{
	bool reset;

	if (--vp->in_flight)
		return;
	pthread_mutex_lock(&vp->lock);
	reset = vp->resetting;
	pthread_mutex_unlock(&vp->lock);
	if (reset && !vp->serving)
		finish_reset(vp);
	report_drained(vp);
}

void virtio_pci_drain(struct virtio_pci *vp, void (*done)(void *opaque), void *opaque)
{
	vp->draining = true;
	vp->drained = done;
	vp->drained_opaque = opaque;
	if (!vp->in_flight)
		report_drained(vp);
}

void virtio_pci_resume(struct virtio_pci *vp)
{
	if (!atomic_exchange(&vp->draining, false))
		return;
	for (unsigned i = 0; i < vp->config.queues; i++)
		virtio_pci_serve(vp, i);
}

bool virtio_pci_idle(const struct virtio_pci *vp)
{
	return !vp->in_flight;
}

/* ---- life ---- */

void virtio_pci_unplug(struct virtio_pci *vp)
{
	pci_root_remove(&vp->fn);
}

void virtio_pci_free(struct virtio_pci *vp)
{
	if (vp)
		vp->config.ops->free(vp);
}

static int queue_open(struct virtio_pci *vp, struct virtio_pci_queue *q)
{
	int ret;

	q->vp = vp;
	q->more.run = run_more;
	q->kick_fd = eventfd(0, EFD_CLOEXEC);
	if (q->kick_fd < 0)
		return -errno;
	q->kick = (struct event_watch){
		.fd = q->kick_fd, .events = POLLIN, .drain = true, .ready = kicked};
	ret = event_loop_watch(vp->env.loop, &q->kick);
	if (ret)
		close(q->kick_fd);
	return ret;
}

static void queue_close(struct virtio_pci *vp, struct virtio_pci_queue *q)
{
	event_loop_unwatch(vp->env.loop, &q->kick);
	close(q->kick_fd);
}

int virtio_pci_init(struct virtio_pci *vp, const struct virtio_env *env,
		    const struct virtio_pci_config *config)
{
	const struct pci_id id = {
		.vendor = 0x1af4,
		.device = (uint16_t)(0x1040 + config->device),
		.subsystem_vendor = 0x1af4,
		.subsystem = (uint16_t)(0x1040 + config->device),
		.class_code = config->class_code,
		.revision = 1, /* 4.1.2.1: 1 or higher for a modern device */
	};
	unsigned opened = 0;
	int ret;

	if (!config->queues || config->queues > VIRTIO_QUEUES_MAX)
		return -EINVAL;
	vp->env = *env;
	vp->config = *config;
	vp->offered = config->features | BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_EVENT_IDX) |
		      BIT(VIRTIO_RING_F_INDIRECT_DESC);
	if (env->iommu)
		vp->offered |= BIT(VIRTIO_F_ACCESS_PLATFORM);
	vp->state.run = run_state;
	vp->signals.run = run_signals;
	pthread_mutex_init(&vp->lock, NULL);
	pthread_cond_init(&vp->reset_done, NULL);
	virtio_pci_reset_registers(vp);
	pci_function_init(&vp->fn, vp->config.name, &virtio_pci_function_ops, &id);
	vp->fn.sink = env->sink;
	ret = pci_add_bar(&vp->fn, VIRTIO_BAR, VIRTIO_BAR_SIZE, PCI_BAR_64);
	if (!ret)
		ret = pci_add_bar(&vp->fn, VIRTIO_MSIX_BAR, VIRTIO_MSIX_SIZE, PCI_BAR_64);
	if (!ret)
		ret = pci_add_msix(&vp->fn, config->queues + 1, VIRTIO_MSIX_BAR, 0,
				   VIRTIO_MSIX_PBA);
	if (!ret)
		ret = virtio_pci_add_capabilities(vp);
	while (!ret && opened < config->queues) {
		ret = queue_open(vp, &vp->queue[opened]);
		if (!ret)
			opened++;
	}
	if (!ret)
		ret = pci_root_add(env->root, &vp->fn, env->devfn);
	if (!ret)
		return 0;
	while (opened)
		queue_close(vp, &vp->queue[--opened]);
	pci_function_fini(&vp->fn);
	pthread_cond_destroy(&vp->reset_done);
	pthread_mutex_destroy(&vp->lock);
	return ret;
}

void virtio_pci_fini(struct virtio_pci *vp)
{
	if (vp->doorbells)
		virtio_pci_function_ops.bar_mapped(&vp->fn, VIRTIO_BAR, 0, false);
	for (unsigned i = 0; i < vp->config.queues; i++)
		queue_close(vp, &vp->queue[i]);
	pci_function_fini(&vp->fn);
	pthread_cond_destroy(&vp->reset_done);
	pthread_mutex_destroy(&vp->lock);
}
