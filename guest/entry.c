// SPDX-License-Identifier: Apache-2.0
/*
 * The boot vCPU's first state: flat 32-bit protected mode for PVH (Xen docs/misc/pvh.pandoc) and
 * Multiboot, long mode with an identity map for the Linux 64-bit protocol (boot.rst, "64-bit Boot
 * Protocol").
 */
#include <errno.h>
#include <string.h>

#include "guest/guest.h"
#include "postern/bits.h"

#define CR0_PE	 BIT(0)
#define CR0_ET	 BIT(4)
#define CR0_PG	 BIT(31)
#define CR4_PAE	 BIT(5)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define RFLAGS_1 BIT(1) /* always reads as 1 */

#define MULTIBOOT1_EAX 0x2badb002u
#define MULTIBOOT2_EAX 0x36d76289u

#define PTE_PRESENT BIT(0)
#define PTE_WRITE   BIT(1)
#define PTE_LARGE   BIT(7)
#define PT_ENTRIES  512u
#define PD_TABLES   4u /* 1 GiB each */

/* Selectors that boot.rst prescribes (__BOOT_CS, __BOOT_DS); PVH leaves them open. */
enum { GDT_CODE = 2, GDT_DATA = 3, GDT_TSS = 4, GDT_ENTRIES = 6 };

enum { SEGMENT_DATA = 0x3, SEGMENT_CODE = 0xb, SEGMENT_TSS_BUSY = 0xb };

_Static_assert(GUEST_GDT + GDT_ENTRIES * 8 <= GUEST_PVH_INFO, "GDT runs into the start info");
_Static_assert(GUEST_PAGE_TABLES + (2 + PD_TABLES) * 4096 <= GUEST_CMDLINE,
	       "page tables run into the command line");

static struct kvm_segment segment_flat(unsigned index, uint8_t type, bool code64)
{
	bool code = type == SEGMENT_CODE;

	return (struct kvm_segment){
		.limit = UINT32_MAX,
		.selector = (uint16_t)(index * 8),
		.type = type,
		.present = 1,
		.s = 1,
		.l = code && code64,
		.db = !(code && code64),
		.g = 1,
	};
}

/* The descriptor of SEG (AMD64 manual volume 2, 4.7). */
static uint64_t segment_descriptor(const struct kvm_segment *seg)
{
	uint64_t limit = seg->g ? seg->limit >> 12 : seg->limit;

	return FIELD_PREP(GENMASK(15, 0), limit) | FIELD_PREP(GENMASK(39, 16), seg->base) |
	       FIELD_PREP(GENMASK(43, 40), seg->type) | FIELD_PREP(BIT(44), seg->s) |
	       FIELD_PREP(GENMASK(46, 45), seg->dpl) | FIELD_PREP(BIT(47), seg->present) |
	       FIELD_PREP(GENMASK(51, 48), limit >> 16) | FIELD_PREP(BIT(53), seg->l) |
	       FIELD_PREP(BIT(54), seg->db) | FIELD_PREP(BIT(55), seg->g) |
	       FIELD_PREP(GENMASK(63, 56), seg->base >> 24);
}

/* Page-map level 4, one pointer table, and 2 MiB pages for the low 4 GiB. */
static int page_tables_write(const struct guest_memory *memory)
{
	uint64_t pdpt = GUEST_PAGE_TABLES + GUEST_PAGE_SIZE, pd = pdpt + GUEST_PAGE_SIZE;
	uint64_t size = (2 + PD_TABLES) * (uint64_t)GUEST_PAGE_SIZE;
	uint64_t *table = guest_memory_at(memory, GUEST_PAGE_TABLES, size);

	if (!table)
		return -EFAULT;
	memset(table, 0, size);
	table[0] = pdpt | PTE_PRESENT | PTE_WRITE;
	for (unsigned i = 0; i < PD_TABLES; i++)
		table[PT_ENTRIES + i] = (pd + i * GUEST_PAGE_SIZE) | PTE_PRESENT | PTE_WRITE;
	for (unsigned i = 0; i < PD_TABLES * PT_ENTRIES; i++)
		table[2 * PT_ENTRIES + i] = i * 2 * MIB | PTE_PRESENT | PTE_WRITE | PTE_LARGE;
	return 0;
}

int guest_entry_registers(const struct guest_entry *entry, const struct guest_memory *memory,
			  struct kvm_sregs *sregs, struct kvm_regs *regs)
{
	bool code64 = entry->protocol == GUEST_LINUX64;
	struct kvm_segment code = segment_flat(GDT_CODE, SEGMENT_CODE, code64);
	struct kvm_segment data = segment_flat(GDT_DATA, SEGMENT_DATA, code64);
	struct kvm_segment tss = {
		.limit = 0x67,
		.selector = GDT_TSS * 8,
		.type = SEGMENT_TSS_BUSY,
		.present = 1,
	};
	uint64_t gdt[GDT_ENTRIES] = {
		[GDT_CODE] = segment_descriptor(&code),
		[GDT_DATA] = segment_descriptor(&data),
		[GDT_TSS] = segment_descriptor(&tss),
	};
	int ret;

	ret = guest_memory_write(memory, GUEST_GDT, gdt, sizeof(gdt));
	if (ret)
		return ret;
	if (code64) {
		ret = page_tables_write(memory);
		if (ret)
			return ret;
	}
	sregs->cs = code;
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
	sregs->tr = tss;
	sregs->ldt = (struct kvm_segment){.type = 2, .unusable = 1};
	sregs->gdt = (struct kvm_dtable){.base = GUEST_GDT, .limit = sizeof(gdt) - 1};
	sregs->idt = (struct kvm_dtable){.base = 0, .limit = 0};
	sregs->cr0 = CR0_PE | CR0_ET | (code64 ? CR0_PG : 0);
	sregs->cr2 = 0;
	sregs->cr3 = code64 ? GUEST_PAGE_TABLES : 0;
	sregs->cr4 = code64 ? CR4_PAE : 0;
	sregs->cr8 = 0;
	sregs->efer = code64 ? EFER_LME | EFER_LMA : 0;
	memset(sregs->interrupt_bitmap, 0, sizeof(sregs->interrupt_bitmap));

	*regs = (struct kvm_regs){.rip = entry->rip, .rflags = RFLAGS_1};
	if (code64)
		regs->rsi = entry->argument;
	else
		regs->rbx = entry->argument;
	/* By this a kernel knows who starts it (Multiboot 3.2, Multiboot2 3.2). */
	if (entry->protocol == GUEST_MULTIBOOT1)
		regs->rax = MULTIBOOT1_EAX;
	else if (entry->protocol == GUEST_MULTIBOOT2)
		regs->rax = MULTIBOOT2_EAX;
	return 0;
}
