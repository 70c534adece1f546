// SPDX-License-Identifier: Apache-2.0
/*
 * Linked into a postern for tests by -Wl,--wrap: the calls by which it gets something from the host
 * (memory, descriptors, mappings, threads, ioctls; those of the soft iommufd and its devices too)
 * are counted until the guest would run, and call number POSTERN_FAULT fails. At exit
 * POSTERN_REPORT tells which one failed, or without it which there were, and what of all that is
 * still there.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/test/soft_vfio.h"
#include "iommufd/internal.h"

#define HERE	  __builtin_return_address(0)
#define HELD_MAX  65536u
#define FDS_MAX	  1024
#define CALLS_MAX 16384u
#define TEXT_SIZE 128

struct io_uring;
struct io_uring_params;

/* ---- what fails ---- */

static atomic_uint calls;
static unsigned wanted;
static atomic_bool over; /* the guest runs, or the process ends */
static struct call {
	char what[TEXT_SIZE];
	const void *caller;
} call[CALLS_MAX];

/* One that fails is the only one that is kept. */
static bool fails(const char *what, const void *caller)
{
	unsigned number;

	if (atomic_load(&over))
		return false;
	number = atomic_fetch_add(&calls, 1);
	if (number < CALLS_MAX && (!wanted || number + 1 == wanted)) {
		memcpy(call[number].what, what, strlen(what) + 1);
		call[number].caller = caller;
	}
	return number + 1 == wanted;
}

/* ---- what is held: blocks (LENGTH 0) and mappings ---- */

struct held {
	uintptr_t at;
	size_t length;
	const void *caller;
};

static struct held held[HELD_MAX];
static unsigned held_count;
static pthread_mutex_t held_lock = PTHREAD_MUTEX_INITIALIZER;

static void *hold(void *p, size_t length, const void *caller)
{
	pthread_mutex_lock(&held_lock);
	if (p && held_count < HELD_MAX)
		held[held_count++] = (struct held){(uintptr_t)p, length, caller};
	pthread_mutex_unlock(&held_lock);
	return p;
}

static void release(const void *p, size_t length)
{
	const uintptr_t at = (uintptr_t)p;
	unsigned i = held_count;

	pthread_mutex_lock(&held_lock);
	/* What is freed was often allocated late. */
	for (i = held_count; i-- > 0;) {
		bool same = length ? held[i].length && held[i].at >= at &&
					     held[i].at + held[i].length <= at + length
				   : !held[i].length && held[i].at == at;

		if (!same)
			continue;
		held[i] = held[--held_count];
		if (!length)
			break;
	}
	pthread_mutex_unlock(&held_lock);
}

/* ---- memory ---- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_reallocarray(void *p, size_t count, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t len);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t count, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t len);
void __wrap_free(void *p);

static void *no_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

void *__wrap_malloc(size_t size)
{
	return fails("malloc", HERE) ? no_memory() : hold(__real_malloc(size), 0, HERE);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails("calloc", HERE) ? no_memory() : hold(__real_calloc(count, size), 0, HERE);
}

static void *moved(void *old, void *p, const void *caller)
{
	if (!p)
		return NULL;
	if (old)
		release(old, 0);
	return hold(p, 0, caller);
}

void *__wrap_realloc(void *p, size_t size)
{
	return fails("realloc", HERE) ? no_memory() : moved(p, __real_realloc(p, size), HERE);
}

void *__wrap_reallocarray(void *p, size_t count, size_t size)
{
	return fails("reallocarray", HERE) ? no_memory()
					   : moved(p, __real_reallocarray(p, count, size), HERE);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
	return fails("aligned_alloc", HERE) ? no_memory()
					    : hold(__real_aligned_alloc(align, size), 0, HERE);
}

char *__wrap_strdup(const char *text)
{
	return fails("strdup", HERE) ? no_memory() : hold(__real_strdup(text), 0, HERE);
}

char *__wrap_strndup(const char *text, size_t len)
{
	return fails("strndup", HERE) ? no_memory() : hold(__real_strndup(text, len), 0, HERE);
}

void __wrap_free(void *p)
{
	if (p)
		release(p, 0);
	__real_free(p);
}

/* ---- mappings ---- */

void *__real_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t len);
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *at, size_t len);

void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
	void *p;

	if (fails("mmap", HERE)) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	p = __real_mmap(at, len, prot, flags, fd, offset);
	/* What is laid over a mapping goes with it. */
	if (p != MAP_FAILED && !(flags & MAP_FIXED))
		hold(p, len, HERE);
	return p;
}

int __wrap_munmap(void *at, size_t len)
{
	int rc = __real_munmap(at, len);

	if (!rc)
		release(at, len);
	return rc;
}

/* ---- calls that return a number, or -1 ---- */

#define CALL(name, error, params, args)                                                            \
	int __real_##name params;                                                                  \
	int __wrap_##name params;                                                                  \
	int __wrap_##name params                                                                   \
	{                                                                                          \
		if (fails(#name, HERE)) {                                                          \
			errno = error;                                                             \
			return -1;                                                                 \
		}                                                                                  \
		return __real_##name args;                                                         \
	}

CALL(eventfd, EMFILE, (unsigned value, int flags), (value, flags))
CALL(memfd_create, EMFILE, (const char *name, unsigned flags), (name, flags))
CALL(signalfd, EMFILE, (int fd, const sigset_t *set, int flags), (fd, set, flags))
CALL(ftruncate, ENOSPC, (int fd, off_t length), (fd, length))
CALL(fstat, EIO, (int fd, struct stat *st), (fd, st))
CALL(socket, EMFILE, (int domain, int type, int protocol), (domain, type, protocol))
CALL(bind, EACCES, (int fd, const struct sockaddr *at, socklen_t len), (fd, at, len))
CALL(listen, ENOBUFS, (int fd, int backlog), (fd, backlog))

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
	char what[TEXT_SIZE];
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	snprintf(what, sizeof(what), "open(%.100s)", path);
	if (fails(what, HERE)) {
		errno = EMFILE;
		return -1;
	}
	return __real_open(path, flags, mode);
}

int __real_fcntl(int fd, int op, ...);
int __wrap_fcntl(int fd, int op, ...);
int __wrap_fcntl(int fd, int op, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, op);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (fails("fcntl", HERE)) {
		errno = EMFILE;
		return -1;
	}
	return __real_fcntl(fd, op, arg);
}

/* A tap for a machine where there is none: a socket, which knows nothing of tun(4). */
static int tap(unsigned long request, void *arg)
{
	struct ifreq *ifr = arg;

	if (request == TUNGETIFF) {
		memset(ifr, 0, sizeof(*ifr));
		memcpy(ifr->ifr_name, "socket", 7);
		ifr->ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	} else if (request == TUNGETFEATURES) {
		*(unsigned *)arg = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	}
	return 0;
}

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
	char what[TEXT_SIZE];
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (request == KVM_RUN)
		atomic_store(&over, true);
	snprintf(what, sizeof(what), "ioctl(%#lx)", request);
	if (fails(what, HERE)) {
		errno = EIO;
		return -1;
	}
	if (_IOC_TYPE(request) == 'T' && _IOC_NR(request) >= 200)
		return tap(request, arg);
	return __real_ioctl(fd, request, arg);
}

ssize_t __real_pread(int fd, void *buf, size_t len, off_t offset);
ssize_t __wrap_pread(int fd, void *buf, size_t len, off_t offset);
ssize_t __wrap_pread(int fd, void *buf, size_t len, off_t offset)
{
	if (fails("pread", HERE)) {
		errno = EIO;
		return -1;
	}
	return __real_pread(fd, buf, len, offset);
}

FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode)
{
	if (fails("fopen", HERE)) {
		errno = EMFILE;
		return NULL;
	}
	return __real_fopen(path, mode);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg)
{
	return fails("pthread_create", HERE) ? EAGAIN
					     : __real_pthread_create(thread, attr, fn, arg);
}

int __real_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
				      struct io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
				      struct io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
				      struct io_uring_params *params)
{
	return fails("io_uring_queue_init_params", HERE)
		       ? -EPERM
		       : __real_io_uring_queue_init_params(entries, ring, params);
}

/* ---- the soft iommufd, and its devices ---- */

static struct iommufd_transport transport;
static const struct iommufd_transport *soft_transport;

static int transport_call(struct iommufd *ctx, unsigned nr, void *arg)
{
	char what[TEXT_SIZE];

	snprintf(what, sizeof(what), "iommufd(%#x)", nr);
	return fails(what, HERE) ? -ENOMEM : soft_transport->call(ctx, nr, arg);
}

static int wrapped(int rc, struct iommufd *ctx)
{
	if (rc)
		return rc;
	soft_transport = ctx->transport;
	transport = *ctx->transport;
	transport.call = transport_call;
	ctx->transport = &transport;
	return 0;
}

int __real_iommufd_open_soft(struct iommufd **ctx, const struct guest_memory *memory);
int __wrap_iommufd_open_soft(struct iommufd **ctx, const struct guest_memory *memory);
int __wrap_iommufd_open_soft(struct iommufd **ctx, const struct guest_memory *memory)
{
	int rc = __real_iommufd_open_soft(ctx, memory);

	return wrapped(rc, *ctx);
}

int __real_iommufd_open_soft_mode(struct iommufd **ctx, const struct guest_memory *memory,
				  enum iommufd_soft_mode mode);
int __wrap_iommufd_open_soft_mode(struct iommufd **ctx, const struct guest_memory *memory,
				  enum iommufd_soft_mode mode);
int __wrap_iommufd_open_soft_mode(struct iommufd **ctx, const struct guest_memory *memory,
				  enum iommufd_soft_mode mode)
{
	int rc = __real_iommufd_open_soft_mode(ctx, memory, mode);

	return wrapped(rc, *ctx);
}

static struct vfio_io_ops device;
static const struct vfio_io_ops *soft_device;

static int device_ioctl(struct vfio_io *io, unsigned long request, void *arg)
{
	char what[TEXT_SIZE];

	snprintf(what, sizeof(what), "vfio(%lu)", _IOC_NR(request) - 100);
	return fails(what, HERE) ? -EIO : soft_device->ioctl(io, request, arg);
}

static int device_mmap(struct vfio_io *io, uint64_t offset, size_t len, void **va)
{
	return fails("vfio mmap", HERE) ? -ENOMEM : soft_device->mmap(io, offset, len, va);
}

int __real_soft_vfio_new(struct iommufd *ctx, struct vfio_io *io);
int __wrap_soft_vfio_new(struct iommufd *ctx, struct vfio_io *io);
int __wrap_soft_vfio_new(struct iommufd *ctx, struct vfio_io *io)
{
	int rc = __real_soft_vfio_new(ctx, io);

	if (rc)
		return rc;
	soft_device = io->ops;
	device = *io->ops;
	device.ioctl = device_ioctl;
	device.mmap = device_mmap;
	io->ops = &device;
	return 0;
}

/* ---- before and after ---- */

static bool open_before[FDS_MAX];

__attribute__((constructor)) static void begin(void)
{
	const char *number = getenv("POSTERN_FAULT");

	for (int fd = 0; fd < FDS_MAX; fd++)
		open_before[fd] = __real_fcntl(fd, F_GETFD, NULL) >= 0;
	wanted = number ? (unsigned)strtoul(number, NULL, 10) : 0;
}

__attribute__((destructor)) static void end(void)
{
	const char *path = getenv("POSTERN_REPORT");
	int out;

	atomic_store(&over, true);
	out = path ? __real_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
	if (out < 0)
		return;
	dprintf(out, "calls %u\n", atomic_load(&calls));
	for (unsigned i = 0; i < atomic_load(&calls) && i < CALLS_MAX; i++) {
		if (call[i].caller)
			dprintf(out, "call %u %p %s\n", i + 1, call[i].caller, call[i].what);
	}
	for (int fd = 0; fd < FDS_MAX; fd++) {
		if (fd != out && !open_before[fd] && __real_fcntl(fd, F_GETFD, NULL) >= 0)
			dprintf(out, "leaked descriptor %d\n", fd);
	}
	for (unsigned i = 0; i < held_count; i++)
		dprintf(out, "leaked %s of %p\n", held[i].length ? "mapping" : "block",
			held[i].caller);
	close(out);
}
