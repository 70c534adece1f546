# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# Several assigned devices at once: the network card and the educational device while the disk works.
disk=$(parameter disk /dev/vda)
. /jobs/wait.sh
sha256sum "$disk" >/tmp/busy &
reader=$!
. /jobs/net.sh
. /jobs/edu.sh
wait $reader
say "disk read while the others worked: $(cut -d' ' -f1 /tmp/busy)"
. /jobs/disk.sh
