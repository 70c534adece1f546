// SPDX-License-Identifier: Apache-2.0
/* Putting a filter in force, and the end of a thread that did what its filter does not allow. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "postern/bits.h"
#include "postern/log.h"
#include "sandbox/internal.h"

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1 /* si_code; musl has the name, glibc may not */
#endif

int sandbox_probe_seccomp(void)
{
	uint32_t action = SECCOMP_RET_TRAP;

	return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) ? -errno : 0;
}

static const char *const thread_name[SANDBOX_THREADS] = {
	[SANDBOX_SETUP] = "main", [SANDBOX_LOOP] = "loop",	 [SANDBOX_LOOP_HOTPLUG] = "loop",
	[SANDBOX_VCPU] = "vCPU",  [SANDBOX_SIGNALS] = "signals",
};

static _Thread_local enum sandbox_thread current;
static void (*ending)(void);
static int exit_status;

/*
 * The kernel raised this on the thread, at the call: so nothing else of the thread runs meanwhile,
 * and a call from here that is not allowed, with SIGSYS blocked, kills the process.
 */
static void violated(int signal, siginfo_t *info, void *context)
{
	const greg_t *reg = ((const ucontext_t *)context)->uc_mcontext.gregs;
	const char *call = info->si_arch == AUDIT_ARCH_X86_64
				   ? sandbox_call_name((unsigned)info->si_syscall)
				   : NULL;

	(void)signal;
	if (ending)
		ending();
	if (info->si_code == SYS_SECCOMP)
		log_error(
			"sandbox: the %s thread made system call %d, %s(%#llx, %#llx, %#llx), at "
			"%p, which is not in its filter: this machine ends here; please report it, "
			"and meanwhile use --sandbox log",
			thread_name[current], info->si_syscall, call ? call : "unknown",
			(unsigned long long)reg[REG_RDI], (unsigned long long)reg[REG_RSI],
			(unsigned long long)reg[REG_RDX], info->si_call_addr);
	else
		log_error("sandbox: somebody sent SIGSYS: this machine ends here");
	_exit(exit_status);
}

int filter_handle_violations(const struct sandbox_config *config)
{
	struct sigaction action = {.sa_sigaction = violated, .sa_flags = SA_SIGINFO};

	ending = config->ending;
	exit_status = config->status;
	sigfillset(&action.sa_mask);
	return sigaction(SIGSYS, &action, NULL) ? -errno : 0;
}

/* What is known only now. */
static void complete(struct sock_filter *insn, unsigned count, bool log_only)
{
	for (unsigned i = 0; i < count; i++) {
		if (insn[i].code == (BPF_JMP | BPF_JEQ | BPF_K) && insn[i].k == SANDBOX_OWN_PID)
			insn[i].k = (uint32_t)getpid();
		if (insn[i].code == (BPF_RET | BPF_K) && insn[i].k == SECCOMP_RET_TRAP && log_only)
			insn[i].k = SECCOMP_RET_LOG;
	}
}

int filter_install(enum sandbox_thread kind, bool log_only)
{
	const struct sandbox_filter *filter = &sandbox_filters[kind];
	struct sock_filter *insn = calloc(filter->count, sizeof(*insn));
	struct sock_fprog program = {.len = filter->count, .filter = insn};
	int rc = 0;

	if (!insn)
		return -ENOMEM;
	memcpy(insn, filter->insn, filter->count * sizeof(*insn));
	complete(insn, filter->count, log_only);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) {
		rc = -errno;
		log_error("sandbox: the filter of the %s thread: %s%s", thread_name[kind],
			  strerror(-rc),
			  rc == -ENOSYS || rc == -EINVAL
				  ? "; this kernel has no CONFIG_SECCOMP_FILTER: use --sandbox off"
				  : "");
	}
	free(insn);
	if (!rc)
		current = kind;
	return rc;
}
