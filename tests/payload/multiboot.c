// SPDX-License-Identifier: Apache-2.0
/*
 * A kernel with a Multiboot header that says what it was given, and in what state, and powers off.
 * KIND says which header; the code runs wherever it is loaded.
 */
#include <stdint.h>

#define MB1	      1 /* ELF */
#define MB1_ADDRESSES 2 /* a flat file */
#define MB2	      3 /* ELF, with an entry address tag */
#define MB2_ADDRESSES 4 /* a flat file */
#define MB2_MOVES     5 /* ELF that wants to be as high as 16 MiB allow */
#define MB2_UNKNOWN   6 /* with a required tag that nobody knows */

#define STRING(x)  STRING_(x)
#define STRING_(x) #x

#define BSS 0x3000 /* behind what the flat files have */

/* The header is not at the front of the file: what precedes it is loaded too. */
asm(".section .start, \"ax\"\n"
    "first:\n"
    "	.fill 48, 1, 0x90\n"
#if KIND == MB1 || KIND == MB1_ADDRESSES
    "	.balign 4\n"
    "header:\n"
    "	.long 0x1badb002\n"
#if KIND == MB1
    "	.long 3, -0x1badb002 - 3\n"
#else
    "	.long 0x10003, -0x1badb002 - 0x10003\n"
    "	.long header, first, image_end, image_end + " STRING(
	    BSS) ", start\n"
#endif
#else
    "	.balign 8\n"
    "header:\n"
    "	.long 0xe85250d6, 0, header_end - header\n"
    "	.long -0xe85250d6 - (header_end - header)\n"
    "	.word 1, 0\n" /* information that must be there */
    "	.long 8 + 4 * 6, 1, 2, 3, 4, 6, 15\n"
    "	.word 6, 0\n" /* modules on pages */
    "	.long 8\n"
    "	.word 5, 1\n" /* a graphics mode, if there are any */
    "	.long 20, 1024, 768, 32\n"
    "	.balign 8\n"
    "	.word 99, 1\n" /* nobody knows this one; it may be left */
    "	.long 9, 0\n"
    "	.balign 8\n"
#if KIND == MB2
    "	.word 3, 0\n"
    "	.long 12, start\n"
    "	.balign 8\n"
#elif KIND == MB2_ADDRESSES
    "	.word 2, 0\n"
    "	.long 24, header, -1, image_end, image_end + " STRING(
	    BSS) "\n"
		 "	.word 3, 0\n"
		 "	.long 12, start\n"
		 "	.balign 8\n"
#elif KIND == MB2_MOVES
    "	.word 10, 0\n"
    "	.long 24, 0x200000, 0xffffff, 0x10000, 2\n"
#elif KIND == MB2_UNKNOWN
    "	.word 98, 0\n"
    "	.long 8\n"
#endif
    "	.word 0, 0\n"
    "	.long 8\n"
    "header_end:\n"
#endif
    ".globl start\n"
    "start:\n"
    "	movl $0x8000, %esp\n" /* below 1 MiB nothing of it is used */
    "	pushfl\n"
    "	pushl %ebx\n"
    "	pushl %eax\n"
    "	call guest_main\n"
    "1:	hlt\n"
    "	jmp 1b\n"
    ".text\n");

void guest_main(uint32_t magic, uint32_t info, uint32_t eflags);
extern const uint8_t first[] __attribute__((visibility("hidden")));
extern const uint8_t image_end[] __attribute__((visibility("hidden")));

static uint32_t word(uint32_t addr)
{
	return *(const volatile uint32_t *)addr;
}

static void out(uint16_t port, uint8_t value)
{
	asm volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}

static void say(const char *text)
{
	for (; *text; text++)
		out(0x3f8, (uint8_t)*text);
}

static void say_number(const char *name, uint32_t value)
{
	say(name);
	for (int shift = 28; shift >= 0; shift -= 4) {
		uint32_t digit = value >> shift & 15;

		if (value >> shift || !shift)
			out(0x3f8, (uint8_t)(digit + (digit < 10 ? '0' : 'a' - 10)));
	}
}

static void say_text(const char *name, uint32_t addr)
{
	say(name);
	say("[");
	say((const char *)addr);
	say("]\n");
}

static void say_module(uint32_t start, uint32_t end, uint32_t string)
{
	uint32_t sum = 0;

	for (uint32_t at = start; at < end; at++)
		sum += *(const volatile uint8_t *)at;
	say_number("module size ", end - start);
	say_number(" sum ", sum);
	say(start & 4095 ? " not on a page " : " on a page ");
	say(start >= (uint32_t)image_end || end <= (uint32_t)first ? "beside" : "inside");
	say_text(" ", string);
}

static void say_map(uint32_t addr, uint32_t high, uint32_t size, uint32_t type)
{
	say_number("memory ", high);
	say_number(" ", addr);
	say_number(" ", size);
	say_number(" type ", type);
	say("\n");
}

static void say_rsdp(uint32_t rsdp)
{
	uint32_t xsdt = word(rsdp + 24);
	uint8_t sum = 0;

	for (uint32_t i = 0; i < 36; i++)
		sum = (uint8_t)(sum + *(const volatile uint8_t *)(rsdp + i));
	say(!sum && word(rsdp) == 0x20445352 && word(xsdt) == 0x54445358 ? "rsdp good\n"
									 : "rsdp bad\n");
}

#if KIND == MB1 || KIND == MB1_ADDRESSES
static void look(uint32_t info)
{
	say_number("flags ", word(info));
	say_text("\ncommand line ", word(info + 16));
	say_text("loader ", word(info + 64));
	say_number("lower ", word(info + 4));
	say_number(" upper ", word(info + 8));
	say("\n");
	for (uint32_t i = 0, at = word(info + 24); i < word(info + 20); i++, at += 16)
		say_module(word(at), word(at + 4), word(at + 8));
	for (uint32_t at = word(info + 48); at < word(info + 48) + word(info + 44);
	     at += word(at) + 4)
		say_map(word(at + 4), word(at + 8), word(at + 12), word(at + 20));
	say_rsdp(0xe0000);
}
#else
static void look(uint32_t info)
{
	uint32_t end = info + word(info), at = info + 8;

	while (at < end && word(at)) {
		switch (word(at)) {
		case 1:
			say_text("command line ", at + 8);
			break;
		case 2:
			say_text("loader ", at + 8);
			break;
		case 3:
			say_module(word(at + 8), word(at + 12), at + 16);
			break;
		case 4:
			say_number("lower ", word(at + 8));
			say_number(" upper ", word(at + 12));
			say("\n");
			break;
		case 6:
			for (uint32_t e = at + 16; e < at + word(at + 4); e += word(at + 8))
				say_map(word(e), word(e + 4), word(e + 8), word(e + 16));
			break;
		case 15:
			say_rsdp(at + 8);
			break;
		case 21:
			say_number("base ", word(at + 8));
			say_number(" loaded ", (uint32_t)first);
			say("\n");
			break;
		default:
			say_number("tag ", word(at));
			say("\n");
		}
		at += (word(at + 4) + 7) & ~7u;
	}
	say(at + 8 == end && !(info & 7) ? "ends well\n" : "ends badly\n");
}
#endif

void guest_main(uint32_t magic, uint32_t info, uint32_t eflags)
{
	uint32_t cr0, bss = 0;

	asm volatile("movl %%cr0, %0" : "=r"(cr0));
	say_number("magic ", magic);
	say_number(" protected ", cr0 & 1);
	say_number(" paging ", cr0 >> 31);
	say_number(" interrupts ", eflags >> 9 & 1);
#if KIND == MB1_ADDRESSES || KIND == MB2_ADDRESSES
	for (uint32_t i = 0; i < BSS; i++)
		bss |= image_end[i];
#endif
	say_number(" bss ", bss);
	say("\n");
	look(info);
	out(0x600, 0x34);
}
