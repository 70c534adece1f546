// SPDX-License-Identifier: Apache-2.0
/*
 * The files that a kernel is given beside itself: an initrd, modules. Where a protocol knows
 * modules only, an initrd is the first of them.
 */
#include <errno.h>
#include <string.h>

#include "guest/loader.h"
#include "postern/bits.h"
#include "postern/log.h"

#define INITRD_LIMIT (3 * GIB)

int loader_below(uint64_t limit, uint64_t floor, uint64_t size, uint64_t *gpa)
{
	if (size > limit)
		return -ENOSPC;
	*gpa = align_down(limit - size, GUEST_PAGE_SIZE);
	return *gpa < floor ? -ENOSPC : 0;
}

/*
 * Linux (both protocols): as high as it allows, each below the one before, so that early
 * allocations of the kernel stay low. Multiboot: from the kernel's end on, where kernels whose
 * first page tables are small expect them; where there is no room, below the kernel.
 */
static int choose(const struct placement *place, uint64_t limit, uint64_t low, uint64_t size,
		  uint64_t *gpa)
{
	enum guest_protocol protocol = place->kernel.protocol;

	if (protocol == GUEST_PVH || protocol == GUEST_LINUX64)
		return loader_below(limit, place->kernel.end, size, gpa);
	*gpa = align_up(low, GUEST_PAGE_SIZE);
	if (low >= place->kernel.end && range_fits(*gpa, size, limit))
		return 0;
	*gpa = low <= place->kernel.start ? align_up(low, GUEST_PAGE_SIZE) : GUEST_HIGH;
	/* Whole pages: what is left of the last one is cleared. */
	return range_fits(*gpa, align_up(size, GUEST_PAGE_SIZE),
			  align_down(place->kernel.start, GUEST_PAGE_SIZE))
		       ? 0
		       : -ENOSPC;
}

static int file_load(const struct guest_boot *boot, struct placement *place, unsigned file,
		     const char *path, uint64_t limit, uint64_t low, uint64_t ram_end)
{
	const char *kind = file == GUEST_FILE_INITRD ? "initrd" : "module";
	struct module *m = &place->module[place->modules];
	struct image image;
	uint64_t tail;
	int ret;

	ret = image_open(&image, kind, path, loader_file(boot, file));
	if (ret)
		return ret;
	if (choose(place, limit, low, image.size, &m->gpa)) {
		log_error("%s %s: %llu bytes do not fit between the kernel's end at %#llx and "
			  "%#llx; give the guest more memory",
			  kind, image.path, (unsigned long long)image.size,
			  (unsigned long long)place->kernel.end, (unsigned long long)limit);
		ret = -EFBIG;
		goto close;
	}
	ret = image_place(&image, 0, image.size, boot->memory, m->gpa, boot->map_files);
	if (ret)
		goto close;
	m->size = image.size;
	tail = -image.size & (GUEST_PAGE_SIZE - 1);
	if (range_fits(m->gpa + image.size, tail, ram_end))
		memset(guest_memory_at(boot->memory, m->gpa + image.size, tail), 0, tail);
	place->modules++;
close:
	image_close(&image);
	return ret;
}

static int command_line_check(const struct guest_module *module)
{
	if (!module->cmdline || strlen(module->cmdline) < GUEST_CMDLINE_MAX)
		return 0;
	log_error("module %s: its command line has more than %u characters; shorten it",
		  module->path, GUEST_CMDLINE_MAX - 1);
	return -E2BIG;
}

int modules_load(const struct guest_boot *boot, struct placement *place, uint64_t *limit)
{
	const bool down =
		place->kernel.protocol == GUEST_PVH || place->kernel.protocol == GUEST_LINUX64;
	uint64_t top = *limit, low = place->kernel.end;
	int ret;

	if (place->kernel.protocol == GUEST_LINUX64 && boot->modules) {
		log_error("kernel %s: a bzImage takes no modules, only an initrd", boot->kernel);
		return -EINVAL;
	}
	if (boot->modules > GUEST_MODULES_MAX)
		return -EINVAL;
	if (top > place->kernel.initrd_max + 1)
		top = place->kernel.initrd_max + 1;
	if (top > INITRD_LIMIT)
		top = INITRD_LIMIT;
	place->initrd_module.path = boot->initrd;
	for (unsigned i = 0; i < boot->modules + 1; i++) {
		struct module *m = &place->module[place->modules];

		m->from = i ? &boot->module[i - 1] : &place->initrd_module;
		if (!m->from->path)
			continue;
		ret = command_line_check(m->from);
		if (!ret)
			ret = file_load(boot, place, GUEST_FILE_INITRD + i, m->from->path, top, low,
					*limit);
		if (ret)
			return ret;
		if (down)
			top = *limit = m->gpa;
		else
			low = m->gpa + m->size;
	}
	if (boot->initrd) {
		place->initrd = place->module[0].gpa;
		place->initrd_size = place->module[0].size;
	}
	return 0;
}
