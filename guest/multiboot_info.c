// SPDX-License-Identifier: Apache-2.0
/*
 * What a Multiboot kernel is told: command line, modules, memory map, the loader's name; by version
 * 2 also where the ACPI tables are. Section numbers are those of the specifications.
 *
 * Command lines begin with the file's name, of the kernel and of each module, as GRUB Legacy,
 * SYSLINUX and QEMU have them: kernels skip their first word.
 */
#include <errno.h>
#include <string.h>

#include "guest/loader.h"
#include "guest/multiboot.h"
#include "postern/bits.h"
#include "postern/log.h"

static const char loader_name[] = "postern";

#define RSDP_SIZE 36u /* ACPI 6.4, 5.2.5.3 */

/* ---- version 1, 3.3 ---- */

#define MB1_INFO_MEMORY	 BIT(0)
#define MB1_INFO_CMDLINE BIT(2)
#define MB1_INFO_MODULES BIT(3)
#define MB1_INFO_MAP	 BIT(6)
#define MB1_INFO_LOADER	 BIT(9)

struct mb1_info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
	uint32_t syms[4], mmap_length, mmap_addr, drives[2], config_table, boot_loader_name;
	uint32_t apm_table, vbe[4];
};

struct mb1_module {
	uint32_t start, end, string, reserved;
};

struct mb1_map {
	uint32_t size; /* of what follows */
	uint64_t addr, len;
	uint32_t type;
} __attribute__((packed));

_Static_assert(sizeof(struct mb1_info) == 88, "Multiboot 3.3");
_Static_assert(offsetof(struct mb1_info, mmap_length) == 44, "Multiboot 3.3");
_Static_assert(offsetof(struct mb1_info, boot_loader_name) == 64, "Multiboot 3.3");
_Static_assert(sizeof(struct mb1_module) == 16, "Multiboot 3.3");
_Static_assert(sizeof(struct mb1_map) == 24, "Multiboot 3.3");

/* ---- version 2, 3.6 ---- */

enum {
	MB2_END = 0,
	MB2_CMDLINE = 1,
	MB2_LOADER = 2,
	MB2_MODULE = 3,
	MB2_MEMORY = 4,
	MB2_MAP = 6,
	MB2_RSDP = 15,
	MB2_LOAD_BASE = 21,
};

struct mb2_map {
	uint64_t addr, len;
	uint32_t type, reserved;
};

_Static_assert(sizeof(struct mb2_map) == 24, "Multiboot2 3.6.8");

/* A module list is there if there are modules; where an image went, if it could be moved. */
bool multiboot_info_has(uint32_t type)
{
	static const uint32_t types[] = {MB2_CMDLINE, MB2_LOADER, MB2_MODULE,	MB2_MEMORY,
					 MB2_MAP,     MB2_RSDP,	  MB2_LOAD_BASE};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (types[i] == type)
			return true;
	return false;
}

/* ---- writing it ---- */

/* Fills the place for it in guest memory from its start; once FULL, no more is written. */
struct writer {
	uint8_t *base;
	uint32_t at;
	bool full;
};

static void *put(struct writer *w, const void *data, uint32_t size)
{
	void *p = w->base + w->at;

	if (w->full || !range_fits(w->at, size, GUEST_MODULES_SIZE)) {
		w->full = true;
		return NULL;
	}
	if (data)
		memcpy(p, data, size);
	else
		memset(p, 0, size);
	w->at += size;
	return p;
}

static void put_u32(struct writer *w, uint32_t value)
{
	put(w, &value, sizeof(value));
}

static void put_align(struct writer *w, uint32_t align)
{
	put(w, NULL, -w->at & (align - 1));
}

/* "PATH CMDLINE"; returns its guest physical address. */
static uint32_t put_cmdline(struct writer *w, const char *path, const char *cmdline)
{
	uint32_t at = w->at;

	put(w, path, (uint32_t)strlen(path));
	if (cmdline && *cmdline) {
		put(w, " ", 1);
		put(w, cmdline, (uint32_t)strlen(cmdline));
	}
	put(w, NULL, 1);
	return (uint32_t)GUEST_MODULES + at;
}

/* 3.3: KiB from 0 and from 1 MiB, each up to the first hole. */
static uint32_t memory_lower(const struct placement *place)
{
	return (uint32_t)(place->e820[0].size / KIB);
}

static uint32_t memory_upper(const struct guest_boot *boot)
{
	return (uint32_t)((loader_low_ram_end(boot->memory) - GUEST_HIGH) / KIB);
}

static void mb1_write(struct writer *w, const struct guest_boot *boot,
		      const struct placement *place)
{
	struct mb1_module module[GUEST_MODULES_MAX + 1] = {0};
	struct mb1_info info = {
		.flags = MB1_INFO_MEMORY | MB1_INFO_CMDLINE | MB1_INFO_MODULES | MB1_INFO_MAP |
			 MB1_INFO_LOADER,
		.mem_lower = memory_lower(place),
		.mem_upper = memory_upper(boot),
		.mods_count = place->modules,
	};
	void *start = put(w, NULL, sizeof(info));

	info.mmap_addr = (uint32_t)GUEST_MODULES + w->at;
	info.mmap_length = place->e820_count * (uint32_t)sizeof(struct mb1_map);
	for (unsigned i = 0; i < place->e820_count; i++) {
		const struct guest_e820_entry *e = &place->e820[i];
		struct mb1_map map = {sizeof(map) - sizeof(map.size), e->addr, e->size, e->type};

		put(w, &map, sizeof(map));
	}
	for (unsigned i = 0; i < place->modules; i++) {
		const struct module *m = &place->module[i];

		/* Below 4 GiB: modules_load(). */
		module[i].start = (uint32_t)m->gpa;
		module[i].end = (uint32_t)(m->gpa + m->size);
		module[i].string = put_cmdline(w, m->from->path, m->from->cmdline);
	}
	info.cmdline = put_cmdline(w, boot->kernel, boot->cmdline);
	info.boot_loader_name = put_cmdline(w, loader_name, NULL);
	put_align(w, 4);
	info.mods_addr = (uint32_t)GUEST_MODULES + w->at;
	put(w, module, place->modules * (uint32_t)sizeof(module[0]));
	if (!w->full)
		memcpy(start, &info, sizeof(info));
}

/* A tag's head; its size is filled in by tag_end(). */
static uint32_t tag_begin(struct writer *w, uint32_t type)
{
	uint32_t at;

	put_align(w, 8);
	at = w->at;
	put_u32(w, type);
	put_u32(w, 0);
	return at;
}

static void tag_end(struct writer *w, uint32_t at)
{
	uint32_t size = w->at - at;

	if (!w->full)
		memcpy(w->base + at + 4, &size, sizeof(size));
}

static void mb2_write_map(struct writer *w, const struct placement *place)
{
	uint32_t at = tag_begin(w, MB2_MAP);

	put_u32(w, sizeof(struct mb2_map));
	put_u32(w, 0); /* version */
	for (unsigned i = 0; i < place->e820_count; i++) {
		const struct guest_e820_entry *e = &place->e820[i];
		struct mb2_map map = {e->addr, e->size, e->type, 0};

		put(w, &map, sizeof(map));
	}
	tag_end(w, at);
}

static void mb2_write(struct writer *w, const struct guest_boot *boot,
		      const struct placement *place)
{
	uint32_t at, size;

	put(w, NULL, 8); /* total size, reserved */
	at = tag_begin(w, MB2_CMDLINE);
	put_cmdline(w, boot->kernel, boot->cmdline);
	tag_end(w, at);
	at = tag_begin(w, MB2_LOADER);
	put_cmdline(w, loader_name, NULL);
	tag_end(w, at);
	for (unsigned i = 0; i < place->modules; i++) {
		const struct module *m = &place->module[i];

		at = tag_begin(w, MB2_MODULE);
		put_u32(w, (uint32_t)m->gpa);
		put_u32(w, (uint32_t)(m->gpa + m->size));
		put_cmdline(w, m->from->path, m->from->cmdline);
		tag_end(w, at);
	}
	at = tag_begin(w, MB2_MEMORY);
	put_u32(w, memory_lower(place));
	put_u32(w, memory_upper(boot));
	tag_end(w, at);
	mb2_write_map(w, place);
	at = tag_begin(w, MB2_RSDP);
	put(w, guest_memory_at(boot->memory, GUEST_RSDP, RSDP_SIZE), RSDP_SIZE);
	tag_end(w, at);
	if (place->kernel.relocatable) {
		at = tag_begin(w, MB2_LOAD_BASE);
		put_u32(w, (uint32_t)place->kernel.start);
		tag_end(w, at);
	}
	at = tag_begin(w, MB2_END);
	tag_end(w, at);
	size = w->at;
	if (!w->full)
		memcpy(w->base, &size, sizeof(size));
}

int multiboot_info_write(const struct guest_boot *boot, const struct placement *place,
			 uint64_t *gpa)
{
	struct writer w = {
		.base = guest_memory_at(boot->memory, GUEST_MODULES, GUEST_MODULES_SIZE)};

	if (!w.base)
		return -EFAULT;
	if (place->kernel.protocol == GUEST_MULTIBOOT1)
		mb1_write(&w, boot, place);
	else
		mb2_write(&w, boot, place);
	if (w.full) {
		log_error("kernel %s: the command lines of its modules take more than %llu KiB; "
			  "shorten them",
			  boot->kernel, (unsigned long long)(GUEST_MODULES_SIZE / KIB));
		return -E2BIG;
	}
	*gpa = GUEST_MODULES;
	return 0;
}
