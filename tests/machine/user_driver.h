/* SPDX-License-Identifier: Apache-2.0 */
/* What drivers in user space share, that run in a microVM. PROGRAM is the name they report under.
 */
#ifndef POSTERN_TESTS_USER_DRIVER_H
#define POSTERN_TESTS_USER_DRIVER_H

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "devices/vfio/uapi.h"
#include "iommufd/uapi.h"

extern const char program[];

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
	va_list args;

	printf("postern-guest: %s failed: ", program);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf(" (%s)\n", strerror(errno));
	exit(1);
}

static void say(const char *what)
{
	printf("postern-guest: %s %s\n", program, what);
	fflush(stdout);
}

static void control(int fd, unsigned long request, void *arg, const char *what)
{
	if (ioctl(fd, request, arg) < 0)
		fail("%s", what);
}

/* Memory and bus mastering on; the offset of BAR 0 in the descriptor. */
static off_t vfio_enable(int device)
{
	struct vfio_region_info config = {.argsz = sizeof(config),
					  .index = VFIO_PCI_CONFIG_REGION_INDEX};
	struct vfio_region_info region = {.argsz = sizeof(region)};
	uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

	control(device, VFIO_DEVICE_GET_REGION_INFO, &config, "asking for the configuration");
	control(device, VFIO_DEVICE_GET_REGION_INFO, &region, "asking for the BAR");
	if (pwrite(device, &command, 2, (off_t)config.offset + PCI_COMMAND) != 2)
		fail("enabling the device");
	return (off_t)region.offset;
}

#endif
