// SPDX-License-Identifier: Apache-2.0
/* Which end a machine comes to when several are asked for. */
#include <criterion/criterion.h>

#include "vmm/machine.h"

Test(machine_end, a_reset_under_way_gives_way_to_an_end_that_no_guest_asked_for)
{
	static const struct {
		enum machine_end first, then;
		bool wins;
	} c[] = {
		{MACHINE_RESET, MACHINE_QUIT, true},	 {MACHINE_RESET, MACHINE_FAILED, true},
		{MACHINE_RESET, MACHINE_RESET, false},	 {MACHINE_RESET, MACHINE_POWER_OFF, false},
		{MACHINE_RESET, MACHINE_CRASHED, false}, {MACHINE_POWER_OFF, MACHINE_FAILED, false},
		{MACHINE_CRASHED, MACHINE_QUIT, false},	 {MACHINE_FAILED, MACHINE_QUIT, false},
		{MACHINE_QUIT, MACHINE_FAILED, false},	 {MACHINE_QUIT, MACHINE_RESET, false},
	};
	static struct machine m;

	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		m.end = c[i].first;
		cr_expect_eq(machine_finish(&m, c[i].then), c[i].wins, "%d then %d", c[i].first,
			     c[i].then);
		cr_expect_eq(m.end, c[i].wins ? c[i].then : c[i].first, "%d then %d", c[i].first,
			     c[i].then);
	}
}
