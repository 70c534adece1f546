// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "postern/bits.h"
#include "vmm/options.h"
#include "vmm/service.h"

#define LISTEN_FDS_START 3 /* sd_listen_fds(3) */

static struct {
	int fd; /* connected to the service manager, or -1 */
	struct event_loop *loop;
	struct event_timer watchdog;
	uint64_t period; /* nanoseconds between signs of life; 0: nobody waits for them */
} service = {.fd = -1};

/* The environment's number NAME, or 0. */
static uint64_t environment_number(const char *name)
{
	const char *text = getenv(name);
	uint64_t value;

	return text && !parse_number(text, UINT64_MAX, &value) ? value : 0;
}

/* Variables are inherited: these name the process that they are for. */
static bool meant_for_us(const char *name)
{
	return environment_number(name) == (uint64_t)getpid();
}

/* A manager that does not read must not hold the machine up: what it has no room for is lost. */
static void notify(const char *state)
{
	if (service.fd >= 0 &&
	    send(service.fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_debug("service manager: %s: %s", state, strerror(errno));
}

static void watchdog_expired(struct event_timer *timer)
{
	notify("WATCHDOG=1");
	event_loop_timer_arm(service.loop, timer, service.period);
}

void service_open(struct event_loop *loop)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;

	if (!len)
		return;
	if ((path[0] != '/' && path[0] != '@') || len >= sizeof(address.sun_path)) {
		log_warning("NOTIFY_SOCKET %s: is no socket that can be connected to", path);
		return;
	}
	memcpy(address.sun_path, path, len);
	if (path[0] == '@')
		address.sun_path[0] = '\0'; /* of the abstract name space */
	service.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (service.fd < 0 ||
	    connect(service.fd, (struct sockaddr *)&address,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0) {
		log_warning("NOTIFY_SOCKET %s: cannot be connected to: %s", path, strerror(errno));
		if (service.fd >= 0)
			close(service.fd);
		service.fd = -1;
		return;
	}
	service.loop = loop;
	/* Twice as often as it must be, as sd_watchdog_enabled(3) advises. */
	if (!getenv("WATCHDOG_PID") || meant_for_us("WATCHDOG_PID")) {
		uint64_t period = environment_number("WATCHDOG_USEC") / 2;

		service.period = period < UINT64_MAX / 1000 ? period * 1000 : 0;
	}
}

void service_ready(void)
{
	notify("READY=1");
	if (service.fd < 0 || !service.period)
		return;
	service.watchdog.expired = watchdog_expired;
	watchdog_expired(&service.watchdog);
}

void service_stop(void)
{
	notify("STOPPING=1");
	if (service.fd < 0)
		return;
	if (service.period)
		event_loop_timer_cancel(service.loop, &service.watchdog);
	close(service.fd);
	service.fd = -1;
}

/* The place of "ctl" among names with colons between, or 0 where it is the only descriptor. */
static int choose(uint64_t count)
{
	const char *name = getenv("LISTEN_FDNAMES");

	for (int i = 0; name; i++) {
		size_t len = strcspn(name, ":");

		if (len == 3 && !strncmp(name, "ctl", len))
			return (uint64_t)i < count ? i : -1;
		name = name[len] ? name + len + 1 : NULL;
	}
	return count == 1 ? 0 : -1;
}

int service_listen_fd(void)
{
	uint64_t count = environment_number("LISTEN_FDS");
	int fd;

	if (!count || !meant_for_us("LISTEN_PID")) {
		log_error("--ctl fd=systemd: no service manager has passed a socket (LISTEN_FDS, "
			  "LISTEN_PID); start it by a .socket unit");
		return -EINVAL;
	}
	fd = choose(count);
	if (fd < 0) {
		log_error("--ctl fd=systemd: %llu sockets were passed, none of the name ctl; add "
			  "FileDescriptorName=ctl to the .socket unit",
			  (unsigned long long)count);
		return -EINVAL;
	}
	fd += LISTEN_FDS_START;
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
		int rc = -errno;

		log_error("--ctl fd=systemd: descriptor %d: %s", fd, strerror(-rc));
		return -EINVAL;
	}
	return fd;
}
