// SPDX-License-Identifier: Apache-2.0
/*
 * iommufd by way of libpostern-iommufd: map a page, copy the mapping, and, on the soft transport,
 * what a vIOMMU needs.
 *
 *   cc iommufd-map.c $(pkg-config --cflags --libs postern-iommufd) -o iommufd-map
 *   ./iommufd-map		on /dev/iommu
 *   ./iommufd-map soft		in process, on any machine
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <iommufd/amd/engine.h>
#include <iommufd/iommufd.h>
#include <iommufd/uapi.h>

#define PAGE 4096
#define IOVA UINT64_C(0x100000)

static void must(int rc, const char *what)
{
	if (rc < 0) {
		fprintf(stderr, "iommufd-map: %s: %s\n", what, strerror(-rc));
		exit(1);
	}
}

static void map_and_copy(struct iommufd *ctx, uint32_t ioas, void *page)
{
	struct iommufd_iova_range range[8];
	uint64_t alignment, unmapped;
	unsigned ranges = 8;
	uint32_t copy;

	must(iommufd_ioas_map(ctx, ioas, IOVA, page, PAGE, IOMMUFD_PROT_READ | IOMMUFD_PROT_WRITE),
	     "IOAS_MAP");
	must(iommufd_ioas_alloc(ctx, &copy), "IOAS_ALLOC");
	must(iommufd_ioas_copy(ctx, copy, 2 * IOVA, ioas, IOVA, PAGE, IOMMUFD_PROT_READ),
	     "IOAS_COPY");
	must(iommufd_ioas_unmap(ctx, copy, 2 * IOVA, PAGE, &unmapped), "IOAS_UNMAP");
	must(iommufd_destroy(ctx, copy), "DESTROY");
	printf("mapped and copied %llu bytes\n", (unsigned long long)unmapped);
	must(iommufd_ioas_iova_ranges(ctx, ioas, range, &ranges, &alignment), "IOAS_IOVA_RANGES");
	for (unsigned i = 0; i < ranges; i++)
		printf("usable: %#llx to %#llx\n", (unsigned long long)range[i].start,
		       (unsigned long long)range[i].last);
}

/* On the kernel transport DEV_ID is what binding a VFIO device to iommufd_fd() gives. */
static void command(struct iommufd *ctx, uint32_t ioas, uint32_t dev_id)
{
	struct iommufd_hwpt_args parent = {
		.flags = IOMMU_HWPT_ALLOC_NEST_PARENT, .dev_id = dev_id, .pt_id = ioas};
	struct iommu_viommu_amd data = {0};
	struct iommufd_viommu_args args = {.type = IOMMU_VIOMMU_TYPE_AMD,
					   .dev_id = dev_id,
					   .data = &data,
					   .data_len = sizeof(data)};
	uint32_t viommu;
	uint64_t control;

	must(iommufd_hwpt_alloc(ctx, &parent, &args.hwpt_id), "HWPT_ALLOC");
	must(iommufd_viommu_alloc(ctx, &args, &viommu), "VIOMMU_ALLOC");
	must(iommufd_viommu_command_set(ctx, viommu, 0x18, 1), "VIOMMU_COMMAND");
	must(iommufd_viommu_command_get(ctx, viommu, 0x18, &control), "VIOMMU_COMMAND");
	printf("the vIOMMU's Control register reads %#llx\n", (unsigned long long)control);
}

int main(int argc, char **argv)
{
	struct guest_memory memory = {
		.count = 1,
		.region[0] = {.size = PAGE, .host = aligned_alloc(PAGE, PAGE), .fd = -1},
	};
	int soft = argc > 1 && !strcmp(argv[1], "soft");
	uint32_t ioas, dev_id;
	struct iommufd *ctx;

	if (!memory.region[0].host)
		return 1;
	if (soft)
		must(iommufd_open_soft(&ctx, &memory), "the soft iommufd");
	else
		must(iommufd_open_kernel(&ctx, -1, IOMMUFD_CMD_VIOMMU_COMMAND), "/dev/iommu");
	must(iommufd_ioas_alloc(ctx, &ioas), "IOAS_ALLOC");
	map_and_copy(ctx, ioas, memory.region[0].host);
	if (soft) {
		must(iommufd_soft_device_add(ctx, &dev_id), "a soft device");
		command(ctx, ioas, dev_id);
	}
	iommufd_close(ctx);
	free(memory.region[0].host);
	return 0;
}
