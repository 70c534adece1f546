/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the pci_*.c files share.
 *
 * Lock order: pci_function.lock, then pci_root's decode lock or pci_msix.lock, then the bus's.
 */
#ifndef POSTERN_PCI_INTERNAL_H
#define POSTERN_PCI_INTERNAL_H

#include <stdatomic.h>

#include "postern/bits.h"
#include "postern/pci.h"

/* Configuration space header, type 0 (PCI Local Bus 3.0, figure 6-1). */
enum {
	PCI_VENDOR_ID = 0x00,
	PCI_DEVICE_ID = 0x02,
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_REVISION_ID = 0x08,
	PCI_CLASS_CODE = 0x09,
	PCI_CACHE_LINE_SIZE = 0x0c,
	PCI_HEADER_TYPE = 0x0e,
	PCI_BAR0 = 0x10,
	PCI_SUBSYSTEM_VENDOR_ID = 0x2c,
	PCI_SUBSYSTEM_ID = 0x2e,
	PCI_CAPABILITY_POINTER = 0x34,
	PCI_INTERRUPT_LINE = 0x3c,
	PCI_HEADER_END = 0x40,
	PCI_CONVENTIONAL_END = 0x100,
};

#define PCI_COMMAND_IO	      BIT(0)
#define PCI_COMMAND_MEMORY    BIT(1)
#define PCI_COMMAND_MASTER    BIT(2)
#define PCI_COMMAND_PARITY    BIT(6)
#define PCI_COMMAND_SERR      BIT(8)
#define PCI_COMMAND_INTX_OFF  BIT(10)
#define PCI_STATUS_CAPABILITY BIT(4)
#define PCI_HEADER_MULTI      BIT(7)

#define PCI_BAR_TYPE_IO	      BIT(0)
#define PCI_BAR_TYPE_64	      BIT(2)
#define PCI_BAR_TYPE_PREFETCH BIT(3)

static inline unsigned pci_bar_offset(unsigned bar)
{
	return PCI_BAR0 + 4 * bar;
}

/*
 * Whoever raises an interrupt reads the MSI and MSI-X control bytes without fn->lock, so that a
 * byte of config[] changes by an atomic store once the function is published.
 */
static inline uint8_t pci_config_byte(const struct pci_function *fn, unsigned offset)
{
	return __atomic_load_n(&fn->config[offset], __ATOMIC_RELAXED);
}

static inline void pci_config_store(struct pci_function *fn, unsigned offset, uint8_t value)
{
	__atomic_store_n(&fn->config[offset], value, __ATOMIC_RELAXED);
}

/* ---- pci_msi.c ---- */

/* Not masked as a whole: Enable is set and Function Mask is clear. */
bool pci_msix_live(const struct pci_function *fn);
/* Tell vector_changed() of every unmasked vector after pci_msix_live() changed. msix.lock held. */
void pci_msix_notify_all(struct pci_function *fn);
/* Send what is pending and not masked. No msix.lock held. */
void pci_msix_flush(struct pci_function *fn);
/* Back to power-on: MSI and MSI-X off, vectors masked, nothing pending. */
void pci_msi_reset(struct pci_function *fn);

/* ---- pci_root.c ---- */

#define PCI_ROOT_FUNCTIONS 256u

struct pci_root {
	struct bus *mmio, *pio;
	struct pci_windows windows;
	pthread_mutex_t add_lock;
	_Atomic(struct pci_function *) function[PCI_ROOT_FUNCTIONS]; /* by devfn, bus 0 */
	atomic_uint config_address;
	/*
	 * One change of decoding at a time: a BAR that is refused because of a neighbour must not
	 * miss that the neighbour leaves.
	 */
	pthread_mutex_t decode_lock;
	bool refused;	   /* some BAR waits for room; decode_lock */
	atomic_bool retry; /* a range was given up since: try again */
	struct pci_function host_bridge;
};

static inline struct pci_function *pci_root_function(struct pci_root *root, unsigned bus,
						     unsigned devfn)
{
	return bus ? NULL : atomic_load_explicit(&root->function[devfn], memory_order_acquire);
}

/* ---- pci_bar.c ---- */

/*
 * Make the bus agree with the command register and the BARs. fn->lock held; bar_mapped() runs with
 * the decode lock held too.
 */
void pci_root_decode(struct pci_function *fn);
/* Take all BARs off the bus; fn->lock held. TELL: bar_mapped() hears of it. */
void pci_root_undecode(struct pci_function *fn, bool tell);
/* pci_root_remove() without a word to FN's handlers. */
void pci_root_forget(struct pci_function *fn);

#endif
