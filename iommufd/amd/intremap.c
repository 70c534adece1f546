// SPDX-License-Identifier: Apache-2.0
/*
 * Interrupt remapping (reference sections 4.4 and 7.5). Nothing is cached: every message, and every
 * route that KVM holds, is resolved from the guest's tables when it is asked for.
 */
#include <errno.h>

#include "iommufd/amd/internal.h"

/* What an entry of either format says. */
struct amd_irte {
	bool remap, suppress, logical;
	bool reserved; /* reserved bits or values */
	unsigned type;
	uint8_t vector;
	uint32_t dest;
};

static int irte_load32(const struct guest_memory *gm, uint64_t gpa, struct amd_irte *irte)
{
	uint64_t pair;
	uint32_t word;

	/* Two entries share an aligned 64-bit word; software stores 32 bits at a time. */
	if (guest_memory_load64(gm, align_down(gpa, 8), &pair))
		return -EFAULT;
	word = gpa & 4 ? pair >> 32 : pair;
	*irte = (struct amd_irte){
		.remap = word & AMD_IRTE_REMAP_EN,
		.suppress = word & AMD_IRTE_SUP_IOPF,
		.logical = word & AMD_IRTE_DM,
		.reserved = word & AMD_IRTE32_RESERVED,
		.type = FIELD_GET(AMD_IRTE_INT_TYPE, word),
		.vector = FIELD_GET(AMD_IRTE32_VECTOR, word),
		.dest = FIELD_GET(AMD_IRTE32_DEST, word),
	};
	return 0;
}

static int irte_load128(const struct guest_memory *gm, uint64_t gpa, bool xt, struct amd_irte *irte)
{
	uint64_t word[2];

	if (amd_load128(gm, gpa, word))
		return -EFAULT;
	*irte = (struct amd_irte){
		.remap = word[0] & AMD_IRTE_REMAP_EN,
		.suppress = word[0] & AMD_IRTE_SUP_IOPF,
		.logical = word[0] & AMD_IRTE_DM,
		.reserved = word[0] & AMD_IRTE128_RESERVED0 || word[1] & AMD_IRTE128_RESERVED1,
		.type = FIELD_GET(AMD_IRTE_INT_TYPE, word[0]),
		.vector = FIELD_GET(AMD_IRTE128_VECTOR, word[1]),
	};
	if (xt)
		irte->dest = FIELD_GET(AMD_IRTE128_DEST_LOW, word[0]) |
			     FIELD_GET(AMD_IRTE128_DEST_HI, word[1]) << 24;
	else
		irte->dest = FIELD_GET(AMD_IRTE128_DEST8, word[0]);
	return 0;
}

/* Remaps MSG through the table of DTE word 2. On -EACCES, FAULT.code 0 means: say nothing. */
static int table_remap(struct amd_iommu_engine *e, uint64_t dte, const struct msi_msg *msg,
		       struct msi_msg *out, struct amd_fault *fault)
{
	const uint64_t control = amd_reg(e, AMD_REG_CONTROL);
	const unsigned log2 = FIELD_GET(AMD_DTE2_INT_TAB_LEN, dte);
	const uint64_t index = msg->data & AMD_MSI_DATA_INDEX;
	const bool ga = control & AMD_CONTROL_GA_EN;
	const uint64_t gpa = (dte & AMD_DTE2_INT_ROOT) + index * (ga ? 16 : 4);
	struct amd_irte irte;

	if (log2 > AMD_INT_TAB_LEN_MAX) {
		*fault = (struct amd_fault){.code = AMD_ILLEGAL_DEV_TABLE_ENTRY};
		return -EACCES;
	}
	*fault = (struct amd_fault){.code = dte & AMD_DTE2_IG ? 0 : AMD_IO_PAGE_FAULT};
	if (index >= BIT(log2))
		return -EACCES;
	if (ga ? irte_load128(e->config.memory, gpa, control & AMD_CONTROL_XT_EN, &irte)
	       : irte_load32(e->config.memory, gpa, &irte)) {
		*fault = (struct amd_fault){
			.code = AMD_PAGE_TAB_HARDWARE_ERROR,
			.flags = FIELD_PREP(AMD_EVENT_HWTYPE, AMD_MASTER_ABORT),
			.address = gpa,
		};
		return -EACCES;
	}
	/* RemapEn is judged first: software marks free entries with bits that are reserved. */
	if (!irte.remap || irte.reserved || irte.type > AMD_INT_TYPE_MAX) {
		if (irte.remap)
			fault->flags = AMD_EVENT_PR | AMD_EVENT_RZ;
		if (irte.suppress)
			fault->code = 0;
		return -EACCES;
	}

	out->addr = AMD_MSI_WINDOW_FIRST | FIELD_PREP(AMD_MSI_ADDR_DEST, irte.dest & 0xff) |
		    FIELD_PREP(AMD_MSI_ADDR_DEST_HI, irte.dest >> 8) |
		    (irte.logical ? AMD_MSI_ADDR_DM : 0);
	out->data = irte.vector | FIELD_PREP(AMD_MSI_DATA_MODE, irte.type) |
		    (msg->data & AMD_MSI_DATA_TRIGGER);
	return 0;
}

/* Interrupts that IntCtl does not speak of have a pass bit each, for physical mode only. */
static int special_remap(uint64_t dte, uint64_t pass, const struct msi_msg *msg,
			 struct msi_msg *out)
{
	if (!(dte & pass) || msg->addr & AMD_MSI_ADDR_DM)
		return -EACCES;
	*out = *msg;
	return 0;
}

/* What IntCtl says about fixed and arbitrated interrupts. */
static int controlled_remap(struct amd_iommu_engine *e, uint64_t dte, const struct msi_msg *msg,
			    struct msi_msg *out, struct amd_fault *fault)
{
	switch ((enum amd_int_ctl)FIELD_GET(AMD_DTE2_INT_CTL, dte)) {
	case AMD_INT_CTL_ABORT:
		return -EACCES;
	case AMD_INT_CTL_FORWARD:
		*out = *msg;
		return 0;
	case AMD_INT_CTL_REMAP:
		return table_remap(e, dte, msg, out, fault);
	case AMD_INT_CTL_RESERVED:
		break;
	}
	*fault = (struct amd_fault){.code = AMD_ILLEGAL_DEV_TABLE_ENTRY, .flags = AMD_EVENT_RZ};
	return -EACCES;
}

/*
 * Of 2048 entries the index takes the place of the delivery mode, too: a message says with DM that
 * it is of that kind.
 */
static bool index_of_11_bits(const struct amd_iommu_engine *e, const struct msi_msg *msg)
{
	return FIELD_GET(AMD_CONTROL_NUM_INT_REMAP, amd_reg(e, AMD_REG_CONTROL)) ==
		       AMD_NUM_INT_REMAP_2048 &&
	       msg->addr & AMD_MSI_ADDR_DM;
}

static int dte_remap(struct amd_iommu_engine *e, uint64_t dte, const struct msi_msg *msg,
		     struct msi_msg *out, struct amd_fault *fault)
{
	if (index_of_11_bits(e, msg))
		return controlled_remap(e, dte, msg, out, fault);
	switch ((enum amd_delivery)FIELD_GET(AMD_MSI_DATA_MODE, msg->data)) {
	case AMD_DELIVERY_SMI:
		*out = *msg;
		return 0;
	case AMD_DELIVERY_NMI:
		return special_remap(dte, AMD_DTE2_NMI_PASS, msg, out);
	case AMD_DELIVERY_INIT:
		return special_remap(dte, AMD_DTE2_INIT_PASS, msg, out);
	case AMD_DELIVERY_EXTINT:
		return special_remap(dte, AMD_DTE2_EINT_PASS, msg, out);
	case AMD_DELIVERY_RESERVED3:
	case AMD_DELIVERY_RESERVED6:
		return -EACCES;
	case AMD_DELIVERY_FIXED:
	case AMD_DELIVERY_ARBITRATED:
		break;
	}
	return controlled_remap(e, dte, msg, out, fault);
}

int amd_iommu_engine_remap(struct amd_iommu_engine *e, uint16_t devid, const struct msi_msg *msg,
			   struct msi_msg *out, bool log)
{
	struct amd_device_counters *counters = amd_device_counters(e, devid);
	struct amd_interrupt_entry entry;
	struct amd_device_state state;
	struct amd_fault fault;
	int ret = 0;

	amd_count(&counters->remaps);
	amd_devtab_interrupt(e, devid, &entry);
	fault = entry.fault;
	if (fault.code) {
		ret = -EACCES;
	} else if (!entry.valid) {
		*out = *msg;
	} else if ((msg->addr & AMD_MSI_ADDR_WINDOW) != AMD_MSI_WINDOW_FIRST) {
		/* A write to memory, which no interrupt controller would see. */
		ret = -EACCES;
	} else {
		ret = dte_remap(e, entry.word, msg, out, &fault);
	}
	if (!ret)
		return 0;

	amd_count(&counters->refusals);
	if (!log)
		return ret;
	fault.flags |= AMD_EVENT_I;
	if (fault.code != AMD_DEV_TAB_HARDWARE_ERROR && fault.code != AMD_PAGE_TAB_HARDWARE_ERROR)
		fault.address = msg->addr;
	amd_tell_fault(e, devid, &fault);
	if (!fault.code)
		return ret;
	if (fault.code == AMD_IO_PAGE_FAULT || fault.code == AMD_PAGE_TAB_HARDWARE_ERROR) {
		amd_iommu_engine_device_state(e, devid, &state);
		fault.domain = state.domain;
	}
	amd_event_log(e, devid, &fault);
	return ret;
}
