// SPDX-License-Identifier: Apache-2.0
/*
 * Packets to the guest (virtio 1.2, 5.1.6.3 and 5.1.6.4).
 *
 * One readv() a packet: into the guest's next buffer, and what does not fit there into memory of
 * our own, from where it goes into further buffers (mergeable ones) as far as there are enough. No
 * buffer waits at the tap between packets, so that the guest may take the queue back at any time.
 */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "devices/virtio/virtio_net.h"
#include "postern/bits.h"

/* What taking one packet came to, besides -errno. */
enum { RX_NO_BUFFER, RX_PACKET, RX_DRY };

/* A chain that was taken and filled and waits to be returned. */
struct filled {
	uint16_t head;
	uint32_t written;
};

static struct virtqueue *rx_vq(struct net_rx *rx)
{
	return &rx->net->vp.queue[rx->queue].vq;
}

/* 1, 0 where there is none, or -errno. */
static int rx_pop(struct net_rx *rx, struct virtqueue_chain *chain)
{
	int ret = virtqueue_pop(rx_vq(rx), chain);

	if (ret > 0 && (chain->readable || !chain->writable_len)) {
		dma_hold_end(&chain->hold);
		return -EPROTO;
	}
	return ret;
}

/*
 * The LEN bytes at DATA into buffers of their own after the first: how many, 0 where there are not
 * enough (none has been taken then), or -errno.
 */
static int rx_spread(struct net_rx *rx, const uint8_t *data, uint32_t len, struct filled *filled)
{
	unsigned count = 0;

	while (len) {
		struct virtqueue_chain chain = {.iov = rx->more, .iov_max = NET_IOV_MAX};
		uint32_t step;
		int ret = count < VIRTQUEUE_SIZE_MAX ? rx_pop(rx, &chain) : 0;

		if (ret <= 0) {
			virtqueue_unpop(rx_vq(rx), count);
			rx->few = (uint16_t)(1 + count);
			return ret;
		}
		step = iov_write(chain.iov, chain.writable, data, len);
		dma_hold_end(&chain.hold);
		filled[count++] = (struct filled){chain.head, step};
		data += step;
		len -= step;
	}
	return (int)count;
}

static void set_num_buffers(const struct virtqueue_chain *chain, unsigned buffers)
{
	struct iovec copy[NET_IOV_MAX], *iov = copy;
	unsigned count = chain->writable;
	const uint16_t value = (uint16_t)buffers;

	memcpy(copy, chain->iov, count * sizeof(copy[0]));
	iov_drop_front(&iov, &count, offsetof(struct net_header, num_buffers));
	iov_write(iov, count, &value, sizeof(value));
}

/* N bytes of a packet, of which the FIRST lie in CHAIN and the rest in memory of our own. */
static int rx_finish(struct net_rx *rx, struct virtqueue_chain *chain, uint32_t n, uint32_t first)
{
	struct virtio_net *net = rx->net;
	struct filled filled[VIRTQUEUE_SIZE_MAX];
	const uint32_t rest = n - first;
	const uint8_t *data = &rx->bounce[rx->late ? rx->at + first : NET_PACKET_MAX];
	int more = 0;

	if (rest && virtio_pci_has(&net->vp, VIRTIO_NET_F_MRG_RXBUF)) {
		more = rx_spread(rx, data, rest, filled);
		if (more < 0)
			return more;
		if (!more && !rx->late) {
			rx->late = n;
			rx->at = (uint32_t)NET_PACKET_MAX - first;
			iov_read(chain->iov, chain->writable, &rx->bounce[rx->at], first);
		}
		if (!more)
			return RX_NO_BUFFER;
	} else if (rest) {
		/* It does not fit the buffer that the driver gave, and there is no other way. */
		rx->late = 0;
		net_count(&net->stats.rx_dropped, 1);
		virtqueue_unpop(rx_vq(rx), 1);
		return RX_PACKET;
	}
	set_num_buffers(chain, 1 + (unsigned)more);
	dma_hold_end(&chain->hold);
	rx->late = 0;
	net_count(&net->stats.rx_packets, 1);
	net_count(&net->stats.rx_bytes, n - sizeof(struct net_header));
	virtio_pci_push(&net->vp, rx->queue, chain->head, first);
	for (int i = 0; i < more; i++)
		virtio_pci_push(&net->vp, rx->queue, filled[i].head, filled[i].written);
	return RX_PACKET;
}

/* The next packet, or its beginning, into CHAIN: all its bytes, 0 where there is none, or -errno.
 */
static ssize_t rx_read(struct net_rx *rx, const struct virtqueue_chain *chain)
{
	ssize_t n;

	if (rx->late) {
		iov_write(chain->iov, chain->writable, &rx->bounce[rx->at], rx->late);
		return rx->late;
	}
	rx->iov[chain->writable] = (struct iovec){&rx->bounce[NET_PACKET_MAX], NET_PACKET_MAX};
	do {
		n = readv(rx->tap.fd, rx->iov, (int)chain->writable + 1);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN) {
		/* It would be ready with this error for ever. */
		rx->broken = true;
		net_say_error(rx->net, "reading from", errno);
	}
	return n < (ssize_t)sizeof(struct net_header) ? 0 : n;
}

static int rx_packet(struct net_rx *rx)
{
	struct virtqueue_chain chain = {.iov = rx->iov, .iov_max = NET_IOV_MAX};
	int ret = rx_pop(rx, &chain);
	ssize_t n;

	rx->few = 0;
	if (ret <= 0)
		return ret ? ret : RX_NO_BUFFER;
	/* 5.1.6.3.1: the first buffer has room for the header at least. */
	if (chain.writable_len < sizeof(struct net_header)) {
		ret = -EPROTO;
		goto out;
	}
	n = rx_read(rx, &chain);
	if (!n) {
		virtqueue_unpop(rx_vq(rx), 1);
		ret = RX_DRY;
		goto out;
	}
	ret = rx_finish(rx, &chain, (uint32_t)n,
			(uint64_t)n < chain.writable_len ? (uint32_t)n
							 : (uint32_t)chain.writable_len);
	if (ret == RX_NO_BUFFER)
		virtqueue_unpop(rx_vq(rx), 1);
out:
	dma_hold_end(&chain.hold);
	return ret;
}

static void rx_watch(struct net_rx *rx, bool on)
{
	int ret = 0;

	if (on == rx->watching)
		return;
	if (on)
		ret = event_loop_watch(rx->net->vp.env.loop, &rx->tap);
	else
		event_loop_unwatch(rx->net->vp.env.loop, &rx->tap);
	if (ret)
		net_say_error(rx->net, "watching", -ret);
	else
		rx->watching = on;
}

int net_rx_take(struct net_rx *rx)
{
	int ret = rx_packet(rx);

	/* Without a buffer the tap would be ready for ever; a kick brings us back here. */
	if (ret == RX_NO_BUFFER || ret == RX_DRY)
		rx_watch(rx, ret == RX_DRY && !rx->broken);
	if (ret == RX_DRY)
		return VIRTIO_PCI_LATER;
	if (ret != RX_NO_BUFFER)
		return ret < 0 ? ret : 1;
	/* Those that do not suffice are no reason to try again. */
	ret = virtqueue_await_more(rx_vq(rx), rx->few);
	return ret ? ret : VIRTIO_PCI_LATER;
}

static void tap_ready(struct event_watch *watch, short revents)
{
	struct net_rx *rx = container_of(watch, struct net_rx, tap);

	(void)revents;
	if (!virtio_pci_serve(&rx->net->vp, rx->queue))
		rx_watch(rx, false);
}

void net_rx_init(struct virtio_net *net, unsigned pair)
{
	struct net_rx *rx = &net->rx[pair];

	rx->net = net;
	rx->queue = 2 * pair;
	rx->tap = (struct event_watch){.fd = net->fd[pair], .events = POLLIN, .ready = tap_ready};
}

void net_rx_stop(struct net_rx *rx)
{
	rx_watch(rx, false);
	rx->late = 0;
}
