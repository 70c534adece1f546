// SPDX-License-Identifier: Apache-2.0
/*
 * A vCPU's thread: run guest code, answer its exits, pause and stop on request.
 *
 * How a kick cannot be lost. The kicker sets `kick`, then run->immediate_exit, then sends a signal;
 * the thread clears immediate_exit, then takes `kick`, then looks at m->end and m->pausing. If it
 * took `kick` before the kicker set it, immediate_exit is set after the thread cleared it, and
 * KVM_RUN returns at once; a signal that comes between KVM's look at immediate_exit and the guest
 * stays pending and makes KVM return. All these accesses are sequentially consistent.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/insn.h"
#include "vmm/machine.h"

#define KICK_SIGNAL SIGRTMIN

static void kick_handler(int signal)
{
	(void)signal;
}

static void set_immediate_exit(struct vcpu *vcpu, uint8_t value)
{
	__atomic_store_n(&vcpu->run->immediate_exit, value, __ATOMIC_SEQ_CST);
}

void vcpu_kick(struct vcpu *vcpu)
{
	int saved = errno, tid;

	atomic_store(&vcpu->kick, true);
	if (vcpu->run)
		set_immediate_exit(vcpu, 1);
	tid = atomic_load(&vcpu->tid);
	if (tid)
		syscall(SYS_tgkill, getpid(), tid, KICK_SIGNAL);
	errno = saved;
}

/* ---- exits ---- */

static void crashed(struct vcpu *vcpu, const char *what)
{
	struct kvm_regs regs = {0};
	struct kvm_sregs sregs = {0};

	/* One vCPU's word is enough, and a machine that resets already has no more to say. */
	if (!machine_finish(vcpu->machine, MACHINE_CRASHED))
		return;
	ioctl(vcpu->fd, KVM_GET_REGS, &regs);
	ioctl(vcpu->fd, KVM_GET_SREGS, &sregs);
	log_error("vCPU %u: %s at RIP %04x:%#llx (CR0 %#llx, CR2 %#llx, CR3 %#llx)", vcpu->index,
		  what, sregs.cs.selector, (unsigned long long)regs.rip,
		  (unsigned long long)sregs.cr0, (unsigned long long)sregs.cr2,
		  (unsigned long long)sregs.cr3);
}

static uint64_t load(const uint8_t *bytes, unsigned width)
{
	uint64_t value = 0;

	memcpy(&value, bytes, width);
	return value;
}

static void exit_io(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	struct bus *pio = &vcpu->machine->pio;
	unsigned width = run->io.size;

	vcpu->exits_pio++;
	for (uint32_t i = 0; i < run->io.count; i++, data += width) {
		uint64_t value;

		if (run->io.direction == KVM_EXIT_IO_OUT) {
			bus_write(pio, run->io.port, width, load(data, width));
		} else {
			bus_read(pio, run->io.port, width, &value);
			memcpy(data, &value, width);
		}
	}
}

/*
 * KVM cuts an access at a page's end, so that 3, 5, 6 and 7 bytes occur; they go to the bus as the
 * naturally aligned pieces in which a processor would put them out.
 */
static unsigned mmio_piece(uint64_t addr, unsigned left)
{
	unsigned width = 4;

	if (is_power_of_2(left))
		return left;
	while (width > left || !is_aligned(addr, width))
		width /= 2;
	return width;
}

static void exit_mmio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct bus *mmio = &vcpu->machine->mmio;
	unsigned len = run->mmio.len < 8 ? run->mmio.len : 8;

	vcpu->exits_mmio++;
	for (unsigned at = 0, width; at < len; at += width) {
		uint64_t addr = run->mmio.phys_addr + at, value;

		width = mmio_piece(addr, len - at);
		if (run->mmio.is_write) {
			bus_write(mmio, addr, width, load(run->mmio.data + at, width));
		} else {
			bus_read(mmio, addr, width, &value);
			memcpy(run->mmio.data + at, &value, width);
		}
	}
}

static void exit_ioapic_eoi(struct vcpu *vcpu)
{
	struct machine *m = vcpu->machine;
	uint32_t pins = irq_pins_of_vector(m->irq, vcpu->run->eoi.vector);

	for (; pins; pins &= pins - 1)
		ioapic_eoi_pin(m->ioapic, (unsigned)__builtin_ctz(pins));
}

/* The one instruction that KVM cannot emulate and that drivers use on memory that is trapped. */
static bool emulate_cmpxchg16b(struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	struct kvm_translation translation = {0};
	struct insn_cmpxchg16b insn;
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	bool stored;

	if (!vcpu->machine->trap.active || run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION ||
	    run->emulation_failure.ndata < 1 ||
	    !(run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
		return false;
	if (ioctl(vcpu->fd, KVM_GET_REGS, &regs) || ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) ||
	    insn_decode_cmpxchg16b(run->emulation_failure.insn_bytes,
				   run->emulation_failure.insn_size, &regs, &sregs, &insn))
		return false;
	translation.linear_address = insn.linear;
	if (ioctl(vcpu->fd, KVM_TRANSLATE, &translation) || !translation.valid)
		return false;

	uint64_t expected[2] = {regs.rax, regs.rdx};
	const uint64_t desired[2] = {regs.rbx, regs.rcx};

	if (!ram_trap_cmpxchg16(vcpu->machine, translation.physical_address, expected, desired,
				&stored))
		return false;
	if (stored) {
		regs.rflags |= INSN_RFLAGS_ZF;
	} else {
		regs.rflags &= ~INSN_RFLAGS_ZF;
		regs.rax = expected[0];
		regs.rdx = expected[1];
	}
	regs.rip += insn.length;
	return !ioctl(vcpu->fd, KVM_SET_REGS, &regs);
}

static void exit_internal_error(struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	char what[160];
	int at;

	if (emulate_cmpxchg16b(vcpu))
		return;

	if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION) {
		snprintf(what, sizeof(what), "KVM internal error %u", run->internal.suberror);
		crashed(vcpu, what);
		return;
	}
	at = snprintf(what, sizeof(what), "KVM cannot emulate the instruction");
	if (run->emulation_failure.ndata >= 1 &&
	    run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) {
		unsigned count = run->emulation_failure.insn_size;

		for (unsigned i = 0; i < count && i < sizeof(run->emulation_failure.insn_bytes);
		     i++)
			at += snprintf(what + at, sizeof(what) - (size_t)at, " %02x",
				       run->emulation_failure.insn_bytes[i]);
	}
	crashed(vcpu, what);
}

static void exit_system_event(struct vcpu *vcpu)
{
	uint32_t type = vcpu->run->system_event.type;

	if (type == KVM_SYSTEM_EVENT_SHUTDOWN)
		machine_finish(vcpu->machine, MACHINE_POWER_OFF);
	else if (type == KVM_SYSTEM_EVENT_RESET)
		machine_finish(vcpu->machine, MACHINE_RESET);
	else
		crashed(vcpu, "KVM system event");
}

static void exit_other(struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	char what[80];

	switch (run->exit_reason) {
	case KVM_EXIT_IOAPIC_EOI:
		exit_ioapic_eoi(vcpu);
		return;
	case KVM_EXIT_INTR:
		return;
	case KVM_EXIT_SHUTDOWN:
		crashed(vcpu, "triple fault");
		return;
	case KVM_EXIT_SYSTEM_EVENT:
		exit_system_event(vcpu);
		return;
	case KVM_EXIT_INTERNAL_ERROR:
		exit_internal_error(vcpu);
		return;
	case KVM_EXIT_FAIL_ENTRY:
		snprintf(what, sizeof(what), "the processor refused guest state (reason %#llx)",
			 (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		crashed(vcpu, what);
		return;
	default:
		snprintf(what, sizeof(what), "unexpected KVM exit %u", run->exit_reason);
		crashed(vcpu, what);
	}
}

static void handle_exit(struct vcpu *vcpu)
{
	switch (vcpu->run->exit_reason) {
	case KVM_EXIT_IO:
		exit_io(vcpu);
		return;
	case KVM_EXIT_MMIO:
		exit_mmio(vcpu);
		return;
	default:
		vcpu->exits_other++;
		exit_other(vcpu);
	}
}

/* ---- pause and stop ---- */

/*
 * KVM finishes the instruction of an I/O or MMIO exit at the next KVM_RUN. Do that now, without
 * guest code after it: who reads or resets the registers must not find it half done. An instruction
 * may take several exits (string I/O, page-crossing MMIO), which KVM bounds.
 */
static void complete_instruction(struct vcpu *vcpu)
{
	for (;;) {
		set_immediate_exit(vcpu, 1);
		if (ioctl(vcpu->fd, KVM_RUN, 0) < 0)
			return;
		if (vcpu->run->exit_reason != KVM_EXIT_IO &&
		    vcpu->run->exit_reason != KVM_EXIT_MMIO) {
			handle_exit(vcpu);
			return;
		}
		handle_exit(vcpu);
	}
}

/* m->pause_lock held. */
static void wait_while_pausing(struct machine *m)
{
	m->vcpus_paused++;
	pthread_cond_broadcast(&m->pause_cond);
	while (m->pausing)
		pthread_cond_wait(&m->pause_cond, &m->pause_lock);
	m->vcpus_paused--;
}

static void pause_if_asked(struct vcpu *vcpu)
{
	struct machine *m = vcpu->machine;

	pthread_mutex_lock(&m->pause_lock);
	if (m->pausing) {
		pthread_mutex_unlock(&m->pause_lock);
		complete_instruction(vcpu);
		pthread_mutex_lock(&m->pause_lock);
		wait_while_pausing(m);
	}
	pthread_mutex_unlock(&m->pause_lock);
}

static void kick_all(struct machine *m)
{
	for (unsigned i = 0; i < m->config->cpus; i++)
		vcpu_kick(&m->vcpu[i]);
}

void machine_pause_vcpus(struct machine *m)
{
	pthread_mutex_lock(&m->pause_lock);
	if (!m->pausing++)
		kick_all(m);
	/* A thread that has yet to begin sees `pausing` before it runs guest code. */
	while (m->vcpus_paused < m->vcpus_running)
		pthread_cond_wait(&m->pause_cond, &m->pause_lock);
	pthread_mutex_unlock(&m->pause_lock);
}

void machine_resume_vcpus(struct machine *m)
{
	pthread_mutex_lock(&m->pause_lock);
	if (m->pausing && !--m->pausing)
		pthread_cond_broadcast(&m->pause_cond);
	pthread_mutex_unlock(&m->pause_lock);
}

/*
 * A device wants other memory slots, by what this vCPU did or another: whoever comes first pauses
 * the others, and nobody enters the guest before it is done.
 */
static void change_trap(struct vcpu *vcpu)
{
	struct machine *m = vcpu->machine;

	complete_instruction(vcpu);
	pthread_mutex_lock(&m->pause_lock);
	if (m->pausing)
		wait_while_pausing(m);
	if (atomic_load(&m->trap.pending)) {
		if (!m->pausing++)
			kick_all(m);
		/* Whoever wants a pause of all of them meanwhile waits for this one. */
		while (m->vcpus_paused + 1 < m->vcpus_running)
			pthread_cond_wait(&m->pause_cond, &m->pause_lock);
		pthread_mutex_unlock(&m->pause_lock);
		ram_trap_apply(m);
		pthread_mutex_lock(&m->pause_lock);
		if (m->pausing)
			m->pausing--;
		pthread_cond_broadcast(&m->pause_cond);
		if (m->pausing)
			wait_while_pausing(m);
	}
	pthread_mutex_unlock(&m->pause_lock);
}

/* ---- the thread ---- */

static _Thread_local bool is_vcpu;

bool vcpu_is_here(void)
{
	return is_vcpu;
}

/* Signals for the process are other threads' work; this one takes the kick and its own faults. */
static void set_up_signals(void)
{
	static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
	struct sigaction action = {.sa_handler = kick_handler};
	sigset_t blocked;

	sigfillset(&blocked);
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		sigdelset(&blocked, own[i]);
	sigdelset(&blocked, KICK_SIGNAL);
	sigaction(KICK_SIGNAL, &action, NULL);
	pthread_sigmask(SIG_SETMASK, &blocked, NULL);
}

static void run(struct vcpu *vcpu)
{
	struct machine *m = vcpu->machine;
	char what[80];

	while (!machine_ending(m)) {
		set_immediate_exit(vcpu, 0);
		if (atomic_exchange(&vcpu->kick, false)) {
			pause_if_asked(vcpu);
			/* Kicks that came meanwhile have set immediate_exit and `kick` anew. */
			continue;
		}
		if (atomic_load(&m->trap.pending)) {
			change_trap(vcpu);
			continue;
		}
		if (ioctl(vcpu->fd, KVM_RUN, 0) == 0) {
			handle_exit(vcpu);
		} else if (errno != EINTR && errno != EAGAIN) {
			snprintf(what, sizeof(what), "KVM_RUN: %s", strerror(errno));
			crashed(vcpu, what);
		}
	}
	complete_instruction(vcpu);
}

void *vcpu_thread(void *opaque)
{
	struct vcpu *vcpu = opaque;
	struct machine *m = vcpu->machine;

	is_vcpu = true;
	set_up_signals();
	if (sandbox_thread(SANDBOX_VCPU))
		machine_finish(m, MACHINE_FAILED);
	atomic_store(&vcpu->tid, (int)gettid());
	pthread_mutex_lock(&m->pause_lock);
	m->vcpus_running++;
	pthread_mutex_unlock(&m->pause_lock);
	/* Look at `pausing` before the first instruction, whoever kicked when. */
	atomic_store(&vcpu->kick, true);
	run(vcpu);
	atomic_store(&vcpu->tid, 0);
	pthread_mutex_lock(&m->pause_lock);
	m->vcpus_running--;
	pthread_cond_broadcast(&m->pause_cond);
	pthread_mutex_unlock(&m->pause_lock);
	return NULL;
}

int vcpus_start(struct machine *m)
{
	for (unsigned i = 0; i < m->config->cpus; i++) {
		int rc = -pthread_create(&m->vcpu[i].thread, NULL, vcpu_thread, &m->vcpu[i]);

		if (rc) {
			log_error("vCPU %u: no thread: %s", i, strerror(-rc));
			return rc;
		}
		m->vcpu[i].started = true;
	}
	return 0;
}
