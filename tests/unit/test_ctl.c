// SPDX-License-Identifier: Apache-2.0
/*
 * The control socket in front of a machine that is not there: every command in every state, hostile
 * and slow clients.
 */
#include <pthread.h>

#include "tests/unit/ctl_fixture.h"

static void setup(void)
{
	make(EVENT_LOOP_AUTO);
	start();
}

TestSuite(ctl, .init = setup, .fini = teardown);

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
		const char *members;
		struct event_work *later;
	} table[] = {
		{"info", {DONE, DONE, DONE, DONE, DONE}, NULL, "", NULL},
		{"list", {DONE, DONE, DONE, DONE, DONE}, NULL, "", NULL},
		{"metrics", {DONE, DONE, DONE, DONE, DONE}, NULL, "", NULL},
		{"quit", {DONE, DONE, DONE, DONE, DONE}, &fake.quits, "", NULL},
		{"pause", {DONE, LATER, DONE, STATE, STATE}, &fake.pauses, "", &fake.paused},
		{"resume", {DONE, STATE, DONE, STATE, STATE}, &fake.resumes, "", NULL},
		{"power-button", {DONE, DONE, DONE, STATE, STATE}, &fake.buttons, "", NULL},
		{"reset", {DONE, STATE, DONE, STATE, STATE}, &fake.resets, "", NULL},
		{"add",
		 {DONE, STATE, DONE, STATE, STATE},
		 &fake.adds,
		 ",\"kind\":\"disk\",\"options\":\"path=x,id=new\"",
		 NULL},
		{"remove",
		 {LATER, STATE, LATER, STATE, STATE},
		 &fake.removes,
		 ",\"id\":\"new\",\"timeout\":3600",
		 &fake.removed},
	};
	int fd = connect_client();

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		for (int state = 0; state < MACHINE_STATES; state++) {
			unsigned before = table[i].count ? *table[i].count : 0;
			enum verdict verdict = table[i].verdict[state];
			const char *line;
			char request[128], want[64];

			fake.state = state;
			sprintf(request, "{\"command\":\"%s\"%s,\"tag\":%d}\n", table[i].name,
				table[i].members, state);
			put(fd, request);
			if (verdict == LATER) {
				while (*table[i].count == before)
					sched_yield();
				event_loop_post(fake.loop, table[i].later);
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
	cr_expect_str_eq(ask(fd, "{\"command\":\"add\",\"kind\":\"disk\","
				 "\"options\":\"path=x,id=new\"}\n"),
			 "{\"ok\":true,\"command\":\"add\",\"id\":\"new\","
			 "\"address\":\"000f:00:1f.0\"}");
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
		{"{\"command\":\"add\"}\n", "bad-request"},
		{"{\"command\":\"add\",\"kind\":\"disk\"}\n", "bad-request"},
		{"{\"command\":\"add\",\"kind\":1,\"options\":\"\"}\n", "bad-request"},
		{"{\"command\":\"remove\"}\n", "bad-request"},
		{"{\"command\":\"remove\",\"id\":\"absent\"}\n", "not-found"},
		{"{\"command\":\"remove\",\"id\":\"\"}\n", "not-found"},
		{"{\"command\":\"remove\",\"id\":\"new\",\"timeout\":3601}\n", "bad-request"},
		{"{\"command\":\"remove\",\"id\":\"new\",\"timeout\":1.5}\n", "bad-request"},
		{"{\"command\":\"remove\",\"id\":\"new\",\"timeout\":0}\n", "timeout"},
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

/* Its second command is answered while it runs, inside the answer to the first. */
Test(ctl, a_client_that_leaves_while_its_command_runs)
{
	int fd = connect_client(), other = connect_client();

	put(fd, "{\"command\":\"remove\",\"id\":\"new\"}\n{\"command\":\"pause\"}\n");
	while (!fake.removes)
		sched_yield();
	fake.leaver = fd;
	event_loop_post(fake.loop, &fake.removed);
	while (!fake.pauses)
		sched_yield();
	cr_expect(has(ask(other, "{\"command\":\"info\"}\n"), "{\"ok\":true"));
	close(other);
}
