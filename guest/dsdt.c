// SPDX-License-Identifier: Apache-2.0
/*
 * DSDT: the PCI root, what the motherboard occupies, the UART, the power button with the generic
 * event device that reports it, the processors and \_S5.
 */
#include <stdio.h>

#include "guest/aml.h"
#include "postern/bits.h"

#define PCI_CONFIG_PORT	 0xcf8u
#define PCI_CONFIG_PORTS 8u
#define UART_PORTS	 8u
#define ACPI_REGS_PORTS	 3u
#define IOAPIC_SIZE	 0x1000u
#define PCI_SLOTS	 32u
#define AML_PACKAGE_OP	 0x12u

/*
 * _OSC (6.2.11.4 and PCI Firmware Specification 3.3, 4.5): give the system every control that it
 * asks for, as nothing here competes for it.
 *
 *	CreateDWordField (Arg3, 0, CDW1)
 *	If (Arg0 == ToUUID ("33db4d5b-1ff7-401c-9657-7441c03dd766")) {
 *		If (Arg1 != 1) { CDW1 |= 8 }	unknown revision
 *	} Else { CDW1 |= 4 }			unknown UUID
 *	Return (Arg3)
 */
/* clang-format off */
static const uint8_t osc_body[] = {
	0x8a, 0x6b, 0x00, 'C', 'D', 'W', '1', /* CreateDWordField (Arg3, Zero, CDW1) */
	0xa0, 0x28, /* If, 40 bytes */
	0x93, 0x68, 0x11, 0x13, 0x0a, 0x10, /* LEqual (Arg0, Buffer (16) */
	0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40, 0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66,
	0xa0, 0x10, 0x92, 0x93, 0x69, 0x01, /* If (LNot (LEqual (Arg1, One))), 16 bytes */
	0x7d, 'C', 'D', 'W', '1', 0x0a, 0x08, 'C', 'D', 'W', '1', /* Or (CDW1, 8, CDW1) */
	0xa1, 0x0c, /* Else, 12 bytes */
	0x7d, 'C', 'D', 'W', '1', 0x0a, 0x04, 'C', 'D', 'W', '1', /* Or (CDW1, 4, CDW1) */
	0xa4, 0x6b, /* Return (Arg3) */
};
/* clang-format on */

/* _PRT (6.2.13): INTA of each slot of bus 0, in every segment, straight to the IOAPIC. There are no
 * other pins. */
static void dsdt_interrupts(struct aml *aml, const struct guest_acpi *acpi)
{
	size_t table, entry;

	aml_name(aml, "_PRT");
	aml_value(aml, AML_PACKAGE_OP, 1);
	table = aml->len;
	aml_value(aml, PCI_SLOTS, 1);
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		aml_value(aml, AML_PACKAGE_OP, 1); /* address, pin, source, its index: the GSI */
		entry = aml->len;
		aml_value(aml, 4, 1);
		aml_integer(aml, slot << 16 | 0xffff);
		aml_integer(aml, 0);
		aml_integer(aml, 0);
		aml_integer(aml, guest_intx_gsi(acpi, slot));
		aml_package_end(aml, entry);
	}
	aml_package_end(aml, table);
}

static void dsdt_pci_root(struct aml *aml, const struct guest_acpi *acpi, unsigned segment)
{
	const struct guest_segment *s = &acpi->segment[segment];
	const char name[] = {'P', 'C', 'I', "0123456789ABCDEF"[segment], '\0'};
	size_t device = aml_device_begin(aml, name), crs, method;

	aml_name_eisaid(aml, "_HID", "PNP0A08");
	aml_name_eisaid(aml, "_CID", "PNP0A03");
	aml_name_integer(aml, "_SEG", segment);
	aml_name_integer(aml, "_BBN", 0);
	aml_name_integer(aml, "_UID", segment);
	crs = aml_crs_begin(aml);
	aml_crs_bus(aml, 0, (uint16_t)(s->buses - 1));
	if (!segment) /* the ports reach no other */
		aml_crs_io(aml, PCI_CONFIG_PORT, PCI_CONFIG_PORTS);
	if (s->io_size)
		aml_crs_io_window(aml, s->io_base, s->io_size);
	if (s->mem32_size)
		aml_crs_memory(aml, s->mem32_base, s->mem32_size, false);
	if (s->mem64_size)
		aml_crs_memory(aml, s->mem64_base, s->mem64_size, false);
	aml_crs_end(aml, crs);
	if (acpi->intx_lines)
		dsdt_interrupts(aml, acpi);
	dsdt_hotplug_slots(aml, acpi, segment);
	method = aml_method_begin(aml, "_OSC", 4);
	aml_bytes(aml, osc_body, sizeof(osc_body));
	aml_package_end(aml, method);
	aml_package_end(aml, device);
}

/* What no other device claims. Linux trusts an ECAM only when it is reserved like this. */
static void dsdt_motherboard(struct aml *aml, const struct guest_acpi *acpi)
{
	size_t device = aml_device_begin(aml, "MBRD"), crs;

	aml_name_eisaid(aml, "_HID", "PNP0C02");
	aml_name_integer(aml, "_UID", 0);
	crs = aml_crs_begin(aml);
	for (unsigned i = 0; i < acpi->segments; i++) {
		const struct guest_segment *s = &acpi->segment[i];

		aml_crs_memory(aml, s->ecam_base, s->buses * MIB, true);
		if (s->iommu.present)
			aml_crs_memory(aml, s->iommu.window, s->iommu.window_size, true);
	}
	aml_crs_memory(aml, acpi->ioapic_base, IOAPIC_SIZE, true);
	aml_crs_io(aml, acpi->acpi_regs_base, ACPI_REGS_PORTS);
	if (dsdt_hotplug(acpi))
		aml_crs_io(aml, acpi->hotplug.base, (uint8_t)(acpi->segments * GUEST_HOTPLUG_SIZE));
	aml_crs_end(aml, crs);
	aml_package_end(aml, device);
}

static void dsdt_uart(struct aml *aml, const struct guest_acpi *acpi)
{
	size_t device = aml_device_begin(aml, "COM1"), crs;

	aml_name_eisaid(aml, "_HID", "PNP0501");
	aml_name_integer(aml, "_UID", 0);
	crs = aml_crs_begin(aml);
	aml_crs_io(aml, acpi->uart_base, UART_PORTS);
	aml_crs_interrupt(aml, acpi->uart_gsi, false);
	aml_crs_end(aml, crs);
	aml_package_end(aml, device);
}

/* Hardware-reduced ACPI has no fixed power button: its press comes as an interrupt (5.6.9). */
static void dsdt_power_button(struct aml *aml, const struct guest_acpi *acpi)
{
	size_t device = aml_device_begin(aml, "PWRB"), crs, method, condition;

	aml_name_eisaid(aml, "_HID", "PNP0C0C");
	aml_name_integer(aml, "_UID", 0);
	aml_package_end(aml, device);

	device = aml_device_begin(aml, "GED_");
	aml_name_string(aml, "_HID", "ACPI0013");
	aml_name_integer(aml, "_UID", 0);
	crs = aml_crs_begin(aml);
	aml_crs_interrupt(aml, acpi->ged_gsi, false);
	if (dsdt_hotplug(acpi))
		aml_crs_interrupt(aml, acpi->hotplug.gsi, true);
	aml_crs_end(aml, crs);
	method = aml_method_begin(aml, "_EVT", 1);
	aml_value(aml, 0xa0, 1); /* If (LEqual (Arg0, gsi)) */
	condition = aml->len;
	aml_bytes(aml, "\x93\x68", 2);
	aml_integer(aml, acpi->ged_gsi);
	aml_value(aml, 0x86, 1); /* Notify (PWRB, 0x80) */
	aml_bytes(aml, "PWRB", 4);
	aml_integer(aml, 0x80);
	aml_package_end(aml, condition);
	dsdt_hotplug_event(aml, acpi);
	aml_package_end(aml, method);
	aml_package_end(aml, device);
}

static void dsdt_processors(struct aml *aml, const struct guest_acpi *acpi)
{
	for (unsigned i = 0; i < acpi->cpus && !aml->full; i++) {
		char name[16];
		size_t device;

		snprintf(name, sizeof(name), "C%03X", i);
		device = aml_device_begin(aml, name);
		aml_name_string(aml, "_HID", "ACPI0007");
		aml_name_integer(aml, "_UID", i);
		aml_package_end(aml, device);
	}
}

void dsdt_build(struct aml *aml, const struct guest_acpi *acpi)
{
	/* Revision 2: 64-bit integers. */
	size_t table = acpi_table_begin(aml, "DSDT", 2), scope, package;

	scope = aml_scope_begin(aml, "\\_SB_");
	dsdt_processors(aml, acpi);
	for (unsigned i = 0; i < acpi->segments; i++)
		dsdt_pci_root(aml, acpi, i);
	dsdt_motherboard(aml, acpi);
	if (acpi->uart_gsi)
		dsdt_uart(aml, acpi);
	dsdt_power_button(aml, acpi);
	aml_package_end(aml, scope);

	aml_name(aml, "\\_S5_");
	aml_value(aml, AML_PACKAGE_OP, 1); /* Package (4) { type, 0, 0, 0 } (7.4.2) */
	package = aml->len;
	aml_value(aml, 4, 1);
	aml_integer(aml, acpi->sleep_type_s5);
	for (unsigned i = 0; i < 3; i++)
		aml_integer(aml, 0);
	aml_package_end(aml, package);
	acpi_table_end(aml, table);
}
