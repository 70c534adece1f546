// SPDX-License-Identifier: Apache-2.0
/* Guest RAM and KVM memory slots. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/machine.h"

Test(memory, small_is_one_region)
{
	struct guest_memory gm;
	struct stat st;

	cr_assert_eq(memory_new(&gm, 64 * MIB, false), 0);
	cr_expect_eq(gm.count, 1);
	cr_expect_eq(gm.region[0].gpa, 0);
	cr_expect_eq(gm.region[0].size, 64 * MIB);
	cr_assert_eq(fstat(gm.region[0].fd, &st), 0);
	cr_expect_eq((uint64_t)st.st_size, 64 * MIB);
	cr_expect_eq(st.st_blocks, 0, "no page is touched");
	cr_expect(fcntl(gm.region[0].fd, F_GETFD) & FD_CLOEXEC);
	cr_expect_eq(guest_memory_write(&gm, 64 * MIB - 4, "last", 4), 0);
	cr_expect_eq(guest_memory_write(&gm, 64 * MIB - 3, "over", 4), -EFAULT);
	memory_free(&gm);
	cr_expect_eq(gm.count, 0);
	memory_free(&gm);
}

Test(memory, large_is_cut_at_the_hole)
{
	struct guest_memory gm;
	uint32_t value = 0x12345678, got = 0;

	/* Sparse, but the size must be one that this host could fill. */
	if (memory_new(&gm, MACHINE_LOW_RAM_END + 8 * MIB, false) == -ENOMEM)
		cr_skip_test("this host has less than 3 GiB");
	cr_assert_eq(gm.count, 2);
	cr_expect_eq(gm.region[0].size, MACHINE_LOW_RAM_END);
	cr_expect_eq(gm.region[1].gpa, MACHINE_HIGH_RAM);
	cr_expect_eq(gm.region[1].size, 8 * MIB);
	cr_expect_eq(gm.region[1].fd_offset, MACHINE_LOW_RAM_END);
	cr_expect_null(guest_memory_at(&gm, MACHINE_LOW_RAM_END, 1));
	cr_expect_eq(guest_memory_write(&gm, MACHINE_HIGH_RAM, &value, 4), 0);
	cr_expect_eq(pread(gm.region[1].fd, &got, 4, (off_t)MACHINE_LOW_RAM_END), 4);
	cr_expect_eq(got, value, "the descriptor shows what the mapping holds");
	memory_free(&gm);
}

Test(memory, exactly_the_low_part_has_no_second_region)
{
	struct guest_memory gm;

	if (memory_new(&gm, MACHINE_LOW_RAM_END, false) == -ENOMEM)
		cr_skip_test("this host has less than 3 GiB");
	cr_expect_eq(gm.count, 1);
	memory_free(&gm);
}

Test(memory, bad_sizes_are_refused)
{
	struct guest_memory gm;

	cr_expect_eq(memory_new(&gm, 0, false), -EINVAL);
	cr_expect_eq(memory_new(&gm, 64 * MIB + 1, false), -EINVAL);
	cr_expect_eq(memory_new(&gm, 64 * MIB + 4096, true), -EINVAL);
	cr_expect_eq(memory_new(&gm, BIT(50), false), -ENOMEM);
	cr_expect_eq(memory_new(&gm, ~UINT64_C(0xfff), false), -ENOMEM);
	cr_expect_eq(gm.count, 0);
	memory_free(&gm);
}

Test(memory, huge_pages_work_or_fail_before_the_guest_runs)
{
	struct guest_memory gm;
	int rc = memory_new(&gm, 4 * MIB, true);

	if (rc) {
		cr_expect_eq(rc, -ENOMEM);
		cr_expect_eq(gm.count, 0);
		return;
	}
	memset(gm.region[0].host, 0, 4 * MIB);
	memory_free(&gm);
}

static struct kvm kvm;

static void set_up(void)
{
	if (access("/dev/kvm", R_OK | W_OK) < 0)
		cr_skip_test("no /dev/kvm that this user may open");
	cr_assert_eq(kvm_open(&kvm), 0);
}

static void tear_down(void)
{
	kvm_close(&kvm);
}

TestSuite(slots, .init = set_up, .fini = tear_down);

Test(slots, are_limited_and_come_back)
{
	unsigned room = ARRAY_SIZE(kvm.window), i;
	uint8_t *page = mmap(NULL, room * 0x1000, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(page, MAP_FAILED);
	for (i = 0; i < room; i++)
		cr_assert_eq(kvm_memory_add(&kvm, i * 0x2000, 0x1000, page + i * 0x1000, false), 0);
	cr_expect_eq(kvm_memory_add(&kvm, i * 0x2000, 0x1000, page, false), -ENOSPC);
	cr_expect_eq(kvm_memory_remove(&kvm, 0x2000), 0);
	cr_expect_eq(kvm_memory_remove(&kvm, 0x2000), -ENOENT);
	cr_expect_eq(kvm_memory_remove(&kvm, 0x3000), -ENOENT);
	cr_expect_eq(kvm_memory_add(&kvm, 0, 0x1000, page, false), -EEXIST);
	cr_expect_eq(kvm_memory_add(&kvm, 0x2000, 0x1000, page, true), 0);
	munmap(page, room * 0x1000);
}

Test(slots, bad_windows_are_refused)
{
	uint8_t *page =
		mmap(NULL, 0x2000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(page, MAP_FAILED);
	cr_expect_eq(kvm_memory_add(&kvm, 0, 0, page, false), -EINVAL);
	cr_expect_eq(kvm_memory_add(&kvm, 8, 0x1000, page, false), -EINVAL);
	cr_expect_eq(kvm_memory_add(&kvm, 0, 0x1001, page, false), -EINVAL);
	cr_expect_eq(kvm_memory_add(&kvm, 0, 0x1000, page + 1, false), -EINVAL);
	cr_expect_eq(kvm_memory_add(&kvm, BIT(kvm.phys_bits), 0x1000, page, false), -EINVAL);
	cr_expect_eq(kvm_memory_add(&kvm, ~UINT64_C(0xfff), 0x2000, page, false), -EINVAL);
	munmap(page, 0x2000);
}
