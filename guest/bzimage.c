// SPDX-License-Identifier: Apache-2.0
/*
 * A compressed Linux kernel by the 64-bit boot protocol (Documentation/arch/x86/boot.rst in Linux).
 * The real-mode part is only read for its header.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "guest/loader.h"
#include "postern/bits.h"
#include "postern/log.h"

#define SETUP_HEADER	 0x1f1u
#define SETUP_HEADER_END 0x290u	     /* the next field of boot_params begins here */
#define SETUP_MAGIC	 0x53726448u /* "HdrS" */
#define BOOT_FLAG	 0xaa55u
#define VERSION_2_12	 0x020cu
#define SECTOR		 512u
#define ENTRY_64	 0x200u
#define ALIGNMENT_MAX	 (1 * GIB)

_Static_assert(offsetof(struct boot_params, hdr) == SETUP_HEADER, "boot.rst, setup header");
_Static_assert(offsetof(struct boot_params, hdr.header) == 0x202, "boot.rst, setup header");
_Static_assert(offsetof(struct boot_params, hdr.xloadflags) == 0x236, "boot.rst, setup header");
_Static_assert(offsetof(struct boot_params, hdr.init_size) == 0x260, "boot.rst, setup header");

/* Of the setup header, in the file: the last byte that every version 2.12 header has. */
#define SETUP_HEADER_NEEDED 0x264u

bool bzimage_probe(const void *head, uint64_t len)
{
	uint32_t magic;

	if (len < 0x206)
		return false;
	memcpy(&magic, (const uint8_t *)head + 0x202, sizeof(magic));
	return magic == SETUP_MAGIC;
}

static int bzimage_refuse(const struct image *image, const char *why)
{
	log_error("kernel %s: %s", image->path, why);
	return -ENOEXEC;
}

static int bzimage_read_header(const struct image *image, struct setup_header *setup)
{
	uint8_t head[SETUP_HEADER_END];
	uint64_t end;
	int ret;

	ret = image_read(image, 0, head, SETUP_HEADER_NEEDED);
	if (ret)
		return ret;
	/* The header's end is told by the jump instruction in its front. */
	end = 0x202u + head[0x201];
	if (end < SETUP_HEADER_NEEDED)
		return bzimage_refuse(image, "has a setup header too short for boot protocol 2.12");
	if (end > SETUP_HEADER_END)
		end = SETUP_HEADER_END;
	ret = image_read(image, 0, head, end);
	if (ret)
		return ret;
	memset(setup, 0, sizeof(*setup));
	memcpy(setup, head + SETUP_HEADER,
	       end - SETUP_HEADER < sizeof(*setup) ? end - SETUP_HEADER : sizeof(*setup));
	if (setup->boot_flag != BOOT_FLAG)
		return bzimage_refuse(image, "has a damaged boot sector");
	if (setup->version < VERSION_2_12)
		return bzimage_refuse(image,
				      "is too old: boot protocol 2.12 (Linux 3.8) is needed");
	if (!(setup->loadflags & LOADED_HIGH))
		return bzimage_refuse(image, "is a zImage; build a bzImage");
	if (!(setup->xloadflags & XLF_KERNEL_64))
		return bzimage_refuse(image, "is not a 64-bit kernel");
	if (!is_power_of_2(setup->kernel_alignment) || setup->kernel_alignment > ALIGNMENT_MAX)
		return bzimage_refuse(image, "names an impossible kernel alignment");
	return 0;
}

/*
 * Where the kernel runs. One that is loaded below its preferred address moves itself there
 * (boot.rst, pref_address), so that lower places save nothing.
 */
static int bzimage_choose(const struct image *image, const struct guest_memory *memory,
			  const struct setup_header *setup, uint64_t payload, struct kernel *kernel)
{
	uint64_t limit = loader_low_ram_end(memory);
	uint64_t start = setup->pref_address, size = setup->init_size;

	if (start < GUEST_HIGH) {
		if (!setup->relocatable_kernel)
			return bzimage_refuse(image, "wants to run below 1 MiB, where the boot "
						     "structures are");
		start = GUEST_HIGH;
	}
	if (size < payload)
		size = payload;
	/* Past the limit there is nothing to align, and aligning might wrap. */
	if (start < limit && setup->relocatable_kernel)
		start = align_up(start, setup->kernel_alignment);
	if (!range_fits(start, size, limit)) {
		log_error(
			"kernel %s: needs %llu bytes at %#llx, the guest's low RAM ends at %#llx; "
			"give the guest more memory",
			image->path, (unsigned long long)size, (unsigned long long)start,
			(unsigned long long)limit);
		return -ENOEXEC;
	}
	kernel->start = start;
	kernel->end = start + size;
	return 0;
}

int bzimage_load(const struct image *image, const struct guest_boot *boot, struct kernel *kernel)
{
	uint64_t offset, payload;
	int ret;

	ret = bzimage_read_header(image, &kernel->setup);
	if (ret)
		return ret;
	/* boot.rst: "if the setup_sects field contains 0, the real value is 4" */
	offset = ((kernel->setup.setup_sects ? kernel->setup.setup_sects : 4u) + 1u) * SECTOR;
	payload = kernel->setup.syssize * UINT64_C(16);
	if (payload <= ENTRY_64)
		return bzimage_refuse(image, "has no protected-mode kernel in it");
	if (!range_fits(offset, payload, image->size))
		return bzimage_refuse(image, "is truncated: its kernel lies past the end of the "
					     "file");
	ret = bzimage_choose(image, boot->memory, &kernel->setup, payload, kernel);
	if (ret)
		return ret;
	ret = image_place(image, offset, payload, boot->memory, kernel->start, boot->map_files);
	if (ret)
		return ret;
	kernel->protocol = GUEST_LINUX64;
	kernel->entry = kernel->start + ENTRY_64;
	kernel->initrd_max = kernel->setup.initrd_addr_max;
	kernel->cmdline_max = kernel->setup.cmdline_size;
	return 0;
}
