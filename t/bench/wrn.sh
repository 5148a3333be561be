#!/bin/sh
# bench,config,ours,peer,unit,ratio,share_of_peak: training WRN-16-2 on images of 32 by 32, batch
# 128, crop and flip, beside PyTorch, in turn, BENCH_ROUNDS times: medians.  And WRN-28-10, alone:
# two steps of 16 images.  Without the peer's source or PyTorch, no peer.
. t/bench.sh
rounds=${BENCH_ROUNDS:-3}
peer=../shared/peers/torch_wrn.py python=/usr/bin/python3

"$python" -c 'import torch' 2>/dev/null && [ -f "$peer" ] || {
	peer=
	echo "wrn: no peer (python3-torch libopenblas0-openmp, and its source)" >&2
}
images=3840 batch=128
moe-data shapes --samples $images -o "$T/images"

# ours DEPTH WIDEN BATCH STEPS: images per second, of the median step but the first
ours() {
	moe-train --task classify --dense --depth "$1" --widen "$2" --batch "$3" --steps "$4" \
		--augment --wd 5e-4 --schedule cosine --timing "$T/timing" -o "$T/run" "$T/images"
	rm -r "$T/run"
	awk -F, -v n="$3" 'NR > 2 { print n / $2 }' "$T/timing" | median
}

for round in $(seq "$rounds"); do
	ours 16 2 $batch $((images / batch)) >>"$T/ours"
	[ ! "$peer" ] || "$python" "$peer" --depth 16 --width 2 --batch $batch --epochs 1 \
		--train "$T/images" --test "$T/images" 2>/dev/null |
		awk -F, 'END { print $5 }' >>"$T/peer"
done
touch "$T/peer"
awk -v ours="$(median <"$T/ours")" -v peer="$(median <"$T/peer")" 'BEGIN {
	if (peer == "")
		printf "wrn,WRN-16-2,%.1f,,images/s,,\n", ours
	else
		printf "wrn,WRN-16-2,%.1f,%.1f,images/s,%.2f,\n", ours, peer, ours / peer }'
printf 'wrn,WRN-28-10,%.2f,,images/s,,\n' "$(ours 28 10 16 3)"
