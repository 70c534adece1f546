// SPDX-License-Identifier: Apache-2.0
/* Memory slots around a part of RAM that is trapped; KVM and the vCPUs are these tests. */
#include <criterion/criterion.h>
#include <errno.h>

#include "vmm/machine.h"

#define RAM   (UINT64_C(64) << 12)
#define TABLE UINT64_C(0x10000)
#define OTHER UINT64_C(0x20000)
#define SIZE  UINT64_C(0x2000)

static struct machine m;
static struct {
	uint64_t gpa, size;
	bool readonly;
} slot[8];
static unsigned slots, added, removed, armed, fail_at;
static int armed_rc, ended;
static bool here;

int kvm_memory_add(struct kvm *kvm, uint64_t gpa, uint64_t size, void *host, bool readonly)
{
	(void)kvm;
	cr_assert_eq((uintptr_t)host, gpa + 4096);
	if (++added == fail_at)
		return -ENOMEM;
	slot[slots].gpa = gpa;
	slot[slots].size = size;
	slot[slots++].readonly = readonly;
	return 0;
}

int kvm_memory_remove(struct kvm *kvm, uint64_t gpa)
{
	(void)kvm;
	removed++;
	for (unsigned i = 0; i < slots; i++) {
		if (slot[i].gpa == gpa) {
			slot[i] = slot[--slots];
			return 0;
		}
	}
	cr_assert_fail("no slot at %#llx", (unsigned long long)gpa);
	return -ENOENT;
}

bool machine_finish(struct machine *machine, enum machine_end end)
{
	cr_expect_eq(machine, &m);
	ended = end;
	return true;
}

bool vcpu_is_here(void)
{
	return here;
}

static void on_armed(struct guest_trap *trap, int rc)
{
	(void)trap;
	armed++;
	armed_rc = rc;
}

static struct guest_trap trap = {.gpa = TABLE, .size = SIZE, .armed = on_armed};

static void set_up(void)
{
	m.memory.count = 1;
	/* Nothing is stored there: any address will do. */
	m.memory.region[0] = (struct guest_region){.size = RAM, .host = (void *)4096, .fd = -1};
	m.kvm.readonly_mem = m.kvm.exit_on_emulation_failure = true;
	pthread_mutex_init(&m.pause_lock, NULL);
	bus_init(&m.mmio);
	cr_assert_eq(ram_slots_add(&m), 0);
	cr_assert_eq(slots, 1);
}

static bool readonly_at(uint64_t gpa)
{
	for (unsigned i = 0; i < slots; i++)
		if (gpa - slot[i].gpa < slot[i].size)
			return slot[i].readonly;
	cr_assert_fail("no RAM at %#llx", (unsigned long long)gpa);
	return false;
}

Test(ram_trap, the_part_is_read_only_and_no_other, .init = set_up)
{
	cr_assert_eq(ram_trap_set(&m, &trap), 0);
	cr_expect_eq(armed, 1);
	cr_expect_eq(slots, 3);
	cr_expect(readonly_at(TABLE) && readonly_at(TABLE + SIZE - 1));
	cr_expect_not(readonly_at(TABLE - 1) || readonly_at(TABLE + SIZE));
	trap.gpa = OTHER;
	cr_assert_eq(ram_trap_set(&m, &trap), 0);
	cr_expect_eq(armed, 2);
	cr_expect(readonly_at(OTHER) && !readonly_at(TABLE));
	cr_assert_eq(ram_trap_set(&m, NULL), 0);
	cr_expect_eq(slots, 1);
	cr_expect_not(readonly_at(OTHER));
}

Test(ram_trap, where_nothing_changes_no_slot_does, .init = set_up)
{
	unsigned before;

	cr_assert_eq(ram_trap_set(&m, NULL), 0);
	cr_expect_eq(removed, 0);
	cr_assert_eq(ram_trap_set(&m, &trap), 0);
	before = added + removed;
	cr_assert_eq(ram_trap_set(&m, &trap), 0);
	cr_expect_eq(armed, 2, "it is told all the same");
	cr_expect_eq(armed_rc, 0);
	cr_expect_eq(added + removed, before);
	/* By a vCPU, which applies it later. */
	here = true;
	cr_assert_eq(ram_trap_set(&m, NULL), 0);
	cr_assert_eq(ram_trap_set(&m, &trap), 0);
	cr_expect(m.trap.pending);
	ram_trap_apply(&m);
	cr_expect_not(m.trap.pending);
	cr_expect_eq(armed, 3);
	cr_expect_eq(added + removed, before);
	cr_expect(readonly_at(TABLE));
}

Test(ram_trap, something_else_is_there, .init = set_up)
{
	const struct bus_range bar = {.base = TABLE + 4096, .size = 4096};

	cr_assert_eq(bus_add(&m.mmio, &bar), 0);
	cr_assert_eq(ram_trap_set(&m, &trap), 0);
	cr_expect_eq(armed_rc, -EEXIST);
	cr_expect_eq(slots, 1);
	cr_expect_not(readonly_at(TABLE));
	/* It has gone: another try does all of it. */
	cr_assert_eq(bus_remove(&m.mmio, bar.base), 0);
	cr_assert_eq(ram_trap_set(&m, &trap), 0);
	cr_expect_eq(armed_rc, 0);
	cr_expect(readonly_at(TABLE));
}

Test(ram_trap, ram_that_is_lost_ends_the_machine, .init = set_up)
{
	fail_at = added + 2;
	cr_assert_eq(ram_trap_set(&m, &trap), 0);
	cr_expect_eq(armed, 0);
	cr_expect_eq(ended, MACHINE_FAILED);
}
