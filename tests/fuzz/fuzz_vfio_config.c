// SPDX-License-Identifier: Apache-2.0
/*
 * An assigned device: a capability list as the input says, then configuration space and BAR
 * accesses of a guest. What reaches the hardware is what the plan lets through.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/unit/vfio_device_fixture.h"

static uint8_t before[PCI_CONFIG_SIZE];

/* The hardware of the unit tests, with more capabilities behind and between its own. */
static void build(struct input *in)
{
	const unsigned how = input_u8(in), changes = input_u8(in) & 15;

	hardware(how & 1);
	hw.can_reset = how & 2;
	hw.irq_count[VFIO_PCI_ERR_IRQ_INDEX] = how >> 2 & 1;
	for (unsigned i = 0; i < changes; i++) {
		const unsigned at = input_u8(in), id = input_u8(in);

		if (id & 0x80) { /* a byte */
			hw.config[at | (id & 1) << 8] = input_u8(in);
			continue;
		}
		/* A capability at AT, which the one of before leads to. */
		hw.config[PCI_CAPABILITY_LIST] = (uint8_t)at;
		hw.config[at] = id & 0x1f;
		hw.config[(uint8_t)(at + 1)] = input_u8(in);
		hw.config[(uint8_t)(at + 2)] = input_u8(in);
	}
	/* A memory BAR, as ports would not hold one of its size. */
	hw_set32(PCI_BASE_ADDRESS_0, hw.config[PCI_BASE_ADDRESS_0] & 0xc);
	if (how & 8) {
		hw_set32(0x100, 0x14010003); /* serial number, then any two */
		hw_set32(0x140, input_u32(in));
		hw_set32(0x180, input_u32(in));
	}
}

/* Outside what is written through nothing changes; what the guest is not shown stays as it is. */
static void check(void)
{
	for (unsigned at = PCI_STD_HEADER_SIZEOF; at < PCI_CONFIG_SIZE; at++) {
		const uint8_t through = dev.config.to_device[at] | dev.config.clears[at];
		const bool power = dev.config.pm && at - dev.config.pm - PCI_PM_CTRL < 2;
		const bool express =
			dev.config.express && at - dev.config.express - PCI_EXP_DEVCTL < 2;
		const bool af = dev.config.af && at - dev.config.af < 8;

		if (!power && !express && !af)
			require(!((hw.config[at] ^ before[at]) & ~through),
				"%x was %02x, is %02x, the plan lets %02x through", at, before[at],
				hw.config[at], through);
	}
	for (unsigned at = 0; at < 0x100; at += 4) {
		const uint32_t whole = cfg_read(at, 4);

		require(cfg_read(at, 2) == (uint16_t)whole && cfg_read(at + 3, 1) == whole >> 24,
			"%x: the parts are not the whole", at);
	}
	hw.events = 0;
}

static void op_config(struct input *in)
{
	const unsigned how = input_u8(in), width = 1u << (how & 3) % 3;
	const unsigned places[] = {PCI_COMMAND,		PCI_BASE_ADDRESS_0, dev.config.msix + 2u,
				   dev.config.msi + 2u, dev.config.pm + 4u, dev.config.express + 8u,
				   dev.config.af + 4u,	PCI_STATUS};
	unsigned at = places[how >> 2 & 7] & 0xff;

	if (how & 0x80)
		at = input_u16(in) & (PCI_CONFIG_SIZE - 1);
	else if (how & 0x40)
		at = (at + input_u8(in) % 16) & 0xff;
	cfg_write((unsigned)align_down(at, width), width, (uint32_t)input_number(in, width));
	cfg_read((unsigned)align_down(at, width), width);
	hw.events = 0;
}

static void op_bar(struct input *in)
{
	const unsigned how = input_u8(in), width = 1u << (how & 3);
	const uint64_t at = (how & 0x80 ? 0x2000 : 0) + (uint64_t)input_u8(in) * 4;
	uint64_t value = input_number(in, width);

	if (how & 0x40) {
		cfg_write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
		if (dev.config.msix)
			cfg_write(dev.config.msix + 2, 2, how & 0x20 ? 0x8000 : 0xc000);
	}
	bus_write(&mmio, bar_address() + at, width, value);
	bus_read(&mmio, bar_address() + at, width, &value);
	hw.events = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct vfio_config plan;
	bool quiet;

	build(&in);
	/* Again on its own: the plan of what the device shows never leads outside of it. */
	vfio_config_plan(&plan, hw.config, size & 1 ? PCI_CFG_SPACE_SIZE : PCI_CONFIG_SIZE);
	if (try_plug(&(struct vfio_device_config){.fd = -1}))
		return 0;
	memcpy(before, hw.config, sizeof(before));
	while (in.left) {
		switch (input_pick(&in, 8)) {
		case 0:
		case 1:
		case 2:
			op_config(&in);
			break;
		case 3:
		case 4:
			op_bar(&in);
			break;
		case 5: /* the device changes what it shows */
			hw.bar[input_u16(&in) & (BAR_SIZE - 1)] = input_u8(&in);
			break;
		case 6:
			if (!input_pick(&in, 8))
				check();
			break;
		default:
			if (!input_pick(&in, 8))
				pci_root_reset(root);
		}
		hw.events = 0;
	}
	check();
	pci_root_reset(root);
	require(!(hw16(PCI_COMMAND) & PCI_COMMAND_MASTER), "it is left able to do DMA");
	quiet = !hw.irq_fd[VFIO_PCI_MSIX_IRQ_INDEX] && !hw.irq_fd[VFIO_PCI_MSI_IRQ_INDEX];
	require(quiet && !routes, "interrupts are left on");
	unplug();
	require(fuzz_messages() <= 64, "a guest fills the log");
	return 0;
}
