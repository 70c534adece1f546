// SPDX-License-Identifier: Apache-2.0
/* The command buffer (reference section 5). */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "iommufd/amd/internal.h"
#include "postern/log.h"

struct amd_command {
	uint64_t word[2];
	uint64_t gpa;
};

_Static_assert(sizeof(((struct amd_command *)0)->word) == AMD_RING_ENTRY, "AMD 48882 section 2.4");

/*
 * A command whose effect is complete when it returns: 0; -EAGAIN where it must wait for a device,
 * having done nothing; or another -errno and *FAULT.
 */
typedef int amd_command_fn(struct amd_iommu_engine *e, const struct amd_command *command,
			   struct amd_fault *fault);

/*
 * Everything before a COMPLETION_WAIT in the ring is done by now: commands run one after another on
 * this thread, listeners included. What may last is DMA that began before: no page that was
 * unmapped may be touched after the store (reference 5.3). The ring rests meanwhile, and no thread
 * waits.
 */
static int completion_wait(struct amd_iommu_engine *e, const struct amd_command *command,
			   struct amd_fault *fault)
{
	const uint64_t gpa = command->word[0] & AMD_COMWAIT_ADDR;

	if (amd_spaces_held(e)) {
		amd_count(&e->counters.rests);
		return -EAGAIN;
	}
	amd_count(&e->counters.completion_waits);
	if (command->word[0] & AMD_COMWAIT_STORE &&
	    guest_memory_store64(e->config.memory, gpa, command->word[1])) {
		*fault = (struct amd_fault){
			.code = AMD_COMMAND_HARDWARE_ERROR,
			.flags = FIELD_PREP(AMD_EVENT_HWTYPE, AMD_MASTER_ABORT),
			.address = gpa,
		};
		return -EFAULT;
	}
	if (command->word[0] & AMD_COMWAIT_INT)
		amd_status_set(e, AMD_STATUS_COMWAIT_INT);
	return 0;
}

static void count_device_invalidation(struct amd_iommu_engine *e, const struct amd_command *command)
{
	struct amd_device_counters *counters =
		amd_device_counters_find(e, FIELD_GET(AMD_COMMAND_DEVID, command->word[0]));

	amd_count(&e->counters.invalidations);
	if (counters)
		amd_count(&counters->invalidations);
}

static int invalidate_devtab_entry(struct amd_iommu_engine *e, const struct amd_command *command,
				   struct amd_fault *fault)
{
	(void)fault;
	count_device_invalidation(e, command);
	amd_engine_invalidate_device(e, FIELD_GET(AMD_COMMAND_DEVID, command->word[0]));
	return 0;
}

/* Reference 5.1: with S the first 0 at or above bit 12 says how much; none below 51 means all. */
static void inv_pages_range(uint64_t word, uint64_t *iova, uint64_t *last)
{
	const uint64_t address = word & AMD_INV_PAGES_ADDR;
	uint64_t zeros = ~address & AMD_INV_PAGES_ADDR & GENMASK(50, 0);
	uint64_t size = GUEST_PAGE_SIZE;

	if (word & AMD_INV_PAGES_S) {
		if (!zeros) {
			*iova = 0;
			*last = ~UINT64_C(0);
			return;
		}
		size = UINT64_C(2) << __builtin_ctzll(zeros);
	}
	*iova = align_down(address, size);
	*last = *iova + (size - 1);
}

/* Whether a device that somebody mirrors has guest tables over the host tables of DOMAIN. */
static bool domain_nested(struct amd_iommu_engine *e, uint16_t domain)
{
	if (!(amd_reg(e, AMD_REG_CONTROL) & AMD_CONTROL_GT_EN))
		return false;
	for (unsigned i = 0; i < e->watches; i++) {
		struct amd_device_state state;

		amd_iommu_engine_device_state(e, e->watch[i].devid, &state);
		if (state.kind == AMD_TRANSLATION_V2 && state.mode && state.domain == domain)
			return true;
	}
	return false;
}

static int invalidate_iommu_pages(struct amd_iommu_engine *e, const struct amd_command *command,
				  struct amd_fault *fault)
{
	const uint16_t domain = FIELD_GET(AMD_INV_PAGES_DOMAIN, command->word[0]);
	const uint32_t pasid = FIELD_GET(AMD_INV_PAGES_PASID, command->word[0]);
	uint64_t iova, last;

	(void)fault;
	amd_count(&e->counters.invalidations);
	inv_pages_range(command->word[1], &iova, &last);
	if (command->word[1] & AMD_INV_PAGES_GN) {
		amd_spaces_drop_pasid(e, domain, pasid, iova, last);
		/* Listeners mirror requests without PASID, which the tables of PASID 0 serve. */
		if (pasid)
			return 0;
	} else {
		amd_spaces_drop_domain(e, domain, iova, last);
		/* Of a nested domain these are addresses between the tables. */
		if (domain_nested(e, domain)) {
			iova = 0;
			last = ~UINT64_C(0);
		}
	}
	amd_listeners_pages_changed(e, domain, iova, last);
	return 0;
}

static int invalidate_iotlb_pages(struct amd_iommu_engine *e, const struct amd_command *command,
				  struct amd_fault *fault)
{
	const uint64_t word = command->word[0];
	const uint16_t devid = FIELD_GET(AMD_COMMAND_DEVID, word);
	struct dma_atc_invalidation inv = {.pasid = DMA_NO_PASID, .untagged = true};
	int ret;

	(void)fault;
	inv_pages_range(command->word[1], &inv.iova, &inv.last);
	if (command->word[1] & AMD_INV_PAGES_GN) {
		struct amd_translation_entry entry;

		inv.pasid = (uint32_t)(FIELD_GET(AMD_INV_IOTLB_PASID_7_0, word) |
				       FIELD_GET(AMD_INV_IOTLB_PASID_15_8, word) << 8 |
				       FIELD_GET(AMD_INV_IOTLB_PASID_19_16, word) << 16);
		/* The tables of PASID 0 serve requests without one where GIoV says so. */
		amd_devtab_translation(e, devid, AMD_NO_PASID, &entry);
		inv.untagged = !inv.pasid && entry.giov;
	}
	ret = amd_ats_invalidate(e, command->gpa, devid, FIELD_GET(AMD_INV_IOTLB_QUEUE, word),
				 FIELD_GET(AMD_INV_IOTLB_MAX_PEND, word), &inv);
	if (!ret)
		amd_count(&e->counters.invalidations);
	return ret;
}

/* What a device is about to use is found when it does. INVAL asks that it be looked up anew. */
static int prefetch_iommu_pages(struct amd_iommu_engine *e, const struct amd_command *command,
				struct amd_fault *fault)
{
	(void)fault;
	if (command->word[1] & AMD_PREFETCH_INVAL)
		amd_spaces_drop_device(e, FIELD_GET(AMD_COMMAND_DEVID, command->word[0]));
	return 0;
}

static int complete_ppr_request(struct amd_iommu_engine *e, const struct amd_command *command,
				struct amd_fault *fault)
{
	const bool gn = command->word[1] & AMD_INV_PAGES_GN;

	(void)fault;
	amd_ats_respond(e, FIELD_GET(AMD_COMMAND_DEVID, command->word[0]),
			gn ? FIELD_GET(AMD_COMMAND_PASID, command->word[0]) : DMA_NO_PASID,
			FIELD_GET(AMD_COMPLETE_PPR_INDEX, command->word[1]),
			FIELD_GET(AMD_COMPLETE_PPR_CODE, command->word[1]));
	return 0;
}

static int invalidate_interrupt_table(struct amd_iommu_engine *e, const struct amd_command *command,
				      struct amd_fault *fault)
{
	(void)fault;
	count_device_invalidation(e, command);
	amd_listeners_interrupts_changed(e, FIELD_GET(AMD_COMMAND_DEVID, command->word[0]), false);
	return 0;
}

/* Once for each domain in use: what devices share is built anew once. */
void amd_watched_domains_changed(struct amd_iommu_engine *e)
{
	memset(e->domains_seen, 0, sizeof(e->domains_seen));
	for (unsigned i = 0; i < e->watches; i++) {
		struct amd_device_state state;
		uint64_t *word, bit;

		amd_iommu_engine_device_state(e, e->watch[i].devid, &state);
		if (!amd_device_has_tables(&state))
			continue;
		word = &e->domains_seen[state.domain / 64];
		bit = BIT(state.domain % 64);
		if (*word & bit)
			continue;
		*word |= bit;
		amd_listeners_domain_changed(e, state.domain);
	}
}

static int invalidate_iommu_all(struct amd_iommu_engine *e, const struct amd_command *command,
				struct amd_fault *fault)
{
	(void)command;
	(void)fault;
	amd_count(&e->counters.invalidations);
	amd_engine_invalidate_all(e);
	amd_watched_domains_changed(e);
	return 0;
}

/* The rest of the 16 opcodes is illegal with the features that an engine can have: no vIommuSup. */
static const struct {
	amd_command_fn *run;
	uint64_t valid[2]; /* bits that are not reserved */
	uint64_t guest;	   /* bits of word 1 that are not reserved with GTSup */
	uint64_t efr;	   /* feature it depends on */
	bool iotlb;	   /* or IotlbSup, which is none of EFR's */
} commands[16] = {
	[AMD_COMPLETION_WAIT] = {.run = completion_wait,
				 .valid = {AMD_COMWAIT_STORE | AMD_COMWAIT_INT | AMD_COMWAIT_FLUSH |
						   AMD_COMWAIT_ADDR,
					   ~UINT64_C(0)}},
	[AMD_INVALIDATE_DEVTAB_ENTRY] = {.run = invalidate_devtab_entry,
					 .valid = {AMD_COMMAND_DEVID, 0}},
	[AMD_INVALIDATE_IOMMU_PAGES] = {.run = invalidate_iommu_pages,
					.valid = {AMD_INV_PAGES_PASID | AMD_INV_PAGES_DOMAIN,
						  AMD_INV_PAGES_S | AMD_INV_PAGES_PDE |
							  AMD_INV_PAGES_ADDR},
					.guest = AMD_INV_PAGES_GN},
	[AMD_INVALIDATE_IOTLB_PAGES] = {.run = invalidate_iotlb_pages,
					.valid = {~AMD_COMMAND_OPCODE,
						  AMD_INV_PAGES_S | AMD_INV_PAGES_ADDR},
					.guest = AMD_INV_PAGES_GN,
					.iotlb = true},
	[AMD_INVALIDATE_INTERRUPT_TABLE] = {.run = invalidate_interrupt_table,
					    .valid = {AMD_COMMAND_DEVID, 0}},
	[AMD_PREFETCH_IOMMU_PAGES] = {.run = prefetch_iommu_pages,
				      .valid = {AMD_COMMAND_DEVID | AMD_PREFETCH_COUNT |
							AMD_COMMAND_PASID,
						AMD_INV_PAGES_S | AMD_PREFETCH_INVAL |
							AMD_INV_PAGES_ADDR},
				      .guest = AMD_INV_PAGES_GN,
				      .efr = AMD_EFR_PREF_SUP},
	[AMD_COMPLETE_PPR_REQUEST] = {.run = complete_ppr_request,
				      .valid = {AMD_COMMAND_DEVID | AMD_COMMAND_PASID,
						AMD_COMPLETE_PPR_INDEX | AMD_COMPLETE_PPR_CODE},
				      .guest = AMD_INV_PAGES_GN,
				      .efr = AMD_EFR_PPR_SUP},
	[AMD_INVALIDATE_IOMMU_ALL] = {.run = invalidate_iommu_all, .efr = AMD_EFR_IA_SUP},
};

static int command_execute(struct amd_iommu_engine *e, uint64_t gpa, unsigned *opcode_out,
			   struct amd_fault *fault)
{
	const struct guest_memory *gm = e->config.memory;
	const uint64_t efr = e->config.features.efr;
	struct amd_command command = {.gpa = gpa};
	uint64_t valid;
	unsigned opcode;
	int ret;

	*opcode_out = 0;
	/* Loaded once: the guest may rewrite the slot at any moment. */
	if (guest_memory_load64(gm, gpa, &command.word[0]) ||
	    guest_memory_load64(gm, gpa + 8, &command.word[1])) {
		*fault = (struct amd_fault){
			.code = AMD_COMMAND_HARDWARE_ERROR,
			.flags = FIELD_PREP(AMD_EVENT_HWTYPE, AMD_TARGET_ABORT),
			.address = gpa,
		};
		return -EFAULT;
	}

	opcode = *opcode_out = FIELD_GET(AMD_COMMAND_OPCODE, command.word[0]);
	valid = commands[opcode].valid[1] | (efr & AMD_EFR_GT_SUP ? commands[opcode].guest : 0);
	if (!commands[opcode].run || commands[opcode].efr & ~efr ||
	    (commands[opcode].iotlb && !e->config.features.iotlb_sup) ||
	    command.word[0] & ~AMD_COMMAND_OPCODE & ~commands[opcode].valid[0] ||
	    command.word[1] & ~valid) {
		*fault = (struct amd_fault){.code = AMD_ILLEGAL_COMMAND_ERROR, .address = gpa};
		return -EINVAL;
	}
	ret = commands[opcode].run(e, &command, fault);
	if (!ret)
		amd_count(&e->counters.command[opcode]);
	return ret;
}

/* The head stays on the command that failed, until software has repaired the ring. */
static void command_stop(struct amd_iommu_engine *e, unsigned opcode, const struct amd_fault *fault)
{
	pthread_mutex_lock(&e->log_lock);
	e->cmd_stopped = true;
	amd_run_update(e);
	pthread_mutex_unlock(&e->log_lock);
	amd_count(&e->counters.command_errors);
	amd_tell_command(e, opcode, fault);
	amd_event_log(e, 0, fault);
}

uint64_t amd_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/*
 * The work is bounded by the ring: the tail is what it was at the doorbell (its writers wait for
 * the lock), both pointers lie inside the ring, and the head only moves towards the tail. But a
 * ring has room for 32,768 commands of which each may have a listener compare all mappings of a
 * device: with a worker, a vCPU is given back in time and what is left goes on there.
 */
static void ring_run(struct amd_iommu_engine *e)
{
	const uint64_t base = amd_reg(e, AMD_REG_CMD_BASE), tail = amd_reg(e, AMD_REG_CMD_TAIL);
	uint64_t head = amd_reg(e, AMD_REG_CMD_HEAD), begin;
	struct amd_fault fault;
	unsigned done = 0, opcode;

	if (!(amd_reg(e, AMD_REG_STATUS) & AMD_STATUS_CMD_BUF_RUN))
		return;
	begin = e->kick && head != tail ? amd_now_ns() : 0;
	while (head != tail) {
		int ret = command_execute(e, (base & AMD_RING_BASE) + head, &opcode, &fault);

		if (ret == -EAGAIN)
			return;
		if (ret) {
			command_stop(e, opcode, &fault);
			return;
		}
		head = (head + AMD_RING_ENTRY) & (amd_ring_bytes(base) - 1);
		amd_reg_store(e, AMD_REG_CMD_HEAD, head);
		if (e->kick && head != tail &&
		    (++done >= AMD_IOMMU_RUN_COMMANDS ||
		     amd_now_ns() - begin >= AMD_IOMMU_RUN_NS)) {
			e->kick(e->worker);
			return;
		}
	}
}

/* Time may have passed for what the ring waits for, and starts to run for what it has begun. */
void amd_command_run(struct amd_iommu_engine *e)
{
	amd_ats_expire(e);
	ring_run(e);
	amd_ats_arm(e);
}
