// SPDX-License-Identifier: Apache-2.0
/*
 * What this host's iommufd offers, found by using it. Each step undoes itself and says in one
 * clause what was tried and, where there is one, the remedy.
 *
 * VIOMMU_COMMAND needs care: Linux 7.3 has given its number to another call, and a kernel with the
 * patch as posted can be brought down by a bad object id or a vIOMMU of another type. So it is sent
 * with its own size only, on a real vIOMMU whose driver has shown that it knows the AMD type.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "iommufd/internal.h"
#include "iommufd/uapi.h"

#define PROBE_IOVA UINT64_C(0x100000)
#define PAGE	   ((size_t)4096)
#define CONTROL	   0x18

struct probing {
	struct iommufd *ctx;
	struct iommufd_probe *probe;
	uint32_t dev_id, ioas, hwpt, viommu;
	unsigned command_nr;
};

static const char *const ability_name[IOMMUFD_ABILITIES] = {
	[IOMMUFD_ABILITY_NODE] = "node",
	[IOMMUFD_ABILITY_IOAS] = "ioas",
	[IOMMUFD_ABILITY_MAP] = "map",
	[IOMMUFD_ABILITY_MAP_FILE] = "map-file",
	[IOMMUFD_ABILITY_COPY] = "copy",
	[IOMMUFD_ABILITY_HW_INFO] = "hw-info",
	[IOMMUFD_ABILITY_NEST_PARENT] = "nest-parent",
	[IOMMUFD_ABILITY_VIOMMU] = "viommu",
	[IOMMUFD_ABILITY_COMMAND] = "viommu-command",
};

const char *iommufd_ability_name(enum iommufd_ability ability)
{
	return (unsigned)ability < IOMMUFD_ABILITIES ? ability_name[ability] : "unknown";
}

__attribute__((format(printf, 5, 6))) static void say(struct iommufd_probe *probe,
						      enum iommufd_ability ability,
						      enum iommufd_verdict verdict, int rc,
						      const char *format, ...)
{
	va_list args;

	probe->ability[ability].verdict = verdict;
	probe->ability[ability].error = -rc;
	va_start(args, format);
	vsnprintf(probe->ability[ability].why, sizeof(probe->ability[ability].why), format, args);
	va_end(args);
}

static bool has(const struct probing *p, enum iommufd_ability ability)
{
	return p->probe->ability[ability].verdict == IOMMUFD_YES;
}

static void say_node_refused(struct iommufd_probe *probe, int rc)
{
	if (rc == -ENOENT)
		say(probe, IOMMUFD_ABILITY_NODE, IOMMUFD_NO, rc,
		    "/dev/iommu is missing: the kernel lacks CONFIG_IOMMUFD, or its module is not "
		    "loaded (modprobe iommufd)");
	else if (rc == -EACCES || rc == -EPERM)
		say(probe, IOMMUFD_ABILITY_NODE, IOMMUFD_NO, rc,
		    "/dev/iommu may not be opened by this user: run as root, or give the user read "
		    "and write access to it");
	else
		say(probe, IOMMUFD_ABILITY_NODE, IOMMUFD_NO, rc, "/dev/iommu does not open: %s",
		    strerror(-rc));
}

static void probe_ioas(struct probing *p)
{
	int rc = iommufd_ioas_alloc(p->ctx, &p->ioas);

	if (rc)
		say(p->probe, IOMMUFD_ABILITY_IOAS, IOMMUFD_NO, rc,
		    "IOAS_ALLOC failed: %s; is this really iommufd?", strerror(-rc));
	else
		say(p->probe, IOMMUFD_ABILITY_IOAS, IOMMUFD_YES, 0, "IOAS_ALLOC works");
}

static void probe_copy(struct probing *p)
{
	uint32_t dst;
	int rc = iommufd_ioas_alloc(p->ctx, &dst);

	if (!rc) {
		rc = iommufd_ioas_copy(p->ctx, dst, PROBE_IOVA, p->ioas, PROBE_IOVA, PAGE,
				       IOMMUFD_PROT_READ);
		iommufd_ioas_unmap(p->ctx, dst, 0, UINT64_MAX, NULL);
		iommufd_destroy(p->ctx, dst);
	}
	if (rc)
		say(p->probe, IOMMUFD_ABILITY_COPY, IOMMUFD_NO, rc, "IOAS_COPY failed: %s",
		    strerror(-rc));
	else
		say(p->probe, IOMMUFD_ABILITY_COPY, IOMMUFD_YES, 0, "a page was copied");
}

static void probe_map(struct probing *p)
{
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int rc = -ENOMEM;

	if (page != MAP_FAILED)
		rc = iommufd_ioas_map(p->ctx, p->ioas, PROBE_IOVA, page, PAGE,
				      IOMMUFD_PROT_READ | IOMMUFD_PROT_WRITE);
	if (rc) {
		say(p->probe, IOMMUFD_ABILITY_MAP, IOMMUFD_NO, rc, "IOAS_MAP of a page failed: %s",
		    strerror(-rc));
	} else {
		say(p->probe, IOMMUFD_ABILITY_MAP, IOMMUFD_YES, 0, "a page was mapped");
		probe_copy(p);
		iommufd_ioas_unmap(p->ctx, p->ioas, PROBE_IOVA, PAGE, NULL);
	}
	if (page != MAP_FAILED)
		munmap(page, PAGE);
}

static void probe_map_file(struct probing *p)
{
	int fd = memfd_create("iommufd-probe", MFD_CLOEXEC);
	int rc = fd < 0 || ftruncate(fd, (off_t)PAGE) ? -errno : 0;

	if (!rc)
		rc = iommufd_ioas_map_file(p->ctx, p->ioas, PROBE_IOVA, fd, 0, PAGE,
					   IOMMUFD_PROT_READ | IOMMUFD_PROT_WRITE);
	if (rc == -ENOTTY) {
		say(p->probe, IOMMUFD_ABILITY_MAP_FILE, IOMMUFD_NO, rc,
		    "the kernel has no IOAS_MAP_FILE: Linux 6.13 or later has; memory is mapped by "
		    "address instead");
	} else if (rc) {
		say(p->probe, IOMMUFD_ABILITY_MAP_FILE, IOMMUFD_NO, rc,
		    "IOAS_MAP_FILE of a memfd page failed: %s", strerror(-rc));
	} else {
		say(p->probe, IOMMUFD_ABILITY_MAP_FILE, IOMMUFD_YES, 0, "a memfd page was mapped");
		iommufd_ioas_unmap(p->ctx, p->ioas, PROBE_IOVA, PAGE, NULL);
	}
	if (fd >= 0)
		close(fd);
}

static void probe_hw_info(struct probing *p)
{
	struct iommu_hw_info_amd info = {0};
	uint32_t type = 0, len = sizeof(info);
	int rc = iommufd_hw_info(p->ctx, p->dev_id, &type, &info, &len, NULL);

	if (rc == -ENOENT) {
		say(p->probe, IOMMUFD_ABILITY_HW_INFO, IOMMUFD_NO, rc,
		    "device id %u is not bound to this iommufd", p->dev_id);
	} else if (rc) {
		say(p->probe, IOMMUFD_ABILITY_HW_INFO, IOMMUFD_NO, rc, "GET_HW_INFO failed: %s",
		    strerror(-rc));
	} else if (type == IOMMU_HW_INFO_TYPE_NONE) {
		say(p->probe, IOMMUFD_ABILITY_HW_INFO, IOMMUFD_NO, 0,
		    "the IOMMU driver says nothing of itself: an AMD one does with "
		    "CONFIG_AMD_IOMMU_IOMMUFD");
	} else if (type != IOMMU_HW_INFO_TYPE_AMD || len < sizeof(info)) {
		say(p->probe, IOMMUFD_ABILITY_HW_INFO, IOMMUFD_NO, 0,
		    "the device is behind an IOMMU of type %u, not AMD", type);
	} else {
		p->probe->efr = info.efr;
		p->probe->efr2 = info.efr2;
		say(p->probe, IOMMUFD_ABILITY_HW_INFO, IOMMUFD_YES, 0, "AMD, EFR %llx, EFR2 %llx",
		    (unsigned long long)info.efr, (unsigned long long)info.efr2);
	}
}

static void probe_nest_parent(struct probing *p)
{
	struct iommufd_hwpt_args args = {
		.flags = IOMMU_HWPT_ALLOC_NEST_PARENT, .dev_id = p->dev_id, .pt_id = p->ioas};
	int rc = iommufd_hwpt_alloc(p->ctx, &args, &p->hwpt);

	if (rc == -EOPNOTSUPP)
		say(p->probe, IOMMUFD_ABILITY_NEST_PARENT, IOMMUFD_NO, rc,
		    "HWPT_ALLOC(NEST_PARENT) is refused: it needs an IOMMU with GT (EFR bit 4), "
		    "GIO (EFR 48) and GCR3TRPMode (EFR2 3)");
	else if (rc)
		say(p->probe, IOMMUFD_ABILITY_NEST_PARENT, IOMMUFD_NO, rc,
		    "HWPT_ALLOC(NEST_PARENT) failed: %s", strerror(-rc));
	else
		say(p->probe, IOMMUFD_ABILITY_NEST_PARENT, IOMMUFD_YES, 0,
		    "a nest parent was allocated");
}

static void probe_viommu(struct probing *p)
{
	uint64_t vf_page;
	int rc = iommufd_viommu_alloc_amd(p->ctx, p->dev_id, p->hwpt, &p->viommu, &vf_page);

	if (rc == -EOPNOTSUPP || rc == -ENOTTY)
		say(p->probe, IOMMUFD_ABILITY_VIOMMU, IOMMUFD_NO, rc,
		    "VIOMMU_ALLOC of the AMD type is refused: the kernel needs an AMD vIOMMU "
		    "driver (CONFIG_AMD_IOMMU_IOMMUFD)");
	else if (rc)
		say(p->probe, IOMMUFD_ABILITY_VIOMMU, IOMMUFD_NO, rc,
		    "VIOMMU_ALLOC of the AMD type failed: %s", strerror(-rc));
	else
		say(p->probe, IOMMUFD_ABILITY_VIOMMU, IOMMUFD_YES, 0, "a vIOMMU was allocated%s",
		    vf_page ? ", with a VF page" : ", without a VF page");
}

static void probe_command(struct probing *p)
{
	struct iommu_viommu_command cmd = {
		.size = sizeof(cmd),
		.object_id = p->viommu,
		.op = IOMMU_VIOMMU_COMMAND_OP_GET,
		.index = CONTROL,
	};
	int rc = iommufd_call(p->ctx, p->command_nr, &cmd);

	if (rc)
		say(p->probe, IOMMUFD_ABILITY_COMMAND, IOMMUFD_NO, rc,
		    "VIOMMU_COMMAND as call %xh failed: %s; if the kernel has it elsewhere, give "
		    "--viommu-command-nr",
		    p->command_nr, strerror(-rc));
	else
		say(p->probe, IOMMUFD_ABILITY_COMMAND, IOMMUFD_YES, 0,
		    "VIOMMU_COMMAND as call %xh read the Control register", p->command_nr);
}

/* In order; each with the ability that must have been found before, and whether on a device. */
static const struct {
	enum iommufd_ability ability, needs;
	bool device;
	void (*run)(struct probing *p);
} step[] = {
	{IOMMUFD_ABILITY_IOAS, IOMMUFD_ABILITY_NODE, false, probe_ioas},
	{IOMMUFD_ABILITY_MAP, IOMMUFD_ABILITY_IOAS, false, probe_map},
	{IOMMUFD_ABILITY_MAP_FILE, IOMMUFD_ABILITY_IOAS, false, probe_map_file},
	{IOMMUFD_ABILITY_HW_INFO, IOMMUFD_ABILITY_IOAS, true, probe_hw_info},
	{IOMMUFD_ABILITY_NEST_PARENT, IOMMUFD_ABILITY_HW_INFO, true, probe_nest_parent},
	{IOMMUFD_ABILITY_VIOMMU, IOMMUFD_ABILITY_NEST_PARENT, true, probe_viommu},
	{IOMMUFD_ABILITY_COMMAND, IOMMUFD_ABILITY_VIOMMU, true, probe_command},
};

static void run_steps(struct probing *p)
{
	/* Copy is tried on what map has mapped. */
	say(p->probe, IOMMUFD_ABILITY_COPY, IOMMUFD_UNKNOWN, 0, "needs %s",
	    ability_name[IOMMUFD_ABILITY_MAP]);
	for (size_t i = 0; i < ARRAY_SIZE(step); i++) {
		if (has(p, IOMMUFD_ABILITY_NODE) && step[i].device && !p->dev_id)
			say(p->probe, step[i].ability, IOMMUFD_UNKNOWN, 0,
			    "needs a bound device: give a device to vfio-pci and name it");
		else if (!has(p, step[i].needs))
			say(p->probe, step[i].ability, IOMMUFD_UNKNOWN, 0, "needs %s",
			    ability_name[step[i].needs]);
		else
			step[i].run(p);
	}
	if (p->viommu)
		iommufd_destroy(p->ctx, p->viommu);
	if (p->hwpt)
		iommufd_destroy(p->ctx, p->hwpt);
	if (p->ioas)
		iommufd_destroy(p->ctx, p->ioas);
}

void iommufd_probe(struct iommufd *ctx, uint32_t dev_id, unsigned viommu_command_nr,
		   struct iommufd_probe *probe)
{
	struct probing p = {
		.ctx = ctx, .probe = probe, .dev_id = dev_id, .command_nr = viommu_command_nr};
	int rc = 0;

	memset(probe, 0, sizeof(*probe));
	if (!ctx) {
		p.dev_id = 0;
		rc = iommufd_open_kernel(&p.ctx, -1, viommu_command_nr);
	}
	if (rc)
		say_node_refused(probe, rc);
	else
		say(probe, IOMMUFD_ABILITY_NODE, IOMMUFD_YES, 0, "%s",
		    iommufd_is_soft(p.ctx) ? "the soft iommufd, in process" : "/dev/iommu opens");
	run_steps(&p);
	if (!ctx && !rc)
		iommufd_close(p.ctx);
}
