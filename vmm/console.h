/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The person's side of the first serial port: terminal, file, or nothing. Internal to vmm/.
 *
 * The terminal is put into raw mode and restored on every way out, fatal signals included.
 * Ctrl-A X ends the machine, Ctrl-A Ctrl-A sends one Ctrl-A.
 */
#ifndef POSTERN_CONSOLE_H
#define POSTERN_CONSOLE_H

#include <stddef.h>
#include <stdint.h>

struct machine;
struct console;

/* Opens what the configuration names and creates the UART on M's port bus. */
int console_new(struct machine *m, struct console **console);
/* Begin to read input; on the loop's creating thread. */
int console_start(struct console *console);
/* Loop has stopped, vCPUs are gone. Restores the terminal. */
void console_free(struct console *console);
/* The terminal as it was before. Async-signal-safe, and may run on any thread, more than once. */
void console_restore_terminal(void);

#endif
