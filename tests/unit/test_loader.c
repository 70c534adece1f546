// SPDX-License-Identifier: Apache-2.0
/*
 * Kernel loaders against files made here: good ones byte by byte in guest RAM, bad ones refused
 * with the file's name, mutated ones without a fault (run under AddressSanitizer).
 */
#include <criterion/criterion.h>

#include <asm/bootparam.h>
#include <elf.h>
#include <sys/stat.h>

#include "loader_fixture.h"

#define LOAD (16 * MIB)

/* Start info as the guest reads it: Xen's start_info.h, written down again on purpose. */
struct start_info {
	uint32_t magic, version, flags, modules;
	uint64_t modlist, cmdline, rsdp, memmap;
	uint32_t memmap_entries, reserved;
};

TestSuite(loader, .init = setup, .fini = teardown);

/* ELF: a text segment with BSS behind it, a second segment, a note segment with the entry second.
 */
static Elf64_Ehdr *const eh = (void *)file;
static Elf64_Phdr *const ph = (void *)(file + 64);
#define TEXT_OFFSET 0x1000u
#define TEXT_SIZE   0x2345u
#define TEXT_MEMORY 0x5000u
#define DATA_OFFSET 0x4010u
#define DATA_SIZE   0x100u
#define DATA_PADDR  (LOAD + 0x6000)
#define NOTE_OFFSET 0x5000u
#define NOTE_ENTRY  (NOTE_OFFSET + 20 + 16)
#define ELF_SIZE    0x6000u
#define ELF_ENTRY   (LOAD + 0x40)

static uint32_t note(uint32_t offset, const char *name, uint32_t type, uint64_t value,
		     uint32_t size)
{
	Elf64_Nhdr nh = {.n_namesz = 4, .n_descsz = size, .n_type = type};

	memcpy(file + offset, &nh, sizeof(nh));
	memcpy(file + offset + 12, name, 4);
	memcpy(file + offset + 16, &value, size);
	return offset + 16 + (uint32_t)align_up(size, 4);
}

static void elf_make(void)
{
	uint32_t end;

	for (size_t i = 0; i < FILE_SIZE; i++)
		file[i] = pattern(i);
	memset(file, 0, 0x200);
	memcpy(eh->e_ident, ELFMAG, SELFMAG);
	eh->e_ident[EI_CLASS] = ELFCLASS64;
	eh->e_ident[EI_DATA] = ELFDATA2LSB;
	eh->e_ident[EI_VERSION] = EV_CURRENT;
	eh->e_type = ET_EXEC;
	eh->e_machine = EM_X86_64;
	eh->e_version = EV_CURRENT;
	eh->e_phoff = 64;
	eh->e_phentsize = 56;
	eh->e_phnum = 3;
	ph[0] = (Elf64_Phdr){.p_type = PT_LOAD,
			     .p_offset = TEXT_OFFSET,
			     .p_paddr = LOAD,
			     .p_filesz = TEXT_SIZE,
			     .p_memsz = TEXT_MEMORY};
	ph[1] = (Elf64_Phdr){.p_type = PT_LOAD,
			     .p_offset = DATA_OFFSET,
			     .p_paddr = DATA_PADDR,
			     .p_filesz = DATA_SIZE,
			     .p_memsz = DATA_SIZE};
	end = note(NOTE_OFFSET, "GNU", 3, 0, 3);
	end = note(end, "Xen", 18, ELF_ENTRY, 8);
	ph[2] = (Elf64_Phdr){
		.p_type = PT_NOTE, .p_offset = NOTE_OFFSET, .p_filesz = end - NOTE_OFFSET};
}

static void check_elf_in_ram(void)
{
	cr_assert_eq(memcmp(at(LOAD, TEXT_SIZE), file + TEXT_OFFSET, TEXT_SIZE), 0);
	for (uint64_t i = TEXT_SIZE; i < TEXT_MEMORY; i++)
		cr_assert_eq(*at(LOAD + i, 1), 0, "BSS at %llu", (unsigned long long)i);
	cr_assert_eq(memcmp(at(DATA_PADDR, DATA_SIZE), file + DATA_OFFSET, DATA_SIZE), 0);
}

Test(loader, pvh)
{
	struct start_info info;
	struct {
		uint64_t addr, size;
		uint32_t type, reserved;
	} map;
	const uint64_t *module;
	bool high = false, low = false, hole = false;

	elf_make();
	memset(at(0, RAM), 0xee, RAM); /* as a reset guest leaves it */
	write_file(initrd_path, "initrd", 6);
	boot.initrd = initrd_path;
	boot.reserved[0] = (struct guest_e820_entry){0xe0000000, 0x10000000, 2};
	boot.reserved_count = 1;
	cr_assert_eq(load(ELF_SIZE), 0);
	cr_assert_eq(entry.protocol, GUEST_PVH);
	cr_assert_eq(entry.rip, ELF_ENTRY);
	cr_assert_eq(entry.argument, GUEST_PVH_INFO);
	check_elf_in_ram();
	memcpy(&info, at(GUEST_PVH_INFO, sizeof(info)), sizeof(info));
	cr_assert_eq(info.magic, 0x336ec578);
	cr_assert_eq(info.version, 1);
	cr_assert_eq(info.flags, 0);
	cr_assert_eq(info.rsdp, GUEST_RSDP);
	cr_assert_str_eq((char *)at(info.cmdline, 16), "console=ttyS0");
	cr_assert_eq(info.modules, 1);
	module = (void *)at(info.modlist, 32);
	cr_assert_eq(module[0], RAM - 4096);
	cr_assert_eq(module[1], 6);
	cr_assert_eq(memcmp(at(module[0], 8), "initrd\0", 8), 0);
	for (unsigned i = 0; i < info.memmap_entries; i++) {
		memcpy(&map, at(info.memmap + i * 24, 24), 24);
		high |= map.addr == HIGH_RAM && map.size == HIGH_SIZE && map.type == 1;
		low |= map.addr == MIB && map.size == RAM - MIB && map.type == 1;
		hole |= map.addr == 0xe0000000 && map.size == 0x10000000 && map.type == 2;
		cr_assert_not(map.type == 1 && map.addr < MIB && map.addr + map.size > 0xa0000);
	}
	cr_assert(high && low && hole);
}

/* Mapped files: the same bytes, guest writes do not reach the file, a reload brings it back. */
Test(loader, map_files)
{
	static uint8_t initrd[3 * 4096 + 5], back[ELF_SIZE];
	uint64_t gpa;
	int fd;

	elf_make();
	for (size_t i = 0; i < sizeof(initrd); i++)
		initrd[i] = pattern(i + 3);
	write_file(initrd_path, initrd, sizeof(initrd));
	boot.initrd = initrd_path;
	boot.map_files = true;
	cr_assert_eq(load(ELF_SIZE), 0);
	check_elf_in_ram();
	for (int round = 0; round < 2; round++) {
		memset(at(LOAD, 0x8000), 0x55, 0x8000);
		gpa = RAM - 4 * 4096;
		memset(at(gpa, 4 * 4096), 0x55, 4 * 4096);
		cr_assert_eq(guest_boot_load(&boot, &entry), 0);
		check_elf_in_ram();
		cr_assert_eq(memcmp(at(gpa, sizeof(initrd)), initrd, sizeof(initrd)), 0);
		cr_assert_eq(*at(gpa + sizeof(initrd), 1), 0);
	}
	fd = open(kernel_path, O_RDONLY | O_CLOEXEC);
	cr_assert_eq(read(fd, back, ELF_SIZE), ELF_SIZE);
	close(fd);
	cr_assert_eq(memcmp(back, file, ELF_SIZE), 0);
	/* That pages are mapped and not read: a private mapping of the file is there. */
	{
		char line[256];
		bool found = false;
		FILE *maps = fopen("/proc/self/maps", "re");

		cr_assert_not_null(maps);
		while (fgets(line, sizeof(line), maps))
			found |= strstr(line, kernel_path) && strstr(line, "rw-p");
		fclose(maps);
		cr_assert(found);
	}
}

Test(loader, elf_truncated)
{
	elf_make();
	/* The headers, then everything that is named: the last named byte ends the note segment. */
	for (size_t len = 0; len < NOTE_OFFSET + ph[2].p_filesz; len += len < 0x200 ? 1 : 0x31)
		cr_assert_eq(load(len), -ENOEXEC, "%zu", len);
	cr_assert_eq(load(NOTE_OFFSET + ph[2].p_filesz), 0);
}

#define REFUSED(change)                                                                            \
	do {                                                                                       \
		elf_make();                                                                        \
		change;                                                                            \
		cr_assert_eq(load(ELF_SIZE), -ENOEXEC, "%s", #change);                             \
	} while (0)

Test(loader, elf_hostile)
{
	uint32_t namesz = 0xfffffff0;

	REFUSED(eh->e_ident[EI_CLASS] = ELFCLASS32);
	REFUSED(eh->e_ident[EI_DATA] = ELFDATA2MSB);
	REFUSED(eh->e_machine = EM_AARCH64);
	REFUSED(eh->e_type = ET_REL);
	REFUSED(eh->e_phoff = UINT64_MAX - 8);
	REFUSED(eh->e_phoff = ELF_SIZE);
	REFUSED(eh->e_phentsize = 32);
	REFUSED(eh->e_phnum = 0);
	REFUSED(eh->e_phnum = 0xffff);
	REFUSED(ph[0].p_offset = UINT64_MAX - 0x1000);
	REFUSED(ph[0].p_filesz = UINT64_MAX);
	REFUSED(ph[0].p_filesz = TEXT_MEMORY + 1);
	REFUSED(ph[0].p_memsz = UINT64_MAX);
	REFUSED(ph[0].p_memsz = RAM - LOAD + 1);
	REFUSED(ph[0].p_paddr = UINT64_MAX - 0x1000);
	REFUSED(ph[0].p_paddr = RAM - 0x1000);
	REFUSED(ph[0].p_paddr = HIGH_RAM);
	REFUSED(ph[0].p_paddr = 0x7000);
	REFUSED(ph[0].p_paddr = MIB - 1);
	REFUSED(ph[1].p_paddr = LOAD + TEXT_MEMORY - 1);
	REFUSED(ph[1].p_paddr = LOAD - DATA_SIZE + 1);
	REFUSED(ph[0].p_type = ph[1].p_type = PT_NULL);
	REFUSED(ph[2].p_type = PT_NULL);
	/* Bytes of the file that take no memory hold no entry. */
	REFUSED((ph[1].p_paddr = LOAD, ph[1].p_filesz = TEXT_SIZE, ph[1].p_memsz = 0,
		 ph[0].p_paddr = LOAD + 0x8000));
	REFUSED(ph[2].p_offset = UINT64_MAX - 4);
	REFUSED(ph[2].p_filesz = UINT64_MAX);
	REFUSED(ph[2].p_filesz = 64 * KIB + 1);
	REFUSED(ph[2].p_filesz -= 1); /* the note's value is cut */
	REFUSED(memcpy(file + NOTE_OFFSET, &namesz, 4));
	REFUSED(memcpy(file + NOTE_OFFSET + 4, &namesz, 4));
	REFUSED(note(NOTE_OFFSET + 20, "Xen", 18, ELF_ENTRY, 2));
	REFUSED(note(NOTE_OFFSET + 20, "Xen", 17, ELF_ENTRY, 8));
	REFUSED(note(NOTE_OFFSET + 20, "XEN", 18, ELF_ENTRY, 8));
	REFUSED(note(NOTE_OFFSET + 20, "Xen", 18, LOAD - 1, 8));
	REFUSED(note(NOTE_OFFSET + 20, "Xen", 18, LOAD + TEXT_SIZE, 8));
	REFUSED(note(NOTE_OFFSET + 20, "Xen", 18, GIB * 4 + ELF_ENTRY, 8));
}

/* bzImage: header, one setup sector, a payload of patterns. */
static struct setup_header *const hdr = (void *)(file + 0x1f1);
#define SETUP_SECTS 7u /* so that the payload begins on a page border */
#define PAYLOAD	    ((SETUP_SECTS + 1) * 512)
#define PAYLOAD_LEN 0x3210u
#define BZ_SIZE	    (PAYLOAD + PAYLOAD_LEN)
#define INIT_SIZE   (2 * MIB)

static void bz_make(void)
{
	for (size_t i = 0; i < FILE_SIZE; i++)
		file[i] = pattern(i);
	memset(file, 0, 0x400);
	hdr->setup_sects = SETUP_SECTS;
	hdr->syssize = PAYLOAD_LEN / 16;
	hdr->boot_flag = 0xaa55;
	file[0x200] = 0xeb;
	file[0x201] = 0x6a;
	memcpy(&hdr->header, "HdrS", 4);
	hdr->version = 0x20f;
	hdr->loadflags = LOADED_HIGH;
	hdr->initrd_addr_max = 0x7fffffff;
	hdr->kernel_alignment = 2 * MIB;
	hdr->relocatable_kernel = 1;
	hdr->xloadflags = XLF_KERNEL_64;
	hdr->cmdline_size = 100;
	hdr->pref_address = LOAD;
	hdr->init_size = INIT_SIZE;
}

static const struct boot_params *params(void)
{
	return (void *)at(GUEST_BOOT_PARAMS, sizeof(struct boot_params));
}

Test(loader, bzimage)
{
	static const uint8_t fdt[100] = {0xd0, 0x0d, 0xfe, 0xed, 9};
	const struct boot_params *bp;
	struct setup_data data;
	bool high = false;

	for (int mapped = 0; mapped < 2; mapped++) {
		bz_make();
		memset(at(0, 15 * MIB), 0xee, 15 * MIB);
		write_file(initrd_path, file, 5000);
		boot.initrd = initrd_path;
		boot.fdt = fdt;
		boot.fdt_size = sizeof(fdt);
		boot.map_files = mapped;
		cr_assert_eq(load(BZ_SIZE), 0);
		cr_assert_eq(entry.protocol, GUEST_LINUX64);
		cr_assert_eq(entry.rip, LOAD + 0x200);
		cr_assert_eq(entry.argument, GUEST_BOOT_PARAMS);
		cr_assert_eq(memcmp(at(LOAD, PAYLOAD_LEN), file + PAYLOAD, PAYLOAD_LEN), 0);
	}
	bp = params();
	cr_assert_eq(memcmp(&bp->hdr.header, "HdrS", 4), 0);
	cr_assert_eq(bp->hdr.type_of_loader, 0xff);
	cr_assert_eq(bp->hdr.loadflags & LOADED_HIGH, LOADED_HIGH);
	cr_assert_eq(bp->hdr.init_size, INIT_SIZE);
	cr_assert_eq(bp->sentinel, 0);
	cr_assert_eq(bp->acpi_rsdp_addr, GUEST_RSDP);
	cr_assert_eq(bp->hdr.cmd_line_ptr, GUEST_CMDLINE);
	cr_assert_str_eq((char *)at(GUEST_CMDLINE, 16), "console=ttyS0");
	cr_assert_eq(bp->hdr.ramdisk_image, RAM - 8192);
	cr_assert_eq(bp->hdr.ramdisk_size, 5000);
	cr_assert_eq(bp->ext_ramdisk_image, 0);
	cr_assert_eq(memcmp(at(bp->hdr.ramdisk_image, 5000), file, 5000), 0);
	memcpy(&data, at(bp->hdr.setup_data, sizeof(data)), sizeof(data));
	cr_assert_eq(data.next, 0);
	cr_assert_eq(data.type, SETUP_DTB);
	cr_assert_eq(data.len, sizeof(fdt));
	cr_assert_lt(bp->hdr.setup_data, bp->hdr.ramdisk_image);
	cr_assert_eq(memcmp(at(bp->hdr.setup_data + 16, sizeof(fdt)), fdt, sizeof(fdt)), 0);
	for (unsigned i = 0; i < bp->e820_entries; i++)
		high |= bp->e820_table[i].addr == HIGH_RAM && bp->e820_table[i].size == HIGH_SIZE;
	cr_assert(high);
}

Test(loader, bzimage_placement)
{
	/* A preferred place below 1 MiB or off its alignment moves up, if the kernel can. */
	bz_make();
	hdr->pref_address = 0;
	cr_assert_eq(load(BZ_SIZE), 0);
	cr_assert_eq(entry.rip, 2 * MIB + 0x200);
	hdr->pref_address = LOAD + 1;
	cr_assert_eq(load(BZ_SIZE), 0);
	cr_assert_eq(entry.rip, LOAD + 2 * MIB + 0x200);
	hdr->relocatable_kernel = 0;
	hdr->pref_address = MIB;
	cr_assert_eq(load(BZ_SIZE), 0);
	cr_assert_eq(entry.rip, MIB + 0x200);
	hdr->pref_address = MIB - 4096;
	cr_assert_eq(load(BZ_SIZE), -ENOEXEC);
	/* init_size counts for RAM and for the initrd. */
	bz_make();
	hdr->init_size = (uint32_t)(RAM - LOAD);
	cr_assert_eq(load(BZ_SIZE), 0);
	write_file(initrd_path, "x", 1);
	boot.initrd = initrd_path;
	cr_assert_eq(load(BZ_SIZE), -EFBIG);
	hdr->init_size -= 4096;
	cr_assert_eq(load(BZ_SIZE), 0);
	hdr->init_size += 4097;
	cr_assert_eq(load(BZ_SIZE), -ENOEXEC);
	bz_make();
	hdr->initrd_addr_max = 20 * MIB - 1;
	cr_assert_eq(load(BZ_SIZE), 0);
	cr_assert_eq(params()->hdr.ramdisk_image, 20 * MIB - 4096);
	hdr->initrd_addr_max = LOAD;
	cr_assert_eq(load(BZ_SIZE), -EFBIG);
}

#define REFUSED_BZ(change)                                                                         \
	do {                                                                                       \
		bz_make();                                                                         \
		change;                                                                            \
		cr_assert_eq(load(BZ_SIZE), -ENOEXEC, "%s", #change);                              \
	} while (0)

Test(loader, bzimage_hostile)
{
	bz_make();
	for (size_t len = 0; len < BZ_SIZE; len += len < 0x300 ? 1 : 0x101)
		cr_assert_eq(load(len), -ENOEXEC, "%zu", len);
	REFUSED_BZ(hdr->header = 0);
	REFUSED_BZ(hdr->boot_flag = 0);
	REFUSED_BZ(hdr->version = 0x20b);
	REFUSED_BZ(hdr->xloadflags = 0);
	REFUSED_BZ(hdr->loadflags = 0);
	REFUSED_BZ(file[0x201] = 0x61);
	REFUSED_BZ(hdr->syssize = UINT32_MAX);
	REFUSED_BZ(hdr->syssize = PAYLOAD_LEN / 16 + 1);
	REFUSED_BZ(hdr->syssize = 0x20);
	REFUSED_BZ(hdr->syssize = 0);
	REFUSED_BZ(hdr->setup_sects = 0xff);
	REFUSED_BZ(hdr->kernel_alignment = 0);
	REFUSED_BZ(hdr->kernel_alignment = 3);
	REFUSED_BZ(hdr->kernel_alignment = 0x80000000);
	REFUSED_BZ(hdr->init_size = UINT32_MAX);
	REFUSED_BZ(hdr->pref_address = UINT64_MAX);
	REFUSED_BZ(hdr->pref_address = UINT64_MAX - 4096);
	REFUSED_BZ(hdr->pref_address = RAM);
	REFUSED_BZ(hdr->pref_address = HIGH_RAM);
	/* No value here is illegal, and none reads past the known header. */
	bz_make();
	file[0x201] = 0xff;
	cr_assert_eq(load(BZ_SIZE), 0);
	hdr->setup_sects = 0;
	hdr->syssize = PAYLOAD_LEN / 16;
	cr_assert_eq(load(BZ_SIZE), 0);
	cr_assert_eq(memcmp(at(LOAD, PAYLOAD_LEN), file + 5 * 512, PAYLOAD_LEN), 0);
}

Test(loader, cmdline)
{
	static char line[GUEST_CMDLINE_MAX + 1];

	memset(line, 'a', sizeof(line) - 1);
	boot.cmdline = line;
	elf_make();
	cr_assert_eq(load(ELF_SIZE), -E2BIG);
	line[GUEST_CMDLINE_MAX - 1] = 0;
	cr_assert_eq(load(ELF_SIZE), 0);
	cr_assert_str_eq((char *)at(GUEST_CMDLINE, GUEST_CMDLINE_MAX), line);
	bz_make();
	cr_assert_eq(load(BZ_SIZE), -E2BIG);
	line[101] = 0;
	cr_assert_eq(load(BZ_SIZE), -E2BIG);
	line[100] = 0;
	cr_assert_eq(load(BZ_SIZE), 0);
}

Test(loader, fdt_limits)
{
	void *big = calloc(1, 4 * MIB);

	bz_make();
	boot.fdt = big;
	boot.fdt_size = 4 * MIB;
	cr_assert_eq(load(BZ_SIZE), -EFBIG);
	boot.fdt_size = MIB;
	cr_assert_eq(load(BZ_SIZE), 0);
	hdr->init_size = (uint32_t)(RAM - LOAD - 4096);
	cr_assert_eq(load(BZ_SIZE), -EFBIG);
	/* PVH has no place for it: warned of, not fatal. */
	elf_make();
	cr_assert_eq(load(ELF_SIZE), 0);
	free(big);
}

Test(loader, not_a_kernel)
{
	boot.kernel = dir;
	cr_assert_eq(guest_boot_load(&boot, &entry), -EINVAL);
	boot.kernel = "/nonexistent/kernel";
	cr_assert_eq(guest_boot_load(&boot, &entry), -ENOENT);
	cr_assert_eq(mkfifo(initrd_path, 0600), 0);
	boot.kernel = initrd_path; /* must not wait for a writer */
	cr_assert_eq(guest_boot_load(&boot, &entry), -EINVAL);
	boot.kernel = kernel_path;
	cr_assert_eq(load(0), -ENOEXEC);
	memset(file, 'x', sizeof(file));
	cr_assert_eq(load(4096), -ENOEXEC);
	elf_make();
	boot.initrd = dir;
	cr_assert_eq(load(ELF_SIZE), -EINVAL);
	boot.initrd = NULL;
	boot.reserved_count = 9;
	cr_assert_eq(load(ELF_SIZE), -EINVAL);
	boot.reserved_count = 0;
	ram.region[0].size = MIB;
	cr_assert_eq(load(ELF_SIZE), -EINVAL);
	ram.region[0].size = RAM;
	cr_assert_eq(load(ELF_SIZE), 0);
}

/* One line, with the file's name. */
Test(loader, message)
{
	char text[1024] = {0}, path[80];
	int saved = dup(STDERR_FILENO), fd;

	snprintf(path, sizeof(path), "%s/stderr", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	log_set_level(LOG_LEVEL_ERROR);
	elf_make();
	ph[2].p_type = PT_NULL;
	dup2(fd, STDERR_FILENO);
	cr_expect_eq(load(ELF_SIZE), -ENOEXEC);
	dup2(saved, STDERR_FILENO);
	cr_assert_gt(pread(fd, text, sizeof(text) - 1, 0), 0);
	unlink(path);
	cr_assert_not_null(strstr(text, kernel_path), "%s", text);
	cr_assert_not_null(strstr(text, "CONFIG_PVH"), "%s", text);
	cr_assert_eq(strchr(text, '\n'), text + strlen(text) - 1);
	close(fd);
	close(saved);
}

static uint32_t seed = 1;

static uint32_t next_random(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed >> 8;
}

/* Whatever the headers say: an answer, and nothing outside RAM. */
Test(loader, mutated)
{
	static const uint8_t edge[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
	unsigned good = 0, bad = 0;

	for (unsigned i = 0; i < 3000; i++) {
		bool elf = i & 1;
		size_t from = elf ? 0 : 0x1f1, span = elf ? 64 + 3 * 56 : 0x7f;

		if (elf)
			elf_make();
		else
			bz_make();
		for (unsigned n = next_random() % 3 + 1; n; n--) {
			size_t where = from + next_random() % span;
			uint8_t value = next_random() & 1 ? edge[next_random() % sizeof(edge)]
							  : (uint8_t)next_random();

			if (elf && next_random() % 4 == 0)
				where = NOTE_OFFSET + next_random() % 44;
			file[where] = value;
		}
		boot.map_files = i & 2;
		if (load(elf ? ELF_SIZE : BZ_SIZE)) {
			bad++;
		} else {
			good++;
			cr_assert_not_null(guest_memory_at(&ram, entry.rip, 1));
			cr_assert_geq(entry.rip, MIB);
		}
	}
	cr_assert(good > 100 && bad > 100, "%u good, %u bad", good, bad);
}
