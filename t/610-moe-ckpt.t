#!/bin/sh
# moe-ckpt: every command on small files made here, and on damaged ones.
. t/lib.sh
root=$PWD

# Lines `name dtype shape value...` (shape 2x3, - for a scalar) and `meta key value` on stdin become
# a safetensors file without CRCs on stdout.
cat >"$T/st.pl" <<'END'
my %pack = (F32 => "f<", F64 => "d<", I64 => "q<", I32 => "l<", U8 => "C", BF16 => "S<");
my ($head, $data, $meta) = ("", "", "");
while (<>) {
	chomp;
	if (/^meta (\S+) (.*)/) { $meta .= ($meta ? "," : "") . "\"$1\":\"$2\""; next }
	my ($name, $type, $shape, @v) = split;
	@v = map { $_ eq "nan" ? "nan" + 0 : $_ eq "inf" ? 9**9**9 : $_ } @v;
	my $bytes = pack "$pack{$type}*", @v;
	$shape = $shape eq "-" ? "" : join ",", split /x/, $shape;
	$head .= sprintf ',"%s":{"dtype":"%s","shape":[%s],"data_offsets":[%d,%d]}', $name, $type,
		$shape, length $data, length($data) + length $bytes;
	$data .= $bytes;
}
$head = "{\"__metadata__\":{$meta}$head}";
binmode STDOUT;
print pack("Q<", length $head), $head, $data;
END
st() {
	perl "$T/st.pl"
}
# The numbers of a .npy on stdin, on one line.
numbers() {
	perl -e 'local $/; binmode STDIN; $_ = <>; my $n = unpack "x8 v", $_;
		print join(" ", map { sprintf "%.9g", $_ } unpack "f<*", substr $_, 10 + $n), "\n"'
}

# --- ls, meta, get ---
cd "$T" || exit 1
cat >plain <<'END'
meta format pt
meta recipe dim 4\nlayers 1\n
meta step 7
a.weight F32 2x3 1 2.5 -3 0 5 6
optim.m.a.weight F32 2x3 0 0 0 0 0 0
b F32 - 0
"quoted,name" U8 3 1 2 3
half BF16 2 16256 49184
long I64 2 -1 9007199254740993
double F64 1 0.1
END
sed -i 's/^"quoted,name"/quoted,name/' plain
st <plain >plain.st
ok "convert makes a checkpoint of a file from elsewhere" moe-ckpt convert -o a.st plain.st
moe-ckpt ls a.st >out
cat >want <<END
name,dtype,shape,crc32
a.weight,F32,2x3,$(printf '\0\0\200\77\0\0\40\100\0\0\100\300\0\0\0\0\0\0\240\100\0\0\300\100' |
	gzip -c | tail -c 8 | od -An -tx4 -N4 | tr -d ' ')
optim.m.a.weight,F32,2x3,$(head -c 24 /dev/zero | gzip -c | tail -c 8 | od -An -tx4 -N4 | tr -d ' ')
b,F32,,2144df1c
"quoted,name",U8,3,$(printf '\1\2\3' | gzip -c | tail -c 8 | od -An -tx4 -N4 | tr -d ' ')
half,BF16,2,$(printf '\200\77\40\300' | gzip -c | tail -c 8 | od -An -tx4 -N4 | tr -d ' ')
long,I64,2,$(printf '\377\377\377\377\377\377\377\377\1\0\0\0\0\0\40\0' | gzip -c | tail -c 8 |
	od -An -tx4 -N4 | tr -d ' ')
double,F64,1,$(printf '\232\231\231\231\231\231\271\77' | gzip -c | tail -c 8 |
	od -An -tx4 -N4 | tr -d ' ')
END
same out want "ls lists names, types, shapes and the CRC-32s that gzip computes"
moe-ckpt ls - <plain.st >out
same out want "ls of standard input, without recorded CRCs, is the same"
moe-ckpt ls -o out a.st
same out want "ls -o writes to a file"
printf 'dim 4\nlayers 1\n' >want
moe-ckpt meta a.st recipe >out
same out want "meta KEY prints a text as it is"
is "$(moe-ckpt meta a.st step)" 7 "meta KEY ends a line"
moe-ckpt meta a.st >out
is "$(grep -c '"format": "moe 1"\|"step": "7"\|"recipe": "dim 4\\nlayers 1\\n"' out)" 3 \
	"meta prints all as JSON"
fails 1 "an absent key" moe-ckpt meta a.st nothing
says '^moe-ckpt: a.st: no metadata "nothing"$' "it is named"
is "$(moe-ckpt get a.st a.weight | numbers)" "1 2.5 -3 0 5 6" "get gives the numbers"
moe-ckpt get a.st a.weight | head -c 128 >out
{
	printf '\223NUMPY\1\0\166\0'
	printf "%-117s\n" "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"
} >want
same out want "get writes NumPy's header"
is "$(moe-ckpt get a.st b | head -c 128 | grep -ac "'shape': (), }")" 1 "a scalar's shape"
is "$(moe-ckpt get a.st half | head -c 128 | grep -ac "'<f4'.*'shape': (2,), }")" 1 \
	"a vector's shape"
is "$(moe-ckpt get a.st half | numbers)" "1 -2.5" "BF16 becomes float32"
is "$(moe-ckpt get a.st long | tail -c 16 | od -An -td8 | tr -s ' ')" " -1 9007199254740993" \
	"I64 stays exact"
fails 1 "an absent tensor" moe-ckpt get a.st nothing
says 'a.st: no tensor nothing' "it is named"

# --- diff ---
moe-ckpt diff a.st plain.st >out 2>err
is "$? $(cat out)" "0 name,difference,elements,max_abs,max_rel" "equal tensors: the header alone"
is "$(cat err)" "moe-ckpt: metadata format differs" "and a note on metadata"
sed -e 's/ 2.5 / 2.75 /; s/^b .*/b F32 1 0/; /^double/d; s/^long.*/long I32 2 -1 3/' \
	-e 's/^meta step/meta stop/; s/^half.*/half BF16 2 16256 32704/' plain >other
echo 'new F32 1 0' >>other
st <other | gzip -c >other.st.gz
fails 1 "different tensors" moe-ckpt diff -o out plain.st other.st.gz
says '^moe-ckpt: metadata step: only in A$' "metadata in one only"
says '^moe-ckpt: metadata stop: only in B$' "metadata in the other only"
cat >want <<'END'
name,difference,elements,max_abs,max_rel
a.weight,values,1,0.25,0.0909090909
b,shape,,,
half,values,1,nan,nan
long,dtype,1,9.00719925e+15,1
double,only-in-A,,,
new,only-in-B,,,
END
same out want "diff tells what differs and by how much"
printf 'x F32 3 0 1 inf\n' | st >zero.st
printf 'x F32 3 -0.0 1 3\n' | sed 's/ -0.0/ -1e-60/' | st >minus.st
moe-ckpt diff zero.st minus.st >out
is "$(tail -n 1 out)" "x,values,2,inf,inf" "-0 is not 0, and infinity is far from 3"

# --- check ---
ok "good files" moe-ckpt check a.st plain.st
is "$(cat err "$T/err" | grep -c good)" 0 "check is silent about them"
ok "check -v" moe-ckpt check -v a.st plain.st
says '^moe-ckpt: a.st: 7 tensors of 21 values, all finite; CRC-32s match$' "tells of CRCs"
says '^moe-ckpt: plain.st: .*; no CRC-32s recorded$' "and of none"
printf 'fine F32 2 1 2\nbad F32 2x2 1 nan inf 2\nworse F64 1 inf\nthird BF16 1 32704\n' | st >nan.st
fails 1 "NaN" moe-ckpt check nan.st a.st
says '^moe-ckpt: nan.st: tensor bad: 1 NaN and 1 infinite of 4 values, first at element 1' \
	"by name"
says 'tensor worse: 0 NaN and 1 infinite of 1' "every tensor"
says 'tensor third: 1 NaN' "of every type"
perl -e 'local $/; $_ = <>; substr($_, -3, 1) ^= "\1"; print' a.st >flipped.st
head -c -1 a.st >cut.st
fails 1 "damage" moe-ckpt check a.st flipped.st cut.st nowhere.st
says 'flipped.st: tensor double: CRC-32' "a flipped bit, by the tensor's name"
says 'cut.st: .*cut$' "a file cut short"
says 'nowhere.st: No such file' "a missing file"
for command in ls meta 'get flipped.st' 'diff a.st'; do
	set -- $command
	case $command in get*) set -- get flipped.st a.weight ;; *) set -- "$@" flipped.st ;; esac
	fails 1 "$1 refuses a damaged file" moe-ckpt "$@"
	says 'flipped.st: tensor double: CRC-32' "$1 says why"
done

# --- convert ---
ok "again" moe-ckpt convert -o b.st a.st
same a.st b.st "converting again changes nothing"
moe-ckpt convert - <a.st | cat >b.st
same a.st b.st "from a pipe to a pipe"
ok "in place" moe-ckpt convert -o b.st b.st
same a.st b.st "onto itself"
ok "gzip" moe-ckpt convert -o b.st.gz a.st
gzip -dc b.st.gz >b.st
same a.st b.st "-o FILE.gz is compressed"
ok "--no-optimizer" moe-ckpt convert --no-optimizer -o b.st a.st
is "$(moe-ckpt ls b.st | cut -d, -f1 | tr '\n' ' ')" 'name a.weight b "quoted half long double ' \
	"optim.* is gone"
ok "--bf16" moe-ckpt convert --bf16 -o b.st a.st
is "$(moe-ckpt ls b.st | grep -v quoted | cut -d, -f2 | tr '\n' ' ')" \
	"dtype BF16 BF16 BF16 BF16 I64 F64 " "float32 alone becomes BF16"
is "$(moe-ckpt get b.st a.weight | numbers)" "1 2.5 -3 0 5 6" "with the same values where they fit"
echo old >kept
fails 1 "a damaged input" moe-ckpt convert -o kept flipped.st
is "$(cat kept)" old "leaves the output as it was"
[ ! -e kept.tmp ] && pass "and nothing beside it" || fail "and nothing beside it" "no file" kept.tmp

# --- convert --hf ---
# model LAYERS EXPERTS PARTS ROUTED: tensors of ones, C 4, H 3, V 5
model() {
	perl -e 'my ($L, $E, $parts, $routed) = @ARGV;
	sub t { my ($n, @s) = @_; my $k = 1; $k *= $_ for @s;
		print "$n F32 ", join("x", @s), " 1" x $k, "\n"; }
	t("model.embed_tokens.weight", 5, 4);
	for my $l (0 .. $L - 1) {
		my $p = "model.layers.$l";
		t("$p.input_layernorm.weight", 4);
		t("$p.self_attn.${_}_proj.weight", /[kv]/ ? 2 : 4, 4) for qw(q k v o);
		t("$p.post_attention_layernorm.weight", 4);
		t("$p.mlp.gate.weight", $E, 4) if $routed;
		for my $e (0 .. $E - 1) {
			t("$p.mlp.experts.$e.${_}_proj.weight", /down/ ? (4, 3) : (3, 4))
				for split /,/, $parts;
		}
	}
	t("model.norm.weight", 4);
	t("optim.m.model.norm.weight", 4);
	t("census.0.sums", 3);' "$@"
}
recipe='meta recipe dim 4\nheads 2\nkv-heads 1\ntop-k 2\nseq 9\nrouter linear\nact'
{ printf "%s\n" "$recipe swiglu\\n"; model 2 3 gate,up,down 1; } | st >moe.st
ok "--hf" moe-ckpt convert --hf new/mixtral moe.st
for pair in '"model_type": "mixtral"' '"MixtralForCausalLM"' '"vocab_size": 5' '"hidden_size": 4' \
	'"intermediate_size": 3' '"num_hidden_layers": 2' '"num_attention_heads": 2' \
	'"num_key_value_heads": 1' '"num_local_experts": 3' '"num_experts_per_tok": 2' \
	'"hidden_act": "silu"' '"max_position_embeddings": 9' '"tie_word_embeddings": true' \
	'"torch_dtype": "float32"' '"rms_norm_eps": 1e-5' '"rope_theta": 10000.0'; do
	is "$(grep -cF -e "$pair" new/mixtral/config.json)" 1 "config.json has $pair"
done
is "$(moe-ckpt ls new/mixtral/model.safetensors | grep layers.1 | cut -d, -f1,3)" \
	"model.layers.1.input_layernorm.weight,4
model.layers.1.self_attn.q_proj.weight,4x4
model.layers.1.self_attn.k_proj.weight,2x4
model.layers.1.self_attn.v_proj.weight,2x4
model.layers.1.self_attn.o_proj.weight,4x4
model.layers.1.post_attention_layernorm.weight,4
model.layers.1.block_sparse_moe.gate.weight,3x4
$(for e in 0 1 2; do
	for w in w1,3x4 w2,4x3 w3,3x4; do
		echo "model.layers.1.block_sparse_moe.experts.$e.${w%,*}.weight,${w#*,}"
	done
done)" "tensors have Mixtral's names and shapes"
is "$(moe-ckpt ls new/mixtral/model.safetensors | grep -c 'optim\|census')" 0 \
	"no optimizer, no census"
is "$(moe-ckpt meta new/mixtral/model.safetensors | tr -d ' \n')" '{"format":"pt"}' \
	"metadata are what transformers wants"
{ printf "%s\n" "$recipe reglu\\n"; model 1 1 gate,up,down 0; } | st >dense.st
ok "--hf of a dense model" moe-ckpt convert --bf16 --hf llama dense.st
is "$(grep -c '"model_type": "llama"\|"hidden_act": "relu"\|"torch_dtype": "bfloat16"' \
	llama/config.json)" 3 "is a llama"
is "$(moe-ckpt ls llama/model.safetensors | grep mlp | cut -d, -f1-3)" \
	"model.layers.0.mlp.gate_proj.weight,BF16,3x4
model.layers.0.mlp.down_proj.weight,BF16,4x3
model.layers.0.mlp.up_proj.weight,BF16,3x4" "with llama's names"
{ printf "%s\n" "$recipe gelu\\n"; model 2 3 up,down 1; } | st >gelu.st
ok "--hf of another model" moe-ckpt convert --hf custom gelu.st
says 'model_type is "moe": .*: its experts are not gated$' "says why it is none of theirs"
is "$(grep -c '"model_type": "moe"\|"moe_recipe"\|"num_local_experts": 3' custom/config.json)" 3 \
	"and keeps its recipe"
is "$(moe-ckpt ls custom/model.safetensors | grep -c mlp.experts.2.up_proj)" 2 "and its names"
{ printf "%s\n" "$recipe swiglu\\n"; model 1 2 gate,up,down 1
	echo model.layers.0.mlp.experts.2.up_proj.weight F32 7x4 $(seq 28); } | st >ragged.st
ok "--hf of a ragged model" moe-ckpt convert --hf ragged ragged.st
says 'model_type is "moe"' "is none of theirs"
is "$(tr -d ' \n' <ragged/config.json | grep -c '"intermediate_size":\[3,3,7\]')" 1 \
	"and lists its widths"
{ printf "%s\n" "$recipe swiglu\\nrouter cosine\\n"; model 1 2 gate,up,down 1; } |
	sed 's/router linear.n//' | st >cosine.st
ok "--hf of a cosine router" moe-ckpt convert --hf cosine cosine.st
says 'its router is not linear' "is none of theirs"
fails 1 "--hf without a recipe" moe-ckpt convert --hf none zero.st
says 'zero.st: no recipe' "says so"
fails 1 "--hf of something else" moe-ckpt convert --hf none a.st
says 'a.st: not a language model' "says so"

# --- llama2.c: C 8, H 3, L 2, heads 2 and 1, V 5, T 3; values count from 0 in file order ---
make_bin() {
	perl -e 'my $v = shift; binmode STDOUT;
		my $n = 5*8 + 2*(8 + 64 + 32 + 32 + 64 + 8 + 3*24) + 8 + 3*4 + ($v < 0 ? 40 : 0);
		print pack("l<7", 8, 3, 2, 2, 1, $v, 3), pack("f<*", 0 .. $n - 1)' -- "$1"
}
make_bin 5 >tied.bin
make_bin -5 >untied
ok "a llama2.c model" moe-ckpt convert -o l.st tied.bin
ok "one with a head, by its content" moe-ckpt convert -o u.st untied
# range FROM N: N numbers
range() {
	seq -s ' ' "$1" $(($1 + $2 - 1))
}
# rows FIRST ROW...: rows of 8 of a matrix whose first value is FIRST
rows() {
	first=$1
	shift
	for row; do range $((first + 8 * row)) 8; done | tr '\n' ' ' | sed 's/ $//'
}
layer=model.layers.1
while read -r name shape from n; do
	is "$(moe-ckpt ls l.st | grep "^$name," | cut -d, -f2,3)" "F32,$shape" \
		"$name: type and shape"
	is "$(moe-ckpt get l.st "$name" | numbers)" "$(range $from $n)" "$name: values"
done <<END
model.embed_tokens.weight 5x8 0 40
$layer.input_layernorm.weight 8 48 8
$layer.self_attn.v_proj.weight 4x8 280 32
$layer.self_attn.o_proj.weight 8x8 376 64
$layer.post_attention_layernorm.weight 8 448 8
$layer.mlp.experts.0.gate_proj.weight 3x8 480 24
$layer.mlp.experts.0.down_proj.weight 8x3 528 24
$layer.mlp.experts.0.up_proj.weight 3x8 576 24
model.norm.weight 8 600 8
END
is "$(moe-ckpt get l.st $layer.self_attn.q_proj.weight | numbers)" \
	"$(rows 120 0 2 1 3 4 6 5 7)" "queries: pairs are split into halves of a head"
is "$(moe-ckpt get l.st $layer.self_attn.k_proj.weight | numbers)" \
	"$(rows 216 0 2 1 3)" "keys too"
is "$(moe-ckpt get u.st lm_head.weight | numbers)" "$(range 620 40)" \
	"an untied head follows the tables"
is "$(moe-ckpt ls l.st | grep -c 'lm_head\|mlp.gate.weight')" 0 \
	"a tied, dense one has no head, no router"
is "$(moe-ckpt meta l.st step)" 0 "it is at step 0"
cat >want <<'END'
task lm
vocab 5
dim 8
layers 2
heads 2
kv-heads 1
experts 1
top-k 1
hidden 3
act swiglu
router linear
dense 1
untied 0
seq 3
END
moe-ckpt meta l.st recipe >out
same out want "the recipe that rebuilds it"
is "$(moe-ckpt meta u.st recipe | grep untied)" "untied 1" "an untied one says so"
ok "upcycled" moe-ckpt convert --experts 3 --seed 5 -o e.st tied.bin
is "$(moe-ckpt meta e.st recipe | grep -c '^experts 3$\|^top-k 2$\|^dense 0$')" 3 \
	"the recipe of experts"
is "$(moe-ckpt ls e.st | grep layers.0.mlp.experts.*gate_proj | cut -d, -f4 | sort -u | wc -l)" 1 \
	"the experts are equal"
is "$(moe-ckpt ls e.st | grep -c 'mlp.experts.2.up_proj')" 2 "three in each layer"
is "$(moe-ckpt get e.st $layer.mlp.gate.weight | numbers | tr ' ' '\n' |
	awk '{ s += $1 * $1 } $1 > -.1 && $1 < .1 { n++ }
	END { print n, (s / NR > .0001 && s / NR < .001) ? "small" : s / NR }')" "24 small" \
	"the router's weights are small and normal"
moe-ckpt convert --experts 3 --seed 5 tied.bin | cat >e2.st
same e.st e2.st "the same seed gives the same bytes"
moe-ckpt convert --experts 3 --seed 6 -o e2.st tied.bin
is "$(moe-ckpt diff e.st e2.st | cut -d, -f1 | tr '\n' ' ')" \
	"name model.layers.0.mlp.gate.weight model.layers.1.mlp.gate.weight " \
	"another seed, another router and nothing else"
gzip -c tied.bin >z.bin.gz
ok "from gzip to BF16" moe-ckpt convert --bf16 -o z.st z.bin.gz
is "$(moe-ckpt ls z.st | cut -d, -f2 | sort -u | tr '\n' ' ')" "BF16 dtype " "all BF16"
wrong=
for n in $(seq 0 40) $(seq 100 97 $(($(wc -c <tied.bin) - 1))); do
	head -c "$n" tied.bin >cut.bin
	moe-ckpt convert -o no.st cut.bin 2>err
	[ $? = 1 ] && grep -q '^moe-ckpt: cut.bin: ' err || wrong="$wrong $n"
done
is "$wrong" "" "a llama2.c model cut anywhere is refused"
cat tied.bin tied.bin >long.bin
fails 1 "too long" moe-ckpt convert -o no.st long.bin
says 'long.bin: [0-9]* bytes \(expected' "is refused"
# header MESSAGE FIELD...
header() {
	says=$1
	shift
	perl -e 'print pack "l<7", @ARGV' -- "$@" >bad.bin
	head -c 9000 /dev/zero >>bad.bin
	fails 1 "header $*" moe-ckpt convert -o no.st bad.bin
	says "^moe-ckpt: bad.bin: .*$says" "says what is wrong"
}
header 'dim is 0' 0 3 2 2 1 5 3
header 'hidden_dim is -1' 8 -1 2 2 1 5 3
header 'n_layers is 2000000000' 8 3 2000000000 2 1 5 3
header 'n_heads is 9' 8 3 2 9 1 5 3
header 'n_kv_heads is 3' 8 3 2 2 3 5 3
header 'vocab_size is 0' 8 3 2 2 1 -2147483648 3
header 'seq_len is -3' 8 3 2 2 1 5 -3
header 'do not divide' 8 3 2 3 1 5 3
header 'do not divide' 8 3 2 8 1 5 3
header 'version 1 \(expected version 0\)' 1634415666 1 8 3 2 2 1
[ ! -e no.st ] && pass "no output was made" || fail "no output was made" "no file" no.st

# --- usage ---
for words in '' 'list a.st' 'ls' 'ls a.st b.st' 'diff a.st' 'check' '--nothing' 'ls --bf16 a.st' \
	'ls -v a.st' 'convert --experts 2 -o x a.st' 'convert --hf d -o x a.st' \
	'convert --hf d tied.bin' 'convert --top-k 3 --experts 2 -o x tied.bin' \
	'convert --seed 1 -o x tied.bin' 'convert --experts 0 -o x tied.bin'; do
	fails 2 "wrong usage: $words" moe-ckpt $words
	says '^moe-ckpt: .*\(.*\)$' "one line says so"
done
for words in '-h' '-V' 'ls a.st' 'meta a.st' 'get a.st b' 'diff a.st zero.st' 'convert a.st'; do
	fails 1 "full disk: $words" sh -c 'exec moe-ckpt $1 >/dev/full' sh "$words"
	says '^moe-ckpt: .*(No space left|write error)' "is noticed"
done

# --- the manual's examples ---
mkdir -p RUN OTHER
{ printf "%s\n" "$recipe swiglu\\n"; model 2 3 gate,up,down 1; } | st |
	moe-ckpt convert -o RUN/ckpt.safetensors -
cp RUN/ckpt.safetensors OTHER
cp tied.bin stories260K.bin
for page in moe-ckpt.1 moe-ckpt.5; do
	sed -n '/^\.Sh EXAMPLES/,/^\.Sh SEE/s/^\.Dl //p' "$root/man/$page"
done >examples
is "$(grep -c moe-ckpt examples)" 7 "the manual has examples"
while read -r line; do
	ok "example: $line" sh -c "$line"
done <examples
ok "their outputs are good" moe-ckpt check model.safetensors.gz exported/model.safetensors \
	upcycled.safetensors
done_testing
