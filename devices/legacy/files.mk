# SPDX-License-Identifier: Apache-2.0
obj-y += uart.o ioapic.o acpi_regs.o pci_hotplug.o
