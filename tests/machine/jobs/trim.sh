# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# Fill a part of the file system on /dev/vda, empty it, and give the space back.
disk=/dev/vda
. /jobs/wait.sh
mkdir -p /mnt
mount -t ext4 $disk /mnt
head -c 8388608 /dev/urandom >/mnt/filler
sync
rm /mnt/filler
sync
fstrim /mnt
umount /mnt
say "trimmed"
