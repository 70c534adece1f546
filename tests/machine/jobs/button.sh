# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# Wait for the power button: the input device of the ACPI button sends an event.
for event in /sys/class/input/event*; do
	[ "$(cat "$event/device/name")" != "Power Button" ] || button=/dev/input/${event##*/}
done
if [ -z "$button" ]; then
	say "no power button"
	exit 1
fi
# Open before anybody is told: from then on no event is lost.
exec 7<"$button"
say "waiting for the power button"
if timeout 300 dd of=/dev/null bs=24 count=1 <&7 2>/dev/null; then
	say "the power button was pressed"
fi
