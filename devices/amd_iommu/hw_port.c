// SPDX-License-Identifier: Apache-2.0
/*
 * The port on the hardware ABI: registers, queues and the life of the objects. The device table is
 * in hw_devtab.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/amd_iommu/hw.h"
#include "iommufd/uapi.h"
#include "postern/log.h"

#define REG_CONTROL   0x18
#define REG_XT_EVENT  0x170
#define REG_XT_PPR    0x178
#define REG_VF_STATUS 0x2020
#define STATUS_W1C    UINT64_C(0x68e67)

#define RING_BASE	 GENMASK(51, 12)
#define RING_LENGTH	 GENMASK(59, 56)
#define RING_LENGTH_MIN	 8u
#define RING_ENTRY_SIZE	 UINT64_C(16)
#define RING_RESET_VALUE FIELD_PREP(RING_LENGTH, RING_LENGTH_MIN)

/*
 * What hardware does for a guest that the kernel knows of (uapi, struct iommu_hw_info_amd): GTSup,
 * GASup, GATS, GLXSup, PASmax, GIoSup, EPHSup. No PPRSup, as nothing here answers page requests; no
 * XTSup, as interrupts are not remapped.
 */
#define EFR_GT	BIT(4)
#define EFR_GIO BIT(48)
#define EFR_SHOWN                                                                                  \
	(EFR_GT | BIT(7) | GENMASK(13, 12) | GENMASK(15, 14) | GENMASK(36, 32) | EFR_GIO | BIT(50))
#define EFR_GLX	   GENMASK(15, 14)
#define GLX_LEVELS 1u /* 3 levels are reserved to nested entries */

/* MSI (AMD64 APM volume 2, section 16.11) and the XT interrupt registers (48882 section 3.4). */
#define MSI_ADDR_DM   BIT(2)
#define MSI_ADDR_DEST GENMASK(19, 12)
#define MSI_VECTOR    GENMASK(7, 0)
#define XT_DM	      BIT(2)
#define XT_DEST	      GENMASK(31, 8)
#define XT_VECTOR     GENMASK(39, 32)

static const struct {
	uint32_t type;
	uint64_t enable; /* in Control */
	uint16_t offset;
} queue_kind[HW_QUEUES] = {
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
	rc = iommufd_hw_queue_alloc(hw->ctx, hw->viommu, queue_kind[kind].type, 0,
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
	if (!(hw->control & queue_kind[kind].enable)) {
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
		if (queue_kind[i].offset == offset) {
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
		if (!(value & ~hw->control & queue_kind[i].enable))
			continue;
		rc = queue_start(hw, i);
		/* A ring that cannot be is one that does not run. */
		if (rc)
			log_guest("vIOMMU: the ring whose base register %#x holds %#llx cannot be: "
				  "%s",
				  queue_kind[i].offset, (unsigned long long)hw->queue[i].base,
				  strerror(-rc));
	}
	/* Nor is one that was refused before, and is asked for still. */
	for (unsigned i = 0; i < HW_QUEUES; i++)
		if (!hw->queue[i].id)
			forwarded &= ~queue_kind[i].enable;
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

static int port_vf_page_write(struct viommu_port *port, uint16_t offset, uint64_t value)
{
	struct hw_port *hw = to_hw(port);

	return iommufd_soft_vf_write(hw->ctx, hw->viommu, offset, value);
}

static int port_vf_page_read(struct viommu_port *port, uint16_t offset, uint64_t *value)
{
	struct hw_port *hw = to_hw(port);

	return iommufd_soft_vf_read(hw->ctx, hw->viommu, offset, value);
}

/*
 * A guest that resets leaves its entries and its enables as they are: firmware and the next kernel
 * must find devices that reach memory, and no queue that runs.
 */
static void port_reset(struct viommu_port *port)
{
	static const uint16_t cleared[] = {REG_CONTROL, REG_XT_EVENT, REG_XT_PPR};
	struct hw_port *hw = to_hw(port);

	pthread_mutex_lock(&hw->lock);
	hw->control = 0;
	for (size_t i = 0; i < ARRAY_SIZE(cleared); i++) {
		int rc = command_set(hw, cleared[i], 0);

		if (rc)
			log_error_once(
				"vIOMMU: VIOMMU_COMMAND cannot clear %#x at reset: %s; restart the "
				"machine",
				cleared[i], strerror(-rc));
	}
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

	pthread_mutex_lock(&hw->lock);
	while (*at && *at != device)
		at = &(*at)->next;
	if (*at)
		*at = device->next;
	if (device->nested)
		hw_attach(hw, device, VIOMMU_HW_BYPASS, none);
	pthread_mutex_unlock(&hw->lock);
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

/* Users before what they use; an id of 0 was never allocated. */
static void port_free(struct viommu_port *port)
{
	struct hw_port *hw = to_hw(port);
	const uint32_t object[] = {hw->viommu, hw->stage2, hw->closed, hw->ioas};

	if (hw->viommu)
		guest_window_trap(hw->window, NULL);
	while (hw->devices)
		viommu_hw_device_remove(port, hw->devices);
	for (unsigned i = 0; i < HW_QUEUES; i++)
		queue_stop(hw, &hw->queue[i]);
	for (size_t i = 0; i < ARRAY_SIZE(object); i++) {
		if (object[i])
			iommufd_destroy(hw->ctx, object[i]);
	}
	pthread_mutex_destroy(&hw->lock);
	free(hw);
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

/* What the guest may be shown of the unit that is there. */
static int find_features(struct hw_port *hw)
{
	struct iommu_hw_info_amd info = {0};
	uint32_t type = IOMMU_HW_INFO_TYPE_AMD, len = sizeof(info);
	uint64_t glx;
	int rc = iommufd_hw_info(hw->ctx, hw->stand_in, &type, &info, &len, NULL);

	if (rc)
		return rc;
	if (~info.efr & (EFR_GT | EFR_GIO))
		return -EOPNOTSUPP;
	hw->port.features.efr = info.efr & EFR_SHOWN;
	glx = FIELD_GET(EFR_GLX, info.efr);
	if (glx > GLX_LEVELS)
		hw->port.features.efr =
			(hw->port.features.efr & ~EFR_GLX) | FIELD_PREP(EFR_GLX, GLX_LEVELS);
	return 0;
}

/* All of RAM, at the addresses that the guest knows it by. */
static int map_ram(struct hw_port *hw)
{
	for (unsigned i = 0; i < hw->memory->count; i++) {
		const struct guest_region *r = &hw->memory->region[i];
		int rc = iommufd_ioas_map(hw->ctx, hw->ioas, r->gpa, r->host, r->size,
					  IOMMUFD_PROT_READ | IOMMUFD_PROT_WRITE);

		if (rc)
			return rc;
	}
	return 0;
}

static int allocate(struct hw_port *hw, const char **what)
{
	struct iommufd_hwpt_args hwpt = {.flags = IOMMU_HWPT_ALLOC_NEST_PARENT,
					 .dev_id = hw->stand_in};
	struct iommu_viommu_amd data = {0};
	struct iommufd_viommu_args viommu = {.type = IOMMU_VIOMMU_TYPE_AMD,
					     .dev_id = hw->stand_in,
					     .data = &data,
					     .data_len = sizeof(data)};
	int rc;

	*what = "IOAS_ALLOC";
	rc = iommufd_ioas_alloc(hw->ctx, &hw->ioas);
	if (!rc)
		rc = iommufd_ioas_alloc(hw->ctx, &hw->closed);
	if (rc)
		return rc;
	*what = "IOAS_MAP of guest memory";
	rc = map_ram(hw);
	if (rc)
		return rc;
	*what = "HWPT_ALLOC(NEST_PARENT)";
	hwpt.pt_id = hw->ioas;
	rc = iommufd_hwpt_alloc(hw->ctx, &hwpt, &hw->stage2);
	if (rc)
		return rc;
	*what = "VIOMMU_ALLOC";
	viommu.hwpt_id = hw->stage2;
	return iommufd_viommu_alloc(hw->ctx, &viommu, &hw->viommu);
}

int viommu_hw_port_new(const struct viommu_hw_config *config, struct viommu_port **port,
		       struct amd_iommu_engine **engine)
{
	const char *what = "GET_HW_INFO";
	struct hw_port *hw = calloc(1, sizeof(*hw));
	int rc;

	if (!hw)
		return -ENOMEM;
	hw->port.ops = &hw_port_ops;
	hw->ctx = config->ctx;
	hw->memory = config->memory;
	hw->window = config->window;
	pthread_mutex_init(&hw->lock, NULL);
	hw_devtab_init(hw);
	for (unsigned i = 0; i < HW_QUEUES; i++)
		hw->queue[i].base = RING_RESET_VALUE;
	/* A soft device stands in for an assigned one that is bound to the context. */
	rc = iommufd_soft_device_add(hw->ctx, &hw->stand_in);
	if (!rc)
		rc = find_features(hw);
	if (!rc)
		rc = allocate(hw, &what);
	if (rc) {
		log_error("vIOMMU by the hardware ABI: %s: %s; --viommu amd,accel=soft needs less",
			  what, strerror(-rc));
		port_free(&hw->port);
		return rc;
	}
	*engine = iommufd_soft_viommu_engine(hw->ctx, hw->viommu);
	*port = &hw->port;
	return 0;
}
