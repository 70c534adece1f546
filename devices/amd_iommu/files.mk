# SPDX-License-Identifier: Apache-2.0
obj-y += amd_viommu.o state.o window.o iommufd_port.o
obj-y += hw_port.o hw_start.o hw_devtab.o events.o
