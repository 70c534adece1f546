// SPDX-License-Identifier: Apache-2.0
/*
 * MSI-X tables and pending bits, and MSI, written in any width and order while the device raises
 * its vectors: none is lost, none is sent while it is masked, and who follows the table is told.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/unit/pci_fixture.h"

#define VECTORS 5u
#define BAR	0x4000u
#define TABLE	0x1000u
#define PBA	0x2000u
#define DEVFN	PCI_DEVFN(2, 0)

static struct device device;
static struct {
	bool set;
	struct msi_msg msg;
} told[VECTORS];

static void changed(struct pci_function *fn, unsigned vector, const struct msi_msg *msg)
{
	(void)fn;
	require(vector < VECTORS);
	told[vector].set = msg;
	if (msg)
		told[vector].msg = *msg;
}

static uint32_t entry_word(unsigned vector, unsigned word)
{
	return (uint32_t)pci_msix_read(&device.fn, TABLE + 16 * vector + 4 * word, 4);
}

static uint16_t control(void)
{
	return pci_get16(&device.fn, device.fn.msix.capability + 2);
}

static bool pending(unsigned vector)
{
	return pci_msix_read(&device.fn, PBA, 8) >> vector & 1;
}

static bool deliverable(unsigned vector)
{
	return (control() & 0xc000) == 0x8000 && !(entry_word(vector, 3) & 1);
}

static void check(void)
{
	require(!(pci_msix_read(&device.fn, PBA, 8) >> VECTORS), "vectors that there are not");
	for (unsigned v = 0; v < VECTORS; v++) {
		const uint64_t addr = entry_word(v, 0) | (uint64_t)entry_word(v, 1) << 32;

		require(!(deliverable(v) && pending(v) && !sunk.result), "%u waits for nothing", v);
		require(told[v].set == deliverable(v), "%u: not told", v);
		require(!told[v].set ||
				(told[v].msg.addr == addr && told[v].msg.data == entry_word(v, 2)),
			"%u: told of another message", v);
		require(!(entry_word(v, 3) & ~1u) && !(entry_word(v, 0) & 3),
			"reserved bits of an entry");
		for (unsigned w = 0; w < 4; w += 2)
			require(pci_msix_read(&device.fn, TABLE + 16 * v + 4 * w, 8) ==
				(entry_word(v, w) | (uint64_t)entry_word(v, w + 1) << 32));
	}
}

static void op_raise(struct input *in)
{
	const unsigned how = input_u8(in), vector = how % (VECTORS + 1), before = sunk.sent;
	bool now, was;
	int ret;

	if (how & 0x80) {
		pci_msi_raise(&device.fn);
		return;
	}
	now = vector < VECTORS && deliverable(vector);
	was = vector < VECTORS && pending(vector);
	ret = pci_msix_raise(&device.fn, vector);
	if (vector == VECTORS) {
		require(ret == -EINVAL);
		return;
	}
	if (now)
		require(sunk.sent == before + 1 && sunk.last.data == entry_word(vector, 2),
			"%u was not sent", vector);
	else
		require(sunk.sent == before && (pending(vector) || was || !(control() & 0x8000)),
			"%u was sent, or lost", vector);
}

static void op_table(struct input *in)
{
	const unsigned how = input_u8(in), width = 1u << (how & 3);
	uint64_t offset = TABLE + (how >> 2 & 31) * 4 % (16 * VECTORS), value;

	if (how & 0x80)
		offset += input_u8(in) - 128u;
	value = input_number(in, width > 4 ? 4 : width);
	if (offset + width > BAR)
		return;
	device_ops.bar_write(&device.fn, 0, offset, width, value);
	value = device_ops.bar_read(&device.fn, 0, offset, width);
	require(!(value & ~width_mask(width)) || !pci_msix_covers(&device.fn, 0, offset));
}

static void op_config(struct input *in)
{
	const unsigned how = input_u8(in), width = 1u << (how & 3) % 3;
	const unsigned base = how & 0x40 ? device.fn.msi_capability : device.fn.msix.capability;
	unsigned at = base + 2;

	if (how & 0x20)
		at = base + (how >> 2 & 7) * 2;
	cfg_write(DEVFN, align_down(at, width), width,
		  how & 0x80 ? input_u32(in) : (uint32_t)input_u8(in) << (width == 2 ? 8 : 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	setup();
	memset(&sunk, 0, sizeof(sunk));
	memset(told, 0, sizeof(told));
	device_init(&device);
	require(!pci_add_bar(&device.fn, 0, BAR, 0));
	require(!pci_add_msi(&device.fn));
	require(!pci_add_msix(&device.fn, VECTORS, 0, TABLE, PBA));
	device.fn.msix.vector_changed = changed;
	require(!pci_root_add(root, &device.fn, DEVFN));
	while (in.left) {
		switch (input_pick(&in, 8)) {
		case 0:
		case 1:
			op_table(&in);
			break;
		case 2:
		case 3:
			op_config(&in);
			break;
		case 4:
		case 5:
			op_raise(&in);
			break;
		case 6:
			sunk.result = input_pick(&in, 4) ? 0 : -EACCES;
			break;
		default:
			check();
			if (!input_pick(&in, 16))
				pci_root_reset(root);
		}
	}
	check();
	pci_root_reset(root);
	for (unsigned v = 0; v < VECTORS; v++)
		require(!pending(v) && entry_word(v, 3) == 1 && !told[v].set, "after a reset");
	pci_function_fini(&device.fn);
	teardown();
	require(fuzz_messages() <= 64, "a guest fills the log");
	return 0;
}
