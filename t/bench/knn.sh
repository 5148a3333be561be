#!/bin/sh
# bench,config,ours,peer,unit,ratio,share_of_peak: moving 4,096 of 100,000 keys and 512 searches, a
# step, beside hnswlib at its recall.  Needs the peer's source, g++ and libhnswlib-dev.
. t/bench.sh
peer=../shared/peers/hnsw_moving.cc

if ! g++ -O3 -march=native -fopenmp "$peer" -o "$T/hnsw" 2>/dev/null; then
	echo "knn: no hnswlib to compare with (libhnswlib-dev, and its source at $peer)" >&2
	exit 0
fi
"$T/hnsw" 100000 64 3 4096 128 >"$T/hnsw.csv"
# The step's time and the least recall of those after a move.
set -- $(awk -F, 'NR > 2 { n++; t += $2 + 512 / $3; if (low == "" || $4 < low) low = $4 }
	END { print t / n, low }' "$T/hnsw.csv")
"$B/t/bench/knn" keys 100000 64 "$T/keys.npy"
moe-knn drift --cosine --steps 20 --queries 512 --moved 4096 --check 512 --approximate "$2" \
	--timing "$T/timing" "$T/keys.npy" >"$T/drift.csv"
awk -F, -v its="$1" -v recall="$2" '
	FNR == 1 { file++; next }
	file == 1 { n++; t += $2 + $3 + $4 }
	file == 2 { if (low == "" || $5 < low) low = $5 }
	END {
		what = "knn drift beside hnswlib,N=100000 d=64"
		printf "%s step,%.5f,%.4f,s,%.1f,\n", what, t / n, its, its * n / t
		printf "%s least recall,%.4f,%.4f,share,,\n", what, low, recall
	}' "$T/timing" "$T/drift.csv"
