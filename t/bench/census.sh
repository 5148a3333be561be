#!/bin/sh
# bench,config,ours,peer,unit,ratio,share_of_peak: the census of a trace of ten million rows (two
# layers, top-2, 16 experts), plain and compressed.  The peer is awk, which finds the same usage
# and accuracy.
. t/bench.sh
rows=10000000

awk -v rows=$rows 'BEGIN {
	print "step,seq,pos,token,layer,rank,expert,weight,correct"
	for (i = 0; i < rows / 4; i++) {
		e = i * 7919 % 1000003 % 16; w = (e + 17) / 33.1; c = i % 5 < 2
		for (l = 0; l < 2; l++)
			for (k = 0; k < 2; k++)
				printf "%d,%d,%d,%d,%d,%d,%d,%.9g,%d\n", i / 4096, i / 256 % 16, \
					i % 256, i * 31 % 256, l, k, \
					k ? (e + 1 + i % 15) % 16 : e, k ? 1 - w : w, c
	}
}' >"$T/trace.csv"
gzip -1 <"$T/trace.csv" >"$T/trace.csv.gz"

# seconds OUT COMMAND...: by the clock
seconds() {
	local out=$1 begin end
	shift
	begin=$(date +%s.%N)
	"$@" >"$out"
	end=$(date +%s.%N)
	awk -v a="$begin" -v b="$end" 'BEGIN { printf "%.2f", b - a }'
}

peer() {
	awk -F, 'NR > 1 && $6 == 0 { n[$5]++; u[$5 FS $7]++; h[$5 FS $7] += $9 }
		END { for (l = 0; l < 2; l++) for (e = 0; e < 16; e++) { k = l FS e
			printf "%d,%d,%.9g,%.9g\n", l, e, u[k] / n[l], h[k] / u[k] } }' "$1"
}

plain=$(seconds "$T/ours" moe-ecology census "$T/trace.csv")
packed=$(seconds "$T/same" moe-ecology census "$T/trace.csv.gz")
awk=$(seconds "$T/peer" peer "$T/trace.csv")
sed 1d "$T/ours" | cut -d, -f1-4 | cmp -s - "$T/peer" ||
	{ echo "census: the peer found something else" >&2; exit 1; }
cmp -s "$T/ours" "$T/same"
printf 'census,10M rows,%s,%s,s,%s,\n' "$plain" "$awk" \
	"$(awk -v a="$awk" -v b="$plain" 'BEGIN { printf "%.2f", a / b }')"
printf 'census,10M rows in gzip,%s,,s,,\n' "$packed"
