#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The control socket of a machine that runs, through postern ctl.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
O=${O:-build}
postern=${POSTERN:-$O/postern}
garbage=$O/tests/payload/garbage.elf
work=$(mktemp -d)
socket=$work/socket
trap 'kill -KILL $pid 2>/dev/null; rm -rf "$work"' EXIT
truncate -s 4M "$work/disk"

await() { # CMD...: until it succeeds; a minute at the most
	for _ in $(seq 600); do
		"$@" && return
		sleep 0.1
	done
	return 1
}

machine() { # OPTION...: a guest that spins, with a socket
	"$postern" run --kernel "$garbage" --memory 16M --cmdline spin=1 --ctl "$socket" "$@" \
		</dev/null >"$work/out" 2>"$work/err" &
	pid=$!
	await grep -aq spinning "$work/out"
}

ctl() { # WANTED-STATUS PATTERN WORD...
	wanted=$1 pattern=$2
	shift 2
	timeout -s KILL 60 "$postern" ctl "$socket" "$@" >"$work/reply" 2>"$work/reply.err"
	status=$?
	cat "$work/reply" "$work/reply.err"
	[ $status = "$wanted" ] && { [ -z "$pattern" ] || grep -q -- "$pattern" "$work/reply"; }
}

ended() { # NAME: by the user
	wait $pid
	status=$?
	is "$1" "$status" 4
	check "$1: the socket is gone" [ ! -e "$socket" ]
}

ticks() { # of all its threads
	cut -d' ' -f14,15 "/proc/$pid/stat"
}
runs() {
	[ "$(ticks)" != "$before" ]
}
stands() {
	sleep 0.1 # what it did before it stood still is counted by now
	before=$(ticks)
	sleep 0.3
	! runs
}

both() { # each command in a machine that runs and in one that is paused
	ctl 0 '"state":"running"' info && ctl 0 '"id":"disk0","kind":"disk"' list &&
		ctl 0 '{"name":"vcpu.exits_pio","type":"counter","value":[1-9]' metrics &&
		ctl 0 '^postern_vcpu_exits_pio_total [1-9]' metrics --prometheus &&
		ctl 0 '^postern_disk_reads_total{device="disk0"} ' metrics --prometheus &&
		ctl 0 '{"ok":true,"command":"resume"}' resume && ctl 0 true power-button &&
		ctl 0 '{"ok":true,"command":"pause"}' pause && ctl 0 '"state":"paused"' info &&
		ctl 0 disk0 list && ctl 0 value metrics && ctl 0 true power-button &&
		ctl 0 '{"ok":true,"command":"pause"}' pause && ctl 0 true reset &&
		ctl 0 '"state":"paused"' info && ctl 0 '{"ok":true,"command":"resume"}' resume &&
		ctl 0 '"state":"running"' info && ctl 0 true reset && ctl 0 '"state":"running"' info
}
stops() {
	ctl 0 true pause && stands && ctl 0 true resume && await runs
}
refused() {
	ctl 1 '"code":"bad-request"' '{"command":"info","x":1}' &&
		ctl 1 '"code":"unknown-command"' '{"command":"x"}' &&
		ctl 0 '"tag":7' '{"command":"info","tag":7}' && ctl 2 '' && ctl 2 '' nonsense &&
		ctl 2 '' info more
}

for loop in auto poll; do
	machine --event-loop "$loop" --viommu amd --disk "path=$work/disk,iommu=on"
	is "$loop loop: a machine with a control socket" $? 0
	check "$loop loop: the socket is its owner's" [ "$(stat -c %a "$socket")" = 600 ]
	check "$loop loop: every command, running and paused" both
	check "$loop loop: a pause stops the guest, and it goes on" stops
	check "$loop loop: what is refused" refused
	check "$loop loop: quit while paused" ctl 0 true pause
	check "$loop loop: quit" ctl 0 '{"ok":true,"command":"quit"}' quit
	ended "$loop loop: it ends with status 4"
done

machine
kill -KILL $pid
wait $pid 2>/dev/null
check "a killed machine leaves its socket" [ -S "$socket" ]
machine
is "a socket that a killed machine left is replaced" $? 0
taken() {
	"$postern" run --kernel "$garbage" --memory 16M --ctl "$socket" </dev/null 2>"$work/err2"
	[ $? = 1 ] && [ "$(wc -l <"$work/err2")" = 1 ] && [ -S "$socket" ]
}
check "one that is in use is not" taken
check "the first is still served" ctl 0 true info
check "it is paused" ctl 0 true pause
kill -INT $pid
ended "a paused machine ends by signals"
nobody() {
	ctl 1 '' info
	[ "$(wc -l <"$work/reply.err")" = 1 ]
}
check "nobody there: status 1 and one line" nobody
done_testing
