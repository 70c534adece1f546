// SPDX-License-Identifier: Apache-2.0
/*
 * The first process of the reference machine: runs one command after another for the host, over a
 * virtio serial port. tests/machine/machine.py is the other end and describes the frames.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum frame_type {
	FRAME_EXEC = 1,	 /* host: flags, rows, columns, cwd, argv and environment */
	FRAME_STDIN = 2, /* host: bytes; none means end of file */
	FRAME_KILL = 3,	 /* host: give up the command */
	FRAME_READY = 16,
	FRAME_STDOUT = 17,
	FRAME_STDERR = 18,
	FRAME_STDIN_TAKEN = 19, /* guest: u32 bytes that the command has read */
	FRAME_EXIT = 20,	/* guest: u32 exit status */
};

#define EXEC_TTY   1u
#define FRAME_MAX  (1u << 20)
#define STDIN_ROOM (64u << 10) /* the host keeps at most this much unacknowledged */
#define CHUNK	   (16u << 10)

struct frame_header {
	uint32_t type;
	uint32_t length;
};

struct exec_header {
	uint32_t flags;
	uint16_t rows;
	uint16_t columns;
	uint32_t argc;
	uint32_t envc;
	/* then NUL-terminated strings: cwd, argv, environment */
};

struct command {
	pid_t pid;
	int in, out, err; /* -1 when closed; with a terminal, in and out are its master */
	int tty;
	int in_ended;
	size_t in_length;
	uint8_t in_buffer[STDIN_ROOM];
};

static int port;

/* Init has no one to report to but the console; its end stops the machine, which the host sees. */
static void fatal(const char *what)
{
	fprintf(stderr, "agent: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void write_all(int fd, const void *data, size_t length)
{
	const uint8_t *p = data;

	while (length) {
		ssize_t n = write(fd, p, length);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			fatal("writing to the host");
		}
		p += n;
		length -= (size_t)n;
	}
}

static void read_all(int fd, void *data, size_t length)
{
	uint8_t *p = data;

	while (length) {
		ssize_t n = read(fd, p, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			fatal("reading from the host");
		if (n == 0) {
			errno = EPIPE;
			fatal("the host went away");
		}
		p += n;
		length -= (size_t)n;
	}
}

static void send_frame(enum frame_type type, const void *data, size_t length)
{
	struct frame_header h = {.type = type, .length = (uint32_t)length};

	write_all(port, &h, sizeof(h));
	write_all(port, data, length);
}

static void send_u32(enum frame_type type, uint32_t value)
{
	send_frame(type, &value, sizeof(value));
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Split NUL-terminated strings into a vector; NULL where the frame is not what it says. */
static char **take_strings(char **at, const char *end, uint32_t count)
{
	char **v = calloc((size_t)count + 1, sizeof(*v));

	if (!v)
		fatal("memory for a command");
	for (uint32_t i = 0; i < count; i++) {
		char *nul = memchr(*at, 0, (size_t)(end - *at));

		if (!nul) {
			free(v);
			return NULL;
		}
		v[i] = *at;
		*at = nul + 1;
	}
	return v;
}

static int open_terminal(int *slave, const struct exec_header *x)
{
	struct winsize size = {.ws_row = x->rows, .ws_col = x->columns};
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (master < 0 || grantpt(master) || unlockpt(master))
		fatal("opening a terminal");
	*slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*slave < 0)
		fatal("opening a terminal's slave");
	ioctl(master, TIOCSWINSZ, &size);
	return master;
}

static _Noreturn void become(const char *cwd, char **argv, char **env, const int fd[3], int tty)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	for (int i = 0; i < 3; i++)
		dup2(fd[i], i);
	if (tty)
		ioctl(0, TIOCSCTTY, 0);
	if (chdir(cwd)) {
		fprintf(stderr, "machine: cannot enter %s: %s\n", cwd, strerror(errno));
		_exit(126);
	}
	clearenv();
	for (char **e = env; *e; e++)
		putenv(*e);
	execvp(argv[0], argv);
	fprintf(stderr, "machine: cannot run %s: %s\n", argv[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static void command_start(struct command *c, char *data, size_t length)
{
	struct exec_header x;
	const char *end = data + length;
	char *at = data + sizeof(x);
	char **cwd, **argv, **env;
	int child[3], in[2], out[2], err[2];

	if (length < sizeof(x)) {
		errno = EPROTO;
		fatal("a command from the host");
	}
	memcpy(&x, data, sizeof(x));
	cwd = take_strings(&at, end, 1);
	argv = cwd ? take_strings(&at, end, x.argc) : NULL;
	env = argv ? take_strings(&at, end, x.envc) : NULL;
	if (!env || !x.argc) {
		errno = EPROTO;
		fatal("a command from the host");
	}

	memset(c, 0, sizeof(*c));
	c->tty = !!(x.flags & EXEC_TTY);
	c->err = -1;
	if (c->tty) {
		c->in = open_terminal(&child[0], &x);
		c->out = dup(c->in);
		child[1] = child[2] = child[0];
	} else {
		if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
			fatal("pipes for a command");
		c->in = in[1];
		c->out = out[0];
		c->err = err[0];
		child[0] = in[0];
		child[1] = out[1];
		child[2] = err[1];
	}
	fcntl(c->in, F_SETFL, O_NONBLOCK);

	c->pid = fork();
	if (c->pid < 0)
		fatal("starting a command");
	if (!c->pid)
		become(cwd[0], argv, env, child, c->tty);
	close(child[0]);
	if (!c->tty) {
		close(child[1]);
		close(child[2]);
	}
	free(cwd);
	free(argv);
	free(env);
}

static void command_stdin_flush(struct command *c)
{
	while (c->in >= 0 && c->in_length) {
		ssize_t n = write(c->in, c->in_buffer, c->in_length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) { /* the command closed its end: the rest is read by nobody */
			n = (ssize_t)c->in_length;
			if (!c->tty)
				close_fd(&c->in);
		}
		memmove(c->in_buffer, c->in_buffer + n, c->in_length - (size_t)n);
		c->in_length -= (size_t)n;
		send_u32(FRAME_STDIN_TAKEN, (uint32_t)n);
	}
	if (c->in_ended && !c->in_length && !c->tty)
		close_fd(&c->in);
}

static void command_stdin(struct command *c, const uint8_t *data, size_t length)
{
	if (!length) {
		c->in_ended = 1;
	} else if (c->in < 0) {
		send_u32(FRAME_STDIN_TAKEN, (uint32_t)length);
		return;
	} else if (length > sizeof(c->in_buffer) - c->in_length) {
		errno = EPROTO;
		fatal("input from the host");
	} else {
		memcpy(c->in_buffer + c->in_length, data, length);
		c->in_length += length;
	}
	command_stdin_flush(c);
}

static void command_output(int *fd, enum frame_type type)
{
	uint8_t chunk[CHUNK];
	ssize_t n = read(*fd, chunk, sizeof(chunk));

	if (n > 0)
		send_frame(type, chunk, (size_t)n);
	else if (n == 0 || (errno != EINTR && errno != EAGAIN)) /* EIO: a terminal without user */
		close_fd(fd);
}

/*
 * The command has ended with this wait status. What it left running ends too, so that the next
 * command finds the devices free and the machine quiet.
 */
static void command_finish(struct command *c, int status)
{
	int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);

	kill(-1, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	while (c->out >= 0)
		command_output(&c->out, FRAME_STDOUT);
	while (c->err >= 0)
		command_output(&c->err, FRAME_STDERR);
	close_fd(&c->in);
	c->pid = 0;
	send_u32(FRAME_EXIT, (uint32_t)code);
}

static void host_frame(struct command *c)
{
	static uint8_t data[FRAME_MAX];
	struct frame_header h;

	read_all(port, &h, sizeof(h));
	if (h.length > sizeof(data)) {
		errno = EMSGSIZE;
		fatal("a frame from the host");
	}
	read_all(port, data, h.length);
	switch (h.type) {
	case FRAME_EXEC:
		if (!c->pid)
			command_start(c, (char *)data, h.length);
		break;
	case FRAME_STDIN: /* what arrives after the command's end is dropped */
		if (c->pid)
			command_stdin(c, data, h.length);
		break;
	case FRAME_KILL:
		if (c->pid)
			kill(c->pid, SIGKILL);
		break;
	}
}

static void reap(struct command *c, int sigfd)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	if (read(sigfd, &info, sizeof(info)) < 0)
		return;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == c->pid) {
			command_finish(c, status);
			return;
		}
	}
}

int main(int argc, char **argv)
{
	static struct command c = {.in = -1, .out = -1, .err = -1};
	sigset_t set;
	int sigfd;

	if (argc != 2) {
		fprintf(stderr, "usage: agent PORT\n");
		return 1;
	}
	port = open(argv[1], O_RDWR | O_CLOEXEC);
	if (port < 0)
		fatal(argv[1]);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	sigfd = signalfd(-1, &set, SFD_CLOEXEC);
	if (sigfd < 0)
		fatal("signalfd");

	send_frame(FRAME_READY, NULL, 0);
	for (;;) {
		struct pollfd p[] = {
			{.fd = sigfd, .events = POLLIN},
			{.fd = port, .events = POLLIN},
			{.fd = c.out, .events = POLLIN},
			{.fd = c.err, .events = POLLIN},
			{.fd = c.in_length ? c.in : -1, .events = POLLOUT},
		};

		if (poll(p, sizeof(p) / sizeof(p[0]), -1) < 0) {
			if (errno == EINTR)
				continue;
			fatal("poll");
		}
		if (p[2].revents)
			command_output(&c.out, FRAME_STDOUT);
		if (p[3].revents)
			command_output(&c.err, FRAME_STDERR);
		if (p[4].revents)
			command_stdin_flush(&c);
		if (p[1].revents)
			host_frame(&c);
		if (p[0].revents)
			reap(&c, sigfd);
	}
}
