/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The soft transport: iommufd's objects in process.
 *
 * Locks: soft->lock covers the object table, every object's users and the links between objects; it
 * is held for a few instructions only, never around a driver. ioas->lock covers one IOAS's
 * mappings. viommu->lock serialises what changes one vIOMMU's driver. soft->lock may be taken
 * inside the other two, which are never held together.
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
	SOFT_VIOMMU,
	SOFT_HWPT,
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
	pthread_mutex_t lock;
	struct soft_object **slot; /* by id; NULL: free */
	uint32_t slots;
	uint32_t lowest; /* no id below is free */
};

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
	pthread_mutex_t lock;
	unsigned hwpts; /* that stand on it: then its mappings obey the IOMMU */
	struct soft_area *area;
	size_t areas, room; /* ascending iova, disjoint */
};

struct soft_hwpt {
	struct soft_object object;
	struct soft_ioas *ioas;
	bool nest_parent;
};

struct soft_device {
	struct soft_object object;
	struct soft_vdevice *vdevice;
};

enum { SOFT_QUEUES = 3 };

struct soft_viommu {
	struct soft_object object;
	struct soft_hwpt *hwpt;
	pthread_mutex_t lock;
	const struct iommufd_soft_driver *driver;
	struct amd_iommu_engine *engine;
	struct soft_vdevice *vdevices;
	bool queue[SOFT_QUEUES];
};

struct soft_vdevice {
	struct soft_object object;
	struct soft_viommu *viommu;
	struct soft_device *device;
	uint64_t virt_id;
	struct soft_vdevice *next;
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

int soft_get_hw_info(struct soft_call *call);
int soft_hwpt_alloc(struct soft_call *call);
void soft_hwpt_destroy(struct iommufd_soft *soft, struct soft_object *object);
int soft_vdevice_alloc(struct soft_call *call);
void soft_vdevice_destroy(struct iommufd_soft *soft, struct soft_object *object);
void soft_device_destroy(struct iommufd_soft *soft, struct soft_object *object);

int soft_viommu_alloc(struct soft_call *call);
void soft_viommu_destroy(struct iommufd_soft *soft, struct soft_object *object);
int soft_hw_queue_alloc(struct soft_call *call);
void soft_hw_queue_destroy(struct iommufd_soft *soft, struct soft_object *object);
int soft_viommu_command(struct soft_call *call);

#endif
