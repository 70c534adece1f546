# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# A network card: link, packets to the machine's gateway and back, and how it interrupts.
ip link set eth0 up
tries=0
until [ "$(cat /sys/class/net/eth0/carrier)" = 1 ] || [ $tries = 300 ]; do
	tries=$((tries + 1))
	sleep 0.1
done
say "net link $(cat /sys/class/net/eth0/carrier)"
ip address add 10.0.2.15/24 dev eth0
if ping -c 5 -W 20 10.0.2.2; then
	say "net pings"
fi
# Vectors: of which kind, and how many interrupts.
grep eth0 /proc/interrupts | while read -r line; do
	say "dmesg interrupts $line"
done
say "net interrupts $(grep eth0 /proc/interrupts | grep -o -E 'PCI-MSIX?|IO-APIC' | sort -u) $(
	grep eth0 /proc/interrupts | awk -v cpus="$(grep -c ^processor /proc/cpuinfo)" \
		'{ for (i = 2; i < 2 + cpus; i++) n += $i } END { print n + 0 }'
)"
ip link set eth0 down
