# SPDX-License-Identifier: Apache-2.0
vfio-objs := areas.o bars.o chunk_tree.o config.o config_access.o device.o domain.o explain.o host.o intx.o \
	io.o irqs.o loop_sink.o nodes.o notify.o path.o reset.o setup.o shadow.o
obj-$(CONFIG_VFIO) += $(vfio-objs)
