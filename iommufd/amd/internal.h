/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the AMD IOMMU engine.
 *
 * Locks, outermost first:
 *   lock      registers that software writes, command processing, listeners, spaces, watches
 *   log_lock  event and PPR log pointers, Status, Run bits; held for a few stores at a time
 *
 * Registers are atomics, so that readers (register reads, translation, remapping) take neither. A
 * translation that misses walks the guest's tables without a lock too: what it found is cached
 * under the generation it started from, which an invalidation in between has made stale.
 */
#ifndef POSTERN_AMD_INTERNAL_H
#define POSTERN_AMD_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "iommufd/amd/engine.h"
#include "iommufd/amd/spec.h"
#include "postern/dma_ats.h"

/* Indices into the register file; offsets and masks are in register.c. */
enum amd_reg {
	AMD_REG_DEVTAB,
	AMD_REG_DEVTAB_LAST = AMD_REG_DEVTAB + AMD_DEVTAB_SEGMENTS - 1,
	AMD_REG_CMD_BASE,
	AMD_REG_EVT_BASE,
	AMD_REG_CONTROL,
	AMD_REG_EXCL_BASE,
	AMD_REG_EXCL_LIMIT,
	AMD_REG_EFR,
	AMD_REG_PPR_BASE,
	AMD_REG_XT_GENERAL,
	AMD_REG_XT_PPR,
	AMD_REG_XT_GA,
	AMD_REG_EFR2,
	AMD_REG_CMD_HEAD,
	AMD_REG_CMD_TAIL,
	AMD_REG_EVT_HEAD,
	AMD_REG_EVT_TAIL,
	AMD_REG_STATUS,
	AMD_REG_PPR_HEAD,
	AMD_REG_PPR_TAIL,
	AMD_REGS,
};

struct amd_space;

struct amd_watch {
	uint16_t devid;
	unsigned users;
};

struct amd_counters {
	_Atomic uint64_t command[AMD_COMMAND_OPCODES], command_errors;
	_Atomic uint64_t invalidations, completion_waits, rests, events, events_lost;
	_Atomic uint64_t atc_invalidations, atc_timeouts;
	_Atomic uint64_t page_requests, page_requests_refused, page_responses;
};

#define AMD_CACHE_LINE 64
/* Threads that have a cell of their own for what they count most. */
#define AMD_HIT_CELLS 8

struct amd_device_counters {
	_Alignas(AMD_CACHE_LINE) _Atomic uint64_t misses;
	_Atomic uint64_t walks, faults, events, remaps, refusals, invalidations;
	_Atomic uint64_t told; /* errors of this requester that the log has been told of: tell.c */
	struct {
		_Alignas(AMD_CACHE_LINE) _Atomic uint64_t count;
	} hits[AMD_HIT_CELLS + 1]; /* the last for all other threads */
};

/* Of struct amd_device_counters *, each made when it is first needed. */
struct amd_bus_counters {
	_Atomic(void *) device[256];
};

/*
 * An invalidation that a device has not completed. TAG is 0 in a free one; to take it away is to
 * have completed it, which needs no lock. The rest is the lock's.
 */
struct amd_invalidation {
	_Atomic uint32_t tag;
	uint16_t devid, queue;
	uint64_t command;  /* GPA */
	uint64_t deadline; /* on CLOCK_MONOTONIC; UINT64_MAX for never */
};

/* Messages that are due, by the register that an XT interrupt is composed from. */
enum { AMD_DUE_GENERAL = 1, AMD_DUE_PPR = 2 };

struct amd_iommu_engine {
	struct amd_iommu_config config;
	uint64_t control_writable;
	unsigned levels_max;
	uint64_t dte_valid[2]; /* bits of DTE words 0 and 1 that are not reserved */
	uint64_t dte2_reserved;

	pthread_mutex_t lock, log_lock;
	_Atomic uint64_t reg[AMD_REGS];
	bool cmd_stopped;   /* by an error; until CmdBufEn or IommuEn goes 0 to 1 */
	bool evt_stopped;   /* by an overflow; until EventLogEn goes 0 to 1 */
	bool ppr_stopped;   /* the same, PPRLogEn */
	uint64_t signalled; /* Status bits for which a message was raised, log_lock */
	atomic_uint messages_due;

	/* DTE.SE: a page fault of this requester has been reported since its DTE was loaded. */
	_Atomic uint64_t reported[65536 / 64];

	struct amd_iommu_listener *listeners;
	struct amd_space *spaces;
	struct amd_watch *watch;
	unsigned watches, watch_room;
	uint64_t domains_seen[65536 / 64]; /* while INVALIDATE_IOMMU_ALL tells of them; lock */

	void *opaque;
	void (*msi)(void *opaque);
	void (*message)(void *opaque, const struct msi_msg *msg);
	void *worker;
	void (*kick)(void *worker);
	void *timer;
	void (*arm)(void *timer, uint64_t nanoseconds);

	struct dma_atc *atcs;
	struct amd_invalidation invalidation[DMA_ATC_REQUESTS];
	uint32_t invalidation_sequence;

	/*
	 * Holds of devices on what has been invalidated, and invalidations that devices have not
	 * completed: a COMPLETION_WAIT waits for them.
	 */
	atomic_uint stale_holds;
	atomic_bool ring_waits;

	struct amd_counters counters;
	_Atomic(void *) bus_counters[256];	   /* struct amd_bus_counters * */
	struct amd_device_counters other_counters; /* where memory does not suffice */
	_Atomic uint64_t told;			   /* errors that are no device's: tell.c */
	unsigned segment;			   /* for messages */
};

static inline uint64_t amd_reg(const struct amd_iommu_engine *e, enum amd_reg reg)
{
	return atomic_load_explicit(&e->reg[reg], memory_order_acquire);
}

static inline void amd_reg_store(struct amd_iommu_engine *e, enum amd_reg reg, uint64_t value)
{
	atomic_store_explicit(&e->reg[reg], value, memory_order_release);
}

static inline bool amd_enabled(const struct amd_iommu_engine *e)
{
	return amd_reg(e, AMD_REG_CONTROL) & AMD_CONTROL_IOMMU_EN;
}

static inline void amd_count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* What is wrong with a request, as the event log will say it. CODE 0: nothing to say. */
struct amd_fault {
	enum amd_event_code code;
	unsigned flags; /* AMD_EVENT_ */
	uint16_t domain;
	uint32_t pasid; /* takes the place of DOMAIN with AMD_EVENT_GN */
	uint64_t address;
};

/* No PASID in the request: those have 20 bits. */
#define AMD_NO_PASID DMA_NO_PASID

/* ---- engine.c ---- */

void amd_engine_lock(struct amd_iommu_engine *e);
/* Unlocks, then raises the unit's interrupt if one became due. */
void amd_engine_unlock(struct amd_iommu_engine *e);
/* Raises it now, unless this thread holds the lock: then unlocking will. */
void amd_interrupt_flush(struct amd_iommu_engine *e);
void amd_listeners_pages_changed(struct amd_iommu_engine *e, uint16_t domain, uint64_t iova,
				 uint64_t last);
void amd_listeners_domain_changed(struct amd_iommu_engine *e, uint16_t domain);
void amd_listeners_device_changed(struct amd_iommu_engine *e, uint16_t devid);
void amd_listeners_interrupts_changed(struct amd_iommu_engine *e, uint16_t devid, bool all);
/* Every translation and route may be another one now: drop what is cached, tell everybody. */
void amd_engine_invalidate_all(struct amd_iommu_engine *e);
/* The same for what the DTE of DEVID says. */
void amd_engine_invalidate_device(struct amd_iommu_engine *e, uint16_t devid);
int amd_watch_get(struct amd_iommu_engine *e, uint16_t devid);
void amd_watch_put(struct amd_iommu_engine *e, uint16_t devid);

/* ---- counters.c ---- */

/* The cell of hits[] that this thread counts in. */
unsigned amd_thread_cell(void);
/* Of DEVID, which is a device of the host's making; never NULL. */
struct amd_device_counters *amd_device_counters(struct amd_iommu_engine *e, uint16_t devid);
/* The same if it has any: DEVID may come from the guest. */
struct amd_device_counters *amd_device_counters_find(const struct amd_iommu_engine *e,
						     uint16_t devid);
void amd_counters_fini(struct amd_iommu_engine *e);

static inline void amd_count_hit(struct amd_device_counters *c)
{
	const unsigned cell = amd_thread_cell();
	_Atomic uint64_t *count = &c->hits[cell].count;

	if (cell < AMD_HIT_CELLS)
		atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
				      memory_order_relaxed);
	else
		amd_count(count);
}

/* ---- tell.c ---- */

/* To the log, the first time that DEVID makes an error like FAULT; CODE 0 is one without event. */
void amd_tell_fault(struct amd_iommu_engine *e, uint16_t devid, const struct amd_fault *fault);
/* The same for a command that stopped the ring. */
void amd_tell_command(struct amd_iommu_engine *e, unsigned opcode, const struct amd_fault *fault);

/* ---- register.c ---- */

void amd_registers_reset(struct amd_iommu_engine *e);
/* Bytes of the ring whose base register holds BASE; 0 for a reserved length. */
uint64_t amd_ring_bytes(uint64_t base);
/*
 * The registers into REG of STATE, and out of it once amd_registers_check() says 0: -EINVAL for
 * values that no register holds, -EOPNOTSUPP for another set of registers or features. lock and
 * log_lock held.
 */
void amd_registers_save(const struct amd_iommu_engine *e, struct amd_iommu_state *state);
int amd_registers_check(const struct amd_iommu_engine *e, const struct amd_iommu_state *state);
void amd_registers_restore(struct amd_iommu_engine *e, const struct amd_iommu_state *state);
/* Bits of Status that software clears: what a message can have been sent for. */
uint64_t amd_status_w1c(void);
/* Run bits and the interrupt condition after a change. lock and log_lock held. */
void amd_run_update(struct amd_iommu_engine *e);

/* ---- event.c ---- */

void amd_event_log(struct amd_iommu_engine *e, uint16_t devid, const struct amd_fault *fault);
/* The same of an event that has fields of its own. */
void amd_event_log_words(struct amd_iommu_engine *e, uint64_t word0, uint64_t word1);
/* Appends to the PPR log; false where it does not run or has no room. */
bool amd_ppr_log(struct amd_iommu_engine *e, uint64_t word0, uint64_t word1);
/* Sets Status bits. log_lock not held. */
void amd_status_set(struct amd_iommu_engine *e, uint64_t bits);
/* Finds out whether a message is due. log_lock held. */
void amd_interrupt_update(struct amd_iommu_engine *e);

/* ---- command.c ---- */

/* Runs the command ring until it is empty, stops, or the worker is to go on. lock held. */
void amd_command_run(struct amd_iommu_engine *e);
/* Tells listeners of all pages of each domain that watched devices use. lock held. */
void amd_watched_domains_changed(struct amd_iommu_engine *e);
/* CLOCK_MONOTONIC. */
uint64_t amd_now_ns(void);

/* ---- devtab.c ---- */

struct amd_translation_entry {
	struct amd_device_state state;
	bool valid;			  /* DTE.V */
	bool translation_valid;		  /* DTE.TV */
	bool ats, ppr, giov;		  /* DTE.I, DTE.PPR, GV with GIoV */
	bool outside;			  /* beyond the device table */
	bool suppress_all, suppress_more; /* DTE.SA, DTE.SE */
	struct amd_fault fault;		  /* why state is BLOCKED, but for address and RW */
};

struct amd_interrupt_entry {
	bool valid; /* DTE.IV */
	uint64_t word;
	struct amd_fault fault; /* CODE 0: none */
};

/* What FEATURES leave of the reserved bits of a DTE. */
void amd_devtab_init(struct amd_iommu_engine *e);
/* What a DTE says about DMA with PASID (or AMD_NO_PASID), and about interrupts, judged. */
void amd_devtab_translation(struct amd_iommu_engine *e, uint16_t devid, uint32_t pasid,
			    struct amd_translation_entry *entry);
/* The same of an entry that the host made with the guest's fields in it. */
void amd_devtab_host_translation(struct amd_iommu_engine *e, const struct amd_host_dte *dte,
				 uint32_t pasid, struct amd_translation_entry *entry);
void amd_devtab_interrupt(struct amd_iommu_engine *e, uint16_t devid,
			  struct amd_interrupt_entry *entry);
/* An untorn load of 16 aligned bytes. -EFAULT outside RAM. */
int amd_load128(const struct guest_memory *gm, uint64_t gpa, uint64_t value[2]);

/* ---- walk.c ---- */

struct amd_leaf {
	uint64_t gpa;	/* of the page that holds the address asked for */
	unsigned shift; /* log2 of the page's size */
	unsigned prot;
	unsigned cached; /* the part of PROT for which no A or D bit is left to be set */
};

/*
 * A table entry that a walk has used. Marking sets BITS (A, D) in it, unless it has changed since:
 * then -EAGAIN, and the walk starts over, at most AMD_WALK_TRIES times. A table that changes faster
 * than it can be walked translates nothing.
 */
#define AMD_WALK_TRIES 64
struct amd_used_entry {
	uint64_t gpa, value;
};
int amd_entry_mark(const struct guest_memory *gm, const struct amd_used_entry *entry,
		   uint64_t bits);

/* The host table: 0, or -EACCES and *FAULT (without domain). ACCESS 0 asks without using. */
int amd_walk_translate(const struct guest_memory *gm, const struct amd_device_state *state,
		       uint64_t iova, unsigned access, struct amd_leaf *leaf,
		       struct amd_fault *fault);
/* Writes through STATE's host table need D set first, and entries in use A. */
static inline uint64_t amd_host_marks(const struct amd_device_state *state, unsigned access)
{
	if (!access || !state->had)
		return 0;
	return AMD_PTE_A |
	       (access & DMA_WRITE && state->had == AMD_HAD_ACCESSED_DIRTY ? AMD_PTE_D : 0);
}

/*
 * What the entry PTE of a table of LEVEL is. For a leaf *SHIFT is log2 of its size, for a directory
 * *NEXT the level of the table it points to.
 */
enum amd_pte_kind {
	AMD_PTE_NOT_PRESENT,
	AMD_PTE_BAD_RESERVED, /* reserved bits set */
	AMD_PTE_BAD_LEVEL,    /* a size or level that LEVEL does not allow */
	AMD_PTE_LEAF,
	AMD_PTE_DIRECTORY,
};
enum amd_pte_kind amd_pte_decode(uint64_t pte, unsigned level, unsigned *shift, unsigned *next);
/* Prot (enum dma_access) that PTE leaves. */
unsigned amd_pte_prot(uint64_t pte);
/* log2 of the bytes that one entry of a table of LEVEL spans, and of those the table spans. */
static inline unsigned amd_level_shift(unsigned level)
{
	return 12 + 9 * (level - 1);
}

static inline unsigned amd_level_span(unsigned level)
{
	return level == AMD_LEVELS_MAX ? 64 : 12 + 9 * level;
}

/* ---- guest_walk.c ---- */

/* The same through the GCR3 table, a guest table, and the host table below if there is one. */
int amd_guest_translate(const struct amd_iommu_engine *e, const struct amd_device_state *state,
			uint64_t iova, unsigned access, struct amd_leaf *leaf,
			struct amd_fault *fault);
/* The address, for amd_guest_load(), of STATE's guest table of the highest level. */
int amd_guest_root(const struct amd_iommu_engine *e, const struct amd_device_state *state,
		   uint64_t *root, struct amd_fault *fault);
/* The entry at GPA of a guest table; USED is where it lies in memory. */
int amd_guest_load(const struct amd_iommu_engine *e, const struct amd_device_state *state,
		   uint64_t gpa, struct amd_used_entry *used, struct amd_fault *fault);
/*
 * Sets A, and D for ACCESS to write, in the entry at GPA that was loaded as USED: -EACCES and
 * *FAULT where the host table forbids it, -EAGAIN as amd_entry_mark().
 */
int amd_guest_mark(const struct amd_iommu_engine *e, const struct amd_device_state *state,
		   uint64_t gpa, const struct amd_used_entry *used, unsigned access,
		   struct amd_fault *fault);
enum amd_pte_kind amd_gpte_decode(const struct amd_iommu_engine *e, uint64_t pte, unsigned level);
/* What PTE leaves to a request with user privileges: all that come without a PASID's privilege bit.
 */
unsigned amd_gpte_prot(const struct amd_iommu_engine *e, uint64_t pte);

/* Ranges that no page table translates: the interrupt window and the HyperTransport range. */
struct amd_closed_range {
	uint64_t first, last;
};
extern const struct amd_closed_range amd_closed_ranges[2];

/* ---- dma.c ---- */

/*
 * Spaces that DOMAIN, or DEVID, concerns, or all of them, translate anew; and what their devices
 * still hold of it (of DOMAIN: inside [iova, last]) must end before it counts as invalidated. Of a
 * domain, either all, or those that go through the guest table of PASID. lock held.
 */
void amd_spaces_drop_domain(struct amd_iommu_engine *e, uint16_t domain, uint64_t iova,
			    uint64_t last);
void amd_spaces_drop_pasid(struct amd_iommu_engine *e, uint16_t domain, uint32_t pasid,
			   uint64_t iova, uint64_t last);
void amd_spaces_drop_device(struct amd_iommu_engine *e, uint16_t devid);
void amd_spaces_drop_all(struct amd_iommu_engine *e);
/* What translations of a requester in STATE belong to; AMD_SPACE_TAG_NONE where nothing is cached.
 */
#define AMD_SPACE_TAG_NONE UINT64_MAX
uint64_t amd_space_tag(const struct amd_device_state *state);

/* ---- iotlb.c ---- */

#define AMD_IOTLB_ENTRIES 512

struct amd_iotlb_entry {
	_Atomic uint64_t sequence; /* odd while it is being written */
	_Atomic uint64_t key;	   /* page address, with its granule (12 or 21) in the low bits */
	_Atomic uint64_t generation;
	_Atomic uint64_t value; /* GPA of the 4-KiB page or 2-MiB piece, shift << 2, prot */
};

struct amd_iotlb {
	struct amd_iotlb_entry entry[AMD_IOTLB_ENTRIES];
};

/* Whether LEAF of IOVA is cached under GENERATION, which is never 0. No lock. */
bool amd_iotlb_lookup(struct amd_iotlb *tlb, uint64_t generation, uint64_t iova,
		      struct amd_leaf *leaf);
/*
 * Caches LEAF unless REMOVALS, which was SEEN before the tables were looked at, has moved: what
 * they said then may be what a removal was about.
 */
void amd_iotlb_insert(struct amd_iotlb *tlb, uint64_t generation, uint64_t iova,
		      const struct amd_leaf *leaf, const _Atomic uint64_t *removals, uint64_t seen);
/*
 * Takes out what is cached for IOVA, after REMOVALS has moved. false where an entry is being
 * written: that writer may not have seen it move, and only another generation stops it.
 */
bool amd_iotlb_remove(struct amd_iotlb *tlb, uint64_t iova);

/* ---- a device's view ---- */

struct amd_space {
	struct dma_space ds;
	struct amd_iommu_engine *e;
	struct amd_space *next;
	uint16_t devid;
	uint32_t pasid;		     /* or AMD_NO_PASID */
	_Atomic uint64_t generation; /* of all that was translated; starts at 1 */
	_Atomic uint64_t epoch;	     /* of everything below; starts at number 1 */
	_Atomic uint64_t removals;   /* invalidations that took pages out one by one */
	_Atomic uint64_t tag;	     /* of the translations cached, or AMD_SPACE_TAG_NONE */
	_Atomic uint64_t identity;   /* epoch number << 2 | prot, where IOVA = GPA */
	struct amd_device_counters *counters;
	pthread_mutex_t hold_lock; /* the last lock: nothing is called under it */
	struct dma_hold *holds;
	/*
	 * With host_devtab. Changed with the engine's lock held too; held for reading while what
	 * HOST names is used, but by those who have the engine's lock.
	 */
	pthread_rwlock_t host_lock;
	struct amd_host_dte host;
	struct amd_iotlb tlb;
};

/* What the entry of SPACE's requester says. host_lock or the engine's lock is held. */
void amd_space_translation(struct amd_space *space, struct amd_translation_entry *entry);

/* ---- hold.c ---- */

/*
 * [iova, last] of SPACE has been invalidated: what its devices hold of that must end before the
 * guest is told, unless it translates as before. What is cached has gone by now: who adds a range
 * to a hold and is not seen here translates after that, and so finds the new tables.
 */
void amd_space_invalidated(struct amd_space *space, uint64_t iova, uint64_t last);
/* Of struct dma_space_ops. */
void amd_space_hold(struct dma_space *ds, struct dma_hold *hold, const struct dma_range *range,
		    unsigned count, unsigned access);
void amd_space_resolved(struct dma_space *ds, struct dma_hold *hold, uint64_t iova,
			const struct dma_segment *seg, unsigned count);
void amd_space_release(struct dma_space *ds, struct dma_hold *hold);
/* Whether devices hold what has been invalidated. Then the ring is run again later. lock held. */
bool amd_spaces_held(struct amd_iommu_engine *e);
/* One of what COMPLETION_WAITs wait for has ended. lock not held. */
void amd_hold_ended(struct amd_iommu_engine *e);

/* ---- dma.c, of a space ---- */

int amd_space_new(struct amd_iommu_engine *e, uint16_t devid, uint32_t pasid,
		  struct dma_space **ds);
static inline bool amd_excluded(const struct amd_device_state *state, uint64_t iova)
{
	return state->excluded && iova >= state->excluded_first && iova <= state->excluded_last;
}
/* LEAF, of which a part may lie in the exclusion range, for IOVA, which does not. */
void amd_leaf_apart(const struct amd_device_state *state, uint64_t iova, struct amd_leaf *leaf);
/* What FAULT needs beside its code and flags, of a request of SPACE for IOVA. */
void amd_space_fault(const struct amd_space *space, uint16_t domain, uint64_t iova, unsigned access,
		     struct amd_fault *fault);
/* Host memory of [gpa, gpa + len), appended to USED of MAX segments: -EFAULT, -E2BIG. */
int amd_segments_add(const struct guest_memory *gm, uint64_t gpa, uint64_t len,
		     struct dma_segment *seg, unsigned *used, unsigned max);
/* ---- ats.c ---- */

extern const struct dma_ats_ops amd_ats_ops;
/*
 * INVALIDATE_IOTLB_PAGES, read at COMMAND, for INV of DEVID in QUEUE, of which MAX_PEND may be open
 * (0: any number). -EAGAIN where it must wait for others. lock held.
 */
int amd_ats_invalidate(struct amd_iommu_engine *e, uint64_t command, uint16_t devid, uint16_t queue,
		       unsigned max_pend, struct dma_atc_invalidation *inv);
/* COMPLETE_PPR_REQUEST. lock held. */
void amd_ats_respond(struct amd_iommu_engine *e, uint16_t devid, uint32_t pasid, unsigned index,
		     unsigned code);
/* Gives up what was not completed in time; has the timer armed for the rest. lock held. */
void amd_ats_expire(struct amd_iommu_engine *e);
void amd_ats_arm(struct amd_iommu_engine *e);
/* Nobody waits for any of them any more. lock held. */
void amd_ats_forget(struct amd_iommu_engine *e);

#endif
