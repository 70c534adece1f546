// SPDX-License-Identifier: Apache-2.0
/* What a machine asks for and this build has not. */
#include <errno.h>

#include "vmm/machine.h"
#include "vmm/options.h"

int machine_check_classes(const struct machine_config *config)
{
	const struct {
		const char *class, *option, *symbol;
		bool wanted;
	} need[] = {
		{"viommu", "--viommu", "AMD_IOMMU", machine_config_viommu(config)},
		{"dma-test", "--dma-test", "DMA_TEST", config->dma_test},
		{"control", "--ctl", "CTL", config->ctl_path || config->ctl_fd >= 0},
	};

	for (const struct device_config *dev = config->devices; dev; dev = dev->next) {
		if (!machine_device_class(dev->option->name)) {
			log_error("--%s: this postern was built without CONFIG_%s",
				  dev->option->name, dev->option->symbol);
			return -EOPNOTSUPP;
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(need); i++) {
		if (need[i].wanted && !machine_device_class(need[i].class)) {
			log_error("%s: this postern was built without CONFIG_%s", need[i].option,
				  need[i].symbol);
			return -EOPNOTSUPP;
		}
	}
	return 0;
}
