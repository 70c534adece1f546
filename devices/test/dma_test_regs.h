/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a driver needs to know of the DMA test device: a root complex integrated endpoint with ATS,
 * PASID and PRI capabilities and MSI-X vectors (--dma-test has one, --vfio soft= has 8). All else
 * is in BAR 0 (16 KiB): registers of 64 bits, which take aligned accesses of 4 and 8 bytes, a
 * buffer, and the MSI-X table.
 *
 * A write of COMMAND starts a transfer, which runs on the event loop's thread, or with no operation
 * in it ends the one that runs; else it is ignored while one runs. What a transfer cannot have
 * fails with an error. Nothing is tried again but translations that an invalidation has overtaken.
 */
#ifndef POSTERN_DMA_TEST_REGS_H
#define POSTERN_DMA_TEST_REGS_H

#include <stdint.h>

#define DMA_TEST_VENDOR 0x1b36
#define DMA_TEST_DEVICE 0x11fd
#define DMA_TEST_ID	UINT64_C(0x0000000154414d44)

/* Offsets in BAR 0. Read-only unless said otherwise. */
enum dma_test_register {
	DMA_TEST_REG_ID = 0x00,	     /* DMA_TEST_ID */
	DMA_TEST_COMMAND = 0x08,     /* write-only: enum dma_test_command */
	DMA_TEST_STATUS = 0x10,	     /* DMA_TEST_BUSY, _DONE or _FAILED; 15:8 dma_test_error */
	DMA_TEST_SOURCE = 0x18,	     /* read-write: what READ and COPY read */
	DMA_TEST_DESTINATION = 0x20, /* read-write: what WRITE and COPY write */
	DMA_TEST_LENGTH = 0x28,	     /* read-write: bytes, at least 1 */
	DMA_TEST_PASID = 0x30,	     /* read-write: 19:0 */
	DMA_TEST_FAULT = 0x38,	     /* where the last transfer failed */
	DMA_TEST_CACHED = 0x40,	     /* translations in the cache */
	DMA_TEST_INVALIDATED = 0x48, /* Invalidate Requests received */
	DMA_TEST_REQUESTED = 0x50,   /* page requests made */
	DMA_TEST_ANSWERED = 0x58,    /* 31:0 responses received; 63:32 those that nobody expected */
	DMA_TEST_RESPONSE = 0x60,    /* of the last one: 3:0 code, 16:8 group index */
	DMA_TEST_CONTROL = 0x68,     /* read-write: DMA_TEST_HOLD; the others read as 0 */
	DMA_TEST_HELD = 0x70,	     /* Invalidate Requests that are not complete */
	DMA_TEST_VECTOR = 0x78,	     /* read-write: 10:0 what INTERRUPT raises, if it exists */
	DMA_TEST_REGISTERS = 0x80,   /* end of them */
	DMA_TEST_BUFFER = 0x1000,    /* read-write: what READ fills and WRITE takes from */
};

#define DMA_TEST_BAR_SIZE    0x4000u
#define DMA_TEST_BUFFER_SIZE 0x1000u
#define DMA_TEST_COPY_MAX    0x10000u

enum dma_test_command {
	DMA_TEST_READ = 1,	/* memory to BUFFER, up to its size */
	DMA_TEST_WRITE = 2,	/* BUFFER to memory */
	DMA_TEST_COPY = 3,	/* memory to memory, up to DMA_TEST_COPY_MAX */
	DMA_TEST_OPERATION = 3, /* mask */
	DMA_TEST_WITH_PASID = 0x10,
	DMA_TEST_WITH_ATS = 0x20,
	DMA_TEST_WITH_PRI = 0x40, /* with ATS: ask for pages that are not there */
	DMA_TEST_INTERRUPT = 0x80,
};

#define DMA_TEST_BUSY	      1u
#define DMA_TEST_DONE	      2u
#define DMA_TEST_FAILED	      4u
#define DMA_TEST_STATUS_SHIFT 8

/* Of CONTROL. What is told reaches the host's VFIO, and whoever assigned the device. */
#define DMA_TEST_HOLD	      1u /* Invalidate Requests are left open until it is 0 */
#define DMA_TEST_TELL_ERROR   2u /* tell of an uncorrectable error */
#define DMA_TEST_TELL_REQUEST 4u /* tell that the device is wanted back */

#define DMA_TEST_UNEXPECTED 32 /* shift in ANSWERED */

enum dma_test_error {
	DMA_TEST_ERROR_NONE,
	DMA_TEST_ERROR_DISABLED, /* bus mastering, PASID, ATS or PRI is not enabled */
	DMA_TEST_ERROR_LENGTH,
	DMA_TEST_ERROR_REFUSED,	     /* the access, or the translation request */
	DMA_TEST_ERROR_NOT_PRESENT,  /* the translation has no such permission */
	DMA_TEST_ERROR_PAGE_INVALID, /* page request answered with Invalid Request */
	DMA_TEST_ERROR_PAGE_FAILURE, /* with Response Failure */
	DMA_TEST_ERROR_UNSTABLE,     /* invalidations kept coming, or pages did not stay */
	DMA_TEST_ERROR_ABORTED,
	DMA_TEST_ERROR_ABSENT, /* no IOMMU that offers this */
};

#endif
