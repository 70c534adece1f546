# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# Write with fsync, reset without unmounting, and verify after the reset that all is there.
disk=$(parameter disk /dev/vda)
. /jobs/wait.sh
mount -t ext4 "$disk" /mnt
if [ ! -f /mnt/kept ]; then
	dd if=/dev/urandom of=/mnt/kept bs=64k count=32 conv=fsync 2>/dev/null
	sha256sum </mnt/kept | dd of=/mnt/kept.sum conv=fsync 2>/dev/null
	say "first boot wrote $(cut -d' ' -f1 /mnt/kept.sum)"
	reboot -f
	sleep 60
fi
if [ "$(sha256sum </mnt/kept)" = "$(cat /mnt/kept.sum)" ]; then
	say "second boot verified $(cut -d' ' -f1 /mnt/kept.sum)"
else
	say "second boot found other data"
fi
umount /mnt
