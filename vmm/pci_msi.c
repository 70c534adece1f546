// SPDX-License-Identifier: Apache-2.0
/*
 * MSI and MSI-X (PCI Local Bus 3.0, 6.8; PCI Express Base 5.0, 7.7).
 *
 * msix.lock guards the vector table, the pending bits and the MSI message. It is held while
 * vector_changed() runs, and never while a message is sent: a sink may log an event of a vIOMMU and
 * so raise another function's interrupt.
 */
#include <errno.h>
#include <stdlib.h>

#include "postern/log.h"
#include "vmm/pci_internal.h"

/* ---- MSI: one vector, 64-bit address, no masking (7.7.1) ---- */

#define MSI_CAPABILITY_ID 0x05

enum {
	MSI_CONTROL = 2,
	MSI_ADDRESS = 4,
	MSI_ADDRESS_HIGH = 8,
	MSI_DATA = 12,
	MSI_LENGTH = 14,
};

#define MSI_CONTROL_ENABLE BIT(0)
#define MSI_CONTROL_64	   BIT(7)

int pci_add_msi(struct pci_function *fn)
{
	int at = pci_add_capability(fn, MSI_CAPABILITY_ID, MSI_LENGTH);

	if (at < 0)
		return at;
	fn->msi_capability = (unsigned)at;
	fn->config[at + MSI_CONTROL] = MSI_CONTROL_64;
	fn->writable[at + MSI_CONTROL] = MSI_CONTROL_ENABLE;
	fn->writable[at + MSI_ADDRESS] = 0xfc;
	for (int i = MSI_ADDRESS + 1; i < MSI_LENGTH; i++)
		fn->writable[at + i] = 0xff;
	return 0;
}

int pci_msi_raise(struct pci_function *fn)
{
	unsigned at = fn->msi_capability;
	struct msi_msg msg;
	bool enabled;

	if (!at)
		return -EINVAL;
	pthread_mutex_lock(&fn->msix.lock);
	enabled = fn->config[at + MSI_CONTROL] & MSI_CONTROL_ENABLE;
	msg.addr = pci_get32(fn, at + MSI_ADDRESS) | (uint64_t)pci_get32(fn, at + MSI_ADDRESS_HIGH)
							     << 32;
	msg.data = pci_get16(fn, at + MSI_DATA);
	pthread_mutex_unlock(&fn->msix.lock);
	return enabled ? msi_sink_send(fn->sink, &msg) : 0;
}

/* ---- MSI-X: capability (7.7.2) ---- */

#define MSIX_CAPABILITY_ID 0x11

enum {
	MSIX_CONTROL = 2,
	MSIX_TABLE = 4,
	MSIX_PBA = 8,
	MSIX_LENGTH = 12,
};

#define MSIX_CONTROL_SIZE      GENMASK(10, 0) /* vectors - 1 */
#define MSIX_CONTROL_MASK_ALL  BIT(14)
#define MSIX_CONTROL_ENABLE    BIT(15)
#define MSIX_CONTROL_HIGH_BITS ((uint8_t)((MSIX_CONTROL_MASK_ALL | MSIX_CONTROL_ENABLE) >> 8))
#define MSIX_BIR	       GENMASK(2, 0)
#define MSIX_VECTORS_MAX       (MSIX_CONTROL_SIZE + 1)

enum { ENTRY_ADDRESS, ENTRY_ADDRESS_HIGH, ENTRY_DATA, ENTRY_CONTROL, ENTRY_DWORDS };

#define ENTRY_CONTROL_MASK BIT(0)

struct msix_entry {
	uint32_t dword[ENTRY_DWORDS];
};

_Static_assert(sizeof(struct msix_entry) == 16, "PCIe 5.0, 7.7.2: a table entry has 16 bytes");

static const uint32_t entry_writable[ENTRY_DWORDS] = {
	[ENTRY_ADDRESS] = UINT32_C(0xfffffffc),
	[ENTRY_ADDRESS_HIGH] = UINT32_MAX,
	[ENTRY_DATA] = UINT32_MAX,
	[ENTRY_CONTROL] = ENTRY_CONTROL_MASK,
};

static unsigned pending_words(unsigned vectors)
{
	return (vectors + 63) / 64;
}

static uint32_t table_bytes(unsigned vectors)
{
	return vectors * (uint32_t)sizeof(struct msix_entry);
}

static uint32_t pba_bytes(unsigned vectors)
{
	return pending_words(vectors) * 8;
}

/*
 * Table and PBA in one memory BAR, apart from each other, neither over its end. An assigned device
 * may have its PBA in another BAR (PBA_ELSEWHERE), where it answers for itself.
 */
#define PBA_ELSEWHERE UINT32_MAX

static bool geometry_good(const struct pci_function *fn, unsigned vectors, unsigned bar,
			  uint32_t table, uint32_t pba)
{
	uint64_t table_end = (uint64_t)table + table_bytes(vectors);
	uint64_t pba_end = (uint64_t)pba + pba_bytes(vectors);

	if (!vectors || vectors > MSIX_VECTORS_MAX || bar >= PCI_BARS)
		return false;
	if (!fn->bar[bar].size || fn->bar[bar].flags & PCI_BAR_IO)
		return false;
	if (!is_aligned(table, 8) || table_end > fn->bar[bar].size)
		return false;
	if (pba == PBA_ELSEWHERE)
		return true;
	if (!is_aligned(pba, 8) || pba_end > fn->bar[bar].size)
		return false;
	return table_end <= pba || pba_end <= table;
}

static void mask_all(struct pci_msix *msix)
{
	for (unsigned i = 0; i < msix->vectors; i++)
		msix->entry[i] = (struct msix_entry){.dword[ENTRY_CONTROL] = ENTRY_CONTROL_MASK};
	for (unsigned i = 0; i < pending_words(msix->vectors); i++)
		msix->pending[i] = 0;
}

static int msix_init(struct pci_function *fn, unsigned capability, unsigned vectors, unsigned bar,
		     uint32_t table, uint32_t pba)
{
	struct pci_msix *msix = &fn->msix;

	msix->entry = calloc(vectors, sizeof(*msix->entry));
	msix->pending = calloc(pending_words(vectors), sizeof(*msix->pending));
	if (!msix->entry || !msix->pending) {
		free(msix->entry);
		free(msix->pending);
		msix->entry = NULL;
		msix->pending = NULL;
		return -ENOMEM;
	}
	msix->vectors = vectors;
	msix->capability = capability;
	msix->bar = bar;
	msix->table_offset = table;
	msix->pba_offset = pba;
	mask_all(msix);
	fn->config[capability + MSIX_CONTROL + 1] &= (uint8_t)~MSIX_CONTROL_HIGH_BITS;
	fn->writable[capability + MSIX_CONTROL + 1] = MSIX_CONTROL_HIGH_BITS;
	return 0;
}

int pci_add_msix(struct pci_function *fn, unsigned vectors, unsigned bar, uint32_t table_offset,
		 uint32_t pba_offset)
{
	int at;

	if (fn->msix.vectors || pba_offset == PBA_ELSEWHERE ||
	    !geometry_good(fn, vectors, bar, table_offset, pba_offset))
		return -EINVAL;
	at = pci_add_capability(fn, MSIX_CAPABILITY_ID, MSIX_LENGTH);
	if (at < 0)
		return at;
	pci_set16(fn, (unsigned)at + MSIX_CONTROL, (uint16_t)(vectors - 1));
	pci_set32(fn, (unsigned)at + MSIX_TABLE, table_offset | bar);
	pci_set32(fn, (unsigned)at + MSIX_PBA, pba_offset | bar);
	return msix_init(fn, (unsigned)at, vectors, bar, table_offset, pba_offset);
}

int pci_adopt_msix(struct pci_function *fn, unsigned capability)
{
	uint32_t table, pba;
	unsigned vectors, bar;

	if (capability < PCI_HEADER_END || capability > PCI_CONVENTIONAL_END - MSIX_LENGTH)
		return -EINVAL;
	if (fn->msix.vectors || fn->config[capability] != MSIX_CAPABILITY_ID)
		return -EINVAL;
	vectors = (pci_get16(fn, capability + MSIX_CONTROL) & MSIX_CONTROL_SIZE) + 1;
	table = pci_get32(fn, capability + MSIX_TABLE);
	pba = pci_get32(fn, capability + MSIX_PBA);
	bar = table & MSIX_BIR;
	pba = (pba & MSIX_BIR) == bar ? pba & ~(uint32_t)MSIX_BIR : PBA_ELSEWHERE;
	table &= ~(uint32_t)MSIX_BIR;
	if (!geometry_good(fn, vectors, bar, table, pba))
		return -EINVAL;
	return msix_init(fn, capability, vectors, bar, table, pba);
}

static uint8_t control_high(const struct pci_function *fn)
{
	return pci_config_byte(fn, fn->msix.capability + MSIX_CONTROL + 1) & MSIX_CONTROL_HIGH_BITS;
}

bool pci_msix_enabled(const struct pci_function *fn)
{
	return fn->msix.vectors && control_high(fn) & MSIX_CONTROL_ENABLE >> 8;
}

bool pci_msix_live(const struct pci_function *fn)
{
	return fn->msix.vectors && control_high(fn) == MSIX_CONTROL_ENABLE >> 8;
}

/* ---- vectors: all with msix.lock held ---- */

static bool entry_masked(const struct msix_entry *entry)
{
	return entry->dword[ENTRY_CONTROL] & ENTRY_CONTROL_MASK;
}

static struct msi_msg entry_message(const struct msix_entry *entry)
{
	return (struct msi_msg){
		.addr = entry->dword[ENTRY_ADDRESS] | (uint64_t)entry->dword[ENTRY_ADDRESS_HIGH]
							      << 32,
		.data = entry->dword[ENTRY_DATA],
	};
}

static void notify(struct pci_function *fn, unsigned vector, bool masked)
{
	struct msi_msg msg = entry_message(&fn->msix.entry[vector]);

	if (fn->msix.vector_changed)
		fn->msix.vector_changed(fn, vector, masked ? NULL : &msg);
}

void pci_msix_notify_all(struct pci_function *fn)
{
	bool live = pci_msix_live(fn);

	for (unsigned i = 0; i < fn->msix.vectors; i++)
		if (!entry_masked(&fn->msix.entry[i]))
			notify(fn, i, !live);
}

static bool take_pending(struct pci_msix *msix, unsigned vector)
{
	uint64_t bit = BIT(vector % 64);
	bool was = msix->pending[vector / 64] & bit;

	msix->pending[vector / 64] &= ~bit;
	return was;
}

/* ---- messages ---- */

void pci_msix_flush(struct pci_function *fn)
{
	struct pci_msix *msix = &fn->msix;

	for (unsigned i = 0; i < msix->vectors; i++) {
		struct msi_msg msg;
		bool send;

		pthread_mutex_lock(&msix->lock);
		send = pci_msix_live(fn) && !entry_masked(&msix->entry[i]) && take_pending(msix, i);
		msg = entry_message(&msix->entry[i]);
		pthread_mutex_unlock(&msix->lock);
		if (send)
			msi_sink_send(fn->sink, &msg);
	}
}

int pci_msix_raise(struct pci_function *fn, unsigned vector)
{
	struct pci_msix *msix = &fn->msix;
	struct msi_msg msg;
	bool send;

	if (vector >= msix->vectors)
		return -EINVAL;
	pthread_mutex_lock(&msix->lock);
	send = pci_msix_live(fn) && !entry_masked(&msix->entry[vector]);
	msg = entry_message(&msix->entry[vector]);
	if (!send)
		msix->pending[vector / 64] |= BIT(vector % 64);
	pthread_mutex_unlock(&msix->lock);
	return send ? msi_sink_send(fn->sink, &msg) : 0;
}

/* ---- the table and the pending bits as the guest sees them ---- */

static bool in_table(const struct pci_msix *msix, uint64_t offset)
{
	return offset >= msix->table_offset &&
	       offset - msix->table_offset < table_bytes(msix->vectors);
}

static bool in_pba(const struct pci_msix *msix, uint64_t offset)
{
	return msix->pba_offset != PBA_ELSEWHERE && offset >= msix->pba_offset &&
	       offset - msix->pba_offset < pba_bytes(msix->vectors);
}

bool pci_msix_covers(const struct pci_function *fn, unsigned bar, uint64_t offset)
{
	return fn->msix.vectors && bar == fn->msix.bar &&
	       (in_table(&fn->msix, offset) || in_pba(&fn->msix, offset));
}

static uint32_t read_dword(const struct pci_msix *msix, uint64_t offset)
{
	uint64_t at;

	if (in_table(msix, offset)) {
		at = (offset - msix->table_offset) / 4;
		return msix->entry[at / ENTRY_DWORDS].dword[at % ENTRY_DWORDS];
	}
	at = (offset - msix->pba_offset) / 4;
	return (uint32_t)(msix->pending[at / 2] >> (32 * (at % 2)));
}

/* Both structures are multiples of 8 bytes at multiples of 8, so that no aligned access straddles.
 */
uint64_t pci_msix_read(struct pci_function *fn, uint64_t offset, unsigned width)
{
	struct pci_msix *msix = &fn->msix;
	uint64_t value;

	if (!is_aligned(offset, width) || !pci_msix_covers(fn, msix->bar, offset))
		return width_mask(width);
	pthread_mutex_lock(&msix->lock);
	value = read_dword(msix, align_down(offset, 4));
	if (width == 8)
		value |= (uint64_t)read_dword(msix, offset + 4) << 32;
	pthread_mutex_unlock(&msix->lock);
	return value >> (8 * (offset % 4)) & width_mask(width);
}

void pci_msix_write(struct pci_function *fn, uint64_t offset, unsigned width, uint64_t value)
{
	struct pci_msix *msix = &fn->msix;
	struct msix_entry *entry, old;
	unsigned vector, dword;
	struct msi_msg msg;
	bool live, masked, send = false;

	/* 7.7.2: software accesses aligned dwords or qwords; the result of others is undefined. */
	if ((width != 4 && width != 8) || !is_aligned(offset, width)) {
		log_guest("%s: %u-byte write to MSI-X table offset %#llx ignored", fn->name, width,
			  (unsigned long long)offset);
		return;
	}
	if (!fn->msix.vectors || !in_table(msix, offset))
		return;
	vector = (unsigned)((offset - msix->table_offset) / sizeof(*entry));
	dword = (unsigned)((offset - msix->table_offset) % sizeof(*entry) / 4);
	entry = &msix->entry[vector];

	pthread_mutex_lock(&msix->lock);
	old = *entry;
	for (unsigned i = 0; i < width / 4; i++)
		entry->dword[dword + i] = (uint32_t)(value >> (32 * i)) & entry_writable[dword + i];
	live = pci_msix_live(fn);
	masked = entry_masked(entry);
	msg = entry_message(entry);
	if (live && masked != entry_masked(&old)) {
		notify(fn, vector, masked);
		send = !masked && take_pending(msix, vector);
	} else if (live && !masked) {
		struct msi_msg before = entry_message(&old);

		if (before.addr != msg.addr || before.data != msg.data)
			notify(fn, vector, false);
	}
	pthread_mutex_unlock(&msix->lock);
	if (send)
		msi_sink_send(fn->sink, &msg);
}

/* ---- reset ---- */

void pci_msi_reset(struct pci_function *fn)
{
	struct pci_msix *msix = &fn->msix;
	bool was_live;

	pthread_mutex_lock(&msix->lock);
	if (fn->msi_capability)
		for (unsigned i = MSI_CONTROL; i < MSI_LENGTH; i++) {
			unsigned at = fn->msi_capability + i;

			pci_config_store(fn, at, fn->config[at] & (uint8_t)~fn->writable[at]);
		}
	was_live = pci_msix_live(fn);
	if (msix->vectors) {
		unsigned at = msix->capability + MSIX_CONTROL + 1;

		pci_config_store(fn, at, fn->config[at] & (uint8_t)~MSIX_CONTROL_HIGH_BITS);
		if (was_live)
			pci_msix_notify_all(fn);
		mask_all(msix);
	}
	pthread_mutex_unlock(&msix->lock);
}
