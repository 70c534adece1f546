/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that does what the host tells it. Entered at 1 MiB in 32-bit protected mode (PVH), it
 * goes to 64-bit mode with the low 4 GiB mapped one to one, then reads commands of four dwords
 * (operation, address, value low, value high) from COMMAND_PORT and answers each with two dwords
 * on the same port. Interrupts 40h..4Fh report their vector on IRQ_PORT and end at the local APIC.
 */
#include "agent.h"

#define PML4  0x10000
#define PDPT  0x11000
#define PD    0x12000		/* 4 pages */
#define STACK 0x90000
#define IDT   0x20000
#define APIC  0xfee00000

	.code32
	.globl _start
_start:
	cli
	mov	$STACK, %esp
	/* Tables: one PML4 entry, four PDPT entries, 2048 large pages. */
	cld
	xor	%eax, %eax
	mov	$PML4, %edi
	mov	$0x800, %ecx
	rep stosl
	movl	$PDPT + 3, PML4
	movl	$PD + 0x0003, PDPT
	movl	$PD + 0x1003, PDPT + 8
	movl	$PD + 0x2003, PDPT + 16
	movl	$PD + 0x3003, PDPT + 24
	mov	$PD, %edi
	mov	$0x83, %eax
1:	movl	%eax, (%edi)
	movl	$0, 4(%edi)
	add	$8, %edi
	add	$0x200000, %eax
	jnc	1b
	mov	$0x20, %eax		/* PAE */
	mov	%eax, %cr4
	mov	$PML4, %eax
	mov	%eax, %cr3
	mov	$0xc0000080, %ecx	/* EFER.LME */
	rdmsr
	or	$0x100, %eax
	wrmsr
	mov	%cr0, %eax
	or	$0x80000000, %eax
	mov	%eax, %cr0
	lgdt	gdt_pointer
	ljmp	$8, $long_mode

	.balign	8
gdt:	.quad	0
	.quad	0x00af9b000000ffff
	.quad	0x00cf93000000ffff
gdt_pointer:
	.word	23
	.long	gdt

	.code64
long_mode:
	mov	$16, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	/* 16 interrupt gates at 40h, one stub each. */
	mov	$IDT + VECTOR_FIRST * 16, %edi
	lea	stubs(%rip), %rsi
	mov	$16, %ecx
1:	mov	%si, (%rdi)
	movw	$8, 2(%rdi)
	movw	$0x8e00, 4(%rdi)
	mov	%esi, %eax
	shr	$16, %eax
	mov	%ax, 6(%rdi)
	movq	$0, 8(%rdi)
	add	$16, %rdi
	add	$16, %rsi
	dec	%ecx
	jnz	1b
	lidt	idt_pointer(%rip)

next:	mov	$COMMAND_PORT, %edx
	inl	%dx, %eax
	cmp	$NO_COMMAND, %eax
	je	next
	mov	%eax, %r8d
	inl	%dx, %eax
	mov	%eax, %edi
	inl	%dx, %eax
	mov	%eax, %ebx
	inl	%dx, %eax
	shl	$32, %rax
	or	%rax, %rbx
	xor	%eax, %eax
	cmp	$OP_COUNT, %r8d
	jae	answer
	lea	table(%rip), %rcx
	movl	(%rcx,%r8,4), %ecx
	jmp	*%rcx

answer:	mov	$COMMAND_PORT, %edx
	mov	%rax, %rbx
	outl	%eax, %dx
	shr	$32, %rbx
	mov	%ebx, %eax
	outl	%eax, %dx
	jmp	next

	.balign	4
table:	.long	window, halt, write1, write2, write4, write8, read1, read2, read4, read8
	.long	out1, out2, out4, in1, in2, in4, outs, ins, fault, spin, get_msr, set_msr, odd

	/* The exit makes every KVM look at what is pending. */
window:	mov	$AP_PORT, %edx
	sti
	outb	%al, %dx
	nop
	cli
	xor	%eax, %eax
	jmp	answer
halt:	sti
	hlt
	cli
	jmp	answer
write1:	movb	%bl, (%rdi)
	jmp	answer
write2:	movw	%bx, (%rdi)
	jmp	answer
write4:	movl	%ebx, (%rdi)
	jmp	answer
write8:	movq	%rbx, (%rdi)
	jmp	answer
read1:	movb	(%rdi), %al
	jmp	answer
read2:	movw	(%rdi), %ax
	jmp	answer
read4:	movl	(%rdi), %eax
	jmp	answer
read8:	movq	(%rdi), %rax
	jmp	answer
out1:	mov	%edi, %edx
	mov	%ebx, %eax
	outb	%al, %dx
	xor	%eax, %eax
	jmp	answer
out2:	mov	%edi, %edx
	mov	%ebx, %eax
	outw	%ax, %dx
	xor	%eax, %eax
	jmp	answer
out4:	mov	%edi, %edx
	mov	%ebx, %eax
	outl	%eax, %dx
	xor	%eax, %eax
	jmp	answer
in1:	mov	%edi, %edx
	inb	%dx, %al
	jmp	answer
in2:	mov	%edi, %edx
	inw	%dx, %ax
	jmp	answer
in4:	mov	%edi, %edx
	inl	%dx, %eax
	jmp	answer
	/* BX words between BUFFER and port DI. */
outs:	mov	%edi, %edx
	mov	%ebx, %ecx
	mov	$AGENT_BUFFER, %esi
	rep outsw
	jmp	answer
ins:	mov	%edi, %edx
	mov	%ebx, %ecx
	mov	$AGENT_BUFFER, %edi
	rep insw
	jmp	answer
fault:	lidt	empty_pointer(%rip)
	ud2
spin:	incq	(%rdi)
	jmp	spin
get_msr:
	mov	%edi, %ecx
	rdmsr
	shl	$32, %rdx
	or	%rdx, %rax
	jmp	answer
set_msr:
	mov	%edi, %ecx
	mov	%ebx, %eax
	mov	%rbx, %rdx
	shr	$32, %rdx
	wrmsr
	xor	%eax, %eax
	jmp	answer

odd:	lock cmpxchg16b (%rdi)
	jmp	answer

	.balign	16
stubs:	.set	vector, VECTOR_FIRST
	.rept	16
	.balign	16
	push	%rax
	mov	$vector, %al
	jmp	interrupt
	.set	vector, vector + 1
	.endr
	.balign	16
interrupt:
	push	%rdx
	mov	$IRQ_PORT, %edx
	outb	%al, %dx
	mov	$APIC + 0xb0, %edx
	movl	$0, (%rdx)
	pop	%rdx
	pop	%rax
	iretq

idt_pointer:
	.word	0x50 * 16 - 1
	.quad	IDT
empty_pointer:
	.word	0
	.quad	0
