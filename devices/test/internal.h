/* SPDX-License-Identifier: Apache-2.0 */
/* Between the registers of the DMA test device and its transfers. */
#ifndef POSTERN_DMA_TEST_INTERNAL_H
#define POSTERN_DMA_TEST_INTERNAL_H

#include <pthread.h>

#include "devices/test/dma_test.h"

enum { CACHE_ENTRIES = 32, PRG_INDEXES = 32 };

struct cached_translation {
	bool valid;
	uint32_t pasid;
	struct dma_translation t;
};

enum transfer_state {
	TRANSFER_IDLE,
	TRANSFER_RUNNING,
	TRANSFER_WAITING, /* for the response to a page request */
};

/* The transfer that the last COMMAND began; its registers are taken over then. */
struct transfer {
	uint32_t command;
	uint32_t pasid; /* or DMA_NO_PASID */
	uint64_t source, destination, length;
	uint64_t done; /* bytes */
	bool writing;  /* of a piece in BOUNCE */
	unsigned vector;
	unsigned requests; /* page requests for the present page */
};

struct dma_test {
	struct pci_function function;
	struct dma_space *dma;
	struct event_loop *loop;
	struct event_work work;
	void (*kick)(void *opaque);
	void (*tell)(void *opaque, unsigned what);
	void *opaque;
	struct dma_atc atc;
	bool has_atc;
	unsigned ats, pasid, pri; /* offsets of capabilities */

	/* The thread that runs transfers alone. */
	struct dma_space *pasid_space;
	uint32_t pasid_space_is;
	struct transfer transfer;
	uint8_t bounce[GUEST_PAGE_SIZE];

	pthread_mutex_t lock; /* the last lock: nothing is called under it */
	uint64_t reg[DMA_TEST_REGISTERS / 8];
	uint8_t *buffer, own_buffer[DMA_TEST_BUFFER_SIZE];
	enum transfer_state state;
	bool starting, aborting;
	/* Page request that waits for its response. */
	unsigned prg_index;
	uint32_t prg_pasid;
	bool prg_open;
	/* The cache, and the page of it that a transfer is using. */
	struct cached_translation cache[CACHE_ENTRIES];
	unsigned cache_next;
	bool using;
	struct cached_translation used;
	uint32_t held[DMA_ATC_REQUESTS]; /* tags of invalidations that are open */
	unsigned helds;
};

extern const struct dma_atc_ops dma_test_atc_ops;

/* There is work for dma_test_run(). */
void dma_test_kick(struct dma_test *d);
/* Completes the invalidations that nothing keeps open any more. No lock held. */
void dma_test_release(struct dma_test *d);
/* Empties the cache. lock held. */
void dma_test_drop_all(struct dma_test *d);
/* A register's value; lock held. */
static inline uint64_t *dma_test_reg(struct dma_test *d, enum dma_test_register reg)
{
	return &d->reg[reg / 8];
}

#endif
