// SPDX-License-Identifier: Apache-2.0
/*
 * The virtio block device (virtio 1.2, 5.2): one queue, data straight between the file and guest
 * memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/virtio/virtio_pci.h"
#include "postern/bits.h"
#include "postern/log.h"

/* Feature bits (5.2.3). */
#define VIRTIO_BLK_F_SIZE_MAX	  1
#define VIRTIO_BLK_F_SEG_MAX	  2
#define VIRTIO_BLK_F_RO		  5
#define VIRTIO_BLK_F_BLK_SIZE	  6
#define VIRTIO_BLK_F_FLUSH	  9
#define VIRTIO_BLK_F_DISCARD	  13
#define VIRTIO_BLK_F_WRITE_ZEROES 14

/* Request types and status (5.2.6). */
enum {
	BLK_T_IN = 0,
	BLK_T_OUT = 1,
	BLK_T_FLUSH = 4,
	BLK_T_GET_ID = 8,
	BLK_T_DISCARD = 11,
	BLK_T_WRITE_ZEROES = 13,
};
enum { BLK_S_OK = 0, BLK_S_IOERR = 1, BLK_S_UNSUPP = 2 };

#define BLK_ID_BYTES 20u
#define SECTOR	     512u

/*
 * Segments of a request's data. Untranslated, a descriptor is one segment of host memory, and every
 * chain that the queue can hold fits. Translated, it may be one for each page that it touches: the
 * size of a descriptor's buffer is then limited to what touches at most SEG_PAGES.
 */
#define SEG_MAX	       (VIRTQUEUE_SIZE_MAX - 2)
#define IOV_MAX_PLAIN  VIRTQUEUE_SIZE_MAX
#define SEG_MAX_IOMMU  126u
#define SEG_PAGES      8u
#define SIZE_MAX_IOMMU ((SEG_PAGES - 1) * GUEST_PAGE_SIZE)
#define IOV_MAX_IOMMU  1024u

_Static_assert(SEG_MAX_IOMMU *SEG_PAGES + 2 <= IOV_MAX_IOMMU, "a legal request always fits");
_Static_assert(IOV_MAX_IOMMU <= IOV_MAX, "preadv() takes no more");

/* Device configuration (5.2.4), as far as the features offered give it a meaning. */
struct blk_config_space {
	uint64_t capacity;
	uint32_t size_max;
	uint32_t seg_max;
	uint32_t geometry;
	uint32_t blk_size;
	uint64_t topology;
	uint8_t writeback, unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors;
	uint32_t max_discard_seg;
	uint32_t discard_sector_alignment;
	uint32_t max_write_zeroes_sectors;
	uint32_t max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap;
	uint8_t unused1[7];
};
_Static_assert(offsetof(struct blk_config_space, seg_max) == 12, "virtio 1.2, 5.2.4");
_Static_assert(offsetof(struct blk_config_space, blk_size) == 20, "virtio 1.2, 5.2.4");
_Static_assert(offsetof(struct blk_config_space, max_discard_sectors) == 36, "virtio 1.2, 5.2.4");
_Static_assert(offsetof(struct blk_config_space, write_zeroes_may_unmap) == 56, "5.2.4");
#define BLK_CONFIG_SIZE 60u

struct blk_header {
	uint32_t type;
	uint32_t reserved;
	uint64_t sector;
};
_Static_assert(sizeof(struct blk_header) == 16, "virtio 1.2, 5.2.6");

/* What a DISCARD or WRITE_ZEROES is about; one a request. */
struct blk_extent {
	uint64_t sector;
	uint32_t sectors;
	uint32_t flags;
};
_Static_assert(sizeof(struct blk_extent) == 16, "virtio 1.2, 5.2.6");
#define BLK_EXTENT_UNMAP   1u
#define BLK_EXTENT_SECTORS (1u << 22)

struct blk_request {
	struct event_io io;
	struct virtio_blk *blk;
	struct blk_request *next; /* in blk->free */
	struct virtqueue_chain chain;
	uint32_t type;
	uint8_t *status;
	uint64_t data_len; /* bytes of data in all, */
	uint64_t left;	   /* and still to be moved */
	struct iovec *data;
	unsigned data_count;
	struct iovec iov[]; /* chain.iov_max */
};

struct virtio_blk {
	struct virtio_pci vp;
	int fd;
	bool readonly;
	bool error_said;
	char name[64];
	struct blk_config_space space;
	unsigned iov_max;
	struct blk_request *free;
	struct {
		_Atomic uint64_t reads, writes, flushes, discards, errors, bytes_read,
			bytes_written;
	} stats;
};

static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* ---- requests: at most as many as the queue has descriptors, kept for the next ---- */

static struct blk_request *request_get(struct virtio_blk *blk)
{
	struct blk_request *req = blk->free;

	if (req) {
		blk->free = req->next;
		return req;
	}
	req = malloc(sizeof(*req) + blk->iov_max * sizeof(req->iov[0]));
	if (!req)
		return NULL;
	req->blk = blk;
	req->chain.iov = req->iov;
	req->chain.iov_max = blk->iov_max;
	return req;
}

static void request_put(struct blk_request *req)
{
	dma_hold_end(&req->chain.hold);
	req->next = req->blk->free;
	req->blk->free = req;
}

/*
 * How many bytes were written from the start of what the device may write (2.7.8.2): the status
 * counts only where all that comes before it was written as well.
 */
static uint32_t bytes_written(const struct blk_request *req)
{
	uint64_t before = req->chain.writable_len - 1, written = 0;

	if (req->type == BLK_T_IN || req->type == BLK_T_GET_ID)
		written = req->data_len - req->left;
	return (uint32_t)(written == before ? before + 1 : written);
}

static void request_finish(struct blk_request *req, uint8_t status)
{
	struct virtio_blk *blk = req->blk;
	uint16_t head = req->chain.head;
	uint32_t written = bytes_written(req);

	if (status != BLK_S_OK)
		add(&blk->stats.errors, 1);
	if (virtio_pci_live(&blk->vp)) {
		__atomic_store_n(req->status, status, __ATOMIC_RELEASE);
		/* First: as soon as the guest sees the chain, it may unmap the buffers. */
		dma_hold_end(&req->chain.hold);
		virtio_pci_push(&blk->vp, 0, head, written);
	}
	request_put(req);
	virtio_pci_put(&blk->vp);
}

/* The guest sees every error; whoever runs the machine is told of the first. */
static void say_error(struct blk_request *req, int error)
{
	static const char *const what[] = {"reading", "writing", "syncing", "syncing",
					   "freeing space in"};
	struct virtio_blk *blk = req->blk;

	if (blk->error_said)
		return;
	blk->error_said = true;
	log_error("%s: %s the disk's file failed at byte %llu: %s; the guest sees an I/O error "
		  "(check the file and its storage)",
		  blk->name, what[req->io.op], (unsigned long long)req->io.offset,
		  strerror(-error));
}

static void request_submit(struct blk_request *req)
{
	int ret = event_loop_submit(req->blk->vp.env.loop, &req->io);

	if (!ret)
		return;
	say_error(req, ret);
	request_finish(req, BLK_S_IOERR);
}

static void request_sync(struct blk_request *req)
{
	req->io.op = EVENT_IO_FDATASYNC;
	request_submit(req);
}

/* 5.2.6.2: a driver that cannot flush must find what it has written on stable storage. */
static void request_written(struct blk_request *req)
{
	if (virtio_pci_has(&req->blk->vp, VIRTIO_BLK_F_FLUSH))
		request_finish(req, BLK_S_OK);
	else
		request_sync(req);
}

static void request_done(struct event_io *io, int result)
{
	struct blk_request *req = container_of(io, struct blk_request, io);
	struct virtio_blk *blk = req->blk;

	/* A reset waits for this request, and wants no more of it. */
	if (!virtio_pci_live(&blk->vp)) {
		request_finish(req, BLK_S_IOERR);
		return;
	}
	if (result == -EINTR) {
		request_submit(req);
		return;
	}
	/* A file system that cannot free space; the guest writes zeros itself then. */
	if (io->op == EVENT_IO_FALLOCATE && result == -EOPNOTSUPP) {
		request_finish(req, BLK_S_UNSUPP);
		return;
	}
	if (result < 0)
		say_error(req, result);
	if (io->op == EVENT_IO_FALLOCATE && !result) {
		request_written(req);
		return;
	}
	if (io->op == EVENT_IO_FDATASYNC || io->op == EVENT_IO_FALLOCATE) {
		request_finish(req, result ? BLK_S_IOERR : BLK_S_OK);
		return;
	}
	/* 0: the file has become shorter than the disk. */
	if (result <= 0 || (uint64_t)result > req->left) {
		request_finish(req, BLK_S_IOERR);
		return;
	}
	req->left -= (uint64_t)result;
	if (req->left) {
		iov_drop_front(&req->data, &req->data_count, (uint64_t)result);
		io->iov = req->data;
		io->iov_count = req->data_count;
		io->offset += (uint64_t)result;
		request_submit(req);
		return;
	}
	if (req->type == BLK_T_IN) {
		add(&blk->stats.bytes_read, req->data_len);
		request_finish(req, BLK_S_OK);
		return;
	}
	add(&blk->stats.bytes_written, req->data_len);
	request_written(req);
}

static bool range_on_disk(const struct virtio_blk *blk, uint64_t sector, uint64_t len)
{
	return len % SECTOR == 0 && range_fits(sector, len / SECTOR, blk->space.capacity);
}

static void start_transfer(struct blk_request *req, uint64_t sector)
{
	struct virtio_blk *blk = req->blk;
	bool write = req->type == BLK_T_OUT;

	add(write ? &blk->stats.writes : &blk->stats.reads, 1);
	if ((write && blk->readonly) || !range_on_disk(blk, sector, req->data_len)) {
		request_finish(req, BLK_S_IOERR);
		return;
	}
	if (!req->data_len) {
		request_finish(req, BLK_S_OK);
		return;
	}
	req->io.op = write ? EVENT_IO_WRITEV : EVENT_IO_READV;
	req->io.iov = req->data;
	req->io.iov_count = req->data_count;
	req->io.offset = sector * SECTOR;
	request_submit(req);
}

static void start_extent(struct blk_request *req)
{
	const bool discard = req->type == BLK_T_DISCARD;
	struct virtio_blk *blk = req->blk;
	struct blk_extent extent;

	add(&blk->stats.discards, 1);
	if (!virtio_pci_has(&blk->vp, discard ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES)) {
		request_finish(req, BLK_S_UNSUPP);
		return;
	}
	if (req->data_len != sizeof(extent) ||
	    iov_read(req->data, req->data_count, &extent, sizeof(extent)) != sizeof(extent) ||
	    extent.sectors > BLK_EXTENT_SECTORS ||
	    !range_on_disk(blk, extent.sector, (uint64_t)extent.sectors * SECTOR)) {
		request_finish(req, BLK_S_IOERR);
		return;
	}
	/* 5.2.6.2: flags that are reserved; freeing is what a discard does anyway. */
	if (extent.flags & (discard ? UINT32_MAX : ~BLK_EXTENT_UNMAP)) {
		request_finish(req, BLK_S_UNSUPP);
		return;
	}
	if (!extent.sectors) {
		request_finish(req, BLK_S_OK);
		return;
	}
	req->io.op = EVENT_IO_FALLOCATE;
	req->io.mode = FALLOC_FL_KEEP_SIZE |
		       (discard || extent.flags ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
	req->io.offset = extent.sector * SECTOR;
	req->io.len = (uint64_t)extent.sectors * SECTOR;
	request_submit(req);
}

static void start_get_id(struct blk_request *req)
{
	char id[BLK_ID_BYTES] = {0};

	/* 5.2.6: padded with zeros, without one at the end where all 20 bytes are used. */
	memcpy(id, req->blk->name, strnlen(req->blk->name, sizeof(id)));
	req->left -= iov_write(req->data, req->data_count, id, sizeof(id));
	request_finish(req, BLK_S_OK);
}

static void request_start(struct blk_request *req, const struct blk_header *header)
{
	struct virtqueue_chain *chain = &req->chain;
	struct iovec *writable = &req->iov[chain->readable], *last;
	unsigned count = chain->writable;

	last = &writable[count - 1];
	req->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	iov_drop_back(writable, &count, 1);
	req->type = header->type;
	if (req->type == BLK_T_OUT || req->type == BLK_T_DISCARD ||
	    req->type == BLK_T_WRITE_ZEROES) {
		req->data = req->iov;
		req->data_count = chain->readable;
		req->data_len = chain->readable_len - sizeof(*header);
		iov_drop_front(&req->data, &req->data_count, sizeof(*header));
	} else {
		req->data = writable;
		req->data_count = count;
		req->data_len = chain->writable_len - 1;
	}
	req->left = req->data_len;
	memset(&req->io, 0, sizeof(req->io));
	req->io.fd = req->blk->fd;
	req->io.done = request_done;
	switch (req->type) {
	case BLK_T_IN:
	case BLK_T_OUT:
		start_transfer(req, header->sector);
		break;
	case BLK_T_FLUSH:
		add(&req->blk->stats.flushes, 1);
		request_sync(req);
		break;
	case BLK_T_GET_ID:
		start_get_id(req);
		break;
	case BLK_T_DISCARD:
	case BLK_T_WRITE_ZEROES:
		start_extent(req);
		break;
	default:
		request_finish(req, BLK_S_UNSUPP);
	}
}

static int blk_take(struct virtio_pci *vp, unsigned q)
{
	struct virtio_blk *blk = container_of(vp, struct virtio_blk, vp);
	struct blk_request *req = request_get(blk);
	struct blk_header header;
	int ret;

	if (!req)
		return -ENOMEM;
	ret = virtqueue_pop(&vp->queue[q].vq, &req->chain);
	if (ret <= 0) {
		request_put(req);
		return ret;
	}
	/* 5.2.6, 2.7.4.3: any layout will do that has a header to read and a status to write. */
	if (iov_read(req->iov, req->chain.readable, &header, sizeof(header)) != sizeof(header) ||
	    !req->chain.writable) {
		request_put(req);
		return -EPROTO;
	}
	virtio_pci_get(vp);
	request_start(req, &header);
	return 1;
}

static void blk_free(struct virtio_pci *vp)
{
	struct virtio_blk *blk = container_of(vp, struct virtio_blk, vp);

	virtio_pci_fini(vp);
	while (blk->free) {
		struct blk_request *req = blk->free;

		blk->free = req->next;
		free(req);
	}
	close(blk->fd);
	free(blk);
}

static const struct virtio_pci_ops blk_ops = {.take = blk_take, .free = blk_free};

/* ---- life ---- */

static int disk_size(int fd, uint64_t *size)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (S_ISBLK(st.st_mode))
		return ioctl(fd, BLKGETSIZE64, size) ? -errno : 0;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	*size = (uint64_t)st.st_size;
	return 0;
}

/* Whether space in the file can be given back: tried where there is none, beyond its end. */
static bool can_free_space(int fd, uint64_t size)
{
	struct stat st;

	return (!fstat(fd, &st) && S_ISBLK(st.st_mode)) ||
	       !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  (off_t)align_up(size, GUEST_PAGE_SIZE), GUEST_PAGE_SIZE);
}

int virtio_blk_new(const struct virtio_env *env, const struct virtio_blk_config *config,
		   struct virtio_pci **out)
{
	struct virtio_blk *blk;
	struct virtio_pci_config transport;
	uint64_t size = 0;
	int ret = disk_size(config->fd, &size);

	if (ret)
		return ret;
	if (size < SECTOR)
		return -EINVAL;
	blk = calloc(1, sizeof(*blk));
	if (!blk)
		return -ENOMEM;
	blk->fd = config->fd;
	blk->readonly = config->readonly;
	memcpy(blk->name, config->name, strnlen(config->name, sizeof(blk->name) - 1));
	blk->space.capacity = size / SECTOR;
	blk->space.size_max = env->iommu ? SIZE_MAX_IOMMU : 0;
	blk->space.seg_max = env->iommu ? SEG_MAX_IOMMU : SEG_MAX;
	blk->space.blk_size = SECTOR;
	blk->iov_max = env->iommu ? IOV_MAX_IOMMU : IOV_MAX_PLAIN;
	transport = (struct virtio_pci_config){
		.name = blk->name,
		.ops = &blk_ops,
		.device = VIRTIO_ID_BLOCK,
		.class_code = 0x018000,
		.features = BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_BLK_SIZE) |
			    BIT(VIRTIO_BLK_F_FLUSH),
		.queues = 1,
		.config = &blk->space,
		.config_size = BLK_CONFIG_SIZE,
	};
	if (!config->readonly && can_free_space(config->fd, size)) {
		transport.features |= BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES);
		blk->space.max_discard_sectors = BLK_EXTENT_SECTORS;
		blk->space.max_discard_seg = 1;
		blk->space.discard_sector_alignment = GUEST_PAGE_SIZE / SECTOR;
		blk->space.max_write_zeroes_sectors = BLK_EXTENT_SECTORS;
		blk->space.max_write_zeroes_seg = 1;
		blk->space.write_zeroes_may_unmap = 1;
	}
	if (env->iommu)
		transport.features |= BIT(VIRTIO_BLK_F_SIZE_MAX);
	if (blk->readonly)
		transport.features |= BIT(VIRTIO_BLK_F_RO);
	ret = virtio_pci_init(&blk->vp, env, &transport);
	if (ret) {
		free(blk);
		return ret;
	}
	*out = &blk->vp;
	return 0;
}

void virtio_blk_stats(const struct virtio_pci *vp, struct virtio_blk_stats *stats)
{
	const struct virtio_blk *blk = container_of(vp, const struct virtio_blk, vp);

	stats->reads = blk->stats.reads;
	stats->writes = blk->stats.writes;
	stats->flushes = blk->stats.flushes;
	stats->discards = blk->stats.discards;
	stats->errors = blk->stats.errors;
	stats->bytes_read = blk->stats.bytes_read;
	stats->bytes_written = blk->stats.bytes_written;
	stats->kicks = blk->vp.kicks;
	stats->interrupts = blk->vp.interrupts;
}
