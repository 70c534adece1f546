// SPDX-License-Identifier: Apache-2.0
/* The ladder of accel=: a table of what each rung can, which one is taken, and what the log says.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm/viommu_ladder.h"

static int pipe_end;

static void set_up(void)
{
	int fds[2];

	cr_assert_eq(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	cr_assert_eq(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	pipe_end = fds[0];
	log_set_level(LOG_LEVEL_INFO);
}

TestSuite(viommu_ladder, .init = set_up);

static const char *written(void)
{
	static char text[4096];
	ssize_t n = read(pipe_end, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = 0;
	return text;
}

/* What each rung answers. */
struct answers {
	int hw, soft, forward;
	bool said;   /* with an error of its own: no other rung will do */
	bool silent; /* it does not say why */
	char tried[8];
};

static int answer(struct answers *a, char rung, int rc, const char *reason, char *why)
{
	a->tried[strlen(a->tried)] = rung;
	if (rc && a->said)
		log_error("%s", reason);
	else if (rc && !a->silent)
		snprintf(why, VIOMMU_WHY_SIZE, "%s", reason);
	return rc;
}

static int climb_hw(void *opaque, char why[VIOMMU_WHY_SIZE])
{
	struct answers *a = opaque;

	return answer(a, 'h', a->hw, "VIOMMU_COMMAND: refused", why);
}

static int climb_soft(void *opaque, char why[VIOMMU_WHY_SIZE])
{
	struct answers *a = opaque;

	return answer(a, 's', a->soft, "no memory", why);
}

static int climb_forward(void *opaque, char why[VIOMMU_WHY_SIZE])
{
	struct answers *a = opaque;

	return answer(a, 'f', a->forward, "no kernel", why);
}

static const struct viommu_rung rungs[] = {
	{VIOMMU_ACCEL_FORWARD, "forward", true, climb_forward},
	{VIOMMU_ACCEL_HW, "hw", false, climb_hw},
	{VIOMMU_ACCEL_SOFT, "soft", false, climb_soft},
};

Test(viommu_ladder, table)
{
	static const struct {
		enum viommu_accel accel;
		struct answers answers;
		int rc;
		enum viommu_accel taken;
		const char *tried, *said;
	} c[] = {
		{VIOMMU_ACCEL_AUTO,
		 {0},
		 0,
		 VIOMMU_ACCEL_HW,
		 "h",
		 "postern: --viommu amd,accel=auto takes hw\n"},
		{VIOMMU_ACCEL_AUTO,
		 {.hw = -EOPNOTSUPP},
		 0,
		 VIOMMU_ACCEL_SOFT,
		 "hs",
		 "postern: --viommu amd,accel=auto takes soft; not hw: VIOMMU_COMMAND: refused\n"},
		{VIOMMU_ACCEL_AUTO,
		 {.hw = -EIO},
		 0,
		 VIOMMU_ACCEL_SOFT,
		 "hs",
		 "postern: --viommu amd,accel=auto takes soft; not hw: VIOMMU_COMMAND: refused\n"},
		{VIOMMU_ACCEL_AUTO,
		 {.hw = -EBUSY, .said = true},
		 -EBUSY,
		 0,
		 "h",
		 "postern: error: VIOMMU_COMMAND: refused\n"},
		{VIOMMU_ACCEL_AUTO,
		 {.hw = -EIO, .soft = -ENOMEM},
		 -ENOMEM,
		 0,
		 "hs",
		 "postern: error: --viommu amd,accel=auto,segment=3: nobody can answer: no "
		 "memory\n"},
		{VIOMMU_ACCEL_HW, {0}, 0, VIOMMU_ACCEL_HW, "h", ""},
		{VIOMMU_ACCEL_HW,
		 {.hw = -EIO},
		 -EIO,
		 0,
		 "h",
		 "postern: error: --viommu amd,accel=hw,segment=3: VIOMMU_COMMAND: refused; "
		 "accel=soft does without (postern doctor says what this host offers)\n"},
		{VIOMMU_ACCEL_HW,
		 {.hw = -EBUSY, .said = true},
		 -EBUSY,
		 0,
		 "h",
		 "postern: error: VIOMMU_COMMAND: refused\n"},
		{VIOMMU_ACCEL_SOFT,
		 {.soft = -ENOMEM, .silent = true},
		 -ENOMEM,
		 0,
		 "s",
		 "postern: error: --viommu amd,accel=soft,segment=3: its parts: Cannot allocate "
		 "memory\n"},
		{VIOMMU_ACCEL_SOFT, {0}, 0, VIOMMU_ACCEL_SOFT, "s", ""},
		{VIOMMU_ACCEL_SOFT,
		 {.soft = -ENOMEM},
		 -ENOMEM,
		 0,
		 "s",
		 "postern: error: --viommu amd,accel=soft,segment=3: no memory\n"},
		{VIOMMU_ACCEL_FORWARD, {0}, 0, VIOMMU_ACCEL_FORWARD, "f", ""},
		{VIOMMU_ACCEL_HWMODEL,
		 {0},
		 -EOPNOTSUPP,
		 0,
		 "",
		 "postern: error: --viommu amd,segment=3: there is no such rung\n"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		struct answers answers = c[i].answers;
		enum viommu_accel taken = VIOMMU_ACCEL_AUTO;
		int rc = viommu_ladder_climb(rungs, ARRAY_SIZE(rungs), c[i].accel, 3, &answers,
					     &taken);
		const char *said = written();

		cr_expect_eq(rc, c[i].rc, "case %zu: %s", i, strerror(-rc));
		if (!rc)
			cr_expect_eq(taken, c[i].taken, "case %zu", i);
		cr_expect_str_eq(answers.tried, c[i].tried, "case %zu", i);
		cr_expect_str_eq(said, c[i].said, "case %zu: %s", i, said);
	}
}
