/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the parts of the loader: files, the two kernel formats, the placement in guest RAM.
 * Internal to guest/.
 */
#ifndef POSTERN_GUEST_LOADER_H
#define POSTERN_GUEST_LOADER_H

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include <asm/bootparam.h>

#include "config.h"
#include "guest/guest.h"

/* A kernel or initrd file, open for reading. */
struct image {
	const char *kind; /* "kernel" or "initrd", for messages */
	const char *path;
	int fd;
	bool borrowed; /* the descriptor stays open */
	uint64_t size;
	/* Of a file that was compressed: what it holds, SIZE bytes; else NULL. */
	uint8_t *data;
	size_t data_mapped;
};

/*
 * Only regular files, not empty. OPENED is the file's descriptor, or -1 for it to be opened. 0 or
 * -errno after saying why.
 */
int image_open(struct image *image, const char *kind, const char *path, int opened);
void image_close(struct image *image);
/* The descriptor of one of the files, where they have been opened, or -1. */
static inline int loader_file(const struct guest_boot *boot, unsigned file)
{
	return boot->opened ? boot->fd[file] : -1;
}
/* LEN bytes at OFFSET; -ENOEXEC where the file ends before. */
int image_read(const struct image *image, uint64_t offset, void *buf, uint64_t len);
#ifdef CONFIG_KERNEL_COMPRESSED
/* A compressed file becomes what it holds, at most LIMIT bytes; others stay. Says why not. */
int image_unpack(struct image *image, uint64_t limit);
#else
static inline int image_unpack(struct image *image, uint64_t limit)
{
	(void)image;
	(void)limit;
	return 0;
}
#endif
/*
 * Bytes [OFFSET, OFFSET + LEN) of the file to guest physical GPA, which the caller has checked to
 * be RAM. With MAP, whole pages whose place in the file and in RAM agree are mapped privately.
 */
int image_place(const struct image *image, uint64_t offset, uint64_t len,
		const struct guest_memory *memory, uint64_t gpa, bool map);

/* Where a kernel went and what it asks of whoever boots it. */
struct kernel {
	enum guest_protocol protocol;
	uint64_t entry;
	uint64_t start, end;	   /* RAM it occupies until it has looked at the memory map */
	uint64_t initrd_max;	   /* last address that the initrd may occupy */
	uint64_t cmdline_max;	   /* characters, without the closing zero */
	struct setup_header setup; /* Linux 64-bit protocol only */
	bool relocatable;	   /* Multiboot 2: is told where it went */
};

/* Where things went, for the boot structures. */
struct placement {
	struct kernel kernel;
	uint64_t initrd, initrd_size;
	struct guest_module initrd_module;
	uint64_t setup_data; /* 0: none */
	struct guest_e820_entry e820[GUEST_E820_MAX];
	unsigned e820_count;
	/* An initrd is the first, where the protocol knows modules only. */
	struct module {
		const struct guest_module *from;
		uint64_t gpa, size;
	} module[GUEST_MODULES_MAX + 1];
	unsigned modules;
};

/* End of the RAM that starts at 0 and that the identity map covers. */
uint64_t loader_low_ram_end(const struct guest_memory *memory);
/* A kernel of SIZE bytes may go to START; -ENOEXEC after saying why not. */
int kernel_fits(const struct image *image, const struct guest_memory *memory, uint64_t start,
		uint64_t size);

/* The highest page below LIMIT from which SIZE bytes fit, if it is not below FLOOR; or -ENOSPC. */
int loader_below(uint64_t limit, uint64_t floor, uint64_t size, uint64_t *gpa);
/* The initrd and the modules. *LIMIT comes back as where RAM is free below, for a bzImage. */
int modules_load(const struct guest_boot *boot, struct placement *place, uint64_t *limit);

/* ---- ELF ---- */

#define ELF_SEGMENTS_MAX 64u

/* The headers of a file of either class. */
struct elf {
	uint8_t class;
	uint64_t entry;
	unsigned count;
	Elf64_Phdr ph[ELF_SEGMENTS_MAX];
};

int elf_read(const struct image *image, struct elf *elf);
/* Judge all segments; the physical range that they span. */
int elf_extent(const struct image *image, const struct elf *elf, uint64_t *start, uint64_t *end);
/* ADDRESS is in a segment's part that the file has. */
bool elf_covers(const struct elf *elf, uint64_t address);
/* Segments to their physical addresses plus SHIFT, which the caller has checked to be RAM. */
int elf_place(const struct image *image, const struct elf *elf, const struct guest_boot *boot,
	      uint64_t shift);

/* ---- the formats ---- */

/* The file begins with a header of this format. */
bool elf_probe(const void *head, uint64_t len);
bool bzimage_probe(const void *head, uint64_t len);
/* -ENOENT: it has no PVH entry, and nothing was said. */
int elf_load(const struct image *image, const struct guest_boot *boot, struct kernel *kernel);
int bzimage_load(const struct image *image, const struct guest_boot *boot, struct kernel *kernel);
#ifdef CONFIG_MULTIBOOT
/* -ENOENT: it has no Multiboot header, and nothing was said. */
int multiboot_load(const struct image *image, const struct guest_boot *boot, struct kernel *kernel);
/* The information structure; *GPA says where. */
int multiboot_info_write(const struct guest_boot *boot, const struct placement *place,
			 uint64_t *gpa);
#else
static inline int multiboot_load(const struct image *image, const struct guest_boot *boot,
				 struct kernel *kernel)
{
	(void)image;
	(void)boot;
	(void)kernel;
	return -ENOENT;
}

static inline int multiboot_info_write(const struct guest_boot *boot, const struct placement *place,
				       uint64_t *gpa)
{
	(void)boot;
	(void)place;
	(void)gpa;
	return -ENOENT;
}
#endif

#endif
