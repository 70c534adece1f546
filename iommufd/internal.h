/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the parts of the iommufd library: a context and its transport, and what the soft
 * transport asks of a vIOMMU driver.
 */
#ifndef POSTERN_IOMMUFD_INTERNAL_H
#define POSTERN_IOMMUFD_INTERNAL_H

#include <stdatomic.h>
#include <stdint.h>

#include "iommufd/amd/engine.h"
#include "iommufd/iommufd.h"

struct iommufd_transport {
	int (*call)(struct iommufd *ctx, unsigned nr, void *arg);
	int (*fd)(const struct iommufd *ctx);
	int (*mmap)(struct iommufd *ctx, uint64_t offset, size_t length, void **va);
	ssize_t (*eventq_read)(struct iommufd *ctx, uint32_t id, int fd, void *buf, size_t len);
	ssize_t (*fault_respond)(struct iommufd *ctx, uint32_t id, int fd, const void *responses,
				 size_t len);
	void (*close)(struct iommufd *ctx);
};

/* Embedded in each transport's own context. */
struct iommufd {
	const struct iommufd_transport *transport;
	unsigned viommu_command_nr;
	_Atomic uint64_t commands_set, commands_get;
	iommufd_viommu_trace_fn *trace; /* NULL: nobody wants to know */
	void *trace_opaque;
	struct iommufd *forward; /* NULL: SETs end here */
	uint32_t forward_viommu;
	_Atomic uint64_t forwards_refused;
};

/*
 * The driver of soft vIOMMUs. The engine is the one that is used; a test may put another in its
 * place. SETs of one vIOMMU are serialised, with no lock of the context held; GETs come at any
 * time, also while a SET lasts.
 */
struct iommufd_soft_driver {
	int (*create)(const struct amd_iommu_config *config, struct amd_iommu_engine **engine);
	void (*destroy)(struct amd_iommu_engine *engine);
	int (*set)(struct amd_iommu_engine *engine, uint16_t index, uint64_t value);
	int (*get)(struct amd_iommu_engine *engine, uint16_t index, uint64_t *value);
};

extern const struct iommufd_soft_driver iommufd_soft_engine_driver;

/* For vIOMMUs allocated from now on. DRIVER must outlive the context. */
void iommufd_soft_set_driver(struct iommufd *ctx, const struct iommufd_soft_driver *driver);

#endif
