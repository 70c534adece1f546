/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PCI function that does nothing but DMA, in every way that PCI Express knows: with and without
 * PASID, through its own translation cache (ATS), asking for pages that are not there (PRI). It is
 * there to try an IOMMU, and the drivers of one.
 *
 * dma_test_regs.h describes it.
 */
#ifndef POSTERN_DMA_TEST_H
#define POSTERN_DMA_TEST_H

#include "devices/test/dma_test_regs.h"
#include "postern/dma_ats.h"
#include "postern/event_loop.h"
#include "postern/pci.h"

struct dma_test;

/* All outlive the device. */
struct dma_test_env {
	struct event_loop *loop; /* transfers run there; NULL: whoever is kicked runs them */
	struct dma_space *dma;
	struct msi_sink *sink;
	struct pci_root *root; /* NULL: the function is not published */
	uint8_t devfn;
	unsigned vectors; /* of MSI-X, up to 256 */
	uint8_t *buffer;  /* DMA_TEST_BUFFER_SIZE bytes to show as BUFFER; NULL: its own */
	/* Without a loop: dma_test_run() has something to do. Any thread. */
	void (*kick)(void *opaque);
	/* CONTROL was written with bits of DMA_TEST_TELL_*. Any thread; may be NULL. */
	void (*tell)(void *opaque, unsigned what);
	void *opaque;
};

/* Creates the device and publishes its PCI function. 0 or -errno. */
int dma_test_new(const struct dma_test_env *env, struct dma_test **device);
struct pci_function *dma_test_function(struct dma_test *device);
/* One thread at a time: what there is to do for transfers. */
void dma_test_run(struct dma_test *device);
/* After the loop, or whoever runs transfers, has stopped. */
void dma_test_free(struct dma_test *device);
/* Gives up what is under way. The thread that runs transfers. */
void dma_test_abort(struct dma_test *device);

#endif
