// SPDX-License-Identifier: Apache-2.0
/* Vectors of an assigned device, against a kernel and a message sink of our own; and BAR areas. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/vfio/internal.h"

#define VECTORS 32u

struct msi_route {
	struct msi_msg msg;
	bool set;
	int fd;
};

static int kernel_fd[VECTORS]; /* 0: none */
static unsigned kernel_allocated, kernel_calls, kernel_starts, routes;
static bool kernel_dynamic, kernel_refuses;
static struct msi_route *last_route;

static int fake_ioctl(struct vfio_io *io, unsigned long request, void *arg)
{
	const struct vfio_irq_set *set = arg;
	int32_t fd;

	(void)io;
	cr_assert_eq(request, VFIO_DEVICE_SET_IRQS);
	cr_assert_eq(set->index, (uint32_t)VFIO_PCI_MSIX_IRQ_INDEX);
	kernel_calls++;
	if (!set->count) {
		memset(kernel_fd, 0, sizeof(kernel_fd));
		kernel_allocated = 0;
		return 0;
	}
	if (kernel_refuses)
		return 3; /* so many it could have had */
	cr_assert_leq(set->start + set->count, VECTORS);
	if (!kernel_allocated) {
		kernel_allocated = set->start + set->count;
		kernel_starts++;
	}
	for (unsigned i = 0; i < set->count; i++) {
		unsigned vector = set->start + i;

		if (vector >= kernel_allocated && !kernel_dynamic)
			return -EINVAL;
		memcpy(&fd, &set->data[i * sizeof(fd)], sizeof(fd));
		kernel_fd[vector] = fd < 0 ? 0 : fd;
	}
	return 0;
}

static const struct vfio_io_ops io_ops = {.ioctl = fake_ioctl};
static struct vfio_io io = {.ops = &io_ops, .fd = -1};

static int route_new(struct msi_sink *sink, int eventfd, struct msi_route **route)
{
	(void)sink;
	*route = calloc(1, sizeof(**route));
	cr_assert(*route);
	(*route)->fd = eventfd;
	last_route = *route;
	routes++;
	return 0;
}

static int route_set(struct msi_route *route, const struct msi_msg *msg)
{
	route->set = msg;
	if (msg)
		route->msg = *msg;
	return 0;
}

static void route_free(struct msi_route *route)
{
	routes--;
	free(route);
}

static const struct msi_sink_ops sink_ops = {
	.route_new = route_new,
	.route_set = route_set,
	.route_free = route_free,
};
static struct msi_sink sink = {.ops = &sink_ops};
static struct vfio_irqs irqs;
static const struct msi_msg msg = {.addr = 0xfee00000, .data = 0x41};

static void start(bool dynamic)
{
	kernel_dynamic = dynamic;
	cr_assert_eq(vfio_irqs_init(&irqs, &io, &sink, "test", VFIO_PCI_MSIX_IRQ_INDEX, VECTORS,
				    dynamic),
		     0);
}

static bool signalled(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

Test(vfio_irqs, set_up_when_first_unmasked)
{
	start(true);
	vfio_irqs_set(&irqs, 3, NULL);
	cr_assert_eq(kernel_calls, 0);
	cr_assert_eq(routes, 0);
	vfio_irqs_set(&irqs, 3, &msg);
	cr_assert_eq(kernel_starts, 1);
	cr_assert_eq(kernel_fd[3], irqs.vector[3].eventfd);
	cr_assert(last_route->set);
	cr_assert_eq(last_route->msg.data, 0x41);
	/* Added while the other is live. */
	vfio_irqs_set(&irqs, 9, &msg);
	cr_assert_eq(kernel_starts, 1);
	cr_assert_neq(kernel_fd[9], 0);
	cr_assert_neq(kernel_fd[3], 0);
	/* Masking and unmasking is the route's affair alone. */
	kernel_calls = 0;
	vfio_irqs_set(&irqs, 9, NULL);
	cr_assert_not(last_route->set);
	vfio_irqs_set(&irqs, 9, &msg);
	cr_assert(last_route->set);
	cr_assert_eq(kernel_calls, 0);
	vfio_irqs_set(&irqs, VECTORS, &msg); /* no such vector */
	cr_assert_eq(routes, 2);
	vfio_irqs_disable(&irqs);
	cr_assert_eq(kernel_allocated, 0);
	cr_assert_eq(routes, 0);
	vfio_irqs_set(&irqs, 1, &msg);
	cr_assert_neq(kernel_fd[1], 0);
	vfio_irqs_fini(&irqs);
	cr_assert_eq(kernel_allocated, 0);
	cr_assert_eq(routes, 0);
}

Test(vfio_irqs, kernel_that_cannot_add_is_restarted)
{
	start(false);
	vfio_irqs_set(&irqs, 4, &msg);
	vfio_irqs_set(&irqs, 2, &msg); /* within what it has */
	cr_assert_eq(kernel_starts, 1);
	cr_assert_not(signalled(irqs.vector[4].eventfd));
	vfio_irqs_set(&irqs, 7, &msg);
	cr_assert_eq(kernel_starts, 2);
	cr_assert_eq(kernel_fd[2], irqs.vector[2].eventfd);
	cr_assert_eq(kernel_fd[4], irqs.vector[4].eventfd);
	cr_assert_eq(kernel_fd[7], irqs.vector[7].eventfd);
	cr_assert_eq(kernel_fd[3], 0);
	/* What may have been lost is made good; what was not live yet is quiet. */
	cr_assert(signalled(irqs.vector[2].eventfd));
	cr_assert(signalled(irqs.vector[4].eventfd));
	cr_assert_not(signalled(irqs.vector[7].eventfd));
	vfio_irqs_fini(&irqs);
}

Test(vfio_irqs, a_host_without_vectors)
{
	start(true);
	kernel_refuses = true;
	vfio_irqs_set(&irqs, 0, &msg);
	cr_assert(irqs.said);
	cr_assert_not(irqs.vector[0].armed);
	kernel_refuses = false;
	vfio_irqs_set(&irqs, 0, &msg);
	cr_assert(irqs.vector[0].armed);
	vfio_irqs_fini(&irqs);
}

Test(vfio_areas, msix_pages_are_cut_out)
{
	struct vfio_area a[4] = {{.size = 0x4000}};

	/* QEMU's NVMe: table at 2000h, PBA at 3000h of 16 KiB. */
	cr_assert_eq(vfio_areas_exclude(a, 1, 4, 0x2000, 65 * 16), 2);
	cr_assert_eq(vfio_areas_exclude(a, 2, 4, 0x3000, 16), 1);
	cr_assert_eq(a[0].offset, 0);
	cr_assert_eq(a[0].size, 0x2000);

	a[0] = (struct vfio_area){.size = 0x8000};
	cr_assert_eq(vfio_areas_exclude(a, 1, 4, 0x2ff8, 16), 2); /* two pages in the middle */
	cr_assert_eq(a[0].size, 0x2000);
	cr_assert_eq(a[1].offset, 0x4000);
	cr_assert_eq(a[1].size, 0x4000);
	cr_assert_eq(vfio_areas_exclude(a, 2, 4, 0, 1), 2); /* the front of one */
	cr_assert_eq(a[0].offset, 0x1000);
	cr_assert_eq(vfio_areas_exclude(a, 2, 4, UINT32_MAX, 8), 2);
	cr_assert_eq(vfio_areas_exclude(a, 2, 4, 0, 0x8000), 0);

	a[0] = (struct vfio_area){.size = 0x8000};
	cr_assert_eq(vfio_areas_exclude(a, 1, 1, 0x2000, 1), 1); /* no room for the tail */
	cr_assert_eq(a[0].size, 0x2000);
}
