# How a benchmark in shell begins, which runs in the project's root: $B is where the programs were
# built, $T a directory of its own, removed at its end.
set -eu
LC_ALL=C
B=${B:-bin}
export LC_ALL B
T=$(mktemp -d "${TMPDIR:-/tmp}/moe-bench.XXXXXX")
trap 'rm -rf "$T"' EXIT
trap 'exit 1' HUP INT TERM

# median [FILE...]: of the numbers in lines; nothing of none
median() {
	sort -g "$@" | awk '{ v[NR] = $1 }
		END { if (NR) printf "%.9g\n", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
}
