#!/bin/sh
# xslot.sh PART RUN SEED TEXT: a part of what a model of xslot.mk has come to, as rows
# variant,seed,figure,phase,value.  TEXT is the directory of the texts; the part `stores` has no
# rows, and makes what the others need.  What each figure means stands in moe-claims(7).
set -eu
LC_ALL=C
export LC_ALL
part=$1 run=$2 seed=$3 text=$4
variant=model
. t/claims/columns.sh
T=$(mktemp -d "${TMPDIR:-/tmp}/moe-claims.XXXXXX")
group=/sys/fs/cgroup/memory/moe-claims.$$
trap 'rmdir $group 2>/dev/null || :; rm -rf "$T"' EXIT
trap 'exit 1' HUP INT TERM
leaves=$run/leaves.store whole=$run/whole.store

# piece KIND I BYTES: the I-th piece of a text that no model has seen, on $T/prompt
piece() {
	tail -c +$((1 + $2 * 2048)) "$text/$1.held" | head -c "$3"
}
# run NAME STORE OPTION...: from $T/prompt; the text in $T/NAME.text, figures in $T/NAME.csv
run() {
	name=$1
	shift
	moe-prefetch run "$@" --check load --stats "$T/$name.csv" <"$T/prompt" >"$T/$name.text"
}
# figure NAME QUANTITY
figure() {
	awk -F, -v name="$2" '$1 == name { print $2 }' "$T/$1.csv"
}
# report NAME PHASE QUANTITY...: of a run, as rows of $variant
report() {
	of=$1 phase=$2
	shift 2
	for quantity in "$@"; do
		echo "$quantity $phase $(figure "$of" "$quantity")"
	done | rows
}
# budget SHARE OPTION...: memory that has room for so many percent of the leaves
budget() {
	share=$1
	shift
	run least "$leaves" --resident "$@"
	awk -F, -v share="$share" '{ v[$1] = $2 } END {
		printf "%.0f", v["memory_fixed"] + v["leaves"] * v["leaf_bytes"] * share / 100 }' \
		"$T/least.csv"
}
# means FILE: of lines figure, phase, value; one row for each figure and phase
means() {
	awk '{ k = $1 " " $2; sum[k] += $3; n[k]++ } END { for (k in n) print k, sum[k] / n[k] }' \
		"$1" | sort | rows
}

stores() {
	moe-prefetch pack "$run/ckpt.safetensors" --leaf 32 --shadow --sample "$text/text" \
		--sample-tokens 8192 -o "$T/leaves.store"
	moe-prefetch pack "$run/ckpt.safetensors" --leaf 256 -o "$whole"
	mv "$T/leaves.store" "$leaves"
}

# --- tokens per second in less memory, beside what else one could do (X2, X7) ---

budgets() {
	piece prose 1 100 >"$T/prompt"
	for share in 5 10 25 50 100; do
		memory=$(budget $share --tokens 100)
		way ours $share "$leaves" --predictor none
		way ahead $share "$leaves" --predictor gate
		way demand $share "$whole" --readers 1 --policy lru --predictor none
		[ $share -lt 25 ] || mapped $share "$memory" # with less it takes minutes
	done
	variant=resident
	run resident "$leaves" --resident --tokens 100
	report resident - tokens_per_s
	per_token resident -
}
way() {
	variant=$1 phase=$2
	shift 2
	run "$variant" "$@" --memory "$memory" --tokens 100
	report "$variant" "$phase" tokens_per_s hit_rate stall bytes_per_token recall precision
	per_token "$variant" "$phase"
}
per_token() {
	echo "cpu $2 $(figure "$1" cpu) $(figure "$1" tokens)" | awk '{ print $1, $2, $3 / $4 }' |
		rows
	echo "wasted $2 $(figure "$1" wasted_bytes) $(figure "$1" tokens)" |
		awk '{ print $1, $2, $3 / $4 }' | rows
	echo "joules $2 $(figure "$1" energy)" | grep -v unmeasured | rows
}
# mapped SHARE MEMORY: the store mapped, in as much memory and 8 MiB for the program itself
mapped() {
	variant=mapped
	[ -x "$B/t/bench/xslot" ] || return 0
	mkdir $group 2>/dev/null && echo $(($2 + 8388608)) >$group/memory.limit_in_bytes || return 0
	dd if="$leaves" of=/dev/null iflag=nocache count=0 status=none
	sh -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' sh $group \
		"$B/t/bench/xslot" mapped "$leaves" 100 <"$T/prompt" 2>"$T/mapped" >"$T/text"
	echo "tokens_per_s $1 $(cat "$T/mapped")" | rows
	rmdir $group
}

# --- the same bytes, whatever the memory, the order and the workers (X1, X8) ---

equal() {
	echo "Analyze how Steve Wozniak's use of the 6502's 'zero page' addressing to optimize \
the Apple II's memory cycles parallels the metabolic efficiency of CRISPR-Cas9 protein binding \
during off-target DNA sequence searching." >"$T/wozniak"
	piece prose 2 100 >"$T/prose"
	piece code 2 100 >"$T/code"
	for prompt in wozniak prose code; do
		cp "$T/$prompt" "$T/prompt"
		run want "$leaves" --resident --tokens 60
		least=$(figure want memory_least)
		n=0
		while read -r more options; do
			# shellcheck disable=SC2086
			run got "$leaves" --memory $((least + more)) --tokens 60 $options
			cmp -s "$T/got.text" "$T/want.text" && n=$((n + 1))
		done <<-'END'
			0 -j2
			0 -j1 --policy lru
			1000000 -j1 --predictor gate
			2000000 -j2 --predictor previous --no-skip
			4000000 -j2 --predictor frequency --policy lru
			8000000 -j1 --predictor tree --branching 8
			12000000 -j2 --readers 1 --no-skip
			20000000 -j2 --predictor gate --buffered
			40000000 -j1 --readers 64
			80000000 -j2 --predictor tree --branching 8
		END
		echo "equal $prompt $n" | rows
	done
}

# --- leaves instead of experts: bytes for the same text (X4) ---

leaves() {
	for kind in prose code; do
		piece $kind 3 300 >"$T/prompt"
		memory=$(budget 25 --tokens 1)
		run whole "$whole" --memory "$memory" --tokens 1
		run uncertain "$leaves" --memory "$memory" --tokens 1 --no-skip
		run leaves "$leaves" --memory "$memory" --tokens 1
		for name in whole uncertain leaves; do
			echo "bytes - $(figure $name bytes_per_token)" >>"$T/$name"
		done
		echo "skipped - $(figure leaves skipped) $(figure leaves needed)" |
			awk '{ print $1, $2, $3 / $4 }' >>"$T/leaves"
	done
	for variant in whole uncertain leaves; do
		means "$T/$variant"
	done
}

# --- ten sessions of two users (X5) ---

# session VARIANT KIND I OPTION...: recall, time to the first token, and reads that it waited for
session() {
	name=$1 phase=$3
	shift 3
	run "$name" "$leaves" --memory "$memory" $ahead --tokens 40 \
		--timing "$T/rows" "$@"
	{
		echo "recall $phase $(figure "$name" recall)"
		echo "first_token $phase $(figure "$name" first_token)"
		columns "$T/rows" prompt loads ahead late | awk -v i="$phase" '
			$1 { n += $2 - $3 + $4 } END { print "awaited", i, n }'
	} >>"$T/$name"
}
sessions() {
	ahead="--predictor tree"
	for i in 1 2 3 4 5 6 7 8 9 10; do
		for kind in prose code; do
			other=$([ $kind = prose ] && echo code || echo prose)
			piece $kind $((4 + i)) 120 >"$T/prompt"
			[ "${memory:-}" ] || memory=$(budget 25 --tokens 40 $ahead)
			session fresh $kind $i
			session own $kind $i $(tree $kind $((i - 1))) --save-tree "$T/$kind.$i"
			session another $kind $i $(tree $other $((i - 1)))
		done
	done
	for variant in own fresh another; do
		awk '$2 > 5 { print "late_" $1, "-", $3 }' "$T/$variant" >"$T/late"
		means "$T/late"
		means "$T/$variant"
	done
}
# tree KIND I: of that user, after so many sessions
tree() {
	[ ! -e "$T/$1.$2" ] || echo "--tree $T/$1.$2"
}

# --- a change of subject (X6) ---

# after NAME: of the second 200 tokens, the seconds, the bytes, and the slowest one's seconds
after() {
	run "$1" "$leaves" --memory "$memory" --predictor gate --tokens 1 --timing "$T/rows"
	columns "$T/rows" token seconds bytes | awk '
		$1 >= 200 { s += $2; b += $3; if ($2 > top) top = $2 }
		END { print s, b, top }'
}
pivots() {
	for kind in prose code; do
		other=$([ $kind = prose ] && echo code || echo prose)
		piece $kind 15 200 >"$T/end"
		{ piece $kind 16 200; cat "$T/end"; } >"$T/prompt"
		memory=$(budget 25 --tokens 1)
		same=$(after same)
		{ piece $other 16 200; cat "$T/end"; } >"$T/prompt"
		turned=$(after turned)
		echo "$same $turned $(figure same leaves) $(figure same leaf_bytes)" | awk '{
			print "seconds -", $4 - $1
			print "share -", ($5 - $2) / $7 / $8
			print "slowest -", $6 }' >>"$T/pivot"
	done
	variant=pivot
	means "$T/pivot"
}

# --- while the user types (X3) ---

typing() {
	for kind in prose code; do
		piece $kind 17 60 >"$T/prompt"
		memory=$(budget 25 --tokens 1)
		for mode in none fetch encode; do
			run $mode "$leaves" --memory "$memory" --predictor gate --tokens 1 \
				$([ $mode = none ] || echo --typing 30 --typing-mode $mode)
			echo "first_token - $(figure $mode first_token)" >>"$T/$mode"
		done
	done
	for variant in none fetch encode; do
		means "$T/$variant"
	done
}

# --- hit rates by expert, and their limit ---

replay() {
	{ piece prose 18 2049; piece code 18 2049; } >"$T/prompt"
	moe-train --eval "$run/ckpt.safetensors" "$T/prompt" --trace-csv "$T/trace" >"$T/loss"
	{
		echo step,layer,expert
		columns "$T/trace" step seq pos layer expert |
			sort -s -k1,1n -k2,2n -k3,3n | awk '{
				if ($1 " " $2 " " $3 != last) n++
				last = $1 " " $2 " " $3
				print n "," $4 "," $5 }'
	} >"$T/steps"
	for policy in lru lfu learned; do
		variant=$policy
		moe-prefetch replay --slots 3,6,16,32,64 --scope global --policy $policy \
			"$T/steps" >"$T/replayed"
		columns "$T/replayed" slots hit_rate min_hit_rate | awk '{
			share = $1 == 3 ? 5 : $1 == 6 ? 10 : 100 * $1 / 64
			print "expert_hits", share, $2; print "expert_limit", share, $3 }' | rows
	done
}

$part
