/* SPDX-License-Identifier: Apache-2.0 */
/* What the benchmarks that measure in process share. */
#ifndef POSTERN_BENCH_H
#define POSTERN_BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RUNS_MAX 1000

static inline _Noreturn void fail(const char *what, int rc)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-rc));
	exit(1);
}

static inline void check(const char *what, int rc)
{
	if (rc)
		fail(what, rc);
}

/* Of this thread alone: what else the machine does takes no part. */
static inline double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline int bench_compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* The median and the least of RUNS; TARGET 0: there is none. NS is sorted. */
static inline void bench_print(const char *name, double *ns, unsigned runs, double target)
{
	char beside[64] = "";

	qsort(ns, runs, sizeof(ns[0]), bench_compare);
	if (target != 0)
		snprintf(beside, sizeof(beside), "  target %4.0f%s", target,
			 ns[runs / 2] > target ? " MISSED" : "");
	printf("%-44s median %10.1f ns  least %10.1f ns%s\n", name, ns[runs / 2], ns[0], beside);
	fflush(stdout);
}

/* The argument of a program that takes RUNS first. */
static inline unsigned bench_runs(int argc, char **argv, unsigned otherwise, const char *usage)
{
	int runs = argc > 1 ? atoi(argv[1]) : (int)otherwise;

	if (runs < 1 || runs > RUNS_MAX) {
		fprintf(stderr, "usage: %s\n", usage);
		exit(2);
	}
	return (unsigned)runs;
}

#endif
