#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Assigned devices of other kinds, and several at once: a network card with MSI-X and with its
# interrupt pin, the educational device through the guest's own VFIO, and a device that the host
# wants back.
cd "$(dirname "$0")/../.." || exit 1
. tests/machine/lib.sh
export POSTERN_SESSION="${POSTERN_SESSION:-default}-devices"
need_kernel
disk=$work/nvme.img
given=$(image "$disk" 16M)
whole=$(sha256sum <"$disk" | cut -d' ' -f1)
export POSTERN_NVME_IMAGE="$disk"
start_session --dev nvme --dev edu --dev e1000e --mem 3G
ok "the reference machine starts with three devices" $?

# One microVM. In OPTION, EDU, NVME and E1000E stand for the addresses of the devices.
devices() { # SECONDS JOB KERNEL-CMDLINE OPTION...
	devices_seconds=$1 devices_job=$2 devices_cmdline=$3
	shift 3
	inside "$devices_seconds" sh -c '
		postern=$1 kernel=$2 initrd=$3 cmdline=$4
		shift 4
		for word; do
			shift
			set -- "$@" "$(echo "$word" | sed "s/^NVME/$POSTERN_BDF_NVME/; s/^EDU/$POSTERN_BDF_EDU/; s/^E1000E/$POSTERN_BDF_E1000E/")"
		done
		exec "$postern" run --kernel "$kernel/vmlinux" --initrd "$initrd" --memory 384M --stats \
			--cmdline "console=ttyS0 panic=-1 $cmdline" "$@"
	' sh "$O/postern" "$kernel" "$initrd" "$devices_cmdline postern.job=$devices_job" "$@"
}

# The network card pinged, with interrupts of KIND that were counted.
pinged() { # NAME KIND
	grep -q 'postern-guest: net link 1' "$work/log" && grep -q 'postern-guest: net pings' "$work/log"
	ok "$1: link, and packets to the gateway and back" $?
	# shellcheck disable=SC2046
	set -- "$1" "$2" $(said 'net interrupts ')
	[ "$2" = "${3:-none}" ] && [ "${4:-0}" -gt 4 ]
	ok "$1: interrupts come by $2" $?
	clean_log
	ok "$1: no warning in the guest's log" $?
}

edu_said() { # NAME WORDS...
	edu_name=$1
	shift
	for words; do
		grep -q "postern-guest: edu $words" "$work/log"
		ok "$edu_name: $words" $?
	done
}

devices 120 net "" --vfio E1000E
ok "e1000e: powers off with status 0" $?
pinged "e1000e" PCI-MSIX
[ "$(counter vfio.loop_messages)" = 0 ]
ok "e1000e: no interrupt went through the event loop" $?

devices 120 net "pci=nomsi" --vfio E1000E
ok "e1000e, pci=nomsi: powers off with status 0" $?
pinged "e1000e, pci=nomsi" IO-APIC

devices 120 edu "" --vfio EDU
ok "edu: powers off with status 0" $?
edu_said "edu" "registers work"

devices 180 devices "postern.disk=/dev/nvme0n1" --cpus 2 --viommu amd --vfio NVME,iommu=on --vfio E1000E,iommu=on,irq=loop \
	--vfio EDU,iommu=on
ok "three devices, iommu=on: powers off with status 0" $?
[ "$(said 'disk read while the others worked: ')" = "$whole" ]
ok "three devices, iommu=on: the disk reads right while the others work" $?
[ "$(said 'sha256 from-host ')" = "$given" ]
ok "three devices, iommu=on: the guest reads what the host wrote" $?
written=$(said 'sha256 written ')
[ -n "$written" ] && [ "$written" = "$(file_sum "$disk" written)" ]
ok "three devices, iommu=on: the host sees what the guest wrote" $?
pinged "three devices, iommu=on" PCI-MSIX
[ "$(counter vfio.loop_messages)" -ge "$(said 'net interrupts PCI-MSIX ')" ]
ok "three devices, iommu=on: the card's interrupts came through the event loop (irq=loop)" $?
edu_said "edu in the guest's VFIO" "registers work" "MSI works" "DMA both ways works" \
	"DMA to unmapped memory is kept out" "INTx works"

# Interrupt pins through the guest's interrupt remapping; the node given as a descriptor.
inside 120 sh -c '
	node=/dev/vfio/devices/$(ls "/sys/bus/pci/devices/$POSTERN_BDF_E1000E/vfio-dev")
	exec "$1" run --kernel "$2/vmlinux" --initrd "$3" --memory 384M --viommu amd --vfio fd=9,iommu=on \
		--cmdline "console=ttyS0 panic=-1 e1000e.IntMode=0 postern.job=net" 9<>"$node"
' sh "$O/postern" "$kernel" "$initrd"
ok "e1000e by descriptor, INTx, iommu=on: powers off with status 0" $?
pinged "e1000e by descriptor, INTx, iommu=on" IO-APIC

# The host unbinds a device in use: postern says so, and lets go when the guest powers off.
inside 150 sh -c '
	"$1" run --kernel "$2/vmlinux" --initrd "$3" --memory 256M --vfio "$POSTERN_BDF_EDU" \
		--cmdline "console=ttyS0 panic=-1 postern.job=button" </dev/null >"$POSTERN_SCRATCH/log" 2>&1 &
	pid=$!
	reached() {
		tries=0
		until grep -q "$1" "$POSTERN_SCRATCH/log"; do
			tries=$((tries + 1))
			[ $tries -lt 600 ] || return 1
			sleep 0.1
		done
	}
	reached "waiting for the power button"
	echo "$POSTERN_BDF_EDU" >/sys/bus/pci/drivers/vfio-pci/unbind &
	unbind=$!
	reached "the host wants it back" && echo said
	kill -TERM $pid
	wait $pid
	status=$?
	wait $unbind && [ ! -e "/sys/bus/pci/devices/$POSTERN_BDF_EDU/driver" ] && echo unbound
	cat "$POSTERN_SCRATCH/log"
	exit $status
' sh "$O/postern" "$kernel" "$initrd"
ok "a device that the host wants back: the guest powers off with status 0" $?
grep -q '^said' "$work/log" && [ "$(grep -c 'the host wants it back' "$work/log")" = 1 ]
ok "a device that the host wants back: said once" $?
grep -q '^unbound' "$work/log"
ok "a device that the host wants back: it has it" $?

tests/machine/session stop >/dev/null 2>&1
finish
