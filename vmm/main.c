// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "vmm/machine.h"
#include "vmm/command.h"

SECTION_DECLARE(struct command, commands);

static void usage(FILE *to)
{
	const struct command *const *c;

	fprintf(to, "Usage: postern COMMAND [OPTION]...\n\n"
		    "A microVM monitor with assigned devices and an AMD vIOMMU.\n\nCommands:\n");
	section_for_each (c, commands)
		fprintf(to, "  %-10s %s\n", (*c)->name, (*c)->help);
	fprintf(to, "\nOptions:\n"
		    "  --version  Show the version\n"
		    "  --help     Show this text; postern COMMAND --help shows a command's\n");
}

/*
 * A standard descriptor that is closed would become the next file that is opened: the event loop's
 * own, or a disk image, read as the keyboard or written as the terminal.
 */
static int fill_standard_descriptors(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	const struct command *const *c;
	int rc = fill_standard_descriptors();

	if (rc) {
		log_error("cannot open /dev/null: %s", strerror(-rc));
		return EXIT_ERROR;
	}

	log_detect_journal();
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
	section_for_each (c, commands) {
		if (!strcmp((*c)->name, argv[1]))
			return (*c)->run(argc - 2, argv + 2);
	}
	log_error("unknown command \"%s\"; see postern --help", argv[1]);
	return EXIT_USAGE;
}
