// SPDX-License-Identifier: Apache-2.0
/*
 * The AMD driver model, what the hardware ABI has and nothing else: VIOMMU_COMMAND of the registers
 * that there are, hardware queues, nested page tables from the guest's device table entries, and
 * the VF page, for which the engine's owner stands in.
 */
#include "tests/fuzz/ioctls.h"

#define CONTROL	 0x18
#define IOMMU_EN BIT(0)

/* SET and GET of one register, against what the ABI says about each. */
static void op_command(struct ioctls *f, struct input *in)
{
	static const uint16_t registers[] = {CONTROL, 0x170, 0x178, 0, 0x8, 0x10, 0x30, 0x2008};
	const unsigned how = input_u8(in);
	uint16_t index = registers[how & 7];
	const uint64_t value = how & 0x40 ? input_u64(in) : input_u16(in);
	struct amd_iommu_engine *engine = iommufd_soft_viommu_engine(f->ctx, f->viommu);
	uint64_t got = 0, inside = 0;
	int set, get, expected;

	if (how & 0x80)
		index = input_u16(in);
	set = iommufd_viommu_command_set(f->ctx, f->viommu, index, value);
	get = iommufd_viommu_command_get(f->ctx, f->viommu, index, &got);
	if (!engine) {
		require(set == -ENOENT && get == -ENOENT);
		return;
	}
	expected = index % 8 ? -EINVAL : -EOPNOTSUPP;
	require(set == (index == CONTROL || index == 0x170 || index == 0x178 ? 0 : expected),
		"SET of %x: %d", index, set);
	require(get == (index == CONTROL ? 0 : expected), "GET of %x: %d", index, get);
	if (index == CONTROL) {
		require(!(got & ~value), "GET gives %llx of %llx", (unsigned long long)got,
			(unsigned long long)value);
		require(!(got & IOMMU_EN), "a guest is told of the host's IommuEn");
		require(!amd_iommu_engine_get(engine, CONTROL, &inside) && inside & IOMMU_EN);
	}
}

/* The guest writes its VF page: commands run. */
static void op_vf_page(struct ioctls *f, struct input *in)
{
	struct amd_iommu_engine *engine = iommufd_soft_viommu_engine(f->ctx, f->viommu);
	const uint16_t offset = 0x2000 + input_pick(in, 8) * 8;

	if (engine)
		amd_iommu_engine_set(engine, offset, input_u16(in));
}

/* A nested page table is what the guest's entry says, less what hardware does not take. */
static void op_nested(struct ioctls *f, struct input *in)
{
	const unsigned how = input_u8(in);
	struct iommu_hwpt_amd_guest guest = {
		.dte = {3 | BIT(55) | BIT(54) | (uint64_t)(how & 3) << 56 | UINT64_C(1) << 58,
			input_u16(in), (uint64_t)(how >> 2 & 3) << 54, 0}};
	struct iommufd_hwpt_args args = {.dev_id = 1,
					 .pt_id = f->viommu,
					 .data_type = IOMMU_HWPT_DATA_AMD_GUEST,
					 .data_len = sizeof(guest),
					 .data = &guest};
	uint64_t dte[4];
	uint32_t id;

	if (how & 0x80)
		guest.dte[input_pick(in, 4)] ^= BIT(input_pick(in, 64));
	if (iommufd_hwpt_alloc(f->ctx, &args, &id))
		return;
	require(!(guest.dte[0] & (GENMASK(11, 9) | GENMASK(51, 12))), "host fields in a guest's");
	require(!iommufd_soft_hwpt_dte(f->ctx, id, dte));
	for (unsigned i = 0; i < 4; i++)
		require(!(dte[i] & ~guest.dte[i]), "word %u has more than the guest's", i);
	require((uint16_t)dte[1] == (uint16_t)guest.dte[1], "the domain is another");
	if (how & 0x40)
		require(!iommufd_destroy(f->ctx, id));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct ioctls f;

	ioctls_open(&f, IOMMUFD_SOFT_HWMODEL, input_u8(&in));
	while (in.left) {
		switch (input_pick(&in, 8)) {
		case 0:
		case 1:
			op_command(&f, &in);
			break;
		case 2:
			op_vf_page(&f, &in);
			break;
		case 3:
			op_nested(&f, &in);
			break;
		case 4:
			ioctl_op_other(&f, &in);
			break;
		default:
			ioctl_op_call(&f, &in);
		}
	}
	ioctls_close(&f);
	return 0;
}
