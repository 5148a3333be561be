#!/bin/sh
# living-timed.sh RUN VARIANT: what steps of a run's population cost, from 200 more of them, as CSV:
# seconds of a step, and the share of the time that census, tables and the policy take.
set -eu
LC_ALL=C
export LC_ALL
run=$1 variant=$2 seed=1
T=$(mktemp -d "${TMPDIR:-/tmp}/moe-claims.XXXXXX")
trap 'rm -rf "$T"' EXIT
trap 'exit 1' HUP INT TERM
. "$(dirname "$0")/columns.sh"
grep -v '^\(steps\|schedule\|made-of\|data\|val\|val-every\) ' "$run/recipe" >"$T/recipe"
moe-train -j 1 -c "$T/recipe" --schedule constant --steps $(($(recipe steps) + 200)) \
	--resume-from "$run/ckpt.safetensors" --timing "$T/timing" -o "$T/run" \
	"$(sed -n 's/^data [^=]*=\(.*\)@0$/\1/p' "$run/recipe")"
columns "$T/timing" step seconds routing census tables market | awk '
	{ step += $2; life += $4 + $5 + $6; all += $2 + $5 + $6; routing += $3; n++ }
	END { print "step_seconds", "-", step / n; print "life_share", "-", life / all
		print "routing_share", "-", routing / all }' | rows
