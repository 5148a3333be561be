#!/bin/sh
# moe-train --lifecycle market: whose life the events tell, that moe-market decides the same from
# the census, and that workers and kills leave no trace in the bytes of a run.
. t/lib.sh

model='--dim 16 --layers 2 --heads 2 --hidden 24 --seq 16 --batch 4 --steps 200 --lr 0.005'
plain="$model --experts 5"
rules='--fitness B --grace 3 --kappa 0.8 --market-warmup 20 --persistence 2 --width-step 0.3
	--slots 6,7 --market-min 3 --migration --sigma 0.05'
market() {
	exec moe-train $plain --lifecycle market $rules --interval 5 --trace --trace-every 2 \
		"$@" a.txt b.txt@100
}
train() {
	(market "$@")
}

cd "$T" || exit 1
words 20000 1 >a.txt
words 9000 2 >b.txt

ok "a run with a market" train -j1 -o one

# --- lives ---
# Events say who lives where; each census shows the population before the events of its step.
cat >lives.awk <<'END'
function say(what) { print "step " $1 ": " what; bad++ }
FNR == 1 { file++; for (i = 1; i <= NF; i++) col[file, $i] = i; next }
file == 1 { who[$1, $2, $3] = $4; steps[$1]; rows[$1]++; parent[$4] = $5; born[$4] = $6
	width[$1, $4] = $col[1, "width"]; next }
function census_is(step, k, n) {
	if (step == seen) return
	seen = step
	for (k in at) {
		split(k, p, SUBSEP)
		n++
		if (who[step, p[1], p[2]] != at[k]) say("slot " p[2] " of layer " p[1] ": " \
			who[step, p[1], p[2]] " in the census, " at[k] " by the events")
	}
	if (n != rows[step]) say(rows[step] " experts in the census, " n " by the events")
}
BEGIN {
		for (l = n = 0; l < 2; l++)
			for (s = 0; s < 5; s++) { at[l, s] = n; lives[n] = l; used[n++] }
	}
$4 == "shift" { next }
{ census_is($1); count[$4]++ }
$4 == "death" || $4 == "move" || $4 == "keep" {
	if (at[$2, $3] != $5) say($4 " of " $5 " where " at[$2, $3] " lives") }
$4 == "death" { delete at[$2, $3]; delete lives[$5] }
$4 == "move" {
	if (($10, $11) in at) say("a move onto " at[$10, $11])
	delete at[$2, $3]; at[$10, $11] = $5; lives[$5] = $10 }
$4 == "birth" {
	if (($2, $3) in at) say("a birth onto " at[$2, $3])
	if ($5 in used) say("the number " $5 " again")
	if (!($6 in lives) || lives[$6] != $2) say("a parent " $6 " that does not live there")
	if ($12 == "" || $13 == "" || $14 != "mutant") say("a birth without width, sigma, origin")
	if ($5 in born && (born[$5] != $1 || parent[$5] != $6)) say("another life in the census")
	used[$5]; at[$2, $3] = $5; lives[$5] = $2 }
END {
	for (k in at) living++
	if (count["birth"] - count["death"] != living - 10) print "growth"
	if (!count["birth"] || !count["death"] || !count["keep"]) print "no births or no deaths"
	for (k in who) if (width[k]) widths[width[k]]
	print living > "living"
	print n + count["birth"] > "next"
	print count["birth"], count["death"], count["move"] + 0 > "counts"
}
END
is "$(awk -F, -f lives.awk one/experts.csv one/events.csv)" "" \
	"events and census tell the same lives"
is "$(moe-ckpt meta one/ckpt.safetensors ledger | tail -n +2 | grep -c .)" "$(cat living)" \
	"the ledger has as many"
is "$(moe-ckpt meta one/ckpt.safetensors next_expert)" "$(cat next)" "and knows the next number"
is "$(awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "width") c = i; next } { w[$c] }
	END { for (i in w) n++; print (n > 1) }' one/experts.csv)" 1 "widths differ"
is "$(awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) c[$i] = i; next }
	$c["fitness"] == "" || $c["effective"] == "" || $c["demand_essential"] == ""' \
	one/experts.csv)" "" "the census has every fitness"

# --- decide ---
moe-market decide $rules --interval 5 one/experts.csv >decided.csv
# What was decided, without what the pool fills in.
decisions() {
	awk -F, -v OFS=, 'NR == 1 || $4 == "shift" || $9 == "warm-up" { next }
		{ print $1, $2, $3, $4, $4 == "birth" ? "" : $5, $6, $7, $8, $9, $10, $11, $12,
			$13, $14
		}' "$1"
}
decisions one/events.csv >ran
decisions decided.csv >said
same ran said "moe-market decide gives the events of the run"

# --- the same bytes ---
train -j2 --ckpt-every 7 -o two
same_run one two "two workers"
is "$(killed "38 90 150" market -j1 --ckpt-every 13 --trace-csv pipe -o killed)" 3 "kills"
ok "what was killed goes on" train -j1 --trace-csv /dev/null -o killed
# The checkpoint tells of the trace, which is not in the directory here.
train -j1 --trace-csv /dev/null -o whole
same whole/events.csv one/events.csv "where the trace goes changes nothing"
for f in ckpt.safetensors loss.csv experts.csv events.csv recipe; do
	same whole/$f killed/$f "killed and resumed: $f"
done

# --- kinds of newborns, routers, balancing ---
for kind in fresh mean; do
	ok "newborns are $kind" train -j1 --birth $kind -o $kind
	is "$(awk -F, '$4 == "birth" { print $6 $14 }' $kind/events.csv | sort -u)" $kind \
		"$kind: all of them"
done
for router in mlp cosine; do
	ok "$router router" train -j1 --router $router --act swiglu --bias-rate 0.01 -o $router
done
ok "random router" train -j1 --router random -o random
ok "a checkpoint with empty slots is evaluated" moe-train --eval one/ckpt.safetensors a.txt

# --- each of the eighteen ---
all='birth death replacement fitness quality demand cost exclusivity threshold inheritance mutation
	width migration grace adaptive-grace warm-up dormancy price'
is "$(echo $all | wc -w)" 18 "mechanisms"
moe-train $plain --steps 40 --lifecycle market $rules --interval 5 --fitness C --adaptive-grace \
	--dormancy --bias-rate 0.01 -j1 -o full a.txt b.txt@20
for word in $all; do
	ok "--without $word" moe-train $plain --steps 40 --lifecycle market $rules --interval 5 \
		--fitness C --adaptive-grace --dormancy --bias-rate 0.01 --without $word \
		-j1 -o "without/$word" a.txt b.txt@20
done
off() {
	moe-train $plain --steps 40 --lifecycle market $rules --interval 5 --fitness C \
		--adaptive-grace "$@" -j1 -o off a.txt b.txt@20
	echo $(cksum <off/loss.csv)
	rm -rf off
}
is "$(cksum <without/dormancy/loss.csv)" "$(off --bias-rate 0.01)" \
	"--without dormancy is a run without --dormancy"
is "$(cksum <without/price/loss.csv)" "$(off --dormancy)" \
	"--without price is one without --bias-rate"
is "$(cmp full/loss.csv without/dormancy/loss.csv >/dev/null; echo $?) $(
	cmp full/loss.csv without/price/loss.csv >/dev/null; echo $?)" "1 1" "both do something"

# --- none ---
moe-train $plain --census-every 5 -j1 -o none a.txt b.txt@100
moe-train $plain --census-every 5 -j1 --lifecycle none --kappa 3 --slots 9 -o none2 a.txt b.txt@100
for f in loss.csv experts.csv events.csv layers.csv; do
	same none/$f none2/$f "without a market its options do nothing: $f"
done
is "$(awk -F, 'NR > 1 { print $4 }' none/events.csv)" shift "no events but the shift"

# --- refused ---
# refused PATTERN NAME OPTIONS...
refused() {
	local pattern=$1 name=$2
	shift 2
	fails 2 "$name" moe-train $model --lifecycle market "$@" -o refused a.txt
	says "$pattern" "$name: told"
}
refused '^moe-train: --dense has no population' "a dense model" --dense --top-k 1
refused '^moe-train: --census-every 7 \(expected the policy.s --interval, 10\)' \
	"a census at other steps" --census-every 7
refused '^moe-train: 5 experts in the 4 slots of layer 0 \(expected 2 to 4\)' \
	"fewer slots than experts" --experts 5 --slots 4
refused '^moe-train: --market-min 1 \(expected 0, or at least --top-k, 2\)' \
	"layers below top-k" --experts 5 --market-min 1
refused '^moe-train: --router random has no choice' "a bias on chance" --router random \
	--bias-rate 0.1
refused '^moe-train: --without "prices" \(expected birth\|.*\|dormancy\|price\)' \
	"a mechanism that is none" --without prices
refused '^moe-train: --migration lets layers shrink' "migration alone" --migration
is "$(ls -d refused 2>/dev/null)" "" "nothing is left of them"
done_testing
