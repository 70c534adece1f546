/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An AMD IOMMU with two devices, driven by the bytes of a fuzzer: device table, page tables of both
 * kinds, commands and DMA. Addresses come from a few, so that what is written and what is read
 * meet.
 */
#ifndef POSTERN_FUZZ_AMD_H
#define POSTERN_FUZZ_AMD_H

#include <errno.h>

#include "tests/unit/amd_unit.h"

#include "tests/fuzz/amd_rings.h"

#define FUZZ_SPACES 3u /* two devices, and requests with PASID of the first */
#define FUZZ_PASID  1u
#define FUZZ_TABLES 16u
#define FUZZ_LEAVES 64u
#define FUZZ_WALK   2048u /* table entries that one check reads */

static const uint16_t amd_devid[FUZZ_SPACES] = {DEV, DEV + 1, DEV};

struct amd_fuzz {
	struct unit u;
	struct dma_space *space[FUZZ_SPACES];
	struct dma_hold hold[FUZZ_SPACES];
	uint64_t control;
};

static inline void amd_fuzz_new(struct amd_fuzz *f, unsigned features, uint64_t control)
{
	static const struct {
		uint64_t efr, efr2;
	} sets[] = {{AMD_IOMMU_EFR_DEFAULT, AMD_IOMMU_EFR2_DEFAULT},
		    {AMD_IOMMU_EFR_V2, AMD_IOMMU_EFR2_V2},
		    {AMD_IOMMU_EFR_FULL, AMD_IOMMU_EFR2_FULL}};

	*f = (struct amd_fuzz){.control = control};
	unit_start_features(&f->u, sets[features % ARRAY_SIZE(sets)].efr,
			    sets[features % ARRAY_SIZE(sets)].efr2, control);
	for (unsigned i = 0; i < FUZZ_SPACES; i++) {
		if (i == FUZZ_SPACES - 1)
			cr_assert_eq(amd_iommu_dma_space_new_pasid(f->u.e, amd_devid[i], FUZZ_PASID,
								   &f->space[i]),
				     0);
		else
			cr_assert_eq(amd_iommu_dma_space_new(f->u.e, amd_devid[i], &f->space[i]),
				     0);
		dma_hold_begin(&f->hold[i], f->space[i]);
	}
}

static inline void amd_fuzz_free(struct amd_fuzz *f)
{
	for (unsigned i = 0; i < FUZZ_SPACES; i++) {
		dma_hold_end(&f->hold[i]);
		amd_iommu_dma_space_free(f->space[i]);
	}
	unit_free(&f->u);
	require(fuzz_messages() <= 64, "a guest fills the log");
}

/* ---- what the guest writes ---- */

static inline uint64_t amd_input_table(struct input *in)
{
	return TABLES + input_pick(in, FUZZ_TABLES) * 4096ull;
}

/* An address with the same few indices into the tables of each level. */
static inline uint64_t amd_input_iova(struct input *in)
{
	static const uint64_t index[4] = {0, 1, 2, 511};
	static const uint64_t offset[4] = {0, 8, 0xff0, 0xfff};
	const unsigned how = input_u16(in);
	uint64_t iova = offset[how >> 12 & 3];

	if (how >> 14 == 3)
		return input_u64(in);
	for (unsigned level = 0; level < 6; level++)
		iova |= index[how >> (2 * level) & 3] << (12 + 9 * level);
	return iova;
}

/* Memory that a leaf of 2^SHIFT bytes may name: RAM, mostly. */
static inline uint64_t amd_input_page(struct input *in, unsigned shift)
{
	static const uint64_t base[4] = {0x800000, HIGH_BASE, 0, HOLE};
	const unsigned how = input_u8(in);

	return align_down(base[how & 3], BIT(shift)) + ((uint64_t)(how >> 2) << shift);
}

static inline uint64_t amd_input_entry(struct input *in)
{
	const unsigned how = input_u8(in), bits = input_u8(in);
	uint64_t entry, v1 = 1 | (uint64_t)(bits & 3) << 61, v2 = 1 | (bits & 6);
	unsigned shift;

	switch (how & 7) {
	case 0: /* v1 directory; levels may be skipped */
		entry = v1 | amd_input_table(in) | (uint64_t)(bits >> 2 & 7) << 9;
		break;
	case 1: /* v1 page of a level's size */
		entry = v1 | amd_input_page(in, 12 + 9 * (bits >> 2 & 3));
		break;
	case 2: /* v1 page of any size, in the low bits of its address */
		shift = 13 + (bits >> 2 & 31);
		entry = v1 | 7ull << 9 | amd_input_page(in, shift) |
			((BIT(shift - 1) - 1) & GENMASK(51, 12));
		break;
	case 3: /* v2 directory, or GCR3 table */
		entry = v2 | amd_input_table(in);
		break;
	case 4: /* v2 page */
		entry = v2 | amd_input_page(in, 12);
		break;
	case 5: /* v2 large page */
		entry = v2 | BIT(7) | amd_input_page(in, bits & 8 ? 30 : 21);
		break;
	case 6: /* GCR3 entry */
		entry = 1 | amd_input_table(in);
		break;
	default:
		entry = input_u64(in);
	}
	if (how & 0x80)
		entry ^= BIT(input_u8(in) % 64);
	return entry;
}

/* A run of entries in a table, each a page on from the one before if STEP says so. */
static inline void amd_op_table(struct amd_fuzz *f, struct input *in)
{
	static const uint16_t index[4] = {0, 1, 2, 511};
	const uint64_t table = amd_input_table(in);
	const unsigned how = input_u8(in);
	uint64_t entry = amd_input_entry(in);
	unsigned at = index[how & 3], count = how & 0x80 ? (how >> 2 & 31) + 1 : 1;

	for (unsigned i = 0; i < count && at + i < 512; i++) {
		put64(&f->u, table + (at + i) * 8, entry);
		entry += 4096;
	}
}

static inline void amd_op_dte(struct amd_fuzz *f, struct input *in)
{
	const uint16_t devid = amd_devid[input_pick(in, 2)];
	const unsigned how = input_u8(in), guest = input_u8(in);
	const uint64_t gcr3 = amd_input_table(in);
	uint64_t q[4] = {0};

	q[0] = (how & 1 ? 0 : 3) | (uint64_t)(how >> 1 & 7) << 9 | amd_input_table(in) |
	       (uint64_t)(how >> 4 & 3) << 61 | (uint64_t)(how >> 6) << 7;
	q[1] = 0x70 + (guest & 1);
	if (guest & 2) {
		q[0] |= BIT(55) | (uint64_t)(guest >> 2 & 1) << 54 |
			(uint64_t)(guest >> 3 & 3) << 56 | (gcr3 >> 12 & 7) << 58;
		q[1] |= (gcr3 >> 15 & 0xffff) << 16 | gcr3 >> 31 << 43;
		q[2] |= (uint64_t)(guest >> 5 & 3) << 54;
	}
	if (guest & 0x80)
		q[input_pick(in, 4)] ^= BIT(input_u8(in) % 64);
	dte_set(&f->u, devid, q[0], q[1], q[2], q[3]);
}

/* The exclusion range, for all devices or for those with EX, or off. */
static inline void amd_op_exclude(struct amd_fuzz *f, struct input *in)
{
	const uint64_t first = amd_input_iova(in), how = input_u8(in);

	reg_set(&f->u, R_EXCL_LIMIT, first + (how >> 2) * 4096);
	reg_set(&f->u, R_EXCL_BASE, align_down(first, 4096) | (how & 3));
}

/* One command of those that a driver sends, without the doorbell. */
static inline void amd_op_command(struct amd_fuzz *f, struct input *in)
{
	const unsigned how = input_u8(in);
	const uint64_t domain = 0x70 + (how >> 3 & 1);
	struct unit *u = &f->u;

	switch (how & 7) {
	case 0:
		cmd_put(u, 2ull << 60 | amd_devid[how >> 3 & 1], 0);
		break;
	case 1: /* pages, by S as many as the address says */
		cmd_put(u, 3ull << 60 | domain << 32,
			align_down(amd_input_iova(in), 4096) | (how >> 4 & 3));
		break;
	case 2:
		cmd_put(u, 3ull << 60 | domain << 32, 0x7ffffffffffff000 | 3);
		break;
	case 3: /* of a PASID, where there are guest tables */
		if (reg_get(u, R_EFR) & BIT(4))
			cmd_put(u, 3ull << 60 | domain << 32 | (how & 0x10 ? FUZZ_PASID : 0),
				align_down(amd_input_iova(in), 4096) | 4 | (how >> 5 & 1));
		break;
	case 4:
		cmd_put(u, 8ull << 60, 0);
		break;
	case 5:
		cmd_put(u, 1ull << 60 | SEM | 1, input_u8(in));
		break;
	case 6:
		cmd_put(u, 5ull << 60 | amd_devid[how >> 3 & 1], 0);
		break;
	default:
		break;
	}
	cmd_ring(u);
}

/* DMA: what the unit lets through lies in RAM, and is touched. */
static inline void amd_op_dma(struct amd_fuzz *f, struct input *in)
{
	const unsigned how = input_u8(in), i = (how & 3) % FUZZ_SPACES, access = how >> 2 & 3;
	const uint64_t iova = amd_input_iova(in), len = (uint64_t)(how >> 4) * 1000 + 1;
	const struct dma_range range = {iova, iova + (len - 1)};
	struct dma_segment seg[8];
	uint64_t bytes = 0;
	int n;

	if (how & 0x10 && range.last >= range.iova)
		dma_hold_add(&f->hold[i], &range, 1);
	n = dma_space_map(f->space[i], iova, len, access, seg, ARRAY_SIZE(seg));
	for (int s = 0; s < n; s++) {
		uint8_t *host = seg[s].host;

		require(seg[s].len, "an empty segment");
		bytes += seg[s].len;
		/* Reads only, so that tables stay what the input says; the ends are enough. */
		require(host[0] + host[seg[s].len - 1] >= 0);
	}
	require(n < 0 || bytes == len, "%d segments of %llu bytes for %llu", n,
		(unsigned long long)bytes, (unsigned long long)len);
	if (how & 0x20)
		dma_hold_end(&f->hold[i]);
}

/* ---- what must hold ---- */

struct amd_leaves {
	unsigned count;
	struct {
		uint64_t iova, gpa, length;
		unsigned prot;
	} leaf[FUZZ_LEAVES];
};

static inline int amd_leaves_add(void *opaque, uint64_t iova, uint64_t gpa, uint64_t length,
				 unsigned prot)
{
	struct amd_leaves *l = opaque;
	const unsigned n = l->count;

	require(length && iova + (length - 1) >= iova && prot && !(prot & ~3u));
	require(!n || iova > l->leaf[n - 1].iova + (l->leaf[n - 1].length - 1), "not ascending");
	if (n == FUZZ_LEAVES)
		return 1;
	l->leaf[n].iova = iova;
	l->leaf[n].gpa = gpa;
	l->leaf[n].length = length;
	l->leaf[n].prot = prot;
	l->count++;
	return 0;
}

/* One byte at IOVA of device I is at GPA, or refused where that is no memory. */
static inline void amd_expect(struct amd_fuzz *f, unsigned i, uint64_t iova, uint64_t gpa,
			      unsigned prot)
{
	const void *host = guest_memory_at(&f->u.gm, gpa, 1);

	for (unsigned access = 1; access <= 3; access++) {
		struct dma_segment seg = {0};
		const int n = dma_space_map(f->space[i], iova, 1, access, &seg, 1);

		if (access & ~prot || !host)
			require(n == -EFAULT, "device %u %llx: let through", i,
				(unsigned long long)iova);
		else
			require(n == 1 && seg.host == host, "device %u %llx: %d", i,
				(unsigned long long)iova, n);
	}
}

/*
 * With nothing cached, the two ways of reading tables agree: each leaf of the walk is what a
 * request is translated to, at both its ends, and beside it is what the next leaf says or nothing.
 * Tables may overlap, so that the marks which one of the two leaves change what the other reads:
 * then there is no verdict.
 */
static inline void amd_check_leaves(struct amd_fuzz *f, unsigned i)
{
	struct amd_leaves before = {0}, after = {0};
	struct amd_device_state state;
	int ret;

	amd_iommu_engine_device_state(f->u.e, amd_devid[i], &state);
	if (!amd_device_has_tables(&state))
		return;
	for (unsigned pass = 0; pass < 2; pass++) {
		before.count = 0;
		amd_iommu_engine_walk(f->u.e, &state, 0, ~0ull, FUZZ_WALK, amd_leaves_add, &before);
	}
	for (unsigned n = 0; n < before.count; n++) {
		uint64_t last = before.leaf[n].length - 1;

		for (unsigned end = 0; end < 2; end++) {
			struct dma_segment seg;

			dma_space_map(f->space[i], before.leaf[n].iova + (end ? last : 0), 1,
				      before.leaf[n].prot, &seg, 1);
		}
	}
	ret = amd_iommu_engine_walk(f->u.e, &state, 0, ~0ull, FUZZ_WALK, amd_leaves_add, &after);
	if (memcmp(&before, &after, sizeof(before)))
		return;
	for (unsigned n = 0; n < after.count; n++) {
		const uint64_t iova = after.leaf[n].iova, gpa = after.leaf[n].gpa;
		const uint64_t last = after.leaf[n].length - 1;
		const uint64_t next = iova + last + 1;
		const bool complete = !ret && n + 1 == after.count;

		amd_expect(f, i, iova, gpa, after.leaf[n].prot);
		amd_expect(f, i, iova + last, gpa + last, after.leaf[n].prot);
		if (next && (complete || (n + 1 < after.count && after.leaf[n + 1].iova != next)))
			amd_expect(f, i, next, 0, 0);
	}
}

/* The ring goes on, the log is off (an event must not fall into a table), nothing is cached. */
static inline void amd_check(struct amd_fuzz *f)
{
	struct unit *u = &f->u;

	amd_check_rings(u->e);
	for (unsigned i = 0; i < FUZZ_SPACES; i++)
		dma_hold_end(&f->hold[i]);
	require(!(reg_get(u, R_STATUS) & S_CMDRUN) || reg_get(u, R_CMD_HEAD) == u->tail,
		"nothing is held and the ring does not go on");
	reg_set(u, R_CONTROL, f->control & ~C_EVT);
	if (f->control & C_CMD)
		cmd(u, 8ull << 60, 0);
	for (unsigned i = 0; i < 2; i++)
		amd_check_leaves(f, i);
	reg_set(u, R_CONTROL, f->control);
}

#endif
