// SPDX-License-Identifier: Apache-2.0
/*
 * One feature set, four ways to read it: the IVHD blocks of types 10h, 11h and 40h, EFR and EFR2 in
 * the register window, and the PCI capability. Read as 48882 lays them out (sections 3.2, 3.4 and
 * 5.2), for every set that the engine takes, they say the same.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/amd_iommu/amd_viommu.h"
#include "postern/bits.h"
#include "vmm/machine.h"

#define WINDOW	 UINT64_C(0xfeb80000)
#define ECAM	 UINT64_C(0xe0000000)
#define DEVFN	 PCI_DEVFN(1, 0)
#define RAM_SIZE (2 * MIB)

static struct bus mmio, pio;
static struct guest_memory memory;
static struct msi_sink sink;

struct unit {
	struct pci_root *root;
	struct iommufd *ctx;
	struct amd_viommu *front;
	struct guest_acpi acpi;
};

static void set_up(void)
{
	memory.count = 1;
	memory.region[0] =
		(struct guest_region){.size = RAM_SIZE, .host = calloc(1, RAM_SIZE), .fd = -1};
	bus_init(&mmio);
	bus_init(&pio);
	log_set_level((enum log_level) - 1);
}

static void tear_down(void)
{
	free(memory.region[0].host);
}

TestSuite(viommu_features, .init = set_up, .fini = tear_down);

/* The vIOMMU that is asked for WANTED where the host offers HOST. */
static int unit_new(struct unit *u, const struct amd_iommu_features *host,
		    const struct amd_iommu_features *wanted)
{
	const struct pci_windows windows = {.ecam_base = ECAM, .buses = 1};
	struct amd_viommu_config config = {
		.window = WINDOW, .mmio = &mmio, .devfn = DEVFN, .sink = &sink};
	int rc;

	memset(u, 0, sizeof(*u));
	cr_assert_eq(pci_root_new(&u->root, &mmio, &pio, &windows), 0);
	cr_assert_eq(iommufd_open_soft(&u->ctx, &memory), 0);
	rc = iommufd_soft_set_hw(u->ctx, host, DEVFN);
	if (!rc)
		rc = viommu_iommufd_port_new(u->ctx, wanted, &config.port, NULL);
	if (rc)
		return rc;
	config.root = u->root;
	cr_assert_eq(amd_viommu_new(&config, &u->front), 0);
	u->acpi = (struct guest_acpi){.memory = &memory, .cpus = 1, .segments = 1};
	u->acpi.segment[0] = (struct guest_segment){.ecam_base = ECAM, .buses = 1};
	viommu_describe(u->front, &config, 0, &u->acpi.segment[0].iommu);
	cr_assert_eq(guest_acpi_build(&u->acpi), 0);
	return 0;
}

static void unit_free(struct unit *u)
{
	pci_root_free(u->root);
	amd_viommu_free(u->front);
	iommufd_close(u->ctx);
}

static uint64_t get(const uint8_t *p, unsigned width)
{
	uint64_t value = 0;

	memcpy(&value, p, width);
	return value;
}

static const uint8_t *at(uint64_t gpa)
{
	const uint8_t *p = guest_memory_at(&memory, gpa, 36);

	cr_assert_not_null(p);
	return p;
}

static const uint8_t *ivrs(void)
{
	const uint8_t *xsdt = at(get(at(GUEST_RSDP) + 24, 8));

	for (uint64_t i = 36; i < get(xsdt + 4, 4); i += 8) {
		const uint8_t *t = at(get(xsdt + i, 8));

		if (!memcmp(t, "IVRS", 4))
			return t;
	}
	cr_assert(false, "no IVRS");
	return NULL;
}

static uint64_t reg(uint64_t offset)
{
	uint64_t value;

	cr_assert_eq(bus_read(&mmio, WINDOW + offset, 8, &value), 0);
	return value;
}

static uint32_t config_space(unsigned offset)
{
	uint64_t value;

	cr_assert_eq(bus_read(&mmio, ECAM + (DEVFN << 12) + offset, 4, &value), 0);
	return (uint32_t)value;
}

static unsigned field(uint64_t value, unsigned high, unsigned low)
{
	return (unsigned)(value >> low & ((1ull << (high - low + 1)) - 1));
}

/* Where the same field lies in a type 10h block's feature reporting and in EFR. */
static const struct {
	const char *name;
	unsigned high, low, efr_high, efr_low;
} reported[] = {
	{"XTSup", 0, 0, 2, 2},	  {"NXSup", 1, 1, 3, 3},     {"GTSup", 2, 2, 4, 4},
	{"GLXSup", 4, 3, 15, 14}, {"IASup", 5, 5, 6, 6},     {"GASup", 6, 6, 7, 7},
	{"HESup", 7, 7, 8, 8},	  {"PASmax", 12, 8, 36, 32}, {"GATS", 29, 28, 13, 12},
	{"HATS", 31, 30, 11, 10},
};

static void check_block(const uint8_t *block, uint64_t efr, uint64_t efr2, unsigned capability,
			uint32_t header)
{
	uint64_t base = (uint64_t)config_space(capability + 8) << 32 |
			(config_space(capability + 4) & ~UINT32_C(1));

	cr_expect_eq(get(block + 4, 2), DEVFN);
	cr_expect_eq(get(block + 6, 2), capability);
	cr_expect_eq(get(block + 8, 8), base, "MMIO base of type %02xh", block[0]);
	cr_expect_eq(base, WINDOW);
	cr_expect_eq(field(block[1], 4, 4), field(header, 24, 24), "IotlbSup");
	cr_expect_eq(field(get(block + 18, 2), 4, 0), field(config_space(capability + 16), 4, 0),
		     "MSI number");
	if (block[0] == 0x10) {
		cr_expect_eq(field(block[1], 6, 6), field(efr, 0, 0), "PreFSup");
		cr_expect_eq(field(block[1], 7, 7), field(efr, 1, 1), "PPRSup");
		for (size_t i = 0; i < ARRAY_SIZE(reported); i++)
			cr_expect_eq(field(get(block + 20, 4), reported[i].high, reported[i].low),
				     field(efr, reported[i].efr_high, reported[i].efr_low), "%s",
				     reported[i].name);
		return;
	}
	cr_expect_eq(field(block[1], 7, 6), 0, "reserved flags of type %02xh", block[0]);
	cr_expect_eq(get(block + 24, 8), efr, "EFR of type %02xh", block[0]);
	cr_expect_eq(get(block + 32, 8), efr2, "EFR2 of type %02xh", block[0]);
}

static void check_agreement(const struct amd_iommu_features *shown)
{
	const uint8_t *t = ivrs();
	const uint64_t efr = reg(0x30), efr2 = reg(0x1a0);
	unsigned capability = config_space(0x34) & 0xff, types = 0;
	uint32_t header, info, ivinfo = (uint32_t)get(t + 36, 4);

	while (capability && (config_space(capability) & 0xff) != 0x0f)
		capability = config_space(capability) >> 8 & 0xff;
	cr_assert(capability, "no IOMMU capability");
	header = config_space(capability);
	info = config_space(capability + 16);

	cr_expect_eq(efr, shown->efr);
	cr_expect_eq(efr2, shown->efr2);
	cr_expect_eq(field(header, 18, 16), 3, "capability type");
	cr_expect_eq(field(header, 27, 27), 1, "EFRSup");
	cr_expect_eq(field(header, 24, 24), shown->iotlb_sup, "IotlbSup");
	cr_expect_eq(field(ivinfo, 0, 0), 1, "EFRSup");
	/* GVASize, PASize, VASize, HtAtsResv are laid out alike. */
	cr_expect_eq(field(ivinfo, 22, 5), field(info, 22, 5), "address sizes");
	cr_expect_eq((uint32_t)reg(0x150), info, "0150h mirrors the capability");
	for (uint64_t i = 48; i < get(t + 4, 4); i += get(t + i + 2, 2)) {
		types = types << 8 | t[i];
		check_block(t + i, efr, efr2, capability, header);
	}
	cr_expect_eq(types, 0x101140, "types in the order of their age: %#x", types);
}

static const struct amd_iommu_features profiles[] = {
	{.efr = AMD_IOMMU_EFR_DEFAULT, .efr2 = AMD_IOMMU_EFR2_DEFAULT},
	{.efr = AMD_IOMMU_EFR_V2, .efr2 = AMD_IOMMU_EFR2_V2, .iotlb_sup = true},
	{.efr = AMD_IOMMU_EFR_FULL, .efr2 = AMD_IOMMU_EFR2_FULL, .iotlb_sup = true},
};

/* The profiles of --viommu, and each of them with any one bit less or more. */
Test(viommu_features, every_set_is_told_alike)
{
	unsigned taken = 0;

	for (size_t i = 0; i < ARRAY_SIZE(profiles) * 129; i++) {
		struct amd_iommu_features f = profiles[i / 129];
		unsigned bit = i % 129;
		struct unit u;

		if (bit < 64)
			f.efr ^= BIT(bit);
		else if (bit < 128)
			f.efr2 ^= BIT(bit - 64);
		if (!unit_new(&u, &f, &f)) {
			taken++;
			check_agreement(&f);
		} else {
			cr_expect_neq(bit, 128, "profile %zu", i / 129);
		}
		unit_free(&u);
	}
	/* Each profile, less any of its features that nothing else depends on. */
	cr_expect_geq(taken, 30, "%u sets", taken);
}

/* Of a host that has less than was asked for, the tables promise no more than the registers. */
Test(viommu_features, what_the_host_lacks_is_nowhere_shown)
{
	struct unit u;

	cr_assert_eq(unit_new(&u, &profiles[0], &profiles[2]), 0);
	check_agreement(&profiles[0]);
	unit_free(&u);
}
