// SPDX-License-Identifier: Apache-2.0
/*
 * A guest that counts its processors in the MADT, starts all of them, has each go to x2APIC mode
 * and sleep, and then sends one interrupt to each APIC id: the serial port's, by way of the IOAPIC
 * and, where there is an IOMMU, of an interrupt remapping entry with a 32-bit destination (48882
 * section 2.2.8.2). Without one it takes the destination bits that KVM_FEATURE_MSI_EXT_DEST_ID
 * adds. It says how many processors there are and how many were interrupted, and what it finds
 * on the buses of the MCFG's segments, and powers off. An ELF
 * with a PVH entry that runs without paging.
 */
#include <stdint.h>

#include "tests/payload/bare_say.h"

#define IOMMU	      0xfeb80000u
#define IOAPIC	      0xfec00000u
#define RSDP	      0x000e0000u
#define TRAMPOLINE    0x00008000u
#define READY	      0x00007000u /* processors that sleep */
#define REACHED	      0x00010000u /* a byte for each APIC id */
#define DEVICE_TABLE  0x00400000u
#define REMAPPING     0x00410000u
#define COMMANDS      0x00420000u
#define SEMAPHORE     0x00430000u
#define VECTOR	      0x40u
#define SERIAL_PIN    4u
#define IOAPIC_DEVID  0xa0u
#define PATIENCE      2000000u /* port accesses */
#define MSR_APIC_BASE 0x1bu
#define MSR_X2APIC    0x800u

/* Linked first: the entry, with the start info in EBX. */
asm(".section .start, \"ax\"\n"
    ".globl start\n"
    "start:\n"
    "	movl $0x190000, %esp\n"
    "	call guest_main\n"
    "1:	hlt\n"
    "	jmp 1b\n"
    /* Where the other processors start and stay, in real mode; copied to TRAMPOLINE. */
    ".globl trampoline, trampoline_end, handler\n"
    ".code16\n"
    "trampoline:\n"
    "	cli\n"
    "	xorw %ax, %ax\n"
    "	movw %ax, %ds\n"
    "	movw $0x1000, %ax\n"
    "	movw %ax, %es\n"
    "	movw $0x3000, %ax\n" /* 64 bytes of stack each */
    "	movw %ax, %ss\n"
    "	movl $64, %eax\n"
    "	lock xaddl %eax, 0x7004\n"
    "	movl %eax, %esp\n"
    "	movl $0x1b, %ecx\n"
    "	rdmsr\n"
    "	orl $0xc00, %eax\n"
    "	wrmsr\n"
    "	movl $0x80f, %ecx\n"
    "	movl $0x1ff, %eax\n"
    "	xorl %edx, %edx\n"
    "	wrmsr\n"
    "	lock incl 0x7000\n"
    "	sti\n"
    "1:	hlt\n"
    "	jmp 1b\n"
    "handler:\n"
    "	movl $0x802, %ecx\n"
    "	rdmsr\n"
    "	movw %ax, %bx\n"
    "	lock incb %es:(%bx)\n"
    "	movl $0x80b, %ecx\n"
    "	xorl %eax, %eax\n"
    "	xorl %edx, %edx\n"
    "	wrmsr\n"
    "	iretw\n"
    "trampoline_end:\n"
    ".code32\n"
    ".text\n");

void guest_main(void);
extern const uint8_t trampoline[], trampoline_end[], handler[];

static volatile uint32_t *word(uint32_t addr)
{
	return (volatile uint32_t *)addr;
}

static void wrmsr(uint32_t msr, uint32_t low, uint32_t high)
{
	asm volatile("wrmsr" ::"c"(msr), "a"(low), "d"(high) : "memory");
}

/* The table SIGNATURE (little-endian) of the XSDT; all tables lie below 1 MiB. */
static uint32_t find_table(uint32_t signature)
{
	uint32_t xsdt = *word(RSDP + 24);

	for (uint32_t at = 36; at < *word(xsdt + 4); at += 8)
		if (*word(*word(xsdt + at)) == signature)
			return *word(xsdt + at);
	return 0;
}

/* Processors in the MADT, whose APIC ids must be 0, 1, 2... */
static uint32_t count_processors(void)
{
	uint32_t madt = find_table(0x43495041), count = 0;

	for (uint32_t at = madt + 44; at < madt + *word(madt + 4);) {
		const volatile uint8_t *entry = (const volatile uint8_t *)at;
		uint32_t id = entry[0] == 0 ? entry[3] : entry[0] == 9 ? *word(at + 4) : 0xffffffff;

		if (id != 0xffffffff && id != count++)
			return 0;
		at += entry[1];
	}
	return count;
}

/* Bus 0 of every segment: how many functions answer, and how many of them are IOMMUs (0806h). */
static void count_functions(void)
{
	uint32_t mcfg = find_table(0x4746434d), segments = 0, functions = 0, iommus = 0;

	for (uint32_t at = mcfg + 44; at < mcfg + *word(mcfg + 4); at += 16, segments++) {
		for (uint32_t devfn = 0; devfn < 256; devfn++) {
			uint32_t config = *word(at) + (devfn << 12);

			if (*word(config) == 0xffffffff)
				continue;
			functions++;
			iommus += *word(config + 8) >> 16 == 0x0806;
		}
	}
	say_number("segments ", segments);
	say_number(" functions ", functions);
	say_number(" iommus ", iommus);
	say("\n");
}

static void start_others(uint32_t others)
{
	volatile uint8_t *page = (volatile uint8_t *)TRAMPOLINE;
	uint32_t low, high;

	for (const uint8_t *p = trampoline; p < trampoline_end; p++)
		*page++ = *p;
	*word(VECTOR * 4) = TRAMPOLINE >> 4 << 16 | (uint32_t)(handler - trampoline);
	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(MSR_APIC_BASE));
	wrmsr(MSR_APIC_BASE, low | 0xc00, high);
	/* INIT, then the start-up message, to all but this one. */
	wrmsr(MSR_X2APIC + 0x30, 0xc4500, 0);
	wrmsr(MSR_X2APIC + 0x30, 0xc4600 | TRAMPOLINE >> 12, 0);
	for (uint32_t i = 0; *word(READY) != others && i < PATIENCE; i++)
		in8(0x80);
}

static void ioapic_write(uint32_t index, uint32_t value)
{
	*word(IOAPIC) = index;
	*word(IOAPIC + 0x10) = value;
}

/* Interrupt remapping for the IOAPIC, with 128-bit entries and 32-bit destinations. */
static void start_iommu(void)
{
	const uint32_t entry = DEVICE_TABLE + IOAPIC_DEVID * 32;

	*word(entry + 16) = REMAPPING | 9 << 1 | 1; /* IntTabLen 512, IV */
	*word(entry + 20) = 2u << 28;		    /* IntCtl: remap */
	*word(IOMMU + 0x00) = DEVICE_TABLE | 1;	    /* 8 KiB */
	*word(IOMMU + 0x04) = 0;
	*word(IOMMU + 0x08) = COMMANDS;
	*word(IOMMU + 0x0c) = 8u << 24;
	*word(IOMMU + 0x1c) = 1u << 18;		       /* XTEn */
	*word(IOMMU + 0x18) = 1u << 17 | 1u << 12 | 1; /* GAEn, CmdBufEn, IommuEn */
}

static void command(uint32_t w0, uint32_t w1, uint32_t w2)
{
	uint32_t tail = *word(IOMMU + 0x2008);

	*word(COMMANDS + tail) = w0;
	*word(COMMANDS + tail + 4) = w1;
	*word(COMMANDS + tail + 8) = w2;
	*word(COMMANDS + tail + 12) = 0;
	*word(IOMMU + 0x2008) = (tail + 16) % 4096;
}

static void aim_remapped(uint32_t id)
{
	const uint32_t entry = REMAPPING + VECTOR * 16;

	*word(entry + 8) = VECTOR;
	*word(entry + 12) = id & 0xff000000;
	*word(entry + 4) = 0;
	*word(entry) = id << 8 | 1; /* RemapEn */
	command(IOAPIC_DEVID, 5u << 28, 0);
	command(SEMAPHORE | 1, 1u << 28, id);
	for (uint32_t i = 0; *word(SEMAPHORE) != id && i < PATIENCE; i++)
		in8(0x80);
}

static void aim_directly(uint32_t id)
{
	/* Destination bits 7:0 in 63:56, bits 14:8 in 55:49. */
	ioapic_write(0x11 + 2 * SERIAL_PIN, id << 24 | (id >> 8 & 0x7f) << 17);
}

static uint32_t kvm_features(void)
{
	uint32_t eax = 0x40000001, ebx, ecx = 0, edx;

	asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	return eax;
}

void guest_main(void)
{
	const volatile uint8_t *reached = (const volatile uint8_t *)REACHED;
	uint32_t processors = count_processors(), seen = 0, exact = 1;
	uint32_t iommu = find_table(0x53525649);

	count_functions();
	say_number("processors ", processors);
	start_others(processors - 1);
	say_number(" awake ", *word(READY) + 1);
	say_number(" extended ids ", kvm_features() >> 15 & 1);
	if (iommu)
		start_iommu();
	ioapic_write(0x11 + 2 * SERIAL_PIN, 0);
	ioapic_write(0x10 + 2 * SERIAL_PIN, VECTOR);
	out(0x3fc, 8, 1); /* OUT2 */
	for (uint32_t id = 1; id < processors; id++) {
		if (iommu)
			aim_remapped(id);
		else
			aim_directly(id);
		out(0x3f9, 2, 1); /* the transmitter is empty: an edge */
		for (uint32_t i = 0; !reached[id] && i < PATIENCE; i++)
			in8(0x80);
		out(0x3f9, 0, 1);
		if (!reached[id])
			break;
		seen++;
	}
	/* Nobody was interrupted in another's place. */
	for (uint32_t id = 0; id < processors; id++)
		exact &= reached[id] == (id && id <= seen);
	say_number(" interrupted ", seen);
	say(exact ? " exactly\n" : " and others\n");
	out(0x600, 0x34, 1);
}
