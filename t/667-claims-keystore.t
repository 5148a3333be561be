#!/bin/sh
# The key store's claims: the rules of the verdicts on figures made up, and small runs from texts to
# verdicts.
. t/lib.sh

# --- verdicts ---
rules=t/claims/keystore-verdicts.awk
inputs=testdata/keystore/tables.csv
. t/claims/made-up.sh

figures ''
is "$(cut -d, -f1 "$T/verdicts.csv" | tr '\n' ' ')" "id K1 K2 K3 K4 K5 K6 K7 K8 K9 " \
	"a row for each claim"
is "$(for i in $(seq 9); do verdict K$i; done | sort -u)" "cannot tell" \
	"without runs nothing can be told"
ok "and it says which runs are missing" grep -q '^K2,-,.*not run: base no-inertia' \
	"$T/verdicts.csv"

# loss(variant, x) and gini(variant, x) are written out, as figures near x.
near() {
	sed 's/\(loss\|gini\)(\("[^"]*"\), \([^)]*\))/put(\2, "\1", "", \3, \3+.005, \3+.002)/g
		s/"loss"/"val_loss"/g'
}
# As the paper has it.
paper=$(near <<'END'
	loss("base", .7); gini("base", .719); loss("still", .9); gini("still", .9)
	loss("dense", .8); loss("learned", .8)
	loss("no-inertia", .7); gini("no-inertia", .87)
	loss("default", .8); loss("orthogonal", .9)
	put("base", "modularity", "", .6, .61, .62)
	put("base", "silhouette", "", .4, .41, .42)
	put("no-beta", "modularity", "", .2, .21, .22)
	put("no-beta", "silhouette", "", 0, .01, .02)
	loss("linear-128", .6); gini("linear-128", .721); loss("linear-512", 1.6)
	gini("linear-512", .98); loss("mlp-512", .7); gini("mlp-512", .93)
	loss("seq-64", 2); loss("seq-256", 1); loss("layers-1", 1.2); loss("layers-4", .9)
	loss("batch-16", 1); loss("batch-4", .9)
	put("layers-4", "word_drop", "", .3, .31, .3)
	put("layers-4", "context_rise", "", .3, .31, .3)
	put("learned-4", "word_drop", "", 0, .01, 0)
	put("trip", "forgot", "", 0, .01, 0); put("trip-learned", "forgot", "", 1, 1.1, 1.2)
	put("trip-dense", "forgot", "", 1, 1.1, 1.2)
	loss("n-64", 1); loss("n-1024", .9); loss("n-4096", .8)
	put("n-65536", "routing_share", "", .3, .3, .3);
END
)
figures "$paper"
for i in $(seq 9); do
	is "$(verdict K$i)" reproduced "K$i as published is reproduced"
done

# One figure at a time otherwise: later rows replace earlier ones.
near <<'END' | changed
K1|not reproduced|gini("still", .5)
K1|not reproduced|loss("still", .5)
K1|cannot tell|put("still", "gini", "", .5, .9, .7)
K2|not reproduced|gini("no-inertia", .5)
K2|cannot tell|gini("no-inertia", .719)
K3|not reproduced|loss("orthogonal", .75)
K3|not reproduced|loss("default", .5)
K3|cannot tell|put("default", "val_loss", "", .6, .9, .71)
K4|not reproduced|put("no-beta", "silhouette", "", .7, .71, .72)
K4|cannot tell|put("no-beta", "modularity", "", .6, .61, .62)
K5|not reproduced|gini("linear-512", .3)
K5|not reproduced|loss("linear-512", .3)
K5|not reproduced|loss("mlp-512", 2)
K6|not reproduced|loss("seq-64", 1.1)
K6|not reproduced|loss("batch-16", 3)
K6|cannot tell|put("layers-4", "val_loss", "", .1, .9, 1.1)
K7|not reproduced|put("layers-4", "word_drop", "", -.3, -.31, -.3)
K7|cannot tell|put("layers-4", "context_rise", "", .3, -.3, 0)
K8|not reproduced|put("trip-dense", "forgot", "", -1, -1.1, -1)
K8|cannot tell|put("trip", "forgot", "", 0, 3, 1)
K9|not reproduced|put("n-65536", "routing_share", "", .8, .8, .8)
K9|not reproduced|loss("n-4096", 2)
END

# --- small runs ---
words 30000 1 >"$T/stories"
head -c 30000 lib/math/kern.c >"$T/code"
schools='school-code school-law'
small='--dim 16 --heads 2 --layers 2 --experts 12 --hidden 8 --top-k 2 --seq 16 --batch 2'
claims() {
	MAKEFLAGS='' make -j2 --no-print-directory -f t/claims/keystore.mk B="$B" \
		CLAIMS_DIR="$T" STORIES="$T/stories" CODE="$T/code" SEEDS='1 2' MOE_STEPS=30 \
		HELD=6000 AWAY=20 BACK=40 END=60 MOE_OPTIONS="$small --census-every 10" \
		MOE_VARIANTS="base still layers-4 dense $schools pretrained trip trip-dense n-64" \
		MOE_OPTIONS.school-code='--experts 6' MOE_OPTIONS.school-law='--experts 6' "$@"
}
ok "runs" claims >"$T/shown"
value() {
	awk -F, -v v="$1" -v f="$2" -v p="$3" \
		'$1 == v && $2 == 1 && $3 == f && $4 == p { print $5 }' "$T/keystore/figures.csv"
}
run=$T/keystore/runs/base/1
is "$(value base val_loss "")" "$(awk -F, 'END { print $5 }' "$run/loss.csv")" \
	"the loss is that of the stories held out"
moe-train --eval "$run/ckpt.safetensors" --experts-csv "$T/census" "$T/keystore/text/held.tok" \
	>"$T/out"
is "$(printf '%.6f' "$(value base unused "")")" "$(awk -F, 'NR > 1 { n++; none += $8 == 0 }
	END { printf "%.6f", none / n }' "$T/census")" "who is never used"
is "$(printf '%.6f' "$(value base gini "")")" "$(awk -F, 'NR > 1 { x[$2, ++n[$2]] = $8 } END {
	for (l in n) {
		apart = sum = 0
		for (i = 1; i <= n[l]; i++) {
			sum += x[l, i]
			for (k = 1; k <= n[l]; k++)
				apart += x[l, i] > x[l, k] ? x[l, i] - x[l, k] : 0
		}
		gini += apart / n[l] / sum / 2
	}
	printf "%.6f", gini }' "$T/census")" "how unevenly the others are: by all pairs"
moe-knn trace --bpe "$T/keystore/text/bpe" --stats "$T/layers" \
	"$T/keystore/runs/layers-4/1/ckpt.safetensors" \
	"$T/keystore/text/held" >"$T/out"
is "$(printf '%.6f' "$(value layers-4 word 3)")" \
	"$(awk -F, '$1 == 3 { printf "%.6f", $4 / $3 }' "$T/layers")" "what a layer knows"
is "$(awk -F, '$1 == 20 { a = $5 } $1 == 40 { printf "%.6f", $5 - a }' \
	"$T/keystore/runs/trip/1/loss.csv")" "$(printf '%.6f' "$(value trip forgot "")")" \
	"what the code cost of the stories"
ok "what a step takes is told" test "$(value n-64 routing_share "")"
moe-ckpt meta "$T/keystore/runs/pretrained/1/ckpt.safetensors" recipe >"$T/out"
is "$(grep -c '^made-of experts' "$T/out")" 2 "experts of two models"
is "$(awk -F, 'END { print NR }' "$T/keystore/verdicts.csv")" 10 "the verdicts are there"
ok "and shown" grep -q '^K8   ' "$T/shown"
is "$(ls "$T/keystore/plots" | tr '\n' ' ')" "base.svg base.svg.csv still.svg still.svg.csv " \
	"and galaxies drawn"
find "$T/keystore" -type f -exec ls -l --full-time {} + >"$T/before"
ok "again" claims >"$T/shown.again"
find "$T/keystore" -type f -exec ls -l --full-time {} + >"$T/after"
same "$T/after" "$T/before" "nothing is done twice"
same "$T/shown.again" "$T/shown" "the same is shown"
done_testing
