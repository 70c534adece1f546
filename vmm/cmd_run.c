// SPDX-License-Identifier: Apache-2.0
#include <errno.h>

#include "vmm/command.h"
#include "vmm/machine.h"
#include "vmm/options.h"

static int cmd_run(int argc, char **argv)
{
	struct machine_config config;
	int rc, status;

	machine_config_init(&config);
	rc = options_parse(&config, argc, argv);
	if (rc == -ENOMEM) /* said; nothing is wrong with the command line */
		status = EXIT_ERROR;
	else if (rc)
		status = rc == 1 ? 0 : EXIT_USAGE;
	else
		status = machine_run(&config);
	machine_config_free(&config);
	return status;
}

static const struct command run_command = {"run", "Boot a microVM", cmd_run};
COMMAND(run_command);
