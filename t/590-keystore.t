#!/bin/sh
# moe-train --router keystore: what moves and what stays, workers and kills, what is refused.
. t/lib.sh

cd "$T" || exit 1
words 20000 1 >a.txt
words 6000 2 >b.txt
tiny='--dim 24 --layers 2 --heads 2 --experts 20 --hidden 16 --seq 24 --batch 4 --top-k 3'
keys='--router keystore --key-warmup 5 --rebirth 0.4 --delta 0.2 --theta 0.6'
train() {
	$run moe-train $tiny "$@" a.txt
}
run=
ckpt() {
	echo "$1/ckpt.safetensors"
}

# --- what moves ---
ok "none" train --router keystore --steps 0 -o begun
ok "and some" train --router keystore --steps 9 -o run
moe-ckpt diff "$(ckpt begun)" "$(ckpt run)" 2>err >differ
is "$(grep -c 'mlp\.experts' differ)" 0 "no expert has changed"
is "$(grep -Ec '^model\.layers\..*\.mlp\.(gate\.weight|gate\.usage|query\.[02]\.weight),' differ)" \
	8 "keys, usage and both matrices of the query networks have"
moe-ckpt ls "$(ckpt run)" | cut -d, -f1-3 >tensors
is "$(grep -c '^optim.*mlp\.\(experts\|gate\)' tensors)" 0 "nobody but these has moments"
is "$(grep '0\.mlp\.[gq]' tensors | grep -v optim | tr '\n' ' ')" \
	"model.layers.0.mlp.gate.weight,F32,20x24 model.layers.0.mlp.query.0.weight,F32,48x24 \
model.layers.0.mlp.query.2.weight,F32,24x48 model.layers.0.mlp.gate.usage,F32,20 \
model.layers.0.mlp.gate.reborn,I64,20 " "the tensors of a key store"
for option in 'load-balance 0' 'freeze-experts 1' 'expert-init sparse'; do
	is "$(grep -c "^$option\$" run/recipe)" 1 "unless told otherwise: $option"
done
train --router keystore --freeze-experts=0 --query linear --steps 9 -o free
moe-ckpt ls "$(ckpt free)" | cut -d, -f1-3 >tensors
is "$(grep -c '^optim.*mlp\.experts' tensors)" 160 "experts that learn have moments"
is "$(grep -c '^model\.layers\..\.mlp\.query\.weight,F32,24x24' tensors)" 2 "a query of one matrix"
train --router keystore --alpha 0 --beta 0 --delta 0 --rebirth 0 --steps 9 -o still
moe-ckpt diff "$(ckpt begun)" "$(ckpt still)" 2>err >differ
is "$(awk -F, '/gate\.weight/ && $4 > 1e-6' differ)" "" \
	"without forces keys stay, but for what was beyond length 1 by rounding"
train --router keystore --key-every 10 --steps 9 -o seldom
moe-ckpt diff "$(ckpt begun)" "$(ckpt seldom)" 2>err >differ
is "$(grep -c 'gate\.' differ)" 0 "and between their moves"
train $keys --steps 30 -o reborn
moe-ckpt get "$(ckpt reborn)" model.layers.1.mlp.gate.reborn -o born.npy 2>err ||
	cat err >&2
moe-ckpt get "$(ckpt run)" model.layers.1.mlp.gate.weight -o keys.npy
moe-knn search -k 1 keys.npy keys.npy >norms
is "$(awk -F, 'NR > 1 && $4 > 1.00001' norms)" "" "keys are of length 1 at most"
train --router keystore --key-norm sphere --steps 9 -o sphere
moe-knn search -k 20 "$(ckpt sphere)":0 "$(ckpt sphere)":0 |
	awk -F, '$1 == $3 && ($4 < 0.99999 || $4 > 1.00001)' >norms
is "$(cat norms)" "" "or, on the sphere, of length 1"

# --- frozen experts of any router ---
train --freeze-experts --expert-init orthogonal --steps 0 -o linear0
train --freeze-experts --expert-init orthogonal --steps 9 -o linear
moe-ckpt diff "$(ckpt linear0)" "$(ckpt linear)" 2>err >differ
is "$(grep -c 'mlp\.experts') $(grep -c '^model.*gate.weight' differ)" "0 2" \
	"a learned router over frozen experts" <differ

# --- experts of other models ---
train --experts 8 --steps 5 -o one
train --experts 12 --seed 2 --steps 5 -o two
ok "pretrained" train --router keystore --expert-init "pretrained:$(ckpt one),$(ckpt two)" \
	--steps 5 -o both
moe-ckpt get "$(ckpt both)" model.layers.1.mlp.experts.9.up_proj.weight -o got.npy
moe-ckpt get "$(ckpt two)" model.layers.1.mlp.experts.1.up_proj.weight -o want.npy
same got.npy want.npy "expert 9 is the second model's expert 1, and stays"
is "$(moe-ckpt meta "$(ckpt both)" recipe | grep -c "$(ckpt one)")" 0 "no path in a checkpoint"
ok "from its recipe" moe-train -c both/recipe -o both2
same "$(ckpt both2)" "$(ckpt both)" "the same again"
is "$(grep -c '^made-of experts -@[01] ' both/recipe)" 2 "the recipe knows whose they were"
cp "$(ckpt run)" "$(ckpt two)"
fails 1 "others at that place" moe-train -c both/recipe -o both3
says 'not what the recipe was made with' "are told"
fails 1 "too few" train --router keystore --expert-init "pretrained:$(ckpt one)" -o none
says '^moe-train: --expert-init pretrained: 8 experts for the 20 slots of layer 0 \(expected' "told"
fails 1 "too many" train --experts 7 --expert-init "pretrained:$(ckpt one)" -o none
says 'one/ckpt.safetensors: more experts than the 7 slots of layer 0' "told"
fails 1 "of another width" train --experts 8 --hidden 8 --expert-init "pretrained:$(ckpt one)" \
	-o none
says 'one/ckpt.safetensors: expert 0 of layer 0 has no up_proj of 8 by 24' "told"

# --- the same bytes ---
whole() {
	$run moe-train $tiny $keys --accum 2 --steps 24 --census-every 7 --key-every 2 --trace \
		--trace-every 6 "$@" a.txt b.txt@9
}
ok "one worker" whole -j1 -o w1
ok "two" whole -j2 --ckpt-every 1 -o w2
same_run w1 w2 "the same bytes"
kills=0
for delay in 0.02 0.05 0.03 0.08 0.04 0.06 0.1 0.07 0.12 0.15 0.2; do
	status=0
	run="timeout -s KILL $delay"
	whole -j1 --ckpt-every 3 -o killed 2>err || status=$?
	[ $status = 137 ] && kills=$((kills + 1))
	[ $status = 0 ] && break
done
run=
ok "killed now and then" whole -j2 -o killed
same_run w1 killed "the same bytes after $kills kills"
is "$((kills > 0))" 1 "it was killed"
train $keys --steps 12 --schedule constant -o long
train $keys --steps 5 --schedule constant -o part
ok "from another run" train $keys --steps 12 --schedule constant \
	--resume-from "$(ckpt part)" -o rest
is "$(tail -n 7 rest/loss.csv)" "$(tail -n 7 long/loss.csv)" "goes on as if it had never stopped"

# --- in use ---
train --router keystore --steps 5 --val b.txt -o used
is "$(moe-train --eval "$(ckpt used)" --batch 3 b.txt | awk -F, 'NR == 2 { print $2 }')" \
	"$(tail -n 1 used/loss.csv | cut -d, -f5)" "evaluated again"
ok "it goes on" sh -c "printf the | moe-train --sample $(ckpt used) --tokens 9 --greedy" >text
is "$(wc -c <text)" 12 "by nine bytes"
moe-ckpt convert --no-optimizer -o bare "$(ckpt used)"
is "$(moe-train --eval bare b.txt)" "$(moe-train --eval "$(ckpt used)" b.txt)" "without moments"

train --router keystore --act relu --steps 5 -o relu
moe-prefetch pack -o store "$(ckpt relu)"
printf the >prompt
moe-train --sample "$(ckpt relu)" --tokens 9 --greedy <prompt >want
for predictor in none gate; do
	moe-prefetch run store --memory 300K --greedy --tokens 9 --predictor $predictor \
		--stats stats <prompt >got
	same got want "in less memory, with the predictor $predictor"
done
is "$(awk -F, '$1 == "recall" { print ($2 > 0.3) }' stats)" 1 \
	"the next layer's query finds experts before its turn, twice as often as chance"

# --- refused ---
bad() {
	fails 2 "$2" train --router keystore $1 -o none
	says "^moe-train: $2.*\(-h for usage\)$" "is told"
}
for option in '--load-balance 0.1' '--z-loss 1' '--entropy 1' '--balance 1' '--oracle 1' \
	'--ortho 1' '--bias-rate 0.1' '--random-warmup 2' '--lifecycle market' \
	'--lifecycle living' '--at-shift prune'; do
	bad "$option" "${option% *} does not go with --router keystore"
done
bad '--dense' '--dense has no router'
bad '--top-k 21' 'top-k 21 of 20 experts'
bad '--query deep' 'option --query: "deep" is not one of linear.mlp'
bad '--key-every 0' 'option --key-every: "0" is not a whole number'
bad '--delta 2' 'option --delta: "2" is not a number between 0 and 1'
bad '--attraction median' 'option --attraction: "median" is not one of sum.mean'
bad '--expert-init zeros' '--expert-init "zeros" .expected normal, sparse'
bad '--expert-init pretrained:' '--expert-init "pretrained:" .expected pretrained:CKPT'
bad '--task classify' '--router keystore, --freeze-experts and --expert-init are not for'
fails 1 "pretrained by nobody" train --router keystore --expert-init pretrained -o none2
says '--expert-init pretrained .expected pretrained:CKPT, or --experts-from' "is told"
fails 2 "experts from somebody, who are not wanted" train --experts-from "$(ckpt one)" -o none2
says '--experts-from .expected it with --expert-init pretrained' "is told"
fails 1 "pretrained by what is not there" train --expert-init pretrained:nobody -o none2
says '^moe-train: nobody: No such file' "is told"
printf 'step,layer,slot,event\n5,0,3,freeze\n' >events
ok "an expert may be frozen" moe-market apply -o frozen "$(ckpt used)" events
printf 'step,layer,slot,event\n5,0,3,death\n' >events
fails 1 "nobody dies in a key store" moe-market apply -o none "$(ckpt used)" events
says 'death in a key store, whose experts stay' "it is told"
printf 'step,layer,slot,event\n5,0,3,thaw\n' >events
fails 1 "nor do its experts thaw" moe-market apply -o none "$(ckpt used)" events
says 'thaw of one of the model.s, which do not learn' "it is told"

done_testing
