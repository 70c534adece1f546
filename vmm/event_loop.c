// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "postern/bits.h"
#include "postern/log.h"
#include "vmm/event_loop_engine.h"

#define NSEC_PER_SEC UINT64_C(1000000000)

/* In the order in which AUTO tries them. */
static const struct event_engine *const engines[] = {
#ifdef CONFIG_EVENT_LOOP_URING
	&event_engine_uring,
#endif
	&event_engine_poll,
};

/* The address of a thread-local object names a thread without a system call. */
static uintptr_t thread_id(void)
{
	static _Thread_local char self;

	return (uintptr_t)&self;
}

/* ---- posts ---- */

void event_loop_post(struct event_loop *loop, struct event_work *work)
{
	struct event_work *head;
	uint64_t one = 1;

	/* The exchange orders the poster's writes before run() even where work is queued. */
	if (__atomic_exchange_n(&work->queued, true, __ATOMIC_ACQ_REL))
		return;
	head = atomic_load_explicit(&loop->posts, memory_order_relaxed);
	do {
		work->node.next = head;
	} while (!atomic_compare_exchange_weak_explicit(
		&loop->posts, &head, work, memory_order_release, memory_order_relaxed));
	/*
	 * The loop looks at the list before each wait, so that its own thread need not wake it.
	 * Whoever found the list non-empty comes after somebody who sees to the wake-up.
	 */
	if (head || loop->running == thread_id())
		return;
	if (write(loop->wake_fd, &one, sizeof(one)) < 0)
		log_error_once("event loop: cannot wake it through its eventfd: %s",
			       strerror(errno));
}

static void run_posts(struct event_loop *loop)
{
	struct event_work *work, *next, *list = NULL;

	work = atomic_exchange_explicit(&loop->posts, NULL, memory_order_acquire);
	for (; work; work = next) {
		next = work->node.next;
		work->node.next = list;
		list = work;
	}
	/* What these post again waits for the next turn, so that descriptors get theirs. */
	for (; list; list = next) {
		next = list->node.next;
		(void)__atomic_exchange_n(&list->queued, false, __ATOMIC_ACQ_REL);
		list->run(list);
	}
}

/* ---- timers ---- */

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* node.state[0]: deadline; node.state[1]: armed. A list, as there are only a handful of timers. */
static bool timer_armed(const struct event_timer *timer)
{
	return timer->node.state[1];
}

void event_loop_timer_cancel(struct event_loop *loop, struct event_timer *timer)
{
	struct event_timer *t, *prev = NULL;

	if (!timer_armed(timer))
		return;
	for (t = loop->timers; t && t != timer; t = t->node.next)
		prev = t;
	if (prev)
		prev->node.next = timer->node.next;
	else
		loop->timers = timer->node.next;
	timer->node.state[1] = false;
}

int event_loop_timer_arm(struct event_loop *loop, struct event_timer *timer, uint64_t nanoseconds)
{
	struct event_timer *t, *prev = NULL;
	uint64_t deadline;

	event_loop_timer_cancel(loop, timer);
	/* At least 1, so that a timer which arms itself with 0 cannot keep expire() going. */
	if (__builtin_add_overflow(now(), nanoseconds ? nanoseconds : 1, &deadline))
		deadline = UINT64_MAX;
	for (t = loop->timers; t && t->node.state[0] <= deadline; t = t->node.next)
		prev = t;
	timer->node.state[0] = deadline;
	timer->node.state[1] = true;
	timer->node.next = t;
	if (prev)
		prev->node.next = timer;
	else
		loop->timers = timer;
	return 0;
}

static void expire(struct event_loop *loop)
{
	uint64_t limit;

	if (!loop->timers)
		return;
	limit = now();
	while (loop->timers && loop->timers->node.state[0] <= limit) {
		struct event_timer *timer = loop->timers;

		event_loop_timer_cancel(loop, timer);
		timer->expired(timer);
	}
}

static uint64_t wait_limit(const struct event_loop *loop)
{
	uint64_t deadline, t;

	if (atomic_load_explicit(&loop->posts, memory_order_relaxed) || loop->stop)
		return 0;
	if (!loop->timers)
		return EVENT_WAIT_FOREVER;
	deadline = loop->timers->node.state[0];
	t = now();
	return deadline > t ? deadline - t : 0;
}

/* ---- life ---- */

/* The engine has read the eventfd; event_loop_run() looks at posts and stop on every turn. */
static void woken(struct event_watch *watch, short revents)
{
	(void)watch;
	(void)revents;
}

static int open_engine(struct event_loop *loop, enum event_loop_kind kind)
{
	int ret = -ENOSYS;

	for (unsigned i = 0; i < ARRAY_SIZE(engines); i++) {
		if (kind != EVENT_LOOP_AUTO && kind != engines[i]->kind)
			continue;
		loop->engine = engines[i];
		ret = engines[i]->open(loop);
		if (!ret)
			return 0;
		log_debug("event loop: engine %s is not usable here: %s", engines[i]->name,
			  strerror(-ret));
	}
	return ret;
}

int event_loop_new(enum event_loop_kind kind, struct event_loop **out)
{
	struct event_loop *loop = calloc(1, sizeof(*loop));
	int ret;

	if (!loop)
		return -ENOMEM;
	loop->owner = thread_id();
	loop->busy_fd = -1;
	loop->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (loop->wake_fd < 0) {
		ret = -errno;
		goto err_free;
	}
	ret = open_engine(loop, kind);
	if (ret)
		goto err_wake;
	loop->wake.fd = loop->wake_fd;
	loop->wake.events = POLLIN;
	loop->wake.drain = true;
	loop->wake.ready = woken;
	ret = event_loop_watch(loop, &loop->wake);
	if (ret)
		goto err_engine;
	*out = loop;
	return 0;

err_engine:
	loop->engine->close(loop);
err_wake:
	close(loop->wake_fd);
err_free:
	free(loop);
	return ret;
}

void event_loop_free(struct event_loop *loop)
{
	if (!loop)
		return;
	event_loop_unwatch(loop, &loop->wake);
	loop->engine->close(loop);
	close(loop->wake_fd);
	free(loop);
}

const char *event_loop_name(const struct event_loop *loop)
{
	return loop->engine->name;
}

int event_loop_run(struct event_loop *loop)
{
	int ret;

	loop->owner = thread_id();
	ret = loop->engine->begin(loop);
	if (ret)
		return ret;
	loop->running = loop->owner;
	while (!atomic_exchange(&loop->stop, false)) {
		run_posts(loop);
		ret = loop->engine->wait(loop, wait_limit(loop));
		if (ret)
			break;
		event_count(&loop->wakeups);
		expire(loop);
	}
	loop->engine->end(loop);
	loop->running = 0;
	return ret;
}

void event_loop_stop(struct event_loop *loop)
{
	int saved = errno; /* signal handlers call this */
	uint64_t one = 1;

	loop->stop = true;
	/* Fails only where the counter is full, and then the loop wakes anyway. */
	if (write(loop->wake_fd, &one, sizeof(one)) < 0)
		errno = saved;
	errno = saved;
}

/* ---- what the engines do ---- */

int event_loop_watch(struct event_loop *loop, struct event_watch *watch)
{
	return loop->engine->watch(loop, watch);
}

void event_loop_unwatch(struct event_loop *loop, struct event_watch *watch)
{
	loop->engine->unwatch(loop, watch);
}

int event_loop_submit(struct event_loop *loop, struct event_io *io)
{
	int ret;

	if (io->op > EVENT_IO_FALLOCATE)
		return -EINVAL;
	io->node.next = NULL;
	ret = loop->engine->submit(loop, io);
	if (!ret)
		event_count(&loop->submissions);
	return ret;
}

int event_loop_busy_fd(const struct event_loop *loop)
{
	return loop->busy_fd;
}

bool event_loop_here(const struct event_loop *loop)
{
	return loop->owner == thread_id();
}

void event_loop_stats(const struct event_loop *loop, struct event_loop_stats *stats)
{
	stats->wakeups = loop->wakeups;
	stats->completions = loop->completions;
	stats->submissions = loop->submissions;
}
