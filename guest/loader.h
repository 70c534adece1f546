/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the parts of the loader: files, the two kernel formats, the placement in guest RAM.
 * Internal to guest/.
 */
#ifndef POSTERN_GUEST_LOADER_H
#define POSTERN_GUEST_LOADER_H

#include <stdbool.h>
#include <stdint.h>

#include <asm/bootparam.h>

#include "guest/guest.h"

/* A kernel or initrd file, open for reading. */
struct image {
	const char *kind; /* "kernel" or "initrd", for messages */
	const char *path;
	int fd;
	uint64_t size;
};

/* Only regular files, not empty. 0 or -errno after saying why. */
int image_open(struct image *image, const char *kind, const char *path);
void image_close(struct image *image);
/* LEN bytes at OFFSET; -ENOEXEC where the file ends before. */
int image_read(const struct image *image, uint64_t offset, void *buf, uint64_t len);
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
};

/* End of the RAM that starts at 0 and that the identity map covers. */
uint64_t loader_low_ram_end(const struct guest_memory *memory);

/* The file begins with a header of this format. */
bool elf_probe(const void *head, uint64_t len);
bool bzimage_probe(const void *head, uint64_t len);
int elf_load(const struct image *image, const struct guest_boot *boot, struct kernel *kernel);
int bzimage_load(const struct image *image, const struct guest_boot *boot, struct kernel *kernel);

#endif
