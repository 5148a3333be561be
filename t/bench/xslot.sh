# bench,config,ours,peer,unit,ratio,share_of_peak: text from a store with a quarter of the experts
# in memory, BENCH_ROUNDS times in turn, medians.  ratio: how many times faster ours is.
#
# resident    all in memory, beside moe-train --sample: tokens per second of processor, one worker
# limit       beside min(resident, disk / bytes that the run's own misses need per token), the disk
#             read in the same round by as many readers, in leaves, with O_DIRECT
# on demand   beside whole experts read one at a time when they are missed, LRU
# mmap        beside the store mapped, in a memory cgroup of the same limit (where one can be made:
#             otherwise no row); the page cache is emptied of it before
# ahead       reading ahead (--predictor gate) beside none
#
# Two models of 128 experts of 3 MiB in 4 layers, trained a little: of ReLU, where the shadow spares
# reads, and of SwiGLU, where none can be spared.  They need 2 GB of disk while they are made.
set -eu
LC_ALL=C
B=${B:-bin}
rounds=${BENCH_ROUNDS:-3}
export LC_ALL B
T=$(mktemp -d "${TMPDIR:-/tmp}/moe-bench.XXXXXX")
group=/sys/fs/cgroup/memory/moe-bench.$$
trap 'rmdir $group 2>/dev/null; rm -rf "$T"' EXIT
trap 'exit 1' HUP INT TERM
tokens=100 readers=32

cat lib/*/*.[ch] | head -c 2000000 >"$T/text"
head -c 50 "$T/text" >"$T/prompt"

# stores ACT HIDDEN OPTION...: of a model, in leaves of 64 to 96 KiB and in whole experts
stores() {
	moe-train --act "$1" --dim 256 --layers 4 --heads 8 --experts 32 --top-k 4 --hidden "$2" \
		--seq 128 --batch 8 --steps 30 -o "$T/run" "$T/text" 2>"$T/err" ||
		{ cat "$T/err" >&2; exit 1; }
	moe-ckpt convert --no-optimizer -o "$T/ckpt" "$T/run/ckpt.safetensors"
	rm -r "$T/run"
	moe-prefetch pack "$T/ckpt" --leaf "$2" -o "$T/whole"
	shift 2
	moe-prefetch pack "$T/ckpt" --leaf 32 "$@" -o "$T/leaves"
}
# run NAME STORE OPTION...: the figures in NAME.csv
run() {
	local name=$1
	shift
	moe-prefetch run "$@" --check load --tokens $tokens --stats "$T/$name.csv" <"$T/prompt" \
		>"$T/$name.text"
	cmp -s "$T/$name.text" "$T/first.text" 2>/dev/null || [ "$name" = first ] ||
		[ "$name" = demand ] || { echo "xslot: $name: another text" >&2; exit 1; }
}
figure() {
	awk -F, -v name="$1" '$1 == name { print $2 }' "$T/$2.csv"
}
# cpu COMMAND...: its seconds of processor
cpu() {
	sh -c '"$@" >/dev/null 2>&1; times' sh "$@" |
		awk -F'[ms ]+' 'NR == 2 { print 60 * $1 + $2 + 60 * $3 + $4 }'
}
median() {
	sort -g "$1" | awk '{ v[NR] = $1 } END { if (NR) print v[int((NR + 1) / 2)] }'
}
note() {
	echo "$2" >>"$T/$1.notes"
}
row() {
	awk -v name="$1" -v ours="$2" -v peer="$3" 'BEGIN {
		printf "xslot,%s,%.4g,%.4g,tokens/s,%.2f,\n", name, ours, peer, ours / peer }'
}

# model ACT HIDDEN OPTION...: its rows
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
	row "$act quarter limit" "$(median "$T/ours.notes")" "$(median "$T/limit.notes")"
	row "$act quarter on demand" "$(median "$T/ours.notes")" "$(median "$T/demand.notes")"
	row "$act quarter ahead" "$(median "$T/ahead.notes")" "$(median "$T/ours.notes")"
	[ ! -e "$T/mapped.notes" ] ||
		row "$act quarter mmap" "$(median "$T/ours.notes")" "$(median "$T/mapped.notes")"
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
	run demand "$T/whole" --memory "$memory" --readers 1 --predictor none --policy lru
	note demand "$(figure tokens_per_s demand)"
	mapped
}
# A tenth of the tokens: it takes long.
mapped() {
	mkdir $group 2>/dev/null && echo $((memory + 8388608)) >$group/memory.limit_in_bytes ||
		return 0
	dd if="$T/leaves" of=/dev/null iflag=nocache count=0 status=none
	sh -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' sh $group \
		"$B/t/bench/xslot" mapped "$T/leaves" $((tokens / 10)) <"$T/prompt" \
		>/dev/null 2>>"$T/mapped.notes"
	rmdir $group
}

model relu 1536 --shadow --sample "$T/text"
model swiglu 1024
