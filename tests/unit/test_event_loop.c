// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/event_loop_fixture.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

/* ---- watches ---- */

static void stop_expired(struct event_timer *timer)
{
	(void)timer;
	event_loop_stop(loop);
}

static void drain_once(enum event_loop_kind kind, int flags)
{
	struct counter c = {
		.watch = {.events = POLLIN, .drain = true, .ready = count_ready},
		.timer = {.expired = stop_expired},
	};
	struct event_loop_stats stats;

	setup(kind);
	c.watch.fd = eventfd(0, flags);
	cr_assert_eq(event_loop_watch(loop, &c.watch), 0);
	signal_fd(c.watch.fd, 3);
	event_loop_timer_arm(loop, &c.timer, 50000000);
	run();
	cr_expect_eq(c.calls, 1, "%u", c.calls);
	cr_expect_eq(c.revents, POLLIN);
	cr_expect_not(readable(c.watch.fd));
	/* Quiet afterwards: the eventfd, the timer and, at most, a stray turn or two. */
	event_loop_stats(loop, &stats);
	cr_expect_leq(stats.wakeups, 5, "%lu", (unsigned long)stats.wakeups);
	/* Re-armed: a second signal is seen as well. */
	signal_fd(c.watch.fd, 1);
	c.limit = 2;
	run();
	cr_expect_eq(c.calls, 2);
	event_loop_unwatch(loop, &c.watch);
	close(c.watch.fd);
	event_loop_free(loop);
}

LOOP_TEST(eventfd_drain)
{
	drain_once(kind, EFD_CLOEXEC);
}

LOOP_TEST(eventfd_drain_nonblocking)
{
	drain_once(kind, EFD_CLOEXEC | EFD_NONBLOCK);
}

static void read_one(struct event_watch *watch, short revents)
{
	struct counter *c = container_of(watch, struct counter, watch);
	char byte;

	cr_assert(revents & POLLIN);
	cr_assert_eq(read(watch->fd, &byte, 1), 1);
	cr_assert_eq(byte, (char)('a' + (int)c->calls));
	if (++c->calls == c->limit)
		event_loop_stop(loop);
}

LOOP_TEST(pipe_is_level_triggered)
{
	struct counter c = {.watch = {.events = POLLIN, .ready = read_one}, .limit = 5};
	int fds[2];

	setup(kind);
	cr_assert_eq(pipe(fds), 0);
	c.watch.fd = fds[0];
	cr_assert_eq(event_loop_watch(loop, &c.watch), 0);
	cr_assert_eq(write(fds[1], "abcde", 5), 5);
	run();
	cr_expect_eq(c.calls, 5);
	event_loop_unwatch(loop, &c.watch);
	event_loop_free(loop);
	close(fds[0]);
	close(fds[1]);
}

LOOP_TEST(hang_up_is_told)
{
	struct counter c = {.watch = {.events = POLLIN, .ready = count_ready}, .limit = 1};
	int fds[2];

	setup(kind);
	cr_assert_eq(pipe(fds), 0);
	close(fds[1]);
	c.watch.fd = fds[0];
	cr_assert_eq(event_loop_watch(loop, &c.watch), 0);
	run();
	cr_expect(c.revents & POLLHUP);
	event_loop_unwatch(loop, &c.watch);
	event_loop_free(loop);
	close(fds[0]);
}

LOOP_TEST(watch_refuses_a_bad_descriptor)
{
	struct event_watch watch = {.fd = -1, .events = POLLIN};

	setup(kind);
	cr_expect_eq(event_loop_watch(loop, &watch), -EBADF);
	event_loop_unwatch(loop, &watch);
	event_loop_free(loop);
}

/* Whichever of the two runs first unwatches and frees the other, which is ready as well. */
static struct counter *pair[2];

static void kill_other(struct event_watch *watch, short revents)
{
	struct counter *c = container_of(watch, struct counter, watch);
	struct counter **other = c == pair[0] ? &pair[1] : &pair[0];

	(void)revents;
	if (*other) {
		event_loop_unwatch(loop, &(*other)->watch);
		close((*other)->watch.fd);
		memset(*other, 0xa5, sizeof(**other));
		free(*other);
		*other = NULL;
	}
	if (++c->calls == 3)
		event_loop_stop(loop);
}

LOOP_TEST(unwatch_another_that_is_ready)
{
	for (int drain = 0; drain < 2; drain++) {
		struct counter *left;

		setup(kind);
		for (int i = 0; i < 2; i++) {
			pair[i] = calloc(1, sizeof(*pair[i]));
			pair[i]->watch.fd = eventfd(0, drain ? 0 : EFD_SEMAPHORE);
			pair[i]->watch.events = POLLIN;
			pair[i]->watch.drain = drain;
			pair[i]->watch.ready = kill_other;
			cr_assert_eq(event_loop_watch(loop, &pair[i]->watch), 0);
			signal_fd(pair[i]->watch.fd, 1);
		}
		if (drain) {
			/* Quiet after the first call: only one of the two may ever have run. */
			struct event_timer timer = {.expired = stop_expired};

			event_loop_timer_arm(loop, &timer, 20000000);
			run();
		} else {
			run();
		}
		left = pair[0] ? pair[0] : pair[1];
		cr_assert(left && !(pair[0] && pair[1]));
		cr_expect_eq(left->calls, drain ? 1 : 3);
		event_loop_unwatch(loop, &left->watch);
		close(left->watch.fd);
		free(left);
		event_loop_free(loop);
	}
}

/* Unwatch oneself, perhaps watch again, from inside the callback. */
static void unwatch_self(struct event_watch *watch, short revents)
{
	struct counter *c = container_of(watch, struct counter, watch);

	(void)revents;
	c->calls++;
	event_loop_unwatch(loop, watch);
	if (c->rewatch && c->calls < 3)
		cr_assert_eq(event_loop_watch(loop, watch), 0);
	else
		event_loop_timer_arm(loop, &c->timer, 10000000);
}

LOOP_TEST(unwatch_and_rewatch_self)
{
	for (int rewatch = 0; rewatch < 2; rewatch++) {
		struct counter c = {
			.watch = {.fd = eventfd(1, 0), .events = POLLIN, .ready = unwatch_self},
			.timer = {.expired = stop_expired},
			.rewatch = rewatch,
		};

		setup(kind);
		cr_assert_eq(event_loop_watch(loop, &c.watch), 0);
		run();
		cr_expect_eq(c.calls, rewatch ? 3 : 1);
		close(c.watch.fd);
		event_loop_free(loop);
	}
}

static void unwatch_armed(struct event_timer *timer)
{
	struct counter *c = container_of(timer, struct counter, timer);

	/* The kernel may take this count with the request that is being cancelled. */
	signal_fd(c->watch.fd, 7);
	event_loop_unwatch(loop, &c->watch);
	memset(&c->watch.node, 0, sizeof(c->watch.node));
	c->timer.expired = stop_expired;
	event_loop_timer_arm(loop, timer, 10000000);
}

LOOP_TEST(unwatch_loses_no_signal)
{
	struct counter c = {
		.watch = {.events = POLLIN, .drain = true, .ready = count_ready},
		.timer = {.expired = unwatch_armed},
	};
	uint64_t value = 0;

	setup(kind);
	c.watch.fd = eventfd(0, EFD_CLOEXEC);
	cr_assert_eq(event_loop_watch(loop, &c.watch), 0);
	event_loop_timer_arm(loop, &c.timer, 1000000);
	run();
	cr_expect_eq(c.calls, 0);
	cr_assert(readable(c.watch.fd));
	cr_assert_eq(read(c.watch.fd, &value, 8), 8);
	cr_expect_eq(value, 7);
	close(c.watch.fd);
	event_loop_free(loop);
}

static void unwatch_other(struct event_watch *watch, short revents)
{
	struct counter *c = container_of(watch, struct counter, watch);

	(void)revents;
	c->calls++;
	event_loop_unwatch(loop, &(c == pair[0] ? pair[1] : pair[0])->watch);
}

/* Both are ready in one batch: the engine may have read the second before the first's callback. */
LOOP_TEST(unwatch_in_a_batch_loses_no_signal)
{
	struct counter c[2] = {0};
	struct event_timer timer = {.expired = stop_expired};
	unsigned left;
	uint64_t value = 0;

	setup(kind);
	for (int i = 0; i < 2; i++) {
		pair[i] = &c[i];
		c[i].watch = (struct event_watch){
			.fd = eventfd(7, EFD_CLOEXEC), .drain = true, .ready = unwatch_other};
		c[i].watch.events = POLLIN;
		cr_assert_eq(event_loop_watch(loop, &c[i].watch), 0);
	}
	event_loop_timer_arm(loop, &timer, 10000000);
	run();
	cr_assert_eq(c[0].calls + c[1].calls, 1);
	left = c[0].calls ? 1 : 0;
	cr_assert(readable(c[left].watch.fd));
	cr_assert_eq(read(c[left].watch.fd, &value, 8), 8);
	cr_expect_eq(value, 7);
	cr_expect_not(readable(c[!left].watch.fd));
	event_loop_unwatch(loop, &c[!left].watch);
	for (int i = 0; i < 2; i++)
		close(c[i].watch.fd);
	event_loop_free(loop);
}

LOOP_TEST(many_watches)
{
	static struct counter c[700];

	setup(kind);
	memset(c, 0, sizeof(c));
	for (unsigned i = 0; i < ARRAY_SIZE(c); i++) {
		c[i].watch.fd = eventfd(1, EFD_CLOEXEC);
		c[i].watch.events = POLLIN;
		c[i].watch.drain = true;
		c[i].watch.ready = count_ready;
		cr_assert_eq(event_loop_watch(loop, &c[i].watch), 0);
	}
	c[0].timer.expired = stop_expired;
	event_loop_timer_arm(loop, &c[0].timer, 200000000);
	run();
	for (unsigned i = 0; i < ARRAY_SIZE(c); i++) {
		cr_expect_eq(c[i].calls, 1, "%u: %u", i, c[i].calls);
		event_loop_unwatch(loop, &c[i].watch);
		close(c[i].watch.fd);
	}
	event_loop_free(loop);
}

/* ---- timers ---- */

static char order[8];
static unsigned order_len;

struct named_timer {
	struct event_timer timer;
	char name;
	struct event_timer *cancel;
};

static void note(struct event_timer *timer)
{
	struct named_timer *t = container_of(timer, struct named_timer, timer);

	order[order_len++] = t->name;
	if (t->cancel)
		event_loop_timer_cancel(loop, t->cancel);
	if (t->name == 'z')
		event_loop_stop(loop);
}

LOOP_TEST(timers_arm_move_cancel)
{
	struct named_timer a = {{.expired = note}, 'a', NULL}, b = {{.expired = note}, 'b', NULL},
			   c = {{.expired = note}, 'c', NULL}, d = {{.expired = note}, 'd', NULL},
			   z = {{.expired = note}, 'z', NULL};

	setup(kind);
	order_len = 0;
	memset(order, 0, sizeof(order));
	event_loop_timer_arm(loop, &z.timer, 30000000);
	event_loop_timer_arm(loop, &a.timer, 20000000);
	event_loop_timer_arm(loop, &b.timer, 10000000);
	event_loop_timer_arm(loop, &c.timer, 1);
	event_loop_timer_arm(loop, &d.timer, 25000000);
	event_loop_timer_arm(loop, &a.timer, 5000000); /* moves it before b */
	event_loop_timer_arm(loop, &b.timer, UINT64_MAX);
	event_loop_timer_arm(loop, &b.timer, 11000000);
	event_loop_timer_cancel(loop, &c.timer);
	event_loop_timer_cancel(loop, &c.timer);
	b.cancel = &d.timer;
	run();
	cr_expect_str_eq(order, "abz");
	event_loop_free(loop);
}

/* ---- life ---- */

static void on_signal(int number)
{
	(void)number;
	event_loop_stop(loop);
}

LOOP_TEST(stop_from_a_signal_handler)
{
	struct sigaction action = {.sa_handler = on_signal};
	struct event_timer late = {.expired = stop_expired};
	struct timespec a, b;

	setup(kind);
	sigaction(SIGALRM, &action, NULL);
	ualarm(5000, 0);
	event_loop_timer_arm(loop, &late, UINT64_C(50000000000));
	clock_gettime(CLOCK_MONOTONIC, &a);
	run();
	clock_gettime(CLOCK_MONOTONIC, &b);
	cr_expect_lt(b.tv_sec - a.tv_sec, 40, "ended by the timer, not by the signal");
	event_loop_free(loop);
}

LOOP_TEST(stop_before_run)
{
	setup(kind);
	event_loop_stop(loop);
	run();
	event_loop_free(loop);
}

#ifdef CONFIG_EVENT_LOOP_URING
/* What a container's system call policy does; the process does nothing else afterwards. */
static void forbid(unsigned nr)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {ARRAY_SIZE(filter), filter};

	cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void forbidden(unsigned nr)
{
	forbid(nr);
	cr_expect_eq(event_loop_new(EVENT_LOOP_URING, &loop), -EPERM);
	cr_assert_eq(event_loop_new(EVENT_LOOP_AUTO, &loop), 0);
	cr_expect_str_eq(event_loop_name(loop), "poll");
	event_loop_free(loop);
}

Test(event_loop, io_uring_setup_forbidden)
{
	forbidden(__NR_io_uring_setup);
}

Test(event_loop, io_uring_enter_forbidden)
{
	forbidden(__NR_io_uring_enter);
}

Test(event_loop, io_uring_register_forbidden)
{
	forbidden(__NR_io_uring_register);
}
#endif

Test(event_loop, automatic_choice)
{
	cr_assert_eq(event_loop_new(EVENT_LOOP_AUTO, &loop), 0);
	event_loop_stop(loop);
	run();
	event_loop_free(loop);
}
