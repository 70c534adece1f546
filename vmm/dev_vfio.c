// SPDX-License-Identifier: Apache-2.0
/* --vfio: assigned PCI devices, through the kernel's iommufd. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/vfio.h"
#include "vmm/machine.h"

enum { VFIO_ORDER = 2 };

struct vfio_devices {
	struct vfio_host *host;
	unsigned count;
	struct vfio_device *device[MACHINE_DEVICES_MAX];
};

static int open_iommufd(struct machine *m)
{
	int rc;

	if (m->config->iommufd == MACHINE_IOMMUFD_SOFT) {
		log_error("--vfio needs the kernel's iommufd: leave out --iommufd soft");
		return -EOPNOTSUPP;
	}
	rc = iommufd_open_kernel(&m->iommufd_kernel, m->config->iommufd_fd,
				 m->config->viommu_command_nr);
	if (rc == -ENOENT)
		log_error("/dev/iommu does not exist: this kernel has no iommufd "
			  "(CONFIG_IOMMUFD), or modprobe iommufd loads it");
	else if (rc == -EACCES)
		log_error("/dev/iommu: permission denied; run as root, or: chown $USER /dev/iommu");
	else if (rc)
		log_error("/dev/iommu cannot be opened: %s", strerror(-rc));
	return rc;
}

static int device_create(struct machine *m, const struct vfio_devices *devices,
			 const struct vfio_config *want, struct vfio_device **device)
{
	struct vfio_device_config config = {
		.path = want->path,
		.fd = want->fd,
		.iommu = want->iommu,
		.loop = m->loop,
		.window = &m->window,
		.root = m->root,
	};
	int slot = pci_root_free_slot(m->root, MACHINE_SLOT_FIRST), rc;

	if (slot < 0) {
		log_error("--vfio %s: no free PCI slot", want->path ? want->path : "fd=N");
		return slot;
	}
	config.devfn = PCI_DEVFN((unsigned)slot, 0);
	rc = machine_place(m, config.devfn, want->iommu, NULL, &config.sink);
	if (!rc)
		rc = ioapic_line_new(m->ioapic, guest_intx_gsi(&m->acpi, (unsigned)slot),
				     &config.intx);
	return rc ? rc : vfio_device_new(devices->host, &config, device);
}

static void vfio_destroy(struct machine *m)
{
	struct vfio_devices *devices = m->private[VFIO_ORDER];

	if (!devices)
		return;
	while (devices->count)
		vfio_device_free(devices->device[--devices->count]);
	if (devices->host)
		vfio_host_free(devices->host);
	if (m->iommufd_kernel)
		iommufd_close(m->iommufd_kernel);
	m->iommufd_kernel = NULL;
	free(devices);
	m->private[VFIO_ORDER] = NULL;
}

static int vfio_create(struct machine *m)
{
	struct vfio_devices *devices;
	int rc;

	if (!m->config->vfios)
		return 0;
	devices = calloc(1, sizeof(*devices));
	if (!devices)
		return -ENOMEM;
	m->private[VFIO_ORDER] = devices;
	rc = open_iommufd(m);
	if (!rc)
		rc = vfio_host_new(m->iommufd_kernel, &m->memory, &devices->host);
	if (!rc && m->engine)
		rc = vfio_host_follow(devices->host, m->engine);
	for (unsigned i = 0; !rc && i < m->config->vfios; i++) {
		rc = device_create(m, devices, &m->config->vfio[i], &devices->device[i]);
		if (!rc)
			devices->count++;
	}
	if (rc)
		vfio_destroy(m);
	return rc;
}

static void vfio_stats(struct machine *m, void (*line)(const char *name, uint64_t value))
{
	const struct vfio_devices *devices = m->private[VFIO_ORDER];
	struct vfio_host_stats s;

	if (!devices)
		return;
	vfio_host_stats(devices->host, &s);
	line("vfio.domains", s.domains);
	line("vfio.attaches", s.attaches);
	line("vfio.syncs", s.syncs);
	line("vfio.maps", s.maps);
	line("vfio.unmaps", s.unmaps);
	line("vfio.bytes_mapped", s.bytes_mapped);
	line("vfio.failures", s.failures);
}

static const struct device_class vfio_class = {
	.name = "vfio",
	.order = VFIO_ORDER,
	.create = vfio_create,
	.destroy = vfio_destroy,
	.stats = vfio_stats,
};
DEVICE_CLASS(vfio_class);
