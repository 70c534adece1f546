// SPDX-License-Identifier: Apache-2.0
/*
 * In a microVM whose kernel leaves its AMD IOMMU alone (amd_iommu=off) and memory at MEMORY (mem=):
 *what an access to the unit costs the guest, in its cycles. The program is the unit's driver.
 *
 *	doorbell MEMORY
 */
#include <fcntl.h>
#include <glob.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <x86intrin.h>

#define WINDOW_SIZE  0x4000u
#define MEMORY_SIZE  0x10000u
#define DEVICE_TABLE 0x0u /* 4 KiB, all 0: every device passes */
#define RING	     0x2000u
#define RING_LOG2    8u
#define SEMAPHORE    0x4000u
#define CLASS_IOMMU  0x0806u
#define ROUNDS	     2000u
#define RUNS	     9u
#define LOOKS_MAX    1000000000u
#define COMMAND(n)   (RING + (n) % (2u << RING_LOG2) * 8)

static volatile uint8_t *window, *memory;
static uint64_t memory_at;
static uint32_t written; /* words in the ring */

/* A register written in 64 bits, one of 32, and a word of memory. */
static volatile uint64_t *reg(unsigned offset)
{
	return (volatile void *)(window + offset);
}

static volatile uint32_t *reg32(unsigned offset)
{
	return (volatile void *)(window + offset);
}

static volatile uint64_t *word(unsigned offset)
{
	return (volatile void *)(memory + offset);
}

/* Where the capability block of the unit's function says the registers are; 0 without one. */
static uint64_t window_find(void)
{
	uint64_t found = 0;
	glob_t paths;

	if (glob("/sys/bus/pci/devices/*/config", 0, NULL, &paths))
		return 0;
	for (size_t i = 0; i < paths.gl_pathc && !found; i++) {
		uint8_t config[256] = {0};
		int fd = open(paths.gl_pathv[i], O_RDONLY);
		uint16_t kind;

		if (fd < 0)
			continue;
		/* What cannot be read stays 0: no capability. */
		if (read(fd, config, sizeof(config)) < 0)
			config[0x34] = 0;
		memcpy(&kind, config + 0x0a, sizeof(kind));
		for (unsigned at = config[0x34]; kind == CLASS_IOMMU && at && at < 0xf0;
		     at = config[at + 1]) {
			uint32_t low, high;

			memcpy(&low, config + at + 4, sizeof(low));
			memcpy(&high, config + at + 8, sizeof(high));
			if (config[at] == 0x0f)
				found = (uint64_t)high << 32 | (low & ~0x3fffu);
		}
		close(fd);
	}
	globfree(&paths);
	return found;
}

static void *map(uint64_t at, size_t size)
{
	int fd = open("/dev/mem", O_RDWR | O_SYNC);
	void *p = MAP_FAILED;

	if (fd >= 0) {
		p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)at);
		close(fd);
	}
	return p == MAP_FAILED ? NULL : p;
}

static void register_read(void)
{
	(void)*reg32(0x2020);
}

static void register_write(void)
{
	*reg32(0x2010) = 0;
}

/* One invalidation, one wait, one doorbell; then look at memory as drivers do. */
static void invalidate_and_wait(void)
{
	const uint64_t value = written + 1;

	*word(COMMAND(written)) = UINT64_C(3) << 60 | UINT64_C(7) << 32;
	*word(COMMAND(written + 1)) = 0x10000000;
	*word(COMMAND(written + 2)) = UINT64_C(1) << 60 | (memory_at + SEMAPHORE) | 1;
	*word(COMMAND(written + 3)) = value;
	written += 4;
	*reg32(0x2008) = COMMAND(written) - RING;
	for (unsigned i = 0; *word(SEMAPHORE) != value; i++) {
		if (i == LOOKS_MAX) {
			printf("postern-guest: doorbell failed: the wait does not end\n");
			exit(1);
		}
	}
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void measure(const char *name, void (*operation)(void))
{
	uint64_t cycles[RUNS];

	for (unsigned run = 0; run < RUNS; run++) {
		uint64_t start = __rdtsc();

		for (unsigned i = 0; i < ROUNDS / RUNS; i++)
			operation();
		cycles[run] = (__rdtsc() - start) / (ROUNDS / RUNS);
	}
	qsort(cycles, RUNS, sizeof(cycles[0]), compare);
	printf("postern-guest: doorbell %s %llu cycles\n", name,
	       (unsigned long long)cycles[RUNS / 2]);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	uint64_t at = window_find();

	memory_at = argc > 1 ? strtoull(argv[1], NULL, 0) : 0;
	if (!at || !memory_at || !(window = map(at, WINDOW_SIZE)) ||
	    !(memory = map(memory_at, MEMORY_SIZE))) {
		printf("postern-guest: doorbell failed: window %#llx, memory %#llx\n",
		       (unsigned long long)at, (unsigned long long)memory_at);
		return 1;
	}
	for (unsigned i = 0; i < MEMORY_SIZE; i += 8)
		*word(i) = 0;
	*reg(0x18) = 0;
	*reg(0x00) = memory_at + DEVICE_TABLE;
	*reg(0x08) = (memory_at + RING) | (uint64_t)RING_LOG2 << 56;
	/* Coherent, CmdBufEn, IommuEn */
	*reg(0x18) = UINT64_C(1) << 10 | UINT64_C(1) << 12 | 1;
	measure("read", register_read);
	measure("write", register_write);
	measure("invalidate", invalidate_and_wait);
	*reg(0x18) = 0;
	return 0;
}
