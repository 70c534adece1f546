#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The kernel's own tests of iommufd (tools/testing/selftests/iommu) on the patched kernel, those of the
# patches in iommufd/linux among them.
cd "$(dirname "$0")/../.." || exit 1
. tests/machine/lib.sh
export POSTERN_SESSION="${POSTERN_SESSION:-default}-selftest"
need_kernel
if [ ! -x "$kernel/kselftest/iommufd_viommu_command" ]; then
	skip "the kernel's tests of iommufd" "this kernel is too old for the patches in iommufd/linux"
	finish
	exit 0
fi
tests/machine/session start --mem 3G >"$work/log" 2>&1
ok "the reference machine starts" $?

# Some of them want 2 MiB pages.
inside 60 sh -c 'n=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages; echo 512 >$n && [ "$(cat $n)" = 512 ]'
ok "there are huge pages" $?

suite() { # PROGRAM LEAST
	inside 600 "$kernel/kselftest/$1"
	status=$?
	passed=$(sed -n 's/^# Totals: pass:\([0-9]*\) fail:0 .*error:0$/\1/p' "$work/log")
	[ $status = 0 ] && [ "${passed:-0}" -ge "$2" ]
	ok "$1: ${passed:-not all} tests pass, $2 or more" $?
}

# That many there are: a program that found nothing to test would pass too.
suite iommufd_viommu_command 15
suite iommufd 230
suite iommufd_fail_nth 8

inside 60 sh -c 'dmesg | grep -E "WARNING|BUG:|Oops|Call Trace|KASAN|refcount_t"'
ok "the kernel complains of nothing" $((!$?))
tests/machine/session stop
finish
