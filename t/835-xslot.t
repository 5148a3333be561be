#!/bin/sh
# moe-prefetch pack and run: one answer, whatever the memory, the workers, what is read ahead or
# skipped; and none from a store, a disk or a budget that will not do.
. t/lib.sh

echo "Analyze how Steve Wozniak's use of the 6502's 'zero page' addressing to optimize the \
Apple II's memory cycles parallels the metabolic efficiency of CRISPR-Cas9 protein binding during \
off-target DNA sequence searching." >"$T/wozniak"
printf 'static int ' >"$T/short"
cd "$T" || exit 1
# Functions of a language like C, always the same: what they call and return depends on their type.
awk 'function draw(n) { x = (x * 1103515245 + 12345) % 2147483648; return int(x / 65536) % n }
function word(k) { return substr(words[k], 1) (draw(4) ? "" : "_" words[draw(12) + 1]) }
BEGIN {
	x = 1
	split("size count node list next table row field value index start end", words)
	split("int long double char", types)
	for (i = 0; i < 1500; i++) {
		t = draw(4); a = word(3 * t + 1); b = word(3 * t + 2)
		printf "static %s\n%s(%s %s, %s %s)\n{\n", types[t + 1], word(3 * t + 3),
			types[t + 1], a, types[draw(4) + 1], b
		if (t % 2) printf "\tif (%s > %d)\n\t\treturn %s;\n", a, draw(100), b
		else printf "\tfor (%s = 0; %s < %s; %s++)\n\t\t%s += %d;\n", a, a, b, a, b, draw(9)
		printf "\treturn %s %s %s;\n}\n\n", a, t < 2 ? "+" : "*", b
	}
}' >text

# model ACT OPTION...: a small one, trained a little
model() {
	moe-train -j2 --dim 48 --layers 3 --heads 4 --experts 8 --top-k 2 --hidden 64 --seq 48 \
		--batch 8 --steps 60 --lr 5e-3 --act "$@" -o "$1" text
}
run() {
	moe-prefetch run "$@" <${PROMPT:-short}
}
# figure NAME FILE
figure() {
	awk -F, -v name="$1" '$1 == name { print $2 }' "$2"
}
# least STORE OPTION...: the memory that a token needs
least() {
	run "$@" --memory 1 2>&1 >/dev/null | sed -n 's/.* needs \([0-9]*\) bytes.*/\1/p'
}

for act in gelu relu relu2 swiglu reglu; do
	model $act || fail "a model of $act" "a checkpoint" "none"
	ckpt=$act/ckpt.safetensors
	shadow=--shadow leaf=4
	case $act in gelu | swiglu) shadow= leaf=16 ;; esac
	ok "$act: packed" moe-prefetch pack $ckpt -o $act.store --leaf $leaf
	run $act.store --resident --tokens 40 >want
	moe-train --sample $ckpt --tokens 40 <short >other
	is "$(($(wc -c <want)))" "$(($(wc -c <other)))" "$act: an answer as long as moe-train's"
	ok "$act: grouped by a sample" moe-prefetch pack $ckpt -o $act.sample.store --leaf $leaf \
		--sample text --sample-tokens 2000 $shadow
	for store in $act.store $act.sample.store; do
		run $store --resident --tokens 40 >want
		need=$(least $store --tokens 40)
		for more in 0 20000 100000; do
			run $store --memory $((need + more)) --tokens 40 --predictor gate \
				--stats $act.csv >got
			same got want "$store: $more bytes beyond the least"
		done
	done
	is "$(($(figure skipped $act.csv) > 0))" "$((${#shadow} > 0))" \
		"$act: leaves are skipped where that can be certain"
done

# --- the fixed question, ten times ---

PROMPT=wozniak
run reglu.sample.store --resident --tokens 60 --greedy >want
need=$(least reglu.sample.store --tokens 60 -j3)
while read -r more options; do
	# shellcheck disable=SC2086
	run reglu.sample.store --memory $((need + more)) --tokens 60 --greedy $options >got
	same got want "the fixed question with $more bytes more, $options"
done <<'END'
0 -j1 --predictor none
0 -j2 --predictor gate
5000 -j2 --readers 1 --policy lru
10000 -j1 --no-skip --predictor previous
20000 -j2 --predictor none --no-skip --policy learned
40000 -j3 --readers 16 --predictor gate
80000 -j2 --buffered --policy lru --predictor frequency
160000 -j1 --check load
320000 -j2 --predictor gate --check load
10000000 -j2 --predictor gate
END
PROMPT=
ok "the same model, packed again" moe-prefetch pack reglu/ckpt.safetensors -o again.store -j1 \
	--leaf 4 --sample text --sample-tokens 2000 --shadow
same again.store reglu.sample.store "the same store"

# --- sampled text goes by the seed; tokenizers are those of moe-train ---

run relu.store --resident --tokens 40 --seed 5 >want
run relu.store --memory 1M --tokens 40 --seed 5 >got
same got want "another seed"
run relu.store --resident --tokens 40 >other
fails 1 "gives another text" cmp -s want other
moe-data bpe --vocab 280 -o t.bpe text
moe-data pack --bpe t.bpe -o text.tok text
moe-train -j1 --dim 32 --layers 2 --heads 2 --experts 4 --top-k 2 --hidden 32 --seq 32 --batch 4 \
	--steps 20 --act relu -o bpe text.tok
moe-prefetch pack bpe/ckpt.safetensors -o bpe.store --leaf 8 --sample text.tok --shadow
run bpe.store --resident --bpe t.bpe --tokens 40 >want
moe-train --sample bpe/ckpt.safetensors --bpe t.bpe --tokens 40 <short >got
same got want "text through a table of tokens is moe-train's"
run bpe.store --memory 1M --bpe t.bpe --tokens 40 >got
same got want "text through a table of tokens"
run gelu.store --resident --greedy --tokens 200 >want
moe-train --sample gelu/ckpt.safetensors --greedy --tokens 200 <short >got
same got want "GELU: the likeliest continuation is moe-train's"

# --- the figures ---

need=$(least relu.sample.store --tokens 40)
run relu.sample.store --memory $((need + 30000)) --tokens 40 --predictor gate --stats s.csv \
	>/dev/null
is "$(head -n 1 s.csv)" quantity,value,unit "columns of the figures"
is "$(figure prompt_tokens s.csv)" "$(($(wc -c <short)))" "tokens of the prompt"
is "$(figure new_tokens s.csv)" 40 "new tokens"
is "$(figure tokens s.csv)" "$(($(wc -c <short) + 39))" "tokens through the net"
is "$(figure memory s.csv)" $((need + 30000)) "the budget"
is "$(figure memory_least s.csv)" "$need" "the least"
is "$(figure needed s.csv)" "$(($(figure tokens s.csv) * 3 * 2 * 16))" \
	"leaves needed: of two experts in three layers"
is "$(awk -F, '{ v[$1] = $2 } END { print (v["skipped"] + v["hits"] + v["late"] <= v["needed"]),
	(v["loads"] + v["hits"] + v["late"] + v["skipped"] >= v["needed"] + v["wasted"]),
	(v["bytes"] == v["loads"] * 4096), (v["slots"] < v["leaves"]) }' s.csv)" "1 1 1 1" \
	"figures that agree"
run relu.sample.store --resident --tokens 40 --stats s.csv >/dev/null
is "$(figure loads s.csv) $(figure evicted s.csv)" "$(figure leaves s.csv) 0" \
	"resident: each leaf is read once"

# --- predictors: each scored, none decides what is computed; a user's tree is kept ---

PROMPT=wozniak
run relu.sample.store --resident --tokens 60 >want
need=$(least relu.sample.store --tokens 60)
for name in previous frequency gate tree; do
	run relu.sample.store --memory $((need + 300000)) --tokens 60 --predictor $name \
		--branching 4 --stats s.csv --timing t.csv >got
	same got want "$name: the same text"
	is "$(awk -F, '{ v[$1] = $2 } END { print (v["recall"] > 0.25 && v["recall"] < 1),
		(v["recall"] <= v["recall_2k"]), (v["precision"] >= v["recall"] - 1e-6),
		(v["wasted"] <= v["ahead"] && v["ahead"] > 0) }' s.csv)" "1 1 1 1" \
		"$name: scores better than chance"
	is "$(awk -F, 'NR > 1 { n++; prompt += $2; loads += $7; ahead += $9; bytes += $11 }
		END { print n, prompt, loads <= ahead + n * 96, bytes == loads * 4096 }' t.csv)" \
		"$(figure tokens s.csv) $(figure prompt_tokens s.csv) 1 1" \
		"$name: a row for each token"
done
# Short sessions: a tree that begins knows little by their end.
PROMPT=short
run relu.sample.store --resident --tokens 4 >want
need=$(least relu.sample.store --tokens 4)
for i in 1 2 3; do
	run relu.sample.store --memory $((need + 300000)) --tokens 4 --predictor tree \
		$([ $i = 1 ] || echo --tree my.tree) --branching 4 --save-tree my.tree \
		--stats s$i.csv >got
	same got want "session $i of a user's tree: the same text"
done
ok "the third session is expected better than the first" awk -v first="$(figure recall s1.csv)" \
	-v third="$(figure recall s3.csv)" 'BEGIN { exit !(third > first + 0.02) }'
is "$(($(figure ahead s3.csv) > 0))" 1 "and read ahead"
fails 1 "a tree of another model" run gelu.store --memory 1M --predictor tree --tree my.tree
says 'my.tree: a tree of another model' "says so"
fails 1 "a tree that is none" run relu.store --memory 1M --predictor tree --tree want
fails 1 "a tree that cannot be written" run relu.store --memory 1M --predictor tree \
	--save-tree none/my.tree --branching 4
fails 2 "a tree for nobody" run relu.store --memory 1M --save-tree my.tree
fails 1 "figures on a full disk" run relu.store --memory 1M --timing /dev/full
PROMPT=

# --- a prompt that is typed ---

run relu.sample.store --memory $((need + 100000)) --tokens 20 >want
for mode in fetch encode; do
	run relu.sample.store --memory $((need + 100000)) --tokens 20 --typing 500 \
		--typing-mode $mode --power 10 --stats $mode.csv >got
	same got want "typed, and meanwhile $mode: the same text"
	is "$(awk -F, '{ v[$1] = $2 } END { print (v["seconds"] >= 0.02), (v["first_token"] > 0),
		(v["first_token"] < v["seconds"]) }' $mode.csv)" "1 1 1" "$mode: its times"
done
is "$(figure ahead encode.csv) $(($(figure ahead fetch.csv) > 0))" "0 1" \
	"leaves are fetched, or not"
is "$(awk -F, '{ v[$1] = $2 } END { d = v["energy_estimated"] / v["cpu"]
	print (d > 9.999 && d < 10.001) }' fetch.csv)" 1 "an estimate of energy from a power"
[ -d /sys/class/powercap ] || is "$(figure energy fetch.csv)" unmeasured "no counter, no joules"

# --- memory: a budget and what the program itself takes, see moe-prefetch(1) ---

if [ "${B##*/}" = asan ] || [ "${B##*/}" = tsan ]; then
	: # their own memory is no small constant
else
	for more in 0 100000 400000; do
		run reglu.store --memory $((need + more)) --tokens 40 --stats s.csv >/dev/null
		is "$(awk -F, '{ v[$1] = $2 }
			END { print (v["memory_peak"] <= v["memory"] + 8 * 1048576) }' s.csv)" 1 \
			"no more than 8 MiB beyond $((need + more)) bytes"
	done
fi

# --- what is refused ---

fails 1 "a budget below one token's need" run relu.store --memory 4K
says "one token needs $(least relu.store) bytes" "says how much is needed"
fails 2 "no budget" run relu.store
fails 2 "two budgets" run relu.store --resident --memory 1M
fails 2 "a policy that knows the future" run relu.store --memory 1M --policy min
fails 2 "nobody types so slowly" run relu.store --resident --typing 0
fails 2 "two tokenizers" run relu.store --resident --bpe t.bpe --llama2 x
fails 2 "a budget that is no number" run relu.store --memory 1X
fails 2 "pack without a store" moe-prefetch pack relu/ckpt.safetensors
fails 1 "a shadow where nothing is certain" moe-prefetch pack gelu/ckpt.safetensors --shadow \
	-o none.store
says 'relu, relu2 or reglu' "says where something is"
ok "no store is left" test ! -e none.store
fails 1 "a sample that is too short" moe-prefetch pack relu/ckpt.safetensors --sample short \
	-o none.store
fails 1 "an empty prompt" moe-prefetch run relu.store --resident </dev/null
fails 1 "a checkpoint that is no store" run relu/ckpt.safetensors --resident
says 'not a store' "says so"
fails 1 "a store that is no checkpoint" moe-prefetch pack relu.store -o none.store
fails 1 "a store on a full disk" moe-prefetch pack relu/ckpt.safetensors -o /dev/full
fails 1 "text on a full disk" sh -c 'moe-prefetch run relu.store --resident <short >/dev/full'

# damage OFFSET...: bytes of relu.store are others
damage() {
	cp relu.store bad.store
	for at in "$@"; do damage_one "$at"; done
}
damage_one() {
	byte=$(od -An -tu1 -j "$1" -N 1 bad.store)
	# shellcheck disable=SC2059
	printf "\\$(printf %o $((255 - byte)))" | dd of=bad.store bs=1 seek="$1" conv=notrunc \
		2>/dev/null
}
size=$(($(wc -c <relu.store)))
for at in 0 9 13 20 40 70 2000 5000 $((size / 2)) $((size - 1)); do
	damage $at
	fails 1 "byte $at is damaged" sh -c 'moe-prefetch run bad.store --resident <short >got'
	is "$(($(wc -c <got)))" 0 "byte $at: no text at all"
done
for length in 0 10 64 4096 $((size / 2)) $((size - 4096)) $((size - 1)); do
	head -c $length relu.store >bad.store
	fails 1 "cut at $length" run bad.store --memory 1M
done
damage $(seq $((size / 3)) 8192 $((size / 3 * 2)))
run relu.store --memory 1M --greedy --tokens 60 >want
fails 1 "a damaged leaf met on the way" \
	sh -c 'moe-prefetch run bad.store --memory 1M --check load --greedy --tokens 60 \
		<short >got'
says 'the leaf at byte [0-9]* is damaged' "says which"
head -c "$(($(wc -c <got)))" want >start
same got start "what was written before is right"

# The store goes away under a running program.
cp gelu.store bad.store
run gelu.store --resident --greedy --tokens 20000 | head -c 2000 >want
mkfifo pipe
need=$(least gelu.store --tokens 20000)
run bad.store --memory "$need" --greedy --tokens 20000 >pipe 2>err &
exec 4<pipe
head -c 1 <&4 >got
truncate -s $((size / 3)) bad.store
cat <&4 >>got
exec 4<&-
wait $!
is $? 1 "a store that is cut meanwhile"
is "$(sed "s,byte .*,," err)" "moe-prefetch: bad.store: ends at " "says so"
head -c 2000 got >some
head -c "$(($(wc -c <some)))" want >start
same some start "what was written before is right"

done_testing
