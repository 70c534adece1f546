# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# The educational device: its registers; and, where the guest has an IOMMU, all of it through the
# guest's own VFIO and iommufd.
for device in /sys/bus/pci/devices/*; do
	[ "$(cat "$device/vendor" "$device/device" | tr -d '\n')" = 0x12340x11e8 ] || continue
	if [ -e "$device/iommu_group" ]; then
		say "edu group $(cat "$device/iommu_group/type")"
		echo vfio-pci >"$device/driver_override"
		echo "${device##*/}" >/sys/bus/pci/drivers_probe
		edu "/dev/vfio/devices/$(ls "$device/vfio-dev")"
	else
		echo 1 >"$device/enable"
		edu "$device/resource0"
	fi
done
