// SPDX-License-Identifier: Apache-2.0
/*
 * Guest RAM: one memfd, mapped shared, so that iommufd and other processes can be given the same
 * pages. Pages come into being when they are first touched.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <linux/memfd.h>

#include "vmm/machine.h"

#define HUGE_PAGE_SIZE (2 * MIB)

static int check_size(uint64_t size, bool hugepages)
{
	uint64_t unit = hugepages ? HUGE_PAGE_SIZE : GUEST_PAGE_SIZE;
	uint64_t host;
	struct sysinfo info;

	if (!size || !is_aligned(size, unit)) {
		log_error("guest memory of %llu bytes: must be a multiple of %llu KiB, not 0",
			  (unsigned long long)size, (unsigned long long)(unit / KIB));
		return -EINVAL;
	}
	if (sysinfo(&info) < 0)
		return 0;
	host = ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
	if (size > host) {
		log_error("guest memory of %llu MiB: this host has only %llu MiB, swap included: "
			  "give the guest less",
			  (unsigned long long)(size / MIB), (unsigned long long)(host / MIB));
		return -ENOMEM;
	}
	return 0;
}

static void say_no_hugepages(uint64_t size, int error)
{
	log_error("guest memory of %llu MiB in huge pages: %s: run \"echo %llu > "
		  "/proc/sys/vm/nr_hugepages\"",
		  (unsigned long long)(size / MIB), strerror(error),
		  (unsigned long long)(size / HUGE_PAGE_SIZE));
}

static int map_region(struct guest_memory *gm, int fd, uint64_t gpa, uint64_t size, uint64_t offset,
		      bool hugepages)
{
	/* Huge pages are reserved now: to run out of them later would be a SIGBUS. */
	int flags = MAP_SHARED | (hugepages ? 0 : MAP_NORESERVE);
	void *host = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, (off_t)offset);

	if (host == MAP_FAILED)
		return -errno;
	gm->region[gm->count++] = (struct guest_region){
		.gpa = gpa,
		.size = size,
		.host = host,
		.fd = fd,
		.fd_offset = offset,
	};
	return 0;
}

static void unmap(struct guest_memory *gm)
{
	for (unsigned i = 0; i < gm->count; i++)
		munmap(gm->region[i].host, gm->region[i].size);
	gm->count = 0;
}

int memory_new(struct guest_memory *gm, uint64_t size, bool hugepages)
{
	uint64_t low = size < MACHINE_LOW_RAM_END ? size : MACHINE_LOW_RAM_END;
	int fd, rc;

	memset(gm, 0, sizeof(*gm));
	rc = check_size(size, hugepages);
	if (rc)
		return rc;
	fd = memfd_create("postern-ram",
			  MFD_CLOEXEC | (hugepages ? MFD_HUGETLB | MFD_HUGE_2MB : 0u));
	if (fd < 0) {
		rc = -errno;
		if (hugepages)
			say_no_hugepages(size, -rc);
		else
			log_error("memfd_create for guest memory: %s", strerror(-rc));
		return rc;
	}
	if (ftruncate(fd, (off_t)size) < 0) {
		rc = -errno;
		goto fail;
	}
	rc = map_region(gm, fd, 0, low, 0, hugepages);
	if (!rc && size > low)
		rc = map_region(gm, fd, MACHINE_HIGH_RAM, size - low, low, hugepages);
	if (!rc)
		return 0;
fail:
	if (hugepages && rc == -ENOMEM)
		say_no_hugepages(size, -rc);
	else
		log_error("guest memory of %llu MiB: %s", (unsigned long long)(size / MIB),
			  strerror(-rc));
	unmap(gm);
	close(fd);
	return rc;
}

void memory_free(struct guest_memory *gm)
{
	int fd = gm->count ? gm->region[0].fd : -1;

	unmap(gm);
	if (fd >= 0)
		close(fd);
}
