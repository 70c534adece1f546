// SPDX-License-Identifier: Apache-2.0
/* What is left to a machine once it has all that its command line names. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/console.h"
#include "vmm/machine.h"

/* What may be opened later is for who can ask for it: the control socket's clients. */
static bool opens_files(const struct machine *m)
{
	return m->watcher != NULL;
}

/* The directory of the control socket, which goes with the machine. "." where PATH is a name. */
static int directory(const char *path, char *dir, size_t size)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		path = ".", slash = path + 1;
	else if (slash == path)
		slash++;
	if ((size_t)(slash - path) >= size)
		return -ENAMETOOLONG;
	memcpy(dir, path, (size_t)(slash - path));
	dir[slash - path] = '\0';
	return 0;
}

int machine_sandbox_enter(struct machine *m)
{
	const struct machine_config *config = m->config;
	/* What hot-plug looks at besides the device's own file. */
	struct sandbox_path path[MACHINE_SANDBOX_PATHS + 8] = {
		{"/dev/iommu", SANDBOX_WRITE | SANDBOX_MAYBE},
		{"/dev/net/tun", SANDBOX_WRITE | SANDBOX_MAYBE},
		{"/sys/devices", SANDBOX_READ | SANDBOX_MAYBE},
		{"/sys/kernel/iommu_groups", SANDBOX_READ | SANDBOX_MAYBE},
		{"/sys/module/iommufd", SANDBOX_READ | SANDBOX_MAYBE},
	};
	struct sandbox_config sandbox = {
		.mode = config->sandbox,
		.path = path,
		.paths = 5,
		.status = EXIT_SANDBOX,
		.ending = console_restore_terminal,
	};
	char dir[108]; /* as long as a socket's path can be */
	int rc = 0;

	if (!opens_files(m)) {
		sandbox.paths = 0;
		return sandbox_enter(&sandbox);
	}
	for (unsigned i = 0; i < config->sandbox_paths; i++)
		path[sandbox.paths++] =
			(struct sandbox_path){config->sandbox_path[i], SANDBOX_WRITE};
	if (config->ctl_path) {
		rc = directory(config->ctl_path, dir, sizeof(dir));
		path[sandbox.paths++] = (struct sandbox_path){dir, SANDBOX_REMOVE};
	}
	return rc ? rc : sandbox_enter(&sandbox);
}

int machine_sandbox_loop(struct machine *m)
{
	return sandbox_thread(opens_files(m) ? SANDBOX_LOOP_HOTPLUG : SANDBOX_LOOP);
}
