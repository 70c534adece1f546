// SPDX-License-Identifier: Apache-2.0
/*
 * RAM as KVM sees it, and the part of it whose writes a device wants to see (struct guest_trap):
 * that part is a read-only memory slot. KVM makes writes of up to 8 bytes there MMIO exits, and has
 * no way to emulate CMPXCHG16B, so that one comes as an emulation failure (amd_iommu drivers of
 * Linux 6.13 and later write device table entries with nothing else).
 *
 * A slot cannot change its size or turn read-only: slots are taken away and made anew, and no vCPU
 * may be in the guest while there is a hole (vcpu.c).
 */
#include <errno.h>
#include <string.h>

#include "vmm/insn.h"
#include "vmm/machine.h"

/* The parts of region R: before, in and behind the trap. */
struct pieces {
	unsigned count;
	struct {
		uint64_t gpa, size;
		bool readonly;
	} piece[3];
};

static void pieces_add(struct pieces *p, uint64_t gpa, uint64_t size, bool readonly)
{
	if (!size)
		return;
	p->piece[p->count].gpa = gpa;
	p->piece[p->count].size = size;
	p->piece[p->count++].readonly = readonly;
}

static bool lies_in(const struct guest_trap *trap, const struct guest_region *r)
{
	return trap && trap->gpa >= r->gpa && range_fits(trap->gpa - r->gpa, trap->size, r->size);
}

static void split(const struct guest_region *r, const struct guest_trap *trap, struct pieces *p)
{
	uint64_t before;

	p->count = 0;
	if (!trap || !lies_in(trap, r)) {
		pieces_add(p, r->gpa, r->size, false);
		return;
	}
	before = trap->gpa - r->gpa;
	pieces_add(p, r->gpa, before, false);
	pieces_add(p, trap->gpa, trap->size, true);
	pieces_add(p, trap->gpa + trap->size, r->size - before - trap->size, false);
}

static int add_pieces(struct machine *m, const struct guest_region *r, const struct pieces *p)
{
	for (unsigned i = 0; i < p->count; i++) {
		int rc = kvm_memory_add(&m->kvm, p->piece[i].gpa, p->piece[i].size,
					r->host + (p->piece[i].gpa - r->gpa), p->piece[i].readonly);

		if (rc)
			return rc;
	}
	return 0;
}

int ram_slots_add(struct machine *m)
{
	for (unsigned i = 0; i < m->memory.count; i++) {
		const struct guest_region *r = &m->memory.region[i];
		struct pieces p;
		int rc;

		split(r, NULL, &p);
		rc = add_pieces(m, r, &p);
		if (rc)
			return rc;
	}
	return 0;
}

static int change_slots(struct machine *m, const struct guest_trap *from,
			const struct guest_trap *to)
{
	for (unsigned i = 0; i < m->memory.count; i++) {
		const struct guest_region *r = &m->memory.region[i];
		struct pieces old, new;
		int rc = 0;

		if (!lies_in(from, r) && !lies_in(to, r))
			continue;
		split(r, from, &old);
		split(r, to, &new);
		for (unsigned j = 0; !rc && j < old.count; j++)
			rc = kvm_memory_remove(&m->kvm, old.piece[j].gpa);
		if (!rc)
			rc = add_pieces(m, r, &new);
		if (rc)
			return rc;
	}
	return 0;
}

static uint64_t trap_read(void *opaque, uint64_t offset, unsigned width)
{
	struct machine *m = opaque;
	uint64_t value = 0;

	guest_memory_read(&m->memory, m->trap.gpa + offset, &value, width);
	return value;
}

static void trap_write(void *opaque, uint64_t offset, unsigned width, uint64_t value)
{
	struct machine *m = opaque;

	m->trap.active->write(m->trap.active, m->trap.gpa + offset, width, value);
}

static const struct bus_ops trap_ops = {.read = trap_read, .write = trap_write};

/* No vCPU is in the guest or in a bus handler. */
void ram_trap_apply(struct machine *m)
{
	struct ram_trap *t = &m->trap;
	struct guest_trap *to, *from = t->active, old = {.gpa = t->gpa, .size = t->size}, place;
	struct bus_range range = {.ops = &trap_ops, .opaque = m, .name = "trapped RAM"};
	int rc, taken = 0;

	pthread_mutex_lock(&m->pause_lock);
	to = t->wanted;
	place = (struct guest_trap){.gpa = t->wanted_gpa, .size = t->wanted_size};
	atomic_store(&t->pending, false);
	pthread_mutex_unlock(&m->pause_lock);
	if (from == to && (!to || (place.gpa == t->gpa && place.size == t->size))) {
		if (to)
			to->armed(to, 0);
		return;
	}
	if (from)
		bus_remove(&m->mmio, t->gpa);
	t->active = NULL;
	rc = change_slots(m, from ? &old : NULL, to ? &place : NULL);
	if (!rc && to) {
		t->gpa = range.base = place.gpa;
		t->size = range.size = place.size;
		/* The guest may have put a BAR over its own RAM. */
		taken = bus_add(&m->mmio, &range);
		if (!taken)
			t->active = to;
		else
			rc = change_slots(m, &place, NULL);
	}
	if (rc) {
		log_error("KVM memory slots for writes that a device must see: %s: the machine "
			  "ends, as it has lost RAM",
			  strerror(-rc));
		machine_finish(m, MACHINE_FAILED);
	} else if (to) {
		to->armed(to, taken);
	}
}

int ram_trap_set(struct machine *m, struct guest_trap *trap)
{
	bool found = !trap;

	for (unsigned i = 0; i < m->memory.count; i++)
		found = found || lies_in(trap, &m->memory.region[i]);
	if (!found || (trap && !is_aligned(trap->gpa | trap->size, GUEST_PAGE_SIZE)))
		return -EINVAL;
	if (!m->kvm.readonly_mem || !m->kvm.exit_on_emulation_failure)
		return -EOPNOTSUPP;
	pthread_mutex_lock(&m->pause_lock);
	m->trap.wanted = trap;
	m->trap.wanted_gpa = trap ? trap->gpa : 0;
	m->trap.wanted_size = trap ? trap->size : 0;
	atomic_store(&m->trap.pending, vcpu_is_here());
	pthread_mutex_unlock(&m->pause_lock);
	if (!vcpu_is_here())
		ram_trap_apply(m);
	return 0;
}

bool ram_trap_cmpxchg16(struct machine *m, uint64_t gpa, uint64_t expected[2],
			const uint64_t desired[2], bool *stored)
{
	struct guest_trap *trap = m->trap.active;

	if (!trap || gpa < m->trap.gpa || !range_fits(gpa - m->trap.gpa, 16, m->trap.size))
		return false;
	*stored = trap->cmpxchg16(trap, gpa, expected, desired);
	return true;
}
