// SPDX-License-Identifier: Apache-2.0
/* What a guest is shown of a device's configuration space: good chains and bad ones. */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <string.h>

#include "devices/vfio/internal.h"

static uint8_t hw[PCI_CONFIG_SIZE];
static struct vfio_config c;

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) | (uint32_t)get16(p + 2) << 16;
}

static void put16(uint8_t *p, unsigned value)
{
	p[0] = (uint8_t)value;
	p[1] = (uint8_t)(value >> 8);
}

static void put32(uint8_t *p, uint32_t value)
{
	put16(p, value & 0xffff);
	put16(p + 2, value >> 16);
}

static void cap(unsigned at, uint8_t id, uint8_t next)
{
	hw[at] = id;
	hw[at + 1] = next;
}

static void extended(unsigned at, uint16_t id, unsigned next)
{
	put32(hw + at, id | 1u << 16 | next << 20);
}

/* As an NVMe controller: PM 40h, MSI 50h, Express 60h, MSI-X b0h; AER 100h, ATS 150h, serial 180h.
 */
static void setup(void)
{
	memset(hw, 0, sizeof(hw));
	put16(hw + PCI_VENDOR_ID, 0x1b36);
	put16(hw + PCI_STATUS, PCI_STATUS_CAP_LIST);
	hw[PCI_CAPABILITY_LIST] = 0x40;
	cap(0x40, PCI_CAP_ID_PM, 0x50);
	put16(hw + 0x42, 0xf803);
	cap(0x50, PCI_CAP_ID_MSI, 0x60);
	put16(hw + 0x52, 0x01ff & ~1u);
	cap(0x60, PCI_CAP_ID_EXP, 0xb0);
	put16(hw + 0x62, 2); /* version 2, endpoint */
	put32(hw + 0x64, PCI_EXP_DEVCAP_FLR | 0x8000);
	put32(hw + 0x60 + PCI_EXP_DEVCAP2, PCI_EXP_DEVCAP2_LTR | 0x1f);
	cap(0xb0, PCI_CAP_ID_MSIX, 0);
	put16(hw + 0xb2, 0xc040);
	put32(hw + 0xb4, 0x2000);
	put32(hw + 0xb8, 0x3000);
	extended(0x100, PCI_EXT_CAP_ID_ERR, 0x150);
	extended(0x150, PCI_EXT_CAP_ID_ATS, 0x180);
	extended(0x180, PCI_EXT_CAP_ID_DSN, 0x190);
	put32(hw + 0x184, 0x12345678);
	extended(0x190, PCI_EXT_CAP_ID_ACS, 0);
}

TestSuite(vfio_config, .init = setup);

/* The ids of the shown chain, in order; false when it does not end properly. */
static bool chain(const char *expected_hex)
{
	char text[256] = "";
	unsigned at = c.image[PCI_CAPABILITY_LIST], steps = 0;

	for (; at && steps < 48; at = c.image[at + 1], steps++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%02x ", c.image[at]);
	return !at && strcmp(text, expected_hex) == 0;
}

/* Read through the device; never written, whatever else is beside it. */
Test(vfio_config, vital_product_data)
{
	hw[0xb1] = 0xc0;
	cap(0xc0, PCI_CAP_ID_VPD, 0);
	cr_assert_eq(vfio_config_plan(&c, hw, PCI_CONFIG_SIZE), 0);
	cr_assert(chain("01 10 11 03 "));
	cr_assert_eq(c.pm, 0x40);
	cr_assert_eq(get16(&c.from_device[0xc0 + PCI_VPD_ADDR]), 0xffff);
	cr_assert_eq(get32(&c.from_device[0xc0 + PCI_VPD_DATA]), UINT32_MAX);
	cr_assert_eq(get16(&c.to_device[0xc0 + PCI_VPD_ADDR]), PCI_VPD_ADDR_MASK);
	cr_assert_eq(get32(&c.to_device[0xc0 + PCI_VPD_DATA]), 0);
	/* At the very end of the list's space it fits, one step further it would not. */
	setup();
	hw[0xb1] = 0xf8;
	cap(0xf8, PCI_CAP_ID_VPD, 0);
	cr_assert_eq(vfio_config_plan(&c, hw, PCI_CONFIG_SIZE), 0);
	cr_assert(chain("01 10 11 03 "));
	setup();
	hw[0xb1] = 0xfc;
	cap(0xfc, PCI_CAP_ID_VPD, 0);
	cr_assert_eq(vfio_config_plan(&c, hw, PCI_CONFIG_SIZE), 0);
	cr_assert(chain("01 10 11 "));
}

Test(vfio_config, a_good_device)
{
	cr_assert_eq(vfio_config_plan(&c, hw, PCI_CONFIG_SIZE), 0);
	cr_assert(chain("01 10 11 ")); /* MSI gives way to MSI-X */
	cr_assert(c.msi_hidden);
	cr_assert_eq(c.msi, 0);
	cr_assert_eq(c.msix, 0xb0);
	cr_assert_eq(c.express, 0x60);
	cr_assert_eq(c.pm, 0x40);
	/* Nothing of a hidden capability is left. */
	for (unsigned i = 0x50; i < 0x60; i++)
		cr_assert_eq(c.image[i], 0);
	cr_assert_eq(get16(&c.image[0x42]), 0x0003);
	cr_assert_eq(get16(&c.to_device[0x44]), PCI_PM_CTRL_STATE_MASK);
	/* A root complex integrated endpoint that can be reset. */
	cr_assert_eq(get16(&c.image[0x62]), PCI_EXP_TYPE_RC_END << 4 | 2);
	cr_assert(get32(&c.image[0x64]) & PCI_EXP_DEVCAP_FLR);
	cr_assert(get16(&c.to_device[0x68]) & PCI_EXP_DEVCTL_BCR_FLR);
	cr_assert_not(get16(&c.to_device[0x68]) & PCI_EXP_DEVCTL_PHANTOM);
	cr_assert_eq(get32(&c.image[0x60 + PCI_EXP_DEVCAP2]), 0x1f);
	/* MSI-X starts off. */
	cr_assert_eq(get16(&c.image[0xb2]), 0x40);
	cr_assert_eq(get32(&c.image[0xb4]), 0x2000);
}

Test(vfio_config, nothing_of_the_header_is_written_to_the_device)
{
	cr_assert_eq(vfio_config_plan(&c, hw, PCI_CONFIG_SIZE), 0);
	for (unsigned i = 0; i < PCI_STD_HEADER_SIZEOF; i++) {
		cr_assert_eq(c.to_device[i], 0);
		if (i != PCI_STATUS && i != PCI_STATUS + 1)
			cr_assert_eq(c.from_device[i], 0);
	}
	/* Nor of extended space. */
	for (unsigned i = 256; i < PCI_CONFIG_SIZE; i++)
		cr_assert_eq(c.to_device[i], 0);
}

Test(vfio_config, extended_list_is_linked_anew)
{
	cr_assert_eq(vfio_config_plan(&c, hw, PCI_CONFIG_SIZE), 0);
	cr_assert_eq(get32(&c.image[0x100]), 0x180u << 20);
	cr_assert_eq(get32(&c.image[0x150]), 0);
	cr_assert_eq(get32(&c.image[0x180]), PCI_EXT_CAP_ID_DSN | 1u << 16 | 0x190u << 20);
	cr_assert_eq(get32(&c.image[0x184]), 0x12345678);
	cr_assert_eq(get32(&c.image[0x190]), PCI_EXT_CAP_ID_ACS | 1u << 16);

	cr_assert_eq(vfio_config_plan(&c, hw, 256), 0);
	cr_assert_eq(get32(&c.image[0x100]), 0);
}

Test(vfio_config, msi_alone_is_emulated_with_one_vector)
{
	hw[0x61] = 0; /* the chain ends before MSI-X */
	cr_assert_eq(vfio_config_plan(&c, hw, PCI_CONFIG_SIZE), 0);
	cr_assert(chain("01 05 10 "));
	cr_assert_eq(c.msi, 0x50);
	cr_assert_eq(get16(&c.image[0x52]), PCI_MSI_FLAGS_64BIT);
	cr_assert_eq(get16(&c.writable[0x52]), PCI_MSI_FLAGS_ENABLE);
	cr_assert_eq(get32(&c.writable[0x54]), 0xfffffffc);
	cr_assert_eq(get32(&c.writable[0x58]), 0xffffffff);
	cr_assert_eq(get16(&c.writable[0x5c]), 0xffff);
	cr_assert_eq(get16(&c.writable[0x5e]), 0);
	put16(hw + 0x52, 0); /* 32-bit */
	cr_assert_eq(vfio_config_plan(&c, hw, PCI_CONFIG_SIZE), 0);
	cr_assert_eq(get16(&c.writable[0x58]), 0xffff);
	cr_assert_eq(get16(&c.writable[0x5a]), 0);
}

Test(vfio_config, loops_end)
{
	hw[0xb1] = 0x40;
	extended(0x190, PCI_EXT_CAP_ID_ACS, 0x100);
	cr_assert_eq(vfio_config_plan(&c, hw, PCI_CONFIG_SIZE), 0);
	cr_assert(chain("01 10 11 "));
	cr_assert_eq(get32(&c.image[0x190]) >> 20, 0);

	hw[PCI_CAPABILITY_LIST] = 0x40;
	hw[0x41] = 0x40;
	extended(0x100, PCI_EXT_CAP_ID_DSN, 0x100);
	cr_assert_eq(vfio_config_plan(&c, hw, PCI_CONFIG_SIZE), 0);
	cr_assert(chain("01 "));
	cr_assert_eq(get32(&c.image[0x100]), PCI_EXT_CAP_ID_DSN | 1u << 16);
}

Test(vfio_config, pointers_into_nowhere)
{
	hw[PCI_CAPABILITY_LIST] = 0x10; /* into the header */
	extended(0x100, PCI_EXT_CAP_ID_DSN, 0x40);
	cr_assert_eq(vfio_config_plan(&c, hw, PCI_CONFIG_SIZE), 0);
	cr_assert(chain(""));
	cr_assert_eq(get16(&c.image[PCI_STATUS]), 0);

	hw[PCI_CAPABILITY_LIST] = 0xf4;
	cap(0xf4, PCI_CAP_ID_EXP, 0xfc); /* longer than the room */
	put16(hw + 0xf6, 2);
	cap(0xfc, PCI_CAP_ID_MSIX, 0);
	extended(0x100, PCI_EXT_CAP_ID_DSN, 0xffc);
	extended(0xffc, PCI_EXT_CAP_ID_ACS, 0xffc);
	cr_assert_eq(vfio_config_plan(&c, hw, PCI_CONFIG_SIZE), 0);
	cr_assert(chain(""));
	cr_assert_eq(c.express, 0);
	cr_assert_eq(c.msix, 0);
	cr_assert_eq(get32(&c.image[0xffc]), PCI_EXT_CAP_ID_ACS | 1u << 16);
}

Test(vfio_config, overlapping_capabilities)
{
	hw[0x41] = 0x44; /* in the middle of PM */
	cap(0x44, PCI_CAP_ID_MSIX, 0x60);
	cr_assert_eq(vfio_config_plan(&c, hw, PCI_CONFIG_SIZE), 0);
	cr_assert(chain("01 10 11 "));
	cr_assert_eq(c.msix, 0xb0);
}

Test(vfio_config, vendor_capability_lengths)
{
	for (unsigned length = 0; length < 256; length++) {
		hw[PCI_CAPABILITY_LIST] = 0xc0;
		cap(0xc0, PCI_CAP_ID_VNDR, 0);
		hw[0xc2] = (uint8_t)length;
		cr_assert_eq(vfio_config_plan(&c, hw, PCI_CONFIG_SIZE), 0);
		cr_assert(chain(length <= 0x40 ? "09 " : ""));
		cr_assert_eq(c.from_device[0x100], 0);
		cr_assert_eq(c.to_device[0xc2], 0);
	}
}

Test(vfio_config, unknown_is_hidden_and_absence_is_said)
{
	cap(0x40, PCI_CAP_ID_EA, 0x60);
	cr_assert_eq(vfio_config_plan(&c, hw, PCI_CONFIG_SIZE), 0);
	cr_assert(chain("10 11 "));
	hw[PCI_HEADER_TYPE] = PCI_HEADER_TYPE_BRIDGE;
	cr_assert_eq(vfio_config_plan(&c, hw, PCI_CONFIG_SIZE), -EINVAL);
	memset(hw, 0xff, sizeof(hw));
	cr_assert_eq(vfio_config_plan(&c, hw, PCI_CONFIG_SIZE), -ENODEV);
}

Test(vfio_config, any_bytes_do)
{
	uint32_t random = 1;

	for (unsigned round = 0; round < 500; round++) {
		unsigned at, steps;

		for (unsigned i = 0; i < sizeof(hw); i++) {
			random = random * 1664525 + 1013904223;
			hw[i] = (uint8_t)(random >> 24);
		}
		hw[PCI_HEADER_TYPE] = 0;
		put16(hw + PCI_STATUS, PCI_STATUS_CAP_LIST);
		cr_assert_eq(vfio_config_plan(&c, hw, PCI_CONFIG_SIZE), 0);
		for (at = c.image[PCI_CAPABILITY_LIST], steps = 0; at; at = c.image[at + 1])
			cr_assert_lt(steps++, 48);
		for (at = 0x100, steps = 0; at; at = get32(&c.image[at]) >> 20)
			cr_assert_lt(steps++, 480);
	}
}
