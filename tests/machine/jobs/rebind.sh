# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# The disk postern.disk= (ext4, with a file from-host), whose driver comes and goes: unbound and bound
# again, with the IOMMU's default domain of its group changed in between to each of postern.domains=
# (a comma-separated list). Each time the file's sum is said, and a file of its own written.
disk=$(parameter disk /dev/vda)
. /jobs/wait.sh
device=$(readlink -f "/sys/class/block/${disk##*/}/device")
pci=$(basename "$(dirname "$device")")
say "disk $disk is behind $pci"
turn=0
for domain in $(parameter domains DMA,identity,DMA | tr , ' '); do
	turn=$((turn + 1))
	echo "$pci" >"/sys/bus/pci/devices/$pci/driver/unbind"
	[ ! -e "$disk" ]
	echo "$domain" >"/sys/bus/pci/devices/$pci/iommu_group/type"
	echo "$pci" >/sys/bus/pci/drivers/virtio-pci/bind
	. /jobs/wait.sh
	mount -t ext4 "$disk" /mnt
	say "turn $turn type $(cat "/sys/bus/pci/devices/$pci/iommu_group/type") sha256 $(sha256sum </mnt/from-host | cut -d' ' -f1)"
	dd if=/dev/urandom of=/mnt/turn-$turn bs=64k count=16 conv=fsync 2>/dev/null
	say "sha256 turn-$turn $(sha256sum </mnt/turn-$turn | cut -d' ' -f1)"
	umount /mnt
done
say "rebound $turn times"
