# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# What accesses to the IOMMU cost; the kernel has amd_iommu=off and leaves memory at postern.memory= alone.
doorbell "$(parameter memory 0xc000000)"
