// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <string.h>

#include "tests/unit/pci_fixture.h"
#include "tests/unit/noise.h"

#define DEVFN	0x18
#define BAR	(MEM32 + 0x10000)
#define CONTROL 0x42
#define ENABLE	0x8000u
#define MASKALL 0x4000u
#define TABLE	0x800u
#define PBA	0x1000u
#define VECTORS 70u

static struct device dev;

static struct {
	unsigned calls;
	bool masked[2048];
	struct msi_msg msg[2048];
} told;

static void vector_changed(struct pci_function *fn, unsigned vector, const struct msi_msg *msg)
{
	(void)pci_msix_enabled(fn);
	told.calls++;
	told.masked[vector] = !msg;
	if (msg)
		told.msg[vector] = *msg;
}

static void put(unsigned offset, unsigned width, uint64_t value)
{
	bus_write(&mmio, BAR + offset, width, value);
}

static uint64_t get(unsigned offset, unsigned width)
{
	uint64_t value;

	bus_read(&mmio, BAR + offset, width, &value);
	return value;
}

static void msix_setup(void)
{
	setup();
	device_init(&dev);
	pci_add_bar(&dev.fn, 2, 0x2000, 0);
	cr_assert_eq(pci_add_msix(&dev.fn, VECTORS, 2, TABLE, PBA), 0);
	dev.fn.msix.vector_changed = vector_changed;
	memset(told.masked, true, sizeof(told.masked));
	cr_assert_eq(pci_root_add(root, &dev.fn, DEVFN), 0);
	cfg_write(DEVFN, 0x18, 4, BAR);
	cfg_write(DEVFN, 4, 2, 2);
}

static void msix_teardown(void)
{
	pci_function_fini(&dev.fn);
	teardown();
}

TestSuite(pci_msix, .init = msix_setup, .fini = msix_teardown);

Test(pci_msix, capability)
{
	cr_assert_eq(cfg_read(DEVFN, 0x40, 4), 0x00450011);
	cr_assert_eq(cfg_read(DEVFN, 0x44, 4), TABLE | 2);
	cr_assert_eq(cfg_read(DEVFN, 0x48, 4), PBA | 2);
	cfg_write(DEVFN, 0x40, 4, 0xffffffff);
	cr_assert_eq(cfg_read(DEVFN, 0x40, 4), 0xc0450011);
	cfg_write(DEVFN, 0x44, 4, 0xffffffff);
	cr_assert_eq(cfg_read(DEVFN, 0x44, 4), TABLE | 2);
}

Test(pci_msix, table_reset_values_and_widths)
{
	cr_assert_eq(get(TABLE + 12, 4), 1, "masked");
	put(TABLE + 16, 8, 0x11223344fee01fff);
	cr_assert_eq(get(TABLE + 16, 8), 0x11223344fee01ffc);
	put(TABLE + 24, 8, 0xfffffffeabcd1234);
	cr_assert_eq(get(TABLE + 24, 8), 0x00000000abcd1234);
	put(TABLE + 20, 4, 0x55667788);
	cr_assert_eq(get(TABLE + 16, 8), 0x55667788fee01ffc);
	cr_assert_eq(get(TABLE + 22, 2), 0x5566);
	cr_assert_eq(get(TABLE + 23, 1), 0x55);
	put(TABLE + 20, 2, 0);
	put(TABLE + 20, 1, 0);
	put(TABLE + 18, 4, 0);
	put(TABLE + 20, 8, 0);
	cr_assert_eq(get(TABLE + 16, 8), 0x55667788fee01ffc, "narrow or unaligned: ignored");
	cr_assert_eq(get(TABLE + 18, 4), 0xffffffff);
	cr_assert_eq(get(TABLE + 20, 8), UINT64_MAX);
	cr_assert_eq(get(TABLE + VECTORS * 16 - 4, 4), 1);
	cr_assert_eq(dev.reads, 0);
	get(TABLE + VECTORS * 16, 4);
	get(TABLE - 4, 4);
	get(PBA + 16, 8);
	cr_assert_eq(dev.reads, 3, "the device's own registers around them");
}

static void program(unsigned vector, uint32_t data, bool masked)
{
	put(TABLE + vector * 16, 8, 0xfee00000 + (vector << 12));
	put(TABLE + vector * 16 + 8, 8, data | (uint64_t)masked << 32);
}

Test(pci_msix, raise_and_pending)
{
	program(3, 0x33, false);
	cr_assert_eq(pci_msix_raise(&dev.fn, VECTORS), -EINVAL);
	cr_assert_eq(pci_msix_raise(&dev.fn, UINT32_MAX), -EINVAL);

	cfg_write(DEVFN, CONTROL, 2, ENABLE);
	cr_assert_eq(pci_msix_raise(&dev.fn, 3), 0);
	cr_assert_eq(sunk.sent, 1);
	cr_assert_eq(sunk.last.addr, 0xfee03000);
	cr_assert_eq(sunk.last.data, 0x33);

	put(TABLE + 3 * 16 + 12, 4, 1);
	cr_assert_eq(pci_msix_raise(&dev.fn, 3), 0);
	cr_assert_eq(pci_msix_raise(&dev.fn, 69), 0);
	cr_assert_eq(sunk.sent, 1, "masked");
	cr_assert_eq(get(PBA, 8), BIT(3));
	cr_assert_eq(get(PBA + 8, 4), BIT(5));
	put(PBA, 8, 0);
	put(PBA, 4, UINT32_MAX);
	cr_assert_eq(get(PBA, 8), BIT(3), "read only");

	put(TABLE + 3 * 16 + 8, 4, 0x44);
	cr_assert_eq(sunk.sent, 1);
	put(TABLE + 3 * 16 + 12, 4, 0);
	cr_assert_eq(sunk.sent, 2);
	cr_assert_eq(sunk.last.data, 0x44, "the message as it is when unmasked");
	cr_assert_eq(get(PBA, 8), 0);
	put(TABLE + 3 * 16 + 12, 4, 0);
	cr_assert_eq(sunk.sent, 2, "once");
	sunk.result = -EFAULT;
	cr_assert_eq(pci_msix_raise(&dev.fn, 3), -EFAULT);
}

Test(pci_msix, function_mask_holds_and_releases)
{
	program(0, 0x30, false);
	program(65, 0x65, false);
	program(66, 0x66, true);
	cfg_write(DEVFN, CONTROL, 2, ENABLE | MASKALL);
	cr_assert(pci_msix_enabled(&dev.fn));
	pci_msix_raise(&dev.fn, 0);
	pci_msix_raise(&dev.fn, 65);
	pci_msix_raise(&dev.fn, 66);
	cr_assert_eq(sunk.sent, 0);
	cr_assert_eq(get(PBA, 4), 1);
	cr_assert_eq(get(PBA + 8, 8), 6);
	cfg_write(DEVFN, CONTROL + 1, 1, ENABLE >> 8);
	cr_assert_eq(sunk.sent, 2);
	cr_assert_eq(sunk.last.data, 0x65);
	cr_assert_eq(get(PBA + 8, 8), 4, "masked by its own bit");
	cfg_write(DEVFN, CONTROL, 2, ENABLE);
	cr_assert_eq(sunk.sent, 2);
	cfg_write(DEVFN, CONTROL, 2, 0);
	cr_assert_not(pci_msix_enabled(&dev.fn));
}

Test(pci_msix, vector_changed_tells_every_effective_change)
{
	program(1, 0x31, false);
	program(2, 0x32, true);
	cr_assert_eq(told.calls, 0, "MSI-X is off: all are masked and stay so");
	cfg_write(DEVFN, CONTROL, 2, ENABLE);
	cr_assert_eq(told.calls, 1);
	cr_assert_not(told.masked[1]);
	cr_assert_eq(told.msg[1].addr, 0xfee01000);
	cr_assert_eq(told.msg[1].data, 0x31);
	cfg_write(DEVFN, CONTROL, 2, ENABLE | MASKALL);
	cr_assert(told.masked[1]);
	cfg_write(DEVFN, CONTROL, 2, MASKALL);
	cr_assert_eq(told.calls, 2, "masked either way");
	cfg_write(DEVFN, CONTROL, 2, ENABLE);
	cr_assert_eq(told.calls, 3);
	put(TABLE + 16 + 8, 4, 0x51);
	cr_assert_eq(told.msg[1].data, 0x51);
	put(TABLE + 16 + 8, 4, 0x51);
	cr_assert_eq(told.calls, 4, "nothing changed");
	put(TABLE + 16 + 12, 4, 1);
	cr_assert(told.masked[1]);
	put(TABLE + 16 + 8, 4, 0x61);
	cr_assert_eq(told.calls, 5, "masked: the message matters later");
	put(TABLE + 16 + 12, 4, 0);
	cr_assert_eq(told.msg[1].data, 0x61);
	cr_assert_not(told.masked[1]);
	pci_root_reset(root);
	cr_assert(told.masked[1]);
	cr_assert_eq(told.calls, 7);
}

Test(pci_msix, reset)
{
	program(1, 0x31, false);
	pci_msix_raise(&dev.fn, 1);
	cfg_write(DEVFN, CONTROL, 2, ENABLE | MASKALL);
	pci_root_reset(root);
	cr_assert_eq(cfg_read(DEVFN, CONTROL, 2), VECTORS - 1);
	cfg_write(DEVFN, 0x18, 4, BAR);
	cfg_write(DEVFN, 4, 2, 2);
	cr_assert_eq(get(TABLE + 16 + 12, 4), 1);
	cr_assert_eq(get(TABLE + 16, 8), 0);
	cr_assert_eq(get(PBA, 8), 0);
}

Test(pci_msix, geometry)
{
	struct device d;

	device_init(&d);
	pci_add_bar(&d.fn, 0, 0x1000, 0);
	pci_add_bar(&d.fn, 1, 0x100, PCI_BAR_IO);
	pci_add_bar(&d.fn, 2, 0x10000, PCI_BAR_64);
	cr_assert_eq(pci_add_msix(&d.fn, 0, 0, 0, 0x800), -EINVAL);
	cr_assert_eq(pci_add_msix(&d.fn, 2049, 2, 0, 0x9000), -EINVAL);
	cr_assert_eq(pci_add_msix(&d.fn, 1, 6, 0, 0x800), -EINVAL);
	cr_assert_eq(pci_add_msix(&d.fn, 1, 1, 0, 0x80), -EINVAL, "I/O");
	cr_assert_eq(pci_add_msix(&d.fn, 1, 3, 0, 0x80), -EINVAL, "upper half");
	cr_assert_eq(pci_add_msix(&d.fn, 1, 0, 4, 0x800), -EINVAL);
	cr_assert_eq(pci_add_msix(&d.fn, 1, 0, 0, 0x804), -EINVAL);
	cr_assert_eq(pci_add_msix(&d.fn, 2, 0, 0, 0x18), -EINVAL, "overlap");
	cr_assert_eq(pci_add_msix(&d.fn, 65, 0, 0x800, 0x7f8), -EINVAL, "overlap");
	cr_assert_eq(pci_add_msix(&d.fn, 2, 0, 0xff0, 0), -EINVAL, "over the end");
	cr_assert_eq(pci_add_msix(&d.fn, 65, 0, 0, 0xff8), -EINVAL, "over the end");
	cr_assert_eq(pci_add_msix(&d.fn, 1, 0, 0xfffffff8, 0), -EINVAL, "wraps");
	cr_assert_eq(pci_add_msix(&d.fn, 1, 0, 0, UINT32_MAX), -EINVAL);
	cr_assert_eq(pci_add_msix(&d.fn, 2048, 2, 0, 0x8000), 0);
	cr_assert_eq(pci_add_msix(&d.fn, 1, 0, 0, 0x800), -EINVAL, "second");
	cr_assert(pci_msix_covers(&d.fn, 2, 0x80ff));
	cr_assert_not(pci_msix_covers(&d.fn, 2, 0x8100));
	cr_assert_not(pci_msix_covers(&d.fn, 0, 0));
	pci_function_fini(&d.fn);
}

static struct device adopted;

static void adopt_setup(uint16_t control, uint32_t table, uint32_t pba)
{
	device_init(&adopted);
	pci_add_bar(&adopted.fn, 0, 0x4000, PCI_BAR_64);
	pci_add_bar(&adopted.fn, 2, 0x1000, 0);
	adopted.fn.config[0x70] = 0x11;
	pci_set16(&adopted.fn, 0x72, control);
	pci_set32(&adopted.fn, 0x74, table);
	pci_set32(&adopted.fn, 0x78, pba);
}

Test(pci_msix, adopt)
{
	adopt_setup(0xc007, 0x2000, 0x3000);
	cr_assert_eq(pci_adopt_msix(&adopted.fn, 0x74), -EINVAL, "no such capability");
	cr_assert_eq(pci_adopt_msix(&adopted.fn, 0xf8), -EINVAL, "over the end");
	cr_assert_eq(pci_adopt_msix(&adopted.fn, UINT32_MAX), -EINVAL);
	cr_assert_eq(pci_adopt_msix(&adopted.fn, 0x70), 0);
	cr_assert_eq(adopted.fn.msix.vectors, 8);
	cr_assert_eq(adopted.fn.msix.bar, 0);
	cr_assert_not(pci_msix_enabled(&adopted.fn), "starts off");
	cr_assert(pci_msix_covers(&adopted.fn, 0, 0x207f));
	cr_assert_not(pci_msix_covers(&adopted.fn, 0, 0x2080));
	cr_assert(pci_msix_covers(&adopted.fn, 0, 0x3000));
	pthread_mutex_lock(&adopted.fn.lock);
	pci_config_write(&adopted.fn, 0x72, 2, 0xffff);
	pthread_mutex_unlock(&adopted.fn.lock);
	cr_assert_eq(pci_get16(&adopted.fn, 0x72), 0xc007);
	pci_function_fini(&adopted.fn);
}

Test(pci_msix, adopt_bad_and_odd_geometry)
{
	adopt_setup(0x07ff, 0x2000, 0x3000);
	cr_assert_eq(pci_adopt_msix(&adopted.fn, 0x70), -EINVAL, "2048 entries do not fit");
	pci_function_fini(&adopted.fn);
	adopt_setup(7, 0x2007, 0x3007);
	cr_assert_eq(pci_adopt_msix(&adopted.fn, 0x70), -EINVAL, "BAR 7");
	pci_function_fini(&adopted.fn);
	adopt_setup(7, 0x2000, 0x800 | 2);
	cr_assert_eq(pci_adopt_msix(&adopted.fn, 0x70), 0, "PBA in another BAR");
	cr_assert(pci_msix_covers(&adopted.fn, 0, 0x2000));
	cr_assert_not(pci_msix_covers(&adopted.fn, 2, 0x800));
	cr_assert_not(pci_msix_covers(&adopted.fn, 0, UINT32_MAX));
	pci_function_fini(&adopted.fn);
}

/* A vector is delivered or pending, never both and never lost, whatever the guest writes. */
Test(pci_msix, hostile_writes)
{
	unsigned seed = 3;

	for (int step = 0; step < 50000; step++) {
		unsigned width = 1u << noise(&seed) % 4;
		unsigned offset = TABLE - 16 + noise(&seed) % 0x820;
		unsigned vector = noise(&seed) % VECTORS, before;
		uint64_t pending;

		put(offset, width, (uint64_t)noise(&seed) << 33 ^ (uint64_t)noise(&seed));
		get(offset, width);
		if (step % 16 == 0)
			cfg_write(DEVFN, CONTROL, 2, (uint32_t)noise(&seed) << 3);
		before = sunk.sent;
		pci_msix_raise(&dev.fn, vector);
		pending = get(PBA + vector / 64 * 8, 8) & BIT(vector % 64);
		cr_assert_eq(sunk.sent - before, pending ? 0 : 1);
		cr_assert_eq(told.masked[vector], pending != 0);
	}
	cr_assert_gt(sunk.sent, 1000);
}

/* Two vCPUs write the same vector: what was told last is what the table says. */
static void *writer(void *arg)
{
	uint32_t data = *(uint32_t *)arg;

	for (int i = 0; i < 2000; i++) {
		put(TABLE + 8, 4, data + (uint32_t)i);
		if (i % 64 == 0) {
			put(TABLE + 12, 4, 1);
			cfg_write(DEVFN, CONTROL, 2, ENABLE | MASKALL);
			pci_msix_raise(&dev.fn, 0);
			cfg_write(DEVFN, CONTROL, 2, ENABLE);
			put(TABLE + 12, 4, 0);
		}
	}
	return NULL;
}

static int count_send(struct msi_sink *s, const struct msi_msg *msg)
{
	(void)s, (void)msg;
	sunk.sent++;
	return 0;
}

Test(pci_msix, concurrent_writers_lose_no_update)
{
	static const struct msi_sink_ops ops = {.send = count_send};
	struct msi_sink counting = {.ops = &ops};
	uint32_t data[2] = {0x10000, 0x20000};
	pthread_t thread[2];

	dev.fn.sink = &counting;
	program(0, 0, false);
	cfg_write(DEVFN, CONTROL, 2, ENABLE);
	for (int i = 0; i < 2; i++)
		pthread_create(&thread[i], NULL, writer, &data[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	cr_assert_not(told.masked[0]);
	cr_assert_eq(told.msg[0].data, get(TABLE + 8, 4));
	cr_assert_gt(sunk.sent, 0);
	cr_assert_eq(get(PBA, 8), 0, "nothing is left pending");
}
