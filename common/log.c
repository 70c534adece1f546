// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
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

static _Atomic int file = -1;
static _Atomic bool journal;

void log_to_file(int fd)
{
	int old = atomic_exchange(&file, fd);

	if (old >= 0)
		close(old);
}

void log_detect_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char ours[64];
	struct stat st;

	if (!stream || fstat(STDERR_FILENO, &st))
		return;
	snprintf(ours, sizeof(ours), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	journal = !strcmp(stream, ours);
}

/* What is in front of a message; its length. */
static int log_head(char *line, size_t size, enum log_level level, bool to_file)
{
	static const char priority[] = "3467"; /* syslog(3): error, warning, info, debug */
	const char *name = level == LOG_LEVEL_INFO ? "" : level_name[level];
	const char *colon = *name ? ": " : "";
	struct timespec now;
	struct tm tm;

	if (!to_file && journal)
		return snprintf(line, size, "<%c>", priority[level]);
	if (!to_file)
		return snprintf(line, size, "postern: %s%s", name, colon);
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	return snprintf(line, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s%s", tm.tm_year + 1900,
			tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
			now.tv_nsec / 1000000, name, colon);
}

static _Thread_local unsigned errors;

unsigned log_errors(void)
{
	return errors;
}

void log_message(enum log_level level, const char *format, ...)
{
	char line[512];
	va_list args;
	int head, body, saved = errno, fd = file;

	errors += level == LOG_LEVEL_ERROR;
	if ((int)level > current_level && (level != LOG_LEVEL_ERROR || !capture.buf))
		return;
	head = log_head(line, sizeof(line), level, fd >= 0);
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
	if (write(fd >= 0 ? fd : STDERR_FILENO, line, (size_t)body) < 0)
		errno = saved;
}
