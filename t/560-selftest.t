#!/bin/sh
# moe-train --selftest passes with every set of kernels that this machine runs.
. t/lib.sh

for k in avx512 avx2 portable; do
	moe-train --kernels $k --dry-run >/dev/null 2>&1 || continue
	ok "the $k kernels pass" moe-train --selftest --kernels $k
	moe-train --selftest --kernels $k >"$T/$k"
	is "$(grep -vc ',pass$' "$T/$k")" 1 "$k: every row but the header says so"
done
fails 2 "an operand is refused" moe-train --selftest x
done_testing
