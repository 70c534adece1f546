#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# VIOMMU_COMMANDs to a real kernel: what a guest with a real device sets in its IOMMU is what the kernel
# of the patches in iommufd/linux is told, value by value.
cd "$(dirname "$0")/../.." || exit 1
. tests/machine/lib.sh
export POSTERN_SESSION="${POSTERN_SESSION:-default}-viommu-kernel"
need_kernel
nr=$(sed -n 's/^CONFIG_IOMMUFD_VIOMMU_COMMAND_NR=//p' "$kernel/config")
if [ -z "$nr" ]; then
	skip "VIOMMU_COMMAND of the kernel" "this kernel is too old for the patches in iommufd/linux"
	finish
	exit 0
fi
disk=$work/nvme.img
given=$(image "$disk" 64M)
export POSTERN_NVME_IMAGE="$disk"
start_session --dev nvme --mem 3G
ok "the reference machine starts with an NVMe disk" $?
record=/sys/kernel/debug/iommu/amd_viommu_commands
parameter=/sys/module/amd_iommu/parameters/viommu_store

found() { # ABILITY VERDICT: what doctor said
	grep -q "^  $1  *$2 " "$work/log"
}

# forward ACCEL NR: a guest that reads and writes the disk; the trace is left in /tmp/trace.
forward() {
	# shellcheck disable=SC2016
	inside 240 sh -c '
		exec "$1" run --kernel "$2/vmlinux" --initrd "$3" --memory 384M --stats \
			--vfio "$POSTERN_BDF_NVME,iommu=on" --viommu "amd,accel=$4" --viommu-command-nr "$5" \
			--trace viommu=/tmp/trace \
			--cmdline "console=ttyS0 panic=-1 postern.disk=/dev/nvme0n1 postern.job=assigned"
	' sh "$O/postern" "$kernel" "$initrd" "$1" "$2"
}

[ "$(tests/machine/session exec -t 60 -- cat $parameter </dev/null)" = N ]
ok "the kernel's test parameter is off" $?
inside 60 "$O/postern" doctor --viommu-command-nr "$nr"
found nest-parent no && found viommu-command '?'
ok "doctor, parameter off: no nest parent, and the command is not tried" $?
forward forward "$nr"
[ $? = 1 ] && grep -q 'HWPT_ALLOC(NEST_PARENT).*amd_iommu.viommu_store=1' "$work/log"
ok "accel=forward, parameter off: refused, and says what to do" $?

inside 60 sh -c "echo Y >$parameter && dmesg | grep 'Setting dangerous option .*viommu_store'"
ok "the parameter can be set, and the kernel says that it is dangerous" $?
inside 60 "$O/postern" doctor --viommu-command-nr "$nr"
found nest-parent yes && found viommu yes && found viommu-command yes &&
	grep -q 'viommu-accel .*forward: and to the kernel' "$work/log"
ok "doctor, parameter on: the command is found by use" $?
inside 60 "$O/postern" doctor
found viommu yes && found viommu-command no && grep -q 'give --viommu-command-nr' "$work/log"
ok "doctor with the posted number: that is another call, and what to do" $?
forward forward 0x95
[ $? = 1 ] && grep -q 'VIOMMU_COMMAND of the kernel.*CONFIG_IOMMUFD_VIOMMU_COMMAND_NR' "$work/log"
ok "accel=forward with the posted number: refused, and says what to do" $?

forward forward "$nr"
ok "a guest with accel=forward powers off with status 0" $?
[ "$(said 'sha256 from-host ')" = "$given" ]
ok "it reads from the assigned disk what the host wrote" $?
written=$(said 'sha256 written ')
[ -n "$written" ] && [ "$written" = "$(file_sum "$disk" written)" ]
ok "the host sees what it wrote" $?
clean_log
ok "no warning in the guest's log" $?
set=$(counter viommu.command_set)
[ "$set" -gt 100 ] && [ "$(counter viommu.kernel_command_set)" = "$set" ] &&
	[ "$(counter viommu.kernel_command_refused)" = 0 ]
ok "each of its VIOMMU_COMMANDs was one to the kernel, which took it" $?

# The kernel's record, oldest first: vIOMMU, operation, index, value, result.
# shellcheck disable=SC2016
inside 60 sh -c '
	awk "\$1 == \"trace\" && \$3 == \"set\" && \$6 == 0 && NF == 7 { print \$4, \$5 }" /tmp/trace >/tmp/sent
	awk "\$2 == \"set\" && \$5 == 0 { print \$3, \$4 }" "$1" >/tmp/seen
	wc -l /tmp/sent /tmp/seen && grep -c "^0x0018 " /tmp/seen &&
		[ "$(wc -l </tmp/sent)" = "$2" ] && diff /tmp/sent /tmp/seen >/tmp/diff || {
		head -n 20 /tmp/diff
		exit 1
	}' sh $record "$set"
ok "the kernel saw the same registers set to the same values in the same order" $?
inside 60 sh -c "dmesg | grep 'stores registers and has no hardware'"
ok "the kernel said that its vIOMMU has no hardware" $?
inside 60 sh -c "[ \"\$(awk '\$2 == \"get\" && \$5 == 0 { print \$3 }' $record | sort -u)\" = 0x0018 ]"
ok "what was read of the kernel was Control, to find the call" $?

# That vIOMMU is no hardware: accel=hw gets as far as what only hardware has, and gives back what it took.
for time in first second; do
	forward hw "$nr"
	[ $? = 1 ] && grep -q 'accel=hw,segment=0: HW_QUEUE_ALLOC: .*hardware queues; accel=soft' "$work/log"
	ok "accel=hw, for the $time time: it takes hardware queues, and says so" $?
done
inside 60 sh -c 'dmesg | grep -E "WARNING|BUG:|Oops|Call Trace|refcount_t"'
ok "the host's kernel complains of nothing" $((!$?))
tests/machine/session stop
finish
