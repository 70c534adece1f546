// SPDX-License-Identifier: Apache-2.0
/*
 * The engine for hosts where io_uring is forbidden: ppoll, and I/O done on the loop's thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "vmm/event_loop_engine.h"

/* Requests of one turn: each may take as long as the file wants, and others wait meanwhile. */
#define IO_BUDGET 8

struct poll_engine {
	/* Parallel arrays; a watch knows its index (plus 1) in node.state[0]. */
	struct pollfd *fds;
	struct event_watch **watches; /* NULL once unwatched, until the next wait closes the gap */
	unsigned count, room;
	struct event_io *first, **last;
};

static int poll_open(struct event_loop *loop)
{
	struct poll_engine *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->last = &p->first;
	loop->engine_data = p;
	return 0;
}

static void poll_close(struct event_loop *loop)
{
	struct poll_engine *p = loop->engine_data;

	free(p->fds);
	free(p->watches);
	free(p);
}

static int poll_begin(struct event_loop *loop)
{
	(void)loop;
	return 0;
}

static void poll_end(struct event_loop *loop)
{
	(void)loop;
}

static int poll_grow(struct poll_engine *p)
{
	unsigned room = p->room ? 2 * p->room : 16;
	struct pollfd *fds = reallocarray(p->fds, room, sizeof(*fds));
	struct event_watch **watches;

	if (!fds)
		return -ENOMEM;
	p->fds = fds;
	watches = reallocarray(p->watches, room, sizeof(*watches));
	if (!watches)
		return -ENOMEM;
	p->watches = watches;
	p->room = room;
	return 0;
}

static int poll_watch(struct event_loop *loop, struct event_watch *watch)
{
	struct poll_engine *p = loop->engine_data;

	if (fcntl(watch->fd, F_GETFD) < 0)
		return -errno;
	if (p->count == p->room && poll_grow(p))
		return -ENOMEM;
	p->fds[p->count] = (struct pollfd){.fd = watch->fd, .events = watch->events};
	p->watches[p->count] = watch;
	watch->node.state[0] = ++p->count;
	return 0;
}

static void poll_unwatch(struct event_loop *loop, struct event_watch *watch)
{
	struct poll_engine *p = loop->engine_data;

	if (!watch->node.state[0])
		return;
	p->watches[watch->node.state[0] - 1] = NULL;
	watch->node.state[0] = 0;
}

static void poll_compact(struct poll_engine *p)
{
	unsigned count = 0;

	for (unsigned i = 0; i < p->count; i++) {
		if (!p->watches[i])
			continue;
		p->fds[count] = p->fds[i];
		p->watches[count] = p->watches[i];
		p->watches[count]->node.state[0] = count + 1;
		count++;
	}
	p->count = count;
}

static int poll_submit(struct event_loop *loop, struct event_io *io)
{
	struct poll_engine *p = loop->engine_data;

	*p->last = io;
	p->last = (struct event_io **)&io->node.next;
	return 0;
}

/* Where a descriptor has no position (a pipe, a terminal), io_uring ignores the offset; so here. */
static ssize_t transfer_once(const struct event_io *io, bool seekable)
{
	int count = (int)io->iov_count;

	if (io->op == EVENT_IO_WRITEV)
		return seekable ? pwritev(io->fd, io->iov, count, (off_t)io->offset)
				: writev(io->fd, io->iov, count);
	return seekable ? preadv(io->fd, io->iov, count, (off_t)io->offset)
			: readv(io->fd, io->iov, count);
}

static int transfer(const struct event_io *io)
{
	bool seekable = true;
	ssize_t n;

	do {
		n = transfer_once(io, seekable);
		if (n < 0 && errno == ESPIPE && seekable) {
			seekable = false;
			errno = EINTR;
		}
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (int)n;
}

static int execute(const struct event_io *io)
{
	switch (io->op) {
	case EVENT_IO_READV:
	case EVENT_IO_WRITEV:
		return transfer(io);
	case EVENT_IO_FSYNC:
		return fsync(io->fd) ? -errno : 0;
	case EVENT_IO_FDATASYNC:
		return fdatasync(io->fd) ? -errno : 0;
	case EVENT_IO_FALLOCATE:
		return fallocate(io->fd, io->mode, (off_t)io->offset, (off_t)io->len) ? -errno : 0;
	}
	return -EINVAL;
}

static void dispatch_ios(struct event_loop *loop)
{
	struct poll_engine *p = loop->engine_data;

	for (unsigned budget = IO_BUDGET; budget && p->first; budget--) {
		struct event_io *io = p->first;
		int result;

		p->first = io->node.next;
		if (!p->first)
			p->last = &p->first;
		loop->busy_fd = io->fd;
		result = execute(io);
		loop->busy_fd = -1;
		event_io_done(loop, io, result);
	}
}

static void dispatch_watches(struct poll_engine *p)
{
	unsigned polled = p->count; /* callbacks may add more */

	for (unsigned i = 0; i < polled; i++) {
		struct event_watch *watch = p->watches[i];
		short revents = p->fds[i].revents;
		uint64_t counter;

		if (!watch || !revents)
			continue;
		if (watch->drain && (revents & POLLIN)) {
			ssize_t n = read(watch->fd, &counter, sizeof(counter));

			if (n < 0 && (errno == EAGAIN || errno == EINTR))
				continue;
		}
		watch->ready(watch, revents);
	}
}

static int poll_wait(struct event_loop *loop, uint64_t nanoseconds)
{
	struct poll_engine *p = loop->engine_data;
	struct timespec ts = {
		.tv_sec = (time_t)(nanoseconds / 1000000000),
		.tv_nsec = (long)(nanoseconds % 1000000000),
	};
	int n;

	poll_compact(p);
	if (p->first)
		ts = (struct timespec){0};
	n = ppoll(p->fds, p->count, nanoseconds == EVENT_WAIT_FOREVER && !p->first ? NULL : &ts,
		  NULL);
	if (n < 0 && errno != EINTR)
		return -errno;
	if (n > 0)
		dispatch_watches(p);
	dispatch_ios(loop);
	return 0;
}

const struct event_engine event_engine_poll = {
	.name = "poll",
	.kind = EVENT_LOOP_POLL,
	.open = poll_open,
	.close = poll_close,
	.begin = poll_begin,
	.end = poll_end,
	.wait = poll_wait,
	.watch = poll_watch,
	.unwatch = poll_unwatch,
	.submit = poll_submit,
};
