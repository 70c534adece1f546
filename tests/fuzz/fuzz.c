// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "postern/log.h"
#include "tests/fuzz/fuzz.h"

static unsigned messages;

void fuzz_fail(const char *file, int line, const char *what, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s:%d: does not hold: %s;", file, line, what);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

unsigned fuzz_messages(void)
{
	unsigned count = messages;

	messages = 0;
	return count;
}

/* The linker leads calls of log_message() here. */
void __wrap_log_message(enum log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

void __wrap_log_message(enum log_level level, const char *format, ...)
{
	static int show = -1;
	char text[1024];
	va_list args;

	if (show < 0)
		show = getenv("FUZZ_SHOW_MESSAGES") != NULL;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (show)
		fprintf(stderr, "message %d: %s\n", level, text);
	messages++;
}
