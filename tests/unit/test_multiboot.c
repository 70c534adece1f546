// SPDX-License-Identifier: Apache-2.0
/* Multiboot kernels and modules: where they go, what the kernel is told, what is refused. */
#include "loader_fixture.h"

#include <elf.h>

#define LOAD	   (2 * MIB)
#define HEADER	   0x100u /* in the file */
#define FILE_BYTES 0x3000u
#define BSS	   0x1ff0u /* up to 16 bytes before a page */
#define ENTRY	   (LOAD + 0x200)

TestSuite(multiboot, .init = setup, .fini = teardown);

static uint8_t *next; /* where the header goes on */
static char module_path[64];

static void put32(uint32_t value)
{
	memcpy(next, &value, sizeof(value));
	next += sizeof(value);
}

static void file_make(void)
{
	for (size_t i = 0; i < FILE_SIZE; i++)
		file[i] = pattern(i);
	memset(at(0, RAM), 0xee, RAM); /* as a reset guest leaves it */
	next = file + HEADER;
}

static uint32_t word(uint64_t gpa)
{
	uint32_t value;

	memcpy(&value, at(gpa, sizeof(value)), sizeof(value));
	return value;
}

static const char *text(uint64_t gpa)
{
	return (const char *)at(gpa, 1);
}

static void check_flat(uint64_t start)
{
	cr_assert_eq(memcmp(at(start, FILE_BYTES), file, FILE_BYTES), 0);
	for (uint64_t i = 0; i < BSS; i++)
		cr_assert_eq(*at(start + FILE_BYTES + i, 1), 0, "BSS at %llu",
			     (unsigned long long)i);
	cr_assert_eq(*at(start + FILE_BYTES + BSS, 1), 0xee, "more than the BSS was cleared");
}

static struct guest_module modules[GUEST_MODULES_MAX + 1];

static void modules_make(unsigned count, const char *cmdline)
{
	snprintf(module_path, sizeof(module_path), "%s/module", dir);
	write_file(module_path, "a module", 8);
	for (unsigned i = 0; i < count; i++)
		modules[i] = (struct guest_module){module_path, cmdline};
	boot.module = modules;
	boot.modules = count;
}

/* ---- version 1 ---- */

static void mb1_make(uint32_t flags)
{
	file_make();
	put32(0x1badb002);
	put32(flags);
	put32(-0x1badb002u - flags);
	put32(LOAD + HEADER);
	put32(LOAD);
	put32(LOAD + FILE_BYTES);
	put32(LOAD + FILE_BYTES + BSS);
	put32(ENTRY);
}

static void mb1_field(unsigned offset, uint32_t value)
{
	memcpy(file + HEADER + offset, &value, sizeof(value));
}

Test(multiboot, version_1)
{
	char want[256];
	uint32_t info, module, ram_total = 0;

	modules_make(2, "root=/dev/vda, quiet");
	write_file(initrd_path, "initrd", 6);
	boot.initrd = initrd_path;
	mb1_make(0x10003);
	cr_assert_eq(load(FILE_BYTES), 0);
	cr_assert_eq(entry.protocol, GUEST_MULTIBOOT1);
	cr_assert_eq(entry.rip, ENTRY);
	check_flat(LOAD);
	info = (uint32_t)entry.argument;
	cr_assert_eq(word(info), 0x24d);
	cr_assert_eq(word(info + 4), 640);
	cr_assert_eq(word(info + 8), RAM / KIB - 1024);
	snprintf(want, sizeof(want), "%s console=ttyS0", kernel_path);
	cr_assert_str_eq(text(word(info + 16)), want);
	cr_assert_str_eq(text(word(info + 64)), "postern");
	cr_assert_eq(word(info + 20), 3);
	module = word(info + 24);
	/* The initrd first; then each from the page on where the one before ends. */
	cr_assert_eq(word(module), align_up(LOAD + FILE_BYTES + BSS, 4096));
	cr_assert_eq(word(module + 4), word(module) + 6);
	cr_assert_str_eq(text(word(module + 8)), initrd_path);
	snprintf(want, sizeof(want), "%s root=/dev/vda, quiet", module_path);
	for (unsigned i = 1; i < 3; i++) {
		uint32_t m = module + i * 16;

		cr_assert_eq(word(m), word(module) + i * 4096);
		cr_assert_eq(word(m + 4), word(m) + 8);
		cr_assert_eq(memcmp(at(word(m), 9), "a module", 9), 0);
		cr_assert_str_eq(text(word(m + 8)), want);
	}
	for (uint32_t e = word(info + 48); e < word(info + 48) + word(info + 44); e += 24) {
		cr_assert_eq(word(e), 20);
		ram_total += word(e + 20) == 1 ? word(e + 12) : 0;
	}
	cr_assert_eq(ram_total, RAM - 384 * KIB + HIGH_SIZE);
}

#define MB1_REFUSED(offset, value)                                                                 \
	do {                                                                                       \
		mb1_make(0x10003);                                                                 \
		mb1_field(offset, value);                                                          \
		cr_assert_eq(load(FILE_BYTES), -ENOEXEC, "%s = %s", #offset, #value);              \
	} while (0)

Test(multiboot, version_1_hostile)
{
	mb1_make(0x10007); /* a video mode */
	cr_assert_eq(load(FILE_BYTES), -ENOEXEC);
	mb1_make(0x1000b); /* a requirement that there is not */
	cr_assert_eq(load(FILE_BYTES), -ENOEXEC);
	mb1_make(3); /* no addresses, and no ELF file */
	cr_assert_eq(load(FILE_BYTES), -ENOEXEC);
	mb1_make(0xf0010003); /* what is no requirement may be unknown */
	cr_assert_eq(load(FILE_BYTES), 0);
	mb1_make(0x10003);
	cr_assert_eq(load(HEADER + 31), -ENOEXEC);
	cr_assert_eq(load(FILE_BYTES - 1), -ENOEXEC);
	MB1_REFUSED(8, 0);			/* checksum: no header */
	MB1_REFUSED(12, LOAD + HEADER + 1);	/* before the file */
	MB1_REFUSED(12, LOAD - 1);		/* header below what is loaded */
	MB1_REFUSED(16, UINT32_MAX);		/* version 2 only */
	MB1_REFUSED(20, LOAD - 1);		/* ends before it begins */
	MB1_REFUSED(20, LOAD);			/* nothing */
	MB1_REFUSED(20, LOAD + FILE_BYTES + 1); /* more than there is */
	MB1_REFUSED(24, LOAD + FILE_BYTES - 1); /* bss inside the text */
	MB1_REFUSED(24, UINT32_MAX);		/* more than the guest's RAM */
	MB1_REFUSED(28, LOAD - 1);		/* entry below */
	MB1_REFUSED(28, LOAD + FILE_BYTES);	/* entry in the bss */
	mb1_make(0x10003);
	mb1_field(12, 0x8000 + HEADER); /* below 1 MiB */
	mb1_field(16, 0x8000);
	mb1_field(20, 0);
	mb1_field(24, 0);
	mb1_field(28, 0x8000);
	cr_assert_eq(load(FILE_BYTES), -ENOEXEC);
}

/* Without an end, all of the file is loaded; without a bss, no more. */
Test(multiboot, version_1_open_end)
{
	mb1_make(0x10003);
	mb1_field(20, 0);
	mb1_field(24, 0);
	cr_assert_eq(load(FILE_BYTES), 0);
	cr_assert_eq(memcmp(at(LOAD, FILE_BYTES), file, FILE_BYTES), 0);
	cr_assert_eq(*at(LOAD + FILE_BYTES, 1), 0xee);
}

/* ---- version 2 ---- */

static void tag(uint16_t type, bool optional, uint32_t size)
{
	put32(type | (uint32_t)optional << 16);
	put32(size);
}

static void mb2_begin(void)
{
	file_make();
	next += 16;
}

static void mb2_end(void)
{
	uint32_t length, magic = 0xe85250d6;

	tag(0, false, 8);
	length = (uint32_t)(next - file) - HEADER;
	next = file + HEADER;
	put32(magic);
	put32(0);
	put32(length);
	put32(-magic - length);
}

static void mb2_addresses(void)
{
	tag(2, false, 24);
	put32(LOAD + HEADER);
	put32(LOAD);
	put32(LOAD + FILE_BYTES);
	put32(LOAD + FILE_BYTES + BSS);
	tag(3, false, 12);
	put32(ENTRY);
	put32(0);
}

static void mb2_moves(uint32_t min, uint32_t max, uint32_t align, uint32_t preference)
{
	mb2_begin();
	mb2_addresses();
	tag(10, false, 24);
	put32(min);
	put32(max);
	put32(align);
	put32(preference);
	mb2_end();
}

/* The information's tag of this type, or 0. */
static uint64_t info_tag(uint32_t type)
{
	uint32_t end = word(entry.argument);

	for (uint32_t at = 8; at < end; at += (uint32_t)align_up(word(entry.argument + at + 4), 8))
		if (word(entry.argument + at) == type)
			return entry.argument + at;
	return 0;
}

Test(multiboot, version_2)
{
	char want[256];
	uint64_t t;

	modules_make(1, "text");
	mb2_begin();
	tag(1, false, 8 + 4 * 3); /* required information that there is */
	put32(1);
	put32(6);
	put32(15);
	put32(0);
	tag(1, true, 12); /* and wishes that cannot be met */
	put32(8);
	put32(0);
	tag(4, false, 12); /* a console is supported, not required */
	put32(2);
	put32(0);
	tag(5, false, 20);
	put32(1024);
	put32(768);
	put32(32);
	put32(0);
	tag(6, false, 8);
	tag(7, true, 8);
	tag(9, false, 12);
	put32(0);
	put32(0);
	tag(1234, true, 8);
	mb2_addresses();
	mb2_end();
	cr_assert_eq(load(FILE_BYTES), 0);
	cr_assert_eq(entry.protocol, GUEST_MULTIBOOT2);
	cr_assert_eq(entry.rip, ENTRY);
	cr_assert_eq(entry.argument % 8, 0);
	check_flat(LOAD);
	t = info_tag(1);
	snprintf(want, sizeof(want), "%s console=ttyS0", kernel_path);
	cr_assert_str_eq(text(t + 8), want);
	cr_assert_eq(word(t + 4), 8 + strlen(want) + 1);
	t = info_tag(2);
	cr_assert_str_eq(text(t + 8), "postern");
	t = info_tag(3);
	cr_assert_eq(memcmp(at(word(t + 8), 9), "a module", 9), 0);
	cr_assert_eq(word(t + 12), word(t + 8) + 8);
	snprintf(want, sizeof(want), "%s text", module_path);
	cr_assert_str_eq(text(t + 16), want);
	t = info_tag(4);
	cr_assert_eq(word(t + 12), RAM / KIB - 1024);
	t = info_tag(6);
	cr_assert_eq(word(t + 8), 24);
	cr_assert_eq(word(t + 16), 0);
	cr_assert_eq(word(t + 24), 0xa0000);
	t = info_tag(15);
	cr_assert_eq(word(t + 4), 8 + 36);
	cr_assert_eq(memcmp(at(t + 8, 36), at(GUEST_RSDP, 36), 36), 0);
	cr_assert_eq(info_tag(21), 0); /* it did not ask to be moved */
}

/* BODY between the header and its end tag. */
#define MB2_REFUSED(body)                                                                          \
	do {                                                                                       \
		mb2_begin();                                                                       \
		mb2_addresses();                                                                   \
		body;                                                                              \
		mb2_end();                                                                         \
		cr_assert_eq(load(FILE_BYTES), -ENOEXEC, "%s", #body);                             \
	} while (0)

Test(multiboot, version_2_hostile)
{
	uint32_t length;

	MB2_REFUSED((tag(1, false, 12), put32(8), put32(0)));  /* a framebuffer */
	MB2_REFUSED((tag(1, false, 12), put32(99), put32(0))); /* nobody knows what */
	MB2_REFUSED((tag(4, false, 12), put32(1), put32(0)));  /* a console */
	MB2_REFUSED(tag(99, false, 8));
	MB2_REFUSED(tag(2, false, 8));
	MB2_REFUSED(tag(3, false, 8));
	MB2_REFUSED(tag(10, false, 16));
	MB2_REFUSED(tag(6, true, 7));
	MB2_REFUSED(tag(6, true, 0));
	MB2_REFUSED(tag(6, true, UINT32_MAX));
	MB2_REFUSED(tag(6, true, 64));
	/* Ends without an end tag; longer than what is looked at; for MIPS. */
	for (unsigned i = 0; i < 3; i++) {
		static const uint32_t bad[] = {16 + 24, 32768, 16};

		mb2_begin();
		mb2_addresses();
		mb2_end();
		length = bad[i];
		memcpy(file + HEADER + 4, &(uint32_t){i == 2 ? 4 : 0}, 4);
		memcpy(file + HEADER + 8, &length, 4);
		length = -0xe85250d6u - length - (i == 2 ? 4 : 0);
		memcpy(file + HEADER + 12, &length, 4);
		cr_assert_eq(load(FILE_BYTES), -ENOEXEC, "%u", i);
	}
	/* No entry; a place before the file. */
	mb2_begin();
	tag(2, false, 24);
	put32(LOAD + HEADER);
	put32(UINT32_MAX);
	put32(0);
	put32(0);
	mb2_end();
	cr_assert_eq(load(FILE_BYTES), -ENOEXEC);
	memcpy(file + HEADER + 16 + 8, &(uint32_t){HEADER - 1}, 4);
	cr_assert_eq(load(FILE_BYTES), -ENOEXEC);
	/* Not even its magic number is in the file. */
	mb2_moves(0, UINT32_MAX, 1, 0);
	for (size_t len = 1; len < HEADER + 16; len += 7)
		cr_assert_eq(load(len), -ENOEXEC, "%zu", len);
}

Test(multiboot, whole_file_from_its_start)
{
	mb2_begin();
	tag(2, false, 24);
	put32(LOAD + HEADER);
	put32(UINT32_MAX);
	put32(0);
	put32(0);
	tag(3, false, 12);
	put32(ENTRY);
	put32(0);
	mb2_end();
	cr_assert_eq(load(FILE_BYTES), 0);
	cr_assert_eq(memcmp(at(LOAD, FILE_BYTES), file, FILE_BYTES), 0);
}

static void check_moved(uint64_t start)
{
	cr_assert_eq(load(FILE_BYTES), 0);
	cr_assert_eq(entry.rip, start + (ENTRY - LOAD), "at %#llx", (unsigned long long)entry.rip);
	check_flat(start);
	cr_assert_eq(word(info_tag(21) + 8), start);
}

Test(multiboot, relocatable)
{
	const uint64_t size = FILE_BYTES + BSS;

	mb2_moves(0, UINT32_MAX, 4096, 0); /* where it was linked */
	check_moved(LOAD);
	mb2_moves(LOAD + 1, UINT32_MAX, 0x10000, 0); /* which is too low */
	check_moved(LOAD + 0x10000);
	mb2_moves(0, LOAD + 0x1000, 0, 0); /* and too high */
	check_moved(MIB);
	mb2_moves(0, UINT32_MAX, 8 * MIB, 0); /* and not aligned */
	check_moved(8 * MIB);
	mb2_moves(0x1234, UINT32_MAX, 2 * MIB, 1);
	check_moved(2 * MIB);
	mb2_moves(0, 0xffffff, 0x1000, 2);
	check_moved(16 * MIB - 0x5000);
	mb2_moves(0, (uint32_t)(MIB + size) - 1, 1, 2); /* just room enough */
	check_moved(MIB);
	mb2_moves(0, (uint32_t)(MIB + size) - 2, 1, 2);
	cr_assert_eq(load(FILE_BYTES), -ENOEXEC);
	mb2_moves(UINT32_MAX, UINT32_MAX, 1, 1);
	cr_assert_eq(load(FILE_BYTES), -ENOEXEC);
	mb2_moves(0, UINT32_MAX, GIB, 2);
	cr_assert_eq(load(FILE_BYTES), -ENOEXEC);
	mb2_moves(0, UINT32_MAX, 3, 0);
	cr_assert_eq(load(FILE_BYTES), -ENOEXEC);
	mb2_moves(0, UINT32_MAX, 0x80000000, 0);
	cr_assert_eq(load(FILE_BYTES), -ENOEXEC);
}

/* Behind a kernel at the top of RAM there is no room. */
Test(multiboot, modules_below)
{
	uint64_t t;

	modules_make(2, NULL);
	mb2_moves(0, UINT32_MAX, 4096, 2);
	check_moved(RAM - 0x5000);
	t = info_tag(3);
	cr_assert_eq(word(t + 8), MIB);
	cr_assert_eq(word(t + align_up(word(t + 4), 8) + 8), MIB + 4096);
	/* And where there is none anywhere, that is said. */
	cr_assert_eq(truncate(module_path, RAM), 0);
	cr_assert_eq(load(FILE_BYTES), -EFBIG);
	/* The first fills all that there is. */
	cr_assert_eq(truncate(module_path, RAM - 0x5000 - MIB), 0);
	cr_assert_eq(load(FILE_BYTES), -EFBIG);
	boot.modules = 1;
	cr_assert_eq(load(FILE_BYTES), 0);
}

/* A module's last page is cleared behind it: the kernel may not begin there. */
Test(multiboot, module_and_kernel_share_no_page)
{
	modules_make(1, NULL);
	mb1_make(0x10003);
	mb1_field(12, MIB + 0x1800 + HEADER);
	mb1_field(16, MIB + 0x1800);
	mb1_field(20, MIB + 0x1800 + FILE_BYTES);
	mb1_field(24, RAM);
	mb1_field(28, MIB + 0x1800);
	cr_assert_eq(truncate(module_path, 0x1400), 0);
	cr_assert_eq(load(FILE_BYTES), -EFBIG);
	cr_assert_eq(truncate(module_path, 0x1000), 0);
	cr_assert_eq(load(FILE_BYTES), 0);
	cr_assert_eq(memcmp(at(MIB + 0x1800, FILE_BYTES), file, FILE_BYTES), 0);
}

/* Only version 2 says where the ACPI tables are. */
Test(multiboot, version_2_goes_first)
{
	mb2_begin();
	mb2_addresses();
	mb2_end();
	next = file + 0x40;
	put32(0x1badb002);
	put32(3);
	put32(-0x1badb002u - 3);
	cr_assert_eq(load(FILE_BYTES), 0);
	cr_assert_eq(entry.protocol, GUEST_MULTIBOOT2);
}

/* ---- ELF ---- */

static Elf32_Ehdr *const eh = (void *)file;
static Elf32_Phdr *const ph = (void *)(file + 52);

static void elf_make(void)
{
	mb1_make(3);
	memset(file, 0, HEADER);
	memcpy(eh->e_ident, ELFMAG, SELFMAG);
	eh->e_ident[EI_CLASS] = ELFCLASS32;
	eh->e_ident[EI_DATA] = ELFDATA2LSB;
	eh->e_type = ET_EXEC;
	eh->e_machine = EM_386;
	eh->e_entry = 0xc0000200; /* virtual */
	eh->e_phoff = 52;
	eh->e_phentsize = sizeof(*ph);
	eh->e_phnum = 2;
	ph[0] = (Elf32_Phdr){.p_type = PT_LOAD,
			     .p_vaddr = 0xc0000000,
			     .p_paddr = LOAD,
			     .p_filesz = FILE_BYTES,
			     .p_memsz = FILE_BYTES + BSS};
	ph[1] = (Elf32_Phdr){.p_type = PT_NULL, .p_vaddr = 0xc0000000, .p_filesz = 0x1000};
}

#define ELF_REFUSED(change)                                                                        \
	do {                                                                                       \
		elf_make();                                                                        \
		change;                                                                            \
		cr_assert_eq(load(FILE_BYTES), -ENOEXEC, "%s", #change);                           \
	} while (0)

Test(multiboot, elf)
{
	elf_make();
	cr_assert_eq(load(FILE_BYTES), 0);
	cr_assert_eq(entry.protocol, GUEST_MULTIBOOT1);
	cr_assert_eq(entry.rip, ENTRY);
	check_flat(LOAD);
	elf_make();
	eh->e_entry = ENTRY; /* physical */
	cr_assert_eq(load(FILE_BYTES), 0);
	cr_assert_eq(entry.rip, ENTRY);
	ELF_REFUSED(eh->e_entry = 0xc0000000 + FILE_BYTES);
	ELF_REFUSED(eh->e_entry = 0);
	ELF_REFUSED(eh->e_machine = EM_X86_64);
	ELF_REFUSED(eh->e_type = ET_REL);
	ELF_REFUSED(eh->e_phentsize = 56);
	ELF_REFUSED(eh->e_phnum = 65);
	ELF_REFUSED(eh->e_phoff = FILE_BYTES - 63);
	ELF_REFUSED(ph[0].p_filesz++);
	ELF_REFUSED(ph[0].p_memsz = UINT32_MAX);
	ELF_REFUSED(ph[0].p_paddr = 0xffff0000);
	ELF_REFUSED(ph[0].p_paddr = 0x8000);
	ELF_REFUSED(mb1_field(8, 0));
}

/* ---- modules of other protocols, and their limits ---- */

Test(multiboot, pvh_modules)
{
	const uint64_t *m;
	Elf64_Ehdr *const e64 = (void *)file;
	Elf64_Phdr *const p64 = (void *)(file + 64);
	static const uint8_t note[] = {4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0, 'X', 'e', 'n', 0};

	file_make();
	memset(file, 0, HEADER + 64);
	memcpy(e64->e_ident, ELFMAG, SELFMAG);
	e64->e_ident[EI_CLASS] = ELFCLASS64;
	e64->e_ident[EI_DATA] = ELFDATA2LSB;
	e64->e_type = ET_EXEC;
	e64->e_machine = EM_X86_64;
	e64->e_phoff = 64;
	e64->e_phentsize = sizeof(*p64);
	e64->e_phnum = 2;
	p64[0] = (Elf64_Phdr){
		.p_type = PT_LOAD, .p_paddr = LOAD, .p_filesz = FILE_BYTES, .p_memsz = FILE_BYTES};
	p64[1] = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = HEADER, .p_filesz = 20};
	memcpy(next, note, sizeof(note));
	next += sizeof(note);
	put32(ENTRY);
	modules_make(2, "text");
	modules[0].cmdline = NULL;
	write_file(initrd_path, "initrd", 6);
	boot.initrd = initrd_path;
	cr_assert_eq(load(FILE_BYTES), 0);
	cr_assert_eq(entry.protocol, GUEST_PVH);
	cr_assert_eq(word(entry.argument + 12), 3);
	memcpy(&m, &(const uint64_t *){(void *)at(word(entry.argument + 16), 96)}, sizeof(m));
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(m[4 * i], RAM - (i + 1) * 4096);
		cr_assert_eq(m[4 * i + 1], i ? 8 : 6);
		cr_assert_eq(memcmp(at(m[4 * i], 6), i ? "a modu" : "initrd", 6), 0);
	}
	cr_assert(!m[2] && !m[6]);
	cr_assert_str_eq(text(m[10]), "text");
}

Test(multiboot, module_limits)
{
	static char long_text[GUEST_CMDLINE_MAX + 1];

	memset(long_text, 'x', GUEST_CMDLINE_MAX - 1);
	modules_make(GUEST_MODULES_MAX, long_text);
	mb1_make(0x10003);
	cr_assert_eq(load(FILE_BYTES), 0);
	cr_assert_eq(word(entry.argument + 20), GUEST_MODULES_MAX);
	long_text[GUEST_CMDLINE_MAX - 1] = 'x';
	cr_assert_eq(load(FILE_BYTES), -E2BIG);
	modules_make(GUEST_MODULES_MAX + 1, NULL);
	cr_assert_eq(load(FILE_BYTES), -EINVAL);
	modules_make(1, NULL);
	unlink(module_path);
	cr_assert_eq(load(FILE_BYTES), -ENOENT);
}
