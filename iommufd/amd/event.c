// SPDX-License-Identifier: Apache-2.0
/* The event and PPR logs, and the condition of the unit's interrupts (reference section 6). */
#include <errno.h>

#include "iommufd/amd/internal.h"

/*
 * A message is due when a Status bit whose interrupt is enabled goes from 0 to 1. The enables, and
 * a vector to send, count as part of the condition: a bit that was set while masked raises its
 * message when the mask goes, so that none is lost to the order in which software arms things.
 */
void amd_interrupt_update(struct amd_iommu_engine *e)
{
	const uint64_t control = amd_reg(e, AMD_REG_CONTROL);
	uint64_t general = 0, ppr = 0, level;

	if (control & AMD_CONTROL_EVENT_INT_EN)
		general |= AMD_STATUS_EVENT_LOG_INT | AMD_STATUS_EVENT_OVERFLOW;
	if (control & AMD_CONTROL_COMWAIT_INT_EN)
		general |= AMD_STATUS_COMWAIT_INT;
	if (control & AMD_CONTROL_PPR_INT_EN)
		ppr |= AMD_STATUS_PPR_INT | AMD_STATUS_PPR_OVERFLOW;
	/* Software masks an XT interrupt with vector 0; those below 16 are illegal. */
	if (control & AMD_CONTROL_INT_CAP_XT_EN) {
		if (FIELD_GET(AMD_XT_VECTOR, amd_reg(e, AMD_REG_XT_GENERAL)) < 16)
			general = 0;
		if (FIELD_GET(AMD_XT_VECTOR, amd_reg(e, AMD_REG_XT_PPR)) < 16)
			ppr = 0;
	}

	level = amd_reg(e, AMD_REG_STATUS) & (general | ppr);
	if (level & general & ~e->signalled)
		atomic_fetch_or(&e->messages_due, AMD_DUE_GENERAL);
	if (level & ppr & ~e->signalled)
		atomic_fetch_or(&e->messages_due, AMD_DUE_PPR);
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

/* One of the rings that the unit writes. */
struct amd_log {
	enum amd_reg base, head, tail;
	uint64_t run, interrupt, overflow; /* of Status */
};

static const struct amd_log event_log = {
	AMD_REG_EVT_BASE,	  AMD_REG_EVT_HEAD,	    AMD_REG_EVT_TAIL,
	AMD_STATUS_EVENT_LOG_RUN, AMD_STATUS_EVENT_LOG_INT, AMD_STATUS_EVENT_OVERFLOW,
};

static const struct amd_log ppr_log = {
	AMD_REG_PPR_BASE,	AMD_REG_PPR_HEAD,   AMD_REG_PPR_TAIL,
	AMD_STATUS_PPR_LOG_RUN, AMD_STATUS_PPR_INT, AMD_STATUS_PPR_OVERFLOW,
};

/* Appends one entry; false where it is lost. STOPPED is set where there is no room. log_lock held.
 */
static bool log_append(struct amd_iommu_engine *e, const struct amd_log *log, bool *stopped,
		       uint64_t word0, uint64_t word1)
{
	const uint64_t base = amd_reg(e, log->base);
	const uint64_t tail = amd_reg(e, log->tail);
	const uint64_t slot = (base & AMD_RING_BASE) + tail;
	const uint64_t next = (tail + AMD_RING_ENTRY) & (amd_ring_bytes(base) - 1);

	if (!(amd_reg(e, AMD_REG_STATUS) & log->run))
		return false;
	if (next == amd_reg(e, log->head)) {
		*stopped = true;
		status_set_locked(e, log->overflow);
		amd_run_update(e);
		return false;
	}
	/* The word with the code goes last: software takes a slot with a code for complete. */
	if (guest_memory_store64(e->config.memory, slot + 8, word1) ||
	    guest_memory_store64(e->config.memory, slot, word0))
		return false;
	amd_reg_store(e, log->tail, next);
	status_set_locked(e, log->interrupt);
	return true;
}

bool amd_ppr_log(struct amd_iommu_engine *e, uint64_t word0, uint64_t word1)
{
	bool logged;

	pthread_mutex_lock(&e->log_lock);
	logged = log_append(e, &ppr_log, &e->ppr_stopped, word0, word1);
	pthread_mutex_unlock(&e->log_lock);
	amd_interrupt_flush(e);
	return logged;
}

void amd_event_log_words(struct amd_iommu_engine *e, uint64_t word0, uint64_t word1)
{
	struct amd_device_counters *counters =
		amd_device_counters_find(e, FIELD_GET(AMD_EVENT_DEVID, word0));
	bool logged;

	pthread_mutex_lock(&e->log_lock);
	logged = log_append(e, &event_log, &e->evt_stopped, word0, word1);
	pthread_mutex_unlock(&e->log_lock);
	amd_count(logged ? &e->counters.events : &e->counters.events_lost);
	if (counters)
		amd_count(&counters->events);
	amd_interrupt_flush(e);
}

void amd_event_log(struct amd_iommu_engine *e, uint16_t devid, const struct amd_fault *fault)
{
	uint64_t word0 = FIELD_PREP(AMD_EVENT_CODE, fault->code) |
			 FIELD_PREP(AMD_EVENT_FLAGS, fault->flags) |
			 FIELD_PREP(AMD_EVENT_DEVID, devid);

	if (fault->flags & AMD_EVENT_GN)
		word0 |= FIELD_PREP(AMD_EVENT_DOMAIN, fault->pasid) |
			 FIELD_PREP(AMD_EVENT_PASID_HI, fault->pasid >> 16);
	else
		word0 |= FIELD_PREP(AMD_EVENT_DOMAIN, fault->domain);
	amd_event_log_words(e, word0, fault->address);
}

int amd_iommu_engine_report(struct amd_iommu_engine *e, const uint64_t entry[2])
{
	if (!FIELD_GET(AMD_EVENT_CODE, entry[0]))
		return -EINVAL;
	amd_event_log_words(e, entry[0], entry[1]);
	return 0;
}
