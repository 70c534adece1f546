/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI functions: configuration space with its write rules, BARs, capabilities, MSI and MSI-X, and
 * the root they hang on. (PCI Local Bus 3.0 chapter 6, PCI Express Base 5.0 chapter 7.)
 *
 * A device embeds a struct pci_function, fills it with pci_function_init() and the pci_add_*()
 * calls, and publishes it with pci_root_add(). From then on vCPU threads reach it: configuration
 * accesses to one function are serialised by its lock; BAR accesses are not, and lock for
 * themselves.
 *
 * Implemented in vmm/ (pci_*.c).
 */
#ifndef POSTERN_PCI_H
#define POSTERN_PCI_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "postern/bus.h"
#include "postern/msi_sink.h"

#define PCI_CONFIG_SIZE 4096u
#define PCI_BARS	6u

#define PCI_DEVFN(slot, function) ((uint8_t)((slot) << 3 | (function)))

enum pci_bar_flags {
	PCI_BAR_IO = 1, /* port I/O; otherwise memory */
	PCI_BAR_64 = 2, /* 64-bit memory BAR: takes the next index too */
	PCI_BAR_PREFETCH = 4,
};

struct pci_function;
struct pci_root;

struct pci_function_ops {
	/*
	 * Configuration space; both NULL for functions that pci_config_read() and
	 * pci_config_write() serve in full. OFFSET is inside PCI_CONFIG_SIZE and naturally aligned
	 * to WIDTH (1, 2, 4). Called with the function's lock held.
	 */
	uint32_t (*config_read)(struct pci_function *fn, unsigned offset, unsigned width);
	void (*config_write)(struct pci_function *fn, unsigned offset, unsigned width,
			     uint32_t value);
	/* BAR contents; WIDTH 1, 2, 4 or 8. Called with no lock held, from any thread. */
	uint64_t (*bar_read)(struct pci_function *fn, unsigned bar, uint64_t offset,
			     unsigned width);
	void (*bar_write)(struct pci_function *fn, unsigned bar, uint64_t offset, unsigned width,
			  uint64_t value);
	/*
	 * The BAR was decoded at BASE (MAPPED) or stops being decoded there. May be NULL. Called
	 * with the function's lock held, after the bus range was added or before it is removed.
	 */
	void (*bar_mapped)(struct pci_function *fn, unsigned bar, uint64_t base, bool mapped);
	/* Machine reset: back to power-on, called with all vCPUs stopped. May be NULL. */
	void (*reset)(struct pci_function *fn);
};

struct pci_bar {
	uint64_t size; /* power of two; 0: absent */
	unsigned flags;
	uint64_t base; /* where it is decoded now, if mapped */
	bool mapped;
	struct pci_function *fn; /* whose BAR this is; pci_function_init() */
};

/* MSI-X state; the vector table's bytes live here, whichever BAR shows them. */
struct pci_msix {
	unsigned vectors; /* 0: no MSI-X */
	unsigned capability;
	unsigned bar;
	/* UINT32_MAX: an assigned device shows its PBA, itself, in another BAR. */
	uint32_t table_offset, pba_offset;
	struct msix_entry *entry; /* vectors of them */
	uint64_t *pending;	  /* bit per vector */
	/*
	 * Told of every change of a vector's message or mask: MSG is NULL while the vector is
	 * masked (by its own bit, the function mask or MSI-X being off). May be NULL.
	 *
	 * Called with LOCK held, so that of two writers the last one's message is told last: it
	 * must not call back into MSI-X except for pci_msix_enabled().
	 */
	void (*vector_changed)(struct pci_function *fn, unsigned vector, const struct msi_msg *msg);
	pthread_mutex_t lock;
};

struct pci_function {
	const char *name; /* for messages; owned by the device */
	const struct pci_function_ops *ops;
	struct pci_root *root; /* NULL until pci_root_add() */
	uint8_t devfn;
	uint8_t bus;
	pthread_mutex_t lock;
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE]; /* bits that software may write */
	uint8_t w1c[PCI_CONFIG_SIZE];	   /* bits that software clears by writing 1 */
	struct pci_bar bar[PCI_BARS];
	struct pci_msix msix;
	unsigned msi_capability; /* 0: no MSI */
	struct msi_sink *sink;	 /* how MSI and MSI-X leave; set before the first raise */
	uint8_t capability_end;	 /* next free byte for pci_add_capability() */
	uint8_t capability_last;
	uint16_t extended_last;
	uint16_t extended_end;
};

struct pci_id {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint32_t class_code; /* base << 16 | sub << 8 | interface */
	uint8_t revision;
};

/* Type 0 header with the usual writable bits. NAME and OPS must outlive FN. */
void pci_function_init(struct pci_function *fn, const char *name,
		       const struct pci_function_ops *ops, const struct pci_id *id);
/*
 * Takes FN off its root (bar_mapped() is not called) and frees what it owns (MSI-X arrays, locks);
 * no vCPU may be running.
 */
void pci_function_fini(struct pci_function *fn);

/* A BAR of SIZE bytes (power of two; memory at least 16, I/O at least 4). -EINVAL, -EBUSY. */
int pci_add_bar(struct pci_function *fn, unsigned bar, uint64_t size, unsigned flags);

/*
 * Append a capability of LENGTH bytes (header included, contents zero and read-only). Returns its
 * offset, or -ENOSPC. The caller fills config[] and writable[] behind the two header bytes.
 */
int pci_add_capability(struct pci_function *fn, uint8_t id, unsigned length);
int pci_add_extended_capability(struct pci_function *fn, uint16_t id, unsigned version,
				unsigned length);

/* One-vector 64-bit MSI with per-vector masking absent. 0 or -ENOSPC. */
int pci_add_msi(struct pci_function *fn);
/* Raise it: 0 also when software has MSI off (then nothing is sent). */
int pci_msi_raise(struct pci_function *fn);

/*
 * MSI-X with VECTORS (1..2048) entries, table and PBA inside memory BAR at the given offsets. The
 * device's bar_read/bar_write pass accesses that pci_msix_covers() on to pci_msix_read/write().
 * 0, -EINVAL, -ENOMEM, -ENOSPC.
 */
int pci_add_msix(struct pci_function *fn, unsigned vectors, unsigned bar, uint32_t table_offset,
		 uint32_t pba_offset);
/*
 * The same state for a capability that already stands in config[] at offset CAPABILITY (an assigned
 * device's): geometry is read from there, and its enable and mask bits become writable.
 */
int pci_adopt_msix(struct pci_function *fn, unsigned capability);
bool pci_msix_covers(const struct pci_function *fn, unsigned bar, uint64_t offset);
uint64_t pci_msix_read(struct pci_function *fn, uint64_t offset, unsigned width);
void pci_msix_write(struct pci_function *fn, uint64_t offset, unsigned width, uint64_t value);
/* Send VECTOR's message, or set its pending bit while it is masked. -EINVAL for no such vector. */
int pci_msix_raise(struct pci_function *fn, unsigned vector);
bool pci_msix_enabled(const struct pci_function *fn);

/* The default configuration space behaviour; ops->config_read/config_write may call them. */
uint32_t pci_config_read(struct pci_function *fn, unsigned offset, unsigned width);
void pci_config_write(struct pci_function *fn, unsigned offset, unsigned width, uint32_t value);

/* Little-endian access to config[], for set-up code. */
static inline void pci_set16(struct pci_function *fn, unsigned offset, uint16_t value)
{
	fn->config[offset] = (uint8_t)value;
	fn->config[offset + 1] = (uint8_t)(value >> 8);
}

static inline void pci_set32(struct pci_function *fn, unsigned offset, uint32_t value)
{
	pci_set16(fn, offset, (uint16_t)value);
	pci_set16(fn, offset + 2, (uint16_t)(value >> 16));
}

static inline uint16_t pci_get16(const struct pci_function *fn, unsigned offset)
{
	return (uint16_t)(fn->config[offset] | fn->config[offset + 1] << 8);
}

static inline uint32_t pci_get32(const struct pci_function *fn, unsigned offset)
{
	return pci_get16(fn, offset) | (uint32_t)pci_get16(fn, offset + 2) << 16;
}

/* Requester id as MSIs and DMA carry it. */
static inline uint16_t pci_devid(const struct pci_function *fn)
{
	return (uint16_t)(fn->bus << 8 | fn->devfn);
}

/* Windows from which pci_root_assign() places BARs, and where the ECAM is. */
struct pci_windows {
	uint64_t ecam_base; /* 1 MiB a bus */
	unsigned buses;
	uint64_t mem32_base, mem32_size;
	uint64_t mem64_base, mem64_size;
	uint16_t io_base, io_size;
	uint16_t segment; /* PCI segment group */
};

/*
 * A root with one bus 0, reachable over ECAM (on MMIO) and, in segment 0, over CF8h/CFCh (on PIO),
 * which know no segments. Both buses and the root live as long as the machine. 0 or -errno.
 */
int pci_root_new(struct pci_root **root, struct bus *mmio, struct bus *pio,
		 const struct pci_windows *windows);
void pci_root_free(struct pci_root *root);
/* Publish FN as DEVFN. -EEXIST where the place is taken; function 0 must exist before others. */
int pci_root_add(struct pci_root *root, struct pci_function *fn, uint8_t devfn);
/*
 * Forget FN: its BARs are undecoded, of which bar_mapped() is told, so that nothing of it answers
 * there any more. No vCPU may be running.
 */
void pci_root_remove(struct pci_function *fn);
/* Lowest free slot from FIRST whose function 0 is free, or -ENOSPC. */
int pci_root_free_slot(const struct pci_root *root, unsigned first);
/* Give every BAR an address, as firmware would, decoding left off. -ENOSPC names what did not fit.
 */
int pci_root_assign(struct pci_root *root);
/*
 * Machine reset, highest slot first: command registers to 0, BARs undecoded, every function's
 * reset(); then assign.
 */
void pci_root_reset(struct pci_root *root);
const struct pci_windows *pci_root_windows(const struct pci_root *root);

#endif
