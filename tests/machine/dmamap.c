// SPDX-License-Identifier: Apache-2.0
/*
 * In a microVM: the kernel's own benchmark of mapping and unmapping a page for DMA
 * (CONFIG_DMA_MAP_BENCHMARK), on the device that is bound to its driver.
 *
 *	dmamap SECONDS
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BENCHMARK "/sys/kernel/debug/dma_map_benchmark"

/* uapi/linux/map_benchmark.h of Linux 7.3 */
struct map_benchmark {
	uint64_t map_100ns, map_deviation, unmap_100ns, unmap_deviation;
	uint32_t threads, seconds;
	int32_t node;
	uint32_t dma_bits, direction, transfer_ns, granule;
	uint8_t mode, expansion[75];
};

_Static_assert(sizeof(struct map_benchmark) == 136, "uapi/linux/map_benchmark.h");

#define DMA_MAP_BENCHMARK _IOWR('d', 1, struct map_benchmark)

int main(int argc, char **argv)
{
	struct map_benchmark b = {
		.threads = 1,
		.seconds = argc > 1 ? (uint32_t)atoi(argv[1]) : 1,
		.node = -1,
		.dma_bits = 32,
		.granule = 1,
	};
	int fd = open(BENCHMARK, O_RDWR);

	if (fd < 0 || ioctl(fd, DMA_MAP_BENCHMARK, &b)) {
		printf("postern-guest: dmamap failed: %s (%s)\n", BENCHMARK, strerror(errno));
		return 1;
	}
	printf("postern-guest: dmamap map %llu ns unmap %llu ns\n",
	       (unsigned long long)b.map_100ns * 100, (unsigned long long)b.unmap_100ns * 100);
	close(fd);
	return 0;
}
