#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# As much as there can be: more processors than an 8-bit APIC id can tell apart, each reached by an
# interrupt; PCI segments full of devices, each segment with an IOMMU.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
O=${O:-build}
postern=${POSTERN:-$O/postern}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

reaches() { # CPUS EXTENDED-IDS OPTION...
	cpus=$1 extended=$2
	rm -f "$work/out"
	shift 2
	timeout -s KILL 300 "$postern" run --kernel "$O/tests/payload/cpus.elf" --memory 32M --cpus "$cpus" \
		--serial file="$work/out" "$@" </dev/null >"$work/err" 2>&1
	status=$?
	cat "$work/out" "$work/err"
	[ $status = 0 ] && [ "$(tail -n 1 "$work/out")" = \
		"processors $cpus awake $cpus extended ids $extended interrupted $((cpus - 1)) exactly" ]
}

if [ ! -w /dev/kvm ]; then
	echo "1..0 # SKIP no /dev/kvm that this user may open"
	exit 0
fi
check "3 processors, through the vIOMMU" reaches 3 0 --viommu amd
check "3 processors, no IOMMU" reaches 3 0
check "300 processors, through the vIOMMU" reaches 300 0 --viommu amd
check "300 processors, no IOMMU: extended destination ids" reaches 300 1

# 29 disks in each of SEGMENTS, one image for all: read-only, it may be shared.
truncate -s 1M "$work/disk"
full() { # SEGMENTS
	segments=$1
	set -- --pci-segments "$segments"
	for segment in $(seq 0 $((segments - 1))); do
		set -- "$@" --viommu "amd,segment=$segment"
		for _ in $(seq 29); do
			set -- "$@" --disk "path=$work/disk,readonly=on,iommu=on,segment=$segment"
		done
	done
	reaches 2 0 "$@" || return 1
	# A host bridge and an IOMMU each, and the southbridge.
	head -n 1 "$work/out" | grep -qx \
		"segments $segments functions $((segments * 31 + 1)) iommus $segments"
}
check "29 disks behind a vIOMMU" full 1
check "464 disks behind 16 vIOMMUs in 16 segments" full 16
no_segment() {
	"$postern" run --kernel "$O/tests/payload/cpus.elf" --disk "path=$work/disk,readonly=on,segment=2" \
		--pci-segments 2 2>&1 | grep -q 'no such PCI segment: add --pci-segments 3'
}
check "a segment that does not exist: said, and how to have it" no_segment
too_many() {
	set --
	for _ in $(seq 31); do
		set -- "$@" --disk "path=$work/disk,readonly=on"
	done
	"$postern" run --kernel "$O/tests/payload/cpus.elf" "$@" 2>&1 |
		grep -q 'no free PCI slot in segment 0; --pci-segments adds segments'
}
check "a disk more than a segment has slots: said, and how to have it" too_many
done_testing
