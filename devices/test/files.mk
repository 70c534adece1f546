# SPDX-License-Identifier: Apache-2.0
# In the library always, for the unit tests; in a program only with CONFIG_DMA_TEST or
# CONFIG_VFIO_SOFT, which need it.
obj-y += dma_test.o soft_vfio.o soft_vfio_irqs.o transfer.o
