# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# What the machine tests share: TAP, the kernel, images, and microVMs inside the reference machine.
# A test sources this file from the tree's root and calls plan_session, ok, run_vm...

O=${O:-build}
tests_run=0
work=$(mktemp -d /tmp/postern-test-XXXXXX)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

ok() { # NAME STATUS; the status and the log are shown when it failed
	tests_run=$((tests_run + 1))
	if [ "$2" = 0 ]; then
		echo "ok $tests_run - $1"
	else
		echo "not ok $tests_run - $1"
		echo "# status $2"
		[ ! -f "$work/log" ] || tail -n 40 "$work/log" | sed 's/^/# /'
	fi
}

skip() { # NAME REASON
	tests_run=$((tests_run + 1))
	echo "ok $tests_run - $1 # SKIP $2"
}

finish() {
	echo "1..$tests_run"
}

need_kernel() {
	kernel=$(tests/machine/kernel) && initrd=$(tests/machine/initrd) || {
		echo "not ok 1 - the kernel of the reference machine"
		echo "1..1"
		exit 1
	}
}

# The reference machine of tests with guests has one processor: QEMU 7.2's emulation of nested guests
# on several host threads now and then makes a guest that moves between processors triple-fault.
start_session() { # OPTION...
	tests/machine/session start --cpus 1 "$@" >"$work/log" 2>&1
}

# Run a command in the shared session named by POSTERN_SESSION; output to $work/log.
inside() { # SECONDS CMD...
	seconds=$1
	shift
	tests/machine/session exec -t "$seconds" -- "$@" </dev/null >"$work/log" 2>&1
	status=$?
	tr -d '\r' <"$work/log" >"$work/log.new" && mv "$work/log.new" "$work/log"
	return $status
}

# One microVM in the session with job JOB; more words are options of postern run.
guest() { # SECONDS JOB KERNEL-CMDLINE OPTION...
	guest_seconds=$1 guest_job=$2 guest_cmdline=$3
	shift 3
	inside "$guest_seconds" "$O/postern" run --kernel "$kernel/vmlinux" --initrd "$initrd" --stats \
		--cmdline "console=ttyS0 panic=-1 $guest_cmdline postern.job=$guest_job" "$@"
}

said() { # what the guest said after WORDS (a basic regular expression)
	sed -n "s/^.*postern-guest: $1//p" "$work/log" | tail -n 1
}

counter() {
	sed -n "s/^stat $1 //p" "$work/log"
}

# Nothing that a kernel calls a bug, a warning or a time-out may be in the guest's log.
clean_log() {
	# What the processor is vulnerable to is no matter of the machine's.
	! grep -v 'hw-vuln' "$work/log" | grep -E 'WARNING|BUG:|Oops|Call Trace|rcu: INFO|soft lockup|nvme.*timeout|Firmware Bug|FW_BUG|I/O error|AMD-Vi: .*(ERROR|FAULT|timeout|mismatch|invalid)'
}

image() { # PATH SIZE: an ext4 image with one random file from-host; prints the file's sum
	mkdir -p "$work/root"
	head -c 1048576 /dev/urandom >"$work/root/from-host"
	rm -f "$1"
	truncate -s "$2" "$1"
	mkfs.ext4 -q -d "$work/root" "$1"
	sha256sum <"$work/root/from-host" | cut -d' ' -f1
}

file_sum() { # IMAGE FILE: the sum of a file in an image
	debugfs -R "cat $2" "$1" 2>/dev/null | sha256sum | cut -d' ' -f1
}
