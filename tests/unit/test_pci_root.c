// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>

#include "tests/unit/pci_fixture.h"
#include "tests/unit/noise.h"

TestSuite(pci_root, .init = setup, .fini = teardown, .timeout = 120);

static struct device a, b;

static uint64_t in(uint16_t port, unsigned width)
{
	uint64_t value;

	bus_read(&pio, port, width, &value);
	return value;
}

static void out(uint16_t port, unsigned width, uint64_t value)
{
	bus_write(&pio, port, width, value);
}

static int answers(uint64_t addr)
{
	uint64_t value;

	return bus_read(&mmio, addr, 1, &value) == 0;
}

/* A memory BAR of 4 KiB at index 0 of a device at slot 2 and another at slot 3. */
static void two_devices(void)
{
	device_init(&a);
	device_init(&b);
	pci_add_bar(&a.fn, 0, 0x1000, 0);
	pci_add_bar(&b.fn, 0, 0x1000, 0);
	cr_assert_eq(pci_root_add(root, &a.fn, 0x10), 0);
	cr_assert_eq(pci_root_add(root, &b.fn, 0x18), 0);
}

static void free_devices(void)
{
	pci_function_fini(&a.fn);
	pci_function_fini(&b.fn);
}

Test(pci_root, host_bridge)
{
	cr_assert_eq(cfg_read(0, 0, 2), 0x1022);
	cr_assert_eq(cfg_read(0, 0xa, 2), 0x0600);
	cr_assert_eq(pci_root_windows(root)->mem32_base, MEM32);
}

Test(pci_root, nobody_reads_ones)
{
	uint64_t value = 0;

	cr_assert_eq(cfg_read(0x10, 0, 4), 0xffffffff);
	cfg_write(0x10, 0, 4, 0);
	bus_read(&mmio, ECAM + MIB, 4, &value);
	cr_assert_eq(value, 0xffffffff, "bus 1");
	bus_read(&mmio, ECAM + 256 * MIB - 2, 2, &value);
	cr_assert_eq(value, 0xffff);
	cr_assert_not(answers(ECAM + 256 * MIB));
}

Test(pci_root, ecam_widths)
{
	uint64_t value;

	two_devices();
	bus_read(&mmio, ecam_at(0x10, 0), 8, &value);
	cr_assert_eq(value, 0x10421af4);
	bus_read(&mmio, ecam_at(0x10, 1), 4, &value);
	cr_assert_eq(value, 0x0010421a, "unaligned: by bytes");
	bus_read(&mmio, ecam_at(0x10, 4094), 4, &value);
	cr_assert_eq(value, 0xffffffff, "over the end of the function");
	bus_read(&mmio, ecam_at(0x10, 4095), 1, &value);
	cr_assert_eq(value, 0);
	bus_write(&mmio, ecam_at(0x10, 0x0b), 8, 0xffffffffffffffff);
	cr_assert_eq(cfg_read(0x10, 0x0c, 1), 0xff);
	cr_assert_eq(cfg_read(0x10, 0x10, 4), 0xfffff000 & 0x00ffffff, "three bytes of the BAR");
	free_devices();
}

Test(pci_root, configuration_mechanism_1)
{
	two_devices();
	cr_assert_eq(in(0xcfc, 4), 0xffffffff, "not enabled");
	out(0xcf8, 4, 0x80001002);
	cr_assert_eq(in(0xcf8, 4), 0x80001000);
	cr_assert_eq(in(0xcfc, 4), 0x10421af4);
	cr_assert_eq(in(0xcfd, 1), 0x1a);
	cr_assert_eq(in(0xcfe, 2), 0x1042);
	cr_assert_eq(in(0xcfd, 2), 0x421a);
	cr_assert_eq(in(0xcfe, 4), 0xffffffff, "over the end");
	cr_assert_eq(in(0xcf8, 1), 0xff, "only the dword");
	out(0xcf9, 1, 0x06);
	out(0xcf8, 2, 0);
	cr_assert_eq(in(0xcf8, 4), 0x80001000);
	out(0xcf8, 4, 0x8000103c);
	out(0xcfc, 1, 0x0b);
	cr_assert_eq(cfg_read(0x10, 0x3c, 1), 0x0b);
	out(0xcf8, 4, 0x80001004);
	out(0xcfd, 1, 0x04);
	cr_assert_eq(cfg_read(0x10, 4, 2), 0x0400);
	out(0xcf8, 4, 0x00001000);
	cr_assert_eq(in(0xcfc, 4), 0xffffffff);
	out(0xcf8, 4, 0x80011000);
	cr_assert_eq(in(0xcfc, 4), 0xffffffff, "bus 1");
	out(0xcf8, 4, 0xffffffff);
	cr_assert_eq(in(0xcf8, 4), 0x80fffffc);
	free_devices();
}

Test(pci_root, places)
{
	struct device c;

	two_devices();
	device_init(&c);
	cr_assert_eq(pci_root_add(root, &c.fn, 0x10), -EEXIST);
	cr_assert_eq(pci_root_add(root, &c.fn, 0x21), -EINVAL, "function 0 first");
	cr_assert_eq(pci_root_add(root, &a.fn, 0x20), -EINVAL, "is on a root");
	cr_assert_eq(cfg_read(0x10, 0xe, 1), 0);
	cr_assert_eq(pci_root_add(root, &c.fn, 0x13), 0);
	cr_assert_eq(cfg_read(0x10, 0xe, 1), 0x80, "multi-function now");
	cr_assert_eq(pci_devid(&c.fn), 0x13);
	cr_assert_eq(pci_root_free_slot(root, 0), 1);
	cr_assert_eq(pci_root_free_slot(root, 2), 4);
	cr_assert_eq(pci_root_free_slot(root, 31), 31);
	cr_assert_eq(pci_root_free_slot(root, 32), -ENOSPC);
	pci_function_fini(&c.fn);
	cr_assert_eq(cfg_read(0x13, 0, 4), 0xffffffff);
	free_devices();
}

Test(pci_root, decode_follows_command_and_bar)
{
	uint64_t value;

	two_devices();
	cfg_write(0x10, 0x10, 4, MEM32 + 0x5000);
	cr_assert_not(answers(MEM32 + 0x5000), "decoding is off");
	cfg_write(0x10, 4, 2, 1);
	cr_assert_not(answers(MEM32 + 0x5000), "I/O only");
	cfg_write(0x10, 4, 2, 2);
	cr_assert_eq(a.maps, 1);
	cr_assert_eq(a.base, MEM32 + 0x5000);
	cr_assert_eq(bus_read(&mmio, MEM32 + 0x5ff8, 8, &value), 0);
	cr_assert_eq(value, 0xff8, "offset inside the BAR");
	bus_write(&mmio, MEM32 + 0x5010, 8, 0x1122334455667788);
	cr_assert_eq(a.value, 0x1122334455667788);
	cr_assert_eq(a.offset, 0x10);
	cfg_write(0x10, 0x10, 4, MEM32 + 0x5000);
	cr_assert_eq(a.maps, 1, "same place");
	cfg_write(0x10, 0x10, 4, MEM32 + 0x6000);
	cr_assert_eq(a.unmaps, 1);
	cr_assert_eq(a.maps, 2);
	cr_assert_not(answers(MEM32 + 0x5000));
	cr_assert(answers(MEM32 + 0x6000));
	cfg_write(0x10, 4, 2, 0);
	cr_assert_not(answers(MEM32 + 0x6000));
	cr_assert_eq(a.unmaps, 2);
	free_devices();
}

Test(pci_root, io_bar)
{
	device_init(&a);
	pci_add_bar(&a.fn, 3, 0x20, PCI_BAR_IO);
	pci_root_add(root, &a.fn, 0x10);
	cfg_write(0x10, 0x1c, 4, 0xc101);
	cfg_write(0x10, 4, 2, 2);
	cr_assert_eq(in(0xc104, 4), 0xffffffff);
	cfg_write(0x10, 4, 2, 1);
	cr_assert_eq(in(0xc104, 4), 0x30004);
	cfg_write(0x10, 0x1c, 4, 0x3e1);
	cr_assert_eq(a.fn.bar[3].mapped, false, "outside the window, over the UART");
	cfg_write(0x10, 0x1c, 4, 0x1c101);
	cr_assert_eq(a.fn.bar[3].mapped, false, "past 64 KiB");
	cfg_write(0x10, 0x1c, 4, 0xefe1);
	cr_assert_eq(a.fn.bar[3].mapped, true, "the last of the window");
	cfg_write(0x10, 0x1c, 4, 0xf001);
	cr_assert_eq(a.fn.bar[3].mapped, false);
	pci_function_fini(&a.fn);
}

Test(pci_root, bar_outside_the_windows_is_not_decoded)
{
	static const uint64_t bad[] = {
		0,	    0x1000,  0xbffff000,     ECAM,	ECAM + 0x10000,	   0xfee00000,
		0xfffff000, GIB * 4, MEM64 - 0x1000, MEM64 * 2, 0xfffffffffffff000};

	device_init(&a);
	pci_add_bar(&a.fn, 0, 0x1000, PCI_BAR_64);
	pci_root_add(root, &a.fn, 0x10);
	cfg_write(0x10, 4, 2, 2);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		bus_write(&mmio, ecam_at(0x10, 0x10), 8, bad[i]);
		cr_assert_eq(a.fn.bar[0].mapped, false, "%#llx", (unsigned long long)bad[i]);
	}
	cr_assert_eq(a.maps, 0);
	bus_write(&mmio, ecam_at(0x10, 0x10), 8, MEM64 * 2 - 0x1000);
	cr_assert(answers(MEM64 * 2 - 1));
	bus_write(&mmio, ecam_at(0x10, 0x10), 8, MEM32);
	cr_assert(answers(MEM32));
	pci_function_fini(&a.fn);
}

/* An unprogrammed BAR answers nowhere, even on a root whose windows start at 0. */
Test(pci_root, bar_at_0_is_not_decoded)
{
	struct pci_windows w = windows;
	struct pci_root *other;
	static struct bus m, p;

	w.io_base = 0;
	w.mem32_base = 0;
	bus_init(&m);
	bus_init(&p);
	cr_assert_eq(pci_root_new(&other, &m, &p, &w), 0);
	device_init(&a);
	pci_add_bar(&a.fn, 0, 0x1000, 0);
	pci_add_bar(&a.fn, 1, 0x10, PCI_BAR_IO);
	pci_root_add(other, &a.fn, 0x10);
	bus_write(&m, ecam_at(0x10, 4), 2, 3);
	cr_assert_eq(a.maps, 0);
	cr_assert_eq(pci_root_assign(other), 0);
	bus_write(&m, ecam_at(0x10, 4), 2, 3);
	cr_assert_eq(a.maps, 2, "assigned past it");
	pci_function_fini(&a.fn);
	pci_root_free(other);
}

Test(pci_root, overlap_first_come_then_retry)
{
	uint64_t value;

	two_devices();
	cfg_write(0x10, 0x10, 4, MEM32);
	cfg_write(0x18, 0x10, 4, MEM32);
	cfg_write(0x10, 4, 2, 2);
	cfg_write(0x18, 4, 2, 2);
	cr_assert_eq(a.maps, 1);
	cr_assert_eq(b.maps, 0);
	bus_read(&mmio, MEM32, 4, &value);
	cr_assert_eq(a.reads, 1);
	/* The first goes elsewhere: the second gets the place without another write. */
	cfg_write(0x10, 0x10, 4, MEM32 + 0x1000);
	cr_assert_eq(b.maps, 1);
	bus_read(&mmio, MEM32, 4, &value);
	cr_assert_eq(b.reads, 1);
	cr_assert(answers(MEM32 + 0x1000));
	/* And the other way round, by taking the command bit away. */
	cfg_write(0x10, 0x10, 4, MEM32);
	cr_assert_eq(a.fn.bar[0].mapped, false);
	cfg_write(0x18, 4, 2, 0);
	cr_assert_eq(a.fn.bar[0].mapped, true);
	free_devices();
}

Test(pci_root, two_bars_change_places)
{
	device_init(&a);
	pci_add_bar(&a.fn, 0, 0x1000, 0);
	pci_add_bar(&a.fn, 1, 0x1000, 0);
	pci_root_add(root, &a.fn, 0x10);
	cfg_write(0x10, 4, 2, 2);
	bus_write(&mmio, ecam_at(0x10, 0x10), 4, MEM32);
	bus_write(&mmio, ecam_at(0x10, 0x14), 4, MEM32 + 0x1000);
	cfg_write(0x10, 0x10, 4, MEM32 + 0x1000);
	cr_assert_eq(a.fn.bar[0].mapped, false);
	cfg_write(0x10, 0x14, 4, MEM32);
	cr_assert_eq(a.fn.bar[0].base, MEM32 + 0x1000);
	cr_assert(a.fn.bar[0].mapped && a.fn.bar[1].mapped);
	pci_function_fini(&a.fn);
}

/* Doorbells are no handlers on the bus: only the device can take them away. */
Test(pci_root, a_function_that_leaves_is_told)
{
	uint64_t value;

	two_devices();
	cfg_write(0x10, 0x10, 4, MEM32);
	cfg_write(0x10, 4, 2, 2);
	cr_assert_eq(a.maps, 1);
	pci_root_remove(&a.fn);
	cr_expect_eq(a.unmaps, 1);
	cr_expect_eq(a.base, MEM32);
	cr_expect_neq(bus_read(&mmio, MEM32, 4, &value), 0);
	cr_expect_eq(cfg_read(0x10, 0, 4), UINT32_MAX);
	/* One that is taken apart is past hearing it. */
	cfg_write(0x18, 0x10, 4, MEM32);
	cfg_write(0x18, 4, 2, 2);
	cr_assert_eq(b.maps, 1);
	free_devices();
	cr_expect_eq(a.unmaps, 1);
	cr_expect_eq(b.unmaps, 0);
}

Test(pci_root, assign)
{
	two_devices();
	pci_add_bar(&a.fn, 1, 0x100000, 0);
	pci_add_bar(&a.fn, 2, GIB * 8, PCI_BAR_64 | PCI_BAR_PREFETCH);
	pci_add_bar(&b.fn, 2, 0x4000, PCI_BAR_64);
	pci_add_bar(&b.fn, 4, 0x40, PCI_BAR_IO);
	pci_add_bar(&b.fn, 5, 0x80, PCI_BAR_IO);
	cfg_write(0x10, 4, 2, 3);
	cr_assert_eq(pci_root_assign(root), 0);
	cr_assert_eq(cfg_read(0x10, 4, 2), 0, "decoding is off");
	cr_assert_eq(cfg_read(0x10, 0x14, 4), MEM32, "the biggest first");
	cr_assert_eq(cfg_read(0x10, 0x10, 4), MEM32 + 0x100000);
	cr_assert_eq(cfg_read(0x18, 0x10, 4), MEM32 + 0x101000);
	cr_assert_eq(cfg_read(0x10, 0x18, 4), 0xc);
	cr_assert_eq(cfg_read(0x10, 0x1c, 4), MEM64 >> 32);
	cr_assert_eq(cfg_read(0x18, 0x18, 4), 4);
	cr_assert_eq(cfg_read(0x18, 0x1c, 4), (MEM64 + 8 * GIB) >> 32);
	cr_assert_eq(cfg_read(0x18, 0x24, 4), 0xc001);
	cr_assert_eq(cfg_read(0x18, 0x20, 4), 0xc081);
	cfg_write(0x10, 4, 2, 3);
	cfg_write(0x18, 4, 2, 3);
	for (unsigned i = 0; i < PCI_BARS; i++) {
		cr_assert_eq(a.fn.bar[i].mapped, a.fn.bar[i].size != 0);
		cr_assert_eq(b.fn.bar[i].mapped, b.fn.bar[i].size != 0);
	}
	free_devices();
}

Test(pci_root, assign_out_of_room)
{
	two_devices();
	pci_add_bar(&a.fn, 1, 0x20000000, 0);
	cr_assert_eq(pci_root_assign(root), -ENOSPC, "the big one takes the whole window");
	cr_assert_eq(cfg_read(0x10, 0x14, 4), MEM32);
	cr_assert_eq(cfg_read(0x18, 0x10, 4), 0);
	free_devices();
	device_init(&a);
	pci_add_bar(&a.fn, 0, UINT64_C(1) << 63, PCI_BAR_64);
	pci_root_add(root, &a.fn, 0x10);
	cr_assert_eq(pci_root_assign(root), -ENOSPC);
	pci_function_fini(&a.fn);
}

Test(pci_root, reset)
{
	two_devices();
	pci_root_assign(root);
	cfg_write(0x10, 0x10, 4, MEM32 + 0x8000);
	cfg_write(0x10, 4, 2, 0x507);
	cfg_write(0x10, 0x3c, 1, 7);
	out(0xcf8, 4, 0x80001000);
	pci_root_reset(root);
	cr_assert_eq(a.resets, 1);
	cr_assert_eq(a.unmaps, 1);
	cr_assert_eq(cfg_read(0x10, 4, 2), 0);
	cr_assert_eq(cfg_read(0x10, 0x3c, 1), 0);
	cr_assert_eq(cfg_read(0x10, 0x10, 4), MEM32);
	cr_assert_eq(in(0xcf8, 4), 0);
	cr_assert_not(answers(MEM32 + 0x8000));
	free_devices();
}

static unsigned order[2], ordered;

static void ordered_reset(struct pci_function *fn)
{
	if (ordered < ARRAY_SIZE(order))
		order[ordered] = fn->devfn;
	ordered++;
}

/* What is behind an IOMMU is quiet before the IOMMU lets everything through. */
Test(pci_root, the_iommu_is_reset_after_the_devices)
{
	static const struct pci_function_ops ops = {.reset = ordered_reset};
	static const struct pci_id id = {.vendor = 0x1b36};
	static struct pci_function iommu, behind;

	pci_function_init(&iommu, "iommu", &ops, &id);
	pci_function_init(&behind, "behind", &ops, &id);
	cr_assert_eq(pci_root_add(root, &iommu, PCI_DEVFN(1, 0)), 0);
	cr_assert_eq(pci_root_add(root, &behind, PCI_DEVFN(2, 0)), 0);
	pci_root_reset(root);
	cr_assert_eq(ordered, 2);
	cr_expect_eq(order[0], PCI_DEVFN(2, 0));
	cr_expect_eq(order[1], PCI_DEVFN(1, 0));
	pci_function_fini(&behind);
	pci_function_fini(&iommu);
}

/* A second segment on the same buses: its ECAM alone, and windows of its own. */
Test(pci_root, segments)
{
	struct pci_windows w = windows;
	struct pci_root *other;
	unsigned ports = pio.count;
	uint64_t value;

	w.segment = 1;
	w.ecam_base = ECAM + 0x20000000;
	w.buses = 1;
	w.mem32_base = MEM32 - 0x1000000;
	w.mem32_size = 0x1000000;
	w.mem64_size = 0;
	w.io_size = 0;
	cr_assert_eq(pci_root_new(&other, &mmio, &pio, &w), 0);
	cr_expect_eq(pio.count, ports, "CF8h and CFCh are segment 0's");
	device_init(&a);
	pci_add_bar(&a.fn, 0, 0x1000, 0);
	cr_assert_eq(pci_root_add(other, &a.fn, 0x10), 0);
	bus_read(&mmio, w.ecam_base + (0x10 << 12), 2, &value);
	cr_expect_neq(value, 0xffff);
	bus_read(&mmio, ecam_at(0x10, 0), 2, &value);
	cr_expect_eq(value, 0xffff, "nobody there in segment 0");
	bus_write(&pio, 0xcf8, 4, 0x80000000 | 0x10 << 8);
	bus_read(&pio, 0xcfc, 2, &value);
	cr_expect_eq(value, 0xffff);
	cr_assert_eq(pci_root_assign(other), 0);
	bus_write(&mmio, w.ecam_base + (0x10 << 12) + 4, 2, 2);
	cr_expect(a.fn.bar[0].mapped);
	cr_expect_eq(a.fn.bar[0].base, w.mem32_base);
	bus_write(&mmio, w.ecam_base + (0x10 << 12) + 0x10, 4, MEM32);
	cr_expect_not(a.fn.bar[0].mapped, "segment 0's window is not its own");
	pci_function_fini(&a.fn);
	pci_root_free(other);
	cr_expect_eq(pio.count, ports);
	bus_read(&mmio, w.ecam_base, 2, &value);
	cr_expect_eq(value, 0xffff);
}

Test(pci_root, new_refuses_bad_windows)
{
	struct pci_windows w = windows;
	struct pci_root *other;
	static struct bus m, p;

	cr_assert_eq(pci_root_new(&other, &mmio, &pio, &windows), -EEXIST, "buses in use");
	bus_init(&m);
	bus_init(&p);
	cr_assert_eq(pci_root_new(&other, &m, &pio, &windows), -EEXIST);
	cr_assert_eq(m.count, 0, "unwound");
	w.buses = 0;
	cr_assert_eq(pci_root_new(&other, &m, &p, &w), -EINVAL);
	w.buses = 257;
	cr_assert_eq(pci_root_new(&other, &m, &p, &w), -EINVAL);
	w = windows;
	w.mem64_base = UINT64_MAX;
	cr_assert_eq(pci_root_new(&other, &m, &p, &w), -EINVAL);
	w = windows;
	w.io_size = 0x4001;
	cr_assert_eq(pci_root_new(&other, &m, &p, &w), -EINVAL);
	cr_assert_eq(m.count + p.count, 0);
}

static uint32_t own_read(struct pci_function *fn, unsigned offset, unsigned width)
{
	cr_assert(is_aligned(offset, width) && width <= 4 && offset + width <= PCI_CONFIG_SIZE);
	return offset == 0x80 ? 0xffffffff : pci_config_read(fn, offset, width);
}

static void own_write(struct pci_function *fn, unsigned offset, unsigned width, uint32_t value)
{
	cr_assert(is_aligned(offset, width) && width <= 4 && offset + width <= PCI_CONFIG_SIZE);
	cr_assert_eq(value & ~width_mask(width), 0);
	pci_config_write(fn, offset, width, value);
}

/* A function that serves its own configuration space sees only what its contract says. */
Test(pci_root, own_config_handlers)
{
	static const struct pci_function_ops ops = {.config_read = own_read,
						    .config_write = own_write};
	static const struct pci_id id = {.vendor = 1};
	static struct pci_function fn;
	unsigned seed = 5;
	uint64_t value;

	pci_function_init(&fn, "own", &ops, &id);
	pci_add_bar(&fn, 0, 0x1000, 0);
	pci_root_add(root, &fn, 0x10);
	cr_assert_eq(cfg_read(0x10, 0x80, 1), 0xff, "cut to the width");
	for (int i = 0; i < 20000; i++) {
		unsigned width = 1u << noise(&seed) % 4, offset = noise(&seed) % 4096;

		bus_write(&mmio, ecam_at(0x10, offset), width, (uint64_t)noise(&seed) << 17);
		bus_read(&mmio, ecam_at(0x10, offset), width, &value);
		out(0xcf8, 4, 0x80001000 | (offset & 0xfc));
		out((uint16_t)(0xcfc + offset % 4), width, UINT64_MAX);
		in((uint16_t)(0xcfc + offset % 4), width);
	}
	cfg_write(0x10, 4, 2, 2);
	cfg_write(0x10, 0x10, 4, MEM32);
	bus_read(&mmio, MEM32, 8, &value);
	cr_assert_eq(value, UINT64_MAX, "no BAR handler");
	cr_assert_eq(bus_write(&mmio, MEM32, 8, 0), 0);
	pci_function_fini(&fn);
}

/* One vCPU moves BARs, another moves its neighbour into the same places, two access them. */
static void *mover(void *arg)
{
	uint8_t devfn = *(uint8_t *)arg;
	unsigned seed = devfn;

	for (int i = 0; i < 3000; i++) {
		cfg_write(devfn, 0x10, 4, (uint32_t)MEM32 + (noise(&seed) % 4u << 12));
		if (i % 16 == 0) {
			cfg_write(devfn, 4, 2, 0);
			cfg_write(devfn, 4, 2, 2);
		}
	}
	return NULL;
}

static void *accessor(void *arg)
{
	unsigned *hits = arg;

	for (int i = 0; i < 6000; i++) {
		uint64_t value;

		if (!bus_read(&mmio, MEM32 + (unsigned)i * 8 % 0x4000, 4, &value)) {
			cr_assert_eq(value, (unsigned)i * 8 % 0x1000);
			++*hits;
		}
		bus_write(&mmio, MEM32 + (unsigned)i % 4 * 0x1000, 1, 0);
	}
	return NULL;
}

static uint64_t quiet_read(struct pci_function *fn, unsigned bar, uint64_t offset, unsigned width)
{
	(void)fn, (void)bar, (void)width;
	return offset;
}

static void quiet_write(struct pci_function *fn, unsigned bar, uint64_t offset, unsigned width,
			uint64_t value)
{
	(void)bar, (void)offset, (void)width, (void)value;
	device_of(fn)->writes++;
}

Test(pci_root, bars_move_under_access)
{
	static const struct pci_function_ops ops = {
		.bar_read = quiet_read, .bar_write = quiet_write, .bar_mapped = device_bar_mapped};
	uint8_t devfn[2] = {0x10, 0x18};
	unsigned hits[2] = {0};
	pthread_t thread[4];

	two_devices();
	a.fn.ops = &ops;
	b.fn.ops = &ops;
	for (int i = 0; i < 2; i++) {
		cfg_write(devfn[i], 4, 2, 2);
		pthread_create(&thread[i], NULL, mover, &devfn[i]);
		pthread_create(&thread[2 + i], NULL, accessor, &hits[i]);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	cr_assert_eq(a.maps - a.unmaps, a.fn.bar[0].mapped);
	cr_assert_eq(b.maps - b.unmaps, b.fn.bar[0].mapped);
	cr_assert_gt(a.maps, 16);
	/* Both enabled: whoever came second waits only for a place that is taken. */
	if ((cfg_read(0x10, 0x10, 4) ^ cfg_read(0x18, 0x10, 4)) != 0)
		cr_assert(a.fn.bar[0].mapped && b.fn.bar[0].mapped);
	else
		cr_assert_eq(a.fn.bar[0].mapped + b.fn.bar[0].mapped, 1);
	free_devices();
}
