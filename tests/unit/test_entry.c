// SPDX-License-Identifier: Apache-2.0
/*
 * The boot vCPU's registers and the structures behind them, read as the processor reads them.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "guest/guest.h"
#include "postern/bits.h"

static _Alignas(4096) uint8_t low[MIB];
static struct guest_memory ram = {.count = 1, .region = {{.size = sizeof(low), .host = low}}};

Test(entry, pvh)
{
	struct guest_entry pvh = {GUEST_PVH, 0x1234, GUEST_PVH_INFO};
	struct kvm_sregs s = {.apic_base = 0xfee00900};
	struct kvm_regs r;
	uint64_t gdt[6];

	cr_assert_eq(guest_entry_registers(&pvh, &ram, &s, &r), 0);
	cr_assert_eq(r.rip, 0x1234);
	cr_assert_eq(r.rbx, GUEST_PVH_INFO);
	cr_assert_eq(r.rflags, 2);
	cr_assert_eq(s.cr0, 0x11);
	cr_assert_eq(s.cr4, 0);
	cr_assert_eq(s.efer, 0);
	cr_assert_eq(s.apic_base, 0xfee00900);
	cr_assert(s.cs.base == 0 && s.cs.limit == UINT32_MAX && s.cs.db && !s.cs.l);
	cr_assert(s.ss.limit == UINT32_MAX && s.es.type == 3 && s.ds.present);
	cr_assert(s.tr.limit == 0x67 && s.tr.type == 11 && !s.tr.base);
	cr_assert_eq(guest_memory_read(&ram, s.gdt.base, gdt, sizeof(gdt)), 0);
	cr_assert_eq(gdt[2], 0x00cf9b000000ffff);
	cr_assert_eq(gdt[3], 0x00cf93000000ffff);
	cr_assert_eq(gdt[4], 0x00008b0000000067);
	ram.count = 0;
	cr_assert_eq(guest_entry_registers(&pvh, &ram, &s, &r), -EFAULT);
}

/* As PVH, and EAX says which specification. */
Test(entry, multiboot)
{
	struct guest_entry e[] = {{GUEST_MULTIBOOT1, 0x1234, GUEST_MODULES},
				  {GUEST_MULTIBOOT2, 0x1234, GUEST_MODULES}};

	for (unsigned i = 0; i < 2; i++) {
		struct kvm_sregs s = {0};
		struct kvm_regs r;

		cr_assert_eq(guest_entry_registers(&e[i], &ram, &s, &r), 0);
		cr_assert_eq(r.rax, i ? 0x36d76289 : 0x2badb002);
		cr_assert_eq(r.rbx, GUEST_MODULES);
		cr_assert_eq(r.rip, 0x1234);
		cr_assert_eq(r.rflags, 2);
		cr_assert_eq(s.cr0, 0x11);
		cr_assert(s.cs.db && !s.cs.l && s.cs.limit == UINT32_MAX);
	}
}

Test(entry, linux64)
{
	struct guest_entry linux64 = {GUEST_LINUX64, 0x1000200, GUEST_BOOT_PARAMS};
	struct kvm_sregs s = {0};
	struct kvm_regs r;
	uint64_t gdt[6];

	memset(low, 0xff, sizeof(low));
	cr_assert_eq(guest_entry_registers(&linux64, &ram, &s, &r), 0);
	cr_assert_eq(r.rip, 0x1000200);
	cr_assert_eq(r.rsi, GUEST_BOOT_PARAMS);
	cr_assert_eq(r.rflags & BIT(9), 0);
	cr_assert_eq(s.cr0 & (BIT(31) | BIT(0)), BIT(31) | BIT(0));
	cr_assert_eq(s.cr4, BIT(5));
	cr_assert_eq(s.efer, BIT(8) | BIT(10));
	cr_assert_eq(s.cs.selector, 0x10);
	cr_assert_eq(s.ds.selector, 0x18);
	cr_assert_eq(s.ss.selector, 0x18);
	cr_assert(s.cs.l && !s.cs.db);
	cr_assert_eq(guest_memory_read(&ram, s.gdt.base, gdt, sizeof(gdt)), 0);
	cr_assert_eq(gdt[0], 0);
	cr_assert_eq(gdt[2], 0x00af9b000000ffff);
	cr_assert_eq(gdt[3], 0x00cf93000000ffff);
	/* Walk the tables as the processor does. */
	for (uint64_t va = 0; va < 8 * GIB; va += 2 * MIB) {
		uint64_t entry4, entry3, entry2;

		cr_assert_eq(guest_memory_load64(&ram, s.cr3 + (va >> 39) * 8, &entry4), 0);
		cr_assert_eq(entry4 & 0xfff, 3);
		cr_assert_eq(
			guest_memory_load64(&ram, (entry4 & ~0xfffull) + (va >> 30) * 8, &entry3),
			0);
		if (va >= 4 * GIB) {
			cr_assert_eq(entry3, 0);
			continue;
		}
		cr_assert_eq(entry3 & 0xfff, 3);
		cr_assert_eq(guest_memory_load64(&ram, (entry3 & ~0xfffull) + (va >> 21) % 512 * 8,
						 &entry2),
			     0);
		cr_assert_eq(entry2, va | 0x83);
	}
}

/* A vCPU of this host's KVM takes both states, and gives them back. */
Test(entry, local_kvm)
{
	static const struct guest_entry entries[] = {{GUEST_PVH, 0x1000000, GUEST_PVH_INFO},
						     {GUEST_LINUX64, 0x1000200, GUEST_BOOT_PARAMS}};
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm, vcpu;
	struct kvm_sregs want, got;
	struct kvm_regs r;

	if (kvm < 0)
		cr_skip_test("/dev/kvm cannot be opened");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	cr_assert_geq(vm, 0);
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	cr_assert_geq(vcpu, 0);
	for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
		cr_assert_eq(ioctl(vcpu, KVM_GET_SREGS, &want), 0);
		cr_assert_eq(guest_entry_registers(&entries[i], &ram, &want, &r), 0);
		cr_assert_eq(ioctl(vcpu, KVM_SET_SREGS, &want), 0);
		cr_assert_eq(ioctl(vcpu, KVM_SET_REGS, &r), 0);
		cr_assert_eq(ioctl(vcpu, KVM_GET_SREGS, &got), 0);
		cr_assert(got.cr0 == want.cr0 && got.cr3 == want.cr3 && got.cr4 == want.cr4);
		cr_assert(got.efer == want.efer && got.cs.l == want.cs.l &&
			  got.cs.db == want.cs.db);
	}
	close(vcpu);
	close(vm);
	close(kvm);
}
