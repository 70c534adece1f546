/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop: watch descriptors, submit I/O, arm timers; completions run on the loop's thread.
 *
 * Two engines with one behaviour: io_uring (SINGLE_ISSUER and DEFER_TASKRUN where the host has
 * them) and, where io_uring is forbidden, ppoll with synchronous I/O. AUTO tries the first by using
 * it.
 *
 * Every object is owned by its user and embedded in the user's structure; it must stay in place
 * from the call that starts it until its callback has run for the last time, as said at each call.
 * Only event_loop_post() and event_loop_stop() may be called from other threads than the loop's;
 * before event_loop_run() the creating thread counts as the loop's. (SINGLE_ISSUER binds the ring
 * to the thread that enters event_loop_run(): work submitted earlier is held until then.)
 *
 * Implemented in vmm/ (event_loop*.c).
 */
#ifndef POSTERN_EVENT_LOOP_H
#define POSTERN_EVENT_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct event_loop;

enum event_loop_kind { EVENT_LOOP_AUTO, EVENT_LOOP_URING, EVENT_LOOP_POLL };

/* Private to the engines; zero-initialise. */
struct event_node {
	void *next;
	uint64_t state[4];
};

/*
 * A watched descriptor. Level semantics: the callback runs as long as the descriptor is ready. For
 * an eventfd set DRAIN: the engine reads the counter before the callback runs (polling an eventfd
 * without reading it never goes quiet).
 */
struct event_watch {
	struct event_node node;
	int fd;
	short events; /* POLLIN, POLLOUT */
	bool drain;
	void (*ready)(struct event_watch *watch, short revents);
};

/* One I/O request. The buffers and the iovec array belong to the kernel until done() runs. */
enum event_io_op {
	EVENT_IO_READV,
	EVENT_IO_WRITEV,
	EVENT_IO_FSYNC,
	EVENT_IO_FDATASYNC,
	EVENT_IO_FALLOCATE, /* [offset, offset + len) with mode, fallocate(2) */
};

struct event_io {
	struct event_node node;
	enum event_io_op op;
	int fd;
	const struct iovec *iov;
	unsigned iov_count;
	uint64_t offset, len;
	int mode;
	/* RESULT: bytes moved, or -errno. Always runs from the loop, never inside submit. */
	void (*done)(struct event_io *io, int result);
};

struct event_timer {
	struct event_node node;
	void (*expired)(struct event_timer *timer);
};

/* A call to be made on the loop's thread. */
struct event_work {
	struct event_node node;
	void (*run)(struct event_work *work);
	bool queued; /* private: atomically set while pending */
};

/* -ENOSYS or -EPERM (URING only) where the host has no io_uring; -ENOMEM; -errno. */
int event_loop_new(enum event_loop_kind kind, struct event_loop **loop);
/* Call after event_loop_run() returned and nothing is in flight. */
void event_loop_free(struct event_loop *loop);
/* "uring" or "poll": what was chosen. */
const char *event_loop_name(const struct event_loop *loop);

/* Serve until event_loop_stop(). 0, or -errno when the engine itself broke. */
int event_loop_run(struct event_loop *loop);
/* Any thread, signal handlers included. */
void event_loop_stop(struct event_loop *loop);

/* Start and stop watching. After event_loop_unwatch() returns, ready() runs no more. */
int event_loop_watch(struct event_loop *loop, struct event_watch *watch);
void event_loop_unwatch(struct event_loop *loop, struct event_watch *watch);

/* Submit; 0 or -errno (then done() will not run). Submissions of one callback reach the kernel
 * together. */
int event_loop_submit(struct event_loop *loop, struct event_io *io);

/* One shot after NANOSECONDS; arming an armed timer moves it. */
int event_loop_timer_arm(struct event_loop *loop, struct event_timer *timer, uint64_t nanoseconds);
void event_loop_timer_cancel(struct event_loop *loop, struct event_timer *timer);

/* Run WORK soon on the loop's thread. Any thread. Posting queued work again does nothing. */
void event_loop_post(struct event_loop *loop, struct event_work *work);

/*
 * Any thread: the descriptor of the request that the loop's thread is inside of, where the engine
 * does I/O itself, or -1.
 */
int event_loop_busy_fd(const struct event_loop *loop);

/* Whether the caller is on the loop's thread. */
bool event_loop_here(const struct event_loop *loop);

struct event_loop_stats {
	uint64_t wakeups, completions, submissions;
};
void event_loop_stats(const struct event_loop *loop, struct event_loop_stats *stats);

#endif
