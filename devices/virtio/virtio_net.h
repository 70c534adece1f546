/* SPDX-License-Identifier: Apache-2.0 */
/* The network device's parts. Internal to devices/virtio/; all of it: the loop's thread. */
#ifndef POSTERN_VIRTIO_NET_H
#define POSTERN_VIRTIO_NET_H

#include <linux/if_ether.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "devices/virtio/virtio_pci.h"

/* Feature bits (5.1.3). */
#define VIRTIO_NET_F_CSUM		 0
#define VIRTIO_NET_F_GUEST_CSUM		 1
#define VIRTIO_NET_F_CTRL_GUEST_OFFLOADS 2
#define VIRTIO_NET_F_MTU		 3
#define VIRTIO_NET_F_MAC		 5
#define VIRTIO_NET_F_GUEST_TSO4		 7
#define VIRTIO_NET_F_GUEST_TSO6		 8
#define VIRTIO_NET_F_GUEST_ECN		 9
#define VIRTIO_NET_F_HOST_TSO4		 11
#define VIRTIO_NET_F_HOST_TSO6		 12
#define VIRTIO_NET_F_HOST_ECN		 13
#define VIRTIO_NET_F_MRG_RXBUF		 15
#define VIRTIO_NET_F_STATUS		 16
#define VIRTIO_NET_F_CTRL_VQ		 17
#define VIRTIO_NET_F_CTRL_RX		 18
#define VIRTIO_NET_F_MQ			 22
#define VIRTIO_NET_F_CTRL_MAC_ADDR	 23

/* What CTRL_GUEST_OFFLOADS may switch (5.1.6.5.6): the bits of these features. */
#define NET_GUEST_OFFLOADS                                                                         \
	(BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4) |                             \
	 BIT(VIRTIO_NET_F_GUEST_TSO6) | BIT(VIRTIO_NET_F_GUEST_ECN))

/* Before each packet (5.1.6). The driver's part is the kernel's struct virtio_net_hdr. */
struct net_header {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset;
	uint16_t num_buffers;
};
_Static_assert(sizeof(struct net_header) == 12, "virtio 1.2, 5.1.6");

/* The longest packet: one that the other side has not cut into segments. */
#define NET_PACKET_MAX (sizeof(struct net_header) + ETH_HLEN + 4 + 65535)
/* Segments of a packet: as many descriptors as the queue has, cut where its bytes meet a page. */
#define NET_IOV_MAX (VIRTQUEUE_SIZE_MAX + NET_PACKET_MAX / GUEST_PAGE_SIZE + 2)

/* Device configuration (5.1.4). */
struct net_config_space {
	uint8_t mac[ETH_ALEN];
	uint16_t status, max_virtqueue_pairs, mtu;
};
_Static_assert(sizeof(struct net_config_space) == 12, "virtio 1.2, 5.1.4");

struct virtio_net;

struct net_rx {
	struct virtio_net *net;
	unsigned queue;
	struct event_watch tap;
	bool watching, broken;
	/*
	 * The first buffer is read into in place. What a packet has more, or a packet for which too
	 * few buffers were there (LATE bytes at AT), is here.
	 */
	uint32_t late, at;
	uint16_t few; /* how many buffers were there, and did not suffice */
	struct iovec iov[NET_IOV_MAX + 1], more[NET_IOV_MAX];
	uint8_t bounce[2 * NET_PACKET_MAX];
};

struct net_packet;

struct virtio_net {
	struct virtio_pci vp;
	struct net_config_space space;
	uint8_t mac[ETH_ALEN]; /* at power-on */
	char name[64];
	unsigned pairs, active;
	int fd[VIRTIO_NET_PAIRS_MAX];
	bool detached[VIRTIO_NET_PAIRS_MAX];
	struct net_rx *rx; /* one a pair */
	struct net_packet *free;
	bool error_said;
	struct {
		_Atomic uint64_t rx_packets, rx_bytes, rx_dropped, tx_packets, tx_bytes, tx_dropped;
	} stats;
};

static inline void net_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* The tap failed in doing WHAT; said once. */
void net_say_error(struct virtio_net *net, const char *what, int error);

/* ---- virtio_net_rx.c ---- */

void net_rx_init(struct virtio_net *net, unsigned pair);
void net_rx_stop(struct net_rx *rx);
/* For struct virtio_pci_ops. */
int net_rx_take(struct net_rx *rx);

/* ---- virtio_net_ctrl.c ---- */

int net_ctrl_take(struct virtio_net *net, unsigned q);
/* Tell the tap which offloads the guest takes: the bits of NET_GUEST_OFFLOADS. 0 or -errno. */
int net_set_offloads(struct virtio_net *net, uint64_t offloads);
/* Use the first PAIRS pairs of queues. 0 or -errno. */
int net_set_pairs(struct virtio_net *net, unsigned pairs);

#endif
