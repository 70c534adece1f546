// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>

#include "postern/log.h"
#include "sandbox/internal.h"

static enum sandbox_mode mode = SANDBOX_OFF;
static bool files; /* Landlock is in force */

int sandbox_enter(const struct sandbox_config *config)
{
	int rc;

	if (config->mode == SANDBOX_OFF)
		return 0;
	/* What a filter refuses can be done and logged; Landlock knows no such thing. */
	rc = config->mode == SANDBOX_LOG ? -EOPNOTSUPP : landlock_enter(config);
	files = !rc;
	if (rc == -EOPNOTSUPP && config->mode == SANDBOX_ON)
		log_info("sandbox: this kernel has no Landlock (CONFIG_SECURITY_LANDLOCK, lsm=): "
			 "files are protected by their permissions only");
	if (!rc || rc == -EOPNOTSUPP)
		rc = privileges_drop();
	if (!rc)
		rc = filter_handle_violations(config);
	if (!rc)
		mode = config->mode;
	return rc ? rc : sandbox_thread(SANDBOX_SETUP);
}

int sandbox_thread(enum sandbox_thread kind)
{
	return mode == SANDBOX_OFF ? 0 : filter_install(kind, mode == SANDBOX_LOG);
}

const char *sandbox_advice(int error)
{
	if (!files || error != EACCES)
		return "";
	return "; the sandbox opens only what --sandbox on,path=PATH names";
}
