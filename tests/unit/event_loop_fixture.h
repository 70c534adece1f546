/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the event loop share: every test runs on both engines. */
#ifndef EVENT_LOOP_FIXTURE_H
#define EVENT_LOOP_FIXTURE_H

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "config.h"
#include "postern/bits.h"
#include "postern/event_loop.h"

/* Every test runs on both engines; where the build has no io_uring there is one. */
#ifdef CONFIG_EVENT_LOOP_URING
#define URING_TEST(name)                                                                           \
	Test(uring, name, .timeout = 60)                                                           \
	{                                                                                          \
		test_##name(EVENT_LOOP_URING);                                                     \
	}
#else
#define URING_TEST(name)
#endif

#define LOOP_TEST(name)                                                                            \
	static void test_##name(enum event_loop_kind kind);                                        \
	URING_TEST(name)                                                                           \
	Test(poll, name, .timeout = 60)                                                            \
	{                                                                                          \
		test_##name(EVENT_LOOP_POLL);                                                      \
	}                                                                                          \
	static void test_##name(enum event_loop_kind kind)

static struct event_loop *loop;

static void setup(enum event_loop_kind kind)
{
	cr_assert_eq(event_loop_new(kind, &loop), 0);
	cr_assert_str_eq(event_loop_name(loop), kind == EVENT_LOOP_POLL ? "poll" : "uring");
}

static void run(void)
{
	cr_assert_eq(event_loop_run(loop), 0);
}

static inline void signal_fd(int fd, uint64_t n)
{
	cr_assert_eq(write(fd, &n, sizeof(n)), (ssize_t)sizeof(n));
}

static inline bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

struct counter {
	struct event_watch watch;
	struct event_timer timer;
	unsigned calls, limit;
	short revents;
	bool rewatch;
};

static inline void count_ready(struct event_watch *watch, short revents)
{
	struct counter *c = container_of(watch, struct counter, watch);

	c->revents = revents;
	if (++c->calls == c->limit)
		event_loop_stop(loop);
}

#endif
