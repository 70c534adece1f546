// SPDX-License-Identifier: Apache-2.0
/* The unit's PCI function, through its configuration space. */
#include "tests/conformance/amd_iommu/suite.h"

#define CAP_HEADER (CAP + 0x00)
#define CAP_LOW	   (CAP + 0x04)
#define CAP_HIGH   (CAP + 0x08)
#define CAP_RANGE  (CAP + 0x0c)
#define CAP_MISC0  (CAP + 0x10)
#define CAP_MISC1  (CAP + 0x14)

static const struct conformance_case cases[] = {
	CASE("pci.class", "2.1", 0, "class code 080600h: base system peripheral, IOMMU",
	     CFG(4, 0x08, 0xffffff00, 0x08060000)),
	CASE("pci.header", "2.1", 0, "header type 0", CFG(1, 0x0e, 0x7f, 0)),
	CASE("pci.no_bars", "2.1", 0, "no BAR takes an address", CFG_WR(4, 0x10, 0xffffffff),
	     CFG_WR(4, 0x14, 0xffffffff), CFG_WR(4, 0x24, 0xffffffff), CFG(4, 0x10, ~0u, 0),
	     CFG(4, 0x14, ~0u, 0), CFG(4, 0x24, ~0u, 0)),
	CASE("pci.no_pin", "2.3", 0, "no INTx pin", CFG(1, 0x3d, 0xff, 0)),
	CASE("pci.capability_list", "2.1", 0, "the list starts at the IOMMU capability, then MSI",
	     CFG(2, 0x06, 0x10, 0x10), CFG(1, 0x34, 0xff, CAP), CFG(1, CAP_HEADER + 1, 0xff, 0x58),
	     CFG(1, 0x58, 0xff, 0x05)),
	CASE("pci.cap.header", "2.2", 0, "id 0Fh, type 011b, revision 00001b",
	     CFG(4, CAP_HEADER, 0xff00ff, 0x0b000f)),
	CASE("pci.cap.iotlb", "2.2", 0, "IotlbSup 0: ATS is not offered",
	     CFG(4, CAP_HEADER, 1 << 24, 0)),
	CASE("pci.cap.efr", "2.2", 0, "EFRSup 1: registers 30h and 1A0h are there",
	     CFG(4, CAP_HEADER, 1 << 27, 1 << 27)),
	CASE("pci.cap.reserved", "2.2", 0, "header bits 31:29 are 0",
	     CFG(4, CAP_HEADER, 0xe0000000, 0)),
	CASE("pci.cap.read_only", "2.2", 0, "the header does not take writes",
	     CFG_WR(4, CAP_HEADER, 0xffffffff), CFG(4, CAP_HEADER, 0xff00ff, 0x0b000f),
	     CFG(4, CAP_HEADER, 1 << 24, 0)),
	CASE("pci.cap.base", "2.2", 0, "the base registers name the window, enabled",
	     CFG(4, CAP_LOW, 0xffffc001, (uint32_t)WINDOW | 1), CFG(4, CAP_HIGH, ~0u, 0)),
	CASE("pci.cap.locked", "2.2", 0, "an enabled base is locked",
	     CFG_WR(4, CAP_LOW, 0xd0000000), CFG_WR(4, CAP_HIGH, 0x12),
	     CFG(4, CAP_LOW, 0xffffc001, (uint32_t)WINDOW | 1), CFG(4, CAP_HIGH, ~0u, 0),
	     RD(R_EFR, 0x8cc)),
	CASE("pci.cap.range", "2.2", 0, "no range information", CFG(4, CAP_RANGE, 1 << 7, 0)),
	CASE("pci.cap.misc0", "2.2", 0, "GVAsize 48, PAsize 52, VAsize 64, one message",
	     CFG(4, CAP_MISC0, ~0u, 2u << 5 | 52u << 8 | 64u << 15)),
	CASE("pci.cap.misc1", "2.2", 0, "MsiNumGA 0", CFG(4, CAP_MISC1, ~0u, 0)),
	CASE("pci.msi.64bit", "2.1", 0, "MSI with 64-bit address", CFG(2, 0x5a, 0x80, 0x80)),
	CASE("pci.msi.message", "2.3", 43, "the MSI capability carries the unit's interrupt",
	     CFG_WR(4, 0x5c, 0xfee01000), CFG_WR(4, 0x60, 0), CFG_WR(2, 0x64, 0x41),
	     CFG_WR(2, 0x5a, 1), UP(C_COMWAIT_INT), CMD(CWAIT(CWAIT_I, 0), 0),
	     MESSAGE(0xfee01000, 0x41)),
	CASE("pci.msi.reset", "2.3", 36, "a reset turns the MSI capability off",
	     CFG_WR(4, 0x5c, 0xfee01000), CFG_WR(2, 0x64, 0x41), CFG_WR(2, 0x5a, 1), RESET,
	     CFG(2, 0x5a, 1, 0), UP(C_COMWAIT_INT), CMD(CWAIT(CWAIT_I, 0), 0)),
	CASE("pci.msi.off", "2.3", 0, "MSI disabled: no message", CFG_WR(4, 0x5c, 0xfee01000),
	     CFG_WR(2, 0x64, 0x41), UP(C_COMWAIT_INT), CMD(CWAIT(CWAIT_I, 0), 0),
	     STATUS(S_COMWAIT, S_COMWAIT)),
	CASE("pci.msi.not_with_xt", "2.3", 0, "IntCapXTEn 1: the MSI capability is ignored",
	     CFG_WR(4, 0x5c, 0xfee01000), CFG_WR(2, 0x64, 0x41), CFG_WR(2, 0x5a, 1),
	     WR(R_XT_GENERAL, XT(3, 0, 0, 0x55)), UP(C_COMWAIT_INT | C_INT_CAP_XT_EN),
	     CMD(CWAIT(CWAIT_I, 0), 0), MESSAGE(MSI_ADDR(3, 0), 0x55)),
};

CASE_GROUP(pci_cases, cases);
