// SPDX-License-Identifier: Apache-2.0
/*
 * The network device against a tap in a network namespace of the test's own: what the kernel sends
 * to the interface comes out in guest memory, and the other way round.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "config.h"
#include "virtio_net_unit.h"

#define PROTOCOL 0x88b5 /* for local experiments: nobody else sends it */
#define HEADER	 12u

static int wire = -1; /* packets of the interface */

/* ---- the tap and its other side ---- */

static int tap_open(const char *name, bool multi)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		cr_skip_test("no /dev/net/tun that this user may open");
	if (multi)
		request.ifr_flags |= IFF_MULTI_QUEUE;
	strcpy(request.ifr_name, name);
	cr_assert_eq(ioctl(fd, TUNSETIFF, &request), 0, "%m");
	return fd;
}

static void wire_open(const char *name)
{
	struct ifreq request = {0};
	struct sockaddr_ll where = {.sll_family = AF_PACKET, .sll_protocol = htons(PROTOCOL)};

	wire = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(PROTOCOL));
	cr_assert_geq(wire, 0, "%m");
	strcpy(request.ifr_name, name);
	cr_assert_eq(ioctl(wire, SIOCGIFINDEX, &request), 0);
	where.sll_ifindex = request.ifr_ifindex;
	request.ifr_flags = IFF_UP | IFF_NOARP;
	cr_assert_eq(ioctl(wire, SIOCSIFFLAGS, &request), 0, "%m");
	/* Not before: a socket bound to an interface that is down begins with an error. */
	cr_assert_eq(bind(wire, (struct sockaddr *)&where, sizeof(where)), 0);
}

static void quiet(void)
{
	int fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY);

	if (fd >= 0) {
		cr_expect_eq(write(fd, "1", 1), 1);
		close(fd);
	}
}

static void setup_on(enum event_loop_kind kind, bool iommu, unsigned pairs)
{
	struct virtio_env env = {.window = &window, .iommu = iommu, .memory = &ram};
	struct virtio_net_config config = {
		.pairs = pairs, .mac = {2, 0, 0, 0, 0, 1}, .mtu = 1400, .name = "net0"};

	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET))
		cr_skip_test("this user may not make a network namespace");
	quiet();
	ram_open();
	memset(&drv, 0, sizeof(drv));
	msix_on = true;
	if (iommu)
		drv = (struct driver){.base = IOVA_BASE, .swap = GUEST_PAGE_SIZE};
	cr_assert_eq(event_loop_new(kind, &loop), 0);
	env.loop = loop;
	env.dma = iommu ? &paged.ds : &identity.ds;
	for (unsigned i = 0; i < pairs; i++)
		config.fd[i] = tap_open("test0", pairs > 1);
	wire_open("test0");
	cr_assert_eq(virtio_net_new(&env, &config, &vp), 0);
	net = container_of(vp, struct virtio_net, vp);
}

static void setup(void)
{
	setup_on(EVENT_LOOP_POLL, false, 1);
}

static void teardown(void)
{
	cr_expect(virtio_pci_idle(vp));
	virtio_pci_free(vp);
	event_loop_free(loop);
	close(wire);
	ram_close();
}

static uint8_t byte(unsigned seed, unsigned i)
{
	return (uint8_t)(seed * 37 + i * 11 + i / 251);
}

static void frame_fill(uint8_t *frame, unsigned len, unsigned seed)
{
	static const uint8_t head[] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5};

	memcpy(frame, head, sizeof(head));
	for (unsigned i = sizeof(head); i < len; i++)
		frame[i] = byte(seed, i);
}

static bool frame_is(const uint8_t *frame, unsigned len, unsigned seed)
{
	for (unsigned i = 14; i < len; i++)
		if (frame[i] != byte(seed, i))
			return false;
	return frame[12] == 0x88 && frame[13] == 0xb5;
}

/* The host sends to the guest. */
static void host_sends(unsigned len, unsigned seed)
{
	uint8_t frame[2048];

	frame_fill(frame, len, seed);
	cr_assert_eq(send(wire, frame, len, 0), (ssize_t)len, "%m");
}

/* N buffers of LEN bytes for packets to the guest, from the descriptor FIRST on. */
static void give(unsigned q, unsigned first, unsigned n, uint32_t len)
{
	for (unsigned i = first; i < first + n; i++) {
		memset(at(data_gpa(q, i)), 0xee, len);
		describe(q, (uint16_t)i, data_gpa(q, i), len, WR);
		offer(q, (uint16_t)i);
	}
}

/* A packet of the guest's in two pieces that split header and frame in the middle. */
static void guest_sends(unsigned q, uint16_t head, unsigned len, unsigned seed)
{
	uint8_t *p = at(data_gpa(q, head));

	memset(p, 0, HEADER);
	frame_fill(p + HEADER, len, seed);
	describe(q, head, data_gpa(q, head), 5, NEXT);
	describe(q, head + 1, data_gpa(q, head) + 5, HEADER + len - 5, 0);
	offer(q, head);
}

/* The next frame on the wire that the guest sent; its length or 0. */
static unsigned host_receives(uint8_t *frame, unsigned size)
{
	for (;;) {
		struct sockaddr_ll from;
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(wire, frame, size, 0, (struct sockaddr *)&from, &len);

		if (n < 0)
			return 0;
		if (from.sll_pkttype != PACKET_OUTGOING)
			return (unsigned)n;
	}
}

TestSuite(virtio_net, .timeout = 120);

Test(virtio_net, configuration)
{
	setup();
	cr_expect_eq(offered(), V1 | BIT(28) | BIT(29) | NET_GUEST_OFFLOADS | BIT(0) | BIT(2) |
					BIT(3) | BIT(5) | BIT(11) | BIT(12) | BIT(13) | MRG |
					BIT(16) | CTRL_VQ | BIT(18) | BIT(23));
	cr_expect_eq(rd(VIRTIO_DEVICE_OFFSET, 4), 2);
	cr_expect_eq(rd(VIRTIO_DEVICE_OFFSET + 4, 2), 0x100);
	cr_expect_eq(rd(VIRTIO_DEVICE_OFFSET + 6, 2), 1, "the link is up");
	cr_expect_eq(rd(VIRTIO_DEVICE_OFFSET + 8, 2), 1);
	cr_expect_eq(rd(VIRTIO_DEVICE_OFFSET + 10, 2), 1400);
	cr_expect_eq(rd(0x12, 2), 3, "queues");
	cr_expect_eq(published->config[11], 2);
	cr_expect_eq(pci_get16(published, 2), 0x1041);
	teardown();
}

Test(virtio_net, not_a_tap)
{
	struct virtio_env env = {.memory = &ram};
	struct virtio_net_config config = {.fd = {0}, .pairs = 1, .name = "bad"};

	config.fd[0] = memfd_create("no tap", MFD_CLOEXEC);
	cr_expect_eq(virtio_net_new(&env, &config, &vp), -ENOTTY);
	config.pairs = 0;
	cr_expect_eq(virtio_net_new(&env, &config, &vp), -EINVAL);
	config.pairs = VIRTIO_NET_PAIRS_MAX + 1;
	cr_expect_eq(virtio_net_new(&env, &config, &vp), -EINVAL);
}

static void both_ways(enum event_loop_kind kind, bool iommu)
{
	struct virtio_net_stats stats;
	uint8_t frame[2048];

	setup_on(kind, iommu, 1);
	start(V1 | MRG | (iommu ? BIT(33) : 0), 3);
	for (unsigned i = 0; i < 20; i++)
		guest_sends(1, (uint16_t)(2 * i), 60 + 50 * i, i);
	ring(1);
	cr_expect_eq(used(1), 20);
	for (unsigned i = 0; i < 20; i++) {
		unsigned n = host_receives(frame, sizeof(frame));

		cr_expect_eq(n, 60 + 50 * i, "packet %u has %u bytes", i, n);
		cr_expect(frame_is(frame, n, i), "packet %u", i);
		cr_expect_eq(element(1, i).len, 0);
	}
	cr_expect_eq(host_receives(frame, sizeof(frame)), 0);

	give(0, 0, 30, 1600);
	ring(0);
	for (unsigned i = 0; i < 20; i++)
		host_sends(60 + 50 * i, i);
	settle(vp);
	cr_expect_eq(used(0), 20);
	for (unsigned i = 0; i < 20; i++) {
		struct vring_used_elem e = element(0, i);
		const uint8_t *p = at(data_gpa(0, e.id));

		cr_expect_eq(e.len, HEADER + 60 + 50 * i);
		memcpy(frame, p,
		       e.len); /* the device's pages are swapped: those of a buffer lie in one */
		cr_expect_eq(frame[10] | frame[11] << 8, 1, "num_buffers");
		cr_expect(frame_is(frame + HEADER, e.len - HEADER, i), "packet %u", i);
	}
	virtio_net_stats(vp, &stats);
	cr_expect_eq(stats.tx_packets, 20);
	cr_expect_eq(stats.rx_packets, 20);
	cr_expect_eq(stats.tx_bytes, stats.rx_bytes);
	cr_expect_eq(stats.tx_dropped + stats.rx_dropped, 0);
	cr_expect_gt(raised[1], 0);
	cr_expect_gt(raised[2], 0);
	teardown();
}

Test(virtio_net, both_ways_poll)
{
	both_ways(EVENT_LOOP_POLL, false);
}

Test(virtio_net, both_ways_translated)
{
	both_ways(EVENT_LOOP_POLL, true);
	cr_expect_eq(paged.holds, 0, "no buffer waits at the tap");
}

#ifdef CONFIG_EVENT_LOOP_URING
Test(virtio_net, both_ways_uring)
{
	both_ways(EVENT_LOOP_URING, true);
}
#endif

/* 5.1.6.4: a packet in as many buffers as it needs, the first of which says how many. */
Test(virtio_net, mergeable_buffers)
{
	uint8_t packet[1100], *p = packet;

	setup();
	start(V1 | MRG, 3);
	give(0, 0, 20, 128);
	ring(0);
	host_sends(1000, 3);
	host_sends(100, 4);
	settle(vp);
	cr_assert_eq(used(0), 8 + 1);
	for (unsigned i = 0; i < 8; i++) {
		struct vring_used_elem e = element(0, i);

		cr_expect_eq(e.len, i < 7 ? 128 : HEADER + 1000 - 7 * 128);
		memcpy(p, at(data_gpa(0, e.id)), e.len);
		p += e.len;
	}
	cr_expect_eq(packet[10], 8);
	cr_expect(frame_is(packet + HEADER, 1000, 3));
	cr_expect_eq(*(uint8_t *)at(data_gpa(0, element(0, 8).id) + 10), 1);
	cr_expect(frame_is((uint8_t *)at(data_gpa(0, element(0, 8).id)) + HEADER, 100, 4));
	teardown();
}

/* Too few buffers: the packet waits, whole, and nothing is taken; and the loop has nothing to do.
 */
Test(virtio_net, a_packet_waits_for_buffers)
{
	uint8_t packet[1100], *p = packet;

	setup();
	start(V1 | MRG | BIT(VIRTIO_RING_F_EVENT_IDX), 3);
	give(0, 0, 3, 128);
	ring(0);
	host_sends(1000, 5);
	host_sends(90, 6);
	settle(vp);
	cr_expect_eq(used(0), 0);
	cr_expect_not(vp->queue[0].more.queued, "nor is the queue gone through again");
	cr_expect_eq(*(uint16_t *)at(ring_gpa(0) + 0x2004 + 8 * SIZE), 3, "the next one is news");
	cr_expect_not(net->rx[0].watching, "the tap would be ready for ever");
	give(0, 3, 4, 128);
	ring(0);
	cr_expect_eq(used(0), 0, "seven are too few still");
	give(0, 7, 2, 128);
	ring(0);
	cr_assert_eq(used(0), 9, "the packet, and the next");
	for (unsigned i = 0; i < 8; i++) {
		memcpy(p, at(data_gpa(0, element(0, i).id)), element(0, i).len);
		p += element(0, i).len;
	}
	cr_expect_eq(packet[10], 8);
	cr_expect(frame_is(packet + HEADER, 1000, 5));
	cr_expect(frame_is((uint8_t *)at(data_gpa(0, element(0, 8).id)) + HEADER, 90, 6));
	teardown();
}

Test(virtio_net, without_mergeable_buffers_a_long_packet_is_lost)
{
	struct virtio_net_stats stats;

	setup();
	start(V1, 3);
	give(0, 0, 4, 128);
	ring(0);
	host_sends(500, 1);
	host_sends(64, 2);
	settle(vp);
	cr_assert_eq(used(0), 1);
	cr_expect_eq(element(0, 0).len, HEADER + 64);
	cr_expect(frame_is((uint8_t *)at(data_gpa(0, element(0, 0).id)) + HEADER, 64, 2));
	virtio_net_stats(vp, &stats);
	cr_expect_eq(stats.rx_dropped, 1);
	cr_expect_eq(stats.rx_packets, 1);
	teardown();
}

/* What breaks the rules costs the guest its device until it resets it, and nobody else anything. */
Test(virtio_net, bad_chains)
{
	static const struct {
		const char *what;
		unsigned q;
		uint32_t len;
		uint16_t flags;
	} bad[] = {
		{"a packet to send that is to be written", 1, 100, WR},
		{"a packet shorter than its header", 1, HEADER - 1, 0},
		{"a buffer for reading", 0, 1500, 0},
		{"a buffer shorter than the header", 0, HEADER - 1, WR},
		{"a command without an answer", 2, 8, 0},
		{"a command without a header", 2, 8, WR},
	};

	setup();
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		start(V1 | MRG | CTRL_VQ, 3);
		cr_expect_eq(rd(0x14, 1), 0xf);
		describe(bad[i].q, 0, data_gpa(bad[i].q, 0), bad[i].len, bad[i].flags);
		offer(bad[i].q, 0);
		host_sends(64, i);
		ring(bad[i].q);
		cr_expect_eq(rd(0x14, 1), 0x4f, "%s", bad[i].what);
		cr_expect_eq(used(bad[i].q), 0, "%s", bad[i].what);
		wr(0x14, 1, 0);
		settle(vp);
		cr_expect_eq(rd(0x14, 1), 0);
	}
	/* And then it works. */
	start(V1 | MRG, 3);
	describe(1, 0, RAM_BASE + 0x100000, 70000, 0);
	offer(1, 0);
	ring(1);
	cr_expect_eq(used(1), 1, "longer than any packet: lost, and no more");
	cr_expect_eq(net->stats.tx_dropped, 1);
	give(0, 0, 10, 256);
	ring(0);
	host_sends(64, 9);
	settle(vp);
	cr_expect_gt(used(0), 0);
	teardown();
}

/* ---- control ---- */

/* The answer to a command whose data are the LEN bytes at DATA. */
static uint8_t control(unsigned q, uint8_t class, uint8_t command, const void *data, uint32_t len)
{
	uint8_t *p = at(data_gpa(q, 0)), *ack = at(data_gpa(q, 4));
	const uint16_t before = used(q);

	p[0] = class;
	p[1] = command;
	memcpy(p + 2, data, len);
	*ack = 0xee;
	describe(q, 0, data_gpa(q, 0), 2, NEXT);
	describe(q, 1, data_gpa(q, 0) + 2, len, NEXT);
	describe(q, 2, data_gpa(q, 4), 1, WR);
	offer(q, 0);
	ring(q);
	cr_expect_eq((uint16_t)(used(q) - before), 1);
	cr_expect_eq(element(q, before).len, 1);
	return *ack;
}

Test(virtio_net, control_commands)
{
	static const uint8_t mac[6] = {2, 9, 8, 7, 6, 5};
	const uint64_t all = NET_GUEST_OFFLOADS, csum = BIT(VIRTIO_NET_F_GUEST_CSUM);
	const uint64_t none = 0, alien = BIT(0);
	uint8_t generation, on = 1;
	const uint16_t pair = 1;

	setup();
	start(V1 | MRG | CTRL_VQ | BIT(18) | BIT(23) | BIT(2) | csum | BIT(7), 3);
	cr_expect_eq(control(2, 0, 0, &on, 1), 0, "promiscuous");
	cr_expect_eq(control(2, 0, 6, &on, 1), 1);
	cr_expect_eq(control(2, 0, 0, mac, 2), 1);
	cr_expect_eq(control(2, 1, 0, mac, 6), 0, "filter table");
	generation = (uint8_t)rd(0x15, 1);
	cr_expect_eq(control(2, 1, 1, mac, 6), 0);
	cr_expect_eq(rd(VIRTIO_DEVICE_OFFSET, 4), 0x07080902);
	cr_expect_neq(rd(0x15, 1), generation);
	cr_expect_eq(control(2, 1, 1, mac, 5), 1);
	cr_expect_eq(control(2, 1, 2, mac, 6), 1);
	cr_expect_eq(control(2, 5, 0, &csum, 8), 0);
	cr_expect_eq(control(2, 5, 0, &none, 8), 0);
	cr_expect_eq(control(2, 5, 0, &all, 8), 1, "TSO6 was not negotiated");
	cr_expect_eq(control(2, 5, 0, &alien, 8), 1);
	cr_expect_eq(control(2, 5, 0, &csum, 4), 1);
	cr_expect_eq(control(2, 4, 0, &pair, 2), 1, "MQ was not negotiated");
	cr_expect_eq(control(2, 3, 0, &on, 1), 1, "an unknown class");
	wr(0x14, 1, 0);
	settle(vp);
	cr_expect_eq(rd(VIRTIO_DEVICE_OFFSET, 4), 2, "the address is the first one again");
	teardown();
}

/* Two pairs: one serves until the driver says otherwise, then what the kernel picks comes in. */
Test(virtio_net, two_pairs)
{
	uint16_t pairs = 2;
	unsigned got;

	setup_on(EVENT_LOOP_POLL, false, 2);
	cr_expect(offered() & MQ);
	cr_expect_eq(rd(VIRTIO_DEVICE_OFFSET + 8, 2), 2);
	start(V1 | MRG | CTRL_VQ | MQ, 5);
	give(0, 0, 40, 256);
	give(2, 0, 40, 256);
	ring(0);
	ring(2);
	for (unsigned i = 0; i < 8; i++)
		host_sends(64 + i, i);
	settle(vp);
	cr_expect_eq(used(0), 8);
	cr_expect_eq(used(2), 0);
	guest_sends(3, 0, 64, 1);
	ring(3);
	cr_expect_eq(used(3), 0, "not in use");
	cr_expect_eq(control(4, 4, 0, &pairs, 2), 0);
	cr_expect_eq(used(3), 1, "it is now, and has been rung for");
	cr_expect(net->rx[1].watching);
	/* Flows of their own: the kernel spreads them by the bytes of the frame. */
	for (unsigned i = 0; i < 24; i++)
		host_sends(64 + i, i);
	settle(vp);
	got = used(0) + used(2);
	cr_expect_eq(got, 8 + 24);
	for (unsigned bad = 0; bad < 4; bad += 3) {
		pairs = (uint16_t)bad;
		cr_expect_eq(control(4, 4, 0, &pairs, 2), 1);
	}
	/* A reset goes back to one, and the control queue without MQ is the third. */
	wr(0x14, 1, 0);
	settle(vp);
	start(V1 | MRG | CTRL_VQ | BIT(18), 3);
	cr_expect_eq(control(2, 0, 0, &(uint8_t){1}, 1), 0);
	give(0, 0, 40, 256);
	ring(0);
	for (unsigned i = 0; i < 24; i++)
		host_sends(64 + i, i);
	settle(vp);
	cr_expect_eq(used(0), 24);
	teardown();
}

struct departure {
	struct event_work go, gone;
	bool left;
};

static void departure_gone(struct event_work *work)
{
	virtio_pci_free(vp);
	container_of(work, struct departure, gone)->left = true;
}

static void departure_drained(void *opaque)
{
	event_loop_post(loop, &((struct departure *)opaque)->gone);
}

static void departure_go(struct event_work *work)
{
	virtio_pci_unplug(vp);
	virtio_pci_drain(vp, departure_drained, container_of(work, struct departure, go));
}

/* Hot-unplug with packets on their way both ways: the loop goes on without the device. */
static void unplugged(enum event_loop_kind kind)
{
	struct departure d = {.go.run = departure_go, .gone.run = departure_gone};

	setup_on(kind, true, 1);
	start(V1 | MRG | BIT(33), 3);
	give(0, 0, 8, 1600);
	ring(0);
	for (unsigned i = 0; i < 20; i++)
		guest_sends(1, (uint16_t)(2 * i), 60 + 50 * i, i);
	wr(VIRTIO_NOTIFY_OFFSET + VIRTIO_NOTIFY_STEP, 2, 1);
	for (unsigned i = 0; i < 20; i++)
		host_sends(60 + 50 * i, i);
	event_loop_post(loop, &d.go);
	settle(NULL);
	cr_expect(d.left);
	cr_expect_null(published);
	cr_expect_eq(paged.holds, 0);
	settle(NULL);
	event_loop_free(loop);
	close(wire);
	ram_close();
}

Test(virtio_net, unplugged_poll)
{
	unplugged(EVENT_LOOP_POLL);
}

#ifdef CONFIG_EVENT_LOOP_URING
Test(virtio_net, unplugged_uring)
{
	unplugged(EVENT_LOOP_URING);
}
#endif

/* The interface goes away under the device: said once, nothing spins, the guest lives. */
Test(virtio_net, the_interface_is_deleted)
{
	struct event_loop_stats before, after;
	struct ifreq request = {.ifr_flags = 0};

	setup();
	start(V1 | MRG, 3);
	give(0, 0, 10, 256);
	ring(0);
	strcpy(request.ifr_name, "test0");
	cr_assert_eq(ioctl(wire, SIOCSIFFLAGS, &request), 0);
	settle(vp);
	guest_sends(1, 0, 64, 1);
	ring(1);
	cr_expect_eq(used(1), 1, "it is lost and the buffer comes back");
	event_loop_stats(loop, &before);
	settle(vp);
	event_loop_stats(loop, &after);
	cr_expect_lt(after.wakeups - before.wakeups, 100);
	cr_expect_eq(rd(0x14, 1), 0xf);
	teardown();
}
