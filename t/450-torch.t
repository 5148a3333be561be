#!/bin/sh
# PyTorch, given the checkpoints of small models by name, finds the losses that moe-train finds.
. t/lib.sh
/usr/bin/python3 -c 'import torch' 2>/dev/null || skip_all "python3-torch is not installed"
torch() {
	/usr/bin/python3 t/bench/torch_moe.py --threads 1 "$@"
}

cat lib/*/*.h | head -c 40000 >"$T/text"
cat lib/*/*.c | head -c 5000 >"$T/other"

# make NAME OPTION...: a model that has learnt enough for its routers and experts to differ
make() {
	local name=$1
	shift
	ok "$name: trained" moe-train --dim 32 --layers 2 --heads 4 --experts 4 --hidden 48 \
		--seq 48 --batch 4 --steps 25 --lr 2e-2 "$@" -o "$T/$name" "$T/text"
	[ ! -f "$T/$name/ckpt.safetensors" ] || echo "$name" >>"$T/names"
}

make gelu
make relu --act relu --experts 3,5 --top-k 3
make relu2 --act relu2 --top-k 1
make swiglu --act swiglu --untied --bias-rate 0.05
make reglu --act reglu --kv-heads 2
make mlp --router mlp --router-hidden 24 --temperature 2:0.7
make cosine --router cosine --temperature 0.2 --act swiglu --kv-heads 1
make ragged --hidden 16,40,56,23 --untied
make dense --dense --hidden 90 --bias-rate 0
make dense-swiglu --dense --act swiglu --untied
ok "bf16: converted" moe-ckpt convert --bf16 -o "$T/bf16.st" "$T/gelu/ckpt.safetensors"
mkdir "$T/bf16" && mv "$T/bf16.st" "$T/bf16/ckpt.safetensors" && echo bf16 >>"$T/names"

# near A B: two rows of --eval agree: as many tokens, loss within 1e-5, accuracy within 2e-3
near() {
	echo "$1,$2" | awk -F, 'function off(a, b) { return a < b ? b - a : a - b }
		{ exit !(NF == 10 && $1 == $6 && off($2, $7) < 1e-5 && off($5, $10) < 2e-3) }'
}
row="96,2.5,3.6,12.2,0.25"
ok "equal rows are near" near "$row" "$row"
fails 1 "another loss is not near" near "$row" "96,2.50002,3.6,12.2,0.25"
fails 1 "no row is not near" near "$row" ""

# theirs OPTION...: PyTorch's row for each model
theirs() {
	torch --eval "$@" $(sed "s|.*|$T/&/ckpt.safetensors|" "$T/names") "$T/other" >"$T/theirs"
}

# compare OPTION...: every model, on text that none has seen
compare() {
	local line=1 name ours theirs
	ok "PyTorch loads every model by name" theirs "$@"
	while read -r name; do
		line=$((line + 1))
		ours=$(moe-train --eval "$T/$name/ckpt.safetensors" "$@" "$T/other" |
			sed -n 2p | cut -d, -f1-5)
		theirs=$(sed -n ${line}p "$T/theirs")
		if near "$ours" "$theirs"; then
			pass "$name: PyTorch has the same loss${1+ with} $*"
		else
			fail "$name: PyTorch has the same loss${1+ with} $*" "$theirs" "$ours"
		fi
	done <"$T/names"
}
compare
compare --seq 20

sed 's/lm_head/lm_hand/g' "$T/swiglu/ckpt.safetensors" >"$T/renamed"
fails 1 "another name is refused" torch --eval "$T/renamed" "$T/other"
says 'lm_head.weight' "and named"
done_testing
