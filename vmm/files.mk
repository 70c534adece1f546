# SPDX-License-Identifier: Apache-2.0
obj-y += pci_function.o pci_bar.o pci_msi.o pci_root.o
obj-y += kvm.o memory.o
obj-y += irq.o
obj-y += vcpu.o vcpu_state.o
