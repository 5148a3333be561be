#!/bin/sh
# Decisions taken elsewhere: held and applied they leave the bytes of a run that decides itself,
# and what cannot be carried out is refused, with file and line, and changes nothing.
. t/lib.sh

model='--dim 16 --layers 2 --heads 2 --hidden 24 --seq 16 --batch 4 --steps 60 --lr 0.005
	--experts 5 --val-frac 0.1 --val-every 15'
rules='--fitness B --grace 3 --kappa 0.8 --market-warmup 20 --persistence 2 --width-step 0.3
	--slots 6,7 --market-min 3 --migration --sigma 0.05 --interval 5'
train() {
	moe-train $model --lifecycle market $rules --trace --trace-every 5 "$@" a.txt b.txt@30
}
decide() {
	moe-market decide $rules "$@"
}
# status COMMAND...: prints the exit status
status() {
	local status=0
	"$@" 2>"$T/err" || status=$?
	echo $status
}

cd "$T" || exit 1
words 20000 1 >a.txt
words 9000 2 >b.txt
ok "a run that decides itself" train -j1 -o one
is "$(column one/events.csv event | sort -u | tr '\n' ' ')" "birth death keep move shift " \
	"it has every kind of event"

# --- held and applied ---
fails 3 "a run is held before its first events" train -j2 --decisions hold -o held
says '^moe-train: held; moe-market apply held/ckpt.safetensors EVENTS completes the step, then ' \
	"and says how it goes on"
is "$(moe-ckpt meta held/ckpt.safetensors step)" 25 "which is after the warm-up"
is "$(tail -n 1 held/experts.csv | cut -d, -f1) $(tail -n 1 held/loss.csv | cut -d, -f1)" "25 25" \
	"census and loss of the step are there"
is "$(wc -l <held/events.csv)" 1 "events are not"
cp -r held again
cp -r held itself
fails 3 "held it stays" train -j1 --decisions hold -o again
same_run held again "the same call again"
ok "a held run can take its decisions itself" train -j1 -o itself
same_run one itself "held once, then itself"
decide held/experts.csv >first.csv
cp -r held first
ok "apply" moe-market apply first/ckpt.safetensors first.csv
ok "apply, to another file" moe-market apply -o other held/ckpt.safetensors first.csv
same other first/ckpt.safetensors "the same as in its place"
same_run held again "what was read is as it was"
sh -c 'cat held/ckpt.safetensors | moe-market apply -o piped - first.csv'
same piped other "a checkpoint from a pipe"
fails 1 "apply, twice" moe-market apply first/ckpt.safetensors first.csv
says '^moe-market: first/ckpt.safetensors: the events of step 25 have been carried out' "refused"
same other first/ckpt.safetensors "nothing is changed"
moe-market decide $rules one/experts.csv >all.csv
rounds=0
while [ "$(status train -j$((1 + rounds % 2)) --decisions hold -o held)" = 3 ]; do
	decide <held/experts.csv | moe-market apply held/ckpt.safetensors || break
	rounds=$((rounds + 1))
done
is $rounds 8 "as many rounds as market steps"
same_run one held "held at each step, on one worker and two"

# --- what is refused ---
rm -rf held
train -j1 --decisions hold -o held 2>err
cp held/ckpt.safetensors kept
# Events of step 25: by name, where the first birth and the first death would stand.
head -n 1 first.csv >head
# refused PATTERN NAME, events on stdin
refused() {
	cat head - >bad.csv
	fails 1 "$2" moe-market apply held/ckpt.safetensors bad.csv
	says "^moe-market: bad.csv$1" "$2: told"
	same kept held/ckpt.safetensors "$2: nothing is changed"
}
refused ':2: step 25, layer 0, slot 9: death in a place that the model does not have' \
	"a slot that is not there" <<'END'
25,0,9,death,,,,,test,,,,,,0
END
refused ':3: step 25, layer 2, slot 0: freeze in a place that the model does not have' \
	"a layer that is not there" <<'END'
25,0,1,death,1,,,,test,,,,,,1
25,2,0,freeze,,,,,test,,,,,,0
END
refused ':2: step 25, layer 0, slot 5: death of nobody: the slot is empty' "an empty slot" <<'END'
25,0,5,death,,,,,test,,,,,,0
END
refused ':3: step 25, layer 1, slot 0: death of an expert that is not there' \
	"an unknown expert, after an event that is well" <<'END'
25,0,1,death,1,,,,test,,,,,,1
25,1,0,death,3,,,,test,,,,,,0
END
refused ':2: step 25, layer 0, slot 5: birth of a parent that does not live in the layer' \
	"an unknown parent" <<'END'
25,0,5,birth,,77,,,test,,,,,mutant,0
END
refused ':2: step 25, layer 0, slot 1: birth in a slot that is not empty' "a slot in use" <<'END'
25,0,1,birth,,0,,,test,,,,,mutant,0
END
refused ':2: step 25, layer 0, slot 5: birth with a number that is not the next' \
	"a number out of turn" <<'END'
25,0,5,birth,3,0,,,test,,,,,mutant,0
END
refused ':5: step 25: layer 1 would be left with 1 experts \(expected at least top-k, 2\)' \
	"a layer below top-k" <<'END'
25,1,1,death,,,,,test,,,,,,3
25,1,2,death,,,,,test,,,,,,2
25,1,3,death,,,,,test,,,,,,1
25,1,4,death,,,,,test,,,,,,0
END
refused ':6: step 25: layer 0 would be left with 0 experts' "an empty layer" <<'END'
25,0,0,death,,,,,test,,,,,,4
25,0,1,death,,,,,test,,,,,,3
25,0,2,death,,,,,test,,,,,,2
25,0,3,death,,,,,test,,,,,,1
25,0,4,death,,,,,test,,,,,,0
END
refused ': no events of step 25, the checkpoint.s \(the last are of step 20\)' \
	"events of an earlier step" <<'END'
20,0,1,death,1,,,,test,,,,,,0
END
refused ':3: events of step 30 \(expected none after the checkpoint.s, 25\)' \
	"events of a later step" <<'END'
25,0,1,death,1,,,,test,,,,,,0
30,0,2,death,2,,,,test,,,,,,0
END
refused ': no events \(expected those of step 25\)' "no events" </dev/null
refused ': ends within step 25 \(expected 1 more row\)' "a step that is cut" <<'END'
25,0,1,death,1,,,,test,,,,,,1
END
printf '25,0,1,death,1,,,,test,,,,,,0' | refused ':2: no line end' "a line that is cut"
refused ':2: column event: "dead" is not one of' "an event that is none" <<'END'
25,0,1,dead,1,,,,test,,,,,,0
END
fails 1 "a full disk" moe-market apply -o /dev/full held/ckpt.safetensors first.csv
says '^moe-market: /dev/full: No space left' "told"
fails 1 "a damaged checkpoint" sh -c 'head -c 9999 held/ckpt.safetensors |
	moe-market apply -o out - first.csv'
fails 2 "both from the standard input" moe-market apply -o out - </dev/null

# --- any checkpoint, any policy ---
# One that dies for having the fewest tokens of its layer; the last layer's is frozen.
cat >fewest.awk <<'END'
BEGIN { FS = OFS = ","; print "step", "layer", "slot", "event", "cause", "left" }
NR == 1 { for (i = 1; i <= NF; i++) c[$i] = i; next }
$c["step"] != step { step = $c["step"]; delete least }
!(($c["layer"]) in least) || $c["tokens"] < least[$c["layer"]] {
	least[$c["layer"]] = $c["tokens"]; slot[$c["layer"]] = $c["slot"] }
$c["left"] == 0 {
	print step, 0, slot[0], "death", "fewest", 1
	print step, 1, slot[1], "freeze", "fewest", 0
}
END
none() {
	moe-train $model --census-every 30 -o none --decisions hold "$@" a.txt
}
is "$(status none)" 3 "without a market a run is held at each census"
awk -f fewest.awk none/experts.csv >events
ok "a policy of one's own" moe-market apply none/ckpt.safetensors events
is "$(status none)" 3 "it goes on to the next"
awk -f fewest.awk none/experts.csv | moe-market apply none/ckpt.safetensors
is "$(status none)" 0 "and ends"
is "$(column none/experts.csv step | uniq -c | tr -s ' \n' ' ')" " 10 30 9 60 " "one died"
is "$(cut -d, -f1,2,4,9 none/events.csv | tail -n +2 | tr '\n' ' ')" \
	"30,0,death,fewest 30,1,freeze,fewest 60,0,death,fewest 60,1,freeze,fewest " \
	"as its events tell"
frozen=$(awk -F, '$1 == 30 && $4 == "freeze" { print $3 }' none/events.csv)
is "$(moe-ckpt meta none/ckpt.safetensors ledger | awk -F, '$1 == 1 && $8 { print $2 }' |
	grep -cx "$frozen")" 1 "who is frozen stays so"
moe-ckpt convert --no-optimizer -o lean one/ckpt.safetensors
printf 'step,layer,slot,event\n60,0,%d,death\n' \
	"$(awk -F, '$1 == 60 && $2 == 0 { print $3; exit }' one/experts.csv)" >one-death
ok "a checkpoint without moments" moe-market apply lean one-death
is "$(moe-ckpt ls lean | grep -c optim)" 0 "still has none"
fails 1 "it, twice" moe-market apply lean one-death
ok "it is evaluated" moe-train --eval lean a.txt
fails 2 "a dense model has nothing to decide on" moe-train --dense --decisions hold -o dense a.txt
done_testing
