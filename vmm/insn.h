/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CMPXCHG16B, the one instruction that the monitor carries out in KVM's place (ram_trap.c). The
 * bytes, and every register, are the guest's.
 */
#ifndef POSTERN_INSN_H
#define POSTERN_INSN_H

#include <stdint.h>

#include <linux/kvm.h>

#define INSN_RFLAGS_ZF UINT64_C(0x40)

struct insn_cmpxchg16b {
	unsigned length; /* bytes of the instruction */
	uint64_t linear; /* address of its operand, 16-aligned and canonical */
};

/*
 * COUNT bytes from RIP on. -EINVAL: another instruction, an incomplete one, or not by a 64-bit
 * kernel; -EFAULT: an operand that the processor itself refuses.
 */
int insn_decode_cmpxchg16b(const uint8_t *bytes, unsigned count, const struct kvm_regs *regs,
			   const struct kvm_sregs *sregs, struct insn_cmpxchg16b *insn);

#endif
