/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a device may place straight into the guest's physical address space, past the buses: host
 * memory (a mapped BAR, a VF page) and doorbells that signal an eventfd without an exit to user
 * space. The monitor implements it with KVM memory slots and ioeventfds.
 *
 * All functions may be called from any thread.
 */
#ifndef POSTERN_GUEST_WINDOW_H
#define POSTERN_GUEST_WINDOW_H

#include <stdint.h>

struct guest_window;

struct guest_window_ops {
	int (*memory_add)(struct guest_window *w, uint64_t gpa, uint64_t size, void *host);
	int (*memory_remove)(struct guest_window *w, uint64_t gpa);
	int (*doorbell_add)(struct guest_window *w, uint64_t gpa, unsigned width, int eventfd);
	int (*doorbell_remove)(struct guest_window *w, uint64_t gpa, unsigned width, int eventfd);
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

#endif
