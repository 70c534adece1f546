# SPDX-License-Identifier: Apache-2.0
# In the library always, for the unit tests; in a program only with CONFIG_DMA_TEST, which needs it.
obj-y += dma_test.o transfer.o
