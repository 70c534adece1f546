// SPDX-License-Identifier: Apache-2.0
/* Findings of postern doctor: VFIO device nodes and the ladder of iommufd's abilities. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/vfio/vfio.h"
#include "vmm/doctor.h"
#include "vmm/machine.h"

struct nodes {
	struct doctor *doctor;
	unsigned seen;
	int fd; /* of the first that could be bound, or -1 */
	uint32_t dev_id;
	struct iommufd *ctx; /* or NULL */
	char bound[64];
};

static void visit_node(void *opaque, const char *node, const char *bdf, int error)
{
	struct nodes *n = opaque;

	n->seen++;
	if (error) {
		doctor_report(n->doctor, "vfio-node", DOCTOR_NO,
			      error == EBUSY ? "another process uses it"
					     : "chown $USER it, or run as root",
			      "%s (%s): %s", node, bdf, strerror(error));
		return;
	}
	doctor_report(n->doctor, "vfio-node", DOCTOR_YES, NULL, "%s (%s)", node, bdf);
	if (n->fd >= 0 || !n->ctx)
		return;
	n->fd = vfio_node_bind(node, iommufd_fd(n->ctx), &n->dev_id);
	if (n->fd >= 0)
		snprintf(n->bound, sizeof(n->bound), "%s", bdf);
	else
		doctor_report(n->doctor, "vfio-bind", DOCTOR_NO, NULL, "%s: %s", bdf,
			      strerror(-n->fd));
}

static void check_vfio(struct doctor *d)
{
	struct nodes nodes = {.doctor = d, .fd = -1};
	const unsigned nr = doctor_command_nr(d);
	struct iommufd_probe probe;
	bool hw = false;

	if (iommufd_open_kernel(&nodes.ctx, -1, nr))
		nodes.ctx = NULL;
	vfio_nodes_visit(visit_node, &nodes);
	if (!nodes.seen)
		doctor_report(
			d, "vfio-node", DOCTOR_NO,
			"bind a device: echo vfio-pci > /sys/bus/pci/devices/BDF/driver_override; "
			"echo BDF > /sys/bus/pci/drivers_probe",
			"no /dev/vfio/devices/vfioN (CONFIG_VFIO_DEVICE_CDEV)");
	if (nodes.fd >= 0)
		doctor_report(d, "vfio-bind", DOCTOR_YES, NULL, "%s bound to iommufd", nodes.bound);
	iommufd_probe(nodes.ctx, nodes.fd >= 0 ? nodes.dev_id : 0, nr, &probe);
	for (int i = 0; i < IOMMUFD_ABILITIES; i++) {
		static const enum doctor_verdict verdicts[] = {
			[IOMMUFD_NO] = DOCTOR_NO,
			[IOMMUFD_YES] = DOCTOR_YES,
			[IOMMUFD_UNKNOWN] = DOCTOR_UNKNOWN,
		};

		doctor_report(d, iommufd_ability_name((enum iommufd_ability)i),
			      verdicts[probe.ability[i].verdict], NULL, "%s", probe.ability[i].why);
	}
	hw = probe.ability[IOMMUFD_ABILITY_COMMAND].verdict == IOMMUFD_YES;
	doctor_report(d, "viommu-command-nr", hw ? DOCTOR_YES : DOCTOR_UNKNOWN, NULL,
		      "0x%x was tried; --viommu-command-nr changes it", nr);
	doctor_report(d, "viommu-accel", DOCTOR_YES, NULL,
		      "soft: VIOMMU_COMMANDs go to the iommufd inside postern%s",
		      hw ? "; forward: and to the kernel's vIOMMU too" : "");
	if (nodes.fd >= 0)
		close(nodes.fd);
	if (nodes.ctx)
		iommufd_close(nodes.ctx);
}

static const struct doctor_section vfio_section = {"iommufd and VFIO", 3, check_vfio};
DOCTOR_SECTION(vfio_section);
