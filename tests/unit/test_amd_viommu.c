// SPDX-License-Identifier: Apache-2.0
/*
 * The vIOMMU's front end, through the bus and configuration space, on a soft vIOMMU whose driver is
 * an array of registers: what reaches it and what the guest reads back.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#include "devices/amd_iommu/amd_viommu.h"
#include "postern/bits.h"
#include "tests/unit/fake_engine.h"

#define WINDOW UINT64_C(0xfeb80000)
#define DEVFN  PCI_DEVFN(1, 0)
#define EFR    AMD_IOMMU_EFR_DEFAULT

/* What Linux leaves in Control after boot with the default features. */
#define CONTROL_RUN (BIT(0) | BIT(2) | BIT(3) | BIT(10) | BIT(12) | BIT(17) | BIT(50) | BIT(51))

static struct bus mmio, pio;
static struct pci_root *root;
static struct iommufd *ctx;
static struct viommu_port *port;
static struct amd_iommu_engine *engine;
static struct amd_viommu *viommu;
static unsigned sent;
static struct msi_msg last_msg;

static int sink_send(struct msi_sink *sink, const struct msi_msg *msg)
{
	(void)sink;
	sent++;
	last_msg = *msg;
	return 0;
}

static const struct msi_sink_ops sink_ops = {.send = sink_send};
static struct msi_sink sink = {.ops = &sink_ops, .devid = DEVFN};

static void new_buses(void)
{
	static const struct pci_windows windows = {.ecam_base = 0xe0000000,
						   .buses = 1,
						   .mem32_base = 0xc0000000,
						   .mem32_size = 0x10000000,
						   .mem64_base = UINT64_C(1) << 40,
						   .mem64_size = UINT64_C(1) << 36,
						   .io_base = 0x1000,
						   .io_size = 0x1000};

	bus_init(&mmio);
	bus_init(&pio);
	cr_assert_eq(pci_root_new(&root, &mmio, &pio, &windows), 0);
}

static void start(const struct amd_iommu_features *features)
{
	struct amd_viommu_config config = {
		.window = WINDOW, .mmio = &mmio, .devfn = DEVFN, .sink = &sink, .np_cache = true};

	new_buses();
	cr_assert_eq(iommufd_open_soft(&ctx, NULL), 0);
	iommufd_soft_set_driver(ctx, &fake_driver);
	cr_assert_eq(iommufd_soft_set_hw(ctx, features, DEVFN), 0);
	cr_assert_eq(viommu_iommufd_port_new(ctx, features, &port, &engine), 0);
	cr_assert_not_null(engine);
	config.port = port;
	config.root = root;
	cr_assert_eq(amd_viommu_new(&config, &viommu), 0);
}

static void set_up(void)
{
	const struct amd_iommu_features features = {.efr = EFR, .efr2 = AMD_IOMMU_EFR2_DEFAULT};

	start(&features);
}

static void tear_down(void)
{
	pci_root_free(root);
	amd_viommu_free(viommu);
	iommufd_close(ctx);
}

TestSuite(amd_viommu, .init = set_up, .fini = tear_down);

static uint64_t rd(uint64_t offset, unsigned width)
{
	uint64_t value;

	cr_assert_eq(bus_read(&mmio, WINDOW + offset, width, &value), 0);
	return value;
}

static void wr(uint64_t offset, unsigned width, uint64_t value)
{
	cr_assert_eq(bus_write(&mmio, WINDOW + offset, width, value), 0);
}

static uint64_t behind(uint16_t offset)
{
	return fake_engine(engine)->reg[offset / 8];
}

static uint64_t commands_set(void)
{
	uint64_t set, get;

	iommufd_viommu_command_count(ctx, &set, &get);
	return set;
}

Test(amd_viommu, reset_values)
{
	cr_expect_eq(rd(0x00, 8), 0);
	cr_expect_eq(rd(0x08, 8), 8ull << 56);
	cr_expect_eq(rd(0x10, 8), 8ull << 56);
	cr_expect_eq(rd(0x38, 8), 8ull << 56);
	cr_expect_eq(rd(0x18, 8), BIT(10));
	cr_expect_eq(rd(0x30, 8), EFR);
	cr_expect_eq(rd(0x30, 4), EFR);
	cr_expect_eq(rd(0x34, 4), 0);
	cr_expect_eq(rd(0x1a0, 8), 0);
	cr_expect_eq(rd(0x150, 4), 2 << 5 | 52 << 8 | 64 << 15);
	cr_expect_eq(amd_viommu_features(viommu).efr, EFR);
}

Test(amd_viommu, wide_write_is_one_command)
{
	wr(0x08, 8, 9ull << 56 | 0x123456000);
	cr_expect_eq(behind(0x08), 9ull << 56 | 0x123456000);
	cr_expect_eq(commands_set(), 1);
	cr_expect_eq(rd(0x08, 8), 9ull << 56 | 0x123456000);
	cr_expect_eq(rd(0x08, 4), 0x23456000);
	cr_expect_eq(rd(0x0c, 4), 0x09000001);
}

Test(amd_viommu, halves_are_merged)
{
	static const uint16_t reg[] = {0x00, 0x08, 0x10, 0x38, 0x170, 0x178, 0x180};

	for (size_t i = 0; i < ARRAY_SIZE(reg); i++) {
		uint64_t wide, before = commands_set();

		wr(reg[i], 8, UINT64_C(0x0b01234565432107));
		wide = behind(reg[i]);
		cr_expect(wide);
		wr(reg[i], 8, 0);
		wr(reg[i], 4, 0x65432107);
		cr_expect_eq(behind(reg[i]), wide & 0xffffffff, "%#x", reg[i]);
		wr(reg[i] + 4u, 4, 0x0b012345);
		cr_expect_eq(behind(reg[i]), wide, "%#x", reg[i]);
		cr_expect_eq(rd(reg[i], 8), wide, "%#x", reg[i]);
		cr_expect_eq(commands_set(), before + 4);
		wr(reg[i] + 4u, 4, 0);
		cr_expect_eq(rd(reg[i], 8), wide & 0xffffffff, "%#x", reg[i]);
	}
}

Test(amd_viommu, reserved_bits_read_zero)
{
	wr(0x00, 8, ~0ull);
	cr_expect_eq(rd(0x00, 8), GENMASK(51, 12) | GENMASK(8, 0));
	wr(0x08, 8, ~0ull);
	cr_expect_eq(rd(0x08, 8), GENMASK(51, 12) | GENMASK(59, 56));
	wr(0x170, 8, ~0ull);
	cr_expect_eq(rd(0x170, 8), BIT(2) | GENMASK(40, 8) | GENMASK(63, 56));
	wr(0x20, 8, ~0ull);
	cr_expect_eq(rd(0x20, 8), GENMASK(51, 12) | 3);
	cr_expect_eq(behind(0x20), GENMASK(51, 12) | 3);
}

Test(amd_viommu, control_is_masked_by_features)
{
	/* Everything that is not advertised: PPR, GT, GAM, dual logs, segments, vIOMMU, SNP... */
	const uint64_t always = GENMASK(12, 0) | GENMASK(21, 18) | BIT(23);

	wr(0x18, 8, ~0ull);
	cr_expect_eq(rd(0x18, 8), always | BIT(17) | BIT(50) | BIT(51), "%#llx",
		     (unsigned long long)rd(0x18, 8));
	cr_expect_eq(behind(0x18), rd(0x18, 8));
	wr(0x18, 8, CONTROL_RUN);
	cr_expect_eq(rd(0x18, 8), CONTROL_RUN);
	cr_expect_eq(behind(0x18), CONTROL_RUN);
}

Test(amd_viommu_features, control, .fini = tear_down)
{
	/* PPR, GT, GA, DevTblSegSup 2; 2048 interrupts. */
	const struct amd_iommu_features features = {
		.efr = BIT(1) | BIT(4) | BIT(7) | FIELD_PREP(GENMASK(39, 38), 2), .efr2 = BIT(8)};

	start(&features);
	wr(0x18, 8, GENMASK(17, 13) | BIT(43) | BIT(50));
	cr_expect_eq(rd(0x18, 8), GENMASK(17, 13) | BIT(43));
	wr(0x18, 8, FIELD_PREP(GENMASK(36, 34), 2));
	cr_expect_eq(rd(0x18, 8), FIELD_PREP(GENMASK(36, 34), 2));
	wr(0x18, 8, FIELD_PREP(GENMASK(36, 34), 3) | 1);
	cr_expect_eq(rd(0x18, 8), FIELD_PREP(GENMASK(36, 34), 2) | 1, "more than there are");
	wr(0x170, 8, ~0ull);
	cr_expect_eq(rd(0x170, 8), 0, "no XT, no such register");
	cr_expect_eq(rd(0x1a0, 8), BIT(8));
}

Test(amd_viommu, features_are_those_of_the_unit_too)
{
	const struct amd_iommu_features features = {.efr = EFR | BIT(4), .efr2 = 8};
	struct viommu_port *second;

	cr_assert_eq(viommu_iommufd_port_new(ctx, &features, &second, NULL), 0);
	cr_expect_eq(second->features.efr, EFR);
	cr_expect_eq(second->features.efr2, 0);
	second->ops->free(second);
}

Test(amd_viommu, refused_write_keeps_the_old_value)
{
	wr(0x08, 8, 9ull << 56 | 0x1000);
	fake_engine(engine)->refuse = -EBUSY;
	wr(0x08, 8, 9ull << 56 | 0x2000);
	cr_expect_eq(rd(0x08, 8), 9ull << 56 | 0x1000);
	wr(0x18, 8, 1);
	cr_expect_eq(rd(0x18, 8), BIT(10));
	fake_engine(engine)->refuse = 0;
	wr(0x08, 8, 9ull << 56 | 0x2000);
	cr_expect_eq(rd(0x08, 8), 9ull << 56 | 0x2000);
}

Test(amd_viommu, ignored_write_keeps_the_old_value)
{
	wr(0x08, 8, 9ull << 56 | 0x1000);
	/* The unit takes the call and leaves the base of its running ring alone. */
	fake_engine(engine)->frozen = true;
	wr(0x08, 4, 0x2000);
	cr_expect_eq(rd(0x08, 8), 9ull << 56 | 0x1000);
}

Test(amd_viommu, vf_page_goes_through)
{
	wr(0x2008, 4, 0xffffffff);
	cr_expect_eq(behind(0x2008), 0x7fff0);
	cr_expect_eq(rd(0x2008, 4), 0x7fff0);
	cr_expect_eq(rd(0x200c, 4), 0);
	wr(0x2008, 8, 0x40);
	cr_expect_eq(rd(0x2008, 8), 0x40);
	cr_expect_eq(commands_set(), 2);
	/* Nothing of a high half can be written. */
	wr(0x200c, 4, 0xffffffff);
	cr_expect_eq(commands_set(), 2);
	/* Read where they are, not from a shadow. */
	fake_engine(engine)->reg[0x2000 / 8] = 0x80;
	cr_expect_eq(rd(0x2000, 4), 0x80);
}

Test(amd_viommu, status_carries_only_what_is_written)
{
	fake_engine(engine)->reg[0x2020 / 8] = 0x1f;
	cr_expect_eq(rd(0x2020, 4), 0x1f);
	wr(0x2020, 4, 2 | 8 | 16);
	cr_expect_eq(fake_engine(engine)->last_index, 0x2020);
	cr_expect_eq(fake_engine(engine)->last_value, 2, "one bit to clear, Run bits are RO");
	wr(0x2020, 4, 8 | 16);
	cr_expect_eq(fake_engine(engine)->last_value, 0);
}

Test(amd_viommu, odd_accesses)
{
	static const struct {
		uint64_t offset;
		unsigned width;
	} odd[] = {{0x18, 1}, {0x18, 2}, {0x19, 1},   {0x1a, 2},   {0x1a, 4},	{0x1c, 8},
		   {0x14, 8}, {0x19, 8}, {0x2008, 1}, {0x2008, 2}, {0x2009, 4}, {0x200c, 8}};

	wr(0x18, 8, CONTROL_RUN);
	wr(0x2008, 4, 0x40);
	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		wr(odd[i].offset, odd[i].width, ~0ull);
		cr_expect_eq(rd(odd[i].offset, odd[i].width), 0, "%zu", i);
	}
	cr_expect_eq(rd(0x18, 8), CONTROL_RUN);
	cr_expect_eq(rd(0x2008, 4), 0x40);
	cr_expect_eq(commands_set(), 2);
	/* Not there: read as 0, written to nothing. The last access runs over the end. */
	wr(0x3ff8, 8, ~0ull);
	cr_expect_eq(rd(0x3ff8, 8), 0);
	cr_expect_eq(rd(0x1ff8, 8), 0);
	cr_expect_eq(bus_write(&mmio, WINDOW + 0x3ffc, 8, 0), -ENOENT);
}

Test(amd_viommu, forwarded_writes_are_commands)
{
	struct amd_viommu_stats stats;

	wr(0x00, 8, 0x1000); /* forwarded */
	wr(0x30, 8, ~0ull);  /* read-only */
	wr(0x18, 1, 1);	     /* too narrow */
	wr(0x2008, 4, 0x20); /* forwarded */
	wr(0x3000, 8, 1);    /* not there */
	fake_engine(engine)->refuse = -EBUSY;
	wr(0x08, 8, 0x1000); /* forwarded, refused */
	rd(0x30, 8);
	amd_viommu_stats(viommu, &stats);
	cr_expect_eq(stats.writes, 6);
	cr_expect_eq(stats.reads, 1);
	cr_expect_eq(stats.forwarded, 3);
	cr_expect_eq(stats.ignored, 4);
	cr_expect_eq(commands_set(), stats.forwarded);
}

static uint32_t config_read(unsigned offset)
{
	uint64_t value;

	bus_write(&pio, 0xcf8, 4, 0x80000000u | DEVFN << 8 | offset);
	cr_assert_eq(bus_read(&pio, 0xcfc, 4, &value), 0);
	return (uint32_t)value;
}

static void config_write(unsigned offset, uint32_t value)
{
	bus_write(&pio, 0xcf8, 4, 0x80000000u | DEVFN << 8 | offset);
	bus_write(&pio, 0xcfc, 4, value);
}

Test(amd_viommu, pci_function)
{
	cr_expect_eq(config_read(0), 0x14191022);
	cr_expect_eq(config_read(8) >> 8, 0x080600);
	cr_expect_eq(config_read(0x34) & 0xff, 0x40);
	/* Id 0Fh, type 3, revision 1, NpCache, EFRSup, CapExt; no IotlbSup, no HtTunnel. */
	cr_expect_eq(config_read(0x40) & 0xffff00ff, 0x1c0b000f, "%#x", config_read(0x40));
	cr_expect_eq(config_read(0x44), (uint32_t)WINDOW | 1);
	cr_expect_eq(config_read(0x48), 0);
	cr_expect_eq(config_read(0x4c), 0);
	cr_expect_eq(config_read(0x50), rd(0x150, 4));
	cr_expect_eq(config_read(0x54), 0);
	config_write(0x44, 0);
	config_write(0x40, 0);
	cr_expect_eq(config_read(0x44), (uint32_t)WINDOW | 1, "locked");
	cr_expect_eq(config_read(0x40) & 0xff, 0xf);
}

static unsigned find_msi(void)
{
	unsigned at = config_read(0x34) & 0xff;

	for (unsigned i = 0; i < 16 && at; i++) {
		if ((config_read(at) & 0xff) == 5)
			return at;
		at = config_read(at) >> 8 & 0xff;
	}
	return 0;
}

Test(amd_viommu, msi)
{
	unsigned at = find_msi();

	cr_assert_neq(at, 0);
	amd_viommu_msi(viommu);
	cr_expect_eq(sent, 0, "MSI is off");
	config_write(at + 4, 0xfee01000);
	config_write(at + 12, 0x31);
	config_write(at, 1 << 16);
	amd_viommu_msi(viommu);
	cr_expect_eq(sent, 1);
	cr_expect_eq(last_msg.addr, 0xfee01000);
	cr_expect_eq(last_msg.data, 0x31);
}

Test(amd_viommu, vdevices)
{
	uint32_t dev;

	cr_assert_eq(iommufd_soft_device_add(ctx, &dev), 0);
	cr_expect_eq(port->ops->vdevice_add(port, 0x18, 999), -ENOENT);
	cr_expect_eq(port->ops->vdevice_add(port, 0x18, dev), 0);
	cr_expect_eq(port->ops->vdevice_add(port, 0x20, dev), -EEXIST);
	/* Freed with the port: the same device can be had again. */
}

/* A stand-in port: resets are counted, and a doorbell waits until it is let go. */
static struct viommu_port waiting_port;
static unsigned resets;
static sem_t entered, leave;

static int waiting_write(struct viommu_port *p, uint16_t offset, uint64_t value)
{
	(void)p;
	(void)offset;
	(void)value;
	sem_post(&entered);
	sem_wait(&leave);
	return 0;
}

static int waiting_control(struct viommu_port *p, uint64_t value)
{
	return waiting_write(p, 0x18, value);
}

static int waiting_read(struct viommu_port *p, uint16_t offset, uint64_t *value)
{
	(void)p;
	*value = offset;
	return 0;
}

static void waiting_reset(struct viommu_port *p)
{
	(void)p;
	resets++;
}

static void waiting_free(struct viommu_port *p)
{
	(void)p;
}

static const struct viommu_port_ops waiting_ops = {
	.control_set = waiting_control,
	.register_set = waiting_write,
	.vf_page_write = waiting_write,
	.vf_page_read = waiting_read,
	.reset = waiting_reset,
	.free = waiting_free,
};

static void start_waiting(void)
{
	struct amd_viommu_config config = {.window = WINDOW,
					   .port = &waiting_port,
					   .mmio = &mmio,
					   .devfn = DEVFN,
					   .sink = &sink};

	new_buses();
	sem_init(&entered, 0, 0);
	sem_init(&leave, 0, 0);
	waiting_port.ops = &waiting_ops;
	waiting_port.features.efr = EFR;
	config.root = root;
	cr_assert_eq(amd_viommu_new(&config, &viommu), 0);
}

static void stop_waiting(void)
{
	pci_root_free(root);
	amd_viommu_free(viommu);
}

TestSuite(amd_viommu_port, .init = start_waiting, .fini = stop_waiting);

static void *ring(void *arg)
{
	uint64_t offset = *(uint64_t *)arg;

	bus_write(&mmio, WINDOW + offset, 8, offset == 0x18 ? BIT(12) : 0x40);
	return NULL;
}

/* While one vCPU runs the ring, by the doorbell or by Control, another reads and rings too. */
/* A guest that need not flush what it maps is not told to. */
Test(amd_viommu_port, no_np_cache)
{
	cr_expect_eq(config_read(0x40) & 0xffff00ff, 0x180b000f, "%#x", config_read(0x40));
}

Test(amd_viommu_port, readers_do_not_wait, .timeout = 10)
{
	uint64_t offset[2] = {0x18, 0x2008};
	pthread_t thread[2];

	for (int i = 0; i < 2; i++) {
		cr_assert_eq(pthread_create(&thread[i], NULL, ring, &offset[i]), 0);
		sem_wait(&entered);
		cr_expect_eq(rd(0x2020, 4), 0x2020);
		cr_expect_eq(rd(0x18, 8), BIT(10));
		cr_expect_eq(rd(0x30, 8), EFR);
	}
	sem_post(&leave);
	sem_post(&leave);
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	/* This port cannot read back: what was written counts. */
	cr_expect_eq(rd(0x18, 8), BIT(12));
}

Test(amd_viommu_port, reset)
{
	sem_post(&leave);
	sem_post(&leave);
	wr(0x18, 8, CONTROL_RUN);
	wr(0x20, 8, 0x1000);
	cr_expect_eq(rd(0x18, 8), CONTROL_RUN);
	pci_root_reset(root);
	cr_expect_eq(resets, 1);
	cr_expect_eq(rd(0x18, 8), BIT(10));
	cr_expect_eq(rd(0x20, 8), 0);
	cr_expect_eq(rd(0x30, 8), EFR);
	cr_expect_eq(rd(0x08, 8), 8ull << 56);
}

Test(amd_viommu, bad_configuration)
{
	struct amd_viommu_config config = {
		.window = WINDOW + 0x1000, .port = port, .mmio = &mmio, .devfn = DEVFN + 8};
	struct amd_viommu *second = NULL;

	config.root = root;
	cr_expect_eq(amd_viommu_new(&config, &second), -EINVAL);
	config.window = WINDOW;
	cr_expect_eq(amd_viommu_new(&config, &second), -EEXIST);
	cr_expect(second == NULL);
	cr_expect_eq(rd(0x30, 8), EFR, "the first is unharmed");
}

/* Any access anywhere: no crash, and what is read-only stays. Reproducible, so not truly random. */
Test(amd_viommu, random_accesses)
{
	static const unsigned width[] = {1, 2, 4, 8};
	uint64_t x = 0x9e3779b97f4a7c15, value;
	struct amd_viommu_stats stats;

	for (unsigned i = 0; i < 200000; i++) {
		uint64_t offset;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		/* Half of them where the registers are. */
		offset = x & 1 ? x >> 8 & 0x3fff : (x >> 8 & 0x21ff) & ~UINT64_C(3);
		if (x & 2)
			bus_write(&mmio, WINDOW + offset, width[x >> 2 & 3],
				  x * 0x2545f4914f6cdd1d);
		else
			bus_read(&mmio, WINDOW + offset, width[x >> 2 & 3], &value);
	}
	cr_expect_eq(rd(0x30, 8), EFR);
	cr_expect_eq(rd(0x1a0, 8), 0);
	cr_expect_eq(rd(0x150, 4), config_read(0x50));
	cr_expect_eq(rd(0x18, 8) & ~(GENMASK(12, 0) | GENMASK(23, 17) | GENMASK(51, 50)), 0);
	cr_expect_eq(rd(0x08, 8) & ~(GENMASK(51, 12) | GENMASK(59, 56)), 0);
	cr_expect_eq(behind(0x30), 0, "read-only registers are not forwarded");
	amd_viommu_stats(viommu, &stats);
	cr_expect(stats.forwarded > 1000);
	cr_expect_eq(stats.forwarded, commands_set());
}
