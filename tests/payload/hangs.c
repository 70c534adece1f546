// SPDX-License-Identifier: Apache-2.0
/*
 * postern on a host whose file never answers: linked in front of the C library (ld --wrap).
 *
 * HANG=PATH  a FIFO, PATH.fifo, is opened in place of PATH and looks like a file of 4 MiB:
 *            reading it never ends; HANG_MARK is written when postern begins to
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "postern/event_loop.h"

static int hanging = -1, mark = -1;

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __real_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);
int __real_event_loop_submit(struct event_loop *loop, struct event_io *io);
int __wrap_event_loop_submit(struct event_loop *loop, struct event_io *io);

int __wrap_open(const char *path, int flags, ...)
{
	const char *hang = getenv("HANG");
	char name[256];
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
	va_end(args);
	if (!hang || strcmp(path, hang))
		return __real_open(path, flags, mode);
	/* Open by now, for in a sandbox there is no later. */
	mark = __real_open(getenv("HANG_MARK"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	snprintf(name, sizeof(name), "%s.fifo", hang);
	/* Never without a writer, so that there is no end of file. */
	hanging = __real_open(name, O_RDWR | O_CLOEXEC);
	return hanging;
}

int __wrap_fstat(int fd, struct stat *st)
{
	int rc = __real_fstat(fd, st);

	if (!rc && fd == hanging) {
		st->st_mode = S_IFREG | 0600;
		st->st_size = 4 << 20;
	}
	return rc;
}

/* From here on the request is in flight, whatever else happens. */
int __wrap_event_loop_submit(struct event_loop *loop, struct event_io *io)
{
	int rc = __real_event_loop_submit(loop, io);

	if (!rc && io->fd == hanging && write(mark, "asked", 5) != 5)
		abort();
	return rc;
}
