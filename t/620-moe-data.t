#!/bin/sh
# moe-data: texts of this machine, tables, tokens and back.
. t/lib.sh

# Fifty paragraphs with some bytes that are no text.
awk 'BEGIN { for (i = 1; i <= 50; i++) for (k = 1; k <= i % 7 + 3; k++)
	printf "the %d of %s\047s%s", i * k, substr("abcdefghij", k, i % 4 + 1), k % 3 ? " " : "\n"
	}' >"$T/text"
printf '\000\377\302 \303\251\n' >>"$T/text"

# --- text ---

ok "the texts are listed" sh -c 'moe-data text >"$1"' sh "$T/list"
is "$(head -n 1 "$T/list")" name,bytes,package,present,what "a header"
is "$(cut -d, -f1 "$T/list" | sort | uniq -d)" "" "each name once"
ok "the list goes to a file, too" moe-data text -o "$T/list2"
same "$T/list" "$T/list2" "the same list"
tail -n +2 "$T/list" | while IFS=, read -r name bytes package present what; do
	if [ "$present" = 1 ]; then
		ok "$name is written" moe-data text "$name" -o "$T/one"
		is "$(($(wc -c <"$T/one")))" "$bytes" "$name has the bytes of the list"
		moe-data text --limit 1K "$name" >"$T/start"
		head -c 1024 "$T/one" >"$T/want"
		same "$T/start" "$T/want" "$name begins as a whole and with --limit"
	else
		fails 1 "$name is missing" moe-data text "$name" -o "$T/none"
		says "${package%% *}" "$name: the package that brings it is named"
		ok "$name: no file is left" test ! -e "$T/none"
		is "$bytes" 0 "$name has no bytes in the list"
	fi
	[ "$what" ] || fail "$name is described" "some words" "none"
done
fails 2 "a text of an unknown name" moe-data text nosuch
says 'nosuch.*bible' "says which there are"
fails 1 "a list on a full disk" sh -c 'moe-data text >/dev/full'
says 'No space' "says so"

# --- tables, encode, decode, pack ---

ok "a table is made" moe-data bpe --vocab 300 -o "$T/t.bpe" "$T/text"
is "$(head -n 1 "$T/t.bpe" | cut -d' ' -f1-4)" "moe-bpe 1 vocab 300" "its header"
is "$(($(wc -l <"$T/t.bpe")))" 45 "a line for each of 44 merges"
moe-data bpe --vocab 300 "$T/text" >"$T/again.bpe"
same "$T/t.bpe" "$T/again.bpe" "the same table again"
fails 0 "a text too plain for so many tokens" moe-data bpe --vocab 4000 -o "$T/big.bpe" "$T/text"
says 'not 4000' "gives fewer and says so"

cd "$T" || exit 1
ok "text becomes tokens" sh -c 'moe-data encode --bpe t.bpe <text >num'
ok "and text again" sh -c 'moe-data decode --bpe t.bpe <num >back'
cd "$OLDPWD" || exit 1
same "$T/text" "$T/back" "the same"
is "$(awk '$1 >= 300 || NF != 1' "$T/num")" "" "a token a line, all in the vocabulary"
ok "tokens are packed" moe-data pack --bpe "$T/t.bpe" -o "$T/text.tok" "$T/text"
is "$(head -c 128 "$T/text.tok" | cut -d' ' -f1-8 | tr -d '\n')" \
	"moe-tokens 1 vocab 300 width 2 count $(($(wc -l <"$T/num")))" "the header of the pack"
moe-data decode --bpe "$T/t.bpe" "$T/text.tok" >"$T/back"
same "$T/text" "$T/back" "packed tokens become the text"
gzip -c "$T/text" >"$T/text.gz"
moe-data pack --bpe "$T/t.bpe" -o "$T/gz.tok" "$T/text.gz"
same "$T/text.tok" "$T/gz.tok" "compressed text gives the same pack"
moe-data pack --bpe "$T/t.bpe" -o "$T/text.tok.gz" "$T/text"
gunzip -c "$T/text.tok.gz" >"$T/back"
same "$T/text.tok" "$T/back" "a pack is compressed where its name says so"
: >"$T/empty"
moe-data encode --bpe "$T/t.bpe" "$T/empty" | moe-data decode --bpe "$T/t.bpe" >"$T/back"
same "$T/empty" "$T/back" "nothing stays nothing"

# GPT-2's format, made of bytes that stand for themselves and one merge.
perl -CO -e 'my ($o, $i) = (256, 0); print "{"; for (0 .. 255) {
	my $c = ($_ > 32 && $_ < 127 || $_ > 160 && $_ != 173) ? chr : chr $o++;
	$c =~ s/(["\\])/\\$1/; print "\"$c\": $_, " } print "\"th\": 256}"' >"$T/v.json"
printf '#version: 0.2\nt h\n' >"$T/v.bpe"
is "$(printf 'that' | moe-data encode --gpt2 "$T/v.json" "$T/v.bpe" | tr '\n' ' ')" "256 97 116 " \
	"GPT-2's files are a table"
moe-data encode --gpt2 "$T/v.json" "$T/v.bpe" "$T/text" |
	moe-data decode --gpt2 "$T/v.json" "$T/v.bpe" >"$T/back"
same "$T/text" "$T/back" "there and back with them"

# --- what is wrong ---

fails 2 "nothing to do" moe-data
fails 2 "an unknown command" moe-data texts
fails 2 "an unknown option" moe-data text --limits 3
fails 2 "a vocabulary of bytes alone" moe-data bpe --vocab 256 "$T/text"
says '257' "says what was expected"
fails 2 "no vocabulary" moe-data bpe "$T/text"
fails 2 "no table" moe-data encode "$T/text"
fails 2 "two tables" moe-data encode --bpe a --llama2 b "$T/text"
fails 2 "GPT-2 without its merges" moe-data encode --gpt2 "$T/v.json"
fails 2 "an option of another command" moe-data text --vocab 300
fails 2 "a limit of nothing" moe-data text --limit 0 bible
fails 2 "nothing to pack" moe-data pack --bpe "$T/t.bpe" -o "$T/x"
fails 1 "an empty file to pack" moe-data pack --bpe "$T/t.bpe" -o "$T/x" "$T/empty"
ok "leaves no pack" test ! -e "$T/x"
fails 1 "a file that is not there" moe-data encode --bpe "$T/t.bpe" "$T/none"
says 'none: No such file' "is named"
fails 1 "a table that is none" moe-data encode --bpe "$T/text" "$T/text"
says 'moe-bpe' "says what was expected"
head -c 100 "$T/t.bpe" >"$T/cut.bpe"
fails 1 "a table cut short" moe-data encode --bpe "$T/cut.bpe" "$T/text"
printf '1 2\n3x\n' >"$T/bad"
fails 1 "a number that is none" moe-data decode --bpe "$T/t.bpe" "$T/bad"
says 'bad:2: "3x".*0 to 299' "is told by file and line"
echo 300 >"$T/bad"
fails 1 "a token beyond the vocabulary" moe-data decode --bpe "$T/t.bpe" "$T/bad"
moe-data pack --bpe "$T/t.bpe" -o "$T/p.tok" "$T/text"
head -c 500 "$T/p.tok" >"$T/cut.tok"
fails 1 "a pack cut short" moe-data decode --bpe "$T/t.bpe" "$T/cut.tok"
for verb in "bpe --vocab 300" "encode --bpe $T/t.bpe" "pack --bpe $T/t.bpe"; do
	fails 1 "${verb%% *} on a full disk" moe-data $verb -o /dev/full "$T/text"
done
ok "the full device is still one" test -c /dev/full

# The manual's examples, in a place of their own.
man=$PWD/man/moe-data.1
sed -n '/^\.Sh EXAMPLES/,/^\.Sh CAVEATS/s/^\.Dl \$ //p' "$man" | sed 's/\\e/\\/g' >"$T/examples"
ok "the manual has examples" test -s "$T/examples"
cd "$T" || exit 1
cp text essay.txt
while read -r example; do
	case $example in *'text bible'*) command -v bible >/dev/null || continue ;; esac
	ok "example: $example" sh -ec "$example" >"$T/out"
done <"$T/examples"
done_testing
