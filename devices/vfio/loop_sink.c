// SPDX-License-Identifier: Apache-2.0
/*
 * irq=loop: the eventfds of an assigned device's vectors are read by the event loop, which sends
 * the messages, where the machine's own routes would have KVM do it (irqfd). It stands in front of
 * the device's message sink, so that what uses the sink does not know the difference.
 *
 * Vectors come and go on vCPU threads, but only the loop's thread may watch: they change the list
 * and ring a bell, and the loop does the rest. A route has a descriptor of its own, since its
 * owner closes the eventfd before the loop has heard of it.
 */
#include "devices/vfio/loop_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "postern/bits.h"
#include "postern/log.h"

struct msi_route {
	struct vfio_loop_sink *sink;
	struct msi_route *next;
	struct event_watch watch;
	bool watched, dead;
	bool set;     /* MSG is; else masked */
	bool pending; /* signalled while masked */
	struct msi_msg msg;
};

static struct vfio_loop_sink *loop_sink_of(struct msi_sink *sink)
{
	return container_of(sink, struct vfio_loop_sink, sink);
}

static void bell_ring(struct vfio_loop_sink *s)
{
	const uint64_t one = 1;

	/* EAGAIN: it has been rung so often that it rings already. */
	if (write(s->bell.fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_error("%s: the event loop cannot be woken: %s", s->name, strerror(errno));
}

/* Under the lock, so that nothing is sent any more when masking has returned. A message that the
 * remapper refuses is gone, as on hardware; the guest finds that in its event log. */
static void route_fire(struct msi_route *route)
{
	route->pending = !route->set;
	if (!route->set)
		return;
	route->sink->sent++;
	msi_sink_send(route->sink->to, &route->msg);
}

static void route_ready(struct event_watch *watch, short revents)
{
	struct msi_route *route = container_of(watch, struct msi_route, watch);

	(void)revents;
	pthread_mutex_lock(&route->sink->lock);
	if (!route->dead)
		route_fire(route);
	pthread_mutex_unlock(&route->sink->lock);
}

static int loop_route_new(struct msi_sink *sink, int eventfd, struct msi_route **out)
{
	struct vfio_loop_sink *s = loop_sink_of(sink);
	struct msi_route *route = calloc(1, sizeof(*route));

	if (!route)
		return -ENOMEM;
	route->sink = s;
	route->watch = (struct event_watch){
		.fd = fcntl(eventfd, F_DUPFD_CLOEXEC, 0),
		.events = POLLIN,
		.drain = true,
		.ready = route_ready,
	};
	if (route->watch.fd < 0) {
		int ret = -errno;

		free(route);
		return ret;
	}
	pthread_mutex_lock(&s->lock);
	route->next = s->routes;
	s->routes = route;
	pthread_mutex_unlock(&s->lock);
	bell_ring(s);
	*out = route;
	return 0;
}

static int loop_route_set(struct msi_route *route, const struct msi_msg *msg)
{
	pthread_mutex_lock(&route->sink->lock);
	route->set = msg;
	if (msg) {
		route->msg = *msg;
		if (route->pending)
			route_fire(route);
	}
	pthread_mutex_unlock(&route->sink->lock);
	return 0;
}

/* Loop thread: what is listed is watched, what is dead is not, and goes. */
static void loop_sink_sync(struct vfio_loop_sink *s)
{
	struct msi_route **at, *route;
	int ret;

	pthread_mutex_lock(&s->lock);
	for (at = &s->routes; (route = *at);) {
		if (route->dead) {
			*at = route->next;
			if (route->watched)
				event_loop_unwatch(s->loop, &route->watch);
			close(route->watch.fd);
			free(route);
			continue;
		}
		at = &route->next;
		if (route->watched)
			continue;
		ret = event_loop_watch(s->loop, &route->watch);
		route->watched = !ret;
		if (ret && !s->said) {
			s->said = true;
			log_error("%s: the event loop cannot watch an interrupt vector: %s; the "
				  "guest may hang waiting for it (irq=direct does without)",
				  s->name, strerror(-ret));
		}
	}
	pthread_mutex_unlock(&s->lock);
}

static void bell_rung(struct event_watch *watch, short revents)
{
	(void)revents;
	loop_sink_sync(container_of(watch, struct vfio_loop_sink, bell));
}

static void loop_route_free(struct msi_route *route)
{
	struct vfio_loop_sink *s = route->sink;
	struct msi_route **at;
	bool watched;

	pthread_mutex_lock(&s->lock);
	watched = route->dead = route->watched;
	/* What the loop has not seen goes at once, however often the guest makes one meanwhile. */
	for (at = &s->routes; !watched && *at; at = &(*at)->next) {
		if (*at == route) {
			*at = route->next;
			break;
		}
	}
	pthread_mutex_unlock(&s->lock);
	if (watched) {
		bell_ring(s);
		return;
	}
	close(route->watch.fd);
	free(route);
}

static int loop_send(struct msi_sink *sink, const struct msi_msg *msg)
{
	return msi_sink_send(loop_sink_of(sink)->to, msg);
}

static const struct msi_sink_ops loop_sink_ops = {
	.send = loop_send,
	.route_new = loop_route_new,
	.route_set = loop_route_set,
	.route_free = loop_route_free,
};

int vfio_loop_sink_init(struct vfio_loop_sink *s, struct event_loop *loop, const char *name,
			struct msi_sink *to)
{
	int ret;

	*s = (struct vfio_loop_sink){
		.sink = {.ops = &loop_sink_ops, .devid = to->devid},
		.name = name,
		.bell = {.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
			 .events = POLLIN,
			 .drain = true,
			 .ready = bell_rung},
	};
	if (s->bell.fd < 0)
		return -errno;
	ret = event_loop_watch(loop, &s->bell);
	if (ret) {
		close(s->bell.fd);
		return ret;
	}
	pthread_mutex_init(&s->lock, NULL);
	s->to = to;
	s->loop = loop;
	return 0;
}

void vfio_loop_sink_fini(struct vfio_loop_sink *s)
{
	if (!s->loop)
		return;
	event_loop_unwatch(s->loop, &s->bell);
	close(s->bell.fd);
	loop_sink_sync(s);
	pthread_mutex_destroy(&s->lock);
	s->loop = NULL;
}
