// SPDX-License-Identifier: Apache-2.0
/*
 * BARs of an assigned device. Whole pages that the kernel lets us map go straight into the guest's
 * address space; the rest (port I/O, small BARs, pages with MSI-X structures) exits and goes
 * through read and write.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "devices/vfio/internal.h"
#include "postern/log.h"

#define REGION_INFO_MAX 65536u

/* The sparse mmap capability of a region (uapi/linux/vfio.h), or the whole of it. */
static void bar_areas(struct vfio_bar *bar, const struct vfio_region_info *info)
{
	uint32_t at = info->flags & VFIO_REGION_INFO_FLAG_CAPS ? info->cap_offset : 0;

	for (unsigned budget = 16; at && budget; budget--) {
		const char *base = (const char *)info;
		struct vfio_region_info_cap_sparse_mmap sparse;

		if (!range_fits(at, sizeof(struct vfio_info_cap_header), info->argsz))
			break;
		memcpy(&sparse.header, base + at, sizeof(sparse.header));
		if (sparse.header.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP &&
		    range_fits(at, sizeof(sparse), info->argsz)) {
			memcpy(&sparse, base + at, sizeof(sparse));
			for (uint32_t i = 0; i < sparse.nr_areas; i++) {
				struct vfio_region_sparse_mmap_area a;
				uint64_t from = at + sizeof(sparse) + (uint64_t)i * sizeof(a);
				uint64_t first, end;

				if (bar->areas == VFIO_BAR_AREAS ||
				    !range_fits(from, sizeof(a), info->argsz))
					return;
				memcpy(&a, base + from, sizeof(a));
				if (!range_fits(a.offset, a.size, bar->size))
					continue;
				first = align_up(a.offset, GUEST_PAGE_SIZE);
				end = align_down(a.offset + a.size, GUEST_PAGE_SIZE);
				if (first < end)
					bar->area[bar->areas++] = (struct vfio_area){
						.offset = first, .size = end - first};
			}
			return;
		}
		at = sparse.header.next;
	}
	if (bar->size >= GUEST_PAGE_SIZE) {
		bar->area[0] = (struct vfio_area){.size = align_down(bar->size, GUEST_PAGE_SIZE)};
		bar->areas = 1;
	}
}

static int bar_query(struct vfio_device *dev, unsigned index)
{
	struct vfio_bar *bar = &dev->bar[index];
	struct vfio_region_info *info = calloc(1, sizeof(*info)), *more;
	int ret;

	if (!info)
		return -ENOMEM;
	info->argsz = sizeof(*info);
	info->index = index;
	ret = vfio_io_ctl(&dev->io, VFIO_DEVICE_GET_REGION_INFO, info);
	if (ret >= 0 && info->argsz > sizeof(*info) && info->argsz <= REGION_INFO_MAX) {
		uint32_t size = info->argsz;

		more = realloc(info, size);
		if (!more) {
			free(info);
			return -ENOMEM;
		}
		info = more;
		memset(info, 0, size);
		info->argsz = size;
		info->index = index;
		ret = vfio_io_ctl(&dev->io, VFIO_DEVICE_GET_REGION_INFO, info);
		if (info->argsz > size)
			info->argsz = size;
	}
	if (ret >= 0) {
		bar->size = info->size;
		bar->region = info->offset;
		bar->flags = info->flags;
		if (info->flags & VFIO_REGION_INFO_FLAG_MMAP)
			bar_areas(bar, info);
	}
	free(info);
	return ret < 0 ? ret : 0;
}

int vfio_bars_query(struct vfio_device *dev)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		int ret = bar_query(dev, i);

		if (ret) {
			log_error("%s: the kernel does not describe BAR %u: %s; see 'dmesg'",
				  dev->name, i, strerror(-ret));
			return ret;
		}
	}
	return 0;
}

int vfio_bars_add(struct vfio_device *dev, const uint8_t *hw)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		uint8_t reg = hw[PCI_BASE_ADDRESS_0 + 4 * i];
		unsigned flags = 0;
		int ret;

		if (!dev->bar[i].size)
			continue;
		if (reg & PCI_BASE_ADDRESS_SPACE_IO) {
			flags = PCI_BAR_IO;
		} else {
			if ((reg & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64)
				flags |= PCI_BAR_64;
			if (reg & PCI_BASE_ADDRESS_MEM_PREFETCH)
				flags |= PCI_BAR_PREFETCH;
		}
		ret = pci_add_bar(&dev->fn, i, dev->bar[i].size, flags);
		if (ret) {
			log_error("%s: BAR %u of %#llx bytes cannot be shown to the guest: %s; "
				  "this device cannot be assigned",
				  dev->name, i, (unsigned long long)dev->bar[i].size,
				  strerror(-ret));
			return ret;
		}
	}
	return 0;
}

void vfio_bars_map(struct vfio_device *dev)
{
	const struct pci_msix *msix = &dev->fn.msix;

	if (msix->vectors && msix->bar < PCI_BARS) {
		struct vfio_bar *bar = &dev->bar[msix->bar];

		bar->areas = vfio_areas_exclude(bar->area, bar->areas, VFIO_BAR_AREAS,
						msix->table_offset,
						(uint64_t)msix->vectors * PCI_MSIX_ENTRY_SIZE);
		/* UINT32_MAX, a PBA in another BAR, is beyond all areas. */
		bar->areas = vfio_areas_exclude(bar->area, bar->areas, VFIO_BAR_AREAS,
						msix->pba_offset, (msix->vectors + 63) / 64 * 8);
	}
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct vfio_bar *bar = &dev->bar[i];

		for (unsigned j = 0; j < bar->areas; j++) {
			struct vfio_area *a = &bar->area[j];

			int ret = dev->io.ops->mmap(&dev->io, bar->region + a->offset, a->size,
						    &a->host);

			if (ret) {
				log_info("%s: BAR %u is not mapped: %s; accesses to it are slower",
					 dev->name, i, strerror(-ret));
				a->host = NULL;
			}
		}
	}
}

void vfio_bars_unmap(struct vfio_device *dev)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct vfio_bar *bar = &dev->bar[i];

		for (unsigned j = 0; j < bar->areas; j++) {
			struct vfio_area *a = &bar->area[j];

			if (!a->host)
				continue;
			if (a->shown)
				guest_window_memory_remove(dev->window, bar->base + a->offset);
			munmap(a->host, a->size);
			*a = (struct vfio_area){0};
		}
	}
}

static void bar_show(struct vfio_device *dev, unsigned index, bool show)
{
	struct vfio_bar *bar = &dev->bar[index];

	for (unsigned i = 0; i < bar->areas; i++) {
		struct vfio_area *a = &bar->area[i];
		int ret;

		if (!a->host || a->shown == show)
			continue;
		if (show) {
			ret = guest_window_memory_add(dev->window, bar->base + a->offset, a->size,
						      a->host);
			a->shown = !ret;
			if (ret)
				log_guest("%s: BAR %u at %#llx cannot be mapped: %s; accesses to "
					  "it are slower",
					  dev->name, index, (unsigned long long)bar->base,
					  strerror(-ret));
		} else {
			guest_window_memory_remove(dev->window, bar->base + a->offset);
			a->shown = false;
		}
	}
}

void vfio_bars_show(struct vfio_device *dev, bool powered)
{
	if (dev->powered == powered)
		return;
	dev->powered = powered;
	for (unsigned i = 0; i < PCI_BARS; i++) {
		if (dev->fn.bar[i].size && dev->fn.bar[i].mapped)
			bar_show(dev, i, powered);
	}
}

void vfio_bar_mapped(struct pci_function *fn, unsigned bar, uint64_t base, bool mapped)
{
	struct vfio_device *dev = vfio_device_of(fn);

	if (bar >= PCI_BARS || fn->bar[bar].flags & PCI_BAR_IO)
		return;
	if (mapped)
		dev->bar[bar].base = base;
	if (mapped && !dev->powered)
		return;
	bar_show(dev, bar, mapped);
}

uint64_t vfio_bar_read(struct pci_function *fn, unsigned bar, uint64_t offset, unsigned width)
{
	struct vfio_device *dev = vfio_device_of(fn);

	if (pci_msix_covers(fn, bar, offset))
		return pci_msix_read(fn, offset, width);
	if (bar >= PCI_BARS || !range_fits(offset, width, dev->bar[bar].size))
		return width_mask(width);
	return vfio_io_read(&dev->io, dev->bar[bar].region + offset, width);
}

void vfio_bar_write(struct pci_function *fn, unsigned bar, uint64_t offset, unsigned width,
		    uint64_t value)
{
	struct vfio_device *dev = vfio_device_of(fn);

	if (pci_msix_covers(fn, bar, offset))
		pci_msix_write(fn, offset, width, value);
	else if (bar < PCI_BARS && range_fits(offset, width, dev->bar[bar].size))
		vfio_io_write(&dev->io, dev->bar[bar].region + offset, width, value);
}
