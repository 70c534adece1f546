# SPDX-License-Identifier: Apache-2.0
# main.o is linked by itself, so that tests can have all the rest.
obj-y += machine.o machine_check.o machine_config.o machine_device.o machine_fixed.o machine_sandbox.o quit.o hotplug.o json.o metrics.o console.o options.o options_run.o options_device.o options_net.o cmd_run.o
obj-y += kvm.o memory.o irq.o vcpu.o vcpu_state.o
obj-y += insn.o ram_trap.o
obj-y += pci_function.o pci_bar.o pci_msi.o pci_root.o
obj-y += event_loop.o event_loop_poll.o
obj-$(CONFIG_EVENT_LOOP_URING) += event_loop_uring.o
obj-$(CONFIG_MACHINE_FILE) += config_fdt.o
ifneq ($(CONFIG_MACHINE_FILE),y)
obj-y += config_fdt_absent.o
endif
obj-$(CONFIG_VIRTIO) += virtio_device.o
obj-$(CONFIG_VIRTIO_BLK) += dev_disk.o
obj-$(CONFIG_CTL) += ctl.o ctl_commands.o ctl_machine.o cmd_ctl.o
obj-$(CONFIG_SYSTEMD) += service.o
obj-$(CONFIG_VIRTIO_NET) += dev_net.o
obj-$(CONFIG_VIRTIO_RNG) += dev_rng.o
obj-$(CONFIG_VFIO) += dev_vfio.o
obj-$(CONFIG_VFIO_SOFT) += dev_vfio_soft.o
obj-y += viommu_trace.o
obj-$(CONFIG_DMA_TEST) += dev_dma_test.o
obj-$(CONFIG_AMD_IOMMU) += dev_viommu.o viommu_forward.o
obj-$(CONFIG_AMD_IOMMU) += dev_viommu_hwmodel.o viommu_ladder.o viommu_stats.o
ifeq ($(CONFIG_VFIO),y)
obj-$(CONFIG_AMD_IOMMU) += viommu_hw.o
else
obj-$(CONFIG_AMD_IOMMU) += viommu_hw_absent.o
endif
ifeq ($(CONFIG_DOCTOR),y)
obj-y += cmd_doctor.o doctor_host.o
obj-$(CONFIG_VFIO) += doctor_vfio.o
obj-$(CONFIG_SANDBOX) += doctor_sandbox.o
endif
