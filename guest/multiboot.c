// SPDX-License-Identifier: Apache-2.0
/*
 * Kernels with a Multiboot header, of specification version 0.6.96 ("1") or 2.0 ("2"): ELF files of
 * either class, and files of any format whose header says what goes where (the "a.out kludge" of
 * version 1, the address tag of version 2). Section numbers are those of the specification named.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "guest/loader.h"
#include "guest/multiboot.h"
#include "postern/bits.h"
#include "postern/log.h"

#define MB1_MAGIC  0x1badb002u
#define MB1_SEARCH 8192u /* 3.1: the header lies within these first bytes */
#define MB1_HEADER 12u
#define MB1_KLUDGE 32u /* with the address fields */
/* 3.1.2: bits 15:0 are requirements. Bits 0 and 1 (pages, memory) are always met. */
#define MB1_NEEDS	  0xffffu
#define MB1_NEEDS_VIDEO	  BIT(2)
#define MB1_NEEDS_MET	  (BIT(0) | BIT(1))
#define MB1_HAS_ADDRESSES BIT(16)

#define MB2_MAGIC  0xe85250d6u
#define MB2_SEARCH 32768u
#define MB2_HEADER 16u
#define MB2_I386   0u

#define MB2_FROM_START UINT32_MAX /* load_addr: the file from its first byte on */
#define ALIGNMENT_MAX  (1 * GIB)

/* 3.1.3: bit 0 of a tag's flags. */
#define MB2_TAG_OPTIONAL BIT(0)
#define MB2_TAG_END	 0u

enum { PREFER_NONE, PREFER_LOWEST, PREFER_HIGHEST };

struct mb_header {
	enum guest_protocol protocol;
	uint32_t offset; /* in the file */
	bool has_addresses, has_entry, relocatable;
	uint32_t header_addr, load_addr, load_end, bss_end, entry;
	uint32_t min_addr, max_addr, align, preference;
};

static uint32_t le32(const uint8_t *p)
{
	uint32_t value;

	memcpy(&value, p, sizeof(value));
	return value;
}

static int mb_refuse(const struct image *image, const char *why)
{
	log_error("kernel %s: %s", image->path, why);
	return -ENOEXEC;
}

/* ---- version 1 ---- */

static int mb1_read(const struct image *image, const uint8_t *p, uint32_t left,
		    struct mb_header *header)
{
	uint32_t flags = le32(p + 4);

	header->protocol = GUEST_MULTIBOOT1;
	if (flags & MB1_NEEDS_VIDEO)
		return mb_refuse(image, "its Multiboot header asks for a video mode, and there is "
					"no display");
	if (flags & MB1_NEEDS & ~MB1_NEEDS_MET) {
		log_error("kernel %s: its Multiboot header requires what is not known here (flags "
			  "%#x)",
			  image->path, flags);
		return -ENOEXEC;
	}
	if (!(flags & MB1_HAS_ADDRESSES))
		return 0;
	if (left < MB1_KLUDGE)
		return mb_refuse(image, "its Multiboot header is cut short");
	header->has_addresses = header->has_entry = true;
	header->header_addr = le32(p + 12);
	header->load_addr = le32(p + 16);
	header->load_end = le32(p + 20);
	header->bss_end = le32(p + 24);
	header->entry = le32(p + 28);
	return 0;
}

/* ---- version 2: tags ---- */

static int tag_information(const struct image *image, struct mb_header *header, const uint8_t *tag,
			   uint32_t size, bool required)
{
	(void)header;
	for (uint32_t at = 8; required && at + 4 <= size; at += 4) {
		uint32_t type = le32(tag + at);

		if (multiboot_info_has(type))
			continue;
		log_error("kernel %s: its Multiboot2 header requires information of type %u, which "
			  "a microVM does not have",
			  image->path, type);
		return -ENOEXEC;
	}
	return 0;
}

static int tag_address(const struct image *image, struct mb_header *header, const uint8_t *tag,
		       uint32_t size, bool required)
{
	(void)image;
	(void)size;
	(void)required;
	header->has_addresses = true;
	header->header_addr = le32(tag + 8);
	header->load_addr = le32(tag + 12);
	header->load_end = le32(tag + 16);
	header->bss_end = le32(tag + 20);
	return 0;
}

static int tag_entry(const struct image *image, struct mb_header *header, const uint8_t *tag,
		     uint32_t size, bool required)
{
	(void)image;
	(void)size;
	(void)required;
	header->has_entry = true;
	header->entry = le32(tag + 8);
	return 0;
}

/* 3.1.9: bit 0 of the console flags requires a console that the loader has set up. */
static int tag_console(const struct image *image, struct mb_header *header, const uint8_t *tag,
		       uint32_t size, bool required)
{
	(void)header;
	(void)size;
	if (required && le32(tag + 8) & BIT(0))
		return mb_refuse(image, "its Multiboot2 header requires a text or graphics "
					"console, and there is no display");
	return 0;
}

/* Preferences, what is always so, and entry points for firmware that is not there. */
static int tag_nothing(const struct image *image, struct mb_header *header, const uint8_t *tag,
		       uint32_t size, bool required)
{
	(void)image;
	(void)header;
	(void)tag;
	(void)size;
	(void)required;
	return 0;
}

static int tag_relocatable(const struct image *image, struct mb_header *header, const uint8_t *tag,
			   uint32_t size, bool required)
{
	(void)size;
	(void)required;
	header->relocatable = true;
	header->min_addr = le32(tag + 8);
	header->max_addr = le32(tag + 12);
	header->align = le32(tag + 16) ? le32(tag + 16) : 1;
	header->preference = le32(tag + 20);
	if (!is_power_of_2(header->align) || header->align > ALIGNMENT_MAX)
		return mb_refuse(image, "its Multiboot2 header names an impossible alignment");
	return 0;
}

static const struct mb2_tag {
	uint16_t type;
	uint32_t size; /* at least */
	int (*read)(const struct image *image, struct mb_header *header, const uint8_t *tag,
		    uint32_t size, bool required);
} mb2_tags[] = {
	{1, 8, tag_information}, /* 3.1.5 */
	{2, 24, tag_address},	 /* 3.1.6 */
	{3, 12, tag_entry},	 /* 3.1.7 */
	{8, 12, tag_nothing},	 /* 3.1.8, entry for EFI i386 */
	{9, 12, tag_nothing},	 /* entry for EFI amd64 */
	{4, 12, tag_console},	 /* 3.1.9 */
	{5, 20, tag_nothing},	 /* 3.1.10, preferred graphics mode */
	{6, 8, tag_nothing},	 /* 3.1.11, modules on pages */
	{7, 8, tag_nothing},	 /* 3.1.12, EFI boot services may stay */
	{10, 24, tag_relocatable},
};

static int mb2_read_tag(const struct image *image, const uint8_t *tag, uint32_t size,
			struct mb_header *header)
{
	uint16_t type, flags;
	bool required;

	memcpy(&type, tag, sizeof(type));
	memcpy(&flags, tag + 2, sizeof(flags));
	required = !(flags & MB2_TAG_OPTIONAL);
	for (size_t i = 0; i < ARRAY_SIZE(mb2_tags); i++) {
		if (mb2_tags[i].type != type)
			continue;
		if (size < mb2_tags[i].size)
			return mb_refuse(image, "has a Multiboot2 header tag that is too short");
		return mb2_tags[i].read(image, header, tag, size, required);
	}
	if (!required)
		return 0;
	log_error("kernel %s: its Multiboot2 header has a required tag of type %u, which is not "
		  "known here",
		  image->path, type);
	return -ENOEXEC;
}

static int mb2_read(const struct image *image, const uint8_t *p, uint32_t left,
		    struct mb_header *header)
{
	uint32_t length = le32(p + 8), at = MB2_HEADER;

	header->protocol = GUEST_MULTIBOOT2;
	if (le32(p + 4) != MB2_I386)
		return mb_refuse(image, "its Multiboot2 header is for another architecture");
	if (length > left)
		return mb_refuse(image, "its Multiboot2 header is cut short or does not end in the "
					"first 32 KiB");
	while (range_fits(at, 8, length)) {
		uint32_t size = le32(p + at + 4);
		uint16_t type;
		int ret;

		if (size < 8 || !range_fits(at, size, length))
			return mb_refuse(image, "has a damaged tag in its Multiboot2 header");
		memcpy(&type, p + at, sizeof(type));
		if (type == MB2_TAG_END)
			return 0;
		ret = mb2_read_tag(image, p + at, size, header);
		if (ret)
			return ret;
		at = (uint32_t)align_up(at + size, 8);
	}
	return mb_refuse(image, "its Multiboot2 header has no end tag");
}

/* ---- either ---- */

/*
 * Version 2 goes first: only by it is a kernel told where the ACPI tables are. -ENOENT: no header.
 */
static int mb_find(const struct image *image, const uint8_t *p, uint32_t len,
		   struct mb_header *header)
{
	uint32_t end = len < MB1_SEARCH ? len : MB1_SEARCH;

	memset(header, 0, sizeof(*header));
	for (uint32_t at = 0; range_fits(at, MB2_HEADER, len); at += 8) {
		if (le32(p + at) != MB2_MAGIC ||
		    le32(p + at) + le32(p + at + 4) + le32(p + at + 8) + le32(p + at + 12))
			continue;
		header->offset = at;
		return mb2_read(image, p + at, len - at, header);
	}
	for (uint32_t at = 0; range_fits(at, MB1_HEADER, end); at += 4) {
		if (le32(p + at) != MB1_MAGIC || le32(p + at) + le32(p + at + 4) + le32(p + at + 8))
			continue;
		header->offset = at;
		return mb1_read(image, p + at, end - at, header);
	}
	return -ENOENT;
}

/* A Multiboot 2 image that may move goes where it says, whole. */
static int mb_choose(const struct image *image, const struct guest_memory *memory,
		     const struct mb_header *header, uint64_t link, uint64_t size, uint64_t *start)
{
	uint64_t low = header->min_addr < GUEST_HIGH ? GUEST_HIGH : header->min_addr;
	uint64_t high = loader_low_ram_end(memory);

	*start = link;
	if (!header->relocatable)
		return kernel_fits(image, memory, link, size);
	if (high > header->max_addr + UINT64_C(1))
		high = header->max_addr + UINT64_C(1);
	low = align_up(low, header->align);
	if (!range_fits(low, size, high)) {
		log_error("kernel %s: its %llu bytes do not fit between %#llx and %#llx; give the "
			  "guest more memory",
			  image->path, (unsigned long long)size, (unsigned long long)low,
			  (unsigned long long)high);
		return -ENOEXEC;
	}
	if (header->preference == PREFER_HIGHEST)
		*start = align_down(high - size, header->align);
	else if (header->preference == PREFER_LOWEST || link < low ||
		 !range_fits(link, size, high) || !is_aligned(link, header->align))
		*start = low;
	return 0;
}

/* 3.1.3 (3.1.6): the header's own address says how the file lies in memory. */
static int mb_load_addresses(const struct image *image, const struct guest_boot *boot,
			     const struct mb_header *header, struct kernel *kernel)
{
	uint64_t load = header->load_addr, offset, text, size;
	int ret;

	if (header->protocol == GUEST_MULTIBOOT2 && header->load_addr == MB2_FROM_START)
		load = (uint64_t)header->header_addr - header->offset;
	if (load > header->header_addr || header->header_addr - load > header->offset)
		return mb_refuse(image, "its Multiboot header names a place before the file");
	offset = header->offset - (header->header_addr - load);
	if (header->load_end && header->load_end < load)
		return mb_refuse(image, "its Multiboot header ends what it loads before it begins");
	text = header->load_end ? header->load_end - load : image->size - offset;
	if (!text || !range_fits(offset, text, image->size))
		return mb_refuse(image, "is truncated: its Multiboot header loads more than there "
					"is");
	size = text;
	if (header->bss_end) {
		if (header->bss_end < load + text)
			return mb_refuse(image, "its Multiboot header ends its bss inside its "
						"text");
		size = header->bss_end - load;
	}
	if (!header->has_entry || header->entry < load || header->entry - load >= text)
		return mb_refuse(image, "its Multiboot header has no entry point inside what it "
					"loads");
	ret = mb_choose(image, boot->memory, header, load, size, &kernel->start);
	if (ret)
		return ret;
	kernel->end = kernel->start + size;
	kernel->entry = header->entry - load + kernel->start;
	ret = image_place(image, offset, text, boot->memory, kernel->start, boot->map_files);
	if (!ret)
		memset(guest_memory_at(boot->memory, kernel->start + text, size - text), 0,
		       size - text);
	return ret;
}

/* An ELF file's entry is a virtual address; the entry tag's is a physical one. */
static uint64_t mb_elf_entry(const struct elf *elf, const struct mb_header *header)
{
	if (header->has_entry)
		return header->entry;
	for (unsigned i = 0; i < elf->count; i++) {
		const Elf64_Phdr *ph = &elf->ph[i];

		if (ph->p_type == PT_LOAD && elf->entry >= ph->p_vaddr &&
		    elf->entry - ph->p_vaddr < ph->p_filesz)
			return elf->entry - ph->p_vaddr + ph->p_paddr;
	}
	return elf->entry;
}

static int mb_load_elf(const struct image *image, const struct guest_boot *boot,
		       const struct mb_header *header, struct kernel *kernel)
{
	uint64_t start, end, shift, entry;
	struct elf elf;
	int ret;

	ret = elf_read(image, &elf);
	if (!ret)
		ret = elf_extent(image, &elf, &start, &end);
	if (!ret)
		ret = mb_choose(image, boot->memory, header, start, end - start, &kernel->start);
	if (ret)
		return ret;
	entry = mb_elf_entry(&elf, header);
	if (!elf_covers(&elf, entry))
		return mb_refuse(image, "has its entry point outside what it loads");
	shift = kernel->start - start; /* modulo 2^64: down as well as up */
	kernel->end = end + shift;
	kernel->entry = entry + shift;
	return elf_place(image, &elf, boot, shift);
}

int multiboot_load(const struct image *image, const struct guest_boot *boot, struct kernel *kernel)
{
	uint32_t len = image->size < MB2_SEARCH ? (uint32_t)image->size : MB2_SEARCH;
	uint8_t *head = malloc(len);
	struct mb_header header;
	int ret;

	if (!head)
		return -ENOMEM;
	ret = image_read(image, 0, head, len);
	if (!ret)
		ret = mb_find(image, head, len, &header);
	if (!ret && header.has_addresses)
		ret = mb_load_addresses(image, boot, &header, kernel);
	else if (!ret && elf_probe(head, len))
		ret = mb_load_elf(image, boot, &header, kernel);
	else if (!ret)
		ret = mb_refuse(image, "has a Multiboot header without addresses, and is no ELF "
				       "file");
	free(head);
	if (ret)
		return ret;
	kernel->protocol = header.protocol;
	kernel->relocatable = header.relocatable;
	kernel->initrd_max = UINT32_MAX;
	kernel->cmdline_max = GUEST_CMDLINE_MAX - 1;
	return 0;
}
