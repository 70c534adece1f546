/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine: KVM, RAM, buses, interrupts, vCPUs and devices, assembled from a configuration and
 * run until the guest powers off. Internal to vmm/.
 */
#ifndef POSTERN_MACHINE_H
#define POSTERN_MACHINE_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <linux/kvm.h>

#include "devices/legacy/legacy.h"
#include "guest/guest.h"
#include "iommufd/iommufd.h"
#include "postern/bits.h"
#include "postern/bus.h"
#include "postern/dma_space.h"
#include "postern/event_loop.h"
#include "postern/guest_memory.h"
#include "postern/guest_window.h"
#include "postern/log.h"
#include "postern/msi_sink.h"
#include "postern/pci.h"
#include "postern/section.h"
#include "sandbox/sandbox.h"

#define MACHINE_CPUS_MAX      1024
#define MACHINE_SEGMENTS_MAX  GUEST_SEGMENTS_MAX
#define MACHINE_SLOTS_FREE    30 /* of a segment, for devices */
#define MACHINE_DEVICES_MAX   (MACHINE_SEGMENTS_MAX * MACHINE_SLOTS_FREE)
#define MACHINE_SLOTS	      32u /* of a segment */
#define MACHINE_ID_SIZE	      32u
#define MACHINE_NET_PAIRS_MAX 8
#define MACHINE_SANDBOX_PATHS 16

/* Guest physical address map below 4 GiB; RAM above it starts at 4 GiB. */
#define MACHINE_LOW_RAM_END UINT64_C(0xc0000000)
#define MACHINE_MEM32_BASE  UINT64_C(0xc0000000)
#define MACHINE_MEM32_SIZE  UINT64_C(0x20000000)
#define MACHINE_ECAM_BASE   UINT64_C(0xe0000000)
#define MACHINE_ECAM_BUSES  256u
/* Of segments 1 and up, one bus each; one register window for each segment's IOMMU. */
#define MACHINE_ECAM_OTHERS  UINT64_C(0xf0000000)
#define MACHINE_IOMMU_WINDOW UINT64_C(0xfeb80000)
#define MACHINE_IOMMU_SIZE   UINT64_C(0x4000)
#define MACHINE_HIGH_RAM     UINT64_C(0x100000000)
#define MACHINE_PIO_BASE     0xc000u
#define MACHINE_PIO_SIZE     0x3000u
#define MACHINE_UART_BASE    0x3f8u
#define MACHINE_UART_GSI     4u
#define MACHINE_INTX_GSI     16u
#define MACHINE_INTX_LINES   8u
/*
 * PCI places. The IOMMU comes before what it translates: pci_root_reset() wants it so. 14h is where
 * Linux looks for the chip that owns the IOAPIC (amd_iommu/init.c).
 */
#define MACHINE_SLOT_IOMMU	 1u
#define MACHINE_SLOT_FIRST	 2u
#define MACHINE_SLOT_SOUTHBRIDGE 0x14u
#define MACHINE_IOAPIC_DEVID	 0x00a0u

/* ---- configuration: what the command line and the machine file say ---- */

enum serial_kind { SERIAL_STDIO, SERIAL_FILE, SERIAL_OFF };
enum machine_iommufd { MACHINE_IOMMUFD_KERNEL, MACHINE_IOMMUFD_SOFT };
enum viommu_features { VIOMMU_FEATURES_BASIC, VIOMMU_FEATURES_V2, VIOMMU_FEATURES_FULL };
enum viommu_accel {
	VIOMMU_ACCEL_AUTO,
	VIOMMU_ACCEL_HW,
	VIOMMU_ACCEL_SOFT,
	VIOMMU_ACCEL_FORWARD,
	VIOMMU_ACCEL_HWMODEL,
};

struct device_option;

/* What the options of all devices have; the first member of what each has besides. */
struct device_config {
	struct device_config *next;
	const struct device_option *option;
	char *source; /* file, interface, node or descriptor on the host: what the device shows */
	bool fds;     /* the source is descriptors of this process */
	char *id;
	unsigned segment;
	bool iommu;
};

struct disk_config {
	struct device_config dev;
	bool readonly;
};

struct vfio_config {
	struct device_config dev;
	int fd; /* with dev.fds */
	bool irq_loop;
	bool soft; /* it lives in this process, by the name dev.source */
};

struct viommu_config {
	bool present;
	enum viommu_accel accel;
	enum viommu_features features;
};

struct net_config {
	struct device_config dev;
	int fd[MACHINE_NET_PAIRS_MAX]; /* with dev.fds */
	unsigned pairs;
	uint8_t mac[6];
	bool has_mac;
	uint16_t mtu;
};

struct rng_config {
	struct device_config dev;
	bool file; /* dev.source is one */
	uint64_t rate;
};

struct machine_config {
	char *kernel, *initrd, *cmdline;
	struct guest_module module[GUEST_MODULES_MAX]; /* strings from malloc() */
	unsigned modules;
	uint64_t memory; /* bytes */
	bool hugepages;
	unsigned cpus;
	struct device_config *devices; /* in the order in which they were given */
	unsigned segments;
	struct viommu_config viommu[MACHINE_SEGMENTS_MAX];
	enum machine_iommufd iommufd;
	int iommufd_fd; /* pre-opened /dev/iommu or -1 */
	int kvm_fd;	/* pre-opened /dev/kvm or -1 */
	unsigned viommu_command_nr;
	enum event_loop_kind loop;
	enum serial_kind serial;
	char *serial_path;
	bool guest_fdt;
	bool dma_test, dma_test_iommu;
	bool trace_viommu;
	char *trace_viommu_path; /* NULL: standard error */
	char *ctl_path;		 /* control socket, or NULL */
	int ctl_fd;		 /* the same as a listening descriptor, or -1 */
	bool stats;		 /* print the counters at the end */
	enum sandbox_mode sandbox;
	char *sandbox_path[MACHINE_SANDBOX_PATHS]; /* files of devices that come later */
	unsigned sandbox_paths;
};

/* Whether any segment has a vIOMMU. */
static inline bool machine_config_viommu(const struct machine_config *config)
{
	for (unsigned i = 0; i < config->segments; i++)
		if (config->viommu[i].present)
			return true;
	return false;
}

/* Defaults from Kconfig. */
void machine_config_init(struct machine_config *config);
void machine_config_free(struct machine_config *config);

/* ---- KVM ---- */

struct kvm {
	int fd, vm;
	size_t run_size; /* of a vCPU's shared page area */
	bool split_irqchip, x2apic_api, signal_msi, tsc_deadline, exit_on_emulation_failure;
	bool irqfd, ioeventfd, readonly_mem, immediate_exit;
	/* Messages that nobody remaps name APIC ids of 15 bits: KVM_FEATURE_MSI_EXT_DEST_ID. */
	bool msi_ext_dest_id;
	unsigned max_slots, max_routes, max_cpus;
	unsigned phys_bits;
	struct kvm_cpuid2 *cpuid; /* what KVM_GET_SUPPORTED_CPUID returned */
	uint64_t slots_used[16];  /* bitmap of memory slots in use */
	pthread_mutex_t lock;	  /* slots and windows */
	struct kvm_window {
		uint64_t gpa, size;
		unsigned slot;
	} window[64];
	unsigned windows;
};

/* Open /dev/kvm and create a VM with a split irqchip; every missing thing is said in one line. */
int kvm_open(struct kvm *kvm);
/* The same with FD, a /dev/kvm that is open already and stays so, or -1. */
int kvm_open_fd(struct kvm *kvm, int fd);
void kvm_close(struct kvm *kvm);
int kvm_memory_add(struct kvm *kvm, uint64_t gpa, uint64_t size, void *host, bool readonly);
int kvm_memory_remove(struct kvm *kvm, uint64_t gpa);

/* ---- RAM ---- */

/* Low part below MACHINE_LOW_RAM_END, the rest from 4 GiB; one memfd, mapped shared. */
int memory_new(struct guest_memory *gm, uint64_t size, bool hugepages);
void memory_free(struct guest_memory *gm);

/*
 * The part of RAM that a device traps (struct guest_trap). ACTIVE and where it lies change only
 * while no vCPU is in the guest or in a handler.
 */
struct ram_trap {
	struct guest_trap *wanted; /* pause_lock */
	uint64_t wanted_gpa, wanted_size;
	atomic_bool pending; /* a vCPU must apply it before it goes on */
	struct guest_trap *active;
	uint64_t gpa, size;
};

struct machine;
struct viommu_hw_device;

/* Make RAM memory slots. */
int ram_slots_add(struct machine *m);
/* struct guest_window_ops.trap */
int ram_trap_set(struct machine *m, struct guest_trap *trap);
void ram_trap_apply(struct machine *m);
/* Whether GPA is trapped; then the CMPXCHG16B was done. */
bool ram_trap_cmpxchg16(struct machine *m, uint64_t gpa, uint64_t expected[2],
			const uint64_t desired[2], bool *stored);

/* ---- interrupts ---- */

struct irq_remapper {
	/* As amd_iommu_engine_remap(). */
	int (*remap)(void *opaque, uint16_t devid, const struct msi_msg *in, struct msi_msg *out,
		     bool log);
	void *opaque;
	unsigned segment; /* whose requesters it speaks for */
};

struct irq;

/* A requester of the machine: its PCI segment and, below that, the id that the segment knows. */
static inline uint32_t machine_sbdf(unsigned segment, uint16_t devid)
{
	return (uint32_t)segment << 16 | devid;
}

/* Owns KVM's routing table: GSIs 0..23 are the IOAPIC's pins, the rest message routes. */
int irq_new(struct kvm *kvm, struct irq **irq);
void irq_free(struct irq *irq);
/* Before vCPUs run. */
void irq_set_remapper(struct irq *irq, const struct irq_remapper *remapper);
/* Resolve routes of SBDF (or of all in its segment) anew and hand them to KVM. Any thread. */
void irq_refresh(struct irq *irq, uint32_t sbdf, bool all);
/* A sink for requester SBDF; REMAPPED false for the IOMMU's own messages. Freed by irq_free(). */
int irq_sink_new(struct irq *irq, uint32_t sbdf, bool remapped, struct msi_sink **sink);
/*
 * A message that the IOMMU itself has composed: not remapped, and with bits 31:8 of the destination
 * in bits 63:40 of its address, which no device can name. Errors as msi_sink_send().
 */
int irq_deliver(struct irq *irq, const struct msi_msg *msg);
/* struct ioapic_config.route */
void irq_ioapic_route(void *irq, unsigned pin, const struct msi_msg *msg);
/* Pins whose remapped message has VECTOR, as a bitmap. */
uint32_t irq_pins_of_vector(struct irq *irq, uint8_t vector);
struct irq_stats {
	uint64_t messages, refused, route_updates;
};
void irq_stats(const struct irq *irq, struct irq_stats *stats);

/* ---- vCPUs ---- */

struct hotplug;
struct machine_device;
struct metrics;
struct vcpu_reset_state;

struct vcpu {
	struct machine *machine;
	unsigned index;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	bool started; /* thread exists */
	atomic_bool kick;
	atomic_int tid;			      /* of the running thread, 0: none */
	struct vcpu_reset_state *reset_state; /* as KVM made it */
	uint64_t exits_mmio, exits_pio, exits_other;
};

int vcpu_new(struct machine *m, unsigned index, struct vcpu *vcpu);
void vcpu_free(struct vcpu *vcpu);
/* Put the vCPU into its power-on state; ENTRY for the boot vCPU, NULL for the others. */
int vcpu_reset(struct vcpu *vcpu, const struct guest_entry *entry);
/* A thread for each vCPU of M. 0 or -errno, said. */
int vcpus_start(struct machine *m);
/* Thread body: run until the machine pauses or stops. */
void *vcpu_thread(void *vcpu);
/* Whether this thread is a vCPU's. */
bool vcpu_is_here(void);
/* Make a vCPU leave KVM_RUN and look at m->end and m->pausing. Any thread, signal handlers too. */
void vcpu_kick(struct vcpu *vcpu);

/*
 * Returns when no vCPU is in guest code and none has an instruction half done; they stay so until
 * as many machine_resume_vcpus(). Loop thread, and with no lock held that a bus handler takes. A
 * paused vCPU looks at m->end again when it is resumed.
 */
void machine_pause_vcpus(struct machine *m);
void machine_resume_vcpus(struct machine *m);

/* ---- the machine ---- */

struct amd_iommu_engine;
struct quit;

enum machine_end {
	MACHINE_RUNNING,
	MACHINE_POWER_OFF,
	MACHINE_RESET,
	MACHINE_CRASHED, /* triple fault, emulation failure, KVM error */
	MACHINE_QUIT,	 /* the user asked (Ctrl-A X, second SIGTERM) */
	MACHINE_FAILED,	 /* the monitor itself could not go on */
};

/* Whether KVM here can have as many vCPUs as the configuration wants, and tell them apart. */
int machine_check_cpus(struct machine *m);
/* All files of the command line are open, no file of the guest's has been read, no thread made. */
int machine_sandbox_enter(struct machine *m);
/* The loop's thread, after it has made all others. */
int machine_sandbox_loop(struct machine *m);

/* Make m->window work on m->kvm. */
void kvm_window_init(struct machine *m);

/*
 * A kind of device that the machine can be given. Kconfig chooses which files are linked; each puts
 * its class into the list with DEVICE_CLASS().
 */
struct device_class {
	const char *name;
	/* Whether it makes devices of KIND, an option's name. NULL: of the class's name. */
	bool (*has)(const char *kind);
	unsigned order; /* creation order: a vIOMMU comes before what it translates */
	/* Add what the configuration asks for. 0 or -errno after saying why. */
	int (*create)(struct machine *m);
	/* vCPUs are stopped. In reverse order of creation. */
	void (*destroy)(struct machine *m);
	/* Machine reset, vCPUs stopped, loop running on another thread. May be NULL. */
	void (*reset)(struct machine *m);
	/* Loop thread: begin to finish what is in flight, call machine_drained() when nothing is.
	 * NULL: never has any. */
	void (*drain)(struct machine *m);
	/* Loop thread: serve again after a drain that no reset followed. May be NULL. */
	void (*resume)(struct machine *m);
	/*
	 * Loop thread, the guest may be running. Make and publish one more device of KIND from
	 * OPTIONS, as the option of the command line takes them. 0 or -errno after saying why.
	 * NULL: they do not come and go, and there is no release().
	 */
	int (*add)(struct machine *m, const char *kind, const char *options,
		   struct machine_device **dev);
	/*
	 * Loop thread. The guest has let go of DEV: take it off the bus now, and apart as soon as
	 * nothing is in flight; machine_device_gone() when it is.
	 */
	void (*release)(struct machine *m, struct machine_device *dev);
	/* Loop thread: whether DEV has requests in flight. May be NULL: never has any. */
	bool (*busy)(const struct machine_device *dev);
	/* Loop thread, or the loop has stopped. May be NULL. */
	void (*stats)(struct machine *m, struct metrics *out);
};

/* A device that the user can name. Loop thread. */
struct machine_device {
	struct machine_device *next;
	const struct device_class *class;
	const char *kind;
	char id[MACHINE_ID_SIZE];
	const char *what; /* file or node; the class's */
	unsigned segment;
	uint8_t devfn;
	bool iommu;
	bool asked;   /* the guest was asked to let go of it */
	bool leaving; /* it has, and its class takes the device apart */
};

/* Who is told what comes of requests. */
struct machine_watcher {
	void (*paused)(void *opaque);
	void (*removed)(void *opaque, const char *id);
	void *opaque;
};

#define DEVICE_CLASS(symbol) SECTION_ENTRY(struct device_class, device_classes, symbol)

struct machine {
	struct machine_config *config;
	struct kvm kvm;
	struct guest_memory memory;
	struct dma_identity identity;
	struct bus mmio, pio;
	/* PCI segment groups, config->segments of them. */
	struct machine_segment {
		struct pci_root *root;
		/* Of its vIOMMU, when there is one: it translates for devices with iommu=on. */
		struct amd_iommu_engine *engine;
		bool viommu;	   /* there is one, with an engine of ours or without */
		uint32_t reserved; /* slots that are kept for devices that come later */
		struct iommufd *iommufd_soft;
		uint32_t iommufd_device; /* of an assigned device in iommufd_kernel, or 0 */
		struct msi_sink *slot_sink[MACHINE_SLOTS];
		struct intx_line *slot_line[MACHINE_SLOTS];
	} segment[MACHINE_SEGMENTS_MAX];
	struct irq *irq;
	struct event_loop *loop;
	struct quit *quit;
	struct guest_window window;
	struct ram_trap trap;
	struct ioapic *ioapic;
	struct uart *uart;
	struct acpi_regs *acpi_regs;
	struct vcpu vcpu[MACHINE_CPUS_MAX];
	struct guest_acpi acpi; /* devices add to it (IOMMU) before the tables are built */
	/* Of a machine with vIOMMUs. */
	int (*dma_space_new)(struct machine *m, unsigned segment, uint16_t devid,
			     struct dma_space **ds);
	void (*dma_space_free)(struct dma_space *ds);
	/* Of a vIOMMU that attaches assigned devices itself; else NULL: they follow its tables. */
	int (*viommu_steer)(struct machine *m, unsigned segment, struct viommu_hw_device *device);
	void (*viommu_unsteer)(struct machine *m, unsigned segment,
			       struct viommu_hw_device *device);
	/* May be NULL: iommufd_kernel is about to close. What the vIOMMU has in it goes. */
	void (*viommu_release)(struct machine *m);
	struct iommufd *iommufd_kernel;	       /* of assigned devices: what --iommufd says */
	struct machine_device *devices;	       /* in order of creation */
	const struct machine_watcher *watcher; /* or NULL */
	struct hotplug *hotplug;	       /* NULL: devices stay; set once all are created */
	_Atomic int end;		       /* enum machine_end */
	atomic_uint drains;
	pthread_mutex_t pause_lock;
	pthread_cond_t pause_cond;
	unsigned vcpus_running; /* inside vcpu_thread() */
	unsigned vcpus_paused;
	unsigned pausing; /* how many want them to stand still */
	void *private[8]; /* per device class, index by class order */
};

/* Assemble, run, take apart. Returns the process's exit status. */
int machine_run(struct machine_config *config);
/* What CONFIG asks for must have been compiled in. 0 or -EOPNOTSUPP after saying why. */
int machine_check_classes(const struct machine_config *config);
struct console;
/* The parts that every machine has, and the description of them for the ACPI tables. */
int machine_fixed_new(struct machine *m, struct console **console);
/* Whether vCPU threads must end: for good, not for a reset. */
static inline bool machine_ending(const struct machine *m)
{
	int end = atomic_load(&m->end);

	return end != MACHINE_RUNNING && end != MACHINE_RESET;
}
/*
 * Ask for END; the first wins, save that MACHINE_QUIT and MACHINE_FAILED win over a reset. Whether
 * END is what will come. Any thread, signal handlers included.
 */
bool machine_finish(struct machine *m, enum machine_end end);
/* A class's drain() has finished. Loop thread. */
void machine_drained(struct machine *m);

enum machine_state {
	MACHINE_STATE_RUNNING,
	MACHINE_STATE_PAUSING, /* vCPUs stand still, devices finish what is in flight */
	MACHINE_STATE_PAUSED,
	MACHINE_STATE_RESETTING,
	MACHINE_STATE_ENDING,
	MACHINE_STATES,
};

/* The rest of this part: loop thread. */
enum machine_state machine_state(const struct machine *m);
/*
 * Stop vCPUs and device work until machine_resume(). 0: so it is; -EINPROGRESS: the watcher is told
 * when it is. An assigned device may still write to guest memory: only its driver can stop that.
 */
int machine_pause(struct machine *m);
/* -EBUSY while a pause is under way. */
int machine_resume(struct machine *m);
void machine_metrics(struct machine *m, struct metrics *out);

/* The class of devices of KIND, or NULL where this build has none. */
const struct device_class *machine_device_class(const char *kind);
/*
 * Give DEV its class, its kind, its id (ID, or one of the kind and a number where ID is NULL) and a
 * free slot of SEGMENT. 0 or -errno after saying why.
 */
int machine_device_init(struct machine *m, struct machine_device *dev,
			const struct device_class *class, const char *kind, const char *id,
			unsigned segment, bool iommu);
/* From now on it is found by its id. */
void machine_device_publish(struct machine *m, struct machine_device *dev);
void machine_device_withdraw(struct machine *m, struct machine_device *dev);
struct machine_device *machine_device_find(struct machine *m, const char *id);
/*
 * Hot-plug; loop thread. KIND is an option's name. From -errno on, which has been said, nothing is
 * changed.
 */
int machine_device_add(struct machine *m, const char *kind, const char *options,
		       struct machine_device **dev);
/* Ask the guest to let go of DEV; again if it was asked before. The watcher is told when it is
 * gone. */
int machine_device_ask(struct machine *m, struct machine_device *dev);
/* From a class's release(): the device of that ID is freed, and its files are closed. */
void machine_device_gone(struct machine *m, const char *id);
/* After the devices that the configuration names. */
int machine_hotplug_new(struct machine *m);
void machine_hotplug_free(struct machine *m);
/* The same at DEVFN, which is machine_slot_reserve()'s. */
int machine_device_init_at(struct machine *m, struct machine_device *dev,
			   const struct device_class *class, const char *kind, const char *id,
			   unsigned segment, bool iommu, uint8_t devfn);
/* Keep a free slot of SEGMENT for a device: its devfn, or -ENOSPC. */
int machine_slot_reserve(struct machine *m, unsigned segment);
/* The machine is reset and nothing is in flight. */
void machine_hotplug_reset(struct machine *m);
/* Requests of DEVFN go through the vIOMMU: its tables name it. -ENOSPC. */
int machine_slot_translate(struct machine *m, unsigned segment, uint8_t devfn);
/* Letters, digits, "-", "_" and ".", beginning with a letter, shorter than MACHINE_ID_SIZE. */
bool machine_id_good(const char *id);
/* The end of its interrupt line for the device in SLOT of SEGMENT; as machine_place() one for all
 * times. */
int machine_slot_line(struct machine *m, unsigned segment, unsigned slot, struct intx_line **line);
/*
 * A device's place behind the vIOMMU of its segment or beside it: its view of memory (DS may be
 * NULL) and its message sink. IOMMU asks for translation; the tables that describe the IOMMU then
 * name the device.
 */
int machine_place(struct machine *m, unsigned segment, uint8_t devfn, bool iommu,
		  struct dma_space **ds, struct msi_sink **sink);
void machine_unplace(struct machine *m, struct dma_space *ds, bool iommu);

struct amd_viommu;
struct amd_viommu_config;
/* What the ACPI tables say of SEGMENT's FRONT, which was made from CONFIG: nothing but what it is.
 */
void viommu_describe(const struct amd_viommu *front, const struct amd_viommu_config *config,
		     unsigned segment, struct guest_iommu *iommu);

/* ---- exit codes (documented in postern(1)) ---- */

enum {
	EXIT_POWER_OFF = 0,   /* the guest powered off */
	EXIT_ERROR = 1,	      /* the host could not do what was asked */
	EXIT_USAGE = 2,	      /* bad command line or machine file */
	EXIT_GUEST_CRASH = 3, /* triple fault or another fatal guest state */
	EXIT_KILLED = 4,      /* the user ended the machine */
	EXIT_SANDBOX = 5,     /* a thread made a call that its sandbox does not allow */
};

#endif
