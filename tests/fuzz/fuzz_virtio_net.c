// SPDX-License-Identifier: Apache-2.0
/*
 * A virtio network device on a socket that stands in for a tap: registers, packets either way,
 * control commands. Whatever was done, a driver that resets it can send and receive.
 */
#include <sys/socket.h>

#include "tests/fuzz/virtio_fuzz.h"

#define QUEUES	 3u /* receive, transmit, control */
#define SIZE	 16u
#define HEADER	 12u
#define FEATURES (BIT(32) | BIT(33) | BIT(15) | BIT(17) | BIT(18) | BIT(22) | BIT(23) | BIT(2) | 3)

static struct virtio_pci *vp;
static int wire = -1;
static uint16_t put[QUEUES];

int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	(void)fd;
	(void)request;
	return 0;
}

static uint64_t ring_gpa(unsigned q)
{
	return RAM_BASE + 0x4000u * q;
}

static uint64_t data_gpa(unsigned q, unsigned i)
{
	return RAM_BASE + 0x10000 + 0x8000u * q + 0x800u * (i % SIZE);
}

static void describe(unsigned q, unsigned i, uint64_t addr, uint32_t len, uint16_t flags)
{
	struct vring_desc *d = at(ring_gpa(q) + 16u * (i % SIZE));

	*d = (struct vring_desc){addr, len, flags, (uint16_t)(i + 1) % SIZE};
}

static void offer(unsigned q, uint16_t head)
{
	uint16_t *ring = at(ring_gpa(q) + 0x1000);

	ring[2 + put[q] % SIZE] = head;
	__atomic_store_n(&ring[1], ++put[q], __ATOMIC_RELEASE);
	wr(VIRTIO_NOTIFY_OFFSET + VIRTIO_NOTIFY_STEP * q, 2, q);
}

static uint16_t used(unsigned q)
{
	return __atomic_load_n((uint16_t *)at(ring_gpa(q) + 0x2002), __ATOMIC_ACQUIRE);
}

static void start(bool iommu)
{
	struct virtio_env env = {.window = &window, .iommu = iommu, .memory = &ram};
	struct virtio_net_config config = {.pairs = 1, .mac = {2, 0, 0, 0, 0, 1}, .name = "net0"};
	int pair[2];

	if (!ram.count)
		ram_open();
	memset(ram.region[0].host, 0, 0x40000);
	require(!socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair));
	config.fd[0] = pair[0];
	wire = pair[1];
	msix_on = true;
	drv = (struct driver){.base = iommu ? IOVA_BASE : 0, .swap = iommu ? GUEST_PAGE_SIZE : 0};
	paged.deny = false;
	paged.holds = 0;
	require(!event_loop_new(EVENT_LOOP_POLL, &loop));
	env.loop = loop;
	env.dma = iommu ? &paged.ds : &identity.ds;
	require(!virtio_net_new(&env, &config, &vp));
}

static void op_bring_up(uint64_t features)
{
	wr(0x14, 1, 0);
	settle(vp);
	memset(at(RAM_BASE), 0, 0x4000 * QUEUES);
	memset(put, 0, sizeof(put));
	negotiate(features & offered());
	for (unsigned q = 0; q < QUEUES; q++) {
		wr(0x16, 2, q);
		wr(0x18, 2, SIZE);
		wr(0x1a, 2, q);
		wr64(0x20, dev_addr(ring_gpa(q)));
		wr64(0x28, dev_addr(ring_gpa(q) + 0x1000));
		wr64(0x30, dev_addr(ring_gpa(q) + 0x2000));
		wr(0x1c, 2, 1);
	}
	wr(0x14, 1, 0xf);
}

/* A chain of two buffers in some queue, their bytes, and a doorbell. */
static void op_chain(struct input *in)
{
	const unsigned how = input_u8(in), q = (how & 3) % QUEUES, i = how >> 2 & 7;
	const uint16_t flags = (q == 0) ^ (how >> 7) ? VRING_DESC_F_WRITE : 0;
	const unsigned len = input_u8(in);
	uint8_t bytes[64];

	guest_memory_write(&ram, data_gpa(q, i), bytes, input_copy(in, bytes, len & 63));
	describe(q, i, dev_addr(data_gpa(q, i)), how & 0x20 ? len * 16 : len,
		 flags | (how & 0x40 ? VRING_DESC_F_NEXT : 0));
	describe(q, i + 1, dev_addr(data_gpa(q, i + 1)), q == 2 ? 1 : 1600,
		 q == 1 ? 0 : VRING_DESC_F_WRITE);
	if (len & 0x80) {
		struct vring_desc *d = at(ring_gpa(q) + 16u * (i + 1));

		d->len = input_u32(in);
		d->flags = input_u8(in) & 7;
		d->next = input_u8(in);
	}
	offer(q, len & 0x40 ? input_u16(in) : (uint16_t)i);
}

/* A packet arrives, with a header before it as a tap has it. */
static void op_packet(struct input *in)
{
	uint8_t packet[HEADER + 14 + 255] = {0};
	const size_t len = HEADER + 14 + input_u8(in);

	input_copy(in, packet, 32);
	send(wire, packet, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* A packet each way. */
static void check_works(bool iommu)
{
	uint8_t packet[HEADER + 60] = {0};
	ssize_t n;

	while (recv(wire, packet, sizeof(packet), MSG_DONTWAIT) >= 0)
		;
	paged.deny = false;
	op_bring_up(BIT(32) | BIT(15) | (iommu ? BIT(33) : 0));
	require(rd(0x14, 1) == 0xf, "status %llx", (unsigned long long)rd(0x14, 1));
	memset(at(data_gpa(1, 0)), 0, sizeof(packet));
	describe(1, 0, dev_addr(data_gpa(1, 0)), sizeof(packet), 0);
	offer(1, 0);
	settle(vp);
	require(used(1) == 1, "a good packet is not taken");
	n = recv(wire, packet, sizeof(packet), MSG_DONTWAIT);
	require(n == (ssize_t)sizeof(packet), "%zd bytes of a packet", n);
	for (unsigned i = 0; i < 2; i++)
		describe(0, i, dev_addr(data_gpa(0, i)), 0x800, VRING_DESC_F_WRITE);
	memset(packet, 0, sizeof(packet));
	require(send(wire, packet, sizeof(packet), MSG_DONTWAIT) > 0);
	offer(0, 0);
	offer(0, 1);
	settle(vp);
	require(used(0), "a packet does not arrive");
	wr(0x14, 1, 0);
	settle(vp);
	require(virtio_pci_idle(vp) && !paged.holds, "%u holds are left", paged.holds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	const unsigned how = input_u8(&in);

	start(how & 1);
	op_bring_up(FEATURES | (how & 2 ? BIT(28) : 0) | (how & 4 ? BIT(29) : 0));
	while (in.left) {
		switch (input_pick(&in, 8)) {
		case 0:
			virtio_op_register(&in);
			break;
		case 1:
		case 2:
		case 3:
			op_chain(&in);
			break;
		case 4:
			op_packet(&in);
			break;
		case 5:
			settle(vp);
			break;
		case 6:
			paged.generation++;
			paged.deny = input_u8(&in) > 0xf0;
			break;
		default:
			op_bring_up(FEATURES & ~((uint64_t)input_u8(&in) << 15));
		}
	}
	settle(vp);
	check_works(how & 1);
	virtio_pci_free(vp);
	event_loop_free(loop);
	close(wire);
	require(fuzz_messages() <= 64, "a guest fills the log");
	return 0;
}
