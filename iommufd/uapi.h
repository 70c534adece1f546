/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The iommufd user ABI: ioctl numbers and structures of Linux 7.3, of which postern speaks a part,
 * and VIOMMU_COMMAND after the posted patch "iommufd: Introduce vIOMMU command via VIOMMU_COMMAND
 * ioctl". The system's <linux/iommufd.h> may be absent or older, so nothing here depends on it; the
 * two are not to be included together.
 *
 * Every structure starts with its own size. A caller's structure may be shorter than the one here
 * down to the minimum (the rest counts as zero), or longer with zeros behind it (else E2BIG).
 */
#ifndef POSTERN_IOMMUFD_UAPI_H
#define POSTERN_IOMMUFD_UAPI_H

#include <stddef.h>
#include <stdint.h>

#define IOMMUFD_TYPE ';'

enum {
	IOMMUFD_CMD_BASE = 0x80,
	IOMMUFD_CMD_DESTROY = 0x80,
	IOMMUFD_CMD_IOAS_ALLOC = 0x81,
	IOMMUFD_CMD_IOAS_ALLOW_IOVAS = 0x82,
	IOMMUFD_CMD_IOAS_COPY = 0x83,
	IOMMUFD_CMD_IOAS_IOVA_RANGES = 0x84,
	IOMMUFD_CMD_IOAS_MAP = 0x85,
	IOMMUFD_CMD_IOAS_UNMAP = 0x86,
	IOMMUFD_CMD_OPTION = 0x87,
	IOMMUFD_CMD_HWPT_ALLOC = 0x89,
	IOMMUFD_CMD_GET_HW_INFO = 0x8a,
	IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING = 0x8b,
	IOMMUFD_CMD_HWPT_GET_DIRTY_BITMAP = 0x8c,
	IOMMUFD_CMD_HWPT_INVALIDATE = 0x8d,
	IOMMUFD_CMD_FAULT_QUEUE_ALLOC = 0x8e,
	IOMMUFD_CMD_IOAS_MAP_FILE = 0x8f,
	IOMMUFD_CMD_VIOMMU_ALLOC = 0x90,
	IOMMUFD_CMD_VDEVICE_ALLOC = 0x91,
	IOMMUFD_CMD_VEVENTQ_ALLOC = 0x93,
	IOMMUFD_CMD_HW_QUEUE_ALLOC = 0x94,
	/* As posted; Linux 7.3 has IOAS_NOIOMMU_GET_PA there, so that a kernel may have moved it.
	 */
	IOMMUFD_CMD_VIOMMU_COMMAND = 0x95,
};

/* The layout of a structure: all of it, and the shortest that is accepted. */
#define IOMMUFD_LAYOUT(type, total, last, minimum)                                                 \
	_Static_assert(sizeof(struct type) == (total), "layout of " #type);                        \
	_Static_assert(offsetof(struct type, last) + sizeof(((struct type *)0)->last) ==           \
			       (minimum),                                                          \
		       "minimum of " #type)

struct iommu_destroy {
	uint32_t size;
	uint32_t id;
};
IOMMUFD_LAYOUT(iommu_destroy, 8, id, 8);

struct iommu_ioas_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t out_ioas_id;
};
IOMMUFD_LAYOUT(iommu_ioas_alloc, 12, out_ioas_id, 12);

struct iommu_iova_range {
	uint64_t start;
	uint64_t last;
};

struct iommu_ioas_iova_ranges {
	uint32_t size;
	uint32_t ioas_id;
	uint32_t num_iovas;
	uint32_t __reserved;
	uint64_t allowed_iovas;
	uint64_t out_iova_alignment;
};
IOMMUFD_LAYOUT(iommu_ioas_iova_ranges, 32, out_iova_alignment, 32);

struct iommu_ioas_allow_iovas {
	uint32_t size;
	uint32_t ioas_id;
	uint32_t num_iovas;
	uint32_t __reserved;
	uint64_t allowed_iovas;
};
IOMMUFD_LAYOUT(iommu_ioas_allow_iovas, 24, allowed_iovas, 24);

enum {
	IOMMU_IOAS_MAP_FIXED_IOVA = 1,
	IOMMU_IOAS_MAP_WRITEABLE = 2,
	IOMMU_IOAS_MAP_READABLE = 4,
};

struct iommu_ioas_map {
	uint32_t size;
	uint32_t flags;
	uint32_t ioas_id;
	uint32_t __reserved;
	uint64_t user_va;
	uint64_t length;
	uint64_t iova;
};
IOMMUFD_LAYOUT(iommu_ioas_map, 40, iova, 40);

struct iommu_ioas_map_file {
	uint32_t size;
	uint32_t flags;
	uint32_t ioas_id;
	int32_t fd;
	uint64_t start;
	uint64_t length;
	uint64_t iova;
};
IOMMUFD_LAYOUT(iommu_ioas_map_file, 40, iova, 40);

struct iommu_ioas_copy {
	uint32_t size;
	uint32_t flags;
	uint32_t dst_ioas_id;
	uint32_t src_ioas_id;
	uint64_t length;
	uint64_t dst_iova;
	uint64_t src_iova;
};
IOMMUFD_LAYOUT(iommu_ioas_copy, 40, src_iova, 40);

struct iommu_ioas_unmap {
	uint32_t size;
	uint32_t ioas_id;
	uint64_t iova;
	uint64_t length;
};
IOMMUFD_LAYOUT(iommu_ioas_unmap, 24, length, 24);

enum { IOMMU_OPTION_RLIMIT_MODE = 0, IOMMU_OPTION_HUGE_PAGES = 1 };
enum { IOMMU_OPTION_OP_SET = 0, IOMMU_OPTION_OP_GET = 1 };

struct iommu_option {
	uint32_t size;
	uint32_t option_id;
	uint16_t op;
	uint16_t __reserved;
	uint32_t object_id;
	uint64_t val64;
};
IOMMUFD_LAYOUT(iommu_option, 24, val64, 24);
_Static_assert(offsetof(struct iommu_option, object_id) == 12, "layout of iommu_option");

enum {
	IOMMU_HWPT_ALLOC_NEST_PARENT = 1,
	IOMMU_HWPT_ALLOC_DIRTY_TRACKING = 2,
	IOMMU_HWPT_FAULT_ID_VALID = 4,
	IOMMU_HWPT_ALLOC_PASID = 8,
};

enum { IOMMU_HWPT_DATA_NONE = 0, IOMMU_HWPT_DATA_AMD_GUEST = 3 };

struct iommu_hwpt_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t dev_id;
	uint32_t pt_id;
	uint32_t out_hwpt_id;
	uint32_t __reserved;
	uint32_t data_type;
	uint32_t data_len;
	uint64_t data_uptr;
	uint32_t fault_id;
	uint32_t __reserved2;
};
IOMMUFD_LAYOUT(iommu_hwpt_alloc, 48, __reserved, 24);

/* Driver data of IOMMU_HWPT_DATA_AMD_GUEST: the guest's device table entry. */
struct iommu_hwpt_amd_guest {
	uint64_t dte[4];
};
_Static_assert(sizeof(struct iommu_hwpt_amd_guest) == 32, "layout of iommu_hwpt_amd_guest");

enum { IOMMU_HWPT_DIRTY_TRACKING_ENABLE = 1 };

struct iommu_hwpt_set_dirty_tracking {
	uint32_t size;
	uint32_t flags;
	uint32_t hwpt_id;
	uint32_t __reserved;
};
IOMMUFD_LAYOUT(iommu_hwpt_set_dirty_tracking, 16, __reserved, 16);

enum { IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR = 1 };

struct iommu_hwpt_get_dirty_bitmap {
	uint32_t size;
	uint32_t hwpt_id;
	uint32_t flags;
	uint32_t __reserved;
	uint64_t iova;
	uint64_t length;
	uint64_t page_size;
	uint64_t data;
};
IOMMUFD_LAYOUT(iommu_hwpt_get_dirty_bitmap, 48, data, 48);
_Static_assert(offsetof(struct iommu_hwpt_get_dirty_bitmap, iova) == 16, "layout of dirty_bitmap");

struct iommu_hwpt_invalidate {
	uint32_t size;
	uint32_t hwpt_id;
	uint64_t data_uptr;
	uint32_t data_type;
	uint32_t entry_len;
	uint32_t entry_num;
	uint32_t __reserved;
};
IOMMUFD_LAYOUT(iommu_hwpt_invalidate, 32, __reserved, 32);
_Static_assert(offsetof(struct iommu_hwpt_invalidate, entry_num) == 24, "layout of invalidate");

struct iommu_fault_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t out_fault_id;
	uint32_t out_fault_fd;
};
IOMMUFD_LAYOUT(iommu_fault_alloc, 16, out_fault_fd, 16);

/* What is read from a fault queue, and what is written to it. */
struct iommu_hwpt_pgfault {
	uint32_t flags;
	uint32_t dev_id;
	uint32_t pasid;
	uint32_t grpid;
	uint32_t perm;
	uint32_t __reserved;
	uint64_t addr;
	uint32_t length;
	uint32_t cookie;
};
IOMMUFD_LAYOUT(iommu_hwpt_pgfault, 40, cookie, 40);

enum { IOMMUFD_PAGE_RESP_SUCCESS = 0, IOMMUFD_PAGE_RESP_INVALID = 1 };

struct iommu_hwpt_page_response {
	uint32_t cookie;
	uint32_t code;
};
IOMMUFD_LAYOUT(iommu_hwpt_page_response, 8, code, 8);

enum { IOMMU_HW_CAP_DIRTY_TRACKING = 1 };
enum { IOMMU_HW_INFO_FLAG_INPUT_TYPE = 1 };
enum { IOMMU_HW_INFO_TYPE_NONE = 0, IOMMU_HW_INFO_TYPE_AMD = 4 };

struct iommu_hw_info {
	uint32_t size;
	uint32_t flags;
	uint32_t dev_id;
	uint32_t data_len;
	uint64_t data_uptr;
	union {
		uint32_t in_data_type;
		uint32_t out_data_type;
	};
	uint8_t out_max_pasid_log2;
	uint8_t __reserved[3];
	uint64_t out_capabilities;
};
IOMMUFD_LAYOUT(iommu_hw_info, 40, __reserved, 32);

struct iommu_hw_info_amd {
	uint64_t efr;
	uint64_t efr2;
};
_Static_assert(sizeof(struct iommu_hw_info_amd) == 16, "layout of iommu_hw_info_amd");

enum { IOMMU_VIOMMU_TYPE_DEFAULT = 0, IOMMU_VIOMMU_TYPE_AMD = 3 };

struct iommu_viommu_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t type;
	uint32_t dev_id;
	uint32_t hwpt_id;
	uint32_t out_viommu_id;
	uint32_t data_len;
	uint32_t __reserved;
	uint64_t data_uptr;
};
IOMMUFD_LAYOUT(iommu_viommu_alloc, 40, out_viommu_id, 24);

/* Driver data of IOMMU_VIOMMU_TYPE_AMD. 0: this vIOMMU has no VF page to mmap. */
struct iommu_viommu_amd {
	uint64_t out_vfmmio_mmap_offset;
};
_Static_assert(sizeof(struct iommu_viommu_amd) == 8, "layout of iommu_viommu_amd");

struct iommu_vdevice_alloc {
	uint32_t size;
	uint32_t viommu_id;
	uint32_t dev_id;
	uint32_t out_vdevice_id;
	uint64_t virt_id;
};
IOMMUFD_LAYOUT(iommu_vdevice_alloc, 24, virt_id, 24);

/*
 * AMD's is not public yet: the type has the number of its vIOMMU's, as those that are public have.
 * Its events are entries of an event log, with the guest's ids (struct iommu_vevent_amd).
 */
enum { IOMMU_VEVENTQ_TYPE_DEFAULT = 0, IOMMU_VEVENTQ_TYPE_AMD = 3 };

struct iommu_veventq_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t viommu_id;
	uint32_t type;
	uint32_t veventq_depth;
	uint32_t out_veventq_id;
	uint32_t out_veventq_fd;
	uint32_t __reserved;
};
IOMMUFD_LAYOUT(iommu_veventq_alloc, 32, out_veventq_fd, 28);

enum { IOMMU_VEVENTQ_FLAG_LOST_EVENTS = 1 };

struct iommu_vevent_amd {
	uint64_t entry[2];
};
_Static_assert(sizeof(struct iommu_vevent_amd) == 16, "layout of iommu_vevent_amd");

/* In front of each event that is read from a vEVENTQ; alone where the last events were lost. */
struct iommufd_vevent_header {
	uint32_t flags;
	uint32_t sequence;
};
IOMMUFD_LAYOUT(iommufd_vevent_header, 8, sequence, 8);

enum {
	IOMMU_HW_QUEUE_TYPE_DEFAULT = 0,
	IOMMU_HW_QUEUE_TYPE_AMD_CMD = 2,
	IOMMU_HW_QUEUE_TYPE_AMD_EVENT = 3,
	IOMMU_HW_QUEUE_TYPE_AMD_PPR = 4,
};

struct iommu_hw_queue_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t viommu_id;
	uint32_t type;
	uint32_t index;
	uint32_t out_hw_queue_id;
	uint64_t nesting_parent_iova;
	uint64_t length;
};
IOMMUFD_LAYOUT(iommu_hw_queue_alloc, 40, length, 40);

enum { IOMMU_VIOMMU_COMMAND_OP_SET = 0, IOMMU_VIOMMU_COMMAND_OP_GET = 1 };

/* INDEX is the byte offset of a 64-bit register of the guest's IOMMU window. */
struct iommu_viommu_command {
	uint32_t size;
	uint32_t object_id;
	uint16_t op;
	uint16_t index;
	uint32_t __reserved;
	uint64_t val64;
};
IOMMUFD_LAYOUT(iommu_viommu_command, 24, val64, 24);
_Static_assert(offsetof(struct iommu_viommu_command, index) == 10, "layout of viommu_command");

#endif
