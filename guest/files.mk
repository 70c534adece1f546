# SPDX-License-Identifier: Apache-2.0
obj-y += image.o elf.o bzimage.o boot.o entry.o
obj-y += aml.o dsdt.o dsdt_hotplug.o acpi.o ivrs.o
obj-y += fdt.o
obj-y += cpuid.o
