// SPDX-License-Identifier: Apache-2.0
/*
 * How the port on the hardware ABI comes to be: step by step, each the use of one ability.
 *
 * On a kernel's iommufd what the guest will need later is used here too (queues, a nested page
 * table, the device attached to it), for a kernel that has an ability by its number may lack it in
 * its driver, and once the guest runs there is no way down.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "devices/amd_iommu/hw.h"
#include "iommufd/uapi.h"
#include "postern/log.h"

/*
 * What hardware does for a guest that the kernel knows of (uapi, struct iommu_hw_info_amd): GTSup,
 * GASup, GATS, GLXSup, PASmax, GIoSup, EPHSup. No PPRSup, as nothing here answers page requests; no
 * XTSup, as interrupts are not remapped.
 */
#define EFR_GT	BIT(4)
#define EFR_GIO BIT(48)
#define EFR_SHOWN                                                                                  \
	(EFR_GT | BIT(7) | GENMASK(13, 12) | GENMASK(15, 14) | GENMASK(36, 32) | EFR_GIO | BIT(50))
#define EFR_GLX	   GENMASK(15, 14)
#define GLX_LEVELS 1u /* 3 levels are reserved to nested entries */

#define QUEUE_BYTES UINT64_C(4096)

/* A guest entry that any unit can nest: V, TV, GV, IR, IW, one level of GCR3 table at the second
 * page of RAM, domain 1. */
#define TRIAL_DTE0 (BIT(0) | BIT(1) | BIT(55) | BIT(61) | BIT(62))
#define TRIAL_DTE1 UINT64_C(1)
#define DTE0_GCR3  GENMASK(60, 58) /* 14:12 */
#define DTE1_GCR3  GENMASK(31, 16) /* 30:15 */

/* ---- objects ---- */

static int hw_info(struct hw_port *hw, struct iommu_hw_info_amd *info)
{
	uint32_t type = IOMMU_HW_INFO_TYPE_NONE, len = sizeof(*info);
	int rc = iommufd_hw_info(hw->ctx, hw->dev_id, &type, info, &len, NULL);

	if (!rc && (type != IOMMU_HW_INFO_TYPE_AMD || len < sizeof(*info)))
		rc = -EOPNOTSUPP;
	return rc;
}

static int ask_unit(struct hw_port *hw)
{
	struct iommu_hw_info_amd info = {0};

	return hw_info(hw, &info);
}

/* What the guest may be shown of the unit that is there. */
static int choose_features(struct hw_port *hw)
{
	struct iommu_hw_info_amd info = {0};
	uint64_t glx;
	int rc = hw_info(hw, &info);

	if (rc)
		return rc;
	if (~info.efr & (EFR_GT | EFR_GIO))
		return -EOPNOTSUPP;
	hw->port.features.efr = info.efr & EFR_SHOWN;
	glx = FIELD_GET(EFR_GLX, info.efr);
	if (glx > GLX_LEVELS)
		hw->port.features.efr =
			(hw->port.features.efr & ~EFR_GLX) | FIELD_PREP(EFR_GLX, GLX_LEVELS);
	return 0;
}

/* A soft device stands in for an assigned one that is bound to the context. */
static int stand_in(struct hw_port *hw)
{
	return iommufd_soft_device_add(hw->ctx, &hw->dev_id);
}

static int alloc_spaces(struct hw_port *hw)
{
	int rc = iommufd_ioas_alloc(hw->ctx, &hw->ioas);

	return rc ? rc : iommufd_ioas_alloc(hw->ctx, &hw->closed);
}

/* All of RAM, at the addresses that the guest knows it by. */
static int map_ram(struct hw_port *hw)
{
	for (unsigned i = 0; i < hw->memory->count; i++) {
		const struct guest_region *r = &hw->memory->region[i];
		int rc = iommufd_ioas_map(hw->ctx, hw->ioas, r->gpa, r->host, r->size,
					  IOMMUFD_PROT_READ | IOMMUFD_PROT_WRITE);

		if (rc)
			return rc;
	}
	return 0;
}

static int alloc_stage2(struct hw_port *hw)
{
	const struct iommufd_hwpt_args args = {
		.flags = IOMMU_HWPT_ALLOC_NEST_PARENT, .dev_id = hw->dev_id, .pt_id = hw->ioas};

	return iommufd_hwpt_alloc(hw->ctx, &args, &hw->stage2);
}

static int alloc_viommu(struct hw_port *hw)
{
	return iommufd_viommu_alloc_amd(hw->ctx, hw->dev_id, hw->stage2, &hw->viommu,
					&hw->vf_offset);
}

/* ---- abilities of a kernel ---- */

/*
 * GET first: it tells the call from another one with its number, and changes nothing. What is set
 * is what a unit has that was just allocated.
 */
static int try_command(struct hw_port *hw)
{
	uint64_t value;
	uint16_t index;
	int rc = iommufd_viommu_command_get(hw->ctx, hw->viommu, REG_CONTROL, &value);

	return rc ? rc : hw_registers_clear(hw, &index);
}

/* Those that guests get here. None runs: in Control all are off. */
static int try_queues(struct hw_port *hw)
{
	static const enum viommu_queue tried[] = {VIOMMU_QUEUE_COMMAND, VIOMMU_QUEUE_EVENT};
	uint32_t id[ARRAY_SIZE(tried)] = {0};
	int rc = 0;

	for (size_t i = 0; !rc && i < ARRAY_SIZE(tried); i++)
		rc = iommufd_hw_queue_alloc(hw->ctx, hw->viommu, hw_queue_kind[tried[i]].type, 0,
					    hw->memory->region[0].gpa + i * QUEUE_BYTES,
					    QUEUE_BYTES, &id[i]);
	for (size_t i = 0; i < ARRAY_SIZE(tried); i++) {
		if (id[i])
			iommufd_destroy(hw->ctx, id[i]);
	}
	return rc;
}

static int map_vf_page(struct hw_port *hw)
{
	void *page;
	int rc;

	if (!hw->vf_offset)
		return -EOPNOTSUPP;
	rc = iommufd_mmap(hw->ctx, hw->vf_offset, GUEST_PAGE_SIZE, &page);
	if (rc)
		return rc;
	hw->vf_page = page;
	rc = guest_window_memory_add(hw->window, hw->vf_gpa, GUEST_PAGE_SIZE, page);
	hw->vf_shown = !rc;
	return rc;
}

/* With every device: it is quiet, and RAM holds no GCR3 table yet that it could follow. */
static int try_nesting(struct hw_port *hw)
{
	const uint64_t gcr3 = hw->memory->region[0].gpa + GUEST_PAGE_SIZE;
	const uint64_t dte[4] = {TRIAL_DTE0 | FIELD_PREP(DTE0_GCR3, gcr3 >> 12),
				 TRIAL_DTE1 | FIELD_PREP(DTE1_GCR3, gcr3 >> 15)};
	static const uint64_t none[4];
	int rc = 0;

	pthread_mutex_lock(&hw->lock);
	for (struct viommu_hw_device *d = hw->devices; !rc && d; d = d->next) {
		rc = hw_attach(hw, d, VIOMMU_HW_NESTED, dte);
		if (!rc)
			rc = hw_attach(hw, d, VIOMMU_HW_BYPASS, none);
	}
	atomic_store(&hw->attaches, 0);
	atomic_store(&hw->nested, 0);
	pthread_mutex_unlock(&hw->lock);
	return rc;
}

/* ---- the steps ---- */

enum who { BOTH, SOFT, KERNEL };

static const struct step {
	const char *what;
	int (*run)(struct hw_port *hw); /* NULL: the devices are added */
	enum who who;
	const char *takes; /* where the answer is that there is no such thing */
} steps[] = {
	{"a device of the model", stand_in, SOFT, "a soft iommufd"},
	{"GET_HW_INFO", ask_unit, BOTH,
	 "an AMD IOMMU, whose driver tells of it (CONFIG_AMD_IOMMU_IOMMUFD)"},
	{"IOAS_ALLOC", alloc_spaces, SOFT, "iommufd"},
	{"IOAS_MAP of guest memory", map_ram, SOFT, "iommufd"},
	{"HWPT_ALLOC(NEST_PARENT)", alloc_stage2, BOTH,
	 "an IOMMU with GT, GIO (EFR bits 4, 48) and GCR3TRPMode (EFR2 bit 3)"},
	{"VIOMMU_ALLOC of the AMD type", alloc_viommu, BOTH,
	 "a kernel whose AMD IOMMU driver has vIOMMUs"},
	{"VIOMMU_COMMAND", try_command, KERNEL,
	 "a kernel that has it under the number of --viommu-command-nr"},
	{"VDEVICE_ALLOC and attaching to the nest parent", NULL, KERNEL,
	 "devices that are all behind one IOMMU of the host"},
	{"HW_QUEUE_ALLOC", try_queues, KERNEL,
	 "a kernel whose AMD IOMMU driver has hardware queues"},
	{"mapping the VF page", map_vf_page, KERNEL,
	 "a vIOMMU that has one, which is an IOMMU with vIOMMUSup (EFR bit 55)"},
	{"guest page tables", choose_features, BOTH, "an IOMMU with GT and GIO (EFR bits 4, 48)"},
	{"HWPT_ALLOC(AMD_GUEST) and attaching to it", try_nesting, KERNEL,
	 "a kernel whose AMD IOMMU driver nests page tables"},
};

/* "There is no such thing", in what iommufd and its drivers say for it. */
static bool is_absent(int rc)
{
	return rc == -EOPNOTSUPP || rc == -ENOTTY || rc == -EINVAL || rc == -ENXIO;
}

static int add_devices(struct hw_port *hw, const struct viommu_hw_config *config)
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < config->devices; i++)
		rc = viommu_hw_device_add(&hw->port, config->device[i]);
	return rc;
}

static int start(struct hw_port *hw, const struct viommu_hw_config *config,
		 const struct step **failed)
{
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		const struct step *step = &steps[i];
		int rc;

		if (step->who == (hw->kernel ? SOFT : KERNEL))
			continue;
		rc = step->run ? step->run(hw) : add_devices(hw, config);
		if (rc) {
			*failed = step;
			return rc;
		}
	}
	return 0;
}

int viommu_hw_port_new(const struct viommu_hw_config *config, struct viommu_port **port,
		       struct amd_iommu_engine **engine)
{
	const struct step *failed = NULL;
	char why[VIOMMU_WHY_SIZE];
	struct hw_port *hw;
	int rc;

	if (!iommufd_is_soft(config->ctx) && (!config->devices || !config->memory->count))
		return -EINVAL;
	hw = hw_port_alloc(config);
	if (!hw)
		return -ENOMEM;
	rc = start(hw, config, &failed);
	if (!rc) {
		*engine = hw->kernel ? NULL : iommufd_soft_viommu_engine(hw->ctx, hw->viommu);
		*port = &hw->port;
		return 0;
	}
	snprintf(why, sizeof(why), "%s: %s%s%s", failed->what, strerror(-rc),
		 is_absent(rc) ? "; it takes " : "", is_absent(rc) ? failed->takes : "");
	if (config->why)
		memcpy(config->why, why, sizeof(why));
	else
		log_error("vIOMMU by the hardware ABI: %s; --viommu amd,accel=soft needs less",
			  why);
	hw->port.ops->free(&hw->port);
	return rc;
}
