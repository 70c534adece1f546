# SPDX-License-Identifier: Apache-2.0
obj-y += amd/ats.o
obj-y += amd/command.o
obj-y += amd/devtab.o
obj-y += amd/dma.o
obj-y += amd/engine.o
obj-y += amd/event.o
obj-y += amd/guest_walk.o
obj-y += amd/hold.o
obj-y += amd/intremap.o
obj-y += amd/iotlb.o
obj-y += amd/leaves.o
obj-y += amd/register.o
obj-y += amd/state.o
obj-y += amd/walk.o
obj-y += iommufd.o kernel.o probe.o
obj-y += soft.o soft_device.o soft_dirty.o soft_eventq.o soft_hwpt.o soft_ioas.o soft_iova.o
obj-y += soft_viommu.o
