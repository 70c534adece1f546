// SPDX-License-Identifier: Apache-2.0
/* The device side of a split ring, in memory that is identical or paged, and changes all the time.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/unit/virtio_driver.h"

#define CHAINS 8u
#define IOVS   24u

static struct {
	struct virtqueue_chain chain;
	struct iovec iov[IOVS];
	bool taken;
} slot[CHAINS];

static bool in_ram(const struct iovec *iov)
{
	const uint64_t at = (uint64_t)((uint8_t *)iov->iov_base - ram.region[0].host);

	return range_fits(at, iov->iov_len, RAM_SIZE);
}

static void op_pop(struct virtqueue *vq, bool *broken)
{
	struct virtqueue_chain *c;
	uint64_t bytes[2] = {0};
	unsigned i = 0;
	int ret;

	while (i < CHAINS && slot[i].taken)
		i++;
	if (i == CHAINS)
		return;
	c = &slot[i].chain;
	*c = (struct virtqueue_chain){.iov = slot[i].iov, .iov_max = IOVS};
	ret = virtqueue_pop(vq, c);
	if (ret <= 0) {
		dma_hold_end(&c->hold);
		*broken = ret;
		require(ret == 0 || ret == -EPROTO || ret == -EFAULT || ret == -E2BIG, "%d", ret);
		return;
	}
	slot[i].taken = true;
	require(c->head < vq->params.size && c->readable + c->writable <= IOVS);
	require(vq->in_use <= vq->params.size, "%u chains in use", vq->in_use);
	for (unsigned n = 0; n < c->readable + c->writable; n++) {
		require(in_ram(&c->iov[n]), "a segment outside RAM");
		bytes[n >= c->readable] += c->iov[n].iov_len;
	}
	require(bytes[0] == c->readable_len && bytes[1] == c->writable_len, "lengths");
}

static void op_push(struct virtqueue *vq, struct input *in, bool *broken)
{
	const unsigned how = input_u8(in), i = how % CHAINS;
	const uint16_t before = vq->used_idx;
	int ret;

	if (!slot[i].taken)
		return;
	slot[i].taken = false;
	dma_hold_end(&slot[i].chain.hold);
	ret = virtqueue_push(vq, slot[i].chain.head, how);
	require(ret == 0 || ret == -EFAULT);
	require(ret || vq->used_idx == (uint16_t)(before + 1));
	if (!ret && how & 0x80)
		ret = virtqueue_wants_interrupt(vq);
	*broken = ret < 0;
}

static void op_desc(struct input *in)
{
	const unsigned how = input_u8(in), i = input_u8(in);
	const uint64_t table = how & 0x40 ? TABLE : DESC;
	struct vring_desc d = {.addr = dev_addr(DATA + input_u8(in) * 64),
			       .len = how & 0x80 ? input_u32(in) : input_u8(in),
			       .flags = how & 7,
			       .next = (uint16_t)(how >> 3 & 7)};

	if (d.flags & VRING_DESC_F_INDIRECT) {
		d.addr = dev_addr(TABLE);
		d.len = 16 * (how >> 3 & 7);
	}
	if (i & 0x80)
		d.next = input_u16(in);
	if (i & 0x40)
		d.addr = input_u64(in);
	guest_memory_write(&ram, table + 16 * (i & 15), &d, sizeof(d));
}

/* Any bytes, in the rings more likely than elsewhere. */
static void op_memory(struct input *in)
{
	static const uint64_t base[] = {DESC, AVAIL, USED, TABLE};
	const uint16_t how = input_u16(in);
	uint8_t bytes[8];

	guest_memory_write(&ram, base[how & 3] + (how >> 2 & 0xff), bytes,
			   input_copy(in, bytes, how >> 10 & 7));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	const unsigned how = input_u8(&in);
	struct virtqueue_params p = {.size = (uint16_t)(1 << (how & 15)),
				     .event_idx = how & 0x10,
				     .indirect = how & 0x20};
	struct virtqueue vq;
	bool broken = false;

	if (!ram.count)
		ram_open();
	memset(ram.region[0].host, 0, DATA - RAM_BASE);
	memset(slot, 0, sizeof(slot));
	drv = (struct driver){.size = p.size};
	if (how & 0x40)
		drv = (struct driver){.size = p.size, .base = IOVA_BASE, .swap = GUEST_PAGE_SIZE};
	paged.deny = false;
	paged.holds = 0;
	p.desc = dev_addr(DESC);
	p.driver = dev_addr(AVAIL);
	p.device = dev_addr(USED);
	if (how & 0x80)
		p.desc += (uint64_t)input_u16(&in) << input_pick(&in, 48);
	if (virtqueue_init(&vq, how & 0x40 ? &paged.ds : &identity.ds, &p))
		return 0;
	while (in.left && !broken) {
		switch (input_pick(&in, 8)) {
		case 0:
		case 1:
			op_desc(&in);
			break;
		case 2:
			avail_push(input_u8(&in) & 0x8f);
			break;
		case 3:
			op_memory(&in);
			break;
		case 4:
			op_pop(&vq, &broken);
			break;
		case 5:
			op_push(&vq, &in, &broken);
			break;
		case 6:
			broken = virtqueue_await(&vq) < 0;
			break;
		default: /* translations change, or are taken away */
			paged.generation++;
			paged.deny = input_u8(&in) > 0xf0;
		}
	}
	for (unsigned i = 0; i < CHAINS; i++)
		if (slot[i].taken)
			dma_hold_end(&slot[i].chain.hold);
	require(!paged.holds, "%u holds are left", paged.holds);
	return 0;
}
