# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# TAP for shell tests: source it, call check and skip, end with done_testing.

tap_count=0
tap_failed=0

# check NAME CMD...: the test passes when CMD does; what CMD says is shown when it does not.
check() {
	tap_name=$1
	shift
	tap_count=$((tap_count + 1))
	if tap_said=$("$@" 2>&1); then
		echo "ok $tap_count - $tap_name"
	else
		echo "not ok $tap_count - $tap_name"
		printf '%s\n' "$tap_said" | sed 's/^/# /'
		tap_failed=$((tap_failed + 1))
	fi
}

# skip NAME REASON
skip() {
	tap_count=$((tap_count + 1))
	echo "ok $tap_count - $1 # SKIP $2"
}

# is NAME GOT WANTED
is() {
	check "$1" tap_compare "$2" "$3"
}

tap_compare() {
	[ "$1" = "$2" ] || {
		printf 'got:    %s\nwanted: %s\n' "$1" "$2"
		return 1
	}
}

done_testing() {
	echo "1..$tap_count"
	[ $tap_failed = 0 ]
	exit
}
