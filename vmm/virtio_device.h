/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's virtio devices, whatever their kind: their place on the bus, hot-plug, and life.
 * Internal to vmm/.
 */
#ifndef POSTERN_VIRTIO_DEVICE_H
#define POSTERN_VIRTIO_DEVICE_H

#include "devices/virtio/virtio.h"
#include "postern/section.h"

struct device_config;
struct device_option;
struct metrics;

/* Each kind's file puts one into the list with VIRTIO_KIND(). */
struct virtio_kind {
	const struct device_option *option;
	/* Open what CONFIG names and make the device of it. 0 or -errno after saying why. */
	int (*create)(const struct virtio_env *env, const struct device_config *config,
		      struct virtio_pci **device);
	/* ID is the device's name, for metrics. */
	void (*stats)(const struct virtio_pci *device, const char *id, struct metrics *out);
};

#define VIRTIO_KIND(symbol) SECTION_ENTRY(struct virtio_kind, virtio_kinds, symbol)

#endif
