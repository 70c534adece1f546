// SPDX-License-Identifier: Apache-2.0
/*
 * The guest's device table behind hardware: every write of an entry is seen, and the device moved
 * to the page table that the entry asks for (48882 section 2.2.2).
 *
 * Software writes an entry in 16-byte halves, to enable it the lower half last and to disable it
 * the lower half first, so that a store into the lower half is what puts an entry in force.
 * Older software stores 8 bytes at a time; it invalidates when it is done, and what the last store
 * left is then in force.
 */
#include <errno.h>
#include <string.h>

#include "devices/amd_iommu/hw.h"
#include "iommufd/uapi.h"
#include "postern/log.h"

#define DEVTAB_BASE GENMASK(51, 12)
#define DEVTAB_SIZE GENMASK(8, 0)
#define DTE_SIZE    32u
#define DTE_HALF    16u
/* All devices are on bus 0. */
#define BUS_SIZE (256u * DTE_SIZE)

#define DTE0_V	  BIT(0)
#define DTE0_TV	  BIT(1)
#define DTE0_MODE GENMASK(11, 9)
#define DTE0_GV	  BIT(55)
#define DTE0_PERM GENMASK(62, 61) /* IR, IW */
/* What the kernel takes of a guest's entry (Linux drivers/iommu/amd/nested.c). */
#define DTE0_TAKEN (BIT(52) | BIT(54) | GENMASK(57, 56) | GENMASK(60, 58))
#define DTE1_TAKEN (GENMASK(31, 0) | GENMASK(63, 43))
#define DTE2_TAKEN GENMASK(55, 54)

static uint32_t page_table(const struct hw_port *hw, enum viommu_hw_state state, uint32_t nested)
{
	return state == VIOMMU_HW_NESTED   ? nested
	       : state == VIOMMU_HW_BYPASS ? hw->stage2
					   : hw->closed;
}

/* The new page table takes the place of the old one at one stroke; then that goes. */
int hw_attach(struct hw_port *hw, struct viommu_hw_device *device, enum viommu_hw_state state,
	      const uint64_t dte[4])
{
	struct iommufd_hwpt_args args = {
		.dev_id = device->dev_id,
		.pt_id = hw->viommu,
		.data_type = IOMMU_HWPT_DATA_AMD_GUEST,
		.data_len = sizeof(device->dte),
		.data = dte,
	};
	uint32_t nested = 0;
	int rc = state == VIOMMU_HW_NESTED ? iommufd_hwpt_alloc(hw->ctx, &args, &nested) : 0;

	if (rc)
		return rc;
	rc = device->attach(device, page_table(hw, state, nested));
	if (rc) {
		if (nested)
			iommufd_destroy(hw->ctx, nested);
		return rc;
	}
	atomic_fetch_add_explicit(&hw->attaches, 1, memory_order_relaxed);
	if (nested)
		atomic_fetch_add_explicit(&hw->nested, 1, memory_order_relaxed);
	if (device->nested)
		iommufd_destroy(hw->ctx, device->nested);
	device->nested = nested;
	device->state = state;
	memcpy(device->dte, dte, sizeof(device->dte));
	return 0;
}

static enum viommu_hw_state wanted(const struct hw_port *hw, uint16_t devid, uint64_t dte[4])
{
	const uint64_t at = (uint64_t)devid * DTE_SIZE;

	memset(dte, 0, DTE_SIZE);
	if (!(hw->control & CONTROL_IOMMU_EN))
		return VIOMMU_HW_BYPASS;
	if (!hw->trapped || !range_fits(at, DTE_SIZE, hw->devtab_size))
		return VIOMMU_HW_BLOCKED;
	for (unsigned i = 0; i < 4; i++) {
		if (guest_memory_load64(hw->memory, hw->devtab + at + i * 8, &dte[i]))
			return VIOMMU_HW_BLOCKED;
	}
	if (!(dte[0] & DTE0_V))
		return VIOMMU_HW_BYPASS;
	if (!(dte[0] & DTE0_TV) || !(dte[0] & DTE0_PERM))
		return VIOMMU_HW_BLOCKED;
	if (dte[0] & DTE0_MODE) {
		log_guest(
			"vIOMMU: the guest gives device %#x host (v1) page tables, which hardware "
			"cannot nest: its DMA is refused; boot Linux with amd_iommu=pgtbl_v2",
			devid);
		return VIOMMU_HW_BLOCKED;
	}
	return dte[0] & DTE0_GV ? VIOMMU_HW_NESTED : VIOMMU_HW_BYPASS;
}

static bool same(const struct viommu_hw_device *device, enum viommu_hw_state state,
		 const uint64_t dte[4])
{
	if (state != device->state)
		return false;
	return state != VIOMMU_HW_NESTED ||
	       !((dte[0] ^ device->dte[0]) & DTE0_TAKEN || (dte[1] ^ device->dte[1]) & DTE1_TAKEN ||
		 (dte[2] ^ device->dte[2]) & DTE2_TAKEN);
}

static void follow(struct hw_port *hw, struct viommu_hw_device *device)
{
	uint64_t dte[4];
	enum viommu_hw_state state = wanted(hw, device->devid, dte);
	int rc;

	if (same(device, state, dte))
		return;
	rc = hw_attach(hw, device, state, dte);
	if (!rc)
		return;
	atomic_fetch_add_explicit(&hw->failures, 1, memory_order_relaxed);
	log_guest("vIOMMU: the device table entry of %#x cannot be put in force: %s; the device's "
		  "DMA is refused",
		  device->devid, strerror(-rc));
	rc = device->state == VIOMMU_HW_BLOCKED ? 0 : hw_attach(hw, device, VIOMMU_HW_BLOCKED, dte);
	if (rc)
		log_error_once("vIOMMU: device %#x cannot be detached from what the guest gave it "
			       "before: %s; end the machine",
			       device->devid, strerror(-rc));
}

void hw_devtab_follow(struct hw_port *hw)
{
	for (struct viommu_hw_device *device = hw->devices; device; device = device->next)
		follow(hw, device);
}

/* [gpa, gpa + len) of the table was stored to; only lower halves put anything in force. */
static void stored(struct hw_port *hw, uint64_t gpa, unsigned len)
{
	const uint64_t first = gpa - hw->trap.gpa, last = first + len - 1;

	atomic_fetch_add_explicit(&hw->dte_writes, 1, memory_order_relaxed);
	/* A store that waited while the table moved is one to plain RAM. */
	if (!hw->trapped || gpa < hw->devtab || !range_fits(gpa - hw->devtab, len, hw->devtab_size))
		return;
	for (struct viommu_hw_device *device = hw->devices; device; device = device->next) {
		const uint64_t at = (uint64_t)device->devid * DTE_SIZE;

		if (first < at + DTE_HALF && last >= at)
			follow(hw, device);
	}
}

static void trap_write(struct guest_trap *trap, uint64_t gpa, unsigned width, uint64_t value)
{
	struct hw_port *hw = container_of(trap, struct hw_port, trap);
	void *host = guest_memory_at(hw->memory, gpa, width);

	if (!host)
		return;
	pthread_mutex_lock(&hw->lock);
	/* Whoever reads meanwhile sees all of it or nothing, as of the guest's own store. */
	if (width == 8 && is_aligned(gpa, 8))
		__atomic_store_n((uint64_t *)host, value, __ATOMIC_RELEASE);
	else if (width == 4 && is_aligned(gpa, 4))
		__atomic_store_n((uint32_t *)host, (uint32_t)value, __ATOMIC_RELEASE);
	else
		memcpy(host, &value, width);
	stored(hw, gpa, width);
	pthread_mutex_unlock(&hw->lock);
}

static bool compare_exchange(void *host, uint64_t expected[2], const uint64_t desired[2])
{
	bool stored;

	__asm__ volatile("lock cmpxchg16b %1"
			 : "=@ccz"(stored), "+m"(*(uint64_t(*)[2])host), "+a"(expected[0]),
			   "+d"(expected[1])
			 : "b"(desired[0]), "c"(desired[1])
			 : "memory");
	return stored;
}

static bool trap_cmpxchg16(struct guest_trap *trap, uint64_t gpa, uint64_t expected[2],
			   const uint64_t desired[2])
{
	struct hw_port *hw = container_of(trap, struct hw_port, trap);
	void *host = guest_memory_at(hw->memory, gpa, 16);
	bool done;

	if (!host || !is_aligned((uintptr_t)host, 16))
		return false;
	pthread_mutex_lock(&hw->lock);
	done = compare_exchange(host, expected, desired);
	if (done)
		stored(hw, gpa, 16);
	pthread_mutex_unlock(&hw->lock);
	return done;
}

static void trap_armed(struct guest_trap *trap, int rc)
{
	struct hw_port *hw = container_of(trap, struct hw_port, trap);

	if (rc)
		log_guest(
			"vIOMMU: the device table cannot be where the guest put it: %s; no device "
			"behind it can do DMA",
			strerror(-rc));
	pthread_mutex_lock(&hw->lock);
	hw->trapped = !rc;
	hw_devtab_follow(hw);
	pthread_mutex_unlock(&hw->lock);
}

/* A base register of 0 is a table of one page, at 0. */
static void table_at_reset(struct hw_port *hw)
{
	hw->devtab = 0;
	hw->devtab_size = GUEST_PAGE_SIZE;
}

void hw_devtab_init(struct hw_port *hw)
{
	table_at_reset(hw);
	hw->trap.write = trap_write;
	hw->trap.cmpxchg16 = trap_cmpxchg16;
	hw->trap.armed = trap_armed;
}

/*
 * While the unit is on: with the unit off the table is RAM as any other, and the guest may have
 * given it to something else.
 */
static int arm(struct hw_port *hw)
{
	struct guest_trap *trap = &hw->trap;
	int rc;

	pthread_mutex_lock(&hw->lock);
	trap->gpa = hw->devtab;
	trap->size = hw->devtab_size < BUS_SIZE ? hw->devtab_size : BUS_SIZE;
	pthread_mutex_unlock(&hw->lock);
	rc = guest_window_trap(hw->window, trap);
	if (!rc)
		return 0;
	/* Where there is no RAM the unit finds no entry. */
	trap_armed(trap, rc);
	return rc == -EINVAL ? guest_window_trap(hw->window, NULL) : rc;
}

int hw_devtab_set(struct hw_port *hw, uint64_t value)
{
	const uint64_t base = value & DEVTAB_BASE;
	const uint64_t size = (FIELD_GET(DEVTAB_SIZE, value) + 1) * GUEST_PAGE_SIZE;
	bool on, same_place;

	pthread_mutex_lock(&hw->lock);
	on = hw->control & CONTROL_IOMMU_EN;
	same_place = hw->trapped && base == hw->devtab && size == hw->devtab_size;
	hw->devtab = base;
	hw->devtab_size = size;
	if (on && !same_place) {
		hw->trapped = false;
		/* Until the trap is there nothing is known of the new table's entries. */
		hw_devtab_follow(hw);
	}
	pthread_mutex_unlock(&hw->lock);
	return on && !same_place ? arm(hw) : 0;
}

int hw_devtab_switch(struct hw_port *hw, bool on)
{
	/* Devices go on as they were until the trap is there, and then to what their entries say.
	 */
	if (on)
		return arm(hw);
	pthread_mutex_lock(&hw->lock);
	hw->trapped = false;
	hw_devtab_follow(hw);
	pthread_mutex_unlock(&hw->lock);
	return guest_window_trap(hw->window, NULL);
}

void hw_devtab_reset(struct hw_port *hw)
{
	pthread_mutex_lock(&hw->lock);
	table_at_reset(hw);
	hw->trapped = false;
	hw_devtab_follow(hw);
	pthread_mutex_unlock(&hw->lock);
	guest_window_trap(hw->window, NULL);
}
