# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# The least that a guest can do: guest-init powers off.
:
