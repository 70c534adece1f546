// SPDX-License-Identifier: Apache-2.0
/* Compressed kernels, made by the tools that users make them with. */
#include "loader_fixture.h"

#include <criterion/redirect.h>
#include <sys/stat.h>

#define LOAD	    (2 * MIB)
#define KERNEL_SIZE 0xc000u /* not the same byte again and again: hard to compress */

static const char *const tools[] = {"gzip -n", "xz", "zstd -q", "lz4 -q", "zstd -q -19 --no-check"};
static char packed_path[80];

static void unpack_setup(void)
{
	setup();
	snprintf(packed_path, sizeof(packed_path), "%s/packed", dir);
	boot.kernel = packed_path;
	boot.map_files = true;
}

static void unpack_teardown(void)
{
	unlink(packed_path);
	teardown();
}

TestSuite(unpack, .init = unpack_setup, .fini = unpack_teardown);

static size_t pack(const char *tool)
{
	char command[256];
	struct stat st;

	snprintf(command, sizeof(command), "%s -c <%s >%s", tool, kernel_path, packed_path);
	cr_assert_eq(system(command), 0, "%s", command);
	cr_assert_eq(stat(packed_path, &st), 0);
	return (size_t)st.st_size;
}

/* A flat Multiboot kernel. */
static void kernel_make(void)
{
	const uint32_t header[] = {0x1badb002, 0x10003,	   -0x1badb002u - 0x10003,
				   LOAD,       LOAD,	   LOAD + KERNEL_SIZE,
				   0,	       LOAD + 0x40};
	uint32_t noise = 1;

	for (size_t i = 0; i < KERNEL_SIZE; i++) {
		noise = noise * 1664525 + 1013904223;
		file[i] = (uint8_t)(noise >> 24);
	}
	memcpy(file, header, sizeof(header));
	write_file(kernel_path, file, KERNEL_SIZE);
}

Test(unpack, each_tool)
{
	kernel_make();
	for (size_t i = 0; i < ARRAY_SIZE(tools); i++) {
		pack(tools[i]);
		memset(at(LOAD, KERNEL_SIZE), 0xee, KERNEL_SIZE);
		cr_assert_eq(guest_boot_load(&boot, &entry), 0, "%s", tools[i]);
		cr_assert_eq(entry.rip, LOAD + 0x40);
		cr_assert_eq(memcmp(at(LOAD, KERNEL_SIZE), file, KERNEL_SIZE), 0, "%s", tools[i]);
	}
}

/* Linux's build puts the size behind the data. */
Test(unpack, what_follows)
{
	kernel_make();
	for (size_t i = 0; i < ARRAY_SIZE(tools); i++) {
		FILE *f;

		pack(tools[i]);
		f = fopen(packed_path, "ae");
		cr_assert(f && fwrite("size", 1, 4, f) == 4 && !fclose(f));
		cr_assert_eq(guest_boot_load(&boot, &entry), 0, "%s", tools[i]);
	}
}

static unsigned lines(char *text, size_t size)
{
	FILE *err = cr_get_redirected_stderr();
	unsigned n = 0;
	size_t got;

	got = fread(text, 1, size - 1, err);
	text[got] = '\0';
	for (const char *p = text; (p = strchr(p, '\n')); p++)
		n++;
	return n;
}

Test(unpack, truncated)
{
	kernel_make();
	for (size_t i = 0; i < ARRAY_SIZE(tools); i++) {
		size_t size = pack(tools[i]);

		/* From the whole magic number on; before it, it is no format at all. */
		for (size_t len = size - 1; len >= 6; len -= len < 64 ? 1 : len / 8) {
			cr_assert_eq(truncate(packed_path, (off_t)len), 0);
			cr_assert_eq(guest_boot_load(&boot, &entry), -ENOEXEC, "%s: %zu of %zu",
				     tools[i], len, size);
		}
	}
}

Test(unpack, one_line_each)
{
	char said[1024];

	cr_redirect_stderr();
	log_set_level(LOG_LEVEL_ERROR);
	kernel_make();
	cr_assert_eq(truncate(packed_path, (off_t)pack("gzip") / 2), 0);
	cr_assert_eq(guest_boot_load(&boot, &entry), -ENOEXEC);
	fflush(stderr);
	cr_assert_eq(lines(said, sizeof(said)), 1, "%s", said);
	cr_assert(strstr(said, "packed: is truncated: its gzip data"), "%s", said);
}

/* A damaged file is refused, or the damage was where nothing depends on it. */
Test(unpack, damaged)
{
	static uint8_t packed[2 * KERNEL_SIZE];

	kernel_make();
	for (size_t i = 0; i + 1 < ARRAY_SIZE(tools); i++) { /* the last has no checksum */
		size_t size = pack(tools[i]);
		int fd = open(packed_path, O_RDONLY | O_CLOEXEC);
		unsigned refused = 0;

		cr_assert(fd >= 0 && size <= sizeof(packed) &&
			  read(fd, packed, size) == (ssize_t)size);
		close(fd);
		for (size_t at_byte = 0; at_byte < size; at_byte += 1 + size / 100) {
			int rc;

			packed[at_byte] ^= 0x10;
			write_file(packed_path, packed, size);
			memset(at(LOAD, KERNEL_SIZE), 0xee, KERNEL_SIZE);
			rc = guest_boot_load(&boot, &entry);
			packed[at_byte] ^= 0x10;
			refused += rc != 0;
			cr_assert(rc || !memcmp(at(LOAD, KERNEL_SIZE), file, KERNEL_SIZE),
				  "%s: byte %zu", tools[i], at_byte);
		}
		cr_assert_gt(refused, 90, "%s: %u", tools[i], refused);
	}
}

/* Few bytes in the file, more than the guest's memory in fact. */
Test(unpack, bombs)
{
	write_file(kernel_path, "", 0);
	cr_assert_eq(truncate(kernel_path, RAM + 1), 0);
	for (size_t i = 0; i < ARRAY_SIZE(tools); i++) {
		cr_assert_lt(pack(tools[i]), MIB);
		cr_assert_eq(guest_boot_load(&boot, &entry), -EFBIG, "%s", tools[i]);
	}
	/* One byte less may be a kernel, if it had a header. */
	cr_assert_eq(truncate(kernel_path, RAM), 0);
	for (size_t i = 0; i < ARRAY_SIZE(tools); i++) {
		pack(tools[i]);
		cr_assert_eq(guest_boot_load(&boot, &entry), -ENOEXEC, "%s", tools[i]);
	}
}

Test(unpack, nothing_in_it)
{
	write_file(kernel_path, "", 0);
	for (size_t i = 0; i < ARRAY_SIZE(tools); i++) {
		pack(tools[i]);
		cr_assert_eq(guest_boot_load(&boot, &entry), -ENOEXEC, "%s", tools[i]);
	}
}
