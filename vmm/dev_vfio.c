// SPDX-License-Identifier: Apache-2.0
/* --vfio: assigned PCI devices, through the kernel's iommufd or the one in this process. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/amd_iommu/amd_viommu.h"
#include "devices/vfio/vfio.h"
#include "vmm/dev_vfio_soft.h"
#include "vmm/machine.h"
#include "vmm/metrics.h"
#include "vmm/options.h"

enum { VFIO_ORDER = 2 };

struct assigned {
	struct machine_device dev;
	struct assigned *next; /* created before */
	struct vfio_device *device;
	struct machine *machine;
	char *path;
	struct viommu_hw_device behind; /* a vIOMMU that attaches it */
	struct vfio_steering steering;
	struct vfio_device *steered;
};

struct vfio_devices {
	/* By segment: each has a vIOMMU of its own to follow. Guest RAM is that of the first. */
	struct vfio_host *host[MACHINE_SEGMENTS_MAX];
	struct assigned *first;
	bool borrowed;		/* their iommufd is the vIOMMU's */
	uint64_t loop_messages; /* of devices that are gone */
};

static const struct device_class vfio_class;

/* CONFIG_VFIO_SOFT links the other one. */
__attribute__((weak)) int vfio_soft_open(struct iommufd *ctx, const char *name, struct vfio_io *io)
{
	(void)ctx;
	(void)io;
	log_error("--vfio soft=%s: this postern was built without CONFIG_VFIO_SOFT", name);
	return -EOPNOTSUPP;
}

/* That of the vIOMMU where it has devices of its own, which these are then. */
static struct iommufd *model_iommufd(const struct machine *m)
{
	for (unsigned i = 0; m->viommu_steer && i < m->config->segments; i++) {
		if (m->segment[i].iommufd_soft)
			return m->segment[i].iommufd_soft;
	}
	return NULL;
}

static int open_iommufd(struct machine *m, bool *borrowed)
{
	int rc;

	if (m->config->iommufd == MACHINE_IOMMUFD_SOFT) {
		m->iommufd_kernel = model_iommufd(m);
		*borrowed = m->iommufd_kernel;
		if (*borrowed)
			return 0;
		rc = iommufd_open_soft(&m->iommufd_kernel, &m->memory);
		if (rc)
			log_error("--iommufd soft: %s", strerror(-rc));
		return rc;
	}
	rc = iommufd_open_kernel(&m->iommufd_kernel, m->config->iommufd_fd,
				 m->config->viommu_command_nr);
	if (rc == -ENOENT)
		log_error("/dev/iommu does not exist: this kernel has no iommufd "
			  "(CONFIG_IOMMUFD), or modprobe iommufd loads it");
	else if (rc == -EACCES)
		log_error("/dev/iommu: permission denied; run as root, or: chown $USER /dev/iommu");
	else if (rc)
		log_error("/dev/iommu cannot be opened: %s; see 'ls -l /dev/iommu'", strerror(-rc));
	return rc;
}

static void assigned_free(struct machine *m, struct assigned *assigned)
{
	if (assigned->device) {
		machine_device_withdraw(m, &assigned->dev);
		vfio_device_free(assigned->device);
	}
	free(assigned->path);
	free(assigned);
}

/* The host wants the device back: so it is asked for, again each time. */
static void device_wanted(void *opaque)
{
	struct assigned *assigned = opaque;

	machine_device_ask(assigned->machine, &assigned->dev);
}

static int attach_behind(struct viommu_hw_device *behind, uint32_t pt_id)
{
	return vfio_device_attach(container_of(behind, struct assigned, behind)->steered, pt_id);
}

static int steer_add(void *opaque, struct vfio_device *device)
{
	struct assigned *assigned = opaque;
	struct machine *m = assigned->machine;

	assigned->steered = device;
	assigned->behind = (struct viommu_hw_device){
		.devid = assigned->dev.devfn,
		.dev_id = vfio_device_id(device),
		.attach = attach_behind,
	};
	return m->viommu_steer(m, assigned->dev.segment, &assigned->behind);
}

static void steer_remove(void *opaque, struct vfio_device *device)
{
	struct assigned *assigned = opaque;

	(void)device;
	assigned->machine->viommu_unsteer(assigned->machine, assigned->dev.segment,
					  &assigned->behind);
}

static void quiesce(void *opaque, bool on)
{
	if (on)
		machine_pause_vcpus(opaque);
	else
		machine_resume_vcpus(opaque);
}

static int device_create(struct machine *m, struct vfio_devices *devices,
			 const struct device_config *want, struct machine_device **dev)
{
	struct vfio_device_config config = {
		.path = want->fds ? NULL : want->source,
		.fd = container_of(want, const struct vfio_config, dev)->fd,
		.iommu = want->iommu,
		.irq_loop = container_of(want, const struct vfio_config, dev)->irq_loop,
		.loop = m->loop,
		.window = &m->window,
		.root = m->segment[want->segment].root,
		.quiesce = quiesce,
		.machine = m,
		.wanted = device_wanted,
	};
	struct assigned *assigned = calloc(1, sizeof(*assigned));
	struct vfio_io io;
	int rc = -ENOMEM;

	if (!assigned)
		return rc;
	assigned->machine = m;
	config.opaque = assigned;
	assigned->path = strdup(want->source);
	if (assigned->path)
		rc = machine_device_init(m, &assigned->dev, &vfio_class, "vfio", want->id,
					 want->segment, want->iommu);
	if (rc)
		goto fail;
	assigned->dev.what = assigned->path;
	config.devfn = assigned->dev.devfn;
	assigned->steering = (struct vfio_steering){steer_add, steer_remove, assigned};
	if (m->viommu_steer && want->iommu)
		config.steering = &assigned->steering;
	rc = machine_place(m, want->segment, config.devfn, want->iommu, NULL, &config.sink);
	if (!rc)
		rc = machine_slot_line(m, want->segment, config.devfn >> 3, &config.intx);
	if (!rc && container_of(want, const struct vfio_config, dev)->soft) {
		rc = vfio_soft_open(m->iommufd_kernel, want->source, &io);
		config.io = &io;
	}
	if (!rc)
		rc = vfio_device_new(devices->host[want->segment], &config, &assigned->device);
	if (rc)
		goto fail;
	assigned->next = devices->first;
	devices->first = assigned;
	m->segment[want->segment].iommufd_device = vfio_device_id(assigned->device);
	machine_device_publish(m, &assigned->dev);
	if (dev)
		*dev = &assigned->dev;
	return 0;
fail:
	assigned_free(m, assigned);
	return rc;
}

static void vfio_destroy(struct machine *m)
{
	struct vfio_devices *devices = m->private[VFIO_ORDER];

	if (!devices)
		return;
	for (struct assigned *a = devices->first, *next; a; a = next) {
		next = a->next;
		assigned_free(m, a);
	}
	for (unsigned i = m->config->segments; i-- > 0;)
		vfio_host_free(devices->host[i]);
	if (m->iommufd_kernel && !devices->borrowed)
		iommufd_close(m->iommufd_kernel);
	m->iommufd_kernel = NULL;
	free(devices);
	m->private[VFIO_ORDER] = NULL;
}

static int host_create(struct machine *m, struct vfio_devices *devices, unsigned segment)
{
	struct vfio_host **host = &devices->host[segment];
	struct amd_iommu_engine *engine = m->segment[segment].engine;
	int rc = segment ? vfio_host_share(devices->host[0], host)
			 : vfio_host_new(m->iommufd_kernel, &m->memory, host);

	if (!rc && engine && !m->viommu_steer) {
		machine_pause_vcpus(m);
		rc = vfio_host_follow(*host, engine);
		machine_resume_vcpus(m);
	}
	return rc;
}

/* The side that all devices share, when the first comes. */
static int vfio_open(struct machine *m)
{
	struct vfio_devices *devices = m->private[VFIO_ORDER];
	int rc;

	if (devices)
		return 0;
	devices = calloc(1, sizeof(*devices));
	if (!devices)
		return -ENOMEM;
	m->private[VFIO_ORDER] = devices;
	rc = open_iommufd(m, &devices->borrowed);
	for (unsigned i = 0; !rc && i < m->config->segments; i++)
		rc = host_create(m, devices, i);
	if (rc)
		vfio_destroy(m);
	return rc;
}

static int vfio_create(struct machine *m)
{
	const struct device_config *want;
	int rc = 0;

	for (unsigned i = 0; !rc && (want = config_device(m->config, &vfio_option, i)); i++) {
		rc = vfio_open(m);
		if (!rc)
			rc = device_create(m, m->private[VFIO_ORDER], want, NULL);
	}
	if (rc)
		vfio_destroy(m);
	return rc;
}

static int vfio_add(struct machine *m, const char *kind, const char *options,
		    struct machine_device **dev)
{
	struct device_config *want;
	int rc = config_parse_device(m->config, &vfio_option, options, &want);

	(void)kind;
	if (rc)
		return rc;
	if (m->viommu_steer && !container_of(want, const struct vfio_config, dev)->soft) {
		log_error("--vfio %s: a model of hardware has no assigned devices (accel=hwmodel)",
			  options);
		rc = -EOPNOTSUPP;
	}
	if (!rc)
		rc = vfio_open(m);
	if (!rc)
		rc = device_create(m, m->private[VFIO_ORDER], want, dev);
	config_free_device(want);
	return rc;
}

static void vfio_release(struct machine *m, struct machine_device *dev)
{
	struct assigned *assigned = container_of(dev, struct assigned, dev);
	struct vfio_devices *devices = m->private[VFIO_ORDER];
	struct assigned **at = &devices->first;

	while (*at != assigned)
		at = &(*at)->next;
	*at = assigned->next;
	devices->loop_messages += vfio_device_loop_messages(assigned->device);
	machine_pause_vcpus(m);
	vfio_device_free(assigned->device);
	machine_resume_vcpus(m);
	assigned->device = NULL;
	machine_device_gone(m, dev);
	assigned_free(m, assigned);
}

static void vfio_stats(struct machine *m, struct metrics *out)
{
	const struct vfio_devices *devices = m->private[VFIO_ORDER];
	struct vfio_host_stats s = {0};
	uint64_t loop_messages;

	if (!devices)
		return;
	loop_messages = devices->loop_messages;
	for (const struct assigned *a = devices->first; a; a = a->next)
		loop_messages += vfio_device_loop_messages(a->device);
	for (unsigned i = 0; i < m->config->segments; i++) {
		struct vfio_host_stats one;

		vfio_host_stats(devices->host[i], &one);
		s.domains += one.domains;
		s.attaches += one.attaches;
		s.syncs += one.syncs;
		s.maps += one.maps;
		s.unmaps += one.unmaps;
		s.bytes_mapped += one.bytes_mapped;
		s.failures += one.failures;
	}
	metric_gauge(out, "vfio.domains", NULL, s.domains);
	metric_counter(out, "vfio.attaches", NULL, s.attaches);
	metric_counter(out, "vfio.syncs", NULL, s.syncs);
	metric_counter(out, "vfio.maps", NULL, s.maps);
	metric_counter(out, "vfio.unmaps", NULL, s.unmaps);
	metric_gauge(out, "vfio.bytes_mapped", NULL, s.bytes_mapped);
	metric_counter(out, "vfio.failures", NULL, s.failures);
	metric_counter(out, "vfio.loop_messages", NULL, loop_messages);
}

static const struct device_class vfio_class = {
	.name = "vfio",
	.order = VFIO_ORDER,
	.create = vfio_create,
	.destroy = vfio_destroy,
	.add = vfio_add,
	.release = vfio_release,
	.stats = vfio_stats,
};
DEVICE_CLASS(vfio_class);
