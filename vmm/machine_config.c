// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "vmm/machine.h"
#include "vmm/options.h"

#define XAPIC_CPUS 255u /* APIC ids of 8 bits, less the one that means all */

void machine_config_init(struct machine_config *config)
{
	*config = (struct machine_config){
		.memory = CONFIG_DEFAULT_MEMORY_MIB * MIB,
		.cpus = 1,
		.segments = 1,
		.iommufd_fd = -1,
		.kvm_fd = -1,
		.ctl_fd = -1,
		.viommu_command_nr = CONFIG_VIOMMU_COMMAND_NR,
		.cmdline = strdup(CONFIG_DEFAULT_CMDLINE),
#ifdef CONFIG_SANDBOX
		.sandbox = SANDBOX_DEFAULT,
#else
		.sandbox = SANDBOX_OFF,
#endif
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
	for (unsigned i = 0; i < config->sandbox_paths; i++)
		free(config->sandbox_path[i]);
	free(config->ctl_path);
	free(config->kernel);
	free(config->initrd);
	free(config->cmdline);
	free(config->serial_path);
	free(config->trace_viommu_path);
}

int machine_check_cpus(struct machine *m)
{
	struct kvm *kvm = &m->kvm;
	const unsigned cpus = m->config->cpus;

	if (cpus > kvm->max_cpus) {
		log_error("--cpus %u: KVM on this host allows %u", cpus, kvm->max_cpus);
		return -EINVAL;
	}
	if (cpus <= XAPIC_CPUS)
		return 0;
	if (!kvm->x2apic_api) {
		log_error("--cpus %u: KVM on this host has no KVM_CAP_X2APIC_API, and without it "
			  "at most %u processors can be told apart; it needs Linux 4.7 or later",
			  cpus, XAPIC_CPUS);
		return -EOPNOTSUPP;
	}
	/* The vIOMMU's remapping entries have 32 bits for them. */
	kvm->msi_ext_dest_id = !machine_config_viommu(m->config);
	return 0;
}
