// SPDX-License-Identifier: Apache-2.0
/*
 * Compressed kernels (vmlinux.gz and the like), unpacked into memory before their format is looked
 * at. What follows the compressed data is ignored: Linux's build appends the size to it.
 *
 * A few bytes can unpack to any number: what is more than the guest's memory is refused.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "guest/loader.h"
#include "postern/bits.h"
#include "postern/log.h"

#ifdef CONFIG_KERNEL_GZIP
#include <zlib.h>
#endif
#ifdef CONFIG_KERNEL_XZ
#include <lzma.h>
#endif
#ifdef CONFIG_KERNEL_ZSTD
#include <zstd.h>
#endif
#ifdef CONFIG_KERNEL_LZ4
#include <lz4frame.h>
#endif

#define CHUNK	      (32 * KIB)
#define XZ_MEMORY_MAX (256 * MIB) /* xz -9 takes 65 MiB */

/* From the file's chunks to one stretch of memory, one byte longer than what is allowed. */
struct stream {
	const struct image *image;
	uint64_t offset; /* of the next chunk */
	uint8_t in[CHUNK];
	size_t in_at, in_len;
	uint8_t *out;
	size_t out_len, out_size;
};

/* 0, -ENODATA at the file's end, or as image_read(). */
static int refill(struct stream *s)
{
	uint64_t left = s->image->size - s->offset;
	int ret;

	if (s->in_at < s->in_len)
		return 0;
	if (!left)
		return -ENODATA;
	s->in_at = 0;
	s->in_len = left < CHUNK ? (size_t)left : CHUNK;
	ret = image_read(s->image, s->offset, s->in, s->in_len);
	s->offset += s->in_len;
	return ret;
}

/*
 * One step of a decoder: takes from the chunk, adds to the output. 1 at the end of the data, 0 to
 * go on, -EBADMSG where the data is damaged, -ENOMEM.
 */
typedef int (*step_fn)(struct stream *s, void *decoder);

static int run(struct stream *s, step_fn step, void *decoder)
{
	for (;;) {
		size_t out = s->out_len, in;
		int ret = refill(s);

		if (ret)
			return ret;
		in = s->in_at;
		ret = step(s, decoder);
		if (ret < 0)
			return ret;
		if (s->out_len == s->out_size)
			return -EFBIG;
		if (ret)
			return 0;
		if (out == s->out_len && in == s->in_at)
			return -EBADMSG;
	}
}

#ifdef CONFIG_KERNEL_GZIP
#define GZIP_WINDOW (16 + MAX_WBITS) /* with a gzip header, of any window */

static int gzip_step(struct stream *s, void *decoder)
{
	z_stream *z = decoder;
	size_t room = s->out_size - s->out_len;
	int ret;

	z->next_in = s->in + s->in_at;
	z->avail_in = (uInt)(s->in_len - s->in_at);
	z->next_out = s->out + s->out_len;
	z->avail_out = room < UINT32_MAX ? (uInt)room : UINT32_MAX;
	ret = inflate(z, Z_NO_FLUSH);
	s->in_at = s->in_len - z->avail_in;
	s->out_len = (size_t)(z->next_out - s->out);
	if (ret == Z_MEM_ERROR)
		return -ENOMEM;
	if (ret != Z_OK && ret != Z_STREAM_END && ret != Z_BUF_ERROR)
		return -EBADMSG;
	return ret == Z_STREAM_END;
}

static int gzip(struct stream *s)
{
	z_stream z = {0};
	int ret;

	if (inflateInit2(&z, GZIP_WINDOW) != Z_OK)
		return -ENOMEM;
	ret = run(s, gzip_step, &z);
	inflateEnd(&z);
	return ret;
}
#else
#define gzip NULL
#endif

#ifdef CONFIG_KERNEL_XZ
static int xz_step(struct stream *s, void *decoder)
{
	lzma_stream *xz = decoder;
	lzma_ret ret;

	xz->next_in = s->in + s->in_at;
	xz->avail_in = s->in_len - s->in_at;
	xz->next_out = s->out + s->out_len;
	xz->avail_out = s->out_size - s->out_len;
	ret = lzma_code(xz, LZMA_RUN);
	s->in_at = s->in_len - xz->avail_in;
	s->out_len = s->out_size - xz->avail_out;
	if (ret == LZMA_MEM_ERROR || ret == LZMA_MEMLIMIT_ERROR)
		return -ENOMEM;
	if (ret != LZMA_OK && ret != LZMA_STREAM_END && ret != LZMA_BUF_ERROR)
		return -EBADMSG;
	return ret == LZMA_STREAM_END;
}

static int xz(struct stream *s)
{
	lzma_stream decoder = LZMA_STREAM_INIT;
	int ret;

	if (lzma_stream_decoder(&decoder, XZ_MEMORY_MAX, 0) != LZMA_OK)
		return -ENOMEM;
	ret = run(s, xz_step, &decoder);
	lzma_end(&decoder);
	return ret;
}
#else
#define xz NULL
#endif

#ifdef CONFIG_KERNEL_ZSTD
static int zstd_step(struct stream *s, void *decoder)
{
	ZSTD_inBuffer in = {s->in, s->in_len, s->in_at};
	ZSTD_outBuffer out = {s->out, s->out_size, s->out_len};
	size_t ret = ZSTD_decompressStream(decoder, &out, &in);

	s->in_at = in.pos;
	s->out_len = out.pos;
	return ZSTD_isError(ret) ? -EBADMSG : !ret;
}

static int zstd(struct stream *s)
{
	ZSTD_DStream *decoder = ZSTD_createDStream();
	int ret = decoder ? run(s, zstd_step, decoder) : -ENOMEM;

	ZSTD_freeDStream(decoder);
	return ret;
}
#else
#define zstd NULL
#endif

#ifdef CONFIG_KERNEL_LZ4
static int lz4_step(struct stream *s, void *decoder)
{
	size_t in = s->in_len - s->in_at, out = s->out_size - s->out_len;
	size_t ret =
		LZ4F_decompress(decoder, s->out + s->out_len, &out, s->in + s->in_at, &in, NULL);

	if (LZ4F_isError(ret))
		return -EBADMSG;
	s->in_at += in;
	s->out_len += out;
	return !ret;
}

static int lz4(struct stream *s)
{
	LZ4F_dctx *decoder;
	int ret;

	if (LZ4F_isError(LZ4F_createDecompressionContext(&decoder, LZ4F_VERSION)))
		return -ENOMEM;
	ret = run(s, lz4_step, decoder);
	LZ4F_freeDecompressionContext(decoder);
	return ret;
}
#else
#define lz4 NULL
#endif

static const struct format {
	const char *name, *symbol;
	uint8_t magic[6];
	unsigned len;
	int (*unpack)(struct stream *s); /* NULL: built without it */
} formats[] = {
	{"gzip", "KERNEL_GZIP", {0x1f, 0x8b, 8}, 3, gzip},
	{"xz", "KERNEL_XZ", {0xfd, '7', 'z', 'X', 'Z', 0}, 6, xz},
	{"zstd", "KERNEL_ZSTD", {0x28, 0xb5, 0x2f, 0xfd}, 4, zstd},
	{"lz4", "KERNEL_LZ4", {0x04, 0x22, 0x4d, 0x18}, 4, lz4},
};

static void say_why(const struct image *image, const struct format *format, uint64_t limit, int err)
{
	switch (err) {
	case -ENODATA:
		log_error("%s %s: is truncated: its %s data goes on past the end of the file",
			  image->kind, image->path, format->name);
		break;
	case -EBADMSG:
		log_error("%s %s: its %s data is damaged", image->kind, image->path, format->name);
		break;
	case -EFBIG:
		log_error("%s %s: its %s data unpacks to more than the guest's %llu MiB of low "
			  "memory; give the guest more, or strip the kernel",
			  image->kind, image->path, format->name,
			  (unsigned long long)(limit / MIB));
		break;
	case -ENOMEM:
		log_error("%s %s: there is not enough memory to unpack its %s data", image->kind,
			  image->path, format->name);
		break;
	default:
		break; /* image_read() has said it */
	}
}

static int unpack(struct image *image, const struct format *format, uint64_t limit)
{
	struct stream s = {.image = image, .out_size = (size_t)limit + 1};
	int ret;

	s.out = mmap(NULL, s.out_size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ret = s.out == MAP_FAILED ? -ENOMEM : format->unpack(&s);
	if (!ret && !s.out_len)
		ret = -EBADMSG;
	if (ret) {
		say_why(image, format, limit, ret);
		if (s.out != MAP_FAILED)
			munmap(s.out, s.out_size);
		return ret == -ENODATA || ret == -EBADMSG ? -ENOEXEC : ret;
	}
	image->data = s.out;
	image->data_mapped = s.out_size;
	image->size = s.out_len;
	return 0;
}

int image_unpack(struct image *image, uint64_t limit)
{
	uint8_t head[6] = {0};
	int ret =
		image_read(image, 0, head, image->size < sizeof(head) ? image->size : sizeof(head));

	for (size_t i = 0; !ret && i < ARRAY_SIZE(formats); i++) {
		if (memcmp(head, formats[i].magic, formats[i].len) != 0)
			continue;
		if (formats[i].unpack)
			return unpack(image, &formats[i], limit);
		log_error("%s %s: is compressed by %s; this postern was built without CONFIG_%s",
			  image->kind, image->path, formats[i].name, formats[i].symbol);
		return -ENOEXEC;
	}
	return ret;
}
