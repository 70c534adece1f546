// SPDX-License-Identifier: Apache-2.0
/* The engine's life, its lock, those who listen, and its own interrupt. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "iommufd/amd/internal.h"

/* The engine whose lock this thread holds: a message must wait until it is released. */
static _Thread_local const struct amd_iommu_engine *locked_here;

void amd_engine_lock(struct amd_iommu_engine *e)
{
	pthread_mutex_lock(&e->lock);
	locked_here = e;
}

void amd_engine_unlock(struct amd_iommu_engine *e)
{
	locked_here = NULL;
	pthread_mutex_unlock(&e->lock);
	amd_interrupt_flush(e);
}

/* The message that an XT interrupt register describes. */
static void message_send(struct amd_iommu_engine *e, uint64_t xt)
{
	const uint64_t dest = FIELD_GET(AMD_XT_DEST_LOW, xt) | FIELD_GET(AMD_XT_DEST_HI, xt) << 24;
	struct msi_msg msg = {
		.addr = AMD_MSI_WINDOW_FIRST | FIELD_PREP(AMD_MSI_ADDR_DEST, dest & 0xff) |
			FIELD_PREP(AMD_MSI_ADDR_DEST_HI, dest >> 8),
		.data = FIELD_GET(AMD_XT_VECTOR, xt) |
			FIELD_PREP(AMD_MSI_DATA_MODE, FIELD_GET(AMD_XT_DELIVERY, xt)),
	};

	if (xt & AMD_XT_DM)
		msg.addr |= AMD_MSI_ADDR_DM;
	if (e->message)
		e->message(e->opaque, &msg);
}

/*
 * The unit's messages are made behind the remapper and never looked up in its tables (reference
 * rule 5): the sink takes them as they are.
 */
void amd_interrupt_flush(struct amd_iommu_engine *e)
{
	unsigned due;

	if (locked_here == e || !atomic_load_explicit(&e->messages_due, memory_order_relaxed))
		return;
	due = atomic_exchange(&e->messages_due, 0);
	if (!due)
		return;
	if (!(amd_reg(e, AMD_REG_CONTROL) & AMD_CONTROL_INT_CAP_XT_EN)) {
		/* All causes share the one vector. */
		if (e->msi)
			e->msi(e->opaque);
		return;
	}
	if (due & AMD_DUE_GENERAL)
		message_send(e, amd_reg(e, AMD_REG_XT_GENERAL));
	if (due & AMD_DUE_PPR)
		message_send(e, amd_reg(e, AMD_REG_XT_PPR));
}

/* A guest that is promised more than there is would hang on it or lose isolation. */
static bool features_implemented(const struct amd_iommu_features *features)
{
	const uint64_t efr = features->efr, efr2 = features->efr2;
	/* Details of guest tables, which say nothing where there are none. */
	const uint64_t guest = AMD_EFR_GATS | AMD_EFR_GLX_SUP | AMD_EFR_PAS_MAX | AMD_EFR_US_SUP |
			       AMD_EFR_GIO_SUP | AMD_EFR_EPH_SUP;
	const uint64_t known = AMD_EFR_PREF_SUP | AMD_EFR_PPR_SUP | AMD_EFR_XT_SUP |
			       AMD_EFR_NX_SUP | AMD_EFR_GT_SUP | AMD_EFR_IA_SUP | AMD_EFR_GA_SUP |
			       AMD_EFR_HATS | AMD_EFR_HA_SUP | AMD_EFR_HD_SUP |
			       AMD_EFR_DEV_TBL_SEG | AMD_EFR_MSI_CAP_MMIO | guest;

	if (efr & ~known || efr2 & ~(AMD_EFR2_GCR3_TRP_MODE_SUP | AMD_EFR2_NUM_INT_REMAP_SUP))
		return false;
	if (FIELD_GET(AMD_EFR2_NUM_INT_REMAP_SUP, efr2) > AMD_NUM_INT_REMAP_2048)
		return false;
	if (!(efr & AMD_EFR_GT_SUP) && (efr & guest || efr2 & AMD_EFR2_GCR3_TRP_MODE_SUP))
		return false;
	if (efr & AMD_EFR_HD_SUP && !(efr & AMD_EFR_HA_SUP))
		return false;
	/* PASmax: software takes more than 16 bits for a defect (reference rule 10). */
	return FIELD_GET(AMD_EFR_HATS, efr) != AMD_EFR_HATS_NONE &&
	       FIELD_GET(AMD_EFR_GATS, efr) <= AMD_EFR_GATS_5 &&
	       FIELD_GET(AMD_EFR_GLX_SUP, efr) <= AMD_EFR_GLX_3 &&
	       FIELD_GET(AMD_EFR_PAS_MAX, efr) <= 15;
}

int amd_iommu_engine_new(const struct amd_iommu_config *config, struct amd_iommu_engine **engine)
{
	struct amd_iommu_engine *e;

	if (!features_implemented(&config->features))
		return -EOPNOTSUPP;
	e = aligned_alloc(_Alignof(struct amd_iommu_engine), sizeof(*e));
	if (!e)
		return -ENOMEM;
	memset(e, 0, sizeof(*e));
	e->config = *config;
	e->levels_max = AMD_EFR_HATS_LEVELS + FIELD_GET(AMD_EFR_HATS, config->features.efr);
	amd_devtab_init(e);
	pthread_mutex_init(&e->lock, NULL);
	pthread_mutex_init(&e->log_lock, NULL);
	amd_registers_reset(e);
	*engine = e;
	return 0;
}

void amd_iommu_engine_free(struct amd_iommu_engine *e)
{
	if (!e)
		return;
	amd_counters_fini(e);
	free(e->watch);
	pthread_mutex_destroy(&e->log_lock);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

bool amd_iommu_engine_iotlb_sup(const struct amd_iommu_engine *e)
{
	return e->config.features.iotlb_sup;
}

void amd_iommu_engine_reset(struct amd_iommu_engine *e)
{
	amd_engine_lock(e);
	amd_registers_reset(e);
	amd_ats_forget(e);
	amd_engine_invalidate_all(e);
	amd_engine_unlock(e);
}

void amd_iommu_engine_set_interrupts(struct amd_iommu_engine *e, void *opaque,
				     void (*msi)(void *opaque),
				     void (*message)(void *opaque, const struct msi_msg *msg))
{
	e->opaque = opaque;
	e->msi = msi;
	e->message = message;
}

void amd_iommu_engine_set_segment(struct amd_iommu_engine *e, unsigned segment)
{
	e->segment = segment;
}

void amd_iommu_engine_set_worker(struct amd_iommu_engine *e, void *opaque,
				 void (*kick)(void *opaque))
{
	e->worker = opaque;
	e->kick = kick;
}

void amd_iommu_engine_set_timer(struct amd_iommu_engine *e, void *opaque,
				void (*arm)(void *opaque, uint64_t nanoseconds))
{
	e->timer = opaque;
	e->arm = arm;
}

void amd_iommu_engine_run(struct amd_iommu_engine *e)
{
	amd_engine_lock(e);
	amd_command_run(e);
	amd_engine_unlock(e);
}

/* ---- listeners ---- */

void amd_iommu_engine_listen(struct amd_iommu_engine *e, struct amd_iommu_listener *listener)
{
	amd_engine_lock(e);
	listener->next = e->listeners;
	e->listeners = listener;
	amd_engine_unlock(e);
}

void amd_iommu_engine_unlisten(struct amd_iommu_engine *e, struct amd_iommu_listener *listener)
{
	struct amd_iommu_listener **at = &e->listeners;

	amd_engine_lock(e);
	while (*at && *at != listener)
		at = &(*at)->next;
	if (*at)
		*at = listener->next;
	amd_engine_unlock(e);
}

void amd_listeners_device_changed(struct amd_iommu_engine *e, uint16_t devid)
{
	for (struct amd_iommu_listener *l = e->listeners; l; l = l->next)
		if (l->device_changed)
			l->device_changed(l, devid);
}

void amd_listeners_pages_changed(struct amd_iommu_engine *e, uint16_t domain, uint64_t iova,
				 uint64_t last)
{
	for (struct amd_iommu_listener *l = e->listeners; l; l = l->next)
		if (l->pages_changed)
			l->pages_changed(l, domain, iova, last);
}

/* Those with all_changed() have been told all of it. */
void amd_listeners_domain_changed(struct amd_iommu_engine *e, uint16_t domain)
{
	for (struct amd_iommu_listener *l = e->listeners; l; l = l->next)
		if (l->pages_changed && !l->all_changed)
			l->pages_changed(l, domain, 0, ~UINT64_C(0));
}

static void listeners_all_changed(struct amd_iommu_engine *e)
{
	for (struct amd_iommu_listener *l = e->listeners; l; l = l->next) {
		if (l->all_changed)
			l->all_changed(l);
		for (unsigned i = 0; !l->all_changed && l->device_changed && i < e->watches; i++)
			l->device_changed(l, e->watch[i].devid);
	}
}

void amd_listeners_interrupts_changed(struct amd_iommu_engine *e, uint16_t devid, bool all)
{
	for (struct amd_iommu_listener *l = e->listeners; l; l = l->next)
		if (l->interrupts_changed)
			l->interrupts_changed(l, devid, all);
}

void amd_engine_invalidate_all(struct amd_iommu_engine *e)
{
	for (unsigned i = 0; i < ARRAY_SIZE(e->reported); i++)
		atomic_store_explicit(&e->reported[i], 0, memory_order_relaxed);
	amd_spaces_drop_all(e);
	listeners_all_changed(e);
	amd_listeners_interrupts_changed(e, 0, true);
}

void amd_engine_invalidate_device(struct amd_iommu_engine *e, uint16_t devid)
{
	atomic_fetch_and_explicit(&e->reported[devid / 64], ~BIT(devid % 64), memory_order_relaxed);
	amd_spaces_drop_device(e, devid);
	amd_listeners_device_changed(e, devid);
	/* Linux installs an interrupt table with INVALIDATE_DEVTAB_ENTRY alone (reference 5.2). */
	amd_listeners_interrupts_changed(e, devid, false);
}

/* ---- watched requesters ---- */

int amd_watch_get(struct amd_iommu_engine *e, uint16_t devid)
{
	for (unsigned i = 0; i < e->watches; i++) {
		if (e->watch[i].devid == devid) {
			e->watch[i].users++;
			return 0;
		}
	}
	if (e->watches == e->watch_room) {
		unsigned room = e->watch_room ? 2 * e->watch_room : 16;
		struct amd_watch *more = reallocarray(e->watch, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		e->watch = more;
		e->watch_room = room;
	}
	e->watch[e->watches++] = (struct amd_watch){.devid = devid, .users = 1};
	return 0;
}

void amd_watch_put(struct amd_iommu_engine *e, uint16_t devid)
{
	for (unsigned i = 0; i < e->watches; i++) {
		if (e->watch[i].devid != devid)
			continue;
		if (--e->watch[i].users == 0)
			e->watch[i] = e->watch[--e->watches];
		return;
	}
}

int amd_iommu_engine_watch(struct amd_iommu_engine *e, uint16_t devid)
{
	int ret;

	amd_engine_lock(e);
	ret = amd_watch_get(e, devid);
	amd_engine_unlock(e);
	return ret;
}

void amd_iommu_engine_unwatch(struct amd_iommu_engine *e, uint16_t devid)
{
	amd_engine_lock(e);
	amd_watch_put(e, devid);
	amd_engine_unlock(e);
}
