#!/bin/sh
# moe-data chaos: bytes and packs, the table of the floor, what is refused.
. t/lib.sh
cd "$T" || exit 1

for s in logistic henon lorenz mackey-glass regimes; do
	ok "$s" moe-data chaos --tokens 3000 --floor $s.csv -o $s $s
	is "$(($(wc -c <$s)))" 3000 "$s: a byte a token"
	moe-data chaos --tokens 3000 $s >again
	same $s again "$s: the same again"
	is "$(head -n 1 $s.csv)" quantity,nats,bits "$s: header of the floor"
	# exponents fall, the bound is below a uniform guess, bits are nats over log 2
	is "$(awk -F, '
		NR > 1 { q[$1] = $2; d = $3 * log(2) - $2; if (d * d > 1e-12) print "bits", $0 }
		/^exponent/ { if ($2 > last && NR > 2) print "rising", $0; last = $2 }
		END {
			f = q["floor"] + q["floor_at_most"]
			if (!(f > 0 && f < q["uniform"])) print "floor", f
			if (q["reached"] > q["uniform"]) print "reached", q["reached"]
		}' $s.csv)" "" "$s: the floor makes sense"
done
is "$(awk -F, '$1 == "floor" { print $2 }' logistic.csv)" 0.693147181 "logistic: log 2"
moe-data chaos --tokens 3000 --seed 2 henon >again
fails 1 "another seed" cmp -s henon again
moe-data chaos --tokens 1000 --every 2 logistic >two
perl -e 'local $/; open F, "<", "logistic"; my $v = <F>;
	print map { substr $v, 2 * $_, 1 } 0 .. 999' >want
same two want "every second step"
ok "packed" moe-data chaos --tokens 500 --bins 1000 --pack -o big.tok lorenz
is "$(head -c 128 big.tok | cut -d' ' -f1-8 | tr -d '\n')" \
	"moe-tokens 1 vocab 1000 width 2 count 500" "with the bins as vocabulary"
ok "it is trained on" moe-train --dim 16 --layers 1 --heads 2 --experts 2 --hidden 8 --seq 16 \
	--batch 2 --steps 3 -o run big.tok
moe-data chaos --tokens 100 henon -o henon.gz
gunzip -c henon.gz >again
head -c 100 henon >want
same again want "compressed where its name says so"

fails 2 "no system" moe-data chaos --tokens 10
says 'logistic\|henon\|lorenz\|mackey-glass\|regimes' "they are told"
fails 2 "an unknown one" moe-data chaos --tokens 10 roessler
fails 2 "no length" moe-data chaos henon
says 'expected --tokens' "told"
fails 2 "more bins than bytes" moe-data chaos --tokens 10 --bins 257 henon
says 'at most 256' "told"
fails 2 "one bin" moe-data chaos --tokens 10 --bins 1 henon
fails 2 "an option of chaos elsewhere" moe-data text --bins 3 bible
fails 2 "a table for chaos" moe-data chaos --bpe x --tokens 10 henon
fails 2 "one file for both" moe-data chaos --tokens 10 --floor x -o x henon
fails 1 "a parameter out of range" moe-data chaos --tokens 10 --parameter 5 -o none logistic
says 'logistic: a parameter of 5 \(expected 0 to 4\)' "told"
fails 1 "an orbit that escapes" moe-data chaos --tokens 10 --parameter 1.9 -o none henon
says 'leaves every bound' "told"
ok "nothing is left" test ! -e none
fails 1 "a full disk" moe-data chaos --tokens 10 -o /dev/full henon
fails 1 "a full disk for the floor" moe-data chaos --tokens 10 --floor /dev/full -o none henon
done_testing
