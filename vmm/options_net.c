// SPDX-License-Identifier: Apache-2.0
/* --net */
#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/machine.h"
#include "vmm/options.h"

static int net_tap(void *target, const char *value)
{
	return strlen(value) < IFNAMSIZ ? device_source(target, value) : -EINVAL;
}

/* One a pair of queues, with colons between. */
static int net_fd(void *target, const char *value)
{
	struct net_config *net = target;
	char text[12];

	net->pairs = 0;
	for (const char *p = value;; p++) {
		size_t len = strcspn(p, ":");
		int rc;

		if (len >= sizeof(text) || net->pairs == MACHINE_NET_PAIRS_MAX)
			return -EINVAL;
		memcpy(text, p, len);
		text[len] = '\0';
		rc = net->pairs ? parse_fd(text, &net->fd[net->pairs])
				: device_fd(&net->dev, text, &net->fd[0]);
		if (rc)
			return rc;
		net->pairs++;
		p += len;
		if (!*p)
			return 0;
	}
}

static int net_mac(void *target, const char *value)
{
	struct net_config *net = target;

	for (unsigned i = 0; i < sizeof(net->mac); i++, value += 3) {
		const char digits[3] = {value[0], value[0] ? value[1] : '\0'};

		if (!isxdigit((unsigned char)digits[0]) || !isxdigit((unsigned char)digits[1]) ||
		    value[2] != (i < sizeof(net->mac) - 1 ? ':' : '\0'))
			return -EINVAL;
		net->mac[i] = (uint8_t)strtoul(digits, NULL, 16);
	}
	/* A card's own address is never that of a group. */
	if (net->mac[0] & 1)
		return -EINVAL;
	net->has_mac = true;
	return 0;
}

static int net_mtu(void *target, const char *value)
{
	uint64_t mtu;

	/* virtio 1.2, 5.1.4.1 */
	if (parse_number(value, UINT16_MAX, &mtu) || mtu < 68)
		return -EINVAL;
	((struct net_config *)target)->mtu = (uint16_t)mtu;
	return 0;
}

static int net_queues(void *target, const char *value)
{
	struct net_config *net = target;
	uint64_t pairs;

	if (parse_number(value, MACHINE_NET_PAIRS_MAX, &pairs) || !pairs ||
	    (net->dev.fds && pairs != net->pairs))
		return -EINVAL;
	net->pairs = (unsigned)pairs;
	return 0;
}

static void net_init(struct device_config *dev)
{
	container_of(dev, struct net_config, dev)->pairs = 1;
}

const struct device_option net_option = {
	.name = "net",
	.symbol = "VIRTIO_NET",
	.source = "tap=NAME or fd=N",
	.size = sizeof(struct net_config),
	.keys = (const struct option_key[]){{"tap", net_tap},
					    {"fd", net_fd},
					    {"mac", net_mac},
					    {"mtu", net_mtu},
					    {"queues", net_queues},
					    DEVICE_KEYS},
	.init = net_init,
};
