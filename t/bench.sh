# How a benchmark in shell begins, which runs in the project's root: $B is where the programs were
# built, $T a directory of its own, removed at its end.
set -eu
LC_ALL=C
B=${B:-bin}
export LC_ALL B
T=$(mktemp -d "${TMPDIR:-/tmp}/moe-bench.XXXXXX")
trap 'rm -rf "$T"' EXIT
trap 'exit 1' HUP INT TERM
