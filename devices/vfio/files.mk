# SPDX-License-Identifier: Apache-2.0
vfio-objs := nodes.o path.o
vfio-objs := chunk_tree.o domain.o nodes.o path.o shadow.o
vfio-objs := bars.o chunk_tree.o config.o config_access.o device.o domain.o host.o io.o irqs.o \
vfio-objs := areas.o bars.o chunk_tree.o config.o config_access.o device.o domain.o host.o io.o irqs.o \
	nodes.o path.o shadow.o
obj-$(CONFIG_VFIO) += $(vfio-objs)
