// SPDX-License-Identifier: Apache-2.0
/* The DMA test device: its PCI function and registers. */
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

#include "devices/test/internal.h"
#include "postern/bits.h"

#define CLASS_OTHER   0x088000 /* base system peripheral, other */
#define MSIX_TABLE    0x2000u
#define MSIX_PENDING  0x3000u
#define EXPRESS_SIZE  0x3cu
#define PASID_BITS    20u
#define PAGE_REQUESTS 32u
#define TELL	      (DMA_TEST_TELL_ERROR | DMA_TEST_TELL_REQUEST)

/* ---- registers ---- */

/* What software may write. COMMAND starts something and holds nothing. */
static uint64_t writable(uint64_t offset)
{
	switch (offset) {
	case DMA_TEST_SOURCE:
	case DMA_TEST_DESTINATION:
		return ~UINT64_C(0);
	case DMA_TEST_LENGTH:
		return UINT32_MAX;
	case DMA_TEST_PASID:
		return GENMASK(PASID_BITS - 1, 0);
	case DMA_TEST_CONTROL:
		return DMA_TEST_HOLD;
	case DMA_TEST_VECTOR:
		return GENMASK(10, 0);
	case DMA_TEST_COMMAND:
		return 0xff;
	default:
		return 0;
	}
}

static uint64_t register_read(struct dma_test *d, uint64_t offset)
{
	uint64_t value = 0;

	if (offset == DMA_TEST_REG_ID)
		return DMA_TEST_ID;
	if (offset == DMA_TEST_COMMAND || offset >= DMA_TEST_REGISTERS)
		return 0;
	if (offset == DMA_TEST_HELD)
		return d->helds;
	if (offset != DMA_TEST_CACHED)
		return d->reg[offset / 8];
	for (unsigned i = 0; i < CACHE_ENTRIES; i++)
		value += d->cache[i].valid;
	return value;
}

static void command_write(struct dma_test *d, uint64_t value)
{
	uint64_t *status = dma_test_reg(d, DMA_TEST_STATUS);

	if (!(value & DMA_TEST_OPERATION)) {
		d->aborting = d->state != TRANSFER_IDLE;
	} else if (d->state == TRANSFER_IDLE) {
		*dma_test_reg(d, DMA_TEST_COMMAND) = value;
		*status = DMA_TEST_BUSY;
		d->state = TRANSFER_RUNNING;
		d->starting = true;
	}
}

static uint64_t bar_read(struct pci_function *fn, unsigned bar, uint64_t offset, unsigned width)
{
	struct dma_test *d = container_of(fn, struct dma_test, function);
	uint64_t value = 0;

	if (pci_msix_covers(fn, bar, offset))
		return pci_msix_read(fn, offset, width);
	pthread_mutex_lock(&d->lock);
	if (offset >= DMA_TEST_BUFFER &&
	    range_fits(offset - DMA_TEST_BUFFER, width, DMA_TEST_BUFFER_SIZE))
		memcpy(&value, d->buffer + (offset - DMA_TEST_BUFFER), width);
	else if (width >= 4 && is_aligned(offset, width))
		value = register_read(d, offset & ~UINT64_C(7)) >> 8 * (offset & 7) &
			width_mask(width);
	pthread_mutex_unlock(&d->lock);
	return value;
}

static void bar_write(struct pci_function *fn, unsigned bar, uint64_t offset, unsigned width,
		      uint64_t value)
{
	struct dma_test *d = container_of(fn, struct dma_test, function);
	const unsigned shift = 8 * (unsigned)(offset & 7);
	uint64_t at = offset & ~UINT64_C(7), mask;
	unsigned told = 0;
	bool post = false;

	if (pci_msix_covers(fn, bar, offset)) {
		pci_msix_write(fn, offset, width, value);
		return;
	}
	pthread_mutex_lock(&d->lock);
	if (offset >= DMA_TEST_BUFFER &&
	    range_fits(offset - DMA_TEST_BUFFER, width, DMA_TEST_BUFFER_SIZE)) {
		memcpy(d->buffer + (offset - DMA_TEST_BUFFER), &value, width);
	} else if (width >= 4 && is_aligned(offset, width) && at < DMA_TEST_REGISTERS) {
		mask = (width_mask(width) << shift) & writable(at);
		if (at == DMA_TEST_COMMAND && mask) {
			command_write(d, value & mask);
			post = true;
		} else {
			d->reg[at / 8] = (d->reg[at / 8] & ~mask) | (value << shift & mask);
			post = at == DMA_TEST_CONTROL;
			if (post)
				told = (unsigned)(value << shift) & TELL;
		}
	}
	pthread_mutex_unlock(&d->lock);
	if (told && d->tell)
		d->tell(d->opaque, told);
	if (post)
		dma_test_kick(d);
}

/* ---- configuration space ---- */

static bool enabled(const struct pci_function *fn, unsigned control, uint16_t bit)
{
	return pci_get16(fn, control) & bit;
}

static void config_write(struct pci_function *fn, unsigned offset, unsigned width, uint32_t value)
{
	struct dma_test *d = container_of(fn, struct dma_test, function);
	uint16_t status;

	pci_config_write(fn, offset, width, value);
	/* Page requests stop at once, and have stopped where they are not enabled (10.5.2.3). */
	status = pci_get16(fn, d->pri + PCI_PRI_STATUS) & (uint16_t)~PCI_PRI_STATUS_STOPPED;
	if (!enabled(fn, d->pri + PCI_PRI_CTRL, PCI_PRI_CTRL_ENABLE))
		status |= PCI_PRI_STATUS_STOPPED;
	pci_set16(fn, d->pri + PCI_PRI_STATUS, status);
	/* Without ATS there is nothing to be cached (10.5.1.3). */
	if (!enabled(fn, d->ats + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE)) {
		pthread_mutex_lock(&d->lock);
		dma_test_drop_all(d);
		pthread_mutex_unlock(&d->lock);
	}
}

static void power_on(struct pci_function *fn)
{
	struct dma_test *d = container_of(fn, struct dma_test, function);

	pci_set16(fn, d->ats + PCI_ATS_CTRL, 0);
	pci_set16(fn, d->pasid + PCI_PASID_CTRL, 0);
	pci_set16(fn, d->pri + PCI_PRI_CTRL, 0);
	pci_set32(fn, d->pri + PCI_PRI_ALLOC_REQ, 0);
	pci_set16(fn, d->pri + PCI_PRI_STATUS, PCI_PRI_STATUS_STOPPED | PCI_PRI_STATUS_PASID);
	pthread_mutex_lock(&d->lock);
	memset(d->reg, 0, sizeof(d->reg));
	memset(d->buffer, 0, DMA_TEST_BUFFER_SIZE);
	d->state = TRANSFER_IDLE;
	d->starting = d->aborting = d->prg_open = false;
	d->helds = 0;
	dma_test_drop_all(d);
	pthread_mutex_unlock(&d->lock);
}

static const struct pci_function_ops function_ops = {
	.config_read = pci_config_read,
	.config_write = config_write,
	.bar_read = bar_read,
	.bar_write = bar_write,
	.reset = power_on,
};

static void writable16(struct pci_function *fn, unsigned offset, uint16_t mask)
{
	fn->writable[offset] = (uint8_t)mask;
	fn->writable[offset + 1] = (uint8_t)(mask >> 8);
}

static int add_express(struct pci_function *fn)
{
	int at = pci_add_capability(fn, PCI_CAP_ID_EXP, EXPRESS_SIZE);

	if (at < 0)
		return at;
	pci_set16(fn, (unsigned)at + PCI_EXP_FLAGS, 2 | PCI_EXP_TYPE_RC_END << 4);
	pci_set32(fn, (unsigned)at + PCI_EXP_DEVCAP, PCI_EXP_DEVCAP_RBER);
	/* A PASID travels in an end-end TLP prefix: one of those. */
	pci_set32(fn, (unsigned)at + PCI_EXP_DEVCAP2, PCI_EXP_DEVCAP2_EE_PREFIX | 1u << 22);
	return 0;
}

static int add_capabilities(struct dma_test *d)
{
	struct pci_function *fn = &d->function;
	int ats, pasid, pri, rc = add_express(fn);

	if (rc)
		return rc;
	ats = pci_add_extended_capability(fn, PCI_EXT_CAP_ID_ATS, 1, 8);
	pasid = pci_add_extended_capability(fn, PCI_EXT_CAP_ID_PASID, 1, 8);
	pri = pci_add_extended_capability(fn, PCI_EXT_CAP_ID_PRI, 1, 16);
	if (ats < 0 || pasid < 0 || pri < 0)
		return -ENOSPC;
	d->ats = (unsigned)ats;
	d->pasid = (unsigned)pasid;
	d->pri = (unsigned)pri;
	/* Queue depth 0 stands for 32. */
	pci_set16(fn, d->ats + PCI_ATS_CAP, PCI_ATS_CAP_PAGE_ALIGNED);
	writable16(fn, d->ats + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE | 0x1f);
	pci_set16(fn, d->pasid + PCI_PASID_CAP, PASID_BITS << 8);
	writable16(fn, d->pasid + PCI_PASID_CTRL, PCI_PASID_CTRL_ENABLE);
	writable16(fn, d->pri + PCI_PRI_CTRL, PCI_PRI_CTRL_ENABLE);
	pci_set32(fn, d->pri + PCI_PRI_MAX_REQ, PAGE_REQUESTS);
	writable16(fn, d->pri + PCI_PRI_ALLOC_REQ, 0xffff);
	writable16(fn, d->pri + PCI_PRI_ALLOC_REQ + 2, 0xffff);
	return 0;
}

/* ---- life ---- */

static void run_posted(struct event_work *work)
{
	dma_test_run(container_of(work, struct dma_test, work));
}

void dma_test_kick(struct dma_test *d)
{
	if (d->loop)
		event_loop_post(d->loop, &d->work);
	else
		d->kick(d->opaque);
}

struct pci_function *dma_test_function(struct dma_test *d)
{
	return &d->function;
}

int dma_test_new(const struct dma_test_env *env, struct dma_test **device)
{
	static const struct pci_id id = {
		.vendor = DMA_TEST_VENDOR, .device = DMA_TEST_DEVICE, .class_code = CLASS_OTHER};
	struct dma_test *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return -ENOMEM;
	d->dma = env->dma;
	d->loop = env->loop;
	d->work.run = run_posted;
	d->kick = env->kick;
	d->tell = env->tell;
	d->opaque = env->opaque;
	d->buffer = env->buffer ? env->buffer : d->own_buffer;
	d->atc.ops = &dma_test_atc_ops;
	pthread_mutex_init(&d->lock, NULL);
	pci_function_init(&d->function, "dma-test", &function_ops, &id);
	d->function.sink = env->sink;
	rc = pci_add_bar(&d->function, 0, DMA_TEST_BAR_SIZE, 0);
	if (!rc)
		rc = add_capabilities(d);
	if (!rc)
		rc = pci_add_msix(&d->function, env->vectors, 0, MSIX_TABLE, MSIX_PENDING);
	if (rc)
		goto err;
	power_on(&d->function);
	/* Where nobody offers it the device is one without a cache: its commands say so. */
	rc = dma_atc_attach(d->dma, &d->atc);
	if (rc && rc != -EOPNOTSUPP)
		goto err;
	d->has_atc = !rc;
	rc = env->root ? pci_root_add(env->root, &d->function, env->devfn) : 0;
	if (rc)
		goto err_atc;
	*device = d;
	return 0;

err_atc:
	if (d->has_atc)
		dma_atc_detach(d->dma, &d->atc);
err:
	pci_function_fini(&d->function);
	pthread_mutex_destroy(&d->lock);
	free(d);
	return rc;
}

void dma_test_free(struct dma_test *d)
{
	if (!d)
		return;
	if (d->has_atc)
		dma_atc_detach(d->dma, &d->atc);
	dma_pasid_free(d->pasid_space);
	pci_function_fini(&d->function);
	pthread_mutex_destroy(&d->lock);
	free(d);
}
