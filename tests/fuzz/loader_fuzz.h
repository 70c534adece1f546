/* SPDX-License-Identifier: Apache-2.0 */
/* A kernel file of any bytes, loaded into a small guest. */
#ifndef POSTERN_FUZZ_LOADER_H
#define POSTERN_FUZZ_LOADER_H

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest/guest.h"
#include "tests/fuzz/fuzz.h"

#define LOADER_RAM     (4 * MIB)
#define LOADER_HIGH    (4 * GIB)
#define LOADER_HIGH_SZ (1 * MIB)

static struct guest_memory loader_ram;
static struct guest_entry loader_entry;
static unsigned loader_modules; /* how many to give the kernel, 2 at most */

static inline void *loader_map(uint64_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	require(p != MAP_FAILED);
	return p;
}

static inline int loader_file(const void *data, size_t size, char path[32])
{
	const int fd = memfd_create("fuzz", MFD_CLOEXEC);

	require(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, 32, "/proc/self/fd/%d", fd);
	return fd;
}

/*
 * guest_boot_load() of the input: its first byte says how, the rest is the kernel. What is refused
 * has said why; what is accepted is entered in RAM, in a state that KVM can be given.
 */
static inline int loader_run(const uint8_t *data, size_t size, bool map_files)
{
	static const uint8_t initrd[5000] = {1, 2, 3};
	const unsigned how = size ? data[0] : 0;
	char kernel_path[32], initrd_path[32];
	const struct guest_module module[] = {{initrd_path, "text"}, {initrd_path, NULL}};
	struct guest_boot boot = {.memory = &loader_ram,
				  .module = module,
				  .modules = loader_modules,
				  .kernel = kernel_path,
				  .initrd = how & 1 ? initrd_path : NULL,
				  .cmdline = how & 2 ? "console=ttyS0 root=/dev/vda" : "",
				  .fdt = how & 4 ? initrd : NULL,
				  .fdt_size = how & 4 ? 1000 : 0,
				  .map_files = map_files};
	int kernel, rd, ret;

	loader_ram = (struct guest_memory){
		.count = 2,
		.region = {{.gpa = 0, .size = LOADER_RAM, .host = loader_map(LOADER_RAM), .fd = -1},
			   {.gpa = LOADER_HIGH,
			    .size = LOADER_HIGH_SZ,
			    .host = loader_map(LOADER_HIGH_SZ),
			    .fd = -1}}};
	kernel = loader_file(data + 1, size - 1, kernel_path);
	rd = loader_file(initrd, sizeof(initrd), initrd_path);
	fuzz_messages();
	ret = guest_boot_load(&boot, &loader_entry);
	if (ret) {
		require(ret < 0 && fuzz_messages(), "refused (%d) without a word", ret);
	} else {
		struct kvm_sregs sregs = {0};
		struct kvm_regs regs = {0};

		require(guest_memory_at(&loader_ram, loader_entry.rip, 1), "entered outside RAM");
		require(!guest_entry_registers(&loader_entry, &loader_ram, &sregs, &regs));
	}
	close(kernel);
	close(rd);
	return ret;
}

static inline void loader_end(void)
{
	for (unsigned i = 0; i < loader_ram.count; i++)
		munmap(loader_ram.region[i].host, loader_ram.region[i].size);
}

#endif
