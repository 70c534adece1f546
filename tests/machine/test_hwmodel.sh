#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Linux guests on accel=hwmodel: their own v2 tables nested behind the hardware ABI, the device table
# trapped, the driver of the disk coming and going, and a reset.
cd "$(dirname "$0")/../.." || exit 1
. tests/machine/lib.sh
export POSTERN_SESSION="${POSTERN_SESSION:-default}-hwmodel"
need_kernel
start_session --mem 5G
ok "the reference machine starts" $?
scratch=$(tests/machine/session scratch)

# One guest with a fresh disk, and what holds of all of them.
on_hwmodel() { # NAME JOB CMDLINE OPTION...
	name=$1 job=$2 cmdline=$3
	shift 3
	disk=$scratch/disk.img
	given=$(image "$disk" 48M)
	guest 240 "$job" "$cmdline postern.disk=/dev/vda" --memory 256M \
		--viommu amd,accel=hwmodel --trace viommu \
		--log-level info --disk "path=$disk,iommu=on" "$@"
	ok "$name: powers off with status 0" $?
	grep -q 'AMD-Vi: V2 page table enabled' "$work/log"
	ok "$name: the guest uses v2 tables" $?
	! grep -qE 'cannot emulate|unexpected KVM exit|(was|is) refused' "$work/log"
	ok "$name: no exit and no register write went unanswered" $?
	[ "$(counter viommu.nested_attaches)" -gt 0 ] && [ "$(counter viommu.walks)" -gt 0 ] &&
		[ "$(counter viommu.attach_failures)" = 0 ]
	ok "$name: the disk's DMA went through nested tables" $?
	[ "$(counter viommu.faults)" = 0 ] && [ "$(counter disk.errors)" = 0 ]
	ok "$name: without a fault" $?
	# Hardware has no other: a SET of one of three registers.
	grep -q '^trace viommu set 0x0018 ' "$work/log" &&
		! grep '^trace viommu' "$work/log" | grep -qvE '(set|histogram set) 0x0(018|170|178) '
	ok "$name: VIOMMU_COMMANDs carried 18h, 170h and 178h only" $?
	! grep '^trace viommu set' "$work/log" | grep -qvE ' 0 [0-9]+$'
	ok "$name: none of them failed" $?
}

on_hwmodel "amd_iommu=pgtbl_v2" disk "amd_iommu=pgtbl_v2 intremap=off"
[ "$(said 'sha256 from-host ')" = "$given" ] &&
	[ "$(said 'sha256 written ')" = "$(file_sum "$disk" written)" ]
ok "$name: guest and host read what the other wrote" $?
clean_log
ok "$name: no warning in the guest's log" $?

on_hwmodel "steered by the IVRS alone" rebind ""
ok_turns=0
for turn in 1 2 3; do
	[ "$(said "turn $turn type [A-Za-z-]* sha256 ")" = "$given" ] &&
		[ "$(said "sha256 turn-$turn ")" = "$(file_sum "$disk" turn-$turn)" ] &&
		ok_turns=$((ok_turns + 1))
done
[ $ok_turns = 3 ] && grep -q 'postern-guest: rebound 3 times' "$work/log"
ok "$name: with the driver bound anew three times, every file is as it was written" $?
[ "$(counter viommu.nested_attaches)" -ge 3 ]
ok "$name: each time its entry was put in force" $?

on_hwmodel "reset" persist "intremap=off"
first=$(said 'first boot wrote ')
[ -n "$first" ] && [ "$first" = "$(said 'second boot verified ')" ]
ok "$name: the second boot reads what the first one wrote" $?

tests/machine/session stop >/dev/null 2>&1
finish
