# SPDX-License-Identifier: Apache-2.0
vfio-objs := nodes.o path.o
obj-$(CONFIG_VFIO) += $(vfio-objs)
