/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The AMD IOMMU engine: what an AMD-Vi unit does behind its registers.
 *
 * Command buffer, event and PPR logs, device table, page-table walks, IOTLB and interrupt
 * remapping, after the AMD I/O Virtualization Technology Specification (48882). It is the AMD
 * driver of the soft iommufd: registers arrive as VIOMMU_COMMANDs, index = byte offset, merged
 * 64-bit value.
 *
 * Locking: one mutex a unit covers registers and command processing; translation and remapping of
 * what is cached take no lock. No lock is held while a message is sent or a listener runs, except
 * as said there.
 */
#ifndef POSTERN_AMD_ENGINE_H
#define POSTERN_AMD_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "postern/dma_space.h"
#include "postern/msi_sink.h"

struct amd_iommu_engine;

/* What software is told the unit can do; EFR images come from here and nowhere else. */
struct amd_iommu_features {
	uint64_t efr;	/* MMIO 0030h */
	uint64_t efr2;	/* MMIO 01A0h */
	bool iotlb_sup; /* IotlbSup of capability header and IVHD: devices may cache translations */
};

/* XT, NX, IA, GA, HATS = 6 levels: host tables and interrupt remapping. */
#define AMD_IOMMU_EFR_DEFAULT  UINT64_C(0x8cc)
#define AMD_IOMMU_EFR2_DEFAULT UINT64_C(0)
/*
 * The same with guest (v2) tables of 4 and 5 levels, PASIDs of 16 bits in GCR3 tables of 1 and 2
 * levels, user/supervisor pages, v2 tables without PASID, accessed and dirty bits, EPH, page
 * requests (with IotlbSup); the GCR3 table may be found by a guest physical address.
 */
#define AMD_IOMMU_EFR_V2  UINT64_C(0x0017002f000058de)
#define AMD_IOMMU_EFR2_V2 UINT64_C(0x8)
/*
 * All that this engine has: also prefetching, 2048 interrupt remapping entries a device, device
 * tables of up to 8 segments, and the function's MSI capability among the registers.
 */
#define AMD_IOMMU_EFR_FULL  UINT64_C(0x001740ef000058df)
#define AMD_IOMMU_EFR2_FULL UINT64_C(0x108)

enum amd_translation {
	AMD_TRANSLATION_BLOCKED,  /* no DMA */
	AMD_TRANSLATION_IDENTITY, /* IOVA = GPA, subject to the permissions */
	AMD_TRANSLATION_V1,	  /* host (v1) page table */
	AMD_TRANSLATION_V2,	  /* guest (v2) page table, over a host table where MODE is not 0 */
};

struct amd_device_state {
	enum amd_translation kind;
	uint16_t domain;
	unsigned prot; /* enum dma_access: DTE.IR, DTE.IW */
	uint64_t root; /* GPA of the host table (V1, V2) */
	unsigned mode; /* its levels */
	unsigned had;  /* DTE.HAD: whether its A and D bits are kept */

	/* V2 only */
	uint64_t gcr3; /* the GCR3 table: a GPA that the host table translates if GCR3_GPA */
	bool gcr3_gpa;
	unsigned gcr3_levels;
	unsigned guest_levels; /* of the v2 tables */
	uint32_t pasid;	       /* whose GCR3 entry is taken */
	bool has_pasid;	       /* the request has one: its address is sign-extended */

	/* The exclusion range, whatever KIND: in [first, last] IOVA = GPA with full permission. */
	bool excluded;
	uint64_t excluded_first, excluded_last;
};

/* Whether there is something for amd_iommu_engine_walk() to find out about STATE. */
static inline bool amd_device_has_tables(const struct amd_device_state *state)
{
	return state->kind == AMD_TRANSLATION_V1 || state->kind == AMD_TRANSLATION_V2 ||
	       (state->excluded &&
		(state->kind == AMD_TRANSLATION_BLOCKED || state->prot != (DMA_READ | DMA_WRITE)));
}

/*
 * Those who mirror the unit's tables elsewhere (assigned devices in kernel page tables). Called
 * with the unit's mutex held, on the thread that runs the command ring, before a later
 * COMPLETION_WAIT of the same ring stores: what they do is finished when it becomes visible.
 * They must not call back into registers; amd_iommu_engine_device_state(), amd_iommu_engine_walk()
 * and amd_iommu_engine_remap() may be called.
 */
struct amd_iommu_listener {
	/* DTE of DEVID may have changed (INVALIDATE_DEVTAB_ENTRY, INVALIDATE_ALL, enable, disable,
	 * table moved). */
	void (*device_changed)(struct amd_iommu_listener *l, uint16_t devid);
	/*
	 * [iova, last] of DOMAIN may have changed (INVALIDATE_IOMMU_PAGES; with GN, that of PASID 0
	 * only); 0..~0 for all of it.
	 */
	void (*pages_changed)(struct amd_iommu_listener *l, uint16_t domain, uint64_t iova,
			      uint64_t last);
	/* Interrupt remapping of DEVID may have changed; ALL: of every device. */
	void (*interrupts_changed)(struct amd_iommu_listener *l, uint16_t devid, bool all);
	/*
	 * In place of device_changed() and pages_changed() where a change concerns every device
	 * (amd_iommu_engine_watch()), for whoever would look at what devices share once for each.
	 * May be NULL.
	 */
	void (*all_changed)(struct amd_iommu_listener *l);
	struct amd_iommu_listener *next; /* private */
};

struct amd_iommu_config {
	const struct guest_memory *memory; /* outlives the engine */
	struct amd_iommu_features features;
	uint16_t devid; /* of the unit's own PCI function: never translated or remapped */
	/*
	 * As a host's unit is that serves a guest: what a requester may do is what the host says
	 * (amd_iommu_dma_space_attach()), and the guest's device table is never looked at.
	 */
	bool host_devtab;
};

/* -EOPNOTSUPP: CONFIG advertises a feature that this engine does not implement. */
int amd_iommu_engine_new(const struct amd_iommu_config *config, struct amd_iommu_engine **engine);
void amd_iommu_engine_free(struct amd_iommu_engine *engine);
/* Whether devices may cache translations, as configured. */
bool amd_iommu_engine_iotlb_sup(const struct amd_iommu_engine *engine);
/* Power-on state: registers, logs, caches. Listeners stay and are told. */
void amd_iommu_engine_reset(struct amd_iommu_engine *engine);

/*
 * How the unit's own interrupts leave: MSI (through its PCI function; called for the event log and
 * COMPLETION_WAIT and the PPR log when Control.IntCapXTEn is 0) or one composed from the XT
 * registers, to be
 * delivered without remapping. Called with no lock held. Set before the guest runs.
 */
void amd_iommu_engine_set_interrupts(struct amd_iommu_engine *engine, void *opaque,
				     void (*msi)(void *opaque),
				     void (*message)(void *opaque, const struct msi_msg *msg));

/* For messages about what the guest does: the PCI segment whose devices these are. */
void amd_iommu_engine_set_segment(struct amd_iommu_engine *engine, unsigned segment);

/*
 * Who goes on with the command ring where it must not keep a vCPU any longer: after
 * AMD_IOMMU_RUN_COMMANDS commands or AMD_IOMMU_RUN_NS of them. A ring also rests at a
 * COMPLETION_WAIT while devices hold (dma_hold_add()) what was invalidated before it. KICK is
 * called on any thread, the unit's mutex may be held, and it has amd_iommu_engine_run() called soon
 * on a thread that may be kept that long at a time; that may kick again. Without one a ring runs to
 * its end on the thread that wrote the tail, or that ended the last hold. Set before the guest
 * runs.
 */
#define AMD_IOMMU_RUN_COMMANDS 4096
#define AMD_IOMMU_RUN_NS       UINT64_C(10000000)
void amd_iommu_engine_set_worker(struct amd_iommu_engine *engine, void *opaque,
				 void (*kick)(void *opaque));
void amd_iommu_engine_run(struct amd_iommu_engine *engine);

/*
 * Who knows that time has passed: ARM is called like KICK, and has amd_iommu_engine_run() called
 * once after at least NANOSECONDS; arming again moves it. Without one a device that does not answer
 * an invalidation is given up (Control.InvTimeOut) when software writes a register. Set before the
 * guest runs.
 */
void amd_iommu_engine_set_timer(struct amd_iommu_engine *engine, void *opaque,
				void (*arm)(void *opaque, uint64_t nanoseconds));

/* Before the guest runs. The listener outlives the engine or removes itself. */
void amd_iommu_engine_listen(struct amd_iommu_engine *engine, struct amd_iommu_listener *listener);
void amd_iommu_engine_unlisten(struct amd_iommu_engine *engine,
			       struct amd_iommu_listener *listener);

/*
 * Requester DEVID matters to some listener: device_changed() is called for it also where a change
 * concerns every device (INVALIDATE_IOMMU_ALL, IommuEn, a new device table base, reset). After
 * INVALIDATE_IOMMU_ALL, pages_changed() follows for all of each domain that these devices use.
 * Devices with a dma_space are watched already. As many as there are ids. -ENOMEM. Not from a
 * listener.
 */
int amd_iommu_engine_watch(struct amd_iommu_engine *engine, uint16_t devid);
void amd_iommu_engine_unwatch(struct amd_iommu_engine *engine, uint16_t devid);

/*
 * The driver's side of VIOMMU_COMMAND: the 64-bit register at byte OFFSET. Writes carry the whole
 * merged value; W1C registers (2020h) take the bits to clear. -EOPNOTSUPP: no such register;
 * -EINVAL: OFFSET not 8-aligned. Writing the command tail (2008h) runs the ring, as far as
 * amd_iommu_engine_set_worker() says.
 */
int amd_iommu_engine_set(struct amd_iommu_engine *engine, uint16_t offset, uint64_t value);
int amd_iommu_engine_get(struct amd_iommu_engine *engine, uint16_t offset, uint64_t *value);

/*
 * An event that the unit's host reports to the guest, as its INSERT_GUEST_EVENT command would: into
 * the event log, if that runs. Any thread. -EINVAL: an entry without an event code, for which
 * software waits in vain.
 */
int amd_iommu_engine_report(struct amd_iommu_engine *engine, const uint64_t entry[2]);

/*
 * A dma_space for requester DEVID (AMD 48882 section 2; decision table amd-iommu 7.2). Faults go to
 * the event log. Where the unit has IotlbSup, it has the services of postern/dma_ats.h. Freed with
 * amd_iommu_dma_space_free() after the device is quiet.
 */
int amd_iommu_dma_space_new(struct amd_iommu_engine *engine, uint16_t devid, struct dma_space **ds);
/* The same for requests with PASID. -EINVAL for one of more than 20 bits. */
int amd_iommu_dma_space_new_pasid(struct amd_iommu_engine *engine, uint16_t devid, uint32_t pasid,
				  struct dma_space **ds);
void amd_iommu_dma_space_free(struct dma_space *ds);

/* What the host's device table says of a requester, of which the guest's entry is one part. */
struct amd_host_dte {
	/*
	 * The second stage: guest physical to host memory, and what an untranslated request goes
	 * through. NULL: no DMA at all. It outlives the attachment.
	 */
	struct dma_space *stage2;
	bool nested;	 /* the guest's table comes first */
	uint64_t dte[4]; /* NESTED: the guest's fields: GIoV, GLX, GCR3, paging mode, DomainID */
};
/*
 * DS translates so from now on, at one stroke; a COMPLETION_WAIT that follows waits for those who
 * hold what was before. Spaces of an engine with host_devtab start without any DMA; of another
 * engine: -EINVAL. Not from a listener.
 */
int amd_iommu_dma_space_attach(struct dma_space *ds, const struct amd_host_dte *dte);

/*
 * Remap the message MSG of requester DEVID (section 7.5 of the reference). 0 and *OUT, or -EACCES
 * where the guest's tables refuse it (the event is logged when LOG). OUT's addr carries destination
 * bits 31:8 in its bits 63:40, as KVM_CAP_X2APIC_API takes them.
 */
int amd_iommu_engine_remap(struct amd_iommu_engine *engine, uint16_t devid,
			   const struct msi_msg *msg, struct msi_msg *out, bool log);

/*
 * The DTE of DEVID, judged for requests without PASID. Disabled unit or V=0: IDENTITY with full
 * permission.
 */
void amd_iommu_engine_device_state(struct amd_iommu_engine *engine, uint16_t devid,
				   struct amd_device_state *state);

/*
 * Every present leaf of STATE's table inside [iova, last], ascending, at most BUDGET table entries
 * read. For each, VISIT(opaque, iova, gpa, length, prot); a non-zero return ends the walk and is
 * returned. Leaves are clipped to the range. -E2BIG when the budget ran out, else 0. Of a v2 table
 * over a host table, GPA and PROT are what both together say. Whoever mirrors a leaf uses it,
 * unseen from then on: where the unit keeps A and D bits they are set, D in all that can be
 * written. Left out is what a device could not use: leaves without any permission, malformed
 * entries, the interrupt window and the HyperTransport range. -EINVAL: STATE has no table and no
 * exclusion range.
 */
int amd_iommu_engine_walk(struct amd_iommu_engine *engine, const struct amd_device_state *state,
			  uint64_t iova, uint64_t last, uint64_t budget,
			  int (*visit)(void *opaque, uint64_t iova, uint64_t gpa, uint64_t length,
				       unsigned prot),
			  void *opaque);

/* ---- state ---- */

struct amd_iommu_register {
	uint32_t offset, zero;
	uint64_t value;
};

/*
 * What a unit is, whole, as plain data that may be kept in a file: every register under its offset,
 * and what only the unit knows. Caches are no part of it, nor is guest memory. Fields of 0 are
 * reserved, and so is all behind the registers there are.
 */
#define AMD_IOMMU_STATE_MAGIC	  UINT32_C(0x49444d41) /* "AMDI" */
#define AMD_IOMMU_STATE_VERSION	  1u
#define AMD_IOMMU_STATE_REGISTERS 96
/* Rings that an error or an overflow stopped: until their enable bit goes from 0 to 1. */
#define AMD_IOMMU_STOPPED_COMMAND UINT32_C(1)
#define AMD_IOMMU_STOPPED_EVENT	  UINT32_C(2)
#define AMD_IOMMU_STOPPED_PPR	  UINT32_C(4)
struct amd_iommu_state {
	uint32_t magic, version, size;
	uint32_t devid;		       /* of the unit's own function */
	uint32_t registers;	       /* of REG */
	uint32_t stopped;	       /* AMD_IOMMU_STOPPED_ */
	uint64_t signalled;	       /* bits of Status whose message has been sent */
	uint64_t reported[65536 / 64]; /* by requester: DTE.SE keeps its page faults to itself */
	struct amd_iommu_register reg[AMD_IOMMU_STATE_REGISTERS];
};

/* Nobody uses the unit meanwhile: its vCPUs are stopped, its devices have nothing in flight. */
void amd_iommu_engine_save(struct amd_iommu_engine *engine, struct amd_iommu_state *state);
/*
 * Makes ENGINE what STATE says, which may come from anywhere. Before, guest memory is what it was
 * at the save; afterwards all listeners have been told as after INVALIDATE_IOMMU_ALL, and a command
 * ring with commands left goes on (amd_iommu_engine_set_worker()). -EINVAL: no state of a unit, or
 * of this version. -EOPNOTSUPP: of a unit with other features or registers. ENGINE is then as it
 * was.
 */
int amd_iommu_engine_restore(struct amd_iommu_engine *engine, const struct amd_iommu_state *state);

#define AMD_COMMAND_OPCODES 16

struct amd_iommu_stats {
	uint64_t commands, invalidations, completion_waits, events, events_lost;
	uint64_t command[AMD_COMMAND_OPCODES]; /* COMMANDS, by their opcode */
	uint64_t command_errors;	       /* those at which the ring stopped */
	uint64_t rests;			       /* a COMPLETION_WAIT waited for a device to let go */
	/* INVALIDATE_IOTLB_PAGES to a device; unanswered */
	uint64_t atc_invalidations, atc_timeouts;
	uint64_t page_requests, page_requests_refused, page_responses;
	uint64_t translations, iotlb_hits, walks, faults, remaps;
};
void amd_iommu_engine_stats(const struct amd_iommu_engine *engine, struct amd_iommu_stats *stats);

/* Of one requester; any thread. */
struct amd_iommu_device_stats {
	uint64_t hits, misses; /* translations that found the IOTLB so */
	uint64_t walks;	       /* of page tables */
	uint64_t faults,
		events; /* DMA refused; what the event log was told of it, or of messages */
	uint64_t remaps, refusals; /* messages looked up; those refused */
	uint64_t invalidations;	   /* commands that name it */
};
void amd_iommu_engine_device_stats(const struct amd_iommu_engine *engine, uint16_t devid,
				   struct amd_iommu_device_stats *stats);

#endif
