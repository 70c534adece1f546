// SPDX-License-Identifier: Apache-2.0
/* Compressed kernels: any bytes behind a magic number. What is accepted is entered in RAM. */
#include "tests/fuzz/loader_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t magic[][6] = {{0x1f, 0x8b, 8},
					   {0xfd, '7', 'z', 'X', 'Z', 0},
					   {0x28, 0xb5, 0x2f, 0xfd},
					   {0x04, 0x22, 0x4d, 0x18}};
	static const unsigned len[] = {3, 6, 4, 4};
	static uint8_t file[1 + 0x10000];
	unsigned which = size ? data[0] >> 3 & 3 : 0;

	if (size < 8 || size > sizeof(file))
		return 0;
	memcpy(file, data, size);
	memcpy(file + 1, magic[which], len[which]);
	loader_run(file, size, data[0] & 0x80);
	loader_end();
	return 0;
}
