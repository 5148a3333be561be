#!/bin/sh
# Routing losses inside moe-train: what is logged is what is minimised, and it does what it should.
. t/lib.sh
cd "$T" || exit 1
words 20000 1 >a.txt

# A run of 30 steps, with an uneven start that a wide router keeps.
train() {
	moe-train --dim 16 --heads 2 --hidden 16 --experts 6 --layers 2 --seq 16 --batch 8 \
		--steps 30 --lr 0.01 --load-balance 0 --census-every 30 "$@" a.txt
}
ok "a run without" train -o off
ok "one with balance and ortho" train -o on --balance 0.5 --ortho 0.2 --entropy 0.1
ok "one with them normalised" train -o norm --balance 0.5 --ortho 0.2 --entropy 0.1 \
	--loss-scale normalised --steps 1
is "$(awk -F, 'NR > 1 { print $14 "|" $15 "|" $16 "|" $17 }' off/loss.csv | sort -u)" "|0||0" \
	"what is off is not measured"
is "$(awk -F, 'NR > 1 && ($15 - 0.5 * $14 > 1e-8 || $15 - 0.5 * $14 < -1e-8 ||
	$17 - 0.2 * $16 > 1e-8 || $17 - 0.2 * $16 < -1e-8 || $13 + 0.1 * $12 > 1e-7) { print $1 }' \
	on/loss.csv)" "" "weighted is weight times raw"
is "$(awk -F, 'NR == 2 { e = $13 + 0.1 * $12 / log(6); print (e < 1e-7 && e > -1e-7),
	($15 > 0.5 * $14), $17 == 0.2 * $16 || $17 - 0.2 * $16 < 1e-8 }' norm/loss.csv)" "1 1 1" \
	"normalised: entropy over ln E, balance with the variance of E c"
is "$(sed -n 2p norm/loss.csv | cut -d, -f3,4,8,10,12,14,16)" \
	"$(sed -n 2p on/loss.csv | cut -d, -f3,4,8,10,12,14,16)" "raw columns do not know the scale"

# Oracle and divergence, beside the same run without.
ok "a run with oracle and divergence" train -o more --tau 0.1 --oracle 1 --divergence 0.5
is "$(awk -F, 'NR > 1 && ($19 - $18 > 1e-8 || $18 - $19 > 1e-8 || $21 - 0.5 * $20 > 1e-8 ||
	0.5 * $20 - $21 > 1e-8) { print $1 }' more/loss.csv)" "" "weighted is weight times raw"
is "$(awk -F, 'NR > 1 { print $18 "|" $19 "|" $20 "|" $21 }' off/loss.csv | sort -u)" "|0||0" \
	"what is off is not measured"
is "$(awk -F, 'NR > 1 { print ($18 > 0 && $20 >= 0 && $20 <= 2) }' more/loss.csv | sort -u)" 1 \
	"both are what they can be"
ok "a run with divergence" train -o apart --divergence 3
ok "one that hardly has any" train -o free --divergence 1e-9
# last NAME: the mean divergence of the last ten steps
last() {
	tail -n 10 "$1/loss.csv" | awk -F, '{ s += $20 } END { print s / 10 }'
}
is "$(awk -v a="$(last apart)" -v b="$(last free)" 'BEGIN { print (a < b / 2) }')" 1 \
	"divergence halves what it is about, or better"
ok "a run with oracle" train -o told --oracle 3 --tau 0.1
ok "one that hardly is" train -o deaf --oracle 1e-9 --tau 0.1
is "$(awk -v a="$(tail -n 1 told/loss.csv | cut -d, -f18)" \
	-v b="$(tail -n 1 deaf/loss.csv | cut -d, -f18)" \
	'BEGIN { print (a > 0 && a < b / 10) }')" 1 "who listens agrees with the oracle"
ok "the same with one worker" train -o told1 --oracle 3 --tau 0.1 -j1
same told1/loss.csv told/loss.csv "has the same losses"
ok "labels" train -o tiers --tiers 3,1,2 --steps 30
is "$(column tiers/experts.csv tier | tr '\n' ' ')" "0 0 0 1 2 2 0 0 0 1 2 2 " "are in the census"
fails 2 "labels that do not sum" train -o bad --tiers 3,2
says 'tiers sum to 5 .expected 6' "are refused"

# raw NAME: of the last step
raw() {
	column on/loss.csv "$1" | tail -n 1
}
column off/layers.csv gini >off.gini
column on/layers.csv gini >on.gini
is "$(paste off.gini on.gini | awk '{ print ($2 < $1 / 2) }' | uniq)" 1 \
	"balance halves the Gini coefficient of each layer, or better"
is "$(awk -v a="$(column on/loss.csv ortho | sed -n 1p)" -v b="$(raw ortho)" \
	'BEGIN { print (b < a / 2 && a > 0) }')" 1 "ortho falls"

# KL + variance of one step, from that step's trace at K = E, where weights are probabilities.
ok "a traced step" train -o trace --balance 1 --top-k 6 --steps 1 --trace --trace-every 1
is "$(zcat trace/trace.csv.gz | awk -F, 'NR > 1 { c[$5 "," $7] += $8 / 128 } END {
	for (i in c) b += c[i] * log(6 * c[i]) + (c[i] - 1 / 6) ^ 2 / 6; printf "%.5f", b }')" \
	"$(column trace/loss.csv balance | awk '{ printf "%.5f", $1 }')" "balance from the trace"

# Killed at the tenth step and gone on with: the same bytes.
ok "ten steps" train -o cut --balance 0.5 --ortho 0.2 --entropy 0.1 --schedule constant --steps 10
ok "and twenty more" train -o cut --balance 0.5 --ortho 0.2 --entropy 0.1 --schedule constant
ok "all at once" train -o whole --balance 0.5 --ortho 0.2 --entropy 0.1 --schedule constant -j1
same cut/loss.csv whole/loss.csv "a run that was resumed has the same losses"
fails 2 "a negative weight" train -o bad --ortho -1
done_testing
