#!/bin/sh
# Prose, then code, then prose again: a model whose experts compete in a market and one whose
# experts are fixed learn side by side from real text of this machine for DEMO_SECONDS (75).  What
# did they forget, how fast is it back, and who did the work?  Everything is left in $B/demo; each
# figure comes from the files there.
set -eu
B=${B:-bin}
LC_ALL=C PATH=$PWD/$B:$PATH
export LC_ALL PATH
seconds=${DEMO_SECONDS:-75}
D=$B/demo
model='--layers 2 --dim 64 --heads 4 --hidden 256 --experts 8 --top-k 2 --load-balance 0 --dormancy
	--batch 8 --seq 128 --lr 2e-3 --schedule constant --warmup 50 --census-every 10 --seed 1
	-j 1'

# text NAME TEXT...: the first of these texts that the machine has; its end is held out.
text() {
	name=$1
	shift
	for which in "$@" none; do
		[ "$which" != none ] || { echo "demo: no $name; see moe-data text" >&2; exit 1; }
		! moe-data text "$which" --limit 2M -o "$D/all" 2>"$D/why" || break
		echo "demo: no text \"$which\" here: $(tail -n 1 "$D/why")" >&2
	done
	size=$(wc -c <"$D/all")
	held=8192
	[ $held -le $((size / 10)) ] || held=$((size / 10))
	head -c $((size - held)) "$D/all" >"$D/$name"
	tail -c $held "$D/all" >"$D/$name.held"
	rm "$D/all" "$D/why"
	echo "    $name   \"$which\", $((size - held)) characters, and $held more held out"
}
# columns FILE NAME...: these columns of a CSV file, by name, - for nothing
columns() {
	file=$1
	shift
	awk -F, -v want="$*" '
	/^#/ { next }
	!n { n = split(want, name, " "); for (i = 1; i <= NF; i++) at[$i] = i; next }
	{ for (i = 1; i <= n; i++)
		printf "%s%s", $at[name[i]] == "" ? "-" : $at[name[i]], i < n ? " " : "\n"
	}' "$file"
}
# both STEPS RUN RUN OPTION...: a fixed pool and a market at the same time, the latter with -v
both() {
	steps=$1 fixed=$2 market=$3
	shift 3
	moe-train $model --steps "$steps" "$@" -o "$D/$fixed" $data 2>"$D/why" &
	moe-train $model --steps "$steps" "$@" $rules -o "$D/$market" $data || {
		wait $!
		exit 1
	}
	wait $! || { cat "$D/why" >&2; exit 1; }
	rm "$D/why"
}

rm -rf "$D"
mkdir -p "$D"
echo 'Two texts:'
text prose bible licenses man
text code python c perl

# A few steps tell how many fit into the time, with a quarter more for validation.
data=$D/prose rules="--timing $D/trial.csv"
both 30 trial1 trial2 --warmup 5
phase=$(columns "$D/trial.csv" step seconds | awk -v s="$seconds" '$1 > 10 { n++; sum += $2 }
	END { print int(s / 1.25 / (sum / n) / 3 / 50) * 50 }')
rm -r "$D/trial1" "$D/trial2" "$D/trial.csv"
[ $phase -ge 50 ] || phase=50
[ $phase -le 1500 ] || phase=1500

data="prose=$D/prose code=$D/code@$phase prose=$D/prose@$((2 * phase))"
rules="--lifecycle market --fitness B --grace 20 --market-warmup $((phase / 3 / 10 * 10)) -v"
cat <<END
Two models read a character and predict the next: $phase steps of prose, $phase of code, and
$phase of prose again, about $seconds seconds.  Each has 2 layers of 8 experts, and a router sends
each character to 2 of the 8.  In one model the experts are fixed.  In the other they compete:
every 10 steps the expert that serves least for what it costs may be replaced by a mutated copy of
the fittest.
END
both $((3 * phase)) fixed market --val "prose=$D/prose.held" --val "code=$D/code.held" \
	--val-every 25

for run in fixed market; do
	columns "$D/$run/loss.csv" step val_loss val_loss_code | awk -v run=$run \
		'$2 != "-" { printf "%s %d %.9g %.9g\n", run, $1, $2 / log(2), $3 / log(2) }'
done >"$D/bits"
moe-shift score --metric val_loss --level left --scratch-self --shift last -o "$D/recovery.csv" \
	"$D/fixed" "$D/market" 2>/dev/null
moe-market runs -o "$D/replaced.csv" "$D/market"

# How often each character occurs tells so many bits; gzip finds repetitions, too.
order0() {
	od -An -v -tu1 "$1" | awk '
		{ for (i = 1; i <= NF; i++) { count[$i]++; n++ } }
		END { for (c in count) nats -= count[c] * log(count[c] / n)
		      printf "%.2f", nats / n / log(2) }'
}
gzip_bits() {
	gzip -9 <"$1" | wc -c | awk -v n="$(wc -c <"$1")" '{ printf "%.2f", 8 * $1 / n }'
}
cat <<END

How well is text predicted that neither has seen?  Bits per character, fewer are better:
END
printf '%56s %14s\n%52s %7s %7s %7s\n' prose code fixed market fixed market
awk -v phase="$phase" '
	{ prose[$1, $2] = $3; code[$1, $2] = $4 }
	function line(what, s) {
		printf "    %-43s%5.2f  %6.2f   %5.2f  %6.2f\n", what, prose["fixed", s], \
			prose["market", s], code["fixed", s], code["market", s]
	}
	END {
		line("step " phase ": prose was learnt", phase)
		line("step " 2 * phase ": code was learnt, prose forgotten", 2 * phase)
		line("step " 2 * phase + 25 ": 25 steps of prose again", 2 * phase + 25)
		line("step " 3 * phase ": the end", 3 * phase)
	}' "$D/bits"
printf '    %-44s%4s %15s\n' 'for comparison: how often each occurs' "$(order0 "$D/prose.held")" \
	"$(order0 "$D/code.held")"
printf '    %-44s%4s %15s\n' '    gzip -9' "$(gzip_bits "$D/prose.held")" \
	"$(gzip_bits "$D/code.held")"
echo
columns "$D/recovery.csv" run steps scratch_steps speedup | awk -v D="$D/" '
	{ sub(".*/", "", $1) }
	$1 == "fixed" || $1 == "market" {
		name = $1 == "fixed" ? "the fixed experts" : "the market"
		if ($2 == "-")
			print "    " name " did not get back to what they knew of prose"
		else
			printf "    %-18s was back where it left prose after %d steps;" \
				" the first time it took %d\n", name, $2, $3
	}'
columns "$D/replaced.csv" run phase replacements | awk '$1 != "mean" && $1 != "sd" {
	n[$2] = $3 }
	END { printf "    the market replaced %d experts in prose, %d in code, %d in prose again\n",
		n[0], n[1], n[2] }'

cat <<END

Who does the work?  Share of a layer's characters that each slot serves, in prose, code and prose
again; a slot whose expert was replaced has a star:
END
for run in fixed market; do
	{
		columns "$D/$run/events.csv" layer slot event | sed -n 's/ birth$/ -1 1/p'
		columns "$D/$run/experts.csv" layer slot step tokens
	} | awk -v run=$run -v phase="$phase" '
		$3 < 0 { born[$1, $2] = 1; next }
		{ p = int(($3 - 1) / phase); n[$1, $2, p] += $4; all[$1, p] += $4
		  if ($2 > last) last = $2; if ($1 > layers) layers = $1 }
		END {
			for (l = 0; l <= layers; l++) {
				printf "    %-6s  layer %d ", run, l
				for (p = 0; p < 3; p++) {
					for (s = 0; s <= last; s++)
						printf " %3.0f%s", 100 * n[l, s, p] / all[l, p],
							p < 2 ? "" : (l, s) in born ? "*" : " "
					if (p < 2) printf "  |"
				}
				print ""
			}
		}'
done
echo '                   percent'

prompt=$(head -n 3 "$D/prose.held" | tail -n 1 | cut -c 1-30)
echo "
The market's model continues \"$prompt\":"
printf '%s' "$prompt" |
	moe-train --sample "$D/market/ckpt.safetensors" --tokens 200 --temp 0.7 >"$D/sample.txt"
fold -s -w 76 "$D/sample.txt" | sed 's/^/    /; $G'
moe-view -o "$D/page.html" "$D/fixed" "$D/market"
cat <<END
All of it as a page to look at: $D/page.html
Everything is in $D: the texts, fixed/ and market/ (CSV, checkpoint, recipe), the sample.
    $B/moe-shift memory $D/market
    $B/moe-view --plot loss $D/market
    man man/moe.7
tell who slept and who woke, draw the losses here, and say what else there is.
END
