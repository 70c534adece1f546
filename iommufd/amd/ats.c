// SPDX-License-Identifier: Apache-2.0
/*
 * Devices with a translation cache of their own (48882 sections 2.1.4 and 2.6; reference section
 * 7.7): translation requests, translated requests, invalidations of the cache, and page requests.
 */
#include <errno.h>

#include "iommufd/amd/internal.h"

static struct amd_space *to_space(struct dma_space *ds)
{
	return container_of(ds, struct amd_space, ds);
}

/* ---- attaching ---- */

static struct dma_atc **atc_find(struct amd_iommu_engine *e, uint16_t devid)
{
	struct dma_atc **at = &e->atcs;

	while (*at && (*at)->devid != devid)
		at = &(*at)->next;
	return at;
}

static int ats_attach(struct dma_space *ds, struct dma_atc *atc)
{
	struct amd_space *space = to_space(ds);
	struct amd_iommu_engine *e = space->e;
	struct dma_atc **at;
	int ret = -EBUSY;

	if (!e->config.features.iotlb_sup)
		return -EOPNOTSUPP;
	amd_engine_lock(e);
	at = atc_find(e, space->devid);
	if (!*at) {
		atc->devid = space->devid;
		atc->next = NULL;
		*at = atc;
		ret = 0;
	}
	amd_engine_unlock(e);
	return ret;
}

/* ---- invalidation ---- */

/* Who takes the tag away has ended the invalidation: its device, or who gives up waiting for it. */
static bool invalidation_end(struct amd_iommu_engine *e, uint32_t tag)
{
	struct amd_invalidation *inv = &e->invalidation[tag % DMA_ATC_REQUESTS];

	return tag && atomic_compare_exchange_strong(&inv->tag, &tag, 0);
}

static void ats_invalidated(struct dma_space *ds, uint32_t tag)
{
	struct amd_iommu_engine *e = to_space(ds)->e;

	if (invalidation_end(e, tag))
		amd_hold_ended(e);
}

static void ats_detach(struct dma_space *ds, struct dma_atc *atc)
{
	struct amd_space *space = to_space(ds);
	struct amd_iommu_engine *e = space->e;
	struct dma_atc **at;

	amd_engine_lock(e);
	at = atc_find(e, space->devid);
	if (*at == atc) {
		*at = atc->next;
		for (unsigned i = 0; i < DMA_ATC_REQUESTS; i++) {
			struct amd_invalidation *inv = &e->invalidation[i];

			if (inv->devid == space->devid &&
			    invalidation_end(e, atomic_load(&inv->tag)))
				atomic_fetch_sub(&e->stale_holds, 1);
		}
		amd_command_run(e);
	}
	amd_engine_unlock(e);
}

void amd_ats_forget(struct amd_iommu_engine *e)
{
	for (unsigned i = 0; i < DMA_ATC_REQUESTS; i++)
		if (invalidation_end(e, atomic_load(&e->invalidation[i].tag)))
			atomic_fetch_sub(&e->stale_holds, 1);
}

/* Control.InvTimeOut: 1 ms and each time ten times more; 0 is no limit. */
static uint64_t time_out_ns(const struct amd_iommu_engine *e)
{
	unsigned code = FIELD_GET(AMD_CONTROL_INV_TIMEOUT, amd_reg(e, AMD_REG_CONTROL));
	uint64_t ns = 1000000;

	if (!code)
		return 0;
	/* 7 is reserved: the longest there is. */
	for (; code > 1 && ns < UINT64_C(100000000000); code--)
		ns *= 10;
	return ns;
}

static void time_out_log(struct amd_iommu_engine *e, uint16_t devid, uint64_t command)
{
	const struct amd_fault fault = {.code = AMD_IOTLB_INV_TIMEOUT, .address = command};

	amd_count(&e->counters.atc_timeouts);
	amd_tell_fault(e, devid, &fault);
	amd_event_log(e, devid, &fault);
}

void amd_ats_expire(struct amd_iommu_engine *e)
{
	uint64_t now = 0;

	if (!atomic_load(&e->stale_holds))
		return;
	for (unsigned i = 0; i < DMA_ATC_REQUESTS; i++) {
		struct amd_invalidation *inv = &e->invalidation[i];
		const uint32_t tag = atomic_load(&inv->tag);

		if (!tag || inv->deadline == UINT64_MAX)
			continue;
		if (!now)
			now = amd_now_ns();
		if (now < inv->deadline || !invalidation_end(e, tag))
			continue;
		atomic_fetch_sub(&e->stale_holds, 1);
		time_out_log(e, inv->devid, inv->command);
	}
}

void amd_ats_arm(struct amd_iommu_engine *e)
{
	uint64_t first = UINT64_MAX, now;

	if (!e->arm || !atomic_load(&e->stale_holds))
		return;
	for (unsigned i = 0; i < DMA_ATC_REQUESTS; i++) {
		const struct amd_invalidation *inv = &e->invalidation[i];

		if (atomic_load(&inv->tag) && inv->deadline < first)
			first = inv->deadline;
	}
	if (first == UINT64_MAX)
		return;
	now = amd_now_ns();
	e->arm(e->timer, first > now ? first - now : 1);
}

static bool watched(const struct amd_iommu_engine *e, uint16_t devid)
{
	for (unsigned i = 0; i < e->watches; i++)
		if (e->watch[i].devid == devid)
			return true;
	return false;
}

/* A free one, or NULL where a device or a queue has as many open as it may. */
static struct amd_invalidation *invalidation_free(struct amd_iommu_engine *e, uint16_t queue,
						  unsigned max_pend)
{
	struct amd_invalidation *found = NULL;
	unsigned open = 0;

	for (unsigned i = 0; i < DMA_ATC_REQUESTS; i++) {
		struct amd_invalidation *inv = &e->invalidation[i];

		if (!atomic_load(&inv->tag))
			found = inv;
		else
			open += inv->queue == queue;
	}
	return max_pend && open >= max_pend ? NULL : found;
}

int amd_ats_invalidate(struct amd_iommu_engine *e, uint64_t command, uint16_t devid, uint16_t queue,
		       unsigned max_pend, struct dma_atc_invalidation *inv)
{
	struct dma_atc *atc = *atc_find(e, devid);
	const uint64_t limit = time_out_ns(e);
	struct amd_invalidation *slot;
	uint32_t tag;

	if (!atc) {
		/*
		 * Nobody answers for a requester that is not there, and that is known at once. One
		 * without a cache has nothing to invalidate.
		 */
		if (!watched(e, devid) && limit)
			time_out_log(e, devid, command);
		return 0;
	}
	slot = invalidation_free(e, queue, max_pend);
	if (!slot && amd_spaces_held(e))
		return -EAGAIN;
	if (!slot) /* all were completed just now */
		slot = &e->invalidation[0];

	/* Never 0, and another one each time: a late completion must not end what came after. */
	e->invalidation_sequence += DMA_ATC_REQUESTS;
	if (!e->invalidation_sequence)
		e->invalidation_sequence = DMA_ATC_REQUESTS;
	tag = e->invalidation_sequence + (uint32_t)(slot - e->invalidation);
	slot->devid = devid;
	slot->queue = queue;
	slot->command = command;
	slot->deadline = limit ? amd_now_ns() + limit : UINT64_MAX;
	atomic_fetch_add(&e->stale_holds, 1);
	atomic_store(&slot->tag, tag);

	amd_count(&e->counters.atc_invalidations);
	inv->tag = tag;
	if (atc->ops->invalidate(atc, inv) && invalidation_end(e, tag))
		atomic_fetch_sub(&e->stale_holds, 1);
	return 0;
}

/* ---- requests with PASID ---- */

static int ats_pasid_new(struct dma_space *ds, uint32_t pasid, struct dma_space **out)
{
	const struct amd_space *space = to_space(ds);

	if (!(space->e->config.features.efr & AMD_EFR_GT_SUP))
		return -EOPNOTSUPP;
	if (space->pasid != AMD_NO_PASID)
		return -EINVAL;
	return amd_iommu_dma_space_new_pasid(space->e, space->devid, pasid, out);
}

/* ---- translation and translated requests ---- */

static int refuse(const struct amd_space *space, uint64_t address, unsigned type, bool tr)
{
	struct amd_fault fault = {
		.code = AMD_INVALID_DEVICE_REQUEST,
		.flags = FIELD_PREP(AMD_EVENT_IDTYPE, type) | (tr ? AMD_EVENT_TR : 0),
	};

	amd_space_fault(space, 0, address, 0, &fault);
	amd_count(&space->counters->faults);
	amd_tell_fault(space->e, space->devid, &fault);
	amd_event_log(space->e, space->devid, &fault);
	return -EFAULT;
}

/* An error of the tables themselves, which is never suppressed. */
static int report(const struct amd_space *space, const struct amd_device_state *state,
		  uint64_t iova, struct amd_fault *fault)
{
	amd_space_fault(space, state->domain, iova, 0, fault);
	fault->flags |= AMD_EVENT_TR;
	amd_count(&space->counters->faults);
	amd_tell_fault(space->e, space->devid, fault);
	amd_event_log(space->e, space->devid, fault);
	return -EFAULT;
}

/* -EACCES where the page does not allow ACCESS. */
static int translate_for(const struct amd_space *space, const struct amd_device_state *state,
			 uint64_t iova, unsigned access, struct dma_translation *t)
{
	struct amd_fault fault;
	struct amd_leaf leaf;
	int ret;

	amd_count(&space->counters->walks);
	ret = state->kind == AMD_TRANSLATION_V2
		      ? amd_guest_translate(space->e, state, iova, access, &leaf, &fault)
		      : amd_walk_translate(space->e->config.memory, state, iova, access, &leaf,
					   &fault);
	if (ret)
		return fault.code == AMD_IO_PAGE_FAULT ? -EACCES
						       : report(space, state, iova, &fault);
	amd_leaf_apart(state, iova, &leaf);
	t->length = BIT(leaf.shift);
	t->iova = align_down(iova, t->length);
	t->address = leaf.gpa;
	t->access = access;
	return 0;
}

static bool closed(uint64_t iova)
{
	for (unsigned i = 0; i < ARRAY_SIZE(amd_closed_ranges); i++)
		if (iova >= amd_closed_ranges[i].first && iova <= amd_closed_ranges[i].last)
			return true;
	return false;
}

/*
 * A page that is not there is an answer, not a fault. Of a page that allows less than was asked for
 * the device is told what it allows, and A and D are set for that only.
 */
static int ats_translate(struct dma_space *ds, uint64_t iova, unsigned access,
			 struct dma_translation *t)
{
	const struct amd_space *space = to_space(ds);
	const unsigned tries[] = {access, access & DMA_READ, access & DMA_WRITE};
	struct amd_iommu_engine *e = space->e;
	struct amd_translation_entry entry;
	int ret = -EACCES;

	*t = (struct dma_translation){.iova = align_down(iova, GUEST_PAGE_SIZE),
				      .length = GUEST_PAGE_SIZE};
	/* Nobody understands a translation request: Unsupported Request. */
	if (!amd_enabled(e) || !e->config.features.iotlb_sup || space->devid == e->config.devid)
		return -EFAULT;
	if (space->pasid == AMD_NO_PASID && closed(iova))
		return refuse(space, iova, AMD_INVALID_TR_RANGE, true);
	amd_devtab_translation(e, space->devid, space->pasid, &entry);
	if (entry.outside)
		return refuse(space, iova, AMD_INVALID_TR_DEVICE, true);
	if (entry.fault.code && entry.fault.code != AMD_IO_PAGE_FAULT)
		return report(space, &entry.state, iova, &entry.fault);
	if (!entry.valid || !entry.translation_valid || !entry.ats)
		return refuse(space, iova, AMD_INVALID_TR_ENTRY, true);
	if (amd_excluded(&entry.state, iova)) {
		t->address = t->iova;
		t->access = access;
		return 0;
	}
	if (entry.state.kind == AMD_TRANSLATION_BLOCKED)
		return 0;
	if (entry.state.kind == AMD_TRANSLATION_IDENTITY) {
		t->address = t->iova;
		t->access = access & entry.state.prot;
		return 0;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(tries) && ret == -EACCES; i++) {
		if (tries[i] && !(tries[i] & ~entry.state.prot))
			ret = translate_for(space, &entry.state, iova, tries[i], t);
	}
	return ret == -EACCES ? 0 : ret;
}

/* The tables were asked when the address was translated; now only whether the device may do so. */
static int ats_map_translated(struct dma_space *ds, uint64_t address, uint64_t len, unsigned access,
			      struct dma_segment *seg, unsigned max)
{
	const struct amd_space *space = to_space(ds);
	struct amd_iommu_engine *e = space->e;
	struct amd_translation_entry entry;
	unsigned used = 0;
	int ret;

	(void)access;
	if (!len || address + (len - 1) < address)
		return -EINVAL;
	if (amd_enabled(e) && space->devid != e->config.devid) {
		amd_devtab_translation(e, space->devid, AMD_NO_PASID, &entry);
		if (!entry.valid || !entry.ats || !e->config.features.iotlb_sup)
			return refuse(space, address, AMD_INVALID_PRETRANSLATED, false);
	}
	ret = amd_segments_add(e->config.memory, address, len, seg, &used, max);
	return ret ? ret : (int)used;
}

/* ---- page requests ---- */

static uint64_t request_fields(const struct amd_space *space,
			       const struct dma_page_request *request)
{
	const uint32_t pasid = space->pasid == AMD_NO_PASID ? 0 : space->pasid;

	return FIELD_PREP(AMD_PPR_DEVID, space->devid) | FIELD_PREP(AMD_PPR_PASID_15_0, pasid) |
	       FIELD_PREP(AMD_PPR_PASID_19_16, pasid >> 16) |
	       FIELD_PREP(AMD_PPR_INDEX, request->index) | (request->last ? AMD_PPR_LAST : 0);
}

static int ats_page_request(struct dma_space *ds, const struct dma_page_request *request,
			    enum dma_prg_response *response)
{
	const struct amd_space *space = to_space(ds);
	const bool tagged = space->pasid != AMD_NO_PASID;
	struct amd_iommu_engine *e = space->e;
	struct amd_translation_entry entry;
	uint64_t word;

	if (request->index >= DMA_PRG_INDEXES)
		return -EINVAL;
	amd_count(&e->counters.page_requests);
	*response = DMA_PRG_FAILURE;
	/* Nobody takes page requests. */
	if (!amd_enabled(e) || !(amd_reg(e, AMD_REG_CONTROL) & AMD_CONTROL_PPR_EN))
		goto refused;
	word = request_fields(space, request);
	amd_devtab_translation(e, space->devid, space->pasid, &entry);
	if (!entry.valid || !entry.translation_valid || !entry.ppr ||
	    (entry.fault.code && entry.fault.code != AMD_IO_PAGE_FAULT) ||
	    (tagged && entry.state.kind != AMD_TRANSLATION_V2)) {
		*response = DMA_PRG_INVALID;
		amd_tell_fault(e, space->devid,
			       &(struct amd_fault){.code = AMD_INVALID_PPR_REQUEST,
						   .address = request->iova});
		amd_event_log_words(e,
				    FIELD_PREP(AMD_EVENT_CODE, AMD_INVALID_PPR_REQUEST) | word |
					    AMD_INVALID_PPR_RX | (tagged ? AMD_INVALID_PPR_GN : 0),
				    request->iova);
		goto refused;
	}
	word |= FIELD_PREP(AMD_PPR_CODE, AMD_PAGE_SERVICE_REQUEST) |
		(request->access & DMA_READ ? AMD_PPR_R : 0) |
		(request->access & DMA_WRITE ? AMD_PPR_W : 0) |
		(tagged && request->execute ? AMD_PPR_X : 0) |
		(tagged && request->privileged ? 0 : AMD_PPR_US) | (tagged ? AMD_PPR_GN : 0);
	/* A log that does not run, or is full, takes nothing: the device hears of a failure. */
	if (amd_ppr_log(e, word, request->iova & AMD_PPR_ADDR))
		return 0;
refused:
	amd_count(&e->counters.page_requests_refused);
	return 1;
}

void amd_ats_respond(struct amd_iommu_engine *e, uint16_t devid, uint32_t pasid, unsigned index,
		     unsigned code)
{
	struct dma_atc *atc = *atc_find(e, devid);
	enum dma_prg_response response = DMA_PRG_FAILURE;

	if (!atc)
		return;
	/* All other codes are reserved, and a failure to the device (PCI Express 10.4.2.1). */
	if (code == DMA_PRG_SUCCESS || code == DMA_PRG_INVALID)
		response = (enum dma_prg_response)code;
	amd_count(&e->counters.page_responses);
	atc->ops->page_response(atc, pasid, index, response);
}

const struct dma_ats_ops amd_ats_ops = {
	.attach = ats_attach,
	.detach = ats_detach,
	.invalidated = ats_invalidated,
	.pasid_new = ats_pasid_new,
	.pasid_free = amd_iommu_dma_space_free,
	.translate = ats_translate,
	.map_translated = ats_map_translated,
	.page_request = ats_page_request,
};
