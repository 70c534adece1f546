// SPDX-License-Identifier: Apache-2.0
/* The interrupt pin of an assigned device: shown, led to a line, masked and unmasked. */
#include <poll.h>

#include "tests/unit/vfio_device_fixture.h"

static bool level;
static unsigned rises;

static void line_set(struct intx_line *line, bool on)
{
	(void)line;
	rises += on && !level;
	level = on;
}

static const struct intx_line_ops line_ops = {.set = line_set};
static struct intx_line line = {.ops = &line_ops};

static void start(bool msix)
{
	hardware(msix);
	plug(&(struct vfio_device_config){.fd = -1, .intx = &line});
}

static int32_t pin_fd(void)
{
	return hw.irq_fd[VFIO_PCI_INTX_IRQ_INDEX];
}

/* The device pulls its pin: the kernel signals, the loop's thread serves. */
static void pull(void)
{
	struct event_watch *watch = &dev.intx.watch;

	cr_assert_eq(pin_fd(), watch->fd);
	watch->ready(watch, POLLIN);
}

static unsigned unmasks(void)
{
	unsigned count = 0;

	for (unsigned i = 0; i < hw.events; i++)
		count += hw.diary[i].event == EVENT_IRQS &&
			 hw.diary[i].index == VFIO_PCI_INTX_IRQ_INDEX &&
			 hw.diary[i].action == VFIO_IRQ_SET_ACTION_UNMASK;
	return count;
}

TestSuite(vfio_intx, .fini = unplug, .timeout = 60);

Test(vfio_intx, shown_only_with_a_line)
{
	start(true);
	cr_assert_eq(cfg_read(PCI_INTERRUPT_PIN, 1), 1);
	unplug();
	cr_assert_null(line.ended);
	hardware(true);
	plug(&(struct vfio_device_config){.fd = -1});
	cr_assert_eq(cfg_read(PCI_INTERRUPT_PIN, 1), 0);
	cfg_write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	cr_assert_eq(pin_fd(), 0);
	cr_assert(hw16(PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE);
}

Test(vfio_intx, a_pin_the_kernel_does_not_offer)
{
	hardware(true);
	hw.irq_count[VFIO_PCI_INTX_IRQ_INDEX] = 0;
	plug(&(struct vfio_device_config){.fd = -1, .intx = &line});
	cr_assert_eq(cfg_read(PCI_INTERRUPT_PIN, 1), 0);
}

Test(vfio_intx, on_with_the_device)
{
	start(true);
	cr_assert_eq(pin_fd(), 0);
	cr_assert(hw16(PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE);
	cfg_write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	cr_assert_gt(pin_fd(), 0);
	cr_assert_not(hw16(PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE);
	cfg_write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE);
	cr_assert_eq(pin_fd(), 0);
	cr_assert(hw16(PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE);
	cfg_write(PCI_COMMAND, 2, 0);
	cr_assert_eq(pin_fd(), 0);
}

Test(vfio_intx, asserted_until_the_guest_ends_it)
{
	start(true);
	cfg_write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	rises = 0;
	pull();
	pull();
	cr_assert(level);
	cr_assert_eq(rises, 1);
	cr_assert_eq(unmasks(), 0);
	line.ended(line.opaque);
	cr_assert_not(level);
	cr_assert_eq(unmasks(), 1);
	/* Another device's interrupt on the same line. */
	line.ended(line.opaque);
	cr_assert_eq(unmasks(), 1);
	pull();
	cr_assert_eq(rises, 2);
}

Test(vfio_intx, disabled_while_asserted)
{
	start(true);
	cfg_write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	pull();
	cr_assert(level);
	cfg_write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE);
	cr_assert_not(level);
	/* The loop had it already. */
	dev.intx.watch.ready(&dev.intx.watch, POLLIN);
	cr_assert_not(level);
}

Test(vfio_intx, gives_way_to_msix)
{
	start(true);
	cfg_write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	pull();
	msix_start(0);
	cr_assert_eq(pin_fd(), 0);
	cr_assert_not(level);
	cr_assert_gt(hw.irq_fd[VFIO_PCI_MSIX_IRQ_INDEX], 0);
	cfg_write(MSIX + PCI_MSIX_FLAGS, 2, 0);
	cr_assert_eq(hw.irq_fd[VFIO_PCI_MSIX_IRQ_INDEX], 0);
	cr_assert_gt(pin_fd(), 0);
	/* Vectors that stand unmasked in the table start as MSI-X goes on. */
	cfg_write(MSIX + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	cr_assert_gt(hw.irq_fd[VFIO_PCI_MSIX_IRQ_INDEX], 0);
	cr_assert_eq(pin_fd(), 0);
}

Test(vfio_intx, gives_way_to_msi)
{
	start(false);
	cfg_write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	cr_assert_gt(pin_fd(), 0);
	cfg_write(MSI + PCI_MSI_ADDRESS_LO, 4, 0xfee00000);
	cfg_write(MSI + PCI_MSI_FLAGS, 2, PCI_MSI_FLAGS_ENABLE);
	cr_assert_eq(pin_fd(), 0);
	cr_assert_gt(hw.irq_fd[VFIO_PCI_MSI_IRQ_INDEX], 0);
	cfg_write(MSI + PCI_MSI_FLAGS, 2, 0);
	cr_assert_gt(pin_fd(), 0);
	cr_assert_eq(hw.irq_fd[VFIO_PCI_MSI_IRQ_INDEX], 0);
}

Test(vfio_intx, off_after_a_reset)
{
	start(true);
	cfg_write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	pull();
	cfg_write(EXPRESS + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR);
	cr_assert_eq(pin_fd(), 0);
	cr_assert_not(level);
	cfg_write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	pull();
	pci_root_reset(root);
	cr_assert_eq(pin_fd(), 0);
	cr_assert_not(level);
	cr_assert(hw16(PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE);
	cr_assert_eq(cfg_read(PCI_INTERRUPT_PIN, 1), 1);
}
