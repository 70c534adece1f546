#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Several PCI segments in one guest: a virtio disk behind the vIOMMU of the first, an assigned NVMe disk
# behind that of the second, and a network card in a third that has none.
cd "$(dirname "$0")/../.." || exit 1
. tests/machine/lib.sh
export POSTERN_SESSION="${POSTERN_SESSION:-default}-segments"
need_kernel
disk=$work/nvme.img
given=$(image "$disk" 16M)
export POSTERN_NVME_IMAGE="$disk"
export POSTERN_SCRATCH="$work/scratch"
mkdir "$POSTERN_SCRATCH"
virtio=$POSTERN_SCRATCH/disk
virtio_given=$(image "$virtio" 16M)
start_session --dev nvme --dev e1000e --mem 3G
ok "the reference machine starts with two devices" $?

name="three segments"
inside 240 sh -c '
	exec "$1" run --kernel "$2/vmlinux" --initrd "$3" --memory 384M --cpus 2 --stats --pci-segments 3 \
		--viommu amd --disk path=$POSTERN_SCRATCH/disk,iommu=on \
		--viommu amd,segment=1 --vfio "$POSTERN_BDF_NVME,iommu=on,segment=1" \
		--vfio "$POSTERN_BDF_E1000E,segment=2" \
		--cmdline "console=ttyS0 panic=-1 postern.job=segments"
' sh "$O/postern" "$kernel" "$initrd"
ok "$name: powers off with status 0" $?
clean_log && ! grep -E 'AMD-Vi: .*(Disabling|not |No )' "$work/log"
ok "$name: no warning in the guest's log" $?
grep -q 'ECAM.* for domain 0002 \[bus 00-00\]' "$work/log" && grep -q 'PCI host bridge to bus 0002:00' "$work/log"
ok "$name: each has a root bridge and an ECAM" $?
[ "$(said 'iommu ivhd0 of ')" = "0000:00:01.0 has 0000:00:02.0 0000:00:14.0 " ] &&
	[ "$(said 'iommu ivhd1 of ')" = "0001:00:01.0 has 0001:00:02.0 " ]
ok "$name: two IOMMUs, each with its disk" $?
grep -q 'postern-guest: vda is 0000:00:02.0 behind ivhd0 type DMA' "$work/log" &&
	grep -q 'postern-guest: nvme0n1 is 0001:00:02.0 behind ivhd1 type DMA' "$work/log"
ok "$name: both disks are translated, each by its own" $?
[ "$(said 'vda from-host ')" = "$virtio_given" ] && [ "$(said 'nvme0n1 from-host ')" = "$given" ]
ok "$name: the guest reads what the host wrote" $?
[ "$(said 'vda written ')" = "$(file_sum "$virtio" written)" ] &&
	[ "$(said 'nvme0n1 written ')" = "$(file_sum "$disk" written)" ]
ok "$name: the host sees what the guest wrote" $?
grep -q '0002:00:02.0.*e1000e\|e1000e 0002:00:02.0' "$work/log"
ok "$name: the network card is in the third" $?
[ "$(counter vfio.maps)" -gt 0 ] && [ "$(counter vfio.failures)" = 0 ] && [ "$(counter viommu.remaps)" -gt 0 ]
ok "$name: guest mappings reached the kernel's page tables, and interrupts were remapped" $?

tests/machine/session stop >/dev/null 2>&1
finish
