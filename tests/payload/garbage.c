// SPDX-License-Identifier: Apache-2.0
/*
 * A hostile guest: it finds every PCI function, maps every BAR below 4 GiB, and writes
 * pseudo-random values of every width to every register of every device - configuration space by
 * both ways, BARs, the IOMMU's window, the IOAPIC, the UART - with tables and rings pointing into
 * memory that is full of pseudo-random bytes, too. Then it says "survived" and powers off. An ELF
 * with a PVH entry that runs without paging; "seed=N" on the command line chooses the sequence,
 * "rounds=N" its length. Other words make it do one thing only: crash=1, spin=1, echo=1, flood=1,
 * reset=1, eject=N (let go of each device that it is asked for, in N PCI segments); ready=1 says so
 * first.
 */
#include <stdint.h>

#include "tests/payload/bare.h"

#define IOMMU_WINDOW 0xfeb80000u
#define IOAPIC	     0xfec00000u
#define HOTPLUG	     0x610u
#define ECAM	     0xe0000000u
#define MEM32	     0xc0000000u
#define JUNK	     0x00200000u /* 1 MiB of noise: rings, tables, descriptors */
#define JUNK_SIZE    0x00100000u
#define BARS_MAX     64
#define LOCAL_APIC   0xfee00000u
#define TRAMPOLINE   0x00080000u

/* Linked first: the entry, with the start info in EBX. */
asm(".section .start, \"ax\"\n"
    ".globl start\n"
    "start:\n"
    "	movl $0x190000, %esp\n"
    "	pushl 24(%ebx)\n"
    "	call guest_main\n"
    "1:	hlt\n"
    "	jmp 1b\n"
    /* Where the other processors start, in real mode; copied to TRAMPOLINE. */
    ".globl trampoline, trampoline_end\n"
    ".code16\n"
    "trampoline:\n"
    "	cli\n"
    "	movw %cs, %ax\n"
    "	movw %ax, %ds\n"
    "	lgdtl gdt_pointer - trampoline\n"
    "	movl %cr0, %eax\n"
    "	orb $1, %al\n"
    "	movl %eax, %cr0\n"
    "	ljmpl $8, $start_other\n"
    "gdt_pointer:\n"
    "	.word 23\n"
    "	.long gdt\n"
    "trampoline_end:\n"
    ".code32\n"
    "gdt:	.quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff\n"
    "start_other:\n"
    "	movw $16, %ax\n"
    "	movw %ax, %ds\n"
    "	movw %ax, %es\n"
    "	movw %ax, %ss\n"
    "	movl $0x1000, %esp\n" /* a page of stack each, above the first's */
    "	lock xaddl %esp, stacks\n"
    "	call other_main\n"
    "1:	hlt\n"
    "	jmp 1b\n"
    "stacks: .long 0x1a1000\n"
    ".text\n");

void guest_main(const char *cmdline);
void other_main(void);
extern const uint8_t trampoline[], trampoline_end[];

static uint32_t state;

static uint32_t rnd(void)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

static void store(uint32_t addr, uint32_t value, unsigned width)
{
	if (width == 1)
		*(volatile uint8_t *)addr = (uint8_t)value;
	else if (width == 2)
		*(volatile uint16_t *)addr = (uint16_t)value;
	else
		*(volatile uint32_t *)addr = value;
}

static void load(uint32_t addr, unsigned width)
{
	if (width == 1)
		(void)*(volatile uint8_t *)addr;
	else if (width == 2)
		(void)*(volatile uint16_t *)addr;
	else
		(void)*(volatile uint32_t *)addr;
}

static void say(const char *text)
{
	out(0x3fb, 3, 1);
	out(0x3f9, 0, 1);
	out(0x3fc, 0, 1);
	for (; *text; text++) {
		for (unsigned tries = 0; tries < 1000 && !(in8(0x3fd) & 0x20); tries++)
			;
		out(0x3f8, (uint8_t)*text, 1);
	}
}

static uint32_t number(const char *text, const char *name, uint32_t otherwise)
{
	for (; text && *text; text++) {
		const char *t = text, *n = name;
		uint32_t value = 0;

		while (*n && *t == *n) {
			t++;
			n++;
		}
		if (*n)
			continue;
		for (; *t >= '0' && *t <= '9'; t++)
			value = value * 10 + (uint32_t)(*t - '0');
		return value;
	}
	return otherwise;
}

static uint32_t config_read(unsigned devfn, unsigned reg)
{
	out(0xcf8, 0x80000000u | devfn << 8 | reg, 4);
	return in32(0xcfc);
}

static void config_write(unsigned devfn, unsigned reg, uint32_t value)
{
	out(0xcf8, 0x80000000u | devfn << 8 | reg, 4);
	out(0xcfc, value, 4);
}

struct bar {
	uint32_t base, size;
};

/* Other processors read these while the first fills them anew: an old place is as good as any. */
static struct bar bars[BARS_MAX];
static volatile unsigned bar_count;
static uint8_t functions[32];
static volatile unsigned function_count;
static struct {
	uint32_t bar0, bar2;
} disks[32];
static volatile unsigned disk_count;

/* Every function found, every memory BAR placed in the 32-bit window, everything enabled. */
static void map_all(void)
{
	uint32_t next = MEM32 + 0x100000;
	unsigned bars_found = 0, found = 0, disks_found = 0;

	for (unsigned slot = 0; slot < 32; slot++) {
		unsigned devfn = slot << 3;
		uint32_t id = config_read(devfn, 0);

		if (id == 0xffffffffu)
			continue;
		functions[found++] = (uint8_t)devfn;
		config_write(devfn, 4, 0);
		for (unsigned i = 0; i < 6; i++) {
			unsigned reg = 0x10 + 4 * i;
			uint32_t low, size;

			config_write(devfn, reg, 0xffffffffu);
			low = config_read(devfn, reg);
			if (!low || low & 1)
				continue;
			size = ~(low & ~15u) + 1;
			if (!size || size > 0x1000000 || bars_found == BARS_MAX)
				continue;
			next = (next + size - 1) & ~(size - 1);
			config_write(devfn, reg, next);
			if (low & 4)
				config_write(devfn, reg + 4, 0);
			if (id == 0x10421af4)
				*(reg == 0x10 ? &disks[disks_found].bar0
					      : &disks[disks_found].bar2) = next;
			if (low & 4)
				i++;
			bars[bars_found].base = next;
			bars[bars_found++].size = size;
			next += size;
		}
		if (id == 0x10421af4)
			disks_found++;
		config_write(devfn, 4, 6);
	}
	bar_count = bars_found;
	function_count = found;
	disk_count = disks_found;
}

static unsigned width(void)
{
	return 1u << rnd() % 3;
}

/* Often something that means something: an address in the noise, few bits, or all. */
static uint32_t value(void)
{
	switch (rnd() % 6) {
	case 0:
		return JUNK + (rnd() % JUNK_SIZE & ~0xfffu);
	case 1:
		return 1u << rnd() % 32;
	case 2:
		return rnd() % 16;
	case 3:
		return 0xffffffffu;
	default:
		return rnd();
	}
}

/*
 * A virtio disk brought up as a driver would, over a ring of noise: descriptors that mostly point
 * into the noise, loop, nest and lie about their lengths, offered again and again.
 */
static void drive(void)
{
	uint32_t at, bar, table, size = 1u << rnd() % 9, filled = size < 24 ? size : 24, features;
	uint32_t desc = JUNK + (rnd() % 200 << 12), avail = desc + 0x1000 + rnd() % 64 * 2,
		 used = desc + 0x2000 + rnd() % 64 * 4;

	if (!disk_count)
		return;
	at = rnd() % disk_count;
	bar = disks[at].bar0;
	table = disks[at].bar2;
	/* An interrupt that no processor takes: a fixed vector, and they have theirs disabled. */
	for (at = table; at < table + 0x20; at += 16) {
		store(at, 0xfee00000u | (rnd() & 0xff0u << 8), 4);
		store(at + 4, 0, 4);
		store(at + 8, rnd() & 0xff, 4);
		store(at + 12, rnd() & 1, 4);
	}
	if (rnd() % 4) {
		store(bar + 0x14, 0, 1);
		for (at = 0; at < 1000 && *(volatile uint8_t *)(bar + 0x14); at++)
			;
		store(bar + 0x14, 1, 1);
		store(bar + 0x14, 3, 1);
		for (at = 0; at < 2; at++) {
			store(bar, at, 4);
			features = *(volatile uint32_t *)(bar + 4);
			store(bar + 8, at, 4);
			store(bar + 12, at || rnd() & 1 ? features : features & rnd(), 4);
		}
		store(bar + 0x14, 0xb, 1);
		store(bar + 0x16, 0, 2);
		store(bar + 0x18, size, 2);
		store(bar + 0x1a, 1, 2);
		store(bar + 0x20, desc, 4);
		store(bar + 0x28, avail, 4);
		store(bar + 0x30, used, 4);
		store(bar + 0x1c, 1, 2);
		store(bar + 0x14, 0xf, 1);
	} else {
		/* Whatever ring it has: change it under the device. */
		desc = *(volatile uint32_t *)(bar + 0x20);
		avail = *(volatile uint32_t *)(bar + 0x28);
		if (desc - JUNK >= JUNK_SIZE || avail - JUNK >= JUNK_SIZE)
			return;
	}
	for (unsigned round = rnd() % 8; round; round--) {
		for (unsigned i = 0; i < filled; i++) {
			uint32_t kind = rnd();

			at = desc + 16 * i;
			store(at, JUNK + rnd() % (JUNK_SIZE - 0x10000), 4);
			store(at + 4, kind % 64 ? 0 : rnd(), 4);
			store(at + 8, kind % 32 ? rnd() % 17 * 512 : rnd(), 4);
			/* Mostly as they should be: a header, data, a byte to write. */
			store(at + 12,
			      kind % 16 ? (i % 3 == 0	? 1u
					   : i % 3 == 1 ? 3u
							: 2u)
					: rnd() % 8,
			      2);
			store(at + 14, kind % 16 ? i + 1 : rnd() % (size + 1), 2);
			if (kind % 4 && i % 3 == 0) {
				store(at + 8, 16, 4);
				store(*(volatile uint32_t *)at, rnd() % 10, 4);
				store(*(volatile uint32_t *)at + 8, rnd() % 9000, 4);
				store(*(volatile uint32_t *)at + 12, rnd() % 64 ? 0 : rnd(), 4);
			}
			store(avail + 4 + 2 * i, kind % 32 ? rnd() % filled / 3 * 3 : rnd(), 2);
		}
		at = *(volatile uint16_t *)(avail + 2);
		store(avail + 2, at + (rnd() % 32 ? rnd() % (filled / 3 + 1) : rnd()), 2);
		store(bar + 0x3000, 0, 2);
		if (rnd() % 4 == 0)
			store(bar + 0x14, 0, 1);
	}
}

/* The first sector of the first disk, asked for and not waited for. */
static void read_disk(void)
{
	const uint32_t bar = disks[0].bar0, desc = JUNK, avail = JUNK + 0x1000,
		       data = JUNK + 0x4000;
	static const uint32_t len[] = {16, 512, 1}, flags[] = {1, 3, 2};

	store(bar + 0x14, 1, 1);
	store(bar + 0x14, 3, 1);
	for (unsigned i = 0; i < 2; i++) {
		store(bar, i, 4);
		store(bar + 8, i, 4);
		store(bar + 12, *(volatile uint32_t *)(bar + 4), 4);
	}
	store(bar + 0x14, 0xb, 1);
	store(bar + 0x16, 0, 2);
	store(bar + 0x18, 4, 2);
	store(bar + 0x20, desc, 4);
	store(bar + 0x28, avail, 4);
	store(bar + 0x30, JUNK + 0x2000, 4);
	store(bar + 0x1c, 1, 2);
	store(bar + 0x14, 0xf, 1);
	for (unsigned i = 0; i < 3; i++) {
		store(desc + 16 * i, data + 0x1000 * i, 4);
		store(desc + 16 * i + 8, len[i], 4);
		store(desc + 16 * i + 12, flags[i] | (i + 1) << 16, 4);
	}
	store(avail + 2, 1, 2);
	store(bar + 0x3000, 0, 2);
}

/* Several units of port I/O in one instruction. */
static void string_io(void)
{
	static const uint16_t ports[] = {0x3f8, 0xcf8, 0xcfc, 0x700};
	uint16_t port = ports[rnd() % 4];
	uint32_t at = JUNK + rnd() % 0x1000, count = rnd() % 40;

	if (rnd() & 1)
		asm volatile("rep outsb" : "+S"(at), "+c"(count) : "d"(port) : "memory");
	else
		asm volatile("rep insl" : "+D"(at), "+c"(count) : "d"(port) : "memory");
}

static void poke(void)
{
	uint32_t at;

	switch (rnd() % 18) {
	case 16:
		drive();
		break;
	case 17:
		string_io();
		break;
	case 0:
	case 1:
		out(0xcf8,
		    0x80000000u | (uint32_t)functions[rnd() % function_count] << 8 | (rnd() & 0xfc),
		    4);
		out((uint16_t)(0xcfc + rnd() % 4), value(), width());
		break;
	case 2:
		at = ECAM + ((uint32_t)functions[rnd() % function_count] << 12) + rnd() % 4096;
		store(at, value(), width());
		load(at, width());
		break;
	case 3:
	case 4:
	case 5:
		/* Registers that matter sit at the front and at 2000h. */
		at = IOMMU_WINDOW + (rnd() & 1 ? 0x2000 : 0) +
		     (rnd() & 3 ? rnd() % 0x80 & ~7u : rnd() % 0x2000);
		store(at, value(), width());
		load(at, width());
		break;
	case 6:
		/* As a driver would: bases into the noise, then everything on, then the doorbell.
		 */
		store(IOMMU_WINDOW + 0x18, 0, 4);
		for (at = 0; at <= 0x10; at += 8) {
			store(IOMMU_WINDOW + at, JUNK + (rnd() % 128 << 12) + rnd() % 16, 4);
			store(IOMMU_WINDOW + at + 4, rnd() % 16 << 24, 4);
		}
		store(IOMMU_WINDOW + 0x18, 0x101d | (rnd() & 0xffff), 4);
		store(IOMMU_WINDOW + 0x1c, rnd(), 4);
		store(IOMMU_WINDOW + 0x2008, rnd() & 0x7fff0, 4);
		break;
	case 7:
		store(IOAPIC, rnd() % 64, 4);
		store(IOAPIC + 0x10, value() & ~0x700u, 4); /* no SMI, NMI, INIT to ourselves */
		break;
	case 8:
		store(IOAPIC + (rnd() % 0x100), value() & ~0x700u, width());
		break;
	case 9:
		out((uint16_t)(0x3f8 + rnd() % 8), value(), width());
		break;
	case 10:
		out((uint16_t)(0x700 + rnd() % 0x500), value(), width());
		break;
	default:
		if (!bar_count)
			break;
		at = rnd() % bar_count;
		at = bars[at].base + (rnd() & 1 ? rnd() % 0x100 : rnd()) % bars[at].size;
		store(at, value(), width());
		load(at, width());
	}
}

static volatile uint32_t others_stop, others_running;

void other_main(void)
{
	__atomic_add_fetch(&others_running, 1, __ATOMIC_SEQ_CST);
	while (!others_stop)
		poke();
	__atomic_sub_fetch(&others_running, 1, __ATOMIC_SEQ_CST);
}

/* INIT, then the start-up message (Intel SDM volume 3, 9.4.4), to all but this processor. */
static void start_others(void)
{
	for (const uint8_t *p = trampoline; p < trampoline_end; p++)
		*(volatile uint8_t *)(TRAMPOLINE + (uint32_t)(p - trampoline)) = *p;
	store(LOCAL_APIC + 0x300, 0xc4500, 4);
	store(LOCAL_APIC + 0x300, 0xc4600 | TRAMPOLINE >> 12, 4);
}

void guest_main(const char *cmdline)
{
	uint32_t rounds = number(cmdline, "rounds=", 4000);
	static const struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) no_idt;

	if (number(cmdline, "ready=", 0))
		say("ready\n");
	if (number(cmdline, "reset=", 0)) {
		out(0x602, 1, 1);
		for (;;)
			asm volatile("pause");
	}
	if (number(cmdline, "crash=", 0)) {
		asm volatile("lidt %0; ud2" ::"m"(no_idt));
	}
	if (number(cmdline, "echo=", 0)) {
		for (;;) {
			if (in8(0x3fd) & 1)
				out(0x3f8, in8(0x3f8), 1);
		}
	}
	if (number(cmdline, "flood=", 0)) {
		for (;;)
			say("flood\n");
	}
	for (uint32_t segments = number(cmdline, "eject=", 0), i = 0; segments; i++) {
		uint16_t port = (uint16_t)(HOTPLUG + 12 * (i % segments));
		uint32_t slots = in32((uint16_t)(port + 4));

		if (!i)
			say("spinning\n");
		if (in32(port))
			say("plugged\n");
		if (slots) {
			say("unplugged\n");
			out((uint16_t)(port + 8), slots, 4);
		}
	}
	if (number(cmdline, "read=", 0)) {
		map_all();
		read_disk();
	}
	if (number(cmdline, "spin=", 0)) {
		say("spinning\n");
		for (;;)
			asm volatile("pause");
	}

	state = number(cmdline, "seed=", 1) * 2654435761u | 1;
	for (uint32_t at = JUNK; at < JUNK + JUNK_SIZE; at += 1024)
		*(volatile uint32_t *)at = value();
	map_all();
	start_others();
	for (uint32_t i = 0; i < rounds; i++) {
		if (i % 256 == 255)
			map_all();
		poke();
	}
	/* One that noise has put to sleep is not waited for. */
	others_stop = 1;
	for (uint32_t i = 0; others_running && i < 100000; i++)
		asm volatile("pause");
	say("survived\n");
	out(0x600, 0x34, 1);
}
