#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# iommufd/linux/apply: a tree that has moved on a little is patched, one that has moved on too far is left
# as it was, with what does not fit named.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
work=$(mktemp -d /tmp/postern-test-XXXXXX)
trap 'rm -rf "$work"' EXIT

# A tree of two files, and two patches to it: of one line in the middle of each, and a new file.
mkdir -p "$work/old/dir" "$work/patches"
seq -f 'line %g' 60 >"$work/old/dir/a"
seq -f 'word %g' 60 >"$work/old/dir/b"
cp -r "$work/old" "$work/new"
make_patch() { # NAME, from old to new, which then is the next one's old
	(cd "$work" && diff -urN old new >"patches/$1")
	rm -rf "$work/next" && cp -r "$work/new" "$work/next"
}
sed -i 's/^line 30$/line thirty/' "$work/new/dir/a"
make_patch 0001-a.patch
rm -rf "$work/old" && mv "$work/next" "$work/old"
sed -i 's/^word 30$/word thirty/; s/^word 50$/word fifty/' "$work/new/dir/b"
echo new >"$work/new/dir/c"
make_patch 0002-b.patch

tree() { # SED-EXPRESSION: a fresh tree with both files changed by it
	rm -rf "$work/tree" "$work/was"
	mkdir -p "$work/tree/dir"
	seq -f 'line %g' 60 | sed "$1" >"$work/tree/dir/a"
	seq -f 'word %g' 60 | sed "$1" >"$work/tree/dir/b"
	cp -r "$work/tree" "$work/was"
}
apply() {
	iommufd/linux/apply "$work/tree" "$work"/patches/*.patch >"$work/log" 2>&1
}
patched() {
	grep -q 'line thirty' "$work/tree/dir/a" && grep -q 'word thirty' "$work/tree/dir/b" &&
		grep -q 'word fifty' "$work/tree/dir/b" && cmp -s "$work/new/dir/c" "$work/tree/dir/c"
}
refused() { # PATTERN
	! apply && grep "$1" "$work/log" && diff -r "$work/was" "$work/tree"
}
applied() {
	apply && patched
}

tree ''
check "the tree that they were made for" applied
cp -r "$work/tree" "$work/once"
check "once more: they are there already" applied
check "once more: nothing changes" diff -r "$work/once" "$work/tree"
tree '1,5d; 10i more'
check "lines that have moved" applied
tree '/ 27$/s/$/ changed/'
check "a line at the edge of the context that has changed" applied
check "and that is said" grep '0001-a.patch, 1 hunks' "$work/log"
tree '/^word 50$/s/$/ changed/'
check "a line to be changed that is another: patch, file and hunk are named" \
	refused '^0002-b.patch: dir/b: hunk 2 does not apply'
tree '/ 30$/d'
check "the first patch does not fit" refused '^0001-a.patch: dir/a: hunk 1 does not apply'
tree ''
rm "$work/tree/dir/b" "$work/was/dir/b"
check "a file that is not there" refused '^0002-b.patch: dir/b: no such file in the tree'
check "a tree that is not there" sh -c "! iommufd/linux/apply '$work/none' 2>&1 | grep -v 'no such directory'"

# The series itself: complete, in order, and each new file of Linux under Linux's license.
series_is_whole() {
	n=0
	for file in iommufd/linux/*.patch; do
		n=$((n + 1))
		case $(basename "$file") in "$(printf %04d $n)"-*) ;; *) return 1 ;; esac
		grep -q "^Subject: \[PATCH $n/6\] " "$file" || return 1
	done
	[ $n = 6 ]
}
check "the patches are numbered" series_is_whole
check "new files of Linux are GPL-2.0" sh -c '
	[ "$(grep -c "^--- /dev/null" iommufd/linux/*.patch | awk -F: "{ n += \$2 } END { print n }")" = \
		"$(grep -h -A3 "^--- /dev/null" iommufd/linux/*.patch | grep -c "SPDX-License-Identifier: GPL-2.0")" ]'
done_testing
