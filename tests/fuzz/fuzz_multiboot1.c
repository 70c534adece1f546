// SPDX-License-Identifier: Apache-2.0
/* Multiboot kernels of version 1. */
#include "tests/fuzz/multiboot_fuzz.h"

static void fix(uint8_t *header)
{
	uint32_t flags, magic = 0x1badb002, sum;

	memcpy(&flags, header + 4, 4);
	sum = -magic - flags;
	memcpy(header, &magic, 4);
	memcpy(header + 8, &sum, 4);
}

static void check(void)
{
	uint32_t info = (uint32_t)loader_entry.argument;
	uint32_t module = multiboot_word(info + 24), map = multiboot_word(info + 48);

	for (uint32_t i = 0; i < multiboot_word(info + 20); i++)
		multiboot_check_module(multiboot_word(module + i * 16),
				       multiboot_word(module + i * 16 + 4));
	for (uint32_t at = 0; at < multiboot_word(info + 44); at += 24)
		require(multiboot_word(map + at) == 20 && multiboot_word(map + at + 20));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!multiboot_run(data, size, fix) && loader_entry.protocol == GUEST_MULTIBOOT1)
		check();
	loader_end();
	return 0;
}
