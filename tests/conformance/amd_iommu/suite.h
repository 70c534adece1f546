/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a case is written: an id, the section of the reference it checks, what it checks, and steps.
 * A step is one act (of the guest, or of a device behind the unit) or one expectation.
 */
#ifndef POSTERN_CONFORMANCE_SUITE_H
#define POSTERN_CONFORMANCE_SUITE_H

#include <stdio.h>

#include "postern/bus.h"
#include "postern/dma_space.h"
#include "tests/conformance/amd_iommu/layout.h"

enum step_op {
	OP_END,
	/* the guest: registers, memory, the ring */
	OP_WRITE,
	OP_READ,
	OP_BELOW,
	OP_SAVE,
	OP_SAME,
	OP_STORE,
	OP_LOAD,
	OP_UP,
	OP_CONTROL,
	OP_RING,
	OP_QUEUE,
	OP_DOORBELL,
	OP_LOG,
	OP_DTE,
	OP_BUILD,
	OP_RESET,
	/* devices and what comes of it */
	OP_MAP,
	OP_MAP2,
	OP_REFUSED,
	OP_DMA_WRITE,
	OP_REMAP,
	OP_NO_REMAP,
	OP_EVENT,
	OP_ANY_EVENTS,
	OP_MESSAGE,
	OP_MESSAGES,
	OP_NOTE,
	OP_FORGET,
	OP_MARK,
	OP_STALE,
	OP_STORM,
	/* devices with a translation cache */
	OP_CACHE,
	OP_ANSWER,
	OP_TOLD,
	OP_TRANSLATE,
	OP_NO_TRANSLATION,
	OP_TRANSLATED,
	OP_PAGE_REQUEST,
	OP_RESPONSE,
	OP_PASS,
	/* repetition of the next steps */
	OP_TIMES,
	OP_EACH_BIT,
};

enum note_kind { NOTE_DEVICE, NOTE_PAGES, NOTE_INTERRUPTS, NOTE_ALL_INTERRUPTS };

struct step {
	enum step_op op;
	unsigned width; /* of an access; count of steps for a repetition */
	unsigned into;	/* 1 + which operand takes the current bit of OP_EACH_BIT, or 0 */
	uint64_t a[6];
};

struct conformance_case {
	const char *id;
	const char *section; /* of the reference */
	unsigned idea;	     /* of section 10 of the reference, or 0 */
	const char *what;
	/* The unit's features: these, or the default ones where there is no EFR. */
	uint64_t efr, efr2;
	const struct step *step;
};

struct case_group {
	const struct conformance_case *cases;
	size_t count;
};

extern const struct case_group pci_cases, register_cases, absent_cases, ring_cases, command_cases,
	event_cases, device_table_cases, page_table_cases, page_size_cases, interrupt_cases,
	irte_cases, hostile_cases, boot_cases, ats_cases, guest_table_cases, feature_cases;

/* ---- writing cases ---- */

#define CASE(id_, section_, idea_, what_, ...)                                                     \
	CASE_OF(0, 0, id_, section_, idea_, what_, __VA_ARGS__)
/* The same on a unit with other features than the default ones. */
#define CASE_OF(efr_, efr2_, id_, section_, idea_, what_, ...)                                     \
	{                                                                                          \
		.id = (id_), .section = (section_), .idea = (idea_), .what = (what_),              \
		.efr = (efr_), .efr2 = (efr2_), .step = (const struct step[])                      \
		{                                                                                  \
			__VA_ARGS__,                                                               \
			{                                                                          \
				.op = OP_END                                                       \
			}                                                                          \
		}                                                                                  \
	}
#define CASE_GROUP(name, array)                                                                    \
	const struct case_group name = {.cases = (array), .count = ARRAY_SIZE(array)}

#define STEP(...)                                                                                  \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

/* Accesses of the guest, to guest physical addresses. */
#define POKE(w, at, value)	STEP(OP_WRITE, w, 0, {at, value})
#define PEEK(w, at, mask, want) STEP(OP_READ, w, 0, {at, mask, want})
/* The same in the register window. */
#define WR(at, value)	      POKE(8, WINDOW + (at), value)
#define WR4(at, value)	      POKE(4, WINDOW + (at), value)
#define WR_W(w, at, value)    POKE(w, WINDOW + (at), value)
#define RD(at, want)	      PEEK(8, WINDOW + (at), ~UINT64_C(0), want)
#define RD4(at, want)	      PEEK(4, WINDOW + (at), ~UINT64_C(0), want)
#define RD_W(w, at, want)     PEEK(w, WINDOW + (at), ~UINT64_C(0), want)
#define RD_BITS(at, mask, v)  PEEK(8, WINDOW + (at), mask, v)
#define STATUS(mask, want)    PEEK(4, WINDOW + R_STATUS, mask, want)
#define RD_BELOW(at, limit)   STEP(OP_BELOW, 8, 0, {WINDOW + (at), limit})
#define SAVE(w, at)	      STEP(OP_SAVE, w, 0, {at})
#define SAME(w, at)	      STEP(OP_SAME, w, 0, {at}) /* as what was saved last */
#define HALVES(at, v)	      WR4(at, (uint32_t)(v)), WR4((at) + 4, (uint64_t)(v) >> 32)
#define HALVES_SWAPPED(at, v) WR4((at) + 4, (uint64_t)(v) >> 32), WR4(at, (uint32_t)(v))
#define WR_BIT(at, value)     STEP(OP_WRITE, 8, 2, {WINDOW + (at), value})
/* The function's configuration space. */
#define CFG_AT(at)	    (ECAM + (UNIT_ID << 12) + (at))
#define CFG_WR(w, at, v)    POKE(w, CFG_AT(at), v)
#define CFG(w, at, mask, v) PEEK(w, CFG_AT(at), mask, v)
/* Memory. */
#define ST(at, value)	  STEP(OP_STORE, 8, 0, {at, value})
#define ST_BIT(at, value) STEP(OP_STORE, 8, 2, {at, value})
#define ST4(at, value)	  STEP(OP_STORE, 4, 0, {at, value})
#define LD(at, want)	  STEP(OP_LOAD, 8, 0, {at, want})
/*
 * The unit, brought up as Linux does: device table, rings, then Control with BITS beside
 * IommuEn, CmdBufEn and EventLogEn.
 */
#define UP(bits)    STEP(OP_UP, 0, 0, {bits})
#define SET(bits)   STEP(OP_CONTROL, 0, 0, {0, bits})
#define CLEAR(bits) STEP(OP_CONTROL, 0, 0, {bits, 0})
/* Stop the ring, give it this base and length, run it again. */
#define RING_NEW(base, log2)  STEP(OP_RING, 0, 0, {base, log2})
#define RESTART		      RING_NEW(RING, 9)
#define QUEUE(w0, w1)	      STEP(OP_QUEUE, 0, 0, {w0, w1})
#define DOORBELL	      STEP(OP_DOORBELL, 0, 0, {0})
#define CMD(w0, w1)	      QUEUE(w0, w1), DOORBELL
#define CMD_BIT(word, w0, w1) STEP(OP_QUEUE, 0, 1 + (word), {w0, w1}), STEP(OP_DOORBELL, 0, 0, {0})
#define SYNC		      CMD(CWAIT(CWAIT_S, SEM), 0x600d), LD(SEM, 0x600d)
/* Where the suite looks for events from now on. */
#define LOG_NEW(base, log2, at) STEP(OP_LOG, 0, 0, {base, log2, at})
/* Requester and four words; V1() is all four. */
#define DTE(...)		      STEP(OP_DTE, 0, 0, {__VA_ARGS__})
#define DTE_BIT(word, id, a, b, c, d) STEP(OP_DTE, 0, 2 + (word), {id, a, b, c, d})
#define FLUSH_DTE(devid)	      CMD(INV_DTE(devid), 0)
#define FLUSH_ALL		      CMD(INV_ALL, 0)
/* Directories in TABLE(mode) down to TABLE(leaf), and there ENTRY for IOVA. */
#define BUILD(mode, iova, leaf, entry) STEP(OP_BUILD, 0, 0, {mode, iova, leaf, entry})
#define BUILD_BIT(mode, iova, leaf, e) STEP(OP_BUILD, 0, 4, {mode, iova, leaf, e})
#define V1(mode, domain)	       DTE_VALID | DTE_MODE(mode) | DTE_RW | TABLE(mode), domain, 0, 0
#define RESET			       STEP(OP_RESET, 0, 0, {0})
/* Devices. READ, WRITE or both; OK says where in guest memory it ends. */
#define MAP(devid, iova, len, access, gpa) STEP(OP_MAP, 0, 0, {devid, iova, len, access, gpa})
#define MAP2(devid, iova, len, access, g0, g1)                                                     \
	STEP(OP_MAP2, 0, 0, {devid, iova, len, access, g0, g1})
#define REFUSED(devid, iova, len, access) STEP(OP_REFUSED, 0, 0, {devid, iova, len, access})
#define DMA_WRITE8(devid, iova, value)	  STEP(OP_DMA_WRITE, 0, 0, {devid, iova, value})
#define RD_ACCESS			  DMA_READ
#define WR_ACCESS			  DMA_WRITE
#define RW_ACCESS			  (DMA_READ | DMA_WRITE)
/* A requester of the device steps above whose requests have this PASID. */
#define WITH_PASID(devid, pasid) ((uint64_t)(devid) | ((uint64_t)(pasid) + 1) << 16)
/* Requester, address and data, then address and data as they must come out. */
#define REMAP(...)		    STEP(OP_REMAP, 0, 0, {__VA_ARGS__})
#define NO_REMAP(devid, addr, data) STEP(OP_NO_REMAP, 0, 0, {devid, addr, data})
/* The next event, all 128 bits; EITHER where the specification leaves the first word a choice. */
#define EVENT(w0, w1)	      STEP(OP_EVENT, 0, 0, {w0, w1, w0})
#define EITHER(w0, or_w0, w1) STEP(OP_EVENT, 0, 0, {w0, w1, or_w0})
#define EVENT_BIT(w0, w1)     STEP(OP_EVENT, 0, 2, {w0, w1, w0})
/* Whatever was logged is not judged. Without it, a case ends with no event left over. */
#define ANY_EVENTS STEP(OP_ANY_EVENTS, 0, 0, {0})
/* The unit's own interrupts: exactly one, or one at least and all alike. */
#define MESSAGE(addr, data)  STEP(OP_MESSAGE, 0, 0, {addr, data})
#define MESSAGES(addr, data) STEP(OP_MESSAGES, 0, 0, {addr, data})
/* What mirrors of the unit's tables are told; the next note must be this one. */
#define NOTE(...) STEP(OP_NOTE, 0, 0, {__VA_ARGS__})
#define FORGET	  STEP(OP_FORGET, 0, 0, {0})
/* Addresses that a device keeps are good until its generation changes; it must have since MARK. */
#define MARK(devid)  STEP(OP_MARK, 0, 0, {devid})
#define STALE(devid) STEP(OP_STALE, 0, 0, {devid})
/*
 * COUNT random acts of a hostile guest and its devices: any register, any value that does not point
 * at the memory of the guest that makes the accesses. Nothing is expected but that the unit lives.
 */
#define STORM(seed, count) STEP(OP_STORM, 0, 0, {seed, count})
/*
 * The device has a cache of its own. SLOW: it completes invalidations only by ANSWER, the oldest
 * first. What it is told must be this: the next invalidation (PASID or ~0, first and last address),
 * the next response (PASID or ~0, group, code).
 */
#define CACHE(devid, slow)		    STEP(OP_CACHE, 0, 0, {devid, slow})
#define ANSWER(devid)			    STEP(OP_ANSWER, 0, 0, {devid})
#define TOLD(devid, pasid, iova, last)	    STEP(OP_TOLD, 0, 0, {devid, pasid, iova, last})
#define RESPONSE(devid, pasid, group, code) STEP(OP_RESPONSE, 0, 0, {devid, pasid, group, code})
/* A translation request, and what it must find; a translated request. */
#define TRANSLATE(devid, iova, access, gpa, length, granted)                                       \
	STEP(OP_TRANSLATE, 0, 0, {devid, iova, access, gpa, length, granted})
#define NO_TRANSLATION(devid, iova) STEP(OP_NO_TRANSLATION, 0, 0, {devid, iova})
#define TRANSLATED(devid, gpa, ok)  STEP(OP_TRANSLATED, 0, 0, {devid, gpa, ok})
/* The last request of GROUP for IOVA. TAKEN, or what the unit answers by itself. */
#define PAGE_REQUEST(devid, iova, access, group, answer)                                           \
	STEP(OP_PAGE_REQUEST, 0, 0, {devid, iova, access, group, answer})
#define TAKEN UINT64_C(0x100)
/* Time passes: as much as the unit has asked to be told of. */
#define PASS STEP(OP_PASS, 0, 0, {0})
/* The next N steps, COUNT times, or once for each 1 in MASK, which the *_BIT steps or in. */
#define TIMES(count, n)	  STEP(OP_TIMES, n, 0, {count})
#define EACH_BIT(mask, n) STEP(OP_EACH_BIT, n, 0, {mask})

/* ---- running them ---- */

/* How accesses are made: by calls on the bus, or by instructions of a guest. */
struct access_ops {
	uint64_t (*read)(void *opaque, uint64_t gpa, unsigned width);
	void (*write)(void *opaque, uint64_t gpa, unsigned width, uint64_t value);
};

struct platform {
	const char *name;
	const struct access_ops *access;
	void *opaque;
	struct bus *mmio;		   /* where the window is put */
	const struct guest_memory *memory; /* RAM_SIZE bytes from 0 */
};

/* Fills P, or prints a TAP line that says why there is nothing to run on, and exits. */
void platform_open(struct platform *p);
void platform_close(struct platform *p);

#define COMPLAINT_MAX 256

/* Runs C on a machine of its own. False and why in COMPLAINT where the unit does not conform. */
bool case_run(const struct platform *p, const struct conformance_case *c,
	      char complaint[COMPLAINT_MAX]);

#endif
