#!/bin/sh
# ecology.sh RUN VARIANT SEED [TEST]: what one run of ecology.mk has come to, as CSV
# variant,seed,figure,phase,value.  TEST is what its routing is looked at with.  What each figure
# means stands in moe-claims(7).
set -eu
LC_ALL=C
export LC_ALL
run=$1 variant=$2 seed=$3 test=${4:-}
T=$(mktemp -d "${TMPDIR:-/tmp}/moe-claims.XXXXXX")
trap 'rm -rf "$T"' EXIT
trap 'exit 1' HUP INT TERM
. "$(dirname "$0")/columns.sh"
steps=$(recipe steps)
tiers=$(recipe tiers)

# Losses: at the end, of the last 50 batches, the least of validation and when that was.
columns "$run/loss.csv" step loss val_loss | awk -v steps="$steps" '
	{ loss[NR] = $2 }
	$3 != "-" { val = $3; if (least == "" || $3 < least) { least = $3; at = $1 / steps } }
	END {
		for (i = NR > 50 ? NR - 49 : 1; i <= NR; i++) { sum += loss[i]; n++ }
		print "loss", "-", sum / n
		if (val == "") exit
		print "val_loss", "-", val
		print "perplexity", "-", exp(val < 700 ? val : 700)
		print "val_least", "-", least
		print "val_least_at", "-", at
		print "overfit", "-", val - least
	}' | rows
[ "$(recipe dense)" = 0 ] || {
	columns "$run/loss.csv" val_accuracy |
		awk '$1 != "-" { a = $1 } END { print "accuracy", "-", a }' | rows
	exit 0
}

# E at the start, and the share of the run in each of its phases.
moe-ecology e "$run/recipe" 2>/dev/null >"$T/e"
columns "$T/e" step phase E | awk -v steps="$steps" '
	NR == 1 && $3 ~ /^[0-9.e+-]+$/ { print "E", "-", $3 }
	NR > 1 { share[was] += ($1 - at) / steps }
	{ at = $1; was = $2 }
	END { for (p in share) if (p != "-") print p, "-", share[p] }' | rows

# Who lives, over the layers together: at the end, and at each tenth of the run (the first census
# is tenth 0).  alive_at: since when nobody is dead, as a share of the run.  cycles: tiers that fell
# below 2 % of usage after the temperature had fallen, and have 5 % or more at the end.
moe-ecology track ${tiers:+--tiers "$tiers"} --last 9 --stats "$T/stable" "$run" >"$T/track"
columns "$T/track" step layer active dead deaths revivals accuracy $(
	[ "$tiers" ] && echo used depth && seq -f t%.0f 0 "$(echo "$tiers" | tr -cd , | wc -c)") |
	awk -v steps="$steps" '
	$1 != step { flush(); step = $1; active = dead = accuracy = layers = 0 }
	{ active += $3; dead += $4; deaths += $5; revivals += $6; accuracy += $7; layers++
	  split($0, row, " ") }
	function tell(phase,    i) {
		print "accuracy", phase, accuracy / layers
		print "dead", phase, dead
		print "active", phase, active
		for (i = 10; i in row; i++) print "tier" i - 10, phase, row[i]
	}
	function flush(    p) {
		if (!layers) return
		for (p = 0; p <= 10; p++)
			if (!(p in told) && step >= steps * p / 10) { told[p]; tell(10 * p) }
		for (p = 10; p in row && step >= 0.3 * steps; p++) if (row[p] < 0.02) low[p]
		if (dead > most) { most = dead; most_at = step / steps }
		if (!dead && alive == "") alive = step / steps
		if (dead) alive = ""
	}
	END {
		flush()
		tell("-")
		print "deaths", "-", deaths
		print "revivals", "-", revivals
		print "most_dead", "-", most + 0
		if (most) print "most_dead_at", "-", most_at
		if (alive != "") print "alive_at", "-", alive
		for (i in low) cycles += row[i] >= 0.05
		if (10 in row) print "cycles", "-", cycles + 0
		if (row[8] != "") { print "used", "-", row[8]; print "depth", "-", row[9] }
	}' | rows
moe-ecology track --window 3 "$run" >"$T/slow"
columns "$T/slow" revivals | awk '{ n += $1 } END { print "revivals_3", "-", n + 0 }' | rows
columns "$T/stable" layer figure sd range | awk '$1 == 0 && $3 != "-" {
	sub(/^t/, "tier", $2); print $2 "_sd", "-", $3; print $2 "_range", "-", $4 }' | rows

# What each expert is at the end, and how sharp the router.
moe-ecology compare "$run" >"$T/end"
columns "$T/end" run pure_core broad_core weak_core edge noise gini | awk '
	$1 != "mean" && $1 != "sd" {
		n++; p += $2; b += $3; w += $4; e += $5; z += $6; g += $7 }
	END {
		print "pure_core", "-", p; print "broad_core", "-", b; print "weak_core", "-", w
		print "edge", "-", e; print "noise", "-", z; print "gini", "-", g / n }' | rows
columns "$run/layers.csv" entropy maxvio | awk '{ e = $1; m = $2 }
	END { print "entropy", "-", e; print "maxvio", "-", m }' | rows
[ "$test" ] && [ "$tiers" ] || exit 0

# Tiers: how they flow, beside shuffled labels, and how hard their samples are at each temperature.
model=$run/ckpt.safetensors
moe-ecology flow --tiers "$tiers" --shuffle 1000 --stats "$T/tiers" "$model" "$test" >"$T/flow"
columns "$T/flow" from to joint conditional shuffled shuffled_sd | awk '{
	print "flow" $1 $2, "-", $3
	print "conditional" $1 $2, "-", $4
	if ($6 > 0) print "beyond" $1 $2, "-", ($3 - $5) / $6 }' | rows
columns "$T/tiers" tier active hard usage | awk '$1 != "all" {
	print "active" $1, "-", $2; print "hard" $1, "-", $3 }' | rows
moe-ecology scan --tiers "$tiers" --stats "$T/heat.tiers" "$model" "$test" >"$T/heat"
heat="loss accuracy easy hard entropy weight first_moved set_moved active"
columns "$T/heat" temperature $heat | awk -v names="$heat" '
	NR > 1 { n = split(names, name, " ")
		for (i = 1; i <= n; i++) print "heat_" name[i], $1, $(i + 1) }' | rows
columns "$T/heat.tiers" temperature tier hard active | awk '
	$2 == 0 { first = $3; active = $4 }
	$2 == 2 && seen++ && $3 > 0 {
		print "hard_ratio", $1, first / $3; print "active0", $1, active }' | rows
