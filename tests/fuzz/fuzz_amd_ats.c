// SPDX-License-Identifier: Apache-2.0
/*
 * Two devices with translation caches: translation requests, invalidations that they complete at
 * once, later or never, page requests with the log of them, and a guest's commands about all that.
 */
#include "postern/dma_ats.h"
#include "tests/fuzz/amd_chains.h"

#define DEVICES 2u
#define CACHED	4u
#define PPRLOG	0x4c0000ull
#define C_PAGES (C_PPR | C_PPRLOG)

static struct device {
	struct dma_atc atc;
	bool attached, slow;
	uint32_t tag[DMA_ATC_REQUESTS]; /* of invalidations that are not complete */
	unsigned open;
	struct dma_translation cached[CACHED];
} device[DEVICES];

static bool on_invalidate(struct dma_atc *atc, const struct dma_atc_invalidation *inv)
{
	struct device *d = container_of(atc, struct device, atc);

	require(d->attached && inv->iova <= inv->last);
	require(inv->untagged || inv->pasid != DMA_NO_PASID, "an invalidation of nothing");
	for (unsigned i = 0; i < CACHED; i++)
		if (d->cached[i].iova <= inv->last &&
		    d->cached[i].iova + d->cached[i].length > inv->iova)
			d->cached[i] = (struct dma_translation){0};
	if (!d->slow)
		return true;
	require(d->open < DMA_ATC_REQUESTS, "more at a time than a device must hold");
	d->tag[d->open++] = inv->tag;
	return false;
}

static void on_response(struct dma_atc *atc, uint32_t pasid, unsigned index,
			enum dma_prg_response response)
{
	(void)response;
	require(container_of(atc, struct device, atc)->attached);
	require(index < DMA_PRG_INDEXES && (pasid == DMA_NO_PASID || pasid < 1 << 20));
}

static const struct dma_atc_ops atc_ops = {on_invalidate, on_response};

static void attach(struct amd_fuzz *f, unsigned i)
{
	device[i].atc.ops = &atc_ops;
	device[i].attached = true;
	require(!dma_atc_attach(f->space[i], &device[i].atc));
}

/* What it held counts as complete. */
static void detach(struct amd_fuzz *f, unsigned i)
{
	dma_atc_detach(f->space[i], &device[i].atc);
	device[i] = (struct device){.slow = device[i].slow};
}

static void op_command(struct amd_fuzz *f, struct input *in)
{
	const unsigned how = input_u8(in);
	const uint64_t devid = amd_devid[how >> 3 & 1], pasid = how & 0x10 ? FUZZ_PASID : 0;
	struct unit *u = &f->u;

	switch (how & 3) {
	case 0: /* INVALIDATE_IOTLB_PAGES; to any device of any queue, for any size */
		cmd_put(u,
			4ull << 60 | (how & 0x80 ? input_u16(in) : devid) |
				(uint64_t)(how >> 5 & 3) << 24 | devid << 32 | pasid << 48,
			align_down(amd_input_iova(in), 4096) | (how & 4 ? 4 : 0) | (how >> 6 & 1));
		break;
	case 1: /* COMPLETE_PPR_REQUEST */
		cmd_put(u, 7ull << 60 | devid | pasid << 32,
			(uint64_t)input_u8(in) << 32 | (uint64_t)(how >> 5) << 44 |
				(how & 4 ? 4 : 0));
		break;
	case 2: /* PREFETCH_IOMMU_PAGES */
		if (!(reg_get(u, R_EFR) & 1))
			break;
		cmd_put(u, 6ull << 60 | devid | (uint64_t)(how >> 5) << 24 | pasid << 32,
			align_down(amd_input_iova(in), 4096) | (how & 4));
		break;
	default:
		cmd_put(u, 1ull << 60 | SEM | 1, how);
	}
	cmd_ring(u);
}

/* A translation is of a page that holds the address, for what was asked for. */
static void op_translate(struct amd_fuzz *f, struct input *in)
{
	const unsigned how = input_u8(in), i = (how & 3) % FUZZ_SPACES, access = 1 + how / 4 % 3;
	const uint64_t iova = amd_input_iova(in);
	struct dma_segment seg[2];
	struct dma_translation t;
	int ret = dma_translate(f->space[i], iova, access, &t);

	require(ret == 0 || ret == -EFAULT, "%d", ret);
	if (ret || !t.access)
		return;
	require(is_power_of_2(t.length) && is_aligned(t.iova, t.length), "no page");
	require(iova - t.iova < t.length && !(t.access & ~access));
	if (i < DEVICES)
		device[i].cached[how >> 6] = t;
	dma_map_translated(f->space[i], t.address + (iova - t.iova), 1, t.access, seg, 2);
}

static void op_translated(struct amd_fuzz *f, struct input *in)
{
	const unsigned how = input_u8(in), i = how & 1;
	const struct dma_translation *t = &device[i].cached[how >> 1 & 3];
	struct dma_segment seg[4];
	int n;

	n = dma_map_translated(f->space[i], how & 0x80 ? input_u64(in) : t->address,
			       1 + (how & 0x78), 1 + how / 8 % 3, seg, ARRAY_SIZE(seg));
	for (int s = 0; s < n; s++)
		require(((uint8_t *)seg[s].host)[seg[s].len - 1] >= 0);
}

static void op_page_request(struct amd_fuzz *f, struct input *in)
{
	const unsigned how = input_u8(in);
	const struct dma_page_request request = {.iova = amd_input_iova(in),
						 .access = how >> 2 & 3,
						 .last = how & 0x10,
						 .execute = how & 0x20,
						 .privileged = how & 0x40,
						 .index = input_u8(in) * (how & 0x80 ? 3 : 1)};
	enum dma_prg_response response;
	int ret = dma_page_request(f->space[(how & 3) % FUZZ_SPACES], &request, &response);

	require(ret == 0 || ret == 1 || ret == -EINVAL, "%d", ret);
	require((ret == -EINVAL) == (request.index >= DMA_PRG_INDEXES), "index %u: %d",
		request.index, ret);
}

static void op_device(struct amd_fuzz *f, struct input *in)
{
	const unsigned how = input_u8(in), i = how & 1;
	struct device *d = &device[i];

	switch (how >> 1 & 7) {
	case 0:
		if (d->attached)
			detach(f, i);
		else
			attach(f, i);
		break;
	case 1:
		d->slow = how & 0x80;
		break;
	case 2: /* completes what is not open, or from another device */
		dma_atc_invalidated(f->space[i], input_u8(in));
		break;
	case 3:
		reg_set(&f->u, 0x2030, (uint64_t)input_u8(in) << 4);
		break;
	case 4:
		reg_set(&f->u, R_STATUS, input_u8(in));
		break;
	case 5: /* the log of page requests goes off and on */
		reg_set(&f->u, R_CONTROL, f->control & ~(how & 0x40 ? C_PPR : C_PPRLOG));
		reg_set(&f->u, R_CONTROL, f->control);
		break;
	default:
		if (d->open)
			dma_atc_invalidated(f->space[i], d->tag[--d->open]);
	}
}

/* Whatever a device still owed: when it has answered, the ring goes on. */
static void settle(struct amd_fuzz *f)
{
	for (unsigned i = 0; i < DEVICES; i++)
		device[i].slow = false;
	for (unsigned i = 0; i < DEVICES; i++)
		while (device[i].open)
			dma_atc_invalidated(f->space[i], device[i].tag[--device[i].open]);
	if (reg_get(&f->u, R_STATUS) & S_CMDRUN)
		return;
	/* A command that the features do not have stopped it. */
	reg_set(&f->u, R_CONTROL, f->control & ~C_CMD);
	reg_set(&f->u, R_CMD_BASE, CMDBUF | 9ull << 56);
	reg_set(&f->u, R_CONTROL, f->control);
	f->u.tail = 0;
}

/* With nothing cached, both ways to memory lead to the same place. */
static void check_agreement(struct amd_fuzz *f, struct input *in)
{
	for (unsigned i = 0; i < DEVICES; i++) {
		const uint64_t iova = amd_input_iova(in);
		struct dma_segment direct = {0}, translated = {0};
		struct dma_translation t;
		int n, m;

		if (dma_translate(f->space[i], iova, DMA_READ, &t) || !t.access)
			continue;
		n = dma_space_map(f->space[i], iova, 1, DMA_READ, &direct, 1);
		m = dma_map_translated(f->space[i], t.address + (iova - t.iova), 1, DMA_READ,
				       &translated, 1);
		require(n == m && direct.host == translated.host, "%llx: %d and %d",
			(unsigned long long)iova, n, m);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	const unsigned how = input_u8(&in);
	struct amd_fuzz f;

	amd_fuzz_new(&f, 1 + (how & 1), C_RUNNING | C_GT);
	reg_set(&f.u, R_PPR_BASE, PPRLOG | 8ull << 56);
	f.control |= C_PAGES | (how & 2 ? C_PPRINT : 0);
	reg_set(&f.u, R_CONTROL, f.control);
	amd_chains(&f.u);
	memset(device, 0, sizeof(device));
	for (unsigned i = 0; i < DEVICES; i++)
		attach(&f, i);
	while (in.left) {
		switch (input_pick(&in, 10)) {
		case 0:
			amd_op_attach(&f, &in, BIT(52), BIT(32));
			break;
		case 1:
			amd_op_table(&f, &in);
			break;
		case 2:
			amd_op_command(&f, &in);
			break;
		case 3:
		case 4:
			op_command(&f, &in);
			break;
		case 5:
			op_translate(&f, &in);
			break;
		case 6:
			op_translated(&f, &in);
			break;
		case 7:
			op_page_request(&f, &in);
			break;
		case 8:
			op_device(&f, &in);
			break;
		default:
			amd_op_dma(&f, &in);
		}
		amd_check_rings(f.u.e);
	}
	for (unsigned i = 0; i < FUZZ_SPACES; i++)
		dma_hold_end(&f.hold[i]);
	settle(&f);
	amd_check(&f);
	in = (struct input){data, size};
	check_agreement(&f, &in);
	for (unsigned i = 0; i < DEVICES; i++)
		if (device[i].attached)
			detach(&f, i);
	amd_fuzz_free(&f);
	return 0;
}
