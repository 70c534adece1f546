// SPDX-License-Identifier: Apache-2.0
/*
 * --viommu amd: the front end, the soft iommufd behind it, and the wiring of interrupts.
 *
 * Linux remaps interrupts only where the IOAPIC that the IVRS names belongs to a southbridge
 * function at 00:14.0 (drivers/iommu/amd/init.c, check_ioapic_information()), so there is one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/options.h"
#include "vmm/viommu.h"
#include "vmm/viommu_ladder.h"

enum { VIOMMU_ORDER = 0 };

_Static_assert(MACHINE_IOMMU_SIZE == AMD_VIOMMU_WINDOW_SIZE, "a register window each");

static int remap(void *opaque, uint16_t devid, const struct msi_msg *in, struct msi_msg *out,
		 bool log)
{
	return amd_iommu_engine_remap(opaque, devid, in, out, log);
}

static void interrupts_changed(struct amd_iommu_listener *listener, uint16_t devid, bool all)
{
	const struct viommu *viommu = container_of(listener, struct viommu, listener);

	irq_refresh(viommu->machine->irq, machine_sbdf(viommu->segment, devid), all);
}

static void own_msi(void *opaque)
{
	amd_viommu_msi(((struct viommu *)opaque)->front);
}

static void own_message(void *opaque, const struct msi_msg *msg)
{
	if (irq_deliver(((struct viommu *)opaque)->machine->irq, msg))
		log_guest("vIOMMU: nobody takes the message of its XT interrupt registers");
}

static void kick_ring(void *opaque)
{
	struct viommu *viommu = opaque;

	event_loop_post(viommu->machine->loop, &viommu->ring);
}

static void run_ring(struct event_work *work)
{
	amd_iommu_engine_run(container_of(work, struct viommu, ring)->engine);
}

static void timer_expired(struct event_timer *timer)
{
	amd_iommu_engine_run(container_of(timer, struct viommu, timer)->engine);
}

static void arm_timer(struct event_work *work)
{
	struct viommu *viommu = container_of(work, struct viommu, timer_work);

	/* It will not be missed where it cannot be armed: any register write looks at the time. */
	event_loop_timer_arm(viommu->machine->loop, &viommu->timer, atomic_load(&viommu->timer_ns));
}

static void arm(void *opaque, uint64_t nanoseconds)
{
	struct viommu *viommu = opaque;

	atomic_store(&viommu->timer_ns, nanoseconds);
	event_loop_post(viommu->machine->loop, &viommu->timer_work);
}

static int dma_space_new(struct machine *m, unsigned segment, uint16_t devid, struct dma_space **ds)
{
	return amd_iommu_dma_space_new(m->segment[segment].engine, devid, ds);
}

static void trace_command(void *opaque, bool get, uint16_t index, uint64_t value, int rc,
			  uint64_t ns)
{
	const struct viommu *viommu = opaque;

	viommu_trace_unit_command(viommu->trace, viommu->segment, get, index, value, rc, ns);
}

/* One is enough: the IOAPIC is in segment 0. */
static int add_southbridge(struct machine *m, struct viommu *viommu)
{
	static const struct pci_function_ops ops;
	static const struct pci_id id = {
		.vendor = 0x1b36, .device = 0x1014, .class_code = 0x0c0500};

	if (viommu->segment)
		return 0;
	pci_function_init(&viommu->southbridge, "southbridge", &ops, &id);
	return pci_root_add(m->segment[0].root, &viommu->southbridge,
			    PCI_DEVFN(MACHINE_SLOT_SOUTHBRIDGE, 0));
}

void viommu_describe(const struct amd_viommu *front, const struct amd_viommu_config *config,
		     unsigned segment, struct guest_iommu *iommu)
{
	/* Those of the registers, which may be fewer than what was asked for. */
	const struct amd_iommu_features features = amd_viommu_features(front);

	*iommu = (struct guest_iommu){
		.present = true,
		.devid = config->devfn,
		.capability = AMD_VIOMMU_CAPABILITY,
		.window = config->window,
		.window_size = AMD_VIOMMU_WINDOW_SIZE,
		.efr = features.efr,
		.efr2 = features.efr2,
		.iotlb_sup = features.iotlb_sup,
		.ioapic_devid = segment ? 0 : MACHINE_IOAPIC_DEVID,
		.physical_bits = AMD_VIOMMU_PHYSICAL_BITS,
		.virtual_bits = AMD_VIOMMU_VIRTUAL_BITS,
		/*
		 * Always one, for none would mean all, and in the IOAPIC's segment one as high as
		 * its id: Linux sizes its tables by these.
		 */
		.device = {segment ? config->devfn : MACHINE_IOAPIC_DEVID},
		.device_count = 1,
	};
}

static void viommu_free(struct viommu *viommu)
{
	if (!viommu)
		return;
	viommu_hwmodel_free(viommu);
	viommu_hw_free(viommu);
	if (viommu->engine)
		amd_iommu_engine_unlisten(viommu->engine, &viommu->listener);
	event_loop_timer_cancel(viommu->machine->loop, &viommu->timer);
	if (viommu->front)
		amd_viommu_free(viommu->front);
	else if (viommu->port)
		viommu->port->ops->free(viommu->port);
	viommu->machine->segment[viommu->segment].engine = NULL;
	viommu->machine->segment[viommu->segment].viommu = false;
	viommu->machine->segment[viommu->segment].iommufd_soft = NULL;
	if (viommu->southbridge.ops)
		pci_function_fini(&viommu->southbridge);
	if (viommu->ctx)
		iommufd_close(viommu->ctx);
	free(viommu);
}

static void viommu_destroy(struct machine *m)
{
	struct viommus *viommus = m->private[VIOMMU_ORDER];

	if (!viommus)
		return;
	for (unsigned i = m->config->segments; i-- > 0;)
		viommu_free(viommus->of[i]);
	viommu_trace_free(viommus->trace);
	free(viommus);
	m->private[VIOMMU_ORDER] = NULL;
}

static const struct amd_iommu_features profile[] = {
	[VIOMMU_FEATURES_BASIC] = {.efr = AMD_IOMMU_EFR_DEFAULT, .efr2 = AMD_IOMMU_EFR2_DEFAULT},
	[VIOMMU_FEATURES_V2] = {.efr = AMD_IOMMU_EFR_V2,
				.efr2 = AMD_IOMMU_EFR2_V2,
				.iotlb_sup = true},
	[VIOMMU_FEATURES_FULL] = {.efr = AMD_IOMMU_EFR_FULL,
				  .efr2 = AMD_IOMMU_EFR2_FULL,
				  .iotlb_sup = true},
};

/* The soft iommufd and the port of VIOMMU. A context each: nothing of one is in the other's way. */
static int soft_climb(struct viommu *viommu)
{
	struct machine *m = viommu->machine;
	const struct amd_iommu_features *features =
		&profile[m->config->viommu[viommu->segment].features];
	int rc = iommufd_open_soft(&viommu->ctx, &m->memory);

	if (!rc)
		rc = iommufd_soft_set_hw(viommu->ctx, features, VIOMMU_DEVID);
	if (!rc)
		rc = viommu_iommufd_port_new(viommu->ctx, features, &viommu->port, &viommu->engine);
	if (!rc) {
		m->dma_space_new = dma_space_new;
		m->dma_space_free = amd_iommu_dma_space_free;
	}
	return rc;
}

static int climb_hw(void *opaque, char why[VIOMMU_WHY_SIZE])
{
	struct viommu *viommu = opaque;

	/* Trying it binds devices before their turn: not for those who did not ask. */
	if (viommu->machine->config->viommu[viommu->segment].accel == VIOMMU_ACCEL_AUTO) {
		snprintf(why, VIOMMU_WHY_SIZE,
			 "it is tried by name only, as no released kernel has all that it takes");
		return -EOPNOTSUPP;
	}
	return viommu_hw_climb(viommu, why);
}

static int climb_hwmodel(void *viommu, char why[VIOMMU_WHY_SIZE])
{
	return viommu_hwmodel_climb(viommu, why);
}

static int climb_soft(void *viommu, char why[VIOMMU_WHY_SIZE])
{
	const unsigned said = log_errors();
	int rc = soft_climb(viommu);

	if (rc && log_errors() == said)
		snprintf(why, VIOMMU_WHY_SIZE, "the soft iommufd: %s", strerror(-rc));
	return rc;
}

/* Best first. Of forward what is more than soft begins when its devices are there. */
static const struct viommu_rung rungs[] = {
	{VIOMMU_ACCEL_HW, "hw", false, climb_hw},
	{VIOMMU_ACCEL_SOFT, "soft", false, climb_soft},
	{VIOMMU_ACCEL_FORWARD, "forward", true, climb_soft},
	{VIOMMU_ACCEL_HWMODEL, "hwmodel", true, climb_hwmodel},
};

/* Assigned devices follow the guest's tables, and the control socket may bring one at any time. */
static bool may_mirror(const struct machine_config *config, unsigned segment)
{
	bool mirror = config->ctl_path || config->ctl_fd >= 0;

	for (const struct device_config *dev = config->devices; dev; dev = dev->next)
		mirror |= dev->option == &vfio_option && dev->iommu && dev->segment == segment;
	return mirror;
}

/* The engine remaps what leaves the devices of its segment, and tells when that changes. */
static void remap_interrupts(struct viommu *viommu)
{
	struct irq_remapper remapper = {
		.remap = remap, .opaque = viommu->engine, .segment = viommu->segment};

	irq_set_remapper(viommu->machine->irq, &remapper);
	viommu->listener.interrupts_changed = interrupts_changed;
	amd_iommu_engine_listen(viommu->engine, &viommu->listener);
}

/* The engine's own interrupts, and who goes on where it stops. */
static void serve_engine(struct viommu *viommu)
{
	amd_iommu_engine_set_segment(viommu->engine, viommu->segment);
	amd_iommu_engine_set_interrupts(viommu->engine, viommu, own_msi, own_message);
	amd_iommu_engine_set_worker(viommu->engine, viommu, kick_ring);
	amd_iommu_engine_set_timer(viommu->engine, viommu, arm);
}

static void viommu_init(struct machine *m, unsigned segment, struct viommu *viommu)
{
	viommu->machine = m;
	viommu->segment = segment;
	snprintf(viommu->id, sizeof(viommu->id), "viommu%u", segment % MACHINE_SEGMENTS_MAX);
	viommu->ring.run = run_ring;
	viommu->timer_work.run = arm_timer;
	viommu->timer.expired = timer_expired;
}

/* ACCEL has given VIOMMU a port. */
static int viommu_new(struct viommu *viommu, enum viommu_accel accel)
{
	const bool hardware = accel == VIOMMU_ACCEL_HW || accel == VIOMMU_ACCEL_HWMODEL;
	const unsigned segment = viommu->segment;
	struct machine *m = viommu->machine;
	struct guest_iommu *described = &m->acpi.segment[segment].iommu;
	struct amd_viommu_config front = {
		.window = MACHINE_IOMMU_WINDOW + segment * MACHINE_IOMMU_SIZE,
		.port = viommu->port,
		.mmio = &m->mmio,
		.root = m->segment[segment].root,
		.devfn = VIOMMU_DEVID,
		.np_cache = !hardware && may_mirror(m->config, segment),
	};
	int rc = irq_sink_new(m->irq, machine_sbdf(segment, front.devfn), false, &viommu->own);

	if (rc)
		return rc;
	if (viommu->trace)
		iommufd_viommu_command_trace(viommu->ctx, trace_command, viommu);
	front.sink = viommu->own;
	rc = amd_viommu_new(&front, &viommu->front);
	if (!rc && !hardware)
		rc = add_southbridge(m, viommu);
	if (rc)
		return rc;
	if (viommu->engine)
		serve_engine(viommu);
	viommu_describe(viommu->front, &front, segment, described);
	if (hardware) {
		/* Nobody remaps interrupts, and only guest tables can be nested. */
		described->ioapic_devid = 0;
		described->no_host_tables = true;
	} else {
		remap_interrupts(viommu);
	}
	m->segment[segment].viommu = true;
	m->segment[segment].engine = viommu->engine;
	if (accel != VIOMMU_ACCEL_HW)
		m->segment[segment].iommufd_soft = viommu->ctx;
	return 0;
}

static int segment_create(struct machine *m, struct viommus *viommus, unsigned segment)
{
	struct viommu *viommu = calloc(1, sizeof(*viommu));
	enum viommu_accel accel;
	unsigned said;
	int rc;

	if (!viommu)
		return -ENOMEM;
	viommus->of[segment] = viommu;
	viommu->trace = viommus->trace;
	viommu_init(m, segment, viommu);
	rc = viommu_ladder_climb(rungs, ARRAY_SIZE(rungs), m->config->viommu[segment].accel,
				 segment, viommu, &accel);
	if (rc)
		return rc;
	said = log_errors();
	rc = viommu_new(viommu, accel);
	if (rc && log_errors() == said)
		log_error("--viommu amd,segment=%u: %s", segment, strerror(-rc));
	return rc;
}

static int viommu_create(struct machine *m)
{
	struct viommus *viommus;
	int rc = 0;

	if (!machine_config_viommu(m->config))
		return 0;
	viommus = calloc(1, sizeof(*viommus));
	if (!viommus)
		return -ENOMEM;
	m->private[VIOMMU_ORDER] = viommus;
	if (m->config->trace_viommu)
		rc = viommu_trace_new(m->config->trace_viommu_path, &viommus->trace);
	for (unsigned i = 0; !rc && i < m->config->segments; i++) {
		if (m->config->viommu[i].present)
			rc = segment_create(m, viommus, i);
	}
	if (rc) {
		viommu_destroy(m);
		return rc;
	}
	return 0;
}

static const struct device_class viommu_class = {
	.name = "viommu",
	.order = VIOMMU_ORDER,
	.create = viommu_create,
	.destroy = viommu_destroy,
	.stats = viommu_stats,
};
DEVICE_CLASS(viommu_class);
