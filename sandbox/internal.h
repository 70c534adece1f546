/* SPDX-License-Identifier: Apache-2.0 */
/* Between the parts of the sandbox. */
#ifndef POSTERN_SANDBOX_INTERNAL_H
#define POSTERN_SANDBOX_INTERNAL_H

#include <linux/filter.h>
#include <stdint.h>

#include "sandbox/sandbox.h"

/*
 * Stands in the filters for the process's id, which is known when they are installed. No process
 * has it: PID_MAX_LIMIT of Linux is 2^22.
 */
#define SANDBOX_OWN_PID UINT32_C(0x7e57ab1e)

/* Made by generate.c from table.h. */
struct sandbox_filter {
	const struct sock_filter *insn;
	unsigned short count;
};
extern const struct sandbox_filter sandbox_filters[SANDBOX_THREADS];
/* NULL where there is no such call. */
const char *sandbox_call_name(unsigned nr);

/* Say in one line which call it was, and end: what SECCOMP_RET_TRAP leads to. */
int filter_handle_violations(const struct sandbox_config *config);
int filter_install(enum sandbox_thread kind, bool log_only);

/* -EOPNOTSUPP where the host has none. */
int landlock_enter(const struct sandbox_config *config);
/* No new ones, none of the old ones. */
int privileges_drop(void);

#endif
