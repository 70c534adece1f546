// SPDX-License-Identifier: Apache-2.0
/*
 * Kernel and initrd files.
 *
 * A mapped file must not shrink while the machine runs: touching a page that the file no longer has
 * raises SIGBUS, as for every program that runs from a mapped file. Only regular files are taken,
 * so that the size is a fact when it is judged.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/loader.h"
#include "postern/bits.h"
#include "postern/log.h"

int image_open(struct image *image, const char *kind, const char *path, int opened)
{
	struct stat st;
	int ret;

	image->data = NULL;
	image->kind = kind;
	image->path = path;
	image->borrowed = opened >= 0;
	/* O_NONBLOCK: a FIFO named by mistake is refused below rather than waited for. */
	image->fd = opened >= 0 ? opened : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (image->fd < 0) {
		ret = -errno;
		log_error("%s %s: cannot be opened: %s; check the path and its permissions", kind,
			  path, strerror(-ret));
		return ret;
	}
	if (fstat(image->fd, &st) < 0) {
		ret = -errno;
		log_error("%s %s: cannot be examined: %s", kind, path, strerror(-ret));
		goto close;
	}
	if (!S_ISREG(st.st_mode)) {
		ret = -EINVAL;
		log_error("%s %s: is not a regular file; name the image itself", kind, path);
		goto close;
	}
	if (st.st_size <= 0) {
		ret = -ENOEXEC;
		log_error("%s %s: is empty; was its build or copy interrupted?", kind, path);
		goto close;
	}
	image->size = (uint64_t)st.st_size;
	return 0;

close:
	image_close(image);
	return ret;
}

void image_close(struct image *image)
{
	if (image->data)
		munmap(image->data, image->data_mapped);
	image->data = NULL;
	if (!image->borrowed)
		close(image->fd);
	image->fd = -1;
}

int image_read(const struct image *image, uint64_t offset, void *buf, uint64_t len)
{
	uint8_t *p = buf;

	if (!range_fits(offset, len, image->size)) {
		log_error("%s %s: is truncated: %llu bytes at %llu are named, the file has %llu",
			  image->kind, image->path, (unsigned long long)len,
			  (unsigned long long)offset, (unsigned long long)image->size);
		return -ENOEXEC;
	}
	if (image->data) {
		memcpy(buf, image->data + offset, len);
		return 0;
	}
	while (len) {
		ssize_t n = pread(image->fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int ret = -errno;

			log_error("%s %s: cannot be read at %llu: %s", image->kind, image->path,
				  (unsigned long long)offset, strerror(-ret));
			return ret;
		}
		if (n == 0) {
			log_error("%s %s: shrank while it was read; try again", image->kind,
				  image->path);
			return -ENOEXEC;
		}
		p += n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

/*
 * Map the whole pages of the range over guest RAM; *MAPPED says how many bytes from its start are
 * done. Where the file or the RAM below cannot be mapped like this (a file system without mmap,
 * huge pages) nothing is, and the caller reads.
 */
static int image_map(const struct image *image, uint64_t offset, uint64_t len, uint8_t *host,
		     uint64_t *mapped)
{
	uint64_t whole = align_down(len, GUEST_PAGE_SIZE);
	int ret;

	*mapped = 0;
	if (image->data || !whole || !is_aligned(offset, GUEST_PAGE_SIZE) ||
	    !is_aligned((uintptr_t)host, GUEST_PAGE_SIZE))
		return 0;
	if (mmap(host, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
		 image->fd, (off_t)offset) != MAP_FAILED) {
		*mapped = whole;
		return 0;
	}
	ret = -errno;
	if (ret == -EINVAL || ret == -ENODEV)
		return 0;
	log_error("%s %s: cannot be mapped over guest RAM: %s", image->kind, image->path,
		  strerror(-ret));
	return ret;
}

int image_place(const struct image *image, uint64_t offset, uint64_t len,
		const struct guest_memory *memory, uint64_t gpa, bool map)
{
	uint8_t *host = guest_memory_at(memory, gpa, len);
	uint64_t head, mapped;
	int ret;

	if (!host)
		return -EFAULT;
	if (!range_fits(offset, len, image->size))
		return image_read(image, offset, host, len);
	if (!map || (offset ^ (uintptr_t)host) & (GUEST_PAGE_SIZE - 1))
		return image_read(image, offset, host, len);
	/* Up to the first page border, whole pages, the rest. */
	head = -offset & (GUEST_PAGE_SIZE - 1);
	if (head > len)
		head = len;
	ret = image_read(image, offset, host, head);
	if (ret)
		return ret;
	ret = image_map(image, offset + head, len - head, host + head, &mapped);
	if (ret)
		return ret;
	return image_read(image, offset + head + mapped, host + head + mapped, len - head - mapped);
}
