// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/event_loop_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- I/O ---- */

#define BLOCK 512u

struct request {
	struct event_io io;
	struct iovec iov[2];
	uint8_t data[BLOCK];
	unsigned index;
};

static _Atomic unsigned pending;
static bool submitting;

static void request_done(struct event_io *io, int result)
{
	cr_assert_not(submitting);
	cr_assert_eq(result, io->op >= EVENT_IO_FSYNC ? 0 : (int)BLOCK, "%d", result);
	if (!--pending)
		event_loop_stop(loop);
}

static void request_submit(struct request *r, enum event_io_op op, int fd)
{
	/* Two parts of unequal size. */
	r->iov[0] = (struct iovec){r->data, 100};
	r->iov[1] = (struct iovec){r->data + 100, BLOCK - 100};
	r->io = (struct event_io){.op = op,
				  .fd = fd,
				  .iov = r->iov,
				  .iov_count = 2,
				  .offset = (uint64_t)r->index * BLOCK,
				  .done = request_done};
	submitting = true;
	cr_assert_eq(event_loop_submit(loop, &r->io), 0);
	submitting = false;
	pending++;
}

LOOP_TEST(a_thousand_in_flight)
{
	enum { COUNT = 1000 };
	struct request *r = calloc(COUNT + 1, sizeof(*r));
	int fd = memfd_create("io", MFD_CLOEXEC);
	struct event_loop_stats stats;

	setup(kind);
	for (unsigned i = 0; i < COUNT; i++) {
		r[i].index = i;
		for (unsigned j = 0; j < BLOCK; j++)
			r[i].data[j] = (uint8_t)(i * 7 + j);
		request_submit(&r[i], EVENT_IO_WRITEV, fd);
	}
	run();
	request_submit(&r[COUNT], EVENT_IO_FDATASYNC, fd);
	run();
	request_submit(&r[COUNT], EVENT_IO_FSYNC, fd);
	run();
	cr_assert_eq(lseek(fd, 0, SEEK_END), COUNT * BLOCK);
	for (unsigned i = 0; i < COUNT; i++) {
		memset(r[i].data, 0, BLOCK);
		request_submit(&r[i], EVENT_IO_READV, fd);
	}
	run();
	for (unsigned i = 0; i < COUNT; i++) {
		uint8_t byte;

		for (unsigned j = 0; j < BLOCK; j++)
			cr_assert_eq(r[i].data[j], (uint8_t)(i * 7 + j));
		cr_assert_eq(pread(fd, &byte, 1, i * BLOCK + 99), 1);
		cr_assert_eq(byte, (uint8_t)(i * 7 + 99));
	}
	event_loop_stats(loop, &stats);
	cr_expect_eq(stats.submissions, 2 * COUNT + 2);
	cr_expect_eq(stats.completions, 2 * COUNT + 2);
	event_loop_free(loop);
	close(fd);
	free(r);
}

static int last_result;

static void result_done(struct event_io *io, int result)
{
	(void)io;
	last_result = result;
	event_loop_stop(loop);
}

static int do_io(enum event_io_op op, int fd, void *buf, size_t len, uint64_t offset)
{
	struct iovec iov = {buf, len};
	struct event_io io = {.op = op,
			      .fd = fd,
			      .iov = &iov,
			      .iov_count = 1,
			      .offset = offset,
			      .done = result_done};

	last_result = 12345;
	cr_assert_eq(event_loop_submit(loop, &io), 0);
	cr_assert_eq(last_result, 12345);
	run();
	return last_result;
}

LOOP_TEST(io_results_pass_through)
{
	int fd = memfd_create("io", MFD_CLOEXEC), fds[2];
	uint8_t buf[64] = {1, 2, 3};
	char xyz[] = "xyz";
	struct event_io bad = {.op = (enum event_io_op)99}, hole;

	setup(kind);
	cr_assert_eq(ftruncate(fd, 40), 0);
	cr_expect_eq(do_io(EVENT_IO_READV, fd, buf, sizeof(buf), 0), 40);
	cr_expect_eq(do_io(EVENT_IO_READV, fd, buf, sizeof(buf), 40), 0);
	cr_expect_eq(do_io(EVENT_IO_READV, -1, buf, sizeof(buf), 0), -EBADF);
	cr_expect_eq(do_io(EVENT_IO_FDATASYNC, -1, buf, 0, 0), -EBADF);
	cr_expect_eq(do_io(EVENT_IO_READV, fd, (void *)8, 8, 0), -EFAULT);
	hole = (struct event_io){.op = EVENT_IO_FALLOCATE,
				 .fd = fd,
				 .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 .offset = 10,
				 .len = 20,
				 .done = result_done};
	memset(buf, 0xff, sizeof(buf));
	cr_assert_eq(pwrite(fd, buf, 40, 0), 40);
	cr_assert_eq(event_loop_submit(loop, &hole), 0);
	run();
	cr_expect_eq(last_result, 0);
	cr_assert_eq(pread(fd, buf, sizeof(buf), 0), 40);
	cr_expect(buf[9] == 0xff && !buf[10] && !buf[29] && buf[30] == 0xff);
	cr_assert_eq(pipe(fds), 0);
	hole.fd = fds[0];
	cr_assert_eq(event_loop_submit(loop, &hole), 0);
	run();
	cr_expect_lt(last_result, 0);
	cr_expect_eq(do_io(EVENT_IO_WRITEV, fds[1], xyz, 3, 0), 3);
	cr_expect_eq(do_io(EVENT_IO_READV, fds[0], buf, sizeof(buf), 0), 3);
	cr_expect_eq(memcmp(buf, "xyz", 3), 0);
	cr_expect_eq(event_loop_submit(loop, &bad), -EINVAL);
	event_loop_free(loop);
	close(fd);
	close(fds[0]);
	close(fds[1]);
}

/* ---- posts ---- */

#define POSTERS	    4
#define POSTS	    2000
#define SELF_POSTS  100
#define POST_TARGET (POSTERS * 4 + 1)

struct poster {
	pthread_t thread;
	struct event_work work[8];
	unsigned long posted; /* written before each post, read by run() */
	unsigned long seen;
};

static struct poster poster[POSTERS];
static unsigned finished, self_posts;

static void post_run(struct event_work *work)
{
	(void)work;
	cr_assert(event_loop_here(loop));
}

static void poster_finished(struct event_work *work)
{
	(void)work;
	if (++finished == POST_TARGET)
		event_loop_stop(loop);
}

static void *post_thread(void *arg)
{
	struct poster *p = arg;

	cr_assert_not(event_loop_here(loop));
	for (int i = 0; i < POSTS; i++)
		event_loop_post(loop, &p->work[i % 4]);
	/* Each of these is posted once, and none may get lost. */
	for (int i = 0; i < 4; i++)
		event_loop_post(loop, &p->work[4 + i]);
	return NULL;
}

static void self_post(struct event_work *work)
{
	if (++self_posts < SELF_POSTS)
		event_loop_post(loop, work);
	else
		poster_finished(work);
}

LOOP_TEST(posts_from_four_threads)
{
	struct event_work self = {.run = self_post};

	setup(kind);
	finished = self_posts = 0;
	event_loop_post(loop, &self);
	event_loop_post(loop, &self);
	for (int i = 0; i < POSTERS; i++) {
		memset(&poster[i], 0, sizeof(poster[i]));
		for (int j = 0; j < 8; j++)
			poster[i].work[j].run = j < 4 ? post_run : poster_finished;
		cr_assert_eq(pthread_create(&poster[i].thread, NULL, post_thread, &poster[i]), 0);
	}
	run();
	for (int i = 0; i < POSTERS; i++)
		pthread_join(poster[i].thread, NULL);
	cr_expect_eq(finished, POST_TARGET);
	cr_expect_eq(self_posts, SELF_POSTS);
	/* Run what repeated posts may have left. */
	event_loop_stop(loop);
	run();
	event_loop_free(loop);
}

/* The loop sleeps with nothing to do when each of these arrives. */
static void *ping_thread(void *arg)
{
	struct event_work *work = arg;

	for (int i = 0; i < 200; i++) {
		unsigned before = __atomic_load_n(&finished, __ATOMIC_ACQUIRE);

		event_loop_post(loop, work);
		while (__atomic_load_n(&finished, __ATOMIC_ACQUIRE) == before)
			sched_yield();
	}
	event_loop_stop(loop);
	return NULL;
}

static void ping(struct event_work *work)
{
	(void)work;
	__atomic_fetch_add(&finished, 1, __ATOMIC_RELEASE);
}

LOOP_TEST(every_post_wakes_and_stop_from_a_thread)
{
	struct event_work work = {.run = ping};
	pthread_t thread;

	setup(kind);
	finished = 0;
	cr_assert_eq(pthread_create(&thread, NULL, ping_thread, &work), 0);
	run();
	pthread_join(thread, NULL);
	cr_expect_eq(finished, 200);
	event_loop_free(loop);
}

/* ---- threads ---- */

static void *run_thread(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)event_loop_run(loop);
}

LOOP_TEST(set_up_on_one_thread_run_on_another)
{
	struct counter c = {.watch = {.events = POLLIN, .drain = true, .ready = count_ready},
			    .limit = 1};
	struct request r = {.index = 0, .data = "held until the loop runs"};
	int fd = memfd_create("io", MFD_CLOEXEC);
	pthread_t thread;
	void *ret;
	char text[25];

	setup(kind);
	cr_expect(event_loop_here(loop));
	c.watch.fd = eventfd(0, EFD_CLOEXEC);
	cr_assert_eq(event_loop_watch(loop, &c.watch), 0);
	request_submit(&r, EVENT_IO_WRITEV, fd);
	pending++; /* the eventfd stops the loop, not the write */
	cr_assert_eq(pthread_create(&thread, NULL, run_thread, NULL), 0);
	while (pending == 2)
		sched_yield();
	signal_fd(c.watch.fd, 1);
	pthread_join(thread, &ret);
	pending = 0;
	cr_expect_eq((intptr_t)ret, 0);
	cr_expect_eq(c.calls, 1);
	cr_assert_eq(pread(fd, text, sizeof(text), 0), (ssize_t)sizeof(text));
	cr_expect_str_eq(text, "held until the loop runs");
	/* After the loop: taken down by a thread that the ring does not belong to. */
	event_loop_unwatch(loop, &c.watch);
	signal_fd(c.watch.fd, 1);
	cr_expect(readable(c.watch.fd));
	close(c.watch.fd);
	close(fd);
	event_loop_free(loop);
}

/* I/O is done on the loop's thread here: what becomes ready meanwhile has its turn between. */
static unsigned done_when_ready, ios_done;

static void on_ready(struct event_watch *watch, short revents)
{
	(void)watch;
	(void)revents;
	done_when_ready = ios_done;
}

static void on_io(struct event_io *io, int result)
{
	(void)io;
	cr_expect_eq(result, 8);
	if (++ios_done == 200)
		event_loop_stop(loop);
}

Test(event_loop, a_batch_of_synchronous_requests_is_bounded)
{
	struct event_watch watch = {.events = POLLIN, .drain = true, .ready = on_ready};
	static uint64_t one = 1;
	const struct iovec iov = {&one, sizeof(one)};
	static struct event_io io[200];
	int fd = memfd_create("io", MFD_CLOEXEC);

	setup(EVENT_LOOP_POLL);
	watch.fd = eventfd(0, EFD_CLOEXEC);
	cr_assert_eq(event_loop_watch(loop, &watch), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(io); i++) {
		/* The first makes the eventfd ready. */
		io[i] = (struct event_io){.op = EVENT_IO_WRITEV,
					  .fd = i ? fd : watch.fd,
					  .iov = &iov,
					  .iov_count = 1,
					  .done = on_io};
		cr_assert_eq(event_loop_submit(loop, &io[i]), 0);
	}
	run();
	cr_expect_eq(ios_done, 200);
	cr_expect(done_when_ready > 0 && done_when_ready < 100, "%u", done_when_ready);
	event_loop_unwatch(loop, &watch);
	event_loop_free(loop);
	close(watch.fd);
	close(fd);
}

#ifdef CONFIG_EVENT_LOOP_URING
Test(event_loop, callbacks_of_a_batch_share_one_turn)
{
	struct event_loop_stats before, after;
	struct request r[4];
	int fds[2];

	setup(EVENT_LOOP_URING);
	memset(r, 0, sizeof(r));
	/* Four blocks fit into a pipe, so that the kernel never has to put one off. */
	cr_assert_eq(pipe(fds), 0);
	event_loop_stats(loop, &before);
	for (unsigned i = 0; i < ARRAY_SIZE(r); i++)
		request_submit(&r[i], EVENT_IO_WRITEV, fds[1]);
	run();
	event_loop_stats(loop, &after);
	cr_expect_eq(after.completions - before.completions, 4);
	cr_expect_eq(after.wakeups - before.wakeups, 1);
	event_loop_free(loop);
	close(fds[0]);
	close(fds[1]);
}
#endif
