/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI tables and AML byte code, appended to a bounded buffer (ACPI 6.4, chapters 5, 6.4 and 20).
 *
 * What does not fit is dropped and remembered: check aml.full once, at the end. Scopes nest: begin
 * returns a position for the matching end, which puts the length in front of what was appended
 * since.
 *
 * Internal to guest/.
 */
#ifndef POSTERN_GUEST_AML_H
#define POSTERN_GUEST_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/guest.h"

struct aml {
	uint8_t *buf;
	size_t size, len;
	bool full;
};

void aml_bytes(struct aml *aml, const void *bytes, size_t len);
/* VALUE in WIDTH bytes (1, 2, 4, 8), little-endian. */
void aml_value(struct aml *aml, uint64_t value, unsigned width);

/* A table: header of 36 bytes; end writes its length and checksum. */
size_t acpi_table_begin(struct aml *aml, const char *signature, uint8_t revision);
void acpi_table_end(struct aml *aml, size_t begin);
/* The byte that makes LEN bytes sum to 0. */
uint8_t acpi_checksum(const uint8_t *bytes, size_t len);
/* Generic Address Structure of one byte in I/O space (5.2.3.2). */
void acpi_gas_io8(struct aml *aml, uint16_t port);

/* Insert PkgLength before what was appended since BEGIN (20.2.4). */
void aml_package_end(struct aml *aml, size_t begin);

/* Terms; names are four characters, or a path such as "\\_SB_" with that. */
void aml_integer(struct aml *aml, uint64_t value);
void aml_name(struct aml *aml, const char *name); /* Name (NAME, ...): the object follows */
void aml_name_integer(struct aml *aml, const char *name, uint64_t value);
void aml_name_string(struct aml *aml, const char *name, const char *value);
void aml_name_eisaid(struct aml *aml, const char *name, const char *id);
size_t aml_scope_begin(struct aml *aml, const char *path);
size_t aml_device_begin(struct aml *aml, const char *name);
size_t aml_method_begin(struct aml *aml, const char *name, unsigned args);

/* Name (_CRS, ResourceTemplate () { ... }) */
size_t aml_crs_begin(struct aml *aml);
void aml_crs_end(struct aml *aml, size_t begin);
void aml_crs_io(struct aml *aml, uint16_t base, uint8_t size);
/* Active high, exclusive. */
void aml_crs_interrupt(struct aml *aml, uint32_t gsi, bool level);
/* Windows that a bridge passes on (producer), or ranges that a device has (consumer). */
void aml_crs_bus(struct aml *aml, uint16_t first, uint16_t last);
void aml_crs_io_window(struct aml *aml, uint16_t base, uint16_t size);
void aml_crs_memory(struct aml *aml, uint64_t base, uint64_t size, bool consumer);

/* The tables that are long enough for a file of their own. */
void dsdt_build(struct aml *aml, const struct guest_acpi *acpi);
/* Inside a PCI root's device, and inside the event device's _EVT. */
#define GUEST_HOTPLUG_SIZE 12u /* of a segment's registers */
bool dsdt_hotplug(const struct guest_acpi *acpi);
void dsdt_hotplug_slots(struct aml *aml, const struct guest_acpi *acpi, unsigned segment);
void dsdt_hotplug_event(struct aml *aml, const struct guest_acpi *acpi);
void ivrs_build(struct aml *aml, const struct guest_acpi *acpi);

#endif
