// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "vmm/machine.h"
#include "vmm/command.h"

/* The linker's bounds of the section that DEVICE_CLASS-like COMMAND() entries are put in. */
extern const struct command *const __start_commands[] __attribute__((weak));
extern const struct command *const __stop_commands[] __attribute__((weak));

static void usage(FILE *to)
{
	fprintf(to, "Usage: postern COMMAND [OPTION]...\n\n"
		    "A microVM monitor with assigned devices and an AMD vIOMMU.\n\nCommands:\n");
	for (const struct command *const *c = __start_commands; c < __stop_commands; c++)
		fprintf(to, "  %-10s %s\n", (*c)->name, (*c)->help);
	fprintf(to, "\nOptions:\n"
		    "  --version  Show the version\n"
		    "  --help     Show this text; postern COMMAND --help shows a command's\n");
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("postern %s\n", POSTERN_VERSION);
		return 0;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		usage(stdout);
		return 0;
	}
	for (const struct command *const *c = __start_commands; c < __stop_commands; c++) {
		if (!strcmp((*c)->name, argv[1]))
			return (*c)->run(argc - 2, argv + 2);
	}
	log_error("unknown command \"%s\"; see postern --help", argv[1]);
	return EXIT_USAGE;
}
