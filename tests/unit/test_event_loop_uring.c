// SPDX-License-Identifier: Apache-2.0
/* What the event loop's ring will not do: system calls by another way. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#ifdef CONFIG_EVENT_LOOP_URING
#include <liburing.h>

#include "vmm/event_loop_engine.h"

static struct io_uring ring;

/* Of the one request that has been filled in. */
static int result(void)
{
	struct io_uring_cqe *cqe;
	int rc;

	cr_assert_eq(io_uring_submit(&ring), 1);
	cr_assert_eq(io_uring_wait_cqe(&ring, &cqe), 0);
	rc = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	return rc;
}

static int opened(void)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	io_uring_prep_openat(sqe, AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC, 0);
	return result();
}

Test(uring, restricted)
{
	struct io_uring_params params = {.flags = IORING_SETUP_R_DISABLED};
	struct io_uring_sqe *sqe;
	char byte = 1;
	int fd;

	if (io_uring_queue_init_params(8, &ring, &params))
		cr_skip_test("this host forbids io_uring");
	if (event_uring_restrict(ring.ring_fd) < 0)
		cr_skip_test("this host's io_uring takes no restrictions");
	cr_assert_eq(
		io_uring_register((unsigned)ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0),
		0);
	cr_expect_eq(opened(), -EACCES);
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_nop(sqe);
	cr_expect_eq(result(), -EACCES);
	/* What the engine does is done, but not with flags that it does not use. */
	fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_read(sqe, fd, &byte, 1, 0);
	cr_expect_eq(result(), 1);
	cr_expect_eq(byte, 0);
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_read(sqe, fd, &byte, 1, 0);
	sqe->flags |= IOSQE_ASYNC;
	cr_expect_eq(result(), -EACCES);
	close(fd);
	/* And the ring is what it is. */
	fd = 0;
	cr_expect_eq(io_uring_register((unsigned)ring.ring_fd, IORING_REGISTER_FILES, &fd, 1),
		     -EACCES);
	io_uring_queue_exit(&ring);
}

/* The loop restricts its own. */
Test(uring, loop_is_restricted)
{
	struct event_loop *loop;
	char path[64], target[64];
	int fd, found = -1;

	if (event_loop_new(EVENT_LOOP_URING, &loop))
		cr_skip_test("this host forbids io_uring");
	for (fd = 3; fd < 64; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, target, sizeof(target) - 1);
		if (n > 0 && !strncmp(target, "anon_inode:[io_uring]", (size_t)n))
			found = fd;
	}
	cr_assert_geq(found, 0);
	/* Restrictions are set once. */
	cr_expect_eq(event_uring_restrict(found), -EBUSY);
	event_loop_free(loop);
}
#else
Test(uring, not_built)
{
	cr_skip_test("CONFIG_EVENT_LOOP_URING is off");
}
#endif
