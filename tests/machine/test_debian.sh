#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Debian's own Linux 6.12 as the guest: a kernel that nobody configured for postern, and another
# generation of the amd_iommu driver.
cd "$(dirname "$0")/../.." || exit 1
. tests/machine/lib.sh
export POSTERN_SESSION="${POSTERN_SESSION:-default}-debian"
need_kernel
if ! debian=$(tests/machine/debian-kernel 2>"$work/log"); then
	skip "Debian's Linux 6.12" "$(tail -n 1 "$work/log")"
	finish
	exit
fi
modules=$(tests/machine/initrd --modules "$debian")
disk=$work/nvme.img
given=$(image "$disk" 64M)
export POSTERN_NVME_IMAGE="$disk"
start_session --dev nvme --mem 3G
ok "the reference machine starts with an NVMe disk" $?
scratch=$(tests/machine/session scratch)

debian_guest() { # JOB DISK OPTION...
	debian_job=$1 debian_disk=$2
	shift 2
	inside 240 sh -c '
		postern=$1 kernel=$2 initrd=$3 job=$4 disk=$5
		shift 5
		case $1 in --vfio) shift && set -- --vfio "$POSTERN_BDF_NVME,iommu=on" "$@" ;; esac
		exec "$postern" run --kernel "$kernel" --initrd "$initrd" --memory 512M --stats \
			--viommu amd "$@" \
			--cmdline "console=ttyS0 panic=-1 postern.disk=$disk postern.job=$job"
	' sh "$O/postern" "$debian/bzImage" "$modules" "$debian_job" "$debian_disk" "$@"
}

judge() { # NAME STATUS IMAGE
	ok "$1: powers off with status 0" "$2"
	[ "$(said 'sha256 from-host ')" = "$given" ]
	ok "$1: the guest reads what the host wrote" $?
	written=$(said 'sha256 written ')
	[ -n "$written" ] && [ "$written" = "$(file_sum "$3" written)" ]
	ok "$1: the host sees what the guest wrote" $?
	clean_log
	ok "$1: no warning in the guest's log" $?
	grep -q 'AMD-Vi: Interrupt remapping enabled' "$work/log"
	ok "$1: interrupts are remapped" $?
	case $(said 'disk [^ ]* group [0-9]* type ') in
	DMA | DMA-FQ) true ;;
	*) false ;;
	esac
	ok "$1: the disk is in a translated domain" $?
}

cp "$disk" "$scratch/virtio.img"
debian_guest assigned /dev/vda --disk "path=$scratch/virtio.img,iommu=on"
judge "Debian's 6.12, virtio-blk behind the vIOMMU" $? "$scratch/virtio.img"
debian_guest assigned /dev/nvme0n1 --vfio
judge "Debian's 6.12, NVMe behind the vIOMMU" $? "$disk"

tests/machine/session stop >/dev/null 2>&1
finish
