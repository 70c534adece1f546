#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Linux guests with 1 and 4 vCPUs, with and without a vIOMMU, in the reference machine.
cd "$(dirname "$0")/../.." || exit 1
. tests/machine/lib.sh
export POSTERN_SESSION="${POSTERN_SESSION:-default}-boot"
need_kernel
start_session --mem 5G
ok "the reference machine starts" $?
scratch=$(tests/machine/session scratch)

for cpus in 1 4; do
	for viommu in "" "--viommu amd"; do
		name="$cpus vCPU${viommu:+, $viommu}"
		# shellcheck disable=SC2086
		guest 120 info "" --memory 256M --cpus $cpus $viommu
		ok "$name: boots and powers off with status 0" $?
		[ "$(said 'cpus ')" = $cpus ]
		ok "$name: the guest has $cpus CPUs" $?
		clean_log
		ok "$name: no warning in the guest's log" $?
		[ -z "$viommu" ] && continue
		grep -q 'AMD-Vi: Interrupt remapping enabled\|Enabled IRQ remapping in x2apic mode\|Enabled IRQ remapping' "$work/log"
		ok "$name: interrupts are remapped" $?
		[ "$(counter viommu.writes_forwarded)" -gt 0 ] &&
			[ "$(counter viommu.writes_forwarded)" = "$(counter viommu.command_set)" ]
		ok "$name: every forwarded register write was a VIOMMU_COMMAND" $?
	done
done

guest 120 info "" --memory 256M --event-loop poll
ok "poll event loop: boots and powers off" $?

inside 120 "$O/postern" run --kernel "$kernel/bzImage" --initrd "$initrd" --memory 256M --stats \
	--guest-fdt on --cmdline "console=ttyS0 panic=-1 postern.job=info"
ok "bzImage by the 64-bit protocol: boots and powers off" $?
grep -q '] OF: ' "$work/log"
ok "bzImage by the 64-bit protocol: the guest finds its device tree" $?

guest 200 info "" --memory 3584M --cpus 1
ok "RAM above 4 GiB: boots and powers off" $?
seen=$(said 'memory ')
[ "${seen%% *}" -gt 3500000 ]
ok "RAM above 4 GiB: the guest has it all" $?

# The disk: every combination of loop and translation gets its own image.
for loop in uring poll; do
	for iommu in off on; do
		name="virtio-blk, $loop loop, iommu=$iommu"
		disk=$scratch/disk-$loop-$iommu.img
		given=$(image "$disk" 48M)
		if [ $iommu = on ]; then viommu="--viommu amd"; else viommu=; fi
		# shellcheck disable=SC2086
		guest 150 disk "postern.disk=/dev/vda" --memory 256M --event-loop $loop $viommu \
			--disk "path=$disk,iommu=$iommu"
		ok "$name: powers off with status 0" $?
		[ "$(said 'sha256 from-host ')" = "$given" ]
		ok "$name: the guest reads what the host wrote" $?
		written=$(said 'sha256 written ')
		[ -n "$written" ] && [ "$written" = "$(file_sum "$disk" written)" ]
		ok "$name: the host sees what the guest wrote" $?
		clean_log
		ok "$name: no warning in the guest's log" $?
		[ "$(counter disk.errors)" = 0 ]
		ok "$name: no request failed" $?
		if [ $iommu = on ]; then
			[ "$(counter viommu.translations)" -gt 0 ] && [ "$(counter viommu.faults)" = 0 ]
			ok "$name: the disk's addresses were translated, without a fault" $?
		fi
	done
done

name="virtio-blk, v2 tables"
disk=$scratch/disk-v2.img
given=$(image "$disk" 48M)
guest 150 disk "amd_iommu=pgtbl_v2 postern.disk=/dev/vda" --memory 256M \
	--viommu amd,features=v2 --disk "path=$disk,iommu=on"
ok "$name: powers off with status 0" $?
[ "$(said 'sha256 from-host ')" = "$given" ] &&
	[ "$(said 'sha256 written ')" = "$(file_sum "$disk" written)" ]
ok "$name: guest and host read what the other wrote" $?
clean_log && grep -q 'AMD-Vi: V2 page table enabled' "$work/log"
ok "$name: the guest uses them, without a warning" $?
[ "$(counter viommu.walks)" -gt 0 ] && [ "$(counter viommu.faults)" = 0 ]
ok "$name: the disk's addresses were translated, without a fault" $?

disk=$scratch/ro.img
given=$(image "$disk" 16M)
before=$(sha256sum <"$disk")
guest 150 disk "postern.disk=/dev/vda" --memory 256M --disk "path=$disk,readonly=on"
[ "$before" = "$(sha256sum <"$disk")" ]
ok "readonly=on: the image is untouched" $?

# A file system that can take space back, which the machine's share of the host's cannot.
name="virtio-blk, fstrim"
inside 150 sh -c '
	mkdir -p /tmp/trim && mount -t tmpfs none /tmp/trim || exit 1
	truncate -s 64M /tmp/trim/disk && mkfs.ext4 -q /tmp/trim/disk
	"$1" run --kernel "$2/vmlinux" --initrd "$3" --memory 256M --stats --disk path=/tmp/trim/disk \
		--cmdline "console=ttyS0 panic=-1 postern.job=trim"
	status=$?
	echo "kilobytes $(du -k /tmp/trim/disk | cut -f1)"
	e2fsck -fn /tmp/trim/disk >/dev/null 2>&1 && echo "file system clean"
	umount /tmp/trim
	exit $status' sh "$O/postern" "$kernel" "$initrd"
ok "$name: powers off with status 0" $?
grep -q 'postern-guest: trimmed' "$work/log" && [ "$(counter disk.discards)" -gt 0 ] &&
	[ "$(sed -n 's/^kilobytes //p' "$work/log")" -lt 8192 ]
ok "$name: the host has its space again" $?
grep -q '^file system clean' "$work/log"
ok "$name: the file system is clean" $?

disk=$scratch/persist.img
image "$disk" 48M >/dev/null
guest 240 persist "postern.disk=/dev/vda" --memory 256M --disk "path=$disk"
ok "write, fsync, reset, verify: powers off with status 0" $?
first=$(said 'first boot wrote ')
[ -n "$first" ] && [ "$first" = "$(said 'second boot verified ')" ]
ok "write, fsync, reset, verify: the data is there after the reset" $?
e2fsck -fn "$disk" >"$work/log" 2>&1
ok "write, fsync, reset, verify: the file system is clean" $?

inside 300 sh -c '
	"$1" run --kernel "$2/vmlinux" --initrd "$3" --memory 256M \
		--cmdline "console=ttyS0 panic=-1 postern.job=button" </dev/null \
		>"$POSTERN_SCRATCH/button" 2>&1 &
	pid=$!
	tries=0
	until grep -q "waiting for the power button" "$POSTERN_SCRATCH/button" || [ $tries = 1500 ]; do
		tries=$((tries + 1))
		sleep 0.1
	done
	kill -TERM $pid
	wait $pid
	status=$?
	cat "$POSTERN_SCRATCH/button"
	exit $status' sh "$O/postern" "$kernel" "$initrd"
ok "SIGTERM: the guest powers off with status 0" $?
grep -q 'the power button was pressed' "$work/log"
ok "SIGTERM: the guest saw its power button" $?

tests/machine/session stop >/dev/null 2>&1
finish
