// SPDX-License-Identifier: Apache-2.0
/* The AMD IOMMU's registers: what may be written where and when (48882 section 3.4). */
#include <errno.h>

#include "amd_unit.h"

/* Every bit written, none enabled: what stays is what the register has. */
Test(amd_registers, masks)
{
	static const struct {
		const char *name;
		uint16_t offset;
		uint64_t reset, ones;
	} cases[] = {
		{"device table base", 0x0000, 0, 0x000ffffffffff1ff},
		{"command buffer base", 0x0008, 8ull << 56, 0x0f0ffffffffff000},
		{"event log base", 0x0010, 8ull << 56, 0x0f0ffffffffff000},
		{"exclusion base", 0x0020, 0, 0x000ffffffffff003},
		{"exclusion limit", 0x0028, 0, 0x000ffffffffff000},
		{"extended features are read-only", 0x0030, 0x8cc, 0x8cc},
		{"PPR log base", 0x0038, 8ull << 56, 0x0f0ffffffffff000},
		{"XT general interrupt", 0x0170, 0, 0xff0001ffffffff04},
		{"XT PPR interrupt", 0x0178, 0, 0xff0001ffffffff04},
		{"XT GA log interrupt", 0x0180, 0, 0xff0001ffffffff04},
		{"extended features 2 are read-only", 0x01a0, 0, 0},
		{"status", 0x2020, 0, 0},
		/* The bases above have length 15: 19 bits of offset. */
		{"command head", 0x2000, 0, 0x7fff0},
		{"event head", 0x2010, 0, 0x7fff0},
		{"event tail", 0x2018, 0, 0x7fff0},
		{"PPR head", 0x2030, 0, 0x7fff0},
		{"PPR tail", 0x2038, 0, 0x7fff0},
	};
	struct unit u;

	unit_new(&u, AMD_IOMMU_EFR_DEFAULT);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
		cr_assert_eq(reg_get(&u, cases[i].offset), cases[i].reset, "%s", cases[i].name);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		reg_set(&u, cases[i].offset, ~0ull);
		cr_assert_eq(reg_get(&u, cases[i].offset), cases[i].ones, "%s: %lx", cases[i].name,
			     reg_get(&u, cases[i].offset));
	}
	amd_iommu_engine_reset(u.e);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
		cr_assert_eq(reg_get(&u, cases[i].offset), cases[i].reset, "%s after reset",
			     cases[i].name);
	cr_assert_eq(reg_get(&u, R_CONTROL), C_COH);
	unit_free(&u);
}

Test(amd_registers, no_such_register)
{
	static const uint16_t none[] = {0x0040, 0x00e0, 0x0158, 0x1ff8,
					0x2028, 0x2040, 0x4000, 0xfff8};
	struct unit u;
	uint64_t value;

	unit_new(&u, AMD_IOMMU_EFR_DEFAULT);
	for (unsigned i = 0; i < ARRAY_SIZE(none); i++) {
		cr_assert_eq(amd_iommu_engine_set(u.e, none[i], 1), -EOPNOTSUPP, "%x", none[i]);
		cr_assert_eq(amd_iommu_engine_get(u.e, none[i], &value), -EOPNOTSUPP);
	}
	cr_assert_eq(amd_iommu_engine_set(u.e, 0x2004, 1), -EINVAL);
	cr_assert_eq(amd_iommu_engine_get(u.e, 0x1, &value), -EINVAL);
	unit_free(&u);
}

/* Features that the engine does not have are not promised to the guest. */
Test(amd_registers, features)
{
	static const struct {
		uint64_t efr, efr2;
		bool implemented;
	} cases[] = {
		{BIT(0), 0, true}, /* prefetch */
		{BIT(1), 0, true}, /* PPR */
		{BIT(5), 0, false},
		{BIT(24), 0, false}, /* dual PPR logs */
		{BIT(40), 0, false}, /* early overflow */
		{BIT(41), 0, false}, /* automatic responses */
		{BIT(54), 0, false}, /* InvIotlbType */
		{BIT(8), 0, false},
		{BIT(9), 0, false},
		{BIT(63), 0, false},
		{3ull << 10, 0, false},		  /* HATS: no levels */
		{BIT(4), 0, true},		  /* GT */
		{BIT(4) | 1ull << 12, 0, true},	  /* GATS: 5 levels */
		{BIT(4) | 2ull << 12, 0, false},  /* reserved */
		{BIT(4) | 2ull << 14, 0, true},	  /* GLX: 3 levels */
		{BIT(4) | 3ull << 14, 0, false},  /* reserved */
		{BIT(4) | 15ull << 32, 0, true},  /* PASmax */
		{BIT(4) | 16ull << 32, 0, false}, /* rule 10 */
		{BIT(4), BIT(3), true},		  /* GCR3TRPMode */
		{BIT(4), BIT(2), false},	  /* TMPM */
		{0, 1ull << 8, true},		  /* 2048 interrupts */
		{0, 2ull << 8, false},		  /* reserved */
		{AMD_IOMMU_EFR_FULL, AMD_IOMMU_EFR2_FULL, true},
		{BIT(4) | BIT(48) | BIT(37), 0, true},
		{BIT(49), 0, true},	      /* HA */
		{BIT(49) | BIT(52), 0, true}, /* HD */
		{BIT(52), 0, false},	      /* HD without HA */
		/* Of guest tables, without GT */
		{1ull << 12, 0, false},
		{1ull << 14, 0, false},
		{1ull << 32, 0, false},
		{BIT(37), 0, false},
		{BIT(48), 0, false},
		{BIT(50), 0, false},
		{0, BIT(3), false},
		{AMD_IOMMU_EFR_V2, AMD_IOMMU_EFR2_V2, true},
	};
	struct guest_memory gm = {0};
	struct amd_iommu_config config = {.memory = &gm};
	struct amd_iommu_engine *e = NULL;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		int ret;

		config.features.efr = AMD_IOMMU_EFR_DEFAULT | cases[i].efr;
		config.features.efr2 = cases[i].efr2;
		ret = amd_iommu_engine_new(&config, &e);
		cr_assert_eq(ret, cases[i].implemented ? 0 : -EOPNOTSUPP, "EFR %lx, EFR2 %lx",
			     cases[i].efr, cases[i].efr2);
		if (!ret)
			amd_iommu_engine_free(e);
	}
}

/* Reference 10.2 case 33. */
Test(amd_registers, control_bits_follow_features)
{
	static const struct {
		uint64_t efr, efr2, control;
	} cases[] = {
		{0x8cc, 0, 0x000c000000021fff & ~(BIT(0) | BIT(2) | BIT(12))},
		{0x848, 0, 0x0000000000001fff & ~(BIT(0) | BIT(2) | BIT(12))},
		{0x848 | BIT(7), 0, 0x0000000000021fff & ~(BIT(0) | BIT(2) | BIT(12))},
		{0x858, 0, 0x0000000000011fff & ~(BIT(0) | BIT(2) | BIT(12))},
		{0x858 | BIT(50), 0, 0x0000200000011fff & ~(BIT(0) | BIT(2) | BIT(12))},
		{0x848 | BIT(49), 0, 0x0000c00000001fff & ~(BIT(0) | BIT(2) | BIT(12))},
		{0x858, BIT(3), 0x0400000000011fff & ~(BIT(0) | BIT(2) | BIT(12))},
		/* NumIntRemapMode 3 is none: the mode stays. */
		{0x848, 1ull << 8, 0x0000000000001fff & ~(BIT(0) | BIT(2) | BIT(12))},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct unit u;

		unit_new_features(&u, cases[i].efr, cases[i].efr2);
		reg_set(&u, R_CONTROL, ~(BIT(0) | BIT(2) | BIT(12)));
		cr_assert_eq(reg_get(&u, R_CONTROL), cases[i].control, "EFR %lx: %lx", cases[i].efr,
			     reg_get(&u, R_CONTROL));
		unit_free(&u);
	}
}

/* Section 3.3: Run bits are right when the write of the control register is over. */
Test(amd_registers, run_bits)
{
	static const struct {
		const char *name;
		uint64_t control, cmd_base, evt_base, run;
	} cases[] = {
		{"disabled", 0, 9ull << 56, 9ull << 56, 0},
		{"IommuEn alone", C_IOMMU, 9ull << 56, 9ull << 56, 0},
		{"CmdBufEn without IommuEn", C_CMD, 9ull << 56, 9ull << 56, 0},
		{"EventLogEn without IommuEn", C_EVT, 9ull << 56, 9ull << 56, 0},
		{"both rings", C_RUNNING, 9ull << 56, 9ull << 56, S_CMDRUN | S_EVTRUN},
		{"command length 7 is reserved", C_RUNNING, 7ull << 56, 8ull << 56, S_EVTRUN},
		{"event length 0 is reserved", C_RUNNING, 8ull << 56, 0, S_CMDRUN},
		{"longest", C_RUNNING, 15ull << 56, 15ull << 56, S_CMDRUN | S_EVTRUN},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct unit u;

		unit_new(&u, AMD_IOMMU_EFR_DEFAULT);
		reg_set(&u, R_CMD_BASE, CMDBUF | cases[i].cmd_base);
		reg_set(&u, R_EVT_BASE, EVTLOG | cases[i].evt_base);
		reg_set(&u, R_CONTROL, cases[i].control);
		cr_assert_eq(reg_get(&u, R_STATUS), cases[i].run, "%s", cases[i].name);
		reg_set(&u, R_CONTROL, reg_get(&u, R_CONTROL) & ~C_IOMMU);
		cr_assert_eq(reg_get(&u, R_STATUS), 0, "%s: IommuEn cleared", cases[i].name);
		unit_free(&u);
	}
}

/* Cases 25 and 26; a running ring's head is the unit's own. */
Test(amd_registers, base_is_locked_by_its_run_bit_only)
{
	struct unit u;

	unit_start(&u, C_IOMMU | C_CMD);
	reg_set(&u, R_CMD_BASE, 0x9000 | 8ull << 56);
	cr_assert_eq(reg_get(&u, R_CMD_BASE), CMDBUF | 9ull << 56, "taken while CmdBufRun");
	reg_set(&u, R_CMD_HEAD, 0x40);
	cr_assert_eq(reg_get(&u, R_CMD_HEAD), 0, "head written while CmdBufRun");

	reg_set(&u, R_EVT_HEAD, 0x40);
	reg_set(&u, R_EVT_TAIL, 0x80);
	reg_set(&u, R_EVT_BASE, 0xa000 | 8ull << 56);
	cr_assert_eq(reg_get(&u, R_EVT_BASE), 0xa000 | 8ull << 56, "IommuEn does not lock it");
	cr_assert_eq(reg_get(&u, R_EVT_HEAD), 0);
	cr_assert_eq(reg_get(&u, R_EVT_TAIL), 0);

	reg_set(&u, R_CONTROL, C_IOMMU | C_EVT);
	reg_set(&u, R_EVT_BASE, EVTLOG | 9ull << 56);
	cr_assert_eq(reg_get(&u, R_EVT_BASE), 0xa000 | 8ull << 56, "taken while EvtLogRun");
	reg_set(&u, R_EVT_TAIL, 0x80);
	cr_assert_eq(reg_get(&u, R_EVT_TAIL), 0, "tail written while EvtLogRun");
	reg_set(&u, R_CMD_BASE, CMDBUF | 10ull << 56);
	cr_assert_eq(reg_get(&u, R_CMD_BASE), CMDBUF | 10ull << 56, "CmdBufEn is off");
	unit_free(&u);
}

/* Case 29: a pointer never leaves its ring, and a reserved length has no pointers at all. */
Test(amd_registers, pointers_stay_in_the_ring)
{
	struct unit u;

	unit_new(&u, AMD_IOMMU_EFR_DEFAULT);
	for (unsigned log2 = 0; log2 < 16; log2++) {
		uint64_t mask = log2 < 8 ? 0 : (16ull << log2) - 16;

		reg_set(&u, R_CMD_BASE, CMDBUF | (uint64_t)log2 << 56);
		reg_set(&u, R_EVT_BASE, EVTLOG | (uint64_t)log2 << 56);
		for (uint16_t r = R_CMD_HEAD; r <= R_EVT_TAIL; r += 8) {
			reg_set(&u, r, 0x7ffff);
			cr_assert_eq(reg_get(&u, r), mask, "length %u, register %x", log2, r);
		}
		reg_set(&u, R_CONTROL, C_RUNNING);
		reg_set(&u, R_CONTROL, 0);
	}
	unit_free(&u);
}

/* Case 31. */
Test(amd_registers, status_is_write_1_to_clear)
{
	struct unit u;

	unit_start(&u, C_RUNNING);
	cmd(&u, 1ull << 60 | BIT(1), 0);
	cr_assert_eq(reg_get(&u, R_STATUS), S_CWINT | S_CMDRUN | S_EVTRUN);
	reg_set(&u, R_STATUS, 0);
	reg_set(&u, R_STATUS, ~S_CWINT);
	cr_assert_eq(reg_get(&u, R_STATUS), S_CWINT | S_CMDRUN | S_EVTRUN, "others cleared it");
	reg_set(&u, R_STATUS, S_CWINT);
	cr_assert_eq(reg_get(&u, R_STATUS), S_CMDRUN | S_EVTRUN);
	unit_free(&u);
}

/* Everything that concerns all devices is told for each that is watched. */
Test(amd_registers, global_changes_reach_every_watched_device)
{
	struct unit u;
	struct dma_space *ds;

	unit_start(&u, C_COH);
	cr_assert_eq(amd_iommu_engine_watch(u.e, 1), 0);
	cr_assert_eq(amd_iommu_engine_watch(u.e, 2), 0);
	cr_assert_eq(amd_iommu_engine_watch(u.e, 2), 0, "twice");
	cr_assert_eq(amd_iommu_dma_space_new(u.e, 3, &ds), 0);

	u.devices = u.interrupts_all = 0;
	reg_set(&u, R_DEVTAB, DEVTAB);
	cr_assert_eq(u.devices, 0, "the table does not matter while disabled");
	reg_set(&u, R_CONTROL, C_RUNNING);
	cr_assert_eq(u.devices, 3, "IommuEn");
	cr_assert_eq(u.interrupts_all, 1);
	reg_set(&u, R_CONTROL, C_RUNNING);
	cr_assert_eq(u.devices, 3, "nothing changed");
	reg_set(&u, R_DEVTAB, DEVTAB | 0x1ff);
	cr_assert_eq(u.devices, 6, "the table moved");
	reg_set(&u, R_CONTROL, C_RUNNING | C_GA);
	cr_assert_eq(u.devices, 6);
	cr_assert_eq(u.interrupts_all, 3, "GAEn changes what entries mean");
	amd_iommu_engine_unwatch(u.e, 2);
	reg_set(&u, R_CONTROL, C_COH);
	cr_assert_eq(u.devices, 9, "still watched once");
	amd_iommu_engine_unwatch(u.e, 2);
	amd_iommu_dma_space_free(ds);
	amd_iommu_engine_reset(u.e);
	cr_assert_eq(u.devices, 10, "reset");
	unit_free(&u);
}

Test(amd_registers, every_id_can_be_watched)
{
	struct unit u;

	unit_new(&u, AMD_IOMMU_EFR_DEFAULT);
	for (unsigned i = 0; i < 4096; i++)
		cr_assert_eq(amd_iommu_engine_watch(u.e, (uint16_t)(i * 16)), 0);
	cr_assert_eq(amd_iommu_engine_watch(u.e, 16), 0, "watched already");
	amd_iommu_engine_unwatch(u.e, 16);
	amd_iommu_engine_reset(u.e);
	cr_assert_eq(u.devices, 4096);
	for (unsigned i = 0; i < 4096; i++)
		amd_iommu_engine_unwatch(u.e, (uint16_t)(i * 16));
	amd_iommu_engine_reset(u.e);
	cr_assert_eq(u.devices, 4096, "nobody more");
	unit_free(&u);
}

/* Case 36: reset leaves nothing running and no translation behind. */
Test(amd_registers, reset)
{
	struct dma_segment seg;
	struct dma_space *ds;
	struct unit u;

	unit_start(&u, C_RUNNING);
	dte_set(&u, DEV, 3, 0, 0, 0);
	cr_assert_eq(amd_iommu_dma_space_new(u.e, DEV, &ds), 0);
	cr_assert_eq(dma_space_map(ds, 0x1000, 8, DMA_READ, &seg, 1), -EFAULT);
	amd_iommu_engine_reset(u.e);
	cr_assert_eq(reg_get(&u, R_STATUS), 0);
	cr_assert_eq(dma_space_map(ds, 0x1000, 8, DMA_READ, &seg, 1), 1);
	cr_assert_eq(seg.host, guest_memory_at(&u.gm, 0x1000, 8));
	amd_iommu_dma_space_free(ds);
	unit_free(&u);
}
