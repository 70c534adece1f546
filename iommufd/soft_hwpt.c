// SPDX-License-Identifier: Apache-2.0
/*
 * Soft page tables: on an IOAS, and nested ones on a vIOMMU, with the rules of Linux
 * drivers/iommu/iommufd/hw_pagetable.c and drivers/iommu/amd/nested.c.
 *
 * A nested page table is judged and kept; who translates by the guest's tables is the engine.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "iommufd/soft.h"

/* The fields of a device table entry (48882 section 2.2.2.1), by quadword. */
#define DTE0_V		BIT(0)
#define DTE0_MODE	GENMASK(11, 9)
#define DTE0_HOST_TRP	GENMASK(51, 12)
#define DTE0_PPR	BIT(52)
#define DTE0_GIOV	BIT(54)
#define DTE0_GV		BIT(55)
#define DTE0_GLX	GENMASK(57, 56)
#define DTE0_GCR3	GENMASK(60, 58)
#define DTE1_DOMAIN_ID	GENMASK(15, 0)
#define DTE1_GCR3	(GENMASK(31, 16) | GENMASK(63, 43))
#define DTE2_GUEST_MODE GENMASK(55, 54)

#define GLX_RESERVED 3u
enum { GUEST_MODE_4LVL = 0, GUEST_MODE_5LVL = 1 };

/* What one call can be asked for more than this page table's kind has. */
#define PAGING_FLAGS                                                                               \
	((uint32_t)(IOMMU_HWPT_ALLOC_NEST_PARENT | IOMMU_HWPT_ALLOC_DIRTY_TRACKING |               \
		    IOMMU_HWPT_FAULT_ID_VALID))
#define NESTED_FLAGS ((uint32_t)(IOMMU_HWPT_FAULT_ID_VALID | IOMMU_HWPT_ALLOC_PASID))

enum { INVALIDATE_LENGTH_MAX = 4096, INVALIDATE_ENTRIES_MAX = 1 << 19 };

static uint64_t soft_efr(struct iommufd_soft *soft)
{
	uint64_t efr;

	pthread_mutex_lock(&soft->lock);
	efr = soft->features.efr;
	pthread_mutex_unlock(&soft->lock);
	return efr;
}

/* The page table exists already: as in the kernel, an unknown queue is what is judged last. */
static int take_fault(struct soft_call *call, struct soft_eventq **fault)
{
	const struct iommu_hwpt_alloc *cmd = call->cmd;

	if (!(cmd->flags & IOMMU_HWPT_FAULT_ID_VALID))
		return 0;
	*fault = soft_object_get(call->soft, cmd->fault_id, SOFT_FAULT);
	return *fault ? 0 : -ENOENT;
}

static int hwpt_on_ioas(struct soft_call *call, struct soft_ioas *ioas)
{
	struct iommu_hwpt_alloc *cmd = call->cmd;
	bool dirty = cmd->flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
	struct soft_hwpt *hwpt;
	int rc;

	/* The driver has v1 tables: no PASID, no data of its own. */
	if ((cmd->flags & ~PAGING_FLAGS) || cmd->data_len)
		return -EOPNOTSUPP;
	if (dirty && !(soft_efr(call->soft) & SOFT_EFR_HDSUP))
		return -EOPNOTSUPP;
	if ((cmd->flags & IOMMU_HWPT_FAULT_ID_VALID) && (cmd->flags & IOMMU_HWPT_ALLOC_NEST_PARENT))
		return -EOPNOTSUPP;
	hwpt = soft_object_new(call->soft, SOFT_HWPT, sizeof(*hwpt));
	if (!hwpt)
		return -ENOMEM;
	rc = soft_ioas_add_hwpt(call->soft, ioas);
	if (rc)
		goto abort;
	rc = take_fault(call, &hwpt->fault);
	if (rc)
		goto remove;
	soft_object_hold(call->soft, ioas);
	hwpt->ioas = ioas;
	hwpt->nest_parent = cmd->flags & IOMMU_HWPT_ALLOC_NEST_PARENT;
	hwpt->can_track = dirty;
	if (dirty) {
		pthread_mutex_lock(&ioas->lock);
		hwpt->next = ioas->tracked;
		ioas->tracked = hwpt;
		pthread_mutex_unlock(&ioas->lock);
	}
	cmd->out_hwpt_id = hwpt->object.id;
	soft_respond(call);
	soft_object_publish(call->soft, hwpt);
	return 0;

remove:
	soft_ioas_remove_hwpt(ioas);
abort:
	soft_object_abort(call->soft, hwpt);
	return rc;
}

/* The kernel's checks in its order; EFR is the host's. */
static int check_guest_dte(const uint64_t dte[4], uint64_t efr)
{
	uint64_t mode = FIELD_GET(DTE2_GUEST_MODE, dte[2]);

	if (dte[0] & (DTE0_MODE | DTE0_HOST_TRP))
		return -EINVAL;
	if ((dte[0] & DTE0_V) && (dte[0] & DTE0_GV) && !(dte[0] & DTE0_GCR3) &&
	    !(dte[1] & DTE1_GCR3))
		return -EINVAL;
	if (mode != GUEST_MODE_4LVL && mode != GUEST_MODE_5LVL)
		return -EINVAL;
	if (FIELD_GET(DTE0_GLX, dte[0]) == GLX_RESERVED)
		return -EINVAL;
	if (mode == GUEST_MODE_5LVL && FIELD_GET(SOFT_EFR_GATS, efr) != SOFT_EFR_GATS_5LVL)
		return -EOPNOTSUPP;
	return 0;
}

static int load_guest_dte(struct soft_call *call, uint64_t dte[4])
{
	const struct iommu_hwpt_alloc *cmd = call->cmd;
	const void *data = (const void *)(uintptr_t)cmd->data_uptr;

	if (cmd->data_len != sizeof(struct iommu_hwpt_amd_guest))
		return -EINVAL;
	if (!data)
		return -EFAULT;
	memcpy(dte, data, sizeof(struct iommu_hwpt_amd_guest));
	return check_guest_dte(dte, soft_efr(call->soft));
}

static int hwpt_on_viommu(struct soft_call *call, struct soft_viommu *viommu)
{
	struct iommu_hwpt_alloc *cmd = call->cmd;
	struct soft_hwpt_nested *hwpt;
	int rc;

	if ((cmd->flags & ~NESTED_FLAGS) || !cmd->data_len)
		return -EOPNOTSUPP;
	if (cmd->data_type != IOMMU_HWPT_DATA_AMD_GUEST)
		return -EOPNOTSUPP;
	hwpt = soft_object_new(call->soft, SOFT_HWPT_NESTED, sizeof(*hwpt));
	if (!hwpt)
		return -ENOMEM;
	rc = load_guest_dte(call, hwpt->dte);
	if (!rc)
		rc = take_fault(call, &hwpt->fault);
	if (rc) {
		soft_object_abort(call->soft, hwpt);
		return rc;
	}
	soft_object_hold(call->soft, viommu);
	hwpt->viommu = viommu;
	cmd->out_hwpt_id = hwpt->object.id;
	soft_respond(call);
	soft_object_publish(call->soft, hwpt);
	return 0;
}

int soft_hwpt_alloc(struct soft_call *call)
{
	const struct iommu_hwpt_alloc *cmd = call->cmd;
	struct soft_device *device;
	struct soft_object *pt;
	int rc;

	if (cmd->__reserved)
		return -EOPNOTSUPP;
	if ((cmd->data_type == IOMMU_HWPT_DATA_NONE) != !cmd->data_len)
		return -EINVAL;
	device = soft_object_get(call->soft, cmd->dev_id, SOFT_DEVICE);
	if (!device)
		return -ENOENT;
	pt = soft_object_get(call->soft, cmd->pt_id, SOFT_ANY);
	if (!pt) {
		rc = -EINVAL;
		goto out_device;
	}
	if (pt->type == SOFT_IOAS)
		rc = hwpt_on_ioas(call, container_of(pt, struct soft_ioas, object));
	else if (pt->type == SOFT_VIOMMU)
		rc = hwpt_on_viommu(call, container_of(pt, struct soft_viommu, object));
	else if (pt->type == SOFT_HWPT)
		rc = -EOPNOTSUPP; /* AMD's driver nests on a vIOMMU only */
	else
		rc = -EINVAL;
	soft_object_put(call->soft, pt);
out_device:
	soft_object_put(call->soft, device);
	return rc;
}

void soft_hwpt_destroy(struct iommufd_soft *soft, struct soft_object *object)
{
	struct soft_hwpt *hwpt = container_of(object, struct soft_hwpt, object);

	if (hwpt->can_track) {
		struct soft_hwpt **link = &hwpt->ioas->tracked;

		pthread_mutex_lock(&hwpt->ioas->lock);
		while (*link != hwpt)
			link = &(*link)->next;
		*link = hwpt->next;
		soft_dirty_forget(hwpt, 0, UINT64_MAX);
		pthread_mutex_unlock(&hwpt->ioas->lock);
	}
	if (hwpt->fault)
		soft_object_put(soft, hwpt->fault);
	soft_ioas_remove_hwpt(hwpt->ioas);
	soft_object_put(soft, hwpt->ioas);
}

void soft_hwpt_nested_destroy(struct iommufd_soft *soft, struct soft_object *object)
{
	struct soft_hwpt_nested *hwpt = container_of(object, struct soft_hwpt_nested, object);

	if (hwpt->fault)
		soft_object_put(soft, hwpt->fault);
	soft_object_put(soft, hwpt->viommu);
}

int iommufd_soft_hwpt_dte(struct iommufd *ctx, uint32_t hwpt_id, uint64_t dte[4])
{
	struct iommufd_soft *soft = to_soft(ctx);
	struct soft_hwpt_nested *hwpt;

	if (!iommufd_is_soft(ctx))
		return -EOPNOTSUPP;
	hwpt = soft_object_get(soft, hwpt_id, SOFT_HWPT_NESTED);
	if (!hwpt)
		return -ENOENT;
	dte[0] = hwpt->dte[0] & (DTE0_PPR | DTE0_GIOV | DTE0_GLX | DTE0_GCR3);
	dte[1] = hwpt->dte[1] & (DTE1_DOMAIN_ID | DTE1_GCR3);
	dte[2] = hwpt->dte[2] & DTE2_GUEST_MODE;
	dte[3] = 0;
	soft_object_put(soft, hwpt);
	return 0;
}

static int invalidate(struct soft_call *call)
{
	const struct iommu_hwpt_invalidate *cmd = call->cmd;
	struct soft_object *object;
	int rc;

	if (cmd->__reserved)
		return -EOPNOTSUPP;
	if (cmd->entry_num &&
	    (!cmd->data_uptr || !cmd->entry_len || cmd->entry_len > INVALIDATE_LENGTH_MAX ||
	     cmd->entry_num > INVALIDATE_ENTRIES_MAX))
		return -EINVAL;
	object = soft_object_get(call->soft, cmd->hwpt_id, SOFT_ANY);
	if (!object)
		return -ENOENT;
	/* AMD guests invalidate by their command buffer: the driver has no such operation. */
	rc = object->type == SOFT_HWPT_NESTED || object->type == SOFT_VIOMMU ? -EOPNOTSUPP
									     : -EINVAL;
	soft_object_put(call->soft, object);
	return rc;
}

int soft_hwpt_invalidate(struct soft_call *call)
{
	int rc = invalidate(call);

	/* How many were done, told on failure too. */
	((struct iommu_hwpt_invalidate *)call->cmd)->entry_num = 0;
	soft_respond(call);
	return rc;
}
