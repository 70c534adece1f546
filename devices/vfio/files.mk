# SPDX-License-Identifier: Apache-2.0
vfio-objs := nodes.o path.o
vfio-objs := chunk_tree.o domain.o nodes.o path.o shadow.o
obj-$(CONFIG_VFIO) += $(vfio-objs)
