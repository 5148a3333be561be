#!/bin/sh
# moe-shift: plans, streams, recovery and what experts keep.
. t/lib.sh

man=$PWD/man/moe-shift.1 market=$PWD/testdata/market
cd "$T" || exit 1

# --- score: the published table ---

moe-shift score --level 1.15 --hold 1 "$market/loss.csv" >published 2>err
is "$(head -n 1 published | cut -d, -f1-8)" \
	run,metric,shift_step,level,recovered_at,steps,scratch_steps,speedup "the columns"
is "$(values published run)" "B2c C2c mean sd" "two runs, their mean and deviation"
is "$(values published steps)" "150 100 125 35.3553391" "the published steps to recover"
is "$(values published shift_step)" "3000 3000 3000 0" "the shift at its mark"
is "$(values "$market/recovery.csv" steps)" "150 100" "as the table of results has them"
is "$(cat err)" "" "nothing to complain of"
moe-shift score --level 1.15 --hold 2,3 "$market/loss.csv" >held 2>err
is "$(sed 4q held | values - steps)" "150 150 200" "held for two rows and three"
is "$(values held recovered | cut -d' ' -f4)" 0 "the second has no three rows left"
grep -q 'C2c, shift at step 3000: the loss 1.15 is not reached for 3 rows' err
is $? 0 "and that is said"
is "$(sed -n '/C2c.*,3,1,1,0$/p' held | cut -d, -f5-8)" ",,," "with nothing in its place"

# From scratch: a curve that is at 1.15 after the published numbers of steps.
for run in B2c,1350 C2c,1150; do
	printf '%s,0,9\n%s,%d,1.16\n%s,%d,1.15\n' ${run%,*} ${run%,*} $((${run#*,} - 1)) \
		${run%,*} ${run#*,}
done | (echo run,step,loss; cat) >scratch.csv
moe-shift score --level 1.15 --scratch scratch.csv "$market/loss.csv" >published 2>err
is "$(values published scratch_steps)" "1350 1150 1250 141.421356" "steps from scratch"
is "$(values published speedup)" "9 11.5 10.25 1.76776695" "the published speedups"

# --- score: runs ---

# Loss 2 falls by 1/8 a step, jumps to 3 at step 20, and to 2.5 at step 40 on the return.
awk 'BEGIN { print "step,domain,loss,val_loss"
	for (i = 1; i <= 60; i++) {
		phase = int((i - 1) / 20); k = (i - 1) % 20
		loss = (phase == 0 ? 2 : phase == 1 ? 3 : 2.5) - k / 8 * (phase == 2 ? 2 : 1)
		printf "%d,%s,%.9g,%s\n", i, phase == 1 ? "code" : "prose", loss,
			i % 5 ? "" : loss } }' >loss.csv
moe-shift score loss.csv >own 2>err
is "$(values own shift_step)" "20 40" "every shift by default"
is "$(values own level)" "-0.375 0.625" "the level before each"
is "$(values own recovered_at)" " 49" "the first is not reached, the second is"
is "$(values own steps)" " 9" "after nine steps"
is "$(values own spike)" "3.375 1.875" "the height of the spikes"
moe-shift score --level left --shift last --scratch-self loss.csv >own 2>err
is "$(values own level) $(values own recovered_at)" "-0.375 53" "the level at which prose was left"
is "$(values own steps) $(values own scratch_steps)" "13 20" "against the first time"
is "$(values own speedup)" 1.53846154 "its speedup"
moe-shift score --level 1 --scratch-self loss.csv >own 2>err
is "$(values own scratch_steps)" " 9" "a new domain has no first time to compare with"
moe-shift score --metric val_loss --shift 40 loss.csv >own 2>err
is "$(values own level) $(values own recovered_at)" "0.625 50" "a metric with empty fields"
moe-shift score --smooth 4 --shift 20 --level 2.5 loss.csv >own 2>err
is "$(values own recovered_at) $(values own before)" "27 -0.1875" "smoothed values"
moe-shift score --shift 30 --level 2 loss.csv >own 2>err
is "$(values own shift_step) $(values own recovered_at)" "30 31" "a shift that is given"
grep -q 'already at or below the level' err
is $? 0 "a level above the start is told"
cut -d, -f1,3 loss.csv >plain.csv
moe-shift score --shift 20 --shift 40 plain.csv >own 2>err
is "$(values own recovered_at)" " 49" "without domains, where the options say"
cut -d, -f1,3 loss.csv | sed 's/,/,\r,/;s/\r,//;s/$/\r/' >crlf.csv
moe-shift score --shift 40 crlf.csv >own2 2>err
is "$(values own2 recovered_at)" 49 "CRLF"
mkdir dir
cp plain.csv dir/loss.csv
printf 'step,event,cause\n20,shift,code\n25,birth,\n40,shift,prose\n60,shift,a\n' >dir/events.csv
moe-shift score dir/ loss.csv >both 2>err
is "$(values both run)" "dir dir loss.csv loss.csv mean sd mean sd" "a directory and a table"
is "$(values both recovered_at)" " 49  49   49 0" "shifts by the directory's events"
is "$(sed -n '/^mean/p' both | cut -d, -f17,18 | tr '\n' ' ')" "2,0 2,2 " "runs that recovered"
moe-shift score --shift last - <loss.csv >own 2>err
is "$(values own recovered_at)" 49 "standard input"
awk -F, 'NR == 1 || $1 % 7 == 0' loss.csv >sparse.csv
moe-shift score --level 2 sparse.csv >own 2>err
grep -q 'between 14 and 20' err
is $? 0 "a shift in doubt is told"
moe-shift score --level 2 --shift 20 --shift 40 sparse.csv >own 2>err
is "$(values own steps)" "15 9" "and settled by an option"

# --- score: what is wrong ---

fails 1 "no shift" moe-shift score plain.csv
says 'no shift.*--shift' "says what was expected"
fails 1 "no such metric" moe-shift score --metric acc loss.csv
says 'loss.csv: no column "acc"' "is named"
fails 1 "a shift after the end" moe-shift score --shift 99 loss.csv
sed 's/^30,.*/30,code,nan,/' loss.csv >bad.csv
fails 1 "a loss that is no number" moe-shift score -o out bad.csv
says 'bad.csv:31: loss is nan' "is told by file and line"
ok "and no output is left" test ! -e out
sed 's/^30,/29,/' loss.csv >bad.csv
fails 1 "a step twice" moe-shift score bad.csv
says 'bad.csv:31: step 29 after step 29' "is told by file and line"
head -c 200 loss.csv >bad.csv
fails 1 "a table cut short" moe-shift score bad.csv
fails 1 "no such file" moe-shift score none.csv
mkdir empty
fails 1 "a directory without losses" moe-shift score empty
fails 2 "a level that is none" moe-shift score --level low loss.csv
fails 2 "shifts that fall" moe-shift score --shift 40 --shift 20 loss.csv
fails 2 "a shift that is none" moe-shift score --shift x loss.csv
fails 2 "two ways to compare" moe-shift score --scratch a --scratch-self loss.csv
fails 2 "two from scratch for one" moe-shift score --scratch plain.csv --scratch plain.csv loss.csv
fails 1 "from scratch without the domain" moe-shift score --scratch loss.csv --metric loss \
	--level 1 "$market/loss.csv"
fails 2 "hold for no row" moe-shift score --hold 0 loss.csv
fails 2 "an option of another command" moe-shift score --cycles 2 loss.csv
fails 2 "no operand" moe-shift score
fails 1 "a full disk" moe-shift score -o /dev/full loss.csv
fails 1 "standard output full" sh -c 'moe-shift score loss.csv >/dev/full'

# --- plan ---

is "$(moe-shift plan a.txt b.txt | tr '\n' ' ')" "a.txt@0 b.txt@1500 a.txt@3000 " "there and back"
is "$(moe-shift plan --format recipe a=x\ y b --warmup 500 | tr '\n' ' ')" \
	"steps 5000 data a=x y@0 data b@2000 data a=x y@3500 " "a recipe"
is "$(moe-shift plan --format csv --cycles 2 --order zigzag --period 10 --no-return a b c |
	values - data)" "a b c b a b c b" "back and forth, without return"
is "$(moe-shift plan --order random --seed 7 --cycles 9 a b c | cksum)" \
	"$(moe-shift plan --order random --seed 7 --cycles 9 a b c | cksum)" "a seed says the order"
fails 2 "one domain" moe-shift plan a.txt
fails 2 "a domain twice" moe-shift plan a b a
fails 2 "an operand with a step" moe-shift plan a@5 b
fails 2 "periods for other domains" moe-shift plan --period 1,2,3 a b
fails 2 "a period of nothing" moe-shift plan --period 0 a b
fails 1 "a plan on a full disk" moe-shift plan -o /dev/full a b

# --- stream ---

awk 'BEGIN { for (i = 0; i < 900; i++) printf "%c", 97 + i * i % 26 }' >prose.txt
awk 'BEGIN { for (i = 0; i < 700; i++) printf "%c", 65 + i * 7 % 26 }' >code.txt
awk 'BEGIN { for (i = 0; i < 800; i++) printf "%c", 48 + i * 3 % 10 }' >verse.txt
set -- --batch 2 --seq 15 --accum 3 prose.txt code.txt@4
moe-shift stream --steps 6 "$@" --shifts shifts.csv >all
is "$(($(wc -c <all)))" $((6 * 3 * 2 * 16)) "a byte a token"
is "$(head -c $((4 * 96)) all | tr -d a-z)$(tail -c $((2 * 96)) all | tr -d A-Z)" "" \
	"the first domain, then the second"
is "$(cat shifts.csv)" "phase,domain,step,window,token,byte
0,prose,0,0,0,0
1,code,4,24,384,384" "where they begin"
moe-shift stream --steps 6 --from 3 "$@" --shifts shifts.csv >end
tail -c $((3 * 96)) all >want
same end want "from a step on"
is "$(sed 1d shifts.csv | tr '\n' ' ')" "0,prose,3,0,0,0 1,code,4,6,96,96 " "where they begin then"
moe-shift stream --steps 6 --seed 2 "$@" >other
fails 1 "another seed, other windows" cmp -s all other
fails 2 "no data" moe-shift stream
fails 2 "the end before the beginning" moe-shift stream --from 7 --steps 6 "$@"
fails 1 "a text shorter than a window" moe-shift stream --seq 1000 prose.txt
fails 1 "steps that do not rise" moe-shift stream prose.txt code.txt@4 verse.txt@4
fails 1 "a stream on a full disk" moe-shift stream -o /dev/full "$@"
fails 1 "a recipe that is none" moe-shift stream -c prose.txt
fails 2 "both outputs in one file" moe-shift stream --shifts x -o x "$@"

# --- memory ---

cat >experts.csv <<'END'
step,domain,layer,slot,expert,tokens
10,prose,0,0,3,6
10,prose,0,1,4,2
20,code,0,0,3,8
20,code,0,1,4,0
30,prose,0,0,3,8
30,prose,0,1,4,0
40,prose,0,0,3,7
40,prose,0,1,4,1
END
moe-shift memory experts.csv >use 2>err
is "$(head -n 1 use | cut -d, -f1-8)" run,layer,slot,expert,phase,domain,from,to "who and when"
is "$(head -n 1 use | cut -d, -f9-)" windows,idle,tokens,share,dormant,used_after,share_before \
	"what of them"
is "$(sed -n '/,4,[0-2],/p' use | cut -d, -f4- | tr '\n' ' ')" \
	"4,0,prose,0,10,1,0,2,0.25,0,, 4,1,code,10,20,1,1,0,0,1,, \
4,2,prose,20,40,2,1,1,0.0625,0,20,0.25 " "an expert that sleeps and wakes"
is "$(moe-shift memory --by domain experts.csv | sed -n 's/.*,4,,/4,/p' | tr '\n' ' ')" \
	"4,prose,,,3,1,3,0.125,0,, 4,code,,,1,1,0,0,1,, " "by domain"
is "$(moe-shift memory --by window --dormant 0.2 experts.csv | values - dormant)" \
	"0 0 0 0 0 1 1 1" "by window, with a limit"
is "$(moe-shift memory --shift 15 experts.csv 2>err | values - windows)" "1 2 1 2" "given shifts"
grep -q 'experts.csv: 1 of 4 windows hold a shift' err
is $? 0 "a window that holds one is left out and told"
sed '/^20,code,0,1/d;s/^30,prose,0,1/20,code,0,1/' experts.csv >bad.csv
fails 1 "a census whose steps fall" moe-shift memory -o out bad.csv
says 'bad.csv:6: step 20 after step 30' "is told by file and line"
ok "no output is left" test ! -e out
sed 's/,tokens/,n/' experts.csv >bad.csv
fails 1 "a census without tokens" moe-shift memory bad.csv
says 'no column "tokens"' "says so"
sed 's/,2$/,-2/' experts.csv >bad.csv
fails 1 "a negative count" moe-shift memory bad.csv
fails 2 "one checkpoint" moe-shift memory a.safetensors
fails 1 "checkpoints that are not there" moe-shift memory a.safetensors b.safetensors
fails 1 "a checkpoint that is none" moe-shift memory prose.txt prose.txt
fails 1 "usage on a full disk" moe-shift memory -o /dev/full experts.csv

# --- the command line ---

fails 2 "nothing to do" moe-shift
fails 2 "an unknown command" moe-shift plans
fails 2 "an unknown option" moe-shift plan --cycle 3 a b

# The manual's examples in order, with the texts made above; what they leave is looked at.
sed -n '/^\.Sh EXAMPLES/,/^\.Sh SEE/s/^\.Dl \$ //p' "$man" | sed 's/\\e/\\/g' >examples
ok "the manual has examples" test -s examples
while IFS= read -r example; do
	ok "example: $(printf %s "$example" | tr '\\' /)" sh -ec "$example" >out.txt
	case $example in
	*scratch-self*) cp out.txt scored ;;
	*safetensors*more*) cp out.txt drift ;;
	*'memory run') cp out.txt usage ;;
	esac
done <examples
is "$(values scored shift_step)" "8 8 16 16" "the example run has two shifts"
is "$(values scored domain)" "code code prose prose" "to code and back"
is "$(column usage windows | sort -u)" 2 "two windows of its census in each phase"
is "$(awk -F, 'NR > 1 { s[$2 "," $5] += $12 } END { for (i in s) print s[i] }' usage |
	awk '{ if ($1 < 0.999999 || $1 > 1.000001) print }')" "" "shares of a layer add up to 1"
is "$(column drift from_step | sort -u) $(column drift to_step | sort -u)" "16 24" \
	"drift over the last phase"
is "$(awk -F, 'NR > 1 && !($6 == "kept" && $7 > 0 && $7 < 10 && $9 != "")' drift)" "" \
	"all experts are kept and have moved"

# The stream is what the run was trained on: another seed's, or other data, is not.
is "$(($(wc -c <batches)))" $((24 * 2 * 17)) "the run's batches"
is "$(cut -d, -f1-3 shifts.csv | sed 1d | tr '\n' ' ')" "0,prose,0 1,code,8 2,prose,16 " \
	"its phases"
moe-shift stream --batch 2 --seq 16 --steps 24 prose.txt code.txt@8 prose.txt@16 >again
same batches again "options or the recipe, the same batches"
echo more >>prose.txt
fails 1 "data that has changed since" moe-shift stream -c run/recipe
says 'not what the recipe was made with' "says so"
done_testing
