// SPDX-License-Identifier: Apache-2.0
/*
 * A PCI function's configuration space: header, BAR registers, capability lists, write rules.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/pci_internal.h"

/* Bits of the upper status byte that software clears: 15:11 and 8 (PCI 3.0, table 6-2). */
#define STATUS_HIGH_W1C 0xf9

#define COMMAND_WRITABLE                                                                           \
	(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |           \
	 PCI_COMMAND_SERR | PCI_COMMAND_INTX_OFF)

static void set_writable32(struct pci_function *fn, unsigned offset, uint32_t mask)
{
	for (unsigned i = 0; i < 4; i++)
		fn->writable[offset + i] = (uint8_t)(mask >> (8 * i));
}

void pci_function_init(struct pci_function *fn, const char *name,
		       const struct pci_function_ops *ops, const struct pci_id *id)
{
	memset(fn, 0, sizeof(*fn));
	fn->name = name;
	fn->ops = ops;
	pthread_mutex_init(&fn->lock, NULL);
	pthread_mutex_init(&fn->msix.lock, NULL);
	for (unsigned i = 0; i < PCI_BARS; i++)
		fn->bar[i].fn = fn;
	fn->capability_end = PCI_HEADER_END;
	fn->extended_end = PCI_CONVENTIONAL_END;

	pci_set16(fn, PCI_VENDOR_ID, id->vendor);
	pci_set16(fn, PCI_DEVICE_ID, id->device);
	fn->config[PCI_REVISION_ID] = id->revision;
	for (unsigned i = 0; i < 3; i++)
		fn->config[PCI_CLASS_CODE + i] = (uint8_t)(id->class_code >> (8 * i));
	pci_set16(fn, PCI_SUBSYSTEM_VENDOR_ID, id->subsystem_vendor);
	pci_set16(fn, PCI_SUBSYSTEM_ID, id->subsystem);

	fn->writable[PCI_COMMAND] = (uint8_t)COMMAND_WRITABLE;
	fn->writable[PCI_COMMAND + 1] = (uint8_t)(COMMAND_WRITABLE >> 8);
	fn->w1c[PCI_STATUS + 1] = STATUS_HIGH_W1C;
	fn->writable[PCI_CACHE_LINE_SIZE] = 0xff;
	fn->writable[PCI_INTERRUPT_LINE] = 0xff;
}

void pci_function_fini(struct pci_function *fn)
{
	if (fn->root)
		pci_root_forget(fn);
	free(fn->msix.entry);
	free(fn->msix.pending);
	fn->msix.entry = NULL;
	fn->msix.pending = NULL;
	fn->msix.vectors = 0;
	pthread_mutex_destroy(&fn->msix.lock);
	pthread_mutex_destroy(&fn->lock);
}

/* ---- BAR registers ---- */

static bool bar_taken(const struct pci_function *fn, unsigned bar)
{
	return fn->bar[bar].size ||
	       (bar && fn->bar[bar - 1].size && fn->bar[bar - 1].flags & PCI_BAR_64);
}

int pci_add_bar(struct pci_function *fn, unsigned bar, uint64_t size, unsigned flags)
{
	bool io = flags & PCI_BAR_IO, wide = flags & PCI_BAR_64;
	uint32_t type = 0;

	if (bar >= PCI_BARS || !is_power_of_2(size))
		return -EINVAL;
	if (io && (flags != PCI_BAR_IO || size < 4 || size > 64 * KIB))
		return -EINVAL;
	if (!io && (size < 16 || (!wide && size > 2 * GIB)))
		return -EINVAL;
	if (wide && bar + 1 == PCI_BARS)
		return -EINVAL;
	if (bar_taken(fn, bar) || (wide && bar_taken(fn, bar + 1)))
		return -EBUSY;

	if (io)
		type |= PCI_BAR_TYPE_IO;
	if (wide)
		type |= PCI_BAR_TYPE_64;
	if (flags & PCI_BAR_PREFETCH)
		type |= PCI_BAR_TYPE_PREFETCH;
	pci_set32(fn, pci_bar_offset(bar), type);
	set_writable32(fn, pci_bar_offset(bar), (uint32_t) ~(size - 1));
	if (wide) {
		pci_set32(fn, pci_bar_offset(bar + 1), 0);
		set_writable32(fn, pci_bar_offset(bar + 1), (uint32_t)(~(size - 1) >> 32));
	}
	fn->bar[bar].size = size;
	fn->bar[bar].flags = flags;
	return 0;
}

/* ---- capability lists ---- */

int pci_add_capability(struct pci_function *fn, uint8_t id, unsigned length)
{
	/* The field is a byte: 100h, a full list, reads as 0. */
	unsigned at = fn->capability_end ? fn->capability_end : PCI_CONVENTIONAL_END;

	if (length < 2 || !range_fits(at, length, PCI_CONVENTIONAL_END))
		return -ENOSPC;
	fn->config[at] = id;
	fn->config[at + 1] = 0;
	if (fn->capability_last)
		fn->config[fn->capability_last + 1] = (uint8_t)at;
	else
		fn->config[PCI_CAPABILITY_POINTER] = (uint8_t)at;
	fn->config[PCI_STATUS] |= PCI_STATUS_CAPABILITY;
	fn->capability_last = (uint8_t)at;
	fn->capability_end = (uint8_t)align_up(at + length, 4);
	return (int)at;
}

int pci_add_extended_capability(struct pci_function *fn, uint16_t id, unsigned version,
				unsigned length)
{
	unsigned at = fn->extended_end;

	if (length < 4 || !range_fits(at, length, PCI_CONFIG_SIZE))
		return -ENOSPC;
	/* ID 15:0, version 19:16, next 31:20 (PCIe 5.0, 7.6.3). */
	pci_set32(fn, at, id | (version & 0xf) << 16);
	if (fn->extended_last) {
		uint32_t header = pci_get32(fn, fn->extended_last);

		pci_set32(fn, fn->extended_last, header | at << 20);
	}
	fn->extended_last = (uint16_t)at;
	fn->extended_end = (uint16_t)align_up(at + length, 4);
	return (int)at;
}

/* ---- configuration accesses ---- */

uint32_t pci_config_read(struct pci_function *fn, unsigned offset, unsigned width)
{
	uint32_t value = 0;

	if (width > 4 || !range_fits(offset, width, PCI_CONFIG_SIZE))
		return (uint32_t)width_mask(width);
	for (unsigned i = 0; i < width; i++)
		value |= (uint32_t)pci_config_byte(fn, offset + i) << (8 * i);
	return value;
}

static bool touches(unsigned offset, unsigned width, unsigned first, unsigned end)
{
	return offset < end && offset + width > first;
}

void pci_config_write(struct pci_function *fn, unsigned offset, unsigned width, uint32_t value)
{
	bool was_live, live;

	if (width > 4 || !range_fits(offset, width, PCI_CONFIG_SIZE))
		return;
	/* msix.lock, so that pci_msi_raise() never sees half of a message. */
	pthread_mutex_lock(&fn->msix.lock);
	was_live = pci_msix_live(fn);
	for (unsigned i = 0; i < width; i++) {
		uint8_t byte = (uint8_t)(value >> (8 * i));
		uint8_t mask = fn->writable[offset + i];
		uint8_t result = (uint8_t)((fn->config[offset + i] & ~mask) | (byte & mask));

		pci_config_store(fn, offset + i, (uint8_t)(result & ~(byte & fn->w1c[offset + i])));
	}
	live = pci_msix_live(fn);
	if (live != was_live)
		pci_msix_notify_all(fn);
	pthread_mutex_unlock(&fn->msix.lock);

	if (live && !was_live)
		pci_msix_flush(fn);
	if (touches(offset, width, PCI_COMMAND, PCI_COMMAND + 2) ||
	    touches(offset, width, pci_bar_offset(0), pci_bar_offset(PCI_BARS)))
		pci_root_decode(fn);
}
