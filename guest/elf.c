// SPDX-License-Identifier: Apache-2.0
/*
 * ELF kernels: ELF64 with the 32-bit physical entry point of the PVH start-up protocol in a Xen
 * note, and for Multiboot also ELF32. Sections (debug information) are never looked at.
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

static bool elf_is_64(const struct elf *elf)
{
	return elf->class == ELFCLASS64;
}

static int elf_read_64(const struct image *image, struct elf *elf)
{
	Elf64_Ehdr eh;
	int ret = image_read(image, 0, &eh, sizeof(eh));

	if (ret)
		return ret;
	if (eh.e_machine != EM_X86_64)
		return elf_refuse(image, "is an ELF file, but not for x86-64");
	if (eh.e_type != ET_EXEC && eh.e_type != ET_DYN)
		return elf_refuse(image, "is an ELF file, but not an executable");
	if (eh.e_phentsize != sizeof(elf->ph[0]) || !eh.e_phnum || eh.e_phnum > ELF_SEGMENTS_MAX)
		return elf_refuse(image, "has no usable ELF program headers");
	elf->entry = eh.e_entry;
	elf->count = eh.e_phnum;
	return image_read(image, eh.e_phoff, elf->ph, eh.e_phnum * sizeof(elf->ph[0]));
}

static int elf_read_32(const struct image *image, struct elf *elf)
{
	Elf32_Phdr ph[ELF_SEGMENTS_MAX];
	Elf32_Ehdr eh;
	int ret = image_read(image, 0, &eh, sizeof(eh));

	if (ret)
		return ret;
	if (eh.e_machine != EM_386)
		return elf_refuse(image, "is an ELF file, but not for x86");
	if (eh.e_type != ET_EXEC && eh.e_type != ET_DYN)
		return elf_refuse(image, "is an ELF file, but not an executable");
	if (eh.e_phentsize != sizeof(ph[0]) || !eh.e_phnum || eh.e_phnum > ELF_SEGMENTS_MAX)
		return elf_refuse(image, "has no usable ELF program headers");
	ret = image_read(image, eh.e_phoff, ph, eh.e_phnum * sizeof(ph[0]));
	if (ret)
		return ret;
	elf->entry = eh.e_entry;
	elf->count = eh.e_phnum;
	for (unsigned i = 0; i < eh.e_phnum; i++)
		elf->ph[i] = (Elf64_Phdr){
			.p_type = ph[i].p_type,
			.p_offset = ph[i].p_offset,
			.p_vaddr = ph[i].p_vaddr,
			.p_paddr = ph[i].p_paddr,
			.p_filesz = ph[i].p_filesz,
			.p_memsz = ph[i].p_memsz,
			.p_align = ph[i].p_align,
		};
	return 0;
}

int elf_read(const struct image *image, struct elf *elf)
{
	uint8_t ident[EI_NIDENT];
	int ret = image_read(image, 0, ident, sizeof(ident));

	if (ret)
		return ret;
	elf->class = ident[EI_CLASS];
	if (ident[EI_DATA] != ELFDATA2LSB || (elf->class != ELFCLASS32 && elf->class != ELFCLASS64))
		return elf_refuse(image, "is an ELF file, but not for x86-64");
	return elf_is_64(elf) ? elf_read_64(image, elf) : elf_read_32(image, elf);
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

/* -ENOENT: there is none, and nothing was said. */
static int elf_find_entry(const struct image *image, const struct elf *elf, uint64_t *entry)
{
	*entry = 0;
	for (unsigned i = 0; i < elf->count; i++) {
		const Elf64_Phdr *ph = &elf->ph[i];
		uint8_t *notes;
		int ret;

		if (ph->p_type != PT_NOTE || !ph->p_filesz)
			continue;
		if (ph->p_filesz > ELF_NOTE_BYTES_MAX)
			return elf_refuse(image, "has an ELF note segment of more than 64 KiB");
		notes = malloc(ph->p_filesz);
		if (!notes)
			return -ENOMEM;
		ret = image_read(image, ph->p_offset, notes, ph->p_filesz);
		if (!ret)
			*entry = elf_note_entry(notes, ph->p_filesz, ph->p_align == 8 ? 8 : 4);
		free(notes);
		if (ret || *entry)
			return ret;
	}
	return -ENOENT;
}

static bool elf_overlap(const Elf64_Phdr *a, const Elf64_Phdr *b)
{
	return a->p_paddr < b->p_paddr + b->p_memsz && b->p_paddr < a->p_paddr + a->p_memsz;
}

/* Judge every segment before the first is loaded. */
int elf_extent(const struct image *image, const struct elf *elf, uint64_t *start, uint64_t *end)
{
	const Elf64_Phdr *ph = elf->ph;

	*start = UINT64_MAX;
	*end = 0;
	for (unsigned i = 0; i < elf->count; i++) {
		if (ph[i].p_type != PT_LOAD || !ph[i].p_memsz)
			continue;
		if (ph[i].p_filesz > ph[i].p_memsz)
			return elf_refuse(image, "has a segment larger in the file than in memory");
		if (!range_fits(ph[i].p_offset, ph[i].p_filesz, image->size))
			return elf_refuse(image, "is truncated: a segment lies past its end");
		if (!range_fits(ph[i].p_paddr, ph[i].p_memsz, UINT64_MAX))
			return elf_refuse(image, "has a segment past the end of all memory");
		for (unsigned j = 0; j < i; j++)
			if (ph[j].p_type == PT_LOAD && ph[j].p_memsz && elf_overlap(&ph[i], &ph[j]))
				return elf_refuse(image, "has segments that overlap");
		if (ph[i].p_paddr < *start)
			*start = ph[i].p_paddr;
		if (ph[i].p_paddr + ph[i].p_memsz > *end)
			*end = ph[i].p_paddr + ph[i].p_memsz;
	}
	if (!*end)
		return elf_refuse(image, "has nothing to load");
	return 0;
}

bool elf_covers(const struct elf *elf, uint64_t address)
{
	for (unsigned i = 0; i < elf->count; i++) {
		const Elf64_Phdr *ph = &elf->ph[i];

		if (ph->p_type == PT_LOAD && ph->p_memsz && address >= ph->p_paddr &&
		    address - ph->p_paddr < ph->p_filesz)
			return true;
	}
	return false;
}

int elf_place(const struct image *image, const struct elf *elf, const struct guest_boot *boot,
	      uint64_t shift)
{
	for (unsigned i = 0; i < elf->count; i++) {
		const Elf64_Phdr *ph = &elf->ph[i];
		uint64_t gpa = ph->p_paddr + shift, bss = ph->p_memsz - ph->p_filesz;
		int ret;

		if (ph->p_type != PT_LOAD || !ph->p_memsz)
			continue;
		ret = image_place(image, ph->p_offset, ph->p_filesz, boot->memory, gpa,
				  boot->map_files);
		if (ret)
			return ret;
		/* Not only for a first boot: after a guest reset the RAM is as the guest left it.
		 */
		memset(guest_memory_at(boot->memory, gpa + ph->p_filesz, bss), 0, bss);
	}
	return 0;
}

int elf_load(const struct image *image, const struct guest_boot *boot, struct kernel *kernel)
{
	struct elf elf;
	int ret;

	ret = elf_read(image, &elf);
	if (ret)
		return ret;
	if (!elf_is_64(&elf))
		return -ENOENT;
	ret = elf_find_entry(image, &elf, &kernel->entry);
	if (ret)
		return ret;
	ret = elf_extent(image, &elf, &kernel->start, &kernel->end);
	if (!ret)
		ret = kernel_fits(image, boot->memory, kernel->start, kernel->end - kernel->start);
	if (ret)
		return ret;
	if (kernel->entry > UINT32_MAX || !elf_covers(&elf, kernel->entry))
		return elf_refuse(image, "has its PVH entry point outside what it loads");
	ret = elf_place(image, &elf, boot, 0);
	if (ret)
		return ret;
	kernel->protocol = GUEST_PVH;
	kernel->initrd_max = UINT32_MAX;
	kernel->cmdline_max = GUEST_CMDLINE_MAX - 1;
	return 0;
}
