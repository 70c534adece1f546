// SPDX-License-Identifier: Apache-2.0
/*
 * The control socket in front of a machine that is not there: every command in every state, hostile
 * and slow clients, the socket's file. The loop runs on a thread of its own.
 */
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
	atomic_uint pauses, resumes, buttons, resets, quits;
	struct event_work paused;
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
	(void)opaque;
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
	if (event_loop_new(kind, &fake.loop))
		cr_skip_test("this host forbids io_uring");
}

static void start(void)
{
	cr_assert_eq(open_ctl(), 0);
	cr_assert_eq(pthread_create(&fake.thread, NULL, serve, NULL), 0);
}

static void setup(void)
{
	make(EVENT_LOOP_AUTO);
	start();
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

TestSuite(ctl, .init = setup, .fini = teardown);
TestSuite(ctl_file);

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

/* Those that have left may still take the room. */
static int connect_when_there_is_room(void)
{
	for (;;) {
		int fd = connect_client();

		/* Where it is refused, the write may come too late for the peer. */
		if (send(fd, "{\"command\":\"info\"}\n", 19, MSG_NOSIGNAL) == 19 &&
		    has(get(fd), "{\"ok\":true"))
			return fd;
		close(fd);
	}
}

/* ---- every command in every state ---- */

enum verdict { DONE, STATE, LATER };

Test(ctl, every_command_in_every_state)
{
	static const struct {
		const char *name;
		enum verdict verdict[MACHINE_STATES]; /* running, pausing, paused, reset, ending */
		atomic_uint *count;
	} table[] = {
		{"info", {DONE, DONE, DONE, DONE, DONE}, NULL},
		{"list", {DONE, DONE, DONE, DONE, DONE}, NULL},
		{"metrics", {DONE, DONE, DONE, DONE, DONE}, NULL},
		{"quit", {DONE, DONE, DONE, DONE, DONE}, &fake.quits},
		{"pause", {DONE, LATER, DONE, STATE, STATE}, &fake.pauses},
		{"resume", {DONE, STATE, DONE, STATE, STATE}, &fake.resumes},
		{"power-button", {DONE, DONE, DONE, STATE, STATE}, &fake.buttons},
		{"reset", {DONE, STATE, DONE, STATE, STATE}, &fake.resets},
	};
	int fd = connect_client();

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		for (int state = 0; state < MACHINE_STATES; state++) {
			unsigned before = table[i].count ? *table[i].count : 0;
			enum verdict verdict = table[i].verdict[state];
			char request[64], want[64];
			const char *line;

			fake.state = state;
			sprintf(request, "{\"command\":\"%s\",\"tag\":%d}\n", table[i].name, state);
			put(fd, request);
			if (verdict == LATER) {
				while (*table[i].count == before)
					sched_yield();
				event_loop_post(fake.loop, &fake.paused);
			}
			line = get(fd);
			sprintf(want, "{\"ok\":%s,\"command\":\"%s\",\"tag\":%d",
				verdict == STATE ? "false" : "true", table[i].name, state);
			cr_expect(has(line, want), "%s: %s", request, line);
			if (verdict == STATE)
				cr_expect(has(line, "\"code\":\"bad-state\""), "%s", line);
			if (table[i].count)
				cr_expect_eq(*table[i].count, before + (verdict != STATE), "%s",
					     request);
		}
	}
	close(fd);
}

Test(ctl, what_fails_says_why)
{
	static const char *const names[] = {"pause", "resume", "power-button", "reset", "quit"};
	int fd = connect_client();

	fake.fails = true;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char request[64];
		const char *line;

		sprintf(request, "{\"command\":\"%s\"}\n", names[i]);
		line = ask(fd, request);
		cr_expect(has(line, "\"ok\":false") && has(line, "\"code\":\"failed\"") &&
				  has(line, "\"message\":\"the fake is out of order\""),
			  "%s", line);
	}
	close(fd);
}

/* ---- requests ---- */

Test(ctl, replies)
{
	int fd = connect_client();

	cr_expect_str_eq(ask(fd, "{\"command\":\"info\"}\n"),
			 "{\"ok\":true,\"command\":\"info\",\"state\":\"running\",\"cpus\":3}");
	cr_expect_str_eq(ask(fd, "{\"command\":\"list\",\"tag\":\"x\"}\n"),
			 "{\"ok\":true,\"command\":\"list\",\"tag\":\"x\",\"devices\":"
			 "[{\"id\":\"disk0\"}]}");
	cr_expect_str_eq(
		ask(fd, "{\"command\":\"metrics\"}\n"),
		"{\"ok\":true,\"command\":\"metrics\",\"metrics\":["
		"{\"name\":\"disk.reads\",\"device\":\"disk0\",\"type\":\"counter\",\"value\":7},"
		"{\"name\":\"vfio.domains\",\"type\":\"gauge\",\"value\":1},"
		"{\"name\":\"disk.reads\",\"device\":\"disk1\",\"type\":\"counter\",\"value\":8}]"
		"}");
	cr_expect_str_eq(ask(fd, "{\"command\":\"metrics\",\"format\":\"prometheus\"}\n"),
			 "{\"ok\":true,\"command\":\"metrics\",\"text\":\""
			 "# TYPE postern_disk_reads_total counter\\n"
			 "postern_disk_reads_total{device=\\\"disk0\\\"} 7\\n"
			 "postern_disk_reads_total{device=\\\"disk1\\\"} 8\\n"
			 "# TYPE postern_vfio_domains gauge\\n"
			 "postern_vfio_domains 1\\n\"}");
	close(fd);
}

Test(ctl, refused_requests)
{
	static const struct {
		const char *request, *code;
	} cases[] = {
		{"\n", "bad-request"},
		{"hello\n", "bad-request"},
		{"{}\n", "bad-request"},
		{"{\"command\":7}\n", "bad-request"},
		{"{\"command\":\"no-such\"}\n", "unknown-command"},
		{"{\"command\":\"\"}\n", "unknown-command"},
		{"{\"command\":\"info\",\"more\":1}\n", "bad-request"},
		{"{\"command\":\"metrics\",\"format\":1}\n", "bad-request"},
		{"{\"command\":\"metrics\",\"format\":\"xml\"}\n", "bad-request"},
		{"{\"command\":\"info\",\"tag\":null}\n", "bad-request"},
		{"{\"command\":\"info\",\"tag\":-1}\n", "bad-request"},
	};
	int fd = connect_client();
	char request[256];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *line = ask(fd, cases[i].request);

		cr_expect(has(line, "{\"ok\":false") && has(line, cases[i].code), "%s: %s",
			  cases[i].request, line);
	}
	sprintf(request, "{\"command\":\"info\",\"tag\":\"%0*d\"}\n", (int)CTL_TAG_SIZE, 0);
	cr_expect(has(ask(fd, request), "bad-request"));
	cr_expect(has(ask(fd, "{\"command\":\"info\"}\n"), "{\"ok\":true"));
	close(fd);
}

Test(ctl, pieces_and_bundles)
{
	static const char request[] = "{\"command\":\"info\",\"tag\":1}\n";
	int fd = connect_client();

	for (const char *c = request; *c; c++)
		cr_assert_eq(send(fd, c, 1, MSG_NOSIGNAL), 1);
	cr_expect(has(get(fd), "\"tag\":1"));
	put(fd, "{\"command\":\"info\",\"tag\":2}\n{\"command\":\"info\",\"tag\":3}\n{\"comm");
	cr_expect(has(get(fd), "\"tag\":2"));
	cr_expect(has(get(fd), "\"tag\":3"));
	/* A last line without its end is one. */
	put(fd, "and\":\"info\",\"tag\":4}");
	shutdown(fd, SHUT_WR);
	cr_expect(has(get(fd), "\"tag\":4"));
	cr_expect_str_empty(get(fd));
	close(fd);
}

Test(ctl, lines_are_bounded)
{
	char line[CTL_LINE_MAX + 1];
	int fd = connect_client();

	memset(line, ' ', sizeof(line));
	memcpy(line, "{\"command\":\"info\"}", 18);
	line[CTL_LINE_MAX - 1] = '\n';
	cr_assert_eq(send(fd, line, CTL_LINE_MAX, MSG_NOSIGNAL), CTL_LINE_MAX);
	cr_expect(has(get(fd), "{\"ok\":true"));
	line[CTL_LINE_MAX - 1] = ' ';
	cr_assert_eq(send(fd, line, CTL_LINE_MAX, MSG_NOSIGNAL), CTL_LINE_MAX);
	cr_expect(has(get(fd), "\"code\":\"too-long\""));
	cr_expect_str_empty(get(fd));
	close(fd);
}

/* ---- clients that do not behave ---- */

Test(ctl, a_client_that_does_not_read_holds_up_nobody)
{
	int slow = connect_client(), fd = connect_client();
	int size = 4096;

	setsockopt(slow, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	fake.slow = true; /* replies of some 100 KiB */
	for (unsigned i = 0; i < 50; i++)
		put(slow, "{\"command\":\"metrics\"}\n");
	cr_expect(has(ask(fd, "{\"command\":\"info\"}\n"), "{\"ok\":true"));
	for (unsigned i = 0; i < 50; i++)
		cr_assert(has(get(slow), "{\"ok\":true,\"command\":\"metrics\""), "%u", i);
	close(slow);
	close(fd);
}

Test(ctl, clients_are_bounded)
{
	int fds[CTL_CLIENTS_MAX], fd;

	for (unsigned i = 0; i < CTL_CLIENTS_MAX; i++) {
		fds[i] = connect_client();
		cr_assert(has(ask(fds[i], "{\"command\":\"info\"}\n"), "{\"ok\":true"));
	}
	fd = connect_client();
	cr_expect(has(get(fd), "\"code\":\"busy\""));
	cr_expect_str_empty(get(fd));
	close(fd);
	/* Whoever goes makes room, but the loop may learn of it late. */
	shutdown(fds[0], SHUT_WR);
	cr_expect_str_empty(get(fds[0]));
	fd = connect_client();
	cr_expect(has(ask(fd, "{\"command\":\"info\"}\n"), "{\"ok\":true"));
	close(fd);
	for (unsigned i = 0; i < CTL_CLIENTS_MAX; i++)
		close(fds[i]);
}

Test(ctl, clients_that_leave)
{
	int fd = connect_client(), waits;

	fake.slow = true;
	/* In the middle of a line, of a reply, and of a wait. */
	for (unsigned i = 0; i < 2 * CTL_CLIENTS_MAX; i++) {
		static const char *const left[] = {"{\"comma", "{\"command\":\"metrics\"}\n",
						   "{\"command\":\"pause\"}\n"};
		int leaver = connect_client();

		put(leaver, left[i % 3]);
		close(leaver);
		cr_assert(has(ask(fd, "{\"command\":\"info\"}\n"), "{\"ok\":true"));
	}
	waits = connect_when_there_is_room();
	fake.pauses = 0;
	put(waits, "{\"command\":\"pause\",\"tag\":\"w\"}\n{\"command\":\"info\"}\n");
	while (!fake.pauses)
		sched_yield();
	event_loop_post(fake.loop, &fake.paused);
	cr_expect(has(get(waits), "\"tag\":\"w\""));
	cr_expect(has(get(waits), "\"state\":\"paused\""));
	close(waits);
	close(fd);
}

Test(ctl, half_closed_while_it_waits)
{
	int fd = connect_client();

	fake.slow = true;
	put(fd, "{\"command\":\"pause\"}\n");
	shutdown(fd, SHUT_WR);
	while (!fake.pauses)
		sched_yield();
	event_loop_post(fake.loop, &fake.paused);
	cr_expect_str_eq(get(fd), "{\"ok\":true,\"command\":\"pause\"}");
	cr_expect_str_empty(get(fd));
	close(fd);
}

/* ---- the file ---- */

Test(ctl_file, private_and_removed)
{
	struct stat st;

	make(EVENT_LOOP_POLL);
	start();
	cr_assert_eq(lstat(fake.path, &st), 0);
	cr_expect(S_ISSOCK(st.st_mode));
	cr_expect_eq(st.st_mode & 07777, 0600);
	cr_expect_eq(open_ctl(), -EADDRINUSE, "somebody listens there");
	teardown();
}

Test(ctl_file, stale_file_is_replaced)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	make(EVENT_LOOP_AUTO);
	strcpy(address.sun_path, fake.path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	start();
	fd = connect_client();
	cr_expect(has(ask(fd, "{\"command\":\"info\"}\n"), "{\"ok\":true"));
	close(fd);
	teardown();
}

Test(ctl_file, other_files_are_left_alone)
{
	const struct ctl_config no_socket = {.loop = NULL, .fd = 0, .ops = &fake_ops};
	struct ctl_config config = {.fd = -1, .ops = &fake_ops};
	char path[200];
	struct stat st;
	int fd;

	make(EVENT_LOOP_POLL);
	config.loop = fake.loop;
	fd = open(fake.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	cr_expect_eq(open_ctl(), -EADDRINUSE);
	cr_expect(!lstat(fake.path, &st) && S_ISREG(st.st_mode));
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	config.path = path;
	cr_expect_eq(ctl_new(&config, &fake.ctl), -ENAMETOOLONG);
	config.path = "/nonexistent/socket";
	cr_expect_eq(ctl_new(&config, &fake.ctl), -ENOENT);
	config = no_socket;
	config.loop = fake.loop;
	config.fd = fd; /* no socket at all */
	cr_expect_eq(ctl_new(&config, &fake.ctl), -EINVAL);
	close(fd);
	unlink(fake.path);
	rmdir(fake.directory);
	event_loop_free(fake.loop);
}

Test(ctl_file, given_as_a_descriptor)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct ctl_config config = {.ops = &fake_ops};
	int fd;

	make(EVENT_LOOP_AUTO);
	config.loop = fake.loop;
	config.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strcpy(address.sun_path, fake.path);
	cr_assert_eq(bind(config.fd, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(config.fd, 1), 0);
	cr_assert_eq(ctl_new(&config, &fake.ctl), 0);
	cr_assert_eq(pthread_create(&fake.thread, NULL, serve, NULL), 0);
	fd = connect_client();
	cr_expect(has(ask(fd, "{\"command\":\"info\"}\n"), "{\"ok\":true"));
	close(fd);
	/* Whose file it is, removes it. */
	unlink(fake.path);
	teardown();
}
