/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest kernel: an ELF with a PVH entry that sends one byte to the serial port and then, if
 * the command line is "stay", spins with interrupts off; else powers off (postern) and, where that
 * does nothing, triple-faults (which ends QEMU with -no-reboot).
 */
	.section .note, "a", @note
	.align 4
	.long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long start

	.text
	.code32
	.globl start
start:
	movw $0x3f8, %dx
	movb $'P', %al
	outb %al, %dx
	movl 24(%ebx), %esi /* hvm_start_info.cmdline_paddr */
	testl %esi, %esi
	jz off
	cmpl $0x79617473, (%esi) /* "stay" */
	jne off
stay:
	pause
	jmp stay
off:
	movw $0x600, %dx
	movb $0x34, %al /* SLP_EN, S5 */
	outb %al, %dx
	lidt none
	int $3
1:	hlt
	jmp 1b

	.align 8
none:	.word 0
	.long 0
