// SPDX-License-Identifier: Apache-2.0
/*
 * The vIOMMU's state: saved anywhere, restored elsewhere, and from there on the same as the
 * original; refused where it is no state, or that of another vIOMMU.
 */
#include "amd_state_unit.h"

static void differential(uint64_t efr, uint64_t efr2)
{
	unsigned messages = 0, events = 0, stopped = 0, reported = 0;

	seed = 0x9e3779b97f4a7c15;
	for (unsigned round = 0; round < 40; round++) {
		struct viommu_machine a, b;
		unsigned before;

		machine_open(&a, efr, efr2);
		machine_open(&b, efr, efr2);
		tables(&a);
		for (unsigned i = any() % 300; i; i--) {
			struct act act = act_any();

			act_on(&a, &act);
		}
		copy_to(&a, &b);
		save(&b, &other);
		cr_assert_arr_eq(&saved, &other, sizeof(saved), "round %u: not what was saved",
				 round);
		stopped += saved.unit.stopped != 0;
		for (unsigned i = 0; i < ARRAY_SIZE(saved.unit.reported); i++)
			reported += saved.unit.reported[i] != 0;
		cr_assert_eq(b.messages, 0, "a restore raised an interrupt that was sent before");
		before = a.messages;
		for (unsigned i = 0; i < 300; i++) {
			struct act act = act_any();
			uint64_t of_a = act_on(&a, &act), of_b = act_on(&b, &act);

			cr_assert_eq(of_a, of_b, "round %u, act %u of kind %u: %lx and %lx", round,
				     i, act.kind, of_a, of_b);
			cr_assert_eq(a.messages - before, b.messages, "round %u, act %u of kind %u",
				     round, i, act.kind);
			if (b.messages)
				cr_assert(a.message.addr == b.message.addr &&
					  a.message.data == b.message.data);
			cr_assert_eq(rd(&a, 0x2020, 8), rd(&b, 0x2020, 8), "round %u, act %u",
				     round, i);
		}
		expect_same(&a, &b, "at the end");
		cr_assert_arr_eq(a.ram, b.ram, RAM_SIZE, "round %u: memory differs", round);
		save(&a, &saved);
		save(&b, &other);
		cr_assert_arr_eq(&saved, &other, sizeof(saved), "round %u: states differ", round);
		messages += b.messages;
		events += get64(&b, LOG) != 0;
		machine_close(&b);
		machine_close(&a);
	}
	/* The rounds went through the machinery, not past it. */
	cr_assert_gt(messages, 100);
	cr_assert_gt(events, 20);
	cr_assert_gt(stopped, 5);
	cr_assert_gt(reported, 5);
}

Test(amd_state, restored_goes_on_as_the_original)
{
	differential(AMD_IOMMU_EFR_DEFAULT, AMD_IOMMU_EFR2_DEFAULT);
}

Test(amd_state, with_all_features)
{
	differential(AMD_IOMMU_EFR_FULL, AMD_IOMMU_EFR2_FULL);
}

/* A COMPLETION_WAIT that waits for a device waits no longer where that device is not. */
Test(amd_state, a_rested_wait_goes_on)
{
	const struct dma_range range = {0x1000, 0x1fff};
	struct viommu_machine a, b;
	const struct act up = {0};
	struct dma_hold hold;

	machine_open(&a, AMD_IOMMU_EFR_DEFAULT, 0);
	machine_open(&b, AMD_IOMMU_EFR_DEFAULT, 0);
	tables(&a);
	bring_up(&a, &up);
	dma_hold_begin(&hold, a.ds[0]);
	dma_hold_add(&hold, &range, 1);
	put64(&a, RING, 8ull << 60);
	put64(&a, RING + 16, 1ull << 60 | SEM | 1);
	put64(&a, RING + 24, 0x600d);
	wr(&a, 0x2008, 4, 0x20);
	cr_assert_eq(rd(&a, 0x2000, 4), 0x10);
	copy_to(&a, &b);
	cr_assert_eq(get64(&b, SEM), 0x600d);
	cr_assert_eq(rd(&b, 0x2000, 4), 0x20);
	cr_assert_eq(get64(&a, SEM), 0, "the original still waits");
	dma_hold_end(&hold);
	cr_assert_eq(get64(&a, SEM), 0x600d);
	expect_same(&a, &b, "both have waited");
	machine_close(&b);
	machine_close(&a);
}

static unsigned kicks;

static void kick(void *opaque)
{
	(void)opaque;
	kicks++;
}

/* A long ring that a worker is to finish: here, the one of the new machine. */
Test(amd_state, the_rest_of_a_ring_is_the_workers)
{
	struct viommu_machine a, b;
	const struct act up = {.b = 0};

	machine_open(&a, AMD_IOMMU_EFR_DEFAULT, 0);
	machine_open(&b, AMD_IOMMU_EFR_DEFAULT, 0);
	amd_iommu_engine_set_worker(a.engine, NULL, kick);
	amd_iommu_engine_set_worker(b.engine, NULL, kick);
	tables(&a);
	bring_up(&a, &up);
	wr(&a, 0x18, 8, 0);
	wr(&a, 0x8, 8, (RING | 13ull << 56));
	wr(&a, 0x18, 8, RUNNING);
	for (unsigned i = 0; i < 5000; i++)
		put64(&a, RING + i * 16, 1ull << 60 | 2);
	wr(&a, 0x2008, 4, 5000 * 16);
	cr_assert_lt(rd(&a, 0x2000, 4), 5000 * 16);
	kicks = 0;
	copy_to(&a, &b);
	cr_assert_eq(kicks, 1);
	cr_assert_eq(rd(&b, 0x2000, 4), rd(&a, 0x2000, 4), "not on this thread");
	for (unsigned i = 0; i < 5000 && rd(&b, 0x2000, 4) != 5000 * 16; i++)
		amd_iommu_engine_run(b.engine);
	cr_assert_eq(rd(&b, 0x2000, 4), 5000 * 16);
	machine_close(&b);
	machine_close(&a);
}

struct heard {
	struct amd_iommu_listener listener;
	unsigned devices, pages, all;
};

static void heard_device(struct amd_iommu_listener *l, uint16_t devid)
{
	(void)devid;
	container_of(l, struct heard, listener)->devices++;
}

static void heard_pages(struct amd_iommu_listener *l, uint16_t domain, uint64_t iova, uint64_t last)
{
	cr_assert(domain == 1 && iova == 0 && last == ~UINT64_C(0));
	container_of(l, struct heard, listener)->pages++;
}

static void heard_interrupts(struct amd_iommu_listener *l, uint16_t devid, bool all)
{
	(void)devid;
	container_of(l, struct heard, listener)->all += all;
}

/* Who mirrors tables elsewhere has none of the restored unit's. */
Test(amd_state, mirrors_are_told)
{
	struct heard heard = {
		.listener = {.device_changed = heard_device,
			     .pages_changed = heard_pages,
			     .interrupts_changed = heard_interrupts},
	};
	struct viommu_machine a, b;
	const struct act up = {.a = 1};

	machine_open(&a, AMD_IOMMU_EFR_DEFAULT, 0);
	machine_open(&b, AMD_IOMMU_EFR_DEFAULT, 0);
	tables(&a);
	bring_up(&a, &up);
	amd_iommu_engine_listen(b.engine, &heard.listener);
	copy_to(&a, &b);
	cr_assert_eq(heard.devices, DEVICES);
	cr_assert_eq(heard.pages, 1, "one domain with tables");
	cr_assert_eq(heard.all, 1);
	amd_iommu_engine_unlisten(b.engine, &heard.listener);
	machine_close(&b);
	machine_close(&a);
}

/* ---- reset ---- */

static const struct amd_iommu_register *state_register(const struct amd_viommu_state *state,
						       uint32_t offset)
{
	for (unsigned i = 0; i < state->unit.registers; i++)
		if (state->unit.reg[i].offset == offset)
			return &state->unit.reg[i];
	return NULL;
}

/* Every register something else than at power-on, everything stopped that can stop. */
static void fill(struct viommu_machine *m)
{
	static const uint16_t plain[] = {0x20,	0x28,  0x38,  0x100, 0x108, 0x110,  0x118, 0x120,
					 0x128, 0x130, 0x170, 0x178, 0x180, 0x2030, 0x2038};
	const struct act act = {.a = 1, .b = BIT(17) | BIT(50), .c = 0};
	struct act dma_act = {.a = 2};

	tables(m);
	bring_up(m, &act);
	for (unsigned i = 0; i < ARRAY_SIZE(plain); i++)
		wr(m, plain[i], 8, 0x0a0000123456715full);
	wr(m, 0x20, 8, 0x5003);
	for (unsigned i = 0; i < 400; i++) { /* requester 2 reports once: DTE.SE */
		dma_act.a = i ? 1 : 2;
		dma(m, &dma_act);
	}
	put64(m, RING, 1ull << 60 | 2);
	put64(m, RING + 16, 15ull << 60);
	wr(m, 0x2008, 4, 0x30);
	wr(m, 0x2010, 4, 0x40);
	config_wr(m, 0x04, 2, 0x7);
	config_wr(m, 0x3c, 1, 0x55);
}

static bool has_register(struct viommu_machine *m, uint32_t offset)
{
	uint64_t value;

	return !amd_iommu_engine_get(m->engine, (uint16_t)offset, &value);
}

static void reset_is_power_on(uint64_t efr, uint64_t efr2)
{
	struct viommu_machine m;

	machine_open(&m, efr, efr2);
	save(&m, &power_on);
	fill(&m);
	save(&m, &saved);
	for (unsigned i = 0; i < saved.unit.registers; i++) {
		const uint32_t offset = saved.unit.reg[i].offset;

		if (offset != 0x30 && offset != 0x1a0 && has_register(&m, offset))
			cr_assert_neq(saved.unit.reg[i].value, power_on.unit.reg[i].value,
				      "%x was not filled", offset);
	}
	cr_assert_eq(saved.unit.stopped, AMD_IOMMU_STOPPED_COMMAND | AMD_IOMMU_STOPPED_EVENT, "%x",
		     saved.unit.stopped);
	cr_assert_neq(saved.unit.signalled, 0);
	cr_assert_neq(saved.unit.reported[0], 0);
	pci_root_reset(m.root);
	save(&m, &other);
	cr_assert_arr_eq(&other, &power_on, sizeof(other));
	machine_close(&m);
}

Test(amd_state, reset_returns_everything_to_power_on)
{
	reset_is_power_on(AMD_IOMMU_EFR_DEFAULT, AMD_IOMMU_EFR2_DEFAULT);
	reset_is_power_on(AMD_IOMMU_EFR_FULL, AMD_IOMMU_EFR2_FULL);
}

/* Whatever software can change by one write is part of the state. */
Test(amd_state, knows_every_register)
{
	struct viommu_machine m;
	unsigned changed = 0;

	machine_open(&m, AMD_IOMMU_EFR_FULL, AMD_IOMMU_EFR2_FULL);
	save(&m, &power_on);
	for (unsigned offset = 0; offset < AMD_VIOMMU_WINDOW_SIZE; offset += 8) {
		const uint64_t before = rd(&m, offset, 8);
		const struct amd_iommu_register *reg;

		wr(&m, offset, 8, ~before);
		if (rd(&m, offset, 8) != before) {
			changed++;
			save(&m, &saved);
			reg = state_register(&saved, offset);
			cr_assert(reg ? reg->value == rd(&m, offset, 8)
				      : memcmp(saved.config, power_on.config, sizeof(saved.config)),
				  "%x", offset);
		}
		pci_root_reset(m.root);
	}
	cr_assert_gt(changed, 20);
	machine_close(&m);
}

/* ---- states that are none ---- */

static int restore_of(struct viommu_machine *m, const struct amd_viommu_state *state)
{
	struct amd_viommu_state *copy =
		malloc(sizeof(*copy)); /* so that a sanitizer sees its end */
	int rc;

	cr_assert_not_null(copy);
	*copy = *state;
	rc = amd_viommu_restore(m->viommu, copy);
	free(copy);
	return rc;
}

static void expect_refused(struct viommu_machine *m, const char *what, int why)
{
	cr_assert_eq(restore_of(m, &other), why, "%s: %d", what, restore_of(m, &other));
	save(m, &other);
	cr_assert_arr_eq(&other, &power_on, sizeof(other), "%s: left something behind", what);
	other = saved;
}

static struct amd_iommu_register *other_register(uint32_t offset)
{
	return (struct amd_iommu_register *)state_register(&other, offset);
}

Test(amd_state, what_is_no_state_is_refused)
{
	static const struct {
		const char *what;
		uint32_t offset;
		uint64_t bits;
		int why;
	} values[] = {
		{"device table base: a reserved bit", 0x0, BIT(11), -EINVAL},
		{"command buffer base: a reserved bit", 0x8, BIT(60), -EINVAL},
		{"Control: vIommuEn", 0x18, BIT(53), -EINVAL},
		{"Control: GTEn without GTSup", 0x18, BIT(16), -EINVAL},
		{"EFR: GTSup", 0x30, BIT(4), -EOPNOTSUPP},
		{"EFR2", 0x1a0, BIT(3), -EOPNOTSUPP},
		{"XT interrupt: a reserved bit", 0x170, BIT(0), -EINVAL},
		{"command head outside its ring", 0x2000, BIT(18), -EINVAL},
		{"command tail outside its ring", 0x2008, BIT(18), -EINVAL},
		{"event tail between two entries", 0x2018, BIT(0), -EINVAL},
		{"event head outside the log", 0x2010, BIT(18), -EINVAL},
		{"Status: a reserved bit", 0x2020, BIT(13), -EINVAL},
		{"a segment without DevTblSegSup", 0x100, BIT(12), -EINVAL},
		{"Control: DevTblSegEn without DevTblSegSup", 0x18, BIT(34), -EINVAL},
		{"exclusion limit: a reserved bit", 0x28, BIT(0), -EINVAL},
	};
	struct viommu_machine a, b;
	const struct act up = {0};

	machine_open(&a, AMD_IOMMU_EFR_DEFAULT, 0);
	machine_open(&b, AMD_IOMMU_EFR_DEFAULT, 0);
	tables(&a);
	bring_up(&a, &up);
	save(&a, &saved);
	save(&b, &power_on);
	other = saved;
	for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
		cr_assert_not_null(other_register(values[i].offset), "%s", values[i].what);
		other_register(values[i].offset)->value ^= values[i].bits;
		expect_refused(&b, values[i].what, values[i].why);
	}
#define REFUSED(why, ...)                                                                          \
	do {                                                                                       \
		__VA_ARGS__;                                                                       \
		expect_refused(&b, #__VA_ARGS__, why);                                             \
	} while (0)
	REFUSED(-EINVAL, other.magic++);
	REFUSED(-EINVAL, other.version++);
	REFUSED(-EINVAL, other.size--);
	REFUSED(-EINVAL, other.zero = 1);
	REFUSED(-EINVAL, other.unit.reg[AMD_IOMMU_STATE_REGISTERS - 1].value = 1);
	REFUSED(-EINVAL, other.unit.magic++);
	REFUSED(-EINVAL, other.unit.version++);
	REFUSED(-EINVAL, other.unit.size++);
	REFUSED(-EINVAL, other.unit.devid ^= 8);
	REFUSED(-EINVAL, other.unit.stopped = 1u << 31);
	REFUSED(-EINVAL, other.unit.signalled = BIT(3));
	REFUSED(-EINVAL, other.unit.registers = UINT32_MAX);
	REFUSED(-EINVAL, other.unit.registers--);
	REFUSED(-EINVAL, other.unit.reg[0] = other.unit.reg[1]);
	REFUSED(-EINVAL, other.unit.reg[0].zero = 1);
	REFUSED(-EOPNOTSUPP, other.unit.reg[0].offset = 0x48);
	REFUSED(-EOPNOTSUPP, other.unit.reg[0].offset = 0x10000);
	REFUSED(-EOPNOTSUPP, other.unit.registers--,
		memset(&other.unit.reg[other.unit.registers], 0, 16));
	REFUSED(-EOPNOTSUPP, other.config[0x44] ^= 0x80); /* where the window is */
	cr_assert_eq(amd_viommu_restore(b.viommu, &saved), 0, "the state itself was good");
	machine_close(&b);
	machine_close(&a);
}

/* Features more or fewer than the target's. */
Test(amd_state, other_features_are_refused)
{
	static const struct amd_iommu_features features[] = {
		{AMD_IOMMU_EFR_DEFAULT, AMD_IOMMU_EFR2_DEFAULT, false},
		{AMD_IOMMU_EFR_V2, AMD_IOMMU_EFR2_V2, false},
		{AMD_IOMMU_EFR_FULL, AMD_IOMMU_EFR2_FULL, false},
		{AMD_IOMMU_EFR_DEFAULT & ~BIT(6), 0, false},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
		for (unsigned k = 0; k < ARRAY_SIZE(features); k++) {
			struct viommu_machine a, b;

			machine_open(&a, features[i].efr, features[i].efr2);
			machine_open(&b, features[k].efr, features[k].efr2);
			save(&a, &saved);
			cr_assert_eq(restore_of(&b, &saved), i == k ? 0 : -EOPNOTSUPP, "%u to %u",
				     i, k);
			machine_close(&b);
			machine_close(&a);
		}
	}
}

/* Where a state with a wrong bit is taken, the unit has it: it lives, and saves what it was given.
 */
Test(amd_state, every_wrong_bit)
{
	struct viommu_machine a, b;
	const struct act up = {.b = BIT(17)};
	unsigned taken = 0, refused = 0;

	machine_open(&a, AMD_IOMMU_EFR_FULL, AMD_IOMMU_EFR2_FULL);
	machine_open(&b, AMD_IOMMU_EFR_FULL, AMD_IOMMU_EFR2_FULL);
	tables(&a);
	tables(&b);
	bring_up(&a, &up);
	save(&a, &saved);
	seed = 1;
	for (size_t at = 0; at < sizeof(saved); at++) {
		const size_t reported = offsetof(struct amd_viommu_state, unit.reported);
		unsigned bit = (unsigned)(any() % 8);
		struct act act = act_any();

		/* These are all alike. */
		if (at > reported && at < reported + sizeof(saved.unit.reported) - 1)
			at += 500;
		((uint8_t *)memcpy(&other, &saved, sizeof(saved)))[at] ^= (uint8_t)(1 << bit);
		if (restore_of(&b, &other)) {
			refused++;
			continue;
		}
		taken++;
		save(&b, &power_on);
		act_on(&b, &act);
	}
	cr_assert_gt(taken, 20);
	cr_assert_gt(refused, 1000);
	cr_assert_eq(restore_of(&b, &saved), 0);
	save(&b, &other);
	cr_assert_arr_eq(&other, &saved, sizeof(saved));
	machine_close(&b);
	machine_close(&a);
}

/* Many wrong bytes at once, where the words are that mean something. */
Test(amd_state, garbage)
{
	struct viommu_machine m;

	machine_open(&m, AMD_IOMMU_EFR_FULL, AMD_IOMMU_EFR2_FULL);
	tables(&m);
	seed = 2;
	for (unsigned round = 0; round < 20000; round++) {
		struct act act = act_any();

		if (round % 50 == 0)
			save(&m, &saved);
		other = saved;
		for (unsigned i = 0; i < 1 + any() % 3; i++) {
			struct amd_iommu_register *reg =
				&other.unit.reg[any() % other.unit.registers];

			if (reg->offset != 0x30 && reg->offset != 0x1a0)
				reg->value = any() % 2 ? any() : reg->value ^ BIT(any() % 64);
		}
		restore_of(&m, &other);
		act_on(&m, &act);
	}
	machine_close(&m);
}
