#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A machine with an assigned device where there is neither one nor /dev/iommu: both are postern's.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
O=${O:-build}
postern=${POSTERN:-$O/tests/payload/postern}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

drives() { # MODE EVENTS OPTION...
	mode=$1 events=$2
	rm -f "$work/out"
	shift 2
	timeout -s KILL 300 "$postern" run --kernel "$O/tests/payload/assigned.elf" --memory 32M \
		--cmdline "mode=$mode" --serial file="$work/out" --iommufd soft --stats "$@" \
		</dev/null >"$work/err" 2>&1
	status=$?
	cat "$work/out" "$work/err"
	[ $status = 0 ] && [ "$(cat "$work/out")" = \
		"moved 7 interrupted 7 waited 1 refused 1 events $events reset 1" ]
}
counted() { # PATTERN of a counter and its value
	cat "$work/err"
	grep -Eq "$1" "$work/err"
}

if [ ! -w /dev/kvm ]; then
	echo "1..0 # SKIP no /dev/kvm that this user may open"
	exit 0
fi
check "beside any vIOMMU" drives 0 0 --vfio soft=dev
check "beside one: iommu=off" drives 0 0 --viommu amd --vfio soft=dev
check "behind the vIOMMU, its tables mirrored" drives 1 0 --viommu amd --vfio soft=dev,iommu=on
check "it has a domain of its own" counted 'vfio\.domains 1$'
check "behind a model of hardware that nests them" drives 2 1 --viommu amd,accel=hwmodel \
	--vfio soft=dev,iommu=on
check "it was attached to a nested table" counted 'viommu\.nested_attaches [1-9]'
check "with the poll loop" drives 1 0 --event-loop poll --viommu amd --vfio soft=dev,iommu=on

refused() { # TEXT OPTION...: status 1 and one line with TEXT
	text=$1
	shift
	timeout -s KILL 60 "$postern" run --kernel "$O/tests/payload/assigned.elf" --memory 32M "$@" \
		</dev/null >"$work/err" 2>&1
	status=$?
	cat "$work/err"
	[ $status = 1 ] && [ "$(wc -l <"$work/err")" = 1 ] && grep -qF -e "$text" "$work/err"
}
check "a device of this host, of which the soft iommufd knows none" refused "kernel's iommufd" \
	--iommufd soft --vfio /sys
check "accel=hw without an assigned device" refused "accel=hw,segment=0: no device is assigned" \
	--viommu amd,accel=hw
check "accel=hw with devices of the soft iommufd" refused "accel=hw,segment=0: --iommufd soft has" \
	--viommu amd,accel=hw --iommufd soft --vfio soft=dev,iommu=on
check "auto says which rung and why not the one above" drives 1 0 --log-level info --viommu amd \
	--vfio soft=dev,iommu=on
check "in one line" [ "$(grep -c 'accel=auto takes soft; not hw: ' "$work/err")" = 1 ]
POSTERN=$postern postern=$O/postern
check "a build without it says so" refused CONFIG_VFIO_SOFT --iommufd soft --vfio soft=dev
done_testing
