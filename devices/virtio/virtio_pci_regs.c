// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-pci, the guest's side: capabilities and registers (virtio 1.2, 4.1.4). Any thread.
 */
#include "devices/virtio/virtio_pci.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

#include "postern/bits.h"
#include "postern/log.h"

_Static_assert(sizeof(struct virtio_pci_cap) == 16, "virtio 1.2, 4.1.4");
_Static_assert(sizeof(struct virtio_pci_notify_cap) == 20, "virtio 1.2, 4.1.4.4");
_Static_assert(sizeof(struct virtio_pci_cfg_cap) == 20, "virtio 1.2, 4.1.4.9");
_Static_assert(sizeof(struct virtio_pci_common_cfg) >= 56, "virtio 1.2, 4.1.4.3");

#define COMMON_SIZE 56u

static struct virtio_pci *to_vp(struct pci_function *fn)
{
	return container_of(fn, struct virtio_pci, fn);
}

/* ---- common configuration: a table of registers; handlers run with the lock held ---- */

static struct virtio_pci_queue *selected(struct virtio_pci *vp)
{
	return vp->queue_select < vp->config.queues ? &vp->queue[vp->queue_select] : NULL;
}

/* 3.1.1: queues are set up after FEATURES_OK and before DRIVER_OK; an enabled one is frozen. */
static struct virtio_pci_queue *configurable(struct virtio_pci *vp)
{
	struct virtio_pci_queue *q = selected(vp);

	if (!q || q->enabled || !(vp->status & VIRTIO_CONFIG_S_FEATURES_OK) ||
	    (vp->status & (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET)))
		return NULL;
	return q;
}

static uint32_t half(uint64_t value, uint32_t select)
{
	return select < 2 ? (uint32_t)(value >> (32 * select)) : 0;
}

static void set_half(uint64_t *value, uint32_t select, uint32_t part)
{
	if (select < 2)
		*value = (*value & ~(width_mask(4) << (32 * select))) | (uint64_t)part
										<< (32 * select);
}

static uint32_t device_feature_select_read(struct virtio_pci *vp)
{
	return vp->device_feature_select;
}

static void device_feature_select_write(struct virtio_pci *vp, uint32_t value)
{
	vp->device_feature_select = value;
}

static uint32_t device_feature_read(struct virtio_pci *vp)
{
	return half(vp->offered, vp->device_feature_select);
}

static uint32_t driver_feature_select_read(struct virtio_pci *vp)
{
	return vp->driver_feature_select;
}

static void driver_feature_select_write(struct virtio_pci *vp, uint32_t value)
{
	vp->driver_feature_select = value;
}

static uint32_t driver_feature_read(struct virtio_pci *vp)
{
	return half(vp->driver_features, vp->driver_feature_select);
}

static void driver_feature_write(struct virtio_pci *vp, uint32_t value)
{
	if (!(vp->status & VIRTIO_CONFIG_S_FEATURES_OK))
		set_half(&vp->driver_features, vp->driver_feature_select, value);
}

/* 4.1.5.1.2: a vector that cannot be had reads back as none. */
static uint16_t judge_vector(struct virtio_pci *vp, uint32_t value)
{
	return value <= vp->config.queues ? (uint16_t)value : VIRTIO_MSI_NO_VECTOR;
}

static uint32_t config_vector_read(struct virtio_pci *vp)
{
	return vp->config_vector;
}

static void config_vector_write(struct virtio_pci *vp, uint32_t value)
{
	vp->config_vector = judge_vector(vp, value);
}

static uint32_t num_queues_read(struct virtio_pci *vp)
{
	return vp->config.queues;
}

static uint32_t status_read(struct virtio_pci *vp)
{
	return vp->status;
}

static void begin_reset(struct virtio_pci *vp)
{
	if (vp->activated) {
		vp->resetting = true;
		event_loop_post(vp->env.loop, &vp->state);
	} else {
		virtio_pci_reset_registers(vp);
	}
}

static bool features_acceptable(const struct virtio_pci *vp)
{
	uint64_t needed = BIT(VIRTIO_F_VERSION_1) | (vp->offered & BIT(VIRTIO_F_ACCESS_PLATFORM));

	return !(vp->driver_features & ~vp->offered) && (vp->driver_features & needed) == needed;
}

/* 3.1.1: each bit needs the one before; bits are only ever added, save by a reset. */
static void status_write(struct virtio_pci *vp, uint32_t value)
{
	uint8_t status = vp->status;

	if (!value) {
		begin_reset(vp);
		return;
	}
	if (status & VIRTIO_CONFIG_S_NEEDS_RESET) {
		vp->status |= value & VIRTIO_CONFIG_S_FAILED;
		return;
	}
	status |= value & (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_FAILED);
	if (status & VIRTIO_CONFIG_S_ACKNOWLEDGE)
		status |= value & VIRTIO_CONFIG_S_DRIVER;
	if ((status & VIRTIO_CONFIG_S_DRIVER) && features_acceptable(vp))
		status |= value & VIRTIO_CONFIG_S_FEATURES_OK;
	if (status & VIRTIO_CONFIG_S_FEATURES_OK)
		status |= value & VIRTIO_CONFIG_S_DRIVER_OK;
	vp->status = status;
	if ((status & VIRTIO_CONFIG_S_DRIVER_OK) && !vp->activated) {
		vp->activated = true;
		event_loop_post(vp->env.loop, &vp->state);
	}
}

static uint32_t generation_read(struct virtio_pci *vp)
{
	return vp->generation;
}

static uint32_t queue_select_read(struct virtio_pci *vp)
{
	return vp->queue_select;
}

static void queue_select_write(struct virtio_pci *vp, uint32_t value)
{
	vp->queue_select = (uint16_t)value;
}

static uint32_t queue_size_read(struct virtio_pci *vp)
{
	const struct virtio_pci_queue *q = selected(vp);

	return q ? q->size : 0;
}

static void queue_size_write(struct virtio_pci *vp, uint32_t value)
{
	struct virtio_pci_queue *q = configurable(vp);

	if (q)
		q->size = (uint16_t)value;
}

static uint32_t queue_vector_read(struct virtio_pci *vp)
{
	const struct virtio_pci_queue *q = selected(vp);

	return q ? q->vector : VIRTIO_MSI_NO_VECTOR;
}

static void queue_vector_write(struct virtio_pci *vp, uint32_t value)
{
	struct virtio_pci_queue *q = selected(vp);

	if (q && !vp->activated)
		q->vector = judge_vector(vp, value);
}

static uint32_t queue_enable_read(struct virtio_pci *vp)
{
	const struct virtio_pci_queue *q = selected(vp);

	return q ? q->enabled : 0;
}

static void queue_enable_write(struct virtio_pci *vp, uint32_t value)
{
	struct virtio_pci_queue *q = configurable(vp);

	/* 4.1.4.3.2: the driver never writes 0. */
	if (q && value == 1)
		q->enabled = true;
}

static uint32_t queue_notify_off_read(struct virtio_pci *vp)
{
	return selected(vp) ? vp->queue_select : 0;
}

#define QUEUE_ADDRESS(field)                                                                       \
	static uint32_t queue_##field##_lo_read(struct virtio_pci *vp)                             \
	{                                                                                          \
		const struct virtio_pci_queue *q = selected(vp);                                   \
		return q ? half(q->field, 0) : 0;                                                  \
	}                                                                                          \
	static uint32_t queue_##field##_hi_read(struct virtio_pci *vp)                             \
	{                                                                                          \
		const struct virtio_pci_queue *q = selected(vp);                                   \
		return q ? half(q->field, 1) : 0;                                                  \
	}                                                                                          \
	static void queue_##field##_lo_write(struct virtio_pci *vp, uint32_t value)                \
	{                                                                                          \
		struct virtio_pci_queue *q = configurable(vp);                                     \
		if (q)                                                                             \
			set_half(&q->field, 0, value);                                             \
	}                                                                                          \
	static void queue_##field##_hi_write(struct virtio_pci *vp, uint32_t value)                \
	{                                                                                          \
		struct virtio_pci_queue *q = configurable(vp);                                     \
		if (q)                                                                             \
			set_half(&q->field, 1, value);                                             \
	}

QUEUE_ADDRESS(desc)
QUEUE_ADDRESS(driver)
QUEUE_ADDRESS(device)

static const struct common_register {
	uint8_t offset, width;
	uint32_t (*read)(struct virtio_pci *vp);
	void (*write)(struct virtio_pci *vp, uint32_t value); /* NULL: read-only */
} common_registers[] = {
	{0x00, 4, device_feature_select_read, device_feature_select_write},
	{0x04, 4, device_feature_read, NULL},
	{0x08, 4, driver_feature_select_read, driver_feature_select_write},
	{0x0c, 4, driver_feature_read, driver_feature_write},
	{0x10, 2, config_vector_read, config_vector_write},
	{0x12, 2, num_queues_read, NULL},
	{0x14, 1, status_read, status_write},
	{0x15, 1, generation_read, NULL},
	{0x16, 2, queue_select_read, queue_select_write},
	{0x18, 2, queue_size_read, queue_size_write},
	{0x1a, 2, queue_vector_read, queue_vector_write},
	{0x1c, 2, queue_enable_read, queue_enable_write},
	{0x1e, 2, queue_notify_off_read, NULL},
	{0x20, 4, queue_desc_lo_read, queue_desc_lo_write},
	{0x24, 4, queue_desc_hi_read, queue_desc_hi_write},
	{0x28, 4, queue_driver_lo_read, queue_driver_lo_write},
	{0x2c, 4, queue_driver_hi_read, queue_driver_hi_write},
	{0x30, 4, queue_device_lo_read, queue_device_lo_write},
	{0x34, 4, queue_device_hi_read, queue_device_hi_write},
};

/* 4.1.3.1: each field in its own width, 64-bit fields in halves; other accesses do nothing. */
static const struct common_register *common_find(uint64_t offset, unsigned width)
{
	for (unsigned i = 0; i < ARRAY_SIZE(common_registers); i++) {
		if (common_registers[i].offset == offset && common_registers[i].width == width)
			return &common_registers[i];
	}
	return NULL;
}

static uint64_t common_read(struct virtio_pci *vp, uint64_t offset, unsigned width)
{
	const struct common_register *reg = common_find(offset, width);
	uint32_t value;

	if (!reg)
		return 0;
	pthread_mutex_lock(&vp->lock);
	value = reg->read(vp);
	pthread_mutex_unlock(&vp->lock);
	return value;
}

static void common_write(struct virtio_pci *vp, uint64_t offset, unsigned width, uint64_t value)
{
	const struct common_register *reg = common_find(offset, width);

	if (!reg || !reg->write)
		return;
	pthread_mutex_lock(&vp->lock);
	/* While a reset drains, the device is nobody's. */
	if (!vp->resetting)
		reg->write(vp, (uint32_t)(value & width_mask(width)));
	pthread_mutex_unlock(&vp->lock);
}

void virtio_pci_reset_registers(struct virtio_pci *vp)
{
	vp->device_feature_select = vp->driver_feature_select = 0;
	vp->driver_features = 0;
	vp->config_vector = VIRTIO_MSI_NO_VECTOR;
	vp->queue_select = 0;
	vp->status = vp->isr = 0;
	vp->activated = vp->resetting = false;
	for (unsigned i = 0; i < vp->config.queues; i++) {
		struct virtio_pci_queue *q = &vp->queue[i];

		q->size = VIRTQUEUE_SIZE_MAX;
		q->vector = VIRTIO_MSI_NO_VECTOR;
		q->enabled = false;
		q->desc = q->driver = q->device = 0;
	}
}

/* ---- the other structures ---- */

static uint64_t isr_read(struct virtio_pci *vp)
{
	uint8_t isr;

	pthread_mutex_lock(&vp->lock);
	isr = vp->isr;
	vp->isr = 0;
	pthread_mutex_unlock(&vp->lock);
	return isr;
}

static uint64_t device_read(struct virtio_pci *vp, uint64_t offset, unsigned width)
{
	uint64_t value = 0;

	pthread_mutex_lock(&vp->lock);
	if (range_fits(offset, width, vp->config.config_size))
		memcpy(&value, (const uint8_t *)vp->config.config + offset, width);
	pthread_mutex_unlock(&vp->lock);
	return value;
}

/* A notification that no doorbell took. */
static void notify_write(struct virtio_pci *vp, uint64_t offset)
{
	uint64_t one = 1, index = offset / VIRTIO_NOTIFY_STEP;

	if (index >= vp->config.queues || offset % VIRTIO_NOTIFY_STEP)
		return;
	if (write(vp->queue[index].kick_fd, &one, sizeof(one)) < 0)
		log_error_once("%s: cannot pass on a notification through its eventfd: %s",
			       vp->config.name, strerror(errno));
}

static uint64_t bar_read(struct pci_function *fn, unsigned bar, uint64_t offset, unsigned width)
{
	struct virtio_pci *vp = to_vp(fn);

	if (bar == VIRTIO_MSIX_BAR)
		return pci_msix_covers(fn, bar, offset) ? pci_msix_read(fn, offset, width) : 0;
	if (offset < VIRTIO_ISR_OFFSET)
		return common_read(vp, offset, width);
	if (offset < VIRTIO_DEVICE_OFFSET)
		return offset == VIRTIO_ISR_OFFSET && width == 1 ? isr_read(vp) : 0;
	if (offset < VIRTIO_NOTIFY_OFFSET)
		return device_read(vp, offset - VIRTIO_DEVICE_OFFSET, width);
	return 0;
}

static void bar_write(struct pci_function *fn, unsigned bar, uint64_t offset, unsigned width,
		      uint64_t value)
{
	struct virtio_pci *vp = to_vp(fn);

	if (bar == VIRTIO_MSIX_BAR) {
		if (pci_msix_covers(fn, bar, offset))
			pci_msix_write(fn, offset, width, value);
	} else if (offset < VIRTIO_ISR_OFFSET) {
		common_write(vp, offset, width, value);
	} else if (offset >= VIRTIO_NOTIFY_OFFSET) {
		notify_write(vp, offset - VIRTIO_NOTIFY_OFFSET);
	}
}

/* ---- configuration space: 4.1.4.9, BAR accesses through a capability ---- */

/* Whether [offset, +width) is the data window, and what it stands for now. */
static bool window_target(struct pci_function *fn, unsigned offset, unsigned width, unsigned *bar,
			  uint64_t *bar_offset)
{
	unsigned cap = to_vp(fn)->pci_cfg;
	uint32_t length;

	if (offset != cap + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data))
		return false;
	*bar = fn->config[cap + offsetof(struct virtio_pci_cap, bar)];
	*bar_offset = pci_get32(fn, cap + offsetof(struct virtio_pci_cap, offset));
	length = pci_get32(fn, cap + offsetof(struct virtio_pci_cap, length));
	return (length == 1 || length == 2 || length == 4) && length == width &&
	       is_aligned(*bar_offset, length) &&
	       ((*bar == VIRTIO_BAR && *bar_offset < VIRTIO_BAR_SIZE) ||
		(*bar == VIRTIO_MSIX_BAR && *bar_offset < VIRTIO_MSIX_SIZE));
}

static uint32_t config_read(struct pci_function *fn, unsigned offset, unsigned width)
{
	uint64_t bar_offset;
	unsigned bar;

	if (window_target(fn, offset, width, &bar, &bar_offset))
		return (uint32_t)bar_read(fn, bar, bar_offset, width);
	return pci_config_read(fn, offset, width);
}

static void config_write(struct pci_function *fn, unsigned offset, unsigned width, uint32_t value)
{
	uint64_t bar_offset;
	unsigned bar;

	if (window_target(fn, offset, width, &bar, &bar_offset))
		bar_write(fn, bar, bar_offset, width, value);
	else
		pci_config_write(fn, offset, width, value);
}

static int add_cap(struct virtio_pci *vp, uint8_t type, unsigned length, uint32_t offset,
		   uint32_t size)
{
	int cap = pci_add_capability(&vp->fn, PCI_CAP_ID_VNDR, length);

	if (cap < 0)
		return cap;
	vp->fn.config[cap + (int)offsetof(struct virtio_pci_cap, cap_len)] = (uint8_t)length;
	vp->fn.config[cap + (int)offsetof(struct virtio_pci_cap, cfg_type)] = type;
	vp->fn.config[cap + (int)offsetof(struct virtio_pci_cap, bar)] = VIRTIO_BAR;
	pci_set32(&vp->fn, (unsigned)cap + offsetof(struct virtio_pci_cap, offset), offset);
	pci_set32(&vp->fn, (unsigned)cap + offsetof(struct virtio_pci_cap, length), size);
	return cap;
}

int virtio_pci_add_capabilities(struct virtio_pci *vp)
{
	uint32_t notify_size = vp->config.queues * VIRTIO_NOTIFY_STEP;
	int cap;

	cap = add_cap(vp, VIRTIO_PCI_CAP_COMMON_CFG, 16, VIRTIO_COMMON_OFFSET, COMMON_SIZE);
	if (cap < 0)
		return cap;
	cap = add_cap(vp, VIRTIO_PCI_CAP_NOTIFY_CFG, 20, VIRTIO_NOTIFY_OFFSET, notify_size);
	if (cap < 0)
		return cap;
	pci_set32(&vp->fn, (unsigned)cap + 16, VIRTIO_NOTIFY_STEP);
	cap = add_cap(vp, VIRTIO_PCI_CAP_ISR_CFG, 16, VIRTIO_ISR_OFFSET, 1);
	if (cap < 0)
		return cap;
	/* 4.1.4.6: of a device that has a configuration. */
	if (vp->config.config_size)
		cap = add_cap(vp, VIRTIO_PCI_CAP_DEVICE_CFG, 16, VIRTIO_DEVICE_OFFSET,
			      vp->config.config_size);
	if (cap < 0)
		return cap;
	cap = add_cap(vp, VIRTIO_PCI_CAP_PCI_CFG, 20, 0, 0);
	if (cap < 0)
		return cap;
	vp->pci_cfg = (unsigned)cap;
	vp->fn.writable[cap + (int)offsetof(struct virtio_pci_cap, bar)] = 0xff;
	memset(&vp->fn.writable[cap + (int)offsetof(struct virtio_pci_cap, offset)], 0xff, 8);
	return 0;
}

/* ---- where BAR 0 is decoded; machine reset ---- */

static void doorbells_move(struct virtio_pci *vp, uint64_t base, bool add)
{
	for (unsigned i = 0; i < vp->config.queues; i++) {
		uint64_t gpa = base + i * VIRTIO_NOTIFY_STEP;
		int fd = vp->queue[i].kick_fd, ret;

		/* Without its doorbell a queue is notified through notify_write(), only slower. */
		ret = add ? guest_window_doorbell_add(vp->env.window, gpa, 2, fd)
			  : guest_window_doorbell_remove(vp->env.window, gpa, 2, fd);
		if (ret && add)
			log_debug("%s: queue %u has no doorbell: %s", vp->config.name, i,
				  strerror(-ret));
	}
}

static void bar_mapped(struct pci_function *fn, unsigned bar, uint64_t base, bool mapped)
{
	struct virtio_pci *vp = to_vp(fn);

	if (bar != VIRTIO_BAR)
		return;
	if (vp->doorbells)
		doorbells_move(vp, vp->doorbells, false);
	vp->doorbells = mapped ? base + VIRTIO_NOTIFY_OFFSET : 0;
	if (mapped)
		doorbells_move(vp, vp->doorbells, true);
}

static void reset(struct pci_function *fn)
{
	struct virtio_pci *vp = to_vp(fn);

	pthread_mutex_lock(&vp->lock);
	if (!vp->resetting)
		begin_reset(vp);
	/*
	 * RAM is about to be filled anew: the device must not touch it after this, neither for a
	 * request in flight nor for a notification that the loop has yet to see.
	 */
	if (event_loop_here(vp->env.loop)) {
		pthread_mutex_unlock(&vp->lock);
		vp->state.run(&vp->state);
		pthread_mutex_lock(&vp->lock);
	} else {
		while (vp->resetting)
			pthread_cond_wait(&vp->reset_done, &vp->lock);
	}
	/* A machine that goes on after a drain takes requests again. */
	vp->draining = false;
	pthread_mutex_unlock(&vp->lock);
}

const struct pci_function_ops virtio_pci_function_ops = {
	.config_read = config_read,
	.config_write = config_write,
	.bar_read = bar_read,
	.bar_write = bar_write,
	.bar_mapped = bar_mapped,
	.reset = reset,
};
