// SPDX-License-Identifier: Apache-2.0
/*
 * vEVENTQs in the event loop: of the soft transport, by each engine of the loop; and where
 * POSTERN_TEST_IOMMU is kernel, the events that the selftest vIOMMU of /dev/iommu is made to
 * report.
 */
#include "tests/unit/event_loop_fixture.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "devices/amd_iommu/amd_viommu.h"
#include "iommufd/uapi.h"
#include "postern/log.h"

#define TYPE   7u
#define DEPTH  100u
#define SIZE   UINT64_C(0x100000)
#define LOG    UINT64_C(0x20000)
#define NUMBER UINT64_C(0x100000)

/* ---- who is told ---- */

static struct {
	unsigned count, stop_at;
	uint64_t last[2];
	bool disorder;
} told;

static void on_event(void *opaque, const void *data)
{
	uint64_t entry[2];

	(void)opaque;
	memcpy(entry, data, sizeof(entry));
	if (told.count && entry[0] <= told.last[0])
		told.disorder = true;
	memcpy(told.last, entry, sizeof(entry));
	if (++told.count == told.stop_at)
		event_loop_stop(loop);
}

/* ---- the soft transport ---- */

static struct iommufd *ctx;
static struct guest_memory memory;
static uint32_t viommu;

static struct viommu_events_config soft_open(enum event_loop_kind kind)
{
	struct iommufd_hwpt_args hwpt = {.flags = IOMMU_HWPT_ALLOC_NEST_PARENT};
	uint64_t vf_page;
	uint32_t parent;

	memset(&told, 0, sizeof(told));
	setup(kind);
	memory.count = 1;
	memory.region[0] = (struct guest_region){.size = SIZE, .fd = -1};
	memory.region[0].host =
		mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(memory.region[0].host, MAP_FAILED);
	cr_assert_eq(iommufd_open_soft(&ctx, &memory), 0);
	cr_assert_eq(iommufd_soft_device_add(ctx, &hwpt.dev_id), 0);
	cr_assert_eq(iommufd_ioas_alloc(ctx, &hwpt.pt_id), 0);
	cr_assert_eq(iommufd_hwpt_alloc(ctx, &hwpt, &parent), 0);
	cr_assert_eq(iommufd_viommu_alloc_amd(ctx, hwpt.dev_id, parent, &viommu, &vf_page), 0);
	return (struct viommu_events_config){
		.loop = loop,
		.ctx = ctx,
		.viommu = viommu,
		.type = TYPE,
		.depth = DEPTH,
		.length = 16,
		.event = on_event,
	};
}

static void soft_close(struct viommu_events *events)
{
	viommu_events_free(events);
	cr_expect_eq(iommufd_destroy(ctx, viommu), 0, "nothing of it is left");
	event_loop_free(loop);
	iommufd_close(ctx);
	munmap(memory.region[0].host, SIZE);
}

static void report(unsigned first, unsigned count)
{
	for (unsigned i = first; i < first + count; i++) {
		const uint64_t entry[2] = {NUMBER + i, ~(uint64_t)i};

		cr_assert_eq(iommufd_soft_vevent_report(ctx, viommu, TYPE, entry, sizeof(entry)),
			     0);
	}
}

static struct viommu_events_stats stats_of(const struct viommu_events *events)
{
	struct viommu_events_stats stats;

	viommu_events_stats(events, &stats);
	return stats;
}

/* More than one read takes: the loop comes again by itself. */
LOOP_TEST(all_arrive_in_order)
{
	struct viommu_events_config config = soft_open(kind);
	struct viommu_events *events;

	cr_assert_eq(viommu_events_new(&config, &events), 0);
	report(0, DEPTH);
	told.stop_at = DEPTH;
	run();
	cr_expect_eq(told.last[0], NUMBER + DEPTH - 1);
	cr_expect_eq(told.last[1], ~(uint64_t)(DEPTH - 1));
	/* And once more, after it was quiet. */
	report(DEPTH, 1);
	told.stop_at = DEPTH + 1;
	run();
	cr_expect_eq(told.last[0], NUMBER + DEPTH);
	cr_expect_not(told.disorder);
	cr_expect_eq(stats_of(events).events, DEPTH + 1);
	cr_expect_eq(stats_of(events).lost, 0);
	soft_close(events);
}

static void stop(struct event_timer *timer)
{
	(void)timer;
	event_loop_stop(loop);
}

/* What the queue had no room for is counted, whether anything follows it or not. */
LOOP_TEST(losses_are_counted)
{
	struct viommu_events_config config = soft_open(kind);
	struct event_timer timer = {.expired = stop};
	struct viommu_events *events;

	cr_assert_eq(viommu_events_new(&config, &events), 0);
	report(0, DEPTH + 5);
	while (stats_of(events).lost < 5) {
		event_loop_timer_arm(loop, &timer, 1000000);
		run();
	}
	cr_expect_eq(told.count, DEPTH);
	cr_expect_eq(stats_of(events).lost, 5);
	/* These are lost and then followed: the numbers tell. */
	report(1000, DEPTH + 3);
	told.stop_at = 2 * DEPTH;
	run();
	report(2000, 1);
	told.stop_at = 2 * DEPTH + 1;
	run();
	while (stats_of(events).lost < 8) {
		event_loop_timer_arm(loop, &timer, 1000000);
		run();
	}
	cr_expect_eq(stats_of(events).lost, 8);
	cr_expect_eq(stats_of(events).events, 2 * DEPTH + 1);
	cr_expect_eq(told.last[0], NUMBER + 2000);
	cr_expect_not(told.disorder);
	soft_close(events);
}

LOOP_TEST(a_record_of_another_size_is_no_event)
{
	static const uint8_t small[8] = {1};
	struct viommu_events_config config = soft_open(kind);
	struct event_timer timer = {.expired = stop};
	struct viommu_events *events;

	log_set_level(LOG_LEVEL_ERROR);
	cr_assert_eq(viommu_events_new(&config, &events), 0);
	cr_assert_eq(iommufd_soft_vevent_report(ctx, viommu, TYPE, small, sizeof(small)), 0);
	event_loop_timer_arm(loop, &timer, 1000000);
	run();
	/* However long it takes to be seen, it is not taken for an event. */
	cr_expect_eq(told.count, 0);
	soft_close(events);
}

LOOP_TEST(errors)
{
	struct viommu_events_config config = soft_open(kind), bad;
	struct viommu_events *events, *other;

	for (unsigned i = 0; i < 5; i++) {
		const int want[] = {-EOPNOTSUPP, -EINVAL, -ENOENT, -EINVAL, -EINVAL};

		bad = config;
		bad.type = i == 0 ? 0 : TYPE;
		bad.depth = i == 1 ? 0 : DEPTH;
		bad.viommu = i == 2 ? 999 : viommu;
		bad.length = i == 3 ? 0 : i == 4 ? VIOMMU_EVENT_LENGTH_MAX + 1 : 16;
		cr_expect_eq(viommu_events_new(&bad, &events), want[i], "%u", i);
	}
	cr_assert_eq(viommu_events_new(&config, &events), 0);
	cr_expect_eq(viommu_events_new(&config, &other), -EEXIST);
	soft_close(events);
}

static void into_the_log(void *opaque, const void *data)
{
	uint64_t entry[2];

	memcpy(entry, data, sizeof(entry));
	cr_expect_eq(amd_iommu_engine_report(opaque, entry), 0);
	told.count++;
	event_loop_stop(loop);
}

/* The guest's own log, as accel=forward has it. */
LOOP_TEST(the_guest_reads_it)
{
	const uint64_t fault[2] = {UINT64_C(2) << 60 | 0x10, 0x1234000};
	struct viommu_events_config config = soft_open(kind);
	struct amd_iommu_engine *engine = iommufd_soft_viommu_engine(ctx, viommu);
	struct viommu_events *events;
	uint64_t value = 0;

	config.event = into_the_log;
	config.opaque = engine;
	cr_assert_eq(amd_iommu_engine_set(engine, 0x10, LOG | UINT64_C(8) << 56), 0);
	cr_assert_eq(amd_iommu_engine_set(engine, 0x18, BIT(0) | BIT(2)), 0);
	cr_assert_eq(viommu_events_new(&config, &events), 0);
	cr_assert_eq(iommufd_soft_vevent_report(ctx, viommu, TYPE, fault, sizeof(fault)), 0);
	run();
	cr_assert_eq(amd_iommu_engine_get(engine, 0x2018, &value), 0);
	cr_expect_eq(value, 16);
	cr_assert_eq(guest_memory_load64(&memory, LOG, &value), 0);
	cr_expect_eq(value, fault[0]);
	cr_assert_eq(guest_memory_load64(&memory, LOG + 8, &value), 0);
	cr_expect_eq(value, fault[1]);
	/* Software that finds a slot without a code waits for one. */
	cr_expect_eq(amd_iommu_engine_report(engine, (uint64_t[2]){0x10, 1}), -EINVAL);
	cr_assert_eq(amd_iommu_engine_get(engine, 0x2018, &value), 0);
	cr_expect_eq(value, 16);
	soft_close(events);
}

/* ---- the kernel's selftest vIOMMU ---- */

/* Linux drivers/iommu/iommufd/iommufd_test.h */
#define TEST_CMD		 0xa0
#define TEST_MOCK_DOMAIN	 2
#define TEST_MOCK_DOMAIN_REPLACE 10
#define TEST_TRIGGER_VEVENT	 17
#define TEST_HWPT_DATA_TYPE	 0xdead
#define TEST_VIOMMU_TYPE	 0xdeadbeef
#define TEST_VEVENTQ_TYPE	 0xbeefbeef
#define TEST_DEVICE_VIRT_ID	 0x99

struct test_cmd {
	uint32_t size, op, id, __reserved;
	uint32_t word[14];
};

static unsigned kernel_told;

static void on_kernel_event(void *opaque, const void *data)
{
	uint32_t virt_id;

	(void)opaque;
	memcpy(&virt_id, data, sizeof(virt_id));
	cr_expect_eq(virt_id, TEST_DEVICE_VIRT_ID);
	if (++kernel_told == told.stop_at)
		event_loop_stop(loop);
}

static void trigger(uint32_t dev, unsigned count)
{
	struct test_cmd cmd = {.size = sizeof(cmd), .op = TEST_TRIGGER_VEVENT, .word = {dev}};

	for (unsigned i = 0; i < count; i++)
		cr_assert_eq(iommufd_call(ctx, TEST_CMD, &cmd), 0);
}

LOOP_TEST(kernel)
{
	struct test_cmd cmd = {.size = sizeof(cmd), .op = TEST_MOCK_DOMAIN};
	struct iommufd_hwpt_args hwpt = {.flags = IOMMU_HWPT_ALLOC_NEST_PARENT};
	struct iommufd_viommu_args args = {.type = TEST_VIOMMU_TYPE};
	struct viommu_events_config config = {
		.type = TEST_VEVENTQ_TYPE, .depth = DEPTH, .length = 4, .event = on_kernel_event};
	const char *wanted = getenv("POSTERN_TEST_IOMMU");
	struct event_timer timer = {.expired = stop};
	struct viommu_events *events;
	uint32_t vdevice, iotlb = 0x5a;
	/* The mock device knows its id once it is attached to a nested page table. */
	struct iommufd_hwpt_args nested = {
		.data_type = TEST_HWPT_DATA_TYPE, .data_len = sizeof(iotlb), .data = &iotlb};
	struct test_cmd replace = {.size = sizeof(replace), .op = TEST_MOCK_DOMAIN_REPLACE};

	if (!wanted || strcmp(wanted, "kernel") != 0)
		return;
	memset(&told, 0, sizeof(told));
	setup(kind);
	cr_assert_eq(iommufd_open_kernel(&ctx, -1, 0x9f), 0);
	cr_assert_eq(iommufd_ioas_alloc(ctx, &hwpt.pt_id), 0);
	cmd.id = hwpt.pt_id;
	cr_assert_eq(iommufd_call(ctx, TEST_CMD, &cmd), 0);
	hwpt.dev_id = args.dev_id = cmd.word[2];
	cr_assert_eq(iommufd_hwpt_alloc(ctx, &hwpt, &args.hwpt_id), 0);
	cr_assert_eq(iommufd_viommu_alloc(ctx, &args, &config.viommu), 0);
	cr_assert_eq(iommufd_vdevice_alloc(ctx, config.viommu, args.dev_id, TEST_DEVICE_VIRT_ID,
					   &vdevice),
		     0);
	config.loop = loop;
	config.ctx = ctx;
	cr_assert_eq(viommu_events_new(&config, &events), 0);
	nested.pt_id = config.viommu;
	nested.dev_id = args.dev_id;
	replace.id = cmd.word[0];
	cr_assert_eq(iommufd_hwpt_alloc(ctx, &nested, &replace.word[0]), 0);
	cr_assert_eq(iommufd_call(ctx, TEST_CMD, &replace), 0);
	trigger(args.dev_id, 3);
	told.stop_at = 3;
	run();
	cr_expect_eq(stats_of(events).lost, 0);
	/* Seven more than there is room for. */
	trigger(args.dev_id, DEPTH + 7);
	while (stats_of(events).lost < 7) {
		event_loop_timer_arm(loop, &timer, 1000000);
		run();
	}
	cr_expect_eq(kernel_told, DEPTH + 3);
	cr_expect_eq(stats_of(events).events, DEPTH + 3);
	cr_expect_eq(stats_of(events).lost, 7);
	viommu_events_free(events);
	iommufd_close(ctx);
	event_loop_free(loop);
}
