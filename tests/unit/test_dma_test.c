// SPDX-License-Identifier: Apache-2.0
/* The DMA test device, alone and behind an AMD IOMMU with ATS, PASID and PRI. */
#include <linux/pci_regs.h>

#include "amd_ats_unit.h"
#include "devices/test/dma_test.h"
#include "postern/event_loop.h"

#define ECAM  UINT64_C(0xe0000000)
#define MEM32 UINT64_C(0xc0000000)
#define DEVFN PCI_DEVFN(3, 0) /* not the unit's own */
#define SRC   0x10000ull
#define DST   0x20000ull
#define ALL   (DMA_TEST_WITH_PASID | DMA_TEST_WITH_ATS | DMA_TEST_WITH_PRI)

static struct bus mmio, pio;
static struct pci_root *root;
static struct event_loop *loop;
static struct dma_test *device;
static struct dma_space *space;
static struct dma_identity identity;
static struct unit u;
static unsigned sent;

static int sink_send(struct msi_sink *sink, const struct msi_msg *msg)
{
	(void)sink;
	cr_expect_eq(msg->data, 0x55);
	sent++;
	return 0;
}

static const struct msi_sink_ops sink_ops = {.send = sink_send};
static struct msi_sink sink = {.ops = &sink_ops};

static void wr(uint64_t at, uint64_t value)
{
	cr_assert_eq(bus_write(&mmio, MEM32 + at, 8, value), 0);
}

static uint64_t rd(uint64_t at)
{
	uint64_t value = 0;

	cr_assert_eq(bus_read(&mmio, MEM32 + at, 8, &value), 0);
	return value;
}

static uint32_t config_read(unsigned at)
{
	uint64_t value;

	cr_assert_eq(bus_read(&mmio, ECAM + (DEVFN << 12) + at, 4, &value), 0);
	return (uint32_t)value;
}

static void config_write16(unsigned at, uint16_t value)
{
	cr_assert_eq(bus_write(&mmio, ECAM + (DEVFN << 12) + at, 2, value), 0);
}

static unsigned extended(uint16_t id)
{
	unsigned at = PCI_CFG_SPACE_SIZE;

	while (at && (config_read(at) & 0xffff) != id)
		at = config_read(at) >> 20;
	cr_assert(at, "no capability %#x", id);
	return at;
}

static void stop_loop(struct event_work *work)
{
	(void)work;
	event_loop_stop(loop);
}

/* Runs what has been posted until now. */
static void settle(void)
{
	struct event_work work = {.run = stop_loop};

	event_loop_post(loop, &work);
	cr_assert_eq(event_loop_run(loop), 0);
}

static void enable(uint16_t ats, uint16_t pasid, uint16_t pri)
{
	config_write16(extended(PCI_EXT_CAP_ID_ATS) + PCI_ATS_CTRL, ats);
	config_write16(extended(PCI_EXT_CAP_ID_PASID) + PCI_PASID_CTRL, pasid);
	config_write16(extended(PCI_EXT_CAP_ID_PRI) + PCI_PRI_CTRL, pri);
}

static void device_start(struct dma_space *dma)
{
	const struct pci_windows windows = {
		.ecam_base = ECAM, .buses = 1, .mem32_base = MEM32, .mem32_size = 0x1000000};
	struct dma_test_env env = {.dma = dma, .sink = &sink, .devfn = DEVFN, .vectors = 1};

	sent = 0;
	bus_init(&mmio);
	bus_init(&pio);
	cr_assert_eq(event_loop_new(EVENT_LOOP_POLL, &loop), 0);
	cr_assert_eq(pci_root_new(&root, &mmio, &pio, &windows), 0);
	env.loop = loop;
	env.root = root;
	cr_assert_eq(dma_test_new(&env, &device), 0);
	cr_assert_eq(pci_root_assign(root), 0);
	config_write16(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	enable(PCI_ATS_CTRL_ENABLE, PCI_PASID_CTRL_ENABLE, PCI_PRI_CTRL_ENABLE);
	cr_assert_eq(rd(DMA_TEST_REG_ID), DMA_TEST_ID);
}

static void device_end(void)
{
	dma_test_free(device);
	pci_root_free(root);
	event_loop_free(loop);
}

static void start(unsigned command, uint64_t source, uint64_t destination, uint64_t length)
{
	wr(DMA_TEST_SOURCE, source);
	wr(DMA_TEST_DESTINATION, destination);
	wr(DMA_TEST_LENGTH, length);
	wr(DMA_TEST_COMMAND, command);
	cr_assert_eq(rd(DMA_TEST_STATUS), DMA_TEST_BUSY);
	settle();
}

static void expect_status(const char *what, unsigned error)
{
	const uint64_t want =
		error ? DMA_TEST_FAILED | error << DMA_TEST_STATUS_SHIFT : DMA_TEST_DONE;

	cr_assert_eq(rd(DMA_TEST_STATUS), want, "%s: status %lx", what, rd(DMA_TEST_STATUS));
}

/* ---- alone ---- */

static void store(uint64_t gpa, uint64_t value)
{
	memcpy(guest_memory_at(&u.gm, gpa, 8), &value, 8);
}

static uint64_t load(uint64_t gpa)
{
	uint64_t value;

	memcpy(&value, guest_memory_at(&u.gm, gpa, 8), 8);
	return value;
}

Test(dma_test, without_an_iommu)
{
	static const unsigned with[] = {DMA_TEST_WITH_ATS, DMA_TEST_WITH_PASID};

	unit_new(&u, AMD_IOMMU_EFR_DEFAULT);
	dma_identity_init(&identity, &u.gm);
	device_start(&identity.ds);
	store(SRC + 0xffc, 0x1122334455667788);
	start(DMA_TEST_READ, SRC + 0xffc, ~0ull, 8);
	expect_status("read", 0);
	cr_assert_eq(rd(DMA_TEST_BUFFER), 0x1122334455667788);
	wr(DMA_TEST_BUFFER, 0xabcdef);
	start(DMA_TEST_WRITE, ~0ull, DST, 8);
	expect_status("write", 0);
	cr_assert_eq(load(DST), 0xabcdef);
	for (unsigned i = 0; i < DMA_TEST_COPY_MAX; i += 8)
		store(SRC + 0x804 + i, i * 0x9e3779b97f4a7c15);
	start(DMA_TEST_COPY, SRC + 0x804, DST + 0x10124, DMA_TEST_COPY_MAX);
	expect_status("copy", 0);
	for (unsigned i = 0; i < DMA_TEST_COPY_MAX; i += 8)
		cr_assert_eq(load(DST + 0x10124 + i), i * 0x9e3779b97f4a7c15);
	for (unsigned i = 0; i < ARRAY_SIZE(with); i++) {
		start(DMA_TEST_READ | with[i], SRC, 0, 8);
		expect_status("services", DMA_TEST_ERROR_ABSENT);
	}
	cr_assert_eq(sent, 0);
	device_end();
	unit_free(&u);
}

Test(dma_test, errors)
{
	static const struct {
		const char *name;
		unsigned command, error;
		uint64_t source, destination, length;
	} cases[] = {
		{"no bytes", DMA_TEST_COPY, DMA_TEST_ERROR_LENGTH, SRC, DST, 0},
		{"copy too long", DMA_TEST_COPY, DMA_TEST_ERROR_LENGTH, SRC, DST, 0x10001},
		{"read too long", DMA_TEST_READ, DMA_TEST_ERROR_LENGTH, SRC, DST, 0x1001},
		{"write too long", DMA_TEST_WRITE, DMA_TEST_ERROR_LENGTH, SRC, DST, 0x1001},
		{"longest length", DMA_TEST_WRITE, DMA_TEST_ERROR_LENGTH, SRC, DST, ~0ull},
		{"source wraps", DMA_TEST_COPY, DMA_TEST_ERROR_LENGTH, ~0ull, DST, 2},
		{"destination wraps", DMA_TEST_COPY, DMA_TEST_ERROR_LENGTH, SRC, ~0ull, 2},
		{"no memory", DMA_TEST_COPY, DMA_TEST_ERROR_REFUSED, HOLE, DST, 2},
		{"no memory to write", DMA_TEST_COPY, DMA_TEST_ERROR_REFUSED, SRC, HOLE, 2},
	};

	unit_new(&u, AMD_IOMMU_EFR_DEFAULT);
	dma_identity_init(&identity, &u.gm);
	device_start(&identity.ds);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		start(cases[i].command, cases[i].source, cases[i].destination, cases[i].length);
		expect_status(cases[i].name, cases[i].error);
	}
	cr_assert_eq(rd(DMA_TEST_FAULT), HOLE);
	enable(0, PCI_PASID_CTRL_ENABLE, PCI_PRI_CTRL_ENABLE);
	start(DMA_TEST_READ | DMA_TEST_WITH_ATS, SRC, 0, 8);
	expect_status("no ATS", DMA_TEST_ERROR_DISABLED);
	enable(PCI_ATS_CTRL_ENABLE, 0, PCI_PRI_CTRL_ENABLE);
	start(DMA_TEST_READ | DMA_TEST_WITH_PASID, SRC, 0, 8);
	expect_status("no PASID", DMA_TEST_ERROR_DISABLED);
	enable(PCI_ATS_CTRL_ENABLE, PCI_PASID_CTRL_ENABLE, 0);
	start(DMA_TEST_READ | DMA_TEST_WITH_PRI | DMA_TEST_WITH_ATS, SRC, 0, 8);
	expect_status("no PRI", DMA_TEST_ERROR_DISABLED);
	config_write16(PCI_COMMAND, PCI_COMMAND_MEMORY);
	start(DMA_TEST_READ, SRC, 0, 8);
	expect_status("no bus mastering", DMA_TEST_ERROR_DISABLED);
	device_end();
	unit_free(&u);
}

/* Registers keep what they may, in halves too, and nothing else in the BAR is there. */
Test(dma_test, registers)
{
	uint64_t value;

	unit_new(&u, AMD_IOMMU_EFR_DEFAULT);
	dma_identity_init(&identity, &u.gm);
	device_start(&identity.ds);
	for (uint64_t at = 0; at < DMA_TEST_BAR_SIZE; at += 8) {
		if (at == DMA_TEST_COMMAND || (at >= 0x1000 && at < 0x3000))
			continue;
		wr(at, ~0ull);
		value = rd(at);
		switch (at) {
		case DMA_TEST_REG_ID:
			cr_assert_eq(value, DMA_TEST_ID);
			break;
		case DMA_TEST_SOURCE:
		case DMA_TEST_DESTINATION:
			cr_assert_eq(value, ~0ull);
			break;
		case DMA_TEST_LENGTH:
			cr_assert_eq(value, 0xffffffff);
			break;
		case DMA_TEST_PASID:
			cr_assert_eq(value, 0xfffff);
			break;
		case DMA_TEST_VECTOR:
			cr_assert_eq(value, 0x7ff);
			break;
		case DMA_TEST_CONTROL:
			cr_assert_eq(value, 1);
			break;
		default:
			cr_assert_eq(value, 0, "%lx: %lx", at, value);
		}
	}
	cr_assert_eq(bus_write(&mmio, MEM32 + DMA_TEST_SOURCE + 4, 4, 0x1234), 0);
	cr_assert_eq(rd(DMA_TEST_SOURCE), 0x1234ffffffff);
	cr_assert_eq(bus_read(&mmio, MEM32 + DMA_TEST_SOURCE + 4, 4, &value), 0);
	cr_assert_eq(value, 0x1234);
	cr_assert_eq(bus_write(&mmio, MEM32 + DMA_TEST_SOURCE, 1, 0), 0);
	cr_assert_eq(rd(DMA_TEST_SOURCE), 0x1234ffffffff, "bytes are no access to a register");
	cr_assert_eq(bus_write(&mmio, MEM32 + DMA_TEST_BUFFER + 0xffe, 4, ~0u), 0);
	cr_assert_eq(rd(DMA_TEST_BUFFER + 0xff8), 0, "over the end of the buffer");
	settle();
	device_end();
	unit_free(&u);
}

/* ---- behind an IOMMU ---- */

static uint64_t table; /* of level 1, of PASID */

static void iommu_start(void)
{
	uint64_t pasid_root;

	unit_start_features(&u, EFR_ATS, AMD_IOMMU_EFR2_FULL, 0);
	reg_set(&u, R_PPR_BASE, PPRLOG | 8ull << 56);
	reg_set(&u, R_CONTROL, C_ATS);
	pasid_root = table_new(&u);
	put64(&u, GCR3 + PASID * 8, pasid_root | 1);
	table = guest_tables_down(&u, pasid_root, 4, 1, SRC);
	dte_set(&u, DEVFN, V | TV | IR | IW | GV | DTE_PPR | (GCR3 >> 12 & 7) << 58,
		DOM | (GCR3 >> 15 & 0xffff) << 16 | DTE_I, 0, 0);
	cr_assert_eq(amd_iommu_dma_space_new(u.e, DEVFN, &space), 0);
	device_start(space);
	wr(DMA_TEST_PASID, PASID);
	put64(&u, PAGE, 0x5eed);
	pte_set(&u, table, 1, SRC, PAGE | USER);
}

static void iommu_end(void)
{
	device_end();
	amd_iommu_dma_space_free(space);
	unit_free(&u);
}

/* MSI-X entry 0: unmasked, with the data that the sink wants. */
static void interrupts_on(void)
{
	unsigned at = config_read(PCI_CAPABILITY_LIST) & 0xff;

	while ((config_read(at) & 0xff) != PCI_CAP_ID_MSIX)
		at = config_read(at) >> 8 & 0xff;
	wr(0x2000, 0xfee00000);
	wr(0x2008, 0x55);
	config_write16(at + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE);
}

/* The page request at the head of the log: for IOVA, which is mapped to GPA or not; answered. */
static void answer(uint64_t iova, uint64_t gpa, unsigned code)
{
	const uint64_t head = reg_get(&u, R_PPR_HEAD), word = get64(&u, PPRLOG + head);

	cr_assert_neq(head, reg_get(&u, R_PPR_TAIL), "no page request");
	cr_assert_eq(word & 0xf1ff0000ffff, (word >> 32 & 0x1ff) << 32 | DEVFN, "%lx", word);
	cr_assert_eq(word >> 16 & 0xffff, PASID);
	cr_assert(word & BIT(41));
	cr_assert_eq(get64(&u, PPRLOG + head + 8), iova);
	if (gpa)
		pte_set(&u, table, 1, iova, gpa | USER);
	reg_set(&u, R_PPR_HEAD, head + 16);
	cmd(&u, 7ull << 60 | (uint64_t)PASID << 32 | DEVFN,
	    4 | (word >> 32 & 0x1ff) << 32 | (uint64_t)code << 44);
	settle();
}

Test(dma_test, page_requests)
{
	iommu_start();
	interrupts_on();
	start(DMA_TEST_COPY | ALL | DMA_TEST_INTERRUPT, SRC, DST, 8);
	cr_assert_eq(rd(DMA_TEST_STATUS), DMA_TEST_BUSY, "waits for the page");
	cr_assert_eq(rd(DMA_TEST_REQUESTED), 1);
	wr(DMA_TEST_COMMAND, DMA_TEST_READ);
	wr(DMA_TEST_SOURCE, 0);
	/* An answer to another group, and one to another PASID. */
	cmd(&u, 7ull << 60 | (uint64_t)PASID << 32 | DEVFN, 4 | 9ull << 32);
	cmd(&u, 7ull << 60 | 1ull << 32 | DEVFN, 4 | 1ull << 32);
	settle();
	cr_assert_eq(rd(DMA_TEST_STATUS), DMA_TEST_BUSY);
	cr_assert_eq(rd(DMA_TEST_ANSWERED), 2ull << 32);
	cr_assert_eq(sent, 0);
	answer(DST, PAGE + 0x1000, 0);
	expect_status("after the answer", 0);
	cr_assert_eq(get64(&u, PAGE + 0x1000), 0x5eed);
	cr_assert_eq(rd(DMA_TEST_ANSWERED), 1 | 2ull << 32);
	cr_assert_eq(rd(DMA_TEST_CACHED), 2);
	cr_assert_eq(sent, 1);

	start(DMA_TEST_WRITE | ALL, 0, DST + 0x1000, 8);
	answer(DST + 0x1000, 0, 1);
	expect_status("invalid", DMA_TEST_ERROR_PAGE_INVALID);
	cr_assert_eq(rd(DMA_TEST_FAULT), DST + 0x1000);
	start(DMA_TEST_WRITE | ALL, 0, DST + 0x1000, 8);
	answer(DST + 0x1000, 0, 15);
	expect_status("failure", DMA_TEST_ERROR_PAGE_FAILURE);
	cr_assert_eq(rd(DMA_TEST_RESPONSE) & 0xf, 15);

	/* Success, and the page is not there all the same: it gives up some time. */
	start(DMA_TEST_WRITE | ALL, 0, DST + 0x1000, 8);
	for (unsigned i = 0; i < 8; i++)
		answer(DST + 0x1000, 0, 0);
	expect_status("never there", DMA_TEST_ERROR_UNSTABLE);

	start(DMA_TEST_WRITE | ALL, 0, DST + 0x1000, 8);
	wr(DMA_TEST_COMMAND, 0);
	settle();
	expect_status("aborted", DMA_TEST_ERROR_ABORTED);
	reg_set(&u, R_CONTROL, C_ATS & ~C_PPR);
	start(DMA_TEST_WRITE | ALL, 0, DST + 0x1000, 8);
	expect_status("nobody takes them", DMA_TEST_ERROR_PAGE_FAILURE);
	cr_assert_eq(sent, 1);
	iommu_end();
}

/*
 * Linux's driver answers with a PASID where the device's domain has guest tables, and else without,
 * whatever the request had: the group's index tells what is answered.
 */
Test(dma_test, responses_by_index)
{
	iommu_start();
	start(DMA_TEST_WRITE | ALL, 0, DST, 8);
	pte_set(&u, table, 1, DST, (PAGE + 0x1000) | USER);
	cmd(&u, 7ull << 60 | DEVFN, get64(&u, PPRLOG) & 0x1ffull << 32);
	settle();
	expect_status("without PASID", 0);
	cr_assert_eq(rd(DMA_TEST_ANSWERED), 1);

	put64(&u, GCR3, table_new(&u) | 1);
	dte_set(&u, DEVFN, V | TV | IR | IW | GV | GIOV | DTE_PPR | (GCR3 >> 12 & 7) << 58,
		DOM | (GCR3 >> 15 & 0xffff) << 16 | DTE_I, 0, 0);
	cmd(&u, 2ull << 60 | DEVFN, 0);
	start(DMA_TEST_WRITE | DMA_TEST_WITH_ATS | DMA_TEST_WITH_PRI, 0, DST, 8);
	cr_assert_eq(rd(DMA_TEST_STATUS), DMA_TEST_BUSY);
	cmd(&u, 7ull << 60 | DEVFN, 4 | (get64(&u, PPRLOG + 16) & 0x1ffull << 32) | 15ull << 44);
	settle();
	expect_status("with PASID 0", DMA_TEST_ERROR_PAGE_FAILURE);
	cr_assert_eq(rd(DMA_TEST_ANSWERED), 2);
	iommu_end();
}

/* What is cached is used until it is invalidated, and nobody waits longer than the device. */
Test(dma_test, cache)
{
	iommu_start();
	start(DMA_TEST_READ | DMA_TEST_WITH_PASID | DMA_TEST_WITH_ATS, SRC, 0, 8);
	expect_status("read", 0);
	cr_assert_eq(rd(DMA_TEST_BUFFER), 0x5eed);
	pte_set(&u, table, 1, SRC, 0);
	start(DMA_TEST_READ | DMA_TEST_WITH_PASID | DMA_TEST_WITH_ATS, SRC, 0, 8);
	expect_status("from the cache", 0);
	inv_iotlb(&u, DEVFN, 0, SRC + 0x1000);
	cr_assert_eq(rd(DMA_TEST_CACHED), 1, "another page");
	cmd(&u, 4ull << 60 | DEVFN, SRC);
	cr_assert_eq(rd(DMA_TEST_CACHED), 1, "those without PASID");
	inv_iotlb(&u, DEVFN, 0, SRC);
	cr_assert_eq(rd(DMA_TEST_CACHED), 0);
	cr_assert_eq(rd(DMA_TEST_INVALIDATED), 3);
	start(DMA_TEST_READ | DMA_TEST_WITH_PASID | DMA_TEST_WITH_ATS, SRC, 0, 8);
	expect_status("gone", DMA_TEST_ERROR_NOT_PRESENT);

	wr(DMA_TEST_CONTROL, DMA_TEST_HOLD);
	inv_iotlb(&u, DEVFN, 0, SRC);
	cwait(&u, 9);
	settle();
	cr_assert_eq(rd(DMA_TEST_HELD), 1);
	cr_assert_eq(get64(&u, SEM), 0);
	wr(DMA_TEST_CONTROL, 0);
	settle();
	cr_assert_eq(rd(DMA_TEST_HELD), 0);
	cr_assert_eq(get64(&u, SEM), 9);

	/* Without ATS there is no cache: it is emptied, and begins anew. */
	pte_set(&u, table, 1, SRC, PAGE | USER);
	start(DMA_TEST_READ | DMA_TEST_WITH_PASID | DMA_TEST_WITH_ATS, SRC, 0, 8);
	cr_assert_eq(rd(DMA_TEST_CACHED), 1);
	enable(0, PCI_PASID_CTRL_ENABLE, PCI_PRI_CTRL_ENABLE);
	cr_assert_eq(rd(DMA_TEST_CACHED), 0);
	start(DMA_TEST_READ | DMA_TEST_WITH_PASID, SRC, 0, 8);
	expect_status("PASID alone", 0);
	pte_set(&u, table, 1, SRC, 0);
	cmd(&u, 3ull << 60 | (uint64_t)DOM << 32 | PASID, SRC | 4);
	start(DMA_TEST_READ | DMA_TEST_WITH_PASID, SRC, 0, 8);
	expect_status("PASID alone, gone", DMA_TEST_ERROR_REFUSED);
	expect_event(&u, "a fault of the PASID", guest_event_word(2, 0, PASID, DEVFN), SRC);
	iommu_end();
}

/* What Linux looks for before it turns these on. */
Test(dma_test, capabilities_and_reset)
{
	unsigned pri, ats;

	iommu_start();
	pri = extended(PCI_EXT_CAP_ID_PRI);
	ats = extended(PCI_EXT_CAP_ID_ATS);
	cr_assert_eq(config_read(pri + PCI_PRI_CTRL) >> 16, PCI_PRI_STATUS_PASID);
	cr_assert_eq(config_read(pri + PCI_PRI_MAX_REQ), 32);
	config_write16(pri + PCI_PRI_CTRL, 0);
	cr_assert_eq(config_read(pri + PCI_PRI_CTRL) >> 16,
		     PCI_PRI_STATUS_PASID | PCI_PRI_STATUS_STOPPED);
	cr_assert_eq(config_read(extended(PCI_EXT_CAP_ID_PASID) + PCI_PASID_CAP) & 0x1f06, 0x1400);
	start(DMA_TEST_READ | DMA_TEST_WITH_PASID | DMA_TEST_WITH_ATS, SRC, 0, 8);
	cr_assert_eq(rd(DMA_TEST_CACHED), 1);
	pci_root_reset(root);
	config_write16(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	cr_assert_eq(config_read(ats + PCI_ATS_CAP) >> 16, 0);
	cr_assert_eq(rd(DMA_TEST_CACHED), 0);
	cr_assert_eq(rd(DMA_TEST_STATUS), 0);
	cr_assert_eq(rd(DMA_TEST_BUFFER), 0);
	iommu_end();
}
