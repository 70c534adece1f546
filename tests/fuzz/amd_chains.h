/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two chains of tables, one of either kind, that are there at first, so that an input only has to
 * lead a device to them.
 */
#ifndef POSTERN_FUZZ_AMD_CHAINS_H
#define POSTERN_FUZZ_AMD_CHAINS_H

#include "tests/fuzz/amd.h"

#define GUEST_ROOT TABLES	       /* 4 levels: tables 0 to 3 */
#define HOST_ROOT  (TABLES + 4 * 4096) /* 3 levels: tables 4 to 6, for the low 2 MiB and more */
#define GCR3_TABLE (TABLES + 7 * 4096)

static inline void amd_chains(struct unit *u)
{
	for (unsigned i = 0; i < 3; i++)
		put64(u, GUEST_ROOT + i * 4096, (GUEST_ROOT + (i + 1) * 4096) | 7);
	for (unsigned i = 0; i < 4; i++)
		put64(u, GUEST_ROOT + 3 * 4096 + i * 8, (0x800000 + i * 4096) | 7);
	put64(u, HOST_ROOT, pde(HOST_ROOT + 4096, 2));
	/* The host table maps all RAM onto itself, in pages of 2 MiB and, of the first, 4 KiB. */
	for (unsigned i = 1; i < RAM_SIZE >> 21; i++)
		put64(u, HOST_ROOT + 4096 + i * 8, (uint64_t)i << 21 | RW_BITS | 1);
	put64(u, HOST_ROOT + 4096, pde(HOST_ROOT + 2 * 4096, 1));
	put64(u, GCR3_TABLE, GUEST_ROOT | 1);
	put64(u, GCR3_TABLE + FUZZ_PASID * 8, GUEST_ROOT | 1);
}

/* An entry that leads to the chains, with host tables below or without; Q0 and Q1 are added. */
static inline void amd_op_attach(struct amd_fuzz *f, struct input *in, uint64_t more0,
				 uint64_t more1)
{
	const unsigned how = input_u8(in);
	const uint64_t host = how & 1 ? HOST_ROOT | 3ull << 9 : 0;
	uint64_t q0 = 3 | BIT(61) | BIT(62) | BIT(55) | host | more0;

	q0 |= how & 2 ? 0 : BIT(54);
	q0 |= (uint64_t)(how >> 2 & 3) << 7 | (GCR3_TABLE >> 12 & 7) << 58;
	dte_set(&f->u, amd_devid[how >> 4 & 1], q0,
		(0x70 + (how >> 5 & 1)) | (GCR3_TABLE >> 15 & 0xffff) << 16 |
			GCR3_TABLE >> 31 << 43 | more1,
		how & 0x40 ? BIT(54) : 0, 0);
}

#endif
