/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The soft transport: iommufd's objects in process.
 *
 * Locks: soft->lock covers the object table, every object's users and the links between objects; it
 * is held for a few instructions only, never around a driver. ioas->lock covers one IOAS's
 * mappings. viommu->lock serialises what changes one vIOMMU's driver. soft->lock may be taken
 * inside the other two, which are never held together. soft->attach_lock comes before all of them:
 * what devices are attached to, and who their vDEVICEs' requesters are. dma_lock comes before
 * ioas->lock: accesses of devices that go through no vIOMMU's driver.
 */
#ifndef POSTERN_IOMMUFD_SOFT_H
#define POSTERN_IOMMUFD_SOFT_H

#include <pthread.h>

#include "iommufd/internal.h"
#include "iommufd/uapi.h"

/* In the order in which a closing context releases them: users before what they use. */
enum soft_type {
	SOFT_HW_QUEUE,
	SOFT_VDEVICE,
	SOFT_VEVENTQ,
	SOFT_HWPT_NESTED,
	SOFT_VIOMMU,
	SOFT_HWPT,
	SOFT_FAULT,
	SOFT_IOAS,
	SOFT_DEVICE,
	SOFT_TYPES,
	SOFT_ANY = SOFT_TYPES,
};

struct soft_object {
	enum soft_type type;
	uint32_t id;
	unsigned users; /* objects that hold this one, and calls that run on it */
};

struct iommufd_soft {
	struct iommufd base;
	const struct guest_memory *memory;
	const struct iommufd_soft_driver *driver;
	struct amd_iommu_features features;
	uint16_t devid;
	bool hwmodel;		 /* IOMMUFD_SOFT_HWMODEL */
	bool rlimit_mm;		 /* IOMMU_OPTION_RLIMIT_MODE */
	unsigned objects;	 /* ids in use */
	_Atomic uint64_t unmaps; /* of all IOASes: what was found in one may be there no longer */
	pthread_mutex_t attach_lock;
	pthread_mutex_t settle_lock; /* one change waits for accesses at a time */
	pthread_mutex_t dma_lock;
	pthread_cond_t dma_idle;
	unsigned dma_phase, dma_in_flight[2]; /* dma_lock */
	pthread_mutex_t lock;
	struct soft_object **slot; /* by id; NULL: free */
	uint32_t slots;
	uint32_t lowest; /* no id below is free */
};

static inline struct iommufd_soft *to_soft(const struct iommufd *ctx)
{
	return container_of(ctx, struct iommufd_soft, base);
}

struct soft_call {
	struct iommufd_soft *soft;
	void *user; /* the caller's structure */
	uint32_t user_size;
	uint32_t size; /* of ours */
	void *cmd;     /* ours: a copy, zero-extended */
};

/* One mapping. */
struct soft_area {
	uint64_t iova, last;
	uint64_t start; /* host address, or offset in the file */
	bool file;
	bool writable; /* how it was mapped first: copies cannot gain write access */
	unsigned flags;
};

struct soft_ioas {
	struct soft_object object;
	struct iommufd_soft *soft;
	struct dma_space stage2; /* what a device sees that is attached to it */
	pthread_mutex_t lock;
	unsigned hwpts;	  /* that stand on it: then its mappings obey the IOMMU */
	bool small_pages; /* IOMMU_OPTION_HUGE_PAGES is off */
	struct soft_area *area;
	size_t areas, room; /* ascending iova, disjoint */
	struct iommu_iova_range *allowed;
	size_t alloweds;	   /* ascending, disjoint; none: everything */
	struct soft_hwpt *tracked; /* those of hwpts that can track dirty pages */
};

/* EFR bits that the transport itself goes by (48882 section 3.4.9). */
#define SOFT_EFR_GATS	   GENMASK(13, 12)
#define SOFT_EFR_GATS_5LVL UINT64_C(1)
#define SOFT_EFR_HASUP	   BIT(49)
#define SOFT_EFR_HDSUP	   BIT(52)

/* The pages written of an aligned SOFT_DIRTY_SPAN bytes, a bit each. */
#define SOFT_PAGE	 UINT64_C(4096)
#define SOFT_DIRTY_WORDS 512u
#define SOFT_DIRTY_SPAN	 (SOFT_DIRTY_WORDS * 64 * SOFT_PAGE)

struct soft_dirty {
	uint64_t iova;
	uint64_t word[SOFT_DIRTY_WORDS];
};

struct soft_hwpt {
	struct soft_object object;
	struct soft_ioas *ioas;
	struct soft_eventq *fault;
	bool nest_parent;
	bool can_track;
	/* ioas->lock */
	bool tracking;
	struct soft_dirty **dirty; /* ascending */
	size_t dirties;
	struct soft_hwpt *next; /* ioas->tracked */
};

struct soft_hwpt_nested {
	struct soft_object object;
	struct soft_viommu *viommu;
	struct soft_eventq *fault;
	uint64_t dte[4]; /* as the guest has it */
};

struct soft_vevent {
	struct soft_vevent *next;
	struct iommufd_vevent_header header;
	size_t len;
	uint8_t data[];
};

/* A fault queue or a vEVENTQ; soft->lock covers it. */
struct soft_eventq {
	struct soft_object object;
	int fd;	   /* our end: POLLHUP or POLLERR once nobody has the user's open */
	ino_t ino; /* of the user's end */
	/* A vEVENTQ's. */
	struct soft_viommu *viommu;
	struct soft_eventq *next;
	uint32_t type, depth, queued, sequence;
	struct soft_vevent *first, **last;
	bool lost; /* a header that says so is behind the last */
	uint32_t lost_sequence;
};

struct soft_device {
	struct soft_object object;
	struct iommufd_soft *soft;
	struct soft_vdevice *vdevice;
	/* An IOAS or an HWPT of either kind; NULL: none. Both locks to write, either to read. */
	struct soft_object *pt;
	bool source; /* attach_lock: it does DMA by itself */
	struct dma_space dma;
	struct dma_space *requester; /* as PT: its vDEVICE's, with IOMMUFD_SOFT_HWMODEL */
};

enum { SOFT_QUEUES = 3 };

struct soft_viommu {
	struct soft_object object;
	struct soft_hwpt *hwpt;
	pthread_mutex_t lock;
	const struct iommufd_soft_driver *driver;
	struct amd_iommu_engine *engine;
	struct soft_vdevice *vdevices;
	struct soft_eventq *veventqs;
	bool queue[SOFT_QUEUES];
	_Atomic uint64_t control; /* IOMMUFD_SOFT_HWMODEL: the bits that hardware keeps of 18h */
};

struct soft_vdevice {
	struct soft_object object;
	struct soft_viommu *viommu;
	struct soft_device *device;
	uint64_t virt_id;
	struct soft_vdevice *next;
	struct dma_space *dma; /* attach_lock: its requester in the model, once somebody asked */
};

struct soft_hw_queue {
	struct soft_object object;
	struct soft_viommu *viommu;
	unsigned slot;
};

/*
 * Two-phase creation: the id is taken at once, the object is found by others only when published.
 * SIZE bytes, zeroed, with a struct soft_object first. NULL: no memory.
 */
void *soft_object_new(struct iommufd_soft *soft, enum soft_type type, size_t size);
void soft_object_publish(struct iommufd_soft *soft, void *object);
void soft_object_abort(struct iommufd_soft *soft, void *object);
/* NULL for an unknown id and one of another type. */
void *soft_object_get(struct iommufd_soft *soft, uint32_t id, enum soft_type type);
void soft_object_hold(struct iommufd_soft *soft, void *object);
void soft_object_put(struct iommufd_soft *soft, void *object);

int soft_option(struct soft_call *call);

/* Copy the command back as far as the caller's structure reaches. */
void soft_respond(struct soft_call *call);

int soft_ioas_alloc(struct soft_call *call);
int soft_ioas_iova_ranges(struct soft_call *call);
int soft_ioas_map(struct soft_call *call);
int soft_ioas_map_file(struct soft_call *call);
int soft_ioas_copy(struct soft_call *call);
int soft_ioas_unmap(struct soft_call *call);
void soft_ioas_destroy(struct iommufd_soft *soft, struct soft_object *object);
/* A page table is built on IOAS (or goes): -EADDRINUSE, -EFAULT where mappings forbid it. */
int soft_ioas_add_hwpt(struct iommufd_soft *soft, struct soft_ioas *ioas);
void soft_ioas_remove_hwpt(struct soft_ioas *ioas);

/* ---- soft_iova.c: which IOVAs may be used; ioas->lock held ---- */

uint64_t soft_iova_alignment(const struct soft_ioas *ioas);
bool soft_iova_hits_msi(uint64_t iova, uint64_t last);
bool soft_iova_msi_allowed(const struct soft_ioas *ioas);
/* Index of the first area that ends at or behind IOVA. */
size_t soft_iova_first_from(const struct soft_ioas *ioas, uint64_t iova);
/* START is where the memory begins, for the alignment that large pages want. */
int soft_iova_choose(const struct soft_ioas *ioas, uint64_t start, uint64_t length, uint64_t *iova);
int soft_iova_check(const struct soft_ioas *ioas, uint64_t iova, uint64_t length);
bool soft_area_is_page_aligned(const struct soft_area *area);
int soft_ioas_allow_iovas(struct soft_call *call);
int soft_ioas_huge_pages(struct soft_call *call);
extern const struct iommu_iova_range soft_iova_msi;

int soft_get_hw_info(struct soft_call *call);

int soft_hwpt_alloc(struct soft_call *call);
int soft_hwpt_invalidate(struct soft_call *call);
void soft_hwpt_destroy(struct iommufd_soft *soft, struct soft_object *object);
void soft_hwpt_nested_destroy(struct iommufd_soft *soft, struct soft_object *object);

int soft_hwpt_set_dirty_tracking(struct soft_call *call);
int soft_hwpt_get_dirty_bitmap(struct soft_call *call);
/* [iova, last] is mapped no longer, or everything; ioas->lock held. */
void soft_dirty_forget(struct soft_hwpt *hwpt, uint64_t iova, uint64_t last);

int soft_fault_alloc(struct soft_call *call);
int soft_veventq_alloc(struct soft_call *call);
void soft_fault_destroy(struct iommufd_soft *soft, struct soft_object *object);
void soft_veventq_destroy(struct iommufd_soft *soft, struct soft_object *object);
/* Whether somebody has the queue's descriptor open. */
bool soft_eventq_is_open(const struct soft_eventq *queue);
ssize_t soft_eventq_read(struct iommufd *ctx, uint32_t id, int fd, void *buf, size_t len);
ssize_t soft_fault_respond(struct iommufd *ctx, uint32_t id, int fd, const void *responses,
			   size_t len);

/* ---- soft_dma.c ---- */

void soft_device_dma_init(struct iommufd_soft *soft, struct soft_device *device);
/* Returns when no access that began before is under way. No lock held that an access takes. */
void soft_dma_settle(struct iommufd_soft *soft);

/* ---- soft_attach.c ---- */

extern const struct dma_space_ops soft_stage2_ops;

int soft_vdevice_alloc(struct soft_call *call);
void soft_vdevice_destroy(struct iommufd_soft *soft, struct soft_object *object);
void soft_device_destroy(struct iommufd_soft *soft, struct soft_object *object);

int soft_viommu_alloc(struct soft_call *call);
void soft_viommu_destroy(struct iommufd_soft *soft, struct soft_object *object);
int soft_hw_queue_alloc(struct soft_call *call);
void soft_hw_queue_destroy(struct iommufd_soft *soft, struct soft_object *object);
int soft_viommu_command(struct soft_call *call);

#endif
