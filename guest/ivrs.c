// SPDX-License-Identifier: Apache-2.0
/*
 * IVRS: where the AMD IOMMU is, what it can do and whom it translates (AMD I/O Virtualization
 * Technology specification 48882, chapter 5.2).
 *
 * Three blocks describe each IOMMU, the older type first: systems take the last that they know.
 * There are no alias entries (42h, 43h): no bridge to conventional PCI is ever in front of a device
 * here, so that every request carries the id of the function that made it.
 */
#include "guest/aml.h"
#include "postern/bits.h"

#define IVRS_REVISION 2 /* blocks of types 10h, 11h and 40h */

/* IVinfo */
#define IVINFO_EFRSUP  BIT(0)
#define IVINFO_GVASIZE GENMASK(7, 5)
#define IVINFO_PASIZE  GENMASK(14, 8)
#define IVINFO_VASIZE  GENMASK(21, 15)
#define GVASIZE_48     2

/* IVHD flags; the last two only in type 10h */
#define IVHD_IOTLBSUP BIT(4)
#define IVHD_COHERENT BIT(5)
#define IVHD_PREFSUP  BIT(6)
#define IVHD_PPRSUP   BIT(7)
/* IVHD attributes, in types 11h and 40h */
#define IVHD_HATDIS BIT(0)

/* Extended feature register (MMIO 0030h) */
#define EFR_PREFSUP BIT(0)
#define EFR_PPRSUP  BIT(1)
#define EFR_XTSUP   BIT(2)
#define EFR_NXSUP   BIT(3)
#define EFR_GTSUP   BIT(4)
#define EFR_IASUP   BIT(6)
#define EFR_GASUP   BIT(7)
#define EFR_HESUP   BIT(8)
#define EFR_HATS    GENMASK(11, 10)
#define EFR_GATS    GENMASK(13, 12)
#define EFR_GLXSUP  GENMASK(15, 14)
#define EFR_PASMAX  GENMASK(36, 32)

/* The same in a type 10h block's feature reporting field */
#define IVHD_XTSUP  BIT(0)
#define IVHD_NXSUP  BIT(1)
#define IVHD_GTSUP  BIT(2)
#define IVHD_GLXSUP GENMASK(4, 3)
#define IVHD_IASUP  BIT(5)
#define IVHD_GASUP  BIT(6)
#define IVHD_HESUP  BIT(7)
#define IVHD_PASMAX GENMASK(12, 8)
#define IVHD_GATS   GENMASK(29, 28)
#define IVHD_HATS   GENMASK(31, 30)

enum { IVHD_10 = 0x10, IVHD_11 = 0x11, IVHD_40 = 0x40 };
enum { ENTRY_ALL = 0x01, ENTRY_SELECT = 0x02, ENTRY_SPECIAL = 0x48, SPECIAL_IOAPIC = 1 };

#define IVHD_10_SIZE 24u
#define IVHD_40_SIZE 40u /* and of type 11h */
#define ENTRY_SIZE   4u
#define SPECIAL_SIZE 8u

static const struct {
	uint64_t efr, ivhd;
} feature_map[] = {
	{EFR_XTSUP, IVHD_XTSUP},   {EFR_NXSUP, IVHD_NXSUP},   {EFR_GTSUP, IVHD_GTSUP},
	{EFR_GLXSUP, IVHD_GLXSUP}, {EFR_IASUP, IVHD_IASUP},   {EFR_GASUP, IVHD_GASUP},
	{EFR_HESUP, IVHD_HESUP},   {EFR_PASMAX, IVHD_PASMAX}, {EFR_GATS, IVHD_GATS},
	{EFR_HATS, IVHD_HATS},
};

static uint64_t ivhd_features(uint64_t efr)
{
	uint64_t features = 0;

	for (size_t i = 0; i < ARRAY_SIZE(feature_map); i++)
		features |= FIELD_PREP(feature_map[i].ivhd, FIELD_GET(feature_map[i].efr, efr));
	return features;
}

/* Whom it translates, with no DTE settings. */
static void ivhd_devices(struct aml *aml, const struct guest_iommu *iommu)
{
	if (!iommu->device_count)
		aml_value(aml, ENTRY_ALL, ENTRY_SIZE);
	for (unsigned i = 0; i < iommu->device_count; i++) {
		aml_value(aml, ENTRY_SELECT, 1);
		aml_value(aml, iommu->device[i], 2);
		aml_value(aml, 0, 1);
	}
}

static void ivhd_block(struct aml *aml, const struct guest_acpi *acpi, unsigned segment,
		       uint8_t type)
{
	const struct guest_iommu *iommu = &acpi->segment[segment].iommu;
	uint64_t efr = iommu->efr, flags = IVHD_COHERENT;
	unsigned entries = (iommu->device_count ? iommu->device_count : 1) * ENTRY_SIZE +
			   (iommu->ioapic_devid ? SPECIAL_SIZE : 0);

	if (iommu->iotlb_sup)
		flags |= IVHD_IOTLBSUP;
	if (type == IVHD_10)
		flags |= (efr & EFR_PREFSUP ? IVHD_PREFSUP : 0) |
			 (efr & EFR_PPRSUP ? IVHD_PPRSUP : 0);
	aml_value(aml, type, 1);
	aml_value(aml, flags, 1);
	aml_value(aml, (type == IVHD_10 ? IVHD_10_SIZE : IVHD_40_SIZE) + entries, 2);
	aml_value(aml, iommu->devid, 2);
	aml_value(aml, iommu->capability, 2);
	aml_value(aml, iommu->window, 8);
	aml_value(aml, segment, 2);
	aml_value(aml, 0, 2); /* MSI number 0, UnitID 0 */
	if (type == IVHD_10) {
		aml_value(aml, ivhd_features(efr), 4);
	} else {
		/* Attributes: no counters, MsiNumPPR 0 */
		aml_value(aml, iommu->no_host_tables ? IVHD_HATDIS : 0, 4);
		aml_value(aml, efr, 8);
		aml_value(aml, iommu->efr2, 8);
	}
	ivhd_devices(aml, iommu);
	if (!iommu->ioapic_devid)
		return;
	/* The IOAPIC's interrupts come from the device that stands for its chip. */
	aml_value(aml, ENTRY_SPECIAL, 4);
	aml_value(aml, acpi->ioapic_id, 1);
	aml_value(aml, iommu->ioapic_devid, 2);
	aml_value(aml, SPECIAL_IOAPIC, 1);
}

/* All units are alike where the header speaks for all: in their address sizes. */
static const struct guest_iommu *first_iommu(const struct guest_acpi *acpi)
{
	unsigned i = 0;

	while (!acpi->segment[i].iommu.present)
		i++;
	return &acpi->segment[i].iommu;
}

void ivrs_build(struct aml *aml, const struct guest_acpi *acpi)
{
	const struct guest_iommu *first = first_iommu(acpi);
	size_t table = acpi_table_begin(aml, "IVRS", IVRS_REVISION);

	aml_value(aml,
		  IVINFO_EFRSUP | FIELD_PREP(IVINFO_GVASIZE, GVASIZE_48) |
			  FIELD_PREP(IVINFO_PASIZE, first->physical_bits) |
			  FIELD_PREP(IVINFO_VASIZE, first->virtual_bits),
		  4);
	aml_value(aml, 0, 8);
	for (unsigned i = 0; i < acpi->segments; i++) {
		if (!acpi->segment[i].iommu.present)
			continue;
		ivhd_block(aml, acpi, i, IVHD_10);
		ivhd_block(aml, acpi, i, IVHD_11);
		ivhd_block(aml, acpi, i, IVHD_40);
	}
	acpi_table_end(aml, table);
}
