// SPDX-License-Identifier: Apache-2.0
/* Why an I/O address space could not be had for a device, or guest RAM not put into one. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "devices/vfio/path.h"

#define PATH_SIZE 512

/* Memory that the firmware wants mapped for the device at all times, into LINE; false: none. */
static bool firmware_region(const struct vfio_roots *roots, const struct vfio_node *node,
			    char *line, int size)
{
	char path[PATH_SIZE];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/iommu_group/reserved_regions",
		 roots->sys, node->bdf);
	f = fopen(path, "re");
	if (!f)
		return false;
	while (!found && fgets(line, size, f)) {
		line[strcspn(line, "\n")] = '\0';
		/* "0x... 0x... direct"; what is direct-relaxable the kernel gives up. */
		found = strlen(line) > 7 && strcmp(line + strlen(line) - 7, " direct") == 0;
	}
	fclose(f);
	return found;
}

void vfio_path_explain_attach(const struct vfio_roots *roots, const struct vfio_node *node,
			      int error, char *why)
{
	char region[80];

	if (error == EINVAL && firmware_region(roots, node, region, sizeof(region)))
		snprintf(
			why, VFIO_WHY_SIZE,
			"vfio %s: its firmware keeps memory for the device (%s in "
			"/sys/bus/pci/devices/%s/iommu_group/reserved_regions), so that the kernel "
			"gives it to no guest; turn off in the firmware what uses it there, or "
			"choose another device",
			node->bdf, region, node->bdf);
	else if (error == EBUSY)
		snprintf(
			why, VFIO_WHY_SIZE,
			"vfio %s: it, or another device of its IOMMU group, is in an address space "
			"of another process; 'fuser -v /dev/vfio/* /dev/vfio/devices/*' names it",
			node->bdf);
	else if (error == ENOMEM)
		snprintf(why, VFIO_WHY_SIZE,
			 "vfio %s: the host has no memory for the IOMMU's page tables; see 'free "
			 "-m' "
			 "and 'ulimit -l'",
			 node->bdf);
	else
		snprintf(why, VFIO_WHY_SIZE,
			 "vfio %s: cannot be attached to an I/O address space: %s; see 'dmesg | "
			 "grep -i iommu'",
			 node->bdf, strerror(error));
}

void vfio_explain_pin(uint64_t size, uint64_t gpa, uint64_t limit, int error, char *why)
{
	const unsigned long long kib = size / 1024 + 65536; /* and some for page tables */

	if (error == ENOMEM && limit != RLIM_INFINITY)
		snprintf(why, VFIO_WHY_SIZE,
			 "vfio: cannot pin %llu bytes of guest RAM for DMA: %s; the limit of "
			 "locked memory is %llu bytes: raise it (ulimit -l %llu, or LimitMEMLOCK= "
			 "of the service) or give the guest less memory",
			 (unsigned long long)size, strerror(error), (unsigned long long)limit, kib);
	else if (error == ENOMEM)
		snprintf(why, VFIO_WHY_SIZE,
			 "vfio: the host does not have %llu bytes of free memory to pin as guest "
			 "RAM; see 'free -m', or give the guest less memory",
			 (unsigned long long)size);
	else
		snprintf(why, VFIO_WHY_SIZE,
			 "vfio: cannot map guest RAM at %#llx for DMA: %s; see 'dmesg'",
			 (unsigned long long)gpa, strerror(error));
}

int vfio_explain_reserved(const char *name, uint64_t first, uint64_t last,
			  const struct iommufd_iova_range *range, unsigned count, char *why)
{
	const uint64_t ram = first;
	uint64_t hole_last = UINT64_MAX;
	unsigned j;

	/* The first range that ends at or behind the region's start. */
	for (j = 0; j < count && range[j].last < first; j++)
		;
	if (j < count && range[j].start <= first && range[j].last >= last)
		return 0;
	if (j < count && range[j].start <= first) {
		first = range[j].last + 1;
		j++;
	} else if (j > 0) {
		first = range[j - 1].last + 1;
	} else {
		first = 0;
	}
	if (j < count)
		hole_last = range[j].start - 1;
	snprintf(why, VFIO_WHY_SIZE,
		 "%s: guest RAM at %#llx..%#llx overlaps %#llx..%#llx, which this host's IOMMU "
		 "reserves; give the guest less memory, or choose another device",
		 name, (unsigned long long)ram, (unsigned long long)last, (unsigned long long)first,
		 (unsigned long long)hole_last);
	return -EADDRINUSE;
}
