// SPDX-License-Identifier: Apache-2.0
/*
 * The calls, each as a function; the same for every transport.
 */
#include <errno.h>
#include <sys/mman.h>
#include <time.h>

#include "iommufd/internal.h"
#include "iommufd/uapi.h"

void iommufd_close(struct iommufd *ctx)
{
	if (ctx)
		ctx->transport->close(ctx);
}

int iommufd_fd(const struct iommufd *ctx)
{
	return ctx->transport->fd(ctx);
}

bool iommufd_is_soft(const struct iommufd *ctx)
{
	return iommufd_fd(ctx) < 0;
}

int iommufd_call(struct iommufd *ctx, unsigned nr, void *arg)
{
	return ctx->transport->call(ctx, nr, arg);
}

int iommufd_destroy(struct iommufd *ctx, uint32_t id)
{
	struct iommu_destroy cmd = {.size = sizeof(cmd), .id = id};

	return iommufd_call(ctx, IOMMUFD_CMD_DESTROY, &cmd);
}

int iommufd_option_set(struct iommufd *ctx, uint32_t option, uint32_t object_id, uint64_t value)
{
	struct iommu_option cmd = {
		.size = sizeof(cmd),
		.option_id = option,
		.op = IOMMU_OPTION_OP_SET,
		.object_id = object_id,
		.val64 = value,
	};

	return iommufd_call(ctx, IOMMUFD_CMD_OPTION, &cmd);
}

int iommufd_option_get(struct iommufd *ctx, uint32_t option, uint32_t object_id, uint64_t *value)
{
	struct iommu_option cmd = {
		.size = sizeof(cmd),
		.option_id = option,
		.op = IOMMU_OPTION_OP_GET,
		.object_id = object_id,
	};
	int rc = iommufd_call(ctx, IOMMUFD_CMD_OPTION, &cmd);

	if (!rc)
		*value = cmd.val64;
	return rc;
}

int iommufd_ioas_alloc(struct iommufd *ctx, uint32_t *ioas_id)
{
	struct iommu_ioas_alloc cmd = {.size = sizeof(cmd)};
	int rc = iommufd_call(ctx, IOMMUFD_CMD_IOAS_ALLOC, &cmd);

	if (!rc)
		*ioas_id = cmd.out_ioas_id;
	return rc;
}

static uint32_t map_flags(unsigned prot)
{
	return IOMMU_IOAS_MAP_FIXED_IOVA |
	       (prot & IOMMUFD_PROT_READ ? (uint32_t)IOMMU_IOAS_MAP_READABLE : 0) |
	       (prot & IOMMUFD_PROT_WRITE ? (uint32_t)IOMMU_IOAS_MAP_WRITEABLE : 0);
}

int iommufd_ioas_map(struct iommufd *ctx, uint32_t ioas_id, uint64_t iova, void *va,
		     uint64_t length, unsigned prot)
{
	struct iommu_ioas_map cmd = {
		.size = sizeof(cmd),
		.flags = map_flags(prot),
		.ioas_id = ioas_id,
		.user_va = (uintptr_t)va,
		.length = length,
		.iova = iova,
	};

	return iommufd_call(ctx, IOMMUFD_CMD_IOAS_MAP, &cmd);
}

int iommufd_ioas_map_file(struct iommufd *ctx, uint32_t ioas_id, uint64_t iova, int fd,
			  uint64_t offset, uint64_t length, unsigned prot)
{
	struct iommu_ioas_map_file cmd = {
		.size = sizeof(cmd),
		.flags = map_flags(prot),
		.ioas_id = ioas_id,
		.fd = fd,
		.start = offset,
		.length = length,
		.iova = iova,
	};

	return iommufd_call(ctx, IOMMUFD_CMD_IOAS_MAP_FILE, &cmd);
}

int iommufd_ioas_copy(struct iommufd *ctx, uint32_t dst_ioas, uint64_t dst_iova, uint32_t src_ioas,
		      uint64_t src_iova, uint64_t length, unsigned prot)
{
	struct iommu_ioas_copy cmd = {
		.size = sizeof(cmd),
		.flags = map_flags(prot),
		.dst_ioas_id = dst_ioas,
		.src_ioas_id = src_ioas,
		.length = length,
		.dst_iova = dst_iova,
		.src_iova = src_iova,
	};

	return iommufd_call(ctx, IOMMUFD_CMD_IOAS_COPY, &cmd);
}

int iommufd_ioas_unmap(struct iommufd *ctx, uint32_t ioas_id, uint64_t iova, uint64_t length,
		       uint64_t *unmapped)
{
	struct iommu_ioas_unmap cmd = {
		.size = sizeof(cmd), .ioas_id = ioas_id, .iova = iova, .length = length};
	int rc = iommufd_call(ctx, IOMMUFD_CMD_IOAS_UNMAP, &cmd);

	if (!rc && unmapped)
		*unmapped = cmd.length;
	return rc;
}

int iommufd_ioas_iova_ranges(struct iommufd *ctx, uint32_t ioas_id,
			     struct iommufd_iova_range *range, unsigned *count, uint64_t *alignment)
{
	struct iommu_ioas_iova_ranges cmd = {
		.size = sizeof(cmd),
		.ioas_id = ioas_id,
		.num_iovas = *count,
		.allowed_iovas = (uintptr_t)range,
	};
	int rc;

	_Static_assert(sizeof(struct iommufd_iova_range) == sizeof(struct iommu_iova_range),
		       "the kernel writes straight into the caller's array");
	rc = iommufd_call(ctx, IOMMUFD_CMD_IOAS_IOVA_RANGES, &cmd);
	if (!rc || rc == -EMSGSIZE) {
		*count = cmd.num_iovas;
		if (alignment)
			*alignment = cmd.out_iova_alignment;
	}
	return rc;
}

int iommufd_ioas_allow_iovas(struct iommufd *ctx, uint32_t ioas_id,
			     const struct iommufd_iova_range *range, unsigned count)
{
	struct iommu_ioas_allow_iovas cmd = {
		.size = sizeof(cmd),
		.ioas_id = ioas_id,
		.num_iovas = count,
		.allowed_iovas = (uintptr_t)range,
	};

	return iommufd_call(ctx, IOMMUFD_CMD_IOAS_ALLOW_IOVAS, &cmd);
}

int iommufd_hwpt_alloc(struct iommufd *ctx, const struct iommufd_hwpt_args *args, uint32_t *hwpt_id)
{
	struct iommu_hwpt_alloc cmd = {
		.size = sizeof(cmd),
		.flags = args->flags,
		.dev_id = args->dev_id,
		.pt_id = args->pt_id,
		.data_type = args->data_type,
		.data_len = args->data_len,
		.data_uptr = (uintptr_t)args->data,
		.fault_id = args->fault_id,
	};
	int rc = iommufd_call(ctx, IOMMUFD_CMD_HWPT_ALLOC, &cmd);

	if (!rc)
		*hwpt_id = cmd.out_hwpt_id;
	return rc;
}

int iommufd_hwpt_invalidate(struct iommufd *ctx, uint32_t id, uint32_t data_type,
			    const void *entries, uint32_t len, uint32_t *num)
{
	struct iommu_hwpt_invalidate cmd = {
		.size = sizeof(cmd),
		.hwpt_id = id,
		.data_uptr = (uintptr_t)entries,
		.data_type = data_type,
		.entry_len = len,
		.entry_num = *num,
	};
	int rc = iommufd_call(ctx, IOMMUFD_CMD_HWPT_INVALIDATE, &cmd);

	*num = rc == -ENOTTY ? 0 : cmd.entry_num;
	return rc;
}

int iommufd_hwpt_set_dirty_tracking(struct iommufd *ctx, uint32_t hwpt_id, bool enable)
{
	struct iommu_hwpt_set_dirty_tracking cmd = {
		.size = sizeof(cmd),
		.flags = enable ? (uint32_t)IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0,
		.hwpt_id = hwpt_id,
	};

	return iommufd_call(ctx, IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING, &cmd);
}

int iommufd_hwpt_get_dirty_bitmap(struct iommufd *ctx, uint32_t hwpt_id, uint32_t flags,
				  uint64_t iova, uint64_t length, uint64_t page_size,
				  uint64_t *bitmap)
{
	struct iommu_hwpt_get_dirty_bitmap cmd = {
		.size = sizeof(cmd),
		.hwpt_id = hwpt_id,
		.flags = flags,
		.iova = iova,
		.length = length,
		.page_size = page_size,
		.data = (uintptr_t)bitmap,
	};

	return iommufd_call(ctx, IOMMUFD_CMD_HWPT_GET_DIRTY_BITMAP, &cmd);
}

int iommufd_hw_info(struct iommufd *ctx, uint32_t dev_id, uint32_t *type, void *buf, uint32_t *len,
		    uint64_t *caps)
{
	struct iommu_hw_info cmd = {
		.size = sizeof(cmd),
		/* Kernels before the flag still answer a call that does not ask for a type. */
		.flags = *type ? (uint32_t)IOMMU_HW_INFO_FLAG_INPUT_TYPE : 0,
		.dev_id = dev_id,
		.data_len = *len,
		.data_uptr = (uintptr_t)buf,
		.in_data_type = *type,
	};
	int rc = iommufd_call(ctx, IOMMUFD_CMD_GET_HW_INFO, &cmd);

	if (rc)
		return rc;
	*type = cmd.out_data_type;
	*len = cmd.data_len;
	if (caps)
		*caps = cmd.out_capabilities;
	return 0;
}

int iommufd_viommu_alloc(struct iommufd *ctx, const struct iommufd_viommu_args *args,
			 uint32_t *viommu_id)
{
	struct iommu_viommu_alloc cmd = {
		.size = sizeof(cmd),
		.type = args->type,
		.dev_id = args->dev_id,
		.hwpt_id = args->hwpt_id,
		.data_len = args->data_len,
		.data_uptr = (uintptr_t)args->data,
	};
	int rc = iommufd_call(ctx, IOMMUFD_CMD_VIOMMU_ALLOC, &cmd);

	if (!rc)
		*viommu_id = cmd.out_viommu_id;
	return rc;
}

int iommufd_viommu_alloc_amd(struct iommufd *ctx, uint32_t dev_id, uint32_t hwpt_id,
			     uint32_t *viommu_id, uint64_t *vf_page)
{
	struct iommu_viommu_amd data = {.out_vfmmio_mmap_offset = UINT64_MAX};
	struct iommufd_viommu_args args = {.type = IOMMU_VIOMMU_TYPE_AMD,
					   .dev_id = dev_id,
					   .hwpt_id = hwpt_id,
					   .data = &data,
					   .data_len = sizeof(data)};
	uint32_t id;
	int rc = iommufd_viommu_alloc(ctx, &args, &id);

	if (rc)
		return rc;
	/* Linux 7.3's AMD driver takes any type, and data that it does not look at. */
	if (data.out_vfmmio_mmap_offset == UINT64_MAX) {
		iommufd_destroy(ctx, id);
		return -EOPNOTSUPP;
	}
	*viommu_id = id;
	*vf_page = data.out_vfmmio_mmap_offset;
	return 0;
}

int iommufd_vdevice_alloc(struct iommufd *ctx, uint32_t viommu_id, uint32_t dev_id,
			  uint64_t virt_id, uint32_t *vdevice_id)
{
	struct iommu_vdevice_alloc cmd = {
		.size = sizeof(cmd),
		.viommu_id = viommu_id,
		.dev_id = dev_id,
		.virt_id = virt_id,
	};
	int rc = iommufd_call(ctx, IOMMUFD_CMD_VDEVICE_ALLOC, &cmd);

	if (!rc)
		*vdevice_id = cmd.out_vdevice_id;
	return rc;
}

int iommufd_hw_queue_alloc(struct iommufd *ctx, uint32_t viommu_id, uint32_t type, uint32_t index,
			   uint64_t base, uint64_t length, uint32_t *queue_id)
{
	struct iommu_hw_queue_alloc cmd = {
		.size = sizeof(cmd),
		.viommu_id = viommu_id,
		.type = type,
		.index = index,
		.nesting_parent_iova = base,
		.length = length,
	};
	int rc = iommufd_call(ctx, IOMMUFD_CMD_HW_QUEUE_ALLOC, &cmd);

	if (!rc)
		*queue_id = cmd.out_hw_queue_id;
	return rc;
}

int iommufd_fault_queue_alloc(struct iommufd *ctx, uint32_t *fault_id, int *fd)
{
	struct iommu_fault_alloc cmd = {.size = sizeof(cmd)};
	int rc = iommufd_call(ctx, IOMMUFD_CMD_FAULT_QUEUE_ALLOC, &cmd);

	if (rc)
		return rc;
	*fault_id = cmd.out_fault_id;
	*fd = (int)cmd.out_fault_fd;
	return 0;
}

int iommufd_veventq_alloc(struct iommufd *ctx, uint32_t viommu_id, uint32_t type, uint32_t depth,
			  uint32_t *veventq_id, int *fd)
{
	struct iommu_veventq_alloc cmd = {
		.size = sizeof(cmd),
		.viommu_id = viommu_id,
		.type = type,
		.veventq_depth = depth,
	};
	int rc = iommufd_call(ctx, IOMMUFD_CMD_VEVENTQ_ALLOC, &cmd);

	if (rc)
		return rc;
	*veventq_id = cmd.out_veventq_id;
	*fd = (int)cmd.out_veventq_fd;
	return 0;
}

ssize_t iommufd_eventq_read(struct iommufd *ctx, uint32_t id, int fd, void *buf, size_t len)
{
	return ctx->transport->eventq_read(ctx, id, fd, buf, len);
}

ssize_t iommufd_fault_respond(struct iommufd *ctx, uint32_t fault_id, int fd, const void *responses,
			      size_t len)
{
	return ctx->transport->fault_respond(ctx, fault_id, fd, responses, len);
}

int iommufd_mmap(struct iommufd *ctx, uint64_t offset, size_t length, void **va)
{
	return ctx->transport->mmap(ctx, offset, length, va);
}

int iommufd_munmap(struct iommufd *ctx, void *va, size_t length)
{
	(void)ctx;
	return munmap(va, length) ? -errno : 0;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static int viommu_command(struct iommufd *ctx, struct iommu_viommu_command *cmd)
{
	const bool get = cmd->op == IOMMU_VIOMMU_COMMAND_OP_GET;
	uint64_t begin;
	int rc;

	atomic_fetch_add_explicit(get ? &ctx->commands_get : &ctx->commands_set, 1,
				  memory_order_relaxed);
	if (!ctx->trace) {
		rc = iommufd_call(ctx, ctx->viommu_command_nr, cmd);
	} else {
		begin = now_ns();
		rc = iommufd_call(ctx, ctx->viommu_command_nr, cmd);
		ctx->trace(ctx->trace_opaque, get, cmd->index, cmd->val64, rc, now_ns() - begin);
	}
	if (ctx->forward && !get && !rc &&
	    iommufd_viommu_command_set(ctx->forward, ctx->forward_viommu, cmd->index, cmd->val64))
		atomic_fetch_add_explicit(&ctx->forwards_refused, 1, memory_order_relaxed);
	return rc;
}

int iommufd_viommu_command_set(struct iommufd *ctx, uint32_t viommu_id, uint16_t index,
			       uint64_t value)
{
	struct iommu_viommu_command cmd = {
		.size = sizeof(cmd),
		.object_id = viommu_id,
		.op = IOMMU_VIOMMU_COMMAND_OP_SET,
		.index = index,
		.val64 = value,
	};

	return viommu_command(ctx, &cmd);
}

int iommufd_viommu_command_get(struct iommufd *ctx, uint32_t viommu_id, uint16_t index,
			       uint64_t *value)
{
	struct iommu_viommu_command cmd = {
		.size = sizeof(cmd),
		.object_id = viommu_id,
		.op = IOMMU_VIOMMU_COMMAND_OP_GET,
		.index = index,
	};
	int rc = viommu_command(ctx, &cmd);

	if (!rc)
		*value = cmd.val64;
	return rc;
}

void iommufd_viommu_command_trace(struct iommufd *ctx, iommufd_viommu_trace_fn *fn, void *opaque)
{
	ctx->trace_opaque = opaque;
	ctx->trace = fn;
}

void iommufd_viommu_command_forward(struct iommufd *ctx, struct iommufd *to, uint32_t viommu_id)
{
	ctx->forward_viommu = viommu_id;
	ctx->forward = to;
}

uint64_t iommufd_viommu_command_refused(const struct iommufd *ctx)
{
	return atomic_load_explicit(&ctx->forwards_refused, memory_order_relaxed);
}

void iommufd_viommu_command_count(const struct iommufd *ctx, uint64_t *set, uint64_t *get)
{
	*set = atomic_load_explicit(&ctx->commands_set, memory_order_relaxed);
	*get = atomic_load_explicit(&ctx->commands_get, memory_order_relaxed);
}
