#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# ATS, PASID and PRI of the vIOMMU with Linux's own code: postern's DMA test device in a guest, driven
# through VFIO and iommufd, and with the address space of a process shared.
cd "$(dirname "$0")/../.." || exit 1
. tests/machine/lib.sh
export POSTERN_SESSION="${POSTERN_SESSION:-default}-pri"
need_kernel
# The device is in no other build; make check has built this one already.
{ make -s O="$O-test" test_defconfig && make -s O="$O-test" all; } >"$work/log" 2>&1
ok "postern with the DMA test device" $?
O=$O-test
start_session --mem 3G
ok "the reference machine starts" $?

for features in v2 full; do
	name="features=$features"
	guest 400 dma-test "" --memory 384M --viommu "amd,features=$features" --dma-test on
	ok "$name: powers off with status 0" $?
	[ "$(grep -c 'postern-guest: dma-test ATS: the device caches translations' "$work/log")" = 2 ]
	ok "$name: ATS through VFIO, with v1 and v2 tables" $?
	[ "$(grep -c 'postern-guest: dma-test ATS: an unmap empties the cache' "$work/log")" = 2 ]
	ok "$name: an unmap in the guest reaches the device before it returns" $?
	grep -q 'postern-guest: dma-test PRI: a request without PASID is answered' "$work/log"
	ok "$name: the guest's driver takes page requests and answers them" $?
	[ "$(grep -c 'postern-guest: dma-test SVA: ' "$work/log")" = 12 ]
	ok "$name: processes share their address space with the device, while they want to" $?
	[ "$(counter viommu.page_requests)" -ge 20 ] &&
		[ "$(counter viommu.page_requests)" = "$(counter viommu.page_responses)" ] &&
		[ "$(counter viommu.command.complete_ppr_request)" = "$(counter viommu.page_responses)" ]
	ok "$name: every page request was answered" $?
	grep -q 'postern-guest: job dma-test ended with status 0' "$work/log" && clean_log
	ok "$name: no warning in the guest's log" $?
	[ "$(counter viommu.atc_invalidations)" -gt 0 ] && [ "$(counter viommu.atc_timeouts)" = 0 ] &&
		[ "$(counter viommu.events)" = 0 ]
	ok "$name: the device completed every invalidation, and there was no event" $?
done

tests/machine/session stop >/dev/null 2>&1
finish
