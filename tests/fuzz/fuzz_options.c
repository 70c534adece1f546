// SPDX-License-Identifier: Apache-2.0
/* The command line of `postern run`: arguments are the lines of the input. */
#include <stdlib.h>

#include "tests/fuzz/options_fuzz.h"

#define ARGUMENTS 24

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct machine_config config;
	char *text = malloc(size + 1), *argv[ARGUMENTS + 1], *at = text;
	int argc = 0, ret;

	require(text);
	if (size)
		memcpy(text, data, size);
	text[size] = 0;
	while (at && argc < ARGUMENTS) {
		char *line = strsep(&at, "\n");

		/* These would read a file of this machine, or print to whoever runs the fuzzer. */
		if (!strncmp(line, "--config", 8) || !strncmp(line, "--help", 6) ||
		    !strcmp(line, "-h"))
			goto out;
		argv[argc++] = line;
	}
	argv[argc] = NULL;
	machine_config_init(&config);
	fuzz_messages();
	ret = options_parse(&config, argc, argv);
	require(ret <= 0 && (!ret || fuzz_messages()), "refused (%d) without a word", ret);
	config_check(&config, !ret);
	require(ret || config.kernel, "accepted without a kernel");
	machine_config_free(&config);
out:
	free(text);
	return 0;
}
