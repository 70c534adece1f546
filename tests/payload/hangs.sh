#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A host that never answers postern (hangs.c).
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
O=${O:-build}
postern=$O/tests/payload/postern_hangs
garbage=$O/tests/payload/garbage.elf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ ! -w /dev/kvm ]; then
	echo "1..0 # SKIP no /dev/kvm that this user may open"
	exit 0
fi
loops="uring poll"
if ! "$postern" doctor | grep -q '^ *io_uring *yes'; then
	skip "uring loop" "this host, or this build, has no io_uring"
	loops=poll
fi
mkfifo "$work/hang.fifo"
# The sanitizers make calls that no filter has.
sandboxes="off on"
nm "$postern" | grep -q '__[at]san_' && sandboxes=off

# The guest has asked for a sector that never comes. The end is the user's all the same.
hangs() { # LOOP SANDBOX
	HANG=$work/hang HANG_MARK=$work/asked.$1.$2 exec timeout -s KILL 300 "$postern" run \
		--event-loop "$1" --sandbox "$2" --kernel "$garbage" --memory 16M \
		--cmdline "read=1 spin=1" --disk "path=$work/hang,readonly=on,id=slow" \
		</dev/null >"$work/out.$1.$2" 2>"$work/err.$1.$2"
}
asked() { # LOOP SANDBOX
	for _ in $(seq 2400); do
		[ -s "$work/asked.$1.$2" ] && return
		sleep 0.05
	done
	cat "$work/err.$1.$2" && false
}
ended() { # LOOP SANDBOX STATUS WHAT
	cat "$work/err.$1.$2"
	[ "$3" = 4 ] || { echo "exit status $3" && return 1; }
	[ "$(wc -l <"$work/err.$1.$2")" = 1 ] &&
		grep -q "error: $4.* has not answered .*within 10 s" "$work/err.$1.$2"
}
machines=
for sandbox in $sandboxes; do
	for loop in $loops; do
		hangs $loop $sandbox &
		machines="$machines $!:$loop:$sandbox"
	done
done
for machine in $machines; do
	IFS=: read -r pid loop sandbox <<-END
		$machine
	END
	check "$loop loop, sandbox $sandbox: a disk is asked that never answers" asked "$loop" "$sandbox"
	kill -INT "$pid" # timeout passes it on
done
for machine in $machines; do
	IFS=: read -r pid loop sandbox <<-END
		$machine
	END
	wait "$pid"
	status=$?
	what="slow: $work/hang"
	[ "$loop" = uring ] || what=$work/hang.fifo
	check "$loop loop, sandbox $sandbox: SIGINT ends the machine, and says why it took long" \
		ended "$loop" "$sandbox" $status "$what"
done

done_testing
