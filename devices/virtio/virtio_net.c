// SPDX-License-Identifier: Apache-2.0
/*
 * The virtio network device (virtio 1.2, 5.1) on a tap: packets from the guest, and its life. What
 * the guest sends goes from its memory to the tap, many packets in one system call where the loop
 * is io_uring's.
 */
#include "devices/virtio/virtio_net.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "postern/bits.h"
#include "postern/log.h"

#define NET_S_LINK_UP 1

struct net_packet {
	struct event_io io;
	struct virtio_net *net;
	struct net_packet *next; /* in net->free */
	unsigned queue;
	struct virtqueue_chain chain;
	struct iovec iov[NET_IOV_MAX];
};

static struct virtio_net *to_net(struct virtio_pci *vp)
{
	return container_of(vp, struct virtio_net, vp);
}

void net_say_error(struct virtio_net *net, const char *what, int error)
{
	if (net->error_said)
		return;
	net->error_said = true;
	log_error("%s: %s the tap failed: %s; packets are lost (is the interface still there? see "
		  "ip link)",
		  net->name, what, strerror(error));
}

/* ---- packets from the guest: at most as many as the queue has descriptors, kept for the next ----
 */

static void packet_put(struct net_packet *packet)
{
	packet->next = packet->net->free;
	packet->net->free = packet;
}

static struct net_packet *packet_get(struct virtio_net *net)
{
	struct net_packet *packet = net->free;

	if (packet) {
		net->free = packet->next;
		return packet;
	}
	packet = malloc(sizeof(*packet));
	if (!packet)
		return NULL;
	packet->net = net;
	packet->chain.iov = packet->iov;
	packet->chain.iov_max = NET_IOV_MAX;
	return packet;
}

static void packet_finish(struct net_packet *packet, bool sent)
{
	struct virtio_net *net = packet->net;

	net_count(sent ? &net->stats.tx_packets : &net->stats.tx_dropped, 1);
	if (sent)
		net_count(&net->stats.tx_bytes,
			  packet->chain.readable_len - sizeof(struct net_header));
	/* First: as soon as the guest sees the chain, it may unmap the buffers. */
	dma_hold_end(&packet->chain.hold);
	virtio_pci_push(&net->vp, packet->queue, packet->chain.head, 0);
	packet_put(packet);
	virtio_pci_put(&net->vp);
}

static void packet_done(struct event_io *io, int result)
{
	struct net_packet *packet = container_of(io, struct net_packet, io);
	struct virtio_net *net = packet->net;

	if (result == -EINTR && virtio_pci_live(&net->vp) &&
	    !event_loop_submit(net->vp.env.loop, io))
		return;
	/* What the kernel finds wrong with a packet is the guest's affair, as on a wire. */
	if (result < 0 && result != -EINVAL && result != -EAGAIN && result != -EINTR)
		net_say_error(net, "writing to", -result);
	packet_finish(packet, result >= 0);
}

static int tx_take(struct virtio_net *net, unsigned q)
{
	struct net_packet *packet = packet_get(net);
	int ret;

	if (!packet)
		return -ENOMEM;
	ret = virtqueue_pop(&net->vp.queue[q].vq, &packet->chain);
	if (ret > 0 &&
	    (packet->chain.writable || packet->chain.readable_len < sizeof(struct net_header))) {
		dma_hold_end(&packet->chain.hold);
		ret = -EPROTO;
	}
	if (ret <= 0) {
		packet_put(packet);
		return ret;
	}
	virtio_pci_get(&net->vp);
	packet->queue = q;
	packet->io = (struct event_io){
		.op = EVENT_IO_WRITEV,
		.fd = net->fd[q / 2],
		.iov = packet->iov,
		.iov_count = packet->chain.readable,
		.done = packet_done,
	};
	if (packet->chain.readable_len > NET_PACKET_MAX) {
		packet_finish(packet, false);
		return 1;
	}
	ret = event_loop_submit(net->vp.env.loop, &packet->io);
	if (ret) {
		net_say_error(net, "writing to", -ret);
		packet_finish(packet, false);
	}
	return 1;
}

/* ---- the transport's calls ---- */

/* 5.1.2: without VIRTIO_NET_F_MQ the control queue comes right after the first pair. */
static int net_take(struct virtio_pci *vp, unsigned q)
{
	struct virtio_net *net = to_net(vp);
	const unsigned pairs = virtio_pci_has(vp, VIRTIO_NET_F_MQ) ? net->pairs : 1;

	if (q == 2 * pairs && virtio_pci_has(vp, VIRTIO_NET_F_CTRL_VQ))
		return net_ctrl_take(net, q);
	/* What waits in a pair that is not in use waits on. */
	if (q >= 2 * net->active)
		return VIRTIO_PCI_LATER;
	return q % 2 ? tx_take(net, q) : net_rx_take(&net->rx[q / 2]);
}

static void net_start(struct virtio_pci *vp)
{
	struct virtio_net *net = to_net(vp);
	int ret;

	for (unsigned i = 0; i < net->pairs; i++)
		net_rx_stop(&net->rx[i]);
	/* 5.1.5: one pair until the driver says more. */
	ret = net_set_pairs(net, 1);
	if (!ret)
		ret = net_set_offloads(net, vp->driver_features & NET_GUEST_OFFLOADS);
	if (ret)
		net_say_error(net, "setting up", -ret);
}

static void net_reset(struct virtio_pci *vp)
{
	struct virtio_net *net = to_net(vp);

	memcpy(net->space.mac, net->mac, sizeof(net->mac));
}

static void net_free(struct virtio_pci *vp)
{
	struct virtio_net *net = to_net(vp);

	for (unsigned i = 0; i < net->pairs; i++)
		net_rx_stop(&net->rx[i]);
	virtio_pci_fini(vp);
	while (net->free) {
		struct net_packet *packet = net->free;

		net->free = packet->next;
		free(packet);
	}
	for (unsigned i = 0; i < net->pairs; i++)
		close(net->fd[i]);
	free(net->rx);
	free(net);
}

static const struct virtio_pci_ops net_ops = {
	.take = net_take, .start = net_start, .reset = net_reset, .free = net_free};

/* ---- life ---- */

static void tap_init(struct virtio_net *net, const struct virtio_net_config *config)
{
	net->pairs = config->pairs;
	net->active = config->pairs;
	for (unsigned i = 0; i < config->pairs; i++) {
		net->fd[i] = config->fd[i];
		net_rx_init(net, i);
	}
}

int virtio_net_new(const struct virtio_env *env, const struct virtio_net_config *config,
		   struct virtio_pci **out)
{
	const int header = sizeof(struct net_header);
	struct virtio_pci_config transport;
	struct virtio_net *net;
	int ret;

	if (!config->pairs || config->pairs > VIRTIO_NET_PAIRS_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < config->pairs; i++)
		if (ioctl(config->fd[i], TUNSETVNETHDRSZ, &header))
			return -errno;
	net = calloc(1, sizeof(*net));
	if (!net)
		return -ENOMEM;
	net->rx = calloc(config->pairs, sizeof(net->rx[0]));
	if (!net->rx) {
		ret = -ENOMEM;
		goto err_free;
	}
	tap_init(net, config);
	memcpy(net->name, config->name, strnlen(config->name, sizeof(net->name) - 1));
	memcpy(net->mac, config->mac, sizeof(net->mac));
	memcpy(net->space.mac, config->mac, sizeof(net->space.mac));
	net->space.status = NET_S_LINK_UP;
	net->space.max_virtqueue_pairs = (uint16_t)config->pairs;
	net->space.mtu = config->mtu;
	transport = (struct virtio_pci_config){
		.name = net->name,
		.ops = &net_ops,
		.device = VIRTIO_ID_NET,
		.class_code = 0x020000,
		.features = NET_GUEST_OFFLOADS | BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) |
			    BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4) |
			    BIT(VIRTIO_NET_F_HOST_TSO6) | BIT(VIRTIO_NET_F_HOST_ECN) |
			    BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_MRG_RXBUF) |
			    BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_CTRL_VQ) |
			    BIT(VIRTIO_NET_F_CTRL_RX) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR),
		.queues = 2 * config->pairs + 1,
		.config = &net->space,
		.config_size = sizeof(net->space),
	};
	if (config->mtu)
		transport.features |= BIT(VIRTIO_NET_F_MTU);
	if (config->pairs > 1)
		transport.features |= BIT(VIRTIO_NET_F_MQ);
	ret = virtio_pci_init(&net->vp, env, &transport);
	if (ret)
		goto err_rx;
	*out = &net->vp;
	return 0;
err_rx:
	free(net->rx);
err_free:
	free(net);
	return ret;
}

void virtio_net_stats(const struct virtio_pci *vp, struct virtio_net_stats *stats)
{
	const struct virtio_net *net = container_of(vp, const struct virtio_net, vp);

	stats->rx_packets = net->stats.rx_packets;
	stats->rx_bytes = net->stats.rx_bytes;
	stats->rx_dropped = net->stats.rx_dropped;
	stats->tx_packets = net->stats.tx_packets;
	stats->tx_bytes = net->stats.tx_bytes;
	stats->tx_dropped = net->stats.tx_dropped;
	stats->kicks = net->vp.kicks;
	stats->interrupts = net->vp.interrupts;
}
