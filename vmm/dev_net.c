// SPDX-License-Identifier: Apache-2.0
/* --net: tap interfaces to virtio network devices. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/machine.h"
#include "vmm/metrics.h"
#include "vmm/options.h"
#include "vmm/virtio_device.h"

_Static_assert(MACHINE_NET_PAIRS_MAX == VIRTIO_NET_PAIRS_MAX, "options and device agree");

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
		int fd = config->dev.fds ? tap_adopt(device->name, config->fd[device->pairs])
					 : tap_open(device->name, config->pairs > 1);

		if (fd < 0) {
			taps_close(device);
			return fd;
		}
		device->fd[device->pairs] = fd;
	}
	if (!config->dev.fds)
		tap_up(device->name);
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

static int net_create(const struct virtio_env *env, const struct device_config *dev,
		      struct virtio_pci **device)
{
	const struct net_config *config = container_of(dev, const struct net_config, dev);
	struct virtio_net_config net = {.mtu = config->mtu, .name = dev->source};
	int rc = choose_mac(config, net.mac);

	if (!rc)
		rc = taps_open(config, &net);
	if (rc)
		return rc;
	rc = virtio_net_new(env, &net, device);
	if (rc) {
		log_error("--net %s: cannot be a network device: %s", dev->source, strerror(-rc));
		taps_close(&net);
	}
	return rc;
}

static void net_stats(const struct virtio_pci *device, const char *id, struct metrics *out)
{
	struct virtio_net_stats s;

	virtio_net_stats(device, &s);
	metric_counter(out, "net.rx_packets", id, s.rx_packets);
	metric_counter(out, "net.rx_bytes", id, s.rx_bytes);
	metric_counter(out, "net.rx_dropped", id, s.rx_dropped);
	metric_counter(out, "net.tx_packets", id, s.tx_packets);
	metric_counter(out, "net.tx_bytes", id, s.tx_bytes);
	metric_counter(out, "net.tx_dropped", id, s.tx_dropped);
	metric_counter(out, "net.kicks", id, s.kicks);
	metric_counter(out, "net.interrupts", id, s.interrupts);
}

static const struct virtio_kind net_kind = {
	.option = &net_option, .create = net_create, .stats = net_stats};
VIRTIO_KIND(net_kind);
