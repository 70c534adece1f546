#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# More processors than an 8-bit APIC id can tell apart, each reached by an interrupt.
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
	[ $status = 0 ] && [ "$(cat "$work/out")" = \
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
done_testing
