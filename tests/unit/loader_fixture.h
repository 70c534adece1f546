/* SPDX-License-Identifier: Apache-2.0 */
/* A small guest, and a kernel file that a test makes and loads into it. */
#ifndef POSTERN_TEST_LOADER_FIXTURE_H
#define POSTERN_TEST_LOADER_FIXTURE_H

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest/guest.h"
#include "postern/bits.h"
#include "postern/log.h"

#define RAM	  (32 * MIB)
#define HIGH_RAM  (4 * GIB)
#define HIGH_SIZE (2 * MIB)
#define FILE_SIZE (64 * KIB)

static struct guest_memory ram;
static uint8_t file[FILE_SIZE];
static char dir[] = "/tmp/test_loader.XXXXXX";
static char kernel_path[64], initrd_path[64];
static struct guest_boot boot;
static struct guest_entry entry;

static void *map_ram(uint64_t size)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);
	void *p;

	cr_assert(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert_neq(p, MAP_FAILED);
	close(fd);
	return p;
}

static void setup(void)
{
	cr_assert_not_null(mkdtemp(dir));
	snprintf(kernel_path, sizeof(kernel_path), "%s/kernel", dir);
	snprintf(initrd_path, sizeof(initrd_path), "%s/initrd", dir);
	ram.count = 2;
	ram.region[0] = (struct guest_region){.gpa = 0, .size = RAM, .host = map_ram(RAM)};
	ram.region[1] = (struct guest_region){
		.gpa = HIGH_RAM, .size = HIGH_SIZE, .host = map_ram(HIGH_SIZE)};
	boot = (struct guest_boot){
		.memory = &ram, .kernel = kernel_path, .cmdline = "console=ttyS0"};
	log_set_level((enum log_level) - 1);
}

static void teardown(void)
{
	unlink(kernel_path);
	unlink(initrd_path);
	rmdir(dir);
}

static inline void write_file(const char *path, const void *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	cr_assert(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
	close(fd);
}

static inline int load(size_t len)
{
	write_file(kernel_path, file, len);
	return guest_boot_load(&boot, &entry);
}

static inline uint8_t *at(uint64_t gpa, uint64_t len)
{
	uint8_t *p = guest_memory_at(&ram, gpa, len);

	cr_assert_not_null(p, "%#llx", (unsigned long long)gpa);
	return p;
}

static inline uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 7 + (i >> 8));
}

#endif
