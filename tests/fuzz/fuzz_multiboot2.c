// SPDX-License-Identifier: Apache-2.0
/* Multiboot kernels of version 2. */
#include "tests/fuzz/multiboot_fuzz.h"

static void fix(uint8_t *header)
{
	uint32_t architecture, length, magic = 0xe85250d6, sum;

	memcpy(&architecture, header + 4, 4);
	memcpy(&length, header + 8, 4);
	sum = -magic - architecture - length;
	memcpy(header, &magic, 4);
	memcpy(header + 12, &sum, 4);
}

static void check(void)
{
	uint64_t info = loader_entry.argument, at = info + 8;
	uint64_t end = info + multiboot_word(info);

	require(is_aligned(info, 8) && multiboot_word(info) <= GUEST_MODULES_SIZE);
	while (multiboot_word(at)) {
		uint32_t size = multiboot_word(at + 4);

		require(size >= 8 && range_fits(at, size, end), "a tag runs out of its place");
		if (multiboot_word(at) == 3)
			multiboot_check_module(multiboot_word(at + 8), multiboot_word(at + 12));
		if (multiboot_word(at) == 21)
			require(multiboot_word(at + 8) <= loader_entry.rip);
		at += align_up(size, 8);
	}
	require(at + 8 == end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!multiboot_run(data, size, fix) && loader_entry.protocol == GUEST_MULTIBOOT2)
		check();
	loader_end();
	return 0;
}
