// SPDX-License-Identifier: Apache-2.0
/* --disk: image files to virtio block devices. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/virtio/virtio.h"
#include "vmm/machine.h"
#include "vmm/metrics.h"
#include "vmm/options.h"

enum { DISK_ORDER = 1 };

struct disk {
	struct machine_device dev;
	struct disk *next; /* created before */
	struct virtio_blk *blk;
	struct dma_space *dma;
	char *path;
	struct machine *machine;
	struct event_work gone; /* behind whatever work the device had posted */
	bool draining;		/* a drain of the machine waits for what is in flight */
	bool counted;		/* or until the disk is gone */
};

static const struct device_class disk_class;

static int open_image(const struct disk_config *config)
{
	struct flock lock = {.l_type = config->readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
	/* O_NONBLOCK: a FIFO named by mistake is refused later rather than waited for. */
	int fd = open(config->path,
		      (config->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0) {
		int rc = -errno;

		log_error("--disk path=%s: cannot open it: %s%s", config->path, strerror(-rc),
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
			  config->path);
		close(fd);
		return -EBUSY;
	}
	return fd;
}

static void disk_free(struct machine *m, struct disk *disk)
{
	if (disk->blk) {
		machine_device_withdraw(m, &disk->dev);
		virtio_blk_free(disk->blk);
	}
	if (disk->dma)
		machine_unplace(m, disk->dma, disk->dev.iommu);
	free(disk->path);
	free(disk);
}

static void disk_gone(struct event_work *work)
{
	struct disk *disk = container_of(work, struct disk, gone);
	struct disk **at = (struct disk **)&disk->machine->private[DISK_ORDER];
	struct machine *m = disk->machine;
	bool counted = disk->counted;

	while (*at != disk)
		at = &(*at)->next;
	*at = disk->next;
	machine_device_gone(m, &disk->dev);
	disk_free(m, disk);
	if (counted)
		machine_drained(m);
}

static void disk_left(void *opaque)
{
	struct disk *disk = opaque;

	event_loop_post(disk->machine->loop, &disk->gone);
}

static void disk_release(struct machine *m, struct machine_device *dev)
{
	struct disk *disk = container_of(dev, struct disk, dev);

	machine_pause_vcpus(m);
	virtio_blk_unplug(disk->blk);
	machine_resume_vcpus(m);
	/* Takes the place of the drain of a pause that is under way. */
	disk->counted = disk->draining;
	virtio_blk_drain(disk->blk, disk_left, disk);
}

static int disk_create(struct machine *m, const struct disk_config *config,
		       struct machine_device **dev)
{
	struct virtio_env env = {
		.loop = m->loop,
		.window = &m->window,
		.root = m->segment[config->segment].root,
		.iommu = config->iommu,
		.memory = &m->memory,
	};
	struct disk *disk = calloc(1, sizeof(*disk));
	int rc, fd = -1;

	if (!disk)
		return -ENOMEM;
	disk->machine = m;
	disk->gone.run = disk_gone;
	disk->path = strdup(config->path);
	rc = disk->path ? machine_device_init(m, &disk->dev, &disk_class, config->id,
					      config->segment, config->iommu)
			: -ENOMEM;
	if (!rc) {
		fd = open_image(config);
		rc = fd < 0 ? fd : 0;
	}
	if (rc)
		goto fail;
	disk->dev.what = disk->path;
	env.devfn = disk->dev.devfn;
	rc = machine_place(m, config->segment, env.devfn, config->iommu, &disk->dma, &env.sink);
	if (rc)
		goto close;
	env.dma = disk->dma;
	rc = virtio_blk_new(&env,
			    &(struct virtio_blk_config){
				    .fd = fd, .readonly = config->readonly, .name = config->path},
			    &disk->blk);
	if (rc) {
		log_error("--disk path=%s: cannot be a disk: %s", config->path, strerror(-rc));
		goto close;
	}
	disk->next = m->private[DISK_ORDER];
	m->private[DISK_ORDER] = disk;
	machine_device_publish(m, &disk->dev);
	if (dev)
		*dev = &disk->dev;
	return 0;
close:
	close(fd);
fail:
	disk_free(m, disk);
	return rc;
}

static void disks_destroy(struct machine *m)
{
	struct disk *disk, *next;

	for (disk = m->private[DISK_ORDER]; disk; disk = next) {
		next = disk->next;
		disk_free(m, disk);
	}
	m->private[DISK_ORDER] = NULL;
}

static int disks_create(struct machine *m)
{
	for (unsigned i = 0; i < m->config->disks; i++) {
		int rc = disk_create(m, &m->config->disk[i], NULL);

		if (rc) {
			disks_destroy(m);
			return rc;
		}
	}
	return 0;
}

static int disk_add(struct machine *m, const char *options, struct machine_device **dev)
{
	struct disk_config config;
	int rc = config_parse_disk(&config, options);

	if (!rc)
		rc = config_check_place(m->config, "disk", options, config.segment, config.iommu);
	if (!rc)
		rc = disk_create(m, &config, dev);
	free(config.path);
	free(config.id);
	return rc;
}

static void disk_drained(void *opaque)
{
	struct disk *disk = opaque;

	disk->draining = false;
	machine_drained(disk->machine);
}

static void disks_drain(struct machine *m)
{
	/* The caller counted one for the class; each disk counts for itself. */
	for (struct disk *disk = m->private[DISK_ORDER]; disk; disk = disk->next) {
		atomic_fetch_add(&m->drains, 1);
		if (disk->dev.leaving) {
			disk->counted = true;
		} else {
			disk->draining = true;
			virtio_blk_drain(disk->blk, disk_drained, disk);
		}
	}
	machine_drained(m);
}

static void disks_resume(struct machine *m)
{
	for (struct disk *disk = m->private[DISK_ORDER]; disk; disk = disk->next)
		if (!disk->dev.leaving)
			virtio_blk_resume(disk->blk);
}

static void disks_stats(struct machine *m, struct metrics *out)
{
	for (struct machine_device *dev = m->devices; dev; dev = dev->next) {
		const struct disk *disk = container_of(dev, struct disk, dev);
		struct virtio_blk_stats s;

		if (dev->class != &disk_class)
			continue;
		virtio_blk_stats(disk->blk, &s);
		metric_counter(out, "disk.reads", dev->id, s.reads);
		metric_counter(out, "disk.writes", dev->id, s.writes);
		metric_counter(out, "disk.flushes", dev->id, s.flushes);
		metric_counter(out, "disk.discards", dev->id, s.discards);
		metric_counter(out, "disk.errors", dev->id, s.errors);
		metric_counter(out, "disk.bytes_read", dev->id, s.bytes_read);
		metric_counter(out, "disk.bytes_written", dev->id, s.bytes_written);
		metric_counter(out, "disk.kicks", dev->id, s.kicks);
		metric_counter(out, "disk.interrupts", dev->id, s.interrupts);
	}
}

static const struct device_class disk_class = {
	.name = "disk",
	.order = DISK_ORDER,
	.create = disks_create,
	.destroy = disks_destroy,
	.drain = disks_drain,
	.resume = disks_resume,
	.add = disk_add,
	.release = disk_release,
	.stats = disks_stats,
};
DEVICE_CLASS(disk_class);
