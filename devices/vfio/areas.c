// SPDX-License-Identifier: Apache-2.0
/* Which pages of a BAR can be mapped: areas with holes cut out. */
#include "devices/vfio/internal.h"

unsigned vfio_areas_exclude(struct vfio_area *area, unsigned count, unsigned max, uint64_t offset,
			    uint64_t size)
{
	uint64_t first = align_down(offset, GUEST_PAGE_SIZE);
	uint64_t end = align_up(offset + size, GUEST_PAGE_SIZE);

	for (unsigned i = 0; i < count; i++) {
		uint64_t area_end = area[i].offset + area[i].size;

		if (end <= area[i].offset || first >= area_end)
			continue;
		if (first > area[i].offset && end < area_end && count < max) {
			area[count].offset = end;
			area[count].size = area_end - end;
			count++;
		}
		if (first > area[i].offset) {
			area[i].size = first - area[i].offset;
		} else if (end < area_end) {
			area[i].offset = end;
			area[i].size = area_end - end;
		} else {
			area[i--] = area[--count];
		}
	}
	return count;
}
