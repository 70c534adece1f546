// SPDX-License-Identifier: Apache-2.0
/*
 * The threads of a machine that runs, made to do what their filters do not allow: this program
 * traces postern and puts another system call in the place of one that a thread makes. (The kernel
 * asks the filter after the tracer.) POSTERN names another build of the program.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define STATUS_USER    4
#define STATUS_SANDBOX 5

enum where { MAIN, LOOP, VCPU, SIGNALS };

struct trial {
	const char *name;
	enum where where;
	bool hotplug;
	const char *sandbox;
	long nr; /* in place of what the thread does */
	int status;
	const char *said[2];
};

static const struct trial trials[] = {
	{"while threads are made: execve",
	 MAIN,
	 false,
	 "on",
	 SYS_execve,
	 STATUS_SANDBOX,
	 {"the main thread", "execve("}},
	{"loop: execve",
	 LOOP,
	 false,
	 "on",
	 SYS_execve,
	 STATUS_SANDBOX,
	 {"the loop thread", "execve("}},
	{"loop: a socket",
	 LOOP,
	 false,
	 "on",
	 SYS_accept4,
	 STATUS_SANDBOX,
	 {"the loop thread", "accept4("}},
	{"loop with hot-plug: a process",
	 LOOP,
	 true,
	 "on",
	 SYS_fork,
	 STATUS_SANDBOX,
	 {"the loop thread", "fork("}},
	{"loop with hot-plug: a ring",
	 LOOP,
	 true,
	 "on",
	 SYS_io_uring_setup,
	 STATUS_SANDBOX,
	 {"the loop thread", "io_uring_setup("}},
	{"vCPU: execve",
	 VCPU,
	 false,
	 "on",
	 SYS_execve,
	 STATUS_SANDBOX,
	 {"the vCPU thread", "execve("}},
	{"vCPU: a ring's requests, which are the loop's",
	 VCPU,
	 false,
	 "on",
	 SYS_io_uring_enter,
	 STATUS_SANDBOX,
	 {"the vCPU thread", "io_uring_enter("}},
	{"vCPU: a file's name, with hot-plug",
	 VCPU,
	 true,
	 "on",
	 SYS_unlink,
	 STATUS_SANDBOX,
	 {"the vCPU thread", "unlink("}},
	{"signals: a ring's requests, which are the loop's",
	 SIGNALS,
	 false,
	 "on",
	 SYS_io_uring_enter,
	 STATUS_SANDBOX,
	 {"the signals thread", "io_uring_enter("}},
	{"loop: a call that it may make", LOOP, false, "on", SYS_getpid, STATUS_USER, {"", ""}},
	{"loop: --sandbox log", LOOP, false, "log", SYS_getppid, STATUS_USER, {"", ""}},
	{"loop: --sandbox off", LOOP, false, "off", SYS_getppid, STATUS_USER, {"", ""}},
};

static pid_t start(const struct trial *trial, const char *postern, const char *kernel,
		   const char *socket, int said)
{
	const char *argv[20] = {postern,	"run",	"--kernel",  kernel,
				"--memory",	"16M",	"--cmdline", "spin=1",
				"--event-loop", "poll", "--sandbox", trial->sandbox};
	size_t argc = 12;
	pid_t pid = fork();

	if (pid)
		return pid;
	if (trial->hotplug) {
		argv[argc++] = "--ctl";
		argv[argc++] = socket;
	}
	dup2(open("/dev/null", O_RDWR), STDIN_FILENO);
	dup2(STDIN_FILENO, STDOUT_FILENO);
	dup2(said, STDERR_FILENO);
	if (!ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		execv(postern, (char *const *)(void *)argv);
	_exit(127);
}

/* Whether the call that TID is about to make is the one to be replaced. */
static bool is_place(enum where where, pid_t pid, pid_t tid, unsigned *filters)
{
	struct user_regs_struct regs;

	if (ptrace(PTRACE_GETREGS, tid, NULL, &regs))
		return false;
	/*
	 * The loop has ppoll() to itself, a vCPU KVM_RUN, the thread for signals a poll() of two
	 * (the console's is of one): none is made before the filter is on.
	 */
	switch (where) {
	case MAIN:
		/* The first makes the process's filter, under which the second asks for the loop's.
		 */
		return tid == pid && regs.orig_rax == SYS_seccomp && (*filters)++;
	case LOOP:
		return tid == pid && regs.orig_rax == SYS_ppoll;
	case SIGNALS:
		return tid != pid && regs.orig_rax == SYS_poll && regs.rsi == 2;
	default:
		return regs.orig_rax == SYS_ioctl && (uint32_t)regs.rsi == KVM_RUN;
	}
}

static bool entering(pid_t tid)
{
	struct __ptrace_syscall_info info;
	long n = ptrace(PTRACE_GET_SYSCALL_INFO, tid, (void *)sizeof(info), &info);

	return n > 0 && info.op == PTRACE_SYSCALL_INFO_ENTRY;
}

/* Returns the exit status, or -1 where something else ended the process. */
static int follow(const struct trial *trial, pid_t pid)
{
	enum __ptrace_request go = PTRACE_SYSCALL;
	unsigned filters = 0;
	int status;
	pid_t tid;

	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) ||
	    ptrace(PTRACE_SETOPTIONS, pid, NULL,
		   (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL)))
		return -1;
	ptrace(go, pid, NULL, NULL);
	while ((tid = waitpid(-1, &status, __WALL)) > 0) {
		long signal = 0;

		if (!WIFSTOPPED(status)) {
			if (tid != pid)
				continue;
			return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
		}
		if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
			if (go == PTRACE_SYSCALL && entering(tid) &&
			    is_place(trial->where, pid, tid, &filters)) {
				ptrace(PTRACE_POKEUSER, tid,
				       (void *)offsetof(struct user_regs_struct, orig_rax),
				       (void *)trial->nr);
				go = PTRACE_CONT;
				/* Where the call is made, this ends the machine. */
				if (trial->status == STATUS_USER)
					kill(pid, SIGINT);
			}
		} else if (WSTOPSIG(status) != SIGTRAP && WSTOPSIG(status) != SIGSTOP) {
			signal = WSTOPSIG(status);
		}
		ptrace(go, tid, NULL, (void *)signal);
	}
	return -1;
}

static bool try(const struct trial *trial, const char *postern, const char *kernel,
		const char *socket)
{
	int said = memfd_create("said", MFD_CLOEXEC), status;
	char text[2048] = "";
	ssize_t n;
	bool good;

	status = follow(trial, start(trial, postern, kernel, socket, said));
	n = pread(said, text, sizeof(text) - 1, 0);
	close(said);
	good = n >= 0 && status == trial->status;
	for (size_t i = 0; i < 2; i++)
		good = good && strstr(text, trial->said[i]);
	/* One line, and that at its end. */
	good = good && (trial->status == STATUS_USER || strchr(text, '\n') == text + n - 1);
	if (!good)
		printf("# status %d, not %d: %s\n", status, trial->status, text);
	return good;
}

int main(void)
{
	const char *o = getenv("O"), *named = getenv("POSTERN");
	char postern[512], kernel[512], dir[] = "/tmp/postern-XXXXXX", socket[64];
	const size_t count = sizeof(trials) / sizeof(trials[0]);
	bool all = true;

	o = o ? o : "build";
	snprintf(postern, sizeof(postern), "%s/postern", o);
	snprintf(kernel, sizeof(kernel), "%s/tests/payload/garbage.elf", o);
	if (!mkdtemp(dir))
		return 1;
	snprintf(socket, sizeof(socket), "%s/socket", dir);
	alarm(600);
	for (size_t i = 0; i < count; i++) {
		bool good = try(&trials[i], named ? named : postern, kernel, socket);

		printf("%sok %zu - %s\n", good ? "" : "not ", i + 1, trials[i].name);
		fflush(stdout);
		all = all && good;
		unlink(socket); /* what ends at once leaves it behind */
	}
	rmdir(dir);
	printf("1..%zu\n", count);
	return all ? 0 : 1;
}
