# SPDX-License-Identifier: Apache-2.0
obj-y += pci_function.o pci_bar.o pci_msi.o pci_root.o
obj-y += kvm.o memory.o
obj-y += irq.o
obj-y += vcpu.o vcpu_state.o
obj-y += event_loop.o event_loop_poll.o
obj-$(CONFIG_EVENT_LOOP_URING) += event_loop_uring.o
