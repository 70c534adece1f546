// SPDX-License-Identifier: Apache-2.0
/*
 * Finding a device's VFIO node (Linux Documentation/driver-api/vfio.rst): the sysfs directory of a
 * PCI function that is bound to a VFIO driver has vfio-dev/vfioN, whose node is
 * /dev/vfio/devices/vfioN.
 */
#include "devices/vfio/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define PATH_SIZE 512

const struct vfio_roots vfio_system_roots = {.sys = "/sys", .dev = "/dev/vfio/devices"};

static const char *path_last(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The last component of what the link at PATH points to; false when there is no such link. */
static bool path_link_name(const char *path, char *name, size_t size)
{
	char target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target) - 1);

	if (n < 0)
		return false;
	target[n] = '\0';
	return (size_t)snprintf(name, size, "%s", path_last(target)) < size;
}

static bool path_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

/* "0000:00:03.0" from "0000:00:03.0" or "00:03.0". */
static bool bdf_parse(const char *text, char bdf[16])
{
	unsigned domain = 0, bus, slot, function;
	int used = 0;

	/* The widths bound the numbers, so that none can overflow. NOLINTBEGIN(cert-err34-c) */
	if (sscanf(text, "%4x:%2x:%2x.%1x%n", &domain, &bus, &slot, &function, &used) != 4 ||
	    text[used]) {
		domain = 0;
		used = 0;
		if (sscanf(text, "%2x:%2x.%1x%n", &bus, &slot, &function, &used) != 3 || text[used])
			return false;
	}
	/* NOLINTEND(cert-err34-c) */
	if (domain > 0xffff || bus > 0xff || slot > 0x1f || function > 7)
		return false;
	snprintf(bdf, 16, "%04x:%02x:%02x.%x", domain & 0xffff, bus & 0xff, slot & 0x1f,
		 function & 7);
	return true;
}

int vfio_path_bdf_of_name(const struct vfio_roots *roots, const char *name, char bdf[16])
{
	char path[PATH_SIZE], target[PATH_SIZE];

	snprintf(path, sizeof(path), "%s/class/vfio-dev/%s/device", roots->sys, name);
	if (!path_link_name(path, target, sizeof(target)) || !bdf_parse(target, bdf))
		return -ENOENT;
	return 0;
}

/* The name vfioN (or noiommu-vfioN) under the device's vfio-dev directory. */
static bool vfio_dev_name(const struct vfio_roots *roots, const char *bdf, char *name, size_t size)
{
	char path[PATH_SIZE];
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/vfio-dev", roots->sys, bdf);
	dir = opendir(path);
	if (!dir)
		return false;
	while (!found && (entry = readdir(dir))) {
		if (strstr(entry->d_name, "vfio") && strlen(entry->d_name) < size) {
			snprintf(name, size, "%s", entry->d_name);
			found = true;
		}
	}
	closedir(dir);
	return found;
}

/* VFIO without an IOMMU gives a device all of the host's memory, which is no way to run a guest. */
static int refuse_noiommu(const char *name, const char *bdf, char *why)
{
	if (strncmp(name, "noiommu", 7) != 0)
		return 0;
	snprintf(why, VFIO_WHY_SIZE,
		 "vfio %s: the host runs VFIO without an IOMMU (%s), so that a guest could write "
		 "all "
		 "of its memory; enable AMD-Vi or VT-d in the firmware",
		 bdf, name);
	return -EOPNOTSUPP;
}

static int resolve_bdf(const struct vfio_roots *roots, struct vfio_node *node, char *why)
{
	char path[PATH_SIZE], driver[64], name[64];
	const char *bdf = node->bdf;
	bool bound;

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s", roots->sys, bdf);
	if (!path_exists(path)) {
		snprintf(why, VFIO_WHY_SIZE,
			 "vfio %s: no such PCI device on this host; 'lspci -D' lists them", bdf);
		return -ENODEV;
	}

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/iommu_group", roots->sys, bdf);
	if (!path_exists(path)) {
		snprintf(why, VFIO_WHY_SIZE,
			 "vfio %s: the device is behind no IOMMU; enable AMD-Vi or VT-d in the "
			 "firmware (and intel_iommu=on on Intel hosts), then see 'ls "
			 "/sys/kernel/iommu_groups'",
			 bdf);
		return -ENODEV;
	}

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/driver", roots->sys, bdf);
	bound = path_link_name(path, driver, sizeof(driver));
	if (vfio_dev_name(roots, bdf, name, sizeof(name))) {
		snprintf(node->node, sizeof(node->node), "%s/%s", roots->dev, name);
		return refuse_noiommu(name, bdf, why);
	}
	if (bound && strncmp(driver, "vfio-pci", 8) == 0) {
		snprintf(why, VFIO_WHY_SIZE,
			 "vfio %s: bound to %s, but this kernel makes no device nodes; it needs "
			 "CONFIG_IOMMUFD=y and CONFIG_VFIO_DEVICE_CDEV=y",
			 bdf, driver);
		return -EOPNOTSUPP;
	}
	if (bound)
		snprintf(
			why, VFIO_WHY_SIZE,
			"vfio %s: in use by the host driver %s; give it to vfio-pci: echo vfio-pci "
			"> /sys/bus/pci/devices/%s/driver_override; echo %s > "
			"/sys/bus/pci/devices/%s/driver/unbind; echo %s > "
			"/sys/bus/pci/drivers_probe",
			bdf, driver, bdf, bdf, bdf, bdf);
	else
		snprintf(
			why, VFIO_WHY_SIZE,
			"vfio %s: bound to no driver; give it to vfio-pci: modprobe vfio-pci; echo "
			"vfio-pci > /sys/bus/pci/devices/%s/driver_override; echo %s > "
			"/sys/bus/pci/drivers_probe",
			bdf, bdf, bdf);
	return -EBUSY;
}

int vfio_path_resolve(const struct vfio_roots *roots, const char *path, struct vfio_node *node,
		      char *why)
{
	const char *last;
	char trimmed[PATH_MAX], target[PATH_MAX];
	size_t dev_len = strlen(roots->dev), len;

	memset(node, 0, sizeof(*node));
	if (bdf_parse(path, node->bdf))
		return resolve_bdf(roots, node, why);

	if (strncmp(path, roots->dev, dev_len) == 0 && path[dev_len] == '/') {
		last = path_last(path);
		if ((size_t)snprintf(node->node, sizeof(node->node), "%s", path) >=
		    sizeof(node->node)) {
			snprintf(why, VFIO_WHY_SIZE, "vfio: the path %.80s... is too long", path);
			return -ENAMETOOLONG;
		}
		if (vfio_path_bdf_of_name(roots, last, node->bdf)) {
			snprintf(why, VFIO_WHY_SIZE,
				 "vfio %s: no such VFIO device; 'ls -l %s/class/vfio-dev' lists "
				 "those there are",
				 path, roots->sys);
			return -ENODEV;
		}
		return refuse_noiommu(last, node->bdf, why);
	}

	snprintf(trimmed, sizeof(trimmed), "%s", path);
	for (len = strlen(trimmed); len > 1 && trimmed[len - 1] == '/'; len--)
		trimmed[len - 1] = '\0';
	/* A link (/sys/bus/pci/devices/BDF) has the name of its target; other links do not. */
	if (!bdf_parse(path_last(trimmed), node->bdf) &&
	    (!realpath(trimmed, target) || !bdf_parse(path_last(target), node->bdf))) {
		snprintf(why, VFIO_WHY_SIZE,
			 "vfio %s: not a PCI address (0000:00:03.0), a directory of a PCI device "
			 "in sysfs, or a node in %s",
			 path, roots->dev);
		return -EINVAL;
	}
	return resolve_bdf(roots, node, why);
}

int vfio_path_of_fd(const struct vfio_roots *roots, int fd, struct vfio_node *node, char *why)
{
	char path[PATH_SIZE], target[PATH_SIZE];
	struct stat st;

	memset(node, 0, sizeof(*node));
	if (fstat(fd, &st) == 0 && S_ISCHR(st.st_mode)) {
		snprintf(path, sizeof(path), "%s/dev/char/%u:%u/device", roots->sys,
			 major(st.st_rdev), minor(st.st_rdev));
		if (path_link_name(path, target, sizeof(target)) && bdf_parse(target, node->bdf))
			return 0;
	}
	snprintf(why, VFIO_WHY_SIZE,
		 "vfio: descriptor %d is not an open VFIO device node; open one of %s", fd,
		 roots->dev);
	return -EINVAL;
}

int vfio_path_open(const struct vfio_roots *roots, const struct vfio_node *node, char *why)
{
	int fd = open(node->node, O_RDWR | O_CLOEXEC), error;

	(void)roots;
	if (fd >= 0)
		return fd;
	error = errno;
	switch (error) {
	case EACCES:
	case EPERM:
		snprintf(why, VFIO_WHY_SIZE,
			 "vfio %s: no permission for %s; give it to this user: chown $USER %s",
			 node->bdf, node->node, node->node);
		break;
	case ENOENT:
		snprintf(why, VFIO_WHY_SIZE,
			 "vfio %s: sysfs names it, but there is no node %s; run udev, mount a "
			 "devtmpfs on /dev, or (in a container) pass the node in",
			 node->bdf, node->node);
		break;
	case EBUSY:
		snprintf(why, VFIO_WHY_SIZE,
			 "vfio %s: %s is in use by another process; 'fuser -v %s' names it",
			 node->bdf, node->node, node->node);
		break;
	default:
		snprintf(why, VFIO_WHY_SIZE, "vfio %s: cannot open %s: %s; see 'ls -l %s'",
			 node->bdf, node->node, strerror(error), node->node);
		break;
	}
	return -error;
}

/* Names the devices of NODE's group that host drivers hold, into LIST; returns how many. */
static unsigned group_host_devices(const struct vfio_roots *roots, const struct vfio_node *node,
				   char *list, size_t size)
{
	char path[PATH_SIZE], driver[64];
	struct dirent *entry;
	unsigned count = 0;
	size_t used = 0;
	DIR *dir;

	list[0] = '\0';
	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/iommu_group/devices", roots->sys,
		 node->bdf);
	dir = opendir(path);
	if (!dir)
		return 0;
	while ((entry = readdir(dir))) {
		char bdf[16];

		if (!bdf_parse(entry->d_name, bdf) || strcmp(bdf, node->bdf) == 0)
			continue;
		snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/driver", roots->sys, bdf);
		/* Without a driver, or with one that does no DMA for the host, it does not matter.
		 */
		if (!path_link_name(path, driver, sizeof(driver)) ||
		    strncmp(driver, "vfio-", 5) == 0 || strcmp(driver, "pcieport") == 0 ||
		    strcmp(driver, "pci-stub") == 0)
			continue;
		count++;
		if (used < size)
			used += (size_t)snprintf(list + used, size - used, "%s%s (%s)",
						 used ? ", " : "", bdf, driver);
	}
	closedir(dir);
	return count;
}

static bool unsafe_interrupts_refused(const struct vfio_roots *roots)
{
	char path[PATH_SIZE], value = 0;
	int fd;

	snprintf(path, sizeof(path), "%s/module/iommufd/parameters/allow_unsafe_interrupts",
		 roots->sys);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (read(fd, &value, 1) != 1)
		value = 0;
	close(fd);
	return value == 'N' || value == '0';
}

void vfio_path_explain_bind(const struct vfio_roots *roots, const struct vfio_node *node, int error,
			    char *why)
{
	char list[256];

	if ((error == EINVAL || error == EPERM || error == EBUSY) &&
	    group_host_devices(roots, node, list, sizeof(list))) {
		snprintf(why, VFIO_WHY_SIZE,
			 "vfio %s: its IOMMU group has devices that host drivers use: %s; give "
			 "these to vfio-pci too, or unbind them",
			 node->bdf, list);
	} else if (error == EPERM && unsafe_interrupts_refused(roots)) {
		snprintf(why, VFIO_WHY_SIZE,
			 "vfio %s: this host's IOMMU does not remap interrupts, so that a guest "
			 "could forge some; if its guests are trusted: echo 1 > "
			 "/sys/module/iommufd/parameters/allow_unsafe_interrupts (or boot with "
			 "iommufd.allow_unsafe_interrupts=1)",
			 node->bdf);
	} else if (error == ENOTTY) {
		snprintf(why, VFIO_WHY_SIZE,
			 "vfio %s: this kernel's VFIO cannot bind devices to iommufd; it needs "
			 "Linux "
			 "6.6 or newer, with CONFIG_VFIO_DEVICE_CDEV=y",
			 node->bdf);
	} else if (error == EINVAL || error == EBUSY) {
		snprintf(why, VFIO_WHY_SIZE,
			 "vfio %s: cannot bind the device to iommufd: %s; another process has it "
			 "open: 'fuser -v /dev/vfio/* /dev/vfio/devices/*' names it",
			 node->bdf, strerror(error));
	} else {
		snprintf(why, VFIO_WHY_SIZE,
			 "vfio %s: cannot bind the device to iommufd: %s; the kernel log has more: "
			 "dmesg | grep -i -e vfio -e iommu",
			 node->bdf, strerror(error));
	}
}
