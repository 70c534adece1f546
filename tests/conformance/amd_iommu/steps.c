// SPDX-License-Identifier: Apache-2.0
/* The interpreter of steps. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tests/conformance/amd_iommu/unit.h"

#define BUILD_ENTRY_OPERAND 3
#define UP_RING_LOG2	    9
#define UP_LOG_LOG2	    12
#define NOTHING		    0xeeeeeeeeeeeeeeee

struct run {
	struct unit unit;
	char *complaint;
	uint64_t ring, ring_bytes, ring_at; /* where the next command goes */
	uint64_t log, log_bytes, log_at;    /* where the next event is expected */
	unsigned messages, notes;	    /* how many were looked at */
	uint64_t saved, generation;
	bool up;
};

#define LL(x) ((unsigned long long)(x))

static bool __attribute__((format(printf, 2, 3))) fail(struct run *r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(r->complaint, COMPLAINT_MAX, format, args);
	va_end(args);
	return false;
}

/* ---- accesses ---- */

static uint64_t get(struct run *r, uint64_t gpa, unsigned width)
{
	const struct platform *p = r->unit.platform;

	return p->access->read(p->opaque, gpa, width) & width_mask(width);
}

static void put(struct run *r, uint64_t gpa, unsigned width, uint64_t value)
{
	const struct platform *p = r->unit.platform;

	p->access->write(p->opaque, gpa, width, value & width_mask(width));
}

static uint64_t reg(struct run *r, unsigned offset, unsigned width)
{
	return get(r, WINDOW + offset, width);
}

static void reg_put(struct run *r, unsigned offset, unsigned width, uint64_t value)
{
	put(r, WINDOW + offset, width, value);
}

/* As memcpy_toio() of Linux does it. */
static void reg_put_halves(struct run *r, unsigned offset, uint64_t value)
{
	reg_put(r, offset, 4, (uint32_t)value);
	reg_put(r, offset + 4, 4, value >> 32);
}

static void control(struct run *r, uint64_t clear, uint64_t set)
{
	reg_put(r, R_CONTROL, 8, (reg(r, R_CONTROL, 8) & ~clear) | set);
}

static uint8_t *ram(struct run *r, uint64_t gpa, uint64_t len)
{
	return guest_memory_at(r->unit.platform->memory, gpa, len);
}

static void store(struct run *r, uint64_t gpa, unsigned width, uint64_t value)
{
	uint8_t *p = ram(r, gpa, width);

	if (p)
		memcpy(p, &value, width);
}

static uint64_t load(struct run *r, uint64_t gpa)
{
	uint64_t value = NOTHING;
	const uint8_t *p = ram(r, gpa, 8);

	if (p)
		memcpy(&value, p, 8);
	return value;
}

/* ---- software's part ---- */

static void ring_is(struct run *r, uint64_t base, uint64_t log2)
{
	r->ring = base;
	r->ring_bytes = UINT64_C(16) << log2;
	r->ring_at = 0;
}

static void log_is(struct run *r, uint64_t base, uint64_t log2, uint64_t at)
{
	r->log = base;
	r->log_bytes = UINT64_C(16) << log2;
	r->log_at = at;
}

static void bring_up(struct run *r, uint64_t bits)
{
	reg_put_halves(r, R_DEVTAB, DEVTAB | DEVTAB_SIZE);
	reg_put_halves(r, R_CMD_BASE, RING | RING_LENGTH(UP_RING_LOG2));
	reg_put(r, R_CMD_HEAD, 4, 0);
	reg_put(r, R_CMD_TAIL, 4, 0);
	control(r, 0, C_COHERENT | C_CMD_BUF_EN | bits);
	control(r, 0, C_IOMMU_EN);
	reg_put_halves(r, R_EVT_BASE, LOG | RING_LENGTH(UP_LOG_LOG2));
	reg_put(r, R_EVT_HEAD, 4, 0);
	reg_put(r, R_EVT_TAIL, 4, 0);
	control(r, 0, C_EVT_LOG_EN);
	ring_is(r, RING, UP_RING_LOG2);
	log_is(r, LOG, UP_LOG_LOG2, 0);
	r->up = true;
}

static void ring_new(struct run *r, uint64_t base, uint64_t log2)
{
	control(r, C_CMD_BUF_EN, 0);
	reg_put(r, R_CMD_BASE, 8, base | RING_LENGTH(log2));
	control(r, 0, C_CMD_BUF_EN);
	ring_is(r, base, log2);
}

static void queue(struct run *r, uint64_t w0, uint64_t w1)
{
	store(r, r->ring + r->ring_at, 8, w0);
	store(r, r->ring + r->ring_at + 8, 8, w1);
	r->ring_at = (r->ring_at + 16) & (r->ring_bytes - 1);
}

static void build(struct run *r, const uint64_t *a)
{
	for (uint64_t level = a[0]; level > a[2]; level--)
		store(r, ENTRY(level, a[1]), 8, PDE(level - 1, TABLE(level - 1)));
	store(r, ENTRY(a[2], a[1]), 8, a[BUILD_ENTRY_OPERAND]);
}

/* ---- expectations ---- */

static bool expect_value(struct run *r, const char *what, uint64_t at, uint64_t got, uint64_t want)
{
	return got == want ||
	       fail(r, "%s %#llx: %#llx instead of %#llx", what, LL(at), LL(got), LL(want));
}

/* Where LEN bytes from IOVA end up in guest memory; up to two places. */
static int map(struct run *r, const uint64_t *a, uint64_t gpa[2])
{
	struct dma_space *ds = unit_space(&r->unit, a[0]);
	uint8_t *base = ram(r, 0, RAM_SIZE);
	struct dma_segment seg[2];
	int n;

	if (!ds)
		return -ENOMEM;
	n = dma_space_map(ds, a[1], a[2], (unsigned)a[3], seg, 2);
	for (int i = 0; i < n; i++)
		gpa[i] = (uint64_t)((uint8_t *)seg[i].host - base);
	return n;
}

static bool expect_map(struct run *r, const uint64_t *a, int segments)
{
	uint64_t gpa[2] = {0};
	int n = map(r, a, gpa);

	if (n != segments)
		return fail(r, "DMA to %#llx: %d instead of %d segments", LL(a[1]), n, segments);
	for (int i = 0; i < n; i++)
		if (!expect_value(r, "DMA to", a[1], gpa[i], a[4 + i]))
			return false;
	return true;
}

static bool expect_refused(struct run *r, const uint64_t *a)
{
	uint64_t gpa[2] = {0};
	int n = map(r, a, gpa);

	return n == -EFAULT ||
	       fail(r, "DMA to %#llx: %d, at %#llx, instead of a refusal", LL(a[1]), n, LL(gpa[0]));
}

static bool dma_write(struct run *r, const uint64_t *a)
{
	struct dma_space *ds = unit_space(&r->unit, a[0]);
	int rc = ds ? dma_space_write(ds, a[1], &a[2], 8) : -ENOMEM;

	return !rc || fail(r, "DMA write to %#llx: %s", LL(a[1]), strerror(-rc));
}

static bool expect_remap(struct run *r, const uint64_t *a, bool pass)
{
	const struct msi_msg in = {.addr = a[1], .data = (uint32_t)a[2]};
	struct msi_msg out = {.addr = NOTHING, .data = 0xeeeeeeee};
	int rc = amd_iommu_engine_remap(r->unit.engine, (uint16_t)a[0], &in, &out, true);

	if (!pass)
		return rc == -EACCES || fail(r,
					     "message %#llx/%#x: %d and %#llx/%#x instead of a "
					     "refusal",
					     LL(in.addr), in.data, rc, LL(out.addr), out.data);
	if (rc)
		return fail(r, "message %#llx/%#x refused: %d", LL(in.addr), in.data, rc);
	return (out.addr == a[3] && out.data == a[4]) ||
	       fail(r, "message %#llx/%#x became %#llx/%#x instead of %#llx/%#llx", LL(in.addr),
		    in.data, LL(out.addr), out.data, LL(a[3]), LL(a[4]));
}

static bool expect_event(struct run *r, const uint64_t *a)
{
	const uint64_t tail = reg(r, R_EVT_TAIL, 4);
	const uint64_t w0 = load(r, r->log + r->log_at), w1 = load(r, r->log + r->log_at + 8);

	if (tail == r->log_at)
		return fail(r, "no event instead of %016llx %016llx", LL(a[0]), LL(a[1]));
	if ((w0 != a[0] && w0 != a[2]) || w1 != a[1])
		return fail(r, "event %016llx %016llx instead of %016llx %016llx", LL(w0), LL(w1),
			    LL(a[0]), LL(a[1]));
	r->log_at = (r->log_at + 16) & (r->log_bytes - 1);
	return true;
}

static bool expect_messages(struct run *r, const uint64_t *a, bool one)
{
	struct unit *u = &r->unit;
	unsigned fresh = u->messages - r->messages;

	if (one ? fresh != 1 : fresh == 0)
		return fail(r, "%u messages of the unit", fresh);
	for (; r->messages < u->messages; r->messages++) {
		const struct msi_msg *m = &u->message[r->messages % UNIT_MESSAGES];

		if (m->addr != a[0] || m->data != a[1])
			return fail(r, "message %#llx/%#x instead of %#llx/%#llx", LL(m->addr),
				    m->data, LL(a[0]), LL(a[1]));
	}
	return true;
}

static bool expect_note(struct run *r, const uint64_t *a)
{
	const struct unit *u = &r->unit;
	const struct unit_note *n = &u->note[r->notes];

	if (r->notes == u->notes)
		return fail(r, "mirrors were not told %llu %#llx %#llx %#llx", LL(a[0]), LL(a[1]),
			    LL(a[2]), LL(a[3]));
	r->notes++;
	return (n->kind == a[0] && n->x == a[1] && n->y == a[2] && n->z == a[3]) ||
	       fail(r, "mirrors were told %d %#llx %#llx %#llx instead of %llu %#llx %#llx %#llx",
		    (int)n->kind, LL(n->x), LL(n->y), LL(n->z), LL(a[0]), LL(a[1]), LL(a[2]),
		    LL(a[3]));
}

static uint64_t generation(struct run *r, uint64_t devid)
{
	struct dma_space *ds = unit_space(&r->unit, devid);

	return ds ? dma_space_generation(ds) : 0;
}

static bool expect_stale(struct run *r, uint64_t devid)
{
	return generation(r, devid) != r->generation ||
	       fail(r, "requester %#llx may go on with what it knows", LL(devid));
}

/* ---- steps ---- */

static bool step_run(struct run *r, const struct step *s, const uint64_t *a)
{
	switch (s->op) {
	case OP_WRITE:
		put(r, a[0], s->width, a[1]);
		return true;
	case OP_READ:
		return expect_value(r, "read at", a[0], get(r, a[0], s->width) & a[1],
				    a[2] & width_mask(s->width));
	case OP_BELOW:
		return get(r, a[0], s->width) < a[1] || fail(r, "%#llx is out of range", LL(a[0]));
	case OP_SAVE:
		r->saved = get(r, WINDOW + a[0], s->width);
		return true;
	case OP_SAME:
		return expect_value(r, "register", a[0], get(r, WINDOW + a[0], s->width), r->saved);
	case OP_STORE:
		store(r, a[0], s->width, a[1]);
		return true;
	case OP_LOAD:
		return expect_value(r, "memory at", a[0], load(r, a[0]), a[1]);
	case OP_UP:
		bring_up(r, a[0]);
		return true;
	case OP_CONTROL:
		control(r, a[0], a[1]);
		return true;
	case OP_RING:
		ring_new(r, a[0], a[1]);
		return true;
	case OP_QUEUE:
		queue(r, a[0], a[1]);
		return true;
	case OP_DOORBELL:
		reg_put(r, R_CMD_TAIL, 4, r->ring_at);
		return true;
	case OP_LOG:
		log_is(r, a[0], a[1], a[2]);
		return true;
	case OP_DTE:
		for (unsigned i = 0; i < 4; i++)
			store(r, DTE_AT(a[0]) + i * UINT64_C(8), 8, a[1 + i]);
		return true;
	case OP_BUILD:
		build(r, a);
		return true;
	case OP_RESET:
		pci_root_reset(r->unit.root);
		r->log_at = 0;
		return true;
	case OP_MAP:
		return expect_map(r, a, 1);
	case OP_MAP2:
		return expect_map(r, a, 2);
	case OP_REFUSED:
		return expect_refused(r, a);
	case OP_DMA_WRITE:
		return dma_write(r, a);
	case OP_REMAP:
	case OP_NO_REMAP:
		return expect_remap(r, a, s->op == OP_REMAP);
	case OP_EVENT:
		return expect_event(r, a);
	case OP_ANY_EVENTS:
		r->log_at = reg(r, R_EVT_TAIL, 4);
		return true;
	case OP_MESSAGE:
	case OP_MESSAGES:
		return expect_messages(r, a, s->op == OP_MESSAGE);
	case OP_NOTE:
		return expect_note(r, a);
	case OP_FORGET:
		r->notes = r->unit.notes = 0;
		return true;
	case OP_MARK:
		r->generation = generation(r, a[0]);
		return true;
	case OP_STALE:
		return expect_stale(r, a[0]);
	case OP_STORM:
		storm(&r->unit, a[0], a[1]);
		/* Nobody knows what was logged and sent. */
		r->up = false;
		r->messages = r->unit.messages;
		return true;
	case OP_CACHE:
	case OP_ANSWER:
	case OP_TOLD:
	case OP_TRANSLATE:
	case OP_NO_TRANSLATION:
	case OP_TRANSLATED:
	case OP_PAGE_REQUEST:
	case OP_RESPONSE:
	case OP_PASS:
		return cache_step(&r->unit, s, a, r->complaint);
	case OP_END:
	case OP_TIMES:
	case OP_EACH_BIT:
		break;
	}
	return fail(r, "a step that cannot be here");
}

/* Runs COUNT steps from index FIRST of STEP, with the current bit of a repetition in BIT. */
static bool steps_run(struct run *r, const struct step *step, unsigned first, unsigned count,
		      uint64_t bit)
{
	for (unsigned i = first; i < first + count; i++) {
		uint64_t a[ARRAY_SIZE(step->a)];
		char why[COMPLAINT_MAX];

		memcpy(a, step[i].a, sizeof(a));
		if (step[i].into) {
			a[step[i].into - 1] |= bit;
			/* An event whose first word has no alternative. */
			if (step[i].op == OP_EVENT)
				a[2] = a[0];
		}
		if (step_run(r, &step[i], a))
			continue;
		memcpy(why, r->complaint, sizeof(why));
		if (bit)
			return fail(r, "step %u with %#llx: %.180s", i, LL(bit), why);
		return fail(r, "step %u: %.200s", i, why);
	}
	return true;
}

static bool all_steps_run(struct run *r, const struct step *step)
{
	for (unsigned i = 0; step[i].op != OP_END; i++) {
		uint64_t left = step[i].a[0];

		if (step[i].op != OP_TIMES && step[i].op != OP_EACH_BIT) {
			if (!steps_run(r, step, i, 1, 0))
				return false;
			continue;
		}
		while (left) {
			const uint64_t bit = step[i].op == OP_EACH_BIT ? left & -left : 0;

			if (!steps_run(r, step, i + 1, step[i].width, bit))
				return false;
			left = bit ? left & ~bit : left - 1;
		}
		i += step[i].width;
	}
	return true;
}

/* What must hold at the end of every case, whatever was done to the unit. */
static bool epilogue(struct run *r)
{
	if (r->up && reg(r, R_EVT_TAIL, 4) != r->log_at)
		return fail(r, "an event that nothing accounts for: %016llx %016llx",
			    LL(load(r, r->log + r->log_at)), LL(load(r, r->log + r->log_at + 8)));
	if (r->unit.messages != r->messages)
		return fail(r, "a message of the unit that nothing accounts for");
	pci_root_reset(r->unit.root);
	memset(ram(r, OWN_BASE, OWN_SIZE), 0, OWN_SIZE);
	bring_up(r, 0);
	queue(r, CWAIT(CWAIT_S, SEM), 0xa11ce);
	reg_put(r, R_CMD_TAIL, 4, r->ring_at);
	if (load(r, SEM) != 0xa11ce)
		return fail(r, "no life after a reset");
	if (reg(r, R_STATUS, 4) != (S_CMD_RUN | S_EVT_RUN))
		return fail(r, "status %#llx after a reset", LL(reg(r, R_STATUS, 4)));
	return reg(r, R_EVT_TAIL, 4) == 0 || fail(r, "an event after a reset");
}

bool case_run(const struct platform *p, const struct conformance_case *c,
	      char complaint[COMPLAINT_MAX])
{
	struct run *r = calloc(1, sizeof(*r));
	struct amd_iommu_features features = {AMD_IOMMU_EFR_DEFAULT, AMD_IOMMU_EFR2_DEFAULT, false};
	bool good = false;
	int rc;

	snprintf(complaint, COMPLAINT_MAX, "no memory");
	if (!r)
		return false;
	r->complaint = complaint;
	if (c->efr)
		features = (struct amd_iommu_features){c->efr, c->efr2, c->efr & BIT(1)};
	rc = unit_open_features(&r->unit, p, &features);
	if (rc) {
		fail(r, "no unit: %s", strerror(-rc));
		goto out;
	}
	memset(ram(r, OWN_BASE, RAM_SIZE - OWN_BASE), 0, RAM_SIZE - OWN_BASE);
	good = all_steps_run(r, c->step) && epilogue(r);
	unit_close(&r->unit);
out:
	free(r);
	return good;
}
