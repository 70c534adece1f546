// SPDX-License-Identifier: Apache-2.0
/* What the vIOMMUs count. */
#include "vmm/metrics.h"
#include "vmm/viommu.h"

static const char *const command_metric[AMD_COMMAND_OPCODES] = {
	[1] = "viommu.command.completion_wait",
	[2] = "viommu.command.invalidate_devtab_entry",
	[3] = "viommu.command.invalidate_iommu_pages",
	[4] = "viommu.command.invalidate_iotlb_pages",
	[5] = "viommu.command.invalidate_interrupt_table",
	[6] = "viommu.command.prefetch_iommu_pages",
	[7] = "viommu.command.complete_ppr_request",
	[8] = "viommu.command.invalidate_iommu_all",
};

static void engine_stats(const struct amd_iommu_engine *unit, const char *id, struct metrics *out)
{
	struct amd_iommu_stats engine;

	amd_iommu_engine_stats(unit, &engine);
	metric_counter(out, "viommu.commands", id, engine.commands);
	for (unsigned i = 0; i < AMD_COMMAND_OPCODES; i++)
		if (command_metric[i])
			metric_counter(out, command_metric[i], id, engine.command[i]);
	metric_counter(out, "viommu.command_errors", id, engine.command_errors);
	metric_counter(out, "viommu.invalidations", id, engine.invalidations);
	metric_counter(out, "viommu.completion_waits", id, engine.completion_waits);
	metric_counter(out, "viommu.completion_waits_rested", id, engine.rests);
	metric_counter(out, "viommu.events", id, engine.events);
	metric_counter(out, "viommu.events_lost", id, engine.events_lost);
	metric_counter(out, "viommu.atc_invalidations", id, engine.atc_invalidations);
	metric_counter(out, "viommu.atc_timeouts", id, engine.atc_timeouts);
	metric_counter(out, "viommu.page_requests", id, engine.page_requests);
	metric_counter(out, "viommu.page_requests_refused", id, engine.page_requests_refused);
	metric_counter(out, "viommu.page_responses", id, engine.page_responses);
	metric_counter(out, "viommu.translations", id, engine.translations);
	metric_counter(out, "viommu.iotlb_hits", id, engine.iotlb_hits);
	metric_counter(out, "viommu.walks", id, engine.walks);
	metric_counter(out, "viommu.faults", id, engine.faults);
	metric_counter(out, "viommu.remaps", id, engine.remaps);
}

static void unit_stats(const struct viommu *viommu, struct metrics *out)
{
	const char *id = viommu->id;
	struct amd_viommu_stats front;
	uint64_t set, get;

	amd_viommu_stats(viommu->front, &front);
	iommufd_viommu_command_count(viommu->ctx, &set, &get);
	metric_counter(out, "viommu.register_reads", id, front.reads);
	metric_counter(out, "viommu.register_writes", id, front.writes);
	metric_counter(out, "viommu.writes_forwarded", id, front.forwarded);
	metric_counter(out, "viommu.command_set", id, set);
	metric_counter(out, "viommu.command_get", id, get);
	if (viommu->engine)
		engine_stats(viommu->engine, id, out);
}

static void requester_stats(const struct viommu *viommu, uint16_t devid, const char *id,
			    struct metrics *out)
{
	struct amd_iommu_device_stats s;

	if (!viommu->engine)
		return;
	amd_iommu_engine_device_stats(viommu->engine, devid, &s);
	metric_counter(out, "viommu.device.hits", id, s.hits);
	metric_counter(out, "viommu.device.misses", id, s.misses);
	metric_counter(out, "viommu.device.walks", id, s.walks);
	metric_counter(out, "viommu.device.faults", id, s.faults);
	metric_counter(out, "viommu.device.events", id, s.events);
	metric_counter(out, "viommu.device.remaps", id, s.remaps);
	metric_counter(out, "viommu.device.remaps_refused", id, s.refusals);
	metric_counter(out, "viommu.device.invalidations", id, s.invalidations);
}

void viommu_stats(struct machine *m, struct metrics *out)
{
	const struct viommus *viommus = m->private[0];

	if (!viommus)
		return;
	for (unsigned i = 0; i < m->config->segments; i++) {
		if (viommus->of[i])
			unit_stats(viommus->of[i], out);
	}
	if (viommus->of[0])
		requester_stats(viommus->of[0], MACHINE_IOAPIC_DEVID, "ioapic", out);
	for (const struct machine_device *dev = m->devices; dev; dev = dev->next) {
		if (dev->iommu)
			requester_stats(viommus->of[dev->segment], dev->devfn, dev->id, out);
	}
	for (unsigned i = 0; i < m->config->segments; i++) {
		if (viommus->of[i] && viommus->of[i]->hwmodel)
			viommu_hw_device_metrics(viommus->of[i]->port, out);
		if (viommus->of[i] && viommus->of[i]->hw)
			viommu_hw_metrics(viommus->of[i], out);
	}
}

void viommu_hw_device_metrics(const struct viommu_port *port, struct metrics *out)
{
	struct viommu_hw_stats s;

	viommu_hw_stats(port, &s);
	metric_counter(out, "viommu.dte_writes", NULL, s.dte_writes);
	metric_counter(out, "viommu.attaches", NULL, s.attaches);
	metric_counter(out, "viommu.nested_attaches", NULL, s.nested);
	metric_counter(out, "viommu.attach_failures", NULL, s.failures);
}
