// SPDX-License-Identifier: Apache-2.0
/* An assigned device under a guest that reboots, resets it, and puts it to sleep at bad moments. */
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>

#include "tests/unit/noise.h"
#include "tests/unit/vfio_device_fixture.h"

static void setup(void)
{
	hardware(true);
	hw.irq_count[VFIO_PCI_ERR_IRQ_INDEX] = hw.irq_count[VFIO_PCI_REQ_IRQ_INDEX] = 1;
	plug(&(struct vfio_device_config){.fd = -1});
}

TestSuite(vfio_device, .init = setup, .fini = unplug, .timeout = 60);

static void start_dma(void)
{
	cfg_write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	cr_assert_eq(hw16(PCI_COMMAND) & 7, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	hw.events = 0;
}

Test(vfio_device, is_reset_before_the_guest_sees_it)
{
	cr_assert_geq(find(EVENT_RESET), 0);
	cr_assert_eq(hw16(PCI_COMMAND) & PCI_COMMAND_MASTER, 0);
}

Test(vfio_device, machine_reset_ends_dma_before_it_resets_the_device)
{
	int command, reset;

	start_dma();
	msix_start(1);
	cr_assert_gt(hw.irq_fd[VFIO_PCI_MSIX_IRQ_INDEX], 0);
	hw.events = 0;
	pci_root_reset(root);
	command = find(EVENT_COMMAND);
	reset = find(EVENT_RESET);
	cr_assert_geq(command, 0);
	cr_assert_gt(reset, command);
	for (unsigned i = 0; i < hw.events; i++)
		cr_assert_not(hw.diary[i].event == EVENT_COMMAND &&
			      hw.diary[i].value & PCI_COMMAND_MASTER);
	cr_assert_eq(hw.irq_fd[VFIO_PCI_MSIX_IRQ_INDEX], 0);
	cr_assert_eq(routes, 0);
	cr_assert_eq(cfg_read(MSIX + PCI_MSIX_FLAGS, 2), VECTORS - 1);
	cr_assert_eq(cfg_read(PCI_COMMAND, 2), 0);
}

Test(vfio_device, a_sleeping_device_without_reset_wakes_with_the_machine)
{
	dev.can_reset = hw.can_reset = false;
	cfg_write(PM + PCI_PM_CTRL, 2, 3);
	cr_assert_eq(hw16(PM + PCI_PM_CTRL) & 3, 3);
	cr_assert_not(dev.powered);
	hw.events = 0;
	pci_root_reset(root);
	cr_assert_eq(hw16(PM + PCI_PM_CTRL) & 3, 0);
	cr_assert(dev.powered);
	cr_assert_eq(find(EVENT_RESET), -1);
}

static unsigned hot_resets(void)
{
	unsigned count = 0;

	for (unsigned i = 0; i < hw.events; i++)
		count += hw.diary[i].event == EVENT_HOT_RESET;
	return count;
}

/* A device that the kernel cannot reset alone, in a slot of FUNCTIONS. */
static void in_a_slot(unsigned functions, bool owned)
{
	unplug();
	hardware(true);
	hw.can_reset = false;
	hw.slot = functions;
	hw.slot_owned = owned;
	plug(&(struct vfio_device_config){.fd = -1});
}

Test(vfio_device, alone_in_its_slot_it_is_reset_with_it)
{
	int command;

	in_a_slot(1, true);
	cr_assert_eq(hot_resets(), 1);
	start_dma();
	pci_root_reset(root);
	cr_assert_eq(hot_resets(), 1);
	command = find(EVENT_COMMAND);
	cr_assert_geq(command, 0);
	cr_assert_gt(find(EVENT_HOT_RESET), command, "DMA ends first");
	vfio_device_teardown(&dev);
	cr_assert_eq(hot_resets(), 2);
	cr_assert_eq(find(EVENT_RESET), -1);
	vfio_device_setup(&dev,
			  &(struct vfio_device_config){.fd = -1, .sink = &sink, .loop = loop});
}

/* Its neighbours may be at work until all that is the machine's is reset. */
Test(vfio_device, a_shared_slot_is_reset_with_the_machine_alone)
{
	in_a_slot(2, true);
	cr_assert_eq(hot_resets(), 0);
	pci_root_reset(root);
	cr_assert_eq(hot_resets(), 1);
	in_a_slot(2, false); /* the other one is the host's */
	pci_root_reset(root);
	cr_assert_eq(hot_resets(), 0);
	in_a_slot(257, true); /* more than a bus has */
	pci_root_reset(root);
	cr_assert_eq(hot_resets(), 0);
}

Test(vfio_device, one_that_can_be_reset_spares_its_slot)
{
	unplug();
	hardware(true);
	hw.slot = 1;
	hw.slot_owned = true;
	plug(&(struct vfio_device_config){.fd = -1});
	pci_root_reset(root);
	cr_assert_eq(hot_resets(), 0);
	cr_assert_geq(find(EVENT_RESET), 0);
}

Test(vfio_device, function_level_reset_wakes_and_clears)
{
	start_dma();
	msix_start(2);
	cr_assert_eq(bar_read(0x202c), 0);
	cfg_write(PM + PCI_PM_CTRL, 2, 3);
	cr_assert_not(dev.powered);
	cfg_write(EXPRESS + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR);
	cr_assert_geq(find(EVENT_FLR), 0);
	cr_assert(dev.powered);
	cr_assert_eq(cfg_read(PCI_COMMAND, 2), 0);
	cr_assert_eq(hw16(PCI_COMMAND) & PCI_COMMAND_MASTER, 0);
	cr_assert_eq(cfg_read(PCI_BASE_ADDRESS_0, 4), 0);
	cr_assert_eq(hw.irq_fd[VFIO_PCI_MSIX_IRQ_INDEX], 0);
	/* All vectors are masked, as 7.7.2.2 of the PCI Express specification has it. */
	cfg_write(PCI_BASE_ADDRESS_0, 4, (uint32_t)MEM32);
	cfg_write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	cr_assert_eq(bar_read(0x202c), 1);
	cfg_write(MSIX + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	cr_assert_eq(hw.irq_fd[VFIO_PCI_MSIX_IRQ_INDEX], 0);
}

/* The card's own data can be read, and what a guest writes into it goes nowhere. */
Test(vfio_device, vital_product_data_is_read_only)
{
	const unsigned vpd = 0xc0;

	unplug();
	hardware(true);
	hw.config[MSIX + 1] = vpd;
	hw.config[vpd] = PCI_CAP_ID_VPD;
	plug(&(struct vfio_device_config){.fd = -1});

	cfg_write(vpd + PCI_VPD_ADDR, 2, 0x10);
	cr_assert_eq(hw16(vpd + PCI_VPD_ADDR), 0x10);
	hw_set16(vpd + PCI_VPD_ADDR, PCI_VPD_ADDR_F | 0x10); /* the device has done so */
	hw_set32(vpd + PCI_VPD_DATA, 0x12345678);
	cr_assert_eq(cfg_read(vpd + PCI_VPD_ADDR, 2), PCI_VPD_ADDR_F | 0x10);
	cr_assert_eq(cfg_read(vpd + PCI_VPD_DATA, 4), 0x12345678);
	/* A request to write, in every width that reaches it. */
	cfg_write(vpd + PCI_VPD_DATA, 4, 0xbadbad);
	cr_assert_eq(cfg_read(vpd + PCI_VPD_DATA, 4), 0x12345678);
	cfg_write(vpd + PCI_VPD_ADDR, 2, PCI_VPD_ADDR_F | 0x14);
	cr_assert_eq(hw16(vpd + PCI_VPD_ADDR), 0x14);
	cfg_write(vpd + PCI_VPD_ADDR + 1, 1, 0x80);
	cr_assert_eq(hw16(vpd + PCI_VPD_ADDR), 0x14);
	hw_set16(vpd + PCI_VPD_ADDR, PCI_VPD_ADDR_F | 0x14);
	cfg_write(vpd, 4, (PCI_VPD_ADDR_F | UINT32_C(0x18)) << 16);
	cr_assert_eq(hw16(vpd + PCI_VPD_ADDR), 0x18);
	cr_assert_eq(hw.config[vpd], PCI_CAP_ID_VPD);
}

/* ---- pages of a BAR in the guest's address space ---- */

static uint64_t shown_at;
static unsigned shown;

static int show(struct guest_window *w, uint64_t gpa, uint64_t size, void *host)
{
	(void)w;
	(void)host;
	cr_assert_eq(size, GUEST_PAGE_SIZE);
	cr_assert_eq(shown, 0, "at one place at a time");
	/* The kernel sends SIGBUS for memory of a device that sleeps or does not decode. */
	cr_assert(hw16(PCI_COMMAND) & PCI_COMMAND_MEMORY);
	cr_assert_eq(hw16(PM + PCI_PM_CTRL) & 3, 0);
	shown++;
	shown_at = gpa;
	return 0;
}

static int hide(struct guest_window *w, uint64_t gpa)
{
	(void)w;
	cr_assert_eq(shown, 1);
	cr_assert_eq(gpa, shown_at);
	cr_assert(hw16(PCI_COMMAND) & PCI_COMMAND_MEMORY);
	cr_assert_eq(hw16(PM + PCI_PM_CTRL) & 3, 0);
	shown--;
	return 0;
}

Test(vfio_device, pages_are_shown_only_where_and_while_they_answer)
{
	static const struct guest_window_ops ops = {.memory_add = show, .memory_remove = hide};
	static struct guest_window window = {.ops = &ops};
	void *page = mmap(NULL, GUEST_PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(page, MAP_FAILED);
	dev.window = &window;
	dev.bar[0].area[0] = (struct vfio_area){.size = GUEST_PAGE_SIZE, .host = page};
	dev.bar[0].areas = 1;
	start_dma();
	cr_assert_eq(shown_at, MEM32);
	/* Moves, with decoding on. */
	cfg_write(PCI_BASE_ADDRESS_0, 4, (uint32_t)MEM32 + 0x10000);
	cr_assert_eq(shown, 1);
	cr_assert_eq(shown_at, MEM32 + 0x10000);
	/* To where nobody may be. */
	cfg_write(PCI_BASE_ADDRESS_0, 4, 0x1000);
	cr_assert_eq(shown, 0);
	cfg_write(PCI_BASE_ADDRESS_0, 4, (uint32_t)MEM32);
	cr_assert_eq(shown, 1);
	/* Asleep; moves meanwhile; wakes. */
	cfg_write(PM + PCI_PM_CTRL, 2, 3);
	cr_assert_eq(shown, 0);
	cfg_write(PCI_BASE_ADDRESS_0, 4, (uint32_t)MEM32 + 0x20000);
	cr_assert_eq(shown, 0);
	cfg_write(PM + PCI_PM_CTRL, 2, 0);
	cr_assert_eq(shown_at, MEM32 + 0x20000);
	cr_assert_eq(shown, 1);
	/* Decoding off, and the resets. */
	cfg_write(PCI_COMMAND, 2, 0);
	cr_assert_eq(shown, 0);
	start_dma();
	cr_assert_eq(shown, 1);
	cfg_write(EXPRESS + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR);
	cr_assert_eq(shown, 0);
	cfg_write(PCI_BASE_ADDRESS_0, 4, (uint32_t)MEM32);
	start_dma();
	cr_assert_eq(shown, 1);
	pci_root_reset(root);
	cr_assert_eq(shown, 0);
}

Test(vfio_device, garbage_everywhere)
{
	unsigned seed = 1;

	start_dma();
	for (unsigned i = 0; i < 20000; i++) {
		unsigned width = 1u << noise(&seed) % 3, at = noise(&seed), value = noise(&seed);

		if (noise(&seed) & 1)
			cfg_write(at % PCI_CONFIG_SIZE & ~(width - 1), width, value);
		else
			bus_write(&mmio, MEM32 + at % BAR_SIZE, width, value);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(hw.diary); i++)
		cr_assert(hw.diary[i].event != EVENT_IRQS || hw.diary[i].count <= VECTORS);
	/* What identifies the device has not changed, and it is well again after a reset. */
	cr_assert_eq(cfg_read(PCI_VENDOR_ID, 2), 0x1b36);
	pci_root_reset(root);
	start_dma();
	msix_start(0);
	cr_assert_gt(hw.irq_fd[VFIO_PCI_MSIX_IRQ_INDEX], 0);
}

/* What is said when the kernel signals INDEX three times, and how often WORDS are in it. */
static unsigned said(unsigned index, const char *words)
{
	const uint64_t one = 1;
	char text[4096] = "", *at = text;
	unsigned count = 0;
	int fds[2];

	cr_assert_eq(pipe2(fds, O_NONBLOCK), 0);
	cr_assert_eq(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	for (unsigned i = 0; i < 3; i++) {
		for (unsigned j = 0; j < VFIO_NOTIFIERS; j++) {
			struct event_watch *watch = &dev.notifier[j].watch;

			if (watch->fd != hw.irq_fd[index])
				continue;
			cr_assert_eq(write(watch->fd, &one, sizeof(one)), (ssize_t)sizeof(one));
			watch->ready(watch, POLLIN);
		}
	}
	cr_assert_gt(read(fds[0], text, sizeof(text) - 1), 0);
	for (; (at = strstr(at, words)); at++)
		count++;
	return count;
}

Test(vfio_device, errors_and_requests_are_said_once)
{
	cr_assert_eq(said(VFIO_PCI_ERR_IRQ_INDEX, "error: vfio test: reports an uncorrectable"), 1);
	cr_assert_eq(said(VFIO_PCI_REQ_IRQ_INDEX, "warning: vfio test: the host wants it back"), 1);
}

Test(vfio_device, notifiers_end_with_the_device)
{
	cr_assert_gt(hw.irq_fd[VFIO_PCI_ERR_IRQ_INDEX], 0);
	cr_assert_gt(hw.irq_fd[VFIO_PCI_REQ_IRQ_INDEX], 0);
	unplug();
	cr_assert_eq(hw.irq_fd[VFIO_PCI_ERR_IRQ_INDEX], -1);
	cr_assert_eq(hw.irq_fd[VFIO_PCI_REQ_IRQ_INDEX], -1);
	setup();
}
