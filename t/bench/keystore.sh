#!/bin/sh
# bench,config,ours,peer,unit,ratio,share_of_peak: how much of a step routing by a key store takes,
# gravity included, the median of ten steps; the peer is the learned linear router, whose experts
# do not learn either.
. t/bench.sh
seq 200000 >"$T/text"

# share OPTIONS: routing's share of a step, and its seconds
share() {
	rm -rf "$T/run"
	moe-train --config nano --experts 256 --top-k 4 --freeze-experts "$@" --steps 13 \
		--timing "$T/timing" -o "$T/run" "$T/text"
	awk -F, '$1 > 3 { print $5 / $2, $5 }' "$T/timing" | sort -n | sed -n 5p
}
learned=$(share --router linear --expert-init sparse)
for query in linear mlp; do
	set -- $learned $(share --router keystore --query $query)
	what="keystore routing,nano 256 experts top 4 $query query"
	printf '%s,%.4f,%.4f,of the step,,\n' "$what" "$3" "$1"
	printf '%s,%.4f,%.4f,s,%.2f,\n' "$what" "$4" "$2" \
		"$(echo "$2 $4" | awk '{ print $1 / $2 }')"
done
