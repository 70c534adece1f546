// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/virtio_driver.h"

static struct virtqueue vq;
static struct iovec iov[64];
static struct virtqueue_chain chain = {.iov = iov, .iov_max = ARRAY_SIZE(iov)};

static int init(uint16_t size, bool event_idx, bool indirect, struct dma_space *ds)
{
	struct virtqueue_params p = {.size = size,
				     .event_idx = event_idx,
				     .indirect = indirect,
				     .desc = dev_addr(DESC),
				     .driver = dev_addr(AVAIL),
				     .device = dev_addr(USED)};

	drv.size = size;
	drv.avail = 0;
	return virtqueue_init(&vq, ds, &p);
}

static void setup(void)
{
	ram_open();
	memset(&drv, 0, sizeof(drv));
}

static void open_queue(void)
{
	setup();
	cr_assert_eq(init(8, false, true, &identity.ds), 0);
}

TestSuite(virtqueue, .timeout = 30);

Test(virtqueue, parameters)
{
	static const struct virtqueue_params bad[] = {
		{.size = 0, .desc = DESC, .driver = AVAIL, .device = USED},
		{.size = 3, .desc = DESC, .driver = AVAIL, .device = USED},
		{.size = 512, .desc = DESC, .driver = AVAIL, .device = USED},
		{.size = 32768, .desc = DESC, .driver = AVAIL, .device = USED},
		{.size = 8, .desc = DESC + 8, .driver = AVAIL, .device = USED},
		{.size = 8, .desc = DESC, .driver = AVAIL + 1, .device = USED},
		{.size = 8, .desc = DESC, .driver = AVAIL, .device = USED + 2},
	};
	static const struct virtqueue_params outside[] = {
		{.size = 8, .desc = 0, .driver = AVAIL, .device = USED},
		{.size = 8, .desc = DESC, .driver = RAM_BASE + RAM_SIZE - 4, .device = USED},
		{.size = 8, .desc = DESC, .driver = AVAIL, .device = ~UINT64_C(3)},
		{.size = 256, .desc = RAM_BASE + RAM_SIZE - 4080, .driver = AVAIL, .device = USED},
	};

	setup();
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		cr_expect_eq(virtqueue_init(&vq, &identity.ds, &bad[i]), -EINVAL, "%u", i);
	for (unsigned i = 0; i < ARRAY_SIZE(outside); i++)
		cr_expect_eq(virtqueue_init(&vq, &identity.ds, &outside[i]), -EFAULT, "%u", i);
	for (uint16_t size = 1; size <= 256; size = (uint16_t)(2 * size))
		cr_expect_eq(init(size, true, true, &identity.ds), 0);
}

Test(virtqueue, chain_and_return)
{
	open_queue();
	cr_expect_eq(virtqueue_pop(&vq, &chain), 0);
	/* Three turns of the ring. */
	for (uint16_t i = 0; i < 24; i++) {
		struct vring_used_elem e;

		desc_set(5, DATA, 16, VRING_DESC_F_NEXT, 2);
		desc_set(2, DATA + 0x1000, 0, VRING_DESC_F_NEXT, 7);
		desc_set(7, DATA + 0x2000, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 0);
		desc_set(0, DATA + 0x2200, 1, VRING_DESC_F_WRITE, 0);
		avail_push(5);
		cr_assert_eq(virtqueue_pop(&vq, &chain), 1);
		cr_expect_eq(chain.head, 5);
		cr_expect_eq(chain.readable, 1);
		cr_expect_eq(chain.readable_len, 16);
		/* Adjacent buffers are one segment; the empty one is none. */
		cr_expect_eq(chain.writable, 1);
		cr_expect_eq(chain.writable_len, 513);
		cr_expect_eq(iov[0].iov_base, at(DATA));
		cr_expect_eq(iov[1].iov_base, at(DATA + 0x2000));
		cr_expect_eq(iov[1].iov_len, 513);
		cr_assert_eq(virtqueue_push(&vq, chain.head, 77u + i), 0);
		cr_expect_eq(used_idx(), i + 1);
		e = used_elem(i);
		cr_expect_eq(e.id, 5);
		cr_expect_eq(e.len, 77u + i);
	}
	cr_expect_eq(vq.in_use, 0);
	ram_close();
}

Test(virtqueue, hostile_chains)
{
	struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags, next;
		int expect;
	} const one[] = {
		{DATA, 16, VRING_DESC_F_NEXT, 0, -EPROTO}, /* its own successor */
		{DATA, 16, VRING_DESC_F_NEXT, 8, -EPROTO}, /* past the table */
		{DATA, 16, VRING_DESC_F_NEXT, 0xffff, -EPROTO},
		{DATA, 0, VRING_DESC_F_NEXT, 0, -EPROTO}, /* an empty loop */
		{0, 16, 0, 0, -EFAULT},			  /* not RAM */
		{DATA, 0xffffffff, 0, 0, -EFAULT},	  /* past RAM */
		{~UINT64_C(0) - 7, 16, 0, 0, -EFAULT},	  /* wraps */
		{~UINT64_C(0), 0xffffffff, VRING_DESC_F_WRITE, 0, -EFAULT},
		{RAM_BASE + RAM_SIZE - 8, 16, 0, 0, -EFAULT}, /* runs over the end */
		{TABLE, 0, VRING_DESC_F_INDIRECT, 0, -EPROTO},
		{TABLE, 15, VRING_DESC_F_INDIRECT, 0, -EPROTO},
		{TABLE, 24, VRING_DESC_F_INDIRECT, 0, -EPROTO},
		{TABLE, 257 * 16, VRING_DESC_F_INDIRECT, 0, -EPROTO},
		{TABLE, 0xfffffff0, VRING_DESC_F_INDIRECT, 0, -EPROTO},
		{0x10, 16, VRING_DESC_F_INDIRECT, 0, -EFAULT},
		{~UINT64_C(0) - 7, 16, VRING_DESC_F_INDIRECT, 0, -EFAULT},
		{TABLE, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1, -EPROTO},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(one); i++) {
		open_queue();
		desc_set(0, one[i].addr, one[i].len, one[i].flags, one[i].next);
		avail_push(0);
		cr_expect_eq(virtqueue_pop(&vq, &chain), one[i].expect, "%u", i);
		ram_close();
	}
}

Test(virtqueue, long_loop_and_order)
{
	open_queue();
	for (uint16_t i = 0; i < 8; i++)
		desc_set(i, DATA, 1, VRING_DESC_F_NEXT, (uint16_t)((i + 1) & 7));
	avail_push(3);
	cr_expect_eq(virtqueue_pop(&vq, &chain), -EPROTO);
	ram_close();

	/* Readable after writable. */
	open_queue();
	desc_set(0, DATA, 16, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
	desc_set(1, DATA, 16, 0, 0);
	avail_push(0);
	cr_expect_eq(virtqueue_pop(&vq, &chain), -EPROTO);
	ram_close();

	/* A head outside the table. */
	open_queue();
	avail_push(8);
	cr_expect_eq(virtqueue_pop(&vq, &chain), -EPROTO);
	ram_close();

	/* A chain as long as the queue is legal. */
	open_queue();
	for (uint16_t i = 0; i < 8; i++)
		desc_set(i, DATA + 0x100u * i, 1, i < 7 ? VRING_DESC_F_NEXT : 0, i + 1u);
	avail_push(0);
	cr_expect_eq(virtqueue_pop(&vq, &chain), 1);
	cr_expect_eq(chain.readable, 8);
	ram_close();

	/* More than 4 GiB in one chain. */
	open_queue();
	ram.region[0].size = UINT64_C(1) << 33;
	for (uint16_t i = 0; i < 3; i++)
		desc_set(i, DATA, 0x80000000, VRING_DESC_F_WRITE | (i < 2 ? VRING_DESC_F_NEXT : 0),
			 i + 1u);
	avail_push(0);
	cr_expect_eq(virtqueue_pop(&vq, &chain), -EPROTO);
	ram_close();
}

Test(virtqueue, too_many_segments)
{
	struct virtqueue_chain small = {.iov = iov, .iov_max = 3};

	open_queue();
	for (uint16_t i = 0; i < 4; i++)
		desc_set(i, DATA + 0x100u * i, 1, i < 3 ? VRING_DESC_F_NEXT : 0, i + 1u);
	avail_push(0);
	cr_expect_eq(virtqueue_pop(&vq, &small), -E2BIG);
	ram_close();
}

Test(virtqueue, indirect)
{
	struct vring_desc *t;

	open_queue();
	t = at(TABLE);
	t[2] = (struct vring_desc){DATA, 16, VRING_DESC_F_NEXT, 1};
	t[0] = (struct vring_desc){DATA + 0x500, 8, VRING_DESC_F_NEXT, 2};
	t[1] = (struct vring_desc){DATA + 0x900, 4, VRING_DESC_F_WRITE, 0};
	desc_set(4, DATA + 0xa00, 2, VRING_DESC_F_NEXT, 6);
	desc_set(6, TABLE, 48, VRING_DESC_F_INDIRECT, 0);
	avail_push(4);
	cr_assert_eq(virtqueue_pop(&vq, &chain), 1);
	cr_expect_eq(chain.readable_len, 26);
	cr_expect_eq(chain.writable_len, 4);
	cr_expect_eq(iov[1].iov_base, at(DATA + 0x500));
	cr_expect_eq(iov[2].iov_base, at(DATA));

	/* Nested; a loop; an index outside; each in a table of its own. */
	t[0] = (struct vring_desc){TABLE, 48, VRING_DESC_F_INDIRECT, 0};
	avail_push(6);
	cr_expect_eq(virtqueue_pop(&vq, &chain), -EPROTO);
	t[0] = (struct vring_desc){DATA, 1, VRING_DESC_F_NEXT, 2};
	t[2] = (struct vring_desc){DATA, 1, VRING_DESC_F_NEXT, 0};
	cr_expect_eq(virtqueue_pop(&vq, &chain), -EPROTO);
	t[0] = (struct vring_desc){DATA, 1, VRING_DESC_F_NEXT, 3};
	cr_expect_eq(virtqueue_pop(&vq, &chain), -EPROTO);
	t[0] = (struct vring_desc){DATA, 1, 0, 0};
	cr_expect_eq(virtqueue_pop(&vq, &chain), 1);

	/* Not negotiated. */
	cr_assert_eq(init(8, false, false, &identity.ds), 0);
	avail_push(6);
	cr_expect_eq(virtqueue_pop(&vq, &chain), -EPROTO);
	ram_close();
}

Test(virtqueue, available_index_runs_away)
{
	uint16_t *avail;

	open_queue();
	avail = at(AVAIL);
	avail[1] = 9;
	cr_expect_eq(virtqueue_pop(&vq, &chain), -EPROTO);
	avail[1] = 0xffff;
	cr_expect_eq(virtqueue_pop(&vq, &chain), -EPROTO);
	cr_expect_eq(virtqueue_await(&vq), -EPROTO);
	/* Nor may chains be added for which there are no descriptors left. */
	desc_set(0, DATA, 1, 0, 0);
	avail[1] = 8;
	for (int i = 0; i < 8; i++)
		cr_assert_eq(virtqueue_pop(&vq, &chain), 1);
	avail[1] = 9;
	cr_expect_eq(virtqueue_pop(&vq, &chain), -EPROTO);
	cr_assert_eq(virtqueue_push(&vq, 0, 0), 0);
	cr_expect_eq(virtqueue_pop(&vq, &chain), 1);
	ram_close();
}

static void complete_one(void)
{
	desc_set(0, DATA, 1, 0, 0);
	avail_push(0);
	cr_assert_eq(virtqueue_pop(&vq, &chain), 1);
	cr_assert_eq(virtqueue_push(&vq, 0, 0), 0);
}

Test(virtqueue, interrupt_suppression)
{
	open_queue();
	complete_one();
	cr_expect_eq(virtqueue_wants_interrupt(&vq), 1);
	cr_expect_eq(virtqueue_wants_interrupt(&vq), 0, "nothing new");
	avail_flags(VRING_AVAIL_F_NO_INTERRUPT);
	complete_one();
	cr_expect_eq(virtqueue_wants_interrupt(&vq), 0);
	avail_flags(0);

	cr_assert_eq(init(8, true, false, &identity.ds), 0);
	((uint16_t *)at(AVAIL))[1] = 0;
	complete_one();
	cr_expect_eq(virtqueue_wants_interrupt(&vq), 1, "the first always");
	used_event(2);
	complete_one();
	cr_expect_eq(virtqueue_wants_interrupt(&vq), 0);
	complete_one();
	cr_expect_eq(virtqueue_wants_interrupt(&vq), 1);
	/* Flags mean nothing now. */
	avail_flags(VRING_AVAIL_F_NO_INTERRUPT);
	used_event(3);
	complete_one();
	cr_expect_eq(virtqueue_wants_interrupt(&vq), 1);
	/* avail_event is where the driver must look. */
	cr_expect_eq(virtqueue_await(&vq), 0);
	cr_expect_eq(*(uint16_t *)at(USED + 4 + 8 * 8), 4);
	avail_push(0);
	cr_expect_eq(virtqueue_await(&vq), 1);
	ram_close();
}

Test(virtqueue, parameters_are_latched)
{
	struct virtqueue_params p = {.size = 8, .desc = DESC, .driver = AVAIL, .device = USED};

	setup();
	drv.size = 8;
	cr_assert_eq(virtqueue_init(&vq, &identity.ds, &p), 0);
	p = (struct virtqueue_params){.size = 32768, .desc = 1, .driver = 1, .device = 1};
	complete_one();
	cr_expect_eq(used_idx(), 1);
	ram_close();
}

/* The table spans two pages that are apart in host memory: each entry is mapped for itself. */
Test(virtqueue, translated_and_not_contiguous)
{
	struct virtqueue_params p;
	unsigned maps;

	setup();
	drv = (struct driver){.size = 256, .base = IOVA_BASE};
	p = (struct virtqueue_params){.size = 256,
				      .desc = IOVA_BASE + (DESC ^ 0x1000) + 0x800,
				      .driver = IOVA_BASE + (AVAIL ^ 0x1000),
				      .device = IOVA_BASE + (USED ^ 0x1000)};
	cr_assert_eq(virtqueue_init(&vq, &paged.ds, &p), 0);
	cr_expect_null(vq.desc.host);
	cr_expect_eq(vq.driver.host, at(AVAIL));
	/* IOVA page 1 is GPA page 0 and the other way round; the table starts in the middle. */
	*(struct vring_desc *)at(DESC + 0x810) =
		(struct vring_desc){IOVA_BASE + DATA + 0xff0, 0x20, VRING_DESC_F_NEXT, 200};
	*(struct vring_desc *)at(RAM_BASE + 0x3000 + 200 * 16 - 0x800) =
		(struct vring_desc){IOVA_BASE + DATA, 4, VRING_DESC_F_WRITE, 0};
	avail_push(1);
	cr_assert_eq(virtqueue_pop(&vq, &chain), 1);
	cr_expect_eq(chain.readable, 2);
	cr_expect_eq(iov[0].iov_base, at((DATA ^ 0x1000) + 0xff0));
	cr_expect_eq(iov[1].iov_base, at(DATA));
	cr_expect_eq(iov[2].iov_base, at(DATA ^ 0x1000));
	/* Rings are resolved once, and again when the translations have changed. */
	maps = paged.maps;
	cr_assert_eq(virtqueue_push(&vq, 1, 0), 0);
	cr_expect_eq(paged.maps, maps);
	paged.generation++;
	cr_expect_eq(virtqueue_await(&vq), 0);
	cr_expect_eq(paged.maps, maps + 1);
	paged.deny = true;
	cr_expect_eq(virtqueue_await(&vq), 0);
	paged.generation++;
	cr_expect_eq(virtqueue_await(&vq), -EFAULT);
	cr_expect_eq(virtqueue_push(&vq, 1, 0), -EFAULT);
	cr_expect_eq(virtqueue_wants_interrupt(&vq), -EFAULT);
	ram_close();
}

Test(virtqueue, iovec_helpers)
{
	char a[4], b[3], out[8] = {0};
	struct iovec v[2] = {{a, 4}, {b, 3}}, *p = v;
	unsigned n = 2;

	cr_expect_eq(iov_write(v, 2, "abcdefghij", 10), 7);
	cr_expect_eq(iov_read(v, 2, out, 8), 7);
	cr_expect_str_eq(out, "abcdefg");
	iov_drop_front(&p, &n, 4);
	cr_expect(p == &v[1] && n == 1 && p->iov_len == 3);
	iov_drop_front(&p, &n, 1);
	cr_expect(p->iov_base == b + 1 && p->iov_len == 2);
	iov_drop_back(p, &n, 1);
	cr_expect_eq(p->iov_len, 1);
	iov_drop_back(p, &n, 1);
	cr_expect_eq(n, 0);
}
