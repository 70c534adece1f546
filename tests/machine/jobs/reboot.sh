# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# Ask for a reset instead of power-off.
reboot -f
