/* SPDX-License-Identifier: Apache-2.0 */
/* Subcommands; Kconfig chooses which files are linked, each puts its own into the list. */
#ifndef POSTERN_COMMAND_H
#define POSTERN_COMMAND_H

struct command {
	const char *name;
	const char *help;
	/* Arguments after the command's name. Returns the exit status. */
	int (*run)(int argc, char **argv);
};

#define COMMAND(symbol)                                                                            \
	static const struct command *const symbol##_entry                                          \
		__attribute__((used, retain, section("commands"))) = &(symbol)

#endif
