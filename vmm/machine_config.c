// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "vmm/machine.h"
#include "vmm/options.h"

void machine_config_init(struct machine_config *config)
{
	*config = (struct machine_config){
		.memory = CONFIG_DEFAULT_MEMORY_MIB * MIB,
		.cpus = 1,
		.segments = 1,
		.iommufd_fd = -1,
		.ctl_fd = -1,
		.viommu_command_nr = CONFIG_VIOMMU_COMMAND_NR,
		.cmdline = strdup(CONFIG_DEFAULT_CMDLINE),
	};
}

void machine_config_free(struct machine_config *config)
{
	while (config->devices) {
		struct device_config *dev = config->devices;

		config->devices = dev->next;
		config_free_device(dev);
	}
	for (unsigned i = 0; i < config->modules; i++) {
		free((char *)(uintptr_t)config->module[i].path);
		free((char *)(uintptr_t)config->module[i].cmdline);
	}
	free(config->ctl_path);
	free(config->kernel);
	free(config->initrd);
	free(config->cmdline);
	free(config->serial_path);
	free(config->trace_viommu_path);
}
