#!/bin/sh
# moe-ecology: its commands on small tables made here, on a model, and on faulty input.
. t/lib.sh
root=$PWD
cd "$T" || exit 1

# --- e ---
e() {
	moe-ecology e "$@" 2>err
}
is "$(e -T 3 -H 0.10 -O 0.15 -B 0.40)" "E,E_log,E_sqrt,phase
0.545454545,,,healthy" "the published healthy setting"
is "$(e -T 3 -H 0.10 -O 0.15 -B 0.85 | tail -n 1)" "0.3,,,sub-health" "the published low one"
is "$(e -T 1 -H 0.1 -O 0.5 -B 0.5 -C 100 | tail -n 1)" "0.1,0.0217147241,0.01,collapse" \
	"E_eff by the logarithm and the root of the classes"
ok "O + B = 0" moe-ecology e -T 3 -H 0.1 -O 0 -B 0 -o out
says '^moe-ecology: O \+ B is 0: E is infinite' "is said to make E infinite"
is "$(tail -n 1 out)" "inf,,,healthy" "and it is"
ok "0 / 0" moe-ecology e -T 3 -H 0 -O 0 -B 0 -o out
says 'E is not defined' "is said to be no E"
is "$(tail -n 1 out)" "nan,,," "and has no phase"

# --- E of a recipe: the step of each phase, found here by looking at every step ---
cat >recipe <<'END'
steps 1000
temperature 3:0.3:300
entropy 0.1
oracle 0.15
balance 0.40
END
moe-ecology e -C 200 recipe >out
is "$(cut -d, -f1,6 out | tail -n +2 | head -n 5 | tr '\n' ' ')" \
	"0,healthy 60,sub-health 100,sub-health 191,collapse 200,collapse " "phases of a run"
is "$(awk 'BEGIN { for (s = 0; s <= 300; s++) {
	E = (0.3 + 2.7 * 0.5 * (1 + cos(3.14159265358979 * s / 300))) * 0.1 / 0.55
	p = E >= 0.5 ? "h" : E >= 0.2 ? "s" : "c"; if (p != was) printf "%d ", s; was = p } }')" \
	"0 60 191 " "which begin where they should"
is "$(sed -n 2p out)" "0,3,0.545454545,0.102948636,0.0385694608,healthy" "T, E and E_eff"
is "$(tail -n 1 out)" "1000,0.3,0.0545454545,0.0102948636,0.00385694608,collapse" "to its end"
sed 's/balance/load-balance/; /^steps/d; /^oracle/d' recipe >none
ok "a recipe without O and B" moe-ecology e -o out none
says 'E is infinite' "is told"
fails 1 "a recipe that is none" sh -c 'echo stepz 3 | moe-ecology e -'
says 'unknown option stepz' "is told"

# --- census of a trace, worked out by hand ---
# trace: two layers; 100 samples, of which the first 3 chose expert 1 of layer 0, one expert 2.
awk 'BEGIN {
	print "step,token,layer,rank,expert,weight,correct"
	for (i = 0; i < 100; i++) {
		e = i < 3 ? 1 : i < 4 ? 2 : 0
		printf "%d,7,0,0,%d,0.75,%d\n", i, e, i % 2
		printf "%d,7,0,1,%d,0.25,%d\n", i, e ? 0 : 3, i % 2
		printf "%d,7,1,0,%d,0.5,%d\n%d,7,1,1,%d,0.5,%d\n", i, i % 4, i % 2, i,
			(i + 1) % 4, i % 2
	}
}' >trace.csv
ok "census" moe-ecology census -o out --stats stats trace.csv
cat >want <<'END'
layer,expert,usage,accuracy,class,tokens,first
0,0,0.96,0.5,PURE_CORE,100,96
0,1,0.03,0.333333333,BROAD_CORE,3,3
0,2,0.01,1,EDGE,1,1
0,3,0,0,DEAD,96,0
1,0,0.25,0,WEAK_CORE,50,25
1,1,0.25,1,PURE_CORE,50,25
1,2,0.25,0,WEAK_CORE,50,25
1,3,0.25,1,PURE_CORE,50,25
END
same out want "classes of each expert"
cat >want <<END
layer,samples,experts,accuracy,pure_core,broad_core,weak_core,edge,noise,dead,core,fringe,active,\
gini,entropy,maxvio,usage_q25,usage_median,usage_q75,unused,coactivation
0,100,4,0.5,1,1,0,1,0,1,0,0,3,0.4875,0.568685829,1,0.05,0.99,1.94,0,0.96
1,100,4,0.5,2,0,2,0,0,0,0,0,4,0,1,0,1,1,1,0,0.25
END
same stats want "--stats tells them by layer"
moe-ecology census trace.csv >want
cut -d, -f1-6 trace.csv | moe-ecology census - >out
is "$(cut -d, -f4,5 out | tail -n +2 | tr '\n' ' ')" \
	",CORE ,CORE ,FRINGE ,DEAD ,CORE ,CORE ,CORE ,CORE " "what can be said without correct"
{ sed -n 1p trace.csv; sed 1d trace.csv | sort -t, -k4n -k5n -k1nr; } | gzip |
	moe-ecology census - >out
same out want "rows in any order, from a gzip pipe"
sed 's/\([^,]*\),\(.*\)/\2,"\1"/; s/$/\r/' trace.csv | moe-ecology census - >out
same out want "columns in any order, with quotes and CRLF"
moe-ecology census --experts 16 trace.csv >out
is "$(grep -c DEAD out)" 25 "experts that the trace does not show are dead"
moe-ecology census --experts 4,5 trace.csv >out
is "$(tail -n 1 out)" "1,4,0,0,DEAD,0,0" "a number for each layer"
moe-ecology census --tiers 1,3 trace.csv | cut -d, -f8 | tr '\n' ' ' >out
is "$(cat out)" "tier 0 1 1 1 0 1 1 1 " "tiers label slots"
sed 's/^\([^,]*,7\),1,/\1,9,/' trace.csv | moe-ecology census - >out
is "$(cut -d, -f1 out | uniq -c | tr -s ' \n' ' ')" " 1 layer 4 0 4 9 " "layers may be missing"

# The real limits: 3 %, 1 %, 50 %, 30 %, 25 % of counts, on and beside.
while read -r n first hits class; do
	awk -v n="$n" -v f="$first" -v h="$hits" 'BEGIN {
		print "layer,rank,expert,correct"
		for (i = 0; i < n; i++)
			print "0,0," (i < f ? 1 : 0) "," (i < h ? 1 : 0)
	}' | moe-ecology census - >out
	is "$(awk -F, 'NR == 3 { print $5 }' out)" "$class" "$hits of $first of $n"
done <<'END'
1000 30 15 PURE_CORE
1000 30 14 BROAD_CORE
1000 29 29 EDGE
1000 30 9 BROAD_CORE
1000 30 8 WEAK_CORE
1000 10 10 EDGE
1000 9 9 DEAD
1000 12 3 EDGE
1000 12 2 NOISE
700 21 21 PURE_CORE
700 7 0 NOISE
END

# Bad input: the line of the fault, a sed script that makes it, what is said.
while read -r number script complaint; do
	sed "$script" trace.csv >bad.csv
	fails 1 "bad trace: $script" moe-ecology census --experts 4 --stats /dev/null bad.csv
	says "^moe-ecology: bad.csv:$number: .*$complaint" "is told by line"
done <<'END'
5 5s/7,1,1,1/7,1,1,4/ expert.4.in.layer.1..expected.it.below.4
5 5s/7,1,1,1/7,1,1,-1/ column.expert
5 5s/7,1,1,1/7,1,1,x/ column.expert
5 5s/7,1,1,1/7,1,1,65536/ column.expert
5 5s/7,1,1,1/7,1,2,2/ rank.2.of.layer.1.after.rank.0
5 5s/7,1,1,1/7,0,1,2/ rank.1.of.layer.0.after.rank.0.of.layer.1
5 5s/7,1,1,./7,1,1,0/ twice
2 2s/7,0,0/7,0,1/ rank.1.without
6 6s/.$/2/ column.correct
6 6s/.$// column.correct
6 6s/..$// 6.fields
6 6s/0.75/"0.75/ quote
END
sed 1s/rank/rang/ trace.csv >bad.csv
fails 1 "no column rank" moe-ecology census bad.csv
says '^moe-ecology: bad.csv: no column "rank"' "is told"
fails 1 "a layer beyond" moe-ecology census --experts 4,4 - <<'END'
layer,rank,expert
2,0,0
END
says 'standard input:2: layer 2 \(expected it below 2\)' "is told"
echo layer,rank,expert >bad.csv
fails 1 "an empty trace" moe-ecology census bad.csv
says 'bad.csv: no row' "is told"
echo 0,1,0 >>bad.csv
fails 1 "a trace without first choices" moe-ecology census bad.csv
says 'bad.csv: no row of rank 0 in layer 0' "is told"
fails 1 "tiers that are too few" moe-ecology census --tiers 1,2 trace.csv
says 'trace.csv:13: expert 3 in layer 1 \(expected it below 3\)' "are told"
head -c 900 trace.csv | gzip | head -c 150 >cut.csv.gz
fails 1 "a trace cut short" moe-ecology census cut.csv.gz
says 'cut.csv.gz' "is told"

# --- flow of a trace, worked out by hand: tiers of 2 and 2 slots ---
ok "flow" moe-ecology flow --tiers 2,2 -o out trace.csv
cat >want <<'END'
layer,from,to,samples,joint,conditional
0,0,0,3,0.03,0.0303030303
0,0,1,96,0.96,0.96969697
0,1,0,1,0.01,1
0,1,1,0,0,0
1,0,0,25,0.25,0.5
1,0,1,25,0.25,0.5
1,1,0,25,0.25,0.5
1,1,1,25,0.25,0.5
END
same out want "first to second choice by tier, of all and of the first's"
moe-ecology flow trace.csv >out
is "$(grep -c . out) $(sed -n 5p out)" "33 0,0,3,96,0.96,1" "without tiers by expert"
# An even flow from everybody to everybody else: labels are exchangeable, and the joint share of
# two tiers a and b of 4 experts is a b / 12, of tier a to itself a (a - 1) / 12.
awk 'BEGIN { print "layer,rank,expert"; for (i = 0; i < 4; i++) for (j = 0; j < 4; j++)
	if (i != j) printf "0,0,%d\n0,1,%d\n", i, j }' >even.csv
moe-ecology flow --tiers 1,3 --shuffle 50 even.csv >out
is "$(sed 1d out | cut -d, -f5,7,8 | tr '\n' ' ')" \
	"0,0,0 0.25,0.25,0 0.25,0.25,0 0.5,0.5,0 " "shuffled labels of an even flow"
moe-ecology flow --tiers 2,2 --shuffle 2000 --seed 3 trace.csv >out
# 96 of 100 samples go 0 -> 3: with random labels both are of tier 0 in 1 of 6, apart in 2 of 3.
is "$(awk -F, 'NR == 2 { d = $7 - (96 + 3 + 1) / 600; print (d < 0.02 && d > -0.02) }
	NR == 3 { d = $7 - 2 / 6; print (d < 0.02 && d > -0.02) }' out | tr '\n' ' ')" "1 1 " \
	"shuffled labels of one that is not"
moe-ecology flow --tiers 2,2 --shuffle 2000 --seed 3 trace.csv >again
same again out "the same seed draws the same labels"
# Confidence: samples 0 to 99 of layer 0 at 0.00 to 0.99; easy above 0.7, hard below 0.4.
awk -F, 'NR == 1 { print $0 ",confidence" } NR > 1 { print $0 "," $1 / 100 }' trace.csv >sure.csv
ok "easy and hard" moe-ecology flow --tiers 1,3 --stats tiers -o out sure.csv
is "$(sed -n '2,4p' tiers | tr '\n' ' ')" \
	"0,0,1,1,0.96,0.5,0.302083333,0.375,, 0,1,3,2,0.04,0.5,0,1,, \
0,all,4,3,1,0.5,0.29,0.4,1,1.18287054 " "by tier"
moe-ecology flow --tiers 1,3 --stats more --easy 0.5 --hard 0.5 -o out sure.csv
is "$(sed -n 4p more | cut -d, -f7,8)" "0.49,0.5" "with other limits"
sed '4s/[^,]*$/1.5/' sure.csv >bad.csv
fails 1 "a confidence above 1" moe-ecology flow bad.csv
says 'bad.csv:4: column confidence: 1.5' "is told"
awk -F, 'NR == 1 || $4 == 0' trace.csv >first.csv
fails 1 "a trace without second choices" moe-ecology flow first.csv
says 'first.csv: no second choice .rank 1. in layer 0' "is told"

# --- census of a checkpoint ---
awk 'BEGIN { for (i = 0; i < 900; i++) printf "%s ", i * i % 97 % 10 }' >text
ok "a run" moe-train --dim 16 --heads 2 --hidden 16,8,16,8,8 --experts 5 --layers 2 --seq 16 \
	--batch 4 --steps 12 --lr 0.01 --census-every 4 -j1 -o run text
model=run/ckpt.safetensors
ok "its census" moe-ecology census -o ckpt.csv --stats ckpt.stats --tiers 2,3 $model text
moe-train --eval $model --trace-csv t.csv.gz text
moe-ecology census --experts 5 --stats trace.stats --tiers 2,3 t.csv.gz >out
same out ckpt.csv "is that of its trace"
same trace.stats ckpt.stats "layer by layer too"
is "$(awk -F, 'NR > 1 && $4 > 0 && $4 < 1' ckpt.csv | wc -l | awk '{ print ($1 > 0) }')" 1 \
	"with accuracies that tell"
moe-train --eval $model --experts-csv - text |
	awk -F, 'NR > 1 { printf "%d,%d,%.6f,%.6f,%s,%d\n", $2, $3, $16, $17, $18, $8 }' >want
awk -F, 'NR > 1 { printf "%d,%d,%.6f,%.6f,%s,%d\n", $1, $2, $3, $4, $5, $6 }' ckpt.csv >out
same out want "and that of --experts-csv, classes and all"
moe-ecology census --batch 3 -j2 --tiers 2,3 $model text >out
same out ckpt.csv "whatever the batch and the workers"
moe-ecology flow --tiers 2,3 --stats ckpt.tiers $model text >want
moe-ecology flow --experts 5 --tiers 2,3 --stats trace.tiers t.csv.gz >out
same out want "its flow is that of its trace"
is "$(cut -d, -f1-6,9- ckpt.tiers)" "$(cut -d, -f1-6,9- trace.tiers)" "tier by tier"

# --- scan: what another temperature changes, and what it cannot ---
ok "scan" moe-ecology scan --temperatures 1,0.2,3 -o out $model text
loss=$(moe-train --eval $model text | sed -n 2p | cut -d, -f2)
is "$(sed -n '2,5p' out | cut -d, -f3 | uniq)" "$loss" "the model's own first, and once more"
is "$(sed -n 2,3p out)" "$(sed -n 4,5p out)" "the same temperature is the same"
is "$(awk -F, 'NR > 1 && $2 == 0 { print $9 + $10 }' out | uniq)" 0 \
	"in the first layer no choice moves"
is "$(awk -F, '$2 == 0 { e[$1] = $7; w[$1] = $8; l[$1] = $3 } END {
	print (e[0.2] < e[1]), (e[1] < e[3]), (w[0.2] > w[1]), (w[1] > w[3]), l[0.2] != l[1]
	}' out)" \
	"1 1 1 1 1" "entropy rises with it, the first weight falls, the loss changes"
fails 2 "a temperature that is none" moe-ecology scan --temperatures 1,,2 $model text
says 'temperatures: "" is not a number' "is told"

ok "by tier" moe-ecology scan --temperatures 0.2 --tiers 2,3 --stats tiers -o again $model text
is "$(head -n 3 out | cut -d, -f5,6)" "$(head -n 3 again | cut -d, -f5,6)" "it scans the same"
is "$(awk -F, 'NR > 1 && $3 != "all" { u[$1 "," $2] += $6; n++ }
	END { for (i in u) if (u[i] < 0.999999 || u[i] > 1.000001) n = 0; print n }' tiers)" 8 \
	"the usage of the tiers is that of the layer, at each temperature"
fails 1 "tiers that do not sum" moe-ecology scan --tiers 2,2 $model text
says 'run/ckpt.safetensors: 5 experts in layer 0 \(expected 4, the sum of --tiers\)' "are told"
fails 1 "tiers that do not sum" moe-ecology census --tiers 2,2 $model text
says 'run/ckpt.safetensors: 5 experts in layer 0 \(expected 4, the sum of --tiers\)' "are told"
is "$(moe-ecology e $model 2>err | cut -d, -f2,3 | sort -u)" "1,nan
T,E" "the recipe in a checkpoint"
fails 1 "no checkpoint" moe-ecology census text text
fails 1 "no text" moe-ecology census $model nowhere
ok "a dense run" moe-train --dense --dim 16 --heads 2 --hidden 16 --seq 16 --batch 4 --steps 1 \
	-o dense text
fails 1 "its census" moe-ecology census dense/ckpt.safetensors text
says 'dense' "is refused"

# --- a classifier's checkpoint: the census of its run, of its trace, and of itself are one
moe-data shapes --samples 200 --classes 5 --size 8 -o set.bin
moe-data shapes --samples 150 --classes 5 --size 8 --seed 2 -o val.bin
ok "a classifier" moe-train --task classify --pixels 3x8x8 --depth 10 --widen 1 --dim 16 \
	--experts 6 --tiers 3,1,2 --batch 20 --steps 20 --lr 3e-3 --temperature 2 \
	--census-every 20 --val val.bin -o shapes set.bin
model=shapes/ckpt.safetensors
ok "its census" moe-ecology census --tiers 3,1,2 --stats ckpt.stats -o ckpt.csv $model val.bin
moe-train --eval $model --trace-csv t.csv val.bin >eval.csv
moe-ecology census --tiers 3,1,2 --stats trace.stats t.csv >out
same out ckpt.csv "is that of its trace"
same trace.stats ckpt.stats "with the layer's figures"
for c in usage accuracy class tokens tier; do
	column shapes/experts.csv $c
done | awk '{ print $1 == $1 + 0 ? sprintf("%.6f", $1) : $1 }' >want
for c in usage accuracy class tokens tier; do
	column ckpt.csv $c
done | awk '{ print $1 == $1 + 0 ? sprintf("%.6f", $1) : $1 }' >out
is "$(column ckpt.csv first | awk '{ n += $1 } END { print n }')" 150 "of all samples"
is "$(sed 's/^0.000000$/0/; s/^$/0/' out)" "$(sed 's/^0.000000$/0/; s/^$/0/' want)" \
	"and that of its run, tiers and all"
moe-ecology flow --tiers 3,1,2 --stats ckpt.tiers $model val.bin >want
moe-ecology flow --tiers 3,1,2 --stats trace.tiers t.csv >out
same out want "its flow is that of its trace"
same trace.tiers ckpt.tiers "tier by tier, easy and hard"
ok "its scan" moe-ecology scan --temperatures 0.1,2,5 -o out $model val.bin
is "$(sed -n 2p out | cut -d, -f3,4)" "$(sed -n 2p eval.csv | cut -d, -f2,5)" \
	"begins with its own loss and accuracy"
is "$(sed -n 2p out)" "$(sed -n 4p out)" "the same temperature is the same"
is "$(awk -F, 'NR > 1 { print $9 + $10 }' out | uniq)" 0 "no choice moves"
is "$(awk -F, '{ e[$1] = $7; w[$1] = $8; l[$1] = $3 } END {
	print (e[0.1] < e[2]), (e[2] < e[5]), (w[0.1] > w[2]), (w[2] > w[5]), l[0.1] != l[2] }' \
	out)" "1 1 1 1 1" "weights and loss do"
fails 1 "tiers that do not sum" moe-ecology flow --tiers 3,1,3 $model val.bin
says 'shapes/ckpt.safetensors: 6 experts in layer 0 \(expected 7, the sum of --tiers\)' "are told"
fails 1 "a text for it" moe-ecology census $model text
says '^moe-ecology: text:1: ' "is told"
ok "a plain one" moe-train --task classify --pixels 3x8x8 --depth 10 --widen 1 --dense --batch 20 \
	--steps 1 -o plain set.bin
fails 1 "its census" moe-ecology census plain/ckpt.safetensors val.bin
says 'plain/ckpt.safetensors: a dense model has no experts' "is refused"

# --- track and compare: a run of three censuses made here ---
mkdir one two
cat >one/experts.csv <<'END'
step,layer,slot,expert,born,usage,accuracy
10,0,0,0,0,0.5,0.5
10,0,1,1,0,0.484375,0.25
10,0,2,2,0,0.015625,1
20,0,0,0,0,0.75,0.4
20,0,1,1,0,0.25,0.4
20,0,2,2,0,0,0
30,0,0,0,0,0.5,0.5
30,0,1,1,0,0.25,0.5
30,0,2,2,0,0.25,0.5
END
ok "track" moe-ecology track --tiers 1,2 --stats stats --last 2 -o out one
cat >want <<'END'
step,layer,experts,active,dead,deaths,revivals,accuracy,t0,t1,used,depth
10,0,3,3,0,0,0,0.38671875,0.5,0.5,2,2
20,0,3,2,1,1,0,0.400000006,0.75,0.25,2,1.75476535
30,0,3,3,0,0,1,0.5,0.5,0.5,2,2
END
same out want "who died and came back"
cat >want <<'END'
layer,figure,censuses,mean,sd,least,most,range
0,accuracy,2,0.450000003,0.0707106739,0.400000006,0.5,0.099999994
0,dead,2,0.5,0.707106781,0,1,1
0,active,2,2.5,0.707106781,2,3,1
0,t0,2,0.625,0.176776695,0.5,0.75,0.25
0,t1,2,0.375,0.176776695,0.25,0.5,0.25
END
same stats want "how stable the last two were"
moe-ecology track --window 2 one/experts.csv >out
is "$(column out deaths | tr '\n' ' ')" "0 0 0 " "one low census is no death to a window of two"
moe-ecology track --dead 0.3 one >out
is "$(column out dead | tr '\n' ' ')" "1 2 2 " "another limit"
sed 's/^30,0,\(.\),\(.\),0,0.5,/30,0,\1,\2,0,0.25,/; s/^30,0,1,1,0,0.25,/30,0,1,1,0,0.5,/' \
	one/experts.csv >two/experts.csv
printf 'step,domain,loss,val_loss\n10,a,3,\n30,a,2,2.5\n' >one/loss.csv
printf 'step,domain,loss,val_loss\n10,a,3,2.75\n30,a,2.5,\n' >two/loss.csv
ok "compare" moe-ecology compare --tiers 1,2 --stats pairs -o out one two
cat >want <<END
run,layer,loss,val_loss,accuracy,pure_core,broad_core,weak_core,edge,noise,dead,active,gini,depth,\
t0,t1
one,0,2,2.5,0.5,3,0,0,0,0,0,3,0.166666667,2,0.5,0.5
two,0,2.5,2.75,0.5,3,0,0,0,0,0,3,0.166666667,1.75476535,0.25,0.75
mean,0,2.25,2.625,0.5,3,0,0,0,0,0,3,0.166666667,1.87738268,0.375,0.625
sd,0,0.353553391,0.176776695,0,0,0,0,0,0,0,0,0,0.173407084,0.176776695,0.176776695
END
same out want "how runs ended, with mean and sd"
is "$(tail -n 1 pairs)" "one,two,0,0,0.25,0" \
	"other tiers at the same accuracy, and no more than other names"
fails 1 "tiers too few for a run" moe-ecology track --tiers 1,1 one
says 'slot 2 in layer 0 \(expected it below 2, the sum of --tiers\)' "are told"
fails 1 "a run without a census" moe-ecology compare one three
says '^moe-ecology: three: ' "is told"
sed '3s/0.48/1.48/' one/experts.csv >bad.csv
fails 1 "a usage above 1" moe-ecology track bad.csv
says 'bad.csv:3: .*usage' "is told"
ok "a real run's track" moe-ecology track --tiers 2,3 run
ok "and end" moe-ecology compare --tiers 2,3 --stats pairs run run

# --- usage, full disks ---
for words in '' 'cencus x' 'e -T 3' 'e -T 3 x' 'e -T 0 -H 1 -O 1 -B 1' 'e -T 3 -H -1 -O 1 -B 1' \
	'e -T 3 -H 1 -O 1 -B 1 -C 1' 'e --tiers 1,2 -T 3 -H 1 -O 1 -B 1' 'census' 'census a b c' \
	'census -T 3 x' 'census --tiers 1,2 --experts 4 x' 'census --experts 4 a b' \
	'census --experts 0 x' '--nothing' 'flow' 'flow --last 3 x' 'flow --shuffle 1 x' 'scan x' \
	'track one two' 'track --window 0 one' 'compare' 'compare --last 2 one'; do
	fails 2 "wrong usage: $words" moe-ecology $words </dev/null
	says '^moe-ecology: .*\(.*\)$' "one line says so"
done
for words in '-h' 'e -T 3 -H 1 -O 1 -B 1' 'census trace.csv' \
	'census --stats /dev/full trace.csv' 'flow trace.csv' 'flow --stats /dev/full trace.csv' \
	'track one' 'track --stats /dev/full one' 'compare one two' \
	'compare --stats /dev/full one two' 'scan run/ckpt.safetensors text'; do
	fails 1 "full disk: $words" sh -c 'exec moe-ecology $1 >/dev/full' sh "$words"
	says '^moe-ecology: .*(No space left|write error)' "is noticed"
done

# --- the manual's examples ---
mkdir RUN
cp one/experts.csv RUN
gzip <trace.csv >RUN/trace.csv.gz
sed -n '/^\.Sh EXAMPLES/,/^\.Sh SEE/s/^\.Dl \$ //p' "$root/man/moe-ecology.1" >examples
ok "the manual has examples" test -s examples
while IFS= read -r line; do
	ok "example: $line" sh -ec "$line" </dev/null >example.out
done <examples
sed -n '/^\$ moe-ecology e - /,/^\.Ed/{/^\.Ed/d;s/^\$ //;p}' "$root/man/moe-ecology.1" >example
is "$(sh -e ./example | wc -l)" 14 "the recipe of the manual goes through its phases"
sed -n '/^\$ sed 1s/,/^\.Ed/{/^\.Ed/d;s/^\$ //;p}' "$root/man/moe-ecology.1" >example
sh -e ./example >out
is "$(grep -vc DEAD out) $(sed -n 5p out)" "3 0,3,0.666666667,,CORE,3,2" \
	"the trace from elsewhere is read"
done_testing
