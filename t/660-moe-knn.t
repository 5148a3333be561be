#!/bin/sh
# moe-knn: its commands on small tables made here, and what they refuse.
. t/lib.sh
root=$PWD
cd "$T" || exit 1

# npy DESCR FORTRAN SHAPE [VERSION]: a .npy of the bytes of stdin, on stdout
npy() {
	perl -e '
		binmode STDIN; binmode STDOUT; local $/; my $data = <STDIN>;
		my ($descr, $fortran, $shape, $version) = (@ARGV, 1);
		my $h = "{\x27descr\x27: \x27$descr\x27, \x27fortran_order\x27: $fortran, " .
			"\x27shape\x27: ($shape), }";
		$h .= " " until (length($h) + ($version == 1 ? 11 : 13)) % 16 == 0;
		$h .= "\n";
		print "\x93NUMPY", chr $version, "\0",
			pack($version == 1 ? "v" : "V", length $h), $h, $data;' "$@"
}
floats() {
	perl -e 'binmode STDOUT; print pack "f<*", @ARGV' -- "$@"
}

floats 1 0 0 0 0 0 | npy '<f4' False '2, 3' >zero.npy

# --- search ---
cat >keys.csv <<'END'
x,y,z
1,0,0
0,2,0
0,2,0
-1,-1,0.5
3,0,0
END
printf 'x,y,z\n1,0,0\n0,1,0\n-1,0,1\n' >queries.csv
cat >want <<'END'
query,rank,id,score
0,0,4,3
0,1,0,1
0,2,1,0
1,0,1,2
1,1,2,2
1,2,0,0
2,0,3,1.5
2,1,1,0
2,2,2,0
END
ok "search" moe-knn search -k 3 keys.csv queries.csv -o out
same out want "the greatest inner products, of equal ones the lowest id"
cat >want <<'END'
query,rank,id,score
0,0,0,1
0,1,4,1
1,0,1,1
1,1,2,1
2,0,3,0.70710
2,1,1,0
END
moe-knn search -k 2 --cosine keys.csv queries.csv | sed 's/\(0\.70710\)[0-9]*/\1/' >out
same out want "cosines"

floats 1 0 0 0 2 0 0 2 0 -1 -1 .5 3 0 0 | npy '<f4' False '5, 3' >keys.npy
floats 1 0 0 0 1 0 -1 0 1 | npy '<f4' False '3, 3' >queries.npy
moe-knn search -k 3 keys.csv queries.csv >want
moe-knn search -k 3 keys.npy queries.npy >out
same out want ".npy"
moe-knn search -k 3 keys.npy - <queries.npy >out
same out want "from the standard input"
gzip -c keys.npy >zipped.npy
moe-knn search -k 3 zipped.npy queries.npy -o out.gz
gzip -dc out.gz >out
same out want "compressed, in and out"
floats 1 0 0 -1 3 0 2 2 -1 0 0 0 0 .5 0 | npy '<f4' True '5, 3' >f.npy
moe-knn search -k 3 f.npy queries.npy >out
same out want "in Fortran's order"
floats 1 0 0 0 2 0 0 2 0 -1 -1 .5 3 0 0 | perl -0777 -pe '$_ = pack "N*", unpack "V*", $_' |
	npy '>f4' False '5, 3' 2 >b.npy
moe-knn search -k 3 b.npy queries.npy >out
same out want "big-endian, version 2"
perl -e 'binmode STDOUT; print pack "d<*", 1,0,0,0,2,0,0,2,0,-1,-1,.5,3,0,0' |
	npy '<f8' False '5, 3' 3 >d.npy
moe-knn search -k 3 d.npy queries.npy >out
same out want "float64, version 3"
perl -e 'binmode STDOUT;
	print pack "v*", 0x3c00,0,0,0,0x4000,0,0,0x4000,0,0xbc00,0xbc00,0x3800,0x4200,0,0' |
	npy '<f2' False '5, 3' >h.npy
moe-knn search -k 3 h.npy queries.npy >out
same out want "float16"
printf '\001\000\377\003\000\004' | npy '<f2' False '1, 3' >h.npy
floats 1 1 1 | npy '<f4' False '1, 3' >ones.npy
moe-knn search -k 1 h.npy ones.npy >out
is "$(tail -n 1 out)" "0,0,0,0.000122070312" "float16 that are subnormal, and the least that is not"

# --- the same bytes, however they are found ---
perl -e 'srand 1; binmode STDOUT;
	print pack "f<*", map { int(rand 9) - 4 + rand } 1 .. 3000 * 19' |
	npy '<f4' False '3000, 19' >many.npy
perl -e 'srand 2; binmode STDOUT; print pack "f<*", map { int(rand 9) - 4 } 1 .. 100 * 19' |
	npy '<f4' False '100, 19' >ask.npy
moe-knn search -k 11 many.npy ask.npy >want
is "$(wc -l <want)" 1101 "eleven rows for each of a hundred queries"
for how in '-j1' '-j2' '--filter float' '--filter bytes' '--kernels portable' \
	'--kernels avx2 -j 1 --filter bytes'; do
	if moe-knn search -k 11 $how many.npy ask.npy >out 2>err || ! grep -q 'cannot run' err; then
		same out want "$how changes nothing"
	fi
done
perl -e '
	binmode STDIN; my ($K, $Q) = map { local $/; open my $f, "<:raw", $_; my $x = <$f>;
		substr($x, 0, 10 + unpack("v", substr $x, 8, 2)) = ""; [unpack "f<*", $x] } @ARGV;
	print "query,rank,id,score\n";
	for my $q (0 .. 2) {
		my @s = map { my $s = 0; my $i = $_;
			$s += $Q->[$q * 19 + $_] * $K->[$i * 19 + $_] for 0 .. 18;
			unpack "f<", pack "f<", $s } 0 .. 2999;
		my @o = sort { $s[$b] <=> $s[$a] || $a <=> $b } 0 .. 2999;
		printf "%d,%d,%d,%.9g\n", $q, $_, $o[$_], $s[$o[$_]] for 0 .. 10;
	}' many.npy ask.npy >brute
head -n 34 want >out
same out brute "and it is what brute force finds"
ok "it tells what it did" moe-knn search -v -j1 many.npy ask.npy -o out
says '^moe-knn: [a-z0-9]+ kernels, filter by (bytes|float32): .* queries/s' "in a line"

# --- an index ---
moe-knn search -k 11 many.npy ask.npy >want
ok "build" moe-knn build -v many.npy -o index
says '^moe-knn: 3000 keys in 55 clusters' "says how many"
ok "search by it" moe-knn search -k 11 -v --index index many.npy ask.npy -o out
says 'reach 1.000 \(exact\)' "is exact"
same out want "to the bit"
moe-knn build --clusters 7 many.npy | moe-knn search -k 11 --index - many.npy ask.npy >out
same out want "whatever the clusters, and through a pipe"
moe-knn build -j1 many.npy -o again
same again index "any number of workers makes the same index"
ok "an approximate search" moe-knn search -k 4 -v --approximate 0.5 --index index many.npy ask.npy \
	-o out
says 'reach 0' "looks less far"
is "$(wc -l <out)" 401 "and answers all the same"
fails 1 "an index of other keys" moe-knn search --index index ask.npy ask.npy
says '^moe-knn: index: an index of other keys \(3000 x 19, CRC-32 [0-9a-f]{8}' "is told"
moe-ckpt convert --bf16 index -o other 2>err
fails 1 "what is no index" moe-knn search --index other many.npy ask.npy
says '^moe-knn: other: not an index \(moe-knn build writes one\)$' "is told"
head -c 3000 index >cut
fails 1 "a cut index" moe-knn search --index cut many.npy ask.npy
says '^moe-knn: cut: ' "is told"
fails 1 "no index" moe-knn search --index nowhere many.npy ask.npy

# --- drift ---
ok "drift" moe-knn drift --steps 4 --queries 50 --moved 300 --check 20 --timing took many.npy -o out
cat >want <<'END'
step,queries,moved,reach,recall
0,50,300,1,1
1,50,300,1,1
2,50,300,1,1
3,50,300,1,1
END
same out want "without --approximate all is found at every step"
is "$(head -n 1 took)" "step,search_s,move_s,upkeep_s,sweep_s,scored,queries_swept" \
	"what it took stands elsewhere"
is "$(wc -l <took)" 5 "by step"
moe-knn drift --approximate 0.9 -j1 --distance 0.5 many.npy >once
moe-knn drift --approximate 0.9 -j2 --distance 0.5 many.npy >twice
same twice once "an approximate search gives the same with any number of workers"
is "$(awk -F, 'NR > 1 && $5 < 0.8 { print }' once)" "" "and finds about what was asked for"
perl -e 'local $/; binmode STDIN; binmode STDOUT; my $x = <STDIN>;
	substr($x, -19 * 4 * 5) = pack "f<*", (2) x (19 * 5); print $x' <many.npy >next.npy
moe-knn drift many.npy next.npy many.npy many.npy >out
is "$(cut -d, -f3,5 out | tr '\n' ' ')" "moved,recall 5,1 5,1 0,1 " "a recorded stream: what moved"
fails 1 "a stream of other keys" moe-knn drift many.npy ask.npy
says '^moe-knn: ask.npy: 100 x 19 \(expected 3000 x 19, as before\)$' "is told"
fails 1 "more moves than keys" moe-knn drift --moved 3001 many.npy
says 'many.npy: 3000 keys \(expected at least --moved 3001\)' "is told"

# --- gravity ---
floats 1 0 0 1 | npy '<f4' False '2, 2' >axes.npy
floats 3 4 | npy '<f4' False '1, 2' >pull.npy
ok "gravity" moe-knn gravity -k 1 --alpha 0.5 --rho 1 --census census -o moved.npy axes.npy \
	<pull.npy
moe-knn search -k 2 moved.npy axes.npy >out
cat >want <<'END'
query,rank,id,score
0,0,0,1
0,1,1,0.300000012
1,0,1,0.899999976
1,1,0,0
END
same out want "the chosen key goes half of the way to the query, scaled to length 1"
is "$(sed -n '2s/0\.31622[0-9]*$/0.31622/p' census)" "1,1,0.5,0,0.5,0,0,0,0.31622" "its census"
moe-knn gravity -k 2 --alpha 0 --beta 0.25 --rho 1 axes.npy pull.npy >moved.npy
moe-knn search -k 2 moved.npy axes.npy >out
is "$(sed -n '2,3s/^0,[01],//p' out | tr '\n' ' ')" "0,0.75 1,0.25 " \
	"keys chosen together come closer"
moe-knn gravity --batch 10 -k 3 --cosine many.npy ask.npy --census census --trace trace -j1 \
	-o once.npy
moe-knn gravity --batch 10 -k 3 --cosine many.npy ask.npy -j2 -o twice.npy
same twice.npy once.npy "any number of workers leaves the same keys"
is "$(wc -l <census) $(wc -l <trace)" "11 301" "a row for each step, and for each choice"
is "$(head -n 1 trace)" "step,seq,pos,token,layer,rank,expert,weight" "a trace as others read it"
is "$(awk -F, 'NR > 1 { s[$4] += $8 }
	END { for (t in s) if (s[t] < 0.999999 || s[t] > 1.000001) print t }' trace)" "" \
	"whose weights sum to 1"
fails 1 "zero queries" moe-knn gravity -k 2 keys.npy zero.npy
fails 1 "other queries" moe-knn gravity -k 2 keys.npy ask.npy
says 'ask.npy: 19 components \(expected 3, as in keys.npy\)' "are told"

# --- galaxy ---
# Experts 0, 1 and 2, 3 work together, 4 with nobody; keys to match.
floats 0 0 0 1 9 0 9 1 5 9 | npy '<f4' False '5, 2' >stars.npy
{
	echo layer,rank,expert
	for pair in 0,1 1,0 2,3 3,2 0,1; do
		printf '0,0,0\n1,0,%d\n1,1,%d\n' "${pair%,*}" "${pair#*,}"
	done
	echo 1,0,4
} >chosen.csv
ok "galaxy" moe-knn galaxy --layer 1 --stats figures --svg map.svg -o out stars.npy chosen.csv
is "$(cut -d, -f1-3 out | tr '\n' ' ')" "expert,community,degree 0,0,3 1,0,3 2,1,2 3,1,2 4,2,0 " \
	"communities of those who work together"
is "$(head -n 1 out)" "expert,community,degree,silhouette,pca_x,pca_y,tsne_x,tsne_y" "its columns"
cat >want <<'END'
quantity,value
experts,5
communities,3
modularity,0.48
END
head -n 4 figures >got
same got want "modularity: 1 - (6/10)^2 - (4/10)^2"
is "$(grep -c '<circle' map.svg) $(tail -n 1 map.svg)" "5 </svg>" "a dot for each expert"
moe-knn galaxy --layer 1 --svg again.svg -o again stars.npy chosen.csv
same again out "the same each time"
same again.svg map.svg "and the same map"
moe-knn galaxy --layer 1 --map pca --svg pca.svg -o again stars.npy chosen.csv
fails 1 "the other map is another picture" cmp -s pca.svg map.svg
fails 1 "a layer that is not in the trace" moe-knn galaxy --layer 2 stars.npy chosen.csv
says '^moe-knn: chosen.csv: no layer 2 \(--layer\)$' "is told"
floats 1 2 3 4 | npy '<f4' False '2, 2' >few.npy
fails 1 "fewer keys than experts" moe-knn galaxy --layer 1 few.npy chosen.csv
says '^moe-knn: chosen.csv: 5 experts in layer 1 \(expected at most 2\)$' "is told"
fails 1 "too many keys" moe-knn galaxy many.npy chosen.csv
says '^moe-knn: many.npy: 3000 keys \(expected at most 1024\)$' "is told"
fails 1 "a key without direction" moe-knn galaxy --cosine zero.npy chosen.csv
says '^moe-knn: zero.npy: vector 1 is zero' "is told"

# --- the keys of a router ---
head -c 3000 "$root/README" >text
moe-train --dim 16 --heads 2 --hidden 16 --seq 16 --experts 6 --steps 2 -o RUN text 2>err
moe-ckpt get RUN/ckpt.safetensors model.layers.1.mlp.gate.weight >gate.npy
moe-knn search -k 6 gate.npy gate.npy >want
moe-knn search -k 6 RUN/ckpt.safetensors:1 gate.npy >out
same out want "CKPT:LAYER is the layer's router"
moe-knn search -k 6 RUN/ckpt.safetensors:model.layers.1.mlp.gate.weight gate.npy >out
same out want "CKPT:NAME is any tensor"
fails 1 "a layer that is not there" moe-knn search RUN/ckpt.safetensors:7 gate.npy
says '^moe-knn: RUN/ckpt.safetensors: no tensor model.layers.7.mlp.gate.weight \(moe-ckpt ls' \
	"is told"
fails 1 "a tensor that is none of vectors" moe-knn search \
	RUN/ckpt.safetensors:model.norm.weight gate.npy
says 'model.norm.weight has 1 dimensions \(expected 2\)' "is told"
fails 1 "a checkpoint without a layer" moe-knn search RUN/ckpt.safetensors gate.npy
says 'a checkpoint \(expected RUN/ckpt.safetensors:LAYER\)' "is told"

# --- trace ---
moe-train --eval RUN/ckpt.safetensors --trace-csv want text
ok "trace" moe-knn trace --stats layers -o out RUN/ckpt.safetensors text
is "$(head -n 1 out)" step,seq,pos,token,layer,rank,expert,weight,text "its columns"
# --eval numbers windows by batch, of 16, and leaves out the last, which is not whole
awk -F, 'NR > 1 { print $1 * 16 + $2, $3, $4, $5, $6, $7, $8 }' want >want.rows
awk -F, 'NR > 1 { print $2, $3, $4, $5, $6, $7, $8 }' out | head -n "$(wc -l <want.rows)" >out.rows
same out.rows want.rows "the choices are those of moe-train --eval"
bytes=$(wc -c <text)
is "$(awk 'END { print NR }' out)" $((1 + bytes * 2 * 2)) "of every token, layer and rank"
is "$(head -n 1 layers)" "layer,tokens,entropy,token,token_raw,token_chance,form,form_raw,\
form_chance,context,context_raw,context_chance" "what each layer tells"
is "$(awk -F, 'NR > 1 { d = $4 - $5 + $6; e = $7 - $8 + $9; f = $10 - $11 + $12
	print $1, $2, $5 <= $3, $8 <= $5 + 1e-9, d * d + e * e + f * f < 1e-12 }' layers)" \
	"0 $bytes 1 1 1
1 $bytes 1 1 1" "no more than there is, of the form no more than of the token; less what is chance"
# The entropy of first choices, counted again.
is "$(awk -F, '$5 == 1 && $6 == 0 { n[$7]++; all++ }
	END { for (e in n) h -= n[e] / all * log(n[e] / all); printf "%.6f", h }' out)" \
	"$(awk -F, '$1 == 1 { printf "%.6f", $3 }' layers)" "the entropy"
printf 'a\\,"\351\n' | moe-knn trace RUN/ckpt.safetensors >out
is "$(sed -nE 's/^0,0,[0-9]+,[0-9]+,0,0,[0-9]+,[^,]+,//p' out | tr '\n' ' ')" \
	'a \x5C "," """" \xE9 \x0A ' "tokens as text"
moe-data bpe --vocab 300 -o t.bpe text
moe-data pack --bpe t.bpe -o text.tok text
moe-train --dim 16 --heads 2 --hidden 16 --seq 16 --steps 1 -o TOK text.tok
ok "with a table of tokens" moe-knn trace --bpe t.bpe --seq 5 -o out TOK/ckpt.safetensors text
is "$(awk -F, 'NR > 1 && $3 > most { most = $3 } END { print most }' out)" 4 "in windows of five"
is "$(awk -F, 'NR > 1 && $5 == 0 && $6 == 0 { print $4 }' out | wc -l)" \
	"$(moe-train --eval TOK/ckpt.safetensors --seq 1 text.tok |
		awk -F, 'NR == 2 { print $1 + 1 }')" "all tokens"
fails 1 "tokens without their table" moe-knn trace TOK/ckpt.safetensors text
says 'TOK/ckpt.safetensors: knows 300 tokens, not bytes \(expected --bpe TABLE\)' "are told"
fails 1 "no text" moe-knn trace RUN/ckpt.safetensors /dev/null
fails 1 "no checkpoint" moe-knn trace keys.npy text

# --- what is refused ---
bad() {
	fails 1 "$1" moe-knn search -k 2 "$2" "${4:-queries.npy}"
	says "^moe-knn: ${3}" "is told"
}
fails 1 "more neighbours than keys" moe-knn search -k 6 keys.npy queries.npy
says '^moe-knn: keys.npy: 5 keys \(expected at least -k 6\)$' "is told"
bad "another dimension" gate.npy 'queries.npy: 3 components \(expected 16, as in gate.npy\)$'
floats 1 0 0 0 nan 0 | npy '<f4' False '2, 3' >bad.npy
bad "a NaN among the keys" bad.npy 'bad.npy: vector 1, component 1: .*nan \(expected a finite'
bad "a NaN among the queries" keys.npy 'bad.npy: vector 1, component 1: ' bad.npy
floats 1 0 inf 0 0 0 | npy '<f4' False '2, 3' >bad.npy
bad "an infinity" bad.npy 'bad.npy: vector 0, component 2: inf \(expected a finite number\)$'
ok "a zero key" moe-knn search -k 2 zero.npy queries.npy
fails 1 "has no direction" moe-knn search -k 2 --cosine zero.npy queries.npy
says '^moe-knn: zero.npy: vector 1 is zero' "is told"
fails 1 "nor has a zero query" moe-knn search -k 2 --cosine keys.npy zero.npy
says '^moe-knn: zero.npy: vector 1 is zero' "is told"
perl -e 'binmode STDOUT; print pack "d<*", 1, 1e39, 3' | npy '<f8' False '1, 3' >bad.npy
bad "a float64 beyond float32" bad.npy 'bad.npy: row 0, column 1: 1e\+39 is out of range \(exp'
printf '\000\174\000\000\000\000' | npy '<f2' False '1, 3' >bad.npy
bad "an infinite float16" bad.npy 'bad.npy: vector 0, component 0: inf'
head -c 24 /dev/zero | npy '<i8' False '1, 3' >bad.npy
bad "whole numbers" bad.npy 'bad.npy: numbers of type i8 \(expected float32, float64 or float16\)$'
head -c 12 /dev/zero | npy '<f0' False '1, 3' >bad.npy
bad "numbers of no size" bad.npy 'bad.npy: numbers of type f0'
floats 1 2 3 | npy '<f4' False '3,' >bad.npy
bad "one dimension" bad.npy 'bad.npy: 1 dimensions \(expected 2'
: | npy '<f4' False '0, 3' >bad.npy
bad "no vectors" bad.npy 'bad.npy: shape 0x3: no numbers$'
floats 1 2 3 | npy '<f4' False '4611686018427387904, 4' >bad.npy
bad "a size beyond all memory" bad.npy 'bad.npy: 12 bytes of numbers \(expected 46116860'
floats 1 2 3 | npy '<f4' Maybe '1, 3' >bad.npy
bad "a bad header" bad.npy 'bad.npy: bad .npy header \(expected'
floats 1 2 3 | npy '<f4' False '1, 3' | sed '1s/NUMPY./NUMPY\x09/' >bad.npy
bad "an unknown version" bad.npy 'bad.npy: .npy version 9 \(expected 1 to 3\)$'
size=$(wc -c <keys.npy) cut=0 whole=
while [ "$cut" -lt "$size" ]; do
	head -c $cut keys.npy >cut.npy
	moe-knn search cut.npy queries.npy >out 2>err
	[ $? = 1 ] && grep -q '^moe-knn: cut.npy:' err || whole="$whole $cut"
	cut=$((cut + 1))
done
is "$whole" "" "a .npy cut anywhere is refused"
{ cat keys.npy; echo; } >bad.npy
bad "bytes behind the numbers" bad.npy 'bad.npy: 61 bytes of numbers \(expected 5 x 3 x 4\)$'
fails 1 "a CSV on the standard input" moe-knn search -k 1 - queries.npy <keys.csv
says '^moe-knn: standard input: not a .npy file$' "is told"
while read -r number script complaint; do
	sed "$script" keys.csv >bad.csv
	bad "bad CSV: $script" bad.csv "bad.csv:$number: .*$complaint"
done <<'END'
1 1d expected.the.names.of.the.columns
3 3s/2/two/ column.y.*two
3 3s/2/nan/ column.y.*nan
3 3s/2/1e39/ column.y.*finite
3 3s/,0$// fields
END
head -n 1 keys.csv >bad.csv
bad "a CSV without rows" bad.csv 'bad.csv: no vectors$'
fails 1 "no such file" moe-knn search nowhere.npy queries.npy
says '^moe-knn: nowhere.npy: No such file' "is told"

# --- usage, full disks ---
for words in '' 'finds' 'build' 'drift' 'build -k 2 a' 'drift --filter float a' \
	'search --approximate 2 a b' 'gravity' 'gravity a b c' 'gravity --delta 2 a' 'galaxy a' \
	'search' 'search keys.npy' 'search a b c' 'search -k 0 a b' \
	'search -k x a b' 'search --filter most a b' 'search --kernels mmx a b' '--nothing'; do
	fails 2 "wrong usage: $words" moe-knn $words </dev/null
	says '^moe-knn: .*\(.*\)$' "one line says so"
done
for words in '-h' 'search -k 5 keys.npy queries.npy' 'build keys.npy' 'drift -k 2 keys.npy' \
	'drift -k 2 keys.npy --timing /dev/full -o out' 'gravity -k 1 keys.npy queries.npy' \
	'galaxy --layer 1 stars.npy chosen.csv' \
	'galaxy --layer 1 --svg /dev/full -o out stars.npy chosen.csv' \
	'trace RUN/ckpt.safetensors text' \
	'trace --stats /dev/full -o out RUN/ckpt.safetensors text'; do
	fails 1 "full disk: $words" sh -c 'exec moe-knn $1 >/dev/full' sh "$words"
	says '^moe-knn: .*(No space left|write error)' "is noticed"
done
done_testing
