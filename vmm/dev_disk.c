// SPDX-License-Identifier: Apache-2.0
/* --disk: image files to virtio block devices. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/virtio/virtio.h"
#include "vmm/machine.h"

enum { DISK_ORDER = 1 };

struct disk {
	struct virtio_blk *blk;
	struct dma_space *dma;
	bool translated;
};

struct disks {
	unsigned count;
	struct disk disk[MACHINE_DEVICES_MAX];
};

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

static int disk_create(struct machine *m, const struct disk_config *config, struct disk *disk)
{
	struct virtio_env env = {
		.loop = m->loop,
		.window = &m->window,
		.root = m->root,
		.iommu = config->iommu,
		.memory = &m->memory,
	};
	int slot, rc, fd = open_image(config);

	if (fd < 0)
		return fd;
	slot = pci_root_free_slot(m->root, MACHINE_SLOT_FIRST);
	if (slot < 0) {
		log_error("--disk path=%s: no free PCI slot", config->path);
		rc = slot;
		goto err_close;
	}
	env.devfn = PCI_DEVFN((unsigned)slot, 0);
	rc = machine_place(m, env.devfn, config->iommu, &disk->dma, &env.sink);
	if (rc)
		goto err_close;
	disk->translated = config->iommu;
	env.dma = disk->dma;
	rc = virtio_blk_new(&env,
			    &(struct virtio_blk_config){
				    .fd = fd, .readonly = config->readonly, .name = config->path},
			    &disk->blk);
	if (!rc)
		return 0;
	log_error("--disk path=%s: cannot be a disk: %s", config->path, strerror(-rc));
	machine_unplace(m, disk->dma, disk->translated);
err_close:
	close(fd);
	return rc;
}

static void disks_destroy(struct machine *m)
{
	struct disks *disks = m->private[DISK_ORDER];

	if (!disks)
		return;
	while (disks->count) {
		struct disk *disk = &disks->disk[--disks->count];

		virtio_blk_free(disk->blk);
		machine_unplace(m, disk->dma, disk->translated);
	}
	free(disks);
	m->private[DISK_ORDER] = NULL;
}

static int disks_create(struct machine *m)
{
	struct disks *disks = calloc(1, sizeof(*disks));

	if (!disks)
		return -ENOMEM;
	m->private[DISK_ORDER] = disks;
	for (unsigned i = 0; i < m->config->disks; i++) {
		int rc = disk_create(m, &m->config->disk[i], &disks->disk[i]);

		if (rc) {
			disks_destroy(m);
			return rc;
		}
		disks->count++;
	}
	return 0;
}

static void disk_drained(void *opaque)
{
	machine_drained(opaque);
}

static void disks_drain(struct machine *m)
{
	struct disks *disks = m->private[DISK_ORDER];

	/* The caller counted one for the class; each disk counts for itself. */
	atomic_fetch_add(&m->drains, disks->count);
	for (unsigned i = 0; i < disks->count; i++)
		virtio_blk_drain(disks->disk[i].blk, disk_drained, m);
	machine_drained(m);
}

static void disks_stats(struct machine *m, void (*line)(const char *name, uint64_t value))
{
	const struct disks *disks = m->private[DISK_ORDER];
	struct virtio_blk_stats sum = {0};

	for (unsigned i = 0; i < disks->count; i++) {
		struct virtio_blk_stats s;

		virtio_blk_stats(disks->disk[i].blk, &s);
		sum.reads += s.reads;
		sum.writes += s.writes;
		sum.flushes += s.flushes;
		sum.errors += s.errors;
		sum.bytes_read += s.bytes_read;
		sum.bytes_written += s.bytes_written;
	}
	line("disk.reads", sum.reads);
	line("disk.writes", sum.writes);
	line("disk.flushes", sum.flushes);
	line("disk.errors", sum.errors);
	line("disk.bytes_read", sum.bytes_read);
	line("disk.bytes_written", sum.bytes_written);
}

static const struct device_class disk_class = {
	.name = "disk",
	.order = DISK_ORDER,
	.create = disks_create,
	.destroy = disks_destroy,
	.drain = disks_drain,
	.stats = disks_stats,
};
DEVICE_CLASS(disk_class);
