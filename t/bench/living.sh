#!/bin/sh
# bench,config,ours,peer,unit,ratio,share_of_peak: a living layer with 1,400 experts beside one with
# 8, in turn, BENCH_ROUNDS times: width 64, hidden 64, two layers, top-2, 16,384 tokens a step,
# medians of steps.  The peer of 1,400 is 8; that of the bound is what the machine could do at most,
#	max(required FLOPs / sgemm peak, bytes to move / triad bandwidth),
# both measured before each round.  Required are the products forward, twice that backward, the half
# of attention that is causal, and of the router all scores forward but only the chosen ones'
# gradients; bytes are the weights twice, the gradients twice, and what AdamW reads and writes.
# The row of bookkeeping is the share of a step that routing takes beyond its product at the peak.
. t/bench.sh
rounds=${BENCH_ROUNDS:-4}

many=1400 steps=12 skip=2
moe-data chaos --tokens 2000000 -o "$T/data" henon

# run E: seconds of its steps, and of their routing
run() {
	moe-train --dim 64 --hidden 64 --layers 2 --heads 4 --top-k 2 --batch 64 --seq 256 \
		--experts "$1" --lifecycle living --max-experts 1500 --dormancy --steps $steps \
		--timing "$T/timing" -o "$T/run" "$T/data"
	rm -r "$T/run"
	awk -F, -v skip=$skip 'NR > skip + 1 { print $2 }' "$T/timing" >>"$T/seconds.$1"
	awk -F, -v skip=$skip 'NR > skip + 1 { print $5 }' "$T/timing" >>"$T/routing.$1"
}

for round in $(seq "$rounds"); do
	echo "living: round $round of $rounds" >&2
	"$B/t/bench/peak" | cut -d, -f3 >>"$T/peak"
	"$B/t/bench/triad" | cut -d, -f3 >>"$T/triad"
	run 8
	run $many
done

awk -v few="$(median "$T/seconds.8")" -v many="$(median "$T/seconds.$many")" -v E=$many \
	-v routing="$(median "$T/routing.$many")" -v peak="$(median "$T/peak")" \
	-v triad="$(median "$T/triad")" '
BEGIN {
	C = H = 64; L = K = 2; T = 256; V = 256; N = 16384
	dense = L * (4 * C * C + K * 2 * H * C) + V * C
	score = 2 * N * L * E * C
	flops = 6 * N * dense + 6 * N * L * T * C + score + 2 * 2 * N * L * K * C
	bytes = L * E * 2 * H * C * 44
	bound = flops / (peak * 1e9)
	moved = bytes / (triad * 1e9)
	if (moved > bound) bound = moved
	printf "living,8 experts,%.0f,,tokens/s,,\n", N / few
	printf "living,%d experts,%.0f,%.0f,tokens/s,%.2f,%.3f\n", E, N / many, N / few, \
		few / many, flops / many / (peak * 1e9)
	printf "living bound,%d experts,%.0f,%.0f,tokens/s,%.2f,\n", E, N / many, N / bound, \
		bound / many
	printf "living bookkeeping,%d experts,%.3f,,share,,\n", E, \
		(routing - score / (peak * 1e9)) / many
}'
