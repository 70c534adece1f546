// SPDX-License-Identifier: Apache-2.0
/* --rng: random bytes for the guest. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/machine.h"
#include "vmm/metrics.h"
#include "vmm/options.h"
#include "vmm/virtio_device.h"

/* Of a file on a disk the guest would get the same bytes each time. */
static int open_source(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	if (fd < 0) {
		int rc = -errno;

		log_error("--rng src=%s: cannot open it: %s", path, strerror(-rc));
		return rc;
	}
	if (fstat(fd, &st) || !S_ISCHR(st.st_mode)) {
		log_error("--rng src=%s: not a character device, such as /dev/hwrng", path);
		close(fd);
		return -EINVAL;
	}
	return fd;
}

static int rng_create(const struct virtio_env *env, const struct device_config *dev,
		      struct virtio_pci **device)
{
	const struct rng_config *config = container_of(dev, const struct rng_config, dev);
	struct virtio_rng_config rng = {.fd = -1, .rate = config->rate, .name = dev->source};
	int rc;

	if (config->file) {
		rng.fd = open_source(dev->source);
		if (rng.fd < 0)
			return rng.fd;
	}
	rc = virtio_rng_new(env, &rng, device);
	if (rc) {
		log_error("--rng: cannot be made: %s", strerror(-rc));
		if (rng.fd >= 0)
			close(rng.fd);
	}
	return rc;
}

static void rng_stats(const struct virtio_pci *device, const char *id, struct metrics *out)
{
	struct virtio_rng_stats s;

	virtio_rng_stats(device, &s);
	metric_counter(out, "rng.requests", id, s.requests);
	metric_counter(out, "rng.bytes", id, s.bytes);
	metric_counter(out, "rng.waits", id, s.waits);
	metric_counter(out, "rng.kicks", id, s.kicks);
	metric_counter(out, "rng.interrupts", id, s.interrupts);
}

static const struct virtio_kind rng_kind = {
	.option = &rng_option, .create = rng_create, .stats = rng_stats};
VIRTIO_KIND(rng_kind);
