/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ioctl stream of the soft iommufd: any number, any size, any object, fields of the kinds that
 * the ABI has. Memory that a call is given is just as long as the caller says, so that a sanitizer
 * sees what lies outside.
 */
#ifndef POSTERN_FUZZ_IOCTLS_H
#define POSTERN_FUZZ_IOCTLS_H

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "iommufd/soft.h"
#include "tests/fuzz/fuzz.h"

#define IOCTL_MEMORY  0x40000u
#define IOCTL_DEVICES 3u
#define IOCTL_FDS     16u
#define IOCTL_AREAS   8u /* what pointers of one call lead to */

struct ioctls {
	struct iommufd *ctx;
	uint32_t viommu; /* of the stack that is there at first */
	int fd[IOCTL_FDS];
	uint32_t fd_of[IOCTL_FDS];
	unsigned fds;
	void *area[IOCTL_AREAS];
	unsigned areas;
};

static uint8_t ioctl_memory[IOCTL_MEMORY] __attribute__((aligned(4096)));
static const struct guest_memory ioctl_guest = {
	.count = 1, .region = {{.gpa = 0, .size = IOCTL_MEMORY, .host = ioctl_memory, .fd = -1}}};

/*
 * A call's fields behind its size: i an id, f flags, t a type, n a count, l a length of data, z
 * reserved, o an output, h 16 bits, d a descriptor (32 bits each but h); a an address, s a page
 * size, v a value, p memory, b a dirty bitmap (64 bits).
 */
static const struct ioctl_layout {
	uint8_t nr;
	const char *fields;
} ioctl_layout[] = {
	{IOMMUFD_CMD_DESTROY, "i"},
	{IOMMUFD_CMD_IOAS_ALLOC, "fo"},
	{IOMMUFD_CMD_IOAS_ALLOW_IOVAS, "inzp"},
	{IOMMUFD_CMD_IOAS_COPY, "fiiaaa"},
	{IOMMUFD_CMD_IOAS_IOVA_RANGES, "inzpa"},
	{IOMMUFD_CMD_IOAS_MAP, "fizaaa"},
	{IOMMUFD_CMD_IOAS_UNMAP, "iaa"},
	{IOMMUFD_CMD_OPTION, "thhiv"},
	{IOMMUFD_CMD_HWPT_ALLOC, "fiioztlpiz"},
	{IOMMUFD_CMD_GET_HW_INFO, "filptza"},
	{IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING, "fiz"},
	{IOMMUFD_CMD_HWPT_GET_DIRTY_BITMAP, "ifzaasb"},
	{IOMMUFD_CMD_HWPT_INVALIDATE, "iptlnz"},
	{IOMMUFD_CMD_FAULT_QUEUE_ALLOC, "zoo"},
	{IOMMUFD_CMD_IOAS_MAP_FILE, "fidaaa"},
	{IOMMUFD_CMD_VIOMMU_ALLOC, "ztiiolzp"},
	{IOMMUFD_CMD_VDEVICE_ALLOC, "iiov"},
	{IOMMUFD_CMD_VEVENTQ_ALLOC, "zitnooz"},
	{IOMMUFD_CMD_HW_QUEUE_ALLOC, "zitzoaa"},
	{IOMMUFD_CMD_VIOMMU_COMMAND, "ihhzv"},
};

/* LEN bytes that the call may use and no more; from the input as far as it goes. */
static inline void *ioctl_area(struct ioctls *f, struct input *in, size_t len)
{
	void *p = calloc(1, len ? len : 1);

	require(p && f->areas < IOCTL_AREAS);
	f->area[f->areas++] = p;
	if (in)
		input_copy(in, p, len < 64 ? len : 64);
	return p;
}

static inline uint64_t ioctl_field(struct ioctls *f, struct input *in, char kind, uint64_t *length)
{
	static const uint64_t lengths[] = {0, 8, 16, 32};
	const unsigned byte = kind == 'z' || kind == 'o' ? 0 : input_u8(in);

	switch (kind) {
	case 'i':
		return byte == 0xff ? input_u32(in) : byte % 24;
	case 't':
		return byte % 6;
	case 'l':
		return byte < 0xc0 ? lengths[byte & 3] : byte;
	case 'n':
		return byte & 63;
	case 'd':
		return byte & 1 ? ~0u : (uint32_t)f->fd[0];
	case 's':
		return byte & 0x80 ? input_u64(in) : BIT(byte & 31);
	case 'a': /* pages; some are not whole, or at the ends */
		if (byte >= 0xf8)
			return input_u64(in);
		*length = (uint64_t)(byte & 0x3f) << 12;
		return *length + (byte & 0x80 ? 0x80 : 0) +
		       (byte & 0x40 ? UINT64_C(0xfee00000) : 0);
	case 'v':
		return byte >= 0x80 ? input_u64(in) : byte;
	case 'h':
		return byte >= 0xf0 ? input_u16(in) : byte & 0x3f ? byte << 3 : byte >> 7;
	case 'p':
		return byte == 0xff ? 0 : (uintptr_t)ioctl_area(f, in, 4096);
	default:
		return byte;
	}
}

/* A bitmap of just what the call says: a bit for each page, in words of 64. */
static inline uint64_t ioctl_bitmap(struct ioctls *f, const uint8_t *call)
{
	struct iommu_hwpt_get_dirty_bitmap cmd;
	uint64_t bits;

	memcpy(&cmd, call, offsetof(struct iommu_hwpt_get_dirty_bitmap, data));
	bits = cmd.page_size ? cmd.length >> __builtin_ctzll(cmd.page_size) : 0;
	if (bits > 1 << 20)
		return 0;
	return (uintptr_t)ioctl_area(f, NULL, (bits + 63) / 64 * 8);
}

static inline void ioctl_remember(struct ioctls *f, uint8_t nr, const void *call)
{
	const struct iommu_veventq_alloc *veventq = call;
	const struct iommu_fault_alloc *fault = call;
	const bool v = nr == IOMMUFD_CMD_VEVENTQ_ALLOC;

	if (!v && nr != IOMMUFD_CMD_FAULT_QUEUE_ALLOC)
		return;
	if (f->fds == IOCTL_FDS) {
		close((int)(v ? veventq->out_veventq_fd : fault->out_fault_fd));
		return;
	}
	f->fd_of[f->fds] = v ? veventq->out_veventq_id : fault->out_fault_id;
	f->fd[f->fds++] = (int)(v ? veventq->out_veventq_fd : fault->out_fault_fd);
}

static inline int ioctl_op_call(struct ioctls *f, struct input *in)
{
	const unsigned which = input_u8(in);
	const struct ioctl_layout *layout = &ioctl_layout[which % ARRAY_SIZE(ioctl_layout)];
	uint8_t bytes[160] = {0}, *call;
	bool fixed[sizeof(bytes)] = {true, true, true, true};
	uint64_t unused, value;
	uint32_t at = 4, size;
	unsigned nr = layout->nr, flip;
	int ret;

	for (const char *kind = layout->fields; *kind; kind++) {
		const uint32_t width = *kind == 'h' ? 2 : strchr("asvpb", *kind) ? 8 : 4;

		value = *kind == 'b' ? ioctl_bitmap(f, bytes) : ioctl_field(f, in, *kind, &unused);
		memcpy(bytes + at, &value, width);
		/* Pointers that lead elsewhere would be a broken caller's, not a hostile one's. */
		memset(fixed + at, strchr("nlaspb", *kind) != NULL, width);
		at += width;
	}
	size = at;
	/* Another size, with something behind or without; a reserved byte; another number. */
	if (which >= 0xf0)
		size = 4 + input_u8(in) % (sizeof(bytes) - 4);
	else if (which >= 0xe0 && !fixed[flip = input_u8(in) % sizeof(bytes)])
		bytes[flip] ^= input_u8(in);
	if (which == 0xff)
		nr = input_u8(in);
	if (nr != layout->nr)
		memset(bytes, 0, sizeof(bytes));
	call = malloc(size);
	require(call);
	memcpy(call, bytes, size);
	memcpy(call, &size, sizeof(size));
	ret = iommufd_call(f->ctx, nr, call);
	require(ret <= 0 && ret > -4096, "%#x: %d", nr, ret);
	if (!ret)
		ioctl_remember(f, (uint8_t)nr, call);
	free(call);
	while (f->areas)
		free(f->area[--f->areas]);
	return ret;
}

/* What there is besides ioctls. */
static inline void ioctl_op_other(struct ioctls *f, struct input *in)
{
	const unsigned how = input_u8(in), i = f->fds ? (how >> 4) % f->fds : 0;
	const uint32_t id = input_pick(in, 24);
	uint8_t buffer[128] = {0};
	uint64_t dte[4];
	ssize_t n;

	switch (how & 7) {
	case 0:
		iommufd_soft_vevent_report(f->ctx, id, input_pick(in, 6), buffer, how >> 4);
		break;
	case 1:
		if (!f->fds)
			break;
		n = iommufd_eventq_read(f->ctx, f->fd_of[i], f->fd[i], buffer,
					input_pick(in, sizeof(buffer)));
		require(n <= (ssize_t)sizeof(buffer));
		break;
	case 2:
		if (f->fds)
			iommufd_fault_respond(f->ctx, f->fd_of[i], f->fd[i], buffer, how & 0x78);
		break;
	case 3:
		iommufd_soft_hwpt_written(f->ctx, id, (uint64_t)input_u8(in) << 11,
					  (uint64_t)input_u8(in) << 10);
		break;
	case 4:
		iommufd_soft_hwpt_dte(f->ctx, id, dte);
		break;
	case 5: /* a descriptor is closed: its queue can go */
		if (!f->fds)
			break;
		close(f->fd[i]);
		f->fd[i] = f->fd[--f->fds];
		f->fd_of[i] = f->fd_of[f->fds];
		break;
	default:
		guest_memory_write(&ioctl_guest, (uint64_t)input_u8(in) << 4, buffer,
				   input_copy(in, buffer, 16));
	}
}

/* Areas of each IOAS ascend, are disjoint and obey its alignment; users are counted. */
static inline void ioctl_check(struct ioctls *f)
{
	const struct iommufd_soft *soft = to_soft(f->ctx);
	unsigned objects = 0;

	for (uint32_t id = 0; id < soft->slots; id++) {
		const struct soft_object *object = soft->slot[id];
		const struct soft_ioas *ioas;

		if (!object)
			continue;
		objects++;
		require(object->id == id && object->users < 1000, "object %u", id);
		if (object->type != SOFT_IOAS)
			continue;
		ioas = container_of(object, struct soft_ioas, object);
		for (size_t i = 0; i < ioas->areas; i++) {
			require(ioas->area[i].iova <= ioas->area[i].last);
			require(!i || ioas->area[i - 1].last < ioas->area[i].iova, "overlap");
		}
	}
	require(objects == soft->objects, "%u ids, %u objects", soft->objects, objects);
}

/* Device, IOAS, nest parent, vIOMMU and a second device, in this order from id 1. */
static inline void ioctls_open(struct ioctls *f, enum iommufd_soft_mode mode, unsigned how)
{
	const struct amd_iommu_features features = {
		.efr = (how & 1 ? AMD_IOMMU_EFR_V2 : AMD_IOMMU_EFR_DEFAULT) | SOFT_EFR_HDSUP,
		.efr2 = how & 1 ? AMD_IOMMU_EFR2_FULL : AMD_IOMMU_EFR2_DEFAULT};
	struct iommu_viommu_amd data;
	struct iommufd_hwpt_args parent = {.flags = IOMMU_HWPT_ALLOC_NEST_PARENT |
						    IOMMU_HWPT_ALLOC_DIRTY_TRACKING};
	struct iommufd_viommu_args viommu = {
		.type = IOMMU_VIOMMU_TYPE_AMD, .data = &data, .data_len = sizeof(data)};
	uint32_t second;

	memset(ioctl_memory, 0, sizeof(ioctl_memory));
	*f = (struct ioctls){0};
	f->fd[f->fds++] = memfd_create("fuzz", MFD_CLOEXEC);
	require(f->fd[0] >= 0 && !ftruncate(f->fd[0], 16 * 4096));
	require(!iommufd_open_soft_mode(&f->ctx, &ioctl_guest, mode));
	require(!iommufd_soft_set_hw(f->ctx, &features, 0x10));
	require(!iommufd_soft_device_add(f->ctx, &parent.dev_id));
	require(!iommufd_ioas_alloc(f->ctx, &parent.pt_id));
	viommu.dev_id = parent.dev_id;
	require(!iommufd_hwpt_alloc(f->ctx, &parent, &viommu.hwpt_id));
	require(!iommufd_viommu_alloc(f->ctx, &viommu, &f->viommu));
	require(!iommufd_soft_device_add(f->ctx, &second));
}

/* Once descriptors are closed everything but devices can be destroyed: no use is forgotten. */
static inline void ioctls_close(struct ioctls *f)
{
	const struct iommufd_soft *soft = to_soft(f->ctx);
	unsigned before;

	ioctl_check(f);
	while (f->fds)
		close(f->fd[--f->fds]);
	do {
		before = soft->objects;
		for (uint32_t id = 0; id < soft->slots; id++)
			iommufd_destroy(f->ctx, id);
	} while (soft->objects < before);
	for (uint32_t id = 0; id < soft->slots; id++)
		require(!soft->slot[id] || soft->slot[id]->type == SOFT_DEVICE,
			"id %u of type %d cannot be destroyed", id, soft->slot[id]->type);
	iommufd_close(f->ctx);
}

#endif
