/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent in the guest and the host's side of it agree on. Included by assembly too. */
#ifndef POSTERN_TESTS_AGENT_H
#define POSTERN_TESTS_AGENT_H

#define COMMAND_PORT 0x500
#define IRQ_PORT     0x510
#define AP_PORT	     0x511
#define AGENT_BASE   0x100000
#define AGENT_BUFFER 0x200000
#define AP_PAGE	     0x8000
#define VECTOR_FIRST 0x40

#define NO_COMMAND -1 /* ask again */

/* Places in the agent's table. */
#define OP_WINDOW 0 /* let pending interrupts in */
#define OP_HALT	  1 /* wait for one */
#define OP_WRITE1 2
#define OP_WRITE2 3
#define OP_WRITE4 4
#define OP_WRITE8 5
#define OP_READ1  6
#define OP_READ2  7
#define OP_READ4  8
#define OP_READ8  9
#define OP_OUT1	  10
#define OP_OUT2	  11
#define OP_OUT4	  12
#define OP_IN1	  13
#define OP_IN2	  14
#define OP_IN4	  15
#define OP_OUTS	  16 /* VALUE words from AGENT_BUFFER to port ADDRESS */
#define OP_INS	  17
#define OP_FAULT  18 /* triple fault */
#define OP_SPIN	  19 /* count at ADDRESS forever */
#define OP_RDMSR  20
#define OP_WRMSR  21
#define OP_ODD	  22 /* an instruction that KVM cannot emulate, on MMIO at ADDRESS */
#define OP_COUNT  23

#endif
