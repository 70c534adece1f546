// SPDX-License-Identifier: Apache-2.0
/*
 * Decoding and assignment of BARs.
 *
 * A BAR is decoded where the guest put it only if it lies inside one of the root's windows and the
 * bus has nobody there yet: a BAR over RAM, over the ECAM or over a neighbour answers nowhere.
 */
#include <errno.h>
#include <stdlib.h>

#include "postern/log.h"
#include "vmm/pci_internal.h"

/* ---- BAR accesses ---- */

static unsigned bar_index(const struct pci_bar *bar)
{
	return (unsigned)(bar - bar->fn->bar);
}

static uint64_t bar_read(void *opaque, uint64_t offset, unsigned width)
{
	struct pci_bar *bar = opaque;

	if (!bar->fn->ops->bar_read)
		return width_mask(width);
	return bar->fn->ops->bar_read(bar->fn, bar_index(bar), offset, width);
}

static void bar_write(void *opaque, uint64_t offset, unsigned width, uint64_t value)
{
	struct pci_bar *bar = opaque;

	if (bar->fn->ops->bar_write)
		bar->fn->ops->bar_write(bar->fn, bar_index(bar), offset, width, value);
}

static const struct bus_ops bar_ops = {.read = bar_read, .write = bar_write};

/* ---- decoding ---- */

static struct bus *bar_bus(const struct pci_bar *bar)
{
	return bar->flags & PCI_BAR_IO ? bar->fn->root->pio : bar->fn->root->mmio;
}

/* The address that software programmed. */
static uint64_t bar_address(const struct pci_bar *bar)
{
	unsigned at = pci_bar_offset(bar_index(bar));
	uint64_t address = pci_get32(bar->fn, at);

	if (bar->flags & PCI_BAR_64)
		address |= (uint64_t)pci_get32(bar->fn, at + 4) << 32;
	return address & ~(bar->size - 1);
}

static bool inside(uint64_t base, uint64_t size, uint64_t window, uint64_t window_size)
{
	return base >= window && range_fits(base - window, size, window_size);
}

static bool bar_decodable(const struct pci_bar *bar, uint64_t base)
{
	const struct pci_windows *w = &bar->fn->root->windows;

	/* An address of 0 is a BAR that nobody has programmed, whatever the windows say. */
	if (!base)
		return false;
	if (bar->flags & PCI_BAR_IO)
		return inside(base, bar->size, w->io_base, w->io_size);
	return inside(base, bar->size, w->mem32_base, w->mem32_size) ||
	       inside(base, bar->size, w->mem64_base, w->mem64_size);
}

static bool bar_enabled(const struct pci_bar *bar)
{
	return pci_get16(bar->fn, PCI_COMMAND) &
	       (bar->flags & PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY);
}

static void bar_notify(struct pci_bar *bar, bool mapped)
{
	if (bar->fn->ops->bar_mapped)
		bar->fn->ops->bar_mapped(bar->fn, bar_index(bar), bar->base, mapped);
}

static void bar_unmap(struct pci_bar *bar, bool tell)
{
	struct pci_root *root = bar->fn->root;

	if (tell)
		bar_notify(bar, false);
	bus_remove(bar_bus(bar), bar->base);
	bar->mapped = false;
	if (root->refused) {
		root->refused = false;
		atomic_store(&root->retry, true);
	}
}

static void bar_map(struct pci_bar *bar, uint64_t base)
{
	struct pci_function *fn = bar->fn;
	struct bus_range range = {
		.base = base, .size = bar->size, .ops = &bar_ops, .opaque = bar, .name = fn->name};

	if (!bar_decodable(bar, base)) {
		log_guest("%s: BAR %u at %#llx is outside the PCI windows and not decoded",
			  fn->name, bar_index(bar), (unsigned long long)base);
		return;
	}
	if (bus_add(bar_bus(bar), &range)) {
		log_guest("%s: BAR %u at %#llx overlaps something else and is not decoded",
			  fn->name, bar_index(bar), (unsigned long long)base);
		fn->root->refused = true;
		return;
	}
	bar->base = base;
	bar->mapped = true;
	bar_notify(bar, true);
}

void pci_root_decode(struct pci_function *fn)
{
	struct pci_root *root = fn->root;

	if (!root)
		return;
	pthread_mutex_lock(&root->decode_lock);
	/* First all that goes, so that two BARs of a function can change places. */
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &fn->bar[i];

		if (bar->mapped && (!bar_enabled(bar) || bar->base != bar_address(bar)))
			bar_unmap(bar, true);
	}
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &fn->bar[i];

		if (bar->size && !bar->mapped && bar_enabled(bar))
			bar_map(bar, bar_address(bar));
	}
	pthread_mutex_unlock(&root->decode_lock);
}

void pci_root_undecode(struct pci_function *fn, bool tell)
{
	struct pci_root *root = fn->root;

	pthread_mutex_lock(&root->decode_lock);
	for (unsigned i = 0; i < PCI_BARS; i++) {
		if (fn->bar[i].mapped)
			bar_unmap(&fn->bar[i], tell);
	}
	pthread_mutex_unlock(&root->decode_lock);
}

/* ---- assignment ---- */

struct allocator {
	uint64_t next, end; /* end: last byte, so that a window may touch 2^64 */
	bool full;
};

static struct allocator allocator_of(uint64_t base, uint64_t size)
{
	return (struct allocator){.next = base, .end = base + size - 1, .full = !size};
}

static bool allocate(struct allocator *a, uint64_t size, uint64_t *base)
{
	/* 0 is no address for a BAR. */
	uint64_t at = a->next ? align_up(a->next, size) : size;

	if (a->full || at < a->next || at > a->end || size - 1 > a->end - at)
		return false;
	a->full = at + (size - 1) == a->end;
	a->next = at + size;
	*base = at;
	return true;
}

static int by_size_descending(const void *a, const void *b)
{
	const struct pci_bar *const *x = a, *const *y = b;

	if ((*x)->size != (*y)->size)
		return (*x)->size < (*y)->size ? 1 : -1;
	if ((*x)->fn->devfn != (*y)->fn->devfn)
		return (*x)->fn->devfn < (*y)->fn->devfn ? -1 : 1;
	return *x < *y ? -1 : *x > *y;
}

static void bar_program(struct pci_bar *bar, uint64_t base)
{
	struct pci_function *fn = bar->fn;
	unsigned at = pci_bar_offset(bar_index(bar));
	unsigned bytes = bar->flags & PCI_BAR_64 ? 8 : 4;

	/* The type bits below the address stay. */
	for (unsigned i = 0; i < bytes; i++) {
		uint8_t mask = fn->writable[at + i];
		uint8_t byte = (uint8_t)(base >> (8 * i)) & mask;

		pci_config_store(fn, at + i, (uint8_t)((fn->config[at + i] & ~mask) | byte));
	}
}

int pci_root_assign(struct pci_root *root)
{
	const struct pci_windows *w = &root->windows;
	struct allocator mem32 = allocator_of(w->mem32_base, w->mem32_size);
	struct allocator mem64 = allocator_of(w->mem64_base, w->mem64_size);
	struct allocator io = allocator_of(w->io_base, w->io_size);
	struct pci_bar **bars;
	unsigned count = 0;
	int rc = 0;

	bars = calloc((size_t)PCI_ROOT_FUNCTIONS * PCI_BARS, sizeof(*bars));
	if (!bars)
		return -ENOMEM;
	for (unsigned i = 0; i < PCI_ROOT_FUNCTIONS; i++) {
		struct pci_function *fn = pci_root_function(root, 0, i);

		if (!fn)
			continue;
		pthread_mutex_lock(&fn->lock);
		pci_config_store(fn, PCI_COMMAND,
				 fn->config[PCI_COMMAND] &
					 (uint8_t) ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY));
		pci_root_decode(fn);
		pthread_mutex_unlock(&fn->lock);
		for (unsigned j = 0; j < PCI_BARS; j++)
			if (fn->bar[j].size)
				bars[count++] = &fn->bar[j];
	}
	/* Sizes are powers of two: the biggest first leaves no gaps between them. */
	qsort(bars, count, sizeof(*bars), by_size_descending);
	for (unsigned i = 0; i < count; i++) {
		struct pci_bar *bar = bars[i];
		uint64_t base = 0;
		bool fits;

		if (bar->flags & PCI_BAR_IO)
			fits = allocate(&io, bar->size, &base);
		else
			fits = (bar->flags & PCI_BAR_64 && allocate(&mem64, bar->size, &base)) ||
			       allocate(&mem32, bar->size, &base);
		if (!fits) {
			log_error("no room for BAR %u (%llu KiB) of PCI device %s: give the guest "
				  "fewer or smaller devices",
				  bar_index(bar), (unsigned long long)((bar->size + 1023) / KIB),
				  bar->fn->name);
			rc = -ENOSPC;
		}
		pthread_mutex_lock(&bar->fn->lock);
		bar_program(bar, base);
		pthread_mutex_unlock(&bar->fn->lock);
	}
	free(bars);
	return rc;
}
