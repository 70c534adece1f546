# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# postern's DMA test device through what the guest's kernel has for it: VFIO with iommufd, then
# shared virtual addressing. That driver is the last: it leaves its interrupts behind.
rebind() { # DEVICE DRIVER
	[ ! -e "$1/driver" ] || echo "${1##*/}" >"$1/driver/unbind"
	echo "$2" >"$1/driver_override"
	echo "${1##*/}" >/sys/bus/pci/drivers_probe
}

for device in /sys/bus/pci/devices/*; do
	[ "$(cat "$device/vendor" "$device/device" | tr -d '\n')" = 0x1b360x11fd ] || continue
	rebind "$device" vfio-pci
	dma_test vfio "/dev/vfio/devices/$(ls "$device/vfio-dev")"
	rebind "$device" uio_pci_sva
	dma_test sva "/dev/$(ls "$device/uio")" "$device/pasid" "$device/resource0"
done
