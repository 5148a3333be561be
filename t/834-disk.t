#!/bin/sh
# moe-prefetch run on a disk that fails at any of its reads, by io_uring and by threads: an error
# that says where, no text but what was right, no figures; and the same text from a slow one.
. t/lib.sh

case ${B##*/} in
asan | tsan) skip_all "a sanitizer wants to be loaded first" ;;
esac
command -v "${CC:-cc}" >/dev/null || skip_all "no ${CC:-cc}"
ok "a disk that fails" ${CC:-cc} -D_GNU_SOURCE -shared -fPIC -Wall -o "$T/disk.so" t/disk.c
words 20000 834 >"$T/text"
cd "$T" || exit 1
head -c 12 text >prompt

# sh ./run OPTION...: on the disk of $FAIL, $DELAY and $RING; the text in got
cat >run <<END
LD_PRELOAD=$T/disk.so moe-prefetch run "\$@" --tokens 30 --seed 3 <prompt >got
END
figure() {
	awk -F, -v name="$1" '$1 == name { print $2 }' "$2"
}
# starts GOT WANT NAME: what there is of it
starts() {
	head -c "$(($(wc -c <"$1")))" "$2" >start
	same "$1" start "$3"
}

moe-train -j1 --dim 32 --layers 3 --heads 2 --experts 8 --top-k 2 --hidden 64 --seq 32 --batch 4 \
	--steps 20 --lr 5e-3 --act relu -o model text
moe-prefetch pack model/ckpt.safetensors --leaf 16 --shadow -o s.store
sh ./run s.store --resident --stats s.csv
mv got want
is "$(figure loads s.csv)" "$(figure leaves s.csv)" "a disk that works"
memory=$(figure memory_least s.csv)
memory=$((memory + 100000))

for RING in yes no; do
	export RING
	sh ./run s.store --memory $memory --check load --stats s.csv
	same got want "io_uring $RING: in less memory"
	loads=$(figure loads s.csv)
	is "$((loads > 100))" 1 "io_uring $RING: many reads"
	for FAIL in 1 2 $((loads / 3)) $((loads / 2)) $loads; do
		export FAIL
		rm -f s.csv
		fails 1 "io_uring $RING: read $FAIL fails" \
			sh ./run s.store --memory $memory --check load --stats s.csv
		is "$(sed 's/byte [0-9]*:/byte N:/' err)" \
			"moe-prefetch: s.store: byte N: Input/output error" "says where"
		starts got want "io_uring $RING: what was written before read $FAIL is right"
		is "$(ls s.csv 2>/dev/null)" "" "no figures"
	done
	FAIL=$((loads + 1)) sh ./run s.store --memory $memory --check load
	same got want "io_uring $RING: a read that is never made"

	# Whether it is a guess or needed: the text, or an error.
	for FAIL in 3 50 150; do
		export FAIL
		status=0
		sh ./run s.store --memory $memory --check load --predictor gate 2>err || status=$?
		if [ $status = 0 ]; then
			same got want "io_uring $RING: read $FAIL, which nobody needed, fails"
		else
			is $status 1 "io_uring $RING: read $FAIL fails, with guesses among them"
			says 's.store: byte [0-9]*: Input/output error' "says where"
			starts got want "what was written before is right"
		fi
	done
	FAIL=7
	fails 1 "io_uring $RING: a read fails before there is any text" \
		sh ./run s.store --resident --check load
	is "$(($(wc -c <got)))" 0 "none is written"
	fails 1 "io_uring $RING: a read fails when all leaves are verified" \
		sh ./run s.store --memory $memory
	is "$(($(wc -c <got)))" 0 "none is written then"
	unset FAIL
	for DELAY in 100 2000; do
		export DELAY
		sh ./run s.store --memory $memory --check load --predictor gate
		same got want "io_uring $RING: reads that take $DELAY us more"
	done
	unset DELAY
done

done_testing
