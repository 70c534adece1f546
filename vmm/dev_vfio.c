// SPDX-License-Identifier: Apache-2.0
/* --vfio: assigned PCI devices, through the kernel's iommufd or the one in this process. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/dev_vfio_soft.h"
#include "vmm/metrics.h"
#include "vmm/options.h"
#include "vmm/vfio.h"

enum { VFIO_ORDER = 2 };

struct assigned {
	struct machine_device dev;
	struct assigned *next; /* created before */
	struct vfio_device *device;
	struct machine *machine;
	char *path;
	struct viommu_hw_device behind; /* a vIOMMU that attaches it */
	struct vfio_steering steering;
	struct vfio_device *steered; /* NULL: nobody has taken it over */
	bool published;
	bool reserved; /* its slot was kept for it */
};

struct vfio_devices {
	/* By segment: each has a vIOMMU of its own to follow. Guest RAM is that of the first. */
	struct vfio_host *host[MACHINE_SEGMENTS_MAX];
	bool settled[MACHINE_SEGMENTS_MAX]; /* it follows whom it should */
	struct assigned *first;
	/* By their place in the configuration: bound before their turn. */
	struct assigned *early[MACHINE_DEVICES_MAX];
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
	if (assigned->published)
		machine_device_withdraw(m, &assigned->dev);
	else if (assigned->steered && m->viommu_unsteer)
		m->viommu_unsteer(m, assigned->dev.segment, &assigned->behind);
	vfio_device_free(assigned->device);
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

static void steer_prepare(struct assigned *assigned, struct vfio_device *device, uint8_t devfn)
{
	assigned->steered = device;
	assigned->behind = (struct viommu_hw_device){
		.devid = devfn,
		.dev_id = vfio_device_id(device),
		.attach = attach_behind,
	};
}

/* What was bound before its turn is behind the vIOMMU already. */
static int steer_add(void *opaque, struct vfio_device *device)
{
	struct assigned *assigned = opaque;
	struct machine *m = assigned->machine;
	int rc;

	if (assigned->steered)
		return 0;
	steer_prepare(assigned, device, assigned->dev.devfn);
	rc = m->viommu_steer(m, assigned->dev.segment, &assigned->behind);
	if (rc)
		assigned->steered = NULL;
	return rc;
}

static void steer_remove(void *opaque, struct vfio_device *device)
{
	struct assigned *assigned = opaque;

	(void)device;
	assigned->machine->viommu_unsteer(assigned->machine, assigned->dev.segment,
					  &assigned->behind);
	assigned->steered = NULL;
}

static void quiesce(void *opaque, bool on)
{
	if (on)
		machine_pause_vcpus(opaque);
	else
		machine_resume_vcpus(opaque);
}

static const struct vfio_config *vfio_config(const struct device_config *want)
{
	return container_of(want, const struct vfio_config, dev);
}

static int assigned_new(struct machine *m, const struct device_config *want, struct assigned **out)
{
	struct assigned *assigned = calloc(1, sizeof(*assigned));

	if (!assigned)
		return -ENOMEM;
	assigned->machine = m;
	assigned->steering = (struct vfio_steering){steer_add, steer_remove, assigned};
	assigned->path = strdup(want->source);
	if (!assigned->path) {
		free(assigned);
		return -ENOMEM;
	}
	*out = assigned;
	return 0;
}

static struct vfio_device_config device_config(struct machine *m, struct assigned *assigned,
					       const struct device_config *want)
{
	return (struct vfio_device_config){
		.path = want->fds ? NULL : want->source,
		.fd = vfio_config(want)->fd,
		.iommu = want->iommu,
		.irq_loop = vfio_config(want)->irq_loop,
		.loop = m->loop,
		.window = &m->window,
		.root = m->segment[want->segment].root,
		.quiesce = quiesce,
		.machine = m,
		.wanted = device_wanted,
		.opaque = assigned,
	};
}

/* IO is room for how the device is reached, where that is not the host's VFIO. */
static int device_reach(struct machine *m, const struct device_config *want,
			struct vfio_device_config *config, struct vfio_io *io)
{
	if (!vfio_config(want)->soft)
		return 0;
	/* It is a thread, and one that came before the filters would have none. */
	if (m->config->sandbox != SANDBOX_OFF) {
		log_error("--vfio soft=%s: a device for tests, which --sandbox on and log do not "
			  "have; use --sandbox off",
			  want->source);
		return -EOPNOTSUPP;
	}
	config->io = io;
	return vfio_soft_open(m->iommufd_kernel, want->source, io);
}

static int device_open(struct vfio_devices *devices, const struct device_config *want,
		       struct assigned *assigned, struct vfio_device_config *config)
{
	int rc;

	if (!assigned->device)
		return vfio_device_new(devices->host[want->segment], config, &assigned->device);
	config->steered = assigned->steered;
	rc = vfio_device_publish(assigned->device, config);
	if (rc)
		assigned->device = NULL;
	return rc;
}

/* ASSIGNED is new, or bound before; where this fails it is gone. */
static int device_create(struct machine *m, struct vfio_devices *devices,
			 const struct device_config *want, struct assigned *assigned,
			 struct machine_device **dev)
{
	struct vfio_device_config config = device_config(m, assigned, want);
	struct vfio_io io;
	int rc;

	if (assigned->reserved)
		rc = machine_device_init_at(m, &assigned->dev, &vfio_class, "vfio", want->id,
					    want->segment, want->iommu, assigned->dev.devfn);
	else
		rc = machine_device_init(m, &assigned->dev, &vfio_class, "vfio", want->id,
					 want->segment, want->iommu);
	if (rc)
		goto fail;
	assigned->dev.what = assigned->path;
	config.devfn = assigned->dev.devfn;
	if (m->viommu_steer && want->iommu)
		config.steering = &assigned->steering;
	rc = machine_place(m, want->segment, config.devfn, want->iommu, NULL, &config.sink);
	if (!rc)
		rc = machine_slot_line(m, want->segment, config.devfn >> 3, &config.intx);
	if (!rc && !assigned->device)
		rc = device_reach(m, want, &config, &io);
	if (!rc)
		rc = device_open(devices, want, assigned, &config);
	if (rc)
		goto fail;
	assigned->next = devices->first;
	devices->first = assigned;
	m->segment[want->segment].iommufd_device = vfio_device_id(assigned->device);
	machine_device_publish(m, &assigned->dev);
	assigned->published = true;
	if (dev)
		*dev = &assigned->dev;
	return 0;
fail:
	assigned_free(m, assigned);
	return rc;
}

void machine_vfio_close(struct machine *m)
{
	struct vfio_devices *devices = m->private[VFIO_ORDER];

	if (!devices)
		return;
	/* What stands on our spaces and devices goes first. */
	if (m->viommu_release)
		m->viommu_release(m);
	for (unsigned i = 0; i < ARRAY_SIZE(devices->early); i++) {
		if (devices->early[i])
			assigned_free(m, devices->early[i]);
	}
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

	return segment ? vfio_host_share(devices->host[0], host)
		       : vfio_host_new(m->iommufd_kernel, &m->memory, host);
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
		machine_vfio_close(m);
	return rc;
}

/* Who answers behind the vIOMMUs is known. */
static int vfio_settle(struct machine *m)
{
	struct vfio_devices *devices = m->private[VFIO_ORDER];
	int rc = 0;

	for (unsigned i = 0; !rc && !m->viommu_steer && i < m->config->segments; i++) {
		if (devices->settled[i] || !m->segment[i].engine)
			continue;
		machine_pause_vcpus(m);
		rc = vfio_host_follow(devices->host[i], m->segment[i].engine);
		machine_resume_vcpus(m);
		devices->settled[i] = !rc;
	}
	return rc;
}

static int create_one(struct machine *m, const struct device_config *want, unsigned i)
{
	struct vfio_devices *devices = m->private[VFIO_ORDER];
	struct assigned *assigned = devices->early[i];
	int rc = assigned ? 0 : assigned_new(m, want, &assigned);

	devices->early[i] = NULL;
	return rc ? rc : device_create(m, devices, want, assigned, NULL);
}

static int vfio_create(struct machine *m)
{
	const struct device_config *want;
	int rc;

	if (!config_device(m->config, &vfio_option, 0))
		return 0;
	rc = vfio_open(m);
	if (!rc)
		rc = vfio_settle(m);
	for (unsigned i = 0; !rc && (want = config_device(m->config, &vfio_option, i)); i++)
		rc = create_one(m, want, i);
	for (unsigned i = 0; i < m->config->segments; i++)
		m->segment[i].reserved = 0;
	if (rc)
		machine_vfio_close(m);
	return rc;
}

/* ---- before their turn ---- */

static int bind_one(struct machine *m, const struct device_config *want, struct assigned **out)
{
	struct vfio_devices *devices = m->private[VFIO_ORDER];
	struct vfio_device_config config;
	struct assigned *assigned;
	struct vfio_io io;
	int rc = assigned_new(m, want, &assigned);

	if (rc)
		return rc;
	config = device_config(m, assigned, want);
	rc = device_reach(m, want, &config, &io);
	if (!rc)
		rc = vfio_device_bind(devices->host[want->segment], &config, &assigned->device);
	if (rc)
		goto fail;
	rc = machine_slot_reserve(m, want->segment);
	if (rc < 0) {
		log_error("--vfio: no free PCI slot in segment %u", want->segment);
		goto fail;
	}
	assigned->dev.devfn = (uint8_t)rc;
	assigned->dev.segment = want->segment;
	assigned->reserved = true;
	steer_prepare(assigned, assigned->device, assigned->dev.devfn);
	*out = assigned;
	return 0;
fail:
	assigned_free(m, assigned);
	return rc;
}

int machine_vfio_bind(struct machine *m, unsigned segment, struct vfio_host **host,
		      struct viommu_hw_device **behind, unsigned *count)
{
	const struct device_config *want;
	struct vfio_devices *devices;
	int rc = vfio_open(m);

	*count = 0;
	for (unsigned i = 0; !rc && (want = config_device(m->config, &vfio_option, i)); i++) {
		if (want->segment != segment || !want->iommu)
			continue;
		devices = m->private[VFIO_ORDER];
		rc = bind_one(m, want, &devices->early[i]);
		if (!rc)
			behind[(*count)++] = &devices->early[i]->behind;
	}
	if (rc)
		return rc;
	devices = m->private[VFIO_ORDER];
	*host = devices->host[segment];
	return 0;
}

void machine_vfio_unreserve(struct machine *m, unsigned segment)
{
	struct vfio_devices *devices = m->private[VFIO_ORDER];

	m->segment[segment].reserved = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(devices->early); i++) {
		struct assigned *assigned = devices->early[i];

		if (assigned && assigned->dev.segment == segment) {
			assigned->reserved = false;
			assigned->steered = NULL;
		}
	}
}

static int vfio_add(struct machine *m, const char *kind, const char *options,
		    struct machine_device **dev)
{
	struct assigned *assigned;
	struct device_config *want;
	int rc = config_parse_device(m->config, &vfio_option, options, &want);

	(void)kind;
	if (rc)
		return rc;
	if (model_iommufd(m) && !vfio_config(want)->soft) {
		log_error("--vfio %s: a model of hardware has no assigned devices (accel=hwmodel)",
			  options);
		rc = -EOPNOTSUPP;
	}
	if (!rc)
		rc = vfio_open(m);
	if (!rc)
		rc = vfio_settle(m);
	if (!rc)
		rc = assigned_new(m, want, &assigned);
	if (!rc)
		rc = device_create(m, m->private[VFIO_ORDER], want, assigned, dev);
	config_free_device(want);
	return rc;
}

static void vfio_release(struct machine *m, struct machine_device *dev)
{
	struct assigned *assigned = container_of(dev, struct assigned, dev);
	struct vfio_devices *devices = m->private[VFIO_ORDER];
	struct assigned **at = &devices->first;
	char id[MACHINE_ID_SIZE];

	while (*at != assigned)
		at = &(*at)->next;
	*at = assigned->next;
	devices->loop_messages += vfio_device_loop_messages(assigned->device);
	machine_pause_vcpus(m);
	vfio_device_free(assigned->device);
	machine_resume_vcpus(m);
	assigned->device = NULL;
	memcpy(id, dev->id, sizeof(id));
	assigned_free(m, assigned);
	machine_device_gone(m, id);
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
	.destroy = machine_vfio_close,
	.add = vfio_add,
	.release = vfio_release,
	.stats = vfio_stats,
};
DEVICE_CLASS(vfio_class);
