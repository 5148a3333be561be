#!/bin/sh
# moe-train --at-shift: dormant experts die or are merged when the text has changed, and at no
# other time; moe-market decides the same from the census of that step.
. t/lib.sh

train() {
	moe-train --dim 16 --layers 2 --heads 2 --experts 8 --hidden 24 --seq 16 --batch 4 \
		--steps 60 --lr 0.005 --census-every 7 "$@" a.txt b.txt@20 a.txt@40
}
# steps_of RUN: "STEP:EVENTS" of what was decided, a word for each step
steps_of() {
	awk -F, 'NR > 1 && $4 != "shift" { print $1 }' "$1/events.csv" | uniq -c |
		awk '{ printf "%s%d:%d", s, $2, $1; s = " " }'
}
# living RUN STEP: experts of each layer in a census
living() {
	awk -F, -v s="$2" '$1 == s { n[$2]++ } END { print n[0], n[1] }' "$1/experts.csv"
}

root=$PWD
cd "$T" || exit 1
words 20000 1 >a.txt
words 9000 2 >b.txt
train -j1 -o none
for kind in prune merge; do
	ok "$kind" train -j1 --at-shift $kind --dormant-below 0.8 -o $kind
	event=$([ $kind = prune ] && echo death || echo merge)
	# Windows end at 7, 14 and so on: the first whole ones of a text at 28 and 49.
	is "$(steps_of $kind | sed 's/:[0-9]*//g')" "28 49" "$kind: after each shift, once"
	is "$(awk -F, -v e=$event 'NR > 1 && $4 != "shift" && $4 != "keep" && ($4 != e ||
		$9 != "'$kind'" || $8 != 0.800000012 || $7 >= 0.8)' $kind/events.csv)" "" \
		"$kind: of those below the threshold, with what was compared"
	is "$(awk -F, '$1 == 28 && $9 * 8 < 0.8 { print $2, $3 }' $kind/experts.csv)" \
		"$(awk -F, -v e=$event '$1 == 28 && $4 == e { print $2, $3 }' $kind/events.csv)" \
		"$kind: of all of them"
	awk -F, 'NR == 1 || $1 == 28' $kind/experts.csv |
		moe-market decide --policy $kind --dormant-below 0.8 | cut -d, -f1-9 >said
	awk -F, 'NR == 1 || $1 == 28 && $4 != "shift"' $kind/events.csv | cut -d, -f1-9 >did
	same said did "$kind: moe-market decide says the same"
	train -j2 --at-shift $kind --dormant-below 0.8 --ckpt-every 3 -o two
	same_run $kind two "$kind: two workers"
	rm -rf two
	rounds=0
	while train -j1 --at-shift $kind --dormant-below 0.8 --decisions hold -o two 2>err
		[ $? = 3 ]; do
		awk -F, -v s=$((rounds ? 49 : 28)) 'NR == 1 || $1 == s' two/experts.csv |
			moe-market decide --policy $kind --dormant-below 0.8 --market-min 2 |
			moe-market apply two/ckpt.safetensors || break
		rounds=$((rounds + 1))
	done
	is $rounds 2 "$kind: held twice"
	same_run $kind two "$kind: held and applied"
	rm -rf two
done
is "$(head -n 29 none/loss.csv | cksum)" "$(head -n 29 prune/loss.csv | cksum)" \
	"before the first events nothing differs"
is "$(awk -F, '$4 == "merge" && ($10 != $2 || $11 == "" || $11 == $3)' merge/events.csv)" "" \
	"who is merged has somebody of the layer to be merged with"
train -j1 --at-shift prune --dormant-below 100 -o few
is "$(living few 28), $(living few 35), $(living few 56)" "8 8, 2 2, 2 2" \
	"as many stay as a token uses"
is "$(awk -F, '$1 == 49 { print $4, $9 }' few/events.csv | sort -u)" "keep least" \
	"and then nobody goes"
train -j1 --at-shift prune --dormant-below 0 -o kept
same kept/loss.csv none/loss.csv "without dormant experts nothing is done"
is "$(awk -F, 'NR > 1 && $4 != "shift" { print $4, $9 }' kept/events.csv | sort -u)" "keep fit" \
	"and that is told"
moe-train --dim 16 --heads 2 --hidden 16 --seq 16 --batch 2 --steps 20 --census-every 7 \
	--at-shift prune --dormant-below 100 -o short a.txt b.txt@8 a.txt@18
is "$(steps_of short)" "" "a text without a whole window prunes nobody"

# --- a model in use ---
moe-train --eval none/ckpt.safetensors --experts-csv use.csv b.txt >full.csv
is "$(column use.csv step | sort -u)" 60 "a census of use is of the checkpoint's step"
moe-market decide --policy prune --dormant-below 0.8 --market-min 2 use.csv >idle.csv
ok "who is not used is left out" moe-market apply -o small none/ckpt.safetensors idle.csv
is "$(moe-ckpt meta small ledger | tail -n +2 | grep -c .)" \
	"$((16 - $(grep -c death idle.csv)))" "the ledger has the others"
ok "the smaller model is evaluated" sh -c 'moe-train --eval small b.txt >small.csv'
trained=$(moe-train --dim 16 --layers 2 --heads 2 --experts 8 --hidden 24 --seq 16 --dry-run |
	awk -F, '$1 == "FLOPs per token" { print $2 }')
is "$(column full.csv flops | awk -v t=$trained '{ print $1 * 3 - t }')" 0 \
	"a token's operations are a third of those of training"
# Rows of the router behind the last expert go as well.
is "$(($(column full.csv parameters) - $(column small.csv parameters) -
	$(grep -c death idle.csv) * 2 * 24 * 16))" \
	"$((($(column full.csv flops) - $(column small.csv flops)) / 2))" \
	"those that are gone take no memory; experts as wide cost as much"
moe-train --eval none/ckpt.safetensors --top-k 1 b.txt >single.csv
is "$(awk -v a="$(column full.csv flops)" -v b="$(column single.csv flops)" \
	'BEGIN { print a - b }')" "$((2 * 2 * 2 * 24 * 16))" \
	"one expert less in each layer costs less"
is "$(column single.csv loss | grep -c .) $(cmp -s single.csv full.csv; echo $?)" "1 1" \
	"and predicts otherwise"
fails 1 "more than there are" moe-train --eval small --top-k 9 b.txt
says '^moe-train: --top-k 9 \(expected at most [0-9], the experts of layer [01]\)' "told"
# Experts of different widths: what is counted is what was used.
awk -F, '{ n += $(12) } END { printf "%.9g\n", n }' use.csv >counted
is "$(awk -v n="$(cat counted)" -v t="$(column full.csv tokens)" 'BEGIN { print n / t }')" \
	"$((2 * 2 * 2 * 2 * 24 * 16))" "the census counts the same of the experts"

# The manual's examples of it, with this run.
cp -r none RUN
cp b.txt text
for first in 'moe-train --eval RUN' 'for idle'; do
	sed -n "/^\\\$ $first/,/^\\.Ed/{/^\\.Ed/d;s/^\\\$ //;s/\\\\e/\\\\/;p}" \
		"$root/man/moe-market.1" >example
	ok "example: $(head -n 1 example)" sh -c 'sh -e ./example >out'
done
is "$(awk -F, 'NF == 5 && $3 > 0 && $4 > 0 && $5 > 0 { print $1, $2 }' out | tr '\n' ' ')" \
	"0 2 0 1 0.25 2 0.25 1 0.5 2 0.5 1 1 2 1 1 " "loss, operations and parameters of each"

fails 2 "a market" train --at-shift prune --lifecycle market --census-every 10 -o bad
says '^moe-train: --at-shift goes with neither --dense nor --lifecycle' "told"
fails 2 "a dense model" train --at-shift merge --dense --top-k 1 -o bad
fails 2 "--stats" moe-market decide --policy prune --stats x none/experts.csv
says '^moe-market: decide: --stats and --verbose tell of the market' "told"
done_testing
