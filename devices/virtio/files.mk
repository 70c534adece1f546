# SPDX-License-Identifier: Apache-2.0
obj-$(CONFIG_VIRTIO) += virtqueue.o virtio_pci.o virtio_pci_regs.o
obj-$(CONFIG_VIRTIO_BLK) += virtio_blk.o
obj-$(CONFIG_VIRTIO_RNG) += virtio_rng.o
obj-$(CONFIG_VIRTIO_NET) += virtio_net.o virtio_net_rx.o virtio_net_ctrl.o
