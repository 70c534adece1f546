// SPDX-License-Identifier: Apache-2.0
/*
 * The control socket in front of a machine that is not there: clients that come and go, lines in
 * pieces and of any bytes. Each whole line has one reply, in a line, and nobody is forgotten.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "postern/log.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/ctl.h"
#include "vmm/metrics.h"

#define CLIENTS 3u

static struct event_loop *loop;
static struct ctl *ctl;
static enum machine_state state;
static bool fails, slow;
static struct sockaddr_un address;
static socklen_t address_len;
static struct {
	int fd;
	unsigned lines, replies;
} client[CLIENTS];

static enum machine_state fake_state(void *opaque)
{
	(void)opaque;
	return state;
}

static int fake_action(void *opaque)
{
	(void)opaque;
	if (fails)
		log_error("the fake is \"out of order\" \xff\x01");
	return fails ? -EIO : 0;
}

static int fake_pause(void *opaque)
{
	if (state == MACHINE_STATE_PAUSING || slow)
		return -EINPROGRESS;
	return fake_action(opaque);
}

static void fake_info(void *opaque, struct json_out *out)
{
	(void)opaque;
	json_string(out, "name", "\xc3\x28\"\n");
}

static void fake_list(void *opaque, struct json_out *out)
{
	fake_info(opaque, out);
}

static void fake_metrics(void *opaque, struct metrics *metrics)
{
	(void)opaque;
	metric_counter(metrics, "disk.reads", "disk\"0\\", 7);
}

static const struct ctl_ops ops = {
	.state = fake_state,
	.pause = fake_pause,
	.resume = fake_action,
	.power_button = fake_action,
	.reset = fake_action,
	.quit = fake_action,
	.info = fake_info,
	.list = fake_list,
	.metrics = fake_metrics,
};

struct turns {
	struct event_work work;
	unsigned left;
};

static void turn(struct event_work *work)
{
	struct turns *t = container_of(work, struct turns, work);

	if (t->left-- == 0)
		event_loop_stop(loop);
	else
		event_loop_post(loop, work);
}

static void settle(unsigned turns)
{
	struct turns t = {.work = {.run = turn}, .left = turns};

	event_loop_post(loop, &t.work);
	require(!event_loop_run(loop));
}

static void start(void)
{
	struct ctl_config config = {.ops = &ops, .fd = socket(AF_UNIX, SOCK_STREAM, 0)};

	/* A name that the kernel chooses, in no file system. */
	address = (struct sockaddr_un){.sun_family = AF_UNIX};
	address_len = sizeof(address);
	require(!bind(config.fd, (struct sockaddr *)&address, sizeof(sa_family_t)));
	require(!getsockname(config.fd, (struct sockaddr *)&address, &address_len));
	require(!listen(config.fd, 4));
	require(!event_loop_new(EVENT_LOOP_POLL, &loop));
	config.loop = loop;
	require(!ctl_new(&config, &ctl));
	state = MACHINE_STATE_RUNNING;
	fails = slow = false;
	for (unsigned i = 0; i < CLIENTS; i++)
		client[i].fd = -1;
}

/* Replies are whole lines of printable text, one for each line that was sent. */
static void read_replies(unsigned i)
{
	char bytes[4096];
	ssize_t n;

	while ((n = recv(client[i].fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		for (ssize_t at = 0; at < n; at++) {
			client[i].replies += bytes[at] == '\n';
			require(bytes[at] == '\n' || (unsigned char)bytes[at] >= 0x20,
				"byte %02x in a reply", (unsigned char)bytes[at]);
		}
	require(client[i].replies <= client[i].lines, "%u replies to %u lines", client[i].replies,
		client[i].lines);
}

static void hang_up(unsigned i)
{
	if (client[i].fd >= 0)
		close(client[i].fd);
	client[i].fd = -1;
}

static void op_connect(unsigned i)
{
	hang_up(i);
	client[i].fd = socket(AF_UNIX, SOCK_STREAM, 0);
	client[i].lines = client[i].replies = 0;
	require(client[i].fd >= 0);
	require(!connect(client[i].fd, (struct sockaddr *)&address, address_len));
	settle(2);
}

static void op_send(unsigned i, struct input *in)
{
	static const char *const lines[] = {"{\"command\":\"info\",\"tag\":1}\n",
					    "{\"command\":\"metrics\",\"format\":\"json\"}\n",
					    "{\"command\":\"metrics\",\"format\":\"prometheus\"}\n",
					    "{\"command\":\"pause\"}\n",
					    "{\"command\":\"resume\"}\n",
					    "{\"command\":\"list\",\"tag\":\"\\u00e4\"}\n",
					    "{\"command\":\"quit\"}\n"};
	const unsigned how = input_u8(in);
	char bytes[256];
	size_t len;

	if (client[i].fd < 0)
		return;
	if (how % 8 < ARRAY_SIZE(lines)) {
		len = strlen(lines[how % 8]);
		memcpy(bytes, lines[how % 8], len);
		if (how & 0x80) /* a part, or with a byte that is wrong */
			len = input_u8(in) % len;
		else if (how & 0x40)
			bytes[input_u8(in) % len] = (char)input_u8(in);
	} else {
		len = input_copy(in, bytes, how >> 3);
		for (unsigned n = 0; how & 0x80 && n < 20 && len; n++) /* long lines */
			send(client[i].fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		client[i].lines += how & 0x80 ? 20 * (unsigned)len : 0;
	}
	if (len && send(client[i].fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		for (size_t at = 0; at < len; at++)
			client[i].lines += bytes[at] == '\n';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	start();
	op_connect(0);
	while (in.left) {
		const unsigned how = input_u8(&in), i = (how >> 4) % CLIENTS;

		switch (how & 7) {
		case 0:
			op_connect(i);
			break;
		case 1:
		case 2:
		case 3:
			op_send(i, &in);
			break;
		case 4:
			settle(3);
			if (client[i].fd >= 0)
				read_replies(i);
			break;
		case 5:
			state = (enum machine_state)(how >> 4) % MACHINE_STATES;
			fails = how & 8;
			slow = how & 0x80;
			break;
		case 6:
			state = MACHINE_STATE_PAUSED;
			ctl_paused(ctl);
			break;
		default:
			if (how & 8)
				hang_up(i);
			else if (client[i].fd >= 0) {
				/* What is left counts as a line. */
				client[i].lines++;
				shutdown(client[i].fd, SHUT_WR);
			}
		}
	}
	ctl_paused(ctl);
	settle(8);
	for (unsigned i = 0; i < CLIENTS; i++)
		hang_up(i);
	settle(8);
	require(!ctl->count && !ctl->clients, "%u clients are left", ctl->count);
	ctl_free(ctl);
	event_loop_free(loop);
	return 0;
}
