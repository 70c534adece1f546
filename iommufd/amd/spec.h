/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layouts of the AMD I/O Virtualization Technology Specification (48882): registers, device table
 * entries, page tables, interrupt remapping tables, commands and events. Field numbers are those of
 * the specification; a field of a 128- or 256-bit structure is named by its 64-bit word.
 */
#ifndef POSTERN_AMD_SPEC_H
#define POSTERN_AMD_SPEC_H

#include <stdint.h>

#include "postern/bits.h"

/* ---- registers (section 3.4 of the specification) ---- */

/* Device table base, 0000h */
#define AMD_DEVTAB_SIZE GENMASK(8, 0) /* 4-KiB units less one */
#define AMD_DEVTAB_BASE GENMASK(51, 12)

/* Device table segments 1 to 7, 0100h to 0130h, hold as many entries as a segment can have. */
#define AMD_DEVTAB_SEGMENTS	   8
#define AMD_DEVTAB_SEGMENT_SIZE(n) GENMASK((n) == 1 ? 7 : (n) < 4 ? 6 : 5, 0)

/* Command buffer, event log and PPR log base, 0008h, 0010h, 0038h */
#define AMD_RING_BASE	  GENMASK(51, 12)
#define AMD_RING_LENGTH	  GENMASK(59, 56) /* log2 of the number of entries */
#define AMD_RING_LOG2_MIN 8
#define AMD_RING_POINTER  GENMASK(18, 4)
#define AMD_RING_ENTRY	  16u

/* Control, 0018h */
#define AMD_CONTROL_IOMMU_EN	   BIT(0)
#define AMD_CONTROL_HT_TUN_EN	   BIT(1)
#define AMD_CONTROL_EVENT_LOG_EN   BIT(2)
#define AMD_CONTROL_EVENT_INT_EN   BIT(3)
#define AMD_CONTROL_COMWAIT_INT_EN BIT(4)
#define AMD_CONTROL_INV_TIMEOUT	   GENMASK(7, 5)
#define AMD_CONTROL_PASS_PW	   BIT(8)
#define AMD_CONTROL_RES_PASS_PW	   BIT(9)
#define AMD_CONTROL_COHERENT	   BIT(10)
#define AMD_CONTROL_ISOC	   BIT(11)
#define AMD_CONTROL_CMD_BUF_EN	   BIT(12)
#define AMD_CONTROL_PPR_LOG_EN	   BIT(13)
#define AMD_CONTROL_PPR_INT_EN	   BIT(14)
#define AMD_CONTROL_PPR_EN	   BIT(15)
#define AMD_CONTROL_GT_EN	   BIT(16)
#define AMD_CONTROL_GA_EN	   BIT(17)
#define AMD_CONTROL_DEV_TBL_SEG_EN GENMASK(36, 34) /* log2 of the segments */
#define AMD_CONTROL_NUM_INT_REMAP  GENMASK(44, 43)
#define AMD_CONTROL_EPH_EN	   BIT(45)
#define AMD_CONTROL_HAD_UPDATE	   GENMASK(47, 46)
#define AMD_CONTROL_XT_EN	   BIT(50)
#define AMD_CONTROL_INT_CAP_XT_EN  BIT(51)
#define AMD_CONTROL_GCR3_TRP_MODE  BIT(58)

/* Exclusion range, 0020h, 0028h */
#define AMD_EXCLUSION_EN    BIT(0)
#define AMD_EXCLUSION_ALLOW BIT(1) /* for all devices; else for those with DTE.EX */
#define AMD_EXCLUSION_ADDR  GENMASK(51, 12)

/* Extended features, 0030h */
#define AMD_EFR_PREF_SUP     BIT(0)
#define AMD_EFR_PPR_SUP	     BIT(1)
#define AMD_EFR_XT_SUP	     BIT(2)
#define AMD_EFR_NX_SUP	     BIT(3)
#define AMD_EFR_GT_SUP	     BIT(4)
#define AMD_EFR_IA_SUP	     BIT(6)
#define AMD_EFR_GA_SUP	     BIT(7)
#define AMD_EFR_HATS	     GENMASK(11, 10)
#define AMD_EFR_HATS_NONE    3
#define AMD_EFR_HATS_LEVELS  4 /* levels that HATS = 0 stands for */
#define AMD_EFR_GATS	     GENMASK(13, 12)
#define AMD_EFR_GATS_5	     1 /* 5 levels; 0 stands for 4, others are reserved */
#define AMD_EFR_GLX_SUP	     GENMASK(15, 14)
#define AMD_EFR_GLX_3	     2 /* 3 levels, the most; 0 stands for 1 */
#define AMD_EFR_PAS_MAX	     GENMASK(36, 32)
#define AMD_EFR_US_SUP	     BIT(37)
#define AMD_EFR_DEV_TBL_SEG  GENMASK(39, 38)
#define AMD_EFR_MSI_CAP_MMIO BIT(46)
#define AMD_EFR_GIO_SUP	     BIT(48)
#define AMD_EFR_HA_SUP	     BIT(49)
#define AMD_EFR_EPH_SUP	     BIT(50)
#define AMD_EFR_HD_SUP	     BIT(52)

/* Extended features 2, 01A0h */
#define AMD_EFR2_GCR3_TRP_MODE_SUP BIT(3)
#define AMD_EFR2_NUM_INT_REMAP_SUP GENMASK(9, 8)

/* Of EFR2.NumIntRemapSup and Control.NumIntRemapMode: entries that a message can name. */
#define AMD_NUM_INT_REMAP_512  0
#define AMD_NUM_INT_REMAP_2048 1

/* XT interrupt control, 0170h, 0178h, 0180h */
#define AMD_XT_DM	BIT(2)
#define AMD_XT_DEST_LOW GENMASK(31, 8)
#define AMD_XT_VECTOR	GENMASK(39, 32)
#define AMD_XT_DELIVERY BIT(40)
#define AMD_XT_DEST_HI	GENMASK(63, 56)

/* Status, 2020h */
#define AMD_STATUS_EVENT_OVERFLOW BIT(0)
#define AMD_STATUS_EVENT_LOG_INT  BIT(1)
#define AMD_STATUS_COMWAIT_INT	  BIT(2)
#define AMD_STATUS_EVENT_LOG_RUN  BIT(3)
#define AMD_STATUS_CMD_BUF_RUN	  BIT(4)
#define AMD_STATUS_PPR_OVERFLOW	  BIT(5)
#define AMD_STATUS_PPR_INT	  BIT(6)
#define AMD_STATUS_PPR_LOG_RUN	  BIT(7)

/* ---- device table entry (section 2.2.2.1) ---- */

#define AMD_DTE_SIZE 32u

#define AMD_DTE0_V	    BIT(0)
#define AMD_DTE0_TV	    BIT(1)
#define AMD_DTE0_HAD	    GENMASK(8, 7)
#define AMD_DTE0_MODE	    GENMASK(11, 9)
#define AMD_DTE0_ROOT	    GENMASK(51, 12)
#define AMD_DTE0_PPR	    BIT(52)
#define AMD_DTE0_GPRP	    BIT(53)
#define AMD_DTE0_GIOV	    BIT(54)
#define AMD_DTE0_GV	    BIT(55)
#define AMD_DTE0_GLX	    GENMASK(57, 56)
#define AMD_DTE0_GCR3_14_12 GENMASK(60, 58)
#define AMD_DTE0_IR	    BIT(61)
#define AMD_DTE0_IW	    BIT(62)
/* What is never reserved. Features add to it: devtab.c. */
#define AMD_DTE0_VALID                                                                             \
	(AMD_DTE0_V | AMD_DTE0_TV | AMD_DTE0_MODE | AMD_DTE0_ROOT | AMD_DTE0_IR | AMD_DTE0_IW)
#define AMD_DTE0_GUEST (AMD_DTE0_GV | AMD_DTE0_GLX | AMD_DTE0_GCR3_14_12)

/* DTE.HAD */
#define AMD_HAD_ACCESSED       1
#define AMD_HAD_RESERVED       2
#define AMD_HAD_ACCESSED_DIRTY 3

#define AMD_DTE1_DOMAIN	    GENMASK(15, 0)
#define AMD_DTE1_GCR3_30_15 GENMASK(31, 16)
#define AMD_DTE1_I	    BIT(32)
#define AMD_DTE1_SE	    BIT(33)
#define AMD_DTE1_SA	    BIT(34)
#define AMD_DTE1_EX	    BIT(39)
#define AMD_DTE1_GCR3_51_31 GENMASK(63, 43)
/* I, SE, SA, IoCtl, Cache, SD, EX, SysMgt are GENMASK(41, 32); SATS is reserved. */
#define AMD_DTE1_VALID (AMD_DTE1_DOMAIN | GENMASK(41, 32))
#define AMD_DTE1_GUEST (AMD_DTE1_GCR3_30_15 | AMD_DTE1_GCR3_51_31)

#define AMD_DTE2_IV	      BIT(0)
#define AMD_DTE2_INT_TAB_LEN  GENMASK(4, 1)
#define AMD_DTE2_IG	      BIT(5)
#define AMD_DTE2_INT_ROOT     GENMASK(51, 6)
#define AMD_DTE2_INIT_PASS    BIT(56)
#define AMD_DTE2_EINT_PASS    BIT(57)
#define AMD_DTE2_NMI_PASS     BIT(58)
#define AMD_DTE2_INT_CTL      GENMASK(61, 60)
#define AMD_DTE2_RESERVED     GENMASK(55, 52)
#define AMD_DTE2_GUEST_PAGING GENMASK(55, 54) /* reserved without GTSup */
#define AMD_GUEST_PAGING_4    0
#define AMD_GUEST_PAGING_5    1
#define AMD_INT_TAB_LEN_MAX   11
#define AMD_DTE3_SOFTWARE     BIT(53)
#define AMD_DTE3_ATTRIBUTES   GENMASK(63, 54)
#define AMD_DTE3_RESERVED     (~(AMD_DTE3_SOFTWARE | AMD_DTE3_ATTRIBUTES))

enum amd_int_ctl {
	AMD_INT_CTL_ABORT,
	AMD_INT_CTL_FORWARD,
	AMD_INT_CTL_REMAP,
	AMD_INT_CTL_RESERVED,
};

/* ---- host (v1) page tables (section 2.2.3) ---- */

#define AMD_PTE_PR	   BIT(0)
#define AMD_PTE_NEXT_LEVEL GENMASK(11, 9)
#define AMD_PTE_ADDR	   GENMASK(51, 12)
#define AMD_PTE_A	   BIT(5) /* A and D are there in v2 tables too */
#define AMD_PTE_D	   BIT(6)
#define AMD_PTE_IR	   BIT(61)
#define AMD_PTE_IW	   BIT(62)
#define AMD_PTE_RESERVED   GENMASK(58, 52) /* of a leaf, whose bits 59 and 60 are U and FC */
#define AMD_PDE_RESERVED   GENMASK(60, 52)

#define AMD_NEXT_LEVEL_LEAF	  0 /* page of the default size of the level */
#define AMD_NEXT_LEVEL_SIZED_LEAF 7 /* page whose size is coded in the address */
#define AMD_LEVELS_MAX		  6

/* ---- GCR3 tables and guest (v2) page tables (section 2.2.6) ---- */

#define AMD_GCR3_V	    BIT(0)
#define AMD_GCR3_ADDR	    GENMASK(51, 12)
#define AMD_GCR3_INDEX_BITS 9 /* of a PASID, a level */
#define AMD_PASID_MAX	    GENMASK(19, 0)

#define AMD_GPTE_P	   BIT(0)
#define AMD_GPTE_RW	   BIT(1)
#define AMD_GPTE_US	   BIT(2)
#define AMD_GPTE_PS	   BIT(7) /* at levels 2 and 3; reserved above */
#define AMD_GPTE_ADDR	   GENMASK(51, 12)
#define AMD_GPTE_NX	   BIT(63)
#define AMD_GPTE_LARGE_MAX 3 /* highest level of a leaf */
#define AMD_GUEST_LEVELS   5 /* at most */

/* ---- interrupt remapping tables (section 2.2.5) ---- */

#define AMD_IRTE_REMAP_EN   BIT(0)
#define AMD_IRTE_SUP_IOPF   BIT(1)
#define AMD_IRTE_INT_TYPE   GENMASK(4, 2)
#define AMD_IRTE_DM	    BIT(6)
#define AMD_IRTE_GUEST_MODE BIT(7) /* reserved in the 32-bit format */
#define AMD_INT_TYPE_MAX    1	   /* 0 fixed, 1 arbitrated */

#define AMD_IRTE32_DEST	    GENMASK(15, 8)
#define AMD_IRTE32_VECTOR   GENMASK(23, 16)
#define AMD_IRTE32_RESERVED (GENMASK(31, 24) | AMD_IRTE_GUEST_MODE)

#define AMD_IRTE128_DEST_LOW  GENMASK(31, 8) /* word 0 */
#define AMD_IRTE128_DEST8     GENMASK(15, 8)
#define AMD_IRTE128_VECTOR    GENMASK(7, 0) /* word 1 */
#define AMD_IRTE128_DEST_HI   GENMASK(63, 56)
#define AMD_IRTE128_RESERVED0 AMD_IRTE_GUEST_MODE /* reserved unless Control.GAMEn */
#define AMD_IRTE128_RESERVED1 (GENMASK(55, 52) | GENMASK(11, 8))

/* ---- messages (APIC format) ---- */

#define AMD_MSI_WINDOW_FIRST UINT64_C(0xfee00000)
#define AMD_MSI_WINDOW_LAST  UINT64_C(0xfeefffff)
#define AMD_MSI_ADDR_WINDOW  GENMASK(31, 20)
#define AMD_MSI_ADDR_DM	     BIT(2)
#define AMD_MSI_ADDR_DEST    GENMASK(19, 12)
#define AMD_MSI_ADDR_DEST_HI GENMASK(63, 40) /* destination 31:8, as KVM_CAP_X2APIC_API */
#define AMD_MSI_DATA_MODE    GENMASK(10, 8)
#define AMD_MSI_DATA_INDEX   GENMASK(10, 0)
#define AMD_MSI_DATA_TRIGGER GENMASK(15, 14)

enum amd_delivery {
	AMD_DELIVERY_FIXED,
	AMD_DELIVERY_ARBITRATED,
	AMD_DELIVERY_SMI,
	AMD_DELIVERY_RESERVED3,
	AMD_DELIVERY_NMI,
	AMD_DELIVERY_INIT,
	AMD_DELIVERY_RESERVED6,
	AMD_DELIVERY_EXTINT,
};

/* The HyperTransport range, closed to devices without EFR2.HtRangeIgnore */
#define AMD_HT_RANGE_FIRST UINT64_C(0xfd00000000)
#define AMD_HT_RANGE_LAST  UINT64_C(0xffffffffff)

/* ---- commands (section 2.4) ---- */

#define AMD_COMMAND_OPCODE GENMASK(63, 60)

enum amd_opcode {
	AMD_COMPLETION_WAIT = 1,
	AMD_INVALIDATE_DEVTAB_ENTRY = 2,
	AMD_INVALIDATE_IOMMU_PAGES = 3,
	AMD_INVALIDATE_IOTLB_PAGES = 4,
	AMD_INVALIDATE_INTERRUPT_TABLE = 5,
	AMD_PREFETCH_IOMMU_PAGES = 6,
	AMD_COMPLETE_PPR_REQUEST = 7,
	AMD_INVALIDATE_IOMMU_ALL = 8,
};

#define AMD_COMWAIT_STORE BIT(0)
#define AMD_COMWAIT_INT	  BIT(1)
#define AMD_COMWAIT_FLUSH BIT(2)
#define AMD_COMWAIT_ADDR  GENMASK(51, 3)

#define AMD_COMMAND_DEVID GENMASK(15, 0)

#define AMD_INV_PAGES_PASID  GENMASK(19, 0)
#define AMD_INV_PAGES_DOMAIN GENMASK(47, 32)
#define AMD_INV_PAGES_S	     BIT(0) /* word 1 */
#define AMD_INV_PAGES_PDE    BIT(1)
#define AMD_INV_PAGES_GN     BIT(2)
#define AMD_INV_PAGES_ADDR   GENMASK(63, 12)

#define AMD_INV_IOTLB_PASID_15_8  GENMASK(23, 16)
#define AMD_INV_IOTLB_MAX_PEND	  GENMASK(31, 24)
#define AMD_INV_IOTLB_QUEUE	  GENMASK(47, 32)
#define AMD_INV_IOTLB_PASID_7_0	  GENMASK(55, 48)
#define AMD_INV_IOTLB_PASID_19_16 GENMASK(59, 56)

#define AMD_PREFETCH_COUNT GENMASK(31, 24)
#define AMD_PREFETCH_INVAL BIT(4) /* word 1 */

#define AMD_COMMAND_PASID      GENMASK(51, 32) /* of PREFETCH and COMPLETE_PPR */
#define AMD_COMPLETE_PPR_INDEX GENMASK(40, 32) /* word 1 */
#define AMD_COMPLETE_PPR_CODE  GENMASK(47, 44)

/* ---- peripheral page requests (section 2.6) ---- */

#define AMD_PPR_DEVID	    GENMASK(15, 0)
#define AMD_PPR_PASID_15_0  GENMASK(31, 16)
#define AMD_PPR_INDEX	    GENMASK(40, 32)
#define AMD_PPR_LAST	    BIT(41)
#define AMD_PPR_PASID_19_16 GENMASK(45, 42)
#define AMD_PPR_X	    BIT(49)
#define AMD_PPR_R	    BIT(50)
#define AMD_PPR_W	    BIT(53)
#define AMD_PPR_US	    BIT(54)
#define AMD_PPR_GN	    BIT(56)
#define AMD_PPR_CODE	    GENMASK(63, 60)
#define AMD_PPR_ADDR	    GENMASK(63, 12) /* word 1 */

#define AMD_PAGE_SERVICE_REQUEST 1

/* INVALID_PPR_REQUEST has the fields of a request up to bit 45, and these */
#define AMD_INVALID_PPR_RX BIT(48) /* the unit has answered */
#define AMD_INVALID_PPR_GN BIT(57)

/* ---- events (section 2.5) ---- */

#define AMD_EVENT_DEVID	   GENMASK(15, 0)
#define AMD_EVENT_PASID_HI GENMASK(19, 16)
#define AMD_EVENT_DOMAIN   GENMASK(47, 32) /* with GN: the lower half of the PASID */
#define AMD_EVENT_FLAGS	   GENMASK(59, 48)
#define AMD_EVENT_CODE	   GENMASK(63, 60)

enum amd_event_code {
	AMD_ILLEGAL_DEV_TABLE_ENTRY = 1,
	AMD_IO_PAGE_FAULT = 2,
	AMD_DEV_TAB_HARDWARE_ERROR = 3,
	AMD_PAGE_TAB_HARDWARE_ERROR = 4,
	AMD_ILLEGAL_COMMAND_ERROR = 5,
	AMD_COMMAND_HARDWARE_ERROR = 6,
	AMD_IOTLB_INV_TIMEOUT = 7,
	AMD_INVALID_DEVICE_REQUEST = 8,
	AMD_INVALID_PPR_REQUEST = 9,
};

/* Flags, as numbers of the 12-bit field (event bits 59:48) */
#define AMD_EVENT_GN	 BIT(0)
#define AMD_EVENT_US	 BIT(2)
#define AMD_EVENT_I	 BIT(3)
#define AMD_EVENT_PR	 BIT(4)
#define AMD_EVENT_RW	 BIT(5)
#define AMD_EVENT_PE	 BIT(6)
#define AMD_EVENT_RZ	 BIT(7)
#define AMD_EVENT_TR	 BIT(8)
#define AMD_EVENT_HWTYPE GENMASK(10, 9)
#define AMD_EVENT_IDTYPE GENMASK(11, 9)

enum amd_hardware_error { AMD_MASTER_ABORT = 1, AMD_TARGET_ABORT = 2 };

/* Types of INVALID_DEVICE_REQUEST; the last three of translation requests (TR = 1) */
enum amd_invalid_request {
	AMD_INVALID_READ_OR_NON_POSTED = 0,
	AMD_INVALID_PRETRANSLATED = 1,
	AMD_INVALID_INTERRUPT_WRITE = 4,
	AMD_INVALID_RESERVED_RANGE = 5,
	AMD_INVALID_TR_RANGE = 0,
	AMD_INVALID_TR_ENTRY = 1,
	AMD_INVALID_TR_DEVICE = 2,
};

#endif
