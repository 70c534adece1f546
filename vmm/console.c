// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include "vmm/console.h"
#include "vmm/machine.h"

#define ESCAPE_KEY     1 /* Ctrl-A */
#define OUTPUT_WAIT_MS 100

struct console {
	struct machine *machine;
	int out;
	bool owns_out, reads, watching, escaped;
	struct event_watch watch;
	struct event_work resume;
	/* Input that the UART had no room for yet; as much as a terminal itself keeps. */
	uint8_t pending[4096];
	size_t pending_len;
};

/* ---- the terminal; process-wide, as there is one ---- */

static struct termios saved_termios;
static volatile sig_atomic_t termios_saved;

void console_restore_terminal(void)
{
	if (termios_saved)
		tcsetattr(STDIN_FILENO, TCSANOW, &saved_termios);
	termios_saved = 0;
}

/* tcsetattr() is async-signal-safe; SA_RESETHAND lets the second raise end the process. */
static void fatal_signal(int signal)
{
	console_restore_terminal();
	/* As raise() does it in glibc; musl's makes a call that the sandbox has not. */
	syscall(SYS_tgkill, getpid(), gettid(), signal);
}

static void terminal_raw(void)
{
	static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGQUIT};
	struct sigaction action = {.sa_handler = fatal_signal,
				   .sa_flags = SA_RESETHAND | SA_NODEFER};
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &saved_termios))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(fatal); i++)
		sigaction(fatal[i], &action, NULL);
	atexit(console_restore_terminal);
	raw = saved_termios;
	cfmakeraw(&raw);
	raw.c_oflag |= OPOST; /* the monitor's own messages keep their line ends */
	termios_saved = 1;
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

/* ---- guest to host ---- */

/*
 * Wait until bytes can go out. This is a vCPU's thread, and the loop may be waiting for it: whoever
 * does not read must not hold up the machine's end. A kick may come just before poll(), so that it
 * is not the only thing that ends the wait.
 */
static bool console_writable(const struct console *console)
{
	struct pollfd pfd = {.fd = console->out, .events = POLLOUT};

	while (atomic_load(&console->machine->end) == MACHINE_RUNNING) {
		if (poll(&pfd, 1, OUTPUT_WAIT_MS) > 0)
			return true;
	}
	return poll(&pfd, 1, 0) > 0;
}

static void console_output(void *opaque, const uint8_t *bytes, size_t len)
{
	const struct console *console = opaque;

	while (len && console_writable(console)) {
		ssize_t n = write(console->out, bytes, len);

		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return; /* nobody reads any more; the guest need not care */
		bytes += n;
		len -= (size_t)n;
	}
}

static void console_irq(void *opaque, bool level)
{
	const struct console *console = opaque;

	ioapic_set_irq(console->machine->ioapic, MACHINE_UART_GSI, level);
}

/* ---- host to guest ---- */

static void console_flush(struct console *console)
{
	size_t taken = uart_input(console->machine->uart, console->pending, console->pending_len);

	console->pending_len -= taken;
	memmove(console->pending, console->pending + taken, console->pending_len);
}

/* What has waited too long is lost, as at a terminal's own end: the escape key must get through. */
static void console_take(struct console *console, uint8_t byte)
{
	if (console->pending_len < sizeof(console->pending))
		console->pending[console->pending_len++] = byte;
}

/* Ctrl-A X quits; Ctrl-A Ctrl-A is one Ctrl-A; Ctrl-A and another key is both. */
static void console_key(struct console *console, uint8_t key)
{
	if (!console->escaped && key == ESCAPE_KEY) {
		console->escaped = true;
		return;
	}
	if (console->escaped && (key == 'x' || key == 'X'))
		machine_finish(console->machine, MACHINE_QUIT);
	else if (console->escaped && key != ESCAPE_KEY)
		console_take(console, ESCAPE_KEY);
	console->escaped = false;
	console_take(console, key);
}

static void console_unwatch(struct console *console)
{
	if (console->watching)
		event_loop_unwatch(console->machine->loop, &console->watch);
	console->watching = false;
}

static void console_ready(struct event_watch *watch, short revents)
{
	struct console *console = container_of(watch, struct console, watch);
	uint8_t bytes[256];
	ssize_t n;

	(void)revents;
	n = read(watch->fd, bytes, sizeof(bytes));
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		console_unwatch(console); /* end of input; the guest goes on without */
		return;
	}
	for (ssize_t i = 0; i < n; i++) {
		if (termios_saved)
			console_key(console, bytes[i]);
		else
			console_take(console, bytes[i]);
	}
	console_flush(console);
	/* A terminal is read on, for the escape key; elsewhere the sender waits and loses nothing.
	 */
	if (console->pending_len && !termios_saved)
		console_unwatch(console);
}

static void console_resume(struct event_work *work)
{
	struct console *console = container_of(work, struct console, resume);

	console_flush(console);
	if (!console->watching && !console->pending_len &&
	    !event_loop_watch(console->machine->loop, &console->watch))
		console->watching = true;
}

static void console_room(void *opaque)
{
	struct console *console = opaque;

	event_loop_post(console->machine->loop, &console->resume);
}

/* ---- life ---- */

int console_new(struct machine *m, struct console **out)
{
	const struct machine_config *config = m->config;
	struct console *console;
	struct uart_config uart = {
		.pio = &m->pio,
		.base = MACHINE_UART_BASE,
		.irq = console_irq,
		.output = console_output,
		.room = console_room,
	};
	int rc;

	*out = NULL;
	if (config->serial == SERIAL_OFF)
		return 0;
	console = calloc(1, sizeof(*console));
	if (!console)
		return -ENOMEM;
	console->machine = m;
	console->out = STDOUT_FILENO;
	console->resume.run = console_resume;
	if (config->serial == SERIAL_FILE) {
		console->out = open(
			config->serial_path,
			O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
		if (console->out < 0) {
			rc = -errno;
			log_error("--serial file=%s: cannot open it: %s%s", config->serial_path,
				  strerror(-rc),
				  rc == -ENXIO ? "; a FIFO must have its reader first" : "");
			goto err_free;
		}
		console->owns_out = true;
	} else {
		console->reads = true;
	}
	uart.opaque = console;
	rc = uart_new(&uart, &m->uart);
	if (rc)
		goto err_close;
	*out = console;
	return 0;
err_close:
	if (console->owns_out)
		close(console->out);
err_free:
	free(console);
	return rc;
}

int console_start(struct console *console)
{
	int rc;

	if (!console || !console->reads || fcntl(STDIN_FILENO, F_GETFD) < 0)
		return 0;
	if (isatty(STDIN_FILENO))
		terminal_raw();
	console->watch =
		(struct event_watch){.fd = STDIN_FILENO, .events = POLLIN, .ready = console_ready};
	rc = event_loop_watch(console->machine->loop, &console->watch);
	if (rc) {
		log_error("standard input cannot be watched: %s; use --serial file=PATH or "
			  "</dev/null",
			  strerror(-rc));
		return rc;
	}
	console->watching = true;
	return 0;
}

void console_free(struct console *console)
{
	if (!console)
		return;
	console_restore_terminal();
	uart_free(console->machine->uart);
	console->machine->uart = NULL;
	if (console->owns_out)
		close(console->out);
	free(console);
}
