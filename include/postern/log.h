/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages to the person who runs the program.
 *
 * A message is one line that says what failed, on which object, why, and what to do about it. It
 * goes to standard error with the prefix "postern: error: " (or "warning: ", "" for info, "debug:
 * ").
 *
 * What a guest does must not fill a log: on every path that a guest can repeat use log_guest() for
 * what it did wrong and log_error_once() or log_warning_once() for what the host cannot do. They
 * print the first occurrence at each call site and count the rest.
 *
 * All functions may be called from any thread. None allocates.
 */
#ifndef POSTERN_LOG_H
#define POSTERN_LOG_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Messages above LEVEL are dropped. The initial level is LOG_LEVEL_WARNING. */
void log_set_level(enum log_level level);
enum log_level log_level_get(void);

/* "error", "warning", "info", "debug" to a level; -EINVAL for other text. */
int log_level_parse(const char *text, enum log_level *level);

/*
 * From now on messages go to FD instead of standard error, with the time (UTC) in front. FD stays
 * the log's; one that was given before is closed.
 */
void log_to_file(int fd);
/*
 * If standard error is the systemd journal (sd-daemon(3), systemd.exec(5) on $JOURNAL_STREAM),
 * messages begin with their priority in place of their name.
 */
void log_detect_journal(void);

void log_message(enum log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * From now on the calling thread's first error is also put into BUF of SIZE bytes, without prefix:
 * for whoever has asked from elsewhere than the standard error. NULL ends it.
 */
void log_capture(char *buf, size_t size);

/* Count a message that is not shown, as the same has been said before; how many there were. */
void log_repeat(void);
uint64_t log_repeats(void);

/* How many errors the calling thread has said: whether there is more to say of one. */
unsigned log_errors(void);

#define log_error(...)	 log_message(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_message(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)	 log_message(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)	 log_message(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* Said once for each place in the source. */
#define log_once(level, ...)                                                                       \
	do {                                                                                       \
		static atomic_flag said = ATOMIC_FLAG_INIT;                                        \
		if (!atomic_flag_test_and_set_explicit(&said, memory_order_relaxed))               \
			log_message(level, __VA_ARGS__);                                           \
		else                                                                               \
			log_repeat();                                                              \
	} while (0)

#define log_error_once(...)   log_once(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning_once(...) log_once(LOG_LEVEL_WARNING, __VA_ARGS__)
/* What a guest did wrong, at level info. */
#define log_guest(...) log_once(LOG_LEVEL_INFO, "guest: " __VA_ARGS__)

#endif
