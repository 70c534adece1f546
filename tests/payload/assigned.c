// SPDX-License-Identifier: Apache-2.0
/*
 * A guest that drives the DMA test device as an assigned one: moves data, takes an interrupt of
 * every vector, masks one, does what it may not, and resets it. "mode=" on the command line says
 * what translates: 0 nothing, 1 host (v1) tables of the vIOMMU, 2 guest (v2) tables. It says what
 * came of it and powers off. An ELF with a PVH entry that runs without paging or interrupts: what
 * has arrived is in the local APIC's request register.
 */
#include <stdint.h>

#include "devices/test/dma_test_regs.h"
#include "tests/payload/bare_say.h"

#define IOMMU	     0xfeb80000u
#define LOCAL_APIC   0xfee00000u
#define DEVICE_TABLE 0x00400000u
#define COMMANDS     0x00420000u
#define EVENTS	     0x00430000u
#define SEMAPHORE    0x00440000u
#define TABLES	     0x00450000u
#define GCR3	     0x00460000u
#define SOURCE	     0x00500000u
#define TARGET	     0x00501000u
#define IOVA	     0x00007000u /* of SOURCE; TARGET's follows */
#define NOWHERE	     0x0000f000u
#define VECTORS	     8u
#define VECTOR	     0x60u
#define MSIX_TABLE   0x2000u
#define PATIENCE     20000000u

/* Linked first: the entry, with the start info in EBX. */
asm(".section .start, \"ax\"\n"
    ".globl start\n"
    "start:\n"
    "	movl $0x190000, %esp\n"
    "	pushl 24(%ebx)\n"
    "	call guest_main\n"
    "1:	hlt\n"
    "	jmp 1b\n"
    ".text\n");

void guest_main(const char *cmdline);

static uint32_t bar, devfn, mode;

static volatile uint32_t *word(uint32_t addr)
{
	return (volatile uint32_t *)addr;
}

static uint32_t config_read(uint32_t reg)
{
	out(0xcf8, 0x80000000u | devfn << 8 | reg, 4);
	return in32(0xcfc);
}

static void config_write(uint32_t reg, uint32_t value)
{
	out(0xcf8, 0x80000000u | devfn << 8 | reg, 4);
	out(0xcfc, value, 4);
}

/* Dword-aligned, as all are here. */
static uint32_t capability(uint32_t id)
{
	uint32_t at = config_read(0x34) & 0xff;

	while (at && (config_read(at) & 0xff) != id)
		at = config_read(at) >> 8 & 0xff;
	return at;
}

static int find_device(void)
{
	for (devfn = 0; devfn < 256; devfn += 8) {
		if (config_read(0) != (DMA_TEST_DEVICE << 16 | DMA_TEST_VENDOR))
			continue;
		bar = config_read(0x10) & ~15u;
		config_write(4, 6);
		return *word(bar) == (uint32_t)DMA_TEST_ID;
	}
	return 0;
}

/* ---- the vIOMMU ---- */

static void command(uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3)
{
	uint32_t tail = *word(IOMMU + 0x2008);

	*word(COMMANDS + tail) = w0;
	*word(COMMANDS + tail + 4) = w1;
	*word(COMMANDS + tail + 8) = w2;
	*word(COMMANDS + tail + 12) = w3;
	*word(IOMMU + 0x2008) = (tail + 16) % 4096;
}

static uint32_t waits;

static void completion_wait(void)
{
	command(SEMAPHORE | 1, 1u << 28, ++waits, 0);
	for (uint32_t i = 0; *word(SEMAPHORE) != waits && i < PATIENCE; i++)
		;
}

/* IOVA and the page behind it are SOURCE and TARGET. */
static void host_tables(void)
{
	for (uint32_t level = 3; level > 1; level--) {
		uint32_t table = TABLES + (3 - level) * 4096;

		*word(table) = (table + 4096) | (level - 1) << 9 | 1;
		*word(table + 4) = 3u << 29; /* IR, IW */
	}
	for (uint32_t i = 0; i < 2; i++) {
		*word(TABLES + 0x2000 + (IOVA / 4096 + i) * 8) = (SOURCE + i * 4096) | 1;
		*word(TABLES + 0x2000 + (IOVA / 4096 + i) * 8 + 4) = 3u << 29;
	}
}

static void guest_tables(void)
{
	for (uint32_t level = 0; level < 3; level++)
		*word(TABLES + level * 4096) = (TABLES + (level + 1) * 4096) | 7;
	for (uint32_t i = 0; i < 2; i++)
		*word(TABLES + 0x3000 + (IOVA / 4096 + i) * 8) = (SOURCE + i * 4096) | 7;
	*word(GCR3) = TABLES | 1;
}

/* The valid bits last, as in an entry that may be in use. */
static void device_entry(void)
{
	const uint32_t entry = DEVICE_TABLE + devfn * 32;

	*word(entry + 12) = 0;
	if (mode == 1) {
		*word(entry + 8) = 5; /* DomainID */
		*word(entry + 4) = 3u << 29;
		*word(entry) = TABLES | 3u << 9 | 3;
	} else {
		*word(entry + 12) = GCR3 >> 31 << 11;
		*word(entry + 8) = 5 | (GCR3 >> 15 & 0xffff) << 16;
		*word(entry + 4) = 3u << 29 | 3u << 22 | (GCR3 >> 12 & 7) << 26; /* GV, GIoV */
		*word(entry) = 3;
	}
	command(devfn, 2u << 28, 0, 0);
	completion_wait();
}

static void start_iommu(void)
{
	*word(IOMMU + 0x00) = DEVICE_TABLE | 1; /* 8 KiB */
	*word(IOMMU + 0x04) = 0;
	*word(IOMMU + 0x08) = COMMANDS;
	*word(IOMMU + 0x0c) = 8u << 24;
	*word(IOMMU + 0x10) = EVENTS;
	*word(IOMMU + 0x14) = 8u << 24;
	*word(IOMMU + 0x1c) = 0;
	/* IommuEn, EventLogEn, CmdBufEn, and GTEn. */
	*word(IOMMU + 0x18) = 1 | 1u << 2 | 1u << 12 | (mode == 2 ? 1u << 16 : 0);
	if (mode == 1)
		host_tables();
	else
		guest_tables();
	device_entry();
}

/* ---- the device ---- */

/* Its status. */
static uint32_t copy(uint32_t source, uint32_t target, uint32_t vector)
{
	*word(bar + DMA_TEST_SOURCE) = source;
	*word(bar + DMA_TEST_DESTINATION) = target;
	*word(bar + DMA_TEST_LENGTH) = 64;
	*word(bar + DMA_TEST_VECTOR) = vector;
	*word(bar + DMA_TEST_COMMAND) = DMA_TEST_COPY | DMA_TEST_INTERRUPT;
	for (uint32_t i = 0; *word(bar + DMA_TEST_STATUS) == DMA_TEST_BUSY && i < PATIENCE; i++)
		;
	return *word(bar + DMA_TEST_STATUS);
}

static void vector_set(uint32_t vector, uint32_t masked)
{
	const uint32_t entry = bar + MSIX_TABLE + vector * 16;

	*word(entry) = LOCAL_APIC;
	*word(entry + 4) = 0;
	*word(entry + 8) = VECTOR + vector;
	*word(entry + 12) = masked;
}

static uint32_t requested(uint32_t vector)
{
	const uint32_t v = VECTOR + vector;

	return *word(LOCAL_APIC + 0x200 + v / 32 * 0x10) >> v % 32 & 1;
}

static uint32_t arrives(uint32_t vector)
{
	for (uint32_t i = 0; !requested(vector) && i < PATIENCE; i++)
		;
	return requested(vector);
}

static void moves_and_interrupts(uint32_t source, uint32_t target)
{
	uint32_t moved = 0, interrupted = 0, waited = 0;

	*word(LOCAL_APIC + 0xf0) = 0x1ff;
	config_write(capability(0x11), 1u << 31);
	for (uint32_t i = 0; i < VECTORS - 1; i++) {
		vector_set(i, 0);
		*word(SOURCE) = 0x1000 + i;
		if (copy(source, target, i) == DMA_TEST_DONE)
			moved += *word(TARGET) == 0x1000 + i;
		interrupted += arrives(i) && !requested(i + 1);
	}
	/* The last, while it is masked. */
	vector_set(VECTORS - 1, 0);
	vector_set(VECTORS - 1, 1);
	copy(source, target, VECTORS - 1);
	copy(source, target, 0); /* what came before it would be there by now */
	waited = !requested(VECTORS - 1);
	vector_set(VECTORS - 1, 0);
	waited &= arrives(VECTORS - 1);
	say_number("moved ", moved);
	say_number(" interrupted ", interrupted);
	say_number(" waited ", waited);
}

static void faults(void)
{
	uint32_t bad = mode ? NOWHERE : 0xa0000000u, status, events = 0, here = 1;

	status = copy(bad, bad, 0);
	say_number(" refused ",
		   status == (DMA_TEST_FAILED | DMA_TEST_ERROR_REFUSED << DMA_TEST_STATUS_SHIFT));
	if (mode)
		events = (*word(IOMMU + 0x2018) - *word(IOMMU + 0x2010)) / 16;
	for (uint32_t i = 0; i < events; i++)
		here &= *word(EVENTS + i * 16 + 4) >> 28 == 2 &&
			(*word(EVENTS + i * 16) & 0xffff) == devfn &&
			*word(EVENTS + i * 16 + 8) == bad;
	say_number(" events ", here ? events : 99);
}

static void resets(void)
{
	uint32_t express = capability(0x10), was = config_read(0x10);

	config_write(express + 8, 1u << 15);
	config_write(0x10, was);
	config_write(4, 6);
	say_number(" reset ", !*word(bar + DMA_TEST_STATUS) && !*word(bar + DMA_TEST_LENGTH));
}

static uint32_t number(const char *text)
{
	while (*text && !(*text == 'm' && text[4] == '='))
		text++;
	return *text ? (uint32_t)(text[5] - '0') : 0;
}

void guest_main(const char *cmdline)
{
	mode = number(cmdline);
	if (!find_device()) {
		say("no device\n");
	} else {
		if (mode)
			start_iommu();
		if (mode)
			moves_and_interrupts(IOVA, IOVA + 4096);
		else
			moves_and_interrupts(SOURCE, TARGET);
		faults();
		resets();
		say("\n");
	}
	out(0x600, 0x34, 1);
}
