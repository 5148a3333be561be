#!/bin/sh
# The X-slot's claims: the rules of the verdicts on figures made up, and a small model from texts to
# verdicts.
. t/lib.sh

# --- verdicts ---
rules='t/claims/xslot-verdicts.awk'
inputs=$T/replay.csv
. t/claims/made-up.sh
# The rules read the replays, too.
cat t/claims/xslot-replay.awk t/claims/xslot-verdicts.awk >"$T/rules.awk"
rules=$T/rules.awk

# replays A B: of a trillion parameters, tokens/s by two traces
replays() {
	echo shape,trace,slots,policy,predictor,tier,hit_rate,min_hit_rate,tokens_per_s,\
recall,recall_2k,known_tokens_per_s
	echo "trillion,a.csv,32,learned,none,pcie4,.5,.6,$1,,,50"
	echo "trillion,b.csv,32,learned,none,pcie4,.5,.6,$2,,,50"
}
replays 25 30 >"$T/replay.csv"
figures ''
is "$(cut -d, -f1 "$T/verdicts.csv" | tr '\n' ' ')" "id $(seq -f X%g 8 | tr '\n' ' ')" \
	"a row for each claim"
is "$(for i in $(seq 8); do verdict X$i; done | sort -u)" "cannot tell" \
	"without runs nothing can be told"

paper='
	split("wozniak prose code", P, " ")
	for (i in P) put("model", "equal", P[i], 10, 10, 10)
	put("ours", "tokens_per_s", 25, 90, 91, 92); put("resident", "tokens_per_s", "", 99, 99, 98)
	put("none", "first_token", "", .5, .51, .52); put("fetch", "first_token", "", .4, .41, .4)
	put("encode", "first_token", "", .1, .1, .1)
	put("whole", "bytes", "", 900, 910, 920); put("leaves", "bytes", "", 400, 410, 420)
	put("uncertain", "bytes", "", 800, 810, 820)
	split("own fresh another", V, " ")
	for (i in V) { put(V[i], "late_recall", "", .5, .51, .52)
		put(V[i], "late_awaited", "", 300, 310, 305)
		put(V[i], "late_first_token", "", .5, .51, .52) }
	put("own", "late_recall", "", .6, .61, .62); put("own", "late_awaited", "", 200, 210, 205)
	put("own", "late_first_token", "", .4, .41, .42)
	put("pivot", "seconds", "", .1, .11, .12); put("pivot", "share", "", .01, .011, .012);'
figures "$paper"
for i in 1 2 3 4 5 6; do
	is "$(verdict X$i)" reproduced "X$i as promised is reproduced"
done
is "$(verdict X7) $(verdict X8)" "cannot tell cannot tell" \
	"no counter, no verdict; nor on what an answer means"
changed <<'END'
X1|not reproduced|put("model", "equal", "code", 10, 9, 10)
X3|not reproduced|put("fetch", "first_token", "", .9, .9, .9)
X3|cannot tell|put("fetch", "first_token", "", .5, .5, .53)
X4|not reproduced|put("leaves", "bytes", "", 990, 990, 990)
X5|not reproduced|put("own", "late_first_token", "", .9, .91, .92)
X5|cannot tell|put("own", "late_first_token", "", .4, .51, .55)
X5|not reproduced|put("own", "late_recall", "", .4, .41, .42)
X6|not reproduced|put("pivot", "share", "", .2, .21, .22)
X6|not reproduced|put("pivot", "seconds", "", 3, 3.1, 3.2)
X7|reproduced|put("ours", "joules", 25, 3, 3, 3); put("resident", "joules", "", 5, 5, 5.1)
X7|not reproduced|put("ours", "joules", 25, 9, 9, 9); put("resident", "joules", "", 5, 5, 5.1)
X8|not reproduced|put("model", "equal", "wozniak", 10, 10, 0)
END
for rates in '25 5|cannot tell' '5 6|not reproduced'; do
	# shellcheck disable=SC2086
	replays ${rates%|*} >"$T/replay.csv"
	figures "$paper"
	is "$(verdict X2)" "${rates#*|}" "X2: ${rates%|*} tokens/s behind PCIe 4"
done

# --- a small model, from texts to verdicts ---
words 400000 1 >"$T/prose"
words 400000 2 | tr a-z A-Z >"$T/code"
verdicts_of() {
	awk -F, -v id="$1" '$1 == id' "$T/xslot/verdicts.csv" |
		grep -oE ',(reproduced|not reproduced|cannot tell),' | tr -d ,
}
claims() {
	make --no-print-directory -f t/claims/xslot.mk B="$B" CLAIMS_DIR="$T" SEEDS=1 STEPS=60 \
		PROSE="$T/prose" CODE="$T/code" TRACES= "$@"
}
MODEL='--dim 32 --layers 2 --heads 2 --experts 64 --hidden 32'
ok "claims" claims MODEL="$MODEL" >"$T/out"
is "$(grep -c '^X[1-8] ' "$T/out")" 8 "a verdict for each claim"
is "$(verdicts_of X1) $(verdicts_of X8)" "reproduced cannot tell" "the same bytes always"
is "$(awk -F, '$1 == "model" && $3 == "equal" { n += $5 } END { print n }' \
	"$T/xslot/figures.csv")" 30 \
	"thirty runs that give the resident text"
is "$(awk -F, '$3 == "tokens_per_s" && $1 ~ /^(ours|ahead|demand)$/ && $5 > 0' \
	"$T/xslot/figures.csv" | wc -l)" 15 "a speed for each way and budget"
is "$(awk -F, '$3 == "expert_hits" { h[$1, $4] = $5 } $3 == "expert_limit" { m[$1, $4] = $5 }
	END { for (k in h) bad += h[k] > m[k]
		print length(h), bad + 0 }' "$T/xslot/figures.csv")" \
	"15 0" "hit rates, none above the limit"
is "$(awk -F, '$3 == "recall" && $1 ~ /^(own|fresh|another)$/' "$T/xslot/figures.csv" | wc -l)" 30 \
	"ten sessions of three trees"
cp "$T/xslot/verdicts.csv" "$T/first"
ok "again" claims MODEL="$MODEL" >/dev/null
same "$T/xslot/verdicts.csv" "$T/first" "nothing is done twice"
done_testing
