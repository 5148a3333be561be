# bench,config,ours,peer,unit,ratio,share_of_peak: text from a store with a quarter of the experts
# in memory, BENCH_ROUNDS times in turn, medians.  ratio: how many times faster ours is.
#
# resident    all in memory, beside moe-train --sample: tokens per second of processor, one worker
# limit       beside min(resident, disk / bytes that the run's own misses need per token), the disk
#             read in the same round by as many readers, in leaves, with O_DIRECT
# on demand   beside whole experts in as much memory, each read when the router has chosen it and it
#             is absent, one after the other, LRU; share_of_peak is ours / limit
# at most     what that ratio would be at the limit, where nothing but the misses' bytes, or nothing
#             but computing, takes time
# mmap        beside the store mapped, in a memory cgroup of the same limit (where one can be made:
#             otherwise no row); the page cache is emptied of it before
# ahead       reading ahead (--predictor gate) beside none
#
# Two models of 128 experts of 2 MiB in 4 layers, of which a token uses 8, trained on what this
# project is written in: of ReLU, where the shadow spares reads, and of SwiGLU, where none can be
# spared.  Reading what a token misses takes a few times as long as computing it.  They need 1.5 GB
# of disk while they are made, and a minute each.
. t/bench.sh
rounds=${BENCH_ROUNDS:-3}
group=/sys/fs/cgroup/memory/moe-bench.$$
trap 'rmdir $group 2>/dev/null || :; rm -rf "$T"' EXIT
tokens=300 readers=32

cat lib/*/*.[ch] cmd/*.[ch] man/*.[1-9] t/*.t t/*.c >"$T/all"
head -c -65536 "$T/all" >"$T/text"
tail -c 65536 "$T/all" | head -c 50 >"$T/prompt" # which no model has seen

# stores ACT HIDDEN LEAF OPTION...: of a model, in leaves of so many neurons and in whole experts
stores() {
	moe-train --act "$1" --dim 256 --layers 4 --heads 4 --experts 32 --top-k 2 --hidden "$2" \
		--seq 128 --batch 4 --steps 300 --lr 1.5e-3 --warmup 20 \
		-o "$T/run" "$T/text" 2>"$T/err" || { cat "$T/err" >&2; exit 1; }
	moe-ckpt convert --no-optimizer -o "$T/ckpt" "$T/run/ckpt.safetensors"
	rm -r "$T/run"
	moe-prefetch pack "$T/ckpt" --leaf "$2" -o "$T/whole"
	leaf=$3
	shift 3
	moe-prefetch pack "$T/ckpt" --leaf "$leaf" "$@" -o "$T/leaves"
}
# run NAME STORE OPTION...: the figures in NAME.csv
run() {
	local name=$1
	shift
	moe-prefetch run "$@" --check load --tokens $tokens --stats "$T/$name.csv" <"$T/prompt" \
		>"$T/$name.text"
	[ "$name" = first ] || as_first "$name"
}
# as_first NAME: is its text, as far as it goes, that of the first run?
as_first() {
	head -c "$(($(wc -c <"$T/$1.text")))" "$T/first.text" | cmp -s - "$T/$1.text" ||
		{ echo "xslot: $1: another text" >&2; exit 1; }
}
figure() {
	awk -F, -v name="$1" '$1 == name { print $2 }' "$T/$2.csv"
}
# cpu COMMAND...: its seconds of processor
cpu() {
	sh -c '"$@" >/dev/null 2>&1; times' sh "$@" |
		awk -F'[ms ]+' 'NR == 2 { print 60 * $1 + $2 + 60 * $3 + $4 }'
}
note() {
	echo "$2" >>"$T/$1.notes"
}
# row NAME OURS PEER [SHARE]
row() {
	awk -v name="$1" -v ours="$2" -v peer="$3" -v share="${4:-}" 'BEGIN {
		printf "xslot,%s,%.4g,%.4g,tokens/s,%.2f,%s\n", name, ours, peer, ours / peer,
			share }'
}

# model ACT HIDDEN LEAF OPTION...: its rows
model() {
	act=$1
	stores "$@"
	rm -f "$T"/*.notes
	run first "$T/leaves" --resident
	memory=$(awk -F, '{ v[$1] = $2 } END {
		printf "%.0f", v["memory_fixed"] + v["leaves"] * v["leaf_bytes"] / 4 }' \
		"$T/first.csv")
	for round in $(seq "$rounds"); do
		once
	done
	row "$act resident" "$(median "$T/frugal.notes")" "$(
		one=$(cpu moe-train --sample "$T/ckpt" -j1 --tokens 1 <"$T/prompt")
		all=$(cpu moe-train --sample "$T/ckpt" -j1 --tokens $((tokens + 1)) <"$T/prompt")
		awk -v one="$one" -v all="$all" -v n=$tokens 'BEGIN { print n / (all - one) }')"
	ours=$(median "$T/ours.notes") limit=$(median "$T/limit.notes")
	demand=$(median "$T/demand.notes")
	row "$act quarter limit" "$ours" "$limit"
	row "$act quarter on demand" "$ours" "$demand" \
		"$(awk -v ours="$ours" -v limit="$limit" 'BEGIN { printf "%.2f", ours / limit }')"
	row "$act quarter on demand at most" "$limit" "$demand"
	row "$act quarter ahead" "$(median "$T/ahead.notes")" "$ours"
	[ ! -e "$T/mapped.notes" ] ||
		row "$act quarter mmap" "$ours" "$(median "$T/mapped.notes")"
}
# One round of all ways in turn.
once() {
	run frugal "$T/leaves" --resident -j1
	note frugal "$(awk -F, '{ v[$1] = $2 } END { print v["tokens"] / v["cpu"] }' \
		"$T/frugal.csv")"
	run resident "$T/leaves" --resident
	most=$(printf '%s\n' "$(figure tokens_per_s frugal)" "$(figure tokens_per_s resident)" |
		sort -g | tail -n 1)
	disk=$("$B/t/bench/xslot" disk "$T/leaves" $readers)
	run ours "$T/leaves" --memory "$memory" --readers $readers
	note ours "$(figure tokens_per_s ours)"
	note limit "$(awk -F, -v disk="$disk" -v most="$most" '
		{ v[$1] = $2 }
		END { x = disk * v["tokens"] / (v["bytes"] - v["wasted_bytes"] + 1)
			print (x < most ? x : most) }' "$T/ours.csv")"
	run ahead "$T/leaves" --memory "$memory" --readers $readers --predictor gate
	note ahead "$(figure tokens_per_s ahead)"
	"$B/t/bench/xslot" demand "$T/whole" $tokens "$memory" <"$T/prompt" \
		2>>"$T/demand.notes" >/dev/null
	mapped
}
# A tenth of the tokens: it takes long.
mapped() {
	mkdir $group 2>/dev/null && echo $((memory + 8388608)) >$group/memory.limit_in_bytes ||
		return 0
	dd if="$T/leaves" of=/dev/null iflag=nocache count=0 status=none
	sh -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' sh $group \
		"$B/t/bench/xslot" mapped "$T/leaves" $((tokens / 10)) <"$T/prompt" \
		>"$T/mapped.text" 2>>"$T/mapped.notes"
	rmdir $group
	as_first mapped
}

model relu 1024 32 --shadow --sample "$T/text"
model swiglu 768 64
