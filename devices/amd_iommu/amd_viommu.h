/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest-visible AMD vIOMMU: the 16 KiB register window, the shadow register file, the merging
 * of narrow accesses into 64-bit registers, and the PCI function with its capability block.
 *
 * What a register write means goes through struct viommu_port, which is semantic because the kernel
 * ABI behind it is not settled. Its implementations speak iommufd objects: of
 * viommu_iommufd_port_new() each forwarded write is a VIOMMU_COMMAND, and the unit reads the
 * guest's device table itself; viommu_hw_port_new() keeps to what hardware offers.
 */
#ifndef POSTERN_AMD_VIOMMU_H
#define POSTERN_AMD_VIOMMU_H

#include <stdint.h>

#include "iommufd/amd/engine.h"
#include "iommufd/iommufd.h"
#include "postern/bus.h"
#include "postern/event_loop.h"
#include "postern/guest_window.h"
#include "postern/pci.h"

#define AMD_VIOMMU_WINDOW_SIZE UINT64_C(0x4000)
/* Offset of the capability block in the function's configuration space, as the IVRS names it. */
#define AMD_VIOMMU_CAPABILITY 0x40
/* Address sizes that its miscellaneous information and the IVRS must agree on. */
#define AMD_VIOMMU_PHYSICAL_BITS 52
#define AMD_VIOMMU_VIRTUAL_BITS	 64

enum viommu_queue { VIOMMU_QUEUE_COMMAND, VIOMMU_QUEUE_EVENT, VIOMMU_QUEUE_PPR };

struct viommu_port;

/* Each returns 0 or -errno; a refusal is answered to the guest as the hardware would. */
struct viommu_port_ops {
	/* Control (18h), the whole shadow. */
	int (*control_set)(struct viommu_port *port, uint64_t value);
	/* Device table base (0h, segment 0). */
	int (*device_table_set)(struct viommu_port *port, uint64_t value);
	/* Base register value of a queue (base and length fields as the guest wrote them). */
	int (*queue_set)(struct viommu_port *port, enum viommu_queue queue, uint64_t value);
	/* XT interrupt registers 170h, 178h, 180h. */
	int (*irq_route_set)(struct viommu_port *port, uint16_t offset, uint64_t value);
	/* Registers that are nothing but their value here: 20h, 28h, 100h to 130h. */
	int (*register_set)(struct viommu_port *port, uint16_t offset, uint64_t value);
	/* Registers of the VF page (2000h and up): heads, tails, status. */
	int (*vf_page_write)(struct viommu_port *port, uint16_t offset, uint64_t value);
	int (*vf_page_read)(struct viommu_port *port, uint16_t offset, uint64_t *value);
	/*
	 * What became of a register below 2000h that was written (a unit ignores a ring base while
	 * the ring runs). -EOPNOTSUPP where the unit cannot say: then it counts as taken.
	 */
	int (*register_read)(struct viommu_port *port, uint16_t offset, uint64_t *value);
	/*
	 * The function's own MSI was programmed: the message, or NULL while it is off. May be NULL,
	 * where amd_viommu_msi() is how it is raised.
	 */
	int (*msi_set)(struct viommu_port *port, const struct msi_msg *msg);
	/*
	 * A device behind this unit: guest requester id, and its id in the iommufd context. NULL:
	 * viommu_hw_device_add() does it.
	 */
	int (*vdevice_add)(struct viommu_port *port, uint16_t devid, uint32_t dev_id);
	void (*reset)(struct viommu_port *port);
	/*
	 * As amd_iommu_engine_save() and _restore(); -EOPNOTSUPP where the unit keeps its state to
	 * itself. May be NULL.
	 */
	int (*state_save)(struct viommu_port *port, struct amd_iommu_state *state);
	int (*state_restore)(struct viommu_port *port, const struct amd_iommu_state *state);
	void (*free)(struct viommu_port *port);
};

struct viommu_port {
	const struct viommu_port_ops *ops;
	struct amd_iommu_features features;
};

/*
 * A port on a vIOMMU object that this call allocates in CTX (IOAS, nest parent, vIOMMU). CTX must
 * outlive the port. ENGINE receives the engine behind it for a soft context, else NULL. The port's
 * features are those of FEATURES that GET_HW_INFO has too (iommufd_soft_set_hw()); what is missing
 * is said. -EOPNOTSUPP: this iommufd cannot do it.
 */
int viommu_iommufd_port_new(struct iommufd *ctx, const struct amd_iommu_features *features,
			    struct viommu_port **port, struct amd_iommu_engine **engine);

/*
 * A port that needs no more than the hardware ABI: the queues are HW_QUEUEs, made when the guest
 * enables them; VIOMMU_COMMAND carries 18h, 170h and 178h; heads, tails and status are the VF
 * page's; and as hardware tells nobody of an INVALIDATE_DEVTAB_ENTRY, the guest's device table is
 * trapped (guest_window_trap()), and each device moved to the page table that its entry asks for.
 * Guests get guest (v2) tables and no interrupt remapping.
 *
 * CTX is a soft context of IOMMUFD_SOFT_HWMODEL, or the kernel's. On the kernel's every ability
 * that the guest will need is used once before this returns, with DEVICE too, so that what a kernel
 * lacks is known before the guest runs.
 *
 * CTX, MEMORY and WINDOW must outlive the port. The features shown are those of GET_HW_INFO that
 * can be served. On failure everything is given back, and WHY (or, where it is NULL, the log) has
 * in one clause which ability failed, why, and what it takes.
 */
#define VIOMMU_WHY_SIZE 320
struct viommu_hw_device;
struct viommu_hw_config {
	struct iommufd *ctx;
	const struct guest_memory *memory;
	struct guest_window *window;
	char *why; /* of VIOMMU_WHY_SIZE, or NULL */

	/* The rest is for a kernel context. */
	uint64_t gpa; /* of the guest's register window, over which the VF page is laid */
	/* All of MEMORY mapped where the guest has it; and no mapping at all. The caller's. */
	uint32_t ioas, closed;
	/* Bound to CTX, all behind one IOMMU, attached to CLOSED and quiet; at least one. */
	struct viommu_hw_device *const *device;
	unsigned devices;
};
int viommu_hw_port_new(const struct viommu_hw_config *config, struct viommu_port **port,
		       struct amd_iommu_engine **engine);
/*
 * Everything of the port's in CTX is given back, and the guest's window and trap are gone; PORT can
 * do nothing but be freed from then on. For owners whose CTX goes first. vCPUs stopped.
 */
void viommu_hw_port_release(struct viommu_port *port);
/* The port's vIOMMU in CTX. */
uint32_t viommu_hw_viommu(const struct viommu_port *port);

enum viommu_hw_state {
	VIOMMU_HW_BYPASS,  /* no translation but the second stage: V=0, IOVA = GPA, IommuEn off */
	VIOMMU_HW_BLOCKED, /* no DMA: TV=0, no permission, host (v1) tables, a malformed entry */
	VIOMMU_HW_NESTED,
};

/* A device behind the port, kept by its owner. */
struct viommu_hw_device {
	uint16_t devid;	 /* as the guest knows it; on bus 0 */
	uint32_t dev_id; /* in the iommufd context */
	/* Have it use PT_ID in place of what it uses, at one stroke (VFIO ATTACH). */
	int (*attach)(struct viommu_hw_device *device, uint32_t pt_id);
	uint32_t vdevice; /* once added: its vDEVICE */
	/* What follows is the port's. */
	enum viommu_hw_state state;
	uint64_t dte[4];
	uint32_t nested; /* HWPT */
	struct viommu_hw_device *next;
};

/* Attached to the second stage, or to what the guest's table has for it. */
int viommu_hw_device_add(struct viommu_port *port, struct viommu_hw_device *device);
/* DEVICE stays attached to the second stage, or on a kernel context to CLOSED. */
void viommu_hw_device_remove(struct viommu_port *port, struct viommu_hw_device *device);

struct viommu_hw_stats {
	uint64_t dte_writes, attaches, nested, failures;
};
void viommu_hw_stats(const struct viommu_port *port, struct viommu_hw_stats *stats);

/*
 * A vEVENTQ: what the host's IOMMU reports of one vIOMMU, read by an event loop.
 *
 * All but _new() and _free() runs on the loop's thread. Each turn of the loop takes as much as one
 * read gives, so that a flood of events leaves time for the rest.
 */
struct viommu_events_config {
	struct event_loop *loop;
	struct iommufd *ctx;
	uint32_t viommu, type;
	unsigned depth; /* events that wait; more are lost */
	size_t length;	/* of each event's data */
	void (*event)(void *opaque, const void *data);
	void *opaque;
};
#define VIOMMU_EVENT_LENGTH_MAX 64

struct viommu_events;

/* LOOP and CTX outlive it. Errors of iommufd_veventq_alloc(); -EINVAL: LENGTH. */
int viommu_events_new(const struct viommu_events_config *config, struct viommu_events **events);
/* Before the vIOMMU goes; the loop does not run, or this is its thread. */
void viommu_events_free(struct viommu_events *events);

struct viommu_events_stats {
	uint64_t events, lost;
};
void viommu_events_stats(const struct viommu_events *events, struct viommu_events_stats *stats);

struct amd_viommu;

struct amd_viommu_config {
	uint64_t window;	  /* GPA of the register window, 16 KiB aligned */
	struct viommu_port *port; /* the vIOMMU's once it exists: freed with it */
	struct bus *mmio;
	struct pci_root *root;
	uint8_t devfn;
	struct msi_sink *sink; /* how the function's own MSI leaves, unremapped */
	/*
	 * Software is to flush what it maps, too (NpCache): who mirrors the guest's tables hears of
	 * a new mapping in no other way. It costs each mapping its commands.
	 */
	bool np_cache;
};

/* Creates and publishes the window and the PCI function. */
int amd_viommu_new(const struct amd_viommu_config *config, struct amd_viommu **viommu);
void amd_viommu_free(struct amd_viommu *viommu);
/* The unit's own MSI (event log, completion wait). Any thread. */
void amd_viommu_msi(struct amd_viommu *viommu);
/* What the IVRS must say; the same feature set as the registers. */
struct amd_iommu_features amd_viommu_features(const struct amd_viommu *viommu);

/*
 * All of a vIOMMU as plain data, for a snapshot: the unit, and the function's configuration space
 * (header and capabilities; behind them nothing can be written).
 */
#define AMD_VIOMMU_STATE_MAGIC	 UINT32_C(0x55494d41) /* "AMIU" */
#define AMD_VIOMMU_STATE_VERSION 1u
#define AMD_VIOMMU_STATE_CONFIG	 256
struct amd_viommu_state {
	uint32_t magic, version, size, zero;
	uint8_t config[AMD_VIOMMU_STATE_CONFIG];
	struct amd_iommu_state unit;
};

/*
 * When amd_iommu_engine_save() and _restore() may be called. -EOPNOTSUPP: a unit behind the port
 * that does not give its state, or (restore) STATE is of a vIOMMU that was made otherwise: with
 * other features (registers 30h and 1A0h of STATE say which), window or function. -EINVAL: no state
 * of this version, or one that no vIOMMU can have. On failure all is as it was.
 */
int amd_viommu_save(struct amd_viommu *viommu, struct amd_viommu_state *state);
int amd_viommu_restore(struct amd_viommu *viommu, const struct amd_viommu_state *state);

struct amd_viommu_stats {
	uint64_t reads, writes, forwarded, ignored;
};
void amd_viommu_stats(const struct amd_viommu *viommu, struct amd_viommu_stats *stats);

#endif
