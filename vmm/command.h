/* SPDX-License-Identifier: Apache-2.0 */
/* Subcommands; Kconfig chooses which files are linked, each puts its own into the list. */
#ifndef POSTERN_COMMAND_H
#define POSTERN_COMMAND_H

#include "postern/section.h"

struct command {
	const char *name;
	const char *help;
	/* Arguments after the command's name. Returns the exit status. */
	int (*run)(int argc, char **argv);
};

#define COMMAND(symbol) SECTION_ENTRY(struct command, commands, symbol)

#endif
