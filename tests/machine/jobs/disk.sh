# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# Read and write an ext4 file system on postern.disk= (made by the host with mkfs.ext4 -d): says the
# sums of the files in its root, then writes 'written' (1 MiB) and says its sum.
disk=${disk:-$(parameter disk /dev/vda)}
. /jobs/wait.sh
say "disk $disk $(cat "/sys/class/block/${disk##*/}/size") sectors"
mount -t ext4 "$disk" /mnt
for file in /mnt/*; do
	[ ! -f "$file" ] || say "sha256 ${file##*/} $(sha256sum <"$file" | cut -d' ' -f1)"
done
dd if=/dev/urandom of=/mnt/written bs=64k count=16 conv=fsync 2>/dev/null
say "sha256 written $(sha256sum </mnt/written | cut -d' ' -f1)"
umount /mnt
say "disk done"
