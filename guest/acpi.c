// SPDX-License-Identifier: Apache-2.0
/*
 * ACPI 6.4 tables of a hardware-reduced machine, laid out from the RSDP up to the 1 MiB line.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "guest/aml.h"
#include "postern/bits.h"
#include "postern/log.h"

#define ACPI_AREA   (GUEST_HIGH - GUEST_RSDP)
#define TABLE_ALIGN 16u
#define TABLES_MAX  8u
#define LAPIC_BASE  UINT64_C(0xfee00000)
#define CPUS_MAX    4096u /* names of processor devices have three digits */

/* FADT (5.2.9) */
#define FADT_REVISION	     6
#define FADT_MINOR	     4
#define FADT_SIZE	     276u
#define FADT_BOOT_NO_VGA     BIT(2)
#define FADT_BOOT_NO_RTC     BIT(5)
#define FADT_WBINVD	     BIT(0)
#define FADT_PROC_C1	     BIT(2)
#define FADT_PWR_BUTTON	     BIT(4) /* no fixed-feature button */
#define FADT_SLP_BUTTON	     BIT(5)
#define FADT_RESET_REG_SUP   BIT(10)
#define FADT_HEADLESS	     BIT(12)
#define FADT_HW_REDUCED_ACPI BIT(20)

/* Offsets of the FADT's fields that are not zero here */
enum {
	FADT_IAPC_BOOT_ARCH = 109,
	FADT_FLAGS = 112,
	FADT_RESET_REG = 116,
	FADT_RESET_VALUE = 128,
	FADT_FADT_MINOR_VERSION = 131,
	FADT_X_DSDT = 140,
	FADT_SLEEP_CONTROL_REG = 244,
	FADT_SLEEP_STATUS_REG = 256,
	FADT_HYPERVISOR_VENDOR = 268,
};

/* MADT (5.2.12) */
enum { MADT_LAPIC = 0, MADT_IOAPIC = 1, MADT_X2APIC = 9, MADT_ENABLED = 1, MADT_XAPIC_IDS = 255 };

static void zeros_to(struct aml *aml, size_t len)
{
	while (aml->len < len && !aml->full)
		aml_value(aml, 0, 1);
}

static void fadt_build(struct aml *aml, const struct guest_acpi *acpi, uint64_t dsdt)
{
	size_t table = acpi_table_begin(aml, "FACP", FADT_REVISION);

	zeros_to(aml, table + FADT_IAPC_BOOT_ARCH);
	aml_value(aml, FADT_BOOT_NO_VGA | FADT_BOOT_NO_RTC, 2);
	zeros_to(aml, table + FADT_FLAGS);
	aml_value(aml,
		  FADT_WBINVD | FADT_PROC_C1 | FADT_PWR_BUTTON | FADT_SLP_BUTTON |
			  FADT_RESET_REG_SUP | FADT_HEADLESS | FADT_HW_REDUCED_ACPI,
		  4);
	acpi_gas_io8(aml, (uint16_t)(acpi->acpi_regs_base + 2));
	aml_value(aml, acpi->reset_value, 1);
	zeros_to(aml, table + FADT_FADT_MINOR_VERSION);
	aml_value(aml, FADT_MINOR, 1);
	zeros_to(aml, table + FADT_X_DSDT);
	aml_value(aml, dsdt, 8);
	zeros_to(aml, table + FADT_SLEEP_CONTROL_REG);
	acpi_gas_io8(aml, acpi->acpi_regs_base);
	acpi_gas_io8(aml, (uint16_t)(acpi->acpi_regs_base + 1));
	aml_bytes(aml, "POSTERN", 8);
	acpi_table_end(aml, table);
}

static void madt_build(struct aml *aml, const struct guest_acpi *acpi)
{
	size_t table = acpi_table_begin(aml, "APIC", 5);

	aml_value(aml, LAPIC_BASE, 4);
	aml_value(aml, 0, 4); /* not PCAT_COMPAT: there is no 8259 */
	for (unsigned i = 0; i < acpi->cpus && !aml->full; i++) {
		if (i < MADT_XAPIC_IDS) {
			aml_value(aml, MADT_LAPIC | 8 << 8, 2);
			aml_value(aml, i, 1); /* processor UID */
			aml_value(aml, i, 1); /* APIC id */
			aml_value(aml, MADT_ENABLED, 4);
		} else {
			aml_value(aml, MADT_X2APIC | 16 << 8, 4);
			aml_value(aml, i, 4); /* x2APIC id */
			aml_value(aml, MADT_ENABLED, 4);
			aml_value(aml, i, 4); /* processor UID */
		}
	}
	aml_value(aml, MADT_IOAPIC | 12 << 8, 2);
	aml_value(aml, acpi->ioapic_id, 2);
	aml_value(aml, acpi->ioapic_base, 4);
	aml_value(aml, 0, 4); /* its first GSI */
	acpi_table_end(aml, table);
}

static void mcfg_build(struct aml *aml, const struct guest_acpi *acpi)
{
	size_t table = acpi_table_begin(aml, "MCFG", 1);

	aml_value(aml, 0, 8);
	for (unsigned i = 0; i < acpi->segments; i++) {
		aml_value(aml, acpi->segment[i].ecam_base, 8);
		aml_value(aml, i, 2);
		aml_value(aml, 0, 1); /* first bus */
		aml_value(aml, acpi->segment[i].buses - 1, 1);
		aml_value(aml, 0, 4);
	}
	acpi_table_end(aml, table);
}

/* The RSDP's place is fixed and its XSDT's known only at the end: AT points into the buffer. */
static void rsdp_write(uint8_t *at, uint64_t xsdt)
{
	uint32_t length = 36;

	memcpy(at, "RSD PTR ", 8);
	memcpy(at + 9, "POSTRN", 6);
	at[15] = 2;
	memcpy(at + 20, &length, sizeof(length));
	memcpy(at + 24, &xsdt, sizeof(xsdt));
	at[8] = acpi_checksum(at, 20);
	at[32] = acpi_checksum(at, 36);
}

static bool window_ok(uint64_t base, uint64_t size, uint64_t limit)
{
	return !size || range_fits(base, size, limit);
}

static bool segment_ok(const struct guest_segment *s)
{
	const struct guest_iommu *iommu = &s->iommu;

	if (!s->buses || s->buses > 256 || !window_ok(s->ecam_base, s->buses * MIB, UINT64_MAX) ||
	    !window_ok(s->io_base, s->io_size, UINT16_MAX + UINT64_C(1)) ||
	    !window_ok(s->mem32_base, s->mem32_size, UINT32_MAX + UINT64_C(1)) ||
	    !window_ok(s->mem64_base, s->mem64_size, UINT64_MAX))
		return false;
	return !iommu->present ||
	       (iommu->window_size && iommu->physical_bits <= 64 && iommu->virtual_bits <= 64 &&
		iommu->device_count <= GUEST_IOMMU_DEVICES &&
		window_ok(iommu->window, iommu->window_size, UINT64_MAX));
}

static int acpi_check(const struct guest_acpi *acpi)
{
	if (!acpi->cpus || acpi->cpus > CPUS_MAX || acpi->sleep_type_s5 > 7 ||
	    acpi->ioapic_base > UINT32_MAX || acpi->acpi_regs_base > UINT16_MAX - 2 ||
	    !acpi->segments || acpi->segments > GUEST_SEGMENTS_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < acpi->segments; i++)
		if (!segment_ok(&acpi->segment[i]))
			return -EINVAL;
	return 0;
}

/* Guest physical address of the next table. */
static uint64_t table_next(struct aml *aml)
{
	zeros_to(aml, align_up(aml->len, TABLE_ALIGN));
	return GUEST_RSDP + aml->len;
}

static void tables_build(struct aml *aml, const struct guest_acpi *acpi)
{
	uint64_t table[TABLES_MAX], dsdt, xsdt;
	unsigned count = 0;
	size_t begin;

	zeros_to(aml, 36); /* the RSDP, written last */
	dsdt = table_next(aml);
	dsdt_build(aml, acpi);
	table[count++] = table_next(aml);
	fadt_build(aml, acpi, dsdt);
	table[count++] = table_next(aml);
	madt_build(aml, acpi);
	table[count++] = table_next(aml);
	mcfg_build(aml, acpi);
	if (guest_acpi_has_iommu(acpi)) {
		table[count++] = table_next(aml);
		ivrs_build(aml, acpi);
	}
	xsdt = table_next(aml);
	begin = acpi_table_begin(aml, "XSDT", 1);
	for (unsigned i = 0; i < count; i++)
		aml_value(aml, table[i], 8);
	acpi_table_end(aml, begin);
	if (!aml->full)
		rsdp_write(aml->buf, xsdt);
}

int guest_acpi_build(const struct guest_acpi *acpi)
{
	struct aml aml = {.size = ACPI_AREA};
	int ret;

	ret = acpi_check(acpi);
	if (ret)
		return ret;
	aml.buf = malloc(aml.size);
	if (!aml.buf)
		return -ENOMEM;
	tables_build(&aml, acpi);
	if (aml.full) {
		log_error("ACPI tables: %u processors and %u PCI segments do not fit into %llu "
			  "bytes; give the guest fewer",
			  acpi->cpus, acpi->segments, (unsigned long long)aml.size);
		ret = -E2BIG;
	} else {
		ret = guest_memory_write(acpi->memory, GUEST_RSDP, aml.buf, aml.len);
	}
	free(aml.buf);
	return ret;
}
