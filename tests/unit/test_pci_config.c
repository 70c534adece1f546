// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/pci_fixture.h"
#include "tests/unit/noise.h"

TestSuite(pci_config, .init = setup, .fini = teardown);

static struct device dev;

static void publish(uint8_t devfn)
{
	cr_assert_eq(pci_root_add(root, &dev.fn, devfn), 0);
}

Test(pci_config, header)
{
	device_init(&dev);
	publish(0x10);
	cr_assert_eq(cfg_read(0x10, 0, 4), 0x10421af4);
	cr_assert_eq(cfg_read(0x10, 8, 4), 0x01800003);
	cr_assert_eq(cfg_read(0x10, 0x2c, 4), 0x56781234);
	cr_assert_eq(cfg_read(0x10, 0x0e, 1), 0);
	cr_assert_eq(cfg_read(0x10, 0x34, 1), 0);
	cr_assert_eq(cfg_read(0x10, 6, 2) & 0x10, 0, "no capability list");
	pci_function_fini(&dev.fn);
}

Test(pci_config, write_masks_work_by_byte)
{
	device_init(&dev);
	publish(0x10);
	cfg_write(0x10, 4, 4, 0xffffffff);
	cr_assert_eq(cfg_read(0x10, 4, 4), 0x0547, "status is not writable");
	cfg_write(0x10, 5, 1, 0);
	cr_assert_eq(cfg_read(0x10, 4, 2), 0x0047);
	cfg_write(0x10, 0, 4, 0);
	cr_assert_eq(cfg_read(0x10, 0, 4), 0x10421af4);
	cfg_write(0x10, 0x3c, 4, 0xffffffff);
	cr_assert_eq(cfg_read(0x10, 0x3c, 4), 0xff, "interrupt line only");
	cfg_write(0x10, 0xc, 4, 0xffffffff);
	cr_assert_eq(cfg_read(0x10, 0xc, 4), 0xff, "cache line size only");
	pci_function_fini(&dev.fn);
}

Test(pci_config, write_one_to_clear)
{
	device_init(&dev);
	pci_set16(&dev.fn, 6, 0xf900);
	publish(0x10);
	cfg_write(0x10, 6, 2, 0x8000);
	cr_assert_eq(cfg_read(0x10, 6, 2), 0x7900);
	cfg_write(0x10, 6, 1, 0xff);
	cr_assert_eq(cfg_read(0x10, 6, 2), 0x7900, "the other byte");
	cfg_write(0x10, 4, 4, 0xffff0000);
	cr_assert_eq(cfg_read(0x10, 6, 2), 0);
	pci_function_fini(&dev.fn);
}

Test(pci_config, bar_sizing)
{
	device_init(&dev);
	cr_assert_eq(pci_add_bar(&dev.fn, 0, 0x4000, 0), 0);
	cr_assert_eq(pci_add_bar(&dev.fn, 1, 0x40, PCI_BAR_IO), 0);
	cr_assert_eq(pci_add_bar(&dev.fn, 2, UINT64_C(1) << 33, PCI_BAR_64 | PCI_BAR_PREFETCH), 0);
	publish(0x10);
	for (unsigned bar = 0; bar < 6; bar++)
		cfg_write(0x10, 0x10 + 4 * bar, 4, 0xffffffff);
	cr_assert_eq(cfg_read(0x10, 0x10, 4), 0xffffc000);
	cr_assert_eq(cfg_read(0x10, 0x14, 4), 0xffffffc1);
	cr_assert_eq(cfg_read(0x10, 0x18, 4), 0x0000000c);
	cr_assert_eq(cfg_read(0x10, 0x1c, 4), 0xfffffffe);
	cr_assert_eq(cfg_read(0x10, 0x20, 4), 0);
	cr_assert_eq(cfg_read(0x10, 0x24, 4), 0);
	cr_assert_eq(cfg_read(0x10, 0x30, 4), 0, "no ROM");
	cr_assert_eq(dev.maps, 0);
	pci_function_fini(&dev.fn);
}

Test(pci_config, bar_rules)
{
	device_init(&dev);
	cr_assert_eq(pci_add_bar(&dev.fn, 6, 0x1000, 0), -EINVAL);
	cr_assert_eq(pci_add_bar(&dev.fn, 0, 0, 0), -EINVAL);
	cr_assert_eq(pci_add_bar(&dev.fn, 0, 0x1001, 0), -EINVAL);
	cr_assert_eq(pci_add_bar(&dev.fn, 0, 8, 0), -EINVAL);
	cr_assert_eq(pci_add_bar(&dev.fn, 0, 2, PCI_BAR_IO), -EINVAL);
	cr_assert_eq(pci_add_bar(&dev.fn, 0, 16, PCI_BAR_IO | PCI_BAR_64), -EINVAL);
	cr_assert_eq(pci_add_bar(&dev.fn, 0, 4 * GIB, 0), -EINVAL);
	cr_assert_eq(pci_add_bar(&dev.fn, 5, 0x1000, PCI_BAR_64), -EINVAL);
	cr_assert_eq(pci_add_bar(&dev.fn, 2, 0x1000, PCI_BAR_64), 0);
	cr_assert_eq(pci_add_bar(&dev.fn, 2, 0x1000, 0), -EBUSY);
	cr_assert_eq(pci_add_bar(&dev.fn, 3, 0x1000, 0), -EBUSY, "upper half");
	cr_assert_eq(pci_add_bar(&dev.fn, 1, 0x1000, PCI_BAR_64), -EBUSY);
	cr_assert_eq(pci_add_bar(&dev.fn, 1, 4, PCI_BAR_IO), 0);
	cr_assert_eq(pci_add_bar(&dev.fn, 0, 16, 0), 0);
	pci_function_fini(&dev.fn);
}

Test(pci_config, capability_list)
{
	int at;

	device_init(&dev);
	cr_assert_eq(pci_add_capability(&dev.fn, 0x0f, 0x18), 0x40);
	cr_assert_eq(pci_add_capability(&dev.fn, 0x09, 3), 0x58);
	cr_assert_eq(pci_add_msi(&dev.fn), 0);
	cr_assert_eq(dev.fn.msi_capability, 0x5c, "aligned");
	cr_assert_eq(pci_add_capability(&dev.fn, 0x09, 1), -ENOSPC);
	cr_assert_eq(pci_add_capability(&dev.fn, 0x09, 0x94), 0x6c);
	cr_assert_eq(pci_add_capability(&dev.fn, 0x09, 2), -ENOSPC, "full to the last byte");
	publish(0x10);
	cr_assert(cfg_read(0x10, 6, 2) & 0x10);
	at = (int)cfg_read(0x10, 0x34, 1);
	cr_assert_eq(at, 0x40);
	cr_assert_eq(cfg_read(0x10, 0x40, 2), 0x580f);
	cr_assert_eq(cfg_read(0x10, 0x58, 2), 0x5c09);
	cr_assert_eq(cfg_read(0x10, 0x5c, 4), 0x00806c05);
	cr_assert_eq(cfg_read(0x10, 0x6c, 2), 0x0009);
	pci_function_fini(&dev.fn);
}

Test(pci_config, extended_capability_list)
{
	device_init(&dev);
	cr_assert_eq(pci_add_extended_capability(&dev.fn, 0x0003, 1, 0xc), 0x100);
	cr_assert_eq(pci_add_extended_capability(&dev.fn, 0x001b, 2, 0xd), 0x10c);
	cr_assert_eq(pci_add_extended_capability(&dev.fn, 0x0001, 2, 0xee5), -ENOSPC);
	cr_assert_eq(pci_add_extended_capability(&dev.fn, 0x0001, 2, 0xee4), 0x11c);
	publish(0x10);
	cr_assert_eq(cfg_read(0x10, 0x100, 4), 0x10c10003);
	cr_assert_eq(cfg_read(0x10, 0x10c, 4), 0x11c2001b);
	cr_assert_eq(cfg_read(0x10, 0x11c, 4), 0x00020001);
	pci_function_fini(&dev.fn);
}

Test(pci_config, msi)
{
	device_init(&dev);
	cr_assert_eq(pci_msi_raise(&dev.fn), -EINVAL, "has none");
	pci_add_msi(&dev.fn);
	publish(0x10);
	cr_assert_eq(pci_msi_raise(&dev.fn), 0);
	cr_assert_eq(sunk.sent, 0, "off");
	cfg_write(0x10, 0x44, 4, 0xfee01003);
	cfg_write(0x10, 0x48, 4, 0x00000100);
	cfg_write(0x10, 0x4c, 2, 0x0041);
	cfg_write(0x10, 0x42, 2, 0xffff);
	cr_assert_eq(cfg_read(0x10, 0x42, 2), 0x0081, "64-bit, one vector, enabled");
	cr_assert_eq(pci_msi_raise(&dev.fn), 0);
	cr_assert_eq(sunk.sent, 1);
	cr_assert_eq(sunk.last.addr, UINT64_C(0x100fee01000));
	cr_assert_eq(sunk.last.data, 0x41);
	sunk.result = -EFAULT;
	cr_assert_eq(pci_msi_raise(&dev.fn), -EFAULT);
	pci_root_reset(root);
	cr_assert_eq(cfg_read(0x10, 0x42, 2), 0x0080);
	cr_assert_eq(cfg_read(0x10, 0x44, 4), 0);
	pci_function_fini(&dev.fn);
}

/* Whatever is written, bits outside the masks stay and decoding agrees with the registers. */
Test(pci_config, hostile_writes)
{
	static uint8_t before[PCI_CONFIG_SIZE];
	unsigned seed = 7;

	device_init(&dev);
	pci_add_bar(&dev.fn, 0, 0x1000, 0);
	pci_add_bar(&dev.fn, 1, 0x20, PCI_BAR_IO);
	pci_add_bar(&dev.fn, 4, 0x10000, PCI_BAR_64);
	pci_add_msi(&dev.fn);
	pci_add_msix(&dev.fn, 5, 4, 0, 0x8000);
	pci_add_extended_capability(&dev.fn, 3, 1, 12);
	publish(0xf8);
	for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++)
		before[i] = dev.fn.config[i];
	for (int step = 0; step < 50000; step++) {
		unsigned width = 1u << noise(&seed) % 4;
		unsigned offset = noise(&seed) % (step % 4 ? 0x80 : 0x1000);
		uint64_t value = (uint64_t)noise(&seed) << 32 ^ (uint64_t)noise(&seed) << 3;

		if (step % 3 == 0)
			value = MEM32 + (value & 0xfffff000) % 0x30000000;
		bus_write(&mmio, ecam_at(0xf8, offset), width, value);
		bus_read(&mmio, ecam_at(0xf8, offset), width, &value);
		for (unsigned i = 0; i < PCI_BARS; i++) {
			const struct pci_bar *bar = &dev.fn.bar[i];
			uint64_t got = 0;

			if (!bar->mapped)
				continue;
			cr_assert(dev.fn.config[4] & (bar->flags & PCI_BAR_IO ? 1 : 2));
			cr_assert(is_aligned(bar->base, bar->size));
			cr_assert_eq(bus_read(bar->flags & PCI_BAR_IO ? &pio : &mmio,
					      bar->base + bar->size - 1, 1, &got),
				     0);
		}
	}
	cr_assert_gt(dev.maps, 100, "the sweep does reach decoding");
	for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++)
		cr_assert_eq((dev.fn.config[i] ^ before[i]) & ~dev.fn.writable[i], 0, "byte %x", i);
	pci_function_fini(&dev.fn);
}
