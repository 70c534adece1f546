#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The README's first session is what really happens: its commands are run, and what it shows must come,
# but for numbers that differ from run to run.
cd "$(dirname "$0")/../.." || exit 1
. tests/machine/lib.sh
need_kernel
sed -n '/^## A first session/,/^That\|^(Four/p' README.md >"$work/section"
sed -n 's/^\$ //p' "$work/section" >"$work/commands"
[ "$(wc -l <"$work/commands")" -ge 3 ]
ok "the README has a first session" $?
sh -e "$work/commands" </dev/null >"$work/log" 2>&1
ok "its commands succeed" $?

# Without clock readings, sizes and trailing space.
plain() {
	tr -d '\r' | sed -e 's/\[ *[0-9.]*\]/[T]/' -e 's/[0-9.]* s$/T s/' -e 's/[0-9]* kB/N kB/' -e 's/ *$//'
}
plain <"$work/log" >"$work/seen"
sed -n '/^\[\|^postern-guest/p' "$work/section" | plain >"$work/shown"
missing=0
while read -r line; do
	grep -qxF -e "$line" "$work/seen" || {
		echo "# not seen: $line"
		missing=1
	}
done <"$work/shown"
[ $missing = 0 ] && [ "$(wc -l <"$work/shown")" -gt 10 ]
ok "every line it shows comes" $?
finish
