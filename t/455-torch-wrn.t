#!/bin/sh
# PyTorch, given a classifier's checkpoint by name, finds the loss and the gradients of its step.
. t/lib.sh
/usr/bin/python3 -c 'import torch' 2>/dev/null || skip_all "python3-torch is not installed"
peer=$PWD/t/bench/torch_wrn.py
cd "$T" || exit 1
moe-data shapes --samples 24 --classes 6 --size 16 -o set.bin

# step NAME OPTION...: one step on the whole $set of $size that changes no weight; AdamW's first
# moment is then a share of the gradient
set=set.bin size=16
step() {
	local name=$1
	shift
	ok "$name: a step" moe-train --task classify --pixels 3x${size}x$size --dim 24 --experts 5 \
		--batch 24 --steps 1 --lr 1e-30 --clip 0 "$@" -o "$name" $set
	ok "$name: PyTorch" sh -c \
		"/usr/bin/python3 '$peer' $name/ckpt.safetensors $set 3 $size >$name.out"
	column "$name/loss.csv" total >"$name.loss"
	ok "$name: the same loss, found $(cat "$name.loss") and $(cat "$name.out")" \
		awk 'NR == FNR { ours = $1; next }
			{ d = ours / $1 - 1; exit !(d < 1e-5 && d > -1e-5) }' \
		"$name.loss" "$name.out"
	ok "$name: the same gradients, $(cat "$name.out")" awk '{ exit !($2 < 1e-4) }' "$name.out"
}

step plain --dense --depth 16 --widen 2
is "$(cut -d' ' -f4 plain.out)" 691158 "WRN-16-2 with 6 classes has so many parameters"
step routed --depth 10 --widen 1 --load-balance 0.2 --z-loss 0.01
step all --depth 10 --widen 1 --entropy 0.2 --oracle 0.3 --balance 0.5 --ortho 0.2 \
	--divergence 0.2 --load-balance 0 --temperature 2

# The network that the literature uses, on few small images: 36.5 million parameters as published.
# With this seed no activation is so near 0 that single and double precision differ about its slope.
moe-data shapes --samples 8 --classes 8 --size 8 -o few.bin
set=few.bin size=8
step wide --dense --depth 28 --widen 10 --batch 8 --seed 2
is "$(cut -d' ' -f4 wide.out)" $((36479194 - 2 * 641)) \
	"WRN-28-10 with 10 classes, here 8, has so many parameters"
rm -r wide
done_testing
