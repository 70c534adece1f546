/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a device may place straight into the guest's physical address space, past the buses: host
 * memory (a mapped BAR, a VF page) and doorbells that signal an eventfd without an exit to user
 * space; and a part of RAM whose writes it wants to see. The monitor implements it with KVM memory
 * slots and ioeventfds.
 *
 * All functions may be called from any thread.
 */
#ifndef POSTERN_GUEST_WINDOW_H
#define POSTERN_GUEST_WINDOW_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

struct guest_window;

/*
 * RAM that guests read as ever, and write through the device: which stores, and then acts. Called
 * on vCPU threads, any number at a time, with no lock held.
 */
struct guest_trap {
	uint64_t gpa, size; /* page aligned, inside one region of RAM */
	/* 1, 2, 4 or 8 bytes that do not cross an 8-byte boundary. */
	void (*write)(struct guest_trap *trap, uint64_t gpa, unsigned width, uint64_t value);
	/*
	 * CMPXCHG16B at the 16-aligned GPA: whether it stored; if not, EXPECTED receives what was
	 * there.
	 */
	bool (*cmpxchg16)(struct guest_trap *trap, uint64_t gpa, uint64_t expected[2],
			  const uint64_t desired[2]);
	/*
	 * RC 0: all writes go through the device from now on, those on other vCPUs too. Otherwise
	 * none does: -EEXIST where the guest has put something else there.
	 */
	void (*armed)(struct guest_trap *trap, int rc);
};

struct guest_window_ops {
	int (*memory_add)(struct guest_window *w, uint64_t gpa, uint64_t size, void *host);
	int (*memory_remove)(struct guest_window *w, uint64_t gpa);
	int (*doorbell_add)(struct guest_window *w, uint64_t gpa, unsigned width, int eventfd);
	int (*doorbell_remove)(struct guest_window *w, uint64_t gpa, unsigned width, int eventfd);
	int (*trap)(struct guest_window *w, struct guest_trap *trap);
};

struct guest_window {
	const struct guest_window_ops *ops;
};

/* GPA, SIZE and HOST page aligned; HOST must stay mapped until removed. -EEXIST, -ENOSPC, -errno.
 */
static inline int guest_window_memory_add(struct guest_window *w, uint64_t gpa, uint64_t size,
					  void *host)
{
	return w->ops->memory_add(w, gpa, size, host);
}

static inline int guest_window_memory_remove(struct guest_window *w, uint64_t gpa)
{
	return w->ops->memory_remove(w, gpa);
}

/* A guest write of WIDTH bytes (0: any) at GPA signals EVENTFD and is done. */
static inline int guest_window_doorbell_add(struct guest_window *w, uint64_t gpa, unsigned width,
					    int eventfd)
{
	return w->ops->doorbell_add(w, gpa, width, eventfd);
}

static inline int guest_window_doorbell_remove(struct guest_window *w, uint64_t gpa, unsigned width,
					       int eventfd)
{
	return w->ops->doorbell_remove(w, gpa, width, eventfd);
}

/*
 * Trap TRAP in place of what was trapped before; NULL: nothing. There is one trap a machine. On a
 * vCPU's thread it takes effect before the guest goes on after the instruction that caused the
 * call, and armed() is called then; on another thread, where no vCPU may run, at once. What TRAP
 * says of its place is copied; the old one may be called until then. -EOPNOTSUPP, -EINVAL (not
 * RAM).
 */
static inline int guest_window_trap(struct guest_window *w, struct guest_trap *trap)
{
	return w->ops->trap ? w->ops->trap(w, trap) : -EOPNOTSUPP;
}

#endif
