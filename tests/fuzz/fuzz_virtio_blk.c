// SPDX-License-Identifier: Apache-2.0
/*
 * A virtio block device: registers in any order and width, requests of any form. Whatever was done,
 * a driver that resets it can use it.
 */
#include "tests/fuzz/virtio_fuzz.h"

#define SECTORS 16u
#define HEADER	(DATA + 0x0)
#define STATUS	(DATA + 0x100)
#define BUFFER	(DATA + 0x8000)
#define V1	BIT(32)
#define WR	VRING_DESC_F_WRITE
#define NEXT	VRING_DESC_F_NEXT

static struct virtio_pci *vp;
static int disk = -1;

static void start(unsigned how)
{
	struct virtio_env env = {.window = &window, .iommu = how & 1, .memory = &ram};
	struct virtio_blk_config config = {.readonly = how & 2, .name = "disk0"};

	if (!ram.count)
		ram_open();
	memset(ram.region[0].host, 0, 0x20000);
	if (disk < 0) {
		disk = memfd_create("disk", MFD_CLOEXEC);
		require(disk >= 0 && !ftruncate(disk, SECTORS * 512 + 100));
	}
	msix_on = true;
	memset(&drv, 0, sizeof(drv));
	if (how & 1)
		drv = (struct driver){.base = IOVA_BASE, .swap = GUEST_PAGE_SIZE};
	drv.size = 8;
	paged.deny = false;
	paged.holds = 0;
	require(!event_loop_new(EVENT_LOOP_POLL, &loop));
	env.loop = loop;
	env.dma = how & 1 ? &paged.ds : &identity.ds;
	config.fd = dup(disk);
	require(!virtio_blk_new(&env, &config, &vp));
}

/* A request as drivers make it, or with something wrong. */
static void op_request(struct input *in)
{
	static const uint32_t types[] = {0, 1, 4, 8, 0, 1, 2, 11};
	const unsigned how = input_u8(in), layout = input_u8(in);
	const uint32_t len = layout & 0x80 ? input_u32(in) : (layout >> 4) * 512u;

	*(uint32_t *)at(HEADER) = types[how & 7];
	*(uint64_t *)at(HEADER + 8) = how & 0x80 ? input_u64(in) : input_u8(in) & 31;
	desc_set(0, dev_addr(HEADER), how & 0x40 ? input_u8(in) : 16, NEXT, layout & 1 ? 2 : 1);
	desc_set(1, dev_addr(BUFFER), len, (how & 1 ? 0 : WR) | (layout & 2 ? 0 : NEXT),
		 layout & 4 ? input_u8(in) & 7 : 2);
	desc_set(2, dev_addr(STATUS), layout & 8 ? input_u8(in) : 1, WR, 0);
	avail_push(how & 0x20 ? input_u16(in) : 0);
	wr(VIRTIO_NOTIFY_OFFSET, 2, 0);
}

/* The registers as a driver that knows how sets them. */
static void op_bring_up(uint64_t features)
{
	wr(0x14, 1, 0);
	settle(vp);
	memset(at(RAM_BASE), 0, 0x8000);
	drv.avail = 0;
	negotiate(features & offered());
	queue_setup(drv.size, dev_addr(DESC), dev_addr(AVAIL), dev_addr(USED));
	wr(0x14, 1, 0xf);
}

static void check_works(bool iommu)
{
	paged.deny = false;
	op_bring_up(V1 | (iommu ? BIT(33) : 0));
	require(rd(0x14, 1) == 0xf, "status %llx", (unsigned long long)rd(0x14, 1));
	*(uint32_t *)at(HEADER) = 0;
	*(uint64_t *)at(HEADER + 8) = 1;
	*(uint8_t *)at(STATUS) = 0xee;
	desc_set(0, dev_addr(HEADER), 16, NEXT, 1);
	desc_set(1, dev_addr(BUFFER), 512, NEXT | WR, 2);
	desc_set(2, dev_addr(STATUS), 1, WR, 0);
	avail_push(0);
	kick();
	settle(vp);
	require(used_idx() == 1 && !*(uint8_t *)at(STATUS), "a good request: used %u, status %x",
		used_idx(), *(uint8_t *)at(STATUS));
	require(virtio_pci_idle(vp) && !paged.holds, "%u holds are left", paged.holds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	const unsigned how = input_u8(&in);

	start(how);
	if (how & 4)
		op_bring_up(V1 | BIT(33) | (how & 8 ? BIT(9) : 0) | (how & 0x10 ? BIT(28) : 0) |
			    (how & 0x20 ? BIT(29) : 0));
	while (in.left) {
		switch (input_pick(&in, 8)) {
		case 0:
		case 1:
			virtio_op_register(&in);
			break;
		case 2:
		case 3:
		case 4:
			op_request(&in);
			break;
		case 5:
			settle(vp);
			break;
		case 6:
			paged.generation++;
			paged.deny = input_u8(&in) > 0xf0;
			break;
		default:
			op_bring_up(V1 | BIT(33) | (uint64_t)input_u8(&in) << 24);
		}
	}
	settle(vp);
	check_works(how & 1);
	require(lseek(disk, 0, SEEK_END) == SECTORS * 512 + 100, "the disk's file has grown");
	wr(0x14, 1, 0);
	settle(vp);
	virtio_pci_free(vp);
	event_loop_free(loop);
	require(fuzz_messages() <= 64, "a guest fills the log");
	return 0;
}
