#!/bin/sh
# moe-train --task classify: what a run leaves behind, that workers and kills leave no trace in its
# bytes, what its checkpoint makes of samples, and what is refused.
. t/lib.sh
cd "$T" || exit 1
moe-data shapes --samples 260 --classes 6 --size 8 -o set.bin
moe-data shapes --samples 60 --classes 6 --size 8 --seed 2 -o val.bin
train() {
	$run moe-train --task classify --pixels 3x8x8 --depth 10 --widen 1 --dim 16 \
		--router-hidden 8 --experts 5 --batch 20 --steps 24 --lr 3e-3 --augment \
		--census-every 8 --val-every 6 --entropy 0.1 --oracle 0.1 --balance 0.3 \
		--divergence 0.1 --ortho 0.1 --temperature 3:0.3:20 --random-warmup 3 \
		--val val.bin "$@" set.bin
}
run=
# begun LINES OPTION...: a run in the background, its number in $pid, when loss.csv has so many
begun() {
	local lines=$1
	shift
	(run=exec && train "$@") &
	pid=$!
	while [ "$(wc -l 2>/dev/null <"$name/loss.csv" || echo 0)" -lt "$lines" ] &&
		kill -0 $pid; do :; done
}

ok "a classifier is trained" train -j1 -o one
is "$(ls one | tr '\n' ' ')" \
	"ckpt.safetensors environment events.csv experts.csv layers.csv loss.csv recipe " \
	"a run directory"
is "$(column one/loss.csv step | tail -n 1)" 24 "all steps"
is "$(column one/loss.csv val_loss | grep -c .)" 4 "validated every six"
is "$(wc -l <one/experts.csv)" 16 "a census of five experts, three times"
is "$(column one/layers.csv step | tr '\n' ' ')" "8 16 24 " "and of the layer"
ok "the loss falls" awk -F, 'NR == 2 { first = $4 } { last = $4 } END { exit !(last < first) }' \
	one/loss.csv
ok "each term is in the total" awk -F, '
	NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i
		for (c in at) if (c ~ /_weighted$/) term[++n] = at[c]; next }
	{ sum = $at["loss"]; for (i = 1; i <= n; i++) sum += $term[i]
	  d = sum - $at["total"]; if (d < -1e-6 || d > 1e-6) bad = 1 }
	END { exit bad || n != 7 }' one/loss.csv
ok "usage and demand sum to one" awk -F, '
	NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
	{ u[$1] += $at["usage"]; d[$1] += $at["demand"] }
	function one(x) { return x > 0.9999 && x < 1.0001 }
	END { for (s in u) if (!one(u[s]) || !one(d[s])) exit 1 }' one/experts.csv
ok "the checkpoint is whole" moe-ckpt check one/ckpt.safetensors

# --- workers, kills, repetition
ok "two workers" train -j2 --timing time.csv -o two
is "$(head -n 1 time.csv)" "step,seconds,data,forward,backward,optimizer,tables" \
	"columns of --timing"
is "$(awk -F, 'NR > 1 { n++; d = $3 + $4 + $5 + $6 - $2
	if (d * d > 1e-12 || $4 <= 0 || $5 <= 0) bad++ }
	END { print n, bad + 0 }' time.csv)" "24 0" "a row for each step, whose parts add up"
same_run one two "make the same bytes"
name=killed
begun 13 -j2 --ckpt-every 5 -o killed
kill -9 $pid
wait $pid 2>/dev/null || :
ok "a killed run goes on" train -j1 --ckpt-every 7 -o killed
same_run one killed "to the same bytes"
name=stopped
begun 9 -j2 -o stopped
kill $pid
status=0
wait $pid || status=$?
ok "an interrupted one" train -j1 -o stopped
same_run one stopped "as well"
ok "what is complete is left" train -o one
same_run one two "as it is"
ok "its recipe" moe-train -c one/recipe -o three
same_run one three "repeats it" -x recipe
fails 1 "another recipe" train --lr 1e-3 -o one
says 'another recipe is there' "is refused"

# --- a checkpoint in use
ok "evaluated" moe-train --eval one/ckpt.safetensors val.bin >eval.csv
moe-train --eval one/ckpt.safetensors val.bin >eval.csv
is "$(column eval.csv tokens)" 60 "all samples"
ok "to the run's last validation" awk -F, '
	FNR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
	NR == FNR { loss = $at["loss"]; right = $at["accuracy"]; next }
	{ v = $at["val_loss"]; a = $at["val_accuracy"] }
	END { exit !(v - loss < 1e-6 && loss - v < 1e-6 && a == right) }' eval.csv one/loss.csv
ok "with a trace" moe-train --eval one/ckpt.safetensors --trace-csv trace.csv val.bin
moe-ecology census --experts 5 trace.csv >census.csv
is "$(column census.csv class)" "$(column one/experts.csv class | tail -n 5)" \
	"of which moe-ecology makes the run's classes"

# --- tiers are labels: they are in the census, and change nothing else
ok "tiers" train --tiers 2,2,1 -o tiers
is "$(column tiers/experts.csv tier | tr '\n' ' ')" "0 0 1 1 2 0 0 1 1 2 0 0 1 1 2 " \
	"label slots"
same tiers/loss.csv one/loss.csv "and the run is that without"
fails 2 "tiers that do not sum" train --tiers 2,2 -o no
says 'tiers sum to 4 .expected 5' "are told"

# --- without experts, and vectors
ok "a plain network" train --dense --entropy 0 --oracle 0 --balance 0 --divergence 0 --ortho 0 \
	--temperature 1 --random-warmup 0 -o dense
is "$(moe-ckpt ls dense/ckpt.safetensors | grep -c '^fc')" 2 "has a head"
awk 'BEGIN { print "a,b,class"
	for (i = 0; i < 90; i++)
		print i % 7 - 3 + i % 3 * 9 "," i % 5 "," substr("xyz", i % 3 + 1, 1) }' >v.csv
ok "vectors with words for classes" moe-train --task classify --experts 3 --dim 8 --batch 10 \
	--steps 60 --lr 0.01 -o words v.csv
moe-train --eval words/ckpt.safetensors v.csv >eval.csv
ok "are learnt" awk -F, 'NR == 2 { exit !($5 > 0.9) }' eval.csv
printf 'a,b,class\n1,2,w\n' >w.csv
fails 1 "a class that it has not learnt" moe-train --eval words/ckpt.safetensors w.csv
says 'w.csv:2: class w is none of' "is told"
printf '1,2,0\n3,4,2\n5,6,0\n7,8,2\n' >gap.csv
fails 1 "a class without samples" moe-train --task classify --experts 2 --batch 2 -o no gap.csv
says 'gap.csv: no sample of class 1 to learn from .expected some of each of the 3' "is told"
{ printf '\006\000' && head -c 192 /dev/zero; } >seven.bin
fails 1 "a label beyond the classes" moe-train --eval one/ckpt.safetensors seven.bin
says 'seven.bin: sample 0 has label 6 .expected below 6' "is told"
fails 1 "samples of another shape" moe-train --eval words/ckpt.safetensors set.bin
says 'samples of 3x8x8|no known shape' "are told"

# --- features: the head of a plain network on them is the network
ok "features" moe-train --eval dense/ckpt.safetensors --features-csv f.csv val.bin
moe-train --eval dense/ckpt.safetensors val.bin >eval.csv
is "$(head -n 1 f.csv | tr , '\n' | sed -n '1p;64p;65p' | tr '\n' ' ')$(wc -l <f.csv)" \
	"f0 f63 class 61" "a row for each sample"
# floats CKPT NAME BYTES: a tensor's values, one a line
floats() {
	moe-ckpt get "$1" "$2" | tail -c "$3" | od -A n -v -t f4 -w4
}
floats dense/ckpt.safetensors fc.weight 1536 >weight
floats dense/ckpt.safetensors fc.bias 24 >bias
column eval.csv accuracy >accuracy
is "$(awk -F, '
	FILENAME == "weight" { w[n++] = $1; next }
	FILENAME == "bias" { b[m++] = $1; next }
	FNR == 1 { next }
	{ best = -1
	  for (c = 0; c < m; c++) {
		y = b[c]
		for (i = 0; i < 64; i++) y += w[c * 64 + i] * $(i + 1)
		if (best < 0 || y > top) { top = y; best = c }
	  }
	  right += best == $65 }
	END { printf "%.9g", right / (FNR - 1) }' weight bias f.csv)" "$(cat accuracy)" \
	"make what the head makes of them"
ok "a classifier on features" moe-train --task classify --dim 8 --experts 3 --batch 20 --steps 20 \
	--val f.csv -o routed f.csv
fails 1 "features of vectors" moe-train --eval words/ckpt.safetensors --features-csv no.csv v.csv
says 'has no encoder' "are the data itself"
fails 2 "features of a run" train --features-csv f.csv -o no
says 'expected --eval' "are refused"

# --- another run's checkpoint: 24 steps and 12 are 36
ok "36 steps" train --schedule constant --steps 36 -o long
ok "24 of them" train --schedule constant -o short
ok "and 12 from there" train --schedule constant --steps 36 --resume-from \
	short/ckpt.safetensors -o from
is "$(sed 1d from/loss.csv)" "$(tail -n 12 long/loss.csv)" "are the same steps"
cp -r from again
rm again/ckpt.safetensors
ok "its recipe" moe-train -c from/recipe -o again
same_run from again "repeats it"
ok "with other weights from there" train --schedule constant --steps 36 --balance 3 \
	--resume-from short/ckpt.safetensors -o other
is "$(sed -n 2p other/loss.csv | cut -d, -f1-4)" "$(sed -n 26p long/loss.csv | cut -d, -f1-4)" \
	"it begins where the other was"
ok "and then differs" test "$(tail -n 1 other/loss.csv | cut -d, -f4)" != \
	"$(tail -n 1 long/loss.csv | cut -d, -f4)"
fails 1 "from another shape" train --dim 12 --steps 36 --resume-from short/ckpt.safetensors -o no
says 'another shape' "is refused"
rm -rf no
fails 1 "from beyond its end" train --steps 24 --resume-from short/ckpt.safetensors -o no
says 'is at step 24 .expected one before' "is refused"
rm -rf no

# --- loss-free balancing
plain='--entropy 0 --oracle 0 --balance 0 --divergence 0 --ortho 0 --load-balance 0 --temperature 1
	--random-warmup 0 --steps 60 --census-every 60'
ok "without any balancing" train $plain -o uneven
ok "with a bias" train $plain --bias-rate 0.05 -o even
ok "evens the load" awk -v a="$(column even/layers.csv gini)" \
	-v b="$(column uneven/layers.csv gini)" 'BEGIN { exit !(a < b / 2) }'
is "$(floats even/ckpt.safetensors router.bias 20 |
	awk '{ s += $1; d += $1 * $1 } END { print (s * s < 1e-10), (d > 0) }')" "1 1" \
	"which sums to 0"
ok "evaluated with it" moe-train --eval even/ckpt.safetensors --trace-csv trace.csv val.bin
is "$(moe-ecology census --experts 5 trace.csv | cut -d, -f7 | sed 1d)" \
	"$(awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
	{ print $at["usage"] * 60 }' even/experts.csv)" "it chooses as in the run"

# --- the rate ends where it is told
ok "a rate that ends at nothing" train --lr-end 0 --schedule linear -o end
is "$(column end/loss.csv lr | sed -n '1p;13p;24p' | tr '\n' ' ')" "0.003 0.0015 0.000125 " \
	"falls by a line"

# --- what is refused
fails 1 "two sets to learn from" moe-train --task classify -o no set.bin val.bin@9
fails 2 "a market" train --lifecycle market -o no
says 'not for --task classify' "is for language models"
fails 2 "experts by layer" train --experts 5,6 -o no
fails 2 "more choices than experts" train --top-k 6 -o no
fails 1 "fewer samples than a batch" train --batch 300 -o no
says '260 samples to learn from' "is told"
fails 1 "a side of 10" moe-train --task classify --pixels 1x10x10 -o no set.bin
fails 1 "an impossible depth" train --depth 12 -o no
says 'WRN-12' "is told"
cp one/ckpt.safetensors bad.safetensors
printf x | dd of=bad.safetensors bs=1 seek=20000 conv=notrunc 2>/dev/null
fails 1 "a damaged checkpoint" moe-train --eval bad.safetensors val.bin
done_testing
