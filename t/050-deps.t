#!/bin/sh
# `make deps` installs what is missing and nothing else, beside a dpkg and an apt that only pretend.
. t/lib.sh
real=$PATH
mkdir "$T/bin"
for tool in make sh cat grep env mkdir cmp uname; do
	ln -s "$(command -v $tool)" "$T/bin/$tool"
done
pretend() {
	{
		echo '#!/bin/sh'
		cat
	} >"$T/bin/$1"
	chmod +x "$T/bin/$1"
}
echo 'for p in "$@"; do :; done; grep -qx "$p" "$T/missing" || echo install ok installed' |
	pretend dpkg-query
echo 'echo apt-get "$@" >>"$T/did"' | pretend apt-get
echo 'cat "$T/id"' | pretend id
export T

# deps USER MISSING...: run `make deps` as this user id
deps() {
	echo "$1" >"$T/id"
	shift
	printf '%s\n' "$@" >"$T/missing"
	: >"$T/did"
	PATH=$T/bin make -s --no-print-directory deps >"$T/out"
}

ok "nothing is missing" deps 1000 ""
is "$(cat "$T/did")" "" "then nothing is done"
is "$(cat "$T/out")" "deps: nothing is missing" "and it says so"

ok "root, two packages missing" deps 0 zlib1g-dev gcc
is "$(cat "$T/did")" "apt-get -q update
apt-get install -y --no-install-recommends gcc zlib1g-dev" "apt-get is asked for exactly these"
is "$(cat "$T/out")" \
	"deps: apt-get update; apt-get install -y --no-install-recommends gcc zlib1g-dev" \
	"and it says so"

fails 2 "neither root nor sudo" deps 1000 gcc
is "$(cat "$T/did")" "" "then nothing is done"
is "$(tail -n 1 "$T/out")" "deps: as root, run: apt-get install -y --no-install-recommends gcc" \
	"but the command is named"

echo 'echo sudo >>"$T/did"; exec "$@"' | pretend sudo
ok "a user with sudo" deps 1000 gcc
is "$(tail -n 2 "$T/did" | tr '\n' ' ')" \
	"sudo apt-get install -y --no-install-recommends gcc " "sudo runs apt-get"

echo 'exit 1' | pretend sudo
fails 2 "a user whom sudo refuses" deps 1000 gcc
is "$(tail -n 1 "$T/out")" "deps: as root, run: apt-get install -y --no-install-recommends gcc" \
	"is told the command"
PATH=$real
done_testing
