/* SPDX-License-Identifier: Apache-2.0 */
/* Registers of a virtio device, driven by the bytes of a fuzzer. */
#ifndef POSTERN_FUZZ_VIRTIO_H
#define POSTERN_FUZZ_VIRTIO_H

#include "tests/fuzz/fuzz.h"
#include "tests/unit/virtio_driver.h"

static inline void virtio_op_register(struct input *in)
{
	static const uint16_t places[] = {0x00, 0x04, 0x08, 0x0c, 0x10, 0x14, 0x16,   0x18,
					  0x1a, 0x1c, 0x20, 0x24, 0x28, 0x30, 0x1000, 0x3000};
	const unsigned how = input_u8(in);
	unsigned width = 1u << (how >> 4 & 3);
	uint64_t offset = places[how & 15];

	if (how & 0x80)
		offset = input_u16(in) & (VIRTIO_BAR_SIZE - 1);
	if (offset + width > VIRTIO_BAR_SIZE)
		return;
	wr(offset, width, input_number(in, width));
	require(!(rd(offset, width) & ~width_mask(width)));
}

#endif
