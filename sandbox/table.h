/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system calls of each kind of thread: the one place to change when a device learns to do more.
 * generate.c makes the filters from it when postern is built; tests/unit/test_sandbox.c holds them
 * against it.
 *
 * A call that is missing here ends somebody's machine, so that each line has all the numbers by
 * which a C library may make the same call: glibc and musl, of today and of tomorrow.
 */
#ifndef POSTERN_SANDBOX_TABLE_H
#define POSTERN_SANDBOX_TABLE_H

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "config.h"
#include "postern/bits.h"
#include "sandbox/internal.h"

/* Kinds of thread. What one may do the process may while its threads are made. */
#define SETUP	BIT(SANDBOX_SETUP)
#define HOTPLUG BIT(SANDBOX_LOOP_HOTPLUG)
#define LOOP	(BIT(SANDBOX_LOOP) | HOTPLUG)
#define VCPU	BIT(SANDBOX_VCPU)
#define SIGNALS BIT(SANDBOX_SIGNALS)
#define MACHINE (LOOP | VCPU)
#define ALL	(MACHINE | SIGNALS)

struct sandbox_rule {
	unsigned threads;
	int nr;
	int error; /* 0: the call is made; else what it answers in place */
	/* Only where the bits MASK of argument ARG are VALUE; any arguments where MASK is 0. */
	unsigned arg;
	uint64_t mask, value;
};

#define WORD UINT32_C(0xffffffff) /* the kernel looks at 32 bits; musl extends their sign */

#define CALL(threads, name)                                                                        \
	{                                                                                          \
		threads, __NR_##name, 0, 0, 0, 0                                                   \
	}
#define ANSWER(threads, name, err)                                                                 \
	{                                                                                          \
		threads, __NR_##name, err, 0, 0, 0                                                 \
	}
#define CALL_IF(threads, name, argument, bits, is)                                                 \
	{                                                                                          \
		threads, __NR_##name, 0, argument, bits, is                                        \
	}
#define IOCTL(threads, request) CALL_IF(threads, ioctl, 1, WORD, (uint32_t)(request))
#define FCNTL(threads, command) CALL_IF(threads, fcntl, 1, WORD, (uint32_t)(command))

/* Calls, requests and names that headers of Linux 6.1 and musl's lack. */
#ifndef __NR_futex_wake
#define __NR_futex_wake	   454
#define __NR_futex_wait	   455
#define __NR_futex_requeue 456
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif
#define TABLE_TCGETS	 0x5401
#define TABLE_TCSETS	 0x5402
#define TABLE_TIOCGWINSZ 0x5413
#define TABLE_TCGETS2	 0x802c542au
#define TABLE_TCSETS2	 0x402c542bu

static const struct sandbox_rule sandbox_table[] = {
	/* ---- what the C library does by itself ---- */
	CALL_IF(ALL, mmap, 2, PROT_EXEC, 0),
	CALL_IF(ALL, mprotect, 2, PROT_EXEC, 0),
	CALL(ALL, munmap),
	CALL(ALL, mremap),
	CALL(ALL, madvise),
	CALL(ALL, brk),
	CALL(ALL, futex),
	CALL(ALL, futex_waitv),
	CALL(ALL, futex_wake),
	CALL(ALL, futex_wait),
	CALL(ALL, futex_requeue),
	CALL(ALL, set_robust_list),
	CALL(ALL, rseq),
	CALL(ALL, membarrier),
	CALL(ALL, sched_yield),
	CALL(ALL, sched_getaffinity),
	CALL(ALL, getpid),
	CALL(ALL, gettid),
	CALL(ALL, getrandom),
	CALL(ALL, sysinfo),
	CALL(ALL, uname),
	CALL(ALL, getcpu),
	CALL(ALL, clock_gettime),
	CALL(ALL, clock_getres),
	CALL(ALL, gettimeofday),
	CALL(ALL, time),
	CALL(ALL, clock_nanosleep),
	CALL(ALL, nanosleep),
	CALL(ALL, restart_syscall),
	CALL(ALL, rt_sigreturn),
	CALL(ALL, rt_sigprocmask),
	CALL(ALL, rt_sigpending),
	CALL(ALL, sigaltstack),
	/*
	 * Whoever could handle SIGSYS, 31, would survive the call that is not here: so only signals
	 * that lack one of its bits. (63 goes with it, which nobody uses.)
	 */
	CALL_IF(ALL, rt_sigaction, 0, 1, 0),
	CALL_IF(ALL, rt_sigaction, 0, 2, 0),
	CALL_IF(ALL, rt_sigaction, 0, 4, 0),
	CALL_IF(ALL, rt_sigaction, 0, 8, 0),
	CALL_IF(ALL, rt_sigaction, 0, 16, 0),
	CALL_IF(ALL, tgkill, 0, WORD, SANDBOX_OWN_PID),
	CALL_IF(ALL, prctl, 0, WORD, PR_SET_NAME),
	CALL_IF(ALL, prctl, 0, WORD, PR_SET_VMA),
	CALL(ALL, getrlimit),
	CALL_IF(ALL, prlimit64, 2, UINT64_MAX, 0), /* reads only */
	CALL(ALL, exit),
	CALL(ALL, exit_group),
	/* malloc() looks at vm.overcommit_memory, and does without. */
	ANSWER(BIT(SANDBOX_LOOP) | VCPU | SIGNALS, open, EACCES),
	ANSWER(BIT(SANDBOX_LOOP) | VCPU | SIGNALS, openat, EACCES),

	/* ---- open descriptors: disks, taps, eventfds, terminals, the log ---- */
	CALL(ALL, read),
	CALL(ALL, write),
	CALL(MACHINE, readv),
	CALL(MACHINE, writev),
	CALL(MACHINE, pread64),
	CALL(MACHINE, pwrite64),
	CALL(MACHINE, preadv),
	CALL(MACHINE, pwritev),
	CALL(MACHINE, preadv2),
	CALL(MACHINE, pwritev2),
	CALL(MACHINE, lseek),
	CALL(MACHINE, close),
	CALL(MACHINE, fstat),
	CALL(MACHINE, newfstatat),
	CALL(MACHINE, statx),
	CALL(MACHINE, fsync),
	CALL(MACHINE, fdatasync),
	CALL(MACHINE, fallocate),
	CALL(ALL, poll),
	CALL(ALL, ppoll),
	CALL(MACHINE, eventfd2),
	FCNTL(MACHINE, F_GETFD),
	FCNTL(MACHINE, F_SETFD),
	FCNTL(MACHINE, F_GETFL),
	FCNTL(MACHINE, F_SETFL),
	FCNTL(MACHINE, F_DUPFD_CLOEXEC),
	IOCTL(ALL, TABLE_TCGETS),
	IOCTL(ALL, TABLE_TCSETS),
	IOCTL(ALL, TABLE_TCGETS2),
	IOCTL(ALL, TABLE_TCSETS2),
	IOCTL(MACHINE, TABLE_TIOCGWINSZ),
	/* The event queues of the soft iommufd are pairs of sockets. */
	CALL_IF(MACHINE, socketpair, 0, WORD, AF_UNIX),
	CALL_IF(MACHINE, sendto, 4, UINT64_MAX, 0), /* where the socket is connected to */
	CALL_IF(MACHINE, recvfrom, 4, UINT64_MAX, 0),

	/* ---- KVM ---- */
	IOCTL(VCPU, KVM_RUN),
	IOCTL(VCPU, KVM_GET_REGS),
	IOCTL(VCPU, KVM_GET_SREGS),
	IOCTL(VCPU, KVM_TRANSLATE),
	IOCTL(MACHINE, KVM_SET_REGS),
	IOCTL(MACHINE, KVM_SIGNAL_MSI),
	IOCTL(MACHINE, KVM_IRQFD),
	IOCTL(MACHINE, KVM_IOEVENTFD),
	IOCTL(MACHINE, KVM_SET_GSI_ROUTING),
	IOCTL(MACHINE, KVM_SET_USER_MEMORY_REGION),
	IOCTL(MACHINE, KVM_CHECK_EXTENSION),
	/* Reset. */
	IOCTL(LOOP, KVM_SET_SREGS),
	IOCTL(LOOP, KVM_SET_MSRS),
	IOCTL(LOOP, KVM_SET_LAPIC),
	IOCTL(LOOP, KVM_SET_FPU),
	IOCTL(LOOP, KVM_SET_XCRS),
	IOCTL(LOOP, KVM_SET_XSAVE),
	IOCTL(LOOP, KVM_SET_DEBUGREGS),
	IOCTL(LOOP, KVM_SET_VCPU_EVENTS),
	IOCTL(LOOP, KVM_SET_MP_STATE),
	/* Pause. */
	IOCTL(LOOP, KVM_KVMCLOCK_CTRL),

	/* ---- the event loop ---- */
	CALL(LOOP, io_uring_enter),
	CALL_IF(LOOP, io_uring_register, 1, WORD, IORING_REGISTER_ENABLE_RINGS),

/* ---- assigned devices: VFIO and iommufd share a type, which nobody else has ---- */
#if defined(CONFIG_VFIO) || defined(CONFIG_AMD_IOMMU)
	CALL_IF(MACHINE, ioctl, 1, WORD & ~UINT32_C(0xff), ';' << 8),
#endif

/* ---- network devices ---- */
#ifdef CONFIG_VIRTIO_NET
	IOCTL(MACHINE, TUNSETOFFLOAD),
	IOCTL(MACHINE, TUNSETQUEUE),
	IOCTL(HOTPLUG, TUNSETIFF),
	IOCTL(HOTPLUG, TUNGETIFF),
	IOCTL(HOTPLUG, TUNSETVNETHDRSZ),
	IOCTL(HOTPLUG, SIOCGIFFLAGS),
	IOCTL(HOTPLUG, SIOCSIFFLAGS),
	CALL_IF(HOTPLUG, socket, 0, WORD, AF_INET), /* for the two above */
#endif

	/* ---- the control socket, and devices that it adds; which files they are Landlock says
	   ---- */
	CALL(HOTPLUG, accept4),
	CALL(HOTPLUG, open),
	CALL(HOTPLUG, openat),
	CALL(HOTPLUG, stat),
	CALL(HOTPLUG, lstat),
	CALL(HOTPLUG, access),
	CALL(HOTPLUG, faccessat),
	CALL(HOTPLUG, faccessat2),
	CALL(HOTPLUG | SIGNALS, readlink),
	CALL(HOTPLUG | SIGNALS, readlinkat),
	CALL(HOTPLUG, getdents64),
	CALL(HOTPLUG, getcwd),
	CALL(HOTPLUG, unlink),
	CALL(HOTPLUG, unlinkat),
	FCNTL(HOTPLUG, F_OFD_SETLK),
	IOCTL(HOTPLUG, BLKGETSIZE64),

	/* ---- until the last thread has been made ---- */
	CALL_IF(SETUP, seccomp, 0, WORD, SECCOMP_SET_MODE_FILTER),
	/* Threads only. What clone3() is asked for lies in memory: C libraries then take clone().
	 */
	CALL_IF(SETUP, clone, 0,
		CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_PTRACE |
			CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
			CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET,
		CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD),
	ANSWER(SETUP, clone3, ENOSYS),
};

/* Whether a rule is one of the filter of THREAD. */
static inline bool sandbox_rule_of(const struct sandbox_rule *rule, unsigned thread)
{
	if (thread == SANDBOX_SETUP && !rule->error)
		return true;
	return rule->threads & BIT(thread);
}

#endif
