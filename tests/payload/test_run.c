// SPDX-License-Identifier: Apache-2.0
/* How vCPUs start, stop, pause and start again. */
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>

#include "harness.h"

#define APIC	    UINT64_C(0xfee00000)
#define APIC_TPR    (APIC + 0x80)
#define APIC_SVR    (APIC + 0xf0)
#define APIC_ICR    (APIC + 0x300)
#define APIC_ICR2   (APIC + 0x310)
#define APIC_LINT1  (APIC + 0x360)
#define ICR_INIT    0x4500u
#define ICR_STARTUP 0x4600u
#define RESET_PORT  0x620u

#define MSR_APIC_BASE	  0x1bu
#define MSR_MTRR_DEF_TYPE 0x2ffu
#define MSR_PAT		  0x277u
#define MSR_KVMCLOCK	  0x4b564d01u

#define COUNTER 0x300000u

static uint64_t count(const struct harness *h)
{
	uint64_t value = 0;

	guest_memory_load64(&h->m.memory, COUNTER, &value);
	return value;
}

/* The guest is known to spin once its counter has moved. */
static void wait_spinning(const struct harness *h)
{
	uint64_t start = count(h);

	while (count(h) == start)
		sched_yield();
}

static void test_triple_fault(void)
{
	struct harness *h = harness_new(1);

	harness_start(h);
	agent_post(h, OP_FAULT, 0, 0);
	ok(harness_join(h) == MACHINE_CRASHED && h->finishes == 1,
	   "a triple fault ends the machine, once, as crashed");
	harness_free(h);
}

static void test_emulation_failure(void)
{
	struct harness *h = harness_new(1);

	harness_start(h);
	agent_post(h, OP_ODD, UINT64_C(0xd0000000), 0);
	ok(harness_join(h) == MACHINE_CRASHED, "an instruction KVM cannot emulate does so too");
	harness_free(h);
}

static void test_kick(void)
{
	struct harness *h = harness_new(1);

	harness_start(h);
	agent_post(h, OP_SPIN, COUNTER, 0);
	wait_spinning(h);
	machine_finish(&h->m, MACHINE_QUIT);
	ok(harness_join(h) == MACHINE_QUIT, "a guest that spins is stopped");
	machine_finish(&h->m, MACHINE_FAILED);
	ok(h->m.end == MACHINE_QUIT, "the first end counts");
	harness_free(h);
}

static unsigned running(struct harness *h)
{
	unsigned n;

	pthread_mutex_lock(&h->m.pause_lock);
	n = h->m.vcpus_running;
	pthread_mutex_unlock(&h->m.pause_lock);
	return n;
}

static void test_pause(void)
{
	struct harness *h = harness_new(2);
	bool still = true, moves = true;

	machine_pause_vcpus(&h->m);
	harness_start(h);
	agent_post(h, OP_SPIN, COUNTER, 0);
	for (unsigned i = 0; i < 1000; i++)
		sched_yield();
	ok(count(h) == 0, "paused before it began: nothing runs");
	machine_resume_vcpus(&h->m);
	/* A thread that has not begun cannot be counted as paused. */
	while (running(h) != 2)
		sched_yield();
	for (unsigned round = 0; round < 50; round++) {
		uint64_t before;

		wait_spinning(h);
		machine_pause_vcpus(&h->m);
		before = count(h);
		for (unsigned i = 0; i < 50; i++)
			sched_yield();
		still &= count(h) == before && h->m.vcpus_paused == 2;
		machine_resume_vcpus(&h->m);
		machine_pause_vcpus(&h->m);
		moves &= h->m.vcpus_paused == 2;
		machine_resume_vcpus(&h->m);
	}
	ok(still, "while paused the guest does nothing");
	ok(moves, "pausing right after resuming counts every vCPU once");
	machine_pause_vcpus(&h->m);
	machine_finish(&h->m, MACHINE_QUIT);
	machine_resume_vcpus(&h->m);
	ok(harness_join(h) == MACHINE_QUIT, "a paused vCPU stops when it is resumed");
	machine_pause_vcpus(&h->m);
	machine_resume_vcpus(&h->m);
	ok(true, "pausing when all have ended returns");
	harness_free(h);
}

/* The vCPU is paused inside an IN; the instruction must be done before anyone sees registers. */
static void test_pause_in_exit(void)
{
	struct harness *h = harness_new(1);
	struct kvm_regs regs = {0};

	harness_start(h);
	agent(h, OP_WRITE8, COUNTER, 7);
	pthread_mutex_lock(&h->lock);
	while (!h->waiting)
		pthread_cond_wait(&h->cond, &h->lock);
	pthread_mutex_unlock(&h->lock);
	machine_pause_vcpus(&h->m);
	ioctl(h->m.vcpu[0].fd, KVM_GET_REGS, &regs);
	ok(regs.rax == UINT32_MAX && regs.rdx == COMMAND_PORT, "the read's result is in RAX");
	machine_resume_vcpus(&h->m);
	ok(agent(h, OP_READ8, COUNTER, 0) == 7, "the guest goes on after the pause");
	harness_free(h);
}

struct power_on {
	uint64_t apic_base, mtrr, pat, kvmclock, svr, tpr, lint1, counter;
};

static struct power_on look(struct harness *h)
{
	return (struct power_on){
		.apic_base = agent(h, OP_RDMSR, MSR_APIC_BASE, 0),
		.mtrr = agent(h, OP_RDMSR, MSR_MTRR_DEF_TYPE, 0),
		.pat = agent(h, OP_RDMSR, MSR_PAT, 0),
		.kvmclock = agent(h, OP_RDMSR, MSR_KVMCLOCK, 0),
		.svr = agent(h, OP_READ4, APIC_SVR, 0),
		.tpr = agent(h, OP_READ4, APIC_TPR, 0),
		.lint1 = agent(h, OP_READ4, APIC_LINT1, 0),
		.counter = agent(h, OP_READ8, COUNTER, 0),
	};
}

static void reset_write(void *opaque, uint64_t offset, unsigned width, uint64_t value)
{
	(void)offset;
	(void)width;
	(void)value;
	machine_finish(opaque, MACHINE_POWER_OFF);
}

static uint64_t reset_read(void *opaque, uint64_t offset, unsigned width)
{
	(void)offset;
	machine_finish(opaque, MACHINE_POWER_OFF);
	return width_mask(width);
}

static void test_reset(void)
{
	static const struct bus_ops ops = {reset_read, reset_write};
	struct harness *h = harness_new(1);
	struct power_on first, again;

	bus_add(&h->m.pio, &(struct bus_range){RESET_PORT, 4, &ops, &h->m, "reset"});
	harness_start(h);
	first = look(h);
	ok(first.apic_base == (APIC | 0x900), "the local APIC is on, of the boot processor");
	ok(first.svr == 0xff && first.lint1 == 0x400, "its registers are those of power-on");
	ok(first.mtrr == 0x806, "memory is write-back by default");
	ok(first.pat == UINT64_C(0x0007040600070406), "PAT is that of power-on");
	for (unsigned round = 0; round < 4; round++) {
		agent(h, OP_WRITE4, APIC_SVR, 0x1ff);
		agent(h, OP_WRITE4, APIC_TPR, 0x20);
		agent(h, OP_WRITE4, APIC_LINT1, 0x10000);
		agent(h, OP_WRMSR, MSR_MTRR_DEF_TYPE, 0);
		agent(h, OP_WRMSR, MSR_PAT, 0);
		agent(h, OP_WRMSR, MSR_KVMCLOCK, 0x400001);
		agent(h, OP_WRITE8, COUNTER, 5);
		/* The last round leaves the local APIC in x2APIC mode. */
		if (round == 3)
			agent(h, OP_WRMSR, MSR_APIC_BASE, APIC | 0xd00);
		agent_post(h, round & 1 ? OP_IN4 : OP_OUT4, RESET_PORT, 1);
		ok(harness_join(h) == MACHINE_POWER_OFF, "reset asked for by a port %s",
		   round & 1 ? "read" : "write");
		harness_reset(h);
		harness_start(h);
		again = look(h);
		ok(!memcmp(&first, &again, sizeof(first)), "round %u starts as the first did",
		   round);
	}
	harness_free(h);
}

static void wait_hello(struct harness *h, unsigned n)
{
	pthread_mutex_lock(&h->lock);
	while (h->ap_hellos < n && h->m.end == MACHINE_RUNNING)
		pthread_cond_wait(&h->cond, &h->lock);
	pthread_mutex_unlock(&h->lock);
}

static void start_ap(struct harness *h)
{
	static const uint8_t start_up[] = {
		0xfa,				    /* cli */
		0xba, AP_PORT & 0xff, AP_PORT >> 8, /* mov $AP_PORT, %dx */
		0xb0, 0xa9,			    /* mov $0xa9, %al */
		0xee,				    /* outb */
		0xf4, 0xeb,	      0xfd,	    /* hlt in a loop */
	};

	guest_memory_write(&h->m.memory, AP_PAGE, start_up, sizeof(start_up));
	agent(h, OP_WRITE4, APIC_SVR, 0x1ff);
	agent(h, OP_WRITE4, APIC_ICR2, 1u << 24);
	agent(h, OP_WRITE4, APIC_ICR, ICR_INIT);
	agent(h, OP_WRITE4, APIC_ICR2, 1u << 24);
	agent(h, OP_WRITE4, APIC_ICR, ICR_STARTUP | AP_PAGE >> 12);
	wait_hello(h, 1);
}

static void test_second_cpu(void)
{
	struct harness *h = harness_new(2);

	harness_start(h);
	agent(h, OP_WINDOW, 0, 0);
	ok(h->ap_hellos == 0, "the second processor waits");
	start_ap(h);
	ok(h->ap_hellos == 1, "INIT and SIPI start it");
	machine_pause_vcpus(&h->m);
	ok(h->m.vcpus_paused == 2, "it pauses while halted");
	machine_resume_vcpus(&h->m);
	agent_post(h, OP_FAULT, 0, 0);
	ok(harness_join(h) == MACHINE_CRASHED, "one processor's triple fault ends both");
	harness_reset(h);
	harness_start(h);
	agent(h, OP_WINDOW, 0, 0);
	ok(h->ap_hellos == 0, "after a reset the second processor waits again");
	start_ap(h);
	ok(h->ap_hellos == 1, "and starts again");
	harness_free(h);
}

int main(void)
{
	test_triple_fault();
	test_emulation_failure();
	test_kick();
	test_pause();
	test_pause_in_exit();
	test_reset();
	test_second_cpu();
	return done_testing();
}
