/* SPDX-License-Identifier: Apache-2.0 */
/* Between the parts of the port on the hardware ABI: registers, start, and the device table. */
#ifndef POSTERN_AMD_VIOMMU_HW_H
#define POSTERN_AMD_VIOMMU_HW_H

#include <pthread.h>
#include <stdatomic.h>

#include "devices/amd_iommu/amd_viommu.h"

#define HW_QUEUES 3u

/* Control (18h) */
#define CONTROL_IOMMU_EN BIT(0)

/* What hardware virtualises of queues, by enum viommu_queue. */
struct hw_queue_kind {
	uint32_t type;
	uint64_t enable; /* in Control */
	uint16_t offset;
};
extern const struct hw_queue_kind hw_queue_kind[HW_QUEUES];

/* The registers that VIOMMU_COMMAND carries. */
#define REG_CONTROL  0x18
#define REG_XT_EVENT 0x170
#define REG_XT_PPR   0x178

/* Where the VF page lies in the guest's register window. */
#define VF_PAGE UINT64_C(0x2000)

struct hw_queue {
	uint64_t base; /* the register, as the guest wrote it last */
	uint32_t id;   /* 0: none */
	bool moved;    /* the guest wrote BASE since: the next enable starts anew */
};

/*
 * LOCK covers everything below it, and what is done to devices. It comes after the front end's
 * write lock, and no window call is made with it held.
 */
struct hw_port {
	struct viommu_port port;
	struct iommufd *ctx;
	const struct guest_memory *memory;
	struct guest_window *window;
	bool kernel;			       /* CTX is the kernel's, IOAS and CLOSED are lent */
	uint32_t ioas, stage2, closed, viommu; /* CLOSED: an IOAS without mappings */
	uint32_t dev_id;		       /* of the IOMMU that serves */
	uint64_t vf_offset, vf_gpa;	       /* of the VF page: to mmap, and in the guest */
	volatile uint64_t *vf_page;	       /* NULL: the soft model's calls are the page */
	bool vf_shown;			       /* the guest has it */

	pthread_mutex_t lock;
	uint64_t control;
	struct hw_queue queue[HW_QUEUES];
	uint64_t devtab; /* base, and bytes of it */
	uint64_t devtab_size;
	bool trapped; /* its writes arrive here */
	struct guest_trap trap;
	struct viommu_hw_device *devices;
	_Atomic uint64_t dte_writes, attaches, nested, failures;
};

static inline struct hw_port *to_hw(const struct viommu_port *port)
{
	return container_of(port, struct hw_port, port);
}

/* Powered on, with nothing allocated. NULL: no memory. */
struct hw_port *hw_port_alloc(const struct viommu_hw_config *config);
/* The registers that hardware has of this guest, to 0. -errno and *INDEX of the first refusal. */
int hw_registers_clear(struct hw_port *hw, uint16_t *index);

void hw_devtab_init(struct hw_port *hw);
/* The guest wrote the device table base. LOCK not held. */
int hw_devtab_set(struct hw_port *hw, uint64_t value);
/* The guest turned the unit on or off, which Control says already. LOCK not held. */
int hw_devtab_switch(struct hw_port *hw, bool on);
/* No table, no trap. LOCK not held. */
void hw_devtab_reset(struct hw_port *hw);
/* Every device to where its entry, or IommuEn, wants it. LOCK held. */
void hw_devtab_follow(struct hw_port *hw);
int hw_attach(struct hw_port *hw, struct viommu_hw_device *device, enum viommu_hw_state state,
	      const uint64_t dte[4]);

#endif
