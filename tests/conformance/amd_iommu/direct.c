// SPDX-License-Identifier: Apache-2.0
/* Accesses by calls on the bus. */
#include "tests/conformance/amd_iommu/suite.h"

static uint8_t memory_bytes[RAM_SIZE] __attribute__((aligned(4096)));
static const struct guest_memory memory = {
	.count = 1, .region = {{.gpa = 0, .size = RAM_SIZE, .host = memory_bytes, .fd = -1}}};
static struct bus mmio;

static uint64_t direct_read(void *opaque, uint64_t gpa, unsigned width)
{
	uint64_t value;

	bus_read(opaque, gpa, width, &value);
	return value;
}

static void direct_write(void *opaque, uint64_t gpa, unsigned width, uint64_t value)
{
	bus_write(opaque, gpa, width, value);
}

static const struct access_ops direct_ops = {direct_read, direct_write};

void platform_open(struct platform *p)
{
	bus_init(&mmio);
	*p = (struct platform){.name = "direct",
			       .access = &direct_ops,
			       .opaque = &mmio,
			       .mmio = &mmio,
			       .memory = &memory};
}

void platform_close(struct platform *p)
{
	p->access = NULL;
}
