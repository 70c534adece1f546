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

int machine_fixed_new(struct machine *m, struct console **console)
{
	struct pci_windows windows = {
		.ecam_base = MACHINE_ECAM_BASE,
		.buses = MACHINE_ECAM_BUSES,
		.mem32_base = MACHINE_MEM32_BASE,
		.mem32_size = MACHINE_MEM32_SIZE,
		.io_base = MACHINE_PIO_BASE,
		.io_size = MACHINE_PIO_SIZE,
	};
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
	int rc = place_mem64(m, &windows);

	if (!rc)
		rc = pci_root_new(&m->root, &m->mmio, &m->pio, &windows);
	if (!rc)
		rc = irq_sink_new(m->irq, MACHINE_IOAPIC_DEVID, m->config->viommu, &ioapic.sink);
	if (!rc)
		rc = ioapic_new(&ioapic, &m->ioapic);
	if (!rc)
		rc = console_new(m, console);
	if (!rc)
		rc = acpi_regs_new(&regs, &m->acpi_regs);
	m->acpi = (struct guest_acpi){
		.memory = &m->memory,
		.cpus = m->config->cpus,
		.ecam_base = windows.ecam_base,
		.buses = windows.buses,
		.mem32_base = windows.mem32_base,
		.mem32_size = windows.mem32_size,
		.mem64_base = windows.mem64_base,
		.mem64_size = windows.mem64_size,
		.io_base = windows.io_base,
		.io_size = windows.io_size,
		.ioapic_base = IOAPIC_BASE,
		.uart_gsi = m->uart ? MACHINE_UART_GSI : 0,
		.uart_base = MACHINE_UART_BASE,
		.acpi_regs_base = ACPI_REGS_BASE,
		.ged_gsi = ACPI_GED_PIN,
		.intx_gsi = MACHINE_INTX_GSI,
		.intx_lines = MACHINE_INTX_LINES,
		.sleep_type_s5 = ACPI_SLP_S5,
		.reset_value = ACPI_RESET_VALUE,
	};
	return rc;
}
