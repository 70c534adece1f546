#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Multiboot kernels say what they were given.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
O=${O:-build}
postern=${POSTERN:-$O/postern}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ ! -w /dev/kvm ]; then
	echo "1..0 # SKIP no /dev/kvm that this user may open"
	exit 0
fi
printf 'abc' >"$work/a"
head -c 5000 /dev/zero | tr '\0' '\2' >"$work/b"

boots() { # KERNEL [OPTION]...
	kernel=$O/tests/payload/$1
	rm -f "$work/out" # a serial file is added to
	shift
	timeout -s KILL 300 "$postern" run --kernel "$kernel" --memory 32M --serial "file=$work/out" \
		--cmdline "first, second=2" "$@" </dev/null >"$work/err" 2>&1
	status=$?
	cat "$work/out" "$work/err"
	[ $status = 0 ]
}

# Each line is said, once.
says() {
	for line; do
		[ "$(grep -cFx "$line" "$work/out")" = 1 ] || { echo "not said once: $line" && return 1; }
	done
}

common() {
	says "command line [$kernel first, second=2]" "loader [postern]" "lower 280 upper 7c00" \
		"memory 0 0 a0000 type 1" "memory 0 a0000 60000 type 2" \
		"memory 0 100000 1f00000 type 1" "memory 0 e0000000 10000000 type 2" "rsdp good"
}

modules() {
	says "module size 3 sum 126 on a page beside [$work/a]" \
		"module size 1388 sum 2710 on a page beside [$work/b x=1, y]"
}

version_1() {
	boots "$1" --module "$work/a" --module "$work/b,cmdline=x=1, y" &&
		says "magic 2badb002 protected 1 paging 0 interrupts 0 bss 0" "flags 24d" &&
		common && modules
}
check "version 1: ELF" version_1 mb1.elf
check "version 1: a flat file with addresses" version_1 mb1-addresses.bin

version_2() {
	boots "$1" --initrd "$work/a" --module "$work/b,cmdline=x=1, y" &&
		says "magic 36d76289 protected 1 paging 0 interrupts 0 bss 0" "ends well" &&
		common && modules
}
check "version 2: ELF of 32 bits" version_2 mb2.elf
check "version 2: ELF of 64 bits" version_2 mb2-64.elf
check "version 2: a flat file with addresses" version_2 mb2-addresses.bin
moved() {
	version_2 mb2-moves.elf && says "base ff0000 loaded ff0000"
}
check "version 2: an image that moves" moved

compressed() {
	for tool in "gzip" "xz" "zstd -q" "lz4 -q"; do
		$tool -c <"$O/tests/payload/mb2.elf" >"$work/packed"
		boots mb2.elf --kernel "$work/packed" || return 1
		kernel=$work/packed
		common && says "ends well" || return 1
	done
}
check "version 2: compressed by gzip, xz, zstd, lz4" compressed

described() {
	cat >"$work/m.dts" <<-END
		/dts-v1/;
		/ {
			compatible = "postern,machine";
			chosen { postern,kernel = "kernel"; bootargs = "first, second=2"; };
			module@0 { path = "a"; };
			module@1 { path = "b"; cmdline = "x=1, y"; };
			memory { size = "32M"; };
		};
	END
	rm -f "$work/out"
	cp "$O/tests/payload/mb2.elf" "$work/kernel"
	timeout -s KILL 300 "$postern" run --config "$work/m.dts" --serial "file=$work/out" </dev/null \
		>"$work/err" 2>&1
	cat "$work/out" "$work/err"
	kernel=$work/kernel
	common && modules
}
check "modules in a machine file" described

refused() { # WORDS OPTION...
	words=$1
	shift
	boots "$@" && return 1
	[ $status = 1 ] && [ "$(wc -l <"$work/err")" = 1 ] && grep -qF "$words" "$work/err"
}
check "a required tag that nobody knows" refused "required tag of type 98" mb2-unknown.elf
head -c 500 "$O/tests/payload/mb1-addresses.bin" >"$work/short"
check "a flat file cut short" refused "is truncated" mb1.elf --kernel "$work/short"
check "a module that is not there" refused "module $work/c: cannot be opened" mb1.elf --module "$work/c"
done_testing
