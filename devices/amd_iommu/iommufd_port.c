// SPDX-License-Identifier: Apache-2.0
/*
 * The port on iommufd: a vIOMMU object on a nest parent, each register write a VIOMMU_COMMAND.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/amd_iommu/amd_viommu.h"
#include "iommufd/uapi.h"
#include "postern/log.h"

#define REG_DEVICE_TABLE 0x00
#define REG_CONTROL	 0x18

static const uint16_t queue_register[] = {
	[VIOMMU_QUEUE_COMMAND] = 0x08,
	[VIOMMU_QUEUE_EVENT] = 0x10,
	[VIOMMU_QUEUE_PPR] = 0x38,
};

struct iommufd_port {
	struct viommu_port port;
	struct iommufd *ctx;
	struct amd_iommu_engine *engine; /* soft contexts */
	uint32_t ioas, hwpt, viommu;
	uint32_t *vdevice;
	size_t vdevices;
};

static struct iommufd_port *to_iommufd(struct viommu_port *port)
{
	return container_of(port, struct iommufd_port, port);
}

static int command_set(struct viommu_port *port, uint16_t index, uint64_t value)
{
	struct iommufd_port *p = to_iommufd(port);

	return iommufd_viommu_command_set(p->ctx, p->viommu, index, value);
}

static int port_control_set(struct viommu_port *port, uint64_t value)
{
	return command_set(port, REG_CONTROL, value);
}

static int port_device_table_set(struct viommu_port *port, uint64_t value)
{
	return command_set(port, REG_DEVICE_TABLE, value);
}

static int port_queue_set(struct viommu_port *port, enum viommu_queue queue, uint64_t value)
{
	return command_set(port, queue_register[queue], value);
}

static int port_command_get(struct viommu_port *port, uint16_t offset, uint64_t *value)
{
	struct iommufd_port *p = to_iommufd(port);

	return iommufd_viommu_command_get(p->ctx, p->viommu, offset, value);
}

static int port_register_read(struct viommu_port *port, uint16_t offset, uint64_t *value)
{
	/* The hardware ABI gives back a few bits of Control and no other register. */
	if (!iommufd_is_soft(to_iommufd(port)->ctx))
		return -EOPNOTSUPP;
	return port_command_get(port, offset, value);
}

static int port_vdevice_add(struct viommu_port *port, uint16_t devid, uint32_t dev_id)
{
	struct iommufd_port *p = to_iommufd(port);
	uint32_t *vdevice;
	int rc;

	vdevice = realloc(p->vdevice, (p->vdevices + 1) * sizeof(*vdevice));
	if (!vdevice)
		return -ENOMEM;
	p->vdevice = vdevice;
	rc = iommufd_vdevice_alloc(p->ctx, p->viommu, dev_id, devid, &vdevice[p->vdevices]);
	if (!rc)
		p->vdevices++;
	return rc;
}

static void port_reset(struct viommu_port *port)
{
	struct iommufd_port *p = to_iommufd(port);
	int rc;

	if (p->engine) {
		amd_iommu_engine_reset(p->engine);
		return;
	}
	/* Hardware has no reset of one vIOMMU: with Control 0 everything in it stands still. */
	rc = command_set(port, REG_CONTROL, 0);
	if (rc)
		log_error_once(
			"vIOMMU: VIOMMU_COMMAND cannot clear Control at reset: %s; restart the "
			"machine",
			strerror(-rc));
}

static int port_state_save(struct viommu_port *port, struct amd_iommu_state *state)
{
	struct iommufd_port *p = to_iommufd(port);

	if (!p->engine)
		return -EOPNOTSUPP;
	amd_iommu_engine_save(p->engine, state);
	return 0;
}

static int port_state_restore(struct viommu_port *port, const struct amd_iommu_state *state)
{
	struct iommufd_port *p = to_iommufd(port);

	return p->engine ? amd_iommu_engine_restore(p->engine, state) : -EOPNOTSUPP;
}

/* Users before what they use. An id of 0 was never allocated. */
static void port_free(struct viommu_port *port)
{
	struct iommufd_port *p = to_iommufd(port);
	const uint32_t object[] = {p->viommu, p->hwpt, p->ioas};

	while (p->vdevices)
		iommufd_destroy(p->ctx, p->vdevice[--p->vdevices]);
	for (size_t i = 0; i < ARRAY_SIZE(object); i++) {
		if (object[i])
			iommufd_destroy(p->ctx, object[i]);
	}
	free(p->vdevice);
	free(p);
}

static const struct viommu_port_ops iommufd_port_ops = {
	.control_set = port_control_set,
	.device_table_set = port_device_table_set,
	.queue_set = port_queue_set,
	.irq_route_set = command_set,
	.register_set = command_set,
	.vf_page_write = command_set,
	.vf_page_read = port_command_get,
	.register_read = port_register_read,
	.vdevice_add = port_vdevice_add,
	.reset = port_reset,
	.state_save = port_state_save,
	.state_restore = port_state_restore,
	.free = port_free,
};

/* Only what the unit behind has may be shown (Linux uapi, struct iommu_hw_info_amd). */
static int judge_features(struct iommufd_port *p, uint32_t dev_id,
			  const struct amd_iommu_features *wanted)
{
	struct iommu_hw_info_amd info = {0};
	uint32_t type = IOMMU_HW_INFO_TYPE_NONE, len = sizeof(info);
	int rc = iommufd_hw_info(p->ctx, dev_id, &type, &info, &len, NULL);

	if (rc)
		return rc;
	if (type != IOMMU_HW_INFO_TYPE_AMD)
		return -EOPNOTSUPP;
	p->port.features.efr = wanted->efr & info.efr;
	p->port.features.efr2 = wanted->efr2 & info.efr2;
	if (p->port.features.efr != wanted->efr || p->port.features.efr2 != wanted->efr2)
		log_warning("vIOMMU: the guest is not shown features that the IOMMU behind has "
			    "not: EFR %#llx of %#llx, EFR2 %#llx of %#llx",
			    (unsigned long long)p->port.features.efr,
			    (unsigned long long)wanted->efr,
			    (unsigned long long)p->port.features.efr2,
			    (unsigned long long)wanted->efr2);
	return 0;
}

/* DEV_ID: a device bound to the context, of the IOMMU that is to serve the guest. */
static int allocate(struct iommufd_port *p, uint32_t dev_id, const char **what)
{
	struct iommufd_hwpt_args hwpt = {.flags = IOMMU_HWPT_ALLOC_NEST_PARENT, .dev_id = dev_id};
	struct iommu_viommu_amd data = {0};
	struct iommufd_viommu_args viommu = {.type = IOMMU_VIOMMU_TYPE_AMD,
					     .dev_id = dev_id,
					     .data = &data,
					     .data_len = sizeof(data)};
	int rc;

	*what = "IOAS_ALLOC";
	rc = iommufd_ioas_alloc(p->ctx, &p->ioas);
	if (rc)
		return rc;
	*what = "HWPT_ALLOC(NEST_PARENT)";
	hwpt.pt_id = p->ioas;
	rc = iommufd_hwpt_alloc(p->ctx, &hwpt, &p->hwpt);
	if (rc)
		return rc;
	*what = "VIOMMU_ALLOC";
	viommu.hwpt_id = p->hwpt;
	return iommufd_viommu_alloc(p->ctx, &viommu, &p->viommu);
}

int viommu_iommufd_port_new(struct iommufd *ctx, const struct amd_iommu_features *features,
			    struct viommu_port **port, struct amd_iommu_engine **engine)
{
	bool soft = iommufd_is_soft(ctx);
	const char *what = "GET_HW_INFO";
	struct iommufd_port *p;
	uint32_t dev_id = 0;
	int rc;

	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->port.ops = &iommufd_port_ops;
	p->ctx = ctx;
	/* A soft device stands in for an assigned one that is bound to the context. */
	rc = soft ? iommufd_soft_device_add(ctx, &dev_id) : 0;
	if (!rc)
		rc = judge_features(p, dev_id, features);
	if (!rc)
		rc = allocate(p, dev_id, &what);
	if (rc) {
		log_error("vIOMMU: %s iommufd, %s: %s%s", soft ? "soft" : "kernel", what,
			  strerror(-rc),
			  soft ? ""
			       : "; the soft vIOMMU needs nothing of the kernel, postern doctor "
				 "says what this one lacks");
		port_free(&p->port);
		return soft ? rc : -EOPNOTSUPP;
	}
	p->engine = iommufd_soft_viommu_engine(ctx, p->viommu);
	/* GET_HW_INFO has no word for it: of a kernel's IOMMU it is not known. */
	p->port.features.iotlb_sup =
		features->iotlb_sup && p->engine && amd_iommu_engine_iotlb_sup(p->engine);
	*port = &p->port;
	if (engine)
		*engine = p->engine;
	return 0;
}
