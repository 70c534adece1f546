// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/sandbox.h"
#include "vmm/console.h"
#include "vmm/machine.h"
#include "vmm/quit.h"

#define NEVER	  INT64_MAX
#define REPORT_MS 5000 /* for the loop to say what it waits for, if it can */

struct quit {
	struct machine *machine;
	pthread_t thread;
	int signals, wake; /* signalfd, eventfd */
	atomic_bool asked, over, ending;
	bool started;
	unsigned terminations;
	struct event_work press, report;
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- the end that was not orderly ---- */

/* The loop and the thread for signals may find out at once: one of them says it, and ends. */
static void begin_end(struct quit *quit)
{
	if (!atomic_exchange(&quit->ending, true))
		return;
	for (;;)
		ppoll(NULL, 0, NULL, NULL);
}

/* Other threads are left where they are: nothing may be freed under them, and nobody waited for. */
static _Noreturn void end_now(void)
{
	console_restore_terminal();
	_exit(EXIT_KILLED);
}

/* Loop thread, which is thus alive and waits for devices. */
static void report(struct event_work *work)
{
	struct quit *quit = container_of(work, struct quit, report);
	struct machine *m = quit->machine;
	const struct machine_device *first = NULL;
	unsigned others = 0;
	char more[40] = "";

	begin_end(quit);
	for (const struct machine_device *dev = m->devices; dev; dev = dev->next) {
		if (!dev->class->busy || !dev->class->busy(dev))
			continue;
		if (first)
			others++;
		else
			first = dev;
	}
	if (others)
		snprintf(more, sizeof(more), " (and %u more)", others);
	if (first)
		log_error("%s: %s%s has not answered its requests within %u s of the request to "
			  "end; the machine ends without them",
			  first->id, first->what, more, QUIT_SECONDS);
	else
		log_error("the devices have not come to rest within %u s of the request to end; "
			  "the machine ends as it is",
			  QUIT_SECONDS);
	end_now();
}

/* The loop is inside a request to a file. */
static void report_file(struct quit *quit, int fd)
{
	char link[32], path[256];
	ssize_t n;

	begin_end(quit);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	log_error("%s has not answered within %u s of the request to end; the machine ends "
		  "without it",
		  n > 0 ? path : "a file", QUIT_SECONDS);
	end_now();
}

static void overdue(struct quit *quit)
{
	struct pollfd pfd = {.fd = quit->wake, .events = POLLIN};
	int fd = event_loop_busy_fd(quit->machine->loop);

	if (fd >= 0)
		report_file(quit, fd);
	event_loop_post(quit->machine->loop, &quit->report);
	poll(&pfd, 1, REPORT_MS);
	if (quit->over)
		return;
	begin_end(quit);
	log_error("the event loop or a vCPU waits for the host, which has not answered within %u "
		  "s of the request to end; the machine ends without it",
		  QUIT_SECONDS);
	end_now();
}

/* ---- signals: the power button, then the end ---- */

static void press(struct event_work *work)
{
	struct machine *m = container_of(work, struct quit, press)->machine;

	acpi_regs_power_button(m->acpi_regs);
}

static void take_signal(struct quit *quit)
{
	struct signalfd_siginfo info;

	if (read(quit->signals, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGTERM && !quit->terminations++) {
		log_info("SIGTERM: pressing the guest's power button; again ends the machine");
		event_loop_post(quit->machine->loop, &quit->press);
	} else {
		machine_finish(quit->machine, MACHINE_QUIT);
	}
}

static void *quit_thread(void *opaque)
{
	struct quit *quit = opaque;
	struct pollfd pfd[] = {{.fd = quit->signals, .events = POLLIN},
			       {.fd = quit->wake, .events = POLLIN}};
	int64_t deadline = NEVER;
	uint64_t counter;

	if (sandbox_thread(SANDBOX_SIGNALS))
		machine_finish(quit->machine, MACHINE_FAILED);
	while (!quit->over) {
		int64_t left = deadline == NEVER ? -1 : deadline - now_ms();

		if (deadline != NEVER && left <= 0) {
			overdue(quit);
			continue;
		}
		if (poll(pfd, ARRAY_SIZE(pfd), (int)left) < 0)
			continue;
		if (pfd[0].revents)
			take_signal(quit);
		if (pfd[1].revents && read(quit->wake, &counter, sizeof(counter)) < 0)
			continue;
		if (quit->asked && deadline == NEVER)
			deadline = now_ms() + QUIT_SECONDS * 1000;
	}
	return NULL;
}

/* ---- life ---- */

static void wake(struct quit *quit)
{
	uint64_t one = 1;
	int saved = errno;

	/* A counter that is full wakes as well. */
	if (write(quit->wake, &one, sizeof(one)) < 0)
		errno = saved;
	errno = saved;
}

void quit_begin(struct quit *quit)
{
	if (!atomic_exchange(&quit->asked, true))
		wake(quit);
}

static int open_signals(void)
{
	static const int watched[] = {SIGTERM, SIGINT, SIGHUP};
	sigset_t set;
	int fd;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(watched); i++)
		sigaddset(&set, watched[i]);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* EFBIG says it, to whoever wrote */
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

int quit_new(struct machine *m, struct quit **out)
{
	struct quit *quit = calloc(1, sizeof(*quit));
	int rc;

	if (!quit)
		return -ENOMEM;
	quit->machine = m;
	quit->press.run = press;
	quit->report.run = report;
	quit->signals = rc = open_signals();
	if (rc < 0)
		goto err_free;
	quit->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (quit->wake < 0) {
		rc = -errno;
		goto err_signals;
	}
	*out = quit;
	return 0;

err_signals:
	close(quit->signals);
err_free:
	free(quit);
	return rc;
}

int quit_start(struct quit *quit)
{
	int rc = -pthread_create(&quit->thread, NULL, quit_thread, quit);

	quit->started = !rc;
	return rc;
}

void quit_over(struct quit *quit)
{
	quit->over = true;
	wake(quit);
	if (quit->started)
		pthread_join(quit->thread, NULL);
	quit->started = false;
}

void quit_free(struct quit *quit)
{
	if (!quit)
		return;
	quit_over(quit);
	close(quit->wake);
	close(quit->signals);
	free(quit);
}
