// SPDX-License-Identifier: Apache-2.0
/*
 * --viommu amd,accel=hwmodel: the monitor drives a vIOMMU by the hardware ABI alone, and a model in
 * process stands for the hardware. Emulated devices are the model's devices: each is a requester
 * with a vDEVICE, attached as an assigned one would be.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/options.h"
#include "vmm/viommu.h"

struct hwmodel_device {
	struct viommu_hw_device device;
	struct iommufd *ctx;
};

struct viommu_hwmodel {
	struct viommu_port *port;
	unsigned devices;
	struct hwmodel_device *device[MACHINE_SLOTS];
};

int viommu_hw_check(const struct machine *m, char why[VIOMMU_WHY_SIZE])
{
	const struct machine_config *config = m->config;
	unsigned units = 0;

	why[0] = '\0';
	for (unsigned i = 0; i < config->segments; i++)
		units += config->viommu[i].present;
	if (units != 1)
		snprintf(why, VIOMMU_WHY_SIZE, "it must be the machine's only vIOMMU");
	else if (config->cpus > 255)
		snprintf(why, VIOMMU_WHY_SIZE,
			 "it remaps no interrupts, without which there are at most 255 processors");
	else if (!m->kvm.readonly_mem || !m->kvm.exit_on_emulation_failure)
		snprintf(why, VIOMMU_WHY_SIZE,
			 "KVM of this host lacks %s, which it takes to see the guest change its "
			 "device table",
			 m->kvm.readonly_mem ? "KVM_CAP_EXIT_ON_EMULATION_FAILURE (Linux 5.14)"
					     : "KVM_CAP_READONLY_MEM");
	return why[0] ? -EOPNOTSUPP : 0;
}

static int attach(struct viommu_hw_device *device, uint32_t pt_id)
{
	return iommufd_soft_device_attach(container_of(device, struct hwmodel_device, device)->ctx,
					  device->dev_id, pt_id);
}

static int dma_space_new(struct machine *m, unsigned segment, uint16_t devid, struct dma_space **ds)
{
	const struct viommus *viommus = m->private[0];
	const struct viommu *viommu = viommus->of[segment];
	struct viommu_hwmodel *hwmodel = viommu->hwmodel;
	struct hwmodel_device *d;
	int rc;

	for (unsigned i = 0; i < hwmodel->devices; i++) {
		d = hwmodel->device[i];
		if (d->device.devid == devid)
			return iommufd_soft_vdevice_dma(d->ctx, d->device.vdevice, ds);
	}
	if (hwmodel->devices == ARRAY_SIZE(hwmodel->device))
		return -ENOSPC;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->ctx = viommu->ctx;
	d->device.devid = devid;
	d->device.attach = attach;
	rc = iommufd_soft_device_add(d->ctx, &d->device.dev_id);
	if (!rc)
		rc = viommu_hw_device_add(hwmodel->port, &d->device);
	if (rc) {
		free(d);
		return rc;
	}
	hwmodel->device[hwmodel->devices++] = d;
	return iommufd_soft_vdevice_dma(d->ctx, d->device.vdevice, ds);
}

/* A requester stays in the model as long as the machine has the model: the next in its slot has it.
 */
static void dma_space_free(struct dma_space *ds)
{
	(void)ds;
}

static int steer(struct machine *m, unsigned segment, struct viommu_hw_device *device)
{
	const struct viommus *viommus = m->private[0];

	return viommu_hw_device_add(viommus->of[segment]->port, device);
}

static void unsteer(struct machine *m, unsigned segment, struct viommu_hw_device *device)
{
	const struct viommus *viommus = m->private[0];

	viommu_hw_device_remove(viommus->of[segment]->port, device);
}

int viommu_hwmodel_climb(struct viommu *viommu, char why[VIOMMU_WHY_SIZE])
{
	/* No PPRSup: nobody here answers page requests. */
	static const struct amd_iommu_features hardware = {.efr = AMD_IOMMU_EFR_FULL & ~BIT(1),
							   .efr2 = AMD_IOMMU_EFR2_FULL};
	struct machine *m = viommu->machine;
	struct viommu_hw_config config = {.memory = &m->memory, .window = &m->window, .why = why};
	int rc = viommu_hw_check(m, why);

	if (rc)
		return rc;
	if (config_device(m->config, &vfio_option, 0) &&
	    m->config->iommufd != MACHINE_IOMMUFD_SOFT) {
		snprintf(why, VIOMMU_WHY_SIZE,
			 "it has devices of its own model only: leave out --vfio");
		return -EOPNOTSUPP;
	}
	viommu->hwmodel = calloc(1, sizeof(*viommu->hwmodel));
	if (!viommu->hwmodel)
		return -ENOMEM;
	rc = iommufd_open_soft_mode(&viommu->ctx, &m->memory, IOMMUFD_SOFT_HWMODEL);
	if (rc)
		return rc;
	config.ctx = viommu->ctx;
	rc = iommufd_soft_set_hw(viommu->ctx, &hardware, VIOMMU_DEVID);
	if (!rc)
		rc = viommu_hw_port_new(&config, &viommu->port, &viommu->engine);
	if (rc)
		return rc;
	viommu->hwmodel->port = viommu->port;
	m->dma_space_new = dma_space_new;
	m->dma_space_free = dma_space_free;
	m->viommu_steer = steer;
	m->viommu_unsteer = unsteer;
	return 0;
}

void viommu_hwmodel_free(struct viommu *viommu)
{
	struct viommu_hwmodel *hwmodel = viommu->hwmodel;

	if (!hwmodel)
		return;
	while (hwmodel->devices) {
		struct hwmodel_device *d = hwmodel->device[--hwmodel->devices];

		viommu_hw_device_remove(hwmodel->port, &d->device);
		iommufd_soft_device_detach(d->ctx, d->device.dev_id);
		free(d);
	}
	free(hwmodel);
	viommu->hwmodel = NULL;
}
