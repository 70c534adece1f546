// SPDX-License-Identifier: Apache-2.0
/* The registers of PCI hot-plug: what waits for the guest, the line, and a guest without manners.
 */
#include <criterion/criterion.h>
#include <errno.h>

#include "devices/legacy/legacy.h"
#include "postern/bits.h"

#include "tests/unit/noise.h"

#define SEGMENTS 3u

static struct bus pio;
static struct pci_hotplug *hp;
static bool line;
static uint32_t ejected;
static unsigned ejects, segment;

static void on_irq(void *opaque, bool level)
{
	(void)opaque;
	line = level;
}

static void on_eject(void *opaque, unsigned of, uint32_t slots)
{
	(void)opaque;
	segment = of;
	ejected = slots;
	ejects++;
}

static void setup(void)
{
	const struct pci_hotplug_config config = {
		.pio = &pio, .segments = SEGMENTS, .irq = on_irq, .eject = on_eject};

	bus_init(&pio);
	cr_assert_eq(pci_hotplug_new(&config, &hp), 0);
	cr_assert_eq(pci_hotplug_new(&config, &hp), -EEXIST);
}

static void teardown(void)
{
	pci_hotplug_free(hp);
	cr_assert_eq(pio.count, 0);
}

TestSuite(pci_hotplug, .init = setup, .fini = teardown);

static uint64_t in(unsigned reg, unsigned width)
{
	uint64_t value;

	bus_read(&pio, PCI_HOTPLUG_BASE + reg, width, &value);
	return value;
}

static void out(unsigned reg, unsigned width, uint64_t value)
{
	bus_write(&pio, PCI_HOTPLUG_BASE + reg, width, value);
}

Test(pci_hotplug, the_line_stays_until_all_is_read)
{
	cr_expect_not(line);
	pci_hotplug_notify(hp, 0, 31, true);
	pci_hotplug_notify(hp, 0, 2, true);
	pci_hotplug_notify(hp, 0, 3, false);
	cr_expect(line);
	cr_expect_eq(in(PCI_HOTPLUG_UP, 4), 0x80000004);
	cr_expect(line);
	cr_expect_eq(in(PCI_HOTPLUG_UP, 4), 0);
	cr_expect_eq(in(PCI_HOTPLUG_DOWN, 4), 8);
	cr_expect_not(line);
	/* Asked again after the guest has looked. */
	pci_hotplug_notify(hp, 0, 3, false);
	cr_expect(line);
	cr_expect_eq(in(PCI_HOTPLUG_DOWN, 4), 8);
	cr_expect_not(line);
}

Test(pci_hotplug, a_reset_forgets)
{
	pci_hotplug_notify(hp, 0, 5, true);
	pci_hotplug_notify(hp, 0, 6, false);
	pci_hotplug_reset(hp);
	cr_expect_not(line);
	cr_expect_eq(in(PCI_HOTPLUG_UP, 4), 0);
	cr_expect_eq(in(PCI_HOTPLUG_DOWN, 4), 0);
}

Test(pci_hotplug, eject)
{
	out(PCI_HOTPLUG_EJECT, 4, BIT(7));
	cr_expect(ejects == 1 && ejected == BIT(7) && segment == 0);
	out(PCI_HOTPLUG_EJECT, 4, 0);
	cr_expect_eq(ejects, 1);
	cr_expect_eq(in(PCI_HOTPLUG_EJECT, 4), 0);
}

Test(pci_hotplug, only_whole_registers)
{
	pci_hotplug_notify(hp, 0, 1, true);
	for (unsigned width = 1; width <= 8; width *= 2) {
		for (unsigned reg = 0; reg + width <= SEGMENTS * PCI_HOTPLUG_SIZE; reg++) {
			if (width == 4 && reg % 4 == 0)
				continue;
			cr_expect_eq(in(reg, width), 0);
			out(reg, width, UINT64_MAX);
		}
	}
	out(PCI_HOTPLUG_UP, 4, UINT32_MAX);
	out(PCI_HOTPLUG_DOWN, 4, UINT32_MAX);
	cr_expect_eq(ejects, 0);
	cr_expect(line);
	cr_expect_eq(in(PCI_HOTPLUG_UP, 4), 2);
}

Test(pci_hotplug, segments_share_the_line_only)
{
	const unsigned last = (SEGMENTS - 1) * PCI_HOTPLUG_SIZE;

	pci_hotplug_notify(hp, SEGMENTS - 1, 4, false);
	pci_hotplug_notify(hp, 1, 4, true);
	cr_expect_eq(in(PCI_HOTPLUG_DOWN, 4), 0);
	cr_expect_eq(in(PCI_HOTPLUG_SIZE + PCI_HOTPLUG_UP, 4), BIT(4));
	cr_expect(line);
	cr_expect_eq(in(last + PCI_HOTPLUG_DOWN, 4), BIT(4));
	cr_expect_not(line);
	out(last + PCI_HOTPLUG_EJECT, 4, BIT(4));
	cr_expect(ejects == 1 && ejected == BIT(4) && segment == SEGMENTS - 1);
	cr_expect_eq(in(last + PCI_HOTPLUG_SIZE, 4), UINT32_MAX, "nobody is there");
}
