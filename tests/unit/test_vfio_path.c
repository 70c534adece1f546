// SPDX-License-Identifier: Apache-2.0
/* Finding VFIO nodes in a sysfs of our own making, and what is said when there is none. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/vfio/path.h"

static char top[64], sys[96], dev[96];
static struct vfio_roots roots;
static struct vfio_node node;
static char why[VFIO_WHY_SIZE];

/* mkdir -p TOP/FORMAT... */
__attribute__((format(printf, 1, 2))) static void make_dir(const char *format, ...)
{
	char rel[256], command[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(rel, sizeof(rel), format, ap);
	va_end(ap);
	snprintf(command, sizeof(command), "mkdir -p '%s/%s'", top, rel);
	cr_assert_eq(system(command), 0);
}

static void make_link(const char *target, const char *rel)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", top, rel);
	cr_assert_eq(symlink(target, path), 0);
}

static void make_file(const char *rel, const char *text)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", top, rel);
	f = fopen(path, "w");
	cr_assert(f);
	fputs(text, f);
	fclose(f);
}

/* A device with a group; DRIVER NULL: none; NAME NULL: no vfio-dev directory. */
static void make_device(const char *bdf, const char *driver, const char *name)
{
	char rel[256], target[256];

	make_dir("sys/devices/%s", bdf);
	make_dir("sys/bus/pci/devices");
	make_dir("sys/groups/7/devices");
	snprintf(rel, sizeof(rel), "sys/bus/pci/devices/%s", bdf);
	snprintf(target, sizeof(target), "../../../devices/%s", bdf);
	make_link(target, rel);
	snprintf(rel, sizeof(rel), "sys/devices/%s/iommu_group", bdf);
	make_link("../../groups/7", rel);
	snprintf(rel, sizeof(rel), "sys/groups/7/devices/%s", bdf);
	snprintf(target, sizeof(target), "../../../devices/%s", bdf);
	make_link(target, rel);
	if (driver) {
		make_dir("sys/bus/pci/drivers/%s", driver);
		snprintf(rel, sizeof(rel), "sys/devices/%s/driver", bdf);
		snprintf(target, sizeof(target), "../../bus/pci/drivers/%s", driver);
		make_link(target, rel);
	}
	if (name) {
		make_dir("sys/devices/%s/vfio-dev/%s", bdf, name);
		make_dir("sys/class/vfio-dev/%s", name);
		snprintf(rel, sizeof(rel), "sys/class/vfio-dev/%s/device", name);
		snprintf(target, sizeof(target), "../../../devices/%s", bdf);
		make_link(target, rel);
	}
}

static void setup(void)
{
	snprintf(top, sizeof(top), "/tmp/postern-path-XXXXXX");
	cr_assert(mkdtemp(top));
	snprintf(sys, sizeof(sys), "%s/sys", top);
	snprintf(dev, sizeof(dev), "%s/dev", top);
	make_dir("sys/bus/pci/devices");
	make_dir("dev");
	roots = (struct vfio_roots){.sys = sys, .dev = dev};
	why[0] = '\0';
}

static void teardown(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", top);
	cr_assert_eq(system(command), 0);
}

TestSuite(vfio_path, .init = setup, .fini = teardown);

static void expect_why(const char *text)
{
	cr_assert(strstr(why, text), "\"%s\" does not say \"%s\"", why, text);
	cr_assert_null(strchr(why, '\n'));
}

Test(vfio_path, every_way_to_name_a_device)
{
	char path[512], expected[512];

	make_device("0000:00:03.0", "vfio-pci", "vfio4");
	snprintf(expected, sizeof(expected), "%s/vfio4", dev);

	cr_assert_eq(vfio_path_resolve(&roots, "0000:00:03.0", &node, why), 0, "%s", why);
	cr_assert_str_eq(node.node, expected);
	cr_assert_str_eq(node.bdf, "0000:00:03.0");

	cr_assert_eq(vfio_path_resolve(&roots, "00:03.0", &node, why), 0, "%s", why);
	cr_assert_str_eq(node.node, expected);

	snprintf(path, sizeof(path), "%s/bus/pci/devices/0000:00:03.0/", sys);
	cr_assert_eq(vfio_path_resolve(&roots, path, &node, why), 0, "%s", why);
	cr_assert_str_eq(node.node, expected);

	/* A link with another name leads to the directory. */
	snprintf(path, sizeof(path), "%s/bus/pci/devices/0000:00:03.0", sys);
	make_link(path, "disk");
	snprintf(path, sizeof(path), "%s/disk", top);
	cr_assert_eq(vfio_path_resolve(&roots, path, &node, why), 0, "%s", why);
	cr_assert_str_eq(node.node, expected);

	cr_assert_eq(vfio_path_resolve(&roots, expected, &node, why), 0, "%s", why);
	cr_assert_str_eq(node.node, expected);
	cr_assert_str_eq(node.bdf, "0000:00:03.0");
}

Test(vfio_path, nonsense_is_refused)
{
	static const char *const bad[] = {"",	       "nvme",	   "0000:00:03", "00:03.8",
					  "00:20.0",   "00:03.0x", "/tmp",	 "0000:00:03.0 ",
					  "0:0:0:0.0", "/dev/null"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_assert_eq(vfio_path_resolve(&roots, bad[i], &node, why), -EINVAL, "%s", bad[i]);
		expect_why("not a PCI address");
	}
}

Test(vfio_path, no_such_device)
{
	char path[256];

	cr_assert_eq(vfio_path_resolve(&roots, "00:1f.2", &node, why), -ENODEV);
	expect_why("0000:00:1f.2: no such PCI device");
	snprintf(path, sizeof(path), "%s/vfio9", dev);
	cr_assert_eq(vfio_path_resolve(&roots, path, &node, why), -ENODEV);
	expect_why("no such VFIO device");
}

Test(vfio_path, bound_to_a_host_driver)
{
	make_device("0000:00:03.0", "nvme", NULL);
	cr_assert_eq(vfio_path_resolve(&roots, "00:03.0", &node, why), -EBUSY);
	expect_why("host driver nvme");
	expect_why("echo 0000:00:03.0 > /sys/bus/pci/devices/0000:00:03.0/driver/unbind");
	expect_why("echo 0000:00:03.0 > /sys/bus/pci/drivers_probe");
}

Test(vfio_path, bound_to_nothing)
{
	make_device("0000:00:03.0", NULL, NULL);
	cr_assert_eq(vfio_path_resolve(&roots, "00:03.0", &node, why), -EBUSY);
	expect_why("bound to no driver");
	expect_why("driver_override");
}

Test(vfio_path, kernel_without_device_nodes)
{
	make_device("0000:00:03.0", "vfio-pci", NULL);
	cr_assert_eq(vfio_path_resolve(&roots, "00:03.0", &node, why), -EOPNOTSUPP);
	expect_why("CONFIG_VFIO_DEVICE_CDEV");
}

Test(vfio_path, no_iommu)
{
	char path[256];

	make_device("0000:00:03.0", "nvme", NULL);
	snprintf(path, sizeof(path), "%s/devices/0000:00:03.0/iommu_group", sys);
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(vfio_path_resolve(&roots, "00:03.0", &node, why), -ENODEV);
	expect_why("behind no IOMMU");
}

Test(vfio_path, open_errors)
{
	int fd;

	make_device("0000:00:03.0", "vfio-pci", "vfio4");
	cr_assert_eq(vfio_path_resolve(&roots, "00:03.0", &node, why), 0);
	cr_assert_eq(vfio_path_open(&roots, &node, why), -ENOENT);
	expect_why("there is no node");
	make_file("dev/vfio4", "");
	fd = vfio_path_open(&roots, &node, why);
	cr_assert_geq(fd, 0);
	close(fd);
	if (geteuid() != 0) {
		cr_assert_eq(chmod(node.node, 0), 0);
		cr_assert_eq(vfio_path_open(&roots, &node, why), -EACCES);
		expect_why("chown");
	}
}

Test(vfio_path, descriptor_that_is_no_node)
{
	int fd = open("/dev/null", O_RDWR);

	cr_assert_eq(vfio_path_of_fd(&roots, fd, &node, why), -EINVAL);
	expect_why("not an open VFIO device node");
	cr_assert_eq(vfio_path_of_fd(&roots, -1, &node, why), -EINVAL);
	close(fd);
}

Test(vfio_path, descriptor_of_a_node)
{
	int fd = open("/dev/null", O_RDWR); /* 1:3 */

	make_device("0000:00:03.0", "vfio-pci", "vfio4");
	make_dir("sys/dev/char/1:3");
	make_link("../../../devices/0000:00:03.0", "sys/dev/char/1:3/device");
	cr_assert_eq(vfio_path_of_fd(&roots, fd, &node, why), 0, "%s", why);
	cr_assert_str_eq(node.bdf, "0000:00:03.0");
	close(fd);
}

Test(vfio_path, bind_names_the_neighbours)
{
	make_device("0000:00:03.0", "vfio-pci", "vfio4");
	make_device("0000:00:03.1", "snd_hda_intel", NULL);
	make_device("0000:00:03.2", "vfio-pci", "vfio5");
	make_device("0000:00:03.3", NULL, NULL);
	cr_assert_eq(vfio_path_resolve(&roots, "00:03.0", &node, why), 0);
	vfio_path_explain_bind(&roots, &node, EPERM, why);
	expect_why("0000:00:03.1 (snd_hda_intel)");
	cr_assert_null(strstr(why, "03.2"));
	cr_assert_null(strstr(why, "03.3"));
}

Test(vfio_path, bind_and_unsafe_interrupts)
{
	make_device("0000:00:03.0", "vfio-pci", "vfio4");
	make_dir("sys/module/iommufd/parameters");
	make_file("sys/module/iommufd/parameters/allow_unsafe_interrupts", "N\n");
	cr_assert_eq(vfio_path_resolve(&roots, "00:03.0", &node, why), 0);
	vfio_path_explain_bind(&roots, &node, EPERM, why);
	expect_why("echo 1 > /sys/module/iommufd/parameters/allow_unsafe_interrupts");

	make_file("sys/module/iommufd/parameters/allow_unsafe_interrupts", "Y\n");
	vfio_path_explain_bind(&roots, &node, EPERM, why);
	cr_assert_null(strstr(why, "allow_unsafe"));

	vfio_path_explain_bind(&roots, &node, EINVAL, why);
	expect_why("another process");
}

Test(vfio_path, bind_on_an_old_kernel)
{
	make_device("0000:00:03.0", "vfio-pci", "vfio4");
	cr_assert_eq(vfio_path_resolve(&roots, "00:03.0", &node, why), 0);
	vfio_path_explain_bind(&roots, &node, ENOTTY, why);
	expect_why("Linux 6.6 or newer");
}

Test(vfio_path, vfio_without_an_iommu)
{
	char path[512];

	make_device("0000:00:03.0", "vfio-pci", "noiommu-vfio0");
	cr_assert_eq(vfio_path_resolve(&roots, "00:03.0", &node, why), -EOPNOTSUPP);
	expect_why("without an IOMMU (noiommu-vfio0)");
	why[0] = '\0';
	snprintf(path, sizeof(path), "%s/noiommu-vfio0", dev);
	cr_assert_eq(vfio_path_resolve(&roots, path, &node, why), -EOPNOTSUPP);
	expect_why("without an IOMMU (noiommu-vfio0)");
}

Test(vfio_path, attach_errors)
{
	make_device("0000:00:03.0", "vfio-pci", "vfio4");
	cr_assert_eq(vfio_path_resolve(&roots, "00:03.0", &node, why), 0);
	vfio_path_explain_attach(&roots, &node, EINVAL, why);
	expect_why("cannot be attached to an I/O address space: Invalid argument");
	make_file("sys/groups/7/reserved_regions",
		  "0x000000007c000000 0x000000007dffffff direct-relaxable\n"
		  "0x00000000fee00000 0x00000000feefffff msi\n");
	vfio_path_explain_attach(&roots, &node, EINVAL, why);
	expect_why("cannot be attached");
	make_file("sys/groups/7/reserved_regions",
		  "0x000000007c000000 0x000000007dffffff direct-relaxable\n"
		  "0x000000008c000000 0x000000008dffffff direct\n"
		  "0x00000000fee00000 0x00000000feefffff msi\n");
	vfio_path_explain_attach(&roots, &node, EINVAL, why);
	expect_why("(0x000000008c000000 0x000000008dffffff direct in "
		   "/sys/bus/pci/devices/0000:00:03.0/iommu_group/reserved_regions)");
	vfio_path_explain_attach(&roots, &node, EBUSY, why);
	expect_why("another process; 'fuser -v");
	vfio_path_explain_attach(&roots, &node, ENOMEM, why);
	expect_why("no memory for the IOMMU's page tables");
	vfio_path_explain_attach(&roots, &node, EIO, why);
	expect_why("cannot be attached to an I/O address space: Input/output error");
}

Test(vfio_path, ram_that_cannot_be_pinned)
{
	vfio_explain_pin(UINT64_C(512) << 20, 0, 8192 << 10, ENOMEM, why);
	expect_why("cannot pin 536870912 bytes");
	expect_why("is 8388608 bytes: raise it (ulimit -l 589824, or LimitMEMLOCK=");
	/* Nothing limits this user: then it is the host that has none. */
	vfio_explain_pin(UINT64_C(512) << 20, 0, RLIM_INFINITY, ENOMEM, why);
	expect_why("does not have 536870912 bytes of free memory");
	cr_assert_null(strstr(why, "ulimit"));
	vfio_explain_pin(UINT64_C(512) << 20, UINT64_C(1) << 32, 8192 << 10, EFAULT, why);
	expect_why("cannot map guest RAM at 0x100000000 for DMA: Bad address");
}

/* What an AMD host's IOMMU maps: not the message window, not the HyperTransport hole. */
Test(vfio_path, ram_where_the_iommu_maps_nothing)
{
	static const struct iommufd_iova_range range[] = {
		{0, 0xfedfffff}, {0xfef00000, 0xfcffffffff}, {0x10000000000, 0xffffffffffff}};
	static const struct {
		uint64_t first, last;
		const char *hole; /* NULL: fits */
	} ram[] = {
		{0, 0xbfffffff, NULL},
		{0, 0xfedfffff, NULL},
		{0x100000000, 0xfcffffffff, NULL},
		{0x10000000000, 0xffffffffffff, NULL},
		{0, 0xfee00000, "overlaps 0xfee00000..0xfeefffff"},
		{0xfee00000, 0xfee00fff, "overlaps 0xfee00000..0xfeefffff"},
		{0x100000000, 0xfd00000000,
		 "RAM at 0x100000000..0xfd00000000 overlaps "
		 "0xfd00000000..0xffffffffff"},
		{0xffffffffffff, 0x1000000000000, "overlaps 0x1000000000000..0xffffffffffffffff"},
		{0x1000000000000, UINT64_MAX, "overlaps 0x1000000000000..0xffffffffffffffff"},
	};

	for (size_t i = 0; i < sizeof(ram) / sizeof(ram[0]); i++) {
		int ret = vfio_explain_reserved("vfio 0000:00:03.0", ram[i].first, ram[i].last,
						range, 3, why);

		cr_assert_eq(ret, ram[i].hole ? -EADDRINUSE : 0, "%zu", i);
		if (ram[i].hole)
			expect_why(ram[i].hole);
	}
	cr_assert_eq(vfio_explain_reserved("vfio", 0, 0xfff, range, 0, why), -EADDRINUSE);
	expect_why("overlaps 0..0xffffffffffffffff");
}

Test(vfio_path, name_to_bdf)
{
	char bdf[16];

	make_device("0000:00:03.0", "vfio-pci", "vfio4");
	cr_assert_eq(vfio_path_bdf_of_name(&roots, "vfio4", bdf), 0);
	cr_assert_str_eq(bdf, "0000:00:03.0");
	cr_assert_eq(vfio_path_bdf_of_name(&roots, "vfio5", bdf), -ENOENT);
}
