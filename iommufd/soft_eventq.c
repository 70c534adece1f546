// SPDX-License-Identifier: Apache-2.0
/*
 * Soft fault queues and vEVENTQs, with the rules of Linux drivers/iommu/iommufd/eventq.c.
 *
 * Records wait in memory. The descriptor that the user has is one end of a socket pair: it holds
 * one byte while records wait, so that it can be polled, and its closing says that the queue is
 * used no longer. The engine does no page requests, so that a fault queue stays empty.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "iommufd/soft.h"

enum { VEVENTQ_DEPTH_MAX = 1 << 19 };

bool soft_eventq_is_open(const struct soft_eventq *queue)
{
	struct pollfd pfd = {.fd = queue->fd};

	return poll(&pfd, 1, 0) <= 0 || !(pfd.revents & (POLLERR | POLLHUP));
}

/* USER is a descriptor of QUEUE's other end, maybe a duplicate. */
static bool is_end_of(const struct soft_eventq *queue, int user)
{
	struct stat st;

	return !fstat(user, &st) && st.st_ino == queue->ino;
}

/* *USER is the descriptor for the user. QUEUE may be found already: soft->lock covers the change.
 */
static int eventq_init(struct iommufd_soft *soft, struct soft_eventq *queue, int *user)
{
	struct stat st;
	int end[2], rc;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, end))
		return -errno;
	if (fstat(end[0], &st)) {
		rc = -errno;
		close(end[0]);
		close(end[1]);
		return rc;
	}
	pthread_mutex_lock(&soft->lock);
	queue->ino = st.st_ino;
	queue->fd = end[1];
	queue->last = &queue->first;
	pthread_mutex_unlock(&soft->lock);
	*user = end[0];
	return 0;
}

int soft_fault_alloc(struct soft_call *call)
{
	struct iommu_fault_alloc *cmd = call->cmd;
	struct soft_eventq *queue;
	int fd = -1, rc;

	if (cmd->flags)
		return -EOPNOTSUPP;
	queue = soft_object_new(call->soft, SOFT_FAULT, sizeof(*queue));
	if (!queue)
		return -ENOMEM;
	rc = eventq_init(call->soft, queue, &fd);
	if (rc) {
		soft_object_abort(call->soft, queue);
		return rc;
	}
	cmd->out_fault_id = queue->object.id;
	cmd->out_fault_fd = (uint32_t)fd;
	soft_respond(call);
	soft_object_publish(call->soft, queue);
	return 0;
}

void soft_fault_destroy(struct iommufd_soft *soft, struct soft_object *object)
{
	(void)soft;
	close(container_of(object, struct soft_eventq, object)->fd);
}

static struct soft_eventq *find_veventq(const struct soft_viommu *viommu, uint32_t type)
{
	struct soft_eventq *queue = viommu->veventqs;

	while (queue && queue->type != type)
		queue = queue->next;
	return queue;
}

static int veventq_link(struct iommufd_soft *soft, struct soft_eventq *queue)
{
	struct soft_viommu *viommu = queue->viommu;
	int rc = 0;

	pthread_mutex_lock(&soft->lock);
	if (find_veventq(viommu, queue->type)) {
		rc = -EEXIST;
	} else {
		queue->next = viommu->veventqs;
		viommu->veventqs = queue;
		viommu->object.users++;
	}
	pthread_mutex_unlock(&soft->lock);
	return rc;
}

static void veventq_unlink(struct iommufd_soft *soft, struct soft_eventq *queue)
{
	struct soft_eventq **link = &queue->viommu->veventqs;

	pthread_mutex_lock(&soft->lock);
	while (*link != queue)
		link = &(*link)->next;
	*link = queue->next;
	queue->viommu->object.users--;
	pthread_mutex_unlock(&soft->lock);
}

int soft_veventq_alloc(struct soft_call *call)
{
	struct iommu_veventq_alloc *cmd = call->cmd;
	struct soft_eventq *queue;
	struct soft_viommu *viommu;
	int fd = -1, rc;

	if (cmd->flags || cmd->__reserved || cmd->type == IOMMU_VEVENTQ_TYPE_DEFAULT)
		return -EOPNOTSUPP;
	if (!cmd->veventq_depth || cmd->veventq_depth > VEVENTQ_DEPTH_MAX)
		return -EINVAL;
	viommu = soft_object_get(call->soft, cmd->viommu_id, SOFT_VIOMMU);
	if (!viommu)
		return -ENOENT;
	queue = soft_object_new(call->soft, SOFT_VEVENTQ, sizeof(*queue));
	if (!queue) {
		rc = -ENOMEM;
		goto out_viommu;
	}
	queue->viommu = viommu;
	queue->type = cmd->type;
	queue->depth = cmd->veventq_depth;
	rc = veventq_link(call->soft, queue);
	if (rc)
		goto abort;
	rc = eventq_init(call->soft, queue, &fd);
	if (rc)
		goto unlink;
	cmd->out_veventq_id = queue->object.id;
	cmd->out_veventq_fd = (uint32_t)fd;
	soft_respond(call);
	soft_object_publish(call->soft, queue);
	goto out_viommu;

unlink:
	veventq_unlink(call->soft, queue);
abort:
	soft_object_abort(call->soft, queue);
out_viommu:
	soft_object_put(call->soft, viommu);
	return rc;
}

void soft_veventq_destroy(struct iommufd_soft *soft, struct soft_object *object)
{
	struct soft_eventq *queue = container_of(object, struct soft_eventq, object);

	veventq_unlink(soft, queue);
	while (queue->first) {
		struct soft_vevent *event = queue->first;

		queue->first = event->next;
		free(event);
	}
	close(queue->fd);
}

static bool is_empty(const struct soft_eventq *queue)
{
	return !queue->first && !queue->lost;
}

/* The header for a loss moves behind what is new, or goes. EVENT NULL: there is a loss. */
static void veventq_add(struct soft_eventq *queue, struct soft_vevent *event)
{
	const char byte = 0;

	if (is_empty(queue)) {
		/* It fits into an empty socket; nobody misses it when the user's end is gone. */
		ssize_t n = send(queue->fd, &byte, 1, MSG_NOSIGNAL);

		(void)n;
	}
	queue->lost = !event;
	if (event) {
		event->header.sequence = queue->sequence;
		*queue->last = event;
		queue->last = &event->next;
		queue->queued++;
	} else {
		queue->lost_sequence = queue->sequence;
	}
	queue->sequence = (queue->sequence + 1) & INT_MAX;
}

int iommufd_soft_vevent_report(struct iommufd *ctx, uint32_t viommu_id, uint32_t type,
			       const void *data, size_t len)
{
	struct iommufd_soft *soft = to_soft(ctx);
	struct soft_vevent *event;
	struct soft_eventq *queue;
	struct soft_viommu *viommu;
	int rc = 0;

	if (!iommufd_is_soft(ctx))
		return -EOPNOTSUPP;
	if (!len || !data)
		return -EINVAL;
	viommu = soft_object_get(soft, viommu_id, SOFT_VIOMMU);
	if (!viommu)
		return -ENOENT;
	event = calloc(1, sizeof(*event) + len);
	if (event) {
		event->len = len;
		memcpy(event->data, data, len);
	}
	pthread_mutex_lock(&soft->lock);
	queue = find_veventq(viommu, type);
	if (!queue || !queue->last) {
		rc = -EOPNOTSUPP; /* none, or not published yet */
	} else if (!event) {
		rc = -ENOMEM;
		veventq_add(queue, NULL);
	} else if (queue->queued == queue->depth) {
		veventq_add(queue, NULL);
	} else {
		veventq_add(queue, event);
		event = NULL;
	}
	pthread_mutex_unlock(&soft->lock);
	free(event);
	soft_object_put(soft, viommu);
	return rc;
}

static void drop_first(struct soft_eventq *queue)
{
	struct soft_vevent *event = queue->first;

	queue->first = event->next;
	if (!queue->first)
		queue->last = &queue->first;
	queue->queued--;
	free(event);
}

static ssize_t veventq_read(struct soft_eventq *queue, int fd, uint8_t *buf, size_t len)
{
	const size_t header = sizeof(struct iommufd_vevent_header);
	bool empty = is_empty(queue);
	size_t done = 0;
	char byte;

	if (len < header)
		return -EINVAL;
	while (queue->first && header + queue->first->len <= len - done) {
		memcpy(buf + done, &queue->first->header, header);
		memcpy(buf + done + header, queue->first->data, queue->first->len);
		done += header + queue->first->len;
		drop_first(queue);
	}
	if (!queue->first && queue->lost && header <= len - done) {
		const struct iommufd_vevent_header lost = {.flags = IOMMU_VEVENTQ_FLAG_LOST_EVENTS,
							   .sequence = queue->lost_sequence};

		memcpy(buf + done, &lost, header);
		done += header;
		queue->lost = false;
	}
	if (!empty && is_empty(queue)) {
		/* The byte is there for poll(2) alone: what was read is the caller's without it. */
		ssize_t n = read(fd, &byte, 1);

		(void)n;
	}
	return done || is_empty(queue) ? (ssize_t)done : -EINVAL;
}

static struct soft_eventq *eventq_get(struct iommufd_soft *soft, uint32_t id)
{
	struct soft_eventq *queue = soft_object_get(soft, id, SOFT_VEVENTQ);

	return queue ? queue : soft_object_get(soft, id, SOFT_FAULT);
}

ssize_t soft_eventq_read(struct iommufd *ctx, uint32_t id, int fd, void *buf, size_t len)
{
	struct iommufd_soft *soft = to_soft(ctx);
	struct soft_eventq *queue = eventq_get(soft, id);
	ssize_t rc;

	if (!queue)
		return -ENOENT;
	pthread_mutex_lock(&soft->lock);
	if (!is_end_of(queue, fd))
		rc = -EBADF;
	else if (queue->object.type == SOFT_VEVENTQ)
		rc = veventq_read(queue, fd, buf, len);
	else
		rc = len % sizeof(struct iommu_hwpt_pgfault) ? -ESPIPE : 0;
	pthread_mutex_unlock(&soft->lock);
	soft_object_put(soft, queue);
	return rc;
}

ssize_t soft_fault_respond(struct iommufd *ctx, uint32_t id, int fd, const void *responses,
			   size_t len)
{
	struct iommufd_soft *soft = to_soft(ctx);
	struct soft_eventq *queue = soft_object_get(soft, id, SOFT_FAULT);
	ssize_t rc;

	(void)responses;
	if (!queue)
		return -ENOENT;
	if (!is_end_of(queue, fd))
		rc = -EBADF;
	else if (len % sizeof(struct iommu_hwpt_page_response))
		rc = -ESPIPE;
	else
		rc = len ? -EINVAL : 0; /* no request is waiting for an answer */
	soft_object_put(soft, queue);
	return rc;
}
