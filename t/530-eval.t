#!/bin/sh
# moe-train --eval and --sample: what a checkpoint computes, by itself and beside its run.
. t/lib.sh

# Whether awk's EXPRESSION holds for the row of --eval in FILE: t l b p a are its fields.
holds() {
	awk -F, 'NR == 2 { t = $1; l = $2; b = $3; p = $4; a = $5; found = '"$1"' }
		END { exit !found }' "$2"
}

cd "$T" || exit 1
words 20000 1 >a.txt
words 5000 2 >v.txt
moe-train -j1 --dim 32 --layers 2 --heads 2 --experts 4,6 --hidden 32 --seq 24 --batch 8 \
	--steps 60 --lr 5e-3 --temperature 2:0.8 --val v.txt -o run a.txt
model=run/ckpt.safetensors

# --- the loss ---
ok "--eval" sh -c "moe-train --eval $model v.txt >e.csv"
is "$(head -n 1 e.csv)" \
	tokens,loss,bits_per_token,perplexity,accuracy,flops,parameters "columns"
is "$(column e.csv loss)" "$(tail -n 1 run/loss.csv | cut -d, -f5)" \
	"the loss is that of the run's last validation"
is "$(column e.csv tokens)" "$((($(wc -c <v.txt) - 1) / 24 * 24))" "whole windows of tokens"
ok "bits are loss / ln 2, the perplexity is exp(loss)" holds \
	'(b / (l / log(2)) - 1) ^ 2 < 1e-16 && (p / exp(l) - 1) ^ 2 < 1e-14' e.csv
ok "the model has learnt something" holds 'l < 4.5 && a > 0.2 && a < 1' e.csv
for batch in 1 3 7 1000; do
	moe-train --eval $model --batch $batch v.txt >f.csv
	same f.csv e.csv "a batch of $batch"
done
for j in 1 2 3; do
	moe-train --eval $model -j$j v.txt >f.csv
	same f.csv e.csv "$j workers"
done
ok "a pipe and gzip" sh -c "gzip -c v.txt | moe-train --eval $model - >f.csv"
same f.csv e.csv "data through a pipe"
ok "a checkpoint through a pipe" sh -c "cat $model | moe-train --eval - v.txt >f.csv"
same f.csv e.csv "a checkpoint through a pipe"

# Each window sees only itself: the whole is the mean of its parts.
size=$(wc -c <v.txt)
cut=$((24 * 50))
head -c $((cut + 1)) v.txt >v1
tail -c $((size - cut)) v.txt >v2
moe-train --eval $model v1 >e1.csv
moe-train --eval $model v2 >e2.csv
is "$(cat e1.csv e2.csv e.csv | awk -F, '/^[0-9]/ { t[++n] = $1; l[n] = $2; a[n] = $5 } END {
	d = (t[1] * l[1] + t[2] * l[2]) / t[3] - l[3]; h = (t[1] * a[1] + t[2] * a[2]) / t[3] - a[3]
	print t[1] + t[2] - t[3], (d * d < 1e-15), (h * h < 1e-15) }')" "0 1 1" \
	"two halves make the whole"
ok "other windows" sh -c "moe-train --eval $model --seq 10 v.txt >s.csv"
is "$(column s.csv tokens)" "$((($(wc -c <v.txt) - 1) / 10 * 10))" "windows of ten tokens"

# --- census and trace of a model in use ---
fails 1 "features of a language model" moe-train --eval $model --features-csv f.csv v.txt
says "not a classifier's" "are refused"
ok "--experts-csv" moe-train --eval $model --experts-csv x.csv --trace-csv t.csv.gz v.txt
zcat t.csv.gz >t.csv
tokens=$(column e.csv tokens)
is "$(head -n 1 x.csv)" "$(head -n 1 run/experts.csv)" "columns of the census"
is "$(head -n 1 t.csv)" step,seq,pos,token,layer,rank,expert,weight,correct "columns of the trace"
is "$(column x.csv tokens | wc -l)" 10 "a row for each expert"
is "$(tail -n +2 t.csv | wc -l)" "$((tokens * 2 * 2))" "a row for each token, layer and rank"
is "$(awk -F, 'NR > 1 { n[$5 "," $7]++; f[$5 "," $7] += $6 == 0 } END { for (i in n)
	print i "," n[i] "," f[i] }' t.csv | sort -t, -k1n -k2n)" \
	"$(awk -F, -v t="$tokens" 'NR > 1 && $8 { printf "%d,%d,%d,%.0f\n", $2, $3, $8, $16 * t }' \
		x.csv)" \
	"the census counts what the trace shows"
is "$(awk -F, -v t="$tokens" 'NR > 1 { h[$2] += $17 * $16; q[$2] += $8 ? $8 / $10 : 0 } END {
	for (l in h) printf "%.6f %.6f\n", h[l], q[l] / 2 / t }' x.csv | sort -u)" \
	"$(awk -F, 'NR == 2 { printf "%.6f %.6f", $5, $2 }' e.csv)" \
	"accuracy and loss of the experts are those of the model"
moe-train --eval $model --experts-csv y.csv --batch 5 -j2 v.txt >f.csv
same y.csv x.csv "the census does not depend on the batch"
same f.csv e.csv "the loss does not depend on being watched"
is "$(awk -F, 'NR > 1 && $5 == 0 && $6 == 0 { printf "%c", $4 }' t.csv | cksum)" \
	"$(head -c "$tokens" v.txt | cksum)" "the trace shows the text"
is "$(moe-train --eval $model --trace-csv - v.txt | cksum)" "$(cksum <t.csv)" \
	"a trace on stdout stands alone"

# --- sampling ---
printf 'w1' >prompt
sample() {
	moe-train --sample $model "$@"
}
sample --greedy --tokens 22 <prompt >text
is "$(wc -c <text)" 24 "the prompt and as many tokens as asked for"
is "$(head -c 2 text)" w1 "the prompt comes first"
# All tokens of the text but the first are the likeliest, as --eval sees it.
for length in 1 5 23; do
	head -c 1 text | sample --greedy --tokens $length >greedy
	moe-train --eval $model --seq $length greedy >g.csv
	is "$(column g.csv accuracy)" 1 "greedy: $length likeliest tokens"
done
sample --greedy --tokens 22 -j1 <prompt >text1
same text1 text "greedy: one worker"
sample --temp 0 --tokens 22 <prompt >text0
same text0 text "temperature 0 is greedy"
head -c 12 text | sample --greedy --tokens 12 >text2
same text2 text "greedy: a longer prompt goes the same way"
sample --tokens 200 --seed 7 <prompt >r1
sample --tokens 200 --seed 7 -j1 <prompt >r2
sample --tokens 200 --seed 8 <prompt >r3
same r2 r1 "the same seed, the same text"
is "$(cmp -s r1 r3 && echo same)" "" "another seed, another text"
is "$(wc -c <r1)" 202 "the text may be longer than the sequences trained on"
sample --tokens 200 --temp 0.01 <prompt >cold
sample --tokens 200 --greedy <prompt >greedy
same cold greedy "a low temperature is greedy"
is "$(sample --tokens 0 <prompt)" w1 "no tokens"
ok "--seq" sh -c "moe-train --sample $model --seq 10 --tokens 100 --greedy <prompt >ten"
is "$(wc -c <ten)" 11 "after so many tokens one more follows, and the text ends"
is "$(head -c 11 greedy | cksum)" "$(cksum <ten)" "it is the same until there"
fails 1 "a prompt longer than --seq" sh -c "moe-train --sample $model --seq 1 <prompt"
says '^moe-train: the prompt has 2 tokens \(expected at most 1\)$' "told"
fails 1 "an empty prompt" sh -c "moe-train --sample $model </dev/null"
says '^moe-train: the prompt on standard input is empty$' "told"

# --- with tokenizers ---
moe-data bpe a.txt --vocab 300 -o t.bpe
moe-data pack --bpe t.bpe a.txt -o a.tok
moe-train -j1 --dim 16 --layers 1 --heads 1 --experts 2 --hidden 16 --seq 16 --batch 4 --steps 20 \
	-o packed a.tok
ok "--bpe" sh -c 'printf "w1 w2" | moe-train --sample packed/ckpt.safetensors --bpe t.bpe \
	--greedy --tokens 9 >bpe'
is "$(head -c 5 bpe)" "w1 w2" "the prompt comes first"
is "$(moe-data encode --bpe t.bpe bpe | wc -w | awk '{ print ($1 > 5) }')" 1 \
	"then tokens of the table"
fails 1 "bytes for a model of more tokens" moe-train --eval run/ckpt.safetensors a.tok
says '^moe-train: a.tok: 300 tokens known \(expected at most the model.s 256\)$' "told"
fails 1 "a table for a model of fewer tokens" sh -c \
	"moe-train --sample $model --bpe t.bpe <a.txt"
says '^moe-train: token [0-9]+ of the prompt is not one of the model.s 256$' "told"
fails 2 "two tables" moe-train --sample $model --bpe t.bpe --llama2 t.bpe
fails 2 "--eval and --sample" moe-train --sample $model --eval $model v.txt
fails 2 "--eval without data" moe-train --eval $model
fails 2 "--sample with data" moe-train --sample $model v.txt
done_testing
