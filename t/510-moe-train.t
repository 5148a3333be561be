#!/bin/sh
# moe-train: what a run leaves behind, and when it begins, repeats, extends or is refused.
. t/lib.sh

tiny='-j1 --dim 16 --layers 2 --heads 2 --experts 4 --hidden 24 --seq 16 --batch 4'
train() {
	moe-train $tiny "$@"
}
# Rows of a CSV below its header.
rows() {
	tail -n +2 "$1" | wc -l
}

cd "$T" || exit 1
words 20000 1 >a.txt
words 6000 2 >b.txt
words 3000 3 >v.txt

# --- the files ---
ok "a run" train --steps 12 --census-every 4 --val-every 5 --val v.txt --trace --trace-every 6 \
	-o run a.txt
is "$(cat err)" "" "nothing is said when stderr is no terminal"
is "$(ls run | tr '\n' ' ')" \
	"ckpt.safetensors environment events.csv experts.csv layers.csv loss.csv recipe \
trace.csv.gz " \
	"the files of a run"
is "$(head -n 1 run/loss.csv)" "step,domain,tokens,loss,val_loss,lr,grad_norm,load_balance,\
load_balance_weighted,z,z_weighted,entropy,entropy_weighted,balance,balance_weighted,ortho,\
ortho_weighted,oracle,oracle_weighted,divergence,divergence_weighted" "columns of loss.csv"
is "$(head -n 1 run/experts.csv)" "step,layer,slot,expert,parent,born,tier,tokens,demand,quality,\
exclusivity,flops,fitness,effective,vitality,usage,accuracy,class,below,width,demand_essential,\
quality_essential,exclusive_essential,gradient,energy,over,starved,twin,load_factor,\
gradient_factor,phi,phi_high,loss_low,norm_mean,plateau,escape,left" "columns of experts.csv"
is "$(head -n 1 run/events.csv)" "step,layer,slot,event,expert,parent,value,threshold,cause,\
to_layer,to_slot,width,sigma,origin,left" "columns of events.csv"
is "$(head -n 1 run/layers.csv)" "step,layer,balance,z,entropy,maxvio,usage_q25,usage_median,\
usage_q75,dead,gini,coactivation,phi_diversity,phi_product,phi_distance,phi_integration" \
	"columns of layers.csv"
is "$(zcat run/trace.csv.gz | head -n 1)" "step,seq,pos,token,layer,rank,expert,weight,correct" \
	"columns of trace.csv"
is "$(column run/loss.csv step | tr '\n' ' ')" "1 2 3 4 5 6 7 8 9 10 11 12 " "a row for each step"
is "$(awk -F, 'NR > 1 && $5 != "" { print $1 }' run/loss.csv | tr '\n' ' ')" "5 10 12 " \
	"validation every 5 steps and at the end"
is "$(column run/loss.csv tokens | sort -u)" 64 "tokens of a step"
is "$(column run/experts.csv step | uniq -c | tr -s ' \n' ' ')" " 8 4 8 8 8 12 " \
	"a census of 8 experts every 4 steps"
is "$(column run/experts.csv left | head -n 8 | tr '\n' ' ')" "7 6 5 4 3 2 1 0 " \
	"rows still to come"
is "$(awk -F, 'NR > 1 { n[$1 "," $2] += $8; d[$1 "," $2] += $9; u[$1 "," $2] += $16 }
	END { for (i in n) print n[i], d[i], u[i] }' run/experts.csv | sort -u)" "512 1 1" \
	"each window's tokens, demand and usage add up in each layer"
is "$(rows run/layers.csv)" 6 "rows of layers.csv"
is "$(rows run/events.csv)" 0 "no events"
zcat run/trace.csv.gz >trace
is "$(rows trace)" 512 "two traced steps of 64 tokens, 2 layers, 2 experts"
is "$(awk -F, 'NR > 1 { w[$1 FS $2 FS $3 FS $5] += $8 } END { for (i in w)
	if (w[i] < 0.999999 || w[i] > 1.000001) print i, w[i] }' trace)" "" "weights add up to 1"
is "$(awk -F, 'NR > 1 && $1 == 6 && $6 == 0 { print $5 "," $7 }' trace | sort | uniq -c |
	awk '{ n += $1 } END { print n }')" 128 "first choices of one step"

# Row by row the losses are those of the recipe: the load-balance term is weight times raw.
is "$(awk -F, 'NR > 1 { d = $9 - 0.01 * $8; if (d * d > 1e-16) print $1 }' run/loss.csv)" "" \
	"the weighted loss is weight times raw"
is "$(awk -F, 'NR == 2 { print ($4 > 5.4 && $4 < 5.7) }' run/loss.csv)" 1 \
	"the first loss is near that of guessing, ln 256"

# --- again ---
cp -r run before
ok "a complete run returns" train --steps 12 --census-every 4 --val-every 5 --val v.txt --trace \
	--trace-every 6 -o run a.txt
same_run run before "untouched when complete"
ok "the recipe repeats the run" moe-train -c run/recipe -o twin
same_run run twin "repeated from its recipe"
ok "the recipe from stdin" sh -c 'cat run/recipe | moe-train -c - -o third'
same run/ckpt.safetensors third/ckpt.safetensors "a recipe through a pipe"
is "$(moe-ckpt meta run/ckpt.safetensors | grep -c -e '\.txt' -e "$T")" 0 "no path in a checkpoint"
is "$(grep -c txt run/recipe)" 2 "the recipe tells where the data is"
fails 1 "another recipe" train --steps 12 --census-every 4 --val-every 5 --val v.txt --trace \
	--trace-every 6 --lr 2e-3 -o run a.txt
says '^moe-train: run: .*"lr 0.001" there, "lr 0.002" here' "the line that differs is named"
fails 1 "one validation text less" train --steps 12 --census-every 4 --val-every 5 --trace \
	--trace-every 6 -o run a.txt
says '"made-of val v@0 .*" there, "" here' "what is missing is named"
fails 1 "more steps under a cosine" train --steps 13 --census-every 4 --val-every 5 --val v.txt \
	--trace --trace-every 6 -o run a.txt
says '"steps 12" there, "steps 13" here' "the steps are named"
same_run run before "untouched when refused"

# --- longer ---
for schedule in constant wsd; do
	train --steps 4 --schedule $schedule -o short a.txt
	ok "more steps under $schedule" train --steps 7 --schedule $schedule -o short a.txt
	is "$(rows short/loss.csv)" 7 "$schedule: rows of the longer run"
	is "$(grep ^steps short/recipe)" "steps 7" "$schedule: the recipe tells the new steps"
	fails 1 "fewer steps under $schedule" train --steps 5 --schedule $schedule -o short a.txt
	fails 1 "more steps and another seed" train --steps 8 --schedule $schedule --seed 2 \
		-o short a.txt
	says '"seed 1" there, "seed 2" here' "$schedule: the seed is named"
	train --steps 7 --schedule $schedule -o long a.txt
	[ $schedule = wsd ] || same_run short long "extended"
	rm -r short long
done

# --- data ---
cp a.txt c.txt
train --steps 2 -o data c.txt
printf x >>c.txt
fails 1 "longer data" train --steps 2 -o data c.txt
says '"made-of train c@0 [0-9]+ [0-9a-f]+" there, "made-of train c@0 [0-9]+ [0-9a-f]+" here' \
	"the data's size and CRC are named"
fails 1 "a recipe with changed data" moe-train -c data/recipe -o other
says 'not what the recipe was made with' "changed data is told"
is "$(ls -d other 2>&1 | grep -c No)" 1 "nothing was begun"
ok "unless other data is asked for" moe-train -c data/recipe -o other b.txt
is "$(column other/loss.csv domain | sort -u)" b "the command line's data"
ok "a name with a blank" sh -c 'cp a.txt " odd=@3 "; moe-train "$@" --val "v= odd=@3 " -o odd \
	"n= odd=@3 "' sh $tiny --steps 2
ok "its recipe" moe-train -c odd/recipe -o odd2
same_run odd odd2 "odd names"

ok "packed tokens" sh -c 'moe-data bpe a.txt --vocab 300 -o t.bpe &&
	moe-data pack --bpe t.bpe a.txt -o a.tok'
ok "a run on packed tokens" train --steps 2 -o packed a.tok
is "$(grep ^vocab packed/recipe)" "vocab 300" "the data's vocabulary"

ok "a schedule" train --steps 9 --val b.txt --val v=v.txt --val-every 3 -o shift one=a.txt \
	two=b.txt@3 one=a.txt@6
is "$(column shift/loss.csv domain | tr '\n' ' ')" "one one one two two two one one one " \
	"domains by step"
is "$(tail -n +2 shift/events.csv)" "3,,,shift,,,,,two,,,,,,0
6,,,shift,,,,,one,,,,,,0" "a shift is an event"
is "$(head -n 1 shift/loss.csv | sed 's/.*,//')" val_loss_v "a column for the second text"
is "$(column shift/loss.csv val_loss_v | grep -c .)" 3 "validated on both"
fails 1 "two texts of one name" train --steps 9 --val v.txt --val v=b.txt -o none a.txt
says 'two texts to validate on are called v' "they are told apart by name"
ok "a held-out end" train --steps 2 --val-frac 0.1 -o frac a.txt
tail -c "$(($(wc -c <a.txt) / 10))" a.txt >end
is "$(moe-train --eval frac/ckpt.safetensors end | awk -F, 'NR == 2 { print $2 }')" \
	"$(column frac/loss.csv val_loss | tail -n 1)" "it is the last tenth"

# --- elsewhere ---
train --steps 4 --census-every 2 --trace --trace-every 2 -o here a.txt
ok "CSVs elsewhere" train --steps 4 --census-every 2 --trace --trace-every 2 -o there \
	--loss-csv l.csv --experts-csv e.csv.gz --events-csv v.csv --layers-csv y.csv \
	--trace-csv t.csv a.txt
is "$(ls there | tr '\n' ' ')" "ckpt.safetensors environment recipe " \
	"none of them in the directory"
same here/loss.csv l.csv "--loss-csv"
same here/events.csv v.csv "--events-csv"
same here/layers.csv y.csv "--layers-csv"
zcat e.csv.gz >e.csv
same here/experts.csv e.csv "--experts-csv, compressed"
zcat here/trace.csv.gz >t2.csv
same t.csv t2.csv "--trace-csv"
is "$(train --steps 4 --census-every 2 -o out --loss-csv - a.txt | tail -n 1)" \
	"$(tail -n 1 here/loss.csv)" "--loss-csv - is stdout"
mkfifo pipe
cat pipe >from-pipe &
ok "a named pipe" train --steps 4 --census-every 2 -o piped --experts-csv pipe a.txt
wait
same from-pipe here/experts.csv "through the named pipe"
ok "timing" train --steps 3 --census-every 2 -o timed --timing time.csv a.txt
is "$(head -n 1 time.csv)" \
	step,seconds,product,attention,routing,element,optimizer,census,other,tables,market \
	"columns of --timing"
is "$(rows time.csv)" 3 "rows of --timing"
is "$(awk -F, 'NR > 1 { sum = 0; for (i = 3; i <= 9; i++) sum += $i; d = sum - $2
	if (d * d > 1e-12 || $8 <= 0) print }' time.csv)" "" "the parts add up to the step"
is "$(awk -F, 'NR > 1 { print $1, ($10 > 0), ($11 > 0) }' time.csv | tr '\n' ' ')" \
	"1 0 0 2 1 1 3 0 0 " \
	"tables and market take time where a window ends"
ok "progress" train --steps 3 -v -o told a.txt
says '^moe-train: .* kernels, .* [0-9]+ workers' "the header"
says '^step 3/3 a loss [0-9.]+ .*tok/s' "the last step"

# --- every kind of model ---
try() {
	local name=$1
	shift
	ok "$name" train --steps 3 --val v.txt "$@" -o kind a.txt
	is "$(awk -F, 'NR > 1 && $4 > 4 && $4 < 7 { n++ } END { print n }' kind/loss.csv)" 3 \
		"$name: losses"
	moe-train --eval kind/ckpt.safetensors --batch 3 v.txt >eval.csv
	is "$(column eval.csv loss)" "$(column kind/loss.csv val_loss | tail -n 1)" \
		"$name: evaluated again"
	rm -r kind
}
for router in linear mlp cosine random; do
	try "router $router" --router $router
done
for act in relu relu2 swiglu reglu; do
	try "activation $act" --act $act
done
for schedule in linear constant wsd; do
	try "schedule $schedule" --schedule $schedule --warmup 1
done
try "dense" --dense
try "untied" --untied
try "grouped heads" --heads 4 --kv-heads 2
try "one expert of each" --top-k 1
try "different numbers of experts" --experts 4,8
try "different widths" --hidden 8,16,24,32
try "losses" --z-loss 1e-3 --entropy 1e-3 --load-balance 0.1
try "temperature" --temperature 2:0.5:2
try "random warm-up" --random-warmup 2
try "dormancy" --dormancy --experts 16
try "loss-free bias" --bias-rate 0.01

train --steps 3 --bias-rate 0.01 -o biased a.txt
is "$(moe-ckpt ls biased/ckpt.safetensors | grep -c bias)" 2 "a bias for each layer"
is "$(moe-ckpt ls run/ckpt.safetensors | grep -c bias)" 0 "and none without"
train --steps 3 --batch 2 --accum 2 -o accum a.txt
is "$(column accum/loss.csv tokens | sort -u)" 64 "tokens of accumulated batches"

# --- from another run's checkpoint ---
train --steps 6 --schedule constant -o whole a.txt
train --steps 3 --schedule constant -o part a.txt
ok "--resume-from" train --steps 6 --schedule constant --resume-from part/ckpt.safetensors \
	-o rest a.txt
is "$(column rest/loss.csv step | tr '\n' ' ')" "4 5 6 " "it goes on at the step"
is "$(tail -n 3 rest/loss.csv)" "$(tail -n 3 whole/loss.csv)" "as if it had never stopped"
ok "its recipe" moe-train -c rest/recipe -o rest2
same_run rest rest2 "--resume-from in a recipe"
fails 1 "nothing left to do" train --steps 3 --resume-from part/ckpt.safetensors -o none a.txt
says 'part/ckpt.safetensors: is at step 3 \(expected one before --steps 3\)' "the step is told"
ok "without an optimizer" moe-ckpt convert --no-optimizer -o bare part/ckpt.safetensors
ok "--resume-from without an optimizer" train --steps 6 --resume-from bare -o fresh a.txt
is "$(tail -n 3 fresh/loss.csv | head -n 1 | cut -d, -f4)" \
	"$(column whole/loss.csv loss | sed -n 4p)" "the first loss is the other run's"
fails 1 "another shape" train --dim 32 --steps 6 --resume-from part/ckpt.safetensors -o none a.txt
says 'part/ckpt.safetensors: tensor model.embed_tokens.weight is misshapen' "the tensor is named"
ls none >none.files 2>/dev/null
is "$(cat none.files)" "" "nothing was begun"

done_testing
