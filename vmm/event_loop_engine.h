/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the event loop's front (event_loop.c: posts, timers, stop) and its engines.
 *
 * watch, unwatch and submit only record what is wanted; an engine talks to the kernel in wait(),
 * which always runs on the loop's thread. So work may be handed in before event_loop_run(), by the
 * thread that will not run the loop, whatever the engine binds to a thread.
 */
#ifndef POSTERN_EVENT_LOOP_ENGINE_H
#define POSTERN_EVENT_LOOP_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "postern/event_loop.h"

#define EVENT_WAIT_FOREVER UINT64_MAX

struct event_engine {
	const char *name;
	enum event_loop_kind kind;
	/* Set loop->engine_data, or -errno where this host cannot do it. */
	int (*open)(struct event_loop *loop);
	void (*close)(struct event_loop *loop);
	/* Enter and leave event_loop_run(); end() leaves no kernel request of a watch behind. */
	int (*begin)(struct event_loop *loop);
	void (*end)(struct event_loop *loop);
	/* Hand over what was recorded, wait at most NANOSECONDS for something, dispatch it. */
	int (*wait)(struct event_loop *loop, uint64_t nanoseconds);
	int (*watch)(struct event_loop *loop, struct event_watch *watch);
	void (*unwatch)(struct event_loop *loop, struct event_watch *watch);
	int (*submit)(struct event_loop *loop, struct event_io *io);
};

struct event_loop {
	const struct event_engine *engine;
	void *engine_data;
	int wake_fd;
	struct event_watch wake;
	atomic_bool stop;
	_Atomic(struct event_work *) posts; /* newest first */
	struct event_timer *timers;	    /* earliest first */
	_Atomic uintptr_t owner;	    /* thread that counts as the loop's */
	_Atomic uintptr_t running;	    /* thread inside event_loop_run(), or 0 */
	atomic_int busy_fd;		    /* of the request that the engine is inside of, or -1 */
	_Atomic uint64_t wakeups, completions, submissions;
};

/* Counters have one writer at a time; others only read them. */
static inline void event_count(_Atomic uint64_t *counter)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

static inline void event_io_done(struct event_loop *loop, struct event_io *io, int result)
{
	event_count(&loop->completions);
	io->done(io, result);
}

/* A ring that is not enabled yet: what the engine does not use, it will refuse. 0 or -errno. */
int event_uring_restrict(int ring_fd);
extern const struct event_engine event_engine_uring;
extern const struct event_engine event_engine_poll;

#endif
