// SPDX-License-Identifier: Apache-2.0
/*
 * The command ring: its bytes, its registers while it runs, commands that stop it, a worker that
 * goes on with it, and requests that hold it up.
 */
#include "tests/fuzz/amd.h"

#define COMMANDS 16u /* that the input writes; the shortest ring has 256 */

static bool kicked;

static void kick(void *opaque)
{
	(void)opaque;
	kicked = true;
}

/* A command as drivers have them, with a few of its bits wrong; or any bytes. */
static void op_command(struct amd_fuzz *f, struct input *in)
{
	static const uint64_t templates[][2] = {{1ull << 60 | SEM | 1, 0x1234},
						{1ull << 60 | SEM | 2, 0},
						{2ull << 60 | DEV, 0},
						{3ull << 60 | 0x70ull << 32, 0x7ffffffffffff003},
						{5ull << 60 | DEV, 0},
						{8ull << 60, 0},
						{4ull << 60, 0},
						{1ull << 60 | HOLE | 1, 0}};
	const unsigned how = input_u8(in);
	const uint64_t base = reg_get(&f->u, R_CMD_BASE) & GENMASK(51, 12);
	uint64_t word[2];

	memcpy(word, templates[how & 7], sizeof(word));
	if (how & 0x40)
		word[how >> 5 & 1] ^= BIT(input_u8(in) % 64);
	if (how & 0x80)
		input_copy(in, (uint8_t *)word, sizeof(word));
	guest_memory_write(&f->u.gm, base + input_pick(in, COMMANDS) * 16, word, sizeof(word));
}

static void op_register(struct amd_fuzz *f, struct input *in)
{
	const unsigned how = input_u8(in);
	const uint64_t value = input_u8(in);

	switch (how & 7) {
	case 0:
	case 1:
		reg_set(&f->u, R_CMD_TAIL, (value % (COMMANDS + 1)) * 16);
		break;
	case 2:
		reg_set(&f->u, R_CMD_HEAD, value << 4);
		break;
	case 3: /* of any length; at the end of RAM too */
		reg_set(&f->u, R_CMD_BASE,
			(how & 0x80 ? RAM_SIZE - 0x2000 : CMDBUF) | (value & 15) << 56);
		break;
	case 4:
		reg_set(&f->u, R_CONTROL,
			f->control ^ (value & 1 ? C_CMD : 0) ^ (value & 2 ? C_IOMMU : 0) ^
				(value & 4 ? C_EVT : 0) ^ (value & 8 ? C_CWINT | C_EVTINT : 0) ^
				(value & 16 ? C_XTINT : 0));
		break;
	case 5:
		reg_set(&f->u, R_STATUS, value);
		break;
	case 6:
		reg_set(&f->u, how & 8 ? R_EVT_HEAD : R_EVT_TAIL, value << 4);
		break;
	default:
		reg_set(&f->u, R_XT, input_u64(in));
	}
}

static void check_stopped(struct amd_fuzz *f)
{
	struct unit *u = &f->u;
	const bool running = reg_get(u, R_STATUS) & S_CMDRUN;
	const uint64_t head = reg_get(u, R_CMD_HEAD);

	amd_check_rings(u->e);
	for (unsigned i = 0; i < FUZZ_SPACES; i++)
		dma_hold_end(&f->hold[i]);
	while (kicked) {
		kicked = false;
		amd_iommu_engine_run(u->e);
	}
	if (reg_get(u, R_STATUS) & S_CMDRUN)
		require(reg_get(u, R_CMD_HEAD) == reg_get(u, R_CMD_TAIL), "commands are left");
	else if (!running)
		require(reg_get(u, R_CMD_HEAD) == head, "a ring that stands has moved");
	amd_check_rings(u->e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	const unsigned how = input_u8(&in);
	struct amd_fuzz f;

	amd_fuzz_new(&f, how, C_RUNNING);
	kicked = false;
	if (how & 0x80)
		amd_iommu_engine_set_worker(f.u.e, NULL, kick);
	while (in.left) {
		switch (input_pick(&in, 8)) {
		case 0:
		case 1:
		case 2:
			op_command(&f, &in);
			break;
		case 3:
		case 4:
			op_register(&f, &in);
			break;
		case 5:
			amd_op_dma(&f, &in);
			break;
		case 6:
			amd_op_dte(&f, &in);
			break;
		default:
			check_stopped(&f);
		}
	}
	check_stopped(&f);
	amd_iommu_engine_reset(f.u.e);
	require(!reg_get(&f.u, R_CMD_HEAD) && !reg_get(&f.u, R_CMD_TAIL) &&
		!reg_get(&f.u, R_STATUS));
	amd_fuzz_free(&f);
	return 0;
}
