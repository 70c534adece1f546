// SPDX-License-Identifier: Apache-2.0
/* bzImage kernels; the file of an input begins with the boot sector's setup header. */
#include <asm/bootparam.h>

#include "tests/fuzz/loader_fuzz.h"

#define SETUP_HEADER 0x1f1u
#define SETUP_BYTES  0x9fu /* that an input gives: up to the end of boot_params.hdr and more */

static void check(const uint8_t *file)
{
	const struct boot_params *bp =
		guest_memory_at(&loader_ram, GUEST_BOOT_PARAMS, sizeof(struct boot_params));
	struct setup_header setup;
	uint64_t payload, offset;

	memcpy(&setup, file + SETUP_HEADER, sizeof(setup));
	payload = setup.syssize * 16ull;
	offset = ((setup.setup_sects ? setup.setup_sects : 4) + 1) * 512ull;
	require(loader_entry.protocol == GUEST_LINUX64 && bp);
	require(loader_entry.argument == GUEST_BOOT_PARAMS && bp->hdr.type_of_loader == 0xff);
	require(!memcmp(guest_memory_at(&loader_ram, bp->hdr.code32_start, payload), file + offset,
			payload),
		"the kernel is not there");
	require(bp->e820_entries && bp->e820_entries <= GUEST_E820_MAX);
	if (bp->hdr.ramdisk_size)
		require(guest_memory_at(&loader_ram, bp->hdr.ramdisk_image, bp->hdr.ramdisk_size) &&
				bp->hdr.ramdisk_image >= bp->hdr.code32_start + payload,
			"the initrd lies in the kernel");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t file[1 + 0x4000];
	struct input in = {data, size};
	const unsigned how = input_u8(&in), length = input_u8(&in);

	memset(file, 0, sizeof(file));
	file[0] = (uint8_t)how;
	for (unsigned i = 0x290; i < sizeof(file) - 1; i++)
		file[1 + i] = (uint8_t)(i * 7);
	input_copy(&in, file + 1 + SETUP_HEADER, SETUP_BYTES);
	if (!(how & 0x40)) {
		memcpy(file + 1 + 0x1fe, "\x55\xaa", 2);
		memcpy(file + 1 + 0x202, "HdrS", 4);
	}
	if (!loader_run(file, 1 + (length < 250 ? length * 64u : sizeof(file) - 1), how & 0x80))
		check(file + 1);
	loader_end();
	return 0;
}
