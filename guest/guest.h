/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All that the guest finds at power-on: the kernel and how it is entered, the memory map, ACPI
 * tables, the flattened device tree, CPUID.
 *
 * Everything here runs once, before the first vCPU, on one thread. Kernel and initrd files are not
 * trusted: every length and offset in them is judged, and a bad file gets one clear line (log_error
 * with the file's name) and -ENOEXEC, -EINVAL, -E2BIG or -EFBIG.
 */
#ifndef POSTERN_GUEST_H
#define POSTERN_GUEST_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "postern/guest_memory.h"

/* Fixed places in low memory. */
#define GUEST_GDT	   UINT64_C(0x500)
#define GUEST_PVH_INFO	   UINT64_C(0x6000)
#define GUEST_BOOT_PARAMS  UINT64_C(0x7000)
#define GUEST_PAGE_TABLES  UINT64_C(0x9000) /* 3 pages and more: identity map of the low 4 GiB */
#define GUEST_CMDLINE	   UINT64_C(0x20000)
#define GUEST_CMDLINE_MAX  4096u
#define GUEST_MODULES	   UINT64_C(0x30000) /* PVH module list, Multiboot information */
#define GUEST_MODULES_SIZE UINT64_C(0x50000)
#define GUEST_RSDP	   UINT64_C(0xe0000) /* tables follow, up to the 1 MiB line */
#define GUEST_HIGH	   UINT64_C(0x100000)

struct guest_e820_entry {
	uint64_t addr, size;
	uint32_t type; /* 1 RAM, 2 reserved, 3 ACPI */
};

#define GUEST_E820_MAX 32

/* A file that the kernel finds in memory beside itself. */
struct guest_module {
	const char *path;
	const char *cmdline; /* or NULL */
};

#define GUEST_MODULES_MAX 32

enum guest_file {
	GUEST_FILE_KERNEL,
	GUEST_FILE_INITRD,
	GUEST_FILE_MODULE, /* the first */
	GUEST_FILES_MAX = GUEST_FILE_MODULE + GUEST_MODULES_MAX,
};

struct guest_boot {
	const struct guest_memory *memory;
	const char *kernel;  /* path */
	const char *initrd;  /* path or NULL */
	const char *cmdline; /* never NULL */
	const struct guest_module *module;
	unsigned modules; /* at most GUEST_MODULES_MAX */
	const void *fdt;  /* passed by setup_data, or NULL */
	uint32_t fdt_size;
	/*
	 * The files, open, by enum guest_file: who can open none any more loads them again at each
	 * reset. Without OPENED they are opened by their paths at each load.
	 */
	bool opened;
	int fd[GUEST_FILES_MAX]; /* -1: there is none */
	bool map_files; /* map file pages over guest RAM where alignment allows, else read() them */
	/* Reserved holes that are not RAM and that the e820 map must name (ECAM, windows). */
	struct guest_e820_entry reserved[8];
	unsigned reserved_count;
};

enum guest_protocol { GUEST_PVH, GUEST_LINUX64, GUEST_MULTIBOOT1, GUEST_MULTIBOOT2 };

/* How the first vCPU starts; the others wait for INIT and SIPI. */
struct guest_entry {
	enum guest_protocol protocol;
	uint64_t rip;
	uint64_t argument; /* PVH, Multiboot: what EBX points to; Linux: RSI */
};

/* Open the files, for all loads to come. 0 or -errno after saying why. */
int guest_boot_open(struct guest_boot *boot);
/* Also where they have not been opened. */
void guest_boot_close(struct guest_boot *boot);
/* Load kernel, initrd, command line, memory map; ENTRY says how to start. */
int guest_boot_load(const struct guest_boot *boot, struct guest_entry *entry);
/* Registers of the boot vCPU (segments, control registers, GDT in guest memory). */
int guest_entry_registers(const struct guest_entry *entry, const struct guest_memory *memory,
			  struct kvm_sregs *sregs, struct kvm_regs *regs);

/* ---- ACPI (6.4, hardware-reduced) ---- */

#define GUEST_IOMMU_DEVICES 256

/* An AMD IOMMU, or present = false. */
struct guest_iommu {
	bool present;
	uint16_t devid;
	uint16_t capability;
	uint64_t window;
	uint64_t window_size;
	uint64_t efr, efr2;
	bool iotlb_sup;
	uint16_t ioapic_devid; /* 00A0h; 0 where the IOAPIC is not behind it */
	bool no_host_tables;   /* HATDis: there are guest (v2) tables only */
	uint8_t physical_bits, virtual_bits;
	/* Requester ids of the devices behind it; none named: every device there is. */
	uint16_t device[GUEST_IOMMU_DEVICES];
	unsigned device_count;
};

/* A PCI segment group: one root bridge with buses from 0 on, and the IOMMU behind which they are.
 */
struct guest_segment {
	uint64_t ecam_base;
	unsigned buses;
	uint64_t mem32_base, mem32_size, mem64_base, mem64_size;
	uint16_t io_base, io_size; /* PCI I/O window */
	/* Slots of bus 0 that can be filled and emptied while the guest runs, a bit each. */
	uint32_t hotplug_slots;
	struct guest_iommu iommu;
};

#define GUEST_SEGMENTS_MAX 16

struct guest_acpi {
	const struct guest_memory *memory;
	unsigned cpus;
	struct guest_segment segment[GUEST_SEGMENTS_MAX]; /* by its number */
	unsigned segments;
	uint64_t ioapic_base;
	uint8_t ioapic_id;
	unsigned uart_gsi; /* 0: no UART */
	uint16_t uart_base;
	uint16_t acpi_regs_base;
	unsigned ged_gsi;
	/* INTA of PCI slot N is GSI intx_gsi + N % intx_lines; no lines: no INTx. */
	unsigned intx_gsi, intx_lines;
	uint8_t sleep_type_s5, reset_value;
	/* Hot-plug registers (devices/legacy/), those of all segments; no gsi: there are none. */
	struct {
		uint16_t base;
		unsigned gsi;
	} hotplug;
};

static inline unsigned guest_intx_gsi(const struct guest_acpi *acpi, unsigned slot)
{
	return acpi->intx_gsi + slot % acpi->intx_lines;
}

static inline bool guest_acpi_has_iommu(const struct guest_acpi *acpi)
{
	for (unsigned i = 0; i < acpi->segments; i++)
		if (acpi->segment[i].iommu.present)
			return true;
	return false;
}

/* Build RSDP, XSDT, FADT, MADT, MCFG, DSDT and, with an IOMMU, IVRS at GUEST_RSDP. -E2BIG. */
int guest_acpi_build(const struct guest_acpi *acpi);

/* ---- FDT for the guest ---- */

struct guest_fdt {
	const struct guest_memory *memory;
	const char *cmdline;
	unsigned cpus;
	uint16_t uart_base;
};

/* BLOB is malloc()ed; the caller frees it. */
int guest_fdt_build(const struct guest_fdt *fdt, void **blob, uint32_t *size);

/* ---- CPUID ---- */

struct guest_cpuid {
	unsigned cpu, cpus; /* this vCPU's index (= APIC id) and how many there are */
	bool tsc_deadline;  /* KVM_CAP_TSC_DEADLINE_TIMER */
	bool x2apic;
	bool msi_ext_dest_id; /* KVM_FEATURE_MSI_EXT_DEST_ID may be offered (no remapping) */
	uint32_t tsc_khz;     /* 0: unknown */
};

/*
 * Turn what KVM_GET_SUPPORTED_CPUID returned (in CPUID, room for CPUID->nent more entries being the
 * caller's affair: MAX entries in all) into what this vCPU shows: topology, hypervisor leaves.
 */
int guest_cpuid_filter(struct kvm_cpuid2 *cpuid, unsigned max, const struct guest_cpuid *want);

#endif
