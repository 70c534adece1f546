/* SPDX-License-Identifier: Apache-2.0 */
/*
 * So that a tree without vmm/pci_*.c links: one function, reached over CF8h/CFCh, that keeps what
 * is written to its MSI capability.
 */
#ifndef TEST_FAKE_PCI_H
#define TEST_FAKE_PCI_H

#if !__has_include("vmm/pci_function.c")

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "postern/bits.h"
#include "postern/pci.h"

struct pci_root {
	struct pci_function *fn;
	uint32_t address;
};

void pci_function_init(struct pci_function *fn, const char *name,
		       const struct pci_function_ops *ops, const struct pci_id *id)
{
	fn->name = name;
	fn->ops = ops;
	pci_set16(fn, 0, id->vendor);
	pci_set16(fn, 2, id->device);
	pci_set32(fn, 8, id->class_code << 8 | id->revision);
	fn->capability_end = 0x40;
	fn->capability_last = 0x34;
}

void pci_function_fini(struct pci_function *fn)
{
	fn->ops = NULL;
}

int pci_add_capability(struct pci_function *fn, uint8_t id, unsigned length)
{
	uint8_t at = fn->capability_end;

	fn->config[fn->capability_last] = at;
	fn->config[at] = id;
	fn->capability_last = (uint8_t)(at + 1);
	fn->capability_end = (uint8_t)(at + length);
	return at;
}

int pci_add_msi(struct pci_function *fn)
{
	int at = pci_add_capability(fn, 5, 16);

	fn->msi_capability = (unsigned)at;
	pci_set16(fn, (unsigned)at + 2, 0x80);
	memset(&fn->writable[at + 4], 0xff, 12);
	fn->writable[at + 2] = 1;
	return 0;
}

int pci_msi_raise(struct pci_function *fn)
{
	unsigned at = fn->msi_capability;
	struct msi_msg msg = {.addr = pci_get32(fn, at + 4), .data = pci_get16(fn, at + 12)};

	return pci_get16(fn, at + 2) & 1 ? msi_sink_send(fn->sink, &msg) : 0;
}

static uint64_t fake_pci_read(void *opaque, uint64_t offset, unsigned width)
{
	struct pci_root *root = opaque;

	(void)width;
	return offset < 4 || root->address >> 8 != (0x800000u | root->fn->devfn)
		       ? ~UINT64_C(0)
		       : pci_get32(root->fn, root->address & 0xfc);
}

static void fake_pci_write(void *opaque, uint64_t offset, unsigned width, uint64_t value)
{
	struct pci_root *root = opaque;
	unsigned at = root->address & 0xfc;

	(void)width;
	if (offset < 4) {
		root->address = (uint32_t)value;
		return;
	}
	for (unsigned i = 0; i < 4; i++) {
		uint8_t mask = root->fn->writable[at + i];
		uint8_t *byte = &root->fn->config[at + i];

		*byte = (uint8_t)((*byte & ~mask) | (value >> (8 * i) & mask));
	}
}

int pci_root_new(struct pci_root **root, struct bus *mmio, struct bus *pio,
		 const struct pci_windows *windows)
{
	static const struct bus_ops ops = {fake_pci_read, fake_pci_write};
	struct bus_range range = {.base = 0xcf8, .size = 8, .ops = &ops, .name = "fake PCI"};

	(void)mmio;
	(void)windows;
	*root = range.opaque = calloc(1, sizeof(**root));
	return *root ? bus_add(pio, &range) : -ENOMEM;
}

void pci_root_free(struct pci_root *root)
{
	free(root);
}

int pci_root_add(struct pci_root *root, struct pci_function *fn, uint8_t devfn)
{
	if (root->fn)
		return -EEXIST;
	root->fn = fn;
	fn->devfn = devfn;
	return 0;
}

void pci_root_reset(struct pci_root *root)
{
	root->fn->ops->reset(root->fn);
}

#endif
#endif
