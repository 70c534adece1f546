// SPDX-License-Identifier: Apache-2.0
/*
 * Mirrors of guest translation domains, against an IOMMU whose tables are an array and an iommufd
 * with the kernel's rules: no overlaps, only whole mappings can be unmapped.
 */
#include "tests/unit/vfio_shadow_fixture.h"

TestSuite(vfio_shadow, .init = setup, .fini = teardown);

static uint32_t move(unsigned device, struct amd_device_state state)
{
	device_state[device] = state;
	vfio_follow_device_changed(&follow, (uint16_t)device);
	return device_ioas[device];
}

Test(vfio_shadow, runs_are_joined_and_cut_at_lines)
{
	uint32_t ioas;

	/* 3 pages in a row, one elsewhere, then one adjacent by IOVA only. */
	pages(0x10000, 0x100000, 3, RW);
	leaf(0x13000, 0x900000, PAGE, RW);
	leaf(0x20000, 0x200000, PAGE, DMA_READ);
	leaf(0x21000, 0x201000, PAGE, RW);
	/* 8 MiB from the middle of a line. */
	pages(5 * MIB, 8 * MIB, 512, RW);
	ioas = move(0, v1(9, 0x5000));
	cr_assert_gt(ioas, BLOCKED);
	expect_mirror(ioas);
	cr_assert_eq(at(ioas, 0x10000)->length, 3 * PAGE);
	cr_assert_eq(at(ioas, 0x13000)->length, PAGE);
	cr_assert_eq(at(ioas, 0x20000)->length, PAGE);
	cr_assert_eq(at(ioas, 5 * MIB)->length, 1 * MIB);
	cr_assert_eq(map_calls, 6);
	cr_assert_eq(dma.counters.bytes_mapped, (6 + 512) * PAGE);
}

Test(vfio_shadow, only_what_changed_is_touched)
{
	uint32_t ioas = move(0, v1(9, 0x5000));

	for (unsigned i = 0; i < 100; i++) {
		leaf(0x100000 + i * 2 * PAGE, i * PAGE, PAGE, RW);
		vfio_follow_pages_changed(&follow, 9, 0x100000 + i * 2 * PAGE,
					  0x100000 + i * 2 * PAGE + 0xfff);
	}
	expect_mirror(ioas);
	cr_assert_eq(map_calls, 100);
	cr_assert_eq(unmap_calls, 0);

	/* All of it, unchanged: nothing happens to live mappings. */
	vfio_follow_pages_changed(&follow, 9, 0, UINT64_MAX);
	cr_assert_eq(map_calls, 100);
	cr_assert_eq(unmap_calls, 0);

	unleaf(0x100000);
	vfio_follow_pages_changed(&follow, 9, 0x100000, 0x100fff);
	cr_assert_eq(unmap_calls, 1);
	cr_assert_null(at(ioas, 0x100000));
	expect_mirror(ioas);

	/* Another domain is none of its business. */
	unleaf(0x102000);
	vfio_follow_pages_changed(&follow, 8, 0, UINT64_MAX);
	cr_assert_eq(unmap_calls, 1);
	vfio_follow_pages_changed(&follow, 9, 0x102000, 0x102fff);
	expect_mirror(ioas);
}

Test(vfio_shadow, adjacent_mappings_survive_each_other)
{
	uint32_t ioas = move(0, v1(9, 0x5000));

	/* Mapped one after the other: contiguous in both spaces, but two mappings. */
	leaf(0x10000, 0x100000, PAGE, RW);
	vfio_follow_pages_changed(&follow, 9, 0x10000, 0x10fff);
	leaf(0x11000, 0x101000, PAGE, RW);
	vfio_follow_pages_changed(&follow, 9, 0x11000, 0x11fff);
	cr_assert_eq(map_calls, 2);
	/* A flush of everything must not take them away, not even for a moment. */
	vfio_follow_pages_changed(&follow, 9, 0, UINT64_MAX);
	cr_assert_eq(unmap_calls, 0);
	/* Growing around what is there maps only the rest. */
	leaf(0xf000, 0xff000, PAGE, RW);
	leaf(0x12000, 0x102000, PAGE, RW);
	vfio_follow_pages_changed(&follow, 9, 0, UINT64_MAX);
	cr_assert_eq(unmap_calls, 0);
	cr_assert_eq(map_calls, 4);
	expect_mirror(ioas);
	/* Taking one away leaves the other alone. */
	unleaf(0x11000);
	vfio_follow_pages_changed(&follow, 9, 0x11000, 0x11fff);
	cr_assert_eq(unmap_calls, 1);
	cr_assert_eq(map_calls, 4);
	expect_mirror(ioas);
}

Test(vfio_shadow, another_page_at_the_same_place)
{
	uint32_t ioas;

	leaf(0x10000, 0x100000, PAGE, RW);
	ioas = move(0, v1(9, 0x5000));
	table[0].gpa = 0x300000;
	vfio_follow_pages_changed(&follow, 9, 0x10000, 0x10fff);
	expect(ioas, 0x10000, 0x300000, RW);
	expect_mirror(ioas);
}

Test(vfio_shadow, other_permissions)
{
	uint32_t ioas;

	leaf(0x10000, 0x100000, PAGE, RW);
	ioas = move(0, v1(9, 0x5000));
	table[0].prot = DMA_READ;
	vfio_follow_pages_changed(&follow, 9, 0x10000, 0x10fff);
	expect(ioas, 0x10000, 0x100000, DMA_READ);
	table[0].prot = 0;
	vfio_follow_pages_changed(&follow, 9, 0x10000, 0x10fff);
	cr_assert_null(at(ioas, 0x10000));
}

Test(vfio_shadow, a_part_of_a_mapping_goes)
{
	uint32_t ioas;

	pages(0x10000, 0x100000, 16, RW);
	ioas = move(0, v1(9, 0x5000));
	cr_assert_eq(space[ioas].count, 1);
	unleaf(0x14000);
	vfio_follow_pages_changed(&follow, 9, 0x14000, 0x14fff);
	cr_assert_null(at(ioas, 0x14000));
	expect_mirror(ioas);
	cr_assert_eq(space[ioas].count, 2);
}

Test(vfio_shadow, large_leaf_becomes_small_ones)
{
	uint32_t ioas;

	leaf(0, RAM_HIGH, 16 * MIB, RW);
	ioas = move(0, v1(9, 0x5000));
	cr_assert_eq(space[ioas].count, 8);
	leaves = 0;
	leaf(0, RAM_HIGH, 2 * MIB, RW);
	pages(2 * MIB, 0x40000, 4, RW);
	leaf(4 * MIB, RAM_HIGH + 4 * MIB, 12 * MIB, RW);
	unmap_calls = 0;
	/* One page of it is invalidated; only the 2 MiB around it may be looked at. */
	walked = 0;
	vfio_follow_pages_changed(&follow, 9, 2 * MIB, 2 * MIB + 0xfff);
	cr_assert_eq(unmap_calls, 1);
	cr_assert_leq(walked, 2 * MIB);
	expect_mirror(ioas);
}

Test(vfio_shadow, outside_ram_is_skipped)
{
	uint32_t ioas;

	leaf(0x10000, RAM_LOW - PAGE, 2 * PAGE, RW); /* half in, half out */
	leaf(0x20000, 0xfee00000, PAGE, RW);
	leaf(0x30000, UINT64_C(0xfffffffffff000), PAGE, RW);
	ioas = move(0, v1(9, 0x5000));
	cr_assert_gt(ioas, BLOCKED);
	cr_assert_eq(space[ioas].count, 1);
	cr_assert_eq(space[ioas].mapping[0].length, PAGE);
	cr_assert_eq(dma.counters.skipped, 3);
	leaves = 0;
}

Test(vfio_shadow, the_ends_of_the_address_space)
{
	uint32_t ioas;

	leaf(0, 0x100000, PAGE, RW);
	leaf(UINT64_C(0xfffffffffffff000), 0x200000, PAGE, RW);
	ioas = move(0, v1(9, 0x5000));
	cr_assert_eq(space[ioas].count, 2);
	vfio_follow_pages_changed(&follow, 9, UINT64_C(0xfffffffffffff000), UINT64_MAX);
	cr_assert_eq(unmap_calls, 0);
	unleaf(UINT64_C(0xfffffffffffff000));
	vfio_follow_pages_changed(&follow, 9, UINT64_C(0xfffffffffffff000), UINT64_MAX);
	cr_assert_eq(space[ioas].count, 1);
	vfio_follow_pages_changed(&follow, 9, 5, 4); /* an empty range */
}

Test(vfio_shadow, switching_domains)
{
	uint32_t first, second;

	leaf(0x10000, 0x100000, PAGE, RW);
	first = move(0, v1(9, 0x5000));
	cr_assert_eq(move(1, v1(9, 0x5000)), first, "one domain, one mirror");
	cr_assert_eq(dma.counters.domains, 1);
	second = move(1, v1(10, 0x9000));
	cr_assert_neq(second, first);
	cr_assert(second > BLOCKED);
	cr_assert_eq(dma.counters.domains, 2);
	expect_mirror(first);
	expect_mirror(second);
	/* The same domain id with another table is another mirror. */
	cr_assert_neq(move(1, v1(9, 0x9000)), first);
	cr_assert_eq(move(0, (struct amd_device_state){.kind = AMD_TRANSLATION_BLOCKED}), BLOCKED);
	cr_assert_not(space[first].live);
	cr_assert_eq(
		move(0, (struct amd_device_state){.kind = AMD_TRANSLATION_IDENTITY, .prot = RW}),
		BASE);
}

Test(vfio_shadow, guest_tables)
{
	struct amd_device_state state = v2(9, 0x5000);
	uint32_t ioas;

	leaf(0x10000, 0x100000, PAGE, RW);
	ioas = move(0, state);
	cr_assert_gt(ioas, BLOCKED);
	expect_mirror(ioas);
	leaf(0x20000, 0x200000, PAGE, RW);
	vfio_follow_pages_changed(&follow, 9, 0x20000, 0x20fff);
	expect_mirror(ioas);
	cr_assert_eq(map_calls, 2);
	cr_assert_eq(move(1, state), ioas, "one domain, one mirror");
	/* Whatever makes it other tables makes it another mirror. */
	cr_assert_neq(move(1, v1(9, 0x5000)), ioas);
	cr_assert_neq(move(1, v2(9, 0x6000)), ioas);
	state.guest_levels = 5;
	cr_assert_neq(move(1, state), ioas);
	state = v2(9, 0x5000);
	state.gcr3_levels = 2;
	cr_assert_neq(move(1, state), ioas);
	state = v2(9, 0x5000);
	state.gcr3_gpa = true;
	cr_assert_neq(move(1, state), ioas);
	state = v2(9, 0x5000);
	state.mode = 3;
	state.root = 0x7000;
	cr_assert_neq(move(1, state), ioas, "nested");
	state = v1(9, 0x5000);
	state.had = 3;
	ioas = move(0, v1(9, 0x5000));
	cr_assert_neq(move(1, state), ioas, "only one of them keeps D");
}

Test(vfio_shadow, identity_with_permissions)
{
	uint32_t ioas = move(
		0, (struct amd_device_state){.kind = AMD_TRANSLATION_IDENTITY, .prot = DMA_READ});

	cr_assert_gt(ioas, BLOCKED);
	expect(ioas, 0x5000, 0x5000, DMA_READ);
	expect(ioas, RAM_HIGH, RAM_HIGH, DMA_READ);
	cr_assert_eq(move(0, (struct amd_device_state){.kind = AMD_TRANSLATION_IDENTITY}), BLOCKED);
}

/* A blocked device has the range and nothing else; one that moves is another mirror. */
Test(vfio_shadow, exclusion_range)
{
	struct amd_device_state state = {.kind = AMD_TRANSLATION_BLOCKED,
					 .excluded = true,
					 .excluded_first = 0x10000,
					 .excluded_last = 0x10fff};
	uint32_t ioas, moved;

	leaf(0x10000, 0x10000, PAGE, RW); /* as the engine would say it */
	ioas = move(0, state);
	cr_assert_gt(ioas, BLOCKED);
	expect_mirror(ioas);
	cr_assert_eq(space[ioas].count, 1);
	expect(ioas, 0x10000, 0x10000, RW);
	state.excluded_last = 0x11fff;
	moved = move(1, state);
	cr_assert_neq(moved, ioas);
	cr_assert_gt(moved, BLOCKED);
	state.excluded = false;
	cr_assert_eq(move(1, state), BLOCKED);
}

Test(vfio_shadow, the_dte_limits_the_leaves)
{
	struct amd_device_state state = v1(9, 0x5000);

	state.prot = DMA_WRITE;
	leaf(0x10000, 0x100000, PAGE, RW);
	leaf(0x11000, 0x101000, PAGE, DMA_READ);
	uint32_t ioas = move(0, state);
	expect(ioas, 0x10000, 0x100000, DMA_WRITE);
	cr_assert_null(at(ioas, 0x11000));
}

Test(vfio_shadow, device_table_invalidation_reads_the_tables_anew)
{
	uint32_t ioas;

	leaf(0x10000, 0x100000, PAGE, RW);
	ioas = move(0, v1(9, 0x5000));
	table[0].gpa = 0x200000;
	cr_assert_eq(move(0, v1(9, 0x5000)), ioas);
	expect(ioas, 0x10000, 0x200000, RW);
}

/* INVALIDATE_IOMMU_ALL: what devices share is read once, however many they are. */
Test(vfio_shadow, all_of_it_is_read_once_a_domain)
{
	uint32_t shared, own;
	uint64_t before;

	leaf(0x10000, 0x100000, PAGE, RW);
	shared = move(0, v1(9, 0x5000));
	cr_assert_eq(move(1, v1(9, 0x5000)), shared);
	own = move(2, v1(10, 0x9000));
	table[0].gpa = 0x200000;
	before = dma.counters.syncs;
	vfio_follow_all_changed(&follow);
	cr_expect_eq(dma.counters.syncs - before, 2, "%llu",
		     (unsigned long long)(dma.counters.syncs - before));
	expect(shared, 0x10000, 0x200000, RW);
	expect(own, 0x10000, 0x200000, RW);
	/* And so each time, with devices that move meanwhile. */
	table[0].gpa = 0x300000;
	device_state[1] = v1(10, 0x9000);
	before = dma.counters.syncs;
	vfio_follow_all_changed(&follow);
	cr_expect_eq(dma.counters.syncs - before, 2);
	cr_expect_eq(device_ioas[1], own);
	expect(shared, 0x10000, 0x300000, RW);
	expect(own, 0x10000, 0x300000, RW);
}

Test(vfio_shadow, out_of_memory_blocks)
{
	uint32_t ioas;

	leaf(0x10000, 0x100000, PAGE, RW);
	ioas = move(0, v1(9, 0x5000));
	move(1, v1(9, 0x5000));
	pages(0x20000, 0x200000, 1, RW);
	leaf(0x30000, 0x300000, PAGE, RW);
	fail_map_at = map_calls + 2; /* after a part of it */
	vfio_follow_pages_changed(&follow, 9, 0x20000, 0x30fff);
	cr_assert_eq(device_ioas[0], BLOCKED);
	cr_assert_eq(device_ioas[1], BLOCKED);
	cr_assert_not(space[ioas].live, "stale mappings are gone");
	cr_assert_eq(dma.counters.failures, 1);
	/* It stays so while the guest goes on mapping... */
	fail_map_at = 0;
	vfio_follow_pages_changed(&follow, 9, 0, UINT64_MAX);
	cr_assert_eq(device_ioas[0], BLOCKED);
	/* ...and ends for each device when its DTE is written. */
	ioas = move(0, v1(9, 0x5000));
	cr_assert_gt(ioas, BLOCKED);
	cr_assert_eq(device_ioas[1], BLOCKED);
	expect_mirror(ioas);
	cr_assert_eq(move(1, v1(9, 0x5000)), ioas);
}

Test(vfio_shadow, too_many_mappings_block)
{
	follow.limit = 16;
	for (unsigned i = 0; i < 16; i++)
		leaf(i * 2 * PAGE, 0, PAGE, RW);
	cr_assert_gt(move(0, v1(9, 0x5000)), BLOCKED);
	leaf(0x100000, 0, PAGE, RW);
	vfio_follow_pages_changed(&follow, 9, 0x100000, 0x100fff);
	cr_assert_eq(device_ioas[0], BLOCKED);
	cr_assert_eq(move(0, v1(10, 0x5000)), BLOCKED, "too many at once");
	/* One long run counts by its lines. */
	leaves = 0;
	leaf(0, 0, 32 * MIB, RW);
	cr_assert_gt(move(0, v1(11, 0x5000)), BLOCKED);
	leaf(32 * MIB, 32 * MIB, PAGE, RW);
	cr_assert_eq(move(0, v1(11, 0x5000)), BLOCKED);
}

Test(vfio_shadow, tables_too_large_block)
{
	move(0, v1(9, 0x5000));
	fail_walk = -E2BIG;
	vfio_follow_pages_changed(&follow, 9, 0, UINT64_MAX);
	cr_assert_eq(device_ioas[0], BLOCKED);
	fail_walk = 0;
}

Test(vfio_shadow, attach_refused_blocks)
{
	fail_attach_ioas = BLOCKED + 1; /* the first mirror */
	cr_assert_eq(move(0, v1(9, 0x5000)), BLOCKED);
	fail_attach_ioas = 0;
	cr_assert_gt(move(0, v1(9, 0x5000)), BLOCKED);
	/* Not even the empty space: detached altogether. */
	fail_attach_ioas = BLOCKED;
	cr_assert_eq(move(0, (struct amd_device_state){.kind = AMD_TRANSLATION_BLOCKED}), 0);
	fail_attach_ioas = 0;
	cr_assert_eq(move(0, (struct amd_device_state){.kind = AMD_TRANSLATION_BLOCKED}), BLOCKED);
}

Test(vfio_shadow, no_address_space_blocks)
{
	fail_alloc = 1;
	cr_assert_eq(move(0, v1(9, 0x5000)), BLOCKED);
	fail_alloc = 0;
	cr_assert_gt(move(0, v1(9, 0x5000)), BLOCKED);
}

/* Random changes, each followed by the flush that a driver would send. */
Test(vfio_shadow, random_changes)
{
	uint32_t ioas = move(0, v1(9, 0x5000)), random = 12345;

	for (unsigned step = 0; step < 2000; step++) {
		random = random * 1664525 + 1013904223;
		uint64_t iova = (random >> 8 & 127) * PAGE;
		unsigned count = 1 + (random >> 16 & 7);

		for (unsigned i = 0; i < count; i++) {
			for (unsigned j = 0; j < leaves; j++) {
				if (table[j].iova == iova + i * PAGE) {
					unleaf(iova + i * PAGE);
					break;
				}
			}
		}
		if (random >> 24 & 1)
			pages(iova, (random >> 4 & 63) * PAGE, count,
			      random >> 25 & 1 ? RW : DMA_READ);
		vfio_follow_pages_changed(&follow, 9, iova, iova + count * PAGE - 1);
		expect_mirror(ioas);
	}
	cr_assert_eq(dma.counters.failures, 0);
	cr_assert_eq(dma.counters.maps - dma.counters.unmaps, space[ioas].count);
}
