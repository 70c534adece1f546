// SPDX-License-Identifier: Apache-2.0
/* --net */
#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/machine.h"
#include "vmm/options.h"

static int net_tap(void *target, const char *value)
{
	struct net_config *net = target;

	if (!*value || strlen(value) >= IFNAMSIZ || net->fds)
		return -EINVAL;
	return config_set_string(&net->name, value);
}

/* One a pair of queues, with colons between. */
static int net_fd(void *target, const char *value)
{
	struct net_config *net = target;
	char text[12];

	if (net->name)
		return -EINVAL;
	for (const char *p = value;; p++) {
		size_t len = strcspn(p, ":");
		uint64_t fd;

		if (len >= sizeof(text) || net->fds == MACHINE_NET_PAIRS_MAX)
			return -EINVAL;
		memcpy(text, p, len);
		text[len] = '\0';
		if (parse_number(text, INT32_MAX, &fd))
			return -EINVAL;
		net->fd[net->fds++] = (int)fd;
		p += len;
		if (!*p)
			break;
	}
	net->pairs = net->fds;
	snprintf(text, sizeof(text), "fd=%d", net->fd[0]);
	return config_set_string(&net->name, text);
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
	    (net->fds && pairs != net->fds))
		return -EINVAL;
	net->pairs = (unsigned)pairs;
	return 0;
}

static int net_iommu(void *target, const char *value)
{
	return parse_switch(value, &((struct net_config *)target)->iommu);
}

static int net_id(void *target, const char *value)
{
	if (!machine_id_good(value))
		return -EINVAL;
	return config_set_string(&((struct net_config *)target)->id, value);
}

static int net_segment(void *target, const char *value)
{
	return parse_segment(value, &((struct net_config *)target)->segment);
}

int config_add_net(struct machine_config *config, const char *text)
{
	static const struct option_key keys[] = {
		{"tap", net_tap}, {"fd", net_fd},	    {"mac", net_mac},
		{"mtu", net_mtu}, {"queues", net_queues},   {"iommu", net_iommu},
		{"id", net_id},	  {"segment", net_segment}, {0}};
	struct net_config *net;
	int rc;

	if (config->nets == MACHINE_DEVICES_MAX) {
		log_error("--net %s: there are already %u network devices", text, config->nets);
		return -EINVAL;
	}
	net = &config->net[config->nets];
	*net = (struct net_config){.pairs = 1};
	rc = parse_keys("net", text, net, keys, NULL);
	if (!rc && !net->name) {
		log_error("--net %s: tap=NAME or fd=N is missing", text);
		rc = -EINVAL;
	}
	if (rc) {
		free(net->name);
		free(net->id);
	} else {
		config->nets++;
	}
	return rc;
}
