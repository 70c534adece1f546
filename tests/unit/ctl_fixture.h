/* SPDX-License-Identifier: Apache-2.0 */
/* A control socket in front of a machine that is not there; the loop runs on a thread of its own.
 */
#ifndef CTL_FIXTURE_H
#define CTL_FIXTURE_H

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/ctl.h"
#include "vmm/metrics.h"

static struct {
	struct event_loop *loop;
	struct ctl *ctl;
	pthread_t thread;
	char directory[32], path[64];
	/* The machine. */
	_Atomic int state;
	atomic_bool fails, slow;
	atomic_uint pauses, resumes, buttons, resets, quits, adds, removes;
	struct event_work paused, removed;
	atomic_int leaver; /* a client that goes when the machine is paused, which is at once */
} fake;

static enum machine_state fake_state(void *opaque)
{
	(void)opaque;
	return (enum machine_state)fake.state;
}

static int outcome(atomic_uint *count)
{
	atomic_fetch_add(count, 1);
	if (!fake.fails)
		return 0;
	log_error("the fake is out of order");
	return -EIO;
}

static int fake_pause(void *opaque)
{
	int leaver = atomic_exchange(&fake.leaver, 0);

	(void)opaque;
	if (leaver) {
		close(leaver);
		ctl_paused(fake.ctl);
		return outcome(&fake.pauses);
	}
	if (fake.state == MACHINE_STATE_PAUSING || fake.slow) {
		atomic_fetch_add(&fake.pauses, 1);
		return -EINPROGRESS;
	}
	return outcome(&fake.pauses);
}

static int fake_resume(void *opaque)
{
	(void)opaque;
	return outcome(&fake.resumes);
}

static int fake_button(void *opaque)
{
	(void)opaque;
	return outcome(&fake.buttons);
}

static int fake_reset(void *opaque)
{
	(void)opaque;
	return outcome(&fake.resets);
}

static int fake_quit(void *opaque)
{
	(void)opaque;
	return outcome(&fake.quits);
}

static int fake_add(void *opaque, const char *kind, const char *options, struct ctl_device *device)
{
	(void)opaque;
	cr_expect_str_eq(kind, "disk");
	cr_expect_str_eq(options, "path=x,id=new");
	*device = (struct ctl_device){.id = "new", .segment = 15, .devfn = PCI_DEVFN(0x1f, 0)};
	return outcome(&fake.adds);
}

static int fake_remove(void *opaque, const char *id)
{
	(void)opaque;
	if (!strcmp(id, "absent"))
		return -ENOENT;
	cr_expect_str_eq(id, "new");
	outcome(&fake.removes);
	return -EINPROGRESS;
}

static void fake_info(void *opaque, struct json_out *out)
{
	(void)opaque;
	json_number(out, "cpus", 3);
}

static void fake_list(void *opaque, struct json_out *out)
{
	(void)opaque;
	json_open(out, NULL, '{');
	json_string(out, "id", "disk0");
	json_close(out, '}');
}

#define METRICS 2000u

static void fake_metrics(void *opaque, struct metrics *metrics)
{
	(void)opaque;
	metric_counter(metrics, "disk.reads", "disk0", 7);
	metric_gauge(metrics, "vfio.domains", NULL, 1);
	metric_counter(metrics, "disk.reads", "disk1", 8);
	for (unsigned i = 0; fake.slow && i < METRICS; i++)
		metric_counter(metrics, "many.more", NULL, i);
}

static const struct ctl_ops fake_ops = {
	.state = fake_state,
	.pause = fake_pause,
	.resume = fake_resume,
	.power_button = fake_button,
	.reset = fake_reset,
	.quit = fake_quit,
	.add = fake_add,
	.remove = fake_remove,
	.info = fake_info,
	.list = fake_list,
	.metrics = fake_metrics,
};

static void now_paused(struct event_work *work)
{
	(void)work;
	fake.state = MACHINE_STATE_PAUSED;
	ctl_paused(fake.ctl);
}

static void now_removed(struct event_work *work)
{
	(void)work;
	ctl_removed(fake.ctl, "other");
	ctl_removed(fake.ctl, "new");
}

static void *serve(void *opaque)
{
	(void)opaque;
	event_loop_run(fake.loop);
	return NULL;
}

static int open_ctl(void)
{
	const struct ctl_config config = {
		.loop = fake.loop, .path = fake.path, .fd = -1, .ops = &fake_ops};

	return ctl_new(&config, &fake.ctl);
}

static void make(enum event_loop_kind kind)
{
	log_set_level((enum log_level) - 1);
	strcpy(fake.directory, "/tmp/postern-ctl-XXXXXX");
	cr_assert_not_null(mkdtemp(fake.directory));
	sprintf(fake.path, "%s/socket", fake.directory);
	fake.paused.run = now_paused;
	fake.removed.run = now_removed;
	if (event_loop_new(kind, &fake.loop))
		cr_skip_test("this host forbids io_uring");
}

static void start(void)
{
	cr_assert_eq(open_ctl(), 0);
	cr_assert_eq(pthread_create(&fake.thread, NULL, serve, NULL), 0);
}

static void teardown(void)
{
	struct stat st;

	event_loop_stop(fake.loop);
	pthread_join(fake.thread, NULL);
	ctl_free(fake.ctl);
	event_loop_free(fake.loop);
	cr_expect(lstat(fake.path, &st) && errno == ENOENT, "the socket's file is left");
	cr_expect_eq(rmdir(fake.directory), 0);
}

static int connect_client(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, fake.path);
	cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void put(int fd, const char *text)
{
	cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* The next line, or "" at the end. */
static const char *get(int fd)
{
	static char line[512];
	size_t len = 0;

	for (;;) {
		char c;
		ssize_t n = recv(fd, &c, 1, 0);

		if (n <= 0)
			break;
		if (c == '\n') {
			line[len] = '\0';
			return line;
		}
		if (len < sizeof(line) - 1)
			line[len++] = c;
	}
	return "";
}

static const char *ask(int fd, const char *request)
{
	put(fd, request);
	return get(fd);
}

static bool has(const char *line, const char *part)
{
	return strstr(line, part);
}

#endif
