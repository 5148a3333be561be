#!/bin/sh
# living-equal.sh params|flops RUN: options of a standard pool that equals a living one: with as
# many experts in each layer as RUN has at its end, or of as many as RUN began with and as many
# steps as take the same operations.
#
# Operations of a token, forward and back: 6 for each weight outside the router (attention, two
# experts, the head), 12 T C for attention's products, and of a router's scores 2 C each forward
# and, where a loss looks at all of them, 4 C back; else 4 C for the chosen.
set -eu
LC_ALL=C
export LC_ALL
what=$1 run=$2
. "$(dirname "$0")/columns.sh"
columns "$run/experts.csv" step layer slot | awk -v what="$what" -v C="$(recipe dim)" \
	-v H="$(recipe hidden)" -v L="$(recipe layers)" -v K="$(recipe top-k)" \
	-v T="$(recipe seq)" -v E="$(recipe experts)" -v steps="$(recipe steps)" \
	-v V="$(recipe vocab)" '
	$1 != step { step = $1; checks++; delete n; delete extent }
	{ n[$2]++; slots += $3 + 1 - extent[$2]; extent[$2] = $3 + 1 }
	END {
		if (what == "params") {
			printf "--experts "
			for (l = 0; l < L; l++)
				printf "%s%d", l ? "," : "", (n[l] > K ? n[l] : K)
			print " --steps " steps
			exit
		}
		dense = 6 * (L * (4 * C * C + K * 2 * C * H) + V * C) + 12 * T * C * L
		ours = dense + 2 * C * slots / checks + 4 * K * C * L
		print "--experts " E " --steps " int(steps * ours / (dense + 6 * E * C * L) + 0.5)
	}'
