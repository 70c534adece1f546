// SPDX-License-Identifier: Apache-2.0
/*
 * Soft devices and what is made for one: hardware information, vDEVICEs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "iommufd/soft.h"

int soft_get_hw_info(struct soft_call *call)
{
	struct iommu_hw_info *cmd = call->cmd;
	uint8_t *out = (void *)(uintptr_t)cmd->data_uptr;
	struct iommu_hw_info_amd info;
	struct soft_device *device;
	uint32_t len;

	if (cmd->flags & ~(uint32_t)IOMMU_HW_INFO_FLAG_INPUT_TYPE)
		return -EOPNOTSUPP;
	if (cmd->__reserved[0] || cmd->__reserved[1] || cmd->__reserved[2])
		return -EOPNOTSUPP;
	device = soft_object_get(call->soft, cmd->dev_id, SOFT_DEVICE);
	if (!device)
		return -ENOENT;
	soft_object_put(call->soft, device);
	if ((cmd->flags & IOMMU_HW_INFO_FLAG_INPUT_TYPE) && cmd->in_data_type &&
	    cmd->in_data_type != IOMMU_HW_INFO_TYPE_AMD)
		return -EOPNOTSUPP;
	if (cmd->data_len && !out)
		return -EFAULT;
	pthread_mutex_lock(&call->soft->lock);
	info.efr = call->soft->features.efr;
	info.efr2 = call->soft->features.efr2;
	pthread_mutex_unlock(&call->soft->lock);
	len = cmd->data_len < sizeof(info) ? cmd->data_len : (uint32_t)sizeof(info);
	if (cmd->data_len) {
		memcpy(out, &info, len);
		memset(out + len, 0, cmd->data_len - len);
	}
	cmd->data_len = sizeof(info);
	cmd->out_data_type = IOMMU_HW_INFO_TYPE_AMD;
	cmd->out_max_pasid_log2 = 0;
	cmd->out_capabilities = info.efr & SOFT_EFR_HDSUP ? IOMMU_HW_CAP_DIRTY_TRACKING : 0;
	soft_respond(call);
	return 0;
}

void soft_device_destroy(struct iommufd_soft *soft, struct soft_object *object)
{
	(void)soft;
	(void)object;
}

/* Called with soft->lock held. */
static int vdevice_link(struct soft_vdevice *vdevice)
{
	struct soft_viommu *viommu = vdevice->viommu;

	if (vdevice->device->vdevice)
		return -EEXIST;
	for (const struct soft_vdevice *v = viommu->vdevices; v; v = v->next) {
		if (v->virt_id == vdevice->virt_id)
			return -EEXIST;
	}
	/* The engine knows 16-bit device ids. */
	if (vdevice->virt_id > UINT16_MAX)
		return -EINVAL;
	vdevice->next = viommu->vdevices;
	viommu->vdevices = vdevice;
	vdevice->device->vdevice = vdevice;
	viommu->object.users++;
	return 0;
}

int soft_vdevice_alloc(struct soft_call *call)
{
	struct iommu_vdevice_alloc *cmd = call->cmd;
	struct soft_vdevice *vdevice;
	struct soft_device *device;
	struct soft_viommu *viommu;
	int rc;

	viommu = soft_object_get(call->soft, cmd->viommu_id, SOFT_VIOMMU);
	if (!viommu)
		return -ENOENT;
	device = soft_object_get(call->soft, cmd->dev_id, SOFT_DEVICE);
	if (!device) {
		rc = -ENOENT;
		goto out_viommu;
	}
	vdevice = soft_object_new(call->soft, SOFT_VDEVICE, sizeof(*vdevice));
	if (!vdevice) {
		rc = -ENOMEM;
		goto out_device;
	}
	vdevice->viommu = viommu;
	vdevice->device = device;
	vdevice->virt_id = cmd->virt_id;
	pthread_mutex_lock(&call->soft->lock);
	rc = vdevice_link(vdevice);
	pthread_mutex_unlock(&call->soft->lock);
	if (rc) {
		soft_object_abort(call->soft, vdevice);
		goto out_device;
	}
	cmd->out_vdevice_id = vdevice->object.id;
	soft_respond(call);
	soft_object_publish(call->soft, vdevice);
out_device:
	soft_object_put(call->soft, device);
out_viommu:
	soft_object_put(call->soft, viommu);
	return rc;
}

void soft_vdevice_destroy(struct iommufd_soft *soft, struct soft_object *object)
{
	struct soft_vdevice *vdevice = container_of(object, struct soft_vdevice, object);
	struct soft_vdevice **link = &vdevice->viommu->vdevices;

	pthread_mutex_lock(&soft->attach_lock);
	pthread_mutex_lock(&soft->dma_lock);
	vdevice->device->requester = NULL;
	pthread_mutex_unlock(&soft->dma_lock);
	amd_iommu_dma_space_free(vdevice->dma);
	pthread_mutex_lock(&soft->lock);
	while (*link != vdevice)
		link = &(*link)->next;
	*link = vdevice->next;
	vdevice->device->vdevice = NULL;
	vdevice->viommu->object.users--;
	pthread_mutex_unlock(&soft->lock);
	pthread_mutex_unlock(&soft->attach_lock);
}
