# SPDX-License-Identifier: Apache-2.0
obj-$(CONFIG_VIRTIO_BLK) += virtqueue.o virtio_pci.o virtio_pci_regs.o virtio_blk.o
