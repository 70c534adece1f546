// SPDX-License-Identifier: Apache-2.0
/* The vIOMMU's state as plain data: saved, judged and restored. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "devices/amd_iommu/internal.h"

/* A file may have been written by another build. */
_Static_assert(offsetof(struct amd_viommu_state, config) == 16, "version 1");
_Static_assert(offsetof(struct amd_viommu_state, unit) == 16 + AMD_VIOMMU_STATE_CONFIG,
	       "version 1");
_Static_assert(sizeof(struct amd_viommu_state) ==
		       16 + AMD_VIOMMU_STATE_CONFIG + sizeof(struct amd_iommu_state),
	       "version 1");

/* What software cannot write is as it was built: a function of another machine has other bytes. */
static int config_check(struct pci_function *fn, const struct amd_viommu_state *state)
{
	for (unsigned at = 0; at < AMD_VIOMMU_STATE_CONFIG; at++)
		if ((pci_config_read(fn, at, 1) ^ state->config[at]) & ~(uint32_t)fn->writable[at])
			return -EOPNOTSUPP;
	return 0;
}

static void config_write(struct pci_function *fn, const uint8_t config[AMD_VIOMMU_STATE_CONFIG])
{
	for (unsigned at = 0; at < AMD_VIOMMU_STATE_CONFIG; at++)
		if (fn->writable[at])
			pci_config_write(fn, at, 1, config[at]);
}

static void config_read(struct pci_function *fn, uint8_t config[AMD_VIOMMU_STATE_CONFIG])
{
	for (unsigned at = 0; at < AMD_VIOMMU_STATE_CONFIG; at++)
		config[at] = (uint8_t)pci_config_read(fn, at, 1);
}

int amd_viommu_save(struct amd_viommu *viommu, struct amd_viommu_state *state)
{
	struct viommu_window *window = &viommu->window;
	struct pci_function *fn = &viommu->function;
	int rc;

	if (!window->port->ops->state_save)
		return -EOPNOTSUPP;
	memset(state, 0, sizeof(*state));
	state->magic = AMD_VIOMMU_STATE_MAGIC;
	state->version = AMD_VIOMMU_STATE_VERSION;
	state->size = sizeof(*state);
	pthread_mutex_lock(&fn->lock);
	pthread_mutex_lock(&window->write_lock);
	config_read(fn, state->config);
	rc = window->port->ops->state_save(window->port, &state->unit);
	pthread_mutex_unlock(&window->write_lock);
	pthread_mutex_unlock(&fn->lock);
	return rc;
}

int amd_viommu_restore(struct amd_viommu *viommu, const struct amd_viommu_state *state)
{
	struct viommu_window *window = &viommu->window;
	struct pci_function *fn = &viommu->function;
	uint8_t before[AMD_VIOMMU_STATE_CONFIG];
	int rc;

	if (!window->port->ops->state_restore)
		return -EOPNOTSUPP;
	if (state->magic != AMD_VIOMMU_STATE_MAGIC || state->version != AMD_VIOMMU_STATE_VERSION ||
	    state->size != sizeof(*state) || state->zero)
		return -EINVAL;
	pthread_mutex_lock(&fn->lock);
	pthread_mutex_lock(&window->write_lock);
	rc = config_check(fn, state);
	if (rc)
		goto out;
	/* First: the unit may go on with commands, whose message is that of the MSI capability. */
	config_read(fn, before);
	config_write(fn, state->config);
	rc = window->port->ops->state_restore(window->port, &state->unit);
	if (rc)
		config_write(fn, before);
	else
		viommu_window_restored(window);
out:
	pthread_mutex_unlock(&window->write_lock);
	pthread_mutex_unlock(&fn->lock);
	return rc;
}
