#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a guest or a file may not do to postern: end it other than in order, or hang it.
# POSTERN names another build of the program (a sanitizer's).
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
O=${O:-build}
postern=${POSTERN:-$O/postern}
garbage=$O/tests/payload/garbage.elf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
truncate -s 4M "$work/disk"

# A guest that writes noise into every register of every device. It may crash itself (an INIT or NMI
# message to its own processor is a thing to write), so that both ends are good; silence is not.
noise() { # SEED OPTION...
	seed=$1
	shift
	timeout -s KILL 60 "$postern" run --kernel "$garbage" --memory 32M --cmdline "seed=$seed rounds=1500" \
		"$@" </dev/null >"$work/out" 2>"$work/err"
	status=$?
	cat "$work/out" "$work/err"
	case $status in
	0) grep -aq survived "$work/out" && echo $seed >>"$work/survived" ;;
	3) [ "$(grep -c 'postern: error' "$work/err")" = 1 ] ;;
	*) echo "exit status $status" && false ;;
	esac
}

seeds="1 2 3 4 5 6 7 8"
for seed in $seeds; do
	check "noise, seed $seed: a disk" noise "$seed" --disk "path=$work/disk"
	check "noise, seed $seed: a translated disk behind the vIOMMU" \
		noise "1$seed" --viommu amd --disk "path=$work/disk,iommu=on"
	check "noise, seed $seed: poll loop, two disks, vIOMMU" noise "2$seed" --event-loop poll \
		--viommu amd --disk "path=$work/disk,iommu=on,readonly=on" \
		--disk "path=$work/disk,readonly=on"
	check "noise, seed $seed: three processors at once" noise "3$seed" --cpus 3 --viommu amd \
		--disk "path=$work/disk,iommu=on,readonly=on" --disk "path=$work/disk,readonly=on"
done
half() {
	[ "$(wc -l <"$work/survived")" -ge 16 ]
}
check "noise: at least half of the guests reach their end" half

ends() { # STATUS LINES OPTION...: exit status, and that many lines on standard error
	wanted=$1 lines=$2
	shift 2
	timeout -s KILL 60 "$postern" "$@" </dev/null >"$work/out" 2>"$work/err"
	status=$?
	cat "$work/err"
	[ $status = "$wanted" ] && [ "$(wc -l <"$work/err")" = "$lines" ] ||
		{ echo "exit status $status" && false; }
}

check "a triple fault: status 3 and one line" \
	ends 3 1 run --kernel "$garbage" --memory 16M --cmdline crash=1

# A guest that spins ends with status 4. Signals of one kind that come together count as one: those
# after the first are sent until the process has ended.
spinning() { # SIGNAL COUNT
	: >"$work/out" # what an earlier guest said is not this one's
	"$postern" run --kernel "$garbage" --memory 16M --cmdline spin=1 </dev/null \
		>"$work/out" 2>"$work/err" &
	pid=$!
	for _ in $(seq 1200); do
		grep -aq spinning "$work/out" && break
		sleep 0.05
	done
	kill -"$1" $pid
	if [ "$2" -gt 1 ]; then
		for _ in $(seq 300); do
			sleep 0.2
			kill -"$1" $pid 2>/dev/null || break
		done
	fi
	wait $pid
	status=$?
	cat "$work/err"
	[ $status = 4 ] || { echo "exit status $status" && false; }
}
check "a guest that spins: SIGTERM twice" spinning TERM 2
check "a guest that spins: SIGINT" spinning INT 1

# Closed descriptors are nobody's: no other file takes their place.
closed() {
	timeout -s KILL 60 "$postern" run --event-loop "$1" --kernel "$garbage" --memory 32M \
		--cmdline rounds=10 --disk "path=$work/disk" <&- >&- 2>&-
}
check "standard descriptors closed: uring" closed uring
check "standard descriptors closed: poll" closed poll

# A signal that comes while the machine starts over is not lost.
resetting() {
	for n in $(seq 30); do
		: >"$work/out"
		timeout -s KILL 60 "$postern" run --kernel "$garbage" --memory 16M \
			--cmdline "reset=1 ready=1" </dev/null >"$work/out" 2>"$work/err" &
		for _ in $(seq 1000); do
			grep -aq ready "$work/out" && break
			sleep 0.01
		done
		sleep 0.05
		# timeout passes it on.
		kill -INT $!
		wait $!
		status=$?
		[ $status = 4 ] || { echo "try $n: exit status $status" && return 1; }
	done
}
check "a guest that resets for ever: SIGINT" resetting

# Files that are no kernels: status 1, one line that names the file.
file() { # FILE
	ends 1 1 run --memory 16M --kernel "$1" && grep -qF "$1" "$work/err"
}
: >"$work/empty"
head -c 100 "$garbage" >"$work/short-elf"
head -c 1000 "$garbage" >"$work/cut-elf"
head -c 65536 /dev/urandom >"$work/noise"
head -c 600 /dev/zero >"$work/zeros"
{
	head -c 510 /dev/zero
	printf '\125\252\353\146HdrS\017\002'
	head -c 8000 /dev/zero
} >"$work/hollow-bzimage"
for f in empty short-elf cut-elf noise zeros hollow-bzimage missing; do
	check "kernel file: $f" file "$work/$f"
done
check "kernel file: a directory" file "$work"
check "kernel file: a device" file /dev/zero

check "initrd: missing" ends 1 1 run --kernel "$garbage" --memory 16M --initrd "$work/missing"
truncate -s 64M "$work/big"
check "initrd: larger than memory" ends 1 1 run --kernel "$garbage" --memory 16M --initrd "$work/big"
long=$(head -c 5000 /dev/zero | tr '\0' x)
check "command line for the kernel: too long" \
	ends 1 1 run --kernel "$garbage" --memory 16M --cmdline "$long"
check "disk: missing" ends 1 1 run --kernel "$garbage" --disk "path=$work/missing"
check "disk: empty" ends 1 1 run --kernel "$garbage" --disk "path=$work/empty"
check "disk: a directory" ends 1 1 run --kernel "$garbage" --disk "path=$work"
mkfifo "$work/fifo"
check "disk: a FIFO" ends 1 1 run --kernel "$garbage" --disk "path=$work/fifo,readonly=on"
check "serial: a FIFO that nobody reads" ends 1 1 run --kernel "$garbage" --serial "file=$work/fifo"
check "disk: the same image twice for writing" \
	ends 1 1 run --kernel "$garbage" --disk "path=$work/disk" --disk "path=$work/disk"
check "memory: more than there can be" ends 1 1 run --kernel "$garbage" --memory 900T
small_files() (
	ulimit -f 64
	ends 1 1 run --kernel "$garbage" --memory 32M
)
check "memory: past the limit on the size of files" small_files
check "an unknown command" ends 2 1 fly
check "an unknown option" ends 2 1 run --fly
check "no kernel" ends 2 1 run --memory 16M
check "no value" ends 2 1 run --kernel
check "serial: a directory" ends 1 1 run --kernel "$garbage" --serial "file=$work"

done_testing
