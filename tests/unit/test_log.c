// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "postern/log.h"

static int pipe_end;

static void capture(void)
{
	int fds[2];

	cr_assert_eq(pipe2(fds, O_NONBLOCK), 0);
	cr_assert_eq(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	pipe_end = fds[0];
}

static const char *written(void)
{
	static char text[4096];
	ssize_t n = read(pipe_end, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = 0;
	return text;
}

Test(log, prefix_and_level, .init = capture)
{
	log_error("disk %s: %s", "a", "gone");
	cr_assert_str_eq(written(), "postern: error: disk a: gone\n");
	log_warning("w");
	cr_assert_str_eq(written(), "postern: warning: w\n");
	log_info("i");
	cr_assert_str_eq(written(), "");
	log_set_level(LOG_LEVEL_DEBUG);
	cr_assert_eq(log_level_get(), LOG_LEVEL_DEBUG);
	log_info("i");
	cr_assert_str_eq(written(), "postern: i\n");
	log_debug("d");
	cr_assert_str_eq(written(), "postern: debug: d\n");
	log_set_level(LOG_LEVEL_ERROR);
	log_warning("w");
	cr_assert_str_eq(written(), "");
}

Test(log, parse)
{
	enum log_level level = LOG_LEVEL_ERROR;

	cr_assert_eq(log_level_parse("info", &level), 0);
	cr_assert_eq(level, LOG_LEVEL_INFO);
	cr_assert_eq(log_level_parse("debug", &level), 0);
	cr_assert_eq(level, LOG_LEVEL_DEBUG);
	cr_assert_eq(log_level_parse("Debug", &level), -EINVAL);
	cr_assert_eq(log_level_parse("", &level), -EINVAL);
	cr_assert_eq(level, LOG_LEVEL_DEBUG, "untouched");
}

Test(log, long_line_is_cut_and_ends, .init = capture)
{
	char big[2000];
	const char *text;

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	log_error("%s", big);
	text = written();
	cr_assert_eq(strlen(text), 511);
	cr_assert_eq(text[510], '\n');
	cr_assert_eq(strchr(text, '\n'), text + 510);
}

Test(log, one_message_is_one_line, .init = capture)
{
	log_error("name '%s'", "a\npostern: error: forged\x1b[2J");
	cr_assert_str_eq(written(), "postern: error: name 'a?postern: error: forged?[2J'\n");
}

Test(log, errno_survives)
{
	close(STDERR_FILENO);
	errno = EXDEV;
	log_error("x");
	cr_assert_eq(errno, EXDEV);
}

Test(log, guest_is_said_once, .init = capture)
{
	log_set_level(LOG_LEVEL_INFO);
	for (int i = 0; i < 100; i++)
		log_guest("mistake %d", i);
	cr_assert_str_eq(written(), "postern: guest: mistake 0\n");
	cr_expect_eq(log_repeats(), 99);
	log_guest("another");
	cr_assert_str_eq(written(), "postern: guest: another\n");
}

Test(log, what_a_guest_can_repeat_is_said_once, .init = capture)
{
	for (int i = 0; i < 10; i++) {
		log_error_once("host error %d", i);
		log_warning_once("host warning %d", i);
	}
	cr_assert_str_eq(written(),
			 "postern: error: host error 0\npostern: warning: host warning 0\n");
	cr_expect_eq(log_repeats(), 18);
}
