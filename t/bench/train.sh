#!/bin/sh
# bench,config,ours,peer,unit,ratio,share_of_peak: training the reference configurations beside
# PyTorch at its best (torch_moe.py), in turn, BENCH_ROUNDS times: the median of the runs' medians.
# ratio: how many times better ours is, faster or smaller.  share_of_peak: the model's FLOPs per
# second, of the machine's sgemm peak as sampled before every run.  Without PyTorch, no peer.
. t/bench.sh
rounds=${BENCH_ROUNDS:-4}

SKIP=2 # steps before the speed has settled
cat lib/*/*.[ch] >"$T/text"
python=/usr/bin/python3
"$python" -c 'import torch' 2>/dev/null || {
	python=
	echo "train: no peer (as root: apt-get install python3-torch libopenblas0-openmp)" >&2
}


# measured FILE COMMAND...: run it quietly, note its memory
measured() {
	"$B/t/bench/peak" "$@" 2>"$T/err" || {
		cat "$T/err" >&2
		exit 1
	}
}

# Each adds to what is known of a config: CONFIG.speed.WHO, CONFIG.memory.WHO, CONFIG.peak.
ours() {
	measured "$T/$1.memory.ours" moe-train --config "$1" --steps "$2" --timing "$T/steps" \
		-o "$T/run" "$T/text"
	rm -r "$T/run"
	sed 1d "$T/steps" | awk -F, -v skip="$SKIP" -v tokens="$(plan "$1" tokens)" \
		'NR > skip { print tokens / $2 }' | median >>"$T/$1.speed.ours"
}
peer() {
	measured "$T/$1.memory.peer" "$python" t/bench/torch_moe.py --train --config "$1" \
		--steps "$2" --skip "$SKIP" "$T/text" >"$T/row"
	awk -F, 'END { print $4 }' "$T/row" >>"$T/$1.speed.peer"
}
peak() {
	"$B/t/bench/peak" | cut -d, -f3 >>"$T/$1.peak"
}

# plan CONFIG QUANTITY: of one step
plan() {
	[ -f "$T/$1.plan" ] || moe-train --config "$1" --steps 1 --dry-run >"$T/$1.plan"
	awk -F, -v what="$2" '$1 == what { print $2 }' "$T/$1.plan"
}

rows() {
	[ "$python" ] || : >"$T/$1.speed.peer" >"$T/$1.memory.peer"
	awk -v config="$1" -v flops="$(plan "$1" 'FLOPs per token')" \
		-v peak="$(median "$T/$1.peak")" \
		-v ours="$(median "$T/$1.speed.ours")" -v peer="$(median "$T/$1.speed.peer")" \
		-v mine="$(median "$T/$1.memory.ours")" -v its="$(median "$T/$1.memory.peer")" '
	function known(format, x) { return peer == "" ? "" : sprintf(format, x) }
	BEGIN {
		if (peer == "") peer = its = ""
		printf "train,%s,%.0f,%s,tokens/s,%s,%.3f\n", config, ours, known("%.0f", peer),
			known("%.2f", peer ? ours / peer : 0), ours * flops / (peak * 1e9)
		printf "train memory,%s,%.0f,%s,MiB,%s,\n", config, mine, known("%.0f", its),
			known("%.2f", its / mine)
	}'
}

for round in $(seq "$rounds"); do
	for run in nano:20 base:3 wide:6; do
		config=${run%:*} steps=$((${run#*:} + SKIP))
		echo "train: round $round of $rounds, $config" >&2
		peak "$config"
		ours "$config" "$steps"
		if [ "$python" ]; then
			peak "$config"
			peer "$config" "$steps"
		fi
	done
done
for config in nano base wide; do
	rows "$config"
done
