# Test Anything Protocol for shell tests, which begin with `. t/lib.sh` in the project's root and
# end with `done_testing`.  What a test prints by itself goes to stderr, never among the TAP lines.
#
#	ok NAME COMMAND...             the command succeeds
#	fails STATUS NAME COMMAND...   it exits with exactly this; its stderr is in $T/err
#	says PATTERN NAME              $T/err has a line that matches (grep -E)
#	same FILE FILE NAME            equal bytes
#	same_run RUN RUN NAME [-x FILE]  equal files in two directories, but for FILE
#	is GOT WANT NAME               equal texts
#	skip_all REASON                instead of any test
#	killed STEPS COMMAND...        how often the command, which writes to ./pipe, was killed
#	words BYTES SEED               text to train on
#	column FILE NAME               the values of a CSV's column, a line each
#	values FILE NAME               the same in one line
#
# $T is a directory of the test's own, removed at its end; $B is where the programs were built.
# Tests may stand in a pipe or a subshell: they are counted in a file.

LC_ALL=C
B=${B:-bin}
case $B in /*) PATH=$B:$PATH ;; *) PATH=$PWD/$B:$PATH ;; esac
export LC_ALL B PATH
unset MAKEFLAGS MFLAGS MAKELEVEL # of the make that runs the tests
T=$(mktemp -d "${TMPDIR:-/tmp}/moe-test.XXXXXX") || exit 1
trap 'rm -rf "$T"' EXIT
trap 'exit 1' HUP INT TERM
exec 3>&1 >/dev/null
: >"$T/.ran" >"$T/.failed" >"$T/err"

pass() {
	echo >>"$T/.ran"
	echo "ok - $1" >&3
}

# fail NAME EXPECTED FOUND
fail() {
	echo >>"$T/.ran"
	echo >>"$T/.failed"
	echo "not ok - $1" >&3
	{
		echo "$0: $1"
		echo "expected $2, found $3"
	} | sed 's/^/# /' >&2
}

fails() {
	local want=$1 name=$2 status=0
	shift 2
	"$@" 2>"$T/err" || status=$?
	if [ "$status" = "$want" ]; then
		pass "$name"
	else
		fail "$name" "exit status $want" "$status from: $*"
		sed 's/^/# | /; 20q' "$T/err" >&2
	fi
}

ok() {
	local name=$1
	shift
	fails 0 "$name" "$@"
}

says() {
	if grep -Eq -e "$1" "$T/err"; then
		pass "$2"
	else
		fail "$2" "a line that matches $1" "$(head -n 20 "$T/err")"
	fi
}

same() {
	local difference
	if difference=$(cmp "$1" "$2" 2>&1); then
		pass "$3"
	else
		fail "$3" "equal files" "$difference"
	fi
}

same_run() {
	local a=$1 b=$2 name=$3
	shift 3
	is "$(diff -rq "$@" "$a" "$b")" "" "$name"
}

is() {
	if [ "$1" = "$2" ]; then
		pass "$3"
	else
		fail "$3" "\"$2\"" "\"$1\""
	fi
}

# killed STEPS COMMAND...: run it once for each step with a table to ./pipe, and kill it when a row
# of that step has come; how often that was what ended it.  A pipe holds far less than a run writes:
# it cannot end before who reads kills it.
killed() {
	local steps=$1 at pid n=0
	shift
	for at in $steps; do
		rm -f pipe
		mkfifo pipe
		"$@" &
		pid=$!
		{
			awk -F, -v at="$at" '$1 == at { exit }'
			kill -KILL $pid
		} <pipe
		wait $pid
		[ $? = 137 ] && n=$((n + 1))
	done 2>/dev/null
	echo $n
}

# words BYTES SEED: about so much text of words drawn from a generator.
words() {
	awk -v n="$1" -v s="$2" 'BEGIN {
		while (k < n) {
			s = (s * 1103515245 + 12345) % 2147483648
			w = "w" int(s / 65536) % 97 (s % 7 ? " " : "\n")
			printf "%s", w
			k += length(w)
		}
	}'
}

# column FILE NAME: the values of a CSV's column, below its header.
column() {
	awk -F, -v name="$2" '
		/^#/ { next }
		!header++ { for (i = 1; i <= NF; i++) if ($i == name) c = i; next }
		{ print $c }' "$1"
}

values() {
	column "$1" "$2" | paste -s -d ' ' -
}

skip_all() {
	echo "1..0 # SKIP $1" >&3
	exit 0
}

done_testing() {
	echo "1..$(wc -l <"$T/.ran")" >&3
	[ ! -s "$T/.failed" ]
	exit
}
