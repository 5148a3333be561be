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
balance 0.55
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
sed 's/balance/load-balance/; /^steps/d' recipe >none
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

# --- usage, full disks ---
for words in '' 'cencus x' 'e -T 3' 'e -T 3 x' 'e -T 0 -H 1 -O 1 -B 1' 'e -T 3 -H -1 -O 1 -B 1' \
	'e -T 3 -H 1 -O 1 -B 1 -C 1' 'e --tiers 1,2 -T 3 -H 1 -O 1 -B 1' 'census' 'census a b c' \
	'census -T 3 x' 'census --tiers 1,2 --experts 4 x' 'census --experts 4 a b' \
	'census --experts 0 x' '--nothing'; do
	fails 2 "wrong usage: $words" moe-ecology $words </dev/null
	says '^moe-ecology: .*\(.*\)$' "one line says so"
done
for words in '-h' 'e -T 3 -H 1 -O 1 -B 1' 'census trace.csv' \
	'census --stats /dev/full trace.csv'; do
	fails 1 "full disk: $words" sh -c 'exec moe-ecology $1 >/dev/full' sh "$words"
	says '^moe-ecology: .*(No space left|write error)' "is noticed"
done

# --- the manual's examples ---
mkdir RUN
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
