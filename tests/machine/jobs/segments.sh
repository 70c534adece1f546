# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# A disk in each of two PCI segments: where they are, whose IOMMU is in front of them and what kind of
# domain they have, then the disk job on each.
for unit in /sys/class/iommu/*; do
	say "iommu ${unit##*/} of $(basename "$(readlink -f "$unit/device")") has $(cd "$unit/devices" && echo * | tr '\n' ' ')"
done
for disk in $(parameter disks /dev/vda,/dev/nvme0n1 | tr ',' ' '); do
	. /jobs/wait.sh
	device=$(readlink -f "/sys/class/block/${disk##*/}/device")
	until [ -e "$device/iommu_group" ] || [ "$device" = / ]; do
		device=$(dirname "$device")
	done
	group=$(basename "$(readlink "$device/iommu_group" || echo none)")
	say "${disk##*/} is ${device##*/} behind $(basename "$(readlink -f "$device/iommu" || echo none)") type $(cat "/sys/kernel/iommu_groups/$group/type" 2>/dev/null || echo untranslated)"
	mount -t ext4 "$disk" /mnt
	say "${disk##*/} from-host $(sha256sum </mnt/from-host | cut -d' ' -f1)"
	dd if=/dev/urandom of=/mnt/written bs=64k count=16 conv=fsync 2>/dev/null
	say "${disk##*/} written $(sha256sum </mnt/written | cut -d' ' -f1)"
	umount /mnt
done
