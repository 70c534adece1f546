// SPDX-License-Identifier: Apache-2.0
/* What the unit counts for each requester and each command, and what it tells the log. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "amd_unit.h"
#include "postern/log.h"

#define OTHER  0x0210 /* a second requester, on another bus */
#define IOVA   0x100000ull
#define DOMAIN 7

static struct unit u;
static int log_fd;

static void set_up(void)
{
	unit_start(&u, C_RUNNING | C_GA | C_XT);
	/* The log into a file, to be counted. */
	log_fd = memfd_create("log", 0);
	cr_assert_geq(log_fd, 0);
	cr_assert_geq(dup2(log_fd, STDERR_FILENO), 0);
	log_set_level(LOG_LEVEL_INFO);
}

static void tear_down(void)
{
	unit_free(&u);
	close(log_fd);
}

TestSuite(amd_counters, .init = set_up, .fini = tear_down, .timeout = 120);

static char text[65536];

static unsigned lines(void)
{
	ssize_t len = pread(log_fd, text, sizeof(text) - 1, 0);
	unsigned count = 0;

	cr_assert_geq(len, 0);
	text[len] = '\0';
	for (const char *p = text; (p = strchr(p, '\n')); p++)
		count++;
	return count;
}

static struct amd_iommu_device_stats device(uint16_t devid)
{
	struct amd_iommu_device_stats stats;

	amd_iommu_engine_device_stats(u.e, devid, &stats);
	return stats;
}

static struct amd_iommu_stats all(void)
{
	struct amd_iommu_stats stats;

	amd_iommu_engine_stats(u.e, &stats);
	return stats;
}

/* DEVID has v1 tables that map one page at IOVA to itself. */
static void translate(uint16_t devid)
{
	uint64_t root = table_new(&u);
	uint64_t leaf = tables_down(&u, root, 3, 1, IOVA);

	pte_set(&u, leaf, 1, IOVA, IOVA | RW_BITS | 1);
	dte_set(&u, devid, root | RW_BITS | 3ull << 9 | 3, DOMAIN, 0, 0);
}

static int touch(struct dma_space *ds, uint64_t iova, unsigned access)
{
	struct dma_segment seg;

	return dma_space_map(ds, iova, 8, access, &seg, 1);
}

Test(amd_counters, requesters_are_counted_apart)
{
	struct amd_iommu_device_stats one, two;
	struct msi_msg msg = {.addr = 0xfee00000, .data = 1}, out;
	struct dma_space *ds, *other;

	translate(DEV);
	translate(OTHER);
	amd_iommu_dma_space_new(u.e, DEV, &ds);
	amd_iommu_dma_space_new(u.e, OTHER, &other);
	cr_assert_eq(touch(ds, IOVA, DMA_READ), 1);
	for (unsigned i = 0; i < 10; i++)
		cr_assert_eq(touch(ds, IOVA, DMA_WRITE), 1);
	cr_assert_eq(touch(other, IOVA, DMA_READ), 1);
	cr_assert_lt(touch(other, 0, DMA_READ), 0);
	cr_assert_lt(touch(other, 0xfee00000, DMA_WRITE), 0);
	cr_expect_eq(amd_iommu_engine_remap(u.e, DEV, &msg, &out, true), 0, "IV is 0: it passes");
	dte_set(&u, OTHER, 0, 0, 1, 0); /* IV, IntCtl 0: abort */
	cr_expect_neq(amd_iommu_engine_remap(u.e, OTHER, &msg, &out, true), 0);
	inv_devtab(&u, DEV);
	cmd(&u, 5ull << 60 | DEV, 0);
	inv_devtab(&u, 0x5555); /* nobody has that */

	one = device(DEV);
	two = device(OTHER);
	cr_expect(one.hits == 10 && one.misses == 1 && one.walks == 1, "%zu %zu %zu",
		  (size_t)one.hits, (size_t)one.misses, (size_t)one.walks);
	cr_expect(one.remaps == 1 && one.refusals == 0 && one.faults == 0 && one.events == 0);
	cr_expect_eq(one.invalidations, 2);
	cr_expect(two.hits == 0 && two.misses == 2 && two.walks == 2);
	cr_expect(two.faults == 2 && two.events == 2, "%zu faults, %zu events", (size_t)two.faults,
		  (size_t)two.events);
	cr_expect(two.remaps == 1 && two.refusals == 1 && two.invalidations == 0);
	cr_expect_eq(device(0x5555).invalidations, 0);
	cr_expect(all().iotlb_hits == 10 && all().translations == 13 && all().walks == 3);
	cr_expect(all().remaps == 2 && all().faults == 3 && all().invalidations == 3);
	/* What a device counted is not lost when it goes. */
	amd_iommu_dma_space_free(ds);
	amd_iommu_dma_space_free(other);
	cr_expect_eq(device(DEV).hits, 10);
	cr_expect_eq(all().translations, 13);
}

Test(amd_counters, commands_are_counted_by_opcode)
{
	cmd(&u, 1ull << 60, 0);
	cmd(&u, 1ull << 60, 0);
	inv_devtab(&u, DEV);
	inv_all_pages(&u, DOMAIN);
	cmd(&u, 8ull << 60, 0);
	cr_expect(all().command[1] == 2 && all().command[2] == 1 && all().command[3] == 1 &&
		  all().command[8] == 1);
	cr_expect_eq(all().commands, 5);
	cr_expect_eq(all().command_errors, 0);
	cmd_put(&u, 0xfull << 60, 0);
	cmd_ring(&u);
	cr_expect_eq(all().command_errors, 1);
	cr_expect(all().commands == 5 && all().command[15] == 0, "what stops the ring is none");
}

/* More threads than have a cell of their own, at one device: none of their hits is lost. */
#define THREADS 12
#define TOUCHES 2000

static void *toucher(void *ds)
{
	for (unsigned i = 0; i < TOUCHES; i++)
		cr_assert_eq(touch(ds, IOVA, DMA_READ), 1);
	return NULL;
}

Test(amd_counters, threads_lose_nothing)
{
	pthread_t thread[THREADS];
	struct dma_space *ds;

	translate(DEV);
	amd_iommu_dma_space_new(u.e, DEV, &ds);
	for (unsigned i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&thread[i], NULL, toucher, ds), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	cr_expect_eq(device(DEV).hits + device(DEV).misses, THREADS * TOUCHES);
	amd_iommu_dma_space_free(ds);
}

/* Every function of a bus, and of another: one requester after the other has what is its own. */
Test(amd_counters, as_many_devices_as_there_are_ids)
{
	static struct dma_space *ds[512];
	uint64_t page = 0x800000;

	for (unsigned i = 0; i < 512; i++) {
		uint16_t devid = (uint16_t)(i < 256 ? i : 0x4200 + i - 256);
		uint64_t root = table_new(&u);

		if (devid == UNIT_BDF)
			continue;
		pte_set(&u, root, 1, IOVA, (page + i * 4096) | RW_BITS | 1);
		dte_set(&u, devid, root | RW_BITS | 1ull << 9 | 3, i, 0, 0);
		cr_assert_eq(amd_iommu_dma_space_new(u.e, devid, &ds[i]), 0, "device %u", i);
	}
	for (unsigned i = 0; i < 512; i++) {
		uint64_t value = 0xabc000 + i;

		if (ds[i])
			cr_assert_eq(dma_space_write(ds[i], IOVA, &value, sizeof(value)), 0);
	}
	for (unsigned i = 0; i < 512; i++)
		if (ds[i])
			cr_assert_eq(get64(&u, page + i * 4096), 0xabc000 + i);
	/* Each is told of what concerns all, and drops what it cached. */
	u.devices = 0;
	cmd(&u, 8ull << 60, 0);
	cr_expect_eq(u.devices, 511);
	cr_expect_eq(all().translations, 511);
	for (unsigned i = 0; i < 512; i++)
		amd_iommu_dma_space_free(ds[i]);
}

/* ---- the log ---- */

Test(amd_counters, each_kind_of_error_is_told_once_a_device)
{
	struct msi_msg msg = {.addr = 0xfee00000, .data = 1}, out;
	struct dma_space *ds, *other;

	amd_iommu_engine_set_segment(u.e, 3);
	translate(DEV);
	translate(OTHER);
	amd_iommu_dma_space_new(u.e, DEV, &ds);
	amd_iommu_dma_space_new(u.e, OTHER, &other);
	cr_expect_eq(lines(), 0);
	for (uint64_t i = 0; i < 1000; i++)
		touch(ds, i * 4096 % IOVA, DMA_READ);
	cr_expect_eq(lines(), 1, "%s", text);
	cr_expect(strstr(text, "guest: vIOMMU of segment 3: device 01:01.0: read refused, address "
			       "0: nothing is mapped there"),
		  "%s", text);
	for (uint64_t i = 0; i < 1000; i++)
		touch(other, i * 4096 % IOVA, DMA_WRITE);
	cr_expect_eq(lines(), 2);
	cr_expect(strstr(text, "device 02:02.0: write refused"), "%s", text);
	/* Reserved bits; then a message without an entry, and one that is refused in silence. */
	dte_set(&u, DEV, BIT(2) | RW_BITS | 3, DOMAIN, 0, 0);
	inv_devtab(&u, DEV);
	for (unsigned i = 0; i < 10; i++)
		touch(ds, IOVA, DMA_READ);
	cr_expect_eq(lines(), 3);
	cr_expect(strstr(text, "device table entry has reserved bits set"), "%s", text);
	dte_set(&u, DEV, 0, 0, INTTAB | 2ull << 60 | 9 << 1 | 1, 0);
	for (unsigned i = 0; i < 10; i++)
		amd_iommu_engine_remap(u.e, DEV, &msg, &out, true);
	cr_expect_eq(lines(), 4);
	cr_expect(strstr(text, "message refused, address 0xfee00000: no remapping entry is valid"),
		  "%s", text);
	dte_set(&u, DEV, 0, 0, INTTAB | 2ull << 60 | BIT(5) | 9 << 1 | 1, 0); /* IG */
	for (unsigned i = 0; i < 10; i++)
		amd_iommu_engine_remap(u.e, DEV, &msg, &out, true);
	cr_expect_eq(lines(), 5);
	/* A route that is only asked about has raised nothing. */
	dte_set(&u, DEV, 0, 0, INTTAB | 2ull << 60 | 12 << 1 | 1, 0);
	amd_iommu_engine_remap(u.e, DEV, &msg, &out, false);
	cr_expect_eq(lines(), 5);
	amd_iommu_dma_space_free(ds);
	amd_iommu_dma_space_free(other);
}

/* The worst that a guest can do: every command, DTE, entry and address wrong, again and again. */
Test(amd_counters, a_hostile_guest_cannot_fill_the_log)
{
	struct msi_msg msg = {.addr = 0xfee00000}, out;
	struct dma_space *ds, *other;
	uint64_t state = 1;
	unsigned half;

	amd_iommu_dma_space_new(u.e, DEV, &ds);
	amd_iommu_dma_space_new(u.e, OTHER, &other);
	for (unsigned round = 0; round < 20000; round++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		dte_set(&u, round % 2 ? DEV : OTHER, state, state >> 5, state >> 11 | round % 2, 0);
		if (round % 3 == 0)
			dte_set(&u, DEV, (state & GENMASK(23, 12)) | RW_BITS | 3ull << 9 | 3, 0, 0,
				0);
		touch(ds, state >> (state & 63), 1 + state % 3);
		touch(other, state >> 20, 1 + state % 3);
		msg.data = (uint32_t)state & 0xffff;
		amd_iommu_engine_remap(u.e, round % 2 ? DEV : OTHER, &msg, &out, true);
		put64(&u, CMDBUF, state);
		put64(&u, CMDBUF + 8, state << 3);
		/* Off and on again: the ring begins anew. */
		reg_set(&u, R_CONTROL, C_RUNNING & ~C_CMD);
		reg_set(&u, R_CMD_HEAD, 0);
		reg_set(&u, R_CONTROL, C_RUNNING | (round % 2 ? C_GA : 0));
		reg_set(&u, R_CMD_TAIL, 16);
		if (round == 9999)
			half = lines();
	}
	/* 18 kinds at most for each of two devices, two for each of 16 opcodes. */
	cr_expect_gt(lines(), 10);
	cr_expect_leq(lines(), 2 * 18 + 2 * 16);
	cr_expect_leq(lines() - half, 10, "most kinds come early: %u, then %u", half, lines());
	amd_iommu_dma_space_free(ds);
	amd_iommu_dma_space_free(other);
}
