// SPDX-License-Identifier: Apache-2.0
/*
 * CPUID as a vCPU shows it: what KVM supports, with the topology of this machine (one package, one
 * thread a core, APIC ids 0 to cpus - 1) in every leaf that tells of topology. Linux compares the
 * leaves with one another and calls any difference a firmware bug.
 *
 * AMD64 manual volume 3, appendix E; Intel SDM volume 2A, CPUID;
 * Documentation/virt/kvm/x86/cpuid.rst.
 */
#include <errno.h>
#include <string.h>

#include "guest/guest.h"
#include "postern/bits.h"

/* Leaf 1 */
#define L1_EBX_LOGICAL	    GENMASK(23, 16)
#define L1_EBX_APIC_ID	    GENMASK(31, 24)
#define L1_ECX_MONITOR	    BIT(3)
#define L1_ECX_VMX	    BIT(5)
#define L1_ECX_SMX	    BIT(6)
#define L1_ECX_X2APIC	    BIT(21)
#define L1_ECX_TSC_DEADLINE BIT(24)
#define L1_ECX_HYPERVISOR   BIT(31)
#define L1_EDX_HTT	    BIT(28)

/* Leaves 4 and 8000001Dh: a cache each subleaf */
#define CACHE_EAX_TYPE	  GENMASK(4, 0)
#define CACHE_EAX_LEVEL	  GENMASK(7, 5)
#define CACHE_EAX_SHARING GENMASK(25, 14)
#define L4_EAX_CORES	  GENMASK(31, 26)
#define CACHE_SHARED	  3 /* from this level on one cache serves the package */

/* Leaves 0Bh and 1Fh */
#define TOPOLOGY_ECX_LEVEL GENMASK(7, 0)
#define TOPOLOGY_ECX_TYPE  GENMASK(15, 8)
enum { TOPOLOGY_SMT = 1, TOPOLOGY_CORE = 2 };

#define X1_ECX_CMP_LEGACY BIT(1)
#define X1_ECX_SVM	  BIT(2)
#define X1_ECX_TOPOEXT	  BIT(22)
#define X1_ECX_MONITORX	  BIT(29)

#define X8_ECX_NC	     GENMASK(7, 0)
#define X8_ECX_APIC_ID_SIZE  GENMASK(15, 12)
#define KVM_MSI_EXT_DEST_ID  BIT(15)
#define KVM_LEAF_BASE	     0x40000000u
#define KVM_LEAF_FEATURES    0x40000001u
#define KVM_LEAF_FREQUENCIES 0x40000010u
#define KVM_APIC_BUS_KHZ     1000000u /* KVM counts local APIC timers in nanoseconds */

static struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid2 *cpuid, uint32_t function,
					   uint32_t index)
{
	for (unsigned i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		if (e->function == function &&
		    (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == index))
			return e;
	}
	return NULL;
}

static void cpuid_remove(struct kvm_cpuid2 *cpuid, uint32_t function)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function != function)
			cpuid->entries[kept++] = cpuid->entries[i];
	cpuid->nent = kept;
}

static int cpuid_add(struct kvm_cpuid2 *cpuid, unsigned max, const struct kvm_cpuid_entry2 *entry)
{
	if (cpuid->nent >= max)
		return -E2BIG;
	cpuid->entries[cpuid->nent++] = *entry;
	return 0;
}

/* Raise the highest leaf of FUNCTION's range where it is below FUNCTION. */
static void cpuid_raise(struct kvm_cpuid2 *cpuid, uint32_t function)
{
	struct kvm_cpuid_entry2 *base = cpuid_find(cpuid, function & 0xf0000000, 0);

	if (base && base->eax < function)
		base->eax = function;
}

static void field_set(uint32_t *reg, uint64_t mask, uint64_t value)
{
	uint64_t max = mask >> __builtin_ctzll(mask);

	if (value > max)
		value = max;
	*reg = (uint32_t)((*reg & ~mask) | FIELD_PREP(mask, value));
}

/* Bits of the APIC id that number the cores. */
static unsigned core_shift(unsigned cpus)
{
	unsigned shift = 0;

	while (UINT64_C(1) << shift < cpus)
		shift++;
	return shift;
}

static bool vendor_is_amd(struct kvm_cpuid2 *cpuid)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(cpuid, 0, 0);

	/* EBX of "AuthenticAMD" and "HygonGenuine" */
	return e && (e->ebx == 0x68747541 || e->ebx == 0x6f677948);
}

static int basic_set(struct kvm_cpuid2 *cpuid, const struct guest_cpuid *want, bool amd)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(cpuid, 1, 0);
	uint32_t clear =
		L1_ECX_MONITOR | L1_ECX_VMX | L1_ECX_SMX | L1_ECX_X2APIC | L1_ECX_TSC_DEADLINE;

	if (!e)
		return -EINVAL;
	field_set(&e->ebx, L1_EBX_APIC_ID, want->cpu & 0xff);
	/* AMD counts processors, Intel the ids set aside for them. */
	field_set(&e->ebx, L1_EBX_LOGICAL,
		  amd ? want->cpus : UINT64_C(1) << core_shift(want->cpus));
	e->ecx = (uint32_t)((e->ecx & ~clear) | L1_ECX_HYPERVISOR |
			    (want->x2apic ? L1_ECX_X2APIC : 0) |
			    (want->tsc_deadline ? L1_ECX_TSC_DEADLINE : 0));
	field_set(&e->edx, L1_EDX_HTT, want->cpus > 1);
	e = cpuid_find(cpuid, 5, 0); /* MONITOR */
	if (e)
		e->eax = e->ebx = e->ecx = e->edx = 0;
	return 0;
}

static void caches_set(struct kvm_cpuid2 *cpuid, uint32_t function, const struct guest_cpuid *want)
{
	unsigned shift = core_shift(want->cpus);

	for (unsigned i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];
		bool shared;

		if (e->function != function || !FIELD_GET(CACHE_EAX_TYPE, e->eax))
			continue;
		shared = FIELD_GET(CACHE_EAX_LEVEL, e->eax) >= CACHE_SHARED;
		if (function == 4) {
			/* Intel: highest ids, as powers of two. */
			field_set(&e->eax, CACHE_EAX_SHARING,
				  shared ? (UINT64_C(1) << shift) - 1 : 0);
			field_set(&e->eax, L4_EAX_CORES, (UINT64_C(1) << shift) - 1);
		} else {
			field_set(&e->eax, CACHE_EAX_SHARING, shared ? want->cpus - 1 : 0);
		}
	}
}

/* Extended topology: one thread a core, then the cores. Later subleaves read as the end. */
static int topology_set(struct kvm_cpuid2 *cpuid, unsigned max, uint32_t function,
			const struct guest_cpuid *want)
{
	struct kvm_cpuid_entry2 smt = {
		.function = function,
		.index = 0,
		.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		.ebx = 1,
		.ecx = FIELD_PREP(TOPOLOGY_ECX_TYPE, TOPOLOGY_SMT),
		.edx = want->cpu,
	};
	struct kvm_cpuid_entry2 core = {
		.function = function,
		.index = 1,
		.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		.eax = core_shift(want->cpus),
		.ebx = want->cpus,
		.ecx = FIELD_PREP(TOPOLOGY_ECX_TYPE, TOPOLOGY_CORE) |
		       FIELD_PREP(TOPOLOGY_ECX_LEVEL, 1),
		.edx = want->cpu,
	};
	int ret;

	cpuid_remove(cpuid, function);
	ret = cpuid_add(cpuid, max, &smt);
	if (!ret)
		ret = cpuid_add(cpuid, max, &core);
	if (!ret)
		cpuid_raise(cpuid, function);
	return ret;
}

/* The leaves in which AMD tells of topology. */
static int amd_set(struct kvm_cpuid2 *cpuid, unsigned max, const struct guest_cpuid *want)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(cpuid, 0x80000001, 0);
	struct kvm_cpuid_entry2 ids = {
		.function = 0x8000001e,
		.eax = want->cpu,
		.ebx = want->cpu & 0xff, /* core id; one thread a core; node 0 of 1 */
	};
	bool topoext = e && e->ecx & X1_ECX_TOPOEXT;

	if (e)
		field_set(&e->ecx, X1_ECX_CMP_LEGACY, want->cpus > 1);
	e = cpuid_find(cpuid, 0x80000008, 0);
	if (e) {
		field_set(&e->ecx, X8_ECX_NC, want->cpus - 1);
		field_set(&e->ecx, X8_ECX_APIC_ID_SIZE, core_shift(want->cpus));
	}
	caches_set(cpuid, 0x8000001d, want);
	cpuid_remove(cpuid, 0x8000001e);
	/* Dropped, it reads as zero, and the leaves above speak alone. */
	cpuid_remove(cpuid, 0x80000026);
	if (!topoext)
		return 0;
	cpuid_raise(cpuid, ids.function);
	return cpuid_add(cpuid, max, &ids);
}

static int kvm_leaves_set(struct kvm_cpuid2 *cpuid, unsigned max, const struct guest_cpuid *want)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(cpuid, KVM_LEAF_FEATURES, 0);
	struct kvm_cpuid_entry2 khz = {
		.function = KVM_LEAF_FREQUENCIES,
		.eax = want->tsc_khz,
		.ebx = KVM_APIC_BUS_KHZ,
	};

	/* The monitor's affair, of which KVM says nothing. */
	if (e)
		field_set(&e->eax, KVM_MSI_EXT_DEST_ID, want->msi_ext_dest_id);
	if (!want->tsc_khz || !cpuid_find(cpuid, KVM_LEAF_BASE, 0))
		return 0;
	cpuid_remove(cpuid, KVM_LEAF_FREQUENCIES);
	cpuid_raise(cpuid, KVM_LEAF_FREQUENCIES);
	return cpuid_add(cpuid, max, &khz);
}

int guest_cpuid_filter(struct kvm_cpuid2 *cpuid, unsigned max, const struct guest_cpuid *want)
{
	bool amd = vendor_is_amd(cpuid);
	struct kvm_cpuid_entry2 *e;
	int ret;

	if (!want->cpus || want->cpu >= want->cpus)
		return -EINVAL;
	ret = basic_set(cpuid, want, amd);
	if (ret)
		return ret;
	e = cpuid_find(cpuid, 0x80000001, 0);
	if (e)
		e->ecx &= ~(uint32_t)(X1_ECX_SVM | X1_ECX_MONITORX);
	/* Nested guests and encrypted memory are not offered. */
	cpuid_remove(cpuid, 0x8000000a);
	cpuid_remove(cpuid, 0x8000001f);
	caches_set(cpuid, 4, want);
	ret = topology_set(cpuid, max, 0x0b, want);
	/* Systems prefer leaf 1Fh where it is. */
	if (!ret && cpuid_find(cpuid, 0x1f, 0))
		ret = topology_set(cpuid, max, 0x1f, want);
	if (!ret && amd)
		ret = amd_set(cpuid, max, want);
	if (!ret)
		ret = kvm_leaves_set(cpuid, max, want);
	return ret;
}
