// SPDX-License-Identifier: Apache-2.0
/* irq=loop: signals of an assigned device that the event loop turns into messages. */
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>

#include "tests/unit/vfio_device_fixture.h"

static const enum event_loop_kind kinds[] = {EVENT_LOOP_AUTO, EVENT_LOOP_POLL};
static const struct msi_msg msg = {.addr = 0xfee01000, .data = 0x51};
static struct vfio_loop_sink loop_sink;
static unsigned wanted; /* messages after which the loop stops */

static int count_send(struct msi_sink *to, const struct msi_msg *m)
{
	unsigned sent = messages + 1;

	sink_send(to, m);
	if (sent == wanted)
		event_loop_stop(loop);
	return 0;
}

static const struct msi_sink_ops counting_ops = {.send = count_send};
static struct msi_sink counting = {.ops = &counting_ops, .devid = 0x18};

static void start(enum event_loop_kind kind)
{
	messages = wanted = 0;
	cr_assert_eq(event_loop_new(kind, &loop), 0);
	cr_assert_eq(vfio_loop_sink_init(&loop_sink, loop, "vfio test", &counting), 0);
	cr_assert_eq(loop_sink.sink.devid, 0x18);
}

TestSuite(vfio_loop, .timeout = 300);

static void end(void)
{
	vfio_loop_sink_fini(&loop_sink);
	cr_assert_null(loop_sink.routes);
	vfio_loop_sink_fini(&loop_sink);
	event_loop_free(loop);
}

static void signal_fd(int fd)
{
	const uint64_t one = 1;

	cr_assert_eq(write(fd, &one, sizeof(one)), (ssize_t)sizeof(one));
}

static void run_until(unsigned count)
{
	wanted = count;
	if (messages < count)
		cr_assert_eq(event_loop_run(loop), 0);
	cr_assert_eq(messages, count);
}

/* Runs the loop until it has taken the signal of FD. */
static struct {
	struct event_work work;
	int fd;
} taken;

static void look_again(struct event_work *work)
{
	struct pollfd p = {.fd = taken.fd, .events = POLLIN};

	if (poll(&p, 1, 0) == 0)
		event_loop_stop(loop);
	else
		event_loop_post(loop, work);
}

static void run_until_taken(int fd)
{
	taken.fd = fd;
	taken.work.run = look_again;
	event_loop_post(loop, &taken.work);
	cr_assert_eq(event_loop_run(loop), 0);
}

Test(vfio_loop, signals_become_messages)
{
	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct msi_route *route[2];
		int fd[2];

		start(kinds[k]);
		for (unsigned i = 0; i < 2; i++) {
			struct msi_msg m = {.addr = msg.addr, .data = msg.data + i};

			fd[i] = eventfd(0, EFD_NONBLOCK);
			cr_assert_eq(msi_route_new(&loop_sink.sink, fd[i], &route[i]), 0);
			cr_assert_eq(msi_route_set(&loop_sink.sink, route[i], &m), 0);
		}
		signal_fd(fd[1]);
		run_until(1);
		cr_assert_eq(last_message.data, 0x52);
		signal_fd(fd[0]);
		signal_fd(fd[0]); /* a message is an edge: two at once are one */
		run_until(2);
		cr_assert_eq(last_message.data, 0x51);
		/* What the device itself sends goes straight through. */
		wanted = 0;
		cr_assert_eq(msi_sink_send(&loop_sink.sink, &msg), 0);
		cr_assert_eq(messages, 3);
		for (unsigned i = 0; i < 2; i++) {
			msi_route_free(&loop_sink.sink, route[i]);
			close(fd[i]);
		}
		end();
	}
}

Test(vfio_loop, what_comes_while_masked_waits)
{
	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct msi_route *route;
		int fd = eventfd(0, EFD_NONBLOCK);

		start(kinds[k]);
		cr_assert_eq(msi_route_new(&loop_sink.sink, fd, &route), 0);
		signal_fd(fd);
		run_until_taken(fd);
		cr_assert_eq(messages, 0);
		msi_route_set(&loop_sink.sink, route, &msg);
		cr_assert_eq(messages, 1);
		msi_route_set(&loop_sink.sink, route, NULL);
		msi_route_set(&loop_sink.sink, route, &msg);
		cr_assert_eq(messages, 1, "once");
		/* Pending, and then the device is reset: forgotten. */
		msi_route_set(&loop_sink.sink, route, NULL);
		signal_fd(fd);
		run_until_taken(fd);
		msi_route_free(&loop_sink.sink, route);
		cr_assert_eq(msi_route_new(&loop_sink.sink, fd, &route), 0);
		msi_route_set(&loop_sink.sink, route, &msg);
		cr_assert_eq(messages, 1);
		msi_route_free(&loop_sink.sink, route);
		close(fd);
		end();
	}
}

/* As vCPUs do it: routes that come and go on another thread than the loop's. */
#define ROUNDS 200u

static void *come_and_go(void *opaque)
{
	(void)opaque;
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct msi_route *route;
		int fd = eventfd(0, EFD_NONBLOCK);

		cr_assert_eq(msi_route_new(&loop_sink.sink, fd, &route), 0);
		msi_route_set(&loop_sink.sink, route, &msg);
		signal_fd(fd);
		msi_route_set(&loop_sink.sink, route, NULL);
		signal_fd(fd);
		msi_route_set(&loop_sink.sink, route, &msg);
		msi_route_free(&loop_sink.sink, route);
		close(fd);
	}
	event_loop_stop(loop);
	return NULL;
}

Test(vfio_loop, routes_of_other_threads)
{
	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct msi_route *route;
		int fd = eventfd(0, EFD_NONBLOCK), next, lowest;
		pthread_t thread;

		start(kinds[k]);
		/* The loop opens what it needs. */
		event_loop_stop(loop);
		cr_assert_eq(event_loop_run(loop), 0);
		next = dup(0); /* the lowest that is free */
		close(next);
		cr_assert_eq(pthread_create(&thread, NULL, come_and_go, NULL), 0);
		cr_assert_eq(event_loop_run(loop), 0);
		pthread_join(thread, NULL);
		/* The loop still serves, and nothing of the others is left. */
		cr_assert_eq(msi_route_new(&loop_sink.sink, fd, &route), 0);
		msi_route_set(&loop_sink.sink, route, &msg);
		signal_fd(fd);
		run_until(messages + 1);
		cr_assert_eq(loop_sink.routes, route);
		lowest = dup(0);
		cr_assert_lt(lowest, next + (int)ROUNDS, "descriptors of routes that are gone");
		close(lowest);
		msi_route_free(&loop_sink.sink, route);
		close(fd);
		end();
	}
}

/* What a guest makes and drops while the loop does something else goes at once. */
Test(vfio_loop, routes_that_the_loop_never_saw)
{
	int fd = eventfd(0, EFD_NONBLOCK), next, lowest;

	start(EVENT_LOOP_POLL);
	next = dup(0);
	close(next);
	for (unsigned i = 0; i < 8; i++) {
		struct msi_route *route, *kept;

		cr_assert_eq(msi_route_new(&loop_sink.sink, fd, &kept), 0);
		cr_assert_eq(msi_route_new(&loop_sink.sink, fd, &route), 0);
		msi_route_free(&loop_sink.sink, kept);
		cr_assert_eq(loop_sink.routes, route);
		msi_route_free(&loop_sink.sink, route);
		cr_assert_null(loop_sink.routes);
	}
	lowest = dup(0);
	cr_assert_eq(lowest, next);
	close(lowest);
	close(fd);
	end();
}

/* A whole device. */
Test(vfio_loop, of_a_device)
{
	const struct vfio_device_config config = {.fd = -1, .irq_loop = true};

	hardware(true);
	plug(&config);
	sink.ops = &counting_ops;
	cfg_write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	msix_start(2);
	cr_assert_eq(routes, 0, "the machine is asked for no route");
	cr_assert_gt(hw.irq_fd[VFIO_PCI_MSIX_IRQ_INDEX], 0);
	signal_fd(hw.irq_fd[VFIO_PCI_MSIX_IRQ_INDEX]);
	run_until(1);
	cr_assert_eq(last_message.data, 0x41);
	cr_assert_eq(vfio_device_loop_messages(&dev), 1);
	unplug();
	cr_assert_null(dev.loop_sink.loop);
}
