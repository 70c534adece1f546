// SPDX-License-Identifier: Apache-2.0
/* --disk: image files to virtio block devices. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "vmm/machine.h"
#include "vmm/metrics.h"
#include "vmm/options.h"
#include "vmm/virtio_device.h"

static int open_image(const char *path, bool readonly)
{
	struct flock lock = {.l_type = readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
	/* O_NONBLOCK: a FIFO named by mistake is refused later rather than waited for. */
	int fd = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0) {
		int rc = -errno;

		log_error("--disk path=%s: cannot open it: %s%s", path, strerror(-rc),
			  rc == -EACCES || rc == -EROFS ? "; readonly=on opens it for reading only"
							: "");
		return rc;
	}
	/* Not for the disk itself: io_uring would fail what it cannot do at once. */
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	/* Two machines that write one image destroy its file system. */
	if (fcntl(fd, F_OFD_SETLK, &lock) && (errno == EAGAIN || errno == EACCES)) {
		log_error("--disk path=%s: another process uses this image; stop it, or share the "
			  "image with readonly=on on both sides",
			  path);
		close(fd);
		return -EBUSY;
	}
	return fd;
}

static int disk_create(const struct virtio_env *env, const struct device_config *config,
		       struct virtio_pci **device)
{
	struct virtio_blk_config disk = {
		.readonly = container_of(config, const struct disk_config, dev)->readonly,
		.name = config->source,
	};
	int rc;

	disk.fd = open_image(config->source, disk.readonly);
	if (disk.fd < 0)
		return disk.fd;
	rc = virtio_blk_new(env, &disk, device);
	if (rc) {
		log_error("--disk path=%s: cannot be a disk: %s", config->source, strerror(-rc));
		close(disk.fd);
	}
	return rc;
}

static void disk_stats(const struct virtio_pci *device, const char *id, struct metrics *out)
{
	struct virtio_blk_stats s;

	virtio_blk_stats(device, &s);
	metric_counter(out, "disk.reads", id, s.reads);
	metric_counter(out, "disk.writes", id, s.writes);
	metric_counter(out, "disk.flushes", id, s.flushes);
	metric_counter(out, "disk.discards", id, s.discards);
	metric_counter(out, "disk.errors", id, s.errors);
	metric_counter(out, "disk.bytes_read", id, s.bytes_read);
	metric_counter(out, "disk.bytes_written", id, s.bytes_written);
	metric_counter(out, "disk.kicks", id, s.kicks);
	metric_counter(out, "disk.interrupts", id, s.interrupts);
}

static const struct virtio_kind disk_kind = {
	.option = &disk_option, .create = disk_create, .stats = disk_stats};
VIRTIO_KIND(disk_kind);
