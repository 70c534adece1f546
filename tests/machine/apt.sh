# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Packages of Debian suites that this machine does not use itself, fetched by name. Sourced by scripts
# that have set $work, a directory of their own, and define die.
#
# apt works in directories of its own here, so that the package configuration of this machine is
# neither read beyond the mirror's address nor changed.

# One line "URI|SUITE|KEYRING" for each suite of this machine's own Debian entries.
own_suites() {
	local f
	for f in /etc/apt/sources.list.d/*.sources; do
		[ -r "$f" ] || continue
		awk '
		function flush(	i, j, u, s) {
			for (i = split(uris, u, " "); i > 0; i--)
				for (j = split(suites, s, " "); j > 0; j--)
					if (types ~ /(^| )deb( |$)/ && enabled != "no")
						print u[i] "|" s[j] "|" key
			uris = suites = types = key = enabled = ""
		}
		/^[ \t]*$/ { flush(); next }
		/^#/ { next }
		{
			name = tolower($1); value = $0; sub(/^[^:]*:[ \t]*/, "", value)
			if (name == "types:") types = value
			else if (name == "uris:") uris = value
			else if (name == "suites:") suites = value
			else if (name == "enabled:") enabled = tolower(value)
			else if (name == "signed-by:") key = value
		}
		END { flush() }' "$f"
	done
	for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ -r "$f" ] || continue
		awk '$1 == "deb" {
			key = ""; i = 2
			if ($i ~ /^\[/) {
				do {
					o = $i; gsub(/[][]/, "", o)
					if (o ~ /^signed-by=/) key = substr(o, 11)
				} while ($(i++) !~ /\]$/ && i <= NF)
			}
			print $i "|" $(i + 1) "|" key
		}' "$f"
	done
}

apt_private() {
	local tool=$1
	shift
	"$tool" -q -o Dir::State::Lists="$work/lists" -o Dir::Etc::SourceList="$work/sources.list" \
		-o Dir::Etc::SourceParts=/dev/null -o Dir::Cache="$work/cache" \
		-o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none "$@"
}

# use_suite URI SUITE KEYRING: let apt_private see that suite and no other.
use_suite() {
	local option=
	[ -z "$3" ] || option="[signed-by=$3] "
	rm -rf "$work/lists" "$work/cache"
	mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
	printf 'deb %s%s %s main\n' "$option" "$1" "$2" >"$work/sources.list"
	apt_private apt-get -o Acquire::Retries=2 -o APT::Update::Error-Mode=any update \
		>"$work/apt.log" 2>&1
}

# find_mirror: set uri, keyring and own (own_suites' lines) to this machine's own Debian mirror.
find_mirror() {
	local entry
	command -v apt-get >/dev/null || die "no apt-get: kernels come from a Debian mirror"
	own=$(own_suites | awk -F'|' '$2 ~ /^[a-z]+$/ && $1 ~ /debian\/?$/')
	[ -n "$own" ] || own=$(own_suites | awk -F'|' '$2 ~ /^[a-z]+$/')
	[ -n "$own" ] || die "found no Debian mirror in /etc/apt/sources.list or sources.list.d/*.sources"
	entry=${own%%$'\n'*}
	IFS='|' read -r uri _ keyring <<<"$entry"
	# Newer suites are signed by keys that the archive keyring has and a pinned key may not.
	if [ -r /usr/share/keyrings/debian-archive-keyring.gpg ]; then
		keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	fi
}
