// SPDX-License-Identifier: Apache-2.0
/*
 * The soft transport: context, object table and dispatch, with the rules of Linux
 * drivers/iommu/iommufd/main.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "iommufd/soft.h"

/* The kernel's limit is memory; ids here index an array. */
enum { SOFT_OBJECTS_MAX = 1 << 16 };

/* What a process of an x86 host can map. */
#define ADDRESS_SPACE BIT(47)

/* Stands in a slot whose object is not published yet. */
static struct soft_object reserved;

static int grow(struct iommufd_soft *soft)
{
	uint32_t slots = soft->slots ? soft->slots * 2 : 16;
	struct soft_object **slot;

	if (slots > SOFT_OBJECTS_MAX)
		return -ENOMEM;
	slot = realloc(soft->slot, slots * sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	memset(slot + soft->slots, 0, (slots - soft->slots) * sizeof(*slot));
	soft->slot = slot;
	soft->slots = slots;
	return 0;
}

void *soft_object_new(struct iommufd_soft *soft, enum soft_type type, size_t size)
{
	struct soft_object *object = calloc(1, size);

	if (!object)
		return NULL;
	object->type = type;
	pthread_mutex_lock(&soft->lock);
	while (soft->lowest < soft->slots && soft->slot[soft->lowest])
		soft->lowest++;
	if (soft->lowest >= soft->slots && grow(soft)) {
		pthread_mutex_unlock(&soft->lock);
		free(object);
		return NULL;
	}
	object->id = soft->lowest++;
	soft->slot[object->id] = &reserved;
	soft->objects++;
	pthread_mutex_unlock(&soft->lock);
	return object;
}

void soft_object_publish(struct iommufd_soft *soft, void *object)
{
	struct soft_object *o = object;

	pthread_mutex_lock(&soft->lock);
	soft->slot[o->id] = o;
	pthread_mutex_unlock(&soft->lock);
}

static void release_id(struct iommufd_soft *soft, uint32_t id)
{
	soft->slot[id] = NULL;
	soft->objects--;
	if (id < soft->lowest)
		soft->lowest = id;
}

void soft_object_abort(struct iommufd_soft *soft, void *object)
{
	struct soft_object *o = object;

	pthread_mutex_lock(&soft->lock);
	release_id(soft, o->id);
	pthread_mutex_unlock(&soft->lock);
	free(o);
}

static struct soft_object *look_up(struct iommufd_soft *soft, uint32_t id)
{
	struct soft_object *object = id < soft->slots ? soft->slot[id] : NULL;

	return object == &reserved ? NULL : object;
}

void *soft_object_get(struct iommufd_soft *soft, uint32_t id, enum soft_type type)
{
	struct soft_object *object;

	pthread_mutex_lock(&soft->lock);
	object = look_up(soft, id);
	if (object && type != SOFT_ANY && object->type != type)
		object = NULL;
	if (object)
		object->users++;
	pthread_mutex_unlock(&soft->lock);
	return object;
}

void soft_object_hold(struct iommufd_soft *soft, void *object)
{
	pthread_mutex_lock(&soft->lock);
	((struct soft_object *)object)->users++;
	pthread_mutex_unlock(&soft->lock);
}

void soft_object_put(struct iommufd_soft *soft, void *object)
{
	pthread_mutex_lock(&soft->lock);
	((struct soft_object *)object)->users--;
	pthread_mutex_unlock(&soft->lock);
}

static void (*const soft_destroy_op[SOFT_TYPES])(struct iommufd_soft *, struct soft_object *) = {
	[SOFT_HW_QUEUE] = soft_hw_queue_destroy, [SOFT_VDEVICE] = soft_vdevice_destroy,
	[SOFT_VEVENTQ] = soft_veventq_destroy,	 [SOFT_HWPT_NESTED] = soft_hwpt_nested_destroy,
	[SOFT_VIOMMU] = soft_viommu_destroy,	 [SOFT_HWPT] = soft_hwpt_destroy,
	[SOFT_FAULT] = soft_fault_destroy,	 [SOFT_IOAS] = soft_ioas_destroy,
	[SOFT_DEVICE] = soft_device_destroy,
};

/* An event queue's open descriptor is a user of it. */
static bool in_use(const struct soft_object *object)
{
	if (object->users)
		return true;
	return (object->type == SOFT_VEVENTQ || object->type == SOFT_FAULT) &&
	       soft_eventq_is_open(container_of(object, struct soft_eventq, object));
}

static int soft_destroy(struct soft_call *call)
{
	struct iommufd_soft *soft = call->soft;
	const struct iommu_destroy *cmd = call->cmd;
	struct soft_object *object;
	int rc = 0;

	pthread_mutex_lock(&soft->lock);
	object = look_up(soft, cmd->id);
	if (!object)
		rc = -ENOENT;
	else if (in_use(object))
		rc = -EBUSY;
	else
		release_id(soft, object->id);
	pthread_mutex_unlock(&soft->lock);
	if (rc)
		return rc;
	soft_destroy_op[object->type](soft, object);
	free(object);
	return 0;
}

void soft_respond(struct soft_call *call)
{
	memcpy(call->user, call->cmd, call->user_size < call->size ? call->user_size : call->size);
}

static int rlimit_mode(struct soft_call *call)
{
	struct iommufd_soft *soft = call->soft;
	struct iommu_option *cmd = call->cmd;
	int rc = 0;

	if (cmd->object_id)
		return -EOPNOTSUPP;
	pthread_mutex_lock(&soft->lock);
	if (cmd->op == IOMMU_OPTION_OP_GET)
		cmd->val64 = soft->rlimit_mm;
	else if (cmd->op != IOMMU_OPTION_OP_SET)
		rc = -EOPNOTSUPP;
	else if (soft->objects)
		rc = -EBUSY;
	else if (cmd->val64 > 1)
		rc = -EINVAL;
	else
		soft->rlimit_mm = cmd->val64;
	pthread_mutex_unlock(&soft->lock);
	return rc;
}

int soft_option(struct soft_call *call)
{
	const struct iommu_option *cmd = call->cmd;
	int rc;

	if (cmd->__reserved)
		return -EOPNOTSUPP;
	if (cmd->option_id == IOMMU_OPTION_RLIMIT_MODE)
		rc = rlimit_mode(call);
	else if (cmd->option_id == IOMMU_OPTION_HUGE_PAGES)
		rc = soft_ioas_huge_pages(call);
	else
		rc = -EOPNOTSUPP;
	if (!rc)
		soft_respond(call);
	return rc;
}

union soft_command {
	struct iommu_destroy destroy;
	struct iommu_ioas_alloc ioas_alloc;
	struct iommu_ioas_allow_iovas allow_iovas;
	struct iommu_option option;
	struct iommu_hwpt_set_dirty_tracking set_dirty;
	struct iommu_hwpt_get_dirty_bitmap get_dirty;
	struct iommu_hwpt_invalidate invalidate;
	struct iommu_fault_alloc fault;
	struct iommu_veventq_alloc veventq;
	struct iommu_ioas_iova_ranges iova_ranges;
	struct iommu_ioas_map map;
	struct iommu_ioas_map_file map_file;
	struct iommu_ioas_copy copy;
	struct iommu_ioas_unmap unmap;
	struct iommu_hwpt_alloc hwpt;
	struct iommu_hw_info hw_info;
	struct iommu_viommu_alloc viommu;
	struct iommu_vdevice_alloc vdevice;
	struct iommu_hw_queue_alloc hw_queue;
	struct iommu_viommu_command command;
};

struct soft_op {
	uint32_t size, min_size;
	int (*execute)(struct soft_call *call);
};

#define OP(nr, type, last, fn)                                                                     \
	[(nr)-IOMMUFD_CMD_BASE] = {                                                                \
		.size = sizeof(struct type),                                                       \
		.min_size = offsetof(struct type, last) + sizeof(((struct type *)0)->last),        \
		.execute = (fn),                                                                   \
	}

static const struct soft_op soft_op[] = {
	OP(IOMMUFD_CMD_DESTROY, iommu_destroy, id, soft_destroy),
	OP(IOMMUFD_CMD_IOAS_ALLOC, iommu_ioas_alloc, out_ioas_id, soft_ioas_alloc),
	OP(IOMMUFD_CMD_IOAS_ALLOW_IOVAS, iommu_ioas_allow_iovas, allowed_iovas,
	   soft_ioas_allow_iovas),
	OP(IOMMUFD_CMD_IOAS_COPY, iommu_ioas_copy, src_iova, soft_ioas_copy),
	OP(IOMMUFD_CMD_IOAS_IOVA_RANGES, iommu_ioas_iova_ranges, out_iova_alignment,
	   soft_ioas_iova_ranges),
	OP(IOMMUFD_CMD_IOAS_MAP, iommu_ioas_map, iova, soft_ioas_map),
	OP(IOMMUFD_CMD_IOAS_UNMAP, iommu_ioas_unmap, length, soft_ioas_unmap),
	OP(IOMMUFD_CMD_OPTION, iommu_option, val64, soft_option),
	OP(IOMMUFD_CMD_HWPT_ALLOC, iommu_hwpt_alloc, __reserved, soft_hwpt_alloc),
	OP(IOMMUFD_CMD_GET_HW_INFO, iommu_hw_info, __reserved, soft_get_hw_info),
	OP(IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING, iommu_hwpt_set_dirty_tracking, __reserved,
	   soft_hwpt_set_dirty_tracking),
	OP(IOMMUFD_CMD_HWPT_GET_DIRTY_BITMAP, iommu_hwpt_get_dirty_bitmap, data,
	   soft_hwpt_get_dirty_bitmap),
	OP(IOMMUFD_CMD_HWPT_INVALIDATE, iommu_hwpt_invalidate, __reserved, soft_hwpt_invalidate),
	OP(IOMMUFD_CMD_FAULT_QUEUE_ALLOC, iommu_fault_alloc, out_fault_fd, soft_fault_alloc),
	OP(IOMMUFD_CMD_IOAS_MAP_FILE, iommu_ioas_map_file, iova, soft_ioas_map_file),
	OP(IOMMUFD_CMD_VIOMMU_ALLOC, iommu_viommu_alloc, out_viommu_id, soft_viommu_alloc),
	OP(IOMMUFD_CMD_VDEVICE_ALLOC, iommu_vdevice_alloc, virt_id, soft_vdevice_alloc),
	OP(IOMMUFD_CMD_VEVENTQ_ALLOC, iommu_veventq_alloc, out_veventq_fd, soft_veventq_alloc),
	OP(IOMMUFD_CMD_HW_QUEUE_ALLOC, iommu_hw_queue_alloc, length, soft_hw_queue_alloc),
	OP(IOMMUFD_CMD_VIOMMU_COMMAND, iommu_viommu_command, val64, soft_viommu_command),
};

static bool is_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (p[i])
			return false;
	}
	return true;
}

static int soft_transport_call(struct iommufd *ctx, unsigned nr, void *arg)
{
	union soft_command command;
	struct soft_call call = {.soft = to_soft(ctx), .user = arg, .cmd = &command};
	const struct soft_op *op;

	/* Calls of the kernel that are not here count as unknown numbers. */
	if (nr < IOMMUFD_CMD_BASE || nr - IOMMUFD_CMD_BASE >= ARRAY_SIZE(soft_op))
		return -ENOTTY;
	op = &soft_op[nr - IOMMUFD_CMD_BASE];
	if (!op->execute)
		return -ENOTTY;
	if (!arg)
		return -EFAULT;
	memcpy(&call.user_size, arg, sizeof(call.user_size));
	call.size = op->size;
	if (call.user_size < op->min_size)
		return -EINVAL;
	if (call.user_size > op->size &&
	    !is_zero((const uint8_t *)arg + op->size, call.user_size - op->size))
		return -E2BIG;
	memset(&command, 0, sizeof(command));
	memcpy(&command, arg, call.user_size < op->size ? call.user_size : op->size);
	return op->execute(&call);
}

static int soft_transport_fd(const struct iommufd *ctx)
{
	(void)ctx;
	return -1;
}

static int soft_transport_mmap(struct iommufd *ctx, uint64_t offset, size_t length, void **va)
{
	(void)ctx;
	(void)va;
	/* What mmap(2) itself refuses; and there is no page at any offset. */
	if (!length || !is_aligned(offset, SOFT_PAGE))
		return -EINVAL;
	if (length > ADDRESS_SPACE)
		return -ENOMEM;
	return align_up(length, SOFT_PAGE) > UINT64_MAX - offset ? -EOVERFLOW : -ENXIO;
}

static void soft_transport_close(struct iommufd *ctx)
{
	struct iommufd_soft *soft = to_soft(ctx);

	for (enum soft_type type = 0; type < SOFT_TYPES; type++) {
		for (uint32_t id = 0; id < soft->slots; id++) {
			struct soft_object *object = look_up(soft, id);

			if (!object || object->type != type)
				continue;
			soft->slot[id] = NULL;
			soft_destroy_op[type](soft, object);
			free(object);
		}
	}
	pthread_mutex_destroy(&soft->lock);
	pthread_mutex_destroy(&soft->attach_lock);
	pthread_mutex_destroy(&soft->settle_lock);
	pthread_mutex_destroy(&soft->dma_lock);
	pthread_cond_destroy(&soft->dma_idle);
	free(soft->slot);
	free(soft);
}

static const struct iommufd_transport soft_transport = {
	.call = soft_transport_call,
	.fd = soft_transport_fd,
	.mmap = soft_transport_mmap,
	.eventq_read = soft_eventq_read,
	.fault_respond = soft_fault_respond,
	.close = soft_transport_close,
};

int iommufd_open_soft(struct iommufd **ctx, const struct guest_memory *memory)
{
	return iommufd_open_soft_mode(ctx, memory, IOMMUFD_SOFT_FULL);
}

int iommufd_open_soft_mode(struct iommufd **ctx, const struct guest_memory *memory,
			   enum iommufd_soft_mode mode)
{
	struct iommufd_soft *soft = calloc(1, sizeof(*soft));

	if (!soft)
		return -ENOMEM;
	soft->base.transport = &soft_transport;
	soft->base.viommu_command_nr = IOMMUFD_CMD_VIOMMU_COMMAND;
	soft->memory = memory;
	soft->hwmodel = mode == IOMMUFD_SOFT_HWMODEL;
	soft->driver = &iommufd_soft_engine_driver;
	soft->features.efr = AMD_IOMMU_EFR_DEFAULT;
	soft->features.efr2 = AMD_IOMMU_EFR2_DEFAULT;
	soft->lowest = 1; /* 0 is no id */
	pthread_mutex_init(&soft->attach_lock, NULL);
	pthread_mutex_init(&soft->settle_lock, NULL);
	pthread_mutex_init(&soft->dma_lock, NULL);
	pthread_cond_init(&soft->dma_idle, NULL);
	pthread_mutex_init(&soft->lock, NULL);
	*ctx = &soft->base;
	return 0;
}

void iommufd_soft_set_driver(struct iommufd *ctx, const struct iommufd_soft_driver *driver)
{
	to_soft(ctx)->driver = driver;
}

int iommufd_soft_set_hw(struct iommufd *ctx, const struct amd_iommu_features *features,
			uint16_t devid)
{
	struct iommufd_soft *soft = to_soft(ctx);

	if (!iommufd_is_soft(ctx))
		return -EOPNOTSUPP;
	pthread_mutex_lock(&soft->lock);
	soft->features = *features;
	soft->devid = devid;
	pthread_mutex_unlock(&soft->lock);
	return 0;
}

int iommufd_soft_device_add(struct iommufd *ctx, uint32_t *dev_id)
{
	struct iommufd_soft *soft = to_soft(ctx);
	struct soft_device *device;

	if (!iommufd_is_soft(ctx))
		return -EOPNOTSUPP;
	device = soft_object_new(soft, SOFT_DEVICE, sizeof(*device));
	if (!device)
		return -ENOMEM;
	/* As a bound VFIO device does: DESTROY says EBUSY, only unbinding ends it. */
	device->object.users = 1;
	soft_device_dma_init(soft, device);
	*dev_id = device->object.id;
	soft_object_publish(soft, device);
	return 0;
}

int iommufd_soft_device_remove(struct iommufd *ctx, uint32_t dev_id)
{
	struct iommufd_soft *soft = to_soft(ctx);
	struct soft_object *object;
	int rc = -EBUSY;

	if (!iommufd_is_soft(ctx))
		return -EOPNOTSUPP;
	object = soft_object_get(soft, dev_id, SOFT_DEVICE);
	if (!object)
		return -ENOENT;
	iommufd_soft_device_detach(ctx, dev_id);
	pthread_mutex_lock(&soft->lock);
	/* The binding, and this call. */
	if (object->users == 2 && !container_of(object, struct soft_device, object)->vdevice) {
		release_id(soft, dev_id);
		rc = 0;
	} else {
		object->users--;
	}
	pthread_mutex_unlock(&soft->lock);
	if (!rc)
		free(object);
	return rc;
}

struct amd_iommu_engine *iommufd_soft_viommu_engine(struct iommufd *ctx, uint32_t viommu_id)
{
	struct iommufd_soft *soft = to_soft(ctx);
	struct amd_iommu_engine *engine;
	struct soft_viommu *viommu;

	if (!iommufd_is_soft(ctx))
		return NULL;
	viommu = soft_object_get(soft, viommu_id, SOFT_VIOMMU);
	if (!viommu)
		return NULL;
	engine = viommu->engine;
	soft_object_put(soft, viommu);
	return engine;
}
