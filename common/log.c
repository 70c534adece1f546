// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "postern/log.h"

static _Atomic int current_level = LOG_LEVEL_WARNING;

static const char *const level_name[] = {"error", "warning", "info", "debug"};

void log_set_level(enum log_level level)
{
	current_level = (int)level;
}

enum log_level log_level_get(void)
{
	return (enum log_level)current_level;
}

static _Atomic uint64_t repeats;

void log_repeat(void)
{
	atomic_fetch_add_explicit(&repeats, 1, memory_order_relaxed);
}

uint64_t log_repeats(void)
{
	return repeats;
}

int log_level_parse(const char *text, enum log_level *level)
{
	for (int i = 0; i <= LOG_LEVEL_DEBUG; i++) {
		if (!strcmp(text, level_name[i])) {
			*level = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

static _Thread_local struct {
	char *buf;
	size_t size;
} capture;

void log_capture(char *buf, size_t size)
{
	capture.buf = buf;
	capture.size = size;
}

void log_message(enum log_level level, const char *format, ...)
{
	char line[512];
	va_list args;
	int head, body, saved = errno;

	if ((int)level > current_level && (level != LOG_LEVEL_ERROR || !capture.buf))
		return;
	if (level == LOG_LEVEL_INFO)
		head = snprintf(line, sizeof(line), "postern: ");
	else
		head = snprintf(line, sizeof(line), "postern: %s: ", level_name[level]);
	va_start(args, format);
	body = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, format, args);
	va_end(args);
	if (body < 0)
		return;
	body += head;
	if ((size_t)body > sizeof(line) - 2)
		body = (int)sizeof(line) - 2;
	/* Names in a message may come from the guest or a file: they must not forge lines. */
	for (int i = head; i < body; i++)
		if (iscntrl((unsigned char)line[i]))
			line[i] = '?';
	line[body] = '\0';
	if (level == LOG_LEVEL_ERROR && capture.buf) {
		snprintf(capture.buf, capture.size, "%s", line + head);
		capture.buf = NULL;
	}
	if ((int)level > current_level)
		return;
	line[body++] = '\n';
	/* One write, so that lines of several threads do not mix. */
	if (write(STDERR_FILENO, line, (size_t)body) < 0)
		errno = saved;
}
