/* SPDX-License-Identifier: Apache-2.0 */
/*
 * irq=loop: a message sink in front of the machine's whose routes' eventfds the event loop reads.
 */
#ifndef POSTERN_VFIO_LOOP_SINK_H
#define POSTERN_VFIO_LOOP_SINK_H

#include <pthread.h>
#include <stdbool.h>

#include "postern/event_loop.h"
#include "postern/msi_sink.h"

struct vfio_loop_sink {
	struct msi_sink sink;
	struct msi_sink *to;
	struct event_loop *loop; /* NULL: not there */
	const char *name;
	struct event_watch bell; /* the list below has changed */
	pthread_mutex_t lock;
	struct msi_route *routes;
	_Atomic uint64_t sent;
	bool said;
};

/* Loop thread. What the vectors of SINK signal goes to TO; 0 or -errno. */
int vfio_loop_sink_init(struct vfio_loop_sink *sink, struct event_loop *loop, const char *name,
			struct msi_sink *to);
/* Loop thread; all its routes have been freed. */
void vfio_loop_sink_fini(struct vfio_loop_sink *sink);

#endif
