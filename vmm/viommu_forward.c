// SPDX-License-Identifier: Apache-2.0
/*
 * --viommu amd,accel=forward: the soft iommufd answers the guest, and the vIOMMU of an assigned
 * device's IOMMU in the kernel is told of every register that the guest sets. So a kernel's
 * VIOMMU_COMMAND can be tried and watched with a real guest and real devices before it can serve
 * one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/amd_iommu/amd_viommu.h"
#include "iommufd/uapi.h"
#include "vmm/machine.h"
#include "vmm/metrics.h"

/* After the devices, one of which it needs. */
enum { FORWARD_ORDER = 5 };

#define REG_CONTROL 0x18

/* Events that may wait for the loop. */
#define EVENTS 256u

struct forward {
	uint32_t ioas, hwpt, viommu;
	struct viommu_events *events; /* NULL: the kernel reports none */
	struct amd_iommu_engine *engine;
};

struct forwards {
	struct forward of[MACHINE_SEGMENTS_MAX];
};

static bool wanted(const struct machine *m, unsigned segment)
{
	const struct viommu_config *config = &m->config->viommu[segment];

	return config->present && config->accel == VIOMMU_ACCEL_FORWARD;
}

static int refuse(unsigned segment, const char *what, int rc)
{
	const char *remedy = "accel=soft does without, postern doctor says what is missing";

	if (rc == -EOPNOTSUPP)
		remedy = "this IOMMU has no vIOMMU; a kernel with the patches in iommufd/linux "
			 "has one for tests with amd_iommu.viommu_store=1";
	else if (rc == -ENOTTY || rc == -EINVAL)
		remedy =
			"a kernel that has it says its number in CONFIG_IOMMUFD_VIOMMU_COMMAND_NR: "
			"give --viommu-command-nr";
	log_error("--viommu amd,accel=forward,segment=%u: %s of the kernel: %s; %s", segment, what,
		  strerror(-rc), remedy);
	return rc;
}

static int allocate(struct machine *m, unsigned segment, struct forward *f)
{
	const uint32_t device = m->segment[segment].iommufd_device;
	struct iommufd_hwpt_args parent = {.flags = IOMMU_HWPT_ALLOC_NEST_PARENT, .dev_id = device};
	uint64_t vf_page, value;
	int rc;

	if (!device) {
		log_error(
			"--viommu amd,accel=forward,segment=%u: the kernel's vIOMMU is that of an "
			"assigned device's IOMMU: give --vfio DEVICE, or accel=soft",
			segment);
		return -EINVAL;
	}
	rc = iommufd_ioas_alloc(m->iommufd_kernel, &f->ioas);
	if (rc)
		return refuse(segment, "IOAS_ALLOC", rc);
	parent.pt_id = f->ioas;
	rc = iommufd_hwpt_alloc(m->iommufd_kernel, &parent, &f->hwpt);
	if (rc)
		return refuse(segment, "HWPT_ALLOC(NEST_PARENT)", rc);
	rc = iommufd_viommu_alloc_amd(m->iommufd_kernel, device, f->hwpt, &f->viommu, &vf_page);
	if (rc)
		return refuse(segment, "VIOMMU_ALLOC", rc);
	rc = iommufd_viommu_command_get(m->iommufd_kernel, f->viommu, REG_CONTROL, &value);
	return rc ? refuse(segment, "VIOMMU_COMMAND", rc) : 0;
}

/* What the kernel has to say to the guest stands in the log that the guest reads. */
static void event(void *opaque, const void *data)
{
	const struct forward *f = opaque;
	struct iommu_vevent_amd entry;

	memcpy(&entry, data, sizeof(entry));
	if (amd_iommu_engine_report(f->engine, entry.entry))
		log_guest("vIOMMU: the kernel reported an event without a code");
}

static void watch_events(struct machine *m, unsigned segment, struct forward *f)
{
	const struct viommu_events_config config = {
		.loop = m->loop,
		.ctx = m->iommufd_kernel,
		.viommu = f->viommu,
		.type = IOMMU_VEVENTQ_TYPE_AMD,
		.depth = EVENTS,
		.length = sizeof(struct iommu_vevent_amd),
		.event = event,
		.opaque = f,
	};
	int rc;

	f->engine = m->segment[segment].engine;
	rc = viommu_events_new(&config, &f->events);
	if (rc)
		log_info("--viommu amd,accel=forward,segment=%u: VEVENTQ_ALLOC of the kernel: %s; "
			 "the guest goes without what the kernel could report",
			 segment, strerror(-rc));
}

/* An id of 0 was never allocated. */
static void forward_free(struct machine *m, unsigned segment, struct forward *f)
{
	if (m->segment[segment].iommufd_soft)
		iommufd_viommu_command_forward(m->segment[segment].iommufd_soft, NULL, 0);
	viommu_events_free(f->events);
	if (f->viommu)
		iommufd_destroy(m->iommufd_kernel, f->viommu);
	if (f->hwpt)
		iommufd_destroy(m->iommufd_kernel, f->hwpt);
	if (f->ioas)
		iommufd_destroy(m->iommufd_kernel, f->ioas);
}

static void forward_destroy(struct machine *m)
{
	struct forwards *forwards = m->private[FORWARD_ORDER];

	if (!forwards)
		return;
	for (unsigned i = 0; i < m->config->segments; i++)
		forward_free(m, i, &forwards->of[i]);
	free(forwards);
	m->private[FORWARD_ORDER] = NULL;
}

static int forward_create(struct machine *m)
{
	struct forwards *forwards;
	unsigned count = 0;
	int rc = 0;

	for (unsigned i = 0; i < m->config->segments; i++)
		count += wanted(m, i);
	if (!count)
		return 0;
	forwards = calloc(1, sizeof(*forwards));
	if (!forwards)
		return -ENOMEM;
	m->private[FORWARD_ORDER] = forwards;
	for (unsigned i = 0; !rc && i < m->config->segments; i++) {
		if (!wanted(m, i))
			continue;
		rc = allocate(m, i, &forwards->of[i]);
		if (rc)
			break;
		watch_events(m, i, &forwards->of[i]);
		iommufd_viommu_command_forward(m->segment[i].iommufd_soft, m->iommufd_kernel,
					       forwards->of[i].viommu);
	}
	if (rc)
		forward_destroy(m);
	return rc;
}

/* A vIOMMU has no reset of its own: with Control 0 everything in it stands still. */
static void forward_reset(struct machine *m)
{
	const struct forwards *forwards = m->private[FORWARD_ORDER];

	for (unsigned i = 0; forwards && i < m->config->segments; i++) {
		if (wanted(m, i) &&
		    iommufd_viommu_command_set(m->iommufd_kernel, forwards->of[i].viommu,
					       REG_CONTROL, 0))
			log_warning_once(
				"--viommu amd,accel=forward,segment=%u: the kernel's vIOMMU "
				"refuses to clear Control: what it holds from now on is not "
				"what the guest set",
				i);
	}
}

static void forward_stats(struct machine *m, struct metrics *out)
{
	const struct forwards *forwards = m->private[FORWARD_ORDER];
	struct viommu_events_stats events = {0};
	uint64_t set, get, refused = 0;

	if (!forwards)
		return;
	for (unsigned i = 0; i < m->config->segments; i++) {
		if (wanted(m, i))
			refused += iommufd_viommu_command_refused(m->segment[i].iommufd_soft);
		if (forwards->of[i].events) {
			struct viommu_events_stats one;

			viommu_events_stats(forwards->of[i].events, &one);
			events.events += one.events;
			events.lost += one.lost;
		}
	}
	iommufd_viommu_command_count(m->iommufd_kernel, &set, &get);
	metric_counter(out, "viommu.kernel_command_set", NULL, set);
	metric_counter(out, "viommu.kernel_command_refused", NULL, refused);
	metric_counter(out, "viommu.kernel_events", NULL, events.events);
	metric_counter(out, "viommu.kernel_events_lost", NULL, events.lost);
}

static const struct device_class forward_class = {
	.name = "viommu-forward",
	.order = FORWARD_ORDER,
	.create = forward_create,
	.destroy = forward_destroy,
	.reset = forward_reset,
	.stats = forward_stats,
};
DEVICE_CLASS(forward_class);
