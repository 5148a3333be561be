#!/bin/sh
# moe-view --plot: figures of runs, of several, of tables from elsewhere, and of damaged ones.
. t/lib.sh
root=$PWD
cd "$T" || exit 1

# make_run DIR SEED FITNESS: 600 steps on two texts; expert 1 gives way to 4, a child of 0.
make_run() {
	mkdir -p "$1"
	printf 'lr 0.001\nseed %s\nfitness %s\nval-frac 0\nmade-of val <b>"law"&co@0 100 abcd\n' \
		"$2" "$3" >"$1/recipe"
	awk -v seed="$2" 'BEGIN {
		print "step,domain,tokens,loss,val_loss"
		for (i = 1; i <= 600; i++)
			printf "%d,%s,64,%.9g,%s\n", i, (i <= 300 ? "<b>\"law\"&co" : "code"),
				4 - i / 300 + seed / 10, (i % 100 ? "" : 5 - i / 200 - seed / 8)
	}' | sed 's/,<b>"law"&co,/,"<b>""law""\&co",/' >"$1/loss.csv"
	awk 'BEGIN {
		print "step,layer,slot,expert,parent,born,tier,demand,effective,usage,left"
		for (i = 100; i <= 600; i += 100)
			for (k = 0; k < 4; k++) {
				e = k % 2 ? k < 2 && i > 200 ? 4 : k : k
				printf "%d,%d,%d,%d,%d,%d,%d,%.9g,%.9g,0.5,%d\n", i, (k > 1), \
					k % 2, e, \
					(e == 4 ? 0 : -1), (e == 4 ? 200 : 0), k % 2,
					(k % 2 ? 0.25 : 0.75), i / 1000 + k / 100, 3 - k
			}
	}' >"$1/experts.csv"
	cat >"$1/events.csv" <<-'END'
		step,layer,slot,event,expert,parent,value,threshold,cause,left
		100,0,1,keep,1,,0.1,0.05,fit,0
		200,0,1,death,1,,0.1,0.2,replace,1
		200,0,1,birth,4,0,0.1,0.2,replace,0
		300,,,shift,,,,,code,0
	END
	{
		printf 'step,layer,balance,gini\n100,0,1.5,0.25\n100,1,1,0.5\n'
		printf '200,0,1.25,0.125\n200,1,1,0\n'
	} >"$1/layers.csv"
}
for seed in 1 2 3; do make_run "b$seed" $seed B; done
make_run a1 1 A

# numbers KIND RUN...: the figure's CSV
numbers() {
	local kind=$1
	shift
	moe-view --plot "$kind" --csv "$@"
}

# --- numbers: what is drawn is what the tables say ---
numbers loss b1 >out
is "$(head -n 1 out)" "panel,series,step,value,low,high,label" "columns of --csv"
awk -F, '/^[0-9]/ { b = int(($1 - 1) / 4); x[b] += $1 / 4; n = NF - 1; y[b] += $n / 4
		if (!(b in hi) || $n > hi[b]) hi[b] = $n
		if (!(b in lo) || $n < lo[b]) lo[b] = $n }
	END { for (b = 0; b < 150; b++)
		printf "%.6f %.6f %.6f %.6f\n", x[b], y[b], lo[b], hi[b] }' \
	b1/loss.csv >want
awk -F, '$2 == "training" { printf "%.6f %.6f %.6f %.6f\n", $3, $4, $5, $6 }' out >got
same got want "600 losses: mean, least and greatest of each 4"
grep validation out | sed 's/.*co",//' | cut -d, -f1,2 >got
awk -F, 'NR > 1 && $NF != "" { print $1 "," $NF }' b1/loss.csv >want
same got want "each validation as it stands"
numbers loss b3 b1 b2 | awk -F, '$2 == "training" {
	printf "%.6f %.6f\n", $4, ($6 - $5) / 2 }' >got
awk 'BEGIN { for (b = 0; b < 150; b++) printf "%.6f %.6f\n", 4.2 - (4 * b + 2.5) / 300, 0.1 }' >want
same got want "three seeds: their mean, and the standard deviation on each side"
is "$(numbers loss b1 b2 a1 | grep '^training' | cut -d, -f2 | uniq | tr '\n' ' ')" \
	"b (2 seeds) a1 " "another recipe is another group"
is "$(numbers experts b1 | grep '^layer 0,1,' | tr '\n' ' ')" \
	"layer 0,1,100,0.5,,, layer 0,1,200,0.5,,, " "load in fair shares, as long as it lives"
is "$(numbers experts b1 | grep '^layer 0,[04],[36]00' | cut -d, -f2-4 | tr '\n' ' ')" \
	"0,300,1.5 0,600,1.5 4,300,0.5 4,600,0.5 " "also of the newborn"
is "$(numbers fitness b1 | grep '^"layer 0.*expert 4' | sed 's/.*expert//' | cut -d, -f2,3 |
	tr '\n' ' ')" "300,0.31 400,0.41 500,0.51 600,0.61 " "effective fitness"
is "$(numbers fitness b1 | grep '^"layer 0.*threshold' | sed 's/.*hold,//' | tr '\n' ' ')" \
	"100,0.05,,, 200,0.2,,, " "and the threshold"
is "$(numbers family b1 | grep 'expert [14],')" \
	'layer 0,,200,1,0,600,"expert 4, layer 0, slot 1: born 200, replace, child of 0, lives"
layer 0,,0,2,,200,"expert 1, layer 0, slot 1: a founder, died 200, replace"' \
	"lives, parents, deaths"
is "$(numbers family b1 | grep -c '^layer')" 5 "a row for each life"
is "$(numbers events b1 | grep '^in each phase' | cut -d, -f3,4 | tr '\n' ' ')" \
	"150,1 450,0 " "a replacement counts once, in its phase"
is "$(numbers events b1 | grep '^by layer')" \
	'by layer,,200,0,,,"replaced, slot 1, expert 4: birth, replace"' "and stands at its layer"
is "$(numbers population b1 | grep -c '^living experts,layer [01],[1-6]00,2,')" 12 "the living"
is "$(numbers population b1 | grep ',births,' | cut -d, -f5 | tr -d '\n')" 011 "the born"
is "$(numbers tiers b1 | grep -c ',tier [01],[1-6]00,0.[27]5,')" 24 "tiers"
is "$(numbers routing b1 | grep '^Gini' | cut -d, -f2-4 | tr '\n' ' ')" \
	"layer 0,100,0.25 layer 0,200,0.125 layer 1,100,0.5 layer 1,200,0 " "layers"

printf 'step,layer,phi_diversity\n1,0,0.5\n2,0,0.25\n' >phi.csv
is "$(numbers routing phi.csv | sed 1d | cut -d, -f2-5 | tr '\n' ' ')" \
	' diversity",,1,0.5  diversity",,2,0.25 ' "Phi"

# --- SVG ---
for kind in loss events population experts fitness family tiers routing; do
	ok "$kind" moe-view --plot $kind -o $kind.svg b1
	ok "$kind of groups" moe-view --plot $kind -o $kind-2.svg b1 b2 a1
	moe-view --plot $kind -o again.svg b1
	same again.svg $kind.svg "$kind: the same bytes again"
	is "$(grep -c '<b>\|&co\|nan\|inf"' $kind.svg)" 0 "$kind: markup in names is escaped"
	if command -v python3 >/dev/null; then
		ok "$kind is XML" python3 -c 'import sys, xml.dom.minidom as x
for name in sys.argv[1:]: x.parse(name)' $kind.svg $kind-2.svg
	fi
done
ok "the name is there" grep -q '&lt;b&gt;&quot;law&quot;&amp;co</text>' loss.svg

# A curve read back from its picture: pixels to numbers.
numbers loss b1 | awk -F, '$2 == "training" { printf "%.1f %.2f\n", $3, $4 }' >want
tr '\n' ' ' <loss.svg | sed 's/.*data-x="\([^"]*\)".*class="panel" \(.*\)/\1 \2/
	s/data-box="\([^"]*\)" data-y="\([^"]*\)".*/\1 \2/' >axes
grep -o 'class="s0 line"[^>]* d="[^"]*"' \
	loss.svg | tail -n 1 | sed 's/.* d="M//; s/"//' | tr 'L' '\n' |
	awk 'NR == FNR { split($0, a, " "); next }
	{ printf "%.6f %.6f\n", a[1] + ($1 - a[3]) / a[5] * (a[2] - a[1]),
		a[8] - ($2 - a[4]) / a[6] * (a[8] - a[7]) }' axes - >got
is "$(paste got want | awk '{ dx = $1 - $3; dy = $2 - $4
	if (dx * dx > 0.05 || dy * dy > 0.0004) bad++ } END { print NR, bad + 0 }')" "150 0" \
	"the curve in the picture is the table's"

# --- characters ---
LC_ALL=C moe-view --plot loss b1 >out
is "$(LC_ALL=C grep -c '[^ -~]' out)" 0 "ASCII where the locale has no more"
is "$(awk 'length > 80' out)" "" "80 columns"
LC_ALL=C.UTF-8 COLUMNS=60 moe-view --plot loss b1 >out
ok "dots where it has" grep -q '⣀\|⠤\|⠉\|⠒' out
for kind in events population experts fitness family; do
	ok "$kind in characters" moe-view --plot $kind b1
done

# --- what is missing or damaged ---
fails 1 "a column that is not there" moe-view --plot vitality -o out b1
says 'moe-view: vitality: b1/experts.csv has nothing in the column vitality' "is told"
mkdir few
cut -d, -f1,4 b1/loss.csv | sed 's/,loss/,perplexity/' >few/loss.csv
fails 1 "losses without a loss" moe-view --plot loss -o out few
says 'few/loss.csv has nothing in the column loss' "are told"
fails 1 "a run without a census" moe-view --plot experts -o out few
says 'there is no few/experts.csv' "is told"
mkdir cut
head -c 1000 b1/loss.csv >cut/loss.csv
ok "a table cut within a line" moe-view --plot loss --csv -o out cut
says 'moe-view: cut/loss.csv: ends within a line, which is left out' "is told"
is "$(tail -n 1 out | cut -d, -f3,4)" \
	"$(tail -n 2 cut/loss.csv | head -n 1 | sed 's/"[^"]*"/x/' | cut -d, -f1,4)" \
	"and drawn up to there"
printf 'step,loss,domain\n1,5,a\n2,x,a\n1,3,a\n3,nan,a\n4,4,a\n5,1\n6,1,a\n' >odd.csv
ok "rows that cannot be read" moe-view --plot loss --csv -o out odd.csv
is "$(sed 1d out)" "loss (nats per token),training,1,5,,,
loss (nats per token),training,4,4,,," "are left out"
says 'odd.csv:3: column loss: "x" is not a number' "and told"
printf 'demand,layer,step\n0.75,0,1\n0.25,0,1\n0.5,0,2\n0.5,0,2\n' >plain.csv
is "$(numbers experts plain.csv | sed 1d | cut -d, -f2-4 | tr '\n' ' ')" \
	"0,1,1.5 0,2,1 1,1,0.5 1,2,1 " "a census of demand alone"
printf 'layer,step,expert,usage\n0,1,0,1\n1,1,0,1\n' >local.csv
is "$(numbers experts local.csv | sed 1d | cut -d, -f1-4 | tr '\n' ' ')" \
	"layer 0,0,1,1 layer 1,0,1,1 " "experts numbered by layer"
printf 'step,layer,slot,expert,parent,demand\n1,0,0,7,8,0.5\n1,0,1,8,7,0.5\n' >ring.csv
ok "parents that are each other's" moe-view --plot family -o out ring.csv
printf 'step,layer,demand\n1,0,1\n2,999999999,1\n' >far.csv
fails 1 "layers without end" moe-view --plot experts -o out far.csv
says 'layers are numbered with gaps' "are told"
: >empty.csv
fails 1 "an empty file" moe-view --plot loss empty.csv
fails 1 "no file" moe-view --plot loss nowhere
says 'nowhere: No such file' "is told"
mkdir bare
fails 1 "no run" moe-view --plot loss bare
says 'bare: no run directory' "is told"
printf 'a,b\n1,2\n' >other.csv
fails 1 "a table of something else" moe-view --plot loss other.csv
says 'other.csv: no table of a run' "is told"

# --- usage, full disks ---
for words in '' '--plot loss' '--plot lines b1' '--plot loss --width 3 b1' '--nothing'; do
	fails 2 "wrong usage: $words" moe-view $words
	says '^moe-view: .*\(.*\)$' "one line says so"
done
fails 1 "full disk" moe-view --plot loss -o /dev/full b1
says '^moe-view: /dev/full: No space left' "is noticed"
fails 1 "full disk behind a pipe" sh -c 'moe-view --plot loss b1 >/dev/full'
says '^moe-view: ' "is noticed"

# --- the manual's examples ---
cp -r b1 RUN
for i in 1 2 3; do cp -r b$i B2-$i; done
{
	sed -n 's/^\.Dl \$ //p' "$root/man/moe-view.1"
	sed -n '/^\.Bd/,/^\.Ed/s/^\$ //p' "$root/man/moe-view.1"
} | sed 's/\\e/\\/g' >examples
ok "examples" sh -e ./examples
done_testing
