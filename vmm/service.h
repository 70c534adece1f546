/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a service manager is told, and what it hands over: the protocols of sd_notify(3),
 * sd_watchdog_enabled(3) and sd_listen_fds(3), which are systemd's stable interface, without its
 * library. Internal to vmm/.
 */
#ifndef POSTERN_SERVICE_H
#define POSTERN_SERVICE_H

#include <errno.h>

#include "config.h"
#include "postern/event_loop.h"
#include "postern/log.h"

#ifdef CONFIG_SYSTEMD
/* The socket that a service manager listens on for us, or -EINVAL after saying why there is none.
 */
int service_listen_fd(void);
/* Connect to the service manager, if there is one: before the process is confined. */
void service_open(struct event_loop *loop);
/* The machine runs: READY=1, and from now on the watchdog is fed by the loop. Loop thread. */
void service_ready(void);
/* The machine ends: STOPPING=1. The loop has ended. */
void service_stop(void);
#else
static inline int service_listen_fd(void)
{
	log_error("--ctl fd=systemd: this postern was built without CONFIG_SYSTEMD");
	return -EINVAL;
}

static inline void service_open(struct event_loop *loop)
{
	(void)loop;
}

static inline void service_ready(void)
{
}

static inline void service_stop(void)
{
}
#endif

#endif
