# SPDX-License-Identifier: Apache-2.0
obj-y += image.o elf.o bzimage.o modules.o boot.o entry.o
obj-$(CONFIG_KERNEL_COMPRESSED) += unpack.o
obj-$(CONFIG_MULTIBOOT) += multiboot.o multiboot_info.o
obj-y += aml.o dsdt.o dsdt_hotplug.o acpi.o ivrs.o
obj-y += fdt.o
obj-y += cpuid.o
