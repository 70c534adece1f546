#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016 # what is quoted is expanded inside
# The reference machine itself: what the tests that run in it rely on.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
session=tests/machine/session
export POSTERN_SESSION="${POSTERN_SESSION:-default}-machine"
work=$(mktemp -d)
trap '$session stop; rm -rf "$work"' EXIT

status() { # CMD...: its exit status
	"$@" >/dev/null 2>"$work/errors" </dev/null
	echo $?
}

inside() {
	$session exec -t 60 -- "$@" </dev/null
}

check "a machine with devices starts" $session start --dev nvme --dev e1000e --dev edu
is "each device is vfio-pci's" "$(inside ls /dev/vfio/devices | tr '\n' ' ')" "vfio0 vfio1 vfio2 "
is "the addresses are told" \
	"$(inside sh -c 'echo $POSTERN_BDF_NVME $POSTERN_BDF_E1000E $POSTERN_BDF_EDU')" \
	"0000:00:10.0 0000:00:11.0 0000:00:12.0"
check "each device has an IOMMU group of its own" inside sh -c '
	for d in $POSTERN_BDF_NVME $POSTERN_BDF_E1000E $POSTERN_BDF_EDU; do
		ls /sys/bus/pci/devices/$d/iommu_group/devices | grep -qvxF $d && exit 1
	done; true'
check "KVM is there" inside test -c /dev/kvm
# A clock of the wrong rate (18 times the host's was seen) makes every guest late for its timers.
khz=$(cd tests/machine && python3 -Bc 'import machine; print(machine.tsc_khz())')
if [ "$khz" = 0 ]; then
	skip "the clock has the host's rate" "KVM does not tell the rate of the time-stamp counter"
else
	is "the clock has the host's rate" \
		"$(inside sh -c 'dmesg | grep -o "tsc: Detected [0-9.]* MHz" | tail -n 1')" \
		"tsc: Detected $((khz / 1000)).$(printf %03d $((khz % 1000))) MHz"
fi
check "iommufd is there" inside test -c /dev/iommu
is "the working directory is the tree" "$(inside pwd)" "$(pwd -P)"
is "the host's files cannot be written" "$(status inside touch tests/machine/written)" 1

check "the session's scratch directory is known" $session scratch
scratch=$($session scratch)
inside sh -c 'echo there and back >"$POSTERN_SCRATCH/result"'
is "a result comes back" "$(cat "$scratch/result")" "there and back"

is "an exit status comes back" "$(status inside sh -c 'exit 77')" 77
is "a signal's status is 128+n" "$(status inside sh -c 'kill -SEGV $$')" 139
is "a missing command's status is 127" "$(status inside /nonexistent)" 127
is "124 of a command's own is not a time-out" "$(status inside sh -c 'exit 124')" 124
is "and the machine is still the same" "$(inside cat /tmp/mark 2>&1; inside sh -c 'echo x >/tmp/mark')" \
	"cat: /tmp/mark: No such file or directory"
is "standard output and error are apart" "$(inside sh -c 'echo out; echo err >&2' 2>/dev/null)" out
head -c 2000000 /dev/urandom >"$work/bytes"
$session exec -t 60 -- cat <"$work/bytes" >"$work/copy"
check "two megabytes pass both ways unchanged" cmp "$work/bytes" "$work/copy"
is "unread input holds nothing up" "$($session exec -t 60 -- true <"$work/bytes"; echo $?)" 0
inside sh -c 'sleep 1000 & sleep 1000 &'
is "what a command leaves behind is gone" "$(status inside pidof sleep)" 1

is "one session serves both commands" "$(inside cat /tmp/mark)" x
is "a crash is status 125" "$(status inside sh -c 'echo c >/proc/sysrq-trigger; sleep 1000')" 125
check "and its last words are shown" grep -q 'sysrq triggered crash' "$work/errors"
is "the next command has a new machine" "$(status inside cat /tmp/mark)" 1
is "with the same devices" "$(inside ls /dev/vfio/devices | tr '\n' ' ')" "vfio0 vfio1 vfio2 "
inside sh -c 'echo x >/tmp/mark'
is "a time-out is status 124" "$(status $session exec -t 1 -- sleep 1000)" 124
is "and ends the machine" "$(status inside cat /tmp/mark)" 1

truncate -s 8M "$work/nvme"
is "run takes a caller's NVMe image" \
	"$(POSTERN_NVME_IMAGE=$work/nvme tests/machine/run -t 60 --no-bind --dev nvme -- \
		sh -c 'printf written | dd of=/dev/nvme0n1 bs=512 conv=sync,fsync 2>/dev/null
			cat /sys/block/nvme0n1/size' </dev/null)" 16384
is "and writes to it" "$(head -c 7 "$work/nvme")" written
is "run returns 124 on a time-out" "$(status tests/machine/run -t 1 -- sleep 1000)" 124
is "run returns 125 when the machine stops" "$(status tests/machine/run -- poweroff -f)" 125
# Linux would write its configuration where postern's is.
is "make leaves no name of its configuration to what it runs" \
	"$(make -s --eval='print-environment: ; @env' print-environment | grep -c '^KCONFIG')" 0
done_testing
