// SPDX-License-Identifier: Apache-2.0
/*
 * In a microVM: a driver in user space for postern's DMA test device, that shows what the guest's
 * kernel makes of an IOMMU with ATS, PASID and PRI.
 *
 *	dma_test vfio NODE
 * through the guest's own VFIO and iommufd, without PASID;
 *	dma_test sva NODE PASID-FILE RESOURCE
 * through uio_pci_generic_sva: the device shares the address space of one process after another,
 * and has pages brought in that it touches first. RESOURCE is its BAR.
 *
 * Says what it found, one line each; exits with 1 at the first thing that is wrong.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "devices/test/dma_test_regs.h"
#include "devices/vfio/uapi.h"
#include "iommufd/uapi.h"
#include "tests/machine/user_driver.h"

#define PAGE	     4096u
#define LENGTH	     (3 * PAGE)
#define IOVA	     UINT64_C(0x100000)
#define WAIT_SECONDS 120

const char program[] = "dma-test";
static volatile uint8_t *bar;

static uint64_t get(unsigned at)
{
	return *(volatile uint64_t *)(bar + at);
}

static void put(unsigned at, uint64_t value)
{
	*(volatile uint64_t *)(bar + at) = value;
}

static void map_bar(int fd, off_t offset)
{
	bar = mmap(NULL, DMA_TEST_BUFFER + DMA_TEST_BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		   fd, offset);
	if (bar == MAP_FAILED)
		fail("mapping the BAR");
	if (get(DMA_TEST_REG_ID) != DMA_TEST_ID)
		fail("the device says it is %#llx", (unsigned long long)get(DMA_TEST_REG_ID));
}

static void start(uint64_t source, uint64_t destination, uint64_t length, unsigned command)
{
	put(DMA_TEST_SOURCE, source);
	put(DMA_TEST_DESTINATION, destination);
	put(DMA_TEST_LENGTH, length);
	put(DMA_TEST_COMMAND, DMA_TEST_COPY | command);
}

/* The status of a transfer that has ended. */
static unsigned end(void)
{
	for (unsigned i = 0; get(DMA_TEST_STATUS) & DMA_TEST_BUSY; i++) {
		if (i == WAIT_SECONDS * 100)
			fail("a transfer never ends");
		usleep(10000);
	}
	return (unsigned)get(DMA_TEST_STATUS);
}

static unsigned failed(enum dma_test_error error)
{
	return DMA_TEST_FAILED | (unsigned)error << DMA_TEST_STATUS_SHIFT;
}

static void expect_end(const char *what, unsigned want)
{
	unsigned status = end();

	if (status != want)
		fail("%s: status %#x instead of %#x, fault at %#llx, response %#llx", what, status,
		     want, (unsigned long long)get(DMA_TEST_FAULT),
		     (unsigned long long)get(DMA_TEST_RESPONSE));
}

static uint8_t *memory(size_t length)
{
	uint8_t *p = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		fail("memory");
	return p;
}

static void fill(uint8_t *p, unsigned seed)
{
	for (unsigned i = 0; i < LENGTH; i++)
		p[i] = (uint8_t)(i * 7 + (i >> 8) + seed);
}

/* ---- through VFIO ---- */

static void attach(int device, uint32_t pt_id)
{
	struct vfio_uapi_attach attach = {.argsz = sizeof(attach), .pt_id = pt_id};

	control(device, VFIO_UAPI_ATTACH, &attach, "attaching the device");
}

static void map(int iommufd, uint32_t ioas, uint8_t *ram)
{
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = ioas,
		.user_va = (uintptr_t)ram,
		.length = 2 * (size_t)LENGTH,
		.iova = IOVA,
	};

	control(iommufd, _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_MAP), &map, "IOMMU_IOAS_MAP");
}

static void cached_dma(int iommufd, uint32_t ioas, uint8_t *ram)
{
	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap), .ioas_id = ioas, .iova = IOVA, .length = 2 * LENGTH};
	uint64_t invalidated;

	fill(ram, 1);
	map(iommufd, ioas, ram);
	start(IOVA, IOVA + LENGTH, LENGTH, DMA_TEST_WITH_ATS);
	expect_end("DMA with ATS", DMA_TEST_DONE);
	if (memcmp(ram, ram + LENGTH, LENGTH) != 0)
		fail("DMA with ATS brought other data");
	if (!get(DMA_TEST_CACHED))
		fail("the device has cached nothing");
	say("ATS: the device caches translations and uses them");

	invalidated = get(DMA_TEST_INVALIDATED);
	control(iommufd, _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_UNMAP), &unmap, "IOMMU_IOAS_UNMAP");
	if (get(DMA_TEST_INVALIDATED) == invalidated || get(DMA_TEST_CACHED))
		fail("after the unmap: %llu invalidations, %llu cached",
		     (unsigned long long)(get(DMA_TEST_INVALIDATED) - invalidated),
		     (unsigned long long)get(DMA_TEST_CACHED));
	memset(ram, 0x5a, 2 * (size_t)LENGTH);
	start(IOVA, IOVA + LENGTH, LENGTH, DMA_TEST_WITH_ATS);
	expect_end("DMA to unmapped memory", failed(DMA_TEST_ERROR_NOT_PRESENT));
	for (unsigned i = 0; i < 2 * LENGTH; i++)
		if (ram[i] != 0x5a)
			fail("DMA reached unmapped memory at %u", i);
	say("ATS: an unmap empties the cache, and nothing is reached any more");
}

static void vfio(const char *node)
{
	struct vfio_uapi_bind bind = {.argsz = sizeof(bind)};
	struct iommu_ioas_alloc ioas = {.size = sizeof(ioas)};
	struct iommu_hwpt_alloc hwpt = {.size = sizeof(hwpt), .flags = IOMMU_HWPT_ALLOC_PASID};
	uint8_t *ram = memory(2 * (size_t)LENGTH);
	int device = open(node, O_RDWR | O_CLOEXEC),
	    iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);

	if (device < 0 || iommufd < 0)
		fail("opening %s and /dev/iommu", node);
	bind.iommufd = iommufd;
	control(device, VFIO_UAPI_BIND, &bind, "binding the device to iommufd");
	control(iommufd, _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_ALLOC), &ioas, "IOMMU_IOAS_ALLOC");
	attach(device, ioas.out_ioas_id);
	map_bar(device, vfio_enable(device));
	say("v1 tables");
	cached_dma(iommufd, ioas.out_ioas_id, ram);

	hwpt.dev_id = bind.out_devid;
	hwpt.pt_id = ioas.out_ioas_id;
	control(iommufd, _IO(IOMMUFD_TYPE, IOMMUFD_CMD_HWPT_ALLOC), &hwpt,
		"IOMMU_HWPT_ALLOC for PASIDs");
	attach(device, hwpt.out_hwpt_id);
	say("v2 tables");
	cached_dma(iommufd, ioas.out_ioas_id, ram);

	/* The driver knows nobody to ask about a page request without PASID, and says so. */
	start(IOVA, IOVA + LENGTH, LENGTH, DMA_TEST_WITH_ATS | DMA_TEST_WITH_PRI);
	expect_end("a page request without PASID", failed(DMA_TEST_ERROR_PAGE_FAILURE));
	if (get(DMA_TEST_REQUESTED) != 1 || get(DMA_TEST_ANSWERED) != 1)
		fail("%llu page requests, %llu answers",
		     (unsigned long long)get(DMA_TEST_REQUESTED),
		     (unsigned long long)get(DMA_TEST_ANSWERED));
	say("PRI: a request without PASID is answered with a failure");
}

/* ---- through shared virtual addressing ---- */

static unsigned read_number(const char *path)
{
	FILE *f = fopen(path, "re");
	unsigned n;

	if (!f || fscanf(f, "%u", &n) != 1)
		fail("reading %s", path);
	fclose(f);
	return n;
}

static void expect_interrupt(int fd, uint32_t *seen)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint32_t count;

	if (poll(&p, 1, WAIT_SECONDS * 1000) != 1)
		fail("no interrupt; status %#llx", (unsigned long long)get(DMA_TEST_STATUS));
	if (read(fd, &count, sizeof(count)) != sizeof(count) || (*seen && count != *seen + 1))
		fail("interrupt %u after %u", count, *seen);
	*seen = count;
}

#define SHARED (DMA_TEST_WITH_PASID | DMA_TEST_WITH_ATS | DMA_TEST_WITH_PRI)

static void start_shared(const uint8_t *source, const uint8_t *target, unsigned command)
{
	start((uintptr_t)source, (uintptr_t)target, LENGTH, command);
}

static void expect_same(const uint8_t *source, const uint8_t *target, const char *what)
{
	if (memcmp(source, target, LENGTH) != 0)
		fail("%s brought other data", what);
}

/* As many page requests as PAGES, or more, have been made since SEEN, and all answered. */
static uint64_t expect_requests(uint64_t seen, unsigned pages)
{
	uint64_t requested = get(DMA_TEST_REQUESTED);

	if (requested < seen + pages || get(DMA_TEST_ANSWERED) != requested)
		fail("%llu page requests after %llu, answers %#llx", (unsigned long long)requested,
		     (unsigned long long)seen, (unsigned long long)get(DMA_TEST_ANSWERED));
	return requested;
}

static void expect_refused(const char *what, const uint8_t *at)
{
	expect_end(what, failed(DMA_TEST_ERROR_PAGE_INVALID));
	if (get(DMA_TEST_FAULT) != (uintptr_t)at)
		fail("%s: the fault is at %#llx", what, (unsigned long long)get(DMA_TEST_FAULT));
}

/* Pages that nobody has touched: the kernel has none there until the device asks. */
static uint64_t fresh_memory(int fd, uint8_t *source, uint8_t *target)
{
	const uint64_t before = get(DMA_TEST_REQUESTED);
	const uint8_t *untouched = memory(LENGTH);
	uint32_t interrupts = 0;
	uint64_t requested;

	fill(source, 3);
	start_shared(source, target, SHARED | DMA_TEST_INTERRUPT);
	expect_interrupt(fd, &interrupts);
	expect_end("DMA to fresh memory", DMA_TEST_DONE);
	requested = expect_requests(before, LENGTH / PAGE);
	expect_same(source, target, "DMA to fresh memory");
	say("SVA: pages are brought in that the device asks for, and the data is right");

	fill(source, 5);
	start_shared(source, target, SHARED | DMA_TEST_INTERRUPT);
	expect_interrupt(fd, &interrupts);
	expect_end("DMA again", DMA_TEST_DONE);
	expect_same(source, target, "DMA again");
	if (get(DMA_TEST_REQUESTED) != requested)
		fail("DMA again: %llu page requests", (unsigned long long)get(DMA_TEST_REQUESTED));
	if (get(DMA_TEST_CACHED) < 2 * LENGTH / PAGE)
		fail("%llu translations cached", (unsigned long long)get(DMA_TEST_CACHED));
	say("SVA: what the cache has is not asked for again");

	start_shared(untouched, target, SHARED);
	expect_end("DMA from fresh memory", DMA_TEST_DONE);
	requested = expect_requests(requested, LENGTH / PAGE);
	expect_same(untouched, target, "DMA from fresh memory");
	say("SVA: fresh memory reads as zeroes");
	return requested;
}

/* After a fork the pages are shared with the new process, until someone writes to them. */
static void copy_on_write(uint8_t *source, uint8_t *target, uint64_t requested)
{
	int go[2], status;
	pid_t child;
	char byte = 0;

	memset(target, 0x77, LENGTH);
	if (pipe(go))
		fail("pipe");
	child = fork();
	if (child < 0)
		fail("fork");
	if (!child) {
		close(go[1]);
		if (read(go[0], &byte, 1) != 1)
			_exit(2);
		for (unsigned i = 0; i < LENGTH; i++)
			if (target[i] != 0x77)
				_exit(1);
		_exit(0);
	}
	fill(source, 9);
	start_shared(source, target, SHARED);
	expect_end("DMA after a fork", DMA_TEST_DONE);
	expect_requests(requested, LENGTH / PAGE);
	expect_same(source, target, "DMA after a fork");
	if (write(go[1], &byte, 1) != 1 || waitpid(child, &status, 0) != child || status)
		fail("DMA reached the other process's memory, %#x", (unsigned)status);
	close(go[0]);
	close(go[1]);
	say("SVA: DMA after a fork reaches the pages of this process alone");
}

/* What the process takes away from itself the device has no longer. */
static void withdrawn(uint8_t *source, uint8_t *target)
{
	uint64_t invalidated = get(DMA_TEST_INVALIDATED);

	if (mprotect(target, LENGTH, PROT_READ))
		fail("mprotect");
	if (get(DMA_TEST_INVALIDATED) == invalidated)
		fail("the mprotect did not reach the device");
	fill(source, 11);
	start_shared(source, target, SHARED);
	expect_refused("DMA to read-only memory", target);
	if (!memcmp(source, target, PAGE))
		fail("DMA has written to read-only memory");
	start_shared(target, source, SHARED);
	expect_end("DMA from read-only memory", DMA_TEST_DONE);
	expect_same(target, source, "DMA from read-only memory");
	say("SVA: a mprotect reaches the device, which is refused to write from then on");

	invalidated = get(DMA_TEST_INVALIDATED);
	if (munmap(target, LENGTH))
		fail("munmap");
	if (get(DMA_TEST_INVALIDATED) == invalidated)
		fail("the munmap did not reach the device");
	start_shared(source, target, SHARED);
	expect_refused("DMA to memory that is gone", target);
	say("SVA: a munmap reaches the device, which is refused the pages from then on");
}

/* Opening NODE binds the device to this process. */
static int share(const char *node, const char *pasid_file)
{
	int fd = open(node, O_RDWR | O_CLOEXEC);
	unsigned pasid;

	if (fd < 0)
		fail("opening %s", node);
	pasid = read_number(pasid_file);
	if (!pasid)
		fail("this process has no PASID");
	put(DMA_TEST_PASID, pasid);
	return fd;
}

/* Addresses and PASID are those of the last transfer. */
static void expect_nothing_shared(void)
{
	if (get(DMA_TEST_CACHED))
		fail("%llu translations cached", (unsigned long long)get(DMA_TEST_CACHED));
	put(DMA_TEST_COMMAND, DMA_TEST_COPY | DMA_TEST_WITH_PASID | DMA_TEST_WITH_ATS);
	expect_end("DMA with the PASID of nobody", failed(DMA_TEST_ERROR_NOT_PRESENT));
	put(DMA_TEST_COMMAND, DMA_TEST_COPY | SHARED);
	expect_end("a page request with the PASID of nobody", failed(DMA_TEST_ERROR_PAGE_INVALID));
}

static void share_to_the_end(const char *node, const char *pasid_file)
{
	uint8_t *source = memory(LENGTH), *target = memory(LENGTH);
	uint64_t requested = fresh_memory(share(node, pasid_file), source, target);

	/* The same without the cache: the IOMMU walks the process's tables itself. */
	fill(source, 7);
	start_shared(source, target, DMA_TEST_WITH_PASID);
	expect_end("DMA without ATS", DMA_TEST_DONE);
	expect_same(source, target, "DMA without ATS");
	say("SVA: requests with PASID alone are translated");

	copy_on_write(source, target, requested);
	withdrawn(source, target);
	if (!get(DMA_TEST_CACHED))
		fail("the device has nothing cached at the end");
}

static void share_for_a_while(const char *node, const char *pasid_file)
{
	int fd = share(node, pasid_file);

	fresh_memory(fd, memory(LENGTH), memory(LENGTH));
	close(fd);
	expect_nothing_shared();
	say("SVA: what is shared no longer is not cached, and its PASID reaches nothing");
}

static void in_a_process(void (*run)(const char *node, const char *pasid_file), const char *node,
			 const char *pasid_file)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		fail("fork");
	if (!child) {
		run(node, pasid_file);
		exit(0);
	}
	if (waitpid(child, &status, 0) != child || status)
		fail("the process that shares its address space: %#x", (unsigned)status);
}

static void sva(const char *node, const char *pasid_file, const char *resource)
{
	int fd = open(resource, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		fail("opening %s", resource);
	map_bar(fd, 0);
	in_a_process(share_to_the_end, node, pasid_file);
	expect_nothing_shared();
	say("SVA: the end of a process leaves nothing cached, and its PASID reaches nothing");
	in_a_process(share_for_a_while, node, pasid_file);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "vfio"))
		vfio(argv[2]);
	else if (argc == 5 && !strcmp(argv[1], "sva"))
		sva(argv[2], argv[3], argv[4]);
	else
		fail("usage: dma_test vfio NODE | sva NODE PASID-FILE RESOURCE");
	return 0;
}
