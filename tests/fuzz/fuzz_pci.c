// SPDX-License-Identifier: Apache-2.0
/*
 * Configuration space of a root with three functions, by ECAM and by CF8h/CFCh, in accesses of any
 * width and place: BARs move over each other, decoding goes on and off, and a reset undoes it all.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/unit/pci_fixture.h"

#define DEVICES 3u

static struct device device[DEVICES];
static const uint8_t devfn[DEVICES] = {PCI_DEVFN(2, 0), PCI_DEVFN(3, 0), PCI_DEVFN(3, 5)};
static uint8_t power_on[DEVICES][PCI_CONFIG_SIZE];

static void plug(void)
{
	for (unsigned i = 0; i < DEVICES; i++) {
		struct pci_function *fn = &device[i].fn;

		device_init(&device[i]);
		require(!pci_add_bar(fn, 0, 0x1000u << i, 0));
		require(!pci_add_bar(fn, 1, 0x20u << i, PCI_BAR_IO));
		require(!pci_add_bar(fn, 2, 0x100000u << i, PCI_BAR_64 | PCI_BAR_PREFETCH));
		require(!pci_add_msi(fn));
		require(!pci_add_msix(fn, 4, 0, 0, 0x800));
		require(pci_add_extended_capability(fn, 3, 1, 12) > 0);
		require(!pci_root_add(root, fn, devfn[i]));
	}
	require(!pci_root_assign(root));
	for (unsigned i = 0; i < DEVICES; i++)
		memcpy(power_on[i], device[i].fn.config, PCI_CONFIG_SIZE);
}

/*
 * What is decoded is enabled and where its register says, and an access there comes to it; what was
 * told of BARs that come and go adds up; identity does not change.
 */
static void check(void)
{
	for (unsigned i = 0; i < DEVICES; i++) {
		const struct pci_function *fn = &device[i].fn;
		unsigned mapped = 0;

		for (unsigned b = 0; b < PCI_BARS; b++) {
			const struct pci_bar *bar = &fn->bar[b];
			const bool io = bar->flags & PCI_BAR_IO;
			uint64_t base = pci_get32(fn, 0x10 + 4 * b) & (io ? ~3u : ~15u), value;

			if (!bar->mapped)
				continue;
			if (bar->flags & PCI_BAR_64)
				base |= (uint64_t)pci_get32(fn, 0x14 + 4 * b) << 32;
			require(bar->base == base && is_aligned(base, bar->size));
			require(fn->config[4] & (io ? 1 : 2), "decoded without being enabled");
			require(!bus_read(io ? &pio : &mmio, base + bar->size - 4, 4, &value));
			if (b == 2)
				require(value == (2u << 16 | ((bar->size - 4) & 0xffff)));
			mapped++;
		}
		require(device[i].maps - device[i].unmaps == mapped);
		require(cfg_read(devfn[i], 0, 4) == 0x10421af4);
	}
}

static void check_parts(void)
{
	for (unsigned at = 0; at < 0x80; at += 4) {
		const uint32_t whole = cfg_read(devfn[0], at, 4);

		require(cfg_read(devfn[0], at, 2) == (uint16_t)whole);
		require(cfg_read(devfn[0], at + 3, 1) == whole >> 24);
	}
}

static void op_ecam(struct input *in)
{
	static const uint8_t places[] = {0x04, 0x10, 0x14, 0x18, 0x1c, 0x3c, 0x40, 0x48};
	const unsigned how = input_u8(in), width = input_width(in);
	unsigned at = places[how & 7] + (how >> 6 & 1) * (how >> 3 & 3);
	uint64_t value = input_number(in, width);
	uint8_t fn = devfn[(how >> 3 & 7) % DEVICES];

	if (how & 0x80) {
		at = input_u16(in) & (PCI_CONFIG_SIZE - 1);
		fn = at & 1 ? 0 : fn; /* the host bridge */
	}
	bus_write(&mmio, ecam_at(fn, at), width, value);
	bus_read(&mmio, ecam_at(fn, at), width, &value);
	require(!(value & ~width_mask(width)));
}

static void op_ports(struct input *in)
{
	const unsigned how = input_u8(in), width = input_width(in);
	const unsigned fn = devfn[how % DEVICES];
	uint64_t value =
		how & 0x80 ? input_u32(in) : 0x80000000 | fn << 8 | (unsigned)(input_u8(in) & ~3u);

	bus_write(&pio, 0xcf8 + (how & 0x40 ? how >> 3 & 3 : 0), how & 0x40 ? width : 4, value);
	bus_write(&pio, 0xcfc + (how >> 2 & 3), width, input_number(in, width));
	bus_read(&pio, 0xcfc + (how >> 2 & 3), width, &value);
}

/* An address that is likely to be some BAR's, into the BAR of another. */
static void op_move(struct input *in)
{
	const unsigned how = input_u8(in), i = (how & 3) % DEVICES, from = (how >> 2 & 3) % DEVICES;
	static const uint8_t at[] = {0x10, 0x14, 0x18, 0x1c};
	const uint32_t value = pci_get32(&device[from].fn, at[how >> 4 & 3]);

	cfg_write(devfn[i], at[how >> 6 & 3], 4, value + ((uint32_t)input_u8(in) << 12));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	setup();
	plug();
	while (in.left) {
		switch (input_pick(&in, 8)) {
		case 0:
		case 1:
		case 2:
			op_ecam(&in);
			break;
		case 3:
			op_ports(&in);
			break;
		case 4:
		case 5:
			op_move(&in);
			break;
		case 6:
			check();
			break;
		default:
			if (!input_pick(&in, 8))
				pci_root_reset(root);
		}
	}
	check();
	check_parts();
	pci_root_reset(root);
	check();
	for (unsigned i = 0; i < DEVICES; i++)
		for (unsigned at = 0; at < PCI_CONFIG_SIZE; at++)
			require(device[i].fn.config[at] == power_on[i][at], "%u %x after a reset",
				i, at);
	for (unsigned i = DEVICES; i--;)
		pci_function_fini(&device[i].fn);
	teardown();
	require(fuzz_messages() <= 64, "a guest fills the log");
	return 0;
}
