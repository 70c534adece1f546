/* SPDX-License-Identifier: Apache-2.0 */
/* What holds of a machine's configuration, wherever it comes from. */
#ifndef POSTERN_FUZZ_OPTIONS_H
#define POSTERN_FUZZ_OPTIONS_H

#include <stdio.h>

#include "tests/fuzz/fuzz.h"
#include "vmm/machine.h"
#include "vmm/options.h"

static inline void config_check(const struct machine_config *config, bool accepted)
{
	unsigned count = 0;

	for (const struct device_config *dev = config->devices; dev; dev = dev->next, count++)
		require(dev->source && *dev->source, "device %u shows nothing", count);
	require(count <= MACHINE_DEVICES_MAX);
	if (!accepted)
		return;
	require(config->modules <= GUEST_MODULES_MAX);
	for (unsigned i = 0; i < config->modules; i++)
		require(config->module[i].path && *config->module[i].path, "module %u", i);
	require(config->cpus >= 1 && config->cpus <= MACHINE_CPUS_MAX);
	require(config->memory && is_aligned(config->memory, GUEST_PAGE_SIZE), "%llu bytes",
		(unsigned long long)config->memory);
}

#endif
