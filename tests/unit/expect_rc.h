/* SPDX-License-Identifier: Apache-2.0 */
/* A call of the library and the result that it must have, both in words where they differ. */
#ifndef EXPECT_RC_H
#define EXPECT_RC_H

#include <criterion/criterion.h>
#include <string.h>

#define EXPECT_RC(rc, want)                                                                        \
	do {                                                                                       \
		int got_ = (int)(rc), want_ = (want);                                              \
		cr_expect(got_ == want_, #rc ": %s instead of %s", strerror(-got_),                \
			  strerror(-want_));                                                       \
	} while (0)

#endif
