#!/bin/sh
# moe-train --lifecycle living: whose life the events tell, that moe-market decides the same from
# the census, and that workers and kills leave no trace in the bytes of a run.
. t/lib.sh

model='--dim 16 --layers 2 --heads 2 --hidden 24 --seq 16 --batch 4 --steps 240 --lr 0.005'
plain="$model --experts 5"
rules='--max-experts 12 --min-experts 3 --overload 0.6 --starvation 0.25 --patience 2
	--interval 5 --sigma 0.05 --plateau 2 --plateau-margin 0.01 --phi-margin 0.005
	--escape-steps 12'
living() {
	exec moe-train $plain --lifecycle living $rules --router-noise 0.02 --trace \
		--trace-every 2 "$@" a.bin b.bin@120
}
train() {
	(living "$@")
}

cd "$T" || exit 1
moe-data chaos --tokens 20000 --bins 32 -o a.bin henon
moe-data chaos --tokens 9000 --bins 32 -o b.bin logistic

ok "a run with a living layer" train -j1 -o one

# --- lives ---
# Events say who lives where; each census shows the population before the events of its step.
cat >lives.awk <<'END'
function say(what) { print "step " $1 ": " what }
FNR == 1 { file++; for (i = 1; i <= NF; i++) col[file, $i] = i; next }
file == 1 {
	k = $1 SUBSEP $2 SUBSEP $3
	who[k] = $4; rows[$1]++
	energy[$1, $4] = $col[1, "energy"]
	over[$1, $4] = $col[1, "over"]; starved[$1, $4] = $col[1, "starved"]
	twin[$1, $4] = $col[1, "twin"]
	if ($col[1, "escape"] != "") {
		if (($1, $2) in phi) say("two first rows of layer " $2)
		phi[$1, $2] = $col[1, "phi"]; high[$1, $2] = $col[1, "phi_high"]
		away[$1, $2] = $col[1, "escape"]; plateau[$1, $2] = $col[1, "plateau"]
	}
	v = $col[1, "vitality"]
	x = 0.5 * $col[1, "energy"] + 0.5 * $col[1, "load_factor"] * $col[1, "gradient_factor"]
	vital[$1, $4] = v
	if (v == "" || (v - x / (1 + x)) ^ 2 > 1e-12) say("vitality " v " of energy " x)
	next
}
function census_is(step, k, n) {
	if (step == seen) return
	seen = step
	for (k in at) {
		split(k, p, SUBSEP)
		n++
		if (who[step, p[1], p[2]] != at[k]) say("slot " p[2] " of layer " p[1] ": " \
			who[step, p[1], p[2]] " in the census, " at[k] " by the events")
		if (living[p[1]] > 12 || living[p[1]] < 3) say("beyond the bounds")
	}
	if (n != rows[step]) say(rows[step] " experts in the census, " n " by the events")
	for (k in newborn) {
		e = energy[step, newborn[k]]
		if (energy[step, k] != e) say("energy of twins differs")
		x = vital[step - 5, newborn[k]] / 2
		if ((e - x / (1 - x)) ^ 2 > 1e-8 * e * e) say("energy " e " of a newborn")
		if (twin[step, k] != newborn[k] && twin[step, k] != "") say("another twin")
		twins += twin[step, k] != ""
		delete newborn[k]
	}
}
BEGIN {
	for (l = n = 0; l < 2; l++)
		for (s = 0; s < 5; s++) { at[l, s] = n; lives[n] = l; used[n++] }
	living[0] = living[1] = 5
}
$4 == "shift" { next }
{ census_is($1); count[$4]++ }
$4 == "escape" || $9 == "phi" {
	bound = 0.995 * high[$1, $2]
	if ($7 != phi[$1, $2] || ($8 - bound) ^ 2 > 1e-12 || $7 + 0 > $8 + 0)
		say($4 " at Phi " $7 ", bound " $8) }
{ left = until[$2] > $1 ? until[$2] - $1 : 0
  if (away[$1, $2] != left) say(away[$1, $2] " steps of a detour left, not " left) }
$4 == "escape" {
	if (left > 0) say("an escape within another")
	if ($9 != "despair" || plateau[$1, $2] < 1) say("no despair")
	until[$2] = $1 + 12; escapes++
	away[$1, $2] = 12 }
$4 == "death" || $4 == "keep" {
	if (at[$2, $3] != $5) say($4 " of " $5 " where " at[$2, $3] " lives") }
$4 == "death" {
	if ($7 + 0 > $8 + 0 || $9 != "apoptosis") say("a death at " $7)
	delete at[$2, $3]; delete lives[$5]; living[$2]--
	for (k in newborn) if (newborn[k] == $5) delete newborn[k] }
$4 == "birth" {
	if (($2, $3) in at) say("a birth onto " at[$2, $3])
	if ($5 in used) say("the number " $5 " again")
	if (!($6 in lives) || lives[$6] != $2) say("a parent " $6 " that does not live there")
	if ($9 == "phi" ? $7 > $8 : $7 + 0 < $8 + 0 || $9 != "mitosis") say("a birth at " $7)
	if ($14 != "twin") say("a birth as " $14)
	causes[$9]
	if (twin[$1, $6] in lives && twin[$1, $6] != "") say("a twin divides")
	for (s = 0; s < $3; s++) if (!(($2, s) in at)) say("slot " s " was empty")
	used[$5]; at[$2, $3] = $5; lives[$5] = $2; living[$2]++; newborn[$5] = $6 }
END {
	for (k in at) all++
	if (count["birth"] - count["death"] != all - 10) print "growth"
	if (count["birth"] < 10 || count["death"] < 5 || !count["keep"]) print "too few events"
	if (!twins) print "no twins in any census"
	if (!("phi" in causes)) print "no birth by Phi"
	if (escapes < 2) print escapes + 0 " escapes"
	print all > "living"
	print n + count["birth"] > "next"
}
END
is "$(awk -F, -f lives.awk one/experts.csv one/events.csv)" "" \
	"events and census tell the same lives"
is "$(moe-ckpt meta one/ckpt.safetensors ledger | tail -n +2 | grep -c .)" "$(cat living)" \
	"the ledger has as many"
is "$(moe-ckpt meta one/ckpt.safetensors next_expert)" "$(cat next)" "and knows the next number"

# --- decide ---
moe-market decide --policy living $rules one/experts.csv >decided.csv
# What was decided, without what the pool fills in.
decisions() {
	awk -F, -v OFS=, 'NR == 1 || $4 == "shift" { next }
		{ print $1, $2, $3, $4, $4 == "birth" ? "" : $5, $6, $7, $8, $9, $13, $14 }' "$1"
}
decisions one/events.csv >ran
decisions decided.csv >said
same ran said "moe-market decide gives the events of the run"

# --- the same bytes ---
train -j2 --ckpt-every 7 -o two
same_run one two "two workers"
is "$(killed "38 90 150" living -j1 --ckpt-every 13 --trace-csv pipe -o killed)" 3 "kills"
ok "what was killed goes on" train -j1 --trace-csv /dev/null -o killed
for f in loss.csv experts.csv events.csv layers.csv recipe; do
	same one/$f killed/$f "killed and resumed: $f"
done
train -j1 --trace-csv /dev/null -o whole
same whole/ckpt.safetensors killed/ckpt.safetensors "killed and resumed: the checkpoint"

# --- decided at the other end of a pipe ---
mkfifo down up
moe-market decide --policy living $rules up >down &
ok "a policy at the other end" train -j1 --decisions down --experts-csv up -o piped
wait $!
for f in loss.csv events.csv layers.csv; do
	same one/$f piped/$f "decided elsewhere: $f"
done

# --- other ways to live ---
for more in '--router linear' '--router mlp --act swiglu' '--life-without apoptosis' \
	'--life-without mitosis,apoptosis,escape' \
	'--escape fourier --despair gradient --phi product' \
	'--phi-collapse escape --life-without phi' \
	'--sigma 0 --bias-rate 0.01' \
	'--load-balance 0.01 --z-loss 0.001 --dormancy'; do
	ok "living $more" train -j1 $more -o "other$more"
done
is "$(awk -F, '$4 == "death"' "other--life-without apoptosis/events.csv")" "" "none died"
is "$(awk -F, 'NR > 1 && $4 != "keep" && $4 != "shift"' \
	"other--life-without mitosis,apoptosis,escape/events.csv")" "" "nothing happened"
ok "a checkpoint with twins is evaluated" moe-train --eval one/ckpt.safetensors a.bin
ok "and sampled from" sh -c 'head -c 5 a.bin | moe-train --sample one/ckpt.safetensors \
	--tokens 8 --greedy >sample'

# --- from another life ---
moe-train $plain --router cosine --steps 20 -o fixed a.bin
ok "a life begins with the experts of a fixed pool" train -j1 --router-noise 0 \
	--resume-from fixed/ckpt.safetensors -o begun
is "$(moe-ckpt ls fixed/ckpt.safetensors | grep -c detour) \
$(moe-ckpt ls begun/ckpt.safetensors | grep -c detour)" "0 6" "which had no gates of detours"
ok "and one without escapes from a life with them" train -j1 --steps 250 \
	--life-without escape --resume-from one/ckpt.safetensors -o calm
is "$(moe-ckpt ls calm/ckpt.safetensors | grep -c detour)" 0 "whose gates are left aside"

# --- refused ---
# refused PATTERN NAME OPTIONS...
refused() {
	local pattern=$1 name=$2
	shift 2
	fails 2 "$name" moe-train $model --lifecycle living "$@" -o refused a.bin
	says "$pattern" "$name: told"
}
refused '^moe-train: --starvation 0.8 is not below --overload 0.75' "crossed thresholds" \
	--starvation 0.8
refused '^moe-train: --min-experts 9 is more than --max-experts 8' "crossed bounds" \
	--min-experts 9 --max-experts 8
refused '^moe-train: --min-experts 1 \(expected at least --top-k, 2\)' "fewer than top-k" \
	--min-experts 1
refused '^moe-train: 9 experts in the 8 slots of layer 0 \(expected 2 to 8\)' \
	"more at the start than may live" --experts 9 --max-experts 8
refused '^moe-train: --router random has no keys' "chance" --router random
refused '^moe-train: --dense has no population' "a dense model" --dense --top-k 1
refused '^moe-train: --census-every 7 \(expected the policy.s --interval, 10\)' \
	"a census at other steps" --census-every 7
is "$(ls -d refused 2>/dev/null)" "" "nothing is left of them"
fails 2 "crossed thresholds" moe-market decide --policy living --overload 0.05 one/experts.csv
says '--starvation 0.1 is not below --overload 0.05' "told"
fails 2 "a market's figures of another policy" moe-market decide --policy living -v \
	one/experts.csv
fails 1 "a census without gradients" sh -c 'cut -d, -f1-20 one/experts.csv |
	moe-market decide --policy living'
says 'gradient' "told"
done_testing
