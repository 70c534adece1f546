// SPDX-License-Identifier: Apache-2.0
/* Machine descriptions: what they set, and that mistakes are named. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/machine.h"
#include "vmm/options.h"

static int read_source(struct machine_config *config, const char *body)
{
	char path[] = "/tmp/machine-XXXXXX.dts";
	int fd = mkstemps(path, 4), rc;

	cr_assert_geq(fd, 0);
	cr_assert_gt(dprintf(fd, "/dts-v1/;\n/ {\n%s\n};\n", body), 0);
	close(fd);
	machine_config_init(config);
	rc = machine_file_read(config, path);
	unlink(path);
	return rc;
}

#define DISK(c, n) container_of(config_device(c, &disk_option, n), const struct disk_config, dev)

#define VFIO(c, n) container_of(config_device(c, &vfio_option, n), const struct vfio_config, dev)
#define COMPATIBLE "compatible = \"postern,machine\";\n"

Test(machine_file, everything)
{
	struct machine_config c;

	cr_assert_eq(
		read_source(&c, COMPATIBLE
			    "chosen { postern,kernel = \"k\"; postern,initrd = \"/abs/i\";"
			    " bootargs = \"quiet\"; postern,guest-fdt; postern,event-loop = "
			    "\"poll\"; };\n"
			    "memory { size = \"256M\"; };\n"
			    "cpus { count = <3>; };\n"
			    "serial { output = \"off\"; };\n"
			    "pci { segments = <2>; };\n"
			    "viommu@0 { type = \"amd\"; accel = \"soft\"; features = \"full\"; "
			    "};\n"
			    "viommu@1 { type = \"amd\"; segment = <1>; };\n"
			    "module@0 { cmdline = \"a=b,c d\"; path = \"m\"; };\n"
			    "module@1 { path = \"/n\"; };\n"
			    "disk@0 { path = \"a\"; readonly; };\n"
			    "disk@1 { path = \"b\"; iommu; };\n"
			    "rng@0 { };\n"
			    "vfio@0 { device = \"0000:01:00.0\"; iommu; irq = \"loop\"; segment = "
			    "<1>; };\n"),
		0);
	cr_expect_str_eq(c.kernel, "/tmp/k"); /* relative to the file */
	cr_expect_str_eq(c.initrd, "/abs/i");
	cr_expect_str_eq(c.cmdline, "quiet");
	cr_expect(c.guest_fdt);
	cr_expect_eq(c.loop, EVENT_LOOP_POLL);
	cr_expect_eq(c.memory, 256 * MIB);
	cr_expect_eq(c.cpus, 3);
	cr_expect_eq(c.serial, SERIAL_OFF);
	cr_expect(c.viommu[0].present && c.viommu[0].accel == VIOMMU_ACCEL_SOFT);
	cr_expect_eq(c.viommu[0].features, VIOMMU_FEATURES_FULL);
	cr_assert_eq(c.modules, 2);
	cr_expect_str_eq(c.module[0].path, "/tmp/m");
	cr_expect_str_eq(c.module[0].cmdline, "a=b,c d");
	cr_expect_str_eq(c.module[1].path, "/n");
	cr_expect_null(c.module[1].cmdline);
	cr_expect_null(config_device(&c, &disk_option, 2));
	cr_expect_str_eq(DISK(&c, 0)->dev.source, "/tmp/a");
	cr_expect(DISK(&c, 0)->readonly && !DISK(&c, 0)->dev.iommu);
	cr_expect(!DISK(&c, 1)->readonly && DISK(&c, 1)->dev.iommu);
	cr_expect_null(config_device(&c, &vfio_option, 1));
	cr_expect_str_eq(config_device(&c, &vfio_option, 0)->source, "0000:01:00.0");
	cr_expect(config_device(&c, &vfio_option, 0)->iommu);
	cr_expect(VFIO(&c, 0)->irq_loop);
	cr_expect_str_eq(config_device(&c, &rng_option, 0)->source, "getrandom");
	cr_expect_eq(c.segments, 2);
	cr_expect(c.viommu[1].present && c.viommu[1].features == VIOMMU_FEATURES_BASIC);
	cr_expect_eq(DISK(&c, 1)->dev.segment, 0);
	cr_expect_eq(config_device(&c, &vfio_option, 0)->segment, 1);
	machine_config_free(&c);
}

Test(machine_file, examples)
{
	static const char *const files[] = {"configs/machines/minimal.dts",
					    "configs/machines/passthrough.dts"};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		struct machine_config c;

		machine_config_init(&c);
		cr_expect_eq(machine_file_read(&c, files[i]), 0, "%s", files[i]);
		cr_expect_str_eq(c.kernel, "configs/machines/vmlinux");
		machine_config_free(&c);
	}
}

/* Each mistake is refused with a message that names the node and the property. */
Test(machine_file, mistakes_are_named)
{
	static const struct {
		const char *body, *named[2];
	} cases[] = {
		{"", {"compatible", "postern,machine"}},
		{COMPATIBLE "disc@0 { path = \"a\"; };", {"disc@0", "unknown node"}},
		{COMPATIBLE "disk@0 { pfad = \"a\"; };", {"disk@0", "pfad"}},
		{COMPATIBLE "disk@0 { path; };", {"disk@0", "path"}},
		{COMPATIBLE "disk@0 { readonly; };", {"disk@0", "path"}},
		{COMPATIBLE "disk@0 { path = \"a\"; readonly = \"no\"; };", {"disk@0", "readonly"}},
		{COMPATIBLE "disk@0 { path = \"a,iommu=on\"; };", {"disk@0", "path"}},
		{COMPATIBLE "module@0 { cmdline = \"x\"; };", {"module@0", "path"}},
		{COMPATIBLE "module@0 { path = \"a,cmdline=b\"; };", {"module@0", "path"}},
		{COMPATIBLE "cpus { count = \"two\"; };", {"cpus", "count"}},
		{COMPATIBLE "cpus { count = <0>; };", {"cpus", "count"}},
		{COMPATIBLE "cpus { count = <1 2>; };", {"cpus", "count"}},
		{COMPATIBLE "memory { size = \"lots\"; };", {"memory", "size"}},
		{COMPATIBLE "memory { size = <512>; };", {"memory", "size"}},
		{COMPATIBLE "chosen { inner { }; };", {"inner", "unknown node"}},
		{COMPATIBLE "viommu { };", {"viommu", NULL}},
		{COMPATIBLE "kernel = \"k\";", {"kernel", "unknown property"}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine_config c;
		char text[4096] = "";
		FILE *saved = tmpfile();
		int keep = dup(STDERR_FILENO);

		dup2(fileno(saved), STDERR_FILENO);
		cr_expect_eq(read_source(&c, cases[i].body), -EINVAL, "case %zu", i);
		dup2(keep, STDERR_FILENO);
		close(keep);
		rewind(saved);
		text[fread(text, 1, sizeof(text) - 1, saved)] = '\0';
		fclose(saved);
		for (size_t j = 0; j < 2; j++)
			cr_expect(!cases[i].named[j] || strstr(text, cases[i].named[j]),
				  "case %zu: no \"%s\" in: %s", i, cases[i].named[j], text);
		machine_config_free(&c);
	}
}

/* Cut short anywhere, or with any byte changed, a file is refused or read; it never crashes. */
Test(machine_file, damaged_files, .init = cr_redirect_stderr)
{
	static unsigned char blob[8192];
	FILE *dtc = popen("dtc -q -I dts -O dtb configs/machines/passthrough.dts", "re");
	size_t size;

	cr_assert_not_null(dtc);
	size = fread(blob, 1, sizeof(blob), dtc);
	pclose(dtc);
	cr_assert_gt(size, 100);
	for (size_t i = 0; i < size; i++) {
		char path[] = "/tmp/machine-XXXXXX.dtb";
		struct machine_config c;
		int fd = mkstemps(path, 4);

		cr_assert_geq(fd, 0);
		blob[i] ^= 0x55;
		cr_assert_eq(write(fd, blob, i & 1 ? size : i), i & 1 ? (ssize_t)size : (ssize_t)i);
		blob[i] ^= 0x55;
		close(fd);
		machine_config_init(&c);
		machine_file_read(&c, path);
		machine_config_free(&c);
		unlink(path);
	}
}

/* A root node without the path that nodes had then: libfdt 1.6 does not survive looking at it. */
Test(machine_file, of_an_old_version, .init = cr_redirect_stderr)
{
	static const unsigned char blob[72] = {
		0xd0, 0x0d, 0xfe,     0xed,	 0,	   0,	     0,	      72, 0,
		0,    0,    56,	      0,	 0,	   0,	     72,      0,  0,
		0,    40,   [23] = 7, [39] = 16, [59] = 1, [67] = 2, [71] = 9};
	char path[] = "/tmp/machine-XXXXXX.dtb";
	struct machine_config c;
	int fd = mkstemps(path, 4);

	cr_assert_eq(write(fd, blob, sizeof(blob)), (ssize_t)sizeof(blob));
	close(fd);
	machine_config_init(&c);
	cr_expect_eq(machine_file_read(&c, path), -EINVAL);
	machine_config_free(&c);
	unlink(path);
}
