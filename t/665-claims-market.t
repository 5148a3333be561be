#!/bin/sh
# The market's claims: the rules of the verdicts on figures made up, and three small runs from texts
# to verdicts.
. t/lib.sh
root=$PWD

# --- verdicts ---
rules=t/claims/market-verdicts.awk
inputs="testdata/market/replacements.csv testdata/market/recovery.csv testdata/market/loss.csv
	$T/value.csv"
. t/claims/made-up.sh
moe-market value -o "$T/value.csv" 2>"$T/err"

figures ''
is "$(cut -d, -f1 "$T/verdicts.csv" | tr '\n' ' ')" \
	"id M1 M2 M3 M4 M5 M6 M7 M8 M9 M10 M11 M12 M13 " "a row for each claim"
is "$(for i in 1 2 3 4 5 6 7 8 9 10 11 12 13; do verdict M$i; done | sort -u)" "cannot tell" \
	"without runs nothing can be told"
ok "and it says which runs are missing" grep -q '^M2,-,.*not run: A2 B2' "$T/verdicts.csv"
sed 's/39100000/39100001/' "$T/value.csv" >"$T/value" && mv "$T/value" "$T/value.csv"
verdicts
is "$(verdict M13)" "not reproduced" "a total that does not come out is noticed"

# As the paper has it.
paper='
	put("A2", "replacements", "all", 6, 5, 7); put("A2", "crossing_A", "", 0, 0, 0)
	put("A2", "churn", "all", 12, 10, 14); put("even", "spread_A", "", .1, .1, .1)
	put("B2", "replacements", "all", 16, 15, 17); put("B2", "churn", "all", 32, 30, 34)
	put("B2", "young_deaths", "", .9, .95, .92); put("B2", "burst", "", 16, 16, 15)
	put("C2", "replacements", "all", 0, 0, 0); put("C2", "churn", "all", 0, 0, 0)
	put("B2b", "replacements", "all", 7, 7, 8); put("B2b", "burst", "", 3, 2, 3)
	put("B2b", "replacements", 1, 0, 0, 0); put("C2b", "replacements", 1, 0, 0, 0)
	put("C2b", "replacements", "all", 6, 6, 5)
	put("B2c", "own_speedup_1", "", 9, 9.5, 8.8); put("C2c", "own_speedup_1", "", 11, 12, 11.5)
	put("B2c", "own_steps_1", "", 150, 150, 125); put("C2c", "own_steps_1", "", 100, 100, 125)
	put("fixed", "own_steps_1", "", 1300, 1350, 1400)
	put("fixed", "own_speedup_1", "", 1, 1.05, .95); put("scratch", "first", "", 4, 4, 4)
	put("B2c", "churn", 2, 0, 0, 0); put("C2c", "churn", 2, 0, 0, 0)
	for (i = 1; i < 3; i++) { v = i == 1 ? "B2c" : "C2c"
		put(v, "prose_without_least", "", .5, .6, .55)
		put(v, "prose_without_next", "", .01, .02, .01)
		put(v, "drift_dormant", "", .01, .02, .01)
		put(v, "same_steps_1", "", 150, 150, 125)
		put(v, "val_loss@end", "", 1.05, 1.06, 1.05) }
	put("prune", "same_steps_1", "", 1300, 1350, 1400)
	put("merge", "same_steps_1", "", 700, 750, 800)
	put("B2c", "churn", "all", 6, 6, 7); put("C2c", "churn", "all", 0, 0, 0)
	for (i = 1; i < 3; i++) { v = i == 1 ? "scale-8x2" : "scale-64x12"
		put(v, "crossing_B", "", .2, .2, .2); put(v, "replaced", "", .02, .02, .02)
		put(v, "own_speedup_1", "", 9, 9, 9) }'
figures "$paper"
for i in 2 3 4 5 6 7 8 9 10 11 12; do
	is "$(verdict M$i)" reproduced "M$i as published is reproduced"
done
is "$(verdict M1)" "not reproduced" "M1 contradicts itself: six replacements are not never"
figures "$paper"'put("A2", "replacements", "all", 0, 0, 0)'
is "$(verdict M1)" reproduced "M1 as the text has it"

# One figure at a time otherwise: later rows replace earlier ones.
changed <<'END'
M1|not reproduced|put("A2", "crossing_A", "", .4, .5, .45)
M2|not reproduced|put("B2", "replacements", "all", 2, 2, 3)
M2|cannot tell|put("B2", "replacements", "all", 2, 30, 3)
M3|not reproduced|put("B2", "young_deaths", "", .1, .2, .1)
M3|cannot tell|put("B2", "young_deaths", "", .1, .9, .9)
M4|not reproduced|put("C2", "replacements", "all", 40, 41, 42)
M4|cannot tell|put("C2", "replacements", "all", 0, 0, 40)
M5|not reproduced|put("C2", "replacements", "all", 25, 26, 26)
M5|cannot tell|put("C2b", "replacements", "all", 0, 0, 0)
M6|not reproduced|put("B2b", "replacements", 1, 1, 1, 30)
M7|not reproduced|put("B2c", "own_speedup_1", "", 4, 4.1, 4.2)
M7|cannot tell|put("fixed", "own_steps_1", "", 125, 150, 125)
M7|not reproduced|put("fixed", "own_steps_1", "", 50, 50, 25)
M8|not reproduced|put("C2c", "churn", 2, 9, 10, 11)
M9|not reproduced|put("B2c", "drift_dormant", "", .7, .8, .75)
M9|not reproduced|put("C2c", "prose_without_next", "", 1, 1.1, 1)
M10|not reproduced|put("fixed", "own_speedup_1", "", 5, 5.5, 5.2)
M10|cannot tell|put("merge", "same_steps_1", "", 150, 100, 150)
M11|not reproduced|put("C2c", "val_loss@end", "", 1.25, 1.26, 1.25)
M12|not reproduced|put("scale-64x12", "crossing_B", "", .9, .9, .9)
END

# --- small runs ---
head -c 120000 lib/math/*.c lib/train/*.c >"$T/code"
cat man/*.1 man/*.5 | head -c 150000 >"$T/prose"
cd "$root" || exit 1
small='--experts 4 --hidden 8 --heads 2 --dim 16 --seq 8 --batch 1'
claims() {
	MAKEFLAGS='' make -j2 --no-print-directory -f t/claims/market.mk B="$B" CLAIMS_DIR="$T" \
		PROSE="$T/prose" CODE="$T/code" SEEDS=1 MOE_VARIANTS='fixed scratch B2c' \
		pool="$small --dormancy --load-balance" "$@"
}
ok "three runs" claims >"$T/shown"
run=$T/market/runs/B2c/1
value() {
	awk -F, -v f="$1" -v p="$2" '$1 == "B2c" && $3 == f && $4 == p { print $5 }' \
		"$T/market/figures.csv"
}
is "$(ls "$run" | tr '\n' ' ')" "ckpt-1500.safetensors ckpt-3000.safetensors ckpt.safetensors \
environment events.csv experts.csv figures.csv layers.csv loss.csv recipe " \
	"with their checkpoints on the way"
is "$(value replacements all)" \
	"$(awk -F, '$4 == "birth" && $9 == "replace"' "$run/events.csv" | wc -l)" \
	"replacements are those of the events"
is "$(value val_loss@3050 "")" "$(awk -F, '$1 == 3050 { print $5 }' "$run/loss.csv")" \
	"losses are those of the run"
is "$(value own_steps_1 "")" "$(moe-shift score --metric val_loss --level left --shift last \
	"$run" 2>/dev/null | awk -F, 'NR == 2 { print $6 == "" ? 1500 : $6 }')" \
	"recovery is moe-shift's"
without=$(value prose_without_least "")
ok "what it loses without experts is measured" test "$without"
is "$(awk -F, 'END { print NR }' "$T/market/verdicts.csv")" 14 "the verdicts are there"
ok "and shown" grep -q '^M8   ' "$T/shown"
is "$(ls "$T/market/plots" | tr '\n' ' ')" "experts.svg losses.svg " "and drawn what there is"
mkdir "$T/all"
cp -r "$T/market" "$T/all/market"
ok "a page of it" sh t/claims/page.sh "$T/all"
ok "has the verdicts" grep -q '<h2>Verdicts: market</h2>' "$T/all/page.html"
ok "and the runs" grep -q 'In the first run, B2c/1' "$T/all/page.html"
find "$T/market" -type f -exec ls -l --full-time {} + >"$T/before"
ok "again" claims >"$T/shown.again"
find "$T/market" -type f -exec ls -l --full-time {} + >"$T/after"
same "$T/after" "$T/before" "nothing is done twice"
same "$T/shown.again" "$T/shown" "the same is shown"
done_testing
