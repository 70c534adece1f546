// SPDX-License-Identifier: Apache-2.0
/*
 * --viommu amd,accel=hw: the kernel and the host's IOMMU answer. The devices behind the vIOMMU are
 * assigned ones, bound before their turn so that the vIOMMU can be built on them, and with them
 * every ability is tried that the guest will need.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "iommufd/uapi.h"
#include "vmm/metrics.h"
#include "vmm/options.h"
#include "vmm/vfio.h"
#include "vmm/viommu.h"

/* Events that may wait for the loop. */
#define EVENTS 256u

struct viommu_hw {
	struct viommu *viommu;
	struct viommu_port *port;     /* NULL: released */
	struct viommu_events *events; /* NULL: the kernel reports none */
	struct viommu_events_stats past;
};

/* ---- devices that are plugged in, and the end of all ---- */

static struct viommu_hw *hw_of(const struct machine *m, unsigned segment)
{
	const struct viommus *viommus = m->private[0];

	return viommus->of[segment]->hw;
}

static int steer(struct machine *m, unsigned segment, struct viommu_hw_device *device)
{
	return viommu_hw_device_add(hw_of(m, segment)->port, device);
}

static void unsteer(struct machine *m, unsigned segment, struct viommu_hw_device *device)
{
	struct viommu_hw *hw = hw_of(m, segment);

	if (hw->port)
		viommu_hw_device_remove(hw->port, device);
}

static void release(struct machine *m)
{
	const struct viommus *viommus = m->private[0];

	for (unsigned i = 0; i < m->config->segments; i++) {
		struct viommu_hw *hw = viommus->of[i] ? viommus->of[i]->hw : NULL;

		if (!hw || !hw->port)
			continue;
		if (hw->events)
			viommu_events_stats(hw->events, &hw->past);
		viommu_events_free(hw->events);
		hw->events = NULL;
		viommu_hw_port_release(hw->port);
		hw->port = NULL;
	}
}

/* ---- events ---- */

/* The guest's own hardware writes the guest's log: what comes here is what it could not. */
static void event(void *opaque, const void *data)
{
	struct iommu_vevent_amd entry;

	(void)opaque;
	memcpy(&entry, data, sizeof(entry));
	log_guest("vIOMMU: the host's IOMMU reports %016llx %016llx, which is not in the guest's "
		  "log",
		  (unsigned long long)entry.entry[0], (unsigned long long)entry.entry[1]);
}

static void watch_events(struct viommu_hw *hw)
{
	const struct viommu_events_config config = {
		.loop = hw->viommu->machine->loop,
		.ctx = hw->viommu->ctx,
		.viommu = viommu_hw_viommu(hw->port),
		.type = IOMMU_VEVENTQ_TYPE_AMD,
		.depth = EVENTS,
		.length = sizeof(struct iommu_vevent_amd),
		.event = event,
	};
	int rc = viommu_events_new(&config, &hw->events);

	if (rc)
		log_info("--viommu amd,accel=hw: VEVENTQ_ALLOC: %s; nobody hears what the kernel "
			 "could report",
			 strerror(-rc));
}

/* ---- the rung ---- */

/* What is not up to the kernel's iommufd. */
static int check(const struct viommu *viommu, char why[VIOMMU_WHY_SIZE])
{
	const struct machine_config *config = viommu->machine->config;
	const char *emulated = NULL;
	bool assigned = false;

	if (viommu_hw_check(viommu->machine, why))
		return -EOPNOTSUPP;
	for (const struct device_config *dev = config->devices; dev; dev = dev->next) {
		if (!dev->iommu || dev->segment != viommu->segment)
			continue;
		if (dev->option == &vfio_option)
			assigned = true;
		else
			emulated = dev->option->name;
	}
	if (config->dma_test && config->dma_test_iommu && !viommu->segment)
		emulated = "dma-test";
	if (config->iommufd == MACHINE_IOMMUFD_SOFT)
		snprintf(why, VIOMMU_WHY_SIZE, "--iommufd soft has no hardware");
	else if (!assigned)
		snprintf(why, VIOMMU_WHY_SIZE,
			 "no device is assigned with iommu=on, and hardware translates for no "
			 "other");
	else if (emulated)
		snprintf(why, VIOMMU_WHY_SIZE,
			 "--%s has iommu=on, and hardware does not translate for what postern "
			 "emulates",
			 emulated);
	return why[0] ? -EOPNOTSUPP : 0;
}

static int dma_space_new(struct machine *m, unsigned segment, uint16_t devid, struct dma_space **ds)
{
	(void)m, (void)segment, (void)devid, (void)ds;
	log_error("the vIOMMU is hardware (accel=hw), which does not translate for what postern "
		  "emulates: say iommu=off");
	return -EOPNOTSUPP;
}

static void dma_space_free(struct dma_space *ds)
{
	(void)ds;
}

static int build(struct viommu *viommu, struct vfio_host *host,
		 struct viommu_hw_device *const *device, unsigned count, char why[VIOMMU_WHY_SIZE])
{
	struct machine *m = viommu->machine;
	struct viommu_hw_config config = {
		.ctx = m->iommufd_kernel,
		.memory = &m->memory,
		.window = &m->window,
		.why = why,
		.gpa = MACHINE_IOMMU_WINDOW + viommu->segment * MACHINE_IOMMU_SIZE,
		.device = device,
		.devices = count,
	};
	int rc = vfio_host_spaces(host, &config.ioas, &config.closed);

	return rc ? rc : viommu_hw_port_new(&config, &viommu->port, &viommu->engine);
}

int viommu_hw_climb(struct viommu *viommu, char why[VIOMMU_WHY_SIZE])
{
	struct viommu_hw_device *device[MACHINE_DEVICES_MAX];
	struct machine *m = viommu->machine;
	struct vfio_host *host;
	struct viommu_hw *hw;
	unsigned count;
	int rc = check(viommu, why);

	if (rc)
		return rc;
	/* A device that cannot be had is none for any rung. */
	rc = machine_vfio_bind(m, viommu->segment, &host, device, &count);
	if (rc)
		return rc;
	hw = calloc(1, sizeof(*hw));
	rc = hw ? build(viommu, host, device, count, why) : -ENOMEM;
	if (rc) {
		free(hw);
		machine_vfio_unreserve(m, viommu->segment);
		return rc;
	}
	hw->viommu = viommu;
	hw->port = viommu->port;
	viommu->hw = hw;
	viommu->ctx = m->iommufd_kernel;
	m->dma_space_new = dma_space_new;
	m->dma_space_free = dma_space_free;
	m->viommu_steer = steer;
	m->viommu_unsteer = unsteer;
	m->viommu_release = release;
	watch_events(hw);
	return 0;
}

void viommu_hw_free(struct viommu *viommu)
{
	/* Where their class was not created, devices that were bound for this are still there. */
	machine_vfio_close(viommu->machine);
	if (viommu->hw)
		viommu->ctx = NULL; /* it was theirs */
	free(viommu->hw);
	viommu->hw = NULL;
}

void viommu_hw_metrics(const struct viommu *viommu, struct metrics *out)
{
	const struct viommu_hw *hw = viommu->hw;
	struct viommu_events_stats events = hw->past;

	viommu_hw_device_metrics(viommu->port, out);
	if (hw->events)
		viommu_events_stats(hw->events, &events);
	metric_counter(out, "viommu.kernel_events", NULL, events.events);
	metric_counter(out, "viommu.kernel_events_lost", NULL, events.lost);
}
