// SPDX-License-Identifier: Apache-2.0
/*
 * What iommufd costs on each transport: a VIOMMU_COMMAND there and back, mappings of 4 KiB, 2 MiB
 * and 1 GiB, and climbing the ladder of accel=.
 *
 *	iommufd [RUNS]
 *
 * The kernel's rows appear where /dev/iommu is. POSTERN_BENCH_VFIO names a VFIO device node: then
 * mappings go into its IOMMU's page tables too, and VIOMMU_COMMANDs (POSTERN_BENCH_COMMAND_NR) to a
 * vIOMMU of its IOMMU. Each row is the median of RUNS, and the least.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/amd_iommu/amd_viommu.h"
#include "devices/vfio/uapi.h"
#include "devices/vfio/vfio.h"
#include "iommufd/internal.h"
#include "iommufd/uapi.h"
#include "tests/bench/bench.h"

#define RW	   (IOMMUFD_PROT_READ | IOMMUFD_PROT_WRITE)
#define IOVA	   GIB
#define RAM_SIZE   GIB
#define VF_OFFSET  UINT64_C(0x7000)
#define REG_XT_PPR 0x178
#define COMMANDS   2000u
#define LADDER_NS  1e6

struct subject {
	const char *name;
	struct iommufd *ctx;
	struct guest_memory memory;
	uint32_t dev_id; /* 0: none */
	int node;
	unsigned runs;
};

static double ns[RUNS_MAX];

static void row(const struct subject *s, const char *what, double target)
{
	char name[64];

	snprintf(name, sizeof(name), "%s, %s", what, s->name);
	bench_print(name, ns, s->runs, target);
}

static void not_here(const struct subject *s, const char *what, int rc)
{
	char name[64];

	snprintf(name, sizeof(name), "%s, %s", what, s->name);
	printf("%-44s not here: %s\n", name, strerror(-rc));
}

/* ---- mappings ---- */

struct mapping {
	const char *map, *copy, *unmap;
	uint64_t size;
	unsigned count; /* of them a run */
};

static const struct mapping mappings[] = {
	{"IOAS_MAP 4K", "IOAS_COPY 4K", "IOAS_UNMAP 4K", 4 * KIB, 256},
	{"IOAS_MAP 2M", "IOAS_COPY 2M", "IOAS_UNMAP 2M", 2 * MIB, 16},
	{"IOAS_MAP 1G", "IOAS_COPY 1G", "IOAS_UNMAP 1G", GIB, 1},
};

/* Those of one run, each made IOAS; COPY: from FROM. */
static int map_all(const struct subject *s, const struct mapping *m, uint32_t ioas, uint8_t *va,
		   uint32_t from, double *each)
{
	const double start = now_ns();
	int rc = 0;

	for (unsigned i = 0; !rc && i < m->count; i++) {
		const uint64_t at = i * m->size;

		rc = va ? iommufd_ioas_map(s->ctx, ioas, IOVA + at, va + at, m->size, RW)
			: iommufd_ioas_copy(s->ctx, ioas, IOVA + at, from, IOVA + at, m->size, RW);
	}
	*each = (now_ns() - start) / m->count;
	return rc;
}

static double unmap_all(const struct subject *s, const struct mapping *m, uint32_t ioas)
{
	const double start = now_ns();

	for (unsigned i = 0; i < m->count; i++)
		iommufd_ioas_unmap(s->ctx, ioas, IOVA + i * m->size, m->size, NULL);
	return (now_ns() - start) / m->count;
}

/* An IOAS, with a page table of the device's IOMMU where there is a device. */
static int space_new(const struct subject *s, uint32_t *ioas, uint32_t *hwpt)
{
	struct iommufd_hwpt_args args = {.dev_id = s->dev_id};
	int rc = iommufd_ioas_alloc(s->ctx, ioas);

	*hwpt = 0;
	args.pt_id = *ioas;
	return rc || !s->dev_id ? rc : iommufd_hwpt_alloc(s->ctx, &args, hwpt);
}

static void space_free(const struct subject *s, uint32_t ioas, uint32_t hwpt)
{
	iommufd_ioas_unmap(s->ctx, ioas, 0, UINT64_MAX, NULL);
	if (hwpt)
		iommufd_destroy(s->ctx, hwpt);
	iommufd_destroy(s->ctx, ioas);
}

static void measure_mapping(const struct subject *s, const struct mapping *m)
{
	static double unmaps[RUNS_MAX], copies[RUNS_MAX];
	uint8_t *va = s->memory.region[0].host;
	uint32_t ioas, copy, hwpt, copy_hwpt;
	int rc = 0;

	check("IOAS", space_new(s, &ioas, &hwpt));
	check("IOAS", space_new(s, &copy, &copy_hwpt));
	for (unsigned run = 0; !rc && run < s->runs; run++) {
		rc = map_all(s, m, ioas, va, 0, &ns[run]);
		if (!rc)
			rc = map_all(s, m, copy, NULL, ioas, &copies[run]);
		unmap_all(s, m, copy);
		unmaps[run] = unmap_all(s, m, ioas);
	}
	if (rc) {
		not_here(s, m->map, rc);
	} else {
		row(s, m->map, 0);
		memcpy(ns, copies, sizeof(ns));
		row(s, m->copy, 0);
		memcpy(ns, unmaps, sizeof(ns));
		row(s, m->unmap, 0);
	}
	space_free(s, copy, copy_hwpt);
	space_free(s, ioas, hwpt);
}

/* ---- VIOMMU_COMMAND ---- */

/* Registers that do nothing but keep a value: what is measured is the way there. */
static void measure_command(const struct subject *s, uint16_t set, uint16_t get)
{
	struct iommufd_hwpt_args args = {.flags = IOMMU_HWPT_ALLOC_NEST_PARENT,
					 .dev_id = s->dev_id};
	static double gets[RUNS_MAX];
	uint32_t hwpt = 0, viommu = 0;
	uint64_t vf_page, value;
	int rc = s->dev_id ? iommufd_ioas_alloc(s->ctx, &args.pt_id) : -ENODEV;

	if (!rc)
		rc = iommufd_hwpt_alloc(s->ctx, &args, &hwpt);
	if (!rc)
		rc = iommufd_viommu_alloc_amd(s->ctx, s->dev_id, hwpt, &viommu, &vf_page);
	for (unsigned run = 0; !rc && run < s->runs; run++) {
		double start = now_ns();

		for (unsigned i = 0; !rc && i < COMMANDS; i++)
			rc = iommufd_viommu_command_get(s->ctx, viommu, get, &value);
		gets[run] = (now_ns() - start) / COMMANDS;
		start = now_ns();
		for (unsigned i = 0; !rc && i < COMMANDS; i++)
			rc = iommufd_viommu_command_set(s->ctx, viommu, set, 0);
		ns[run] = (now_ns() - start) / COMMANDS;
	}
	if (rc) {
		not_here(s, "VIOMMU_COMMAND", rc);
	} else {
		row(s, "VIOMMU_COMMAND SET", 0);
		memcpy(ns, gets, sizeof(ns));
		row(s, "VIOMMU_COMMAND GET", 0);
	}
	if (viommu)
		iommufd_destroy(s->ctx, viommu);
	if (hwpt)
		iommufd_destroy(s->ctx, hwpt);
	if (args.pt_id)
		iommufd_destroy(s->ctx, args.pt_id);
}

/* ---- the ladder ---- */

/* A kernel that has all of it: the model behind calls that the port takes for the kernel's. */
struct whole_kernel {
	struct iommufd ctx;
	struct iommufd *model;
	int fd;
};

static struct iommufd *model_of(const struct iommufd *ctx)
{
	return container_of(ctx, const struct whole_kernel, ctx)->model;
}

static int whole_call(struct iommufd *ctx, unsigned nr, void *arg)
{
	const struct iommu_viommu_alloc *alloc = arg;
	int rc = iommufd_call(model_of(ctx), nr, arg);

	if (!rc && nr == IOMMUFD_CMD_VIOMMU_ALLOC)
		((struct iommu_viommu_amd *)(uintptr_t)alloc->data_uptr)->out_vfmmio_mmap_offset =
			VF_OFFSET;
	return rc;
}

static int whole_fd(const struct iommufd *ctx)
{
	return container_of(ctx, const struct whole_kernel, ctx)->fd;
}

static int whole_mmap(struct iommufd *ctx, uint64_t offset, size_t length, void **va)
{
	(void)ctx;
	(void)offset;
	*va = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return *va == MAP_FAILED ? -errno : 0;
}

static int window_add(struct guest_window *w, uint64_t gpa, uint64_t size, void *host)
{
	(void)w, (void)gpa, (void)size, (void)host;
	return 0;
}

static int window_remove(struct guest_window *w, uint64_t gpa)
{
	(void)w, (void)gpa;
	return 0;
}

static int window_trap(struct guest_window *w, struct guest_trap *trap)
{
	(void)w, (void)trap;
	return 0;
}

static const struct iommufd_transport whole_transport = {
	.call = whole_call, .fd = whole_fd, .mmap = whole_mmap};
static const struct guest_window_ops window_ops = {
	.memory_add = window_add, .memory_remove = window_remove, .trap = window_trap};
static struct guest_window window = {.ops = &window_ops};

static struct whole_kernel *whole;

static int whole_attach(struct viommu_hw_device *device, uint32_t pt_id)
{
	return iommufd_soft_device_attach(whole->model, device->dev_id, pt_id);
}

static void measure_hw(struct subject *s)
{
	const struct amd_iommu_features features = {.efr = AMD_IOMMU_EFR_FULL & ~BIT(1),
						    .efr2 = AMD_IOMMU_EFR2_FULL};
	struct whole_kernel k = {
		.ctx = {.transport = &whole_transport,
			.viommu_command_nr = IOMMUFD_CMD_VIOMMU_COMMAND},
		.fd = open("/dev/null", O_RDONLY | O_CLOEXEC),
	};
	struct viommu_hw_device device = {.devid = 0x10, .attach = whole_attach};
	struct viommu_hw_device *list[] = {&device};
	struct viommu_hw_config config = {.ctx = &k.ctx,
					  .memory = &s->memory,
					  .window = &window,
					  .gpa = UINT64_C(0xfed80000),
					  .device = list,
					  .devices = 1};
	struct amd_iommu_engine *engine;
	struct viommu_port *port;

	whole = &k;
	check("model", iommufd_open_soft_mode(&k.model, &s->memory, IOMMUFD_SOFT_HWMODEL));
	check("model", iommufd_soft_set_hw(k.model, &features, 8));
	check("model", iommufd_soft_device_add(k.model, &device.dev_id));
	check("IOAS", iommufd_ioas_alloc(&k.ctx, &config.ioas));
	check("IOAS", iommufd_ioas_alloc(&k.ctx, &config.closed));
	check("attach", whole_attach(&device, config.closed));
	for (unsigned run = 0; run < s->runs; run++) {
		const double start = now_ns();

		check("hw", viommu_hw_port_new(&config, &port, &engine));
		ns[run] = now_ns() - start;
		port->ops->free(port);
	}
	row(s, "ladder: hw, a kernel that has all", LADDER_NS);
	iommufd_close(k.model);
	close(k.fd);
}

static void measure_soft(struct subject *s)
{
	const struct amd_iommu_features features = {.efr = AMD_IOMMU_EFR_FULL,
						    .efr2 = AMD_IOMMU_EFR2_FULL};

	for (unsigned run = 0; run < s->runs; run++) {
		const double start = now_ns();
		struct amd_iommu_engine *engine;
		struct viommu_port *port;
		struct iommufd *ctx;

		check("soft", iommufd_open_soft(&ctx, &s->memory));
		check("soft", iommufd_soft_set_hw(ctx, &features, 8));
		check("soft", viommu_iommufd_port_new(ctx, &features, &port, &engine));
		ns[run] = now_ns() - start;
		port->ops->free(port);
		iommufd_close(ctx);
	}
	row(s, "ladder: soft", LADDER_NS);
}

static int kernel_node;

static int kernel_attach(struct viommu_hw_device *device, uint32_t pt_id)
{
	struct vfio_uapi_attach attach = {.argsz = sizeof(attach), .pt_id = pt_id};

	(void)device;
	return ioctl(kernel_node, VFIO_UAPI_ATTACH, &attach) ? -errno : 0;
}

/* As far up as this kernel goes, and down again. */
static void measure_kernel_ladder(const struct subject *s)
{
	char why[VIOMMU_WHY_SIZE] = "";
	struct viommu_hw_device device = {
		.devid = 0x10, .dev_id = s->dev_id, .attach = kernel_attach};
	struct viommu_hw_device *list[] = {&device};
	struct viommu_hw_config config = {.ctx = s->ctx,
					  .memory = &s->memory,
					  .window = &window,
					  .why = why,
					  .gpa = UINT64_C(0xfed80000),
					  .device = list,
					  .devices = 1};
	struct amd_iommu_engine *engine;
	struct viommu_port *port;

	kernel_node = s->node;
	check("IOAS", iommufd_ioas_alloc(s->ctx, &config.ioas));
	check("IOAS", iommufd_ioas_alloc(s->ctx, &config.closed));
	check("attach", kernel_attach(&device, config.closed));
	for (unsigned run = 0; run < s->runs; run++) {
		const double start = now_ns();
		int rc = viommu_hw_port_new(&config, &port, &engine);

		ns[run] = now_ns() - start;
		if (!rc)
			port->ops->free(port);
	}
	row(s, "ladder: hw", LADDER_NS);
	if (why[0])
		printf("  up to %s\n", why);
}

/* ---- who is measured ---- */

static void memory_new(struct guest_memory *memory)
{
	void *ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (ram == MAP_FAILED)
		fail("memory", -errno);
	memory->count = 1;
	memory->region[0] = (struct guest_region){.size = RAM_SIZE, .host = ram, .fd = -1};
}

static void measure_mappings(const struct subject *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(mappings); i++)
		measure_mapping(s, &mappings[i]);
}

static void bench_soft(unsigned runs)
{
	struct subject s = {.name = "soft", .runs = runs};

	memory_new(&s.memory);
	check("soft", iommufd_open_soft(&s.ctx, &s.memory));
	check("soft", iommufd_soft_device_add(s.ctx, &s.dev_id));
	measure_command(&s, 0x20, 0x18);
	measure_mappings(&s);
	iommufd_close(s.ctx);
	measure_soft(&s);
	measure_hw(&s);
}

static void bench_kernel(unsigned runs)
{
	const char *node = getenv("POSTERN_BENCH_VFIO"), *nr = getenv("POSTERN_BENCH_COMMAND_NR");
	struct subject s = {
		.name = node ? "kernel" : "kernel, no device", .node = -1, .runs = runs};
	int rc = iommufd_open_kernel(
		&s.ctx, -1, nr ? (unsigned)strtoul(nr, NULL, 0) : IOMMUFD_CMD_VIOMMU_COMMAND);

	if (rc) {
		not_here(&s, "/dev/iommu", rc);
		return;
	}
	memory_new(&s.memory);
	if (node) {
		s.node = vfio_node_bind(node, iommufd_fd(s.ctx), &s.dev_id);
		if (s.node < 0)
			fail(node, s.node);
	}
	measure_command(&s, REG_XT_PPR, 0x18);
	measure_mappings(&s);
	if (node) {
		measure_kernel_ladder(&s);
		close(s.node);
	}
	iommufd_close(s.ctx);
}

int main(int argc, char **argv)
{
	const unsigned runs = bench_runs(argc, argv, 31, "iommufd [RUNS]");

	bench_soft(runs);
	bench_kernel(runs);
	return 0;
}
