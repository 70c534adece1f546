/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what a user types to an open VFIO device node, and why it could not be. Each function that
 * fails has written one line into WHY: what, why, and the command that mends it.
 */
#ifndef POSTERN_VFIO_PATH_H
#define POSTERN_VFIO_PATH_H

#include <stddef.h>
#include <stdint.h>

#include "iommufd/iommufd.h"

#define VFIO_WHY_SIZE 640

/* Where the system's file systems are; tests point this at a directory of their own. */
struct vfio_roots {
	const char *sys; /* "/sys" */
	const char *dev; /* "/dev/vfio/devices" */
};

extern const struct vfio_roots vfio_system_roots;

struct vfio_node {
	char bdf[16];	/* "0000:00:03.0" */
	char node[256]; /* "/dev/vfio/devices/vfio0"; "" when the descriptor was given */
};

/* PATH: BDF with or without domain, a sysfs directory, or a device node. */
int vfio_path_resolve(const struct vfio_roots *roots, const char *path, struct vfio_node *node,
		      char *why);
/* The BDF behind an open device node. */
int vfio_path_of_fd(const struct vfio_roots *roots, int fd, struct vfio_node *node, char *why);
/* Returns the descriptor or -errno. */
int vfio_path_open(const struct vfio_roots *roots, const struct vfio_node *node, char *why);
/* Why binding NODE to iommufd failed with ERROR (an errno value, positive). */
void vfio_path_explain_bind(const struct vfio_roots *roots, const struct vfio_node *node, int error,
			    char *why);
/* Why attaching its device to an I/O address space failed with ERROR. */
void vfio_path_explain_attach(const struct vfio_roots *roots, const struct vfio_node *node,
			      int error, char *why);
/* Why guest RAM, SIZE bytes in all, cannot be mapped (at GPA); LIMIT: RLIMIT_MEMLOCK. */
void vfio_explain_pin(uint64_t size, uint64_t gpa, uint64_t limit, int error, char *why);
/*
 * Whether the COUNT ascending ranges that the IOMMU of the device called NAME maps have the guest
 * RAM [first, last]; -EADDRINUSE when a part is outside.
 */
int vfio_explain_reserved(const char *name, uint64_t first, uint64_t last,
			  const struct iommufd_iova_range *range, unsigned count, char *why);
/* The BDF of the device node called NAME ("vfio0"); -ENOENT. */
int vfio_path_bdf_of_name(const struct vfio_roots *roots, const char *name, char bdf[16]);

#endif
