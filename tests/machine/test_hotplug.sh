#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Devices that come and go while Linux runs and works with them, through the control socket; pause
# and resume under load; a device that the host wants back.
# In its long form (POSTERN_LONG) each device comes and goes ten times.
cd "$(dirname "$0")/../.." || exit 1
. tests/machine/lib.sh
export POSTERN_SESSION="${POSTERN_SESSION:-default}-hotplug"
rounds=${POSTERN_LONG:+10}
rounds=${rounds:-3}
need_kernel
image=$work/nvme.img
head -c 16777216 /dev/urandom >"$image"
start=$(head -c 1048576 "$image" | sha256sum | cut -d' ' -f1)
export POSTERN_NVME_IMAGE="$image"
start_session --dev nvme --mem 2G
ok "the reference machine starts" $?

comes_and_goes() { # NAME KIND IOMMU
	name=$1
	inside 600 sh tests/machine/hotplug.sh "$O/postern" "$kernel" "$initrd" "$rounds" "$2" "$3"
	ok "$name: all went through" $?
	grep -q "^rounds $rounds" "$work/log" && [ "$(grep -c 'postern-guest: round .* gone' "$work/log")" -ge "$rounds" ]
	ok "$name: comes, and goes in the middle of its work, $rounds times" $?
	[ "$(grep -c 'postern-guest: round .* wrote' "$work/log")" -ge "$rounds" ]
	ok "$name: the guest reads back what it wrote, each time" $?
	# shellcheck disable=SC2046
	set -- "$name" "$2" $(sed -n 's/^descriptors //p' "$work/log")
	[ $((${4:-99} - ${3:-0})) -le 1 ]
	ok "$name: no descriptor is left behind" $?
	! grep -E 'WARNING|BUG:|Oops|Call Trace|AMD-Vi: .*(ERROR|FAULT|timeout)|Firmware Bug' "$work/log"
	ok "$name: no warning in the guest's log" $?
	grep -q '^quits' "$work/log"
	ok "$name: quit" $?
}

for iommu in "" ,iommu=on; do
	comes_and_goes "NVMe${iommu:+, iommu=on}" vfio "$iommu"
	[ "$(grep 'postern-guest: round .* read' "$work/log" | grep -c "$start")" -ge "$rounds" ]
	ok "NVMe${iommu:+, iommu=on}: the guest reads what the host wrote, each time" $?
	grep -q '^given back' "$work/log"
	ok "NVMe${iommu:+, iommu=on}: the host wants it back, and has it while the guest runs on" $?
done
comes_and_goes "virtio disk, iommu=on" disk ,iommu=on
grep -q "^net rounds $rounds" "$work/log" &&
	[ "$(grep -c 'postern-guest: net round .* pings' "$work/log")" = "$rounds" ]
ok "virtio network device, iommu=on: comes, is used, and goes, $rounds times" $?
[ "$(grep -c '^stands' "$work/log")" = "$rounds" ] && [ "$(grep -c '^goes on' "$work/log")" = "$rounds" ]
ok "pause under load: disks stand still, and go on" $?

tests/machine/session stop >/dev/null 2>&1
finish
