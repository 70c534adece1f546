// SPDX-License-Identifier: Apache-2.0
/* --net: tap interfaces to virtio network devices. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/virtio/virtio.h"
#include "vmm/machine.h"
#include "vmm/metrics.h"

enum { NET_ORDER = 3 };

_Static_assert(MACHINE_NET_PAIRS_MAX == VIRTIO_NET_PAIRS_MAX, "options and device agree");

struct net {
	struct machine_device dev;
	struct net *next; /* created before */
	struct virtio_net *net;
	struct dma_space *dma;
	char *name;
};

static const struct device_class net_class;

static int tap_error(const char *name, int error)
{
	const char *advice = "";

	if (error == EPERM || error == EACCES)
		advice = "; as root: ip tuntap add NAME mode tap user $USER, then ip link set NAME "
			 "up";
	else if (error == EBUSY)
		advice = "; another process uses this interface";
	else if (error == EINVAL)
		advice = "; is it a tap, and made with multi_queue exactly where queues=N is above "
			 "1?";
	else if (error == ENOENT || error == ENXIO || error == ENODEV)
		advice = "; this kernel has no TUN driver (CONFIG_TUN), or modprobe tun loads it";
	log_error("--net %s: cannot open the tap: %s%s", name, strerror(error), advice);
	return -error;
}

static int tap_open(const char *name, bool multi)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK), rc;

	if (fd < 0)
		return tap_error(name, errno);
	if (multi)
		request.ifr_flags |= IFF_MULTI_QUEUE;
	memcpy(request.ifr_name, name, strlen(name));
	if (!ioctl(fd, TUNSETIFF, &request))
		return fd;
	rc = tap_error(name, errno);
	close(fd);
	return rc;
}

/* A descriptor that came from elsewhere: of the right kind, and a copy of it that is ours. */
static int tap_adopt(const char *name, int given)
{
	struct ifreq request = {0};
	int fd;

	if (ioctl(given, TUNGETIFF, &request)) {
		log_error("--net %s: descriptor %d is not a tap: %s", name, given, strerror(errno));
		return -EINVAL;
	}
	if ((request.ifr_flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)) !=
	    (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)) {
		log_error("--net %s: descriptor %d was not opened with IFF_TAP, IFF_NO_PI and "
			  "IFF_VNET_HDR",
			  name, given);
		return -EINVAL;
	}
	fd = fcntl(given, F_DUPFD_CLOEXEC, 3);
	if (fd < 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK)) {
		int rc = -errno;

		log_error("--net %s: descriptor %d: %s", name, given, strerror(-rc));
		if (fd >= 0)
			close(fd);
		return rc;
	}
	return fd;
}

/* An interface that is down drops all packets. Where we may not, somebody else does it. */
static void tap_up(const char *name)
{
	struct ifreq request = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	memcpy(request.ifr_name, name, strlen(name));
	if (!ioctl(fd, SIOCGIFFLAGS, &request) && !(request.ifr_flags & IFF_UP)) {
		request.ifr_flags |= IFF_UP;
		if (ioctl(fd, SIOCSIFFLAGS, &request))
			log_warning("--net tap=%s: the interface is down; ip link set %s up", name,
				    name);
	}
	close(fd);
}

static void taps_close(struct virtio_net_config *device)
{
	while (device->pairs)
		close(device->fd[--device->pairs]);
}

static int taps_open(const struct net_config *config, struct virtio_net_config *device)
{
	for (; device->pairs < config->pairs; device->pairs++) {
		int fd = config->fds ? tap_adopt(config->name, config->fd[device->pairs])
				     : tap_open(config->name, config->pairs > 1);

		if (fd < 0) {
			taps_close(device);
			return fd;
		}
		device->fd[device->pairs] = fd;
	}
	if (!config->fds)
		tap_up(config->name);
	return 0;
}

static int choose_mac(const struct net_config *config, uint8_t mac[6])
{
	memcpy(mac, config->mac, 6);
	if (config->has_mac)
		return 0;
	if (getrandom(mac, 6, 0) != 6)
		return -errno;
	/* Of one card, administered locally. */
	mac[0] = (uint8_t)((mac[0] & ~3) | 2);
	return 0;
}

static void net_free(struct machine *m, struct net *net)
{
	if (net->net) {
		machine_device_withdraw(m, &net->dev);
		virtio_net_free(net->net);
	}
	if (net->dma)
		machine_unplace(m, net->dma, net->dev.iommu);
	free(net->name);
	free(net);
}

static int net_create(struct machine *m, const struct net_config *config)
{
	struct virtio_net_config device = {.mtu = config->mtu, .name = config->name};
	struct virtio_env env = {
		.loop = m->loop,
		.window = &m->window,
		.root = m->segment[config->segment].root,
		.iommu = config->iommu,
		.memory = &m->memory,
	};
	struct net *net = calloc(1, sizeof(*net));
	int rc;

	if (!net)
		return -ENOMEM;
	net->name = strdup(config->name);
	rc = net->name ? machine_device_init(m, &net->dev, &net_class, config->id, config->segment,
					     config->iommu)
		       : -ENOMEM;
	if (!rc)
		rc = choose_mac(config, device.mac);
	if (!rc)
		rc = taps_open(config, &device);
	if (rc)
		goto fail;
	net->dev.what = net->name;
	env.devfn = net->dev.devfn;
	rc = machine_place(m, config->segment, env.devfn, config->iommu, &net->dma, &env.sink);
	if (rc)
		goto close;
	env.dma = net->dma;
	rc = virtio_net_new(&env, &device, &net->net);
	if (rc) {
		log_error("--net %s: cannot be a network device: %s", config->name, strerror(-rc));
		goto close;
	}
	net->next = m->private[NET_ORDER];
	m->private[NET_ORDER] = net;
	machine_device_publish(m, &net->dev);
	return 0;
close:
	taps_close(&device);
fail:
	net_free(m, net);
	return rc;
}

static void nets_destroy(struct machine *m)
{
	struct net *net, *next;

	for (net = m->private[NET_ORDER]; net; net = next) {
		next = net->next;
		net_free(m, net);
	}
	m->private[NET_ORDER] = NULL;
}

static int nets_create(struct machine *m)
{
	for (unsigned i = 0; i < m->config->nets; i++) {
		int rc = net_create(m, &m->config->net[i]);

		if (rc) {
			nets_destroy(m);
			return rc;
		}
	}
	return 0;
}

static void net_drained(void *opaque)
{
	machine_drained(opaque);
}

static void nets_drain(struct machine *m)
{
	/* The caller counted one for the class; each device counts for itself. */
	for (struct net *net = m->private[NET_ORDER]; net; net = net->next) {
		atomic_fetch_add(&m->drains, 1);
		virtio_net_drain(net->net, net_drained, m);
	}
	machine_drained(m);
}

static void nets_resume(struct machine *m)
{
	for (struct net *net = m->private[NET_ORDER]; net; net = net->next)
		virtio_net_resume(net->net);
}

static void nets_stats(struct machine *m, struct metrics *out)
{
	for (struct machine_device *dev = m->devices; dev; dev = dev->next) {
		const struct net *net = container_of(dev, struct net, dev);
		struct virtio_net_stats s;

		if (dev->class != &net_class)
			continue;
		virtio_net_stats(net->net, &s);
		metric_counter(out, "net.rx_packets", dev->id, s.rx_packets);
		metric_counter(out, "net.rx_bytes", dev->id, s.rx_bytes);
		metric_counter(out, "net.rx_dropped", dev->id, s.rx_dropped);
		metric_counter(out, "net.tx_packets", dev->id, s.tx_packets);
		metric_counter(out, "net.tx_bytes", dev->id, s.tx_bytes);
		metric_counter(out, "net.tx_dropped", dev->id, s.tx_dropped);
		metric_counter(out, "net.kicks", dev->id, s.kicks);
		metric_counter(out, "net.interrupts", dev->id, s.interrupts);
	}
}

static const struct device_class net_class = {
	.name = "net",
	.order = NET_ORDER,
	.create = nets_create,
	.destroy = nets_destroy,
	.drain = nets_drain,
	.resume = nets_resume,
	.stats = nets_stats,
};
DEVICE_CLASS(net_class);
