// SPDX-License-Identifier: Apache-2.0
#include "vmm/virtio_device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/machine.h"
#include "vmm/options.h"

enum { VIRTIO_ORDER = 1 };

SECTION_DECLARE(struct virtio_kind, virtio_kinds);

struct virtio_device {
	struct machine_device dev;
	const struct virtio_kind *kind;
	struct machine *machine;
	struct virtio_pci *pci;
	struct dma_space *dma;
	char *source;
	struct event_work gone; /* behind whatever work the device had posted */
	bool draining;		/* a drain of the machine waits for what is in flight */
	bool counted;		/* or until the device is gone */
};

static const struct device_class virtio_class;

/* NULL for a device of another class. */
static struct virtio_device *to_virtio(struct machine_device *dev)
{
	return dev->class == &virtio_class ? container_of(dev, struct virtio_device, dev) : NULL;
}

static const struct virtio_kind *find_kind(const char *name)
{
	const struct virtio_kind *const *k;

	section_for_each (k, virtio_kinds) {
		if (!strcmp((*k)->option->name, name))
			return *k;
	}
	return NULL;
}

static bool virtio_has(const char *name)
{
	return find_kind(name);
}

/* ---- in ---- */

static void device_free(struct virtio_device *vd)
{
	struct machine *m = vd->machine;

	if (vd->pci) {
		machine_device_withdraw(m, &vd->dev);
		virtio_pci_free(vd->pci);
	}
	if (vd->dma)
		machine_unplace(m, vd->dma, vd->dev.iommu);
	free(vd->source);
	free(vd);
}

static void device_gone(struct event_work *work)
{
	struct virtio_device *vd = container_of(work, struct virtio_device, gone);
	struct machine *m = vd->machine;
	bool counted = vd->counted;
	char id[MACHINE_ID_SIZE];

	memcpy(id, vd->dev.id, sizeof(id));
	device_free(vd);
	machine_device_gone(m, id);
	if (counted)
		machine_drained(m);
}

static int device_create(struct machine *m, const struct virtio_kind *kind,
			 const struct device_config *config, struct machine_device **dev)
{
	struct virtio_env env = {
		.loop = m->loop,
		.window = &m->window,
		.root = m->segment[config->segment].root,
		.iommu = config->iommu,
		.memory = &m->memory,
	};
	struct virtio_device *vd = calloc(1, sizeof(*vd));
	int rc = -ENOMEM;

	if (!vd)
		return rc;
	vd->machine = m;
	vd->kind = kind;
	vd->gone.run = device_gone;
	vd->source = strdup(config->source);
	if (vd->source)
		rc = machine_device_init(m, &vd->dev, &virtio_class, kind->option->name, config->id,
					 config->segment, config->iommu);
	if (rc)
		goto fail;
	vd->dev.what = vd->source;
	env.devfn = vd->dev.devfn;
	rc = machine_place(m, config->segment, env.devfn, config->iommu, &vd->dma, &env.sink);
	if (rc)
		goto fail;
	env.dma = vd->dma;
	rc = kind->create(&env, config, &vd->pci);
	if (rc)
		goto fail;
	machine_device_publish(m, &vd->dev);
	if (dev)
		*dev = &vd->dev;
	return 0;
fail:
	device_free(vd);
	return rc;
}

static void virtio_destroy(struct machine *m)
{
	struct machine_device *dev, *next;

	for (dev = m->devices; dev; dev = next) {
		next = dev->next;
		if (to_virtio(dev))
			device_free(to_virtio(dev));
	}
}

/* In the order of the command line, which is that of their slots. */
static int virtio_create(struct machine *m)
{
	const struct device_config *config;
	int rc = 0;

	for (config = m->config->devices; !rc && config; config = config->next) {
		const struct virtio_kind *kind = find_kind(config->option->name);

		if (kind)
			rc = device_create(m, kind, config, NULL);
	}
	if (rc)
		virtio_destroy(m);
	return rc;
}

static int virtio_add(struct machine *m, const char *name, const char *options,
		      struct machine_device **dev)
{
	const struct virtio_kind *kind = find_kind(name);
	struct device_config *config;
	int rc = config_parse_device(m->config, kind->option, options, &config);

	if (rc)
		return rc;
	rc = device_create(m, kind, config, dev);
	config_free_device(config);
	return rc;
}

/* ---- out ---- */

static void device_left(void *opaque)
{
	struct virtio_device *vd = opaque;

	event_loop_post(vd->machine->loop, &vd->gone);
}

static void virtio_release(struct machine *m, struct machine_device *dev)
{
	struct virtio_device *vd = container_of(dev, struct virtio_device, dev);

	machine_pause_vcpus(m);
	virtio_pci_unplug(vd->pci);
	machine_resume_vcpus(m);
	/* Takes the place of the drain of a pause that is under way. */
	vd->counted = vd->draining;
	virtio_pci_drain(vd->pci, device_left, vd);
}

/* ---- between ---- */

static void device_drained(void *opaque)
{
	struct virtio_device *vd = opaque;

	vd->draining = false;
	machine_drained(vd->machine);
}

static void virtio_drain(struct machine *m)
{
	/* The caller counted one for the class; each device counts for itself. */
	for (struct machine_device *dev = m->devices; dev; dev = dev->next) {
		struct virtio_device *vd = to_virtio(dev);

		if (!vd)
			continue;
		atomic_fetch_add(&m->drains, 1);
		if (dev->leaving) {
			vd->counted = true;
		} else {
			vd->draining = true;
			virtio_pci_drain(vd->pci, device_drained, vd);
		}
	}
	machine_drained(m);
}

static void virtio_resume(struct machine *m)
{
	for (struct machine_device *dev = m->devices; dev; dev = dev->next) {
		if (to_virtio(dev) && !dev->leaving)
			virtio_pci_resume(to_virtio(dev)->pci);
	}
}

static bool virtio_busy(const struct machine_device *dev)
{
	return !virtio_pci_idle(container_of(dev, const struct virtio_device, dev)->pci);
}

static void virtio_stats(struct machine *m, struct metrics *out)
{
	for (struct machine_device *dev = m->devices; dev; dev = dev->next) {
		const struct virtio_device *vd = to_virtio(dev);

		if (vd)
			vd->kind->stats(vd->pci, dev->id, out);
	}
}

static const struct device_class virtio_class = {
	.name = "virtio",
	.has = virtio_has,
	.order = VIRTIO_ORDER,
	.create = virtio_create,
	.destroy = virtio_destroy,
	.drain = virtio_drain,
	.resume = virtio_resume,
	.add = virtio_add,
	.release = virtio_release,
	.busy = virtio_busy,
	.stats = virtio_stats,
};
DEVICE_CLASS(virtio_class);
