// SPDX-License-Identifier: Apache-2.0
/* The DMA test device's transfers, page by page, and its translation cache. */
#include <linux/pci_regs.h>
#include <string.h>

#include "devices/test/internal.h"
#include "postern/bits.h"

/* Translations that invalidations overtake, and page requests for one page, before it gives up. */
enum { TRIES_MAX = 64, REQUESTS_MAX = 8 };

/* ---- the cache ---- */

static bool concerns(const struct dma_atc_invalidation *inv, const struct cached_translation *c)
{
	return c->t.iova <= inv->last && c->t.iova + (c->t.length - 1) >= inv->iova &&
	       (c->pasid == DMA_NO_PASID ? inv->untagged : c->pasid == inv->pasid);
}

/* What a transfer is using at this moment is complete when it has used it. */
static bool atc_invalidate(struct dma_atc *atc, const struct dma_atc_invalidation *inv)
{
	struct dma_test *d = container_of(atc, struct dma_test, atc);
	bool complete;

	pthread_mutex_lock(&d->lock);
	++*dma_test_reg(d, DMA_TEST_INVALIDATED);
	for (unsigned i = 0; i < CACHE_ENTRIES; i++)
		if (d->cache[i].valid && concerns(inv, &d->cache[i]))
			d->cache[i].valid = false;
	complete = !(*dma_test_reg(d, DMA_TEST_CONTROL) & DMA_TEST_HOLD) &&
		   !(d->using && concerns(inv, &d->used));
	/* The IOMMU has no more of them open than a device must hold. */
	if (!complete && d->helds < DMA_ATC_REQUESTS)
		d->held[d->helds++] = inv->tag;
	pthread_mutex_unlock(&d->lock);
	return complete;
}

/*
 * The index tells groups apart. A PASID can only contradict: Linux's driver sends one, or none, by
 * the kind of tables that the device's domain has, whatever the request had, and PCI Express leaves
 * open what a function makes of that (10.5.2.3).
 */
static bool answers(const struct dma_test *d, uint32_t pasid, unsigned index)
{
	return d->prg_open && index == d->prg_index &&
	       (pasid == d->prg_pasid || pasid == DMA_NO_PASID || d->prg_pasid == DMA_NO_PASID);
}

static void atc_page_response(struct dma_atc *atc, uint32_t pasid, unsigned index,
			      enum dma_prg_response response)
{
	struct dma_test *d = container_of(atc, struct dma_test, atc);

	pthread_mutex_lock(&d->lock);
	if (answers(d, pasid, index)) {
		d->prg_open = false;
		++*dma_test_reg(d, DMA_TEST_ANSWERED);
		*dma_test_reg(d, DMA_TEST_RESPONSE) = (uint64_t)index << 8 | response;
	} else {
		*dma_test_reg(d, DMA_TEST_ANSWERED) += BIT(DMA_TEST_UNEXPECTED);
	}
	pthread_mutex_unlock(&d->lock);
	dma_test_kick(d);
}

const struct dma_atc_ops dma_test_atc_ops = {
	.invalidate = atc_invalidate,
	.page_response = atc_page_response,
};

void dma_test_drop_all(struct dma_test *d)
{
	for (unsigned i = 0; i < CACHE_ENTRIES; i++)
		d->cache[i].valid = false;
}

void dma_test_release(struct dma_test *d)
{
	uint32_t tags[DMA_ATC_REQUESTS];
	unsigned count = 0;

	pthread_mutex_lock(&d->lock);
	if (!d->using && !(*dma_test_reg(d, DMA_TEST_CONTROL) & DMA_TEST_HOLD)) {
		count = d->helds;
		memcpy(tags, d->held, count * sizeof(*tags));
		d->helds = 0;
	}
	pthread_mutex_unlock(&d->lock);
	for (unsigned i = 0; i < count; i++)
		dma_atc_invalidated(d->dma, tags[i]);
}

/* ---- one page ---- */

static uint64_t read_register(struct dma_test *d, enum dma_test_register reg)
{
	uint64_t value;

	pthread_mutex_lock(&d->lock);
	value = *dma_test_reg(d, reg);
	pthread_mutex_unlock(&d->lock);
	return value;
}

/* Begins to use what is cached for IOVA. */
static bool use_cached(struct dma_test *d, uint64_t iova, unsigned access)
{
	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; i < CACHE_ENTRIES && !d->using; i++) {
		const struct cached_translation *c = &d->cache[i];

		if (c->valid && c->pasid == d->transfer.pasid && iova >= c->t.iova &&
		    iova - c->t.iova < c->t.length && !(access & ~c->t.access)) {
			d->used = *c;
			d->using = true;
		}
	}
	pthread_mutex_unlock(&d->lock);
	return d->using;
}

static void use_end(struct dma_test *d)
{
	pthread_mutex_lock(&d->lock);
	d->using = false;
	pthread_mutex_unlock(&d->lock);
	dma_test_release(d);
}

/* Caches T, unless an invalidation has come since there were INVALIDATED of them. */
static bool cache_insert(struct dma_test *d, const struct dma_translation *t, uint64_t invalidated)
{
	bool same;

	pthread_mutex_lock(&d->lock);
	same = *dma_test_reg(d, DMA_TEST_INVALIDATED) == invalidated;
	if (same && t->access) {
		struct cached_translation *into = NULL;

		for (unsigned i = 0; i < CACHE_ENTRIES; i++)
			if (d->cache[i].valid && d->cache[i].pasid == d->transfer.pasid &&
			    d->cache[i].t.iova == t->iova)
				into = &d->cache[i];
		if (!into)
			into = &d->cache[d->cache_next++ % CACHE_ENTRIES];
		*into = (struct cached_translation){
			.valid = true, .pasid = d->transfer.pasid, .t = *t};
	}
	pthread_mutex_unlock(&d->lock);
	return same;
}

enum { PENDING = -1 }; /* beside enum dma_test_error */

/* Asks for the page of IOVA; the transfer goes on with the response. */
static int request_page(struct dma_test *d, struct dma_space *ds, uint64_t iova, unsigned access)
{
	struct dma_page_request request = {.iova = iova, .access = access, .last = true};
	enum dma_prg_response response;
	int rc;

	if (++d->transfer.requests > REQUESTS_MAX)
		return DMA_TEST_ERROR_UNSTABLE;
	pthread_mutex_lock(&d->lock);
	d->prg_index = (d->prg_index + 1) % PRG_INDEXES;
	d->prg_pasid = d->transfer.pasid;
	d->prg_open = true;
	d->state = TRANSFER_WAITING;
	++*dma_test_reg(d, DMA_TEST_REQUESTED);
	request.index = d->prg_index;
	pthread_mutex_unlock(&d->lock);
	/* Software may answer before this returns. */
	rc = dma_page_request(ds, &request, &response);
	if (!rc)
		return PENDING;
	pthread_mutex_lock(&d->lock);
	d->prg_open = false;
	d->state = TRANSFER_RUNNING;
	if (rc == 1)
		*dma_test_reg(d, DMA_TEST_RESPONSE) = (uint64_t)request.index << 8 | response;
	pthread_mutex_unlock(&d->lock);
	if (rc != 1)
		return DMA_TEST_ERROR_ABSENT;
	return response == DMA_PRG_INVALID ? DMA_TEST_ERROR_PAGE_INVALID
					   : DMA_TEST_ERROR_PAGE_FAILURE;
}

/* Begins to use the translation of IOVA, from the cache or from the IOMMU. */
static int translate(struct dma_test *d, struct dma_space *ds, uint64_t iova, unsigned access)
{
	for (unsigned i = 0; i < TRIES_MAX; i++) {
		uint64_t before = read_register(d, DMA_TEST_INVALIDATED);
		struct dma_translation t;
		int rc;

		if (use_cached(d, iova, access))
			return DMA_TEST_ERROR_NONE;
		rc = dma_translate(ds, iova, access, &t);
		if (rc)
			return rc == -EFAULT ? DMA_TEST_ERROR_REFUSED : DMA_TEST_ERROR_ABSENT;
		if (!cache_insert(d, &t, before))
			continue;
		if (!(access & ~t.access))
			continue;
		return d->transfer.command & DMA_TEST_WITH_PRI ? request_page(d, ds, iova, access)
							       : DMA_TEST_ERROR_NOT_PRESENT;
	}
	return DMA_TEST_ERROR_UNSTABLE;
}

/* Moves LEN bytes, inside a page, between BOUNCE and IOVA. */
static int move(struct dma_test *d, struct dma_space *ds, uint64_t iova, uint64_t len,
		unsigned access)
{
	struct dma_segment seg[2];
	uint8_t *at = d->bounce;
	uint64_t address;
	int n, rc;

	if (!(d->transfer.command & DMA_TEST_WITH_ATS)) {
		rc = access == DMA_WRITE ? dma_space_write(ds, iova, d->bounce, len)
					 : dma_space_read(ds, iova, d->bounce, len);
		return rc ? DMA_TEST_ERROR_REFUSED : DMA_TEST_ERROR_NONE;
	}
	rc = translate(d, ds, iova, access);
	if (rc)
		return rc;
	address = d->used.t.address + (iova - d->used.t.iova);
	n = dma_map_translated(d->dma, address, len, access, seg, ARRAY_SIZE(seg));
	for (int i = 0; i < n; i++) {
		if (access == DMA_WRITE)
			memcpy(seg[i].host, at, seg[i].len);
		else
			memcpy(at, seg[i].host, seg[i].len);
		at += seg[i].len;
	}
	use_end(d);
	return n < 0 ? DMA_TEST_ERROR_REFUSED : DMA_TEST_ERROR_NONE;
}

/* ---- a transfer ---- */

static bool bit_set(struct dma_test *d, unsigned offset, uint16_t bit)
{
	struct pci_function *fn = &d->function;
	bool set;

	pthread_mutex_lock(&fn->lock);
	set = pci_get16(fn, offset) & bit;
	pthread_mutex_unlock(&fn->lock);
	return set;
}

/* The space of the transfer's requests. */
static int find_space(struct dma_test *d, struct dma_space **ds)
{
	*ds = d->dma;
	if (d->transfer.pasid == DMA_NO_PASID)
		return DMA_TEST_ERROR_NONE;
	if (!d->pasid_space || d->pasid_space_is != d->transfer.pasid) {
		dma_pasid_free(d->pasid_space);
		d->pasid_space = NULL;
		if (dma_pasid_new(d->dma, d->transfer.pasid, &d->pasid_space))
			return DMA_TEST_ERROR_ABSENT;
		d->pasid_space_is = d->transfer.pasid;
	}
	*ds = d->pasid_space;
	return DMA_TEST_ERROR_NONE;
}

static int transfer_check(struct dma_test *d)
{
	const struct transfer *t = &d->transfer;
	const unsigned operation = t->command & DMA_TEST_OPERATION;
	const bool copy = operation == DMA_TEST_COPY;

	if (!t->length || t->length > (copy ? DMA_TEST_COPY_MAX : DMA_TEST_BUFFER_SIZE) ||
	    (operation != DMA_TEST_WRITE && t->source + (t->length - 1) < t->source) ||
	    (operation != DMA_TEST_READ && t->destination + (t->length - 1) < t->destination))
		return DMA_TEST_ERROR_LENGTH;
	if (!bit_set(d, PCI_COMMAND, PCI_COMMAND_MASTER) ||
	    (t->command & DMA_TEST_WITH_PASID &&
	     !bit_set(d, d->pasid + PCI_PASID_CTRL, PCI_PASID_CTRL_ENABLE)) ||
	    (t->command & DMA_TEST_WITH_ATS &&
	     !bit_set(d, d->ats + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE)) ||
	    (t->command & DMA_TEST_WITH_PRI &&
	     !bit_set(d, d->pri + PCI_PRI_CTRL, PCI_PRI_CTRL_ENABLE)))
		return DMA_TEST_ERROR_DISABLED;
	return DMA_TEST_ERROR_NONE;
}

/* The next bytes of what is read or written, that lie in one page. */
static uint64_t piece(uint64_t iova, uint64_t left)
{
	const uint64_t room = GUEST_PAGE_SIZE - iova % GUEST_PAGE_SIZE;

	return left < room ? left : room;
}

/* An error, PENDING, or 0 when all is done. FAULT: where. */
static int transfer_run(struct dma_test *d, uint64_t *fault)
{
	struct transfer *t = &d->transfer;
	const unsigned operation = t->command & DMA_TEST_OPERATION;
	struct dma_space *ds;
	int rc = find_space(d, &ds);

	while (!rc && t->done < t->length) {
		const uint64_t from = t->source + t->done, to = t->destination + t->done;
		uint64_t len = t->length - t->done;

		len = operation == DMA_TEST_WRITE ? len : piece(from, len);
		len = operation == DMA_TEST_READ ? len : piece(to, len);
		if (!t->writing && operation == DMA_TEST_WRITE) {
			pthread_mutex_lock(&d->lock);
			memcpy(d->bounce, d->buffer + t->done, len);
			pthread_mutex_unlock(&d->lock);
		} else if (!t->writing) {
			*fault = from;
			rc = move(d, ds, from, len, DMA_READ);
			if (rc)
				break;
			t->requests = 0;
		}
		/* From here on BOUNCE is what is to be written, also after a page request. */
		t->writing = true;
		if (operation == DMA_TEST_READ) {
			pthread_mutex_lock(&d->lock);
			memcpy(d->buffer + t->done, d->bounce, len);
			pthread_mutex_unlock(&d->lock);
		} else {
			*fault = to;
			rc = move(d, ds, to, len, DMA_WRITE);
			if (rc)
				break;
			t->requests = 0;
		}
		t->writing = false;
		t->done += len;
	}
	return rc;
}

static void transfer_end(struct dma_test *d, int error, uint64_t fault)
{
	const bool interrupt = d->transfer.command & DMA_TEST_INTERRUPT;

	pthread_mutex_lock(&d->lock);
	d->state = TRANSFER_IDLE;
	d->prg_open = d->aborting = false;
	*dma_test_reg(d, DMA_TEST_FAULT) = error ? fault : 0;
	*dma_test_reg(d, DMA_TEST_STATUS) = (error ? DMA_TEST_FAILED : DMA_TEST_DONE) |
					    (uint64_t)error << DMA_TEST_STATUS_SHIFT;
	pthread_mutex_unlock(&d->lock);
	/* A refused message is the guest's own doing and known to its event log. */
	if (interrupt)
		pci_msix_raise(&d->function, d->transfer.vector);
}

/* What to do next: whether a transfer is to go on, and with what error it ends at once. */
static bool take_over(struct dma_test *d, bool *fresh, int *error)
{
	struct transfer *t = &d->transfer;
	bool run;

	pthread_mutex_lock(&d->lock);
	*fresh = d->starting;
	if (d->starting) {
		*t = (struct transfer){
			.command = (uint32_t)*dma_test_reg(d, DMA_TEST_COMMAND),
			.source = *dma_test_reg(d, DMA_TEST_SOURCE),
			.destination = *dma_test_reg(d, DMA_TEST_DESTINATION),
			.length = *dma_test_reg(d, DMA_TEST_LENGTH),
			.vector = (unsigned)*dma_test_reg(d, DMA_TEST_VECTOR),
		};
		t->pasid = t->command & DMA_TEST_WITH_PASID
				   ? (uint32_t)*dma_test_reg(d, DMA_TEST_PASID)
				   : DMA_NO_PASID;
		d->starting = false;
	} else if (d->state == TRANSFER_WAITING && !d->prg_open) {
		unsigned response = *dma_test_reg(d, DMA_TEST_RESPONSE) & 0xf;

		d->state = TRANSFER_RUNNING;
		if (response != DMA_PRG_SUCCESS)
			*error = response == DMA_PRG_INVALID ? DMA_TEST_ERROR_PAGE_INVALID
							     : DMA_TEST_ERROR_PAGE_FAILURE;
	}
	run = d->state == TRANSFER_RUNNING;
	if (d->aborting && d->state != TRANSFER_IDLE) {
		*error = DMA_TEST_ERROR_ABORTED;
		run = true;
	}
	pthread_mutex_unlock(&d->lock);
	return run;
}

void dma_test_run(struct dma_test *d)
{
	int error = DMA_TEST_ERROR_NONE;
	uint64_t fault;
	bool fresh;

	dma_test_release(d);
	if (!take_over(d, &fresh, &error))
		return;
	fault = d->transfer.writing ? d->transfer.destination + d->transfer.done
				    : d->transfer.source + d->transfer.done;
	if (!error && fresh)
		error = transfer_check(d);
	if (!error)
		error = transfer_run(d, &fault);
	if (error != PENDING)
		transfer_end(d, error, fault);
}

void dma_test_abort(struct dma_test *d)
{
	pthread_mutex_lock(&d->lock);
	d->aborting = d->state != TRANSFER_IDLE;
	pthread_mutex_unlock(&d->lock);
	dma_test_run(d);
}
