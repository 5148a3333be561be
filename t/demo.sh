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

# The end of at most 8 MB is kept from training.
head -c 8000000 "$D/all.txt" >"$D/text" && rm "$D/all.txt" "$D/why"
size=$(wc -c <"$D/text")
held=65536
[ $held -le $((size / 10)) ] || held=$((size / 10))
head -c $((size - held)) "$D/text" >"$D/$text.txt"
tail -c $held "$D/text" >"$D/held-out.txt"
rm "$D/text"

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

cat <<END
Training on the text "$text", $((size - held)) characters; the $held after them are held out.
The model reads one character and predicts the next.  It has 2 layers of 8 experts; a router
sends each character to 2 of the 8.  $steps steps, about $seconds seconds:
END
train run $steps --val "$D/held-out.txt" --val-every $((steps / 5)) --timing "$D/timing.csv" -v
moe-train --eval "$D/run/ckpt.safetensors" --trace-csv "$D/trace.csv.gz" "$D/held-out.txt" \
	>"$D/eval.csv"

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

How well is the held-out text predicted?  Bits per character, fewer are better:
    every byte equally likely                         8.00
    how often each character occurs                   $order0
    gzip -9                                           $(gzip_bits <"$D/held-out.txt")
END
column "$D/run/loss.csv" step val_loss | awk -v last="$steps" 'NF == 2 && $1 != last {
	printf "    this model after %5d steps                      %.2f\n", $1, $2 / log(2) }'
column "$D/eval.csv" bits_per_token accuracy | awk '{
	printf "    this model at the end                             %.2f\n", $1
	printf "Its first guess for the next character is right %.0f times in 100.\n", 100 * $2 }'
tokens=$(column "$D/run/loss.csv" tokens | awk '{ n += $1 } END { print n }')
column "$D/timing.csv" seconds | awk -v n="$tokens" '{ s += $1 }
	END { printf "It learnt from %.1f million characters in %.0f s, %.0f a second.\n",
		n / 1e6, s, n / s }'

# Layer 0 sees hardly more than the character itself: who gets which can be read off.
cat <<END

Which experts do the work?  Share of the held-out text that each is the first choice for (even
would be 0.125) and, in layer 0, the characters it gets more often than all others together,
the commonest first:
END
gzip -dc "$D/trace.csv.gz" >"$D/trace.csv"
column "$D/trace.csv" layer rank expert token | awk '
	function name(c) {
		return c == 32 ? "space" : c == 10 ? "newline" : c == 9 ? "tab" : \
			c > 32 && c < 127 ? sprintf("%c", c) : sprintf("\\x%02x", c)
	}
	$2 == 0 { n[$1]++; first[$1, $3]++; last = $3 > last ? $3 : last }
	$1 == 0 && $2 == 0 { all[$4]++; here[$3, $4]++ }
	END {
		for (e = 0; e <= last; e++) {
			printf "    expert %d   layer 0  %.3f   layer 1  %.3f   ", e,
				first[0, e] / n[0], first[1, e] / n[1]
			for (k = 0; k < 12; k++) {
				for (b = c = 0; c < 256; c++)
					if (here[e, c] > all[c] / 2 && here[e, c] > here[e, b])
						b = c
				if (!b) break
				printf " %s", name(b)
				here[e, b] = 0
			}
			print k == 12 ? " ..." : ""
		}
	}'
rm "$D/trace.csv"
echo "
The model continues \"$prompt\":"
printf '%s' "$prompt" |
	moe-train --sample "$D/run/ckpt.safetensors" --tokens 300 --temp 0.7 >"$D/sample.txt"
fold -s -w 76 "$D/sample.txt" | sed 's/^/    /; $G'
cat <<END
Everything is in $D: the text, run/ (CSV, checkpoint, recipe), trace, timing, sample.
    $B/moe-train --eval $D/run/ckpt.safetensors $D/held-out.txt
    $B/moe-ckpt ls $D/run/ckpt.safetensors
    man man/moe.7
evaluate the model again, list its tensors, and tell what else there is.
END
