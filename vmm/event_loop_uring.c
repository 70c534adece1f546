// SPDX-License-Identifier: Apache-2.0
/*
 * The io_uring engine.
 *
 * The ring is created disabled and enabled in event_loop_run(), which makes that thread the single
 * issuer. All SQEs are filled in uring_wait(), so that what one batch of callbacks asked for
 * reaches the kernel in the same io_uring_enter() that waits for the next event.
 *
 * An event_io is its owner's until done() runs, so its address can be the CQE's user_data. An
 * event_watch may go away at any moment, so that each has a struct uring_request of the engine's
 * own, which lives until its last CQE has been seen.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "postern/bits.h"
#include "postern/log.h"
#include "vmm/event_loop_engine.h"

#define SQ_ENTRIES 256
#define CQ_ENTRIES 1024

/* Low bits of user_data; everything pointed to is 8-byte aligned. */
enum { TAG_IO, TAG_WATCH, TAG_CANCEL, TAG_MASK = 7 };

struct uring_request {
	struct uring_request *next;		   /* in todo */
	struct uring_request *prev_all, *next_all; /* in all */
	struct event_watch *watch;		   /* NULL: unwatched */
	uint64_t counter;			   /* what the read of a drained eventfd returns */
	int restore_fd;	  /* of an unwatched eventfd whose read is in flight */
	bool reads;	  /* drained by a read SQE, else polled */
	bool armed;	  /* the kernel has it */
	bool queued;	  /* in todo */
	bool dispatching; /* ready() is running */
};

struct uring_engine {
	struct io_uring ring;
	bool enabled, ending;
	struct uring_request *todo, **todo_last; /* to be armed or cancelled */
	struct uring_request *all;
	unsigned armed;
	struct event_io *first, **last;
};

/* ---- set-up ---- */

static const unsigned setup_flags[] = {
	IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, /* Linux 6.1 */
	IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN,	 /* Linux 6.0 */
	0,
};

static int create_ring(struct io_uring *ring)
{
	int ret = -EINVAL;

	for (unsigned i = 0; i < ARRAY_SIZE(setup_flags) && ret == -EINVAL; i++) {
		struct io_uring_params params = {
			.flags = setup_flags[i] | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE,
			.cq_entries = CQ_ENTRIES,
		};

		ret = io_uring_queue_init_params(SQ_ENTRIES, ring, &params);
	}
	return ret;
}

static const uint8_t needed[] = {IORING_OP_READV,    IORING_OP_WRITEV, IORING_OP_FSYNC,
				 IORING_OP_POLL_ADD, IORING_OP_READ,   IORING_OP_ASYNC_CANCEL,
				 IORING_OP_FALLOCATE};

/*
 * Whether the ring does what the engine needs. A policy may allow io_uring_setup() and refuse the
 * other calls: entering a disabled ring answers EBADFD where the call is allowed at all.
 */
static int probe_ring(struct io_uring *ring)
{
	struct io_uring_probe *probe;
	int ret = 0;

	if (!(ring->features & IORING_FEAT_EXT_ARG) || !(ring->features & IORING_FEAT_NODROP))
		return -ENOSYS;
	probe = io_uring_get_probe_ring(ring);
	if (!probe)
		return -EPERM;
	for (unsigned i = 0; i < ARRAY_SIZE(needed); i++) {
		if (!io_uring_opcode_supported(probe, needed[i]))
			ret = -ENOSYS;
	}
	io_uring_free_probe(probe);
	if (ret)
		return ret;
	ret = io_uring_enter((unsigned)ring->ring_fd, 0, 0, 0, NULL);
	return ret == -EBADFD ? 0 : ret < 0 ? ret : -ENOSYS;
}

/*
 * Requests of a ring pass by the filters of system calls: so it takes none but those needed, and
 * once enabled is changed no more.
 */
int event_uring_restrict(int ring_fd)
{
	struct io_uring_restriction allow[ARRAY_SIZE(needed)] = {0};

	for (unsigned i = 0; i < ARRAY_SIZE(needed); i++) {
		allow[i].opcode = IORING_RESTRICTION_SQE_OP;
		allow[i].sqe_op = needed[i];
	}
	return io_uring_register((unsigned)ring_fd, IORING_REGISTER_RESTRICTIONS, allow,
				 ARRAY_SIZE(allow));
}

static int uring_open(struct event_loop *loop)
{
	struct uring_engine *u = calloc(1, sizeof(*u));
	int ret;

	if (!u)
		return -ENOMEM;
	ret = create_ring(&u->ring);
	if (ret)
		goto err_free;
	ret = probe_ring(&u->ring);
	if (ret)
		goto err_ring;
	/* Linux 5.10. */
	ret = event_uring_restrict(u->ring.ring_fd);
	if (ret < 0)
		log_debug("event loop: this host's io_uring takes no restrictions: %s",
			  strerror(-ret));
	u->todo_last = &u->todo;
	u->last = &u->first;
	loop->engine_data = u;
	return 0;

err_ring:
	io_uring_queue_exit(&u->ring);
err_free:
	free(u);
	return ret;
}

static void request_free(struct uring_engine *u, struct uring_request *req)
{
	if (req->prev_all)
		req->prev_all->next_all = req->next_all;
	else
		u->all = req->next_all;
	if (req->next_all)
		req->next_all->prev_all = req->prev_all;
	if (req->restore_fd >= 0)
		close(req->restore_fd);
	free(req);
}

static void uring_close(struct event_loop *loop)
{
	struct uring_engine *u = loop->engine_data;

	io_uring_queue_exit(&u->ring);
	for (struct uring_request *req = u->all, *next; req; req = next) {
		next = req->next_all;
		request_free(u, req);
	}
	free(u);
}

/* ---- watches ---- */

static void request_queue(struct uring_engine *u, struct uring_request *req)
{
	if (req->queued)
		return;
	req->queued = true;
	req->next = NULL;
	*u->todo_last = req;
	u->todo_last = &req->next;
}

static void request_drop_if_dead(struct uring_engine *u, struct uring_request *req)
{
	if (!req->watch && !req->armed && !req->queued && !req->dispatching)
		request_free(u, req);
}

static int uring_watch(struct event_loop *loop, struct event_watch *watch)
{
	struct uring_engine *u = loop->engine_data;
	struct uring_request *req;
	int flags = fcntl(watch->fd, F_GETFL);

	if (flags < 0)
		return -errno;
	req = calloc(1, sizeof(*req));
	if (!req)
		return -ENOMEM;
	req->watch = watch;
	req->restore_fd = -1;
	/* io_uring fails a read of an empty non-blocking descriptor instead of waiting. */
	req->reads = watch->drain && !(flags & O_NONBLOCK);
	req->next_all = u->all;
	if (u->all)
		u->all->prev_all = req;
	u->all = req;
	watch->node.state[0] = (uintptr_t)req;
	request_queue(u, req);
	return 0;
}

static void uring_unwatch(struct event_loop *loop, struct event_watch *watch)
{
	struct uring_engine *u = loop->engine_data;
	struct uring_request *req = (struct uring_request *)(uintptr_t)watch->node.state[0];

	if (!req)
		return;
	watch->node.state[0] = 0;
	req->watch = NULL;
	if (req->armed) {
		/*
		 * The read may win over its cancellation and take a count that nobody here wants
		 * any more: it is put back then, through a descriptor that the owner cannot have
		 * closed meanwhile.
		 */
		if (req->reads)
			req->restore_fd = fcntl(watch->fd, F_DUPFD_CLOEXEC, 0);
		request_queue(u, req);
	}
	request_drop_if_dead(u, req);
}

static int uring_submit(struct event_loop *loop, struct event_io *io)
{
	struct uring_engine *u = loop->engine_data;

	*u->last = io;
	u->last = (struct event_io **)&io->node.next;
	return 0;
}

/* ---- filling the submission queue ---- */

static struct io_uring_sqe *get_sqe(struct uring_engine *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	if (sqe)
		return sqe;
	/* Refused while completions overflow: what is left goes in the next turn. */
	io_uring_submit(&u->ring);
	return io_uring_get_sqe(&u->ring);
}

static void fill_io(struct io_uring_sqe *sqe, struct event_io *io)
{
	switch (io->op) {
	case EVENT_IO_READV:
		io_uring_prep_readv(sqe, io->fd, io->iov, io->iov_count, io->offset);
		break;
	case EVENT_IO_WRITEV:
		io_uring_prep_writev(sqe, io->fd, io->iov, io->iov_count, io->offset);
		break;
	case EVENT_IO_FSYNC:
		io_uring_prep_fsync(sqe, io->fd, 0);
		break;
	case EVENT_IO_FDATASYNC:
		io_uring_prep_fsync(sqe, io->fd, IORING_FSYNC_DATASYNC);
		break;
	case EVENT_IO_FALLOCATE:
		io_uring_prep_fallocate(sqe, io->fd, io->mode, io->offset, io->len);
		break;
	}
	io_uring_sqe_set_data64(sqe, (uintptr_t)io | TAG_IO);
}

static void fill_watch(struct uring_engine *u, struct io_uring_sqe *sqe, struct uring_request *req)
{
	if (req->armed) {
		io_uring_prep_cancel64(sqe, (uintptr_t)req | TAG_WATCH, 0);
		io_uring_sqe_set_data64(sqe, TAG_CANCEL);
		return;
	}
	if (req->reads)
		io_uring_prep_read(sqe, req->watch->fd, &req->counter, sizeof(req->counter), 0);
	else
		io_uring_prep_poll_add(sqe, req->watch->fd, (unsigned short)req->watch->events);
	io_uring_sqe_set_data64(sqe, (uintptr_t)req | TAG_WATCH);
	req->armed = true;
	u->armed++;
}

static void fill_queue(struct uring_engine *u)
{
	struct uring_request *req;
	struct event_io *io;

	while ((req = u->todo)) {
		/* Unwatched before it was armed, or reaped before it was cancelled. */
		bool moot = req->armed ? req->watch && !u->ending : !req->watch || u->ending;
		struct io_uring_sqe *sqe = moot ? NULL : get_sqe(u);

		if (!moot && !sqe)
			return;
		u->todo = req->next;
		if (!u->todo)
			u->todo_last = &u->todo;
		req->queued = false;
		if (!moot)
			fill_watch(u, sqe, req);
		request_drop_if_dead(u, req);
	}
	while ((io = u->first)) {
		struct io_uring_sqe *sqe = get_sqe(u);

		if (!sqe)
			return;
		u->first = io->node.next;
		if (!u->first)
			u->last = &u->first;
		fill_io(sqe, io);
	}
}

/* ---- completions ---- */

/* What a CQE means to a live watch, or 0 for nothing. */
static short watch_revents(struct uring_request *req, int res)
{
	uint64_t counter;

	if (res == -ECANCELED || res == -EAGAIN || res == -EINTR)
		return 0;
	if (res < 0)
		return res == -EBADF ? POLLNVAL : POLLERR;
	if (req->reads)
		return res ? POLLIN : POLLHUP;
	if (req->watch->drain && (res & POLLIN) &&
	    read(req->watch->fd, &counter, sizeof(counter)) < 0 &&
	    (errno == EAGAIN || errno == EINTR))
		return 0;
	return (short)res;
}

static void complete_watch(struct uring_engine *u, struct uring_request *req, int res)
{
	struct event_watch *watch = req->watch;
	short revents;

	req->armed = false;
	u->armed--;
	if (watch) {
		/* Made non-blocking after it was watched. */
		if (res == -EAGAIN)
			req->reads = false;
		revents = watch_revents(req, res);
		req->dispatching = true;
		if (revents)
			watch->ready(watch, revents);
		req->dispatching = false;
		if (req->watch)
			request_queue(u, req);
	} else if (req->reads && res == sizeof(req->counter) && req->restore_fd >= 0 &&
		   write(req->restore_fd, &req->counter, sizeof(req->counter)) < 0) {
		/* The counter is full, so that whoever reads it next is told anyway. */
	}
	request_drop_if_dead(u, req);
}

static void dispatch(struct event_loop *loop)
{
	struct uring_engine *u = loop->engine_data;
	/* Those there now: posts and timers get their turn before later ones. */
	unsigned n = io_uring_cq_ready(&u->ring);

	while (n--) {
		struct io_uring_cqe *cqe;
		uint64_t data;
		void *object;
		int res;

		if (io_uring_peek_cqe(&u->ring, &cqe))
			return;
		data = cqe->user_data;
		res = cqe->res;
		io_uring_cqe_seen(&u->ring, cqe);
		object = (void *)(uintptr_t)(data & ~(uint64_t)TAG_MASK);
		if ((data & TAG_MASK) == TAG_IO)
			event_io_done(loop, object, res);
		else if ((data & TAG_MASK) == TAG_WATCH)
			complete_watch(u, object, res);
	}
}

static int uring_wait(struct event_loop *loop, uint64_t nanoseconds)
{
	struct uring_engine *u = loop->engine_data;
	struct __kernel_timespec ts = {
		.tv_sec = (int64_t)(nanoseconds / 1000000000),
		.tv_nsec = (long long)(nanoseconds % 1000000000),
	};
	struct io_uring_cqe *cqe;
	int ret;

	fill_queue(u);
	/* Work that found no SQE must not wait for an event that may never come. */
	if (u->todo || u->first)
		nanoseconds = 0;
	if (!nanoseconds)
		ts = (struct __kernel_timespec){0};
	ret = io_uring_submit_and_wait_timeout(
		&u->ring, &cqe, 1, nanoseconds == EVENT_WAIT_FOREVER ? NULL : &ts, NULL);
	/* BUSY and AGAIN: the kernel wants completions reaped, or memory, before it takes more. */
	if (ret < 0 && ret != -ETIME && ret != -EINTR && ret != -EBUSY && ret != -EAGAIN)
		return ret;
	dispatch(loop);
	return 0;
}

static int uring_begin(struct event_loop *loop)
{
	struct uring_engine *u = loop->engine_data;
	int ret;

	u->ending = false;
	for (struct uring_request *req = u->all; req; req = req->next_all)
		request_queue(u, req);
	if (u->enabled)
		return 0;
	/* io_uring_enable_rings() is missing from the shared liburing 2.3. */
	ret = io_uring_register((unsigned)u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	if (ret < 0)
		return ret;
	u->enabled = true;
	return 0;
}

/* Take back every request of a watch: nothing may write into freed memory after the loop. */
static void uring_end(struct event_loop *loop)
{
	struct uring_engine *u = loop->engine_data;

	u->ending = true;
	for (struct uring_request *req = u->all; req; req = req->next_all) {
		if (req->armed)
			request_queue(u, req);
	}
	while (u->armed && !uring_wait(loop, EVENT_WAIT_FOREVER))
		;
}

const struct event_engine event_engine_uring = {
	.name = "uring",
	.kind = EVENT_LOOP_URING,
	.open = uring_open,
	.close = uring_close,
	.begin = uring_begin,
	.end = uring_end,
	.wait = uring_wait,
	.watch = uring_watch,
	.unwatch = uring_unwatch,
	.submit = uring_submit,
};
