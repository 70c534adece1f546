// SPDX-License-Identifier: Apache-2.0
/*
 * The whole path of a register write: guest, window, VIOMMU_COMMAND, soft iommufd, engine and back,
 * in the order in which Linux brings the unit up (drivers/iommu/amd/init.c).
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/fake_engine.h"

#include "devices/amd_iommu/amd_viommu.h"
#include "postern/bits.h"
#include "postern/log.h"

#if __has_include("iommufd/amd/engine.c")

#define WINDOW	  UINT64_C(0xfeb80000)
#define DEVFN	  PCI_DEVFN(1, 0)
#define RAM_SIZE  (4 * MIB)
#define RING	  UINT64_C(0x100000)
#define EVENT_LOG UINT64_C(0x110000)
#define DEVTAB	  UINT64_C(0x200000)
#define SEMAPHORE UINT64_C(0x300000)

static uint8_t ram[RAM_SIZE] __attribute__((aligned(4096)));
static struct guest_memory memory = {
	.count = 1, .region = {{.gpa = 0, .size = RAM_SIZE, .host = ram, .fd = -1}}};
static struct bus mmio, pio;
static struct pci_root *root;
static struct iommufd *ctx;
static struct amd_viommu *viommu;
static struct amd_iommu_engine *engine;
static struct msi_sink sink;

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

static void wr_halves(uint64_t offset, uint64_t value)
{
	wr(offset, 4, (uint32_t)value);
	wr(offset + 4, 4, value >> 32);
}

static void control_or(uint64_t bits)
{
	wr(0x18, 8, rd(0x18, 8) | bits);
}

static void set_up(void)
{
	static const struct pci_windows windows = {.ecam_base = 0xe0000000,
						   .buses = 1,
						   .mem32_base = 0xc0000000,
						   .mem32_size = 0x10000000};
	const struct amd_iommu_features features = {.efr = AMD_IOMMU_EFR_DEFAULT};
	struct amd_viommu_config config = {
		.window = WINDOW, .mmio = &mmio, .devfn = DEVFN, .sink = &sink};

	bus_init(&mmio);
	bus_init(&pio);
	cr_assert_eq(pci_root_new(&root, &mmio, &pio, &windows), 0);
	cr_assert_eq(iommufd_open_soft(&ctx, &memory), 0);
	cr_assert_eq(iommufd_soft_set_hw(ctx, &features, DEVFN), 0);
	cr_assert_eq(viommu_iommufd_port_new(ctx, &features, &config.port, &engine), 0);
	config.root = root;
	cr_assert_eq(amd_viommu_new(&config, &viommu), 0);
	wr_halves(0x00, DEVTAB | 0x1ff);
	wr_halves(0x08, RING | 9ull << 56);
	wr(0x2000, 4, 0);
	wr(0x2008, 4, 0);
	control_or(BIT(12));
	control_or(BIT(17) | BIT(50));
}

static void tear_down(void)
{
	pci_root_free(root);
	amd_viommu_free(viommu);
	iommufd_close(ctx);
}

TestSuite(amd_viommu_engine, .init = set_up, .fini = tear_down);

/* COMPLETION_WAIT with a store at SLOT of the ring. */
static void put_wait(unsigned slot, uint64_t value)
{
	uint64_t command[2] = {1ull << 60 | SEMAPHORE | 1, value};

	memcpy(&ram[RING + slot * 16], command, sizeof(command));
}

static uint64_t semaphore(void)
{
	uint64_t value;

	memcpy(&value, &ram[SEMAPHORE], sizeof(value));
	return value;
}

Test(amd_viommu_engine, a_command_runs)
{
	cr_expect_eq(rd(0x2020, 4) & BIT(4), 0, "CmdBufRun waits for IommuEn");
	put_wait(0, 0x1234);
	wr(0x2008, 4, 0x10);
	cr_expect_eq(semaphore(), 0);
	control_or(BIT(0));
	cr_expect_eq(rd(0x2020, 4) & BIT(4), BIT(4));
	cr_expect_eq(semaphore(), 0x1234, "what was queued runs with the enable");
	put_wait(1, 0x5678);
	wr(0x2008, 4, 0x20);
	cr_expect_eq(semaphore(), 0x5678);
	cr_expect_eq(rd(0x2000, 4), 0x20);
}

Test(amd_viommu_engine, the_base_of_a_running_ring_stays)
{
	control_or(BIT(0));
	wr(0x08, 8, 0x180000 | 10ull << 56);
	cr_expect_eq(rd(0x08, 8), RING | 9ull << 56);
	/* The event log's may be set with the unit on: its own Run bit is clear. */
	wr_halves(0x10, EVENT_LOG | 9ull << 56);
	cr_expect_eq(rd(0x10, 8), EVENT_LOG | 9ull << 56);
	control_or(BIT(2));
	cr_expect_eq(rd(0x2020, 4) & BIT(3), BIT(3));
	wr_halves(0x10, 0x180000 | 9ull << 56);
	cr_expect_eq(rd(0x10, 8), EVENT_LOG | 9ull << 56);
}

/* ---- nobody waits for a ring that another vCPU runs ---- */

static void *read_registers(void *opaque)
{
	*(uint64_t *)opaque = rd(0x2020, 4) | rd(0x18, 8) << 32;
	return NULL;
}

static uint64_t seen;

static void read_elsewhere(struct amd_iommu_listener *listener, uint16_t devid, bool all)
{
	pthread_t thread;

	(void)listener;
	(void)devid;
	(void)all;
	cr_assert_eq(pthread_create(&thread, NULL, read_registers, &seen), 0);
	pthread_join(thread, NULL);
}

Test(amd_viommu_engine, another_vcpu_reads_while_a_ring_runs, .timeout = 20)
{
	struct amd_iommu_listener listener = {.interrupts_changed = read_elsewhere};
	uint64_t command[2] = {5ull << 60, 0};

	control_or(BIT(0));
	memcpy(&ram[RING], command, sizeof(command));
	amd_iommu_engine_listen(engine, &listener);
	wr(0x2008, 4, 0x10);
	amd_iommu_engine_unlisten(engine, &listener);
	cr_expect(seen & BIT(4), "CmdBufRun");
	cr_expect(seen >> 32 & BIT(12), "CmdBufEn");
}

static void read_here(void *opaque)
{
	read_registers(opaque);
}

/* engine.h: no lock is held when the unit's interrupt leaves. */
Test(amd_viommu_engine, its_interrupt_may_lead_back_to_a_register, .timeout = 20)
{
	uint64_t command[2] = {1ull << 60 | 2, 0};

	amd_iommu_engine_set_interrupts(engine, &seen, read_here, NULL);
	control_or(BIT(0) | BIT(4));
	memcpy(&ram[RING], command, sizeof(command));
	wr(0x2008, 4, 0x10);
	cr_expect(seen & BIT(2), "ComWaitInt");
}

/* In the log, once a register and kind, however often. */
Test(amd_viommu_engine, what_is_wrong_with_registers_is_told_once)
{
	static char text[4096];
	int fd = memfd_create("log", 0);
	unsigned lines = 0;

	cr_assert_geq(dup2(fd, STDERR_FILENO), 0);
	log_set_level(LOG_LEVEL_INFO);
	control_or(BIT(0) | BIT(2));
	for (unsigned i = 0; i < 1000; i++) {
		rd(0x1a, 2);
		wr(0x3000 + 8 * (i % 16), 8, i);
		wr(0x08, 8, (0x180000 + i * 4096ull) | 10ull << 56); /* the rings run */
		wr_halves(0x10, EVENT_LOG | 9ull << 56);
	}
	cr_assert_gt(pread(fd, text, sizeof(text) - 1, 0), 0);
	for (const char *p = text; (p = strchr(p, '\n')); p++)
		lines++;
	cr_expect_eq(lines, 4, "%s", text);
	cr_expect(strstr(text, "register access of 2 bytes at 0x1a"), "%s", text);
	cr_expect(strstr(text, "write of 0 at 0x3000"), "%s", text);
	cr_expect(strstr(text, "register 0008h (command buffer base)"), "%s", text);
	close(fd);
}

Test(amd_viommu_engine, reset)
{
	control_or(BIT(0));
	pci_root_reset(root);
	cr_expect_eq(rd(0x18, 8), BIT(10));
	cr_expect_eq(rd(0x08, 8), 8ull << 56);
	cr_expect_eq(rd(0x2020, 4), 0);
	put_wait(0, 0x1234);
	wr(0x2008, 4, 0x10);
	cr_expect_eq(semaphore(), 0);
}

#endif
