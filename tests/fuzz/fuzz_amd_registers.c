// SPDX-License-Identifier: Apache-2.0
/*
 * Registers of the vIOMMU, of any width and in any order, through the bus and the front end; its
 * configuration space; and memory beneath the rings, with requests and interrupts of a device.
 */
#include <stdlib.h>

#include "tests/conformance/amd_iommu/unit.h"

#include "tests/fuzz/amd_rings.h"

#define MEMORY 0x40000u
#define DEVICE 0x18

static const uint16_t registers[] = {R_DEVTAB,	   R_CMD_BASE, R_EVT_BASE, R_CONTROL, R_EXCL_BASE,
				     R_EXCL_LIMIT, R_EFR,      R_PPR_BASE, R_GA_BASE, R_MISC_INFO,
				     R_XT_GENERAL, R_XT_PPR,   R_XT_GA,	   R_EFR2,    R_CMD_HEAD,
				     R_CMD_TAIL,   R_EVT_HEAD, R_EVT_TAIL, R_STATUS,  0x2030,
				     0x2038,	   0x2028,     0x3ff8};
/* Those that the front end keeps and forwards. */
static const uint16_t forwarded[] = {R_DEVTAB,	 R_CMD_BASE,   R_EVT_BASE, R_CONTROL,
				     R_PPR_BASE, R_XT_GENERAL, R_XT_PPR,   R_XT_GA};

static uint8_t bytes[MEMORY] __attribute__((aligned(4096)));
static const struct guest_memory memory = {
	.count = 1, .region = {{.gpa = 0, .size = MEMORY, .host = bytes, .fd = -1}}};
static struct bus mmio;
static struct unit u;

static uint64_t rd(uint64_t offset, unsigned width)
{
	uint64_t value;

	require(!bus_read(&mmio, WINDOW + offset, width, &value));
	require(!(value & ~width_mask(width)), "%llx in %u bytes", (unsigned long long)value,
		width);
	return value;
}

static void wr(uint64_t offset, unsigned width, uint64_t value)
{
	require(!bus_write(&mmio, WINDOW + offset, width, value));
}

static void check(void)
{
	amd_check_rings(u.engine);
	for (unsigned i = 0; i < ARRAY_SIZE(registers); i++) {
		const uint64_t whole = rd(registers[i], 8);

		require(rd(registers[i], 4) == (uint32_t)whole &&
				rd(registers[i] + 4, 4) == whole >> 32,
			"%x: the parts are not the whole", registers[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(forwarded); i++)
		require(rd(forwarded[i], 8) == amd_engine_reg(u.engine, forwarded[i]),
			"%x: not what the unit has", forwarded[i]);
	require(rd(R_EFR, 8) == amd_viommu_features(u.viommu).efr);
	require(rd(R_EFR2, 8) == amd_viommu_features(u.viommu).efr2);
}

static uint64_t input_value(struct input *in, uint16_t reg)
{
	const unsigned how = input_u8(in);
	static const uint64_t control[] = {C_IOMMU_EN | C_EVT_LOG_EN | C_CMD_BUF_EN,
					   C_EVT_INT_EN | C_COMWAIT_INT,
					   C_GA_EN,
					   C_XT_EN,
					   C_INT_CAP_XT_EN,
					   BIT(16),
					   BIT(43) | BIT(44),
					   BIT(58)};
	uint64_t value = 0;

	switch (how & 3) {
	case 0: /* a base, and for how much */
		return (uint64_t)(how >> 2) << 12 | (uint64_t)(input_u8(in) & 15) << 56 |
		       (reg == R_DEVTAB ? how & 15 : 0);
	case 1: /* a pointer, or bits of Status */
		return (uint64_t)input_u8(in) << (how & 4 ? 4 : 0);
	case 2:
		value = input_u8(in);
		for (unsigned i = 0; i < ARRAY_SIZE(control); i++)
			if (value & BIT(i))
				value |= control[i];
		return value;
	default:
		return input_u64(in);
	}
}

static void op_write(struct input *in)
{
	const unsigned which = input_u8(in);
	uint16_t offset = registers[which % ARRAY_SIZE(registers)];
	unsigned width = 8;

	if (which >= 0xf0)
		offset = input_u16(in) & (WINDOW_LENGTH - 1);
	else if (which >= 0xc0)
		offset += input_u8(in) & 7;
	if (which >= 0x80)
		width = input_width(in);
	if (offset + width <= WINDOW_LENGTH)
		wr(offset, width, input_value(in, offset));
}

/* What a driver has in memory: a command, or a quarter of an entry of the device table. */
static void op_memory(struct input *in)
{
	const uint16_t at = input_u16(in);
	uint64_t word[2] = {0};

	word[0] = (uint64_t)(at & 15) << 60;
	input_copy(in, (uint8_t *)word, at & 0x10 ? 16 : 4);
	guest_memory_write(&memory, (uint64_t)at << 2 & (MEMORY - 16), word, sizeof(word));
}

static void op_device(struct input *in)
{
	const unsigned how = input_u8(in);
	struct dma_space *ds = unit_space(&u, how & 1 ? DEVICE : 0);
	struct msi_msg msg, out;
	struct dma_segment seg[2];

	require(ds);
	if (how & 2) {
		dma_space_map(ds, input_number(in, how >> 2 & 7), 64, 1 + (how >> 5 & 1), seg, 2);
		return;
	}
	msg = (struct msi_msg){.addr = 0xfee00000 | (uint64_t)(how >> 2) << 12,
			       .data = input_u16(in)};
	amd_iommu_engine_remap(u.engine, how & 1 ? DEVICE : 0, &msg, &out, how & 0x80);
}

static void op_config(struct input *in)
{
	const unsigned width = 1u << input_pick(in, 3);
	const uint64_t at = ECAM + (UNIT_ID << 12) + (align_down(input_u8(in), width));
	uint64_t value;

	bus_write(&mmio, at, width, input_number(in, width));
	bus_read(&mmio, at, width, &value);
}

/*
 * The state is saved and restored, as it is or with something else in it: what is refused changes
 * nothing, what is accepted keeps every rule, and what was saved comes back as it was.
 */
static void op_state(struct input *in)
{
	static struct amd_viommu_state before, state, after;
	const unsigned how = input_u8(in), changes = how & 3;
	int ret;

	require(!amd_viommu_save(u.viommu, &before));
	state = before;
	for (unsigned i = 0; i < changes; i++) {
		const unsigned which = input_u8(in);
		struct amd_iommu_register *r = &state.unit.reg[which % AMD_IOMMU_STATE_REGISTERS];

		if (which & 0x80)
			((uint8_t *)&state)[input_u16(in) % sizeof(state)] ^= input_u8(in);
		else
			r->value = how & 4 ? input_u64(in) : r->value ^ BIT(input_u8(in) % 64);
	}
	ret = amd_viommu_restore(u.viommu, &state);
	check();
	require(!amd_viommu_save(u.viommu, &after));
	if (ret)
		require(!memcmp(&before, &after, sizeof(before)), "refused (%d) and changed", ret);
	else if (rd(R_CMD_HEAD, 4) == rd(R_CMD_TAIL, 4) && !changes)
		require(!memcmp(&before, &after, sizeof(before)), "not what was saved");
	require(changes || !ret, "%d: its own state is refused", ret);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct amd_iommu_features features[] = {
		{.efr = AMD_IOMMU_EFR_DEFAULT, .efr2 = AMD_IOMMU_EFR2_DEFAULT},
		{.efr = AMD_IOMMU_EFR_V2, .efr2 = AMD_IOMMU_EFR2_V2, .iotlb_sup = true},
		{.efr = AMD_IOMMU_EFR_FULL, .efr2 = AMD_IOMMU_EFR2_FULL, .iotlb_sup = true}};
	const struct platform platform = {.mmio = &mmio, .memory = &memory};
	uint64_t power_on[ARRAY_SIZE(registers)];
	struct input in = {data, size};

	memset(bytes, 0, sizeof(bytes));
	bus_init(&mmio);
	require(!unit_open_features(&u, &platform,
				    &features[input_pick(&in, ARRAY_SIZE(features))]));
	for (unsigned i = 0; i < ARRAY_SIZE(registers); i++)
		power_on[i] = rd(registers[i], 8);
	while (in.left) {
		switch (input_pick(&in, 8)) {
		case 0:
		case 1:
		case 2:
			op_write(&in);
			break;
		case 3:
			op_memory(&in);
			break;
		case 4:
			op_device(&in);
			break;
		case 5:
			op_config(&in);
			break;
		case 6:
			check();
			break;
		default:
			if (!input_pick(&in, 8))
				pci_root_reset(u.root);
			else
				op_state(&in);
		}
	}
	check();
	pci_root_reset(u.root);
	for (unsigned i = 0; i < ARRAY_SIZE(registers); i++)
		require(rd(registers[i], 8) == power_on[i], "%x after a reset", registers[i]);
	check();
	unit_close(&u);
	require(!mmio.count, "ranges are left on the bus");
	require(fuzz_messages() <= 64, "a guest fills the log");
	return 0;
}
