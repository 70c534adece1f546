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
does=spin=1
within=
trap 'kill -KILL $pid 2>/dev/null; rm -rf "$work"' EXIT
truncate -s 4M "$work/disk" "$work/new"
unconfined=
"$postern" doctor | grep -q "landlock *yes" || unconfined=1

await() { # CMD...: until it succeeds; a minute at the most
	for _ in $(seq 600); do
		"$@" && return
		sleep 0.1
	done
	return 1
}

machine() { # OPTION...: a guest that spins, with a socket
	rm -f "$work/out" # what the last one said is not this one's word
	$within "$postern" run --kernel "$garbage" --memory 16M --cmdline "$does" --ctl "$socket" "$@" \
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

# Devices that come and go. The first guest does as its AML would; the second never looks.
descriptors() {
	find "/proc/$pid/fd" | wc -l
}
rounds() { # KIND OPTIONS
	for round in 1 2 3 4 5 6 7 8 9 10; do
		ctl 0 '"id":"new","address":"000[01]:00:[01]' add "$1" "$2,id=new" || return
		ctl 0 '"id":"new",.*"state":"present"' list || return
		ctl 0 '"command":"remove"' remove new || return
		[ $round = 1 ] && first=$(descriptors)
	done
	# That of a client that has gone may go late; ten that are lost do not go at all.
	await at_most "$first" || { echo "$(descriptors) descriptors, not $first" && false; }
}
at_most() {
	[ "$(descriptors)" -le "$1" ]
}
refuses() {
	ctl 1 'there is a device of this name' add disk "path=$work/new,id=disk0" &&
		ctl 1 'No such file' add disk "path=$work/absent" &&
		ctl 1 'another process uses this image' add disk "path=$work/disk" &&
		ctl 1 'unknown key' add disk "path=$work/new,x=y" &&
		ctl 1 'no such PCI segment' add disk "path=$work/new,segment=2" &&
		ctl 1 'no such kind' add tape x && ctl 1 'no such kind' add control x &&
		ctl 1 'fd= is for the command line' add vfio fd=0 &&
		ctl 1 'fd= is for the command line' add net fd=0 &&
		ctl 1 'is not a value for tap' add net tap=a-name-too-long-for-linux &&
		ctl 1 '"code":"failed"' add vfio 0000:1f:1f.7 &&
		ctl 1 '"code":"not-found"' remove absent && ctl 0 '"devices":1}' info
}
full() { # until there is no slot, and from there back
	n=0
	while ctl 0 '"ok":true' add disk "path=$work/new,id=n$n,readonly=on$1"; do
		n=$((n + 1))
		[ $n -lt 32 ] || return
	done
	grep -q 'no free PCI slot' "$work/reply" && [ $n -ge 12 ] || return
	while [ $n -gt 0 ]; do
		n=$((n - 1))
		ctl 0 true remove "n$n" || return
	done
	ctl 0 '"devices":1}' info
}
does=eject=2
# A network of its own, in which it may make taps.
taps="unshare -rn"
$taps [ -w /dev/net/tun ] 2>/dev/null || taps=
for loop in auto poll; do
	within=$taps
	machine --event-loop $loop --pci-segments 2 --viommu amd --viommu amd,segment=1 \
		--disk "path=$work/disk,iommu=on"
	is "$loop loop: a machine for hot-plug" $? 0
	check "$loop loop: a disk comes and goes, ten times" rounds disk "path=$work/new"
	check "$loop loop: a disk behind the vIOMMU comes and goes, ten times" rounds disk "path=$work/new,iommu=on"
	check "$loop loop: a disk in another segment comes and goes, ten times" rounds disk "path=$work/new,segment=1"
	check "$loop loop: and there behind the vIOMMU" rounds disk "path=$work/new,segment=1,iommu=on"
	for option in "" ,iommu=on,queues=4; do
		name="$loop loop: a network device comes and goes, ten times${option:+ ($option)}"
		if [ -n "$taps" ]; then
			check "$name" rounds net "tap=new$option"
		else
			skip "$name" "this user may not make a tap in a network namespace"
		fi
	done
	check "$loop loop: what cannot be added or removed" refuses
	check "$loop loop: as many as there is room for" full ""
	check "$loop loop: and behind the vIOMMU" full ,iommu=on
	check "$loop loop: the disk from the command line goes, too" ctl 0 true remove disk0
	check "$loop loop: its image is free" ctl 0 disk0 add disk "path=$work/disk"
	check "$loop loop: the guest was told" grep -aq unplugged "$work/out"
	check "$loop loop: hot-plug: quit" ctl 0 true quit
	ended "$loop loop: hot-plug: it ends with status 4"
done
does=spin=1
within=
deaf() {
	ctl 0 true add disk "path=$work/new,id=new" &&
		ctl 1 '"code":"timeout"' remove new --timeout 0 &&
		ctl 0 '"state":"removing"' list && ctl 0 true reset &&
		await ctl 1 not-found remove new --timeout 0 && ctl 0 true add disk "path=$work/new,id=new"
}
paused() {
	ctl 0 true pause && ctl 1 '"code":"timeout"' remove new --timeout 0 &&
		ctl 0 true add disk "path=$work/disk,id=other" && ctl 0 '"devices":2}' info &&
		ctl 0 true reset && await ctl 0 '"devices":1}' info && ctl 0 '"state":"paused"' info &&
		ctl 0 true resume && ctl 0 '"id":"other"' list
}
machine
is "a guest that never answers" $? 0
check "a guest that never answers: the device goes at the reset" deaf
check "a paused guest: devices come, and go at its reset" paused
check "a guest that never answers: quit while one is asked for" ctl 1 timeout remove other --timeout 0
check "a guest that never answers: quit" ctl 0 true quit
ended "a guest that never answers: it ends with status 4"

# In a sandbox.
confined() { # to the files that it names, where the kernel can do that
	[ -n "$unconfined" ] || ctl 1 'sandbox opens only' add disk "path=$work/elsewhere"
}
truncate -s 4M "$work/elsewhere"
does=eject=2
for loop in auto poll; do
	machine --event-loop $loop --pci-segments 2 --viommu amd --viommu amd,segment=1 \
		--sandbox "on,path=$work/new,path=$work/disk" --disk "path=$work/disk,iommu=on"
	is "$loop loop, sandbox: a machine" $? 0
	check "$loop loop, sandbox: every command, running and paused" both
	check "$loop loop, sandbox: a disk comes and goes, ten times" rounds disk "path=$work/new,segment=1,iommu=on"
	check "$loop loop, sandbox: a disk from elsewhere does not" confined
	check "$loop loop, sandbox: quit" ctl 0 true quit
	ended "$loop loop, sandbox: it ends with status 4"
done
does=spin=1

# What it boots from it has open: a reset needs no file's name, nor that the file is still there.
again() {
	rm "$work/kernel" && : >"$work/out" && ctl 0 true reset && await grep -aq spinning "$work/out"
}
cp "$garbage" "$work/kernel"
garbage=$work/kernel
machine --sandbox on --kvm fd=7 --serial "file=$work/out" 7<>/dev/kvm
is "a kernel's file that goes away" $? 0
garbage=$O/tests/payload/garbage.elf
check "a kernel's file that goes away: a reset boots it again" again
check "a kernel's file that goes away: quit" ctl 0 true quit
ended "a kernel's file that goes away: it ends with status 4"

not_kvm() {
	"$postern" run --kernel "$garbage" --memory 16M --kvm fd=8 </dev/null 2>"$work/err2" 8<"$work/disk"
	[ $? = 1 ] && [ "$(wc -l <"$work/err2")" = 1 ]
}
check "a descriptor that is no /dev/kvm" not_kvm

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
