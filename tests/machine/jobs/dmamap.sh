# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# The kernel's benchmark of DMA mappings on the function with the ids postern.function=VENDOR:DEVICE,
# which loses its driver.
wanted=$(parameter function 0x1af4:0x1042)
for device in /sys/bus/pci/devices/*; do
	[ "$(cat "$device/vendor"):$(cat "$device/device")" != "$wanted" ] || break
done
say "dmamap on $(basename "$device") type $(cat "$device/iommu_group/type" 2>/dev/null || echo untranslated)"
echo dma_map_benchmark >"$device/driver_override"
[ ! -e "$device/driver" ] || basename "$device" >"$device/driver/unbind"
basename "$device" >/sys/bus/pci/drivers_probe
mount -t debugfs debugfs /sys/kernel/debug
dmamap "$(parameter seconds 1)"
