#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Linux guests with a virtio network device on a tap of the reference machine.
cd "$(dirname "$0")/../.." || exit 1
. tests/machine/lib.sh
export POSTERN_SESSION="${POSTERN_SESSION:-default}-net"
need_kernel
start_session --mem 3G
ok "the reference machine starts" $?

bytes=4194304

# One guest with the job netdata, on a tap that is made for it.
net_guest() { # SECONDS TAP-MODE KERNEL-CMDLINE NET OPTION...
	net_seconds=$1 net_mode=$2 net_cmdline=$3 net_option=$4
	shift 4
	# shellcheck disable=SC2016
	inside "$net_seconds" sh -c '
		postern=$1 kernel=$2 initrd=$3 bytes=$4 mode=$5 cmdline=$6 option=$7
		shift 7
		# shellcheck disable=SC2086
		ip tuntap add tap0 mode tap $mode && ip address add 10.7.0.1/24 dev tap0 &&
			ip link set tap0 up || exit 1
		mkfifo /tmp/peer.$$
		tests/machine/net_peer.py 10.7.0.1 $bytes </tmp/peer.$$ &
		peer=$!
		exec 8>/tmp/peer.$$
		rm /tmp/peer.$$
		"$postern" run --kernel "$kernel/vmlinux" --initrd "$initrd" --memory 256M --stats \
			--cmdline "console=ttyS0 panic=-1 $cmdline postern.job=netdata postern.bytes=$bytes" \
			--net "tap=tap0,$option" "$@" 8>&-
		status=$?
		exec 8>&-
		wait $peer
		ip link delete tap0
		exit $status
	' sh "$O/postern" "$kernel" "$initrd" $bytes "$net_mode" "$net_cmdline" "$net_option" "$@"
}

all_arrived() { # NAME
	grep -q 'postern-guest: net pings$' "$work/log" &&
		grep -q 'postern-guest: net pings of all lengths' "$work/log"
	ok "$1: packets come and go" $?
	sent=$(sed -n 's/^.*peer sent //p' "$work/log" | head -n 1)
	[ -n "$sent" ] && [ "$(said 'net in ')" = "$sent" ] && [ "$(said 'net again ')" = "$sent" ]
	ok "$1: the guest gets what the host sent" $?
	out=$(said 'net out ')
	[ -n "$out" ] && [ "$(grep -c "peer got $out" "$work/log")" = 2 ]
	ok "$1: the host gets what the guest sent" $?
	grep -q 'net pings after the driver was bound again' "$work/log"
	ok "$1: the driver leaves and comes back" $?
	clean_log
	ok "$1: no warning in the guest's log" $?
	[ "$(counter net.rx_bytes)" -gt $((2 * bytes)) ] && [ "$(counter net.tx_bytes)" -gt $((2 * bytes)) ] &&
		[ "$(counter net.tx_dropped)" = 0 ]
	ok "$1: the counters have it" $?
	# CSUM, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, HOST_TSO4, HOST_TSO6, MRG_RXBUF.
	said 'net features ' | grep -q '^11.....11..11..1'
	ok "$1: long packets go in one piece" $?
}

name="net"
net_guest 200 "" "" "mac=02:50:4f:53:54:01,mtu=1400"
ok "$name: powers off with status 0" $?
[ "$(said 'net mac ')" = "02:50:4f:53:54:01 mtu 1400" ]
ok "$name: address and MTU are those that were given" $?
all_arrived "$name"

name="net, poll loop, iommu=on, strict"
net_guest 300 "" "iommu.strict=1" "iommu=on" --viommu amd --event-loop poll
ok "$name: powers off with status 0" $?
all_arrived "$name"
[ "$(counter viommu.translations)" -gt 0 ] && [ "$(counter viommu.faults)" = 0 ]
ok "$name: its addresses are translated, without a fault" $?
[ "$(said 'net interrupts ')" = IR-PCI-MSIX ]
ok "$name: its interrupts are remapped" $?

# Four virtual processors share one of an emulated machine: not as much data.
bytes=1048576
name="net, 4 queues, iommu=on"
net_guest 300 multi_queue "" "queues=4,iommu=on" --viommu amd --cpus 4
ok "$name: powers off with status 0" $?
[ "$(said 'net queues ')" = 4 ]
ok "$name: the guest has 4 of each" $?
all_arrived "$name"

tests/machine/session stop >/dev/null 2>&1
finish
