#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Inside the reference machine, next to one microVM whose job is 'hotplug': devices come and go. Says a
# line for each thing that went as it should; tests/machine/test_hotplug.sh reads them.
# usage: hotplug.sh POSTERN KERNEL-DIRECTORY INITRD ROUNDS disk|vfio OPTIONS
postern=$1 kernel=$2 initrd=$3 rounds=$4 kind=$5 iommu=$6
socket=/tmp/socket
log=/tmp/log
reached() { # PATTERN
	tries=0
	until grep -q "$1" "$log"; do
		tries=$((tries + 1))
		[ $tries -lt 1200 ] && kill -0 $pid || { echo "never: $1"; cat "$log"; exit 1; }
		sleep 0.1
	done
}
ctl() {
	timeout 90 "$postern" ctl $socket "$@" || { echo "failed: $*"; cat "$log"; exit 1; }
}
truncate -s 16M /tmp/stays
dd if=/dev/urandom of=/tmp/comes bs=1M count=16 2>/dev/null
case $kind in
vfio) disk=/dev/nvme0n1 options=$POSTERN_BDF_NVME from=/dev/vfio/devices ;;
disk) disk=/dev/vdb options=path=/tmp/comes from=/tmp/comes ;;
esac
"$postern" run --kernel "$kernel/vmlinux" --initrd "$initrd" --memory 256M --ctl $socket --viommu amd \
	--sandbox on,path=$from --disk path=/tmp/stays --stats --cmdline \
	"console=ttyS0 panic=-1 postern.job=hotplug postern.disk=$disk postern.busy=/dev/vda" \
	</dev/null >$log 2>&1 &
pid=$!
reached "waiting for disks"
round=0
while [ $round -lt "$rounds" ]; do
	round=$((round + 1))
	ctl add $kind "$options$iommu,id=hot"
	reached "round $round read"
	ctl remove hot --timeout 60
	reached "round $round gone"
	find /proc/$pid/fd | wc -l >>/tmp/fds
done
echo "rounds $round"
if [ $kind = disk ]; then
	ip tuntap add tap0 mode tap user 0 && ip address add 10.7.0.1/24 dev tap0 && ip link set tap0 up || exit 1
	round=0
	while [ $round -lt "$rounds" ]; do
		round=$((round + 1))
		ctl add net "tap=tap0$iommu,id=lan"
		reached "net round $round pings"
		ctl list | grep '"id":"lan","kind":"net","source":"tap0"' || exit 1
		ctl remove lan --timeout 60
		reached "net round $round gone"
		find /proc/$pid/fd | wc -l >>/tmp/fds
	done
	ip link delete tap0
	echo "net rounds $round"
	i=0
	while [ $i -lt "$rounds" ]; do
		i=$((i + 1))
		ctl pause
		ctl metrics --prometheus | grep 'disk_reads_total{' >/tmp/a
		sleep 0.5
		ctl metrics --prometheus | grep 'disk_reads_total{' >/tmp/b
		cmp /tmp/a /tmp/b && echo "stands $i"
		ctl resume
		tries=0
		while ctl metrics --prometheus | grep 'disk_reads_total{' | cmp -s - /tmp/b; do
			tries=$((tries + 1))
			[ $tries -lt 600 ] || break
			sleep 0.1
		done
		[ $tries -lt 600 ] && echo "goes on $i"
	done
else
	ctl add $kind "$options$iommu,id=hot"
	reached "round $((round + 1)) read"
	echo "$POSTERN_BDF_NVME" >/sys/bus/pci/drivers/vfio-pci/unbind
	reached "round $((round + 1)) gone"
	[ ! -e "/sys/bus/pci/devices/$POSTERN_BDF_NVME/driver" ] && ctl list | grep -v '"id":"hot"' && echo "given back"
	echo "$POSTERN_BDF_NVME" >/sys/bus/pci/drivers_probe
fi
# The first brings what is shared by all that follow. A client's own may be counted, once.
sort -n /tmp/fds | sed -n '1p;$p' | tr '\n' ' ' | { read -r least most; echo "descriptors $least $most"; }
ctl quit
wait $pid
[ $? = 4 ] && echo "quits"
cat $log
rm -f /tmp/fds
