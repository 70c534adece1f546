/* SPDX-License-Identifier: Apache-2.0 */
/* A root on fresh buses, a sink that records, and functions that record their BAR accesses. */
#ifndef POSTERN_PCI_FIXTURE_H
#define POSTERN_PCI_FIXTURE_H

#include <criterion/criterion.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "postern/bits.h"
#include "postern/pci.h"

#define ECAM  UINT64_C(0xe0000000)
#define MEM32 UINT64_C(0xc0000000)
#define MEM64 UINT64_C(0x4000000000)

static struct bus mmio, pio;
static struct pci_root *root;

static const struct pci_windows windows = {
	.ecam_base = ECAM,
	.buses = 256,
	.mem32_base = MEM32,
	.mem32_size = 0x20000000,
	.mem64_base = MEM64,
	.mem64_size = 0x4000000000,
	.io_base = 0xc000,
	.io_size = 0x3000,
};

static struct {
	atomic_uint sent;
	struct msi_msg last;
	int result;
} sunk;

static int sink_send(struct msi_sink *sink, const struct msi_msg *msg)
{
	(void)sink;
	sunk.sent++;
	sunk.last = *msg;
	return sunk.result;
}

static const struct msi_sink_ops sink_ops = {.send = sink_send};
static struct msi_sink sink = {.ops = &sink_ops};

struct device {
	struct pci_function fn;
	atomic_uint reads, writes;
	unsigned bar, width, maps, unmaps, resets;
	uint64_t offset, value, base;
};

static inline struct device *device_of(struct pci_function *fn)
{
	return container_of(fn, struct device, fn);
}

static inline uint64_t device_bar_read(struct pci_function *fn, unsigned bar, uint64_t offset,
				       unsigned width)
{
	struct device *d = device_of(fn);

	if (pci_msix_covers(fn, bar, offset))
		return pci_msix_read(fn, offset, width);
	d->reads++;
	return bar << 16 | (offset & 0xffff);
}

static inline void device_bar_write(struct pci_function *fn, unsigned bar, uint64_t offset,
				    unsigned width, uint64_t value)
{
	struct device *d = device_of(fn);

	if (pci_msix_covers(fn, bar, offset)) {
		pci_msix_write(fn, offset, width, value);
		return;
	}
	d->writes++;
	d->bar = bar;
	d->offset = offset;
	d->width = width;
	d->value = value;
}

static inline void device_bar_mapped(struct pci_function *fn, unsigned bar, uint64_t base,
				     bool mapped)
{
	struct device *d = device_of(fn);

	if (mapped)
		d->maps++;
	else
		d->unmaps++;
	d->bar = bar;
	d->base = base;
}

static inline void device_reset(struct pci_function *fn)
{
	device_of(fn)->resets++;
}

static const struct pci_function_ops device_ops = {
	.bar_read = device_bar_read,
	.bar_write = device_bar_write,
	.bar_mapped = device_bar_mapped,
	.reset = device_reset,
};

static inline void device_init(struct device *d)
{
	static const struct pci_id id = {.vendor = 0x1af4,
					 .device = 0x1042,
					 .subsystem_vendor = 0x1234,
					 .subsystem = 0x5678,
					 .class_code = 0x018000,
					 .revision = 3};

	*d = (struct device){0};
	pci_function_init(&d->fn, "test", &device_ops, &id);
	d->fn.sink = &sink;
}

static inline void setup(void)
{
	bus_init(&mmio);
	bus_init(&pio);
	cr_assert_eq(pci_root_new(&root, &mmio, &pio, &windows), 0);
}

static inline void teardown(void)
{
	pci_root_free(root);
	cr_assert_eq(mmio.count + pio.count, 0, "the buses are empty again");
}

static inline uint64_t ecam_at(uint8_t devfn, unsigned offset)
{
	return ECAM + ((uint64_t)devfn << 12) + offset;
}

static inline uint32_t cfg_read(uint8_t devfn, unsigned offset, unsigned width)
{
	uint64_t value;

	bus_read(&mmio, ecam_at(devfn, offset), width, &value);
	return (uint32_t)value;
}

static inline void cfg_write(uint8_t devfn, unsigned offset, unsigned width, uint32_t value)
{
	bus_write(&mmio, ecam_at(devfn, offset), width, value);
}

#endif
