// SPDX-License-Identifier: Apache-2.0
/*
 * What a guest did wrong, in words: each kind of error once for each requester, so that a guest
 * that makes nothing but errors writes a number of lines that its devices bound.
 */
#include <stdio.h>

#include "iommufd/amd/internal.h"
#include "postern/log.h"

#define PERMISSION (AMD_EVENT_PR | AMD_EVENT_PE)
#define RESERVED   (AMD_EVENT_PR | AMD_EVENT_RZ)

/* The first that fits: CODE, and of FLAGS those in MASK. Its place is the bit in what was told. */
static const struct {
	unsigned code, mask, flags;
	const char *why;
} kinds[] = {
	{AMD_IO_PAGE_FAULT, AMD_EVENT_I | RESERVED, AMD_EVENT_I | RESERVED,
	 "its remapping entry has reserved bits or a reserved type"},
	{AMD_IO_PAGE_FAULT, AMD_EVENT_I, AMD_EVENT_I,
	 "no remapping entry is valid for it: beyond the table's length, or RemapEn is 0, or "
	 "IntCtl "
	 "aborts"},
	{AMD_IO_PAGE_FAULT, RESERVED, RESERVED, "its page tables have reserved bits set"},
	{AMD_IO_PAGE_FAULT, PERMISSION, PERMISSION,
	 "its device table entry or its page tables do not permit it"},
	{AMD_IO_PAGE_FAULT, AMD_EVENT_PR, AMD_EVENT_PR,
	 "its page tables have a level or a page size that cannot be there"},
	{AMD_IO_PAGE_FAULT, 0, 0, "nothing is mapped there, or its device table entry says TV = 0"},
	{AMD_ILLEGAL_DEV_TABLE_ENTRY, AMD_EVENT_I | AMD_EVENT_RZ, AMD_EVENT_I | AMD_EVENT_RZ,
	 "the interrupt half of its device table entry has reserved bits set"},
	{AMD_ILLEGAL_DEV_TABLE_ENTRY, AMD_EVENT_I, AMD_EVENT_I,
	 "its device table entry has an interrupt table length that does not exist"},
	{AMD_ILLEGAL_DEV_TABLE_ENTRY, AMD_EVENT_RZ, AMD_EVENT_RZ,
	 "its device table entry has reserved bits set"},
	{AMD_ILLEGAL_DEV_TABLE_ENTRY, 0, 0,
	 "its device table entry has more levels than there are"},
	{AMD_DEV_TAB_HARDWARE_ERROR, 0, 0, "the device table is not in memory"},
	{AMD_PAGE_TAB_HARDWARE_ERROR, AMD_EVENT_I, AMD_EVENT_I,
	 "its remapping table is not in memory"},
	{AMD_PAGE_TAB_HARDWARE_ERROR, 0, 0, "its page tables are not in memory"},
	{AMD_INVALID_DEVICE_REQUEST, AMD_EVENT_TR, AMD_EVENT_TR,
	 "its device table entry, or the address, allows no translation request and no translated "
	 "one"},
	{AMD_INVALID_DEVICE_REQUEST, 0, 0,
	 "no page table maps the interrupt window or the HyperTransport range"},
	{AMD_IOTLB_INV_TIMEOUT, 0, 0, "the device did not complete the invalidation in time"},
	{AMD_INVALID_PPR_REQUEST, 0, 0, "its device table entry allows no page requests"},
	{0, AMD_EVENT_I, AMD_EVENT_I,
	 "its device table entry or remapping entry refuses it without an event"},
};

_Static_assert(ARRAY_SIZE(kinds) <= 64, "a bit for each");

static bool first_time(_Atomic uint64_t *told, unsigned bit)
{
	/* A look before the locked instruction: most errors are not the first. */
	return !(atomic_load_explicit(told, memory_order_relaxed) & BIT(bit)) &&
	       !(atomic_fetch_or_explicit(told, BIT(bit), memory_order_relaxed) & BIT(bit));
}

static const char *what(const struct amd_fault *fault)
{
	if (fault->flags & AMD_EVENT_I)
		return "message";
	if (fault->code == AMD_IOTLB_INV_TIMEOUT)
		return "command INVALIDATE_IOTLB_PAGES";
	if (fault->code == AMD_INVALID_DEVICE_REQUEST || fault->code == AMD_INVALID_PPR_REQUEST)
		return "request";
	return fault->flags & AMD_EVENT_RW ? "write" : "read";
}

/* Whether the address is that of an entry which could not be read. */
static bool in_table(const struct amd_fault *fault)
{
	return fault->code == AMD_DEV_TAB_HARDWARE_ERROR ||
	       fault->code == AMD_PAGE_TAB_HARDWARE_ERROR;
}

void amd_tell_fault(struct amd_iommu_engine *e, uint16_t devid, const struct amd_fault *fault)
{
	unsigned kind = 0;

	while (kind < ARRAY_SIZE(kinds) && (kinds[kind].code != fault->code ||
					    (fault->flags & kinds[kind].mask) != kinds[kind].flags))
		kind++;
	if (kind == ARRAY_SIZE(kinds) || !first_time(&amd_device_counters(e, devid)->told, kind))
		return;
	log_info("guest: vIOMMU of segment %u: device %02x:%02x.%x: %s refused, %s %#llx: %s",
		 e->segment, devid >> 8, devid >> 3 & 0x1f, devid & 7, what(fault),
		 in_table(fault) ? "table entry at" : "address", (unsigned long long)fault->address,
		 kinds[kind].why);
}

static const char *const command_names[AMD_COMMAND_OPCODES] = {
	[AMD_COMPLETION_WAIT] = "COMPLETION_WAIT",
	[AMD_INVALIDATE_DEVTAB_ENTRY] = "INVALIDATE_DEVTAB_ENTRY",
	[AMD_INVALIDATE_IOMMU_PAGES] = "INVALIDATE_IOMMU_PAGES",
	[AMD_INVALIDATE_IOTLB_PAGES] = "INVALIDATE_IOTLB_PAGES",
	[AMD_PREFETCH_IOMMU_PAGES] = "PREFETCH_IOMMU_PAGES",
	[AMD_COMPLETE_PPR_REQUEST] = "COMPLETE_PPR_REQUEST",
	[AMD_INVALIDATE_INTERRUPT_TABLE] = "INVALIDATE_INTERRUPT_TABLE",
	[AMD_INVALIDATE_IOMMU_ALL] = "INVALIDATE_IOMMU_ALL",
};

void amd_tell_command(struct amd_iommu_engine *e, unsigned opcode, const struct amd_fault *fault)
{
	const bool illegal = fault->code == AMD_ILLEGAL_COMMAND_ERROR;
	const char *name = command_names[opcode];

	/* Two bits an opcode; what could not be read has none. */
	if (!first_time(&e->told, 2 * opcode + illegal))
		return;
	log_info("guest: vIOMMU of segment %u stops its command buffer: command %#x%s%s%s, address "
		 "%#llx: %s",
		 e->segment, opcode, name ? " (" : "", name ? name : "", name ? ")" : "",
		 (unsigned long long)fault->address,
		 illegal ? "there is no such command with these features, or reserved bits are set"
			 : "not in memory");
}
