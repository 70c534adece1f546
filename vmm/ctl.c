// SPDX-License-Identifier: Apache-2.0
/* The control socket: its file, its clients, and lines in and out of them. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/ctl.h"

/* ---- clients ---- */

static void client_free(struct ctl_client *client)
{
	struct ctl_client **at = &client->ctl->clients;

	while (*at != client)
		at = &(*at)->next;
	*at = client->next;
	client->ctl->count--;
	event_loop_timer_cancel(client->ctl->config.loop, &client->timer);
	if (client->watching)
		event_loop_unwatch(client->ctl->config.loop, &client->watch);
	close(client->watch.fd);
	json_out_free(&client->out);
	free(client);
}

/* Wait for EVENTS; a client that cannot be waited for has to go. */
static void client_watch(struct ctl_client *client, short events)
{
	struct event_loop *loop = client->ctl->config.loop;

	if (client->watching && client->watch.events == events)
		return;
	if (client->watching)
		event_loop_unwatch(loop, &client->watch);
	client->watch.events = events;
	client->watching = !event_loop_watch(loop, &client->watch);
	if (!client->watching)
		client_free(client);
}

/* 0: all of the reply is out; -EAGAIN: the socket is full; else the client is gone. */
static int client_flush(struct ctl_client *client)
{
	while (client->sent < client->out.len) {
		ssize_t n = send(client->watch.fd, client->out.buf + client->sent,
				 client->out.len - client->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		client->sent += (size_t)n;
	}
	/* A large reply's buffer is not kept. */
	json_out_free(&client->out);
	client->sent = 0;
	return 0;
}

/* Answer the next line, if it is whole. */
static bool client_line(struct ctl_client *client)
{
	char line[sizeof(client->in)], *end = memchr(client->in, '\n', client->in_len);
	size_t len, used;

	if (end) {
		len = (size_t)(end - client->in);
		used = len + 1;
	} else if (client->in_len == CTL_LINE_MAX) {
		client->command = NULL;
		client->has_tag = false;
		client->closing = true;
		client->in_len = 0;
		ctl_error(client, "too-long", "a request has at most %u bytes", CTL_LINE_MAX - 1);
		return true;
	} else if (client->eof && client->in_len) {
		len = used = client->in_len;
	} else {
		return false;
	}
	memcpy(line, client->in, len);
	client->in_len -= used;
	memmove(client->in, client->in + used, client->in_len);
	ctl_command(client, line, len);
	return true;
}

/* Go on as far as it goes. Frees CLIENT when there is nothing more to come. */
static void client_run(struct ctl_client *client)
{
	do {
		int rc = client_flush(client);

		if (rc == -EAGAIN) {
			client_watch(client, POLLOUT);
			return;
		}
		if (rc || client->closing) {
			client_free(client);
			return;
		}
		if (client->wait) {
			client_watch(client,
				     0); /* of a client that has gone, POLLHUP still comes */
			return;
		}
	} while (client_line(client));
	if (client->eof)
		client_free(client);
	else
		client_watch(client, POLLIN);
}

static void client_ready(struct event_watch *watch, short revents)
{
	struct ctl_client *client = container_of(watch, struct ctl_client, watch);
	ssize_t n;

	if (watch->events == POLLIN) {
		n = recv(watch->fd, client->in + client->in_len, CTL_LINE_MAX - client->in_len,
			 MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			client_free(client);
			return;
		}
		client->eof = n == 0;
		client->in_len += n > 0 ? (size_t)n : 0;
	} else if (revents & (POLLERR | POLLHUP | POLLNVAL)) {
		client_free(client);
		return;
	}
	client_run(client);
}

static void client_late(struct event_timer *timer);

static void client_new(struct ctl *ctl, int fd)
{
	static const char busy[] = "{\"ok\":false,\"error\":{\"code\":\"busy\",\"message\":"
				   "\"there are too many connections\"}}\n";
	struct ctl_client *client =
		ctl->count < CTL_CLIENTS_MAX ? calloc(1, sizeof(*client)) : NULL;

	if (!client) {
		/* A socket that is new takes this much at once. */
		if (send(fd, busy, sizeof(busy) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			log_debug("control socket: %s", strerror(errno));
		close(fd);
		return;
	}
	client->ctl = ctl;
	client->watch = (struct event_watch){.fd = fd, .ready = client_ready};
	client->timer.expired = client_late;
	json_out_init(&client->out, CTL_REPLY_MAX);
	client->next = ctl->clients;
	ctl->clients = client;
	ctl->count++;
	client_watch(client, POLLIN);
}

/*
 * Answer all that wait for WAIT (and for device ID). Nobody goes on from here, which may be inside
 * the command of another client, or of the same: what a client does next may free it.
 */
static void answer_waiting(struct ctl *ctl, enum ctl_wait wait, const char *id)
{
	for (struct ctl_client *client = ctl->clients; client; client = client->next) {
		if (client->wait != wait || (id && strcmp(client->wait_id, id) != 0))
			continue;
		event_loop_timer_cancel(ctl->config.loop, &client->timer);
		ctl_answer(client);
		client->answered = true;
		event_loop_post(ctl->config.loop, &ctl->answers);
	}
}

/* Each may free itself and, by what it does, have others answered: from the front again. */
static void run_answers(struct event_work *work)
{
	struct ctl *ctl = container_of(work, struct ctl, answers);
	struct ctl_client *client = ctl->clients;

	while (client) {
		if (!client->answered) {
			client = client->next;
			continue;
		}
		client->answered = false;
		client_run(client);
		client = ctl->clients;
	}
}

void ctl_paused(struct ctl *ctl)
{
	answer_waiting(ctl, CTL_WAIT_PAUSE, NULL);
}

void ctl_removed(struct ctl *ctl, const char *id)
{
	answer_waiting(ctl, CTL_WAIT_REMOVE, id);
}

static void client_late(struct event_timer *timer)
{
	struct ctl_client *client = container_of(timer, struct ctl_client, timer);

	ctl_answer_late(client);
	client_run(client);
}

/* ---- the socket ---- */

static void listener_ready(struct event_watch *watch, short revents)
{
	struct ctl *ctl = container_of(watch, struct ctl, listener);
	int fd = accept4(ctl->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)revents;
	if (fd >= 0) {
		client_new(ctl, fd);
	} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
		/* It stays ready: do not spin on it. */
		log_warning("control socket: a connection has to wait: %s", strerror(errno));
		event_loop_unwatch(ctl->config.loop, &ctl->listener);
		ctl->listening = false;
		event_loop_timer_arm(ctl->config.loop, &ctl->retry, CTL_ACCEPT_RETRY);
	}
}

static void listen_again(struct event_timer *timer)
{
	struct ctl *ctl = container_of(timer, struct ctl, retry);

	ctl->listening = !event_loop_watch(ctl->config.loop, &ctl->listener);
	if (!ctl->listening)
		event_loop_timer_arm(ctl->config.loop, timer, CTL_ACCEPT_RETRY);
}

/* Whether a socket file at ADDRESS was left behind by a process that is gone; then it is removed.
 */
static bool remove_stale(const struct sockaddr_un *address)
{
	struct ucred listener = {0};
	socklen_t len = sizeof(listener);
	struct stat st;
	int fd, rc;

	if (lstat(address->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	rc = connect(fd, (const struct sockaddr *)address, sizeof(*address)) ? errno : 0;
	/* The kernel may still be taking apart the io_uring of a process that was killed. */
	if (!rc && !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &listener, &len) && listener.pid > 0 &&
	    kill(listener.pid, 0) && errno == ESRCH)
		rc = ECONNREFUSED;
	close(fd);
	return rc == ECONNREFUSED && !unlink(address->sun_path);
}

static int bind_private(int fd, const struct sockaddr_un *address)
{
	/* For its owner only from the first moment. No other thread makes files by now. */
	mode_t mask = umask(0177);
	int rc = bind(fd, (const struct sockaddr *)address, sizeof(*address)) ? -errno : 0;

	umask(mask);
	return rc;
}

static int socket_make(struct ctl *ctl, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat st;
	int rc;

	if (strlen(path) >= sizeof(address.sun_path)) {
		log_error("--ctl %s: a socket's path has at most %zu bytes", path,
			  sizeof(address.sun_path) - 1);
		return -ENAMETOOLONG;
	}
	memcpy(address.sun_path, path, strlen(path));
	ctl->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = ctl->fd < 0 ? -errno : bind_private(ctl->fd, &address);
	if (rc == -EADDRINUSE && remove_stale(&address))
		rc = bind_private(ctl->fd, &address);
	if (!rc && !lstat(path, &st)) {
		ctl->own_file = true;
		ctl->file_dev = st.st_dev;
		ctl->file_ino = st.st_ino;
	}
	if (!rc && listen(ctl->fd, CTL_BACKLOG))
		rc = -errno;
	if (rc == -EADDRINUSE)
		log_error("--ctl %s: this file exists: another machine listens there, or it is no "
			  "socket; name another, or remove it",
			  path);
	else if (rc)
		log_error("--ctl %s: cannot listen there: %s", path, strerror(-rc));
	return rc;
}

static int socket_take(struct ctl *ctl, int fd)
{
	int listening = 0, flags = fcntl(fd, F_GETFL);
	socklen_t len = sizeof(listening);

	if (flags < 0 || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) ||
	    !listening) {
		log_error("--ctl fd=%d: this is no listening socket", fd);
		return -EINVAL;
	}
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	ctl->fd = fd;
	return 0;
}

int ctl_new(const struct ctl_config *config, struct ctl **out)
{
	struct ctl *ctl = calloc(1, sizeof(*ctl));
	int rc;

	if (!ctl)
		return -ENOMEM;
	ctl->config = *config;
	ctl->fd = -1;
	ctl->retry.expired = listen_again;
	ctl->answers.run = run_answers;
	rc = config->path ? socket_make(ctl, config->path) : socket_take(ctl, config->fd);
	if (!rc) {
		ctl->listener = (struct event_watch){
			.fd = ctl->fd, .events = POLLIN, .ready = listener_ready};
		rc = event_loop_watch(config->loop, &ctl->listener);
		ctl->listening = !rc;
		if (rc)
			log_error("--ctl: cannot watch the socket: %s", strerror(-rc));
	}
	if (rc) {
		ctl_free(ctl);
		return rc;
	}
	*out = ctl;
	return 0;
}

void ctl_free(struct ctl *ctl)
{
	struct ctl_client *client, *next;
	struct stat st;

	if (!ctl)
		return;
	for (client = ctl->clients; client; client = next) {
		next = client->next;
		client_free(client);
	}
	event_loop_timer_cancel(ctl->config.loop, &ctl->retry);
	if (ctl->listening)
		event_loop_unwatch(ctl->config.loop, &ctl->listener);
	if (ctl->own_file && !lstat(ctl->config.path, &st) && st.st_dev == ctl->file_dev &&
	    st.st_ino == ctl->file_ino)
		unlink(ctl->config.path);
	if (ctl->fd >= 0)
		close(ctl->fd);
	free(ctl);
}
