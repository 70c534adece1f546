#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The iommufd conformance table against the kernel of the reference machine: the soft transport, which
# passes the same table in the unit tests, and /dev/iommu are held equal. VIOMMU_COMMAND is that of the
# patches in iommufd/linux, on the vIOMMU of a real device.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
O=${O:-build}
table=$O/tests/unit/test_iommufd_conformance
events=$O/tests/unit/test_viommu_events
session=tests/machine/session
export POSTERN_SESSION="${POSTERN_SESSION:-default}-iommufd"
trap '$session stop' EXIT

kernel=$(tests/machine/kernel) || exit 1
nr=$(sed -n 's/^CONFIG_IOMMUFD_VIOMMU_COMMAND_NR=//p' "$kernel/config")
node=${nr:+/dev/vfio/devices/vfio0}

# A table that is skipped, because a node is missing, passes too: so it must say that it ran.
run_table() { # TRANSPORT
	$session exec -t 120 -- env POSTERN_TEST_IOMMU="$1" ${nr:+POSTERN_TEST_VFIO="$node"} \
		${nr:+POSTERN_TEST_COMMAND_NR="$nr"} "$table" --verbose=1 --tap=- </dev/null |
		grep "^ok - iommufd_conformance::$1\\b" | grep -v SKIP
}

# The mock vIOMMU of the kernel's own tests reports; the event loop reads.
run_events() {
	$session exec -t 120 -- env POSTERN_TEST_IOMMU=kernel "$events" --filter "*/kernel" \
		--verbose=1 --tap=- </dev/null | grep -E '^ok - (uring|poll)::kernel\b' | grep -vc SKIP
}

check "the reference machine starts" $session start --dev edu
check "/dev/iommu is there" $session exec -t 60 -- test -c /dev/iommu
[ -z "$nr" ] || check "it permits vIOMMUs without hardware" \
	$session exec -t 60 -- sh -c 'echo Y >/sys/module/amd_iommu/parameters/viommu_store'
check "the table holds for /dev/iommu" run_table kernel
check "the table holds for the soft transport there" run_table soft
is "events of the kernel's mock vIOMMU arrive, and the lost are counted" "$(run_events)" 2
done_testing
