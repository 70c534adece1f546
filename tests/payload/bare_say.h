/* SPDX-License-Identifier: Apache-2.0 */
/* What guest programs say on the serial port, to a host that takes every byte at once. */
#ifndef POSTERN_TESTS_PAYLOAD_BARE_SAY_H
#define POSTERN_TESTS_PAYLOAD_BARE_SAY_H

#include "tests/payload/bare.h"

static inline void say(const char *text)
{
	out(0x3f9, 0, 1);
	for (; *text; text++)
		out(0x3f8, (uint8_t)*text, 1);
}

static inline void say_number(const char *name, uint32_t value)
{
	char text[12];
	unsigned at = sizeof(text) - 1;

	text[at] = '\0';
	do {
		text[--at] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	say(name);
	say(text + at);
}

#endif
