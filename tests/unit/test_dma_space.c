// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>

#include "postern/dma_space.h"

static uint8_t ram[0x10000], high[0x1000];

static const struct guest_memory memory = {
	.count = 2,
	.region = {{.gpa = 0x1000, .size = sizeof(ram), .host = ram, .fd = -1},
		   {.gpa = 0x100000, .size = sizeof(high), .host = high, .fd = -1}},
};

Test(dma_space, identity_maps_inside_ram_only)
{
	struct dma_identity id;
	struct dma_segment seg[1];

	dma_identity_init(&id, &memory);
	cr_assert_eq(dma_space_map(&id.ds, 0x1800, 0x20, DMA_READ, seg, 1), 1);
	cr_assert_eq(seg[0].host, ram + 0x800);
	cr_assert_eq(seg[0].len, 0x20);
	cr_assert_eq(dma_space_map(&id.ds, 0x10fff, 1, DMA_WRITE, seg, 1), 1);
	cr_assert_eq(dma_space_map(&id.ds, 0x10fff, 2, DMA_WRITE, seg, 1), -EFAULT);
	cr_assert_eq(dma_space_map(&id.ds, 0xfff, 2, DMA_WRITE, seg, 1), -EFAULT);
	cr_assert_eq(dma_space_map(&id.ds, 0x1000, 0, DMA_READ, seg, 1), -EINVAL);
	cr_assert_eq(dma_space_map(&id.ds, UINT64_MAX, 2, DMA_READ, seg, 1), -EINVAL);
	cr_assert_eq(dma_space_map(&id.ds, UINT64_MAX, 1, DMA_READ, seg, 1), -EFAULT);
	cr_assert_eq(dma_space_map(&id.ds, 0x1000, UINT64_MAX, DMA_READ, seg, 1), -EINVAL);
	cr_assert_eq(dma_space_map(&id.ds, 0x1000, 1, DMA_READ, seg, 0), -E2BIG);
	cr_assert_eq(dma_space_generation(&id.ds), 0);
}

Test(dma_space, copies_both_ways)
{
	static uint8_t out[0xa001], in[0xa001];
	struct dma_identity id;

	dma_identity_init(&id, &memory);
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7 + 1);
	cr_assert_eq(dma_space_write(&id.ds, 0x1fff, out, sizeof(out)), 0);
	cr_assert_arr_eq(ram + 0xfff, out, sizeof(out));
	cr_assert_eq(dma_space_read(&id.ds, 0x1fff, in, sizeof(in)), 0);
	cr_assert_arr_eq(in, out, sizeof(out));
	cr_assert_eq(dma_space_write(&id.ds, 0x10ff0, out, 0x11), -EFAULT);
	cr_assert_eq(dma_space_read(&id.ds, UINT64_MAX - 1, in, 3), -EINVAL);
	cr_assert_eq(dma_space_read(&id.ds, 0x1000, in, 0), 0);
}

/* A space whose pages lie backwards in memory, a page to the segment; page 15 faults. */
static unsigned maps;

static int reversed_map(struct dma_space *ds, uint64_t iova, uint64_t len, unsigned access,
			struct dma_segment *seg, unsigned max)
{
	unsigned n = 0;

	(void)ds, (void)access;
	maps++;
	while (len) {
		uint64_t step = 0x1000 - iova % 0x1000, page = iova / 0x1000;

		if (page >= 15)
			return -EFAULT;
		if (n == max)
			return -E2BIG;
		if (step > len)
			step = len;
		seg[n++] = (struct dma_segment){ram + (15 - page) * 0x1000 + iova % 0x1000, step};
		iova += step;
		len -= step;
	}
	return (int)n;
}

Test(dma_space, scattered_copy_in_chunks)
{
	static const struct dma_space_ops ops = {.map = reversed_map};
	static uint8_t in[0xf000];
	struct dma_space ds = {&ops};

	for (size_t i = 0; i < sizeof(ram); i++)
		ram[i] = (uint8_t)(i >> 12);
	/* Unaligned, so that a chunk touches one page more than it has bytes for. */
	cr_assert_eq(dma_space_read(&ds, 0x123, in, sizeof(in) - 0x123), 0);
	for (size_t i = 0; i < sizeof(in) - 0x123; i++)
		cr_assert_eq(in[i], 15 - ((i + 0x123) >> 12));
	cr_assert_gt(maps, 1, "not in one go");
	cr_assert_eq(dma_space_write(&ds, 0xefff, in, 2), -EFAULT);
}

static int top_map(struct dma_space *ds, uint64_t iova, uint64_t len, unsigned access,
		   struct dma_segment *seg, unsigned max)
{
	(void)ds, (void)iova, (void)access, (void)max;
	*seg = (struct dma_segment){ram, len};
	return 1;
}

Test(dma_space, last_byte_of_the_space_is_no_wrap)
{
	static const struct dma_space_ops ops = {.map = top_map};
	struct dma_space ds = {&ops};
	uint8_t byte[16];

	cr_assert_eq(dma_space_read(&ds, UINT64_MAX - 15, byte, 16), 0);
	cr_assert_eq(dma_space_read(&ds, UINT64_MAX - 14, byte, 16), -EINVAL);
}
