#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A second kernel behind the vIOMMU, started by kexec: in order, where the first one turns the IOMMU
# off, and by a crash, where it finds translation on, its device table in use and a disk at work.
cd "$(dirname "$0")/../.." || exit 1
. tests/machine/lib.sh
export POSTERN_SESSION="${POSTERN_SESSION:-default}-kexec"
need_kernel
start_session --mem 3G
ok "the reference machine starts" $?
scratch=$(tests/machine/session scratch)

# kexec of Debian's kexec-tools, with its libraries, and the kernel, where the guest finds them.
files=$work/root # of the image
tools=$files/kexec
mkdir -p "$tools"
cp "$(command -v kexec || echo /sbin/kexec)" "$tools/kexec"
ldd "$tools/kexec" | sed -n 's/.* => \([^ ]*\) .*/\1/p' | while read -r library; do
	cp "$library" "$tools"
done
cp "$(ldd "$tools/kexec" | sed -n 's/^[[:space:]]*\(\/[^ ]*ld-linux[^ ]*\) .*/\1/p')" "$tools/ld.so"

second() { # NAME HOW BZIMAGE INITRD CMDLINE OPTION...
	name=$1 how=$2 disk=$scratch/kexec-$2.img
	cp "$3" "$tools/bzImage"
	cp "$4" "$tools/initrd"
	set -- "$3" "$4" "$5"
	given=$(image "$disk" 128M)
	inside 500 "$O/postern" run --kernel "$1" --initrd "$2" --stats --memory 768M \
		--viommu amd --disk "path=$disk,iommu=on" \
		--cmdline "console=ttyS0 panic=-1 postern.job=kexec postern.kexec=$how postern.disk=/dev/vda $3"
	ok "$name: powers off with status 0" $?
	# What follows is about the second kernel.
	sed -n '/postern-guest: first kernel/,$p' "$work/log" >"$work/log.new"
	mv "$work/log.new" "$work/log"
	grep -q 'postern-guest: second kernel done' "$work/log"
	ok "$name: the second kernel has done its job" $?
	[ "$(said 'sha256 from-host ')" = "$given" ]
	ok "$name: it reads what the host wrote" $?
	written=$(said 'sha256 written ')
	[ -n "$written" ] && [ "$written" = "$(file_sum "$disk" written)" ]
	ok "$name: the host sees what it wrote" $?
	case $(said 'disk [^ ]* group [0-9]* type ') in
	DMA | DMA-FQ) true ;;
	*) false ;;
	esac
	ok "$name: the disk is in a translated domain" $?
	grep -q 'IRQ remapping\|Interrupt remapping enabled' "$work/log" &&
		! grep -E 'AMD-Vi: .*(ERROR|FAULT|Failed|mismatch|invalid)' "$work/log"
	ok "$name: it remaps interrupts, and the driver has nothing to complain of" $?
}

second "kexec, Linux 7.3" reboot "$kernel/bzImage" "$initrd" ""
! grep -q 'AMD-Vi: Translation' "$work/log"
ok "kexec, Linux 7.3: the second kernel finds no translation" $?

# Debian's kernel can crash into another, which the kernel of these tests cannot.
name="crash, Linux 6.12"
if debian=$(tests/machine/debian-kernel 6.12 2>"$work/log"); then
	second "$name" crash "$debian/bzImage" "$(tests/machine/initrd --modules "$debian")" \
		crashkernel=256M
	grep -q 'AMD-Vi: Translation is already enabled' "$work/log" &&
		grep -q 'AMD-Vi: Copied DEV table from previous kernel' "$work/log"
	ok "$name: the second kernel goes on with the device table of the first" $?
else
	skip "$name" "its package could not be fetched"
fi

tests/machine/session stop >/dev/null 2>&1
finish
