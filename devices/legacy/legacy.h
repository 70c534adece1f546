/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few fixed parts of a PC that a microVM still has: UART, IOAPIC, and the ACPI registers.
 */
#ifndef POSTERN_LEGACY_H
#define POSTERN_LEGACY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "postern/bus.h"
#include "postern/intx_line.h"
#include "postern/msi_sink.h"

/* ---- 16550A (National Semiconductor PC16550D data sheet) ---- */

struct uart;

struct uart_config {
	struct bus *pio;
	uint16_t base; /* 3F8h */
	/* Interrupt line, level: called with the UART's lock held; must not call back into it. */
	void (*irq)(void *opaque, bool level);
	/* Bytes the guest sent, already out of any lock. */
	void (*output)(void *opaque, const uint8_t *bytes, size_t len);
	/* Room in the receive FIFO appeared after uart_input() had refused bytes. May be NULL. */
	void (*room)(void *opaque);
	void *opaque;
};

int uart_new(const struct uart_config *config, struct uart **uart);
void uart_free(struct uart *uart);
void uart_reset(struct uart *uart);
/* Offer bytes to the guest; returns how many were taken. Any thread. */
size_t uart_input(struct uart *uart, const uint8_t *bytes, size_t len);

/* ---- IOAPIC (Intel 82093AA, version 20h with EOI register), MMIO FEC00000h ---- */

#define IOAPIC_PINS 24u
#define IOAPIC_BASE UINT64_C(0xfec00000)

struct ioapic;

struct ioapic_config {
	struct bus *mmio;
	uint64_t base;
	uint8_t id;
	struct msi_sink *sink; /* messages leave as the IOAPIC's requester id */
	/*
	 * The message that PIN would send now changed (NULL: masked): the monitor keeps KVM's
	 * routing table for EOI exits by it. Called with no lock held.
	 */
	void (*route)(void *opaque, unsigned pin, const struct msi_msg *msg);
	void *opaque;
};

int ioapic_new(const struct ioapic_config *config, struct ioapic **ioapic);
void ioapic_free(struct ioapic *ioapic);
void ioapic_reset(struct ioapic *ioapic);
/* Level of an input pin. Any thread. Edge pins send on a rise. */
void ioapic_set_irq(struct ioapic *ioapic, unsigned pin, bool level);
/*
 * A device's end of the line at PIN, which ioapic_set_irq() then leaves alone. vCPUs stopped; freed
 * by ioapic_free(). -EINVAL, -ENOMEM.
 */
int ioapic_line_new(struct ioapic *ioapic, unsigned pin, struct intx_line **line);
/*
 * End of interrupt, by the pin (KVM_EXIT_IOAPIC_EOI gives a vector; the monitor, which knows the
 * remapped vector of each pin, calls this for every pin that matches). Resends while still
 * asserted.
 */
void ioapic_eoi_pin(struct ioapic *ioapic, unsigned pin);
/* The message PIN would send, before remapping; false while masked. */
bool ioapic_pin_message(struct ioapic *ioapic, unsigned pin, struct msi_msg *msg);

/* ---- ACPI hardware-reduced registers: sleep control/status, reset, power button ---- */

#define ACPI_REGS_BASE	 0x600u /* +0 sleep control, +1 sleep status, +2 reset */
#define ACPI_GED_PIN	 9u
#define ACPI_SLP_S5	 5u
#define ACPI_RESET_VALUE 1u

struct acpi_regs;

struct acpi_regs_config {
	struct bus *pio;
	/* Called on the vCPU thread that wrote the register. */
	void (*power_off)(void *opaque);
	void (*reset)(void *opaque);
	/* Edge on the GED's pin: press of the power button. */
	void (*irq)(void *opaque);
	void *opaque;
};

int acpi_regs_new(const struct acpi_regs_config *config, struct acpi_regs **regs);
void acpi_regs_free(struct acpi_regs *regs);
/* Machine reset. */
void acpi_regs_reset(struct acpi_regs *regs);
/* Any thread. */
void acpi_regs_power_button(struct acpi_regs *regs);

/* ---- PCI hot-plug as the guest's AML sees it: a bit a slot of a segment's bus 0 ---- */

#define PCI_HOTPLUG_BASE	 0x610u
#define PCI_HOTPLUG_SIZE	 12u /* of a segment's registers; one behind the other */
#define PCI_HOTPLUG_PIN		 10u
#define PCI_HOTPLUG_SEGMENTS_MAX 16u

/* Registers of 32 bits, of each segment. */
enum {
	PCI_HOTPLUG_UP = 0,    /* slots that were filled; reading clears */
	PCI_HOTPLUG_DOWN = 4,  /* slots that the host wants emptied; reading clears */
	PCI_HOTPLUG_EJECT = 8, /* writing 1: the guest has let go */
};

struct pci_hotplug;

struct pci_hotplug_config {
	struct bus *pio;
	unsigned segments;
	/* Level of the pin; called with a lock held that the functions below take. */
	void (*irq)(void *opaque, bool level);
	/* Called on the vCPU thread that wrote the register. */
	void (*eject)(void *opaque, unsigned segment, uint32_t slots);
	void *opaque;
};

int pci_hotplug_new(const struct pci_hotplug_config *config, struct pci_hotplug **hp);
void pci_hotplug_free(struct pci_hotplug *hp);
/* Forget what the guest has not read. */
void pci_hotplug_reset(struct pci_hotplug *hp);
/* SLOT was filled (UP), or is to be emptied. Any thread. */
void pci_hotplug_notify(struct pci_hotplug *hp, unsigned segment, unsigned slot, bool up);

#endif
