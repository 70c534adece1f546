// SPDX-License-Identifier: Apache-2.0
/*
 * Four hostile vCPUs and a device at one vIOMMU, with everything real from the register window to
 * KVM's routing table: one drives the command ring, one its MSI-X table, one the IOAPIC, one resets
 * and reconfigures the unit. Nobody may wait for ever, and when all is quiet, what KVM has is what
 * the tables say. For ThreadSanitizer, too.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/amd_iommu/amd_viommu.h"
#include "vmm/machine.h"

#define WINDOW	 MACHINE_IOMMU_WINDOW
#define ECAM	 UINT64_C(0xe0000000)
#define BAR	 UINT64_C(0xc0000000)
#define IOAPIC	 UINT64_C(0xfec00000)
#define RAM_SIZE (8 * MIB)
#define RING	 UINT64_C(0x100000)
#define EVTLOG	 UINT64_C(0x110000)
#define DEVTAB	 UINT64_C(0x200000)
#define INTTAB	 UINT64_C(0x400000)
#define PAGES	 UINT64_C(0x500000)
#define SEM	 UINT64_C(0x600000)
#define DEV	 PCI_DEVFN(3, 0)
#define VECTORS	 8u
#define ROUNDS	 1000u
#define IOVA	 UINT64_C(0x7000)
#define RW_BITS	 (BIT(61) | BIT(62))

static struct kvm kvm;
static struct irq *irq;
static struct bus mmio, pio;
static struct pci_root *root;
static struct iommufd *ctx;
static struct amd_viommu *viommu;
static struct amd_iommu_engine *engine;
static struct ioapic *ioapic;
static struct guest_memory memory;
static struct pci_function device;
static struct msi_sink *own, *sink;
static struct msi_route *route[VECTORS];
static int eventfds[VECTORS];
static struct dma_space *dma;
static struct amd_iommu_listener listener;
static atomic_bool stop;
static atomic_uint kicks, messages;
static pthread_barrier_t start;

static void wr(uint64_t offset, unsigned width, uint64_t value)
{
	bus_write(&mmio, WINDOW + offset, width, value);
}

static uint64_t rd(uint64_t offset, unsigned width)
{
	uint64_t value = 0;

	bus_read(&mmio, WINDOW + offset, width, &value);
	return value;
}

static void put(uint64_t gpa, uint64_t value)
{
	guest_memory_store64(&memory, gpa, value);
}

static uint64_t get(uint64_t gpa)
{
	uint64_t value = 0;

	guest_memory_load64(&memory, gpa, &value);
	return value;
}

/* ---- the monitor's wiring, as vmm/dev_viommu.c and an assigned device have it ---- */

static int remap(void *opaque, uint16_t devid, const struct msi_msg *in, struct msi_msg *out,
		 bool log)
{
	return amd_iommu_engine_remap(opaque, devid, in, out, log);
}

static void interrupts_changed(struct amd_iommu_listener *l, uint16_t devid, bool all)
{
	(void)l;
	irq_refresh(irq, devid, all);
}

static void own_msi(void *opaque)
{
	(void)opaque;
	atomic_fetch_add(&messages, 1);
	amd_viommu_msi(viommu);
}

static void own_message(void *opaque, const struct msi_msg *msg)
{
	(void)opaque;
	atomic_fetch_add(&messages, 1);
	irq_deliver(irq, msg);
}

static void kick(void *opaque)
{
	(void)opaque;
	atomic_fetch_add(&kicks, 1);
}

static void vector_changed(struct pci_function *fn, unsigned vector, const struct msi_msg *msg)
{
	(void)fn;
	msi_route_set(sink, route[vector], msg);
}

static const struct pci_function_ops device_ops;

/* ---- the guest's tables ---- */

static void irte_set(unsigned index, uint8_t vector)
{
	/* 128-bit format; the second word first, as RemapEn in the first makes it valid. */
	put(INTTAB + index * 16 + 8, vector);
	put(INTTAB + index * 16, 1);
}

static void dte_set(uint16_t devid)
{
	put(DEVTAB + devid * 32u, 3 | 1 << 9 | PAGES | RW_BITS);
	put(DEVTAB + devid * 32u + 8, 7);
	put(DEVTAB + devid * 32u + 16, 1 | 9 << 1 | INTTAB | 2ull << 60);
}

static void bring_up(void)
{
	wr(0x00, 8, DEVTAB | 0x1ff);
	wr(0x08, 8, RING | 9ull << 56);
	wr(0x10, 8, EVTLOG | 9ull << 56);
	wr(0x18, 8, BIT(12) | BIT(17) | BIT(50) | BIT(2) | BIT(3) | BIT(4) | BIT(0));
}

static void set_up(void)
{
	static const struct pci_windows windows = {
		.ecam_base = ECAM, .buses = 1, .mem32_base = BAR, .mem32_size = 0x10000000};
	static const struct pci_id id = {.vendor = 0x1b36, .device = 1, .class_code = 0xff0000};
	const struct amd_iommu_features features = {.efr = AMD_IOMMU_EFR_DEFAULT};
	struct amd_viommu_config config = {
		.window = WINDOW, .mmio = &mmio, .devfn = PCI_DEVFN(1, 0)};
	struct irq_remapper remapper = {.remap = remap};
	struct ioapic_config pins = {.mmio = &mmio, .base = IOAPIC, .route = irq_ioapic_route};
	void *host =
		mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (access("/dev/kvm", R_OK | W_OK) < 0)
		cr_skip_test("no /dev/kvm that this user may open");
	cr_assert_neq(host, MAP_FAILED);
	memory = (struct guest_memory){
		.count = 1, .region = {{.gpa = 0, .size = RAM_SIZE, .host = host, .fd = -1}}};
	cr_assert_eq(kvm_open(&kvm), 0);
	cr_assert_eq(irq_new(&kvm, &irq), 0);
	bus_init(&mmio);
	bus_init(&pio);
	cr_assert_eq(pci_root_new(&root, &mmio, &pio, &windows), 0);
	cr_assert_eq(iommufd_open_soft(&ctx, &memory), 0);
	cr_assert_eq(iommufd_soft_set_hw(ctx, &features, config.devfn), 0);
	cr_assert_eq(viommu_iommufd_port_new(ctx, &features, &config.port, &engine), 0);
	cr_assert_eq(irq_sink_new(irq, config.devfn, false, &own), 0);
	config.root = root;
	config.sink = own;
	cr_assert_eq(amd_viommu_new(&config, &viommu), 0);
	amd_iommu_engine_set_interrupts(engine, NULL, own_msi, own_message);
	amd_iommu_engine_set_worker(engine, NULL, kick);
	remapper.opaque = engine;
	irq_set_remapper(irq, &remapper);
	listener.interrupts_changed = interrupts_changed;
	amd_iommu_engine_listen(engine, &listener);

	cr_assert_eq(irq_sink_new(irq, MACHINE_IOAPIC_DEVID, true, &pins.sink), 0);
	pins.opaque = irq;
	cr_assert_eq(ioapic_new(&pins, &ioapic), 0);
	cr_assert_eq(irq_sink_new(irq, DEV, true, &sink), 0);
	for (unsigned i = 0; i < VECTORS; i++) {
		eventfds[i] = eventfd(0, EFD_NONBLOCK);
		cr_assert_eq(msi_route_new(sink, eventfds[i], &route[i]), 0);
	}
	pci_function_init(&device, "device", &device_ops, &id);
	device.sink = sink;
	cr_assert_eq(pci_add_bar(&device, 0, 0x1000, 0), 0);
	device.msix.vector_changed = vector_changed;
	cr_assert_eq(pci_add_msix(&device, VECTORS, 0, 0, 0x800), 0);
	cr_assert_eq(pci_root_add(root, &device, DEV), 0);
	cr_assert_eq(pci_root_assign(root), 0);
	cr_assert_eq(amd_iommu_dma_space_new(engine, DEV, &dma), 0);
	for (unsigned i = 0; i < 64; i++)
		irte_set(i, (uint8_t)(0x40 + i));
	put(PAGES + (IOVA >> 12) * 8, 0x700000 | RW_BITS | 1);
	dte_set(DEV);
	dte_set(MACHINE_IOAPIC_DEVID);
	bring_up();
}

static void tear_down(void)
{
	amd_iommu_dma_space_free(dma);
	for (unsigned i = 0; i < VECTORS; i++) {
		msi_route_free(sink, route[i]);
		close(eventfds[i]);
	}
	ioapic_free(ioapic);
	amd_iommu_engine_unlisten(engine, &listener);
	pci_function_fini(&device);
	amd_viommu_free(viommu);
	iommufd_close(ctx);
	pci_root_free(root);
	irq_free(irq);
	kvm_close(&kvm);
	munmap(memory.region[0].host, RAM_SIZE);
}

TestSuite(viommu_threads, .init = set_up, .fini = tear_down, .timeout = 300);

/* ---- what the threads do ---- */

static unsigned ring_tail;

static void command(uint64_t word0, uint64_t word1)
{
	put(RING + ring_tail, word0);
	put(RING + ring_tail + 8, word1);
	ring_tail = (ring_tail + 16) % 8192;
}

static void ring(void)
{
	wr(0x2008, 4, ring_tail);
}

static void *invalidate(void *opaque)
{
	(void)opaque;
	pthread_barrier_wait(&start);
	for (unsigned i = 0; i < ROUNDS; i++) {
		irte_set(i % 24, (uint8_t)(0x40 + i % 64));
		put(PAGES + (IOVA >> 12) * 8, (i % 2 ? 0x700000 : 0x710000) | RW_BITS | 1);
		command(5ull << 60 | MACHINE_IOAPIC_DEVID, 0);
		command(5ull << 60 | DEV, 0);
		command(2ull << 60 | DEV, 0);
		command(3ull << 60 | 7ull << 32, IOVA);
		command(8ull << 60, 0);
		command(1ull << 60 | SEM | 3, i);
		ring();
		wr(0x2020, 4, 0x7);
		for (unsigned tries = 0; tries < 50 && rd(0x2000, 4) != ring_tail; tries++)
			sched_yield();
	}
	return NULL;
}

static uint64_t config_address(uint8_t devfn, unsigned at)
{
	return ECAM + ((uint64_t)devfn << 12) + at;
}

static uint64_t msix_table(void)
{
	uint64_t base = 0;

	bus_read(&mmio, config_address(DEV, 0x10), 4, &base);
	return base & ~UINT64_C(0xf);
}

static void msix_set(unsigned vector, uint32_t index, bool masked)
{
	const uint64_t entry = msix_table() + vector * 16;

	bus_write(&mmio, entry, 4, 0xfee00000);
	bus_write(&mmio, entry + 4, 4, 0);
	bus_write(&mmio, entry + 8, 4, index);
	bus_write(&mmio, entry + 12, 4, masked);
}

static void *program_msix(void *opaque)
{
	(void)opaque;
	pthread_barrier_wait(&start);
	for (unsigned i = 0; i < ROUNDS; i++) {
		msix_set(i % VECTORS, i % 64, i % 3 == 0);
		eventfd_write(eventfds[i % VECTORS], 1);
		pci_msix_raise(&device, (i + 1) % VECTORS);
	}
	return NULL;
}

static void rte_set(unsigned pin, uint32_t low)
{
	bus_write(&mmio, IOAPIC, 4, 0x10 + 2 * pin);
	bus_write(&mmio, IOAPIC + 0x10, 4, low);
}

static void *program_ioapic(void *opaque)
{
	(void)opaque;
	pthread_barrier_wait(&start);
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned pin = i % IOAPIC_PINS;

		rte_set(pin, pin | (i % 2 ? BIT(15) : 0) | (i % 5 ? 0 : BIT(16)));
		ioapic_set_irq(ioapic, pin, i % 3);
		ioapic_eoi_pin(ioapic, (i + 7) % IOAPIC_PINS);
		bus_write(&mmio, IOAPIC + 0x40, 4, pin);
	}
	return NULL;
}

static void *reconfigure(void *opaque)
{
	(void)opaque;
	pthread_barrier_wait(&start);
	for (unsigned i = 0; i < ROUNDS / 4; i++) {
		uint64_t control = rd(0x18, 8);

		wr(0x18, 8, control & ~BIT(i % 2 ? 0 : 12));
		wr(0x08, 8, RING | (8ull + i % 4) << 56);
		wr(0x00, 8, DEVTAB | (i % 2 ? 0x1ff : 0x3f));
		wr(0x18, 8, control ^ BIT(51));
		wr(0x170, 8, i % 3 ? 0 : 0x31ull << 32);
		if (i % 16 == 0) {
			pci_root_reset(root);
			pci_root_assign(root);
			bus_write(&mmio, config_address(DEV, 4), 2, 6);
			bus_write(&mmio, config_address(DEV, device.msix.capability + 2), 2,
				  BIT(15));
		}
		bring_up();
	}
	return NULL;
}

/* A device whose requests last, and the loop that goes on with the ring. */
static void *do_dma(void *opaque)
{
	atomic_uint *wrong = opaque;

	while (!atomic_load(&stop)) {
		struct dma_segment seg = {0};
		struct dma_range range = {IOVA, IOVA + 511};
		struct dma_hold hold;
		int n;

		dma_hold_begin(&hold, dma);
		dma_hold_add(&hold, &range, 1);
		n = dma_space_map(dma, IOVA, 512, DMA_WRITE, &seg, 1);
		if (n == 1 && seg.host != guest_memory_at(&memory, 0x700000, 512) &&
		    seg.host != guest_memory_at(&memory, 0x710000, 512) &&
		    seg.host != guest_memory_at(&memory, IOVA, 512))
			atomic_fetch_add(wrong, 1);
		dma_hold_end(&hold);
		if (atomic_exchange(&kicks, 0))
			amd_iommu_engine_run(engine);
	}
	return NULL;
}

Test(viommu_threads, nobody_waits_for_ever_and_nothing_stays_old)
{
	void *(*const body[])(void *) = {invalidate, program_msix, program_ioapic, reconfigure};
	pthread_t thread[ARRAY_SIZE(body)], dma_thread;
	atomic_uint wrong = 0;
	unsigned spoken;
	struct dma_segment seg = {0};

	pthread_barrier_init(&start, NULL, ARRAY_SIZE(body));
	bus_write(&mmio, config_address(DEV, 4), 2, 6);
	bus_write(&mmio, config_address(DEV, device.msix.capability + 2), 2, BIT(15));
	cr_assert_eq(pthread_create(&dma_thread, NULL, do_dma, &wrong), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(body); i++)
		cr_assert_eq(pthread_create(&thread[i], NULL, body[i], NULL), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(body); i++)
		pthread_join(thread[i], NULL);

	/* Quiet: the unit afresh, every pin and vector to a place of its own. */
	wr(0x18, 8, 0);
	ring_tail = 0;
	bring_up();
	put(PAGES + (IOVA >> 12) * 8, 0x700000 | RW_BITS | 1);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		rte_set(pin, pin | BIT(15));
		irte_set(pin, (uint8_t)(0x80 + pin));
	}
	command(5ull << 60 | MACHINE_IOAPIC_DEVID, 0);
	command(3ull << 60 | 7ull << 32, IOVA);
	wr(0x2020, 4, 0x7);
	spoken = messages;
	command(1ull << 60 | SEM | 3, 0xd0e);
	ring();
	for (unsigned i = 0; get(SEM) != 0xd0e && i < 60000; i++)
		usleep(1000);
	cr_expect_eq(get(SEM), 0xd0e, "the ring never came to its end");
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		cr_expect_eq(irq_pins_of_vector(irq, (uint8_t)(0x80 + pin)), 1u << pin, "pin %u",
			     pin);
	cr_expect_eq(dma_space_map(dma, IOVA, 512, DMA_WRITE, &seg, 1), 1);
	cr_expect_eq(seg.host, guest_memory_at(&memory, 0x700000, 512));
	atomic_store(&stop, true);
	pthread_join(dma_thread, NULL);
	cr_expect_eq(wrong, 0);
	cr_expect_gt(messages, spoken, "its own interrupt");
}
