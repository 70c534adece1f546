// SPDX-License-Identifier: Apache-2.0
/* The unit's state as plain data: saved, judged and restored. */
#include <errno.h>
#include <string.h>

#include "iommufd/amd/internal.h"

/* A file may have been written by another build: nothing moves, and nothing is left undefined. */
_Static_assert(sizeof(struct amd_iommu_register) == 16, "version 1");
_Static_assert(offsetof(struct amd_iommu_state, signalled) == 24, "version 1");
_Static_assert(offsetof(struct amd_iommu_state, reported) == 32, "version 1");
_Static_assert(offsetof(struct amd_iommu_state, reg) == 32 + 8192, "version 1");
_Static_assert(sizeof(struct amd_iommu_state) == 32 + 8192 + 16 * AMD_IOMMU_STATE_REGISTERS,
	       "version 1");

#define STOPPED_ALL (AMD_IOMMU_STOPPED_COMMAND | AMD_IOMMU_STOPPED_EVENT | AMD_IOMMU_STOPPED_PPR)

void amd_iommu_engine_save(struct amd_iommu_engine *e, struct amd_iommu_state *state)
{
	/* So that no message is on its way: what is saved counts as sent. */
	amd_interrupt_flush(e);
	amd_engine_lock(e);
	pthread_mutex_lock(&e->log_lock);
	*state = (struct amd_iommu_state){
		.magic = AMD_IOMMU_STATE_MAGIC,
		.version = AMD_IOMMU_STATE_VERSION,
		.size = sizeof(*state),
		.devid = e->config.devid,
		.stopped = (e->cmd_stopped ? AMD_IOMMU_STOPPED_COMMAND : 0) |
			   (e->evt_stopped ? AMD_IOMMU_STOPPED_EVENT : 0) |
			   (e->ppr_stopped ? AMD_IOMMU_STOPPED_PPR : 0),
		.signalled = e->signalled,
	};
	amd_registers_save(e, state);
	for (unsigned i = 0; i < ARRAY_SIZE(e->reported); i++)
		state->reported[i] = atomic_load_explicit(&e->reported[i], memory_order_relaxed);
	pthread_mutex_unlock(&e->log_lock);
	amd_engine_unlock(e);
}

static int state_check(const struct amd_iommu_engine *e, const struct amd_iommu_state *state)
{
	if (state->magic != AMD_IOMMU_STATE_MAGIC || state->version != AMD_IOMMU_STATE_VERSION ||
	    state->size != sizeof(*state) || state->devid != e->config.devid ||
	    state->stopped & ~STOPPED_ALL || state->signalled & ~amd_status_w1c())
		return -EINVAL;
	return amd_registers_check(e, state);
}

int amd_iommu_engine_restore(struct amd_iommu_engine *e, const struct amd_iommu_state *state)
{
	int rc = state_check(e, state);

	if (rc)
		return rc;
	amd_engine_lock(e);
	pthread_mutex_lock(&e->log_lock);
	atomic_store(&e->messages_due, 0);
	amd_registers_restore(e, state);
	e->cmd_stopped = state->stopped & AMD_IOMMU_STOPPED_COMMAND;
	e->evt_stopped = state->stopped & AMD_IOMMU_STOPPED_EVENT;
	e->ppr_stopped = state->stopped & AMD_IOMMU_STOPPED_PPR;
	e->signalled = state->signalled;
	amd_run_update(e);
	pthread_mutex_unlock(&e->log_lock);

	/* Devices begin with empty caches. */
	amd_ats_forget(e);
	amd_engine_invalidate_all(e);
	amd_watched_domains_changed(e);
	for (unsigned i = 0; i < ARRAY_SIZE(e->reported); i++)
		atomic_store_explicit(&e->reported[i], state->reported[i], memory_order_relaxed);
	/* Commands that were left, or that waited for a device. */
	if (e->kick)
		e->kick(e->worker);
	else
		amd_command_run(e);
	amd_engine_unlock(e);
	return 0;
}
