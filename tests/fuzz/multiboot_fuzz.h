/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multiboot kernels. An input is a byte that says how to load it, one for the file's length, and
 * with MULTIBOOT_ELF the file's first bytes; then the header, whose magic number and checksum are
 * put right.
 */
#ifndef POSTERN_FUZZ_MULTIBOOT_H
#define POSTERN_FUZZ_MULTIBOOT_H

#include "tests/fuzz/loader_fuzz.h"

#define MULTIBOOT_FILE	  0x4000u
#define MULTIBOOT_HEADER  0x80u
#define MULTIBOOT_MODULES 0x08u
#define MULTIBOOT_ELF	  0x10u

static inline uint32_t multiboot_word(uint64_t gpa)
{
	const void *p = guest_memory_at(&loader_ram, gpa, sizeof(uint32_t));
	uint32_t value;

	require(p, "information at %#llx is not in RAM", (unsigned long long)gpa);
	memcpy(&value, p, sizeof(value));
	return value;
}

static inline void multiboot_check_module(uint32_t start, uint32_t end)
{
	const uint8_t *p = guest_memory_at(&loader_ram, start, end - start);

	require(p && end - start == 5000 && is_aligned(start, GUEST_PAGE_SIZE));
	require(p[0] == 1 && p[2] == 3 && !p[4999], "the module is not there");
	require(loader_entry.rip < start || loader_entry.rip >= end, "the module hides the entry");
}

/* One run: FIX sets the header right; 0 when the kernel was loaded. */
static inline int multiboot_run(const uint8_t *data, size_t size, void (*fix)(uint8_t *header))
{
	static uint8_t file[1 + MULTIBOOT_FILE];
	struct input in = {data, size};
	const unsigned how = input_u8(&in), length = input_u8(&in);

	for (unsigned i = 0; i < sizeof(file); i++)
		file[i] = (uint8_t)(i * 7);
	file[0] = (uint8_t)how;
	if (how & MULTIBOOT_ELF) {
		input_copy(&in, file + 1, MULTIBOOT_HEADER);
		memcpy(file + 1, "\177ELF", 4);
	}
	input_copy(&in, file + 1 + MULTIBOOT_HEADER, MULTIBOOT_FILE - MULTIBOOT_HEADER);
	fix(file + 1 + MULTIBOOT_HEADER);
	loader_modules = how & MULTIBOOT_MODULES ? 2 : 0;
	return loader_run(file, 1 + (length < 250 ? length * 64u : MULTIBOOT_FILE), how & 0x80);
}

#endif
