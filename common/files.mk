# SPDX-License-Identifier: Apache-2.0
obj-y := log.o dma_space.o bus.o
