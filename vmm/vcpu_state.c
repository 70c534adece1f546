// SPDX-License-Identifier: Apache-2.0
/*
 * What a vCPU is at power-on, and how it gets back there.
 *
 * KVM cannot make a vCPU twice, so its state right after creation is kept and put back at each
 * reset: all that KVM_GET_* shows, every MSR of KVM_GET_MSR_INDEX_LIST among it (so kvmclock, steal
 * time, asynchronous page faults and PV EOI stop writing into the memory of a guest that is gone).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/machine.h"

#define CPUID_ENTRIES 256u

/* Intel SDM volume 4, AMD APM volume 2 appendix A. */
#define MSR_TSC			     0x010u
#define MSR_MISC_ENABLE		     0x1a0u
#define MSR_MISC_ENABLE_FAST_STRING  BIT(0)
#define MSR_MTRR_DEF_TYPE	     0x2ffu
#define MSR_MTRR_DEF_TYPE_E	     BIT(11)
#define MSR_MTRR_DEF_TYPE_WRITE_BACK 6u

/* Local APIC registers, SDM volume 3 table 11-1. */
#define APIC_LVT_LINT1	  0x360u
#define APIC_LVT_MODE_NMI (4u << 8)
#define FPU_CONTROL_RESET 0x37fu
#define FPU_MXCSR_RESET	  0x1f80u

struct vcpu_reset_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_lapic_state lapic;
	struct kvm_vcpu_events events;
	struct kvm_debugregs debugregs;
	struct kvm_xcrs xcrs;
	uint8_t xsave[sizeof(struct kvm_xsave)];
	struct kvm_mp_state mp_state;
	bool has_xsave, has_xcrs;
	bool ran; /* may differ from this by now */
	unsigned msrs;
	struct kvm_msr_entry msr[];
};

/* KVM's own limit on one call (MAX_IO_MSRS). */
#define MSRS_AT_ONCE 256u

/*
 * KVM stops at the first MSR that it does not have or take: go on behind it. Those that worked are
 * moved together at the front of ENTRY; returns how many.
 */
static unsigned msr_call(const struct vcpu *vcpu, unsigned long request,
			 struct kvm_msr_entry *entry, unsigned count)
{
	union {
		struct kvm_msrs msrs;
		uint8_t room[sizeof(struct kvm_msrs) + MSRS_AT_ONCE * sizeof(*entry)];
	} call;
	unsigned done = 0, kept = 0;

	while (done < count) {
		unsigned n = count - done < MSRS_AT_ONCE ? count - done : MSRS_AT_ONCE;
		int rc;

		call.msrs.nmsrs = n;
		call.msrs.pad = 0;
		memcpy(call.msrs.entries, entry + done, n * sizeof(*entry));
		rc = ioctl(vcpu->fd, request, &call);
		if (rc < 0)
			rc = 0;
		memmove(entry + kept, call.msrs.entries, (unsigned)rc * sizeof(*entry));
		kept += (unsigned)rc;
		done += (unsigned)rc < n ? (unsigned)rc + 1 : n;
	}
	return kept;
}

/* As firmware leaves them: nobody else sets them before the kernel. */
static void set_firmware_msrs(const struct vcpu *vcpu)
{
	struct kvm_msr_entry misc = {.index = MSR_MISC_ENABLE};
	struct kvm_msr_entry mtrr = {
		.index = MSR_MTRR_DEF_TYPE,
		.data = MSR_MTRR_DEF_TYPE_E | MSR_MTRR_DEF_TYPE_WRITE_BACK,
	};

	if (msr_call(vcpu, KVM_GET_MSRS, &misc, 1)) {
		misc.data |= MSR_MISC_ENABLE_FAST_STRING;
		msr_call(vcpu, KVM_SET_MSRS, &misc, 1);
	}
	msr_call(vcpu, KVM_SET_MSRS, &mtrr, 1);
}

static int set_cpuid(const struct vcpu *vcpu)
{
	struct machine *m = vcpu->machine;
	int khz = ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0);
	struct guest_cpuid want = {
		.cpu = vcpu->index,
		.cpus = m->config->cpus,
		.tsc_deadline = m->kvm.tsc_deadline,
		.x2apic = true,
		.msi_ext_dest_id = m->kvm.msi_ext_dest_id,
		.tsc_khz = khz > 0 ? (uint32_t)khz : 0,
	};
	const struct kvm_cpuid2 *supported = m->kvm.cpuid;
	struct kvm_cpuid2 *cpuid;
	int rc = -ENOMEM;

	cpuid = calloc(1, sizeof(*cpuid) + CPUID_ENTRIES * sizeof(cpuid->entries[0]));
	if (!cpuid)
		goto out;
	memcpy(cpuid, supported, sizeof(*cpuid) + supported->nent * sizeof(supported->entries[0]));
	rc = guest_cpuid_filter(cpuid, CPUID_ENTRIES, &want);
	if (!rc)
		rc = ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid) < 0 ? -errno : 0;
out:
	if (rc)
		log_error("vCPU %u: CPUID: %s", vcpu->index, strerror(-rc));
	free(cpuid);
	return rc;
}

/* Guest-writable MSRs that KVM_GET_MSR_INDEX_LIST leaves out. */
static const struct {
	uint32_t first;
	unsigned count;
} unlisted_msrs[] = {
	{0x1d9, 1},  /* DEBUGCTL */
	{0x200, 16}, /* MTRR_PHYSBASE0 .. MTRR_PHYSMASK7 */
	{0x250, 1},  /* MTRR_FIX64K */
	{0x258, 2},  /* MTRR_FIX16K */
	{0x268, 8},  /* MTRR_FIX4K */
	{0x277, 1},  /* PAT */
	{MSR_MTRR_DEF_TYPE, 1},
};
#define UNLISTED_MSRS 30u

static struct vcpu_reset_state *capture_msrs(const struct vcpu *vcpu)
{
	struct kvm_msr_list probe = {0}, *list = NULL;
	struct vcpu_reset_state *state = NULL;

	/* E2BIG, and how many there are. */
	if (!ioctl(vcpu->machine->kvm.fd, KVM_GET_MSR_INDEX_LIST, &probe) || errno != E2BIG)
		return NULL;
	list = calloc(1, sizeof(*list) + probe.nmsrs * sizeof(list->indices[0]));
	state = calloc(1, sizeof(*state) + (probe.nmsrs + UNLISTED_MSRS) * sizeof(state->msr[0]));
	if (!list || !state)
		goto fail;
	list->nmsrs = probe.nmsrs;
	if (ioctl(vcpu->machine->kvm.fd, KVM_GET_MSR_INDEX_LIST, list) < 0)
		goto fail;
	/* The time stamp counter runs on through a reset, alike on all vCPUs. */
	for (unsigned i = 0; i < list->nmsrs; i++) {
		if (list->indices[i] != MSR_TSC)
			state->msr[state->msrs++].index = list->indices[i];
	}
	for (size_t i = 0; i < ARRAY_SIZE(unlisted_msrs); i++) {
		for (unsigned n = 0; n < unlisted_msrs[i].count; n++)
			state->msr[state->msrs++].index = unlisted_msrs[i].first + n;
	}
	state->msrs = msr_call(vcpu, KVM_GET_MSRS, state->msr, state->msrs);
	free(list);
	return state;
fail:
	free(list);
	free(state);
	return NULL;
}

struct state_call {
	unsigned long request;
	const char *name;
	void *arg;
};

static int run_calls(const struct vcpu *vcpu, const struct state_call *call, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		int rc;

		if (ioctl(vcpu->fd, call[i].request, call[i].arg) >= 0)
			continue;
		rc = -errno;
		log_error("vCPU %u: %s: %s", vcpu->index, call[i].name, strerror(-rc));
		return rc;
	}
	return 0;
}

#define STATE_CALL(request, field)                                                                 \
	{                                                                                          \
		request, #request, field                                                           \
	}

static int capture_registers(const struct vcpu *vcpu, struct vcpu_reset_state *s)
{
	const struct state_call calls[] = {
		STATE_CALL(KVM_GET_REGS, &s->regs),
		STATE_CALL(KVM_GET_SREGS, &s->sregs),
		STATE_CALL(KVM_GET_LAPIC, &s->lapic),
		STATE_CALL(KVM_GET_VCPU_EVENTS, &s->events),
		STATE_CALL(KVM_GET_DEBUGREGS, &s->debugregs),
	};

	return run_calls(vcpu, calls, ARRAY_SIZE(calls));
}

static int capture(struct vcpu *vcpu)
{
	struct vcpu_reset_state *s = capture_msrs(vcpu);
	uint32_t lint1 = APIC_LVT_MODE_NMI;
	int rc;

	if (!s) {
		log_error("vCPU %u: the list of MSRs cannot be read: %s", vcpu->index,
			  strerror(errno));
		return -EIO;
	}
	rc = capture_registers(vcpu, s);
	if (rc) {
		free(s);
		return rc;
	}
	s->has_xsave = !ioctl(vcpu->fd, KVM_GET_XSAVE, s->xsave);
	/* Without XSAVE on the host there is none to get, and none may be set. */
	s->has_xcrs = !ioctl(vcpu->fd, KVM_GET_XCRS, &s->xcrs) && s->xcrs.nr_xcrs;
	/* There is no PIC behind LINT0; LINT1 is NMI on every PC (MP specification 3.6.1). */
	memcpy(&s->lapic.regs[APIC_LVT_LINT1], &lint1, sizeof(lint1));
	/* The others wait for INIT and SIPI, which KVM's local APICs handle. */
	s->mp_state.mp_state = vcpu->index ? KVM_MP_STATE_UNINITIALIZED : KVM_MP_STATE_RUNNABLE;
	vcpu->reset_state = s;
	return 0;
}

static int reset_fpu(const struct vcpu *vcpu)
{
	struct vcpu_reset_state *s = vcpu->reset_state;
	struct kvm_fpu fpu = {.fcw = FPU_CONTROL_RESET, .mxcsr = FPU_MXCSR_RESET};
	const struct state_call xcrs = STATE_CALL(KVM_SET_XCRS, &s->xcrs);
	const struct state_call xsave = STATE_CALL(KVM_SET_XSAVE, s->xsave);
	const struct state_call legacy = STATE_CALL(KVM_SET_FPU, &fpu);
	int rc = s->has_xcrs ? run_calls(vcpu, &xcrs, 1) : 0;

	if (!rc && s->has_xsave)
		rc = run_calls(vcpu, &xsave, 1);
	return rc ? rc : run_calls(vcpu, &legacy, 1);
}

int vcpu_reset(struct vcpu *vcpu, const struct guest_entry *entry)
{
	struct vcpu_reset_state *s = vcpu->reset_state;
	struct kvm_sregs sregs = s->sregs;
	struct kvm_regs regs = s->regs;
	/*
	 * MSRs go first: a TSC deadline can only be cleared while the local APIC's timer is still
	 * in that mode. The APIC base (in SREGS) leaves x2APIC mode before the registers come in
	 * xAPIC layout. EVENTS follow SREGS, which may leave a nested guest and its pending events.
	 */
	const struct state_call calls[] = {
		STATE_CALL(KVM_SET_SREGS, &sregs),
		STATE_CALL(KVM_SET_REGS, &regs),
		STATE_CALL(KVM_SET_LAPIC, &s->lapic),
		STATE_CALL(KVM_SET_DEBUGREGS, &s->debugregs),
		STATE_CALL(KVM_SET_VCPU_EVENTS, &s->events),
		STATE_CALL(KVM_SET_MP_STATE, &s->mp_state),
	};
	int rc;

	if (entry) {
		rc = guest_entry_registers(entry, &vcpu->machine->memory, &sregs, &regs);
		if (rc) {
			log_error("vCPU %u: entry registers: %s", vcpu->index, strerror(-rc));
			return rc;
		}
	}
	if (s->ran) {
		s->msrs = msr_call(vcpu, KVM_SET_MSRS, s->msr, s->msrs);
		rc = reset_fpu(vcpu);
		if (rc)
			return rc;
	}
	s->ran = true;
	return run_calls(vcpu, calls, ARRAY_SIZE(calls));
}

int vcpu_new(struct machine *m, unsigned index, struct vcpu *vcpu)
{
	int rc;

	memset(vcpu, 0, sizeof(*vcpu));
	vcpu->machine = m;
	vcpu->index = index;
	vcpu->fd = ioctl(m->kvm.vm, KVM_CREATE_VCPU, index);
	if (vcpu->fd < 0) {
		rc = -errno;
		log_error("KVM_CREATE_VCPU %u: %s", index, strerror(-rc));
		return rc;
	}
	vcpu->run = mmap(NULL, m->kvm.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		rc = -errno;
		vcpu->run = NULL;
		log_error("vCPU %u: mmap of its run area: %s", index, strerror(-rc));
		goto fail;
	}
	rc = set_cpuid(vcpu);
	if (rc)
		goto fail;
	set_firmware_msrs(vcpu);
	rc = capture(vcpu);
	if (rc)
		goto fail;
	return 0;
fail:
	vcpu_free(vcpu);
	return rc;
}

void vcpu_free(struct vcpu *vcpu)
{
	if (!vcpu->machine)
		return;
	free(vcpu->reset_state);
	if (vcpu->run)
		munmap(vcpu->run, vcpu->machine->kvm.run_size);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
	memset(vcpu, 0, sizeof(*vcpu));
	vcpu->fd = -1;
}
