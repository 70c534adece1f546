// SPDX-License-Identifier: Apache-2.0
/*
 * What a guest is shown of an assigned device's configuration space (PCI Express Base 5.0 chapter
 * 7). Tables say what is emulated, passed through or hidden; anything in no capability reads as 0.
 *
 * The device's own structures are not trusted: chains are followed once through, offsets and
 * lengths are checked, and a capability that overlaps another is hidden.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#include "devices/vfio/internal.h"

/* A 16-bit register of a capability. Bits that no mask names are shown as they were at start. */
struct config_field {
	uint8_t offset;
	uint16_t hide;	/* read as 0 */
	uint16_t live;	/* read from the device */
	uint16_t pass;	/* written to the device */
	uint16_t clear; /* of these: write 1 to clear */
};

enum config_policy {
	CONFIG_HIDE,
	CONFIG_READ_ONLY, /* as it was at start */
	CONFIG_LIVE,	  /* read from the device, not written */
	CONFIG_FIELDS,
	CONFIG_MSI,
	CONFIG_MSIX,
	CONFIG_EXPRESS,
};

struct config_rule {
	uint16_t id;
	enum config_policy policy;
	uint8_t length; /* 0: worked out */
	const struct config_field *field;
	unsigned fields;
};

/* PME is not delivered to a guest: neither offered nor enabled. */
static const struct config_field pm_fields[] = {
	{.offset = PCI_PM_PMC, .hide = PCI_PM_CAP_PME_MASK},
	{.offset = PCI_PM_CTRL,
	 .hide = PCI_PM_CTRL_PME_ENABLE | PCI_PM_CTRL_PME_STATUS,
	 .live = 0xffff & ~(PCI_PM_CTRL_PME_ENABLE | PCI_PM_CTRL_PME_STATUS),
	 .pass = PCI_PM_CTRL_STATE_MASK},
};

/*
 * What the card says of itself (PCI 3.0 appendix I), read through the device. Bit 15 of the address
 * asks for a write, and what is written stays for the card's next owner: it is never set, so that
 * a guest's write is a read and, for its driver, one that does not end.
 */
static const struct config_field vpd_fields[] = {
	{.offset = PCI_VPD_ADDR,
	 .live = PCI_VPD_ADDR_F | PCI_VPD_ADDR_MASK,
	 .pass = PCI_VPD_ADDR_MASK,
	 .clear = PCI_VPD_ADDR_F},
	{.offset = PCI_VPD_DATA, .live = 0xffff},
	{.offset = PCI_VPD_DATA + 2, .live = 0xffff},
};

static const struct config_field af_fields[] = {
	{.offset = PCI_AF_CTRL, .live = 0xff00, .pass = PCI_AF_CTRL_FLR},
};

/*
 * Errors are the host's to handle, so that their reporting cannot be enabled. Phantom functions
 * would use requester ids that are not the device's. Link registers are shown and not written: the
 * link is the host's. LTR and OBFF need a partner upstream that the guest does not have.
 */
static const struct config_field express_fields[] = {
	{.offset = PCI_EXP_FLAGS, .hide = PCI_EXP_FLAGS_TYPE | PCI_EXP_FLAGS_SLOT},
	{.offset = PCI_EXP_DEVCAP, .hide = PCI_EXP_DEVCAP_PHANTOM},
	{.offset = PCI_EXP_DEVCTL,
	 .live = 0xffff,
	 .pass = PCI_EXP_DEVCTL_RELAX_EN | PCI_EXP_DEVCTL_PAYLOAD | PCI_EXP_DEVCTL_NOSNOOP_EN |
		 PCI_EXP_DEVCTL_READRQ | PCI_EXP_DEVCTL_BCR_FLR},
	{.offset = PCI_EXP_DEVSTA, .live = 0xffff, .pass = 0x000f, .clear = 0x000f},
	{.offset = PCI_EXP_LNKCTL, .live = 0xffff},
	{.offset = PCI_EXP_LNKSTA, .live = 0xffff},
	/* Version 2 and later. */
	{.offset = PCI_EXP_DEVCAP2, .hide = PCI_EXP_DEVCAP2_LTR | PCI_EXP_DEVCAP2_ARI},
	{.offset = PCI_EXP_DEVCAP2 + 2, .hide = PCI_EXP_DEVCAP2_OBFF_MASK >> 16},
	{.offset = PCI_EXP_DEVCTL2, .live = 0xffff},
	{.offset = PCI_EXP_LNKCTL2, .live = 0xffff},
	{.offset = PCI_EXP_LNKSTA2, .live = 0xffff},
};

#define EXPRESS_LENGTH_V1 0x14u
#define EXPRESS_LENGTH_V2 0x3cu

/* Standard capabilities that are shown; all others are hidden. */
static const struct config_rule rules[] = {
	{PCI_CAP_ID_PM, CONFIG_FIELDS, PCI_PM_SIZEOF, pm_fields, ARRAY_SIZE(pm_fields)},
	{PCI_CAP_ID_VPD, CONFIG_FIELDS, PCI_CAP_VPD_SIZEOF, vpd_fields, ARRAY_SIZE(vpd_fields)},
	{PCI_CAP_ID_MSI, CONFIG_MSI, 0, NULL, 0},
	{PCI_CAP_ID_VNDR, CONFIG_LIVE, 0, NULL, 0},
	{PCI_CAP_ID_SSVID, CONFIG_READ_ONLY, 8, NULL, 0},
	{PCI_CAP_ID_EXP, CONFIG_EXPRESS, 0, express_fields, ARRAY_SIZE(express_fields)},
	{PCI_CAP_ID_MSIX, CONFIG_MSIX, PCI_CAP_MSIX_SIZEOF, NULL, 0},
	{PCI_CAP_ID_AF, CONFIG_FIELDS, PCI_CAP_AF_SIZEOF, af_fields, ARRAY_SIZE(af_fields)},
};

/* Extended capabilities that are hidden; all others are shown as they were at start. */
static const uint16_t extended_hidden[] = {
	PCI_EXT_CAP_ID_ERR,   PCI_EXT_CAP_ID_ARI,	   PCI_EXT_CAP_ID_ATS,
	PCI_EXT_CAP_ID_SRIOV, PCI_EXT_CAP_ID_MRIOV,	   PCI_EXT_CAP_ID_PRI,
	PCI_EXT_CAP_ID_REBAR, PCI_EXT_CAP_ID_TPH,	   PCI_EXT_CAP_ID_LTR,
	PCI_EXT_CAP_ID_PASID, PCI_EXT_CAP_ID_DPC,	   PCI_EXT_CAP_ID_L1SS,
	PCI_EXT_CAP_ID_PTM,   0x24 /* VF Resizable BAR */, 0x2e /* DOE */,
	0x30 /* IDE */,
};

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) | (uint32_t)get16(p + 2) << 16;
}

static void put16(uint8_t *p, uint16_t value)
{
	p[0] = (uint8_t)value;
	p[1] = (uint8_t)(value >> 8);
}

static void put32(uint8_t *p, uint32_t value)
{
	put16(p, (uint16_t)value);
	put16(p + 2, (uint16_t)(value >> 16));
}

static const struct config_rule *rule_of(uint8_t id)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rules); i++) {
		if (rules[i].id == id)
			return &rules[i];
	}
	return NULL;
}

static unsigned capability_length(const struct config_rule *rule, const uint8_t *cap, unsigned room)
{
	if (rule->length)
		return rule->length;
	if (room < 4)
		return 4; /* does not fit: the caller sees that */
	switch (rule->policy) {
	case CONFIG_MSI:
		return get16(cap + PCI_MSI_FLAGS) & PCI_MSI_FLAGS_64BIT ? 14 : 10;
	case CONFIG_EXPRESS:
		return (get16(cap + PCI_EXP_FLAGS) & PCI_EXP_FLAGS_VERS) >= 2 ? EXPRESS_LENGTH_V2
									      : EXPRESS_LENGTH_V1;
	default: /* a vendor's own says so itself */
		return cap[2] < 3 ? 3 : cap[2];
	}
}

static void plan_fields(struct vfio_config *config, unsigned cap, unsigned length,
			const struct config_rule *rule)
{
	for (unsigned i = 0; i < rule->fields; i++) {
		const struct config_field *f = &rule->field[i];
		unsigned at = cap + f->offset;

		if (f->offset + 2u > length)
			continue;
		put16(&config->image[at], get16(&config->image[at]) & (uint16_t)~f->hide);
		put16(&config->from_device[at], f->live);
		put16(&config->to_device[at], f->pass);
		put16(&config->clears[at], f->clear);
	}
}

/* The capability at CAP, of LENGTH bytes, is in the image; make it what the guest may have. */
static void plan_capability(struct vfio_config *config, unsigned cap, unsigned length,
			    const struct config_rule *rule)
{
	uint8_t *image = &config->image[cap], *writable = &config->writable[cap];

	switch (rule->policy) {
	case CONFIG_LIVE:
		memset(&config->from_device[cap + 2], 0xff, length - 2);
		break;
	case CONFIG_MSI:
		/* One vector, no mask bits: the rest of the control register reads as 0. */
		put16(image + PCI_MSI_FLAGS, get16(image + PCI_MSI_FLAGS) & PCI_MSI_FLAGS_64BIT);
		memset(image + PCI_MSI_ADDRESS_LO, 0, length - PCI_MSI_ADDRESS_LO);
		put16(writable + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE);
		put32(writable + PCI_MSI_ADDRESS_LO, 0xfffffffc);
		if (length == 14)
			put32(writable + PCI_MSI_ADDRESS_HI, 0xffffffff);
		put16(writable + length - 2, 0xffff);
		config->msi = cap;
		break;
	case CONFIG_MSIX:
		put16(image + PCI_MSIX_FLAGS, get16(image + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE);
		config->msix = cap;
		break;
	case CONFIG_EXPRESS:
		plan_fields(config, cap, length, rule);
		/* It hangs on the root bus, with no port above it. */
		put16(image + PCI_EXP_FLAGS,
		      (uint16_t)(get16(image + PCI_EXP_FLAGS) | PCI_EXP_TYPE_RC_END << 4));
		config->express = cap;
		break;
	case CONFIG_FIELDS:
		plan_fields(config, cap, length, rule);
		if (rule->id == PCI_CAP_ID_AF)
			config->af = cap;
		else if (rule->id == PCI_CAP_ID_PM)
			config->pm = cap;
		break;
	case CONFIG_HIDE:
	case CONFIG_READ_ONLY:
		break;
	}
}

static void plan_capabilities(struct vfio_config *config, const uint8_t *hw)
{
	bool used[256] = {false}, has_msix = false;
	uint8_t order[48], *link = &config->image[PCI_CAPABILITY_LIST];
	unsigned count = 0;

	if (!(get16(hw + PCI_STATUS) & PCI_STATUS_CAP_LIST))
		return;
	for (unsigned at = hw[PCI_CAPABILITY_LIST] & ~3u;
	     at >= PCI_STD_HEADER_SIZEOF && count < ARRAY_SIZE(order) && !used[at];
	     at = hw[at + 1] & ~3u) {
		used[at] = true;
		order[count++] = (uint8_t)at;
		has_msix |= hw[at] == PCI_CAP_ID_MSIX && at + PCI_CAP_MSIX_SIZEOF <= sizeof(used);
	}

	memset(used, 0, sizeof(used));
	for (unsigned i = 0; i < count; i++) {
		unsigned at = order[i], length, room = (unsigned)sizeof(used) - at;
		const struct config_rule *rule = rule_of(hw[at]);
		bool free = true;

		if (!rule)
			continue;
		if (rule->policy == CONFIG_MSI && has_msix) {
			config->msi_hidden = true;
			continue;
		}
		length = capability_length(rule, hw + at, room);
		if (length > room)
			continue;
		for (unsigned j = at; j < at + length; j++)
			free &= !used[j];
		/* One of a kind: those that are emulated have one state. */
		if (!free || (rule->policy == CONFIG_MSIX && config->msix) ||
		    (rule->policy == CONFIG_MSI && config->msi))
			continue;
		memset(&used[at], true, length);
		memcpy(&config->image[at], hw + at, length);
		plan_capability(config, at, length, rule);
		*link = (uint8_t)at;
		link = &config->image[at + 1];
		*link = 0;
	}
	if (config->image[PCI_CAPABILITY_LIST])
		put16(&config->image[PCI_STATUS], PCI_STATUS_CAP_LIST);
}

static bool extended_shown(uint16_t id)
{
	for (unsigned i = 0; i < ARRAY_SIZE(extended_hidden); i++) {
		if (id == extended_hidden[i])
			return false;
	}
	return id != 0;
}

static void plan_extended(struct vfio_config *config, const uint8_t *hw, unsigned size)
{
	bool start[PCI_CONFIG_SIZE] = {false};
	uint16_t order[(PCI_CONFIG_SIZE - 256) / 8];
	unsigned count = 0, previous = 0;

	for (unsigned at = 256;
	     at >= 256 && at + 4 <= size && count < ARRAY_SIZE(order) && !start[at];
	     at = get32(hw + at) >> 20 & ~3u) {
		uint32_t header = get32(hw + at);

		if (header == 0 || header == UINT32_MAX)
			break;
		start[at] = true;
		order[count++] = (uint16_t)at;
	}

	for (unsigned i = 0; i < count; i++) {
		unsigned at = order[i], end = at + 4;
		uint32_t header = get32(hw + at);

		if (!extended_shown((uint16_t)header))
			continue;
		/* Their lengths are not all known, but each ends where the next one starts. */
		while (end < size && !start[end])
			end++;
		memcpy(&config->image[at], hw + at, end - at);
		put32(&config->image[at], header & 0xfffff);
		if (!previous && at != 256) /* the list starts at 100h: the null capability */
			put32(&config->image[256], at << 20);
		if (previous)
			put32(&config->image[previous], get32(&config->image[previous]) | at << 20);
		previous = at;
	}
}

int vfio_config_plan(struct vfio_config *config, const uint8_t *hw, unsigned size)
{
	memset(config, 0, sizeof(*config));
	config->size = size;
	if (get16(hw + PCI_VENDOR_ID) == 0xffff)
		return -ENODEV;
	if ((hw[PCI_HEADER_TYPE] & 0x7f) != PCI_HEADER_TYPE_NORMAL)
		return -EINVAL;
	/* Errors that the device saw. The pin's status comes with the pin, if it is shown. */
	put16(&config->from_device[PCI_STATUS],
	      0xffff & ~(PCI_STATUS_CAP_LIST | PCI_STATUS_INTERRUPT));
	plan_capabilities(config, hw);
	if (size > 256)
		plan_extended(config, hw, size);
	return 0;
}
