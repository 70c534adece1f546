// SPDX-License-Identifier: Apache-2.0
/*
 * Devices that come and go while the guest runs, over ACPI: the slots of a segment's bus 0 can be
 * filled and emptied, and a Generic Event Device tells the guest (guest/dsdt_hotplug.c). A device
 * goes when the guest has let go of its slot, asked or unasked, or at the next reset after it was
 * asked.
 *
 * The IVRS names requester ids, not devices, and is read once: with a vIOMMU, half of the slots
 * that are free at power-on are behind it from then on, for devices with iommu=on, and half are
 * not.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/machine.h"
#include "vmm/options.h"

struct hotplug {
	struct machine *m;
	struct pci_hotplug *regs;
	struct event_work eject;
	/* Slots of each segment that the guest let go of, for the loop's thread. */
	atomic_uint ejected[MACHINE_SEGMENTS_MAX];
};

/* ---- out ---- */

static void release(struct machine *m, struct machine_device *dev)
{
	if (dev->leaving || !dev->class->release)
		return;
	dev->leaving = true;
	log_info("device %s leaves the guest", dev->id);
	dev->class->release(m, dev);
}

void machine_device_gone(struct machine *m, const char *id)
{
	if (m->watcher)
		m->watcher->removed(m->watcher->opaque, id);
}

static void eject(struct hotplug *hp, unsigned segment, uint32_t slots)
{
	enum machine_state state = machine_state(hp->m);
	struct machine_device *dev, *next;

	for (dev = hp->m->devices; dev; dev = next) {
		next = dev->next;
		if (dev->segment != segment || !(slots & BIT(dev->devfn >> 3)))
			continue;
		if (state == MACHINE_STATE_RESETTING || state == MACHINE_STATE_ENDING)
			dev->asked = true; /* its work is being drained: the reset takes it */
		else
			release(hp->m, dev);
	}
}

static void run_eject(struct event_work *work)
{
	struct hotplug *hp = container_of(work, struct hotplug, eject);

	for (unsigned i = 0; i < hp->m->config->segments; i++)
		eject(hp, i, atomic_exchange(&hp->ejected[i], 0));
}

/* On a vCPU's thread. */
static void ejected(void *opaque, unsigned segment, uint32_t slots)
{
	struct hotplug *hp = opaque;

	atomic_fetch_or(&hp->ejected[segment], slots);
	event_loop_post(hp->m->loop, &hp->eject);
}

int machine_device_ask(struct machine *m, struct machine_device *dev)
{
	if (!m->hotplug || !dev->class->release) {
		log_error("remove %s: a device of kind %s stays with the guest", dev->id,
			  dev->kind);
		return -EOPNOTSUPP;
	}
	dev->asked = true;
	if (!dev->leaving)
		pci_hotplug_notify(m->hotplug->regs, dev->segment, dev->devfn >> 3, false);
	return 0;
}

void machine_hotplug_reset(struct machine *m)
{
	struct machine_device *dev, *next;

	if (!m->hotplug)
		return;
	for (unsigned i = 0; i < m->config->segments; i++)
		atomic_store(&m->hotplug->ejected[i], 0);
	pci_hotplug_reset(m->hotplug->regs);
	for (dev = m->devices; dev; dev = next) {
		next = dev->next;
		if (dev->asked)
			release(m, dev);
	}
}

/* ---- in ---- */

int machine_device_add(struct machine *m, const char *kind, const char *options,
		       struct machine_device **dev)
{
	const struct device_class *class = machine_device_class(kind);
	const unsigned said = log_errors();
	int rc;

	if (!class || !class->add || !m->hotplug) {
		log_error("add %s: there is no such kind of device, or not in this build", kind);
		return -ENODEV;
	}
	rc = class->add(m, kind, options, dev);
	if (rc && log_errors() == said)
		log_error("add %s %s: %s", kind, options, strerror(-rc));
	if (!rc)
		pci_hotplug_notify(m->hotplug->regs, (*dev)->segment, (*dev)->devfn >> 3, true);
	return rc;
}

/* ---- life ---- */

static void set_line(void *opaque, bool level)
{
	ioapic_set_irq(((struct hotplug *)opaque)->m->ioapic, PCI_HOTPLUG_PIN, level);
}

static unsigned next_free(const struct pci_root *root, unsigned first)
{
	int slot = pci_root_free_slot(root, first);

	return slot < 0 ? MACHINE_SLOTS : (unsigned)slot;
}

/* Those that are free, or a device's that can go; half of the free ones go behind the segment's
 * vIOMMU. */
static int choose_slots(struct machine *m, unsigned segment)
{
	uint32_t *slots = &m->acpi.segment[segment].hotplug_slots;
	const struct pci_root *root = m->segment[segment].root;
	unsigned free = 0, seen = 0;
	int rc = 0;

	*slots = 0;
	for (const struct machine_device *dev = m->devices; dev; dev = dev->next) {
		if (dev->segment == segment && dev->class->release)
			*slots |= (uint32_t)BIT(dev->devfn >> 3);
	}
	for (unsigned i = MACHINE_SLOT_FIRST; (i = next_free(root, i)) < MACHINE_SLOTS; i++) {
		*slots |= (uint32_t)BIT(i);
		free++;
	}
	if (!m->segment[segment].viommu)
		return 0;
	for (unsigned i = MACHINE_SLOT_FIRST; !rc && (i = next_free(root, i)) < MACHINE_SLOTS;
	     i++) {
		if (seen++ >= free / 2)
			rc = machine_slot_translate(m, segment, PCI_DEVFN(i, 0));
	}
	return rc;
}

int machine_hotplug_new(struct machine *m)
{
	struct pci_hotplug_config config = {
		.pio = &m->pio,
		.segments = m->config->segments,
		.irq = set_line,
		.eject = ejected,
	};
	struct hotplug *hp;
	int rc;

	/* Who cannot ask for it has no use for it; a host can want an assigned device back. */
	if (!m->watcher && !config_device(m->config, &vfio_option, 0))
		return 0;
	hp = calloc(1, sizeof(*hp));
	if (!hp)
		return -ENOMEM;
	hp->m = m;
	hp->eject.run = run_eject;
	config.opaque = hp;
	rc = pci_hotplug_new(&config, &hp->regs);
	for (unsigned i = 0; !rc && i < m->config->segments; i++)
		rc = choose_slots(m, i);
	if (rc) {
		pci_hotplug_free(hp->regs);
		free(hp);
		return rc;
	}
	m->acpi.hotplug.base = PCI_HOTPLUG_BASE;
	m->acpi.hotplug.gsi = PCI_HOTPLUG_PIN;
	m->hotplug = hp;
	return 0;
}

void machine_hotplug_free(struct machine *m)
{
	if (!m->hotplug)
		return;
	pci_hotplug_free(m->hotplug->regs);
	free(m->hotplug);
	m->hotplug = NULL;
}
