/* SPDX-License-Identifier: Apache-2.0 */
/* An assigned device that lives in the process, on a root with buses, and the driver of it. */
#ifndef POSTERN_SOFT_VFIO_FIXTURE_H
#define POSTERN_SOFT_VFIO_FIXTURE_H

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "devices/test/soft_vfio.h"
#include "devices/vfio/internal.h"
#include "postern/event_loop.h"

#define SLOT_ECAM UINT64_C(0xe0000000)
#define SLOT_BAR  UINT64_C(0xc0000000)
#ifndef SLOT_DEVFN
#define SLOT_DEVFN PCI_DEVFN(3, 0)
#endif

static struct bus mmio, pio;
static struct pci_root *root;
static struct event_loop *loop;
static struct iommufd *vfio_ctx;
static struct vfio_host *host;
static struct vfio_device *assigned;

/* ---- what KVM is told: routes, by the eventfd that they are of ---- */

struct msi_route {
	int eventfd;
	bool set;
	struct msi_msg msg;
};

static struct msi_route route[SOFT_VFIO_VECTORS];
static unsigned routes;

static inline int route_new(struct msi_sink *s, int eventfd, struct msi_route **out)
{
	(void)s;
	for (unsigned i = 0; i < SOFT_VFIO_VECTORS; i++) {
		if (!route[i].eventfd) {
			route[i] = (struct msi_route){.eventfd = eventfd};
			*out = &route[i];
			routes++;
			return 0;
		}
	}
	return -ENOSPC;
}

static inline int route_set(struct msi_route *r, const struct msi_msg *msg)
{
	r->set = msg;
	if (msg)
		r->msg = *msg;
	return 0;
}

static inline void route_free(struct msi_route *r)
{
	*r = (struct msi_route){0};
	routes--;
}

static const struct msi_sink_ops route_ops = {
	.route_new = route_new, .route_set = route_set, .route_free = route_free};
static struct msi_sink route_sink = {.ops = &route_ops};

/* The message DATA arrives, as an irqfd would deliver it: when its eventfd is readable. */
static inline bool arrives(uint32_t data, int timeout)
{
	for (unsigned i = 0; i < SOFT_VFIO_VECTORS; i++) {
		struct pollfd p = {.fd = route[i].eventfd, .events = POLLIN};
		uint64_t count;

		if (route[i].eventfd && route[i].set && route[i].msg.data == data &&
		    poll(&p, 1, timeout) == 1)
			return read(p.fd, &count, sizeof(count)) == sizeof(count);
	}
	return false;
}

/* ---- pages of BARs in the guest's address space ---- */

static unsigned windows_shown;

static inline int window_add(struct guest_window *w, uint64_t gpa, uint64_t size, void *page)
{
	(void)w;
	(void)gpa;
	(void)page;
	cr_assert_eq(size, DMA_TEST_BUFFER_SIZE);
	windows_shown++;
	return 0;
}

static inline int window_remove(struct guest_window *w, uint64_t gpa)
{
	(void)w;
	(void)gpa;
	windows_shown--;
	return 0;
}

static const struct guest_window_ops slot_window_ops = {.memory_add = window_add,
							.memory_remove = window_remove};
static struct guest_window slot_window = {.ops = &slot_window_ops};

/* ---- the guest ---- */

static inline uint32_t slot_config_read(unsigned at, unsigned width)
{
	uint64_t value = 0;

	bus_read(&mmio, SLOT_ECAM + (SLOT_DEVFN << 12) + at, width, &value);
	return (uint32_t)value;
}

static inline void slot_config_write(unsigned at, unsigned width, uint32_t value)
{
	bus_write(&mmio, SLOT_ECAM + (SLOT_DEVFN << 12) + at, width, value);
}

static inline uint64_t slot_base(void)
{
	return slot_config_read(PCI_BASE_ADDRESS_0, 4) & ~UINT64_C(15);
}

static inline uint64_t slot_read(uint64_t at)
{
	uint64_t value = 0;

	cr_assert_eq(bus_read(&mmio, slot_base() + at, 8, &value), 0);
	return value;
}

static inline void slot_write(uint64_t at, uint64_t value)
{
	cr_assert_eq(bus_write(&mmio, slot_base() + at, 8, value), 0);
}

static inline unsigned slot_capability(uint8_t id)
{
	unsigned at = slot_config_read(PCI_CAPABILITY_LIST, 1);

	while (at && slot_config_read(at, 1) != id)
		at = slot_config_read(at + 1, 1);
	cr_assert(at, "no capability %#x", id);
	return at;
}

static inline void slot_enable(void)
{
	slot_config_write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static inline void slot_msix(uint16_t control)
{
	slot_config_write(slot_capability(PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS, 2, control);
}

static inline void slot_vector(unsigned vector, uint32_t data, bool masked)
{
	const uint64_t entry = 0x2000 + 16 * vector;

	slot_write(entry, 0xfee00000);
	slot_write(entry + 8, data | (uint64_t)masked << 32);
}

static inline void slot_start(unsigned command, uint64_t source, uint64_t destination,
			      uint64_t length)
{
	slot_write(DMA_TEST_SOURCE, source);
	slot_write(DMA_TEST_DESTINATION, destination);
	slot_write(DMA_TEST_LENGTH, length);
	slot_write(DMA_TEST_COMMAND, command);
}

/* Its status once it is through, as far as ever that is. */
static inline uint64_t slot_end(void)
{
	uint64_t status;

	while ((status = slot_read(DMA_TEST_STATUS)) == DMA_TEST_BUSY)
		sched_yield();
	return status;
}

static inline uint64_t slot_run(unsigned command, uint64_t source, uint64_t destination,
				uint64_t length)
{
	slot_start(command, source, destination, length);
	return slot_end();
}

#define REFUSED (DMA_TEST_FAILED | DMA_TEST_ERROR_REFUSED << DMA_TEST_STATUS_SHIFT)

/* ---- the machine ---- */

static inline void slot_wanted(void *opaque)
{
	++*(unsigned *)opaque;
	event_loop_stop(loop);
}

static unsigned wanted;

static inline int slot_plug(struct vfio_device_config config)
{
	struct vfio_io io;

	if (!config.io) {
		cr_assert_eq(soft_vfio_new(vfio_ctx, &io), 0);
		config.io = &io;
	}
	config.path = "soft";
	config.fd = -1;
	config.loop = loop;
	config.sink = &route_sink;
	config.root = root;
	config.window = &slot_window;
	config.devfn = SLOT_DEVFN;
	config.wanted = slot_wanted;
	config.opaque = &wanted;
	return vfio_device_new(host, &config, &assigned);
}

/* A machine with the soft context IOMMUFD for its devices. */
static inline void machine_new(struct iommufd *iommufd, const struct guest_memory *gm)
{
	static const struct pci_windows windows = {.ecam_base = SLOT_ECAM,
						   .buses = 1,
						   .mem32_base = SLOT_BAR,
						   .mem32_size = 0x1000000};

	vfio_ctx = iommufd;
	bus_init(&mmio);
	bus_init(&pio);
	cr_assert_eq(pci_root_new(&root, &mmio, &pio, &windows), 0);
	cr_assert_eq(event_loop_new(EVENT_LOOP_POLL, &loop), 0);
	cr_assert_eq(vfio_host_new(iommufd, gm, &host), 0);
}

static inline void machine_end(void)
{
	vfio_device_free(assigned);
	vfio_host_free(host);
	event_loop_free(loop);
	pci_root_free(root);
	cr_expect_eq(routes, 0);
	cr_expect_eq(windows_shown, 0);
}

#endif
