// SPDX-License-Identifier: Apache-2.0
/* CMPXCHG16B as the monitor decodes it: encodings, refusals, and bytes that a guest made up. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "postern/bits.h"
#include "tests/unit/noise.h"
#include "vmm/insn.h"

static struct kvm_regs regs;
static struct kvm_sregs sregs;

static void set_up(void)
{
	/* Register N holds N0000h, but for what a case needs. */
	regs = (struct kvm_regs){
		.rax = 0x00000,
		.rcx = 0x10000,
		.rdx = 0x20000,
		.rbx = 0x30000,
		.rsp = 0x40000,
		.rbp = 0x50000,
		.rsi = 0x60000,
		.rdi = 0x70000,
		.r8 = 0x80000,
		.r9 = 0x90000,
		.r10 = 0xa0000,
		.r11 = 0xb0000,
		.r12 = 0xc0000,
		.r13 = 0xd0000,
		.r14 = 0xe0000,
		.r15 = 0xf0000,
		.rip = 0xffffffff81000000,
	};
	sregs = (struct kvm_sregs){.efer = BIT(10), .cr4 = BIT(5)};
	sregs.cs.l = 1;
	sregs.fs.base = 0x1000000;
	sregs.gs.base = 0xffff888000000000;
}

static int decode(const uint8_t *bytes, unsigned count, struct insn_cmpxchg16b *insn)
{
	/* On the heap, so that a sanitizer sees a byte too many being read. */
	uint8_t *copy = malloc(count ? count : 1);
	int rc;

	memcpy(copy, bytes, count);
	rc = insn_decode_cmpxchg16b(copy, count, &regs, &sregs, insn);
	free(copy);
	return rc;
}

static const struct {
	uint8_t bytes[16];
	unsigned length;
	uint64_t linear;
} good[] = {
	/* as Linux has it: (%rsi), (%r8), 16(%rbx), (%rcx,%rdx,8) */
	{{0x48, 0x0f, 0xc7, 0x0e}, 4, 0x60000},
	{{0x49, 0x0f, 0xc7, 0x08}, 4, 0x80000},
	{{0x48, 0x0f, 0xc7, 0x4b, 0x10}, 5, 0x30010},
	{{0x48, 0x0f, 0xc7, 0x0c, 0xd1}, 5, 0x10000 + 8 * 0x20000},
	/* LOCK, and the segments without a base */
	{{0xf0, 0x48, 0x0f, 0xc7, 0x0e}, 5, 0x60000},
	{{0x2e, 0x3e, 0xf0, 0x48, 0x0f, 0xc7, 0x0e}, 7, 0x60000},
	/* FS and GS; the last one counts */
	{{0x64, 0x48, 0x0f, 0xc7, 0x0e}, 5, 0x1060000},
	{{0x65, 0x48, 0x0f, 0xc7, 0x0e}, 5, 0xffff888000060000},
	{{0x65, 0x64, 0x48, 0x0f, 0xc7, 0x0e}, 6, 0x1060000},
	/* displacements of 8 and 32 bits, negative */
	{{0x48, 0x0f, 0xc7, 0x4e, 0xf0}, 5, 0x5fff0},
	{{0x48, 0x0f, 0xc7, 0x8e, 0xf0, 0xff, 0xff, 0xff}, 8, 0x5fff0},
	{{0x48, 0x0f, 0xc7, 0x8e, 0x00, 0x00, 0x10, 0x00}, 8, 0x160000},
	/* RIP-relative, to the end of the instruction */
	{{0x48, 0x0f, 0xc7, 0x0d, 0x08, 0x00, 0x00, 0x00}, 8, 0xffffffff81000010},
	{{0xf0, 0x48, 0x0f, 0xc7, 0x0d, 0xf7, 0xff, 0xff, 0xff}, 9, 0xffffffff81000000},
	/* RBP and R13 as bases have a displacement; as SIB bases without one they are none */
	{{0x48, 0x0f, 0xc7, 0x4d, 0x00}, 5, 0x50000},
	{{0x49, 0x0f, 0xc7, 0x4d, 0x00}, 5, 0xd0000},
	{{0x48, 0x0f, 0xc7, 0x0c, 0x25, 0x00, 0x10, 0x00, 0x00}, 9, 0x1000},
	{{0x48, 0x0f, 0xc7, 0x0c, 0x25, 0x00, 0x00, 0x00, 0x80}, 9, 0xffffffff80000000},
	{{0x49, 0x0f, 0xc7, 0x0c, 0x25, 0x00, 0x10, 0x00, 0x00}, 9, 0x1000},
	{{0x48, 0x0f, 0xc7, 0x4c, 0x25, 0x00}, 6, 0x50000},
	/* RSP is no index, R12 is one; (%rsp) */
	{{0x48, 0x0f, 0xc7, 0x0c, 0x24}, 5, 0x40000},
	{{0x4a, 0x0f, 0xc7, 0x0c, 0x26}, 5, 0x60000 + 0xc0000},
	{{0x4b, 0x0f, 0xc7, 0x4c, 0xfe, 0x10}, 6, 0xe0000 + 8 * 0xf0000 + 0x10},
	/* REX.R says nothing of an opcode extension */
	{{0x4c, 0x0f, 0xc7, 0x0e}, 4, 0x60000},
};

Test(insn, encodings, .init = set_up)
{
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct insn_cmpxchg16b insn = {0};

		cr_expect_eq(decode(good[i].bytes, 15, &insn), 0, "case %zu", i);
		cr_expect_eq(insn.length, good[i].length, "case %zu: length %u", i, insn.length);
		cr_expect_eq(insn.linear, good[i].linear, "case %zu: %#llx", i,
			     (unsigned long long)insn.linear);
		/* No more of it than there is, and no less than all of it. */
		cr_expect_eq(decode(good[i].bytes, good[i].length, &insn), 0, "case %zu", i);
		for (unsigned count = 0; count < good[i].length; count++)
			cr_expect_eq(decode(good[i].bytes, count, &insn), -EINVAL,
				     "case %zu, %u bytes", i, count);
	}
}

Test(insn, the_address_can_be_32_bits, .init = set_up)
{
	static const uint8_t bytes[] = {0x67, 0x48, 0x0f, 0xc7, 0x0e};
	struct insn_cmpxchg16b insn;

	regs.rsi = 0xffffffff00000010;
	cr_expect_eq(decode(bytes, sizeof(bytes), &insn), 0);
	cr_expect_eq(insn.linear, 0x10);
}

Test(insn, others_are_refused, .init = set_up)
{
	static const uint8_t bad[][8] = {
		{0x0f, 0xc7, 0x0e},		/* cmpxchg8b */
		{0x40, 0x0f, 0xc7, 0x0e},	/* REX without W */
		{0x48, 0xf0, 0x0f, 0xc7, 0x0e}, /* REX that does not count */
		{0x48, 0x0f, 0xc7, 0xce},	/* a register operand */
		{0x48, 0x0f, 0xc7, 0x06},	/* /0 */
		{0x48, 0x0f, 0xc7, 0x36},	/* /6 */
		{0x48, 0x0f, 0xb1, 0x0e},	/* cmpxchg */
		{0x48, 0x48, 0x0f, 0xc7, 0x0e}, /* two REX prefixes */
		{0x66, 0x48, 0x0f, 0xc7, 0x0e}, /* operand size */
		{0xc5, 0xf8, 0x77},		/* VEX */
		{0x48, 0x0f, 0x0f, 0xc7, 0x0e},
	};
	struct insn_cmpxchg16b insn;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		cr_expect_eq(decode(bad[i], sizeof(bad[i]), &insn), -EINVAL, "case %zu", i);
}

Test(insn, only_a_64_bit_kernel_is_served, .init = set_up)
{
	struct insn_cmpxchg16b insn;

	sregs.ss.dpl = 3;
	cr_expect_eq(decode(good[0].bytes, 4, &insn), -EINVAL);
	sregs.ss.dpl = 0;
	sregs.cs.l = 0;
	cr_expect_eq(decode(good[0].bytes, 4, &insn), -EINVAL);
	sregs.cs.l = 1;
	sregs.efer = 0;
	cr_expect_eq(decode(good[0].bytes, 4, &insn), -EINVAL);
}

/* The processor raises #GP or #SS itself before a memory slot matters. */
Test(insn, impossible_operands_are_refused, .init = set_up)
{
	struct insn_cmpxchg16b insn;

	regs.rsi = 0x60008;
	cr_expect_eq(decode(good[0].bytes, 4, &insn), -EFAULT);
	regs.rsi = 0x800000000000;
	cr_expect_eq(decode(good[0].bytes, 4, &insn), -EFAULT);
	sregs.cr4 |= BIT(12);
	cr_expect_eq(decode(good[0].bytes, 4, &insn), 0, "canonical with five levels");
	regs.rsi = 0x0100000000000000;
	cr_expect_eq(decode(good[0].bytes, 4, &insn), -EFAULT);
}

/* Whatever the bytes: what is accepted is short enough, and names an operand that can be. */
Test(insn, noise, .init = set_up)
{
	static const uint8_t likely[] = {0x48, 0x0f, 0xc7, 0x0e, 0xf0, 0x65, 0x67, 0x4f,
					 0x0c, 0x25, 0x0d, 0x8c, 0x2e, 0x64, 0x49, 0x4e};
	unsigned state = 1;
	unsigned accepted = 0;

	for (unsigned i = 0; i < 300000; i++) {
		struct insn_cmpxchg16b insn = {.length = 99};
		uint8_t bytes[15];
		unsigned count = noise(&state) % 16;

		for (unsigned j = 0; j < sizeof(bytes); j++) {
			unsigned n = noise(&state);

			bytes[j] = n & 0xf00 ? likely[n % ARRAY_SIZE(likely)] : (uint8_t)n;
		}
		if (decode(bytes, count, &insn))
			continue;
		accepted++;
		cr_assert_leq(insn.length, count);
		cr_assert_geq(insn.length, 4);
		cr_assert_eq(insn.linear % 16, 0);
	}
	cr_expect_gt(accepted, 0);
}
