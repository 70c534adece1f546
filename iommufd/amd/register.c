// SPDX-License-Identifier: Apache-2.0
/* The register file: one table says what software may write where, and what follows from it. */
#include <errno.h>

#include "iommufd/amd/internal.h"

/*
 * A write handler gets the value that the masks have left over. It is called with both locks held,
 * stores, and says what else must happen once log_lock is released.
 */
enum { CHANGED_ALL = 1, CHANGED_INTERRUPTS = 2 };

struct amd_register {
	uint16_t offset;
	uint64_t writable; /* bits that keep what is written */
	uint64_t w1c;	   /* bits that a 1 clears */
	uint64_t reset;
	uint64_t efr;	   /* without any of these features there is no such register */
	bool pointer;	   /* of a ring, */
	enum amd_reg ring; /* and the register of its base: it never points outside */
	unsigned (*write)(struct amd_iommu_engine *e, enum amd_reg reg, uint64_t value);
};

uint64_t amd_ring_bytes(uint64_t base)
{
	unsigned log2 = FIELD_GET(AMD_RING_LENGTH, base);

	return log2 < AMD_RING_LOG2_MIN ? 0 : (uint64_t)AMD_RING_ENTRY << log2;
}

static uint64_t pointer_mask(uint64_t base)
{
	uint64_t bytes = amd_ring_bytes(base);

	return bytes ? (bytes - 1) & AMD_RING_POINTER : 0;
}

static uint64_t ring_pointer_mask(const struct amd_iommu_engine *e, enum amd_reg base)
{
	return pointer_mask(amd_reg(e, base));
}

/* What says where a device's memory is: the device table, and the exclusion range. */
static unsigned translation_write(struct amd_iommu_engine *e, enum amd_reg reg, uint64_t value)
{
	amd_reg_store(e, reg, value);
	/* A crash kernel moves the table with the unit enabled (reference 3.2). */
	return amd_enabled(e) ? CHANGED_ALL : 0;
}

/* A ring's base: fixed while the ring runs; a new one starts with both pointers at 0. */
static void ring_base_write(struct amd_iommu_engine *e, enum amd_reg base, uint64_t value,
			    uint64_t run, enum amd_reg head, enum amd_reg tail)
{
	if (amd_reg(e, AMD_REG_STATUS) & run)
		return;
	amd_reg_store(e, base, value);
	amd_reg_store(e, head, 0);
	amd_reg_store(e, tail, 0);
}

static unsigned cmd_base_write(struct amd_iommu_engine *e, enum amd_reg reg, uint64_t value)
{
	ring_base_write(e, reg, value, AMD_STATUS_CMD_BUF_RUN, AMD_REG_CMD_HEAD, AMD_REG_CMD_TAIL);
	return 0;
}

static unsigned evt_base_write(struct amd_iommu_engine *e, enum amd_reg reg, uint64_t value)
{
	ring_base_write(e, reg, value, AMD_STATUS_EVENT_LOG_RUN, AMD_REG_EVT_HEAD,
			AMD_REG_EVT_TAIL);
	return 0;
}

static unsigned ppr_base_write(struct amd_iommu_engine *e, enum amd_reg reg, uint64_t value)
{
	ring_base_write(e, reg, value, AMD_STATUS_PPR_LOG_RUN, AMD_REG_PPR_HEAD, AMD_REG_PPR_TAIL);
	return 0;
}

/* Fields of Control that name one of several modes, and up to which one the unit has them. */
static const struct {
	uint64_t control, efr, efr2;
} control_modes[] = {
	{AMD_CONTROL_DEV_TBL_SEG_EN, AMD_EFR_DEV_TBL_SEG, 0},
	{AMD_CONTROL_NUM_INT_REMAP, 0, AMD_EFR2_NUM_INT_REMAP_SUP},
};

/* The fields of VALUE with a mode that the unit has not. */
static uint64_t control_refused(const struct amd_iommu_engine *e, uint64_t value)
{
	const struct amd_iommu_features *features = &e->config.features;
	uint64_t refused = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(control_modes); i++) {
		const uint64_t most = control_modes[i].efr
					      ? FIELD_GET(control_modes[i].efr, features->efr)
					      : FIELD_GET(control_modes[i].efr2, features->efr2);

		if (FIELD_GET(control_modes[i].control, value) > most)
			refused |= control_modes[i].control;
	}
	return refused;
}

static unsigned control_write(struct amd_iommu_engine *e, enum amd_reg reg, uint64_t value)
{
	uint64_t old = amd_reg(e, reg), refused, rising, changed;

	value &= e->control_writable;
	refused = control_refused(e, value);
	value = (value & ~refused) | (old & refused);
	rising = value & ~old;
	changed = value ^ old;
	amd_reg_store(e, reg, value);

	if (rising & (AMD_CONTROL_CMD_BUF_EN | AMD_CONTROL_IOMMU_EN))
		e->cmd_stopped = false;
	/* An overflow that software has not acknowledged keeps the log stopped. */
	if (rising & AMD_CONTROL_EVENT_LOG_EN &&
	    !(amd_reg(e, AMD_REG_STATUS) & AMD_STATUS_EVENT_OVERFLOW))
		e->evt_stopped = false;
	if (rising & AMD_CONTROL_PPR_LOG_EN &&
	    !(amd_reg(e, AMD_REG_STATUS) & AMD_STATUS_PPR_OVERFLOW))
		e->ppr_stopped = false;

	if (changed & (AMD_CONTROL_IOMMU_EN | AMD_CONTROL_GT_EN | AMD_CONTROL_GCR3_TRP_MODE |
		       AMD_CONTROL_DEV_TBL_SEG_EN))
		return CHANGED_ALL;
	if (changed & (AMD_CONTROL_GA_EN | AMD_CONTROL_XT_EN | AMD_CONTROL_NUM_INT_REMAP))
		return CHANGED_INTERRUPTS;
	return 0;
}

static unsigned cmd_head_write(struct amd_iommu_engine *e, enum amd_reg reg, uint64_t value)
{
	if (!(amd_reg(e, AMD_REG_STATUS) & AMD_STATUS_CMD_BUF_RUN))
		amd_reg_store(e, reg, value & ring_pointer_mask(e, AMD_REG_CMD_BASE));
	return 0;
}

static unsigned cmd_tail_write(struct amd_iommu_engine *e, enum amd_reg reg, uint64_t value)
{
	amd_reg_store(e, reg, value & ring_pointer_mask(e, AMD_REG_CMD_BASE));
	return 0;
}

static unsigned evt_head_write(struct amd_iommu_engine *e, enum amd_reg reg, uint64_t value)
{
	amd_reg_store(e, reg, value & ring_pointer_mask(e, AMD_REG_EVT_BASE));
	return 0;
}

static unsigned evt_tail_write(struct amd_iommu_engine *e, enum amd_reg reg, uint64_t value)
{
	if (!(amd_reg(e, AMD_REG_STATUS) & AMD_STATUS_EVENT_LOG_RUN))
		amd_reg_store(e, reg, value & ring_pointer_mask(e, AMD_REG_EVT_BASE));
	return 0;
}

static unsigned ppr_head_write(struct amd_iommu_engine *e, enum amd_reg reg, uint64_t value)
{
	amd_reg_store(e, reg, value & ring_pointer_mask(e, AMD_REG_PPR_BASE));
	return 0;
}

static unsigned ppr_tail_write(struct amd_iommu_engine *e, enum amd_reg reg, uint64_t value)
{
	if (!(amd_reg(e, AMD_REG_STATUS) & AMD_STATUS_PPR_LOG_RUN))
		amd_reg_store(e, reg, value & ring_pointer_mask(e, AMD_REG_PPR_BASE));
	return 0;
}

#define RING_WRITABLE (AMD_RING_BASE | AMD_RING_LENGTH)
#define RING_RESET    FIELD_PREP(AMD_RING_LENGTH, AMD_RING_LOG2_MIN)
#define XT_WRITABLE   (AMD_XT_DM | AMD_XT_DEST_LOW | AMD_XT_VECTOR | AMD_XT_DELIVERY | AMD_XT_DEST_HI)

/* The PPR log is storage only, and never runs without PPRSup. */
#define RO(at)                                                                                     \
	{                                                                                          \
		.offset = at                                                                       \
	}
#define RW(at, mask)                                                                               \
	{                                                                                          \
		.offset = at, .writable = mask                                                     \
	}
#define RING(at, handler)                                                                          \
	{                                                                                          \
		.offset = at, .writable = RING_WRITABLE, .reset = RING_RESET, .write = handler     \
	}
#define POINTER(at, base, handler)                                                                 \
	{                                                                                          \
		.offset = at, .writable = AMD_RING_POINTER, .pointer = true, .ring = base,         \
		.write = handler                                                                   \
	}

#define SEGMENT(n)                                                                                 \
	[AMD_REG_DEVTAB + (n)] = {.offset = 0x0100 + 8 * ((n)-1),                                  \
				  .writable = AMD_DEVTAB_BASE | AMD_DEVTAB_SEGMENT_SIZE(n),        \
				  .efr = AMD_EFR_DEV_TBL_SEG,                                      \
				  .write = translation_write}

static const struct amd_register registers[AMD_REGS] = {
	[AMD_REG_DEVTAB] = {.offset = 0x0000,
			    .writable = AMD_DEVTAB_BASE | AMD_DEVTAB_SIZE,
			    .write = translation_write},
	SEGMENT(1),
	SEGMENT(2),
	SEGMENT(3),
	SEGMENT(4),
	SEGMENT(5),
	SEGMENT(6),
	SEGMENT(7),
	[AMD_REG_CMD_BASE] = RING(0x0008, cmd_base_write),
	[AMD_REG_EVT_BASE] = RING(0x0010, evt_base_write),
	[AMD_REG_CONTROL] = {.offset = 0x0018,
			     .writable = ~UINT64_C(0), /* control_write() knows the features */
			     .reset = AMD_CONTROL_COHERENT,
			     .write = control_write},
	[AMD_REG_EXCL_BASE] = {.offset = 0x0020,
			       .writable =
				       AMD_EXCLUSION_ADDR | AMD_EXCLUSION_EN | AMD_EXCLUSION_ALLOW,
			       .write = translation_write},
	[AMD_REG_EXCL_LIMIT] = {.offset = 0x0028,
				.writable = AMD_EXCLUSION_ADDR,
				.write = translation_write},
	[AMD_REG_EFR] = RO(0x0030),
	[AMD_REG_PPR_BASE] = RING(0x0038, ppr_base_write),
	[AMD_REG_XT_GENERAL] = RW(0x0170, XT_WRITABLE),
	[AMD_REG_XT_PPR] = RW(0x0178, XT_WRITABLE),
	[AMD_REG_XT_GA] = RW(0x0180, XT_WRITABLE),
	[AMD_REG_EFR2] = RO(0x01a0),
	[AMD_REG_CMD_HEAD] = POINTER(0x2000, AMD_REG_CMD_BASE, cmd_head_write),
	[AMD_REG_CMD_TAIL] = POINTER(0x2008, AMD_REG_CMD_BASE, cmd_tail_write),
	[AMD_REG_EVT_HEAD] = POINTER(0x2010, AMD_REG_EVT_BASE, evt_head_write),
	[AMD_REG_EVT_TAIL] = POINTER(0x2018, AMD_REG_EVT_BASE, evt_tail_write),
	[AMD_REG_STATUS] = {.offset = 0x2020,
			    .w1c = AMD_STATUS_EVENT_OVERFLOW | AMD_STATUS_EVENT_LOG_INT |
				   AMD_STATUS_COMWAIT_INT | AMD_STATUS_PPR_OVERFLOW |
				   AMD_STATUS_PPR_INT},
	[AMD_REG_PPR_HEAD] = POINTER(0x2030, AMD_REG_PPR_BASE, ppr_head_write),
	[AMD_REG_PPR_TAIL] = POINTER(0x2038, AMD_REG_PPR_BASE, ppr_tail_write),
};

/* Control bits that software may set, and the features that each depends on. */
static const struct {
	uint64_t bits, efr, efr2;
} control_bits[] = {
	{AMD_CONTROL_IOMMU_EN | AMD_CONTROL_HT_TUN_EN | AMD_CONTROL_EVENT_LOG_EN |
		 AMD_CONTROL_EVENT_INT_EN | AMD_CONTROL_COMWAIT_INT_EN | AMD_CONTROL_INV_TIMEOUT |
		 AMD_CONTROL_PASS_PW | AMD_CONTROL_RES_PASS_PW | AMD_CONTROL_COHERENT |
		 AMD_CONTROL_ISOC | AMD_CONTROL_CMD_BUF_EN,
	 0, 0},
	{AMD_CONTROL_PPR_LOG_EN | AMD_CONTROL_PPR_INT_EN | AMD_CONTROL_PPR_EN, AMD_EFR_PPR_SUP, 0},
	{AMD_CONTROL_GT_EN, AMD_EFR_GT_SUP, 0},
	{AMD_CONTROL_GA_EN, AMD_EFR_GA_SUP, 0},
	/* Enhanced PPR handling and the manner of A and D updates change nothing here. */
	{AMD_CONTROL_EPH_EN, AMD_EFR_EPH_SUP, 0},
	{AMD_CONTROL_HAD_UPDATE, AMD_EFR_HA_SUP, 0},
	{AMD_CONTROL_XT_EN | AMD_CONTROL_INT_CAP_XT_EN, AMD_EFR_XT_SUP, 0},
	{AMD_CONTROL_GCR3_TRP_MODE, 0, AMD_EFR2_GCR3_TRP_MODE_SUP},
	{AMD_CONTROL_DEV_TBL_SEG_EN, FIELD_PREP(AMD_EFR_DEV_TBL_SEG, 1), 0},
	{AMD_CONTROL_DEV_TBL_SEG_EN, FIELD_PREP(AMD_EFR_DEV_TBL_SEG, 2), 0},
	{AMD_CONTROL_NUM_INT_REMAP, 0, FIELD_PREP(AMD_EFR2_NUM_INT_REMAP_SUP, 1)},
};

void amd_registers_reset(struct amd_iommu_engine *e)
{
	const struct amd_iommu_features *features = &e->config.features;

	e->control_writable = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(control_bits); i++)
		if ((features->efr & control_bits[i].efr) == control_bits[i].efr &&
		    (features->efr2 & control_bits[i].efr2) == control_bits[i].efr2)
			e->control_writable |= control_bits[i].bits;

	pthread_mutex_lock(&e->log_lock);
	for (unsigned i = 0; i < AMD_REGS; i++)
		amd_reg_store(e, i, registers[i].reset);
	amd_reg_store(e, AMD_REG_EFR, features->efr);
	amd_reg_store(e, AMD_REG_EFR2, features->efr2);
	e->cmd_stopped = false;
	e->evt_stopped = false;
	e->ppr_stopped = false;
	e->signalled = 0;
	atomic_store(&e->messages_due, 0);
	pthread_mutex_unlock(&e->log_lock);
}

#define STATUS_RUN (AMD_STATUS_CMD_BUF_RUN | AMD_STATUS_EVENT_LOG_RUN | AMD_STATUS_PPR_LOG_RUN)

uint64_t amd_status_w1c(void)
{
	return registers[AMD_REG_STATUS].w1c;
}

/* Software reads the Run bits right after it has written the enables (reference 3.3). */
void amd_run_update(struct amd_iommu_engine *e)
{
	const uint64_t control = amd_reg(e, AMD_REG_CONTROL);
	uint64_t status = amd_reg(e, AMD_REG_STATUS);

	status &= ~STATUS_RUN;
	if (control & AMD_CONTROL_IOMMU_EN) {
		if (control & AMD_CONTROL_CMD_BUF_EN && !e->cmd_stopped &&
		    amd_ring_bytes(amd_reg(e, AMD_REG_CMD_BASE)))
			status |= AMD_STATUS_CMD_BUF_RUN;
		if (control & AMD_CONTROL_EVENT_LOG_EN && !e->evt_stopped &&
		    amd_ring_bytes(amd_reg(e, AMD_REG_EVT_BASE)))
			status |= AMD_STATUS_EVENT_LOG_RUN;
		if (control & AMD_CONTROL_PPR_EN && control & AMD_CONTROL_PPR_LOG_EN &&
		    !e->ppr_stopped && amd_ring_bytes(amd_reg(e, AMD_REG_PPR_BASE)))
			status |= AMD_STATUS_PPR_LOG_RUN;
	}
	amd_reg_store(e, AMD_REG_STATUS, status);
	amd_interrupt_update(e);
}

static bool register_exists(const struct amd_iommu_engine *e, enum amd_reg reg)
{
	return !registers[reg].efr || registers[reg].efr & e->config.features.efr;
}

static const struct amd_register *register_find(uint16_t offset, enum amd_reg *reg)
{
	for (unsigned i = 0; i < AMD_REGS; i++) {
		if (registers[i].offset == offset) {
			*reg = i;
			return &registers[i];
		}
	}
	return NULL;
}

static unsigned register_write(struct amd_iommu_engine *e, const struct amd_register *r,
			       enum amd_reg reg, uint64_t value)
{
	const uint64_t old = amd_reg(e, reg);

	value = (old & ~r->writable & ~(value & r->w1c)) | (value & r->writable);
	if (r->write)
		return r->write(e, reg, value);
	amd_reg_store(e, reg, value);
	return 0;
}

int amd_iommu_engine_set(struct amd_iommu_engine *e, uint16_t offset, uint64_t value)
{
	const struct amd_register *r;
	enum amd_reg reg;
	unsigned changed;

	if (offset % 8)
		return -EINVAL;
	r = register_find(offset, &reg);
	if (!r || !register_exists(e, reg))
		return -EOPNOTSUPP;

	amd_engine_lock(e);
	pthread_mutex_lock(&e->log_lock);
	changed = register_write(e, r, reg, value);
	amd_run_update(e);
	pthread_mutex_unlock(&e->log_lock);

	if (changed & CHANGED_ALL)
		amd_engine_invalidate_all(e);
	if (changed & CHANGED_INTERRUPTS)
		amd_listeners_interrupts_changed(e, 0, true);
	amd_command_run(e);
	amd_engine_unlock(e);
	return 0;
}

int amd_iommu_engine_get(struct amd_iommu_engine *e, uint16_t offset, uint64_t *value)
{
	enum amd_reg reg;

	if (offset % 8)
		return -EINVAL;
	if (!register_find(offset, &reg) || !register_exists(e, reg))
		return -EOPNOTSUPP;
	*value = amd_reg(e, reg);
	return 0;
}

/* ---- state ---- */

_Static_assert(AMD_REGS <= AMD_IOMMU_STATE_REGISTERS, "a place for each register");

void amd_registers_save(const struct amd_iommu_engine *e, struct amd_iommu_state *state)
{
	state->registers = AMD_REGS;
	for (unsigned i = 0; i < AMD_REGS; i++)
		state->reg[i] = (struct amd_iommu_register){.offset = registers[i].offset,
							    .value = amd_reg(e, i)};
}

static bool register_holds(const struct amd_iommu_engine *e, const uint64_t value[AMD_REGS],
			   enum amd_reg reg)
{
	const struct amd_register *r = &registers[reg];

	if (reg == AMD_REG_EFR || reg == AMD_REG_EFR2)
		return true;
	if (!register_exists(e, reg))
		return value[reg] == r->reset;
	if (reg == AMD_REG_CONTROL)
		return !(value[reg] & ~e->control_writable) && !control_refused(e, value[reg]);
	/* Run bits follow from the rest. */
	if (reg == AMD_REG_STATUS)
		return !(value[reg] & ~(r->w1c | STATUS_RUN));
	return !(value[reg] & ~(r->pointer ? pointer_mask(value[r->ring]) : r->writable));
}

/* Every register once and no other; what is missing, another unit has not. */
static int registers_find(const struct amd_iommu_state *state, uint64_t value[AMD_REGS])
{
	bool seen[AMD_REGS] = {false};

	for (unsigned i = 0; i < state->registers; i++) {
		const struct amd_iommu_register *from = &state->reg[i];
		enum amd_reg reg;

		if (from->zero)
			return -EINVAL;
		if (from->offset > UINT16_MAX || !register_find((uint16_t)from->offset, &reg))
			return -EOPNOTSUPP;
		if (seen[reg])
			return -EINVAL;
		seen[reg] = true;
		value[reg] = from->value;
	}
	return state->registers == AMD_REGS ? 0 : -EOPNOTSUPP;
}

int amd_registers_check(const struct amd_iommu_engine *e, const struct amd_iommu_state *state)
{
	uint64_t value[AMD_REGS];
	int rc;

	if (state->registers > AMD_IOMMU_STATE_REGISTERS)
		return -EINVAL;
	for (unsigned i = state->registers; i < AMD_IOMMU_STATE_REGISTERS; i++)
		if (state->reg[i].offset || state->reg[i].zero || state->reg[i].value)
			return -EINVAL;
	rc = registers_find(state, value);
	if (rc)
		return rc;
	if (value[AMD_REG_EFR] != e->config.features.efr ||
	    value[AMD_REG_EFR2] != e->config.features.efr2)
		return -EOPNOTSUPP;
	for (unsigned i = 0; i < AMD_REGS; i++)
		if (!register_holds(e, value, i))
			return -EINVAL;
	return 0;
}

void amd_registers_restore(struct amd_iommu_engine *e, const struct amd_iommu_state *state)
{
	for (unsigned i = 0; i < state->registers; i++) {
		enum amd_reg reg;

		if (register_find((uint16_t)state->reg[i].offset, &reg))
			amd_reg_store(e, reg, state->reg[i].value);
	}
}
