#!/bin/sh
# keystore.sh RUN VARIANT SEED TEXT [look]: what one run of keystore.mk has come to, as CSV
# variant,seed,figure,phase,value.  TEXT is the directory of the texts; look: also at who works with
# whom, and at what each layer knows.  What each figure means stands in moe-claims(7).
set -eu
LC_ALL=C
export LC_ALL
run=$1 variant=$2 seed=$3 text=$4 look=${5:-}
T=$(mktemp -d "${TMPDIR:-/tmp}/moe-claims.XXXXXX")
trap 'rm -rf "$T"' EXIT
trap 'exit 1' HUP INT TERM
. "$(dirname "$0")/columns.sh"
model=$run/ckpt.safetensors
layers=$(recipe layers)

columns "$run/loss.csv" val_loss | awk '$1 != "-" { val = $1 } END {
	if (val != "") { print "val_loss", "-", val; print "perplexity", "-", exp(val) } }' | rows

# There and back: how much of the stories the code cost, and in how many steps they were back.
set -- $(sed -n 's/^made-of train [^@]*@\([1-9][0-9]*\) .*/\1/p' "$run/recipe")
if [ $# = 2 ]; then
	columns "$run/loss.csv" step val_loss | awk -v away="$1" -v back="$2" '
		$2 == "-" { next }
		$1 == away { left = $2 }
		$1 == back { print "forgot", "-", $2 - left; print "left_at", "-", left }
		$1 == back + 20 { print "after_20", "-", $2 - left }' | rows
	moe-shift score --metric val_loss --level left --shift last --scratch-self "$run" \
		2>/dev/null >"$T/score"
	columns "$T/score" steps | awk -v most="$(($(recipe steps) - $2))" '
		{ print "back_steps", "-", $1 == "-" ? most : $1 }' | rows
	exit 0
fi

# Seconds of a step and of its routing, the median of those after the first five; of one seed.
time=$(dirname "$(dirname "$run")")/$variant.time.csv
[ ! -e "$time" ] || columns "$time" step seconds routing | awk '$1 > 5 { print $2, $3 }' | sort -n |
	awk '{ s[NR] = $1; r[NR] = $2 } END { m = int((NR + 1) / 2)
		print "step_ms", "-", 1000 * s[m]; print "routing_ms", "-", 1000 * r[m]
		print "routing_share", "-", r[m] / s[m] }' | rows
[ "$(recipe dense)" = 0 ] && [ "$(recipe experts)" -le 16384 ] || exit 0

# Who is used on the text held out, by any choice, the mean over the layers.
moe-train -j 1 --eval "$model" --experts-csv "$T/census" --trace-csv "$T/trace" "$text/held.tok" \
	>"$T/loss"
columns "$T/census" layer tokens | sort -k1,1n -k2,2n | awk -v layers="$layers" '
	function flush(    i, g, h) {
		for (i = 1; i <= n; i++) {
			g += (2 * i - n - 1) * x[i]
			if (x[i]) h -= x[i] / sum * log(x[i] / sum)
			unused += (x[i] == 0) / n / layers
		}
		gini += g / n / sum / layers
		entropy += h / log(n) / layers
		n = sum = 0
	}
	n && $1 != layer { flush() }
	{ layer = $1; x[++n] = $2; sum += $2 }
	END {
		flush()
		print "gini", "-", gini
		print "entropy", "-", entropy
		print "unused", "-", unused
	}' | rows
[ "$look" ] || exit 0

# Whether those who work together are neighbours, of the experts that are used at all.
for layer in $(seq 0 $((layers - 1))); do
	moe-knn galaxy --layer "$layer" --stats "$T/sky" "$model:$layer" "$T/trace" >"$T/stars"
	columns "$T/stars" degree silhouette | awk '$1 > 0 { n++; s += $2 }
		END { print "silhouette", s / n }'
	columns "$T/sky" quantity value | grep '^modularity'
done | awk -v layers="$layers" '{ sum[$1] += $2 / layers }
	END { for (f in sum) print f, "-", sum[f] }' | rows

# What the choices of each layer know, in shares of their entropy; of the token, how much is form.
moe-knn trace -j 1 --bpe "$text/bpe" --stats "$T/layers" "$model" "$text/held" >"$T/walk"
columns "$T/layers" layer entropy token form context | awk '{
	print "word", $1, $3 / $2
	print "form", $1, $4 / $3
	print "context", $1, $5 / $2
	if (NR == 1) { word = $3 / $2; context = $5 / $2 }
	drop = word - $3 / $2; rise = $5 / $2 - context }
	END { if (NR < 2) exit
		print "word_drop", "-", drop; print "context_rise", "-", rise }' | rows
