// SPDX-License-Identifier: Apache-2.0
/*
 * The sandbox: each filter against the table that it was made from, call by call; what a call
 * outside it does to a process; files and privileges.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/table.h"

#define STATUS 5
#define CALLS  600

/* ---- the filters, as the kernel would run them ---- */

static uint32_t filter_word(const struct seccomp_data *data, uint32_t offset)
{
	uint32_t word;

	cr_assert(offset % 4 == 0 && offset + 4 <= sizeof(*data), "offset %u", offset);
	memcpy(&word, (const char *)data + offset, sizeof(word));
	return word;
}

static bool jumps(const struct sock_filter *insn, uint32_t a)
{
	switch (BPF_OP(insn->code)) {
	case BPF_JEQ:
		return a == insn->k;
	case BPF_JGT:
		return a > insn->k;
	case BPF_JGE:
		return a >= insn->k;
	default:
		cr_assert_eq(BPF_OP(insn->code), BPF_JSET, "code %#x", insn->code);
		return a & insn->k;
	}
}

static uint32_t verdict(unsigned thread, const struct seccomp_data *data)
{
	const struct sandbox_filter *f = &sandbox_filters[thread];
	uint32_t a = 0;

	for (unsigned pc = 0; pc < f->count; pc++) {
		const struct sock_filter *insn = &f->insn[pc];

		switch (BPF_CLASS(insn->code)) {
		case BPF_LD:
			cr_assert_eq(insn->code, BPF_LD | BPF_W | BPF_ABS);
			a = filter_word(data, insn->k);
			break;
		case BPF_ALU:
			cr_assert_eq(insn->code, BPF_ALU | BPF_AND | BPF_K);
			a &= insn->k;
			break;
		case BPF_JMP:
			if (BPF_OP(insn->code) == BPF_JA)
				pc += insn->k;
			else
				pc += jumps(insn, a) ? insn->jt : insn->jf;
			break;
		default:
			cr_assert_eq(insn->code, BPF_RET | BPF_K, "code %#x", insn->code);
			return insn->k;
		}
	}
	cr_assert_fail("the program has no end");
	return 0;
}

/* What the table says. */
static uint32_t expected(unsigned thread, const struct seccomp_data *data)
{
	uint32_t answer = SECCOMP_RET_TRAP;

	for (size_t i = 0; i < ARRAY_SIZE(sandbox_table); i++) {
		const struct sandbox_rule *rule = &sandbox_table[i];

		if (rule->nr != data->nr || !sandbox_rule_of(rule, thread) ||
		    (data->args[rule->arg] & rule->mask) != rule->value)
			continue;
		if (!rule->error)
			return SECCOMP_RET_ALLOW;
		answer = SECCOMP_RET_ERRNO | (uint32_t)rule->error;
	}
	return answer;
}

static void compare(unsigned thread, const struct seccomp_data *data)
{
	uint32_t is = verdict(thread, data), should = expected(thread, data);

	cr_expect_eq(is, should, "thread %u, call %d(%#llx, %#llx, %#llx): %#x, not %#x", thread,
		     data->nr, (unsigned long long)data->args[0], (unsigned long long)data->args[1],
		     (unsigned long long)data->args[2], is, should);
}

Test(sandbox, filters_are_the_table)
{
	for (unsigned thread = 0; thread < SANDBOX_THREADS; thread++) {
		for (int nr = -1; nr < CALLS; nr++) {
			struct seccomp_data data = {.nr = nr, .arch = AUDIT_ARCH_X86_64};

			compare(thread, &data);
			memset(data.args, 0xff, sizeof(data.args));
			compare(thread, &data);
		}
	}
}

/* Each condition is met, missed by each bit, and met by what musl's sign extension makes of it. */
Test(sandbox, conditions)
{
	for (unsigned thread = 0; thread < SANDBOX_THREADS; thread++) {
		for (size_t i = 0; i < ARRAY_SIZE(sandbox_table); i++) {
			const struct sandbox_rule *rule = &sandbox_table[i];
			struct seccomp_data data = {.nr = rule->nr, .arch = AUDIT_ARCH_X86_64};

			if (!rule->mask)
				continue;
			data.args[rule->arg] = rule->value;
			compare(thread, &data);
			for (unsigned bit = 0; bit < 64; bit++) {
				data.args[rule->arg] = rule->value ^ BIT(bit);
				compare(thread, &data);
			}
			data.args[rule->arg] = (uint64_t)(int64_t)(int32_t)rule->value;
			compare(thread, &data);
		}
	}
}

Test(sandbox, other_abis)
{
	for (unsigned thread = 0; thread < SANDBOX_THREADS; thread++) {
		for (int nr = 0; nr < CALLS; nr++) {
			struct seccomp_data i386 = {.nr = nr, .arch = AUDIT_ARCH_I386};
			struct seccomp_data x32 = {.nr = nr | 0x40000000,
						   .arch = AUDIT_ARCH_X86_64};

			cr_expect_eq(verdict(thread, &i386), SECCOMP_RET_TRAP, "i386 %d", nr);
			cr_expect_eq(verdict(thread, &x32), SECCOMP_RET_TRAP, "x32 %d", nr);
		}
	}
}

static uint32_t plain(unsigned thread, int nr, uint64_t arg0, uint64_t arg1, uint64_t arg2)
{
	const struct seccomp_data data = {
		.nr = nr, .arch = AUDIT_ARCH_X86_64, .args = {arg0, arg1, arg2}};

	return verdict(thread, &data);
}

/* What no thread may do once the machine runs, whatever the table comes to have. */
Test(sandbox, nobody_may)
{
	static const int never[] = {
		__NR_execve,	     __NR_execveat,	   __NR_fork,
		__NR_vfork,	     __NR_ptrace,	   __NR_mount,
		__NR_setuid,	     __NR_chroot,	   __NR_bpf,
		__NR_kill,	     __NR_tkill,	   __NR_process_vm_writev,
		__NR_unshare,	     __NR_setns,	   __NR_keyctl,
		__NR_io_uring_setup, __NR_connect,	   __NR_bind,
		__NR_listen,	     __NR_recvmsg,	   __NR_open_by_handle_at,
		__NR_init_module,    __NR_rename,	   __NR_pidfd_getfd,
		__NR_userfaultfd,    __NR_perf_event_open, __NR_pkey_mprotect,
		__NR_memfd_create};

	for (unsigned thread = 0; thread < SANDBOX_THREADS; thread++) {
		for (size_t i = 0; i < ARRAY_SIZE(never); i++)
			cr_expect_eq(plain(thread, never[i], 0, 0, 0), SECCOMP_RET_TRAP,
				     "thread %u, call %d", thread, never[i]);
		cr_expect_eq(plain(thread, __NR_mmap, 0, 4096, PROT_READ | PROT_EXEC),
			     SECCOMP_RET_TRAP);
		cr_expect_eq(plain(thread, __NR_mprotect, 0, 4096, PROT_EXEC), SECCOMP_RET_TRAP);
		cr_expect_eq(plain(thread, __NR_rt_sigaction, SIGSYS, 0, 0), SECCOMP_RET_TRAP);
		cr_expect_eq(plain(thread, __NR_rt_sigaction, SIGSYS | BIT(32), 0, 0),
			     SECCOMP_RET_TRAP);
		cr_expect_eq(plain(thread, __NR_tgkill, 1, 1, SIGKILL), SECCOMP_RET_TRAP);
		cr_expect_eq(plain(thread, __NR_ioctl, 0, KVM_CREATE_VM, 0), SECCOMP_RET_TRAP);
		cr_expect_eq(plain(thread, __NR_ioctl, 0, TIOCSTI, 0), SECCOMP_RET_TRAP);
		/* A process, not a thread. */
		cr_expect_eq(plain(thread, __NR_clone, SIGCHLD, 0, 0), SECCOMP_RET_TRAP);
	}
	cr_expect_eq(plain(SANDBOX_LOOP, __NR_ioctl, 0, KVM_RUN, 0), SECCOMP_RET_TRAP);
	cr_expect_eq(plain(SANDBOX_VCPU, __NR_io_uring_enter, 0, 0, 0), SECCOMP_RET_TRAP);
	cr_expect_eq(plain(SANDBOX_VCPU, __NR_accept4, 0, 0, 0), SECCOMP_RET_TRAP);
	cr_expect_eq(plain(SANDBOX_LOOP, __NR_accept4, 0, 0, 0), SECCOMP_RET_TRAP);
	cr_expect_eq(plain(SANDBOX_LOOP, __NR_unlink, 0, 0, 0), SECCOMP_RET_TRAP);
	cr_expect_eq(plain(SANDBOX_LOOP, __NR_openat, 0, 0, 0), SECCOMP_RET_ERRNO | EACCES);
	cr_expect_eq(plain(SANDBOX_VCPU, __NR_openat, 0, 0, 0), SECCOMP_RET_ERRNO | EACCES);
	cr_expect_eq(plain(SANDBOX_SIGNALS, __NR_openat, 0, 0, 0), SECCOMP_RET_ERRNO | EACCES);
	cr_expect_eq(plain(SANDBOX_SIGNALS, __NR_ioctl, 0, KVM_RUN, 0), SECCOMP_RET_TRAP);
	cr_expect_eq(plain(SANDBOX_SIGNALS, __NR_pwrite64, 0, 0, 0), SECCOMP_RET_TRAP);
}

/* ---- in force ---- */

/* A sanitizer's runtime makes calls of its own. */
static void need_no_sanitizer(void)
{
	if (SANDBOX_SANITIZED)
		cr_skip_test("built with a sanitizer");
}

struct outcome {
	int status; /* as wait() has it */
	char said[1024];
};

static void in_child(void (*body)(const void *arg), const void *arg, struct outcome *out)
{
	int pipe_fd[2];
	ssize_t n;
	pid_t pid;

	memset(out, 0, sizeof(*out));
	cr_assert_eq(pipe(pipe_fd), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (!pid) {
		dup2(pipe_fd[1], STDERR_FILENO);
		close(pipe_fd[0]);
		body(arg);
		_exit(0);
	}
	close(pipe_fd[1]);
	for (size_t at = 0; (n = read(pipe_fd[0], out->said + at, sizeof(out->said) - 1 - at)) > 0;)
		at += (size_t)n;
	close(pipe_fd[0]);
	cr_assert_eq(waitpid(pid, &out->status, 0), pid);
}

#define EXPECT_EXIT(out, wanted)                                                                   \
	cr_expect(WIFEXITED((out).status) && WEXITSTATUS((out).status) == (wanted),                \
		  "status %#x: %s", (out).status, (out).said)

static void enter(enum sandbox_mode mode)
{
	const struct sandbox_config config = {.mode = mode, .status = STATUS};

	if (sandbox_enter(&config))
		_exit(101);
}

struct deed {
	enum sandbox_mode mode;
	enum sandbox_thread thread;
	int nr;
	uint64_t arg[3];
	int error; /* it answers this */
	const char *name, *who;
};

static void *do_deed(void *opaque)
{
	const struct deed *deed = opaque;
	long rc;

	if (deed->thread != SANDBOX_SETUP && sandbox_thread(deed->thread))
		_exit(102);
	rc = syscall(deed->nr, deed->arg[0], deed->arg[1], deed->arg[2], 0, 0, 0);
	if (deed->error && (rc != -1 || errno != deed->error))
		_exit(103);
	/* Not there for the filter to be met by this thread's own end. */
	return NULL;
}

/* On a thread of its own, as in a machine. */
static void deed_body(const void *arg)
{
	struct deed deed = *(const struct deed *)arg;
	pthread_t thread;

	enter(deed.mode);
	if (pthread_create(&thread, NULL, do_deed, &deed))
		_exit(104);
	pthread_join(thread, NULL);
}

static const struct deed outside[] = {
	{SANDBOX_ON, SANDBOX_SETUP, __NR_execve, {0}, 0, "execve", "main"},
	{SANDBOX_ON, SANDBOX_LOOP, __NR_execve, {0}, 0, "execve", "loop"},
	{SANDBOX_ON, SANDBOX_LOOP, __NR_socket, {AF_INET}, 0, "socket", "loop"},
	{SANDBOX_ON, SANDBOX_LOOP, __NR_ioctl, {0, KVM_RUN}, 0, "ioctl(0, 0xae80, ", "loop"},
	{SANDBOX_ON, SANDBOX_LOOP_HOTPLUG, __NR_socket, {AF_UNIX}, 0, "socket(0x1, ", "loop"},
	{SANDBOX_ON, SANDBOX_LOOP_HOTPLUG, __NR_fork, {0}, 0, "fork", "loop"},
	{SANDBOX_ON, SANDBOX_VCPU, __NR_accept4, {0}, 0, "accept4", "vCPU"},
	{SANDBOX_ON, SANDBOX_VCPU, __NR_clone, {SIGCHLD}, 0, "clone", "vCPU"},
	{SANDBOX_ON, SANDBOX_VCPU, __NR_mmap, {0, 4096, PROT_EXEC}, 0, "mmap", "vCPU"},
	{SANDBOX_ON, SANDBOX_VCPU, __NR_seccomp, {0}, 0, "seccomp", "vCPU"},
	{SANDBOX_ON, SANDBOX_VCPU, CALLS, {0}, 0, "unknown", "vCPU"},
	{SANDBOX_ON, SANDBOX_SIGNALS, __NR_accept4, {0}, 0, "accept4", "signals"},
};

Test(sandbox, a_call_outside_ends_the_process, .init = need_no_sanitizer)
{
	for (size_t i = 0; i < ARRAY_SIZE(outside); i++) {
		const struct deed *deed = &outside[i];
		char who[32];
		struct outcome out;

		in_child(deed_body, deed, &out);
		EXPECT_EXIT(out, STATUS);
		snprintf(who, sizeof(who), "the %s thread ", deed->who);
		cr_expect(strstr(out.said, deed->name) && strstr(out.said, who), "%s, %s: %s",
			  deed->who, deed->name, out.said);
		cr_expect_eq(strchr(out.said, '\n'), out.said + strlen(out.said) - 1,
			     "not one line: %s", out.said);
	}
}

Test(sandbox, it_is_made_where_the_sandbox_is_off_or_only_logs, .init = need_no_sanitizer)
{
	static const enum sandbox_mode modes[] = {SANDBOX_OFF, SANDBOX_LOG};

	for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
		for (unsigned thread = SANDBOX_LOOP; thread < SANDBOX_THREADS; thread++) {
			const struct deed deed = {.mode = modes[m],
						  .thread = (enum sandbox_thread)thread,
						  .nr = __NR_accept4,
						  .arg = {(uint64_t)-1},
						  .error = EBADF};
			struct outcome out;

			in_child(deed_body, &deed, &out);
			EXPECT_EXIT(out, 0);
		}
	}
}

Test(sandbox, malloc_may_ask_for_a_file, .init = need_no_sanitizer)
{
	static const char path[] = "/proc/sys/vm/overcommit_memory";
	const struct deed deed = {.mode = SANDBOX_ON,
				  .thread = SANDBOX_VCPU,
				  .nr = __NR_openat,
				  .arg = {(uint64_t)AT_FDCWD, (uintptr_t)path},
				  .error = EACCES};
	struct outcome out;

	in_child(deed_body, &deed, &out);
	EXPECT_EXIT(out, 0);
}

/* What every thread does, on each kind of thread; a false alarm would end it. */
static void *live(void *opaque)
{
	const struct deed *deed = opaque;
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct timespec ts = {.tv_nsec = 1000};
	char *block[64];

	if (deed->thread != SANDBOX_SETUP && sandbox_thread(deed->thread))
		_exit(102);
	/* Past every threshold at which malloc() changes its mind, and back. */
	for (unsigned round = 0; round < 3; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(block); i++) {
			block[i] = malloc((size_t)1 << (i % 23));
			if (block[i])
				memset(block[i], 1, (size_t)1 << (i % 23));
		}
		for (size_t i = 0; i < ARRAY_SIZE(block); i++)
			free(block[i]);
	}
	pthread_mutex_lock(&lock);
	pthread_mutex_unlock(&lock);
	nanosleep(&ts, NULL);
	fprintf(stderr, "%s\n", strerror(EACCES));
	pthread_kill(pthread_self(), 0);
	return NULL;
}

static void live_body(const void *arg)
{
	struct deed deed = *(const struct deed *)arg;
	pthread_t thread[4];

	enter(SANDBOX_ON);
	for (size_t i = 0; i < ARRAY_SIZE(thread); i++)
		if (pthread_create(&thread[i], NULL, live, &deed))
			_exit(104);
	for (size_t i = 0; i < ARRAY_SIZE(thread); i++)
		pthread_join(thread[i], NULL);
	exit(0);
}

Test(sandbox, the_c_library_lives, .init = need_no_sanitizer)
{
	for (unsigned thread = 0; thread < SANDBOX_THREADS; thread++) {
		const struct deed deed = {.thread = (enum sandbox_thread)thread};
		struct outcome out;

		in_child(live_body, &deed, &out);
		EXPECT_EXIT(out, 0);
	}
}

/* ---- privileges ---- */

static void privileges_body(const void *arg)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3], none[ARRAY_SIZE(caps)] = {0};
	struct rlimit core;

	(void)arg;
	enter(SANDBOX_LOG);
	if (syscall(SYS_capget, &header, caps) || memcmp(caps, none, sizeof(caps)))
		_exit(1);
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		_exit(2);
	if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		_exit(3);
	if (getrlimit(RLIMIT_CORE, &core) || core.rlim_max)
		_exit(4);
	if (!geteuid() && prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0))
		_exit(5);
}

Test(sandbox, privileges_are_gone, .init = need_no_sanitizer)
{
	struct outcome out;

	in_child(privileges_body, NULL, &out);
	EXPECT_EXIT(out, 0);
}

/* ---- files ---- */

struct places {
	char dir[64], in[80], out[64];
	const char *may_be;
};

/* 0, or the errno of opening PATH. */
static int opening(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static void files_body(const void *arg)
{
	const struct places *p = arg;
	const struct sandbox_path path[] = {
		{p->dir, SANDBOX_WRITE},
		{"/proc/self/status", SANDBOX_READ},
		{p->may_be, SANDBOX_WRITE | SANDBOX_MAYBE},
	};
	const struct sandbox_config config = {
		.mode = SANDBOX_ON, .path = path, .paths = ARRAY_SIZE(path), .status = STATUS};

	if (sandbox_enter(&config))
		_exit(101);
	if (opening(p->in, O_RDWR) || opening("/proc/self/status", O_RDONLY))
		_exit(1);
	if (opening(p->out, O_RDONLY) != EACCES || opening("/dev/null", O_WRONLY) != EACCES ||
	    opening("/etc", O_RDONLY | O_DIRECTORY) != EACCES)
		_exit(2);
	if (opening("/proc/self/status", O_RDWR) != EACCES)
		_exit(3);
	/* Nothing can be made, and nothing taken away. */
	if (unlink(p->in) != -1 || errno != EACCES)
		_exit(4);
	if (!*sandbox_advice(EACCES) || *sandbox_advice(ENOENT))
		_exit(6);
}

static void remove_body(const void *arg)
{
	const struct places *p = arg;
	const struct sandbox_path path = {p->dir, SANDBOX_REMOVE};
	const struct sandbox_config config = {
		.mode = SANDBOX_ON, .path = &path, .paths = 1, .status = STATUS};

	if (sandbox_enter(&config))
		_exit(101);
	if (opening(p->in, O_RDONLY) != EACCES || unlink(p->in))
		_exit(1);
	if (unlink(p->out) != -1 || errno != EACCES)
		_exit(2);
}

static void missing_body(const void *arg)
{
	const struct sandbox_path path = {"/nonexistent", SANDBOX_WRITE};
	const struct sandbox_config config = {.mode = SANDBOX_ON, .path = &path, .paths = 1};

	(void)arg;
	_exit(sandbox_enter(&config) == -ENOENT ? 0 : 1);
}

static void touch(const char *path)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
	close(fd);
}

Test(sandbox, files, .init = need_no_sanitizer)
{
	struct places p = {.dir = "/tmp/postern-sandbox-XXXXXX",
			   .out = "/tmp/postern-outside-XXXXXX",
			   .may_be = "/nonexistent"};
	struct outcome out;
	int fd;

	if (syscall(__NR_landlock_create_ruleset, NULL, 0, 1) < 1)
		cr_skip_test("this kernel has no Landlock");
	cr_assert_not_null(mkdtemp(p.dir));
	fd = mkstemp(p.out);
	cr_assert_geq(fd, 0);
	close(fd);
	snprintf(p.in, sizeof(p.in), "%s/file", p.dir);
	touch(p.in);
	in_child(files_body, &p, &out);
	EXPECT_EXIT(out, 0);
	in_child(remove_body, &p, &out);
	EXPECT_EXIT(out, 0);
	cr_expect_neq(access(p.in, F_OK), 0);
	in_child(missing_body, NULL, &out);
	EXPECT_EXIT(out, 0);
	cr_expect(strstr(out.said, "/nonexistent"), "%s", out.said);
	unlink(p.out);
	rmdir(p.dir);
}
