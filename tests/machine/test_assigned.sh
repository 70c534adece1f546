#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A real PCI device through /dev/iommu: the reference machine's NVMe disk in a Linux guest, with the
# guest's own AMD IOMMU in front and without one.
cd "$(dirname "$0")/../.." || exit 1
. tests/machine/lib.sh
export POSTERN_SESSION="${POSTERN_SESSION:-default}-assigned"
need_kernel
disk=$work/nvme.img
given=$(image "$disk" 64M)
export POSTERN_NVME_IMAGE="$disk"
start_session --dev nvme --dev edu --mem 3G
ok "the reference machine starts with an NVMe disk" $?

inside 60 "$O/postern" doctor
ok "doctor: a microVM can run there" $?
grep -q '^  ioas  *yes' "$work/log" && grep -q '^  vfio-bind  *yes' "$work/log" &&
	grep -q '^  hw-info  *yes' "$work/log" && grep -q '^  nest-parent  *no' "$work/log" &&
	! grep -q '^  command  *yes' "$work/log"
ok "doctor: the ladder of iommufd is what that kernel and IOMMU offer" $?
inside 60 "$O/postern" doctor --json
python3 -c 'import json,sys; json.load(open(sys.argv[1]))' "$work/log"
ok "doctor --json: is JSON" $?

nvme() { # SECONDS JOB OPTION...
	nvme_seconds=$1 nvme_job=$2
	shift 2
	inside "$nvme_seconds" sh -c '
		postern=$1 kernel=$2 initrd=$3 job=$4 iommu=$5 cmdline=$6
		shift 6
		exec "$postern" run --kernel "$kernel/vmlinux" --initrd "$initrd" --memory 384M --stats \
			--vfio "$POSTERN_BDF_NVME$iommu" \
			--cmdline "console=ttyS0 panic=-1 postern.disk=/dev/nvme0n1 postern.job=$job $cmdline" "$@"
	' sh "$O/postern" "$kernel" "$initrd" "$nvme_job" "$iommu" "$cmdline" "$@"
}

cmdline=
for cpus in 1 4; do
	for iommu in "" ",iommu=on"; do
		name="NVMe, $cpus vCPU${iommu:+, iommu=on}"
		if [ -n "$iommu" ]; then viommu="--viommu amd"; else viommu=; fi
		# shellcheck disable=SC2086
		nvme 240 assigned --cpus $cpus $viommu
		ok "$name: powers off with status 0" $?
		[ "$(said 'sha256 from-host ')" = "$given" ]
		ok "$name: the guest reads what the host wrote" $?
		written=$(said 'sha256 written ')
		[ -n "$written" ] && [ "$written" = "$(file_sum "$disk" written)" ]
		ok "$name: the host sees what the guest wrote" $?
		clean_log
		ok "$name: no warning in the guest's log" $?
		[ -n "$iommu" ] || continue
		case $(said 'disk [^ ]* group [0-9]* type ') in
		DMA | DMA-FQ) true ;;
		*) false ;;
		esac
		ok "$name: the disk is in a translated domain" $?
		[ "$(counter vfio.maps)" -gt 0 ] && [ "$(counter vfio.failures)" = 0 ]
		ok "$name: guest mappings reached the kernel's page tables" $?
		[ "$(counter viommu.writes_forwarded)" = "$(counter viommu.command_set)" ]
		ok "$name: every forwarded register write was a VIOMMU_COMMAND" $?
	done
done

# The guest's v2 tables are mirrored like its v1 tables.
name="NVMe, v2 tables, all features"
iommu=,iommu=on cmdline=amd_iommu=pgtbl_v2
nvme 240 assigned --viommu amd,features=full
ok "$name: powers off with status 0" $?
[ "$(said 'sha256 written ')" = "$(file_sum "$disk" written)" ]
ok "$name: the host sees what the guest wrote" $?
clean_log && grep -q 'AMD-Vi: V2 page table enabled' "$work/log"
ok "$name: the guest uses them, without a warning" $?
[ "$(counter vfio.maps)" -gt 0 ] && [ "$(counter vfio.failures)" = 0 ]
ok "$name: guest mappings reached the kernel's page tables" $?
cmdline=

image "$disk.new" 64M >/dev/null
cat "$disk.new" >"$disk"
nvme 300 persist --viommu amd
ok "NVMe: write, fsync, reset, verify: powers off with status 0" $?
first=$(said 'first boot wrote ')
[ -n "$first" ] && [ "$first" = "$(said 'second boot verified ')" ]
ok "NVMe: write, fsync, reset, verify: the data is there after the reset" $?

# What goes wrong says why, and how it is mended.
says() { # NAME PATTERN CMD...
	says_name=$1 says_pattern=$2
	shift 2
	inside 60 sh -c "$@"
	says_status=$?
	[ $says_status = 1 ] && grep -q "$says_pattern" "$work/log" &&
		[ "$(grep -c '^postern: error' "$work/log")" = 1 ]
	ok "$says_name" $?
}
run="'$O/postern' run --kernel '$kernel/vmlinux' --memory 128M"
says "a device that does not exist" "0000:1f:1f.7" "$run --vfio 0000:1f:1f.7"
says "a device that is not bound to vfio-pci" "driver_override" \
	"bdf=\$(basename \$(ls -d /sys/bus/pci/drivers/virtio-pci/0000* | head -n 1)); $run --vfio \$bdf"
says "a device node that does not exist" "vfio99" "$run --vfio /dev/vfio/devices/vfio99"
says "no permission on /dev/iommu" "ermission" \
	"chmod 600 /dev/iommu /dev/vfio/devices/* && chmod 666 /dev/kvm && setpriv --reuid 65534 --regid 65534 --clear-groups $run --vfio \$POSTERN_BDF_NVME"
says "a memory lock limit" "ulimit -l" \
	"chmod 666 /dev/iommu /dev/vfio/devices/* && ulimit -l 64 && setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps -all --bounding-set -all $run --vfio \$POSTERN_BDF_NVME"
says "no permission on the device node" "no permission for /dev/vfio/devices" \
	"chmod 666 /dev/iommu && chmod 600 /dev/vfio/devices/* && setpriv --reuid 65534 --regid 65534 --clear-groups $run --vfio \$POSTERN_BDF_NVME"
says "a device that another process has" "another process has it open" "
	$run --vfio \$POSTERN_BDF_NVME >/dev/null 2>&1 &
	until ls -l /proc/\$!/fd | grep -q kvm-vcpu; do sleep 0.1; done
	$run --vfio \$POSTERN_BDF_NVME
	status=\$?
	kill -KILL \$!
	exit \$status"
says "interrupts that are not remapped" "allow_unsafe_interrupts" "
	echo N >/sys/module/iommufd/parameters/allow_unsafe_interrupts
	$run --vfio \$POSTERN_BDF_NVME
	status=\$?
	echo Y >/sys/module/iommufd/parameters/allow_unsafe_interrupts
	exit \$status"

tests/machine/session stop >/dev/null 2>&1
finish
