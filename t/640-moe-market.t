#!/bin/sh
# moe-market: its commands on small tables made here, whole, damaged and alive in a pipe.
. t/lib.sh
root=$PWD
data=$root/testdata/market
cd "$T" || exit 1

# Two layers of four experts; the figures are those worked out by hand in t/240-market.c.
cat >census.csv <<'END'
step,layer,slot,expert,parent,born,demand,quality,exclusivity,flops,fitness,effective,note,left
510,0,0,0,-1,0,0.4,0.5,0.2,400,,,"a,b",7
510,0,1,1,-1,0,0.3,0.5,0.1,300,,,,6
510,0,2,2,-1,0,0.2,0.4,0.05,200,,,,5
510,0,3,3,-1,0,0.1,0.25,0.01,100,,,,4
510,1,0,4,-1,0,0.25,0.5,0.1,250,,,,3
510,1,1,5,-1,0,0.25,0.5,0.1,250,,,,2
510,1,2,6,-1,0,0.25,0.5,0.1,250,,,,1
510,1,3,7,-1,0,0.25,0.5,0.1,250,,,,0
END

# column FILE NAME: a column's values on one line; a comma in quotes is none of the table's
column() {
	sed 's/"a,b"//' "$1" | awk -F, -v name="$2" '
		NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i; next }
		{ printf "%s%s", s, $c; s = " " }'
}

# --- fitness ---
ok "fitness" moe-market fitness --fitness A -o out census.csv
more=threshold,demand_essential,quality_essential,exclusive_essential
cat >want <<END
$(head -n 1 census.csv),$more
510,0,0,0,-1,0,0.4,0.5,0.2,400,0.200000003,0.200000003,"a,b",7,0.0471002646,1,1,0
510,0,1,1,-1,0,0.3,0.5,0.1,300,0.150000006,0.150000006,,6,0.0471002646,0,1,0
510,0,2,2,-1,0,0.2,0.4,0.05,200,0.0800000057,0.0800000057,,5,0.0471002646,0,0,0
510,0,3,3,-1,0,0.1,0.25,0.01,100,0.0250000004,0.0250000004,,4,0.0471002646,0,0,0
510,1,0,4,-1,0,0.25,0.5,0.1,250,0.125,0.125,,3,0.125,0,0,0
510,1,1,5,-1,0,0.25,0.5,0.1,250,0.125,0.125,,2,0.125,0,0,0
510,1,2,6,-1,0,0.25,0.5,0.1,250,0.125,0.125,,1,0.125,0,0,0
510,1,3,7,-1,0,0.25,0.5,0.1,250,0.125,0.125,,0,0.125,0,0,0
END
same out want "it fills its columns, adds others behind, and hands on the rest"
moe-market fitness --fitness B census.csv >out
is "$(column out fitness)" \
	"0.0769230798 0.0681818202 0.0444444455 0.0178571437 0.0625 0.0625 0.0625 0.0625" \
	"B divides by the cost"
moe-market fitness --fitness C - <census.csv >out
is "$(column out fitness | cut -d' ' -f1-4)" \
	"0.0153846154 0.0068181823 0.00222222228 0.000178571427" "C multiplies by exclusivity"
moe-market fitness --fitness A census.csv >once
moe-market fitness --fitness A once >twice
same twice once "fitness of fitness changes nothing"
cat >few.csv <<'END'
demand,layer,quality,who,step
0.75,0,0.5,me,1
0.25,0,0.5,you,1
END
cat >want <<END
$(head -n 1 few.csv),fitness,effective,$more
0.75,0,0.5,me,1,0.375,0.375,0.125,1,0,
0.25,0,0.5,you,1,0.125,0.125,0.125,0,0,
END
moe-market fitness --fitness A few.csv >out
same out want "a table with nothing but what A needs"
fails 1 "B without flops" moe-market fitness --fitness B few.csv
says '^moe-market: few.csv: no column "flops" in the header$' "is told"
fails 1 "C without exclusivity" moe-market fitness --fitness C --without cost few.csv
says 'no column "exclusivity"' "is told"

# Half of a newborn's grace: the ramp halves its fitness, the tariff its distance from the mean.
sed 's/^510,1,3,7,-1,0,0.25/510,1,3,7,-1,260,0.125/' census.csv >young.csv
moe-market fitness --fitness A young.csv >out
is "$(column out effective | cut -d' ' -f5-)" "0.125 0.125 0.125 0.03125" "ramp"
moe-market fitness --fitness A --grace-rule tariff young.csv >out
is "$(column out effective | cut -d' ' -f5-)" "0.125 0.125 0.125 0.0859375" "tariff"

# --- decide ---
ok "decide" moe-market decide --fitness A --stats stats.csv -v -o out census.csv
says '^moe-market: 2 checks of a layer, 1 crossed the threshold \(0.5\), 1 replacements$' \
	"-v tells how often somebody crossed"
cat >want <<'END'
step,layer,slot,event,expert,parent,value,threshold,cause,to_layer,to_slot,width,sigma,origin,left
510,0,3,death,3,,0.0250000004,0.0471002646,replace,,,,,,2
510,0,3,birth,,0,0.200000003,0.0471002646,replace,,,,0.00999999978,mutant,1
510,1,0,keep,4,,0.125,0.125,fit,,,,,,0
END
same out want "the worst of one layer is replaced, equals are kept"
kept=kept_young,kept_spread,kept_persistence,kept_alone,kept_off
cat >want <<END
layer,checks,crossed,crossing_rate,mean_spread,replacements,births,deaths,moves,$kept
0,1,1,1,0.585931747,1,1,1,0,0,0,0,0,0
1,1,0,0,0,0,0,0,0,0,0,0,0,0
all,2,1,0.5,0.292965873,1,1,1,0,0,0,0,0,0
END
same stats.csv want "--stats tells it by layer"
printf 'fitness A\nspread 0.6\n' >recipe
moe-market decide -c recipe census.csv >out
is "$(column out cause)" "spread fit" "options from a recipe"
moe-market decide -c recipe --spread 0.5 census.csv >out
is "$(column out cause)" "replace replace fit" "the command line counts more"
sed '1s/$/,below/; 1!s/$/,1/' census.csv >below.csv
moe-market decide --fitness A --persistence 3 below.csv >out
is "$(column out cause)" "persistence fit" "persistence reads its column"
fails 1 "persistence without it" moe-market decide --persistence 2 census.csv
says 'no column "below"' "is told"
sed 's/^510/500/' census.csv | moe-market decide --fitness A >out
is "$(column out event) $(column out cause)" "keep keep warm-up warm-up" \
	"in the warm-up all are kept"
cut -d, -f1,2,4,6-8,10 young.csv | moe-market decide --without grace >out
is "$(column out event) $(column out slot)" "death birth death birth 3 3 7 7" \
	"a census without slots and left"

# A live pipe: each answer comes before the next question is put.
mkfifo ask answer
moe-market decide --fitness A <ask >answer 2>err &
exec 4>ask 5<answer
cat census.csv >&4
read -r line <&5
is "$(echo "$line" | cut -d, -f1-4)" "step,layer,slot,event" "the pipe answers with a header"
read -r line <&5 && read -r line <&5 && read -r line <&5
is "${line##*,}" 0 "and with the step's events, to the last"
sed '1d; s/^510/520/' census.csv >&4
read -r line <&5
is "${line%%,*}" 520 "then with the next step's"
exec 4>&-
cat <&5 >rest
wait $!
is "$? $(grep -c . rest)" "0 2" "and ends with it"
exec 5<&-

# What is left of a census that breaks off: whole steps.
{ cat census.csv; sed -n '2,5s/^510/520/p' census.csv; } >broken.csv
fails 1 "a census that ends within a step" moe-market decide --fitness A -o out broken.csv
says '^moe-market: broken.csv: ends within step 520 \(expected 4 more rows\)$' "is told"
is "$(column out step)" "510 510 510" "nothing of that step is decided"
printf '520,0,0,0' >>broken.csv
fails 1 "one that ends within a line" moe-market decide --fitness A -o out broken.csv
says 'broken.csv:14: no line end' "is told"

# Bad input: the line of the fault, a sed script that makes it, what is said.
while read -r number script complaint; do
	sed "$script" census.csv >bad.csv
	fails 1 "bad census: $script" moe-market decide bad.csv
	says "^moe-market: bad.csv:$number: .*$complaint" "is told by line"
done <<'END'
3 3s/0.3/nan/ demand.*nan
3 3s/0.3/-0.3/ demand
3 3s/0.3/1.3/ demand
3 3s/300/-300/ flops
3 3s/300/inf/ flops
3 3s/300// flops
3 3s/,300// 13.fields
3 3s/510,0,1/510,0,0/ slot.0.after.slot.0
3 3d 5.rows.left.after.7
6 6s/510/500/ step.500.begins.before.step.510.ends
9 9s/,7,-1/,6,-1/ twice
2 2s/-1,0,/-1,520,/ born.at.step.520
2 2s/"a,b"/"a/ quote
END
{
	cat census.csv
	sed -n '2,5{s/^510/520/;s/,7$/,3/;s/,6$/,2/;s/,5$/,1/;s/,4$/,0/;p}' census.csv
} >bad.csv
fails 1 "a layer that disappears" moe-market decide bad.csv
says 'bad.csv:13: step 520: layer 1 has disappeared' "is told"
{ cat census.csv; sed '1d;s/^510/520/;s/,3,3,-1/,3,9,-1/' census.csv; } >bad.csv
fails 1 "an unknown expert" moe-market decide bad.csv
says 'expert 9 in layer 0 slot 3 is unknown' "is told"
sed 's/$/\r/' census.csv | sed 's/510/"510"/' >crlf.csv
moe-market decide --fitness A census.csv >want
moe-market decide --fitness A crlf.csv >out
same out want "CRLF and quotes make no difference"
awk '{ print } NR == 1 { print "#" }' census.csv | gzip -c | moe-market decide --fitness A >out
same out want "nor do comments and gzip"
perl -pe 'chomp; $_ .= $. == 1 ? ",x" : "," . "y" x 1000000; $_ .= "\n"' census.csv |
	moe-market decide --fitness A >out
same out want "nor do lines of 1 MB"

# --- runs ---
mkdir -p one two
cat >one/events.csv <<'END'
step,layer,slot,event,expert,parent,value,threshold,cause,to_layer,to_slot,width,sigma,left
510,0,3,death,3,,0.1,0.2,replace,,,,,1
510,0,3,birth,8,0,0.1,0.2,replace,,,,0.01,0
520,0,1,keep,1,,0.3,0.2,fit,,,,,0
1500,1,2,death,6,,0.1,0.2,replace,,,,,1
1500,1,2,birth,9,4,0.1,0.2,replace,,,,0.01,0
1500,,,shift,,,,,code,,,,,0
1510,1,1,birth,10,4,0.1,0.2,empty-slot,,,,0.01,0
1520,1,1,death,10,,0.1,0.2,surplus,,,,,1
1520,0,1,move,1,,2,1.5,migration,1,1,,,0
3000,,,shift,,,,,prose,,,,,0
3010,0,1,keep,1,,0.3,0.2,fit,,,,,0
END
printf 'step,domain,loss\n1,prose,5\n' >one/loss.csv
sed '/^510/d' one/events.csv >two/events.csv
ok "runs" moe-market runs -o out one two/events.csv
cat >want <<'END'
run,phase,from,to,domain,replacements,births,deaths,moves
one,0,0,1500,prose,2,2,2,0
one,1,1500,3000,code,0,1,1,1
one,2,3000,3010,prose,0,0,0,0
one,all,0,3010,,2,3,3,1
two/events.csv,0,0,1500,,1,1,1,0
two/events.csv,1,1500,3000,code,0,1,1,1
two/events.csv,2,3000,3010,prose,0,0,0,0
two/events.csv,all,0,3010,,1,2,2,1
mean,0,,,,1.5,1.5,1.5,0
sd,0,,,,0.707106781,0.707106781,0.707106781,0
mean,1,,,,0,1,1,1
sd,1,,,,0,0,0,0
mean,2,,,,0,0,0,0
sd,2,,,,0,0,0,0
mean,all,,,,1.5,2.5,2.5,1
sd,all,,,,0.707106781,0.707106781,0.707106781,0
END
same out want "runs counts events by phase, and their mean and sd"
moe-market runs one >out
is "$(grep -c '^sd,[0-9al]*,,,,,,,$' out)" 4 "one run has no sd"
fails 1 "a run without events" moe-market runs one three
says '^moe-market: three: No such file' "is told"
sed 's/death/dead/' one/events.csv >bad.csv
fails 1 "an event that is none" moe-market runs bad.csv
says 'bad.csv:2: column event: "dead" is not one of keep\|' "is told"

# --- value ---
ok "value" moe-market value -o out
says 'an extrapolation from 8 experts in 2 layers: .* none was measured' "says what it is"
is "$(sed -n 2,4p out | tr '\n' ' ')" \
	"saving,USD/year,39100000 energy,GWh/year,27.1 co2,t/year,10840 " "the published totals"
is "$(awk -F, '$1 ~ /^(expert|round|zero|training)-/ { s += $3 } END { print s }' out)" 39100000 \
	"are the sum of four mechanisms"
moe-market value "$data/moderate.scenario" 2>err >again
same again out "testdata has the same scenario"
sed -n '/^spend 170000000/,/^co2-per-kwh/s/ *#.*//p' "$root/man/moe-market.1" >manual.scenario
is "$(grep -c . manual.scenario)" 13 "the manual has it too"
moe-market value manual.scenario 2>err >again
same again out "whole"
saving() {
	moe-market value "$1" 2>err | sed -n 's/^saving,USD.year,//p'
}
is "$(saving "$data/low.scenario") $(saving "$data/high.scenario")" "675000 228804348" \
	"low and high"
printf 'spend 1000\n' >s.scenario
is "$(saving s.scenario)" 230 "what a scenario does not name is moderate"
moe-market value --sensitivity >out 2>err
cat >want <<'END'
spend,USD/year,85000000,170000000,255000000,19550000,58650000,1,1,1
transfer,share,0.5,1,1,19550000,39100000,0.5,0.5,0.5
END
sed -n 2,3p out >first
same first want "sensitivity: who carries the result comes first"
is "$(grep -c . out)" 14 "every assumption is in it"
moe-market value --sensitivity "$data/moderate.scenario" "$data/low.scenario" \
	"$data/high.scenario" 2>err >out
is "$(sed -n 2p out | cut -d, -f1,3-8)" \
	"spend,60000000,170000000,500000000,13800000,115000000,2.58823529" "between scenarios"
fails 1 "an unknown assumption" sh -c 'echo spent 3 | moe-market value -'
says 'standard input:1: unknown option spent \(did you mean spend\?\)' "is told"
printf '# x\ntransfer 2\n' >bad.scenario
fails 1 "an impossible one" moe-market value bad.scenario
says 'bad.scenario:2: transfer: "2" is not a number between 0 and 1' "is told"
printf 'churn-share 0.9\n' >bad.scenario
fails 1 "more than all of the spend" moe-market value bad.scenario
says 'four shares of the spend sum to 1.4' "is told"

# --- usage, full disks ---
for words in '' 'decides' 'decide a b' 'fitness a b' 'runs' 'value a b' 'value a b c' \
	'decide --sensitivity' 'fitness --stats x' 'value --kappa 2' 'runs --kappa 2 one' \
	'decide --fitness D' 'decide --kappa -1' 'decide --without cosst' 'decide --migration' \
	'decide --grace x' 'decide --policy none' 'decide -c nowhere' '--nothing'; do
	fails 2 "wrong usage: $words" moe-market $words </dev/null
	says '^moe-market: .*\(.*\)$' "one line says so"
done
fails 1 "slots that do not fit" moe-market decide --slots 2 census.csv
says 'layer 0 has a slot 3 \(expected it below --slots 2\)' "are told"
for words in '-h' 'decide census.csv' 'fitness census.csv' 'runs one' 'value' \
	'decide --stats /dev/full census.csv'; do
	fails 1 "full disk: $words" sh -c 'exec moe-market $1 >/dev/full' sh "$words"
	says '^moe-market: .*(No space left|write error)' "is noticed"
done

# --- the manual's examples ---
mkdir -p RUN
cp one/events.csv RUN
sed 's/"a,b"//' census.csv >RUN/experts.csv
cp -r one B2-1
cp -r one B2-2
cp -r two B2-3
for page in moe-market.1 moe-events.5; do
	sed -n '/^\.Sh EXAMPLES/,/^\.Sh SEE/s/^\.Dl \$ //p' "$root/man/$page"
done | sed 's/\\(dq/"/g' >examples
is "$(grep -c . examples)" 6 "the manual has examples"
while IFS= read -r line; do
	ok "example: $line" sh -ec "$line" </dev/null >example.out
done <examples
sed -n '/^\$ moe-market decide/,/^\.Ed/{/^\.Ed/d;s/^\$ //;p}' "$root/man/moe-market.1" >example
sh -e ./example >out
is "$(column out event) $(column out slot)" "death birth 2 2" "the census from elsewhere is judged"
sed -n '/^\$ train() {/,/^\.Ed/{/^\.Ed/d;s/^\$ //;s/\\e/\\/;p}' "$root/man/moe-market.1" \
	>example
words 5000 1 >text
ok "a run is decided from outside" sh -e ./example
is "$(sed 1d held/events.csv | cut -d, -f1 | uniq | tr '\n' ' ')" "30 40 " \
	"at each of its market steps"
sed -n '/^\$ cat >policy.pl/,/^\.Ed/{/^\.Ed/d;s/^\$ //;s/\\e/\\/;p}' "$root/man/moe-market.1" \
	>example
ok "a policy of one's own is asked" timeout 100 sh -e ./example
is "$(sed 1d own/events.csv | cut -d, -f1 | uniq | tr '\n' ' ')" "5 10 15 20 " "at each census"
sed -n '/^\.Sh EXAMPLES/,/^\.Ed/p' "$root/man/moe-events.5" | grep '^[s5]' >events.example
moe-market runs events.example >out
is "$(sed -n 2p out)" "events.example,0,0,510,,1,1,1,0" "the example of events is one"
done_testing
