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
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "postern/dma_space.h"

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

/*
 * The soft transport with more or less behind its vIOMMUs:
 *
 *   IOMMUFD_SOFT_FULL	   VIOMMU_COMMAND reaches every register of the engine, those of the VF page
 *			   (2000h and up) too; what iommufd_open_soft() opens
 *   IOMMUFD_SOFT_HWMODEL  what the hardware ABI as posted has and nothing else: SET of 18h, 170h,
 *			   178h and GET of 18h, which take and give the bits that hardware
 *			   virtualises; queues by HW_QUEUE_ALLOC; -EOPNOTSUPP for the rest
 *
 * Neither has a VF page to map, as a plain page cannot see a doorbell being written: with HWMODEL
 * iommufd_soft_vf_write() and iommufd_soft_vf_read() are the page, and a monitor that would lay the
 * page over the guest's window traps that page and calls them.
 *
 * With HWMODEL a device's DMA goes where the host attached it (iommufd_soft_device_attach()),
 * through the guest's tables only by a nested HWPT; nothing looks at the guest's device table.
 */
enum iommufd_soft_mode { IOMMUFD_SOFT_FULL, IOMMUFD_SOFT_HWMODEL };
int iommufd_open_soft_mode(struct iommufd **ctx, const struct guest_memory *memory,
			   enum iommufd_soft_mode mode);

/* Ids and descriptors of event queues end with the context on the soft transport. */
void iommufd_close(struct iommufd *ctx);
bool iommufd_is_soft(const struct iommufd *ctx);
/* The descriptor to bind VFIO devices to, or -1 for the soft transport. */
int iommufd_fd(const struct iommufd *ctx);

/*
 * The raw call: NR is the ioctl number (80h...), ARG its structure with its size word first. For
 * conformance tests and for calls without a wrapper.
 */
int iommufd_call(struct iommufd *ctx, unsigned nr, void *arg);

/* -ENOENT; -EBUSY while other objects, or a queue's open descriptor, use it. */
int iommufd_destroy(struct iommufd *ctx, uint32_t id);

/*
 * OPTION: IOMMU_OPTION_RLIMIT_MODE of the context (OBJECT_ID 0; value 1: pinned memory counts
 * against the process as with VFIO, 0: against the user) or IOMMU_OPTION_HUGE_PAGES of an IOAS
 * (value 1: on). -EOPNOTSUPP (no such option, or RLIMIT_MODE with an object), -ENOENT (no such
 * IOAS), -EINVAL (VALUE neither 0 nor 1; HUGE_PAGES off with mappings in a page table), -EADDRINUSE
 * (HUGE_PAGES off with mappings that are not whole pages). RLIMIT_MODE is set before the first
 * object exists (-EBUSY) and by CAP_SYS_RESOURCE (-EPERM); the soft transport pins nothing and
 * keeps the value, from anybody.
 */
int iommufd_option_set(struct iommufd *ctx, uint32_t option, uint32_t object_id, uint64_t value);
int iommufd_option_get(struct iommufd *ctx, uint32_t option, uint32_t object_id, uint64_t *value);

/* -ENOMEM */
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
/*
 * From now on only RANGE is used where the caller lets the kernel choose an IOVA; devices that need
 * some of it for themselves are refused. COUNT 0: everything again. -ENOENT (no such IOAS), -EINVAL
 * (start >= last, ranges overlap), -EFAULT, -EADDRINUSE (a device reserves some of it already).
 */
int iommufd_ioas_allow_iovas(struct iommufd *ctx, uint32_t ioas_id,
			     const struct iommufd_iova_range *range, unsigned count);

/*
 * A page table of DEV_ID's IOMMU on PT_ID: an IOAS, or a vIOMMU for a nested one, with DATA of the
 * vIOMMU's type (AMD: IOMMU_HWPT_DATA_AMD_GUEST and the guest's device table entry, 32 bytes).
 * -EINVAL (DATA_TYPE and DATA_LEN do not fit each other or the type, no PT_ID of these kinds, a
 * device table entry that cannot be nested), -ENOENT (no such device; with
 * IOMMU_HWPT_FAULT_ID_VALID, no such fault queue), -EOPNOTSUPP (flags, DATA_TYPE, or five levels of
 * guest table, that this IOMMU has not), -EADDRINUSE, -EFAULT (what the IOAS maps cannot be put
 * into the table; DATA).
 */
struct iommufd_hwpt_args {
	uint32_t flags, dev_id, pt_id, data_type, data_len, fault_id;
	const void *data;
};
int iommufd_hwpt_alloc(struct iommufd *ctx, const struct iommufd_hwpt_args *args,
		       uint32_t *hwpt_id);

/*
 * Drop what the IOMMU has cached of a nested HWPT or of a vIOMMU: *NUM entries of LEN bytes at
 * ENTRIES, of the driver's DATA_TYPE. Out, also on failure: how many were done. -ENOENT, -EINVAL
 * (ID of another kind; LEN 0 or above 4096; *NUM above 2^19; no ENTRIES), -EOPNOTSUPP (the driver
 * has no such call: AMD's has not, guests invalidate by their own command buffer).
 */
int iommufd_hwpt_invalidate(struct iommufd *ctx, uint32_t id, uint32_t data_type,
			    const void *entries, uint32_t len, uint32_t *num);

/*
 * Have the IOMMU note which pages are written through an HWPT that was allocated with
 * IOMMU_HWPT_ALLOC_DIRTY_TRACKING. Turning it on forgets what was noted. -ENOENT (no such HWPT, or
 * a nested one), -EOPNOTSUPP (allocated without).
 */
int iommufd_hwpt_set_dirty_tracking(struct iommufd *ctx, uint32_t hwpt_id, bool enable);
/*
 * Set, in BITMAP, the bit of each PAGE_SIZE bytes of [iova, iova + length) that were written; bit 0
 * is IOVA's. What is read is forgotten unless FLAGS has IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR. Bits
 * are never cleared, and reading ends without an error at the first hole. -ENOENT, -EOPNOTSUPP
 * (allocated without, unknown flags), -EINVAL (LENGTH or PAGE_SIZE 0, range not aligned to
 * PAGE_SIZE or the IOMMU's pages), -EOVERFLOW, -ENOMEM.
 */
int iommufd_hwpt_get_dirty_bitmap(struct iommufd *ctx, uint32_t hwpt_id, uint32_t flags,
				  uint64_t iova, uint64_t length, uint64_t page_size,
				  uint64_t *bitmap);

/* -ENOENT (no such device), -EOPNOTSUPP (its driver says nothing of *TYPE), -EFAULT.
 * *TYPE (in: wanted or 0), BUF of *LEN bytes receives the driver's structure; CAPS may be NULL. */
int iommufd_hw_info(struct iommufd *ctx, uint32_t dev_id, uint32_t *type, void *buf, uint32_t *len,
		    uint64_t *caps);

struct iommufd_viommu_args {
	uint32_t type, dev_id, hwpt_id;
	void *data; /* driver data, in and out */
	uint32_t data_len;
};
/*
 * -EOPNOTSUPP (type 0, or one that the device's IOMMU does not have), -ENOENT (no such device or
 * HWPT), -EINVAL (HWPT is no nest parent; data_len is not the driver's), -ENOMEM.
 */
int iommufd_viommu_alloc(struct iommufd *ctx, const struct iommufd_viommu_args *args,
			 uint32_t *viommu_id);
/*
 * The same for one of the AMD type, whose driver has answered that it knows the type: *VF_PAGE is
 * where its VF page can be mapped, or 0 if it has none.
 */
int iommufd_viommu_alloc_amd(struct iommufd *ctx, uint32_t dev_id, uint32_t hwpt_id,
			     uint32_t *viommu_id, uint64_t *vf_page);
/* -ENOENT, -EINVAL (a device of another IOMMU), -EEXIST (it has one, or VIRT_ID is taken). */
int iommufd_vdevice_alloc(struct iommufd *ctx, uint32_t viommu_id, uint32_t dev_id,
			  uint64_t virt_id, uint32_t *vdevice_id);
/*
 * A queue that hardware reads or writes in guest memory at BASE. LENGTH in bytes; the soft
 * transport takes the 4-bit length code of the register (8 to 15) too. -EOPNOTSUPP (TYPE), -EINVAL
 * (LENGTH 0, BASE, LENGTH or INDEX that no ring can have), -EOVERFLOW (the range wraps), -ENOENT
 * (no such vIOMMU), -EEXIST, -EBUSY.
 */
int iommufd_hw_queue_alloc(struct iommufd *ctx, uint32_t viommu_id, uint32_t type, uint32_t index,
			   uint64_t base, uint64_t length, uint32_t *queue_id);

/*
 * IOMMU_VIOMMU_COMMAND. INDEX is the byte offset of a 64-bit register in the guest's IOMMU window.
 * -ENOENT (no such vIOMMU), -EOPNOTSUPP (no such operation or index), -EINVAL (INDEX not 8-aligned,
 * VALUE cannot be honoured), -ENOTTY (this kernel has no such call). Which indices there are
 * depends on what answers: see iommufd_open_soft_mode().
 */
int iommufd_viommu_command_set(struct iommufd *ctx, uint32_t viommu_id, uint16_t index,
			       uint64_t value);
int iommufd_viommu_command_get(struct iommufd *ctx, uint32_t viommu_id, uint16_t index,
			       uint64_t *value);
/*
 * From now on each SET that CTX has carried out is made on VIOMMU_ID of TO as well, by the same
 * thread, right after. Whatever TO says of it, the caller is told what CTX said. Set while no call
 * is under way; TO outlives that, NULL: no more.
 */
void iommufd_viommu_command_forward(struct iommufd *ctx, struct iommufd *to, uint32_t viommu_id);
/* How many of those TO has refused. */
uint64_t iommufd_viommu_command_refused(const struct iommufd *ctx);
/* How many VIOMMU_COMMANDs of each direction this context has carried. */
void iommufd_viommu_command_count(const struct iommufd *ctx, uint64_t *set, uint64_t *get);
/*
 * From now on FN is told of every VIOMMU_COMMAND after it returned RC, on the thread that made it:
 * what was set or, where RC is 0, what was got, and how long the call took. Set while no call is
 * under way; NULL: nobody.
 */
typedef void iommufd_viommu_trace_fn(void *opaque, bool get, uint16_t index, uint64_t value, int rc,
				     uint64_t ns);
void iommufd_viommu_command_trace(struct iommufd *ctx, iommufd_viommu_trace_fn *fn, void *opaque);

/*
 * Queues with a descriptor, which the caller closes: until then DESTROY says -EBUSY. poll(2) it for
 * POLLIN and read with iommufd_eventq_read(); read(2) will do on the kernel transport only.
 *
 * A fault queue receives the page requests of the HWPTs allocated with its id, a vEVENTQ what the
 * IOMMU reports of one vIOMMU. -EOPNOTSUPP (TYPE 0), -EINVAL (DEPTH 0 or above 2^19), -ENOENT (no
 * such vIOMMU), -EEXIST (the vIOMMU has a queue of TYPE), -EMFILE, -ENOMEM.
 */
int iommufd_fault_queue_alloc(struct iommufd *ctx, uint32_t *fault_id, int *fd);
int iommufd_veventq_alloc(struct iommufd *ctx, uint32_t viommu_id, uint32_t type, uint32_t depth,
			  uint32_t *veventq_id, int *fd);
/*
 * As many whole records as fit: struct iommu_hwpt_pgfault, or struct iommufd_vevent_header each
 * followed by its data. Never blocks. Bytes, 0 when nothing is queued, -EINVAL (the first does not
 * fit), -ESPIPE (LEN is no multiple of a page fault record), -ENOENT (ID), -EBADF (not ID's FD).
 */
ssize_t iommufd_eventq_read(struct iommufd *ctx, uint32_t id, int fd, void *buf, size_t len);
/*
 * Answer page requests: an array of struct iommu_hwpt_page_response, LEN bytes. Bytes that were
 * taken, -EINVAL (no request with that cookie, unknown code), -ESPIPE (LEN), -ENOENT, -EBADF.
 */
ssize_t iommufd_fault_respond(struct iommufd *ctx, uint32_t fault_id, int fd, const void *responses,
			      size_t len);

/*
 * Map a page of registers that a driver offers (the VF page of an AMD vIOMMU: OFFSET is
 * iommu_viommu_amd.out_vfmmio_mmap_offset, LENGTH 4096). It holds its vIOMMU until it is unmapped.
 * -ENXIO (no page is offered at OFFSET, or LENGTH is not all of it; always so on the soft
 * transport), -EINVAL (LENGTH 0, OFFSET not page aligned), -EOVERFLOW (the range wraps), -ENOMEM.
 */
int iommufd_mmap(struct iommufd *ctx, uint64_t offset, size_t length, void **va);
int iommufd_munmap(struct iommufd *ctx, void *va, size_t length);

/*
 * Soft transport only: what a device of the soft IOMMU is. A device id stands for one requester,
 * as binding a VFIO device does in the kernel. -EOPNOTSUPP on the kernel transport.
 */
int iommufd_soft_device_add(struct iommufd *ctx, uint32_t *dev_id);
/*
 * Forget a device that is quiet, as unbinding it does; it is detached first. -ENOENT, -EBUSY (it
 * has a vDEVICE, or a call on it is under way).
 */
int iommufd_soft_device_remove(struct iommufd *ctx, uint32_t dev_id);
/*
 * What the soft IOMMU can do and the requester id of the unit's own PCI function: GET_HW_INFO says
 * so and vIOMMUs allocated from then on have it. Initially AMD_IOMMU_EFR_DEFAULT,
 * AMD_IOMMU_EFR2_DEFAULT and 0.
 */
int iommufd_soft_set_hw(struct iommufd *ctx, const struct amd_iommu_features *features,
			uint16_t devid);
/*
 * Have the device use PT_ID, an IOAS or an HWPT of either kind, in place of what it uses, at one
 * stroke, as VFIO_DEVICE_ATTACH_IOMMUFD_PT does; or nothing, in which case its DMA is refused. What
 * is attached holds PT_ID. -ENOENT, -EINVAL (no PT_ID of these kinds; a nested HWPT of another
 * vIOMMU than the device's vDEVICE has), -EADDRINUSE, -EFAULT.
 */
int iommufd_soft_device_attach(struct iommufd *ctx, uint32_t dev_id, uint32_t pt_id);
int iommufd_soft_device_detach(struct iommufd *ctx, uint32_t dev_id);
/*
 * DEV_ID as the source of DMA: through the IOAS or HWPT that it is attached to at the moment, and
 * refused where there is none. While an access is held (dma_hold_begin(), dma_space_read() and the
 * like), IOAS_UNMAP, attaching and detaching wait for its end, so that none uses what was taken
 * from it. Nested HWPTs need IOMMUFD_SOFT_HWMODEL: from its next attachment on, a device with a
 * vDEVICE is then what iommufd_soft_vdevice_dma() says. Valid as long as the device. -ENOENT.
 */
int iommufd_soft_device_dma(struct iommufd *ctx, uint32_t dev_id, struct dma_space **dma);
/*
 * IOMMUFD_SOFT_HWMODEL: the device of VDEVICE_ID as the source of DMA. Its faults go to the guest's
 * event log with the vDEVICE's virt_id where the guest's tables are to blame. Valid until the
 * vDEVICE is destroyed, before which the device must be quiet. -ENOENT, -EOPNOTSUPP, -ENOSPC.
 */
int iommufd_soft_vdevice_dma(struct iommufd *ctx, uint32_t vdevice_id, struct dma_space **dma);
/*
 * IOMMUFD_SOFT_HWMODEL: an access of the guest to the VF page of a vIOMMU; OFFSET is that of the
 * 64-bit register in the guest's window, 2000h and up. -ENOENT, -EINVAL (OFFSET not 8-aligned),
 * -EOPNOTSUPP (no such register).
 */
int iommufd_soft_vf_write(struct iommufd *ctx, uint32_t viommu_id, uint16_t offset, uint64_t value);
int iommufd_soft_vf_read(struct iommufd *ctx, uint32_t viommu_id, uint16_t offset, uint64_t *value);
/*
 * A device wrote [iova, iova + length) through HWPT_ID: what dirty tracking, where it is on, is to
 * find. Granules are 4 KiB. -ENOENT, -EINVAL (LENGTH 0), -EOVERFLOW, -EFAULT (not all of it is
 * mapped for writing: then nothing is noted), -ENOMEM. Dirty tracking needs HDSup (EFR bit 52) in
 * iommufd_soft_set_hw(), which without HASup is the host's affair: vIOMMUs are not shown it.
 */
int iommufd_soft_hwpt_written(struct iommufd *ctx, uint32_t hwpt_id, uint64_t iova,
			      uint64_t length);
/*
 * The part of the guest's device table entry that hardware takes from a nested HWPT: PPR, GIoV,
 * GLX, GCR3, GuestPagingMode, DomainID. -ENOENT.
 */
int iommufd_soft_hwpt_dte(struct iommufd *ctx, uint32_t hwpt_id, uint64_t dte[4]);
/*
 * Report an event of LEN bytes to the vIOMMU's vEVENTQ of TYPE; one that is full notes the loss, as
 * it does on -ENOMEM. -ENOENT (no such vIOMMU), -EOPNOTSUPP (no such queue), -EINVAL (LEN 0).
 */
int iommufd_soft_vevent_report(struct iommufd *ctx, uint32_t viommu_id, uint32_t type,
			       const void *data, size_t len);
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
	IOMMUFD_ABILITY_COMMAND, /* VIOMMU_COMMAND GET of 18h (needs a vIOMMU of the AMD type) */
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
