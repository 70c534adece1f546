/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel's iommufd that has all of AMD's vIOMMU: the soft transport's model of the hardware, with
 * a VF page to map, and a table of what fails. Every call to the kernel, VFIO and KVM is a step
 * that can be made to fail.
 */
#ifndef VIOMMU_HW_KERNEL_H
#define VIOMMU_HW_KERNEL_H

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/amd_iommu/internal.h"
#include "iommufd/soft.h"

#define COMMAND_NR 0x9f
#define VF_OFFSET  UINT64_C(0x7000)
#define GPA	   UINT64_C(0xfed80000)
#define RAM	   UINT64_C(0x800000)
#define DEVICES	   2u

/* Steps that are no iommufd call. */
#define STEP_MMAP   0x100u
#define STEP_WINDOW 0x101u /* a KVM memory slot */
#define STEP_ATTACH 0x102u /* VFIO ATTACH */

struct kernel_device {
	struct viommu_hw_device hw;
	uint32_t pt;
};

static struct {
	struct iommufd ctx;
	struct iommufd *soft;
	int fd;
	void *page; /* mapped, or NULL */
	uint64_t window_gpa;
	void *window_host;
	uint32_t viommu;
	uint64_t vf_offset;
	/* Steps so far, and which of them fails: the NTH of all, or of kind FAIL_STEP if not 0. */
	unsigned steps, step[0x200];
	unsigned fail_step, fail_nth;
	int fail_rc;
	bool failed;
	unsigned failed_step;
	/* SETs that came through */
	unsigned sets;
	uint64_t reg[0x4000 / 8];
} kernel;

static struct guest_memory memory;
static struct guest_trap *trap;
static uint32_t ram, closed;
static struct kernel_device devices[DEVICES];
static struct viommu_hw_device *device_list[DEVICES];

/* Whether STEP is the one that fails. */
static bool fails(unsigned step)
{
	unsigned n = kernel.fail_step ? kernel.step[step] : kernel.steps;

	kernel.steps++;
	kernel.step[step]++;
	if (!kernel.fail_rc || n != kernel.fail_nth ||
	    (kernel.fail_step && kernel.fail_step != step))
		return false;
	kernel.failed = true;
	kernel.failed_step = step;
	return true;
}

static int kernel_call(struct iommufd *ctx, unsigned nr, void *arg)
{
	struct iommu_viommu_command *command = arg;
	struct iommu_viommu_alloc *viommu = arg;
	int rc;

	(void)ctx;
	if (nr == IOMMUFD_CMD_DESTROY) {
		/* A mapped page holds its vIOMMU. */
		if (((struct iommu_destroy *)arg)->id == kernel.viommu && kernel.page) {
			unsigned char core;

			if (!mincore(kernel.page, GUEST_PAGE_SIZE, &core))
				return -EBUSY;
			kernel.page = NULL;
		}
		return iommufd_call(kernel.soft, nr, arg);
	}
	if (fails(nr))
		return kernel.fail_rc;
	rc = iommufd_call(kernel.soft, nr == COMMAND_NR ? IOMMUFD_CMD_VIOMMU_COMMAND : nr, arg);
	if (rc)
		return rc;
	if (nr == IOMMUFD_CMD_VIOMMU_ALLOC) {
		struct iommu_viommu_amd *data = (void *)(uintptr_t)viommu->data_uptr;

		kernel.viommu = viommu->out_viommu_id;
		data->out_vfmmio_mmap_offset = kernel.vf_offset;
	} else if (nr == COMMAND_NR && command->op == IOMMU_VIOMMU_COMMAND_OP_SET) {
		kernel.sets++;
		kernel.reg[command->index / 8] = command->val64;
	}
	return 0;
}

static int kernel_fd(const struct iommufd *ctx)
{
	(void)ctx;
	return kernel.fd;
}

static int kernel_mmap(struct iommufd *ctx, uint64_t offset, size_t length, void **va)
{
	(void)ctx;
	if (fails(STEP_MMAP))
		return kernel.fail_rc;
	if (offset != VF_OFFSET || length != GUEST_PAGE_SIZE)
		return -ENXIO;
	kernel.page =
		mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(kernel.page, MAP_FAILED);
	*va = kernel.page;
	return 0;
}

static const struct iommufd_transport kernel_transport = {
	.call = kernel_call, .fd = kernel_fd, .mmap = kernel_mmap};

static int window_add(struct guest_window *w, uint64_t gpa, uint64_t size, void *host)
{
	(void)w;
	if (fails(STEP_WINDOW))
		return kernel.fail_rc;
	cr_assert_eq(size, GUEST_PAGE_SIZE);
	kernel.window_gpa = gpa;
	kernel.window_host = host;
	return 0;
}

static int window_remove(struct guest_window *w, uint64_t gpa)
{
	(void)w;
	cr_assert_eq(gpa, kernel.window_gpa);
	kernel.window_host = NULL;
	return 0;
}

static int window_trap(struct guest_window *w, struct guest_trap *t)
{
	(void)w;
	trap = t;
	if (t)
		t->armed(t, 0);
	return 0;
}

static const struct guest_window_ops window_ops = {
	.memory_add = window_add, .memory_remove = window_remove, .trap = window_trap};
static struct guest_window guest = {.ops = &window_ops};

static int attach(struct viommu_hw_device *hw, uint32_t pt_id)
{
	struct kernel_device *d = container_of(hw, struct kernel_device, hw);
	int rc;

	if (fails(STEP_ATTACH))
		return kernel.fail_rc;
	rc = iommufd_soft_device_attach(kernel.soft, hw->dev_id, pt_id);
	if (!rc)
		d->pt = pt_id;
	return rc;
}

static unsigned objects(void)
{
	return to_soft(kernel.soft)->objects;
}

/* A context with RAM, an empty space, and devices attached to that: as the monitor has them. */
static void kernel_open(void)
{
	const struct amd_iommu_features features = {.efr = AMD_IOMMU_EFR_FULL & ~BIT(1),
						    .efr2 = AMD_IOMMU_EFR2_FULL};

	memset(&kernel, 0, sizeof(kernel));
	trap = NULL;
	memory.count = 1;
	memory.region[0] = (struct guest_region){.size = RAM, .fd = -1};
	memory.region[0].host =
		mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(memory.region[0].host, MAP_FAILED);
	cr_assert_eq(iommufd_open_soft_mode(&kernel.soft, &memory, IOMMUFD_SOFT_HWMODEL), 0);
	cr_assert_eq(iommufd_soft_set_hw(kernel.soft, &features, 8), 0);
	kernel.ctx.transport = &kernel_transport;
	kernel.ctx.viommu_command_nr = COMMAND_NR;
	kernel.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	kernel.vf_offset = VF_OFFSET;
	cr_assert_eq(iommufd_ioas_alloc(&kernel.ctx, &ram), 0);
	cr_assert_eq(iommufd_ioas_alloc(&kernel.ctx, &closed), 0);
	cr_assert_eq(iommufd_ioas_map(&kernel.ctx, ram, 0, memory.region[0].host, RAM,
				      IOMMUFD_PROT_READ | IOMMUFD_PROT_WRITE),
		     0);
	for (unsigned i = 0; i < DEVICES; i++) {
		devices[i] = (struct kernel_device){
			.hw = {.devid = (uint16_t)(0x10 + 8 * i), .attach = attach}, .pt = closed};
		cr_assert_eq(iommufd_soft_device_add(kernel.soft, &devices[i].hw.dev_id), 0);
		cr_assert_eq(iommufd_soft_device_attach(kernel.soft, devices[i].hw.dev_id, closed),
			     0);
		device_list[i] = &devices[i].hw;
	}
	kernel.steps = 0;
	memset(kernel.step, 0, sizeof(kernel.step));
}

static void kernel_close(void)
{
	iommufd_close(kernel.soft);
	close(kernel.fd);
	munmap(memory.region[0].host, RAM);
}

static int port_open(struct viommu_port **port, char why[VIOMMU_WHY_SIZE])
{
	const struct viommu_hw_config config = {
		.ctx = &kernel.ctx,
		.memory = &memory,
		.window = &guest,
		.why = why,
		.gpa = GPA,
		.ioas = ram,
		.closed = closed,
		.device = device_list,
		.devices = DEVICES,
	};
	struct amd_iommu_engine *engine = (void *)&kernel;
	int rc = viommu_hw_port_new(&config, port, &engine);

	cr_expect(rc || !engine, "hardware answers");
	return rc;
}

#endif
