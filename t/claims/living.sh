#!/bin/sh
# living.sh RUN VARIANT SEED TEXT [FIRST]: what one run of living.mk has come to, as CSV
# variant,seed,figure,phase,value.  TEXT is the directory of the texts, FIRST the run whose first
# escape says where to look at losses.  What each figure means stands in moe-claims(7).
set -eu
LC_ALL=C
export LC_ALL
run=$1 variant=$2 seed=$3 text=$4 first=${5:-}
T=$(mktemp -d "${TMPDIR:-/tmp}/moe-claims.XXXXXX")
trap 'rm -rf "$T"' EXIT
trap 'exit 1' HUP INT TERM
. "$(dirname "$0")/columns.sh"
steps=$(recipe steps) census=$(tail -n 1 "$run/layers.csv" | cut -d, -f1)

# Losses: held out, at the end; of the last 200 batches; of the batches 50 to 250 after the first
# escape of FIRST, until which all of its siblings are the same run.
at=
[ -z "$first" ] || at=$(columns "$first/events.csv" step event | sed -n 's/ escape$//p' | head -n 1)
columns "$run/loss.csv" step loss val_loss | awk -v at="$at" -v steps="$steps" '
	{ loss[$1] = $2; if ($3 != "-") val = $3 }
	END {
		print "val_loss", "-", val
		for (s = steps - 199; s <= steps; s++) sum += loss[s] / 200
		print "loss", "-", sum
		if (at == "" || at + 250 > steps) exit
		for (s = at + 51; s <= at + 250; s++) after += loss[s] / 200
		print "after_escape", "-", after
	}' | rows
columns "$run/experts.csv" step layer | awk '
	{ n[$1]++; last = $1; most = n[$1] > most ? n[$1] : most }
	END { print "experts", "-", n[last]; print "most", "-", most }' | rows
[ "$(recipe lifecycle)" = living ] || life=none

# Births and deaths, and who is left by them at the last census, which shows who lived before the
# events of its step.
founders=$(recipe experts | awk -F, -v layers="$(recipe layers)" '
	{ for (i = 1; i <= NF; i++) n += $i; print (NF == 1 ? n * layers : n) }')
columns "$run/events.csv" step layer event cause |
	awk -v left="$founders" -v last="$census" '
	$3 == "birth" { births++; if ($4 == "phi") relief++ }
	$3 == "death" { deaths++ }
	$1 < last { left += ($3 == "birth") - ($3 == "death") }
	$3 == "escape" { escapes++ }
	($3 == "birth" || $3 == "death") && !(($1, $2) in seen) { seen[$1, $2]; rebuilds++ }
	END {
		print "births", "-", births + 0
		print "deaths", "-", deaths + 0
		print "phi_births", "-", relief + 0
		print "escapes", "-", escapes + 0
		print "rebuilds", "-", rebuilds + 0
		print "left", "-", left
	}' | rows

# Of each mitosis, the demand of parent and child at the check after it, beside the parent's at the
# check of it: medians of their sum and of the child's part.  Where either has died there is none.
if [ "${life:-living}" = living ]; then
	columns "$run/experts.csv" step expert demand twin >"$T/experts"
	columns "$run/events.csv" step event expert parent |
		awk -v each="$(recipe census-every)" '
		function median(v, n,    i, k, x) {
			for (i = 2; i <= n; i++)
				for (k = i; k > 1 && v[k - 1] > v[k]; k--) {
					x = v[k]; v[k] = v[k - 1]; v[k - 1] = x
				}
			return (v[int((n + 1) / 2)] + v[int(n / 2) + 1]) / 2
		}
		FNR == 1 { file++ }
		file == 1 { demand[$1, $2] = $3; next }
		$2 == "birth" && n < 2000 {
			p = demand[$1, $4] + 0; next_check = $1 + each
			if (p > 0 && (next_check, $3) in demand && (next_check, $4) in demand) {
				c = demand[next_check, $3]
				both = c + demand[next_check, $4]
				sum[++n] = both / p
				if (both > 0) part[++m] = c / both
			}
		}
		END { if (n) { print "split_sum", "-", median(sum, n)
			print "split_child", "-", median(part, m) } }' "$T/experts" - | rows
fi

# Phi and what the removal of an expert costs at the end, nats per token that it would have had: the
# mean over the experts at the quartiles of demand in each layer.
columns "$run/layers.csv" step phi_diversity phi_product phi_distance phi_integration |
	awk -v last="$census" '$1 == last { n++; for (i = 2; i <= 5; i++) sum[i] += $i }
	END { split("- diversity product distance integration", name, " ")
		for (i = 2; i <= 5; i++) print name[i], "-", sum[i] / n }' | rows
columns "$run/experts.csv" step layer slot demand |
	awk -v last="$census" '$1 == last { print $2, $3, $4 }' | sort -k1,1n -k3,3g -k2,2n |
	awk '{ n[$1]++; line[$1, n[$1]] = $0 }
	END { for (l in n) for (q = 1; q <= 3; q++) print line[l, int(n[l] * q / 4) + 1] }' \
	>"$T/removed"
case $variant in prose-*) held=$text/prose.val ;; *) held=$text/chaos.val ;; esac
loss() {
	moe-train -j 1 --eval "$1" "$held" >"$T/loss"
	columns "$T/loss" loss
}
whole=$(loss "$run/ckpt.safetensors")
while read -r layer slot demand; do
	printf 'step,layer,slot,event\n%d,%d,%d,death\n' "$steps" "$layer" "$slot" >"$T/off.csv"
	moe-market apply -o "$T/off.safetensors" "$run/ckpt.safetensors" "$T/off.csv"
	echo "$(loss "$T/off.safetensors") $whole $demand"
done <"$T/removed" | awk '$3 > 0 { sum += ($1 - $2) / $3; n++ }
	END { if (n) print "cost", "-", sum / n }' | rows
