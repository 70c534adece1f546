# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# Wait for $disk, which the job has set: NVMe is probed in the background.
disk=${disk:-/dev/vda}
tries=0
until [ -b "$disk" ]; do
	tries=$((tries + 1))
	if [ $tries -gt 600 ]; then
		say "no disk $disk"
		exit 1
	fi
	sleep 0.1
done
