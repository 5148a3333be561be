#!/bin/sh
# quality.sh TEXT [DIR]: does moe-train learn as well as PyTorch?  Both train nano for 1000 steps on
# the first nine tenths of TEXT, with seeds 1 2 3, and are validated on the rest.  Ends in CSV: the
# validation losses in nats.  Takes about twenty minutes; with DIR the runs are kept there, and what
# is complete is not run again.
set -eu
LC_ALL=C
B=${B:-bin}
case $B in /*) PATH=$B:$PATH ;; *) PATH=$PWD/$B:$PATH ;; esac
export LC_ALL PATH
[ $# = 1 ] || [ $# = 2 ] || {
	echo "usage: sh t/bench/quality.sh TEXT [DIR]" >&2
	exit 2
}
steps=${QUALITY_STEPS:-1000}
quarter=$((steps / 4))
if [ $# = 2 ]; then
	T=$2
	mkdir -p "$T"
else
	T=$(mktemp -d "${TMPDIR:-/tmp}/moe-quality.XXXXXX")
	trap 'rm -rf "$T"' EXIT
	trap 'exit 1' HUP INT TERM
fi

size=$(wc -c <"$1")
head -c $((size * 9 / 10)) "$1" >"$T/train"
tail -c +$((size * 9 / 10 + 1)) "$1" >"$T/val"

# Each leaves WHO.SEED.csv, whose columns step and val_loss are read.
how="--config nano --steps $steps --lr 1e-3 --warmup $((steps / 10)) --schedule cosine"
how="$how --val-every $quarter"
ours() {
	moe-train $how --seed "$1" --val "$T/val" --loss-csv "$T/ours.$1.csv" -o "$T/run.$1" \
		"$T/train"
}
peer() {
	[ -f "$T/peer.$1.csv" ] || /usr/bin/python3 t/bench/torch_moe.py --train $how \
		--seed "$1" --val "$T/val" --loss-csv "$T/peer.$1.csv" "$T/train" >/dev/null
}

# losses FILE STEP
losses() {
	awk -F, -v step="$2" 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i }
		$at["step"] == step { print $at["val_loss"] }' "$1"
}

for seed in 1 2 3; do
	for who in ours peer; do
		echo "quality: $who, seed $seed" >&2
		$who $seed
	done
done
echo trainer,step,seed_1,seed_2,seed_3,mean,sd
for step in "$quarter" $((2 * quarter)) "$steps"; do
	for who in ours peer; do
		for seed in 1 2 3; do
			losses "$T/$who.$seed.csv" "$step"
		done | awk -v who="$who" -v step="$step" '
			{ v[NR] = $1; sum += $1 }
			END {
				if (NR != 3) exit 1
				for (i in v) square += (v[i] - sum / 3) ^ 2
				printf "%s,%d,%.4f,%.4f,%.4f,", who, step, v[1], v[2], v[3]
				printf "%.4f,%.4f\n", sum / 3, sqrt(square / 2)
			}'
	done
done
