#!/bin/sh
# market.sh RUN VARIANT SEED TEXT [SCRATCH]: what one run of market.mk has come to, as CSV
# variant,seed,figure,phase,value.  TEXT is the directory of the texts, SCRATCH the run from scratch
# with the same seed.  What each figure means stands in moe-claims(7).
set -eu
LC_ALL=C
export LC_ALL
run=$1 variant=$2 seed=$3 text=$4 scratch=${5:-}
T=$(mktemp -d "${TMPDIR:-/tmp}/moe-claims.XXXXXX")
trap 'rm -rf "$T"' EXIT
trap 'exit 1' HUP INT TERM

. "$(dirname "$0")/columns.sh"

# The steps of the shifts: to the code, and back if it comes to that.
set -- $(sed -n 's/^made-of train [^@]*@\([1-9][0-9]*\) .*/\1/p' "$run/recipe")
end=$(recipe steps) away=${1:-$(recipe steps)} back=${2:-$(recipe steps)}

# Losses: of the prose held out, and of the 50 batches up to a step.
columns "$run/loss.csv" step val_loss loss | awk '
	BEGIN { split("1500 2800 2950 3000 3050 3100 3150 3200 3500 4500", at, " ") }
	{ if ($2 != "-") val[$1] = $2; loss[$1] = $3; last = $1 }
	END {
		for (i = 1; i in at; i++) {
			s = at[i]
			if (s in val) print "val_loss@" s, "-", val[s]
			for (sum = n = k = 0; k < 50; k++)
				if (s - k in loss) { sum += loss[s - k]; n++ }
			if (n == 50) print "loss@" s, "-", sum / n
		}
		print "val_loss@end", "-", val[last]
	}' | rows

# Recovery when prose returns.  Who does not recover within the phase counts as its length, and so
# does a run from scratch that does not come down: how many recovered is a figure of its own.
recovery() {
	name=$1
	shift
	moe-shift score --metric val_loss --shift "$back" --hold 1,3 "$@" "$run" 2>/dev/null \
		>"$T/score"
	columns "$T/score" hold steps scratch_steps first | awk -v name="$name" \
		-v phase=$((end - back)) -v longest="$longest" '{
		steps = $2 == "-" ? phase : $2
		scratch = $3 == "-" ? longest : $3
		print name "_steps_" $1, "-", steps
		print name "_recovered_" $1, "-", $2 != "-"
		print name "_scratch_" $1, "-", scratch
		print name "_speedup_" $1, "-", scratch / steps
		if ($1 == 1) print "first", "-", $4
	}' | rows
}
if [ "$back" -lt "$end" ]; then
	if [ "$scratch" ]; then
		longest=$(sed -n 's/^steps //p' "$scratch/recipe")
		recovery own --level left --scratch "$scratch"
		recovery same --scratch "$scratch" --level \
			"$(columns "$scratch/loss.csv" step val_loss | sed -n "s/^$away //p")" |
			grep -v ,first,
	else
		longest=$away
		recovery own --level left --scratch-self
	fi
fi
[ "$(recipe dense)" = 0 ] || exit 0

# Events by phase; how long those lived who were born and died; the densest 80 steps.
moe-market runs "$run" >"$T/runs"
columns "$T/runs" run phase replacements births deaths moves | awk '
	$1 != "mean" && $1 != "sd" {
		print "replacements", $2, $3; print "churn", $2, $4 + $5 + 2 * $6 }' | rows
columns "$run/events.csv" step event expert cause | awk '
	$2 == "birth" { born[$3] = $1; if ($4 == "replace") at[++n] = $1 }
	$2 == "death" { deaths++; if ($3 in born) life[++lives] = ($1 - born[$3]) / 10 }
	END {
		for (i = 1; i <= lives; i++) young += life[i] < 50
		for (i = 1; i <= n; i++) {
			while (at[i] - at[from + 1] >= 80) from++
			if (i - from > most) most = i - from
		}
		for (i = 2; i <= lives; i++) # by insertion
			for (k = i; k > 1 && life[k - 1] > life[k]; k--) {
				x = life[k]; life[k] = life[k - 1]; life[k - 1] = x
			}
		print "burst", "-", most + 0
		if (deaths) print "young_deaths", "-", young / deaths
		half = int(lives / 2)
		if (lives) print "median_life", "-", (life[lives - half] + life[half + 1]) / 2
	}' | rows

# How often the worst of a layer is below mean - sd, by each formula, on this run's own census;
# and how often where the spread, sd / mean, is at least so much.
for fitness in A B C; do
	for spread in 0 0.2 0.4 0.6 0.8 1; do
		moe-market decide --fitness $fitness --grace 0 --spread $spread --stats "$T/stats" \
			-o "$T/events" "$run/experts.csv"
		columns "$T/stats" layer checks crossing_rate mean_spread replacements |
			awk -v f=$fitness -v s=$spread '$1 == "all" {
				if (s == 0) print "crossing_" f, "-", $3
				if (s == 0) print "spread_" f, "-", $4
				print "crossing_" f "_spread" s, "-", $5 / $2 }' | rows
	done
done
[ "$away" -lt "$end" ] || exit 0

# Replacements per check of a layer, as the run decided.
columns "$T/runs" run phase replacements | awk -v steps="$end" -v layers="$(recipe layers)" \
	-v warm="$(recipe market-warmup)" -v each="$(recipe interval)" '
	$1 != "mean" && $1 != "sd" && $2 == "all" {
		checks = int(steps / each) - int(warm / each)
		print "replaced", "-", $3 / checks / layers }' | rows

# Who is asleep in the code: at most a quarter of a fair share of its layer.
quarter=$(awk -v n="$(recipe experts)" 'BEGIN { print 0.25 / n }')
moe-shift memory --dormant "$quarter" "$run" 2>/dev/null >"$T/use"
columns "$T/use" layer expert phase share used_after tokens | awk -v q="$quarter" '
	$3 == 0 { used[$1, $2] = $4 > q }
	$3 == 1 && $6 == 0 { tokenless++ }
	$3 == 1 && $4 <= q {
		if (used[$1, $2]) asleep++; else idle++
		sleeps[$1, $2] = used[$1, $2]
	}
	$3 == 2 { returned = 1 }
	$3 == 2 && sleeps[$1, $2] { if ($5 != "-") { woken++; after += $5 } }
	END {
		print "tokenless", "-", tokenless + 0
		print "asleep", "-", asleep + 0
		print "idle", "-", idle + 0
		if (returned && asleep) print "woken", "-", woken / asleep
		if (woken) print "woken_after", "-", after / woken
	}' | rows

# How far weights move while the code trains, of those asleep or idle and of the others.
[ -e "$run/ckpt-$back.safetensors" ] || exit 0
moe-shift memory --dormant "$quarter" "$run" "$run/ckpt-$away.safetensors" \
	"$run/ckpt-$back.safetensors" 2>/dev/null >"$T/drift"
columns "$T/drift" state drift dormant | awk '
	$1 == "kept" { kept++; n[$3]++; sum[$3] += $2 }
	$1 == "gone" { gone++ }
	END {
		print "kept", "-", kept / (kept + gone)
		if (n[1]) print "drift_dormant", "-", sum[1] / n[1]
		if (n[0]) print "drift_active", "-", sum[0] / n[0]
	}' | rows

# The two of each layer that code uses least at its end are switched off, or else the next two; not
# where a layer has fewer than four.
columns "$run/experts.csv" step layer slot tokens | awk -v to="$back" '
	$1 > to - 500 && $1 <= to { tokens[$2 "," $3] += $4 }
	END { for (k in tokens) { split(k, s, ","); print s[1], s[2], tokens[k] } }' |
	sort -k1,1n -k3,3n -k2,2n |
	awk '{ print $1, $2, $1 == layer ? ++n : n = 0; layer = $1 }' >"$T/order"
awk '{ last[$1] = $3 } END { for (l in last) if (last[l] < 3) exit 1 }' "$T/order" || exit 0
loss() {
	moe-train -j 1 --eval "$1" "$text/$2.held" >"$T/loss"
	columns "$T/loss" loss
}
for domain in prose code; do
	whole=$(loss "$run/ckpt-$back.safetensors" $domain)
	for who in least next; do
		{
			echo step,layer,slot,event
			awk -v step="$back" -v from=$([ $who = least ] && echo 0 || echo 2) '
				$3 >= from && $3 < from + 2 { print step "," $1 "," $2 ",death" }' \
				"$T/order"
		} >"$T/off.csv"
		moe-market apply -o "$T/off.safetensors" "$run/ckpt-$back.safetensors" "$T/off.csv"
		without=$(loss "$T/off.safetensors" $domain)
		echo "${domain}_without_$who" - "$without" "$whole" |
			awk '{ $3 -= $4; print }' | rows
	done
done
