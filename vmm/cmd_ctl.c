// SPDX-License-Identifier: Apache-2.0
/* postern ctl: one request to a machine's control socket, and its reply on standard output. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/command.h"
#include "vmm/ctl.h"
#include "vmm/options.h"

static void usage(FILE *to)
{
	fprintf(to,
		"Usage: postern ctl SOCKET COMMAND\n\n"
		"Send a command to the machine whose --ctl is SOCKET; the reply, one line of JSON, "
		"goes to\nstandard output.\n\nCommands:\n"
		"  info                    State and size of the machine\n"
		"  list                    Its devices\n"
		"  metrics [--prometheus]  Its counters, as JSON or in Prometheus' text format\n"
		"  pause, resume           Stop and go on\n"
		"  power-button            Press the guest's power button\n"
		"  reset                   Reset the machine\n"
		"  quit                    End it\n"
		"  add KIND OPTIONS        Plug in a device: disk, net, rng or vfio, with the "
		"words "
		"of its option\n"
		"                          of postern run\n"
		"  remove ID [--timeout SECONDS]\n"
		"                          Ask the guest to let go of a device, and wait until it "
		"is gone\n"
		"  '{\"command\":...}'       A request as it is\n\n"
		"Exit status: 0 done; 1 the machine refused or cannot be reached; 2 bad command "
		"line.\n");
}

/* ---- the request ---- */

struct arguments {
	int count;
	char **word;
	bool prometheus;
};

static int no_words(struct arguments *a, struct json_out *out)
{
	(void)out;
	return a->count ? -EINVAL : 0;
}

static int metrics_words(struct arguments *a, struct json_out *out)
{
	if (a->count == 1 && !strcmp(a->word[0], "--prometheus"))
		a->prometheus = true;
	else if (a->count)
		return -EINVAL;
	json_string(out, "format", a->prometheus ? "prometheus" : "json");
	return 0;
}

static int add_words(struct arguments *a, struct json_out *out)
{
	if (a->count != 2)
		return -EINVAL;
	json_string(out, "kind", a->word[0]);
	json_string(out, "options", a->word[1]);
	return 0;
}

static int remove_words(struct arguments *a, struct json_out *out)
{
	uint64_t seconds;

	if (a->count != 1 && (a->count != 3 || strcmp(a->word[1], "--timeout") != 0 ||
			      parse_number(a->word[2], CTL_TIMEOUT_MAX, &seconds)))
		return -EINVAL;
	json_string(out, "id", a->word[0]);
	if (a->count == 3)
		json_number(out, "timeout", seconds);
	return 0;
}

static const struct {
	const char *name;
	/* Members for the words behind the name. -EINVAL: they are not what it takes. */
	int (*members)(struct arguments *a, struct json_out *out);
} words[] = {
	{"info", no_words},	  {"list", no_words},	{"metrics", metrics_words},
	{"pause", no_words},	  {"resume", no_words}, {"power-button", no_words},
	{"reset", no_words},	  {"quit", no_words},	{"add", add_words},
	{"remove", remove_words},
};

static int make_request(const char *name, struct arguments *a, struct json_out *out)
{
	int rc = -EINVAL;

	if (*name == '{') {
		json_raw(out, name, strlen(name));
		json_raw(out, "\n", 1);
		return a->count || strchr(name, '\n') ? -EINVAL : 0;
	}
	json_open(out, NULL, '{');
	json_string(out, "command", name);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (!strcmp(words[i].name, name))
			rc = words[i].members(a, out);
	}
	json_close(out, '}');
	json_raw(out, "\n", 1);
	return rc;
}

/* ---- the wire ---- */

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	return fd;
}

static int send_all(int fd, const char *bytes, size_t len)
{
	while (len) {
		ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			bytes += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static int receive_line(int fd, struct json_out *line)
{
	char bytes[4096];

	for (;;) {
		ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -ECONNRESET;
		json_raw(line, bytes, (size_t)n);
		if (line->full)
			return -EMSGSIZE;
		if (bytes[n - 1] == '\n')
			return 0;
	}
}

/* Every reply begins with the member "ok". */
static bool is_ok(const struct json_out *line)
{
	static const char ok[] = "{\"ok\":true";

	return line->len >= sizeof(ok) - 1 && !memcmp(line->buf, ok, sizeof(ok) - 1);
}

static int print_reply(struct json_out *line, bool prometheus)
{
	const struct json_member *text;
	struct json_object reply;
	const char *why;
	bool ok = is_ok(line);

	if (prometheus && ok) {
		if (json_parse(line->buf, line->len - 1, &reply, &why) ||
		    !(text = json_find(&reply, "text")) || text->type != JSON_STRING)
			return -EPROTO;
		fputs(text->string, stdout);
	} else {
		fwrite(line->buf, 1, line->len, stdout);
	}
	if (fflush(stdout) || ferror(stdout))
		return -EIO;
	return ok ? 0 : 1;
}

static int converse(const char *path, const struct json_out *request, bool prometheus)
{
	struct json_out line;
	int fd = connect_to(path), rc = fd < 0 ? fd : 0;

	json_out_init(&line, 2 * CTL_REPLY_MAX);
	if (!rc)
		rc = send_all(fd, request->buf, request->len);
	if (!rc)
		rc = receive_line(fd, &line);
	if (!rc)
		rc = print_reply(&line, prometheus);
	if (rc == -ENOENT || rc == -ECONNREFUSED)
		log_error("%s: no machine listens there (%s): give the path of its --ctl", path,
			  strerror(-rc));
	else if (rc == -ECONNRESET)
		log_error("%s: the machine ended before it replied", path);
	else if (rc < 0)
		log_error("%s: %s", path, strerror(-rc));
	json_out_free(&line);
	if (fd >= 0)
		close(fd);
	return rc ? EXIT_ERROR : 0;
}

static int cmd_ctl(int argc, char **argv)
{
	struct arguments arguments = {.count = argc - 2, .word = argv + 2};
	struct json_out request;
	int rc;

	if (argc > 0 && (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h"))) {
		usage(stdout);
		return 0;
	}
	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	json_out_init(&request, CTL_LINE_MAX);
	if (make_request(argv[1], &arguments, &request) || request.full) {
		log_error("\"%s\" is not a command, or not with these words; see postern ctl "
			  "--help",
			  argv[1]);
		rc = EXIT_USAGE;
	} else {
		rc = converse(argv[0], &request, arguments.prometheus);
	}
	json_out_free(&request);
	return rc;
}

static const struct command ctl_command_entry = {"ctl", "Command a running machine", cmd_ctl};
COMMAND(ctl_command_entry);
