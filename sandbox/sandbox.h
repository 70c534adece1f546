/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is taken from the process before it looks at anything that a guest has a hand in: system
 * calls (seccomp, one filter a kind of thread, from table.h), files (Landlock) and privileges.
 * docs/sandbox.md says what is left, and to whom.
 */
#ifndef POSTERN_SANDBOX_H
#define POSTERN_SANDBOX_H

#include <stdbool.h>

enum sandbox_mode {
	SANDBOX_ON,
	SANDBOX_OFF,
	SANDBOX_LOG, /* what a filter refuses is done, and said in the kernel's log; all files */
};

/* The sanitizers' own threads and calls are none that a table could tell. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANDBOX_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANDBOX_SANITIZED 1
#endif
#endif
#ifndef SANDBOX_SANITIZED
#define SANDBOX_SANITIZED 0
#endif
#define SANDBOX_DEFAULT SANDBOX_OFF

enum sandbox_thread {
	SANDBOX_SETUP, /* of the whole process, while its threads are made: what any may do */
	SANDBOX_LOOP,
	SANDBOX_LOOP_HOTPLUG, /* the same, and it opens the files of new devices */
	SANDBOX_VCPU,
	SANDBOX_SIGNALS, /* takes signals, and ends what does not end */
	SANDBOX_THREADS,
};

enum sandbox_access {
	SANDBOX_READ = 1,
	SANDBOX_WRITE = 2,  /* and ioctl(2), where it is a device */
	SANDBOX_REMOVE = 4, /* files of this directory, which need not be readable */
	SANDBOX_MAYBE = 8,  /* it need not exist */
};

/* A file, or a directory and all beneath it. */
struct sandbox_path {
	const char *path;
	unsigned access; /* enum sandbox_access */
};

struct sandbox_config {
	enum sandbox_mode mode;
	const struct sandbox_path *path;
	unsigned paths;
	/* The process ends with this status after a call that its thread may not make. */
	int status;
	/* Runs before, in a signal handler; NULL: there is nothing to be done. */
	void (*ending)(void);
};

/*
 * The whole process, which has no other thread yet. 0, also where the host has no Landlock (said at
 * level info), or -errno after saying why.
 */
int sandbox_enter(const struct sandbox_config *config);

/* The calling thread, from now on. 0 or -errno after saying why; 0 where there is no sandbox. */
int sandbox_thread(enum sandbox_thread kind);

/* Whether this host has what the sandbox is made of: 0 or -errno, and the version of the ABI. */
int sandbox_probe_seccomp(void);
int sandbox_probe_landlock(void);

/* What to add to the message of a file that could not be opened: why, where that may be us. */
const char *sandbox_advice(int error);

#endif
