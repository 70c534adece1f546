// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>

#include <errno.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

#include "guest/guest.h"
#include "postern/bits.h"

static struct guest_memory ram = {
	.count = 2,
	.region = {{.gpa = 0, .size = 3 * GIB}, {.gpa = 4 * GIB, .size = 5 * GIB}},
};

static uint32_t cell(const void *blob, int node, const char *name)
{
	const fdt32_t *p = fdt_getprop(blob, node, name, NULL);

	cr_assert_not_null(p, "%s", name);
	return fdt32_to_cpu(*p);
}

static uint64_t cells64(const fdt32_t *p)
{
	return (uint64_t)fdt32_to_cpu(p[0]) << 32 | fdt32_to_cpu(p[1]);
}

static void check_memory(const void *blob, const char *path, uint64_t base, uint64_t size)
{
	int node = fdt_path_offset(blob, path), len;
	const fdt32_t *reg;

	cr_assert_geq(node, 0, "%s", path);
	cr_assert_str_eq(fdt_getprop(blob, node, "device_type", NULL), "memory");
	reg = fdt_getprop(blob, node, "reg", &len);
	cr_assert_eq(len, 16);
	cr_assert_eq(cells64(reg), base);
	cr_assert_eq(cells64(reg + 2), size);
}

Test(fdt, contents)
{
	struct guest_fdt want = {
		.memory = &ram, .cmdline = "console=ttyS0 quiet", .cpus = 17, .uart_base = 0x3f8};
	unsigned cpus = 0;
	uint32_t size;
	void *blob;
	int node, parent, len;
	const fdt32_t *reg;

	cr_assert_eq(guest_fdt_build(&want, &blob, &size), 0);
	cr_assert_eq(fdt_check_full(blob, size), 0);
	cr_assert_eq(fdt_totalsize(blob), size);
	cr_assert_eq(fdt_address_cells(blob, 0), 2);
	cr_assert_eq(fdt_size_cells(blob, 0), 2);
	node = fdt_path_offset(blob, "/chosen");
	cr_assert_str_eq(fdt_getprop(blob, node, "bootargs", NULL), want.cmdline);
	check_memory(blob, "/memory@0", 0, 3 * GIB);
	check_memory(blob, "/memory@100000000", 4 * GIB, 5 * GIB);
	parent = fdt_path_offset(blob, "/cpus");
	cr_assert_eq(cell(blob, parent, "#address-cells"), 1);
	cr_assert_eq(cell(blob, parent, "#size-cells"), 0);
	fdt_for_each_subnode(node, blob, parent)
	{
		cr_assert_str_eq(fdt_getprop(blob, node, "device_type", NULL), "cpu");
		cr_assert_eq(cell(blob, node, "reg"), cpus);
		cpus++;
	}
	cr_assert_eq(cpus, 17);
	node = fdt_path_offset(blob, "/isa/serial@i3f8");
	cr_assert_geq(node, 0);
	reg = fdt_getprop(blob, node, "reg", &len);
	cr_assert(len == 12 && fdt32_to_cpu(reg[0]) == 1 && fdt32_to_cpu(reg[1]) == 0x3f8 &&
		  fdt32_to_cpu(reg[2]) == 8);
	/* The UART is ACPI's: a driver that binds by this tree would take it over. */
	cr_assert_str_eq(fdt_getprop(blob, node, "status", NULL), "reserved");
	free(blob);
	want.uart_base = 0;
	cr_assert_eq(guest_fdt_build(&want, &blob, &size), 0);
	cr_assert_lt(fdt_path_offset(blob, "/isa"), 0);
	free(blob);
}

/* The space set aside holds the largest tree that is allowed. */
Test(fdt, limits)
{
	static char line[GUEST_CMDLINE_MAX + 1];
	struct guest_fdt want = {.memory = &ram, .cmdline = line, .cpus = 4096, .uart_base = 0x3f8};
	uint32_t size;
	void *blob;

	memset(line, 'a', GUEST_CMDLINE_MAX);
	cr_assert_eq(guest_fdt_build(&want, &blob, &size), -EINVAL);
	line[GUEST_CMDLINE_MAX - 1] = 0;
	ram.count = 4;
	for (unsigned i = 0; i < 4; i++)
		ram.region[i] = (struct guest_region){.gpa = i * 4 * GIB, .size = GIB};
	cr_assert_eq(guest_fdt_build(&want, &blob, &size), 0);
	cr_assert_eq(fdt_check_full(blob, size), 0);
	free(blob);
	want.cpus = 4097;
	cr_assert_eq(guest_fdt_build(&want, &blob, &size), -EINVAL);
	want.cpus = 0;
	cr_assert_eq(guest_fdt_build(&want, &blob, &size), -EINVAL);
}
