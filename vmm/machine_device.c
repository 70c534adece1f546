// SPDX-License-Identifier: Apache-2.0
/* Devices that the user can name, and their places on the guest's bus. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/machine.h"

SECTION_DECLARE(struct device_class, device_classes);

/* ---- names ---- */

bool machine_id_good(const char *id)
{
	size_t len = strlen(id);

	if (!len || len >= MACHINE_ID_SIZE || !isalpha((unsigned char)*id))
		return false;
	for (; *id; id++) {
		if (!isalnum((unsigned char)*id) && !strchr("-_.", *id))
			return false;
	}
	return true;
}

const struct device_class *machine_device_class(const char *kind)
{
	const struct device_class *const *c;

	section_for_each (c, device_classes) {
		if ((*c)->has ? (*c)->has(kind) : !strcmp((*c)->name, kind))
			return *c;
	}
	return NULL;
}

struct machine_device *machine_device_find(struct machine *m, const char *id)
{
	struct machine_device *dev = m->devices;

	while (dev && strcmp(dev->id, id) != 0)
		dev = dev->next;
	return dev;
}

static int take_id(struct machine *m, struct machine_device *dev, const char *id)
{
	unsigned n = 0;

	if (!id) {
		do {
			snprintf(dev->id, sizeof(dev->id), "%s%u", dev->kind, n++);
		} while (machine_device_find(m, dev->id));
		return 0;
	}
	if (machine_device_find(m, id)) {
		log_error("--%s id=%s: there is a device of this name", dev->kind, id);
		return -EEXIST;
	}
	snprintf(dev->id, sizeof(dev->id), "%s", id);
	return 0;
}

static bool translated(const struct guest_iommu *described, uint8_t devfn)
{
	for (unsigned i = 0; i < described->device_count; i++) {
		if (described->device[i] == devfn)
			return true;
	}
	return false;
}

static int free_slot(const struct machine *m, unsigned segment, unsigned first)
{
	const struct machine_segment *s = &m->segment[segment];
	int slot = pci_root_free_slot(s->root, first);

	while (slot >= 0 && s->reserved & BIT(slot))
		slot = pci_root_free_slot(s->root, (unsigned)slot + 1);
	return slot;
}

int machine_slot_reserve(struct machine *m, unsigned segment)
{
	int slot = free_slot(m, segment, MACHINE_SLOT_FIRST);

	if (slot < 0)
		return slot;
	m->segment[segment].reserved |= (uint32_t)BIT(slot);
	return (int)PCI_DEVFN((unsigned)slot, 0);
}

/* A guest that runs has read which slots are behind its IOMMU. */
static int take_slot(struct machine *m, struct machine_device *dev)
{
	const struct guest_iommu *described = &m->acpi.segment[dev->segment].iommu;
	bool divided = m->hotplug && m->segment[dev->segment].viommu;
	int slot = free_slot(m, dev->segment, MACHINE_SLOT_FIRST);

	while (slot >= 0 && divided &&
	       translated(described, PCI_DEVFN((unsigned)slot, 0)) != dev->iommu)
		slot = free_slot(m, dev->segment, (unsigned)slot + 1);
	if (slot < 0) {
		log_error("--%s: no free PCI slot%s in segment %u; --pci-segments adds segments",
			  dev->kind,
			  divided ? dev->iommu ? " behind the vIOMMU" : " beside the vIOMMU" : "",
			  dev->segment);
		return slot;
	}
	dev->devfn = PCI_DEVFN((unsigned)slot, 0);
	return 0;
}

int machine_device_init(struct machine *m, struct machine_device *dev,
			const struct device_class *class, const char *kind, const char *id,
			unsigned segment, bool iommu)
{
	int rc;

	*dev = (struct machine_device){
		.class = class, .kind = kind, .segment = segment, .iommu = iommu};
	rc = take_slot(m, dev);
	return rc ? rc : take_id(m, dev, id);
}

int machine_device_init_at(struct machine *m, struct machine_device *dev,
			   const struct device_class *class, const char *kind, const char *id,
			   unsigned segment, bool iommu, uint8_t devfn)
{
	*dev = (struct machine_device){
		.class = class, .kind = kind, .segment = segment, .iommu = iommu, .devfn = devfn};
	return take_id(m, dev, id);
}

void machine_device_publish(struct machine *m, struct machine_device *dev)
{
	struct machine_device **at = &m->devices;

	while (*at)
		at = &(*at)->next;
	dev->next = NULL;
	*at = dev;
}

void machine_device_withdraw(struct machine *m, struct machine_device *dev)
{
	struct machine_device **at = &m->devices;

	while (*at && *at != dev)
		at = &(*at)->next;
	if (*at)
		*at = dev->next;
}

/* ---- places ---- */

/* A slot's sink and line are freed with the machine, and serve whatever comes into the slot. */
static int slot_sink(struct machine *m, unsigned segment, uint8_t devfn, bool iommu,
		     struct msi_sink **sink)
{
	struct msi_sink **kept = &m->segment[segment].slot_sink[devfn >> 3];
	int rc = *kept ? 0 : irq_sink_new(m->irq, machine_sbdf(segment, devfn), iommu, kept);

	*sink = *kept;
	return rc;
}

int machine_slot_translate(struct machine *m, unsigned segment, uint8_t devfn)
{
	struct guest_iommu *described = &m->acpi.segment[segment].iommu;

	if (described->device_count == ARRAY_SIZE(described->device))
		return -ENOSPC;
	described->device[described->device_count++] = devfn;
	return 0;
}

int machine_place(struct machine *m, unsigned segment, uint8_t devfn, bool iommu,
		  struct dma_space **ds, struct msi_sink **sink)
{
	struct guest_iommu *described = &m->acpi.segment[segment].iommu;
	int rc = slot_sink(m, segment, devfn, iommu, sink);

	if (rc)
		return rc;
	if (iommu && !translated(described, devfn))
		rc = machine_slot_translate(m, segment, devfn);
	if (rc || !ds)
		return rc;
	/* What was not made is not to be freed. */
	*ds = NULL;
	if (iommu)
		return m->dma_space_new(m, segment, devfn, ds);
	*ds = &m->identity.ds;
	return 0;
}

void machine_unplace(struct machine *m, struct dma_space *ds, bool iommu)
{
	if (iommu)
		m->dma_space_free(ds);
}

int machine_slot_line(struct machine *m, unsigned segment, unsigned slot, struct intx_line **line)
{
	struct intx_line **kept = &m->segment[segment].slot_line[slot];
	int rc = 0;

	if (!*kept) {
		machine_pause_vcpus(m);
		rc = ioapic_line_new(m->ioapic, guest_intx_gsi(&m->acpi, slot), kept);
		machine_resume_vcpus(m);
	}
	*line = *kept;
	return rc;
}
