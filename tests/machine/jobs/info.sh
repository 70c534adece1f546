# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# What the guest's kernel has found.
say "cpus $(grep -c '^processor' /proc/cpuinfo)"
say "memory $(sed -n 's/^MemTotal: *//p' /proc/meminfo)"
for device in /sys/bus/pci/devices/*; do
	[ -e "$device" ] || continue
	group=$(readlink "$device/iommu_group" || true)
	driver=$(readlink "$device/driver" || true)
	say "pci ${device##*/} $(cat "$device/vendor"):$(cat "$device/device") group ${group##*/} driver ${driver##*/}"
done
dmesg | grep -i -e AMD-Vi -e iommu | while read -r line; do
	say "dmesg $line"
done
