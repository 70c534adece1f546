// SPDX-License-Identifier: Apache-2.0
/*
 * PCI hot-plug in AML: a device object a slot whose _EJ0 lets go of it, and a method that turns the
 * host's notifications into Notify() (ACPI 6.4, 5.6.6, 6.3.3; AML in chapter 20).
 */
#include <stdio.h>
#include <string.h>

#include "guest/aml.h"
#include "postern/bits.h"

#define PCI_SLOTS	     32u
#define REGION_SYSTEM_IO     1u
#define FIELD_DWORD_ZEROS    0x43u /* DWordAcc, NoLock, WriteAsZeros */
#define FIELD_BITS	     32u   /* as PkgLength: one byte */
#define NOTIFY_DEVICE_CHECK  1u
#define NOTIFY_EJECT_REQUEST 3u

enum {
	AML_STORE_OP = 0x70,
	AML_AND_OP = 0x7b,
	AML_LEQUAL_OP = 0x93,
	AML_ARG0_OP = 0x68,
	AML_LOCAL0_OP = 0x60,
	AML_NOTIFY_OP = 0x86,
	AML_IF_OP = 0xa0,
	AML_NULL_NAME = 0x00,
};

static void slot_name(char name[8], unsigned slot)
{
	snprintf(name, 8, "S%02X_", slot & 0xff);
}

/* Three registers of 32 bits: slots filled, slots to empty (both cleared by reading), slots let go.
 */
static void registers(struct aml *aml, unsigned base)
{
	static const char fields[3][4] = {
		{'H', 'P', 'U', 'P'}, {'H', 'P', 'D', 'N'}, {'H', 'P', 'E', 'J'}};
	size_t field;

	aml_bytes(aml, "\x5b\x80HPRG", 6); /* OperationRegion */
	aml_value(aml, REGION_SYSTEM_IO, 1);
	aml_integer(aml, base);
	aml_integer(aml, GUEST_HOTPLUG_SIZE);
	aml_bytes(aml, "\x5b\x81", 2); /* Field */
	field = aml->len;
	aml_bytes(aml, "HPRG", 4);
	aml_value(aml, FIELD_DWORD_ZEROS, 1);
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		aml_bytes(aml, fields[i], sizeof(fields[i]));
		aml_value(aml, FIELD_BITS, 1);
	}
	aml_package_end(aml, field);
}

static void slot_object(struct aml *aml, unsigned slot)
{
	size_t device, method;
	char name[8];

	slot_name(name, slot);
	device = aml_device_begin(aml, name);
	aml_name_integer(aml, "_ADR", slot << 16);
	aml_name_integer(aml, "_SUN", slot);
	method = aml_method_begin(aml, "_EJ0", 1);
	aml_value(aml, AML_STORE_OP, 1);
	aml_integer(aml, BIT(slot));
	aml_bytes(aml, "HPEJ", 4);
	aml_package_end(aml, method);
	aml_package_end(aml, device);
}

/* Store (FIELD, Local0), and Notify (Sxx, EVENT) for each bit that is set. */
static void notify_slots(struct aml *aml, uint32_t slots, const char *field, unsigned event)
{
	aml_value(aml, AML_STORE_OP, 1);
	aml_bytes(aml, field, 4);
	aml_value(aml, AML_LOCAL0_OP, 1);
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		size_t condition;
		char name[8];

		if (!(slots & BIT(slot)))
			continue;
		slot_name(name, slot);
		aml_value(aml, AML_IF_OP, 1);
		condition = aml->len;
		aml_value(aml, AML_AND_OP, 1);
		aml_value(aml, AML_LOCAL0_OP, 1);
		aml_integer(aml, BIT(slot));
		aml_value(aml, AML_NULL_NAME, 1);
		aml_value(aml, AML_NOTIFY_OP, 1);
		aml_bytes(aml, name, 4);
		aml_integer(aml, event);
		aml_package_end(aml, condition);
	}
}

void dsdt_hotplug_slots(struct aml *aml, const struct guest_acpi *acpi, unsigned segment)
{
	uint32_t slots = acpi->segment[segment].hotplug_slots;
	size_t method;

	if (!slots)
		return;
	registers(aml, acpi->hotplug.base + segment * GUEST_HOTPLUG_SIZE);
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		if (slots & BIT(slot))
			slot_object(aml, slot);
	}
	method = aml_method_begin(aml, "HPNT", 0);
	notify_slots(aml, slots, "HPUP", NOTIFY_DEVICE_CHECK);
	notify_slots(aml, slots, "HPDN", NOTIFY_EJECT_REQUEST);
	aml_package_end(aml, method);
}

bool dsdt_hotplug(const struct guest_acpi *acpi)
{
	return acpi->hotplug.gsi;
}

/* If (LEqual (Arg0, gsi)) { \_SB.PCI0.HPNT () ... } */
void dsdt_hotplug_event(struct aml *aml, const struct guest_acpi *acpi)
{
	size_t condition;

	if (!dsdt_hotplug(acpi))
		return;
	aml_value(aml, AML_IF_OP, 1);
	condition = aml->len;
	aml_value(aml, AML_LEQUAL_OP, 1);
	aml_value(aml, AML_ARG0_OP, 1);
	aml_integer(aml, acpi->hotplug.gsi);
	for (unsigned i = 0; i < acpi->segments; i++) {
		if (!acpi->segment[i].hotplug_slots)
			continue;
		aml_bytes(aml, "\\\x2f\x03_SB_PCI", 10);
		aml_value(aml, (uint8_t) "0123456789ABCDEF"[i], 1);
		aml_bytes(aml, "HPNT", 4);
	}
	aml_package_end(aml, condition);
}
