#!/bin/sh
# moe.mk: the manual's batch under make, killed and resumed, under GNU parallel and as an array.
. t/lib.sh
root=$PWD
export MAKEFLAGS="-I $root/cmd"
cd "$T" || exit 1

# Block N of the examples into the file.
block() {
	awk -v n="$1" '
		/^\.Sh / { on = $2 == "EXAMPLES" }
		on && /^\.Ed/ { block = 0 }
		block && k == n { print }
		on && /^\.Bd/ { block = 1; k++ }' "$root/man/moe.mk.5"
}
run() {
	make --no-print-directory "$@" >>log 2>&1
}
# All files of the runs below the directory, by name and content.
content() {
	(cd "$1" && find . -type f ! -name '*.lock' | sort | xargs cksum)
}

block 1 >Makefile
moe-data text licenses --limit 100K -o law.txt 2>>log && moe-data text perl --limit 100K \
	-o code.txt 2>>log || skip_all "no texts: $(tail -n 1 log)"
ok "the manual's batch" run -j2
is "$(ls runs | tr '\n' ' ')" \
	"fixed_experts-4 fixed_experts-8 market_experts-4 market_experts-8 " \
	"a directory for each point of the grid"
is "$(ls runs/fixed_experts-4 runs/market_experts-8 | tr '\n' ' ')" \
	"runs/fixed_experts-4: 1 2  runs/market_experts-8: 1 2 " "and in it one for each seed"
is "$(sed -n 's/^\(experts\|seed\|steps\|lifecycle\) //p' runs/market_experts-4/2/recipe |
	tr '\n' ' ')" "4 60 market 2 " "with its own options"
is "$(moe-ckpt meta runs/fixed_experts-8/1/ckpt-40.safetensors |
	grep -o '"step": *"*[0-9]*' | grep -o '[0-9]*')" 40 "checkpoints are kept"
is "$(grep -c '^runs/' recovery.csv)" 16 "what depends on the runs is made"
content runs >first
touch -r recovery.csv was
ok "the batch again" run -j2
content runs >again
same again first "changes nothing"
is "$(find recovery.csv -newer was)" "" "and makes nothing"

# Killed anywhere, and resumed.
mv runs whole
make -j2 MOE_OPTIONS='--dim 32 --hidden 32 --seq 32 --schedule constant --ckpt-every 7' \
	>>log 2>&1 &
i=0
until [ -e runs/fixed_experts-4/1/ckpt.safetensors ] || [ $i -ge 600 ]; do
	i=$((i + 1))
	sleep 0.02
done
kill $!
wait $! 2>/dev/null
is "$(ls runs/*/*/ckpt-40.safetensors 2>/dev/null | wc -l | sed 's/^[0-7]$/fewer/')" fewer \
	"a batch that was killed is not complete"
i=0
until run -j2 || [ $i -ge 50 ]; do # those of the killed batch come to their end
	i=$((i + 1))
	sleep 0.1
done
content runs >again
same again first "it goes on to the same bytes"

# One command a run.
mv runs resumed
run -s moe-commands && make -s moe-commands >batch
is "$(grep -c 'moe-train' batch)" 8 "a command for each run"
block 4 >job.sh
for i in 3 8; do
	ok "job $i of the array" env SLURM_ARRAY_TASK_ID=$i sh job.sh
done
is "$(ls -d runs/*/* | tr '\n' ' ')" "runs/fixed_experts-8/1 runs/market_experts-8/2 " \
	"does its run and no other"
if command -v parallel >/dev/null; then
	ok "the rest in parallel" sh -ec "$(block 3)"
	content runs >again
	same again first "with the same bytes"
fi

# A sweep alone, nothing to sweep, a variant with texts of its own; what fails is told.
cat >plain.mk <<'END'
MOE_DATA = law.txt
MOE_STEPS = 2
MOE_OPTIONS = --dim 16 --heads 2 --hidden 16 --seq 16
include moe.mk
END
ok "one run" run -f plain.mk MOE_RUNS=one
is "$(ls one one/run | tr '\n' ' ')" "one: run  one/run: 1 " "is runs/run/1"
ok "a sweep" run -f plain.mk MOE_RUNS=two 'MOE_SWEEP=lr:1e-3,2e-3 top-k:1,2'
is "$(ls two | tr '\n' ' ')" "lr-1e-3_top-k-1 lr-1e-3_top-k-2 lr-2e-3_top-k-1 lr-2e-3_top-k-2 " \
	"goes over the grid"
ok "variants" run -f plain.mk MOE_RUNS=three MOE_VARIANTS='a b' MOE_DATA.b=code.txt MOE_STEPS.b=3 \
	MOE_SEEDS='1 2' MOE_SEEDS.b=1
is "$(tail -n 1 three/a/1/loss.csv | cut -d, -f1,2) $(tail -n 1 three/b/1/loss.csv |
	cut -d, -f1,2)" "2,law 3,code" "with data and steps of their own"
is "$(echo three/*/*)" "three/a/1 three/a/2 three/b/1" "and seeds"
fails 2 "another recipe on a run that is there" run -f plain.mk MOE_RUNS=one MOE_STEPS=1
fails 2 "a missing text" run -k -f plain.mk MOE_RUNS=four MOE_VARIANTS='a b' MOE_DATA.a=none
is "$(ls four/*/1/ckpt.safetensors)" "four/b/1/ckpt.safetensors" "does not hold up the others"
done_testing
