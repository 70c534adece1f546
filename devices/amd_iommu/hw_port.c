// SPDX-License-Identifier: Apache-2.0
/*
 * The port on the hardware ABI: registers, queues and the end of the objects. How it comes to be is
 * in hw_start.c, the device table in hw_devtab.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/amd_iommu/hw.h"
#include "iommufd/uapi.h"
#include "postern/log.h"

#define REG_VF_STATUS 0x2020
#define STATUS_W1C    UINT64_C(0x68e67)

#define RING_BASE	 GENMASK(51, 12)
#define RING_LENGTH	 GENMASK(59, 56)
#define RING_LENGTH_MIN	 8u
#define RING_ENTRY_SIZE	 UINT64_C(16)
#define RING_RESET_VALUE FIELD_PREP(RING_LENGTH, RING_LENGTH_MIN)

/* MSI (AMD64 APM volume 2, section 16.11) and the XT interrupt registers (48882 section 3.4). */
#define MSI_ADDR_DM   BIT(2)
#define MSI_ADDR_DEST GENMASK(19, 12)
#define MSI_VECTOR    GENMASK(7, 0)
#define XT_DM	      BIT(2)
#define XT_DEST	      GENMASK(31, 8)
#define XT_VECTOR     GENMASK(39, 32)

const struct hw_queue_kind hw_queue_kind[HW_QUEUES] = {
	[VIOMMU_QUEUE_COMMAND] = {IOMMU_HW_QUEUE_TYPE_AMD_CMD, BIT(12), 0x08},
	[VIOMMU_QUEUE_EVENT] = {IOMMU_HW_QUEUE_TYPE_AMD_EVENT, BIT(2), 0x10},
	[VIOMMU_QUEUE_PPR] = {IOMMU_HW_QUEUE_TYPE_AMD_PPR, BIT(13), 0x38},
};

static int command_set(struct hw_port *hw, uint16_t index, uint64_t value)
{
	return iommufd_viommu_command_set(hw->ctx, hw->viommu, index, value);
}

/* ---- queues ---- */

static void queue_stop(struct hw_port *hw, struct hw_queue *queue)
{
	if (queue->id)
		iommufd_destroy(hw->ctx, queue->id);
	queue->id = 0;
}

/*
 * The guest enables a queue. One that only stood still goes on where it was, as hardware keeps its
 * pointers; a base that was written starts it anew.
 */
static int queue_start(struct hw_port *hw, unsigned kind)
{
	struct hw_queue *queue = &hw->queue[kind];
	uint64_t bytes = RING_ENTRY_SIZE << FIELD_GET(RING_LENGTH, queue->base);
	int rc;

	if (queue->id && !queue->moved)
		return 0;
	queue_stop(hw, queue);
	rc = iommufd_hw_queue_alloc(hw->ctx, hw->viommu, hw_queue_kind[kind].type, 0,
				    queue->base & RING_BASE, bytes, &queue->id);
	if (rc) {
		queue->id = 0;
		return rc;
	}
	queue->moved = false;
	return 0;
}

static int port_queue_set(struct viommu_port *port, enum viommu_queue kind, uint64_t value)
{
	struct hw_port *hw = to_hw(port);

	pthread_mutex_lock(&hw->lock);
	/* The base of a ring that runs stays, as it does in the unit. */
	if (!(hw->control & hw_queue_kind[kind].enable)) {
		hw->queue[kind].base = value;
		hw->queue[kind].moved = true;
	}
	pthread_mutex_unlock(&hw->lock);
	return 0;
}

static int port_register_read(struct viommu_port *port, uint16_t offset, uint64_t *value)
{
	struct hw_port *hw = to_hw(port);
	int rc = -EOPNOTSUPP;

	pthread_mutex_lock(&hw->lock);
	for (unsigned i = 0; i < HW_QUEUES; i++) {
		if (hw_queue_kind[i].offset == offset) {
			*value = hw->queue[i].base;
			rc = 0;
		}
	}
	pthread_mutex_unlock(&hw->lock);
	return rc;
}

/* ---- registers ---- */

static int port_control_set(struct viommu_port *port, uint64_t value)
{
	struct hw_port *hw = to_hw(port);
	uint64_t forwarded = value, changed = 0;
	int rc;

	pthread_mutex_lock(&hw->lock);
	for (unsigned i = 0; i < HW_QUEUES; i++) {
		if (!(value & ~hw->control & hw_queue_kind[i].enable))
			continue;
		rc = queue_start(hw, i);
		/* A ring that cannot be is one that does not run. */
		if (rc)
			log_guest("vIOMMU: the ring whose base register %#x holds %#llx cannot be: "
				  "%s",
				  hw_queue_kind[i].offset, (unsigned long long)hw->queue[i].base,
				  strerror(-rc));
	}
	/* Nor is one that was refused before, and is asked for still. */
	for (unsigned i = 0; i < HW_QUEUES; i++)
		if (!hw->queue[i].id)
			forwarded &= ~hw_queue_kind[i].enable;
	rc = command_set(hw, REG_CONTROL, forwarded);
	if (!rc) {
		changed = hw->control ^ value;
		hw->control = value;
	}
	pthread_mutex_unlock(&hw->lock);
	return changed & CONTROL_IOMMU_EN ? hw_devtab_switch(hw, value & CONTROL_IOMMU_EN) : rc;
}

static int port_device_table_set(struct viommu_port *port, uint64_t value)
{
	return hw_devtab_set(to_hw(port), value);
}

/* The format of 170h and 178h says all that a fixed message of 8-bit destinations does. */
static uint64_t xt_of_msi(const struct msi_msg *msg)
{
	if (!msg)
		return 0;
	return (msg->addr & MSI_ADDR_DM ? XT_DM : 0) |
	       FIELD_PREP(XT_DEST, FIELD_GET(MSI_ADDR_DEST, msg->addr)) |
	       FIELD_PREP(XT_VECTOR, FIELD_GET(MSI_VECTOR, msg->data));
}

static int port_msi_set(struct viommu_port *port, const struct msi_msg *msg)
{
	struct hw_port *hw = to_hw(port);
	uint64_t value = xt_of_msi(msg);
	int rc;

	pthread_mutex_lock(&hw->lock);
	rc = command_set(hw, REG_XT_EVENT, value);
	if (!rc)
		rc = command_set(hw, REG_XT_PPR, value);
	pthread_mutex_unlock(&hw->lock);
	return rc;
}

static int port_irq_route_set(struct viommu_port *port, uint16_t offset, uint64_t value)
{
	struct hw_port *hw = to_hw(port);

	/* 180h is the GA log's, which no guest has. */
	return offset == REG_XT_EVENT || offset == REG_XT_PPR ? command_set(hw, offset, value) : 0;
}

/* Exclusion ranges and the like are kept for guests that read them back; hardware has none. */
static int port_register_set(struct viommu_port *port, uint16_t offset, uint64_t value)
{
	(void)port;
	(void)offset;
	(void)value;
	return 0;
}

/*
 * Guests reach the mapped page without an exit; these are for the monitor's own accesses, and for
 * the model, whose page is not mapped.
 */
static int port_vf_page_write(struct viommu_port *port, uint16_t offset, uint64_t value)
{
	struct hw_port *hw = to_hw(port);

	if (!hw->kernel)
		return iommufd_soft_vf_write(hw->ctx, hw->viommu, offset, value);
	hw->vf_page[(offset - VF_PAGE) / sizeof(value)] = value;
	return 0;
}

static int port_vf_page_read(struct viommu_port *port, uint16_t offset, uint64_t *value)
{
	struct hw_port *hw = to_hw(port);

	if (!hw->kernel)
		return iommufd_soft_vf_read(hw->ctx, hw->viommu, offset, value);
	*value = hw->vf_page[(offset - VF_PAGE) / sizeof(*value)];
	return 0;
}

int hw_registers_clear(struct hw_port *hw, uint16_t *index)
{
	static const uint16_t cleared[] = {REG_CONTROL, REG_XT_EVENT, REG_XT_PPR};
	int first = 0;

	for (size_t i = 0; i < ARRAY_SIZE(cleared); i++) {
		int rc = command_set(hw, cleared[i], 0);

		if (rc && !first) {
			first = rc;
			*index = cleared[i];
		}
	}
	return first;
}

/*
 * A guest that resets leaves its entries and its enables as they are: firmware and the next kernel
 * must find devices that reach memory, and no queue that runs.
 */
static void port_reset(struct viommu_port *port)
{
	struct hw_port *hw = to_hw(port);
	uint16_t index;
	int rc;

	pthread_mutex_lock(&hw->lock);
	hw->control = 0;
	rc = hw_registers_clear(hw, &index);
	if (rc)
		log_error_once("vIOMMU: VIOMMU_COMMAND cannot clear %#x at reset: %s; restart the "
			       "machine",
			       index, strerror(-rc));
	for (unsigned i = 0; i < HW_QUEUES; i++) {
		queue_stop(hw, &hw->queue[i]);
		hw->queue[i] = (struct hw_queue){.base = RING_RESET_VALUE};
	}
	pthread_mutex_unlock(&hw->lock);
	port_vf_page_write(port, REG_VF_STATUS, STATUS_W1C);
	hw_devtab_reset(hw);
}

/* ---- devices ---- */

int viommu_hw_device_add(struct viommu_port *port, struct viommu_hw_device *device)
{
	static const uint64_t none[4];
	struct hw_port *hw = to_hw(port);
	int rc = iommufd_vdevice_alloc(hw->ctx, hw->viommu, device->dev_id, device->devid,
				       &device->vdevice);

	if (rc)
		return rc;
	pthread_mutex_lock(&hw->lock);
	device->nested = 0;
	rc = hw_attach(hw, device, VIOMMU_HW_BYPASS, none);
	if (!rc) {
		device->next = hw->devices;
		hw->devices = device;
		/* Where the guest runs already its table may have an entry. */
		hw_devtab_follow(hw);
	}
	pthread_mutex_unlock(&hw->lock);
	if (rc)
		iommufd_destroy(hw->ctx, device->vdevice);
	return rc;
}

void viommu_hw_device_remove(struct viommu_port *port, struct viommu_hw_device *device)
{
	static const uint64_t none[4];
	struct hw_port *hw = to_hw(port);
	struct viommu_hw_device **at = &hw->devices;
	int rc;

	pthread_mutex_lock(&hw->lock);
	while (*at && *at != device)
		at = &(*at)->next;
	if (*at)
		*at = device->next;
	/* What is lent goes back as it came; and a nested page table goes before its vIOMMU. */
	rc = hw->kernel	      ? hw_attach(hw, device, VIOMMU_HW_BLOCKED, none)
	     : device->nested ? hw_attach(hw, device, VIOMMU_HW_BYPASS, none)
			      : 0;
	pthread_mutex_unlock(&hw->lock);
	if (rc)
		log_warning("vIOMMU: device %#x cannot be taken from it: %s", device->devid,
			    strerror(-rc));
	iommufd_destroy(hw->ctx, device->vdevice);
}

void viommu_hw_stats(const struct viommu_port *port, struct viommu_hw_stats *stats)
{
	const struct hw_port *hw = to_hw(port);

	stats->dte_writes = atomic_load_explicit(&hw->dte_writes, memory_order_relaxed);
	stats->attaches = atomic_load_explicit(&hw->attaches, memory_order_relaxed);
	stats->nested = atomic_load_explicit(&hw->nested, memory_order_relaxed);
	stats->failures = atomic_load_explicit(&hw->failures, memory_order_relaxed);
}

/* ---- life ---- */

static void vf_page_release(struct hw_port *hw)
{
	if (hw->vf_shown)
		guest_window_memory_remove(hw->window, hw->vf_gpa);
	hw->vf_shown = false;
	/* It holds its vIOMMU. */
	if (hw->vf_page)
		iommufd_munmap(hw->ctx, (void *)(uintptr_t)hw->vf_page, GUEST_PAGE_SIZE);
	hw->vf_page = NULL;
}

static void destroy(struct hw_port *hw, uint32_t *id)
{
	if (*id)
		iommufd_destroy(hw->ctx, *id);
	*id = 0;
}

/* Users before what they use; an id of 0 was never allocated. */
void viommu_hw_port_release(struct viommu_port *port)
{
	struct hw_port *hw = to_hw(port);

	if (hw->viommu)
		guest_window_trap(hw->window, NULL);
	while (hw->devices)
		viommu_hw_device_remove(port, hw->devices);
	for (unsigned i = 0; i < HW_QUEUES; i++)
		queue_stop(hw, &hw->queue[i]);
	vf_page_release(hw);
	destroy(hw, &hw->viommu);
	destroy(hw, &hw->stage2);
	if (!hw->kernel) {
		destroy(hw, &hw->closed);
		destroy(hw, &hw->ioas);
	}
}

static void port_free(struct viommu_port *port)
{
	struct hw_port *hw = to_hw(port);

	viommu_hw_port_release(port);
	pthread_mutex_destroy(&hw->lock);
	free(hw);
}

uint32_t viommu_hw_viommu(const struct viommu_port *port)
{
	return to_hw(port)->viommu;
}

static const struct viommu_port_ops hw_port_ops = {
	.control_set = port_control_set,
	.device_table_set = port_device_table_set,
	.queue_set = port_queue_set,
	.irq_route_set = port_irq_route_set,
	.register_set = port_register_set,
	.vf_page_write = port_vf_page_write,
	.vf_page_read = port_vf_page_read,
	.register_read = port_register_read,
	.msi_set = port_msi_set,
	.reset = port_reset,
	.free = port_free,
};

struct hw_port *hw_port_alloc(const struct viommu_hw_config *config)
{
	struct hw_port *hw = calloc(1, sizeof(*hw));

	if (!hw)
		return NULL;
	hw->port.ops = &hw_port_ops;
	hw->ctx = config->ctx;
	hw->kernel = !iommufd_is_soft(config->ctx);
	hw->memory = config->memory;
	hw->window = config->window;
	if (hw->kernel) {
		hw->ioas = config->ioas;
		hw->closed = config->closed;
		hw->dev_id = config->device[0]->dev_id;
		hw->vf_gpa = config->gpa + VF_PAGE;
	}
	pthread_mutex_init(&hw->lock, NULL);
	hw_devtab_init(hw);
	for (unsigned i = 0; i < HW_QUEUES; i++)
		hw->queue[i].base = RING_RESET_VALUE;
	return hw;
}
