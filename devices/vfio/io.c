// SPDX-License-Identifier: Apache-2.0
/* The device node, and single registers through it. */
#include <endian.h>
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/vfio/internal.h"

static int system_ioctl(struct vfio_io *io, unsigned long request, void *arg)
{
	int ret = ioctl(io->fd, request, arg);

	return ret < 0 ? -errno : ret;
}

static ssize_t system_pread(struct vfio_io *io, void *buf, size_t len, uint64_t offset)
{
	ssize_t ret = pread(io->fd, buf, len, (off_t)offset);

	return ret < 0 ? -errno : ret;
}

static ssize_t system_pwrite(struct vfio_io *io, const void *buf, size_t len, uint64_t offset)
{
	ssize_t ret = pwrite(io->fd, buf, len, (off_t)offset);

	return ret < 0 ? -errno : ret;
}

static int system_mmap(struct vfio_io *io, uint64_t offset, size_t len, void **va)
{
	void *host = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, io->fd, (off_t)offset);

	if (host == MAP_FAILED)
		return -errno;
	*va = host;
	return 0;
}

static void system_close(struct vfio_io *io)
{
	if (io->fd >= 0)
		close(io->fd);
}

const struct vfio_io_ops vfio_io_system = {
	.ioctl = system_ioctl,
	.pread = system_pread,
	.pwrite = system_pwrite,
	.mmap = system_mmap,
	.close = system_close,
};

uint64_t vfio_io_read(struct vfio_io *io, uint64_t offset, unsigned width)
{
	uint64_t value = 0;

	if (io->ops->pread(io, &value, width, offset) != (ssize_t)width)
		return width_mask(width);
	return le64toh(value);
}

void vfio_io_write(struct vfio_io *io, uint64_t offset, unsigned width, uint64_t value)
{
	value = htole64(value);
	/* Refused (memory disabled, device asleep): dropped, as the device would. */
	if (io->ops->pwrite(io, &value, width, offset) != (ssize_t)width)
		return;
}
