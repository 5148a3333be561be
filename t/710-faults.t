#!/bin/sh
# moe-train: bad options, bad data, damaged checkpoints, full disks, closed pipes, numbers that
# overflow.  Each time one clear line, the right exit status, and nothing lost.
. t/lib.sh

train() {
	moe-train -j1 --dim 16 --layers 2 --heads 2 --experts 2 --hidden 16 --seq 16 --batch 4 "$@"
}
# refused STATUS PATTERN NAME COMMAND...: it exits so, with one line that matches and no output.
refused() {
	local want=$1 pattern=$2 name=$3 status=0 lines
	shift 3
	"$@" >"$T/out" 2>"$T/err" || status=$?
	lines=$(wc -l <"$T/err")
	if [ "$status $lines" = "$want 1" ] && ! [ -s "$T/out" ] &&
		grep -Eq -e "$pattern" "$T/err"; then
		pass "$name"
	else
		fail "$name" "exit status $want and one line that matches $pattern" \
			"$status, $lines lines, $(wc -c <"$T/out") bytes out: $(head "$T/err")"
	fi
}

cd "$T" || exit 1
words 8000 1 >a.txt
words 2000 2 >v.txt
head -c 16 a.txt >short.txt
: >empty.txt

# --- options ---
refused 2 'unknown option --stepz \(did you mean --steps\?\)' "a misspelt option" \
	train --stepz 3 -o r a.txt
refused 2 'unknown option --frobnicate' "an unknown option" train --frobnicate -o r a.txt
refused 2 'unknown option -x' "an unknown letter" train -x -o r a.txt
refused 2 'option --steps needs a value' "a missing value" train -o r a.txt --steps
for bad in 'steps 1.5' 'steps -1' 'steps 12x' 'batch 0' 'seq 0' 'lr nan' 'lr -1' 'lr 1e9' \
	'router best' 'act tanh' 'experts 4,,8' 'experts 0' 'hidden a' 'top-k 0' 'beta2 1' \
	'schedule never' 'val-frac 0.95' 'jobs 0' 'seed 1e3' 'vocab 1' 'ckpt-every 0' 'clip inf'; do
	refused 2 "^moe-train: option --${bad%% *}: " "--$bad" \
		train "--${bad%% *}" "${bad#* }" -o r a.txt
	echo "# a recipe
$bad" >bad.recipe
	refused 2 "^moe-train: bad.recipe:2: ${bad%% *}: " "a recipe with $bad" \
		train -c bad.recipe -o r a.txt
done
for bad in '--heads 3' '--top-k 3' '--dim 6' '--heads 2 --kv-heads 3' '--experts 2,2,2' \
	'--hidden 16,16,16' '--temperature 1:0' '--temperature 1:2:3:4' '--temperature x' \
	'--warmup 9 --steps 8' '--dense --router mlp' '--kernels sse9' '--trace-csv t.csv' \
	'--loss-csv x --experts-csv x'; do
	refused 2 '^moe-train: ' "$bad" train $bad -o r a.txt
done
printf 'steps 3\nfrob 3\n' >bad.recipe
refused 2 '^moe-train: bad.recipe:2: unknown option frob' "an unknown line" \
	train -c bad.recipe -o r a.txt
printf 'steps 3\n\nlayrs 3\n' >bad.recipe
refused 2 '^moe-train: bad.recipe:3: unknown option layrs \(did you mean layers\?\)' \
	"a misspelt line" train -c bad.recipe -o r a.txt
printf 'steps\n' >bad.recipe
refused 2 '^moe-train: bad.recipe:1: steps: a value is missing' "a line without a value" \
	train -c bad.recipe -o r a.txt
printf 'steps 3\0\n' >bad.recipe
refused 2 '^moe-train: bad.recipe: not a text' "a recipe that is no text" \
	train -c bad.recipe -o r a.txt
refused 1 '^moe-train: none.recipe: No such file' "a recipe that is not there" \
	train -c none.recipe -o r a.txt
refused 2 'expected -o RUN' "no directory" train a.txt
refused 2 'expected .NAME=.DATA' "no data" train -o r

# --- data ---
refused 1 '^moe-train: none.txt: No such file' "missing data" train -o r none.txt
refused 1 '^moe-train: empty.txt: is empty' "empty data" train -o r empty.txt
refused 1 '^moe-train: short.txt: 16 tokens to train on \(expected one window of 17' \
	"data of less than a window" train -o r short.txt
refused 1 '^moe-train: \.: Is a directory' "a directory" train -o r .
refused 1 '^moe-train: none.txt: No such file' "missing data to validate on" \
	train --val none.txt -o r a.txt
refused 1 '^moe-train: short.txt: 16 tokens to validate on \(expected at least 17' \
	"too little to validate on" train --val short.txt -o r a.txt
refused 1 '^moe-train: a.txt: [0-9]+ tokens to validate on' "too little held out" \
	train --val-frac 0.001 -o r a.txt
refused 1 'at which step does it take over' "two texts without a step" train -o r a.txt v.txt
refused 1 'step 3 does not come after step 5' "steps that do not rise" \
	train -o r a.txt v.txt@5 a.txt@3
refused 1 '^moe-train: cut.gz: gzip stream cut short' "a gzip stream cut short" \
	sh -c 'gzip -c a.txt | head -c 500 >cut.gz; moe-train --steps 1 -o r cut.gz'
printf 'moe-tokens 1 vocab 300' >cut.tok
refused 1 '^moe-train: cut.tok: packed tokens cut in their header' "a cut pack" train -o r cut.tok
refused 1 '^moe-train: --vocab 100 \(expected at least the data.s 256' "a vocabulary too small" \
	train --vocab 100 -o r a.txt
refused 1 '^moe-train: a.txt(/r)?: (Not a directory|File exists)' "a directory under a file" \
	train -o a.txt/r a.txt
is "$(ls -d r 2>&1 | grep -c 'No such')" 1 "none of these has begun a run"

# --- damaged checkpoints ---
train --steps 4 --schedule constant -o run a.txt
model=run/ckpt.safetensors
# edit OUT CODE: the model as a file from elsewhere, without CRCs, its $head and $data changed.
# at(NAME) is where a tensor's data begin.
cat >edit.pl <<'END'
sub at { $head =~ /"\Q$_[0]\E":\{[^}]*"data_offsets":\[(\d+)/ or die "no $_[0]"; $1 }
sub crc32 {
	my $c = 0xffffffff;
	for my $b (unpack "C*", $_[0]) {
		$c ^= $b;
		$c = $c & 1 ? $c >> 1 ^ 0xedb88320 : $c >> 1 for 1 .. 8;
	}
	$c ^ 0xffffffff
}
# Give the header its CRC again.
sub sign {
	$head =~ s/"header_crc32":"\w{8}"/"header_crc32":"00000000"/;
	my $crc = sprintf "%08x", crc32($head);
	$head =~ s/"header_crc32":"00000000"/"header_crc32":"$crc"/;
}
my ($in, $out, $code) = @ARGV;
open my $f, "<:raw", $in or die; local $/; $_ = <$f>;
my $n = unpack "Q<", $_;
our ($head, $data) = (substr($_, 8, $n), substr $_, 8 + $n);
if ($code !~ /sign/) {
	$head =~ s/"header_crc32":"\w{8}","format":"moe 1",//;
	$head =~ s/,"crc32":"[^"]*"//;
}
eval $code; die $@ if $@;
open $f, ">:raw", $out or die;
print $f pack("Q<", length $head), $head, $data;
END
edit() {
	perl edit.pl run/ckpt.safetensors "$1" "$2"
}
# all NAME PATTERN: bad.st is refused by everything that reads it, and nothing else changes.
all() {
	used "$@"
	resumed "$@"
	taken "$@"
}
used() {
	refused 1 "^moe-train: bad.st: $2" "--eval: $1" moe-train --eval bad.st v.txt
	printf w | refused 1 "^moe-train: bad.st: $2" "--sample: $1" moe-train --sample bad.st
}
resumed() {
	rm -rf there before
	cp -r run there
	cp bad.st there/ckpt.safetensors
	cp -r there before
	refused 1 "^moe-train: there/ckpt.safetensors: $2" "resume: $1" \
		train --steps 8 --schedule constant -o there a.txt
	same_run there before "resume: $1: nothing is touched"
}
taken() {
	rm -rf from
	refused 1 "^moe-train: bad.st: $2" "--resume-from: $1" \
		train --steps 8 --schedule constant --resume-from bad.st -o from a.txt
	is "$(ls from)" "" "--resume-from: $1: nothing is begun"
}
edit bad.st ''
ok "a checkpoint from elsewhere" moe-train --eval bad.st v.txt

up=model.layers.1.mlp.experts.1.up_proj.weight
edit bad.st 'substr($data, at("'$up'") + 8, 4) = pack "V", 0x7fc00000'
all "a NaN" "tensor $up holds a value that is not finite"
edit bad.st 'substr($data, at("model.norm.weight"), 4) = pack "V", 0xff800000'
all "an infinity" "tensor model.norm.weight holds a value that is not finite"
edit bad.st '$head =~ s/"'$up'"/"model.layers.1.mlp.experts.1.sideways"/'
all "a missing tensor" "tensor $up is missing"
more='my $n = length $data; my $m = $n + 4;
	$head =~ s/\} *$/,"$name":{"dtype":"F32","shape":[1],"data_offsets":[$n,$m]}}/;
	$data .= "\0\0\0\0"'
for name in model.layers.1.mlp.experts.2.up_proj.weight model.layers.2.input_layernorm.weight bias \
	optim.m.model.extra optim.m.bias census.2.sums census.0.other; do
	edit bad.st "\$name = '$name'; $more"
	all "an extra tensor $name" "tensor $name is not part of the model that the recipe gives"
done
edit bad.st '$head =~ s/("'$up'":\{"dtype":"F32","shape":\[)16,16/${1}8,32/'
all "a misshapen tensor" "tensor $up is misshapen \(expected 16 by 16\)"
edit bad.st '$head =~ s/("model.norm.weight":\{"dtype":"F32","shape":\[)16/${1}4,4/'
all "a vector as a matrix" "tensor model.norm.weight is misshapen \(expected 16 values\)"
edit bad.st '$head =~ s/("'$up'":\{"dtype":")F32/${1}I32/'
all "integers" "tensor $up is I32 \(expected floating point\)"
edit bad.st '$head =~ s/"recipe":"[^"]*",//'
used "no recipe" "no recipe in its metadata"
resumed "no recipe" "no recipe in its metadata"
edit bad.st '$head =~ s/dim 16/dim 99999/'
refused 1 '^moe-train: bad.st:3: dim: ' "a recipe with a line out of range" \
	moe-train --eval bad.st v.txt
edit bad.st '$head =~ s/dim 16/dim 32768/; $head =~ s/layers 2/layers 900/'
refused 1 '^moe-train: bad.st: too small for the model' "a recipe of a huge model" \
	moe-train --eval bad.st v.txt
edit bad.st '$head =~ s/heads 2/heads 3/'
refused 1 '^moe-train: bad.st: width 16 is not a multiple of 3 heads' "an impossible recipe" \
	moe-train --eval bad.st v.txt
edit bad.st '$head =~ s/"ledger":"(.*?)1,1,3,/"ledger":"${1}1,2,3,/'
all "a ledger of another model" "a line of the ledger makes no sense: 1,2,3"
edit bad.st '$head =~ s/\\n1,1,3,-1,0,16,0,0,1,0,0,-1//'
all "a ledger that is short" "layer 1 has fewer experts than a token uses|is not part of the model"
edit bad.st '$head =~ s/\\n1,1,3,-1,0,16,0,0,1,0,0,-1/\\n1,1,3,-1,0,16,0,0,1,0,0,0/'
all "half a pair of twins" "the ledger names slot 0 of layer 1 a twin of slot 1, but not"
edit bad.st '$head =~ s/\\n1,1,3,-1,0,16,0,0,1,/\\n1,1,3,-1,0,16,0,0,nan,/'
all "an energy that is none" "a line of the ledger makes no sense: 1,1,3"
edit bad.st '$head =~ s/"step":"4"/"step":"x"/'
resumed "no step" "no step in its metadata"
taken "no step" "no step in its metadata"

m=optim.m.$up
edit bad.st 'substr($data, at("'$m'"), 4) = pack "V", 0x7fc00000'
resumed "a NaN in a moment" "tensor $m holds a value that is not finite"
taken "a NaN in a moment" "tensor $m holds a value that is not finite"
edit bad.st '$head =~ s/"'$m'"/"optim.v.sideways"/'
resumed "a missing moment" "tensor $m is missing"
taken "a missing moment" "tensor $m is missing"
edit bad.st 'substr($data, at("census.1.layer") + 24, 8) = pack "d<", 9**9**9'
rm -rf there
cp -r run there
cp bad.st there/ckpt.safetensors
refused 1 'ckpt.safetensors: the census of layer 1 holds a value that is not finite' \
	"an infinity in the census" train --steps 8 --schedule constant -o there a.txt
edit bad.st '$head =~ s/"census.0.sums"/"census.0.sum"/; $head =~ s/"files":"[^"]*"/"f":""/'
cp bad.st there/ckpt.safetensors
refused 1 'does not say how far the CSV files had been written' "no marks" \
	train --steps 8 --schedule constant -o there a.txt

edit bad.st '$head =~ s/"format":"moe 1"/"format":"moe 9"/; sign()'
all "another version" '.*"?moe 9"?'
edit bad.st 'sign(); $head = $head'
ok "a header signed again" moe-train --eval bad.st v.txt
printf '\377\377\377\377\377\377\377\177' >bad.st
tail -c +9 $model >>bad.st
all "an absurd header length" ".*header"
: >bad.st
all "an empty checkpoint" ""
head -c 7 $model >bad.st
all "seven bytes" ""
cp a.txt bad.st
all "a text" ".*header"

size=$(wc -c <$model)
for i in $(seq 1 40); do
	head -c $((size * i / 41)) $model >bad.st
	refused 1 '^moe-train: bad.st: ' "cut to $i / 41" moe-train --eval bad.st v.txt
done
head -c $((size - 1)) $model >bad.st
all "cut by a byte" ""
{ cat $model; echo; } >bad.st
all "longer by a byte" ""
for i in $(seq 1 40); do
	perl -e 'local $/; binmode STDIN; binmode STDOUT; $_ = <STDIN>;
		substr($_, $ARGV[0], 1) ^= chr(1 << $ARGV[0] % 8); print' $((size * i / 41)) \
		<$model >bad.st
	refused 1 '^moe-train: bad.st: ' "a bit flipped at $i / 41" moe-train --eval bad.st v.txt
done
all "a flipped bit" ".*CRC-32"
refused 1 '^moe-train: none: No such file' "no checkpoint" moe-train --eval none v.txt
refused 1 '^moe-train: none.txt: No such file' "no data" moe-train --eval $model none.txt
refused 1 '^moe-train: empty.txt: is empty' "empty data" moe-train --eval $model empty.txt
refused 1 '^moe-train: short.txt: no window of 16 tokens' "short data" \
	moe-train --eval $model short.txt

# --- a disk that is full ---
# A limit on the size of files, below that of the checkpoint; as a block is 512 bytes or 1024.
train --steps 8 --schedule constant -o whole a.txt
cp -r run full
refused 1 '^moe-train: full/ckpt.safetensors: File too large' "a file size limit" \
	sh -c 'ulimit -f 50; shift 0; exec moe-train "$@"' sh -j1 --dim 16 --layers 2 --heads 2 \
	--experts 2 --hidden 16 --seq 16 --batch 4 --steps 8 --schedule constant -o full a.txt
same full/ckpt.safetensors $model "the old checkpoint is intact"
is "$(ls full | grep -c tmp)" 0 "no part of a new one stays"
ok "it goes on" train --steps 8 --schedule constant -o full a.txt
same_run full whole "to the same bytes"

mkdir disk
if mount -t tmpfs -o size=$((size * 3 / 2)) tmpfs disk 2>/dev/null; then
	trap 'umount "$T/disk"; rm -rf "$T"' EXIT
	refused 1 '^moe-train: disk/run/ckpt.safetensors: No space left on device' "a full disk" \
		train --steps 8 --schedule constant -o disk/run a.txt
	is "$(moe-ckpt meta disk/run/ckpt.safetensors step)" 0 "the old checkpoint is intact"
	cp -r disk/run moved
	ok "moved to a larger one it goes on" train --steps 8 --schedule constant -o moved a.txt
	same_run moved whole "to the same bytes"
	rm -rf disk/run
	refused 1 '^moe-train: disk/t.csv: No space left on device' "no room for the trace" \
		moe-train --eval $model --trace-csv disk/t.csv a.txt
	umount disk
	trap 'rm -rf "$T"' EXIT
fi
for csv in loss experts events layers; do
	rm -rf r
	refused 1 '^moe-train: /dev/full: No space left on device' "--$csv-csv on a full disk" \
		train --steps 3 --census-every 2 --$csv-csv /dev/full -o r a.txt
done
rm -rf r
refused 1 '^moe-train: /dev/full: No space' "--timing on a full disk" \
	train --steps 3 --timing /dev/full -o r a.txt
ok "it goes on elsewhere" train --steps 3 --timing time.csv -o r a.txt

# --- stdout ---
closed() {
	local name=$1
	shift
	printf w1 >in
	fails 1 "$name: stdout full" sh -c 'exec "$@" <in >/dev/full' sh "$@"
	is "$(cat err)" "moe-train: standard output: write error" "$name: one line says so"
	fails 1 "$name: stdout closed" sh -c 'exec "$@" <in >&-' sh "$@"
	is "$(cat err)" "moe-train: standard output: write error" "$name: one line says so"
}
closed --eval moe-train --eval $model v.txt
closed --sample moe-train --sample $model
closed --help moe-train -h
closed --version moe-train -V
closed --dry-run moe-train --dry-run
refused 1 '^moe-train: standard output: ' "the loss to a full stdout" \
	sh -c 'moe-train --steps 2 --dim 16 --heads 1 --loss-csv - -o r2 a.txt >/dev/full'
printf w1 | moe-train --sample $model --tokens 20000 2>err | head -c 5 >five
is "$(wc -c <five)" 5 "--sample into head"
is "$(wc -l <err)" 0 "ends without a word"
train --steps 3000 --batch 1 --seq 4 --loss-csv - -o headed a.txt 2>err | head -n 2 >two
is "$(grep -c . two)" 2 "the loss into head"
is "$(cat err)" "moe-train: standard output: Broken pipe" "is an error that is told"

# --- numbers that overflow ---
# Weights that are finite and too large, in the second expert of the second layer.
edit big.st 'my $a = at("'$up'"); substr($data, $a, 1024) = pack("f<", 3e38) x 256'
refused 1 '^moe-train: step 5: the loss is not finite, layer 1, expert 3; the checkpoint before' \
	"a loss that overflows" train --steps 8 --resume-from big.st -o big a.txt
is "$(moe-ckpt meta big/ckpt.safetensors step)" 4 "the last good checkpoint is kept"
ok "whole" moe-ckpt check big/ckpt.safetensors
refused 1 'step 5: the loss is not finite, layer 1, expert 3' "and again when resumed" \
	train --steps 8 --resume-from big.st -o big a.txt
refused 1 '^moe-train: v.txt: the loss is not finite' "--eval does not print it" \
	moe-train --eval big.st v.txt
# Finite up to its activation: only the output overflows, whichever choice of a token it is.
edit big.st 'my $a = at("'$up'"), $b = at("'${up%up_proj.weight}down_proj.weight'");
	substr($data, $a, 1024) = pack("f<", 1e4) x 256;
	substr($data, $b, 1024) = pack("f<", 3e38) x 256'
rm -rf big
refused 1 '^moe-train: step 5: the loss is not finite, layer 1, expert 3; the checkpoint before' \
	"an output that overflows" train --steps 8 --resume-from big.st -o big a.txt
# An expert that is never chosen, whose weights the decay alone drives out of range.
edit big.st '$name = "model.layers.1.mlp.gate.e_score_correction_bias"; '"$more"';
	$head =~ s/("$name".*?"shape":\[)1\](.*?,)(\d+)\]/"${1}2]$2" . ($3 + 4) . "]"/e;
	$data .= pack "f<", -100; my $a = at("'$up'");
	substr($data, $a, 1024) = pack("f<", 1e38) x 256'
rm -rf big
refused 1 "^moe-train: step 5: $up is not finite, layer 1, expert 3; the checkpoint before" \
	"a weight that overflows" train --top-k 1 --steps 8 --lr 10 --wd 10 --ckpt-every 1 \
	--resume-from big.st -o big a.txt
is "$(moe-ckpt meta big/ckpt.safetensors step)" 4 "the last good checkpoint is kept"
# A run that diverges by itself.
refused 1 '^moe-train: step [0-9]+: the .* is not finite.*; the checkpoint before it is kept$' \
	"a run that diverges" train --steps 2000 --lr 10 --wd 10 --clip 0 --schedule constant \
	--ckpt-every 1 -o wild a.txt
ok "its last checkpoint is good" moe-train --sample wild/ckpt.safetensors --tokens 0 <in

# --- tables in the place of their input, and half made ---
ok "a census to value" train --steps 4 --census-every 2 -o valued a.txt
moe-market fitness -o want.csv valued/experts.csv
cp valued/experts.csv e.csv
ok "onto the census itself" moe-market fitness -o e.csv e.csv
same e.csv want.csv "it is the same table"
cp a.txt t.txt
moe-knn trace -o want.csv valued/ckpt.safetensors a.txt
ok "onto the text that it reads" timeout 60 moe-knn trace -o t.txt valued/ckpt.safetensors t.txt
same t.txt want.csv "it is the same table"
cp valued/ckpt.safetensors c.st
ok "onto the checkpoint" moe-ckpt ls -o c.st c.st
moe-ckpt ls valued/ckpt.safetensors | same - c.st "it is the same list"
{
	cat valued/experts.csv
	echo 4,1
} >cut.csv
echo old >kept.csv
refused 1 'fields .expected' "a table whose input is cut short" \
	moe-market fitness -o kept.csv cut.csv
is "$(cat kept.csv)" old "leaves the old one"

# --- directories ---
mkfifo pipe
train --steps 2 --experts-csv pipe -o shared a.txt &
pid=$!
until [ -d shared ] && ! flock -n shared true; do :; done
refused 1 '^moe-train: shared: another moe-train is at work there' "two runs in one directory" \
	train --steps 2 -o shared a.txt
cat pipe >experts.csv
wait $pid
is "$(moe-ckpt meta shared/ckpt.safetensors step)" 2 "the first is not disturbed"

# As root nothing is read-only: become nobody.
mkdir locked
chmod 555 locked
cp a.txt secret.txt
chmod 000 secret.txt
nobody=
if [ "$(id -u)" = 0 ]; then
	chmod 755 "$T"
	nobody="setpriv --reuid=65534 --regid=65534 --clear-groups"
fi
if $nobody sh -c 'moe-train -V && ! test -w locked && ! test -r secret.txt' 2>/dev/null; then
	refused 1 '^moe-train: locked/.*: Permission denied' "a read-only directory" \
		$nobody moe-train --dim 16 --heads 1 --steps 2 -o locked a.txt
	refused 1 '^moe-train: locked/run: Permission denied' "no directory can be made" \
		$nobody moe-train --dim 16 --heads 1 --steps 2 -o locked/run a.txt
	refused 1 '^moe-train: secret.txt: Permission denied' "unreadable data" \
		$nobody moe-train --steps 2 -o locked secret.txt
fi
done_testing
