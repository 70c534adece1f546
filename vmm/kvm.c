// SPDX-License-Identifier: Apache-2.0
/*
 * The virtual machine as KVM sees it: the VM itself, its memory slots and its doorbells.
 *
 * What the host offers is found by asking KVM and by enabling things, never from CPUID: there are
 * KVM implementations without SVM or VMX behind them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/machine.h"

/* Intel only: pages that KVM keeps for real-mode code, between RAM and the firmware's place. */
#define KVM_IDENTITY_MAP UINT64_C(0xfeffc000)
#define KVM_TSS		 UINT64_C(0xfeffd000)

#define PHYS_BITS_FALLBACK 36u
#define CPUID_ENTRIES	   256u

static int check_extension(const struct kvm *kvm, unsigned cap)
{
	int rc = ioctl(kvm->vm >= 0 ? kvm->vm : kvm->fd, KVM_CHECK_EXTENSION, cap);

	return rc < 0 ? 0 : rc;
}

static int enable_cap(struct kvm *kvm, unsigned cap, uint64_t arg)
{
	struct kvm_enable_cap enable = {.cap = cap, .args = {arg}};

	return ioctl(kvm->vm, KVM_ENABLE_CAP, &enable) < 0 ? -errno : 0;
}

/* FD is an open /dev/kvm that somebody passed in, or -1. */
static int open_node(struct kvm *kvm, int fd)
{
	int version, rc;

	kvm->fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm->fd < 0 && fd >= 0) {
		rc = -errno;
		log_error("--kvm fd=%d: %s", fd, strerror(-rc));
		return rc;
	}
	if (kvm->fd < 0) {
		rc = -errno;
		if (rc == -ENOENT || rc == -ENODEV || rc == -ENXIO)
			log_error("cannot open /dev/kvm: %s: enable virtualization in the "
				  "firmware, then run \"modprobe kvm_amd\" (or kvm_intel)",
				  strerror(-rc));
		else if (rc == -EACCES || rc == -EPERM)
			log_error("cannot open /dev/kvm: %s: run \"usermod -aG kvm $USER\" and "
				  "log in again",
				  strerror(-rc));
		else
			log_error("cannot open /dev/kvm: %s", strerror(-rc));
		return rc;
	}
	version = ioctl(kvm->fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION) {
		log_error("/dev/kvm speaks API version %d, needed is %d: this is not Linux KVM",
			  version, KVM_API_VERSION);
		return -EPROTO;
	}
	return 0;
}

static int create_vm(struct kvm *kvm)
{
	int rc;

	/* A signal that arrives while KVM allocates makes it give up with EINTR. */
	do {
		kvm->vm = ioctl(kvm->fd, KVM_CREATE_VM, 0);
	} while (kvm->vm < 0 && errno == EINTR);
	if (kvm->vm >= 0)
		return 0;
	rc = -errno;
	if (rc == -EBUSY)
		log_error("KVM_CREATE_VM: %s: another hypervisor uses the processor's "
			  "virtualization; stop it",
			  strerror(-rc));
	else
		log_error("KVM_CREATE_VM: %s", strerror(-rc));
	return rc;
}

/* What the machine cannot do without. */
static const struct {
	unsigned cap;
	const char *name, *since;
} needed[] = {
	{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY", "2.6.25"},
	{KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID", "2.6.26"},
	{KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE", "2.6.26"},
	{KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP", "4.4"},
	{KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING", "2.6.30"},
	{KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI", "3.5"},
	{KVM_CAP_IRQFD, "KVM_CAP_IRQFD", "2.6.32"},
	{KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD", "2.6.32"},
	{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT", "4.11"},
};

static int require_caps(const struct kvm *kvm)
{
	int rc = 0;

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		if (check_extension(kvm, needed[i].cap))
			continue;
		log_error("KVM of this host lacks %s: it needs Linux %s or later", needed[i].name,
			  needed[i].since);
		rc = -EOPNOTSUPP;
	}
	return rc;
}

static int enable_irqchip(struct kvm *kvm)
{
	int rc = enable_cap(kvm, KVM_CAP_SPLIT_IRQCHIP, IOAPIC_PINS);

	if (rc) {
		log_error("KVM refuses the split irqchip (KVM_CAP_SPLIT_IRQCHIP, %u routes): %s",
			  IOAPIC_PINS, strerror(-rc));
		return rc;
	}
	kvm->split_irqchip = true;
	/* Without it the machine is limited to 8-bit APIC ids, which it has. */
	kvm->x2apic_api =
		check_extension(kvm, KVM_CAP_X2APIC_API) &&
		!enable_cap(kvm, KVM_CAP_X2APIC_API,
			    KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK);
	return 0;
}

static int enable_caps(struct kvm *kvm)
{
	int rc = enable_irqchip(kvm);

	if (rc)
		return rc;
	kvm->signal_msi = kvm->irqfd = kvm->ioeventfd = kvm->immediate_exit = true;
	kvm->tsc_deadline = check_extension(kvm, KVM_CAP_TSC_DEADLINE_TIMER);
	kvm->readonly_mem = check_extension(kvm, KVM_CAP_READONLY_MEM);
	kvm->exit_on_emulation_failure = check_extension(kvm, KVM_CAP_EXIT_ON_EMULATION_FAILURE) &&
					 !enable_cap(kvm, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1);
	kvm->max_routes = (unsigned)check_extension(kvm, KVM_CAP_IRQ_ROUTING);
	kvm->max_cpus = (unsigned)check_extension(kvm, KVM_CAP_MAX_VCPUS);
	if (!kvm->max_cpus)
		kvm->max_cpus = (unsigned)check_extension(kvm, KVM_CAP_NR_VCPUS);
	kvm->max_slots = (unsigned)check_extension(kvm, KVM_CAP_NR_MEMSLOTS);
	if (kvm->max_slots > sizeof(kvm->slots_used) * 8)
		kvm->max_slots = sizeof(kvm->slots_used) * 8;
	return 0;
}

/* Intel processors without unrestricted guest run real mode by tricks that need guest pages. */
static int place_private_pages(struct kvm *kvm)
{
	uint64_t identity = KVM_IDENTITY_MAP;

	if (check_extension(kvm, KVM_CAP_SET_IDENTITY_MAP_ADDR) &&
	    ioctl(kvm->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0) {
		log_error("KVM_SET_IDENTITY_MAP_ADDR: %s", strerror(errno));
		return -errno;
	}
	if (check_extension(kvm, KVM_CAP_SET_TSS_ADDR) &&
	    ioctl(kvm->vm, KVM_SET_TSS_ADDR, KVM_TSS) < 0) {
		log_error("KVM_SET_TSS_ADDR: %s", strerror(errno));
		return -errno;
	}
	return 0;
}

/* Asked once: it costs a CPUID instruction for each leaf, which traps where this host is a guest.
 */
static int read_cpuid(struct kvm *kvm)
{
	int rc = -ENOMEM;

	kvm->cpuid =
		calloc(1, sizeof(*kvm->cpuid) + CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2));
	if (kvm->cpuid) {
		kvm->cpuid->nent = CPUID_ENTRIES;
		rc = ioctl(kvm->fd, KVM_GET_SUPPORTED_CPUID, kvm->cpuid) < 0 ? -errno : 0;
	}
	if (rc)
		log_error("KVM_GET_SUPPORTED_CPUID: %s", strerror(-rc));
	return rc;
}

static unsigned physical_bits(const struct kvm_cpuid2 *cpuid)
{
	unsigned bits = 0;

	for (unsigned i = 0; i < cpuid->nent; i++) {
		if (cpuid->entries[i].function == 0x80000008u)
			bits = cpuid->entries[i].eax & 0xff;
	}
	return bits >= 32 && bits <= 52 ? bits : PHYS_BITS_FALLBACK;
}

int kvm_open_fd(struct kvm *kvm, int fd)
{
	int rc, size;

	memset(kvm, 0, sizeof(*kvm));
	kvm->fd = kvm->vm = -1;
	pthread_mutex_init(&kvm->lock, NULL);
	rc = open_node(kvm, fd);
	if (rc)
		goto fail;
	size = ioctl(kvm->fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (int)sizeof(struct kvm_run)) {
		rc = size < 0 ? -errno : -EPROTO;
		log_error("KVM_GET_VCPU_MMAP_SIZE: %s", strerror(-rc));
		goto fail;
	}
	kvm->run_size = (size_t)size;
	rc = create_vm(kvm);
	if (rc)
		goto fail;
	rc = require_caps(kvm);
	if (rc)
		goto fail;
	rc = enable_caps(kvm);
	if (rc)
		goto fail;
	rc = place_private_pages(kvm);
	if (rc)
		goto fail;
	rc = read_cpuid(kvm);
	if (rc)
		goto fail;
	kvm->phys_bits = physical_bits(kvm->cpuid);
	return 0;
fail:
	kvm_close(kvm);
	return rc;
}

int kvm_open(struct kvm *kvm)
{
	return kvm_open_fd(kvm, -1);
}

void kvm_close(struct kvm *kvm)
{
	if (kvm->vm >= 0)
		close(kvm->vm);
	if (kvm->fd >= 0)
		close(kvm->fd);
	kvm->fd = kvm->vm = -1;
	free(kvm->cpuid);
	kvm->cpuid = NULL;
	pthread_mutex_destroy(&kvm->lock);
}

/* ---- memory slots ---- */

static int set_region(const struct kvm *kvm, unsigned slot, uint64_t gpa, uint64_t size, void *host,
		      bool readonly)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = readonly ? KVM_MEM_READONLY : 0,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)host,
	};

	return ioctl(kvm->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0 ? -errno : 0;
}

static int slot_find_free(const struct kvm *kvm, unsigned *slot)
{
	for (unsigned i = 0; i < kvm->max_slots; i++) {
		if (!(kvm->slots_used[i / 64] & BIT(i % 64))) {
			*slot = i;
			return 0;
		}
	}
	return -ENOSPC;
}

int kvm_memory_add(struct kvm *kvm, uint64_t gpa, uint64_t size, void *host, bool readonly)
{
	uint64_t limit = BIT(kvm->phys_bits);
	unsigned slot;
	int rc;

	if (!size || !is_aligned(gpa | size | (uintptr_t)host, GUEST_PAGE_SIZE) ||
	    !range_fits(gpa, size, limit))
		return -EINVAL;
	if (readonly && !kvm->readonly_mem)
		return -EOPNOTSUPP;
	pthread_mutex_lock(&kvm->lock);
	rc = kvm->windows == ARRAY_SIZE(kvm->window) ? -ENOSPC : slot_find_free(kvm, &slot);
	if (!rc)
		rc = set_region(kvm, slot, gpa, size, host, readonly);
	if (!rc) {
		kvm->slots_used[slot / 64] |= BIT(slot % 64);
		kvm->window[kvm->windows++] =
			(struct kvm_window){.gpa = gpa, .size = size, .slot = slot};
	}
	pthread_mutex_unlock(&kvm->lock);
	return rc;
}

int kvm_memory_remove(struct kvm *kvm, uint64_t gpa)
{
	int rc = -ENOENT;

	pthread_mutex_lock(&kvm->lock);
	for (unsigned i = 0; i < kvm->windows; i++) {
		struct kvm_window *w = &kvm->window[i];

		if (w->gpa != gpa)
			continue;
		rc = set_region(kvm, w->slot, gpa, 0, NULL, false);
		if (!rc) {
			kvm->slots_used[w->slot / 64] &= ~BIT(w->slot % 64);
			*w = kvm->window[--kvm->windows];
		}
		break;
	}
	pthread_mutex_unlock(&kvm->lock);
	return rc;
}

/* ---- struct guest_window ---- */

static struct kvm *window_kvm(struct guest_window *w)
{
	return &container_of(w, struct machine, window)->kvm;
}

static int window_memory_add(struct guest_window *w, uint64_t gpa, uint64_t size, void *host)
{
	return kvm_memory_add(window_kvm(w), gpa, size, host, false);
}

static int window_memory_remove(struct guest_window *w, uint64_t gpa)
{
	return kvm_memory_remove(window_kvm(w), gpa);
}

static int doorbell(struct guest_window *w, uint64_t gpa, unsigned width, int eventfd,
		    unsigned flags)
{
	struct kvm *kvm = window_kvm(w);
	struct kvm_ioeventfd io = {.addr = gpa, .len = width, .fd = eventfd, .flags = flags};

	if (width > 8 || (width && !is_power_of_2(width)))
		return -EINVAL;
	if (!width && !check_extension(kvm, KVM_CAP_IOEVENTFD_ANY_LENGTH))
		return -EOPNOTSUPP;
	return ioctl(kvm->vm, KVM_IOEVENTFD, &io) < 0 ? -errno : 0;
}

static int window_doorbell_add(struct guest_window *w, uint64_t gpa, unsigned width, int eventfd)
{
	return doorbell(w, gpa, width, eventfd, 0);
}

static int window_doorbell_remove(struct guest_window *w, uint64_t gpa, unsigned width, int eventfd)
{
	return doorbell(w, gpa, width, eventfd, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

static int window_trap(struct guest_window *w, struct guest_trap *trap)
{
	return ram_trap_set(container_of(w, struct machine, window), trap);
}

static const struct guest_window_ops window_ops = {
	.memory_add = window_memory_add,
	.memory_remove = window_memory_remove,
	.doorbell_add = window_doorbell_add,
	.doorbell_remove = window_doorbell_remove,
	.trap = window_trap,
};

void kvm_window_init(struct machine *m)
{
	m->window.ops = &window_ops;
}
