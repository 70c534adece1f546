// SPDX-License-Identifier: Apache-2.0
/* ELF kernels with a PVH note. */
#include <elf.h>

#include "tests/fuzz/loader_fuzz.h"

/* Each segment of an accepted file is in RAM. */
static void check(const uint8_t *file, size_t size)
{
	Elf64_Ehdr eh;

	if (loader_entry.protocol != GUEST_PVH)
		return; /* multiboot1, multiboot2 */
	require(size >= sizeof(eh));
	memcpy(&eh, file, sizeof(eh));
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		Elf64_Phdr ph;
		const void *ram;

		require(range_fits(eh.e_phoff + i * sizeof(ph), sizeof(ph), size));
		memcpy(&ph, file + eh.e_phoff + i * sizeof(ph), sizeof(ph));
		if (ph.p_type != PT_LOAD || !ph.p_memsz)
			continue;
		ram = guest_memory_at(&loader_ram, ph.p_paddr, ph.p_memsz);
		require(ram && range_fits(ph.p_offset, ph.p_filesz, size));
		require(!memcmp(ram, file + ph.p_offset, ph.p_filesz), "segment %u is not there",
			i);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Another format is another target's. */
	if (size < 5 || memcmp(data + 1, ELFMAG, SELFMAG))
		return 0;
	if (!loader_run(data, size, data[0] & 0x80))
		check(data + 1, size - 1);
	loader_end();
	return 0;
}
