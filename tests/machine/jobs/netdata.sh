# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# A network device: pings, and data both ways over TCP with what each side says it was.
ip link set eth0 up
ip address add 10.7.0.2/24 dev eth0
say "net mac $(cat /sys/class/net/eth0/address) mtu $(cat /sys/class/net/eth0/mtu)"
say "net queues $(ls -d /sys/class/net/eth0/queues/rx-* | wc -l)"
# Bit by bit, from bit 0 on.
say "net features $(cat /sys/class/net/eth0/device/features)"
if ping -c 5 -W 20 10.7.0.1; then
	say "net pings"
fi
# The longest packet that goes in one piece, and the shortest.
if ping -c 2 -W 20 -s 1372 10.7.0.1 && ping -c 2 -W 20 -s 0 10.7.0.1; then
	say "net pings of all lengths"
fi
say "net in $(nc 10.7.0.1 5001 | sha256sum | cut -d' ' -f1)"
head -c "$(parameter bytes 0)" /dev/urandom >/tmp/out
say "net out $(sha256sum </tmp/out | cut -d' ' -f1)"
nc 10.7.0.1 5002 </tmp/out
# Both at once.
nc 10.7.0.1 5001 | sha256sum | cut -d' ' -f1 >/tmp/again &
nc 10.7.0.1 5002 </tmp/out
wait
say "net again $(cat /tmp/again)"
# Down and up: the queues are reset and set up anew.
driver=/sys/bus/virtio/drivers/virtio_net
device=$(basename "$(readlink -f /sys/class/net/eth0/device)")
echo "$device" >$driver/unbind
echo "$device" >$driver/bind
ip link set eth0 up
ip address add 10.7.0.2/24 dev eth0
if ping -c 3 -W 20 10.7.0.1; then
	say "net pings after the driver was bound again"
fi
say "net interrupts $(grep -E 'virtio[0-9]+-(input|output)' /proc/interrupts |
	grep -o -E '(IR-)?PCI-MSIX?' | sort -u)"
