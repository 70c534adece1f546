// SPDX-License-Identifier: Apache-2.0
/*
 * A hostile guest: it finds every PCI function, maps every BAR below 4 GiB, and writes
 * pseudo-random values of every width to every register of every device - configuration space by
 * both ways, BARs, the IOMMU's window, the IOAPIC, the UART - with tables and rings pointing into
 * memory that is full of pseudo-random bytes, too. Then it says "survived" and powers off. An ELF
 * with a PVH entry that runs without paging; "seed=N" on the command line chooses the sequence,
 * "rounds=N" its length. Other words make it do one thing only: crash=1, spin=1, echo=1, flood=1,
 * reset=1; ready=1 says so first.
 */
#include <stdint.h>

#define IOMMU_WINDOW 0xfeb80000u
#define IOAPIC	     0xfec00000u
#define ECAM	     0xe0000000u
#define MEM32	     0xc0000000u
#define JUNK	     0x00200000u /* 1 MiB of noise: rings, tables, descriptors */
#define JUNK_SIZE    0x00100000u
#define BARS_MAX     64

/* Linked first: the entry, with the start info in EBX. */
asm(".section .start, \"ax\"\n"
    ".globl start\n"
    "start:\n"
    "	movl $0x190000, %esp\n"
    "	pushl 24(%ebx)\n"
    "	call guest_main\n"
    "1:	hlt\n"
    "	jmp 1b\n");

void guest_main(const char *cmdline);

static uint32_t state;

static uint32_t rnd(void)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

static void out(uint16_t port, uint32_t value, unsigned width)
{
	if (width == 1)
		asm volatile("outb %b0, %1" ::"a"(value), "Nd"(port));
	else if (width == 2)
		asm volatile("outw %w0, %1" ::"a"(value), "Nd"(port));
	else
		asm volatile("outl %0, %1" ::"a"(value), "Nd"(port));
}

static uint32_t in32(uint16_t port)
{
	uint32_t value;

	asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static uint8_t in8(uint16_t port)
{
	uint8_t value;

	asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
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

static struct bar bars[BARS_MAX];
static unsigned bar_count;
static uint8_t functions[32];
static unsigned function_count;

/* Every function found, every memory BAR placed in the 32-bit window, everything enabled. */
static void map_all(void)
{
	uint32_t next = MEM32 + 0x100000;

	bar_count = 0;
	function_count = 0;
	for (unsigned slot = 0; slot < 32; slot++) {
		unsigned devfn = slot << 3;

		if (config_read(devfn, 0) == 0xffffffffu)
			continue;
		functions[function_count++] = (uint8_t)devfn;
		config_write(devfn, 4, 0);
		for (unsigned i = 0; i < 6; i++) {
			unsigned reg = 0x10 + 4 * i;
			uint32_t low, size;

			config_write(devfn, reg, 0xffffffffu);
			low = config_read(devfn, reg);
			if (!low || low & 1)
				continue;
			size = ~(low & ~15u) + 1;
			if (!size || size > 0x1000000 || bar_count == BARS_MAX)
				continue;
			next = (next + size - 1) & ~(size - 1);
			config_write(devfn, reg, next);
			if (low & 4)
				config_write(devfn, reg + 4, 0), i++;
			bars[bar_count].base = next;
			bars[bar_count++].size = size;
			next += size;
		}
		config_write(devfn, 4, 6);
	}
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

static void poke(void)
{
	uint32_t at;

	switch (rnd() % 16) {
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
	if (number(cmdline, "spin=", 0)) {
		say("spinning\n");
		for (;;)
			asm volatile("pause");
	}

	state = number(cmdline, "seed=", 1) * 2654435761u | 1;
	for (uint32_t at = JUNK; at < JUNK + JUNK_SIZE; at += 1024)
		*(volatile uint32_t *)at = value();
	map_all();
	for (uint32_t i = 0; i < rounds; i++) {
		if (i % 256 == 255)
			map_all();
		poke();
	}
	say("survived\n");
	out(0x600, 0x34, 1);
}
