#!/bin/sh
# The living layer's claims: the rules of the verdicts on figures made up; and of small runs what
# their figures are, what equals them, and what the dead give back.
. t/lib.sh

# --- verdicts ---
rules=t/claims/living-verdicts.awk
inputs=testdata/living/table.csv
. t/claims/made-up.sh

figures ''
is "$(cut -d, -f1 "$T/verdicts.csv" | tr '\n' ' ')" "id $(seq -f L%g 7 | tr '\n' ' ')" \
	"a row for each claim"
is "$(for i in $(seq 7); do verdict L$i; done | sort -u)" "cannot tell" \
	"without runs nothing can be told"
ok "and it says which runs are missing" grep -q '^L2,-,.*not run: grown' "$T/verdicts.csv"

# As published, or hoped for.
paper='
	put("chaos", "floor_at_most", "", .09, .09, .09)
	put("living", "val_loss", "", .35, .36, .34)
	put("fixed", "val_loss", "", .7, .71, .69)
	put("fixed-params", "val_loss", "", .7, .72, .69)
	put("fixed-flops", "val_loss", "", .69, .7, .69)
	put("grown", "experts", "", 2900, 2900, 2900)
	put("grown", "left", "", 2900, 2900, 2900)
	put("living", "split_child", "", .5, .51, .49); put("living", "split_sum", "", 1, .98, 1.01)
	put("memory", "before", "", 283, 283, 283); put("memory", "after", "", 24, 24, 24)
	put("memory", "dead", "", 260, 260, 260)
	put("plateau-off", "val_loss", "", .6, .61, .62)
	put("plateau-ball", "val_loss", "", .55, .56, .57)
	put("plateau-waves", "val_loss", "", .6, .62, .61)
	put("living", "product", "", .2, .3, .4); put("living", "cost", "", 1, 2, 3)
	put("fixed", "product", "", .5, .6, .7); put("fixed", "cost", "", 4, 5, 6)
	put("living", "life_share", "", .01, .02, .01);'
figures "$paper"
for i in $(seq 7); do
	is "$(verdict L$i)" reproduced "L$i as published is reproduced"
done
changed <<'END'
L1|not reproduced|put("fixed-params", "val_loss", "", .5, .51, .49)
L1|not reproduced|put("living", "val_loss", "", .6, .61, .6)
L1|cannot tell|put("fixed-flops", "val_loss", "", .6, .55, .7)
L2|not reproduced|put("grown", "experts", "", 2700, 2700, 2700)
L2|not reproduced|put("grown", "left", "", 2800, 2900, 2900)
L3|not reproduced|put("living", "split_child", "", .1, .11, .12)
L3|not reproduced|put("living", "split_sum", "", 2, 2.01, 2.02)
L3|cannot tell|put("living", "split_child", "", .5, .7, .3)
L4|not reproduced|put("memory", "after", "", 280, 280, 280)
L5|not reproduced|put("plateau-ball", "val_loss", "", .7, .71, .72)
L5|cannot tell|put("plateau-ball", "val_loss", "", .6, .62, .61)
L5|cannot tell|put("plateau-waves", "val_loss", "", .7, .71, .72)
L6|not reproduced|put("living", "cost", "", 6, 5, 4); put("fixed", "cost", "", 3, 2, 1)
L6|cannot tell|put("living", "cost", "", 1, 6, 2); put("fixed", "cost", "", 5, 3, 4)
L7|not reproduced|put("living", "life_share", "", .2, .21, .2)
END

# --- small runs ---
export B="$(cd "$B" && pwd)"
mkdir "$T/text"
moe-data chaos --tokens 30000 --bins 16 -o "$T/text/chaos" henon
head -c 3000 "$T/text/chaos" >"$T/text/chaos.val"
shape="-j 1 --dim 8 --layers 2 --heads 2 --hidden 8 --seq 16 --batch 4 --lr 0.01 --census-every 10
	--val $T/text/chaos.val"
moe-train $shape --experts 4 --lifecycle living --overload 0.55 --patience 1 --max-experts 12 \
	--plateau 1 --plateau-margin 0.5 --life-without phi --steps 400 -o "$T/run" "$T/text/chaos"
sh t/claims/living.sh "$T/run" plateau-ball 7 "$T/text" "$T/run" >"$T/figures"
figure() {
	sed -n "s/^plateau-ball,7,$1,,//p" "$T/figures"
}
is "$(figure left)" "$(figure experts)" "founders, births and deaths are those at the end"
is "$(figure experts)" "$(grep -c '^400,' "$T/run/experts.csv")" "experts at the end"
is "$(figure births)" "$(grep -c ,birth, "$T/run/events.csv")" "births"
is "$(figure escapes)" "$(grep -c ,escape, "$T/run/events.csv")" "escapes"
is "$(figure val_loss)" "$(tail -n 1 "$T/run/loss.csv" | cut -d, -f5)" "loss held out"
for f in split_sum split_child diversity product distance integration cost after_escape; do
	ok "$f is measured" sh -c "[ '$(figure $f)' ]"
done

at_end() {
	grep -c "^400,$1," "$T/run/experts.csv"
}
is "$(sh t/claims/living-equal.sh params "$T/run")" \
	"--experts $(at_end 0),$(at_end 1) --steps 400" \
	"a pool of as many experts"
# two operations for each weight of a score, 12 slots at most: 400 steps of 8 and a little more
steps=$(sh t/claims/living-equal.sh flops "$T/run")
ok "a pool for as many operations: $steps" sh -c "set -- $steps; [ \$2 = 4 ] && [ \$4 -ge 390 ] &&
	[ \$4 -lt 500 ]"
sh t/claims/living-timed.sh "$T/run" living >"$T/timed"
is "$(cut -d, -f3 "$T/timed" | tr '\n' ' ')" "step_seconds life_share routing_share " \
	"what more of its steps cost"
sh t/claims/living-memory.sh "$T/text/chaos" >"$T/memory"
is "$(cut -d, -f3,5 "$T/memory" | awk -F, '{ v[$1] = $2 }
	END { print (v["before"] - v["after"] > 0.9 * v["dead"]) }')" 1 \
	"the dead give their memory back"
done_testing
