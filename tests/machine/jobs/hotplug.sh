# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# Disks that come and go: whenever one of them is there, write and read it without end, and say what
# was read first. $(parameter disk) names the one that stays busy.
set +e # what is under way when a disk goes fails
disk=$(parameter disk /dev/vda)
busy=$(parameter busy "")
if [ -n "$busy" ]; then
	while :; do
		dd if="$busy" of=/dev/null bs=64k count=16 iflag=direct 2>/dev/null
		sleep 0.1
	done &
fi
# A network device comes and goes, too: used as long as it is there.
(
	round=0
	card=/sys/class/net/eth0
	while :; do
		until [ -e $card ]; do
			sleep 0.1
		done
		round=$((round + 1))
		ip link set eth0 up
		ip address add 10.7.0.2/24 dev eth0
		ping -c 3 -W 20 10.7.0.1 >/dev/null && say "net round $round pings"
		while [ -e $card ]; do
			ping -c 1 -W 1 -s 1400 10.7.0.1 >/dev/null 2>&1
		done
		say "net round $round gone"
	done
) &
say "waiting for disks"
round=0
while :; do
	until [ -b "$disk" ]; do
		sleep 0.1
	done
	round=$((round + 1))
	dd if=/dev/urandom of=/tmp/pattern bs=64k count=16 2>/dev/null
	dd if=/tmp/pattern of="$disk" bs=64k seek=16 oflag=direct conv=fsync 2>/dev/null
	dd if="$disk" of=/tmp/back bs=64k skip=16 count=16 iflag=direct 2>/dev/null
	cmp /tmp/pattern /tmp/back && say "round $round wrote $(sha256sum </tmp/pattern | cut -d' ' -f1)"
	say "round $round read $(dd if="$disk" bs=64k count=16 iflag=direct 2>/dev/null | sha256sum | cut -d' ' -f1)"
	while [ -b "$disk" ]; do
		dd if=/tmp/pattern of="$disk" bs=64k seek=16 oflag=direct 2>/dev/null
		dd if="$disk" of=/dev/null bs=64k count=16 iflag=direct 2>/dev/null
	done
	[ ! -f "$disk" ] || rm "$disk" # made by a write that came too late
	say "round $round gone"
done
