// SPDX-License-Identifier: Apache-2.0
/* Findings of postern doctor: KVM, io_uring, memory. */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "vmm/doctor.h"
#include "vmm/machine.h"

/* What makes KVM go here; only for the reader, nothing depends on it. */
static const char *kvm_kind(void)
{
	unsigned a, b, c, d;

	if (!access("/sys/module/kvm_pvm", F_OK))
		return "kvm_pvm: software, guest kernels run slowly";
	if (__get_cpuid(0x80000001, &a, &b, &c, &d) && (c & BIT(2)))
		return "AMD SVM";
	if (__get_cpuid(1, &a, &b, &c, &d) && (c & BIT(5)))
		return "Intel VMX";
	return "no virtualization extension in CPUID: a software KVM, guest kernels may run slowly";
}

static void check_kvm(struct doctor *d)
{
	const char *fix = "load kvm_amd or kvm_intel, enable virtualization in the firmware, and "
			  "join the group kvm";
	struct kvm kvm = {.fd = -1, .vm = -1};
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), rc;

	if (fd < 0) {
		doctor_report(d, "kvm", DOCTOR_NO, fix, "/dev/kvm: %s", strerror(errno));
		return;
	}
	close(fd);
	rc = kvm_open(&kvm);
	if (rc) {
		doctor_report(d, "kvm", DOCTOR_NO, fix, "no VM with a split irqchip: %s",
			      strerror(-rc));
		return;
	}
	const struct {
		const char *name;
		bool have;
		const char *meaning;
	} caps[] = {
		{"signal-msi", kvm.signal_msi, "messages of emulated devices"},
		{"irqfd", kvm.irqfd, "interrupts of assigned devices without a thread in between"},
		{"ioeventfd", kvm.ioeventfd, "doorbells without an exit to user space"},
		{"x2apic-api", kvm.x2apic_api, "32-bit interrupt destinations"},
		{"tsc-deadline", kvm.tsc_deadline, "the local timer most guests want"},
		{"readonly-memory", kvm.readonly_mem, "write traps (accelerated vIOMMU)"},
		{"emulation-exit", kvm.exit_on_emulation_failure,
		 "instructions that KVM cannot emulate reach the monitor"},
	};

	doctor_report(d, "kvm", DOCTOR_YES, NULL, "%s; %u vCPUs, %u memory slots, %u address bits",
		      kvm_kind(), kvm.max_cpus, kvm.max_slots, kvm.phys_bits);
	doctor_report(d, "split-irqchip", DOCTOR_YES, NULL, "used by every machine; %u routes",
		      kvm.max_routes);
	for (size_t i = 0; i < ARRAY_SIZE(caps); i++)
		doctor_report(d, caps[i].name, caps[i].have ? DOCTOR_YES : DOCTOR_NO, NULL, "%s",
			      caps[i].meaning);
	kvm_close(&kvm);
}

static void check_loop(struct doctor *d)
{
	struct event_loop *loop;
	int rc = event_loop_new(EVENT_LOOP_URING, &loop);

	if (rc) {
		doctor_report(d, "io_uring", DOCTOR_NO,
			      "sysctl kernel.io_uring_disabled=0, or allow it in the container's "
			      "seccomp profile",
			      "%s; the poll engine serves instead", strerror(-rc));
		return;
	}
	event_loop_free(loop);
	doctor_report(d, "io_uring", DOCTOR_YES, NULL, "a ring was set up");
}

static long read_number(const char *path)
{
	FILE *f = fopen(path, "re");
	char text[32], *end = text;
	long n = -1;

	if (!f)
		return -1;
	if (fgets(text, sizeof(text), f))
		n = strtol(text, &end, 10);
	fclose(f);
	return end == text ? -1 : n;
}

static void check_memory(struct doctor *d)
{
	long total = read_number("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
	long unused = read_number("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit))
		doctor_report(d, "memlock", DOCTOR_UNKNOWN, NULL, "%s", strerror(errno));
	else if (limit.rlim_cur == RLIM_INFINITY)
		doctor_report(d, "memlock", DOCTOR_YES, NULL, "unlimited");
	else if (!geteuid())
		doctor_report(d, "memlock", DOCTOR_YES, NULL, "%llu KiB, which root may exceed",
			      (unsigned long long)limit.rlim_cur / 1024);
	else
		doctor_report(d, "memlock", DOCTOR_NO, "ulimit -l unlimited",
			      "%llu KiB: an assigned device pins all guest memory",
			      (unsigned long long)limit.rlim_cur / 1024);
	if (total < 0)
		doctor_report(d, "huge-pages", DOCTOR_NO, NULL, "this kernel has no 2 MiB pages");
	else
		doctor_report(d, "huge-pages", unused > 0 ? DOCTOR_YES : DOCTOR_NO,
			      "echo N > /proc/sys/vm/nr_hugepages", "%ld of %ld 2 MiB pages free",
			      unused, total);
}

static const struct doctor_section kvm_section = {"KVM", 0, check_kvm};
DOCTOR_SECTION(kvm_section);
static const struct doctor_section loop_section = {"Event loop", 1, check_loop};
DOCTOR_SECTION(loop_section);
static const struct doctor_section memory_section = {"Memory", 2, check_memory};
DOCTOR_SECTION(memory_section);
