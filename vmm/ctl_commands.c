// SPDX-License-Identifier: Apache-2.0
/* The requests of the control socket: one table of what each takes and in which states. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vmm/ctl.h"
#include "vmm/metrics.h"

#define RUNNING	  BIT(MACHINE_STATE_RUNNING)
#define PAUSING	  BIT(MACHINE_STATE_PAUSING)
#define PAUSED	  BIT(MACHINE_STATE_PAUSED)
#define RESETTING BIT(MACHINE_STATE_RESETTING)
#define ENDING	  BIT(MACHINE_STATE_ENDING)
#define ANY	  (RUNNING | PAUSING | PAUSED | RESETTING | ENDING)

static const char *const state_name[MACHINE_STATES] = {
	[MACHINE_STATE_RUNNING] = "running",	  [MACHINE_STATE_PAUSING] = "pausing",
	[MACHINE_STATE_PAUSED] = "paused",	  [MACHINE_STATE_RESETTING] = "resetting",
	[MACHINE_STATE_ENDING] = "shutting-down",
};

/* ---- replies ---- */

static struct json_out *reply_begin(struct ctl_client *client, bool ok)
{
	struct json_out *out = &client->out;

	out->len = client->sent = 0;
	out->comma = out->full = false;
	json_open(out, NULL, '{');
	json_bool(out, "ok", ok);
	if (client->command)
		json_string(out, "command", client->command);
	if (client->has_tag && client->tag_is_number)
		json_number(out, "tag", client->tag_number);
	else if (client->has_tag)
		json_string(out, "tag", client->tag);
	return out;
}

static void reply_end(struct ctl_client *client)
{
	json_close(&client->out, '}');
	json_raw(&client->out, "\n", 1);
	if (client->out.full)
		ctl_error(client, "failed", "the reply is too large, or memory is short");
}

static void reply(struct ctl_client *client)
{
	reply_begin(client, true);
	reply_end(client);
}

void ctl_error(struct ctl_client *client, const char *code, const char *format, ...)
{
	char message[CTL_ERROR_SIZE];
	struct json_out *out;
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	out = reply_begin(client, false);
	json_open(out, "error", '{');
	json_string(out, "code", code);
	json_string(out, "message", message);
	json_close(out, '}');
	json_close(out, '}');
	json_raw(out, "\n", 1);
	if (out->full)
		client->closing = true; /* not even room for that */
}

void ctl_put_address(struct json_out *out, unsigned segment, unsigned devfn)
{
	char address[24];

	snprintf(address, sizeof(address), "%04x:00:%02x.%x", segment & 0xffff, (devfn >> 3) & 0x1f,
		 devfn & 7);
	json_string(out, "address", address);
}

/* ---- commands ---- */

typedef int ctl_action(void *opaque);

/* RC of an action that has said into WHY what went wrong. */
static void reply_to(struct ctl_client *client, int rc, const char *why)
{
	if (!rc)
		reply(client);
	else if (rc != -EINPROGRESS)
		ctl_error(client, rc == -EBUSY ? "bad-state" : "failed", "%s",
			  *why ? why : strerror(-rc));
}

static void act(struct ctl_client *client, ctl_action *action)
{
	char why[CTL_ERROR_SIZE] = "";
	int rc;

	log_capture(why, sizeof(why));
	rc = action(client->ctl->config.opaque);
	log_capture(NULL, 0);
	reply_to(client, rc, why);
}

static void run_pause(struct ctl_client *client, const struct json_object *request)
{
	(void)request;
	/* Set first: the pause may be done before the action returns. */
	client->wait = CTL_WAIT_PAUSE;
	act(client, client->ctl->config.ops->pause);
	if (client->out.len)
		client->wait = CTL_WAIT_NONE;
}

void ctl_answer(struct ctl_client *client)
{
	client->wait = CTL_WAIT_NONE;
	reply(client);
}

void ctl_answer_late(struct ctl_client *client)
{
	client->wait = CTL_WAIT_NONE;
	ctl_error(client, "timeout",
		  "the guest has not let go of %s yet; it goes as soon as it does, or at the next "
		  "reset",
		  client->wait_id);
}

static void run_add(struct ctl_client *client, const struct json_object *request)
{
	const struct ctl_config *config = &client->ctl->config;
	char why[CTL_ERROR_SIZE] = "";
	struct json_out *out;
	struct ctl_device device = {0};
	int rc;

	log_capture(why, sizeof(why));
	rc = config->ops->add(config->opaque, json_find(request, "kind")->string,
			      json_find(request, "options")->string, &device);
	log_capture(NULL, 0);
	if (rc) {
		ctl_error(client, "failed", "%s%s", *why ? why : strerror(-rc),
			  sandbox_advice(-rc));
		return;
	}
	out = reply_begin(client, true);
	json_string(out, "id", device.id);
	ctl_put_address(out, device.segment, device.devfn);
	reply_end(client);
}

static void run_remove(struct ctl_client *client, const struct json_object *request)
{
	const struct ctl_config *config = &client->ctl->config;
	const struct json_member *timeout = json_find(request, "timeout");
	const char *id = json_find(request, "id")->string;
	uint64_t seconds = timeout ? timeout->number : CTL_TIMEOUT;
	char why[CTL_ERROR_SIZE] = "";
	int rc;

	if (seconds > CTL_TIMEOUT_MAX) {
		ctl_error(client, "bad-request", "\"timeout\" is at most %u seconds",
			  CTL_TIMEOUT_MAX);
		return;
	}
	log_capture(why, sizeof(why));
	rc = machine_id_good(id) ? config->ops->remove(config->opaque, id) : -ENOENT;
	log_capture(NULL, 0);
	if (rc == -ENOENT) {
		ctl_error(client, "not-found", "there is no device %.64s", id);
	} else if (rc != -EINPROGRESS) {
		reply_to(client, rc, why);
	} else {
		snprintf(client->wait_id, sizeof(client->wait_id), "%s", id);
		client->wait = CTL_WAIT_REMOVE;
		event_loop_timer_arm(config->loop, &client->timer, seconds * 1000000000);
	}
}

static void run_resume(struct ctl_client *client, const struct json_object *request)
{
	(void)request;
	act(client, client->ctl->config.ops->resume);
}

static void run_power_button(struct ctl_client *client, const struct json_object *request)
{
	(void)request;
	act(client, client->ctl->config.ops->power_button);
}

static void run_reset(struct ctl_client *client, const struct json_object *request)
{
	(void)request;
	act(client, client->ctl->config.ops->reset);
}

static void run_quit(struct ctl_client *client, const struct json_object *request)
{
	(void)request;
	act(client, client->ctl->config.ops->quit);
}

static void run_info(struct ctl_client *client, const struct json_object *request)
{
	const struct ctl_config *config = &client->ctl->config;
	struct json_out *out = reply_begin(client, true);

	(void)request;
	json_string(out, "state", state_name[config->ops->state(config->opaque)]);
	config->ops->info(config->opaque, out);
	reply_end(client);
}

static void run_list(struct ctl_client *client, const struct json_object *request)
{
	const struct ctl_config *config = &client->ctl->config;
	struct json_out *out = reply_begin(client, true);

	(void)request;
	json_open(out, "devices", '[');
	config->ops->list(config->opaque, out);
	json_close(out, ']');
	reply_end(client);
}

static void run_metrics(struct ctl_client *client, const struct json_object *request)
{
	const struct json_member *format = json_find(request, "format");
	const struct ctl_config *config = &client->ctl->config;
	bool text = format && !strcmp(format->string, "prometheus");
	struct metrics metrics = {0};
	struct json_out *out, body;

	if (format && !text && strcmp(format->string, "json") != 0) {
		ctl_error(client, "bad-request", "format must be \"json\" or \"prometheus\"");
		return;
	}
	config->ops->metrics(config->opaque, &metrics);
	out = reply_begin(client, true);
	if (text) {
		json_out_init(&body, CTL_REPLY_MAX);
		metrics_prometheus(&metrics, &body);
		json_raw(&body, "", 1);
		if (body.full)
			out->full = true;
		else
			json_string(out, "text", body.buf);
		json_out_free(&body);
	} else {
		metrics_json(&metrics, out, "metrics");
	}
	metrics_free(&metrics);
	reply_end(client);
}

/* ---- the table ---- */

#define TAKES_MAX 3u

static const struct ctl_request {
	const char *name;
	unsigned states;
	struct {
		const char *key;
		enum json_type type;
		bool needed;
	} takes[TAKES_MAX];
	void (*run)(struct ctl_client *client, const struct json_object *request);
} requests[] = {
	{.name = "info", .states = ANY, .run = run_info},
	{.name = "list", .states = ANY, .run = run_list},
	{.name = "metrics",
	 .states = ANY,
	 .takes = {{"format", JSON_STRING, false}},
	 .run = run_metrics},
	{.name = "pause", .states = RUNNING | PAUSING | PAUSED, .run = run_pause},
	{.name = "resume", .states = RUNNING | PAUSED, .run = run_resume},
	{.name = "power-button", .states = RUNNING | PAUSING | PAUSED, .run = run_power_button},
	{.name = "reset", .states = RUNNING | PAUSED, .run = run_reset},
	{.name = "quit", .states = ANY, .run = run_quit},
	{.name = "add",
	 .states = RUNNING | PAUSED,
	 .takes = {{"kind", JSON_STRING, true}, {"options", JSON_STRING, true}},
	 .run = run_add},
	{.name = "remove",
	 .states = RUNNING | PAUSED,
	 .takes = {{"id", JSON_STRING, true}, {"timeout", JSON_NUMBER, false}},
	 .run = run_remove},
};

/* Whether MEMBER may be there; *TYPE is what it has to be. */
static bool takes(const struct ctl_request *r, const char *key, enum json_type *type)
{
	for (unsigned i = 0; i < TAKES_MAX && r->takes[i].key; i++) {
		if (!strcmp(r->takes[i].key, key)) {
			*type = r->takes[i].type;
			return true;
		}
	}
	return false;
}

static bool members_good(struct ctl_client *client, const struct ctl_request *r,
			 const struct json_object *object)
{
	static const char *const types[] = {
		[JSON_STRING] = "a string",
		[JSON_NUMBER] = "a whole number",
		[JSON_BOOL] = "true or false",
		[JSON_NULL] = "null",
	};

	for (unsigned i = 0; i < object->count; i++) {
		const struct json_member *m = &object->member[i];
		enum json_type type;

		if (!strcmp(m->key, "command") || !strcmp(m->key, "tag"))
			continue;
		if (!takes(r, m->key, &type)) {
			ctl_error(client, "bad-request", "%s takes no member \"%.64s\"", r->name,
				  m->key);
			return false;
		}
		if (m->type != type || (type == JSON_NUMBER && !m->whole)) {
			ctl_error(client, "bad-request", "\"%s\" must be %s", m->key, types[type]);
			return false;
		}
	}
	for (unsigned i = 0; i < TAKES_MAX && r->takes[i].key; i++) {
		if (r->takes[i].needed && !json_find(object, r->takes[i].key)) {
			ctl_error(client, "bad-request", "%s needs the member \"%s\"", r->name,
				  r->takes[i].key);
			return false;
		}
	}
	return true;
}

static bool take_tag(struct ctl_client *client, const struct json_object *object)
{
	const struct json_member *tag = json_find(object, "tag");

	if (!tag)
		return true;
	if (tag->type == JSON_NUMBER && tag->whole) {
		client->tag_number = tag->number;
		client->tag_is_number = true;
	} else if (tag->type == JSON_STRING && strlen(tag->string) < sizeof(client->tag)) {
		memcpy(client->tag, tag->string, strlen(tag->string) + 1);
	} else {
		ctl_error(client, "bad-request",
			  "\"tag\" must be a string of less than %u bytes or a whole number",
			  CTL_TAG_SIZE);
		return false;
	}
	client->has_tag = true;
	return true;
}

static void dispatch(struct ctl_client *client, const struct json_object *object)
{
	const struct ctl_config *config = &client->ctl->config;
	const struct json_member *command = json_find(object, "command");
	enum machine_state state = config->ops->state(config->opaque);

	if (!take_tag(client, object))
		return;
	if (!command || command->type != JSON_STRING) {
		ctl_error(client, "bad-request", "a request needs the member \"command\"");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		const struct ctl_request *r = &requests[i];

		if (strcmp(r->name, command->string) != 0)
			continue;
		client->command = r->name;
		if (!members_good(client, r, object))
			return;
		if (r->states & BIT(state))
			r->run(client, object);
		else
			ctl_error(client, "bad-state", "not while the machine is %s",
				  state_name[state]);
		return;
	}
	ctl_error(client, "unknown-command", "there is no command \"%.64s\"", command->string);
}

void ctl_command(struct ctl_client *client, char *line, size_t len)
{
	struct json_object object;
	const char *why;

	client->command = NULL;
	client->has_tag = client->tag_is_number = false;
	if (json_parse(line, len, &object, &why))
		ctl_error(client, "bad-request", "the line is no request: %s", why);
	else
		dispatch(client, &object);
}
