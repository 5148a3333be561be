#!/bin/sh
# The ecology's claims: the rules of the verdicts on figures made up, and small runs from images and
# texts to verdicts.
. t/lib.sh

# --- verdicts ---
rules=t/claims/ecology-verdicts.awk
inputs=testdata/ecology/tables.csv
. t/claims/made-up.sh

figures ''
is "$(cut -d, -f1 "$T/verdicts.csv" | tr '\n' ' ')" "id $(seq -f E%g 17 | tr '\n' ' ')" \
	"a row for each claim"
is "$(for i in $(seq 17); do verdict E$i; done | sort -u)" "cannot tell" \
	"without runs nothing can be told"
ok "and it says which runs are missing" grep -q '^E16,-,.*not run: t200-four' "$T/verdicts.csv"

# As the paper has it, where it does not contradict itself.
paper='
	sets = "c10 t100 t200 t10 o242 lm"; n = split(sets, S, " ")
	ways = "base p014 p035 p044 p065 ortho02 ortho05 ortho10 ortho20 low four flat nowarm "
	ways = ways "nowarm-ortho10 eq-T9 eq-T1 eq-O eq-B eq-x4 eq-x10th e1 32 nobalance "
	ways = ways "nodivergence noanneal noentropy noproto gpt2 over T3 T1 H3 H1 B3 B1 T3-back "
	ways = ways "T1-back H3-back H1-back B3-back B1-back"
	m = split(ways, W, " ")
	for (i = 1; i <= n; i++) for (k = 1; k <= m; k++) {
		v = S[i] "-" W[k]
		put(v, "dead", "", 0, 0, 0); put(v, "accuracy", "", .6, .61, .62)
		put(v, "gini", "", .3, .31, .32); put(v, "pure_core", "", 7, 8, 7) }
	for (i = 1; i <= 2; i++) { v = i == 1 ? "c10" : "o242"
		put(v "-p065", "pure_core", "", 14, 15, 14) }
	put("lm-base", "unigram", "", 500, 500, 500); put("lm-gpt2", "unigram", "", 900, 900, 900)
	put("lm-base", "perplexity", "", 300, 301, 302)
	put("lm-gpt2", "perplexity", "", 600, 601, 602)
	put("lm-over", "overfit", "", 2, 2.1, 2.2)
	for (i = 1; i <= 3; i++) { v = "c10-" substr("THB", i, 1)
		put(v 3, "dead", 50, 4, 5, 4); put(v 1, "dead", 50, 10, 11, 10)
		put(v 1, "dead", "", 10, 11, 10); put(v "1-back", "dead", "", 10, 11, 10) }
	put("t200-base", "dead", "", 4, 4, 5); put("o242-base", "dead", "", 6, 6, 7)
	put("t200-e1", "dead", "", 4, 4, 5); put("t200-32", "dead", "", 25, 24, 25)
	put("t200-four", "dead", "", 4, 4, 3); put("t200-nobalance", "dead", "", 12, 12, 13)
	for (k = 1; k <= m; k++) if (W[k] ~ /^no[adep]/ || W[k] == "nodivergence")
		put("t200-" W[k], "dead", "", 4, 4, 5)
	put("t200-e1", "tier1", "", .02, .03, .02); put("t200-e1", "beyond00", "", 5, 6, 5)
	put("t200-e1", "hard_ratio", 1, 1.5, 1.6, 1.5)
	split("0.1 0.3 0.5 0.7 1 2 5", T, " ")
	for (i in T) { put("t200-e1", "heat_set_moved", T[i], 0, 0, 0)
		put("t200-32", "heat_set_moved", T[i], 0, 0, 0) }
	put("t200-four", "cycles", "", 1, 1, 1); put("t200-four", "depth", "", 3, 3.1, 3)
	put("t100-four", "depth", "", 3.9, 4, 3.9)
	put("t200-four", "pair_accuracy", "", .002, .003, .002)
	put("t200-four", "pair_tiers", "", .4, .35, .38)
	put("t200-four", "accuracy_range", "", .008, .009, .007)
	for (i = 0; i < 4; i++) put("t200-four", "tier" i "_range", "", .01, .011, .01);'
figures "$paper"
for i in 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do
	is "$(verdict E$i)" reproduced "E$i as published is reproduced"
done
is "$(verdict E1)" "not reproduced" "E1 contradicts itself: its own 0.545 leaves some dead"
healthy='put("t200-base", "dead", "", 0, 0, 0); put("o242-base", "dead", "", 0, 0, 0)
	put("t200-e1", "dead", "", 0, 0, 0); put("t200-32", "dead", "", 0, 0, 0)
	put("t200-four", "dead", "", 0, 0, 0); put("t200-nobalance", "dead", "", 0, 0, 0);'
figures "$paper$healthy"
is "$(verdict E1)" reproduced "E1 as the abstract has it"

# One figure at a time otherwise: later rows replace earlier ones.
changed <<'END'
E2|not reproduced|put("c10-eq-x4", "gini", "", .1, .11, .12)
E2|not reproduced|put("t100-eq-O", "dead", "", 3, 3, 3)
E2|reproduced|put("t100-eq-O", "dead", "", 3, 0, 0)
E3|not reproduced|put("c10-p065", "pure_core", "", 1, 2, 1)
E3|cannot tell|put("o242-p065", "pure_core", "", 7, 8, 7)
E4|not reproduced|put("t100-ortho20", "dead", "", 3, 3, 3)
E4|cannot tell|put("t100-ortho20", "dead", "", 0, 0, 1)
E5|not reproduced|put("lm-gpt2", "perplexity", "", 35000, 33000, 34000)
E5|not reproduced|put("lm-base", "dead", "", 1, 2, 3)
E5|cannot tell|put("lm-base", "dead", "", 0, 2, 0)
E6|not reproduced|for (i in W) if (W[i] ~ /1-back/) put("c10-" W[i], "dead", "", 0, 0, 0)
E6|cannot tell|put("c10-T3-back", "dead", "", 0, 0, 1)
E7|not reproduced|put("o242-base", "dead", "", 0, 0, 0)
E7|cannot tell|put("o242-base", "dead", "", 0, 0, 6)
E8|not reproduced|put("t200-e1", "dead", "", 0, 0, 1)
E8|cannot tell|put("t200-32", "dead", "", 3, 4, 25)
E9|not reproduced|put("t200-nobalance", "dead", "", 0, 0, 0)
E9|not reproduced|put("t200-noproto", "dead", "", 12, 12, 13)
E9|cannot tell|put("t200-nobalance", "dead", "", 4, 12, 4)
E10|not reproduced|put("lm-over", "overfit", "", .01, .01, .01)
E10|not reproduced|put("lm-over", "dead", "", 5, 6, 5)
E11|not reproduced|put("t100-nowarm", "accuracy", "", .5, .51, .52)
E11|cannot tell|put("t100-nowarm-ortho10", "dead", "", 0, 0, 1)
E12|not reproduced|put("t200-e1", "tier1", "", .25, .3, .27)
E12|cannot tell|put("t200-e1", "beyond00", "", -1, 6, 5)
E13|not reproduced|put("t200-32", "heat_set_moved", "0.5", .1, .1, .2)
E14|not reproduced|put("t200-four", "cycles", "", 0, 0, 0)
E14|cannot tell|put("t200-four", "cycles", "", 0, 0, 1)
E14|not reproduced|put("t100-four", "depth", "", 2, 2.1, 2)
E15|not reproduced|put("t100-flat", "accuracy", "", .6, .61, .63)
E16|not reproduced|put("t200-four", "pair_tiers", "", .01, .02, .01)
E16|cannot tell|put("t200-four", "pair_accuracy", "", .002, .03, .01)
E17|not reproduced|put("t200-four", "accuracy_range", "", .1, .11, .1)
END

# --- small runs: three sets of images, encoders of a step, and what follows ---
mkdir "$T/sets" "$T/text"
i=0
for set in cifar10-train10k cifar10-test2k tinyimagenet32-train20k tinyimagenet32-val2500 \
	omniglot242-train omniglot242-test; do
	i=$((i + 1))
	moe-data shapes --classes 3 --samples 160 --size $((i > 4 ? 28 : 32)) --seed $i \
		-o "$T/sets/$set.bin"
done
words 60000 1 >"$T/text/wikitext2-train-1MB.txt"
words 6000 2 >"$T/text/wikitext2-valid.txt"
variants='c10-base c10-four c10-flat t200-four c10-T3 lm-base'
claims() {
	MAKEFLAGS='' make -j2 --no-print-directory -f t/claims/ecology.mk B="$B" CLAIMS_DIR="$T" \
		IMAGES="$T/sets" TEXT="$T/text" GPT2="$T/none" SEEDS='1 2' STEPS=40 WARM=6 \
		ANNEAL=12 EPOCH=4 HALF=20 LM_STEPS=30 MOE_STEPS.enc-c10=1 MOE_STEPS.enc-t200=1 \
		MOE_STEPS.enc-o242=1 MOE_VARIANTS="enc-c10 enc-t200 enc-o242 $variants" \
		lm='--dim 16 --experts 4 --hidden 8 --seq 16 --census-every 10' "$@"
}
ok "runs" claims >"$T/shown"
value() {
	awk -F, -v v="$1" -v f="$2" -v p="$3" -v s="${4:-1}" \
		'$1 == v && $2 == s && $3 == f && $4 == p { print $5 }' "$T/ecology/figures.csv"
}
run=$T/ecology/runs/c10-four/1
is "$(value c10-four accuracy "")" "$(awk -F, 'END { print $9 }' "$run/loss.csv")" \
	"accuracy is that of the last validation"
is "$(value c10-four dead "")" "$(tail -n 16 "$run/experts.csv" | awk -F, '$16 < 0.01' | wc -l)" \
	"the dead are those of the last census"
is "$(value c10-four tier0 "")" "$(moe-ecology track --tiers 4,4,4,4 "$run" | tail -n 1 |
	cut -d, -f9)" "the tiers are moe-ecology's"
is "$(value c10-four flow00 "")" "$(moe-ecology flow --tiers 4,4,4,4 "$run/ckpt.safetensors" \
	"$T/ecology/data/c10-test.csv" | sed -n 2p | cut -d, -f5)" "and so is their flow"
is "$(value c10-four heat_loss 5)" "$(moe-ecology scan --temperatures 5 "$run/ckpt.safetensors" \
	"$T/ecology/data/c10-test.csv" | tail -n 1 | cut -d, -f3)" \
	"and what another temperature does"
ok "labels change nothing" cmp -s "$run/loss.csv" "$T/ecology/runs/c10-flat/1/loss.csv"
is "$(sed -n 's/^resume-from .*ckpt/ckpt/p; s/^temperature //p' \
	"$T/ecology/runs/c10-T3-back/2/recipe" | tr '\n' ' ')" "3 ckpt-20.safetensors " \
	"E is restored half-way"
is "$(sed -n 2p "$T/ecology/runs/c10-T3-back/2/loss.csv" | cut -d, -f1)" 21 "from there"
ok "pairs of seeds are compared" test "$(value t200-four pair_tiers "")"
ok "tokens by their frequencies" test "$(value lm-base unigram "")"
is "$(awk -F, 'END { print NR }' "$T/ecology/verdicts.csv")" 18 "the verdicts are there"
ok "and shown" grep -q '^E17  ' "$T/shown"
for i in $(seq 16); do
	ok "table $i" grep -q "^Table $i[ .]" "$T/shown"
done
find "$T/ecology" -type f -exec ls -l --full-time {} + >"$T/before"
ok "again" claims >"$T/shown.again"
find "$T/ecology" -type f -exec ls -l --full-time {} + >"$T/after"
same "$T/after" "$T/before" "nothing is done twice"
same "$T/shown.again" "$T/shown" "the same is shown"
done_testing
