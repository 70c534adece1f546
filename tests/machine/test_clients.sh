#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Drivers that nobody wrote for postern behind its vIOMMU: three generations of Linux, each with the
# options that change how its AMD IOMMU driver uses the unit. POSTERN_LONG=1 takes all combinations.
# shellcheck disable=SC2154 # the tables set variables
cd "$(dirname "$0")/../.." || exit 1
. tests/machine/lib.sh
export POSTERN_SESSION="${POSTERN_SESSION:-default}-clients"
need_kernel

# name, command line, features, type of a domain, mode of the local APICs, chips in /proc/interrupts.
# With an assigned device the unit has NpCache, and then Linux flushes at once: what would be DMA-FQ
# is DMA. Without remapped interrupts Linux has x2APIC still, for KVM says so.
configurations='
default     -                      basic  DMA-FQ    x2apic  remapped
strict      iommu.strict=1         basic  DMA       x2apic  remapped
passthrough iommu.passthrough=1    basic  identity  x2apic  remapped
v2          amd_iommu=pgtbl_v2     full   DMA-FQ    x2apic  remapped
legacy      amd_iommu_intr=legacy  basic  DMA-FQ    x2apic  remapped
intremap    intremap=off           basic  DMA-FQ    x2apic  plain
xapic       nox2apic               basic  DMA-FQ    xapic   remapped
'

# Every kernel, every configuration and, with every kernel, both numbers of processors.
guests='
7.3   1  default      virtio,nvme
7.3   4  strict       virtio
7.3   1  legacy       virtio
7.3   4  xapic        virtio
6.12  4  default      virtio,nvme
6.12  1  passthrough  virtio
6.12  1  v2           virtio,nvme
6.12  1  intremap     virtio,nvme
6.1   1  default      virtio,nvme
6.1   4  v2           virtio
6.1   1  legacy       virtio
6.1   1  xapic        virtio
'

# What a driver may say at level 4 (warning) or worse, and why.
allowed='
IOMMU DebugFS SUPPORT|IOMMU data structures, which may compromise  # the kernel is built with it
'

# The product; "x2APIC on" is every other configuration.
every_guest() {
	for every_kernel in 7.3 6.12 6.1; do
		for every_cpus in 1 4; do
			for every_disks in virtio virtio,nvme; do
				echo "$configurations" | while read -r every_name _; do
					[ -z "$every_name" ] ||
						echo "$every_kernel $every_cpus $every_name $every_disks"
				done
			done
		done
	done
}

# Sets image_of and modules_of the series.
find_kernel() { # SERIES
	case $1 in
	7.3) bzimage=$kernel/bzImage initramfs=$initrd ;;
	*)
		debian=$(tests/machine/debian-kernel "$1" 2>"$work/log") || return 1
		bzimage=$debian/bzImage
		initramfs=$(tests/machine/initrd --modules "$debian") || return 1
		;;
	esac
}

client() { # CPUS CMDLINE FEATURES DISKS
	client_devices="--disk path=$scratch/virtio.img,iommu=on"
	client_disks=/dev/vda
	case $4 in
	*nvme*) client_disks=$client_disks,/dev/nvme0n1 ;;
	esac
	# shellcheck disable=SC2086
	inside 400 sh -c '
		postern=$1 bzimage=$2 initramfs=$3 cmdline=$4
		shift 4
		case $cmdline in
		*nvme*) set -- "$@" --vfio "$POSTERN_BDF_NVME,iommu=on" ;;
		esac
		exec "$postern" run --kernel "$bzimage" --initrd "$initramfs" --memory 512M --stats \
			--cmdline "$cmdline" "$@"
	' sh "$O/postern" "$bzimage" "$initramfs" \
		"console=ttyS0 panic=-1 $2 postern.job=client postern.disk=$client_disks" \
		--cpus "$1" --viommu "amd,features=$3" $client_devices
}

# The guest read from DISK what the host wrote, and the host sees what the guest wrote last.
disk_moved() { # DISK HOST-IMAGE SUM
	sed -n "/postern-guest: disk \/dev\/$1 [0-9]* sectors/,/postern-guest: disk done/p" "$work/log" |
		sed -n 's/^.*postern-guest: sha256 //p' >"$work/moved"
	grep -qx "from-host $3" "$work/moved" || return 1
	disk_written=$(sed -n 's/^written //p' "$work/moved" | tail -n 1)
	[ -n "$disk_written" ] && [ "$disk_written" = "$(file_sum "$2" written)" ]
}

complaints() { # what the driver said that the list does not allow
	sed -n 's/^.*postern-guest: complaint //p' "$work/log" | while read -r line; do
		echo "$allowed" | sed '/^$/d; s/ *#.*//' >"$work/allowed"
		echo "$line" | grep -q -E -f "$work/allowed" || echo "$line"
	done
}

# Every message of the IOAPIC and of PCI functions is remapped, but the unit's own; or none is.
delivery() { # remapped|plain
	sed -n 's/^.*postern-guest: interrupt //p' "$work/log" | grep -v 'AMD-Vi' >"$work/interrupts"
	awk -v wanted="$1" '
		$2 ~ /^IR-/ { remapped++; if ($2 ~ /MSI/) counted += $1; next }
		{ plain++; if ($2 ~ /MSI/) counted += $1 }
		END {
			good = wanted == "remapped" ? remapped && !plain : plain && !remapped
			exit !(good && counted)
		}' "$work/interrupts"
}

judge() { # NAME DISKS FEATURES TYPE APIC DELIVERY CPUS
	[ "$(said 'cpus ')" = "$7" ]
	ok "$1: has $7 processors" $?
	disk_moved vda "$scratch/virtio.img" "$virtio_sum"
	ok "$1: virtio-blk: guest and host read what the other wrote" $?
	case $2 in
	*nvme*)
		disk_moved nvme0n1 "$nvme" "$nvme_sum"
		ok "$1: NVMe: guest and host read what the other wrote" $?
		;;
	esac
	[ "$(sed -n 's/^.*postern-guest: disk [^ ]* group [0-9]* type //p' "$work/log" | sort -u)" = "$4" ]
	ok "$1: the domain is of type $4" $?
	delivery "$6"
	ok "$1: interrupts are $6" $?
	[ "$(said 'apic ')" = "$5" ]
	ok "$1: the local APICs are in $5 mode" $?
	case $1 in
	*", v2, "*)
		grep -q 'AMD-Vi: V2 page table enabled' "$work/log"
		ok "$1: the guest has v2 tables" $?
		;;
	esac
	clean_log && [ -z "$(complaints)" ] && [ "$(counter viommu.faults)" = 0 ]
	ok "$1: no warning, no fault" $?
}

nvme=$work/nvme.img
nvme_sum=$(image "$nvme" 64M)
export POSTERN_NVME_IMAGE="$nvme"
start_session --dev nvme --mem 3G
ok "the reference machine starts with an NVMe disk" $?
scratch=$(tests/machine/session scratch)
virtio_sum=$(image "$scratch/virtio.img" 48M)

if [ "${POSTERN_LONG:-}" = 1 ]; then
	guests=$(every_guest)
fi
echo "$guests" | sed '/^$/d' >"$work/guests"
while read -r series cpus name disks; do
	what="Linux $series, $name, $cpus vCPU"
	if ! find_kernel "$series"; then
		skip "$what" "$(tail -n 1 "$work/log")"
		continue
	fi
	# shellcheck disable=SC2046
	set -- $(echo "$configurations" | grep "^$name ")
	cmdline=$2
	[ "$cmdline" != - ] || cmdline=
	type=$4
	case $disks in
	*nvme*) type=${type%-FQ} ;;
	esac
	client "$cpus" "$cmdline" "$3" "$disks"
	ok "$what: powers off with status 0" $?
	judge "$what" "$disks" "$3" "$type" "$5" "$6" "$cpus"
done <"$work/guests"

# A page mapped and unmapped for DMA by the kernel's own benchmark: the figures decide nothing.
truncate -s 1M "$scratch/benchmark.img"
guest 240 dmamap iommu.strict=1 --memory 256M --viommu amd --disk "path=$scratch/benchmark.img,iommu=on"
ok "DMA map benchmark: powers off with status 0" $?
echo "# $(said 'dmamap map ')"
said 'dmamap map ' | grep -qE '^[0-9]+ ns unmap [0-9]+ ns$' && said 'dmamap on ' | grep -q 'type DMA$'
ok "DMA map benchmark: runs on a function behind the vIOMMU" $?
clean_log && [ "$(counter viommu.invalidations)" -gt 0 ] && [ "$(counter viommu.faults)" = 0 ]
ok "DMA map benchmark: what was unmapped was invalidated, without a fault" $?

tests/machine/session stop >/dev/null 2>&1
finish
