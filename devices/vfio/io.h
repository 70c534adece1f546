/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an open VFIO device answers to. The system's device nodes do; so may a device that lives in
 * this process (devices/test/soft_vfio.h).
 */
#ifndef POSTERN_VFIO_IO_H
#define POSTERN_VFIO_IO_H

#include <stdint.h>
#include <sys/types.h>

struct vfio_io;

/* Each returns what the system call does, or -errno. */
struct vfio_io_ops {
	int (*ioctl)(struct vfio_io *io, unsigned long request, void *arg);
	ssize_t (*pread)(struct vfio_io *io, void *buf, size_t len, uint64_t offset);
	ssize_t (*pwrite)(struct vfio_io *io, const void *buf, size_t len, uint64_t offset);
	/* Shared, to be read and written; munmap(2) ends it. */
	int (*mmap)(struct vfio_io *io, uint64_t offset, size_t len, void **va);
	/* The device is unbound, and gone. */
	void (*close)(struct vfio_io *io);
};

struct vfio_io {
	const struct vfio_io_ops *ops;
	int fd;	      /* of a device node, or -1 */
	void *device; /* OPS's own */
};

extern const struct vfio_io_ops vfio_io_system;

#endif
