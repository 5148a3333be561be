#!/bin/sh
# Decisions by pipe: a live policy leaves the bytes of a run that decides itself, whoever of both
# is killed; what it may not say is refused, and the run waits for a better one.
. t/lib.sh

model='--dim 16 --layers 2 --heads 2 --hidden 24 --seq 16 --batch 4 --steps 60 --lr 0.005
	--experts 5 --val-frac 0.1 --val-every 15'
rules='--fitness B --grace 3 --kappa 0.8 --market-warmup 20 --persistence 2 --width-step 0.3
	--slots 6,7 --market-min 3 --migration --sigma 0.05 --interval 5'
train() {
	$within moe-train $model --lifecycle market $rules --ckpt-every 7 "$@" a.txt b.txt@30
}
within='timeout 100'
# ask RUN OPTIONS...: the census goes into one pipe, the decisions come from another
ask() {
	local run=$1
	shift
	train --experts-csv census --decisions decisions -o "$run" "$@"
}
decide() {
	moe-market decide $rules
}
# answered NAME OPTIONS...: ask, with a policy that does what it should; tests the status
answered() {
	local name=$1 pid
	shift
	decide <census >decisions &
	pid=$!
	fails 0 "$name" ask "$@"
	wait $pid
}

cd "$T" || exit 1
words 20000 1 >a.txt
words 9000 2 >b.txt
mkfifo census decisions
ok "a run that decides itself" train -j1 -o one
is "$(column one/events.csv event | sort -u | tr '\n' ' ')" "birth death keep move shift " \
	"it has every kind of event"

# --- alive ---
tee experts.csv <census | decide >decisions &
ok "a policy in a pipe" ask piped -j2
wait
same_run one piped "by pipe" -x experts.csv
same one/experts.csv experts.csv "by pipe: what went through it"
decide <census | ok "decisions on the standard input" train -j1 --experts-csv census \
	--decisions - -o stdin
same_run one stdin "by the standard input" -x experts.csv

# --- complete ---
# late: a policy that opens its pipes one after the other
late() {
	{
		sleep 0.2
		decide >decisions
	} <census &
	policy=$!
}
late
fails 0 "a run that is complete" ask one
ok "tells its policy so, which has no more to do" wait $policy
same_run one piped "it is as it was" -x experts.csv
fails 0 "nor does it keep another reader waiting" train --loss-csv census -o one &
is "$(cat census)" "" "who sees the end of the pipe"
wait
train --steps 62 --schedule constant --experts-csv part.csv -o part
late
fails 0 "a run with no census to come" train --steps 64 --schedule constant --experts-csv census \
	--decisions decisions -o part
ok "neither" wait $policy

# --- killed ---
for at in 20 25 40 60; do
	sed -u "/^$at,/Q" <census | decide >decisions &
	fails 1 "a policy that ends before step $at" ask ends$at
	says "^moe-train: (census|decisions): .*; step $at is checkpointed and awaits" "told"
	wait
	is "$(moe-ckpt meta ends$at/ckpt.safetensors step)" $at "checkpointed there"
done
answered "another goes on" ends25
same_run one ends25 "a policy that ended" -x experts.csv
ok "the run goes on alone" train --experts-csv /dev/null -o ends40
same ends40/ckpt.safetensors one/ckpt.safetensors "and decides itself"
answered "a policy that ended at the last step" ends60
same_run one ends60 "at the last step" -x experts.csv
fails 1 "it cannot be applied to" moe-market apply ends20/ckpt.safetensors one/events.csv
says '^moe-market: ends20/ckpt.safetensors: the census of step 20 is still to come' "told"
fails 3 "but be held, for its first events" train --experts-csv /dev/null --decisions hold \
	-o ends20
kills=0
for at in 15 35 50; do
	(within=exec ask killed 2>/dev/null) &
	pid=$!
	{
		sed -u "/^$at,/q"
		kill -KILL $pid
	} <census | decide >decisions 2>/dev/null
	wait $pid
	[ $? = 137 ] && kills=$((kills + 1))
done 2>/dev/null
is $kills 3 "runs killed while they wait"
answered "both are started again" killed
same_run one killed "killed" -x experts.csv

# --- interrupted ---
(within=exec ask stopped 2>stopped.err) &
pid=$!
{
	sed -u 2q
	kill -TERM $pid
	cat
} <census >seen
status=0
wait $pid || status=$?
is "$status $(cat stopped.err)" "1 moe-train: interrupted; the same command goes on from the \
checkpoint in stopped" "SIGTERM while nobody answers"
answered "it goes on" stopped
same_run one stopped "interrupted" -x experts.csv

# --- said wrong ---
# wrong PATTERN NAME PERL: the policy's rows, as lines, changed by this
wrong() {
	decide <census 2>/dev/null | perl -pe 'BEGIN { $| = 1 }'" $3" >decisions &
	fails 1 "$2" ask bad
	says "^moe-train: decisions$1.*; step [0-9]+ is checkpointed and awaits" "$2: told"
	wait
}
# The header is line 1, keep rows of steps 5 to 20 are lines 2 to 9, a birth of step 25 follows.
wrong ':2: events of step 6 \(expected those of step 5\)' "another step" 's/^5,/6,/'
wrong ':2: column event: "kept" is not one of' "an unknown event" 's/keep/kept/'
wrong ':3: 1 rows left after 1 \(expected 0' "a step miscounted" 's/,0$/,1/'
wrong ': no column "left" in the header' "no count at all" 's/,[^,]*$/\n/'
wrong ':10: step 25, layer 0, slot 1: birth in a slot that is not empty' "a slot in use" \
	's/5,birth/1,birth/'
wrong ':2: step 25, layer 0, slot 5: birth of a parent that does not live' "an unknown parent" \
	's/birth,,[0-9]*/birth,,77/'
wrong ':2: step 25, layer 0, slot 9: death in a place that the model does not have' \
	"a slot that is not there" 's/5,birth/9,death/'
wrong ':2: step 25, layer 0, slot 0: death of an expert that is not there' "an unknown expert" \
	's/5,birth,/0,death,99/'
wrong ':2: no line end' "a line that is cut" 'if ($. == 2) { print "25,0"; exit }'
wrong ': ends within step 25 \(expected 2 more rows\)' "a step that is cut" 'exit if $. == 3'
is "$(moe-ckpt meta bad/ckpt.safetensors step) $(wc -l <bad/events.csv)" "25 1" \
	"the run is where it was, and nothing was carried out"
answered "a better policy takes over" bad
same_run one bad "after all these" -x experts.csv
fails 1 "a table instead of a pipe" train --experts-csv census --decisions one/events.csv -o new
says '^moe-train: one/events.csv: not a pipe' "told"
fails 1 "no pipe" train --experts-csv census --decisions nowhere -o new
says '^moe-train: nowhere: No such file' "told"

# --- a policy of one's own ---
# It wants nothing but the end of each census, freezes one after the other, and keeps.
cat >own.pl <<'END'
$| = 1;
print "step,layer,slot,event,left\n";
while (<>) {
	my @f = split /,/;
	next if $f[0] eq "step" || $f[-1] != 0;
	print "$f[0],0,", $n++, ",freeze,1\n", "$f[0],1,0,keep,0\n";
}
END
perl own.pl <census >decisions &
ok "ten lines of Perl" timeout 100 moe-train $model --census-every 20 --experts-csv census \
	--decisions decisions -o own a.txt
wait
is "$(sed 1d own/events.csv | cut -d, -f1-5,15 | tr '\n' ' ')" \
	"20,0,0,freeze,,1 20,1,0,keep,,0 40,0,1,freeze,,1 40,1,0,keep,,0 60,0,2,freeze,,1 \
60,1,0,keep,,0 " \
	"its events are told"
is "$(moe-ckpt meta own/ckpt.safetensors ledger | awk -F, '$8 == 1 { printf "%s ", $3 }')" \
	"0 1 2 " \
	"and carried out"
done_testing
