#!/bin/sh
# moe-train: workers, checkpoints, kills and interrupts leave no trace in the bytes of a run.
. t/lib.sh

# Everything that a run may write: shifts of data, trace, census, biases.
train() {
	$run moe-train --dim 24 --layers 2 --heads 2 --experts 4,6 --hidden 24 --seq 24 --batch 4 \
		--steps 24 --census-every 7 --val-every 10 --val v.txt --trace --trace-every 6 \
		--router mlp --act swiglu --bias-rate 0.01 --accum 2 "$@" a.txt b.txt@9 a.txt@17
}
run=

cd "$T" || exit 1
words 20000 1 >a.txt
words 9000 2 >b.txt
words 3000 3 >v.txt

ok "one worker" train -j1 -o one
ok "two workers" train -j2 --ckpt-every 1 -o two
ok "three workers" train -j3 --ckpt-every 7 -o three
same_run one two "two workers, a checkpoint each step"
same_run one three "three workers, a checkpoint each seven steps"

# --- SIGKILL at random moments ---
# Delays up to a little more than a whole run takes: a run that is complete gives way to a new one.
start=$(date +%s%N)
train -j1 --ckpt-every 2 -o timed
span=$((($(date +%s%N) - start) / 1000000 + 1))
awk -v span=$span 'BEGIN { srand(5); for (i = 0; i < 400; i++)
	printf "%.3f\n", 0.002 + 1.1 * rand() * span / 1000 }' >delays
kills=0 done=0 odd=
while [ $kills -lt 20 ] && read -r delay <&4; do
	status=0
	run="timeout -s KILL $delay"
	train -j$((1 + (kills % 5 == 0))) --ckpt-every $((1 + kills % 4)) -o "kill$done" 2>killed ||
		status=$?
	case $status in
	0) done=$((done + 1)) ;;
	137) kills=$((kills + 1)) ;;
	*) odd="$odd $status: $(cat killed)" ;;
	esac
done 4<delays
run=
is "$odd" "" "a killed run goes on, or ends well"
is "$kills" 20 "kills"
ok "the last is finished" train -j1 -o "kill$done"
for i in $(seq 0 "$done"); do
	same_run one "kill$i" "killed at random, run $i"
done
is "$(ls "kill$done" | grep -c tmp)" 0 "no temporary file stays"

# --- SIGTERM and SIGINT ---
# The loss goes through a pipe that holds far less than the run writes: the run cannot end before
# the reader has sent its signal.
brief() {
	exec moe-train --dim 8 --layers 1 --heads 1 --experts 2 --top-k 1 --hidden 8 --seq 8 \
		--batch 1 --steps 4000 -j1 --ckpt-every 100000 --loss-csv "$@" a.txt
}
(brief plain.csv -o plain)
mkfifo pipe
for signal in TERM INT; do
	rm -rf stopped
	brief pipe -o stopped 2>err &
	pid=$!
	{
		for i in 1 2 3; do
			read -r line
			echo "$line"
		done
		kill -$signal $pid
		cat
	} <pipe >first.csv
	status=0
	wait $pid || status=$?
	is "$status" 1 "SIG$signal: exit status"
	is "$(cat err)" \
		"moe-train: interrupted; the same command goes on from the checkpoint in stopped" \
		"SIG$signal: one line says so"
	is "$(moe-ckpt meta stopped/ckpt.safetensors step)" "$(tail -n 1 first.csv | cut -d, -f1)" \
		"SIG$signal: the checkpoint is of the last row's step"
	(brief - -o stopped) >second.csv
	cat first.csv second.csv >both.csv
	same both.csv plain.csv "SIG$signal: the two parts of the loss are the whole"
	same stopped/ckpt.safetensors plain/ckpt.safetensors "SIG$signal: the same checkpoint"
	same stopped/experts.csv plain/experts.csv "SIG$signal: the same census"
done

# Before the first step: while it waits for somebody to read the census.
moe-train --dim 8 --layers 1 --heads 1 --experts 2 --steps 3 --seq 8 --experts-csv pipe -o early \
	a.txt 2>err &
pid=$!
# first it is a copy of this shell, which catches signals too
while ! grep -q moe-train /proc/$pid/comm ||
	! grep -q '^SigCgt:.*[4567cdef]...$' /proc/$pid/status; do :; done
kill -TERM $pid
status=0
wait $pid || status=$?
is "$status" 1 "SIGTERM before the first step: exit status"
is "$(cat err)" "moe-train: interrupted before the first step" "one line says so"
ok "and it can begin" moe-train --dim 8 --layers 1 --heads 1 --experts 2 --steps 3 --seq 8 \
	-o early a.txt

# --- CSVs changed behind its back ---
sub() {
	("$@")
}
# again RUN [PIPE]: a run whose layers go through a pipe that holds less than the run writes.
again() {
	exec moe-train -j1 --dim 8 --layers 1 --heads 1 --experts 2 --seq 8 --batch 2 --steps 2000 \
		--ckpt-every 50 --census-every 1 --trace --trace-every 500 \
		--layers-csv "${2:-/dev/null}" -o "$1" a.txt
}
# Part of a run: killed by who reads its layers.
stop_at() {
	local pid
	again "$1" pipe &
	pid=$!
	{
		for i in $(seq 60); do
			read -r line
		done
		kill -KILL $pid
	} <pipe
	wait $pid
}
stop_at half 2>/dev/null
cp -r half whole
ok "killed after step 60" sub again whole
# try NAME COMMAND: a copy of half a run, changed by the command, is refused as it is.
try() {
	local name=$1
	shift
	rm -rf copy copy2
	cp -r half copy
	(cd copy && "$@")
	cp -r copy copy2
	fails 1 "$name is refused" sub again copy
	is "$(diff -r copy copy2)" "" "$name: nothing is touched"
}
step=$(moe-ckpt meta half/ckpt.safetensors step)
try "a cut loss.csv" truncate -s 2000 loss.csv
says '^moe-train: copy/loss.csv: 2000 bytes \(expected at least [0-9]+' "the size is told"
try "an altered loss.csv" sed -i '3s/a/b/' loss.csv
says '^moe-train: copy/loss.csv: its first [0-9]+ bytes are not those of this run' "told"
try "a missing experts.csv" rm experts.csv
says '^moe-train: copy/experts.csv: No such file or directory' "told"
try "an altered events.csv" sed -i 's/step/Step/' events.csv
try "a cut checkpoint" truncate -s -1 ckpt.safetensors
says '^moe-train: copy/ckpt.safetensors: ' "told"
rm -rf copy
cp -r half copy
echo "rubbish" >>copy/loss.csv
head -c 1000 /dev/zero >>copy/experts.csv
ok "what is behind the checkpoint is cut" sub again copy
for f in ckpt.safetensors loss.csv experts.csv events.csv; do
	same copy/$f whole/$f "cut and gone on: $f"
done
is "$((step > 0 && step < 2000))" 1 "half a run was half a run (step $step)"
done_testing
