// SPDX-License-Identifier: Apache-2.0
/*
 * What a boot loader does: kernel and initrd into RAM, command line, memory map, and the structure
 * by which the kernel finds them (PVH: hvm_start_info; Linux 64-bit protocol: boot_params;
 * Multiboot: its information).
 *
 * Runs again at each guest reset, over RAM that the guest has used: what must read as zero is
 * zeroed.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "guest/loader.h"
#include "postern/bits.h"
#include "postern/log.h"

#define LOW_RAM_LIMIT (4 * GIB) /* the identity map's end, and what 32-bit pointers reach */
#define BIOS_HOLE     UINT64_C(0xa0000)
#ifdef CONFIG_MULTIBOOT
#define MULTIBOOT_OR  " or a Multiboot header"
#define MULTIBOOT_NOR ", and has no Multiboot header"
#else
#define MULTIBOOT_OR  ""
#define MULTIBOOT_NOR ""
#endif
#define FDT_SIZE_MAX (2 * MIB)
#define DTB_HEADER   sizeof(struct setup_data)

enum { E820_RAM = 1, E820_RESERVED = 2 };

/* Xen public headers, arch-x86/hvm/start_info.h; all that belongs to it shares one page. */
#define PVH_MAGIC  0x336ec578u
#define PVH_MEMMAP (GUEST_PVH_INFO + 0x80)

struct pvh_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr;
	uint32_t memmap_entries, reserved;
};

struct pvh_module {
	uint64_t paddr, size, cmdline_paddr, reserved;
};

struct pvh_memmap {
	uint64_t addr, size;
	uint32_t type, reserved;
};

_Static_assert(sizeof(struct pvh_start_info) == 56, "start_info.h, version 1");
_Static_assert(sizeof(struct pvh_module) == 32, "start_info.h");
_Static_assert(sizeof(struct pvh_memmap) == 24, "start_info.h");
/* What the command lines of the modules can take at most. */
_Static_assert((GUEST_MODULES_MAX + 1) * (sizeof(struct pvh_module) + GUEST_CMDLINE_MAX) <=
		       GUEST_MODULES_SIZE,
	       "module command lines run out of their place");
_Static_assert(GUEST_MODULES + GUEST_MODULES_SIZE <= BIOS_HOLE, "modules run into the BIOS hole");
_Static_assert(PVH_MEMMAP + GUEST_E820_MAX * sizeof(struct pvh_memmap) <= GUEST_BOOT_PARAMS,
	       "start info runs into boot_params");
_Static_assert(sizeof(struct boot_params) == 4096, "zero-page.rst");
_Static_assert(offsetof(struct boot_params, acpi_rsdp_addr) == 0x70, "zero-page.rst");
_Static_assert(offsetof(struct boot_params, e820_table) == 0x2d0, "zero-page.rst");
_Static_assert(GUEST_BOOT_PARAMS + sizeof(struct boot_params) <= GUEST_PAGE_TABLES,
	       "boot_params run into the page tables");

uint64_t loader_low_ram_end(const struct guest_memory *memory)
{
	const struct guest_region *low = &memory->region[0];

	if (!memory->count || low->gpa)
		return 0;
	return low->size < LOW_RAM_LIMIT ? low->size : LOW_RAM_LIMIT;
}

int kernel_fits(const struct image *image, const struct guest_memory *memory, uint64_t start,
		uint64_t size)
{
	uint64_t limit = loader_low_ram_end(memory);

	if (start < GUEST_HIGH) {
		log_error("kernel %s: wants to be loaded below 1 MiB, where the boot structures "
			  "are",
			  image->path);
		return -ENOEXEC;
	}
	if (!range_fits(start, size, limit)) {
		log_error("kernel %s: needs %llu bytes at %#llx, the guest's low RAM ends at "
			  "%#llx; give the guest more memory",
			  image->path, (unsigned long long)size, (unsigned long long)start,
			  (unsigned long long)limit);
		return -ENOEXEC;
	}
	return 0;
}

static void e820_add(struct placement *place, uint64_t addr, uint64_t end, uint32_t type)
{
	struct guest_e820_entry *e = &place->e820[place->e820_count++];

	e->addr = addr;
	e->size = end - addr;
	e->type = type;
}

static int e820_build(const struct guest_boot *boot, struct placement *place)
{
	const struct guest_memory *memory = boot->memory;

	_Static_assert(2 + GUEST_MEMORY_REGIONS + ARRAY_SIZE(boot->reserved) <= GUEST_E820_MAX,
		       "the memory map can outgrow its table");
	if (boot->reserved_count > ARRAY_SIZE(boot->reserved))
		return -EINVAL;
	e820_add(place, 0, BIOS_HOLE, E820_RAM);
	/* The ACPI tables are here, and Linux expects nothing else to be. */
	e820_add(place, BIOS_HOLE, GUEST_HIGH, E820_RESERVED);
	for (unsigned i = 0; i < memory->count; i++) {
		const struct guest_region *r = &memory->region[i];

		e820_add(place, i ? r->gpa : GUEST_HIGH, r->gpa + r->size, E820_RAM);
	}
	for (unsigned i = 0; i < boot->reserved_count; i++)
		place->e820[place->e820_count++] = boot->reserved[i];
	return 0;
}

static const char *file_path(const struct guest_boot *boot, unsigned i)
{
	if (i < GUEST_FILE_MODULE)
		return i == GUEST_FILE_KERNEL ? boot->kernel : boot->initrd;
	return boot->module[i - GUEST_FILE_MODULE].path;
}

int guest_boot_open(struct guest_boot *boot)
{
	static const char *const kind[] = {"kernel", "initrd", "module"};
	int ret = boot->modules > GUEST_MODULES_MAX ? -EINVAL : 0;

	for (unsigned i = 0; i < GUEST_FILES_MAX; i++)
		boot->fd[i] = -1;
	boot->opened = true;
	for (unsigned i = 0; !ret && i < GUEST_FILE_MODULE + boot->modules; i++) {
		const char *path = file_path(boot, i);
		struct image image;

		if (!path)
			continue;
		ret = image_open(&image, kind[i < GUEST_FILE_MODULE ? i : GUEST_FILE_MODULE], path,
				 -1);
		if (!ret)
			boot->fd[i] = image.fd;
	}
	if (ret)
		guest_boot_close(boot);
	return ret;
}

void guest_boot_close(struct guest_boot *boot)
{
	for (unsigned i = 0; boot->opened && i < GUEST_FILES_MAX; i++) {
		if (boot->fd[i] >= 0)
			close(boot->fd[i]);
	}
	boot->opened = false;
}

static int kernel_load(const struct guest_boot *boot, struct kernel *kernel)
{
	struct image image;
	uint8_t head[0x206];
	uint64_t len;
	bool elf;
	int ret;

	ret = image_open(&image, "kernel", boot->kernel, loader_file(boot, GUEST_FILE_KERNEL));
	if (ret)
		return ret;
	ret = image_unpack(&image, loader_low_ram_end(boot->memory));
	if (ret)
		goto close;
	len = image.size < sizeof(head) ? image.size : sizeof(head);
	ret = image_read(&image, 0, head, len);
	if (ret)
		goto close;
	elf = elf_probe(head, len);
	ret = -ENOENT;
	if (elf)
		ret = elf_load(&image, boot, kernel);
	else if (bzimage_probe(head, len))
		ret = bzimage_load(&image, boot, kernel);
	if (ret == -ENOENT)
		ret = multiboot_load(&image, boot, kernel);
	if (ret == -ENOENT) {
		ret = -ENOEXEC;
		log_error("kernel %s: %s", image.path,
			  elf ? "is an ELF file without a PVH entry point" MULTIBOOT_OR
				"; build Linux with CONFIG_PVH=y or boot its bzImage"
			      : "is neither an ELF file (vmlinux) nor a bzImage" MULTIBOOT_NOR);
	}
close:
	image_close(&image);
	return ret;
}

static int fdt_load(const struct guest_boot *boot, struct placement *place, uint64_t limit)
{
	struct setup_data head = {.type = SETUP_DTB, .len = boot->fdt_size};

	if (!boot->fdt)
		return 0;
	if (place->kernel.protocol != GUEST_LINUX64) {
		log_warning("kernel %s: a kernel by PVH or Multiboot takes no device tree; boot a "
			    "bzImage",
			    boot->kernel);
		return 0;
	}
	if (boot->fdt_size > FDT_SIZE_MAX ||
	    loader_below(limit, place->kernel.end, DTB_HEADER + boot->fdt_size,
			 &place->setup_data)) {
		log_error(
			"device tree: %u bytes do not fit below %#llx; give the guest more memory",
			boot->fdt_size, (unsigned long long)limit);
		return -EFBIG;
	}
	guest_memory_write(boot->memory, place->setup_data, &head, sizeof(head));
	return guest_memory_write(boot->memory, place->setup_data + DTB_HEADER, boot->fdt,
				  boot->fdt_size);
}

static int cmdline_load(const struct guest_boot *boot, const struct kernel *kernel)
{
	uint64_t len = strlen(boot->cmdline), max = GUEST_CMDLINE_MAX - 1;

	if (max > kernel->cmdline_max)
		max = kernel->cmdline_max;
	if (len > max) {
		log_error(
			"kernel %s: the command line has %llu characters, at most %llu are taken; "
			"shorten it",
			boot->kernel, (unsigned long long)len, (unsigned long long)max);
		return -E2BIG;
	}
	return guest_memory_write(boot->memory, GUEST_CMDLINE, boot->cmdline, len + 1);
}

/* The list, and behind it the command lines. */
static int pvh_modules_write(const struct guest_boot *boot, const struct placement *place)
{
	uint64_t text = GUEST_MODULES + sizeof(struct pvh_module) * place->modules;

	for (unsigned i = 0; i < place->modules; i++) {
		const struct module *m = &place->module[i];
		const char *cmdline = m->from->cmdline;
		struct pvh_module module = {.paddr = m->gpa, .size = m->size};
		int ret = 0;

		if (cmdline) {
			module.cmdline_paddr = text;
			ret = guest_memory_write(boot->memory, text, cmdline, strlen(cmdline) + 1);
			text += strlen(cmdline) + 1;
		}
		if (!ret)
			ret = guest_memory_write(boot->memory, GUEST_MODULES + i * sizeof(module),
						 &module, sizeof(module));
		if (ret)
			return ret;
	}
	return 0;
}

static int pvh_info_write(const struct guest_boot *boot, const struct placement *place)
{
	struct pvh_start_info info = {
		.magic = PVH_MAGIC,
		.version = 1,
		.cmdline_paddr = GUEST_CMDLINE,
		.rsdp_paddr = GUEST_RSDP,
		.memmap_paddr = PVH_MEMMAP,
		.memmap_entries = place->e820_count,
	};
	struct pvh_memmap map[GUEST_E820_MAX] = {0};
	int ret;

	if (place->modules) {
		info.nr_modules = place->modules;
		info.modlist_paddr = GUEST_MODULES;
		ret = pvh_modules_write(boot, place);
		if (ret)
			return ret;
	}
	for (unsigned i = 0; i < place->e820_count; i++) {
		map[i].addr = place->e820[i].addr;
		map[i].size = place->e820[i].size;
		map[i].type = place->e820[i].type;
	}
	ret = guest_memory_write(boot->memory, PVH_MEMMAP, map, place->e820_count * sizeof(map[0]));
	if (ret)
		return ret;
	return guest_memory_write(boot->memory, GUEST_PVH_INFO, &info, sizeof(info));
}

static int boot_params_write(const struct guest_boot *boot, const struct placement *place)
{
	struct boot_params *bp = guest_memory_at(boot->memory, GUEST_BOOT_PARAMS, sizeof(*bp));

	if (!bp)
		return -EFAULT;
	memset(bp, 0, sizeof(*bp));
	bp->hdr = place->kernel.setup;
	bp->hdr.type_of_loader = 0xff; /* boot.rst: a loader without an assigned number */
	bp->hdr.loadflags = LOADED_HIGH;
	bp->hdr.code32_start = (uint32_t)place->kernel.start;
	bp->hdr.cmd_line_ptr = (uint32_t)GUEST_CMDLINE;
	bp->hdr.ramdisk_image = (uint32_t)place->initrd;
	bp->hdr.ramdisk_size = (uint32_t)place->initrd_size;
	bp->ext_ramdisk_image = (uint32_t)(place->initrd >> 32);
	bp->ext_ramdisk_size = (uint32_t)(place->initrd_size >> 32);
	bp->hdr.setup_data = place->setup_data;
	bp->acpi_rsdp_addr = GUEST_RSDP;
	bp->e820_entries = (uint8_t)place->e820_count;
	for (unsigned i = 0; i < place->e820_count; i++) {
		bp->e820_table[i].addr = place->e820[i].addr;
		bp->e820_table[i].size = place->e820[i].size;
		bp->e820_table[i].type = place->e820[i].type;
	}
	return 0;
}

int guest_boot_load(const struct guest_boot *boot, struct guest_entry *entry)
{
	uint64_t limit = loader_low_ram_end(boot->memory);
	struct placement place = {0};
	int ret;

	if (limit <= GUEST_HIGH) {
		log_error(
			"guest RAM: %llu bytes from address 0 hold no kernel; give the guest more "
			"memory",
			(unsigned long long)limit);
		return -EINVAL;
	}
	ret = e820_build(boot, &place);
	if (ret)
		return ret;
	ret = kernel_load(boot, &place.kernel);
	if (ret)
		return ret;
	ret = modules_load(boot, &place, &limit);
	if (ret)
		return ret;
	ret = fdt_load(boot, &place, limit);
	if (ret)
		return ret;
	ret = cmdline_load(boot, &place.kernel);
	if (ret)
		return ret;
	/* Kernels look for BIOS data here: a reset guest must not find its own old bytes. */
	memset(guest_memory_at(boot->memory, 0, GUEST_GDT), 0, GUEST_GDT);
	entry->protocol = place.kernel.protocol;
	entry->rip = place.kernel.entry;
	if (entry->protocol == GUEST_PVH) {
		entry->argument = GUEST_PVH_INFO;
		return pvh_info_write(boot, &place);
	}
	if (entry->protocol != GUEST_LINUX64)
		return multiboot_info_write(boot, &place, &entry->argument);
	entry->argument = GUEST_BOOT_PARAMS;
	return boot_params_write(boot, &place);
}
