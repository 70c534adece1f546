// SPDX-License-Identifier: Apache-2.0
/*
 * The flattened device tree that a guest is given beside ACPI (Devicetree specification 0.4,
 * chapter 3). ACPI stays the authority for devices.
 */
#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest/guest.h"
#include "postern/bits.h"
#include "postern/log.h"

#define FDT_FIXED_SIZE 4096u /* all but the command line and the processors */
#define FDT_CPU_SIZE   128u
#define FDT_CPUS_MAX   4096u

static int fdt_memory(void *blob, const struct guest_memory *memory)
{
	int err = 0;

	for (unsigned i = 0; i < memory->count; i++) {
		const struct guest_region *r = &memory->region[i];
		fdt64_t reg[2] = {cpu_to_fdt64(r->gpa), cpu_to_fdt64(r->size)};
		char name[32];

		snprintf(name, sizeof(name), "memory@%llx", (unsigned long long)r->gpa);
		err |= fdt_begin_node(blob, name);
		err |= fdt_property_string(blob, "device_type", "memory");
		err |= fdt_property(blob, "reg", reg, sizeof(reg));
		err |= fdt_end_node(blob);
	}
	return err;
}

static int fdt_cpus(void *blob, unsigned cpus)
{
	int err = 0;

	err |= fdt_begin_node(blob, "cpus");
	err |= fdt_property_u32(blob, "#address-cells", 1);
	err |= fdt_property_u32(blob, "#size-cells", 0);
	for (unsigned i = 0; i < cpus; i++) {
		char name[32];

		snprintf(name, sizeof(name), "cpu@%x", i);
		err |= fdt_begin_node(blob, name);
		err |= fdt_property_string(blob, "device_type", "cpu");
		err |= fdt_property_string(blob, "compatible", "x86-64");
		err |= fdt_property_u32(blob, "reg", i); /* APIC id */
		err |= fdt_end_node(blob);
	}
	err |= fdt_end_node(blob);
	return err;
}

/*
 * Described, but "reserved": ACPI gives the same UART to the guest with its interrupt, and a second
 * driver on these ports would take it over without one.
 */
static int fdt_uart(void *blob, uint16_t base)
{
	fdt32_t reg[3] = {cpu_to_fdt32(1), cpu_to_fdt32(base), cpu_to_fdt32(8)};
	char name[32];
	int err = 0;

	err |= fdt_begin_node(blob, "isa");
	err |= fdt_property_string(blob, "compatible", "isa");
	err |= fdt_property_string(blob, "device_type", "isa");
	err |= fdt_property_u32(blob, "#address-cells", 2);
	err |= fdt_property_u32(blob, "#size-cells", 1);
	err |= fdt_property(blob, "ranges", NULL, 0);
	snprintf(name, sizeof(name), "serial@i%x", base);
	err |= fdt_begin_node(blob, name);
	err |= fdt_property_string(blob, "compatible", "ns16550a");
	err |= fdt_property_string(blob, "status", "reserved");
	err |= fdt_property(blob, "reg", reg, sizeof(reg));
	err |= fdt_property_u32(blob, "clock-frequency", 1843200);
	err |= fdt_end_node(blob);
	err |= fdt_end_node(blob);
	return err;
}

int guest_fdt_build(const struct guest_fdt *fdt, void **blob, uint32_t *size)
{
	size_t space;
	void *p;
	int err = 0;

	if (!fdt->cpus || fdt->cpus > FDT_CPUS_MAX || strlen(fdt->cmdline) >= GUEST_CMDLINE_MAX)
		return -EINVAL;
	space = FDT_FIXED_SIZE + strlen(fdt->cmdline) + fdt->cpus * (size_t)FDT_CPU_SIZE;
	p = calloc(1, space);
	if (!p)
		return -ENOMEM;
	/* Each call returns 0 or a negative code: any failure leaves ERR negative. */
	err |= fdt_create(p, (int)space);
	err |= fdt_finish_reservemap(p);
	err |= fdt_begin_node(p, "");
	err |= fdt_property_string(p, "compatible", "postern,microvm");
	err |= fdt_property_string(p, "model", "postern");
	err |= fdt_property_u32(p, "#address-cells", 2);
	err |= fdt_property_u32(p, "#size-cells", 2);
	err |= fdt_begin_node(p, "chosen");
	err |= fdt_property_string(p, "bootargs", fdt->cmdline);
	err |= fdt_end_node(p);
	err |= fdt_memory(p, fdt->memory);
	err |= fdt_cpus(p, fdt->cpus);
	if (fdt->uart_base)
		err |= fdt_uart(p, fdt->uart_base);
	err |= fdt_end_node(p);
	err |= fdt_finish(p);
	if (err) {
		log_error("device tree: does not fit into %zu bytes", space);
		free(p);
		return -ENOSPC;
	}
	*blob = p;
	*size = fdt_totalsize(p);
	return 0;
}
