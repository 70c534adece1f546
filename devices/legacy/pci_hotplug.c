// SPDX-License-Identifier: Apache-2.0
/*
 * What the AML of PCI hot-plug reads and writes: which slots were filled, which the host wants
 * emptied, and which the guest lets go of (ACPI 6.4, 5.6.6 and 6.3.3). The layout is ours, as the
 * AML that goes with it is.
 *
 * The line to the Generic Event Device is a level: a notification that comes before the guest
 * listens waits for it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "devices/legacy/legacy.h"
#include "postern/bits.h"

struct pci_hotplug {
	struct pci_hotplug_config config;
	pthread_mutex_t lock;
	struct {
		uint32_t up, down; /* a bit a slot */
	} segment[PCI_HOTPLUG_SEGMENTS_MAX];
};

/* With the lock held, so that the line's last level is the bits'. */
static void update_line(struct pci_hotplug *hp)
{
	uint32_t any = 0;

	for (unsigned i = 0; i < hp->config.segments; i++)
		any |= hp->segment[i].up | hp->segment[i].down;
	hp->config.irq(hp->config.opaque, any);
}

static uint32_t take(struct pci_hotplug *hp, uint32_t *bits)
{
	uint32_t value;

	pthread_mutex_lock(&hp->lock);
	value = *bits;
	*bits = 0;
	update_line(hp);
	pthread_mutex_unlock(&hp->lock);
	return value;
}

/* The AML's accesses are whole registers; others find nothing. */
static uint64_t hotplug_read(void *opaque, uint64_t offset, unsigned width)
{
	struct pci_hotplug *hp = opaque;
	unsigned segment = (unsigned)offset / PCI_HOTPLUG_SIZE;

	if (width == 4 && offset % PCI_HOTPLUG_SIZE == PCI_HOTPLUG_UP)
		return take(hp, &hp->segment[segment].up);
	if (width == 4 && offset % PCI_HOTPLUG_SIZE == PCI_HOTPLUG_DOWN)
		return take(hp, &hp->segment[segment].down);
	return 0;
}

static void hotplug_write(void *opaque, uint64_t offset, unsigned width, uint64_t value)
{
	struct pci_hotplug *hp = opaque;

	if (width == 4 && offset % PCI_HOTPLUG_SIZE == PCI_HOTPLUG_EJECT && (uint32_t)value)
		hp->config.eject(hp->config.opaque, (unsigned)offset / PCI_HOTPLUG_SIZE,
				 (uint32_t)value);
}

static const struct bus_ops hotplug_ops = {.read = hotplug_read, .write = hotplug_write};

void pci_hotplug_notify(struct pci_hotplug *hp, unsigned segment, unsigned slot, bool up)
{
	pthread_mutex_lock(&hp->lock);
	*(up ? &hp->segment[segment].up : &hp->segment[segment].down) |= (uint32_t)BIT(slot);
	update_line(hp);
	pthread_mutex_unlock(&hp->lock);
}

void pci_hotplug_reset(struct pci_hotplug *hp)
{
	pthread_mutex_lock(&hp->lock);
	memset(hp->segment, 0, sizeof(hp->segment));
	update_line(hp);
	pthread_mutex_unlock(&hp->lock);
}

int pci_hotplug_new(const struct pci_hotplug_config *config, struct pci_hotplug **out)
{
	struct pci_hotplug *hp;
	int rc;

	if (config->segments > PCI_HOTPLUG_SEGMENTS_MAX)
		return -EINVAL;
	hp = calloc(1, sizeof(*hp));
	if (!hp)
		return -ENOMEM;
	hp->config = *config;
	pthread_mutex_init(&hp->lock, NULL);
	rc = bus_add(config->pio, &(struct bus_range){.base = PCI_HOTPLUG_BASE,
						      .size = config->segments * PCI_HOTPLUG_SIZE,
						      .ops = &hotplug_ops,
						      .opaque = hp,
						      .name = "PCI hot-plug registers"});
	if (rc) {
		pthread_mutex_destroy(&hp->lock);
		free(hp);
		return rc;
	}
	*out = hp;
	return 0;
}

void pci_hotplug_free(struct pci_hotplug *hp)
{
	if (!hp)
		return;
	bus_remove(hp->config.pio, PCI_HOTPLUG_BASE);
	pthread_mutex_destroy(&hp->lock);
	free(hp);
}
