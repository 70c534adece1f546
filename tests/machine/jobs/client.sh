# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# What this kernel made of the IOMMU: how interrupts are delivered, which mode the local APICs are in,
# what the driver complained of; then the assigned job for each of postern.disk=.
say "linux $(uname -r)"
say "cpus $(grep -c '^processor' /proc/cpuinfo)"
case $(dmesg | grep 'Switched APIC routing to' | tail -n 1) in
*x2apic*) say "apic x2apic" ;;
*) if grep -q -w x2apic /proc/cpuinfo; then say "apic xapic, with x2apic unused"; else say "apic xapic"; fi ;;
esac
# Level 4 is a warning; smaller is worse.
dmesg -r | grep -E '^<[0-4]>' | grep -i -E 'AMD-Vi|iommu|intremap|remapping' | while read -r line; do
	say "complaint ${line#*] }"
done
disks=$(parameter disk /dev/vda)
for disk in $(echo "$disks" | tr ',' ' '); do
	. /jobs/assigned.sh
done
# chip, count, users: the count is over all processors.
cpus=$(grep -c '^processor' /proc/cpuinfo)
awk -v cpus="$cpus" '
	/IO-APIC|PCI-MSI/ {
		n = 0
		for (i = 2; i < 2 + cpus; i++)
			n += $i
		line = $i
		for (i++; i <= NF; i++)
			line = line " " $i
		print n, line
	}' /proc/interrupts | while read -r line; do
	say "interrupt $line"
done
