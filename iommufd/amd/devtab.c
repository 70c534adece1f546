// SPDX-License-Identifier: Apache-2.0
/*
 * The device table: what the entry of a requester says about its DMA and its interrupts (reference
 * sections 4.1 and 7.2).
 */
#include <emmintrin.h>
#include <errno.h>

#include "iommufd/amd/internal.h"

/*
 * Software replaces 16-byte halves of an entry with CMPXCHG16B while the unit reads them. Aligned
 * 16-byte vector loads are single accesses on every processor with AVX (AMD64 APM volume 2,
 * section 7.3.2), which all that have an AMD IOMMU are.
 */
int amd_load128(const struct guest_memory *gm, uint64_t gpa, uint64_t value[2])
{
	const __m128i *p = guest_memory_at(gm, gpa, sizeof(*p));
	__m128i v;

	if (!p || !is_aligned((uintptr_t)p, sizeof(*p)))
		return -EFAULT;
	__asm__ volatile("movdqa %1, %0" : "=x"(v) : "m"(*p) : "memory");
	memcpy(value, &v, sizeof(v));
	return 0;
}

void amd_devtab_init(struct amd_iommu_engine *e)
{
	const uint64_t efr = e->config.features.efr;

	e->dte_valid[0] = AMD_DTE0_VALID;
	e->dte_valid[1] = AMD_DTE1_VALID;
	e->dte2_reserved = AMD_DTE2_RESERVED;
	if (efr & AMD_EFR_HA_SUP)
		e->dte_valid[0] |= AMD_DTE0_HAD;
	if (efr & AMD_EFR_GT_SUP) {
		e->dte_valid[0] |= AMD_DTE0_GUEST;
		e->dte_valid[1] |= AMD_DTE1_GUEST;
		e->dte2_reserved &= ~AMD_DTE2_GUEST_PAGING;
	}
	if (efr & AMD_EFR_GIO_SUP)
		e->dte_valid[0] |= AMD_DTE0_GIOV;
	if (efr & AMD_EFR_PPR_SUP)
		e->dte_valid[0] |= AMD_DTE0_PPR | AMD_DTE0_GPRP;
}

/*
 * Loads the 16-byte HALF (0 DMA, 1 interrupts) of the entry of DEVID. Where one half is all that is
 * needed, this one untorn load cannot see a mix of two entries.
 */
static int devtab_load(struct amd_iommu_engine *e, uint16_t devid, unsigned half, uint64_t word[2],
		       struct amd_fault *fault)
{
	/* The highest bits of a requester id say in which segment of the table its entry is. */
	const unsigned log2 = FIELD_GET(AMD_CONTROL_DEV_TBL_SEG_EN, amd_reg(e, AMD_REG_CONTROL));
	const uint64_t devtab = amd_reg(e, AMD_REG_DEVTAB + (devid >> (16 - log2)));
	const uint64_t bytes = (FIELD_GET(AMD_DEVTAB_SIZE, devtab) + 1) * 4 * KIB;
	const uint64_t offset = (devid & GENMASK(15 - log2, 0)) * AMD_DTE_SIZE;
	const uint64_t gpa = (devtab & AMD_DEVTAB_BASE) + offset;

	if (!range_fits(offset, AMD_DTE_SIZE, bytes)) {
		*fault = (struct amd_fault){.code = AMD_IO_PAGE_FAULT};
		return -ENXIO;
	}
	if (amd_load128(e->config.memory, gpa + (uint64_t)half * 16, word)) {
		*fault = (struct amd_fault){
			.code = AMD_DEV_TAB_HARDWARE_ERROR,
			.flags = FIELD_PREP(AMD_EVENT_HWTYPE, AMD_MASTER_ABORT),
			.address = gpa,
		};
		return -EFAULT;
	}
	return 0;
}

/*
 * Both halves, of one entry: software writes them one after the other, the DMA half last to enable
 * and first to disable. An entry that keeps changing lets nothing through.
 */
static int devtab_load_all(struct amd_iommu_engine *e, uint16_t devid, uint64_t word[4],
			   struct amd_fault *fault)
{
	uint64_t again[2];
	int ret = devtab_load(e, devid, 0, word, fault);

	for (unsigned i = 0; i < AMD_WALK_TRIES && !ret; i++) {
		ret = devtab_load(e, devid, 1, word + 2, fault);
		if (!ret)
			ret = devtab_load(e, devid, 0, again, fault);
		if (!ret && again[0] == word[0] && again[1] == word[1])
			return 0;
		memcpy(word, again, sizeof(again));
	}
	if (!ret)
		*fault = (struct amd_fault){.code = AMD_IO_PAGE_FAULT};
	return ret ? ret : -EAGAIN;
}

/* The unit's own accesses never meet its tables (reference rule 5). */
static bool bypassed(const struct amd_iommu_engine *e, uint16_t devid)
{
	return !amd_enabled(e) || devid == e->config.devid;
}

static bool host_fields_reserved(const struct amd_iommu_engine *e, const uint64_t word[4])
{
	const unsigned had = FIELD_GET(AMD_DTE0_HAD, word[0]);

	return word[0] & ~e->dte_valid[0] || word[1] & ~e->dte_valid[1] ||
	       had == AMD_HAD_RESERVED ||
	       (had == AMD_HAD_ACCESSED_DIRTY && !(e->config.features.efr & AMD_EFR_HD_SUP));
}

/* The fields that GV gives a meaning to, GV included: there is no such thing without GTEn. */
static bool guest_fields_reserved(const struct amd_iommu_engine *e, const uint64_t word[4])
{
	const uint64_t efr = e->config.features.efr;

	return !(amd_reg(e, AMD_REG_CONTROL) & AMD_CONTROL_GT_EN) ||
	       FIELD_GET(AMD_DTE0_GLX, word[0]) > FIELD_GET(AMD_EFR_GLX_SUP, efr) ||
	       FIELD_GET(AMD_DTE2_GUEST_PAGING, word[2]) > FIELD_GET(AMD_EFR_GATS, efr);
}

static void guest_state(const struct amd_iommu_engine *e, const uint64_t word[4], uint32_t pasid,
			struct amd_device_state *state)
{
	state->kind = AMD_TRANSLATION_V2;
	state->gcr3 = FIELD_GET(AMD_DTE0_GCR3_14_12, word[0]) << 12 |
		      FIELD_GET(AMD_DTE1_GCR3_30_15, word[1]) << 15 |
		      FIELD_GET(AMD_DTE1_GCR3_51_31, word[1]) << 31;
	state->gcr3_gpa = amd_reg(e, AMD_REG_CONTROL) & AMD_CONTROL_GCR3_TRP_MODE;
	state->gcr3_levels = 1 + FIELD_GET(AMD_DTE0_GLX, word[0]);
	state->guest_levels = 4 + FIELD_GET(AMD_DTE2_GUEST_PAGING, word[2]);
	state->has_pasid = pasid != AMD_NO_PASID;
	state->pasid = state->has_pasid ? pasid : 0;
}

/*
 * The exclusion range passes for devices whose entry, or Allow for all, says so, untranslated and
 * unchecked, where the entry itself is legal. It is one of addresses without PASID.
 */
static void exclusion_state(const struct amd_iommu_engine *e, const uint64_t word[4],
			    struct amd_device_state *state)
{
	const uint64_t base = amd_reg(e, AMD_REG_EXCL_BASE);

	if (!(base & AMD_EXCLUSION_EN) || !(base & AMD_EXCLUSION_ALLOW || word[1] & AMD_DTE1_EX))
		return;
	state->excluded_first = base & AMD_EXCLUSION_ADDR;
	/* The limit names its last page. */
	state->excluded_last = amd_reg(e, AMD_REG_EXCL_LIMIT) | (GUEST_PAGE_SIZE - 1);
	state->excluded = state->excluded_first <= state->excluded_last;
}

/* What the valid entry WORD says. */
static void judge(struct amd_iommu_engine *e, const uint64_t word[4], uint32_t pasid,
		  struct amd_translation_entry *entry)
{
	const bool with_pasid = pasid != AMD_NO_PASID;
	struct amd_device_state *state = &entry->state;

	state->domain = FIELD_GET(AMD_DTE1_DOMAIN, word[1]);
	state->mode = FIELD_GET(AMD_DTE0_MODE, word[0]);
	state->root = word[0] & AMD_DTE0_ROOT;
	state->had = FIELD_GET(AMD_DTE0_HAD, word[0]);
	state->prot =
		(word[0] & AMD_DTE0_IR ? DMA_READ : 0) | (word[0] & AMD_DTE0_IW ? DMA_WRITE : 0);
	entry->valid = true;
	entry->translation_valid = word[0] & AMD_DTE0_TV;
	entry->ats = word[1] & AMD_DTE1_I;
	entry->ppr = word[0] & AMD_DTE0_PPR;
	entry->giov = word[0] & AMD_DTE0_GV && word[0] & AMD_DTE0_GIOV;
	entry->suppress_all = word[1] & AMD_DTE1_SA;
	entry->suppress_more = word[1] & AMD_DTE1_SE;

	if (host_fields_reserved(e, word) ||
	    (word[0] & AMD_DTE0_GV && guest_fields_reserved(e, word)))
		entry->fault = (struct amd_fault){.code = AMD_ILLEGAL_DEV_TABLE_ENTRY,
						  .flags = AMD_EVENT_RZ};
	else if (!(word[0] & AMD_DTE0_TV))
		entry->fault = (struct amd_fault){.code = AMD_IO_PAGE_FAULT};
	else if (!state->prot)
		entry->fault = (struct amd_fault){.code = AMD_IO_PAGE_FAULT,
						  .flags = AMD_EVENT_PR | AMD_EVENT_PE};
	else if (state->mode > e->levels_max)
		entry->fault = (struct amd_fault){.code = AMD_ILLEGAL_DEV_TABLE_ENTRY};
	else if (word[0] & AMD_DTE0_GV && (with_pasid || word[0] & AMD_DTE0_GIOV))
		guest_state(e, word, pasid, state);
	else if (with_pasid)
		entry->fault = (struct amd_fault){.code = AMD_IO_PAGE_FAULT};
	else if (state->mode)
		state->kind = AMD_TRANSLATION_V1;
	if (!with_pasid && entry->fault.code != AMD_ILLEGAL_DEV_TABLE_ENTRY)
		exclusion_state(e, word, state);
	if (!entry->fault.code)
		return;
	entry->fault.domain = state->domain;
	state->kind = AMD_TRANSLATION_BLOCKED;
	state->prot = 0;
}

void amd_devtab_translation(struct amd_iommu_engine *e, uint16_t devid, uint32_t pasid,
			    struct amd_translation_entry *entry)
{
	uint64_t word[4] = {0};
	int ret;

	*entry = (struct amd_translation_entry){
		.state = {.kind = AMD_TRANSLATION_IDENTITY, .prot = DMA_READ | DMA_WRITE},
	};
	if (bypassed(e, devid))
		return;
	/* Word 2 says something about DMA only where there are guest tables. */
	ret = e->config.features.efr & AMD_EFR_GT_SUP
		      ? devtab_load_all(e, devid, word, &entry->fault)
		      : devtab_load(e, devid, 0, word, &entry->fault);
	entry->outside = ret == -ENXIO;
	if (ret)
		entry->state = (struct amd_device_state){.kind = AMD_TRANSLATION_BLOCKED};
	else if (word[0] & AMD_DTE0_V)
		judge(e, word, pasid, entry);
}

void amd_devtab_host_translation(struct amd_iommu_engine *e, const struct amd_host_dte *dte,
				 uint32_t pasid, struct amd_translation_entry *entry)
{
	/* Permissions and the second stage are the host's; a nested entry always has guest tables.
	 */
	const uint64_t word[4] = {
		(dte->dte[0] & (AMD_DTE0_GIOV | AMD_DTE0_GLX | AMD_DTE0_GCR3_14_12)) | AMD_DTE0_V |
			AMD_DTE0_TV | AMD_DTE0_IR | AMD_DTE0_IW | AMD_DTE0_GV,
		dte->dte[1] & (AMD_DTE1_DOMAIN | AMD_DTE1_GCR3_30_15 | AMD_DTE1_GCR3_51_31),
		dte->dte[2] & AMD_DTE2_GUEST_PAGING,
		0,
	};

	*entry = (struct amd_translation_entry){
		.state = {.kind = AMD_TRANSLATION_IDENTITY, .prot = DMA_READ | DMA_WRITE},
	};
	if (dte->nested)
		judge(e, word, pasid, entry);
	else if (!dte->stage2 || pasid != AMD_NO_PASID)
		entry->state = (struct amd_device_state){.kind = AMD_TRANSLATION_BLOCKED};
}

/* IV alone gates remapping, whatever V says (reference rule 1). */
void amd_devtab_interrupt(struct amd_iommu_engine *e, uint16_t devid,
			  struct amd_interrupt_entry *entry)
{
	uint64_t word[2];

	*entry = (struct amd_interrupt_entry){0};
	if (bypassed(e, devid))
		return;
	if (!devtab_load(e, devid, 1, word, &entry->fault)) {
		entry->valid = word[0] & AMD_DTE2_IV;
		entry->word = word[0];
		if (entry->valid && (word[0] & e->dte2_reserved || word[1] & AMD_DTE3_RESERVED))
			entry->fault = (struct amd_fault){.code = AMD_ILLEGAL_DEV_TABLE_ENTRY,
							  .flags = AMD_EVENT_RZ};
	}
	if (entry->fault.code)
		entry->fault.flags |= AMD_EVENT_I;
}

void amd_iommu_engine_device_state(struct amd_iommu_engine *e, uint16_t devid,
				   struct amd_device_state *state)
{
	struct amd_translation_entry entry;

	amd_devtab_translation(e, devid, AMD_NO_PASID, &entry);
	*state = entry.state;
}
