/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One device's end of an interrupt line that it shares with others: level-triggered, asserted while
 * any device on it asserts it.
 */
#ifndef POSTERN_INTX_LINE_H
#define POSTERN_INTX_LINE_H

#include <stdbool.h>

struct intx_line;

struct intx_line_ops {
	void (*set)(struct intx_line *line, bool level);
};

struct intx_line {
	const struct intx_line_ops *ops;
	/*
	 * The guest has ended an interrupt of the line: who cannot see its device's pin lets go
	 * now, and asserts anew if the device still wants it. May be NULL; changed with vCPUs
	 * stopped. Called on the vCPU's thread with no lock held that intx_line_set() takes.
	 */
	void (*ended)(void *opaque);
	void *opaque;
};

/* Any thread. */
static inline void intx_line_set(struct intx_line *line, bool level)
{
	line->ops->set(line, level);
}

#endif
