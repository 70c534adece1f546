// SPDX-License-Identifier: Apache-2.0
/* What every machine has: PCI root, IOAPIC, serial port, ACPI registers, and where they are. */
#include <errno.h>

#include "vmm/console.h"
#include "vmm/machine.h"

static void acpi_power_off(void *opaque)
{
	machine_finish(opaque, MACHINE_POWER_OFF);
}

static void acpi_reset(void *opaque)
{
	machine_finish(opaque, MACHINE_RESET);
}

static void acpi_irq(void *opaque)
{
	struct machine *m = opaque;

	ioapic_set_irq(m->ioapic, ACPI_GED_PIN, true);
	ioapic_set_irq(m->ioapic, ACPI_GED_PIN, false);
}

/* A 64-bit window above all RAM, as large as the address width leaves, at most 256 GiB. */
static int place_mem64(const struct machine *m, struct pci_windows *windows)
{
	const struct guest_region *top = &m->memory.region[m->memory.count - 1];
	uint64_t end = top->gpa + top->size;
	uint64_t limit = UINT64_C(1) << m->kvm.phys_bits;

	windows->mem64_size = 256 * GIB;
	while (windows->mem64_size > 4 * GIB && windows->mem64_size * 2 > limit)
		windows->mem64_size /= 2;
	windows->mem64_base = limit - windows->mem64_size;
	if (end > windows->mem64_base) {
		log_error("%llu MiB of memory do not fit below the PCI window: this host has %u "
			  "physical address bits; give less --memory",
			  (unsigned long long)(m->config->memory / MIB), m->kvm.phys_bits);
		return -E2BIG;
	}
	return 0;
}

/* Each segment has an equal part of each window of the whole machine. */
static void segment_windows(unsigned segment, unsigned segments, const struct pci_windows *all,
			    struct pci_windows *w)
{
	unsigned parts = 1;

	while (parts < segments)
		parts *= 2;
	*w = (struct pci_windows){
		.segment = (uint16_t)segment,
		.ecam_base =
			segment ? MACHINE_ECAM_OTHERS + (segment - 1) * MIB : MACHINE_ECAM_BASE,
		.buses = segment ? 1 : MACHINE_ECAM_BUSES,
		.mem32_size = all->mem32_size / parts,
		.mem64_size = all->mem64_size / parts,
		.io_size = (uint16_t)(all->io_size / parts),
	};
	w->mem32_base = all->mem32_base + segment * w->mem32_size;
	w->mem64_base = all->mem64_base + segment * w->mem64_size;
	w->io_base = (uint16_t)(all->io_base + segment * w->io_size);
}

/* The root of each segment, and what the tables say of it. */
static int segments_new(struct machine *m)
{
	struct pci_windows all = {
		.mem32_base = MACHINE_MEM32_BASE,
		.mem32_size = MACHINE_MEM32_SIZE,
		.io_base = MACHINE_PIO_BASE,
		.io_size = MACHINE_PIO_SIZE,
	};
	int rc = place_mem64(m, &all);

	for (unsigned i = 0; !rc && i < m->config->segments; i++) {
		struct pci_windows w;

		segment_windows(i, m->config->segments, &all, &w);
		m->acpi.segment[i] = (struct guest_segment){
			.ecam_base = w.ecam_base,
			.buses = w.buses,
			.mem32_base = w.mem32_base,
			.mem32_size = w.mem32_size,
			.mem64_base = w.mem64_base,
			.mem64_size = w.mem64_size,
			.io_base = w.io_base,
			.io_size = w.io_size,
		};
		rc = pci_root_new(&m->segment[i].root, &m->mmio, &m->pio, &w);
	}
	return rc;
}

int machine_fixed_new(struct machine *m, struct console **console)
{
	struct ioapic_config ioapic = {
		.mmio = &m->mmio,
		.base = IOAPIC_BASE,
		.route = irq_ioapic_route,
		.opaque = m->irq,
	};
	struct acpi_regs_config regs = {
		.pio = &m->pio,
		.power_off = acpi_power_off,
		.reset = acpi_reset,
		.irq = acpi_irq,
		.opaque = m,
	};
	int rc;

	m->acpi = (struct guest_acpi){
		.memory = &m->memory,
		.cpus = m->config->cpus,
		.segments = m->config->segments,
		.ioapic_base = IOAPIC_BASE,
		.uart_base = MACHINE_UART_BASE,
		.acpi_regs_base = ACPI_REGS_BASE,
		.ged_gsi = ACPI_GED_PIN,
		.intx_gsi = MACHINE_INTX_GSI,
		.intx_lines = MACHINE_INTX_LINES,
		.sleep_type_s5 = ACPI_SLP_S5,
		.reset_value = ACPI_RESET_VALUE,
	};
	rc = segments_new(m);
	if (!rc)
		rc = irq_sink_new(m->irq, MACHINE_IOAPIC_DEVID, m->config->viommu[0].present,
				  &ioapic.sink);
	if (!rc)
		rc = ioapic_new(&ioapic, &m->ioapic);
	if (!rc)
		rc = console_new(m, console);
	if (!rc)
		rc = acpi_regs_new(&regs, &m->acpi_regs);
	m->acpi.uart_gsi = m->uart ? MACHINE_UART_GSI : 0;
	return rc;
}
