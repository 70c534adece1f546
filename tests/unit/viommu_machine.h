/* SPDX-License-Identifier: Apache-2.0 */
/* A vIOMMU with the engine behind it, and a machine around it of which there may be several. */
#ifndef POSTERN_TESTS_VIOMMU_MACHINE_H
#define POSTERN_TESTS_VIOMMU_MACHINE_H

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "devices/amd_iommu/amd_viommu.h"
#include "postern/bits.h"

#define WINDOW	 UINT64_C(0xfeb80000)
#define ECAM	 UINT64_C(0xe0000000)
#define DEVFN	 PCI_DEVFN(2, 0)
#define CONFIG	 (ECAM + (DEVFN << 12))
#define MSI_CAP	 0x58
#define RAM_SIZE (2 * MIB)
#define DEVICES	 4

struct viommu_machine {
	uint8_t *ram;
	struct guest_memory memory;
	struct bus mmio, pio;
	struct pci_root *root;
	struct iommufd *ctx;
	struct amd_viommu *viommu;
	struct amd_iommu_engine *engine;
	struct msi_sink sink;
	struct dma_space *ds[DEVICES]; /* requesters behind its own */
	unsigned messages;
	struct msi_msg message; /* the last */
};

static inline uint16_t machine_devid(unsigned device)
{
	return (uint16_t)(DEVFN + 8 * (device + 1));
}

static inline void machine_message(void *opaque, const struct msi_msg *msg)
{
	struct viommu_machine *m = opaque;

	m->messages++;
	m->message = *msg;
}

static inline int machine_sink_send(struct msi_sink *sink, const struct msi_msg *msg)
{
	machine_message(container_of(sink, struct viommu_machine, sink), msg);
	return 0;
}

static inline void machine_msi(void *opaque)
{
	amd_viommu_msi(((struct viommu_machine *)opaque)->viommu);
}

static inline void machine_open(struct viommu_machine *m, uint64_t efr, uint64_t efr2)
{
	static const struct msi_sink_ops sink_ops = {.send = machine_sink_send};
	static const struct pci_windows windows = {
		.ecam_base = ECAM, .buses = 1, .mem32_base = 0xc0000000, .mem32_size = 0x10000000};
	const struct amd_iommu_features features = {.efr = efr, .efr2 = efr2};
	struct amd_viommu_config config = {
		.window = WINDOW, .mmio = &m->mmio, .devfn = DEVFN, .sink = &m->sink};

	memset(m, 0, sizeof(*m));
	m->ram = aligned_alloc(4096, RAM_SIZE);
	cr_assert_not_null(m->ram);
	memset(m->ram, 0, RAM_SIZE);
	m->memory.count = 1;
	m->memory.region[0] =
		(struct guest_region){.gpa = 0, .size = RAM_SIZE, .host = m->ram, .fd = -1};
	m->sink.ops = &sink_ops;
	m->sink.devid = DEVFN;
	bus_init(&m->mmio);
	bus_init(&m->pio);
	cr_assert_eq(pci_root_new(&m->root, &m->mmio, &m->pio, &windows), 0);
	cr_assert_eq(iommufd_open_soft(&m->ctx, &m->memory), 0);
	cr_assert_eq(iommufd_soft_set_hw(m->ctx, &features, DEVFN), 0);
	cr_assert_eq(viommu_iommufd_port_new(m->ctx, &features, &config.port, &m->engine), 0);
	config.root = m->root;
	cr_assert_eq(amd_viommu_new(&config, &m->viommu), 0);
	amd_iommu_engine_set_interrupts(m->engine, m, machine_msi, machine_message);
	for (unsigned i = 0; i < DEVICES; i++)
		cr_assert_eq(amd_iommu_dma_space_new(m->engine, machine_devid(i), &m->ds[i]), 0);
}

static inline void machine_close(struct viommu_machine *m)
{
	for (unsigned i = 0; i < DEVICES; i++)
		amd_iommu_dma_space_free(m->ds[i]);
	pci_root_free(m->root);
	amd_viommu_free(m->viommu);
	iommufd_close(m->ctx);
	free(m->ram);
}

static inline uint64_t rd(struct viommu_machine *m, uint64_t offset, unsigned width)
{
	uint64_t value;

	cr_assert_eq(bus_read(&m->mmio, WINDOW + offset, width, &value), 0);
	return value;
}

static inline void wr(struct viommu_machine *m, uint64_t offset, unsigned width, uint64_t value)
{
	cr_assert_eq(bus_write(&m->mmio, WINDOW + offset, width, value), 0);
}

static inline void config_wr(struct viommu_machine *m, unsigned at, unsigned width, uint64_t value)
{
	cr_assert_eq(bus_write(&m->mmio, CONFIG + at, width, value), 0);
}

static inline void put64(struct viommu_machine *m, uint64_t gpa, uint64_t value)
{
	cr_assert_eq(guest_memory_store64(&m->memory, gpa, value), 0);
}

static inline uint64_t get64(struct viommu_machine *m, uint64_t gpa)
{
	uint64_t value = 0;

	cr_assert_eq(guest_memory_load64(&m->memory, gpa, &value), 0);
	return value;
}

#endif
