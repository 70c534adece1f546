# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What bash would offer: source it with the completion's path and the line that was typed.
# Prints the offers, one a line.
# shellcheck disable=SC1090
. "$1"
COMP_LINE=$2
COMP_POINT=${#COMP_LINE}
COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
compopt() { :; }
_postern
printf '%s\n' "${COMPREPLY[@]}"
