/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers, structures, commands and events of the AMD IOMMU as software encodes them, written
 * from the specification (48882) for this suite alone: what the engine believes about them is what
 * is being tested. Numbers in comments are sections of the reference.
 */
#ifndef POSTERN_CONFORMANCE_LAYOUT_H
#define POSTERN_CONFORMANCE_LAYOUT_H

#include "postern/bits.h"

/* 3.2: registers, by offset in the window */
#define R_DEVTAB      0x0000
#define R_CMD_BASE    0x0008
#define R_EVT_BASE    0x0010
#define R_CONTROL     0x0018
#define R_EXCL_BASE   0x0020
#define R_EXCL_LIMIT  0x0028
#define R_EFR	      0x0030
#define R_PPR_BASE    0x0038
#define R_GA_BASE     0x00e0
#define R_GA_TAIL_AT  0x00e8
#define R_SEGMENT(n)  (0x0100 + 8 * ((n)-1)) /* 1 to 7 */
#define R_MISC_INFO   0x0150
#define R_MSI_CAP     0x0158
#define R_MSI_ADDR    0x015c
#define R_MSI_ADDR_HI 0x0160
#define R_MSI_DATA    0x0164
#define R_XT_GENERAL  0x0170
#define R_XT_PPR      0x0178
#define R_XT_GA	      0x0180
#define R_EFR2	      0x01a0
#define R_CMD_HEAD    0x2000
#define R_CMD_TAIL    0x2008
#define R_EVT_HEAD    0x2010
#define R_EVT_TAIL    0x2018
#define R_STATUS      0x2020
#define R_PPR_HEAD    0x2030
#define R_PPR_TAIL    0x2038
#define WINDOW_LENGTH 0x4000

#define RING_LENGTH(log2) ((uint64_t)(log2) << 56)

/* 3.3: Control */
#define C_IOMMU_EN	UINT64_C(0x1)
#define C_EVT_LOG_EN	UINT64_C(0x4)
#define C_EVT_INT_EN	UINT64_C(0x8)
#define C_COMWAIT_INT	UINT64_C(0x10)
#define C_COHERENT	UINT64_C(0x400)
#define C_CMD_BUF_EN	UINT64_C(0x1000)
#define C_PPR_LOG_EN	UINT64_C(0x2000)
#define C_PPR_INT_EN	UINT64_C(0x4000)
#define C_PPR_EN	UINT64_C(0x8000)
#define C_GT_EN		UINT64_C(0x10000)
#define C_GA_EN		UINT64_C(0x20000)
#define C_SEGMENTS(n)	((uint64_t)(n) << 34) /* log2 */
#define C_REMAP_2048	(UINT64_C(1) << 43)
#define C_GCR3_TRP_GPA	(UINT64_C(1) << 58)
#define C_XT_EN		(UINT64_C(1) << 50)
#define C_INT_CAP_XT_EN (UINT64_C(1) << 51)

/* 3.6: Status */
#define S_EVT_OVERFLOW 0x1
#define S_EVT_INT      0x2
#define S_COMWAIT      0x4
#define S_EVT_RUN      0x8
#define S_CMD_RUN      0x10

/* 2.3: XT interrupt control register */
#define XT(dest, dm, delivery, vector)                                                             \
	((uint64_t)(dm) << 2 | ((uint64_t)(dest)&0xffffff) << 8 | (uint64_t)(vector) << 32 |       \
	 (uint64_t)(delivery) << 40 | (uint64_t)(dest) >> 24 << 56)

/* 4.1: device table entry */
#define DTE_V	    UINT64_C(1)
#define DTE_TV	    UINT64_C(2)
#define DTE_MODE(n) ((uint64_t)(n) << 9)
#define DTE_HAD(n)  ((uint64_t)(n) << 7)
#define DTE_GIOV    (UINT64_C(1) << 54)
#define DTE_GV	    (UINT64_C(1) << 55)
#define DTE_GLX(n)  ((uint64_t)(n) << 56)
#define DTE_IR	    (UINT64_C(1) << 61)
#define DTE_IW	    (UINT64_C(1) << 62)
#define DTE_RW	    (DTE_IR | DTE_IW)
#define DTE_VALID   (DTE_V | DTE_TV)
#define DTE1_SE	    (UINT64_C(1) << 33)
#define DTE1_SA	    (UINT64_C(1) << 34)
#define DTE2_LEVEL5 (UINT64_C(1) << 54)
/* The GCR3 table's address lies in three fields of two words. */
#define DTE0_GCR3(gpa) (((uint64_t)(gpa) >> 12 & 7) << 58)
#define DTE1_GCR3(gpa) (((uint64_t)(gpa) >> 15 & 0xffff) << 16 | (uint64_t)(gpa) >> 31 << 43)
#define DTE2_IV	       UINT64_C(1)
#define DTE2_LEN(n)    ((uint64_t)(n) << 1)
#define DTE2_IG	       UINT64_C(0x20)
#define DTE2_INIT      (UINT64_C(1) << 56)
#define DTE2_EXTINT    (UINT64_C(1) << 57)
#define DTE2_NMI       (UINT64_C(1) << 58)
#define DTE2_INTCTL(n) ((uint64_t)(n) << 60)
#define DTE2_REMAP     (DTE2_IV | DTE2_INTCTL(2))

/* 4.2: v1 page-table entries */
#define PR	      UINT64_C(1)
#define NEXT(n)	      ((uint64_t)(n) << 9)
#define PTE_FC	      (UINT64_C(1) << 60)
#define PTE_IR	      (UINT64_C(1) << 61)
#define PTE_IW	      (UINT64_C(1) << 62)
#define PTE_RW	      (PTE_IR | PTE_IW)
#define PDE(n, table) (PR | NEXT(n) | (table) | PTE_RW)
#define PTE(page)     (PR | (page) | PTE_FC | PTE_RW)
/* NextLevel 7: bits 12..z-1 of the address field are ones, bit z is zero: 2^(z+1) bytes. */
#define PTE7(page, z) (PTE(page) | NEXT(7) | (((UINT64_C(1) << (z)) - 1) & ~UINT64_C(0xfff)))

#define PTE_A UINT64_C(0x20)
#define PTE_D UINT64_C(0x40)

/* 4.3: guest tables are those of AMD64 */
#define G_P		UINT64_C(1)
#define G_W		UINT64_C(2)
#define G_U		UINT64_C(4)
#define G_PS		UINT64_C(0x80)
#define G_USER		(G_P | G_W | G_U)
#define GCR3_V		UINT64_C(1)
#define GTABLE(l)	(UINT64_C(0x760000) + (uint64_t)(l)*0x1000)
#define GCR3		UINT64_C(0x768000)
#define GCR3_LOW	UINT64_C(0x769000) /* below a table of two levels */
#define GENTRY(l, iova) (GTABLE(l) + ((iova) >> (12 + 9 * ((l)-1)) & 0x1ff) * 8)

/* 4.4: interrupt remapping table entries */
#define IRTE_EN	      UINT64_C(1)
#define IRTE_SUP      UINT64_C(2)
#define IRTE_TYPE(n)  ((uint64_t)(n) << 2)
#define IRTE_EOI      UINT64_C(0x20)
#define IRTE_DM	      UINT64_C(0x40)
#define IRTE_GM	      UINT64_C(0x80)
#define IRTE_DEST(d)  (((uint64_t)(d)&0xffffff) << 8)
#define IRTE32_VEC(v) ((uint64_t)(v) << 16)
/* second word of the 128-bit format */
#define IRTE128_VEC(v)	  ((uint64_t)(v))
#define IRTE128_DESTHI(d) ((uint64_t)(d) >> 24 << 56)

/* APIC messages; destination bits 31:8 in address bits 63:40, as KVM takes them */
#define MSI_ADDR(dest, dm)                                                                         \
	(UINT64_C(0xfee00000) | ((uint64_t)(dest)&0xff) << 12 | (uint64_t)(dm) << 2 |              \
	 (uint64_t)(dest) >> 8 << 40)
#define MSI_DATA(delivery, low) ((uint64_t)(delivery) << 8 | (uint64_t)(low))

/* 5: commands */
#define OPCODE(n)	     ((uint64_t)(n) << 60)
#define CWAIT(flags, gpa)    (OPCODE(1) | (gpa) | (flags))
#define CWAIT_S		     UINT64_C(1)
#define CWAIT_I		     UINT64_C(2)
#define CWAIT_F		     UINT64_C(4)
#define INV_DTE(devid)	     (OPCODE(2) | (devid))
#define INV_PAGES(domain)    (OPCODE(3) | (uint64_t)(domain) << 32)
#define INV_ADDR(addr, bits) ((uint64_t)(addr) | (bits))
#define INV_S		     UINT64_C(1)
#define INV_PDE		     UINT64_C(2)
#define INV_EVERYTHING	     (UINT64_C(0x7ffffffffffff000) | INV_S | INV_PDE)
#define INV_IRT(devid)	     (OPCODE(5) | (devid))
#define INV_ALL		     OPCODE(8)

/* 6: events; flags as numbers of the 12-bit field at bit 48 */
#define F_GN	  0x001u
#define F_US	  0x004u
#define F_I	  0x008u
#define F_PR	  0x010u
#define F_RW	  0x020u
#define F_PE	  0x040u
#define F_RZ	  0x080u
#define F_HW(n)	  ((n)*0x200u) /* hardware errors: 1 master abort, 2 target abort */
#define F_TYPE(n) ((n)*0x200u) /* INVALID_DEVICE_REQUEST */
#define EV(code, devid, domain, flags)                                                             \
	((uint64_t)(code) << 60 | (uint64_t)(flags) << 48 | (uint64_t)(domain) << 32 |             \
	 (uint64_t)(devid))
/* Of a request that guest tables concern: its PASID takes the place of the domain. */
#define EV_GUEST(code, devid, pasid, flags)                                                        \
	(EV(code, devid, (uint64_t)(pasid)&0xffff, (flags) | F_GN) | (uint64_t)(pasid) >> 16 << 16)
#define EV_DTE(devid, flags)	       EV(1, devid, 0, flags)
#define EV_FAULT(devid, domain, flags) EV(2, devid, domain, flags)
#define EV_DEVTAB(devid, flags)	       EV(3, devid, 0, flags)
#define EV_PAGETAB(devid, dom, flags)  EV(4, devid, dom, flags)
#define EV_ILLEGAL_COMMAND	       EV(5, 0, 0, 0)
#define EV_COMMAND_HW(type)	       EV(6, 0, 0, F_HW(type))
#define EV_REQUEST(devid, type)	       EV(8, devid, 0, F_TYPE(type))

/* Where the suite puts things in guest memory: 16 MiB of RAM from 0, of which 4..8 MiB are its own;
 * what lies below belongs to the guest that makes the accesses. */
#define RAM_SIZE UINT64_C(0x1000000)
#define OWN_BASE UINT64_C(0x400000)
#define OWN_SIZE UINT64_C(0x400000)
#define RING	 UINT64_C(0x400000)
#define LOG	 UINT64_C(0x480000)
#define DEVTAB	 UINT64_C(0x500000)
#define IRT	 UINT64_C(0x700000)
#define IRT2	 UINT64_C(0x708000)
#define TABLE(l) (UINT64_C(0x710000) + (uint64_t)(l)*0x1000) /* page table of level L */
#define SEM	 UINT64_C(0x720000)
#define PAGE_A	 UINT64_C(0x730000)
#define PAGE_B	 UINT64_C(0x731000)
#define PAGE_C	 UINT64_C(0x740000)
#define DEVTAB2	 UINT64_C(0x780000)
#define HOLE	 UINT64_C(0xc0000000) /* neither RAM nor device */
#define WINDOW	 UINT64_C(0xfeb80000)
#define ECAM	 UINT64_C(0xe0000000)
#define UNIT_ID	 0x10 /* the unit's own function, 00:02.0 */
#define CAP	 0x40 /* of its capability block */

#define DEV	     0x0028
#define DEV2	     0x0105 /* on another bus */
#define DEVTAB_SIZE  0x0f   /* 64 KiB: requesters 0..7ffh */
#define DOM	     0x1234
#define DEVTAB_LIMIT 0x0800

/* Address of the entry for IOVA in TABLE(level). */
#define ENTRY(level, iova)                                                                         \
	(TABLE(level) + ((iova) >> (12 + 9 * ((level)-1)) & ((level) == 6 ? 0x7f : 0x1ff)) * 8)
#define DTE_AT(devid) (DEVTAB + (uint64_t)(devid)*32)

#endif
