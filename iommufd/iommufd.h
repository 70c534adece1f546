/* SPDX-License-Identifier: Apache-2.0 */
/*
 * iommufd as a library: its objects and ioctls behind one API with two transports.
 *
 *   kernel  /dev/iommu and ioctl(2)
 *   soft    the same objects, the same checks in the same order and the same errno, in process;
 *           its AMD driver is the engine in iommufd/amd/, so that a machine without the hardware
 *           (or without the kernel patch) runs the whole path of a vIOMMU
 *
 * Numbers, layouts and error order follow Linux include/uapi/linux/iommufd.h and
 * drivers/iommu/iommufd (7.3), and for VIOMMU_COMMAND the patch "iommufd: Introduce vIOMMU command
 * via VIOMMU_COMMAND ioctl" with its defects mended; see iommufd/uapi.h.
 *
 * Every call returns 0 or -errno and may be made from any thread. Ids are those of one context and
 * are released by iommufd_destroy() or all at once by iommufd_close().
 */
#ifndef POSTERN_IOMMUFD_H
#define POSTERN_IOMMUFD_H

#include <stdbool.h>
#include <stdint.h>

#include "postern/guest_memory.h"

struct iommufd;
struct amd_iommu_engine;   /* iommufd/amd/engine.h */
struct amd_iommu_features; /* there too */

/*
 * The kernel transport. FD >= 0 is a descriptor of /dev/iommu, which the context then owns; -1
 * opens the node. VIOMMU_COMMAND_NR is the ioctl number to use for IOMMU_VIOMMU_COMMAND (Linux 7.3
 * uses the posted 95h for something else). -ENOENT, -EACCES, -errno from open.
 */
int iommufd_open_kernel(struct iommufd **ctx, int fd, unsigned viommu_command_nr);

/* The soft transport. MEMORY backs user addresses given to map calls and must outlive the context.
 */
int iommufd_open_soft(struct iommufd **ctx, const struct guest_memory *memory);

void iommufd_close(struct iommufd *ctx);
bool iommufd_is_soft(const struct iommufd *ctx);
/* The descriptor to bind VFIO devices to, or -1 for the soft transport. */
int iommufd_fd(const struct iommufd *ctx);

/*
 * The raw call: NR is the ioctl number (80h...), ARG its structure with its size word first. For
 * conformance tests and for calls without a wrapper.
 */
int iommufd_call(struct iommufd *ctx, unsigned nr, void *arg);

int iommufd_destroy(struct iommufd *ctx, uint32_t id);

int iommufd_ioas_alloc(struct iommufd *ctx, uint32_t *ioas_id);
enum { IOMMUFD_PROT_READ = 1, IOMMUFD_PROT_WRITE = 2 };
/* Map host memory at a fixed IOVA. -EEXIST (overlap), -EINVAL (alignment, reserved), -ENOMEM,
 * -EFAULT. */
int iommufd_ioas_map(struct iommufd *ctx, uint32_t ioas_id, uint64_t iova, void *va,
		     uint64_t length, unsigned prot);
int iommufd_ioas_map_file(struct iommufd *ctx, uint32_t ioas_id, uint64_t iova, int fd,
			  uint64_t offset, uint64_t length, unsigned prot);
/* Map what SRC has at SRC_IOVA also at DST_IOVA of DST, pinning nothing anew. */
int iommufd_ioas_copy(struct iommufd *ctx, uint32_t dst_ioas, uint64_t dst_iova, uint32_t src_ioas,
		      uint64_t src_iova, uint64_t length, unsigned prot);
/* UNMAPPED (may be NULL) receives the bytes. -ENOENT where nothing or only a part of a mapping is.
 */
int iommufd_ioas_unmap(struct iommufd *ctx, uint32_t ioas_id, uint64_t iova, uint64_t length,
		       uint64_t *unmapped);
struct iommufd_iova_range {
	uint64_t start, last;
};
/* *COUNT: in the room at RANGE, out the number there are; -EMSGSIZE when the room is too small. */
int iommufd_ioas_iova_ranges(struct iommufd *ctx, uint32_t ioas_id,
			     struct iommufd_iova_range *range, unsigned *count,
			     uint64_t *alignment);

struct iommufd_hwpt_args {
	uint32_t flags, dev_id, pt_id, data_type, data_len, fault_id;
	const void *data;
};
int iommufd_hwpt_alloc(struct iommufd *ctx, const struct iommufd_hwpt_args *args,
		       uint32_t *hwpt_id);

/* *TYPE (in: wanted or 0), BUF of *LEN bytes receives the driver's structure; CAPS may be NULL. */
int iommufd_hw_info(struct iommufd *ctx, uint32_t dev_id, uint32_t *type, void *buf, uint32_t *len,
		    uint64_t *caps);

struct iommufd_viommu_args {
	uint32_t type, dev_id, hwpt_id;
	void *data; /* driver data, in and out */
	uint32_t data_len;
};
int iommufd_viommu_alloc(struct iommufd *ctx, const struct iommufd_viommu_args *args,
			 uint32_t *viommu_id);
int iommufd_vdevice_alloc(struct iommufd *ctx, uint32_t viommu_id, uint32_t dev_id,
			  uint64_t virt_id, uint32_t *vdevice_id);
int iommufd_hw_queue_alloc(struct iommufd *ctx, uint32_t viommu_id, uint32_t type, uint32_t index,
			   uint64_t base, uint64_t length, uint32_t *queue_id);

/*
 * IOMMU_VIOMMU_COMMAND. INDEX is the byte offset of a 64-bit register in the guest's IOMMU window.
 * -ENOENT (no such vIOMMU), -EOPNOTSUPP (no such operation or index), -EINVAL (INDEX not 8-aligned,
 * VALUE cannot be honoured), -ENOTTY (this kernel has no such call).
 */
int iommufd_viommu_command_set(struct iommufd *ctx, uint32_t viommu_id, uint16_t index,
			       uint64_t value);
int iommufd_viommu_command_get(struct iommufd *ctx, uint32_t viommu_id, uint16_t index,
			       uint64_t *value);
/* How many VIOMMU_COMMANDs of each direction this context has carried. */
void iommufd_viommu_command_count(const struct iommufd *ctx, uint64_t *set, uint64_t *get);

/*
 * Soft transport only: what a device of the soft IOMMU is. A device id stands for one requester,
 * as binding a VFIO device does in the kernel. -EOPNOTSUPP on the kernel transport.
 */
int iommufd_soft_device_add(struct iommufd *ctx, uint32_t *dev_id);
/*
 * What the soft IOMMU can do and the requester id of the unit's own PCI function: GET_HW_INFO says
 * so and vIOMMUs allocated from then on have it. Initially AMD_IOMMU_EFR_DEFAULT,
 * AMD_IOMMU_EFR2_DEFAULT and 0.
 */
int iommufd_soft_set_hw(struct iommufd *ctx, const struct amd_iommu_features *features,
			uint16_t devid);
/* The engine behind a soft vIOMMU, or NULL; valid until the vIOMMU is destroyed. */
struct amd_iommu_engine *iommufd_soft_viommu_engine(struct iommufd *ctx, uint32_t viommu_id);

/*
 * What this host's iommufd offers, found by safe use of it (never by number or version alone).
 */
enum iommufd_ability {
	IOMMUFD_ABILITY_NODE,	     /* /dev/iommu opens */
	IOMMUFD_ABILITY_IOAS,	     /* IOAS_ALLOC */
	IOMMUFD_ABILITY_MAP,	     /* IOAS_MAP of a page */
	IOMMUFD_ABILITY_MAP_FILE,    /* IOAS_MAP_FILE of a memfd page */
	IOMMUFD_ABILITY_COPY,	     /* IOAS_COPY */
	IOMMUFD_ABILITY_HW_INFO,     /* GET_HW_INFO says AMD (needs a bound device) */
	IOMMUFD_ABILITY_NEST_PARENT, /* HWPT_ALLOC(NEST_PARENT) (needs a bound device) */
	IOMMUFD_ABILITY_VIOMMU,	     /* VIOMMU_ALLOC of the AMD type (needs a nest parent) */
	IOMMUFD_ABILITY_COMMAND,     /* VIOMMU_COMMAND GET of 18h (needs a vIOMMU with a VF page) */
	IOMMUFD_ABILITIES
};

enum iommufd_verdict { IOMMUFD_NO, IOMMUFD_YES, IOMMUFD_UNKNOWN /* cannot be tried here */ };

struct iommufd_probe {
	struct {
		enum iommufd_verdict verdict;
		int error;     /* errno of the attempt, or 0 */
		char why[160]; /* one clause: what was tried and what it means */
	} ability[IOMMUFD_ABILITIES];
	uint64_t efr, efr2; /* of the AMD host IOMMU, if IOMMUFD_ABILITY_HW_INFO */
};

/* DEV_ID of a device bound to CTX, or 0 for none. CTX may be NULL: then the node is opened and
 * closed. */
void iommufd_probe(struct iommufd *ctx, uint32_t dev_id, unsigned viommu_command_nr,
		   struct iommufd_probe *probe);
/* Short name for tables: "ioas", "nest-parent"... */
const char *iommufd_ability_name(enum iommufd_ability ability);

#endif
