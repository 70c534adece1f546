// SPDX-License-Identifier: Apache-2.0
/*
 * An uncompressed kernel: ELF64 with the 32-bit physical entry point of the PVH start-up protocol
 * in a Xen note. Sections (debug information) are never looked at.
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "guest/loader.h"
#include "postern/bits.h"
#include "postern/log.h"

/* Xen public headers, elfnote.h */
#define XEN_ELFNOTE_PHYS32_ENTRY 18

#define ELF_SEGMENTS_MAX   64u
#define ELF_NOTE_BYTES_MAX (64 * KIB)

_Static_assert(sizeof(Elf64_Ehdr) == 64, "ELF-64 object file format, figure 2");
_Static_assert(sizeof(Elf64_Phdr) == 56, "ELF-64 object file format, figure 6");

bool elf_probe(const void *head, uint64_t len)
{
	return len >= SELFMAG && !memcmp(head, ELFMAG, SELFMAG);
}

static int elf_refuse(const struct image *image, const char *why)
{
	log_error("kernel %s: %s", image->path, why);
	return -ENOEXEC;
}

static int elf_read_headers(const struct image *image, Elf64_Ehdr *eh, Elf64_Phdr *ph)
{
	int ret = image_read(image, 0, eh, sizeof(*eh));

	if (ret)
		return ret;
	if (eh->e_ident[EI_CLASS] != ELFCLASS64 || eh->e_ident[EI_DATA] != ELFDATA2LSB ||
	    eh->e_machine != EM_X86_64)
		return elf_refuse(image, "is an ELF file, but not for x86-64");
	if (eh->e_type != ET_EXEC && eh->e_type != ET_DYN)
		return elf_refuse(image, "is an ELF file, but not an executable");
	if (eh->e_phentsize != sizeof(*ph) || !eh->e_phnum || eh->e_phnum > ELF_SEGMENTS_MAX)
		return elf_refuse(image, "has no usable ELF program headers");
	return image_read(image, eh->e_phoff, ph, eh->e_phnum * sizeof(*ph));
}

/* The PVH entry in NOTES, or 0: a note that does not fit its segment ends the search. */
static uint64_t elf_note_entry(const uint8_t *notes, uint64_t len, uint64_t align)
{
	uint64_t at = 0;

	while (range_fits(at, sizeof(Elf64_Nhdr), len)) {
		uint64_t name, desc;
		Elf64_Nhdr nh;

		memcpy(&nh, notes + at, sizeof(nh));
		/* 32-bit sizes in 64-bit sums of at most a few of them: no wrap. */
		name = at + sizeof(nh);
		desc = align_up(name + nh.n_namesz, align);
		if (!range_fits(desc, nh.n_descsz, len))
			return 0;
		if (nh.n_type == XEN_ELFNOTE_PHYS32_ENTRY && nh.n_namesz == 4 &&
		    !memcmp(notes + name, "Xen", 4) && (nh.n_descsz == 4 || nh.n_descsz == 8)) {
			uint64_t entry = 0;

			memcpy(&entry, notes + desc, nh.n_descsz);
			return entry;
		}
		at = align_up(desc + nh.n_descsz, align);
	}
	return 0;
}

static int elf_find_entry(const struct image *image, const Elf64_Phdr *ph, unsigned count,
			  uint64_t *entry)
{
	for (unsigned i = 0; i < count; i++) {
		uint8_t *notes;
		int ret;

		if (ph[i].p_type != PT_NOTE || !ph[i].p_filesz)
			continue;
		if (ph[i].p_filesz > ELF_NOTE_BYTES_MAX)
			return elf_refuse(image, "has an ELF note segment of more than 64 KiB");
		notes = malloc(ph[i].p_filesz);
		if (!notes)
			return -ENOMEM;
		ret = image_read(image, ph[i].p_offset, notes, ph[i].p_filesz);
		if (!ret)
			*entry = elf_note_entry(notes, ph[i].p_filesz, ph[i].p_align == 8 ? 8 : 4);
		free(notes);
		if (ret || *entry)
			return ret;
	}
	return elf_refuse(image, "has no PVH entry point; build it with CONFIG_PVH=y or boot its "
				 "bzImage");
}

static bool elf_overlap(const Elf64_Phdr *a, const Elf64_Phdr *b)
{
	return a->p_paddr < b->p_paddr + b->p_memsz && b->p_paddr < a->p_paddr + a->p_memsz;
}

/* Judge every segment before the first is loaded. *KERNEL's range comes to span them all. */
static int elf_check_segments(const struct image *image, const struct guest_memory *memory,
			      const Elf64_Phdr *ph, unsigned count, struct kernel *kernel)
{
	uint64_t limit = loader_low_ram_end(memory);

	kernel->start = UINT64_MAX;
	kernel->end = 0;
	for (unsigned i = 0; i < count; i++) {
		if (ph[i].p_type != PT_LOAD || !ph[i].p_memsz)
			continue;
		if (ph[i].p_filesz > ph[i].p_memsz)
			return elf_refuse(image, "has a segment larger in the file than in memory");
		if (!range_fits(ph[i].p_offset, ph[i].p_filesz, image->size))
			return elf_refuse(image, "is truncated: a segment lies past its end");
		if (ph[i].p_paddr < GUEST_HIGH)
			return elf_refuse(image, "wants to be loaded below 1 MiB, where the boot "
						 "structures are");
		if (!range_fits(ph[i].p_paddr, ph[i].p_memsz, limit)) {
			log_error(
				"kernel %s: needs %llu bytes at %#llx, the guest's low RAM ends at "
				"%#llx; give the guest more memory",
				image->path, (unsigned long long)ph[i].p_memsz,
				(unsigned long long)ph[i].p_paddr, (unsigned long long)limit);
			return -ENOEXEC;
		}
		for (unsigned j = 0; j < i; j++)
			if (ph[j].p_type == PT_LOAD && ph[j].p_memsz && elf_overlap(&ph[i], &ph[j]))
				return elf_refuse(image, "has segments that overlap");
		if (ph[i].p_paddr < kernel->start)
			kernel->start = ph[i].p_paddr;
		if (ph[i].p_paddr + ph[i].p_memsz > kernel->end)
			kernel->end = ph[i].p_paddr + ph[i].p_memsz;
	}
	if (!kernel->end)
		return elf_refuse(image, "has nothing to load");
	return 0;
}

static bool elf_covers(const Elf64_Phdr *ph, unsigned count, uint64_t address)
{
	for (unsigned i = 0; i < count; i++)
		if (ph[i].p_type == PT_LOAD && ph[i].p_memsz && address >= ph[i].p_paddr &&
		    address - ph[i].p_paddr < ph[i].p_filesz)
			return true;
	return false;
}

int elf_load(const struct image *image, const struct guest_boot *boot, struct kernel *kernel)
{
	Elf64_Phdr ph[ELF_SEGMENTS_MAX];
	Elf64_Ehdr eh;
	int ret;

	ret = elf_read_headers(image, &eh, ph);
	if (ret)
		return ret;
	ret = elf_check_segments(image, boot->memory, ph, eh.e_phnum, kernel);
	if (ret)
		return ret;
	kernel->entry = 0;
	ret = elf_find_entry(image, ph, eh.e_phnum, &kernel->entry);
	if (ret)
		return ret;
	if (kernel->entry > UINT32_MAX || !elf_covers(ph, eh.e_phnum, kernel->entry))
		return elf_refuse(image, "has its PVH entry point outside what it loads");
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		uint64_t bss = ph[i].p_memsz - ph[i].p_filesz;

		if (ph[i].p_type != PT_LOAD || !ph[i].p_memsz)
			continue;
		ret = image_place(image, ph[i].p_offset, ph[i].p_filesz, boot->memory,
				  ph[i].p_paddr, boot->map_files);
		if (ret)
			return ret;
		/* Not only for a first boot: after a guest reset the RAM is as the guest left it.
		 */
		memset(guest_memory_at(boot->memory, ph[i].p_paddr + ph[i].p_filesz, bss), 0, bss);
	}
	kernel->protocol = GUEST_PVH;
	kernel->initrd_max = UINT32_MAX;
	kernel->cmdline_max = GUEST_CMDLINE_MAX - 1;
	return 0;
}
