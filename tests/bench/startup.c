// SPDX-License-Identifier: Apache-2.0
/*
 * Wall time from exec to the first byte that the guest sends, of several commands in turn.
 *
 *   startup RUNS NAME COMMAND [ARG]... [-- NAME COMMAND [ARG]...]...
 *
 * Prints median, least and 90th percentile in microseconds for each, and each median's ratio to the
 * first's. The commands alternate, so that what else the machine does hits all alike.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SUBJECTS_MAX 8
#define RUNS_MAX     1000
#define PATIENCE_MS  20000

extern char **environ;

struct subject {
	const char *name;
	char **argv;
	double us[RUNS_MAX];
};

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* -1 when no byte came. */
static double one_run(char **argv)
{
	posix_spawn_file_actions_t actions;
	struct pollfd pfd = {.events = POLLIN};
	int out[2];
	double start, us = -1;
	char byte;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC))
		return -1;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
	start = now_us();
	if (posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ)) {
		fprintf(stderr, "startup: %s: %s\n", argv[0], strerror(errno));
		return -1;
	}
	close(out[1]);
	pfd.fd = out[0];
	if (poll(&pfd, 1, PATIENCE_MS) == 1 && read(out[0], &byte, 1) == 1)
		us = now_us() - start;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(out[0]);
	posix_spawn_file_actions_destroy(&actions);
	return us;
}

int main(int argc, char **argv)
{
	static struct subject subject[SUBJECTS_MAX];
	int subjects = 0, runs = argc > 1 ? atoi(argv[1]) : 0;

	for (int i = 2; i < argc && subjects < SUBJECTS_MAX; i++) {
		subject[subjects].name = argv[i];
		subject[subjects++].argv = &argv[i + 1];
		while (i < argc && strcmp(argv[i], "--"))
			i++;
		if (i < argc)
			argv[i] = NULL;
	}
	if (runs < 1 || runs > RUNS_MAX || !subjects) {
		fprintf(stderr,
			"usage: startup RUNS NAME COMMAND [ARG]... [-- NAME COMMAND ...]\n");
		return 2;
	}
	for (int run = 0; run < runs; run++) {
		for (int s = 0; s < subjects; s++) {
			subject[s].us[run] = one_run(subject[s].argv);
			if (subject[s].us[run] < 0) {
				fprintf(stderr, "startup: %s: no byte from the guest\n",
					subject[s].name);
				return 1;
			}
		}
	}
	for (int s = 0; s < subjects; s++) {
		qsort(subject[s].us, (size_t)runs, sizeof(double), compare);
		printf("%-28s median %8.0f us  least %8.0f us  p90 %8.0f us  ratio %6.2f\n",
		       subject[s].name, subject[s].us[runs / 2], subject[s].us[0],
		       subject[s].us[runs * 9 / 10],
		       subject[s].us[runs / 2] / subject[0].us[runs / 2]);
	}
	return 0;
}
