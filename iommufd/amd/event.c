// SPDX-License-Identifier: Apache-2.0
/* The event log and the condition of the unit's interrupt (reference section 6). */
#include "iommufd/amd/internal.h"

/*
 * A message is due when a Status bit whose interrupt is enabled goes from 0 to 1. The enables, and
 * a vector to send, count as part of the condition: a bit that was set while masked raises its
 * message when the mask goes, so that none is lost to the order in which software arms things.
 */
void amd_interrupt_update(struct amd_iommu_engine *e)
{
	const uint64_t control = amd_reg(e, AMD_REG_CONTROL);
	uint64_t enabled = 0, level;

	if (control & AMD_CONTROL_EVENT_INT_EN)
		enabled |= AMD_STATUS_EVENT_LOG_INT | AMD_STATUS_EVENT_OVERFLOW;
	if (control & AMD_CONTROL_COMWAIT_INT_EN)
		enabled |= AMD_STATUS_COMWAIT_INT;
	/* Software masks an XT interrupt with vector 0; those below 16 are illegal. */
	if (control & AMD_CONTROL_INT_CAP_XT_EN &&
	    FIELD_GET(AMD_XT_VECTOR, amd_reg(e, AMD_REG_XT_GENERAL)) < 16)
		enabled = 0;

	level = amd_reg(e, AMD_REG_STATUS) & enabled;
	if (level & ~e->signalled)
		atomic_store(&e->message_due, true);
	e->signalled = level;
}

static void status_set_locked(struct amd_iommu_engine *e, uint64_t bits)
{
	amd_reg_store(e, AMD_REG_STATUS, amd_reg(e, AMD_REG_STATUS) | bits);
	amd_interrupt_update(e);
}

void amd_status_set(struct amd_iommu_engine *e, uint64_t bits)
{
	pthread_mutex_lock(&e->log_lock);
	status_set_locked(e, bits);
	pthread_mutex_unlock(&e->log_lock);
}

/* Appends one entry; false where it is lost. log_lock held. */
static bool event_append(struct amd_iommu_engine *e, uint64_t word0, uint64_t word1)
{
	const uint64_t base = amd_reg(e, AMD_REG_EVT_BASE);
	const uint64_t tail = amd_reg(e, AMD_REG_EVT_TAIL);
	const uint64_t slot = (base & AMD_RING_BASE) + tail;
	const uint64_t next = (tail + AMD_RING_ENTRY) & (amd_ring_bytes(base) - 1);

	if (!(amd_reg(e, AMD_REG_STATUS) & AMD_STATUS_EVENT_LOG_RUN))
		return false;
	if (next == amd_reg(e, AMD_REG_EVT_HEAD)) {
		e->evt_stopped = true;
		status_set_locked(e, AMD_STATUS_EVENT_OVERFLOW);
		amd_run_update(e);
		return false;
	}
	/* The word with the code goes last: software takes a slot with a code for complete. */
	if (guest_memory_store64(e->config.memory, slot + 8, word1) ||
	    guest_memory_store64(e->config.memory, slot, word0))
		return false;
	amd_reg_store(e, AMD_REG_EVT_TAIL, next);
	status_set_locked(e, AMD_STATUS_EVENT_LOG_INT);
	return true;
}

/* Nothing is said to the host: the rate of events is the guest's. */
void amd_event_log(struct amd_iommu_engine *e, uint16_t devid, const struct amd_fault *fault)
{
	uint64_t word0 = FIELD_PREP(AMD_EVENT_CODE, fault->code) |
			 FIELD_PREP(AMD_EVENT_FLAGS, fault->flags) |
			 FIELD_PREP(AMD_EVENT_DEVID, devid);
	bool logged;

	if (fault->flags & AMD_EVENT_GN)
		word0 |= FIELD_PREP(AMD_EVENT_DOMAIN, fault->pasid) |
			 FIELD_PREP(AMD_EVENT_PASID_HI, fault->pasid >> 16);
	else
		word0 |= FIELD_PREP(AMD_EVENT_DOMAIN, fault->domain);
	pthread_mutex_lock(&e->log_lock);
	logged = event_append(e, word0, fault->address);
	pthread_mutex_unlock(&e->log_lock);
	amd_count(logged ? &e->counters.events : &e->counters.events_lost);
	amd_interrupt_flush(e);
}
