// SPDX-License-Identifier: Apache-2.0
/* The control queue (virtio 1.2, 5.1.6.5), and what it changes at the tap. */
#include <errno.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>

#include "devices/virtio/virtio_net.h"
#include "postern/bits.h"

enum { CTRL_RX = 0, CTRL_MAC = 1, CTRL_MQ = 4, CTRL_GUEST_OFFLOADS = 5 };
enum { CTRL_RX_LAST = 5, CTRL_MAC_TABLE_SET = 0, CTRL_MAC_ADDR_SET = 1 };
enum { CTRL_OK = 0, CTRL_ERR = 1 };

struct ctrl_header {
	uint8_t class, command;
};

/* A command's data beyond the header: as much as the longest that is looked at. */
struct ctrl_data {
	uint8_t bytes[8];
	uint64_t len; /* of all that the driver gave */
};

int net_set_offloads(struct virtio_net *net, uint64_t offloads)
{
	unsigned flags = 0;

	if (offloads & BIT(VIRTIO_NET_F_GUEST_CSUM)) {
		flags = TUN_F_CSUM;
		if (offloads & BIT(VIRTIO_NET_F_GUEST_TSO4))
			flags |= TUN_F_TSO4;
		if (offloads & BIT(VIRTIO_NET_F_GUEST_TSO6))
			flags |= TUN_F_TSO6;
		if (offloads & BIT(VIRTIO_NET_F_GUEST_ECN) && flags & (TUN_F_TSO4 | TUN_F_TSO6))
			flags |= TUN_F_TSO_ECN;
	}
	for (unsigned i = 0; i < net->pairs; i++)
		if (!net->detached[i] && ioctl(net->fd[i], TUNSETOFFLOAD, flags))
			return -errno;
	return 0;
}

int net_set_pairs(struct virtio_net *net, unsigned pairs)
{
	for (unsigned i = 0; i < net->pairs; i++) {
		struct ifreq request = {.ifr_flags =
						i < pairs ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};

		if (net->detached[i] == (i >= pairs))
			continue;
		if (ioctl(net->fd[i], TUNSETQUEUE, &request))
			return -errno;
		net->detached[i] = i >= pairs;
	}
	net->active = pairs;
	return 0;
}

/* 5.1.6.5.1: filters are best effort, and the tap hands over what the bridge behind it lets pass.
 */
static int ctrl_rx(struct virtio_net *net, uint8_t command, const struct ctrl_data *data)
{
	(void)net;
	return command <= CTRL_RX_LAST && data->len == 1 ? 0 : -EINVAL;
}

static int ctrl_mac(struct virtio_net *net, uint8_t command, const struct ctrl_data *data)
{
	if (command == CTRL_MAC_TABLE_SET)
		return virtio_pci_has(&net->vp, VIRTIO_NET_F_CTRL_RX) ? 0 : -EINVAL;
	if (command != CTRL_MAC_ADDR_SET || data->len != ETH_ALEN ||
	    !virtio_pci_has(&net->vp, VIRTIO_NET_F_CTRL_MAC_ADDR))
		return -EINVAL;
	pthread_mutex_lock(&net->vp.lock);
	memcpy(net->space.mac, data->bytes, ETH_ALEN);
	net->vp.generation++;
	pthread_mutex_unlock(&net->vp.lock);
	return 0;
}

static int ctrl_mq(struct virtio_net *net, uint8_t command, const struct ctrl_data *data)
{
	const unsigned pairs = data->bytes[0] | (unsigned)data->bytes[1] << 8;
	const unsigned before = net->active;
	int ret;

	if (command || data->len != 2 || !virtio_pci_has(&net->vp, VIRTIO_NET_F_MQ) || !pairs ||
	    pairs > net->pairs)
		return -EINVAL;
	ret = net_set_pairs(net, pairs);
	for (unsigned i = pairs; !ret && i < before; i++)
		net_rx_stop(&net->rx[i]);
	/* Whoever rang for these found them not in use. */
	for (unsigned q = 2 * before; !ret && q < 2 * pairs; q++)
		event_loop_post(net->vp.env.loop, &net->vp.queue[q].more);
	return ret;
}

static int ctrl_offloads(struct virtio_net *net, uint8_t command, const struct ctrl_data *data)
{
	uint64_t offloads;

	memcpy(&offloads, data->bytes, sizeof(offloads));
	if (command || data->len != sizeof(offloads) || offloads & ~NET_GUEST_OFFLOADS ||
	    offloads & ~net->vp.driver_features ||
	    !virtio_pci_has(&net->vp, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS))
		return -EINVAL;
	return net_set_offloads(net, offloads);
}

static int ctrl_run(struct virtio_net *net, const struct ctrl_header *header,
		    const struct ctrl_data *data)
{
	switch (header->class) {
	case CTRL_RX:
		return ctrl_rx(net, header->command, data);
	case CTRL_MAC:
		return ctrl_mac(net, header->command, data);
	case CTRL_MQ:
		return ctrl_mq(net, header->command, data);
	case CTRL_GUEST_OFFLOADS:
		return ctrl_offloads(net, header->command, data);
	default:
		return -EINVAL;
	}
}

int net_ctrl_take(struct virtio_net *net, unsigned q)
{
	struct iovec iov[NET_IOV_MAX];
	struct virtqueue_chain chain = {.iov = iov, .iov_max = NET_IOV_MAX};
	uint8_t raw[sizeof(struct ctrl_header) + sizeof(((struct ctrl_data *)NULL)->bytes)] = {0};
	struct ctrl_header header;
	struct ctrl_data data;
	uint8_t ack;
	int ret = virtqueue_pop(&net->vp.queue[q].vq, &chain);

	if (ret <= 0)
		return ret;
	if (chain.readable_len < sizeof(header) || !chain.writable_len) {
		dma_hold_end(&chain.hold);
		return -EPROTO;
	}
	iov_read(iov, chain.readable, raw, sizeof(raw));
	memcpy(&header, raw, sizeof(header));
	memcpy(data.bytes, raw + sizeof(header), sizeof(data.bytes));
	data.len = chain.readable_len - sizeof(header);
	ack = ctrl_run(net, &header, &data) ? CTRL_ERR : CTRL_OK;
	iov_write(&iov[chain.readable], chain.writable, &ack, sizeof(ack));
	dma_hold_end(&chain.hold);
	virtio_pci_push(&net->vp, q, chain.head, sizeof(ack));
	/* The kernel may take milliseconds to attach or detach a queue of the tap. */
	return VIRTIO_PCI_TURN;
}
