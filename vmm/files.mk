# SPDX-License-Identifier: Apache-2.0
# main.o is linked by itself, so that tests can have all the rest.
obj-y += kvm.o memory.o irq.o vcpu.o vcpu_state.o
obj-y += pci_function.o pci_bar.o pci_msi.o pci_root.o
obj-y += event_loop.o event_loop_poll.o
obj-$(CONFIG_EVENT_LOOP_URING) += event_loop_uring.o
