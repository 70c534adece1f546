# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# Start the kernel on the disk by kexec, in order (postern.kexec=reboot) or by a crash with the disk
# at work (crash); the second kernel does the disk job. The disk has kexec and what it needs in /kexec.
disk=$(parameter disk /dev/vda)
how=$(parameter kexec reboot)
dmesg | grep -i -e AMD-Vi -e kexec -e crash | while read -r line; do
	say "dmesg $line"
done
if [ "$(parameter boot first)" = second ]; then
	say "second kernel"
	. /jobs/assigned.sh
	say "second kernel done"
	exit 0
fi
. /jobs/wait.sh
mount -t ext4 -o ro "$disk" /mnt
cp -r /mnt/kexec /tmp/kexec
umount /mnt
kexec() {
	/tmp/kexec/ld.so --library-path /tmp/kexec /tmp/kexec/kexec "$@"
}
# As this kernel was started, but for what the first alone is to do.
cmdline="$(tr ' ' '\n' </proc/cmdline | grep -v -e '^crashkernel=' -e '^$' | tr '\n' ' ')postern.boot=second"
if [ "$how" = crash ]; then
	set -- -p --append="$cmdline irqpoll nr_cpus=1 reset_devices"
else
	set -- -l --append="$cmdline"
fi
kexec "$@" --initrd=/tmp/kexec/initrd /tmp/kexec/bzImage
say "kexec is loaded: $(cat /sys/kernel/kexec_loaded) $(cat /sys/kernel/kexec_crash_loaded 2>/dev/null)"
if [ "$how" = crash ]; then
	dd if="$disk" of=/dev/null bs=1M iflag=direct 2>/dev/null &
	say "first kernel crashes"
	echo c >/proc/sysrq-trigger
	sleep 60
fi
say "first kernel hands over"
kexec -e
