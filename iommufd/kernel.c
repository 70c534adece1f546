// SPDX-License-Identifier: Apache-2.0
/*
 * The kernel transport: /dev/iommu and ioctl(2).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "iommufd/internal.h"
#include "iommufd/uapi.h"
#include "postern/bits.h"

struct iommufd_kernel {
	struct iommufd base;
	int fd;
};

static struct iommufd_kernel *to_kernel(const struct iommufd *ctx)
{
	return container_of(ctx, struct iommufd_kernel, base);
}

static int kernel_call(struct iommufd *ctx, unsigned nr, void *arg)
{
	/* iommufd's numbers carry neither size nor direction. */
	return ioctl(to_kernel(ctx)->fd, _IO(IOMMUFD_TYPE, nr), arg) < 0 ? -errno : 0;
}

static int kernel_fd(const struct iommufd *ctx)
{
	return to_kernel(ctx)->fd;
}

static int kernel_mmap(struct iommufd *ctx, uint64_t offset, size_t length, void **va)
{
	void *page = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, to_kernel(ctx)->fd,
			  (off_t)offset);

	if (page == MAP_FAILED)
		return -errno;
	*va = page;
	return 0;
}

static ssize_t kernel_eventq_read(struct iommufd *ctx, uint32_t id, int fd, void *buf, size_t len)
{
	ssize_t n = read(fd, buf, len);

	(void)ctx;
	(void)id;
	return n < 0 ? -errno : n;
}

static ssize_t kernel_fault_respond(struct iommufd *ctx, uint32_t id, int fd, const void *responses,
				    size_t len)
{
	ssize_t n = write(fd, responses, len);

	(void)ctx;
	(void)id;
	return n < 0 ? -errno : n;
}

static void kernel_close(struct iommufd *ctx)
{
	close(to_kernel(ctx)->fd);
	free(to_kernel(ctx));
}

static const struct iommufd_transport kernel_transport = {
	.call = kernel_call,
	.fd = kernel_fd,
	.mmap = kernel_mmap,
	.eventq_read = kernel_eventq_read,
	.fault_respond = kernel_fault_respond,
	.close = kernel_close,
};

int iommufd_open_kernel(struct iommufd **ctx, int fd, unsigned viommu_command_nr)
{
	struct iommufd_kernel *k;
	int rc;

	k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	k->base.transport = &kernel_transport;
	k->base.viommu_command_nr = viommu_command_nr;
	k->fd = fd >= 0 ? fd : open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (k->fd < 0) {
		rc = -errno;
		free(k);
		return rc;
	}
	*ctx = &k->base;
	return 0;
}
