// SPDX-License-Identifier: Apache-2.0
/*
 * In a microVM: a driver for QEMU's educational device (docs/specs/edu.rst) in user space. With
 * the sysfs file of its BAR it tries the registers; with a VFIO device node it takes the device
 * over through the guest's own iommufd, for which the guest needs an IOMMU, and tries DMA and
 * interrupts. Says what it found, one line each; exits with 1 at the first thing that is wrong.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/vfio/uapi.h"
#include "iommufd/uapi.h"
#include "tests/machine/user_driver.h"

#define ID	     0x00
#define LIVENESS     0x04
#define FACTORIAL    0x08
#define STATUS	     0x20
#define IRQ_STATUS   0x24
#define IRQ_ACK	     0x64
#define DMA_SOURCE   0x80
#define DMA_TARGET   0x88
#define DMA_COUNT    0x90
#define DMA_COMMAND  0x98
#define ID_VALUE     0x010000edu
#define STATUS_BUSY  1u
#define STATUS_IRQ   0x80u
#define IRQ_FACT     1u
#define IRQ_DMA	     0x100u
#define DMA_START    1u
#define DMA_TO_RAM   2u
#define DMA_IRQ	     4u
#define DEVICE_RAM   0x40000u
#define BAR_SIZE     0x100000u
#define PAGE	     4096u
#define LENGTH	     2048u /* of one transfer; QEMU stops at one that ends with the device's RAM */
#define IOVA	     0x100000u /* the device has 28 address bits */
#define WAIT_SECONDS 60

const char program[] = "edu";
static volatile uint8_t *bar;

static uint32_t get(unsigned at)
{
	return *(volatile uint32_t *)(bar + at);
}

static void put(unsigned at, uint32_t value)
{
	*(volatile uint32_t *)(bar + at) = value;
}

static void put64(unsigned at, uint64_t value)
{
	*(volatile uint64_t *)(bar + at) = value;
}

static void map_bar(int fd, off_t offset)
{
	bar = mmap(NULL, BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
	if (bar == MAP_FAILED)
		fail("mapping the BAR");
}

static void registers(void)
{
	if (get(ID) != ID_VALUE)
		fail("identification is %#x", get(ID));
	put(LIVENESS, 0x12345678);
	if (get(LIVENESS) != ~0x12345678u)
		fail("liveness is %#x", get(LIVENESS));
	put(STATUS, 0);
	put(FACTORIAL, 10);
	for (unsigned i = 0; get(STATUS) & STATUS_BUSY; i++) {
		if (i == WAIT_SECONDS * 100)
			fail("the factorial never ends");
		usleep(10000);
	}
	if (get(FACTORIAL) != 3628800)
		fail("10! is %u", get(FACTORIAL));
	say("registers work");
}

/* ACTION on interrupt INDEX; EVENT: with its descriptor, -1: without any, COUNT 0: off. */
static void interrupts(int device, unsigned index, unsigned action, unsigned count, int event)
{
	union {
		struct vfio_irq_set set;
		uint8_t bytes[sizeof(struct vfio_irq_set) + sizeof(int32_t)];
	} u = {.set = {.argsz = sizeof(u), .index = index, .count = count}};

	u.set.flags = action | (event >= 0 ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE);
	memcpy(u.set.data, &event, sizeof(event));
	control(device, VFIO_DEVICE_SET_IRQS, &u, "setting up interrupts");
}

/* The interrupt arrives, for REASON, and is acknowledged. */
static void expect_interrupt(int event, uint32_t reason)
{
	struct pollfd p = {.fd = event, .events = POLLIN};
	uint64_t count;

	if (poll(&p, 1, WAIT_SECONDS * 1000) != 1)
		fail("no interrupt; status %#x", get(IRQ_STATUS));
	if (read(event, &count, sizeof(count)) != sizeof(count) || count != 1)
		fail("%llu interrupts instead of one", (unsigned long long)count);
	if (get(IRQ_STATUS) != reason)
		fail("interrupt status is %#x", get(IRQ_STATUS));
	put(IRQ_ACK, reason);
}

static void factorial(int event, uint32_t n, uint32_t result)
{
	put(STATUS, STATUS_IRQ);
	put(FACTORIAL, n);
	expect_interrupt(event, IRQ_FACT);
	if (get(FACTORIAL) != result)
		fail("%u! is %u", n, get(FACTORIAL));
}

static void dma(int event, uint64_t source, uint64_t target, uint32_t command)
{
	put64(DMA_SOURCE, source);
	put64(DMA_TARGET, target);
	put64(DMA_COUNT, LENGTH);
	put64(DMA_COMMAND, command | DMA_START | DMA_IRQ);
	expect_interrupt(event, IRQ_DMA);
}

static uint32_t address_space(int iommufd, int device)
{
	struct vfio_uapi_bind bind = {.argsz = sizeof(bind), .iommufd = iommufd};
	struct iommu_ioas_alloc alloc = {.size = sizeof(alloc)};
	struct vfio_uapi_attach attach = {.argsz = sizeof(attach)};

	control(device, VFIO_UAPI_BIND, &bind, "binding the device to iommufd");
	control(iommufd, _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_ALLOC), &alloc, "IOMMU_IOAS_ALLOC");
	attach.pt_id = alloc.out_ioas_id;
	control(device, VFIO_UAPI_ATTACH, &attach, "attaching the device");
	return alloc.out_ioas_id;
}

static void dma_both_ways(int iommufd, uint32_t ioas, int event)
{
	uint8_t *ram = mmap(NULL, 2 * (size_t)PAGE, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = ioas,
		.user_va = (uintptr_t)ram,
		.length = 2 * (size_t)PAGE,
		.iova = IOVA,
	};
	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap), .ioas_id = ioas, .iova = IOVA, .length = 2 * (size_t)PAGE};

	if (ram == MAP_FAILED)
		fail("memory");
	for (unsigned i = 0; i < LENGTH; i++)
		ram[i] = (uint8_t)(i * 7 + (i >> 8) + 1);
	control(iommufd, _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_MAP), &map, "IOMMU_IOAS_MAP");
	dma(event, IOVA, DEVICE_RAM, 0);
	dma(event, DEVICE_RAM, IOVA + PAGE, DMA_TO_RAM);
	if (memcmp(ram, ram + PAGE, LENGTH) != 0)
		fail("DMA brought other data back");
	say("DMA both ways works");

	control(iommufd, _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_UNMAP), &unmap, "IOMMU_IOAS_UNMAP");
	memset(ram, 0x5a, 2 * (size_t)PAGE);
	dma(event, DEVICE_RAM, IOVA + PAGE, DMA_TO_RAM);
	for (unsigned i = 0; i < 2 * PAGE; i++)
		if (ram[i] != 0x5a)
			fail("DMA reached unmapped memory at %u", i);
	say("DMA to unmapped memory is kept out");
}

int main(int argc, char **argv)
{
	const unsigned trigger = VFIO_IRQ_SET_ACTION_TRIGGER;
	int device, iommufd, event = eventfd(0, EFD_CLOEXEC);
	uint32_t ioas;

	if (argc != 2)
		fail("usage: edu RESOURCE0|VFIO-NODE");
	device = open(argv[1], O_RDWR | O_CLOEXEC);
	if (device < 0)
		fail("opening %s", argv[1]);
	if (strncmp(argv[1], "/dev/vfio/", 10) != 0) {
		map_bar(device, 0);
		registers();
		return 0;
	}
	iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (iommufd < 0)
		fail("opening /dev/iommu");
	ioas = address_space(iommufd, device);
	map_bar(device, vfio_enable(device));
	registers();

	interrupts(device, VFIO_PCI_MSI_IRQ_INDEX, trigger, 1, event);
	factorial(event, 5, 120);
	factorial(event, 6, 720);
	say("MSI works");
	dma_both_ways(iommufd, ioas, event);
	interrupts(device, VFIO_PCI_MSI_IRQ_INDEX, trigger, 0, -1);

	interrupts(device, VFIO_PCI_INTX_IRQ_INDEX, trigger, 1, event);
	for (unsigned i = 0; i < 3; i++) {
		factorial(event, 7, 5040);
		interrupts(device, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_UNMASK, 1, -1);
	}
	say("INTx works");
	return 0;
}
