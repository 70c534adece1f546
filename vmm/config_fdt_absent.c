// SPDX-License-Identifier: Apache-2.0
/* --config where CONFIG_MACHINE_FILE is off. */
#include <errno.h>

#include "vmm/machine.h"
#include "vmm/options.h"

int machine_file_read(struct machine_config *config, const char *path)
{
	(void)config;
	log_error("--config %s: this postern was built without CONFIG_MACHINE_FILE", path);
	return -EINVAL;
}
