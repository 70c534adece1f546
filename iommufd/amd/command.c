// SPDX-License-Identifier: Apache-2.0
/* The command buffer (reference section 5). */
#include <errno.h>
#include <time.h>

#include "iommufd/amd/internal.h"
#include "postern/log.h"

struct amd_command {
	uint64_t word[2];
};

_Static_assert(sizeof(struct amd_command) == AMD_RING_ENTRY, "AMD 48882 section 2.4");

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

static int invalidate_devtab_entry(struct amd_iommu_engine *e, const struct amd_command *command,
				   struct amd_fault *fault)
{
	(void)fault;
	amd_count(&e->counters.invalidations);
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

static int invalidate_interrupt_table(struct amd_iommu_engine *e, const struct amd_command *command,
				      struct amd_fault *fault)
{
	(void)fault;
	amd_count(&e->counters.invalidations);
	amd_listeners_interrupts_changed(e, FIELD_GET(AMD_COMMAND_DEVID, command->word[0]), false);
	return 0;
}

/* Once for each domain in use: what devices share is built anew once. */
void amd_watched_domains_changed(struct amd_iommu_engine *e)
{
	uint16_t domain[AMD_IOMMU_WATCH_MAX];
	unsigned domains = 0;

	for (unsigned i = 0; i < e->watches; i++) {
		struct amd_device_state state;
		unsigned seen = 0;

		amd_iommu_engine_device_state(e, e->watch[i].devid, &state);
		if (!amd_device_has_tables(&state))
			continue;
		while (seen < domains && domain[seen] != state.domain)
			seen++;
		if (seen < domains)
			continue;
		domain[domains++] = state.domain;
		amd_listeners_pages_changed(e, state.domain, 0, ~UINT64_C(0));
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

/*
 * The rest of the 16 opcodes is illegal with the features that an engine can have: no IotlbSup,
 * PreFSup, PPRSup, vIommuSup.
 */
static const struct {
	amd_command_fn *run;
	uint64_t valid[2]; /* bits that are not reserved */
	uint64_t guest;	   /* bits of word 1 that are not reserved with GTSup */
	uint64_t efr;	   /* feature it depends on */
} commands[16] = {
	[AMD_COMPLETION_WAIT] = {completion_wait,
				 {AMD_COMWAIT_STORE | AMD_COMWAIT_INT | AMD_COMWAIT_FLUSH |
					  AMD_COMWAIT_ADDR,
				  ~UINT64_C(0)},
				 0,
				 0},
	[AMD_INVALIDATE_DEVTAB_ENTRY] = {invalidate_devtab_entry, {AMD_COMMAND_DEVID, 0}, 0, 0},
	[AMD_INVALIDATE_IOMMU_PAGES] = {invalidate_iommu_pages,
					{AMD_INV_PAGES_PASID | AMD_INV_PAGES_DOMAIN,
					 AMD_INV_PAGES_S | AMD_INV_PAGES_PDE | AMD_INV_PAGES_ADDR},
					AMD_INV_PAGES_GN,
					0},
	[AMD_INVALIDATE_INTERRUPT_TABLE] = {invalidate_interrupt_table,
					    {AMD_COMMAND_DEVID, 0},
					    0,
					    0},
	[AMD_INVALIDATE_IOMMU_ALL] = {invalidate_iommu_all, {0, 0}, 0, AMD_EFR_IA_SUP},
};

static int command_execute(struct amd_iommu_engine *e, uint64_t gpa, struct amd_fault *fault)
{
	const struct guest_memory *gm = e->config.memory;
	const uint64_t efr = e->config.features.efr;
	struct amd_command command;
	uint64_t valid;
	unsigned opcode;
	int ret;

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

	opcode = FIELD_GET(AMD_COMMAND_OPCODE, command.word[0]);
	valid = commands[opcode].valid[1] | (efr & AMD_EFR_GT_SUP ? commands[opcode].guest : 0);
	if (!commands[opcode].run || commands[opcode].efr & ~efr ||
	    command.word[0] & ~AMD_COMMAND_OPCODE & ~commands[opcode].valid[0] ||
	    command.word[1] & ~valid) {
		*fault = (struct amd_fault){.code = AMD_ILLEGAL_COMMAND_ERROR, .address = gpa};
		return -EINVAL;
	}
	ret = commands[opcode].run(e, &command, fault);
	if (ret != -EAGAIN)
		amd_count(&e->counters.commands);
	return ret;
}

/* The head stays on the command that failed, until software has repaired the ring. */
static void command_stop(struct amd_iommu_engine *e, const struct amd_fault *fault)
{
	pthread_mutex_lock(&e->log_lock);
	e->cmd_stopped = true;
	amd_run_update(e);
	pthread_mutex_unlock(&e->log_lock);
	log_guest("the IOMMU stopped its command buffer on a command it cannot carry out");
	amd_event_log(e, 0, fault);
}

static uint64_t now_ns(void)
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
void amd_command_run(struct amd_iommu_engine *e)
{
	const uint64_t base = amd_reg(e, AMD_REG_CMD_BASE), tail = amd_reg(e, AMD_REG_CMD_TAIL);
	uint64_t head = amd_reg(e, AMD_REG_CMD_HEAD), begin;
	struct amd_fault fault;
	unsigned done = 0;

	if (!(amd_reg(e, AMD_REG_STATUS) & AMD_STATUS_CMD_BUF_RUN))
		return;
	begin = e->kick && head != tail ? now_ns() : 0;
	while (head != tail) {
		int ret = command_execute(e, (base & AMD_RING_BASE) + head, &fault);

		if (ret == -EAGAIN)
			return;
		if (ret) {
			command_stop(e, &fault);
			return;
		}
		head = (head + AMD_RING_ENTRY) & (amd_ring_bytes(base) - 1);
		amd_reg_store(e, AMD_REG_CMD_HEAD, head);
		if (e->kick && head != tail &&
		    (++done >= AMD_IOMMU_RUN_COMMANDS || now_ns() - begin >= AMD_IOMMU_RUN_NS)) {
			e->kick(e->worker);
			return;
		}
	}
}
