#!/bin/sh
# Train a small mixture-of-experts model on real text of this machine for DEMO_SECONDS (90) and
# show what it learnt.  Everything is left in $B/demo; each figure comes from the files there.
set -eu
B=${B:-bin}
LC_ALL=C PATH=$PWD/$B:$PATH
export LC_ALL PATH
seconds=${DEMO_SECONDS:-90}
D=$B/demo
model='--layers 2 --dim 128 --heads 4 --hidden 512 --experts 8 --top-k 2 --load-balance 0.01
	--batch 8 --seq 256 --lr 2e-3 --seed 1'

# Real text: the first of these that the machine has, and how a line of it begins.
rm -rf "$D"
mkdir -p "$D"
for text in bible python c none; do
	[ "$text" != none ] || { echo "demo: no text found; see moe-data text" >&2; exit 1; }
	! moe-data text "$text" -o "$D/all.txt" 2>"$D/why" || break
	echo "demo: no text \"$text\" here: $(tail -n 1 "$D/why")" >&2
done
case $text in
bible) prompt='And it came to pass' ;;
python) prompt='def __init__(self' ;;
c) prompt='#define ' ;;
esac

# The last tenth of at most 8 MB is kept from training.
head -c 8000000 "$D/all.txt" >"$D/text" && rm "$D/all.txt" "$D/why"
size=$(wc -c <"$D/text")
held=$((size / 10))
head -c $((size - held)) "$D/text" >"$D/$text.txt"
tail -c $held "$D/text" >"$D/held-out.txt"

now() {
	date +%s%N | sed 's/......$//' # ms
}

# train RUN STEPS [OPTION...]
train() {
	run=$1 steps=$2
	shift 2
	moe-train $model --steps "$steps" --warmup $((steps / 20 + 1)) "$@" \
		-o "$D/$run" "$D/$text.txt"
}

# A few steps tell how many fit into the time.
start=$(now)
train trial 20 2>"$D/why" || { cat "$D/why" >&2; exit 1; }
each=$((($(now) - start) / 20 + 1))
rm -r "$D/trial" "$D/why"
steps=$((seconds * 1000 / each / 50 * 50))
[ $steps -ge 50 ] || steps=50
[ $steps -le 3000 ] || steps=3000

echo "Training 8 experts in each of 2 layers, 2 at work for each character, on \"$text\":"
echo "$((size - held)) characters; $held more are held out. $steps steps, about $seconds seconds."
start=$(now)
train run $steps --val "$D/held-out.txt" --val-every $((steps / 5)) -v
took=$(($(now) - start))
moe-train --eval "$D/run/ckpt.safetensors" "$D/held-out.txt" >"$D/eval.csv"

# column FILE NAME...: these columns of a CSV file, by name
column() {
	file=$1
	shift
	awk -F, -v want="$*" '
	/^#/ { next }
	!n { n = split(want, name, " "); for (i = 1; i <= NF; i++) at[$i] = i; next }
	{ for (i = 1; i <= n; i++) printf "%s%s", $at[name[i]], i < n ? " " : "\n" }' "$file"
}

gzip_bits() {
	gzip -9 | wc -c | awk -v n="$held" '{ printf "%.2f", 8 * $1 / n }'
}
order0=$(od -An -v -tu1 "$D/held-out.txt" | awk '
	{ for (i = 1; i <= NF; i++) { count[$i]++; n++ } }
	END { for (c in count) nats -= count[c] * log(count[c] / n)
	      printf "%.2f", nats / n / log(2) }')

cat <<END

How well is the held-out text predicted?                  bits per character
    every byte equally likely                                  8.00
    how often each character occurs (order-0 entropy)          $order0
    gzip -9                                                    $(gzip_bits <"$D/held-out.txt")
END
column "$D/run/loss.csv" step val_loss | awk 'NF == 2 {
	printf "    this model after step %-5d                                %.2f\n",
		$1, $2 / log(2) }'
column "$D/eval.csv" bits_per_token | awk '{
	printf "    this model at the end, as moe-train --eval has it          %.2f\n", $1 }'
column "$D/run/loss.csv" tokens | tail -n 1 | awk -v ms="$took" '{
	printf "\nIt read %.1f million characters in %.0f s: %.0f a second.\n",
		$1 / 1e6, ms / 1000, $1 / ms * 1000 }'
echo "
Which experts did the work?  Share of the tokens in the last census, even would be 0.125:"
column "$D/run/experts.csv" step layer slot demand | awk '
	$1 != step { step = $1; split("", row); all = used = 0 }
	{ row[$2] = row[$2] sprintf(" %5.3f", $4); all++; used += $4 > 0; if ($2 > last) last = $2 }
	END { for (layer = 0; layer <= last; layer++) printf "    layer %d %s\n", layer, row[layer]
	      printf "    %d of %d experts are in use.\n", used, all }'
echo "
The model continues \"$prompt\":"
printf '%s' "$prompt" |
	moe-train --sample "$D/run/ckpt.safetensors" --tokens 300 --temp 0.7 --seed 1 \
		>"$D/sample.txt"
fold -s -w 76 "$D/sample.txt" | sed 's/^/    /; $G'
cat <<END
Everything is in $D: text, held-out.txt, run/ (CSV and checkpoint), sample.txt.
    moe-train --eval $D/run/ckpt.safetensors $D/held-out.txt
repeats the last of the bits; man/moe.7 says what else there is.
END
