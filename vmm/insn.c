// SPDX-License-Identifier: Apache-2.0
/* Decoding of CMPXCHG16B (AMD64 APM volume 3, chapter 1 and the instruction's page). */
#include <errno.h>
#include <stdbool.h>

#include "postern/bits.h"
#include "vmm/insn.h"

#define EFER_LMA   BIT(10)
#define CR4_LA57   BIT(12)
#define REX_W	   0x8u
#define REX_X	   0x2u
#define REX_B	   0x1u
#define NO_INDEX   4u
#define NO_BASE	   16u
#define INSN_BYTES 15u

struct cursor {
	const uint8_t *bytes;
	unsigned count, at;
};

static int next(struct cursor *c)
{
	return c->at < c->count ? c->bytes[c->at++] : -EINVAL;
}

/* A displacement of WIDTH bytes (1 or 4), sign-extended. */
static int displacement(struct cursor *c, unsigned width, uint64_t *value)
{
	uint32_t bits = 0;

	for (unsigned i = 0; i < width; i++) {
		int byte = next(c);

		if (byte < 0)
			return byte;
		bits |= (uint32_t)byte << (8 * i);
	}
	*value = width == 1 ? (uint64_t)(int64_t)(int8_t)bits : (uint64_t)(int64_t)(int32_t)bits;
	return 0;
}

static uint64_t reg(const struct kvm_regs *r, unsigned number)
{
	const uint64_t value[16] = {r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi,
				    r->r8,  r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15};

	return value[number & 15];
}

struct prefixes {
	unsigned rex;
	bool address32;
	uint64_t base; /* of the segment that counts: FS or GS, of what came last */
};

/* Up to the byte after the prefixes, which is returned. */
static int prefixes(struct cursor *c, const struct kvm_sregs *sregs, struct prefixes *p)
{
	for (;;) {
		int byte = next(c);

		switch (byte) {
		case 0xf0: /* LOCK */
		case 0x26:
		case 0x2e:
		case 0x36:
		case 0x3e: /* segments that have no base in 64-bit mode */
			break;
		case 0x64:
			p->base = sregs->fs.base;
			break;
		case 0x65:
			p->base = sregs->gs.base;
			break;
		case 0x67:
			p->address32 = true;
			break;
		default:
			if (byte < 0x40 || byte > 0x4f)
				return byte;
			/* It counts only right before the opcode. */
			p->rex = (unsigned)byte & 0xf;
			return next(c);
		}
	}
}

/* The offset that ModRM says; *RELATIVE: to the end of the instruction. */
static int operand(struct cursor *c, const struct kvm_regs *regs, unsigned rex, uint64_t *offset,
		   bool *relative)
{
	int modrm = next(c), sib;
	unsigned mod, base, index;
	uint64_t disp = 0;

	if (modrm < 0)
		return modrm;
	mod = (unsigned)modrm >> 6;
	base = (unsigned)modrm & 7;
	if (mod == 3 || ((unsigned)modrm >> 3 & 7) != 1)
		return -EINVAL;
	*offset = 0;
	*relative = false;
	if (base == 4) {
		sib = next(c);
		if (sib < 0)
			return sib;
		index = ((unsigned)sib >> 3 & 7) | (rex & REX_X ? 8 : 0);
		if (index != NO_INDEX)
			*offset = reg(regs, index) << ((unsigned)sib >> 6);
		base = (unsigned)sib & 7;
		if (base == 5 && !mod)
			base = NO_BASE;
	} else if (base == 5 && !mod) {
		*relative = true;
		return displacement(c, 4, offset);
	}
	if (base != NO_BASE)
		*offset += reg(regs, base | (rex & REX_B ? 8 : 0));
	if ((mod || base == NO_BASE) && displacement(c, mod == 1 ? 1 : 4, &disp))
		return -EINVAL;
	*offset += disp;
	return 0;
}

static bool is_canonical(uint64_t linear, const struct kvm_sregs *sregs)
{
	unsigned unused = sregs->cr4 & CR4_LA57 ? 64 - 57 : 64 - 48;

	return (uint64_t)((int64_t)(linear << unused) >> unused) == linear;
}

int insn_decode_cmpxchg16b(const uint8_t *bytes, unsigned count, const struct kvm_regs *regs,
			   const struct kvm_sregs *sregs, struct insn_cmpxchg16b *insn)
{
	struct cursor c = {.bytes = bytes, .count = count < INSN_BYTES ? count : INSN_BYTES};
	struct prefixes p = {0};
	uint64_t offset;
	bool relative;

	/* Drivers alone write what is trapped; KVM_TRANSLATE does not look at user privileges. */
	if (!(sregs->efer & EFER_LMA) || !sregs->cs.l || sregs->ss.dpl)
		return -EINVAL;
	if (prefixes(&c, sregs, &p) != 0x0f || next(&c) != 0xc7 || !(p.rex & REX_W))
		return -EINVAL;
	if (operand(&c, regs, p.rex, &offset, &relative))
		return -EINVAL;
	if (relative)
		offset += regs->rip + c.at;
	if (p.address32)
		offset = (uint32_t)offset;
	insn->length = c.at;
	insn->linear = p.base + offset;
	return is_aligned(insn->linear, 16) && is_canonical(insn->linear, sregs) ? 0 : -EFAULT;
}
