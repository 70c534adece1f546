// SPDX-License-Identifier: Apache-2.0
/*
 * --viommu amd: the front end, the soft iommufd behind it, and the wiring of interrupts.
 *
 * Linux remaps interrupts only where the IOAPIC that the IVRS names belongs to a southbridge
 * function at 00:14.0 (drivers/iommu/amd/init.c, check_ioapic_information()), so there is one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/amd_iommu/amd_viommu.h"
#include "vmm/machine.h"
#include "vmm/viommu_trace.h"
#include "vmm/metrics.h"

enum { VIOMMU_ORDER = 0 };

struct viommu {
	struct amd_viommu *front;
	struct viommu_port *port; /* until the front end owns it */
	struct msi_sink *own;	  /* of its MSI capability, never remapped */
	struct irq *irq;
	struct machine *machine;
	struct amd_iommu_listener listener;
	struct event_work ring; /* the rest of a long command ring */
	struct pci_function southbridge;
	struct viommu_trace *trace;
};

static int remap(void *opaque, uint16_t devid, const struct msi_msg *in, struct msi_msg *out,
		 bool log)
{
	return amd_iommu_engine_remap(opaque, devid, in, out, log);
}

static void interrupts_changed(struct amd_iommu_listener *listener, uint16_t devid, bool all)
{
	irq_refresh(container_of(listener, struct viommu, listener)->irq, devid, all);
}

static void own_msi(void *opaque)
{
	amd_viommu_msi(((struct viommu *)opaque)->front);
}

static void own_message(void *opaque, const struct msi_msg *msg)
{
	if (irq_deliver(((struct viommu *)opaque)->irq, msg))
		log_guest("vIOMMU: nobody takes the message of its XT interrupt registers");
}

static void kick_ring(void *opaque)
{
	struct viommu *viommu = opaque;

	event_loop_post(viommu->machine->loop, &viommu->ring);
}

static void run_ring(struct event_work *work)
{
	amd_iommu_engine_run(container_of(work, struct viommu, ring)->machine->engine);
}

static int dma_space_new(struct machine *m, uint16_t devid, struct dma_space **ds)
{
	return amd_iommu_dma_space_new(m->engine, devid, ds);
}

static int add_southbridge(struct machine *m, struct viommu *viommu)
{
	static const struct pci_function_ops ops;
	static const struct pci_id id = {
		.vendor = 0x1b36, .device = 0x1014, .class_code = 0x0c0500};

	pci_function_init(&viommu->southbridge, "southbridge", &ops, &id);
	return pci_root_add(m->root, &viommu->southbridge, PCI_DEVFN(MACHINE_SLOT_SOUTHBRIDGE, 0));
}

void viommu_describe(const struct amd_viommu *front, const struct amd_viommu_config *config,
		     struct guest_iommu *iommu)
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
		.ioapic_devid = MACHINE_IOAPIC_DEVID,
		.physical_bits = AMD_VIOMMU_PHYSICAL_BITS,
		.virtual_bits = AMD_VIOMMU_VIRTUAL_BITS,
		/* Always one, and one as high as the IOAPIC's id: Linux sizes its tables by these.
		 */
		.device = {MACHINE_IOAPIC_DEVID},
		.device_count = 1,
	};
}

static void viommu_destroy(struct machine *m)
{
	struct viommu *viommu = m->private[VIOMMU_ORDER];

	if (!viommu)
		return;
	if (m->engine)
		amd_iommu_engine_unlisten(m->engine, &viommu->listener);
	if (viommu->front)
		amd_viommu_free(viommu->front);
	else if (viommu->port)
		viommu->port->ops->free(viommu->port);
	m->engine = NULL;
	if (viommu->southbridge.ops)
		pci_function_fini(&viommu->southbridge);
	if (m->iommufd_soft)
		iommufd_close(m->iommufd_soft);
	m->iommufd_soft = NULL;
	viommu_trace_free(viommu->trace);
	free(viommu);
	m->private[VIOMMU_ORDER] = NULL;
}

static const struct amd_iommu_features profile[] = {
	[VIOMMU_FEATURES_BASIC] = {.efr = AMD_IOMMU_EFR_DEFAULT, .efr2 = AMD_IOMMU_EFR2_DEFAULT},
	[VIOMMU_FEATURES_V2] = {.efr = AMD_IOMMU_EFR_V2, .efr2 = AMD_IOMMU_EFR2_V2},
	[VIOMMU_FEATURES_FULL] = {.efr = AMD_IOMMU_EFR_FULL, .efr2 = AMD_IOMMU_EFR2_FULL},
};

static int start_trace(struct machine *m, struct viommu *viommu)
{
	int rc = viommu_trace_new(m->config->trace_viommu_path, &viommu->trace);

	if (!rc)
		iommufd_viommu_command_trace(m->iommufd_soft, viommu_trace_command, viommu->trace);
	return rc;
}

static int viommu_create(struct machine *m)
{
	const struct amd_iommu_features features = profile[m->config->viommu_features];
	struct amd_viommu_config front = {
		.window = MACHINE_IOMMU_WINDOW,
		.mmio = &m->mmio,
		.root = m->root,
		.devfn = PCI_DEVFN(MACHINE_SLOT_IOMMU, 0),
	};
	struct irq_remapper remapper = {.remap = remap};
	struct viommu *viommu;
	int rc;

	if (!m->config->viommu)
		return 0;
	if (m->config->accel == VIOMMU_ACCEL_HW) {
		log_error(
			"--viommu amd,accel=hw: not in this build of postern; accel=soft does the "
			"same in software (postern doctor says what this kernel offers)");
		return -EOPNOTSUPP;
	}
	viommu = calloc(1, sizeof(*viommu));
	if (!viommu)
		return -ENOMEM;
	m->private[VIOMMU_ORDER] = viommu;
	viommu->irq = m->irq;
	viommu->machine = m;
	viommu->ring.run = run_ring;
	rc = iommufd_open_soft(&m->iommufd_soft, &m->memory);
	if (!rc && m->config->trace_viommu)
		rc = start_trace(m, viommu);
	if (!rc)
		rc = iommufd_soft_set_hw(m->iommufd_soft, &features, front.devfn);
	if (!rc)
		rc = viommu_iommufd_port_new(m->iommufd_soft, &features, &viommu->port, &m->engine);
	if (!rc)
		rc = irq_sink_new(m->irq, front.devfn, false, &viommu->own);
	if (!rc) {
		front.port = viommu->port;
		front.sink = viommu->own;
		rc = amd_viommu_new(&front, &viommu->front);
	}
	if (!rc)
		rc = add_southbridge(m, viommu);
	if (rc) {
		log_error("--viommu amd: %s", strerror(-rc));
		viommu_destroy(m);
		return rc;
	}
	amd_iommu_engine_set_interrupts(m->engine, viommu, own_msi, own_message);
	amd_iommu_engine_set_worker(m->engine, viommu, kick_ring);
	remapper.opaque = m->engine;
	irq_set_remapper(m->irq, &remapper);
	viommu->listener.interrupts_changed = interrupts_changed;
	amd_iommu_engine_listen(m->engine, &viommu->listener);
	m->dma_space_new = dma_space_new;
	m->dma_space_free = amd_iommu_dma_space_free;
	viommu_describe(viommu->front, &front, &m->acpi.iommu);
	return 0;
}

static void viommu_stats(struct machine *m, struct metrics *out)
{
	const struct viommu *viommu = m->private[VIOMMU_ORDER];
	struct amd_viommu_stats front;
	struct amd_iommu_stats engine;
	uint64_t set, get;

	if (!viommu)
		return;
	amd_viommu_stats(viommu->front, &front);
	iommufd_viommu_command_count(m->iommufd_soft, &set, &get);
	amd_iommu_engine_stats(m->engine, &engine);
	metric_counter(out, "viommu.register_reads", NULL, front.reads);
	metric_counter(out, "viommu.register_writes", NULL, front.writes);
	metric_counter(out, "viommu.writes_forwarded", NULL, front.forwarded);
	metric_counter(out, "viommu.command_set", NULL, set);
	metric_counter(out, "viommu.command_get", NULL, get);
	metric_counter(out, "viommu.commands", NULL, engine.commands);
	metric_counter(out, "viommu.invalidations", NULL, engine.invalidations);
	metric_counter(out, "viommu.completion_waits", NULL, engine.completion_waits);
	metric_counter(out, "viommu.completion_waits_rested", NULL, engine.rests);
	metric_counter(out, "viommu.events", NULL, engine.events);
	metric_counter(out, "viommu.translations", NULL, engine.translations);
	metric_counter(out, "viommu.iotlb_hits", NULL, engine.iotlb_hits);
	metric_counter(out, "viommu.walks", NULL, engine.walks);
	metric_counter(out, "viommu.faults", NULL, engine.faults);
	metric_counter(out, "viommu.remaps", NULL, engine.remaps);
}

static const struct device_class viommu_class = {
	.name = "viommu",
	.order = VIOMMU_ORDER,
	.create = viommu_create,
	.destroy = viommu_destroy,
	.stats = viommu_stats,
};
DEVICE_CLASS(viommu_class);
