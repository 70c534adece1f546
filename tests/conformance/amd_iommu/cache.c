// SPDX-License-Identifier: Apache-2.0
/* Steps of devices that cache translations and ask for pages. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "tests/conformance/amd_iommu/unit.h"

#define LL(x) ((unsigned long long)(x))

static bool __attribute__((format(printf, 2, 3)))
fail(char complaint[COMPLAINT_MAX], const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(complaint, COMPLAINT_MAX, format, args);
	va_end(args);
	return false;
}

/* A PASID as cases write it: ~0 for none. */
static uint64_t pasid_of(uint32_t pasid)
{
	return pasid == DMA_NO_PASID ? ~UINT64_C(0) : pasid;
}

static bool invalidate(struct dma_atc *atc, const struct dma_atc_invalidation *inv)
{
	struct unit_cache *c = container_of(atc, struct unit_cache, atc);

	if (c->invalidations < UNIT_TOLD)
		c->invalidation[c->invalidations++] = *inv;
	return !c->slow;
}

static void page_response(struct dma_atc *atc, uint32_t pasid, unsigned index,
			  enum dma_prg_response response)
{
	struct unit_cache *c = container_of(atc, struct unit_cache, atc);

	if (c->responses == UNIT_TOLD)
		return;
	c->response[c->responses].pasid = pasid_of(pasid);
	c->response[c->responses].group = index;
	c->response[c->responses++].code = response;
}

static const struct dma_atc_ops ops = {invalidate, page_response};

static struct unit_cache *cache_of(struct unit *u, uint64_t who)
{
	for (unsigned i = 0; i < u->caches; i++)
		if (u->cache[i].atc.devid == (uint16_t)who)
			return &u->cache[i];
	return NULL;
}

static bool cache_new(struct unit *u, const uint64_t *a, char complaint[COMPLAINT_MAX])
{
	struct unit_cache *c = &u->cache[u->caches];
	int rc;

	if (u->caches == UNIT_CACHES)
		return fail(complaint, "too many caches");
	*c = (struct unit_cache){.atc.ops = &ops, .slow = a[1]};
	c->ds = unit_space(u, a[0]);
	rc = c->ds ? dma_atc_attach(c->ds, &c->atc) : -ENOMEM;
	if (rc)
		return fail(complaint, "no cache for %#llx: %s", LL(a[0]), strerror(-rc));
	u->caches++;
	return true;
}

static bool told(struct unit_cache *c, const uint64_t *a, char complaint[COMPLAINT_MAX])
{
	const struct dma_atc_invalidation *inv = &c->invalidation[c->looked_at];

	if (c->looked_at == c->invalidations)
		return fail(complaint, "the device was told of no invalidation");
	c->looked_at++;
	return (pasid_of(inv->pasid) == a[1] && inv->iova == a[2] && inv->last == a[3]) ||
	       fail(complaint, "the device was told PASID %#llx, %#llx to %#llx",
		    LL(pasid_of(inv->pasid)), LL(inv->iova), LL(inv->last));
}

static bool responded(struct unit_cache *c, const uint64_t *a, char complaint[COMPLAINT_MAX])
{
	const unsigned i = c->responses_looked_at;

	if (i == c->responses)
		return fail(complaint, "the device got no response");
	c->responses_looked_at++;
	return (c->response[i].pasid == a[1] && c->response[i].group == a[2] &&
		c->response[i].code == a[3]) ||
	       fail(complaint, "response to PASID %#llx, group %#llx: %llu",
		    LL(c->response[i].pasid), LL(c->response[i].group), LL(c->response[i].code));
}

static bool translate(struct dma_space *ds, const uint64_t *a, bool allowed,
		      char complaint[COMPLAINT_MAX])
{
	struct dma_translation t = {0};
	int rc = dma_translate(ds, a[1], allowed ? (unsigned)a[2] : DMA_READ, &t);

	if (!allowed)
		return rc == -EFAULT || fail(complaint, "translation request: %d", rc);
	if (rc || t.access != a[5])
		return fail(complaint, "translation request: %d, access %u", rc, t.access);
	return !t.access || (t.address == a[3] && t.length == a[4]) ||
	       fail(complaint, "translated to %#llx, %#llx bytes", LL(t.address), LL(t.length));
}

static bool translated(struct dma_space *ds, const uint64_t *a, char complaint[COMPLAINT_MAX])
{
	struct dma_segment seg;
	int n = dma_map_translated(ds, a[1], 8, DMA_WRITE, &seg, 1);

	return n == (a[2] ? 1 : -EFAULT) || fail(complaint, "translated request: %d", n);
}

static bool page_request(struct dma_space *ds, const uint64_t *a, char complaint[COMPLAINT_MAX])
{
	struct dma_page_request request = {
		.iova = a[1], .access = (unsigned)a[2], .index = (unsigned)a[3], .last = true};
	enum dma_prg_response response = DMA_PRG_SUCCESS;
	int rc = dma_page_request(ds, &request, &response);
	uint64_t got = rc == 1 ? (uint64_t)response : TAKEN;

	return (rc >= 0 && got == a[4]) ||
	       fail(complaint, "page request: %d, answer %u", rc, response);
}

static bool pass(struct unit *u, char complaint[COMPLAINT_MAX])
{
	struct timespec ts = {.tv_sec = (time_t)(u->armed / 1000000000),
			      .tv_nsec = (long)(u->armed % 1000000000)};

	if (!u->armed)
		return fail(complaint, "the unit waits for no time to pass");
	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts))
		;
	u->armed = 0;
	amd_iommu_engine_run(u->engine);
	return true;
}

bool cache_step(struct unit *u, const struct step *s, const uint64_t *a,
		char complaint[COMPLAINT_MAX])
{
	struct unit_cache *c = cache_of(u, a[0]);
	struct dma_space *ds;

	if (s->op == OP_CACHE)
		return cache_new(u, a, complaint);
	if (s->op == OP_PASS)
		return pass(u, complaint);
	ds = unit_space(u, a[0]);
	if (!ds)
		return fail(complaint, "no space");
	switch (s->op) {
	case OP_TRANSLATE:
	case OP_NO_TRANSLATION:
		return translate(ds, a, s->op == OP_TRANSLATE, complaint);
	case OP_TRANSLATED:
		return translated(ds, a, complaint);
	case OP_PAGE_REQUEST:
		return page_request(ds, a, complaint);
	default:
		break;
	}
	if (!c)
		return fail(complaint, "%#llx has no cache", LL(a[0]));
	if (s->op == OP_TOLD)
		return told(c, a, complaint);
	if (s->op == OP_RESPONSE)
		return responded(c, a, complaint);
	if (c->completed == c->invalidations)
		return fail(complaint, "nothing to complete");
	dma_atc_invalidated(c->ds, c->invalidation[c->completed++].tag);
	return true;
}
