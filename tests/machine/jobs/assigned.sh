# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# A disk behind the guest's own IOMMU: what the kernel said of it, how the disk is translated, then
# the disk job.
dmesg | grep -i -e AMD-Vi | while read -r line; do
	say "dmesg $line"
done
disk=${disk:-$(parameter disk /dev/nvme0n1)}
. /jobs/wait.sh
device=$(readlink -f "/sys/class/block/${disk##*/}/device")
until [ -e "$device/iommu_group" ] || [ "$device" = / ]; do # a PCI function, some steps up
	device=$(dirname "$device")
done
group=$(readlink "$device/iommu_group" || true)
group=${group##*/}
say "disk ${device##*/} group ${group:-none} type $(cat "/sys/kernel/iommu_groups/$group/type" 2>/dev/null || echo untranslated)"
. /jobs/disk.sh
