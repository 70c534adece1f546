/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: a stream socket on which each request is one line of JSON and so is each
 * reply (postern-ctl(1) documents them). Served by the event loop; clients cannot make it wait:
 * lines and replies are bounded, a client's next request is read when its last reply has been
 * taken, and there are only so many clients.
 *
 * What the commands do to a machine goes through struct ctl_ops. Internal to vmm/.
 */
#ifndef POSTERN_CTL_H
#define POSTERN_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "postern/event_loop.h"
#include "vmm/json.h"
#include "vmm/machine.h"

#define CTL_CLIENTS_MAX	 16u
#define CTL_LINE_MAX	 4096u	      /* of a request, its newline included */
#define CTL_REPLY_MAX	 (1024 * KIB) /* a client that does not take it is kept waiting */
#define CTL_TAG_SIZE	 64u
#define CTL_TIMEOUT	 30u /* seconds that remove waits for the guest, if not told */
#define CTL_TIMEOUT_MAX	 3600u
#define CTL_ERROR_SIZE	 512u
#define CTL_BACKLOG	 16
#define CTL_ACCEPT_RETRY UINT64_C(1000000000) /* nanoseconds, where descriptors have run out */

struct ctl;
struct metrics;

/* What was added. */
struct ctl_device {
	const char *id;
	unsigned segment, devfn;
};

/*
 * Each returns 0 or -errno after saying why with log_error(), on the loop's thread; -EINPROGRESS
 * where ctl_paused() or ctl_removed() is called later.
 */
struct ctl_ops {
	enum machine_state (*state)(void *opaque);
	int (*pause)(void *opaque);
	int (*resume)(void *opaque);
	int (*power_button)(void *opaque);
	int (*reset)(void *opaque);
	int (*quit)(void *opaque);
	int (*add)(void *opaque, const char *kind, const char *options, struct ctl_device *device);
	/* -ENOENT without a word: there is no such device. */
	int (*remove)(void *opaque, const char *id);
	/* Members of the open object OUT. */
	void (*info)(void *opaque, struct json_out *out);
	/* Objects of the open array OUT. */
	void (*list)(void *opaque, struct json_out *out);
	void (*metrics)(void *opaque, struct metrics *metrics);
};

struct ctl_config {
	struct event_loop *loop;
	const char *path; /* or NULL with FD */
	int fd;		  /* listening; owned by the control socket from then on */
	const struct ctl_ops *ops;
	void *opaque;
};

/* 0 or -errno after saying why. */
int ctl_new(const struct ctl_config *config, struct ctl **ctl);
/* Removes the socket's file if it is still the one that ctl_new() made. */
void ctl_free(struct ctl *ctl);

/* The machine is paused now: whoever waits for it is answered. */
void ctl_paused(struct ctl *ctl);
/* The device of this id is gone. */
void ctl_removed(struct ctl *ctl, const char *id);

/* ---- between ctl.c, which moves lines, and ctl_commands.c, which knows what they mean ---- */

enum ctl_wait { CTL_WAIT_NONE, CTL_WAIT_PAUSE, CTL_WAIT_REMOVE };

struct ctl_client {
	struct ctl *ctl;
	struct ctl_client *next;
	struct event_watch watch;
	bool watching, eof, closing; /* closing: once the reply is out */
	char in[CTL_LINE_MAX + 1];
	size_t in_len;
	struct json_out out;
	size_t sent; /* of OUT */
	enum ctl_wait wait;
	bool answered; /* a reply is there that nobody sends yet */
	char wait_id[MACHINE_ID_SIZE];
	struct event_timer timer; /* while it waits for a removal */
	/* Of the request that is being answered. */
	const char *command; /* static, or NULL: not known */
	char tag[CTL_TAG_SIZE];
	uint64_t tag_number;
	bool has_tag, tag_is_number;
};

struct ctl {
	struct ctl_config config;
	int fd;
	struct event_watch listener;
	struct event_timer retry;
	bool listening, own_file;
	uint64_t file_dev, file_ino;
	struct ctl_client *clients;
	unsigned count;
	struct event_work answers; /* of clients that waited */
};

/* Answer LINE of LEN bytes (with room for one more) into client->out, or leave client->wait set. */
void ctl_command(struct ctl_client *client, char *line, size_t len);
/* Answer the request that CLIENT waits with. */
void ctl_answer(struct ctl_client *client);
/* The time of a removal is over. */
void ctl_answer_late(struct ctl_client *client);
/* The member "address": where the guest sees a device. */
void ctl_put_address(struct json_out *out, unsigned segment, unsigned devfn);
void ctl_error(struct ctl_client *client, const char *code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
