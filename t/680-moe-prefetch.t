#!/bin/sh
# moe-prefetch: replay of small traces made here, whole and damaged, and of real ones.
. t/lib.sh
traces=$PWD/../shared/data/traces
cd "$T" || exit 1

# column FILE NAME: a column's values on one line
column() {
	awk -F, -v name="$2" '
		NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i; next }
		{ printf "%s%s", s, $c; s = " " }' "$1"
}

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
cat >want <<'END'
policy,predictor,scope,slots,accesses,hits,hit_rate,min_hit_rate,loads,wasted,bytes,trace
lru,none,layer,1,8,1,0.125,0.5,7,0,1000,trace.csv
lru,none,layer,2,8,5,0.625,0.75,3,0,400,trace.csv
END
same out want "the columns and figures worked out by hand"
moe-prefetch replay --slots 2 --scope global --policy min - <trace.csv >out
is "$(column out scope) $(column out hits) $(column out min_hit_rate)" "global 6 0.75" \
	"one pool; standard input"
gzip -k trace.csv
moe-prefetch replay --slots 1 trace.csv trace.csv.gz -o both.csv.gz
is "$(gzip -dc both.csv.gz | cut -d, -f6,12 | tr '\n' ' ')" \
	"hits,trace 1,trace.csv 1,trace.csv.gz " "several traces, compressed"

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
	is "$(column out hit_rate | awk '{ printf "%.1f %.1f %.1f", 100*$1, 100*$2, 100*$3 }')" \
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
	is "$(echo "$(column lru hit_rate) $(column learned hit_rate) $(column lru min_hit_rate)" |
		awk -v least="$least" '{
			split(least, want, ",")
			for (i = 1; i <= 3; i++) {
				share = 100 * ($(i + 3) - $i) / ($(i + 6) - $i)
				if (share < want[i]) print share " < " want[i]
			}
		}')" "" "learned, between LRU and MIN, on $name"
done <<'END'
qwen3-30b.route.csv.gz 43,38,28
gemma4.route.csv.gz 49,41,30
END
done_testing
