// SPDX-License-Identifier: Apache-2.0
/*
 * Soft vIOMMUs of the AMD type: allocation, hardware queues and VIOMMU_COMMAND, in front of a
 * driver that knows registers.
 *
 * The soft driver honours every register that the engine has. IOMMUFD_SOFT_HWMODEL narrows it to
 * what the hardware ABI as posted knows.
 */
#include <errno.h>

#include "iommufd/soft.h"

/* Ring base registers: base in 51:12, log2 of the entries in 59:56 (48882 section 3.4). */
#define RING_BASE	 GENMASK(51, 12)
#define RING_LENGTH	 GENMASK(59, 56)
#define RING_LENGTH_MIN	 8u
#define RING_LENGTH_MAX	 15u
#define RING_ENTRY_SIZE	 16u
#define RING_RESET_VALUE FIELD_PREP(RING_LENGTH, RING_LENGTH_MIN)

/* Where the VF page lies in the guest's register window. */
#define VF_PAGE 0x2000

/* By queue type less IOMMU_HW_QUEUE_TYPE_AMD_CMD. */
static const uint16_t ring_register[SOFT_QUEUES] = {0x08, 0x10, 0x38};

const struct iommufd_soft_driver iommufd_soft_engine_driver = {
	.create = amd_iommu_engine_new,
	.destroy = amd_iommu_engine_free,
	.set = amd_iommu_engine_set,
	.get = amd_iommu_engine_get,
};

#define REG_CONTROL	 0x18
#define REG_XT_EVENT_INT 0x170
#define REG_XT_PPR_INT	 0x178

/*
 * What the host has on in its unit, whatever the guest writes: IommuEn, GTEn and GCR3TRPMode for
 * nested translation; IntCapXTEn, as the guest's log interrupts go where 170h and 178h say.
 */
#define CONTROL_HOST (BIT(0) | BIT(16) | BIT(51) | BIT(58))
/*
 * The Control bits that hardware keeps for each guest (its VF control registers): CmdBufEn,
 * ComWaitIntEn; EventLogEn, EventIntEn, DualEventLogEn; PPRLogEn, PPRIntEn, PPREn, DualPprLogEn,
 * PprAutoRspEn, BlkStopMrkEn, PprAutoRspAon.
 */
#define CONTROL_VIRTUALISED                                                                        \
	(BIT(12) | BIT(4) | BIT(2) | BIT(3) | GENMASK(33, 32) | BIT(13) | BIT(14) | BIT(15) |      \
	 GENMASK(31, 30) | BIT(39) | BIT(41) | BIT(42))

static int viommu_init(struct soft_call *call, struct soft_viommu *viommu)
{
	const struct iommu_viommu_alloc *cmd = call->cmd;
	struct iommu_viommu_amd *data = (void *)(uintptr_t)cmd->data_uptr;
	struct amd_iommu_config config = {.memory = call->soft->memory};
	int rc;

	if (cmd->data_len != sizeof(*data))
		return -EINVAL;
	if (!data)
		return -EFAULT;
	pthread_mutex_lock(&call->soft->lock);
	config.features = call->soft->features;
	/* Dirty bits without accessed ones are kept in the host's table, which no guest sees. */
	if (!(config.features.efr & SOFT_EFR_HASUP))
		config.features.efr &= ~SOFT_EFR_HDSUP;
	config.devid = call->soft->devid;
	pthread_mutex_unlock(&call->soft->lock);
	config.host_devtab = call->soft->hwmodel;
	viommu->driver = call->soft->driver;
	rc = viommu->driver->create(&config, &viommu->engine);
	if (rc)
		return rc;
	if (call->soft->hwmodel) {
		rc = viommu->driver->set(viommu->engine, REG_CONTROL, CONTROL_HOST);
		if (rc) {
			viommu->driver->destroy(viommu->engine);
			return rc;
		}
	}
	/* No page to map: see iommufd_soft_vf_write(). */
	data->out_vfmmio_mmap_offset = 0;
	pthread_mutex_init(&viommu->lock, NULL);
	return 0;
}

int soft_viommu_alloc(struct soft_call *call)
{
	struct iommu_viommu_alloc *cmd = call->cmd;
	struct iommufd_soft *soft = call->soft;
	struct soft_viommu *viommu;
	struct soft_device *device;
	struct soft_hwpt *hwpt;
	int rc;

	if (cmd->flags || cmd->type == IOMMU_VIOMMU_TYPE_DEFAULT)
		return -EOPNOTSUPP;
	device = soft_object_get(soft, cmd->dev_id, SOFT_DEVICE);
	if (!device)
		return -ENOENT;
	if (cmd->type != IOMMU_VIOMMU_TYPE_AMD) {
		rc = -EOPNOTSUPP;
		goto out_device;
	}
	hwpt = soft_object_get(soft, cmd->hwpt_id, SOFT_HWPT);
	if (!hwpt) {
		rc = -ENOENT;
		goto out_device;
	}
	if (!hwpt->nest_parent) {
		rc = -EINVAL;
		goto out_hwpt;
	}
	viommu = soft_object_new(soft, SOFT_VIOMMU, sizeof(*viommu));
	if (!viommu) {
		rc = -ENOMEM;
		goto out_hwpt;
	}
	rc = viommu_init(call, viommu);
	if (rc) {
		soft_object_abort(soft, viommu);
		goto out_hwpt;
	}
	soft_object_hold(soft, hwpt);
	viommu->hwpt = hwpt;
	cmd->out_viommu_id = viommu->object.id;
	soft_respond(call);
	soft_object_publish(soft, viommu);
out_hwpt:
	soft_object_put(soft, hwpt);
out_device:
	soft_object_put(soft, device);
	return rc;
}

void soft_viommu_destroy(struct iommufd_soft *soft, struct soft_object *object)
{
	struct soft_viommu *viommu = container_of(object, struct soft_viommu, object);

	viommu->driver->destroy(viommu->engine);
	pthread_mutex_destroy(&viommu->lock);
	soft_object_put(soft, viommu->hwpt);
}

/*
 * LENGTH in bytes to the register's code; -EINVAL for what no ring can be. The unit is not settled:
 * uapi says bytes, AMD's monitor passes the code itself, which is less than any ring has bytes.
 */
static int ring_value(uint64_t base, uint64_t length, uint64_t *value)
{
	uint64_t entries = length / RING_ENTRY_SIZE;
	unsigned code;

	if (length >= RING_LENGTH_MIN && length <= RING_LENGTH_MAX)
		entries = BIT(length);
	else if (!is_power_of_2(length))
		return -EINVAL;
	if ((base & ~RING_BASE) || entries < BIT(RING_LENGTH_MIN) || entries > BIT(RING_LENGTH_MAX))
		return -EINVAL;
	code = (unsigned)__builtin_ctzll(entries);
	*value = base | FIELD_PREP(RING_LENGTH, code);
	return 0;
}

static int hw_queue_start(struct soft_viommu *viommu, unsigned slot, uint64_t value)
{
	int rc = -EEXIST;

	pthread_mutex_lock(&viommu->lock);
	if (!viommu->queue[slot]) {
		rc = viommu->driver->set(viommu->engine, ring_register[slot], value);
		viommu->queue[slot] = !rc;
	}
	pthread_mutex_unlock(&viommu->lock);
	return rc;
}

int soft_hw_queue_alloc(struct soft_call *call)
{
	struct iommu_hw_queue_alloc *cmd = call->cmd;
	struct soft_viommu *viommu;
	struct soft_hw_queue *queue;
	uint64_t value;
	int rc;

	if (cmd->flags || cmd->type == IOMMU_HW_QUEUE_TYPE_DEFAULT)
		return -EOPNOTSUPP;
	if (!cmd->length)
		return -EINVAL;
	if (cmd->nesting_parent_iova + (cmd->length - 1) < cmd->nesting_parent_iova)
		return -EOVERFLOW;
	viommu = soft_object_get(call->soft, cmd->viommu_id, SOFT_VIOMMU);
	if (!viommu)
		return -ENOENT;
	if (cmd->type < IOMMU_HW_QUEUE_TYPE_AMD_CMD || cmd->type > IOMMU_HW_QUEUE_TYPE_AMD_PPR) {
		rc = -EOPNOTSUPP;
		goto out_viommu;
	}
	/* One queue of each type. */
	rc = cmd->index ? -EINVAL : ring_value(cmd->nesting_parent_iova, cmd->length, &value);
	if (rc)
		goto out_viommu;
	queue = soft_object_new(call->soft, SOFT_HW_QUEUE, sizeof(*queue));
	if (!queue) {
		rc = -ENOMEM;
		goto out_viommu;
	}
	queue->viommu = viommu;
	queue->slot = cmd->type - IOMMU_HW_QUEUE_TYPE_AMD_CMD;
	rc = hw_queue_start(viommu, queue->slot, value);
	if (rc) {
		soft_object_abort(call->soft, queue);
		goto out_viommu;
	}
	soft_object_hold(call->soft, viommu);
	cmd->out_hw_queue_id = queue->object.id;
	soft_respond(call);
	soft_object_publish(call->soft, queue);
out_viommu:
	soft_object_put(call->soft, viommu);
	return rc;
}

void soft_hw_queue_destroy(struct iommufd_soft *soft, struct soft_object *object)
{
	struct soft_hw_queue *queue = container_of(object, struct soft_hw_queue, object);
	struct soft_viommu *viommu = queue->viommu;

	pthread_mutex_lock(&viommu->lock);
	/* A ring that still runs stays where it is, as the register would. */
	viommu->driver->set(viommu->engine, ring_register[queue->slot], RING_RESET_VALUE);
	viommu->queue[queue->slot] = false;
	pthread_mutex_unlock(&viommu->lock);
	soft_object_put(soft, viommu);
}

static int hwmodel_set(struct soft_viommu *viommu, uint16_t index, uint64_t value)
{
	uint64_t control = value & CONTROL_VIRTUALISED;
	int rc;

	if (index % 8)
		return -EINVAL;
	switch (index) {
	case REG_CONTROL:
		rc = viommu->driver->set(viommu->engine, index, control | CONTROL_HOST);
		if (!rc)
			viommu->control = control;
		return rc;
	case REG_XT_EVENT_INT:
	case REG_XT_PPR_INT:
		return viommu->driver->set(viommu->engine, index, value);
	default:
		return -EOPNOTSUPP;
	}
}

static int hwmodel_get(struct soft_viommu *viommu, uint16_t index, uint64_t *value)
{
	if (index % 8)
		return -EINVAL;
	if (index != REG_CONTROL)
		return -EOPNOTSUPP;
	*value = viommu->control;
	return 0;
}

int soft_viommu_command(struct soft_call *call)
{
	const bool hwmodel = call->soft->hwmodel;
	const struct iommu_viommu_command *cmd = call->cmd;
	struct soft_viommu *viommu;
	uint64_t value;
	int rc;

	if (cmd->__reserved)
		return -EOPNOTSUPP;
	if (cmd->op != IOMMU_VIOMMU_COMMAND_OP_SET && cmd->op != IOMMU_VIOMMU_COMMAND_OP_GET)
		return -EOPNOTSUPP;
	viommu = soft_object_get(call->soft, cmd->object_id, SOFT_VIOMMU);
	if (!viommu)
		return -ENOENT;
	/* Who reads a register does not wait for a ring that another thread's SET runs. */
	if (cmd->op == IOMMU_VIOMMU_COMMAND_OP_SET) {
		pthread_mutex_lock(&viommu->lock);
		rc = hwmodel ? hwmodel_set(viommu, cmd->index, cmd->val64)
			     : viommu->driver->set(viommu->engine, cmd->index, cmd->val64);
		pthread_mutex_unlock(&viommu->lock);
	} else {
		rc = hwmodel ? hwmodel_get(viommu, cmd->index, &value)
			     : viommu->driver->get(viommu->engine, cmd->index, &value);
	}
	soft_object_put(call->soft, viommu);
	/* GET answers in val64 alone; SET leaves the caller's structure as it was. */
	if (!rc && cmd->op == IOMMU_VIOMMU_COMMAND_OP_GET)
		((struct iommu_viommu_command *)call->user)->val64 = value;
	return rc;
}

/* The hardware's side of the VF page. */
static bool vf_register(uint16_t offset)
{
	return offset >= VF_PAGE && offset < VF_PAGE + SOFT_PAGE;
}

int iommufd_soft_vf_write(struct iommufd *ctx, uint32_t viommu_id, uint16_t offset, uint64_t value)
{
	struct iommufd_soft *soft = to_soft(ctx);
	struct soft_viommu *viommu;
	int rc;

	if (!iommufd_is_soft(ctx) || !soft->hwmodel || !vf_register(offset))
		return -EOPNOTSUPP;
	viommu = soft_object_get(soft, viommu_id, SOFT_VIOMMU);
	if (!viommu)
		return -ENOENT;
	pthread_mutex_lock(&viommu->lock);
	rc = viommu->driver->set(viommu->engine, offset, value);
	pthread_mutex_unlock(&viommu->lock);
	soft_object_put(soft, viommu);
	return rc;
}

int iommufd_soft_vf_read(struct iommufd *ctx, uint32_t viommu_id, uint16_t offset, uint64_t *value)
{
	struct iommufd_soft *soft = to_soft(ctx);
	struct soft_viommu *viommu;
	int rc;

	if (!iommufd_is_soft(ctx) || !soft->hwmodel || !vf_register(offset))
		return -EOPNOTSUPP;
	viommu = soft_object_get(soft, viommu_id, SOFT_VIOMMU);
	if (!viommu)
		return -ENOENT;
	rc = viommu->driver->get(viommu->engine, offset, value);
	soft_object_put(soft, viommu);
	return rc;
}
