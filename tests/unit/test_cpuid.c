// SPDX-License-Identifier: Apache-2.0
/*
 * The CPUID filter over tables as KVM gives them on an AMD and on an Intel host (of another
 * topology), and over the local KVM's where there is one.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "guest/guest.h"
#include "postern/bits.h"

#define ENTRIES 160u
#define INDEX	KVM_CPUID_FLAG_SIGNIFCANT_INDEX

/* A 64-thread EPYC: 8 threads share an L3. */
static const struct kvm_cpuid_entry2 amd[] = {
	{0, 0, 0, 0x10, 0x68747541, 0x444d4163, 0x69746e65, {0}},
	{1, 0, 0, 0x00a20f12, 0x05400800, 0x7ef8320b | BIT(5), 0x178bfbff, {0}},
	{5, 0, 0, 0x40, 0x40, 3, 0x11, {0}},
	{0xb, 0, INDEX, 1, 2, 0x100, 5, {0}},
	{0xb, 1, INDEX, 6, 64, 0x201, 5, {0}},
	{0x40000000, 0, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d, {0}},
	{0x40000001, 0, 0, 0x0100fefb, 0, 0, 0, {0}},
	{0x80000000, 0, 0, 0x80000028, 0x68747541, 0x444d4163, 0x69746e65, {0}},
	{0x80000001, 0, 0, 0x00a20f12, 0x40000000, 0x00c003f7 | BIT(29), 0x2fd3fbff, {0}},
	{0x80000008, 0, 0, 0x3030, 0x1000, 0x0000603f | 1 << 16, 0, {0}},
	{0x8000000a, 0, 0, 1, 8, 0, 0x1b, {0}},
	{0x8000001d, 0, INDEX, 0x4121, 0x01c0003f, 0x3f, 0, {0}},
	{0x8000001d, 2, INDEX, 0x4143, 0x01c0003f, 0x3ff, 2, {0}},
	{0x8000001d, 3, INDEX, 0x3c163, 0x03c0003f, 0x7fff, 1, {0}},
	{0x8000001d, 4, INDEX, 0, 0, 0, 0, {0}},
	{0x8000001e, 0, 0, 5, 0x102, 0x301, 0, {0}},
	{0x8000001f, 0, 0, 0xf, 0x16f, 0x1fd, 1, {0}},
	{0x80000026, 0, INDEX, 1, 2, 0x100, 5, {0}},
};

static const struct kvm_cpuid_entry2 intel[] = {
	{0, 0, 0, 0x1f, 0x756e6547, 0x6c65746e, 0x49656e69, {0}},
	{1, 0, 0, 0x000a0671, 0x11200800, 0x7ffafbbf, 0xbfebfbff, {0}},
	{4, 0, INDEX, 0x7c004121, 0x02c0003f, 0x3f, 0, {0}},
	{4, 2, INDEX, 0x7c004143, 0x03c0003f, 0x7ff, 0, {0}},
	{4, 3, INDEX, 0x7c07c163, 0x03c0003f, 0x7ffff, 4, {0}},
	{4, 4, INDEX, 0, 0, 0, 0, {0}},
	{0xb, 0, INDEX, 1, 2, 0x100, 0x11, {0}},
	{0xb, 1, INDEX, 5, 32, 0x201, 0x11, {0}},
	{0x1f, 0, INDEX, 1, 2, 0x100, 0x11, {0}},
	{0x1f, 1, INDEX, 5, 32, 0x201, 0x11, {0}},
	{0x1f, 2, INDEX, 6, 64, 0x502, 0x11, {0}},
	{0x40000000, 0, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d, {0}},
	{0x40000001, 0, 0, 0x01007efb, 0, 0, 0, {0}},
	{0x80000000, 0, 0, 0x80000008, 0, 0, 0, {0}},
	{0x80000001, 0, 0, 0, 0, 0x121, 0x2c100800, {0}},
	{0x80000008, 0, 0, 0x3930, 0, 0, 0, {0}},
};

static struct kvm_cpuid2 *table(const struct kvm_cpuid_entry2 *entries, unsigned count)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + ENTRIES * sizeof(*entries));

	cr_assert_not_null(cpuid);
	cpuid->nent = count;
	memcpy(cpuid->entries, entries, count * sizeof(*entries));
	return cpuid;
}

static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid2 *cpuid, uint32_t function,
					   uint32_t index)
{
	const struct kvm_cpuid_entry2 *found = NULL;

	for (unsigned i = 0; i < cpuid->nent; i++) {
		if (cpuid->entries[i].function != function || cpuid->entries[i].index != index)
			continue;
		cr_assert_null(found, "leaf %#x.%u is there twice", function, index);
		found = &cpuid->entries[i];
	}
	return found;
}

static const struct kvm_cpuid_entry2 *get(const struct kvm_cpuid2 *cpuid, uint32_t function,
					  uint32_t index)
{
	const struct kvm_cpuid_entry2 *e = find(cpuid, function, index);

	cr_assert_not_null(e, "leaf %#x.%u is missing", function, index);
	return e;
}

static void check_topology_leaf(const struct kvm_cpuid2 *cpuid, uint32_t function, unsigned cpu,
				unsigned cpus, unsigned shift)
{
	const struct kvm_cpuid_entry2 *e = get(cpuid, function, 0);

	cr_assert(e->eax == 0 && e->ebx == 1 && e->ecx == 0x100 && e->edx == cpu);
	cr_assert(e->flags & INDEX);
	e = get(cpuid, function, 1);
	cr_assert(e->eax == shift && e->ebx == cpus && e->ecx == 0x201 && e->edx == cpu);
	cr_assert(e->flags & INDEX);
	cr_assert_null(find(cpuid, function, 2));
	cr_assert_geq(get(cpuid, 0, 0)->eax, function);
}

/* What holds for both vendors. */
static void check_common(const struct kvm_cpuid2 *cpuid, unsigned cpu, unsigned cpus,
			 unsigned shift)
{
	const struct kvm_cpuid_entry2 *e = get(cpuid, 1, 0);

	cr_assert_eq(e->ebx >> 24, cpu);
	cr_assert_eq(e->ebx & 0xffff, 0x0800, "CLFLUSH size and brand stay");
	cr_assert(e->ecx & BIT(31));
	cr_assert_eq(e->ecx & (BIT(3) | BIT(5) | BIT(6)), 0, "MONITOR, VMX, SMX");
	cr_assert(e->ecx & BIT(13), "CMPXCHG16B: AMD-Vi drivers need it");
	cr_assert_eq(!!(e->edx & BIT(28)), cpus > 1);
	check_topology_leaf(cpuid, 0xb, cpu, cpus, shift);
}

Test(cpuid, amd)
{
	static const unsigned counts[][2] = {{1, 0}, {2, 1}, {3, 2}, {4, 2}, {5, 3}, {64, 6}};

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		unsigned cpus = counts[i][0], shift = counts[i][1];
		struct kvm_cpuid2 *cpuid = table(amd, ARRAY_SIZE(amd));
		struct guest_cpuid want = {.cpu = cpus - 1, .cpus = cpus, .x2apic = true};
		const struct kvm_cpuid_entry2 *e;

		cr_assert_eq(guest_cpuid_filter(cpuid, ENTRIES, &want), 0);
		check_common(cpuid, cpus - 1, cpus, shift);
		cr_assert_eq(get(cpuid, 1, 0)->ebx >> 16 & 0xff, cpus);
		cr_assert_eq(get(cpuid, 5, 0)->eax, 0);
		e = get(cpuid, 0x80000001, 0);
		cr_assert_eq(e->ecx & (BIT(2) | BIT(29)), 0, "SVM, MONITORX");
		cr_assert_eq(!!(e->ecx & BIT(1)), cpus > 1);
		cr_assert(e->ecx & BIT(22));
		e = get(cpuid, 0x80000008, 0);
		cr_assert_eq(e->eax, 0x3030);
		cr_assert_eq(e->ecx, (cpus - 1) | shift << 12 | 1 << 16);
		cr_assert_eq(get(cpuid, 0x8000001d, 0)->eax, 0x121);
		cr_assert_eq(get(cpuid, 0x8000001d, 2)->eax, 0x143);
		cr_assert_eq(get(cpuid, 0x8000001d, 3)->eax, 0x163 | (cpus - 1) << 14);
		cr_assert_eq(get(cpuid, 0x8000001d, 4)->eax, 0);
		e = get(cpuid, 0x8000001e, 0);
		cr_assert(e->eax == cpus - 1 && e->ebx == cpus - 1 && e->ecx == 0);
		cr_assert_null(find(cpuid, 0x8000000a, 0));
		cr_assert_null(find(cpuid, 0x8000001f, 0));
		cr_assert_null(find(cpuid, 0x80000026, 0));
		cr_assert_null(find(cpuid, 0x1f, 0));
		free(cpuid);
	}
}

/* A host without the leaves: what can be told is told. */
Test(cpuid, amd_missing_leaves)
{
	static const struct kvm_cpuid_entry2 old[] = {
		{0, 0, 0, 0x7, 0x68747541, 0x444d4163, 0x69746e65, {0}},
		{1, 0, 0, 0x00a20f12, 0x05400800, 0x2000, 0x078bfbff, {0}},
		{0x80000000, 0, 0, 0x80000008, 0, 0, 0, {0}},
		{0x80000001, 0, 0, 0, 0, BIT(22), 0, {0}},
	};
	struct kvm_cpuid2 *cpuid = table(old, ARRAY_SIZE(old));
	struct guest_cpuid want = {.cpu = 1, .cpus = 2, .tsc_khz = 1};

	cr_assert_eq(guest_cpuid_filter(cpuid, ENTRIES, &want), 0);
	check_common(cpuid, 1, 2, 1);
	cr_assert_eq(get(cpuid, 0, 0)->eax, 0xb);
	cr_assert_eq(get(cpuid, 0x8000001e, 0)->eax, 1);
	cr_assert_eq(get(cpuid, 0x80000000, 0)->eax, 0x8000001e);
	cr_assert_null(find(cpuid, 0x40000010, 0), "no KVM leaves: no frequency leaf alone");
	free(cpuid);
}

Test(cpuid, intel)
{
	static const unsigned counts[][2] = {{1, 0}, {2, 1}, {3, 2}, {6, 3}, {64, 6}};

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		unsigned cpus = counts[i][0], shift = counts[i][1], ids = 1u << shift;
		struct kvm_cpuid2 *cpuid = table(intel, ARRAY_SIZE(intel));
		struct guest_cpuid want = {.cpu = 0, .cpus = cpus};

		cr_assert_eq(guest_cpuid_filter(cpuid, ENTRIES, &want), 0);
		check_common(cpuid, 0, cpus, shift);
		check_topology_leaf(cpuid, 0x1f, 0, cpus, shift);
		cr_assert_eq(get(cpuid, 1, 0)->ebx >> 16 & 0xff, ids);
		cr_assert_eq(get(cpuid, 4, 0)->eax, 0x121 | (ids - 1) << 26);
		cr_assert_eq(get(cpuid, 4, 2)->eax, 0x143 | (ids - 1) << 26);
		cr_assert_eq(get(cpuid, 4, 3)->eax, 0x163 | (ids - 1) << 26 | (ids - 1) << 14);
		cr_assert_eq(get(cpuid, 4, 4)->eax, 0);
		/* AMD's fields are reserved here. */
		cr_assert_eq(get(cpuid, 0x80000008, 0)->ecx, 0);
		cr_assert_eq(get(cpuid, 0x80000001, 0)->ecx, 0x121);
		cr_assert_null(find(cpuid, 0x8000001e, 0));
		free(cpuid);
	}
}

Test(cpuid, wishes)
{
	struct guest_cpuid want = {.cpu = 0, .cpus = 1};
	struct kvm_cpuid2 *cpuid = table(amd, ARRAY_SIZE(amd));

	/* Off, whatever KVM says; the other KVM features stay. */
	cr_assert_eq(guest_cpuid_filter(cpuid, ENTRIES, &want), 0);
	cr_assert_eq(get(cpuid, 1, 0)->ecx & (BIT(21) | BIT(24)), 0);
	cr_assert_eq(get(cpuid, 0x40000001, 0)->eax, 0x0100fefb & ~BIT(15));
	cr_assert_eq(get(cpuid, 0x40000000, 0)->eax, 0x40000001);
	cr_assert_null(find(cpuid, 0x40000010, 0));
	free(cpuid);
	cpuid = table(amd, ARRAY_SIZE(amd));
	want.x2apic = want.tsc_deadline = want.msi_ext_dest_id = true;
	want.tsc_khz = 2450000;
	cr_assert_eq(guest_cpuid_filter(cpuid, ENTRIES, &want), 0);
	cr_assert_eq(get(cpuid, 1, 0)->ecx & (BIT(21) | BIT(24)), BIT(21) | BIT(24));
	cr_assert_eq(get(cpuid, 0x40000001, 0)->eax, 0x0100fefb);
	cr_assert_eq(get(cpuid, 0x40000000, 0)->eax, 0x40000010);
	cr_assert_eq(get(cpuid, 0x40000010, 0)->eax, 2450000);
	free(cpuid);
	/* On, though KVM leaves it to the monitor to say so. */
	cpuid = table(amd, ARRAY_SIZE(amd));
	for (unsigned i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == 0x40000001)
			cpuid->entries[i].eax &= ~(uint32_t)BIT(15);
	cr_assert_eq(guest_cpuid_filter(cpuid, ENTRIES, &want), 0);
	cr_assert_eq(get(cpuid, 0x40000001, 0)->eax, 0x0100fefb);
	free(cpuid);
}

/* Never past MAX entries, whatever it is. */
Test(cpuid, bounds)
{
	struct guest_cpuid want = {.cpu = 1, .cpus = 2, .tsc_khz = 1000};
	unsigned count = 2, full = 0;

	for (unsigned max = count; max < count + 8; max++) {
		struct kvm_cpuid2 *cpuid = malloc(sizeof(*cpuid) + max * sizeof(amd[0]));
		int ret;

		cpuid->nent = count;
		memcpy(cpuid->entries, amd, count * sizeof(amd[0]));
		ret = guest_cpuid_filter(cpuid, max, &want);
		cr_assert(ret == (max < count + 2 ? -E2BIG : 0), "%u: %d", max, ret);
		cr_assert_leq(cpuid->nent, max);
		full += ret == -E2BIG;
		free(cpuid);
	}
	cr_assert_eq(full, 2);
}

Test(cpuid, invalid)
{
	struct kvm_cpuid2 *cpuid = table(amd, ARRAY_SIZE(amd));
	struct guest_cpuid want = {.cpu = 2, .cpus = 2};

	cr_assert_eq(guest_cpuid_filter(cpuid, ENTRIES, &want), -EINVAL);
	want.cpus = 0;
	cr_assert_eq(guest_cpuid_filter(cpuid, ENTRIES, &want), -EINVAL);
	want = (struct guest_cpuid){.cpus = 1};
	cpuid->nent = 1;
	cr_assert_eq(guest_cpuid_filter(cpuid, ENTRIES, &want), -EINVAL);
	free(cpuid);
}

/* What this host's KVM says, filtered, is taken by a vCPU of it. */
Test(cpuid, local_kvm)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm, vcpu;
	struct kvm_cpuid2 *cpuid = table(amd, 0);
	struct guest_cpuid want = {.cpu = 1, .cpus = 2, .x2apic = true, .tsc_khz = 2000000};

	if (kvm < 0)
		cr_skip_test("/dev/kvm cannot be opened");
	cpuid->nent = ENTRIES;
	cr_assert_eq(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid), 0);
	cr_assert_eq(guest_cpuid_filter(cpuid, ENTRIES, &want), 0);
	check_topology_leaf(cpuid, 0xb, 1, 2, 1);
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	cr_assert_geq(vm, 0);
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 1);
	cr_assert_geq(vcpu, 0);
	cr_assert_eq(ioctl(vcpu, KVM_SET_CPUID2, cpuid), 0);
	close(vcpu);
	close(vm);
	close(kvm);
	free(cpuid);
}
