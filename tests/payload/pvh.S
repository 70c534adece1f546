/* SPDX-License-Identifier: Apache-2.0 */
/* A flat 32-bit program, linked at 1 MiB, as the 64-bit ELF file with a PVH entry that loaders take. */
	.section .note.pvh, "a", @note
	.align 4
	.long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long 0x100000

	.text
	.globl _start
_start:
	.incbin PROGRAM
