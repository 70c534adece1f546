// SPDX-License-Identifier: Apache-2.0
/*
 * What each operation of the vIOMMU costs postern itself, in nanoseconds: registers through the
 *bus, the front end and a VIOMMU_COMMAND, as a vCPU thread has them served after its exit;
 *translations and messages as a device's thread asks for them.
 *
 *	viommu [RUNS]
 *
 * Each row is the median of RUNS runs of thousands of operations, and the least of them. A target
 * stands beside a row that has one; a miss is said and nothing fails.
 */
#include <errno.h>
#include <sys/mman.h>

#include "devices/amd_iommu/amd_viommu.h"
#include "postern/dma_space.h"
#include "tests/bench/bench.h"

#define RAM_SIZE    (64 * MIB)
#define WINDOW	    UINT64_C(0xfeb80000)
#define UNIT_ID	    0x10
#define DEV	    0x28 /* with host (v1) tables of MODE levels */
#define DOMAIN	    7u
#define DEVTAB	    UINT64_C(0x100000)
#define RING	    UINT64_C(0x200000)
#define LOG	    UINT64_C(0x210000)
#define IRT	    UINT64_C(0x220000)
#define SEM	    UINT64_C(0x230000)
#define GCR3	    UINT64_C(0x231000)
#define TABLES	    UINT64_C(0x300000) /* page tables, one after another */
#define PAGES	    UINT64_C(0x1000000)
#define IOVA	    UINT64_C(0x10000000)
#define RING_LOG2   9
#define MSI_INDEX   5
#define MSI_REFUSED 6

/* As many pages as never stay together in an IOTLB of 512 entries, however its entries are chosen.
 */
#define MISS_PAGES 4096u
#define HIT_PAGES  16u

struct subject {
	struct guest_memory memory;
	struct bus mmio, pio;
	struct pci_root *root;
	struct iommufd *ctx;
	struct amd_iommu_engine *engine;
	struct amd_viommu *viommu;
	struct msi_sink sink;
	struct dma_space *space;
	uint64_t next_table, tail, sequence, at;
};

struct row {
	const char *name;
	unsigned count; /* operations a run */
	void (*operation)(struct subject *s);
	unsigned levels;
	bool guest;    /* v2 tables */
	double target; /* ns, or 0 */
	int hits;      /* of its translations must hit: 1 all, 0 none, -1 not a translation */
};

static void put(struct subject *s, uint64_t gpa, uint64_t value)
{
	check("guest memory", guest_memory_store64(&s->memory, gpa, value));
}

static void reg_set(struct subject *s, uint64_t offset, uint64_t value)
{
	check("register", bus_write(&s->mmio, WINDOW + offset, 8, value));
}

/* ---- the guest's structures ---- */

/* Tables of LEVELS that map COUNT pages from IOVA on; v1 entries, or v2 where GUEST. */
static uint64_t tables_build(struct subject *s, unsigned levels, bool guest, unsigned count)
{
	const uint64_t rw = guest ? 0x7 : BIT(61) | BIT(62) | 1;
	const uint64_t root = s->next_table;

	s->next_table += 0x1000;
	for (unsigned i = 0; i < count; i++) {
		const uint64_t iova = IOVA + i * GUEST_PAGE_SIZE;
		uint64_t table = root;

		for (unsigned level = levels; level > 1; level--) {
			uint64_t at = table + (iova >> (12 + 9 * (level - 1)) & 511) * 8, entry = 0;

			check("page table", guest_memory_load64(&s->memory, at, &entry));
			if (!entry) {
				entry = s->next_table | rw |
					(guest ? 0 : (uint64_t)(level - 1) << 9);
				s->next_table += 0x1000;
				put(s, at, entry);
			}
			table = entry & GENMASK(51, 12);
		}
		put(s, table + (iova >> 12 & 511) * 8,
		    (PAGES + i * GUEST_PAGE_SIZE) | rw | (guest ? 0 : BIT(60)));
	}
	return root;
}

static void device_set(struct subject *s, unsigned levels, bool guest)
{
	const uint64_t dte = DEVTAB + DEV * 32, rw = BIT(61) | BIT(62);
	uint64_t root;

	memset(s->memory.region[0].host + TABLES, 0, PAGES - TABLES);
	s->next_table = TABLES;
	root = tables_build(s, levels, guest, MISS_PAGES);
	/* IV, IntTabLen, IntCtl; GuestPagingMode */
	put(s, dte + 16,
	    1 | 9 << 1 | IRT | UINT64_C(2) << 60 | (guest ? (uint64_t)(levels - 4) << 54 : 0));
	if (guest) {
		put(s, GCR3, root | 1);
		put(s, dte + 8, DOMAIN | (GCR3 >> 15 & 0xffff) << 16 | GCR3 >> 31 << 43);
		put(s, dte, 3 | rw | BIT(54) | BIT(55) | (GCR3 >> 12 & 7) << 58);
	} else {
		put(s, dte + 8, DOMAIN);
		put(s, dte, 3 | rw | (uint64_t)levels << 9 | root);
	}
}

/* ---- operations ---- */

static void ring(struct subject *s, unsigned commands)
{
	s->tail = (s->tail + commands * 16) % (UINT64_C(16) << RING_LOG2);
	reg_set(s, 0x2008, s->tail);
}

static void command(struct subject *s, unsigned ahead, uint64_t word0, uint64_t word1)
{
	const uint64_t at = (s->tail + ahead * 16) % (UINT64_C(16) << RING_LOG2);

	put(s, RING + at, word0);
	put(s, RING + at + 8, word1);
}

static void invalidate_and_wait(struct subject *s)
{
	uint64_t seen = 0;

	s->at = (s->at + 1) % HIT_PAGES;
	command(s, 0, UINT64_C(3) << 60 | (uint64_t)DOMAIN << 32, IOVA + s->at * GUEST_PAGE_SIZE);
	command(s, 1, UINT64_C(1) << 60 | SEM | 1, ++s->sequence);
	ring(s, 2);
	guest_memory_load64(&s->memory, SEM, &seen);
	if (seen != s->sequence)
		fail("the COMPLETION_WAIT did not store", -EIO);
}

static void wait_alone(struct subject *s)
{
	command(s, 0, UINT64_C(1) << 60 | SEM | 1, ++s->sequence);
	ring(s, 1);
}

static void register_read(struct subject *s)
{
	uint64_t value;

	bus_read(&s->mmio, WINDOW + 0x2020, 4, &value);
}

static void register_read_shadow(struct subject *s)
{
	uint64_t value;

	bus_read(&s->mmio, WINDOW + 0x18, 8, &value);
}

static void register_write(struct subject *s)
{
	bus_write(&s->mmio, WINDOW + 0x2010, 4, 0);
}

static void translate(struct subject *s, unsigned pages)
{
	struct dma_segment segment;

	s->at = (s->at + 1) % pages;
	if (dma_space_map(s->space, IOVA + s->at * GUEST_PAGE_SIZE, 64, DMA_READ | DMA_WRITE,
			  &segment, 1) != 1)
		fail("translation", -EFAULT);
}

static void translate_hit(struct subject *s)
{
	translate(s, HIT_PAGES);
}

static void translate_miss(struct subject *s)
{
	translate(s, MISS_PAGES);
}

static void remap(struct subject *s)
{
	const struct msi_msg in = {.addr = 0xfee00000, .data = MSI_INDEX};
	struct msi_msg out;

	check("message", amd_iommu_engine_remap(s->engine, DEV, &in, &out, true));
}

static void remap_refused(struct subject *s)
{
	const struct msi_msg in = {.addr = 0xfee00000, .data = MSI_REFUSED};
	struct msi_msg out;

	if (amd_iommu_engine_remap(s->engine, DEV, &in, &out, false) != -EACCES)
		fail("a message that must be refused", -EIO);
}

static const struct row rows[] = {
	{"register read, Control (shadow)", 20000, register_read_shadow, 4, false, 0, -1},
	{"register read, Status (VIOMMU_COMMAND)", 20000, register_read, 4, false, 0, -1},
	{"register write, event log head", 20000, register_write, 4, false, 0, -1},
	{"COMPLETION_WAIT", 20000, wait_alone, 4, false, 0, -1},
	{"INVALIDATE_IOMMU_PAGES, COMPLETION_WAIT", 20000, invalidate_and_wait, 4, false, 1000, -1},
	{"translation, IOTLB hit", 200000, translate_hit, 4, false, 20, 1},
	{"translation, miss, 3 levels", 50000, translate_miss, 3, false, 0, 0},
	{"translation, miss, 4 levels", 50000, translate_miss, 4, false, 150, 0},
	{"translation, miss, 5 levels", 50000, translate_miss, 5, false, 0, 0},
	{"translation, miss, 4 levels of v2", 50000, translate_miss, 4, true, 0, 0},
	{"translation, miss, 5 levels of v2", 50000, translate_miss, 5, true, 0, 0},
	{"message, 128-bit IRTE (none is cached)", 50000, remap, 4, false, 0, -1},
	{"message, IRTE not enabled", 50000, remap_refused, 4, false, 0, -1},
};

/* ---- the unit ---- */

static int sink_send(struct msi_sink *sink, const struct msi_msg *msg)
{
	(void)sink;
	(void)msg;
	return 0;
}

static const struct msi_sink_ops sink_ops = {.send = sink_send};

static void subject_open(struct subject *s)
{
	static const struct pci_windows windows = {.ecam_base = 0xe0000000,
						   .buses = 1,
						   .mem32_base = 0xc0000000,
						   .mem32_size = 0x10000000};
	const struct amd_iommu_features features = {.efr = AMD_IOMMU_EFR_FULL,
						    .efr2 = AMD_IOMMU_EFR2_FULL};
	struct amd_viommu_config config = {
		.window = WINDOW, .mmio = &s->mmio, .devfn = UNIT_ID, .sink = &s->sink};
	void *ram =
		mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (ram == MAP_FAILED)
		fail("memory", -errno);
	s->memory.count = 1;
	s->memory.region[0] = (struct guest_region){.size = RAM_SIZE, .host = ram, .fd = -1};
	s->sink = (struct msi_sink){.ops = &sink_ops, .devid = UNIT_ID};
	bus_init(&s->mmio);
	bus_init(&s->pio);
	check("PCI", pci_root_new(&s->root, &s->mmio, &s->pio, &windows));
	config.root = s->root;
	check("soft iommufd", iommufd_open_soft(&s->ctx, &s->memory));
	check("hardware", iommufd_soft_set_hw(s->ctx, &features, UNIT_ID));
	check("vIOMMU", viommu_iommufd_port_new(s->ctx, &features, &config.port, &s->engine));
	check("vIOMMU", amd_viommu_new(&config, &s->viommu));
	check("DMA space", amd_iommu_dma_space_new(s->engine, DEV, &s->space));

	put(s, IRT + MSI_INDEX * 16, 1);
	put(s, IRT + MSI_INDEX * 16 + 8, 0x41);
	reg_set(s, 0x00, DEVTAB | 0xf);
	reg_set(s, 0x08, RING | (uint64_t)RING_LOG2 << 56);
	reg_set(s, 0x10, LOG | (uint64_t)RING_LOG2 << 56);
	/* IommuEn, EventLogEn, Coherent, CmdBufEn, GTEn, GAEn, XTEn */
	reg_set(s, 0x18, BIT(0) | BIT(2) | BIT(10) | BIT(12) | BIT(16) | BIT(17) | BIT(50));
}

static void subject_close(struct subject *s)
{
	amd_iommu_dma_space_free(s->space);
	pci_root_free(s->root);
	amd_viommu_free(s->viommu);
	iommufd_close(s->ctx);
	munmap(s->memory.region[0].host, RAM_SIZE);
}

/* ---- measuring ---- */

static double run_once(struct subject *s, const struct row *row)
{
	const double start = now_ns();

	for (unsigned i = 0; i < row->count; i++)
		row->operation(s);
	return (now_ns() - start) / row->count;
}

/* A row that measures something else than its name says would be worse than none. */
static void check_hits(struct subject *s, const struct row *row)
{
	struct amd_iommu_stats before, after;
	uint64_t hits, all;

	amd_iommu_engine_stats(s->engine, &before);
	run_once(s, row);
	amd_iommu_engine_stats(s->engine, &after);
	hits = after.iotlb_hits - before.iotlb_hits;
	all = after.translations - before.translations;
	if (row->hits >= 0 && (all != row->count || hits != (row->hits ? all : 0)))
		fail(row->name, -EIO);
}

static void measure(struct subject *s, const struct row *row, unsigned runs)
{
	double ns[RUNS_MAX] = {0};

	device_set(s, row->levels, row->guest);
	command(s, 0, UINT64_C(8) << 60, 0); /* INVALIDATE_IOMMU_ALL */
	ring(s, 1);
	s->at = 0;
	run_once(s, row); /* warm */
	check_hits(s, row);
	for (unsigned i = 0; i < runs; i++)
		ns[i] = run_once(s, row);
	bench_print(row->name, ns, runs, row->target);
}

int main(int argc, char **argv)
{
	static struct subject subject;
	unsigned runs = bench_runs(argc, argv, 31, "viommu [RUNS]");

	subject_open(&subject);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		measure(&subject, &rows[i], runs);
	subject_close(&subject);
	return 0;
}
