// SPDX-License-Identifier: Apache-2.0
/* A VFIO device in process: its life, regions and configuration space. */
#include <endian.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/test/soft_vfio_internal.h"
#include "devices/vfio/uapi.h"
#include "postern/bits.h"

#define REGION_SHIFT 40 /* of a region's index in offsets, as vfio-pci has it */
#define REGION_MASK  GENMASK(REGION_SHIFT - 1, 0)

static struct soft_vfio *soft_of(const struct vfio_io *io)
{
	return io->device;
}

/* ---- the hardware ---- */

static void *run_hardware(void *opaque)
{
	struct soft_vfio *v = opaque;

	pthread_mutex_lock(&v->wake_lock);
	while (!v->ending) {
		if (!v->kicked) {
			pthread_cond_wait(&v->wake, &v->wake_lock);
			continue;
		}
		v->kicked = false;
		pthread_mutex_unlock(&v->wake_lock);
		pthread_mutex_lock(&v->run_lock);
		dma_test_run(v->test);
		pthread_mutex_unlock(&v->run_lock);
		pthread_mutex_lock(&v->wake_lock);
	}
	pthread_mutex_unlock(&v->wake_lock);
	return NULL;
}

static void kick(void *opaque)
{
	struct soft_vfio *v = opaque;

	pthread_mutex_lock(&v->wake_lock);
	v->kicked = true;
	pthread_cond_signal(&v->wake);
	pthread_mutex_unlock(&v->wake_lock);
}

/* No transfer is under way when it returns. MSI-X stays: vfio-pci restores what it has set up. */
static void function_reset(struct soft_vfio *v)
{
	pthread_mutex_lock(&v->run_lock);
	pthread_mutex_lock(&v->fn->lock);
	v->fn->ops->config_write(v->fn, PCI_COMMAND, 2, 0);
	pthread_mutex_unlock(&v->fn->lock);
	v->fn->ops->reset(v->fn);
	pthread_mutex_lock(&v->fn->msix.lock);
	v->fn->msix.pending[0] = 0;
	pthread_mutex_unlock(&v->fn->msix.lock);
	pthread_mutex_unlock(&v->run_lock);
}

/* ---- configuration space ---- */

static uint32_t config_read(struct soft_vfio *v, unsigned offset, unsigned width)
{
	uint32_t value;

	pthread_mutex_lock(&v->fn->lock);
	value = v->fn->ops->config_read(v->fn, offset, width);
	pthread_mutex_unlock(&v->fn->lock);
	return value;
}

static bool touches(unsigned offset, unsigned width, unsigned at, unsigned size)
{
	return offset < at + size && at < offset + width;
}

/* Addresses and MSI-X are the host's: what is written of them stays without effect. */
static void config_write(struct soft_vfio *v, unsigned offset, unsigned width, uint32_t value)
{
	const unsigned control = v->express + PCI_EXP_DEVCTL + 1;

	if (touches(offset, width, PCI_BASE_ADDRESS_0, 4 * PCI_BARS) ||
	    touches(offset, width, v->fn->msix.capability, PCI_CAP_MSIX_SIZEOF))
		return;
	pthread_mutex_lock(&v->fn->lock);
	v->fn->ops->config_write(v->fn, offset, width, value);
	pthread_mutex_unlock(&v->fn->lock);
	if (touches(offset, width, control, 1) &&
	    value >> 8 * (control - offset) & PCI_EXP_DEVCTL_BCR_FLR >> 8)
		function_reset(v);
}

/* ---- regions ---- */

static bool memory_enabled(struct soft_vfio *v)
{
	return config_read(v, PCI_COMMAND, 2) & PCI_COMMAND_MEMORY;
}

static uint64_t bar_read(struct soft_vfio *v, uint64_t offset, unsigned width)
{
	if (pci_msix_covers(v->fn, 0, offset))
		return width_mask(width);
	return v->fn->ops->bar_read(v->fn, 0, offset, width);
}

static void bar_write(struct soft_vfio *v, uint64_t offset, unsigned width, uint64_t value)
{
	if (!pci_msix_covers(v->fn, 0, offset))
		v->fn->ops->bar_write(v->fn, 0, offset, width, value);
}

/* As large a register as fits at OFFSET. */
static unsigned step_width(uint64_t offset, size_t left, unsigned most)
{
	unsigned width = most;

	while (width > left || offset % width)
		width /= 2;
	return width;
}

/* -errno, or the width of the largest access to the region, whose offset *AT becomes. */
static int region_of(struct soft_vfio *v, uint64_t offset, size_t len, uint64_t *at, bool *config)
{
	const uint64_t index = offset >> REGION_SHIFT;

	*at = offset & REGION_MASK;
	*config = index == VFIO_PCI_CONFIG_REGION_INDEX;
	if (*config)
		return range_fits(*at, len, PCI_CONFIG_SIZE) ? 4 : -EINVAL;
	if (index || !range_fits(*at, len, DMA_TEST_BAR_SIZE))
		return -EINVAL;
	return memory_enabled(v) ? 8 : -EIO;
}

static ssize_t soft_pread(struct vfio_io *io, void *buf, size_t len, uint64_t offset)
{
	struct soft_vfio *v = soft_of(io);
	uint64_t at;
	bool config;
	int most = region_of(v, offset, len, &at, &config);

	if (most < 0)
		return most;
	for (size_t done = 0; done < len;) {
		unsigned width = step_width(at + done, len - done, (unsigned)most);
		uint64_t value = htole64(config ? config_read(v, (unsigned)(at + done), width)
						: bar_read(v, at + done, width));

		memcpy((uint8_t *)buf + done, &value, width);
		done += width;
	}
	return (ssize_t)len;
}

static ssize_t soft_pwrite(struct vfio_io *io, const void *buf, size_t len, uint64_t offset)
{
	struct soft_vfio *v = soft_of(io);
	uint64_t at;
	bool config;
	int most = region_of(v, offset, len, &at, &config);

	if (most < 0)
		return most;
	for (size_t done = 0; done < len;) {
		unsigned width = step_width(at + done, len - done, (unsigned)most);
		uint64_t value = 0;

		memcpy(&value, (const uint8_t *)buf + done, width);
		if (config)
			config_write(v, (unsigned)(at + done), width, (uint32_t)le64toh(value));
		else
			bar_write(v, at + done, width, le64toh(value));
		done += width;
	}
	return (ssize_t)len;
}

static int soft_mmap(struct vfio_io *io, uint64_t offset, size_t len, void **va)
{
	void *host;

	if (offset != DMA_TEST_BUFFER || len != DMA_TEST_BUFFER_SIZE)
		return -EINVAL;
	host = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, soft_of(io)->buffer_fd, 0);
	if (host == MAP_FAILED)
		return -errno;
	*va = host;
	return 0;
}

/* ---- calls ---- */

static int get_info(void *arg)
{
	struct vfio_device_info info;
	const size_t min = offsetof(struct vfio_device_info, num_irqs) + sizeof(info.num_irqs);

	memcpy(&info, arg, min);
	if (info.argsz < min)
		return -EINVAL;
	info.flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
	info.num_regions = VFIO_PCI_NUM_REGIONS;
	info.num_irqs = VFIO_PCI_NUM_IRQS;
	memcpy(arg, &info, min);
	return 0;
}

/*
 * What can be mapped of the BAR: the buffer alone. The capability is one of
 * struct vfio_region_info_cap_sparse_mmap, whose areas have no length of their own.
 */
struct sparse_bar {
	struct vfio_region_info info;
	struct vfio_info_cap_header header;
	uint32_t nr_areas, reserved;
	struct vfio_region_sparse_mmap_area area;
};

_Static_assert(offsetof(struct sparse_bar, area) - offsetof(struct sparse_bar, header) ==
		       offsetof(struct vfio_region_info_cap_sparse_mmap, areas),
	       "VFIO_REGION_INFO_CAP_SPARSE_MMAP");

static int get_region_info(void *arg)
{
	struct sparse_bar reply = {
		.header = {.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1},
		.nr_areas = 1,
		.area = {.offset = DMA_TEST_BUFFER, .size = DMA_TEST_BUFFER_SIZE},
	};
	struct vfio_region_info *info = &reply.info;
	size_t size = sizeof(*info);

	memcpy(info, arg, sizeof(*info));
	if (info->argsz < sizeof(*info) || info->index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;
	info->offset = (uint64_t)info->index << REGION_SHIFT;
	info->size = info->flags = info->cap_offset = 0;
	if (info->index == VFIO_PCI_CONFIG_REGION_INDEX || !info->index) {
		info->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
		info->size = info->index ? PCI_CONFIG_SIZE : DMA_TEST_BAR_SIZE;
	}
	if (!info->index) {
		info->flags |= VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS;
		if (info->argsz >= sizeof(reply)) {
			info->cap_offset = offsetof(struct sparse_bar, header);
			size = sizeof(reply);
		} else {
			info->argsz = sizeof(reply);
		}
	}
	memcpy(arg, &reply, size);
	return 0;
}

static int bind_iommufd(struct soft_vfio *v, struct vfio_uapi_bind *bind)
{
	if (bind->argsz < sizeof(*bind) || bind->flags || v->bound)
		return -EINVAL;
	/* The context that it knows has no descriptor. */
	if (bind->iommufd != iommufd_fd(v->ctx))
		return -EBADF;
	v->bound = true;
	bind->out_devid = v->dev_id;
	return 0;
}

static int attach(struct soft_vfio *v, const struct vfio_uapi_attach *attach)
{
	if (attach->argsz < sizeof(*attach) || attach->flags || !v->bound)
		return -EINVAL;
	return iommufd_soft_device_attach(v->ctx, v->dev_id, attach->pt_id);
}

static int detach(struct soft_vfio *v, const struct vfio_uapi_detach *detach)
{
	if (detach->argsz < sizeof(*detach) || detach->flags || !v->bound)
		return -EINVAL;
	return iommufd_soft_device_detach(v->ctx, v->dev_id);
}

static int soft_ioctl(struct vfio_io *io, unsigned long request, void *arg)
{
	struct soft_vfio *v = soft_of(io);

	if (request == VFIO_UAPI_BIND)
		return bind_iommufd(v, arg);
	if (!v->bound) /* the kernel gives nothing of a device before */
		return -EINVAL;
	switch (request) {
	case VFIO_UAPI_ATTACH:
		return attach(v, arg);
	case VFIO_UAPI_DETACH:
		return detach(v, arg);
	case VFIO_DEVICE_GET_INFO:
		return get_info(arg);
	case VFIO_DEVICE_GET_REGION_INFO:
		return get_region_info(arg);
	case VFIO_DEVICE_GET_IRQ_INFO:
		return soft_vfio_irq_info(arg);
	case VFIO_DEVICE_SET_IRQS:
		return soft_vfio_set_irqs(v, arg);
	case VFIO_DEVICE_RESET:
		function_reset(v);
		return 0;
	default:
		return -ENOTTY;
	}
}

/* ---- life ---- */

/* PCI Express 7.5.1.1.11 */
static unsigned find_capability(const struct pci_function *fn, uint8_t id)
{
	unsigned at = fn->config[PCI_CAPABILITY_LIST];

	while (at && fn->config[at] != id)
		at = fn->config[at + 1];
	return at;
}

static void soft_free(struct soft_vfio *v)
{
	if (v->running) {
		pthread_mutex_lock(&v->wake_lock);
		v->ending = true;
		pthread_cond_signal(&v->wake);
		pthread_mutex_unlock(&v->wake_lock);
		pthread_join(v->thread, NULL);
	}
	dma_test_free(v->test);
	if (v->dev_id)
		iommufd_soft_device_remove(v->ctx, v->dev_id);
	soft_vfio_irqs_fini(v);
	if (v->buffer)
		munmap(v->buffer, DMA_TEST_BUFFER_SIZE);
	if (v->buffer_fd >= 0)
		close(v->buffer_fd);
	pthread_mutex_destroy(&v->wake_lock);
	pthread_mutex_destroy(&v->run_lock);
	pthread_cond_destroy(&v->wake);
	free(v);
}

static void soft_close(struct vfio_io *io)
{
	soft_free(soft_of(io));
}

static const struct vfio_io_ops soft_ops = {
	.ioctl = soft_ioctl,
	.pread = soft_pread,
	.pwrite = soft_pwrite,
	.mmap = soft_mmap,
	.close = soft_close,
};

static int make_buffer(struct soft_vfio *v)
{
	void *host;

	v->buffer_fd = memfd_create("soft-vfio", MFD_CLOEXEC);
	if (v->buffer_fd < 0 || ftruncate(v->buffer_fd, DMA_TEST_BUFFER_SIZE))
		return -errno;
	host = mmap(NULL, DMA_TEST_BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, v->buffer_fd,
		    0);
	if (host == MAP_FAILED)
		return -errno;
	v->buffer = host;
	return 0;
}

static int make_device(struct soft_vfio *v)
{
	struct dma_test_env env = {
		.sink = &v->sink,
		.vectors = SOFT_VFIO_VECTORS,
		.buffer = v->buffer,
		.kick = kick,
		.tell = soft_vfio_tell,
		.opaque = v,
	};
	int rc = iommufd_soft_device_add(v->ctx, &v->dev_id);

	if (!rc)
		rc = iommufd_soft_device_dma(v->ctx, v->dev_id, &env.dma);
	if (!rc)
		rc = dma_test_new(&env, &v->test);
	if (rc)
		return rc;
	v->fn = dma_test_function(v->test);
	v->express = find_capability(v->fn, PCI_CAP_ID_EXP);
	pci_set32(v->fn, v->express + PCI_EXP_DEVCAP,
		  pci_get32(v->fn, v->express + PCI_EXP_DEVCAP) | PCI_EXP_DEVCAP_FLR);
	return 0;
}

int soft_vfio_new(struct iommufd *ctx, struct vfio_io *io)
{
	struct soft_vfio *v = calloc(1, sizeof(*v));
	int rc;

	if (!v)
		return -ENOMEM;
	v->ctx = ctx;
	v->buffer_fd = -1;
	pthread_mutex_init(&v->wake_lock, NULL);
	pthread_mutex_init(&v->run_lock, NULL);
	pthread_cond_init(&v->wake, NULL);
	soft_vfio_irqs_init(v);
	rc = make_buffer(v);
	if (!rc)
		rc = make_device(v);
	if (!rc)
		rc = -pthread_create(&v->thread, NULL, run_hardware, v);
	if (rc) {
		soft_free(v);
		return rc;
	}
	v->running = true;
	*io = (struct vfio_io){.ops = &soft_ops, .fd = -1, .device = v};
	return 0;
}
