/* SPDX-License-Identifier: Apache-2.0 */
	.section .rodata
	.globl	agent_image, agent_image_end
agent_image:
	.incbin AGENT_BIN
agent_image_end:
	.section .note.GNU-stack, "", @progbits
