#!/bin/sh
# moe-prefetch: replay of small traces made here, whole and damaged, and of real ones.
. t/lib.sh
traces=$PWD/../shared/data/traces
cd "$T" || exit 1

# Two layers; a prompt of two tokens, then four decoded.
cat >trace.csv <<'END'
# made by hand
turn,phase,step,layer,slot,expert,weight,expert_bytes
0,0,0,0,0,0,1,100
0,0,1,0,0,1,1,0
0,0,1,1,0,2,1,0
0,1,2,0,0,0,1,0
0,1,2,1,0,1,1,200
0,1,3,0,0,2,1,0
0,1,3,1,0,1,1,0
0,1,4,0,0,0,1,0
0,1,4,1,0,2,1,0
0,1,5,0,0,1,1,0
0,1,5,1,0,1,1,0
END

ok "replay" moe-prefetch replay --slots 1,2 --policy lru -o out trace.csv
more=wasted_bytes,budget,recall,recall_2k,precision,tier,seconds_per_token,tokens_per_s,stall
more=$more,known_tokens_per_s,resident_tokens_per_s,trace
cat >want <<END
policy,predictor,scope,slots,accesses,hits,hit_rate,min_hit_rate,loads,wasted,bytes,$more
lru,none,layer,1,8,1,0.125,0.5,7,0,1000,0,1,,,,,,,,,,trace.csv
lru,none,layer,2,8,5,0.625,0.75,3,0,400,0,1,,,,,,,,,,trace.csv
END
same out want "the columns and figures worked out by hand"
moe-prefetch replay --slots 2 --scope global --policy min - <trace.csv >out
is "$(values out scope) $(values out hits) $(values out min_hit_rate)" "global 6 0.75" \
	"one pool; standard input"
gzip -k trace.csv
moe-prefetch replay --slots 1 trace.csv trace.csv.gz -o both.csv.gz
is "$(gzip -dc both.csv.gz | cut -d, -f6,23 | tr '\n' ' ')" \
	"hits,trace 1,trace.csv 1,trace.csv.gz " "several traces, compressed"

# Time: 8 turns with 7 loads of 150 bytes, the mean, on a link of 150 bytes/s with 1 s before each;
# computing takes 1 s.  4 tokens.
ok "two tiers" moe-prefetch replay --slots 1 --tier pcie3 --bandwidth 150 --latency 1 --queue 1 \
	--fast 150 -o out trace.csv
is "$(values out tier) $(values out seconds_per_token) $(values out stall)" "pcie3 5.5 3.5" \
	"seconds of a token, and of waiting"
is "$(values out resident_tokens_per_s) $(values out known_tokens_per_s)" "0.5 0.266666667" \
	"without loads, and with loads known before"
moe-prefetch replay --slots 1 --tier pcie3 --bandwidth 150 --latency 1 --queue 1 \
	--fast 150 --model-layers 20 --expert-bytes 150 -o out trace.csv
is "$(values out seconds_per_token)" 55 "as if it had ten times the layers"
sed 's/,[0-9]*$//; 2s/,expert_bytes//' trace.csv | sed '1d; s/,weight$/,weight/' >other.csv
fails 1 "a trace that does not tell how large an expert is" \
	moe-prefetch replay --slots 1 --tier nvme other.csv
says 'other.csv: no column expert_bytes that tells' "is told"
fails 2 "a fast memory without a slow one" moe-prefetch replay --slots 1 --fast 1G trace.csv

# Layer 0 alternates: the token before is always wrong, the tree soon right.
{
	echo step,layer,expert,gate
	seq 0 79 | awk '{ print $1 ",0," $1 % 2 "," $1 % 2; print $1 ",1,2,3" }'
} >turns.csv
figures() {
	moe-prefetch replay --slots 1 --scope global "$@" turns.csv -o out &&
		for name in hits loads wasted recall; do column out $name; done | xargs
}
is "$(figures --predictor previous)" "0 160 0 0.5" \
	"previous: kept in vain, it costs the other its slot"
is "$(figures --predictor gate)" "79 81 0 0.5" "gate: right in one layer, wrong in the other"
sed 's/,[^,]*$//' turns.csv >other.csv
fails 1 "gate without its column" moe-prefetch replay --slots 1 --predictor gate other.csv
says 'other.csv: no column "gate"' "is told"
set -- $(figures --predictor tree)
ok "the tree learns to alternate: recall $4" awk -v recall="$4" 'BEGIN { exit !(recall > .95) }'
set -- $(figures --predictor tree --prefetch)
ok "loading ahead: $1 hits, $2 loads, $3 wasted" test "$1" -gt 140 -a "$2" -lt 165 -a "$3" -lt 5
set -- $(figures --predictor tree --prefetch --waste 1000000)
is "$(($1 + $2)) $3" "160 0" "not where a load that is not used costs too much"

# A tree kept: the next time it begins with what it knew.
ok "learn" moe-prefetch learn -v -o tree turns.csv
says '^moe-prefetch: tree: a tree of [0-9]+ nodes$' "-v tells the size"
is "$(figures --predictor tree --tree tree)" "79 81 0 1" "a tree that knows is always right"
moe-prefetch learn -o other.tree turns.csv turns.csv
moe-prefetch learn --tree tree -o again.tree turns.csv
same again.tree other.tree "learning in two goes is learning in one"
sed 's/,2,3$/,7,3/' turns.csv >other.csv
fails 1 "a tree of another model" \
	moe-prefetch replay --slots 1 --predictor tree --tree tree other.csv
says 'other.csv: 2 layers of 8 experts do not fit a tree of 2 layers of 4' "is told"
head -c 99 tree >cut.tree
fails 1 "a tree that is cut short" moe-prefetch learn --tree cut.tree -o more.tree turns.csv
says 'cut.tree: a damaged tree' "is told"
ok "nothing is left of it" test ! -e more.tree
fails 1 "a trace for a tree" moe-prefetch learn --tree trace.csv -o more.tree turns.csv
says 'trace.csv: no tree' "is told"
fails 2 "learn without a file" moe-prefetch learn turns.csv
fails 2 "loading ahead without a predictor" moe-prefetch replay --slots 1 --prefetch turns.csv
fails 2 "and with the limit" \
	moe-prefetch replay --slots 1 --prefetch --predictor tree --policy min turns.csv

# bad NAME STATUS COMPLAINT: moe-prefetch replay bad.csv is refused
bad() {
	fails "$2" "$1" moe-prefetch replay --slots 1 --layers 2 --experts 3 bad.csv
	says "^moe-prefetch: bad.csv$3" "is told"
}
sed 's/^0,1,3,1/0,1,3,2/' trace.csv >bad.csv
bad "an unknown layer" 1 ':9: column layer: "2" is not a whole number between 0 and 1'
sed 's/^0,1,3,1,0,1/0,1,3,1,0,3/' trace.csv >bad.csv
bad "an unknown expert" 1 ':9: column expert: "3" is not'
sed 's/^0,1,4/0,1,1/' trace.csv >bad.csv
bad "unsorted steps" 1 ':10: decoding goes back to step 1 \(expected steps in order\)'
sed 's/^0,1,4/0,0,4/' trace.csv >bad.csv
bad "mixed phases" 1 ':10: a row of the prompt after the decoded ones'
sed 's/^0,1,4/0,2,4/' trace.csv >bad.csv
bad "an unknown phase" 1 ':10: column phase: "2" is not'
head -c 200 trace.csv >bad.csv
bad "a trace that is cut short" 1 ':[0-9]*: (no line end|[0-9] fields)'
fails 1 "no trace" moe-prefetch replay --slots 1 absent.csv
head -c 100 trace.csv.gz >bad.csv.gz
fails 1 "a compressed trace that is cut short" moe-prefetch replay --slots 1 bad.csv.gz
says '^moe-prefetch: bad.csv.gz' "is told"

# Usage.
fails 2 "no command" moe-prefetch
fails 2 "an unknown command" moe-prefetch sing
says 'sing: no such command' "is told"
fails 2 "no slots" moe-prefetch replay trace.csv
says 'no --slots' "is told"
fails 2 "no trace" moe-prefetch replay --slots 1
fails 2 "no slots at all" moe-prefetch replay --slots 0 trace.csv
fails 1 "a full disk" moe-prefetch replay --slots 1 -o /dev/full trace.csv

# Published figures, percent: LRU, LFU and MIN in a global pool of 6, 12 and 24 slots per layer.
while read -r name policy want; do
	[ -f "$traces/$name" ] || continue
	moe-prefetch replay --slots 6,12,24 --scope global --policy "$policy" "$traces/$name" >out
	is "$(values out hit_rate | awk '{ printf "%.1f %.1f %.1f", 100*$1, 100*$2, 100*$3 }')" \
		"$want" "$policy of $name"
done <<'END'
qwen3-30b.route.csv.gz lru 27.5 47.7 71.9
qwen3-30b.route.csv.gz lfu 35.2 51.6 72.9
qwen3-30b.route.csv.gz min 56.9 74.1 89.0
gemma4.route.csv.gz lru 25.5 47.3 70.3
gemma4.route.csv.gz lfu 37.3 53.7 72.5
gemma4.route.csv.gz min 56.2 73.0 86.7
END

# Shares of the way from LRU to MIN that the learned policy has to make good, percent.
while read -r name least; do
	[ -f "$traces/$name" ] || continue
	for policy in lru learned; do
		moe-prefetch replay --slots 6,12,24 --scope global --policy $policy \
			"$traces/$name" >$policy
	done
	is "$(echo "$(values lru hit_rate) $(values learned hit_rate) $(values lru min_hit_rate)" |
		awk -v least="$least" '{
			split(least, want, ",")
			for (i = 1; i <= 3; i++) {
				share = 100 * ($(i + 3) - $i) / ($(i + 6) - $i)
				if (share < want[i]) print share " < " want[i]
			}
		}')" "" "learned, between LRU and MIN, on $name"
done <<'END'
qwen3-30b.route.csv.gz 43,38,25
gemma4.route.csv.gz 49,41,27
END

# Never below LRU, however many are kept.
for name in qwen3-30b gemma4; do
	[ -f "$traces/$name.route.csv.gz" ] || continue
	for policy in lru learned; do
		moe-prefetch replay --slots 1,2,4,16,32,48,64,80,100 --scope global \
			--policy $policy "$traces/$name.route.csv.gz" >$policy
	done
	is "$(echo "$(values learned hits) $(values lru hits)" | awk '{
		for (i = 1; i <= 9; i++) if ($i < $(i + 9)) print $i " < " $(i + 9) }')" "" \
		"learned, never below LRU, on $name"
done

# What the tree names before it is known, of six and of twelve, from numbers of experts alone.
while read -r name recall twice; do
	[ -f "$traces/$name" ] || continue
	moe-prefetch replay --slots 6 --predictor tree "$traces/$name" >out
	ok "the tree's recall on $name is $(values out recall), $(values out recall_2k)" \
		awk -v a="$(values out recall)" -v b="$(values out recall_2k)" \
		"BEGIN { exit !(a > $recall && b > $twice) }"
done <<'END'
qwen3-30b.route.csv.gz .59 .78
gemma4.route.csv.gz .57 .76
END
done_testing
