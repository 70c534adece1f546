// SPDX-License-Identifier: Apache-2.0
/*
 * The register window (48882 section 3.4): one table says what each register is; accesses of 4 and
 * 8 bytes, aligned, are merged into its 64 bits, all others read 0 and write nothing.
 */
#include <errno.h>
#include <string.h>

#include "devices/amd_iommu/internal.h"
#include "postern/log.h"

#define EFR_PPR		   BIT(1)
#define EFR_XT		   BIT(2)
#define EFR_GT		   BIT(4)
#define EFR_GAPPI	   BIT(5)
#define EFR_GA		   BIT(7)
#define EFR_SMIF	   GENMASK(17, 16)
#define EFR_GAM		   GENMASK(23, 21)
#define EFR_DUAL_PPR	   GENMASK(25, 24)
#define EFR_DUAL_EVENT	   GENMASK(29, 28)
#define EFR_US		   BIT(37)
#define EFR_DEV_TBL_SEG	   GENMASK(39, 38)
#define EFR_PPR_AUTO_RSP   BIT(41)
#define EFR_MARC	   GENMASK(43, 42)
#define EFR_BLK_STOP_MRK   BIT(44)
#define EFR_MSI_CAP_MMIO   BIT(46)
#define EFR_HA		   BIT(49)
#define EFR_EPH		   BIT(50)
#define EFR_HD		   BIT(52)
#define EFR_VIOMMU	   BIT(55)
#define EFR_GA_UPDATE_DIS  BIT(61)
#define EFR2_TMPM	   BIT(2)
#define EFR2_GCR3TRP	   BIT(3)
#define EFR2_SNP_AVIC	   GENMASK(7, 5)
#define EFR2_GST_BUF_TRP   BIT(4)
#define EFR2_INT_REMAP	   GENMASK(9, 8)
#define CONTROL_SEGMENT_EN GENMASK(36, 34)

#define RING_BASE     (GENMASK(51, 12) | GENMASK(59, 56))
#define RING_RESET    FIELD_PREP(GENMASK(59, 56), 8)
#define POINTER	      GENMASK(18, 4)
#define STATUS_W1C    UINT64_C(0x68e67)
#define XT_INTERRUPT  (BIT(2) | GENMASK(40, 8) | GENMASK(63, 56))
#define CONTROL_RESET BIT(10) /* Coherent */

enum policy {
	CONSTANT,  /* known here */
	FORWARDED, /* kept here; each write goes through the port too */
	MIRROR,	   /* of the function's MSI capability */
	VF_PAGE,   /* behind the port (hardware maps this page into the guest) */
};

struct reg {
	uint16_t offset;
	enum policy policy;
	const char *name;
	uint64_t writable;
	uint64_t reset;
	uint64_t needs_efr; /* the register exists only with one of these */
	int (*forward)(struct viommu_port *port, const struct reg *reg, uint64_t value);
	unsigned queue;
	unsigned mirror; /* offset in the MSI capability */
	/* Where what is writable, or the value at reset, depends on the features. */
	uint64_t (*filter)(const struct amd_iommu_features *features, uint64_t old, uint64_t value);
	uint64_t (*constant)(const struct amd_iommu_features *features);
};

/* Control bits that exist only with a feature; the others always do. */
static const struct {
	uint64_t control, efr, efr2;
} control_feature[] = {
	{GENMASK(15, 13), EFR_PPR, 0},	       /* PPRLogEn, PPRIntEn, PPREn */
	{BIT(16), EFR_GT, 0},		       /* GTEn */
	{BIT(17), EFR_GA, 0},		       /* GAEn */
	{BIT(22) | BIT(24), EFR_SMIF, 0},      /* SmiFEn, SmiFLogEn */
	{GENMASK(29, 25), EFR_GAM, 0},	       /* GAMEn, GALogEn, GAIntEn */
	{GENMASK(31, 30), EFR_DUAL_PPR, 0},    /* DualPprLogEn */
	{GENMASK(33, 32), EFR_DUAL_EVENT, 0},  /* DualEventLogEn */
	{GENMASK(36, 34), EFR_DEV_TBL_SEG, 0}, /* DevTblSegEn */
	{GENMASK(38, 37), EFR_US, 0},	       /* PrivAbrtEn */
	{BIT(39) | BIT(42), EFR_PPR_AUTO_RSP, 0},
	{BIT(40), EFR_MARC, 0},
	{BIT(41), EFR_BLK_STOP_MRK, 0},
	{GENMASK(44, 43), 0, EFR2_INT_REMAP}, /* NumIntRemapMode */
	{BIT(45), EFR_EPH, 0},
	{GENMASK(47, 46), EFR_HA | EFR_HD, 0}, /* HADUpdate */
	{BIT(48), EFR_GT, 0},		       /* GDUpdateDis */
	{BIT(49) | BIT(57), 0, 0},	       /* reserved */
	{GENMASK(51, 50), EFR_XT, 0},	       /* XTEn, IntCapXTEn */
	{GENMASK(53, 52), EFR_VIOMMU, 0},      /* vCmdEn, vIommuEn */
	{BIT(54), EFR_GA_UPDATE_DIS, 0},
	{BIT(55), EFR_GAPPI, 0},
	{BIT(56), 0, EFR2_TMPM},
	{BIT(58), 0, EFR2_GCR3TRP},
	/* IRTCacheDis: there is nothing to turn off, and software finds that by reading it back. */
	{BIT(59), 0, 0},
	{BIT(60), 0, EFR2_GST_BUF_TRP},
	{GENMASK(63, 61), 0, EFR2_SNP_AVIC},
};

static uint64_t control_filter(const struct amd_iommu_features *features, uint64_t old,
			       uint64_t value)
{
	for (size_t i = 0; i < ARRAY_SIZE(control_feature); i++) {
		if (!(features->efr & control_feature[i].efr) &&
		    !(features->efr2 & control_feature[i].efr2))
			value &= ~control_feature[i].control;
	}
	if (FIELD_GET(CONTROL_SEGMENT_EN, value) > FIELD_GET(EFR_DEV_TBL_SEG, features->efr))
		value = (value & ~CONTROL_SEGMENT_EN) | (old & CONTROL_SEGMENT_EN);
	return value;
}

static uint64_t efr_constant(const struct amd_iommu_features *features)
{
	return features->efr;
}

static uint64_t efr2_constant(const struct amd_iommu_features *features)
{
	return features->efr2;
}

static int forward_device_table(struct viommu_port *port, const struct reg *reg, uint64_t value)
{
	(void)reg;
	return port->ops->device_table_set(port, value);
}

static int forward_queue(struct viommu_port *port, const struct reg *reg, uint64_t value)
{
	return port->ops->queue_set(port, (enum viommu_queue)reg->queue, value);
}

static int forward_control(struct viommu_port *port, const struct reg *reg, uint64_t value)
{
	(void)reg;
	return port->ops->control_set(port, value);
}

static int forward_irq_route(struct viommu_port *port, const struct reg *reg, uint64_t value)
{
	return port->ops->irq_route_set(port, reg->offset, value);
}

static int forward_register(struct viommu_port *port, const struct reg *reg, uint64_t value)
{
	return port->ops->register_set(port, reg->offset, value);
}

static int forward_vf_page(struct viommu_port *port, const struct reg *reg, uint64_t value)
{
	return port->ops->vf_page_write(port, reg->offset, value);
}

/* Bits of the size field, as the segment can have entries. */
#define SEGMENT(n, high)                                                                           \
	{                                                                                          \
		.offset = 0x0100 + 8 * ((n)-1), .name = "device table base, segment " #n,          \
		.policy = FORWARDED, .writable = GENMASK(high, 0) | GENMASK(51, 12),               \
		.needs_efr = EFR_DEV_TBL_SEG, .forward = forward_register                          \
	}

/* Ascending offset. What is not here reads 0 and ignores writes. */
static const struct reg reg_table[] = {
	{.offset = 0x0000,
	 .name = "device table base",
	 .policy = FORWARDED,
	 .writable = GENMASK(8, 0) | GENMASK(51, 12),
	 .forward = forward_device_table},
	{.offset = 0x0008,
	 .name = "command buffer base",
	 .policy = FORWARDED,
	 .writable = RING_BASE,
	 .reset = RING_RESET,
	 .forward = forward_queue,
	 .queue = VIOMMU_QUEUE_COMMAND},
	{.offset = 0x0010,
	 .name = "event log base",
	 .policy = FORWARDED,
	 .writable = RING_BASE,
	 .reset = RING_RESET,
	 .forward = forward_queue,
	 .queue = VIOMMU_QUEUE_EVENT},
	{.offset = 0x0018,
	 .name = "control",
	 .policy = FORWARDED,
	 .writable = ~UINT64_C(0),
	 .reset = CONTROL_RESET,
	 .forward = forward_control,
	 .filter = control_filter},
	{.offset = 0x0020,
	 .name = "exclusion base",
	 .policy = FORWARDED,
	 .writable = GENMASK(51, 12) | GENMASK(1, 0),
	 .forward = forward_register},
	{.offset = 0x0028,
	 .name = "exclusion limit",
	 .policy = FORWARDED,
	 .writable = GENMASK(51, 12),
	 .forward = forward_register},
	{.offset = 0x0030,
	 .name = "extended feature",
	 .policy = CONSTANT,
	 .constant = efr_constant},
	{.offset = 0x0038,
	 .name = "PPR log base",
	 .policy = FORWARDED,
	 .writable = RING_BASE,
	 .reset = RING_RESET,
	 .forward = forward_queue,
	 .queue = VIOMMU_QUEUE_PPR},
	SEGMENT(1, 7),
	SEGMENT(2, 6),
	SEGMENT(3, 6),
	SEGMENT(4, 5),
	SEGMENT(5, 5),
	SEGMENT(6, 5),
	SEGMENT(7, 5),
	{.offset = 0x0150,
	 .name = "miscellaneous information",
	 .policy = CONSTANT,
	 .reset = VIOMMU_MISC_INFO_0},
	{.offset = 0x0158,
	 .name = "MSI capability and address",
	 .policy = MIRROR,
	 .writable = GENMASK(63, 34),
	 .mirror = 0,
	 .needs_efr = EFR_MSI_CAP_MMIO},
	{.offset = 0x0160,
	 .name = "MSI upper address and data",
	 .policy = MIRROR,
	 .writable = GENMASK(47, 0),
	 .mirror = 8,
	 .needs_efr = EFR_MSI_CAP_MMIO},
	{.offset = 0x0170,
	 .name = "XT general interrupt",
	 .policy = FORWARDED,
	 .writable = XT_INTERRUPT,
	 .needs_efr = EFR_XT,
	 .forward = forward_irq_route},
	{.offset = 0x0178,
	 .name = "XT PPR interrupt",
	 .policy = FORWARDED,
	 .writable = XT_INTERRUPT,
	 .needs_efr = EFR_XT,
	 .forward = forward_irq_route},
	{.offset = 0x0180,
	 .name = "XT GA log interrupt",
	 .policy = FORWARDED,
	 .writable = XT_INTERRUPT,
	 .needs_efr = EFR_XT,
	 .forward = forward_irq_route},
	{.offset = 0x01a0,
	 .name = "extended feature 2",
	 .policy = CONSTANT,
	 .constant = efr2_constant},
	{.offset = 0x2000,
	 .name = "command buffer head",
	 .policy = VF_PAGE,
	 .writable = POINTER,
	 .forward = forward_vf_page},
	{.offset = 0x2008,
	 .name = "command buffer tail",
	 .policy = VF_PAGE,
	 .writable = POINTER,
	 .forward = forward_vf_page},
	{.offset = 0x2010,
	 .name = "event log head",
	 .policy = VF_PAGE,
	 .writable = POINTER,
	 .forward = forward_vf_page},
	{.offset = 0x2018,
	 .name = "event log tail",
	 .policy = VF_PAGE,
	 .writable = POINTER,
	 .forward = forward_vf_page},
	/* Write-one-to-clear throughout: nothing of the old value is merged into a write. */
	{.offset = 0x2020,
	 .name = "status",
	 .policy = VF_PAGE,
	 .writable = STATUS_W1C,
	 .forward = forward_vf_page},
	{.offset = 0x2030,
	 .name = "PPR log head",
	 .policy = VF_PAGE,
	 .writable = POINTER,
	 .forward = forward_vf_page},
	{.offset = 0x2038,
	 .name = "PPR log tail",
	 .policy = VF_PAGE,
	 .writable = POINTER,
	 .forward = forward_vf_page},
};

_Static_assert(ARRAY_SIZE(reg_table) <= VIOMMU_SHADOWS_MAX, "a shadow for each register");
/* So a 4-byte write of a VF page register says all of what can be written, and none is merged. */
_Static_assert(((POINTER | STATUS_W1C) >> 32) == 0, "VF page registers are written in 32 bits");

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static const struct reg *find(const struct viommu_window *window, uint64_t offset)
{
	size_t low = 0, high = ARRAY_SIZE(reg_table);

	while (low < high) {
		size_t mid = (low + high) / 2;
		const struct reg *reg = &reg_table[mid];

		if (reg->offset == offset)
			return reg->needs_efr && !(window->port->features.efr & reg->needs_efr)
				       ? NULL
				       : reg;
		if (reg->offset < offset)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

/* What a guest does wrong is said once a kind and register: a bit each of told[]. */
enum { TOLD_REFUSED, TOLD_NOT_TAKEN };
enum { TOLD_ACCESS = 62, TOLD_NOTHING = 63 };

_Static_assert(ARRAY_SIZE(reg_table) <= (size_t)TOLD_ACCESS, "a bit for each register");

static bool first_time(struct viommu_window *window, unsigned kind, unsigned bit)
{
	_Atomic uint64_t *told = &window->told[kind];

	return !(atomic_load_explicit(told, memory_order_relaxed) & BIT(bit)) &&
	       !(atomic_fetch_or_explicit(told, BIT(bit), memory_order_relaxed) & BIT(bit));
}

static unsigned reg_bit(const struct reg *reg)
{
	return (unsigned)(reg - reg_table);
}

static _Atomic uint64_t *shadow_of(struct viommu_window *window, const struct reg *reg)
{
	return &window->shadow[reg - reg_table];
}

/* The register at OFFSET, and which of its bits an access of WIDTH there covers. */
static const struct reg *decode(struct viommu_window *window, uint64_t offset, unsigned width,
				unsigned *shift)
{
	if ((width != 4 && width != 8) || !is_aligned(offset, width)) {
		if (first_time(window, TOLD_REFUSED, TOLD_ACCESS))
			log_info("guest: vIOMMU of segment %u: register access of %u bytes at "
				 "%#llx is not an aligned 4 or 8",
				 window->segment, width, (unsigned long long)offset);
		return NULL;
	}
	*shift = 8 * (unsigned)(offset & 7);
	return find(window, offset & ~UINT64_C(7));
}

static struct pci_function *function_of(struct viommu_window *window)
{
	return &container_of(window, struct amd_viommu, window)->function;
}

static uint64_t mirror_read(struct viommu_window *window, const struct reg *reg)
{
	struct pci_function *fn = function_of(window);
	const unsigned at = fn->msi_capability + reg->mirror;
	uint64_t value;

	pthread_mutex_lock(&fn->lock);
	value = pci_config_read(fn, at, 4) | (uint64_t)pci_config_read(fn, at + 4, 4) << 32;
	pthread_mutex_unlock(&fn->lock);
	return value;
}

static void mirror_write(struct viommu_window *window, const struct reg *reg, uint64_t mask,
			 uint64_t value)
{
	struct pci_function *fn = function_of(window);

	pthread_mutex_lock(&fn->lock);
	for (unsigned half = 0; half < 2; half++)
		if (mask >> (32 * half) & UINT32_MAX)
			pci_config_write(fn, fn->msi_capability + reg->mirror + 4 * half, 4,
					 (uint32_t)(value >> (32 * half)));
	pthread_mutex_unlock(&fn->lock);
}

static uint64_t window_read(void *opaque, uint64_t offset, unsigned width)
{
	struct viommu_window *window = opaque;
	const struct reg *reg;
	uint64_t value = 0;
	unsigned shift;

	count(&window->reads);
	reg = decode(window, offset, width, &shift);
	if (!reg)
		return 0;
	if (reg->policy == MIRROR)
		value = mirror_read(window, reg);
	else if (reg->policy != VF_PAGE)
		value = atomic_load_explicit(shadow_of(window, reg), memory_order_acquire);
	else if (window->port->ops->vf_page_read(window->port, reg->offset, &value))
		return 0;
	return value >> shift & width_mask(width);
}

/* Through the port; a refusal leaves the register as it was, as hardware would. */
static int forward(struct viommu_window *window, const struct reg *reg, uint64_t value)
{
	int rc;

	count(&window->forwarded);
	rc = reg->forward(window->port, reg, value);
	if (rc) {
		count(&window->ignored);
		if (first_time(window, TOLD_REFUSED, reg_bit(reg)))
			log_info("guest: vIOMMU of segment %u: register %04xh (%s): value %#llx is "
				 "refused: %s",
				 window->segment, reg->offset, reg->name, (unsigned long long)value,
				 strerror(-rc));
	}
	return rc;
}

/* ACTUAL, after a word to the log where the unit did not take what was to be WRITTEN. */
static uint64_t taken(struct viommu_window *window, const struct reg *reg, uint64_t written,
		      uint64_t actual)
{
	if (actual != written && first_time(window, TOLD_NOT_TAKEN, reg_bit(reg)))
		log_info("guest: vIOMMU of segment %u: register %04xh (%s): %#llx is not taken as "
			 "it is: the register holds %#llx",
			 window->segment, reg->offset, reg->name, (unsigned long long)written,
			 (unsigned long long)actual);
	return actual;
}

static void write_shadowed(struct viommu_window *window, const struct reg *reg, uint64_t mask,
			   uint64_t value)
{
	_Atomic uint64_t *shadow = shadow_of(window, reg);
	struct viommu_port *port = window->port;
	uint64_t old, merged, actual;

	pthread_mutex_lock(&window->write_lock);
	old = atomic_load_explicit(shadow, memory_order_relaxed);
	merged = (old & ~mask) | (value & mask);
	if (reg->filter)
		merged = reg->filter(&port->features, old, merged);
	if (reg->policy == FORWARDED) {
		if (forward(window, reg, merged))
			goto out;
		if (port->ops->register_read &&
		    !port->ops->register_read(port, reg->offset, &actual))
			merged = taken(window, reg, merged, actual & reg->writable);
	}
	atomic_store_explicit(shadow, merged, memory_order_release);
out:
	pthread_mutex_unlock(&window->write_lock);
}

static void window_write(void *opaque, uint64_t offset, unsigned width, uint64_t value)
{
	struct viommu_window *window = opaque;
	const struct reg *reg;
	unsigned shift;
	uint64_t mask;

	count(&window->writes);
	reg = decode(window, offset, width, &shift);
	mask = reg ? (width_mask(width) << shift) & reg->writable : 0;
	if (!mask) {
		count(&window->ignored);
		if (first_time(window, TOLD_REFUSED, TOLD_NOTHING))
			log_info("guest: vIOMMU of segment %u: write of %#llx at %#llx: there is "
				 "no such register, or nothing in it can be written",
				 window->segment, (unsigned long long)value,
				 (unsigned long long)offset);
	} else if (reg->policy == MIRROR) {
		mirror_write(window, reg, mask, value << shift);
	} else if (reg->policy == VF_PAGE) {
		forward(window, reg, value << shift & mask);
	} else {
		write_shadowed(window, reg, mask, value << shift);
	}
}

const struct bus_ops viommu_window_ops = {
	.read = window_read,
	.write = window_write,
};

static void set_reset_values(struct viommu_window *window)
{
	for (size_t i = 0; i < ARRAY_SIZE(reg_table); i++) {
		const struct reg *reg = &reg_table[i];
		uint64_t value = reg->reset;

		if (reg->constant)
			value = reg->constant(&window->port->features);
		atomic_store_explicit(&window->shadow[i], value, memory_order_release);
	}
}

void viommu_window_init(struct viommu_window *window, struct viommu_port *port)
{
	pthread_mutex_init(&window->write_lock, NULL);
	window->port = port;
	set_reset_values(window);
}

void viommu_window_fini(struct viommu_window *window)
{
	pthread_mutex_destroy(&window->write_lock);
}

void viommu_window_reset(struct viommu_window *window)
{
	pthread_mutex_lock(&window->write_lock);
	window->port->ops->reset(window->port);
	set_reset_values(window);
	pthread_mutex_unlock(&window->write_lock);
}

void viommu_window_restored(struct viommu_window *window)
{
	struct viommu_port *port = window->port;

	for (size_t i = 0; i < ARRAY_SIZE(reg_table); i++) {
		const struct reg *reg = &reg_table[i];
		uint64_t value;

		if (reg->policy == FORWARDED && port->ops->register_read &&
		    !port->ops->register_read(port, reg->offset, &value))
			atomic_store_explicit(&window->shadow[i], value & reg->writable,
					      memory_order_release);
	}
}
