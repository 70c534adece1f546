// SPDX-License-Identifier: Apache-2.0
/* Built without CONFIG_SANDBOX. */
#include <errno.h>

#include "postern/log.h"
#include "sandbox/sandbox.h"

int sandbox_enter(const struct sandbox_config *config)
{
	if (config->mode == SANDBOX_OFF)
		return 0;
	log_error("--sandbox: this postern was built without CONFIG_SANDBOX");
	return -EOPNOTSUPP;
}

int sandbox_thread(enum sandbox_thread kind)
{
	(void)kind;
	return 0;
}

const char *sandbox_advice(int error)
{
	(void)error;
	return "";
}
